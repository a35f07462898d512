"""A kit followed from its custody trail alone, as a court sees it.

The choices trail is not there, and some steps depend on it: a kit is linked only after a report was
declared, a package destroyed only after the disposal was carried out. So instead of one legal state
and one state of the term, all pairs are kept that some choices could have led to; a step of the custody
trail must be possible from at least one of them. What no choices at all could allow is refused.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any, Final

from custody.event import Event
from custody.kit import Kit
from custody.protocol import CHOICES_STEPS, CUSTODY_STEPS, Legal, Retention, Step
from custody.trail import NotAStep, after

Pair = tuple[Legal, Retention]

BEGINNING: Final = (Legal.UNREPORTED, Retention.RUNNING)


def moved(pair: Pair, step: Step) -> Pair | None:
    """Where a step leads on the two axes of the kit; None where it is not possible."""
    legal, retention = pair
    if (step.legal and legal not in step.legal) or (step.retention and retention not in step.retention):
        return None
    return step.legal.get(legal, legal), step.retention.get(retention, retention)


@cache
def with_choices(pairs: frozenset[Pair]) -> frozenset[Pair]:
    """These pairs, and all that steps of the choices trail can lead to from them."""
    found, fresh = set(pairs), set(pairs)
    while fresh:
        led = {moved(pair, step) for pair in fresh for step in CHOICES_STEPS.values()}
        fresh = {pair for pair in led if pair is not None} - found
        found |= fresh
    return frozenset(found)


def people(event: Event) -> frozenset[str]:
    """Everybody who signed an event."""
    signed: Iterable[Any] = (event.who, *event.get("with", ()))
    return frozenset(str(each["person"]) for each in signed if "person" in each)


class CourtCopy:
    """Takes the events of one custody trail in order. ``kit`` is as far as the trail alone can tell."""

    def __init__(self) -> None:
        self.kit: Kit | None = None
        self.pairs = frozenset({BEGINNING})

    def refuses(self, event: Event) -> str | None:
        """Why this event cannot follow, in plain words; None when it can, and then it has been taken."""
        step = CUSTODY_STEPS.get(event.type)
        if step is None:
            return "the custody trail has no such step"
        if (event.type == "kit.registered") != (self.kit is None):
            return "a kit is registered once, at the beginning"
        if lacking := sorted(name for name in step.needs if event.get(name) is None):
            return f"it does not state {lacking[0]}"
        if step.people > 1 and len(people(event)) < step.people:
            return f"it takes {step.people} people, and fewer signed"
        possible = with_choices(self.pairs)
        led = {pair: moved(pair, step) for pair in sorted(possible)}
        started = [pair for pair, there in led.items() if there is not None]
        if not started:
            return "no choices of the victim could have led to where this step begins"
        legal, retention = started[0]
        kit = None if self.kit is None else replace(self.kit, legal=legal, retention=retention)
        try:
            self.kit = after(kit, event)
        except NotAStep as wrong:
            return f"this step is not possible: {wrong}"
        except (LookupError, TypeError, ValueError, AttributeError) as wrong:
            return f"it speaks of something that the trail does not have ({str(wrong)[:60]})"
        self.pairs = frozenset(there for there in led.values() if there is not None)
        return None
