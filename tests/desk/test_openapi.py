"""Every route declares its action, and the API's document is one that a client can be made from."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.routing import Mount

from custody.permission import PERMISSIONS
from desk.api.document import document_of, routes_of
from desk.app import build
from desk.doors import DOORS
from desk.edge import Acting, Openly, declared
from tests.conftest import Database
from tests.custody.story import PlainMasters
from tests.desk.conftest import settings_for


@pytest.fixture
def app(database: Database, tmp_path: Path) -> FastAPI:
    return build(settings_for(database, tmp_path, "http://127.0.0.1:1"), PlainMasters())


def test_every_route_declares_its_action_or_says_why_it_needs_none(app: FastAPI) -> None:
    routes = routes_of(app)
    assert len(routes) > len(DOORS)
    for route in routes:
        (said,) = declared(route) or (None,)
        assert isinstance(said, Acting | Openly), f"{route.methods} {route.path} declares no action"
        if isinstance(said, Openly):
            assert len(said.why) > 10, route.path
        elif said.action is not None:
            assert said.action in PERMISSIONS, route.path


def test_nothing_else_answers_but_routes_and_static_files(app: FastAPI) -> None:
    known = {id(route.original_route) for route in routes_of(app)}
    others = [r for r in app.routes if not hasattr(r, "original_router") and id(r) not in known]
    assert [(type(r), r.path) for r in others if isinstance(r, Mount)] == [(Mount, "/static")]
    assert len(others) == 1


def test_every_command_goes_through_the_action_of_its_door(app: FastAPI) -> None:
    found = {route.path: declared(route)[0] for route in routes_of(app) if "POST" in (route.methods or ())}
    for door in DOORS:
        said = found[f"/api/{door.path}"]
        assert isinstance(said, Acting)
        assert said.action == door.action


def references(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for name, value in document.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(document, list):
        for value in document:
            yield from references(value)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_reference_of_the_document_leads_somewhere(app: FastAPI) -> None:
    document = document_of(app)
    found = list(references(document))
    assert len(found) > 100
    for reference in found:
        place = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in place, reference
            place = place[part]


def test_every_operation_has_a_name_of_its_own_and_says_what_it_answers(app: FastAPI) -> None:
    document = document_of(app)
    assert document["openapi"].startswith("3.1")
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for path, method, operation in operations(document):
        assert operation["responses"], path
        assert "default" in operation["responses"], path
        in_path = set(re.findall(r"{(\w+)}", path))
        stated = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert stated == in_path, f"{method} {path}"
        placed = [(p["name"], p["in"]) for p in operation.get("parameters", [])]
        assert len(set(placed)) == len(placed), f"{method} {path}"


def test_every_command_shows_the_shape_it_parses(app: FastAPI) -> None:
    document = document_of(app)
    for door in DOORS:
        operation = document["paths"][f"/api/{door.path}"]["post"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        shape = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        while "$ref" in shape:
            shape = document["components"]["schemas"][shape["$ref"].rpartition("/")[2]]
        assert set(shape["properties"]) == set(door.shape.__dataclass_fields__), door.path
        assert shape["additionalProperties"] is False
        assert any(p["name"] == "Idempotency-Key" and p["required"] for p in operation["parameters"])
