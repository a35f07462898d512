"""The observer: reads every event that was written, in order, and cries wherever a promise was broken.

It knows events and the words of the policies, and nothing else of the product. What it watches:

1. Nothing is disposed of while a report, an order, a hold, an open hand-over, a term that runs or an
   unanswered request of the police protects it; what is destroyed was proposed, approved and carried out by
   different people.
2. Nothing expires early: not before the end of the term, not before the victim was told, or could not be,
   and had the whole notice period since. Early destruction waits for the whole cooling-off.
3. No kit is left: what falls due is written within a few runs of the check, also after an outage, and what
   an outage left is done in the order in which it fell due.
4. No term is shorter than its policy, none gets shorter by one person, none moves to a shorter one.
5. A minor's kit is there for the whole term of a minor.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Final

from custody.event import Event, read_moment
from tests.simulation.promised import Rules, later
from tests.simulation.watched import GIVEN_UP, LOST, Watched, begin

RUNS: Final = 3
"""So many finished runs of the check may pass before what was due counts as left."""

MINORS: Final = 49
CLOCK: Final = "clock"


@dataclass(frozen=True, slots=True)
class Cry:
    """A promise that was broken: of which kit, when, and which."""

    kit: str
    at: datetime
    says: str

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.kit}: {self.says}"


@dataclass(frozen=True, slots=True)
class Awaited:
    """What the clock has to write about a kit, and from when on."""

    due: datetime
    what: str


@dataclass
class Observer:
    """Give it every event in the order of writing (`see`), and say when a run of the check was finished."""

    rules: dict[tuple[str, int], Rules] = field(default_factory=dict)
    kits: dict[str, Watched] = field(default_factory=dict)
    cries: list[Cry] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    requests: dict[str, str] = field(default_factory=dict)  # that wait, and the centre they name
    runs: int = 0
    _awaited: dict[str, Awaited] = field(default_factory=dict)
    _heap: list[tuple[datetime, str, str]] = field(default_factory=list)
    _late: dict[str, tuple[Awaited, int]] = field(default_factory=dict)
    _in_run: dict[str, dict[datetime, list[datetime]]] = field(default_factory=dict)

    def see(self, event: Event) -> None:
        self.seen[event.type] += 1
        trail, _, name = event.subject.partition(":")
        if event.type == "kit.registered":
            self.kits[name] = begin(event)
        elif trail in ("custody", "choices"):
            kit = self.kits[name]
            if (watch := WATCHES.get(event.type)) is not None:
                watch(self, kit, event)
            kit.take(event)
            self._await(kit)
        elif event.type == "request.received":
            self.requests[name] = event.get("naming")["centre"]
        elif event.type == "request.answered":
            self.requests.pop(name)

    def cry(self, kit: Watched, at: datetime, says: str) -> None:
        self.cries.append(Cry(kit.number, at, says))

    def must(self, kit: Watched, event: Event, holds: bool, says: str) -> None:
        if not holds:
            self.cry(kit, event.recorded_at, f"{event.type}: {says}")

    def of(self, kit: Watched) -> Rules:
        return self.rules[kit.policy]

    # --- what the clock has to do ----------------------------------------------------------------------

    def awaited(self, kit: Watched) -> Awaited | None:
        """What the clock owes this kit next."""
        if kit.state == "disposed":
            if kit.key_gone or kit.disposed_at is None:
                return None
            rules = self.of(kit)
            last = later(rules.day_of(kit.disposed_at), rules.contest)
            return Awaited(rules.after(last), "key.destroyed")
        if kit.legal != "unreported" or kit.state not in ("running", "notice_due"):
            return None
        owed: list[Awaited] = []
        if kit.confirmed is not None and not kit.holds:
            owed.append(Awaited(kit.confirmed[1], "destruction.cooled_off"))
        if kit.state == "running" and not kit.nobody_to_tell:
            owed.append(Awaited(self.of(kit).begins(kit.notice_on), "notice.due"))
        if kit.state == "notice_due" and not kit.holds and (until := kit.may_expire_at) is not None:
            owed.append(Awaited(max(until, kit.over_at or until), "term.expired"))
        return min(owed, key=lambda each: each.due, default=None)

    def _await(self, kit: Watched) -> None:
        now = self.awaited(kit) if kit.over_at is not None else None
        if now == self._awaited.get(kit.number):
            return
        self._late.pop(kit.number, None)
        if now is None:
            self._awaited.pop(kit.number, None)
        else:
            self._awaited[kit.number] = now
            heapq.heappush(self._heap, (now.due, kit.number, now.what))

    @property
    def next_due(self) -> datetime | None:
        """When the clock has something to do next; for whoever decides when it is worth while to look."""
        while self._heap and self._awaited.get(self._heap[0][1]) != Awaited(
            self._heap[0][0], self._heap[0][2]
        ):
            heapq.heappop(self._heap)
        if self._late:
            return min(awaited.due for awaited, _ in self._late.values())
        return self._heap[0][0] if self._heap else None

    def due(self, at: datetime) -> list[tuple[str, Awaited]]:
        """What is due at ``at`` and not written: kit and step, in the order in which it fell due."""
        waits = {number: awaited for number, (awaited, _) in self._late.items()}
        for due, number, what in self._heap:
            if due <= at and self._awaited.get(number) == Awaited(due, what):
                waits[number] = Awaited(due, what)
        return sorted(waits.items(), key=lambda each: (each[1].due, each[0]))

    def ran(self, at: datetime, *, in_order: bool = True) -> None:
        """A run of the check, begun at ``at``, is finished; what it wrote was seen."""
        self.runs += 1
        while self._heap and self._heap[0][0] <= at:
            due, number, what = heapq.heappop(self._heap)
            if self._awaited.get(number) == Awaited(due, what):
                self._late.setdefault(number, (Awaited(due, what), self.runs))
        for number, (awaited, since) in list(self._late.items()):
            if self.runs - since >= RUNS:
                late = f"{awaited.what} was due on {awaited.due:%Y-%m-%d %H:%M} and was not written"
                self.cry(self.kits[number], at, late)
                del self._late[number]
        for what, written in self._in_run.items():
            together = [written[instant] for instant in sorted(written)]  # one batch has one instant
            if in_order and any(max(a) > min(b) for a, b in pairwise(together)):
                self.cries.append(Cry("*", at, f"{what} was not written in the order in which it fell due"))
        self._in_run = {}

    def by_clock(self, kit: Watched, event: Event, due: datetime) -> None:
        self._in_run.setdefault(event.type, {}).setdefault(event.recorded_at, []).append(due)

    def end(self, at: datetime) -> None:
        """The last look: nothing due is left over, nobody waits for a word since months."""
        for kit in self.kits.values():
            awaited = self._awaited.get(kit.number)
            if awaited is not None and awaited.due <= at - timedelta(days=1):
                self.cry(kit, at, f"{awaited.what} is left over since {awaited.due:%Y-%m-%d}")
            waits = kit.state == "notice_due" and kit.legal == "unreported" and not kit.nobody_to_tell
            since = kit.noticed_at
            if waits and not kit.settled and since is not None and at - since > timedelta(days=200):
                self.cry(kit, at, f"nobody has told the victim since {since:%Y-%m-%d}, nor said why not")


# --- what must not have happened --------------------------------------------------------------------------


def _signers(event: Event) -> list[str]:
    people = [event.who.get("person"), *(each.get("person") for each in event.get("with", ()))]
    return [person for person in people if person]


def _agreed(self: Observer, kit: Watched, event: Event) -> None:
    policy = event.get("policy")
    rules = self.rules[policy["id"], policy["version"]]
    over_at = read_moment(event.get("term")["over_at"])
    least = rules.after(later(kit.examined_on, rules.kept[event.get("age_class")]))
    self.must(kit, event, over_at >= least, f"over at {over_at}, and not before {least} was promised")
    most = least + timedelta(days=20)  # an end that falls on holidays waits for a working day
    self.must(kit, event, over_at <= most, f"over at {over_at}, far after {least}")
    _notice_fits(self, kit, event, rules)


def _notice_fits(self: Observer, kit: Watched, event: Event, rules: Rules) -> None:
    term = event.get("term")
    told = later(date.fromisoformat(term["notice_on"]), rules.notice)
    fits = told <= date.fromisoformat(term["end"]) or event.type == "destruction.cooled_off"
    self.must(kit, event, fits, "the notice period does not fit between notice and end")


def _longer(self: Observer, kit: Watched, event: Event) -> None:
    """Extended, restarted, withdrawn, moved: the term never ends earlier than it would have."""
    over_at = read_moment(event.get("term")["over_at"])
    self.must(kit, event, kit.over_at is None or over_at >= kit.over_at, "the term got shorter")
    if event.type == "term.moved":
        self.must(kit, event, kit.over_at is not None and over_at > kit.over_at, "moved to no longer term")
    if event.type == "report.withdrawn":
        fresh = self.of(kit).after(later(self.of(kit).day_of(event.recorded_at), self.of(kit).notice))
        self.must(kit, event, over_at >= fresh, "less than the notice period is left")
        self.must(kit, event, len(set(_signers(event))) >= 2, "one person withdrew a report")


def _corrected(self: Observer, kit: Watched, event: Event) -> None:
    over_at = read_moment(event.get("term")["over_at"])
    if kit.over_at is not None and over_at < kit.over_at:
        self.must(kit, event, len(set(_signers(event))) >= 2, "one person shortened a term")
        fresh = self.of(kit).after(later(self.of(kit).day_of(event.recorded_at), self.of(kit).notice))
        self.must(kit, event, over_at >= min(fresh, kit.over_at), "shortened without a fresh notice period")


def _due(self: Observer, kit: Watched, event: Event) -> None:
    self.must(kit, event, kit.state == "running", f"a second notice while {kit.state}")
    begins = self.of(kit).begins(kit.notice_on)
    self.must(kit, event, event.recorded_at >= begins, f"before the day of notice, {kit.notice_on}")
    self.by_clock(kit, event, begins)


def _attempted(self: Observer, kit: Watched, event: Event) -> None:
    self.must(kit, event, kit.noticed_at is not None, "before a notice was due")
    if event.get("until") is None:
        return
    until, rules = read_moment(event.get("until")), self.of(kit)
    whole = rules.after(later(rules.day_of(event.recorded_at), rules.notice))
    self.must(kit, event, until >= whole, f"leaves until {until}, not the notice period until {whole}")
    self.must(kit, event, kit.over_at is None or until >= kit.over_at, "ends before the term does")
    how = event.get("how")
    self.must(kit, event, how != "tried", "an attempt that failed settles nothing")
    absent = how not in ("not_wanted", "no_channel") or kit.channel == "none"
    self.must(kit, event, absent, f"{how}, though {kit.channel} was agreed as the safe channel")


def _expired(self: Observer, kit: Watched, event: Event) -> None:
    at = event.recorded_at
    self.must(kit, event, kit.over_at is not None and at >= kit.over_at, f"the term ends on {kit.over_at}")
    self.must(kit, event, kit.state == "notice_due" and kit.noticed_at is not None, "without a notice")
    self.must(kit, event, not kit.holds, "while a hold stands")
    self.must(kit, event, kit.legal == "unreported", f"while the report is {kit.legal}")
    until = kit.may_expire_at
    if until is None:
        self.cry(kit, at, f"{event.type}: nobody was told, and nobody said why not")
        return
    self.must(kit, event, at >= until, f"the victim has until {until}")
    rules = self.of(kit)
    told = min(each.at for each in kit.settled)
    whole = rules.after(later(rules.day_of(told), rules.notice))
    self.must(kit, event, at >= whole, f"told at {told}, so not before {whole}")
    self.by_clock(kit, event, max(until, kit.over_at or until))


def _confirmed(self: Observer, kit: Watched, event: Event) -> None:
    rules = self.of(kit)
    whole = rules.after(later(rules.day_of(event.recorded_at), rules.cooling_off))
    self.must(kit, event, read_moment(event.get("until")) >= whole, f"cooling off ends before {whole}")
    self.must(kit, event, kit.age_class == "adult" or kit.of_age, f"the victim is {kit.age_class}")
    self.must(kit, event, kit.asked, "nobody asked")
    self.must(kit, event, not kit.holds, "while a hold stands")
    self.must(kit, event, len(set(_signers(event))) >= 2, "one person confirmed")


def _cooled(self: Observer, kit: Watched, event: Event) -> None:
    if kit.confirmed is None:
        self.cry(kit, event.recorded_at, f"{event.type}: nothing was confirmed")
        return
    self.must(kit, event, event.recorded_at >= kit.confirmed[1], f"before {kit.confirmed[1]}")
    self.must(kit, event, not kit.holds, "while a hold stands")
    self.by_clock(kit, event, kit.confirmed[1])


def _lifted(self: Observer, kit: Watched, event: Event) -> None:
    self.must(kit, event, event.get("hold")["id"] in kit.holds, "there is no such hold")
    self.must(kit, event, len(set(_signers(event))) >= 2, "one person lifted a hold")


def _unprotected(self: Observer, kit: Watched, event: Event) -> None:
    for why in kit.protections:
        self.cry(kit, event.recorded_at, f"{event.type} while {why} protects it")
    asked = [request for request, centre in self.requests.items() if centre == kit.centre]
    self.must(kit, event, not asked, f"while {len(asked)} requests of the police wait")
    over = kit.over_at is not None and kit.over_at <= event.recorded_at
    self.must(kit, event, over, f"the term runs until {kit.over_at}")
    self.must(kit, event, kit.why_over != "", "it never expired")
    if kit.age_class != "adult" and kit.why_over != "wish":
        least = later(kit.examined_on, f"P{MINORS}Y")
        old = event.recorded_at.date() >= least
        self.must(kit, event, old, f"a kit of a victim {kit.age_class} of age, {MINORS} years not over")


def _disposed(self: Observer, kit: Watched, event: Event) -> None:
    _unprotected(self, kit, event)
    self.must(kit, event, kit.state == "approved", f"while {kit.state}")
    doers = set(_signers(event))
    self.must(kit, event, len(doers) >= 3, "fewer than three people")
    self.must(kit, event, event.who.get("person") != kit.approver, "the approver did it")
    self.must(kit, event, kit.approver in doers, "who approved it is not named")
    numbers = {each["package"] for each in event.get("packages")}
    self.must(kit, event, numbers == kit.open_packages, "not the packages that are left")


def _nothing_left(self: Observer, kit: Watched, event: Event) -> None:
    _unprotected(self, kit, event)
    self.must(kit, event, not kit.open_packages, "packages are left")
    searched = all(state != LOST for state in kit.packages.values())
    self.must(kit, event, searched and GIVEN_UP in kit.packages.values(), "the search was not ended")
    self.must(kit, event, len(set(_signers(event))) >= 2, "one person closed it")


def _destroyed(self: Observer, kit: Watched, event: Event) -> None:
    self.must(kit, event, kit.state == "disposed", f"while {kit.state}")
    self.must(kit, event, kit.disposed_at == event.recorded_at, "long after the disposal")


def _approved(self: Observer, kit: Watched, event: Event) -> None:
    self.must(kit, event, kit.state == "proposed", f"while {kit.state}")
    self.must(kit, event, event.who.get("person") != kit.proposer, "who proposed it approved it")


def _proposed(self: Observer, kit: Watched, event: Event) -> None:
    self.must(kit, event, kit.state == "expired", f"while {kit.state}")


def _key(self: Observer, kit: Watched, event: Event) -> None:
    rules = self.of(kit)
    if kit.disposed_at is None:
        self.cry(kit, event.recorded_at, "key.destroyed: the kit was not disposed of")
        return
    contest = rules.after(later(rules.day_of(kit.disposed_at), rules.contest))
    self.must(kit, event, event.recorded_at >= contest, f"it can be contested until {contest}")
    self.must(kit, event, not kit.key_gone, "twice")
    self.by_clock(kit, event, contest)


WATCHES: Final[dict[str, Callable[[Observer, Watched, Event], None]]] = {
    "term.agreed": _agreed,
    "term.extended": _longer,
    "term.restarted": _longer,
    "term.moved": _longer,
    "report.withdrawn": _longer,
    "term.corrected": _corrected,
    "notice.due": _due,
    "notice.attempted": _attempted,
    "term.expired": _expired,
    "destruction.confirmed": _confirmed,
    "destruction.cooled_off": _cooled,
    "hold.lifted": _lifted,
    "disposal.proposed": _proposed,
    "disposal.approved": _approved,
    "disposal.carried_out": _disposed,
    "disposal.nothing_left": _nothing_left,
    "package.destroyed": _destroyed,
    "key.destroyed": _key,
}


def watch(observer: Observer, events: Iterable[Event]) -> None:
    for event in events:
        observer.see(event)
