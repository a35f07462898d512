"""Who replaces the readers of a restricted kit, and who learns that none is left: as PostgreSQL keeps it."""

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from custody import access
from custody.decision import Decided, Seen
from custody.event import Fact
from custody.people import CLOCK, Actor, Function
from custody.prosecution import choice
from custody.refusal import Refused
from tests.conftest import Database, Engines
from tests.custody.story import (
    CENTRE,
    CUSTODIAN,
    NURSE,
    NURSE_2,
    OFFICER,
    OTHER_CENTRE,
    OTHER_NURSE,
    Story,
    begin,
    do,
)
from tests.postgres.world import World, restricted

pytestmark = pytest.mark.anyio


@pytest.fixture
async def story(engines: Engines) -> Story:
    return await begin(engines.service, engines.clerk)


@pytest.fixture
def service(database: Database) -> Iterator[psycopg.Connection]:
    with database.connect("service") as connection:
        yield connection


async def appointed(story: Story, person: str, function: str = "coordinator") -> Actor:
    """Somebody new at the centre."""
    name = f"{person.capitalize()} Fictief"
    register = {"id": person, "organisation": CENTRE, "function": function, "from": "2020-01-01"}
    for type_, entry in (("registered", {"id": person, "name": name}), ("appointed", register)):
        fact = Fact(
            type=f"person.{type_}",
            subject=f"person:{person}",
            who=CLOCK.who(),
            fields={"register": entry},
        )
        await _recorded(story, fact)
    return Actor(function=Function(function), person=person, name=name, organisation=CENTRE)


async def left(story: Story, person: str, function: str) -> None:
    register = {"id": person, "organisation": CENTRE, "function": function, "until": "2020-06-01"}
    who = CLOCK.who()
    await _recorded(
        story, Fact(type="person.left", subject=f"person:{person}", who=who, fields={"register": register})
    )


async def _recorded(story: Story, fact: Fact) -> None:
    seen = await story.clerk.look(CLOCK, (), [fact.subject])
    await story.append(CLOCK, seen, Decided(facts=(fact,)))


async def replaced(story: Story, kit: str, author: Actor, *readers: str) -> None:
    """By no rule but the database's."""

    def decide(seen: Seen) -> Decided:
        return Decided(facts=(choice(seen.kit(kit), "kit.restricted", author, readers=sorted(readers)),))

    await do(story, author, kit, decide)


def unread(service: psycopg.Connection, actor: Actor) -> list[str]:
    world = World(service=service, numbers={}, kits={})
    return [row[0] for row in world.ask(actor, "SELECT custody.without_reader()")]


async def test_the_database_itself_throws_no_reader_out_who_is_there(
    story: Story, engines: Engines, service: psycopg.Connection
) -> None:
    carla = await appointed(story, "carla")
    kit = await restricted(story, await story.registered(), "nora", "coraline", "casper")
    await access.break_glass(engines.service, carla, kit=kit, reason="victim_in_danger")
    for readers in (("carla", "nils"), ("carla", "nora", "coraline", "casper")):
        with pytest.raises(Refused) as refused:
            await replaced(story, kit, carla, *readers)
        assert "the readers of a restricted kit replace the list" in str(refused.value.values)
    with pytest.raises(Refused) as refused:
        await replaced(story, kit, NURSE, "nora", "carla", "casper")
    assert "leaves the list by the own hand alone" in str(refused.value.values)
    await left(story, "coraline", "coordinator")
    await replaced(story, kit, NURSE, "nora", "carla", "casper")
    await replaced(story, kit, NURSE, "carla", "casper")
    relation, _ = World(service=service, numbers={}, kits={}).known(NURSE)[kit]
    assert relation == "in_person", "what is in the own hands is all that is left to whoever leaves the list"


async def test_a_coordinator_learns_the_number_of_a_kit_without_readers_and_names_others(
    story: Story, engines: Engines, service: psycopg.Connection
) -> None:
    carla = await appointed(story, "carla")
    kit = await restricted(story, await story.registered(), "nora", "coraline", "casper")
    await restricted(story, await story.registered(), "nora", "carla")
    await left(story, "coraline", "coordinator")
    assert unread(service, carla) == [], "the nurse can still name others"
    await left(story, "nora", "nurse")
    assert unread(service, carla) == [kit]
    for other in (NURSE_2, CUSTODIAN, OTHER_NURSE, OFFICER, replace(carla, organisation=OTHER_CENTRE)):
        assert unread(service, other) == []
    await access.break_glass(engines.service, carla, kit=kit, reason="readers_absent")
    with pytest.raises(Refused) as refused:
        await replaced(story, kit, carla, "carla", "nils")
    assert "leaves the list by the own hand alone" in str(refused.value.values), "the custodian is there"
    await replaced(story, kit, carla, "carla", "casper")
    assert unread(service, carla) == []


async def test_a_reader_is_there_under_whichever_name(
    story: Story, engines: Engines, service: psycopg.Connection
) -> None:
    carla = await appointed(story, "carla")
    await appointed(story, "nora-2", "nurse")
    kit = await restricted(story, await story.registered())
    await left(story, "coraline", "coordinator")
    await left(story, "nora", "nurse")
    assert unread(service, carla) == [kit]
    async with engines.superuser.begin() as connection:
        await connection.exec_driver_sql("UPDATE custody.person SET merged_into = 'nora-2' WHERE id = 'nora'")
    assert unread(service, carla) == []
    await access.break_glass(engines.service, carla, kit=kit, reason="readers_absent")
    with pytest.raises(Refused):
        await replaced(story, kit, carla, "carla", "nils")
