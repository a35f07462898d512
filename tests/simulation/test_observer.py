"""The observer sees what goes wrong: of a whole trail it says nothing, at each broken one it cries."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from custody.commands import (
    ApproveDisposal,
    AttemptNotice,
    CarryOutDisposal,
    ItemRef,
    PackageRef,
    ProposeDisposal,
)
from custody.decision import Decided, Seen
from custody.event import Event, write_moment
from custody.items import TYPES
from custody.kit import Kit
from custody.ledger import place
from retention.disposal import approve, carry_out, destroy_key, propose
from retention.keeping import register
from retention.notice import attempt, expire, fall_due
from tests.custody.story import COORDINATOR, CUSTODIAN, CUSTODIAN_2, NURSE, OTHER_NURSE, kit_order, new_number
from tests.retention.kept import BELGIUM, DAY, HASHES, NOON, SEED
from tests.simulation.observer import Observer
from tests.simulation.promised import rules_of

WORD = "ab" * 16
FIVE_YEARS = 5 * 366


@dataclass
class Trail:
    """A kit from its registration to the end of its data key, and every event of it."""

    kit: Kit | None = None
    at: datetime = NOON
    events: list[Event] = field(default_factory=list)

    def then(self, days: float, decide: Callable[[Seen], Decided]) -> None:
        self.at += timedelta(days=days)
        seen = Seen(at=self.at, kits={self.kit.number: self.kit} if self.kit else {})
        events, kits, _ = place(decide(seen).facts, seen)
        (self.kit,) = kits.values()
        self.events += events


def whole(age_class: str = "adult") -> list[Event]:
    """Notice on its day, the victim reached, the term over, three people, and the key five years later."""
    number, trail = new_number(), Trail()
    trail.then(
        0,
        lambda s: register(
            s,
            kit_order(s.at, age_class),
            NURSE,
            number=number,
            policies=BELGIUM,
            item_types=TYPES,
            card=HASHES,
        ),
    )
    kit = trail.kit
    assert kit is not None
    assert kit.term is not None
    until_notice = (kit.term.notice_on - NOON.date()).days
    reached = AttemptNotice(kit=number, how="reached")
    trail.then(until_notice, lambda s: fall_due(s.kit(number), BELGIUM, s.at))
    trail.then(1, lambda s: attempt(s.kit(number), reached, NURSE, BELGIUM, s.at))
    trail.then(90, lambda s: expire(s.kit(number), BELGIUM, s.at))
    proposal, approval = ProposeDisposal(kit=number), ApproveDisposal(kit=number)
    trail.then(1, lambda s: propose(s.kit(number), proposal, CUSTODIAN, s.at))
    trail.then(1, lambda s: approve(s.kit(number), approval, COORDINATOR, s.at))
    trail.then(1, lambda s: _carried(s, number))
    trail.then(FIVE_YEARS, lambda s: destroy_key(s.kit(number), s.at, s.at + DAY))
    return trail.events


def _carried(seen: Seen, number: str) -> Decided:
    kit = seen.kit(number)
    packages = tuple(PackageRef(kit=number, package=p.package, seal=p.seal) for p in kit.open_packages)
    items = tuple(ItemRef(kit=number, item=item) for item in kit.items)
    order = CarryOutDisposal(packages=packages, items=items)
    return carry_out(seen, order, CUSTODIAN_2, OTHER_NURSE, COORDINATOR)


# --- breaking it ----------------------------------------------------------------------------------------

Break = Callable[[list[Event]], list[Event]]


def changed(event: Event, **values: Any) -> Event:
    told = {k: v for k, v in {**event.values, **values}.items() if v is not None}
    return Event(bytes=event.bytes, values=told)


def without(*types: str) -> Break:
    return lambda events: [event for event in events if event.type not in types]


def earlier(type_: str, days: float) -> Break:
    """This event, and none after it, was written so many days before its time."""

    def broken(events: list[Event]) -> list[Event]:
        return [
            changed(e, recorded_at=write_moment(e.recorded_at - timedelta(days=days)))
            if e.type == type_
            else e
            for e in events
        ]

    return broken


def told(type_: str, **values: Any) -> Break:
    return lambda events: [changed(e, **values) if e.type == type_ else e for e in events]


def before(type_: str, new: str, trail: str = "choices", **values: Any) -> Break:
    """Just before the first event of this type, another one stands."""

    def broken(events: list[Event]) -> list[Event]:
        at = next(number for number, event in enumerate(events) if event.type == type_)
        kit = events[0].subject.split(":")[1]
        subject = f"request:{WORD}" if trail == "request" else f"{trail}:{kit}"
        made = changed(events[at], type=new, subject=subject, **{"with": None, "packages": None, **values})
        return [*events[:at], made, *events[at:]]

    return broken


ALONE = {"person": "cleo", "name": "Cleo Kast", "function": "custodian", "organisation": "zsg-sterrenberg"}
SHORT = {"start": "2026-01-15", "end": "2026-03-15", "notice_on": "2026-02-01"}

BROKEN: dict[str, tuple[Break, str]] = {
    "expired without a notice": (without("notice.due", "notice.attempted"), "without a notice"),
    "expired and nobody told": (without("notice.attempted"), "nobody was told"),
    "expired before the term": (earlier("term.expired", 120), "the term ends on"),
    "expired before the notice period": (earlier("term.expired", 31), "has until"),
    "an attempt that promises too little": (
        told("notice.attempted", until="2026-06-01T00:00:00.000000Z"),
        "not the notice period",
    ),
    "not wanted though a channel was agreed": (told("notice.attempted", how="not_wanted"), "was agreed"),
    "notice before its day": (earlier("notice.due", 3), "before the day of notice"),
    "a term too short": (
        told("term.agreed", term={**SHORT, "over_at": "2026-03-15T23:00:00.000000Z"}),
        "was promised",
    ),
    "disposed under a hold": (
        before("disposal.carried_out", "hold.placed", hold={"id": WORD, "ground": "centre"}),
        "a hold",
    ),
    "disposed though reported": (
        before("disposal.carried_out", "report.declared", how="in_person"),
        "a report",
    ),
    "disposed under an order": (before("disposal.carried_out", "order.entered", "custody"), "an order"),
    "disposed while a package is on its way": (
        before(
            "disposal.carried_out",
            "handover.offered",
            "custody",
            packages=[{"package": 1}],
            handover=WORD,
        ),
        "a hand-over",
    ),
    "disposed while the police wait": (
        before(
            "disposal.carried_out",
            "request.received",
            "request",
            naming={"pv": "PV-FICTIEF", "centre": "zsg-sterrenberg"},
        ),
        "requests of the police wait",
    ),
    "disposed by one person": (told("disposal.carried_out", **{"with": None}), "fewer than three"),
    "disposed by who approved": (told("disposal.approved", who=ALONE), "the approver did it"),
    "approved by who proposed": (told("disposal.proposed", who=COORDINATOR.who()), "who proposed it"),
    "a package left out": (told("disposal.carried_out", packages=[{"package": 1}]), "that are left"),
    "approved without a proposal": (without("disposal.proposed"), "while expired"),
    "the key destroyed while it can be contested": (earlier("key.destroyed", 40), "contested until"),
}


def seen_by_the_observer(events: list[Event]) -> Observer:
    observer = Observer(rules=rules_of(SEED.read_bytes()))
    for event in events:
        observer.see(event)
    return observer


def test_of_a_whole_trail_the_observer_says_nothing() -> None:
    observer = seen_by_the_observer(whole())

    assert [str(cry) for cry in observer.cries] == []
    (kit,) = observer.kits.values()
    assert (kit.state, kit.why_over, kit.key_gone) == ("disposed", "told", True)


@pytest.mark.parametrize("case", BROKEN)
def test_the_observer_cries_at_a_broken_trail(case: str) -> None:
    broken, says = BROKEN[case]

    observer = seen_by_the_observer(broken(whole()))

    assert any(says in cry.says for cry in observer.cries), [cry.says for cry in observer.cries]


def test_what_falls_due_and_is_not_written_is_cried_after_a_few_runs_and_not_before() -> None:
    events = whole()
    due = next(at for at, event in enumerate(events) if event.type == "notice.due")
    observer = seen_by_the_observer(events[:due])
    at = events[due].recorded_at
    (kit,) = observer.kits

    assert observer.due(at - DAY) == []
    assert [number for number, _ in observer.due(at)] == [kit]
    for _ in range(3):
        observer.ran(at)
        assert not observer.cries
        at += DAY
    observer.ran(at)

    assert ["notice.due" in cry.says for cry in observer.cries] == [True]


def test_a_kit_of_a_minor_that_is_gone_before_49_years_is_cried_about() -> None:
    gone = told("term.agreed", age_class="minor")(whole())

    assert any("49 years" in cry.says for cry in seen_by_the_observer(gone).cries)


def test_work_done_in_another_order_than_it_fell_due_is_cried_about() -> None:
    first, second = whole(), whole()
    dues = [next(e for e in events if e.type == "notice.due") for events in (first, second)]
    observer = Observer(rules=rules_of(SEED.read_bytes()))
    for events in (first, second):
        for event in events[: next(at for at, e in enumerate(events) if e.type == "notice.due")]:
            observer.see(event)
    late = changed(dues[1], recorded_at=write_moment(dues[1].recorded_at + timedelta(minutes=1)))
    kit = observer.kits[second[0].subject.split(":")[1]]
    kit.notice_on -= timedelta(days=3)  # it fell due before the other one

    observer.see(dues[0])
    observer.see(late)
    observer.ran(late.recorded_at)

    assert any("order in which it fell due" in cry.says for cry in observer.cries)
