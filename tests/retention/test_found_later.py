"""What is found after its kit was closed: three people destroy it, and nothing else begins with it."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from custody.axes import NotAStep
from custody.commands import (
    ApproveDisposal,
    CarryOutDisposal,
    DeclareReport,
    EndSearch,
    ItemRef,
    PlaceHold,
    ProposeDisposal,
)
from custody.decision import Decided, Seen
from custody.handling import fact
from custody.kit import Kit, from_document, to_document
from custody.people import Actor
from custody.prosecution import declare
from custody.protocol import Custody, Retention
from custody.refusal import NeedsSecond, Refused
from custody.searching import end_search
from retention.commands import CloseEmpty
from retention.disposal import approve, carry_out, propose
from retention.eligibility import belongings, eligibility, found_after
from retention.holds import place_hold
from retention.keeping import close_empty
from tests.custody.story import COORDINATOR, CUSTODIAN, CUSTODIAN_2, NURSE, NURSE_2, ref
from tests.retention.kept import BELGIUM, OBSERVER, expired, then, whole

COSIMA = replace(COORDINATOR, person="cosima", name="Cosima Koers")
DAY = timedelta(days=1)


def recorded(kit: Kit, at: datetime, type_: str, *packages: int, **fields: object) -> Kit:
    entries = [{"package": n} for n in packages]
    return then(kit, Decided(facts=(fact(kit, type_, CUSTODIAN, entries, **fields),)), at)


def lost_for_good(kit: Kit, at: datetime, *packages: int) -> Kit:
    kit = recorded(kit, at, "package.lost", *packages, reason="the shelf is empty")
    named = tuple(ref(kit.number, n, seal=None) for n in packages)
    order = EndSearch(packages=named, reason="looked everywhere")
    seen = Seen(at=at, kits={kit.number: kit})
    return then(kit, end_search(seen, order, CUSTODIAN, COORDINATOR), at)


def closed() -> tuple[Kit, datetime]:
    """All of it is lost: a custodian and a nurse closed the kit."""
    kit, at = expired()
    kit = lost_for_good(kit, at, 1, 2, 3)
    order = CloseEmpty(kit=kit.number, reason="all of it is lost")
    return then(kit, close_empty(kit, order, CUSTODIAN, NURSE, unanswered_requests=0), at), at


def found(kit: Kit, at: datetime, *packages: int) -> Kit:
    return recorded(kit, at, "package.found", *packages)


def second(kit: str) -> CarryOutDisposal:
    """Package 2 with the four items in it."""
    return CarryOutDisposal(
        packages=(ref(kit, 2),), items=tuple(ItemRef(kit=kit, item=n) for n in range(5, 9))
    )


def tried(
    kit: Kit,
    at: datetime,
    observer: Actor | None = OBSERVER,
    approver: Actor = NURSE,
    by: Actor = CUSTODIAN_2,
) -> Decided:
    return carry_out(Seen(at=at, kits={kit.number: kit}), second(kit.number), by, observer, approver)


def test_who_closed_a_kit_of_which_nothing_was_left_is_known_from_then_on() -> None:
    kit, _ = closed()

    assert kit.disposal is not None
    assert (kit.disposal.proposed_by, kit.disposal.approved_by) == ("casper", "nora")
    assert kit.remaining == found_after(kit) == ()
    assert from_document(Kit, to_document(kit)) == kit


def test_only_its_destruction_is_recorded_and_the_second_who_closed_the_kit_is_the_approver() -> None:
    kit, at = closed()
    kit = found(kit, at + DAY, 2)
    assert [p.package for p in found_after(kit)] == [2]

    (gone,) = tried(kit, at + DAY).facts

    assert gone.type == "package.destroyed"
    assert [(w["part"], w["person"]) for w in gone.fields["with"]] == [
        ("approver", "nora"),
        ("observer", OBSERVER.person),
    ]
    kit = then(kit, tried(kit, at + DAY), at + DAY)
    assert kit.packages[2].state is Custody.DESTROYED
    assert found_after(kit) == ()
    with pytest.raises(Refused, match="Nobody has approved the disposal"):
        tried(kit, at + DAY)


def test_it_takes_three_people_who_are_not_one_another() -> None:
    kit, at = closed()
    kit = found(kit, at, 2)

    with pytest.raises(NeedsSecond):
        tried(kit, at, None)
    for observer in (NURSE, CUSTODIAN_2):
        with pytest.raises(Refused, match="are three people"):
            tried(kit, at, observer)
    with pytest.raises(Refused, match="Who proposed a disposal does not observe it"):
        tried(kit, at, CUSTODIAN)
    with pytest.raises(Refused, match="You approved this disposal"):
        tried(kit, at, by=NURSE)
    with pytest.raises(Refused, match="not the person who approved"):
        tried(kit, at, approver=COORDINATOR)


def test_a_package_lost_at_the_disposal_goes_as_the_others_went() -> None:
    kit, at = expired()
    kit = lost_for_good(kit, at, 2)
    proposed = propose(kit, ProposeDisposal(kit=kit.number), CUSTODIAN, at)
    kit = then(kit, proposed, at)
    kit = then(kit, approve(kit, ApproveDisposal(kit=kit.number), COORDINATOR, at), at)
    rest = whole(kit.number)
    order = replace(
        rest,
        packages=tuple(p for p in rest.packages if p.package != 2),
        items=tuple(i for i in rest.items if not 5 <= i.item <= 8),
    )
    seen = Seen(at=at, kits={kit.number: kit})
    kit = then(kit, carry_out(seen, order, CUSTODIAN_2, OBSERVER, COORDINATOR), at)
    kit = found(kit, at + DAY, 2)

    (gone,) = tried(kit, at + DAY, approver=COORDINATOR).facts

    assert gone.type == "package.destroyed"


def test_a_coordinator_approves_anew_only_while_something_is_there() -> None:
    kit, at = closed()
    order = ApproveDisposal(kit=kit.number)
    with pytest.raises(Refused):
        approve(kit, order, COSIMA, at)
    kit = found(kit, at, 2)
    with pytest.raises(Refused, match="waits for its answer"):
        approve(kit, order, COSIMA, at, unanswered_requests=1)
    with pytest.raises(Refused, match="does not allow"):
        approve(kit, order, NURSE_2, at)

    kit = then(kit, approve(kit, order, COSIMA, at), at)

    assert kit.retention is Retention.DISPOSED
    assert tried(kit, at, approver=COSIMA).facts[0].type == "package.destroyed"
    with pytest.raises(Refused, match="not the person who approved"):
        tried(kit, at)


def test_what_is_not_as_recorded_is_a_finding_and_the_end_of_the_kit_stands() -> None:
    kit, at = closed()
    kit = found(kit, at, 2)
    seen = Seen(at=at, kits={kit.number: kit})

    gone = CarryOutDisposal(packages=(), not_found=(ref(kit.number, 2, seal=None),))
    (lost,) = carry_out(seen, gone, CUSTODIAN_2, None, NURSE).facts
    other = replace(second(kit.number), packages=(ref(kit.number, 2, seal="S-9999"),))
    (broken,) = carry_out(seen, other, CUSTODIAN_2, None, NURSE).facts

    assert (lost.type, broken.type) == ("package.lost", "seal.found_broken")
    kit = then(kit, Decided(facts=(lost,)), at)
    assert kit.retention is Retention.DISPOSED
    assert not all(each.met for each in eligibility(kit, at)), "somebody looks for it again"


def test_the_page_says_when_it_was_closed_and_what_was_found_and_what_stands_in_the_way() -> None:
    kit, at = closed()
    kit = found(kit, at, 2, 3)

    told = eligibility(kit, at)

    assert all(each.met for each in told)
    assert told[0].name == "closed"
    assert "package 2, 3 was found afterwards" in told[0].told
    assert {"term", "notice", "belongings"}.isdisjoint(each.name for each in told)
    assert belongings(kit) == ()
    with pytest.raises(Refused, match="Scan package 3"):
        tried(kit, at)
    opened = fact(kit, "package.opened", CUSTODIAN, [{"package": 3}], reason="a tear")
    open_ = then(kit, Decided(facts=(opened,)), at)
    assert [each.name for each in eligibility(open_, at) if not each.met] == ["opened"]


def test_no_report_and_no_hold_begins_with_it() -> None:
    kit, at = closed()
    kit = found(kit, at, 2)

    hold = PlaceHold(kit=kit.number, ground="centre", reason="it was found")
    with pytest.raises((Refused, NotAStep)):
        then(kit, place_hold(kit, hold, COORDINATOR, "ab" * 16, BELGIUM, at), at)
    report = DeclareReport(kit=kit.number, how="in_person")
    with pytest.raises((Refused, NotAStep)):
        then(kit, declare(kit, report, NURSE), at)
