"""`custody rebuild --check` and `custody log check`: what is stored against what it must follow from.

Both read as custody_clerk and change nothing in the database. How far a check has come lies in
`log-check.json` beside the keys until it comes to its end. Exit codes: 0 everything agrees; 1 something does
not.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from audit import log as logs
from audit.key import VerifierKey
from audit.keybox import note_path
from audit.policy import Policy
from audit.recheck import is_stored
from audit.text import Malformed
from audit.tile import MissingTile
from custody import ledger, rebuild, recheck
from custody.difference import Difference
from desk.keys import LOGS, known_keys
from desk.masters import FileMasters
from desk.progress import bar, stages
from desk.settings import CannotStart, Settings

T = TypeVar("T")

POSITION: Final = "log-check.json"  # beside the keys: who could write there could also sign
CLERK: Final = "custody_clerk"
NOTE_TRIES: Final = 20
NOTE_PAUSE: Final = 0.25  # seconds

_SHOWN: Final = 100  # differences printed; the rest is counted


def check_projection(settings: Settings) -> int:
    """Rebuild every kit from its trails and name what differs."""

    async def compare(engine: AsyncEngine) -> list[Difference]:
        with bar("kits rebuilt") as told:
            return await rebuild.check(engine, told)

    found = as_clerk(settings, compare)
    for difference in found[:_SHOWN]:
        print(difference)
    if len(found) > _SHOWN:
        print(f"… and {len(found) - _SHOWN} more.")
    print(f"{len(found)} differences." if found else "The projection equals what the trails say.")
    return 1 if found else 0


def check_logs(settings: Settings, *, afresh: bool = False) -> int:
    """Derive everything anew from the events, and name the first thing that is wrong.

    An interrupted check is gone on with; ``afresh`` begins at the first leaf.
    """
    try:
        outside = _outside(settings)
    except Malformed as bad:
        print(f"What the logs would be checked with, in {settings.keys}, cannot be read: {bad}.")
        return 1
    except OSError as wrong:
        raise CannotStart(_of_a_file(wrong)) from wrong
    kept = Kept(settings.keys / POSITION)
    if afresh:
        kept.remove()
    position, unread = _position(kept.path)
    unlooked: list[str] = []

    async def derive(engine: AsyncEngine) -> recheck.Verdict:
        unlooked.extend(await _unlooked(engine, outside))
        notes = {log: note for log in LOGS if (note := await _note(engine, settings, log)) is not None}
        with stages() as told:
            return await recheck.check(
                engine,
                replace(outside, notes=notes),
                position=position,
                told=told,
                kept=kept.keep,
            )

    verdict = as_clerk(settings, derive)
    kept.remove()  # this one came to its end
    print(verdict.wrong or _agrees(settings.keys, unlooked))
    for remark in (*unread, *kept.failed, *verdict.remarks):
        print(remark)
    return 1 if verdict.wrong or unlooked else 0


async def _unlooked(engine: AsyncEngine, outside: recheck.Outside) -> list[str]:
    """The logs that were signed, and of which no public key is at hand."""
    async with engine.connect() as connection:
        return [
            log
            for log in LOGS
            if log not in outside.keys and await logs.signed_size(connection, log) is not None
        ]


def _agrees(keys: Path, unlooked: Sequence[str]) -> str:
    if not unlooked:
        return "Everything follows from the events, and every checkpoint holds."
    missing = " and ".join(str(keys / f"{log}.vkey") for log in unlooked)
    return (
        f"NO SIGNATURE OF THE LOG{'S' if len(unlooked) > 1 else ''} {' AND '.join(unlooked)} WAS CHECKED:"
        f" {missing} is not there. What is stored agrees with itself, which whoever altered all of it could"
        " bring about, too. Lay the public keys there that were handed out, and check again."
    )


def _outside(settings: Settings) -> recheck.Outside:
    """What lies beside the database. Raises Malformed."""
    keys = {log: known for log in LOGS if (known := known_keys(settings.keys, log))}
    witnesses: tuple[VerifierKey, ...] = ()
    if settings.witnesses is not None:
        policy = Policy.read(settings.witnesses.read_bytes())
        witnesses = tuple(witness.key for witness in policy.witnesses)
    roots = None if settings.stamp_roots is None else settings.stamp_roots.read_bytes()
    return recheck.Outside(
        keys=keys, witnesses=witnesses, roots=roots, masters=FileMasters(settings.keys, making=False)
    )


async def _note(engine: AsyncEngine, settings: Settings, log: str) -> bytes | None:
    """The last signed note beside the key, once its row is there: a clerk at work writes the file first."""
    path = note_path(settings.keys / f"{log}.key")
    note = None
    for _ in range(NOTE_TRIES):
        if not path.exists():
            return None
        note = path.read_bytes()
        async with engine.connect() as connection:
            if await is_stored(connection, log, note):
                break
        await asyncio.sleep(NOTE_PAUSE)
    return note


def _position(kept: Path) -> tuple[recheck.Position | None, tuple[str, ...]]:
    """Where an interrupted check had come to; and what is to be said about a file that does not tell."""
    try:
        return recheck.Position.read(kept.read_text(encoding="utf-8")), ()
    except FileNotFoundError:
        return None, ()
    except ValueError:
        return None, (f"{kept} does not say how far a check had come; this one began at the first leaf.",)


def _new(kept: Path) -> Path:
    return kept.with_name(kept.name + ".new")


def _keep(kept: Path, reached: recheck.Position) -> None:
    """In one step: a crash leaves the old position or the new one."""
    kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _new(kept).write_text(reached.written(), encoding="utf-8")
    _new(kept).replace(kept)


@dataclass
class Kept:
    """The file that tells how far a check has come. Where it cannot be written, the check goes on."""

    path: Path
    failed: tuple[str, ...] = ()
    """What is to be said about that."""

    def keep(self, reached: recheck.Position) -> None:
        """Put the position there, if there is room."""
        try:
            _keep(self.path, reached)
        except OSError as wrong:
            self._failed(wrong)
            with contextlib.suppress(OSError):
                _new(self.path).unlink(missing_ok=True)

    def remove(self) -> None:
        """The next check begins at the first leaf."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as wrong:
            self._failed(wrong)

    def _failed(self, wrong: OSError) -> None:
        self.failed = (f"How far this check has come could not be kept. {_of_a_file(wrong)}",)


