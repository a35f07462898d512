"""The private part as fields, each under a salt of its own, and what of it is given to a court.

An event names its private part by 32 bytes (its field ``private``). They are made so, and `sha256sum` makes
them too; every line ends with one line feed, and nothing follows the value:

    field digest   SHA-256 of  "custody private field" LF  salt LF  name LF  value
    private        SHA-256 of  "custody private part" LF  and each field digest LF, sorted

Salts are 128 random bits in lower-case hexadecimal, digests are in lower-case hexadecimal, values in UTF-8. A
salt stands nowhere but inside the sealed part: whoever has the event, and the bundle around it, cannot find
out a value by trying those that come into question. Salt and name have no line feed in them, so no two fields
have the same text.

A *disclosure* is a JSON document that tells some fields of a kit, salt, name and value, and of all others of
the same event the digest alone. Anybody who has the events can check it: the digests give the event's
``private``, and the event is in the log. Selective disclosure by salted digests is described in RFC 9901
(SD-JWT); the encoding here is our own. Parts written before have one digest over everything, under the
event's salt (`custody.event.private_digest`); they are told whole or not at all.

Pure: no database, no randomness.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from custody.event import DIGEST, KIT, SALT, Event, EventRefused, private_digest
from custody.refusal import Refused

SALT_BYTES: Final = 16
MOST_FIELDS: Final = 200
MOST_VALUE: Final = 4_000
"""Characters of a value; the commands allow fewer."""
MOST_DOCUMENT: Final = 1 << 20

FORMAT: Final = "custody private disclosure 1"
_FIELD: Final = "custody private field"
_PART: Final = "custody private part"
_NAME: Final = re.compile(r"[a-z][a-z0-9_ ]{0,79}", re.ASCII)


class DisclosureRefused(ValueError):
    """The document is no disclosure, or not of these events. The message says what does not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One value of a private part with its salt (16 bytes). Raises ValueError for what cannot be one."""

    salt: bytes
    name: str
    value: str

    def __post_init__(self) -> None:
        if len(self.salt) != SALT_BYTES:
            raise ValueError(f"the salt of a field has {SALT_BYTES} bytes")
        if _NAME.fullmatch(self.name) is None:
            raise ValueError("this is not the name of a field")
        if len(self.value) > MOST_VALUE:
            raise ValueError(f"a value has at most {MOST_VALUE} characters")
        try:
            self.value.encode()
        except UnicodeEncodeError:
            raise ValueError("this value cannot be written in UTF-8") from None

    @property
    def digest(self) -> str:
        """What stands for this field where it is not told (hexadecimal)."""
        text = f"{_FIELD}\n{self.salt.hex()}\n{self.name}\n{self.value}"
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Part:
    """A private part: its fields in the order of their names, each name once; never empty.

    ``whole`` says that it was written under the earlier definition, by the event's salt: its fields have no
    salts of their own, so it is told whole.
    """

    fields: tuple[Field, ...]
    whole: bool = False

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        if not 1 <= len(names) <= MOST_FIELDS or len(set(names)) != len(names):
            raise ValueError(f"a private part has 1 to {MOST_FIELDS} fields, each name once")
        if names != sorted(names):
            raise ValueError("the fields of a private part stand in the order of their names")

    @property
    def values(self) -> dict[str, str]:
        """What it says: name and value."""
        return {field.name: field.value for field in self.fields}

    def digest(self, salt: str) -> str:
        """What the event with this salt names as ``private``."""
        if self.whole:
            return private_digest(salt, self.values)
        return digest_of(field.digest for field in self.fields)


def salted(values: Mapping[str, str], chance: bytes) -> Part:
    """A private part out of what a decision says; ``chance`` is 16 random bytes for each value.

    Raises ValueError where a name or value is not allowed.
    """
    if len(chance) != SALT_BYTES * len(values):
        raise ValueError(f"{SALT_BYTES} random bytes are needed for each value")
    return Part(
        tuple(
            Field(salt=chance[at * SALT_BYTES : (at + 1) * SALT_BYTES], name=name, value=values[name])
            for at, name in enumerate(sorted(values))
        )
    )


def digest_of(digests: Iterable[str]) -> str:
    """The digest of a private part, out of those of its fields, in whatever order."""
    text = "".join(f"{each}\n" for each in (_PART, *sorted(digests)))
    return hashlib.sha256(text.encode()).hexdigest()


# --- the document ----------------------------------------------------------------------------------


def disclose(kit: str, parts: Sequence[tuple[Event, Part]], names: Iterable[str]) -> bytes:
    """The document that tells these fields of a kit and no other, for the events that have one of them.

    Raises Refused for a name that stands in none of the parts, for none at all, and where a part of the
    earlier definition would have to be told in pieces.
    """
    wanted = set(names)
    if not wanted:
        raise Refused("Name the fields that the order asks for.", field="fields")
    if unknown := sorted(wanted - {f.name for _, part in parts for f in part.fields}):
        raise Refused("This kit's private part has no {name}.", field="fields", name=unknown[0][:80])
    entries = [_entry(event, part, wanted) for event, part in parts if wanted & set(part.values)]
    return json.dumps(
        {"format": FORMAT, "kit": kit, "events": entries}, ensure_ascii=False, indent=1
    ).encode()


def _entry(event: Event, part: Part, wanted: set[str]) -> dict[str, Any]:
    if part.whole:
        if set(part.values) - wanted:
            raise Refused(
                "What was recorded with event {number} of the trail can only be told whole: {names}.",
                field="fields",
                number=event.number,
                names=", ".join(sorted(part.values)),
            )
        return {"event": event.digest, "whole": part.values}
    told = [f for f in part.fields if f.name in wanted]
    kept = sorted(f.digest for f in part.fields if f.name not in wanted)
    return {
        "event": event.digest,
        "disclosed": [{"salt": f.salt.hex(), "name": f.name, "value": f.value} for f in told],
        "undisclosed": kept,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A value that belongs to this event."""

    event: Event
    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """A value of which nothing is shown here: its event (a digest) is not among those that were verified."""

    event: str
    name: str


