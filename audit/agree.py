"""The leaves against the tiles that were made of them: what the signer looks at before it signs.

A signature is over the tiles. Leaves that were changed in the database after they were integrated would
still have been vouched for; with this, the signer refuses instead.
"""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from audit import merkle, tables, tile


async def leaves_agree(connection: AsyncConnection, log: str, start: int, end: int) -> str | None:
    """Whether the leaves from `start` up to, not including, `end` are those in the tiles; else the first not.

    For the signer, which signs what the tiles make: it never vouches for a leaf that was changed since it
    was integrated. About 3 µs a leaf.
    """
    if start >= end:
        return None
    leaf, c = tables.leaf.c, tables.tile.c
    first = start // tile.WIDTH
    rows = await connection.execute(
        select(c.index, c.hashes).where(
            c.log == log, c.level == 0, c.index.between(first, (end - 1) // tile.WIDTH)
        )
    )
    stored = {index: bytes(hashes) for index, hashes in rows}
    expected = start
    query = (
        select(leaf.index, leaf.digest)
        .where(leaf.log == log, leaf.index >= start, leaf.index < end)
        .order_by(leaf.index)
    )
    for index, digest in await connection.execute(query):
        number, at = divmod(expected, tile.WIDTH)
        inside = stored.get(number, b"")[32 * at : 32 * at + 32]
        if index != expected or merkle.leaf_hash(bytes(digest)) != inside:
            return f"leaf {expected} is not the one in tile 0/{number}"
        expected += 1
    return None if expected == end else f"leaf {expected} is missing"
