"""Points to hold on to: signed checkpoints of the log that people outside have seen.

A checkpoint that witnesses cosigned or that an authority stamped is worth more than the log's own word. The
first one that covers an event says when the event was there already; the last one shows that the log has only
grown since. Read out of the database for a bundle; how they are checked is for whoever holds the bundle.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from audit import log as logs
from audit import tables

MOST: Final = 999  # anchors of one bundle; of more, some in between are left out


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A checkpoint of `size` leaves: `note` exactly as the log signed it and as it was stamped,
    `cosignatures` (lines), `stamps` (RFC 3161 tokens, each next one over the one before), and `growth`, the
    hashes that show it a prefix of the later checkpoint (RFC 9162 section 2.1.4.1)."""

    size: int
    note: bytes
    cosignatures: tuple[str, ...]
    stamps: tuple[bytes, ...]
    growth: tuple[bytes, ...]


def choose(sizes: Sequence[int], indexes: Iterable[int]) -> set[int]:
    """Of these `sizes`, ascending: for each index the first that covers it, and the last of all."""
    found = {sizes[-1]} if sizes else set()
    for index in indexes:
        at = bisect_right(sizes, index)
        if at < len(sizes):
            found.add(sizes[at])
    return found


async def anchors(
    connection: AsyncConnection, log: str, indexes: Sequence[int], size: int
) -> tuple[Anchor, ...]:
    """The anchors for the leaves at `indexes` under the checkpoint of `size` leaves, smallest first.

    For each leaf the first stamped and the first cosigned checkpoint that covers it, and the last of each.
    """
    stamped = await _sizes(connection, log, tables.stamp, size)
    cosigned = await _sizes(connection, log, tables.cosignature, size)
    chosen = sorted(choose(stamped, indexes) | choose(cosigned, indexes))
    step = -(-len(chosen) // MOST) or 1
    kept = [*chosen[:-1:step], *chosen[-1:]]  # a later one covers what one that is left out would have
    return tuple([await _anchor(connection, log, each, size) for each in kept])


async def note_over(connection: AsyncConnection, log: str, index: int) -> bytes | None:
    """The first signed note that covers the leaf at `index`, as it was signed; None before there is one."""
    found = await connection.scalar(
        select(tables.checkpoint.c.note)
        .where(tables.checkpoint.c.log == log, tables.checkpoint.c.size > index)
        .order_by(tables.checkpoint.c.size)
        .limit(1)
    )
    return None if found is None else str(found).encode()


async def _sizes(connection: AsyncConnection, log: str, of: Table, most: int) -> list[int]:
    kept = select(tables.checkpoint.c.size).where(tables.checkpoint.c.log == log)
    query = select(of.c.size).where(of.c.log == log, of.c.size <= most, of.c.size.in_(kept))
    return sorted(int(row[0]) for row in await connection.execute(query.distinct()))


async def _anchor(connection: AsyncConnection, log: str, size: int, later: int) -> Anchor:
    note = await connection.scalar(
        select(tables.checkpoint.c.note).where(
            tables.checkpoint.c.log == log, tables.checkpoint.c.size == size
        )
    )
    of = tables.cosignature.c
    lines = await connection.execute(
        select(of.line).where(of.log == log, of.size == size).order_by(of.name, of.key_id)
    )
    at = tables.stamp.c
    tokens = await connection.execute(
        select(at.token).where(at.log == log, at.size == size).order_by(at.number)
    )
    proof = await logs.prove_consistency(connection, log, size, later)
    return Anchor(
        size=size,
        note=str(note).encode(),
        cosignatures=tuple(str(row[0]) for row in lines),
        stamps=tuple(bytes(row[0]) for row in tokens),
        growth=proof.hashes,
    )
