"""A second reckoning of the calendar, by walking it, and what the stories of terms draw from.

Nothing here computes a date: it walks days one by one, looks at each, and asks the rules of a policy in the
words in which a person would. It shares no code with `retention.period`, `retention.holidays` and
`retention.term`.
"""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from hypothesis import settings
from hypothesis import strategies as st

import retention.period
import retention.term
from retention.holidays import Holiday, Holidays, Substitute
from retention.period import Period
from retention.policy import AgeClass, CountedFrom, ExtensionUntil, Policy, SourcedPeriod, load

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


# Holidays by looking at every day of a year


@cache
def easter_by_hand(year: int) -> date:
    """Easter by the tables of the calendar reform of 1582: golden number, epact, and the Sunday after.

    As Christophorus Clavius explained them (*Romani calendarii ... explicatio*, 1603): the epact of the year,
    corrected for leap years left out (the solar equation) and for the drift of the moon (the lunar one),
    tells how old the moon is; its fourteenth day from 21 March on is looked for by walking, and then the next
    Sunday after it.
    """
    golden = year % 19 + 1
    centuries = year // 100
    left_out = sum(1 for century in range(17, centuries + 1) if century % 4 != 0)
    # eight corrections of a day in 2500 years: in 1800, 2100, ... and after every eighth one a century later
    drift = sum(1 for century in range(18, centuries + 1) if (century - 18) % 25 in range(0, 24, 3))
    epact = (11 * (golden - 1) - left_out + drift + 1) % 30
    if epact == 24 or (epact == 25 and golden > 11):
        epact += 1  # so that two of the nineteen years never share a full moon
    day, moon = date(year, 3, 21), 21 + epact
    while moon % 30 != 14:
        day, moon = day + ONE_DAY, moon + 1
    day += ONE_DAY
    while day.isoweekday() != 7:
        day += ONE_DAY
    return day


def holidays_by_looking(holidays: Holidays, year: int) -> set[date]:
    """Every holiday of a year: each day is looked at, and each rule asked whether it means that day."""
    named = [
        (day, rule) for day in _days_of(year - 1, year + 1) for rule in holidays.days if means(rule, day)
    ]
    free = {day for day, _ in named}
    for day, rule in sorted(named, key=lambda pair: (pair[0], pair[1].name)):
        if day.weekday() in holidays.weekend and rule.substitute is not Substitute.NONE:
            back = rule.substitute is Substitute.NEAREST and day.isoweekday() == 6
            other = day
            while other.weekday() in holidays.weekend or other in free:
                other = other - ONE_DAY if back else other + ONE_DAY
            free.add(other)
    return {day for day in free if day.year == year}


def means(rule: Holiday, day: date) -> bool:
    """Whether this rule makes this day a holiday."""
    if (rule.first and day.year < rule.first) or (rule.last and day.year > rule.last):
        return False
    if rule.on is not None:
        return (day.month, day.day) == rule.on
    if rule.easter is not None:
        return day - easter_by_hand(day.year) == rule.easter * ONE_DAY
    if day.weekday() != rule.weekday or day.month != rule.month:
        return False
    same = [other for other in _days_of(day.year, day.year) if other.month == day.month]
    same = [other for other in same if other.weekday() == day.weekday()]
    return rule.nth is not None and same.index(day) == (rule.nth - 1 if rule.nth > 0 else len(same) - 1)


@cache
def _free_days(holidays: Holidays, year: int) -> set[date]:
    return holidays_by_looking(holidays, year)


@cache
def _days_of(first: int, last: int) -> tuple[date, ...]:
    day, found = date(first, 1, 1), []
    while day.year <= last:
        found.append(day)
        day += ONE_DAY
    return tuple(found)


# Terms by hand


def ends(policy: Policy, start: date, length: Period) -> date:
    """The last day of a period: walked, and then on to a working day where the policy wants one."""
    day = walked(start, length)
    if policy.holidays is not None:
        while day.weekday() in policy.holidays.weekend or day in _free_days(policy.holidays, day.year):
            day += ONE_DAY
    return day


def last_day_to_tell(end: date, notice: Period) -> date:
    """Walking back from the end until the whole notice period is left."""
    day = end
    while walked(day, notice) > end:
        day -= ONE_DAY
    return day


def day_there(policy: Policy, at: datetime) -> date:
    return at.astimezone(ZoneInfo(policy.time_zone)).date()


Reckoned = tuple[date, date]
"""The last day of a term and its day of notice, reckoned by hand."""


def by_hand(policy: Policy, end: date) -> Reckoned:
    return end, last_day_to_tell(end, policy.notice.period)


