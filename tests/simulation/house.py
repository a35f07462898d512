"""Two centres, police, a laboratory and a prosecutor's office, on a real database whose clock can jump."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from custody import reading
from custody.decision import Decided, Seen
from custody.directory import Directory
from custody.event import Event, Fact, decode
from custody.ledger import Command, Decide, Ledger, MovedOn, Receipt
from custody.people import CLOCK, Actor, Function
from custody.refusal import NeedsSecond, Refused
from desk import database as ground
from desk.postgres import SUPERUSER, EmbeddedServer
from retention.policy import Policy
from tests.conftest import FAST, MOVE_THE_CLOCK, Database
from tests.custody import story as told
from tests.custody.story import CENTRE, OTHER_CENTRE, PlainMasters, signer

NAME = "sixty_years"
INDEX = "CREATE INDEX simulation_order ON custody.event (recorded_at)"
SINCE = (
    "SELECT bytes FROM custody.event WHERE recorded_at > %s AND trail IN ('custody', 'choices', 'request')"
    " ORDER BY recorded_at, idempotency_key, ordinal"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Staff:
    """Who works at one centre, and where its kits lie; the observer comes from the other one."""

    centre: str
    nurse: Actor
    second: Actor
    custodian: Actor
    carrier: Actor
    coordinator: Actor
    observer: Actor
    frozen: str
    dry: str


def _person(id_: str, name: str, function: Function, centre: str) -> Actor:
    return Actor(function=function, person=id_, name=name, organisation=centre)


HERE = Staff(
    centre=CENTRE,
    nurse=told.NURSE,
    second=told.NURSE_2,
    custodian=told.CUSTODIAN,
    carrier=told.CUSTODIAN_2,
    coordinator=told.COORDINATOR,
    observer=told.OTHER_NURSE,
    frozen="freezer-1",
    dry="shelf-1",
)
THERE = Staff(
    centre=OTHER_CENTRE,
    nurse=told.OTHER_NURSE,
    second=_person("marit", "Marit Mist", Function.NURSE, OTHER_CENTRE),
    custodian=_person("corneel", "Corneel Koffer", Function.CUSTODIAN, OTHER_CENTRE),
    carrier=_person("celeste", "Celeste Cel", Function.CUSTODIAN, OTHER_CENTRE),
    coordinator=_person("cosima", "Cosima Cirkel", Function.COORDINATOR, OTHER_CENTRE),
    observer=told.NURSE,
    frozen="freezer-2",
    dry="shelf-2",
)


def _registrations() -> list[Fact]:
    """The people of the other centre that the stories have no need of, and its places."""
    facts: list[Fact] = []
    for each in (THERE.second, THERE.custodian, THERE.carrier, THERE.coordinator):
        login = f"{each.person}@simulation.example"
        register = {
            "id": each.person,
            "name": each.name,
            "issuer": "https://sign-in.simulation.example",
            "login": login,
        }
        appointed = {
            "id": each.person,
            "organisation": each.organisation,
            "function": str(each.function),
            "from": date(2020, 1, 1).isoformat(),
        }
        for type_, fields in (("person.registered", register), ("person.appointed", appointed)):
            facts.append(
                Fact(
                    type=type_,
                    subject=f"person:{each.person}",
                    who=CLOCK.who(),
                    fields={"register": fields},
                )
            )
    for id_, name, storage in (
        (THERE.frozen, "Freezer 2", "frozen"),
        (THERE.dry, "Shelf 2", "dry"),
    ):
        fields = {
            "id": id_,
            "kind": "storage",
            "name": name,
            "organisation": OTHER_CENTRE,
            "storage": storage,
        }
        facts.append(
            Fact(type="place.opened", subject=f"place:{id_}", who=CLOCK.who(), fields={"register": fields})
        )
    return facts


@contextmanager
def server(folder: Path) -> Iterator[Database]:
    """A PostgreSQL of its own, which the supervisor of the product runs; without waiting for the disk."""
    with EmbeddedServer(folder / "data", extra=FAST | {"shared_buffers": "512MB"}) as running:
        superuser = running.url(SUPERUSER, "postgres")
        ground.prepare(superuser, running.role_passwords, NAME)
        ground.migrate(running.url("custody_migrator", NAME))
        with psycopg.connect(ground.libpq(running.url(SUPERUSER, NAME)), autocommit=True) as connection:
            connection.execute(MOVE_THE_CLOCK)
        yield Database(server=running, name=NAME)


@dataclass
class House:
    """The service and its clerk on one database, and the hand that moves the clock."""

    database: Database
    ledger: Ledger
    clerk: Ledger
    directory: Directory
    admin: psycopg.Connection = field(repr=False)
    policies: tuple[Policy, ...] = ()
    refused: dict[str, int] = field(default_factory=dict)
    appends: int = 0
    _last: datetime | None = None

    def now(self) -> datetime:
        row = self.admin.execute("SELECT custody.clock()").fetchone()
        assert row is not None
        at = row[0]
        assert isinstance(at, datetime)
        return at

    def go_to(self, at: datetime) -> None:
        """The clock jumps onwards; it never goes back."""
        self.admin.execute(
            "UPDATE testing.clock_offset SET amount = greatest(amount, %s - clock_timestamp())", [at]
        )

    def written(self) -> list[Event]:
        """Every event since the last time, in the order of writing."""
        since = self._last or datetime(1970, 1, 1).astimezone()
        rows = self.admin.execute(SINCE, [since]).fetchall()
        events = [decode(bytes(row[0])) for row in rows]
        if events:
            self._last = events[-1].recorded_at
        return events

    async def act(
        self, actor: Actor, kits: Sequence[str], decide: Decide, *others: str
    ) -> tuple[Receipt, ...]:
        """Look, decide, append; what takes two people is proposed by the first and signed by the second.

        Raises Refused as the service would answer it.
        """
        while True:
            seen = await self.ledger.look(actor, kits, others)
            try:
                return await self.write(actor, seen, decide(seen), kits)
            except MovedOn:
                continue

    async def write(
        self, actor: Actor, seen: Seen, decided: Decided, kits: Sequence[str]
    ) -> tuple[Receipt, ...]:
        self.appends += 1
        key = uuid4().hex
        digest = hashlib.sha256(key.encode()).digest()
        command = Command(actor=actor, key=key, digest=digest)
        second = signer(actor, decided)
        if second is not None:
            proposal = await self._propose(actor, kits[0] if kits else None)
            command = replace(command, actor=second, proposal=proposal)
        async with self.ledger._driver() as driver:
            return await self.ledger.append(driver, command, seen, decided)

    async def _propose(self, actor: Actor, kit: str | None) -> str:
        name = uuid4().hex
        async with self.ledger.engine.begin() as connection:
            await connection.execute(
                text(
                    "SELECT custody.propose(:id, 'simulation', :kit, CAST(:actor AS jsonb), '{}',"
                    " make_interval(hours => 1))"
                ),
                {"id": name, "kit": kit, "actor": json.dumps(actor.context())},
            )
        return name

    async def clock(self, number: str, decide: Decide) -> tuple[Receipt, ...]:
        """What the clock writes about one kit, outside the check: the answers of the outbox."""
        self.appends += 1
        key = uuid4().hex
        command = Command(actor=CLOCK, key=key, digest=hashlib.sha256(key.encode()).digest(), kits=(number,))
        return await self.clerk.carry_out(command, decide)

    async def tried(
        self, actor: Actor, kits: Sequence[str], decide: Decide, *others: str
    ) -> tuple[Receipt, ...]:
        """The same, where a refusal is part of life: counted by its sentence, and answered with nothing."""
        try:
            return await self.act(actor, kits, decide, *others)
        except NeedsSecond:
            raise AssertionError("a second person was wanted and none was named") from None
        except Refused as why:
            self.refused[why.message] = self.refused.get(why.message, 0) + 1
            return ()


async def open_house(database: Database) -> House:
    """Register everybody, and open the house."""
    service: AsyncEngine = create_async_engine(database.url("service"), pool_size=8)
    clerk: AsyncEngine = create_async_engine(database.url("clerk"), pool_size=8)
    key = "both-centres"
    await Ledger(clerk, PlainMasters()).carry_out(
        Command(actor=CLOCK, key=key, digest=hashlib.sha256(key.encode()).digest()),
        lambda seen: Decided(facts=(*told._registrations(), *_registrations())),
    )
    async with service.connect() as connection:
        directory = await reading.directory(connection)
    admin = database.connect("superuser")
    admin.execute("SET custody.maintenance = 'on'")
    admin.execute(INDEX)
    return House(
        database=database,
        ledger=Ledger(service, PlainMasters()),
        clerk=Ledger(clerk, PlainMasters()),
        directory=directory,
        admin=admin,
    )


async def close_house(house: House) -> None:
    house.admin.close()
    await house.ledger.engine.dispose()
    await house.clerk.engine.dispose()


def counted(house: House, query: str, *values: Any) -> int:
    row = house.admin.execute(query, values).fetchone()
    assert row is not None
    return int(row[0])
