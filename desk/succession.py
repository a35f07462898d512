"""Who signs the logs, and who signed them before: keys that follow each other, and epochs after a restore.

The history of a log's keys is the trail `log:events` or `log:reads`, both recorded in the log of events:
`log.opened`, `log.keys_changed`, `log.recovered`. The proof of a succession is such an event under the first
checkpoint that covers it, because that one is signed by the old keys and by the new ones.

*Rotation* (`custody log rotate`) keeps the log's name, its origin:

    1. new keys are appended to the key file; from here on all of them sign
    2. the public keys are published
    3. `log.keys_changed` names all that sign from now on, and which of them are retiring
    4. the event is integrated and signed: the checkpoint of the succession

`--finish`, when that checkpoint has left the house, ends the overlap: the old public keys are kept for
checking what is old, the old private ones leave the file, `log.keys_changed` names those that remain.

*Recovering* (`custody recover`) is for a database that was taken back to an earlier time, and for a last note
or keys that are lost for good. What was signed under the old origin is never contradicted under it, so the
log goes on as another *epoch*, under another origin (`desk.keys.origin_of`):

    1. what is there is derived anew; a damaged log is not gone on with
    2. the last note is kept as `events.note.epoch-1`, the old public keys as `events.vkey.retired`
    3. new keys take the first place of the key file; the old ones stay behind them and sign along
    4. `log.recovered` names the last signed statement of the lost epoch, and how many leaves were found
    5. the first note of the new epoch is signed, larger than every stored checkpoint

Each step may be the last one before a crash: the same command, repeated, finds how far it came and finishes.
Both commands hold the boxes of both logs, so no signer works meanwhile.
"""

import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncEngine

from audit import key as audit_key
from audit import log as logs
from audit import publish, sign
from audit.checkpoint import Checkpoint
from audit.key import NotSigned, VerifierKey, write_keys
from audit.keybox import (
    BoxRefused,
    InUse,
    Keybox,
    alone,
    lay,
    lay_keys,
    load_box,
    new_keys,
    note_path,
    open_box,
)
from audit.merkle import EMPTY_ROOT
from audit.note import Note
from audit.recheck import Recheck
from audit.sign import CannotSign, Inconsistent, NoteBehind, Rewound, Signer
from audit.text import Malformed
from audit.tile import MissingTile
from custody import reading, rebuild, records
from custody.decision import Decided
from custody.event import FIELDS, Event, EventRefused, Fact
from custody.ledger import Command, Ledger
from custody.people import CLOCK
from custody.protocol import Trail
from desk.keys import (
    LOGS,
    epoch_of,
    known_keys,
    origin_of,
    publish_keys,
    retire_keys,
)
from desk.masters import FileMasters
from desk.settings import CannotStart, Settings
from desk.upkeep import as_clerk

Say = Callable[[str], None]

_STOP: Final = "Stop the service (custody serve, or custody clerk) and repeat the command."
_COPIES: Final = "Copies of the old private keys, in backups too, must be destroyed now."


# --- the commands ---------------------------------------------------------------------------------


def rotate(settings: Settings, reason: str, *, finish: bool) -> int:
    """Begin, or with `finish` end, the overlap of old and new keys of both logs. Raises CannotStart."""

    async def run(engine: AsyncEngine) -> None:
        await (finish_rotation if finish else begin_rotation)(engine, settings, reason, print)

    return _command(settings, reason, run)


def recover(settings: Settings, reason: str) -> int:
    """Go on, as a new epoch, with each log whose database was taken back. Raises CannotStart."""

    async def run(engine: AsyncEngine) -> None:
        await recover_logs(engine, settings, reason, print)

    return _command(settings, reason, run)


def _command(settings: Settings, reason: str, run: Callable[[AsyncEngine], Awaitable[None]]) -> int:
    try:
        FIELDS["reason"].check("the reason", reason)
        as_clerk(settings, run)
    except (CannotSign, BoxRefused, NotSigned, EventRefused) as refused:
        raise CannotStart(f"{refused}") from refused
    except MissingTile as damaged:
        raise CannotStart(f"The stored log is damaged: {damaged}.") from damaged
    return 0


# --- the history ------------------------------------------------------------------------------------


async def open_log(engine: AsyncEngine, log: str, box: Keybox) -> None:
    """Record once that the log begins, and with which keys; a log that has a history is left as it is."""
    if await history(engine, log):
        return
    note = box.last_note()
    last = Checkpoint(box.origin, 0, EMPTY_ROOT) if note is None else audit_key.open_note(note, box.verifiers)
    public = write_keys(box.verifiers).encode()
    fields = {"digest": hashlib.sha256(public).hexdigest(), **_stated(log, last), **_vkeys(box.verifiers)}
    await _record(engine, box.path.parent, log, "log.opened", log, fields)


