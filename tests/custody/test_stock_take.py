"""A stock-take: what lies in a place against what is recorded there. Nothing is lost by itself."""

import pytest

from custody.commands import Lose, Open, PackageRef, Restrict, Store, TakeStock
from custody.handling import lose, open_, store
from custody.ledger import reading
from custody.people import Actor
from custody.protocol import Custody, Trail
from custody.reading import lying_in, trail
from custody.refusal import NoSuchPackage, NoSuchPlace, NotPermitted, NotSeen, Refused
from custody.restriction import restrict
from custody.stock_take import Compared, Ref, compare, take
from tests.custody.story import (
    COORDINATOR,
    CUSTODIAN,
    LAB,
    NURSE,
    OFFICER,
    OTHER_CENTRE,
    OTHER_NURSE,
    Story,
    do,
    new_number,
    offered,
    ref,
)

pytestmark = pytest.mark.anyio

NUMBER = "fe" * 16


async def put(story: Story, kit: str, place: str, *packages: int) -> None:
    order = Store(packages=tuple(ref(kit, p) for p in packages), place=place)
    await do(story, NURSE, kit, lambda s: store(s, order, NURSE, story.directory))


async def lying(story: Story, place: str, actor: Actor = CUSTODIAN) -> frozenset[Ref]:
    async with reading(story.ledger.engine, actor) as connection:
        return await lying_in(connection, place)


async def taken(story: Story, place: str, *refs: PackageRef, actor: Actor = CUSTODIAN) -> list[str]:
    """Take stock; answers the types of event that were recorded."""
    order = TakeStock(place=place, packages=refs)
    recorded = await lying(story, place, actor)
    kits = tuple(dict.fromkeys(r.kit for r in refs))
    receipts = await story.do(
        actor,
        kits,
        lambda s: take(s, order, actor, story.directory, NUMBER, recorded),
        others=(f"place:{place}",),
    )
    return [r.type for r in receipts]


async def counted(story: Story, place: str) -> list[tuple[str, str | None]]:
    """What the place's own trail says of stock-takes: how, and the number of the finding."""
    async with reading(story.ledger.engine, NURSE) as connection:
        events = await trail(connection, place, Trail.PLACE)
    return [(e.get("how"), e.get("finding")) for e in events if e.type == "stock_take.taken"]


async def test_a_place_in_which_everything_lies_as_recorded_is_complete(centre: Story) -> None:
    first, second = await centre.registered(), await centre.registered()
    await put(centre, first, "fridge-1", 3)
    await put(centre, second, "fridge-1", 3)
    assert await lying(centre, "fridge-1") == {(first, 3), (second, 3)}
    assert await taken(centre, "fridge-1", ref(first, 3), ref(second, 3)) == ["stock_take.taken"]
    assert await counted(centre, "fridge-1") == [("complete", None)]
    async with reading(centre.ledger.engine, NURSE) as connection:
        (*_, event) = await trail(connection, "fridge-1", Trail.PLACE)
    assert first.encode() not in event.bytes
    assert second.encode() not in event.bytes, "the event of a place names no kit"


async def test_what_was_not_scanned_is_a_difference_and_stays_where_it_is_recorded(centre: Story) -> None:
    kit = await centre.registered()
    await put(centre, kit, "shelf-1", 2)
    before = (await centre.kit(kit)).custody_head
    assert await taken(centre, "shelf-1") == ["stock_take.taken"]
    assert await counted(centre, "shelf-1") == [("differences", NUMBER)]
    after = await centre.kit(kit)
    assert after.packages[2].state is Custody.STORED, "nobody said that it cannot be found"
    assert after.custody_head == before
    await do(
        centre, CUSTODIAN, kit, lambda s: lose(s, Lose(packages=(ref(kit, 2),), reason="gone"), CUSTODIAN)
    )
    assert await lying(centre, "shelf-1") == frozenset()


async def test_what_lies_here_and_is_recorded_elsewhere_is_a_finding_of_its_own_kit(centre: Story) -> None:
    stored, in_hands, on_the_way = [await centre.registered() for _ in range(3)]
    await put(centre, stored, "table-1", 1)
    await offered(centre, on_the_way, LAB, 1)
    types = await taken(centre, "freezer-1", *(ref(kit, 1) for kit in (stored, in_hands, on_the_way)))
    assert types == ["stock_take.taken", *["package.found_elsewhere"] * 3]
    for kit in (stored, in_hands, on_the_way):
        found = await centre.kit(kit)
        package = found.packages[1]
        assert (package.state, package.place and package.place.id) == (Custody.STORED, "freezer-1")
        assert found.handovers == {}
        async with reading(centre.ledger.engine, NURSE) as connection:
            event = (await trail(connection, kit, Trail.CUSTODY))[-1]
        assert event.get("finding") == NUMBER
        assert event.get("place")["id"] == "freezer-1"
    assert (await counted(centre, "freezer-1"))[-1] == ("differences", NUMBER)
    again = await lying(centre, "freezer-1")
    assert {(kit, 1) for kit in (stored, in_hands, on_the_way)} <= again


async def test_a_lost_package_is_found_by_the_stock_take_and_lies_there(centre: Story) -> None:
    kit = await centre.registered()
    await do(centre, NURSE, kit, lambda s: lose(s, Lose(packages=(ref(kit, 1),), reason="gone"), NURSE))
    types = await taken(centre, "table-1", ref(kit, 1))
    assert types == ["stock_take.taken", "package.found", "package.found_elsewhere"]
    package = (await centre.kit(kit)).packages[1]
    assert (package.state, package.place and package.place.id) == (Custody.STORED, "table-1")


