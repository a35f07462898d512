"""A third reckoning of the few dates that the observer needs, from the words of a policy's document.

Nothing of `retention` is used: a fault there would be repeated here, and nobody would cry.
"""

import json
import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

_PERIOD = re.compile(r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)D)?")


@dataclass(frozen=True, slots=True)
class Rules:
    """What one version of a policy promises, each as an ISO 8601 duration in its own words."""

    zone: ZoneInfo
    kept: dict[str, str]
    notice: str
    cooling_off: str
    extension: str
    contest: str

    def day_of(self, at: datetime) -> date:
        """The day at the centre."""
        return at.astimezone(self.zone).date()

    def after(self, last: date) -> datetime:
        """The first instant of the day after ``last`` at the centre, in UTC."""
        return datetime.combine(last + timedelta(days=1), time(0), self.zone).astimezone(UTC)

    def begins(self, day: date) -> datetime:
        return self.after(day - timedelta(days=1))


@lru_cache(maxsize=4096)
def later(start: date, period: str) -> date:
    """The day so much later: years and months by the calendar, clipped to the month's end; then days."""
    parts = _PERIOD.fullmatch(period)
    assert parts is not None, period
    years, months, days = (int(part or 0) for part in parts.groups())
    month = start.year * 12 + start.month - 1 + years * 12 + months
    year, month = divmod(month, 12)
    day = min(start.day, monthrange(year, month + 1)[1])
    return date(year, month + 1, day) + timedelta(days=days)


def rules_of(document: bytes) -> dict[tuple[str, int], Rules]:
    """Every version in a policy's document, by its name and number."""
    return {(each["id"], each["version"]): _rules(each) for each in json.loads(document)["policies"]}


def _rules(policy: dict[str, Any]) -> Rules:
    def period(of: Any) -> str:
        first = of[0] if isinstance(of, list) else of  # several notice points: the longest stands first
        return str(first["period"])

    notices = policy.get("notices") or policy["notice"]
    return Rules(
        zone=ZoneInfo(policy["time_zone"]),
        kept={name: period(each) for name, each in policy["kept"].items()},
        notice=period(notices),
        cooling_off=period(policy["cooling_off"]),
        extension=period(policy["extension"]),
        contest=period(policy["contest"]),
    )
