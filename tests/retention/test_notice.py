"""Telling the victim: when a notice falls due, what its answers mean, and when the term may end."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custody.commands import AttemptNotice, DeclareReport, PlaceHold
from custody.kit import Kit
from custody.people import Actor
from custody.prosecution import declare
from custody.protocol import Retention
from custody.refusal import Refused
from retention.keeping import place_hold
from retention.notice import NotNow, attempt_notice, expire, expires_at, fall_due
from tests.custody.story import COORDINATOR, NURSE
from tests.retention.kept import BELGIUM, DAY, NOON, POLICY, kit_of, noticed, over_at, then


def reported(kit: Kit, at: datetime) -> Kit:
    return then(kit, declare(kit, DeclareReport(kit=kit.number, how="in_person"), NURSE), at)


def held(
    kit: Kit, ground: Any = "centre", actor: Actor = COORDINATOR, at: datetime = NOON, id_: str = "ab" * 16
) -> Kit:
    order = PlaceHold(kit=kit.number, ground=ground, reason="a reason", review_on=date(2027, 1, 1))
    return then(kit, place_hold(kit, order, actor, id_), at)


# --- notices --------------------------------------------------------------------------------------------


def test_attempts_to_tell_the_victim_are_recorded_and_stop_with_a_death() -> None:
    kit, at = noticed()
    order = AttemptNotice(kit=kit.number, how="not_reached")

    assert then(kit, attempt_notice(kit, order, NURSE), at).choices_head.number == kit.choices_head.number + 1
    with pytest.raises(Refused, match="no notice is given"):
        attempt_notice(held(kit, "death", at=at), order, NURSE)


def test_a_notice_falls_due_on_its_day_at_the_centre_and_not_before() -> None:
    kit = kit_of()
    assert kit.term is not None
    assert kit.term.notice_on == date(2026, 5, 16)
    midnight = datetime(2026, 5, 15, 22, tzinfo=UTC)

    with pytest.raises(NotNow):
        fall_due(kit, BELGIUM, midnight - timedelta(microseconds=1))
    due = then(kit, fall_due(kit, BELGIUM, midnight), midnight)

    assert due.retention is Retention.NOTICE_DUE
    with pytest.raises(NotNow):
        fall_due(due, BELGIUM, midnight)
    with pytest.raises(NotNow):
        fall_due(held(kit, "incapacity"), BELGIUM, midnight)
    with pytest.raises(NotNow):
        fall_due(reported(kit, NOON), BELGIUM, midnight)


# --- the end of the term --------------------------------------------------------------------------------


def test_a_term_with_its_notice_on_the_day_expires_when_it_is_over() -> None:
    kit, _ = noticed()
    over = over_at(kit)

    with pytest.raises(NotNow):
        expire(kit, BELGIUM, over - timedelta(microseconds=1))
    assert then(kit, expire(kit, BELGIUM, over), over).retention is Retention.EXPIRED


def test_a_notice_that_fell_due_late_makes_the_end_wait_for_the_whole_notice_period() -> None:
    kit = kit_of()
    late = over_at(kit) - 3 * DAY
    kit = then(kit, fall_due(kit, BELGIUM, late), late)
    assert expires_at(kit, POLICY) == datetime(2026, 9, 11, 22, tzinfo=UTC)

    with pytest.raises(NotNow):
        expire(kit, BELGIUM, over_at(kit))
    with pytest.raises(NotNow):
        expire(kit, BELGIUM, late + 59 * DAY)
    done = late + 62 * DAY
    assert then(kit, expire(kit, BELGIUM, done), done).retention is Retention.EXPIRED


@given(minutes=st.integers(0, 60 * 24 * 3000))
def test_whenever_the_notice_falls_due_the_victim_has_sixty_days(minutes: int) -> None:
    kit = PRISTINE
    assert kit.term is not None
    at = datetime(2026, 5, 15, 22, tzinfo=UTC) + timedelta(minutes=minutes)
    kit = then(kit, fall_due(kit, BELGIUM, at), at)

    over = expires_at(kit, POLICY)

    assert over is not None
    assert over >= max(over_at(kit), at + timedelta(days=60) - timedelta(hours=1))  # a night of summer time
    with pytest.raises(NotNow):
        expire(kit, BELGIUM, over - timedelta(microseconds=1))
    assert then(kit, expire(kit, BELGIUM, over), over).retention is Retention.EXPIRED


PRISTINE = kit_of()


def test_a_held_kit_does_not_expire() -> None:
    kit, at = noticed()

    with pytest.raises(NotNow):
        expire(held(kit, at=at), BELGIUM, over_at(kit) + 100 * DAY)
