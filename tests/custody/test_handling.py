"""Packages at the bench: seals looked at, opened, closed, split, joined, lost, found, swapped, returned."""

from dataclasses import replace
from datetime import timedelta

import pytest

from custody.commands import (
    Accept,
    CheckSeal,
    Correct,
    Find,
    ItemFinding,
    Join,
    Lose,
    NewItem,
    NewPackage,
    Offer,
    Open,
    OpenIncident,
    PackageRef,
    PrintLabels,
    Regrouped,
    Reseal,
    ReturnBelongings,
    Seal,
    Split,
    Store,
    Supplement,
    Swapped,
    Take,
    Void,
)
from custody.handling import (
    check_seal,
    correct,
    find,
    incident,
    item_finding,
    join,
    labels_printed,
    lose,
    open_,
    reseal,
    return_belongings,
    seal,
    split,
    store,
    swapped,
    take,
    void,
)
from custody.handover import (
    accept,
    offer,
)
from custody.items import TYPES
from custody.ledger import reading
from custody.people import Actor
from custody.protocol import Custody, Trail
from custody.reading import trail
from custody.refusal import NeedsSecond, NotSeen, Refused
from custody.registering import supplement
from tests.custody.story import (
    ANALYST,
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    LAB,
    NURSE,
    NURSE_2,
    OFFICER,
    OTHER_NURSE,
    Story,
    do,
    offered,
    ref,
)

pytestmark = pytest.mark.anyio


# --- seals -----------------------------------------------------------------------------------------


async def test_another_person_checks_the_seal_and_the_one_who_closed_it_counts_for_nothing(
    centre: Story,
) -> None:
    kit = await centre.registered()
    look = CheckSeal(packages=(ref(kit, 1),))
    assert await do(centre, NURSE, kit, lambda s: check_seal(s, look, NURSE)) == ["seal.checked"]
    assert not (await centre.kit(kit)).packages[1].seal_checked
    await do(centre, NURSE_2, kit, lambda s: check_seal(s, look, NURSE_2))
    assert (await centre.kit(kit)).packages[1].seal_checked


async def test_of_three_seals_one_is_broken_and_one_is_another_and_both_are_findings(centre: Story) -> None:
    kit = await centre.registered()
    refs = (ref(kit, 1), ref(kit, 2, condition="broken"), ref(kit, 3, seal="S-9999"))
    order = CheckSeal(packages=refs)
    types = await do(centre, NURSE_2, kit, lambda s: check_seal(s, order, NURSE_2))
    assert types == ["seal.found_broken", "seal.checked"]
    now = await centre.kit(kit)
    assert [p.seal_broken for p in now.packages.values()] == [False, True, True]
    assert [(f.type, f.packages) for f in now.findings] == [("seal.found_broken", (2, 3))]


async def test_what_was_never_closed_has_no_seal_to_check(centre: Story) -> None:
    kit = await with_empty_package(centre)
    order = CheckSeal(packages=(PackageRef(kit=kit, package=9),))
    with pytest.raises(Refused, match="package 9 is packed"):
        await do(centre, NURSE, kit, lambda s: check_seal(s, order, NURSE))


async def test_a_broken_seal_is_closed_again_before_the_package_goes_on(centre: Story) -> None:
    kit = await centre.registered()
    broken = CheckSeal(packages=(ref(kit, 1, condition="broken"),))
    await do(centre, NURSE, kit, lambda s: check_seal(s, broken, NURSE))
    with pytest.raises(Refused, match="close it again first"):
        await offered(centre, kit)
    again = Reseal(packages=(ref(kit, 1, seal="S-0201"),))
    assert await do(centre, NURSE, kit, lambda s: reseal(s, again, NURSE)) == ["package.resealed"]
    package = (await centre.kit(kit)).packages[1]
    assert (package.seal, package.seal_broken, package.seal_checked) == ("S-0201", False, False)
    with pytest.raises(Refused, match="is intact"):
        await do(
            centre, NURSE, kit, lambda s: reseal(s, Reseal(packages=(ref(kit, 1, seal="S-0202"),)), NURSE)
        )


