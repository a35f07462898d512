"""What leaves the house, and when: the public log grows in fixed slots and by whole tiles, whatever happened.

A log tells by its growth alone. Three leaves more at four in the morning are somebody who came to the centre
that night. So what the public sees of a log is not the log that is signed four times a second:

1. It is published in fixed *slots*, counted from midnight UTC, and never in between. A slot that was missed
   stays missed: only the newest one is published.
2. What is published is a whole number of tiles, and at least one tile (256 leaves) more than the last time:
   a day on which nothing happened looks like one on which 255 things did.
3. The leaves that are missing to it are *padding*: the digest of a random salt, which nobody can tell from
   the digest of an event, because the event has a salt of its own inside. The salts stay in
   `audit.tables.padding`, so that whoever checks the log against the events can tell padding from an event
   that was removed: only what is made out of a stored salt counts as padding.

Slots are counted by the database's clock, as all its times are. A slot that has not come by that clock is no
reason to wait for it (`misdated`): a clock that once was years ahead must not silence the log for years.

What still shows: by how many times 256 a log grew in one slot, and that the service was running.

`publish` does it in this order: integrate and pad in one transaction, sign, insert the row of the
publication. After a crash between two steps a repeated call finishes: a padded log that nothing has been
added to is not padded again, a signed one not signed again, and one slot has one row.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from secrets import token_bytes
from typing import Final

from sqlalchemy import and_, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit import log as logs
from audit import tables
from audit.sign import Signer
from audit.tile import WIDTH

SALT_BYTES: Final = 32
PADDING: Final = b"custody.padding/v1\n"
AHEAD: Final = timedelta(minutes=5)
"""By how much a slot may lie after the moment at which it was published: two clocks are never the same."""


class NotPublished(Exception):
    """The log was not published, and why; nothing was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """The log left the house at `size` leaves, for `slot`, at `published_at`."""

    slot: datetime
    size: int
    published_at: datetime


def padding_digest(salt: bytes) -> bytes:
    """The digest of a padding leaf: SHA-256 of the line `custody.padding/v1` and 32 random bytes.

    Raises ValueError for a salt of another length.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"the salt of a padding leaf has {SALT_BYTES} bytes, not {len(salt)}")
    return sha256(PADDING + salt).digest()


def slot_of(now: datetime, minutes: int) -> datetime:
    """When the slot began that `now` (with a time zone) is in; slots have so many minutes from midnight UTC.

    Where `minutes` do not divide the day, its last slot is shorter.
    """
    utc = now.astimezone(UTC)
    midnight = utc.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (utc - midnight) // timedelta(minutes=minutes) * timedelta(minutes=minutes)


def padded_size(size: int, published: int) -> int:
    """The size at which a log of `size` leaves leaves the house, having last done so at `published`."""
    return max(-(-size // WIDTH) * WIDTH, published + WIDTH)


async def pad(connection: AsyncConnection, log: str) -> int:
    """Fill `log` with random leaves up to its next public size, and answer that size.

    In the caller's transaction, and alone like an integrator. Raises `tile.MissingTile` as `log.append` does.
    """
    await logs.alone(connection, log)
    size = await logs.size(connection, log)
    whole = padded_size(size, await logs.published_size(connection, log) or 0)
    salts = [token_bytes(SALT_BYTES) for _ in range(size, whole)]
    if salts:
        first = await logs.append(connection, log, [padding_digest(salt) for salt in salts])
        rows = [{"log": log, "index": index, "salt": salt} for index, salt in enumerate(salts, first)]
        await connection.execute(insert(tables.padding), rows)
    return whole


async def publish(engine: AsyncEngine, signer: Signer, slot: datetime) -> Publication | None:
    """Publish the signer's log for `slot`; None when that was done, or for a later one that has come.

    Nobody else may integrate or sign this log meanwhile. Raises `NotPublished` when somebody did,
    `sign.CannotSign` and `tile.MissingTile` as signing and integrating do; all of them leave a log that the
    next call can publish.
    """
    async with engine.connect() as connection:
        if await _done(connection, signer.name, slot):
            return None
    more, whole = True, 0
    while more:
        async with engine.begin() as transaction:
            more = (await logs.integrate(transaction, signer.name)).more
            if not more:
                whole = await pad(transaction, signer.name)
    await signer.sign(engine)
    async with engine.begin() as transaction:
        if await logs.signed_size(transaction, signer.name) != whole:
            raise NotPublished(
                f"The log {signer.name} grew while it was about to be published: another process works on it."
            )
        row = insert(tables.publication).values(log=signer.name, slot=slot, size=whole)
        (published_at,) = (await transaction.execute(row.returning(tables.publication.c.published_at))).one()
    return Publication(slot=slot, size=whole, published_at=published_at)


async def _done(connection: AsyncConnection, log: str, slot: datetime) -> bool:
    """Whether `log` was published for this slot, or for a later one that is not `misdated`."""
    c = tables.publication.c
    later = and_(c.slot > slot, c.slot <= func.clock_timestamp() + AHEAD)
    found = select(c.slot).where(c.log == log, or_(c.slot == slot, later)).limit(1)
    return await connection.scalar(found) is not None


async def misdated(connection: AsyncConnection, log: str) -> datetime | None:
    """The latest slot of `log` that had not come when it was published, or has not come now; None: all had.

    A clock was ahead then, or somebody changed the row.
    """
    c = tables.publication.c
    never = or_(c.slot > c.published_at + AHEAD, c.slot > func.clock_timestamp() + AHEAD)
    found: datetime | None = await connection.scalar(select(func.max(c.slot)).where(c.log == log, never))
    return found


async def clock(connection: AsyncConnection) -> datetime:
    """The time by the database's clock, by which slots are counted."""
    now: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    return now


async def last_publication(connection: AsyncConnection, log: str) -> Publication | None:
    """The last time that `log` left the house; None before the first."""
    c = tables.publication.c
    newest = select(c.slot, c.size, c.published_at).where(c.log == log).order_by(c.size.desc()).limit(1)
    row = (await connection.execute(newest)).first()
    return None if row is None else Publication(slot=row[0], size=row[1], published_at=row[2])


async def first_published(connection: AsyncConnection, log: str, after: datetime | None) -> datetime | None:
    """When `log` first left the house after that moment (None: ever); None where it has not."""
    c = tables.publication.c
    first = select(func.min(c.published_at)).where(c.log == log)
    found: datetime | None = await connection.scalar(
        first if after is None else first.where(c.published_at > after)
    )
    return found


async def last_stamp(connection: AsyncConnection, log: str) -> tuple[int, datetime] | None:
    """The largest size of `log` that has a time stamp (RFC 3161), and the time of its last one."""
    stamp = tables.stamp.c
    found = (
        await connection.execute(
            select(stamp.size, func.max(stamp.stamped_at))
            .where(stamp.log == log)
            .group_by(stamp.size)
            .order_by(stamp.size.desc())
            .limit(1)
        )
    ).first()
    return None if found is None else (found[0], found[1])
