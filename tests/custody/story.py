"""The people and places of the stories: visibly invented, and the same in every test."""

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from custody import private, reading
from custody.commands import Agreement, NewItem, NewPackage, Offer, PackageRef, Register
from custody.decision import Decided, Seen
from custody.directory import Directory
from custody.event import Fact
from custody.handover import offer
from custody.items import TYPES
from custody.kit import Kit, Policy, Term
from custody.ledger import Command, Decide, Ledger, Receipt
from custody.number import RANDOM_BYTES, issue
from custody.people import CLOCK, Actor, Function
from custody.protocol import STEPS
from custody.refusal import NeedsSecond, Refused
from custody.registering import register

CENTRE, OTHER_CENTRE = "zsg-sterrenberg", "zsg-maanhoek"
ZONE, OFFICE, LAB = "pz-morgenland", "parket-avondland", "lab-zevenster"
OTHER_OFFICE, REGISTRY = "parket-dageraad", "griffie-avondland"

NURSE = Actor(function=Function.NURSE, person="nora", name="Nora Nachtwacht", organisation=CENTRE)
NURSE_2 = Actor(function=Function.NURSE, person="nils", name="Nils Nevel", organisation=CENTRE)
CUSTODIAN = Actor(function=Function.CUSTODIAN, person="casper", name="Casper Kluis", organisation=CENTRE)
CUSTODIAN_2 = Actor(function=Function.CUSTODIAN, person="cleo", name="Cleo Kast", organisation=CENTRE)
COORDINATOR = Actor(
    function=Function.COORDINATOR, person="coraline", name="Coraline Kompas", organisation=CENTRE
)
OTHER_NURSE = Actor(function=Function.NURSE, person="mira", name="Mira Maan", organisation=OTHER_CENTRE)
OFFICER = Actor(function=Function.OFFICER, person="oscar", name="Oscar Ochtend", organisation=ZONE)
MAGISTRATE = Actor(function=Function.MAGISTRATE, person="magda", name="Magda Middag", organisation=OFFICE)
ANALYST = Actor(function=Function.ANALYST, person="ana", name="Ana Lyse", organisation=LAB)
REGISTRAR = Actor(function=Function.REGISTRAR, person="rita", name="Rita Register", organisation=REGISTRY)
OTHER_MAGISTRATE = Actor(
    function=Function.MAGISTRATE, person="maud", name="Maud Morgen", organisation=OTHER_OFFICE
)
PEOPLE = (
    NURSE,
    NURSE_2,
    CUSTODIAN,
    CUSTODIAN_2,
    COORDINATOR,
    OTHER_NURSE,
    OFFICER,
    MAGISTRATE,
    ANALYST,
    REGISTRAR,
    OTHER_MAGISTRATE,
)
ORGANISATIONS = {
    CENTRE: ("centre", "Zorgcentrum Sterrenberg"),
    OTHER_CENTRE: ("centre", "Zorgcentrum Maanhoek"),
    ZONE: ("police", "Politiezone Morgenland"),
    OFFICE: ("prosecutor", "Parket Avondland"),
    OTHER_OFFICE: ("prosecutor", "Parket Dageraad"),
    REGISTRY: ("registry", "Griffie Avondland"),
    LAB: ("laboratory", "Laboratorium Zevenster"),
}
PLACES = {
    "freezer-1": (CENTRE, "Freezer 1", "frozen"),
    "shelf-1": (CENTRE, "Shelf 1", "dry"),
    "fridge-1": (CENTRE, "Fridge 1", "refrigerated"),
    "table-1": (CENTRE, "Table 1", None),
    "safe-1": (ZONE, "Safe 1", None),
    "vault-1": (REGISTRY, "Vault 1", None),
}


class PlainMasters:
    """A master key for each centre, from its name: for tests only."""

    def master(self, centre: str) -> bytes:
        return hashlib.sha256(centre.encode()).digest()

    def wrap(self, centre: str, kit: str, data_key: bytes) -> bytes:
        return private.wrap(self.master(centre), data_key, kit, secrets.token_bytes(private.NONCE_BYTES))

    def unwrap(self, centre: str, kit: str, wrapped: bytes) -> bytes:
        return private.unwrap(self.master(centre), wrapped, kit)


