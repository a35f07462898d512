"""The fold: what events make of a kit, in order, and what it refuses to fold."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custody.event import Event, Fact, place_in_trail
from custody.kit import Kit, from_document, to_document
from custody.ledger import reading
from custody.protocol import STEPS, Custody, Trail
from custody.reading import trail as trail_of
from custody.trail import NotAStep, after, replay
from tests.custody.story import NURSE, Story
from tests.custody.trails import CASPER, KIT, NORA, TO_THE_STORE, trail

NOW = datetime(2026, 5, 2, tzinfo=UTC)


def stored() -> Kit:
    return replay(trail(TO_THE_STORE))


def then(kit: Kit, type_: str, **fields: Any) -> Event:
    """An event of Casper's after the kit's trail."""
    step = STEPS[type_]
    head = kit.custody_head if step.trail is Trail.CUSTODY else kit.choices_head
    return place_in_trail(
        Fact(type=type_, subject=f"{step.trail}:{KIT}", who=CASPER, fields=fields), head, NOW, bytes(16)
    )


def test_a_package_goes_from_the_nurses_hands_to_the_custodians_freezer() -> None:
    kit = stored()
    package = kit.packages[1]
    assert package.state is Custody.STORED
    assert package.holder is not None
    assert package.holder.person == CASPER["person"]
    assert package.place is not None
    assert package.place.id == "shelf-1"
    assert package.seal == "S-0001"
    assert kit.handovers == {}
    assert kit.custody_head.number == len(TO_THE_STORE)


def test_the_projection_and_its_document_are_inverses() -> None:
    events = trail(TO_THE_STORE)
    for count in range(1, len(events) + 1):
        kit = replay(events[:count])
        assert from_document(Kit, to_document(kit)) == kit


@given(st.permutations(range(len(TO_THE_STORE))))
def test_events_in_any_other_order_are_not_folded(order: list[int]) -> None:
    events = trail(TO_THE_STORE)
    if order == sorted(order):
        assert replay([events[i] for i in order]) == stored()
        return
    with pytest.raises(NotAStep):
        replay([events[i] for i in order])


@pytest.mark.parametrize("left_out", range(len(TO_THE_STORE) - 1))
def test_a_trail_with_a_gap_is_not_folded(left_out: int) -> None:
    events = trail(TO_THE_STORE)
    with pytest.raises(NotAStep):
        replay(events[:left_out] + events[left_out + 1 :])


def test_an_event_that_follows_another_digest_is_not_folded() -> None:
    kit = stored()
    event = then(kit, "package.moved", packages=[{"package": 1}], place={"id": "p", "name": "P"})
    other = replace(kit, custody_head=replace(kit.custody_head, digest="00" * 32))
    after(kit, event)
    with pytest.raises(NotAStep):
        after(other, event)


def test_nothing_begins_but_with_a_registration_and_no_kit_is_registered_twice() -> None:
    with pytest.raises(NotAStep):
        replay([])
    with pytest.raises(NotAStep):
        after(None, trail(TO_THE_STORE)[1])
    kit = stored()
    with pytest.raises(NotAStep):
        after(kit, then(kit, "kit.registered", centre="x", examined_on="2026-05-01"))


@pytest.mark.parametrize(
    ("type_", "fields"),
    [
        ("package.taken", {"packages": [{"package": 2}]}),
        ("package.sealed", {"packages": [{"package": 1, "seal": "S-2"}]}),
        (
            "handover.accepted",
            {"packages": [{"package": 1}], "handover": "ab" * 16, "counterpart": {"name": "N"}},
        ),
        ("handover.cancelled", {"packages": [{"package": 1}], "handover": "ab" * 16}),
        ("package.packed", {"packages": [{"package": 1, "kind": "bag", "storage": "dry"}]}),
        ("package.packed", {"packages": [{"package": 2}]}),
        ("item.found_missing", {"items": [{"item": 9}]}),
        ("hold.lifted", {"hold": {"id": "ab" * 16, "ground": "centre"}}),
        ("disposal.approved", {}),
        ("disposal.carried_out", {"packages": [{"package": 1}]}),
        ("package.destroyed", {"packages": [{"package": 1}]}),
        ("kit.linked", {"link": {"ground": "report", "pv": "P", "notice": "N", "office": "o", "zone": "z"}}),
    ],
)
def test_a_step_that_is_not_possible_changes_nothing(type_: str, fields: dict[str, Any]) -> None:
    kit = stored()
    with pytest.raises(NotAStep):
        after(kit, then(kit, type_, **fields))
    assert kit == stored()


def test_an_offer_takes_its_packages_and_leaves_the_others_on_their_own_way() -> None:
    told = [
        *TO_THE_STORE[:1],
        (
            "package.packed",
            NORA,
            {"packages": [{"package": n, "kind": "bag", "storage": "dry"} for n in (1, 2)]},
        ),
        ("package.sealed", NORA, {"packages": [{"package": n, "seal": f"S-{n}"} for n in (1, 2)]}),
    ]
    kit = replay(trail(told))
    offer = {"counterpart": {"organisation": "lab"}, "due_at": "2026-05-03T00:00:00.000000Z"}
    kit = after(kit, then(kit, "handover.offered", packages=[{"package": 1}], handover="aa" * 16, **offer))
    kit = after(kit, then(kit, "handover.offered", packages=[{"package": 2}], handover="bb" * 16, **offer))
    assert set(kit.handovers) == {"aa" * 16, "bb" * 16}
    with pytest.raises(NotAStep):
        after(kit, then(kit, "handover.cancelled", packages=[{"package": 1}], handover="bb" * 16))
    kit = after(kit, then(kit, "handover.cancelled", packages=[{"package": 1}], handover="aa" * 16))
    assert set(kit.handovers) == {"bb" * 16}
    assert (kit.packages[1].state, kit.packages[2].state) == (Custody.SEALED, Custody.IN_TRANSIT)


@pytest.mark.anyio
async def test_the_stored_projection_is_what_the_trails_say(centre: Story) -> None:
    number = await centre.registered()
    async with reading(centre.ledger.engine, NURSE) as connection:
        events = [
            *await trail_of(connection, number, Trail.CUSTODY),
            *await trail_of(connection, number, Trail.CHOICES),
        ]
    assert replay(events) == await centre.kit(number)