async def test_a_lost_package_that_is_open_comes_into_the_finders_hands_to_be_closed(centre: Story) -> None:
    kit = await centre.registered()
    opened = Open(packages=(ref(kit, 1),), reason="one item more")
    await do(centre, NURSE, kit, lambda s: open_(s, opened, NURSE))
    await do(centre, NURSE, kit, lambda s: lose(s, Lose(packages=(ref(kit, 1),), reason="gone"), NURSE))
    here = [ref(k, p) for k, p in sorted(await lying(centre, "fridge-1"))]
    types = await taken(centre, "fridge-1", *here, ref(kit, 1, seal=None))
    assert types == ["stock_take.taken", "package.found"]
    package = (await centre.kit(kit)).packages[1]
    assert (package.place, package.holder and package.holder.person) == (None, "casper")


async def test_a_strange_seal_is_a_finding_of_the_stock_take_too(centre: Story) -> None:
    kit = await centre.registered()
    await put(centre, kit, "table-1", 1, 2)
    here = [ref(k, p) for k, p in sorted(await lying(centre, "table-1")) if k != kit]
    types = await taken(centre, "table-1", *here, ref(kit, 1, seal="S-9999"), ref(kit, 2, condition="broken"))
    assert types == ["stock_take.taken", "seal.found_broken"]
    packages = (await centre.kit(kit)).packages
    assert packages[1].seal_broken
    assert packages[2].seal_broken


async def test_what_is_open_or_gone_is_a_difference_that_the_stock_take_moves_nowhere(centre: Story) -> None:
    kit = await centre.registered()
    await do(
        centre, NURSE, kit, lambda s: open_(s, Open(packages=(ref(kit, 1),), reason="one item more"), NURSE)
    )
    here = [ref(k, p) for k, p in sorted(await lying(centre, "fridge-1"))]
    assert await taken(centre, "fridge-1", *here, ref(kit, 1)) == ["stock_take.taken"]
    assert (await counted(centre, "fridge-1"))[-1] == ("differences", NUMBER)
    assert (await centre.kit(kit)).packages[1].state is Custody.OPENED
    scanned = {(kit, 1): (await centre.kit(kit), (await centre.kit(kit)).packages[1])}
    told = compare("fridge-1", scanned, [(kit, 2)], CUSTODIAN)
    assert told == Compared(unclear=((kit, 1),), missing=((kit, 2),))
    assert not told.complete
    assert compare("fridge-1", {}, [], CUSTODIAN).complete, "an empty place is counted too"


async def test_what_is_on_the_way_to_the_centre_is_accepted_and_not_found(centre: Story) -> None:
    kit = await centre.registered()
    await offered(centre, kit, OTHER_CENTRE, 1)
    seen = await centre.look(OTHER_NURSE, kit)
    scanned = {(kit, 1): (seen.kit(kit), seen.kit(kit).packages[1])}
    assert compare("table-9", scanned, [], OTHER_NURSE) == Compared(unclear=((kit, 1),))


async def test_a_stock_take_is_for_those_who_keep_the_place_and_tells_nobody_of_a_kit(centre: Story) -> None:
    kit = await centre.registered()
    order = TakeStock(place="freezer-1", packages=(ref(kit, 1),))
    for actor, refused in ((OFFICER, NotPermitted), (COORDINATOR, NotPermitted), (OTHER_NURSE, NoSuchPlace)):
        seen = await centre.look(CUSTODIAN, kit)
        with pytest.raises(refused):
            take(seen, order, actor, centre.directory, NUMBER, [])
    seen = await centre.look(CUSTODIAN, kit)
    for wrong, said in (
        (TakeStock(place="freezer-1", packages=(ref(new_number(), 1),)), NotSeen),
        (TakeStock(place="freezer-1", packages=(ref(kit, 77),)), NoSuchPackage),
        (TakeStock(place="freezer-1", packages=(ref(kit, 1), ref(kit, 1))), Refused),
        (TakeStock(place="safe-1", packages=()), NoSuchPlace),
    ):
        with pytest.raises(said):
            take(seen, wrong, CUSTODIAN, centre.directory, NUMBER, [])


async def test_of_a_restricted_kit_only_its_readers_take_stock(centre: Story) -> None:
    kit = await centre.registered()
    await put(centre, kit, "table-1", 1)
    order = Restrict(kit=kit, readers=("coraline", "nora"))
    await do(centre, NURSE, kit, lambda s: restrict(s.kit(kit), order, NURSE, centre.directory))
    assert (kit, 1) in await lying(centre, "table-1", NURSE)
    assert (kit, 1) not in await lying(centre, "table-1", CUSTODIAN), "for him there is nothing to miss"
    never = new_number()
    told = []
    for number in (kit, never):
        with pytest.raises(NotSeen) as refused:
            await taken(centre, "table-1", ref(number, 1))
        told.append(str(refused.value))
    assert told[0] == told[1]
    here = [ref(k, p) for k, p in sorted(await lying(centre, "table-1", NURSE))]
    await taken(centre, "table-1", *here, actor=NURSE)
    assert (await counted(centre, "table-1"))[-1] == ("complete", None)
