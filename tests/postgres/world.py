"""Kits at many points of their way, for the tests of who sees what of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from custody.commands import Accept, LiftRestriction, Offer, OpenToCentre
from custody.decision import Decided
from custody.handover import accept, offer
from custody.kit import Kit
from custody.people import Actor, Function
from custody.permission import may
from custody.prosecution import choice
from custody.restriction import lift_restriction, open_to_centre
from tests.conftest import Database, Engines
from tests.custody.story import (
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    LAB,
    MAGISTRATE,
    NURSE,
    OFFICER,
    OTHER_CENTRE,
    OTHER_NURSE,
    PEOPLE,
    REGISTRY,
    Story,
    begin,
    do,
    ref,
)
from tests.custody.test_prosecution import declared, linked, released
from tests.postgres.evidence import to_the_lab

SECOND_ANALYST = Actor(function=Function.ANALYST, person="arno", name="Arno Lyse", organisation=LAB)
OTHER_OFFICER = Actor(function=Function.OFFICER, person="otto", name="Otto Oost", organisation="pz-avondrood")
AUDITOR = Actor(function=Function.AUDITOR, person="aude", name="Aude It", organisation="toezicht")
READERS = ("coraline", "nora")
EVERYBODY = (*PEOPLE, SECOND_ANALYST, OTHER_OFFICER, AUDITOR)


@dataclass(frozen=True, kw_only=True)
class World:
    """Kits by what happened to them, and each as it is: what nobody but the centre knows whole."""

    service: psycopg.Connection
    numbers: Mapping[str, str]
    kits: Mapping[str, Kit]

    def ask(self, actor: Actor | None, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What this reader is answered, as the service's role and by no rule but the database's."""
        with self.service.transaction():
            if actor is not None:
                self.service.execute("SELECT custody.enter(%s)", [Jsonb(actor.context())])
            return self.service.execute(query, values).fetchall()

    def known(self, actor: Actor | None) -> dict[str, tuple[str, Any]]:
        rows = self.ask(actor, "SELECT number, relation, document FROM custody.known_kit")
        return {number: (relation, document) for number, relation, document in rows}

    def propose(self, name: str, actor: Actor, kit: str) -> None:
        propose = "SELECT custody.propose(%s, 'story', %s, %s, '{}', '1 day')"
        self.ask(None, propose, name, kit, Jsonb(actor.context()))


async def told(database: Database, *tales: str) -> tuple[dict[str, str], dict[str, Kit]]:
    engines = Engines(database)
    try:
        story = await begin(engines.service, engines.clerk)
        numbers = {what: await TALES[what](story) for what in tales}
        seen = await story.clerk.look(Actor(function=Function.CLOCK), list(numbers.values()))
    finally:
        await engines.dispose()
    return numbers, dict(seen.kits)


async def _at_the_lab(story: Story) -> str:
    kit = await story.registered()
    await to_the_lab(story, kit)
    return kit


async def _to(story: Story, kit: str, package: int, organisation: str, person: str | None, way: str) -> None:
    at = (await story.look(NURSE)).at
    order = Offer(
        packages=(ref(kit, package),),
        organisation=organisation,
        person=person,
        due_at=at + timedelta(hours=4),
    )
    await do(story, NURSE, kit, lambda s: offer(s, order, NURSE, story.directory, way))


async def _offered_to_the_lab(story: Story) -> str:
    kit = await story.registered()
    await _to(story, kit, 2, LAB, None, "a1" * 16)
    return kit


async def _offered_to_one_analyst(story: Story) -> str:
    kit = await story.registered()
    await _to(story, kit, 1, LAB, "ana", "a2" * 16)
    return kit


async def _two_at_two(story: Story) -> str:
    """One package at the laboratory, one at another centre, the third still there with a broken seal."""
    kit = await _at_the_lab(story)
    await _to(story, kit, 2, OTHER_CENTRE, None, "a3" * 16)
    refs = (ref(kit, 2, condition="broken"),)
    await do(story, OTHER_NURSE, kit, lambda s: accept(s, Accept(packages=refs), OTHER_NURSE))
    return kit


async def _linked_and_at_the_lab(story: Story) -> str:
    kit = await linked(story)
    await to_the_lab(story, kit)
    return kit


async def _released(story: Story) -> str:
    return await released(story, 1, 2)


async def _opened_again(story: Story) -> str:
    kit = await _released(story)
    await do(story, MAGISTRATE, kit, lambda s: open_to_centre(s.kit(kit), OpenToCentre(kit=kit), MAGISTRATE))
    return kit


async def _at_the_registry(story: Story) -> str:
    kit = await released(story, 1)
    seen = await story.look(OFFICER, kit)
    order = Offer(packages=(ref(kit, 1),), organisation=REGISTRY, due_at=seen.at + timedelta(hours=4))
    await do(story, OFFICER, kit, lambda s: offer(s, order, OFFICER, story.directory, "a4" * 16))
    return kit


async def _of_other_centre(story: Story) -> str:
    return await story.registered(nurse=OTHER_NURSE)


async def restricted(story: Story, kit: str, *readers: str) -> str:
    names = list(readers or READERS)
    await do(story, NURSE, kit, lambda s: named(s.kit(kit), names))
    return kit


def named(kit: Kit, readers: Sequence[str]) -> Decided:
    """Name these readers, by no rule but the database's."""
    return Decided(facts=(choice(kit, "kit.restricted", NURSE, readers=list(readers)),))


async def _restricted(story: Story) -> str:
    return await restricted(story, await story.registered())


async def _restricted_and_at_the_lab(story: Story) -> str:
    return await restricted(story, await _at_the_lab(story))


async def _restricted_and_linked(story: Story) -> str:
    return await restricted(story, await linked(story))


async def _restricted_and_in_hands(story: Story) -> str:
    """The custodian, who is no reader, has package 1 in the hands and is offered package 2 by name."""
    kit = await story.registered()
    await _to(story, kit, 1, CENTRE, "casper", "a5" * 16)
    refs = (ref(kit, 1),)
    await do(story, CUSTODIAN, kit, lambda s: accept(s, Accept(packages=refs), CUSTODIAN))
    await _to(story, kit, 2, CENTRE, "casper", "a6" * 16)
    await _to(story, kit, 3, CENTRE, None, "a7" * 16)
    return await restricted(story, kit)


async def _lifted(story: Story) -> str:
    kit = await _restricted(story)
    order = LiftRestriction(kit=kit, reason="the colleague moved away")
    await do(
        story,
        COORDINATOR,
        kit,
        lambda s: lift_restriction(s.kit(kit), order, COORDINATOR, NURSE, story.directory),
    )
    return kit


TALES: dict[str, Callable[[Story], Any]] = {
    "unreported": Story.registered,
    "declared": declared,
    "linked": linked,
    "released": _released,
    "opened again": _opened_again,
    "at the registry": _at_the_registry,
    "at the lab": _at_the_lab,
    "offered to the lab": _offered_to_the_lab,
    "offered to one analyst": _offered_to_one_analyst,
    "two at two": _two_at_two,
    "linked and at the lab": _linked_and_at_the_lab,
    "of other centre": _of_other_centre,
    "restricted": _restricted,
    "restricted and at the lab": _restricted_and_at_the_lab,
    "restricted and linked": _restricted_and_linked,
    "restricted and in hands": _restricted_and_in_hands,
    "lifted": _lifted,
}


def cards(world: World) -> list[Actor]:
    return [Actor(function=Function.VICTIM, card=number) for number in world.kits]


def may_know(actor: Actor, kit: Kit) -> bool:
    return may("kit.read", actor, kit) or may("own_kit.read", actor, kit)
