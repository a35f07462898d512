"""What a mail server sends back: a delivery status notification (RFC 3464), and nothing else is believed.

A bounce is a message from anybody to an address that anybody may write to. So only this is read out of it:
that it is a `multipart/report; report-type=delivery-status` that says `Action: failed`, and the opaque token
that we gave our message: in the address it came back to, in `Original-Envelope-Id`, or in the `Message-ID` of
the returned headers. It has 128 bits that nobody can guess: who knows it has seen our message. No other
address, no name and no words of the report are looked at.

The few fields are read here and not by a parser of whole messages, which has to make sense of anything: what
is longer, or has more parts, than such a report ever has is refused, and every step is linear. Pure.
"""

import base64
import binascii
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from custody.refusal import Refused

MOST_BYTES: Final = 256 << 10
MOST_PARTS: Final = 50
MOST_IN_LINE: Final = 1000  # RFC 5322, section 2.1.1: 998 characters, and the end of the line
MOST_IN_TYPE: Final = 2000  # characters of a Content-Type with its parameters

_TOKEN: Final = r"[a-z2-7]{26}"
_RETURNED: Final = re.compile(rf"(?<=[^@\s<>])\+({_TOKEN})@[^@\s<>]", re.ASCII)
_ID: Final = re.compile(rf"<({_TOKEN})@[^@\s<>]+>", re.ASCII)
_BARE: Final = re.compile(_TOKEN, re.ASCII)
_PARAMETER: Final = re.compile(
    r';[ \t]*([a-z-]{1,40})[ \t]*=[ \t]*(?:"([^"\\]{0,200})"|([^\s;"]{1,200}))', re.I
)
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]", re.ASCII)
"""RFC 2046, section 5.1.1."""

_BACK_TO: Final = ("delivered-to", "x-original-to", "to")
"""Where a mail server writes the address at which the bounce arrived, which was our envelope sender."""


class NotABounce(Refused):
    """This is no report that a message of ours could not be delivered. Nothing was recorded."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Header fields by their small names, with their unfolded values in order; and the lines after them."""

    fields: dict[str, list[str]]
    lines: list[bytes]

    def first(self, name: str) -> str:
        return self.fields.get(name, [""])[0].strip()

    @property
    def type(self) -> str:
        return self.first("content-type").partition(";")[0].strip().lower()

    def parameter(self, wanted: str) -> str:
        """A parameter of the type; empty where there is none, or two. Raises NotABounce."""
        written = self.first("content-type")
        if len(written) > MOST_IN_TYPE:
            raise NotABounce("This notification has a header field that is too long. Nothing was recorded.")
        found = [m[2] or m[3] or "" for m in _PARAMETER.finditer(written) if m[1].lower() == wanted]
        return found[0] if len(found) == 1 else ""


def token_of_bounce(data: bytes) -> str:
    """The token of the message that was not delivered. Raises NotABounce, always and only that."""
    if len(data) > MOST_BYTES:
        raise NotABounce(
            f"This is no delivery status notification: it is longer than {MOST_BYTES >> 10} KiB."
        )
    lines = data.replace(b"\r\n", b"\n").split(b"\n")
    if lines[0].startswith(b"From "):  # the line that begins a message in a mailbox file
        del lines[0]
    message = _part(lines)
    parts = _parts(message)
    status = _status(parts)
    _must_have_failed(status)
    found = set(_tokens(message, parts, status))
    if not found:
        raise NotABounce("This notification does not name a message of this service.")
    if len(found) > 1:
        raise NotABounce("This notification names several messages. None of them is believed.")
    return found.pop()


