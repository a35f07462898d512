"""Working days: which days of a calendar are holidays or weekend, and the next day that is neither.

A calendar is data inside a policy: the days of the weekend, and rules for holidays, each a day that bears
the same date every year, lies so many days from Easter, or is the n-th (or the last) such weekday of a month.
A rule may name the first and the last year in which it holds, so that a holiday that a law brings or
abolishes needs no new code. A holiday that falls on the weekend may have a substitute: the next working day,
or, where it falls on a Saturday, the Friday before.

Moving an end is only ever later: `Holidays.working_day` gives the day itself or a later one, never an earlier
one.

Easter is Easter Sunday of the Gregorian calendar, as the churches of the West reckon it. The divisions in
`easter` are those of Butcher's *Ecclesiastical Calendar* (1876), as H. V. Smith gives them in *Mathematical
Spectrum* 11 (1978/79), pages 23-24; https://www.w3.org/2000/10/swap/test/easter/ repeats the table. The tests
compare it, for every year from 1583 to 4099, with the reckoning by golden number, epact and Sunday that the
calendar reform of 1582 prescribes.

Pure: no clock, no database, no environment.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final

from retention.period import RetentionDataError
from retention.sourced import check_source, check_text
from retention.strict import answer, entries, fields, number, text

FARTHEST_FROM_EASTER: Final = 100
"""Days. Corpus Christi, the farthest in use, is 60 days after; Shrove Tuesday 47 before."""

MOST_HOLIDAYS: Final = 100
_FIRST_YEAR, _LAST_YEAR = 1583, 9998
_LEAP_YEAR: Final = 2000
_WEEK: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ONE_DAY: Final = timedelta(days=1)
_FIFTH: Final = 5


class Substitute(StrEnum):
    """What becomes of a holiday that falls on a day of the weekend."""

    NONE = "none"
    """Nothing: it stays where it is."""
    NEXT = "next"
    """The next day that is neither weekend nor a holiday is one too (as bank holidays in Great Britain)."""
    NEAREST = "nearest"
    """On a Saturday, the Friday before is one too; on any other day of the weekend, the next working day (as
    federal holidays in the United States)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holiday:
    """One rule: exactly one of `on` (month, day), `easter` (days after Easter Sunday) and `weekday`.

    `weekday` counts from Monday = 0 and goes with `month` and `nth`: 1 to 4, or -1 for the last one.
    `first` and `last` are the years, both included, in which the rule holds. 29 February is a holiday in leap
    years only.

    Raises RetentionDataError for anything else.
    """

    name: str
    on: tuple[int, int] | None = None
    easter: int | None = None
    weekday: int | None = None
    month: int | None = None
    nth: int | None = None
    substitute: Substitute = Substitute.NONE
    first: int | None = None
    last: int | None = None

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > 100:
            raise RetentionDataError("a holiday needs a name, of at most 100 characters")
        check_text(self.name, "the name of a holiday")
        if sum(one is not None for one in (self.on, self.easter, self.weekday)) != 1:
            raise RetentionDataError(
                f"{self.name}: one of a date, days from Easter, and a weekday of a month"
            )
        if (self.weekday is None) != (self.month is None) or (self.weekday is None) != (self.nth is None):
            raise RetentionDataError(f"{self.name}: a weekday goes with its month and which one of it")
        self._check_figures()
        years = (self.first or _FIRST_YEAR, self.last or _LAST_YEAR)
        if not _FIRST_YEAR <= years[0] <= years[1] <= _LAST_YEAR:
            raise RetentionDataError(
                f"{self.name}: years lie between {_FIRST_YEAR} and {_LAST_YEAR}, the first not after the last"
            )

    def _check_figures(self) -> None:
        if self.on is not None:
            month, day = self.on
            if not (1 <= month <= 12 and 1 <= day <= monthrange(_LEAP_YEAR, month)[1]):
                raise RetentionDataError(f"{self.name}: there is no day {day} in a month {month}")
        if self.easter is not None and abs(self.easter) > FARTHEST_FROM_EASTER:
            raise RetentionDataError(
                f"{self.name}: a holiday lies at most {FARTHEST_FROM_EASTER} days from Easter"
            )
        if self.weekday is not None:
            if not (0 <= self.weekday <= 6 and 1 <= (self.month or 0) <= 12):
                raise RetentionDataError(f"{self.name}: a weekday of a month from 1 to 12 is needed")
            if self.nth not in (1, 2, 3, 4, -1):
                raise RetentionDataError(f"{self.name}: first to fourth (1 to 4) or last (-1) of its month")

    def day_in(self, year: int) -> date | None:
        """The day itself in this year; None where the rule does not hold or 29 February does not exist.

        >>> Holiday(name="Ascension", easter=39).day_in(2026)
        datetime.date(2026, 5, 14)
        >>> Holiday(name="Memorial Day", weekday=0, month=5, nth=-1).day_in(2026)
        datetime.date(2026, 5, 25)
        """
        if not (self.first or _FIRST_YEAR) <= year <= (self.last or _LAST_YEAR):
            return None
        if self.on is not None:
            month, day = self.on
            return date(year, month, day) if day <= monthrange(year, month)[1] else None
        if self.easter is not None:
            return easter(year) + self.easter * _ONE_DAY
        if self.weekday is None or self.month is None or self.nth is None:
            raise RetentionDataError(f"{self.name}: a holiday that says no day")  # refused when it was made
        return _weekday_of_month(year, self.month, self.weekday, self.nth)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holidays:
    """The days that are no working days: the `weekend` (Monday = 0) and the `days`.

    Where a policy has such a calendar, an end that falls on one of its days moves to the next working day.

    Raises RetentionDataError for a weekend of more than five days, too many holidays or no source.
    """

    weekend: tuple[int, ...]
    days: tuple[Holiday, ...]
    source: str
    confirmed: bool

    def __post_init__(self) -> None:
        if len(set(self.weekend)) != len(self.weekend) or not all(0 <= day <= 6 for day in self.weekend):
            raise RetentionDataError("the weekend names weekdays, each once")
        if len(self.weekend) > _FIFTH:
            raise RetentionDataError("a weekend of more than five days leaves no week")
        if len(self.days) > MOST_HOLIDAYS:
            raise RetentionDataError(f"a calendar has at most {MOST_HOLIDAYS} holidays")
        check_source(self.source)

    def of_year(self, year: int) -> dict[date, str]:
        """Every holiday of a calendar year with its name, substitutes included, in order of date.

        A substitute is found after all holidays stand on their own days: where Christmas falls on a Saturday
        and the day after it is a holiday too, their substitutes are Monday and Tuesday.
        """
        around = range(max(year - 1, _FIRST_YEAR), min(year + 1, _LAST_YEAR) + 1)
        dated = [(day, each) for y in around for each in self.days if (day := each.day_in(y)) is not None]
        found: dict[date, str] = {}
        for day, holiday in dated:
            found.setdefault(day, holiday.name)
        for day, holiday in sorted(dated, key=lambda pair: (pair[0], pair[1].name)):
            if holiday.substitute is Substitute.NONE or day.weekday() not in self.weekend:
                continue
            nearest = holiday.substitute is Substitute.NEAREST and day.weekday() == _WEEK.index("saturday")
            step = -_ONE_DAY if nearest else _ONE_DAY
            instead = day + step
            while instead.weekday() in self.weekend or instead in found:
                instead += step
            found[instead] = f"{holiday.name} (substitute day)"
        return {day: found[day] for day in sorted(found) if day.year == year}

    def is_working_day(self, day: date) -> bool:
        """Whether this day is neither weekend nor a holiday."""
        return day.weekday() not in self.weekend and day not in _holidays_of(self, day.year)

    def working_day(self, day: date) -> date:
        """`day` itself, or the next working day where it is none: never earlier.

        Raises RetentionDataError beyond the calendar, and where a whole month holds no working day.
        """
        candidate = day
        for _ in range(31):
            if candidate.year > _LAST_YEAR:
                raise RetentionDataError(f"the next working day after {day} lies outside the calendar")
            if self.is_working_day(candidate):
                return candidate
            candidate += _ONE_DAY
        raise RetentionDataError(f"no working day within a month after {day}: see the calendar of the policy")


