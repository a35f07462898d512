"""What a door is: one command that people can give, and what its decision may need beside what was seen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from custody.decision import Decided, Seen
from custody.directory import Directory
from custody.event import Event
from custody.people import Actor
from custody.refusal import Refused
from retention.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """What a decision may need beside what was seen: who acts, who signs too, who and what there is.

    ``chance`` is 128 fresh random bits in hexadecimal; ``trail`` and ``unanswered`` (how many requests of the
    police wait at this centre), ``asked`` (what the matched requests named), ``card`` (the hashes of a new
    card) and ``lying`` (what is recorded in the place of the command) are filled where a door asks for them.
    """

    actor: Actor
    second: Actor | None
    directory: Directory
    policies: tuple[Policy, ...]
    chance: str
    card: Mapping[str, str] | None = None
    lying: frozenset[tuple[str, int]] = frozenset()
    trail: tuple[Event, ...] = ()
    unanswered: int = 0
    asked: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def person(self, id_: str | None, organisation: str | None, function: str) -> Actor:
        """Somebody who signed earlier, as the directory knows them today. Raises Refused."""
        for each in self.directory.appointments:
            if (each.person, each.organisation, each.function) == (id_, organisation, function):
                return each.actor()
        raise Refused("The person who signed before no longer holds that function. Let another sign.")


Decision = Callable[[Doing, Any, Seen], Decided]


def one_kit(order: Any) -> tuple[str, ...]:
    return (order.kit,)


def kits_of_packages(order: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(p.kit for p in order.packages))


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """One command. ``path`` is below ``/api``; ``kits`` says which kits are looked at.

    ``private`` are the fields that belong to the private part of the kit: they wait sealed for a second one.
    """

    path: str
    action: str
    shape: type[Any]
    decide: Decision
    says: str
    kits: Callable[[Any], tuple[str, ...]] = one_kit
    others: Callable[[Doing, Any], Sequence[str]] = field(default=lambda x, o: ())
    needs_trail: bool = False
    needs_requests: bool = False
    needs_asked: bool = False
    needs_card: bool = False
    needs_place: bool = False
    two_people: bool = False
    private: tuple[str, ...] = ()
    valid: timedelta = timedelta(days=3)
