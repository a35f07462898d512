"""The strict pieces of text that the C2SP formats share: one way to write each value, one way to read it.

Every reader here is the inverse of its writer: a text that reads as a value is exactly the text that the
value is written as. Anything else is `Malformed`, so a document has no second spelling that would still
pass.
"""

import base64
import binascii
import re
from typing import Final

HASH_BYTES: Final = 32  # SHA-256
MAX_SIZE: Final = 2**63 - 1  # a tree size or an index that PostgreSQL's bigint holds

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class Malformed(ValueError):
    """A document that is not what its format demands; the message says where and why, in plain words."""


def is_line(text: str) -> bool:
    """Whether `text` can be one line of a note: no control character below U+0020, and UTF-8 can hold it."""
    return not any(c < " " or "\ud800" <= c <= "\udfff" for c in text)


def read_decimal(text: str, what: str) -> int:
    """The number written as `text`: ASCII digits, no leading zero, at most 2**63 - 1; `Malformed` if not."""
    if not _DECIMAL.fullmatch(text) or int(text) > MAX_SIZE:
        raise Malformed(f"{what} is not a decimal number without leading zeroes: {text[:40]!r}")
    return int(text)


def write_base64(data: bytes) -> str:
    """`data` in standard base64 with padding (RFC 4648 section 4)."""
    return base64.b64encode(data).decode("ascii")


def read_base64(text: str, what: str) -> bytes:
    """The bytes written as `text` by `write_base64`; `Malformed` for any other spelling of them.

    The comparison at the end refuses the spellings that differ only in unused bits before the padding.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as wrong:
        raise Malformed(f"{what} is not base64") from wrong
    if write_base64(data) != text:
        raise Malformed(f"{what} is not base64 in its only allowed spelling")
    return data


def read_hash(text: str, what: str) -> bytes:
    """The 32-byte hash written as base64 `text`; `Malformed` if it is anything else."""
    data = read_base64(text, what)
    if len(data) != HASH_BYTES:
        raise Malformed(f"{what} has {len(data)} bytes, a SHA-256 hash has {HASH_BYTES}")
    return data


def read_utf8(data: bytes, what: str) -> str:
    """The text of `data`; `Malformed` if it is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as wrong:
        raise Malformed(f"{what} is not UTF-8 text") from wrong
