"""What belongs to a kit and stands beside its events: data key, private parts, cards.

A private part is bound to its event three times: the event names its salted digest, it is sealed for the
event's digest, under the kit's key, which is wrapped under the centre's. Where the centre's master key is at
hand all three are tried. What a card and its second secret hash to stands in no event: of a card is compared
that it was issued, and whether it opens.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from custody import private
from custody import tables as t
from custody.difference import Difference, differs
from custody.event import Event, private_digest
from custody.kit import Kit
from custody.ledger import Masters


@dataclass
class Opening:
    """The centres' master keys, and of how many private parts the key was not at hand, by centre.

    ``masters`` raises LookupError for a centre whose key is not at hand; it must never make a new one.
    """

    masters: Masters | None = None
    unopened: Counter[str] = field(default_factory=Counter)

    def master(self, centre: str, parts: int) -> bytes | None:
        """The master key of a centre; None, with the parts counted, where it is not at hand."""
        if self.masters is not None:
            try:
                return self.masters.master(centre)
            except LookupError:
                pass
        self.unopened[centre] += parts
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
    issued = sum(e.type == "card.issued" and e.get("card") == "issued" for e in events)
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
    yield from _keys(kit, named, parts, beside.keys[number], opening)


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
    master = opening.master(centre, len(parts))
    if master is None:
        return
    try:
        key = private.unwrap(master, wrapped, kit.number)
    except private.PrivateRefused:
        words = "it does not open with the key of its centre"
        yield Difference(subject=kit.number, column="data_key.wrapped", words=words)
        return
    for digest, event in sorted(named.items(), key=lambda pair: (pair[1].subject, pair[1].number)):
        if digest in parts and not _bound(key, parts[digest], event):
            words = f"that of {event.subject} number {event.number} is not the one that the event names"
            yield Difference(subject=kit.number, column="private_part.sealed", words=words)


def _bound(key: bytes, sealed: bytes, event: Event) -> bool:
    try:
        part = private.unseal(key, sealed, event.digest)
    except (private.PrivateRefused, ValueError):
        return False
    return private_digest(str(event.get("salt")), part) == str(event.get("private"))
