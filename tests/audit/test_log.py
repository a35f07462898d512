"""Integration and proofs on a real PostgreSQL, as the roles that do them in production."""

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, Engine, event, select, text
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from audit import log, merkle, tables, tile
from audit.log import Integrated
from tests.audit.whole_log import digests, grow, leaves, put, queue
from tests.conftest import Database, Engines

pytestmark = pytest.mark.anyio


class PowerCut(Exception):
    """What a test raises where the machine is imagined to fail."""


async def test_what_is_queued_gets_its_place_once_and_the_queue_is_empty_afterwards(engines: Engines) -> None:
    await queue(engines.superuser, digests(0, 300))
    async with engines.clerk.begin() as transaction:
        done = await log.integrate(transaction, "events")
    assert done == Integrated(first=0, added=300, size=300, more=False)
    assert sorted(await leaves(engines.auditor)) == sorted(digests(0, 300))

    async with engines.clerk.begin() as transaction:
        assert await log.integrate(transaction, "events") == Integrated(
            first=300, added=0, size=300, more=False
        )


async def test_the_two_logs_share_nothing(engines: Engines) -> None:
    await queue(engines.superuser, digests(0, 5), "events")
    await grow(engines.superuser, engines.clerk, digests(0, 3), "reads")
    assert await leaves(engines.auditor, "events") == []
    assert len(await leaves(engines.auditor, "reads")) == 3


async def test_a_long_queue_is_taken_in_batches(engines: Engines) -> None:
    await queue(engines.superuser, digests(0, 25))
    turns = []
    for _ in range(3):
        async with engines.clerk.begin() as transaction:
            turns.append(await log.integrate(transaction, "events", batch=10))
    assert [(turn.first, turn.added, turn.more) for turn in turns] == [
        (0, 10, True),
        (10, 10, True),
        (20, 5, False),
    ]
    assert len(await leaves(engines.auditor)) == 25


async def test_a_digest_queued_twice_gets_one_leaf(engines: Engines) -> None:
    await grow(engines.superuser, engines.clerk, digests(0, 4))
    await grow(engines.superuser, engines.clerk, digests(2, 7) + digests(5, 6))
    assert sorted(await leaves(engines.auditor)) == sorted(digests(0, 7))


async def test_a_transaction_that_commits_late_is_not_skipped(engines: Engines) -> None:
    async with engines.superuser.connect() as slow:
        transaction = await slow.begin()
        await put(slow, digests(0, 1))
        await grow(engines.superuser, engines.clerk, digests(1, 4))
        assert len(await leaves(engines.auditor)) == 3
        await transaction.commit()
    async with engines.clerk.begin() as next_turn:
        assert (await log.integrate(next_turn, "events")).added == 1
    assert (await leaves(engines.auditor))[3] == digests(0, 1)[0]


async def test_of_two_integrators_the_second_waits_and_continues_where_the_first_ended(
    engines: Engines, database: Database
) -> None:
    await queue(engines.superuser, digests(0, 6))
    async with engines.clerk.connect() as first:
        transaction = await first.begin()
        await log.integrate(first, "events", batch=4)

        async def second() -> Integrated:
            async with engines.clerk.begin() as other:
                return await log.integrate(other, "events")

        waiting = asyncio.create_task(second())
        await until_someone_waits_for_a_lock(engines.superuser)
        assert not waiting.done()
        await transaction.commit()
        assert await waiting == Integrated(first=4, added=2, size=6, more=False)
    assert sorted(await leaves(engines.auditor)) == sorted(digests(0, 6))


async def until_someone_waits_for_a_lock(superuser: AsyncEngine) -> None:
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    async with superuser.connect() as connection:
        with anyio.fail_after(30):
            while not await connection.scalar(waiting):  # noqa: ASYNC110 (what is waited for is in PostgreSQL)
                await anyio.sleep(0.01)


async def test_integrators_working_at_the_same_time_make_one_whole_log(engines: Engines) -> None:
    async def work() -> None:
        while True:
            async with engines.clerk.begin() as transaction:
                if not (await log.integrate(transaction, "events", batch=37)).more:
                    return

    await queue(engines.superuser, digests(0, 600))
    await asyncio.gather(work(), work(), work())
    assert sorted(await leaves(engines.auditor)) == sorted(digests(0, 600))


