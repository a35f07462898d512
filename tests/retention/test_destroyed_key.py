"""What the database tells without the master key, and what is left when a kit's key was destroyed."""

import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from audit.key import write_keys
from custody import bundle, delivery
from custody.examination import check as examined
from custody.ledger import Ledger
from custody.protocol import Trail
from custody.recheck import Outside
from custody.recheck import check as check_all
from desk.keys import known_keys
from retention.check import BACKUPS_KEPT
from tests.conftest import Database, Engines
from tests.custody.story import NURSE, PlainMasters, begin
from tests.desk.signing import settings_for, sign_all
from tests.restore import copy_of
from tests.retention.kept import adopt, check, destroyed, kept, kept_until_approved

pytestmark = pytest.mark.anyio


def dump_of(database: Database) -> bytes:
    """All of the database as pg_dump writes it."""
    command = [str(database.server.binaries.folder / "pg_dump"), "--dbname", database.conninfo("superuser")]
    return subprocess.run(command, capture_output=True, check=True).stdout


async def exported(engines: Engines, number: str) -> bytes:
    async with engines.clerk.connect() as connection:
        return await delivery.collect(connection, number, Trail.CUSTODY)


async def test_a_dump_of_the_database_has_no_value_of_a_private_part_in_any_spelling(
    engines: Engines, database: Database
) -> None:
    story = await begin(engines.service, engines.clerk)
    await adopt(story)
    number = await kept(story)
    part = await story.ledger.read_private(NURSE, await story.kit(number))
    assert {"hospital_reference", "item 1"} <= set(part)
    parts = await story.ledger.private_parts(NURSE, await story.kit(number))
    dumped = dump_of(database)
    assert number.encode() in dumped
    salts = [field.salt.hex() for _, found in parts for field in found.fields]
    assert len(set(salts)) == len(salts) == len(part)
    for hidden in (*part.values(), *salts):
        assert hidden.encode() not in dumped, hidden
        assert hidden.encode().hex().encode() not in dumped, hidden


async def test_without_its_key_nobody_reads_the_part_every_proof_holds_and_a_backup_opens_until_it_lapses(
    engines: Engines, database: Database, advance: Callable[[timedelta], None], tmp_path: Path
) -> None:
    story = await begin(engines.service, engines.clerk)
    await adopt(story)
    number = await kept_until_approved(story, advance)
    await destroyed(story, number)
    settings = settings_for(database, tmp_path)
    await sign_all(engines.clerk, settings)
    before = await exported(engines, number)
    part = await story.ledger.read_private(NURSE, await story.kit(number))
    assert part != {}
    await engines.dispose()
    with copy_of(database) as backup:
        advance(timedelta(days=6 * 365))
        assert (await check(story)).keys_destroyed == 1
        await sign_all(engines.clerk, settings)
        kit = await story.kit(number)
        assert await story.ledger.read_private(NURSE, kit) == {}
        async with engines.clerk.connect() as connection:
            (told,) = (
                await connection.execute(
                    text(
                        "SELECT convert_from(bytes, 'UTF8')::jsonb ->> 'until',"
                        " recorded_at FROM custody.event WHERE type = 'key.destroyed'"
                    )
                )
            ).all()
            assert await connection.scalar(text("SELECT count(*) FROM custody.data_key")) == 0
            assert await connection.scalar(text("SELECT count(*) FROM custody.private_part")) == 2
        lapses = (told[1] + BACKUPS_KEPT).isoformat(timespec="microseconds")
        assert told[0].removesuffix("Z") == lapses.removesuffix("+00:00")

        keys = write_keys(known_keys(settings.keys, "events"))
        after = await exported(engines, number)
        for each in (before, after):
            assert examined(bundle.read(each), keys).holds
        outside = Outside(
            keys={log: known_keys(settings.keys, log) for log in ("events", "reads")}, masters=PlainMasters()
        )
        assert (await check_all(engines.clerk, outside)).wrong is None

        # What was saved before still has the wrapped key: that is why the event states a date.
        saved = Engines(backup)
        try:
            old = Ledger(saved.service, PlainMasters())
            assert await old.read_private(NURSE, (await old.look(NURSE, [number])).kit(number)) == part
        finally:
            await saved.dispose()


async def test_a_key_is_deleted_by_one_function_in_the_transaction_of_its_event_and_by_nothing_else(
    engines: Engines, database: Database
) -> None:
    story = await begin(engines.service, engines.clerk)
    await adopt(story)
    await kept(story)
    with database.connect("superuser") as connection:
        rows = connection.execute(
            "SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
            " WHERE n.nspname IN ('audit', 'custody', 'retention', 'desk')"
            " AND p.prosrc ~* 'DELETE\\s+FROM\\s+custody\\.(?!proposal)'"
        ).fetchall()
    assert rows == [("destroy_key",)]
    for engine in (engines.service, engines.clerk):
        for statement in (
            "DELETE FROM custody.data_key",
            "UPDATE custody.data_key SET wrapped = ''",
            "SELECT custody.destroy_key(kit, ARRAY[]::bytea[]) FROM custody.data_key",
        ):
            with pytest.raises(DBAPIError, match="permission denied"):
                async with engine.begin() as connection:
                    await connection.execute(text(statement))
