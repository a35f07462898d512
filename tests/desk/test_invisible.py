"""A kit that never was, one of another centre and one not reported yet: the same answer, byte for byte."""

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from custody.people import Actor
from desk.doors import DOORS
from tests.custody.story import ANALYST, CENTRE, MAGISTRATE, NURSE, OFFICER, OTHER_NURSE, new_number
from tests.desk.conftest import Desk, moment, refs

OF_ITS_OWN = {"date", "custody-reference"}
"""Headers that are another one in every answer: time and reference."""

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


def seen(answer: httpx.Response, kit: str) -> tuple[Any, ...]:
    """Everything an asker can compare. The number asked for is nowhere in an answer."""
    assert kit not in answer.text
    body = answer.content
    if answer.headers["content-type"] == "application/problem+json":
        body = body.replace(answer.headers["custody-reference"].encode(), b"REFERENCE")
    headers = sorted((k, v) for k, v in answer.headers.items() if k not in OF_ITS_OWN)
    return answer.status_code, headers, body


def orders(kit: str, at: str) -> dict[str, dict[str, Any]]:
    """For each command an order about this kit, as somebody would who wants to find out whether it exists."""
    packages = refs(kit, 1)
    several: dict[str, Any] = {
        "packages": packages,
        "reason": "to find out",
        "place": "cupboard",
        "organisation": CENTRE,
        "due_at": at,
        "courier": "Karel Koerier",
        "courier_organisation": "Koerier Vliegensvlug",
        "receiver": "Rita Ontvang",
        "receiver_organisation": "Elders",
        "giver": "Gerda Gever",
        "giver_organisation": "Elders",
        "signature": "ab" * 32,
        "digest": "ab" * 32,
        "letter": "ab" * 32,
        "authority": "Invented court",
        "dated": "2026-01-01",
        "pv": "PV.99",
        "notice": "NO.99",
        "office": "parket-avondland",
        "zone": "pz-morgenland",
        "how": "in_person",
        "age_class": "minor",
        "ground": "safety",
        "hold": "ab" * 16,
        "request": "ab" * 16,
        "items": [1],
        "missing": True,
        "brought_by": "police",
        "package": 1,
        "readers": ["coraline", "nora"],
        "into": [{"package": n, "kind": "bag", "storage": "dry", "items": [n]} for n in (8, 9)],
        "first": packages[0],
        "second": {"kit": kit, "package": 2},
        "kit": kit,
    }
    made = {}
    for door in DOORS:
        names = door.shape.__dataclass_fields__
        order = {name: several[name] for name in names if name in several}
        if door.action in ("package.join",):
            order |= {"packages": [1, 2], "into": several["into"][0]}
        if door.action == "kit.supplement":
            order["packages"] = [{"package": 7, "kind": "bag", "storage": "dry"}]
        if door.action == "notice.attempt":
            order["how"] = "reached"
        if door.action == "request.answer":
            order["how"] = "match"
        made[door.path] = order
    return made


@pytest.mark.parametrize("asker", ASKERS, ids=lambda a: str(a.person))
def test_whoever_may_not_know_of_a_kit_cannot_tell_it_from_one_that_never_was(
    desk: Desk, asker: Actor
) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    desk.at(NURSE).post("labels/prints", {"kit": kit})
    never = new_number()
    assert asker.organisation is not None
    cupboard = {"id": "cupboard", "kind": "storage", "name": "Cupboard", "organisation": asker.organisation}
    desk.record("place.opened", "place:cupboard", **cupboard)
    person = desk.at(asker)
    before = desk.count()
    for path in READINGS:
        there = person.client.get("/api/" + path.format(kit=kit))
        nowhere = person.client.get("/api/" + path.format(kit=never))
        assert there.status_code in (403, 404), f"{path}: {there.text}"
        assert seen(there, kit) == seen(nowhere, never), path
    at = moment(desk.now() + timedelta(days=1))
    for path, order in orders(kit, at).items():
        there = person.post(path, order)
        nowhere = person.post(path, orders(never, at)[path])
        assert there.status_code in (403, 404), f"{path}: {there.text}"
        assert seen(there, kit) == seen(nowhere, never), path
    assert desk.count() == before


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


def test_before_the_link_a_request_of_the_police_tells_nothing(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    officer = desk.at(OFFICER)
    order = {"pv": "PV.99.L9.000001/2026", "centre": CENTRE}
    for asked in (kit, new_number()):
        answer = officer.post("requests", order | {"kit": asked})
        told = answer.json()
        assert (answer.status_code, told["answer"], len(told["receipts"])) == (202, "received", 1)
