"""The calendar of terms, against a second reckoning that walks the calendar day by day."""

import doctest
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from types import ModuleType
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import retention.period
import retention.term
from retention.period import Limit, RetentionDataError
from retention.policy import AgeClass, CountedFrom, Policy
from retention.term import (
    Term,
    after_withdrawal,
    agreed_term,
    brought_forward,
    contest_over_at,
    cooling_off_until,
    corrected,
    due_by,
    expiry,
    extended,
    is_over,
    local_date,
    notice_due,
    over_after,
    unlinked_work_at,
)
from tests.retention.reckoning import (
    BELGIUM,
    ONE_DAY,
    ZONES,
    age_classes,
    in_brussels,
    instants,
    policies,
    unhurried,
    walked,
    watched,
)

# The agreed term


def test_an_adults_kit_is_kept_six_months_and_the_notice_goes_out_sixty_days_before() -> None:
    assert agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T03:20")) == Term(
        start=date(2026, 1, 15),
        end=date(2026, 7, 15),
        notice_on=date(2026, 5, 16),
        over_at=datetime(2026, 7, 15, 22, tzinfo=UTC),
    )


@pytest.mark.parametrize("age_class", [AgeClass.MINOR, AgeClass.UNKNOWN])
def test_the_kit_of_a_minor_and_of_somebody_whose_age_is_unknown_is_kept_fifty_years(
    age_class: AgeClass,
) -> None:
    term = agreed_term(BELGIUM, age_class, in_brussels("2024-02-29T10:00"))

    assert (term.start, term.end, term.notice_on) == (
        date(2024, 2, 29),
        date(2074, 2, 28),
        date(2073, 12, 30),
    )
    assert term.over_at == datetime(2074, 2, 28, 23, tzinfo=UTC)


def test_the_local_day_counts_not_the_day_in_utc() -> None:
    before = agreed_term(BELGIUM, AgeClass.ADULT, datetime(2026, 6, 30, 21, 59, 59, 999999, tzinfo=UTC))
    after = agreed_term(BELGIUM, AgeClass.ADULT, datetime(2026, 6, 30, 22, 0, tzinfo=UTC))

    assert (before.start, before.end) == (date(2026, 6, 30), date(2026, 12, 30))
    assert (after.start, after.end) == (date(2026, 7, 1), date(2027, 1, 1))