async def test_a_seal_closes_one_package_once(centre: Story) -> None:
    kit = await with_empty_package(centre)
    packages = tuple(
        NewPackage(package=n, kind="bag", storage="dry", items=(NewItem(item=20 + n, type="shoes"),))
        for n in (4, 5)
    )
    more = Supplement(kit=kit, packages=packages, brought_by="victim")
    await do(centre, NURSE, kit, lambda s: supplement(s.kit(kit), more, NURSE, s.at, TYPES))
    for refs in (
        (ref(kit, 4, seal="S-0300"), ref(kit, 5, seal="S-0300")),
        (ref(kit, 4, seal="S-0001"),),
    ):
        order = Seal(packages=refs)
        with pytest.raises(Refused, match="closes a package of this kit already"):
            await do(centre, NURSE, kit, lambda s, o=order: seal(s, o, NURSE))  # type: ignore[misc]
    with pytest.raises(Refused, match="Say which seal"):
        await do(
            centre, NURSE, kit, lambda s: seal(s, Seal(packages=(PackageRef(kit=kit, package=4),)), NURSE)
        )


async def test_two_packages_opened_together_are_not_closed_with_one_seal(centre: Story) -> None:
    kit = await opened(centre, 1, 2)
    order = Reseal(packages=(ref(kit, 1, seal="S-0400"), ref(kit, 2, seal="S-0400")))
    with pytest.raises(Refused, match="closes a package"):
        await do(centre, NURSE, kit, lambda s: reseal(s, order, NURSE))


async def opened(story: Story, *packages: int) -> str:
    kit = await story.registered()
    order = Open(packages=tuple(ref(kit, p) for p in packages), reason="repacking")
    await do(story, NURSE, kit, lambda s: open_(s, order, NURSE))
    return kit


async def with_empty_package(story: Story) -> str:
    """A kit with a fourth package, number 9, that nothing was put into and that was not closed."""
    kit = await story.registered()
    empty = NewPackage(package=9, kind="bag", storage="dry")
    more = Supplement(kit=kit, packages=(empty,), brought_by="hospital_staff")
    await do(story, NURSE, kit, lambda s: supplement(s.kit(kit), more, NURSE, s.at, TYPES))
    return kit


async def test_a_package_whose_seal_is_not_the_recorded_one_is_not_opened(centre: Story) -> None:
    kit = await centre.registered()
    order = Open(packages=(ref(kit, 1, seal="S-7777"), ref(kit, 2)), reason="analysis")
    types = await do(centre, NURSE, kit, lambda s: open_(s, order, NURSE))
    assert types == ["seal.found_broken", "package.opened"]
    now = await centre.kit(kit)
    assert (now.packages[1].state, now.packages[2].state) == (Custody.SEALED, Custody.OPENED)


# --- split and join ----------------------------------------------------------------------------------


def into(number: int, *items: int, sealed: bool = True) -> Regrouped:
    return Regrouped(
        package=number,
        kind="envelope",
        storage="frozen",
        items=items,
        seal=f"S-1{number:03}" if sealed else None,
    )


async def test_every_item_of_a_split_package_lies_in_exactly_one_of_the_new_ones(centre: Story) -> None:
    kit = await opened(centre, 1)
    order = Split(kit=kit, package=1, into=(into(10, 1, 2), into(11, 3, 4)), reason="two laboratories")
    await do(centre, NURSE, kit, lambda s: split(s, order, NURSE))
    now = await centre.kit(kit)
    assert now.packages[1].state is Custody.SPLIT
    assert [i.item for i in now.items_of(10)] == [1, 2]
    assert [i.item for i in now.items_of(11)] == [3, 4]
    assert now.items_of(1) == ()
    assert now.packages[10].made_from == (1,)
    assert now.packages[10].state is Custody.SEALED
    assert len(now.items) == 12


