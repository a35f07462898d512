"""Events made by hand and given to the database without the service's rules: what an attacker could send."""

import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from custody.event import FIELDS, Event, Fact, Head, place_in_trail
from custody.kit import Kit, from_document, to_document
from custody.ledger import salt_part
from custody.people import CLOCK, Actor
from custody.trail import after
from tests.conftest import Database

APPEND = "SELECT * FROM custody.append(%s, %s, %s, %s, %s, %s, %s)"


class ByHand:
    """Two connections, the service's and the clerk's, and `custody.append` with whatever one likes."""

    def __init__(self, database: Database) -> None:
        self._connections = {role: database.connect(role) for role in ("service", "clerk", "superuser")}

    def __enter__(self) -> "ByHand":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.close()

    def of(self, role: str = "service") -> psycopg.Connection:
        return self._connections[role]

    def as_(self, actor: Actor) -> psycopg.Connection:
        return self.of("clerk" if actor is CLOCK else "service")

    def now(self) -> datetime:
        (at,) = self.of().execute("SELECT custody.clock()").fetchone() or (None,)
        assert isinstance(at, datetime)
        return at

    def kit(self, number: str) -> Kit:
        """The kit as it stands, for the superuser's eyes."""
        rows = self.of("superuser").execute("SELECT document FROM custody.kit WHERE number = %s", [number])
        (document,) = rows.fetchone() or (None,)
        return from_document(Kit, document)

    def head(self, subject: str) -> Head:
        rows = self.of("superuser").execute(
            "SELECT number, encode(digest, 'hex'), recorded_at FROM custody.head WHERE subject = %s",
            [subject],
        )
        found = rows.fetchone()
        return Head(number=found[0], digest=found[1], recorded_at=found[2]) if found else Head()

    def event(self, fact: Fact, **change: Any) -> Event:
        """The fact after its trail's head; ``change`` puts values of the event differently."""
        part = salt_part(fact)
        salt = secrets.token_bytes(16)
        private = None if part is None else part.digest(salt.hex())
        event = place_in_trail(fact, self.head(fact.subject), self.now(), salt, private)
        if not change:
            return event
        told = {k: v for k, v in {**event.values, **change}.items() if v != "absent"}
        values = {k: told[k] for k in (*FIELDS, *told) if k in told}  # in the one order, strangers last
        data = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
        return Event(bytes=data, values=values)

    def propose(self, proposer: Actor, kit: str | None, hours: int = 1) -> str:
        name = uuid4().hex
        self.of().execute(
            "SELECT custody.propose(%s, 'by-hand', %s, %s, '{}', make_interval(hours => %s))",
            [name, kit, Jsonb(proposer.context()), hours],
        )
        return name

    def append(
        self,
        actor: Actor,
        events: Sequence[Event],
        kits: Mapping[str, Kit] | None = None,
        *,
        documents: Mapping[str, Any] | None = None,
        expected: Mapping[str, int] | None = None,
        key: str | None = None,
        connection: psycopg.Connection | None = None,
        **extra: Any,
    ) -> None:
        """Give these bytes to the database. Raises psycopg.Error, with the database's own code."""
        if expected is None:
            expected = {e.subject: self.head(e.subject).number for e in events}
        told = {n: to_document(k) for n, k in (kits or {}).items()} if documents is None else documents
        (connection or self.as_(actor)).execute(
            APPEND,
            [
                Jsonb(actor.context()),
                key or uuid4().hex,
                bytes(32),
                Jsonb(expected),
                [e.bytes for e in events],
                Jsonb(told),
                Jsonb(extra),
            ],
        )

    def write(self, actor: Actor, fact: Fact, document: Mapping[str, Any] | None = None, **more: Any) -> None:
        """One fact about a kit, with the projection that follows, or with the one given."""
        event = self.event(fact)
        number = event.subject.split(":")[1]
        told = document if document is not None else to_document(after(self.kit(number), event))
        self.append(actor, [event], documents={number: told}, **more)


def refused(sqlstate: str) -> AbstractContextManager[Any]:
    """The database refuses with this code."""
    return pytest.raises(psycopg.Error, check=lambda error: error.sqlstate == sqlstate)
