"""The log in PostgreSQL: digests get their place in the tree, and proofs are read out of it.

*Integration* empties the queue `audit.pending` with DELETE ... RETURNING. Never a sequence or a high-water
mark: those skip a transaction that commits late. What a transaction adds to the queue after the integrator
looked stays there for its next turn. A digest that is in the log already is dropped, so a digest queued
again after a crash gets no second leaf.

Every function takes a connection inside the caller's transaction and leaves the commit to the caller.
Isolation must be READ COMMITTED (PostgreSQL's default), so that an integrator sees what the one before it
committed while it waited.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import psycopg
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from audit import merkle, tables, tile
from audit.checkpoint import Checkpoint
from audit.merkle import Span
from audit.note import Note, Signature
from audit.proof import Proof
from audit.text import HASH_BYTES, MAX_SIZE
from audit.tile import Place, Tiles

BATCH: Final = 50_000  # digests integrated in one transaction; bounds its memory and its length

_AT_ONCE: Final = 1_000  # tiles or digests asked for in one statement

_TILES: Final = text("""
SELECT tile.level, tile.index, tile.hashes
FROM unnest(CAST(:levels AS smallint[]), CAST(:numbers AS bigint[])) AS wanted (level, index)
JOIN audit.tile AS tile ON tile.log = :log AND tile.level = wanted.level AND tile.index = wanted.index
""")

_INDEXES: Final = text("SELECT digest, index FROM audit.leaf WHERE log = :log AND digest = ANY(:digests)")

_SIGNED = """
SELECT checkpoint.note, array(
    SELECT cosignature.line FROM audit.cosignature AS cosignature
    WHERE cosignature.log = :log AND cosignature.size = checkpoint.size
    ORDER BY cosignature.name, cosignature.key_id) AS lines
FROM audit.checkpoint AS checkpoint
WHERE checkpoint.log = :log AND checkpoint.size =
"""
_NOTE: Final = text(f"{_SIGNED} :size")

# Of the last ten publications with more leaves than :last that witnesses have cosigned, the one with most
# cosignatures, so that a proof made while a witness is late is not weaker than one made the day before; where
# there is none, the last signed checkpoint.
_CHECKPOINT: Final = text(f"""
{_SIGNED} coalesce(
    (SELECT recent.size
     FROM (SELECT size FROM audit.publication WHERE log = :log AND size > :last
           ORDER BY size DESC LIMIT 10) AS recent
     JOIN audit.cosignature AS given ON given.log = :log AND given.size = recent.size
     GROUP BY recent.size ORDER BY count(*) DESC, recent.size DESC LIMIT 1),
    (SELECT max(size) FROM audit.checkpoint WHERE log = :log))
""")  # noqa: S608 (of constants)

# The same for those who see only what was published: nothing of it may tell how far the log has grown since.
# What no publication covers is proved by the first checkpoint that does, however often it is asked.
_CHECKPOINT_OUTSIDE: Final = text(f"""
{_SIGNED} coalesce(
    (SELECT recent.size
     FROM (SELECT size FROM audit.publication WHERE log = :log AND size > :last
           ORDER BY size DESC LIMIT 10) AS recent
     LEFT JOIN audit.cosignature AS given ON given.log = :log AND given.size = recent.size
     GROUP BY recent.size ORDER BY count(given.size) DESC, recent.size DESC LIMIT 1),
    (SELECT min(size) FROM audit.checkpoint WHERE log = :log AND size > :last))
""")  # noqa: S608 (of constants)

_SIZES: Final = {
    view: text(
        f"SELECT EXISTS (SELECT FROM audit.{table} WHERE log = :log AND size >= :least AND size < :most)"  # noqa: S608 (of constants)
    )
    for view, table in (("signed", "checkpoint"), ("published", "publication"))
}

_DRAIN: Final = text("""
WITH drained AS (
    DELETE FROM audit.pending
    WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM audit.pending WHERE log = :log ORDER BY queued_at LIMIT :batch))
    RETURNING digest, queued_at
)
SELECT drained.digest,
       EXISTS (SELECT FROM audit.leaf WHERE leaf.log = :log AND leaf.digest = drained.digest) AS known
