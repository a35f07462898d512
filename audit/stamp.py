"""Time stamps over checkpoints: asked of an authority (RFC 3161), checked, and only then stored.

The rules:

1. What leaves the house is the SHA-512 of a signed checkpoint's note, or of an older stamp, and a random
   number (RFC 3161 sections 2.4.1 and 3.4). No digest of an event, no size, no name.
2. The answer must be over that very SHA-512, repeat that number, state a time within `SKEW` of this host's
   clock, and pass `audit.token.check` against the configured roots. Only then is it inserted.
3. Stamp 1 of a checkpoint is over the exact bytes of its note; stamp k + 1 is over the bytes of token k. That
   renews it: what token k proves goes on being proved when its certificates have expired or its algorithms
   are broken, provided stamp k + 1 was made before.
4. A renewal that would not hold longer than what it renews is not stored: it would prove nothing new.

Checking needs no network and no clock: it is in `audit.token`, whose names are repeated here.
"""

import asyncio
import http.client
import ipaddress
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from audit import tables
from audit.token import (
    LONGEST_ANSWER,
    Stamped,
    StampRefused,
    check,
    check_chain,
    read_answer,
    request,
)

__all__ = [
    "Renewed",
    "StampRefused",
    "Stamped",
    "check",
    "check_chain",
    "renew",
    "stamp",
    "unstamped",
]

SKEW: Final = timedelta(minutes=5)
PATIENCE: Final = 15.0  # seconds for the whole answer

Told = Callable[[int, int], None]
"""Hears how many of how many stamps were looked at."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """What `renew` did: how many stamps it made, and which it could not save (a sentence each)."""

    made: int
    lost: tuple[str, ...]


async def unstamped(engine: AsyncEngine, log: str) -> int | None:
    """The size of the last publication of `log`, if it has no stamp yet; None otherwise."""
    published, stamped = tables.publication.c, tables.stamp.c
    last = select(published.size).where(published.log == log).order_by(published.size.desc()).limit(1)
    async with engine.connect() as connection:
        size: int | None = await connection.scalar(last)
        there = select(stamped.number).where(stamped.log == log, stamped.size == size, stamped.number == 1)
        return None if size is None or await connection.scalar(there) else size


async def stamp(engine: AsyncEngine, log: str, size: int, url: str, roots: bytes) -> Stamped | None:
    """Have the checkpoint of `size` leaves stamped by the authority at `url`; None where it has a stamp.

    `roots`: certificates in PEM at which the stamp's chain must end. Raises `StampRefused` when there is no
    such checkpoint, the authority does not answer, or its answer does not pass; nothing is stored then.
    """
    note, tokens = await _stored(engine, log, size)
    if note is None:
        raise StampRefused(f"The log {log} has no signed checkpoint of {size} leaves.")
    if tokens:
        return None
    token, stamped = await _ask(url, note, roots)
    return stamped if await _keep(engine, log, size, 1, token, stamped) else None


async def renew(
    engine: AsyncEngine, log: str, url: str, roots: bytes, before: datetime, told: Told = lambda *_: None
) -> Renewed:
    """Stamp again what was last stamped with certificates or algorithms that do not last until `before`.

    `roots` must hold the roots of all authorities whose stamps are kept, the former ones too. A stamp that
    cannot be checked, or whose chain has expired already, is left as it is and named in the answer. Raises
    `StampRefused` when the authority does not answer, or its stamps would not last longer than those there.
    """
    each = tables.stamp.c
    async with engine.connect() as connection:
        rows = await connection.execute(
            select(each.size).where(each.log == log, each.number == 1).order_by(each.size)
        )
        sizes = [size for (size,) in rows]
    made, lost = 0, []
    for done, size in enumerate(sizes, 1):
        try:
            note, tokens = await _stored(engine, log, size)
            last = check_chain(tokens, note or b"", roots)[-1]
            if last.expires <= datetime.now(UTC):
                raise StampRefused(
                    f"It held until {last.expires:%Y-%m-%d} and was not renewed in time; a new one would not"
                    " prove what it proved."
                )
        except StampRefused as wrong:
            lost.append(f"The stamp of the log {log} at {size} leaves is not renewed. {wrong}")
        else:
            if last.lasts < before:
                made += await _renew_one(engine, log, size, url, roots, last)
        told(done, len(sizes))
    return Renewed(made, tuple(lost))


async def _renew_one(engine: AsyncEngine, log: str, size: int, url: str, roots: bytes, last: Stamped) -> bool:
    note, tokens = await _stored(engine, log, size)
    token, stamped = await _ask(url, tokens[-1], roots)
    if stamped.lasts <= last.lasts:
        raise StampRefused(
            f"The authority's stamps last until {stamped.lasts:%Y-%m-%d}, no longer than the one of the log"
            f" {log} at {size} leaves that should be renewed. Ask again when it has a new certificate, or"
            " configure another authority."
        )
    check_chain([*tokens, token], note or b"", roots)
    return await _keep(engine, log, size, len(tokens) + 1, token, stamped)


async def _stored(engine: AsyncEngine, log: str, size: int) -> tuple[bytes | None, list[bytes]]:
    """A checkpoint's note, and its stamps, the first one first."""
    signed, each = tables.checkpoint.c, tables.stamp.c
    async with engine.connect() as connection:
        note: str | None = await connection.scalar(
            select(signed.note).where(signed.log == log, signed.size == size)
        )
        rows = await connection.execute(
            select(each.token).where(each.log == log, each.size == size).order_by(each.number)
        )
        return None if note is None else note.encode(), [bytes(token) for (token,) in rows]


