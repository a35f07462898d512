"""Periods of the calendar, against walking it day by day."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.period import Period, RetentionDataError, end_of, latest_start, never_shorter
from tests.retention.reckoning import ONE_DAY, days, period, periods, unhurried, walked

# Periods


@given(periods)
def test_a_period_reads_back_as_it_was_written(written: Period) -> None:
    assert Period.parse(str(written)) == written


@pytest.mark.parametrize("written", ["P6M", "P50Y", "P60D", "P1Y6M", "P1Y2M3D", "P12M", "P150Y"])
def test_a_period_is_kept_as_it_is_written(written: str) -> None:
    assert str(Period.parse(written)) == written


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "P",
        "6M",
        "p6m",
        "P6",
        "P0D",
        "P06M",
        "P6M ",
        " P6M",
        "P-6M",
        "+P6M",
        "P1.5Y",
        "P1,5Y",
        "P2W",
        "PT6M",
        "P6M1Y",
        "P0Y6M",
        "P6MT1H",
        "P٦M",
        "P6M\n",
        "P151Y",
        "P1900M",
        "P99999D",
        "P999999D",
    ],
)
def test_what_is_no_calendar_period_is_refused(nonsense: str) -> None:
    with pytest.raises(RetentionDataError, match="period"):
        Period.parse(nonsense)


@pytest.mark.parametrize("parts", [{}, {"years": -1}, {"months": 7, "days": -1}, {"years": 151}])
def test_nothing_less_than_nothing_and_too_much_are_no_periods(parts: dict[str, int]) -> None:
    with pytest.raises(RetentionDataError, match="period"):
        Period(**parts)


# Ends


@pytest.mark.parametrize(
    ("start", "length", "end"),
    [
        ("2025-01-15", "P6M", "2025-07-15"),
        ("2025-08-31", "P6M", "2026-02-28"),
        ("2023-08-31", "P6M", "2024-02-29"),
        ("2025-08-30", "P6M", "2026-02-28"),
        ("2025-03-31", "P1M", "2025-04-30"),
        ("2025-02-28", "P6M", "2025-08-28"),
        ("2024-02-29", "P6M", "2024-08-29"),
        ("2024-02-29", "P1Y", "2025-02-28"),
        ("2024-02-29", "P4Y", "2028-02-29"),
        ("2024-02-29", "P50Y", "2074-02-28"),
        ("2096-02-29", "P4Y", "2100-02-28"),
        ("2025-12-31", "P2M", "2026-02-28"),
        ("2023-12-31", "P60D", "2024-02-29"),
        ("2025-01-31", "P1M1D", "2025-03-01"),
    ],
)
def test_a_period_ends_where_a_lawyer_would_look(start: str, length: str, end: str) -> None:
    assert end_of(date.fromisoformat(start), period(length)) == date.fromisoformat(end)


@unhurried
@given(days, periods)
def test_the_end_is_the_one_found_by_walking_day_by_day(start: date, length: Period) -> None:
    assert end_of(start, length) == walked(start, length)


@given(st.dates(date(1990, 1, 1), date(2050, 12, 31)))
@settings(deadline=None, max_examples=20)
def test_fifty_years_end_where_walking_them_ends(start: date) -> None:
    assert end_of(start, period("P50Y")) == walked(start, period("P50Y"))


@given(days, days, periods)
def test_who_begins_later_never_ends_earlier(one: date, other: date, length: Period) -> None:
    assert end_of(min(one, other), length) <= end_of(max(one, other), length)


@given(days, st.integers(-70, 70), periods)
def test_a_period_fits_exactly_when_it_starts_no_later_than_the_latest_start(
    end: date, shift: int, length: Period
) -> None:
    latest = latest_start(end, length)
    some_day = latest + shift * ONE_DAY

    assert end_of(latest, length) <= end < end_of(latest + ONE_DAY, length)
    assert (end_of(some_day, length) <= end) == (some_day <= latest)


@unhurried
@given(periods, periods, days)
def test_a_period_called_never_shorter_is_not_shorter_from_any_day(
    one: Period, other: Period, start: date
) -> None:
    assert not never_shorter(one, other) or end_of(start, one) >= end_of(start, other)


@pytest.mark.parametrize(
    ("one", "other", "answer"),
    [
        ("P6M", "P6M", True),
        ("P1Y", "P12M", True),
        ("P12M", "P1Y", True),
        ("P1Y", "P365D", True),
        ("P365D", "P1Y", False),
        ("P366D", "P1Y", True),
        ("P6M", "P181D", True),
        ("P6M", "P182D", False),
        ("P182D", "P6M", False),
        ("P184D", "P6M", True),
        ("P183D", "P6M", False),
        ("P2M", "P59D", True),
        ("P2M", "P60D", False),
        ("P4Y", "P1460D", True),
        ("P4Y", "P1461D", False),  # 2100 is no leap year
        ("P50Y", "P6M", True),
        ("P6M", "P50Y", False),
    ],
)
def test_months_and_days_are_compared_over_the_whole_calendar(one: str, other: str, answer: bool) -> None:
    assert never_shorter(period(one), period(other)) is answer


def test_periods_that_leave_the_calendar_are_refused() -> None:
    with pytest.raises(RetentionDataError, match="outside the calendar"):
        end_of(date(9990, 1, 1), period("P50Y"))
    with pytest.raises(RetentionDataError, match="outside the calendar"):
        end_of(date(9999, 12, 31), period("P1D"))
    with pytest.raises(RetentionDataError, match="outside the calendar"):
        latest_start(date(1, 1, 15), period("P1M"))


def test_a_time_of_day_is_not_taken_for_a_day() -> None:
    with pytest.raises(RetentionDataError, match="day of the calendar"):
        end_of(datetime(2026, 1, 15, tzinfo=UTC), period("P6M"))
    with pytest.raises(RetentionDataError, match="day of the calendar"):
        latest_start(datetime(2026, 1, 15, tzinfo=UTC), period("P6M"))
