"""Under which policy a kit stands: what the database refuses, whatever the projection beside it says."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from custody.event import Fact
from custody.people import CLOCK, Actor
from tests.conftest import Database, Engines
from tests.custody.byhand import ByHand, refused
from tests.custody.story import (
    ANALYST,
    COORDINATOR,
    CUSTODIAN,
    MAGISTRATE,
    NURSE,
    NURSE_2,
    OFFICER,
    OTHER_CENTRE,
    begin,
)
from tests.postgres.forging import BYTES, PROTOCOL, checked, follow
from tests.postgres.hand import BELGIUM, DAY, Advance, Hand, agreed_anew, noticed
from tests.retention.kept import SEED, adopt, destroyed, kept, kept_until_approved

pytestmark = pytest.mark.anyio

SHORT = {"id": "short", "version": 1}  # of another centre: everything takes a day
STORIES = {"id": "be", "version": 1}  # for everybody, and everything takes a day
HOLD = "ab" * 16


def told(**change: Any) -> bytes:
    """Belgium's policy, put differently."""
    document = json.loads(SEED.read_bytes())
    document["policies"][0] |= change
    return json.dumps(document).encode()


def twice(one: bytes, other: bytes) -> bytes:
    """One file with the entries of both."""
    policies = [*json.loads(one)["policies"], *json.loads(other)["policies"]]
    return json.dumps({"format": 1, "policies": policies}).encode()


def short() -> bytes:
    day = {"period": "P1D", "source": "Invented for this test.", "confirmed": False}
    kept_for = dict.fromkeys(("adult", "minor", "unknown"), day)
    return told(id="short", centre=OTHER_CENTRE, kept=kept_for, notice=day, cooling_off=day, contest=day)


def adoption(document: bytes, named: dict[str, Any], by: Actor, second: Actor) -> Fact:
    """These two adopt this document under this name."""
    return Fact(
        type="policy.adopted",
        subject=f"policy:{named['id']}",
        who=by.who(),
        fields={
            "policy": named,
            "digest": hashlib.sha256(document).hexdigest(),
            "with": [second.signs("second")],
        },
    )


def adopted(
    byhand: ByHand,
    document: bytes,
    named: dict[str, Any],
    *,
    signed: bool = False,
    by: Actor = COORDINATOR,
    second: Actor = NURSE_2,
) -> None:
    """By one person who names another, or by both; Coraline and Nils unless others are named."""
    event = byhand.event(adoption(document, named, by, second))
    extra: dict[str, Any] = {"policy": base64.b64encode(document).decode()}
    if signed:
        extra["proposal"] = byhand.propose(by, None)
    byhand.append(second if signed else by, [event], documents={}, **extra)


@pytest.fixture
async def hand(database: Database, engines: Engines, advance: Advance) -> AsyncIterator[Hand]:
    story = await begin(engines.service, engines.clerk)
    await adopt(story)
    with ByHand(database) as byhand:
        adopted(byhand, short(), SHORT)  # there is no kit yet
        yield Hand(byhand, story, await kept(story), advance)


def term_of(hand: Hand, days: float, **change: str) -> dict[str, str]:
    day = hand.db.now().date().isoformat()
    return {"start": "2026-01-01", "end": day, "notice_on": day, "over_at": hand.at(days), **change}


def put(hand: Hand, change: Callable[[dict[str, Any]], None]) -> None:
    """A harmless event, and beside it a projection in which something else is put differently as well."""
    event, documents = follow(hand.db, hand.number, checked(hand.number))
    change(documents[hand.number])
    hand.db.append(NURSE, [event], documents=documents)


# --- the policy that a kit keeps ------------------------------------------------------------------------


