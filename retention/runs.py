"""What the scheduled check keeps about itself: who runs a slot, what it did, what is set aside, what is late.

The row of a slot is its claim. Whoever writes it first carries the slot out, and says so again and again
while at work (:func:`go_on`). A row that was neither finished nor renewed for ten minutes was abandoned:
its replica is gone, and another one may take it over. A replica that comes back to a slot that was taken
over is told, and stops; whatever both of them wrote was written once, for every append has a key.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import RowMapping, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from retention import tables as own

ABANDONED: Final = timedelta(minutes=10)
SET_ASIDE: Final = timedelta(hours=1)
SLOWEST: Final = timedelta(minutes=15)
"""After so long without a run the check is late: three slots came and nobody carried one out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one run of a slot did, in kits; a run that took the slot over counts what was left to do.

    ``failed`` were set aside, or are policies that could not be read.
    """

    notices_due: int = 0
    repeated: int = 0
    expired: int = 0
    cooled_off: int = 0
    keys_destroyed: int = 0
    failed: int = 0

    @property
    def moved(self) -> int:
        """Kits that were moved by one of the steps."""
        return self.notices_due + self.repeated + self.expired + self.cooled_off + self.keys_destroyed


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One slot as it was carried out. ``finished_at`` None: under way, or abandoned."""

    slot: datetime
    started_at: datetime
    finished_at: datetime | None
    taken_over: int
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What the runs of one day did together."""

    on: date
    runs: int
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """How many kits wait for one kind of step although it was due, and since when at the longest."""

    kind: str
    kits: int
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """A kit that the check could not move, why, and when it tries again."""

    kit: str
    until: datetime
    reason: str


async def by_index(connection: AsyncConnection) -> None:
    """Have this transaction look for what is due in the indexes made for it.

    They hold few rows that are due and many that are not. The planner does not know that: it takes a past day
    of notice and a running term for independent, expects a fifth of a million kits, and would read them all.
    """
    for way in ("seqscan", "hashjoin", "mergejoin"):
        await connection.execute(text(f"SET LOCAL enable_{way} = off"))


# --- the claim --------------------------------------------------------------------------------------


async def claim(engine: AsyncEngine, slot: datetime) -> datetime | None:
    """Write the slot's row, or take over one that was abandoned. Answers when this run began, which is its
    token; None where another replica has the slot."""
    row = insert(own.run).values(slot=slot, started_at=func.custody.clock(), alive_at=func.custody.clock())
    last = func.coalesce(own.run.c.alive_at, own.run.c.started_at)
    claimed = row.on_conflict_do_update(
        index_elements=[own.run.c.slot],
        set_={
            "started_at": func.custody.clock(),
            "alive_at": func.custody.clock(),
            "taken_over": own.run.c.taken_over + 1,
        },
        where=own.run.c.finished_at.is_(None) & (last < func.custody.clock() - ABANDONED),
    ).returning(own.run.c.started_at)
    async with engine.begin() as connection:
        began = await connection.scalar(claimed)
    return began if isinstance(began, datetime) else None


def _added(figures: Figures) -> dict[str, Any]:
    return {name: own.run.c[name] + count for name, count in asdict(figures).items() if count}


async def go_on(engine: AsyncEngine, slot: datetime, began: datetime, done: Figures) -> bool:
    """Say that this run is still at work, and add what it did since. False where it was taken over."""
    async with engine.begin() as connection:
        found = await connection.scalar(
            update(own.run)
            .where(own.run.c.slot == slot, own.run.c.started_at == began, own.run.c.finished_at.is_(None))
            .values(alive_at=func.custody.clock(), **_added(done))
            .returning(own.run.c.slot)
        )
    return found is not None


async def finish(engine: AsyncEngine, slot: datetime, began: datetime, done: Figures) -> None:
    """Say that the slot is carried out. What was set aside long enough is forgotten."""
    async with engine.begin() as connection:
        await connection.execute(
            update(own.run)
            .where(own.run.c.slot == slot, own.run.c.started_at == began, own.run.c.finished_at.is_(None))
            .values(finished_at=func.custody.clock(), alive_at=func.custody.clock(), **_added(done))
        )
        await connection.execute(delete(own.set_aside).where(own.set_aside.c.until <= func.custody.clock()))


async def put_aside(engine: AsyncEngine, kit: str, reason: str) -> None:
    """Leave this kit alone for an hour."""
    row = insert(own.set_aside).values(kit=kit, until=func.custody.clock() + SET_ASIDE, reason=reason)
    again = row.on_conflict_do_update(
        index_elements=[own.set_aside.c.kit],
        set_={"until": row.excluded.until, "reason": row.excluded.reason},
    )
    async with engine.begin() as connection:
        await connection.execute(again)


# --- what people see ----------------------------------------------------------------------------------


_COUNTS: Final = tuple(Figures.__dataclass_fields__)


def _figures(row: RowMapping) -> Figures:
    return Figures(**{name: int(row[name]) for name in _COUNTS})


async def newest(connection: AsyncConnection, most: int = 20) -> Sequence[Run]:
    """The last runs, newest first."""
    rows = await connection.execute(select(own.run).order_by(own.run.c.slot.desc()).limit(most))
    return [
        Run(
            slot=row["slot"],
            started_at=row["started_at"],
            finished_at=row["finished_at"],
            taken_over=row["taken_over"],
            figures=_figures(row),
        )
        for row in rows.mappings()
    ]


async def last_finished(connection: AsyncConnection) -> Run | None:
    """The newest slot that was carried out."""
    rows = await connection.execute(
        select(own.run).where(own.run.c.finished_at.is_not(None)).order_by(own.run.c.slot.desc()).limit(1)
    )
    row = rows.mappings().first()
    if row is None:
        return None
    return Run(
        slot=row["slot"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        taken_over=row["taken_over"],
        figures=_figures(row),
    )


async def by_day(connection: AsyncConnection, since: datetime, zone: str) -> Sequence[Day]:
    """What was done on each day (in this zone) from ``since``, in order; days without a run are absent."""
    on = func.date(func.timezone(zone, own.run.c.slot)).label("on")
    sums = [func.sum(own.run.c[name]).label(name) for name in _COUNTS]
    rows = await connection.execute(
        select(on, func.count().label("runs"), *sums).where(own.run.c.slot >= since).group_by(on).order_by(on)
    )
    return [Day(on=row["on"], runs=row["runs"], figures=_figures(row)) for row in rows.mappings()]


async def aside(connection: AsyncConnection) -> Sequence[Aside]:
    """Which kits are set aside and why: of those that the asker may know of (row-level security)."""
    rows = await connection.execute(
        select(own.set_aside).order_by(own.set_aside.c.until, own.set_aside.c.kit)
    )
    return [Aside(kit=row["kit"], until=row["until"], reason=row["reason"]) for row in rows.mappings()]


async def late(connection: AsyncConnection, before: datetime) -> Sequence[Late]:
    """What was due before this moment and is not done, by kind: counts alone, of the asker's centre; for an
    auditor of all. Kinds without a kit are told, too."""
    await by_index(connection)
    rows = await connection.execute(
        text("SELECT kind, kits, since FROM retention.late(:before)"), {"before": before}
    )
    return [Late(kind=kind, kits=kits, since=since) for kind, kits, since in rows]


def is_late(last: Run | None, now: datetime) -> bool:
    """Whether the check is late: no slot of the last fifteen minutes was carried out."""
    return last is None or last.slot < now - SLOWEST
