"""With justice since …: what a kit tells its centre and its victim once evidence was released, and what again
when the prosecutor's office opens it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from custody.commands import (
    Accept,
    Lose,
    MoveLink,
    Offer,
    OpenToCentre,
    PackageRef,
    ReleaseInError,
    Store,
    Take,
    WishWithdrawal,
)
from custody.handling import lose, store, take
from custody.handover import accept, offer
from custody.kit import Kit, to_document
from custody.people import Actor, Function
from custody.permission import UNTIL_RELEASE, as_known, may, permit, with_justice
from custody.prosecution import move_link, release_in_error, wish_withdrawal
from custody.protocol import Legal
from custody.refusal import NoSuchPackage, NotPermitted, NotSeen, Refused
from custody.restriction import open_to_centre
from tests.custody.story import (
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    MAGISTRATE,
    NURSE,
    NURSE_2,
    OFFICER,
    OTHER_MAGISTRATE,
    OTHER_OFFICE,
    ZONE,
    Story,
    do,
    offered,
    ref,
)
from tests.custody.test_prosecution import linked, released

pytestmark = pytest.mark.anyio
STAFF = (NURSE, NURSE_2, CUSTODIAN, COORDINATOR)


@pytest.fixture
def story(centre: Story) -> Story:
    return centre


def card(kit: str) -> Actor:
    return Actor(function=Function.VICTIM, card=kit)


async def opened(story: Story, kit: str, who: Actor = MAGISTRATE) -> list[str]:
    order = OpenToCentre(kit=kit, reason="asked for by the centre")
    return await do(story, who, kit, lambda s: open_to_centre(s.kit(kit), order, who))


async def whole(story: Story, kit: str) -> Kit:
    return await story.kit(kit, COORDINATOR)


async def test_after_the_release_the_centre_knows_since_when_and_what_it_still_has(story: Story) -> None:
    kit = await released(story, 1, 2)
    now = await whole(story, kit)
    for person in STAFF:
        known = as_known(person, now)
        assert set(to_document(known)) == {
            *("number", "centre", "examined_on", "registered_at", "legal", "retention", "released_at"),
            *("packages", "items", "custody_head", "choices_head", "age_class"),
        }
        assert set(known.packages) == {3}
        assert {i.package for i in known.items.values()} == {3}
        assert known.released_at == now.released_at
        assert (known.custody_head.number, known.choices_head.number, known.age_class) == (0, 0, "unknown")
        assert as_known(person, known) == known, "what is known is no more the second time"


async def test_when_everything_is_with_justice_a_date_is_left(story: Story) -> None:
    kit = await released(story, 1, 2, 3)
    known = as_known(COORDINATOR, await whole(story, kit))
    assert (known.packages, known.items, known.labels, known.handovers) == ({}, {}, {}, {})
    assert (known.link, known.order, known.matches, known.holds, known.findings) == (None, None, (), {}, ())


async def test_the_victim_knows_since_when_and_still_has_a_wish(story: Story) -> None:
    kit = await released(story, 1)
    me = card(kit)
    now = (await story.look(me, kit)).kit(kit)
    known = as_known(me, now)
    assert (known.released_at, known.packages, known.term) == (now.released_at, {}, None)
    order = WishWithdrawal(kit=kit, how="by_card")
    assert await do(story, me, kit, lambda s: wish_withdrawal(s.kit(kit), order, me)) == ["withdrawal.wished"]
    assert await opened(story, kit) == ["kit.opened_to_centre"]
    assert as_known(me, (await story.look(me, kit)).kit(kit)) == known, "it is opened to the centre"


async def test_trails_private_part_and_files_are_refused_and_the_refusal_says_whom_to_ask(
    story: Story,
) -> None:
    kit = await whole(story, await released(story, 1))
    assert set(UNTIL_RELEASE) == {
        a for a in UNTIL_RELEASE if may(a, COORDINATOR, replace(kit, legal=Legal.LINKED))
    }
    for action in UNTIL_RELEASE:
        with pytest.raises(NotPermitted, match="Ask the prosecutor's office"):
            permit(action, COORDINATOR, kit)
    with pytest.raises(NotPermitted, match="Your function does not allow"):
        permit("custody_trail.export", NURSE, kit)
    for ordered in ("choices.disclose", "choices_trail.export", "private.disclose"):
        permit(ordered, COORDINATOR, kit)
    for reader in (OFFICER, MAGISTRATE):
        permit("custody_trail.read", reader, kit)
        assert len(as_known(reader, kit).packages) == 3
    permit("custody_trail.export", MAGISTRATE, kit)


async def test_before_the_release_nothing_is_closed(story: Story) -> None:
    kit = await whole(story, await linked(story))
    for action in UNTIL_RELEASE:
        permit(action, COORDINATOR, kit)
    assert as_known(NURSE, kit) == kit
    with pytest.raises(Refused, match="not with justice"):
        open_to_centre(kit, OpenToCentre(kit=kit.number), MAGISTRATE)


async def test_the_magistrate_of_the_linked_office_opens_the_kit_to_its_centre_again(story: Story) -> None:
    kit = await released(story, 1)
    for other in (COORDINATOR, OFFICER):
        with pytest.raises(NotPermitted):
            await opened(story, kit, other)
    with pytest.raises(NotSeen):
        await opened(story, kit, OTHER_MAGISTRATE)
    assert await opened(story, kit) == ["kit.opened_to_centre"]
    now = await whole(story, kit)
    assert not with_justice(now)
    assert as_known(COORDINATOR, now) == now
    for action in UNTIL_RELEASE:
        permit(action, COORDINATOR, now)
    with pytest.raises(Refused, match="open to its centre already"):
        await opened(story, kit)


async def test_what_the_centre_still_has_it_goes_on_working_with(story: Story) -> None:
    kit = await released(story, 1)
    two = PackageRef(kit=kit, package=2, seal=ref(kit, 2).seal)
    put = Store(packages=(two,), place="shelf-1")
    await do(story, NURSE, kit, lambda s: store(s, put, NURSE, story.directory))
    out = Take(packages=(two,), reason="for the police")
    await do(story, NURSE, kit, lambda s: take(s, out, NURSE))
    await offered(story, kit, ZONE, 2, way="cd" * 16)
    known = as_known(NURSE_2, await whole(story, kit))
    assert set(known.packages) == {2, 3}
    assert set(known.handovers) == {"cd" * 16}
    order = Accept(packages=(ref(kit, 2),))
    await do(story, OFFICER, kit, lambda s: accept(s, order, OFFICER))
    assert set(as_known(NURSE_2, await whole(story, kit)).packages) == {3}


async def test_a_package_that_is_with_justice_cannot_be_found_out_about_by_asking(story: Story) -> None:
    kit = await released(story, 1)
    now = await whole(story, kit)
    with pytest.raises(NoSuchPackage):
        permit("package.take", NURSE, now, [now.packages[1]])
    with pytest.raises(NoSuchPackage):
        permit("package.take", NURSE, now, [replace(now.packages[1], package=9)])


async def test_the_coordinators_steps_are_still_decided_on_the_whole_kit(story: Story) -> None:
    kit = await released(story, 1, 2)
    moved = MoveLink(kit=kit, notice="N-2", office=OTHER_OFFICE)
    assert await do(
        story, COORDINATOR, kit, lambda s: move_link(s.kit(kit), moved, COORDINATOR, story.directory)
    ) == ["link.moved"]
    back = ReleaseInError(kit=kit, reason="another person's kit")
    await do(story, COORDINATOR, kit, lambda s: release_in_error(s.kit(kit), back, COORDINATOR, NURSE))
    now = await whole(story, kit)
    assert (now.legal, now.released_at) == (Legal.LINKED, None)
    assert as_known(NURSE, now) == now
    permit("custody_trail.export", COORDINATOR, now)


async def test_an_opening_ends_with_the_release_it_belonged_to(story: Story) -> None:
    kit = await released(story, 1)
    await opened(story, kit)
    back = ReleaseInError(kit=kit, reason="another person's kit")
    await do(story, COORDINATOR, kit, lambda s: release_in_error(s.kit(kit), back, COORDINATOR, NURSE))
    assert (await whole(story, kit)).opened_to_centre_at is None
    await offered(story, kit, ZONE, 2, way="ef" * 16)
    order = Accept(packages=(ref(kit, 2),))
    await do(story, OFFICER, kit, lambda s: accept(s, order, OFFICER))
    assert with_justice(await whole(story, kit))


async def test_what_is_on_its_way_back_to_the_centre_is_known_there_again(story: Story) -> None:
    kit = await released(story, 1)
    due = (await story.look(OFFICER, kit)).at + timedelta(hours=2)
    order = Offer(packages=(ref(kit, 1),), organisation=CENTRE, due_at=due)
    await do(story, OFFICER, kit, lambda s: offer(s, order, OFFICER, story.directory, "cd" * 16))
    assert set(as_known(NURSE, await whole(story, kit)).packages) == {1, 2, 3}


async def test_a_package_that_justice_lost_is_none_of_the_centres_any_more(story: Story) -> None:
    kit = await released(story, 1)
    order = Lose(packages=(ref(kit, 1),), reason="not in the safe")
    await do(story, OFFICER, kit, lambda s: lose(s, order, OFFICER))
    known = as_known(COORDINATOR, await whole(story, kit))
    assert (set(known.packages), known.findings) == ({2, 3}, ())
