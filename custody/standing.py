"""The register as it stands: organisations, places, people, their accounts and functions."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from custody import reading
from custody import tables as t
from custody.directory import day_of

Held = tuple[date, date | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The register on a day. ``appointments`` are by person, organisation and function; ``packages_in``
    counts what lies in each place; ``accounts`` are those that sign somebody in, by issuer and login."""

    today: date
    organisations: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    people: Mapping[str, str] = field(default_factory=dict)
    merged: Mapping[str, str] = field(default_factory=dict)
    accounts: Mapping[tuple[str, str], str] = field(default_factory=dict)
    removed: Collection[tuple[str, str, str]] = ()
    appointments: Mapping[tuple[str, str, str], tuple[Held, ...]] = field(default_factory=dict)
    places: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    packages_in: Mapping[str, int] = field(default_factory=dict)

    def human(self, person: str) -> str:
        """Who this entry turned out to be."""
        while person in self.merged:
            person = self.merged[person]
        return person


async def standing(connection: AsyncConnection) -> Standing:
    """The register as it stands. Needs the role custody_clerk."""

    async def rows(table: Any) -> list[Any]:
        return list((await connection.execute(select(table))).mappings())

    people, accounts = await rows(t.person), await rows(t.account)
    appointments: dict[tuple[str, str, str], list[Held]] = {}
    for a in await rows(t.appointment):
        held = appointments.setdefault((a["person"], a["organisation"], a["function"]), [])
        held.append((a["from"], a["until"]))
    p = t.package.c
    lying = select(p.place, func.count()).where(p.place.is_not(None)).group_by(p.place)
    return Standing(
        today=day_of(await reading.now(connection)),
        organisations={
            o["id"]: {name: o[name] for name in ("kind", "name", "country", "zone")}
            for o in await rows(t.organisation)
        },
        people={each["id"]: each["name"] for each in people},
        merged={each["id"]: each["merged_into"] for each in people if each["merged_into"] is not None},
        accounts={(a["issuer"], a["login"]): a["person"] for a in accounts if a["removed_at"] is None},
        removed={(a["issuer"], a["login"], a["person"]) for a in accounts if a["removed_at"] is not None},
        appointments={key: tuple(sorted(held, key=lambda h: h[0])) for key, held in appointments.items()},
        places={each["id"]: dict(each) for each in await rows(t.place)},
        packages_in={row[0]: row[1] for row in await connection.execute(lying)},
    )
