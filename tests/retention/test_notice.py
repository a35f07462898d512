"""Telling the victim: when a notice falls due, what its answers mean, and when the term may end."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custody.channel import Channel, check_address, told
from custody.commands import AttemptNotice, DeclareReport, ExtendTerm, PlaceHold
from custody.kit import Kit
from custody.people import Actor
from custody.prosecution import declare
from custody.protocol import Retention
from custody.refusal import NeedsSecond, NotSeen, Refused
from retention.commands import ChangeChannel, ProveChannel, SendNotice
from retention.holds import place_hold
from retention.keeping import extend
from retention.notice import (
    NotNow,
    answered,
    attempt,
    change_channel,
    expire,
    expires_at,
    fall_due,
    prove_channel,
    repeat,
    send,
    why_not_sent,
)
from retention.period import Period
from retention.policy import Policy
from tests.custody.story import COORDINATOR, NURSE, NURSE_2, OTHER_NURSE
from tests.retention.kept import BELGIUM, DAY, NOON, POLICY, card_of, kit_of, noticed, over_at, then, without

REMINDED: tuple[Policy, ...] = tuple(
    replace(p, reminders=(replace(p.notice, period=Period(days=14)),)) for p in BELGIUM
)
DUE = datetime(2026, 5, 15, 22, tzinfo=UTC)  # midnight of 16 May in Brussels
DIGEST = "ab" * 32


def reported(kit: Kit, at: datetime) -> Kit:
    return then(kit, declare(kit, DeclareReport(kit=kit.number, how="in_person"), NURSE), at)


def held(kit: Kit, ground: Any = "centre", actor: Actor = COORDINATOR, at: datetime = NOON) -> Kit:
    order = PlaceHold(kit=kit.number, ground=ground, reason="a reason")
    return then(kit, place_hold(kit, order, actor, "ab" * 16, BELGIUM, at), at)


def over(channel: str, proved: datetime | None = NOON) -> Kit:
    """A kit whose victim agreed to this channel, and confirmed it then."""
    return without(kit_of(), channel=channel, channel_proved_at=proved)


def due(kit: Kit, at: datetime = DUE, policies: tuple[Policy, ...] = BELGIUM) -> Kit:
    return then(kit, fall_due(kit, policies, at), at)


def tried(kit: Kit, how: Any, at: datetime) -> Kit:
    return then(kit, attempt(kit, AttemptNotice(kit=kit.number, how=how), NURSE, BELGIUM, at), at)


def clock_said(kit: Kit, how: str, at: datetime) -> Kit:
    return then(kit, answered(kit, how, [DIGEST], BELGIUM, at), at)


def until(days_after: int, at: datetime = DUE) -> datetime:
    """Midnight in Brussels after so many days, in summer time."""
    day = (at + timedelta(hours=2)).date() + timedelta(days=days_after + 1)
    return datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=2)


# --- the clock ------------------------------------------------------------------------------------------


def test_a_notice_falls_due_on_its_day_at_the_centre_and_not_before() -> None:
    kit = kit_of()
    assert kit.term is not None
    assert kit.term.notice_on == date(2026, 5, 16)

    with pytest.raises(NotNow):
        fall_due(kit, BELGIUM, DUE - timedelta(microseconds=1))
    told = due(kit)

    assert told.retention is Retention.NOTICE_DUE
    with pytest.raises(NotNow):
        fall_due(told, BELGIUM, DUE)
    for ground in ("incapacity", "death"):
        with pytest.raises(NotNow):
            fall_due(held(kit, ground), BELGIUM, DUE)
    with pytest.raises(NotNow):
        fall_due(reported(kit, NOON), BELGIUM, DUE)


def test_who_wants_no_contact_is_not_contacted_and_the_term_still_comes_to_review() -> None:
    kit = over("none")

    due_and_honoured = fall_due(kit, BELGIUM, DUE)
    kit = due(kit)

    assert [(f.type, f.fields.get("how")) for f in due_and_honoured.facts] == [
        ("notice.due", None),
        ("notice.attempted", "not_wanted"),
    ]
    assert "channel" not in due_and_honoured.facts[0].fields
    assert kit.expires_at == until(60)
    assert then(kit, expire(kit, BELGIUM, until(60)), until(60)).retention is Retention.EXPIRED


def test_a_policy_under_which_nobody_is_contacted_sends_to_nobody() -> None:
    silent = tuple(replace(p, contact=replace(p.contact, answer=False)) for p in BELGIUM)
    decided = fall_due(over("email"), silent, DUE)
    assert [f.fields.get("how") for f in decided.facts] == [None, "not_wanted"]
    assert "channel" not in decided.facts[0].fields


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_a_channel_that_was_confirmed_lately_is_sent_to_and_an_old_one_is_work_for_a_person(
    channel: str,
) -> None:
    fresh = fall_due(over(channel), BELGIUM, DUE)
    never = fall_due(over(channel, None), BELGIUM, DUE)
    old = over(channel, DUE - timedelta(days=370))

    assert fresh.facts[0].fields["channel"] == channel
    assert [f.type for f in fresh.facts] == ["notice.due"]
    assert "channel" not in never.facts[0].fields
    assert "channel" not in fall_due(old, BELGIUM, DUE).facts[0].fields
    assert why_not_sent(over(channel, None), POLICY, DUE) == "never_proved"
    assert why_not_sent(old, POLICY, DUE) == "proved_long_ago"


def test_a_channel_is_fresh_for_twelve_months_to_the_day() -> None:
    kit = over("email", datetime(2025, 5, 16, 9, tzinfo=UTC))
    assert why_not_sent(kit, POLICY, datetime(2026, 5, 16, 21, 59, tzinfo=UTC)) is None
    assert why_not_sent(kit, POLICY, datetime(2026, 5, 16, 22, tzinfo=UTC)) == "proved_long_ago"


@pytest.mark.parametrize("channel", ["phone", "post"])
def test_a_call_and_a_letter_are_for_people(channel: str) -> None:
    kit = over(channel)
    assert why_not_sent(kit, POLICY, DUE) == "by_hand"
    assert "channel" not in fall_due(kit, BELGIUM, DUE).facts[0].fields


def test_a_later_notice_point_tells_again_and_takes_nothing_from_the_term() -> None:
    kit = due(over("email"), policies=REMINDED)
    assert kit.remind_on == date(2026, 7, 1)
    kit = clock_said(kit, "sent", DUE)
    told = kit.expires_at
    with pytest.raises(NotNow, match="next day of notice"):
        repeat(kit, REMINDED, datetime(2026, 6, 30, 21, 59, tzinfo=UTC))
    again = datetime(2026, 6, 30, 22, tzinfo=UTC)

    decided = repeat(kit, REMINDED, again)
    kit = clock_said(then(kit, decided, again), "sent", again)

    assert decided.facts[0].type == "notice.repeated"
    assert decided.facts[0].fields == {"channel": "email"}
    assert kit.remind_on is None
    assert kit.expires_at == told
    with pytest.raises(NotNow):
        repeat(kit, REMINDED, again)


def test_no_later_notice_reaches_a_home_where_somebody_died() -> None:
    kit = due(over("email"), policies=REMINDED)
    with pytest.raises(NotNow, match="no notice is given"):
        repeat(held(kit, "death"), REMINDED, DUE + 60 * DAY)


# --- the end of the term --------------------------------------------------------------------------------


def test_a_term_with_its_notice_on_the_day_expires_when_it_is_over() -> None:
    kit, _ = noticed()
    end = over_at(kit)

    with pytest.raises(NotNow):
        expire(kit, BELGIUM, end - timedelta(microseconds=1))
    assert then(kit, expire(kit, BELGIUM, end), end).retention is Retention.EXPIRED


@pytest.mark.parametrize("channel", ["email", "sms", "phone", "post"])
def test_what_nobody_was_told_of_never_expires(channel: str) -> None:
    kit = due(over(channel))
    assert expires_at(kit, POLICY) is None
    with pytest.raises(NotNow, match="Nobody has told the victim"):
        expire(kit, BELGIUM, DUE + 5000 * DAY)


def test_a_notice_that_went_out_late_makes_the_end_wait_for_the_whole_notice_period() -> None:
    kit = over("email")
    late = over_at(kit) - 3 * DAY
    kit = clock_said(due(kit, late), "sent", late)
    assert expires_at(kit, POLICY) == datetime(2026, 9, 11, 22, tzinfo=UTC)

    with pytest.raises(NotNow):
        expire(kit, BELGIUM, over_at(kit))
    with pytest.raises(NotNow):
        expire(kit, BELGIUM, late + 59 * DAY)
    done = late + 62 * DAY
    assert then(kit, expire(kit, BELGIUM, done), done).retention is Retention.EXPIRED


@given(minutes=st.integers(0, 60 * 24 * 3000), delay=st.integers(0, 60 * 24 * 400))
def test_whenever_the_victim_is_told_there_are_sixty_days_from_then(minutes: int, delay: int) -> None:
    at = DUE + timedelta(minutes=minutes)
    sent = at + timedelta(minutes=delay)
    kit = clock_said(due(FRESH, at), "sent", sent)

    end = expires_at(kit, POLICY)

    assert end is not None
    assert end >= max(over_at(kit), sent + timedelta(days=60) - timedelta(hours=1))  # a night of summer time
    with pytest.raises(NotNow):
        expire(kit, BELGIUM, end - timedelta(microseconds=1))
    assert then(kit, expire(kit, BELGIUM, end), end).retention is Retention.EXPIRED


FRESH = over("email", DUE + 1500 * DAY)


def test_a_held_kit_does_not_expire() -> None:
    kit, _ = noticed()
    end = over_at(kit)
    with pytest.raises(NotNow):
        expire(held(kit, at=end), BELGIUM, end)


# --- what an attempt means --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel", "how"),
    [
        ("phone", "reached"),
        ("email", "reached"),
        ("post", "posted"),
        ("none", "not_wanted"),
        ("none", "no_channel"),
    ],
)
def test_what_reached_the_victim_settles_the_notice_on_that_day(channel: str, how: str) -> None:
    kit = without(due(over("phone")), channel=channel)
    at = DUE + 10 * DAY
    assert tried(kit, how, at).expires_at == until(70)


def test_three_days_without_an_answer_settle_it_and_three_calls_of_one_day_do_not() -> None:
    kit = due(over("phone"))
    for hour in range(4):
        kit = tried(kit, "not_reached", DUE + timedelta(hours=10 + hour))
    assert kit.expires_at is None
    kit = tried(kit, "not_reached", DUE + 3 * DAY)
    assert kit.expires_at is None

    kit = tried(kit, "not_reached", DUE + 8 * DAY)

    assert kit.expires_at == until(68)


def test_days_are_those_of_the_centre() -> None:
    kit = due(over("phone"))
    for at in (DUE + timedelta(hours=h) for h in (1, 22, 25)):  # two local days, though three by the hour
        kit = tried(kit, "not_reached", at)
    assert kit.expires_at is None


def test_nobody_is_unreachable_before_attempts_on_three_days_reached_nobody() -> None:
    kit = due(over("email"))
    order = AttemptNotice(kit=kit.number, how="unreachable")
    for how in ("tried", "failed", "bounced"):
        kit = clock_said(kit, how, DUE)
        with pytest.raises(Refused, match="on record"):
            attempt(kit, order, NURSE, BELGIUM, DUE)
    for second in (0, 5, 10, 15):
        kit = tried(kit, "not_reached", DUE + timedelta(seconds=second))
    kit = tried(kit, "not_reached", DUE + DAY)
    with pytest.raises(Refused, match=r"3 different days.* 2 are on record"):
        attempt(kit, order, NURSE, BELGIUM, DUE + 2 * DAY)

    kit = tried(clock_said(kit, "failed", DUE + 2 * DAY), "unreachable", DUE + 3 * DAY)

    assert kit.expires_at == until(63)


def test_what_people_settled_after_the_message_went_out_is_not_unsettled_when_it_comes_back() -> None:
    sent = clock_said(due(over("email")), "sent", DUE)
    reached = tried(sent, "reached", DUE + 20 * DAY)
    assert (sent.expires_at, reached.expires_at) == (until(60), until(80))

    with pytest.raises(NotNow):
        clock_said(reached, "bounced", DUE + 21 * DAY)
    failed = clock_said(reached, "failed", DUE + 21 * DAY)

    assert failed.attempts[-1].how == "not_wanted"
    assert failed.expires_at == until(80)
    assert then(failed, expire(failed, BELGIUM, until(80)), until(80)).retention is Retention.EXPIRED


@pytest.mark.parametrize("how", ["not_wanted", "no_channel"])
def test_an_agreed_channel_is_tried_before_it_is_called_none(how: str) -> None:
    kit = due(over("phone"))
    with pytest.raises(Refused, match="A safe channel was agreed"):
        tried(kit, how, DUE)


def test_a_letter_goes_only_where_letters_were_agreed() -> None:
    with pytest.raises(Refused, match="post is the agreed channel"):
        tried(due(over("phone")), "posted", DUE)


def test_a_message_that_came_back_unsettles_the_notice() -> None:
    kit = clock_said(due(over("email")), "sent", DUE)
    assert kit.expires_at == until(60)

    kit = clock_said(kit, "bounced", DUE + DAY)

    assert kit.expires_at is None
    with pytest.raises(NotNow):
        expire(kit, BELGIUM, DUE + 300 * DAY)
    assert tried(kit, "reached", DUE + 30 * DAY).expires_at == until(90)


def test_a_try_for_now_and_a_failure_settle_nothing() -> None:
    kit = clock_said(clock_said(due(over("sms")), "tried", DUE), "failed", DUE + DAY)
    assert kit.expires_at is None
    assert [each.how for each in kit.attempts] == ["tried", "failed"]


def test_a_later_attempt_never_moves_what_was_settled() -> None:
    kit = tried(due(over("phone")), "reached", DUE)
    assert tried(kit, "reached", DUE + 20 * DAY).expires_at == until(60)


def test_a_message_answered_after_the_term_was_extended_is_nobodys_business_any_more() -> None:
    kit = due(over("email"))
    order = ExtendTerm(kit=kit.number, how="by_card")
    kit = then(kit, extend(kit, order, card_of(kit.number), BELGIUM, DUE), DUE)
    with pytest.raises(NotNow):
        answered(kit, "sent", [DIGEST], BELGIUM, DUE)


@pytest.mark.parametrize("ground", ["death", "incapacity"])
def test_nobody_is_told_once_somebody_died_or_cannot_decide(ground: str) -> None:
    kit = held(due(over("email")), ground, at=DUE)
    with pytest.raises(Refused, match="no notice is given"):
        tried(kit, "reached", DUE)
    with pytest.raises(Refused, match="no notice is given"):
        send(kit, SendNotice(kit=kit.number), NURSE)


@pytest.mark.parametrize("ground", ["death", "incapacity", "report"])
def test_the_channel_of_somebody_who_died_or_of_a_kit_that_was_reported_is_not_tried(ground: str) -> None:
    kit = due(over("email"))
    kit = reported(kit, DUE) if ground == "report" else held(kit, ground, at=DUE)
    says = "no notice will be given" if ground == "report" else "no notice is given"

    with pytest.raises(Refused, match=says):
        prove_channel(kit, ProveChannel(kit=kit.number, how="called"), NURSE)
    with pytest.raises(Refused, match=says):
        send(kit, SendNotice(kit=kit.number), NURSE)


def test_a_person_has_the_service_send_although_the_channel_is_old() -> None:
    kit = due(over("email", None))
    sent = send(kit, SendNotice(kit=kit.number), NURSE).facts[0]
    assert (sent.type, sent.fields) == ("notice.queued", {"channel": "email"})
    with pytest.raises(Refused, match="for a person to do"):
        send(due(over("phone")), SendNotice(kit=kit.number), NURSE)


def test_another_centre_does_not_tell_our_victims() -> None:
    kit = due(over("phone"))
    with pytest.raises(NotSeen):
        attempt(kit, AttemptNotice(kit=kit.number, how="reached"), OTHER_NURSE, BELGIUM, DUE)
    with pytest.raises(NotSeen):
        send(kit, SendNotice(kit=kit.number), OTHER_NURSE)
    with pytest.raises(NotSeen):
        prove_channel(kit, ProveChannel(kit=kit.number, how="called"), OTHER_NURSE)


# --- the channel ------------------------------------------------------------------------------------------


def changed(kit: Kit, **change: Any) -> ChangeChannel:
    given: dict[str, Any] = {
        "channel": "email",
        "language": "fr",
        "how": "in_person",
        "channel_address": "invented@mail.example",
    }
    return ChangeChannel(kit=kit.number, **(given | change))


def test_the_victim_confirms_the_channel_and_a_changed_one_is_not_confirmed_yet() -> None:
    kit = over("sms", None)
    proved = then(kit, prove_channel(kit, ProveChannel(kit=kit.number, how="message_shown"), NURSE), NOON)
    assert proved.channel_proved_at is not None

    order = changed(kit, channel_hours="evenings", channel_question="How is the cat?")
    decided = change_channel(proved, order, NURSE, NURSE_2)
    after = then(proved, decided, NOON)

    assert (after.channel, after.language, after.channel_proved_at) == ("email", "fr", None)
    assert decided.facts[0].private == {
        "channel_address": "invented@mail.example",
        "channel_hours": "evenings",
        "channel_question": "How is the cat?",
    }
    assert "invented" not in str(decided.facts[0].fields)


def test_another_channel_takes_two_people_of_the_centre() -> None:
    kit = over("phone")
    with pytest.raises(NeedsSecond):
        change_channel(kit, changed(kit), NURSE, None)
    with pytest.raises(Refused, match="another person of the centre"):
        change_channel(kit, changed(kit), NURSE, OTHER_NURSE)


def test_the_card_confirms_the_channel_as_the_card_and_changes_nothing() -> None:
    kit = over("email", None)
    victim = card_of(kit.number)
    assert prove_channel(kit, ProveChannel(kit=kit.number, how="by_card"), victim).facts
    for actor, how in ((victim, "in_person"), (NURSE, "by_card")):
        with pytest.raises(Refused, match="confirms with the card"):
            prove_channel(kit, ProveChannel(kit=kit.number, how=how), actor)  # type: ignore[arg-type]
    with pytest.raises(Refused):
        change_channel(kit, changed(kit), victim, NURSE)


def test_what_cannot_be_proved_is_not() -> None:
    with pytest.raises(Refused, match="No safe channel"):
        prove_channel(over("none"), ProveChannel(kit="K", how="in_person"), NURSE)
    with pytest.raises(Refused, match="message is shown"):
        prove_channel(over("phone"), ProveChannel(kit="K", how="message_shown"), NURSE)
    with pytest.raises(Refused, match="no previous channel"):
        change_channel(over("none"), changed(over("none"), how="over_previous_channel"), NURSE, NURSE_2)


def test_no_contact_keeps_no_address() -> None:
    kit = over("email")
    order = changed(kit, channel="none", channel_address=None)
    assert change_channel(kit, order, NURSE, NURSE_2).facts[0].private is None
    with pytest.raises(Refused, match="no address"):
        change_channel(kit, changed(kit, channel="none"), NURSE, NURSE_2)


@pytest.mark.parametrize(
    ("channel", "address"),
    [
        ("email", "nobody"),
        ("email", "a@b"),
        ("email", "a@b.example\nBcc: c@d.example"),
        ("email", "<a@b.example>"),
        ("email", "a b@c.example"),
        ("email", "é@mail.example"),
        ("email", f"{'a' * 250}@mail.example"),
        ("sms", "0470 12 34 56"),
        ("sms", "+32 470 ask Nora"),
        ("phone", "call me"),
        ("phone", ""),
    ],
)
def test_an_address_that_nothing_can_go_to_is_refused_where_it_is_typed(channel: str, address: str) -> None:
    with pytest.raises(Refused) as refused:
        told(channel, address, None, None)
    assert refused.value.field == "channel_address"
    assert "Nora" not in str(refused.value)


@pytest.mark.parametrize(
    ("channel", "address"),
    [("email", "o'in.vented+tag@mail.example"), ("sms", "+32 400/00.00-00"), ("phone", "0400 00 00 00")],
)
def test_an_address_as_people_write_it_is_taken(channel: str, address: str) -> None:
    check_address(channel, address)


def test_a_channel_shows_nothing_of_itself_by_accident() -> None:
    channel = Channel(address="invented@mail.example", hours="evenings", question="the cat")
    assert repr(channel) == "Channel(…)"
