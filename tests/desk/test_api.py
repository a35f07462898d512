"""What people do over HTTP, as stories."""

import base64
import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest

from custody.people import Actor
from tests.custody.story import (
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    MAGISTRATE,
    NURSE,
    NURSE_2,
    OFFICER,
    OTHER_NURSE,
)
from tests.desk.conftest import Desk, Person, moment, new_kit, refs


def test_a_kit_is_registered_labelled_offered_accepted_and_stored(desk: Desk) -> None:
    nurse, custodian = desk.at(NURSE), desk.at(CUSTODIAN)
    made = nurse.register(desk.now())
    kit = made["kit"]
    assert set(made["card"]) == {"code", "secret"}
    assert made["written"].replace("-", "") == kit

    printed = nurse.post("labels/prints", {"kit": kit})
    assert printed.status_code == 201
    sheet = nurse.get(f"kits/{kit}/labels.pdf")
    assert sheet.headers["content-type"] == "application/pdf"
    assert sheet.content.startswith(b"%PDF-")

    due = moment(desk.now() + timedelta(hours=4))
    offered = nurse.post(
        "hand-overs/offers", {"packages": refs(kit, 1, 2, 3), "organisation": CENTRE, "due_at": due}
    )
    assert offered.status_code == 201
    waiting = custodian.get("worklists").json()["offers"]
    assert [(line["kit"], line["package"]) for line in waiting] == [(kit, 1), (kit, 2), (kit, 3)]

    assert custodian.post("hand-overs/acceptances", {"packages": refs(kit, 1, 2, 3)}).status_code == 201
    stored = custodian.post("packages/store", {"packages": refs(kit, 1), "place": "freezer-1"})
    assert stored.status_code == 201
    (receipt,) = stored.json()["receipts"]
    assert receipt["type"] == "package.stored"
    assert receipt["trail"] == f"custody:{kit}"

    shown = nurse.get(f"kits/{kit}", purpose="task").json()
    assert shown["packages"]["1"]["state"] == "stored"
    assert shown["packages"]["1"]["place"]["id"] == "freezer-1"
    assert shown["packages"]["2"]["holder"]["person"] == CUSTODIAN.person


