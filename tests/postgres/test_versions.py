"""The older PostgreSQL versions that are supported: migrated from nothing, and a kit goes its way on each."""

import asyncio
from datetime import timedelta
from pathlib import Path

from sqlalchemy import text

from custody.commands import Accept, Offer
from custody.handover import accept, offer
from custody.protocol import Custody
from desk import database as ground
from desk.postgres import SUPERUSER, Binaries, EmbeddedServer, wheel_binaries
from tests.conftest import FAST, Database, Engines
from tests.custody.story import CENTRE, CUSTODIAN, NURSE, begin, ref


def test_postgresql_16_carries_a_kit(tmp_path: Path) -> None:
    _carries_a_kit(tmp_path, wheel_binaries(16), 16)


def test_postgresql_15_carries_a_kit(tmp_path: Path, debian_postgres: Binaries) -> None:
    _carries_a_kit(tmp_path, debian_postgres, 15)


def _carries_a_kit(folder: Path, binaries: Binaries, major: int) -> None:
    with EmbeddedServer(folder / "data", binaries, extra=FAST) as server:
        ground.prepare(server.url(SUPERUSER, "postgres"), server.role_passwords, "custody")
        ground.migrate(server.url("custody_migrator", "custody"))
        ground.check(server.url("custody_migrator", "custody"))
        ground.refuse_unready(server.url("custody_service", "custody"))
        asyncio.run(_story(Database(server=server, name="custody"), major))


async def _story(database: Database, major: int) -> None:
    engines = Engines(database)
    try:
        async with engines.service.connect() as connection:
            version = await connection.scalar(text("SHOW server_version_num"))
        assert int(str(version)) // 10_000 == major
        story = await begin(engines.service, engines.clerk)
        kit = await story.registered()
        seen = await story.look(NURSE, kit)
        order = Offer(packages=(ref(kit, 1),), organisation=CENTRE, due_at=seen.at + timedelta(hours=1))
        await story.do(NURSE, [kit], lambda s: offer(s, order, NURSE, story.directory, "ab" * 16))
        await story.do(CUSTODIAN, [kit], lambda s: accept(s, Accept(packages=(ref(kit, 1),)), CUSTODIAN))
        package = (await story.kit(kit)).packages[1]
        assert package.state is Custody.SEALED
        assert package.holder is not None
        assert package.holder.person == CUSTODIAN.person
    finally:
        await engines.dispose()
