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
from typing import Final

import psycopg
from sqlalchemy import func, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from audit import merkle, tables, tile
from audit.checkpoint import Checkpoint
from audit.merkle import Span
from audit.note import Note
from audit.proof import Proof
from audit.tile import Place, Tiles

BATCH: Final = 50_000  # digests integrated in one transaction; bounds its memory and its length

_AT_ONCE: Final = 1_000  # tiles or digests asked for in one statement

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
    await connection.execute(
        select(func.pg_advisory_xact_lock(func.hashtextextended(f"audit.integrate {log}", 0)))
    )
    drained = (await connection.execute(_DRAIN, {"log": log, "batch": batch})).all()
    digests = list(dict.fromkeys(row.digest for row in drained if not row.known))
    first = await size(connection, log)
    if digests:
        await _add_leaves(connection, log, first, digests)
        edge = await _tiles(connection, log, tile.right_edge(first))
        hashes = [merkle.leaf_hash(digest) for digest in digests]
        await _write_tiles(connection, log, tile.grow(first, edge, hashes))
    return Integrated(first=first, added=len(digests), size=first + len(digests), more=len(drained) == batch)


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
    indexes = await _indexes(connection, log, digests)
    plans = {
        digest: (index, merkle.inclusion_plan(index, size))
        for digest, index in indexes.items()
        if index < size
    }
    if not plans:
        return {}
    spans = [Span(0, size), *(span for _, plan in plans.values() for span in plan)]
    tiles = Tiles(await _tiles(connection, log, tile.places_for(spans)))
    known = {span: merkle.hash_of(span, tiles.read) for span in dict.fromkeys(spans)}
    return {
        digest: InclusionProof(
            index=index, size=size, root=known[Span(0, size)], hashes=tuple(known[span] for span in plan)
        )
        for digest, (index, plan) in plans.items()
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


async def prove(connection: AsyncConnection, log: str, digests: Sequence[bytes]) -> dict[bytes, Proof]:
    """For each of `digests` under the largest signed checkpoint, the proof as C2SP tlog-proof.

    A digest that is not in the dictionary is not yet in the log, or not yet under a signature.
    """
    data = await last_checkpoint(connection, log)
    if data is None:
        return {}
    note = Note.read(data)
    found = await prove_inclusions(connection, log, digests, Checkpoint.read(note.text).size)
    return {digest: Proof(proof.index, proof.hashes, note) for digest, proof in found.items()}


async def _indexes(connection: AsyncConnection, log: str, digests: Sequence[bytes]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for at in range(0, len(digests), _AT_ONCE):
        rows = await connection.execute(
            select(tables.leaf.c.digest, tables.leaf.c.index).where(
                tables.leaf.c.log == log, tables.leaf.c.digest.in_(digests[at : at + _AT_ONCE])
            )
        )
        found.update((bytes(digest), index) for digest, index in rows)
    return found


async def _tiles(connection: AsyncConnection, log: str, places: Iterable[Place]) -> dict[Place, bytes]:
    wanted = sorted(places)
    found: dict[Place, bytes] = {}
    columns = tables.tile.c
    for at in range(0, len(wanted), _AT_ONCE):
        rows = await connection.execute(
            select(columns.level, columns.index, columns.hashes).where(
                columns.log == log,
                tuple_(columns.level, columns.index).in_(
                    [tuple(place) for place in wanted[at : at + _AT_ONCE]]
                ),
            )
        )
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
