"""A policy read aloud: every value by its name, what differs between two versions, and the days of a term.

For whoever adopts a policy, reads it in a court, or compares two versions: pages, API and command line show
the same values in the same order.

Pure: no clock, no database, no environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final

from retention.holidays import Holiday, Holidays
from retention.policy import AgeClass, Policy
from retention.sourced import (
    Deadlines,
    SourcedAnswer,
    SourcedLimit,
    SourcedPeriod,
    WhoDecides,
    check_text,
)
from retention.term import agreed_term, last_day_of_grace, next_point

MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
WEEK: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One value of a policy. `written` is as a policy file writes it; None where the policy has none.

    `source` and `confirmed` are None for what needs no source: names, dates and places.
    """

    name: str
    written: str | None
    source: str | None = None
    confirmed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A value that is not the same in two versions; None on the side that does not have it."""

    name: str
    before: Value | None
    after: Value | None

    @property
    def in_substance(self) -> bool:
        """Whether the value itself differs, and not only its source or that it was confirmed."""
        return (self.before and self.before.written) != (self.after and self.after.written)


def values(policy: Policy) -> tuple[Value, ...]:
    """Every value of a policy, in the order in which it is read: what it is for, then how long, then who."""
    return (*_names(policy), *_periods(policy), *_rules(policy))


def differences(before: Policy, after: Policy) -> tuple[Difference, ...]:
    """What differs between two versions, in the order of `values`; their version numbers are left out."""
    old = {each.name: each for each in values(before)}
    new = {each.name: each for each in values(after)}
    names = [*new, *(name for name in old if name not in new)]
    return tuple(
        Difference(name=name, before=old.get(name), after=new.get(name))
        for name in names
        if name != "version" and old.get(name) != new.get(name)
    )


def check_readable(policy: Policy) -> None:
    """Raises RetentionDataError where a source has characters that are not seen when it is read.

    Asked when a policy is adopted, not when it is loaded: what was adopted before stays readable.
    """
    for value in values(policy):
        if value.source is not None:
            check_text(value.source, f"{value.name}: the text of its source")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A day of a term: `name` is `start`, `notice`, `end` or `grace`."""

    name: str
    on: date


def days_of_term(policy: Policy, age_class: AgeClass, examined_on: date) -> tuple[Point, ...]:
    """The days of the term of somebody examined on that local day at noon: start, notices, end, grace."""
    term = agreed_term(policy, age_class, datetime.combine(examined_on, time(12), policy.zone))
    points = [Point(name="start", on=term.start)]
    point = next_point(term, policy, term.start)
    while policy.contact.answer and point is not None:
        points.append(Point(name="notice", on=point))
        point = next_point(term, policy, point)
    points.append(Point(name="end", on=term.end))
    if policy.grace is not None:
        points.append(Point(name="grace", on=last_day_of_grace(term, policy)))
    return tuple(points)


def _names(policy: Policy) -> Iterator[Value]:
    said = {
        "id": policy.id,
        "version": str(policy.version),
        "country": policy.country,
        "region": policy.region,
        "centre": policy.centre,
        "adopted_on": policy.adopted_on.isoformat(),
        "valid_from": policy.valid_from.isoformat(),
        "time_zone": policy.time_zone,
    }
    for name, written in said.items():
        yield Value(name=name, written=written)


def _periods(policy: Policy) -> Iterator[Value]:
    for age_class in AgeClass:
        yield _sourced(f"kept.{age_class}", getattr(policy, age_class))
    yield _answered("contact", policy.contact)
    yield _sourced("notice", policy.notice)
    for number, reminder in enumerate(policy.reminders, 1):
        yield _sourced(f"reminders.{number}", reminder)
    yield _sourced("grace", policy.grace)
    yield _sourced("cooling_off", policy.cooling_off)
    yield _sourced("extension", policy.extension)
    from_extension = {
        "extension.counted_from": str(policy.extension_counted_from),
        "extension.times": None if policy.extension_times is None else str(policy.extension_times),
        "extension.until": str(policy.extension_until),
    }
    for name, written in from_extension.items():
        yield Value(name=name, written=written)
    yield _sourced("longest", policy.longest)
    yield _sourced("hold_review", policy.hold_review)
    yield _sourced("channel_age", policy.channel_age)
    yield _sourced("contest", policy.contest)
    yield _sourced("unlinked", policy.unlinked)


def _rules(policy: Policy) -> Iterator[Value]:
    for name in Deadlines.__slots__:
        limit: SourcedLimit = getattr(policy.deadlines, name)
        yield Value(
            name=f"deadlines.{name}",
            written=str(limit.limit),
            source=limit.source,
            confirmed=limit.confirmed,
        )
    if policy.holidays is None:
        yield Value(name="holidays", written=None)
    else:
        yield Value(
            name="holidays",
            written=_calendar(policy.holidays),
            source=policy.holidays.source,
            confirmed=policy.holidays.confirmed,
        )
    for name in WhoDecides.__slots__:
        found = getattr(policy.who_decides, name)
        made = _sourced if isinstance(found, SourcedPeriod) else _answered
        yield made(f"who_decides.{name}", found)


def _sourced(name: str, value: SourcedPeriod | None) -> Value:
    if value is None:
        return Value(name=name, written=None)
    return Value(name=name, written=str(value.period), source=value.source, confirmed=value.confirmed)


def _answered(name: str, value: SourcedAnswer) -> Value:
    written = "yes" if value.answer else "no"
    return Value(name=name, written=written, source=value.source, confirmed=value.confirmed)


def _calendar(holidays: Holidays) -> str:
    """The weekend and every holiday, as `Saturday, Sunday; Easter Monday (1 day after Easter); …`."""
    weekend = ", ".join(WEEK[day].capitalize() for day in holidays.weekend)
    return "; ".join([weekend or "no weekend", *(_holiday(each) for each in holidays.days)])


def _holiday(holiday: Holiday) -> str:
    if holiday.on is not None:
        when = f"{holiday.on[1]} {MONTHS[holiday.on[0] - 1]}"
    elif holiday.easter is not None:
        when = _from_easter(holiday.easter)
    else:
        which = {1: "first", 2: "second", 3: "third", 4: "fourth", -1: "last"}[holiday.nth or 0]
        when = f"{which} {WEEK[holiday.weekday or 0].capitalize()} of {MONTHS[(holiday.month or 1) - 1]}"
    years = f", {holiday.first or ''}–{holiday.last or ''}" if holiday.first or holiday.last else ""
    moved = "" if holiday.substitute == "none" else f", substitute {holiday.substitute}"
    return f"{holiday.name} ({when}{years}{moved})"


def _from_easter(days: int) -> str:
    if days == 0:
        return "Easter Sunday"
    count = "1 day" if abs(days) == 1 else f"{abs(days)} days"
    return f"{count} {'after' if days > 0 else 'before'} Easter"
