"""A kit as the observer of the simulation sees it: from event bytes alone, by rules of its own.

Nothing of the protocol, the fold or the decisions is used. Each event changes a few plain fields; what it
must not have done is cried by `tests.simulation.observer`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from custody.event import Event, read_moment

OPEN, AWAY, LOST, GIVEN_UP, ENDED = "open", "in transit", "lost", "search ended", "ended"
NOBODY_TO_TELL: Final = frozenset({"death", "incapacity"})
EXPLAINED: Final = frozenset({"not_wanted", "no_channel", "not_reached", "unreachable"})


@dataclass(slots=True)
class Told:
    """One attempt that settled the notice: how, when, and from when on the term may expire."""

    how: str
    at: datetime
    until: datetime
    cites: frozenset[str]
    void: bool = False


@dataclass(slots=True)
class Watched:
    number: str
    centre: str
    examined_on: date
    registered_at: datetime
    age_class: str = ""
    was: str = ""  # the age class as it was agreed first
    policy: tuple[str, int] = ("", 0)
    notice_on: date = date.max
    over_at: datetime | None = None
    state: str = "running"  # notice_due, expired, proposed, approved, disposed, stopped
    legal: str = "unreported"
    order: bool = False
    holds: dict[str, str] = field(default_factory=dict)
    packages: dict[int, str] = field(default_factory=dict)
    on_the_way: dict[int, str] = field(default_factory=dict)
    of_age: bool = False
    asked: bool = False
    confirmed: tuple[datetime, datetime] | None = None  # when, and the end of the cooling-off
    noticed_at: datetime | None = None
    told: list[Told] = field(default_factory=list)
    tries: int = 0
    why_over: str = ""
    proposer: str = ""
    approver: str = ""
    to_go: frozenset[int] = frozenset()
    disposed_at: datetime | None = None
    key_gone: bool = False
    extensions: int = 0
    channel: str = ""
    events: int = 0

    @property
    def settled(self) -> list[Told]:
        return [each for each in self.told if not each.void]

    @property
    def may_expire_at(self) -> datetime | None:
        """The earliest instant at which somebody who was told, or could not be, had the whole time."""
        return min((each.until for each in self.settled), default=None)

    @property
    def nobody_to_tell(self) -> bool:
        return not NOBODY_TO_TELL.isdisjoint(self.holds.values())

    @property
    def open_packages(self) -> frozenset[int]:
        return frozenset(n for n, state in self.packages.items() if state in (OPEN, AWAY))

    @property
    def protections(self) -> list[str]:
        """Why this kit must not be disposed of now, apart from its term and requests of the police."""
        why = [f"a hold ({ground})" for ground in self.holds.values()]
        if self.legal != "unreported":
            why.append(f"a report ({self.legal})")
        if self.order:
            why.append("an order")
        if self.on_the_way:
            why.append("a hand-over")
        return why

    def take(self, event: Event) -> None:
        self.events += 1
        handler = CHANGES.get(event.type)
        if handler is not None:
            handler(self, event)


def begin(event: Event) -> Watched:
    return Watched(
        number=event.subject.split(":")[1],
        centre=event.get("centre"),
        examined_on=date.fromisoformat(event.get("examined_on")),
        registered_at=event.recorded_at,
        events=1,
    )


def _numbers(event: Event) -> list[int]:
    return [each["package"] for each in event.get("packages", ())]


def _person(event: Event) -> str:
    return str(event.who.get("person", event.who["function"]))


# --- custody ------------------------------------------------------------------------------------------


def _packed(kit: Watched, event: Event) -> None:
    for each in event.get("packages"):
        new = event.type == "package.packed" or "from" in each
        kit.packages[each["package"]] = OPEN if new else ENDED


def _state(state: str) -> Callable[[Watched, Event], None]:
    def change(kit: Watched, event: Event) -> None:
        for number in _numbers(event):
            kit.packages[number] = state
            kit.on_the_way.pop(number, None)
            if state == AWAY:
                kit.on_the_way[number] = event.get("handover")

    return change


# --- legal --------------------------------------------------------------------------------------------


def _stopped(legal: str) -> Callable[[Watched, Event], None]:
    def change(kit: Watched, event: Event) -> None:
        kit.legal, kit.state = legal, "stopped"
        kit.asked, kit.confirmed, kit.proposer, kit.approver = False, None, "", ""

    return change


def _legal(legal: str) -> Callable[[Watched, Event], None]:
    def change(kit: Watched, _: Event) -> None:
        kit.legal = legal
        if legal == "unreported":
            kit.order = False

    return change


def _order(kit: Watched, _: Event) -> None:
    kit.order = True


# --- the term -----------------------------------------------------------------------------------------


def _term(kit: Watched, event: Event) -> None:
    """A term is set, or set again: whatever was told or proposed before belongs to the one before."""
    term, policy = event.get("term"), event.get("policy")
    kit.notice_on = date.fromisoformat(term["notice_on"])
    kit.over_at = read_moment(term["over_at"])
    if policy is not None:
        kit.policy = policy["id"], policy["version"]
    kit.age_class = event.get("age_class", kit.age_class)
    kit.was = kit.was or kit.age_class
    kit.noticed_at, kit.told, kit.tries = None, [], 0
    kit.proposer, kit.approver, kit.why_over = "", "", ""
    if event.type == "destruction.cooled_off":
        kit.state, kit.why_over = "expired", "wish"
        kit.asked, kit.confirmed = False, None
        return
    kit.state = "running"
    if event.type == "report.withdrawn":
        kit.legal = "unreported"
    if event.type == "term.extended":
        kit.extensions += 1
    if event.type == "term.extended" or kit.age_class != "adult":
        kit.asked, kit.confirmed = False, None


def _due(kit: Watched, event: Event) -> None:
    kit.state, kit.noticed_at, kit.told, kit.tries = "notice_due", event.recorded_at, [], 0


def _attempted(kit: Watched, event: Event) -> None:
    kit.tries += 1
    cites = frozenset(event.get("cites", ()))
    if event.get("how") in ("bounced", "failed"):
        for told in kit.told:  # whom the last message did not reach counts as not told
            told.void = True
    elif event.get("until") is not None:
        until = read_moment(event.get("until"))
        kit.told.append(Told(event.get("how"), event.recorded_at, until, cites))


def _expired(kit: Watched, _: Event) -> None:
    kit.state = "expired"
    hows = {told.how for told in kit.settled}
    explained = sorted(hows & EXPLAINED)
    kit.why_over = explained[0] if hows <= EXPLAINED and explained else "told"


def _held(kit: Watched, event: Event) -> None:
    kit.holds[event.get("hold")["id"]] = event.get("hold")["ground"]
    _approval_falls(kit, event)


def _lifted(kit: Watched, event: Event) -> None:
    if kit.holds.pop(event.get("hold")["id"]) == "order" and kit.legal == "unreported":
        kit.order = False


def _approval_falls(kit: Watched, _: Event) -> None:
    kit.proposer, kit.approver = "", ""
    if kit.state in ("proposed", "approved"):
        kit.state = "expired"


def _asked(kit: Watched, _: Event) -> None:
    kit.asked, kit.confirmed = True, None


def _confirmed(kit: Watched, event: Event) -> None:
    kit.confirmed = event.recorded_at, read_moment(event.get("until"))


def _taken_back(kit: Watched, event: Event) -> None:
    kit.asked, kit.confirmed = False, None
    _approval_falls(kit, event)


def _proposed(kit: Watched, event: Event) -> None:
    kit.state, kit.proposer, kit.approver = "proposed", _person(event), ""
    kit.to_go = frozenset(_numbers(event))


def _approved(kit: Watched, event: Event) -> None:
    kit.state, kit.approver = "approved", _person(event)


def _disposed(kit: Watched, event: Event) -> None:
    kit.state, kit.disposed_at = "disposed", event.recorded_at


def _set(**values: Any) -> Callable[[Watched, Event], None]:
    def change(kit: Watched, _: Event) -> None:
        for name, value in values.items():
            setattr(kit, name, value)

    return change


def _channel(kit: Watched, event: Event) -> None:
    kit.channel = event.get("channel")


CHANGES: Final[dict[str, Callable[[Watched, Event], None]]] = {
    "package.packed": _packed,
    "package.split": _packed,
    "package.joined": _packed,
    "handover.offered": _state(AWAY),
    "handover.accepted": _state(OPEN),
    "handover.refused": _state(OPEN),
    "handover.cancelled": _state(OPEN),
    "handover.acceptance_recorded": _state(OPEN),
    "package.found": _state(OPEN),
    "package.found_elsewhere": _state(OPEN),
    "package.lost": _state(LOST),
    "search.ended": _state(GIVEN_UP),
    "package.voided": _state(ENDED),
    "package.returned": _state(ENDED),
    "package.deposited": _state(ENDED),
    "package.destroyed": _state(ENDED),
    "report.declared": _stopped("declared"),
    "kit.linked": _stopped("linked"),
    "kit.linked_by_order": _stopped("linked"),
    "link.in_error": _legal("declared"),
    "order_link.in_error": _legal("unreported"),
    "link.ended": _legal("unreported"),
    "kit.released": _legal("released"),
    "release.in_error": _legal("linked"),
    "order.entered": _order,
    "agreement.recorded": _channel,
    "channel.changed": _channel,
    "term.agreed": _term,
    "term.extended": _term,
    "term.corrected": _term,
    "term.restarted": _term,
    "term.moved": _term,
    "report.withdrawn": _term,
    "destruction.cooled_off": _term,
    "notice.due": _due,
    "notice.attempted": _attempted,
    "term.expired": _expired,
    "hold.placed": _held,
    "hold.lifted": _lifted,
    "destruction.requested": _asked,
    "destruction.confirmed": _confirmed,
    "destruction.taken_back": _taken_back,
    "majority.confirmed": _set(of_age=True),
    "disposal.proposed": _proposed,
    "disposal.approved": _approved,
    "disposal.withdrawn": _approval_falls,
    "disposal.carried_out": _disposed,
    "disposal.nothing_left": _disposed,
    "key.destroyed": _set(key_gone=True),
}
