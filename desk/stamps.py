"""`custody log stamp`: a time stamp over the last checkpoint of each log, or over stamps that grow weak.

Exit codes: 0 done, or nothing to do; 1 a stamp was refused or is lost, with the reason on stderr. What the
authority sees, and when to renew, is in docs/time-stamps.md.
"""

import sys
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from audit import log as logs
from audit import stamp as stamps
from audit.stamp import StampRefused
from desk.keys import LOGS
from desk.progress import bar
from desk.settings import CannotStart, Settings
from desk.upkeep import as_clerk

AHEAD: Final = timedelta(days=365)
"""Renewed is what does not last so much longer: a year in which a renewal may be forgotten, or fail."""


def stamp(settings: Settings, *, renew: bool) -> int:
    """Stamp the last signed checkpoint of both logs; with `renew`, the older stamps again that need it."""
    if settings.stamp_url is None or settings.stamp_roots is None:
        raise CannotStart(
            "No authority of time stamps is configured: set CUSTODY_STAMP_URL to its address and"
            " CUSTODY_STAMP_ROOTS to a PEM file of its root certificates."
        )
    url = settings.stamp_url
    try:
        roots = settings.stamp_roots.read_bytes()
    except OSError as wrong:
        raise CannotStart(f"{settings.stamp_roots} cannot be read: {wrong.strerror}.") from wrong
    work = _renew if renew else _stamp

    async def run(engine: AsyncEngine) -> list[bool]:
        return [await work(engine, log, url, roots) for log in LOGS]

    return 0 if all(as_clerk(settings, run)) else 1


async def _stamp(engine: AsyncEngine, log: str, url: str, roots: bytes) -> bool:
    async with engine.connect() as connection:
        size = await logs.signed_size(connection, log)
    if not size:
        print(f"Of the log {log} nothing was signed yet: there is nothing to stamp.")
        return True
    try:
        with bar(f"stamp of the log {log}") as told:
            done = await stamps.stamp(engine, log, size, url, roots)
            told(1, 1)
    except StampRefused as refused:
        return _told(f"The log {log} was not stamped. {refused}")
    if done is None:
        print(f"The last checkpoint of the log {log}, of {size} leaves, is stamped already.")
    else:
        print(
            f"The checkpoint of the log {log} of {size} leaves was stamped at {done.at:%Y-%m-%d %H:%M:%S} UTC"
            f" by {done.authority}; renew the stamp before {done.lasts:%Y-%m-%d}."
        )
    return True


async def _renew(engine: AsyncEngine, log: str, url: str, roots: bytes) -> bool:
    before = datetime.now(UTC) + AHEAD
    try:
        with bar(f"stamps of the log {log}") as told:
            done = await stamps.renew(engine, log, url, roots, before, told)
    except StampRefused as refused:
        return _told(f"The stamps of the log {log} were not all renewed. {refused}")
    print(f"Of the log {log}, {done.made} stamps were renewed that do not last beyond {before:%Y-%m-%d}.")
    for lost in done.lost:
        _told(lost)
    return not done.lost


def _told(wrong: str) -> bool:
    print(wrong, file=sys.stderr)
    return False
