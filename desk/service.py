"""One worker: its database, its ledger, whose tokens it trusts, and how a command is carried out."""

import asyncio
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncEngine

from custody import access, reading
from custody import card as cards
from custody import commands as c
from custody.decision import Decided, Seen
from custody.directory import Directory
from custody.event import Event
from custody.items import TYPES
from custody.kit import Kit
from custody.ledger import Command, Ledger, Receipt, place
from custody.ledger import reading as seen_by
from custody.number import RANDOM_BYTES, issue, parse_kit_number
from custody.people import Actor
from custody.permission import Relation, as_known, kept_out, permit
from custody.private import PrivateRefused
from custody.prosecution import request
from custody.protocol import Trail
from custody.refusal import KeyUsed, NeedsSecond, NotSeen, Refused
from custody.registering import reserve
from custody.restriction import may_sign
from desk import session as sessions
from desk.adopted import readable
from desk.doors import BY_ACTION, STAND_IN, Doing, Door
from desk.issuer import LocalIssuer
from desk.purpose import true_purpose
from desk.settings import CannotStart, Settings
from desk.token import Verifier
from retention import keeping
from retention.policy import Policy

CARD_ENDS: Final = frozenset({"card.stopped", "card.renewed"})

SEALED: Final = "sealed"
"""Under this name a command that waits keeps its private fields, sealed (`Ledger.seal_waiting`)."""


