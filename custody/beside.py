"""What belongs to a kit and stands beside its events: data key, private parts, cards.

A private part is bound to its event three times: the event names its digest, each field is sealed for the
event's digest, under the kit's key, which is wrapped under the centre's. Where the centre's master key is at
hand all three are tried; without it, and after the key was destroyed, that the digests of the fields beside
the ciphertexts give the one that the event names. What a card and its second secret hash to stands in no
event: of a card is compared that it was issued, and whether it opens.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from custody import private
from custody import tables as t
from custody.difference import Difference, differs
from custody.event import Event
from custody.kit import Kit
from custody.ledger import Masters


@dataclass
class Opening:
    """The centres' master keys, and of how many private parts the key was not at hand, by centre.

    ``masters`` raises LookupError for a master key that is not at hand; it must never make a new one.
    """

    masters: Masters | None = None
    unopened: Counter[str] = field(default_factory=Counter)

    def key(self, kit: Kit, wrapped: bytes, parts: int) -> bytes | None:
        """The kit's data key; None, with the parts counted, where the master key is not at hand.

        Raises `custody.private.PrivateRefused` for one that does not open.
        """
        if self.masters is not None:
            try:
                return self.masters.unwrap(kit.centre, kit.number, wrapped)
            except LookupError:
                pass
        self.unopened[kit.centre] += parts
        return None


@dataclass
class Beside:
    """Of some kits: data keys (centre, wrapped key), private parts by the event's digest, and for each card
    whether it opens."""

    keys: defaultdict[str, list[tuple[str, bytes]]]
    parts: defaultdict[str, list[tuple[str, bytes]]]
    cards: defaultdict[str, list[bool]]


async def read(connection: AsyncConnection, numbers: Sequence[str]) -> Beside:
    """What stands beside the events of these kits. Needs the role custody_clerk."""
    found = Beside(defaultdict(list), defaultdict(list), defaultdict(list))
    k, p, c = t.data_key.c, t.private_part.c, t.card.c
    keys = select(k.kit, k.centre, k.wrapped).where(k.kit.in_(numbers))
    for kit, centre, wrapped in await connection.execute(keys):
        found.keys[kit].append((centre, bytes(wrapped)))
    for kit, event, sealed in await connection.execute(
        select(p.kit, p.event, p.sealed).where(p.kit.in_(numbers))
    ):
        found.parts[kit].append((bytes(event).hex(), bytes(sealed)))
    for kit, stopped_at in await connection.execute(select(c.kit, c.stopped_at).where(c.kit.in_(numbers))):
        found.cards[kit].append(stopped_at is None)
    return found


def compare(kit: Kit, events: Sequence[Event], beside: Beside, opening: Opening) -> Iterator[Difference]:
    """What differs of one kit, given all its events."""
    number = kit.number
    issued = sum(
        e.type == "card.renewed" or (e.type == "card.issued" and e.get("card") == "issued") for e in events
    )
    cards = beside.cards[number]
    if len(cards) != issued:
        yield differs(number, "card", f"{len(cards)} cards", f"{issued} were issued")
    elif sum(cards) != (opens := int(kit.card == "issued")):
        yield differs(number, "card", f"{sum(cards)} that open", f"{opens} opens")
    named = {e.digest: e for e in events if e.get("private")}
    parts = dict(beside.parts[number])
    for digest in sorted(named.keys() ^ parts.keys(), key=lambda d: (d in named, d)):
        if digest in named:
            event = named[digest]
            told = f"that of {event.subject} number {event.number} is missing"
        else:
            told = f"one is sealed for the digest {digest}, which names none"
        yield Difference(subject=number, column="private_part", words=told)
    if len(parts) != len(beside.parts[number]):
        yield Difference(subject=number, column="private_part", words="one stands there twice")
    for digest, event in _ordered(named):
        if digest in parts and not _names(parts[digest], event):
            yield _another(number, event)
            return
    yield from _keys(kit, named, parts, beside.keys[number], opening)


def _ordered(named: dict[str, Event]) -> list[tuple[str, Event]]:
    return sorted(named.items(), key=lambda pair: (pair[1].subject, pair[1].number))


def _names(sealed: bytes, event: Event) -> bool:
    """Whether the fields of a sealed part are those that the event names, as far as no key is needed."""
    try:
        return private.names(sealed) in (None, event.get("private"))
    except private.PrivateRefused:
        return False


def _another(number: str, event: Event) -> Difference:
    words = f"that of {event.subject} number {event.number} is not the one that the event names"
    return Difference(subject=number, column="private_part.sealed", words=words)


def _keys(
    kit: Kit,
    named: dict[str, Event],
    parts: dict[str, bytes],
    keys: Sequence[tuple[str, bytes]],
    opening: Opening,
) -> Iterator[Difference]:
    """The data key is there while it is needed, and gone where its destruction is on record."""
    expected = 1 if named and kit.key_destroyed_at is None else 0
    if len(keys) != expected:
        told = "it was destroyed" if kit.key_destroyed_at else ("one" if expected else "none is needed")
        yield differs(kit.number, "data_key", f"{len(keys)} keys", told)
        return
    if not keys:
        return
    centre, wrapped = keys[0]
    if centre != kit.centre:
        yield differs(kit.number, "data_key.centre", centre, kit.centre)
        return
    try:
        key = opening.key(kit, wrapped, len(parts))
    except private.PrivateRefused:
        words = "it does not open with the key of its centre"
        yield Difference(subject=kit.number, column="data_key.wrapped", words=words)
        return
    for digest, event in _ordered(named):
        if key is not None and digest in parts and not _bound(key, parts[digest], kit.number, event):
            yield _another(kit.number, event)


def _bound(key: bytes, sealed: bytes, number: str, event: Event) -> bool:
    try:
        part = private.unseal(key, sealed, number, event.digest)
    except (private.PrivateRefused, ValueError):
        return False
    return part.digest(str(event.get("salt"))) == str(event.get("private"))
