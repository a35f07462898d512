"""Signed notes (C2SP signed-note): a text, a blank line, and one or more signature lines.

    — <key name> <base64 of the 4-byte key id and the signature>

The signatures cover the text with its last newline, without the blank line. The reader is strict and is the
inverse of the writer: `Note.read(data).written() == data` for every note that is read at all. Signatures by
unknown keys are kept and prove nothing; a signature that claims a known key and does not verify refuses the
whole note.

Keys travel as text, in the form that Go's `sumdb/note` introduced and the C2SP tools share:

    <key name>+<key id, 8 hex digits>+<base64 of the type byte and the public key>               (vkey)
    PRIVATE+KEY+<key name>+<key id, 8 hex digits>+<base64 of the type byte and the private key>  (secret)

The key id is SHA-256(key name || 0x0A || type || public key)[:4]. Type 0x01 is Ed25519 (RFC 8032). Type 0x06
(ML-DSA-44) signs another message than the bare text; it takes its place beside `ED25519` in `_public_key`,
and its lines already pass through as signatures of an unknown key.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.text import Malformed, is_line, read_base64, read_utf8, write_base64

ED25519: Final = 0x01
KEY_ID_BYTES: Final = 4
ED25519_KEY_BYTES: Final = 32
MAX_NOTE_BYTES: Final = 1 << 20
MAX_SIGNATURES: Final = 100  # the format demands that at least 16 are accepted

_MARK: Final = "— "  # em dash, space
_SECRET: Final = "PRIVATE+KEY+"
_KEY_ID: Final = re.compile(r"[0-9a-f]{8}", re.ASCII)


class NotSigned(ValueError):
    """A note that the known keys do not vouch for: no signature of theirs, or one that is wrong."""


def is_key_name(name: str) -> bool:
    """Whether `name` may name a key: not empty, no Unicode space, no plus, no control character."""
    return bool(name) and is_line(name) and not any(c.isspace() or c == "+" for c in name)


def key_id(name: str, key_type: int, public_key: bytes) -> bytes:
    """The 4 bytes that, with the name, identify a key: SHA-256(name || 0x0A || type || key)[:4]."""
    return sha256(name.encode() + b"\n" + bytes([key_type]) + public_key).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: who claims to have signed (`name`, 4-byte `key_id`) and the signature's bytes."""

    name: str
    key_id: bytes
    signature: bytes

    def line(self) -> str:
        """The line as it stands in the note, without its newline."""
        return f"{_MARK}{self.name} {write_base64(self.key_id + self.signature)}"

    @classmethod
    def read(cls, line: str) -> Self:
        """The signature written as `line`; `Malformed` for anything `line()` would not write."""
        if not line.startswith(_MARK):
            raise Malformed("a signature line does not begin with an em dash and a space")
        name, space, encoded = line.removeprefix(_MARK).partition(" ")
        if not space or not is_key_name(name):
            raise Malformed("a signature line does not name its key")
        data = read_base64(encoded, f"the signature of {name}")
        if len(data) <= KEY_ID_BYTES:
            raise Malformed(f"the signature of {name} is empty")
        return cls(name, data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])


@dataclass(frozen=True, slots=True)
class Note:
    """A note as read or about to be written. That it parses says nothing about who signed: see `verify`."""

    text: str
    signatures: tuple[Signature, ...]

    def written(self) -> bytes:
        """The note's bytes. The inverse of `read`; raises `Malformed` for a note that could not be read."""
        lines = "".join(signature.line() + "\n" for signature in self.signatures)
        data = f"{self.text}\n{lines}".encode()
        if Note.read(data) != self:
            raise Malformed("this text and these signatures do not make a note")
        return data

    @classmethod
    def read(cls, data: bytes) -> Self:
        """The note written as `data`; `Malformed` for anything `written` would not write."""
        if len(data) > MAX_NOTE_BYTES:
            raise Malformed(f"the note is longer than {MAX_NOTE_BYTES} bytes")
        whole = read_utf8(data, "the note")
        if any(c < " " and c != "\n" for c in whole):
            raise Malformed("the note holds a control character")
        text, blank, rest = whole.rpartition("\n\n")
        if not blank or not rest.endswith("\n"):
            raise Malformed("the note has no blank line before its signatures, or no newline at its end")
        lines = rest.removesuffix("\n").split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise Malformed(f"the note has more than {MAX_SIGNATURES} signatures")
        return cls(text + "\n", tuple(Signature.read(line) for line in lines))


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key and the name it signs under. `public_key` is 32 bytes for Ed25519."""

    name: str
    public_key: bytes
    key_type: int = ED25519
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise Malformed("a key's name is not empty and has no space and no plus")
        if self.key_type != ED25519:
            raise Malformed(f"keys of type 0x{self.key_type:02x} are not known here, only Ed25519 (0x01)")
        if len(self.public_key) != ED25519_KEY_BYTES:
            raise Malformed(f"an Ed25519 public key has 32 bytes, this one {len(self.public_key)}")
        object.__setattr__(self, "key_id", key_id(self.name, self.key_type, self.public_key))

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

    def signed(self, signature: Signature) -> bool:
        """Whether `signature` claims to be by this key."""
        return (signature.name, signature.key_id) == (self.name, self.key_id)

    def verifies(self, text: str, signature: Signature) -> bool:
        """Whether `signature` is this key's over `text` (RFC 8032 section 5.1.7)."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature.signature, text.encode())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and the name it signs under. `seed` is the 32 bytes of RFC 8032 section 5.1.5.

    It never appears in a representation; it is written only by `written`.
    """

    name: str
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seed) != ED25519_KEY_BYTES:
            raise Malformed(f"an Ed25519 private key has 32 bytes, this one {len(self.seed)}")
        _ = self.verifier  # refuses a name that no key may have

    @property
    def verifier(self) -> VerifierKey:
        """The public key."""
        return VerifierKey(
            self.name, Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()
        )

    def sign(self, text: str) -> Signature:
        """The signature over `text`. Ed25519 is deterministic: the same text gives the same bytes."""
        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())
        return Signature(self.name, self.verifier.key_id, signature)

    def written(self) -> str:
        """The key as secret text, `PRIVATE+KEY+name+id+key`."""
        return (
            f"{_SECRET}{self.name}+{self.verifier.key_id.hex()}+{write_base64(bytes([ED25519]) + self.seed)}"
        )

    @classmethod
    def read(cls, text: str) -> Self:
        """The key written as `text`; `Malformed`, which never quotes it, for anything else."""
        if not text.startswith(_SECRET):
            raise Malformed("the private key does not begin with PRIVATE+KEY+")
        name, key_type, seed, stated_id = _read_key(text.removeprefix(_SECRET), "the private key")
        if key_type != ED25519:
            raise Malformed(f"keys of type 0x{key_type:02x} are not known here, only Ed25519 (0x01)")
        key = cls(name, seed)
        if key.verifier.key_id != stated_id:
            raise Malformed("the private key's id does not belong to its name and key")
        return key


def verify(note: Note, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
    """The keys among `keys` that signed `note`, at least one.

    Raises `NotSigned` when none did, or when a signature that claims one of them is not theirs (the format
    says a verifier must then reject the whole note).
    """
    found: list[VerifierKey] = []
    for key in keys:
        own = [signature for signature in note.signatures if key.signed(signature)]
        if not all(key.verifies(note.text, signature) for signature in own):
            raise NotSigned(f"the signature in the name of {key.name} is not by key {key.key_id.hex()}")
        if own:
            found.append(key)
    if not found:
        raise NotSigned("none of the known keys has signed the note")
    return tuple(found)


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
