"""Another master key for a centre: made, every data key of its kits wrapped anew, the old one retired.

    custody masters make CENTRE       lays the next key as `….key.next`: it opens, and wraps nothing yet
    custody masters rotate CENTRE     1. the next key, made where none was laid, is tried
                                      2. `master_key.replaced` in the trail of the centre says why
                                      3. `….key.next` becomes `….key`: what is new is wrapped by it
                                      4. every data key that an older one wrapped is wrapped anew, each in one
                                         step that does nothing where another was quicker
                                      5. no data key being left under them, older keys become `….key.retired`

Killed between any two writes, the same command goes on. Workers keep running: at every moment each data key
is wrapped by a key whose file is in the folder, and they look at both again each time. Where workers run on
other hosts, the file of `make` is copied there before `rotate`; later its new name, too.

A retired key still opens what a backup of the database holds. When no such backup is left, people destroy it.
"""

import hashlib
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from custody import wrapped
from custody.decision import Decided
from custody.event import FIELDS, EventRefused, Fact
from custody.ledger import Command, Ledger
from custody.people import CLOCK
from custody.private import KEY_BYTES, MOST_NUMBER, PrivateRefused, number_of
from desk.masters import (
    MASTER_BYTES,
    FileMasters,
    MasterFile,
    alone,
    files,
    files_of,
    flush,
    path_of,
    source_of,
    write_new,
)
from desk.progress import Told, bar
from desk.settings import CannotStart, Settings
from desk.upkeep import as_clerk

Say = Callable[[str], None]

PROBE: Final = "7M4P9XQ3RT6C"  # a number for which a key is wrapped and thrown away
_LOCK: Final = text("SELECT pg_try_advisory_lock(hashtextextended('custody masters', 0))")


def make(settings: Settings, centre: str, source: str | None) -> int:
    """`custody masters make`. Raises CannotStart."""

    async def run(engine: AsyncEngine) -> None:
        await _refuse_unknown(engine, centre)
        made = lay_next(settings.keys, centre, source)
        print(
            f"{made.path} is laid: master key {made.number} of {centre}. Copy it to every host on which the"
            f" service runs, and into the keys' backup; then custody masters rotate {centre}."
        )

    as_clerk(settings, run)
    return 0


def rotate(settings: Settings, centre: str, reason: str) -> int:
    """`custody masters rotate`. Raises CannotStart."""

    async def run(engine: AsyncEngine) -> None:
        with bar(f"data keys of {centre}") as told:
            await replace_master(engine, settings.keys, centre, reason, print, told)

    try:
        FIELDS["reason"].check("the reason", reason)
        as_clerk(settings, run)
    except (EventRefused, PrivateRefused) as refused:
        raise CannotStart(f"{refused}.") from refused
    return 0


def show(settings: Settings) -> int:
    """`custody masters list`. Raises CannotStart."""

    async def run(engine: AsyncEngine) -> list[str]:
        return await listed(engine, settings.keys)

    for line in as_clerk(settings, run):
        print(line)
    return 0


async def listed(engine: AsyncEngine, keys: Path) -> list[str]:
    """Each master key: centre, number, kind, how many data keys it wraps."""
    async with engine.connect() as connection:
        found = await wrapped.data_keys(connection)
    count = Counter((centre, number_of(data)[0]) for centre, _, data in found)
    masters, lines = FileMasters(keys, making=False), []
    there = {(each.centre, each.number): each for each in files(keys)}
    for centre, number in sorted(there.keys() | count.keys()):
        each = there.get((centre, number))
        if each is None:
            kind = f"MISSING: bring {path_of(keys, centre, number).name} back from its copy"
        else:
            kind = ", ".join(filter(None, (_kind(masters, each), each.stage)))
        kits = count[(centre, number)]
        lines.append(f"{centre}  key {number}  {kits} {'kit' if kits == 1 else 'kits'}  {kind}")
    return lines or [f"There is no master key in {keys}, and none is needed yet."]


def _kind(masters: FileMasters, each: MasterFile) -> str:
    try:
        return masters.source(each).kind
    except (CannotStart, FileNotFoundError) as wrong:
        return f"CANNOT BE USED ({wrong})"


def lay_next(keys: Path, centre: str, source: str | None = None) -> MasterFile:
    """Lay the centre's next master key: 32 random bytes, or the line `source`. The one that is laid already,
    where `source` is None. Raises CannotStart."""
    data = secrets.token_bytes(MASTER_BYTES) if source is None else f"{source}\n".encode()
    try:
        if source is not None and source_of(data).kind == "file":
            raise ValueError("give a line that begins with ENVIRONMENT or COMMAND")
        with alone(keys):
            there = files_of(keys, centre)
            if laid := [each for each in there if each.stage == "next"]:
                if source is not None:
                    raise CannotStart(
                        f"{laid[-1].path} is laid already. Take it away first, or go on with it."
                    )
                return laid[-1]
            number = max((each.number for each in there), default=0) + 1
            path = path_of(keys, centre, number, "next")
            write_new(path, data)
    except ValueError as wrong:
        raise CannotStart(f"No master key can be made of this: {wrong}.") from None
    return MasterFile(centre=centre, number=number, stage="next", path=path)