def test_a_receipt_names_an_event_whose_bytes_have_its_digest(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    made = nurse.register(desk.now())
    trail = nurse.get(f"kits/{made['kit']}/custody-trail", purpose="review").json()
    digests = {e["number"]: e["digest"] for e in trail["events"]}
    for event in trail["events"]:
        assert hashlib.sha256(base64.b64decode(event["bytes"])).hexdigest() == event["digest"]
    for receipt in made["receipts"]:
        if receipt["trail"].startswith("custody:"):
            assert digests[receipt["number"]] == receipt["digest"]
    choices = nurse.get(f"kits/{made['kit']}/choices-trail", purpose="review").json()
    assert [e["type"] for e in choices["events"]] == ["agreement.recorded", "term.agreed", "card.issued"]


def test_what_stands_outside_the_events_is_nowhere_in_an_answer(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    kit = nurse.register(desk.now())["kit"]
    told = [
        nurse.get(f"kits/{kit}", purpose="task").text,
        nurse.get(f"kits/{kit}/custody-trail", purpose="task").text,
        nurse.get(f"kits/{kit}/choices-trail", purpose="task").text,
    ]
    assert not any("invented.example" in text or "INVENTED-1" in text for text in told)


def test_a_reading_is_on_record_before_anything_is_shown(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    kit = nurse.register(desk.now())["kit"]
    before = desk.count("access")
    refused = nurse.get(f"kits/{kit}")
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "purpose"
    assert desk.count("access") == before
    assert nurse.get(f"kits/{kit}", purpose="review").status_code == 200
    assert desk.count("access") == before + 1


def test_a_decision_on_an_older_state_is_refused(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    kit = nurse.register(desk.now())["kit"]
    seen = nurse.get(f"kits/{kit}", purpose="task")
    tag = seen.headers["etag"]
    order = {"packages": refs(kit, 1), "place": "freezer-1"}
    assert nurse.post("packages/store", order, if_match=tag).status_code == 201
    stale = nurse.post("packages/store", order | {"packages": refs(kit, 2), "place": "shelf-1"}, if_match=tag)
    assert stale.status_code == 412
    assert "in the meantime" in stale.json()["detail"]
    now = nurse.get(f"kits/{kit}", purpose="task").headers["etag"]
    assert now != tag
    again = nurse.post("packages/store", order | {"packages": refs(kit, 2), "place": "shelf-1"}, if_match=now)
    assert again.status_code == 201


def test_a_voided_label_is_recognised_when_it_is_scanned(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    kit = nurse.register(desk.now())["kit"]
    nurse.post("labels/prints", {"kit": kit, "parts": ["P01"]})
    old = _label_of(nurse, kit, "P01")
    assert nurse.get("scan", code=old).json()["voided"] is False
    again = nurse.post("labels/prints", {"kit": kit, "parts": ["P01"], "reason": "torn"})
    assert again.status_code == 201
    scanned = nurse.get("scan", code=old).json()
    assert (scanned["voided"], scanned["package"]) == (True, 1)
    assert "later one" in scanned["says"]
    assert nurse.get("scan", code=_label_of(nurse, kit, "P01")).json()["voided"] is False
    plain = nurse.get("scan", code=kit.lower()).json()
    assert (plain["kit"], plain["part"]) == (kit, "K")
    assert nurse.get("scan", code="https://elsewhere.example/S/1").status_code == 422


def _label_of(person: Person, kit: str, part: str) -> str:
    events = person.get(f"kits/{kit}/custody-trail", purpose="task").json()["events"]
    codes = [
        label["code"]
        for event in events
        if event["type"] == "labels.printed"
        for label in event["event"]["labels"]
        if f"-{part}-" in label["code"]
    ]
    return str(codes[-1])


# --- two people -------------------------------------------------------------------------------------------


def empty_package(desk: Desk, nurse: Person) -> str:
    """A kit with a fourth package that was registered in error: empty, and not sealed."""
    kit: str = nurse.register(desk.now())["kit"]
    order = {
        "kit": kit,
        "brought_by": "victim",
        "packages": [{"package": 4, "kind": "bag", "storage": "dry"}],
    }
    assert nurse.post("kits/supplements", order).status_code == 201
    return kit


def test_a_command_for_two_people_waits_for_the_second_signature(desk: Desk) -> None:
    nurse, other = desk.at(NURSE), desk.at(NURSE_2)
    kit = empty_package(desk, nurse)
    before = desk.count()
    order = {"packages": [{"kit": kit, "package": 4}], "reason": "registered twice"}

    waiting = nurse.post("packages/void", order, "void-once")
    assert waiting.status_code == 202
    proposal = waiting.json()["proposal"]
    assert nurse.post("packages/void", order, "void-once").json() == waiting.json()
    assert desk.count() == before
    (listed,) = other.get("proposals").json()["proposals"]
    assert (listed["id"], listed["person"], listed["kit"]) == (proposal, NURSE.person, kit)

    own = nurse.post(f"proposals/{proposal}/signatures", None)
    assert own.status_code == 409
    assert "another person" in own.json()["detail"]
    assert desk.count() == before

    signed = other.post(f"proposals/{proposal}/signatures", None, "sign-once")
    assert signed.status_code == 201
    again = other.post(f"proposals/{proposal}/signatures", None, "sign-once")
    assert (again.status_code, again.json()) == (200, signed.json())
    assert desk.count() == before + 1
    assert nurse.get(f"kits/{kit}", purpose="task").json()["packages"]["4"]["state"] == "void"
    last = nurse.get(f"kits/{kit}/custody-trail", purpose="task").json()["events"][-1]["event"]
    assert last["who"]["person"] == NURSE.person
    assert [w["person"] for w in last["with"]] == [NURSE_2.person]


def test_a_declined_proposal_is_gone(desk: Desk) -> None:
    nurse, other = desk.at(NURSE), desk.at(NURSE_2)
    kit = empty_package(desk, nurse)
    order = {"packages": [{"kit": kit, "package": 4}], "reason": "registered twice"}
    proposal = nurse.post("packages/void", order).json()["proposal"]
    assert desk.at(OTHER_NURSE).client.delete(f"/api/proposals/{proposal}").status_code == 404
    assert other.client.delete(f"/api/proposals/{proposal}").status_code == 204
    assert other.post(f"proposals/{proposal}/signatures", None).status_code == 404


# --- wrong inputs -----------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {"packages": [{"kit": "KIT", "package": 1, "seal": "S-1"}], "place": "freezer-1"}

WRONG: list[tuple[str, dict[str, Any] | str, str]] = [
    ("packages/store", "{", "body"),
    ("packages/store", "[]", "body"),
    ("packages/store", '{"place": "a", "place": "b", "packages": []}', "body"),
    ("packages/store", {**GOOD, "more": 1}, "more"),
    ("packages/store", {"packages": GOOD["packages"]}, "place"),
    ("packages/store", {**GOOD, "place": 5}, "place"),
    ("packages/store", {**GOOD, "place": "freezer-99"}, "place"),
    ("packages/store", {**GOOD, "place": "shelf-1"}, "place"),
    ("packages/store", {**GOOD, "place": "a\u202eb"}, "place"),
    ("packages/store", {**GOOD, "place": "a\u0000b"}, "place"),
    ("packages/store", {**GOOD, "packages": []}, "packages"),
    ("packages/store", {**GOOD, "packages": [{"kit": "7M4P-9XQ3-RT6D", "package": 1}]}, "packages.0.kit"),
    ("packages/store", {**GOOD, "packages": [{"kit": "KIT", "package": "1"}]}, "packages.0.package"),
    ("packages/store", {**GOOD, "packages": [{"kit": "KIT", "package": 1.5}]}, "packages.0.package"),
    ("packages/store", {**GOOD, "packages": [{"kit": "KIT", "package": 77}]}, "packages"),
    ("packages/store", {**GOOD, "packages": [{"kit": "KIT", "package": 10**30}]}, "packages"),
    (
        "packages/check-seal",
        {"packages": [{"kit": "KIT", "package": 1, "condition": "odd"}]},
        "packages.0.condition",
    ),
    ("packages/take", {"packages": [{"kit": "KIT", "package": 1}]}, "reason"),
    ("labels/prints", {"kit": "KIT", "parts": ["P99"]}, "parts"),
    ("labels/prints", {"kit": "KIT", "parts": ["P01", "P01"]}, "parts"),
    ("kits", {"age_class": "old"}, "age_class"),
    (
        "hand-overs/offers",
        {"packages": GOOD["packages"], "organisation": "nobody", "due_at": "2099-01-01T00:00:00Z"},
        "organisation",
    ),
    (
        "hand-overs/offers",
        {"packages": GOOD["packages"], "organisation": CENTRE, "due_at": "2001-01-01T00:00:00Z"},
        "due_at",
    ),
    (
        "hand-overs/offers",
        {"packages": GOOD["packages"], "organisation": CENTRE, "due_at": "tomorrow"},
        "due_at",
    ),
    ("numbers", {"count": 0}, "count"),
    ("numbers", {"count": 51}, "count"),
    ("numbers", {"count": True}, "count"),
    ("packages/void", {"packages": [{"kit": "KIT", "package": 4}], "reason": "x" * 201}, "reason"),
    ("packages/void", {"packages": [{"kit": "KIT", "package": 4}], "reason": ""}, "reason"),
]


def test_wrong_input_names_its_field_and_nothing_is_written(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    kit = empty_package(desk, nurse)
    before = desk.count(), desk.count("proposal")
    for path, order, field in WRONG:
        body = order if isinstance(order, str) else json.dumps(order)
        answer = nurse.client.post(
            f"/api/{path}",
            content=body.replace('"KIT"', f'"{kit}"'),
            headers={"content-type": "application/json", "idempotency-key": f"wrong-{hash((path, body))}"},
        )
        told = f"{path} {body[:120]}: {answer.status_code} {answer.text}"
        assert answer.status_code == 422, told
        assert answer.headers["content-type"] == "application/problem+json", told
        fields = [fault["field"] for fault in answer.json()["errors"]]
        assert any(each == field or each.startswith(field + ".") for each in fields), told
    assert (desk.count(), desk.count("proposal")) == before


def test_only_json_is_a_command(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", ""):
        answer = nurse.client.post(
            "/api/numbers",
            content=b'{"count":1}',
            headers={"content-type": kind, "idempotency-key": "only-json-1"},
        )
        assert answer.status_code == 415, kind


def test_a_request_that_is_too_large_is_refused(desk: Desk) -> None:
    nurse = desk.at(NURSE)

    def endless() -> Any:
        for _ in range(40):
            yield b" " * 65536

    for content in (b" " * (1024 * 1024 + 1), endless()):
        answer = nurse.client.post(
            "/api/numbers",
            content=content,
            headers={"content-type": "application/json", "idempotency-key": "too-large-1"},
        )
        assert answer.status_code == 413


# --- who may ----------------------------------------------------------------------------------------------


def test_nobody_signed_in_is_401_and_a_function_without_the_action_403(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    stranger = Person(client=desk.client())
    assert stranger.post("packages/store", GOOD).status_code == 401
    assert stranger.get(f"kits/{kit}", purpose="task").status_code == 401
    forged = Person(client=desk.client(authorization="Bearer e30.e30.e30"))
    assert forged.get("me").status_code == 401
    for person, path in (
        (OFFICER, "kits/supplements"),
        (NURSE, "links"),
        (MAGISTRATE, "packages/store"),
        (CUSTODIAN, "kits"),
    ):
        answer = desk.at(person).post(path, {})
        assert answer.status_code == 403, (person, path)
        assert answer.json()["type"].endswith("/problems/not-allowed")


def test_the_police_ask_and_are_always_told_received(desk: Desk) -> None:
    officer, coordinator = desk.at(OFFICER), desk.at(COORDINATOR)
    kit = desk.at(NURSE).register(desk.now())["kit"]
    order = {"pv": "PV.99.L9.000001/2026", "centre": CENTRE}
    answers = [officer.post("requests", order), officer.post("requests", order | {"kit": kit})]
    for answer in answers:
        assert answer.status_code == 202
        assert answer.json()["answer"] == "received"
    assert {len(a.json()["receipts"]) for a in answers} == {1}
    mine = officer.get("requests").json()["requests"]
    assert [r["pv"] for r in mine] == [order["pv"], order["pv"]]
    assert len(coordinator.get("worklists").json()["requests"]) == 2
    assert desk.at(MAGISTRATE).get("requests").status_code == 403


def test_numbers_are_reserved_and_used_once(desk: Desk) -> None:
    nurse, other = desk.at(NURSE), desk.at(OTHER_NURSE)
    reserved = nurse.post("numbers", {"count": 2}, "reserve-two")
    assert reserved.status_code == 201
    first, second = reserved.json()["numbers"]
    assert nurse.post("numbers", {"count": 2}, "reserve-two").json() == reserved.json()
    assert other.post("kits", new_kit(desk.now()) | {"number": first}).status_code == 422
    made = nurse.register(desk.now(), number=first)
    assert made["kit"] == first
    taken = nurse.post("kits", new_kit(desk.now()) | {"number": first})
    assert taken.status_code == 422
    assert taken.json()["errors"][0]["field"] == "number"
    assert nurse.register(desk.now(), number=second.lower())["kit"] == second


@pytest.mark.parametrize("person", [NURSE, OFFICER, MAGISTRATE])
def test_a_list_of_kits_shows_those_that_can_be_seen(desk: Desk, person: Actor) -> None:
    nurse = desk.at(NURSE)
    made = {nurse.register(desk.now())["kit"] for _ in range(2)}
    page = desk.at(person).get("kits", purpose="court")
    assert page.status_code == 200
    seen = {line["kit"] for line in page.json()["kits"]}
    assert seen == (made if person is NURSE else set())
    assert desk.at(person).get("kits", purpose="court", after="bm9uc2Vuc2U").status_code == 422


def test_a_session_of_the_pages_needs_its_form_token_for_every_change(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    opened = nurse.client.post("/session")
    assert opened.status_code == 201
    assert "httponly" in opened.headers["set-cookie"].lower()
    browser = desk.client(cookie=opened.headers["set-cookie"].partition(";")[0])
    me = browser.get("/api/me").json()
    assert me["person"] == NURSE.person
    order = {"count": 1}
    named = {"Idempotency-Key": "from-a-page", "Origin": desk.base_url}
    assert browser.post("/api/numbers", json=order, headers=named).status_code == 403
    named["Custody-Form-Token"] = me["form_token"]
    foreign = named | {"Origin": "https://elsewhere.example"}
    assert browser.post("/api/numbers", json=order, headers=foreign).status_code == 403
    assert browser.post("/api/numbers", json=order, headers=named).status_code == 201
    assert browser.delete("/session", headers=named).status_code == 204
    assert browser.get("/api/me").status_code == 401


def test_every_answer_carries_the_headers_that_protect_it(desk: Desk) -> None:
    for path in ("/healthz", "/api/me", "/nothing/here", "/demo/jwks"):
        answer = desk.client().get(path)
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"], path
        assert "unsafe-inline" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["custody-reference"]
