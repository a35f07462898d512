"""A kit that never was, one of another centre and one not reported yet: the same answer, byte for byte, from
the same statements, without a lock; and no list, count or header that moves when there is one more."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from pydantic import TypeAdapter

from custody.people import Actor
from desk.doors import DOORS
from tests.custody.story import (
    ANALYST,
    CENTRE,
    COORDINATOR,
    MAGISTRATE,
    NURSE,
    NURSE_2,
    OFFICER,
    OTHER_NURSE,
    REGISTRAR,
    new_number,
)
from tests.desk import matrix
from tests.desk.conftest import Desk, Person, moment, refs
from tests.desk.ways import orders, seen

ASKERS = [OFFICER, MAGISTRATE, OTHER_NURSE, ANALYST]
READINGS = [
    "kits/{kit}?purpose=court",
    "kits/{kit}/custody-trail?purpose=court",
    "kits/{kit}/choices-trail?purpose=court",
    "kits/{kit}/bundle?purpose=court",
    "kits/{kit}/labels.pdf",
    "kits/{kit}/labels.svg",
    "kits/{kit}/labels.png",
    "kits/{kit}/labels.zpl",
    "scan?code={kit}",
]
LISTS = [
    "/api/kits?purpose=court",
    "/api/worklists",
    "/api/proposals",
    "/api/requests",
    "/api/log/key",
    "/api/receipts/" + "0" * 64,
    "/log/checkpoint",
    "/",
    "/scan",
    "/log",
    "/ask",
    "/outage",
]
"""Everything that shows more than one thing, or counts."""
MOMENT = re.compile(rb"\d{4}-\d\d-\d\dT[0-9:.]+(Z|\+00:00)")


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The text of every statement that the desk sends to the database, in order."""
    sent: list[str] = []
    execute = psycopg.AsyncCursor.execute

    async def noted(self: Any, query: Any, *given: Any, **more: Any) -> Any:
        sent.append(str(query))
        return await execute(self, query, *given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.AsyncCursor, "execute", noted)
        yield sent


