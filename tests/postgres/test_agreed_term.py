"""What the database itself refuses about terms, notices and cards; and what waits in the outbox."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from custody.event import write_moment
from custody.kit import to_document
from custody.people import CLOCK, Actor, Function
from retention.period import Period
from retention.policy import Policy, dump
from tests.conftest import Database, Engines
from tests.custody.byhand import ByHand, refused
from tests.custody.story import (
    COORDINATOR,
    CUSTODIAN,
    NURSE,
    OTHER_NURSE,
    begin,
)
from tests.postgres.forging import BYTES, PROTOCOL
from tests.postgres.hand import BELGIUM, DAY, Advance, Hand, agreed_anew, noticed
from tests.retention.kept import POLICY, adopt, kept
from tests.retention.reckoning import sourced

pytestmark = pytest.mark.anyio


@pytest.fixture
async def hand(database: Database, engines: Engines, advance: Advance) -> AsyncIterator[Hand]:
    story = await begin(engines.service, engines.clerk)
    await adopt(story)
    number = await kept(story)
    with ByHand(database) as byhand:
        yield Hand(byhand, story, number, advance)


# --- terms ---------------------------------------------------------------------------------------


async def test_no_term_is_agreed_that_is_shorter_than_the_policy_or_under_none_that_was_adopted(
    hand: Hand,
) -> None:
    day = (hand.db.now() + 110 * DAY).date().isoformat()
    term = {"start": day, "end": day, "notice_on": day, "over_at": hand.at(178)}
    for policy, over_at in ((BELGIUM, hand.at(170)), ({"id": "belgium", "version": 7}, hand.at(400))):
        with refused(PROTOCOL):
            agreed_anew(hand, {"age_class": "adult", "policy": policy, "term": {**term, "over_at": over_at}})
    agreed_anew(hand, {"age_class": "adult", "policy": BELGIUM, "term": {**term, "over_at": hand.at(183)}})
    with refused(PROTOCOL):  # a minor's is fifty years
        agreed_anew(
            hand, {"age_class": "minor", "policy": BELGIUM, "term": {**term, "over_at": hand.at(183)}}
        )


async def test_a_term_is_agreed_for_an_examination_that_was_and_leaves_the_notice_period(hand: Hand) -> None:
    later = dump([replace(POLICY, version=2, valid_from=date(2090, 1, 1))])
    await adopt(hand.story, later, version=2)
    day = hand.db.now().date().isoformat()
    term = {"start": day, "end": day, "notice_on": day}
    minor: dict[str, Any] = {"age_class": "minor", "policy": BELGIUM}
    adult = {**minor, "age_class": "adult"}
    long_ago, to_come, distant = "2019-06-01", hand.at(3)[:10], hand.at(365.25 * 80)
    for agreed, over_at, examined_on in (
        (adult, hand.at(57), long_ago),  # its six months are over, and nobody could be told of it
        (minor, distant, "1970-01-01"),  # before the policy
        (minor, distant, to_come),
        ({**minor, "policy": {"id": "belgium", "version": 2}}, distant, day),  # not valid yet
    ):
        with refused(PROTOCOL):
            agreed_anew(hand, {**agreed, "term": {**term, "over_at": over_at}}, examined_on)
    agreed_anew(hand, {**adult, "term": {**term, "over_at": hand.at(60)}}, long_ago)
    agreed_anew(hand, {**minor, "term": {**term, "over_at": distant}}, hand.at(-1)[:10])


async def test_no_notice_falls_due_so_late_that_the_notice_period_is_not_left(hand: Hand) -> None:
    said: dict[str, Any] = {"how": "in_person", "policy": BELGIUM}
    term: dict[str, Any] = {"start": "2026-01-01", "end": hand.at(400)[:10], "over_at": hand.at(401)}
    for days in (400, 350, 344):
        with refused(PROTOCOL):
            hand.one("term.extended", **said, term={**term, "notice_on": hand.at(days)[:10]})
    hand.one("term.extended", **said, term={**term, "notice_on": hand.at(340)[:10]})


async def test_a_corrected_age_that_shortens_the_term_leaves_the_notice_period(hand: Hand) -> None:
    minor = Hand(hand.db, hand.story, await kept(hand.story, "minor"), hand.advance)
    term = {"start": "2026-01-01", "end": "2026-02-01", "notice_on": "2026-01-01"}
    said: dict[str, Any] = {"age_class": "adult", "policy": BELGIUM, "reason": "an error"}
    with refused(PROTOCOL):  # the six months of an adult are not over
        minor.two("term.corrected", **said, term={**term, "over_at": hand.at(100)})
    hand.advance(200 * DAY)
    with refused(PROTOCOL):
        minor.two("term.corrected", **said, term={**term, "over_at": hand.at(57)})
    minor.two("term.corrected", **said, term={**term, "over_at": hand.at(60)})


async def test_a_term_moves_to_a_later_end_under_a_later_version_of_its_policy_alone(hand: Hand) -> None:
    version_2 = replace(POLICY, version=2)
    weaker = replace(POLICY, version=3, cooling_off=replace(POLICY.cooling_off, period=Period(days=3)))
    for policy in (version_2, weaker):
        await adopt(hand.story, dump([policy]), version=policy.version)
    term = hand.kit.term
    assert term is not None
    told = {"start": "2026-01-01", "end": "2026-02-01", "notice_on": "2026-01-01"}
    said: dict[str, Any] = {"how": "by_law", "reason": "a later policy"}
    earlier, later = ({**told, "over_at": write_moment(term.over_at + n * DAY)} for n in (-1, 1))
    second = {"id": "belgium", "version": 2}
    with refused(PROTOCOL):
        hand.forged("term.moved", COORDINATOR, **said, policy=second, term=earlier)
    for other in (
        {"id": "belgium", "version": 4},  # nobody adopted it
        {"id": "belgium", "version": 3},  # a destruction would take effect after three days
        {"id": "be", "version": 1},  # another one
        BELGIUM,  # the one that it keeps
    ):
        with refused(PROTOCOL):
            hand.forged("term.moved", COORDINATOR, **said, policy=other, term=later)
    hand.one("term.moved", COORDINATOR, **said, policy=second, term=later)
    with refused(PROTOCOL):  # and never back
        hand.forged("term.extended", how="in_person", policy=BELGIUM, term=later)
    hand.one("term.extended", how="in_person", policy=second, term=later)


def told_less(version: int, **change: Any) -> Policy:
    """A later version in which one thing protects less."""
    made = replace(POLICY, version=version, grace=sourced("P3M"))
    return replace(made, **change)


async def test_no_term_moves_to_a_version_under_which_anything_that_protects_is_less(hand: Hand) -> None:
    """The kit of an adult, found to be a minor a year later, was kept for seven months."""
    versions = [
        told_less(2),
        told_less(3, minor=sourced("P7M"), adult=sourced("P7M")),
        told_less(4, grace=None),
        told_less(5, grace=sourced("P1M")),
        told_less(6, contest=sourced("P1D")),
        told_less(7, contact=replace(POLICY.contact, answer=False)),
        told_less(8, notice=sourced("P59D")),
        told_less(9, adult=sourced("P1Y")),
    ]
    for policy in versions:
        await adopt(hand.story, dump([policy]), version=policy.version)
    said: dict[str, Any] = {"how": "by_law", "reason": "a later policy"}
    term = {"start": "2026-01-01", "end": "2026-02-01", "notice_on": "2026-01-01"}
    hand.one(
        "term.moved",
        COORDINATOR,
        **said,
        policy={"id": "belgium", "version": 2},
        term={**term, "over_at": hand.at(190)},
    )
    later = {**term, "over_at": hand.at(500)}
    for version in range(3, 9):
        with refused(PROTOCOL):
            hand.forged(
                "term.moved", COORDINATOR, **said, policy={"id": "belgium", "version": version}, term=later
            )
    hand.one("term.moved", COORDINATOR, **said, policy={"id": "belgium", "version": 9}, term=later)


async def test_no_notice_is_settled_before_the_grace_is_over(hand: Hand) -> None:
    graced = replace(POLICY, version=2, grace=sourced("P1M"), contact=replace(POLICY.contact, answer=False))
    await adopt(hand.story, dump([graced]), version=2)
    kit = Hand(hand.db, hand.story, await kept(hand.story, policies=(graced,)), hand.advance)
    noticed(kit)
    for days in (62, 88):
        with refused(PROTOCOL):
            kit.one("notice.attempted", CLOCK, how="not_wanted", until=kit.at(days))
    kit.one("notice.attempted", CLOCK, how="not_wanted", until=kit.at(93))


async def test_no_term_moves_where_the_victim_wishes_the_evidence_destroyed(hand: Hand) -> None:
    await adopt(hand.story, dump([replace(POLICY, version=2, adult=sourced("P1Y"))]), version=2)
    term = {"start": "2026-01-01", "end": "2026-02-01", "notice_on": "2026-01-01", "over_at": hand.at(400)}
    said: dict[str, Any] = {
        "how": "by_law",
        "reason": "a later policy",
        "policy": {"id": "belgium", "version": 2},
    }

    def move(forged: bool = True) -> None:
        (hand.forged if forged else hand.one)("term.moved", COORDINATOR, **said, term=term)

    hand.one("destruction.requested", how="in_person")
    with refused(PROTOCOL):
        move()
    hand.one("destruction.taken_back", how="in_person")
    hand.one("destruction.requested", how="in_person")
    hand.two("destruction.confirmed", until=hand.at(30))
    with refused(PROTOCOL):
        move()
    hand.advance(31 * DAY)
    ended = {**term, "over_at": hand.at(0)}
    hand.one("destruction.cooled_off", CLOCK, term=ended)
    with refused(PROTOCOL):
        move()
    extended = {**term, "over_at": hand.at(300)}
    hand.one("term.extended", how="in_person", policy=BELGIUM, term=extended)
    move(forged=False)


# --- early destruction -------------------------------------------------------------------------------


async def test_no_cooling_off_is_shorter_than_the_policy_says(hand: Hand) -> None:
    hand.one("destruction.requested", how="in_person")
    with refused(PROTOCOL):
        hand.two("destruction.confirmed", until=hand.at(27))
    hand.two("destruction.confirmed", until=hand.at(30))


async def test_nothing_is_destroyed_early_that_nobody_asked_for_or_while_it_is_held(hand: Hand) -> None:
    with refused(PROTOCOL):
        hand.two("destruction.confirmed", until=hand.at(30))
    hand.one("destruction.requested", how="in_person")
    hand.one("destruction.taken_back", how="in_person")
    with refused(PROTOCOL):
        hand.two("destruction.confirmed", until=hand.at(30))
    hand.one("destruction.requested", how="in_person")
    hold: dict[str, Any] = {"id": "ab" * 16, "ground": "safety"}
    hand.one("hold.placed", hold={**hold, "review_on": "2027-01-01"})
    with refused(PROTOCOL):
        hand.two("destruction.confirmed", until=hand.at(30))
    hand.two("hold.lifted", hold=hold, reason="over")
    hand.two("destruction.confirmed", until=hand.at(30))
    with refused(PROTOCOL):  # confirmed once
        hand.two("destruction.confirmed", until=hand.at(30))
    hand.one("hold.placed", hold={**hold, "review_on": "2027-01-01"})
    hand.advance(31 * DAY)
    day = hand.db.now().date().isoformat()
    ended: dict[str, Any] = {"start": day, "end": day, "notice_on": day, "over_at": hand.at(0)}
    with refused(PROTOCOL):
        hand.one("destruction.cooled_off", CLOCK, term=ended)
    hand.two("hold.lifted", hold=hold, reason="over")
    hand.one("destruction.cooled_off", CLOCK, term=ended)


async def test_evidence_of_a_minor_is_not_destroyed_early_until_two_staff_saw_that_they_came_of_age(
    hand: Hand,
) -> None:
    number = await kept(hand.story, "minor")
    minor = Hand(hand.db, hand.story, number, hand.advance)
    minor.one("destruction.requested", how="in_person")
    with refused(PROTOCOL):
        minor.two("destruction.confirmed", until=minor.at(30))
    with refused(PROTOCOL):  # one person alone
        minor.forged("majority.confirmed", how="in_person")
    minor.two("majority.confirmed", how="in_person")
    minor.two("destruction.confirmed", until=minor.at(30))
    assert minor.kit.of_age_at is not None


async def test_who_asked_for_the_destruction_needs_no_notice_of_it(hand: Hand) -> None:
    hand.one("destruction.requested", how="in_person")
    hand.two("destruction.confirmed", until=hand.at(30))
    hand.advance(31 * DAY)
    day = hand.db.now().date().isoformat()
    term = {"start": day, "end": day, "notice_on": day, "over_at": hand.at(0)}
    hand.one("destruction.cooled_off", CLOCK, term=term)
    assert hand.column("retention") == "expired"
    assert hand.column("expires_at") == hand.column("term_over_at")


# --- notices ------------------------------------------------------------------------------------


async def test_no_term_expires_before_somebody_was_told_and_the_notice_period_is_over(hand: Hand) -> None:
    noticed(hand)
    term = hand.kit.term
    assert term is not None
    hand.until(term.over_at)
    with refused(PROTOCOL):
        hand.forged("term.expired", CLOCK)
    for until in (hand.at(-1), hand.at(57)):
        with refused(PROTOCOL):
            hand.forged("notice.attempted", how="reached", until=until)
    hand.one("notice.attempted", how="reached", channel="phone", until=hand.at(60))
    with refused(PROTOCOL):
        hand.forged("term.expired", CLOCK)
    hand.until(hand.kit.expires_at)
    hand.one("term.expired", CLOCK)
    assert hand.column("retention") == "expired"


async def test_a_settled_notice_is_forgotten_when_the_term_runs_again(hand: Hand) -> None:
    noticed(hand, remind_on="2027-01-01")
    hand.one("notice.attempted", how="reached", until=hand.at(70))
    assert hand.column("expires_at") is not None
    assert hand.column("remind_on") is not None
    term = {"start": "2026-01-01", "end": "2028-02-01", "notice_on": "2028-01-01"}
    hand.one("term.extended", how="by_phone", policy=BELGIUM, term={**term, "over_at": hand.at(500)})
    assert (hand.column("expires_at"), hand.column("remind_on")) == (None, None)
    assert (hand.kit.attempts, hand.kit.extensions) == ((), 1)


async def test_each_writer_has_words_of_its_own_for_an_attempt(hand: Hand) -> None:
    noticed(hand)
    for how in ("sent", "failed", "in_person"):
        with refused(PROTOCOL):
            hand.forged("notice.attempted", how=how)
    for how in ("reached", "posted", "unreachable"):
        with refused(PROTOCOL):
            hand.forged("notice.attempted", CLOCK, how=how)
    with refused(BYTES):  # and neither writes in the other's name
        hand.db.write(
            NURSE, hand.fact("notice.attempted", CLOCK, {"how": "not_wanted"}), to_document(hand.kit)
        )
    card = Actor(function=Function.VICTIM, card=hand.number)
    with refused(BYTES):
        hand.forged("notice.attempted", card, how="reached")


async def test_no_disposal_is_approved_while_what_was_sent_came_back(hand: Hand) -> None:
    due = noticed(hand, channel="email")
    hand.one("notice.attempted", CLOCK, how="sent", channel="email", until=hand.at(61), cites=[due])
    hand.until(hand.kit.expires_at)
    hand.one("term.expired", CLOCK)
    hand.one("disposal.proposed", CUSTODIAN, packages=[{"package": 1}])
    hand.one("notice.attempted", CLOCK, how="bounced", channel="email", cites=[due])
    assert hand.column("expires_at") is None
    with refused(PROTOCOL):
        hand.forged("disposal.approved", COORDINATOR)
    hand.one("notice.attempted", how="reached", until=hand.at(60))
    with refused(PROTOCOL):
        hand.forged("disposal.approved", COORDINATOR)
    hand.until(hand.kit.expires_at)
    hand.one("disposal.approved", COORDINATOR)


# --- the outbox -----------------------------------------------------------------------------------


async def test_what_is_to_be_sent_waits_from_the_same_transaction_until_the_clock_answers_it(
    hand: Hand,
) -> None:
    due = noticed(hand, channel="email")
    assert hand.outbox() == [(due, "email", 0, False, None)]
    hand.one("notice.attempted", CLOCK, how="tried", channel="email", cites=[due])
    assert hand.outbox() == [(due, "email", 0, False, None)]
    hand.one("notice.attempted", CLOCK, how="sent", channel="email", until=hand.at(61), cites=[due])
    assert hand.outbox() == [(due, "email", 0, True, "sent")]
    for how in ("sent", "failed", "tried"):  # answered once
        with refused(PROTOCOL):
            hand.forged("notice.attempted", CLOCK, how=how, cites=[due])
    hand.one("notice.queued", channel="email")
    queued = hand.kit.choices_head.digest
    hand.one("notice.repeated", CLOCK, channel="email")
    with refused(PROTOCOL):  # of another event than the one that had it sent
        hand.forged("notice.attempted", CLOCK, how="sent", cites=["ab" * 32])
    hand.one("notice.attempted", CLOCK, how="failed", channel="email", cites=[queued])
    assert {(row[0] == queued, row[4]) for row in hand.outbox()[1:]} == {(True, "failed"), (False, None)}
    assert hand.column("expires_at") is None


async def test_the_service_sends_over_the_agreed_channel_alone(hand: Hand) -> None:
    noticed(hand)
    for channel in ("sms", "phone", "none"):  # by e-mail, the victim said
        with refused(PROTOCOL):
            hand.forged("notice.queued", channel=channel)
    hand.two("channel.changed", channel="phone", language="fr", how="in_person")
    with refused(PROTOCOL):
        hand.forged("notice.queued", channel="phone")
    with refused(PROTOCOL):
        hand.forged("notice.queued", channel="email")
    assert hand.outbox() == []


async def test_what_still_waits_falls_when_the_term_runs_again_or_a_report_stops_it(hand: Hand) -> None:
    due = noticed(hand, channel="email")
    hand.one("report.declared", how="by_phone", decided_by="victim")
    assert hand.outbox() == [(due, "email", 0, True, "overtaken")]


async def test_a_second_agreement_brings_no_other_channel(hand: Hand) -> None:
    said: dict[str, Any] = {
        "documents": [{"kind": "agreement_form", "digest": "ab" * 32}],
        "decided_by": "victim",
    }
    with refused(PROTOCOL):
        hand.forged("agreement.recorded", **said, language="nl", channel="sms")
    with refused(PROTOCOL):  # nor does one person
        hand.forged("channel.changed", channel="sms", language="nl", how="in_person")


async def test_the_outbox_is_seen_where_the_kit_is_and_the_clerk_alone_moves_it_on(hand: Hand) -> None:
    noticed(hand, channel="email")
    service = hand.db.of("service")
    for actor, seen in ((NURSE, 1), (OTHER_NURSE, 0), (Actor(function=Function.VICTIM, card=hand.number), 0)):
        with service.transaction():
            context = {k: v for k, v in actor.context().items() if v}
            for name, value in context.items():
                service.execute("SELECT set_config(%s, %s, true)", [f"custody.{name}", value])
            (count,) = service.execute("SELECT count(*) FROM retention.outbox").fetchone() or (None,)
            assert count == seen, actor
    clerk = hand.db.of("clerk")
    clerk.execute("UPDATE retention.outbox SET attempts = 1, claimed_until = now(), next_at = now()")
    for forbidden in (
        "UPDATE retention.outbox SET done_at = now(), outcome = 'sent'",
        "DELETE FROM retention.outbox",
        "INSERT INTO retention.outbox SELECT * FROM retention.outbox",
    ):
        with refused("42501"):
            clerk.execute(forbidden)


# --- holds, cards, nothing left -----------------------------------------------------------------------


async def test_only_a_hold_that_stands_is_reviewed(hand: Hand) -> None:
    hold = {"id": "ab" * 16, "ground": "centre", "review_on": "2027-01-01"}
    with refused(PROTOCOL):
        hand.forged("hold.reviewed", COORDINATOR, hold=hold, reason="none stands")
    hand.one("hold.placed", hold=hold)
    hand.one("hold.reviewed", COORDINATOR, hold={**hold, "review_on": "2027-06-01"}, reason="still needed")
    assert hand.column("holds") == 1
    assert str(hand.kit.holds["ab" * 16].review_on) == "2027-06-01"


async def test_a_card_is_renewed_by_two_people_and_never_without_the_new_one(hand: Hand) -> None:
    code = hashlib.sha256(b"another code").hexdigest()
    card = {"kit": hand.number, "code_hash": code, "secret_hash": "none"}
    with refused(BYTES):
        hand.two("card.renewed", how="in_person")
    with refused(BYTES):
        hand.two("majority.confirmed", how="in_person", cards=[card])
    hand.two("card.renewed", how="in_person", cards=[card])
    rows = hand.db.of("superuser").execute(
        "SELECT encode(code_hash, 'hex') FROM custody.card WHERE kit = %s AND stopped_at IS NULL",
        [hand.number],
    )
    assert rows.fetchall() == [(code,)]


async def test_a_kit_is_closed_without_a_disposal_only_when_nothing_of_it_is_left_or_looked_for(
    hand: Hand,
) -> None:
    noticed(hand)
    hand.one("notice.attempted", how="posted", until=hand.at(62))
    hand.until(hand.kit.expires_at)
    hand.one("term.expired", CLOCK)
    three = [{"package": n} for n in (1, 2, 3)]
    for package in three[:2]:
        hand.two("package.returned", trail="custody", packages=[package])
    with refused(PROTOCOL):  # the third lies there
        hand.two("disposal.nothing_left", reason="nothing is left")
    hand.one("package.lost", trail="custody", packages=[three[2]], reason="not in its place")
    with refused(PROTOCOL):  # and now it is looked for
        hand.two("disposal.nothing_left", reason="nothing is left")
    hand.two("search.ended", trail="custody", packages=[three[2]], reason="looked for everywhere")
    hand.one("package.found", trail="custody", packages=[three[2]])
    hand.one("package.lost", trail="custody", packages=[three[2]], reason="lost again")
    with refused(PROTOCOL):  # that search was another one
        hand.two("disposal.nothing_left", reason="nothing is left")
    hand.two("search.ended", trail="custody", packages=[three[2]], reason="looked for everywhere")
    hand.two("disposal.nothing_left", reason="nothing is left")
    assert hand.column("retention") == "disposed"
    assert hand.column("disposed_at") is not None
