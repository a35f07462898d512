"""The private part: what must be readable at the centre for a while and nowhere else, ever.

Hospital reference, safe channel, what each item is. It stands outside the event, encrypted with a data key of
the kit (AES-256-GCM, NIST SP 800-38D), which is itself wrapped with the master key of the centre. The event
binds it by a digest (`custody.disclosure`). Destroying the data key makes it unreadable for good; the event
and its proofs stay as they are.

A sealed part is a container, each field in it sealed on its own:

    "custody private\\n"   16 bytes
    and for each field, in the order of the field digests, which are all different:
        field digest      32 bytes: SHA-256 over salt, name and value
        nonce             12 random bytes
        length             4 bytes, big-endian, of what follows
        ciphertext        AES-256-GCM with its tag, of  salt (16)  length of the name (1)  name
                          length of the value (4)  value  and zeros up to a multiple of 128 bytes
                          under the context  "custody private field" LF kit LF event LF field digest

The field digest is part of the context and commits to the field's name and value, so nothing sealed can be
moved to another kit, event or field. It is salted, and the lengths are rounded up: the container tells how
many fields there are and nothing else. That its digests give the one that the event names can be checked
without any key (:func:`names`), even after the key is gone.

Parts sealed before are one ciphertext over the whole part (12 random bytes of nonce first) for the event's
digest; :func:`unseal` reads them too. A data key wrapped for a master key with a number (`MARK`, number,
payload) is told apart from one wrapped before (60 bytes, of master key 1) in the same way.

Pure: randomness is handed in.
"""

import json
from collections.abc import Iterator
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from custody.disclosure import SALT_BYTES, Field, Part, digest_of

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
MAGIC: Final = b"custody private\n"
MOST_SEALED: Final = 1 << 22

MARK: Final = b"data key"
"""Stands before the number of the master key (4 bytes, big-endian) and what that key made of the data key."""
MOST_NUMBER: Final = 9999
MOST_WRAPPED: Final = 4096

_DIGEST_BYTES: Final = 32
_TAG_BYTES: Final = 16
_BLOCK: Final = 128


class PrivateRefused(ValueError):
    """The sealed bytes do not open: another key, kit, event or field, or altered."""

    def __init__(self, why: str = "this private part cannot be opened with this key") -> None:
        super().__init__(why)


# --- the data key ----------------------------------------------------------------------------------


def wrap(master: bytes, data_key: bytes, kit: str, nonce: bytes) -> bytes:
    """The kit's data key under the centre's master key; ``nonce`` is 12 random bytes, never used twice."""
    return nonce + AESGCM(master).encrypt(nonce, data_key, f"data key of {kit}".encode())


def unwrap(master: bytes, wrapped: bytes, kit: str) -> bytes:
    """The inverse of :func:`wrap`. Raises PrivateRefused."""
    return _open(master, wrapped, f"data key of {kit}".encode())


def numbered(number: int, payload: bytes) -> bytes:
    """A wrapped data key that says which of the centre's master keys made it."""
    if not 1 <= number <= MOST_NUMBER or not 1 <= len(payload) <= MOST_WRAPPED:
        raise ValueError("a wrapped data key has the number of a master key and something that it made")
    return MARK + number.to_bytes(4, "big") + payload


def number_of(wrapped: bytes) -> tuple[int, bytes]:
    """Which master key made it, and what it made; the inverse of :func:`numbered`. Raises PrivateRefused."""
    if not wrapped.startswith(MARK):
        return 1, wrapped  # before there were numbers
    number, payload = int.from_bytes(wrapped[len(MARK) : len(MARK) + 4], "big"), wrapped[len(MARK) + 4 :]
    if not 1 <= number <= MOST_NUMBER or not 1 <= len(payload) <= MOST_WRAPPED:
        raise PrivateRefused("this is not a wrapped data key")
    return number, payload


# --- the part --------------------------------------------------------------------------------------