# Each row fails at one place: after the n-th statement, before the commit (lost), after it (persisted, but
# reported lost).
FAULTS = [
    "statement 1",
    "statement 2",
    "statement 3",
    "statement 4",
    "statement 5",
    "commit lost",
    "commit persisted",
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_crash_at_any_write_leaves_a_whole_log_and_loses_no_digest(
    engines: Engines, database: Database, fault: str
) -> None:
    await grow(engines.superuser, engines.clerk, digests(0, 250))
    await queue(engines.superuser, digests(250, 560))
    crashing = create_async_engine(database.url("clerk"))
    fail_at(crashing.sync_engine, fault)
    with pytest.raises(PowerCut):
        async with crashing.begin() as transaction:
            await log.integrate(transaction, "events")
    await crashing.dispose()

    assert len(await leaves(engines.auditor)) == (560 if fault == "commit persisted" else 250)
    async with engines.clerk.begin() as transaction:
        await log.integrate(transaction, "events")
    assert sorted(await leaves(engines.auditor)) == sorted(digests(0, 560))


def fail_at(engine: Engine, fault: str) -> None:
    statements = 0

    def after_statement(_: Connection, cursor: DBAPICursor, *rest: Any) -> None:
        nonlocal statements
        statements += 1
        if fault == f"statement {statements}":
            raise PowerCut

    def at_commit(connection: Connection) -> None:
        if fault == "commit persisted":
            connection.connection.dbapi_connection.commit()  # type: ignore[union-attr]
        if fault.startswith("commit"):
            raise PowerCut

    event.listen(engine, "after_cursor_execute", after_statement)
    event.listen(engine, "commit", at_commit)


async def test_every_leaf_is_proved_out_of_the_tiles(engines: Engines) -> None:
    for start, end in ((0, 1), (1, 256), (256, 300), (300, 700)):
        await grow(engines.superuser, engines.clerk, digests(start, end))
    known = await leaves(engines.auditor)
    async with engines.service.connect() as connection:
        assert await log.size(connection, "events") == 700
        proofs = await log.prove_inclusions(connection, "events", known, 700)
        root = await log.root(connection, "events", 700)
        for index, digest in enumerate(known):
            proof = proofs[digest]
            assert (proof.index, proof.size, proof.root) == (index, 700, root)
            merkle.verify_inclusion(merkle.leaf_hash(digest), index, 700, proof.hashes, root)
        assert await log.index_of(connection, "events", known[345]) == 345
        assert await log.prove_inclusion(connection, "events", known[345], 345) is None
        assert await log.prove_inclusion(connection, "events", known[345], 346) is not None
        assert await log.prove_inclusion(connection, "events", bytes(32), 700) is None


async def test_growth_between_any_two_sizes_is_proved_out_of_the_tiles(engines: Engines) -> None:
    await grow(engines.superuser, engines.clerk, digests(0, 530))
    async with engines.service.connect() as connection:
        for old, new in (
            (0, 0),
            (0, 530),
            (1, 2),
            (255, 256),
            (256, 257),
            (257, 530),
            (512, 530),
            (530, 530),
        ):
            proof = await log.prove_consistency(connection, "events", old, new)
            merkle.verify_consistency(old, proof.old_root, new, proof.new_root, proof.hashes)
        with pytest.raises(tile.MissingTile):
            await log.prove_consistency(connection, "events", 1, 531)


async def test_before_the_first_checkpoint_nothing_is_proved(engines: Engines) -> None:
    await grow(engines.superuser, engines.clerk, digests(0, 3))
    async with engines.service.connect() as connection:
        assert await log.last_checkpoint(connection, "events") is None
        assert await log.signed_size(connection, "events") is None
        assert await log.prove(connection, "events", digests(0, 3)) == {}


async def test_integration_stops_where_the_stored_tiles_do_not_fit_the_leaves(
    engines: Engines, database: Database
) -> None:
    await grow(engines.superuser, engines.clerk, digests(0, 3))
    with database.connect("superuser") as connection:
        connection.execute("INSERT INTO audit.leaf VALUES ('events', 3, sha256('planted'))")
    await queue(engines.superuser, digests(4, 5))
    async with engines.clerk.connect() as clerk:
        with pytest.raises(tile.MissingTile, match="has 3 hashes, in a tree of 4 leaves it must have 4"):
            await log.integrate(clerk, "events")


FORBIDDEN_TO_ALL = [
    "UPDATE audit.leaf SET digest = sha256('x')",
    "DELETE FROM audit.leaf",
    "TRUNCATE audit.leaf",
    "UPDATE audit.checkpoint SET note = 'x'",
    "DELETE FROM audit.checkpoint",
    "TRUNCATE audit.checkpoint",
    "DELETE FROM audit.tile",
    "TRUNCATE audit.tile",
    "TRUNCATE audit.pending",
    "UPDATE audit.tile SET hashes = substring(hashes FROM 33) || sha256('x')",
    "UPDATE audit.tile SET hashes = substring(hashes FROM 1 FOR 32)",
    "UPDATE audit.tile SET index = 1",
    "INSERT INTO audit.leaf VALUES ('events', 4, sha256('x'))",
    "INSERT INTO audit.leaf VALUES ('events', 3, sha256('x')), ('events', 5, sha256('y'))",
    "INSERT INTO audit.leaf VALUES ('reads', 1, sha256('x'))",
    "INSERT INTO audit.leaf VALUES ('events', 2, sha256('x'))",
    "INSERT INTO audit.leaf SELECT log, 3, digest FROM audit.leaf WHERE index = 0",
    "INSERT INTO audit.leaf VALUES ('events', 3, 'short')",
    "INSERT INTO audit.pending VALUES ('events', 'short')",
    "INSERT INTO audit.pending VALUES ('Events!', sha256('x'))",
    "INSERT INTO audit.tile VALUES ('events', 1, 0, 'not whole hashes')",
    "INSERT INTO audit.checkpoint VALUES ('events', 1, sha256('x'), 'a smaller one')",
    "INSERT INTO audit.checkpoint VALUES ('events', 2, sha256('x'), 'the same size again')",
    "INSERT INTO audit.checkpoint VALUES ('events', 4, sha256('x'), 'more than there is')",
]


@pytest.mark.parametrize("replica", [False, True])
async def test_even_a_superuser_and_even_in_replica_mode_cannot_change_the_log(
    engines: Engines, database: Database, replica: bool
) -> None:
    await grow(engines.superuser, engines.clerk, digests(0, 3))
    with database.connect("superuser") as connection:
        connection.execute("INSERT INTO audit.checkpoint VALUES ('events', 2, sha256('root'), 'note')")
        if replica:
            connection.execute("SET session_replication_role = replica")
        for statement in FORBIDDEN_TO_ALL:
            try:
                connection.execute(statement)
            except psycopg.errors.IntegrityError:
                continue
            pytest.fail(f"not refused: {statement}")
    assert sorted(await leaves(engines.auditor)) == sorted(digests(0, 3))


# What each role may do besides nothing at all; everything else must be refused.
LEFT_THE_HOUSE = ("padding", "publication", "cosignature", "stamp")
READING = {(table, "SELECT") for table in ("leaf", "tile", "checkpoint", *LEFT_THE_HOUSE)}
RIGHTS = {
    "service": READING,
    "auditor": READING,
    "clerk": {
        *READING,
        *((table, "INSERT") for table in LEFT_THE_HOUSE),
        ("pending", "SELECT"),
        ("pending", "DELETE"),
        ("leaf", "INSERT"),
        ("tile", "INSERT"),
        ("tile", "UPDATE"),
        ("checkpoint", "INSERT"),
    },
}


@pytest.mark.parametrize("role", RIGHTS)
async def test_a_role_has_these_rights_on_the_log_and_no_others(database: Database, role: str) -> None:
    with database.connect("superuser") as connection:
        rows = connection.execute(
            "SELECT relname, privilege FROM pg_class, unnest(%s::text[]) AS privilege"
            " WHERE relnamespace = 'audit'::regnamespace AND relkind = 'r'"
            " AND has_table_privilege(%s, pg_class.oid, privilege)",
            [
                ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"],
                f"custody_{role}",
            ],
        ).fetchall()
    assert set(rows) == RIGHTS[role]


async def test_every_guard_is_always_on_and_belongs_to_the_owner(database: Database) -> None:
    with database.connect("superuser") as connection:
        triggers = connection.execute(
            "SELECT tgname, tgenabled FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid"
            " WHERE c.relnamespace = 'audit'::regnamespace AND NOT tgisinternal"
        ).fetchall()
        functions = connection.execute(
            "SELECT proname, proowner::regrole::text, proconfig FROM pg_proc"
            " WHERE pronamespace = 'audit'::regnamespace"
        ).fetchall()
    assert len(triggers) == 18
    assert {enabled for _, enabled in triggers} == {"A"}
    assert sorted(name for name, _, _ in functions) == [
        "checkpoint_grows",
        "leaf_is_next",
        "refuse_change",
        "tile_grows",
    ]
    assert {owner for _, owner, _ in functions} == {"custody_owner"}
    assert all(config == ["search_path=pg_catalog, pg_temp"] for _, _, config in functions)


async def test_the_tables_in_the_code_are_the_tables_in_the_database(engines: Engines) -> None:
    def compare(connection: Connection) -> list[Any]:
        def ours(name: str | None, kind: str, _: object) -> bool:
            return name == "audit" if kind == "schema" else True

        options: dict[str, Callable[..., bool] | bool] = {
            "include_schemas": True,
            "include_name": ours,
            "compare_server_default": True,
        }
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata))

    async with engines.superuser.connect() as connection:
        assert await connection.run_sync(compare) == []
        checks = await connection.scalars(
            text(
                "SELECT conname FROM pg_constraint"
                " WHERE connamespace = 'audit'::regnamespace AND contype = 'c'"
            )
        )
        assert set(checks) == {
            constraint.name
            for table in tables.metadata.tables.values()
            for constraint in table.constraints
            if isinstance(constraint, CheckConstraint)
        }


async def test_a_rolled_back_queue_entry_never_reaches_the_log(engines: Engines) -> None:
    async with engines.superuser.connect() as connection:
        transaction = await connection.begin()
        await put(connection, digests(0, 1))
        await transaction.rollback()
    await grow(engines.superuser, engines.clerk, digests(1, 2))
    async with engines.service.connect() as connection:
        assert list(await connection.scalars(select(tables.leaf.c.digest))) == digests(1, 2)
