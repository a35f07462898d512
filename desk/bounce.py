"""What a mail server sends back: a delivery status notification (RFC 3464), and nothing else is believed.

A bounce is a message from anybody to an address that anybody may write to. So only this is read out of it:
that it is a `multipart/report; report-type=delivery-status` that says `Action: failed`, and the opaque token
that we gave our message: in the address it came back to, in `Original-Envelope-Id`, or in the `Message-ID` of
the returned headers. It has 128 bits that nobody can guess: who knows it has seen our message. No other
address, no name and no words of the report are looked at. Pure.
"""

import re
from collections.abc import Iterator
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Final

from custody.refusal import Refused

MOST_BYTES: Final = 1 << 20
_TOKEN: Final = r"[a-z2-7]{26}"
_RETURNED: Final = re.compile(rf"[^@\s<>]+\+({_TOKEN})@[^@\s<>]+", re.ASCII)
_ID: Final = re.compile(rf"<({_TOKEN})@[^@\s<>]+>", re.ASCII)
_BARE: Final = re.compile(_TOKEN, re.ASCII)
_BACK_TO: Final = ("delivered-to", "x-original-to", "to")
"""Where a mail server writes the address at which the bounce arrived, which was our envelope sender."""


class NotABounce(Refused):
    """This is no report that a message of ours could not be delivered. Nothing was recorded."""


def token_of_bounce(data: bytes) -> str:
    """The token of the message that was not delivered. Raises NotABounce."""
    if len(data) > MOST_BYTES:
        raise NotABounce("This is no delivery status notification: it is longer than a megabyte.")
    message = BytesParser(policy=policy.default).parsebytes(data)
    assert isinstance(message, EmailMessage)  # what policy.default makes
    status = _status(message)
    _must_have_failed(status)
    found = set(_tokens(message, status))
    if not found:
        raise NotABounce("This notification does not name a message of this service.")
    if len(found) > 1:
        raise NotABounce("This notification names several messages. None of them is believed.")
    return found.pop()


def _status(message: EmailMessage) -> list[EmailMessage]:
    """The groups of fields of the report: first of the message, then of each recipient. Raises NotABounce."""
    report = message.get_content_type() == "multipart/report"
    if not report or str(message.get_param("report-type")).lower() != "delivery-status":
        raise NotABounce("This is no delivery status notification (RFC 3464). Nothing was recorded.")
    for part in message.iter_parts():
        if part.get_content_type() == "message/delivery-status":
            groups = part.get_payload()
            if isinstance(groups, list) and len(groups) > 1:
                return [each for each in groups if isinstance(each, EmailMessage)]
    raise NotABounce(
        "This notification has no delivery status (RFC 3464, section 2.1). Nothing was recorded."
    )


def _must_have_failed(status: list[EmailMessage]) -> None:
    actions = {_plain(group.get("action")) for group in status[1:]}
    if "failed" not in actions:
        raise NotABounce("This notification does not say that delivery failed. Nothing was recorded.")


def _tokens(message: EmailMessage, status: list[EmailMessage]) -> Iterator[str]:
    for name in _BACK_TO:
        for value in message.get_all(name, []):
            yield from _RETURNED.findall(_plain(value))
    if _BARE.fullmatch(given := _plain(status[0].get("original-envelope-id"))):
        yield given
    for part in message.iter_parts():
        for returned in _returned(part):
            yield from _ID.findall(_plain(returned.get("message-id")))


def _returned(part: object) -> Iterator[EmailMessage]:
    """The headers of our message, if this part is what came back of it."""
    if not isinstance(part, EmailMessage):
        return
    if part.get_content_type() == "message/rfc822":
        inside = part.get_payload()
        if isinstance(inside, list) and inside and isinstance(inside[0], EmailMessage):
            yield inside[0]
    elif part.get_content_type() == "text/rfc822-headers":
        payload = part.get_payload(decode=True)
        if isinstance(payload, bytes):
            parsed = BytesParser(policy=policy.default).parsebytes(payload, headersonly=True)
            if isinstance(parsed, EmailMessage):
                yield parsed


def _plain(value: object) -> str:
    return str(value or "").strip().lower()