def check(document: bytes, events: Iterable[Event]) -> tuple[Told, ...]:
    """The values of a disclosure, each shown to belong to its event; all of them or DisclosureRefused."""
    told, elsewhere = compare(document, events)
    if elsewhere:
        raise DisclosureRefused(f"event {elsewhere[0].event} is not in the bundle")
    return told


def compare(document: bytes, events: Iterable[Event]) -> tuple[tuple[Told, ...], tuple[Elsewhere, ...]]:
    """The values of a disclosure that are shown to belong to their events, and those of other events.

    ``events`` are those that were themselves verified: a bundle's, of one trail. What a kit's private part
    says belongs to events of both its trails, so a disclosure may need both bundles. Raises DisclosureRefused
    where anything is wrong, or nothing belongs to these events.
    """
    known = {event.digest: event for event in events}
    read = _read(document)
    told: list[Told] = []
    elsewhere: list[Elsewhere] = []
    for entry in read["events"]:
        event = known.get(entry["event"])
        if event is None:
            values, _ = _part_of(entry, "")
            elsewhere += [Elsewhere(event=entry["event"], name=name) for name in values]
            continue
        if event.subject.split(":")[1] != read["kit"]:
            raise DisclosureRefused(f"event {event.digest} is not of kit {read['kit']}")
        part, digest = _part_of(entry, str(event.get("salt")))
        if digest != event.get("private"):
            raise DisclosureRefused(f"the fields are not those that event {event.digest} names")
        told += [Told(event=event, name=name, value=value) for name, value in part.items()]
    if not told:
        raise DisclosureRefused(
            f"event {read['events'][0]['event']} is not in the bundle, and no value belongs to one that is"
        )
    return tuple(told), tuple(elsewhere)


def _part_of(entry: Mapping[str, Any], salt: str) -> tuple[dict[str, str], str]:
    """The values of an entry, and the digest that its fields give."""
    if "whole" in entry:
        return entry["whole"], private_digest(salt, entry["whole"])
    try:
        fields = [
            Field(salt=bytes.fromhex(each["salt"]), name=each["name"], value=each["value"])
            for each in entry["disclosed"]
        ]
        part = Part(tuple(fields))
    except ValueError as wrong:
        raise DisclosureRefused(f"a field cannot be read: {wrong}") from None
    return part.values, digest_of([*(field.digest for field in fields), *entry["undisclosed"]])


def _read(document: bytes) -> dict[str, Any]:
    """A document of exactly the shape that `disclose` writes."""
    if len(document) > MOST_DOCUMENT:
        raise DisclosureRefused(f"a disclosure has at most {MOST_DOCUMENT} bytes")
    try:
        read = json.loads(document.decode(), object_pairs_hook=_once)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise DisclosureRefused("it is not JSON in UTF-8") from None
    _shape(read, "format", "kit", "events")
    if read["format"] != FORMAT:
        raise DisclosureRefused("it is of a format that this program does not know")
    _kind(KIT, "kit", read["kit"])
    if not isinstance(read["events"], list) or not read["events"]:
        raise DisclosureRefused("it names no event")
    for entry in read["events"]:
        _check_entry(entry)
    if len({entry["event"] for entry in read["events"]}) != len(read["events"]):
        raise DisclosureRefused("an event stands twice")
    return dict(read)


def _check_entry(entry: Any) -> None:
    if isinstance(entry, dict) and "whole" in entry:
        _shape(entry, "event", "whole")
        whole = entry["whole"]
        if not isinstance(whole, dict) or not whole or not all(isinstance(v, str) for v in whole.values()):
            raise DisclosureRefused("a part told whole has names and values")
    else:
        _shape(entry, "event", "disclosed", "undisclosed")
        if not isinstance(entry["disclosed"], list) or not isinstance(entry["undisclosed"], list):
            raise DisclosureRefused("fields stand in lists")
        for each in entry["disclosed"]:
            _shape(each, "salt", "name", "value")
            _kind(SALT, "salt", each["salt"])
            if not isinstance(each["name"], str) or not isinstance(each["value"], str):
                raise DisclosureRefused("name and value are texts")
        for each in entry["undisclosed"]:
            _kind(DIGEST, "undisclosed", each)
    _kind(DIGEST, "event", entry["event"])


def _shape(read: Any, *keys: str) -> None:
    if not isinstance(read, dict) or set(read) != set(keys):
        raise DisclosureRefused(f"an object with {', '.join(keys)} is expected")


def _kind(kind: Any, name: str, value: object) -> None:
    try:
        kind.check(name, value)
    except EventRefused as wrong:
        raise DisclosureRefused(str(wrong)) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise DisclosureRefused("a key stands twice")
    return dict(pairs)
