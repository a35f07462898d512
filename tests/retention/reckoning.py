"""A second reckoning of the calendar, by walking it, and what the stories of terms draw from."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from hypothesis import settings
from hypothesis import strategies as st

import retention.period
import retention.term
from retention.period import Period
from retention.policy import AgeClass, CountedFrom, load

SEED = Path(retention.term.__file__).parent / "seed" / "belgium.json"
(BELGIUM,) = load(SEED.read_bytes())
ZONES = [
    "Europe/Brussels",
    "Atlantic/Azores",
    "America/Havana",
    "Africa/Cairo",
    "Pacific/Apia",
    "Asia/Kolkata",
]
ONE_DAY = timedelta(days=1)

days = st.dates(date(1990, 1, 1), date(2100, 12, 31))
instants = st.integers(0, 110 * 366 * 86_400).map(
    lambda s: datetime(1990, 1, 1, tzinfo=UTC) + timedelta(seconds=s)
)
periods = st.builds(
    lambda years, months, days: Period(years=years, months=months, days=days or int(not years + months)),
    years=st.integers(0, 6),
    months=st.integers(0, 40),
    days=st.integers(0, 400),
)
age_classes = st.sampled_from(AgeClass)
policies = st.builds(
    lambda zone, counted_from: replace(BELGIUM, time_zone=zone, extension_counted_from=counted_from),
    zone=st.sampled_from(ZONES),
    counted_from=st.sampled_from(CountedFrom),
)
unhurried = settings(deadline=None, max_examples=150)


def walked(start: date, period: Period) -> date:
    """The end of a period by walking: day after day, minding only when a new month begins."""
    months_to_go = 12 * period.years + period.months
    day = start
    while months_to_go:
        day += ONE_DAY
        if day.day == 1:
            months_to_go -= 1
    if period.years or period.months:
        while day.day != start.day and (day + ONE_DAY).day != 1:
            day += ONE_DAY
    for _ in range(period.days):
        day += ONE_DAY
    return day


def watched(zone: str, end: date) -> datetime:
    """The end of a local day by watching its clock minute after minute."""
    minute = datetime(end.year, end.month, end.day, tzinfo=UTC) - timedelta(hours=15)
    while minute.astimezone(ZoneInfo(zone)).date() <= end:
        minute += timedelta(minutes=1)
    return minute


def in_brussels(written: str) -> datetime:
    return datetime.fromisoformat(written).replace(tzinfo=ZoneInfo("Europe/Brussels"))


def period(written: str) -> Period:
    return Period.parse(written)
