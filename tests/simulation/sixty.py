"""Sixty years of two centres, day by day, on a real database; the observer watches every event.

    python -m tests.simulation --kits 20000 --years 60 --seed 2026

Everything that people and misfortune do follows from the seed; salts and microseconds alone do not.
"""

import asyncio
import heapq
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final
from zoneinfo import ZoneInfo

import retention
from custody import rebuild
from custody.commands import AnswerRequest, Request
from custody.event import Event
from custody.prosecution import answer, request
from retention.adopting import adopt, longer_under
from retention.commands import AdoptPolicy, MoveTerm
from retention.keeping import move_term
from retention.policy import load
from tests.custody.story import OFFICER
from tests.simulation.carts import carry, work_on
from tests.simulation.house import HERE, THERE, House, Staff, counted
from tests.simulation.life import Life, born
from tests.simulation.lives import CALL_IN, DOINGS
from tests.simulation.mail import Mail
from tests.simulation.observer import Observer
from tests.simulation.promised import rules_of
from tests.simulation.replicas import Watch, run, run_and_lose

SEEDS: Final = Path(retention.__file__).with_name("seed")
CHANGES: Final = (  # years after the beginning, and what a new version of Belgium's policy says
    (6, {"adult": "P1Y"}),
    (14, {"adult": "P9M", "notice": "P90D"}),
    (27, {"adult": "P2Y", "notice": "P60D"}),
    (41, {"adult": "P6M"}),
)
LOSSES: Final = ("cancelled", "cut")
AT_ONCE: Final = 4
BRUSSELS: Final = ZoneInfo("Europe/Brussels")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is simulated. ``daily``: the check runs on every day, or where something may be due."""

    kits: int = 20_000
    years: int = 60
    seed: int = 2026
    daily: bool = True
    lost: float = 0.04  # of the runs in which something is due
    killed: int = 20  # of these, so many are real processes that are killed
    projections: bool = True


@dataclass(frozen=True, slots=True)
class Outage:
    """The check does not run; people go on, or nobody works either. In days."""

    begins: float
    ends: float
    people: bool


@dataclass
class Sixty:
    """One simulation."""

    house: House
    scale: Scale
    observer: Observer = field(default_factory=Observer)
    watch: Watch = field(default_factory=Watch)
    mail: Mail = field(default_factory=Mail)
    told: Callable[[int, int], None] = lambda done, total: None
    lives: dict[str, Life] = field(default_factory=dict)
    outages: list[Outage] = field(default_factory=list)
    by_year: dict[int, Counter[str]] = field(default_factory=dict)
    carts: int = 0
    moved_terms: int = 0
    caught_up: int = 0
    losses: int = 0
    seconds: float = 0.0
    differences: list[str] = field(default_factory=list)
    _carts: dict[str, set[str]] = field(default_factory=dict)
    _agenda: list[tuple[float, int, Life | None, str]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.rng = Random(f"sixty:{self.scale.seed}")
        self.begin = self.end = self.house.now()
        self.day = 0.0

    # --- the plan ------------------------------------------------------------------------------------

    @property
    def days(self) -> int:
        return round(self.scale.years * 365.2425)

    def plan(self, days: float, life: Life | None, what: str) -> None:
        heapq.heappush(self._agenda, (self.day + days, next(self._order), life, what))

    def _prepare(self) -> None:
        rng, days = self.rng, self.days
        # The last kits come two years before the end, so that most lives are over by then.
        arrivals = sorted(rng.uniform(0, max(1, days - 730)) for _ in range(self.scale.kits))
        for index, arrives in enumerate(arrivals):
            life = born(self.scale.seed, index, arrives, HERE if rng.random() < 0.7 else THERE)
            self.lives[life.number] = life
            self.plan(arrives, life, "arrive")
        for years, _ in CHANGES:
            if years < self.scale.years:
                self.plan(years * 365.2425, None, "policy")
        asks = rng.uniform(5, 60)
        while asks < days:
            self.plan(asks, None, "ask")
            asks += rng.uniform(5, 120)
        at = rng.uniform(200, 600)
        while at < days - 100:
            long = rng.choice([0.2, 0.5, 1, 2, 4, 9, 21, 45, 90, 160])
            self.outages.append(Outage(at, at + long, rng.random() < 0.6))
            at += long + rng.uniform(300, 1200)

    def _outage(self, day: float) -> Outage | None:
        return next((each for each in self.outages if each.begins <= day < each.ends), None)

    # --- the days --------------------------------------------------------------------------------------

    async def run(self) -> None:
        started = time.monotonic()
        await self._adopt(json.loads((SEEDS / "belgium.json").read_bytes()))
        await self._adopt(json.loads((SEEDS / "belgium-2.json").read_bytes()))
        self._prepare()
        after_outage = False
        for day in range(self.days + 1):
            outage = self._outage(day + 0.5)
            if outage is not None:
                after_outage = True
            if self._worth_while(day, outage):
                await self._day(day, outage, after_outage)
                after_outage = outage is not None
            self.told(day, self.days)
        await self._last()
        self.seconds = time.monotonic() - started

    def _worth_while(self, day: int, outage: Outage | None) -> bool:
        if self.scale.daily or day == self.days:
            return True
        if self._agenda and self._agenda[0][0] < day + 1 and (outage is None or outage.people):
            return True
        due = self.observer.next_due
        waits = outage is None and due is not None and due <= self.begin + timedelta(days=day + 0.5)
        return waits or (outage is None and self.mail.waits(day)) or day % 90 == 0

    async def _day(self, day: int, outage: Outage | None, after_outage: bool) -> None:
        self.day = float(day)
        self.house.go_to(self.begin + timedelta(days=day + 0.5))
        if outage is None or outage.people:
            await self._people(day)
        self._see()
        if outage is None:
            await self._check(after_outage)
            await self.mail.deliver(self.house, self.lives, day)
            self._see()

    async def _people(self, day: int) -> None:
        """What was planned for this day: each kit's doings in their order, several kits at once."""
        todo: dict[str, list[str]] = {}
        while self._agenda and self._agenda[0][0] < day + 1:
            while self._agenda and self._agenda[0][0] < day + 1:
                _, _, life, what = heapq.heappop(self._agenda)
                if life is None:
                    await self._event_of_the_world(what)
                else:
                    todo.setdefault(life.number, []).append(what)
            waiting = [self._doings(self.lives[number], what) for number, what in todo.items()]
            todo = {}
            for at in range(0, len(waiting), AT_ONCE):
                await asyncio.gather(*waiting[at : at + AT_ONCE])
        for staff in (HERE, THERE):
            cart = [self.lives[number] for number in sorted(self._carts.pop(staff.centre, ()))]
            self.carts += bool(cart)
            await carry(self.house, staff, cart, self.plan)

    async def _doings(self, life: Life, todo: list[str]) -> None:
        for what in todo:
            kit = self.observer.kits.get(life.number)
            if what == "dispose" and kit is not None:
                if await work_on(self.house, life, self.plan, kit.state):
                    self._carts.setdefault(life.staff.centre, set()).add(life.number)
            elif what == "impatient":
                await work_on(self.house, life, lambda days, who, what: None, "expired")
            else:
                await DOINGS[what](self.house, life, self.plan)

    async def _check(self, after_outage: bool) -> None:
        due = [
            number
            for number, awaited in self.observer.due(self.house.now())
            if awaited.what != "key.destroyed"
        ]
        if due and self.rng.random() < self.scale.lost:
            self.losses += 1
            kill = self.losses % 3 == 1 and self.watch.lost["killed"] < self.scale.killed
            how = "killed" if kill else LOSSES[self.losses % 2]
            await run_and_lose(self.house, self.watch, how, self.rng.choice(due))
            in_order = False
        else:
            await run(self.house, self.watch, 3 if self.rng.random() < 0.05 else 1)
            in_order = True
        self._see()
        self.caught_up += after_outage and bool(due)
        self.observer.ran(self.house.now(), in_order=in_order)

    def _see(self) -> None:
        """The observer reads what was written; people see what became of their kits."""
        year = int(self.day / 365.2425)
        figures = self.by_year.setdefault(year, Counter())
        for event in self.house.written():
            self.observer.see(event)
            figures[event.type] += 1
            self._react(event)

    def _react(self, event: Event) -> None:
        trail, _, number = event.subject.partition(":")
        if trail != "choices":
            return
        life = self.lives[number]
        if event.type in ("notice.due", "notice.repeated", "notice.queued"):
            if event.get("channel") is None:
                self.plan(life.within(*CALL_IN), life, "call")
            else:
                self.mail.wait(event)
        elif event.type == "notice.attempted":
            self.mail.heard(event)
            how, settled = event.get("how"), event.get("until") is not None
            if how in ("failed", "bounced") or (how == "not_wanted" and not settled):
                self.plan(life.within(*CALL_IN), life, "call")
        elif event.type in ("term.expired", "destruction.cooled_off"):
            self.plan(life.within(1, 30), life, "dispose")
        elif event.type == "hold.placed" and self.observer.kits[number].state == "expired":
            self.plan(life.within(30, 60), life, "dispose")

    # --- the world -------------------------------------------------------------------------------------

    async def _event_of_the_world(self, what: str) -> None:
        if what == "policy":
            await self._change_policy()
        elif what == "move":
            await self._move_kits()
        elif what == "ask":
            await self._police_ask()
        elif what.startswith("answer:"):
            await self._answer(what.removeprefix("answer:"))

    async def _police_ask(self) -> None:
        """The police ask a centre about a report; the answer comes days later, and protects till then."""
        staff = HERE if self.rng.random() < 0.7 else THERE
        name = self.rng.randbytes(16).hex()
        order = Request(pv=f"PV-VRAAG-{name[:6]}", centre=staff.centre)
        await self.house.act(
            OFFICER,
            [],
            lambda s: request(order, OFFICER, self.house.directory, name),
            f"request:{name}",
        )
        self.plan(self.rng.uniform(0.5, 15), None, f"answer:{staff.centre}:{name}")

    async def _answer(self, which: str) -> None:
        centre, _, name = which.partition(":")
        staff: Staff = HERE if centre == HERE.centre else THERE
        no = AnswerRequest(request=name, how="no_match")
        await self.house.act(
            staff.nurse, [], lambda s: answer(no, None, staff.nurse, staff.second), f"request:{name}"
        )

    async def _adopt(self, document: dict[str, Any]) -> None:
        text = json.dumps(document)
        order = AdoptPolicy(document=text)
        name = document["policies"][0]["id"]
        await self.house.act(
            HERE.coordinator,
            [],
            lambda s: adopt(order, HERE.coordinator, THERE.coordinator, self.house.policies, s.at),
            f"policy:{name}",
        )
        self.house.policies = (*self.house.policies, *load(text.encode()))
        self.observer.rules |= rules_of(text.encode())

    async def _change_policy(self) -> None:
        """A new version, from tomorrow on; where it keeps kits longer, those that wish so are moved then."""
        (policy,) = json.loads((SEEDS / "belgium-2.json").read_bytes())["policies"]
        made = len(self.house.policies) - 2
        says = CHANGES[made][1]
        today = self.house.now().astimezone(BRUSSELS).date()
        tomorrow = (today + timedelta(days=1)).isoformat()
        policy |= {"version": made + 3, "adopted_on": today.isoformat(), "valid_from": tomorrow}
        policy["kept"]["adult"]["period"] = says["adult"]
        if "notice" in says:
            policy["notice"]["period"] = says["notice"]
        await self._adopt({"format": 2, "policies": [policy]})
        self.plan(2, None, "move")

    async def _move_kits(self) -> None:
        self._see()
        for number, life in self.lives.items():
            kit = self.observer.kits.get(number)
            if kit is None or kit.state not in ("running", "notice_due", "expired"):
                continue
            if life.rng.random() < 0.6:
                await self._move(life)

    async def _move(self, life: Life) -> None:
        seen = await self.house.ledger.look(life.staff.coordinator, [life.number])
        if longer_under(seen.kit(life.number), self.house.policies, seen.at) is None:
            return
        order = MoveTerm(kits=(life.number,), how="victim_agreed", reason="kept longer now")
        self.moved_terms += bool(
            await self.house.tried(
                life.staff.coordinator,
                [life.number],
                lambda s: move_term(s, order, life.staff.coordinator, self.house.policies),
            )
        )

    # --- the end -----------------------------------------------------------------------------------------

    async def _last(self) -> None:
        """Three more runs of the check, and the last look."""
        for _ in range(3):
            self.house.go_to(self.house.now() + timedelta(hours=2))
            await run(self.house, self.watch)
            self._see()
            self.observer.ran(self.house.now())
        self.end = self.house.now()
        self.observer.end(self.end)
        self._compare_columns()
        self._compare_runs()
        if self.scale.projections:
            for each in await rebuild.check(self.house.clerk.engine):
                self.differences.append(str(each))

    def _compare_columns(self) -> None:
        """What the database keeps of each kit is what the observer read from the events."""
        rows = self.house.admin.execute(
            "SELECT number, retention, legal, holds, term_over_at, expires_at IS NOT NULL FROM custody.kit"
        ).fetchall()
        for number, state, legal, holds, over_at, _ in rows:
            kit = self.observer.kits.get(number)
            if kit is None:
                self.differences.append(f"{number} has no events")
                continue
            stored, read = (state, legal, holds, over_at), (kit.state, kit.legal, len(kit.holds), kit.over_at)
            if stored != read:
                self.differences.append(f"{number}: stored {stored}, read {read}")
        if len(rows) != len(self.observer.kits):
            self.differences.append(f"{len(rows)} kits are stored and {len(self.observer.kits)} were read")

    def _compare_runs(self) -> None:
        """Exactly one finished run for each slot that was run."""
        for slot, times in self.watch.finished.items():
            if times != 1:
                self.differences.append(f"slot {slot} was finished {times} times")
        stored = counted(self.house, "SELECT count(*) FROM retention.run WHERE finished_at IS NOT NULL")
        rows = counted(self.house, "SELECT count(*) FROM retention.run")
        if not stored == rows == len(self.watch.finished):
            self.differences.append(
                f"{rows} slots are stored, {stored} as finished; {len(self.watch.finished)} were carried out"
            )

    @property
    def ends(self) -> Counter[str]:
        """Where each kit is at the end: in exactly one state."""
        return Counter(kit.state for kit in self.observer.kits.values())