def test_an_instant_is_the_same_in_whatever_zone_it_is_written() -> None:
    somewhere = datetime(2026, 1, 14, 21, 0, tzinfo=timezone(-timedelta(hours=5)))

    assert agreed_term(BELGIUM, AgeClass.ADULT, somewhere) == agreed_term(
        BELGIUM, AgeClass.ADULT, datetime(2026, 1, 15, 2, 0, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    ("zone", "end", "over_at"),
    [
        ("Europe/Brussels", "2026-03-28", "2026-03-28T23:00Z"),  # the night in which the clocks go forward
        ("Europe/Brussels", "2026-03-29", "2026-03-29T22:00Z"),  # a day of 23 hours
        ("Europe/Brussels", "2026-10-24", "2026-10-24T22:00Z"),  # the night in which they go back
        ("Europe/Brussels", "2026-10-25", "2026-10-25T23:00Z"),  # a day of 25 hours
        ("Atlantic/Azores", "2026-03-28", "2026-03-29T01:00Z"),  # midnight does not exist
        ("America/Havana", "2025-11-01", "2025-11-02T04:00Z"),  # midnight comes twice
        ("Pacific/Apia", "2011-12-29", "2011-12-30T10:00Z"),  # the whole next day does not exist
    ],
)
def test_a_term_is_over_at_the_first_instant_of_the_next_local_day(zone: str, end: str, over_at: str) -> None:
    policy = replace(BELGIUM, time_zone=zone)

    assert over_after(policy, date.fromisoformat(end)) == datetime.fromisoformat(over_at)


@unhurried
@given(st.sampled_from(ZONES), st.dates(date(1990, 1, 1), date(2037, 12, 31)))
def test_the_end_of_a_day_is_the_one_found_by_watching_its_clock(zone: str, end: date) -> None:
    assert over_after(replace(BELGIUM, time_zone=zone), end) == watched(zone, end)


@unhurried
@given(policies, age_classes, instants)
def test_a_term_is_reckoned_as_by_hand(policy: Policy, age_class: AgeClass, examined_at: datetime) -> None:
    term = agreed_term(policy, age_class, examined_at)
    start = examined_at.astimezone(ZoneInfo(policy.time_zone)).date()

    assert term.start == start
    assert term.end == walked(start, policy.kept(age_class))
    assert term.end - term.notice_on == timedelta(days=60)
    assert term.over_at == watched(policy.time_zone, term.end)


@given(policies, age_classes, instants, instants)
def test_who_was_examined_later_is_never_kept_shorter(
    policy: Policy, age_class: AgeClass, one: datetime, other: datetime
) -> None:
    earlier, later = (agreed_term(policy, age_class, at) for at in sorted((one, other)))

    assert earlier.end <= later.end
    assert earlier.over_at <= later.over_at
    assert earlier.notice_on <= later.notice_on


@given(policies, age_classes, instants)
def test_a_kit_of_unknown_age_is_never_kept_shorter(
    policy: Policy, age_class: AgeClass, at: datetime
) -> None:
    assert agreed_term(policy, AgeClass.UNKNOWN, at).end >= agreed_term(policy, age_class, at).end


@given(policies, age_classes, instants)
def test_the_term_runs_until_its_last_microsecond_and_not_beyond(
    policy: Policy, age_class: AgeClass, examined_at: datetime
) -> None:
    term = agreed_term(policy, age_class, examined_at)
    last = term.over_at - timedelta(microseconds=1)

    assert not is_over(term, last)
    assert local_date(policy, last) == term.end
    assert is_over(term, term.over_at)
    assert local_date(policy, term.over_at) > term.end


def test_the_notice_is_due_from_the_first_instant_of_its_local_day() -> None:
    term = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T03:20"))

    assert not notice_due(term, BELGIUM, datetime(2026, 5, 15, 21, 59, 59, tzinfo=UTC))
    assert notice_due(term, BELGIUM, datetime(2026, 5, 15, 22, 0, tzinfo=UTC))
    assert notice_due(term, BELGIUM, datetime(2027, 1, 1, tzinfo=UTC))


# Extensions


def test_an_extension_counts_from_the_end_of_the_term() -> None:
    term = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2025-08-31T12:00"))
    longer = extended(term, BELGIUM, date(2026, 1, 10))

    assert (term.end, longer.end) == (date(2026, 2, 28), date(2026, 8, 28))
    assert (longer.start, longer.notice_on) == (term.start, date(2026, 6, 29))


def test_an_extension_asked_for_after_the_end_counts_from_that_day() -> None:
    term = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))

    assert extended(term, BELGIUM, date(2026, 9, 1)).end == date(2027, 3, 1)


def test_an_extension_counted_from_the_request_leaves_a_longer_term_as_it_is() -> None:
    policy = replace(BELGIUM, extension_counted_from=CountedFrom.REQUEST)
    minor = agreed_term(policy, AgeClass.MINOR, in_brussels("2026-01-15T12:00"))
    adult = agreed_term(policy, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))

    assert extended(minor, policy, date(2026, 3, 1)) == minor
    assert extended(adult, policy, date(2026, 3, 1)).end == date(2026, 9, 1)


@given(policies, age_classes, instants, st.integers(0, 30_000))
def test_an_extension_never_shortens_and_leaves_the_whole_notice_period(
    policy: Policy, age_class: AgeClass, examined_at: datetime, later: int
) -> None:
    term = agreed_term(policy, age_class, examined_at)
    asked_on = term.start + later * ONE_DAY

    longer = extended(term, policy, asked_on)

    assert longer.end >= term.end
    assert longer.over_at >= term.over_at
    if longer != term:
        assert longer.notice_on >= asked_on


# Withdrawn reports


def test_a_withdrawn_report_leaves_at_least_the_notice_period() -> None:
    term = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))

    again = after_withdrawal(term, BELGIUM, in_brussels("2026-09-01T17:00"))

    assert (again.end, again.notice_on) == (date(2026, 10, 31), date(2026, 9, 1))
    assert again.over_at == datetime(2026, 10, 31, 23, tzinfo=UTC)


def test_a_report_withdrawn_early_leaves_the_term_as_it_was() -> None:
    term = agreed_term(BELGIUM, AgeClass.MINOR, in_brussels("2026-01-15T12:00"))

    assert after_withdrawal(term, BELGIUM, in_brussels("2027-01-15T12:00")) == term


@given(policies, age_classes, instants, st.integers(0, 30_000))
def test_after_a_withdrawal_sixty_whole_days_are_left(
    policy: Policy, age_class: AgeClass, examined_at: datetime, later: int
) -> None:
    term = agreed_term(policy, age_class, examined_at)
    at = examined_at + later * ONE_DAY

    again = after_withdrawal(term, policy, at)

    assert again.end >= term.end
    assert again.end >= local_date(policy, at) + 60 * ONE_DAY
    assert again.notice_on >= min(term.notice_on, local_date(policy, at))


