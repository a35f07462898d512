"""One database with kits at different points of their way, for the tests of a file that change nothing."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from custody import access
from custody.commands import (
    Accept,
    AnswerRequest,
    DeclareReport,
    Link,
    Offer,
    Request,
    ReserveNumbers,
)
from custody.handover import accept, offer
from custody.prosecution import answer, declare, link, request
from custody.registering import reserve
from desk.postgres import EmbeddedServer
from tests.conftest import MOVABLE, Database, Engines, _fresh
from tests.custody.story import (
    ANALYST,
    CENTRE,
    COORDINATOR,
    LAB,
    NURSE,
    NURSE_2,
    OFFICE,
    OFFICER,
    OTHER_NURSE,
    ZONE,
    Story,
    begin,
    new_number,
    ref,
)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Kit numbers by what happened to them, and requests of the police."""

    database: Database
    unreported: str
    declared: str
    linked: str
    at_the_lab: str  # package 1 of an unreported kit
    of_other_centre: str
    reserved: str
    answered: str  # a request that was answered without a match
    waiting: str  # one that waits

    @property
    def kits(self) -> set[str]:
        return {self.unreported, self.declared, self.linked, self.at_the_lab, self.of_other_centre}


def evidence_on(server: EmbeddedServer) -> Iterator[Evidence]:
    """A fresh database with the story in it; dropped afterwards."""
    for database in _fresh(server, MOVABLE):
        yield asyncio.run(_tell(database))


async def _tell(database: Database) -> Evidence:
    engines = Engines(database)
    try:
        story = await begin(engines.service, engines.clerk)
        unreported, declared, linked, lab = [await story.registered() for _ in range(4)]
        for number in (declared, linked):
            told = DeclareReport(kit=number, how="in_person")
            await story.do(NURSE, [number], lambda s, n=number, o=told: declare(s.kit(n), o, NURSE))  # type: ignore[misc]
        await link_to_report(story, linked)
        await to_the_lab(story, lab)
        reserved = new_number()
        await story.do(
            NURSE,
            [],
            lambda s: reserve(ReserveNumbers(count=1), NURSE, [reserved]),
            others=(f"organisation:{CENTRE}",),
        )
        answered, waiting = "a1" * 16, "b2" * 16
        for id_ in (answered, waiting):
            await ask(story, id_)
        no = AnswerRequest(request=answered, how="no_match")
        await story.do(NURSE, [], lambda s: answer(no, None, NURSE, NURSE_2), others=(f"request:{answered}",))
        await story.propose(NURSE, unreported)
        await access.record(engines.service, NURSE, read="kit_read", kit=unreported, purpose="care")
        other = await story.registered(nurse=OTHER_NURSE)
    finally:
        await engines.dispose()
    return Evidence(
        database=database,
        unreported=unreported,
        declared=declared,
        linked=linked,
        at_the_lab=lab,
        of_other_centre=other,
        reserved=reserved,
        answered=answered,
        waiting=waiting,
    )


async def ask(story: Story, id_: str, **more: object) -> None:
    """The police of the story ask the centre of the story."""
    order = Request(pv="PV-FICTIEF-1", centre=CENTRE, **more)  # type: ignore[arg-type]
    subject = f"request:{id_}"
    await story.do(OFFICER, [], lambda s: request(order, OFFICER, story.directory, id_), others=(subject,))


async def matched(story: Story, kit: str, id_: str) -> None:
    """Two staff answer the request: this kit belongs to it."""
    yes = AnswerRequest(request=id_, kit=kit, how="match")
    subject = f"request:{id_}"
    await story.do(NURSE, [kit], lambda s: answer(yes, s.kit(kit), NURSE, NURSE_2), others=(subject,))


async def link_to_report(story: Story, kit: str, id_: str = "c3" * 16) -> None:
    """From a declared report to the link: asked, matched, linked."""
    await ask(story, id_)
    await matched(story, kit, id_)
    order = Link(kit=kit, pv="PV-FICTIEF-1", notice="N-FICTIEF-1", office=OFFICE, zone=ZONE, request=id_)
    await story.do(COORDINATOR, [kit], lambda s: link(s.kit(kit), order, COORDINATOR, story.directory))


async def to_the_lab(story: Story, kit: str) -> None:
    """Package 1 is offered to the laboratory and accepted there."""
    seen = await story.look(NURSE, kit)
    order = Offer(packages=(ref(kit, 1),), organisation=LAB, due_at=seen.at + timedelta(hours=4))
    await story.do(NURSE, [kit], lambda s: offer(s, order, NURSE, story.directory, "d4" * 16))
    await story.do(ANALYST, [kit], lambda s: accept(s, Accept(packages=(ref(kit, 1),)), ANALYST))
