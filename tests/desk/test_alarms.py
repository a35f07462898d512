"""Over HTTP: each kind of alarm, provoked on a real database by letting time pass, and ended by the work."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from custody.ledger import Ledger
from custody.people import Actor
from desk.alarm import raise_alarm
from retention.alarms import BY_NAME
from retention.check import EVERY, newest_slot, run_slot
from tests.custody.story import (
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    LAB,
    MAGISTRATE,
    NURSE,
    NURSE_2,
    OFFICER,
    OTHER_NURSE,
    PlainMasters,
    engine,
)
from tests.desk.conftest import Desk, moment, refs
from tests.desk.test_edge import linked
from tests.desk.test_readings import quiet
from tests.desk.test_restricted import READERS, recorded

Advance = Callable[[timedelta], None]
HOUR, DAY, MINUTE = timedelta(hours=1), timedelta(days=1), timedelta(minutes=1)


def check(desk: Desk) -> None:
    """Run the scheduled check in the next slot that nobody has run."""

    async def within() -> None:
        clerk = engine(desk.database.url("clerk"))
        try:
            slot = newest_slot(desk.now())
            while await run_slot(Ledger(clerk, PlainMasters()), clerk, slot) is None:
                slot += EVERY
        finally:
            await clerk.dispose()

    asyncio.run(within())


def alarms(desk: Desk, actor: Actor, **query: str) -> dict[str, list[dict[str, Any]]]:
    """What is overdue for this person to see, by kind."""
    answer = desk.at(actor).get("alarms", **query)
    assert answer.status_code == 200, answer.text
    found: dict[str, list[dict[str, Any]]] = {}
    for each in answer.json()["alarms"]:
        found.setdefault(each["rule"], []).append(each)
    return found


def one(desk: Desk, actor: Actor, rule: str) -> dict[str, Any]:
    (found,) = alarms(desk, actor)[rule]
    return found


def unwatched(desk: Desk) -> str:
    """A kit in its places, its seals checked, and its victim not to be contacted."""
    kit = quiet(desk)
    change = {"kit": kit, "channel": "none", "language": "nl", "how": "in_person"}
    waiting = desk.at(NURSE).post("channels", change)
    assert waiting.status_code == 202, waiting.text
    signed = desk.at(NURSE_2).post(f"proposals/{waiting.json()['proposal']}/signatures", {})
    assert recorded(signed) == ["channel.changed"]
    return kit


def test_nothing_is_overdue_on_the_first_day_and_the_answer_says_as_of_when(desk: Desk) -> None:
    unwatched(desk)
    answer = desk.at(NURSE).get("alarms").json()
    assert answer["alarms"] == []
    assert answer["at"]
    assert [each["rule"] for each in answer["kinds"]] == list(BY_NAME)
    assert all(each["alarms"] == 0 for each in answer["kinds"])
    assert not answer["more"]


def test_a_hand_over_that_nobody_accepted_is_for_the_receiver_and_seen_at_both_ends(
    desk: Desk, advance: Advance
) -> None:
    kit = unwatched(desk)
    due = desk.now() + 4 * HOUR
    offer = {"packages": refs(kit, 1, 2), "organisation": LAB, "due_at": moment(due)}
    recorded(desk.at(NURSE).post("hand-overs/offers", offer))
    advance(4 * HOUR - MINUTE)
    assert alarms(desk, NURSE) == {}
    advance(2 * MINUTE)
    late = one(desk, NURSE, "handover_late")
    assert (late["kit"], late["packages"]) == (kit, [1, 2])
    assert [each["organisation"] for each in late["acts"]] == [LAB, CENTRE]
    assert late["mine"], "the giver answers for it until somebody accepts"
    assert alarms(desk, OTHER_NURSE) == {}
    recorded(desk.at(NURSE).post("hand-overs/cancellations", {"packages": refs(kit, 1, 2)}))
    assert "handover_late" not in alarms(desk, NURSE)


def test_a_package_that_lies_in_no_place_is_its_holders_and_a_seal_is_anothers_to_look_at(
    desk: Desk, advance: Advance
) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    advance(24 * HOUR - MINUTE)
    assert alarms(desk, NURSE) == {}
    advance(2 * MINUTE)
    stored = one(desk, NURSE, "not_stored")
    assert (stored["packages"], stored["mine"], stored["acts"][0]["name"]) == ([1, 2, 3], True, NURSE.name)
    assert not one(desk, NURSE, "seal_not_checked")["mine"]
    assert one(desk, NURSE_2, "seal_not_checked")["mine"]
    assert not one(desk, NURSE_2, "not_stored")["mine"]
    recorded(desk.at(NURSE_2).post("packages/check-seal", {"packages": refs(kit, 1, 2, 3)}))
    for package, place in ((1, "freezer-1"), (2, "shelf-1"), (3, "shelf-1")):
        recorded(desk.at(NURSE).post("packages/store", {"packages": refs(kit, package), "place": place}))
    assert alarms(desk, NURSE) == {}


def test_from_the_notice_to_the_disposal_each_step_that_is_left_lying_is_told_in_its_turn(
    desk: Desk, advance: Advance
) -> None:
    kit = quiet(desk)
    advance(70 * DAY)
    assert one(desk, NURSE, "channel_old")["mine"], "nobody ever confirmed the channel"
    recorded(desk.at(NURSE).post("channels/proofs", {"kit": kit, "how": "called"}))
    assert alarms(desk, NURSE) == {}
    advance(70 * DAY)
    check(desk)
    assert alarms(desk, NURSE) == {}
    advance(15 * DAY)
    assert one(desk, COORDINATOR, "notice_not_settled")["mine"]
    assert not one(desk, CUSTODIAN, "notice_not_settled")["mine"]
    recorded(desk.at(NURSE).post("notices/attempts", {"kit": kit, "how": "reached"}))
    assert alarms(desk, NURSE) == {}
    advance(75 * DAY)
    check(desk)
    assert alarms(desk, CUSTODIAN) == {}
    advance(31 * DAY)
    assert one(desk, CUSTODIAN, "expired_not_reviewed")["mine"]
    recorded(desk.at(CUSTODIAN).post("disposals/proposals", {"kit": kit}))
    assert alarms(desk, CUSTODIAN) == {}
    advance(31 * DAY)
    assert one(desk, COORDINATOR, "proposed_not_decided")["mine"]
    recorded(desk.at(COORDINATOR).post("disposals/approvals", {"kit": kit}))
    advance(31 * DAY)
    assert one(desk, CUSTODIAN, "approved_not_carried_out")["mine"]
    assert not one(desk, COORDINATOR, "approved_not_carried_out")["mine"], (
        "who approved does not carry it out"
    )
    recorded(desk.at(COORDINATOR).post("holds", {"kit": kit, "ground": "centre", "reason": "a question"}))
    assert set(alarms(desk, COORDINATOR)) == set(), "a hold ends the approval, and waits for its review"


def test_a_hold_that_nobody_looked_at_again_is_told_until_somebody_does(desk: Desk, advance: Advance) -> None:
    kit = unwatched(desk)
    day = (desk.now() + 10 * DAY).date()
    placed = {"kit": kit, "ground": "centre", "reason": "a question", "review_on": day.isoformat()}
    recorded(desk.at(COORDINATOR).post("holds", placed))
    advance(9 * DAY)
    assert alarms(desk, COORDINATOR) == {}
    advance(2 * DAY)
    late = one(desk, COORDINATOR, "hold_not_reviewed")
    assert late["mine"]
    review = {"kit": kit, "hold": late["about"], "reason": "still open"}
    recorded(desk.at(COORDINATOR).post("holds/reviews", review))
    assert alarms(desk, COORDINATOR) == {}


def test_a_report_without_a_link_a_link_without_a_pick_up_and_a_request_without_an_answer(
    desk: Desk, advance: Advance
) -> None:
    declared = unwatched(desk)
    recorded(desk.at(NURSE).post("reports", {"kit": declared, "how": "in_person"}))
    office = linked(desk)
    asked = desk.at(OFFICER).post("requests", {"pv": "PV.99.L9.000777/2026", "centre": CENTRE})
    assert asked.status_code == 202, asked.text
    advance(8 * DAY)
    found = alarms(desk, COORDINATOR)
    assert found["request_unanswered"][0]["mine"]
    advance(7 * DAY)
    late = one(desk, COORDINATOR, "link_not_picked_up")
    assert late["kit"] == office
    assert {each["organisation"] for each in late["acts"]} == {CENTRE, OFFICER.organisation}
    advance(80 * DAY)
    assert one(desk, COORDINATOR, "report_not_linked")["kit"] == declared
    assert not one(desk, NURSE, "report_not_linked")["mine"]


def test_a_wish_that_nobody_spoke_about_is_told_after_a_week(desk: Desk, advance: Advance) -> None:
    kit = unwatched(desk)
    recorded(desk.at(NURSE).post("destructions", {"kit": kit, "how": "by_phone"}))
    advance(7 * DAY - MINUTE)
    assert alarms(desk, NURSE) == {}
    advance(2 * MINUTE)
    assert one(desk, NURSE, "wish_not_heard")["mine"]
    recorded(desk.at(NURSE).post("destructions/withdrawals", {"kit": kit, "how": "by_phone"}))
    assert alarms(desk, NURSE) == {}


def test_every_place_of_the_centre_is_counted_once_a_year(desk: Desk, advance: Advance) -> None:
    advance(363 * DAY)
    assert alarms(desk, CUSTODIAN) == {}
    advance(4 * DAY)
    due = alarms(desk, CUSTODIAN)["stock_take_due"]
    assert {each["place"] for each in due} == {"freezer-1", "shelf-1", "fridge-1", "table-1"}
    assert all(each["mine"] and each["place_name"] for each in due)
    assert not alarms(desk, COORDINATOR)["stock_take_due"][0]["mine"]
    recorded(desk.at(CUSTODIAN).post("stock-takes", {"place": "freezer-1", "packages": []}))
    left = {each["place"] for each in alarms(desk, CUSTODIAN)["stock_take_due"]}
    assert left == {"shelf-1", "fridge-1", "table-1"}
    assert "stock_take_due" not in alarms(desk, OTHER_NURSE), "the other centre has no place"


def test_what_the_check_set_aside_and_a_log_that_is_not_signed_are_told_at_once(desk: Desk) -> None:
    kit = unwatched(desk)
    with desk.database.connect("superuser") as connection:
        connection.execute(
            "INSERT INTO retention.set_aside (kit, until, reason)"
            " VALUES (%s, custody.clock() + interval '30 minutes', 'notice.due: Refused')",
            [kit],
        )
    aside = one(desk, COORDINATOR, "kit_set_aside")
    assert (aside["kit"], aside["mine"], aside["why"]) == (kit, True, "notice.due: Refused")
    assert "kit_set_aside" not in alarms(desk, OTHER_NURSE)
    raise_alarm(desk.settings.keys, "The disk is full.")
    told = one(desk, NURSE, "log_not_signed")
    assert told["why"] == "The disk is full."


def test_broken_glass_waits_a_day_for_another_coordinator(desk: Desk, advance: Advance) -> None:
    kit = unwatched(desk)
    recorded(desk.at(NURSE).post("restrictions", {"kit": kit, "readers": READERS}))
    opened = desk.at(CUSTODIAN).client.post(f"/api/kits/{kit}/glass", json={"reason": "victim_in_danger"})
    assert opened.status_code == 201, opened.text
    assert alarms(desk, COORDINATOR) == {}
    advance(DAY + MINUTE)
    late = one(desk, COORDINATOR, "glass_not_reviewed")
    assert (late["kit"], late["mine"]) == (kit, True)
    assert alarms(desk, NURSE) == {}, "readings are looked at by coordinators"


def test_a_restricted_kit_raises_its_alarms_for_its_readers_alone(desk: Desk, advance: Advance) -> None:
    kit = quiet(desk)
    recorded(desk.at(NURSE).post("restrictions", {"kit": kit, "readers": READERS}))
    recorded(desk.at(NURSE).post("destructions", {"kit": kit, "how": "by_phone"}))
    advance(8 * DAY)
    assert one(desk, NURSE, "wish_not_heard")["kit"] == kit
    assert one(desk, COORDINATOR, "wish_not_heard")["kit"] == kit
    for other in (NURSE_2, CUSTODIAN, OTHER_NURSE):
        assert alarms(desk, other) == {}
        assert kit not in desk.at(other).client.get("/alarms").text


def test_a_kit_that_is_with_justice_is_nobodys_work_at_the_centre(desk: Desk, advance: Advance) -> None:
    kit = linked(desk)
    due = moment(desk.now() + DAY)
    offer = {"packages": refs(kit, 1, 2, 3), "organisation": OFFICER.organisation, "due_at": due}
    recorded(desk.at(NURSE).post("hand-overs/offers", offer))
    recorded(desk.at(OFFICER).post("hand-overs/acceptances", {"packages": refs(kit, 1, 2, 3)}))
    advance(100 * DAY)
    assert kit not in desk.at(COORDINATOR).get("alarms").text


def test_alarms_are_for_staff_of_a_centre_and_are_asked_for_by_kind_and_by_person(
    desk: Desk, advance: Advance
) -> None:
    desk.at(NURSE).register(desk.now())
    advance(25 * HOUR)
    for nobody in (OFFICER, MAGISTRATE):
        assert desk.at(nobody).get("alarms").status_code == 403
        assert desk.at(nobody).client.get("/alarms", headers={"accept": "text/html"}).status_code == 403
    assert set(alarms(desk, NURSE)) == {"not_stored", "seal_not_checked"}
    assert set(alarms(desk, NURSE, person="me")) == {"not_stored"}
    assert set(alarms(desk, NURSE_2, person="nora")) == {"not_stored"}
    assert set(alarms(desk, NURSE, rule="seal_not_checked")) == {"seal_not_checked"}
    assert alarms(desk, NURSE, rule="stock_take_due") == {}
    refused = desk.at(NURSE).get("alarms", rule="nonsense")
    assert refused.status_code in (409, 422)
    assert "no such kind of alarm" in refused.json()["detail"]


def test_what_is_overdue_is_a_task_and_opens_the_kit_without_a_question(desk: Desk, advance: Advance) -> None:
    kit = unwatched(desk)
    recorded(desk.at(COORDINATOR).post("holds", {"kit": kit, "ground": "centre", "reason": "a question"}))
    advance(60 * DAY)
    assert desk.at(COORDINATOR).get(f"kits/{kit}", purpose="task").status_code == 422
    advance(60 * DAY)
    assert one(desk, COORDINATOR, "hold_not_reviewed")["mine"]
    assert desk.at(COORDINATOR).get(f"kits/{kit}", purpose="task").status_code == 200
    assert desk.at(CUSTODIAN).get(f"kits/{kit}", purpose="task").status_code == 422, "it is not theirs"


@pytest.mark.parametrize("actor", [NURSE, CUSTODIAN, COORDINATOR], ids=lambda a: str(a.person))
def test_the_first_page_and_the_menu_count_what_is_overdue(
    desk: Desk, advance: Advance, actor: Actor
) -> None:
    html = {"accept": "text/html"}
    assert "Nothing is overdue, as of" in desk.at(actor).client.get("/", headers=html).text
    assert "Nothing is overdue, as of" in desk.at(actor).client.get("/alarms", headers=html).text
    desk.at(NURSE).register(desk.now())
    advance(25 * HOUR)
    for path in ("/", "/alarms"):
        shown = desk.at(actor).client.get(path, headers=html).text
        assert 'Overdue <span class="count">2</span>' in shown
        assert "Nothing is overdue" not in shown