@pytest.mark.parametrize("asker", ASKERS, ids=lambda a: str(a.person))
def test_whoever_may_not_know_of_a_kit_cannot_tell_it_from_one_that_never_was(
    desk: Desk, asker: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by the answer, nor by what was asked of the database for it."""
    kit = desk.at(NURSE).register(desk.now())["kit"]
    desk.at(NURSE).post("labels/prints", {"kit": kit})
    never = new_number()
    assert asker.organisation is not None
    cupboard = {"id": "cupboard", "kind": "storage", "name": "Cupboard", "organisation": asker.organisation}
    desk.record("place.opened", "place:cupboard", **cupboard)
    person = desk.at(asker)
    before = desk.count()
    looked = 0
    with statements(monkeypatch) as sent:

        def asked(method: str, path: str, number: str, order: object = None) -> tuple[Any, list[str]]:
            sent.clear()
            if method == "GET":
                answer = person.client.get("/api/" + path.format(kit=number))
            else:
                answer = person.post(path, order)
            assert answer.status_code in (403, 404), f"{path}: {answer.text}"
            assert number not in answer.text
            return seen(answer, number), list(sent)

        for path in READINGS:
            there, nowhere = asked("GET", path, kit), asked("GET", path, never)
            assert there == nowhere, path
            looked += any("known_kit" in each or "custody.look" in each for each in there[1])
        at = moment(desk.now() + timedelta(days=1))
        for path, order in orders(kit, at).items():
            there, nowhere = (
                asked("POST", path, kit, order),
                asked("POST", path, never, orders(never, at)[path]),
            )
            assert there == nowhere, path
            looked += any("known_kit" in each or "custody.look" in each for each in there[1])
    assert looked > 2, "nothing was asked of the database, so nothing was compared"
    assert desk.count() == before


def test_who_is_kept_out_of_a_restricted_kit_cannot_tell_it_from_one_that_never_was(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    readers = {"kit": kit, "readers": [NURSE.person, COORDINATOR.person]}
    assert desk.at(COORDINATOR).post("restrictions", readers).status_code == 201
    never, person = new_number(), desk.at(NURSE_2)
    with statements(monkeypatch) as sent:
        for path in READINGS:
            told = []
            for number in (kit, never):
                sent.clear()
                answer = person.client.get("/api/" + path.format(kit=number))
                told.append((seen(answer, number), list(sent)))
            assert told[0] == told[1], path
            assert told[0][0][0] in (403, 404), path


def test_every_order_above_is_read_as_a_command(desk: Desk) -> None:
    """Otherwise the comparison above would only compare complaints about a missing field."""
    at = moment(desk.now())
    made = orders(new_number(), at)
    for door in DOORS:
        TypeAdapter(door.shape).validate_json(json.dumps(made[door.path]))


def test_a_mistyped_number_is_told_before_any_query(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    wrong = kit[:-1] + ("0" if kit[-1] != "0" else "1")
    for asker in (NURSE, OFFICER):
        answer = desk.at(asker).get(f"kits/{wrong}", purpose="court")
        assert answer.status_code == 422
        assert answer.json()["type"].endswith("/problems/wrong-number")


def test_what_is_invisible_is_never_waited_for(desk: Desk) -> None:
    """While somebody else holds every row of the kit, whoever may not know of it is answered at once."""
    kit = str(desk.at(NURSE).register(desk.now())["kit"])
    rows = (
        ("kit", "number = %s", kit),
        ("package", "kit = %s", kit),
        ("head", "subject = %s", f"custody:{kit}"),
        ("head", "subject = %s", f"choices:{kit}"),
    )
    at = moment(desk.now() + timedelta(days=1))
    people = {asker: desk.at(asker) for asker in (OFFICER, OTHER_NURSE)}
    for person in people.values():
        person.client.timeout = 5
    with psycopg.connect(desk.database.conninfo("superuser")) as held:
        for table, condition, name in rows:
            found = held.execute(f"SELECT FROM custody.{table} WHERE {condition} FOR UPDATE", [name])
            assert found.rowcount > 0, table
        for person in people.values():
            for path in READINGS:
                assert person.client.get("/api/" + path.format(kit=kit)).status_code in (403, 404), path
            for path, order in orders(kit, at).items():
                assert person.post(path, order).status_code in (403, 404, 422), path
        request = {"pv": "PV.99.L9.000001/2026", "centre": CENTRE, "kit": kit}
        assert people[OFFICER].post("requests", request).status_code == 202
        held.rollback()


def shown(person: Person, path: str) -> tuple[Any, ...]:
    """An answer without what differs from one moment to the next."""
    page = {"accept": "application/json" if path.startswith(("/api/", "/log/")) else "text/html"}
    answer = person.client.get(path, headers=page)
    status, headers, body = seen(answer, new_number())
    return status, headers, MOMENT.sub(b"MOMENT", body)


def test_nothing_that_lists_or_counts_moves_when_there_is_one_more_invisible_kit(desk: Desk) -> None:
    """Before and after there are kits that these people may not know of: no line, no number, no cursor and no
    header of anything they can open is another one."""
    matrix.introduce(desk)
    nobody = [OTHER_NURSE, matrix.OTHER_COORDINATOR, OFFICER, matrix.OTHER_OFFICER, MAGISTRATE, ANALYST]
    askers = {str(each.person): desk.at(each) for each in [*nobody, REGISTRAR, matrix.AUDITOR]}
    paths = [*LISTS, f"/readings?kit={new_number()}"]
    before = {(name, path): shown(asker, path) for name, asker in askers.items() for path in paths}
    assert sum(told[0] == 200 for told in before.values()) > 30
    nurse = desk.at(NURSE)
    for _ in range(2):
        kit = nurse.register(desk.now(), card="issued")["kit"]
        assert nurse.post("labels/prints", {"kit": kit}).status_code == 201
        due = moment(desk.now() + timedelta(days=1))
        offer = {"packages": refs(kit, 1), "organisation": CENTRE, "due_at": due}
        assert nurse.post("hand-overs/offers", offer).status_code == 201
        void = {"packages": refs(kit, 2), "reason": "to wait for a second person"}
        assert nurse.post("packages/void", void).status_code in (202, 409)
    assert nurse.post("reports", {"kit": kit, "how": "in_person"}).status_code == 201
    readers = {"kit": kit, "readers": [NURSE.person, COORDINATOR.person]}
    assert desk.at(COORDINATOR).post("restrictions", readers).status_code == 201
    for (name, path), told in before.items():
        assert shown(askers[name], path) == told, f"{name}: {path}"


# --- requests of the police -------------------------------------------------------------------------------


def test_before_the_link_a_request_of_the_police_tells_nothing(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    officer = desk.at(OFFICER)
    order = {"pv": "PV.99.L9.000001/2026", "centre": CENTRE}
    for asked in (kit, new_number()):
        answer = officer.post("requests", order | {"kit": asked})
        told = answer.json()
        assert (answer.status_code, told["answer"], len(told["receipts"])) == (202, "received", 1)


def test_what_the_centre_finds_reaches_the_police_in_no_form(desk: Desk) -> None:
    """Four requests: nobody answers the first, no kit matches the second, the match of the third is proposed
    and confirmed by nobody, that of the fourth is confirmed. All the zone can open stays as it was: a refusal
    is never told, and so has neither words nor a delay. Only the link tells."""
    nurse, second, officer = desk.at(NURSE), desk.at(NURSE_2), desk.at(OFFICER)
    kits = [nurse.register(desk.now())["kit"] for _ in range(2)]
    for kit in kits:
        assert nurse.post("reports", {"kit": kit, "how": "in_person"}).status_code == 201
    receipts = []
    for n in range(4):
        asked = officer.post("requests", {"pv": f"PV.99.L9.00000{n}/2026", "centre": CENTRE})
        assert asked.status_code == 202
        receipts += [each["digest"] for each in asked.json()["receipts"]]
    paths = [*LISTS, *(f"/api/receipts/{digest}" for digest in receipts)]
    paths += [f"/api/kits/{kit}?purpose=court" for kit in kits]
    before = {path: shown(officer, path) for path in paths}
    waiting = {each["pv"]: each["id"] for each in desk.at(COORDINATOR).get("worklists").json()["requests"]}
    ids = [waiting[f"PV.99.L9.00000{n}/2026"] for n in range(4)]
    answers: list[dict[str, Any]] = [
        {"request": ids[1], "how": "no_match"},
        {"request": ids[2], "kit": kits[0], "how": "match"},
        {"request": ids[3], "kit": kits[1], "how": "match"},
    ]
    for answer, signed in zip(answers, (True, False, True), strict=True):
        told = nurse.post("requests/answers", answer)
        assert told.status_code == 202, told.text
        if signed:
            proposal = told.json()["proposal"]
            assert second.post(f"proposals/{proposal}/signatures", None).status_code == 201
        for path in paths:
            assert shown(officer, path) == before[path], f"after {answer['how']}: {path}"
    left = {each["id"] for each in desk.at(COORDINATOR).get("worklists").json()["requests"]}
    assert left == {ids[0], ids[2]}