# Corrected age classes


def test_a_correction_that_lengthens_takes_effect_as_it_is() -> None:
    term = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))

    longer = corrected(
        term,
        BELGIUM,
        was=AgeClass.ADULT,
        now=AgeClass.MINOR,
        at=in_brussels("2026-12-01T12:00"),
        extensions=0,
    )

    assert longer == agreed_term(BELGIUM, AgeClass.MINOR, in_brussels("2026-01-15T12:00"))


def test_a_correction_that_shortens_gives_a_fresh_notice_period() -> None:
    term = agreed_term(BELGIUM, AgeClass.UNKNOWN, in_brussels("2024-01-15T12:00"))

    shorter = corrected(
        term,
        BELGIUM,
        was=AgeClass.UNKNOWN,
        now=AgeClass.ADULT,
        at=in_brussels("2026-12-01T12:00"),
        extensions=0,
    )

    assert (shorter.start, shorter.notice_on, shorter.end) == (
        date(2024, 1, 15),
        date(2026, 12, 1),
        date(2027, 1, 30),
    )


def test_what_the_victim_extended_stays_when_the_age_is_corrected() -> None:
    examined_at = in_brussels("2026-01-15T12:00")
    term = extended(agreed_term(BELGIUM, AgeClass.ADULT, examined_at), BELGIUM, date(2026, 3, 1))

    longer = corrected(
        term,
        BELGIUM,
        was=AgeClass.ADULT,
        now=AgeClass.MINOR,
        at=in_brussels("2026-04-01T12:00"),
        extensions=1,
    )

    assert longer.end == date(2076, 1, 15) + (date(2027, 1, 15) - date(2026, 7, 15))


def test_nothing_is_corrected_where_nothing_was_wrong() -> None:
    term = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))

    with pytest.raises(RetentionDataError, match="nothing to correct"):
        corrected(
            term,
            BELGIUM,
            was=AgeClass.ADULT,
            now=AgeClass.ADULT,
            at=in_brussels("2026-02-01T12:00"),
            extensions=0,
        )


@given(policies, st.permutations(list(AgeClass)), instants, st.integers(0, 30_000))
def test_a_shortening_correction_always_leaves_sixty_whole_days(
    policy: Policy, ages: list[AgeClass], examined_at: datetime, later: int
) -> None:
    was, now, _ = ages
    term = agreed_term(policy, was, examined_at)
    at = examined_at + later * ONE_DAY

    after = corrected(term, policy, was=was, now=now, at=at, extensions=0)

    assert after.end >= agreed_term(policy, now, examined_at).end
    if after.end < term.end:
        assert after.end >= local_date(policy, at) + 60 * ONE_DAY
        assert after.notice_on >= local_date(policy, at)


@given(
    policies,
    st.permutations(list(AgeClass)),
    instants,
    st.lists(st.integers(0, 20_000), min_size=2, max_size=2),
)
def test_a_correction_that_was_wrong_is_corrected_back(
    policy: Policy, ages: list[AgeClass], examined_at: datetime, later: list[int]
) -> None:
    """Minor, adult, minor: the term of a minor, and nothing of the fresh notice period between."""
    now, was = sorted(ages[:2], key=lambda each: agreed_term(policy, each, examined_at).end)
    agreed = agreed_term(policy, was, examined_at)
    first, again = (examined_at + days * ONE_DAY for days in sorted(later))

    between = corrected(agreed, policy, was=was, now=now, at=first, extensions=0)
    back = corrected(between, policy, was=now, now=was, at=again, extensions=0)

    assert back.end == max(agreed.end, between.end)


def test_minor_adult_minor_gives_back_the_term_of_a_minor() -> None:
    agreed = agreed_term(BELGIUM, AgeClass.MINOR, in_brussels("2026-01-15T12:00"))
    at = in_brussels("2036-01-15T12:00")

    adult = corrected(agreed, BELGIUM, was=AgeClass.MINOR, now=AgeClass.ADULT, at=at, extensions=0)
    minor = corrected(adult, BELGIUM, was=AgeClass.ADULT, now=AgeClass.MINOR, at=at, extensions=0)

    assert (adult.end, minor) == (date(2036, 3, 15), agreed)


