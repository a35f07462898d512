"""The custody trail of one kit as a file that a court can check without us. Format version 1.

A bundle is a ``.zip`` with exactly these files:

| file | what |
|---|---|
| ``README.txt`` | how to check it by hand and with any C2SP tool; proves nothing itself |
| ``bundle.json`` | ``{"format":1,"kit":"…","events":n,"origin":"…"}``, in this order, without blanks |
| ``checkpoint.txt`` | the signed note (C2SP tlog-checkpoint) of the log's size and root, over all events |
| ``events/0001.json`` … | the exact bytes of each event: their SHA-256 is the leaf in the log |
| ``proofs/0001.tlog-proof`` … | C2SP tlog-proof@v1 of each event, under that same checkpoint |

Numbers have at least four digits. Events are those of the custody trail alone, from number 1 on. The
archive is written without compression and with fixed times, so the same content gives the same bytes;
read are archives packed again by others too, as long as nothing is added, twice, encrypted or too large.

:func:`check` makes the numbered checks of :data:`TITLES`. The key comes from outside, never from the
bundle. Nothing here needs a service, a database or a network, except :func:`collect`.
"""

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from audit.checkpoint import Checkpoint
from audit.key import NotSigned, VerifierKey, open_note, read_keys, signed_with
from audit.merkle import InvalidProof
from audit.note import Note
from audit.proof import Proof
from audit.text import Malformed
from audit.verify import NOT_PROVED as LOG_DOES_NOT_PROVE
from audit.verify import NOT_PROVED_GROWTH, Finding, Verdict, VerificationError
from custody.court import CourtCopy
from custody.event import KIT, MOST_BYTES, Event, EventRefused, decode

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

FORMAT: Final = 1
MOST_EVENTS: Final = 20_000
MOST_TOTAL: Final = 256 << 20  # bytes, packed and unpacked alike

_MOST: Final = {"README.txt": 64 << 10, "bundle.json": 4096, "checkpoint.txt": 64 << 10}
_MOST_PROOF: Final = 96 << 10
_MOST_IN_DIRECTORY: Final = 200  # bytes of the archive's directory for one file
_PACKED_AT: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can say, and always the same
_END: Final = struct.Struct("<4s4H2LH")
_ORIGIN: Final = re.compile(r"[^\s+\x00-\x1f\x7f]{1,200}")

TITLES: Final = {
    1: "The bundle has the files it should have",
    2: "The checkpoint is signed by the key you gave",
    3: "Every event is in the one spelling of an event",
    4: "The trail is complete from its first event to its last",
    5: "Every event is in the log",
    6: "The steps follow the protocol",
}

NOT_PROVED: Final = (
    "That nothing happened after the last event of this bundle.",
    "That what an event says is true: only that it was recorded, by whom, and not changed since.",
    "That the key is the right one, unless its fingerprint reached you another way than this bundle.",
    "Anything about the victim's choices, which stand in another trail that is not in this bundle; steps"
    " that depend on them are checked only as far as the custody trail allows.",
    *LOG_DOES_NOT_PROVE,
    NOT_PROVED_GROWTH,
)


class BundleRefused(ValueError):
    """This is not a bundle: the message says which part and why."""


class NotYetInLog(Exception):
    """Events of this kit are not yet under a signed checkpoint: ask again in a few seconds."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        super().__init__(
            f"{waiting} events of this kit are recorded but not yet under a signed checkpoint of the log."
            " Ask again in a few seconds."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What a bundle holds, read and not yet checked: ``events`` and ``proofs`` as bytes, in order."""

    kit: str
    origin: str
    events: tuple[bytes, ...]
    proofs: tuple[bytes, ...]
    note: bytes
    readme: str


# --- writing ------------------------------------------------------------------------------


def make(
    events: Sequence[bytes],
    proofs: Sequence[bytes],
    note: bytes,
    *,
    kit: str,
    origin: str,
    fingerprint: str | None = None,
) -> bytes:
    """The bytes of a bundle; the same content gives the same bytes.

    ``note`` covers all ``events``; ``proofs`` are ``.tlog-proof`` files in the same order.
    ``fingerprint`` (:func:`fingerprint`) is named in the README; it is to be compared, not believed.
    Raises BundleRefused for more than a bundle can hold.
    """
    if not events or len(events) != len(proofs) or len(events) > MOST_EVENTS:
        raise BundleRefused(f"a bundle has 1 to {MOST_EVENTS} events and a proof for each")
    signatures = Note.read(note).signatures
    signed = next((each for each in signatures if each.name == origin), signatures[0])
    files = {
        "README.txt": _readme(kit, origin, len(events), signed.key_id.hex(), fingerprint).encode(),
        "bundle.json": _manifest(kit, len(events), origin),
        "checkpoint.txt": note,
    }
    files |= {_event_name(n): data for n, data in enumerate(events, 1)}
    files |= {_proof_name(n): data for n, data in enumerate(proofs, 1)}
    if sum(map(len, files.values())) + 300 * len(files) > MOST_TOTAL:
        raise BundleRefused(f"a bundle has at most {MOST_TOTAL >> 20} MiB")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, _PACKED_AT)
            info.create_system = 3  # Unix wherever it is written, or the bytes would differ
            info.external_attr = 0o100644 << 16
            archive.writestr(info, data)
    return packed.getvalue()


