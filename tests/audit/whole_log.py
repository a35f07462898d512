"""What the database tests of the log share: digests into the queue, and the whole log checked anew."""

from collections.abc import Sequence
from hashlib import sha256

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit import log, merkle, tables, tile
from audit.key import VerifierKey, open_note
from audit.tile import Place, Tiles


def digests(start: int, end: int) -> list[bytes]:
    return [sha256(f"fictional event {number}".encode()).digest() for number in range(start, end)]


async def put(connection: AsyncConnection, what: list[bytes], name: str = "events") -> None:
    """Queue digests as `custody.append` does: as the owner, in the caller's transaction."""
    await connection.execute(
        text("INSERT INTO audit.pending (log, digest) SELECT :log, unnest(CAST(:digests AS bytea[]))"),
        {"log": name, "digests": what},
    )


async def queue(superuser: AsyncEngine, what: list[bytes], name: str = "events") -> None:
    async with superuser.begin() as transaction:
        await put(transaction, what, name)


async def grow(superuser: AsyncEngine, clerk: AsyncEngine, what: list[bytes], name: str = "events") -> None:
    """Queue and integrate."""
    await queue(superuser, what, name)
    async with clerk.begin() as transaction:
        await log.integrate(transaction, name)


async def leaves(engine: AsyncEngine, name: str = "events") -> list[bytes]:
    """Every leaf in order, after checking that the tiles are exactly those of a tree made from nothing."""
    async with engine.connect() as connection:
        rows = await connection.execute(
            select(tables.leaf.c.index, tables.leaf.c.digest)
            .where(tables.leaf.c.log == name)
            .order_by(tables.leaf.c.index)
        )
        found = [(index, bytes(digest)) for index, digest in rows]
        assert [index for index, _ in found] == list(range(len(found)))
        stored = await connection.execute(
            select(tables.tile.c.level, tables.tile.c.index, tables.tile.c.hashes).where(
                tables.tile.c.log == name
            )
        )
        tiles = {Place(level, index): bytes(hashes) for level, index, hashes in stored}
    assert tiles == tile.grow(0, {}, [merkle.leaf_hash(digest) for _, digest in found])
    return [digest for _, digest in found]


async def checkpoints(engine: AsyncEngine, keys: Sequence[VerifierKey], name: str = "events") -> list[int]:
    """The sizes of all checkpoints, after checking each signature and root against the whole log."""
    known = await leaves(engine, name)
    tiles = Tiles(tile.grow(0, {}, [merkle.leaf_hash(digest) for digest in known]))
    async with engine.connect() as connection:
        rows = await connection.execute(
            select(tables.checkpoint.c.size, tables.checkpoint.c.root, tables.checkpoint.c.note)
            .where(tables.checkpoint.c.log == name)
            .order_by(tables.checkpoint.c.size)
        )
        sizes = []
        for size, root, note in rows:
            stated = open_note(note.encode(), keys)
            assert (stated.size, stated.root) == (size, bytes(root))
            assert stated.root == merkle.root(size, tiles.read)
            sizes.append(size)
    return sizes
