"""Signed notes (C2SP signed-note): a text, a blank line, and one or more signature lines.

    — <key name> <base64 of the 4-byte key id and the signature>

The text ends with a newline and is followed by the blank line. The reader is strict and is the inverse of the
writer: `Note.read(data).written() == data` for every note that is read at all. Signatures by unknown keys are
kept and prove nothing.

Who signs, and over which message, is for `audit.key`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from audit.text import Malformed, is_line, read_base64, read_utf8, write_base64

KEY_ID_BYTES: Final = 4
MAX_NOTE_BYTES: Final = 1 << 20
MAX_SIGNATURES: Final = 100  # the format demands that at least 16 are accepted

_MARK: Final = "— "  # em dash, space
_CONTROL: Final = re.compile("[\x00-\x09\x0b-\x1f]")


def is_key_name(name: str) -> bool:
    """Whether `name` may name a key: not empty, no Unicode space, no plus, no control character."""
    return bool(name) and is_line(name) and not any(c.isspace() or c == "+" for c in name)


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
    """A note as read or about to be written. That it parses does not say who signed (`audit.key`)."""

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
        if _CONTROL.search(whole):
            raise Malformed("the note holds a control character")
        text, blank, rest = whole.rpartition("\n\n")
        if not blank or not rest.endswith("\n"):
            raise Malformed("the note has no blank line before its signatures, or no newline at its end")
        lines = rest.removesuffix("\n").split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise Malformed(f"the note has more than {MAX_SIGNATURES} signatures")
        return cls(text + "\n", tuple(Signature.read(line) for line in lines))

    def signed_too(self, more: Iterable[Signature]) -> "Note":
        """This note with further signatures; those it has already are not added twice."""
        new = tuple(dict.fromkeys(signature for signature in more if signature not in self.signatures))
        return Note(self.text, self.signatures + new)
