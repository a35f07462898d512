"""What the tests of successions share: both logs signed as the clerk signs them, and their whole history."""

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from audit import log as logs
from audit import publish, sign
from audit.checkpoint import Checkpoint
from audit.key import VerifierKey, open_note, read_keys, verify
from audit.keybox import open_box
from audit.note import Note
from audit.sign import Signer
from custody.event import Event
from desk.keys import LOGS, known_keys, public_keys, publish_keys, signing_keys
from desk.settings import Settings, read
from desk.succession import history, open_log
from tests.audit.whole_log import checkpoints
from tests.conftest import Database

ORIGIN = "custody.example/log"


def settings_for(database: Database, folder: Path) -> Settings:
    return read(
        {
            "CUSTODY_DATA": str(folder),
            "CUSTODY_DATABASE_URL": database.url("service").replace("+psycopg", ""),
            "CUSTODY_CLERK_DATABASE_URL": database.url("clerk").replace("+psycopg", ""),
            "CUSTODY_ORIGIN": ORIGIN,
        }
    )


async def sign_all(clerk: AsyncEngine, settings: Settings, slot: datetime | None = None) -> None:
    """One turn of the clerk: start, integrate, sign both logs; and publish for `slot`, where there is one."""
    with ExitStack() as stack:
        for log in LOGS:
            box = stack.enter_context(open_box(signing_keys(settings.keys, log, settings.origin)))
            await sign.initialise(clerk, log, box)
            signer = Signer(log, box)
            await signer.check(clerk)
            publish_keys(settings.keys, log, box.verifiers)
            await open_log(clerk, log, box)
            async with clerk.begin() as transaction:
                await logs.integrate(transaction, log)
            await signer.sign(clerk)
            if slot is not None:
                await publish.publish(clerk, signer, slot)


NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
EVENING = datetime(2026, 6, 1, 18, tzinfo=UTC)


async def whole(clerk: AsyncEngine, settings: Settings, log: str) -> list[int]:
    """The sizes of all checkpoints, the whole log checked anew with every key that ever signed it."""
    return await checkpoints(clerk, known_keys(settings.keys, log), log)


async def notes(clerk: AsyncEngine, log: str) -> list[Note]:
    async with clerk.connect() as connection:
        rows = await connection.execute(
            text("SELECT note FROM audit.checkpoint WHERE log = :log ORDER BY size"), {"log": log}
        )
        return [Note.read(row.note.encode()) for row in rows]


def beside(settings: Settings, log: str) -> Checkpoint:
    """The statement of the last note, by any key that ever signed."""
    return open_note((settings.keys / f"{log}.note").read_bytes(), known_keys(settings.keys, log))


def current_origin(settings: Settings, log: str) -> str:
    """The name under which the log is signed now: that of its public keys."""
    (name,) = {key.name for key in read_keys(public_keys(settings.keys, log) or "")}
    return name


async def first_over(clerk: AsyncEngine, event: Event) -> Note:
    """The first checkpoint that covers an event of the log of events."""
    async with clerk.connect() as connection:
        index = await logs.index_of(connection, "events", bytes.fromhex(event.digest))
    assert index is not None
    return next(n for n in await notes(clerk, "events") if Checkpoint.read(n.text).size > index)


def signers(note: Note, known: Sequence[VerifierKey]) -> set[str]:
    """Which of these keys signed the note, as vkeys."""
    return {key.written() for key in verify(note, known)}


async def types(clerk: AsyncEngine, log: str) -> list[str]:
    return [event.type for event in await history(clerk, log)]
