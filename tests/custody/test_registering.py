"""A kit begins, and grows: at the bench, from paper, under a reserved number."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from custody.commands import NewItem, NewPackage, Paper, Register, ReserveNumbers, Supplement
from custody.decision import Decided, Seen
from custody.items import TYPES
from custody.kit import Kit, Policy, Term
from custody.ledger import Receipt, reading
from custody.number import KitNumber, next_serial, parse_part
from custody.people import Actor
from custody.protocol import Custody, Trail
from custody.reading import trail
from custody.refusal import NotPermitted, NotSeen, Refused
from custody.registering import item_key, register, reserve, supplement
from tests.custody.story import (
    COORDINATOR,
    CUSTODIAN,
    NURSE,
    OFFICER,
    OTHER_NURSE,
    Story,
    kit_order,
    new_number,
)

pytestmark = pytest.mark.anyio

CARD = {"code_hash": hashlib.sha256(b"a card").hexdigest(), "secret_hash": "none"}


def order_at(at: datetime, **change: Any) -> Register:
    return replace(kit_order(at), **change)


async def registered(
    story: Story, change: Callable[[Register], Register], number: str | None = None, nurse: Actor = NURSE
) -> tuple[str, tuple[Receipt, ...]]:
    """Register what the usual order becomes by ``change``."""
    number = number or new_number()
    order = change(kit_order((await story.look(nurse)).at))
    term = Term(
        start=order.examined_at.date(),
        end=order.examined_at.date() + timedelta(days=180),
        notice_on=order.examined_at.date() + timedelta(days=120),
        over_at=order.examined_at + timedelta(days=181),
    )

    def decide(seen: Seen) -> Decided:
        return register(
            seen,
            order,
            nurse,
            number=number,
            term=term,
            policy=Policy(id="be", version=1),
            item_types=TYPES,
            card=None,
        )

    return number, await story.do(nurse, [number], decide)


def first(order: Register, **change: Any) -> Register:
    """The order with its first package changed."""
    return replace(order, packages=(replace(order.packages[0], **change), *order.packages[1:]))


async def test_a_kit_is_registered_with_packages_items_seals_agreement_and_term(centre: Story) -> None:
    number, receipts = await registered(centre, lambda o: o)
    kit = await centre.kit(number)
    assert [r.type for r in receipts] == [
        "kit.registered",
        "package.packed",
        "package.sealed",
        "agreement.recorded",
        "term.agreed",
        "card.issued",
    ]
    assert {p.state for p in kit.packages.values()} == {Custody.SEALED}
    assert len(kit.items) == 12
    assert kit.packages[1].holder is not None
    assert kit.packages[1].holder.person == NURSE.person
    assert kit.term is not None
    assert (kit.channel, kit.language, kit.decided_by) == ("email", "nl", "victim")


async def test_what_only_the_centre_may_read_stands_outside_the_events(centre: Story) -> None:
    number, _ = await registered(centre, lambda o: o)
    kit = await centre.kit(number)
    part = await centre.ledger.read_private(NURSE, kit)
    assert part["hospital_reference"] == "REF-INVENTED-1"
    assert part["channel_address"] == "somebody@post.example"
    assert {part[item_key(item)] for item in kit.items} == {"swab_skin", "underwear", "urine_toxicology"}
    async with centre.ledger.engine.connect() as connection:
        assert await trail(connection, number, Trail.CHOICES) == []  # without a context
    assert await centre.ledger.read_private(OTHER_NURSE, kit) == {}


async def test_a_record_from_paper_says_when_it_happened_and_which_paper(centre: Story) -> None:
    at = (await centre.look(NURSE)).at - timedelta(hours=5)
    paper = Paper(digest="ab" * 32, occurred_at=at)
    number, _ = await registered(centre, lambda o: replace(o, paper=paper, examined_at=at))
    async with reading(centre.ledger.engine, NURSE) as connection:
        events = [
            *await trail(connection, number, Trail.CUSTODY),
            *await trail(connection, number, Trail.CHOICES),
        ]
    assert len(events) == 6
    for event in events:
        assert event.occurred_at == at
        assert event.recorded_at > at
        assert event.get("paper") == "ab" * 32


async def test_a_reserved_number_is_used_once_and_by_its_own_centre(centre: Story) -> None:
    numbers = [new_number(), new_number()]
    order = ReserveNumbers(count=2)
    await centre.do(
        COORDINATOR,
        [],
        lambda s: reserve(order, COORDINATOR, numbers),
        others=("organisation:zsg-sterrenberg",),
    )
    await registered(centre, lambda o: replace(o, number=numbers[0]), number=numbers[0])
    labels = (await centre.kit(numbers[0])).labels  # those that were printed before there was a kit
    assert set(labels) == {"K", "P01", "P02", "P03", *(f"I{n:02}" for n in range(1, 13))}
    assert labels["P01"] == next_serial(KitNumber(numbers[0]), parse_part("P01"), 0)
    with pytest.raises(Refused, match="belongs to a kit already"):
        await registered(centre, lambda o: o, number=numbers[0])
    with pytest.raises(Exception, match="under its own numbers"):
        await registered(centre, lambda o: o, number=numbers[1], nurse=OTHER_NURSE)


@pytest.mark.parametrize("count", [0, 51, -1])
async def test_numbers_are_reserved_by_the_handful(count: int) -> None:
    with pytest.raises(Refused, match="1 to 50"):
        reserve(ReserveNumbers(count=count), NURSE, [new_number() for _ in range(max(count, 0))])


@pytest.mark.parametrize("actor", [OFFICER, CUSTODIAN])
async def test_only_those_who_register_reserve_numbers(actor: Actor) -> None:
    with pytest.raises(NotPermitted):
        reserve(ReserveNumbers(count=1), actor, [new_number()])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda o: replace(o, packages=()), "1 to 30 packages"),
        (lambda o: replace(o, packages=o.packages * 11), "1 to 30 packages"),
        (lambda o: replace(o, packages=(*o.packages, o.packages[0])), "number of its own"),
        (lambda o: first(o, items=(*o.packages[0].items, o.packages[1].items[0])), "number of its own"),
        (lambda o: first(o, seal=o.packages[1].seal), "closes a package of this kit already"),
        (lambda o: first(o, items=(NewItem(item=99, type="name_of_somebody"),)), "not a type of item"),
        (lambda o: first(o, items=(NewItem(item=99, type="urine_toxicology"),)), "until when it is usable"),
        (lambda o: replace(o, examined_at=o.examined_at + timedelta(days=2)), "cannot lie in the future"),
        (lambda o: replace(o, examined_at=o.examined_at.replace(tzinfo=None)), "cannot lie in the future"),
        (
            lambda o: replace(
                o, paper=Paper(digest="ab" * 32, occurred_at=o.examined_at + timedelta(days=2))
            ),
            "not in the future",
        ),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_written(
    centre: Story, change: Callable[[Register], Register], says: str
) -> None:
    with pytest.raises(Refused, match=says):
        await registered(centre, change)


async def test_only_a_nurse_registers(centre: Story) -> None:
    for actor in (CUSTODIAN, COORDINATOR, OFFICER):
        with pytest.raises(NotPermitted):
            await registered(centre, lambda o: o, nurse=actor)


# --- supplements ---------------------------------------------------------------------------------


def later(kit: str, **change: Any) -> Supplement:
    package = NewPackage(
        package=4, kind="clothing_bag", storage="dry", items=(NewItem(item=13, type="shoes"),), seal="S-0104"
    )
    return Supplement(kit=kit, packages=(replace(package, **change),), brought_by="victim")


async def supplemented(story: Story, order: Supplement, actor: Actor = NURSE) -> Kit:
    def decide(seen: Seen) -> Decided:
        return supplement(seen.kit(order.kit), order, actor, seen.at, TYPES)

    await story.do(actor, [order.kit], decide)
    return await story.kit(order.kit, actor)


async def test_clothing_that_the_victim_brings_later_is_a_package_of_its_own(centre: Story) -> None:
    number = await centre.registered()
    kit = await supplemented(centre, later(number))
    assert kit.packages[4].brought_by == "victim"
    assert kit.packages[4].state is Custody.SEALED
    assert kit.items[13].package == 4


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"package": 1}, "number of its own"),
        ({"items": (NewItem(item=1, type="shoes"),)}, "number of its own"),
        ({"seal": "S-0001"}, "closes a package of this kit already"),
    ],
)
async def test_a_supplement_takes_no_number_or_seal_that_the_kit_has(
    centre: Story, change: dict[str, Any], says: str
) -> None:
    number = await centre.registered()
    with pytest.raises(Refused, match=says):
        await supplemented(centre, later(number, **change))


async def test_another_centre_cannot_add_to_a_kit_it_does_not_know(centre: Story) -> None:
    number = await centre.registered()
    with pytest.raises(NotSeen):
        await supplemented(centre, later(number), OTHER_NURSE)
