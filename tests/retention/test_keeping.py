"""How long a kit is kept: what people and the clock may decide about it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from custody.commands import (
    AskDestruction,
    ConfirmDestruction,
    CorrectAge,
    DeclareReport,
    EndLink,
    ExtendTerm,
    LiftHold,
    LinkInError,
    Paper,
    PlaceHold,
    TakeBackDestruction,
    WithdrawReport,
)
from custody.decision import Decided, Seen
from custody.items import TYPES
from custody.kit import Kit, Link, Policy
from custody.people import Actor
from custody.prosecution import declare
from custody.protocol import Legal, Retention
from custody.refusal import NeedsSecond, NotSeen, Refused
from retention.holds import lift_hold, place_hold
from retention.keeping import (
    ask_destruction,
    confirm_destruction,
    cool_off,
    correct_age,
    end_link,
    extend,
    link_in_error,
    register,
    take_back_destruction,
    withdraw,
)
from retention.notice import NotNow
from tests.custody.story import (
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    NURSE,
    NURSE_2,
    OFFICE,
    OTHER_NURSE,
    ZONE,
    kit_order,
)
from tests.retention.kept import (
    BELGIUM,
    DAY,
    HASHES,
    NOON,
    POLICY,
    approved,
    card_of,
    expired,
    kit_of,
    noticed,
    over_at,
    then,
    without,
)

BOTH: Any = {"identity": "confirmed", "free_will": "confirmed"}


def term_end(kit: Kit) -> date:
    assert kit.term is not None
    return kit.term.end


# --- registering ------------------------------------------------------------------------------------


def test_an_adult_in_belgium_is_kept_six_months_and_a_minor_fifty_years() -> None:
    assert term_end(kit_of(NOON, "adult")) == date(2026, 7, 15)
    assert term_end(kit_of(NOON, "minor")) == date(2076, 1, 15)
    assert kit_of().policy == Policy(id="belgium", version=1)


def test_an_unknown_age_never_gets_the_shorter_term() -> None:
    unknown = term_end(kit_of(NOON, "unknown"))

    assert unknown >= term_end(kit_of(NOON, "adult"))
    assert unknown >= term_end(kit_of(NOON, "minor"))


def test_an_examination_late_in_the_evening_utc_was_on_the_next_day_in_brussels() -> None:
    kit = kit_of(datetime(2026, 6, 30, 23, 30, tzinfo=UTC))

    assert kit.examined_on == date(2026, 7, 1)
    assert term_end(kit) == date(2027, 1, 1)


def test_a_centre_with_a_policy_of_its_own_uses_it() -> None:
    own = replace(POLICY, id="sterrenberg", centre=CENTRE, adult=POLICY.minor)

    kit = kit_of(NOON, "adult", (POLICY, own))

    assert kit.policy == Policy(id="sterrenberg", version=1)
    assert term_end(kit) == date(2076, 1, 15)


def refused_registration(at: datetime, policies: Any, actor: Actor = NURSE, **change: Any) -> Decided:
    order = replace(kit_order(at), **change)
    seen = Seen(at=at)
    return register(
        seen, order, actor, number="7M4P9XQ3RT6C", policies=policies, item_types=TYPES, card=HASHES
    )


def test_no_kit_is_registered_without_a_policy_or_with_an_examination_to_come() -> None:
    with pytest.raises(Refused, match="No term can be agreed") as refusal:
        refused_registration(NOON, ())
    assert refusal.value.field == "examined_at"
    with pytest.raises(Refused, match="cannot lie in the future"):
        refused_registration(NOON, BELGIUM, examined_at=NOON + DAY)
    with pytest.raises(Refused, match="does not allow"):
        refused_registration(NOON, BELGIUM, CUSTODIAN)


def test_an_examination_of_long_ago_comes_with_its_record_and_leaves_the_whole_notice_period() -> None:
    assert refused_registration(NOON, BELGIUM, examined_at=NOON - 7 * DAY).facts
    for days in (8, 200, 365):
        with pytest.raises(Refused, match=r"more than 7 days ago.*the year") as refusal:
            refused_registration(NOON, BELGIUM, examined_at=NOON - days * DAY)
        assert refusal.value.field == "examined_at"

    before = Paper(digest="ab" * 32, occurred_at=NOON - 201 * DAY)
    with pytest.raises(Refused, match="before the day of the examination"):
        refused_registration(NOON, BELGIUM, examined_at=NOON - 200 * DAY, paper=before)
    record = replace(before, occurred_at=NOON - 200 * DAY)
    late = refused_registration(NOON, BELGIUM, examined_at=NOON - 200 * DAY, paper=record)

    (agreed,) = (fact for fact in late.facts if fact.type == "term.agreed")
    assert agreed.fields["term"]["end"] == "2026-03-16"
    assert agreed.fields["term"]["notice_on"] == "2026-01-15"


def test_a_form_begun_before_midnight_belongs_to_the_examination_after_it() -> None:
    at = datetime(2026, 1, 14, 23, 30, tzinfo=UTC)  # half past midnight in Brussels
    begun = Paper(digest="ab" * 32, occurred_at=at - timedelta(minutes=45))
    order = replace(kit_order(at), examined_at=at, paper=begun)
    seen = Seen(at=at + timedelta(hours=4))
    decided = register(
        seen, order, NURSE, number="7M4P9XQ3RT6C", policies=BELGIUM, item_types=TYPES, card=HASHES
    )
    assert decided.facts

    long_before = replace(order, paper=Paper(digest="ab" * 32, occurred_at=at - timedelta(hours=13)))
    with pytest.raises(Refused, match="before the day of the examination"):
        register(
            seen, long_before, NURSE, number="7M4P9XQ3RT6C", policies=BELGIUM, item_types=TYPES, card=HASHES
        )


# --- extending --------------------------------------------------------------------------------------


def test_the_victim_extends_with_the_card_and_the_notice_falls_due_again() -> None:
    kit, at = noticed()
    victim = card_of(kit.number)

    longer = then(kit, extend(kit, ExtendTerm(kit=kit.number, how="by_card"), victim, BELGIUM, at), at)

    assert term_end(longer) == date(2027, 1, 15)
    assert longer.retention is Retention.RUNNING
    assert longer.notice_due_at is None


@pytest.mark.parametrize("far", [expired, approved])
def test_even_an_expired_or_approved_kit_can_still_be_kept_longer(
    far: Callable[[], tuple[Kit, datetime]],
) -> None:
    kit, at = far()

    longer = then(kit, extend(kit, ExtendTerm(kit=kit.number, how="by_phone"), NURSE, BELGIUM, at), at)

    assert longer.retention is Retention.RUNNING
    assert longer.disposal is None
    assert over_at(longer) > at


def test_another_victims_card_and_another_centre_do_not_see_the_kit() -> None:
    kit = kit_of()
    order = ExtendTerm(kit=kit.number, how="by_card")

    for stranger in (card_of(kit_of().number), OTHER_NURSE):
        with pytest.raises(NotSeen):
            extend(kit, order, stranger, BELGIUM, NOON)


def test_an_extension_beyond_the_calendar_is_refused_in_words() -> None:
    kit = kit_of()
    assert kit.term is not None
    kit = without(kit, term=replace(kit.term, end=date(9999, 12, 1)))

    with pytest.raises(Refused, match="cannot be extended"):
        extend(kit, ExtendTerm(kit=kit.number, how="by_card"), NURSE, BELGIUM, NOON)


def test_a_policy_that_is_not_adopted_here_is_named_in_the_refusal() -> None:
    kit = without(kit_of(), policy=Policy(id="nowhere", version=9))

    with pytest.raises(Refused, match="nowhere/9 of this kit is not known"):
        extend(kit, ExtendTerm(kit=kit.number, how="by_card"), NURSE, BELGIUM, NOON)


# --- a report withdrawn, a link ended -----------------------------------------------------------------


def reported(kit: Kit, at: datetime) -> Kit:
    return then(kit, declare(kit, DeclareReport(kit=kit.number, how="in_person"), NURSE), at)


def test_after_a_withdrawal_at_least_the_notice_period_is_left() -> None:
    kit, at = noticed()
    kit = reported(kit, at)
    late = over_at(kit) - DAY
    order = WithdrawReport(kit=kit.number, how="in_person")

    with pytest.raises(NeedsSecond):
        withdraw(kit, order, NURSE, None, BELGIUM, late)
    again = then(kit, withdraw(kit, order, NURSE, NURSE_2, BELGIUM, late), late)

    assert (again.legal, again.retention) == (Legal.UNREPORTED, Retention.RUNNING)
    assert over_at(again) - late >= timedelta(days=60)


def linked(kit: Kit, ground: str) -> Kit:
    link = Link(ground=ground, pv="PV-1", notice="N-1", office=OFFICE, zone=ZONE)
    return without(kit, legal=Legal.LINKED, retention=Retention.STOPPED, link=link, linked_at=NOON)


def test_when_the_office_ends_the_link_the_term_runs_again_with_its_notice_period() -> None:
    kit = linked(kit_of(), "report")
    at = NOON + timedelta(days=700)
    order = EndLink(kit=kit.number, letter="ab" * 32, reason="case closed")

    with pytest.raises(NeedsSecond):
        end_link(kit, order, COORDINATOR, None, BELGIUM, at)
    again = then(kit, end_link(kit, order, COORDINATOR, NURSE, BELGIUM, at), at)

    assert (again.legal, again.retention, again.link) == (Legal.UNREPORTED, Retention.RUNNING, None)
    assert over_at(again) - at >= timedelta(days=60)


def test_a_link_in_error_leads_back_to_the_report_or_after_an_order_to_a_running_term() -> None:
    at = NOON + timedelta(days=700)
    for ground, legal, retention in (
        ("report", Legal.DECLARED, Retention.STOPPED),
        ("order", Legal.UNREPORTED, Retention.RUNNING),
    ):
        kit = linked(kit_of(), ground)
        order = LinkInError(kit=kit.number, reason="another person's kit")
        back = then(kit, link_in_error(kit, order, COORDINATOR, NURSE, BELGIUM, at), at)
        assert (back.legal, back.retention) == (legal, retention)
    assert over_at(back) - at >= timedelta(days=60)


# --- the age class ------------------------------------------------------------------------------------


def test_a_correction_that_shortens_takes_two_and_gives_a_fresh_notice_period() -> None:
    kit = kit_of(NOON, "minor")
    at = NOON + timedelta(days=700)
    order = CorrectAge(kit=kit.number, age_class="adult", reason="identity card seen")

    with pytest.raises(NeedsSecond):
        correct_age(kit, order, COORDINATOR, None, BELGIUM, at)
    with pytest.raises(Refused, match="another person's"):
        correct_age(kit, order, COORDINATOR, COORDINATOR, BELGIUM, at)
    with pytest.raises(Refused, match="of the centre"):
        correct_age(kit, order, COORDINATOR, OTHER_NURSE, BELGIUM, at)
    decided = correct_age(kit, order, COORDINATOR, NURSE, BELGIUM, at)

    assert decided.facts[0].fields["with"] == [NURSE.signs("second")]
    shorter = then(kit, decided, at)
    assert shorter.age_class == "adult"
    assert timedelta(days=60) <= over_at(shorter) - at < timedelta(days=62)
    with pytest.raises(Refused, match="on record already"):
        correct_age(shorter, order, COORDINATOR, NURSE, BELGIUM, at)


def test_a_victim_found_to_be_a_minor_is_kept_long_and_a_request_for_destruction_falls() -> None:
    kit, at = cooling()
    order = CorrectAge(kit=kit.number, age_class="minor", reason="identity card seen")

    kit = then(kit, correct_age(kit, order, COORDINATOR, NURSE, BELGIUM, at), at)

    assert term_end(kit) == date(2076, 1, 15)
    assert kit.destruction is None


def held(kit: Kit, at: datetime, ground: Any = "centre") -> Kit:
    order = PlaceHold(kit=kit.number, ground=ground, reason="a reason")
    return then(kit, place_hold(kit, order, COORDINATOR, "ab" * 16, BELGIUM, at), at)


# --- early destruction ------------------------------------------------------------------------------------


def asked(kit: Kit, at: datetime = NOON) -> Kit:
    order = AskDestruction(kit=kit.number, how="by_card")
    return then(kit, ask_destruction(kit, order, card_of(kit.number), BELGIUM), at)


def cooling() -> tuple[Kit, datetime]:
    """Asked and confirmed on 20 January: the cooling-off ends with 19 February."""
    at = datetime(2026, 1, 20, 12, tzinfo=UTC)
    kit = asked(kit_of(), at)
    order = ConfirmDestruction(kit=kit.number, **BOTH)
    return then(kit, confirm_destruction(kit, order, NURSE, NURSE_2, BELGIUM, at), at), at


def test_an_early_destruction_takes_two_staff_and_thirty_days() -> None:
    kit = asked(kit_of())
    order = ConfirmDestruction(kit=kit.number, **BOTH)

    with pytest.raises(NeedsSecond):
        confirm_destruction(kit, order, NURSE, None, BELGIUM, NOON)
    with pytest.raises(Refused, match="does not allow"):
        confirm_destruction(kit, order, card_of(kit.number), NURSE, BELGIUM, NOON)
    kit, at = cooling()
    assert kit.destruction is not None
    assert kit.destruction.until == datetime(2026, 2, 19, 23, tzinfo=UTC)
    with pytest.raises(Refused, match="confirmed already"):
        confirm_destruction(kit, order, NURSE, NURSE_2, BELGIUM, at)
    with pytest.raises(Refused, match="asked for destruction already"):
        ask_destruction(kit, AskDestruction(kit=kit.number, how="by_card"), NURSE, BELGIUM)


@pytest.mark.parametrize("age_class", ["minor", "unknown"])
def test_no_early_destruction_before_majority(age_class: str) -> None:
    kit = asked(kit_of(NOON, age_class))

    with pytest.raises(Refused, match="minor"):
        confirm_destruction(kit, ConfirmDestruction(kit=kit.number, **BOTH), NURSE, NURSE_2, BELGIUM, NOON)


def test_no_early_destruction_while_held_or_unasked() -> None:
    kit = kit_of()
    order = ConfirmDestruction(kit=kit.number, **BOTH)

    with pytest.raises(Refused, match="has not asked"):
        confirm_destruction(kit, order, NURSE, NURSE_2, BELGIUM, NOON)
    with pytest.raises(Refused, match="held"):
        confirm_destruction(held(asked(kit), NOON), order, NURSE, NURSE_2, BELGIUM, NOON)


def test_only_the_end_of_the_cooling_off_brings_the_term_forward() -> None:
    kit, _ = cooling()
    until = datetime(2026, 2, 19, 23, tzinfo=UTC)

    with pytest.raises(NotNow):
        cool_off(kit, BELGIUM, until - timedelta(microseconds=1))
    with pytest.raises(NotNow):
        cool_off(held(kit, until), BELGIUM, until)
    kit = then(kit, cool_off(kit, BELGIUM, until), until)

    assert kit.retention is Retention.EXPIRED
    assert (term_end(kit), over_at(kit)) == (date(2026, 2, 19), until)


@pytest.mark.parametrize("protects", ["taken back", "extended", "reported"])
def test_taken_back_extended_or_reported_the_cooling_off_leads_nowhere(protects: str) -> None:
    kit, at = cooling()
    victim = card_of(kit.number)
    decided = {
        "taken back": lambda: take_back_destruction(
            kit, TakeBackDestruction(kit=kit.number, how="by_card"), victim, BELGIUM, at
        ),
        "extended": lambda: extend(kit, ExtendTerm(kit=kit.number, how="by_card"), victim, BELGIUM, at),
        "reported": lambda: declare(kit, DeclareReport(kit=kit.number, how="by_card"), victim),
    }[protects]()

    kit = then(kit, decided, at)

    assert kit.destruction is None
    with pytest.raises(NotNow):
        cool_off(kit, BELGIUM, at + 400 * DAY)
    with pytest.raises(Refused, match="No request for destruction stands"):
        take_back_destruction(kit, TakeBackDestruction(kit=kit.number, how="by_card"), victim, BELGIUM, at)


@pytest.mark.parametrize("reached", ["running", "notice_due"])
def test_a_wish_is_taken_back_after_the_cooling_off_and_the_term_is_given_back(reached: str) -> None:
    kit, at = cooling()
    if reached == "notice_due":  # confirmed while the notice stood, the victim told
        kit, at = noticed()
        kit = asked(kit, at)
        order = ConfirmDestruction(kit=kit.number, **BOTH)
        kit = then(kit, confirm_destruction(kit, order, NURSE, NURSE_2, BELGIUM, at), at)
    was = term_end(kit_of())
    assert kit.destruction is not None
    assert kit.destruction.until is not None
    at = kit.destruction.until + 5 * DAY
    kit = then(kit, cool_off(kit, BELGIUM, at), at)
    assert term_end(kit) < was

    back = TakeBackDestruction(kit=kit.number, how="by_card")
    kit = then(kit, take_back_destruction(kit, back, card_of(kit.number), BELGIUM, at), at)

    assert (kit.retention, kit.destruction) == (Retention.RUNNING, None)
    assert term_end(kit) >= was
    assert over_at(kit) - at >= 60 * DAY
    with pytest.raises(NotNow):
        cool_off(kit, BELGIUM, at + 400 * DAY)


def test_a_term_that_expired_without_a_wish_has_none_to_take_back() -> None:
    kit, at = expired()
    with pytest.raises(Refused, match="ask to extend the term"):
        take_back_destruction(kit, TakeBackDestruction(kit=kit.number, how="by_card"), NURSE, BELGIUM, at)


@pytest.mark.parametrize("ground", ["suspected_pressure", "safety"])
def test_a_hold_that_makes_the_wish_doubtful_ends_its_confirmation(ground: str) -> None:
    kit, at = cooling()
    kit = held(kit, at + 10 * DAY, ground)
    assert kit.destruction is not None
    assert kit.destruction.until is None

    lift = LiftHold(kit=kit.number, hold="ab" * 16, reason="spoken with")
    kit = then(kit, lift_hold(kit, lift, COORDINATOR, NURSE), at + 70 * DAY)

    with pytest.raises(NotNow):
        cool_off(kit, BELGIUM, at + 71 * DAY)
    order = ConfirmDestruction(kit=kit.number, **BOTH)
    anew = at + 71 * DAY
    kit = then(kit, confirm_destruction(kit, order, NURSE, NURSE_2, BELGIUM, anew), anew)
    assert kit.destruction is not None
    assert kit.destruction.until is not None
    assert kit.destruction.until - anew >= 30 * DAY
