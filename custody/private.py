"""The private part: what must be readable at the centre for a while and nowhere else, ever.

Hospital reference, safe channel, notes about how to reach the victim. It stands outside the event,
encrypted with a data key of the kit (AES-256-GCM), which is itself wrapped with the master key of the
centre. The event binds it by a salted digest. Destroying the data key makes it unreadable for good;
the event and its proofs stay as they are.
"""

import json
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


class PrivateRefused(ValueError):
    """The sealed bytes do not open: another key, another event, or altered."""


def wrap(master: bytes, data_key: bytes, kit: str, nonce: bytes) -> bytes:
    """The kit's data key under the centre's master key; ``nonce`` is 12 random bytes, never used twice."""
    return nonce + AESGCM(master).encrypt(nonce, data_key, f"data key of {kit}".encode())


def unwrap(master: bytes, wrapped: bytes, kit: str) -> bytes:
    """The inverse of :func:`wrap`. Raises PrivateRefused."""
    return _open(master, wrapped, f"data key of {kit}".encode())


def seal(data_key: bytes, part: Mapping[str, str], event_digest: str, nonce: bytes) -> bytes:
    """A private part, bound to the one event that names its digest."""
    plain = json.dumps(dict(sorted(part.items())), ensure_ascii=False, separators=(",", ":")).encode()
    return nonce + AESGCM(data_key).encrypt(nonce, plain, bytes.fromhex(event_digest))


def unseal(data_key: bytes, sealed: bytes, event_digest: str) -> dict[str, str]:
    """The inverse of :func:`seal`. Raises PrivateRefused."""
    read = json.loads(_open(data_key, sealed, bytes.fromhex(event_digest)))
    return {str(k): str(v) for k, v in read.items()}


def _open(key: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to)
    except (InvalidTag, ValueError):
        raise PrivateRefused("this private part cannot be opened with this key") from None
