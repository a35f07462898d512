"""The registers made again from their own trails and compared with the stored ones.

Organisations, people, appointments, places, policies, requests and their answers, reserved numbers: each row
follows from events that name it, by the same steps as in PostgreSQL (``custody.apply_to_register``). The
protocol's rows (``custody.step``) must be those of the code.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from custody import tables as t
from custody.difference import Difference, differs
from custody.directory import day_of
from custody.event import Event, EventRefused, decode
from custody.protocol import STEPS

Key = tuple[Any, ...]
Rows = dict[Key, dict[str, Any]]

REGISTERS: Final[Mapping[str, Callable[[Key], str]]] = {
    "organisation": lambda key: f"organisation:{key[0]}",
    "person": lambda key: f"person:{key[0]}",
    "account": lambda key: f"person:{key[2]}",
    "appointment": lambda key: f"person:{key[0]}",
    "place": lambda key: f"place:{key[0]}",
    "policy": lambda key: f"policy:{key[0]}",
    "reserved_number": lambda key: str(key[0]),
    "request": lambda key: f"request:{key[0]}",
    "answer": lambda key: f"request:{key[0]}",
    "step": lambda key: f"step {key[0]}",
}
"""The tables that are compared here, each with the trail (or kit) that one of its rows is about."""


@dataclass
class Registers:
    """The rows that the events make, by table and primary key."""

    rows: dict[str, Rows] = field(default_factory=lambda: {name: {} for name in REGISTERS})

    def put(self, table: str, key: Key, **values: Any) -> None:
        names = (column.name for column in getattr(t, table).primary_key)
        self.rows[table][key] = dict(zip(names, key, strict=True)) | values

    def apply(self, event: Event, register: Mapping[str, Any], id_: str) -> None:
        """What one event changes. Raises KeyError where it changes what is not there."""
        match event.type:
            case "organisation.registered" | "organisation.changed":
                self._organisation(id_, register)
            case "person.registered":
                self.put("person", (id_,), **_told(register, "name"), merged_into=None)
                if {"issuer", "login"} <= register.keys():
                    self._account(id_, register, None)
            case "person.account_added":
                self._account(id_, register, None)
            case "person.account_removed":
                self._account(id_, register, event.recorded_at)
            case "person.merged":
                self._merged(id_, register["into"], day_of(event.recorded_at))
            case "person.appointed":
                from_ = date.fromisoformat(register["from"])
                key = (id_, register["organisation"], register["function"], from_)
                self.put("appointment", key, until=_day(register.get("until")))
            case "person.left":
                self._left(id_, register)
            case "place.opened":
                told = _told(register, "organisation", "name", "kind", "storage")
                self.put("place", (id_,), **told, closed_at=None)
            case "place.closed":
                self.rows["place"][(id_,)]["closed_at"] = event.recorded_at
            case "numbers.reserved":
                for number in event.get("numbers"):
                    self.put("reserved_number", (number,), centre=id_, reserved_at=event.recorded_at)
            case "policy.adopted":
                named = event.get("policy")
                self.put("policy", (named["id"], named["version"]), digest=bytes.fromhex(event.get("digest")))
            case "request.received" | "request.answered":
                self._request(event, id_)
            case _:
                pass

    def _organisation(self, id_: str, register: Mapping[str, Any]) -> None:
        """A change leaves the kind as it was registered, and counts no requests."""
        known = self.rows["organisation"].get((id_,), {})
        told = _told(register, "name", "country", "zone")
        kind, waiting = known.get("kind", register.get("kind")), known.get("unanswered_requests", 0)
        self.put("organisation", (id_,), kind=kind, unanswered_requests=waiting, **told)

    def _left(self, id_: str, register: Mapping[str, Any]) -> None:
        until = date.fromisoformat(register["until"])
        for row in self.rows["appointment"].values():
            same = (row["person"], row["organisation"], row["function"])
            named = "from" not in register or row["from"] == date.fromisoformat(register["from"])
            ends_later = row["until"] is None or row["until"] > until
            if same == (id_, register["organisation"], register["function"]) and named and ends_later:
                row["until"] = until

    def _account(self, id_: str, register: Mapping[str, Any], removed_at: datetime | None) -> None:
        self.put("account", (register["issuer"], register["login"], id_), removed_at=removed_at)

    def _merged(self, id_: str, into: str, today: date) -> None:
        self.rows["person"][(id_,)]["merged_into"] = into
        for row in self.rows["appointment"].values():
            if row["person"] == id_ and (row["until"] is None or row["until"] >= today):
                row["until"] = today - timedelta(days=1)

    def _request(self, event: Event, id_: str) -> None:
        if event.type == "request.received":
            naming, who = event.get("naming"), event.who
            told = {"zone": who.get("organisation"), "person": who.get("person"), "centre": naming["centre"]}
            self.put("request", (id_,), **told, naming=naming, received_at=event.recorded_at)
            counted = 1
        else:
            centre = self.rows["request"][(id_,)]["centre"]
            told = {"centre": centre, "answered_at": event.recorded_at, "how": event.get("how")}
            self.put("answer", (id_,), **told)
            counted = -1
        self.rows["organisation"][(self.rows["request"][(id_,)]["centre"],)]["unanswered_requests"] += counted


def _told(register: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: register.get(name) for name in names}


def _day(written: str | None) -> date | None:
    return None if written is None else date.fromisoformat(written)


async def check(connection: AsyncConnection) -> list[Difference]:
    """Make every register again and compare; answers what differs. Needs the role custody_clerk."""
    made, found = await _made(connection)
    for name, subject in REGISTERS.items():
        table: Table = getattr(t, name)
        rows = (await connection.execute(select(table))).mappings().all()
        found += _compare(name, [dict(row) for row in rows], made.rows[name], subject)
    return found + await _policies(connection)


async def _made(connection: AsyncConnection) -> tuple[Registers, list[Difference]]:
    """What all trails but those of the kits say; requests after the organisations that they name."""
    made, found = Registers(), []
    _protocol(made)
    e = t.event.c
    query = select(e.bytes, e.subject, e.number).where(e.kit.is_(None)).order_by(e.subject, e.number)
    for row in await connection.execute(query):
        try:
            event = decode(bytes(row.bytes))
            made.apply(event, event.get("register", {}), event.subject.partition(":")[2])
        except (EventRefused, LookupError, TypeError, ValueError) as wrong:
            words = f"number {row.number} cannot be carried out: {wrong}"
            found.append(Difference(subject=row.subject, column="event", words=words))
    used = (
        select(e.kit, func.min(e.recorded_at).label("at")).where(e.type == "kit.registered").group_by(e.kit)
    )
    taken: dict[str, datetime] = {row.kit: row.at for row in await connection.execute(used)}
    for (number,), reserved in made.rows["reserved_number"].items():
        reserved["used_at"] = taken.get(number)
    return made, found


def _protocol(made: Registers) -> None:
    """The protocol of the code, as ``migrations`` writes it."""
    for name, step in STEPS.items():
        made.put(
            "step",
            (name,),
            trail=step.trail.value,
            custody={k.value: v.value for k, v in step.custody.items()},
            legal={k.value: v.value for k, v in step.legal.items()},
            retention={k.value: v.value for k, v in step.retention.items()},
            packs=step.packs,
            holds=step.holds,
            people=step.people,
            writers=sorted(step.writers),
            needs=sorted(step.needs),
            may=sorted(step.may),
        )


def _compare(
    name: str, rows: Sequence[Mapping[str, Any]], made: Rows, subject: Callable[[Key], str]
) -> Iterator[Difference]:
    keys = [column.name for column in getattr(t, name).primary_key]
    stored: Rows = {}
    for row in rows:
        key = tuple(row[each] for each in keys)
        if key in stored:
            yield Difference(subject=subject(key), column=name, words="it stands there twice")
        stored[key] = dict(row)
    for key in sorted(stored.keys() | made.keys(), key=str):
        if key not in stored or key not in made:
            words = f"it stands only {'stored' if key in stored else 'in the events'}"
            yield Difference(subject=subject(key), column=name, words=words)
            continue
        for column, value in made[key].items():
            if stored[key][column] != value:
                yield differs(subject(key), f"{name}.{column}", stored[key][column], value)


async def _policies(connection: AsyncConnection) -> list[Difference]:
    """A policy's document is the one whose digest was adopted."""
    return [
        Difference(
            subject=f"policy:{row.id}",
            column="policy.document",
            words=f"version {row.version} is not the document whose digest was adopted",
        )
        for row in await connection.execute(select(t.policy))
        if sha256(row.document).digest() != bytes(row.digest)
    ]
