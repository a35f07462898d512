"""The victim's card: the code printed on it, and the second secret that is not.

The **card code** has 120 random bits in Crockford's alphabet and a check character, written in five
groups of five: `7M4P9-XQ3RT-…`. The check character (ISO/IEC 7064 MOD 37,36, see `custody.number`)
lets the page say "a typing error" before anything is looked up. The **second secret** is eight digits,
told to the victim and written on nothing. Neither is stored: only the hashes made here are.

- The code's hash is one plain SHA-256. A slow hash protects secrets that can be guessed; nobody tries
  2^120 codes, and a plain hash is what the row can be found by.
- The secret's hash is scrypt (RFC 7914) with its own salt: eight digits are quickly tried, so each try
  has to cost, and the code is needed as well.

Everything here is pure: random bytes are an argument.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from enum import StrEnum
from hashlib import scrypt, sha256
from typing import Final, NewType

from custody.number import (
    ALPHABET,
    NumberRefused,
    blind_swaps,
    check_character,
    check_matches,
    crockford,
    normalised,
)

CODE_BITS: Final = 120
CODE_RANDOM_BYTES: Final = CODE_BITS // 8
CODE_LENGTH: Final = CODE_BITS // 5 + 1
GROUP: Final = 5

SECRET_DIGITS: Final = 8
SECRET_RANDOM_BYTES: Final = 16
"""128 bits modulo 10^8: the digits differ from equally likely by less than 2^-101."""
SALT_BYTES: Final = 16

CardCode = NewType("CardCode", str)
"""A checked card code without hyphens: made by `issue_code` and `parse_code` only. Never stored."""
SecondSecret = NewType("SecondSecret", str)
"""Eight digits: made by `issue_secret` and `parse_secret` only. Never stored."""

_SCRYPT_N: Final = 2**14
_SCRYPT_R: Final = 8
_SCRYPT_P: Final = 1
_SCRYPT_BYTES: Final = 32
_SCRYPT_MEMORY: Final = 64 * 1024 * 1024  # OpenSSL's own limit of 32 MiB leaves no room beside the 16 in use
_HASH_VERSION: Final = "scrypt-1"  # the version names the figures above; new figures get a new version
_READ_AS: Final = str.maketrans({"O": "0", "I": "1", "L": "1"})


class CardFault(StrEnum):
    """Why a code or secret was refused: message keys."""

    CODE = "The code on the card has 25 letters and digits. Please type it as it stands on the card."
    CODE_CHECK = "This code has a typing error. Please compare it with the card, group by group."
    DIGITS = "The second secret has eight digits. Please type digits only."


class CardRefused(ValueError):
    """What was typed cannot be a card code or a second secret; never repeats what was typed."""

    def __init__(self, fault: CardFault) -> None:
        self.fault: CardFault = fault
        super().__init__(fault.value)


def issue_code(random: bytes) -> CardCode | None:
    """The card code made of `random` (15 bytes), or None where none is issued: draw again then.

    None as for kit numbers: an ambiguous check character, or a swap that would go unseen.
    """
    if len(random) != CODE_RANDOM_BYTES:
        raise ValueError(f"a card code takes {CODE_RANDOM_BYTES} random bytes, not {len(random)}")
    body = crockford(random, CODE_LENGTH - 1)
    code = body + check_character(body)
    return CardCode(code) if code[-1] in ALPHABET and not blind_swaps(code) else None


def parse_code(text: str) -> CardCode:
    """The code as typed from the card: case, spaces and hyphens do not matter; O is 0, I and L are 1.

    Raises `CardRefused`.
    """
    try:
        code = normalised(text).translate(_READ_AS)
    except NumberRefused as refused:
        raise CardRefused(CardFault.CODE) from refused
    if len(code) != CODE_LENGTH or not set(code) <= set(ALPHABET):
        raise CardRefused(CardFault.CODE)
    if not check_matches(code) or blind_swaps(code):
        raise CardRefused(CardFault.CODE_CHECK)
    return CardCode(code)


def written_code(code: CardCode) -> str:
    """A card code as people read it, in five groups of five."""
    return "-".join(code[i : i + GROUP] for i in range(0, CODE_LENGTH, GROUP))


def code_hash(code: CardCode) -> bytes:
    """The 32 bytes stored instead of the code, and looked up by.

    The prefix keeps them apart from every other hash, so one is never taken for the other.
    """
    return sha256(b"custody card code 1\n" + code.encode("ascii")).digest()


def issue_secret(random: bytes) -> SecondSecret:
    """Eight digits made of `random` (16 bytes)."""
    if len(random) != SECRET_RANDOM_BYTES:
        raise ValueError(f"a second secret takes {SECRET_RANDOM_BYTES} random bytes, not {len(random)}")
    return SecondSecret(f"{int.from_bytes(random, 'big') % 10**SECRET_DIGITS:0{SECRET_DIGITS}d}")


def parse_secret(text: str) -> SecondSecret:
    """The second secret as typed; spaces and hyphens do not matter. Raises `CardRefused`."""
    digits = text.strip(" \t\r\n").replace(" ", "").replace("-", "") if len(text) <= 40 else ""
    if len(digits) != SECRET_DIGITS or not set(digits) <= set("0123456789"):
        raise CardRefused(CardFault.DIGITS)
    return SecondSecret(digits)


def written_secret(secret: SecondSecret) -> str:
    """The second secret as people read it: `1234 5678`."""
    return f"{secret[:4]} {secret[4:]}"


def secret_hash(secret: SecondSecret, salt: bytes) -> str:
    """What is stored instead of the secret: `scrypt-1$<salt>$<hash>`, both in base64.

    Takes about 50 ms of one core. `salt` is 16 random bytes, new for every secret.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"the salt is {SALT_BYTES} random bytes, not {len(salt)}")
    return "$".join([_HASH_VERSION, _base64(salt), _base64(_stretch(secret, salt))])


def secret_matches(secret: SecondSecret, stored: str) -> bool:
    """Whether `secret` is the one behind `stored`, compared in constant time.

    Raises ValueError when `stored` was not made by `secret_hash`: that is damage, not a wrong secret.
    """
    try:
        version, salt_text, hash_text = stored.split("$")
        salt, expected = b64decode(salt_text, validate=True), b64decode(hash_text, validate=True)
    except (ValueError, NotBase64) as damage:
        raise ValueError("the stored hash of a second secret is damaged") from damage
    if version != _HASH_VERSION or len(salt) != SALT_BYTES or len(expected) != _SCRYPT_BYTES:
        raise ValueError("the stored hash of a second secret is damaged or of an unknown version")
    return hmac.compare_digest(_stretch(secret, salt), expected)


def no_such_secret(secret: SecondSecret) -> bool:
    """Always False, at the cost of a real comparison: for a code nobody has, so that time tells nothing."""
    hmac.compare_digest(_stretch(secret, bytes(SALT_BYTES)), bytes(_SCRYPT_BYTES))
    return False


def _stretch(secret: SecondSecret, salt: bytes) -> bytes:
    return scrypt(
        secret.encode("ascii"),
        salt=salt,
        n=_SCRYPT_N,
        r=_SCRYPT_R,
        p=_SCRYPT_P,
        maxmem=_SCRYPT_MEMORY,
        dklen=_SCRYPT_BYTES,
    )


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")
