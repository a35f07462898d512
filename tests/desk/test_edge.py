"""Who acts, in which function, from which page; and what is answered when something fails."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI, Request
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import HTMLResponse, Response

from desk.app import build
from desk.guard import Guard
from desk.issuer import DemoRefused
from desk.problems import Problem
from desk.session import cookie_name, form_token, open_card_session
from desk.settings import CannotStart
from tests.conftest import Database
from tests.custody.story import (
    ANALYST,
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    LAB,
    MAGISTRATE,
    NURSE,
    NURSE_2,
    OFFICE,
    OFFICER,
    OTHER_CENTRE,
    ZONE,
    PlainMasters,
    engine,
)
from tests.desk.conftest import Desk, Person, moment, refs, running, settings_for


def run(database: Database, act: Callable[[AsyncConnection], Awaitable[Any]]) -> Any:
    """One transaction of the service's role."""

    async def within() -> Any:
        made = engine(database.url("service"))
        try:
            async with made.begin() as connection:
                return await act(connection)
        finally:
            await made.dispose()

    return asyncio.run(within())


def test_who_holds_several_functions_says_in_which_one_they_act(desk: Desk) -> None:
    desk.record(
        "person.appointed",
        "person:nora",
        id="nora",
        organisation=OTHER_CENTRE,
        function="coordinator",
        **{"from": "2020-01-01"},
    )
    nurse = desk.at(NURSE)
    unsaid = nurse.get("me")
    assert unsaid.status_code == 403
    assert f"nurse@{CENTRE}" in unsaid.json()["detail"]
    assert f"coordinator@{OTHER_CENTRE}" in unsaid.json()["detail"]
    for said, function in ((f"nurse@{CENTRE}", "nurse"), (f"coordinator@{OTHER_CENTRE}", "coordinator")):
        nurse.client.headers["Custody-Function"] = said
        assert nurse.get("me").json()["function"] == function
    nurse.client.headers["Custody-Function"] = f"coordinator@{CENTRE}"
    assert nurse.get("me").status_code == 403


