"""Signing checkpoints: a step of its own, after integration, that trusts neither the database nor itself.

The rules:

1. The last signed note lies beside the keys, outside the database. Without it nothing is signed;
   `initialise` writes the first one, of the empty log, and only where nothing was ever signed.
2. Every step begins with that file: its signature must be our own keys'.
3. The database must hold exactly what was signed: a smaller log is `Rewound`, another log `Inconsistent`,
   later checkpoints than the file knows are `NoteBehind`. Nothing is signed then.
4. The consistency proof from the last signed tree to the present one is made out of the tiles **and
   verified**, and every new leaf is the one in the tiles; then the note is signed.
5. In this order: the file, the row, the publication. A crash in between leaves the file ahead; `check`
   restores the row from it. No size of an origin ever has two notes.
6. After anything whose outcome is unknown the signer refuses (`Unchecked`) until `check` has looked.
7. What was signed is never contradicted under the same origin. After a restore the log goes on under another
   one (`begin_epoch`, `desk.succession`), whose first note is larger than every stored checkpoint.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit import key, log, merkle, tables
from audit.agree import leaves_agree
from audit.checkpoint import Checkpoint
from audit.key import NotSigned, VerifierKey
from audit.keybox import BoxRefused, Keybox
from audit.merkle import EMPTY_ROOT, InvalidProof
from audit.note import Note
from audit.text import Malformed

RECOVER: Final = (
    'If nothing newer is left, stop the service and run custody recover --reason "…" (docs/log.md says what'
    " comes before and after)."
)

Publish = Callable[[bytes], Awaitable[None]]
"""Takes a signed note out into the world; may be called again with a note it has already seen."""


class CannotSign(Exception):
    """Nothing is signed, and why."""


class NotInitialised(CannotSign):
    """There is no last signed note beside the key."""


class Unchecked(CannotSign):
    """It is not known whether the last step came through; `Signer.check` finds out."""


class ForeignNote(CannotSign):
    """The note beside the key is not one that this key signed for this log."""


class Unfinished(CannotSign):
    """The keys are a new epoch's, the note beside them is of the one before: recovering was cut off."""


class NoSignature(CannotSign):
    """A key made no signature, or a wrong one. Nothing was written; the next attempt may succeed."""


class Rewound(CannotSign):
    """The database holds fewer leaves (`found`) than were signed (`signed`)."""

    def __init__(self, name: str, signed: int, found: int) -> None:
        super().__init__(
            f"The database holds {found} leaves of the log {name}, but {signed} were signed: it was taken "
            "back to an earlier point in time. Nothing is signed. Look for the newer database first and "
            f"bring it back. {RECOVER}"
        )
        self.signed, self.found = signed, found


class NoteBehind(CannotSign):
    """The database holds a signed checkpoint (`found`) beyond the note beside the key (`signed`)."""

    def __init__(self, name: str, signed: int, found: int) -> None:
        super().__init__(
            f"The last signed note beside the key of the log {name} is of {signed} leaves, but the database "
            f"holds a checkpoint of {found}: the note is an old copy, or another signer has been at work. "
            f"Nothing is signed. Bring back the note that was signed last. {RECOVER}"
        )
        self.signed, self.found = signed, found


class Inconsistent(CannotSign):
    """The database's log of `found` leaves does not continue the log of `signed` leaves that was signed."""

    def __init__(self, name: str, signed: int, found: int, why: object) -> None:
        super().__init__(
            f"The log {name} in the database ({found} leaves) does not continue the one that was signed "
            f"({signed} leaves): {why}. Nothing is signed. {RECOVER}"
        )
        self.signed, self.found = signed, found


async def initialise(engine: AsyncEngine, name: str, box: Keybox) -> Checkpoint:
    """Sign the empty log `name` and lay its note beside the key: the beginning of everything signed later.

    A note of this key that is there already is left as it is and returned, so this may be repeated after a
    crash. Raises `CannotSign` when the database holds checkpoints of this log: then the note is not new but
    lost, and only its copy can go on.
    """
    if box.last_note() is not None:
        return _last(name, box)[0]
    async with engine.connect() as connection:
        if await log.signed_size(connection, name) is not None:
            raise CannotSign(
                f"Checkpoints of the log {name} were signed before, but the last signed note is not at "
                f"{box.note_path}. A new start could contradict what was signed. {RECOVER}"
            )
    first = Checkpoint(box.origin, 0, EMPTY_ROOT)
    await asyncio.to_thread(box.keep, _signed(first, box))
    return first


@dataclass(slots=True)
class Signer:
    """Signs the log `name` with the key in the open `box`; refuses until `check` has been called.

    `publish` is called with each note after its row is committed; without it the row is the publication.
    """

    name: str
    box: Keybox
    publish: Publish | None = None
    _checked: bool = field(default=False, init=False)

    async def check(self, engine: AsyncEngine) -> Checkpoint:
        """Find out where the last step ended, and finish it: the row restored, the note published.

        Returns the last signed checkpoint. Raises `CannotSign` for anything that does not fit.
        """
        self._checked = False
        last, note = _last(self.name, self.box)
        # The file was read, but a write that failed half-way may not have reached the disk.
        await asyncio.to_thread(self.box.keep, note)
        async with engine.begin() as transaction:
            present = await _present(transaction, self.name, last)
            row = await _row(transaction, self.name, last.size)
            if row is None:
                await _insert(transaction, self.name, last, note)
            elif row != note:
                why = "the checkpoint stored for that size is not the note that was signed"
                raise Inconsistent(self.name, last.size, present.size, why)
        await self._publish(note)
        self._checked = True
        return last

    async def sign(self, engine: AsyncEngine) -> Checkpoint | None:
        """Sign the log as it is now, if it grew since the last time; None if not.

        Raises `Unchecked` before the first `check` and after any step that was interrupted; `CannotSign`
        when the log does not continue what was signed; `tile.MissingTile` when its tiles are damaged.
        """
        if not self._checked:
            raise Unchecked(
                f"It is not known whether the last step of the signer of {self.name} came through."
            )
        last, note = _last(self.name, self.box)
        async with engine.connect() as connection:
            present = await _present(connection, self.name, last)
            if await _row(connection, self.name, last.size) != note:
                self._checked = False
                raise Unchecked(f"The last signed note of {self.name} is not in the database.")
        if present.size == last.size:
            return None
        new = await asyncio.to_thread(_signed, present, self.box)
        self._checked = False
        await asyncio.to_thread(self.box.keep, new)
        async with engine.begin() as transaction:
            await _insert(transaction, self.name, present, new)
        await self._publish(new)
        self._checked = True
        return present

    async def _publish(self, note: bytes) -> None:
        if self.publish is not None:
            await self.publish(note)


