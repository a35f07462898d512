"""A trail of one kit as a file that a court can check without us. Format version 2.

A bundle is a ``.zip`` with exactly these files; their numbers have four digits or more:

| file | what |
|---|---|
| ``README.txt`` | what this is and how to check it, also by hand (:mod:`custody.cover`); it proves nothing |
| ``bundle.json`` | ``{"format":2,"kit":…,"trail":…,"events":n,"origin":…,"anchors":a,"keys":k}`` |
| ``checkpoint.txt`` | the signed note (C2SP tlog-checkpoint) of the log's size and root |
| ``events/0001.json`` … | the exact bytes of each event: their SHA-256 is the leaf in the log |
| ``proofs/0001.tlog-proof`` … | C2SP tlog-proof@v1 of each event, under exactly that checkpoint |
| ``anchors/0001/signed.txt`` … | an earlier checkpoint, exactly as it was signed by the log, and stamped |
| ``anchors/0001/cosignatures.txt`` | lines of witnesses to be put after it, where there are any |
| ``anchors/0001/growth.txt`` | hashes in base64, one a line: from it the log only grew |
| ``anchors/0001/stamp-1.tst`` … | RFC 3161 token over ``signed.txt``; each next one over the one before |
| ``keys/0001.json`` … | the events in which the log told which keys sign it, as exact bytes |
| ``keys/0001.tlog-proof`` … | the proof of each, under the first checkpoint that covers it |
| ``policy.txt`` | the witnesses that the operator states (C2SP tlog-policy), where there is one |

``trail`` is ``custody``, or ``choices``, which leaves only on a judge's order, up to the event that says so.
Events are those of that one trail, from number 1 on. :mod:`custody.archive` says how files are packed.

:func:`read` says what is a bundle; whether it is to be believed is for :mod:`custody.examination`. Nothing
here needs a service, a database or a network.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from custody.archive import Archive, NotAnArchive, pack
from custody.event import KIT, MOST_BYTES

FORMAT: Final = 2
TRAILS: Final = ("custody", "choices")
MOST_EVENTS: Final = 20_000
MOST_ANCHORS: Final = 999
MOST_KEYS: Final = 999
MOST_STAMPS: Final = 99
MOST_TOTAL: Final = 256 << 20  # bytes, packed and unpacked alike

README, MANIFEST, CHECKPOINT, POLICY = "README.txt", "bundle.json", "checkpoint.txt", "policy.txt"
_MOST_NOTE: Final = 64 << 10
_MOST_PROOF: Final = 96 << 10
_MOST_GROWTH: Final = 8 << 10
_MOST_POLICY: Final = 2 << 20
_MOST_FILES: Final = 2 * (MOST_EVENTS + MOST_KEYS) + MOST_ANCHORS * (3 + MOST_STAMPS) + 4
_ORIGIN: Final = re.compile(r"[^\s+\x00-\x1f\x7f]{1,220}")


class BundleRefused(ValueError):
    """This is not a bundle: the message says which part and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """An earlier checkpoint: its note, lines of cosignatures, hashes of the growth from it, tokens."""

    signed: bytes
    cosignatures: bytes
    growth: bytes
    stamps: tuple[bytes, ...]

    @property
    def note(self) -> bytes:
        """The note with all signatures, for any tool that reads C2SP notes."""
        return self.signed + self.cosignatures


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event of the log's own trail, which tells who signs, and its proof."""

    event: bytes
    proof: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What a bundle holds, read and not yet checked; everything as bytes, in order."""

    kit: str
    trail: str
    origin: str
    note: bytes
    events: tuple[bytes, ...]
    proofs: tuple[bytes, ...]
    anchors: tuple[Anchor, ...] = ()
    keys: tuple[Told, ...] = ()
    policy: bytes | None = None
    readme: bytes = b""


def fingerprint(vkeys: str) -> str:
    """SHA-256 in hexadecimal of the text of public keys: what ``sha256sum events.vkey`` prints."""
    return sha256(vkeys.encode()).hexdigest()


def event_name(number: int) -> str:
    return f"events/{number:04}.json"


def proof_name(number: int) -> str:
    return f"proofs/{number:04}.tlog-proof"


def anchor_name(number: int, file: str) -> str:
    return f"anchors/{number:04}/{file}"


def key_name(number: int, kind: str) -> str:
    return f"keys/{number:04}.{kind}"


# --- writing ------------------------------------------------------------------------------


def write(bundle: Bundle) -> bytes:
    """The bytes of a bundle; the same content gives the same bytes. :func:`read` is its inverse.

    Raises BundleRefused for more than a bundle can hold.
    """
    if not bundle.events or len(bundle.events) != len(bundle.proofs) or len(bundle.events) > MOST_EVENTS:
        raise BundleRefused(f"a bundle has 1 to {MOST_EVENTS} events and a proof for each")
    files = {README: bundle.readme, MANIFEST: _manifest(bundle), CHECKPOINT: bundle.note}
    files |= {event_name(n): data for n, data in enumerate(bundle.events, 1)}
    files |= {proof_name(n): data for n, data in enumerate(bundle.proofs, 1)}
    for n, anchor in enumerate(bundle.anchors, 1):
        files[anchor_name(n, "signed.txt")] = anchor.signed
        if anchor.cosignatures:
            files[anchor_name(n, "cosignatures.txt")] = anchor.cosignatures
        files[anchor_name(n, "growth.txt")] = anchor.growth
        files |= {anchor_name(n, f"stamp-{k}.tst"): token for k, token in enumerate(anchor.stamps, 1)}
    for n, told in enumerate(bundle.keys, 1):
        files[key_name(n, "json")] = told.event
        files[key_name(n, "tlog-proof")] = told.proof
    if bundle.policy is not None:
        files[POLICY] = bundle.policy
    if sum(map(len, files.values())) + 300 * len(files) > MOST_TOTAL:
        raise BundleRefused(f"a bundle has at most {MOST_TOTAL >> 20} MiB")
    return pack(files)


def _manifest(bundle: Bundle) -> bytes:
    return _stated(
        {
            "format": FORMAT,
            "kit": bundle.kit,
            "trail": bundle.trail,
            "events": len(bundle.events),
            "origin": bundle.origin,
            "anchors": len(bundle.anchors),
            "keys": len(bundle.keys),
        }
    )


def _stated(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()


# --- reading ------------------------------------------------------------------------------


def read(data: bytes) -> Bundle:
    """The bundle in these bytes. Raises BundleRefused, always and only that, for anything else."""
    if len(data) > MOST_TOTAL:
        raise BundleRefused(f"it is larger than the {MOST_TOTAL >> 20} MiB that a bundle can have")
    try:
        return _read(Archive(data, _MOST_FILES, MOST_TOTAL))
    except NotAnArchive as wrong:
        raise BundleRefused(str(wrong)) from wrong


def _read(archive: Archive) -> Bundle:
    waiting = archive.names

    def content(name: str, most: int) -> bytes:
        if name not in waiting:
            raise BundleRefused(f"{name} is missing")
        waiting.remove(name)
        return archive.content(name, most)

    def anchor(number: int) -> Anchor:
        lines = anchor_name(number, "cosignatures.txt")
        stamps: list[bytes] = []
        while (stamp := anchor_name(number, f"stamp-{len(stamps) + 1}.tst")) in waiting:
            stamps.append(content(stamp, MOST_BYTES))
        return Anchor(
            signed=content(anchor_name(number, "signed.txt"), _MOST_NOTE),
            cosignatures=content(lines, _MOST_NOTE) if lines in waiting else b"",
            growth=content(anchor_name(number, "growth.txt"), _MOST_GROWTH),
            stamps=tuple(stamps),
        )

    readme = content(README, _MOST_NOTE)
    stated = _read_manifest(content(MANIFEST, 4096))
    numbers = range(1, stated["events"] + 1)
    bundle = Bundle(
        kit=stated["kit"],
        trail=stated["trail"],
        origin=stated["origin"],
        note=content(CHECKPOINT, _MOST_NOTE),
        events=tuple([content(event_name(n), MOST_BYTES) for n in numbers]),
        proofs=tuple([content(proof_name(n), _MOST_PROOF) for n in numbers]),
        anchors=tuple([anchor(n) for n in range(1, stated["anchors"] + 1)]),
        keys=tuple(
            Told(
                event=content(key_name(n, "json"), MOST_BYTES),
                proof=content(key_name(n, "tlog-proof"), _MOST_PROOF),
            )
            for n in range(1, stated["keys"] + 1)
        ),
        policy=content(POLICY, _MOST_POLICY) if POLICY in waiting else None,
        readme=readme,
    )
    if waiting:
        raise BundleRefused(f"{min(waiting)[:60]!r} does not belong into this bundle")
    return bundle


def _read_manifest(data: bytes) -> Mapping[str, Any]:
    """What bundle.json states; only the one spelling that :func:`write` writes is accepted."""
    try:
        stated = json.loads(data)
        if stated["format"] == 1:
            raise BundleRefused("it is of format 1, which was never in use; download the bundle again")
        if stated["format"] != FORMAT:
            raise BundleRefused("bundle.json is of a format that this program does not know")
        KIT.check("kit", stated["kit"])
        origin = stated["origin"]  # it is printed, so it must not steer a terminal or turn letters around
        plain = isinstance(origin, str) and _ORIGIN.fullmatch(origin) and origin.isprintable()
        counted = all(
            type(stated[name]) is int and least <= stated[name] <= most
            for name, least, most in (
                ("events", 1, MOST_EVENTS),
                ("anchors", 0, MOST_ANCHORS),
                ("keys", 0, MOST_KEYS),
            )
        )
        names = ("format", "kit", "trail", "events", "origin", "anchors", "keys")
        one_spelling = _stated({name: stated[name] for name in names}) == data
        if not plain or not counted or stated["trail"] not in TRAILS or not one_spelling:
            raise BundleRefused("bundle.json is not what it must be")
    except BundleRefused:
        raise
    except (ValueError, LookupError, TypeError, RecursionError) as wrong:
        raise BundleRefused("bundle.json is not what it must be") from wrong
    return dict(stated)
