"""Everything that is stored, derived anew from the bytes of the events: what ``custody log check`` does.

In this order, and the first thing that is wrong is named: each log by its leaves (what a leaf is the digest
of, the one spelling, the columns beside the bytes, the chain of its trail; tiles, roots, signatures), records
without a leaf, heads, registers, what left the house, and last every kit with its packages, cards and private
parts.

All of it is read from one snapshot. An interrupted check goes on from its :class:`Position`: at the leaf and
at the kit that it had come to, and again at every kit that has an event since. What it does not look at a
second time is said in the :class:`Verdict`.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit import outgoing
from audit import tables as audit_tables
from audit.key import VerifierKey
from audit.recheck import Range, Recheck, origins
from custody import rebuild, records, registers
from custody import tables as t
from custody.beside import Opening
from custody.event import EventRefused, decode, read_moment, write_moment
from custody.ledger import Masters

LOGS: Final = tuple(records.SOURCES)
KEPT_EVERY: Final = 10  # pages of kits between two positions

Told = Callable[[str, int, int], None]
"""Told what is looked at, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What is at hand outside the database, and is believed: public keys and last signed note of each log,
    the keys of witnesses, root certificates of time stamps (PEM), master keys. What is absent is said."""

    keys: Mapping[str, Sequence[VerifierKey]] = field(default_factory=dict)
    notes: Mapping[str, bytes] = field(default_factory=dict)
    witnesses: Sequence[VerifierKey] = ()
    roots: bytes | None = None
    masters: Masters | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a check has come. It began at ``began``.

    ``leaves``: by log, how many leaves were looked at, and the hashes over them (`audit.recheck.Range`).
    ``signed``: by log, size and root of the largest checkpoint that was seen to hold, if there was one.
    ``kits``: the last kit compared, in the order of their numbers, of those with events among the first
    ``known`` leaves; empty before the first.
    """

    began: datetime
    leaves: Mapping[str, tuple[int, tuple[bytes, ...]]] = field(default_factory=dict)
    signed: Mapping[str, tuple[int, bytes]] = field(default_factory=dict)
    kits: str = ""
    known: int = 0

    def written(self) -> str:
        """As JSON; the inverse of :meth:`read`."""
        plain = {
            "format": 1,
            "began": write_moment(self.began),
            "leaves": {log: [size, [p.hex() for p in peaks]] for log, (size, peaks) in self.leaves.items()},
            "signed": {log: [size, root.hex()] for log, (size, root) in self.signed.items()},
            "kits": self.kits,
            "known": self.known,
        }
        return json.dumps(plain, sort_keys=True) + "\n"

    @classmethod
    def read(cls, written: str) -> "Position":
        """Raises ValueError for anything but what :meth:`written` writes."""
        try:
            plain = json.loads(written)
            read = cls(
                began=read_moment(plain["began"]),
                leaves={
                    log: (size, tuple(bytes.fromhex(peak) for peak in peaks))
                    for log, (size, peaks) in plain["leaves"].items()
                },
                signed={log: (size, bytes.fromhex(root)) for log, (size, root) in plain["signed"].items()},
                kits=plain["kits"],
                known=plain["known"],
            )
            for size, peaks in read.leaves.values():
                Range(size, peaks)
            if read.written() != written:
                raise ValueError("it is written otherwise")
        except (LookupError, TypeError, AttributeError, RecursionError) as wrong:
            raise ValueError(f"this is not a position of a check ({type(wrong).__name__})") from wrong
        return read


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``wrong``: the first thing that is, or None. ``remarks``: what was not looked at, and why."""

    wrong: str | None
    remarks: tuple[str, ...] = ()


async def check(
    where: AsyncEngine | AsyncConnection,
    outside: Outside,
    *,
    position: Position | None = None,
    told: Told | None = None,
    kept: Callable[[Position], None] | None = None,
) -> Verdict:
    """Derive everything anew, from ``position`` on, and name the first thing that is wrong.

    ``kept`` is told how far the check has come, again and again. Needs the role custody_clerk; given a
    connection, what is read is what its transaction sees.
    """
    async with rebuild.snapshot(where) as connection:
        await connection.execute(text("SET LOCAL jit = off"))  # it would take longer than what it speeds up
        at = await connection.scalar(select(text("clock_timestamp()")))
        run = _Run(connection, outside, Position(began=at), told or _silent, kept or _forget)
        if position is not None:
            await run.go_on(position)
        wrong = await run.all()
        return Verdict(wrong=wrong, remarks=tuple(run.remarks))


def _silent(stage: str, done: int, total: int) -> None:
    """Nobody watches."""


def _forget(position: Position) -> None:
    """Nobody keeps it."""


@dataclass
class _Run:
    connection: AsyncConnection
    outside: Outside
    position: Position
    told: Told
    kept: Callable[[Position], None]
    remarks: list[str] = field(default_factory=list)

    async def go_on(self, position: Position) -> None:
        """Begin at this position, if it is one of this database, and say what is not looked at again."""
        c = audit_tables.checkpoint.c
        for log, (size, root) in position.signed.items():
            stored = await self.connection.scalar(select(c.root).where(c.log == log, c.size == size))
            if stored is None or bytes(stored) != root:
                self.remarks.append(
                    "The position of an interrupted check was of another state of the database and was not"
                    " used: this check began at the first leaf."
                )
                return
        self.position = position
        done = [
            f"the first {size} leaves of the log {log}" for log, (size, _) in position.leaves.items() if size
        ]
        if position.kits:
            done.append(f"the kits up to {position.kits}")
        if done:
            self.remarks.append(
                f"Not looked at again: {' and '.join(done)}, which a check of"
                f" {position.began:%d %B %Y %H:%M} UTC had found in order before it was interrupted."
                " custody log check --afresh looks at everything at once."
            )

    async def all(self) -> str | None:
        if wrong := await outgoing.strays(self.connection, LOGS):
            return wrong
        for log in LOGS:
            if wrong := await self.log(log):
                return wrong
        for log in LOGS:
            if wrong := await records.without_leaf(self.connection, log):
                return wrong
        if wrong := await self.epochs() or await records.whole(self.connection):
            return wrong
        self.told("heads and registers", 0, 1)
        differences = await rebuild.heads(self.connection) + await registers.check(self.connection)
        if differences:
            return f"{differences[0]}."
        self.told("heads and registers", 1, 1)
        for log in LOGS:
            if wrong := await self.outgoing(log):
                return wrong
        return await self.kits()

    async def log(self, log: str) -> str | None:
        """One log by its leaves."""

        async def recorded(first: int, digests: Sequence[bytes], padded: Collection[int]) -> str | None:
            return await records.leaves(self.connection, log, first, digests, padded)

        keys = self.outside.keys.get(log)
        if keys is None:
            self.remarks.append(f"No public key of the log {log} is at hand: its signatures are not checked.")
        if log not in self.outside.notes:
            self.remarks.append(
                f"No last signed note of the log {log} is at hand: a database taken back would not show."
            )
        return await Recheck(
            connection=self.connection,
            log=log,
            keys=keys,
            note=self.outside.notes.get(log),
            reached=Range(*self.position.leaves.get(log, (0, ()))),
            records=recorded,
            progress=lambda done, total: self.told(f"leaves of the log {log}", done, total),
            kept=lambda reached, signed: self.reached(log, reached, signed),
        ).run()

    def reached(self, log: str, reached: Range, signed_last: tuple[int, bytes] | None) -> None:
        leaves = {**self.position.leaves, log: (reached.size, reached.peaks)}
        signed = {**self.position.signed} | ({} if signed_last is None else {log: signed_last})
        self.position = replace(self.position, leaves=leaves, signed=signed)
        self.kept(self.position)

    async def epochs(self) -> str | None:
        """A log goes on under another name only where an event says so (``log.recovered``)."""
        recovered: set[tuple[str, str]] = set()
        query = select(t.event.c.bytes).where(t.event.c.type == "log.recovered")
        for data in await self.connection.scalars(query):
            try:
                event = decode(bytes(data))
            except EventRefused as wrong:
                return f"An event log.recovered cannot be read: {wrong}."
            log = event.get("log")["name"]
            recovered |= {(log, str(vkey).partition("+")[0]) for vkey in event.get("vkeys")}
        for log in LOGS:
            for origin, first, _ in (await origins(self.connection, log))[1:]:
                if (log, origin) not in recovered:
                    return (
                        f"The log {log} is signed as {origin} from {first} leaves on, and no event says that"
                        " it was recovered under that name."
                    )
        return None

    async def outgoing(self, log: str) -> str | None:
        found = await outgoing.check(self.connection, log, self.outside.witnesses, self.outside.roots)
        if found.cosignatures_unchecked:
            self.remarks.append(
                f"{found.cosignatures_unchecked} cosignatures of the log {log} were not checked: the keys of"
                " those witnesses are not at hand."
            )
        if found.stamps_unchecked:
            self.remarks.append(
                f"{found.stamps_unchecked} time stamps of the log {log} were not checked: no root"
                " certificates are at hand."
            )
        return found.wrong

    async def kits(self) -> str | None:
        """Every kit, those that were compared before and have no new event left out."""
        numbers = await rebuild.kit_numbers(self.connection)
        again = await self._moved()
        before = self.position.kits
        waiting = [number for number in numbers if number > before or number in again]
        known = self.position.known if before else self.position.leaves.get("events", (0, ()))[0]
        kinds = await rebuild.kinds_of(self.connection)
        opening = Opening(self.outside.masters)
        for page, at in enumerate(range(0, len(waiting), rebuild.AT_ONCE), 1):
            some = waiting[at : at + rebuild.AT_ONCE]
            differences = await rebuild.compare(self.connection, some, kinds, opening, read=rebuild.reread)
            if differences:
                return f"{differences[0]}."
            self.told("kits", len(numbers) - len(waiting) + at + len(some), len(numbers))
            if some[-1] > before and page % KEPT_EVERY == 0:
                self.position = replace(self.position, kits=some[-1], known=known)
                self.kept(self.position)
        for centre, parts in sorted(opening.unopened.items()):
            self.remarks.append(
                f"{parts} private parts of {centre} were not opened: its master key is not at hand."
            )
        return None

    async def _moved(self) -> set[str]:
        """The kits with an event that no leaf had, when the kits before the position were compared."""
        if not self.position.kits:
            return set()
        rows = await self.connection.scalars(
            text("""
            SELECT DISTINCT e.kit FROM custody.event e
            LEFT JOIN audit.leaf l ON l.log = 'events' AND l.digest = e.digest
            WHERE e.kit IS NOT NULL AND (l.index IS NULL OR l.index >= :known)
            """),
            {"known": self.position.known},
        )
        return {str(kit) for kit in rows}