def fingerprint(vkeys: str) -> str:
    """SHA-256 in hexadecimal of the text of public keys: what ``sha256sum events.vkey`` prints."""
    return sha256(vkeys.encode()).hexdigest()


def _event_name(number: int) -> str:
    return f"events/{number:04}.json"


def _proof_name(number: int) -> str:
    return f"proofs/{number:04}.tlog-proof"


def _manifest(kit: str, events: int, origin: str) -> bytes:
    stated = {"format": FORMAT, "kit": kit, "events": events, "origin": origin}
    return json.dumps(stated, ensure_ascii=False, separators=(",", ":")).encode()


def _readme(kit: str, origin: str, events: int, key_id: str, fingerprint: str | None) -> str:
    named = f"\n   Its SHA-256 fingerprint should be {fingerprint}." if fingerprint else ""
    missing = "\n".join(f"- {sentence}" for sentence in NOT_PROVED)
    return f"""Custody trail of kit {kit}
{events} events, under a signed checkpoint of the log {origin}

WHAT IS IN HERE
events/         each event of the trail, as the exact bytes that were recorded
proofs/         for each event, the proof that it is in the log (C2SP tlog-proof@v1)
checkpoint.txt  the log's signed statement of its size and root (C2SP tlog-checkpoint)
bundle.json     the kit, the number of events and the log, for programs

HOW TO CHECK IT
1. Get the log's public key another way than with this bundle: from the office's own files, from
   an official publication, or read out over the telephone. The checkpoint names key {key_id},
   which only helps to find the right one.{named}
   A fingerprint that reaches you only in this file proves nothing; compare it with the other.
2. With the program `custody`, on any computer, without a network:
      custody verify BUNDLE.zip --key events.vkey
3. By hand: `sha256sum events/0001.json` prints the digest that stands in the log, and that the
   field "previous" of the next event must repeat. Numbers run from 1 without a gap.
   Any tool that reads C2SP tlog-proof checks proofs/0001.tlog-proof against that digest
   (32 bytes) and the public key.

WHAT IS NOT PROVED
{missing}
"""


# --- reading ------------------------------------------------------------------------------


def read(data: bytes) -> Bundle:
    """The bundle in these bytes. Raises BundleRefused, always and only that, for anything else."""
    if len(data) > MOST_TOTAL:
        raise BundleRefused(f"it is larger than the {MOST_TOTAL >> 20} MiB that a bundle can have")
    _check_directory(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _read_archive(archive)
    except BundleRefused:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        RuntimeError,
        ValueError,
        struct.error,
    ) as wrong:
        raise BundleRefused(f"the archive is damaged: {str(wrong)[:200] or type(wrong).__name__}") from wrong


def _check_directory(data: bytes) -> None:
    """The end of the archive, before anything is unpacked: how many files it says it has, and no more."""
    if len(data) < _END.size or data[-_END.size : -_END.size + 4] != b"PK\x05\x06":
        raise BundleRefused("it is not a .zip file, or something was added to its end")
    _, disk, start_disk, here, files, size, start, comment = _END.unpack(data[-_END.size :])
    if disk or start_disk or comment or here != files or data[-42:-38] == b"PK\x06\x07":
        raise BundleRefused("the archive is in several parts, has a comment or is of the large kind")
    if start + size + _END.size != len(data):
        raise BundleRefused("something was added to the archive's beginning or middle")
    if not 5 <= files <= 2 * MOST_EVENTS + len(_MOST) or size > files * _MOST_IN_DIRECTORY:
        raise BundleRefused(f"a bundle has 1 to {MOST_EVENTS} events and nothing beside them")