def seal(data_key: bytes, part: Part, kit: str, event_digest: str, nonces: bytes) -> bytes:
    """A private part, each field sealed for this kit and event; ``nonces`` is 12 random bytes for each."""
    if len(nonces) != NONCE_BYTES * len(part.fields) or part.whole:
        raise ValueError("every field is sealed under a nonce of its own")
    sealed = [MAGIC]
    for at, field in enumerate(sorted(part.fields, key=lambda f: f.digest)):
        nonce = nonces[at * NONCE_BYTES : (at + 1) * NONCE_BYTES]
        hidden = AESGCM(data_key).encrypt(nonce, _plain(field), _context(kit, event_digest, field.digest))
        sealed += [bytes.fromhex(field.digest), nonce, len(hidden).to_bytes(4, "big"), hidden]
    return b"".join(sealed)


def unseal(data_key: bytes, sealed: bytes, kit: str, event_digest: str) -> Part:
    """The inverse of :func:`seal`; reads a part sealed before, too. Raises PrivateRefused."""
    if not sealed.startswith(MAGIC):
        return _unseal_whole(data_key, sealed, event_digest)
    fields = []
    for digest, hidden in _entries(sealed):
        field = _field(_open(data_key, hidden, _context(kit, event_digest, digest)))
        if field.digest != digest:
            raise PrivateRefused("a field is not the one that it is sealed as")
        fields.append(field)
    try:
        return Part(tuple(sorted(fields, key=lambda f: f.name)))
    except ValueError:
        raise PrivateRefused("a field stands twice") from None


def names(sealed: bytes) -> str | None:
    """The digest that the event of this part must name as ``private``, found without any key.

    None for a part sealed before, which does not tell. Raises PrivateRefused for a broken container.
    """
    return digest_of(digest for digest, _ in _entries(sealed)) if sealed.startswith(MAGIC) else None


def _context(kit: str, event_digest: str, field_digest: str) -> bytes:
    return f"custody private field\n{kit}\n{event_digest}\n{field_digest}".encode()


def _plain(field: Field) -> bytes:
    name, value = field.name.encode(), field.value.encode()
    plain = field.salt + bytes([len(name)]) + name + len(value).to_bytes(4, "big") + value
    return plain + bytes(-len(plain) % _BLOCK)


def _field(plain: bytes) -> Field:
    """The inverse of :func:`_plain`, and nothing else is accepted."""
    try:
        salt, at = plain[:SALT_BYTES], SALT_BYTES + 1
        value_at = at + plain[SALT_BYTES] + 4
        end = value_at + int.from_bytes(plain[value_at - 4 : value_at], "big")
        read = Field(salt=salt, name=plain[at : value_at - 4].decode(), value=plain[value_at:end].decode())
    except (IndexError, ValueError):
        raise PrivateRefused("a sealed field cannot be read") from None
    if _plain(read) != plain:
        raise PrivateRefused("a sealed field is written otherwise")
    return read


def _entries(sealed: bytes) -> Iterator[tuple[str, bytes]]:
    """Field digest (hexadecimal), and nonce with ciphertext, of each field. Raises PrivateRefused."""
    at, last = len(MAGIC), ""
    if not at < len(sealed) <= MOST_SEALED:
        raise PrivateRefused("a sealed part is empty or too long")
    while at < len(sealed):
        body = at + _DIGEST_BYTES + NONCE_BYTES + 4
        end = body + int.from_bytes(sealed[body - 4 : body], "big")
        digest = sealed[at : at + _DIGEST_BYTES].hex()
        if end > len(sealed) or end - body < _BLOCK + _TAG_BYTES or digest <= last:
            raise PrivateRefused("a sealed part cannot be read")
        yield digest, sealed[at + _DIGEST_BYTES : body - 4] + sealed[body:end]
        at, last = end, digest


def _unseal_whole(data_key: bytes, sealed: bytes, event_digest: str) -> Part:
    """A part as it was sealed before: one ciphertext over its JSON, for the event's digest."""
    read = json.loads(_open(data_key, sealed, bytes.fromhex(event_digest)))
    fields = (Field(salt=bytes(SALT_BYTES), name=name, value=read[name]) for name in sorted(read))
    try:
        return Part(tuple(fields), whole=True)
    except (ValueError, TypeError):
        raise PrivateRefused("this private part cannot be read") from None


def _open(key: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to)
    except (InvalidTag, ValueError):
        raise PrivateRefused from None
