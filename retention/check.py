"""The scheduled check: what the calendar asks for, once for each slot, however many replicas there are.

A slot is an instant of a fixed grid (every five minutes in UTC). Whoever writes a slot's row first carries
it out (:mod:`retention.runs`); a slot that was begun and not gone on with for ten minutes may be taken
over, since its replica is gone. The check is level-triggered: it looks at what is due *now*, not at what
became due in its slot. So after downtime the newest slot is enough (:func:`newest_slot`), and those that
were missed need no catching up: everything that waited is done in the order of its due day, whatever kind
of step it is.

Five steps:

1. *notice due*: the day of notice has come at the centre; the victim is to be told.
2. *notice repeated*: a later day of notice has come.
3. *expired*: the term is over, and the notice period too, counted from the day on which the victim was really
   told. Where a notice went out late because this service was down, expiry waits; the term does not change.
4. *cooled off*: the cooling-off of a confirmed early destruction is over; the term ends with it.
5. *key destroyed*: the time for contesting a disposal is over; the data key of the private part goes.

Nothing here destroys evidence. Kits are moved a hundred or so in one transaction (:mod:`custody.batch`),
each under its own key made of slot, kit and type, so that a slot done twice writes once. While PostgreSQL
writes one batch, the next one is looked at and decided. A batch that is refused is halved until the kit
that it is about stands alone; that kit is set aside for an hour, reported and counted, and never stops the
others.

The engine and the ledger are those of the role ``custody_clerk``, which alone writes as the clock.
"""

import asyncio
import hashlib
import heapq
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncEngine

from custody import batch, reading
from custody import tables as evidence
from custody.batch import Step, Wanted
from custody.decision import Decided, Seen
from custody.event import write_moment
from custody.kit import Kit
from custody.ledger import Command, Ledger, MovedOn
from custody.people import CLOCK
from custody.protocol import Retention
from custody.refusal import Refused
from retention import runs
from retention import tables as own
from retention.disposal import contest_over, destroy_key
from retention.keeping import cool_off
from retention.notice import NotNow, expire, fall_due, repeat
from retention.period import RetentionDataError
from retention.policy import Policy, load
from retention.runs import ABANDONED, Figures
from retention.term import local_date

__all__ = ["ABANDONED", "EVERY", "Figures", "newest_slot", "run_slot", "slots"]

EVERY: Final = timedelta(minutes=5)
BATCH: Final = 128
"""Kits in one transaction: enough to spread its cost, and short enough to make nobody wait for long."""

GO_ON_EVERY: Final = 8
"""Batches between two signs of life."""

BACKUPS_KEPT: Final = timedelta(days=90)
"""How long a copy of a destroyed key may live on in a backup. The installation says it (CUSTODY_BACKUP_DAYS),
and destroys older backups; this is its default."""

EARLIEST_ZONE: Final = timedelta(hours=14)  # no local day begins more than this before the same day in UTC
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

log = logging.getLogger("custody.check")