def _read_archive(archive: zipfile.ZipFile) -> Bundle:
    files: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if info.filename in files:
            raise BundleRefused(f"{info.filename[:60]!r} is there twice")
        if info.orig_filename != info.filename or info.is_dir() or info.flag_bits & 0x41:
            raise BundleRefused(f"{info.orig_filename[:60]!r} is no plain file of a bundle")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BundleRefused(f"{info.filename[:60]!r} is packed in a way that a bundle is not")
        files[info.filename] = info
    if sum(info.file_size for info in files.values()) > MOST_TOTAL:
        raise BundleRefused(f"unpacked it is larger than the {MOST_TOTAL >> 20} MiB that a bundle can have")
    if absent := [name for name in _MOST if name not in files]:
        raise BundleRefused(f"{absent[0]} is missing")

    def content(name: str, most: int) -> bytes:
        info = files[name]
        if info.file_size > most:
            raise BundleRefused(f"{name} is larger than the {most} bytes that it can have")
        return archive.read(info)

    stated = _read_manifest(content("bundle.json", _MOST["bundle.json"]))
    numbers = range(1, stated["events"] + 1)
    wanted = {*_MOST, *map(_event_name, numbers), *map(_proof_name, numbers)}
    if absent := sorted(wanted - files.keys()):
        raise BundleRefused(f"{absent[0]} is missing")
    if surplus := sorted(files.keys() - wanted):
        raise BundleRefused(f"{surplus[0][:60]!r} does not belong into a bundle of {stated['events']} events")
    return Bundle(
        kit=stated["kit"],
        origin=stated["origin"],
        events=tuple(content(_event_name(n), MOST_BYTES) for n in numbers),
        proofs=tuple(content(_proof_name(n), _MOST_PROOF) for n in numbers),
        note=content("checkpoint.txt", _MOST["checkpoint.txt"]),
        readme=content("README.txt", _MOST["README.txt"]).decode("utf-8"),
    )


def _read_manifest(data: bytes) -> Mapping[str, Any]:
    """What bundle.json states; only the one spelling that ``make`` writes is accepted."""
    try:
        stated = json.loads(data)
        KIT.check("kit", stated["kit"])
        whole = type(stated["events"]) is int and 1 <= stated["events"] <= MOST_EVENTS
        origin = stated["origin"]  # it is printed, so it must not steer a terminal or turn letters around
        plain = isinstance(origin, str) and _ORIGIN.fullmatch(origin) and origin.isprintable()
        if stated["format"] != FORMAT:
            raise BundleRefused("bundle.json is of a format that this program does not know")
        if not whole or not plain or _manifest(stated["kit"], stated["events"], stated["origin"]) != data:
            raise EventRefused("another spelling")
    except BundleRefused:
        raise
    except (ValueError, LookupError, TypeError, RecursionError) as wrong:
        raise BundleRefused("bundle.json is not what it must be") from wrong
    return dict(stated)


# --- checking -----------------------------------------------------------------------------


def check(bundle: Bundle, vkeys: str | None) -> Verdict:
    """Make the numbered checks of :data:`TITLES`, all of them, whatever fails.

    ``vkeys`` is the log's public keys as text, from elsewhere; without them check 2 cannot hold and the rest
    is still made. Raises `audit.verify.VerificationError` for a key that is none.
    """
    try:
        keys = None if vkeys is None else read_keys(vkeys)
    except Malformed as wrong:
        raise VerificationError(str(wrong)) from wrong
    unsigned, proofs, first = _files(bundle)
    findings = [first, _signature(bundle, unsigned, keys)]
    events, spelling = _spelling(bundle)
    findings += [spelling, _chain(bundle, events), _inclusion(bundle, unsigned, proofs)]
    findings.append(_steps(events))
    signed = unsigned if findings[1].holds else None
    return Verdict(findings=tuple(findings), checkpoint=signed, not_proved=NOT_PROVED)


def _finding(number: int, wrong: str | None, well: str) -> Finding:
    return Finding(number=number, title=TITLES[number], holds=wrong is None, words=wrong or well)


def _files(bundle: Bundle) -> tuple[Checkpoint | None, tuple[Proof, ...], Finding]:
    """Check 1: checkpoint and proofs are what their formats demand, and of the log that is named."""
    checkpoint, proofs, wrong = None, [], None
    try:
        checkpoint = Checkpoint.read(Note.read(bundle.note).text)
        if checkpoint.origin != bundle.origin:
            wrong = f"The checkpoint is of the log {checkpoint.origin}, the bundle names {bundle.origin}."
    except Malformed as why:
        wrong = f"checkpoint.txt is not a checkpoint: {why}."
    for number, data in enumerate(bundle.proofs, 1):
        try:
            proofs.append(Proof.read(data))
        except Malformed as why:
            wrong = wrong or f"{_proof_name(number)} is not a proof: {why}."
    well = f"{len(bundle.events)} events of kit {bundle.kit}, a proof for each, and one checkpoint."
    return checkpoint, tuple(proofs), _finding(1, wrong, well)


