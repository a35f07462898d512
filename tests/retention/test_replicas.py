"""Several replicas of the check: real processes on one database, one of them killed in the middle."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from custody import batch
from custody.event import write_moment
from custody.ledger import Ledger
from retention.check import ABANDONED, EVERY, Figures, TakenOver, newest_slot, run_slot
from tests.conftest import Database
from tests.custody.story import NURSE, Story
from tests.retention.kept import kept

pytestmark = pytest.mark.anyio

Advance = Callable[[timedelta], None]
KITS: Final = 14
PATIENCE: Final = 120.0

REPLICA: Final = """
import asyncio, json, os, signal, sys
from dataclasses import asdict
from sqlalchemy.ext.asyncio import create_async_engine
from custody import batch
from custody.event import read_moment
from custody.ledger import Ledger
from retention.check import run_slot
from tests.custody.story import PlainMasters

url, slot, last = sys.argv[1], read_moment(sys.argv[2]), int(sys.argv[3])
append, done = batch.append, 0

async def until_killed(ledger, steps):
    global done
    written = await append(ledger, steps)
    done += len(written)
    if done == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return written

async def main():
    engine = create_async_engine(url)
    try:
        async with engine.connect():
            print("ready", flush=True)
        sys.stdin.readline()
        figures = await run_slot(Ledger(engine, PlainMasters()), engine, slot, at_once=1)
        print(json.dumps(figures and asdict(figures)), flush=True)
    finally:
        await engine.dispose()

batch.append = until_killed
asyncio.run(main())
"""


def replica(database: Database, slot: datetime, last: int = 0) -> subprocess.Popen[str]:
    """A process that is about to run the slot, one kit a transaction; it dies by its own hand after ``last``
    kits, if that is not 0."""
    return subprocess.Popen(
        [sys.executable, "-c", REPLICA, database.url("clerk"), write_moment(slot), str(last)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def says(process: subprocess.Popen[str]) -> Any:
    """What the replica did; None where another one was first."""
    told, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    return json.loads(told)


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


async def due(story: Story, advance: Advance, kits: int = KITS) -> tuple[list[str], datetime]:
    """Kits whose notice is due, and the slot of now."""
    numbers = [await kept(story) for _ in range(kits)]
    advance(timedelta(days=150))
    return numbers, newest_slot((await story.look(NURSE)).at)


def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    with database.connect("clerk") as connection:
        return connection.execute(query).fetchall()


NOTICES: Final = "SELECT kit, count(*) FROM custody.event WHERE type = 'notice.due' GROUP BY kit"


async def test_three_processes_at_one_slot_and_exactly_one_carries_it_out(
    story: Story, advance: Advance, database: Database
) -> None:
    numbers, slot = await due(story, advance)
    processes = [replica(database, slot) for _ in range(3)]
    for each in processes:
        ready(each)
    for each in processes:
        go(each)

    told = [says(each) for each in processes]

    assert sorted(x is None for x in told) == [False, True, True]
    (figures,) = (x for x in told if x is not None)
    assert figures["notices_due"] == KITS
    assert sorted(rows(database, NOTICES)) == sorted((number, 1) for number in numbers)
    assert rows(database, "SELECT notices_due, taken_over FROM retention.run") == [(KITS, 0)]


async def test_a_process_killed_in_the_middle_leaves_its_slot_to_another_one_after_ten_minutes(
    story: Story, advance: Advance, database: Database
) -> None:
    numbers, slot = await due(story, advance)
    killed = replica(database, slot, last=5)
    ready(killed)
    go(killed)
    killed.communicate(timeout=PATIENCE)
    assert killed.returncode == -signal.SIGKILL
    assert len(rows(database, NOTICES)) == 5

    assert await run_slot(story.clerk, story.clerk.engine, slot) is None  # it may still be at work
    advance(ABANDONED + timedelta(seconds=1))
    heirs = [replica(database, slot) for _ in range(2)]
    for each in heirs:
        ready(each)
    for each in heirs:
        go(each)
    told = [says(each) for each in heirs]

    assert sorted(x is None for x in told) == [False, True]
    (figures,) = (x for x in told if x is not None)
    assert figures["notices_due"] == KITS - 5
    assert sorted(rows(database, NOTICES)) == sorted((number, 1) for number in numbers)
    (run,) = rows(database, "SELECT taken_over, finished_at IS NOT NULL FROM retention.run")
    assert run == (1, True)


async def test_the_next_slot_does_what_a_killed_process_left(
    story: Story, advance: Advance, database: Database
) -> None:
    numbers, slot = await due(story, advance)
    killed = replica(database, slot, last=5)
    ready(killed)
    go(killed)
    killed.communicate(timeout=PATIENCE)

    advance(EVERY)
    done = await run_slot(story.clerk, story.clerk.engine, slot + EVERY)

    assert done == Figures(notices_due=KITS - 5)
    assert sorted(rows(database, NOTICES)) == sorted((number, 1) for number in numbers)


async def test_a_replica_that_slept_through_its_slot_finds_it_taken_over_and_stops(
    story: Story, advance: Advance, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers, slot = await due(story, advance)
    append = batch.append
    heirs: list[Figures | None] = []

    async def sleep_once(ledger: Ledger, steps: Any) -> frozenset[str]:
        if not heirs:
            heirs.append(None)
            advance(ABANDONED + timedelta(seconds=1))
            heirs[0] = await run_slot(story.clerk, story.clerk.engine, slot)
        return await append(ledger, steps)

    monkeypatch.setattr(batch, "append", sleep_once)

    with pytest.raises(TakenOver):
        await run_slot(story.clerk, story.clerk.engine, slot, at_once=1)

    assert heirs == [Figures(notices_due=KITS)]
    assert sorted(rows(database, NOTICES)) == sorted((number, 1) for number in numbers)
    assert rows(database, "SELECT notices_due, taken_over FROM retention.run") == [(KITS, 1)]


async def test_a_long_run_shows_that_it_lives_and_is_not_taken_over(
    story: Story, advance: Advance, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, slot = await due(story, advance, kits=20)
    append = batch.append
    others: list[Figures | None] = []

    async def slowly(ledger: Ledger, steps: Any) -> frozenset[str]:
        advance(timedelta(minutes=1))  # eight batches take eight minutes: the run is longer than ten
        others.append(await run_slot(story.clerk, story.clerk.engine, slot))
        return await append(ledger, steps)

    monkeypatch.setattr(batch, "append", slowly)

    assert await run_slot(story.clerk, story.clerk.engine, slot, at_once=1) == Figures(notices_due=20)
    assert others == [None] * 20
    assert rows(database, "SELECT notices_due, taken_over FROM retention.run") == [(20, 0)]
