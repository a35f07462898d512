"""The OpenAPI document of the API, made from the shapes that are parsed and answered, never from copies.

FastAPI knows the routes; bodies are read by `desk.edge.Body` and answers written by `desk.api.answers`, so
their schemas are added here, under the name of their shape.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from desk.edge import FUNCTION_HEADER, KEY_HEADER, Acting, OpenlyWithMore, declared
from desk.problems import MEDIA_TYPE

Answer = type[Any] | str | None
"""A shape, a media type, or nothing."""

_REF: Final = "#/components/schemas/"
_BODIES: Final[set[type[Any]]] = set()
_ANSWERS: Final[set[type[Any]]] = set()

_SAYS: Final = {
    200: "As asked; for a command: it had been carried out before, and these are its receipts of then",
    201: "Recorded",
    202: "Received: it waits for somebody or something else",
    204: "Done",
}
PROBLEM: Final[Mapping[str, Any]] = {
    "type": "object",
    "description": "What was refused, why, and what can be done (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
_KEY: Final = {
    "name": KEY_HEADER,
    "in": "header",
    "required": True,
    "description": "A new one for each act; the same one to repeat it safely.",
    "schema": {"type": "string", "minLength": 8, "maxLength": 200, "pattern": "^[!-~]+$"},
}
_IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The ETag of the kit as it was when this was decided.",
    "schema": {"type": "string"},
}
_FUNCTION: Final = {
    "name": FUNCTION_HEADER,
    "in": "header",
    "required": False,
    "description": "In which function, for who holds several: <function>@<organisation>.",
    "schema": {"type": "string"},
}


def describes(
    *, body: type[Any] | None = None, answers: Mapping[int, Answer], key: bool | None = None
) -> dict[str, Any]:
    """What FastAPI does not see of a route: the shapes of its body and answers, the headers of a command."""
    told: dict[str, Any] = {"responses": {str(status): _answer(status, a) for status, a in answers.items()}}
    told["responses"]["default"] = {
        "description": "A problem",
        "content": {MEDIA_TYPE: {"schema": {"$ref": f"{_REF}Problem"}}},
    }
    if body is not None:
        _BODIES.add(body)
        schema = {"$ref": f"{_REF}{body.__name__}"}
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if body is not None if key is None else key:
        told["parameters"] = [_KEY, _IF_MATCH]
    return told


def _answer(status: int, shape: Answer) -> dict[str, Any]:
    told: dict[str, Any] = {"description": _SAYS[status]}
    if isinstance(shape, str):
        told["content"] = {shape: {"schema": {"type": "string"}}}
    elif shape is not None:
        _ANSWERS.add(shape)
        told["content"] = {"application/json": {"schema": {"$ref": f"{_REF}{shape.__name__}"}}}
    return told


def document_of(app: FastAPI) -> dict[str, Any]:
    """The document of every route of the API; pages are not in it."""
    if app.openapi_schema is None:
        routes = [r for r in routes_of(app) if r.openapi_extra and "responses" in r.openapi_extra]
        made = get_openapi(
            title=app.title,
            version=app.version,
            description="Chain of custody for evidence kept before any complaint is filed.",
            routes=routes,
        )
        for route in routes:
            _tidy(made["paths"][str(route.path_format)], route)
        made["components"] = {
            "schemas": dict(sorted((_schemas() | {"Problem": dict(PROBLEM)}).items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "at+jwt"}},
        }
        app.openapi_schema = made
    return app.openapi_schema


def routes_of(app: FastAPI) -> list[RouteContext]:
    """Every route of the application that answers for itself, with its whole path."""
    return [r for r in iter_route_contexts(app.routes) if isinstance(r.original_route, APIRoute)]


def _tidy(path: dict[str, Any], route: RouteContext) -> None:
    """Only what was described answers; who needs to be signed in says so."""
    described = (route.openapi_extra or {})["responses"]
    for method in route.methods or ():
        operation = path[method.lower()]
        operation["responses"] = described
        operation["operationId"] = route.name
        said = declared(route)
        if any(isinstance(each, Acting | OpenlyWithMore) for each in said):
            needed = [] if any(isinstance(each, Acting) for each in said) else [dict[str, Any]()]
            operation["security"] = [*needed, {"token": []}]
            operation.setdefault("parameters", []).append(_FUNCTION)


def _schemas() -> dict[str, Any]:
    def given(
        shapes: Iterable[type[Any]], mode: JsonSchemaMode
    ) -> list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]]:
        return [(shape.__name__, mode, TypeAdapter(shape)) for shape in shapes]

    inputs = [*given(_BODIES, "validation"), *given(_ANSWERS, "serialization")]
    roots, shared = TypeAdapter.json_schemas(inputs, ref_template=f"{_REF}{{model}}")
    found: dict[str, Any] = dict(shared.get("$defs", {}))
    for (name, _), schema in roots.items():
        found.setdefault(name, schema)
    return found