@pytest.mark.parametrize("named", [SHORT, STORIES], ids=["of another centre", "another one for all"])
async def test_no_step_takes_a_kit_to_another_policy(hand: Hand, named: dict[str, Any]) -> None:
    term = term_of(hand, 400)
    with refused(PROTOCOL):
        hand.forged("term.extended", how="in_person", policy=named, term=term)
    with refused(PROTOCOL):
        hand.two("term.corrected", age_class="minor", reason="an error", policy=named, term=term)
    hand.one("report.declared", how="in_person")
    with refused(PROTOCOL):
        hand.two("report.withdrawn", how="in_person", policy=named, term=term)
    hand.two("report.withdrawn", how="in_person", policy=BELGIUM, term=term)


async def test_a_term_is_agreed_under_no_policy_of_another_centre(hand: Hand) -> None:
    with refused(PROTOCOL):
        agreed_anew(hand, {"age_class": "adult", "policy": SHORT, "term": term_of(hand, 400)})
    agreed_anew(hand, {"age_class": "adult", "policy": BELGIUM, "term": term_of(hand, 400)})


async def test_what_the_projection_says_of_the_policy_changes_no_cooling_off(hand: Hand) -> None:
    put(hand, lambda document: document.update(policy=SHORT))
    hand.one("destruction.requested", how="in_person")
    with refused(PROTOCOL):
        hand.two("destruction.confirmed", until=hand.at(2))
    hand.two("destruction.confirmed", until=hand.at(30))


async def test_of_a_short_period_a_fifth_at_most_is_left_to_how_it_is_counted(
    database: Database, engines: Engines, advance: Advance
) -> None:
    story = await begin(engines.service, engines.clerk)
    number = await story.registered()  # a cooling-off of one day
    with ByHand(database) as byhand:
        one = Hand(byhand, story, number, advance)
        one.one("destruction.requested", how="in_person")
        with refused(PROTOCOL):
            one.two("destruction.confirmed", until=one.at(0.7))
        one.two("destruction.confirmed", until=one.at(0.9))


async def test_an_age_class_is_corrected_to_another_one_and_keeps_what_that_is_kept_for(hand: Hand) -> None:
    minor = Hand(hand.db, hand.story, await kept(hand.story, "minor"), hand.advance)
    said: dict[str, Any] = {"policy": BELGIUM, "reason": "an error"}
    with refused(PROTOCOL):  # a minor stays a minor
        minor.two("term.corrected", **said, age_class="minor", term=term_of(hand, 61))
    with refused(PROTOCOL):  # even where nothing gets shorter
        minor.two("term.corrected", **said, age_class="minor", term=term_of(hand, 20_000))
    with refused(PROTOCOL):  # unknown is kept as long
        minor.two("term.corrected", **said, age_class="unknown", term=term_of(hand, 61))
    put(minor, lambda document: document.update(age_class="adult"))
    with refused(PROTOCOL):
        minor.two("term.corrected", **said, age_class="minor", term=term_of(hand, 20_000))
    put(minor, lambda document: document.update(age_class="minor"))
    minor.two("term.corrected", **said, age_class="adult", term=term_of(hand, 183))


async def test_no_notice_is_due_after_the_end_of_the_term(hand: Hand) -> None:
    said: dict[str, Any] = {"how": "in_person", "policy": BELGIUM}
    for day in ("9999-12-31", (hand.db.now() + 401 * DAY).date().isoformat()):
        with refused(PROTOCOL):
            hand.one("term.extended", **said, term=term_of(hand, 400, notice_on=day))
    hand.one("term.extended", **said, term=term_of(hand, 400))


async def test_no_key_is_destroyed_while_the_disposal_may_be_contested(
    database: Database, engines: Engines, advance: Advance
) -> None:
    story = await begin(engines.service, engines.clerk)
    await adopt(story)
    number = await kept_until_approved(story, advance)
    await destroyed(story, number)
    with ByHand(database) as byhand:
        gone = Hand(byhand, story, number, advance)

        def destroy() -> None:
            fact = gone.fact("key.destroyed", CLOCK, {"until": gone.at(30)})
            byhand.write(CLOCK, fact, destroyed_keys=[{"kit": number}])

        advance(1800 * DAY)
        with refused(PROTOCOL):  # five years, says the policy
            destroy()
        advance(40 * DAY)
        destroy()