async def _keep(
    engine: AsyncEngine, log: str, size: int, number: int, token: bytes, stamped: Stamped
) -> bool:
    """Insert; False where another process was first, whose stamp is as good."""
    row = insert(tables.stamp).values(log=log, size=size, number=number, token=token, stamped_at=stamped.at)
    async with engine.begin() as transaction:
        done = await transaction.execute(row.on_conflict_do_nothing().returning(tables.stamp.c.number))
        return done.first() is not None


async def _ask(url: str, data: bytes, roots: bytes) -> tuple[bytes, Stamped]:
    """A token over `data`, checked (rule 2). Raises `StampRefused`."""
    nonce = secrets.randbits(128)
    token = read_answer(await asyncio.to_thread(_post, url, request(data, nonce)))
    stamped = check(token, data, roots, nonce)
    if abs(stamped.at - datetime.now(UTC)) > SKEW:
        raise StampRefused(
            f"The authority stamped {stamped.at:%Y-%m-%d %H:%M:%S} UTC, which is more than"
            f" {SKEW.seconds // 60} minutes off this host's clock. One of the two is wrong."
        )
    return token, stamped


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Stamps come from the configured address or not at all."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _post(url: str, question: bytes) -> bytes:
    """What the authority answers (RFC 3161 section 3.4). Runs in a thread. Raises `StampRefused`."""
    parts = urlsplit(url)
    loopback = _is_loopback(parts.hostname)
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise StampRefused(f"The authority at {url} is not asked: its address must begin with https://.")
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if loopback:
        handlers.append(urllib.request.ProxyHandler({}))
    asked = urllib.request.Request(  # noqa: S310 - checked above
        url,
        data=question,
        headers={"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"},
    )
    until = time.monotonic() + PATIENCE
    try:
        with urllib.request.build_opener(*handlers).open(asked, timeout=PATIENCE) as answer:
            if answer.status != 200 or answer.headers.get_content_type() != "application/timestamp-reply":
                raise StampRefused(f"What answers at {url} is no time stamp authority.")
            found = b""
            while piece := answer.read1(16384):
                found += piece
                if len(found) > LONGEST_ANSWER or time.monotonic() > until:
                    raise StampRefused(f"The authority's answer at {url} is too long or too slow.")
            return found
    except urllib.error.HTTPError as fault:
        fault.close()
        raise StampRefused(f"The authority at {url} answered {fault.code} instead of a time stamp.") from None
    except (OSError, http.client.HTTPException) as fault:
        reason = getattr(fault, "reason", fault)
        raise StampRefused(f"The authority at {url} does not answer: {reason}.") from fault


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
