"""Between the look and the append: what was seen, and what was decided from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from custody.event import Fact, Head
from custody.kit import Kit
from custody.people import Actor
from custody.refusal import NotSeen


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a look saw, and when: ``at`` is the database's clock, read after everything else.

    ``glass`` names the restricted kits that were seen because this person broke the glass.
    """

    at: datetime
    kits: Mapping[str, Kit] = field(default_factory=dict)
    heads: Mapping[str, Head] = field(default_factory=dict)
    glass: frozenset[str] = frozenset()

    def eyes(self, actor: Actor) -> Actor:
        """This person, with the glass that is broken."""
        return replace(actor, glass=self.glass) if self.glass else actor

    def kit(self, number: str) -> Kit:
        """The kit of this number. Raises NotSeen."""
        if number not in self.kits:
            raise NotSeen
        return self.kits[number]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The facts of a decision and the secrets that stand outside them (hashes of a card, a policy's text)."""

    facts: tuple[Fact, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)