@dataclass
class Story:
    """A database with people in it, and short words for what they do."""

    ledger: Ledger
    clerk: Ledger
    directory: Directory

    async def look(self, actor: Actor, *kits: str) -> Seen:
        return await self.ledger.look(actor, kits)

    async def kit(self, number: str, actor: Actor = NURSE) -> Kit:
        return (await self.look(actor, number)).kit(number)

    async def do(
        self, actor: Actor, kits: Sequence[str], decide: Decide, key: str | None = None, **more: Any
    ) -> tuple[Receipt, ...]:
        """Look, decide, append. What takes two people is proposed by ``actor`` and signed by the second."""
        if actor is CLOCK:
            return await self.clerk.carry_out(_command(actor, key, kits, **more), decide)
        second = await self._second(actor, kits, decide)
        if second is None or "proposal" in more:
            return await self.ledger.carry_out(_command(actor, key, kits, **more), decide)
        proposal = await self.propose(actor, kits[0] if kits else None)
        command = _command(second, key, kits, proposal=proposal, eyes=actor, **more)
        return await self.ledger.carry_out(command, decide)

    async def _second(self, actor: Actor, kits: Sequence[str], decide: Decide) -> Actor | None:
        try:
            decided = decide(await self.look(actor, *kits))
        except (Refused, NeedsSecond):
            return None  # carrying it out says the same
        return signer(actor, decided)

    async def propose(self, actor: Actor, kit: str | None, hours: int = 1) -> str:
        """What a person proposes waits for another's signature; answers its name."""
        name = uuid4().hex
        async with self.ledger.engine.begin() as connection:
            await connection.execute(
                text(
                    "SELECT custody.propose(:id, 'story', :kit, CAST(:actor AS jsonb), '{}',"
                    " make_interval(hours => :hours))"
                ),
                {"id": name, "kit": kit, "actor": json.dumps(actor.context()), "hours": hours},
            )
        return name

    async def append(
        self, actor: Actor, seen: Seen, decided: Decided, proposal: str | None = None
    ) -> tuple[Receipt, ...]:
        """Append what was decided from an earlier look: how a test forces two to be seen at one head."""
        ledger = self.clerk if actor is CLOCK else self.ledger
        second = None if proposal else signer(actor, decided)
        if second is not None:
            kit = next((f.subject.split(":")[1] for f in decided.facts if "request" not in f.subject), None)
            proposal = await self.propose(actor, kit)
        async with ledger._driver() as driver:
            command = _command(second or actor, None, (), proposal=proposal)
            return await ledger.append(driver, command, seen, decided)

    async def registered(
        self, *, age_class: str = "adult", packages: int = 3, days: int = 182, nurse: Actor = NURSE
    ) -> str:
        """A kit of three sealed packages (frozen, dry, refrigerated) and twelve items."""
        number = new_number()
        seen_at = (await self.look(NURSE)).at
        order = kit_order(seen_at, age_class, packages)
        over = (seen_at + timedelta(days=days)).replace(hour=22, minute=0, second=0, microsecond=0)
        term = Term(
            start=seen_at.date(),
            end=over.date() - timedelta(days=1),
            notice_on=over.date() - timedelta(days=60),
            over_at=over,
        )

        def decide(seen: Seen) -> Decided:
            return register(
                seen,
                order,
                nurse,
                number=number,
                term=term,
                policy=Policy(id="be", version=1),
                item_types=TYPES,
                card={"code_hash": hashlib.sha256(number.encode()).hexdigest(), "secret_hash": "none"},
            )

        await self.do(nurse, [number], decide)
        return number


def _command(actor: Actor, key: str | None, kits: Sequence[str], **more: Any) -> Command:
    key = key or uuid4().hex
    return Command(
        actor=actor, key=key, digest=hashlib.sha256(key.encode()).digest(), kits=tuple(kits), **more
    )


def signer(actor: Actor, decided: Decided) -> Actor | None:
    """Who signs beside ``actor`` now, read from the facts of a step that takes two people."""
    for fact in decided.facts:
        if STEPS[fact.type].people > 1 and fact.who.get("person") == actor.person:
            last = list(fact.fields.get("with", ()))[-1:]
            for party in last:
                if party["part"] != "entered" and party.get("person") not in (None, actor.person):
                    return Actor(
                        function=Function(party["function"]),
                        person=party["person"],
                        name=party["name"],
                        organisation=party["organisation"],
                    )
    return None


def new_number() -> str:
    while True:
        if number := issue(secrets.token_bytes(RANDOM_BYTES)):
            return number


def seal_of(package: int) -> str:
    return f"S-{package:04}"


def ref(kit: str, package: int, **more: Any) -> PackageRef:
    return PackageRef(kit=kit, package=package, **{"seal": seal_of(package), **more})


def kit_order(at: datetime, age_class: str = "adult", packages: int = 3) -> Register:
    kinds = [("envelope", "frozen", "swab_skin"), ("bag", "dry", "underwear")]
    kinds += [("tube_rack", "refrigerated", "urine_toxicology")]
    made = []
    item = 0
    for number in range(1, packages + 1):
        kind, storage, type_ = kinds[(number - 1) % 3]
        items = []
        for _ in range(4):
            item += 1
            until = (at + timedelta(days=90)).date() if "toxicology" in type_ else None
            items.append(NewItem(item=item, type=type_, usable_until=until))
        made.append(
            NewPackage(package=number, kind=kind, storage=storage, items=tuple(items), seal=seal_of(number))  # type: ignore[arg-type]
        )
    return Register(
        examined_at=at - timedelta(hours=1),
        age_class=age_class,  # type: ignore[arg-type]  # a word of the test's parameter
        packages=tuple(made),
        agreement=Agreement(
            form_digest=hashlib.sha256(b"form").hexdigest(),
            language="nl",
            channel="email",
            channel_address="somebody@post.example",
        ),
        hospital_reference="REF-INVENTED-1",
    )


