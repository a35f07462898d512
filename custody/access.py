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

from custody import readings
from custody.event import Event, Fact, Head, place_in_trail
from custody.ledger import reading as seen_by
from custody.people import STAFF, Actor
from custody.permission import permit
from custody.purpose import GLASS, GLASS_REASONS
from custody.refusal import NotPermitted, NotSeen, Refused
from custody.review import FOUND

TRIES: Final = 25  # one reader's own tabs and retries are all that ever compete for one trail

_HEAD: Final = text(
    "SELECT number, digest, recorded_at, at FROM custody.heads(ARRAY[CAST(:subject AS text)])"
)
_RECORD: Final = text("SELECT custody.record_access(:expected, :bytes, :kit)")


_BEHIND: Final = text("SELECT custody.behind_glass(:kit)")
_KNOWN: Final = text(
    "SELECT EXISTS (SELECT FROM custody.known_kit WHERE number = :kit AND relation = 'of_its_centre')"
)


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

    ``more`` can name ``request``, ``centre``, ``digest`` and ``reason``. Raises EventRefused.
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


async def break_glass(engine: AsyncEngine, actor: Actor, *, kit: str, reason: str) -> str:
    """Open a restricted kit of the own centre for one hour, on record; answers the record's digest.

    ``reason`` is one of ``custody.purpose.GLASS_REASONS``. Raises NotPermitted for who is no staff of a
    centre, Refused for another reason and for a kit that stands open anyway, and NotSeen for one that does
    not exist or is another centre's: then the attempt is on record, and no kit is named in it.
    """
    if actor.function not in STAFF:
        raise NotPermitted("Your function does not allow this.")
    if reason not in GLASS_REASONS:
        words = ", ".join(GLASS_REASONS)
        raise Refused("Say why you break the glass: {words}.", field="reason", words=words)
    async with seen_by(engine, actor) as connection:
        behind = bool(await connection.scalar(_BEHIND, {"kit": kit}))
        known = bool(await connection.scalar(_KNOWN, {"kit": kit}))
    if behind and known:
        raise Refused("This kit stands open to you. Open it with a scan, a task or a reason.", field="kit")
    named = kit if behind else None
    digest = await record(engine, actor, read=GLASS, kit=named, purpose=GLASS, reason=reason)
    if not behind:
        raise NotSeen
    return digest


async def review(engine: AsyncEngine, actor: Actor, *, digest: str, found: str | None = None) -> str:
    """Put on record that a reading was looked at; answers the digest of that record.

    ``found`` is what the review came to, one of ``custody.review.FOUND``, or nothing. For a coordinator of
    the kit's centre who is another person than the reader. Raises NotPermitted, Refused; NotSeen where no
    reading of the own centre has this digest.
    """
    permit("reading.review", actor)
    if found is not None and found not in FOUND:
        raise Refused("Say what you found: {words}.", field="found", words=", ".join(FOUND))
    async with seen_by(engine, actor) as connection:
        looked = await readings.of_digest(connection, digest)
        if looked is None or looked.kit is None:
            raise NotSeen
        if await readings.one_person(connection, looked.person, actor.person):
            raise NotPermitted("Another coordinator reviews what you read yourself.")
        if await readings.is_reviewed(connection, looked):
            raise Refused("This reading was reviewed already.")
    more = {"digest": digest} if found is None else {"digest": digest, "reason": found}
    return await record(engine, actor, read="reading_reviewed", kit=looked.kit, purpose="review", **more)


def _moved_on(error: DBAPIError) -> bool:
    """Another read of the same person came first: the head is to be asked for again."""
    return getattr(error.orig, "sqlstate", None) in {"CU001", "40001", "40P01"}