class TakenOver(Exception):
    """Another replica has taken this slot over, because this one gave no sign of life for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """One step: which kits are worth a look, since when, and the decision on each of them."""

    figure: str
    type: str
    due: Select[Any]  # two columns: a day or an instant, and the kit's number
    decide: Callable[[Kit, datetime], Decided]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """One kit and what is due for it."""

    since: datetime
    kit: str
    kind: _Kind


# --- slots ------------------------------------------------------------------------------------------


def newest_slot(at: datetime, every: timedelta = EVERY) -> datetime:
    """The last slot not after ``at``: the one to run now, and after downtime the only one."""
    if at.tzinfo is None or every <= timedelta(0):
        raise ValueError("slots need a time with a zone and a positive distance")
    return EPOCH + (at - EPOCH) // every * every


def slots(after: datetime, until: datetime, every: timedelta = EVERY) -> Iterator[datetime]:
    """Every slot later than ``after`` and not later than ``until``, in order."""
    slot = newest_slot(after, every) + every
    while slot <= until:
        yield slot
        slot += every


# --- the run ------------------------------------------------------------------------------------------


async def run_slot(
    ledger: Ledger,
    engine: AsyncEngine,
    slot: datetime,
    *,
    every: timedelta = EVERY,
    backups_kept: timedelta = BACKUPS_KEPT,
    at_once: int = BATCH,
) -> Figures | None:
    """Carry out one slot; None where another replica was first.

    ``at_once`` is the number of kits in one transaction. Raises ValueError for an instant that is no slot,
    TakenOver where another replica took the slot meanwhile, and whatever the database raises when it is gone:
    the slot then stays unfinished and is taken over, or the next one does its work.
    """
    if newest_slot(slot, every) != slot:
        raise ValueError(f"{slot.isoformat()} is not a slot")
    began = await runs.claim(engine, slot)
    if began is None:
        return None
    async with engine.connect() as connection:
        now = await reading.now(connection)
        policies, unread = _read_policies(await reading.policies(connection))
    run = _Run(ledger, engine, slot, began)
    run.count("failed", unread)
    together, alone = _kinds(policies, unread, now, backups_kept)
    await run.move_together(await run.agenda(together), at_once)
    for due in await run.agenda(alone):
        await run.move_alone(due)
        await run.sign_of_life()
    await runs.finish(engine, slot, began, run.untold())
    return run.figures


class _Run:
    """One replica at work on one slot."""

    def __init__(self, ledger: Ledger, engine: AsyncEngine, slot: datetime, began: datetime) -> None:
        self._ledger, self._engine, self._slot, self._began = ledger, engine, slot, began
        self._counts: dict[str, int] = dict.fromkeys(asdict(Figures()), 0)
        self._told = Figures()
        self._turns = 0

    @property
    def figures(self) -> Figures:
        return Figures(**self._counts)

    def count(self, figure: str, more: int = 1) -> None:
        self._counts[figure] += more

    def untold(self) -> Figures:
        """What was done since the last sign of life."""
        told, now = asdict(self._told), self.figures
        self._told = now
        return Figures(**{name: count - told[name] for name, count in asdict(now).items()})

    async def sign_of_life(self) -> None:
        """Every few batches: this run is at work, and so far it did this. Raises TakenOver."""
        self._turns += 1
        if self._turns % GO_ON_EVERY == 0 and not await runs.go_on(
            self._engine, self._slot, self._began, self.untold()
        ):
            raise TakenOver

    async def agenda(self, kinds: Iterable[_Kind]) -> Iterator[_Due]:
        """Everything that is due, in the order of its due day."""
        found: list[Sequence[_Due]] = []
        async with self._engine.begin() as connection:
            await runs.by_index(connection)
            for kind in kinds:
                rows = await connection.execute(kind.due)
                found.append([_Due(since=_instant(since), kit=kit, kind=kind) for since, kit in rows])
        return heapq.merge(*found, key=attrgetter("since"))

    # --- many kits in one transaction

    async def move_together(self, agenda: Iterator[_Due], at_once: int) -> None:
        """Batch after batch; the next one is decided while the last one is written.

        Where the same kit has something to do in both, as after an outage, the last one is written first:
        decided on what stood before, it would have to be looked at again, later than its turn.
        """
        writing: asyncio.Task[None] | None = None
        moving: frozenset[str] = frozenset()
        try:
            for dues in _batches(agenda, at_once):
                if writing is not None and not moving.isdisjoint(dues):
                    await writing
                steps = await self._decided(dues)
                if writing is not None:
                    await writing
                await self.sign_of_life()
                writing, moving = asyncio.create_task(self._write(steps, dues)), frozenset(dues)
            if writing is not None:
                await writing
        except BaseException:
            if writing is not None and not writing.done():
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
            raise

    async def _decided(self, dues: Mapping[str, _Due]) -> tuple[Step, ...]:
        sight = await batch.look(self._ledger, tuple(dues))
        wanted = [Wanted(kit=x.kit, key=self._key(x), decide=x.kind.decide) for x in dues.values()]
        weighed = await asyncio.to_thread(batch.weigh, sight, wanted)
        for kit, fault in weighed.faults.items():
            if not isinstance(fault, NotNow):
                await self._put_aside(dues[kit], fault)
        return weighed.steps

    async def _write(self, steps: Sequence[Step], dues: Mapping[str, _Due]) -> None:
        """Write a batch; one that is refused in halves, so that one bad kit comes to stand alone."""
        if not steps:
            return
        try:
            written = await batch.append(self._ledger, steps)
        except Exception as fault:
            if batch.lost(fault):
                raise
            if len(steps) == 1:
                await self.move_alone(dues[steps[0].kit])
                return
            for half in batch.halves(steps):
                await self._write(half, dues)
            return
        for step in steps:
            if step.kit in written:
                self.count(dues[step.kit].kind.figure)
            else:  # its trails were extended meanwhile: look again
                await self.move_alone(dues[step.kit])

    # --- one kit alone

    async def move_alone(self, due: _Due) -> None:
        """One kit, one append. Nothing is counted where there was nothing to do."""
        key = self._key(due)
        command = Command(actor=CLOCK, key=key, digest=hashlib.sha256(key.encode()).digest(), kits=(due.kit,))

        def decide(seen: Seen) -> Decided:
            return due.kind.decide(seen.kit(due.kit), seen.at)

        try:
            receipts = await self._ledger.carry_out(command, decide)
        except (NotNow, MovedOn):
            return  # people were quicker; the next slot looks again
        except Exception as fault:  # whatever it is with this kit, the others go on
            if batch.lost(fault):
                raise
            await self._put_aside(due, fault)
            return
        if not all(receipt.repeated for receipt in receipts):
            self.count(due.kind.figure)

    def _key(self, due: _Due) -> str:
        return f"check:{write_moment(self._slot)}:{due.kit}:{due.kind.type}"

    async def _put_aside(self, due: _Due, fault: Exception) -> None:
        log.error(
            "a kit could not be moved (%s) and is set aside for an hour: %s", due.kind.type, _name(fault)
        )
        await runs.put_aside(self._engine, due.kit, f"{due.kind.type}: {_name(fault)}")
        self.count("failed")


def _instant(since: date | datetime) -> datetime:
    if isinstance(since, datetime):
        return since
    return datetime.combine(since, time(), UTC)


def _batches(agenda: Iterator[_Due], most: int) -> Iterator[dict[str, _Due]]:
    """The agenda in its order, cut into batches; a kit stands in a batch once."""
    made: dict[str, _Due] = {}
    for due in agenda:
        if len(made) >= most or due.kit in made:
            yield made
            made = {}
        made[due.kit] = due
    if made:
        yield made


def _name(fault: Exception) -> str:
    """What is kept of a fault: its kind, and a refusal's sentence without the values in it."""
    return f"{type(fault).__name__}: {fault.message}" if isinstance(fault, Refused) else type(fault).__name__


