"""What a form offers to choose from: places, receivers, colleagues, requests, and what the kit itself has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from fastapi import Request

from custody import reading
from custody.directory import Directory
from custody.kit import Kit, Package
from custody.ledger import reading as seen_by
from custody.people import STAFF, Actor, OrganisationKind
from custody.permission import kept_out
from custody.protocol import Custody
from desk import edge, texts
from desk.pages.page import day, kit_written, language, translated

KINDS_OF: Final = {
    "office": (OrganisationKind.PROSECUTOR,),
    "zone": (OrganisationKind.POLICE,),
    "centre": (OrganisationKind.CENTRE,),
}


@dataclass(frozen=True, slots=True)
class Option:
    """One choice of a form."""

    value: str
    label: str
    group: str = ""
    translate: bool = False
    notes: tuple[str, ...] = ()  # words after the label, to be translated


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What a form is about: packages that were scanned, or a kit, and the directory around them."""

    actor: Actor
    directory: Directory
    at: datetime
    kits: Mapping[str, Kit] = field(default_factory=dict)
    packages: tuple[tuple[Kit, Package], ...] = ()
    query: Mapping[str, str] = field(default_factory=dict)
    whole: Mapping[str, Kit] = field(default_factory=dict)  # never shown: only to go on counting
    asked: Mapping[str, str] = field(default_factory=dict)  # requests of the police, in words
    holds: Mapping[str, str] = field(default_factory=dict)  # holds by id, in words

    def counted(self, kit: Kit | None) -> Kit | None:
        """The kit with all its packages, those that are not known here too: a new number follows the last."""
        return kit and self.whole.get(kit.number, kit)

    @property
    def kit(self) -> Kit | None:
        return next(iter(self.kits.values()), None)


def listed(action: str, name: str, chosen: Chosen) -> list[Option] | None:
    """Options that come from the directory or the kit; None where there are none to choose from."""
    kit = chosen.kit
    match name:
        case "place":
            return places(chosen)
        case "organisation":
            return receivers(chosen)
        case "office" | "zone" | "centre":
            kinds = KINDS_OF[name]
            return [
                Option(o.id, o.name)
                for o in sorted(chosen.directory.organisations.values(), key=lambda o: o.name)
                if o.kind in kinds
            ]
        case "readers":
            return colleagues(chosen)
        case "request":
            return (
                [Option(m.request, chosen.asked.get(m.request, m.request[:12])) for m in kit.matches]
                if kit
                else []
            )
        case "hold":
            holds = kit.holds.values() if kit else ()
            return [Option(h.id, chosen.holds.get(h.id, h.ground)) for h in holds]
        case "items":
            return [Option(str(i.item), f"{i.item}", group=i.group) for i in _items(chosen)]
        case "not_found":
            return [Option(str(p.package), str(p.package)) for p in (kit.open_packages if kit else ())]
        case "packages" if action == "package.join":
            opened = [p for p in (kit.open_packages if kit else ()) if p.state is Custody.OPENED]
            return [Option(str(p.package), str(p.package)) for p in opened]
        case _:
            return None


def _items(chosen: Chosen) -> list[Any]:
    kit = chosen.kit
    if kit is None:
        return []
    left = {p.package for p in kit.open_packages}
    return [i for i in kit.items.values() if i.package in left]


def places(chosen: Chosen) -> list[Option]:
    """Open places of the person's organisation, those that fit every package that was scanned."""
    wanted = {package.storage for _, package in chosen.packages}
    return [
        Option(p.id, p.name)
        for p in sorted(chosen.directory.places.values(), key=lambda p: p.name)
        if p.organisation == chosen.actor.organisation
        and (p.storage is None or not wanted or wanted == {p.storage})
    ]


def by_storage(chosen: Chosen) -> dict[str, str]:
    """The scanned packages of each storage condition as the query of an address."""
    found: dict[str, list[str]] = {}
    for kit, package in chosen.packages:
        found.setdefault(str(package.storage), []).append(f"p={kit.number}.{package.package}")
    return {storage: "&".join(named) for storage, named in sorted(found.items())}


def receivers(chosen: Chosen) -> list[Option]:
    """Whom packages can be offered to: an organisation, or a person of it, grouped by organisation."""
    found = []
    hands = {"nurse", "custodian", "coordinator", "officer", "analyst", "registrar"}
    for o in sorted(
        chosen.directory.organisations.values(), key=lambda o: (o.id != chosen.actor.organisation, o.name)
    ):
        people = sorted(
            {
                (a.person, a.name, str(a.function))
                for a in chosen.directory.appointments
                if a.organisation == o.id and str(a.function) in hands and a.person != chosen.actor.person
            },
            key=lambda a: a[1],
        )
        if not people:
            continue
        found.append(Option(o.id, texts._("Anybody there"), group=o.name, translate=True))
        found += [
            Option(f"{o.id}/{p}", name, group=o.name, notes=unread(chosen, o.id, p)) for p, name, _ in people
        ]
    return found


def colleagues(chosen: Chosen) -> list[Option]:
    """The people of the kit's centre, each once, who can be named as its readers."""
    centre = chosen.kit.centre if chosen.kit else chosen.actor.organisation
    here: dict[tuple[str, str], list[str]] = {}
    for a in chosen.directory.appointments:
        if a.organisation == centre and a.function in STAFF:
            here.setdefault((a.name, a.person), []).append(texts.FUNCTIONS[a.function])
    return [
        Option(person, name, notes=tuple(dict.fromkeys(held)))
        for (name, person), held in sorted(here.items())
    ]


def unread(chosen: Chosen, organisation: str, person: str) -> tuple[str, ...]:
    """A word at a colleague who is no reader of a restricted kit: told to its readers alone."""
    for kit in chosen.kits.values():
        told = kit.readers and kit.centre == organisation and not kept_out(chosen.actor, kit)
        if told and person not in kit.readers:
            return (texts._("not a reader: will see only what is offered"),)
    return ()


def unread_by(chosen: Chosen) -> list[str]:
    """The colleagues who are no readers of a restricted kit that stands on the form, by name."""
    names = {
        a.name
        for a in chosen.directory.appointments
        if a.person != chosen.actor.person and unread(chosen, a.organisation, a.person)
    }
    return sorted(names)


async def asked_in_words(request: Request, who: edge.Signed, ids: Sequence[str]) -> dict[str, str]:
    """Requests of the police as people know them: report, zone, day, and what was asked for."""
    if not ids:
        return {}
    service = edge.service(request)
    async with seen_by(service.engine, who.actor) as connection:
        rows = await reading.requests_named(connection, ids)
    names, lang = (await service.directory()).organisations, language(request)
    told = {}
    for id_, row in rows.items():
        naming = row["naming"]
        received = day(row["received_at"].astimezone(edge.CALENDAR).date(), lang)
        parts = [naming["pv"], names[row["zone"]].name]
        parts.append(translated(request, texts._("received on {day}")).format(day=received))
        if "kit" in naming:
            kit = kit_written(naming["kit"])
            parts.append(translated(request, texts._("asked for kit {kit}")).format(kit=kit))
        if "examined_on" in naming:
            on = day(date.fromisoformat(naming["examined_on"]), lang)
            parts.append(translated(request, texts._("asked for the examination of {day}")).format(day=on))
        told[id_] = ", ".join(parts)
    return told
