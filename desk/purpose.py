"""Whether the purpose of a reading is true: what the service looks up before it shows a kit.

The kit as it stands is asked first, then the person's own records: what was scanned, done and read a moment
ago. Who may not know of the kit never comes here, so no refusal of this file tells that a kit exists.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from custody import reading
from custody.departures import WATCH, left_behind
from custody.directory import day_of
from custody.event import Event, decode
from custody.kit import Kit
from custody.ledger import reading as seen_by
from custody.people import STAFF, Actor
from custody.permission import Relation, relations
from custody.purpose import (
    ACTED_WITHIN,
    CHECKED,
    GLASS,
    GLASS_HOLDS,
    TASK,
    acted_on,
    purpose_of,
    stated,
    task_with,
)

_OWN: Final = text("SELECT * FROM custody.my_readings(:kit, :since)")
_EVENTS: Final = text(
    "SELECT bytes FROM custody.event WHERE subject = ANY (:subjects) AND recorded_at >= :since"
)
_PROPOSED: Final = text(
    "SELECT EXISTS (SELECT FROM custody.proposal WHERE kit = :kit AND signed_at IS NULL AND until > :at)"
)


async def true_purpose(engine: AsyncEngine, actor: Actor, kit: Kit, purpose: str) -> str:
    """The word that goes on record for this reading of a kit, as far as it may be known. Raises NoPurpose."""
    if purpose not in CHECKED:
        return stated(actor, purpose)
    if purpose == TASK and kit.readers and actor.person not in kit.readers and kit.number in actor.glass:
        purpose = GLASS  # whatever else waits, it is the glass that opens this kit
    async with seen_by(engine, actor) as connection:
        at = await reading.now(connection)
        if purpose == TASK and task_with(kit, actor, at) is not None:
            return TASK
        own = await _own(connection, kit.number, at)
        task = purpose == TASK and await _waits(connection, kit, actor, at)
    return purpose_of(actor, purpose, task=task, own=own, at=at)


async def _own(connection: AsyncConnection, kit: str, at: datetime) -> tuple[Event, ...]:
    rows = await connection.execute(_OWN, {"kit": kit, "since": at - GLASS_HOLDS})
    return tuple(decode(bytes(row[0])) for row in rows)


async def _waits(connection: AsyncConnection, kit: Kit, actor: Actor, at: datetime) -> bool:
    """Tasks that do not stand on the kit: own work of today, signatures, requests, what somebody left."""
    subjects = [f"custody:{kit.number}", f"choices:{kit.number}"]
    rows = await connection.execute(_EVENTS, {"subjects": subjects, "since": at - ACTED_WITHIN})
    if acted_on([decode(bytes(row[0])) for row in rows], actor, at):
        return True
    if actor.function in WATCH and await left_behind(connection, actor, day_of(at), kit.number):
        return True
    if actor.function not in STAFF or Relation.OF_CENTRE not in relations(actor, kit):
        return False
    if await connection.scalar(_PROPOSED, {"kit": kit.number, "at": at}):
        return True
    open_ = await reading.open_requests(connection, kit.centre)
    return any(request["naming"].get("kit") == kit.number for request in open_)