def test_a_function_that_ended_signs_nobody_in(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    cookie = nurse.client.post("/session").headers["set-cookie"].partition(";")[0]
    browser = desk.client(cookie=cookie)
    assert browser.get("/api/me").status_code == 200
    with desk.database.connect("superuser") as connection:
        connection.execute("UPDATE custody.appointment SET until = '2020-01-02' WHERE person = 'nora'")
    assert nurse.get("me").status_code == 403
    assert browser.get("/api/me").status_code == 401


def test_a_victims_card_opens_its_own_kit_and_nothing_else(desk: Desk) -> None:
    own, other = (desk.at(NURSE).register(desk.now())["kit"] for _ in range(2))
    value = run(desk.database, lambda connection: open_card_session(connection, kit=own))
    card = Person(
        client=desk.client(
            cookie=f"{cookie_name(https=False)}={value}",
            origin=desk.base_url,
            **{"custody-form-token": form_token(value)},
        )
    )
    assert card.get("me").json()["kit"] == own
    for path in (f"kits/{own}", f"kits/{own}/custody-trail", "kits", "worklists", "organisations"):
        assert card.get(path, purpose="review").status_code == 403, path
    assert card.post("reports", {"kit": other, "how": "by_card"}).status_code == 404
    assert card.post("reports", {"kit": own, "how": "by_card"}).status_code == 201
    shown = desk.at(NURSE).get(f"kits/{own}", purpose="report").json()
    assert shown["legal"] == "declared"
    assert shown["choices"]["reported_at"]


# --- what others see of a kit -----------------------------------------------------------------------------


def linked(desk: Desk) -> str:
    """A kit whose report was linked by two staff to an office and a zone."""
    nurse, second, coordinator = desk.at(NURSE), desk.at(NURSE_2), desk.at(COORDINATOR)
    kit: str = nurse.register(desk.now())["kit"]
    assert nurse.post("reports", {"kit": kit, "how": "in_person"}).status_code == 201
    asked = {"pv": "PV.99.L9.000001/2026", "centre": CENTRE}
    assert desk.at(OFFICER).post("requests", asked).status_code == 202
    (request,) = coordinator.get("worklists").json()["requests"]
    answered = {"request": request["id"], "kit": kit, "how": "match"}
    proposal = nurse.post("requests/answers", answered).json()["proposal"]
    assert second.post(f"proposals/{proposal}/signatures", None).status_code == 201
    link = {
        "kit": kit,
        "pv": asked["pv"],
        "notice": "NO.99.99.1/26",
        "office": OFFICE,
        "zone": ZONE,
        "request": request["id"],
    }
    done = coordinator.post("links", link)
    assert done.status_code == 201, done.text
    return kit


def test_after_the_link_justice_sees_the_custody_and_never_the_choices(desk: Desk) -> None:
    kit = linked(desk)
    for person in (MAGISTRATE, OFFICER):
        answer = desk.at(person).get(f"kits/{kit}", purpose="court")
        assert answer.status_code == 200
        shown = answer.json()
        assert set(shown["packages"]) == {"1", "2", "3"}
        assert shown["link"]["office"] == OFFICE
        assert not {"choices", "retention"} & set(shown)
        # A tag of both trails would show that the choices move.
        assert "etag" not in answer.headers
        assert desk.at(person).get(f"kits/{kit}/custody-trail", purpose="court").status_code == 200
        assert desk.at(person).get(f"kits/{kit}/choices-trail", purpose="court").status_code == 403
        (line,) = desk.at(person).get("kits", purpose="court").json()["kits"]
        assert (line["kit"], line["legal"], line.get("retention")) == (kit, "linked", None)


def test_a_laboratory_sees_the_packages_that_come_to_it(desk: Desk) -> None:
    kit = linked(desk)
    tomorrow = moment(desk.now() + timedelta(days=1))
    offer = {"packages": refs(kit, 2), "organisation": LAB, "due_at": tomorrow}
    assert desk.at(NURSE).post("hand-overs/offers", offer).status_code == 201
    shown = desk.at(ANALYST).get(f"kits/{kit}", purpose="task").json()
    assert set(shown["packages"]) == {"2"}
    assert set(shown["items"]) == {"2"}
    assert not {"choices", "retention", "link", "examined_on"} & set(shown)
    assert desk.at(ANALYST).get(f"kits/{kit}/custody-trail", purpose="task").status_code == 403


def test_what_waits_stands_on_the_list_of_whom_it_waits_for(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    mine, others = desk.at(NURSE).get("worklists").json(), desk.at(CUSTODIAN).get("worklists").json()
    assert [line["package"] for line in mine["in_hands"]] == [1, 2, 3]
    assert mine["seal_checks_due"] == []
    assert [(line["kit"], line["package"]) for line in others["seal_checks_due"]] == [
        (kit, 1),
        (kit, 2),
        (kit, 3),
    ]
    checked = desk.at(CUSTODIAN).post("packages/check-seal", {"packages": refs(kit, 1)})
    assert checked.status_code == 201, checked.text
    left = desk.at(NURSE_2).get("worklists").json()["seal_checks_due"]
    assert [line["package"] for line in left] == [2, 3]


# --- the log ----------------------------------------------------------------------------------------------


def test_a_receipt_that_is_not_signed_yet_and_one_that_never_was_look_the_same(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    receipt = nurse.register(desk.now())["receipts"][0]
    answers = [nurse.get(f"receipts/{digest}") for digest in (receipt["digest"], "0" * 64)]
    assert [a.status_code for a in answers] == [202, 202]
    assert answers[0].json() == answers[1].json() == {"answer": "not yet in the log"}
    assert nurse.get("receipts/nonsense").status_code == 422
    assert nurse.get("log/checkpoint").status_code == 404
    assert nurse.get("log/key").status_code == 404


@pytest.mark.parametrize("kind", ["svg", "png", "zpl", "pdf"])
def test_labels_come_as_files_and_rendering_prints_nothing(desk: Desk, kind: str) -> None:
    nurse = desk.at(NURSE)
    kit = nurse.register(desk.now())["kit"]
    assert nurse.get(f"kits/{kit}/labels.{kind}").status_code == 422
    nurse.post("labels/prints", {"kit": kit})
    before = desk.count()
    answer = nurse.get(f"kits/{kit}/labels.{kind}", part="P02")
    assert answer.status_code == 200
    begins = {"svg": b"<svg", "png": b"\x89PNG", "zpl": b"^XA", "pdf": b"%PDF-"}
    assert answer.content.startswith(begins[kind])
    assert nurse.get(f"kits/{kit}/labels.{kind}", part="P99").status_code == 422
    assert desk.count() == before


# --- starting ---------------------------------------------------------------------------------------------


def test_without_demo_mode_there_is_no_sign_in_without_proof(database: Database, tmp_path: Path) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with running(settings_for(database, tmp_path, base_url, demo=False), database, listening) as desk:
        client = desk.client(origin=base_url)
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/demo/jwks").status_code == 404
        assert client.post("/demo/clock", json={"days": 1}).status_code == 404
        assert client.post("/demo/sign-in", json={"person": "nora"}).status_code == 404
        assert client.post("/sign-in", data={"who": "nora"}).status_code == 404


def test_with_demo_mode_the_invented_people_sign_in_by_name(desk: Desk) -> None:
    client = desk.client()
    assert client.get("/demo/jwks").json()["keys"][0]["kty"] == "EC"
    assert client.post("/demo/sign-in", json={"person": "nobody"}).status_code == 403
    opened = client.post("/demo/sign-in", json={"person": "nora"})
    assert opened.status_code == 201
    token = opened.json()["access_token"]
    assert desk.client(authorization=f"Bearer {token}").get("/api/me").json()["person"] == "nora"


async def _start(app: FastAPI) -> None:
    async with app.router.lifespan_context(app):
        pass


def test_a_real_service_is_refused_on_the_demos_database(database: Database, tmp_path: Path) -> None:
    demo = build(settings_for(database, tmp_path, "http://127.0.0.1:1"), PlainMasters())
    asyncio.run(_start(demo))
    real = build(settings_for(database, tmp_path, "http://127.0.0.1:1", demo=False), PlainMasters())
    with pytest.raises(DemoRefused):
        asyncio.run(_start(real))


def test_a_worker_needs_the_address_of_its_database(database: Database, tmp_path: Path) -> None:
    with pytest.raises(CannotStart):
        build(settings_for(database, tmp_path, "http://127.0.0.1:1", database_url=None))


# --- what fails -------------------------------------------------------------------------------------------


async def _failing(happened: Exception, page: object, accept: str, path: str) -> httpx.Response:
    app = FastAPI()
    app.state.problem_page = page

    @app.get("/{path:path}")
    async def fails(path: str) -> None:
        raise happened

    settings: Any = type("Told", (), {"base_url": "https://custody.example"})()
    app.add_middleware(Guard, settings=settings)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="https://custody.example") as client:
        return await client.get(path, headers={"accept": accept})


async def a_page(request: Request, problem: Problem) -> Response:
    return HTMLResponse(f"<h1>{problem.title}</h1>", problem.status)


async def a_broken_page(request: Request, problem: Problem) -> Response:
    raise RuntimeError("the template is gone")


@pytest.mark.parametrize(
    ("page", "accept", "path", "kind"),
    [
        (None, "text/html", "/kits", "application/problem+json"),
        (a_page, "text/html", "/kits", "text/html; charset=utf-8"),
        (a_page, "application/json", "/kits", "application/problem+json"),
        (a_page, "text/html", "/api/kits", "application/problem+json"),
        (a_broken_page, "text/html", "/kits", "application/problem+json"),
    ],
)
def test_a_fault_of_ours_is_a_problem_without_its_own_words(
    page: object, accept: str, path: str, kind: str
) -> None:
    for happened, status in ((RuntimeError("a secret"), 500), (psycopg.OperationalError("a secret"), 503)):
        answer = asyncio.run(_failing(happened, page, accept, path))
        assert answer.status_code == status
        assert answer.headers["content-type"] == kind
        assert "a secret" not in answer.text
        assert answer.headers["strict-transport-security"]
        assert answer.headers["cache-control"] == "no-store"
        if kind == "application/problem+json":
            assert answer.json()["instance"] == f"urn:uuid:{answer.headers['custody-reference']}"
