"""Writes about a kit that nobody checked: made by hand at the new head of a trail, and sent as they are."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from custody import private
from custody.disclosure import Part
from custody.event import Event, Fact, Head, place_in_trail, write_moment
from custody.kit import Kit, to_document
from custody.ledger import salt_part
from custody.people import CLOCK, Actor
from custody.trail import after
from tests.custody.byhand import APPEND, ByHand
from tests.custody.story import (
    COORDINATOR,
    CUSTODIAN_2,
    NURSE,
    OTHER_CENTRE,
    OTHER_NURSE,
    seal_of,
)


@dataclass(frozen=True, kw_only=True)
class Write:
    """One call of custody.append: who calls, the bytes, and the projection that goes with them."""

    actor: Actor
    events: tuple[Event, ...]
    documents: Mapping[str, Any]
    extra: Mapping[str, Any] = field(default_factory=dict)
    proposal: tuple[Actor, str | None] | None = None  # proposed by whom, about which kit

    @property
    def role(self) -> str:
        return "clerk" if self.actor is CLOCK else "service"

    def do(self, connection: psycopg.Connection, proposal: str | None) -> None:
        """Give it to the database in the transaction of this connection."""
        expected: dict[str, int] = {}
        for event in self.events:
            expected.setdefault(event.subject, event.number - 1)
        named = {"proposal": proposal} if proposal else {}
        connection.execute(
            APPEND,
            [
                Jsonb(self.actor.context()),
                secrets.token_hex(16),
                bytes(32),
                Jsonb(expected),
                [event.bytes for event in self.events],
                Jsonb(self.documents),
                Jsonb({**self.extra, **named}),
            ],
        )


def placed(
    hand: ByHand, kit: Kit, facts: Sequence[Fact]
) -> tuple[tuple[Event, ...], dict[str, Any], dict[str, Any]]:
    """The facts at the heads that stand now, folded into ``kit``, whatever stands in the database."""
    heads: dict[str, Head] = {}
    events: list[Event] = []
    extra: dict[str, Any] = {}
    for fact in facts:
        head = heads.get(fact.subject) or hand.head(fact.subject)
        part, salt = salt_part(fact), secrets.token_bytes(16)
        bound = None if part is None else part.digest(salt.hex())
        event = place_in_trail(fact, head, hand.now(), salt, bound)
        heads[fact.subject] = Head(number=event.number, digest=event.digest, recorded_at=event.recorded_at)
        kit = after(_at_heads(kit, hand, heads, fact.subject, event), event)
        events.append(event)
        if part is not None:
            extra.setdefault("private_parts", []).append(_sealed(len(events) - 1, part, kit.number, event))
    document = to_document(kit)
    for trail in ("custody", "choices"):
        head = heads.get(f"{trail}:{kit.number}") or hand.head(f"{trail}:{kit.number}")
        document[f"{trail}_head"] = to_document(head)
    return tuple(events), {kit.number: document}, extra


def _at_heads(kit: Kit, hand: ByHand, heads: Mapping[str, Head], subject: str, event: Event) -> Kit:
    """The kit as it was seen, said to stand where its trail stands now."""
    before = Head(number=event.number - 1, digest=event.previous)
    which = f"{subject.split(':')[0]}_head"
    return replace(kit, **{which: before})  # type: ignore[arg-type]


def _sealed(ordinal: int, part: Part, kit: str, event: Event) -> dict[str, Any]:
    """Sealed with any key: the database cannot open it."""
    nonces = secrets.token_bytes(private.NONCE_BYTES * len(part.fields))
    sealed = private.seal(bytes(32), part, kit, event.digest, nonces)
    return {"ordinal": ordinal, "sealed": base64.b64encode(sealed).decode()}


def choice(kit: str, type_: str, actor: Actor, **fields: Any) -> Fact:
    return Fact(type=type_, subject=f"choices:{kit}", who=actor.who(), fields=fields)


def custody_fact(kit: str, type_: str, actor: Actor, **fields: Any) -> Fact:
    return Fact(type=type_, subject=f"custody:{kit}", who=actor.who(), fields=fields)


def disposal(hand: ByHand, kit: Kit) -> Write:
    """Cleo carries out what was approved of the kit as she saw it; Mira signs as the observer."""
    signed = {"with": [COORDINATOR.signs("approver"), OTHER_NURSE.signs("observer")]}
    numbers = [{"package": number} for number in sorted(kit.packages)]
    seals = [{"package": number, "seal_seen": seal_of(number)} for number in sorted(kit.packages)]
    facts = (
        choice(kit.number, "disposal.carried_out", CUSTODIAN_2, packages=numbers, **signed),
        custody_fact(kit.number, "package.destroyed", CUSTODIAN_2, packages=seals, **signed),
    )
    events, documents, _ = placed(hand, kit, facts)
    new = {str(n): p for n, p in hand.kit(kit.number).packages.items() if n not in kit.packages}
    documents[kit.number]["packages"] |= {n: to_document(p) for n, p in new.items()}
    return Write(
        actor=OTHER_NURSE,
        events=events,
        documents=documents,
        proposal=(CUSTODIAN_2, kit.number),
    )


def written(hand: ByHand, kit: Kit, actor: Actor, *facts: Fact) -> Write:
    events, documents, extra = placed(hand, kit, facts)
    return Write(actor=actor, events=events, documents=documents, extra=extra)


def report(hand: ByHand, kit: Kit) -> Write:
    return written(hand, kit, NURSE, choice(kit.number, "report.declared", NURSE, how="in_person"))


def order(hand: ByHand, kit: Kit) -> Write:
    order = {"digest": "ab" * 32, "authority": "Onderzoeksrechter Avondland", "dated": "2026-01-02"}
    return written(
        hand,
        kit,
        COORDINATOR,
        custody_fact(kit.number, "order.entered", COORDINATOR, order=order),
        _held(kit, COORDINATOR, "order"),
    )


def _held(kit: Kit, actor: Actor, ground: str) -> Fact:
    return choice(kit.number, "hold.placed", actor, hold={"id": secrets.token_hex(16), "ground": ground})


def hold(hand: ByHand, kit: Kit) -> Write:
    return written(hand, kit, NURSE, _held(kit, NURSE, "suspected_pressure"))


def extension(hand: ByHand, kit: Kit) -> Write:
    assert kit.term is not None
    assert kit.policy is not None
    later = kit.term.over_at + timedelta(days=400)
    term = {
        "start": kit.term.start.isoformat(),
        "end": (kit.term.end + timedelta(days=400)).isoformat(),
        "notice_on": (kit.term.notice_on + timedelta(days=400)).isoformat(),
        "over_at": write_moment(later),
    }
    fields = {
        "how": "in_person",
        "term": term,
        "policy": {"id": kit.policy.id, "version": kit.policy.version},
    }
    return written(hand, kit, NURSE, choice(kit.number, "term.extended", NURSE, **fields))


def offer(hand: ByHand, kit: Kit) -> Write:
    offered = custody_fact(
        kit.number,
        "handover.offered",
        NURSE,
        packages=[{"package": 1, "seal": seal_of(1)}],
        handover=secrets.token_hex(16),
        counterpart={"organisation": OTHER_CENTRE, "organisation_name": "Zorgcentrum Maanhoek"},
        due_at=write_moment(hand.now() + timedelta(days=1)),
    )
    return written(hand, kit, NURSE, offered)


def supplement(hand: ByHand, kit: Kit) -> Write:
    packed = custody_fact(
        kit.number,
        "package.packed",
        NURSE,
        packages=[{"package": 4, "kind": "clothing_bag", "storage": "dry"}],
        brought_by="victim",
    )
    return written(hand, kit, NURSE, packed)


def bounce(hand: ByHand, kit: Kit) -> Write:
    row = hand.of("superuser").execute(
        "SELECT encode(event, 'hex') FROM retention.outbox WHERE kit = %s", [kit.number]
    )
    (event,) = row.fetchone() or (None,)
    back = choice(kit.number, "notice.attempted", CLOCK, how="bounced", channel="email", cites=[event])
    return written(hand, kit, CLOCK, back)