# --- who proposed, on which ground ------------------------------------------------------------------------


async def test_what_the_projection_says_of_the_proposer_lets_nobody_approve_the_own_disposal(
    hand: Hand,
) -> None:
    noticed(hand)
    hand.one("notice.attempted", how="posted", until=hand.at(62))
    hand.until(hand.kit.expires_at)
    hand.one("term.expired", CLOCK)
    hand.one("disposal.proposed", COORDINATOR, packages=[{"package": n} for n in (1, 2, 3)])
    put(hand, lambda document: document["disposal"].update(proposed_by=CUSTODIAN.person))
    with refused(PROTOCOL):
        hand.forged("disposal.approved", COORDINATOR)


async def test_a_hold_is_lifted_on_the_ground_on_which_it_was_placed(hand: Hand) -> None:
    hand.two("hold.lifted", **placed(hand, "centre", "cd" * 16), reason="over")
    hold = placed(hand, "magistrate")
    with refused(PROTOCOL):
        hand.two("hold.lifted", hold={"id": HOLD, "ground": "centre"}, reason="over")
    with refused(PROTOCOL):
        hand.forged("hold.reviewed", COORDINATOR, hold={"id": HOLD, "ground": "centre"}, reason="stays")
    with refused(PROTOCOL):  # no order says so
        hand.two("hold.lifted", **hold, reason="over")
    put(hand, lambda document: document.update(holds={"cd" * 16: document["holds"][HOLD]}))
    with refused(PROTOCOL):  # that one was lifted, whatever stands in the projection
        hand.two("hold.lifted", hold={"id": "cd" * 16, "ground": "centre"}, reason="over")
    put(hand, lambda document: document.update(holds={HOLD: document["holds"]["cd" * 16]}))
    hand.two("hold.lifted", **hold, documents=[{"kind": "written_order", "digest": HOLD * 2}], reason="over")
    assert hand.column("holds") == 0


def placed(hand: Hand, ground: str, id_: str = HOLD) -> dict[str, Any]:
    actor = MAGISTRATE if ground == "magistrate" else NURSE
    hold = {"id": id_, "ground": ground}
    hand.one("hold.placed", actor, hold={**hold, "review_on": "2027-01-01"})
    return {"hold": hold}


async def test_nothing_is_held_by_an_order_that_nobody_entered(hand: Hand) -> None:
    order = {"digest": "ab" * 32, "authority": "Judge of Avondland", "dated": "2026-01-01"}
    with refused(PROTOCOL):
        placed(hand, "order")
    hand.one("order.entered", COORDINATOR, trail="custody", order=order)
    placed(hand, "order")
    other = placed(hand, "centre", "cd" * 16)
    with refused(PROTOCOL):  # it would end the order
        hand.two("hold.lifted", hold={**other["hold"], "ground": "order"}, reason="over")
    hand.two("hold.lifted", **other, reason="over")
    assert hand.column("holds") == 1


async def test_a_later_order_stands_until_its_own_hold_is_lifted(hand: Hand) -> None:
    revoked = [{"kind": "written_order", "digest": HOLD * 2}]
    for digest, id_ in (("ab" * 32, HOLD), ("cd" * 32, "ef" * 16)):
        order = {"digest": digest, "authority": "Judge of Avondland", "dated": "2026-01-01"}
        hand.one("order.entered", COORDINATOR, trail="custody", order=order)
        placed(hand, "order", id_)
    hand.two("hold.lifted", hold={"id": HOLD, "ground": "order"}, documents=revoked, reason="the first one")
    assert hand.kit.order is not None
    assert hand.kit.order.digest == "cd" * 32
    placed(hand, "order", "12" * 16)  # there is an order
    hand.two("hold.lifted", hold={"id": "ef" * 16, "ground": "order"}, documents=revoked, reason="the second")
    assert hand.kit.order is None
    with refused(PROTOCOL):
        placed(hand, "order", "34" * 16)


