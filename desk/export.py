"""`custody log export DIR`: the published state of both logs as a folder for a static host.

    DIR/checkpoint, DIR/tile/…               the log of events
    DIR/reads/checkpoint, DIR/reads/tile/…   the log of reads
    DIR/events.vkey, DIR/reads.vkey          the public keys; whoever checks should have them from elsewhere

Served under the address that is the log's origin, the folder is a log as C2SP tlog-tiles describes it. It
holds only what is public (`audit.publish`): digests, padded, as of the last slot.

Exporting again adds what is new. Each file is written beside its place and renamed; the checkpoint comes
last, after everything it speaks of is on the disk. So an export may be cut off at any moment and made again,
and a copy of the folder may be taken in the order tiles, then checkpoint. Before a checkpoint is replaced the
new log is proved to continue the one in the folder. A folder without its checkpoint is written anew.

Exit codes: 0 the folder holds what is published; 1 nothing is published yet, or the folder was refused.
"""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from audit import log as logs
from audit import merkle, static, tile
from audit.checkpoint import Checkpoint
from audit.merkle import EMPTY_ROOT, InvalidProof
from audit.static import CHECKPOINT, Told
from audit.text import Malformed
from audit.tile import MissingTile
from desk.keys import LOGS, public_keys
from desk.progress import bar
from desk.settings import CannotStart, Settings

_OURS = frozenset({CHECKPOINT, "tile", "reads", *(f"{log}.vkey" for log in LOGS)})
_UNFINISHED = ".new"  # the ending of a file that has not got its name yet


class FolderRefused(Exception):
    """The folder is left as it is: the message says why and what can be done."""


def export(settings: Settings, folder: Path) -> int:
    """Bring `folder` to the published state of both logs; the exit code. Raises CannotStart."""
    if settings.database_url is None:
        raise CannotStart("CUSTODY_DATABASE_URL must name the database to export from.")
    try:
        return asyncio.run(_export(settings, settings.database_url, folder))
    except FolderRefused as refused:
        print(f"custody: {refused}", file=sys.stderr)
        return 1
    except Malformed as damaged:
        raise CannotStart(f"What is stored of the log cannot be read: {damaged}.") from damaged
    except MissingTile as damaged:
        raise CannotStart(f"The stored log is damaged: {damaged}. custody log check says more.") from damaged
    except OSError as wrong:
        raise CannotStart(f"{folder} cannot be written: {wrong.strerror or wrong}.") from wrong
    except (DBAPIError, psycopg.Error) as error:
        lines = str(getattr(error, "orig", None) or error).strip().splitlines()
        raise CannotStart(f"The database failed ({(lines or [type(error).__name__])[0]}).") from error


async def _export(settings: Settings, url: str, folder: Path) -> int:
    engine = create_async_engine(url, hide_parameters=True)
    missing = 0
    try:
        for log in LOGS:
            place = folder if log == "events" else folder / log
            with bar(f"leaves of the log {log}") as told:
                size = await export_log(engine, log, place, told)
            if size is None:
                missing += 1
                print(f"The log {log} has not been published yet: the clerk does it in each slot.")
                continue
            try:
                vkeys = public_keys(settings.keys, log)
            except (Malformed, OSError) as wrong:
                raise FolderRefused(
                    f"{settings.keys / f'{log}.vkey'} cannot be read: {wrong}. The log {log} is in {place},"
                    " its public keys are not. Start the clerk, which writes the file anew, and export again."
                ) from wrong
            if vkeys is not None:
                _write(folder / f"{log}.vkey", vkeys.encode())
            print(f"The log {log}: {size} leaves in {place}.")
    finally:
        await engine.dispose()
    return 1 if missing else 0


async def export_log(engine: AsyncEngine, log: str, folder: Path, told: Told) -> int | None:
    """Bring `folder` to the last publication of `log` and answer its size; None before the first.

    Raises `FolderRefused` for a folder of something else, or one that is ahead of the log; `MissingTile`
    when the stored log is damaged; OSError.
    """
    async with engine.connect() as connection:
        note = await logs.checkpoint_note(connection, log, "published")
        if note is None:
            return None
        new = Checkpoint.read(note.text)
        old = _standing(folder, new.origin)
        if old.size > new.size:
            raise FolderRefused(
                f"{folder} holds {old.size} leaves of {old.origin}, but only {new.size} are published. The"
                " database is an older copy, or the folder belongs to another one. Nothing was written."
            )
        await _refuse_another_past(connection, log, folder, old, new)
        told(old.size, new.size)
        async for path, data in static.resources(connection, log, old.size, new.size):
            _write(folder / path, data)
            if path.startswith("tile/entries/"):
                told(min(_leaves(path), new.size), new.size)
    written = note.written()
    if old.size < new.size or (folder / CHECKPOINT).read_bytes() != written:
        os.sync()  # everything that the checkpoint speaks of, before the checkpoint
        _write(folder / CHECKPOINT, written)
    for path in static.superseded(old.size, new.size):
        shutil.rmtree(folder / path, ignore_errors=True)
    return new.size


def _standing(folder: Path, origin: str) -> Checkpoint:
    """What the folder holds: an empty log where it is new or was cut off. Raises FolderRefused."""
    if not (folder / CHECKPOINT).exists():
        strange = sorted(
            path.name for path in folder.glob("*") if path.name.removesuffix(_UNFINISHED) not in _OURS
        )
        if strange:
            raise FolderRefused(
                f"{folder} is not an exported log: there is {strange[0]!r} in it and no checkpoint."
                " Name a new or empty folder. Nothing was written."
            )
        return Checkpoint(origin, 0, EMPTY_ROOT)
    try:
        found = Checkpoint.read(static.read_checkpoint(folder).text)
    except Malformed as wrong:
        raise FolderRefused(
            f"{folder / CHECKPOINT} is not a checkpoint: {wrong}. Remove the file to have the folder written"
            " anew. Nothing was written."
        ) from wrong
    if found.origin != origin:
        raise FolderRefused(
            f"{folder} holds the log {found.origin}, this one is {origin}. Each log has a folder of its own."
            " Nothing was written."
        )
    return found


async def _refuse_another_past(
    connection: AsyncConnection, log: str, folder: Path, old: Checkpoint, new: Checkpoint
) -> None:
    """Prove that the log to be written continues the one in the folder. Raises FolderRefused."""
    proof = await logs.prove_consistency(connection, log, old.size, new.size)
    try:
        merkle.verify_consistency(old.size, old.root, new.size, new.root, proof.hashes)
    except InvalidProof as wrong:
        raise FolderRefused(
            f"The published log of {new.size} leaves does not continue the {old.size} leaves in {folder}:"
            f" {wrong}. Keep the folder: it shows what was published before. Nothing was written."
        ) from wrong


def _leaves(path: str) -> int:
    number, wide = tile.read_entries_path(path)
    return number * tile.WIDTH + wide


def _write(path: Path, data: bytes) -> None:
    """A whole file under its name, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + _UNFINISHED)
    new.write_bytes(data)
    new.replace(path)
