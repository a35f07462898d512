"""Who reads a kit, why, and who looks at that: a purpose that is true, the glass, and what stands out."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from custody.event import Event, decode
from custody.number import KitNumber, Part, PartKind, label_code
from custody.people import Actor
from desk.api.document import routes_of
from desk.app import build
from tests.custody.story import (
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    CUSTODIAN_2,
    MAGISTRATE,
    NURSE,
    NURSE_2,
    OFFICER,
    OTHER_NURSE,
    PlainMasters,
    new_number,
)
from tests.desk.conftest import Desk, Person, refs
from tests.desk.test_choices import sign_log

READERS = ["coraline", "nora"]
SECOND = f"coordinator@{CENTRE}"


def quiet(desk: Desk) -> str:
    """A kit with which the custodian has no task: its packages lie in their places, their seals checked."""
    nurse = desk.at(NURSE)
    kit: str = nurse.register(desk.now())["kit"]
    assert nurse.post("labels/prints", {"kit": kit, "parts": ["P01"]}).status_code == 201
    for package, place in ((1, "freezer-1"), (2, "shelf-1"), (3, "shelf-1")):
        assert (
            nurse.post("packages/store", {"packages": refs(kit, package), "place": place}).status_code == 201
        )
    checked = desk.at(NURSE_2).post("packages/check-seal", {"packages": refs(kit, 1, 2, 3)})
    assert checked.status_code == 201, checked.text
    return kit


def restricted(desk: Desk) -> str:
    nurse = desk.at(NURSE)
    kit: str = nurse.register(desk.now())["kit"]
    assert nurse.post("restrictions", {"kit": kit, "readers": READERS}).status_code == 201
    return kit


def second_coordinator(desk: Desk) -> Person:
    """Cleo, who is a coordinator of the centre too."""
    more = {"id": "cleo", "organisation": CENTRE, "function": "coordinator", "from": "2020-01-01"}
    desk.record("person.appointed", "person:cleo", **more)
    person = desk.at(CUSTODIAN_2)
    person.client.headers["Custody-Function"] = SECOND
    return person


def records(desk: Desk, person: Actor) -> list[Event]:
    """All access records of this person, oldest first."""
    with desk.database.connect("superuser") as connection:
        rows = connection.execute(
            "SELECT bytes FROM custody.access WHERE subject = %s ORDER BY number", [f"reads:{person.person}"]
        ).fetchall()
    return [decode(bytes(row[0])) for row in rows]


# --- a purpose that is true -------------------------------------------------------------------------------


@pytest.mark.parametrize(("purpose", "says"), [("task", "no task"), ("scan", "not scanned")])
def test_a_task_or_a_scan_that_is_only_claimed_opens_nothing(desk: Desk, purpose: str, says: str) -> None:
    kit = quiet(desk)
    before = desk.count("access")
    refused = desk.at(CUSTODIAN).get(f"kits/{kit}", purpose=purpose)
    assert refused.status_code == 422
    assert says in refused.json()["detail"]
    assert "Words that are accepted: report, safety," in refused.json()["detail"]
    assert desk.count("access") == before
    assert desk.at(CUSTODIAN).get(f"kits/{kit}", purpose="stock_take").status_code == 200


@pytest.mark.parametrize("purpose", ["task", "scan", "stock_take", "court"])
@pytest.mark.parametrize("asker", [OTHER_NURSE, OFFICER, MAGISTRATE], ids=lambda a: str(a.person))
def test_whoever_may_not_know_of_the_kit_is_not_told_that_the_purpose_is_wrong(
    desk: Desk, asker: Actor, purpose: str
) -> None:
    kit = quiet(desk)
    for number in (kit, new_number()):
        answer = desk.at(asker).get(f"kits/{number}", purpose=purpose)
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (404, "not-found")


def test_a_scanned_label_opens_its_kit_and_a_typed_number_does_not(desk: Desk) -> None:
    kit, custodian = quiet(desk), desk.at(CUSTODIAN)
    assert custodian.get("scan", code=kit).status_code == 422
    assert custodian.get("scan", code=label_code(KitNumber(kit), Part(PartKind.PACKAGE, 1), 1)).is_success
    assert custodian.get(f"kits/{kit}", purpose="scan").status_code == 200
    assert custodian.get(f"kits/{kit}/custody-trail", purpose="task").status_code == 200
    told = [(r.get("read"), r.get("purpose")) for r in records(desk, CUSTODIAN)]
    assert told == [("scan", "scan"), ("kit_read", "scan"), ("custody_trail_read", "scan")]


def test_a_scan_of_one_kit_opens_no_other(desk: Desk) -> None:
    one, other = quiet(desk), quiet(desk)
    custodian = desk.at(CUSTODIAN)
    assert custodian.get("scan", code=label_code(KitNumber(one), Part(PartKind.PACKAGE, 1), 1)).is_success
    assert custodian.get(f"kits/{other}", purpose="scan").status_code == 422


def test_a_label_that_nobody_printed_proves_nothing(desk: Desk) -> None:
    kit, custodian = quiet(desk), desk.at(CUSTODIAN)
    made_up = label_code(KitNumber(kit), Part(PartKind.ITEM, 2), 1)
    assert custodian.get("scan", code=made_up).json()["voided"] is True
    assert custodian.get(f"kits/{kit}", purpose="scan").status_code == 422


def test_a_stated_reason_is_passed_on_under_its_own_word(desk: Desk) -> None:
    kit, custodian = quiet(desk), desk.at(CUSTODIAN)
    assert custodian.get(f"kits/{kit}", purpose="complaint").status_code == 200
    assert custodian.get(f"kits/{kit}/custody-trail", purpose="task").status_code == 200
    assert [r.get("purpose") for r in records(desk, CUSTODIAN)] == ["complaint", "complaint"]


def test_nobody_has_a_task_with_all_kits(desk: Desk) -> None:
    assert desk.at(NURSE).get("kits", purpose="task").status_code == 422
    assert desk.at(NURSE).get("kits", purpose="stock_take").status_code == 200


# --- everything readable leaves a record ------------------------------------------------------------------

EXCUSED = {
    "/outage/{number}.pdf": "a number set aside, for which there is no kit yet",
    "/api/kits/{number}/choices-bundle": "refused until a judge's order: test_choices",
}

NOTHING_TO_SHOW = {
    "/api/kits/{number}/certificate": "nothing of it was destroyed; that this was asked is on record too",
}


def test_after_every_route_that_shows_a_kit_the_last_record_names_kit_and_reader(desk: Desk) -> None:
    kit = quiet(desk)
    sign_log(desk)
    app = build(desk.settings, PlainMasters())
    paths = sorted(
        str(r.path)
        for r in routes_of(app)
        if "{number}" in str(r.path) and "GET" in (r.methods or ()) and r.path not in EXCUSED
    )
    assert len(paths) >= 12, paths
    reader = {"labels": NURSE, "bundle": COORDINATOR}
    for path in paths:
        who = next((actor for word, actor in reader.items() if word in path), NURSE)
        before = len(records(desk, who))
        address = path.replace("{number}", kit)
        query = {"part": "P01"} if "labels." in path else {"purpose": "review", "for": "review"}
        answer = desk.at(who).client.get(address, params=query)
        came = 409 if path in NOTHING_TO_SHOW else 200
        assert answer.status_code == came, f"{path}: {answer.text}"
        made = records(desk, who)
        assert len(made) > before, path
        assert made[-1].get("kit") == kit, path
        assert made[-1].who == who.who(), path


@pytest.mark.parametrize("path", ["worklists", "kits?purpose=review", "proposals"])
def test_lists_leave_a_record_too(desk: Desk, path: str) -> None:
    quiet(desk)
    before = len(records(desk, COORDINATOR))
    assert desk.at(COORDINATOR).client.get(f"/api/{path}").status_code == 200
    assert len(records(desk, COORDINATOR)) == before + 1


def test_who_looks_at_what_waits_for_a_signature_leaves_a_record(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    held = {"kit": kit, "ground": "centre", "reason": "to be looked at"}
    assert desk.at(NURSE).post("holds", held).status_code == 201
    (hold,) = desk.at(COORDINATOR).get(f"kits/{kit}", purpose="review").json()["choices"]["holds"]
    lift = {"kit": kit, "hold": hold["id"], "reason": "it was looked at"}
    proposal = desk.at(COORDINATOR).post("holds/lifts", lift).json()["proposal"]
    assert desk.at(NURSE_2).client.get(f"/signatures/{proposal}").status_code == 200
    looked = [(each.get("read"), each.get("kit")) for each in records(desk, NURSE_2)]
    # The page says on what ground the hold stands and what was seen of the victim's choices: two looks more.
    assert looked == [("proposal", kit), ("kit_read", kit), ("choices_trail_read", kit)]


# --- the glass --------------------------------------------------------------------------------------------


def test_the_glass_opens_a_restricted_kit_for_an_hour_on_record_and_with_an_alarm(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    kit, colleague = restricted(desk), desk.at(NURSE_2)
    assert colleague.get(f"kits/{kit}", purpose="safety").status_code == 404
    with caplog.at_level(logging.WARNING, "desk.api.readings"):
        opened = colleague.client.post(f"/api/kits/{kit}/glass", json={"reason": "medical_emergency"})
    assert opened.status_code == 201, opened.text
    assert colleague.get(f"kits/{kit}", purpose="task").status_code == 200
    first, second = records(desk, NURSE_2)
    assert [first.get(x) for x in ("read", "kit", "reason")] == ["break_glass", kit, "medical_emergency"]
    assert (second.get("read"), second.get("purpose")) == ("kit_read", "break_glass")
    (alarm,) = [r.getMessage() for r in caplog.records if r.name == "desk.api.readings"]
    assert CENTRE in alarm
    assert kit not in alarm
    assert "nils" not in alarm.lower()


def test_whatever_is_stated_during_the_hour_is_on_record_as_the_glass(desk: Desk) -> None:
    kit, colleague = restricted(desk), desk.at(NURSE_2)
    assert colleague.client.post(f"/api/kits/{kit}/glass", json={"reason": "victim_in_danger"}).is_success
    assert colleague.get(f"kits/{kit}", purpose="review").status_code == 200
    assert colleague.get(f"kits/{kit}/custody-trail", purpose="court").status_code == 200
    assert {r.get("purpose") for r in records(desk, NURSE_2)} == {"break_glass"}


def test_the_glass_closes_after_an_hour(desk: Desk, advance: Callable[[timedelta], None]) -> None:
    kit, colleague = restricted(desk), desk.at(NURSE_2)
    assert colleague.client.post(f"/api/kits/{kit}/glass", json={"reason": "court_deadline"}).is_success
    advance(timedelta(minutes=61))
    assert desk.at(NURSE_2).get(f"kits/{kit}", purpose="task").status_code == 404


def test_where_no_glass_is_breaking_it_gives_one_answer_and_names_no_kit_on_record(desk: Desk) -> None:
    foreign = desk.at(OTHER_NURSE).register(desk.now())["kit"]
    colleague = desk.at(NURSE_2)
    answers = []
    for number in (foreign, new_number()):
        answer = colleague.client.post(f"/api/kits/{number}/glass", json={"reason": "readers_absent"})
        answers.append((answer.status_code, answer.json()["detail"]))
    usual = colleague.get(f"kits/{new_number()}", purpose="court")
    assert set(answers) == {(404, usual.json()["detail"])}
    assert [(r.get("read"), r.get("kit")) for r in records(desk, NURSE_2)] == [("break_glass", None)] * 2
    assert second_coordinator(desk).get("readings").json()["readings"] == []


def test_a_kit_that_stands_open_needs_no_broken_glass(desk: Desk) -> None:
    kit = quiet(desk)
    refused = desk.at(NURSE_2).client.post(f"/api/kits/{kit}/glass", json={"reason": "readers_absent"})
    assert refused.status_code == 422
    assert "stands open" in refused.json()["detail"]


@pytest.mark.parametrize("asker", [OFFICER, MAGISTRATE], ids=lambda a: str(a.person))
def test_the_glass_is_for_staff_alone(desk: Desk, asker: Actor) -> None:
    kit = restricted(desk)
    for number in (kit, new_number()):
        answer = desk.at(asker).client.post(f"/api/kits/{number}/glass", json={"reason": "court_deadline"})
        assert answer.status_code == 403


# --- who looked -------------------------------------------------------------------------------------------


def lines(person: Person, /, **query: Any) -> list[dict[str, Any]]:
    answer = person.get("readings", **query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["readings"])


def test_a_coordinator_sees_who_looked_and_that_look_is_on_record(desk: Desk) -> None:
    kit = quiet(desk)
    desk.at(CUSTODIAN).get(f"kits/{kit}", purpose="review")
    (own, line, *_) = lines(desk.at(COORDINATOR), kit=kit)
    assert own["read"] == "reads_read"
    told = ("person", "function", "organisation", "read", "purpose", "kit")
    assert [line[x] for x in told] == ["casper", "custodian", CENTRE, "kit_read", "review", kit]
    assert "never_acted" in line["stands_out"]
    looked = records(desk, COORDINATOR)[-1]
    assert (looked.get("read"), looked.get("kit")) == ("reads_read", kit)
    for other in (NURSE, CUSTODIAN, MAGISTRATE, OFFICER):
        assert desk.at(other).get("readings").status_code == 403


def test_readings_of_another_centre_are_not_there(desk: Desk) -> None:
    foreign = desk.at(OTHER_NURSE).register(desk.now())["kit"]
    desk.at(OTHER_NURSE).get(f"kits/{foreign}", purpose="task")
    coordinator = desk.at(COORDINATOR)
    assert lines(coordinator) == []
    assert lines(coordinator, kit=foreign) == lines(coordinator, kit=new_number()) == []


def test_readings_can_be_asked_for_by_person_day_and_what_stands_out_and_come_in_pages(desk: Desk) -> None:
    kit, today = quiet(desk), desk.now().date().isoformat()
    nurse = desk.at(NURSE)
    for _ in range(55):
        nurse.get(f"kits/{kit}", purpose="task")
    desk.at(CUSTODIAN).get(f"kits/{kit}", purpose="review")
    coordinator = desk.at(COORDINATOR)
    first = coordinator.get("readings", person="nora").json()
    rest = coordinator.client.get(first["next"]).json()
    assert (len(first["readings"]), len(rest["readings"])) == (50, 5)
    assert "next" not in rest
    seen = [line["digest"] for line in first["readings"] + rest["readings"]]
    assert len(set(seen)) == 55
    assert len(lines(coordinator, person="casper", day=today)) == 1
    assert lines(coordinator, day="2020-01-01") == []
    assert {line["person"] for line in lines(coordinator, unusual="true")} == {"casper"}, "the nurse worked"


@pytest.mark.parametrize(
    "query", [{"day": "tomorrow"}, {"person": "No Body"}, {"after": "bm9uc2Vuc2U"}, {"kit": "7M4P"}]
)
def test_a_question_that_cannot_be_read_is_refused(desk: Desk, query: dict[str, str]) -> None:
    assert desk.at(COORDINATOR).get("readings", **query).status_code == 422


def test_what_stands_out_is_reviewed_by_another_coordinator_once(desk: Desk) -> None:
    kit = quiet(desk)
    first, second = desk.at(COORDINATOR), second_coordinator(desk)
    first.get(f"kits/{kit}", purpose="review")
    assert lines(second, unusual="true") == [], "a review leaves nothing to review"
    first.get(f"kits/{kit}", purpose="stock_take")
    (marked,) = lines(second, unusual="true")
    path = f"/api/readings/{marked['digest']}/review"
    own = first.client.post(path)
    assert own.status_code == 403
    assert "Another coordinator" in own.json()["detail"]
    assert second.client.post(path, params={"found": "nothing at all"}).status_code == 422
    assert second.client.post(path, params={"found": "passed_on"}).status_code == 201
    (again,) = lines(second, unusual="true")
    assert (again["reviewed_by"], again["found"]) == (CUSTODIAN_2.name, "passed_on")
    assert second.client.post(path).status_code == 409
    assert second.client.post(f"/api/readings/{'ab' * 32}/review").status_code == 404
    assert second.client.post("/api/readings/nonsense/review").status_code == 422


def test_a_restricted_kit_is_not_named_to_a_coordinator_who_is_no_reader(desk: Desk) -> None:
    kit = restricted(desk)
    colleague, stranger = desk.at(NURSE_2), second_coordinator(desk)
    colleague.client.post(f"/api/kits/{kit}/glass", json={"reason": "readers_absent"})
    (line,) = lines(stranger)
    assert (line["read"], line["person"], line["reason"]) == ("break_glass", "nils", "readers_absent")
    assert "kit" not in line
    assert lines(stranger, kit=kit) == lines(stranger, kit=new_number()) == []
    assert lines(desk.at(COORDINATOR))[0]["kit"] == kit
