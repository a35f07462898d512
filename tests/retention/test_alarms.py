"""What is overdue: each rule appears exactly from its instant on, and names who must act."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custody.kit import Attempt, Destruction, Disposal, Finding, Handover, Hold, Holder, Kit, Link, Place
from custody.people import Actor, Function
from custody.permission import as_known
from custody.protocol import Custody, Legal, Retention
from desk import texts
from retention import alarms
from retention.alarms import RULES, Alarm, alarms_of, due_after, in_order, watched
from retention.period import Limit
from tests.custody.story import (
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
    ZONE,
)
from tests.retention.kept import BELGIUM, NOON, POLICY, kit_of, without

BRUSSELS = ZoneInfo("Europe/Brussels")
INSTANTS = st.integers(0, 5 * 365 * 86400).map(lambda seconds: NOON + timedelta(seconds=seconds))
MOMENT = timedelta(microseconds=1)
ASKED = Destruction(asked_at=NOON)
NORA = Holder(name="Nora Nachtwacht", person="nora", organisation=CENTRE)
POLICE = Holder(name="Politiezone Morgenland", organisation=ZONE)
LINK = Link(ground="report", pv="PV.1", notice="NO.1", office=OFFICE, zone=ZONE)
HOLD = "ab" * 16


def midnight_after(at: datetime, days: int) -> datetime:
    """The first instant of the local day after so many whole days, reckoned here by another way."""
    day = at.astimezone(BRUSSELS).date() + timedelta(days=days + 1)
    return datetime.combine(day, time(0), BRUSSELS).astimezone(UTC)


def each(kit: Kit, **change: Any) -> Kit:
    """The kit with every package of it put differently."""
    return without(kit, packages={n: replace(p, **change) for n, p in kit.packages.items()})


def quiet(at: datetime = NOON) -> Kit:
    """Nothing to watch: packages stored, seals seen by two, no contact wanted, a running term."""
    freezer = Place(id="freezer-1", name="Freezer 1")
    kit = each(kit_of(at), state=Custody.STORED, place=freezer, seal_checked=True, since=at)
    return without(kit, channel="none")


def on_the_way(at: datetime) -> Kit:
    offer = Handover(
        id="cd" * 16,
        packages=(1, 2),
        giver=NORA,
        receiver=POLICE,
        offered_at=at,
        due_at=at + timedelta(hours=4),
    )
    return without(quiet(at), handovers={offer.id: offer})


def held(at: datetime, **more: Any) -> Kit:
    return without(quiet(at), holds={HOLD: Hold(id=HOLD, ground="centre", placed_at=at, **more)})


def told(at: datetime, *attempts: Attempt, **more: Any) -> Kit:
    return without(
        quiet(at),
        channel="email",
        retention=Retention.NOTICE_DUE,
        notice_due_at=at,
        attempts=attempts,
        **more,
    )


def expired(at: datetime) -> Kit:
    kit = quiet(at)
    assert kit.term is not None
    term = replace(kit.term, over_at=at)
    return without(kit, retention=Retention.EXPIRED, term=term, expires_at=at)


def disposal(at: datetime, retention: Retention) -> Kit:
    approved = at if retention is Retention.APPROVED else None
    made = Disposal(
        proposed_by="casper", proposed_at=at, packages=(1, 2, 3), approved_by="coraline", approved_at=approved
    )
    return without(quiet(at), retention=retention, disposal=made, expires_at=at)


def found(at: datetime) -> Kit:
    """Package 2 was lost when its kit was closed, and is there again; the others were destroyed."""
    kit = quiet(at)
    others = {n: replace(p, state=Custody.DESTROYED) for n, p in kit.packages.items() if n != 2}
    there = Finding(type="package.found", at=at, packages=(2,))
    ended = {"retention": Retention.DISPOSED, "disposed_at": at - timedelta(days=300)}
    return without(kit, packages={**kit.packages, **others}, findings=(there,), **ended)


def linked(at: datetime) -> Kit:
    return without(
        quiet(at), legal=Legal.LINKED, retention=Retention.STOPPED, link=LINK, linked_at=at, matches=()
    )


Story = tuple[Callable[[datetime], Kit], Callable[[datetime], datetime], Actor]
# Each rule about kits: what is watched, beginning at an instant; when it is overdue; one who must act.
KITS: dict[str, Story] = {
    "handover_late": (on_the_way, lambda at: at + timedelta(hours=4), OFFICER),
    "not_stored": (
        lambda at: each(quiet(at), state=Custody.SEALED, place=None, holder=NORA),
        lambda at: at + timedelta(hours=24),
        NURSE,
    ),
    "seal_not_checked": (
        lambda at: each(quiet(at), seal_checked=False, sealed_at=at),
        lambda at: at + timedelta(hours=24),
        NURSE_2,
    ),
    "notice_came_back": (lambda at: told(at, Attempt(at=at, how="bounced")), lambda at: at, NURSE),
    "notice_not_settled": (told, lambda at: midnight_after(at, 14), NURSE),
    "wish_not_heard": (
        lambda at: without(quiet(at), destruction=Destruction(asked_at=at)),
        lambda at: at + timedelta(days=7),
        NURSE,
    ),
    "expired_not_reviewed": (expired, lambda at: midnight_after(at, 30), CUSTODIAN),
    "proposed_not_decided": (
        lambda at: disposal(at, Retention.PROPOSED),
        lambda at: midnight_after(at, 30),
        COORDINATOR,
    ),
    "approved_not_carried_out": (
        lambda at: disposal(at, Retention.APPROVED),
        lambda at: midnight_after(at, 30),
        CUSTODIAN,
    ),
    "found_after_disposal": (found, lambda at: at, CUSTODIAN),
    "hold_not_reviewed": (
        lambda at: held(at, review_on=at.astimezone(BRUSSELS).date() + timedelta(days=20)),
        lambda at: midnight_after(at, 20),
        COORDINATOR,
    ),
    "report_not_linked": (
        lambda at: without(quiet(at), legal=Legal.DECLARED, retention=Retention.STOPPED, reported_at=at),
        lambda at: midnight_after(at, 90),
        COORDINATOR,
    ),
    "link_not_picked_up": (linked, lambda at: midnight_after(at, 14), OFFICER),
}


@pytest.mark.parametrize("rule", KITS)
@given(at=INSTANTS, before=st.integers(1, 10**14), after=st.integers(0, 10**14))
def test_an_alarm_appears_exactly_from_its_instant_on(
    rule: str, at: datetime, before: int, after: int
) -> None:
    make, due, actor = KITS[rule]
    kit, due_at = make(at), due(at)
    for early in (due_at - MOMENT, due_at - timedelta(microseconds=before)):
        assert alarms_of(kit, POLICY, early) == ()
    for late in (due_at, due_at + timedelta(microseconds=after)):
        (alarm,) = alarms_of(kit, POLICY, late)
        assert (alarm.rule, alarm.due_at, alarm.kit) == (rule, due_at, kit.number)
        assert alarm.since <= alarm.due_at
        assert alarm.is_for(actor)


def test_every_rule_about_a_kit_is_told_here_and_has_its_words() -> None:
    assert set(KITS) | {"channel_old"} == {rule.name for rule in RULES if rule.finds is not None}
    assert {rule.name: rule.watches for rule in RULES} == texts.ALARMS
    assert {rule.name: rule.do for rule in RULES} == texts.ALARM_STEPS
    assert {rule.name: rule.after for rule in RULES} == texts.ALARM_TIMES
    assert len({rule.name for rule in RULES}) == len(RULES)


@given(at=INSTANTS, hours=st.integers(0, 40_000))
def test_a_kit_with_nothing_to_do_never_raises_an_alarm(at: datetime, hours: int) -> None:
    assert watched(quiet(at), POLICY) == ()
    assert alarms_of(quiet(at), POLICY, at + timedelta(hours=hours)) == ()


def test_a_safe_channel_is_asked_about_before_the_notice_needs_it() -> None:
    kit = without(quiet(), channel="email")
    assert kit.term is not None
    opens = datetime(2026, 3, 17, tzinfo=BRUSSELS).astimezone(UTC)
    assert kit.term.notice_on == date(2026, 5, 16), "60 days before that is 17 March"
    for proved, due_at in (
        (None, opens),
        (NOON - timedelta(days=100), None),
        (NOON - timedelta(days=320), opens),
        (datetime(2025, 4, 1, 12, tzinfo=UTC), datetime(2026, 4, 2, tzinfo=BRUSSELS).astimezone(UTC)),
    ):
        (alarm,) = watched(without(kit, channel_proved_at=proved), POLICY)
        assert alarm.rule == "channel_old"
        if due_at is not None:
            assert alarm.due_at == due_at
        else:
            assert alarm.due_at > kit.term.over_at - timedelta(days=100), "it is young enough for this notice"
    dead = without(kit, holds={HOLD: Hold(id=HOLD, ground="death", placed_at=NOON)})
    assert [a.rule for a in watched(dead, POLICY)] == ["hold_not_reviewed"], "nobody is told then"
    reported = without(kit, legal=Legal.DECLARED, retention=Retention.STOPPED)
    assert watched(reported, POLICY) == ()


def test_a_notice_that_came_back_is_told_at_once_until_another_attempt_is_on_record() -> None:
    bounced = Attempt(at=NOON, how="bounced")
    kit = told(NOON - timedelta(days=3), bounced)
    assert [a.rule for a in alarms_of(kit, POLICY, NOON)] == ["notice_came_back"]
    again = without(kit, attempts=(bounced, Attempt(at=NOON, how="not_reached")))
    assert alarms_of(again, POLICY, NOON) == ()
    assert [a.rule for a in watched(again, POLICY)] == ["notice_not_settled"]
    reached = without(again, expires_at=NOON + timedelta(days=60))
    assert watched(reached, POLICY) == ()
    dead = without(kit, holds={HOLD: Hold(id=HOLD, ground="death", placed_at=NOON)})
    assert "notice_came_back" not in [a.rule for a in watched(dead, POLICY)]


@pytest.mark.parametrize("retention", [Retention.PROPOSED, Retention.APPROVED])
def test_nobody_is_urged_to_a_disposal_before_the_time_after_the_notice_is_over(retention: Retention) -> None:
    until = NOON + timedelta(days=60)
    kit = without(disposal(NOON, retention), expires_at=until)
    (alarm,) = watched(kit, POLICY)
    assert alarm.since == until
    assert alarm.due_at > until
    back = without(kit, expires_at=None, notice_due_at=NOON, attempts=(Attempt(at=NOON, how="bounced"),))
    assert [a.rule for a in watched(back, POLICY)] == ["notice_came_back"]


def test_what_was_found_after_its_kit_was_closed_is_told_until_it_is_destroyed_or_given_up_again() -> None:
    kit = found(NOON)
    (alarm,) = alarms_of(kit, POLICY, NOON + timedelta(days=1))
    assert (alarm.packages, alarm.since) == ((2,), NOON)
    assert not alarm.is_for(NURSE)

    for ended in (
        {"state": Custody.DESTROYED},
        {"state": Custody.LOST, "search_ended": True},
    ):
        packages = {**kit.packages, 2: replace(kit.packages[2], **ended)}
        assert alarms_of(without(kit, packages=packages), POLICY, NOON + timedelta(days=1)) == ()
    lost_again = {**kit.packages, 2: replace(kit.packages[2], state=Custody.LOST)}
    assert len(alarms_of(without(kit, packages=lost_again), POLICY, NOON)) == 1, "somebody looks for it"


def test_a_hold_without_a_day_is_looked_at_as_the_policy_says_and_again_after_each_review() -> None:
    kit = held(NOON)
    (alarm,) = watched(kit, POLICY)
    assert (alarm.due_at, alarm.about) == (datetime(2026, 4, 15, 22, tzinfo=UTC), HOLD)
    reviewed = held(NOON, reviewed_at=NOON + timedelta(days=30))
    assert watched(reviewed, POLICY)[0].since == NOON + timedelta(days=30)
    assert watched(reviewed, POLICY)[0].due_at > alarm.due_at


def test_the_hold_of_a_magistrate_is_for_the_office_too() -> None:
    hold = Hold(id=HOLD, ground="magistrate", placed_at=NOON)
    kit = without(linked(NOON), holds={HOLD: hold})
    (alarm,) = (a for a in watched(kit, POLICY) if a.rule == "hold_not_reviewed")
    assert alarm.is_for(MAGISTRATE)
    assert alarm.is_for(COORDINATOR)
    assert not alarm.is_for(NURSE)


def test_a_hold_on_an_expired_kit_is_what_waits_and_not_the_expiry() -> None:
    kit = without(expired(NOON), holds={HOLD: Hold(id=HOLD, ground="centre", placed_at=NOON)})
    assert [a.rule for a in watched(kit, POLICY)] == ["hold_not_reviewed"]


def test_who_closed_a_seal_who_proposed_and_who_approved_are_not_asked_to_do_the_other_half() -> None:
    at = NOON + timedelta(days=100)
    (seal,) = alarms_of(KITS["seal_not_checked"][0](NOON), POLICY, at)
    assert seal.packages == (1, 2, 3), "one alarm for all of them"
    assert [a.person for a in (NURSE, NURSE_2, CUSTODIAN) if seal.is_for(a)] == ["nils", "casper"]
    (proposed,) = alarms_of(disposal(NOON, Retention.PROPOSED), POLICY, at)
    assert not proposed.is_for(replace(COORDINATOR, person="casper"))
    (approved,) = alarms_of(disposal(NOON, Retention.APPROVED), POLICY, at)
    assert not approved.is_for(replace(CUSTODIAN, person="coraline"))


def test_packages_in_two_peoples_hands_are_two_alarms_and_only_the_late_ones_are_in_them() -> None:
    kit = each(quiet(), state=Custody.SEALED, place=None, holder=NORA)
    nils = Holder(name="Nils Nevel", person="nils", organisation=CENTRE)
    packages = dict(kit.packages)
    packages[2] = replace(packages[2], holder=nils)
    packages[3] = replace(packages[3], since=NOON + timedelta(hours=1))
    kit = without(kit, packages=packages)
    found = alarms_of(kit, POLICY, NOON + timedelta(hours=24))
    assert [(a.packages, a.acts[0].person) for a in found] == [((1,), "nora"), ((2,), "nils")]
    assert alarms_of(kit, POLICY, NOON + timedelta(hours=25))[0].packages == (1, 3)
    assert found[0].is_for(NURSE)
    assert not found[0].is_for(NURSE_2)


def test_what_the_laboratory_or_the_police_have_in_hand_is_not_the_centres_to_store() -> None:
    for organisation in (LAB, ZONE):
        holder = Holder(name="Ana Lyse", person="ana", organisation=organisation)
        assert watched(each(quiet(), state=Custody.SEALED, place=None, holder=holder), POLICY) == ()


def test_a_linked_kit_that_is_on_its_way_already_is_not_waiting_to_be_picked_up() -> None:
    assert watched(each(linked(NOON), state=Custody.IN_TRANSIT), POLICY) == ()


@pytest.mark.parametrize("age_class", ["minor", "unknown"])
def test_a_wish_that_only_majority_makes_possible_is_no_alarm_before_it(age_class: str) -> None:
    kit = without(quiet(), destruction=ASKED, age_class=age_class)
    late = NOON + timedelta(days=100)
    assert "wish_not_heard" not in {a.rule for a in alarms_of(kit, POLICY, late)}
    of_age = without(kit, of_age_at=late)
    (alarm,) = (a for a in alarms_of(of_age, POLICY, late + timedelta(days=7)) if a.rule == "wish_not_heard")
    assert alarm.due_at == late + timedelta(days=7), "counted from the day on which it became possible"


def test_who_may_not_know_the_choices_is_not_told_of_them_by_an_alarm() -> None:
    kit = without(
        told(NOON, Attempt(at=NOON, how="bounced")), destruction=ASKED, readers=("coraline", "nora")
    )
    late = NOON + timedelta(days=400)
    assert {a.rule for a in alarms_of(as_known(COORDINATOR, kit), POLICY, late)} == {
        "notice_came_back",
        "wish_not_heard",
    }
    for actor in (NURSE_2, CUSTODIAN, OTHER_NURSE, OFFICER):
        assert alarms_of(as_known(actor, kit), POLICY, late) == ()
    released = without(linked(NOON), legal=Legal.RELEASED, holds=held(NOON).holds, released_at=NOON)
    assert alarms_of(as_known(COORDINATOR, released), POLICY, late) == ()


@given(at=INSTANTS)
def test_limits_are_counted_in_hours_by_the_clock_and_in_days_by_the_calendar(at: datetime) -> None:
    assert due_after(POLICY, at, Limit.parse("PT36H")) == at + timedelta(hours=36)
    assert due_after(POLICY, at, Limit.parse("P5D")) == midnight_after(at, 5)


def test_a_place_is_counted_again_a_year_after_the_last_time() -> None:
    alarm = alarms.stock_take_due("freezer-1", CENTRE, NOON, POLICY)
    assert alarm.due_at == datetime(2027, 1, 15, 23, tzinfo=UTC)
    assert alarms.overdue([alarm], alarm.due_at - MOMENT) == ()
    assert alarms.overdue([alarm], alarm.due_at) == (alarm,)
    assert [a.person for a in (NURSE, CUSTODIAN, COORDINATOR, OTHER_NURSE) if alarm.is_for(a)] == [
        "nora",
        "casper",
    ]


def test_what_stands_on_no_kit_names_its_people_and_its_time() -> None:
    request = alarms.request_unanswered("ef" * 16, CENTRE, NOON)
    assert (request.due_at, request.about) == (NOON + timedelta(days=7), "ef" * 16)
    glass = alarms.not_reviewed("glass_not_reviewed", CENTRE, NOON, "coraline", None, "ab" * 32)
    assert glass.due_at == NOON + timedelta(days=1)
    assert not glass.is_for(COORDINATOR), "who broke the glass does not review it"
    assert glass.is_for(replace(COORDINATOR, person="another"))
    aside = alarms.kit_set_aside("X" * 12, CENTRE, NOON, "Refused")
    assert (aside.since, aside.due_at, aside.why) == (NOON, NOON, "Refused")
    silent = alarms.log_not_signed(CENTRE, NOON, "the disk is full")
    assert silent.is_for(NURSE)


def test_what_i_must_do_comes_first_then_my_organisations_then_the_rest_and_in_each_the_latest() -> None:
    def late(rule: str, days: int, actor: Actor | None, organisation: str = CENTRE) -> Alarm:
        functions = frozenset({actor.function if actor else Function.COORDINATOR})
        acts = alarms.Acts(functions=functions, organisation=organisation)
        return Alarm(rule=rule, since=NOON, due_at=NOON - timedelta(days=days), acts=(acts,))

    given_ = [
        late("elsewhere", 90, OFFICER, ZONE),
        late("mine", 2, NURSE),
        late("ours", 40, COORDINATOR),
        late("mine longer", 9, NURSE),
    ]
    assert [a.rule for a in in_order(given_, NURSE)] == ["mine longer", "mine", "ours", "elsewhere"]


def test_a_policy_of_the_first_format_has_times_too() -> None:
    assert all(policy.deadlines.stored_within.limit.hours for policy in BELGIUM)
