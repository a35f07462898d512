"""Periods of the calendar: the database counts them as the service does, in the days of the centre."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from custody.event import write_moment
from retention.period import Period, end_of
from retention.policy import dump
from retention.term import cooling_off_until, local_date, over_after
from tests.conftest import Database, Engines
from tests.custody.byhand import ByHand, refused
from tests.custody.story import begin
from tests.postgres.forging import PROTOCOL
from tests.postgres.hand import DAY, Advance, Hand
from tests.retention.kept import POLICY, adopt, kept

ZONES = (
    *("Europe/Brussels", "America/New_York", "Pacific/Honolulu", "Pacific/Pago_Pago"),
    *("Pacific/Kiritimati", "Asia/Kathmandu", "America/Sao_Paulo", "Australia/Lord_Howe"),
)
PERIODS = ("P1D", "P30D", "P60D", "P1M", "P3M", "P6M", "P1Y", "P1Y1M10D", "P50Y")
MONTH_ENDS = [
    datetime(*day, tzinfo=UTC) for day in ((2026, 2, 28), (2028, 2, 29), (2026, 8, 31), (2026, 11, 30))
]


Case = tuple[str, str, datetime]
Superuser = psycopg.Connection


@pytest.fixture
def connection(database: Database) -> Iterator[Superuser]:
    with database.connect("superuser") as opened:
        yield opened


def over(connection: Superuser, cases: Sequence[Case]) -> list[datetime]:
    """The earliest ends that the database takes, of these periods in these zones from these instants."""
    rows = connection.execute(
        "SELECT custody.over(jsonb_build_object('time_zone', c ->> 0), (c ->> 2)::timestamptz,"
        " (c ->> 1)::interval) FROM jsonb_array_elements(%s) WITH ORDINALITY e (c, place) ORDER BY place",
        [Jsonb([(zone, period, write_moment(since)) for zone, period, since in cases])],
    )
    return [at for (at,) in rows]


def compared(connection: Superuser, cases: Sequence[Case]) -> None:
    """Whatever the service reckons is taken, and nothing that is more than the room shorter."""
    for (zone, written, since), earliest in zip(cases, over(connection, cases), strict=True):
        policy, period = replace(POLICY, time_zone=zone), Period.parse(written)
        reckoned = over_after(policy, end_of(local_date(policy, since), period))
        room = 2 * DAY if period.years or period.months else min(2 * DAY, period.days * DAY / 5)
        assert earliest <= reckoned, (zone, written, since)
        assert reckoned - earliest <= room + timedelta(hours=26), (zone, written, since)


def test_around_every_end_of_a_month_the_database_counts_as_the_service_does(connection: Superuser) -> None:
    hours = range(-26, 52, 2)
    instants = [end + timedelta(hours=each) for end in MONTH_ENDS for each in hours]
    compared(connection, list(product(ZONES, PERIODS, instants)))


@given(
    cases=st.lists(
        st.tuples(
            st.sampled_from(ZONES),
            st.builds(
                Period, years=st.integers(0, 60), months=st.integers(0, 30), days=st.integers(1, 400)
            ).map(str),
            st.integers(0, 12_000 * 24 * 60).map(lambda minutes: MONTH_ENDS[0] + timedelta(minutes=minutes)),
        ),
        min_size=1,
        max_size=40,
    )
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_on_any_day_and_for_any_period_too(connection: Superuser, cases: list[Case]) -> None:
    compared(connection, cases)


@pytest.mark.anyio
async def test_a_month_from_the_evening_of_28_february_ends_at_the_centre_and_not_in_greenwich(
    database: Database, engines: Engines, advance: Advance
) -> None:
    policy = replace(
        POLICY,
        time_zone="America/New_York",
        cooling_off=replace(POLICY.cooling_off, period=Period(months=1)),
    )
    story = await begin(engines.service, engines.clerk)
    await adopt(story, dump([policy]))
    with ByHand(database) as byhand:
        hand = Hand(byhand, story, await kept(story, policies=(policy,)), advance)
        hand.until(datetime(2027, 3, 1, 2, tzinfo=UTC))
        hand.one("destruction.requested", how="in_person")
        until = cooling_off_until(policy, hand.db.now())
        assert until == datetime(2027, 3, 29, 4, tzinfo=UTC)
        with refused(PROTOCOL):
            hand.two("destruction.confirmed", until=write_moment(until - 4 * DAY))
        hand.two("destruction.confirmed", until=write_moment(until))