FROM drained
ORDER BY drained.queued_at, drained.digest
""")


View = Literal["signed", "published"]
"""The sizes of the log that may be seen: all that were signed (staff, auditors), or those that left us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrated:
    """One turn of the integrator: `added` leaves from index `first`; the log now has `size` leaves.

    `more` says that the queue held at least a full batch, so another turn is worth while at once.
    """

    first: int
    added: int
    size: int
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InclusionProof:
    """Leaf `index` is in the tree of `size` leaves with `root`; `hashes` run from sibling to root's child."""

    index: int
    size: int
    root: bytes
    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistencyProof:
    """The tree (`old`, `old_root`) is a prefix of (`new`, `new_root`), as `hashes` show."""

    old: int
    old_root: bytes
    new: int
    new_root: bytes
    hashes: tuple[bytes, ...]


async def integrate(connection: AsyncConnection, log: str, batch: int = BATCH) -> Integrated:
    """Give up to `batch` queued digests of `log` their leaves, oldest first, and grow the tiles.

    One integrator per log works at a time; another one waits until this transaction ends. A transaction
    that is rolled back has changed nothing, and the digests are in the queue again. Raises
    `tile.MissingTile` when the stored tiles do not fit the number of leaves.
    """
    await alone(connection, log)
    drained = (await connection.execute(_DRAIN, {"log": log, "batch": batch})).all()
    digests = list(dict.fromkeys(row.digest for row in drained if not row.known))
    first = await append(connection, log, digests)
    return Integrated(first=first, added=len(digests), size=first + len(digests), more=len(drained) == batch)


async def alone(connection: AsyncConnection, log: str) -> None:
    """Wait until no other integrator of `log` is at work, and keep others out until this transaction ends."""
    await connection.execute(
        select(func.pg_advisory_xact_lock(func.hashtextextended(f"audit.integrate {log}", 0)))
    )


async def append(connection: AsyncConnection, log: str, digests: Sequence[bytes]) -> int:
    """Give `digests` (32 bytes each, none in the log yet) the next leaves; the index of the first.

    The caller is `alone`. Raises `tile.MissingTile` when the stored tiles do not fit the number of leaves.
    """
    first = await size(connection, log)
    if digests:
        await _add_leaves(connection, log, first, digests)
        edge = await _tiles(connection, log, tile.right_edge(first))
        hashes = [merkle.leaf_hash(digest) for digest in digests]
        await _write_tiles(connection, log, tile.grow(first, edge, hashes))
    return first


async def size(connection: AsyncConnection, log: str) -> int:
    """How many leaves the log has."""
    last = await connection.scalar(select(func.max(tables.leaf.c.index)).where(tables.leaf.c.log == log))
    return 0 if last is None else int(last) + 1


async def root(connection: AsyncConnection, log: str, size: int) -> bytes:
    """The root over the first `size` leaves. Raises `tile.MissingTile` when the log has fewer."""
    return (await prove_consistency(connection, log, size, size)).new_root


async def index_of(connection: AsyncConnection, log: str, digest: bytes) -> int | None:
    """The index of the leaf `digest` (32 bytes), None when it is not (yet) in the log."""
    return (await _indexes(connection, log, [digest])).get(digest)


async def prove_inclusion(
    connection: AsyncConnection, log: str, digest: bytes, size: int
) -> InclusionProof | None:
    """The proof that `digest` is among the first `size` leaves; None when it is not."""
    return (await prove_inclusions(connection, log, [digest], size)).get(digest)


async def prove_inclusions(
    connection: AsyncConnection, log: str, digests: Sequence[bytes], size: int
) -> dict[bytes, InclusionProof]:
    """The proofs of all `digests` that are among the first `size` leaves, reading each tile once.

    Raises `tile.MissingTile` when the stored tree does not reach `size`.
    """
    paths = await _paths(connection, log, await _indexes(connection, log, digests), size, Span(0, size))
    return {
        digest: InclusionProof(index=index, size=size, root=whole, hashes=hashes)
        for digest, (index, hashes, (whole,)) in paths.items()
    }


async def prove_consistency(connection: AsyncConnection, log: str, old: int, new: int) -> ConsistencyProof:
    """The proof that the first `old` leaves are a prefix of the first `new`, with both roots.

    Raises ValueError unless 0 <= old <= new, `tile.MissingTile` when the stored tree does not reach `new`.
    """
    plan = merkle.consistency_plan(old, new)
    whole = [Span(0, leaves) for leaves in (old, new) if leaves]
    tiles = Tiles(await _tiles(connection, log, tile.places_for([*plan, *whole])))
    return ConsistencyProof(
        old=old,
        old_root=merkle.root(old, tiles.read),
        new=new,
        new_root=merkle.root(new, tiles.read),
        hashes=tuple(merkle.hash_of(span, tiles.read) for span in plan),
    )


