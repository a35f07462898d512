"""The service as people reach it: one web worker over HTTP on a real database, and the people of the stories
signed in."""

import asyncio
import base64
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import uvicorn

from custody.decision import Decided
from custody.event import Fact
from custody.ledger import Command, Ledger
from custody.people import CLOCK, Actor
from desk.app import build
from desk.service import Service
from desk.settings import Settings
from retention.policy import load
from tests.conftest import Database
from tests.custody.story import COORDINATOR, NURSE, PlainMasters, Story, begin, engine

PATIENCE = 30.0  # seconds for the worker to come up


def settings_for(database: Database, folder: Path, base_url: str, **changes: Any) -> Settings:
    """Settings of one web worker in demo mode, on this database."""
    given: dict[str, Any] = {
        "data": folder,
        "database_url": database.url("service"),
        "clerk_database_url": None,
        "migrator_database_url": None,
        "host": "127.0.0.1",
        "port": 1,
        "base_url": base_url,
        "workers": 1,
        "demo": True,
        "issuers": None,
        "origin": "stories.example/log",
        "keys": folder / "keys",
        "slot_minutes": 1440,
        "witnesses": None,
        "witness_alarm_hours": 48,
        "stamp_url": None,
        "stamp_roots": None,
    }
    return Settings(**(given | changes))


@dataclass(kw_only=True)
class Desk:
    """A running worker. `at` is a client of one person; `story` the people and places behind it."""

    base_url: str
    settings: Settings
    database: Database
    service: Service
    clients: list[httpx.Client] = field(default_factory=list)

    def client(self, **headers: str) -> httpx.Client:
        made = httpx.Client(base_url=self.base_url, headers=headers, timeout=30)
        self.clients.append(made)
        return made

    def at(self, person: Actor) -> "Person":
        """This person, signed in with a token."""
        assert person.person is not None
        issuer = self.service.local_issuer
        assert issuer is not None
        token = issuer.issue(person.person, self.now())
        return Person(client=self.client(authorization=f"Bearer {token}"))

    def now(self) -> datetime:
        with self.database.connect("superuser") as connection:
            found = connection.execute("SELECT custody.clock()").fetchone()
        assert found is not None
        moment: datetime = found[0]
        return moment.astimezone(UTC)

    def record(self, type_: str, subject: str, **register: str) -> None:
        """The clerk records one more person, function or place."""
        fact = Fact(type=type_, subject=subject, who=CLOCK.who(), fields={"register": register})
        command = Command(actor=CLOCK, key=uuid4().hex, digest=bytes(32), others=(subject,))

        async def within() -> None:
            clerk = engine(self.database.url("clerk"))
            try:
                await Ledger(clerk, PlainMasters()).carry_out(command, lambda seen: Decided(facts=(fact,)))
            finally:
                await clerk.dispose()

        asyncio.run(within())

    def count(self, table: str = "event") -> int:
        """How many rows the database has, whoever may see them."""
        with self.database.connect("superuser") as connection:
            found = connection.execute(f"SELECT count(*) FROM custody.{table}").fetchone()
        assert found is not None
        return int(found[0])


@dataclass(kw_only=True)
class Person:
    """One person at the service."""

    client: httpx.Client

    def post(self, path: str, order: object, key: str | None = None, **headers: str) -> httpx.Response:
        named = {"Idempotency-Key": key or uuid4().hex} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return self.client.post(f"/api/{path}", json=order, headers=named)

    def get(self, path: str, /, **query: Any) -> httpx.Response:
        return self.client.get(f"/api/{path}", params=query)

    def register(self, at: datetime, **changes: Any) -> dict[str, Any]:
        """Register a kit of three sealed packages."""
        answer = self.post("kits", new_kit(at) | changes)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())


def moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def new_kit(at: datetime) -> dict[str, Any]:
    """What the nurse enters after an examination an hour ago."""
    contents = (("envelope", "frozen", "swab_skin"), ("bag", "dry", "underwear"), ("bag", "dry", "shoes"))
    return {
        "examined_at": moment(at - timedelta(hours=1)),
        "age_class": "adult",
        "packages": [
            {
                "package": n,
                "kind": kind,
                "storage": storage,
                "seal": f"S-{n}",
                "items": [{"item": n, "type": type_}],
            }
            for n, (kind, storage, type_) in enumerate(contents, 1)
        ],
        "agreement": {
            "form_digest": hashlib.sha256(b"an invented form").hexdigest(),
            "language": "nl",
            "channel": "email",
            "channel_address": "somebody@invented.example",
        },
        "hospital_reference": "INVENTED-1",
    }


def refs(kit: str, *packages: int, **more: Any) -> list[dict[str, Any]]:
    return [{"kit": kit, "package": n, "seal": f"S-{n}", **more} for n in packages]


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Iterator[Desk]:
    """A web worker with the people of the stories and Belgium's retention policy."""
    listening = socket.create_server(("127.0.0.1", 0))
    base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with running(settings_for(database, tmp_path, base_url), database, listening) as made:
        asyncio.run(_people(database))
        yield made


class running:  # noqa: N801 (reads as a word in `with running(...)`)
    """A worker in a thread of its own, on a socket that is open already."""

    def __init__(self, settings: Settings, database: Database, listening: socket.socket) -> None:
        self.app = build(settings, PlainMasters())
        config = uvicorn.Config(self.app, log_level="error", access_log=False, server_header=False, ws="none")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listening]})
        self.desk = Desk(
            base_url=settings.base_url,
            settings=settings,
            database=database,
            service=self.app.state.service,
        )

    def __enter__(self) -> Desk:
        self.thread.start()
        until = time.monotonic() + PATIENCE
        while not self.server.started:
            assert self.thread.is_alive(), "the worker ended before it was up"
            assert time.monotonic() < until, "the worker did not come up"
            time.sleep(0.01)
        return self.desk

    def __exit__(self, *_: object) -> None:
        for client in self.desk.clients:
            client.close()
        self.server.should_exit = True
        self.thread.join()


async def _people(database: Database) -> None:
    service, clerk = engine(database.url("service")), engine(database.url("clerk"))
    try:
        await adopt(await begin(service, clerk))
    finally:
        await service.dispose()
        await clerk.dispose()


async def adopt(story: Story) -> None:
    """Two people adopt Belgium's retention policy."""
    document = files("retention").joinpath("seed", "belgium.json").read_bytes()
    (policy,) = load(document)
    fact = Fact(
        type="policy.adopted",
        subject=f"policy:{policy.id}",
        who=COORDINATOR.who(),
        fields={
            "policy": {"id": policy.id, "version": policy.version},
            "digest": hashlib.sha256(document).hexdigest(),
            "with": [NURSE.signs("second")],
        },
    )
    extra = {"policy": base64.b64encode(document).decode()}
    await story.ledger.carry_out(
        Command(
            actor=COORDINATOR,
            key="adopt-the-policy",
            digest=hashlib.sha256(document).digest(),
            others=(fact.subject,),
        ),
        lambda seen: Decided(facts=(fact,), extra=extra),
    )


@pytest.fixture
def signed_in(desk: Desk) -> Callable[[Actor], Person]:
    """`signed_in(NURSE)` is that person at the running service."""
    return desk.at
