"""The demo: invented people, places and kits in a database that is marked as fictional for good.

The kits come about as they would at a centre: through the same decisions and the same `append`.
"""

import asyncio
import base64
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal
from uuid import uuid4

import psycopg
from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from custody import commands as c
from custody import reading
from custody.decision import Decided
from custody.directory import Directory
from custody.event import Fact
from custody.handling import store
from custody.handover import accept, offer
from custody.items import TYPES
from custody.ledger import Command, Decide, Ledger, Receipt
from custody.people import Actor
from custody.prosecution import declare
from desk import issuer, people_file
from desk.adopted import readable
from desk.database import libpq
from desk.issuer import LocalIssuer
from desk.masters import FileMasters
from desk.people import bring_up_to
from desk.people_file import Account
from desk.service import new_number
from desk.settings import CannotStart, Settings
from retention import keeping
from retention.policy import AgeClass as Kept
from retention.policy import Policy, load
from retention.term import agreed_term

SEED: Final = files("desk").joinpath("seed")
PEOPLE: Final = people_file.read(SEED.joinpath("demo.json").read_bytes())
DEMO: Final = hashlib.sha256(b"the people of the demo").digest()
AgeClass = Literal["adult", "minor", "unknown"]
Kind = Literal["envelope", "clothing_bag", "tube_rack"]
Storage = Literal["frozen", "refrigerated", "dry"]


def fill(settings: Settings) -> Sequence[str]:
    """Make the database a fictional one, fill it at the first start, and say who can sign in.

    Raises CannotStart for a database that holds real kits.
    """
    if not settings.demo or settings.clerk_database_url is None or settings.migrator_database_url is None:
        raise CannotStart("The demo needs CUSTODY_DEMO=fictional and all three database addresses.")
    asyncio.run(_fill(settings, settings.clerk_database_url))
    organisations = {each.id: each.name.removesuffix(" (fictional)") for each in PEOPLE.organisations}
    everybody = [
        f"  {p.name:<18} {p.appointments[0].function:<12} {organisations[p.appointments[0].organisation]}"
        for p in PEOPLE.people
    ]
    return [
        "Everybody and everything in it is invented. These people can sign in, without a password:",
        *everybody,
        "A victim has a card and a second number instead: register a kit as a nurse to get both.",
        f"All of it is kept in {settings.data}. The next start goes on with it; without that folder the demo"
        " begins anew.",
    ]


async def _fill(settings: Settings, clerk_url: str) -> None:
    service = create_async_engine(str(settings.database_url), poolclass=NullPool)
    clerk = create_async_engine(clerk_url, poolclass=NullPool)
    try:
        async with service.begin() as connection:
            await issuer.settle_database(connection, demo=True)
        _install_clock(str(settings.migrator_database_url))
        demo = Demo(settings, service, clerk)
        await demo.people()
        await demo.kits()
        await demo.later_policy()
    except issuer.DemoRefused as refused:
        raise CannotStart(str(refused)) from refused
    finally:
        await service.dispose()
        await clerk.dispose()


def _install_clock(url: str) -> None:
    with psycopg.connect(libpq(url), autocommit=True) as connection:
        connection.execute("SET ROLE custody_owner")
        connection.execute(SEED.joinpath("demo_clock.sql").read_bytes())


async def let_pass(engine: AsyncEngine, days: int) -> None:
    """Let the demo's clock go on by some days. Only a fictional database has such a clock."""
    async with engine.begin() as connection:
        await connection.execute(text("SELECT desk.let_pass(:days)"), {"days": days})


