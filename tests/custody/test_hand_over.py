"""Packages go from hand to hand, and two people never get the same one."""

from datetime import timedelta

import pytest

from custody.commands import Accept, Cancel, Offer, Store
from custody.handling import store
from custody.handover import accept, cancel, offer
from custody.ledger import MovedOn
from custody.protocol import Custody
from custody.refusal import Refused
from tests.conftest import Engines
from tests.custody.story import CENTRE, CUSTODIAN, CUSTODIAN_2, NURSE, Story, begin, ref

pytestmark = pytest.mark.anyio


@pytest.fixture
async def story(engines: Engines) -> Story:
    return await begin(engines.service, engines.clerk)


async def offered(story: Story) -> str:
    kit = await story.registered()
    seen = await story.look(NURSE, kit)
    order = Offer(
        packages=(ref(kit, 1), ref(kit, 2)), organisation=CENTRE, due_at=seen.at + timedelta(hours=4)
    )
    await story.do(NURSE, [kit], lambda seen: offer(seen, order, NURSE, story.directory, "ab" * 16))
    return kit


async def test_offered_packages_are_in_transit_until_the_receiver_accepts(story: Story) -> None:
    kit = await offered(story)
    assert (await story.kit(kit)).packages[1].state is Custody.IN_TRANSIT

    order = Accept(packages=(ref(kit, 1), ref(kit, 2)))
    await story.do(CUSTODIAN, [kit], lambda seen: accept(seen, order, CUSTODIAN))
    put = Store(packages=(ref(kit, 1),), place="freezer-1")
    await story.do(CUSTODIAN, [kit], lambda seen: store(seen, put, CUSTODIAN, story.directory))

    now = await story.kit(kit)
    assert now.packages[1].state is Custody.STORED
    assert now.packages[2].holder is not None
    assert now.packages[2].holder.person == CUSTODIAN.person
    assert now.handovers == {}


async def test_of_two_acceptances_seen_at_the_same_head_one_wins(story: Story) -> None:
    kit = await offered(story)
    order = Accept(packages=(ref(kit, 1), ref(kit, 2)))
    first, second = await story.look(CUSTODIAN, kit), await story.look(CUSTODIAN_2, kit)

    await story.append(CUSTODIAN, first, accept(first, order, CUSTODIAN))

    with pytest.raises(MovedOn):
        await story.append(CUSTODIAN_2, second, accept(second, order, CUSTODIAN_2))
    with pytest.raises(Refused, match="with Casper Kluis"):
        await story.do(CUSTODIAN_2, [kit], lambda seen: accept(seen, order, CUSTODIAN_2))


async def test_a_double_click_finds_its_first_receipt(story: Story) -> None:
    kit = await offered(story)
    order = Accept(packages=(ref(kit, 1), ref(kit, 2)))

    once = await story.do(CUSTODIAN, [kit], lambda seen: accept(seen, order, CUSTODIAN), key="one-click")
    again = await story.do(CUSTODIAN, [kit], lambda seen: accept(seen, order, CUSTODIAN), key="one-click")

    assert once == again


async def test_an_acceptance_after_the_offer_was_cancelled_is_refused(story: Story) -> None:
    kit = await offered(story)
    seen = await story.look(CUSTODIAN, kit)
    order = Accept(packages=(ref(kit, 1),))
    late = accept(seen, order, CUSTODIAN)
    back = Cancel(packages=(ref(kit, 1), ref(kit, 2)))
    await story.do(NURSE, [kit], lambda seen: cancel(seen, back, NURSE))

    with pytest.raises(MovedOn):
        await story.append(CUSTODIAN, seen, late)
    with pytest.raises(Refused, match="with Nora Nachtwacht"):
        await story.do(CUSTODIAN, [kit], lambda seen: accept(seen, order, CUSTODIAN))