async def last_checkpoint(connection: AsyncConnection, log: str) -> bytes | None:
    """The note of the largest signed checkpoint, None before the first."""
    found = await connection.scalar(
        select(tables.checkpoint.c.note)
        .where(tables.checkpoint.c.log == log)
        .order_by(tables.checkpoint.c.size.desc())
        .limit(1)
    )
    return None if found is None else str(found).encode()


async def signed_size(connection: AsyncConnection, log: str) -> int | None:
    """The size of the largest signed checkpoint in the database, None before the first."""
    found = await connection.scalar(
        select(func.max(tables.checkpoint.c.size)).where(tables.checkpoint.c.log == log)
    )
    return None if found is None else int(found)


async def prove(
    connection: AsyncConnection, log: str, digests: Sequence[bytes], view: View = "signed"
) -> dict[bytes, Proof]:
    """For each of `digests` the proof as C2SP tlog-proof, all of them under one checkpoint.

    That is a published one with the cosignatures of its witnesses, if there is one that covers all of them,
    else the last signed one. Whose `view` is the published log gets a published one, cosigned or not, else
    the first signed one that covers those of `digests` that are in the log: asking again, or for what the
    public log shows, tells nothing of what came since. A digest that is not in the dictionary is not yet in
    the log, or not yet under a signature. Raises `tile.MissingTile` when the stored tree is damaged.
    """
    indexes = await _indexes(connection, log, digests)
    if not indexes:
        return {}
    covered = max(indexes.values())
    if view == "signed" and len(indexes) < len(set(digests)):
        covered = MAX_SIZE
    under = _CHECKPOINT if view == "signed" else _CHECKPOINT_OUTSIDE
    row = (await connection.execute(under, {"log": log, "last": covered})).first()
    if row is None:
        return {}
    note = _cosigned(row.note, row.lines)
    paths = await _paths(connection, log, indexes, Checkpoint.read(note.text).size)
    return {digest: Proof(index, hashes, note) for digest, (index, hashes, _) in paths.items()}


# --- what C2SP tlog-tiles serves ----------------------------------------------------------


async def checkpoint_note(connection: AsyncConnection, log: str, view: View) -> Note | None:
    """The note of the last checkpoint that `view` shows, with its cosignatures; None before the first."""
    last = await signed_size(connection, log) if view == "signed" else await published_size(connection, log)
    return None if last is None else await note_of(connection, log, last)


async def note_of(connection: AsyncConnection, log: str, size: int) -> Note | None:
    """The note of the checkpoint of exactly `size` leaves with its cosignatures; None where there is none."""
    row = (await connection.execute(_NOTE, {"log": log, "size": size})).first()
    return None if row is None else _cosigned(row.note, row.lines)


async def published_size(connection: AsyncConnection, log: str) -> int | None:
    """The size at which the log last left the house; None before the first time."""
    found = await connection.scalar(
        select(func.max(tables.publication.c.size)).where(tables.publication.c.log == log)
    )
    return None if found is None else int(found)


async def tile_of_width(
    connection: AsyncConnection, log: str, place: Place, hashes: int, view: View
) -> bytes | None:
    """The tile at `place` as a tree has it where it is `hashes` (1 to 256) wide; None unless that tree is one
    of the sizes that `view` shows, or has grown beyond it."""
    if not await _shown(connection, log, place, hashes, view):
        return None
    stored = (await _tiles(connection, log, [place])).get(place, b"")
    return _first(stored, hashes, place)


async def entries_of_width(
    connection: AsyncConnection, log: str, number: int, entries: int, view: View
) -> bytes | None:
    """The entry bundle below `tile_of_width` of level 0; None where that is None."""
    if not await _shown(connection, log, Place(0, number), entries, view):
        return None
    first = number * tile.WIDTH
    return tile.write_entries(await digests_between(connection, log, first, first + entries))


async def digests_between(connection: AsyncConnection, log: str, start: int, end: int) -> list[bytes]:
    """The digests of the leaves from `start` up to `end`. Raises `tile.MissingTile` where one is missing."""
    leaf = tables.leaf.c
    rows = await connection.scalars(
        select(leaf.digest).where(leaf.log == log, leaf.index >= start, leaf.index < end).order_by(leaf.index)
    )
    found = [bytes(digest) for digest in rows]
    if len(found) != end - start:
        raise tile.MissingTile(f"of the leaves {start} to {end - 1}, {end - start - len(found)} are missing")
    return found


