"""Every read of a kit, a trail, a private part or an export is itself on record: who, what, when, why.

An access record is an event of the reader's own trail (``reads:<person>``, for a victim
``reads:card-<kit>``), chained, salted, append-only; its digest goes into the second log. It is
committed **before** anything is shown: what cannot be recorded is not shown.
"""

import secrets
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from custody.event import Event, Fact, Head, place_in_trail
from custody.people import Actor

TRIES: Final = 25  # one reader's own tabs and retries are all that ever compete for one trail

_HEAD: Final = text(
    "SELECT number, digest, recorded_at, at FROM custody.heads(ARRAY[CAST(:subject AS text)])"
)
_RECORD: Final = text("SELECT custody.record_access(:expected, :bytes, :kit)")


class NotRecorded(RuntimeError):
    """The read could not be put on record, so nothing may be shown."""


def subject_of(reader: Actor) -> str:
    """The trail in which this reader's accesses stand."""
    return f"reads:card-{reader.card}" if reader.card else f"reads:{reader.author}"


def place(
    actor: Actor,
    head: Head,
    at: datetime,
    salt: bytes,
    *,
    read: str,
    kit: str | None,
    purpose: str,
    **more: str,
) -> Event:
    """The access record after ``head`` at the database's time ``at``; ``salt`` is 16 random bytes.

    ``more`` can name ``request``, ``centre`` and ``digest``. Raises EventRefused.
    """
    fields = {"read": read, "purpose": purpose, **more, **({"kit": kit} if kit else {})}
    fact = Fact(type="access.recorded", subject=subject_of(actor), who=actor.who(), fields=fields)
    return place_in_trail(fact, head, at, salt)


async def record(
    engine: AsyncEngine, actor: Actor, *, read: str, kit: str | None, purpose: str, **more: str
) -> str:
    """Put a read on record, committed, and answer the record's digest (hex).

    ``read`` and ``purpose`` are words (``custody_trail``, ``stock_take``). ``more``: see :func:`place`.
    Raises EventRefused for a word that is none, NotRecorded when it could not be written: nothing may be
    shown then.
    """
    subject = subject_of(actor)
    for _ in range(TRIES):
        try:
            async with engine.begin() as transaction:
                row = (await transaction.execute(_HEAD, {"subject": subject})).one()
                head = Head(number=row.number, digest=row.digest, recorded_at=row.recorded_at)
                event = place(
                    actor, head, row.at, secrets.token_bytes(16), read=read, kit=kit, purpose=purpose, **more
                )
                written = {"expected": head.number, "bytes": event.bytes, "kit": kit}
                await transaction.execute(_RECORD, written)
            return event.digest
        except DBAPIError as error:
            if not _moved_on(error):
                raise NotRecorded("This could not be put on record, so it is not shown.") from error
    raise NotRecorded("Too many reads of yours at once: this one could not be put on record. Try again.")


def _moved_on(error: DBAPIError) -> bool:
    """Another read of the same person came first: the head is to be asked for again."""
    return getattr(error.orig, "sqlstate", None) in {"CU001", "40001", "40P01"}