async def history(engine: AsyncEngine, log: str) -> list[Event]:
    """The events of the log itself, in order."""
    async with engine.connect() as connection:
        return await reading.trail(connection, log, Trail.LOG)


async def _record(
    engine: AsyncEngine, keys: Path, log: str, type_: str, once: str, fields: Mapping[str, Any]
) -> None:
    """Append an event to the log's own trail, as the clock; the same `once` never twice."""
    subject = f"{Trail.LOG}:{log}"
    key = f"{type_}:{once}"
    command = Command(actor=CLOCK, key=key, digest=hashlib.sha256(key.encode()).digest(), others=(subject,))
    fact = Fact(type=type_, subject=subject, who=CLOCK.who(), fields=fields)
    await Ledger(engine, FileMasters(keys)).carry_out(command, lambda _: Decided(facts=(fact,)))


def _stated(log: str, last: Checkpoint) -> dict[str, Any]:
    return {"log": {"name": log, "origin": last.origin, "size": last.size, "root": last.root.hex()}}


def _vkeys(public: Sequence[VerifierKey], field: str = "vkeys") -> dict[str, Any]:
    return {field: [each.written() for each in public]} if public else {}


def _ids(public: Sequence[VerifierKey]) -> str:
    """A set of keys in one short word."""
    return hashlib.sha256("".join(sorted(write_keys([each]) for each in public)).encode()).hexdigest()[:32]


async def _settle(engine: AsyncEngine, log: str) -> None:
    more = True
    while more:
        async with engine.begin() as transaction:
            more = (await logs.integrate(transaction, log)).more


async def _sign(engine: AsyncEngine, log: str, box: Keybox) -> None:
    """Integrate what is pending and sign it, after a look at where the last step ended."""
    signer = Signer(log, box)
    await signer.check(engine)
    await _settle(engine, log)
    await signer.sign(engine)


