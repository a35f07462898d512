"""What stands in a register file, read strictly: organisations, places, people with accounts and functions.

Unknown members, wrong types and doubled entries are refused with the place in the file (counted from 1), so
that a misspelt "until" never means "for good". `docs/people.md` describes the members.
"""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from custody.commands import command
from desk.settings import CannotStart

MOST_BYTES: Final = 8 * 2**20
NOBODYS: Final = ("clock", "victim")
"""Names under which the service records what no member of staff did; a person of that name would be mixed up
with it."""


class FileRefused(CannotStart):
    """What is wrong with the file, and where in it. Nothing was written."""


@command
class Organisation:
    """A centre, police zone, prosecutor's office, laboratory, registry, oversight or hospital."""

    id: str
    kind: Literal["centre", "police", "prosecutor", "laboratory", "registry", "oversight", "hospital"]
    name: str
    country: str | None = None
    zone: str | None = None
    note: str | None = None  # for whoever reads the file; recorded nowhere


@command
class Place:
    """A place of an organisation. ``closed`` says why it is no longer used."""

    id: str
    organisation: str
    name: str
    kind: str
    storage: Literal["frozen", "refrigerated", "dry"] | None = None
    closed: str | None = None


@command
class Account:
    """How a person is known at a sign-in service. ``removed``: it no longer signs the person in."""

    issuer: str
    login: str
    removed: bool = False


@command
class Appointment:
    """A function at an organisation, from a day to a last day, or without an end."""

    organisation: str
    function: str
    from_: Annotated[date, Field(alias="from")]
    until: date | None = None


@command
class Person:
    """A member of staff. ``same_as`` is who this entry turned out to be, of somebody registered twice."""

    id: str
    name: str
    accounts: tuple[Account, ...] = ()
    appointments: tuple[Appointment, ...] = ()
    same_as: str | None = None


@command
class File:
    """A register file. ``notes`` and ``sources`` are for people, and recorded nowhere."""

    notes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    organisations: tuple[Organisation, ...] = ()
    places: tuple[Place, ...] = ()
    people: tuple[Person, ...] = ()


_FILE: Final = TypeAdapter(File)


def read(data: bytes) -> File:
    """A register file from its bytes. Raises FileRefused, naming the place (counted from 1)."""
    if len(data) > MOST_BYTES:
        raise FileRefused(f"The file is larger than {MOST_BYTES // 2**20} MiB.")
    try:
        json.loads(data.decode(), object_pairs_hook=_once)
        file = _FILE.validate_json(data)
    except ValidationError as wrong:
        first = wrong.errors(include_url=False)[0]
        raise FileRefused(_sentence(_place(first["loc"]), first["type"], first["msg"])) from None
    except (UnicodeDecodeError, ValueError, RecursionError) as wrong:
        raise FileRefused(f"The file is not JSON that can be read: {wrong}.") from None
    for what, ids in (
        ("organisations", [o.id for o in file.organisations]),
        ("places", [p.id for p in file.places]),
        ("people", [p.id for p in file.people]),
        ("accounts", [f"{a.login} of {a.issuer}" for p in file.people for a in p.accounts if not a.removed]),
    ):
        if twice := [id_ for id_, count in Counter(ids).items() if count > 1]:
            raise FileRefused(f"{what}: {twice[0]} stands there twice.")
    for number, person in enumerate(file.people, 1):
        if person.id in NOBODYS:
            raise FileRefused(
                f"people[{number}].id: {person.id} is a name of the service's own. Choose another."
            )
    return file


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} stands twice in one object")
    return dict(pairs)


def _place(loc: Sequence[str | int]) -> str:
    told = ""
    for part in loc:
        told += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if told else str(part)
    return told or "the file"


def _sentence(place: str, kind: str, told: str) -> str:
    match kind:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"{place} is not known here; it may be misspelt."
        case "missing" | "missing_argument":
            return f"{place} is missing."
        case _:
            return f"{place}: {told[:1].lower()}{told[1:]}."
