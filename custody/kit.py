"""A kit as it stands: the projection of its two trails.

Everything here is read from events and can be rebuilt from them (``custody.trail``). It is kept as one
JSON document beside the columns that PostgreSQL guards; :func:`to_document` and :func:`from_document`
are inverses of each other.
"""

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import cache
from operator import attrgetter
from typing import Any, Final, TypeVar

from custody.event import Head, read_moment, write_moment
from custody.protocol import ENDED, Custody, Legal, Retention

# A document written before such a field was thought of has no key for it, and must still be the document that
# its events make: the key stands there only where it says something else than the default.
LATER: Final[Mapping[str, bool]] = {"later": True}

# The term is over, and people are at work or have it before them.
ENDED_NOT_DISPOSED: Final = frozenset({Retention.EXPIRED, Retention.PROPOSED, Retention.APPROVED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who is answerable for a package now. Without ``person`` id: somebody without an account."""

    name: str | None = None
    person: str | None = None
    organisation: str | None = None
    organisation_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    package: int
    kind: str
    storage: str
    state: Custody = Custody.PACKED
    seal: str | None = None
    seal_broken: bool = False
    sealed_at: datetime | None = None
    sealed_by: str | None = None  # person id; another person checks the seal of a nurse alone at night
    seal_checked: bool = False
    holder: Holder | None = None
    place: Place | None = None
    handover: str | None = None
    made_from: tuple[int, ...] = ()
    brought_by: str | None = None
    since: datetime | None = None  # when it came into its present hands or place
    # of a lost one: two people stopped looking for it
    search_ended: bool = field(default=False, metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    item: int
    group: str  # sample, toxicology or belongings; the exact type stands in the private part
    package: int
    usable_until: date | None = None
    missing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """An open hand-over: offered and neither accepted, refused nor cancelled for ``packages``."""

    id: str
    packages: tuple[int, ...]
    giver: Holder
    receiver: Holder
    offered_at: datetime
    due_at: datetime
    carrier: Holder | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    id: str
    ground: str
    placed_by: str | None = None  # person id
    placed_at: datetime | None = None
    review_on: date | None = None
    reviewed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt to tell the victim that the term is ending; ``how`` says how it went."""

    at: datetime
    how: str
    channel: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """The agreed term: first and last day at the centre, the day of notice, the instant it is over."""

    start: date
    end: date
    notice_on: date
    over_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which version of which retention policy the term was agreed under."""

    id: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    ground: str
    pv: str
    notice: str
    office: str
    zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    digest: str
    authority: str
    dated: date
    entered_by: str | None = None
    confirmed: bool = False
    entered_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    request: str
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Destruction:
    """A request of the victim for early destruction."""

    asked_at: datetime
    until: datetime | None = None  # end of the cooling-off, once two staff confirmed


@dataclass(frozen=True, slots=True, kw_only=True)
class Disposal:
    """How a kit ends. Without packages: two people signed that nothing was left; the second approved it."""

    proposed_by: str | None
    proposed_at: datetime
    packages: tuple[int, ...] = ()
    approved_by: str | None = None
    approved_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    type: str
    at: datetime
    packages: tuple[int, ...] = ()
    items: tuple[int, ...] = ()
    number: int = 0
    trail: str = "custody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    number: str
    centre: str
    examined_on: date
    registered_at: datetime
    custody_head: Head = Head()
    choices_head: Head = Head()
    legal: Legal = Legal.UNREPORTED
    retention: Retention = Retention.RUNNING
    packages: Mapping[int, Package] = field(default_factory=dict)
    items: Mapping[int, Item] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)  # part -> serial of the label in use
    handovers: Mapping[str, Handover] = field(default_factory=dict)
    holds: Mapping[str, Hold] = field(default_factory=dict)
    age_class: str = "unknown"
    policy: Policy | None = None
    term: Term | None = None
    # the term that stood until the victim's wish ended it; given back where something ends the wish
    term_before_wish: Term | None = field(default=None, metadata=LATER)
    extensions: int = field(default=0, metadata=LATER)  # how often the victim asked to keep it longer
    notice_due_at: datetime | None = None
    remind_on: date | None = None  # the next point of notice
    attempts: tuple[Attempt, ...] = ()  # of the notice that runs now
    expires_at: datetime | None = None  # the term may expire from then on; None: nobody was told yet
    of_age_at: datetime | None = None  # a minor at the examination, since then known to have come of age
    decided_by: str | None = None
    language: str | None = None
    channel: str | None = None
    channel_proved_at: datetime | None = None
    card: str | None = None
    reported_at: datetime | None = None
    order: Order | None = None
    matches: tuple[Match, ...] = ()
    link: Link | None = None
    linked_at: datetime | None = None
    released_at: datetime | None = None
    opened_to_centre_at: datetime | None = None  # a magistrate let the centre read it again after release
    destruction: Destruction | None = None
    disposal: Disposal | None = None
    disposed_at: datetime | None = None
    key_destroyed_at: datetime | None = None
    findings: tuple[Finding, ...] = ()
    asked: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()  # person ids who alone may read it; empty: not restricted

    @property
    def open_packages(self) -> tuple[Package, ...]:
        """Packages that somebody still answers for."""
        return tuple(p for p in self.packages.values() if p.state not in ENDED)

    @property
    def remaining(self) -> tuple[Package, ...]:
        """Packages that are still to be destroyed, or looked for: all but those that ended, and lost ones
        whose search ended. Of a kit disposed of: what was found since."""
        return tuple(p for p in self.open_packages if p.state is not Custody.LOST or not p.search_ended)

    @property
    def in_transit(self) -> int:
        return sum(p.state is Custody.IN_TRANSIT for p in self.packages.values())

    @property
    def ended_by_wish(self) -> bool:
        """Whether the term is over because the victim wished so: until the disposal, that can be undone."""
        return self.term_before_wish is not None and self.retention in ENDED_NOT_DISPOSED

    def items_of(self, package: int) -> tuple[Item, ...]:
        return tuple(i for i in self.items.values() if i.package == package)


T = TypeVar("T")
_READ: Final[dict[type, tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]]] = {}


def changed(value: T, **change: Any) -> T:
    """The same value with these fields changed: `dataclasses.replace`, four times as fast for a kit.

    For the frozen records of this file, which have several fields and no `__post_init__`.
    """
    kind = type(value)
    if kind not in _READ:
        names = tuple(each.name for each in fields(kind))  # type: ignore[arg-type]  # they are dataclasses
        _READ[kind] = names, attrgetter(*names)
    names, read = _READ[kind]
    return kind(**(dict(zip(names, read(value), strict=True)) | change))


# --- the document --------------------------------------------------------------------------


def to_document(value: Any) -> Any:
    """Plain JSON values of a projection; absent stays absent."""
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((f, getattr(value, f.name)) for f in fields(value))
        return {
            f.name: to_document(v)
            for f, v in pairs
            if v is not None and v != () and v != {} and not (f.metadata and v == f.default)
        }
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, datetime):
        return write_moment(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(k): to_document(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return [to_document(v) for v in value]
    return value


def from_document(kind: type[T], document: Any) -> T:
    """The projection that ``to_document`` wrote. Raises KeyError, ValueError or TypeError otherwise."""
    return typing.cast(T, _reader(typing.cast(Any, kind))(document))


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """What reads a value of this kind. Made once of each kind: a look at many kits reads little else."""
    origin = typing.get_origin(kind)
    if origin is types.UnionType:
        (kind,) = (k for k in typing.get_args(kind) if k is not type(None))
        origin = typing.get_origin(kind)
    if origin is tuple:
        each = _reader(typing.get_args(kind)[0])
        return lambda values: tuple([each(value) for value in values])
    if origin is Mapping:
        key, of = typing.get_args(kind)[0], _reader(typing.get_args(kind)[1])
        return lambda values: {key(k): of(value) for k, value in values.items()}
    if kind is datetime:
        return read_moment
    if kind is date:
        return date.fromisoformat
    if is_dataclass(kind):
        readers = {name: _reader(hint) for name, hint in typing.get_type_hints(kind).items()}
        make = typing.cast(type[Any], kind)
        return lambda values: make(**{name: readers[name](value) for name, value in values.items()})
    return kind if issubclass(kind, StrEnum) else _as_it_is


def _as_it_is(value: Any) -> Any:
    return value
