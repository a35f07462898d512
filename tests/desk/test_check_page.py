"""The page about the scheduled check: for staff, and in figures alone for auditors."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from custody.people import Actor, Function
from desk.api.checks import DAYS
from desk.pages.checks import drawing
from retention.runs import Day, Figures
from tests.custody.story import COORDINATOR, CUSTODIAN, MAGISTRATE, NURSE, OFFICER, OTHER_NURSE
from tests.desk.conftest import Desk
from tests.desk.test_alarms import check
from tests.desk.test_restricted import restricted

Advance = Callable[[timedelta], None]
DAY = timedelta(days=1)


@pytest.fixture
def oversight(desk: Desk) -> Actor:
    """Somebody of the oversight, who sees figures and no kit."""
    at, person = "toezicht", "alba"
    desk.record("organisation.registered", f"organisation:{at}", id=at, kind="oversight", name="Toezicht")
    desk.record("person.registered", f"person:{person}", id=person, name="Alba Toezicht")
    since = {"from": "2020-01-01"}
    desk.record(
        "person.appointed", f"person:{person}", id=person, organisation=at, function="auditor", **since
    )
    return Actor(function=Function.AUDITOR, person=person, name="Alba Toezicht", organisation=at)


def state(desk: Desk, who: Actor) -> dict[str, Any]:
    """How the check stands, for this person."""
    answer = desk.at(who).get("check")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def page(desk: Desk, who: Actor) -> str:
    answer = desk.at(who).client.get("/check", headers={"accept": "text/html"})
    assert answer.status_code == 200, answer.text
    return answer.text


def counts(lines: list[dict[str, Any]]) -> dict[str, int]:
    return {line["kind"]: line["kits"] for line in lines if line["kits"]}


def damage(desk: Desk, kit: str) -> None:
    """The stored projection of a kit is no longer what its events say."""
    with desk.database.connect("superuser") as connection:
        connection.execute("UPDATE custody.kit SET document = document - 'term' WHERE number = %s", [kit])


def registered(desk: Desk, who: Actor = NURSE) -> str:
    kit: str = desk.at(who).register(desk.now())["kit"]
    return kit


def test_a_check_that_has_never_run_is_late_and_says_whom_to_tell(desk: Desk) -> None:
    assert state(desk, NURSE)["late"] is True
    shown = page(desk, NURSE)
    assert "The check is not running" in shown
    assert "the clerk is to be started" in shown


def test_what_a_run_did_is_shown_with_its_day_and_an_hour_without_a_run_is_late(
    desk: Desk, advance: Advance
) -> None:
    registered(desk)
    advance(150 * DAY)
    before = state(desk, COORDINATOR)
    assert counts(before["waiting"]) == {"notices_due": 1}
    assert "the victim should have been told" in page(desk, COORDINATOR)

    check(desk)

    after = state(desk, COORDINATOR)
    assert after["late"] is False
    assert counts(after["waiting"]) == {}
    assert after["last"]["figures"]["notices_due"] == 1
    assert [day["figures"]["notices_due"] for day in after["days"]] == [1]
    shown = page(desk, COORDINATOR)
    assert "It runs." in shown
    assert "the victim is to be told: 1" in shown
    assert "kits that went on a step: 1" in shown

    advance(timedelta(hours=1))
    assert state(desk, COORDINATOR)["late"] is True
    assert "The check is not running" in page(desk, COORDINATOR)


def test_a_kit_that_is_set_aside_is_named_to_its_own_centre_and_counted_for_auditors(
    desk: Desk, advance: Advance, oversight: Actor
) -> None:
    kit = registered(desk)
    registered(desk, OTHER_NURSE)
    damage(desk, kit)
    advance(150 * DAY)
    check(desk)

    own, other, audit = state(desk, CUSTODIAN), state(desk, OTHER_NURSE), state(desk, oversight)

    assert [(line["kit"], line["step"]) for line in own["set_aside"]] == [(kit, "notice.due")]
    assert counts(own["waiting"]) == {"notices_due": 1, "set_aside": 1}
    assert other["set_aside"] == []
    assert counts(other["waiting"]) == {}
    assert audit["set_aside"] == []
    assert counts(audit["waiting"]) == {"notices_due": 1, "set_aside": 1}
    assert own["last"]["figures"]["failed"] == 1
    shown = page(desk, CUSTODIAN)
    assert f"/kits/{kit}" in shown
    assert "set aside: the check could not move it" in page(desk, oversight)
    assert kit not in page(desk, oversight)
    assert kit not in page(desk, OTHER_NURSE)


def test_a_restricted_kit_that_is_set_aside_is_named_to_its_readers_alone(
    desk: Desk, advance: Advance
) -> None:
    kit = restricted(desk)
    damage(desk, kit)
    advance(150 * DAY)
    check(desk)

    assert [line["kit"] for line in state(desk, NURSE)["set_aside"]] == [kit]
    assert state(desk, CUSTODIAN)["set_aside"] == []
    assert kit not in page(desk, CUSTODIAN)


def test_a_message_that_waits_is_counted_for_its_own_centre(
    desk: Desk, advance: Advance, oversight: Actor
) -> None:
    kit = registered(desk)
    proved = desk.at(NURSE).post("channels/proofs", {"kit": kit, "how": "message_shown"})
    assert proved.status_code == 201, proved.text
    advance(150 * DAY)
    check(desk)

    assert counts(state(desk, NURSE)["outbox"]) == {"waiting": 1}
    assert counts(state(desk, OTHER_NURSE)["outbox"]) == {}
    assert counts(state(desk, oversight)["outbox"]) == {"waiting": 1}
    assert "messages that wait to be sent" in page(desk, NURSE)


@pytest.mark.parametrize("outsider", [OFFICER, MAGISTRATE], ids=lambda a: str(a.person))
def test_the_check_is_nobodys_business_outside_the_centres(desk: Desk, outsider: Actor) -> None:
    assert desk.at(outsider).get("check").status_code == 403


def test_who_looks_at_the_list_is_on_record_and_an_auditor_sees_no_list(desk: Desk, oversight: Actor) -> None:
    def reads() -> int:
        with desk.database.connect("superuser") as connection:
            row = connection.execute("SELECT count(*) FROM custody.access").fetchone()
        assert row is not None
        return int(row[0])

    before = reads()
    state(desk, oversight)
    assert reads() == before
    state(desk, NURSE)
    assert reads() == before + 1


def test_the_picture_has_a_bar_for_each_of_thirty_days_and_says_what_it_means(desk: Desk) -> None:
    today = desk.now().date()
    days = [
        Day(on=today, runs=288, figures=Figures(notices_due=8, failed=2)),
        Day(on=today - DAY, runs=288, figures=Figures()),
    ]
    words = {"title": "by day", "moved": "{count} moved", "failed": "{count} not", "none": "no run"}

    drawn = drawing(days, today, words)

    assert drawn.count("<g>") == DAYS
    assert "8 moved, 2 not" in drawn
    assert drawn.count("no run") == DAYS - 2
    assert 'height="90"/><rect class="marked"' in drawn  # the busiest day is as high as the picture
    assert 'height="18"/></g>' in drawn  # and a fifth of it could not be moved
