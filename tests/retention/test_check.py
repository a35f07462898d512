"""The scheduled check: each slot once, each kit alone, and never a day less than was promised."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custody import batch
from custody.commands import (
    AskDestruction,
    ConfirmDestruction,
    CorrectAge,
    DeclareReport,
    LiftHold,
    PlaceHold,
    TakeBackDestruction,
)
from custody.event import write_moment
from custody.ledger import Ledger
from custody.prosecution import declare
from custody.protocol import Retention
from retention.check import ABANDONED, EVERY, Figures, newest_slot, run_slot, slots
from retention.commands import ChangeChannel, ProveChannel
from retention.disposal import contest_over, destroy_key
from retention.holds import lift_hold, place_hold
from retention.keeping import ask_destruction, confirm_destruction, correct_age, take_back_destruction
from retention.notice import NotNow, attempt, change_channel, prove_channel
from retention.period import Period
from retention.policy import dump
from retention.sourced import SourcedPeriod
from tests.conftest import Database
from tests.custody.story import COORDINATOR, NURSE, NURSE_2, Story
from tests.retention.kept import (
    BELGIUM,
    DAY,
    POLICY,
    REACHED,
    adopt,
    card_of,
    check,
    destroyed,
    expired,
    kept,
    kept_until_approved,
    kept_until_expired,
    then,
    told,
    without,
)

pytestmark = pytest.mark.anyio

Advance = Callable[[timedelta], None]
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
DISTANCES = st.timedeltas(timedelta(seconds=1), timedelta(days=2))


# --- slots ------------------------------------------------------------------------------------------


@given(at=MOMENTS, every=DISTANCES)
def test_the_newest_slot_is_the_last_one_that_has_come(at: datetime, every: timedelta) -> None:
    slot = newest_slot(at, every)

    assert slot <= at < slot + every
    assert newest_slot(slot, every) == slot
    assert list(slots(slot - every, at, every)) == [slot]


def test_slots_are_every_five_minutes_also_when_the_clocks_change() -> None:
    midnight = datetime(2026, 3, 29, tzinfo=UTC)  # the night of summer time in Brussels

    day = list(slots(midnight, midnight + DAY))

    assert len(day) == 288
    assert day[0] == midnight + EVERY
    assert day[-1] == midnight + DAY


@pytest.mark.parametrize("wrong", [datetime(2026, 1, 1), None])  # noqa: DTZ001
def test_a_slot_needs_a_zone_and_a_distance(wrong: datetime | None) -> None:
    with pytest.raises(ValueError, match="positive distance"):
        newest_slot(wrong or datetime(2026, 1, 1, tzinfo=UTC), EVERY if wrong else timedelta(0))


# --- one slot, many replicas --------------------------------------------------------------------------


async def now(story: Story) -> datetime:
    return (await story.look(NURSE)).at


def rows(database: Database, query: str) -> list[tuple[object, ...]]:
    with database.connect("clerk") as connection:
        return connection.execute(query).fetchall()


async def test_two_replicas_at_one_slot_and_one_carries_it_out(
    story: Story, advance: Advance, database: Database
) -> None:
    await kept(story)
    advance(timedelta(days=150))
    slot = newest_slot(await now(story))

    first = await run_slot(story.clerk, story.clerk.engine, slot)
    second = await run_slot(story.clerk, story.clerk.engine, slot)

    assert first == Figures(notices_due=1)
    assert second is None
    kept_figures = rows(
        database, "SELECT notices_due, expired, failed, finished_at > slot FROM retention.run"
    )
    assert kept_figures == [(1, 0, 0, True)]


async def test_a_slot_that_a_lost_replica_left_is_taken_over_after_ten_minutes(
    story: Story, advance: Advance, database: Database
) -> None:
    await kept(story)
    advance(timedelta(days=150))
    slot = newest_slot(await now(story))
    with database.connect("clerk") as connection:  # a replica that began and never came back
        connection.execute(
            "INSERT INTO retention.run (slot, started_at) VALUES (%s, custody.clock())", [slot]
        )

    assert await run_slot(story.clerk, story.clerk.engine, slot) is None
    advance(ABANDONED + timedelta(seconds=1))
    assert await run_slot(story.clerk, story.clerk.engine, slot) == Figures(notices_due=1)
    assert await run_slot(story.clerk, story.clerk.engine, slot) is None


async def test_a_slot_done_twice_writes_once_and_counts_what_was_left(
    story: Story, advance: Advance, database: Database
) -> None:
    number = await kept(story)
    advance(timedelta(days=150))
    slot = newest_slot(await now(story))
    await run_slot(story.clerk, story.clerk.engine, slot)
    with database.connect("clerk") as connection:  # the replica died after its work, before saying so
        connection.execute("UPDATE retention.run SET finished_at = NULL")
    head = (await story.kit(number)).choices_head
    advance(ABANDONED + timedelta(seconds=1))

    assert await run_slot(story.clerk, story.clerk.engine, slot) == Figures()

    assert (await story.kit(number)).choices_head == head
    keys = rows(database, "SELECT idempotency_key FROM custody.event WHERE type = 'notice.due'")
    assert keys == [(f"check:{write_moment(slot)}:{number}:notice.due",)]


async def test_an_instant_between_slots_is_no_slot(story: Story) -> None:
    with pytest.raises(ValueError, match="is not a slot"):
        await run_slot(story.clerk, story.clerk.engine, datetime(2026, 1, 1, 0, 1, tzinfo=UTC))


# --- one kit alone --------------------------------------------------------------------------------------


def spoil(database: Database, kit: str, document: str) -> None:
    """Another document of this kit, from an SQL expression."""
    with database.connect("superuser") as connection:
        connection.execute(f"UPDATE custody.kit SET document = {document} WHERE number = %s", [kit])


async def test_a_kit_that_cannot_be_moved_does_not_stop_the_others(
    story: Story, advance: Advance, database: Database
) -> None:
    bad, broken, altered, good, better = [await kept(story) for _ in range(5)]
    spoil(database, bad, "jsonb_set(document, '{policy,id}', '\"elsewhere\"')")  # adopted nowhere
    spoil(database, broken, "'{}'")
    spoil(database, altered, "jsonb_set(document, '{packages,1,state}', '\"stored\"')")
    advance(timedelta(days=150))

    assert await check(story) == Figures(notices_due=2, failed=3)
    for number in (good, better):
        assert (await story.kit(number)).retention is Retention.NOTICE_DUE
    reasons = {str(k): str(r) for k, r in rows(database, "SELECT kit, reason FROM retention.set_aside")}
    assert set(reasons) == {bad, broken, altered}
    assert "notice.due: Refused: The retention policy {policy} of this kit" in reasons[bad]
    assert reasons[broken] == "notice.due: TypeError"
    assert reasons[altered] == "notice.due: Inconsistent"  # what the database alone refuses

    assert await check(story) == Figures()  # set aside: not tried again for an hour
    advance(timedelta(hours=1, minutes=1))
    assert await check(story) == Figures(failed=3)


async def test_an_hour_later_a_kit_that_was_put_right_is_moved_and_forgotten(
    story: Story, advance: Advance, database: Database
) -> None:
    number = await kept(story)
    document = rows(database, "SELECT document::text FROM custody.kit")[0][0]
    with database.connect("superuser") as connection:
        connection.execute("UPDATE custody.kit SET document = '{}'")
    advance(timedelta(days=150))
    assert await check(story) == Figures(failed=1)
    with database.connect("superuser") as connection:
        connection.execute("UPDATE custody.kit SET document = %s::jsonb", [document])
    advance(timedelta(hours=1, minutes=1))

    assert await check(story) == Figures(notices_due=1)
    assert rows(database, "SELECT kit FROM retention.set_aside") == []
    assert (await story.kit(number)).retention is Retention.NOTICE_DUE


async def test_a_policy_that_cannot_be_read_is_counted_and_the_others_are_used(
    story: Story, advance: Advance, database: Database
) -> None:
    again = dump([replace(POLICY, version=2)])
    await adopt(story, again, version=2)
    far_away = again.replace(b"Europe/Brussels", b"CET")  # the database knows it, no policy names it
    with database.connect("superuser") as connection:  # as if the world's zones had changed since
        connection.execute("SET custody.maintenance = 'on'")
        connection.execute("ALTER TABLE custody.policy DISABLE TRIGGER USER")
        connection.execute("UPDATE custody.policy SET document = %s WHERE version = 2", [far_away])
    await kept(story)
    advance(timedelta(days=150))

    assert await check(story) == Figures(notices_due=1, failed=1)


# --- the calendar on the database -------------------------------------------------------------------------


async def test_before_the_day_of_notice_there_is_nothing_to_do(story: Story, advance: Advance) -> None:
    await kept(story)
    await kept(story, "minor")
    advance(timedelta(days=100))

    assert await check(story) == Figures()


async def test_after_a_long_outage_one_slot_is_enough_and_no_term_expires_without_its_notice(
    story: Story, advance: Advance
) -> None:
    number = await kept(story)
    advance(timedelta(days=400))  # the service was down; the term is over, the victim was never told

    assert await check(story) == Figures(notices_due=1)
    assert await check(story) == Figures()
    advance(timedelta(days=30))
    assert await check(story) == Figures()  # nobody has told the victim yet
    await told(story, number)
    advance(timedelta(days=59))
    assert await check(story) == Figures()
    advance(timedelta(days=3))
    assert await check(story) == Figures(expired=1)
    assert (await story.kit(number)).retention is Retention.EXPIRED


async def test_after_a_long_outage_everything_is_done_in_the_order_of_its_due_day(
    story: Story, advance: Advance, database: Database
) -> None:
    first = await kept(story)
    advance(timedelta(days=130))
    assert await check(story) == Figures(notices_due=1)
    await told(story, first)
    second = await kept(story)
    advance(timedelta(days=10))
    third = await kept(story)
    asked = await early_destruction(story)
    advance(timedelta(days=200))

    slot = newest_slot(await now(story))
    done = await run_slot(story.clerk, story.clerk.engine, slot, at_once=1)

    assert done == Figures(expired=1, cooled_off=1, notices_due=2)
    written = rows(
        database,
        f"SELECT kit FROM custody.event WHERE idempotency_key LIKE 'check:{write_moment(slot)}:%'"
        " ORDER BY recorded_at",
    )
    assert [kit for (kit,) in written] == [asked, first, second, third]


async def test_who_wants_no_contact_is_not_told_and_the_term_ends_all_the_same(
    story: Story, advance: Advance, database: Database
) -> None:
    number = await kept(story)
    order = ChangeChannel(kit=number, channel="none", language="nl", how="in_person")
    await story.do(NURSE, [number], lambda seen: change_channel(seen.kit(number), order, NURSE, NURSE_2))
    advance(timedelta(days=150))

    assert await check(story) == Figures(notices_due=1)

    types = rows(
        database, "SELECT type, ordinal FROM custody.event WHERE person = 'clock' AND kit IS NOT NULL"
    )
    assert sorted(types) == [("notice.attempted", 1), ("notice.due", 0)]
    assert rows(database, "SELECT kit FROM retention.outbox") == []
    advance(timedelta(days=61))
    assert await check(story) == Figures(expired=1)


SOON = SourcedPeriod(period=Period(days=14), source="invented for this test", confirmed=False)
REMINDED = replace(POLICY, version=2, reminders=(SOON,))


async def test_after_an_outage_kits_with_two_things_to_do_keep_their_turn(
    story: Story, advance: Advance, database: Database
) -> None:
    await adopt(story, dump([REMINDED]), version=2)
    numbers = [await kept(story, policies=(REMINDED,)) for _ in range(3)]
    term = (await story.kit(numbers[0])).term
    assert term is not None
    advance(timedelta(days=(term.notice_on - term.start).days + 1))
    assert await check(story) == Figures(notices_due=3)
    for number in numbers:
        reached = REACHED(kit=number)
        await story.do(
            NURSE,
            [number],
            lambda seen, o=reached: attempt(seen.kit(o.kit), o, NURSE, (REMINDED,), seen.at),  # type: ignore[misc]
        )
    advance(timedelta(days=90))

    assert await check(story) == Figures(repeated=3, expired=3)
    moments = "SELECT count(DISTINCT recorded_at) FROM custody.event WHERE type = 'term.expired'"
    assert rows(database, moments) == [(1,)], "decided on what the reminder left, and written together"


async def test_a_channel_that_was_proved_lately_gets_a_message_and_is_reminded(
    story: Story, advance: Advance, database: Database
) -> None:
    await adopt(story, dump([REMINDED]), version=2)
    number = await kept(story, policies=(REMINDED,))
    order = ProveChannel(kit=number, how="message_shown")
    await story.do(NURSE, [number], lambda seen: prove_channel(seen.kit(number), order, NURSE))
    kit = await story.kit(number)
    assert kit.term is not None
    advance(timedelta(days=(kit.term.notice_on - kit.term.start).days + 1))

    assert await check(story) == Figures(notices_due=1)
    assert (await story.kit(number)).remind_on is not None
    advance(timedelta(days=40))
    assert await check(story) == Figures()
    advance(timedelta(days=10))
    assert await check(story) == Figures(repeated=1)
    assert await check(story) == Figures()

    assert rows(database, "SELECT kit, channel FROM retention.outbox") == [(number, "email")] * 2
    assert rows(database, "SELECT sum(repeated) FROM retention.run") == [(1,)]


async def test_what_people_did_since_the_look_stands_and_the_others_of_the_batch_are_moved(
    story: Story, advance: Advance, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [await kept(story) for _ in range(4)]
    advance(timedelta(days=150))
    append, quick = batch.append, numbers[1]

    async def extend_before(ledger: Ledger, steps: Sequence[batch.Step]) -> frozenset[str]:
        if len(steps) == len(numbers):
            order = DeclareReport(kit=quick, how="in_person")
            await story.do(NURSE, [quick], lambda seen: declare(seen.kit(quick), order, NURSE))
        return await append(ledger, steps)

    monkeypatch.setattr(batch, "append", extend_before)

    assert await check(story) == Figures(notices_due=3)
    assert (await story.kit(quick)).retention is Retention.STOPPED


async def test_an_expired_kit_stays_until_people_act(story: Story, advance: Advance) -> None:
    number = await kept_until_expired(story, advance)
    advance(timedelta(days=20 * 365))

    assert await check(story) == Figures()
    assert len((await story.kit(number)).open_packages) == 3


async def early_destruction(story: Story) -> str:
    number = await kept(story)
    victim = card_of(number)
    ask = AskDestruction(kit=number, how="by_card")
    await story.do(victim, [number], lambda seen: ask_destruction(seen.kit(number), ask, victim, BELGIUM))
    confirm = ConfirmDestruction(kit=number, identity="confirmed", free_will="confirmed")
    await story.do(
        NURSE,
        [number],
        lambda seen: confirm_destruction(seen.kit(number), confirm, NURSE, NURSE_2, BELGIUM, seen.at),
    )
    return number


async def test_a_cooling_off_that_is_over_puts_the_kit_on_the_list_of_expired_terms(
    story: Story, advance: Advance
) -> None:
    number = await early_destruction(story)
    advance(timedelta(days=29))
    assert await check(story) == Figures()
    advance(timedelta(days=2, minutes=1))

    assert await check(story) == Figures(cooled_off=1)

    kit = await story.kit(number)
    assert kit.retention is Retention.EXPIRED
    assert kit.term is not None
    assert kit.term.over_at <= await now(story)
    assert await check(story) == Figures()


async def test_a_cooling_off_taken_back_in_time_leads_nowhere(story: Story, advance: Advance) -> None:
    number = await early_destruction(story)
    advance(timedelta(days=29))
    victim, order = card_of(number), TakeBackDestruction(kit=number, how="by_card")
    await story.do(
        victim,
        [number],
        lambda seen: take_back_destruction(seen.kit(number), order, victim, BELGIUM, seen.at),
    )
    advance(timedelta(days=10))

    assert await check(story) == Figures()
    assert (await story.kit(number)).retention is Retention.RUNNING


async def test_a_cooling_off_taken_back_late_gives_the_term_back(story: Story, advance: Advance) -> None:
    number = await early_destruction(story)
    advance(timedelta(days=40))
    assert await check(story) == Figures(cooled_off=1)
    victim, order = card_of(number), TakeBackDestruction(kit=number, how="by_card")

    await story.do(
        victim,
        [number],
        lambda seen: take_back_destruction(seen.kit(number), order, victim, BELGIUM, seen.at),
    )

    kit = await story.kit(number)
    assert kit.retention is Retention.RUNNING
    assert kit.term is not None
    assert kit.term.over_at - await now(story) >= timedelta(days=60)
    assert await check(story) == Figures()


async def test_a_hold_for_safety_ends_the_confirmation_in_the_database_too(
    story: Story, advance: Advance
) -> None:
    number = await early_destruction(story)
    victim, order = card_of(number), PlaceHold(kit=number, ground="safety", reason="")
    await story.do(
        victim, [number], lambda s: place_hold(s.kit(number), order, victim, "ab" * 16, BELGIUM, s.at)
    )
    lift = LiftHold(kit=number, hold="ab" * 16, reason="spoken with")
    await story.do(COORDINATOR, [number], lambda s: lift_hold(s.kit(number), lift, COORDINATOR, NURSE))
    advance(timedelta(days=40))

    assert await check(story) == Figures()


async def test_a_victim_found_to_be_a_minor_in_the_cooling_off_keeps_the_evidence(
    story: Story, advance: Advance
) -> None:
    number = await early_destruction(story)
    order = CorrectAge(kit=number, age_class="minor", reason="identity card seen")
    await story.do(
        COORDINATOR,
        [number],
        lambda seen: correct_age(seen.kit(number), order, COORDINATOR, NURSE, BELGIUM, seen.at),
    )
    advance(timedelta(days=400))

    assert await check(story) == Figures()
    assert (await story.kit(number)).retention is Retention.RUNNING


# --- the data key -----------------------------------------------------------------------------------------


def test_a_key_goes_when_the_time_for_contesting_is_over_under_the_kits_own_policy() -> None:
    kit, at = expired()
    assert not contest_over(kit, BELGIUM, at + 10_000 * DAY)  # not disposed of: nothing to contest
    kit = without(kit, disposed_at=at, retention=Retention.DISPOSED)
    over = datetime(2031, 7, 16, 22, tzinfo=UTC)
    short = replace(POLICY, id="short", contest=replace(POLICY.contest, period=Period(days=1)))

    assert at == datetime(2026, 7, 15, 22, tzinfo=UTC)
    assert not contest_over(kit, (short, *BELGIUM), over - timedelta(microseconds=1))
    assert contest_over(kit, (short, *BELGIUM), over)


def test_a_key_is_destroyed_once_only_after_the_disposal_and_says_when_the_backups_lapse() -> None:
    kit, at = expired()
    with pytest.raises(NotNow):
        destroy_key(kit, at, at + DAY)
    kit = without(kit, disposed_at=at, retention=Retention.DISPOSED)
    with pytest.raises(ValueError, match="backups"):
        destroy_key(kit, at, at - DAY)

    decided = destroy_key(kit, at, at + DAY)

    assert decided.extra == {"destroyed_keys": [{"kit": kit.number}]}
    assert decided.facts[0].fields == {"until": "2026-07-16T22:00:00.000000Z"}
    with pytest.raises(NotNow):
        destroy_key(then(kit, decided, at), at, at + DAY)


async def test_a_shorter_contest_period_of_another_policy_takes_no_key_of_this_one(
    story: Story, advance: Advance
) -> None:
    short = replace(POLICY, version=2, contest=replace(POLICY.contest, period=Period(days=1)))
    await adopt(story, dump([short]), version=2)
    number = await kept_until_approved(story, advance)
    await destroyed(story, number)
    advance(timedelta(days=1000))

    assert await check(story) == Figures()
    assert await story.ledger.read_private(NURSE, await story.kit(number)) != {}
