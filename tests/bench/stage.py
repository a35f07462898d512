"""Events ready to be written: each client of a benchmark gets a kit of its own and a trail to append to it.

Deciding costs Python's time, which is not what is measured here; so events, projections and keys are made
beforehand, in a table from which the client takes the next one.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy.ext.asyncio import create_async_engine

from custody.commands import CheckSeal
from custody.decision import Seen
from custody.handling import check_seal
from custody.kit import to_document
from custody.ledger import place
from tests.bench.ground import Ground
from tests.custody.story import NURSE, begin, ref

TABLES = """
CREATE SCHEMA bench;
CREATE TABLE bench.staged (
    client int, i int, key text, command bytea, expected jsonb, bytes bytea, documents jsonb,
    PRIMARY KEY (client, i));
CREATE TABLE bench.bytes (n int PRIMARY KEY, bytes bytea NOT NULL);
CREATE TABLE bench.plain (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, bytes bytea NOT NULL);
GRANT USAGE ON SCHEMA bench TO custody_service;
GRANT SELECT ON bench.staged TO custody_service;
"""

# The whole of custody.append, as the service calls it. The client's variables: base, i.
APPEND = f"""
\\set i :i + 1
\\set client :base + :client_id
SELECT done.* FROM bench.staged s, custody.append(
    '{json.dumps(NURSE.context())}', s.key, s.command, s.expected, ARRAY[s.bytes], s.documents, '{{}}') done
WHERE s.client = :client AND s.i = :i;
"""


async def open_kits(where: Ground, clients: int) -> list[Seen]:
    """Register a kit for each client: what each is seen as."""
    service, clerk = (create_async_engine(where.url(role)) for role in ("service", "clerk"))
    try:
        story = await begin(service, clerk)
        return [await story.look(NURSE, await story.registered()) for _ in range(clients)]
    finally:
        await service.dispose()
        await clerk.dispose()


class Clients:
    """The staged events of every client; more are made as they are used up."""

    def __init__(self, where: Ground, seen: list[Seen]) -> None:
        self._where = where
        self._seen = seen
        self._staged = [0] * len(seen)
        self.event_bytes = 0

    def stage(self, client: int, until: int) -> None:
        """Make the client's events up to number `until`."""
        with (
            self._where.connect() as connection,
            connection.cursor() as cursor,
            cursor.copy("COPY bench.staged FROM STDIN") as copy,
        ):
            for row in self._rows(client, until):
                copy.write_row(row)

    def _rows(self, client: int, until: int) -> Iterator[tuple[object, ...]]:
        seen = self._seen[client]
        (number,) = seen.kits
        order = CheckSeal(packages=(ref(number, 1),))
        for i in range(self._staged[client] + 1, until + 1):
            (event,), kits, expected = place(check_seal(seen, order, NURSE).facts, seen)
            seen = replace(seen, kits=kits)
            key = f"bench-{client}-{i}"
            command = hashlib.sha256(key.encode()).digest()
            documents = json.dumps({number: to_document(kits[number])})
            self.event_bytes = len(event.bytes)
            yield client, i, key, command, json.dumps(expected), event.bytes, documents
        self._seen[client] = seen
        self._staged[client] = max(until, self._staged[client])
