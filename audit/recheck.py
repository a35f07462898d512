"""A log derived anew from its leaves, trusting nothing else that is stored.

From the digests, in order: every tile hash, every root that a checkpoint states, every signature. It reads
the whole log once, in pages; memory grows with the number of checkpoints, not of leaves.
"""

from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from audit import merkle, tables, tile
from audit.checkpoint import Checkpoint
from audit.key import NotSigned, VerifierKey, open_note
from audit.merkle import EMPTY_ROOT
from audit.note import Note
from audit.text import Malformed
from audit.tile import Place

Progress = Callable[[int, int], None]
"""Told how much is done, and of how much."""

PAGE: Final = 10_000  # leaves, or checkpoints, read at a time


class Range:
    """The roots of the complete subtrees that make up the tree so far: enough to say its root at any time."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def add(self, leaf_hash: bytes) -> None:
        """One leaf more: as many subtrees are joined as the new size has zeroes at its end."""
        self.size += 1
        carried, size = leaf_hash, self.size
        while size % 2 == 0:
            carried, size = merkle.node_hash(self._peaks.pop(), carried), size // 2
        self._peaks.append(carried)

    def root(self) -> bytes:
        """The root of the tree so far (RFC 6962 section 2.1)."""
        if not self._peaks:
            return EMPTY_ROOT
        result = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            result = merkle.node_hash(peak, result)
        return result


async def recheck(
    connection: AsyncConnection,
    log: str,
    keys: Sequence[VerifierKey] | None = None,
    last_note: bytes | None = None,
    progress: Progress | None = None,
) -> str | None:
    """The first thing that is wrong with the log, in words; None where everything agrees.

    ``keys`` are the log's public keys; without them signatures are not looked at. ``last_note`` is the note
    that lies beside the signer's key, if it is at hand: the log must contain what it states. The caller's
    transaction should be one snapshot (REPEATABLE READ).
    """
    size = await connection.scalar(select(func.count()).where(tables.leaf.c.log == log)) or 0
    stated = await _roots_stated(connection, log, keys)
    if isinstance(stated, str):
        return stated
    if last_note is not None:
        beside = _stated(last_note, keys, f"The last signed note of the log {log}")
        if isinstance(beside, str):
            return beside
        if stated.setdefault(beside.size, beside.root) != beside.root:
            return f"The last signed note of {beside.size} leaves is not the checkpoint stored for that size."
    if stated and max(stated) > size:
        return f"{max(stated)} leaves of the log {log} were signed, but it has {size}: it was taken back."
    return await _leaves(connection, log, size, stated, progress)


def _stated(note: bytes, keys: Sequence[VerifierKey] | None, what: str) -> Checkpoint | str:
    try:
        return Checkpoint.read(Note.read(note).text) if keys is None else open_note(note, keys)
    except (Malformed, NotSigned) as wrong:
        return f"{what} is not to be trusted: {wrong}."


async def _roots_stated(
    connection: AsyncConnection, log: str, keys: Sequence[VerifierKey] | None
) -> dict[int, bytes] | str:
    """Size and root of each checkpoint, signature checked; or what is wrong with one."""
    c = tables.checkpoint.c
    roots: dict[int, bytes] = {}
    after = -1
    while True:
        page = select(c.size, c.root, c.note).where(c.log == log, c.size > after).order_by(c.size).limit(PAGE)
        rows = (await connection.execute(page)).all()
        if not rows:
            return roots
        for row in rows:
            what = f"The checkpoint of {row.size} leaves of the log {log}"
            read = _stated(row.note.encode(), keys, what)
            if isinstance(read, str):
                return read
            if (read.size, read.root) != (row.size, bytes(row.root)):
                return f"{what} is not what its note states."
            roots[read.size] = read.root
        after = rows[-1].size


async def _leaves(
    connection: AsyncConnection, log: str, size: int, stated: dict[int, bytes], progress: Progress | None
) -> str | None:
    """Go through the leaves once: indexes without a gap, tiles, and the root at each signed size."""
    c = tables.leaf.c
    grown = Range()
    edge: dict[Place, bytes] = {}
    if stated.get(0, EMPTY_ROOT) != EMPTY_ROOT:
        return f"The checkpoint of the empty log {log} has another root."
    while grown.size < size:
        start = grown.size
        page = select(c.index, c.digest).where(c.log == log, c.index >= start).order_by(c.index).limit(PAGE)
        hashes = []
        for index, digest in await connection.execute(page):
            if index != grown.size:
                return f"Leaf {grown.size} of the log {log} is missing."
            hashes.append(merkle.leaf_hash(bytes(digest)))
            grown.add(hashes[-1])
            signed = stated.get(grown.size)
            if signed is not None and signed != grown.root():
                return f"The root over the first {grown.size} leaves of the log {log} is not the one signed."
        if not hashes:
            return f"Leaf {start} of the log {log} is missing."
        changed = tile.grow(start, edge, hashes)
        if wrong := await _tiles(connection, log, changed, grown.size, size):
            return wrong
        edge = {place: changed.get(place) or edge[place] for place in tile.right_edge(grown.size)}
        if progress is not None:
            progress(grown.size, size)
    stored = await connection.scalar(select(func.count()).where(tables.tile.c.log == log))
    if stored != (expected := sum(1 for _ in tile.places(size))):
        return f"The log {log} has {stored} tiles, its {size} leaves make {expected}."
    return None


async def _tiles(
    connection: AsyncConnection, log: str, changed: dict[Place, bytes], reached: int, size: int
) -> str | None:
    """Compare those of the changed tiles that further leaves will not change any more."""
    done = {
        place: hashes
        for place, hashes in changed.items()
        if tile.width(place, reached) == tile.width(place, size)
    }
    c = tables.tile.c
    for level in sorted({place.level for place in done}):
        numbers = [place.number for place in done if place.level == level]
        rows = await connection.execute(
            select(c.index, c.hashes).where(
                c.log == log, c.level == level, c.index.between(min(numbers), max(numbers))
            )
        )
        stored = {index: bytes(hashes) for index, hashes in rows}
        for number in numbers:
            if stored.get(number) != done[Place(level, number)]:
                return f"Tile {level}/{number} of the log {log} is not what its leaves make."
    return None
