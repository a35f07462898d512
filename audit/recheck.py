"""A log derived anew from its leaves, trusting nothing else that is stored.

From the digests, in order: what each is a digest of (or the salt of padding), every tile hash, every root
that a checkpoint states, every signature. It reads the log once, in pages; what it has to remember between
two pages is a `Range` of a few hashes, so an interrupted recheck goes on from there. What left the house
(`audit.outgoing`) is compared at the end.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from sqlalchemy import ColumnElement, and_, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from audit import merkle, tables, tile
from audit.checkpoint import Checkpoint
from audit.key import NotSigned, VerifierKey, open_note
from audit.merkle import EMPTY_ROOT
from audit.note import Note
from audit.publish import padding_digest
from audit.text import Malformed
from audit.tile import MissingTile, Place, Tiles

Progress = Callable[[int, int], None]
"""Told how much is done, and of how much."""

Records = Callable[[int, Sequence[bytes], Collection[int]], Awaitable[str | None]]
"""Looks at a page of leaves: the index of the first, their digests, the indexes that are declared padding.
Answers the first of them that is the digest of nothing, or of something wrong, in words."""

PAGE: Final = 10_000  # leaves read at a time


class Range:
    """The roots of the complete subtrees that make up the tree so far: enough to say its root at any time.

    `peaks`: the roots over the first `size` leaves, largest first. Raises ValueError for another number of
    them than that size has.
    """

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if size < 0 or len(peaks) != size.bit_count() or any(len(peak) != 32 for peak in peaks):
            raise ValueError(f"{len(peaks)} hashes do not make up a tree of {size} leaves")
        self.size = size
        self._peaks = list(peaks)

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """The roots, largest subtree first."""
        return tuple(self._peaks)

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


@dataclass(kw_only=True)
class Recheck:
    """One log, looked at in one transaction (REPEATABLE READ: one snapshot).

    ``keys`` are the log's public keys, those that signed in earlier times among them; without them
    signatures are not looked at. ``note`` lies beside the signer's key, if it is at hand: the log must
    contain what it states. ``reached`` is where to begin, and where it came to afterwards; ``kept`` is told
    it after every page, with size and root of the largest checkpoint of that page.
    """

    connection: AsyncConnection
    log: str
    keys: Sequence[VerifierKey] | None = None
    note: bytes | None = None
    reached: Range = field(default_factory=Range)
    records: Records | None = None
    progress: Progress | None = None
    kept: Callable[[Range, tuple[int, bytes] | None], None] | None = None

    async def run(self) -> str | None:
        """The first thing that is wrong with the log, in words; None where everything agrees."""
        size = await self._count(tables.leaf.c.log == self.log)
        signed = await self._last_signed()
        if signed > size:
            return f"{signed} leaves of the log {self.log} were signed, but it has {size}: it was taken back."
        if self.note is not None and (wrong := await self._beside(self.note, size)):
            return wrong
        if wrong := await self._leaves(size):
            return wrong
        return await self._rest(size)

    async def _count(self, condition: ColumnElement[bool]) -> int:
        query = select(func.count()).select_from(tables.leaf).where(condition)
        return int(await self.connection.scalar(query) or 0)

    async def _last_signed(self) -> int:
        c = tables.checkpoint.c
        return int(await self.connection.scalar(select(func.max(c.size)).where(c.log == self.log)) or 0)

    async def _beside(self, note: bytes, size: int) -> str | None:
        """The note beside the key: ours, of leaves that are there, and stored as the checkpoint it is."""
        beside = _stated(note, self.keys, f"The last signed note of the log {self.log}")
        if isinstance(beside, str):
            return beside
        if beside.size > size:
            told = f"{beside.size} leaves of the log {self.log} were signed, but it has {size}"
            return f"{told}: it was taken back."
        c = tables.checkpoint.c
        query = select(c.note).where(c.log == self.log, c.size == beside.size)
        stored = await self.connection.scalar(query)
        what = f"The last signed note of the log {self.log}, of {beside.size} leaves,"
        if stored is None:
            return f"{what} is not among its checkpoints. The clerk restores it when it starts."
        if str(stored).encode() != note:
            return f"{what} is not the checkpoint stored for that size."
        return None

    async def _leaves(self, size: int) -> str | None:
        """Go through the leaves once: indexes, what they are of, tiles, and the root at signed sizes."""
        if not self.reached.size and (wrong := await self._roots(0, 0, {0: EMPTY_ROOT})):
            return wrong
        if self.reached.size > size:
            told = (
                f"{self.reached.size} leaves of the log {self.log} were looked at before, and it has {size}"
            )
            return f"{told}: it was taken back."
        edge = await self._edge()
        if isinstance(edge, str):
            return edge
        while self.reached.size < size:
            start = self.reached.size
            page = await self._page(start)
            if isinstance(page, str):
                return page
            digests, padded = page
            if self.records is not None and (wrong := await self.records(start, digests, padded)):
                return wrong
            hashes = [merkle.leaf_hash(digest) for digest in digests]
            grown = Range(start, self.reached.peaks)
            sizes = await self._signed_between(start, start + len(hashes))
            roots = {}
            for one in hashes:
                grown.add(one)
                if grown.size in sizes:
                    roots[grown.size] = grown.root()
            changed = tile.grow(start, edge, hashes)
            if wrong := await self._tiles(changed, grown.size, size):
                return wrong
            if wrong := await self._roots(start + 1, grown.size, roots):
                return wrong
            edge = {place: changed.get(place) or edge[place] for place in tile.right_edge(grown.size)}
            self.reached = grown
            if self.kept is not None:
                self.kept(grown, max(roots.items(), default=None))
            if self.progress is not None:
                self.progress(grown.size, size)
        return None

    async def _edge(self) -> dict[Place, bytes] | str:
        """The stored tiles that further leaves widen, as wide as they were, if they make the known hashes."""
        size, c = self.reached.size, tables.tile.c
        edge: dict[Place, bytes] = {}
        for place in tile.right_edge(size):
            query = select(c.hashes).where(c.log == self.log, c.level == place.level, c.index == place.number)
            stored = await self.connection.scalar(query)
            edge[place] = bytes(stored or b"")[: 32 * tile.width(place, size)]
        nodes = list(merkle.nodes_of(merkle.Span(0, size)))
        for node, peak in zip(nodes, self.reached.peaks, strict=True):
            place = tile.place_of(node)
            try:
                agrees = Tiles(edge).read(node) == peak
            except MissingTile:
                agrees = False
            if not agrees:
                return (
                    f"Tile {place.level}/{place.number} of the log {self.log} is not what its leaves made"
                    " when they were looked at before."
                )
        return edge

    async def _page(self, start: int) -> tuple[list[bytes], set[int]] | str:
        """The digests from index `start`, and which of them are padding; or what is wrong with them."""
        leaf, padding = tables.leaf.c, tables.padding.c
        salted = tables.leaf.outerjoin(
            tables.padding, and_(padding.log == leaf.log, padding.index == leaf.index)
        )
        page = (
            select(leaf.index, leaf.digest, padding.salt)
            .select_from(salted)
            .where(leaf.log == self.log, leaf.index >= start)
            .order_by(leaf.index)
            .limit(PAGE)
        )
        digests: list[bytes] = []
        padded: set[int] = set()
        for index, digest, salt in await self.connection.execute(page):
            if index != start + len(digests):
                twice = index < start + len(digests)
                return (
                    f"Leaf {index} of the log {self.log} stands there twice."
                    if twice
                    else f"Leaf {start + len(digests)} of the log {self.log} is missing."
                )
            if salt is not None:
                if padding_digest(bytes(salt)) != bytes(digest):
                    told = f"Leaf {index} of the log {self.log} is declared as padding"
                    return f"{told}, and is not the digest of its salt."
                padded.add(index)
            digests.append(bytes(digest))
        return (digests, padded) if digests else f"Leaf {start} of the log {self.log} is missing."

    async def _signed_between(self, start: int, end: int) -> set[int]:
        """The sizes of checkpoints after `start`, up to `end`."""
        c = tables.checkpoint.c
        query = select(c.size).where(c.log == self.log, c.size > start, c.size <= end)
        return set((await self.connection.scalars(query)).all())

    async def _roots(self, first: int, last: int, roots: dict[int, bytes]) -> str | None:
        """The checkpoints of `first` to `last` leaves: signed, and of the roots that the leaves make."""
        c = tables.checkpoint.c
        query = (
            select(c.size, c.root, c.note)
            .where(c.log == self.log, c.size.between(first, last))
            .order_by(c.size)
        )
        for row in await self.connection.execute(query):
            what = f"The checkpoint of {row.size} leaves of the log {self.log}"
            read = _stated(row.note.encode(), self.keys, what)
            if isinstance(read, str):
                return read
            if (read.size, read.root) != (row.size, bytes(row.root)):
                return f"{what} is not what its note states."
            if read.root != roots[row.size]:
                told = f"The root over the first {row.size} leaves of the log {self.log}"
                return f"{told} is not the one signed."
        return None

    async def _tiles(self, changed: dict[Place, bytes], reached: int, size: int) -> str | None:
        """Compare those of the changed tiles that further leaves will not change any more."""
        done = {
            place: hashes
            for place, hashes in changed.items()
            if tile.width(place, reached) == tile.width(place, size)
        }
        c = tables.tile.c
        for level in sorted({place.level for place in done}):
            numbers = [place.number for place in done if place.level == level]
            rows = await self.connection.execute(
                select(c.index, c.hashes).where(
                    c.log == self.log, c.level == level, c.index.between(min(numbers), max(numbers))
                )
            )
            stored = {index: bytes(hashes) for index, hashes in rows}
            for number in numbers:
                if stored.get(number) != done[Place(level, number)]:
                    return f"Tile {level}/{number} of the log {self.log} is not what its leaves make."
        return None

    async def _rest(self, size: int) -> str | None:
        """What no leaf leads to: surplus tiles, padding without a leaf; and the order of the origins."""
        c = tables.tile.c
        stored = await self.connection.scalar(
            select(func.count()).select_from(tables.tile).where(c.log == self.log)
        )
        if stored != (expected := sum(1 for _ in tile.places(size))):
            return f"The log {self.log} has {stored} tiles, its {size} leaves make {expected}."
        p = tables.padding.c
        beyond = select(func.min(p.index)).where(p.log == self.log, p.index >= size)
        if (index := await self.connection.scalar(beyond)) is not None:
            return f"Leaf {index} of the log {self.log} is declared as padding, and is not there."
        epochs = await origins(self.connection, self.log)
        for (_, _, before), (origin, first, _) in pairwise(epochs):
            if first <= before:
                return (
                    f"The checkpoint of {first} leaves of the log {self.log} bears the name {origin}, one of"
                    f" {before} leaves another: a log has one name at a time."
                )
        return None


async def recheck(
    connection: AsyncConnection,
    log: str,
    keys: Sequence[VerifierKey] | None = None,
    last_note: bytes | None = None,
    progress: Progress | None = None,
) -> str | None:
    """The first thing that is wrong with a log by itself, in words; None where everything agrees."""
    return await Recheck(connection=connection, log=log, keys=keys, note=last_note, progress=progress).run()


async def is_stored(connection: AsyncConnection, log: str, note: bytes) -> bool:
    """Whether this note is one of the log's checkpoints, to the last byte."""
    c = tables.checkpoint.c
    stored = select(c.size).where(c.log == log, c.note == note.decode("utf-8", "replace"))
    return await connection.scalar(stored.limit(1)) is not None


async def origins(connection: AsyncConnection, log: str) -> list[tuple[str, int, int]]:
    """The names under which the log was signed, in order: each with its smallest and its largest size."""
    rows = await connection.execute(
        text("""
        SELECT split_part(note, E'\\n', 1) AS origin, min(size) AS first, max(size) AS last
        FROM audit.checkpoint WHERE log = :log GROUP BY 1 ORDER BY 2, 3
        """),
        {"log": log},
    )
    return [(row.origin, row.first, row.last) for row in rows]


def _stated(note: bytes, keys: Sequence[VerifierKey] | None, what: str) -> Checkpoint | str:
    try:
        return Checkpoint.read(Note.read(note).text) if keys is None else open_note(note, keys)
    except (Malformed, NotSigned) as wrong:
        return f"{what} is not to be trusted: {wrong}."
