"""A term that ended with the victim's wish, in PostgreSQL: what is told, and what is given back."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from custody.commands import PlaceHold, TakeBackDestruction
from custody.event import write_moment
from custody.kit import to_document
from custody.people import CLOCK
from retention.holds import place_hold
from retention.keeping import take_back_destruction
from tests.conftest import Database, Engines
from tests.custody.byhand import ByHand, refused
from tests.custody.story import COORDINATOR, CUSTODIAN, begin
from tests.postgres.forging import PROTOCOL
from tests.postgres.hand import BELGIUM, DAY, Advance, Hand, noticed
from tests.retention.kept import BELGIUM as POLICIES
from tests.retention.kept import adopt, card_of, check, kept

pytestmark = pytest.mark.anyio


@pytest.fixture
async def hand(database: Database, engines: Engines, advance: Advance) -> AsyncIterator[Hand]:
    story = await begin(engines.service, engines.clerk)
    await adopt(story)
    number = await kept(story)
    with ByHand(database) as byhand:
        yield Hand(byhand, story, number, advance)


def confirmed(hand: Hand) -> None:
    hand.one("destruction.requested", how="in_person")
    hand.two("destruction.confirmed", until=hand.at(31))


def today(hand: Hand, over_at: str) -> dict[str, Any]:
    day = hand.db.now().date().isoformat()
    return {"start": day, "end": day, "notice_on": day, "over_at": over_at}


async def cooled(hand: Hand) -> None:
    """The clock's own run ends the term with the cooling-off."""
    confirmed(hand)
    assert hand.kit.destruction is not None
    hand.until(hand.kit.destruction.until)
    assert (await check(hand.story)).cooled_off == 1
    assert hand.kit.ended_by_wish


async def test_what_came_of_a_notice_says_nothing_about_a_term_that_the_wish_ended(hand: Hand) -> None:
    due = noticed(hand, channel="email")
    hand.one("notice.attempted", CLOCK, how="sent", channel="email", until=hand.at(61), cites=[due])
    confirmed(hand)
    told, kit = hand.column("expires_at"), hand.kit
    assert kit.destruction is not None
    hand.until(kit.destruction.until)
    over_at = write_moment(kit.destruction.until) if kit.destruction.until else ""
    hand.one("destruction.cooled_off", CLOCK, term=today(hand, over_at))
    ended = hand.column("expires_at")
    assert ended == kit.destruction.until
    assert ended < told

    hand.one("notice.attempted", CLOCK, how="bounced", channel="email", cites=[due])

    assert hand.column("expires_at") == ended
    assert hand.kit.ended_by_wish


async def test_nothing_expires_before_the_cooling_off_is_over_though_the_term_was(hand: Hand) -> None:
    noticed(hand)
    hand.one("notice.attempted", how="reached", until=hand.at(90))
    hand.advance(45 * DAY)
    confirmed(hand)
    kit = hand.kit
    assert kit.term is not None
    assert kit.destruction is not None
    hand.until(kit.destruction.until)
    hand.one("destruction.cooled_off", CLOCK, term=to_document(kit.term))
    assert hand.column("expires_at") == kit.destruction.until
    assert hand.column("expires_at") > kit.term.over_at


async def test_no_disposal_is_approved_while_the_victim_can_think_again(hand: Hand) -> None:
    noticed(hand)
    hand.one("notice.attempted", how="reached", until=hand.at(62))
    hand.advance(45 * DAY)
    confirmed(hand)
    hand.until(hand.kit.expires_at)
    hand.one("term.expired", CLOCK)
    hand.one("disposal.proposed", CUSTODIAN, packages=[{"package": 1}])
    with refused(PROTOCOL):
        hand.forged("disposal.approved", COORDINATOR)
    assert hand.kit.destruction is not None
    hand.until(hand.kit.destruction.until)
    hand.one("disposal.approved", COORDINATOR)


@pytest.mark.parametrize("ends", ["taken back", "hold"])
async def test_whatever_ends_the_wish_gives_the_term_back_as_it_was(hand: Hand, ends: str) -> None:
    term, number = hand.kit.term, hand.number
    await cooled(hand)
    victim = card_of(number)
    back = TakeBackDestruction(kit=number, how="by_card")
    hold = PlaceHold(kit=number, ground="safety", reason="asked for by card")

    await hand.story.do(
        victim,
        [number],
        lambda seen: (
            take_back_destruction(seen.kit(number), back, victim, POLICIES, seen.at)
            if ends == "taken back"
            else place_hold(seen.kit(number), hold, victim, "ab" * 16, POLICIES, seen.at)
        ),
    )

    assert hand.kit.term == term
    assert (hand.column("retention"), hand.column("expires_at")) == ("running", None)
    assert hand.column("holds") == (ends == "hold")
    assert (hand.kit.extensions, hand.kit.term_before_wish) == (0, None)


async def test_no_step_that_ends_the_wish_gives_back_less_than_the_term_from_before_it(hand: Hand) -> None:
    term = hand.kit.term
    assert term is not None
    await cooled(hand)
    short = today(hand, write_moment(term.over_at - DAY))
    whole = today(hand, write_moment(term.over_at))
    said: dict[str, Any] = {"how": "in_person", "policy": BELGIUM}
    with refused(PROTOCOL):
        hand.forged("term.extended", **said, term=short)
    hand.one("report.declared", how="in_person", decided_by="victim")
    with refused(PROTOCOL):
        hand.two("report.withdrawn", **said, decided_by="victim", term=short)
    hand.two("report.withdrawn", **said, decided_by="victim", term=whole)
    assert hand.column("retention") == "running"
    assert hand.column("term_over_at") == term.over_at