async def test_who_once_entered_an_order_has_signed_for_its_confirmation_and_for_nothing_else(
    hand: Hand,
) -> None:
    order = {"digest": "ab" * 32, "authority": "Judge of Avondland", "dated": "2026-01-01"}
    hand.one("order.entered", COORDINATOR, trail="custody", order=order)
    hand.one("destruction.requested", how="in_person")
    entered: dict[str, Any] = {"with": [COORDINATOR.signs("second")]}
    steps: list[tuple[str, dict[str, Any]]] = [
        ("destruction.confirmed", {"until": hand.at(30)}),
        ("majority.confirmed", {"how": "in_person"}),
        ("channel.changed", {"channel": "none", "language": "fr", "how": "in_person"}),
    ]
    for type_, fields in steps:
        with refused(BYTES):
            hand.one(type_, **fields, **entered)
    hold = placed(hand, "centre")
    with refused(BYTES):
        hand.one("hold.lifted", **hold, reason="over", **entered)
    hand.one("order.confirmed", trail="custody", order=order, **entered)


# --- what is adopted ---------------------------------------------------------------------------------------


async def test_one_person_adopts_no_policy_once_there_are_kits(hand: Hand) -> None:
    second = told(version=2)
    named = {"id": "belgium", "version": 2}
    with refused(BYTES):
        adopted(hand.db, second, named)
    adopted(hand.db, second, named, signed=True)


@pytest.mark.parametrize(
    ("by", "second"), [(OFFICER, ANALYST), (NURSE, NURSE_2), (COORDINATOR, OFFICER)], ids=range(3)
)
async def test_a_coordinator_adopts_a_policy_and_another_of_the_staff_signs(
    hand: Hand, by: Actor, second: Actor
) -> None:
    with refused(BYTES):
        adopted(hand.db, told(version=2), {"id": "belgium", "version": 2}, signed=True, by=by, second=second)


async def test_what_was_signed_about_a_kit_adopts_no_policy(hand: Hand) -> None:
    second = told(version=2)
    event = hand.db.event(adoption(second, {"id": "belgium", "version": 2}, COORDINATOR, NURSE_2))
    signed: dict[str, Any] = {
        "policy": base64.b64encode(second).decode(),
        "proposal": hand.db.propose(COORDINATOR, hand.number),
    }
    with refused(BYTES):
        hand.db.append(NURSE_2, [event], documents={}, **signed)
    hand.db.append(
        NURSE_2, [event], documents={}, **signed | {"proposal": hand.db.propose(COORDINATOR, None)}
    )


@pytest.mark.parametrize(
    "document",
    [
        b"garbage",
        b"{}",
        b'"\xff"',
        b'{"format": 3, "policies": []}',
        b'{"format": 1, "policies": {}}',
        told(version=3),
        told(version=2, id="another"),
        told(version=2, notice=None),
        told(version=2, contest={"period": "-P100Y"}),
        told(version=2, cooling_off={"period": "P-1D"}),
        told(version=2, kept={n: {"period": "P"} for n in ("adult", "minor", "unknown")}),
        told(version=2, extension={"period": "-P1Y"}),
        told(version=2, unlinked={"period": 7}),
        told(version=2, contest={"period": "P99999Y"}),
        told(version=2, unlinked={"period": "P1837M"}),
        told(version=2, time_zone="Mars/Base"),
        told(version=2, time_zone=None),
        twice(told(version=2), told(version=2, adopted_on="2026-01-01")),
    ],
    ids=range(18),
)
async def test_nothing_is_adopted_that_is_no_policy_with_periods(hand: Hand, document: bytes) -> None:
    with refused(BYTES):
        adopted(hand.db, document, {"id": "belgium", "version": 2}, signed=True)


async def test_every_policy_that_comes_with_the_service_can_be_adopted(hand: Hand) -> None:
    for file in sorted(SEED.parent.glob("*.json")):
        document = file.read_bytes()
        (policy,) = json.loads(document)["policies"]
        named = {"id": policy["id"], "version": policy["version"]}
        if named != BELGIUM:
            adopted(hand.db, document, named, signed=True)
