"""Whether the purpose of a reading is true: what the service looks up before it shows a kit.

The kit as it stands is asked first, then the person's own records: what was scanned, done and read a moment
ago. Who may not know of the kit never comes here, so no refusal of this file tells that a kit exists.
"""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from custody import reading, readings
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
from custody.restriction import lacks_reader
from desk.adopted import readable
from retention.overdue import is_overdue_for


async def true_purpose(engine: AsyncEngine, actor: Actor, kit: Kit, purpose: str) -> str:
    """The word that goes on record for this reading of a kit, as far as it may be known. Raises NoPurpose."""
    word = purpose if purpose in CHECKED else stated(actor, purpose)
    if kit.readers and actor.person not in kit.readers and kit.number in actor.glass:
        purpose = GLASS  # whatever else waits or is stated, it is the glass that opens this kit
    elif purpose not in CHECKED:
        return word
    async with seen_by(engine, actor) as connection:
        at = await reading.now(connection)
        if purpose == TASK and task_with(kit, actor, at) is not None:
            return TASK
        own = await readings.own(connection, kit.number, at - GLASS_HOLDS)
        task = purpose == TASK and await _waits(connection, kit, actor, at)
    return purpose_of(actor, purpose, task=task, own=own, at=at)


async def _waits(connection: AsyncConnection, kit: Kit, actor: Actor, at: datetime) -> bool:
    """Tasks that do not stand on the kit alone: own work of today, signatures, requests, what is late,
    and what somebody left."""
    if acted_on(await readings.events_since(connection, kit.number, at - ACTED_WITHIN), actor, at):
        return True
    if actor.function not in STAFF or Relation.OF_CENTRE not in relations(actor, kit):
        return False
    if await readings.is_proposed(connection, kit.number, at):
        return True
    if is_overdue_for(kit, actor, readable(await reading.policies(connection)), at):
        return True
    if kit.readers and lacks_reader(kit, await reading.directory(connection)):
        return True
    open_ = await reading.open_requests(connection, kit.centre)
    if any(request["naming"].get("kit") == kit.number for request in open_):
        return True
    return await readings.is_left(connection, _holders(kit), at)


def _holders(kit: Kit) -> list[str]:
    """The people of the centre who answer for its packages."""
    holders = [package.holder for package in kit.open_packages if package.holder is not None]
    return sorted({h.person for h in holders if h.organisation == kit.centre and h.person is not None})