@pytest.mark.parametrize(
    "parts",
    [
        (into(10, 1, 2), into(11, 3)),
        (into(10, 1, 2), into(11, 2, 3, 4)),
        (into(10, 1, 2), into(11, 3, 4, 5)),
        (into(10, 1, 2, 3, 4),),
    ],
    ids=["one forgotten", "one twice", "one of another package", "into one"],
)
async def test_a_split_that_loses_or_invents_an_item_is_refused(
    centre: Story, parts: tuple[Regrouped, ...]
) -> None:
    kit = await opened(centre, 1)
    with pytest.raises(Refused, match=r"exactly one|at least two"):
        await do(
            centre,
            NURSE,
            kit,
            lambda s: split(s, Split(kit=kit, package=1, into=parts, reason="x"), NURSE),
        )


async def test_a_split_takes_no_number_or_seal_twice_and_nothing_closed(centre: Story) -> None:
    kit = await opened(centre, 1)
    for parts, says in (
        ((into(2, 1, 2), into(11, 3, 4)), "package 2 is sealed"),
        ((into(10, 1, 2), replace(into(11, 3, 4), seal="S-1010")), "closes a package"),
        ((into(10, 1, 2), replace(into(11, 3, 4), seal="S-0003")), "closes a package"),
    ):
        order = Split(kit=kit, package=1, into=parts, reason="x")
        with pytest.raises(Refused, match=says):
            await do(centre, NURSE, kit, lambda s, o=order: split(s, o, NURSE))  # type: ignore[misc]
    closed = Split(kit=kit, package=2, into=(into(10, 5, 6), into(11, 7, 8)), reason="x")
    with pytest.raises(Refused, match="package 2 is sealed"):
        await do(centre, NURSE, kit, lambda s: split(s, closed, NURSE))


async def test_joined_packages_keep_all_their_items(centre: Story) -> None:
    kit = await opened(centre, 1, 2)
    order = Join(kit=kit, packages=(1, 2), into=into(10), reason="one bag is enough")
    await do(centre, NURSE, kit, lambda s: join(s, order, NURSE))
    now = await centre.kit(kit)
    assert [i.item for i in now.items_of(10)] == list(range(1, 9))
    assert now.packages[10].made_from == (1, 2)
    assert {now.packages[1].state, now.packages[2].state} == {Custody.JOINED}
    again = Join(kit=kit, packages=(10, 10), into=into(12), reason="x")
    with pytest.raises(Refused, match="At least two"):
        await do(centre, NURSE, kit, lambda s: join(s, again, NURSE))


# --- places, lost and found ------------------------------------------------------------------------


async def test_a_package_goes_into_a_place_that_keeps_as_it_must_be_kept(centre: Story) -> None:
    kit = await centre.registered()
    with pytest.raises(Refused, match="is to be kept frozen"):
        await put(centre, kit, "shelf-1", 1)
    with pytest.raises(Refused, match="no open place"):
        await put(centre, kit, "safe-1", 1)
    assert await put(centre, kit, "freezer-1", 1) == ["package.stored"]
    assert await put(centre, kit, "table-1", 1) == ["package.moved"]
    order = Take(packages=(ref(kit, 1),), reason="to the laboratory")
    assert await do(centre, NURSE_2, kit, lambda s: take(s, order, NURSE_2)) == ["package.taken"]
    package = (await centre.kit(kit)).packages[1]
    assert package.place is None
    assert package.holder is not None
    assert package.holder.person == NURSE_2.person
    with pytest.raises(Refused, match="not yours to do"):
        await put(centre, kit, "freezer-1", 1)


async def put(story: Story, kit: str, place: str, *packages: int) -> list[str]:
    order = Store(packages=tuple(ref(kit, p) for p in packages), place=place)
    return await do(story, NURSE, kit, lambda s: store(s, order, NURSE, story.directory))


