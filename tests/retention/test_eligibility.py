"""What must be so before a disposal: each condition by itself, with what bears it out."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custody.commands import ProposeDisposal
from custody.event import Event, Fact, Head, place_in_trail
from custody.kit import Finding, Handover, Hold, Holder, Kit, Match, Order
from custody.people import CLOCK
from custody.prosecution import choice
from custody.protocol import Custody, Legal, Retention
from custody.refusal import Refused
from retention.disposal import propose
from retention.eligibility import RequestSeen, eligibility
from tests.custody.story import COORDINATOR, CUSTODIAN, NURSE
from tests.retention.kept import DAY, expired, noticed, without


def unmet(kit: Kit, at: datetime, *requests: RequestSeen) -> list[str]:
    return [c.name for c in eligibility(kit, at, requests) if not c.met]


def test_of_an_expired_kit_that_nothing_protects_every_line_is_met_and_is_a_sentence() -> None:
    kit, at = expired()

    conditions = eligibility(kit, at)

    assert unmet(kit, at) == []
    assert all(c.told.endswith(".") and "{" not in c.told for c in conditions)
    assert [c.name for c in conditions][:4] == ["report", "order", "hold", "term"]


def hold() -> dict[str, Hold]:
    return {"ab" * 16: Hold(id="ab" * 16, ground="centre")}


def open_offer() -> dict[str, Handover]:
    at = expired()[1]
    somebody = Holder(name="Nora Nachtwacht")
    given_ = Handover(
        id="cd" * 16, packages=(1,), giver=somebody, receiver=somebody, offered_at=at, due_at=at + DAY
    )
    return {given_.id: given_}


@pytest.mark.parametrize(
    ("line", "change"),
    [
        ("report", {"legal": Legal.DECLARED}),
        ("report", {"legal": Legal.LINKED}),
        ("order", {"order": Order(digest="00" * 32, authority="Judge", dated=date(2026, 1, 20))}),
        ("hold", {"holds": hold()}),
        ("handover", {"handovers": open_offer()}),
        ("packages", {"packages": {}}),
    ],
)
def test_each_thing_that_protects_a_kit_is_a_line_of_its_own(line: str, change: dict[str, Any]) -> None:
    kit, at = expired()

    assert unmet(without(kit, **change), at) == [line]


def test_a_term_that_runs_and_a_notice_that_nobody_settled_are_lines_too() -> None:
    kit, at = expired()

    assert unmet(kit, at - timedelta(days=400)) == ["term", "grace"]
    assert unmet(noticed()[0], at) == ["term"]
    assert unmet(without(kit, expires_at=None), at) == ["notice", "grace"], "the notice came back"
    told_again = without(kit, expires_at=at + DAY)
    assert unmet(told_again, at) == ["grace"], "the notice came back, and somebody was told since"
    (grace,) = (c for c in eligibility(told_again, at) if not c.met)
    assert grace.values == {"until": at + DAY}
    assert str(at + DAY) in grace.told
    with pytest.raises(Refused, match=rf"has time until {at + DAY:%Y-%m-%d %H:%M} UTC"):
        propose(told_again, ProposeDisposal(kit=kit.number), CUSTODIAN, at)


def test_a_package_elsewhere_open_or_lost_stops_it_and_one_that_nobody_looks_for_does_not() -> None:
    kit, at = expired()

    def with_first(**change: Any) -> Kit:
        return without(kit, packages={**kit.packages, 1: replace(kit.packages[1], **change)})

    lab = Holder(name="Ana Lyse", organisation="lab-zevenster")
    assert unmet(with_first(state=Custody.OPENED), at) == ["opened"]
    assert unmet(with_first(state=Custody.LOST), at) == ["packages"]
    assert unmet(with_first(holder=lab), at) == ["packages"]
    given_up = with_first(state=Custody.LOST, search_ended=True)
    assert unmet(given_up, at) == []
    assert [p.package for p in given_up.remaining] == [2, 3]
    assert "stays lost" in " ".join(c.told for c in eligibility(given_up, at))
    gone = replace(kit.packages[1], state=Custody.LOST, search_ended=True)
    (nothing,) = [c for c in eligibility(without(kit, packages={1: gone}), at) if not c.met]
    assert nothing.told == "Nothing of this kit is left to destroy. Two people close it, with the reason."


def test_an_item_that_was_not_found_and_belongings_are_said_and_stop_nothing() -> None:
    kit, at = expired()
    items = {number: replace(item, group="sample", missing=number == 2) for number, item in kit.items.items()}
    gone = Finding(type="item.found_missing", at=at - 3 * DAY, items=(2,), number=9)
    found = without(kit, items={**items, 3: replace(items[3], group="belongings")}, findings=(gone,))

    told = {c.name: c for c in eligibility(found, at)}

    assert unmet(found, at) == []
    assert told["not_found"].told.startswith(f"Item 2 was not found on {at - 3 * DAY:%Y-%m-%d}")
    assert told["belongings"].told.startswith("Item 3 is the victim's own: belongings can be returned first")
    both = {n: replace(items[n], group="belongings") for n in (1, 3)}
    told = {c.name: c for c in eligibility(without(kit, items={**items, **both}), at)}
    assert told["belongings"].told.startswith("Items 1, 3 are the victim's own: belongings can be returned")
    assert {"not_found", "belongings"}.isdisjoint(
        c.name for c in eligibility(without(kit, items={1: items[1]}), at)
    )


def in_trail(facts: Sequence[Fact], at: datetime) -> list[Event]:
    """The facts as events, one after the other, all at one instant."""
    events: list[Event] = []
    for fact in facts:
        head = Head(number=events[-1].number, digest=events[-1].digest) if events else Head()
        events.append(place_in_trail(fact, head, at, b"\0" * 16))
    return events


def test_what_the_victim_asked_for_needs_no_notice() -> None:
    kit, at = expired()
    early = without(kit, notice_due_at=None)

    assert unmet(early, at) == []
    assert "The victim asked for the destruction" in " ".join(c.told for c in eligibility(early, at))


def test_a_wish_is_borne_out_by_the_asking_the_confirmation_of_two_and_the_cooling_off() -> None:
    kit, at = expired()
    signed = {"with": [NURSE.signs("second")]}
    early = without(kit, notice_due_at=None)
    facts = [
        choice(kit, "destruction.requested", NURSE, how="in_person"),
        choice(kit, "destruction.confirmed", COORDINATOR, **signed),
        choice(kit, "destruction.cooled_off", CLOCK),
    ]
    found = {c.name: c.evidence for c in eligibility(early, at, (), in_trail(facts, at))}
    assert [e.type for e in found["notice"]] == [fact.type for fact in facts]
    assert found["notice"][1].by == (COORDINATOR.name, NURSE.name)


def test_the_events_that_bear_a_condition_out_are_named_with_their_digest() -> None:
    kit, at = expired()
    events = in_trail([choice(kit, "notice.due", CLOCK), choice(kit, "term.expired", CLOCK)], at)

    found = {c.name: c.evidence for c in eligibility(kit, at, (), events)}

    assert [(e.type, e.digest, e.trail) for e in found["term"]] == [
        ("term.expired", events[1].digest, "choices")
    ]
    assert [e.type for e in found["notice"]] == ["notice.due"]


# --- requests of the police ------------------------------------------------------------------------------


def asked(of: Kit, **more: Any) -> RequestSeen:
    """A request nine days after the examination, answered the day after."""
    at = datetime.combine(of.examined_on + timedelta(days=9), of.registered_at.timetz())
    answered = RequestSeen(
        id="ab" * 16,
        zone="Zone Morgenland",
        received_at=at,
        how="no_match",
        answered_at=at + DAY,
        by=("Nora Nachtwacht", "Nils Nevel"),
    )
    return replace(answered, **more)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({}, "has no match here: Nora Nachtwacht & Nils Nevel looked and said so on"),
        (
            {"examined_on": date(2020, 2, 2)},
            "named an examination on 2020-02-02, another day than this kit's",
        ),
        ({"kit": "7M4P9XQ3RT6C"}, "named another kit; answered by Nora Nachtwacht"),
        ({"how": "match"}, "matched another kit; answered by Nora Nachtwacht"),
    ],
)
def test_an_answered_request_says_why_it_is_not_this_kit(more: dict[str, Any], says: str) -> None:
    kit, at = expired()

    (line,) = [c for c in eligibility(kit, at, [asked(kit, **more)]) if c.name == "request"]

    assert line.met
    assert says in line.told
    assert "7M4P9XQ3RT6C" not in line.told, "another kit is never named"


def test_a_request_that_waits_blocks_and_one_of_before_the_examination_is_not_listed() -> None:
    kit, at = expired()
    waiting = asked(kit, how=None, answered_at=None, by=())
    long_ago = kit.registered_at - timedelta(days=90)

    assert unmet(kit, at, waiting) == ["request"]
    assert unmet(kit, at, replace(waiting, received_at=long_ago)) == ["request"]
    before = eligibility(kit, at, [asked(kit, received_at=long_ago)])
    assert before[-1].told == "No request of the police named this centre since the examination."


def test_a_request_that_was_this_kits_is_never_said_to_be_another_ones() -> None:
    kit, at = expired()
    mine = asked(kit, how="match")
    matched = without(kit, matches=(Match(request=mine.id, by=("nora", "nils")),))
    fact = replace(
        choice(kit, "match.confirmed", COORDINATOR, request=mine.id), subject=f"custody:{kit.number}"
    )
    before = place_in_trail(fact, kit.custody_head, at, b"\0" * 16)

    assert unmet(matched, at, mine) == ["request"]
    (line,) = [c for c in eligibility(kit, at, [mine], [before]) if c.name == "request"]
    assert line.met
    assert "was matched with this kit" in line.told
    assert "no longer stands" in line.told


PROTECTS: dict[str, dict[str, Any]] = {
    "report": {"legal": Legal.DECLARED},
    "order": {"order": Order(digest="00" * 32, authority="Judge", dated=date(2026, 1, 20))},
    "hold": {"holds": hold()},
    "handover": {"handovers": open_offer()},
    "term": {"retention": Retention.NOTICE_DUE},
    "packages": {"packages": {}},
}


@given(st.sets(st.sampled_from(sorted(PROTECTS))), st.integers(0, 3))
def test_whatever_protects_a_kit_in_whatever_company_is_named_and_nothing_else(
    protects: set[str], waiting: int
) -> None:
    kit, at = expired()
    for each in protects:
        kit = without(kit, **PROTECTS[each])
    requests = [asked(kit, id=f"{n:032x}", how=None, answered_at=None, by=()) for n in range(waiting)]

    assert set(unmet(kit, at, *requests)) == protects | ({"request"} if waiting else set())
