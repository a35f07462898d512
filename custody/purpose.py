"""Why somebody reads: a scan, a task that the person really has, or a reason from a short list.

A scan and a task are facts that the service looks up, never words to be taken on trust. Where there is
neither, one of the reasons of the person's function is stated, and is kept with the person's name. The lists
are closed: a free text would end up naming the victim. Police, prosecutors and auditors are asked for the
reason that the law asks of them.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from custody.event import Event
from custody.kit import Kit
from custody.people import STAFF, Actor, Function
from custody.permission import PERMISSIONS, Relation, receives, relations
from custody.protocol import Custody, Legal, Retention
from custody.refusal import Refused

SCAN: Final = "scan"
TASK: Final = "task"
GLASS: Final = "break_glass"
AGAIN: Final = "again"
"""Asks for the reason that this person stated for this kit a moment ago. It is never written itself."""
CHECKED: Final = frozenset({SCAN, TASK, GLASS, AGAIN})
"""Words that are only taken when they are true. All others are stated."""

SCAN_HOLDS: Final = timedelta(minutes=30)  # what was scanned still lies on the bench
REASON_HOLDS: Final = timedelta(minutes=30)  # one conversation, one look at a kit's pages
GLASS_HOLDS: Final = timedelta(hours=1)  # as custody.glass_open says
ACTED_WITHIN: Final = timedelta(hours=24)  # one's own work of a shift, and the next day's second look at it

_OF_STAFF: Final = (SCAN, TASK, "report", "safety", "court", "stock_take", "review", "complaint")
_OF_HOLDERS: Final = (SCAN, TASK, "court", "stock_take")
PURPOSES_OF: Final[Mapping[Function, tuple[str, ...]]] = {
    **dict.fromkeys(sorted(STAFF), _OF_STAFF),
    Function.OFFICER: (SCAN, TASK, "report", "court"),
    Function.ANALYST: _OF_HOLDERS,
    Function.REGISTRAR: _OF_HOLDERS,
    Function.MAGISTRATE: ("court", "report", "complaint"),
    Function.AUDITOR: ("review", "complaint"),
    Function.VICTIM: ("own_page",),
}
"""The words each function has. Who has none reads nothing."""
PURPOSES: Final = _OF_STAFF

GLASS_REASONS: Final = ("victim_in_danger", "medical_emergency", "readers_absent", "court_deadline")
"""Why the glass before a restricted kit was broken."""


class NoPurpose(Refused):
    """Nothing that is true, or that this function may state, was given as the purpose of a reading.

    ``words`` are the reasons that the person can state. They are for programs: a page asks in sentences.
    """

    def __init__(self, purpose: str, words: Iterable[str]) -> None:
        super().__init__(_SENTENCES.get(purpose, OTHER), field="purpose")
        self.words = tuple(words)
        self.kit: str | None = None  # set where several were asked for at once


def reasons_of(function: Function) -> tuple[str, ...]:
    """What this function can state without a scan or a task."""
    return tuple(word for word in PURPOSES_OF.get(function, ()) if word not in CHECKED)


def unasked(function: Function) -> str:
    """What a kit is opened for where nothing is said: a task, if the function has the word."""
    return TASK if TASK in PURPOSES_OF.get(function, ()) else AGAIN


def stated(actor: Actor, purpose: str) -> str:
    """A purpose that is a reason of this function. Raises NoPurpose, which names the choices."""
    reasons = reasons_of(actor.function)
    if purpose in reasons:
        return purpose
    raise NoPurpose(purpose, reasons)


OTHER: Final = "Say why you read this."
_SENTENCES: Final = {
    SCAN: "You have not scanned a code of this kit in the last 30 minutes. Scan it, or say another reason.",
    TASK: "You have no task with this kit now. Say why you open it.",
    GLASS: "You have not broken the glass before this kit in the last hour. Say another reason.",
}
UNTRUE: Final = frozenset({OTHER, *_SENTENCES.values()})
"""What :class:`NoPurpose` says."""


def purpose_of(actor: Actor, purpose: str, *, task: bool, own: Iterable[Event], at: datetime) -> str:
    """The true word for a reading that is asked for with ``purpose``, one of CHECKED.

    ``own`` are the person's own access records of this kit, of the last hour. ``task`` asks for whatever
    makes the kit this person's work now: a task, a scan, or a reason that was given a moment ago; what is
    answered, and recorded, is which of them it was. Raises NoPurpose.
    """
    records = sorted(own, key=lambda record: record.recorded_at, reverse=True)
    if purpose == TASK and task:
        return TASK
    if purpose in (SCAN, TASK) and _has(records, "read", {SCAN}, at - SCAN_HOLDS):
        return SCAN
    if purpose in (GLASS, TASK) and _has(records, "read", {GLASS}, at - GLASS_HOLDS):
        return GLASS
    reasons = reasons_of(actor.function)
    given = _has(records, "purpose", set(reasons), at - REASON_HOLDS)
    if purpose in (TASK, AGAIN) and given:
        return given
    raise NoPurpose(purpose, reasons)


def _has(records: Iterable[Event], field: str, words: set[str], since: datetime) -> str | None:
    """The newest of these words in the records since then."""
    for record in records:
        if record.recorded_at >= since and record.get("read") not in OVERSIGHT and record.get(field) in words:
            return str(record.get(field))
    return None


OVERSIGHT: Final = frozenset({"reads_read", "reading_reviewed"})
"""Records of who looked at records. They open no kit."""


# --- what makes a kit somebody's task --------------------------------------------------------------------


def _any_of_centre(waits: Callable[[Kit], bool]) -> Callable[[Kit, Actor, datetime], bool]:
    return lambda kit, actor, at: _of_centre(kit, actor) and waits(kit)


def _of_centre(kit: Kit, actor: Actor) -> bool:
    return actor.function in STAFF and Relation.OF_CENTRE in relations(actor, kit)


def _offered(kit: Kit, actor: Actor, at: datetime) -> bool:
    return any(receives(actor, kit, package) for package in kit.open_packages)


def _in_hands(kit: Kit, actor: Actor, at: datetime) -> bool:
    """In the person's own hands. What lies in a place is everybody's, and so is nobody's task."""
    return any(
        package.holder is not None
        and package.place is None
        and (package.holder.person, package.holder.organisation) == (actor.person, actor.organisation)
        for package in kit.open_packages
    )