# --- rotation ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far the succession of a log's keys has come.

    `announced` are the public keys that the history names last, `own` those in the key file under the log's
    name, `leaving` those among them that are on record as retiring, `others` those of an earlier epoch.
    """

    log: str
    box: Keybox
    latest: Event
    announced: tuple[str, ...]
    own: tuple[VerifierKey, ...]
    leaving: tuple[VerifierKey, ...]
    others: tuple[VerifierKey, ...]

    @property
    def on_record(self) -> bool:
        """Whether the keys that sign are the ones that the history names."""
        return {each.written() for each in self.own} == set(self.announced)

    @property
    def appended(self) -> bool:
        """Whether keys were appended and not yet recorded: a rotation was cut off."""
        return {each.written() for each in self.own} > set(self.announced)

    @property
    def removed(self) -> bool:
        """Whether keys were removed and not yet recorded: the end of an overlap was cut off."""
        return {each.written() for each in self.own} < set(self.announced) and not self.leaving


async def _standing(engine: AsyncEngine, log: str, box: Keybox) -> Standing:
    """Raises CannotStart where the key file and the history have nothing in common."""
    await open_log(engine, log, box)
    latest = (await history(engine, log))[-1]
    announced, retiring = tuple(latest.get("vkeys")), set(latest.get("retiring", ()))
    standing = Standing(
        log=log,
        box=box,
        latest=latest,
        announced=announced,
        own=box.verifiers,
        leaving=tuple(each for each in box.verifiers if each.written() in retiring),
        others=tuple(each.verifier for each in box.keys if each.verifier.name != box.origin),
    )
    if not (standing.on_record or standing.appended or standing.removed):
        raise CannotStart(
            f"The keys in {box.path} are not those that the history of the log {log} names last. Bring back"
            " the key file that belongs to this database."
        )
    return standing


@contextmanager
def _boxes(settings: Settings) -> Iterator[dict[str, Keybox]]:
    with ExitStack() as stack:
        try:
            boxes = {log: stack.enter_context(open_box(settings.keys / f"{log}.key")) for log in LOGS}
        except InUse as refused:
            raise CannotStart(f"{refused} {_STOP}") from refused
        for log, box in boxes.items():
            epoch_of(box.origin, log, settings.origin)  # refuses another CUSTODY_ORIGIN
        yield boxes


async def begin_rotation(engine: AsyncEngine, settings: Settings, reason: str, say: Say) -> None:
    """New keys for both logs beside the old ones, on record and under a signature of both."""
    with _boxes(settings) as boxes:
        standings = []
        for log, box in boxes.items():
            await sign.initialise(engine, log, box)
            await Signer(log, box).check(engine)
            standings.append(await _standing(engine, log, box))
        for each in standings:
            _refuse_unended(each)
        for each in standings:
            if each.on_record and each.leaving:
                say(f"{each.log}: new and old keys sign since {each.latest.recorded_at:%Y-%m-%d %H:%M} UTC.")
                continue
            boxes[each.log] = await _overlap(engine, each, reason)
            say(f"{each.log}: new keys sign beside the old ones.")
        for log in LOGS:
            await _sign(engine, log, boxes[log])
        say(
            f"Hand out the new public keys ({', '.join(f'{log}.vkey' for log in LOGS)} in {settings.keys})."
            " When the log has been published again, end the overlap with custody log rotate --finish."
        )


def _refuse_unended(each: Standing) -> None:
    if each.removed or each.others:
        raise CannotStart(
            f"Another succession of the keys of the log {each.log} has not ended. First end it with custody"
            " log rotate --finish."
        )


async def _overlap(engine: AsyncEngine, each: Standing, reason: str) -> Keybox:
    """Steps 1 to 3 for one log; new keys are made once, whatever was cut off."""
    keys, box = each.box.path.parent, each.box
    if each.on_record:
        box = lay_keys(box.path, (*box.keys, *new_keys(box.origin)))
    publish_keys(keys, each.log, box.verifiers)
    old = [public for public in box.verifiers if public.written() in each.announced]
    last = await sign.examine(engine, each.log, box)
    fields = {**_stated(each.log, last), **_vkeys(box.verifiers), **_vkeys(old, "retiring"), "reason": reason}
    await _record(
        engine, keys, each.log, "log.keys_changed", f"{each.log}:{_ids(box.verifiers)}:begun", fields
    )
    return box


async def finish_rotation(engine: AsyncEngine, settings: Settings, reason: str, say: Say) -> None:
    """The old keys stop to sign: those of a rotation, and those of an epoch before a restore."""
    with _boxes(settings) as boxes:
        standings = []
        for log, box in boxes.items():
            await Signer(log, box).check(engine)
            standings.append(await _standing(engine, log, box))
        ending = [each for each in standings if each.leaving or each.others or each.removed]
        for each in standings:
            if each.appended:
                raise CannotStart(
                    f"The rotation of the keys of the log {each.log} was cut off. First repeat custody log"
                    " rotate without --finish."
                )
        if not ending:
            raise CannotStart("No old keys sign beside the new ones: there is nothing to end.")
        for each in ending:
            await _may_end(engine, each)
        for each in ending:
            boxes[each.log] = await _end(engine, each, reason)
            say(f"{each.log}: the old keys have left {each.box.path}.")
        for log in LOGS:
            await _sign(engine, log, boxes[log])
        say(_COPIES)


async def _may_end(engine: AsyncEngine, each: Standing) -> None:
    """Refuse unless the world has seen the succession, and the new keys signed the last note themselves."""
    if each.removed:
        return  # it was, before the end was cut off
    async with engine.connect() as connection:
        index = await logs.index_of(connection, "events", bytes.fromhex(each.latest.digest))
        published = await logs.published_size(connection, "events") or 0
    if index is None or published <= index:
        raise CannotStart(
            f"The succession of the keys of the log {each.log} has not left the house yet: the log was last"
            f" published at {published} leaves. Wait for the next publication, then repeat the command."
        )
    staying = [public for public in each.own if public not in each.leaving]
    try:
        audit_key.open_note(each.box.last_note() or b"", staying)
    except (Malformed, NotSigned) as wrong:
        raise CannotStart(
            f"The last note of the log {each.log} does not verify with the keys that would remain ({wrong})."
            " It will after the next signature; start the service and repeat the command later."
        ) from wrong


async def _end(engine: AsyncEngine, each: Standing, reason: str) -> Keybox:
    """The old keys of one log retire: their public halves first, or a crash would lose them."""
    keys, box = each.box.path.parent, each.box
    staying = tuple(public for public in each.own if public not in each.leaving)
    retire_keys(keys, each.log, (*each.leaving, *each.others))
    if each.leaving or each.others:
        box = lay_keys(box.path, [one for one in box.keys if one.verifier in staying])
    publish_keys(keys, each.log, staying)
    if {public.written() for public in staying} != set(each.announced):
        last = await sign.examine(engine, each.log, box)
        fields = {**_stated(each.log, last), **_vkeys(staying), "reason": reason}
        await _record(engine, keys, each.log, "log.keys_changed", f"{each.log}:{_ids(staying)}:ended", fields)
    return box


# --- recovering -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """An epoch of a log that cannot go on: its `last` signed statement, the `note` of it, the leaves `found`.

    `begun` says that recovering was cut off after the new keys were made; `box` is None where no key is left.
    """

    log: str
    path: Path
    box: Keybox | None
    begun: bool
    last: Checkpoint
    note: bytes
    found: int
    why: str


async def recover_logs(engine: AsyncEngine, settings: Settings, reason: str, say: Say) -> None:
    """Open a new epoch of each log that was taken back, or whose last note or keys are lost."""
    if not settings.keys.is_dir():
        raise CannotStart(
            f"There is no folder {settings.keys}. Name the folder of the keys with CUSTODY_KEYS."
        )
    with ExitStack() as stack:
        for log in LOGS:
            try:
                stack.enter_context(alone(_key_path(settings, log)))
            except InUse as refused:
                raise CannotStart(f"{refused} {_STOP}") from refused
        found = [await _lost(engine, settings, log) for log in LOGS]
        lost = [each for each in found if each is not None]
        if not lost:
            raise CannotStart(
                "Nothing is to be recovered: both logs in the database continue what was signed."
            )
        for each in lost:
            say(
                f"{each.log}: {each.why}. {each.last.size} leaves were signed as {each.last.origin}, the"
                f" database holds {each.found}."
            )
            await _refuse_damaged(engine, settings, each)
        boxes = {each.log: _new_epoch(settings, each) for each in lost}
        for each in lost:
            await _record_recovery(engine, each, boxes[each.log], reason)
        for log in LOGS:
            await _go_on(engine, settings, log, boxes.get(log))
        for each in lost:
            say(f"{each.log}: goes on as {boxes[each.log].origin}, after {each.found} leaves.")
        say(
            f"Hand out the new public keys ({', '.join(f'{each.log}.vkey' for each in lost)} in"
            f" {settings.keys}); what was lost is entered again from receipts and paper."
        )
        say(
            "Next: start the service, tell the witnesses the new name and keys, export into a new folder, and"
            " end the overlap later with custody log rotate --finish (docs/log.md)."
        )


def _key_path(settings: Settings, log: str) -> Path:
    return settings.keys / f"{log}.key"


def _kept_note(keys: Path, log: str, epoch: int) -> Path:
    """Where the last note of an epoch that ended is kept."""
    return keys / f"{log}.note.epoch-{epoch}"


async def _lost(engine: AsyncEngine, settings: Settings, log: str) -> Lost | None:
    """What is lost of a log; None where it goes on. Raises CannotStart, CannotSign, BoxRefused, Malformed."""
    path = _key_path(settings, log)
    box = load_box(path) if path.exists() else None
    if box is not None:
        epoch_of(box.origin, log, settings.origin)  # refuses another CUSTODY_ORIGIN
    known = _known(settings, log, box)
    async with engine.connect() as connection:
        found = await logs.size(connection, log)
        stored = await logs.last_checkpoint(connection, log)
    there = note_path(path)
    beside = there.read_bytes() if there.exists() else None
    stated = [
        (_opened(note, known, log, there if note is beside else None), note)
        for note in (beside, stored)
        if note is not None
    ]
    if not stated:
        return None  # nothing was ever signed
    last, note = max(stated, key=lambda each: each[0].size)
    begun = box is not None and all(each.origin != box.origin for each, _ in stated)
    if begun and box is not None:
        if epoch_of(box.origin, log, settings.origin) <= epoch_of(last.origin, log, settings.origin):
            raise CannotStart(f"The keys in {path} are older than the last note. Bring back the newer ones.")
        why = "recovering was begun and is finished now"
    elif box is None:
        why = "its keys are lost"
    elif beside is None:
        why = "its last note is lost"
    else:
        try:
            await sign.examine(engine, log, box)
        except Rewound:
            why = "it was taken back to an earlier time"
        except Inconsistent:
            why = "it was taken back to an earlier time and then grew in another way"
        except NoteBehind:
            why = "the last note is an old copy"
        else:
            return None
    return Lost(log=log, path=path, box=box, begun=begun, last=last, note=note, found=found, why=why)


def _known(settings: Settings, log: str, box: Keybox | None) -> tuple[VerifierKey, ...]:
    """All public keys of the log that are at hand. Raises CannotStart where there is none."""
    own = () if box is None else tuple(each.verifier for each in box.keys)
    known = tuple(dict.fromkeys((*own, *known_keys(settings.keys, log))))
    if not known:
        raise CannotStart(
            f"Neither a key of the log {log} nor its public half is in {settings.keys}. Bring back what there"
            f" are copies of; the public keys alone, as {log}.vkey, are enough to go on with new ones."
        )
    return known


def _opened(note: bytes, known: Sequence[VerifierKey], log: str, path: Path | None) -> Checkpoint:
    """What a note states; `path` is the file that it was read from, None for one out of the database."""
    try:
        return audit_key.open_note(note, known)
    except (Malformed, NotSigned) as wrong:
        if path is None:
            raise CannotStart(
                f"The last stored checkpoint of the log {log} was not signed by any of its keys that are"
                f" here: {wrong}."
            ) from wrong
        raise CannotStart(
            f"{path} was not signed by any of its keys that are here: {wrong}. Bring back its copy."
            " Where there is none: set the file aside (keep it) and repeat the command."
        ) from wrong


async def _refuse_damaged(engine: AsyncEngine, settings: Settings, each: Lost) -> None:
    """What is there must follow from the events, up to each stored checkpoint; the lost end cannot."""
    async with rebuild.snapshot(engine) as connection:

        async def recorded(first: int, digests: Sequence[bytes], padded: Collection[int]) -> str | None:
            return await records.leaves(connection, each.log, first, digests, padded)

        keys = _known(settings, each.log, each.box)
        looked = Recheck(connection=connection, log=each.log, keys=keys, records=recorded)
        wrong = await looked.run() or await records.without_leaf(connection, each.log)
    if wrong is not None:
        raise CannotStart(
            f"{wrong} A log that was not only taken back but altered is not gone on with: bring back another"
            " copy of the database."
        )


def _new_epoch(settings: Settings, each: Lost) -> Keybox:
    """Steps 2 and 3: the keys of the new epoch in the first place, the old ones behind them."""
    keys, box = settings.keys, each.box
    if box is None or not each.begun:
        epoch = epoch_of(each.last.origin, each.log, settings.origin)
        lay(_kept_note(keys, each.log, epoch), each.note)
        retire_keys(keys, each.log, _known(settings, each.log, box))
        new = new_keys(origin_of(each.log, settings.origin, epoch + 1))
        signed = audit_key.verify(Note.read(each.note), _known(settings, each.log, box))
        old = [] if box is None else [key for key in box.keys if key.verifier in signed]
        box = lay_keys(each.path, (*new, *old))
    publish_keys(keys, each.log, box.verifiers)
    return box


async def _record_recovery(engine: AsyncEngine, each: Lost, box: Keybox, reason: str) -> None:
    """Step 4, once for each origin.

    Where the restore took the last succession out of the history too, the keys that signed the last note are
    named again first, so that every signature along the way is one of a key on record.
    """
    keys, past = box.path.parent, await history(engine, each.log)
    named = set(past[-1].get("vkeys")) if past else set()
    signed = _signers(each, box)
    if named not in ({key.written() for key in signed}, {key.written() for key in box.verifiers}):
        fields = {**_stated(each.log, each.last), **_vkeys(signed), "reason": reason}
        once = f"{each.log}:{_ids(signed)}:before {box.origin}"
        await _record(engine, keys, each.log, "log.keys_changed", once, fields)
    fields = {**_stated(each.log, each.last), **_vkeys(box.verifiers), "resumed": each.found}
    await _record(engine, keys, each.log, "log.recovered", box.origin, {**fields, "reason": reason})


def _signers(each: Lost, box: Keybox) -> list[VerifierKey]:
    """The keys of the lost epoch that signed its last note."""
    known = known_keys(box.path.parent, each.log)
    signed = audit_key.verify(Note.read(each.note), known)
    return [key for key in signed if key.name == each.last.origin]


async def _go_on(engine: AsyncEngine, settings: Settings, log: str, box: Keybox | None) -> None:
    """Step 5; a log that has no new `box` is signed as ever, since the event about the other is in it."""
    if box is None:
        box = load_box(_key_path(settings, log))
        await sign.initialise(engine, log, box)
        await _sign(engine, log, box)
        return
    await _settle(engine, log)
    async with engine.begin() as transaction:
        if await logs.size(transaction, log) == await logs.signed_size(transaction, log):
            await publish.pad(transaction, log)  # nothing new to sign: random leaves, as at a publication
    await sign.begin_epoch(engine, log, box, known_keys(settings.keys, log))