async def examine(engine: AsyncEngine, name: str, box: Keybox) -> Checkpoint:
    """The last signed checkpoint of a log that continues it; changes nothing. Raises `CannotSign`."""
    last, _ = _last(name, box)
    async with engine.connect() as connection:
        await _present(connection, name, last)
    return last


async def begin_epoch(
    engine: AsyncEngine, name: str, box: Keybox, known: Sequence[VerifierKey]
) -> Checkpoint:
    """Sign the log `name` as it is now as the first note of the box's new origin; may be repeated.

    `known` are the public keys of the epochs before. The log must continue the largest stored checkpoint and
    be larger: raises `CannotSign` otherwise.
    """
    note = box.last_note()
    if note is not None and Checkpoint.read(Note.read(note).text).origin == box.origin:
        return await Signer(name, box).check(engine)
    async with engine.connect() as connection:
        stored = await log.last_checkpoint(connection, name)
        try:
            last = None if stored is None else key.open_note(stored, [*box.verifiers, *known])
        except (Malformed, NotSigned) as wrong:
            raise ForeignNote(
                f"The largest checkpoint of the log {name} is not one of ours: {wrong}."
            ) from wrong
        before = last or Checkpoint(box.origin, 0, EMPTY_ROOT)
        present = await _present(connection, name, before)
    if last is not None and present.size == last.size:
        raise CannotSign(f"The log {name} has no leaf beyond its last checkpoint of {last.size} leaves.")
    first = Checkpoint(box.origin, present.size, present.root)
    new = await asyncio.to_thread(_signed, first, box)
    await asyncio.to_thread(box.keep, new)
    async with engine.begin() as transaction:
        await _insert(transaction, name, first, new)
    return first


async def _present(connection: AsyncConnection, name: str, last: Checkpoint) -> Checkpoint:
    """The log as the database holds it, shown to continue the `last` signed one (rules 3 and 4)."""
    found = await log.size(connection, name)
    if found < last.size:
        raise Rewound(name, last.size, found)
    stored = await log.signed_size(connection, name)
    if stored is not None and stored > last.size:
        raise NoteBehind(name, last.size, stored)
    proof = await log.prove_consistency(connection, name, last.size, found)
    try:
        merkle.verify_consistency(last.size, last.root, found, proof.new_root, proof.hashes)
    except InvalidProof as wrong:
        raise Inconsistent(name, last.size, found, wrong) from wrong
    if changed := await leaves_agree(connection, name, last.size, found):
        raise Inconsistent(name, last.size, found, changed)
    return Checkpoint(last.origin, found, proof.new_root)


def _signed(stated: Checkpoint, box: Keybox) -> bytes:
    """The note of `stated`, signed by every key of the box or by none, at the time of the signer's clock."""
    try:
        return key.sign(stated, box.signs, int(time.time())).written()
    except (BoxRefused, ValueError) as failed:
        raise NoSignature(f"The log {stated.origin} was not signed: {failed}") from failed


def _last(name: str, box: Keybox) -> tuple[Checkpoint, bytes]:
    """The last signed checkpoint and its note, out of the file, by our own key (rules 1 and 2)."""
    note = box.last_note()
    if note is None:
        raise NotInitialised(
            f"There is no last signed note of the log {name} at {box.note_path}. For a new log, initialise "
            f"the signer; for one that was signed before: {RECOVER}"
        )
    try:
        return key.open_note(note, box.verifiers), note
    except (Malformed, NotSigned) as wrong:
        if _by_one_before(note, box):
            raise Unfinished(
                f"Recovering the log {name} was begun and not finished: repeat custody recover."
            ) from wrong
        raise ForeignNote(
            f"{box.note_path} is not a note that this key signed: {wrong}. {RECOVER}"
        ) from wrong


def _by_one_before(note: bytes, box: Keybox) -> bool:
    """Whether the note is by keys of the box that bear another name than its origin."""
    try:
        others = [each.verifier for each in box.keys if each.verifier.name != box.origin]
        return bool(key.open_note(note, others))
    except (Malformed, NotSigned):
        return False


async def _row(connection: AsyncConnection, name: str, size: int) -> bytes | None:
    columns = tables.checkpoint.c
    found = await connection.scalar(select(columns.note).where(columns.log == name, columns.size == size))
    return None if found is None else str(found).encode()


async def _insert(connection: AsyncConnection, name: str, stated: Checkpoint, note: bytes) -> None:
    row = {"log": name, "size": stated.size, "root": stated.root, "note": note.decode()}
    await connection.execute(insert(tables.checkpoint).values(row))