def test_a_late_registration_adds_nothing_to_the_term_of_another_age_class() -> None:
    agreed = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2024-01-15T12:00"))
    late = after_withdrawal(agreed, BELGIUM, in_brussels("2026-11-15T12:00"))
    at = in_brussels("2026-11-20T12:00")

    assert late.end > agreed.end
    minor = corrected(late, BELGIUM, was=AgeClass.ADULT, now=AgeClass.MINOR, at=at, extensions=0)
    assert minor.end == date(2074, 1, 15)


def test_of_a_fresh_notice_period_and_an_extension_only_the_extension_is_added() -> None:
    agreed = agreed_term(BELGIUM, AgeClass.MINOR, in_brussels("2026-01-15T12:00"))
    at = in_brussels("2036-01-15T12:00")
    adult = corrected(agreed, BELGIUM, was=AgeClass.MINOR, now=AgeClass.ADULT, at=at, extensions=0)
    longer = extended(adult, BELGIUM, date(2036, 1, 20))

    minor = corrected(longer, BELGIUM, was=AgeClass.ADULT, now=AgeClass.MINOR, at=at, extensions=1)

    assert minor.end == date(2076, 1, 15) + (date(2027, 1, 15) - date(2026, 7, 15))


# Early destruction, contest, reports not linked


def test_the_cooling_off_is_thirty_days_without_the_day_of_confirmation() -> None:
    assert cooling_off_until(BELGIUM, in_brussels("2026-03-01T00:00")) == datetime(
        2026, 3, 31, 22, tzinfo=UTC
    )
    assert cooling_off_until(BELGIUM, in_brussels("2026-03-01T23:59")) == datetime(
        2026, 3, 31, 22, tzinfo=UTC
    )


def test_a_disposal_can_be_contested_for_five_years() -> None:
    assert contest_over_at(BELGIUM, in_brussels("2028-02-29T12:00")) == datetime(2033, 2, 28, 23, tzinfo=UTC)


def test_a_report_not_linked_becomes_work_after_ninety_days() -> None:
    assert unlinked_work_at(BELGIUM, in_brussels("2026-01-01T12:00")) == datetime(2026, 4, 1, 22, tzinfo=UTC)


def test_an_early_destruction_brings_the_end_to_the_last_day_of_the_cooling_off() -> None:
    confirmed_at = in_brussels("2026-03-01T12:00")
    term = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))

    earlier = brought_forward(term, BELGIUM, confirmed_at)

    assert (earlier.start, earlier.end, earlier.notice_on) == (
        term.start,
        date(2026, 3, 31),
        date(2026, 3, 31),
    )
    assert earlier.over_at == cooling_off_until(BELGIUM, confirmed_at)


def test_an_early_destruction_leaves_a_notice_that_was_due_before_it_as_it_was() -> None:
    term = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))

    earlier = brought_forward(term, BELGIUM, in_brussels("2026-06-01T12:00"))

    assert (earlier.notice_on, earlier.end) == (date(2026, 5, 16), date(2026, 7, 1))


@given(policies, age_classes, instants, st.integers(0, 30_000))
def test_early_destruction_never_lengthens_and_never_cuts_the_cooling_off_within_the_term(
    policy: Policy, age_class: AgeClass, examined_at: datetime, later: int
) -> None:
    term = agreed_term(policy, age_class, examined_at)
    confirmed_at = examined_at + later * ONE_DAY

    earlier = brought_forward(term, policy, confirmed_at)

    assert earlier.over_at == min(term.over_at, cooling_off_until(policy, confirmed_at))


# Refusals


def test_an_instant_without_a_zone_is_refused_everywhere() -> None:
    naive = datetime(2026, 1, 15, 12, 0)  # noqa: DTZ001 - the point of the test
    term = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))
    asks: list[Callable[[], object]] = [
        lambda: agreed_term(BELGIUM, AgeClass.ADULT, naive),
        lambda: after_withdrawal(term, BELGIUM, naive),
        lambda: corrected(term, BELGIUM, was=AgeClass.ADULT, now=AgeClass.MINOR, at=naive, extensions=0),
        lambda: brought_forward(term, BELGIUM, naive),
        lambda: cooling_off_until(BELGIUM, naive),
        lambda: contest_over_at(BELGIUM, naive),
        lambda: unlinked_work_at(BELGIUM, naive),
        lambda: notice_due(term, BELGIUM, naive),
        lambda: expiry(term, BELGIUM, naive),
        lambda: due_by(BELGIUM, naive, Limit(hours=1)),
        lambda: is_over(term, naive),
        lambda: local_date(BELGIUM, naive),
        lambda: replace(term, over_at=naive),
    ]
    for ask in asks:
        with pytest.raises(RetentionDataError, match="names no time zone"):
            ask()