def extended_by_hand(policy: Policy, start: date, end: date, asked_on: date) -> Reckoned:
    from_day = asked_on
    if policy.extension_counted_from is CountedFrom.END and end > asked_on:
        from_day = end
    longer = ends(policy, from_day, policy.extension.period)
    if policy.longest is not None:
        longer = min(longer, ends(policy, start, policy.longest.period))
    return by_hand(policy, max(end, longer))


def corrected_by_hand(
    policy: Policy,
    start: date,
    end: date,
    classes: tuple[AgeClass, AgeClass],
    today: date,
    extensions: int,
) -> Reckoned:
    was, now = (kept_for(policy, each) for each in classes)
    agreed = ends(policy, start, was)
    day = walked(start, now) + added_by_hand(policy, agreed, end, extensions) * ONE_DAY
    day = ends(policy, day - ONE_DAY, Period(days=1))
    if day < end and ends(policy, start, now) >= agreed:  # a class that is kept as long, or longer
        day = end
    if day < end:
        day = max(day, ends(policy, today, policy.notice.period))
    return by_hand(policy, day)


def added_by_hand(policy: Policy, agreed: date, end: date, extensions: int) -> int:
    """The days between, counted one by one; no more than so many extensions can have added."""
    most = agreed
    for _ in range(extensions):
        most = ends(policy, most, policy.extension.period)
    days = 0
    while agreed < min(end, most):
        agreed, days = agreed + ONE_DAY, days + 1
    return days


def kept_for(policy: Policy, age_class: AgeClass) -> Period:
    return {"adult": policy.adult, "minor": policy.minor, "unknown": policy.unknown}[age_class].period


def expiry_by_hand(policy: Policy, end: date, told_on: date) -> datetime:
    graced = end if policy.grace is None else ends(policy, end, policy.grace.period)
    return watched(policy.time_zone, max(graced, ends(policy, told_on, policy.notice.period)))


def points_by_hand(policy: Policy, end: date, notice_on: date) -> list[date]:
    """Every notice point of a term, by asking each day whether it is the last one for a notice."""
    lengths = [policy.notice.period, *(each.period for each in policy.reminders)]
    wanted = {last_day_to_tell(end, length) for length in lengths}
    day, found = notice_on, [notice_on]
    while day < end:
        day += ONE_DAY
        if day in wanted:
            found.append(day)
    return found


# What policies are drawn from


def sourced(written: str) -> SourcedPeriod:
    return SourcedPeriod(period=Period.parse(written), source="invented for a test", confirmed=False)


rules = st.one_of(
    st.builds(
        lambda day, substitute: Holiday(
            name="Day of the Heron", on=(day.month, day.day), substitute=substitute
        ),
        day=st.dates(date(2000, 1, 1), date(2000, 12, 31)),
        substitute=st.sampled_from(Substitute),
    ),
    st.builds(lambda days: Holiday(name="Heron Monday", easter=days), days=st.integers(-60, 70)),
    st.builds(
        lambda weekday, month, nth: Holiday(name="Heronry", weekday=weekday, month=month, nth=nth),
        weekday=st.integers(0, 6),
        month=st.integers(1, 12),
        nth=st.sampled_from([1, 2, 3, 4, -1]),
    ),
)
calendars = st.builds(
    lambda weekend, days: Holidays(
        weekend=weekend, days=tuple(days), source="invented for a test", confirmed=False
    ),
    weekend=st.sampled_from([(5, 6), (4, 5), (6,), ()]),
    days=st.lists(rules, max_size=12),
)
every_policy = st.builds(
    lambda zone, counted_from, holidays, notice, reminders, grace, longest, adult: replace(
        BELGIUM,
        time_zone=zone,
        adult=sourced(adult),
        minor=sourced("P3Y"),
        unknown=sourced("P3Y"),
        notice=sourced(notice),
        reminders=tuple(map(sourced, reminders)),
        grace=grace and sourced(grace),
        longest=longest and sourced(longest),
        extension_counted_from=counted_from,
        extension_until=ExtensionUntil.DISPOSAL,
        holidays=holidays,
    ),
    zone=st.sampled_from(ZONES),
    counted_from=st.sampled_from(CountedFrom),
    holidays=st.none() | calendars,
    notice=st.sampled_from(["P60D", "P2M", "P1M15D"]),
    reminders=st.sampled_from([(), ("P14D",), ("P1M", "P14D", "P3D")]),
    grace=st.sampled_from([None, "P14D", "P1M"]),
    longest=st.sampled_from([None, "P3Y", "P5Y"]),
    adult=st.sampled_from(["P6M", "P1Y", "P26M", "P400D"]),
)


def in_brussels(written: str) -> datetime:
    return datetime.fromisoformat(written).replace(tzinfo=ZoneInfo("Europe/Brussels"))


def period(written: str) -> Period:
    return Period.parse(written)