def _read_policies(documents: Sequence[bytes]) -> tuple[tuple[Policy, ...], int]:
    """The policies adopted, and how many documents could not be read: kits under those are set aside."""
    policies: list[Policy] = []
    unread = 0
    for document in documents:
        try:
            policies += load(document)
        except RetentionDataError as fault:
            log.error("an adopted policy cannot be read: %s", fault)
            unread += 1
    return tuple(policies), unread


# --- the steps ----------------------------------------------------------------------------------------


def _latest_day(policies: tuple[Policy, ...], unread: int, now: datetime) -> date:
    """The latest day that it is anywhere; with policies that cannot be read, anywhere on Earth."""
    if unread or not policies:
        return (now + EARLIEST_ZONE).date()
    return max(local_date(policy, now) for policy in policies)


def _kinds(
    policies: tuple[Policy, ...], unread: int, now: datetime, backups_kept: timedelta
) -> tuple[list[_Kind], list[_Kind]]:
    """The steps of many kits at once, and those of one kit alone. A query finds a few kits too many rather
    than one too few; the decision is exact. Each has an index of its own, so nothing due costs nothing."""
    k = evidence.kit.c
    free = k.number.not_in(select(own.set_aside.c.kit).where(own.set_aside.c.until > now))
    day = _latest_day(policies, unread, now)

    def due(since: Any, *conditions: Any) -> Select[Any]:
        return select(since, k.number).where(free, *conditions).order_by(since, k.number)

    together = [
        _Kind(
            figure="notices_due",
            type="notice.due",
            due=due(k.notice_on, k.retention == Retention.RUNNING, k.notice_on <= day),
            decide=lambda kit, at: fall_due(kit, policies, at),
        ),
        _Kind(
            figure="repeated",
            type="notice.repeated",
            due=due(k.remind_on, k.retention == Retention.NOTICE_DUE, k.remind_on <= day),
            decide=lambda kit, at: repeat(kit, policies, at),
        ),
        _Kind(
            figure="expired",
            type="term.expired",
            due=due(
                func.greatest(k.expires_at, k.term_over_at),
                k.retention == Retention.NOTICE_DUE,
                k.expires_at <= now,
                k.term_over_at <= now,
                k.holds == 0,
            ),
            decide=lambda kit, at: expire(kit, policies, at),
        ),
        _Kind(
            figure="cooled_off",
            type="destruction.cooled_off",
            due=due(
                k.cooling_until,
                k.cooling_until <= now,
                k.retention.in_((Retention.RUNNING, Retention.NOTICE_DUE)),
                k.holds == 0,
            ),
            decide=lambda kit, at: cool_off(kit, policies, at),
        ),
    ]
    if not policies:
        return together, []
    shortest = min(_fewest_days(policy) for policy in policies)
    kept = k.document["policy"]
    keys = due(
        k.disposed_at,
        k.retention == Retention.DISPOSED,
        k.key_destroyed_at.is_(None),
        k.disposed_at <= now - timedelta(days=shortest),
        or_(
            *(
                and_(
                    kept["id"].astext == policy.id,
                    kept["version"].as_integer() == policy.version,
                    k.disposed_at <= now - timedelta(days=_fewest_days(policy)),
                )
                for policy in policies
            )
        ),
    ).join(evidence.data_key, evidence.data_key.c.kit == k.number)

    def decide(kit: Kit, at: datetime) -> Decided:
        if not contest_over(kit, policies, at):
            raise NotNow("The time for contesting the disposal is not over.")
        return destroy_key(kit, at, at + backups_kept)

    return together, [_Kind(figure="keys_destroyed", type="key.destroyed", due=keys, decide=decide)]


def _fewest_days(policy: Policy) -> int:
    """No contest period of this policy is shorter than so many days, from whatever day it counts."""
    period = policy.contest.period
    return 365 * period.years + 28 * period.months + period.days
