"""The wrapped data keys as they stand in the database, for whoever replaces a master key (the clerk)."""

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from custody import tables as t

_REWRAP = text("SELECT custody.rewrap(:kit, :old, :new)")


async def centres(connection: AsyncConnection) -> list[str]:
    """The identifiers of the centres that are registered, in order."""
    o = t.organisation.c
    return [
        str(each) for each in await connection.scalars(select(o.id).where(o.kind == "centre").order_by(o.id))
    ]


async def data_keys(connection: AsyncConnection) -> list[tuple[str, str, bytes]]:
    """Centre, kit and wrapped data key of every kit that has one, in order."""
    k = t.data_key.c
    rows = await connection.execute(select(k.centre, k.kit, k.wrapped).order_by(k.centre, k.kit))
    return [(str(centre), str(kit), bytes(wrapped)) for centre, kit, wrapped in rows]


async def rewrap(connection: AsyncConnection, kit: str, old: bytes, new: bytes) -> bool:
    """Put ``new`` in the place of ``old``; False where ``old`` is no longer what stands there."""
    return bool(await connection.scalar(_REWRAP, {"kit": kit, "old": old, "new": new}))
