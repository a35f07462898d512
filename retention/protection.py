"""What of a policy protects a victim, as one table: where could a version protect less than another?

Two questions go by it. A policy that protects less in anything is adopted so that nobody is surprised
(`retention.adopting`); and a kit never goes to a version that does (`retention.term.moved_to`). How soon work
is done before it counts as late (the deadlines, and when a report that was not linked becomes work) lets
nothing expire and is not compared.

Pure: no clock, no database, no environment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from retention.holidays import Holiday, Holidays
from retention.period import never_shorter
from retention.policy import CountedFrom, ExtensionUntil, Policy
from retention.sourced import SourcedPeriod

Less = Callable[[Policy, Policy], bool]
"""Whether the first policy, in one thing, could protect less than the second."""


def less_protected(new: Policy, old: Policy) -> Iterator[str]:
    """What `new` could protect less than `old`, in words, in the order in which a policy is read."""
    return (what for what, less in COMPARED if less(new, old))


def _shorter(period: Callable[[Policy], SourcedPeriod | None]) -> Less:
    """A period that protects by being long; to have none is the least."""

    def less(new: Policy, old: Policy) -> bool:
        one, other = period(new), period(old)
        return other is not None and (one is None or not never_shorter(one.period, other.period))

    return less


def _longer(period: Callable[[Policy], SourcedPeriod]) -> Less:
    """A period after which somebody looks again: it protects by being short."""
    return lambda new, old: not never_shorter(period(old).period, period(new).period)


def _no_more(answer: Callable[[Policy], bool]) -> Less:
    """An answer that protects by being yes."""
    return lambda new, old: answer(old) and not answer(new)


def _later_notices(new: Policy, old: Policy) -> bool:
    """Fewer than before, or one of them nearer to the end than the one in its place."""
    return len(new.reminders) < len(old.reminders) or any(
        not never_shorter(one.period, other.period)
        for one, other in zip(new.reminders, old.reminders, strict=False)
    )


def _extended_less_often(new: Policy, old: Policy) -> bool:
    most, before = new.extension_times, old.extension_times
    return most is not None and (before is None or most < before)


def _at_most_shorter(new: Policy, old: Policy) -> bool:
    """Here to have none is the most."""
    if new.longest is None:
        return False
    return old.longest is None or not never_shorter(new.longest.period, old.longest.period)


def _free_days_lost(new: Policy, old: Policy) -> bool:
    """A day past which an end moved, and now does not."""
    if old.holidays is None:
        return False
    return new.holidays is None or not _free_days(old.holidays) <= _free_days(new.holidays)


def _free_days(calendar: Holidays) -> frozenset[int | Holiday]:
    """The days of the weekend, and the holidays whatever they are called."""
    return frozenset((*calendar.weekend, *(replace(each, name="a holiday") for each in calendar.days)))


COMPARED: Final[tuple[tuple[str, Less], ...]] = (
    ("the time of keeping for adults", _shorter(lambda p: p.adult)),
    ("the time of keeping for minors", _shorter(lambda p: p.minor)),
    ("the time of keeping where the age is unknown", _shorter(lambda p: p.unknown)),
    ("the longest time of keeping", _at_most_shorter),
    ("the calendar of holidays", _free_days_lost),
    ("the time for contesting", _shorter(lambda p: p.contest)),
    ("that the victim is contacted", _no_more(lambda p: p.contact.answer)),
    ("the notice", _shorter(lambda p: p.notice)),
    ("the later notices", _later_notices),
    ("the grace", _shorter(lambda p: p.grace)),
    ("how long a safe channel counts as proved", _longer(lambda p: p.channel_age)),
    ("the extension", _shorter(lambda p: p.extension)),
    (
        "the day from which an extension counts",
        _no_more(lambda p: p.extension_counted_from is CountedFrom.END),
    ),
    ("how often the term can be extended", _extended_less_often),
    (
        "until when an extension can be asked for",
        _no_more(lambda p: p.extension_until is ExtensionUntil.DISPOSAL),
    ),
    ("the cooling-off", _shorter(lambda p: p.cooling_off)),
    ("how soon a hold is looked at again", _longer(lambda p: p.hold_review)),
    ("the age of majority", _shorter(lambda p: p.who_decides.majority)),
    (
        "that a minor judged capable decides alone",
        _no_more(lambda p: p.who_decides.capable_minor_alone.answer),
    ),
    (
        "what a representative may ask for",
        _no_more(lambda p: p.who_decides.representative_protects.answer),
    ),
)
"""Every value of a policy either stands here or protects nobody by its size; a test holds that."""
