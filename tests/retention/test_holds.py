"""Holds: who places one, when somebody looks at it again, and what it takes to lift it."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from custody.commands import EnterOrder, LiftHold, PlaceHold
from custody.kit import Kit, Link
from custody.people import Actor, Function
from custody.permission import PERMISSIONS
from custody.protocol import Legal, Retention
from custody.refusal import NeedsSecond, NotSeen, Refused
from retention.commands import ReviewHold
from retention.holds import GROUNDS, lift_hold, place_hold, review_hold, unreviewed
from retention.keeping import enter_order
from tests.custody.story import COORDINATOR, CUSTODIAN, MAGISTRATE, NURSE, OFFICE, OTHER_NURSE, ZONE
from tests.retention.kept import BELGIUM, DAY, NOON, approved, card_of, kit_of, then, without

FIRST: str = "ab" * 16
LATEST: date = date(2026, 4, 15)  # three months after the 15th of January


def linked(kit: Kit, ground: str) -> Kit:
    link = Link(ground=ground, pv="PV-1", notice="N-1", office=OFFICE, zone=ZONE)
    return without(kit, legal=Legal.LINKED, retention=Retention.STOPPED, link=link, linked_at=NOON)


def held(
    kit: Kit,
    ground: Any = "centre",
    actor: Actor = COORDINATOR,
    at: datetime = NOON,
    id_: str = FIRST,
    on: date | None = None,
    by: Any = "victim",
) -> Kit:
    order = PlaceHold(kit=kit.number, ground=ground, reason="a reason", review_on=on, asked_by=by)
    return then(kit, place_hold(kit, order, actor, id_, BELGIUM, at), at)


def test_the_victim_freezes_for_safety_once_and_the_words_are_not_kept() -> None:
    kit = kit_of()
    victim = card_of(kit.number)
    order = PlaceHold(kit=kit.number, ground="safety", reason="he knows")
    decided = place_hold(kit, order, victim, FIRST, BELGIUM, NOON)

    assert "reason" not in decided.facts[0].fields
    assert decided.facts[0].fields["decided_by"] == "victim"
    kit = then(kit, decided, NOON)
    assert [h.ground for h in kit.holds.values()] == ["safety"]
    with pytest.raises(Refused, match="held already"):
        held(kit, "safety", victim)
    with pytest.raises(Refused, match="on this ground"):
        held(kit, "centre", victim)


def test_a_hold_makes_an_approved_disposal_fall_back() -> None:
    kit, at = approved()

    kit = held(kit, at=at)

    assert (kit.retention, kit.disposal) == (Retention.EXPIRED, None)


def test_every_hold_has_a_day_of_review_and_none_later_than_the_policy_says() -> None:
    kit = kit_of()

    assert held(kit).holds[FIRST].review_on == LATEST
    assert held(kit, "safety", card_of(kit.number)).holds[FIRST].review_on == LATEST
    assert held(kit, on=date(2026, 2, 1)).holds[FIRST].review_on == date(2026, 2, 1)
    for wrong, why in ((LATEST + DAY, "by 2026-04-15 at the latest"), (date(2026, 1, 15), "future")):
        with pytest.raises(Refused, match=why) as refusal:
            held(kit, on=wrong)
        assert refusal.value.field == "review_on"


def test_the_hold_of_a_judges_order_has_a_day_of_review_too() -> None:
    kit = kit_of()
    order = EnterOrder(kit=kit.number, digest="11" * 32, authority="Judge Invented", dated=date(2026, 1, 9))

    kit = then(kit, enter_order(kit, order, COORDINATOR, FIRST, BELGIUM, NOON), NOON)

    assert (kit.holds[FIRST].ground, kit.holds[FIRST].review_on) == ("order", LATEST)


def test_a_hold_that_nobody_reviewed_stands_on_the_list_until_somebody_did() -> None:
    kit = held(held(kit_of(), on=date(2026, 2, 1)), "safety", id_="cd" * 16)
    at = datetime(2026, 2, 1, 9, tzinfo=UTC)

    assert unreviewed(kit, at - DAY) == ()
    assert [h.id for h in unreviewed(kit, at)] == [FIRST]
    order = ReviewHold(kit=kit.number, hold=FIRST, reason="the inquiry goes on")
    kit = then(kit, review_hold(kit, order, COORDINATOR, BELGIUM, at), at)

    assert unreviewed(kit, at) == ()
    assert (kit.holds[FIRST].reviewed_at, kit.holds[FIRST].review_on) == (at, date(2026, 5, 1))
    assert [h.ground for h in unreviewed(kit, NOON + timedelta(days=400))] == ["centre", "safety"]


def test_a_hold_from_before_days_of_review_is_on_the_list() -> None:
    kit = held(kit_of())
    kit = without(kit, holds={FIRST: replace(kit.holds[FIRST], review_on=None)})

    assert [h.id for h in unreviewed(kit, NOON)] == [FIRST]


def test_a_review_is_the_coordinators_and_a_magistrates_of_their_own_hold() -> None:
    kit = held(held(linked(kit_of(), "report"), "magistrate", MAGISTRATE), "centre", id_="cd" * 16)
    own = ReviewHold(kit=kit.number, hold=FIRST, reason="looked at")
    centres = replace(own, hold="cd" * 16)

    for actor in (MAGISTRATE, COORDINATOR):
        reviewed = then(kit, review_hold(kit, own, actor, BELGIUM, NOON + DAY), NOON + DAY)
        assert reviewed.holds[FIRST].reviewed_at == NOON + DAY
    with pytest.raises(Refused, match="holds of magistrates"):
        review_hold(kit, centres, MAGISTRATE, BELGIUM, NOON)
    with pytest.raises(Refused, match="does not allow"):
        review_hold(kit, centres, NURSE, BELGIUM, NOON)
    with pytest.raises(Refused, match="no such hold"):
        review_hold(kit, replace(own, hold="ef" * 16), COORDINATOR, BELGIUM, NOON)
    with pytest.raises(NotSeen):
        review_hold(kit_of(), own, MAGISTRATE, BELGIUM, NOON)


def test_a_magistrate_holds_only_a_linked_kit_and_only_as_magistrate() -> None:
    with pytest.raises(NotSeen):
        held(kit_of(), "magistrate", MAGISTRATE)
    kit = linked(kit_of(), "report")
    with pytest.raises(Refused, match="on this ground"):
        held(kit, "centre", MAGISTRATE)
    with pytest.raises(Refused, match="on this ground"):
        held(kit, "magistrate", COORDINATOR)

    assert len(held(kit, "magistrate", MAGISTRATE).holds) == 1


def test_a_hold_of_the_centre_is_lifted_by_two_people() -> None:
    kit = held(kit_of(), "suspected_pressure")
    order = LiftHold(kit=kit.number, hold=FIRST, reason="spoken with alone")

    with pytest.raises(NeedsSecond):
        lift_hold(kit, order, COORDINATOR, None)
    with pytest.raises(Refused, match="no such hold"):
        lift_hold(kit, replace(order, hold="cd" * 16), COORDINATOR, NURSE)
    with pytest.raises(Refused, match="of the centre"):
        lift_hold(kit, order, COORDINATOR, OTHER_NURSE)

    assert then(kit, lift_hold(kit, order, COORDINATOR, NURSE), NOON).holds == {}


def test_a_hold_by_order_is_lifted_only_by_a_written_order_and_takes_the_order_with_it() -> None:
    kit = kit_of()
    entered = EnterOrder(
        kit=kit.number, digest="11" * 32, authority="Judge Invented", dated=date(2026, 1, 16)
    )
    kit = then(kit, enter_order(kit, entered, COORDINATOR, FIRST, BELGIUM, NOON + DAY), NOON + DAY)
    order = LiftHold(kit=kit.number, hold=FIRST, reason="revoked")

    with pytest.raises(Refused, match="only by a written order") as refusal:
        lift_hold(kit, order, COORDINATOR, NURSE)
    assert refusal.value.field == "order"
    decided = lift_hold(kit, replace(order, order="22" * 32), COORDINATOR, NURSE)
    free = then(kit, decided, NOON)

    assert decided.facts[0].fields["documents"] == [{"kind": "written_order", "digest": "22" * 32}]
    assert (free.holds, free.order) == ({}, None)


def test_with_the_hold_of_an_earlier_order_a_later_order_does_not_go() -> None:
    kit = kit_of()
    for days, (digest, hold) in enumerate((("11" * 32, FIRST), ("33" * 32, "cd" * 16))):
        at = NOON + days * DAY
        order = EnterOrder(kit=kit.number, digest=digest, authority="Judge Invented", dated=date(2026, 1, 9))
        kit = then(kit, enter_order(kit, order, COORDINATOR, hold, BELGIUM, at), at)
        kit = without(kit, order=None) if days == 0 else kit  # its link had ended

    revoked = LiftHold(kit=kit.number, hold=FIRST, reason="revoked", order="22" * 32)
    kit = then(kit, lift_hold(kit, revoked, COORDINATOR, NURSE), NOON + 2 * DAY)

    assert kit.order is not None
    assert kit.order.digest == "33" * 32
    kit = then(kit, lift_hold(kit, replace(revoked, hold="cd" * 16), COORDINATOR, NURSE), NOON + 3 * DAY)
    assert (kit.holds, kit.order) == ({}, None)


def test_the_hold_of_an_order_that_led_to_a_link_can_go_while_the_order_stays() -> None:
    kit = kit_of()
    entered = EnterOrder(
        kit=kit.number, digest="11" * 32, authority="Judge Invented", dated=date(2026, 1, 16)
    )
    kit = then(kit, enter_order(kit, entered, COORDINATOR, FIRST, BELGIUM, NOON + DAY), NOON + DAY)
    kit = linked(kit, "order")
    order = LiftHold(kit=kit.number, hold=FIRST, reason="released", order="22" * 32)

    assert then(kit, lift_hold(kit, order, COORDINATOR, NURSE), NOON).order is not None


@pytest.mark.parametrize("ground", ["death", "incapacity"])
def test_death_and_incapacity_hold_the_kit_and_stop_the_card_in_one_moment(ground: str) -> None:
    kit = kit_of()
    order = PlaceHold(kit=kit.number, ground=ground, reason="told by the hospital")  # type: ignore[arg-type]

    decided = place_hold(kit, order, NURSE, FIRST, BELGIUM, NOON)

    assert [f.type for f in decided.facts] == ["hold.placed", "card.stopped"]
    assert decided.extra == {"cards": [{"kit": kit.number}]}
    assert then(kit, decided, NOON).card == "stopped"


def test_no_card_is_stopped_where_none_opens_anything() -> None:
    kit = without(kit_of(), card="declined")
    order = PlaceHold(kit=kit.number, ground="death", reason="told by the hospital")

    decided = place_hold(kit, order, NURSE, FIRST, BELGIUM, NOON)

    assert ([f.type for f in decided.facts], decided.extra) == (["hold.placed"], {})


def test_a_representative_may_ask_for_safety_only_where_one_decides() -> None:
    with pytest.raises(Refused, match="decides alone"):
        held(kit_of(NOON, "minor"), "safety", NURSE, by="representative")
    kit = without(kit_of(NOON, "minor"), decided_by="representative")

    assert len(held(kit, "safety", NURSE, by="representative").holds) == 1


def test_every_function_has_its_grounds_and_only_functions_that_may_hold_have_any() -> None:
    assert set(GROUNDS) == set(PERMISSIONS["hold.place"])
    assert Function.CLOCK not in GROUNDS
    with pytest.raises(Refused, match="does not allow"):
        held(kit_of(), "centre", CUSTODIAN)
