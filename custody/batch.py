"""Many kits at once, for the clock alone: one look, plain decisions, one append.

A kit a transaction costs a round trip, a commit and a dozen statements for each kit; after weeks of downtime
tens of thousands wait. So the scheduled check looks at a few hundred kits together, decides about each of
them as ever (a pure function of the kit and the time), and hands all of it to ``custody.append_for_clock``,
which refuses what ``custody.append`` refuses, and writes the same bytes into the same rows.

Nothing here is about one kit because of another: each has its own key, its own place in its own trails, and
what cannot be decided about one is told beside the others.

Of a projection only what changed is handed over. Every other field stays as it is stored, so the document
afterwards is the one that :func:`custody.kit.to_document` writes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final

import psycopg
from sqlalchemy.exc import DBAPIError

from custody.decision import Decided, Seen
from custody.event import Event
from custody.kit import Kit, from_document, to_document
from custody.ledger import Inconsistent, Ledger, place
from custody.people import CLOCK
from custody.refusal import NotSeen

TYPES: Final = frozenset(
    {"notice.due", "notice.repeated", "notice.attempted", "term.expired", "destruction.cooled_off"}
)
"""What is written this way. Everything else goes through ``custody.append``."""

MOST_EVENTS: Final = 2
"""Of one kit in one batch: a notice that falls due, and that no contact is wanted."""

_FIELDS: Final = tuple(each.name for each in fields(Kit))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one look saw of many kits: their documents as stored, and the database's clock after it."""

    at: datetime
    documents: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One kit, what is to be decided about it, and the key under which that is carried out once."""

    kit: str
    key: str
    decide: Callable[[Kit, datetime], Decided]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What was decided about one kit: its events, and what changes in its projection."""

    kit: str
    key: str
    events: tuple[Event, ...]
    change: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """What came of the decisions about many kits: steps to write, and why there is none for others."""

    steps: tuple[Step, ...] = ()
    faults: Mapping[str, Exception] = field(default_factory=dict)


def weigh(sight: Sight, wanted: Iterable[Wanted]) -> Weighed:
    """Decide about each kit on its own. Never raises: what a decision raised is told beside its kit."""
    steps: list[Step] = []
    faults: dict[str, Exception] = {}
    for each in wanted:
        try:
            steps.append(_step(sight, each))
        except Exception as fault:  # whatever it is with this kit, the others go on
            faults[each.kit] = fault
    return Weighed(steps=tuple(steps), faults=faults)


def _step(sight: Sight, wanted: Wanted) -> Step:
    document = sight.documents.get(wanted.kit)
    if document is None:
        raise NotSeen
    kit = from_document(Kit, document)
    decided = wanted.decide(kit, sight.at)
    if (
        not 1 <= len(decided.facts) <= MOST_EVENTS
        or decided.extra
        or any(fact.type not in TYPES or fact.private is not None for fact in decided.facts)
    ):
        raise Inconsistent(f"{decided.facts[0].type if decided.facts else 'nothing'} is not for a batch")
    events, kits, expected = place(decided.facts, Seen(at=sight.at, kits={kit.number: kit}))
    if set(kits) != {kit.number}:
        raise Inconsistent("a step of the clock is about one kit")
    return Step(
        kit=kit.number,
        key=wanted.key,
        events=tuple(events),
        change={
            "custody": expected[f"custody:{kit.number}"],
            "choices": expected[f"choices:{kit.number}"],
            **difference(kit, kits[kit.number]),
        },
    )


def difference(before: Kit, after: Kit) -> dict[str, Any]:
    """What changes in the document: ``set`` has the new values, ``gone`` the keys that are absent now."""
    new: dict[str, Any] = {}
    gone: list[str] = []
    for name in _FIELDS:
        was, now = getattr(before, name), getattr(after, name)
        if was is now or was == now:
            continue
        if now is None or now == () or now == {}:
            gone.append(name)
        else:
            new[name] = to_document(now)
    return {"set": new, "gone": gone}


def halves(steps: Sequence[Step]) -> tuple[Sequence[Step], Sequence[Step]]:
    """A batch that was refused, in two: so the kit that it was about stands alone in a few rounds."""
    middle = len(steps) // 2
    return steps[:middle], steps[middle:]


def lost(fault: Exception) -> bool:
    """Whether the database itself was lost, and the batch is not at fault."""
    if isinstance(fault, DBAPIError):
        return fault.connection_invalidated or (fault.orig is not None and lost(fault.orig))
    if not isinstance(fault, psycopg.OperationalError):
        return False
    return fault.sqlstate is None or fault.sqlstate.startswith(("08", "57P", "53"))


# --- the database -----------------------------------------------------------------------------------


async def look(ledger: Ledger, kits: Sequence[str]) -> Sight:
    """The kits of these numbers, unread, and the time after they were read."""
    at, documents = await ledger.look_at_documents(CLOCK, kits)
    return Sight(at=at, documents=documents)


async def append(ledger: Ledger, steps: Sequence[Step]) -> frozenset[str]:
    """Write these steps in one transaction. Answers the kits that were written: a kit whose trails were
    extended since the look is left out, and nothing of it is written.

    Raises Refused or Inconsistent, with nothing written, where the database refuses what one of them says.
    """
    keys = [step.key for step in steps for _ in step.events]
    events = [event.bytes for step in steps for event in step.events]
    return await ledger.append_for_clock(keys, events, {step.kit: step.change for step in steps})