async def test_a_lost_package_is_found_again_and_a_strange_seal_on_it_is_a_finding(centre: Story) -> None:
    kit = await centre.registered()
    await do(centre, NURSE, kit, lambda s: lose(s, Lose(packages=(ref(kit, 1),), reason="stock-take"), NURSE))
    lost = (await centre.kit(kit)).packages[1]
    assert lost.state is Custody.LOST
    with pytest.raises(Refused, match="package 1 is lost"):
        await offered(centre, kit)
    order = Find(packages=(ref(kit, 1, seal="S-8888"),))
    types = await do(centre, CUSTODIAN, kit, lambda s: find(s, order, CUSTODIAN, centre.directory))
    assert types == ["package.found", "seal.found_broken"]
    found = (await centre.kit(kit)).packages[1]
    assert (found.state, found.seal_broken) == (Custody.SEALED, True)
    assert found.holder is not None
    assert found.holder.person == CUSTODIAN.person


async def test_what_was_lost_open_or_never_closed_is_closed_before_it_goes_on(centre: Story) -> None:
    for kit, package in ((await opened(centre, 1), 1), (await with_empty_package(centre), 9)):
        scanned = (PackageRef(kit=kit, package=package),)
        gone, back = Lose(packages=scanned, reason="stock-take"), Find(packages=scanned)
        await do(centre, NURSE, kit, lambda s, o=gone: lose(s, o, NURSE))  # type: ignore[misc]
        await do(centre, NURSE, kit, lambda s, o=back: find(s, o, NURSE, centre.directory))  # type: ignore[misc]
        assert (await centre.kit(kit)).packages[package].seal_broken
        seen = await centre.look(NURSE, kit)
        order = Offer(packages=scanned, organisation=CENTRE, due_at=seen.at + timedelta(hours=1))
        with pytest.raises(Refused, match="close it again first"):
            offer(seen, order, NURSE, centre.directory, "ab" * 16)


async def test_what_lies_in_the_wrong_place_is_recorded_where_it_is_even_on_the_way(centre: Story) -> None:
    kit = await centre.registered()
    await offered(centre, kit)
    order = Find(packages=(ref(kit, 1),), place="table-1")
    types = await do(centre, CUSTODIAN, kit, lambda s: find(s, order, CUSTODIAN, centre.directory))
    assert types == ["package.found_elsewhere"]
    now = await centre.kit(kit)
    assert now.packages[1].place is not None
    assert now.packages[1].place.id == "table-1"
    assert now.handovers == {}
    nowhere = Find(packages=(ref(kit, 1),))
    with pytest.raises(Refused, match="in which place"):
        await do(centre, CUSTODIAN, kit, lambda s: find(s, nowhere, CUSTODIAN, centre.directory))


async def test_an_item_is_missing_once_and_found_once(centre: Story) -> None:
    kit = await centre.registered()

    async def say(missing: bool, *items: int) -> list[str]:
        order = ItemFinding(kit=kit, items=items, missing=missing, reason="counted")
        return await do(centre, NURSE, kit, lambda s: item_finding(s.kit(kit), order, NURSE))

    assert await say(True, 1) == ["item.found_missing"]
    with pytest.raises(Refused, match="already"):
        await say(True, 1)
    assert await say(False, 1) == ["item.found"]
    for items in ((), (77,)):
        with pytest.raises(Refused, match="no such item"):
            await say(True, *items)


async def test_an_incident_is_one_event_of_the_place_and_one_finding_in_every_kit_it_touched(
    centre: Story,
) -> None:
    first, second = await centre.registered(), await centre.registered()
    for kit in (first, second):
        await put(centre, kit, "freezer-1", 1)
    order = OpenIncident(place="freezer-1", reason="power failure", packages=(ref(first, 1), ref(second, 1)))
    types = await do(
        centre,
        CUSTODIAN,
        first,
        lambda s: incident(s, order, CUSTODIAN, centre.directory, "fe" * 16),
        second,
        others=("place:freezer-1",),
    )
    assert types == ["incident.opened", "incident.touched", "incident.touched"]
    async with reading(centre.ledger.engine, NURSE) as connection:
        for kit, other in ((first, second), (second, first)):
            told = (await trail(connection, kit, Trail.CUSTODY))[-1]
            assert told.get("finding") == "fe" * 16
            assert other.encode() not in told.bytes
    elsewhere = OpenIncident(place="freezer-1", reason="power failure", packages=(ref(first, 2),))
    seen = await centre.look(CUSTODIAN, first)
    with pytest.raises(Refused, match="is not in Freezer 1"):
        incident(seen, elsewhere, CUSTODIAN, centre.directory, "ab" * 16)


