"""Working days, against a second reckoning that looks at every day of the year."""

import doctest
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import retention.holidays
from retention.holidays import Holiday, Holidays, Substitute, easter, plain, read
from retention.period import RetentionDataError
from retention.policy import load
from tests.retention.reckoning import (
    ONE_DAY,
    calendars,
    easter_by_hand,
    ends,
    every_policy,
    holidays_by_looking,
    sourced,
    unhurried,
)

SEEDS = Path(retention.holidays.__file__).parent / "seed"


def of(seed: str) -> Holidays:
    (policy,) = load((SEEDS / seed).read_bytes())
    assert policy.holidays is not None
    return policy.holidays


BELGIUM, UNITED_STATES = of("belgium-2.json"), of("us-federal.json")
GREAT_BRITAIN = Holidays(
    weekend=(5, 6),
    days=(
        Holiday(name="New Year's Day", on=(1, 1), substitute=Substitute.NEXT),
        Holiday(name="Christmas Day", on=(12, 25), substitute=Substitute.NEXT),
        Holiday(name="Boxing Day", on=(12, 26), substitute=Substitute.NEXT),
    ),
    source="invented for a test",
    confirmed=False,
)

# Easter


@pytest.mark.parametrize(
    "day",
    # the earliest and the latest that there can be, years in which only the exceptions of the tables decide
    [
        *("1818-03-22", "1943-04-25", "1954-04-18", "1981-04-19", "2000-04-23", "2024-03-31", "2026-04-05"),
        *("2038-04-25", "2076-04-19", "2285-03-22"),
    ],
)
def test_easter_falls_where_the_almanacs_have_it(day: str) -> None:
    assert easter(date.fromisoformat(day).year) == date.fromisoformat(day)


def test_easter_of_every_year_is_the_one_of_the_tables_of_the_calendar_reform() -> None:
    assert [easter(year) for year in range(1583, 4100)] == [easter_by_hand(y) for y in range(1583, 4100)]


@pytest.mark.parametrize("year", [1582, 9999])
def test_easter_outside_the_calendar_is_refused(year: int) -> None:
    with pytest.raises(RetentionDataError, match="not in"):
        easter(year)


# The holidays of a year


def test_the_ten_holidays_of_belgium_in_2026() -> None:
    assert [day.isoformat()[5:] for day in BELGIUM.of_year(2026)] == [
        *("01-01", "04-06", "05-01", "05-14", "05-25", "07-21", "08-15", "11-01", "11-11", "12-25")
    ]


def test_the_federal_holidays_of_2021_and_2022_with_their_substitute_days() -> None:
    assert [day.isoformat() for day in UNITED_STATES.of_year(2021)] == [
        *("2021-01-01", "2021-01-18", "2021-02-15", "2021-05-31", "2021-06-18", "2021-06-19", "2021-07-04"),
        *("2021-07-05", "2021-09-06", "2021-10-11", "2021-11-11", "2021-11-25", "2021-12-24", "2021-12-25"),
        "2021-12-31",  # for New Year's Day 2022, a Saturday
    ]
    assert date(2020, 6, 19) not in UNITED_STATES.of_year(2020)  # not yet a holiday


def test_two_holidays_on_a_weekend_have_two_substitute_days() -> None:
    assert [day.isoformat() for day in GREAT_BRITAIN.of_year(2021)] == [
        *("2021-01-01", "2021-12-25", "2021-12-26", "2021-12-27", "2021-12-28")
    ]
    assert date(2022, 12, 27) in GREAT_BRITAIN.of_year(2022)  # Christmas on a Sunday, Boxing Day on Monday


def test_a_substitute_day_crosses_the_new_year_past_the_holiday_there() -> None:
    eve = Holiday(name="Old Year's Day", on=(12, 31), substitute=Substitute.NEXT)
    calendar = replace(GREAT_BRITAIN, days=(*GREAT_BRITAIN.days, eve))

    assert date(2017, 12, 31).isoweekday() == 7
    assert calendar.of_year(2018)[date(2018, 1, 2)] == "Old Year's Day (substitute day)"


def test_a_leap_day_is_a_holiday_in_leap_years_only() -> None:
    calendar = replace(BELGIUM, days=(Holiday(name="Leap Day", on=(2, 29)),))

    assert list(calendar.of_year(2028)) == [date(2028, 2, 29)]
    assert list(calendar.of_year(2100)) == []


@unhurried
@given(calendars, st.integers(1600, 2300))
def test_the_holidays_of_a_year_are_the_ones_found_by_looking_at_every_day(
    calendar: Holidays, year: int
) -> None:
    assert set(calendar.of_year(year)) == holidays_by_looking(calendar, year)


# Working days


@pytest.mark.parametrize(
    ("end", "moved"),
    [
        ("2026-07-15", "2026-07-15"),  # a Wednesday
        ("2026-07-18", "2026-07-20"),  # a Saturday: to Monday
        ("2026-07-21", "2026-07-22"),  # the national day
        ("2027-03-27", "2027-03-30"),  # the Saturday before Easter: past Easter Monday
        ("2026-05-14", "2026-05-15"),  # Ascension, a Thursday
        ("2027-12-25", "2027-12-27"),  # Christmas on a Saturday; Belgium knows no substitute day
        ("2027-01-01", "2027-01-04"),  # New Year on a Friday, then the weekend
    ],
)
def test_an_end_on_a_holiday_moves_to_the_next_working_day(end: str, moved: str) -> None:
    assert BELGIUM.working_day(date.fromisoformat(end)) == date.fromisoformat(moved)