class NotAsked(NotSeen):
    """This person is not asked to observe a disposal of this name. One answer, whatever else there is."""

    def __init__(self) -> None:
        Refused.__init__(
            self,
            "You are not asked to observe a disposal of this name. Perhaps it was taken back, or it lapsed.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A command as it came in: who, under which key, on which state, and its exact content."""

    actor: Actor
    key: str
    body: bytes
    expected: str | None = None

    def digest(self, action: str) -> bytes:
        """Of the command, to tell a retry from another command under the same key."""
        return hashlib.sha256(action.encode() + b"\n" + self.body).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The command was carried out; its receipts."""

    receipts: tuple[Receipt, ...]
    kit: str | None = None
    card_code: str | None = None  # shown once, never again
    card_secret: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The command waits for a second person until then."""

    proposal: str
    until: datetime


class Service:
    """What a web worker shares between its requests."""

    def __init__(
        self,
        settings: Settings,
        engine: AsyncEngine,
        ledger: Ledger,
        verifier: Verifier,
        local_issuer: LocalIssuer | None,
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.ledger = ledger
        self.verifier = verifier
        self.local_issuer = local_issuer

    async def directory(self) -> Directory:
        async with self.engine.connect() as connection:
            return await reading.directory(connection)

    async def policies(self) -> tuple[Policy, ...]:
        """Every adopted policy version that can be read; `retention.alarms` tells of others."""
        async with self.engine.connect() as connection:
            documents = await reading.policies(connection)
        return readable(documents)

    # --- commands --------------------------------------------------------------------------

    async def carry_out(self, door: Door, order: Any, given: Given) -> Done | Waiting:
        """Carry out a command, or let it wait for the second person whom it takes.

        Raises Refused, NotSeen, Stale, KeyUsed, MovedOn; nothing is written then.
        """
        doing = await self._doing(door, order, given.actor, None)
        try:
            return Done(receipts=await self._decide(door, order, given, doing, None))
        except NeedsSecond:
            return await self._propose(door, order, given, doing)
        except Refused:
            # Sent again after the second person signed: what was proposed then is still the answer.
            if door.two_people and (waiting := await self._waiting(door, order, given)):
                return waiting
            raise

    async def _doing(
        self,
        door: Door,
        order: Any,
        actor: Actor,
        second: Actor | None,
        card: Mapping[str, str] | None = None,
    ) -> Doing:
        kits = tuple(_number(k) for k in door.kits(order))
        return Doing(
            actor=actor,
            second=second,
            directory=await self.directory(),
            policies=await self.policies(),
            chance=secrets.token_hex(16),
            trail=await self._trail_for(actor, kits) if door.needs_trail else (),
            unanswered=await self._unanswered(actor) if door.needs_requests else 0,
            asked=await self._asked(actor, kits) if door.needs_asked else {},
            card=card,
            lying=await self._lying(actor, order) if door.needs_place else frozenset(),
        )

    async def _decide(
        self, door: Door, order: Any, given: Given, doing: Doing, proposal: str | None
    ) -> tuple[Receipt, ...]:
        command = Command(
            actor=given.actor,
            key=given.key,
            digest=given.digest(door.action),
            kits=tuple(_number(k) for k in door.kits(order)),
            others=tuple(door.others(doing, order)),
            proposal=proposal,
            expected=given.expected,
            eyes=doing.actor,
        )
        receipts = await self.ledger.carry_out(command, lambda seen: _decided(door, order, doing, seen))
        await self._close_pages(receipts)
        return receipts

    async def _close_pages(self, receipts: tuple[Receipt, ...]) -> None:
        """With a card that was stopped or renewed, every page that it had opened is closed."""
        kits = {r.trail.split(":")[1] for r in receipts if r.type in CARD_ENDS}
        for kit in kits:
            async with self.engine.begin() as connection:
                await sessions.close_all_of_card(connection, kit)

    async def _asked(self, actor: Actor, kits: tuple[str, ...]) -> dict[str, tuple[str, str]]:
        async with seen_by(self.engine, actor) as connection:
            known = (await reading.kits(connection, kits)).values()
            return await reading.asked_about(connection, [m.request for kit in known for m in kit.matches])

    async def _lying(self, actor: Actor, order: c.TakeStock) -> frozenset[tuple[str, int]]:
        async with seen_by(self.engine, actor) as connection:
            return await reading.lying_in(connection, order.place)

    async def _unanswered(self, actor: Actor) -> int:
        async with seen_by(self.engine, actor) as connection:
            return len(await reading.open_requests(connection, actor.organisation or ""))

    async def _trail_for(self, actor: Actor, kits: tuple[str, ...]) -> tuple[Event, ...]:
        async with seen_by(self.engine, actor) as connection:
            trails = [await reading.trail(connection, kit, Trail.CUSTODY) for kit in kits]
        return tuple(event for trail in trails for event in trail)

    async def _propose(self, door: Door, order: Any, given: Given, doing: Doing) -> Waiting:
        """Let the command wait, once it is sure that a second signature is all it lacks."""
        await self._rehearse(door, order, doing)
        kits = door.kits(order)
        command = await self._sealed(door, order, given)
        async with self.engine.begin() as connection:
            used = {"author": given.actor.author, "key": given.key}
            if await connection.scalar(text("SELECT count(*) FROM custody.receipts(:author, :key)"), used):
                raise KeyUsed
            await connection.execute(
                text(
                    "SELECT custody.propose(:id, :action, :kit, CAST(:actor AS jsonb),"
                    " CAST(:command AS jsonb), :valid)"
                ),
                {
                    "id": _proposal_name(given),
                    "action": door.action,
                    "kit": _number(kits[0]) if kits else None,
                    "actor": json.dumps(given.actor.context() | {"name": given.actor.name}),
                    "command": json.dumps(command),
                    "valid": door.valid,
                },
            )
        waiting = await self._waiting(door, order, given)
        if waiting is None:
            raise KeyUsed
        return waiting

    async def _waiting(self, door: Door, order: Any, given: Given) -> Waiting | None:
        """What this very command proposed earlier under its key."""
        async with seen_by(self.engine, given.actor) as connection:
            row = await reading.proposal(connection, _proposal_name(given))
        if row is None or row["action"] != door.action:
            return None
        if await self.proposed(given.actor, row) != _written(door, order):
            return None
        return Waiting(proposal=row["id"], until=row["until"])

    async def _sealed(self, door: Door, order: Any, given: Given) -> dict[str, Any]:
        """A command as it waits: what is private in it is sealed and stands nowhere else. Raises Refused."""
        command = _written(door, order)
        hidden = {name: command.pop(name) for name in door.private if command.get(name) is not None}
        if hidden:
            (number,) = (_number(k) for k in door.kits(order))
            kit = (await self.ledger.look(given.actor, [number])).kit(number)
            try:
                command[SEALED] = await self.ledger.seal_waiting(
                    given.actor, kit, _proposal_name(given), hidden
                )
            except (PrivateRefused, CannotStart):
                raise Refused(
                    "This cannot wait for a second signature: the key that would close its private part"
                    " cannot be used now. Nothing was kept. Tell those who run the service, and try again."
                ) from None
        return command

    async def proposed(self, actor: Actor, row: RowMapping) -> dict[str, Any]:
        """What waits for a second signature, private fields and all. Raises Refused if these do not open."""
        door = BY_ACTION[row["action"]]
        command = {name: value for name, value in row["command"].items() if name != SEALED}
        if sealed := row["command"].get(SEALED):
            kit = (await self.ledger.look(actor, [row["kit"]])).kit(row["kit"])
            try:
                command |= await self.ledger.open_waiting(actor, kit, row["id"], sealed)
            except (PrivateRefused, CannotStart):
                raise Refused(
                    "What was proposed cannot be read: the key of the kit does not open its private part. Let"
                    " it be taken back and proposed again; if that fails too, tell those who run the service."
                ) from None
        return _written(door, TypeAdapter(door.shape).validate_json(json.dumps(command)))

    async def _rehearse(self, door: Door, order: Any, doing: Doing) -> None:
        """Decide with somebody in the second person's place, and write nothing: what would be refused after
        the second signature is refused before the first one is kept."""
        kits = tuple(_number(k) for k in door.kits(order))
        # Of a restricted kit the second person will be another reader.
        stand_in = replace(doing.actor, person=STAND_IN, name=STAND_IN, glass=frozenset(kits))
        if door.action == "policy.adopt":  # signed by a coordinator of another centre too
            stand_in = replace(stand_in, organisation=STAND_IN)
        rehearsal = replace(doing, second=stand_in, card={} if door.needs_card else None)
        seen = await self.ledger.look(doing.actor, kits, tuple(door.others(rehearsal, order)))
        place(_decided(door, order, rehearsal, seen, STAND_IN).facts, seen)

    async def observe(self, proposal: str, given: Given) -> Done:
        """Sign as the observer of a disposal, and nothing else. Raises NotAsked, Refused."""
        await self._asked_to_observe(proposal, given.actor)
        return await self.sign(proposal, given)

    async def decline(self, proposal: str, actor: Actor, why: str | None = None) -> None:
        """Decline to observe a disposal; who asked reads who declined, when and ``why``. Raises NotAsked."""
        query = text("SELECT custody.decline_observation(:id, :why)")
        async with seen_by(self.engine, actor) as connection:
            if not await connection.scalar(query, {"id": proposal, "why": why}):
                raise NotAsked

    async def _asked_to_observe(self, proposal: str, actor: Actor) -> None:
        async with seen_by(self.engine, actor) as connection:
            if await reading.observation(connection, proposal) is None:
                raise NotAsked

    async def sign(self, proposal: str, given: Given) -> Done:
        """Sign what another person proposed: the decision is taken again, with both.

        Where one person is asked to sign, nobody else does. Who is asked to observe a disposal may read
        nothing of it: what was proposed is then looked at with the eyes of who proposed it.
        """
        async with seen_by(self.engine, given.actor) as connection:
            asked = await reading.observation(connection, proposal)
        if asked is None:
            permit("proposal.sign", given.actor)
            eyes = given.actor
        else:
            permit("disposal.observe", given.actor)
            eyes = await self._actor_of(asked.person, asked.organisation, asked.function)
        async with seen_by(self.engine, eyes) as connection:
            waiting = await reading.proposal(connection, proposal)
            now = await reading.now(connection)
        if waiting is None or (waiting.signed_at is None and waiting.until <= now):
            raise NotSeen
        if waiting.signer not in (None, given.actor.person):
            raise Refused("This signature is asked of another person.")
        door = BY_ACTION[waiting.action]
        command = await self.proposed(eyes, waiting)
        order = TypeAdapter(door.shape).validate_json(json.dumps(command))
        proposer = await self._actor_of(waiting.person, waiting.organisation, waiting.function)
        if proposer.person == given.actor.person:
            raise Refused("The second signature must be another person's.")
        code, secret, hashes = None, None, None
        if door.needs_card:
            code, secret, hashes = await asyncio.to_thread(_new_card)  # its hash is made to be slow
        doing = await self._doing(door, order, proposer, given.actor, hashes)
        receipts = await self._decide(door, order, given, doing, proposal)
        if hashes is None or receipts[0].repeated:
            return Done(receipts=receipts, kit=waiting.kit)
        return Done(receipts=receipts, kit=waiting.kit, card_code=code, card_secret=secret)

    async def _actor_of(self, person: str, organisation: str, function: str) -> Actor:
        for each in (await self.directory()).appointments:
            if (each.person, each.organisation, each.function) == (person, organisation, function):
                return each.actor()
        raise Refused("The person who proposed this no longer holds that function.")

    async def drop(self, proposal: str, actor: Actor) -> None:
        """Take a proposal back, or decline it. Raises NotSeen."""
        async with seen_by(self.engine, actor) as connection:
            if not await connection.scalar(text("SELECT custody.drop_proposal(:id)"), {"id": proposal}):
                raise NotSeen

    # --- commands that need more than a decision -------------------------------------------

    async def register(self, order: c.Register, given: Given) -> Done:
        """Register a kit under a new number, or a reserved one; the card's code and secret are shown once."""
        permit("kit.register", given.actor)
        number = await self._number_for(order, given.actor)
        policies = await self.policies()
        code, secret, hashes = None, None, None
        if order.card == "issued":
            code, secret, hashes = await asyncio.to_thread(_new_card)  # its hash is made to be slow

        def decide(seen: Seen) -> Decided:
            return keeping.register(
                seen,
                order,
                given.actor,
                number=number,
                policies=policies,
                item_types=TYPES,
                card=hashes,
            )

        command = Command(
            actor=given.actor, key=given.key, digest=given.digest("kit.register"), kits=(number,)
        )
        receipts = await self.ledger.carry_out(command, decide)
        if receipts[0].repeated:
            return Done(receipts=receipts, kit=receipts[0].trail.split(":")[1])
        return Done(receipts=receipts, kit=number, card_code=code, card_secret=secret)

    async def _number_for(self, order: c.Register, actor: Actor) -> str:
        if order.number is None:
            return new_number()
        number = parse_kit_number(order.number)
        async with seen_by(self.engine, actor) as connection:
            known = [row.number for row in await reading.reserved(connection, actor.organisation or "")]
        if number not in known and (await self.ledger.look(actor, [number])).kits == {}:
            raise Refused("This number was not reserved for your centre.", field="number")
        return number

    async def reserve(self, order: c.ReserveNumbers, given: Given) -> tuple[Receipt, ...]:
        """Set numbers aside for an outage."""
        numbers = [new_number() for _ in range(min(max(order.count, 0), 50))]
        subject = f"organisation:{given.actor.organisation}"
        command = Command(
            actor=given.actor, key=given.key, digest=given.digest("numbers.reserve"), others=(subject,)
        )
        return await self.ledger.carry_out(command, lambda seen: reserve(order, given.actor, numbers))

    async def ask(self, order: c.Request, given: Given) -> tuple[Receipt, ...]:
        """The police ask; the answer is *received*, whatever is found."""
        directory = await self.directory()
        if order.kit is not None:
            parse_kit_number(order.kit)
        id_ = secrets.token_hex(16)
        command = Command(
            actor=given.actor,
            key=given.key,
            digest=given.digest("request.send"),
            others=(f"request:{id_}",),
        )
        return await self.ledger.carry_out(command, lambda seen: request(order, given.actor, directory, id_))

    # --- reading ---------------------------------------------------------------------------

    async def kit(self, actor: Actor, number: str, action: str, purpose: str) -> Kit:
        """A kit as far as this person may know of it; the reading is on record before anything is shown.

        Raises NotSeen, NotPermitted, and only then NoPurpose, where the purpose is not true.
        """
        async with seen_by(self.engine, actor) as connection:
            known = await reading.known(connection, number)
        if known is None:
            raise NotSeen
        kit, relation = known
        # Of a restricted kit the database shows the whole to the readers and to who broke the glass.
        eyes = replace(actor, glass=frozenset({number})) if relation == Relation.OF_CENTRE else actor
        permit(action, eyes, kit)
        shown = as_known(eyes, kit)
        why = await true_purpose(self.engine, eyes, shown, purpose)
        await access.record(self.engine, actor, read=action.replace(".", "_"), kit=number, purpose=why)
        return shown

    async def eyes(self, actor: Actor, kit: Kit) -> Actor:
        """This person as they stand to what is shown of the kit: with the glass, where they broke it."""
        return (await self.ledger.look(actor, [kit.number])).eyes(actor) if kept_out(actor, kit) else actor


def _decided(door: Door, order: Any, doing: Doing, seen: Seen, stand_in: str | None = None) -> Decided:
    """The decision of a door, by who acts as they stand to what was seen. Raises Refused, NeedsSecond."""
    if doing.second is not None and doing.second.person != stand_in:
        for kit in seen.kits.values():
            if door.action != "disposal.carry_out":  # an observer reads nothing, of any kit
                may_sign(kit, doing.second)
    return door.decide(replace(doing, actor=seen.eyes(doing.actor)), order, seen)


def _number(text_: str) -> str:
    """A kit number out of a command; a mistyped one is caught here, before any query."""
    return parse_kit_number(text_)


def _written(door: Door, order: Any) -> dict[str, Any]:
    """A command as JSON has it, every field of its shape."""
    written: dict[str, Any] = json.loads(TypeAdapter(door.shape).dump_json(order))
    return written


def _proposal_name(given: Given) -> str:
    """The same person and key give the same proposal, so that no key serves two commands."""
    return hashlib.sha256(f"proposal\n{given.actor.author}\n{given.key}".encode()).hexdigest()[:32]


def new_number() -> str:
    """A kit number that nobody can guess."""
    while True:
        if number := issue(secrets.token_bytes(RANDOM_BYTES)):
            return number


def _new_card() -> tuple[str, str, Mapping[str, str]]:
    code = None
    while code is None:
        code = cards.issue_code(secrets.token_bytes(15))
    secret = cards.issue_secret(secrets.token_bytes(16))
    hashes = {
        "code_hash": cards.code_hash(code).hex(),
        "secret_hash": cards.secret_hash(secret, secrets.token_bytes(16)),
    }
    return cards.written_code(code), cards.written_secret(secret), hashes
