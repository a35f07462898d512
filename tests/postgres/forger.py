"""A superuser who has switched every guard off: triggers, event triggers, constraints. Nothing is kept."""

import re
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit import merkle, tile
from audit.checkpoint import Checkpoint
from audit.key import Signs, sign
from audit.recheck import Range
from custody.recheck import Outside, check

SCHEMAS: Final = ("audit", "custody", "retention", "desk")
PAIRS: Final = 4  # of neighbouring rows in a table

NAMED: Final = re.compile(
    r"[0-9A-HJKMNP-TV-Z]{12}x?:|(custody|choices|organisation|person|place|policy|request|log|reads):[\w.-]+"
    r"|[Ll]eaf \d+|Tile \d/\d+|\d+ leaves|^step \S+:|^The digest [0-9a-f]{64}|^The row of \S+ \("
)
"""A finding says of which kit or trail, which leaf or tile, or which size of the log."""

# Which rows are of one kind: of each, one is falsified.
KINDS: Final[Mapping[str, str]] = {
    "audit.leaf": "log || (SELECT count(*) FROM audit.padding p WHERE p.log = t.log AND p.index = t.index)",
    "audit.tile": "log || level",
    "audit.padding": "log",
    "audit.checkpoint": (
        "CASE WHEN size = (SELECT max(size) FROM audit.checkpoint c WHERE c.log = t.log) THEN 'last'"
        " WHEN size IN (SELECT p.size FROM audit.publication p WHERE p.log = t.log) THEN 'published'"
        " ELSE 'passing' END || ' ' || log"
    ),
    "audit.publication": "log",
    "audit.cosignature": "log",
    "audit.stamp": "log || number",
    "custody.event": "trail",
    "custody.head": "split_part(subject, ':', 1)",
    "custody.kit": "number",
    "custody.package": "kit || state",
    "custody.organisation": "kind",
    "custody.appointment": "(until IS NULL)::text",
    "custody.place": "(closed_at IS NULL)::text",
    "custody.reserved_number": "(used_at IS NULL)::text",
    "custody.access": "(kit IS NULL)::text",
    "custody.private_part": "kit",
}

CHANGED: Final[Mapping[str, str]] = {
    "text": "coalesce({c} || 'x', 'x')",
    "bytea": "set_byte({c}, length({c}) / 2, get_byte({c}, length({c}) / 2) # 1)",
    "bigint": "{c} + 1",
    "integer": "{c} + 1",
    "smallint": "{c} + 1",
    "boolean": "NOT {c}",
    "date": "CASE WHEN {c} IS NULL OR NOT isfinite({c}) THEN date '2026-01-01' ELSE {c} + 1 END",
    "timestamp with time zone": (
        "CASE WHEN {c} IS NULL OR NOT isfinite({c}) THEN timestamptz '2026-01-01'"
        " ELSE {c} + interval '1 hour' END"
    ),
    "jsonb": """{c} || '{{"altered": 1}}'""",
    "ARRAY": "array_append({c}, 'altered')",
}
"""By type, another value; of what is null, a value."""


@dataclass(frozen=True)
class Table:
    """A table as information_schema tells it: columns with their types, the primary key."""

    name: str
    columns: Mapping[str, str]
    nullable: frozenset[str]
    key: tuple[str, ...]

    @property
    def kind(self) -> str:
        return KINDS.get(self.name, "''")


@dataclass(frozen=True)
class Case:
    """One falsification: what it is called, and the statements that make it."""

    name: str
    statements: Sequence[tuple[str, Mapping[str, Any]]]


