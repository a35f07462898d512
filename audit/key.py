"""Keys that sign checkpoints, and what exactly each kind signs.

| type | who | over |
|---|---|---|
| 0x01 | a log, Ed25519 (C2SP signed-note) | the note's text |
| 0x04 | a witness, Ed25519 (C2SP tlog-cosignature) | `cosignature/v1`, a `time` line, the note's text |
| 0x06 | a log or witness, ML-DSA-44 (C2SP tlog-cosignature) | `cosigned_message`, see `VerifierKey.message` |

A checkpoint of ours carries 0x01 **and** 0x06 signatures, because minors' kits are kept for 50 years and
Ed25519 will not outlive a quantum computer: `open_note` demands a signature of every type among the keys
that it is given. A signature that claims a known key and does not verify refuses the whole note (C2SP
signed-note).

Keys travel as text, in the form that Go's `sumdb/note` introduced and the C2SP tools share:

    <key name>+<key id, 8 hex digits>+<base64 of the type byte and the public key>               (vkey)
    PRIVATE+KEY+<key name>+<key id, 8 hex digits>+<base64 of the type byte and the private key>  (secret)

The key id is SHA-256(key name || 0x0A || type || public key)[:4]. The private part is 32 bytes for both
algorithms: the seed of RFC 8032 section 5.1.5, and ξ of FIPS 204 algorithm 1. The public keys of one log, all
that may have signed it, are a text of one vkey a line.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Protocol, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from audit.checkpoint import Checkpoint
from audit.note import KEY_ID_BYTES, Note, Signature, is_key_name
from audit.text import MAX_SIZE, Malformed, read_base64, write_base64

ED25519: Final = 0x01
COSIGNATURE: Final = 0x04
ML_DSA_44: Final = 0x06
LOG_TYPES: Final = (ED25519, ML_DSA_44)  # what every checkpoint of ours is signed with

SEED_BYTES: Final = 32
MAX_KEYS: Final = 100  # in one text of public keys

_KEY_BYTES: Final = {ED25519: 32, COSIGNATURE: 32, ML_DSA_44: 1312}
_SIGNATURE_BYTES: Final = {ED25519: 64, COSIGNATURE: 64, ML_DSA_44: 2420}
_NAMES: Final = {ED25519: "Ed25519", COSIGNATURE: "Ed25519 cosignature", ML_DSA_44: "ML-DSA-44"}
_TIME_BYTES: Final = 8
_SECRET: Final = "PRIVATE+KEY+"
_KEY_ID: Final = re.compile(r"[0-9a-f]{8}", re.ASCII)


class NotSigned(ValueError):
    """A note that the known keys do not vouch for: a signature of theirs is missing or wrong."""


def key_id(name: str, key_type: int, public_key: bytes) -> bytes:
    """The 4 bytes that, with the name, identify a key: SHA-256(name || 0x0A || type || key)[:4]."""
    return sha256(name.encode() + b"\n" + bytes([key_type]) + public_key).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key, the name it signs under, and its type (`ED25519`, `COSIGNATURE` or `ML_DSA_44`)."""

    name: str
    public_key: bytes = field(repr=False)
    key_type: int = ED25519
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise Malformed("a key's name is not empty and has no space and no plus")
        if self.key_type not in _KEY_BYTES:
            raise Malformed(
                f"keys of type 0x{self.key_type:02x} are not known here, only 0x01, 0x04 and 0x06"
            )
        if len(self.public_key) != _KEY_BYTES[self.key_type]:
            raise Malformed(
                f"an {_NAMES[self.key_type]} public key has {_KEY_BYTES[self.key_type]} bytes,"
                f" this one {len(self.public_key)}"
            )
        object.__setattr__(self, "key_id", key_id(self.name, self.key_type, self.public_key))

    @property
    def algorithm(self) -> str:
        """The algorithm's name, for people."""
        return _NAMES[self.key_type]

    def written(self) -> str:
        """The key as a vkey, `name+id+key`."""
        encoded = write_base64(bytes([self.key_type]) + self.public_key)
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @classmethod
    def read(cls, vkey: str) -> Self:
        """The key written as `vkey`; `Malformed` for anything `written` would not write."""
        name, key_type, key_bytes, stated_id = _read_key(vkey, "the public key")
        key = cls(name, key_bytes, key_type)
        if key.key_id != stated_id:
            raise Malformed("the public key's id does not belong to its name and key")
        return key

    def claims(self, signature: Signature) -> bool:
        """Whether `signature` claims to be by this key."""
        return (signature.name, signature.key_id) == (self.name, self.key_id)

    def message(self, text: str, at: int) -> bytes:
        """What this key signs for the note `text` at `at` (seconds since 1970; type 0x01 has no time).

        Raises `Malformed` where the type signs checkpoints only and `text` is none.
        """
        if self.key_type == ED25519:
            return text.encode()
        if self.key_type == COSIGNATURE:
            return f"cosignature/v1\ntime {at}\n{text}".encode()
        checkpoint = Checkpoint.read(text)
        name, origin = self.name.encode(), checkpoint.origin.encode()
        if len(name) > 255 or len(origin) > 255:
            raise Malformed("ML-DSA-44 signs for names and origins of at most 255 bytes")
        return b"".join(
            (
                b"subtree/v1\n\x00",
                *(bytes([len(name)]), name, at.to_bytes(8, "big"), bytes([len(origin)]), origin),
                *((0).to_bytes(8, "big"), checkpoint.size.to_bytes(8, "big"), checkpoint.root),
            )
        )

    def line(self, raw: bytes, at: int) -> Signature:
        """The signature line out of the algorithm's bare signature over `message(text, at)`."""
        time = b"" if self.key_type == ED25519 else at.to_bytes(_TIME_BYTES, "big")
        return Signature(self.name, self.key_id, time + raw)

    def signed_at(self, signature: Signature) -> int | None:
        """The time in the line of a timestamped signature, unverified; None for type 0x01 and for 0."""
        if self.key_type == ED25519:
            return None
        return int.from_bytes(signature.signature[:_TIME_BYTES], "big") or None

    def verifies(self, text: str, signature: Signature) -> bool:
        """Whether `signature` is this key's over `text`."""
        data = signature.signature
        timed = self.key_type != ED25519
        at = int.from_bytes(data[:_TIME_BYTES], "big") if timed else 0
        raw = data[_TIME_BYTES:] if timed else data
        if at > MAX_SIZE or len(raw) != _SIGNATURE_BYTES[self.key_type]:
            return False
        try:
            message = self.message(text, at)
            if self.key_type == ML_DSA_44:
                MLDSA44PublicKey.from_public_bytes(self.public_key).verify(raw, message)
            else:
                Ed25519PublicKey.from_public_bytes(self.public_key).verify(raw, message)
        except (InvalidSignature, Malformed, ValueError):
            return False
        return True


