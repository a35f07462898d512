"""`custody duty make CENTRE --out FILE.pdf`: a new duty credential of a centre, as a sheet to be sealed.

The sheet is on the disk before its credential counts, and the credential before it voids no other: whatever
fails, one of the two sheets works. The file is for the printer alone: it is readable by its owner only, and
whoever made it deletes it once the envelope is sealed.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from custody import reading
from custody.card import CardCode
from custody.directory import day_of
from custody.people import OrganisationKind
from desk import duty, texts
from desk.session import clock
from desk.settings import CannotStart, Settings
from labels.duty_sheet import DutySheet, duty_pdf

T = TypeVar("T")


def make(settings: Settings, centre: str, out: Path) -> None:
    """Make it, and write the sheet to the new file `out`. Raises CannotStart."""
    code = duty.new_code()
    name, at = _as_clerk(settings, lambda connection: _about(connection, centre))
    _lay(out, duty_pdf(_sheet(settings.base_url, name, code, at), at))
    try:
        _as_clerk(settings, lambda connection: duty.make(connection, centre, code))
    except BaseException:
        out.unlink(missing_ok=True)  # it opens nothing
        raise


def _as_clerk(settings: Settings, do: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    database = settings.clerk_database_url
    if database is None:
        raise CannotStart("A duty credential is made as custody_clerk: set CUSTODY_CLERK_DATABASE_URL.")

    async def within() -> T:
        engine = create_async_engine(database, hide_parameters=True)
        try:
            async with engine.begin() as connection:
                return await do(connection)
        finally:
            await engine.dispose()

    try:
        return asyncio.run(within())
    except DBAPIError as fault:
        raise CannotStart(f"The database refused: {type(fault.orig).__name__}.") from None


async def _about(connection: AsyncConnection, centre: str) -> tuple[str, datetime]:
    known = (await reading.directory(connection)).organisations.get(centre)
    if known is None or known.kind is not OrganisationKind.CENTRE:
        raise CannotStart(f"There is no centre {centre[:80]} in the register.")
    return known.name, await clock(connection)


def _sheet(base_url: str, centre: str, code: CardCode, at: datetime) -> DutySheet:
    return DutySheet(
        title=texts.DUTY_TITLE,
        centre=centre,
        address=f"{base_url}/sign-in/duty",
        code=code,
        steps=texts.DUTY_SHEET,
        made=texts.DUTY_MADE.format(day=f"{day_of(at):%d/%m/%Y}"),
        call=texts.DUTY_CALL,
    )


def _lay(out: Path, data: bytes) -> None:
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise CannotStart(f"{out} is there already. Name a new file.") from None
    except OSError as fault:
        raise CannotStart(f"{out} cannot be written: {fault.strerror}.") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