def _part(lines: list[bytes]) -> _Part:
    """Header fields up to the first empty line (RFC 5322, section 2.2). Raises NotABounce."""
    fields: dict[str, list[str]] = {}
    folded: list[str] | None = None  # the pieces of the field that goes on
    whole: list[tuple[str, list[str]]] = []
    end = len(lines)
    for place, line in enumerate(lines):
        if not line.strip():
            end = place
            break
        if len(line) > MOST_IN_LINE:
            raise NotABounce("This notification has a header line that is too long. Nothing was recorded.")
        text = line.decode("latin-1")
        if text[0] in " \t":
            if folded is not None:
                folded.append(text)
            continue
        name, colon, value = text.partition(":")
        folded = None
        if colon:
            folded = [value]
            whole.append((name.strip().lower(), folded))
    for name, pieces in whole:
        fields.setdefault(name, []).append("".join(pieces))
    return _Part(fields, lines[end + 1 :])


def _parts(message: _Part) -> list[_Part]:
    """The parts of a report. Raises NotABounce."""
    if message.type != "multipart/report" or message.parameter("report-type").lower() != "delivery-status":
        raise NotABounce("This is no delivery status notification (RFC 3464). Nothing was recorded.")
    boundary = message.parameter("boundary")
    if not _BOUNDARY.fullmatch(boundary):
        raise NotABounce("This notification does not say where its parts begin. Nothing was recorded.")
    begin, last = f"--{boundary}".encode(), f"--{boundary}--".encode()
    found: list[list[bytes]] = []
    for line in message.lines:
        mark = line.rstrip() if line.startswith(begin) else b""
        if mark == last:
            break
        if mark == begin:
            found.append([])
            if len(found) > MOST_PARTS:
                raise NotABounce(f"This notification has more than {MOST_PARTS} parts. Nothing was recorded.")
        elif found:
            found[-1].append(line)
    return [_part(lines) for lines in found]


def _status(parts: list[_Part]) -> list[_Part]:
    """The groups of fields of the report: first of the message, then of each recipient. Raises NotABounce."""
    for part in parts:
        if part.type == "message/delivery-status":
            groups = list(_groups(_content(part)))
            if len(groups) > 1:
                return groups
    raise NotABounce(
        "This notification has no delivery status (RFC 3464, section 2.1). Nothing was recorded."
    )


def _groups(lines: list[bytes]) -> Iterator[_Part]:
    """Fields that stand together, between empty lines. Raises NotABounce."""
    group: list[bytes] = []
    for line in (*lines, b""):
        if line.strip():
            group.append(line)
        elif group:
            yield _part(group)
            group = []


def _must_have_failed(status: list[_Part]) -> None:
    if not any(group.first("action").lower() == "failed" for group in status[1:]):
        raise NotABounce("This notification does not say that delivery failed. Nothing was recorded.")


def _tokens(message: _Part, parts: list[_Part], status: list[_Part]) -> Iterator[str]:
    for name in _BACK_TO:
        for value in message.fields.get(name, []):
            yield from _RETURNED.findall(value.lower())
    if _BARE.fullmatch(given := status[0].first("original-envelope-id").lower()):
        yield given
    for part in parts:
        if part.type in ("message/rfc822", "text/rfc822-headers"):
            for value in _part(_content(part)).fields.get("message-id", []):
                yield from _ID.findall(value.lower())


def _content(part: _Part) -> list[bytes]:
    """The lines of a part as they were before it was encoded for the way. Raises NotABounce."""
    match part.first("content-transfer-encoding").lower():
        case "" | "7bit" | "8bit" | "binary":
            return list(part.lines)
        case "quoted-printable":
            return quopri.decodestring(b"\n".join(part.lines)).replace(b"\r\n", b"\n").split(b"\n")
        case "base64":
            try:
                plain = base64.b64decode(b"".join(part.lines), validate=False)
            except binascii.Error:
                raise NotABounce(
                    "A part of this notification cannot be decoded. Nothing was recorded."
                ) from None
            return plain.replace(b"\r\n", b"\n").split(b"\n")
        case _:
            raise NotABounce("A part of this notification cannot be decoded. Nothing was recorded.")
