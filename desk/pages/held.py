"""The holds of a kit as who reviews or lifts one sees them: ground, reason, person, day, and the review."""

from dataclasses import dataclass
from datetime import date, datetime

from fastapi import Request

from custody import reading
from custody.event import Event
from custody.kit import Hold, Kit
from custody.ledger import reading as seen_by
from custody.permission import may
from custody.protocol import Trail
from desk import edge, texts
from desk.edge import Signed
from desk.pages.page import day, language, translated


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldTold:
    """One hold. Without a ``reason`` where none was recorded, or this person may not read it."""

    id: str
    ground: str
    by: str
    placed_at: datetime | None
    reason: str | None
    review_on: date | None
    reviewed_at: datetime | None
    reviewed: str | None  # the reason that was given when it was looked at again
    line: str  # ground, person and day, to choose from


async def holds_of(request: Request, who: Signed, kit: Kit) -> dict[str, HoldTold]:
    """The holds that stand, by id; the choices trail that says why is read on record before."""
    if not kit.holds:
        return {}
    service = edge.service(request)
    eyes = await service.eyes(who.actor, kit)
    trail: list[Event] = []
    if may("choices_trail.read", eyes, kit):
        await service.kit(who.actor, kit.number, "choices_trail.read", "task")
    async with seen_by(service.engine, who.actor) as connection:
        if may("choices_trail.read", eyes, kit):
            trail = await reading.trail(connection, kit.number, Trail.CHOICES)
        people = [h.placed_by for h in kit.holds.values() if h.placed_by]
        names = await reading.names_of(connection, people)
    return {h.id: _told(request, h, trail, names.get(h.placed_by or "", "")) for h in kit.holds.values()}


def _told(request: Request, hold: Hold, trail: list[Event], name: str) -> HoldTold:
    placed = _last(trail, "hold.placed", hold.id)
    reviewed = _last(trail, "hold.reviewed", hold.id)
    ground = translated(request, texts.CHOICES["ground"].get(hold.ground, hold.ground))
    by = name or (str(placed.who.get("name", "")) if placed else "")
    if not by and hold.ground == "safety":
        by = translated(request, texts.CHOICES["decided_by"]["victim"])
    on = hold.placed_at.astimezone(edge.CALENDAR).date() if hold.placed_at else None
    parts = (ground[:1].upper() + ground[1:], by, day(on, language(request)) if on else "")
    return HoldTold(
        id=hold.id,
        ground=ground,
        by=by,
        placed_at=hold.placed_at,
        reason=placed.get("reason") if placed else None,
        review_on=hold.review_on,
        reviewed_at=hold.reviewed_at,
        reviewed=reviewed.get("reason") if reviewed else None,
        line=", ".join(part for part in parts if part),
    )


def _last(trail: list[Event], type_: str, hold: str) -> Event | None:
    found = [e for e in trail if e.type == type_ and e.get("hold", {}).get("id") == hold]
    return found[-1] if found else None
