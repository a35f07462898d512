"""What a policy says, each value with where it comes from and whether it was confirmed.

*Confirmed* is a statement about the source, not about the service: the value was read in the text of those
who may set it (an act, a regulation, the body that runs the scheme). Everything else, however plausible, is
unconfirmed: taken from the press, taken over from another country, or proposed by this service. Whoever
adopts a policy reads the source of each value and decides.

Pure: no clock, no database, no environment.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from retention.period import Limit, Period, RetentionDataError

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
LONGEST_SOURCE: Final = 2000
"""Characters; a source is a few sentences and an address."""


def check_source(source: str) -> None:
    """Raises RetentionDataError for a source that is empty, too long, or not in Unicode NFC."""
    if not source.strip() or len(source) > LONGEST_SOURCE:
        raise RetentionDataError(f"every period needs a source, of at most {LONGEST_SOURCE} characters")
    if not unicodedata.is_normalized("NFC", source):
        raise RetentionDataError("the text of a source has to be in Unicode NFC")


def check_text(text: str, what: str) -> None:
    """Raises RetentionDataError for text that is not in Unicode NFC, or that hides something: characters that
    are not seen could make a policy read otherwise than it says."""
    if not unicodedata.is_normalized("NFC", text):
        raise RetentionDataError(f"{what} has to be in Unicode NFC")
    if any(unicodedata.category(each) in _UNSEEN for each in text):
        raise RetentionDataError(f"{what} has characters that cannot be seen, or line ends; write it without")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcedPeriod:
    """A period, where it comes from, and whether it was confirmed. Raises as `check_source` does."""

    period: Period
    source: str
    confirmed: bool

    def __post_init__(self) -> None:
        check_source(self.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcedLimit:
    """A limit in hours or days, where it comes from, and whether it was confirmed."""

    limit: Limit
    source: str
    confirmed: bool

    def __post_init__(self) -> None:
        check_source(self.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcedAnswer:
    """Yes or no, where that comes from, and whether it was confirmed."""

    answer: bool
    source: str
    confirmed: bool

    def __post_init__(self) -> None:
        check_source(self.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How soon work has to be done before it is shown as overdue. None of them lets anything expire.

    `stored_within`, from sealing to a place in the store; `notice_settled`, from the notice falling due to an
    attempt that settles it; `expired_reviewed`, from the expiry of a term to a proposal or an extension;
    `approved_carried_out`, from the approval of a disposal to its being carried out; `picked_up`, from the
    link with a police report to the hand-over; `stock_take`, from one stock-take of a place to the next.
    """

    stored_within: SourcedLimit
    notice_settled: SourcedLimit
    expired_reviewed: SourcedLimit
    approved_carried_out: SourcedLimit
    picked_up: SourcedLimit
    stock_take: SourcedLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class WhoDecides:
    """Who may decide about a kit where the victim is a minor, is represented, is no longer able, or has died.

    `majority`: from what age a person counts as adult. The answers: `capable_minor_alone`, whether a minor
    judged capable decides without a representative; `representative_protects`, whether a representative may
    ask for what protects the kit (an extension, a hold, a report); `representative_destroys`, whether one may
    ask for early destruction in the place of an adult; `destruction_before_majority`, whether the kit of a
    minor can be destroyed early; `death_holds` and `incapacity_holds`, whether a death or an incapacity holds
    the kit at once; `heirs_destroy`, whether heirs may ask for early destruction.

    Raises RetentionDataError where an answer would let somebody else than the victim have the kit destroyed
    early, or leave it unprotected: those answers are the same in every policy.
    """

    majority: SourcedPeriod
    capable_minor_alone: SourcedAnswer
    representative_protects: SourcedAnswer
    representative_destroys: SourcedAnswer
    destruction_before_majority: SourcedAnswer
    death_holds: SourcedAnswer
    incapacity_holds: SourcedAnswer
    heirs_destroy: SourcedAnswer

    def __post_init__(self) -> None:
        for name, asked in _NEVER.items():
            if getattr(self, name).answer:
                raise RetentionDataError(f"{name}: no policy lets {asked}; the answer has to be false")
        for name, asked in _ALWAYS.items():
            if not getattr(self, name).answer:
                raise RetentionDataError(f"{name}: {asked} in every policy; the answer has to be true")
        length = self.majority.period
        if length.days or length.months or not 12 <= length.years <= 25:
            raise RetentionDataError(
                f"majority: an age of {length} is not one: write years, from P12Y to P25Y"
            )


_NEVER: Final[Mapping[str, str]] = {
    "representative_destroys": "a representative have a kit destroyed early",
    "destruction_before_majority": "the kit of a minor be destroyed early",
    "heirs_destroy": "heirs have a kit destroyed early",
}
_ALWAYS: Final[Mapping[str, str]] = {
    "death_holds": "a death holds the kit at once",
    "incapacity_holds": "an incapacity holds the kit at once",
}

# What a policy written in format 1 does not say. The documents of that format are adopted somewhere and stay
# as they are; these values fill the gaps, and say so.

_UNSAID: Final = "Proposal of this service; the policy is written in format 1, which does not say it."


def _limit(written: str, why: str) -> SourcedLimit:
    return SourcedLimit(limit=Limit.parse(written), source=f"{_UNSAID} {why}", confirmed=False)


def _period(written: str, why: str) -> SourcedPeriod:
    return SourcedPeriod(period=Period.parse(written), source=f"{_UNSAID} {why}", confirmed=False)


def _answer(answer: bool, why: str) -> SourcedAnswer:
    return SourcedAnswer(answer=answer, source=f"{_UNSAID} {why}", confirmed=False)


UNSAID_HOLD_REVIEW: Final = _period("P3M", "A hold that nobody looks at again keeps a kit for ever.")
UNSAID_CHANNEL_AGE: Final = _period("P12M", "An address or a number can be somebody else's after a year.")
UNSAID_CONTACT: Final = _answer(True, "Who agreed to a channel is told before the end of the term.")
UNSAID_DEADLINES: Final = Deadlines(
    stored_within=_limit("PT24H", "A night and a day; frozen and refrigerated packages sooner."),
    notice_settled=_limit("P14D", "Two weeks leave most of the notice period to the victim."),
    expired_reviewed=_limit("P30D", "What was promised to end is looked at within a month."),
    approved_carried_out=_limit("P30D", "An older approval is looked at again."),
    picked_up=_limit("P14D", "A kit that the police asked for is not left standing."),
    stock_take=_limit("P1Y", "Every place is counted once a year."),
)
UNSAID_WHO_DECIDES: Final = WhoDecides(
    majority=_period("P18Y", "The age of eighteen."),
    capable_minor_alone=_answer(True, "A minor judged capable decides alone."),
    representative_protects=_answer(True, "What protects a kit needs little proof."),
    representative_destroys=_answer(False, "Destruction cannot be undone; the victim may still decide."),
    destruction_before_majority=_answer(False, "The victim decides once of age."),
    death_holds=_answer(True, "A death may itself need investigating."),
    incapacity_holds=_answer(True, "Nobody can confirm the victim's free will."),
    heirs_destroy=_answer(False, "The wish was the victim's to have."),
)
