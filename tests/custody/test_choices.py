"""The choices trail folded: notices and what settles them, extensions, reviews, renewals, older trails."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custody.event import Fact, place_in_trail, write_moment
from custody.kit import Kit, Policy, from_document, to_document
from custody.people import CLOCK
from custody.protocol import STEPS, Custody, Retention, Trail
from custody.trail import NotAStep, after
from tests.custody.trails import KIT, NORA, TO_THE_STORE, trail

AGREED = datetime(2026, 5, 2, tzinfo=UTC)
OVER = datetime(2026, 10, 31, 23, tzinfo=UTC)
POLICY = {"id": "belgium", "version": 1}
DAY = timedelta(days=1)
HOLD = {"id": "ab" * 16, "ground": "centre", "review_on": "2026-08-01"}


def term(over_at: datetime = OVER) -> dict[str, str]:
    day = over_at.date().isoformat()
    return {"start": "2026-05-01", "end": day, "notice_on": day, "over_at": write_moment(over_at)}


def then(kit: Kit, type_: str, at: datetime = AGREED, *, recorded: bool = False, **fields: Any) -> Kit:
    """The kit after this event: by the clock where only the clock writes it, or an answer of the outbox."""
    step = STEPS[type_]
    clocks = step.writers == {"clock"} or "cites" in fields
    head = kit.custody_head if step.trail is Trail.CUSTODY else kit.choices_head
    who = CLOCK.who() if clocks else NORA
    fact = Fact(type=type_, subject=f"{step.trail}:{KIT}", who=who, fields=fields)
    return after(kit, place_in_trail(fact, head, at, bytes(16)), recorded=recorded)


def agreed(age_class: str = "adult") -> Kit:
    kit: Kit | None = None
    for event in trail(TO_THE_STORE):
        kit = after(kit, event)
    assert kit is not None
    said: dict[str, Any] = {"decided_by": "victim", "language": "nl", "channel": "email"}
    kit = then(kit, "agreement.recorded", documents=[{"kind": "form", "digest": "ab" * 32}], **said)
    return then(kit, "term.agreed", age_class=age_class, policy=POLICY, term=term())


def noticed(**fields: Any) -> Kit:
    return then(agreed(), "notice.due", OVER - 60 * DAY, **fields)


def told(kit: Kit, until: datetime, how: str = "reached", **fields: Any) -> Kit:
    return then(kit, "notice.attempted", OVER - 50 * DAY, how=how, until=write_moment(until), **fields)


def test_a_notice_is_settled_by_the_attempt_that_says_from_when_the_term_may_expire() -> None:
    kit = then(noticed(remind_on="2026-10-17"), "notice.attempted", OVER - 55 * DAY, how="not_reached")
    assert (kit.expires_at, kit.remind_on) == (None, date(2026, 10, 17))
    kit = told(kit, OVER + DAY, channel="phone")
    assert kit.expires_at == OVER + DAY
    assert [(a.how, a.channel) for a in kit.attempts] == [("not_reached", None), ("reached", "phone")]


@pytest.mark.parametrize("at", [OVER - DAY, OVER, OVER + DAY - timedelta(microseconds=1)])
def test_a_term_does_not_expire_before_that_instant_nor_while_nobody_was_told(at: datetime) -> None:
    for kit in (noticed(), told(noticed(), OVER + DAY)):
        with pytest.raises(NotAStep):
            then(kit, "term.expired", at)
    assert then(told(noticed(), OVER + DAY), "term.expired", OVER + DAY).retention is Retention.EXPIRED


@pytest.mark.parametrize("how", ["failed", "bounced"])
def test_what_did_not_arrive_takes_the_settling_back_up_to_the_act_of_disposal(how: str) -> None:
    cites = ["ab" * 32]
    kit = told(noticed(channel="email"), OVER + DAY, how="sent", cites=cites)
    kit = then(kit, "term.expired", OVER + DAY)
    kit = then(kit, "disposal.proposed", OVER + DAY, packages=[{"package": 1}])
    kit = then(kit, "notice.attempted", OVER + DAY, how=how, cites=cites)
    assert (kit.retention, kit.expires_at) == (Retention.PROPOSED, None)
    with pytest.raises(NotAStep):
        then(kit, "disposal.approved", OVER + 2 * DAY)
    with pytest.raises(NotAStep):  # and what came back says nothing of when
        then(kit, "notice.attempted", OVER + DAY, how=how, cites=cites, until=write_moment(OVER + 9 * DAY))


@pytest.mark.parametrize("how", ["sent", "tried", "failed", "bounced", "anything"])
def test_people_have_other_words_than_the_clock_for_an_attempt(how: str) -> None:
    with pytest.raises(NotAStep):
        then(noticed(), "notice.attempted", OVER - DAY, how=how)
    with pytest.raises(NotAStep):
        then(noticed(), "notice.attempted", OVER - DAY, how="reached", cites=["ab" * 32])


@pytest.mark.parametrize("channel", ["sms", "phone", "post", "none"])
def test_the_service_sends_over_the_agreed_channel_alone(channel: str) -> None:
    with pytest.raises(NotAStep):
        noticed(channel=channel)


def test_when_the_term_runs_again_or_stops_nobody_has_been_told_of_its_end() -> None:
    kit = told(noticed(remind_on="2026-10-17"), OVER + DAY)
    later = term(OVER + 180 * DAY)
    extended = then(kit, "term.extended", OVER - 40 * DAY, how="by_phone", policy=POLICY, term=later)
    stopped = then(kit, "report.declared", OVER - 40 * DAY, how="by_phone", decided_by="victim")
    for each in (extended, stopped):
        assert (each.attempts, each.expires_at, each.remind_on) == ((), None, None)
    assert (extended.extensions, stopped.extensions) == (1, 0)


def test_a_term_is_moved_to_a_later_end_and_under_another_policy() -> None:
    said: dict[str, Any] = {"policy": POLICY | {"version": 2}, "how": "by_law", "reason": "a later policy"}
    moved = then(agreed(), "term.moved", term=term(OVER + DAY), **said)
    assert moved.policy is not None
    assert (moved.policy.version, moved.extensions) == (2, 0)
    with pytest.raises(NotAStep):
        then(agreed(), "term.moved", term=term(OVER - DAY), **said)


def test_who_came_of_age_may_ask_for_the_destruction() -> None:
    kit = then(agreed("minor"), "destruction.requested", how="in_person")
    until = write_moment(AGREED + 30 * DAY)
    with pytest.raises(NotAStep):
        then(kit, "destruction.confirmed", until=until)
    kit = then(kit, "majority.confirmed", how="in_person")
    kit = then(kit, "destruction.confirmed", until=until)
    assert (kit.age_class, kit.of_age_at) == ("minor", AGREED)
    assert kit.destruction is not None
    cooled = then(kit, "destruction.cooled_off", AGREED + 30 * DAY, term=term(AGREED + 30 * DAY))
    assert cooled.expires_at == AGREED + 30 * DAY, "who asked for it needs no notice"


def test_another_channel_is_unproved_and_never_comes_with_a_second_agreement() -> None:
    kit = then(agreed(), "channel.proved", channel="email", how="message_shown")
    assert kit.channel_proved_at == AGREED
    kit = then(kit, "channel.changed", channel="phone", language="fr", how="in_person")
    assert (kit.channel, kit.language, kit.channel_proved_at) == ("phone", "fr", None)
    with pytest.raises(NotAStep):
        then(
            kit,
            "agreement.recorded",
            documents=[{"kind": "form", "digest": "ab" * 32}],
            decided_by="victim",
            language="nl",
            channel="email",
        )


def test_a_reviewed_hold_stands_until_its_next_day() -> None:
    kit = then(agreed(), "hold.placed", hold=HOLD)
    later = HOLD | {"review_on": "2026-11-01"}
    hold = then(kit, "hold.reviewed", AGREED + DAY, hold=later, reason="still needed").holds[HOLD["id"]]
    assert (hold.review_on, hold.reviewed_at) == (date(2026, 11, 1), AGREED + DAY)
    with pytest.raises(NotAStep):
        then(agreed(), "hold.reviewed", hold=HOLD, reason="there is none")


def test_a_hold_is_lifted_and_reviewed_on_the_ground_on_which_it_was_placed() -> None:
    kit = then(agreed(), "hold.placed", hold=HOLD | {"ground": "magistrate"})
    for type_ in ("hold.lifted", "hold.reviewed"):
        with pytest.raises(NotAStep):
            then(kit, type_, hold=HOLD, reason="over")
    assert then(kit, "hold.lifted", hold=HOLD, reason="over", recorded=True).holds == {}
    assert then(kit, "hold.lifted", hold=HOLD | {"ground": "magistrate"}, reason="over").holds == {}


@pytest.mark.parametrize(
    ("type_", "policy"),
    [
        ("term.extended", {"id": "short", "version": 1}),
        ("term.extended", {"id": "belgium", "version": 2}),
        ("term.corrected", {"id": "short", "version": 1}),
        ("term.moved", {"id": "short", "version": 2}),
        ("term.moved", {"id": "belgium", "version": 1}),
    ],
)
def test_no_new_step_takes_a_kit_to_another_policy(type_: str, policy: dict[str, Any]) -> None:
    said: dict[str, Any] = {"policy": policy, "term": term(OVER + 900 * DAY), "how": "in_person"}
    if type_ == "term.corrected":
        said |= {"age_class": "minor"}
    with pytest.raises(NotAStep):
        then(agreed(), type_, **said)
    assert then(agreed(), type_, recorded=True, **said).policy is not None


def test_a_term_moves_to_a_later_version_of_its_policy() -> None:
    said: dict[str, Any] = {"how": "by_law", "reason": "longer", "term": term(OVER + DAY)}
    moved = then(agreed(), "term.moved", policy=POLICY | {"version": 2}, **said)
    assert moved.policy == Policy(id="belgium", version=2)


def test_an_age_class_is_corrected_to_another_one() -> None:
    said: dict[str, Any] = {"policy": POLICY, "reason": "an error", "term": term(OVER + 900 * DAY)}
    with pytest.raises(NotAStep):
        then(agreed(), "term.corrected", age_class="adult", **said)
    assert then(agreed(), "term.corrected", age_class="minor", **said).age_class == "minor"


def test_a_new_card_opens_after_the_stopped_one() -> None:
    kit = then(then(agreed(), "card.issued", card="issued"), "card.stopped", reason="lost")
    assert (kit.card, then(kit, "card.renewed", how="in_person").card) == ("stopped", "issued")


def test_a_kit_of_which_nothing_is_left_is_closed_and_one_that_is_looked_for_is_not() -> None:
    kit = then(told(noticed(), OVER), "term.expired", OVER)
    with pytest.raises(NotAStep):
        then(kit, "disposal.nothing_left", OVER, reason="empty")
    one = [{"package": 1}]
    kit = then(kit, "package.lost", OVER, packages=one, reason="not there")
    with pytest.raises(NotAStep):
        then(kit, "disposal.nothing_left", OVER, reason="empty")
    ended = then(kit, "search.ended", OVER, packages=one, reason="looked everywhere")
    assert ended.packages[1].state is Custody.LOST
    assert then(ended, "disposal.nothing_left", OVER + DAY, reason="empty").disposed_at == OVER + DAY
    found = then(ended, "package.found", OVER, packages=one)
    assert not found.packages[1].search_ended


# --- trails and documents of before -------------------------------------------------------------------


def test_a_term_that_expired_before_attempts_said_until_when_is_still_read() -> None:
    kit = then(noticed(), "notice.attempted", OVER - DAY, recorded=True, how="in_person")
    with pytest.raises(NotAStep):
        then(kit, "term.expired", OVER)
    assert then(kit, "term.expired", OVER, recorded=True).retention is Retention.EXPIRED


def test_a_document_of_before_is_the_one_that_its_events_still_make() -> None:
    document = to_document(agreed())
    new = {"extensions", "remind_on", "attempts", "expires_at", "of_age_at", "channel_proved_at"}
    assert not new & set(document)
    assert "search_ended" not in document["packages"]["1"]
    assert to_document(from_document(Kit, document)) == document


@given(st.integers(0, 9), st.booleans())
def test_what_was_added_since_survives_the_document(extensions: int, ended: bool) -> None:
    kit = told(noticed(remind_on="2026-10-17"), OVER)
    for at in range(1, extensions + 1):
        kit = then(kit, "term.extended", OVER, how="by_card", policy=POLICY, term=term(OVER + at * DAY))
    if ended:
        kit = then(kit, "package.lost", OVER, packages=[{"package": 1}], reason="not there")
        kit = then(kit, "search.ended", OVER, packages=[{"package": 1}], reason="looked everywhere")
    assert from_document(Kit, to_document(kit)) == kit
