"""What the protocol is written with: the trails, the states of the three axes, and what a step may say.

The steps themselves stand in `custody.protocol`, row by row. Here are the words they use: which trails
there are, which states an axis knows, and the tables of moves that several steps share.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypedDict, Unpack


class Trail(StrEnum):
    CUSTODY = "custody"  # goes to court
    CHOICES = "choices"  # leaves only on a judge's order
    ORGANISATION = "organisation"
    PERSON = "person"
    PLACE = "place"
    POLICY = "policy"
    REQUEST = "request"
    LOG = "log"
    READS = "reads"  # who looked at what; the second log


class Custody(StrEnum):
    PACKED = "packed"
    SEALED = "sealed"  # closed, in somebody's hands
    STORED = "stored"
    IN_TRANSIT = "in_transit"  # offered and not yet accepted
    OPENED = "opened"
    SPLIT = "split"
    JOINED = "joined"
    DESTROYED = "destroyed"
    RETURNED = "returned"
    DEPOSITED = "deposited"
    LOST = "lost"
    VOID = "void"


class Legal(StrEnum):
    UNREPORTED = "unreported"
    DECLARED = "declared"
    LINKED = "linked"
    RELEASED = "released"


class Retention(StrEnum):
    RUNNING = "running"
    NOTICE_DUE = "notice_due"
    EXPIRED = "expired"
    PROPOSED = "proposed"
    APPROVED = "approved"
    STOPPED = "stopped"  # a report or an order: no term runs
    DISPOSED = "disposed"


ENDED: Final = frozenset(
    {Custody.SPLIT, Custody.JOINED, Custody.DESTROYED, Custody.RETURNED, Custody.DEPOSITED, Custody.VOID}
)

C, L, R = Custody, Legal, Retention

# Who writes a step: people, the victim by the card's page, the clock.
PEOPLE: Final = frozenset({"people"})
VICTIM: Final = frozenset({"victim"})
CLOCK: Final = frozenset({"clock"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One type of event.

    ``people`` counts everybody who must sign, the one who records included; they are different people.
    ``packs`` says that packages come into being (those with ``from``, where ``custody`` is not empty).
    ``holds`` is what the step adds to the number of holds that stand on the kit.
    ``writers`` says whether people, the victim or the clock write it; what takes two people takes people.
    """

    trail: Trail
    says: str
    needs: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    custody: Mapping[Custody, Custody] = field(default_factory=dict)
    legal: Mapping[Legal, Legal] = field(default_factory=dict)
    retention: Mapping[Retention, Retention] = field(default_factory=dict)
    packs: bool = False
    holds: int = 0
    finding: bool = False
    people: int = 1
    writers: frozenset[str] = PEOPLE


ANYTIME: Final = frozenset(
    {"occurred_at", "paper", "lost", "documents", "private", "reason", "cites", "with", "place", "finding"}
)

UNREPORTED: Final[Mapping[Legal, Legal]] = {L.UNREPORTED: L.UNREPORTED}
STANDING: Final[Mapping[Retention, Retention]] = {
    r: r for r in R if r is not R.DISPOSED
}  # any but disposed, unchanged
BACK_TO_RUNNING: Final[Mapping[Retention, Retention]] = dict.fromkeys(
    (R.RUNNING, R.NOTICE_DUE, R.EXPIRED, R.PROPOSED, R.APPROVED), R.RUNNING
)
TO_STOPPED: Final[Mapping[Retention, Retention]] = {r: R.STOPPED for r in R if r is not R.DISPOSED}
APPROVAL_FALLS: Final[Mapping[Retention, Retention]] = {
    **STANDING,
    R.PROPOSED: R.EXPIRED,
    R.APPROVED: R.EXPIRED,
}
TOLD_OF_ITS_END: Final[Mapping[Retention, Retention]] = {
    r: r for r in (R.NOTICE_DUE, R.EXPIRED, R.PROPOSED, R.APPROVED)
}  # the end was announced and is not carried out: unchanged
NOT_ENDED: Final[Mapping[Custody, Custody]] = {
    c: c for c in (C.PACKED, C.SEALED, C.STORED, C.IN_TRANSIT, C.OPENED)
}


class Axes(TypedDict, total=False):
    """What a row of the tables below may say beside its words and fields; see :class:`Step`."""

    custody: Mapping[Custody, Custody]
    legal: Mapping[Legal, Legal]
    retention: Mapping[Retention, Retention]
    packs: bool
    holds: int
    finding: bool
    people: int
    writers: frozenset[str]


def kit_step(trail: Trail, says: str, needs: str = "", may: str = "", **axes: Unpack[Axes]) -> Step:
    return Step(
        trail=trail,
        says=says,
        needs=frozenset(needs.split()),
        may=frozenset(may.split()) | ANYTIME,
        **axes,
    )


def custody_step(says: str, needs: str = "", may: str = "", **axes: Unpack[Axes]) -> Step:
    return kit_step(Trail.CUSTODY, says, needs, may, **axes)


def choices_step(says: str, needs: str = "", may: str = "", **axes: Unpack[Axes]) -> Step:
    return kit_step(Trail.CHOICES, says, needs, may, **axes)


class NotAStep(ValueError):
    """The protocol has no such step from here. ``axis`` is a key of ``custody.refusal.STATES``."""

    def __init__(self, axis: str, state: str, package: int | None = None) -> None:
        super().__init__(f"no such step from {axis} {state}" + (f" (package {package})" if package else ""))
        self.axis, self.state, self.package = axis, state, package