async def tiles_of_width(
    connection: AsyncConnection, log: str, wanted: Mapping[Place, int]
) -> dict[Place, bytes]:
    """The stored tiles at these places, each cut to its width: a tree of an earlier size. `MissingTile`."""
    stored = await _tiles(connection, log, wanted)
    return {place: _first(stored.get(place, b""), hashes, place) for place, hashes in wanted.items()}


def _first(stored: bytes, hashes: int, place: Place) -> bytes:
    if len(stored) < hashes * HASH_BYTES:
        raise tile.MissingTile(f"tile {place.level}/{place.number} is narrower than {hashes} hashes")
    return stored[: hashes * HASH_BYTES]


async def _shown(connection: AsyncConnection, log: str, place: Place, hashes: int, view: View) -> bool:
    """Whether a size that `view` shows has this tile at this width; full tiles stay what they are."""
    step = tile.HEIGHT * place.level
    least = place.number * tile.WIDTH + hashes << step
    most = MAX_SIZE if hashes == tile.WIDTH else least + (1 << step)
    if least > MAX_SIZE:
        return False
    sizes = {"log": log, "least": least, "most": min(most, MAX_SIZE)}
    return bool(await connection.scalar(_SIZES[view], sizes))


def _cosigned(note: str, lines: Sequence[str]) -> Note:
    return Note.read(note.encode()).signed_too(Signature.read(line) for line in lines)


async def _paths(
    connection: AsyncConnection, log: str, indexes: Mapping[bytes, int], size: int, *more: Span
) -> dict[bytes, tuple[int, tuple[bytes, ...], tuple[bytes, ...]]]:
    """Of each digest in the tree of `size` its index, its path and the hashes of the spans `more`; each tile
    is read once."""
    plans = {
        digest: (index, merkle.inclusion_plan(index, size))
        for digest, index in indexes.items()
        if index < size
    }
    if not plans:
        return {}
    spans = dict.fromkeys([*more, *(span for _, plan in plans.values() for span in plan)])
    tiles = Tiles(await _tiles(connection, log, tile.places_for(spans)))
    known = {span: merkle.hash_of(span, tiles.read) for span in spans}
    beside = tuple(known[span] for span in more)
    return {
        digest: (index, tuple(known[span] for span in plan), beside)
        for digest, (index, plan) in plans.items()
    }


async def _indexes(connection: AsyncConnection, log: str, digests: Sequence[bytes]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for at in range(0, len(digests), _AT_ONCE):
        asked = {"log": log, "digests": list(digests[at : at + _AT_ONCE])}
        found.update((bytes(digest), index) for digest, index in await connection.execute(_INDEXES, asked))
    return found


async def _tiles(connection: AsyncConnection, log: str, places: Iterable[Place]) -> dict[Place, bytes]:
    wanted = sorted(places)
    found: dict[Place, bytes] = {}
    for at in range(0, len(wanted), _AT_ONCE):
        levels, numbers = zip(*wanted[at : at + _AT_ONCE], strict=True)
        asked = {"log": log, "levels": list(levels), "numbers": list(numbers)}
        rows = await connection.execute(_TILES, asked)
        found.update((Place(level, index), bytes(hashes)) for level, index, hashes in rows)
    return found


async def _add_leaves(connection: AsyncConnection, log: str, first: int, digests: Sequence[bytes]) -> None:
    """COPY, on the driver's connection and so in the same transaction: tens of thousands of rows a second."""
    driver = (await connection.get_raw_connection()).driver_connection
    if not isinstance(driver, psycopg.AsyncConnection):
        raise TypeError("the log needs an engine on psycopg: postgresql+psycopg")
    async with (
        driver.cursor() as cursor,
        cursor.copy("COPY audit.leaf (log, index, digest) FROM STDIN") as copy,
    ):
        for index, digest in enumerate(digests, first):
            await copy.write_row((log, index, digest))


async def _write_tiles(connection: AsyncConnection, log: str, changed: Mapping[Place, bytes]) -> None:
    new = insert(tables.tile)
    grown = new.on_conflict_do_update(
        index_elements=[tables.tile.c.log, tables.tile.c.level, tables.tile.c.index],
        set_={"hashes": new.excluded.hashes},
    )
    rows = [
        {"log": log, "level": place.level, "index": place.number, "hashes": hashes}
        for place, hashes in changed.items()
    ]
    await connection.execute(grown, rows)
