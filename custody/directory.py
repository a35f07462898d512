"""Organisations, people and places as they stand, handed to decisions as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from custody.people import Actor, Function, OrganisationKind
from custody.refusal import NoSuchPlace, Refused

CALENDAR: Final = ZoneInfo("Europe/Brussels")
"""Whose days count for appointments; the same as in ``custody.check_who``."""


def day_of(at: datetime) -> date:
    """The day on which an instant lies, where appointments are made."""
    return at.astimezone(CALENDAR).date()


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    id: str
    kind: OrganisationKind
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPlace:
    id: str
    organisation: str
    name: str
    storage: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Appointment:
    """A person's function at an organisation; the last day counts."""

    person: str
    name: str
    function: Function
    organisation: str
    from_: date
    until: date | None = None

    def actor(self) -> Actor:
        return Actor(
            person=self.person, name=self.name, function=self.function, organisation=self.organisation
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """Who and what there is. Never contains a kit."""

    organisations: Mapping[str, Organisation] = field(default_factory=dict)
    places: Mapping[str, OpenPlace] = field(default_factory=dict)
    appointments: tuple[Appointment, ...] = ()
    merged: Mapping[str, str] = field(default_factory=dict)

    def human(self, person: str) -> str:
        """Who this entry of the register turned out to be, where somebody was registered twice."""
        while person in self.merged:
            person = self.merged[person]
        return person

    def organisation(self, id_: str, field_: str = "organisation") -> Organisation:
        """Raises Refused naming the field."""
        if id_ not in self.organisations:
            raise Refused("There is no organisation {id}.", field=field_, id=id_)
        return self.organisations[id_]

    def place_of(self, actor: Actor, id_: str) -> OpenPlace:
        """An open place of the person's own organisation. Raises NoSuchPlace."""
        place = self.places.get(id_)
        if place is None or place.organisation != actor.organisation:
            raise NoSuchPlace
        return place

    def person(self, id_: str, organisation: str, field_: str = "person") -> Appointment:
        """A person with a function at this organisation. Raises Refused naming the field."""
        for each in self.appointments:
            if each.person == id_ and each.organisation == organisation:
                return each
        raise Refused("There is no such person at {organisation}.", field=field_, organisation=organisation)
