"""Calendar periods: how long, counted in years, months and days of the calendar.

The method of counting is that of Regulation (EEC, Euratom) No 1182/71, article 3, taken over here because
it is written, short and known to courts; it binds acts of the European institutions, not the agreement with
a victim, and a policy may be confirmed against another rule later. What it says, and what is done here:

1. The day of the event is not counted (article 3(1)): whatever the hour of the examination, the victim has
   the rest of that day on top.
2. A period in months or years ends with the last hour of the day that bears the same date as the day of the
   event: six months from 15 January end with the last hour of 15 July (article 3(2)(c)).
3. Where that date does not exist, the period ends with the last hour of the last day of that month: six
   months from 31 August end on 28 February, in a leap year on 29 February; fifty years from 29 February 2024
   end on 28 February 2074 (article 3(2)(c)).
4. Mixed periods count years and months together first, then days.
5. Saturdays, Sundays and holidays are counted like any other day (article 3(3)). Whether an end that falls
   on one of them moves to the next working day (article 3(4)) is not decided here: it is a question of the
   policy, and `retention.term` answers it with the policy's own calendar (`retention.holidays`).
6. A period counted backwards, such as the notice before an end, moves for no holiday (article 3(4), second
   sentence).

Article 3(5), under which a period of two days or more holds at least two working days, is not applied: it
speaks to periods of a few days, and what is counted here lasts for weeks, months and years.

Pure: no clock, no database, no environment.
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

LONGEST_YEARS: Final = 150
"""No rule known keeps a kit longer than 55 years (FIELD: Idaho); more than this is a slip of the pen."""

_WRITTEN: Final = re.compile(
    r"P(?:(?P<years>[1-9][0-9]{0,4})Y)?(?:(?P<months>[1-9][0-9]{0,4})M)?(?:(?P<days>[1-9][0-9]{0,4})D)?"
)


class RetentionDataError(ValueError):
    """Something written about a period, a policy or a term cannot be used; the message says what and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A length of calendar time: `years`, then `months`, then `days`; never nothing, never negative.

    Written as in ISO 8601, without weeks, hours, zeros or signs; what is written is kept as it is written
    (twelve months stay `P12M`), so that reading and writing are inverse.

    >>> str(Period.parse("P6M"))
    'P6M'

    Raises RetentionDataError for nothing (all zero), a negative part, or more than LONGEST_YEARS.
    """

    years: int = 0
    months: int = 0
    days: int = 0

    def __post_init__(self) -> None:
        if min(self.years, self.months, self.days) < 0:
            raise RetentionDataError("a period cannot be negative")
        if not (self.years or self.months or self.days):
            raise RetentionDataError("a period of nothing is not a period: write at least P1D")
        if 365 * self.years + 30 * self.months + self.days > 366 * LONGEST_YEARS:
            raise RetentionDataError(f"a period may not be longer than {LONGEST_YEARS} years")

    @classmethod
    def parse(cls, written: str) -> Period:
        """Read `P6M`, `P50Y`, `P1Y6M`, `P60D`; anything else raises RetentionDataError."""
        if (found := _WRITTEN.fullmatch(written)) is None:
            raise RetentionDataError(
                f"{written!r} is not a calendar period: write years, months and days as in P50Y, P6M or P60D"
            )
        return cls(**{unit: int(number) for unit, number in found.groupdict(default="0").items()})

    def __str__(self) -> str:
        parts = ((self.years, "Y"), (self.months, "M"), (self.days, "D"))
        return "P" + "".join(f"{number}{unit}" for number, unit in parts if number)


LONGEST_HOURS: Final = 24 * 366
"""What takes longer than a year is written in months or years."""

_HOURS: Final = re.compile(r"PT([1-9][0-9]{0,3})H")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How soon something has to be done: so many `hours` on the clock, or a `period` of the calendar.

    Written `PT24H`, or as a period is: `P14D`. An hour is sixty minutes whatever the clocks do that night; a
    period ends with the last hour of its last day.

    >>> Limit.parse("PT24H").hours, str(Limit.parse("P14D"))
    (24, 'P14D')

    Raises RetentionDataError for nothing, for both at once, and for more than LONGEST_HOURS.
    """

    hours: int | None = None
    period: Period | None = None

    def __post_init__(self) -> None:
        if (self.hours is None) == (self.period is None):
            raise RetentionDataError("a limit is either hours or a calendar period")
        if self.hours is not None and not 1 <= self.hours <= LONGEST_HOURS:
            raise RetentionDataError(f"a limit in hours lies between 1 and {LONGEST_HOURS}")

    @classmethod
    def parse(cls, written: str) -> Limit:
        """Read `PT4H` or a calendar period; anything else raises RetentionDataError."""
        if (found := _HOURS.fullmatch(written)) is not None:
            return cls(hours=int(found[1]))
        if written.startswith("PT"):
            raise RetentionDataError(
                f"{written!r} is not a limit: write hours as in PT24H, or days as in P14D"
            )
        return cls(period=Period.parse(written))

    def __str__(self) -> str:
        return f"PT{self.hours}H" if self.hours is not None else str(self.period)