def _late(kit: Kit, actor: Actor, at: datetime) -> bool:
    late = [offer for offer in kit.handovers.values() if offer.due_at <= at]
    parties = {party.organisation for offer in late for party in (offer.giver, offer.receiver)}
    return bool(late) and (_of_centre(kit, actor) or actor.organisation in parties)


def _notice(kit: Kit, actor: Actor, at: datetime) -> bool:
    able = actor.function in PERMISSIONS["notice.attempt"]
    return able and _of_centre(kit, actor) and kit.retention is Retention.NOTICE_DUE


def _hold_unreviewed(kit: Kit, actor: Actor, at: datetime) -> bool:
    able = actor.function in PERMISSIONS["hold.review"] and _of_centre(kit, actor)
    return able and any(
        hold.review_on is not None and hold.review_on <= at.date() for hold in kit.holds.values()
    )


def _seal_unchecked(kit: Kit, actor: Actor, at: datetime) -> bool:
    return _of_centre(kit, actor) and any(
        package.state in (Custody.SEALED, Custody.STORED)
        and package.sealed_at is not None
        and not package.seal_checked
        and package.sealed_by != actor.person
        and package.holder is not None
        and package.holder.organisation == actor.organisation
        for package in kit.packages.values()
    )


def _asked_by_victim(kit: Kit) -> bool:
    unheard = kit.destruction is not None and kit.destruction.until is None
    return kit.retention is not Retention.DISPOSED and (
        unheard or any(hold.ground == "safety" for hold in kit.holds.values())
    )


TASKS: Final[Mapping[str, Callable[[Kit, Actor, datetime], bool]]] = {
    "offered to the person": _offered,
    "in the person's own hands": _in_hands,
    "a hand-over that is late": _late,
    "a notice is due": _notice,
    "term over, or disposal proposed or approved": _any_of_centre(
        lambda kit: kit.retention in (Retention.EXPIRED, Retention.PROPOSED, Retention.APPROVED)
    ),
    "found after its kit was disposed of": _any_of_centre(
        lambda kit: kit.retention is Retention.DISPOSED and bool(kit.remaining)
    ),
    "a report declared, and not linked": _any_of_centre(lambda kit: kit.legal is Legal.DECLARED),
    "the victim asked for something": _any_of_centre(_asked_by_victim),
    "an order of a judge, not linked": _any_of_centre(
        lambda kit: kit.order is not None and kit.legal is Legal.UNREPORTED
    ),
    "a package cannot be found": _any_of_centre(
        lambda kit: any(package.state is Custody.LOST for package in kit.packages.values())
    ),
    "a seal that another person is to check": _seal_unchecked,
    "a hold that is to be reviewed": _hold_unreviewed,
}
"""What on a kit as it stands is work for a person: the lists of the first page, one line for each."""


def task_with(kit: Kit, actor: Actor, at: datetime) -> str | None:
    """Which task this person has with the kit as far as they may know of it; None for none."""
    return next((name for name, stands in TASKS.items() if stands(kit, actor, at)), None)


def acted_on(events: Iterable[Event], actor: Actor, at: datetime) -> bool:
    """Whether the person recorded or signed one of these events within a day."""
    return any(actor.person in people_of(event) for event in events if event.recorded_at >= at - ACTED_WITHIN)


def people_of(event: Event) -> set[str]:
    """Who recorded and who signed an event."""
    named = (event.who, *event.get("with", ()))
    return {str(each["person"]) for each in named if each.get("person")}