class Demo:
    """Fills a fictional database; each step has a key of its own, so that a second start repeats nothing."""

    def __init__(self, settings: Settings, service: AsyncEngine, clerk: AsyncEngine) -> None:
        masters = FileMasters(settings.keys)
        self._service = service
        self._ledger, self._clerk = Ledger(service, masters), Ledger(clerk, masters)
        self._issuer = LocalIssuer.open(
            demo=settings.demo, data=Path(settings.data), base_url=settings.base_url
        ).url
        self._directory = Directory()
        self._policies: tuple[Policy, ...] = ()

    async def _do(self, actor: Actor, key: str, kits: Sequence[str], decide: Decide, *others: str) -> Receipt:
        command = Command(
            actor=actor,
            key=f"demo-{key}",
            digest=hashlib.sha256(key.encode()).digest(),
            kits=tuple(kits),
            others=others,
        )
        return (await self._ledger.carry_out(command, decide))[0]

    async def people(self) -> None:
        """Organisations, people, places and the retention policy."""
        await self._look_around()
        if not self._directory.organisations:  # later the register is whoever plays with the demo's
            known = tuple(
                dataclasses.replace(p, accounts=(Account(issuer=self._issuer, login=p.id),))
                for p in PEOPLE.people
            )
            await bring_up_to(self._clerk, dataclasses.replace(PEOPLE, people=known), DEMO)
            await self._look_around()
        await self._adopt(_seed("belgium.json"))
        await self._look_around()

    async def later_policy(self) -> None:
        """The second version of the policy, which keeps some kits longer than the first one does."""
        await self._look_around()
        await self._adopt(_seed("belgium-2.json"))

    async def _look_around(self) -> None:
        async with self._service.connect() as connection:
            self._directory = await reading.directory(connection)
            documents = await reading.policies(connection)
        self._policies = readable(documents)

    async def _adopt(self, document: bytes) -> None:
        """The coordinator and a second person adopt the policy."""
        (policy,) = load(document)
        if any(each.reference == policy.reference for each in self._policies):
            return
        proposer, signer = self._as("coraline"), self._as("nora")
        fact = Fact(
            type="policy.adopted",
            subject=f"policy:{policy.id}",
            who=proposer.who(),
            fields={
                "policy": {"id": policy.id, "version": policy.version},
                "digest": hashlib.sha256(document).hexdigest(),
                "with": [signer.signs("second")],
            },
        )
        decided = Decided(facts=(fact,), extra={"policy": base64.b64encode(document).decode()})
        proposal = uuid4().hex
        async with self._service.begin() as connection:
            await connection.execute(
                text(
                    "SELECT custody.propose(:id, 'policy.adopt', NULL, CAST(:actor AS jsonb), '{}',"
                    " interval '1 hour')"
                ),
                {"id": proposal, "actor": json.dumps(proposer.context() | {"name": proposer.name})},
            )
        key = f"demo-policy {policy.reference}"
        command = Command(
            actor=signer,
            key=key,
            digest=hashlib.sha256(key.encode()).digest(),
            others=(fact.subject,),
            proposal=proposal,
        )
        await self._ledger.carry_out(command, lambda seen: decided)

    def _as(self, person: str) -> Actor:
        for each in self._directory.appointments:
            if each.person == person:
                return each.actor()
        raise CannotStart(f"{person} is not among the people of this database; use another data folder.")

    async def kits(self) -> None:
        """Six kits at different points of their way."""
        now = (await self._ledger.look(self._as("nora"))).at
        fresh = await self._kit("fresh", now - timedelta(hours=2), "adult")
        stored = await self._kit("stored", _kept_longer(now - timedelta(days=20), "minor"), "minor")
        await self._to_store("stored", stored)
        on_the_way = await self._kit("on-the-way", now - timedelta(days=1), "adult")
        await self._offered("on-the-way", on_the_way, "casper")
        reported = await self._kit("reported", now - timedelta(days=40), "adult")
        await self._to_store("reported", reported)
        nora = self._as("nora")
        told = c.DeclareReport(kit=reported, how="in_person")
        await self._do(nora, "report", [reported], lambda s: declare(s.kit(reported), told, nora))
        # Its notice falls due at once, and the notice period ends with the term, not long after it.
        ending = await self._kit("ending", now - timedelta(days=124), "adult")
        await self._to_store("ending", ending)
        await self._kit("other-centre", now - timedelta(days=3), "adult", "mira")
        assert fresh, "the first kit stays with the nurse who registered it"

    async def _kit(self, name: str, examined: datetime, age_class: AgeClass, nurse: str = "nora") -> str:
        number = new_number()
        order = _order(name, examined, age_class)
        if (await self._ledger.look(self._as(nurse))).at - examined > timedelta(days=7):
            # An examination of weeks ago is entered from the record that was made on paper then.
            record = hashlib.sha256(f"paper {name}".encode()).hexdigest()
            order = dataclasses.replace(order, paper=c.Paper(digest=record, occurred_at=examined))
        actor = self._as(nurse)

        def decide(seen: Any) -> Decided:
            return keeping.register(
                seen,
                order,
                actor,
                number=number,
                policies=self._policies,
                item_types=TYPES,
                card=None,
            )

        receipt = await self._do(actor, f"kit {name}", [number], decide)
        return receipt.trail.split(":")[1]

    async def _offered(self, name: str, kit: str, receiver: str) -> None:
        nora, to = self._as("nora"), self._as(receiver)
        refs = tuple(c.PackageRef(kit=kit, package=n, seal=_seal(name, n)) for n in (1, 2, 3))

        def decide(seen: Any) -> Decided:
            order = c.Offer(
                packages=refs,
                organisation=str(to.organisation),
                person=to.person,
                due_at=seen.at + timedelta(hours=3),
            )
            handover = hashlib.sha256(name.encode()).hexdigest()[:32]
            return offer(seen, order, nora, self._directory, handover)

        await self._do(nora, f"offer {name}", [kit], decide)

    async def _to_store(self, name: str, kit: str) -> None:
        """Handed over to the custodian, who accepts and puts each package into a fitting place."""
        casper = self._as("casper")
        await self._offered(name, kit, "casper")
        refs = tuple(c.PackageRef(kit=kit, package=n, seal=_seal(name, n)) for n in (1, 2, 3))
        await self._do(casper, f"accept {name}", [kit], lambda s: accept(s, c.Accept(packages=refs), casper))
        for ref, place in zip(refs, ("freezer-1", "shelf-1", "fridge-1"), strict=True):
            order = c.Store(packages=(ref,), place=place)
            decide = partial(store, order=order, actor=casper, directory=self._directory)
            await self._do(casper, f"store {name} {place}", [kit], decide)