# --- labels, errors ----------------------------------------------------------------------------------


async def test_a_reprint_raises_the_serial_and_takes_a_reason(centre: Story) -> None:
    kit = await centre.registered()

    async def printed(*parts: str, reason: str | None = None) -> None:
        order = PrintLabels(kit=kit, parts=parts, reason=reason)
        await do(centre, NURSE, kit, lambda s: labels_printed(s.kit(kit), order, NURSE))

    await printed()
    first = (await centre.kit(kit)).labels
    assert set(first) == {"K", "P01", "P02", "P03", *(f"I{i:02}" for i in range(1, 13))}
    with pytest.raises(Refused, match="Every part"):
        await printed()
    with pytest.raises(Refused, match="Say why"):
        await printed("P01")
    await printed("P01", reason="torn")
    assert (await centre.kit(kit)).labels["P01"] > first["P01"]
    for parts, says in ((("P09",), "no part P09"), (("K", "K"), "twice")):
        with pytest.raises(Refused, match=says):
            await printed(*parts, reason="x")


async def test_two_swapped_labels_are_one_finding_in_both_kits_signed_by_two(centre: Story) -> None:
    first, second = await centre.registered(), await centre.registered()
    order = Swapped(first=ref(first, 1), second=ref(second, 2), reason="seen at the freezer")
    seen = await centre.look(NURSE, first, second)
    with pytest.raises(NeedsSecond):
        swapped(seen, order, NURSE, None, "ab" * 16)
    types = await do(centre, NURSE, first, lambda s: swapped(s, order, NURSE, NURSE_2, "ab" * 16), second)
    assert types == ["labels.swapped", "labels.printed"] * 2
    for kit, package in ((first, 1), (second, 2)):
        now = await centre.kit(kit)
        assert now.findings[-1].packages == (package,)
        assert now.labels[f"P{package:02}"] >= 1
    for wrong, says in (
        (Swapped(first=ref(first, 1), second=ref(first, 1), reason="x"), "two different"),
        (Swapped(first=ref(first, 1), second=ref(first, 1, seal=None), reason="x"), "two different"),
    ):
        with pytest.raises(Refused, match=says):
            swapped(await centre.look(NURSE, first), wrong, NURSE, NURSE_2, "ab" * 16)


async def test_only_an_empty_package_was_registered_in_error_and_two_people_say_so(centre: Story) -> None:
    kit = await with_empty_package(centre)
    order = Void(packages=(PackageRef(kit=kit, package=9),), reason="counted twice")
    seen = await centre.look(NURSE, kit)
    with pytest.raises(NeedsSecond):
        void(seen, order, NURSE, None)
    with pytest.raises(Refused, match="another person"):
        void(seen, order, NURSE, NURSE)
    await do(centre, NURSE, kit, lambda s: void(s, order, NURSE, CUSTODIAN))
    assert (await centre.kit(kit)).packages[9].state is Custody.VOID
    with pytest.raises(Refused, match="is not empty"):
        void(seen, Void(packages=(ref(kit, 1),), reason="x"), NURSE, CUSTODIAN)


