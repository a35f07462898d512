"""Events: one fact in a trail, serialised once and never again.

The bytes written here are what a court reads decades later, so the rules are few and fixed:

1. UTF-8 JSON in Unicode normal form C, no blank between tokens, no final newline.
2. Keys stand in the order of :data:`FIELDS`; a key that does not apply is absent, never null.
   ``previous`` alone is null, at number 1.
3. Whole numbers only, no fraction and no exponent; digests and salts in lower-case hexadecimal.
4. Times are RFC 3339 in UTC with six digits of a second and ``Z``; dates are ISO 8601.
5. The digest of an event is the SHA-256 of its bytes, so ``sha256sum event.json`` gives the
   32 bytes that stand in the log.
6. ``salt`` (128 random bits) keeps the digest from being guessed from what the event says.

``decode`` accepts exactly what ``encode`` writes: one spelling for one event. A new field or type
raises nothing here for old bytes; a changed one gets a new ``format`` and a reader of its own.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final

FORMAT: Final = 1
MOST_BYTES: Final = 65_536

_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)

type_pattern = re.compile(r"[a-z]+(?:_[a-z]+)*\.[a-z]+(?:_[a-z]+)*")


class EventRefused(ValueError):
    """The bytes or values are not an event. The message names the field."""


# --- what a value may be -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Text:
    """A short text in normal form C without control characters."""

    most: int = 200
    pattern: re.Pattern[str] | None = None

    def check(self, name: str, value: object) -> None:
        if not isinstance(value, str):
            raise EventRefused(f"{name} must be a text")
        if not value or len(value) > self.most:
            raise EventRefused(f"{name} must have 1 to {self.most} characters")
        if not (value.isascii() and value.isprintable()):  # what is, passes both without a look at the table
            if unicodedata.normalize("NFC", value) != value:
                raise EventRefused(f"{name} must be in Unicode normal form C")
            if any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for c in value):
                raise EventRefused(f"{name} must not contain control characters")
        if self.pattern is not None and self.pattern.fullmatch(value) is None:
            raise EventRefused(f"{name} is not of the expected form")


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number between two bounds, both included."""

    least: int
    most: int

    def check(self, name: str, value: object) -> None:
        if type(value) is not int or not self.least <= value <= self.most:
            raise EventRefused(f"{name} must be a whole number from {self.least} to {self.most}")


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant in UTC, to the microsecond, as RFC 3339."""

    def check(self, name: str, value: object) -> None:
        if not isinstance(value, str) or _MOMENT.fullmatch(value) is None:
            raise EventRefused(f"{name} must be a time like 2026-01-31T22:15:00.000000Z")
        try:
            read_moment(value)
        except ValueError:
            raise EventRefused(f"{name} must be a time like 2026-01-31T22:15:00.000000Z") from None


@dataclass(frozen=True, slots=True)
class Day:
    """A calendar day, ISO 8601."""

    def check(self, name: str, value: object) -> None:
        try:
            if not isinstance(value, str) or date.fromisoformat(value).isoformat() != value:
                raise ValueError
        except ValueError:
            raise EventRefused(f"{name} must be a day like 2026-01-31") from None


@dataclass(frozen=True, slots=True)
class Thing:
    """An object with keys in this order; those in ``may`` can be absent."""

    keys: Mapping[str, "Kind"]
    may: frozenset[str] = frozenset()

    def check(self, name: str, value: object) -> None:
        if not isinstance(value, Mapping):
            raise EventRefused(f"{name} must be an object")
        if unknown := [k for k in value if k not in self.keys]:
            raise EventRefused(f"{name} has an unknown key {str(unknown[0])[:40]!r}")
        if absent := [k for k in self.keys if k not in value and k not in self.may]:
            raise EventRefused(f"{name} lacks {absent[0]}")
        for key, kind in self.keys.items():
            if key in value:
                kind.check(f"{name}.{key}", value[key])

    def ordered(self, value: Mapping[str, Any]) -> dict[str, Any]:
        return {k: in_order(kind, value[k]) for k, kind in self.keys.items() if k in value}


@dataclass(frozen=True, slots=True)
class Many:
    """A list of one kind, never empty: a list that does not apply is absent."""

    of: "Kind"
    most: int = 200

    def check(self, name: str, value: object) -> None:
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            raise EventRefused(f"{name} must be a list")
        if not 1 <= len(value) <= self.most:
            raise EventRefused(f"{name} must have 1 to {self.most} entries")
        for at, each in enumerate(value, 1):
            self.of.check(f"{name}[{at}]", each)


Kind = Text | Whole | Moment | Day | Thing | Many


def in_order(kind: Kind, value: Any) -> Any:
    """The same value with the keys of every object in the order of its kind."""
    if isinstance(kind, Thing):
        return kind.ordered(value)
    if isinstance(kind, Many):
        return [in_order(kind.of, each) for each in value]
    return value


def read_moment(text: str) -> datetime:
    """The instant that ``write_moment`` wrote."""
    if _MOMENT.fullmatch(text) is not None:  # the one spelling in which a time is recorded
        return datetime.fromisoformat(text)
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def write_moment(at: datetime) -> str:
    """RFC 3339 in UTC with six digits of a second and ``Z``. Raises EventRefused: no zone, no such year."""
    if at.tzinfo is None:
        raise EventRefused("a time without a zone cannot be recorded")
    try:
        return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    except OverflowError:  # in UTC it would lie before the year 1 or after 9999
        raise EventRefused("a time outside the calendar cannot be recorded") from None


def _words(pattern: str, most: int = 64) -> Text:
    return Text(most, re.compile(pattern))


DIGEST: Final = _words("[0-9a-f]{64}")
SALT: Final = _words("[0-9a-f]{32}")
IDENTIFIER: Final = _words("[a-z0-9][a-z0-9._-]*", 80)
WORD: Final = _words("[a-z][a-z0-9_]*", 40)
SEAL: Final = _words(r"[A-Z0-9][A-Z0-9 ./-]*", 40)
KIT: Final = _words("[0-9A-HJKMNP-TV-Z]{12}")
CODE: Final = _words(r"[0-9A-HJKMNP-TV-Z]{12}-(?:K|[PI][0-9]{2})-[0-9]{1,3}-[0-9A-Z]")
SUBJECT: Final = _words("[a-z]+:[A-Za-z0-9._-]+", 120)
VKEY: Final = Text(2400, re.compile(r"[^+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]+={0,2}"))
PACKAGE: Final = Whole(1, 99)

WHO: Final = Thing(
    {"person": IDENTIFIER, "name": Text(120), "function": WORD, "organisation": IDENTIFIER},
    frozenset({"person", "name", "organisation"}),
)
_PARTY: Final = Thing(
    {"part": WORD, "person": IDENTIFIER, "name": Text(120), "function": WORD, "organisation": IDENTIFIER},
    frozenset({"person", "function", "organisation"}),
)
_COUNTERPART: Final = Thing(
    {"name": Text(120), "person": IDENTIFIER, "organisation": IDENTIFIER, "organisation_name": Text(120)},
    frozenset({"name", "person", "organisation", "organisation_name"}),
)
_TERM: Final = Thing({"start": Day(), "end": Day(), "notice_on": Day(), "over_at": Moment()})

FIELDS: Final[Mapping[str, Kind]] = {
    "format": Whole(1, 999),
    "type": Text(60, type_pattern),
    "subject": SUBJECT,
    "number": Whole(1, 2**53 - 1),
    "previous": DIGEST,
    "recorded_at": Moment(),
    "occurred_at": Moment(),
    "who": WHO,
    # who else signed, in which part: second, approver, observer, relabelled, reviewer, giver
    "with": Many(_PARTY, 6),
    "centre": IDENTIFIER,
    "examined_on": Day(),
    "age_class": _words("adult|minor|unknown"),
    "packages": Many(
        Thing(
            {
                "package": PACKAGE,
                "kind": WORD,
                "storage": WORD,
                "from": Many(PACKAGE, 20),
                "seal_before": SEAL,
                "seal": SEAL,
                "seal_seen": SEAL,
                "condition": WORD,
                "reason": WORD,
            },
            frozenset({"kind", "storage", "from", "seal_before", "seal", "seal_seen", "condition", "reason"}),
        ),
        99,
    ),
    "items": Many(
        Thing(
            {"item": PACKAGE, "group": WORD, "package": PACKAGE, "usable_until": Day()},
            frozenset({"group", "package", "usable_until"}),
        ),
        99,
    ),
    "brought_by": _words("victim|support_person|police|hospital_staff"),
    "place": Thing({"id": IDENTIFIER, "name": Text(120)}),
    "handover": SALT,
    "counterpart": _COUNTERPART,
    "carrier": _COUNTERPART,
    "due_at": Moment(),
    "labels": Many(Thing({"code": CODE, "serial": Whole(1, 999)}), 200),
    "link": Thing(
        {
            "ground": _words("report|order"),
            "pv": Text(60),
            "notice": Text(60),
            "office": IDENTIFIER,
            "zone": IDENTIFIER,
        }
    ),
    "request": SALT,
    "order": Thing({"digest": DIGEST, "authority": Text(120), "dated": Day()}),
    "policy": Thing({"id": IDENTIFIER, "version": Whole(1, 9999)}),
    "term": _TERM,
    "until": Moment(),
    "remind_on": Day(),  # of the next point of notice
    "hold": Thing(
        {"id": SALT, "ground": WORD, "review_on": Day()},
        frozenset({"review_on"}),
    ),
    "decided_by": _words("victim|representative"),
    "channel": _words("none|email|sms|phone|post"),
    "language": _words("[a-z]{2}"),
    "card": _words("issued|declined"),
    "how": WORD,
    "reason": Text(200),
    "finding": SALT,
    "cites": Many(DIGEST, 20),
    "documents": Many(Thing({"kind": WORD, "digest": DIGEST}), 20),
    "paper": DIGEST,
    "lost": DIGEST,  # of the event that this one enters again, after a database was taken back
    "register": Thing(
        {
            "id": IDENTIFIER,
            "kind": WORD,
            "name": Text(120),
            "organisation": IDENTIFIER,
            "person": IDENTIFIER,
            "function": WORD,
            "from": Day(),
            "until": Day(),
            "storage": WORD,
            "zone": Text(40),
            "country": _words("[A-Z]{2}"),
            "issuer": Text(200),
            "login": Text(200),
            "into": IDENTIFIER,
        },
        frozenset(
            {"name", "kind", "organisation", "person", "function", "from", "until", "storage", "zone"}
            | {"country", "issuer", "login", "into"}
        ),
    ),
    "numbers": Many(KIT, 200),
    "naming": Thing(
        {"pv": Text(60), "centre": IDENTIFIER, "examined_on": Day(), "kit": KIT},
        frozenset({"centre", "examined_on", "kit"}),
    ),
    "digest": DIGEST,
    "log": Thing({"name": WORD, "origin": Text(200), "size": Whole(0, 2**53 - 1), "root": DIGEST}),
    "resumed": Whole(0, 2**53 - 1),
    "vkeys": Many(VKEY, 20),  # who signs the log from now on
    "retiring": Many(VKEY, 20),
    "kit": KIT,  # in access records alone; a kit's own trail names it in the subject
    "purpose": WORD,
    "read": WORD,
    "readers": Many(IDENTIFIER, 20),  # the people who alone may read a restricted kit
    "salt": SALT,
    "private": DIGEST,
}

HEADER: Final = ("format", "type", "subject", "number", "previous", "recorded_at")
ALWAYS: Final = (*HEADER, "who", "salt")


# --- the event -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What a decision says happened, before it has a place in a trail.

    ``fields`` are the keys of :data:`FIELDS` that apply to its type (not those of the header).
    ``private`` is the part kept outside the event: its digest alone enters the bytes.
    """

    type: str
    subject: str
    who: Mapping[str, Any]
    occurred_at: datetime | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    private: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where a trail stands: its last event's number, digest (hex) and time; number 0 before the first."""

    number: int = 0
    digest: str | None = None
    recorded_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event as it stands in a trail, read from its bytes."""

    bytes: bytes
    values: Mapping[str, Any]

    @property
    def type(self) -> str:
        return str(self.values["type"])

    @property
    def subject(self) -> str:
        return str(self.values["subject"])

    @property
    def number(self) -> int:
        return int(self.values["number"])

    @property
    def previous(self) -> str | None:
        value = self.values["previous"]
        return None if value is None else str(value)

    @property
    def recorded_at(self) -> datetime:
        return read_moment(self.values["recorded_at"])

    @property
    def occurred_at(self) -> datetime:
        """When it happened: the recorded time unless another was given (a paper record)."""
        return read_moment(self.values.get("occurred_at", self.values["recorded_at"]))

    @property
    def who(self) -> Mapping[str, Any]:
        return dict(self.values["who"])

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes in hexadecimal: the leaf of the log."""
        return hashlib.sha256(self.bytes).hexdigest()

    def get(self, name: str, otherwise: Any = None) -> Any:
        return self.values.get(name, otherwise)


