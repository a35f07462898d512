"""The table of permissions, read as a table."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from custody.kit import Handover, Holder, Kit, Link, Package, Place
from custody.people import AT, STAFF, Actor, Function, OrganisationKind
from custody.permission import PERMISSIONS, Relation, may, permit, relations
from custody.protocol import Custody, Legal, Retention
from custody.refusal import NotPermitted, NotSeen, Refused
from tests.custody.story import (
    ANALYST,
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    LAB,
    MAGISTRATE,
    NURSE,
    NURSE_2,
    OFFICE,
    OFFICER,
    OTHER_NURSE,
    REGISTRAR,
    ZONE,
)

NOW = datetime(2026, 5, 1, tzinfo=UTC)
IN_HANDS = Package(
    package=1,
    kind="bag",
    storage="dry",
    state=Custody.SEALED,
    holder=Holder(name=NURSE.name, person=NURSE.person, organisation=CENTRE),
)
KIT = Kit(
    number="7M4P9XQ3RT6C",
    centre=CENTRE,
    examined_on=date(2026, 5, 1),
    registered_at=NOW,
    packages={1: IN_HANDS},
)
LINK = Link(ground="report", pv="P", notice="N", office=OFFICE, zone=ZONE)
LINKED = replace(KIT, legal=Legal.LINKED, retention=Retention.STOPPED, link=LINK)
CARD = Actor(function=Function.VICTIM, card=KIT.number)


def with_package(kit: Kit, **change: object) -> Kit:
    return replace(kit, packages={1: replace(IN_HANDS, **change)})  # type: ignore[arg-type]  # fields of Package


def at(actor: Actor) -> Holder:
    return Holder(name=actor.name, person=actor.person, organisation=actor.organisation)


def test_nothing_is_allowed_that_does_not_stand_in_the_table() -> None:
    for action, who in PERMISSIONS.items():
        for function in Function:
            actor = Actor(function=function, person="p", organisation="nowhere", card="0" * 12)
            allowed = who.get(function, frozenset())
            assert may(action, actor, KIT) is (Relation.ANY in allowed), (action, function)
            assert may(action, actor) is (Relation.ANY in allowed), (action, function)


def test_the_victim_does_only_what_protects_and_only_with_the_own_kit() -> None:
    assert {a for a, who in PERMISSIONS.items() if Function.VICTIM in who} == {
        *("own_kit.read", "report.declare", "withdrawal.wish", "term.extend", "hold.place"),
        *("destruction.ask", "destruction.take_back", "channel.prove", "card.stop"),
    }
    for who in PERMISSIONS.values():
        assert who.get(Function.VICTIM, {Relation.OWN}) == {Relation.OWN}


def test_the_clock_has_no_permission_and_the_auditor_none_about_a_kit() -> None:
    assert not [a for a, who in PERMISSIONS.items() if Function.CLOCK in who]
    auditors = {a for a, who in PERMISSIONS.items() if Function.AUDITOR in who}
    assert auditors == {"log.read", "receipt.prove", "check.read"}


def test_an_observer_signs_a_disposal_and_reads_nothing() -> None:
    assert [a for a, who in PERMISSIONS.items() if Function.OBSERVER in who] == ["disposal.observe"]


def test_a_magistrate_reads_and_holds_what_is_linked_to_the_office_and_no_more() -> None:
    found = {a: who[Function.MAGISTRATE] for a, who in PERMISSIONS.items() if Function.MAGISTRATE in who}
    of_kits = {a for a, relations_ in found.items() if Relation.ANY not in relations_}
    assert of_kits == {
        *("kit.read", "custody_trail.read", "custody_trail.export"),
        *("hold.place", "hold.review", "release.open"),
    }
    assert all(found[a] == {Relation.LINKED} for a in of_kits)
    assert {a for a in found if a not in of_kits} == {"worklist.read", "receipt.prove"}


def test_choices_and_private_parts_are_read_at_the_centre_alone() -> None:
    for action in ("choices_trail.read", "private.read"):
        assert set(PERMISSIONS[action]) == STAFF
        assert all(r == {Relation.OF_CENTRE} for r in PERMISSIONS[action].values())


def test_the_choices_leave_through_the_coordinator_of_the_centre_alone() -> None:
    for action in ("choices.disclose", "choices_trail.export"):
        assert PERMISSIONS[action] == {Function.COORDINATOR: frozenset({Relation.OF_CENTRE})}


def test_who_proposes_approves_and_carries_out_a_disposal_are_different_functions() -> None:
    assert set(PERMISSIONS["disposal.propose"]) == {Function.CUSTODIAN}
    assert set(PERMISSIONS["disposal.approve"]) == {Function.COORDINATOR}
    assert Function.COORDINATOR not in PERMISSIONS["disposal.carry_out"]


def test_links_and_releases_in_error_are_the_coordinators() -> None:
    for action in ("kit.link", "link.move", "link.error", "link.end", "release.error", "order.enter"):
        assert set(PERMISSIONS[action]) == {Function.COORDINATOR}, action


@pytest.mark.parametrize(
    ("actor", "kit", "found"),
    [
        (NURSE, KIT, {Relation.OF_CENTRE, Relation.HOLDS}),
        (OTHER_NURSE, KIT, set()),
        (OFFICER, KIT, set()),
        (OFFICER, LINKED, {Relation.LINKED}),
        (OFFICER, replace(LINKED, legal=Legal.DECLARED), set()),
        (OFFICER, with_package(KIT, holder=at(OFFICER)), set()),
        (OFFICER, with_package(LINKED, holder=at(OFFICER)), {Relation.LINKED, Relation.HOLDS}),
        (replace(OFFICER, organisation="pz-avondrood"), LINKED, set()),
        (MAGISTRATE, LINKED, {Relation.LINKED}),
        (replace(MAGISTRATE, organisation="parket-dageraad"), LINKED, set()),
        (ANALYST, with_package(KIT, holder=at(ANALYST)), {Relation.HOLDS}),
        (ANALYST, with_package(KIT, holder=at(ANALYST), state=Custody.SPLIT), set()),
        (REGISTRAR, with_package(KIT, holder=at(REGISTRAR)), set()),
        (REGISTRAR, with_package(LINKED, holder=at(REGISTRAR)), {Relation.HOLDS}),
        (CARD, KIT, {Relation.OWN}),
        (CARD, replace(KIT, number="0" * 12), set()),
    ],
)
def test_how_somebody_stands_to_a_kit(actor: Actor, kit: Kit, found: set[Relation]) -> None:
    assert relations(actor, kit) == found


def test_an_offer_is_known_to_whom_it_is_made_and_to_a_named_person_alone() -> None:
    way = Handover(
        id="ab" * 16,
        packages=(1,),
        giver=at(NURSE),
        receiver=Holder(organisation=LAB),
        offered_at=NOW,
        due_at=NOW,
    )
    kit = replace(with_package(KIT, state=Custody.IN_TRANSIT, handover=way.id), handovers={way.id: way})
    assert relations(ANALYST, kit) == {Relation.RECEIVES}
    named = replace(way, receiver=Holder(organisation=LAB, person="another"))
    assert relations(ANALYST, replace(kit, handovers={way.id: named})) == set()


def test_a_package_in_somebodys_hands_is_that_persons_and_one_in_a_place_the_organisations() -> None:
    assert may("package.store", NURSE, KIT, IN_HANDS)
    assert not may("package.store", NURSE_2, KIT, IN_HANDS)
    placed = replace(IN_HANDS, place=Place(id="shelf-1", name="Shelf 1"))
    assert may("package.store", NURSE_2, KIT, placed)
    assert not may("package.store", OTHER_NURSE, KIT, placed)


def test_who_may_not_know_of_a_kit_hears_that_there_is_none_and_who_may_hears_why() -> None:
    with pytest.raises(NotSeen):
        permit("package.store", OFFICER, KIT, [IN_HANDS])
    with pytest.raises(Refused, match="not yours to do with package 1: it is with Nora Nachtwacht"):
        permit("package.store", CUSTODIAN, KIT, [IN_HANDS])
    with pytest.raises(NotPermitted):
        permit("kit.link", NURSE, KIT)
    permit("kit.link", COORDINATOR, KIT)


def test_every_function_of_people_exists_at_one_kind_of_organisation() -> None:
    assert set(AT) == set(Function) - {Function.VICTIM, Function.CLOCK}
    assert {f for f, kind in AT.items() if kind is OrganisationKind.CENTRE} == STAFF
