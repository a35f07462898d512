"""The scheduled check: what the calendar asks for, once for each slot, however many replicas there are.

A slot is an instant of a fixed grid (every five minutes in UTC). Whoever writes a slot's row first carries
it out; a slot that was begun and not finished for ten minutes may be taken over, since its replica is gone.
The check is level-triggered: it looks at what is due *now*, not at what became due in its slot. So after
downtime the newest slot is enough (:func:`newest_slot`), and those that were missed need no catching up.

One slot goes through four steps; each moves kits one by one, one kit one append, as the clock:

1. *notice due*: the day of notice has come at the centre; the victim is to be told.
2. *expired*: the term is over, and the notice period too, counted from the day on which the notice really
   fell due. Where it fell due late because this service was down, expiry waits; the term does not change.
3. *cooled off*: the cooling-off of a confirmed early destruction is over; the term ends with it.
4. *key destroyed*: the time for contesting a disposal is over; the data key of the private part goes.

Nothing here destroys evidence. A kit that cannot be moved is set aside for an hour and counted, and never
stops the others. Every append has a key made of slot, kit and type, so that a slot done twice writes once.

The engine and the ledger are those of the role ``custody_clerk``, which alone writes as the clock.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from custody import reading
from custody import tables as evidence
from custody.decision import Decided, Seen
from custody.event import write_moment
from custody.kit import Kit
from custody.ledger import Command, Ledger, MovedOn
from custody.people import CLOCK
from custody.protocol import Retention
from custody.refusal import Refused
from retention import tables as own
from retention.disposal import contest_over, destroy_key
from retention.keeping import cool_off
from retention.notice import NotNow, expire, fall_due
from retention.period import RetentionDataError
from retention.policy import Policy, load

EVERY: Final = timedelta(minutes=5)
ABANDONED: Final = timedelta(minutes=10)
SET_ASIDE: Final = timedelta(hours=1)
BACKUPS_KEPT: Final = timedelta(days=90)
"""How long a copy of a destroyed key may live on in a backup. The installation says it (CUSTODY_BACKUP_DAYS),
and destroys older backups; this is its default."""

EARLIEST_ZONE: Final = timedelta(hours=14)  # no local day begins more than this before the same day in UTC
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

log = logging.getLogger("custody.check")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one run of a slot did, in kits; a run that took the slot over counts what was left to do.

    ``failed`` were set aside, or are policies that could not be read.
    """

    notices_due: int = 0
    expired: int = 0
    cooled_off: int = 0
    keys_destroyed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One step: which kits are worth a look, and the decision on each of them."""

    figure: str
    type: str
    due: Select[str]
    decide: Callable[[Kit, datetime], Decided]


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
) -> Figures | None:
    """Carry out one slot; None where another replica was first.

    Raises ValueError for an instant that is no slot, and whatever the database raises when it is gone: the
    slot then stays unfinished and is taken over, or the next one does its work.
    """
    if newest_slot(slot, every) != slot:
        raise ValueError(f"{slot.isoformat()} is not a slot")
    began = await _claim(engine, slot)
    if began is None:
        return None
    async with engine.connect() as connection:
        now = await reading.now(connection)
        policies, unread = _read_policies(await reading.policies(connection))
    figures = Figures(failed=unread)
    for step in _steps(policies, now, backups_kept):
        async with engine.connect() as connection:
            waiting = (await connection.scalars(step.due)).all()
        for number in waiting:
            figure = await _move(ledger, engine, slot, step, number)
            if figure is not None:
                figures = replace(figures, **{figure: getattr(figures, figure) + 1})
    await _finish(engine, slot, began, figures)
    return figures


async def _claim(engine: AsyncEngine, slot: datetime) -> datetime | None:
    """Write the slot's row, or take over one that was abandoned. Answers when this run began."""
    row = insert(own.run).values(slot=slot, started_at=func.custody.clock())
    claim = row.on_conflict_do_update(
        index_elements=[own.run.c.slot],
        set_={"started_at": func.custody.clock()},
        where=own.run.c.finished_at.is_(None) & (own.run.c.started_at < func.custody.clock() - ABANDONED),
    ).returning(own.run.c.started_at)
    async with engine.begin() as connection:
        began = await connection.scalar(claim)
    return began if isinstance(began, datetime) else None