class Signs(Protocol):
    """Whatever can sign with a private key: a key from a file, or a program that keeps it."""

    @property
    def verifier(self) -> VerifierKey:
        """The public key."""

    def sign(self, message: bytes) -> bytes:
        """The algorithm's bare signature over `message`."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and the name it signs under. `seed` is 32 bytes.

    It never appears in a representation; it is written only by `written`.
    """

    name: str
    seed: bytes = field(repr=False)
    key_type: int = ED25519

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_BYTES:
            raise Malformed(f"a private key has {SEED_BYTES} bytes, this one {len(self.seed)}")
        _ = self.verifier  # refuses a name that no key may have, and an unknown type

    @property
    def verifier(self) -> VerifierKey:
        """The public key."""
        if self.key_type == ML_DSA_44:
            public = MLDSA44PrivateKey.from_seed_bytes(self.seed).public_key().public_bytes_raw()
        else:
            public = Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()
        return VerifierKey(self.name, public, self.key_type)

    def sign(self, message: bytes) -> bytes:
        """The signature over `message`. Ed25519 is deterministic; ML-DSA-44 is randomised."""
        if self.key_type == ML_DSA_44:
            return MLDSA44PrivateKey.from_seed_bytes(self.seed).sign(message)
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)

    def written(self) -> str:
        """The key as secret text, `PRIVATE+KEY+name+id+key`."""
        encoded = write_base64(bytes([self.key_type]) + self.seed)
        return f"{_SECRET}{self.name}+{self.verifier.key_id.hex()}+{encoded}"

    @classmethod
    def read(cls, text: str) -> Self:
        """The key written as `text`; `Malformed`, which never quotes it, for anything else."""
        if not text.startswith(_SECRET):
            raise Malformed("the private key does not begin with PRIVATE+KEY+")
        name, key_type, seed, stated_id = _read_key(text.removeprefix(_SECRET), "the private key")
        key = cls(name, seed, key_type)
        if key.verifier.key_id != stated_id:
            raise Malformed("the private key's id does not belong to its name and key")
        return key


