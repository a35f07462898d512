"""Packages go from hand to hand, and two people never get the same one."""

from datetime import timedelta

import pytest

from custody.commands import (
    Accept,
    Cancel,
    Carry,
    Offer,
    ReceiveBack,
    RecordAcceptance,
    Refuse,
    Store,
)
from custody.handling import store
from custody.handover import accept, cancel, carry, offer, receive_back, record_acceptance, refuse
from custody.ledger import MovedOn, reading
from custody.protocol import Custody
from custody.reading import overdue
from custody.refusal import Refused
from tests.custody.story import (
    ANALYST,
    CENTRE,
    CUSTODIAN,
    CUSTODIAN_2,
    LAB,
    NURSE,
    ZONE,
    Story,
    do,
    offered,
    ref,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def story(centre: Story) -> Story:
    return centre


async def two_offered(story: Story) -> str:
    kit = await story.registered()
    await offered(story, kit, CENTRE, 1, 2)
    return kit


async def test_offered_packages_are_in_transit_until_the_receiver_accepts(story: Story) -> None:
    kit = await two_offered(story)
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


async def test_who_offered_to_anybody_of_the_own_centre_does_not_accept(story: Story) -> None:
    kit = await two_offered(story)
    order = Accept(packages=(ref(kit, 1),))
    with pytest.raises(Refused, match="You offered package 1 yourself"):
        await story.do(NURSE, [kit], lambda seen: accept(seen, order, NURSE))
    assert (await story.kit(kit)).packages[1].state is Custody.IN_TRANSIT


async def test_of_two_acceptances_seen_at_the_same_head_one_wins(story: Story) -> None:
    kit = await two_offered(story)
    order = Accept(packages=(ref(kit, 1), ref(kit, 2)))
    first, second = await story.look(CUSTODIAN, kit), await story.look(CUSTODIAN_2, kit)

    await story.append(CUSTODIAN, first, accept(first, order, CUSTODIAN))

    with pytest.raises(MovedOn):
        await story.append(CUSTODIAN_2, second, accept(second, order, CUSTODIAN_2))
    with pytest.raises(Refused, match="with Casper Kluis"):
        await story.do(CUSTODIAN_2, [kit], lambda seen: accept(seen, order, CUSTODIAN_2))


async def test_a_double_click_finds_its_first_receipt(story: Story) -> None:
    kit = await two_offered(story)
    order = Accept(packages=(ref(kit, 1), ref(kit, 2)))

    once = await story.do(CUSTODIAN, [kit], lambda seen: accept(seen, order, CUSTODIAN), key="one-click")
    again = await story.do(CUSTODIAN, [kit], lambda seen: accept(seen, order, CUSTODIAN), key="one-click")

    assert once == again


async def test_an_acceptance_after_the_offer_was_cancelled_is_refused(story: Story) -> None:
    kit = await two_offered(story)
    seen = await story.look(CUSTODIAN, kit)
    order = Accept(packages=(ref(kit, 1),))
    late = accept(seen, order, CUSTODIAN)
    back = Cancel(packages=(ref(kit, 1), ref(kit, 2)))
    await story.do(NURSE, [kit], lambda seen: cancel(seen, back, NURSE))

    with pytest.raises(MovedOn):
        await story.append(CUSTODIAN, seen, late)
    with pytest.raises(Refused, match="with Nora Nachtwacht"):
        await story.do(CUSTODIAN, [kit], lambda seen: accept(seen, order, CUSTODIAN))


# --- findings, couriers, receivers without an account --------------------------------------------------


async def test_at_acceptance_a_wrong_seal_stays_on_the_way_and_a_broken_one_is_taken_with_a_finding(
    story: Story,
) -> None:
    kit = await story.registered()
    await offered(story, kit, CENTRE, 1, 2, 3)
    refs = (ref(kit, 1), ref(kit, 2, condition="broken"), ref(kit, 3, seal="S-9999"))
    types = await do(story, CUSTODIAN, kit, lambda s: accept(s, Accept(packages=refs), CUSTODIAN))
    assert types == ["seal.found_broken", "handover.accepted"]
    now = await story.kit(kit)
    assert [p.state for p in now.packages.values()] == [Custody.SEALED, Custody.SEALED, Custody.IN_TRANSIT]
    assert [p.seal_broken for p in now.packages.values()] == [False, True, True]
    assert now.handovers["ab" * 16].packages == (3,)
    assert [(f.type, f.packages) for f in now.findings] == [("seal.found_broken", (2, 3))]


async def test_a_receiver_refuses_and_the_giver_has_it_back(story: Story) -> None:
    kit = await story.registered()
    await offered(story, kit, LAB, 1)
    no = Refuse(packages=(ref(kit, 1),), reason="no analysis was asked for")
    await do(story, ANALYST, kit, lambda s: refuse(s, no, ANALYST))
    package = (await story.kit(kit)).packages[1]
    assert package.state is Custody.SEALED
    assert package.holder is not None
    assert package.holder.person == NURSE.person
    assert (await story.look(ANALYST, kit)).kits == {}


async def test_with_a_courier_the_giver_answers_until_somebody_accepts_and_may_take_it_back(
    story: Story,
) -> None:
    kit = await story.registered()
    await offered(story, kit, LAB, 1, 2)
    told = Carry(
        packages=(ref(kit, 1), ref(kit, 2)),
        courier="Karel Koerier",
        courier_organisation="Koerier Ooievaar",
        signature="ab" * 32,
    )
    await do(story, NURSE, kit, lambda s: carry(s, told, NURSE))
    way = (await story.kit(kit)).handovers["ab" * 16]
    assert way.carrier is not None
    assert way.carrier.name == "Karel Koerier"
    await do(story, NURSE, kit, lambda s: cancel(s, Cancel(packages=(ref(kit, 2),)), NURSE))
    await do(story, ANALYST, kit, lambda s: accept(s, Accept(packages=(ref(kit, 1),)), ANALYST))
    now = await story.kit(kit)
    assert now.handovers == {}
    assert now.packages[1].holder is not None
    assert now.packages[1].holder.organisation == LAB
    assert now.packages[2].holder is not None
    assert now.packages[2].holder.person == NURSE.person


async def test_a_receiver_without_an_account_signs_on_the_givers_device_and_it_comes_back(
    story: Story,
) -> None:
    kit = await story.registered()
    await offered(story, kit, LAB, 1)
    signed = RecordAcceptance(
        packages=(ref(kit, 1),), receiver="Fien Ver", receiver_organisation="Lab Overzee", signature="cd" * 32
    )
    await do(story, NURSE, kit, lambda s: record_acceptance(s, signed, NURSE))
    package = (await story.kit(kit)).packages[1]
    assert package.holder is not None
    assert (package.holder.name, package.holder.person) == ("Fien Ver", None)
    assert package.holder.organisation_name == "Lab Overzee"
    back = ReceiveBack(packages=(ref(kit, 1),), giver="Fien Ver", giver_organisation="Lab Overzee")
    await do(story, CUSTODIAN, kit, lambda s: receive_back(s, back, CUSTODIAN, story.directory))
    package = (await story.kit(kit)).packages[1]
    assert package.holder is not None
    assert package.holder.person == CUSTODIAN.person
    seen = await story.look(CUSTODIAN, kit)
    with pytest.raises(Refused, match="not with anybody else"):
        receive_back(seen, back, CUSTODIAN, story.directory)


async def test_an_offer_says_by_when_and_what_is_late_is_listed(story: Story) -> None:
    kit = await story.registered()
    seen = await story.look(NURSE, kit)
    for due in (seen.at, seen.at + timedelta(days=15), (seen.at + timedelta(days=1)).replace(tzinfo=None)):
        order = Offer(packages=(ref(kit, 1),), organisation=CENTRE, due_at=due)
        with pytest.raises(Refused, match="by when"):
            offer(seen, order, NURSE, story.directory, "ab" * 16)
    await offered(story, kit)
    now = await story.kit(kit)
    due = now.handovers["ab" * 16].due_at
    async with reading(story.ledger.engine, NURSE) as connection:
        early = await overdue(connection, NURSE, due - timedelta(seconds=1))
        late = await overdue(connection, NURSE, due)
    assert kit not in {row["kit"] for row in early}
    assert kit in {row["kit"] for row in late}


async def test_before_the_link_nothing_is_offered_to_the_police(story: Story) -> None:
    kit = await story.registered()
    seen = await story.look(NURSE, kit)
    order = Offer(packages=(ref(kit, 1),), organisation=ZONE, due_at=seen.at + timedelta(hours=1))
    with pytest.raises(Refused, match="once the report is linked"):
        offer(seen, order, NURSE, story.directory, "ab" * 16)
