"""A real log to show to others: in PostgreSQL, integrated, signed at several sizes, its tiles in a folder."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from audit import log, tables, tile
from audit.key import VerifierKey
from audit.keybox import create_keys, open_box
from audit.log import ConsistencyProof, InclusionProof
from audit.publish import publish
from audit.sign import Signer, initialise
from desk.export import export_log
from tests.audit.whole_log import digests, grow
from tests.conftest import Database

ORIGIN = "custody.example/log"
SIZES = (1, 2, 255, 256, 257, 300, 70_000)


@dataclass(frozen=True, kw_only=True)
class Published:
    """The log: its keys, every digest by index, the signed note of each of `SIZES`.

    `folder` holds the tiles of all these sizes; `exported` is the folder that is made for a static host, of
    the log as it was published in the end, padded to whole tiles.
    """

    keys: tuple[VerifierKey, ...]
    entries: tuple[bytes, ...]
    notes: dict[int, bytes]
    folder: Path
    exported: Path
    runner: asyncio.Runner
    engine: AsyncEngine

    def inclusion(self, index: int, size: int) -> InclusionProof:
        """The proof that PostgreSQL gives for the leaf at `index` in the tree of `size` leaves."""

        async def prove() -> InclusionProof | None:
            async with self.engine.connect() as connection:
                return await log.prove_inclusion(connection, "events", self.entries[index], size)

        found = self.runner.run(prove())
        assert found is not None
        assert found.index == index
        return found

    def consistency(self, old: int, new: int) -> ConsistencyProof:
        """The proof that PostgreSQL gives for the growth from `old` leaves to `new`."""

        async def prove() -> ConsistencyProof:
            async with self.engine.connect() as connection:
                return await log.prove_consistency(connection, "events", old, new)

        return self.runner.run(prove())


@contextmanager
def published(database: Database, folder: Path) -> Iterator[Published]:
    """The log, grown and signed size by size."""
    with asyncio.Runner() as runner:
        superuser, clerk = (create_async_engine(database.url(role)) for role in ("superuser", "clerk"))
        keys = create_keys(folder / "events.key", ORIGIN)
        try:
            notes = runner.run(_sign_each_size(superuser, clerk, folder / "events.key"))
            entries = runner.run(_read(clerk, folder / "tiles"))
            runner.run(_export(clerk, folder / "events.key", folder / "exported"))
            yield Published(
                keys=keys,
                entries=entries,
                notes=notes,
                folder=folder / "tiles",
                exported=folder / "exported",
                runner=runner,
                engine=clerk,
            )
        finally:
            runner.run(superuser.dispose())
            runner.run(clerk.dispose())


async def _sign_each_size(superuser: AsyncEngine, clerk: AsyncEngine, keys: Path) -> dict[int, bytes]:
    notes = {}
    with open_box(keys) as box:
        await initialise(clerk, "events", box)
        signer = Signer("events", box)
        await signer.check(clerk)
        before = 0
        for size in SIZES:
            for start in range(before, size, log.BATCH):
                await grow(superuser, clerk, digests(start, min(size, start + log.BATCH)))
            signed = await signer.sign(clerk)
            assert signed is not None
            assert signed.size == size
            async with clerk.connect() as connection:
                note = await log.last_checkpoint(connection, "events")
            assert note is not None
            notes[size], before = note, size
    return notes


async def _read(clerk: AsyncEngine, folder: Path) -> tuple[bytes, ...]:
    """Write the tiles of every size, by the paths of C2SP tlog-tiles, and answer all digests in order."""
    stored = tables.tile.c
    async with clerk.connect() as connection:
        rows = await connection.execute(
            select(stored.level, stored.index, stored.hashes).where(stored.log == "events")
        )
        tiles = {tile.Place(level, index): bytes(hashes) for level, index, hashes in rows}
        entries = await connection.scalars(
            select(tables.leaf.c.digest).where(tables.leaf.c.log == "events").order_by(tables.leaf.c.index)
        )
    for size in SIZES:
        for place, width in tile.places(size):
            path = folder / tile.write_path(place, width)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tiles[place][: width * 32])
    return tuple(bytes(entry) for entry in entries)


async def _export(clerk: AsyncEngine, keys: Path, folder: Path) -> None:
    with open_box(keys) as box:
        signer = Signer("events", box)
        await signer.check(clerk)
        await publish(clerk, signer, datetime(2026, 5, 2, tzinfo=UTC))
    await export_log(clerk, "events", folder, lambda done, all_: None)
