"""Whoever speaks to `custody.append` directly, past every rule of the service: what is still refused."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from custody.event import Event, Fact
from custody.kit import to_document
from custody.people import CLOCK, Actor, Function
from custody.protocol import STEPS
from tests.custody.byhand import ByHand, refused
from tests.custody.story import (
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    CUSTODIAN_2,
    NURSE,
    NURSE_2,
    OFFICER,
    OTHER_NURSE,
    ZONE,
    new_number,
)
from tests.postgres.evidence import Evidence
from tests.postgres.forging import BYTES, CHECK, MOVED, PROJECTION, PROTOCOL, checked, chosen, follow

# --- who -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "who",
    [
        {**NURSE_2.who()},
        {**NURSE.who(), "name": "Somebody Else"},
        {**NURSE.who(), "function": "coordinator"},
        {**NURSE.who(), "organisation": "zsg-maanhoek"},
        {k: v for k, v in NURSE.who().items() if k != "person"},
        {k: v for k, v in NURSE.who().items() if k != "organisation"},
        {k: v for k, v in NURSE.who().items() if k != "function"},
        {"function": "nurse"},
        {"function": "clock"},
        {"function": "victim"},
        {},
    ],
    ids=lambda who: "-".join(who.values()) or "nobody",
)
def test_nobody_writes_in_anothers_name_or_in_none(
    byhand: ByHand, evidence: Evidence, who: dict[str, Any]
) -> None:
    event, document = follow(byhand, evidence.unreported, checked(evidence.unreported), who=who)
    with refused(BYTES):
        byhand.append(NURSE, [event], documents=document)


def test_a_card_or_a_clock_never_writes_what_a_person_writes(byhand: ByHand, evidence: Evidence) -> None:
    event, document = follow(byhand, evidence.unreported, checked(evidence.unreported))
    card = Actor(function=Function.VICTIM, card=evidence.unreported)
    nobody = Actor(function=Function.NURSE)
    for actor in (card, nobody, CLOCK):
        with refused(BYTES):
            byhand.append(actor, [event], documents=document)


def test_only_the_clerk_writes_as_the_clock_and_as_nobody_else(byhand: ByHand, evidence: Evidence) -> None:
    kit = evidence.unreported
    due, document = follow(byhand, kit, chosen(kit, "notice.due", CLOCK))
    with refused(BYTES):
        byhand.append(CLOCK, [due], documents=document, connection=byhand.of("service"))
    with refused(BYTES):
        byhand.append(CLOCK, [due], documents=document, connection=byhand.of("superuser"))
    event, document = follow(byhand, kit, checked(kit))
    with refused(BYTES):
        byhand.append(NURSE, [event], documents=document, connection=byhand.of("clerk"))


def test_a_person_whose_function_ended_writes_nothing_more(byhand: ByHand, evidence: Evidence) -> None:
    kit = evidence.unreported
    event, document = follow(byhand, kit, checked(kit))
    connection = byhand.of("superuser")
    connection.execute(
        "UPDATE custody.appointment SET until = current_date - 1 WHERE person = %s", [NURSE.person]
    )
    try:
        with refused(BYTES):
            byhand.append(NURSE, [event], documents=document)
    finally:
        connection.execute("UPDATE custody.appointment SET until = NULL WHERE person = %s", [NURSE.person])


def test_a_card_writes_in_the_choices_of_its_own_kit_only(byhand: ByHand, evidence: Evidence) -> None:
    card = Actor(function=Function.VICTIM, card=evidence.unreported)
    other = evidence.at_the_lab
    event, document = follow(byhand, other, chosen(other, "report.declared", card, how="by_card"))
    with refused(BYTES):
        byhand.append(card, [event], documents=document)


@pytest.mark.parametrize("type_", ["report.withdrawn", "hold.lifted", "disposal.carried_out", "kit.linked"])
def test_neither_card_nor_clock_writes_what_only_people_may_do(
    byhand: ByHand, evidence: Evidence, type_: str
) -> None:
    kit = evidence.unreported
    actors = (Actor(function=Function.VICTIM, card=kit), CLOCK)
    for actor in actors:
        trail = "custody" if type_ == "kit.linked" else "choices"
        fact = Fact(type="seal.checked", subject=f"{trail}:{kit}", who=actor.who(), fields={})
        event = byhand.event(
            fact, type=type_, how="in_person", term={}, policy={}, hold={}, packages=[], link={}
        )
        with pytest.raises(psycopg.Error, check=lambda e: str(e.sqlstate).startswith("CU00")):
            byhand.append(actor, [event], documents={kit: to_document(byhand.kit(kit))})


# --- two people --------------------------------------------------------------------------------


@pytest.fixture
def withdrawal(byhand: ByHand, evidence: Evidence) -> Callable[..., tuple[Event, dict[str, Any]]]:
    """A report withdrawn by the nurse, and whoever else the test says."""

    def made(**change: Any) -> tuple[Event, dict[str, Any]]:
        kit = byhand.kit(evidence.declared)
        document = to_document(kit)
        fields = {"how": "in_person", "term": document["term"], "policy": document["policy"]}
        fact = chosen(kit.number, "report.withdrawn", NURSE, **fields, **{"with": [NURSE_2.signs("second")]})
        return follow(byhand, kit.number, fact, **change)

    return made


Withdrawal = Callable[..., tuple[Event, dict[str, Any]]]


def test_a_second_person_who_has_not_signed_is_not_there(
    byhand: ByHand, evidence: Evidence, withdrawal: Withdrawal
) -> None:
    event, document = withdrawal()
    with refused(BYTES):  # named beside the writer, and nothing was proposed
        byhand.append(NURSE, [event], documents=document)
    proposal = byhand.propose(NURSE, evidence.declared)
    with refused(PROTOCOL):  # signed by the proposer
        byhand.append(NURSE, [event], documents=document, proposal=proposal)
    with refused(BYTES):  # signed by a third person, in the name of the second
        byhand.append(CUSTODIAN, [event], documents=document, proposal=proposal)
    with refused(BYTES):  # signed, but for another kit
        byhand.append(
            NURSE_2, [event], documents=document, proposal=byhand.propose(NURSE, evidence.unreported)
        )
    with refused(PROTOCOL):  # too old
        old = byhand.propose(NURSE, evidence.declared, hours=0)
        byhand.append(NURSE_2, [event], documents=document, proposal=old)
    with refused(PROTOCOL):  # never proposed
        byhand.append(NURSE_2, [event], documents=document, proposal="00" * 16)


@pytest.mark.parametrize(
    "signs",
    [
        "absent",
        [NURSE.signs("second")],
        [{"part": "second", "name": "Nils Nevel"}],
        [{**NURSE_2.signs("second"), "function": "coordinator"}],
        [{**NURSE_2.signs("second"), "name": "Somebody Else"}],
        [{"part": "second", "person": "stranger", "name": "S", "function": "nurse", "organisation": CENTRE}],
    ],
)
def test_one_person_is_never_two(
    byhand: ByHand, evidence: Evidence, withdrawal: Withdrawal, signs: Any
) -> None:
    event, document = withdrawal(**{"with": signs})
    proposal = byhand.propose(NURSE, evidence.declared)
    with pytest.raises(psycopg.Error, check=lambda e: e.sqlstate in (PROTOCOL, BYTES)):
        byhand.append(NURSE_2, [event], documents=document, proposal=proposal)


def test_a_proposal_is_signed_once(byhand: ByHand, evidence: Evidence, withdrawal: Withdrawal) -> None:
    proposal = byhand.propose(NURSE, evidence.declared)
    connection = byhand.of("superuser")
    connection.execute("UPDATE custody.proposal SET signed_at = now() WHERE id = %s", [proposal])
    event, document = withdrawal()
    with refused(PROTOCOL):
        byhand.append(NURSE_2, [event], documents=document, proposal=proposal)


def test_what_a_second_person_signed_is_refused_whole_when_any_of_it_is(
    byhand: ByHand, evidence: Evidence, withdrawal: Withdrawal
) -> None:
    proposal = byhand.propose(NURSE, evidence.declared)
    event, _ = withdrawal()
    with refused(PROJECTION):
        byhand.append(NURSE_2, [event], documents={evidence.declared: {}}, proposal=proposal)
    rows = byhand.of("superuser").execute("SELECT signed_at FROM custody.proposal WHERE id = %s", [proposal])
    assert rows.fetchone() == (None,)


# --- bytes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"number": 1},
        {"number": 99},
        {"number": "absent"},
        {"number": None},
        {"previous": "00" * 32},
        {"previous": None},
        {"previous": "absent"},
        {"recorded_at": "absent"},
        {"recorded_at": "2096-01-01T00:00:00.000000Z"},
        {"recorded_at": "2020-01-01T00:00:00.000000Z"},
        {"salt": "absent"},
        {"salt": "ab"},
        {"format": 2},
        {"format": "absent"},
        {"type": "no.such_step"},
        {"type": "absent"},
        {"type": "report.declared"},
        {"subject": "absent"},
        {"subject": "choices:0"},
        {"packages": "absent"},
    ],
    ids=str,
)
def test_an_event_that_does_not_follow_its_trail_is_refused(
    byhand: ByHand, evidence: Evidence, change: dict[str, Any]
) -> None:
    event, document = follow(byhand, evidence.unreported, checked(evidence.unreported))
    values = {k: v for k, v in {**event.values, **change}.items() if v != "absent"}
    forged = Event(bytes=json.dumps(values, separators=(",", ":")).encode(), values=values)
    with refused(BYTES):
        byhand.append(
            NURSE,
            [forged],
            documents=document,
            expected={f"custody:{evidence.unreported}": byhand.head(event.subject).number},
        )


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b'{"type":"\\u0000"}'])
def test_bytes_that_are_no_json_are_refused(byhand: ByHand, evidence: Evidence, data: bytes) -> None:
    with refused(BYTES):
        byhand.append(
            NURSE,
            [Event(bytes=data, values={})],
            documents={},
            expected={f"custody:{evidence.unreported}": byhand.head(f"custody:{evidence.unreported}").number},
        )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"format"', b'{ "format"'),
        (b'"seal.checked"', b'"seal.chec\\u006bed"'),
        (b'"who":', b'"who":{"function":"custodian"},"who":'),
        (b'"who":{', b'"who":{"victim":"Jane Real Name",'),
        (b'"condition":', b'"note":"free text","condition":'),
        (b'"salt":"', b'"salt":"Z'),
        (b'"who":', b'"occurred_at":"yesterday","who":'),
        (b'"who":', b'"occurred_at":"2999-01-01T00:00:00.000000Z","who":'),
    ],
    ids=repr,
)
def test_what_nobody_could_read_or_no_field_is_for_is_refused(
    byhand: ByHand, evidence: Evidence, old: bytes, new: bytes
) -> None:
    event, documents = follow(byhand, evidence.unreported, checked(evidence.unreported))
    assert old in event.bytes
    forged = Event(bytes=event.bytes.replace(old, new, 1), values=event.values)
    documents[evidence.unreported]["custody_head"]["digest"] = forged.digest
    with refused(BYTES):
        byhand.append(NURSE, [forged], documents=documents)


def test_a_trail_that_was_not_looked_at_or_has_moved_on_takes_nothing(
    byhand: ByHand, evidence: Evidence
) -> None:
    kit = evidence.unreported
    event, document = follow(byhand, kit, checked(kit))
    with refused(BYTES):
        byhand.append(NURSE, [event], documents=document, expected={f"choices:{kit}": 3})
    now = byhand.head(f"custody:{kit}").number
    for number in (now - 1, now + 1):
        with refused(MOVED):
            byhand.append(NURSE, [event], documents=document, expected={f"custody:{kit}": number})


def test_an_event_about_one_kit_never_lands_in_anothers_trail(byhand: ByHand, evidence: Evidence) -> None:
    mine, other = evidence.unreported, evidence.at_the_lab
    event, document = follow(byhand, mine, checked(mine), subject=f"custody:{other}")
    with refused(BYTES):
        byhand.append(NURSE, [event], documents=document)
    with refused(PROTOCOL):
        byhand.append(
            NURSE,
            [byhand.event(checked(new_number()))],
            documents={},
        )


# --- the projection ------------------------------------------------------------------------------

LIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "number": lambda d: d.update(number="0" * 12),
    "centre": lambda d: d.update(centre="zsg-maanhoek"),
    "legal": lambda d: d.update(legal="linked"),
    "retention": lambda d: d.update(retention="expired"),
    "a hold": lambda d: d.update(holds={"ab" * 16: {"id": "ab" * 16, "ground": "centre"}}),
    "end of the term": lambda d: d["term"].update(over_at="2020-01-01T00:00:00.000000Z"),
    "day of notice": lambda d: d["term"].update(notice_on="2020-01-01"),
    "no term": lambda d: d.pop("term"),
    "cooling-off": lambda d: d.update(
        destruction={"asked_at": "2020-01-01T00:00:00.000000Z", "until": "2020-01-01T00:00:00.000000Z"}
    ),
    "disposed": lambda d: d.update(disposed_at="2020-01-01T00:00:00.000000Z"),
    "state of a package": lambda d: d["packages"]["1"].update(state="destroyed"),
    "a way": lambda d: d["packages"]["1"].update(handover="ab" * 16),
    "a package less": lambda d: d["packages"].pop("1"),
    "a package more": lambda d: d["packages"].update({"9": {"package": 9, "state": "sealed"}}),
    "head of this trail": lambda d: d["custody_head"].update(digest="00" * 32),
    "head of the other": lambda d: d["choices_head"].update(digest="00" * 32),
    "everything": lambda d: d.clear(),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_projection_that_lies_is_refused(byhand: ByHand, evidence: Evidence, lie: str) -> None:
    event, documents = follow(byhand, evidence.unreported, checked(evidence.unreported))
    LIES[lie](documents[evidence.unreported])
    with refused(PROJECTION):
        byhand.append(NURSE, [event], documents=documents)


def test_a_kit_without_its_projection_is_refused(byhand: ByHand, evidence: Evidence) -> None:
    event, _ = follow(byhand, evidence.unreported, checked(evidence.unreported))
    with refused(PROJECTION):
        byhand.append(NURSE, [event], documents={})


# --- terms, requests, numbers -----------------------------------------------------------------------


@pytest.mark.parametrize("type_", ["term.extended", "term.agreed", "term.restarted"])
def test_one_person_never_brings_the_end_of_a_term_forward(
    byhand: ByHand, evidence: Evidence, type_: str
) -> None:
    kit = byhand.kit(evidence.unreported)
    document = to_document(kit)
    assert kit.term is not None
    sooner = {**document["term"], "over_at": "2026-01-01T00:00:00.000000Z"}
    fields = {"term": sooner, "policy": document["policy"], "how": "in_person", "age_class": "adult"}
    fields = {k: v for k, v in fields.items() if k in STEPS[type_].needs | STEPS[type_].may}
    event = byhand.event(chosen(kit.number, type_, NURSE, **fields))
    with refused(PROTOCOL):
        byhand.append(NURSE, [event], documents={kit.number: {**document, "term": sooner}})


def test_a_term_does_not_ride_along_with_a_step_that_states_none(byhand: ByHand, evidence: Evidence) -> None:
    kit = evidence.unreported
    early = {"start": "2020-01-01", "end": "2020-01-01", "notice_on": "2020-01-01"}
    early["over_at"] = "2020-01-01T23:00:00.000000Z"
    for fact in (checked(kit), chosen(kit, "notice.due", CLOCK)):
        event, document = follow(byhand, kit, fact, term=early)
        document[kit]["term"] = early
        with refused(BYTES):
            byhand.append(NURSE if fact.who.get("person") else CLOCK, [event], documents=document)


def test_a_request_is_answered_by_the_centre_it_names_and_once(byhand: ByHand, evidence: Evidence) -> None:
    def answered(who: Actor, second: Actor, id_: str) -> Event:
        fields = {"how": "no_match", "with": [second.signs("second")]}
        return byhand.event(
            Fact(type="request.answered", subject=f"request:{id_}", who=who.who(), fields=fields)
        )

    with refused(PROTOCOL):  # by another centre
        byhand.append(
            NURSE,
            [answered(OTHER_NURSE, NURSE, evidence.waiting)],
            proposal=byhand.propose(OTHER_NURSE, None),
        )
    for id_ in (evidence.answered, "00" * 16):  # again; and one that nobody asked
        with refused(PROTOCOL):
            byhand.append(NURSE_2, [answered(NURSE, NURSE_2, id_)], proposal=byhand.propose(NURSE, None))


def test_a_request_that_names_no_centre_is_refused(byhand: ByHand) -> None:
    asked = Fact(
        type="request.received",
        subject="request:" + "ee" * 16,
        who=OFFICER.who(),
        fields={"naming": {"pv": "PV-FICTIEF-9", "centre": ZONE}},
    )
    with refused(BYTES):
        byhand.append(OFFICER, [byhand.event(asked)])


def test_a_centre_registers_its_own_kits_under_its_own_numbers(byhand: ByHand, evidence: Evidence) -> None:
    def registered(number: str, actor: Actor, centre: str) -> Event:
        fields = {"centre": centre, "examined_on": "2026-05-01"}
        return byhand.event(
            Fact(type="kit.registered", subject=f"custody:{number}", who=actor.who(), fields=fields)
        )

    for number, actor, centre in (
        (new_number(), NURSE, "zsg-maanhoek"),
        (evidence.reserved, OTHER_NURSE, "zsg-maanhoek"),
    ):
        with refused(BYTES):
            byhand.append(actor, [registered(number, actor, centre)], documents={number: {}})
    event = registered(evidence.unreported, NURSE, CENTRE)
    with refused(PROTOCOL):
        byhand.append(NURSE, [event], documents={evidence.unreported: {}})


def test_organisations_and_people_are_not_for_the_service_to_register(byhand: ByHand) -> None:
    fact = Fact(
        type="person.appointed",
        subject="person:nora",
        who=NURSE.who(),
        fields={
            "register": {
                "id": "nora",
                "organisation": CENTRE,
                "function": "coordinator",
                "from": "2020-01-01",
            }
        },
    )
    with refused(BYTES):
        byhand.append(NURSE, [byhand.event(fact)])


# --- disposal --------------------------------------------------------------------------------------


def test_the_database_alone_refuses_a_disposal_that_one_person_signs_in_three_names(
    byhand: ByHand, evidence: Evidence
) -> None:
    kit = evidence.unreported
    signs = [COORDINATOR.signs("approver"), OTHER_NURSE.signs("observer")]
    fact = chosen(kit, "disposal.carried_out", CUSTODIAN_2, packages=[{"package": 1}], **{"with": signs})
    event = byhand.event(fact)
    more: dict[str, Any] = {"documents": {kit: to_document(byhand.kit(kit))}}
    more["proposal"] = byhand.propose(CUSTODIAN_2, kit)
    connection = byhand.of("superuser")
    with connection.transaction(force_rollback=True):
        # As if the term had run to its end and somebody had approved, without an event.
        connection.execute(
            "UPDATE custody.kit SET retention = 'approved', term_over_at = '2020-01-01',"
            ' document = document || \'{"disposal": {"approved_by": "coraline"}}\' WHERE number = %s',
            [kit],
        )
        with refused(PROTOCOL), connection.transaction():  # the victim was not told
            byhand.append(OTHER_NURSE, [event], connection=connection, **more)
        connection.execute("UPDATE custody.kit SET expires_at = '2020-01-01' WHERE number = %s", [kit])
        with refused(CHECK), connection.transaction():  # a request of the police waits for an answer
            byhand.append(OTHER_NURSE, [event], connection=connection, **more)
        connection.execute("UPDATE custody.organisation SET unanswered_requests = 0")
        with refused(BYTES), connection.transaction():  # and nobody has approved
            byhand.append(OTHER_NURSE, [event], connection=connection, **more)
        del more["proposal"]
        with refused(BYTES), connection.transaction():  # nor signed but one person
            byhand.append(CUSTODIAN_2, [event], connection=connection, **more)


# --- records of reads ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"number": "absent"},
        {"number": 7},
        {"type": "victim.visited"},
        {"type": "absent"},
        {"previous": "00" * 32},
        {"recorded_at": "absent"},
        {"recorded_at": "2096-01-01T00:00:00.000000Z"},
        {"salt": "absent"},
        {"who": "absent"},
        {"kit": "absent"},
        {"purpose": "absent"},
        {"format": "absent"},
        {"subject": "custody:x"},
    ],
    ids=str,
)
def test_a_record_of_a_read_that_does_not_follow_its_trail_is_refused(
    byhand: ByHand, evidence: Evidence, change: dict[str, Any]
) -> None:
    subject = f"reads:{NURSE_2.person}"
    read = Fact(
        type="access.recorded",
        subject=subject,
        who=NURSE_2.who(),
        fields={"read": "kit_read", "purpose": "care", "kit": evidence.unreported},
    )
    event = byhand.event(read, **change)
    with refused(BYTES):
        byhand.of().execute(
            "SELECT custody.record_access(%s, %s, %s)",
            [byhand.head(subject).number, event.bytes, evidence.unreported],
        )


def test_a_time_far_from_the_clocks_is_refused_even_in_a_slow_transaction(
    byhand: ByHand, evidence: Evidence
) -> None:
    event, documents = follow(byhand, evidence.unreported, checked(evidence.unreported))
    connection = byhand.of("superuser")
    connection.execute("UPDATE testing.clock_offset SET amount = amount + %s", [timedelta(minutes=6)])
    try:
        with refused(BYTES):
            byhand.append(NURSE, [event], documents=documents)
    finally:
        connection.execute("UPDATE testing.clock_offset SET amount = '0'")
