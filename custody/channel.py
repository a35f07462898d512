"""The safe channel: how the victim agreed to be told, as it stands in the private part of the kit.

The kind of channel and the language stand in the event; the address, the hours at which a call suits and the
question that is asked first stand in the private part of the event that agreed to them, and nowhere else.
What an older event told about another channel is never mixed with it. Pure.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from custody.disclosure import Part
from custody.event import Event
from custody.refusal import Refused

AGREES: Final = ("agreement.recorded", "channel.changed")
"""The events that say which channel is the safe one; the last of them counts."""

_EMAIL: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
)
_INTERNATIONAL: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_ANY_NUMBER: Final = re.compile(r"\+?[0-9]{6,15}")
_BETWEEN_DIGITS: Final = re.compile(r"[ ()./-]")
LONGEST_EMAIL: Final = 254  # RFC 5321, section 4.5.3.1.3, without the angle brackets
LONGEST: Final = {"channel_address": 300, "channel_hours": 120, "channel_question": 200}


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """What the private part says about the safe channel. Its texts are the victim's own: never in a log."""

    address: str | None = None
    hours: str | None = None
    question: str | None = None

    def __repr__(self) -> str:
        return "Channel(…)"  # a traceback or a log line that shows it tells nothing


def channel_of(parts: Iterable[tuple[Event, Part]]) -> Channel:
    """The safe channel out of the private parts of a kit, in the order of their trails."""
    told: dict[str, str] = {}
    for event, part in parts:
        if event.type in AGREES:
            told = part.values
    return Channel(
        address=told.get("channel_address"),
        hours=told.get("channel_hours"),
        question=told.get("channel_question"),
    )


def agreed_now(channel_now: str | None, parts: Iterable[tuple[Event, Part]]) -> Channel:
    """The same, of a kit whose safe channel is ``channel_now``: nothing where no contact is wanted."""
    return Channel() if channel_now in (None, "none") else channel_of(parts)


def as_it_stands(channel_now: str | None, parts: Iterable[tuple[Event, Part]]) -> dict[str, str]:
    """The private part of a kit as it stands: later parts replace what they name, and of the safe channel
    (``channel_now``, as the kit has it) only what was agreed last is told.

    Who agreed last to no contact left nothing in the private part: what older parts say is then not told.
    """
    seen = list(parts)
    kept = {k: v for _, part in seen for k, v in part.values.items() if not k.startswith("channel_")}
    channel = agreed_now(channel_now, seen)
    now = {"address": channel.address, "hours": channel.hours, "question": channel.question}
    return kept | {f"channel_{k}": v for k, v in now.items() if v}


def told(channel: str, address: str | None, hours: str | None, question: str | None) -> dict[str, str]:
    """The private fields of an agreement to this channel. Raises Refused for what cannot be one.

    Without a channel nothing is kept; every other one has an address in the form that its kind takes.
    """
    given = {"channel_address": address, "channel_hours": hours, "channel_question": question}
    stated = {name: value.strip() for name, value in given.items() if value and value.strip()}
    if channel == "none":
        if stated:
            raise Refused(
                "Where no contact is wanted, no address, hours or question are kept: leave them empty.",
                field=next(iter(stated)),
            )
        return {}
    if "channel_address" not in stated:
        raise Refused("A safe channel has an address or a number: write it down.", field="channel_address")
    for name, value in stated.items():
        if len(value) > LONGEST[name]:
            raise Refused(
                "This text is too long; at most {most} characters.", field=name, most=str(LONGEST[name])
            )
    check_address(channel, stated["channel_address"])
    return stated


def check_address(channel: str, address: str) -> None:
    """Refuse an address that a message or a call over this channel cannot go to. Raises Refused."""
    if channel == "email" and not (len(address) <= LONGEST_EMAIL and _EMAIL.fullmatch(address)):
        raise Refused("This is not an e-mail address to which anything can be sent.", field="channel_address")
    if channel == "sms" and _INTERNATIONAL.fullmatch(digits(address)) is None:
        raise Refused(
            "Write the number for text messages with its country, such as +32 400 00 00 00.",
            field="channel_address",
        )
    if channel == "phone" and _ANY_NUMBER.fullmatch(digits(address)) is None:
        raise Refused("This is not a telephone number.", field="channel_address")


def digits(number: str) -> str:
    """A telephone number without what people write between its digits."""
    return _BETWEEN_DIGITS.sub("", number)
