"""A kit followed from one of its two trails alone, as a court sees it.

The other trail is not there, and some steps depend on it: a kit is linked only after a report was declared,
a package destroyed only after the disposal was carried out; and the other way round a wish to withdraw is
recorded only after the link. So instead of one legal state and one state of the term, all pairs are kept that
some steps of the other trail could have led to; each step must be possible from at least one of them. What no
steps at all could allow is refused.

Of the choices trail alone it cannot be told which packages the kit has: those that it names are taken to be
there.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from typing import Any, Final

from custody.event import Event
from custody.kit import Kit, Package, changed
from custody.protocol import CHOICES_STEPS, CUSTODY_STEPS, Legal, Retention, Step, Trail
from custody.trail import NotAStep, after

Pair = tuple[Legal, Retention]

BEGINNING: Final = (Legal.UNREPORTED, Retention.RUNNING)
STEPS_OF: Final[Mapping[Trail, Mapping[str, Step]]] = {
    Trail.CUSTODY: CUSTODY_STEPS,
    Trail.CHOICES: CHOICES_STEPS,
}
_OTHER: Final = {Trail.CUSTODY: Trail.CHOICES, Trail.CHOICES: Trail.CUSTODY}
_NOT_POSSIBLE: Final = {
    Trail.CUSTODY: "no choices of the victim could have led to where this step begins",
    Trail.CHOICES: "no steps of the custody trail could have led to where this step begins",
}


def moved(pair: Pair, step: Step) -> Pair | None:
    """Where a step leads on the two axes of the kit; None where it is not possible."""
    legal, retention = pair
    if (step.legal and legal not in step.legal) or (step.retention and retention not in step.retention):
        return None
    return step.legal.get(legal, legal), step.retention.get(retention, retention)


@cache
def with_others(pairs: frozenset[Pair], other: Trail) -> frozenset[Pair]:
    """These pairs, and all that steps of the ``other`` trail can lead to from them."""
    found, fresh = set(pairs), set(pairs)
    while fresh:
        led = {moved(pair, step) for pair in fresh for step in STEPS_OF[other].values()}
        fresh = {pair for pair in led if pair is not None} - found
        found |= fresh
    return frozenset(found)


@cache
def ways(pairs: frozenset[Pair], type_: str, trail: Trail) -> tuple[Pair | None, frozenset[Pair]]:
    """One pair from which a step of ``trail`` can start after steps of the other, and all it can lead to."""
    step = STEPS_OF[trail][type_]
    led = {pair: moved(pair, step) for pair in sorted(with_others(pairs, _OTHER[trail]))}
    started = [pair for pair, there in led.items() if there is not None]
    return next(iter(started), None), frozenset(there for there in led.values() if there is not None)


def people(event: Event) -> frozenset[str]:
    """Everybody who signed an event."""
    signed: Iterable[Any] = (event.who, *event.get("with", ()))
    return frozenset(str(each["person"]) for each in signed if "person" in each)


def writer(event: Event) -> str:
    """Which kind of writer recorded it, in the words of ``Step.writers``."""
    function = str(event.who["function"])
    return function if function in ("victim", "clock") else "people"


class CourtCopy:
    """Takes the events of one trail in order. ``kit`` is as far as that trail alone can tell."""

    def __init__(self, trail: Trail = Trail.CUSTODY) -> None:
        self.trail = trail
        self.kit: Kit | None = None
        self.pairs = frozenset({BEGINNING})

    def refuses(self, event: Event) -> str | None:
        """Why this event cannot follow, in plain words; None when it can, and then it has been taken."""
        step = STEPS_OF[self.trail].get(event.type)
        if step is None:
            return f"the {self.trail} trail has no such step"
        if self.trail is Trail.CUSTODY and (event.type == "kit.registered") != (self.kit is None):
            return "a kit is registered once, at the beginning"
        if lacking := sorted(name for name in step.needs if event.get(name) is None):
            return f"it does not state {lacking[0]}"
        if writer(event) not in step.writers:
            return f"it is not for {writer(event)} to record"
        if step.people > 1 and len(people(event)) < step.people:
            return f"it takes {step.people} people, and fewer signed"
        begins, ends = ways(self.pairs, event.type, self.trail)
        if begins is None:
            return _NOT_POSSIBLE[self.trail]
        try:
            self.kit = after(self._before(event, begins), event, recorded=True)
        except NotAStep as wrong:
            return f"this step is not possible: {wrong}"
        except (LookupError, TypeError, ValueError, AttributeError) as wrong:
            return f"it speaks of something that the trail does not have ({str(wrong)[:60]})"
        self.pairs = ends
        return None

    def _before(self, event: Event, pair: Pair) -> Kit | None:
        """The kit as it was before the event, as far as this trail can tell."""
        legal, retention = pair
        if self.trail is Trail.CUSTODY:
            if self.kit is None or (self.kit.legal, self.kit.retention) == pair:
                return self.kit
            return changed(self.kit, legal=legal, retention=retention)
        kit = self.kit or Kit(
            number=event.subject.split(":")[1],
            centre="",
            examined_on=date.min,
            registered_at=event.recorded_at,
        )
        named = {int(entry["package"]) for entry in event.get("packages", ())} - kit.packages.keys()
        unseen = {number: Package(package=number, kind="", storage="") for number in named}
        return changed(kit, legal=legal, retention=retention, packages={**kit.packages, **unseen})