async def _finish(engine: AsyncEngine, slot: datetime, began: datetime, figures: Figures) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            update(own.run)
            .where(own.run.c.slot == slot, own.run.c.started_at == began)
            .values(finished_at=func.custody.clock(), **asdict(figures))
        )
        await connection.execute(delete(own.set_aside).where(own.set_aside.c.until <= func.custody.clock()))


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


def _steps(policies: tuple[Policy, ...], now: datetime, backups_kept: timedelta) -> list[_Step]:
    """The four steps. A query finds a few kits too many rather than one too few; the decision is exact."""
    k = evidence.kit.c
    aside = select(own.set_aside.c.kit).where(own.set_aside.c.until > now)
    kits = select(k.number).where(k.number.not_in(aside))
    early = (Retention.RUNNING, Retention.NOTICE_DUE)
    steps = [
        _Step(
            figure="notices_due",
            type="notice.due",
            due=kits.where(
                k.retention == Retention.RUNNING, k.notice_on <= (now + EARLIEST_ZONE).date()
            ).order_by(k.notice_on, k.number),
            decide=lambda kit, at: fall_due(kit, policies, at),
        ),
        _Step(
            figure="expired",
            type="term.expired",
            due=kits.where(k.retention == Retention.NOTICE_DUE, k.term_over_at <= now, k.holds == 0).order_by(
                k.term_over_at, k.number
            ),
            decide=lambda kit, at: expire(kit, policies, at),
        ),
        _Step(
            figure="cooled_off",
            type="destruction.cooled_off",
            due=kits.where(k.cooling_until <= now, k.retention.in_(early), k.holds == 0).order_by(
                k.cooling_until, k.number
            ),
            decide=lambda kit, at: cool_off(kit, policies, at),
        ),
    ]
    if policies:
        steps.append(_keys(kits, policies, now, backups_kept))
    return steps


def _keys(kits: Select[str], policies: tuple[Policy, ...], now: datetime, backups_kept: timedelta) -> _Step:
    """Kits disposed of at least the shortest contest period ago whose data key still stands."""
    k = evidence.kit.c
    shortest = min(_fewest_days(policy) for policy in policies)

    def decide(kit: Kit, at: datetime) -> Decided:
        if not contest_over(kit, policies, at):
            raise NotNow("The time for contesting the disposal is not over.")
        return destroy_key(kit, at, at + backups_kept)

    return _Step(
        figure="keys_destroyed",
        type="key.destroyed",
        due=kits.join(evidence.data_key, evidence.data_key.c.kit == k.number)
        .where(k.retention == Retention.DISPOSED, k.disposed_at <= now - timedelta(days=shortest))
        .order_by(k.disposed_at, k.number),
        decide=decide,
    )


def _fewest_days(policy: Policy) -> int:
    """No contest period of this policy is shorter than so many days, from whatever day it counts."""
    period = policy.contest.period
    return 365 * period.years + 28 * period.months + period.days


async def _move(ledger: Ledger, engine: AsyncEngine, slot: datetime, step: _Step, number: str) -> str | None:
    """One kit, one append. Answers which figure it counts for; None where there was nothing to do."""
    key = f"check:{write_moment(slot)}:{number}:{step.type}"
    command = Command(actor=CLOCK, key=key, digest=hashlib.sha256(key.encode()).digest(), kits=(number,))

    def decide(seen: Seen) -> Decided:
        return step.decide(seen.kit(number), seen.at)

    try:
        await ledger.carry_out(command, decide)
    except (NotNow, MovedOn):
        return None  # people were quicker; the next slot looks again
    except Exception as fault:  # whatever it is with this kit, the others go on
        log.error("a kit could not be moved (%s) and is set aside for an hour: %s", step.type, _name(fault))
        await _set_aside(engine, number, f"{step.type}: {_name(fault)}")
        return "failed"
    return step.figure


def _name(fault: Exception) -> str:
    """What is kept of a fault: its kind, and a refusal's sentence without the values in it."""
    return f"{type(fault).__name__}: {fault.message}" if isinstance(fault, Refused) else type(fault).__name__


async def _set_aside(engine: AsyncEngine, number: str, reason: str) -> None:
    row = insert(own.set_aside).values(kit=number, until=func.custody.clock() + SET_ASIDE, reason=reason)
    again = row.on_conflict_do_update(
        index_elements=[own.set_aside.c.kit],
        set_={"until": row.excluded.until, "reason": row.excluded.reason},
    )
    async with engine.begin() as connection:
        await connection.execute(again)