def end_of(start: date, period: Period) -> date:
    """The last day, counted whole, of a period that runs from the day `start`.

    >>> end_of(date(2025, 1, 15), Period.parse("P6M"))    # the same date, six months on
    datetime.date(2025, 7, 15)
    >>> end_of(date(2025, 8, 31), Period.parse("P6M"))    # there is no 31 February
    datetime.date(2026, 2, 28)
    >>> end_of(date(2024, 2, 29), Period.parse("P50Y"))   # 2074 is no leap year
    datetime.date(2074, 2, 28)
    >>> end_of(date(2023, 12, 31), Period.parse("P60D"))
    datetime.date(2024, 2, 29)

    Raises RetentionDataError beyond the year 9999.
    """
    _only_a_date(start)
    return _days_on(_months_on(start, 12 * period.years + period.months), period.days)


def latest_start(end: date, period: Period) -> date:
    """The last day from which `period` still fits before the last hour of `end`; the counterpart of `end_of`.

    For every day `s`: `end_of(s, period) <= end` exactly when `s <= latest_start(end, period)`. A notice
    given on that day therefore leaves the whole notice period, never a day less.

    >>> latest_start(date(2025, 7, 15), Period.parse("P60D"))
    datetime.date(2025, 5, 16)
    >>> latest_start(date(2025, 2, 28), Period.parse("P1M"))   # 31 January + one month is 28 February too
    datetime.date(2025, 1, 31)

    Raises RetentionDataError before the year 1.
    """
    _only_a_date(end)
    without_days = _days_on(end, -period.days)
    months = 12 * period.years + period.months
    first_guess = _months_on(without_days, -months)
    last_of_month = monthrange(first_guess.year, first_guess.month)[1]
    if without_days.day == monthrange(without_days.year, without_days.month)[1]:
        return first_guess.replace(day=last_of_month)
    return first_guess


def never_shorter(one: Period, other: Period) -> bool:
    """Whether `one` ends as late as `other` or later from every possible day.

    `P6M` and `P182D` cannot be compared by their figures: from 15 January the first is shorter, from 15 March
    the second. Where months of 28 and of 31 days do not decide, the answer is looked up: the calendar repeats
    after 400 years, and the days up to the 28th of a month all behave alike, which leaves 4,800 months with
    at most four days each to try.

    >>> never_shorter(Period.parse("P1Y"), Period.parse("P365D"))
    True
    >>> never_shorter(Period.parse("P365D"), Period.parse("P1Y"))   # not over a 29 February
    False
    """
    months, others = 12 * one.years + one.months, 12 * other.years + other.months
    if (months >= others and one.days >= other.days) or (28 * months + one.days >= 31 * others + other.days):
        return True
    if (months <= others and one.days <= other.days) or (31 * months + one.days < 28 * others + other.days):
        return False  # shorter everywhere: had the two been the same, the line above had answered
    return all(
        end_of(date(year, month, day), one) >= end_of(date(year, month, day), other)
        for year in range(2000, 2400)
        for month in range(1, 13)
        for day in range(28, monthrange(year, month)[1] + 1)
    )


def _months_on(day: date, months: int) -> date:
    """The same date `months` later (earlier if negative), or the last day of that month if there is none."""
    year, month = divmod(12 * day.year + day.month - 1 + months, 12)
    if not date.min.year <= year <= date.max.year:
        raise RetentionDataError(f"{months} months from {day} lie outside the calendar")
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def _days_on(day: date, days: int) -> date:
    try:
        return day + timedelta(days=days)
    except OverflowError as beyond:
        raise RetentionDataError(f"{days} days from {day} lie outside the calendar") from beyond


def _only_a_date(day: date) -> None:
    if isinstance(day, datetime):
        raise RetentionDataError("a day of the calendar is needed here, not a time of day")
