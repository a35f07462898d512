"""What people ask for: one plain shape for each command.

The desk parses input into these strictly (unknown keys and wrong types are refused, with the name of
the field); the decisions read them. Limits on lengths and letters stand in ``custody.event.FIELDS``, where
they hold for every way in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Literal, TypeVar, dataclass_transform

T = TypeVar("T")

# How the desk's parser treats a command: as strict as the event's bytes.
STRICT: Final = {"strict": True, "extra": "forbid", "str_max_length": 2000}


@dataclass_transform(frozen_default=True, kw_only_default=True)
def command(cls: type[T]) -> type[T]:
    """A frozen record that the desk can parse strictly."""
    cls.__pydantic_config__ = STRICT  # type: ignore[attr-defined]  # read by the desk's parser alone
    make: Callable[[type[T]], type[T]] = dataclass(frozen=True, kw_only=True)
    return make(cls)


@command
class Paper:
    """A record made on paper during an outage: its digest, and when it happened.

    ``lost`` is the digest on the receipt of an event that was lost when a database was taken back.
    """

    digest: str
    occurred_at: datetime
    lost: str | None = None


@command
class PackageRef:
    """A package as scanned. ``seal`` is what stands on the bag; absent: not compared."""

    kit: str
    package: int
    seal: str | None = None
    condition: Literal["intact", "broken"] = "intact"


@command
class NewItem:
    item: int
    type: str
    usable_until: date | None = None


@command
class NewPackage:
    package: int
    kind: Literal["bag", "box", "envelope", "tube_rack", "clothing_bag"]
    storage: Literal["frozen", "refrigerated", "dry"]
    items: tuple[NewItem, ...] = ()
    seal: str | None = None


@command
class Regrouped:
    """A new package for items that are in the kit already, by their numbers."""

    package: int
    kind: Literal["bag", "box", "envelope", "tube_rack", "clothing_bag"]
    storage: Literal["frozen", "refrigerated", "dry"]
    items: tuple[int, ...] = ()
    seal: str | None = None


@command
class Agreement:
    """What the victim agreed to, on a signed form of which only the digest is kept."""

    form_digest: str
    language: Literal["nl", "fr", "de", "en"]
    decided_by: Literal["victim", "representative"] = "victim"
    representative_suspected: Literal["yes", "no"] | None = None  # or lives with a suspect; never recorded
    channel: Literal["none", "email", "sms", "phone", "post"] = "none"
    channel_address: str | None = None  # private part
    channel_hours: str | None = None  # private part: when a call suits the victim
    channel_question: str | None = None  # private part: what is asked first, so that nobody else answers


@command
class Register:
    examined_at: datetime
    age_class: Literal["adult", "minor", "unknown"]
    packages: tuple[NewPackage, ...]
    agreement: Agreement
    card: Literal["issued", "declined"] = "issued"
    hospital_reference: str | None = None  # private part
    number: str | None = None  # a reserved number; absent: a new one
    paper: Paper | None = None


@command
class Supplement:
    """Packages added later: clothing that the victim brings in, for example."""

    kit: str
    packages: tuple[NewPackage, ...]
    brought_by: Literal["victim", "support_person", "police", "hospital_staff"]
    paper: Paper | None = None


@command
class Seal:
    packages: tuple[PackageRef, ...]
    paper: Paper | None = None


@command
class CheckSeal:
    packages: tuple[PackageRef, ...]


@command
class Open:
    packages: tuple[PackageRef, ...]
    reason: str
    paper: Paper | None = None


@command
class Reseal:
    """``seal`` of each package is the new seal."""

    packages: tuple[PackageRef, ...]
    paper: Paper | None = None


@command
class Store:
    packages: tuple[PackageRef, ...]
    place: str
    paper: Paper | None = None


@command
class Take:
    packages: tuple[PackageRef, ...]
    reason: str
    paper: Paper | None = None


@command
class TakeOver:
    """Take over what a colleague held whose function has ended. ``reason`` says how it was found, or why."""

    packages: tuple[PackageRef, ...]
    reason: str


@command
class Offer:
    packages: tuple[PackageRef, ...]
    organisation: str
    person: str | None = None
    due_at: datetime
    paper: Paper | None = None


@command
class Carry:
    """A courier signs on the giver's device or on paper: ``signature`` is the digest of what was signed."""

    packages: tuple[PackageRef, ...]
    courier: str
    courier_organisation: str
    signature: str


@command
class Accept:
    packages: tuple[PackageRef, ...]
    paper: Paper | None = None


@command
class Refuse:
    packages: tuple[PackageRef, ...]
    reason: str


@command
class Cancel:
    packages: tuple[PackageRef, ...]


@command
class RecordAcceptance:
    """A receiver without an account signed for the packages; they are no longer ours to answer for."""

    packages: tuple[PackageRef, ...]
    receiver: str
    receiver_organisation: str
    signature: str
    paper: Paper | None = None


@command
class ReceiveBack:
    packages: tuple[PackageRef, ...]
    giver: str
    giver_organisation: str


@command
class Split:
    """One opened package becomes several; each item says into which."""

    kit: str
    package: int
    into: tuple[Regrouped, ...]
    reason: str


@command
class Join:
    """Opened packages of one kit become one; all their items go into it."""

    kit: str
    packages: tuple[int, ...]
    into: Regrouped
    reason: str


@command
class PrintLabels:
    kit: str
    parts: tuple[str, ...] = ()  # K, P01, I01 …; none: everything that has no label yet
    reason: str | None = None


@command
class Swapped:
    """Two packages carried each other's label. Takes two people."""

    first: PackageRef
    second: PackageRef
    reason: str


