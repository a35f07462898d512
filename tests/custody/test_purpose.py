"""Why somebody reads: what counts as a scan and a task, and who may state which reason."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from custody.event import Event, Fact, Head, place_in_trail
from custody.kit import Destruction, Handover, Hold, Holder, Kit, Order, Package, Place
from custody.people import STAFF, Actor, Function
from custody.protocol import Custody, Legal, Retention
from custody.purpose import (
    CHECKED,
    GLASS,
    PURPOSES,
    PURPOSES_OF,
    SCAN,
    TASK,
    TASKS,
    NoPurpose,
    acted_on,
    purpose_of,
    reasons_of,
    stated,
    task_with,
)
from tests.custody.story import (
    ANALYST,
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    LAB,
    MAGISTRATE,
    NURSE,
    NURSE_2,
    OFFICER,
)

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
NORA = Holder(name=NURSE.name, person=NURSE.person, organisation=CENTRE)
STORED = Package(
    package=1,
    kind="bag",
    storage="dry",
    state=Custody.STORED,
    sealed_at=NOW,
    sealed_by=NURSE.person,
    seal_checked=True,
    holder=NORA,
    place=Place(id="shelf-1", name="Shelf 1"),
)
QUIET = Kit(
    number="7M4P9XQ3RT6C",
    centre=CENTRE,
    examined_on=date(2026, 5, 1),
    registered_at=NOW,
    packages={1: STORED},
)


def with_package(**change: object) -> Kit:
    return replace(QUIET, packages={1: replace(STORED, **change)})  # type: ignore[arg-type]


def on_the_way(to: Holder, due_at: datetime) -> Kit:
    offer = Handover(
        id="ab" * 16,
        packages=(1,),
        giver=NORA,
        receiver=to,
        offered_at=NOW - timedelta(hours=1),
        due_at=due_at,
    )
    kit = with_package(state=Custody.IN_TRANSIT, place=None, handover=offer.id)
    return replace(kit, handovers={offer.id: offer})


LATER, EARLIER = NOW + timedelta(hours=1), NOW - timedelta(minutes=1)
WORK = {
    "offered to the person": (on_the_way(Holder(organisation=LAB), LATER), ANALYST),
    "in the person's own hands": (with_package(state=Custody.OPENED, place=None), NURSE),
    "a hand-over that is late": (on_the_way(Holder(organisation=LAB), EARLIER), COORDINATOR),
    "a notice is due": (replace(QUIET, retention=Retention.NOTICE_DUE), NURSE),
    "term over, or disposal proposed or approved": (replace(QUIET, retention=Retention.EXPIRED), CUSTODIAN),
    "found after its kit was disposed of": (replace(QUIET, retention=Retention.DISPOSED), NURSE),
    "a report declared, and not linked": (replace(QUIET, legal=Legal.DECLARED), COORDINATOR),
    "the victim asked for something": (replace(QUIET, destruction=Destruction(asked_at=NOW)), NURSE),
    "an order of a judge, not linked": (
        replace(QUIET, order=Order(digest="ab" * 32, authority="Invented court", dated=date(2026, 5, 1))),
        COORDINATOR,
    ),
    "a package cannot be found": (with_package(state=Custody.LOST), CUSTODIAN),
    "a seal that another person is to check": (with_package(seal_checked=False), NURSE_2),
    "a hold that is to be reviewed": (
        replace(QUIET, holds={"h": Hold(id="h", ground="centre", review_on=NOW.date())}),
        COORDINATOR,
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_what_waits_for_a_person_is_a_task(name: str) -> None:
    kit, person = WORK[name]
    assert task_with(kit, person, NOW) == name


@pytest.mark.parametrize("person", [NURSE, CUSTODIAN, COORDINATOR, OFFICER, ANALYST, MAGISTRATE])
def test_a_kit_that_lies_quietly_in_its_place_is_nobodys_task(person: Actor) -> None:
    assert task_with(QUIET, person, NOW) is None


def test_what_waits_for_one_is_no_task_of_another() -> None:
    assert task_with(replace(QUIET, retention=Retention.NOTICE_DUE), CUSTODIAN, NOW) is None
    held = replace(
        QUIET, holds={"h": Hold(id="h", ground="centre", review_on=NOW.date() + timedelta(days=1))}
    )
    assert task_with(held, COORDINATOR, NOW) is None, "its day has not come"
    assert task_with(with_package(seal_checked=False), NURSE, NOW) is None, "whoever closed it has seen it"
    assert task_with(with_package(state=Custody.OPENED, place=None), NURSE_2, NOW) is None
    assert task_with(replace(QUIET, legal=Legal.DECLARED), OFFICER, NOW) is None


def test_a_wish_for_safety_is_a_task_until_the_kit_is_gone() -> None:
    held = replace(QUIET, holds={"ab" * 16: Hold(id="ab" * 16, ground="safety")})
    assert task_with(held, NURSE, NOW) == "the victim asked for something"
    gone = {1: replace(STORED, state=Custody.DESTROYED)}
    assert task_with(replace(held, retention=Retention.DISPOSED, packages=gone), NURSE, NOW) is None


def record(read: str, purpose: str, ago: timedelta, person: Actor = CUSTODIAN) -> Event:
    fact = Fact(
        type="access.recorded",
        subject=f"reads:{person.person}",
        who=person.who(),
        fields={"read": read, "purpose": purpose, "kit": QUIET.number},
    )
    return place_in_trail(fact, Head(), NOW - ago, bytes(16))


MINUTES = timedelta(minutes=1)


def test_a_scan_is_a_purpose_for_half_an_hour() -> None:
    fresh, old = record("scan", "scan", 30 * MINUTES), record("scan", "scan", 31 * MINUTES)
    assert purpose_of(CUSTODIAN, SCAN, task=False, own=[old, fresh], at=NOW) == SCAN
    assert purpose_of(CUSTODIAN, TASK, task=False, own=[fresh], at=NOW) == SCAN
    with pytest.raises(NoPurpose, match="have not scanned"):
        purpose_of(CUSTODIAN, SCAN, task=True, own=[old], at=NOW)


def test_a_reading_that_called_itself_a_scan_proves_no_scan() -> None:
    claimed = record("kit_read", "scan", MINUTES)
    void = record("scan_of_no_label_in_use", "scan", MINUTES)
    with pytest.raises(NoPurpose):
        purpose_of(CUSTODIAN, SCAN, task=False, own=[claimed, void], at=NOW)


def test_a_reason_that_was_stated_holds_for_half_an_hour_and_goes_on_record_again() -> None:
    given = record("kit_read", "complaint", 29 * MINUTES)
    assert purpose_of(CUSTODIAN, TASK, task=False, own=[given], at=NOW) == "complaint"
    with pytest.raises(NoPurpose, match="no task with this kit"):
        purpose_of(CUSTODIAN, TASK, task=False, own=[record("kit_read", "complaint", 31 * MINUTES)], at=NOW)


def test_looking_at_who_read_a_kit_is_no_reason_to_read_it() -> None:
    looked = record("reads_read", "review", MINUTES, COORDINATOR)
    with pytest.raises(NoPurpose):
        purpose_of(COORDINATOR, TASK, task=False, own=[looked], at=NOW)


def test_broken_glass_is_a_purpose_for_an_hour() -> None:
    broken = record(GLASS, GLASS, 59 * MINUTES)
    assert purpose_of(CUSTODIAN, GLASS, task=False, own=[broken], at=NOW) == GLASS
    with pytest.raises(NoPurpose, match="not broken the glass"):
        purpose_of(CUSTODIAN, GLASS, task=True, own=[record(GLASS, GLASS, 61 * MINUTES)], at=NOW)


def test_a_refusal_names_the_reasons_that_can_be_stated() -> None:
    with pytest.raises(NoPurpose) as refused:
        purpose_of(NURSE, TASK, task=False, own=[], at=NOW)
    assert refused.value.field == "purpose"
    assert refused.value.words == ("report", "safety", "court", "stock_take", "review", "complaint")
    assert "stock_take" not in str(refused.value), "the words are for programs"


def test_each_function_has_its_own_short_list() -> None:
    assert set(PURPOSES_OF) == set(Function) - {Function.CLOCK, Function.OBSERVER}
    assert reasons_of(Function.OBSERVER) == ()
    assert reasons_of(Function.MAGISTRATE) == ("court", "report", "complaint")
    assert reasons_of(Function.OFFICER) == ("report", "court")
    for function in set(PURPOSES_OF) - {Function.VICTIM}:
        assert set(PURPOSES_OF[function]) <= set(PURPOSES)
    with pytest.raises(NoPurpose):
        stated(MAGISTRATE, "stock_take")
    with pytest.raises(NoPurpose):
        stated(NURSE, TASK)
    for function in STAFF:
        assert not set(reasons_of(function)) & CHECKED


def test_prosecutors_state_a_reason_and_have_neither_task_nor_scan() -> None:
    assert not {SCAN, TASK} & set(PURPOSES_OF[Function.MAGISTRATE])


def test_own_work_counts_for_a_day_and_so_does_a_second_signature() -> None:
    def event(hours: int) -> Event:
        fact = Fact(
            type="access.recorded",
            subject="reads:nora",
            who=NURSE.who(),
            fields={"read": "kit", "purpose": "task"},
        )
        return place_in_trail(fact, Head(), NOW - timedelta(hours=hours), bytes(16))

    assert acted_on([event(24)], NURSE, NOW)
    assert not acted_on([event(25)], NURSE, NOW)
    assert not acted_on([event(1)], NURSE_2, NOW)
