"""A restricted kit names its readers: for the rest of its centre it does not exist, but in the own hands."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from custody import access
from custody.commands import DeclareReport, LiftRestriction, Restrict
from custody.decision import Decided
from custody.directory import Appointment, Directory
from custody.event import Fact
from custody.kit import Handover, Holder, Kit, Link, Package, Place
from custody.ledger import Inconsistent
from custody.people import Actor, Function
from custody.permission import PERMISSIONS, Relation, as_known, may, permit
from custody.prosecution import declare
from custody.protocol import Custody, Legal, Retention
from custody.refusal import NeedsSecond, NoSuchPackage, NotPermitted, NotSeen, Refused
from custody.restriction import FEWEST, MOST, lacks_reader, lift_restriction, may_sign, restrict
from tests.custody.story import (
    ANALYST,
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    CUSTODIAN_2,
    MAGISTRATE,
    NURSE,
    NURSE_2,
    OFFICE,
    OFFICER,
    OTHER_CENTRE,
    OTHER_NURSE,
    PEOPLE,
    ZONE,
    Story,
    do,
)

NOW = datetime(2026, 5, 1, tzinfo=UTC)
SECOND_COORDINATOR = Actor(
    function=Function.COORDINATOR, person="carla", name="Carla Kaart", organisation=CENTRE
)


def at(actor: Actor) -> Holder:
    return Holder(name=actor.name, person=actor.person, organisation=actor.organisation)


def package(number: int, **change: object) -> Package:
    plain = Package(
        package=number,
        kind="bag",
        storage="dry",
        state=Custody.STORED,
        place=Place(id="shelf-1", name="Shelf 1"),
    )
    return replace(plain, **{"holder": at(NURSE), **change})  # type: ignore[arg-type]  # fields of Package


KIT = Kit(
    number="7M4P9XQ3RT6C",
    centre=CENTRE,
    examined_on=date(2026, 5, 1),
    registered_at=NOW,
    packages={1: package(1), 2: package(2)},
)
RESTRICTED = replace(KIT, readers=("coraline", "nora"))
DIRECTORY = Directory(
    organisations={},
    places={},
    appointments=tuple(
        Appointment(
            person=a.person or "",
            name=a.name or "",
            function=a.function,
            organisation=a.organisation or "",
            from_=date(2020, 1, 1),
            until=None,
        )
        for a in (*PEOPLE, SECOND_COORDINATOR)
    ),
)


def restricted(*readers: str) -> Restrict:
    return Restrict(kit=KIT.number, readers=readers)


@pytest.fixture
def story(centre: Story) -> Story:
    return centre


# --- who knows of it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("colleague", [NURSE_2, CUSTODIAN, CUSTODIAN_2, SECOND_COORDINATOR])
def test_for_a_colleague_who_is_no_reader_the_kit_does_not_exist(colleague: Actor) -> None:
    assert may("kit.read", colleague, KIT)
    of_kits = [a for a, who in PERMISSIONS.items() if Relation.ANY not in who.get(colleague.function, set())]
    for action in of_kits:
        assert not may(action, colleague, RESTRICTED), action
        with pytest.raises(NotSeen):
            permit(action, colleague, RESTRICTED)
        with pytest.raises(NotSeen):
            permit(action, colleague, RESTRICTED, [RESTRICTED.packages[1]])


@pytest.mark.parametrize("reader", [NURSE, COORDINATOR])
def test_its_readers_do_with_it_what_their_function_does(reader: Actor) -> None:
    for action in PERMISSIONS:
        assert may(action, reader, RESTRICTED) is may(action, reader, KIT), action
    assert as_known(reader, RESTRICTED) == RESTRICTED


def test_who_broke_the_glass_sees_that_kit_and_no_other() -> None:
    there = replace(NURSE_2, glass=frozenset({KIT.number}))
    permit("custody_trail.read", there, RESTRICTED)
    assert as_known(there, RESTRICTED) == RESTRICTED
    with pytest.raises(NotSeen):
        permit("kit.read", replace(NURSE_2, glass=frozenset({"0" * 12})), RESTRICTED)


def test_the_glass_of_another_centre_opens_nothing() -> None:
    with pytest.raises(NotSeen):
        permit("kit.read", replace(OTHER_NURSE, glass=frozenset({KIT.number})), RESTRICTED)


def test_what_a_colleague_has_in_the_hands_is_handled_and_nothing_else_is_known() -> None:
    kit = replace(
        RESTRICTED,
        packages={1: package(1, place=None, holder=at(CUSTODIAN), state=Custody.SEALED), 2: package(2)},
    )
    permit("package.store", CUSTODIAN, kit, [kit.packages[1]])
    permit("handover.offer", CUSTODIAN, kit, [kit.packages[1]])
    known = as_known(CUSTODIAN, kit)
    assert set(known.packages) == {1}
    assert (known.term, known.holds, known.findings, known.retention) == (None, {}, (), Retention.RUNNING)
    assert as_known(CUSTODIAN, known) == known, "what is known is no more the second time"
    for action in ("custody_trail.read", "choices_trail.read", "private.read", "labels.print"):
        with pytest.raises(NotPermitted):
            permit(action, CUSTODIAN, kit)
        assert not may(action, CUSTODIAN, known)
    with pytest.raises(NoSuchPackage):
        permit("package.take", CUSTODIAN, kit, [kit.packages[2]])
    with pytest.raises(NotSeen):
        permit("package.store", CUSTODIAN_2, kit, [kit.packages[1]])


def test_once_it_lies_in_the_store_who_put_it_there_knows_of_it_no_more() -> None:
    with pytest.raises(NotSeen):
        permit("package.take", CUSTODIAN, replace(RESTRICTED, packages={1: package(1, holder=at(CUSTODIAN))}))


def test_an_offer_by_name_is_accepted_and_an_offer_to_the_centre_is_for_the_readers() -> None:
    way = Handover(
        id="ab" * 16, packages=(1,), giver=at(NURSE), receiver=at(CUSTODIAN), offered_at=NOW, due_at=NOW
    )
    going = package(1, state=Custody.IN_TRANSIT, handover=way.id, place=None)
    kit = replace(RESTRICTED, packages={1: going, 2: package(2)}, handovers={way.id: way})
    permit("handover.accept", CUSTODIAN, kit, [going])
    assert set(as_known(CUSTODIAN, kit).packages) == {1}
    to_all = replace(kit, handovers={way.id: replace(way, receiver=Holder(organisation=CENTRE))})
    with pytest.raises(NotSeen):
        permit("handover.accept", CUSTODIAN, to_all, [going])
    permit("handover.accept", COORDINATOR, to_all, [going])


def test_other_organisations_see_what_they_saw_and_never_who_reads() -> None:
    link = Link(ground="report", pv="P", notice="N", office=OFFICE, zone=ZONE)
    at_lab = {1: package(1, holder=at(ANALYST), place=None, state=Custody.SEALED), 2: package(2)}
    open_ = replace(KIT, legal=Legal.LINKED, retention=Retention.STOPPED, link=link, packages=at_lab)
    shut = replace(open_, readers=RESTRICTED.readers)
    for other in (OFFICER, MAGISTRATE, ANALYST):
        assert as_known(other, shut) == as_known(other, open_)
        assert as_known(other, shut).readers == ()
    card = Actor(function=Function.VICTIM, card=KIT.number)
    permit("own_kit.read", card, shut)


# --- who names the readers -----------------------------------------------------------------------------


def test_a_nurse_names_the_readers_and_is_one_of_them() -> None:
    (fact,) = restrict(KIT, restricted("nora", "coraline"), NURSE, DIRECTORY).facts
    assert (fact.type, fact.subject) == ("kit.restricted", f"choices:{KIT.number}")
    assert fact.fields["readers"] == ["coraline", "nora"]


@pytest.mark.parametrize(
    ("readers", "says"),
    [
        (("nora",), f"Name {FEWEST} to {MOST} readers"),
        ((), f"Name {FEWEST} to {MOST} readers"),
        (tuple(f"p{n}" for n in range(MOST + 1)), f"Name {FEWEST} to {MOST} readers"),
        (("nora", "nora"), "named twice"),
        (("nils", "coraline"), "Name yourself too"),
        (("nora", "nils"), "must be a coordinator"),
        (("nora", "coraline", "mira"), "mira works at this centre in no function today"),
        (("nora", "coraline", "oscar"), "oscar works at this centre in no function today"),
        (("nora", "coraline", "nobody"), "nobody works at this centre in no function today"),
    ],
)
def test_a_list_of_readers_that_would_lock_the_kit_or_open_it_is_refused(
    readers: tuple[str, ...], says: str
) -> None:
    with pytest.raises(Refused, match=says) as refused:
        restrict(KIT, restricted(*readers), NURSE, DIRECTORY)
    assert refused.value.field == "readers"


def test_a_person_with_two_functions_is_one_reader_and_counts_as_the_coordinator() -> None:
    both = replace(DIRECTORY.appointments[0], function=Function.COORDINATOR)
    directory = replace(DIRECTORY, appointments=(*DIRECTORY.appointments, both))
    restrict(KIT, restricted("nora", "nils"), NURSE, directory)
    with pytest.raises(Refused, match="Name 2 to"):
        restrict(KIT, restricted("nora"), NURSE, directory)


def without(*people: str) -> Directory:
    left = tuple(a for a in DIRECTORY.appointments if a.person not in people)
    return replace(DIRECTORY, appointments=left)


def test_the_readers_are_replaced_by_one_of_them_who_may_leave_it_to_others() -> None:
    restrict(RESTRICTED, restricted("nils", "coraline"), NURSE, DIRECTORY)
    restrict(RESTRICTED, restricted("nils", "coraline", "nora", "casper"), NURSE, DIRECTORY)
    with pytest.raises(Refused, match="already"):
        restrict(RESTRICTED, restricted("nora", "coraline"), NURSE, DIRECTORY)


def test_a_reader_takes_nobody_off_the_list_who_still_works_there() -> None:
    order = restricted("nora", "carla")
    with pytest.raises(Refused, match=r"Keep on the list .* still works here: Coraline") as refused:
        restrict(RESTRICTED, order, NURSE, DIRECTORY)
    assert refused.value.field == "readers"
    restrict(RESTRICTED, order, NURSE, without("coraline"))


def test_behind_the_broken_glass_nobody_replaces_readers_who_are_there() -> None:
    there = replace(SECOND_COORDINATOR, glass=frozenset({KIT.number}))
    for readers in (("carla", "nils"), ("carla", "coraline", "nora")):
        with pytest.raises(Refused, match=r"can name others: Coraline .*, Nora .* nobody replaces them"):
            restrict(RESTRICTED, restricted(*readers), there, DIRECTORY)
    with pytest.raises(Refused, match="can name others: Nora"):
        restrict(RESTRICTED, restricted("carla", "nora"), there, without("coraline"))


def test_where_no_reader_is_left_a_coordinator_breaks_the_glass_and_names_others() -> None:
    order, gone = restricted("carla", "nils"), without("nora", "coraline")
    with pytest.raises(NotSeen):
        restrict(RESTRICTED, order, SECOND_COORDINATOR, gone)
    glass = frozenset({KIT.number})
    restrict(RESTRICTED, order, replace(SECOND_COORDINATOR, glass=glass), gone)
    with pytest.raises(Refused, match="by a coordinator who broke the glass"):
        restrict(RESTRICTED, order, replace(NURSE_2, glass=glass), gone)


def test_a_reader_who_can_name_nobody_stays_when_a_coordinator_names_others() -> None:
    """A custodian reads, but restricts no kit: without help from behind the glass it would stay so."""
    kit, gone = replace(RESTRICTED, readers=("casper", "coraline", "nora")), without("nora", "coraline")
    there = replace(SECOND_COORDINATOR, glass=frozenset({KIT.number}))
    with pytest.raises(Refused, match=r"Keep on the list .* Casper"):
        restrict(kit, restricted("carla", "nils"), there, gone)
    restrict(kit, restricted("carla", "casper"), there, gone)


@pytest.mark.parametrize("who", [CUSTODIAN, OFFICER, MAGISTRATE, ANALYST, OTHER_NURSE])
def test_nobody_else_restricts_a_kit(who: Actor) -> None:
    with pytest.raises((NotPermitted, NotSeen)):
        restrict(KIT, restricted("nora", "coraline"), who, DIRECTORY)


# --- two of them lift it -------------------------------------------------------------------------------


LIFT = LiftRestriction(kit=KIT.number, reason="the colleague moved to another centre")


def test_a_coordinator_and_another_reader_lift_the_restriction() -> None:
    with pytest.raises(NeedsSecond):
        lift_restriction(RESTRICTED, LIFT, COORDINATOR, None, DIRECTORY)
    (fact,) = lift_restriction(RESTRICTED, LIFT, COORDINATOR, NURSE, DIRECTORY).facts
    assert (fact.type, fact.fields["with"][0]["person"]) == ("restriction.lifted", "nora")
    with pytest.raises(NotPermitted):
        lift_restriction(RESTRICTED, LIFT, NURSE, COORDINATOR, DIRECTORY)
    with pytest.raises(Refused, match="not restricted"):
        lift_restriction(KIT, LIFT, COORDINATOR, NURSE, DIRECTORY)


def test_where_no_other_reader_is_left_to_sign_the_lift_is_refused_before_it_waits() -> None:
    with pytest.raises(Refused, match="Name another reader first"):
        lift_restriction(RESTRICTED, LIFT, COORDINATOR, None, without("nora"))
    there = replace(SECOND_COORDINATOR, glass=frozenset({KIT.number}))
    with pytest.raises(Refused, match="Name another reader first"):
        lift_restriction(RESTRICTED, LIFT, there, None, without("nora", "coraline"))
    with pytest.raises(NeedsSecond):
        lift_restriction(RESTRICTED, LIFT, there, None, without("nora"))


def test_a_kit_lacks_a_reader_once_one_is_left_or_no_coordinator_among_them() -> None:
    three = replace(RESTRICTED, readers=("coraline", "nils", "nora"))
    assert not lacks_reader(KIT, without("nora", "coraline"))
    assert not lacks_reader(RESTRICTED, DIRECTORY)
    assert not lacks_reader(three, without("nora"))
    assert lacks_reader(three, without("coraline"))
    assert lacks_reader(RESTRICTED, without("nora"))
    assert lacks_reader(RESTRICTED, without("nora", "coraline"))


def test_one_person_in_two_functions_is_not_two_people() -> None:
    as_nurse = replace(COORDINATOR, function=Function.NURSE, organisation=OTHER_CENTRE)
    with pytest.raises(Refused, match="another person's"):
        lift_restriction(RESTRICTED, LIFT, COORDINATOR, as_nurse, DIRECTORY)


def test_what_is_proposed_about_a_restricted_kit_its_readers_sign() -> None:
    may_sign(RESTRICTED, NURSE)
    may_sign(KIT, CUSTODIAN)
    for other in (CUSTODIAN, OTHER_NURSE, replace(NURSE, organisation=OTHER_CENTRE)):
        with pytest.raises(NotSeen):
            may_sign(RESTRICTED, other)


# --- and PostgreSQL keeps it ---------------------------------------------------------------------------


async def _restrict(story: Story, kit: str, *readers: str, who: Actor = NURSE) -> None:
    order = Restrict(kit=kit, readers=readers or ("coraline", "nora"))
    types = await do(story, who, kit, lambda s: restrict(s.kit(kit), order, s.eyes(who), story.directory))
    assert types == ["kit.restricted"]


@pytest.mark.anyio
async def test_a_restricted_kit_is_seen_by_its_readers_until_two_people_lift_it(story: Story) -> None:
    kit = await story.registered()
    await _restrict(story, kit)
    assert (await story.kit(kit)).readers == ("coraline", "nora")
    for colleague in (NURSE_2, CUSTODIAN):
        assert (await story.look(colleague, kit)).kits == {}
    order = LiftRestriction(kit=kit, reason="no longer needed")
    await do(
        story,
        COORDINATOR,
        kit,
        lambda s: lift_restriction(s.kit(kit), order, COORDINATOR, NURSE, story.directory),
    )
    assert (await story.kit(kit, NURSE_2)).readers == ()


@pytest.mark.anyio
async def test_the_glass_opens_a_kit_to_the_look_and_to_the_decision(story: Story) -> None:
    kit = await story.registered()
    await _restrict(story, kit)
    reason = {"purpose": "safety", "reason": "readers_absent"}
    await access.record(story.ledger.engine, NURSE_2, read="break_glass", kit=kit, **reason)
    seen = await story.look(NURSE_2, kit)
    assert seen.glass == {kit}
    permit("kit.read", seen.eyes(NURSE_2), seen.kit(kit))
    with pytest.raises(NotSeen):
        permit("kit.read", NURSE_2, seen.kit(kit))
    order = DeclareReport(kit=kit, how="in_person")
    assert await do(story, NURSE_2, kit, lambda s: declare(s.kit(kit), order, s.eyes(NURSE_2))) == [
        "report.declared"
    ]
    assert (await story.look(NURSE, kit)).glass == frozenset()


@pytest.mark.anyio
async def test_one_person_does_not_lift_a_restriction_not_even_in_two_functions(story: Story) -> None:
    kit = await story.registered()
    await _restrict(story, kit)
    twice = replace(COORDINATOR, function=Function.NURSE)
    seen = await story.look(COORDINATOR, kit)
    fields = {"reason": "alone", "with": [twice.signs("second")]}
    fact = Fact(type="restriction.lifted", subject=f"choices:{kit}", who=COORDINATOR.who(), fields=fields)
    with pytest.raises((Refused, Inconsistent)):
        await story.append(COORDINATOR, seen, Decided(facts=(fact,)))
    own = await story.propose(COORDINATOR, kit)
    with pytest.raises(Refused, match="signed already, too old, or your own"):
        await story.append(twice, seen, Decided(facts=(fact,)), proposal=own)
    assert (await story.kit(kit)).readers == ("coraline", "nora")
