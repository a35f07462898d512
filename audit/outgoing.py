"""What left the house, compared with the log: publications, cosignatures of witnesses, time stamps.

These rows bear signatures of others, so they are checked against those; what nobody here has a key or a root
certificate for is counted and said, never passed over in silence.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC
from itertools import groupby
from typing import Any

from sqlalchemy import Row, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from audit import tables
from audit.key import VerifierKey
from audit.note import Note, Signature
from audit.publish import AHEAD
from audit.text import Malformed
from audit.token import StampRefused, check_chain


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """`wrong`: the first thing that is, in words. How many cosignatures and stamps nobody could check."""

    wrong: str | None = None
    cosignatures_unchecked: int = 0
    stamps_unchecked: int = 0


async def check(
    connection: AsyncConnection, log: str, witnesses: Iterable[VerifierKey] = (), roots: bytes | None = None
) -> Outgoing:
    """Compare everything that left the house of a log whose checkpoints are known to hold.

    ``witnesses``: their keys; ``roots``: the certificates (PEM) at which the time stamps' chains may end.
    """
    if wrong := await _publications(connection, log):
        return Outgoing(wrong=wrong)
    cosigned = await _cosignatures(connection, log, list(witnesses))
    if isinstance(cosigned, str):
        return Outgoing(wrong=cosigned)
    stamps = await _stamps(connection, log, roots)
    if isinstance(stamps, str):
        return Outgoing(wrong=stamps)
    return Outgoing(cosignatures_unchecked=cosigned, stamps_unchecked=stamps)


async def _notes(connection: AsyncConnection, log: str, sizes: Iterable[int]) -> dict[int, str]:
    c = tables.checkpoint.c
    query = select(c.size, c.note).where(c.log == log, c.size.in_(sorted(set(sizes))))
    return {row.size: row.note for row in await connection.execute(query)}


async def _publications(connection: AsyncConnection, log: str) -> str | None:
    p, c = tables.publication.c, tables.checkpoint.c
    signed = select(c.size).where(c.log == log, c.size == p.size).exists()
    columns = (p.slot, p.size, p.published_at, signed.label("signed"))
    query = select(*columns).where(p.log == log).order_by(p.slot)
    before = 0
    for row in await connection.execute(query):
        what = f"The publication of {row.size} leaves of the log {log}"
        if not row.signed or row.size % 256:
            return f"{what} is of a size that was never signed to be published."
        if row.slot > row.published_at + AHEAD:
            return (
                f"{what} is for the slot {row.slot.astimezone(UTC):%Y-%m-%d %H:%M} UTC, which had not come"
                f" when it was made ({row.published_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC): it was altered,"
                " or a clock was wrong."
            )
        if row.size <= before:
            return f"{what} stands after one of {before}: the slots are out of order."
        before = row.size
    return None


async def _cosignatures(connection: AsyncConnection, log: str, witnesses: Sequence[VerifierKey]) -> int | str:
    c, p = tables.cosignature.c, tables.publication.c
    published = select(p.size).where(p.log == log, p.size == c.size).exists()
    query = select(tables.cosignature, published.label("published")).where(c.log == log)
    rows = (await connection.execute(query.order_by(c.size, c.name, c.key_id))).all()
    notes = await _notes(connection, log, (row.size for row in rows))
    unchecked = 0
    for row in rows:
        what = f"The cosignature by {row.name} of {row.size} leaves of the log {log}"
        if not row.published or row.size not in notes:
            return f"{what} is of a size that was not published."
        try:
            line = Signature.read(row.line)
        except Malformed as wrong:
            return f"{what} cannot be read: {wrong}."
        if (line.name, line.key_id) != (row.name, bytes(row.key_id)):
            return f"{what} is in another name than its line."
        keys = [key for key in witnesses if key.claims(line)]
        text = Note.read(notes[row.size].encode()).text
        if not all(key.verifies(text, line) for key in keys):
            return f"{what} is not by that witness's key over this checkpoint."
        unchecked += not keys
    return unchecked


async def _stamps(connection: AsyncConnection, log: str, roots: bytes | None) -> int | str:
    """Number 1 is over the checkpoint's note, each next one over the token before it (renewal)."""
    c = tables.stamp.c
    query = select(tables.stamp).where(c.log == log).order_by(c.size, c.number)
    rows = (await connection.execute(query)).all()
    notes = await _notes(connection, log, (row.size for row in rows))
    for size, group in groupby(rows, key=lambda row: int(row.size)):
        stamps = list(group)
        what = f"The time stamps of {size} leaves of the log {log}"
        if size not in notes:
            return f"{what} are of a size that was never signed."
        if [stamp.number for stamp in stamps] != list(range(1, len(stamps) + 1)):
            return f"{what} are not numbered from 1 on without a gap: one is missing or there twice."
        if roots is None:
            continue
        try:
            stated = check_chain([bytes(stamp.token) for stamp in stamps], notes[size].encode(), roots)
        except StampRefused as wrong:
            return f"{what} do not hold: {wrong}"
        for stamp, says in zip(stamps, stated, strict=True):
            if stamp.stamped_at != says.at:
                return f"{what}: number {stamp.number} is stored as of {stamp.stamped_at}, it says {says.at}."
    return len(rows) if roots is None else 0


async def strays(connection: AsyncConnection, logs: Sequence[str]) -> str | None:
    """A row of a log that is none of `logs`: nobody would ever look at it."""
    for table in tables.metadata.sorted_tables:
        key = list(table.primary_key) or list(table.c)
        query = select(*key).where(table.c.log.not_in(logs)).order_by(*key).limit(1)
        row = (await connection.execute(query)).first()
        if row is not None:
            return f"{described(table, row)} is of a log that there is not."
    return None


def described(table: Table, row: Row[Any]) -> str:
    """A row by its table and the columns that were read: "audit.tile (log events, level 0, index 3)"."""
    told = (
        f"{name} {value.hex() if isinstance(value, bytes) else value}" for name, value in row._mapping.items()
    )
    return f"The row of {table.fullname} ({', '.join(told)})"
