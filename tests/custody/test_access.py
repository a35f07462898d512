"""Whoever looks is on record before anything is shown."""

import asyncio
import json
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import text

from custody import reading
from custody.access import NotRecorded, record
from custody.event import EventRefused, decode
from custody.people import CLOCK, Actor, Function
from tests.conftest import Database, Engines
from tests.custody.story import COORDINATOR, MAGISTRATE, NURSE, OTHER_NURSE, Story, begin

pytestmark = pytest.mark.anyio


@pytest.fixture
async def story(engines: Engines) -> Story:
    return await begin(engines.service, engines.clerk)


def accesses(database: Database) -> list[tuple[Any, ...]]:
    with database.connect("superuser") as connection:
        return connection.execute(
            "SELECT subject, number, kit, centre, bytes FROM custody.access ORDER BY subject, number"
        ).fetchall()


async def test_a_read_is_on_record_with_reader_kit_and_purpose_and_waits_for_the_second_log(
    story: Story, engines: Engines, database: Database
) -> None:
    kit = await story.registered()

    digest = await record(engines.service, NURSE, read="kit", kit=kit, purpose="scan")

    ((subject, number, of_kit, centre, stored),) = accesses(database)
    event = decode(bytes(stored))
    assert (subject, number, of_kit, centre) == ("reads:nora", 1, kit, NURSE.organisation)
    assert (event.get("read"), event.get("purpose"), event.get("kit")) == ("kit", "scan", kit)
    assert event.who == NURSE.who()
    assert event.digest == digest == sha256(bytes(stored)).hexdigest()
    with database.connect("superuser") as connection:
        waiting = connection.execute(
            "SELECT log FROM audit.pending WHERE digest = %s", [bytes.fromhex(digest)]
        )
        assert waiting.fetchall() == [("reads",)]


async def test_the_records_of_one_reader_are_one_chain(
    story: Story, engines: Engines, database: Database
) -> None:
    kit = await story.registered()
    first = await record(engines.service, NURSE, read="kit", kit=kit, purpose="scan")
    second = await record(engines.service, NURSE, read="custody_trail", kit=kit, purpose="task")
    await record(engines.service, OTHER_NURSE, read="worklist", kit=None, purpose="task")

    rows = [(subject, decode(bytes(stored))) for subject, _, _, _, stored in accesses(database)]
    assert [(subject, event.number, event.previous) for subject, event in rows] == [
        ("reads:mira", 1, None),
        ("reads:nora", 1, None),
        ("reads:nora", 2, first),
    ]
    assert rows[2][1].digest == second


async def test_ten_reads_at_once_by_one_person_are_ten_records(
    story: Story, engines: Engines, database: Database
) -> None:
    kit = await story.registered()
    made = await asyncio.gather(
        *(record(engines.service, NURSE, read="kit", kit=kit, purpose="scan") for _ in range(10))
    )
    rows = accesses(database)
    assert [number for _, number, _, _, _ in rows] == list(range(1, 11))
    assert {sha256(bytes(stored)).hexdigest() for *_, stored in rows} == set(made)


async def test_the_victims_own_visit_stands_under_the_card_and_names_nobody(
    story: Story, engines: Engines, database: Database
) -> None:
    kit = await story.registered()
    victim = Actor(function=Function.VICTIM, card=kit)
    await record(engines.service, victim, read="own_kit", kit=kit, purpose="own_kit")
    ((subject, _, _, _, stored),) = accesses(database)
    assert subject == f"reads:card-{kit}"
    assert json.loads(bytes(stored))["who"] == {"function": "victim"}


async def test_the_same_read_twice_has_two_digests_that_nobody_can_guess(
    story: Story, engines: Engines, database: Database
) -> None:
    await record(engines.clerk, CLOCK, read="kit", kit="0" * 12, purpose="check")
    await record(engines.clerk, CLOCK, read="kit", kit="0" * 12, purpose="check")
    one, two = (json.loads(bytes(row[4])) for row in accesses(database))
    assert one["salt"] != two["salt"]
    assert len(one["salt"]) == 32


async def test_the_coordinator_of_the_centre_sees_who_read_a_kit_and_nobody_else_does(
    story: Story, engines: Engines
) -> None:
    kit = await story.registered()
    await record(engines.service, NURSE, read="kit", kit=kit, purpose="scan", request="ab" * 16)
    for actor, seen in ((COORDINATOR, 1), (NURSE, 0), (MAGISTRATE, 0)):
        async with engines.service.connect() as connection, connection.begin():
            await connection.execute(
                text("SELECT custody.enter(CAST(:actor AS jsonb))"), {"actor": json.dumps(actor.context())}
            )
            assert len(await reading.reads_of(connection, kit)) == seen


async def test_a_read_that_cannot_be_recorded_is_refused_and_leaves_nothing(
    story: Story, engines: Engines, database: Database
) -> None:
    with database.connect("superuser") as connection:
        connection.execute("SET custody.maintenance = 'on'")
        connection.execute("REVOKE EXECUTE ON FUNCTION custody.record_access FROM custody_service")
    with pytest.raises(NotRecorded, match="not shown"):
        await record(engines.service, NURSE, read="kit", kit=None, purpose="scan")
    assert accesses(database) == []


async def test_a_purpose_is_a_word_and_no_sentence(
    story: Story, engines: Engines, database: Database
) -> None:
    with pytest.raises(EventRefused, match="purpose"):
        await record(engines.service, NURSE, read="kit", kit=None, purpose="I was curious")
    assert accesses(database) == []