@lru_cache(maxsize=1024)
def _holidays_of(holidays: Holidays, year: int) -> frozenset[date]:
    return frozenset(holidays.of_year(year))


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar; see the module's text for the source.

    >>> easter(2026), easter(2038)
    (datetime.date(2026, 4, 5), datetime.date(2038, 4, 25))

    Raises RetentionDataError before 1583, when the Gregorian calendar began, and after 9998.
    """
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        raise RetentionDataError(f"Easter is reckoned here from {_FIRST_YEAR} to {_LAST_YEAR}, not in {year}")
    moon_year = year % 19
    century, of_century = divmod(year, 100)
    leap_centuries, after_leap_century = divmod(century, 4)
    moon_shift = (century - (century + 8) // 25 + 1) // 3
    to_full_moon = (19 * moon_year + century - leap_centuries - moon_shift + 15) % 30
    leap_years, after_leap_year = divmod(of_century, 4)
    to_sunday = (32 + 2 * after_leap_century + 2 * leap_years - to_full_moon - after_leap_year) % 7
    late = (moon_year + 11 * to_full_moon + 22 * to_sunday) // 451
    month, day = divmod(to_full_moon + to_sunday - 7 * late + 114, 31)
    return date(year, month, day + 1)


def _weekday_of_month(year: int, month: int, weekday: int, nth: int) -> date:
    if nth > 0:
        first = date(year, month, 1)
        return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))
    last = date(year, month, monthrange(year, month)[1])
    return last - timedelta(days=(last.weekday() - weekday) % 7)


# Reading and writing, inside a policy file

_HOLIDAYS_KEYS: Final = frozenset({"weekend", "days", "source", "confirmed"})
_HOLIDAY_KEYS: Final = frozenset({"name"})
_HOLIDAY_MAY: Final = frozenset({"on", "easter", "weekday", "month", "nth", "substitute", "first", "last"})
_MONTH_DAY: Final = 5


def read(value: object, where: str) -> Holidays | None:
    """A calendar as it stands in a policy file; null where ends do not move. Raises RetentionDataError."""
    if value is None:
        return None
    found = fields(value, _HOLIDAYS_KEYS, where)
    weekend = entries(found["weekend"], f"{where}.weekend")
    days = entries(found["days"], f"{where}.days")
    try:
        return Holidays(
            weekend=tuple(_weekday(each, f"{where}.weekend") for each in weekend),
            days=tuple(_read_holiday(each, f"{where}.days[{n}]") for n, each in enumerate(days)),
            source=text(found["source"], f"{where}.source"),
            confirmed=answer(found["confirmed"], f"{where}.confirmed"),
        )
    except RetentionDataError as fault:
        raise fault if str(fault).startswith(where) else RetentionDataError(f"{where}: {fault}") from fault


def plain(holidays: Holidays | None) -> dict[str, object] | None:
    """The calendar as `read` reads it back."""
    if holidays is None:
        return None
    return {
        "weekend": [_WEEK[day] for day in holidays.weekend],
        "days": [_plain_holiday(each) for each in holidays.days],
        "source": holidays.source,
        "confirmed": holidays.confirmed,
    }


def _read_holiday(value: object, where: str) -> Holiday:
    found = fields(value, _HOLIDAY_KEYS, where, _HOLIDAY_MAY)

    def figure(name: str) -> int | None:
        return number(found[name], f"{where}.{name}") if name in found else None

    substitute = text(found.get("substitute", "none"), f"{where}.substitute")
    if substitute not in frozenset(Substitute):
        raise RetentionDataError(f"{where}.substitute: {substitute!r} is none of none, next and nearest")
    try:
        return Holiday(
            name=text(found["name"], f"{where}.name"),
            on=_month_day(found["on"], f"{where}.on") if "on" in found else None,
            easter=figure("easter"),
            weekday=_weekday(found["weekday"], f"{where}.weekday") if "weekday" in found else None,
            month=figure("month"),
            nth=figure("nth"),
            substitute=Substitute(substitute),
            first=figure("first"),
            last=figure("last"),
        )
    except RetentionDataError as fault:
        raise fault if str(fault).startswith(where) else RetentionDataError(f"{where}: {fault}") from fault


def _plain_holiday(holiday: Holiday) -> dict[str, object]:
    said: Mapping[str, object | None] = {
        "name": holiday.name,
        "on": "{:02}-{:02}".format(*holiday.on) if holiday.on else None,
        "easter": holiday.easter,
        "weekday": None if holiday.weekday is None else _WEEK[holiday.weekday],
        "month": holiday.month,
        "nth": holiday.nth,
        "substitute": None if holiday.substitute is Substitute.NONE else str(holiday.substitute),
        "first": holiday.first,
        "last": holiday.last,
    }
    return {name: value for name, value in said.items() if value is not None}


def _weekday(value: object, where: str) -> int:
    written = text(value, where)
    if written not in _WEEK:
        raise RetentionDataError(f"{where}: {written!r} is not a weekday such as monday")
    return _WEEK.index(written)


def _month_day(value: object, where: str) -> tuple[int, int]:
    written = text(value, where)
    month, _, day = written.partition("-")
    if (
        len(written) != _MONTH_DAY
        or not (month + day).isascii()
        or not (month + day).isdigit()
        or len(month) != 2
    ):
        raise RetentionDataError(f"{where}: {written!r} is not a month and a day such as 12-25")
    return int(month), int(day)
