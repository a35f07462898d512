"""A wish for early destruction that had ended the term: whatever ends the wish gives the term back."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from custody.commands import (
    ApproveDisposal,
    AskDestruction,
    ConfirmDestruction,
    CorrectAge,
    DeclareReport,
    ExtendTerm,
    LiftHold,
    LinkInError,
    PlaceHold,
    ProposeDisposal,
    TakeBackDestruction,
    WithdrawReport,
)
from custody.decision import Decided
from custody.kit import Kit, Link, from_document, to_document
from custody.prosecution import declare
from custody.protocol import Legal, Retention
from custody.refusal import Refused
from retention.commands import ConfirmMajority
from retention.deciding import confirm_majority
from retention.disposal import approve, propose
from retention.holds import lift_hold, place_hold
from retention.keeping import (
    ask_destruction,
    confirm_destruction,
    cool_off,
    correct_age,
    extend,
    link_in_error,
    take_back_destruction,
    withdraw,
)
from retention.notice import answered, attempt, expire, fall_due
from retention.period import Period
from retention.policy import ExtensionUntil, Policy
from tests.custody.story import COORDINATOR, CUSTODIAN, NURSE, NURSE_2, OFFICE, ZONE
from tests.retention.kept import (
    BELGIUM,
    DAY,
    NOON,
    POLICY,
    REACHED,
    approved,
    card_of,
    kit_of,
    noticed,
    over_at,
    then,
    without,
)

BOTH: Any = {"identity": "confirmed", "free_will": "confirmed"}
HOLD = "ab" * 16
MESSAGE = "cd" * 32


def confirmed(kit: Kit, at: datetime, policies: tuple[Policy, ...] = BELGIUM) -> tuple[Kit, datetime]:
    """The kit while its cooling-off runs, and when that is over."""
    wish = AskDestruction(kit=kit.number, how="in_person")
    kit = then(kit, ask_destruction(kit, wish, NURSE, policies), at)
    order = ConfirmDestruction(kit=kit.number, **BOTH)
    kit = then(kit, confirm_destruction(kit, order, NURSE, NURSE_2, policies, at), at)
    assert kit.destruction is not None
    assert kit.destruction.until is not None
    return kit, kit.destruction.until


def cooled(kit: Kit, at: datetime, policies: tuple[Policy, ...] = BELGIUM) -> tuple[Kit, datetime]:
    """The kit once its term ended with the wish, and an hour after the cooling-off."""
    kit, until = confirmed(kit, at, policies)
    at = until + timedelta(hours=1)
    return then(kit, cool_off(kit, policies, at), at), at


def of_age() -> tuple[Kit, datetime]:
    """A minor in 2026, who came of age and in 2036 wishes the evidence destroyed; the term ran to 2076."""
    kit = kit_of(age_class="minor")
    at = NOON.replace(year=2036)
    majority = confirm_majority(kit, ConfirmMajority(kit=kit.number, how="in_person"), COORDINATOR, NURSE_2)
    return cooled(then(kit, majority, at), at + DAY)


def back(kit: Kit, at: datetime, policies: tuple[Policy, ...] = BELGIUM) -> Kit:
    order = TakeBackDestruction(kit=kit.number, how="in_person")
    return then(kit, take_back_destruction(kit, order, NURSE, policies, at), at)


def longer(kit: Kit, at: datetime, policies: tuple[Policy, ...] = BELGIUM) -> Kit:
    return then(kit, extend(kit, ExtendTerm(kit=kit.number, how="by_phone"), NURSE, policies, at), at)


def reported(kit: Kit, at: datetime) -> Kit:
    return then(kit, declare(kit, DeclareReport(kit=kit.number, how="in_person"), NURSE), at)


def withdrawn(kit: Kit, at: datetime) -> Kit:
    order = WithdrawReport(kit=kit.number, how="in_person")
    return then(kit, withdraw(kit, order, NURSE, NURSE_2, BELGIUM, at), at)


def doubted(kit: Kit, at: datetime, ground: Any = "suspected_pressure") -> Kit:
    order = PlaceHold(kit=kit.number, ground=ground, reason="a reason")
    return then(kit, place_hold(kit, order, NURSE, HOLD, BELGIUM, at), at)


def test_a_wish_that_ended_the_term_keeps_the_term_from_before_in_the_projection() -> None:
    kit, _ = of_age()

    assert kit.ended_by_wish
    assert kit.term is not None
    assert kit.term_before_wish is not None
    assert (kit.term.end.year, kit.term_before_wish.end.year) == (2036, 2076)
    assert from_document(Kit, to_document(kit)) == kit
    assert "term_before_wish" not in to_document(kit_of()), "no key where there is nothing to tell"


@pytest.mark.parametrize(
    "ends", ["taken back", "extended", "report withdrawn", "order in error", "pressure", "safety"]
)
def test_whatever_ends_the_wish_gives_the_term_from_before_it_back(ends: str) -> None:
    kit, at = of_age()
    before = kit.term_before_wish
    assert before is not None
    at += DAY
    match ends:
        case "taken back":
            kit = back(kit, at)
        case "extended":
            kit = longer(kit, at)
        case "report withdrawn":
            kit = withdrawn(reported(kit, at), at + DAY)
        case "order in error":
            link = Link(ground="order", pv="PV-1", notice="N-1", office=OFFICE, zone=ZONE)
            kit = without(kit, legal=Legal.LINKED, retention=Retention.STOPPED, link=link)
            order = LinkInError(kit=kit.number, reason="another person's kit")
            kit = then(kit, link_in_error(kit, order, COORDINATOR, NURSE, BELGIUM, at), at)
        case "pressure":
            kit = doubted(kit, at)
        case _:
            kit = doubted(kit, at, "safety")

    assert (kit.legal, kit.retention) == (Legal.UNREPORTED, Retention.RUNNING)
    assert over_at(kit) >= before.over_at
    assert kit.term is not None
    if ends != "extended":
        assert kit.term == before
    else:
        assert kit.term.end > before.end
    assert (kit.term_before_wish, kit.expires_at) == (None, None)


def test_a_term_that_is_given_back_is_none_of_the_extensions_and_gets_no_longer_each_time() -> None:
    kit, at = kit_of(), NOON + DAY
    agreed = kit.term
    for _ in range(2):
        kit, at = cooled(kit, at)
        kit = back(kit, at + DAY)
        assert (kit.extensions, kit.retention) == (0, Retention.RUNNING)
        assert kit.term == agreed
        at += 2 * DAY
    kit, at = cooled(kit, at)
    kit = doubted(kit, at)
    assert kit.extensions == 0


def test_what_is_given_back_leaves_at_least_the_notice_period() -> None:
    kit, _ = noticed()
    kit, at = cooled(kit, over_at(kit) - 35 * DAY)
    kit = back(kit, at)

    assert timedelta(days=60) <= over_at(kit) - at < timedelta(days=62)
    assert kit.extensions == 0


def test_the_one_extension_of_a_policy_is_still_there_after_taking_back() -> None:
    once = (replace(POLICY, extension_times=1),)
    kit, at = cooled(kit_of(policies=once), NOON + DAY, once)
    kit = longer(back(kit, at, once), at, once)

    assert kit.extensions == 1
    with pytest.raises(Refused, match="cannot be extended"):
        longer(kit, at, once)


def test_an_extension_can_be_asked_for_where_only_the_wish_ended_the_term() -> None:
    until_end = (replace(POLICY, extension_until=ExtensionUntil.END),)
    kit, at = cooled(kit_of(policies=until_end), NOON + DAY, until_end)
    agreed = kit.term_before_wish
    assert agreed is not None

    kit = longer(kit, at, until_end)

    assert kit.extensions == 1
    assert kit.term is not None
    assert kit.term.end > agreed.end


@pytest.mark.parametrize(
    "policy",
    [POLICY, replace(POLICY, extension_times=0), replace(POLICY, extension_until=ExtensionUntil.END)],
    ids=["as agreed", "no extension", "none after the end"],
)
def test_it_is_taken_back_also_where_the_cooling_off_ended_after_the_term_and_the_victim_was_told(
    policy: Policy,
) -> None:
    policies = (policy,)
    kit = kit_of(policies=policies)
    assert kit.term is not None
    at = datetime.combine(kit.term.notice_on, NOON.timetz())
    kit = then(kit, fall_due(kit, policies, at), at)
    at += 10 * DAY
    kit = then(kit, attempt(kit, REACHED(kit=kit.number), NURSE, policies, at), at)
    told = kit.expires_at
    kit, at = cooled(kit, over_at(kit) - 15 * DAY, policies)
    assert told is not None
    assert kit.expires_at is not None
    assert told < kit.expires_at <= at, "never earlier than the victim was told, nor than the cooling-off"

    kit = back(kit, at + DAY, policies)

    assert kit.retention is Retention.RUNNING
    assert over_at(kit) - at >= timedelta(days=60)


def test_nothing_is_disposed_of_while_the_victim_can_think_again_though_the_term_is_over() -> None:
    kit, _ = noticed()
    over = kit.expires_at
    assert over is not None
    kit, until = confirmed(kit, over - 15 * DAY)
    kit = then(kit, expire(kit, BELGIUM, over), over)
    early, wish = until - timedelta(minutes=1), ProposeDisposal(kit=kit.number)

    with pytest.raises(Refused, match="has time until"):
        propose(kit, wish, CUSTODIAN, early)
    kit = then(kit, propose(kit, wish, CUSTODIAN, until), early)
    order = ApproveDisposal(kit=kit.number)
    with pytest.raises(Refused, match="has time until"):
        approve(kit, order, COORDINATOR, early)
    in_time = approve(kit, order, COORDINATOR, until)
    with pytest.raises(Refused, match="not possible"):
        then(kit, in_time, early)
    assert then(kit, in_time, until).retention is Retention.APPROVED


def test_a_report_ends_the_wish_and_so_nothing_is_left_to_take_back() -> None:
    kit, at = of_age()
    kit = reported(kit, at)
    with pytest.raises(Refused, match="No request for destruction stands"):
        back(kit, at)


@pytest.mark.parametrize("proposed", [False, True])
def test_a_wish_in_doubt_after_the_cooling_off_is_confirmed_anew_before_anything_is_disposed_of(
    proposed: bool,
) -> None:
    kit, at = cooled(kit_of(), NOON + DAY)
    if proposed:
        kit = then(kit, propose(kit, ProposeDisposal(kit=kit.number), CUSTODIAN, at), at)
    kit = doubted(kit, at + DAY)
    assert kit.destruction is not None
    assert (kit.destruction.until, kit.disposal) == (None, None)
    lift = LiftHold(kit=kit.number, hold=HOLD, reason="spoken with")
    kit = then(kit, lift_hold(kit, lift, COORDINATOR, NURSE_2), at + 2 * DAY)

    with pytest.raises(Refused, match="not over"):
        then(kit, propose(kit, ProposeDisposal(kit=kit.number), CUSTODIAN, at), at + 2 * DAY)
    order = ConfirmDestruction(kit=kit.number, **BOTH)
    anew = at + 3 * DAY
    kit = then(kit, confirm_destruction(kit, order, NURSE, NURSE_2, BELGIUM, anew), anew)
    assert kit.destruction is not None
    assert kit.destruction.until is not None
    assert kit.destruction.until - anew >= 30 * DAY


def test_the_victim_freezes_the_own_kit_by_card_after_the_cooling_off_and_the_term_runs_again() -> None:
    kit, at = cooled(kit_of(), NOON + DAY)
    order = PlaceHold(kit=kit.number, ground="safety", reason="asked for by card")
    kit = then(kit, place_hold(kit, order, card_of(kit.number), HOLD, BELGIUM, at), at)
    assert (kit.retention, kit.extensions) == (Retention.RUNNING, 0)
    assert kit.term == kit_of().term


def test_another_hold_after_the_cooling_off_keeps_the_kit_and_says_nothing_of_the_wish() -> None:
    kit, at = cooled(kit_of(), NOON + DAY)
    kit = doubted(kit, at, "centre")
    assert (kit.retention, kit.ended_by_wish) == (Retention.EXPIRED, True)


def test_a_hold_is_placed_also_where_the_policy_is_not_known_here() -> None:
    kit, at = cooled(kit_of(), NOON + DAY)
    order = PlaceHold(kit=kit.number, ground="suspected_pressure", reason="a reason")
    kit = then(kit, place_hold(kit, order, NURSE, HOLD, (), at), at)
    assert list(kit.holds) == [HOLD]


def test_a_correction_of_the_age_class_counts_from_the_term_before_the_wish() -> None:
    kit, at = cooled(longer(kit_of(), NOON + DAY), NOON + 2 * DAY)
    order = CorrectAge(kit=kit.number, age_class="minor", reason="identity card seen")
    kit = then(kit, correct_age(kit, order, COORDINATOR, NURSE, BELGIUM, at), at)
    assert kit.term is not None
    assert kit.term.end.isoformat() > "2076-06", "what the victim had extended stays added"


def test_nothing_is_written_that_would_give_less_than_the_term_from_before_the_wish() -> None:
    kit, at = of_age()
    order = ExtendTerm(kit=kit.number, how="by_phone")
    (fact,) = extend(kit, order, NURSE, BELGIUM, at).facts
    assert kit.term_before_wish is not None
    short = to_document(replace(kit.term_before_wish, over_at=kit.term_before_wish.over_at - DAY))
    with pytest.raises(Refused, match="not possible"):
        then(kit, Decided(facts=(replace(fact, fields={**fact.fields, "term": short}),)), at)


# --- what comes of a notice -------------------------------------------------------------------------------


def test_a_message_that_came_back_does_not_undo_an_early_destruction() -> None:
    kit = replace(kit_of(), channel="email", channel_proved_at=NOON)
    assert kit.term is not None
    at = datetime.combine(kit.term.notice_on, NOON.timetz())
    kit, until = confirmed(kit, at - 20 * DAY)
    kit = then(kit, fall_due(kit, BELGIUM, at), at)
    kit = then(kit, answered(kit, "sent", [MESSAGE], BELGIUM, at + 8 * DAY, "email"), at + 8 * DAY)
    kit = then(kit, cool_off(kit, BELGIUM, until), until)
    assert kit.expires_at == until

    kit = then(kit, answered(kit, "bounced", [MESSAGE], BELGIUM, until + DAY, "email"), until + DAY)

    assert (kit.expires_at, kit.retention) == (until, Retention.EXPIRED)
    _, at = approved()
    kit = then(kit, propose(kit, ProposeDisposal(kit=kit.number), CUSTODIAN, at), at)
    assert kit.retention is Retention.PROPOSED


@pytest.mark.parametrize("period", ["P60D", "P30D"])
def test_a_stale_message_that_came_back_does_not_undo_that_the_victim_wants_no_contact(period: str) -> None:
    policies = (replace(POLICY, notice=replace(POLICY.notice, period=Period.parse(period))),)
    kit = replace(kit_of(policies=policies), channel="email", channel_proved_at=NOON)
    assert kit.term is not None
    at = datetime.combine(kit.term.notice_on, NOON.timetz())
    kit = then(kit, fall_due(kit, policies, at), at)
    kit = replace(kit, channel="none")  # two people recorded it with the victim
    wants_none = replace(REACHED(kit=kit.number), how="not_wanted")
    kit = then(kit, attempt(kit, wants_none, NURSE, policies, at + DAY), at + DAY)
    settled = kit.expires_at

    with pytest.raises(Refused, match="changes nothing"):
        answered(kit, "bounced", [MESSAGE], policies, at + 2 * DAY, "email")
    late = answered(kit, "failed", [MESSAGE], policies, at + 2 * DAY, "email")
    kit = then(kit, late, at + 2 * DAY)

    assert settled is not None
    assert kit.expires_at == settled
