"""Who acts: a person in a function at an organisation, a victim with a card, or the clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Function(StrEnum):
    NURSE = "nurse"
    CUSTODIAN = "custodian"
    COORDINATOR = "coordinator"
    OFFICER = "officer"
    ANALYST = "analyst"
    REGISTRAR = "registrar"
    MAGISTRATE = "magistrate"
    AUDITOR = "auditor"
    OBSERVER = "observer"  # signs as observer of a disposal, and reads nothing
    VICTIM = "victim"
    CLOCK = "clock"


class OrganisationKind(StrEnum):
    CENTRE = "centre"
    POLICE = "police"
    PROSECUTOR = "prosecutor"
    LABORATORY = "laboratory"
    REGISTRY = "registry"
    OVERSIGHT = "oversight"
    HOSPITAL = "hospital"


# Which functions people hold at which kind of organisation.
AT: Final[Mapping[Function, OrganisationKind]] = {
    Function.NURSE: OrganisationKind.CENTRE,
    Function.CUSTODIAN: OrganisationKind.CENTRE,
    Function.COORDINATOR: OrganisationKind.CENTRE,
    Function.OFFICER: OrganisationKind.POLICE,
    Function.ANALYST: OrganisationKind.LABORATORY,
    Function.REGISTRAR: OrganisationKind.REGISTRY,
    Function.MAGISTRATE: OrganisationKind.PROSECUTOR,
    Function.AUDITOR: OrganisationKind.OVERSIGHT,
    Function.OBSERVER: OrganisationKind.HOSPITAL,
}
STAFF: Final = frozenset({Function.NURSE, Function.CUSTODIAN, Function.COORDINATOR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts now. ``card`` is the kit number that a victim's card opened.

    ``glass`` names restricted kits that this person broke the glass to within the hour; PostgreSQL says so.
    """

    function: Function
    person: str | None = None
    name: str | None = None
    organisation: str | None = None
    card: str | None = None
    glass: frozenset[str] = frozenset()

    @property
    def author(self) -> str:
        """Under which name keys of commands are kept: the person, the card's kit, or the clock."""
        return self.person or self.card or str(self.function)

    def who(self) -> dict[str, Any]:
        """The ``who`` of an event."""
        if self.person is None:
            return {"function": str(self.function)}
        return {
            "person": self.person,
            "name": self.name,
            "function": str(self.function),
            "organisation": self.organisation,
        }

    def signs(self, part: str) -> dict[str, Any]:
        """An entry of ``with``: this person signs too, in this part."""
        return {"part": part, **self.who()}

    def context(self) -> dict[str, Any]:
        """What the database is told about who acts."""
        told = {
            "person": self.person,
            "function": str(self.function),
            "organisation": self.organisation,
            "card": self.card,
        }
        return {k: v for k, v in told.items() if v is not None}


CLOCK: Final = Actor(function=Function.CLOCK)
