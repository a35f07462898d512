"""The scheduled check as several replicas run it: racing for a slot, and now and then one of them is lost.

A replica is stopped at a certain kit, not at a certain moment: somebody else holds a lock on that kit, the
replica waits for it, and while it waits its task is cancelled, its connection cut, or its process killed.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy.ext.asyncio import create_async_engine

from custody.ledger import Ledger
from retention.check import ABANDONED, Figures, newest_slot, run_slot
from tests.custody.story import PlainMasters
from tests.simulation.house import House

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 10.0
WAITS: Final = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = 'custody_clerk'"
    " AND wait_event_type = 'Lock'"
)


@dataclass
class Watch:
    """What became of each slot: how many replicas finished it, and how many were lost in it."""

    finished: Counter[datetime] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    raced: int = 0
    moved: Counter[str] = field(default_factory=Counter)

    def done(self, slot: datetime, figures: Figures | None) -> None:
        if figures is not None:
            self.finished[slot] += 1
            for name in Figures.__slots__:
                self.moved[name] += getattr(figures, name)


async def run(house: House, watch: Watch, replicas: int = 1) -> datetime:
    """The newest slot, by so many replicas at once. Answers the slot."""
    slot = newest_slot(house.now())
    watch.raced += replicas > 1
    for figures in await asyncio.gather(
        *(run_slot(house.clerk, house.clerk.engine, slot) for _ in range(replicas))
    ):
        watch.done(slot, figures)
    return slot


async def run_and_lose(house: House, watch: Watch, how: str, kit: str) -> datetime:
    """A replica is lost at this kit (`cancelled`, `cut`, `killed`); after ten minutes another takes over."""
    slot = newest_slot(house.now())
    with _held(house, kit) as blocker:
        if how == "killed":
            await _killed(house, slot, blocker)
        else:
            await _stopped(house, watch, slot, how, blocker)
    if not watch.finished[slot]:
        watch.lost[how] += 1
        house.go_to(house.now() + ABANDONED + timedelta(seconds=1))
        watch.done(slot, await run_slot(house.clerk, house.clerk.engine, slot))
    return slot


@contextlib.contextmanager
def _held(house: House, kit: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(house.database.conninfo("superuser")) as blocker:
        blocker.execute("SELECT FROM custody.kit WHERE number = %s FOR UPDATE", [kit])
        blocker.execute("SELECT FROM custody.head WHERE subject = %s FOR UPDATE", [f"choices:{kit}"])
        yield blocker
        blocker.rollback()


async def _waiting(house: House, done: asyncio.Future[Any]) -> int | None:
    """Until a replica waits for the lock: its backend; None where it came through without."""
    for _ in range(round(PATIENCE / 0.005)):
        row = house.admin.execute(WAITS).fetchone()
        if row is not None:
            return int(row[0])
        if done.done():
            return None
        await asyncio.sleep(0.005)
    return None


async def _stopped(house: House, watch: Watch, slot: datetime, how: str, blocker: psycopg.Connection) -> None:
    """A replica in this process, with connections of its own."""
    pool = logging.getLogger("sqlalchemy.pool")
    pool.setLevel(logging.CRITICAL)  # it would tell of the connection that is cut here
    engine = create_async_engine(house.database.url("clerk"))
    task = asyncio.ensure_future(run_slot(Ledger(engine, PlainMasters()), engine, slot))
    try:
        pid = await _waiting(house, task)
        if pid is not None and how == "cut":
            house.admin.execute(sql.SQL("SELECT pg_terminate_backend({})").format(sql.Literal(pid)))
        elif pid is not None:
            task.cancel()
        blocker.rollback()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            watch.done(slot, await task)
    finally:
        await engine.dispose()
        pool.setLevel(logging.NOTSET)


async def _killed(house: House, slot: datetime, blocker: psycopg.Connection) -> None:
    """A replica in a process of its own, killed as the kernel kills."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.simulation.replicas",
        house.database.url("clerk"),
        slot.isoformat(),
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
    )
    ended = asyncio.ensure_future(process.wait())
    await _waiting(house, ended)
    if process.returncode is None:
        os.kill(process.pid, signal.SIGKILL)
    await ended
    blocker.rollback()


async def main(url: str, slot: str) -> None:
    engine = create_async_engine(url)
    await run_slot(Ledger(engine, PlainMasters()), engine, datetime.fromisoformat(slot))
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