def _signature(bundle: Bundle, unsigned: Checkpoint | None, keys: Sequence[VerifierKey] | None) -> Finding:
    """Check 2."""
    if keys is None:
        return _finding(
            2,
            "No key was given, so nobody is shown to have signed this. The key must come from elsewhere,"
            " never from the bundle.",
            "",
        )
    try:
        stated = open_note(bundle.note, keys)
    except (Malformed, NotSigned) as why:
        return _finding(2, f"The checkpoint is not to be trusted: {why}.", "")
    algorithms = signed_with(Note.read(bundle.note), keys)
    well = f"{stated.origin} signed that the log has {stated.size} leaves, with {algorithms}."
    return _finding(2, None if unsigned else "There is no checkpoint.", well)


def _spelling(bundle: Bundle) -> tuple[list[Event], Finding]:
    """Check 3; answers the events that could be read."""
    events, wrong = [], None
    for number, data in enumerate(bundle.events, 1):
        try:
            events.append(decode(data))
        except EventRefused as why:
            wrong = wrong or f"{_event_name(number)} is not an event: {why}."
    return events, _finding(3, wrong, f"All {len(events)} events have the one spelling of their format.")


def _chain(bundle: Bundle, events: Sequence[Event]) -> Finding:
    """Check 4: numbers 1 to n, each naming the digest of the one before; time never runs backwards."""
    wrong = None
    previous, last = None, None
    for number, event in enumerate(events, 1):
        if event.subject != f"custody:{bundle.kit}":
            wrong = f"Event {number} belongs to another trail, {event.subject}."
        elif event.number != number:
            wrong = f"Where event {number} should stand there is number {event.number}."
        elif event.previous != previous:
            wrong = f"Event {number} does not name the digest of the event before it."
        elif last is not None and event.values["recorded_at"] < last:
            wrong = f"Event {number} was recorded before the event before it."
        if wrong:
            break
        previous, last = event.digest, event.values["recorded_at"]
    if wrong is None and len(events) != len(bundle.events):
        wrong = "Not every event could be read, so the trail is not shown to be complete."
    well = f"Numbers 1 to {len(events)} follow each other, each with the digest of the one before."
    return _finding(4, wrong, well)


def _inclusion(bundle: Bundle, checkpoint: Checkpoint | None, proofs: Sequence[Proof]) -> Finding:
    """Check 5, over the events' bytes as they are, whether or not they could be read."""
    if checkpoint is None or len(proofs) != len(bundle.events):
        return _finding(5, "Without a checkpoint and a proof for each event this cannot be shown.", "")
    for number, (data, proof) in enumerate(zip(bundle.events, proofs, strict=True), 1):
        try:
            proof.check_under(sha256(data).digest(), checkpoint)
        except InvalidProof as why:
            return _finding(5, f"Event {number} is not shown to be in the log: {why}.", "")
        if proof.note.text != checkpoint.text():
            return _finding(5, f"The proof of event {number} speaks of another checkpoint.", "")
    well = f"All {len(proofs)} digests are in the log of {checkpoint.size} leaves that the checkpoint states."
    return _finding(5, None, well)


def _steps(events: Sequence[Event]) -> Finding:
    """Check 6."""
    copy = CourtCopy()
    for event in events:
        if wrong := copy.refuses(event):
            return _finding(6, f"Event {event.number} ({event.type}): {wrong}.", "")
    packages = len(copy.kit.packages) if copy.kit else 0
    return _finding(6, None, f"Every step of {packages} packages may follow the one before it.")


# --- from the database --------------------------------------------------------------------


async def collect(connection: "AsyncConnection", kit: str, origin: str, vkeys: str | None = None) -> bytes:
    """The bundle of a kit's custody trail under the last signed checkpoint, as this connection may see it.

    ``connection`` is in a transaction with a person's context (`ledger.reading`); ``vkeys`` names the keys
    in the README. Raises NotYetInLog when an event is not yet under a signature, BundleRefused when there
    is no trail to be seen or the log is another one.
    """
    # Here, so that the offline checks need no database driver.
    from audit import log
    from custody import reading
    from custody.protocol import Trail

    events = await reading.trail(connection, kit, Trail.CUSTODY)
    if not events:
        raise BundleRefused("there is no custody trail of this kit to be seen")
    digests = [bytes.fromhex(event.digest) for event in events]
    proofs = await log.prove(connection, "events", digests)
    if waiting := sum(digest not in proofs for digest in digests):
        raise NotYetInLog(waiting)
    note = proofs[digests[0]].note
    if Checkpoint.read(note.text).origin != origin:
        raise BundleRefused(f"the log is signed as {Checkpoint.read(note.text).origin}, not as {origin}")
    return make(
        [event.bytes for event in events],
        [proofs[digest].written() for digest in digests],
        note.written(),
        kit=kit,
        origin=origin,
        fingerprint=None if vkeys is None else fingerprint(vkeys),
    )