def test_nothing_happens_to_a_term_before_it_started() -> None:
    term = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))
    before = in_brussels("2026-01-14T23:59")
    asks: list[Callable[[], object]] = [
        lambda: extended(term, BELGIUM, date(2026, 1, 14)),
        lambda: extended(term, BELGIUM, in_brussels("2026-02-01T12:00")),
        lambda: after_withdrawal(term, BELGIUM, before),
        lambda: corrected(term, BELGIUM, was=AgeClass.ADULT, now=AgeClass.MINOR, at=before, extensions=0),
        lambda: brought_forward(term, BELGIUM, before),
    ]
    for ask in asks:
        with pytest.raises(RetentionDataError, match="not a day on or after the start"):
            ask()


def test_an_examination_at_the_edge_of_the_calendar_is_refused() -> None:
    for at in (datetime.max.replace(tzinfo=UTC), datetime(9999, 12, 1, tzinfo=UTC)):
        with pytest.raises(RetentionDataError, match="outside the calendar"):
            agreed_term(BELGIUM, AgeClass.ADULT, at)
    with pytest.raises(RetentionDataError, match="outside the calendar"):
        due_by(BELGIUM, datetime.max.replace(tzinfo=UTC), Limit(hours=1))
    with pytest.raises(RetentionDataError, match="outside the calendar"):
        over_after(replace(BELGIUM, time_zone="Pacific/Apia"), date(9999, 12, 31))


# Writing


@given(policies, age_classes, instants)
def test_a_term_reads_back_as_it_was_written(policy: Policy, age_class: AgeClass, at: datetime) -> None:
    term = agreed_term(policy, age_class, at)

    assert Term.from_plain(term.plain()) == term


def test_a_term_is_written_as_it_stands_in_an_event() -> None:
    assert agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T03:20")).plain() == {
        "start": "2026-01-15",
        "end": "2026-07-15",
        "notice_on": "2026-05-16",
        "over_at": "2026-07-15T22:00:00.000000Z",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"start": "2026-1-15"},
        {"start": "20260115"},
        {"end": "2026-02-30"},
        {"end": 20260715},
        {"end": None},
        {"notice_on": "2026-05-16T00:00:00"},
        {"over_at": "2026-07-15T22:00:00Z"},
        {"over_at": "2026-07-15T22:00:00.000000+00:00"},
        {"over_at": "2026-07-16T00:00:00.000000"},
        {"over_at": "2026-07-15T24:00:00.000000Z"},
        {"notice_on": "2026-01-14"},  # before the start
        {"notice_on": "2026-07-16"},  # after the end
        {"start": "2026-07-16"},  # after the end
        {"over_at": "2026-07-14T22:00:00.000000Z"},  # a day early
        {"over_at": "2026-07-16T22:00:00.000000Z"},  # a day late
        {"policy": "belgium/1"},
    ],
)
def test_a_term_that_is_not_written_exactly_or_cannot_be_is_refused(change: dict[str, object]) -> None:
    plain = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T03:20")).plain()

    with pytest.raises(RetentionDataError):
        Term.from_plain({**plain, **change})


@pytest.mark.parametrize("key", ["start", "end", "notice_on", "over_at"])
def test_a_term_with_something_missing_is_refused(key: str) -> None:
    plain = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T03:20")).plain()
    del plain[key]

    with pytest.raises(RetentionDataError, match="a term has start"):
        Term.from_plain(plain)


def test_the_instant_of_the_end_is_kept_in_utc_only() -> None:
    term = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T03:20"))

    with pytest.raises(RetentionDataError, match="in UTC"):
        replace(term, over_at=term.over_at.astimezone(ZoneInfo("Europe/Brussels")))


@dataclass(frozen=True)
class TermInAProjection:
    """A term as another part of the service may hold it: the same four values, another class."""

    start: date
    end: date
    notice_on: date
    over_at: datetime


def test_the_term_of_a_projection_serves_as_well() -> None:
    term = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T03:20"))
    held = TermInAProjection(term.start, term.end, term.notice_on, term.over_at)

    assert extended(held, BELGIUM, date(2026, 3, 1)) == extended(term, BELGIUM, date(2026, 3, 1))
    assert is_over(held, term.over_at)


@pytest.mark.parametrize("module", [retention.period, retention.term])
def test_the_examples_in_the_docstrings_hold(module: ModuleType) -> None:
    outcome = doctest.testmod(module)

    assert outcome.attempted > 0
    assert outcome.failed == 0