@unhurried
@given(calendars, st.dates(date(1990, 1, 1), date(2100, 12, 31)))
def test_moving_an_end_is_only_ever_later_and_stops_at_the_first_working_day(
    calendar: Holidays, end: date
) -> None:
    moved = calendar.working_day(end)

    assert moved >= end
    assert calendar.is_working_day(moved)
    days = [end + n * ONE_DAY for n in range((moved - end).days)]
    assert not any(calendar.is_working_day(day) for day in days)


def test_a_calendar_without_a_working_day_is_refused_where_one_is_looked_for() -> None:
    weekends = tuple(
        Holiday(name="Heronry", weekday=weekday, month=month, nth=nth)
        for weekday in (5, 6)
        for month in (1, 2)
        for nth in (1, 2, 3, 4, -1)
    )
    calendar = replace(BELGIUM, weekend=(0, 1, 2, 3, 4), days=weekends)

    with pytest.raises(RetentionDataError, match=r"no working day within a month after 2027-01-01"):
        calendar.working_day(date(2027, 1, 1))
    with pytest.raises(RetentionDataError, match="outside the calendar"):
        BELGIUM.working_day(date(9999, 1, 2))


def test_the_second_reckoning_moves_an_end_on_and_never_back() -> None:
    (policy,) = load((SEEDS / "belgium-2.json").read_bytes())

    assert ends(policy, date(2026, 9, 27), sourced("P6M").period) == date(2027, 3, 30)


# Reading and writing


@given(every_policy)
def test_a_calendar_reads_back_as_it_was_written(policy: Any) -> None:
    assert read(json.loads(json.dumps(plain(policy.holidays))), "holidays") == policy.holidays


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.pop("weekend"), "holidays: weekend missing"),
        (lambda c: c.update(remark=1), "holidays: remark not known here"),
        (lambda c: c.update(weekend="sunday"), r"holidays\.weekend: a list"),
        (lambda c: c.update(weekend=["sunday", "sunday"]), "each once"),
        (lambda c: c.update(weekend=["zondag"]), r"'zondag' is not a weekday"),
        (
            lambda c: c.update(weekend=["monday", "tuesday", "wednesday", "thursday", "friday", "sunday"]),
            "week",
        ),
        (lambda c: c.update(source=""), "holidays: every period needs a source"),
        (lambda c: c.update(confirmed=1), r"holidays\.confirmed: true or false"),
        (lambda c: c.update(days=[c["days"][0]] * 101), "at most 100"),
        (lambda c: c["days"][0].update(on="1-1"), r"days\[0\]\.on: '1-1' is not a month and a day"),
        (lambda c: c["days"][0].update(on="02-30"), "no day 30 in a month 2"),
        (lambda c: c["days"][0].update(on="13-01"), "no day 1 in a month 13"),
        (lambda c: c["days"][0].update(on="0١-01"), "is not a month and a day"),
        (lambda c: c["days"][0].update(easter=1), "one of a date, days from Easter, and a weekday"),
        (lambda c: c["days"][0].pop("on"), "one of a date, days from Easter, and a weekday"),
        (lambda c: c["days"][1].update(easter=101), "at most 100 days from Easter"),
        (lambda c: c["days"][1].update(easter="1"), r"days\[1\]\.easter: a whole number"),
        (lambda c: c["days"][0].update(month=1), "a weekday goes with its month"),
        (lambda c: c["days"].append({"name": "x", "weekday": "monday"}), "a weekday goes with its month"),
        (
            lambda c: c["days"].append({"name": "x", "weekday": "monday", "month": 1, "nth": 5}),
            "first to fourth",
        ),
        (
            lambda c: c["days"].append({"name": "x", "weekday": "monday", "month": 13, "nth": 1}),
            "from 1 to 12",
        ),
        (lambda c: c["days"][0].update(name=""), "needs a name"),
        (lambda c: c["days"][0].update(name="New\u200b Year"), "characters that cannot be seen"),
        (lambda c: c["days"][0].update(substitute="friday"), "'friday' is none of none, next and nearest"),
        (lambda c: c["days"][0].update(first=2030, last=2029), "the first not after the last"),
        (lambda c: c["days"][0].update(first=1500), "years lie between"),
        (lambda c: c["days"][0].update(remark="x"), r"days\[0\]: remark not known here"),
    ],
)
def test_a_wrong_calendar_is_refused_and_the_refusal_says_where(change: Change, says: str) -> None:
    written = json.loads(json.dumps(plain(BELGIUM)))
    change(written)

    with pytest.raises(RetentionDataError, match=says):
        read(written, "holidays")


def test_the_examples_in_the_docstrings_of_the_calendar_hold() -> None:
    outcome = doctest.testmod(retention.holidays)

    assert outcome.attempted > 0
    assert outcome.failed == 0