class Forger:
    """Falsifies inside one transaction, which is never committed."""

    def __init__(self, connection: AsyncConnection, outside: Outside, tables: Sequence[Table]) -> None:
        self.connection, self.outside, self.tables = connection, outside, tables

    async def found(self, case: Case) -> str | None:
        """What the check names after this falsification; nothing of it is left afterwards."""
        async with self.connection.begin_nested() as savepoint:
            for statement, values in case.statements:
                result = await self.connection.execute(text(statement), values)
                assert result.rowcount > 0, (case.name, statement)
            verdict = await check(self.connection, self.outside)
            await savepoint.rollback()
        return verdict.wrong

    async def missed(self, cases: Sequence[Case]) -> dict[str, str | None]:
        """The falsifications that were not found, or found without a word of where."""
        answers = {case.name: await self.found(case) for case in cases}
        return {name: told for name, told in answers.items() if told is None or not NAMED.search(told)}

    async def rows(self, table: Table) -> "list[Row]":
        """One row of each kind."""
        found = await self.connection.execute(
            text(
                "SELECT DISTINCT ON (kind) kind, at, told FROM (SELECT t.ctid::text AS at,"
                f" {table.kind} AS kind, to_jsonb(t) AS told FROM {table.name} t) rows ORDER BY kind, at DESC"
            )
        )
        return [Row(table, str(kind), str(at), told) for kind, at, told in found]

    async def neighbours(self, table: Table, bound: Collection[str]) -> "list[tuple[Row, Row]]":
        """Pairs of rows of which the contents differ in some `bound` column beside the key."""
        found = await self.connection.execute(
            text(f"SELECT ctid::text, to_jsonb(t) FROM {table.name} t ORDER BY t.ctid")
        )
        rows = [Row(table, str(number), str(at), told) for number, (at, told) in enumerate(found, 1)]
        differing = [c for c in table.columns if c in bound and c not in table.key]
        pairs = [
            (one, two)
            for one, two in pairwise(rows)
            if any(one.told[column] != two.told[column] for column in differing)
        ]
        return pairs[:: max(1, len(pairs) // PAIRS)][:PAIRS]

    async def run(self, statement: str, **values: Any) -> list[Any]:
        """What a statement answers, where it answers anything."""
        result = await self.connection.execute(text(statement), values)
        return list(result) if result.returns_rows else []

    async def rewrite(self, kit: str, was: str, becomes: str, keys: Sequence[Signs]) -> None:
        """Falsify a word in the custody trail of a kit, and make everything follow from it again: the chain,
        the head, the projection, the leaves, the tiles, and every checkpoint, signed with `keys`.

        What others have signed cannot be made again, so it is taken away.
        """
        subject = f"custody:{kit}"
        new: dict[str, str] = {}
        for digest, data in await self.run(
            "SELECT encode(digest, 'hex'), bytes FROM custody.event WHERE subject = :subject ORDER BY number",
            subject=subject,
        ):
            written = bytes(data).decode().replace(was, becomes)
            for before, after in new.items():
                written = written.replace(before, after)
            made = sha256(written.encode()).hexdigest()
            if made != digest:
                new[digest] = made
                await self.run(
                    "UPDATE custody.event SET digest = decode(:made, 'hex'), bytes = :data"
                    " WHERE digest = decode(:digest, 'hex')",
                    made=made,
                    data=written.encode(),
                    digest=digest,
                )
        assert new, f"{was} stands nowhere in the trail of {kit}"
        for before, after in new.items():
            for table in ("custody.head", "audit.leaf"):
                await self.run(
                    f"UPDATE {table} SET digest = decode(:after, 'hex')"
                    " WHERE digest = decode(:before, 'hex')",
                    before=before,
                    after=after,
                )
        for before, after in {**new, was: becomes}.items():
            await self.run(
                "UPDATE custody.kit SET document = replace(document::text, :before, :after)::jsonb"
                " WHERE number = :kit",
                before=before,
                after=after,
                kit=kit,
            )
        await self._grow_again()
        await self.resign(keys)
        for table in ("cosignature", "stamp"):
            await self.run(f"DELETE FROM audit.{table} WHERE log = 'events'")

    async def _grow_again(self) -> None:
        hashes = [merkle.leaf_hash(digest) for digest in await self._digests()]
        await self.run("DELETE FROM audit.tile WHERE log = 'events'")
        for place, made in tile.grow(0, {}, hashes).items():
            await self.run(
                "INSERT INTO audit.tile VALUES ('events', :level, :index, :hashes)",
                level=place.level,
                index=place.number,
                hashes=made,
            )

    async def _digests(self) -> list[bytes]:
        rows = await self.run("SELECT digest FROM audit.leaf WHERE log = 'events' ORDER BY index")
        return [bytes(digest) for (digest,) in rows]

    async def resign(self, keys: Sequence[Signs]) -> None:
        """Every checkpoint of the log of events over the leaves as they are now, signed with `keys`."""
        digests = await self._digests()
        for (size,) in await self.run("SELECT size FROM audit.checkpoint WHERE log = 'events'"):
            grown = Range()
            for digest in digests[:size]:
                grown.add(merkle.leaf_hash(digest))
            stated = Checkpoint(keys[0].verifier.name, size, grown.root())
            await self.run(
                "UPDATE audit.checkpoint SET root = :root, note = :note"
                " WHERE log = 'events' AND size = :size",
                root=stated.root,
                note=sign(stated, keys, 1).written().decode(),
                size=size,
            )


@dataclass(frozen=True)
class Row:
    """A row: of which kind, where it lies (ctid), and what it says."""

    table: Table
    kind: str
    at: str
    told: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.table.name} [{self.kind}]"

    def altered(self, column: str) -> Iterator[Case]:
        """Another value in one column, and none at all where it may be without."""
        value = CHANGED[self.table.columns[column]].format(c=f'"{column}"')
        ways = {"altered": value}
        if column in self.table.nullable and self.told[column] is not None:
            ways["emptied"] = "NULL"
        for way, written in ways.items():
            changed = f'UPDATE {self.table.name} SET "{column}" = {written} WHERE ctid = CAST(:at AS tid)'
            yield Case(f"{self.name} {column} {way}", [(changed, {"at": self.at})])

    def removed(self) -> Case:
        return Case(
            f"{self.name} removed",
            [(f"DELETE FROM {self.table.name} WHERE ctid = CAST(:at AS tid)", {"at": self.at})],
        )

    def doubled(self) -> Iterator[Case]:
        """The same row once more, and one like it under another key."""
        columns = ", ".join(f'"{column}"' for column in self.table.columns)
        key = (self.table.key or ("digest",))[-1]
        other = CHANGED[self.table.columns[key]].format(c=f'"{key}"')
        foreign = ", ".join(other if column == key else f'"{column}"' for column in self.table.columns)
        row = f"FROM {self.table.name} WHERE ctid = CAST(:at AS tid)"
        for way, read in (("doubled", columns), ("put under another key", foreign)):
            put = f"INSERT INTO {self.table.name} ({columns}) SELECT {read} {row}"
            yield Case(f"{self.name} {way}", [(put, {"at": self.at})])

    def swapped(self, other: "Row") -> Case:
        """The contents of two rows under each other's keys."""
        rest = [column for column in self.table.columns if column not in self.table.key]
        taken = ", ".join(f'"{column}" = s."{column}"' for column in rest)
        swap = (
            f"UPDATE {self.table.name} t SET {taken} FROM {self.table.name} s"
            " WHERE (t.ctid = CAST(:one AS tid) AND s.ctid = CAST(:two AS tid))"
            " OR (t.ctid = CAST(:two AS tid) AND s.ctid = CAST(:one AS tid))"
        )
        return Case(f"{self.name} swapped with [{other.kind}]", [(swap, {"one": self.at, "two": other.at})])


@asynccontextmanager
async def forging(engine: AsyncEngine, outside: Outside) -> AsyncIterator[Forger]:
    """A superuser's transaction in which nothing guards the tables any more; rolled back at the end."""
    async with engine.connect() as connection:
        await connection.execute(text("SET LOCAL custody.maintenance = 'on'"))
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        for (name,) in (await connection.execute(text("SELECT evtname FROM pg_event_trigger"))).all():
            await connection.execute(text(f"ALTER EVENT TRIGGER {name} DISABLE"))
        tables = await _tables(connection)
        for table in tables:
            await connection.execute(text(f"ALTER TABLE {table.name} DISABLE TRIGGER ALL"))
        constraints = await connection.execute(
            text(
                "SELECT conrelid::regclass::text, conname FROM pg_constraint"
                " WHERE connamespace::regnamespace::text = ANY (:schemas)"
                " AND contype IN ('f', 'c', 'u', 'p') ORDER BY contype = 'f' DESC"
            ),
            {"schemas": list(SCHEMAS)},
        )
        for name, constraint in constraints.all():
            await connection.execute(text(f"ALTER TABLE {name} DROP CONSTRAINT {constraint}"))
        unique = await connection.execute(
            text(
                "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class c ON c.oid = indrelid"
                " WHERE indisunique AND c.relnamespace::regnamespace::text = ANY (:schemas)"
            ),
            {"schemas": list(SCHEMAS)},
        )
        for (name,) in unique.all():
            await connection.execute(text(f"DROP INDEX {name}"))
        yield Forger(connection, outside, tables)
        await connection.rollback()


async def _tables(connection: AsyncConnection) -> list[Table]:
    columns = await connection.execute(
        text(
            "SELECT table_schema || '.' || table_name, column_name, data_type, is_nullable = 'YES'"
            " FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)"
            " WHERE table_schema = ANY (:schemas) AND table_type = 'BASE TABLE' ORDER BY 1, ordinal_position"
        ),
        {"schemas": list(SCHEMAS)},
    )
    keys = await connection.execute(
        text(
            "SELECT t.table_schema || '.' || t.table_name, k.column_name"
            " FROM information_schema.table_constraints t JOIN information_schema.key_column_usage k"
            " USING (constraint_schema, constraint_name) WHERE t.constraint_type = 'PRIMARY KEY'"
            " AND t.table_schema = ANY (:schemas) ORDER BY 1, k.ordinal_position"
        ),
        {"schemas": list(SCHEMAS)},
    )
    types: dict[str, dict[str, str]] = {}
    nullable: dict[str, set[str]] = {}
    for table, column, kind, may_be_null in columns:
        types.setdefault(table, {})[column] = kind
        nullable.setdefault(table, set()).update({column} if may_be_null else ())
    key: dict[str, list[str]] = {}
    for table, column in keys:
        key.setdefault(table, []).append(column)
    return [
        Table(name, columns, frozenset(nullable[name]), tuple(key.get(name, ())))
        for name, columns in types.items()
    ]
