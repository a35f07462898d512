"""What the API answers: one plain shape for each answer, which is also its schema in the OpenAPI document."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, Literal

from pydantic import TypeAdapter
from starlette.responses import Response

from custody import number as numbers
from custody.kit import (
    Attempt,
    Destruction,
    Disposal,
    Finding,
    Handover,
    Hold,
    Item,
    Kit,
    Link,
    Order,
    Package,
    Term,
)
from custody.ledger import Receipt
from custody.people import Actor, Function
from custody.permission import Relation as Rel
from custody.permission import as_known, may, relations
from custody.protocol import Legal, Retention

RECEIVED: Final = "received"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptAnswer:
    """One event that was recorded: its trail, its number in it, its digest, when."""

    trail: str
    number: int
    digest: str
    recorded_at: datetime
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CardAnswer:
    """The victim's card: code and second secret, shown once and stored nowhere."""

    code: str
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipts:
    """What was recorded. `card` stands there where a card was renewed, the first time only."""

    receipts: tuple[ReceiptAnswer, ...]
    card: CardAnswer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingAnswer:
    """The command waits for the signature of a second person until then."""

    proposal: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A new kit. `card` stands there the first time only, never when the command is repeated."""

    kit: str
    written: str
    receipts: tuple[ReceiptAnswer, ...]
    card: CardAnswer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    numbers: tuple[str, ...]
    receipts: tuple[ReceiptAnswer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whatever is found, the answer is the same."""

    answer: Literal["received"]
    receipts: tuple[ReceiptAnswer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAnswer:
    """What a police zone asked, and when. Never what was found."""

    id: str
    pv: str
    centre: str
    received_at: datetime
    examined_on: date | None = None
    kit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    requests: tuple[RequestAnswer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalAnswer:
    """A command that waits for a second person."""

    id: str
    action: str
    says: str
    person: str
    function: str
    organisation: str
    proposed_at: datetime
    until: datetime
    command: Mapping[str, Any]
    kit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposals:
    proposals: tuple[ProposalAnswer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KitLine:
    """A kit in a list. `retention` is there for its own centre only."""

    kit: str
    written: str
    centre: str
    legal: Legal
    retention: Retention | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KitPage:
    kits: tuple[KitLine, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What stands in the choices trail: for the kit's own centre, and for nobody else."""

    age_class: str
    policy: str | None = None
    term: Term | None = None
    notice_due_at: datetime | None = None
    decided_by: str | None = None
    language: str | None = None
    channel: str | None = None
    channel_proved_at: datetime | None = None
    card: str | None = None
    extensions: int = 0
    of_age_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()
    expires_at: datetime | None = None
    reported_at: datetime | None = None
    holds: tuple[Hold, ...] = ()
    order: Order | None = None
    destruction: Destruction | None = None
    disposal: Disposal | None = None
    disposed_at: datetime | None = None
    asked: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KitAnswer:
    """A kit as far as the asker may know of it: all packages for its centre and for the office and zone it is
    linked to; for a laboratory or registry the packages in its hands or offered to it."""

    kit: str
    written: str
    centre: str
    legal: Legal
    registered_at: datetime
    packages: Mapping[int, Package]
    items: Mapping[int, Item]
    labels: Mapping[str, int]
    handovers: Mapping[str, Handover]
    findings: tuple[Finding, ...]
    retention: Retention | None = None
    examined_on: date | None = None
    link: Link | None = None
    linked_at: datetime | None = None
    released_at: datetime | None = None
    opened_to_centre_at: datetime | None = None
    choices: Choices | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventAnswer:
    """One event: its digest, its exact bytes in base64, and what they say."""

    number: int
    digest: str
    type: str
    recorded_at: datetime
    bytes: str
    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailAnswer:
    kit: str
    trail: Literal["custody", "choices"]
    events: tuple[EventAnswer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivatePart:
    """What stands outside the events, encrypted, for the kit's own centre; empty once its key is gone."""

    kit: str
    part: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """What was scanned. `voided`: a later label is in use and this one must come off; `says` tells people."""

    kit: str
    written: str
    part: str
    voided: bool
    says: str
    serial: int | None = None
    package: int | None = None
    item: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionAnswer:
    """A function held today. `choose` is what the header Custody-Function takes."""

    function: Function
    organisation: str
    choose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Me:
    """Who is signed in, and what time it is. `form_token` goes with every change made with a cookie."""

    function: Function
    now: datetime
    person: str | None = None
    name: str | None = None
    organisation: str | None = None
    kit: str | None = None
    functions: tuple[FunctionAnswer, ...] = ()
    form_token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoToken:
    """An access token for an invented person, and how many seconds it lives."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    me: Me


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationAnswer:
    id: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisations:
    organisations: tuple[OrganisationAnswer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceAnswer:
    id: str
    organisation: str
    name: str
    storage: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    places: tuple[PlaceAnswer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyAnswer:
    """A retention policy; periods as ISO 8601. `unconfirmed`: what nobody entitled has confirmed yet."""

    id: str
    version: int
    country: str
    valid_from: date
    kept: Mapping[str, str]
    notice: str
    cooling_off: str
    extension: str
    contest: str
    unconfirmed: tuple[str, ...]
    centre: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    policies: tuple[PolicyAnswer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotYet:
    """The digest is not (yet) under a signed checkpoint."""

    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyAnswer:
    """The log's public key, to compare with the one that reached you another way."""

    log: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthy:
    status: Literal["ok"]


_ADAPTERS: Final[dict[type[object], TypeAdapter[Any]]] = {}


def adapter(shape: type[object]) -> TypeAdapter[Any]:
    """The writer of a shape, made once."""
    if shape not in _ADAPTERS:
        _ADAPTERS[shape] = TypeAdapter(shape)
    return _ADAPTERS[shape]


def answer(told: object, status: int = 200, /, **headers: str) -> Response:
    """An answer as JSON; what does not apply is absent. `etag=`, `set_cookie=` … become headers."""
    body = adapter(type(told)).dump_json(told, exclude_none=True)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(body, status, named, media_type="application/json")


def receipts_of(receipts: tuple[Receipt, ...]) -> tuple[ReceiptAnswer, ...]:
    return tuple(
        ReceiptAnswer(trail=r.trail, number=r.number, digest=r.digest, recorded_at=r.recorded_at, type=r.type)
        for r in receipts
    )


def repeated(receipts: tuple[Receipt, ...]) -> bool:
    """Whether the command had been carried out before, and these are its receipts of then."""
    return bool(receipts) and receipts[0].repeated


# --- a kit, as far as the asker may know of it ------------------------------------------------------------


def of_centre(actor: Actor, kit: Kit) -> bool:
    """Whether the choices of this kit are this person's to know."""
    return may("choices_trail.read", actor, kit)


def kit_line(kit: Kit, actor: Actor) -> KitLine:
    return KitLine(
        kit=kit.number,
        written=written(kit.number),
        centre=kit.centre,
        legal=kit.legal,
        retention=kit.retention if of_centre(actor, kit) else None,
    )


def kit_answer(kit: Kit, actor: Actor) -> KitAnswer:
    """The kit for this person, as far as it may be known."""
    mine = of_centre(actor, kit)
    whole = mine or Rel.LINKED in relations(actor, kit)
    since = whole or Rel.OF_CENTRE in relations(actor, kit)  # with justice: since when, and no more
    known = as_known(actor, kit)
    return KitAnswer(
        kit=kit.number,
        written=written(kit.number),
        centre=kit.centre,
        legal=kit.legal,
        registered_at=kit.registered_at,
        packages=known.packages,
        items=known.items,
        labels=known.labels,
        handovers=known.handovers,
        findings=known.findings,
        retention=kit.retention if mine else None,
        examined_on=kit.examined_on if since else None,
        link=kit.link if whole else None,
        linked_at=kit.linked_at if whole else None,
        released_at=kit.released_at if since else None,
        opened_to_centre_at=kit.opened_to_centre_at if whole else None,
        choices=_choices(kit) if mine else None,
    )


def _choices(kit: Kit) -> Choices:
    return Choices(
        age_class=kit.age_class,
        policy=f"{kit.policy.id}/{kit.policy.version}" if kit.policy else None,
        term=kit.term,
        notice_due_at=kit.notice_due_at,
        decided_by=kit.decided_by,
        language=kit.language,
        channel=kit.channel,
        channel_proved_at=kit.channel_proved_at,
        card=kit.card,
        extensions=kit.extensions,
        of_age_at=kit.of_age_at,
        attempts=kit.attempts,
        expires_at=kit.expires_at,
        reported_at=kit.reported_at,
        holds=tuple(kit.holds.values()),
        order=kit.order,
        destruction=kit.destruction,
        disposal=kit.disposal,
        disposed_at=kit.disposed_at,
        asked=kit.asked,
        readers=kit.readers,
    )


def written(number: str) -> str:
    """A kit number as people read it: `7M4P-9XQ3-RT6C`."""
    return numbers.written(numbers.KitNumber(number))
