"""How a kit ends that nobody reported: by three people, and only while nothing protects it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from custody.commands import (
    AnswerRequest,
    ApproveDisposal,
    CarryOutDisposal,
    DeclareReport,
    ExtendTerm,
    ItemRef,
    PlaceHold,
    PrintLabels,
    ProposeDisposal,
    Request,
    WithdrawDisposal,
)
from custody.decision import Decided, Seen
from custody.directory import Directory
from custody.handling import labels_printed
from custody.kit import Kit
from custody.ledger import MovedOn, place, reading
from custody.number import KitNumber, label_code, parse_part
from custody.people import Actor, Function
from custody.prosecution import answer, declare, request
from custody.protocol import Custody, Legal, Retention
from custody.refusal import NeedsSecond, NotSeen, Refused
from retention.disposal import approve, carry_out, propose, withdraw_disposal
from retention.holds import place_hold
from retention.keeping import extend
from tests.custody.story import (
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    CUSTODIAN_2,
    NURSE,
    NURSE_2,
    OFFICER,
    Story,
    ref,
)
from tests.retention.kept import (
    BELGIUM,
    OBSERVER,
    approved,
    card_of,
    check,
    destroyed,
    expired,
    kept_until_approved,
    kept_until_expired,
    then,
    whole,
    without,
)

pytestmark = pytest.mark.anyio

Advance = Callable[[timedelta], None]


# --- three people -------------------------------------------------------------------------------------


def test_who_proposes_does_not_approve_even_in_another_function() -> None:
    kit, at = expired()
    both = replace(COORDINATOR, person=CUSTODIAN.person, name=CUSTODIAN.name)
    kit = then(kit, propose(kit, ProposeDisposal(kit=kit.number), CUSTODIAN, at), at)

    with pytest.raises(Refused, match="You proposed this disposal"):
        approve(kit, ApproveDisposal(kit=kit.number), both, at)


def test_who_approves_does_not_carry_out_even_in_another_function() -> None:
    kit, at = approved()
    seen = Seen(at=at, kits={kit.number: kit})
    both = replace(CUSTODIAN, person=COORDINATOR.person, name=COORDINATOR.name)

    with pytest.raises(Refused, match="You approved this disposal"):
        carry_out(seen, whole(kit.number), both, None, COORDINATOR)


@pytest.mark.parametrize("observer", [CUSTODIAN_2, COORDINATOR])
def test_the_observer_is_neither_who_acts_nor_who_approved(observer: Actor) -> None:
    kit, at = approved()
    seen = Seen(at=at, kits={kit.number: kit})

    with pytest.raises(Refused, match="are three people"):
        carry_out(seen, whole(kit.number), CUSTODIAN_2, observer, COORDINATOR)
    with pytest.raises(NeedsSecond):
        carry_out(seen, whole(kit.number), CUSTODIAN_2, None, COORDINATOR)


def test_who_proposed_does_not_observe() -> None:
    kit, at = approved()
    seen = Seen(at=at, kits={kit.number: kit})

    with pytest.raises(Refused, match="Who proposed a disposal does not observe it"):
        carry_out(seen, whole(kit.number), CUSTODIAN_2, CUSTODIAN, COORDINATOR)


@pytest.mark.parametrize("who", [CUSTODIAN, CUSTODIAN_2, COORDINATOR])
def test_nobody_observes_under_another_name_what_they_had_a_part_in(who: Actor) -> None:
    kit, at = approved()
    seen = Seen(at=at, kits={kit.number: kit})
    register = Directory(merged={OBSERVER.person or "": "mira-v", "mira-v": who.person or ""})

    with pytest.raises(Refused, match=r"does not observe it|are three people"):
        carry_out(seen, whole(kit.number), CUSTODIAN_2, OBSERVER, COORDINATOR, human=register.human)
    carry_out(seen, whole(kit.number), CUSTODIAN_2, OBSERVER, COORDINATOR, human=Directory().human)


def test_police_do_not_observe_and_another_coordinator_did_not_approve() -> None:
    kit, at = approved()
    seen = Seen(at=at, kits={kit.number: kit})

    with pytest.raises(Refused, match="employee of the hospital"):
        carry_out(seen, whole(kit.number), CUSTODIAN_2, OFFICER, COORDINATOR)
    with pytest.raises(Refused, match="not the person who approved"):
        carry_out(seen, whole(kit.number), CUSTODIAN_2, None, replace(COORDINATOR, person="cosima"))


def test_the_table_of_permissions_keeps_others_out() -> None:
    kit, at = expired()

    with pytest.raises(Refused, match="does not allow"):
        propose(kit, ProposeDisposal(kit=kit.number), NURSE, at)
    with pytest.raises(NotSeen):
        propose(kit, ProposeDisposal(kit=kit.number), OBSERVER, at)
    kit = then(kit, propose(kit, ProposeDisposal(kit=kit.number), CUSTODIAN, at), at)
    with pytest.raises(Refused, match="does not allow"):
        approve(kit, ApproveDisposal(kit=kit.number), CUSTODIAN_2, at)


# --- every package, every item -----------------------------------------------------------------------


def tried(order: CarryOutDisposal, kit: Kit, at: datetime) -> Decided:
    """By who carries it out, before anybody is asked to observe."""
    return carry_out(Seen(at=at, kits={kit.number: kit}), order, CUSTODIAN_2, None, COORDINATOR)


def test_a_package_that_was_not_scanned_is_asked_for_and_nothing_is_written() -> None:
    kit, at = approved()
    order = whole(kit.number)

    with pytest.raises(Refused, match="Scan package 2, or say that it is not there"):
        tried(replace(order, packages=(order.packages[0], order.packages[2])), kit, at)
    with pytest.raises(Refused, match="Scan package 1 with its seal"):
        tried(whole(kit.number, first=ref(kit.number, 1, seal=None)), kit, at)
    with pytest.raises(NotSeen):
        tried(whole(kit.number, first=ref("7M4P9XQ3RT6C", 1)), kit, at)
    with pytest.raises(Refused, match="twice"):
        tried(replace(order, not_found=(ref(kit.number, 3),)), kit, at)
    with pytest.raises(Refused, match="at least one package"):
        tried(CarryOutDisposal(packages=()), kit, at)


def test_an_item_that_never_had_a_label_is_named_by_its_number_once() -> None:
    kit, at = approved()
    order = whole(kit.number)
    twelfth = order.items[-1]

    with pytest.raises(Refused, match="Item 12 never had a label: name it by its number"):
        tried(replace(order, items=order.items[:-1]), kit, at)
    for surplus in (twelfth, replace(twelfth, item=13)):
        with pytest.raises(Refused, match="twice, or is not to be destroyed"):
            tried(replace(order, items=(*order.items, surplus)), kit, at)
    with pytest.raises(Refused, match="of another kit"):
        tried(replace(order, items=(*order.items, replace(twelfth, kit="7M4P9XQ3RT6C"))), kit, at)


def labelled(kit: Kit, at: datetime) -> tuple[Kit, CarryOutDisposal]:
    """The kit with a label on every package and item, and the cart on which all of them were scanned."""
    kit = then(kit, labels_printed(kit, PrintLabels(kit=kit.number), NURSE), at)
    number = KitNumber(kit.number)
    codes = tuple(
        label_code(number, parse_part(part), serial) for part, serial in kit.labels.items() if part != "K"
    )
    return kit, replace(whole(kit.number), labels=codes, items=())


def test_what_has_a_label_is_scanned_by_it_and_the_event_says_which_labels_were_scanned() -> None:
    kit, at = approved()
    kit, order = labelled(kit, at)

    with pytest.raises(NeedsSecond):
        tried(order, kit, at)
    seen = Seen(at=at, kits={kit.number: kit})
    _, destroyed_ = carry_out(seen, order, CUSTODIAN_2, OBSERVER, COORDINATOR).facts

    assert {each["code"] for each in destroyed_.fields["labels"]} == set(order.labels)
    assert len(order.labels) == 3 + 12


def test_a_label_that_was_not_scanned_or_is_void_stops_the_cart_in_plain_words() -> None:
    kit, at = approved()
    plain = kit
    kit, order = labelled(kit, at)
    package, item = order.labels[0], order.labels[3]

    def lacking(code: str) -> CarryOutDisposal:
        return replace(order, labels=tuple(each for each in order.labels if each != code))

    with pytest.raises(Refused, match="Package 1 has a label: scan it"):
        tried(lacking(package), kit, at)
    with pytest.raises(Refused, match="Scan item 1, or say that it is not there"):
        tried(lacking(item), kit, at)
    with pytest.raises(Refused, match="Item 1 has a label: scan it"):
        tried(replace(lacking(item), items=(ItemRef(kit=kit.number, item=1),)), kit, at)
    with pytest.raises(Refused, match="is void"):
        tried(order, plain, at)  # no such label was ever printed for it
    with pytest.raises(Refused, match="stands on this list twice"):
        tried(replace(order, labels=(*order.labels, item)), kit, at)
    with pytest.raises(Refused, match="typing error"):
        tried(replace(order, labels=(item[:-1] + ("0" if item[-1] != "0" else "1"),)), kit, at)
    whole_kit = label_code(KitNumber(kit.number), parse_part("K"), kit.labels["K"])
    with pytest.raises(Refused, match="label of a whole kit"):
        tried(replace(order, labels=(*order.labels, whole_kit)), kit, at)
    reprinted = PrintLabels(kit=kit.number, parts=("I01",), reason="it cannot be read")
    with pytest.raises(Refused, match="is void: a newer one was printed"):
        tried(order, then(kit, labels_printed(kit, reprinted, NURSE), at), at)


def test_one_cart_carries_many_kits_and_each_keeps_its_own_approver() -> None:
    first, at = approved()
    second, _ = approved()
    other = replace(COORDINATOR, person="cosima", name="Cosima Koers")
    assert second.disposal is not None
    second = without(second, disposal=replace(second.disposal, approved_by=other.person))
    one, two = whole(first.number), whole(second.number)
    cart = CarryOutDisposal(packages=(*one.packages, *two.packages), items=(*one.items, *two.items))
    seen = Seen(at=at, kits={first.number: first, second.number: second})

    with pytest.raises(NeedsSecond):
        carry_out(seen, cart, CUSTODIAN_2, None, COORDINATOR, other)
    facts = carry_out(seen, cart, CUSTODIAN_2, OBSERVER, COORDINATOR, other).facts

    assert [f.subject for f in facts] == [
        f"{trail}:{kit.number}" for kit in (first, second) for trail in ("choices", "custody")
    ]
    assert [f.fields["with"][0]["person"] for f in facts] == ["coraline", "coraline", "cosima", "cosima"]
    with pytest.raises(Refused, match="You approved this disposal"):
        carry_out(seen, cart, replace(CUSTODIAN_2, person="cosima"), None, COORDINATOR, other)
    with pytest.raises(Refused, match="three people"):
        carry_out(seen, cart, CUSTODIAN_2, replace(OBSERVER, person="cosima"), COORDINATOR, other)


def test_what_is_not_there_stops_its_kit_alone_and_the_others_go_on() -> None:
    first, at = approved()
    second, _ = approved()
    one, two = whole(first.number), whole(second.number)
    cart = CarryOutDisposal(
        packages=(*one.packages, *two.packages[:2]),
        items=one.items,
        not_found=(ref(second.number, 3),),
        items_not_found=(ItemRef(kit=second.number, item=2),),
    )
    seen = Seen(at=at, kits={first.number: first, second.number: second})

    found = carry_out(seen, cart, CUSTODIAN_2, None, COORDINATOR)

    assert [f.type for f in found.facts] == ["package.lost", "item.found_missing", "disposal.withdrawn"]
    assert {f.subject.split(":")[1] for f in found.facts} == {second.number}
    after = place(found.facts, seen)[1][second.number]
    assert (after.retention, after.items[2].missing) == (Retention.EXPIRED, True)
    rest = carry_out(seen, one, CUSTODIAN_2, OBSERVER, COORDINATOR)
    assert {f.subject.split(":")[1] for f in rest.facts} == {first.number}


def test_a_hospital_names_observers_and_nobody_but_the_one_who_was_asked_observes() -> None:
    kit, at = approved()
    seen = Seen(at=at, kits={kit.number: kit})
    hanna = Actor(
        function=Function.OBSERVER, person="hanna", name="Hanna Heelmeester", organisation="zh-avondster"
    )
    asked = replace(whole(kit.number), observer="hanna")

    signed = carry_out(seen, asked, CUSTODIAN_2, hanna, COORDINATOR).facts[1].fields["with"][1]

    assert (signed["part"], signed["person"], signed["function"]) == ("observer", "hanna", "observer")
    with pytest.raises(Refused, match="Another person was asked"):
        carry_out(seen, asked, CUSTODIAN_2, OBSERVER, COORDINATOR)


def test_a_lost_package_that_nobody_looks_for_any_more_is_left_out_of_the_disposal() -> None:
    kit, at = expired()
    lost = replace(kit.packages[3], state=Custody.LOST)
    gone = without(kit, packages={**kit.packages, 3: replace(lost, search_ended=True)})
    still = without(kit, packages={**kit.packages, 3: lost})

    with pytest.raises(Refused, match="Package 3 is lost"):
        propose(still, ProposeDisposal(kit=kit.number), CUSTODIAN, at)
    (proposed,) = propose(gone, ProposeDisposal(kit=kit.number), CUSTODIAN, at).facts

    assert proposed.fields["packages"] == [{"package": 1}, {"package": 2}]


@pytest.mark.parametrize("wrong", [{"seal": "S-9999"}, {"condition": "broken"}])
def test_a_seal_that_is_not_as_recorded_is_a_finding_and_takes_the_disposal_back(wrong: Any) -> None:
    kit, at = approved()

    decided = tried(whole(kit.number, second=ref(kit.number, 2, **wrong)), kit, at)

    assert [f.type for f in decided.facts] == ["seal.found_broken", "disposal.withdrawn"]
    after = then(kit, decided, at)
    assert after.retention is Retention.EXPIRED
    assert after.disposal is None
    assert after.packages[2].seal_broken
    assert all(p.state is Custody.SEALED for p in after.packages.values())


def test_a_package_that_is_not_there_is_a_finding_and_needs_no_observer() -> None:
    kit, at = approved()
    order = whole(kit.number)
    order = replace(order, packages=order.packages[:2], not_found=(ref(kit.number, 3),), items=())

    decided = carry_out(Seen(at=at, kits={kit.number: kit}), order, CUSTODIAN_2, None, COORDINATOR)

    assert [f.type for f in decided.facts] == ["package.lost", "disposal.withdrawn"]
    after = then(kit, decided, at)
    assert after.packages[3].state is Custody.LOST
    assert after.packages[1].state is Custody.SEALED
    with pytest.raises(Refused, match="Package 3 is lost"):
        propose(after, ProposeDisposal(kit=kit.number), CUSTODIAN, at)


def test_what_was_added_after_the_proposal_has_to_be_proposed_too() -> None:
    kit, at = approved()
    late = replace(kit.packages[3], package=4)
    kit = without(kit, packages={**kit.packages, 4: late})

    with pytest.raises(Refused, match="have changed since the proposal"):
        tried(whole(kit.number), kit, at)
    assert kit.disposal is not None
    waiting = without(kit, retention=Retention.PROPOSED, disposal=replace(kit.disposal, approved_by=None))
    with pytest.raises(Refused, match="have changed since the proposal"):
        approve(waiting, ApproveDisposal(kit=kit.number), COORDINATOR, at)


def test_nothing_is_carried_out_that_is_not_approved() -> None:
    kit, at = expired()
    proposed = then(kit, propose(kit, ProposeDisposal(kit=kit.number), CUSTODIAN, at), at)

    for not_yet in (kit, proposed):
        with pytest.raises(Refused, match="Nobody has approved"):
            tried(whole(kit.number), not_yet, at)
    with pytest.raises(Refused, match="Nobody has proposed"):
        approve(kit, ApproveDisposal(kit=kit.number), COORDINATOR, at)


# --- stories on PostgreSQL --------------------------------------------------------------------------


async def test_a_kit_that_nobody_reported_ends_by_three_people_and_later_its_key(
    story: Story, advance: Advance
) -> None:
    number = await kept_until_approved(story, advance)
    assert "hospital_reference" in await story.ledger.read_private(NURSE, await story.kit(number))

    receipts = await destroyed(story, number)

    assert [r.type for r in receipts] == ["disposal.carried_out", "package.destroyed"]
    kit = await story.kit(number)
    assert kit.retention is Retention.DISPOSED
    assert kit.open_packages == ()
    async with reading(story.ledger.engine, NURSE) as connection:
        told = await connection.scalar(
            text("SELECT convert_from(bytes, 'UTF8') FROM custody.event WHERE type = 'package.destroyed'")
        )
    for part in ('"part":"approver","person":"coraline"', '"part":"observer","person":"mira"', '"item":12'):
        assert part in told

    advance(timedelta(days=4 * 365))
    assert (await check(story)).keys_destroyed == 0
    assert await story.ledger.read_private(NURSE, await story.kit(number)) != {}
    advance(timedelta(days=368))
    assert (await check(story)).keys_destroyed == 1
    kit = await story.kit(number)
    assert kit.key_destroyed_at is not None
    assert await story.ledger.read_private(NURSE, kit) == {}
    assert (await check(story)).keys_destroyed == 0


def reported(seen: Seen, number: str) -> Decided:
    return declare(seen.kit(number), DeclareReport(kit=number, how="by_card"), card_of(number))


def ended(seen: Seen, number: str) -> Decided:
    return carry_out(seen, whole(number), CUSTODIAN_2, OBSERVER, COORDINATOR)


async def test_a_report_seen_at_the_same_head_as_a_disposal_and_written_first_saves_the_kit(
    story: Story, advance: Advance
) -> None:
    number = await kept_until_approved(story, advance)
    by_card, at_work = await story.look(card_of(number), number), await story.look(CUSTODIAN_2, number)

    await story.append(card_of(number), by_card, reported(by_card, number))

    with pytest.raises(MovedOn):
        await story.append(CUSTODIAN_2, at_work, ended(at_work, number))
    with pytest.raises(Refused, match="Nobody has approved"):
        await destroyed(story, number)
    kit = await story.kit(number)
    assert kit.legal is Legal.DECLARED
    assert len(kit.open_packages) == 3


async def test_a_report_written_after_the_disposal_is_told_that_it_is_too_late(
    story: Story, advance: Advance
) -> None:
    number = await kept_until_approved(story, advance)
    by_card, at_work = await story.look(card_of(number), number), await story.look(CUSTODIAN_2, number)

    await story.append(CUSTODIAN_2, at_work, ended(at_work, number))

    with pytest.raises(MovedOn):
        await story.append(card_of(number), by_card, reported(by_card, number))
    with pytest.raises(Refused, match="the term is disposed"):
        await story.do(card_of(number), [number], lambda seen: reported(seen, number))
    assert (await story.kit(number)).legal is Legal.UNREPORTED


async def test_a_declared_report_stops_the_term_for_the_clock_and_for_everybody(
    story: Story, advance: Advance
) -> None:
    number = await kept_until_expired(story, advance)
    await story.do(card_of(number), [number], lambda seen: reported(seen, number))
    advance(timedelta(days=3000))

    figures = await check(story)

    assert (figures.notices_due, figures.expired, figures.failed) == (0, 0, 0)
    with pytest.raises(Refused, match="A report was declared"):
        await story.do(
            CUSTODIAN,
            [number],
            lambda seen: propose(seen.kit(number), ProposeDisposal(kit=number), CUSTODIAN, seen.at),
        )


async def test_the_victim_freezes_with_the_card_and_the_approval_falls(
    story: Story, advance: Advance
) -> None:
    number = await kept_until_approved(story, advance)
    victim = card_of(number)
    order = PlaceHold(kit=number, ground="safety", reason="frozen")

    await story.do(
        victim,
        [number],
        lambda seen: place_hold(seen.kit(number), order, victim, "ef" * 16, BELGIUM, seen.at),
    )

    kit = await story.kit(number)
    assert kit.retention is Retention.EXPIRED
    assert kit.disposal is None
    with pytest.raises(Refused, match="Nobody has approved"):
        await destroyed(story, number)
    with pytest.raises(Refused, match="A hold stands"):
        await story.do(
            CUSTODIAN,
            [number],
            lambda seen: propose(seen.kit(number), ProposeDisposal(kit=number), CUSTODIAN, seen.at),
        )


async def test_an_extension_after_approval_gives_the_term_back(story: Story, advance: Advance) -> None:
    number = await kept_until_approved(story, advance)
    victim, order = card_of(number), ExtendTerm(kit=number, how="by_card")

    await story.do(victim, [number], lambda seen: extend(seen.kit(number), order, victim, BELGIUM, seen.at))

    kit = await story.kit(number)
    assert kit.retention is Retention.RUNNING
    assert kit.disposal is None
    with pytest.raises(Refused, match="Nobody has approved"):
        await destroyed(story, number)


async def test_a_disposal_can_be_taken_back_and_proposed_again(story: Story, advance: Advance) -> None:
    number = await kept_until_approved(story, advance)
    order = WithdrawDisposal(kit=number, reason="the certificate was wrong")

    await story.do(
        COORDINATOR, [number], lambda seen: withdraw_disposal(seen.kit(number), order, COORDINATOR)
    )

    assert (await story.kit(number)).retention is Retention.EXPIRED
    await story.do(
        CUSTODIAN,
        [number],
        lambda seen: propose(seen.kit(number), ProposeDisposal(kit=number), CUSTODIAN, seen.at),
    )
    assert (await story.kit(number)).retention is Retention.PROPOSED


async def test_a_request_of_the_police_between_approval_and_act_stops_it_until_it_is_answered(
    story: Story, advance: Advance
) -> None:
    number = await kept_until_approved(story, advance)
    id_ = "12" * 16
    asked = Request(pv="PV-0000/26", centre=CENTRE)
    await story.do(
        OFFICER, [], lambda seen: request(asked, OFFICER, story.directory, id_), others=(f"request:{id_}",)
    )

    with pytest.raises(Refused, match="Nothing may be destroyed while"):
        await destroyed(story, number)
    assert (await story.kit(number)).retention is Retention.APPROVED

    none = AnswerRequest(request=id_, how="no_match")
    await story.do(NURSE, [], lambda seen: answer(none, None, NURSE, NURSE_2), others=(f"request:{id_}",))
    await destroyed(story, number)
    assert (await story.kit(number)).retention is Retention.DISPOSED


async def test_a_seal_that_differs_is_recorded_and_nothing_is_destroyed(
    story: Story, advance: Advance
) -> None:
    number = await kept_until_approved(story, advance)
    order = whole(number, first=ref(number, 1, seal="S-0009"))

    receipts = await story.do(
        CUSTODIAN_2,
        [number],
        lambda seen: carry_out(seen, order, CUSTODIAN_2, None, COORDINATOR),
    )

    assert [r.type for r in receipts] == ["seal.found_broken", "disposal.withdrawn"]
    kit = await story.kit(number)
    assert kit.retention is Retention.EXPIRED
    assert len(kit.open_packages) == 3
