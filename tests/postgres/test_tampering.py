"""Whatever a superuser changes with every guard switched off, the check finds, and names where."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit import log as logs
from audit import tables
from audit.keybox import new_keys
from custody.recheck import check
from desk.postgres import EmbeddedServer
from tests.audit.an_authority import found
from tests.conftest import MOVABLE, Database, Engines, _fresh
from tests.custody.story import begin
from tests.desk.test_clerk import PATIENCE, Clerks
from tests.postgres.forger import NAMED, Case, Row, forging
from tests.postgres.history import ORIGIN, History

NO_EVIDENCE: Final = {
    "desk.session": "who is signed in; rows end and are deleted",
    "desk.pending_sign_in": "a sign-in under way at a provider; rows live ten minutes",
    "desk.duty_credential": "what signs in in need; every use stands in the trail of its centre",
    "desk.attempt": "counts tries that failed; rows are deleted",
    "desk.database_kind": "keeps a demo and real kits apart; the service refuses the other kind at its start",
    "desk.alembic_version": "which revision the schema has; custody database check compares the schema",
    "retention.run": "when the scheduled check ran; what it decided stands in events",
    "retention.set_aside": "which kit the scheduled check leaves out for an hour",
    "retention.outbox": "what waits to be sent; that it was, and how it went, stands in the trail",
    "custody.proposal": "waits for a second person, who sees what they sign; the event then names both",
}
"""Tables from which nobody concludes what happened to a kit, and why."""

NOT_BOUND: Final = {
    "audit.pending.queued_at": "the order in a queue; the leaf's index is what counts",
    "audit.checkpoint.signed_at": "when the row was written; the note states the time that was signed",
    "audit.publication.published_at": "when the row was written",
    "audit.cosignature.received_at": "when the row was written; the line states the time that was signed",
    "audit.stamp.received_at": "when the row was written; the token states the time",
    "custody.event.idempotency_key": "tells a repeated command from a new one; says nothing of what happened",
    "custody.event.command": "the same: the digest of a command as it came in",
    "custody.card.code_hash": "which code opens a page stands in no event; alone it does only what protects",
    "custody.card.secret_hash": "of the second secret, told to the victim and written nowhere",
    "custody.card.issued_at": "when the row was written; card.issued states the time",
    "custody.card.stopped_at": "when the row was written; that it is stopped at all is compared",
    "custody.data_key.made_at": "when the row was written; the first private part's event states the time",
}
"""Columns of evidence that nothing outside the row states, and why that does no harm."""


NO_LESS_TRUE: Final = {
    "audit.checkpoint [passing events] removed": "each later one vouches for the same leaves",
    "audit.checkpoint [passing reads] removed": "each later one vouches for the same leaves",
    "audit.cosignature [events] removed": "the witness has its own; what is left is weaker and not false",
    "audit.cosignature [reads] removed": "the same",
    "audit.stamp [events2] removed": "the renewal is missing, as if it had not been made; the first stands",
    "audit.stamp [reads2] removed": "the same",
    "audit.pending [] doubled": "what waits twice gets one leaf",
}
"""Rows without which, or with which twice, everything that is left is still true."""


@pytest.fixture(scope="module")
def history(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """One history for all tests of this file, which leave it as it is; and a backup from its midst."""
    folder = tmp_path_factory.mktemp("history")
    for database in _fresh(server, MOVABLE):
        told = History(database=database, folder=folder / "keys", authority=found(folder / "authority"))
        asyncio.run(told.begun())
        backup = next(backups := _fresh(server, database.name))
        asyncio.run(told.ended())
        told.backup = backup
        yield told
        assert next(backups, None) is None  # dropped


@pytest.fixture
async def superuser(history: History) -> AsyncIterator[AsyncEngine]:
    engines = Engines(history.database)
    yield engines.superuser
    await engines.dispose()


@pytest.mark.anyio
async def test_a_history_that_nobody_touched_is_found_in_order(history: History) -> None:
    engines = Engines(history.database)
    verdict = await check(engines.clerk, history.outside())
    await engines.dispose()
    assert (verdict.wrong, verdict.remarks) == (None, ())


def bound(row: Row) -> list[str]:
    """The columns of a row that the check answers for."""
    return [column for column in row.table.columns if f"{row.table.name}.{column}" not in NOT_BOUND]


async def missed(
    history: History, superuser: AsyncEngine, cases: Callable[[Sequence[Row]], Iterable[Case]]
) -> dict[str, str | None]:
    """Which cases the check did not find, or found without saying where."""
    left: dict[str, str | None] = {}
    async with forging(superuser, history.outside()) as forger:
        for table in forger.tables:
            if table.name not in NO_EVIDENCE:
                rows = await forger.rows(table)
                assert rows, f"the history has nothing in {table.name}"
                left |= await forger.missed(list(cases(rows)))
    return left


@pytest.mark.anyio
async def test_every_column_of_every_kind_of_row_is_found_when_it_is_altered(
    history: History, superuser: AsyncEngine
) -> None:
    def cases(rows: Sequence[Row]) -> Iterator[Case]:
        for row in rows:
            for column in bound(row):
                yield from row.altered(column)

    left = await missed(history, superuser, cases)
    gone = f"custody.private_part [{history.disposed}] sealed altered"  # nobody can read it any more
    assert left == {gone: None}


@pytest.mark.anyio
async def test_a_row_that_is_gone_or_too_many_is_found(history: History, superuser: AsyncEngine) -> None:
    def cases(rows: Sequence[Row]) -> Iterator[Case]:
        for row in rows:
            yield row.removed()
            yield from row.doubled()

    left = await missed(history, superuser, cases)
    assert left == dict.fromkeys(NO_LESS_TRUE)


@pytest.mark.anyio
async def test_rows_whose_contents_are_swapped_are_found(history: History, superuser: AsyncEngine) -> None:
    left: dict[str, str | None] = {}
    swapped = set()
    async with forging(superuser, history.outside()) as forger:
        for table in forger.tables:
            columns = bound(Row(table, "", "", {}))
            if table.name in NO_EVIDENCE or table.name == "custody.card" or not table.key:
                continue  # two cards swapped: see NOT_BOUND
            pairs = await forger.neighbours(table, columns)
            if table.name == "custody.private_part":  # those whose key was destroyed nobody can read
                pairs = [pair for pair in pairs if history.disposed not in {row.told["kit"] for row in pair}]
            swapped |= {table.name for _ in pairs}
            left |= await forger.missed([one.swapped(two) for one, two in pairs])
    assert left == {}
    assert len(swapped) >= 20


BY_HAND: Final = {
    "two numbers of a trail": (
        "UPDATE custody.event SET number = 9 - number WHERE subject = :choices AND number IN (4, 5)",
        "number",
    ),
    "two times of a trail": (
        "UPDATE custody.event e SET recorded_at = o.recorded_at FROM custody.event o"
        " WHERE e.subject = :custody AND o.subject = :custody AND (e.number, o.number) IN ((1, 5), (5, 1))",
        "its recorded_at is stored as",
    ),
    "two leaves": (
        "UPDATE audit.leaf SET index = 51 - index WHERE log = 'events' AND index IN (25, 26)",
        "Tile 0/0 of the log events",
    ),
    "the newest leaves": (
        "DELETE FROM audit.leaf WHERE log = 'events' AND index > 500",
        "it was taken back",
    ),
    "an event passed off as padding": (
        "WITH gone AS (DELETE FROM custody.event WHERE subject = :custody AND number = 5 RETURNING digest)"
        " INSERT INTO audit.padding SELECT 'events', l.index, l.digest FROM audit.leaf l, gone"
        " WHERE l.digest = gone.digest",
        "is declared as padding, and is not the digest of its salt",
    ),
    "a card that was stopped without a word": (
        "UPDATE custody.card SET stopped_at = now() WHERE kit = :kit",
        "card: stored 0 that open, the events say 1 opens",
    ),
    "a private part of another event": (
        "UPDATE custody.private_part p SET sealed = o.sealed FROM custody.private_part o"
        " WHERE p.kit = :kit AND o.kit = :kit AND p.event <> o.event",
        "is not the one that the event names",
    ),
    "a destroyed key that is back": (
        "INSERT INTO custody.data_key SELECT :gone, centre, wrapped, made_at FROM custody.data_key LIMIT 1",
        "data_key: stored 1 keys, the events say it was destroyed",
    ),
    "a key that nobody destroyed": (
        "DELETE FROM custody.data_key WHERE kit = :kit",
        "data_key: stored 0 keys, the events say one",
    ),
}


@pytest.mark.anyio
async def test_what_is_reordered_or_passed_off_as_something_else_is_found(
    history: History, superuser: AsyncEngine
) -> None:
    kit = history.justice
    values = {"kit": kit, "gone": history.disposed, "choices": f"choices:{kit}", "custody": f"custody:{kit}"}
    answers = {}
    async with forging(superuser, history.outside()) as forger:
        for name, (statement, words) in BY_HAND.items():
            used = {key: value for key, value in values.items() if f":{key}" in statement}
            told = await forger.found(Case(name, [(statement, used)]))
            answers[name] = words if told and words in told and NAMED.search(told) else told
    assert answers == {name: words for name, (_, words) in BY_HAND.items()}


@pytest.mark.anyio
async def test_the_newest_of_everything_cut_off_is_found(history: History, superuser: AsyncEngine) -> None:
    """Events, leaves, tiles, checkpoints and what refers to them, back to the first publication."""
    async with forging(superuser, history.outside()) as forger:
        ((size,),) = await forger.run("SELECT min(size) FROM audit.publication WHERE log = 'events'")
        await forger.run(
            "DELETE FROM custody.event WHERE digest IN (SELECT digest FROM audit.leaf WHERE log = 'events'"
            " AND index >= :size)",
            size=size,
        )
        await forger.run("DELETE FROM audit.leaf WHERE log = 'events' AND index >= :size", size=size)
        await forger.run(
            "DELETE FROM audit.tile WHERE log = 'events' AND level = 0 AND index >= :size / 256", size=size
        )
        for table in ("checkpoint", "publication", "cosignature", "stamp"):
            await forger.run(f"DELETE FROM audit.{table} WHERE log = 'events' AND size > :size", size=size)
        verdict = await check(forger.connection, forger.outside)
    assert verdict.wrong is not None
    assert "leaves of the log events were signed" in verdict.wrong
    assert f"but it has {size}: it was taken back" in verdict.wrong


@pytest.mark.anyio
async def test_an_older_backup_agrees_with_itself_and_not_with_the_note_beside_the_key(
    history: History,
) -> None:
    engines = Engines(history.backup)
    outside = history.outside()
    alone = await check(engines.clerk, replace(outside, notes={}))
    beside = await check(engines.clerk, outside)
    await engines.dispose()
    assert alone.wrong is None
    assert beside.wrong is not None
    assert "leaves of the log events were signed, but it has 256: it was taken back" in beside.wrong


@pytest.mark.anyio
async def test_checkpoints_signed_again_with_a_wrong_key_are_found(
    history: History, superuser: AsyncEngine
) -> None:
    async with forging(superuser, history.outside()) as forger:
        for name in (ORIGIN, f"{ORIGIN}/2"):
            async with forger.connection.begin_nested() as savepoint:
                await forger.resign(new_keys(name))
                verdict = await check(forger.connection, replace(forger.outside, notes={}))
                await savepoint.rollback()
            assert verdict.wrong is not None
            assert verdict.wrong.startswith(
                "The checkpoint of 0 leaves of the log events is not to be trusted"
            )


@pytest.mark.anyio
async def test_a_history_forged_from_the_events_to_the_signatures_is_given_away_by_the_key_alone(
    history: History, superuser: AsyncEngine
) -> None:
    """The database then agrees with itself in every row: nothing inside it can show what happened."""
    outside = history.outside()
    async with forging(superuser, outside) as forger:
        await forger.rewrite(history.justice, "S-0001", "S-6666", new_keys(ORIGIN))
        blind = await check(forger.connection, replace(outside, keys={}, notes={}))
        seeing = await check(forger.connection, replace(outside, notes={}))
    assert blind.wrong is None
    assert seeing.wrong is not None
    assert seeing.wrong.startswith("The checkpoint of 0 leaves of the log events is not to be trusted")


@pytest.mark.anyio
async def test_what_no_signature_covers_yet_is_a_fraction_of_a_second(
    database: Database, engines: Engines, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stated exception: until its leaf is signed, an event could be exchanged unseen. How long that is,
    with a clerk at work, is measured from the commit to the checkpoint, and printed."""
    story = await begin(engines.service, engines.clerk)
    clerks = Clerks(database, tmp_path)
    clerk = await clerks.leading()
    waits = []
    try:
        for _ in range(20):
            await story.registered(packages=1)
            committed = time.monotonic()
            while await _unsigned(engines):
                assert time.monotonic() - committed < PATIENCE
                await asyncio.sleep(0.005)
            waits.append(time.monotonic() - committed)
    finally:
        assert clerk.stop() == 0
    waits.sort()
    with capsys.disabled():
        print(
            f" (commit to checkpoint: median {waits[10] * 1000:.0f} ms, longest {waits[-1] * 1000:.0f} ms)",
            end="",
        )


async def _unsigned(engines: Engines) -> bool:
    async with engines.clerk.connect() as connection:
        signed = await logs.signed_size(connection, "events") or 0
        waiting = select(func.count()).select_from(tables.pending).where(tables.pending.c.log == "events")
        return bool(await connection.scalar(waiting)) or signed < await logs.size(connection, "events")