def _seed(name: str) -> bytes:
    return files("retention").joinpath("seed", name).read_bytes()


def _kept_longer(around: datetime, age_class: AgeClass) -> datetime:
    """That moment, or the same of a day before, on which an examination starts a term that the second version
    of the policy lets end later: the first one lets it end at a weekend."""
    (first,), (second,) = load(_seed("belgium.json")), load(_seed("belgium-2.json"))
    kept = Kept(age_class)
    return next(
        at
        for at in (around - timedelta(days=n) for n in range(7))
        if agreed_term(second, kept, at).end > agreed_term(first, kept, at).end
    )


def _seal(name: str, package: int) -> str:
    return f"DEMO-{hashlib.sha256(name.encode()).hexdigest()[:4].upper()}-{package}"


def _order(name: str, examined: datetime, age_class: AgeClass) -> c.Register:
    """Three packages with twelve items, as after an examination."""
    contents: tuple[tuple[Kind, Storage, tuple[str, ...]], ...] = (
        ("envelope", "frozen", ("swab_skin", "swab_oral", "swab_nails", "swab_control", "saliva_reference")),
        ("clothing_bag", "dry", ("underwear", "clothing_upper", "clothing_lower", "hair_foreign")),
        ("tube_rack", "refrigerated", ("blood_toxicology", "urine_toxicology", "urine_toxicology")),
    )
    packages, item = [], 0
    for number, (kind, storage, types) in enumerate(contents, 1):
        items = []
        for type_ in types:
            item += 1
            usable = examined.date() + timedelta(days=180) if "toxicology" in type_ else None
            items.append(c.NewItem(item=item, type=type_, usable_until=usable))
        packages.append(
            c.NewPackage(
                package=number,
                kind=kind,
                storage=storage,
                items=tuple(items),
                seal=_seal(name, number),
            )
        )
    return c.Register(
        examined_at=examined,
        age_class=age_class,
        packages=tuple(packages),
        agreement=c.Agreement(form_digest=hashlib.sha256(name.encode()).hexdigest(), language="nl"),
        card="declined",
        hospital_reference=f"INVENTED-{name.upper()}",
    )