async def test_a_correction_cites_what_it_corrects_and_changes_nothing_of_it(centre: Story) -> None:
    kit = await centre.registered()
    async with reading(centre.ledger.engine, NURSE) as connection:
        before = await trail(connection, kit, Trail.CUSTODY)
    order = Correct(kit=kit, digest=before[1].digest, reason="item 3 is a smear")
    await do(centre, NURSE, kit, lambda s: correct(s.kit(kit), order, NURSE, before))
    async with reading(centre.ledger.engine, NURSE) as connection:
        after = await trail(connection, kit, Trail.CUSTODY)
    assert after[:-1] == before
    assert after[-1].get("cites") == [before[1].digest]
    other = Correct(kit=kit, digest="ab" * 32, reason="x")
    with pytest.raises(NotSeen):
        correct(await centre.kit(kit), other, NURSE, before)


async def test_a_laboratory_corrects_what_it_wrote_and_nothing_else(centre: Story) -> None:
    kit = await centre.registered()
    due = (await centre.look(NURSE)).at + timedelta(hours=4)
    out = Offer(packages=(ref(kit, 1),), organisation=LAB, due_at=due)
    await do(centre, NURSE, kit, lambda s: offer(s, out, NURSE, centre.directory, "cd" * 16))
    await do(centre, ANALYST, kit, lambda s: accept(s, Accept(packages=(ref(kit, 1),)), ANALYST))
    async with reading(centre.ledger.engine, NURSE) as connection:
        events = await trail(connection, kit, Trail.CUSTODY)
    held = (await centre.look(ANALYST, kit)).kit(kit)
    with pytest.raises(NotSeen):
        correct(held, Correct(kit=kit, digest=events[0].digest, reason="x"), ANALYST, events)
    own = Correct(kit=kit, digest=events[-1].digest, reason="counted again")
    assert correct(held, own, ANALYST, events).facts[0].type == "event.corrected"


async def test_belongings_go_back_and_samples_never(centre: Story) -> None:
    kit = await centre.registered()
    seen = await centre.look(NURSE, kit)
    for package in (1, 3):
        with pytest.raises(Refused, match="holds samples"):
            return_belongings(seen, ReturnBelongings(packages=(ref(kit, package),)), NURSE, NURSE_2)
    order = ReturnBelongings(packages=(ref(kit, 2),))
    with pytest.raises(NeedsSecond):
        return_belongings(seen, order, NURSE, None)
    await do(centre, NURSE, kit, lambda s: return_belongings(s, order, NURSE, NURSE_2))
    assert (await centre.kit(kit)).packages[2].state is Custody.RETURNED


async def test_belongings_that_lie_at_the_laboratory_are_not_returned_from_the_centre(centre: Story) -> None:
    kit = await centre.registered()
    await offered(centre, kit, LAB, 2)
    await do(centre, ANALYST, kit, lambda s: accept(s, Accept(packages=(ref(kit, 2),)), ANALYST))
    seen = await centre.look(NURSE, kit)
    order = ReturnBelongings(packages=(ref(kit, 2),))
    with pytest.raises(Refused, match="not at the centre"):
        return_belongings(seen, order, NURSE, NURSE_2)


# --- who may know ------------------------------------------------------------------------------------


@pytest.mark.parametrize("actor", [OTHER_NURSE, OFFICER, ANALYST])
async def test_whoever_may_not_know_of_a_kit_hears_the_same_as_for_no_kit(
    centre: Story, actor: Actor
) -> None:
    kit = await centre.registered()
    for number in (kit, "0" * 12):
        seen = await centre.look(actor, number)
        with pytest.raises(NotSeen) as refused:
            take(seen, Take(packages=(ref(number, 1),), reason="x"), actor)
        assert str(refused.value) == "There is no kit with this number that you can open."


async def test_a_list_names_each_package_once_and_at_least_one(centre: Story) -> None:
    kit = await centre.registered()
    seen = await centre.look(NURSE, kit)
    for refs, says in (
        ((), "at least one"),
        ((ref(kit, 1), ref(kit, 1)), "twice"),
        ((ref(kit, 50),), "no package 50"),
    ):
        with pytest.raises(Refused, match=says):
            take(seen, Take(packages=refs, reason="x"), COORDINATOR if not refs else NURSE)
