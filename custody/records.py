"""Events and access records against their bytes, their trails and the log, one after the other.

Nothing beside the bytes is trusted: the digest, every column, the event before it, what the protocol asks.
"""

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Row, Table, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from audit import tables as audit_tables
from audit.outgoing import described
from custody import tables as t
from custody.event import ALWAYS, Event, EventRefused, decode
from custody.protocol import STEPS, Trail

SOURCES: Final[Mapping[str, Table]] = {"events": t.event, "reads": t.access}
"""Whose digests stand in which log."""

_OF_KITS: Final = (str(Trail.CUSTODY), str(Trail.CHOICES))

_BEFORE: Final = "LEFT JOIN {table} b ON b.subject = e.subject AND b.number = e.number - 1"
_LEAVES: Final = {
    log: text(
        f"SELECT l.index AS leaf, e.*, b.digest AS before, b.recorded_at AS before_at FROM audit.leaf l"  # noqa: S608 (of constants)
        f" JOIN {table.fullname} e ON e.digest = l.digest {_BEFORE.format(table=table.fullname)}"
        f" WHERE l.log = '{log}' AND l.index >= :first AND l.index < :end ORDER BY l.index"
    )
    for log, table in SOURCES.items()
}
_WITHOUT: Final = {
    log: text(
        # EXCEPT hashes both sides once, whatever the planner believes about tables nobody has analysed yet.
        f"WITH missing AS MATERIALIZED (SELECT digest FROM {table.fullname}"  # noqa: S608 (of constants)
        f" EXCEPT SELECT digest FROM audit.leaf WHERE log = '{log}')"
        f" SELECT e.*, b.digest AS before, b.recorded_at AS before_at,"
        f" EXISTS (SELECT FROM audit.pending p WHERE p.log = '{log}' AND p.digest = e.digest) AS waits"
        f" FROM missing m JOIN {table.fullname} e ON e.digest = m.digest"
        f" {_BEFORE.format(table=table.fullname)} ORDER BY e.subject, e.number"
    )
    for log, table in SOURCES.items()
}


async def leaves(
    connection: AsyncConnection, log: str, first: int, digests: Sequence[bytes], padded: Collection[int]
) -> str | None:
    """What is wrong with the first of these leaves that is the digest of nothing, or of something wrong."""
    page = await connection.execute(_LEAVES[log], {"first": first, "end": first + len(digests)})
    recorded: dict[int, Row[Any]] = {}
    for row in page:
        if row.leaf in recorded:
            return f"{_named(row)}, leaf {row.leaf} of the log {log}, stands there twice."
        recorded[row.leaf] = row
    for index in range(first, first + len(digests)):
        found = recorded.get(index)
        leaf = f"leaf {index} of the log {log}"
        if index in padded:
            if found is not None:
                return f"{_named(found)} is {leaf}, which is declared as padding."
        elif found is None:
            return f"{leaf[0].upper()}{leaf[1:]} is the digest of nothing that is recorded."
        elif wrong := _wrong(found, log):
            return f"{_named(found)}, {leaf}: {wrong}."
    return None


async def without_leaf(connection: AsyncConnection, log: str) -> str | None:
    """What is wrong with the records that have no leaf (they must wait for one), and with what waits."""
    for row in await connection.execute(_WITHOUT[log]):
        if not row.waits:
            return f"The digest of {_named(row)} is not in the log {log}, and does not wait for it."
        if wrong := _wrong(row, log):
            return f"{_named(row)}, which waits for the log {log}: {wrong}."
    pending, s = audit_tables.pending.c, SOURCES[log].c
    known = select(s.digest).where(s.digest == pending.digest).exists()
    unknown = select(pending.digest).where(pending.log == log, ~known).order_by(pending.digest).limit(1)
    query = select(func.encode(unknown.scalar_subquery(), "hex"))
    if (digest := await connection.scalar(query)) is not None:
        return f"The digest {digest} waits for the log {log} and is that of nothing that is recorded."
    return None


def _named(row: Row[Any]) -> str:
    return f"{row.subject} number {row.number}"


