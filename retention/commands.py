"""What people ask for about the agreed term, its notices, the card and the policies: one shape for each.

Parsed and limited as the commands of ``custody.commands``; those about packages stand there.
"""

from datetime import date
from typing import Final, Literal

from custody.commands import STRICT, EndSearch, TakeStock, command

__all__ = [
    "AdoptPolicy",
    "ChangeChannel",
    "CloseEmpty",
    "ConfirmMajority",
    "EndSearch",
    "MoveTerm",
    "ProveChannel",
    "RenewCard",
    "ReviewHold",
    "SendNotice",
    "StopCard",
    "TakeStock",
]


@command
class ProveChannel:
    """The safe channel was tried, and the victim confirmed it."""

    kit: str
    how: Literal["message_shown", "called", "in_person", "by_card"]


@command
class ChangeChannel:
    """Another safe channel. Confirmed in person or over the previous one, by two people."""

    kit: str
    channel: Literal["none", "email", "sms", "phone", "post"]
    language: Literal["nl", "fr", "de", "en"]
    how: Literal["in_person", "over_previous_channel"]
    channel_address: str | None = None  # private part
    channel_hours: str | None = None  # private part
    channel_question: str | None = None  # private part


@command
class SendNotice:
    """A person has the service send the notice, again or although the channel was proved long ago."""

    kit: str


@command
class ReviewHold:
    """The hold was looked at again and stays, for a reason; it is looked at next on ``review_on``."""

    kit: str
    hold: str
    reason: str
    review_on: date | None = None  # absent: as the policy says


@command
class ConfirmMajority:
    """Staff saw that the victim, a minor at the examination, has come of age; no birth date is stored."""

    kit: str
    how: Literal["in_person", "in_writing"]


@command
class StopCard:
    """From now on the card opens nothing."""

    kit: str
    reason: str


@command
class RenewCard:
    """A new card, with a new code and second secret; the old one stops at once."""

    kit: str
    how: Literal["in_person", "over_previous_channel"]


@command
class MoveTerm:
    """These kits go to a newer version of their policy, because it keeps them longer."""

    kits: tuple[str, ...]
    how: Literal["victim_agreed", "by_law"]
    reason: str


@command
class CloseEmpty:
    """Nothing of the kit is left to destroy: every package ended, or was lost and its search given up."""

    kit: str
    reason: str


@command
class AdoptPolicy:
    """A policy document, as it stands in a file."""

    document: str


LARGEST_DOCUMENT: Final = 1_000_000
AdoptPolicy.__pydantic_config__ = STRICT | {"str_max_length": LARGEST_DOCUMENT}  # type: ignore[attr-defined]
