"""The protocol as a graph: walked whole as data, and walked at random on PostgreSQL against the fold."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any, NamedTuple

import psycopg
import pytest

from custody.choices import BY_CLOCK, BY_PEOPLE
from custody.event import FIELDS, Fact, write_moment
from custody.kit import Kit, to_document
from custody.people import CLOCK, Actor, Function
from custody.protocol import (
    CHOICES_STEPS,
    CUSTODY_STEPS,
    ENDED,
    STEPS,
    Custody,
    Legal,
    Retention,
    Step,
    Trail,
)
from custody.refusal import STATES
from custody.trail import APPLY, NotAStep, after
from tests.conftest import Database, Engines
from tests.custody.byhand import ByHand
from tests.custody.story import (
    COORDINATOR,
    CUSTODIAN,
    CUSTODIAN_2,
    NURSE,
    NURSE_2,
    OTHER_NURSE,
    Story,
    begin,
    new_number,
)

Advance = Callable[[timedelta], None]
KIT_STEPS = {**CUSTODY_STEPS, **CHOICES_STEPS}


class State(NamedTuple):
    """Where a kit stands on two axes, and whether a hold stands on it."""

    legal: Legal
    retention: Retention
    held: bool


START = State(Legal.UNREPORTED, Retention.RUNNING, False)


def next_states(state: State, step: Step) -> Iterator[State]:
    """Where the step leads from here; a lifted hold may or may not be the last one."""
    if (step.legal and state.legal not in step.legal) or (
        step.retention and state.retention not in step.retention
    ):
        return
    legal = step.legal.get(state.legal, state.legal)
    retention = step.retention.get(state.retention, state.retention)
    held = (True,) if step.holds > 0 else (state.held,) if step.holds == 0 else (True, False)
    if step.holds < 0 and not state.held:
        return
    for each in held:
        if retention is not Retention.DISPOSED or not each:  # the CHECK on the kit's row
            yield State(legal, retention, each)


def reachable(starts: set[State], without: frozenset[str] = frozenset()) -> set[State]:
    """Every state that can be reached when these types of event never happen."""
    found, work = set(starts), list(starts)
    while work:
        state = work.pop()
        for name, step in KIT_STEPS.items():
            if name not in without:
                new = set(next_states(state, step)) - found
                found |= new
                work += new
    return found


ALL = reachable({START})


def disposed(states: set[State]) -> set[State]:
    return {s for s in states if s.retention is Retention.DISPOSED}


def test_every_state_of_the_law_and_of_the_term_is_reached() -> None:
    assert {s.legal for s in ALL} == set(Legal)
    assert {s.retention for s in ALL} == set(Retention)
    assert disposed(ALL) == {State(Legal.UNREPORTED, Retention.DISPOSED, False)}


def test_a_term_runs_exactly_while_nobody_has_reported() -> None:
    for state in ALL:
        assert (state.retention is Retention.STOPPED) == (state.legal is not Legal.UNREPORTED), state


def test_a_declared_report_is_never_followed_by_disposal_but_through_a_withdrawal_or_the_end_of_a_link() -> (
    None
):
    declared = {s for s in ALL if s.legal is Legal.DECLARED}
    ways_out = {"report.withdrawn", "link.ended", "order_link.in_error"}
    assert not disposed(reachable(declared, frozenset(ways_out)))
    for way in ways_out:
        assert disposed(reachable(declared, frozenset(ways_out - {way}))), way
    # Before the link there is one way only.
    linking = frozenset({"kit.linked", "kit.linked_by_order", "report.withdrawn"})
    assert not disposed(reachable(declared, linking))


def test_linked_or_released_evidence_is_never_disposed_of_while_the_link_stands() -> None:
    justice = {s for s in ALL if s.legal in (Legal.LINKED, Legal.RELEASED)}
    ends = frozenset({"link.ended", "link.in_error", "order_link.in_error"})
    assert not disposed(reachable(justice, ends))
    released = {s for s in ALL if s.legal is Legal.RELEASED}
    assert not disposed(reachable(released, frozenset({"release.in_error"})))


def test_a_held_kit_is_never_disposed_of_before_a_hold_is_lifted() -> None:
    held = {s for s in ALL if s.held}
    assert held
    assert not disposed(reachable(held, frozenset({"hold.lifted"})))


def test_disposal_takes_the_end_of_a_term_a_proposal_and_an_approval_or_that_nothing_is_left() -> None:
    for needed in ("disposal.proposed", "disposal.approved", "disposal.carried_out"):
        assert not disposed(reachable({START}, frozenset({needed, "disposal.nothing_left"})))
    assert not disposed(reachable({START}, frozenset({"term.expired", "destruction.cooled_off"})))


def test_a_notice_is_given_between_its_day_and_the_disposal_and_moves_nothing() -> None:
    told = {Retention.NOTICE_DUE, Retention.EXPIRED, Retention.PROPOSED, Retention.APPROVED}
    assert set(STEPS["notice.attempted"].retention) == told
    for name in ("notice.repeated", "notice.queued", "notice.attempted"):
        assert all(before is after_ for before, after_ in STEPS[name].retention.items()), name


def test_a_term_that_is_extended_moved_or_corrected_runs_again_whatever_came_before() -> None:
    for name in ("term.extended", "term.moved", "term.corrected"):
        assert set(STEPS[name].retention.values()) == {Retention.RUNNING}, name
        assert not set(STEPS[name].retention) & {Retention.STOPPED, Retention.DISPOSED}, name


def test_nothing_leads_out_of_disposed() -> None:
    assert reachable(disposed(ALL)) == disposed(ALL)
    for name, step in KIT_STEPS.items():
        assert step.retention.get(Retention.DISPOSED, Retention.DISPOSED) is Retention.DISPOSED, name


def test_an_approval_falls_with_every_hold_and_every_report() -> None:
    for name in ("hold.placed", "destruction.taken_back", "report.declared", "term.extended"):
        step = KIT_STEPS[name]
        for waiting in (Retention.PROPOSED, Retention.APPROVED):
            assert step.retention[waiting] not in (Retention.PROPOSED, Retention.APPROVED), name


# --- custody -----------------------------------------------------------------------------------


def exits(state: Custody) -> set[str]:
    """Types of event that lead a package from this state into another one."""
    return {name for name, s in CUSTODY_STEPS.items() if s.custody.get(state, state) is not state}


def test_every_state_of_a_package_is_reached() -> None:
    found, work = {Custody.PACKED}, [Custody.PACKED]
    while work:
        state = work.pop()
        new = {s.custody[state] for s in CUSTODY_STEPS.values() if state in s.custody} - found
        found |= new
        work += new
    assert found == set(Custody)


def test_what_has_ended_stays_so_and_only_the_lost_can_be_found() -> None:
    for state in ENDED:
        assert not [name for name, s in CUSTODY_STEPS.items() if state in s.custody], state
    assert {name for name, s in CUSTODY_STEPS.items() if Custody.LOST in s.custody} == {
        "package.found",
        "search.ended",
    }
    assert exits(Custody.LOST) == {"package.found"}


def test_what_is_on_the_way_is_accepted_refused_or_taken_back_or_found_or_lost() -> None:
    assert exits(Custody.IN_TRANSIT) == {
        "handover.accepted",
        "handover.refused",
        "handover.cancelled",
        "handover.acceptance_recorded",
        "package.found_elsewhere",
        "package.lost",
    }


def test_evidence_is_destroyed_only_after_the_disposal_and_returned_only_before_any_report() -> None:
    into = {name for name, s in CUSTODY_STEPS.items() if Custody.DESTROYED in s.custody.values()}
    assert into == {"package.destroyed"}
    destroyed, returned = STEPS["package.destroyed"], STEPS["package.returned"]
    assert set(destroyed.retention) == {Retention.DISPOSED}
    assert set(destroyed.legal) == set(returned.legal) == {Legal.UNREPORTED}


# --- the table itself ----------------------------------------------------------------------------


def test_what_takes_two_people_is_written_by_people() -> None:
    for name, step in STEPS.items():
        assert step.people == 1 or step.writers == {"people"}, name
        assert step.writers <= {"people", "victim", "clock"}
        assert step.writers, name
    three = {name for name, step in STEPS.items() if step.people == 3}
    assert three == {"disposal.carried_out", "package.destroyed"}


def test_clock_and_card_never_destroy_link_withdraw_or_return() -> None:
    clock = {name for name, step in KIT_STEPS.items() if "clock" in step.writers}
    card = {name for name, step in KIT_STEPS.items() if "victim" in step.writers}
    assert clock == {
        *("notice.due", "notice.repeated", "notice.attempted", "term.expired"),
        *("destruction.cooled_off", "key.destroyed", "card.stopped"),
    }
    assert card == {
        "victim.visited",
        "victim.asked",
        "card.stopped",
        "channel.proved",
        "report.declared",
        "withdrawal.wished",
        "term.extended",
        "hold.placed",
        "destruction.requested",
        "destruction.taken_back",
    }
    for name in clock | card:
        leads_to = set(STEPS[name].retention.values())
        assert name == "key.destroyed" or Retention.DISPOSED not in leads_to


def test_every_field_a_step_states_is_a_field_of_an_event_and_every_change_is_a_step() -> None:
    for name, step in STEPS.items():
        assert step.needs <= set(FIELDS), name
        assert step.may <= set(FIELDS), name
        assert not step.needs & {"format", "type", "subject", "number", "previous", "recorded_at", "who"}
        of_kit = step.trail in (Trail.CUSTODY, Trail.CHOICES)
        assert of_kit or not (step.custody or step.legal or step.retention), name
    assert set(APPLY) <= set(KIT_STEPS)
    assert set(STATES) >= {"custody", "legal", "retention", "trail", "handover", "hold"}


def test_postgresql_holds_the_same_table(production_database: Database) -> None:
    with production_database.connect("service") as connection:
        rows = connection.execute(
            "SELECT type, trail, custody, legal, retention, packs, holds, people, needs, may, writers"
            " FROM custody.step"
        ).fetchall()
    told = {
        name: (
            str(s.trail),
            dict(s.custody),
            dict(s.legal),
            dict(s.retention),
            s.packs,
            s.holds,
            s.people,
            sorted(s.needs),
            sorted(s.may),
            sorted(s.writers),
        )
        for name, s in STEPS.items()
    }
    assert {row[0]: row[1:] for row in rows} == told


# --- fold and database agree -------------------------------------------------------------------------

TERM = {
    "start": "2026-01-01",
    "end": "2026-01-01",
    "notice_on": "2026-01-01",
}
ITEM = {"item": 1, "group": "sample"}


def _hex(chance: Random) -> str:
    return f"{chance.getrandbits(128):032x}"


class Walk:
    """Random facts about one kit, likely and impossible, each given to the fold and to PostgreSQL."""

    def __init__(self, byhand: ByHand, chance: Random, advance: Advance) -> None:
        self.db, self.chance, self.advance = byhand, chance, advance
        self.number = new_number()
        self.told: list[str] = []
        self.over_at = write_moment(byhand.now() + timedelta(days=1))

    def register(self) -> None:
        """A kit with two packages whose term is long over: what PostgreSQL allows is in question here."""
        facts: list[tuple[str, dict[str, Any]]] = [
            ("kit.registered", {"centre": NURSE.organisation, "examined_on": "2026-01-01"}),
            ("package.packed", {"packages": [self._new(1), self._new(2)], "items": [{**ITEM, "package": 1}]}),
            (
                "term.agreed",
                {**self._of("age_class"), **self._of("policy"), "term": {**TERM, "over_at": self.over_at}},
            ),
        ]
        kit: Kit | None = None
        events, heads = [], {"custody": 0, "choices": 0}
        for type_, fields in facts:
            trail = str(STEPS[type_].trail)
            fact = Fact(type=type_, subject=f"{trail}:{self.number}", who=NURSE.who(), fields=fields)
            change: dict[str, Any] = {"number": heads[trail] + 1}
            if kit is not None and heads[trail]:
                change["previous"] = (
                    kit.custody_head.digest if trail == "custody" else kit.choices_head.digest
                )
            event = self.db.event(fact, **change)
            heads[trail] += 1
            kit = after(kit, event)
            events.append(event)
        assert kit is not None
        expected = {f"custody:{self.number}": 0, f"choices:{self.number}": 0}
        self.db.append(NURSE, events, {self.number: kit}, expected=expected)
        self.advance(timedelta(days=2))

    def _new(self, package: int) -> dict[str, Any]:
        return {"package": package, "kind": "bag", "storage": "dry"}

    def _how(self, type_: str) -> str:
        """How an attempt went, in the words of any writer; in person everything else."""
        if type_ != "notice.attempted":
            return "in_person"
        return self.chance.choice([*sorted(BY_CLOCK | BY_PEOPLE), "reached", "not_wanted", "in_person"])

    def _more(self, type_: str) -> dict[str, Any]:
        """Some of what a type may state and needs not."""
        told: dict[str, Any] = {}
        for name in sorted(STEPS[type_].may & {"channel", "remind_on", "until", "decided_by"}):
            if type_.startswith(("notice.", "term.", "destruction.")) and self.chance.random() < 0.6:
                told |= self._of(name, type_)
        return told

    def _of(self, name: str, type_: str = "") -> dict[str, Any]:
        """A value for a field that a type needs."""
        kit = None if not self.told else self.db.kit(self.number)
        offers = [*kit.handovers, _hex(self.chance)] if kit else []
        holds = [*kit.holds, _hex(self.chance)] if kit else []
        soon = self.chance.choice([self.over_at, "2096-01-01T00:00:00.000000Z"])
        values: dict[str, Callable[[], Any]] = {
            "centre": lambda: NURSE.organisation,
            "examined_on": lambda: "2026-01-01",
            "place": lambda: {"id": "shelf-1", "name": "Shelf 1"},
            "handover": lambda: self.chance.choice(offers),
            "counterpart": lambda: {
                "name": "Casper Kluis",
                "person": "casper",
                "organisation": "zsg-sterrenberg",
            },
            "carrier": lambda: {"name": "Karel Koerier"},
            "due_at": lambda: "2096-01-01T00:00:00.000000Z",
            "reason": lambda: "a walk",
            "labels": lambda: [{"code": f"{self.number}-K-1-7", "serial": 1}],
            "items": lambda: [{"item": 1}],
            "finding": lambda: _hex(self.chance),
            "cites": lambda: ["ab" * 32],
            "order": lambda: {"digest": "ab" * 32, "authority": "Invented", "dated": "2026-01-01"},
            "request": lambda: _hex(self.chance),
            "link": lambda: {
                "ground": "report",
                "pv": "P",
                "notice": "N",
                "office": "parket-avondland",
                "zone": "pz-morgenland",
            },
            "documents": lambda: [{"kind": "letter", "digest": "ab" * 32}],
            "decided_by": lambda: "victim",
            "language": lambda: "nl",
            "channel": lambda: self.chance.choice(["none", "email", "email"]),
            "remind_on": lambda: "2026-01-02",
            "card": lambda: "declined",
            "age_class": lambda: "adult",
            "policy": lambda: {"id": "be", "version": 1},
            "term": lambda: {**TERM, "over_at": soon},
            "how": lambda: self._how(type_),
            "hold": lambda: {"id": self.chance.choice(holds), "ground": "centre"},
            "until": lambda: self.chance.choice([soon, write_moment(self.db.now())]),
            "private": lambda: "ab" * 32,
            "readers": lambda: ["coraline", *self.chance.sample(["casper", "nils", "nora"], k=2)],
        }
        return {name: values[name]()}

    def _packages(self, type_: str, kit: Kit) -> list[dict[str, Any]]:
        step = STEPS[type_]
        fitting = [p.package for p in kit.packages.values() if not step.custody or p.state in step.custody]
        numbers = fitting if fitting and self.chance.random() < 0.8 else [*kit.packages, 98]
        chosen = self.chance.sample(numbers, k=min(len(numbers), self.chance.choice([1, 1, 2])))
        entries: list[dict[str, Any]] = [{"package": n} for n in chosen]
        if type_ in ("package.sealed", "package.resealed"):
            entries = [{**e, "seal": f"S-{self.chance.randrange(10**6)}"} for e in entries]
        if step.packs:
            new = self._new(self.chance.choice([len(kit.packages) + 1, self.chance.randint(1, 9)]))
            entries = [new] if not step.custody else [*entries, {**new, "from": chosen}]
        return entries

    def fact(self, type_: str, kit: Kit, stated: dict[str, Any] | None) -> tuple[Actor, Fact, Actor | None]:
        """A fact of this type: who records it, and who signs beside them now. Given what it states, no more
        than that, and by people where they may."""
        step = STEPS[type_]
        fields: dict[str, Any] = {}
        for name in sorted(step.needs):
            if name == "packages":
                fields["packages"] = self._packages(type_, kit)
            elif name != "private":
                fields |= self._of(name, type_)
        fields |= self._more(type_) if stated is None else stated
        if step.packs and step.custody:
            fields["items"] = [{**ITEM, "package": fields["packages"][-1]["package"]}]
        people = stated is not None and "people" in step.writers
        kind = "people" if people else self.chance.choice(sorted(step.writers))
        actor, second = NURSE, None
        if kind == "clock":
            actor = CLOCK
        elif kind == "victim":
            actor = Actor(function=Function.VICTIM, card=self.number)
        elif type_.startswith(("order.", "disposal.")):
            actor = {"disposal.proposed": CUSTODIAN, "order.confirmed": NURSE_2}.get(type_, COORDINATOR)
        if step.people == 2:
            second = None if type_ == "order.confirmed" else NURSE_2
            fields["with"] = [COORDINATOR.signs("entered") if second is None else NURSE_2.signs("second")]
        if step.people == 3:
            actor, second = CUSTODIAN_2, OTHER_NURSE
            fields["with"] = [COORDINATOR.signs("approver"), OTHER_NURSE.signs("observer")]
        private = {"hospital_reference": "INVENTED"} if "private" in step.needs else None
        subject = f"{step.trail}:{self.number}"
        return (
            actor,
            Fact(type=type_, subject=subject, who=actor.who(), fields=fields, private=private),
            second,
        )

    def onward(self, type_: str) -> None:
        """A step on the way to the end: an attempt settles the notice, and its period, a day, passes."""
        if type_ != "notice.attempted":
            self.step(type_, {})
            return
        day = timedelta(days=1)
        self.step(type_, {"how": "reached", "until": write_moment(self.db.now() + day)})
        self.advance(day)

    def dispose(self) -> None:
        """The disposal and the end of every package, in one write: the one alone leaves something behind."""
        kit = self.db.kit(self.number)
        packages = {"packages": [{"package": n} for n in kit.packages]}
        actor, carried_out, second = self.fact("disposal.carried_out", kit, {})
        facts = [
            carried_out,
            replace(carried_out, type="package.destroyed", subject=f"custody:{self.number}"),
        ]
        events = [self.db.event(replace(f, fields={**f.fields, **packages})) for f in facts]
        for event in events:
            kit = after(kit, event)
        proposal = self.db.propose(actor, self.number)
        self.db.append(second or actor, events, {self.number: kit}, proposal=proposal)

    def step(self, type_: str, stated: dict[str, Any] | None = None) -> None:
        kit = self.db.kit(self.number)
        self.told.append(type_)
        actor, fact, second = self.fact(type_, kit, stated)
        event = self.db.event(fact)
        extra: dict[str, Any] = {}
        if type_ == "card.renewed":
            told = {"code_hash": _hex(self.chance) * 2, "secret_hash": "none"}
            extra["cards"] = [{"kit": self.number, **told}]
        if second is not None:
            extra["proposal"] = self.db.propose(actor, self.number)
        try:
            document = to_document(after(kit, event))
            fold = None
        except NotAStep as refusal:
            document, fold = to_document(kit), refusal
        both = {
            f"{t}:{self.number}": self.db.head(f"{t}:{self.number}").number for t in ("custody", "choices")
        }
        try:
            self.db.append(
                second or actor, [event], documents={self.number: document}, expected=both, **extra
            )
            database = None
        except psycopg.Error as refusal:
            database = refusal
        what = f"{self.told[-12:]} {event.bytes.decode()} fold: {fold} database: {database}"
        if fold is not None:
            assert database is not None, what
            # By its own protocol or CHECK, not only by comparing projections (CU004).
            # Who stands beside a disposal is looked at before where the kit stands.
            before = ("CU003",) if STEPS[type_].people == 3 else ()
            assert database.sqlstate in ("CU002", "23514", *before), what
        elif database is not None:
            # The fold leaves to the database the CHECK on the kit's row, who has left, what waits to be sent,
            # and the periods of the policy: no kit knows those.
            left = LEFT_TO_THE_DATABASE.get(type_, [])
            assert any(database.sqlstate == code and words in str(database) for code, words in left), what
            if database.sqlstate == "23514":
                assert kit.holds or kit.in_transit or (kit.term and kit.term.over_at > self.db.now()), what
        else:
            assert to_document(self.db.kit(self.number)) == document, what


@pytest.fixture
async def byhand(database: Database, engines: Engines) -> AsyncIterator[ByHand]:
    story: Story = await begin(engines.service, engines.clerk)
    assert story.directory.appointments
    with ByHand(database) as open_:
        yield open_


ONLY_THEN = ("23514", "kit_disposed_only_when_nothing_protects_it")
LEFT_TO_THE_DATABASE = {
    "disposal.carried_out": [
        ONLY_THEN,
        ("CU002", "something of this kit is left, or still looked for"),
        ("CU002", "an order of a judge stands on this kit"),
    ],
    "disposal.nothing_left": [ONLY_THEN],
    "handover.accepted": [("CU002", "who offers a package does not accept it")],
    "kit.restricted": [("CU002", "the readers of a restricted kit"), ("CU002", "by the own hand alone")],
    "term.corrected": [("CU002", "would end the term that stands too early")],
    "package.taken_over": [("CU002", "only what somebody who left still holds")],
    "notice.attempted": [
        ("CU002", "no message of this kit waits"),
        ("CU002", "the notice period would not be over"),
    ],
    "key.destroyed": [("CU002", "the disposal of this kit may still be contested")],
    "destruction.confirmed": [
        ("CU002", "the cooling-off is shorter"),
        ("CU002", "the victim has not asked for destruction"),
        ("CU002", "no early destruction is confirmed or takes effect while a hold stands"),
    ],
    "destruction.cooled_off": [
        ("CU002", "no early destruction is confirmed or takes effect while a hold stands")
    ],
}
TO_THE_END = ("notice.due", "notice.attempted", "term.expired", "disposal.proposed", "disposal.approved")


@pytest.mark.anyio
async def test_whatever_the_fold_refuses_postgresql_refuses_and_nothing_else(
    byhand: ByHand, advance: Advance
) -> None:
    for seed in range(8):
        chance = Random(seed)
        walk = Walk(byhand, chance, advance)
        walk.register()
        types = sorted(KIT_STEPS)
        for _ in range(60):
            kit = byhand.kit(walk.number)
            possible = [
                t
                for t in types
                if (not STEPS[t].legal or kit.legal in STEPS[t].legal)
                and (not STEPS[t].retention or kit.retention in STEPS[t].retention)
            ]
            ahead = [t for t in TO_THE_END if t in possible]
            roll = chance.random()
            if ahead and roll < 0.3:
                walk.onward(chance.choice(ahead))
            else:
                walk.step(chance.choice(possible if roll < 0.8 else types))


@pytest.mark.anyio
async def test_postgresql_walks_to_the_end_and_knows_every_state(byhand: ByHand, advance: Advance) -> None:
    walk = Walk(byhand, Random(1), advance)
    walk.register()
    for type_ in TO_THE_END:
        walk.onward(type_)
    walk.step("disposal.carried_out", {})
    assert byhand.kit(walk.number).retention is Retention.APPROVED, "its packages are left"
    walk.dispose()
    assert byhand.kit(walk.number).retention is Retention.DISPOSED
    for type_ in sorted(KIT_STEPS):
        walk.step(type_)
        assert byhand.kit(walk.number).retention is Retention.DISPOSED