async def replace_master(
    engine: AsyncEngine, keys: Path, centre: str, reason: str, say: Say, told: Told
) -> None:
    """Replace the centre's master key, or go on where that was cut off. `engine` is the clerk's.

    Raises CannotStart where nothing can be done, with what to do.
    """
    await _refuse_unknown(engine, centre)
    async with _only(engine) as connection:
        masters = FileMasters(keys, making=False)
        new = await _newest(connection, keys, centre, say)
        _try(masters, new)
        how = masters.source(new).kind
        await _record(engine, masters, centre, new.number, {"reason": reason, "how": how})
        new = _activate(keys, new)
        while left := await _older(connection, centre, new.number):
            for done, (kit, old) in enumerate(left):
                told(done, len(left))
                await _rewrap(connection, masters, new, kit, old)
            told(len(left), len(left))
            _retire(keys, new)  # whoever was about to wrap with an older one is found by the next look
        _retire(keys, new)
    say(
        f"Master key {new.number} of {centre} ({how}) wraps all its data keys. Older keys are retired, not"
        " destroyed: they open what backups of the database hold. Destroy them when the last such backup is"
        " gone; custody masters list shows that none wraps anything any more."
    )


async def _newest(connection: AsyncConnection, keys: Path, centre: str, say: Say) -> MasterFile:
    """The key to go on with: one that was laid, the newest of a rotation that was cut off, or a new one."""
    there = files_of(keys, centre)
    in_use = [each for each in there if each.stage == ""]
    if any(each.stage == "next" for each in there):
        return lay_next(keys, centre)
    if in_use and (len(in_use) > 1 or await _older(connection, centre, in_use[-1].number)):
        say(f"A rotation of {centre} was cut off; it goes on with master key {in_use[-1].number}.")
        return in_use[-1]
    if there and there[-1].number == MOST_NUMBER:
        raise CannotStart(f"{centre} has had {MOST_NUMBER} master keys; there is no number for another.")
    return lay_next(keys, centre)


def _try(masters: FileMasters, new: MasterFile) -> None:
    """Nothing is given to a key that does not open what it wrapped. Raises CannotStart."""
    probe = secrets.token_bytes(KEY_BYTES)
    tried = masters.wrap_with(new, PROBE, probe)
    try:
        same = masters.unwrap(new.centre, PROBE, tried) == probe
    except PrivateRefused:
        same = False
    if not same:
        raise CannotStart(
            f"{new.path} does not open what it wraps. Nothing was changed: take it away, or mend it."
        )


def _activate(keys: Path, new: MasterFile) -> MasterFile:
    if new.stage == "":
        return new
    path = path_of(keys, new.centre, new.number)
    os.replace(new.path, path)
    flush(keys)
    return MasterFile(centre=new.centre, number=new.number, stage="", path=path)


def _retire(keys: Path, new: MasterFile) -> None:
    for each in files_of(keys, new.centre):
        if each.stage == "" and each.number < new.number:
            os.replace(each.path, path_of(keys, each.centre, each.number, "retired"))
            flush(keys)


async def _older(connection: AsyncConnection, centre: str, number: int) -> list[tuple[str, bytes]]:
    """The data keys of a centre that an older master key wraps."""
    found = await wrapped.data_keys(connection)
    await connection.commit()
    return [(kit, data) for of, kit, data in found if of == centre and number_of(data)[0] < number]


async def _rewrap(
    connection: AsyncConnection, masters: FileMasters, new: MasterFile, kit: str, old: bytes
) -> None:
    """One data key. What replaces it has been opened before it is put there."""
    try:
        key = masters.unwrap(new.centre, kit, old)
        anew = masters.wrap_with(new, kit, key)
        if masters.unwrap(new.centre, kit, anew) != key:
            raise PrivateRefused
    except PrivateRefused:
        raise CannotStart(
            f"The data key of a kit of {new.centre} cannot be wrapped anew: it does not open with the master"
            " key that it names. It stays as it was, and so do older keys; custody log check names the kit."
        ) from None
    await wrapped.rewrap(connection, kit, old, anew)
    await connection.commit()


async def _record(
    engine: AsyncEngine, masters: FileMasters, centre: str, number: int, fields: dict[str, str]
) -> None:
    """Say it in the centre's trail, once for each key: the first reason stands."""
    subject, key = f"organisation:{centre}", f"master_key.replaced:{centre}:{number}"
    command = Command(actor=CLOCK, key=key, digest=hashlib.sha256(key.encode()).digest(), others=(subject,))
    fact = Fact(type="master_key.replaced", subject=subject, who=CLOCK.who(), fields=fields)
    await Ledger(engine, masters).carry_out(command, lambda _: Decided(facts=(fact,)))


async def _refuse_unknown(engine: AsyncEngine, centre: str) -> None:
    async with engine.connect() as connection:
        known = await wrapped.centres(connection)
    if centre not in known:
        raise CannotStart(
            f"There is no such centre. Those that are registered: {', '.join(known) or 'none'}."
        )


@asynccontextmanager
async def _only(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection that keeps every other rotation out, on whatever host. Raises CannotStart."""
    async with engine.connect() as connection:
        if not await connection.scalar(_LOCK):
            raise CannotStart("Another rotation of master keys is under way. Wait for it to end.")
        await connection.commit()
        try:
            yield connection
        finally:
            await connection.invalidate()  # and with the connection, the lock