def _wrong(row: Row[Any], log: str) -> str | None:
    """What is wrong with one record, by its bytes and by the one before it in its trail."""
    data = bytes(row.bytes)
    if sha256(data).digest() != bytes(row.digest):
        return "its bytes are not those of its digest"
    try:
        event = decode(data)
    except EventRefused as wrong:
        return f"its bytes are not an event: {wrong}"
    for column, says in _columns(event, log).items():
        if getattr(row, column) != says:
            stored = getattr(row, column)
            return f"its {column} is stored as {stored}, its bytes say {says}"
    before = None if row.before is None else bytes(row.before).hex()
    if event.previous != before:
        return "it does not follow the event before it in its trail"
    if row.before_at is not None and event.recorded_at < row.before_at:
        return "it is recorded at an earlier time than the event before it"
    if log == "events" and row.person not in _authors(event):
        return f"its person is stored as {row.person}, whom its bytes do not name"
    return _against_protocol(event, log)


def _columns(event: Event, log: str) -> dict[str, object]:
    """What the columns beside the bytes must say."""
    trail, _, about = event.subject.partition(":")
    says = {"subject": event.subject, "number": event.number, "recorded_at": event.recorded_at}
    if log == "reads":
        return {**says, "kit": event.get("kit")}
    kit = about if trail in _OF_KITS else None
    return {**says, "trail": trail, "kit": kit, "type": event.type}


def _authors(event: Event) -> set[str]:
    """Under whose names the key of the command can be kept: whoever signed; the card's kit; the clock."""
    who = event.values["who"]
    people = {str(each["person"]) for each in (who, *event.get("with", ())) if "person" in each}
    if who["function"] == "victim":
        people.add(event.subject.partition(":")[2])
    elif "person" not in who:
        people.add(str(who["function"]))
    return people


def _against_protocol(event: Event, log: str) -> str | None:
    step = STEPS.get(event.type)
    if step is None or step.trail != event.subject.partition(":")[0]:
        return f"the protocol has no {event.type} in this trail"
    if (step.trail is Trail.READS) != (log == "reads"):
        return f"{event.type} does not belong into this log"
    if lacking := sorted(name for name in step.needs if name not in event.values):
        return f"it lacks {lacking[0]}"
    if surplus := sorted(event.values.keys() - step.needs - step.may - set(ALWAYS)):
        return f"it states {surplus[0]}, which {event.type} does not"
    who, others = event.values["who"], event.get("with", ())
    people = {each.get("person") for each in (who, *others)} - {None}
    if step.people > 1 and len(people) < step.people:
        return f"{event.type} takes {step.people} people, and {len(people)} signed"
    return None


# --- over whole tables --------------------------------------------------------------------------

_COMMANDS: Final = text("""
SELECT min(subject) AS subject, min(number) AS number FROM custody.event
GROUP BY person, idempotency_key
HAVING min(ordinal) <> 0 OR max(ordinal) <> count(*) - 1 OR count(DISTINCT ordinal) <> count(*)
    OR count(DISTINCT command) > 1
ORDER BY 1, 2 LIMIT 1
""")

_CENTRES: Final = text("""
SELECT a.subject, a.number FROM custody.access a LEFT JOIN custody.kit k ON k.number = a.kit
WHERE a.centre IS DISTINCT FROM k.centre
  AND NOT (a.centre IS NULL AND coalesce(k.registered_at >= a.recorded_at, true))
ORDER BY 1, 2 LIMIT 1
""")

_ONCE: Final = (
    *(t.event, t.access, t.head, t.kit, t.package, t.data_key, t.private_part),
    *(audit_tables.leaf, audit_tables.checkpoint, audit_tables.padding),
    *(audit_tables.publication, audit_tables.cosignature),
)


async def whole(connection: AsyncConnection) -> str | None:
    """What no single row shows: rows that stand twice, commands not whole, whose kit was read."""
    for table in _ONCE:
        keys = [list(table.primary_key)]
        if table is audit_tables.leaf:
            keys.append([table.c.log, table.c.digest])
        for key in keys:
            twice = select(*key).group_by(*key).having(func.count() > 1).limit(1)
            row = (await connection.execute(twice)).first()
            if row is not None:
                return f"{described(table, row)} stands there twice."
    if (row := (await connection.execute(_COMMANDS)).first()) is not None:
        return (
            f"{row.subject} number {row.number}: the events of its command are not all there, in their order."
        )
    if (row := (await connection.execute(_CENTRES)).first()) is not None:
        return f"{row.subject} number {row.number}: its centre is not that of the kit that was read."
    return None