def as_clerk(settings: Settings, check: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    """What `check` answers, on an engine of custody_clerk.

    Raises CannotStart with one sentence for another role, a database or a file that fails, and damage.
    """
    url = settings.clerk_database_url
    if url is None:
        raise CannotStart("CUSTODY_CLERK_DATABASE_URL must name the database to check.")

    async def run() -> T:
        engine = create_async_engine(url, hide_parameters=True)
        try:
            async with engine.connect() as connection:
                role = await connection.scalar(text("SELECT session_user"))
            if role != CLERK:
                raise CannotStart(
                    f"CUSTODY_CLERK_DATABASE_URL is of the role {role}. This is for {CLERK} alone: name that"
                    " role's address. Nothing was changed."
                )
            return await check(engine)
        finally:
            await engine.dispose()

    try:
        return asyncio.run(run())
    except (DBAPIError, psycopg.Error) as error:
        lines = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
        failed = "cannot be reached" if isinstance(error, OperationalError) else "failed"
        raise CannotStart(f"The database {failed}: {lines[0]}") from error
    except MissingTile as damaged:
        raise CannotStart(f"The stored log is damaged: {damaged}.") from damaged
    except Malformed as wrong:
        raise CannotStart(
            f"A file in {settings.keys}, or what is stored of the log, cannot be read: {wrong}."
        ) from wrong
    except ledger.Inconsistent as fault:
        raise CannotStart(f"Nothing was recorded: {fault}. custody log check says what is wrong.") from fault
    except OSError as wrong:
        raise CannotStart(_of_a_file(wrong)) from wrong


def _of_a_file(wrong: OSError) -> str:
    """Which file or folder failed, and how."""
    return f"{wrong.filename or 'A file or an address'} cannot be used: {wrong.strerror or wrong}."
