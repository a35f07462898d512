"""Terms with holidays, grace, later notices, limits and later versions, reckoned twice."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.period import Limit, RetentionDataError
from retention.policy import AgeClass, ExtensionUntil, Policy, load
from retention.term import (
    after_withdrawal,
    agreed_term,
    brought_forward,
    contest_over_at,
    cooling_off_until,
    corrected,
    due_by,
    expiry,
    extended,
    last_day_of_grace,
    local_date,
    moved_to,
    next_point,
    unlinked_work_at,
)
from tests.retention.reckoning import (
    BELGIUM,
    ONE_DAY,
    SEED,
    added_by_hand,
    age_classes,
    by_hand,
    corrected_by_hand,
    day_there,
    ends,
    every_policy,
    expiry_by_hand,
    extended_by_hand,
    in_brussels,
    instants,
    kept_for,
    points_by_hand,
    policies,
    sourced,
    unhurried,
    walked,
    watched,
)

(BELGIUM_2,) = load(SEED.with_name("belgium-2.json").read_bytes())

# Holidays: an end on one of them moves to the next working day, where the policy has a calendar


def test_a_term_that_ends_before_easter_is_kept_until_the_tuesday_after_it() -> None:
    examined_at = in_brussels("2026-09-27T12:00")
    as_any_day = agreed_term(BELGIUM, AgeClass.ADULT, examined_at)
    moved = agreed_term(BELGIUM_2, AgeClass.ADULT, examined_at)

    assert as_any_day.end == date(2027, 3, 27)  # a Saturday
    assert moved.end == date(2027, 3, 30)  # after Sunday 28 March and Easter Monday
    assert moved.over_at == datetime(2027, 3, 30, 22, tzinfo=UTC)


def test_the_notice_is_counted_back_from_the_moved_end_and_moves_for_no_holiday_itself() -> None:
    term = agreed_term(BELGIUM_2, AgeClass.ADULT, in_brussels("2026-01-18T12:00"))

    assert term.end == date(2026, 7, 20)  # a Monday, for Saturday the 18th
    assert term.notice_on == date(2026, 5, 21)
    assert next_point(term, BELGIUM_2, term.notice_on) == date(2026, 7, 6)


@unhurried
@given(every_policy, age_classes, instants)
def test_a_term_with_holidays_is_reckoned_as_by_hand(
    policy: Policy, age_class: AgeClass, examined_at: datetime
) -> None:
    term = agreed_term(policy, age_class, examined_at)
    start = day_there(policy, examined_at)

    assert term.start == start
    assert (term.end, term.notice_on) == by_hand(policy, ends(policy, start, kept_for(policy, age_class)))
    assert term.over_at == watched(policy.time_zone, term.end)
    assert term.end >= walked(start, kept_for(policy, age_class))  # only ever later


@unhurried
@given(every_policy, age_classes, instants, st.integers(0, 2000))
def test_an_extension_is_reckoned_as_by_hand(
    policy: Policy, age_class: AgeClass, examined_at: datetime, later: int
) -> None:
    term = agreed_term(policy, age_class, examined_at)
    asked_on = term.start + later * ONE_DAY
    end, notice_on = extended_by_hand(policy, term.start, term.end, asked_on)
    longest = ends(policy, term.start, policy.longest.period) if policy.longest is not None else None
    if longest is not None and longest <= max(term.end, asked_on):
        with pytest.raises(RetentionDataError, match="keeps a kit for at most"):
            extended(term, policy, asked_on)
        return

    longer = extended(term, policy, asked_on)

    assert (longer.end, longer.notice_on) == (end, notice_on)


@unhurried
@given(every_policy, age_classes, instants, st.integers(0, 2000))
def test_a_withdrawal_is_reckoned_as_by_hand(
    policy: Policy, age_class: AgeClass, examined_at: datetime, later: int
) -> None:
    term = agreed_term(policy, age_class, examined_at)
    at = examined_at + later * ONE_DAY
    left = ends(policy, day_there(policy, at), policy.notice.period)

    again = after_withdrawal(term, policy, at)

    assert (again.end, again.notice_on) == by_hand(policy, max(term.end, left))


@unhurried
@given(
    every_policy,
    st.permutations(list(AgeClass)),
    instants,
    st.integers(0, 2000),
    st.integers(0, 40),
    st.integers(0, 2),
)
def test_a_correction_is_reckoned_as_by_hand(
    policy: Policy, ages: list[AgeClass], examined_at: datetime, later: int, added: int, extensions: int
) -> None:
    was, now, _ = ages
    agreed = agreed_term(policy, was, examined_at)
    end = agreed.end + added * ONE_DAY
    term = replace(agreed, end=end, over_at=watched(policy.time_zone, end))
    at = examined_at + later * ONE_DAY

    after = corrected(term, policy, was=was, now=now, at=at, extensions=extensions)

    assert (after.end, after.notice_on) == corrected_by_hand(
        policy, term.start, end, (was, now), day_there(policy, at), extensions
    )


@unhurried
@given(every_policy, age_classes, instants, st.integers(0, 2000))
def test_an_early_destruction_is_reckoned_as_by_hand(
    policy: Policy, age_class: AgeClass, examined_at: datetime, later: int
) -> None:
    term = agreed_term(policy, age_class, examined_at)
    confirmed_at = examined_at + later * ONE_DAY
    cooled_off = ends(policy, day_there(policy, confirmed_at), policy.cooling_off.period)

    earlier = brought_forward(term, policy, confirmed_at)

    assert earlier.end == min(term.end, cooled_off)
    assert earlier.notice_on == min(term.notice_on, earlier.end)
    assert cooling_off_until(policy, confirmed_at) == watched(policy.time_zone, cooled_off)


@unhurried
@given(every_policy, instants)
def test_the_time_for_contesting_and_the_work_not_linked_are_reckoned_as_by_hand(
    policy: Policy, at: datetime
) -> None:
    day = day_there(policy, at)

    contested = ends(policy, day, policy.contest.period)
    assert contest_over_at(policy, at) == watched(policy.time_zone, contested)
    assert unlinked_work_at(policy, at) == watched(policy.time_zone, walked(day, policy.unlinked.period))


# Grace, and when a term may expire


def test_told_in_time_a_term_expires_once_its_grace_is_over() -> None:
    term = agreed_term(BELGIUM_2, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))

    assert (term.end, last_day_of_grace(term, BELGIUM_2)) == (date(2026, 7, 15), date(2026, 7, 29))
    assert expiry(term, BELGIUM_2, in_brussels("2026-05-16T09:00")) == in_brussels("2026-07-30T00:00")


def test_told_three_weeks_late_a_term_expires_three_weeks_later() -> None:
    term = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))

    assert expiry(term, BELGIUM, in_brussels("2026-05-16T23:59")) == term.over_at
    assert expiry(term, BELGIUM, in_brussels("2026-06-06T00:00")) == in_brussels("2026-08-06T00:00")


@unhurried
@given(every_policy, age_classes, instants, st.integers(0, 2000))
def test_expiry_is_reckoned_as_by_hand_and_never_cuts_the_notice_period(
    policy: Policy, age_class: AgeClass, examined_at: datetime, later: int
) -> None:
    term = agreed_term(policy, age_class, examined_at)
    told_at = examined_at + later * ONE_DAY

    until = expiry(term, policy, told_at)

    assert until == expiry_by_hand(policy, term.end, day_there(policy, told_at))
    assert until >= term.over_at
    assert local_date(policy, until) > walked(day_there(policy, told_at), policy.notice.period)
    assert last_day_of_grace(term, policy) == (
        term.end if policy.grace is None else ends(policy, term.end, policy.grace.period)
    )


# Notice points


def test_the_points_of_notice_follow_one_another_and_end() -> None:
    term = agreed_term(BELGIUM_2, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))

    assert next_point(term, BELGIUM_2, date(2026, 5, 15)) == date(2026, 5, 16)
    assert next_point(term, BELGIUM_2, date(2026, 5, 16)) == date(2026, 7, 1)
    assert next_point(term, BELGIUM_2, date(2026, 7, 1)) is None
    assert next_point(term, BELGIUM, date(2026, 5, 16)) is None  # the first version knows one notice


@unhurried
@given(every_policy, age_classes, instants)
def test_the_points_of_notice_are_the_ones_found_by_asking_every_day(
    policy: Policy, age_class: AgeClass, examined_at: datetime
) -> None:
    term = agreed_term(policy, age_class, examined_at)
    found: list[date] = []
    point = next_point(term, policy, term.start - ONE_DAY)
    while point is not None:
        found.append(point)
        point = next_point(term, policy, point)

    assert found == points_by_hand(policy, term.end, term.notice_on)


# Limits of extensions


def test_an_extension_is_asked_for_as_often_as_the_policy_foresees() -> None:
    policy = replace(BELGIUM, extension_times=2)
    term = agreed_term(policy, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))

    assert extended(term, policy, date(2026, 3, 1), 1).end == date(2027, 1, 15)
    with pytest.raises(RetentionDataError, match="belgium/1 foresees 2 extensions, not more"):
        extended(term, policy, date(2026, 3, 1), 2)
    with pytest.raises(RetentionDataError, match="foresees one extension, not more"):
        extended(term, replace(policy, extension_times=1), date(2026, 3, 1), 1)
    with pytest.raises(RetentionDataError, match="does not foresee an extension"):
        extended(term, replace(policy, extension_times=0), date(2026, 3, 1))


def test_where_expiry_is_the_last_moment_an_extension_can_still_be_asked_for_during_the_grace() -> None:
    policy = replace(BELGIUM, extension_until=ExtensionUntil.END, grace=sourced("P14D"))
    term = agreed_term(policy, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))

    assert extended(term, policy, date(2026, 7, 29)).end == date(2027, 1, 29)
    with pytest.raises(RetentionDataError, match="is asked for before the term expires"):
        extended(term, policy, date(2026, 7, 30))


def test_who_was_told_late_can_extend_until_the_term_has_really_expired() -> None:
    policy = replace(BELGIUM, extension_until=ExtensionUntil.END)
    term = agreed_term(policy, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))

    assert extended(term, policy, date(2026, 9, 1), expired=False).end == date(2027, 3, 1)
    with pytest.raises(RetentionDataError, match="before the term expires"):
        extended(term, policy, date(2026, 7, 1), expired=True)


def test_an_extension_ends_with_the_longest_term() -> None:
    policy = replace(BELGIUM, longest=sourced("P50Y"), minor=sourced("P49Y10M"))
    term = agreed_term(policy, AgeClass.MINOR, in_brussels("2026-01-15T12:00"))

    longest = extended(term, policy, date(2026, 3, 1))

    assert longest.end == date(2076, 1, 15)  # two months instead of six
    with pytest.raises(RetentionDataError, match="the end of 2076-01-15"):
        extended(term, policy, date(2076, 2, 1))
    with pytest.raises(RetentionDataError, match="at most P50Y, and that is over with the end of 2076-01-15"):
        extended(longest, policy, date(2026, 3, 2))


# A later version of the policy


def later_version(policy: Policy, **change: object) -> Policy:
    return replace(policy, version=policy.version + 1, **change)  # type: ignore[arg-type]  # real fields


def test_a_kit_moves_to_a_version_that_keeps_it_longer_and_keeps_what_was_added() -> None:
    new = later_version(BELGIUM, adult=sourced("P1Y"))
    term = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))
    added = extended(term, BELGIUM, date(2026, 3, 1))

    assert moved_to(term, BELGIUM, new, age_class=AgeClass.ADULT, extensions=0).end == date(2027, 1, 15)
    assert moved_to(added, BELGIUM, new, age_class=AgeClass.ADULT, extensions=1).end == (
        date(2027, 1, 15) + (added.end - term.end)
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"adult": "P6M"}, "not later than 2026-07-15"),
        ({"adult": "P5M"}, r"\(the time of keeping for adults\)"),
        ({"adult": "P1Y", "minor": "P7M"}, r"\(the time of keeping for minors\)"),
        ({"adult": "P1Y", "contest": "P1D"}, r"\(the time for contesting\)"),
        ({"adult": "P1Y", "notice": "P59D"}, r"protect less than belgium/1 \(the notice\)"),
        ({"adult": "P1Y", "cooling_off": "P29D"}, r"protect less than belgium/1 \(the cooling-off\)"),
    ],
)
def test_a_kit_does_not_move_to_a_version_under_which_anything_gets_shorter(
    change: dict[str, str], says: str
) -> None:
    new = later_version(BELGIUM, **{name: sourced(written) for name, written in change.items()})
    term = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))

    with pytest.raises(RetentionDataError, match=says):
        moved_to(term, BELGIUM, new, age_class=AgeClass.ADULT, extensions=0)


def test_a_kit_moves_to_a_later_version_of_its_own_policy_only() -> None:
    term = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))
    longer = {"adult": sourced("P1Y")}
    others = [
        ("is no later version", BELGIUM),
        ("is no later version", replace(later_version(BELGIUM, **longer), id="elsewhere")),
        ("another time zone", later_version(BELGIUM, time_zone="Etc/UTC", **longer)),
    ]

    for says, other in others:
        with pytest.raises(RetentionDataError, match=says):
            moved_to(term, BELGIUM, other, age_class=AgeClass.ADULT, extensions=0)


def test_a_longer_version_does_not_undo_what_the_victim_wished() -> None:
    new = later_version(BELGIUM, adult=sourced("P1Y"))
    term = agreed_term(BELGIUM, AgeClass.ADULT, in_brussels("2026-01-15T12:00"))
    earlier = brought_forward(term, BELGIUM, in_brussels("2026-02-01T12:00"))

    with pytest.raises(RetentionDataError, match="the victim had the end brought forward"):
        moved_to(earlier, BELGIUM, new, age_class=AgeClass.ADULT, extensions=0)


@unhurried
@given(every_policy, st.data(), age_classes, instants, st.integers(0, 400), st.integers(0, 2))
def test_moving_never_shortens_and_is_reckoned_as_by_hand(
    policy: Policy, data: st.DataObject, age_class: AgeClass, examined_at: datetime, added: int, times: int
) -> None:
    new = later_version(data.draw(every_policy | st.just(policy)), time_zone=policy.time_zone, id=policy.id)
    change = data.draw(st.sampled_from([{}, {"adult": "P90Y", "unknown": "P90Y"}, {"grace": "P2Y"}]))
    new = later_version(new, **{name: sourced(written) for name, written in change.items()}, longest=None)
    agreed = agreed_term(policy, age_class, examined_at)
    end = agreed.end + added * ONE_DAY
    term = replace(agreed, end=end, over_at=watched(policy.time_zone, end))
    theirs = added_by_hand(policy, agreed.end, end, times)
    wanted = walked(term.start, kept_for(new, age_class)) + theirs * ONE_DAY
    wanted = ends(new, wanted - ONE_DAY, sourced("P1D").period)

    try:
        moved = moved_to(term, policy, new, age_class=age_class, extensions=times)
    except RetentionDataError as refusal:
        assert wanted <= end or "could protect less" in str(refusal)  # noqa: PT017 - each outcome has its reason
    else:
        assert (moved.end, moved.notice_on) == by_hand(new, wanted)
        assert moved.over_at > term.over_at
        for each in AgeClass:
            assert walked(term.start, kept_for(new, each)) >= walked(term.start, kept_for(policy, each))
        assert last_day_of_grace(moved, new) >= last_day_of_grace(term, policy)


# Deadlines of work


def test_hours_run_on_the_clock_and_days_to_their_end() -> None:
    before_summer_time = in_brussels("2026-03-28T12:00")

    assert due_by(BELGIUM, before_summer_time, Limit.parse("PT24H")) == in_brussels("2026-03-29T13:00")
    assert due_by(BELGIUM, before_summer_time, Limit.parse("P1D")) == in_brussels("2026-03-30T00:00")
    assert due_by(BELGIUM_2, in_brussels("2026-07-03T12:00"), Limit.parse("P1D")) == in_brussels(
        "2026-07-05T00:00"
    )  # a Sunday: work is not put off


@given(policies, instants, st.integers(1, 24 * 366))
def test_a_limit_in_hours_is_as_many_hours_whatever_the_clocks_do(
    policy: Policy, since: datetime, hours: int
) -> None:
    assert due_by(policy, since, Limit(hours=hours)) - since == timedelta(hours=hours)


@unhurried
@given(policies, instants, st.integers(1, 400))
def test_a_limit_in_days_is_the_end_of_the_last_of_them(policy: Policy, since: datetime, days: int) -> None:
    last = walked(day_there(policy, since), sourced(f"P{days}D").period)

    assert due_by(policy, since, Limit.parse(f"P{days}D")) == watched(policy.time_zone, last)