def check(values: Mapping[str, Any]) -> None:
    """Refuse values that are not an event. Raises EventRefused naming the field."""
    for name in ALWAYS:
        if name not in values:
            raise EventRefused(f"{name} is missing")
    for name, value in values.items():
        kind = FIELDS.get(name)
        if kind is None:
            raise EventRefused(f"{str(name)[:40]!r} is not a field of an event")
        if name == "previous" and value is None and values["number"] == 1:
            continue
        kind.check(name, value)
    if values["format"] != FORMAT:
        raise EventRefused(f"format {values['format']} is not known to this reader")
    if values["number"] > 1 and values["previous"] is None:
        raise EventRefused("previous must be the digest of the event before")
    if values["number"] == 1 and values["previous"] is not None:
        raise EventRefused("previous must be null at number 1")


def encode(values: Mapping[str, Any]) -> bytes:
    """The exact bytes of an event. Raises EventRefused."""
    check(values)
    ordered = {
        name: None if values[name] is None else in_order(kind, values[name])
        for name, kind in FIELDS.items()
        if name in values
    }
    data = json.dumps(ordered, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    if len(data) > MOST_BYTES:
        raise EventRefused(f"an event has at most {MOST_BYTES} bytes")
    return data


def _no_fraction(text: str) -> Any:
    raise EventRefused(f"{text[:20]} is not a whole number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise EventRefused("a key stands twice")
    return dict(pairs)


def decode(data: bytes) -> Event:
    """The event of these bytes; the inverse of ``encode``, and nothing else is accepted.

    Raises EventRefused: not UTF-8, not JSON, an unknown field, a wrong order, another spelling.
    """
    if len(data) > MOST_BYTES:
        raise EventRefused(f"an event has at most {MOST_BYTES} bytes")
    try:
        values = json.loads(
            data.decode(),
            object_pairs_hook=_once,
            parse_float=_no_fraction,
            parse_constant=_no_fraction,
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise EventRefused(f"these bytes are not an event: {type(error).__name__}") from None
    except ValueError as error:
        raise EventRefused(str(error)[:200]) from None
    if not isinstance(values, dict):
        raise EventRefused("an event is a JSON object")
    if encode(values) != data:
        raise EventRefused("these bytes are not in the one spelling of an event")
    return Event(bytes=data, values=values)


def private_digest(salt: str, part: Mapping[str, str]) -> str:
    """The digest of a private part by the earlier definition: SHA-256 over the event's salt and its JSON,
    sorted. For reading what was recorded so; since then `custody.disclosure` says what binds a part."""
    text = json.dumps(dict(sorted(part.items())), ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(bytes.fromhex(salt) + text.encode()).hexdigest()


def place_in_trail(fact: Fact, head: Head, at: datetime, salt: bytes, private: str | None = None) -> Event:
    """Give a fact its place after ``head``: number, previous digest, time, salt, bytes.

    ``at`` is what the database's clock said; a trail's time never runs backwards. ``salt`` is 16 random
    bytes. ``private`` is the digest of the fact's private part, salted by whoever keeps it
    (`custody.disclosure.salted`). Raises EventRefused where a value is not allowed.
    """
    if bool(fact.private) != (private is not None):
        raise EventRefused("a private part and its digest belong together")
    recorded_at = at if head.recorded_at is None else max(at, head.recorded_at)
    values: dict[str, Any] = {
        **fact.fields,
        "format": FORMAT,
        "type": fact.type,
        "subject": fact.subject,
        "number": head.number + 1,
        "previous": head.digest,
        "recorded_at": write_moment(recorded_at),
        "who": dict(fact.who),
        "salt": salt.hex(),
    }
    if fact.occurred_at is not None:
        if fact.occurred_at > recorded_at:
            raise EventRefused("occurred_at must not lie in the future")
        values["occurred_at"] = write_moment(fact.occurred_at)
    if private is not None:
        values["private"] = private
    return decode(encode(values))


def after(event: Event) -> Head:
    """The head of a trail whose last event is this one."""
    return Head(number=event.number, digest=event.digest, recorded_at=event.recorded_at)