def read_keys(text: str) -> tuple[VerifierKey, ...]:
    """The public keys in `text`, one vkey a line: the inverse of `write_keys`; `Malformed` if not."""
    lines = text.removesuffix("\n").split("\n")
    if len(lines) > MAX_KEYS:
        raise Malformed(f"there are more than {MAX_KEYS} keys")
    keys = tuple(VerifierKey.read(line) for line in lines)
    if len(set(keys)) != len(keys):
        raise Malformed("the same key is there twice")
    return keys


def write_keys(keys: Iterable[VerifierKey]) -> str:
    """One vkey a line, each with its newline."""
    return "".join(f"{key.written()}\n" for key in keys)


def sign(checkpoint: Checkpoint, keys: Sequence[Signs], at: int) -> Note:
    """The note of `checkpoint` signed by all `keys` at `at` (seconds since 1970).

    Each signature is checked before it is used. Raises ValueError when no key bears the origin's name, and
    when a key made a signature that is not its own.
    """
    if not any(key.verifier.name == checkpoint.origin for key in keys):
        raise ValueError(f"none of the keys signs for {checkpoint.origin}")
    text = checkpoint.text()
    lines = []
    for key in keys:
        verifier = key.verifier
        line = verifier.line(key.sign(verifier.message(text, at)), at)
        if not verifier.verifies(text, line):
            raise ValueError(
                f"what signs for key {verifier.key_id.hex()} made a signature that is not its own"
            )
        lines.append(line)
    return Note(text, tuple(lines))


def verify(note: Note, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
    """The keys among `keys` that signed `note`, at least one.

    Raises `NotSigned` when none did, or when a signature that claims one of them is not theirs (C2SP
    signed-note: a verifier should then reject the whole note).
    """
    found: list[VerifierKey] = []
    for key in keys:
        own = [signature for signature in note.signatures if key.claims(signature)]
        if not all(key.verifies(note.text, signature) for signature in own):
            raise NotSigned(f"the signature in the name of {key.name} is not by key {key.key_id.hex()}")
        if own:
            found.append(key)
    if not found:
        raise NotSigned("none of the known keys has signed the note")
    return tuple(found)


def signed_with(note: Note, keys: Iterable[VerifierKey]) -> str:
    """Which algorithms of `keys` signed `note`, for people: "Ed25519 and ML-DSA-44"."""
    return " and ".join(dict.fromkeys(key.algorithm for key in verify(note, keys)))


def open_note(data: bytes, keys: Sequence[VerifierKey]) -> Checkpoint:
    """The checkpoint in the note `data`, signed for its origin by a key of **every type** among `keys`.

    Only keys that bear the origin's name count. Raises `Malformed` when it is not a checkpoint, `NotSigned`
    when a type has not signed, or the origin is another log's.
    """
    note = Note.read(data)
    checkpoint = Checkpoint.read(note.text)
    own = [key for key in keys if key.name == checkpoint.origin]
    if not own:
        names = ", ".join(sorted({key.name for key in keys})) or "none"
        raise NotSigned(f"the checkpoint is of {checkpoint.origin}, the keys are for {names}")
    signed = {key.key_type for key in verify(note, own)}
    for key in own:
        if key.key_type not in signed:
            raise NotSigned(f"the {key.algorithm} signature by {key.name} is missing")
    return checkpoint


def _read_key(text: str, what: str) -> tuple[str, int, bytes, bytes]:
    """Name, type, key bytes and stated id of `name+id+base64`."""
    name, _, rest = text.partition("+")
    stated, _, encoded = rest.partition("+")  # the base64 part may hold further plus signs
    if not is_key_name(name) or not _KEY_ID.fullmatch(stated):
        raise Malformed(f"{what} is not of the form name+id+key")
    data = read_base64(encoded, what)
    if len(data) < 2:
        raise Malformed(f"{what} is empty")
    return name, data[0], data[1:], bytes.fromhex(stated)
