"""Whoever has the database takes fields out of a private part, or a later part away: nothing is shown."""

import logging
from collections.abc import Callable

import psycopg
import pytest

from custody.ledger import PrivateAltered
from custody.private import MAGIC
from tests.conftest import Database, Engines
from tests.custody.story import NURSE, OFFICER, begin

pytestmark = pytest.mark.anyio

Alter = Callable[[psycopg.Connection, str], object]


def without_its_first_field(connection: psycopg.Connection, kit: str) -> None:
    """Cut out between two fields: what is left is a container that opens."""
    query = "SELECT event, sealed FROM custody.private_part WHERE kit = %s"
    cut = 0
    for event, data in connection.execute(query, [kit]).fetchall():
        sealed = bytes(data)
        at = len(MAGIC)
        end = at + 48 + int.from_bytes(sealed[at + 44 : at + 48], "big")
        if end < len(sealed):
            connection.execute(
                "UPDATE custody.private_part SET sealed = %s WHERE event = %s",
                [sealed[:at] + sealed[end:], event],
            )
            cut += 1
    assert cut


def without_its_newest_part(connection: psycopg.Connection, kit: str) -> None:
    """What an earlier part says would be believed again."""
    connection.execute(
        "DELETE FROM custody.private_part WHERE event = (SELECT p.event FROM custody.private_part p"
        " JOIN custody.event e ON e.digest = p.event WHERE p.kit = %s"
        " ORDER BY e.recorded_at DESC, e.subject DESC, e.number DESC LIMIT 1)",
        [kit],
    )


def without_any(connection: psycopg.Connection, kit: str) -> None:
    connection.execute("DELETE FROM custody.private_part WHERE kit = %s", [kit])


@pytest.mark.parametrize("alter", [without_its_first_field, without_its_newest_part, without_any])
async def test_a_private_part_that_is_not_all_that_its_events_name_is_not_shown_and_an_alarm_is_raised(
    engines: Engines, database: Database, caplog: pytest.LogCaptureFixture, alter: Alter
) -> None:
    story = await begin(engines.service, engines.clerk)
    number = await story.registered()
    kit = await story.kit(number)
    part = await story.ledger.read_private(NURSE, kit)
    assert part
    with database.connect("superuser") as connection:
        connection.execute("SET custody.maintenance = 'on'")
        connection.execute("ALTER TABLE custody.private_part DISABLE TRIGGER USER")
        alter(connection, number)
    with caplog.at_level(logging.ERROR), pytest.raises(PrivateAltered, match="is not shown"):
        await story.ledger.read_private(NURSE, kit)
    (line,) = caplog.messages
    assert line.startswith("ALARM: a private part is not what its event names")
    assert not any(value in line for value in (number, *part.values()))
    assert await story.ledger.read_private(OFFICER, kit) == {}  # whose it never was learns nothing of it