@command
class Lose:
    packages: tuple[PackageRef, ...]
    reason: str


@command
class Find:
    packages: tuple[PackageRef, ...]
    place: str | None = None


@command
class ItemFinding:
    kit: str
    items: tuple[int, ...]
    missing: bool
    reason: str


@command
class Void:
    packages: tuple[PackageRef, ...]
    reason: str


@command
class Correct:
    """What an earlier event of this kit says is wrong; the event stays, the correction follows it."""

    kit: str
    digest: str
    reason: str


@command
class ReturnBelongings:
    packages: tuple[PackageRef, ...]


@command
class Deposit:
    packages: tuple[PackageRef, ...]
    place: str


@command
class DeclareReport:
    kit: str
    how: Literal["in_person", "by_phone", "in_writing", "by_card"]
    asked_by: Literal["victim", "representative"] = "victim"
    paper: Paper | None = None


@command
class WithdrawReport:
    kit: str
    how: Literal["in_person", "by_phone", "in_writing"]
    asked_by: Literal["victim", "representative"] = "victim"


@command
class EnterOrder:
    kit: str
    digest: str
    authority: str
    dated: date


@command
class ConfirmOrder:
    kit: str
    digest: str


@command
class DiscloseChoices:
    """A judge orders that the choices trail is handed out. ``digest`` is that of the written order."""

    kit: str
    digest: str
    authority: str
    dated: date


@command
class Request:
    """The police ask for the evidence that belongs to a report. Never names the victim."""

    pv: str
    centre: str
    examined_on: date | None = None
    kit: str | None = None


@command
class AnswerRequest:
    """Two staff looked: does a kit of this centre belong to it? Confirmed outside the service."""

    request: str
    kit: str | None = None  # none: no kit of this centre
    how: Literal["match", "no_match"]


@command
class Link:
    kit: str
    pv: str
    notice: str
    office: str
    zone: str
    request: str | None = None


@command
class MoveLink:
    kit: str
    notice: str
    office: str


@command
class LinkInError:
    kit: str
    reason: str


@command
class EndLink:
    kit: str
    letter: str  # digest of the office's letter
    reason: str


@command
class ReleaseInError:
    kit: str
    reason: str


@command
class WishWithdrawal:
    kit: str
    how: Literal["in_person", "by_phone", "in_writing", "by_card"]


@command
class ExtendTerm:
    kit: str
    how: Literal["in_person", "by_phone", "in_writing", "by_card"]
    asked_by: Literal["victim", "representative"] = "victim"
    paper: Paper | None = None


@command
class CorrectAge:
    kit: str
    age_class: Literal["adult", "minor", "unknown"]
    reason: str


@command
class PlaceHold:
    kit: str
    ground: Literal["centre", "suspected_pressure", "death", "incapacity", "magistrate", "safety"]
    reason: str
    review_on: date | None = None
    asked_by: Literal["victim", "representative"] = "victim"
    paper: Paper | None = None


@command
class LiftHold:
    kit: str
    hold: str
    reason: str
    order: str | None = None  # digest of the written order, for a hold by a judge or magistrate


@command
class AttemptNotice:
    kit: str
    how: Literal["reached", "posted", "not_reached", "not_wanted", "no_channel", "unreachable"]


@command
class AskDestruction:
    kit: str
    how: Literal["in_person", "by_phone", "in_writing", "by_card"]
    asked_by: Literal["victim", "representative"] = "victim"


@command
class ConfirmDestruction:
    """Both who sign asked, apart from each other: is it this person, and is it the person's own wish?"""

    kit: str
    identity: Literal["confirmed", "not_confirmed"]
    free_will: Literal["confirmed", "not_confirmed"]
    asked_by: Literal["victim", "representative"] = "victim"


@command
class TakeBackDestruction:
    kit: str
    how: Literal["in_person", "by_phone", "in_writing", "by_card"]
    asked_by: Literal["victim", "representative"] = "victim"


@command
class ProposeDisposal:
    kit: str


@command
class ApproveDisposal:
    kit: str


@command
class WithdrawDisposal:
    kit: str
    reason: str


@command
class ItemRef:
    """An item of a kit by its number."""

    kit: str
    item: int


@command
class CarryOutDisposal:
    """One cart, of one kit or of many: each package scanned with its seal, each item scanned by its label.

    ``labels`` are the label codes that were scanned, of packages and of items; ``items`` are items that never
    had a label and are named by their number. ``not_found`` and ``items_not_found`` were looked for and are
    not there: a finding that stops that kit alone. ``observer`` is the person who is asked to sign (its id).
    """

    packages: tuple[PackageRef, ...]
    labels: tuple[str, ...] = ()
    items: tuple[ItemRef, ...] = ()
    not_found: tuple[PackageRef, ...] = ()
    items_not_found: tuple[ItemRef, ...] = ()
    observer: str | None = None


@command
class Restrict:
    """From now on these people alone read the kit, by their ids: somebody knows the victim, for example."""

    kit: str
    readers: tuple[str, ...]


@command
class LiftRestriction:
    kit: str
    reason: str


@command
class OpenToCentre:
    """The prosecutor's office lets the centre read a kit that was released to it."""

    kit: str
    reason: str | None = None


@command
class ReserveNumbers:
    count: int


@command
class EndSearch:
    """The search for lost packages is given up, with what was done to find them. Takes two people."""

    packages: tuple[PackageRef, ...]
    reason: str


@command
class TakeStock:
    """A place, and everything that was scanned in it."""

    place: str
    packages: tuple[PackageRef, ...]


@command
class OpenIncident:
    """A freezer failed, for example: one incident of the place, one finding for every package it touched."""

    place: str
    reason: str
    packages: tuple[PackageRef, ...]