async def do(
    story: Story,
    actor: Actor,
    kit: str,
    decide: Callable[[Seen], Decided],
    *more: str,
    others: tuple[str, ...] = (),
) -> list[str]:
    """Carry out; answers the types of event that were recorded."""
    return [r.type for r in await story.do(actor, [kit, *more], decide, others=others)]


async def offered(story: Story, kit: str, to: str = CENTRE, *packages: int, way: str = "ab" * 16) -> None:
    seen = await story.look(NURSE, kit)
    refs = tuple(ref(kit, p) for p in packages or (1,))
    order = Offer(packages=refs, organisation=to, due_at=seen.at + timedelta(hours=4))
    await do(story, NURSE, kit, lambda s: offer(s, order, NURSE, story.directory, way))


def _registrations() -> list[Fact]:
    facts = [
        Fact(
            type="organisation.registered",
            subject=f"organisation:{id_}",
            who=CLOCK.who(),
            fields={"register": {"id": id_, "kind": kind, "name": name, "country": "BE"}},
        )
        for id_, (kind, name) in ORGANISATIONS.items()
    ]
    for each in PEOPLE:
        facts.append(
            Fact(
                type="person.registered",
                subject=f"person:{each.person}",
                who=CLOCK.who(),
                fields={
                    "register": {
                        "id": each.person,
                        "name": each.name,
                        "issuer": "https://sign-in.stories.example",
                        "login": f"{each.person}@stories.example",
                    }
                },
            )
        )
        facts.append(
            Fact(
                type="person.appointed",
                subject=f"person:{each.person}",
                who=CLOCK.who(),
                fields={
                    "register": {
                        "id": each.person,
                        "organisation": each.organisation,
                        "function": str(each.function),
                        "from": date(2020, 1, 1).isoformat(),
                    }
                },
            )
        )
    for id_, (organisation, name, storage) in PLACES.items():
        fields = {"id": id_, "kind": "storage", "name": name, "organisation": organisation}
        if storage:
            fields["storage"] = storage
        facts.append(
            Fact(type="place.opened", subject=f"place:{id_}", who=CLOCK.who(), fields={"register": fields})
        )
    return facts


async def begin(service: AsyncEngine, clerk: AsyncEngine) -> Story:
    """Fill an empty database with the people of the stories."""
    masters = PlainMasters()
    clerks = Ledger(clerk, masters)
    key = "begin-the-story"
    await clerks.carry_out(
        Command(actor=CLOCK, key=key, digest=hashlib.sha256(key.encode()).digest()),
        lambda seen: Decided(facts=tuple(_registrations())),
    )
    await _adopt(Ledger(service, masters))
    async with service.connect() as connection:
        known = await reading.directory(connection)
    return Story(ledger=Ledger(service, masters), clerk=clerks, directory=known)


async def _adopt(ledger: Ledger) -> None:
    """The policy that `Story.registered` names, with periods of a day; every other one comes before it."""
    day = {"period": "P1D", "source": "Invented for the stories.", "confirmed": False}
    told = {
        "id": "be",
        "version": 1,
        "country": "BE",
        "centre": None,
        "adopted_on": "2020-01-01",
        "valid_from": "2018-01-01",
        "time_zone": "Europe/Brussels",
        "kept": {"adult": day, "minor": day, "unknown": day},
        "notice": day,
        "cooling_off": day,
        "extension": {"counted_from": "end", **day},
        "contest": day,
        "unlinked": day,
    }
    document = json.dumps({"format": 1, "policies": [told]}).encode()
    digest = hashlib.sha256(document)
    adopted = Fact(
        type="policy.adopted",
        subject="policy:be",
        who=COORDINATOR.who(),
        fields={
            "policy": {"id": "be", "version": 1},
            "digest": digest.hexdigest(),
            "with": [NURSE_2.signs("second")],
        },
    )
    extra = {"policy": base64.b64encode(document).decode()}
    key = "adopt-for-the-stories"
    command = Command(actor=COORDINATOR, key=key, digest=digest.digest(), others=("policy:be",))
    await ledger.carry_out(command, lambda seen: Decided(facts=(adopted,), extra=extra))


def engine(url: str) -> AsyncEngine:
    return create_async_engine(url, poolclass=NullPool)


NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
