"""`custody rebuild --check` and `custody log check`: what is stored against what it must follow from.

Both read as custody_clerk and change nothing. Exit codes: 0 everything agrees; 1 something does not.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from audit.key import VerifierKey, read_keys
from audit.recheck import Progress as Told
from audit.text import Malformed
from custody import rebuild
from desk.keys import LOGS, public_keys
from desk.settings import CannotStart, Settings

T = TypeVar("T")

_SHOWN = 100  # differences printed; the rest is counted


def check_projection(settings: Settings) -> int:
    """Rebuild every kit from its trails and name what differs."""

    async def compare(engine: AsyncEngine) -> list[rebuild.Difference]:
        with _bar("kits rebuilt") as told:
            return await rebuild.check(engine, told)

    found = _as_clerk(settings, compare)
    for difference in found[:_SHOWN]:
        print(difference)
    if len(found) > _SHOWN:
        print(f"… and {len(found) - _SHOWN} more.")
    print(f"{len(found)} differences." if found else "The projection equals what the trails say.")
    return 1 if found else 0


def check_logs(settings: Settings, *, afresh: bool = False) -> int:
    """Derive both logs anew and name the first thing that is wrong with each."""
    wrong = []
    for log in LOGS:
        try:
            vkeys = public_keys(settings.keys, log)
        except Malformed as bad:
            wrong.append(f"The public keys of the log {log} in {settings.keys} cannot be read: {bad}.")
            continue
        keys = None if vkeys is None else read_keys(vkeys)
        note = settings.keys / f"{log}.note"
        last = note.read_bytes() if note.exists() else None
        if keys is None:
            print(f"No public key of the log {log} is in {settings.keys}: its signatures are not checked.")

        async def recheck(
            engine: AsyncEngine,
            log: str = log,
            keys: Sequence[VerifierKey] | None = keys,
            last: bytes | None = last,
        ) -> str | None:
            with _bar(f"leaves of the log {log}") as told:
                return await rebuild.check_log(engine, log, keys, last, told)

        if (told := _as_clerk(settings, recheck)) is not None:
            wrong.append(told)
    print("\n".join(wrong) or "Both logs follow from what is recorded, and every checkpoint holds.")
    return 1 if wrong else 0


def _as_clerk(settings: Settings, check: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    """What `check` answers, on an engine of custody_clerk. Raises CannotStart."""
    url = settings.clerk_database_url
    if url is None:
        raise CannotStart("CUSTODY_CLERK_DATABASE_URL must name the database to check.")

    async def run() -> T:
        engine = create_async_engine(url)
        try:
            return await check(engine)
        finally:
            await engine.dispose()

    try:
        return asyncio.run(run())
    except OperationalError as error:
        raise CannotStart(f"The database cannot be reached: {str(error.orig).splitlines()[0]}") from error


@contextmanager
def _bar(what: str) -> Iterator[Told]:
    """A progress bar on the error output, where a person watches; nothing in a file."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)

        def told(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield told
