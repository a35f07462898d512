"""The projection rebuilt from the trails and compared with the stored one.

Events are the truth. Everything the service decides from (a kit's document, the columns that PostgreSQL
guards, the packages, what stands beside the events, the heads, the registers) must follow from their exact
bytes. Nothing is changed here; each difference is named.

Not compared, because it is not made of the kit's own events: a kit's copy of its centre's unanswered
requests while a disposal is prepared and not yet carried out.
"""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, case, cast, literal, select, text, union
from sqlalchemy.dialects.postgresql import DATE, TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.recheck import Progress
from custody import beside, registers
from custody import tables as t
from custody.beside import Opening
from custody.difference import Difference, differs
from custody.event import ALWAYS, Event, EventRefused, decode
from custody.kit import Kit, to_document
from custody.protocol import Custody, Legal, Retention, Trail
from custody.trail import NotAStep, after

AT_ONCE: Final = 200  # kits read and rebuilt at a time
MOST_TRIES: Final = 200_000  # steps tried for one kit before giving up

_KEPT_OUT: Final = frozenset({"police", "prosecutor", "registry"})  # know of no kit before its link
_NO_LONGER_HELD: Final = frozenset(
    {Custody.SPLIT, Custody.JOINED, Custody.DESTROYED, Custody.RETURNED, Custody.VOID}
)


class NotRebuilt(ValueError):
    """No order of the two trails follows the protocol; the message names the event where it ends."""


# --- one order out of two trails ------------------------------------------------------------


@dataclass(slots=True)
class _Reached:
    """How far one order has come: so many events of each trail, the kit then, and what may come next."""

    custody: int
    choices: int
    kit: Kit | None
    next: list[Event]
    event: Event | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """Everything on which it depends whether a next step is possible, but for the trails themselves."""
        kit = self.kit
        state = None if kit is None else (kit.legal, kit.retention, kit.disposal is None)
        return self.custody, self.choices, state


@dataclass(slots=True)
class _Search:
    """Depth first, earlier recorded first, custody before choices at the same time; dead ends once."""

    custody: Sequence[Event]
    choices: Sequence[Event]
    dead: set[tuple[object, ...]] = field(default_factory=set)
    furthest: tuple[int, str] = (-1, "there are no events")

    def reached(self, custody: int, choices: int, kit: Kit | None, event: Event | None = None) -> _Reached:
        heads = [*self.custody[custody : custody + 1], *self.choices[choices : choices + 1]]
        heads.sort(key=lambda each: str(each.values["recorded_at"]))  # stable: custody first on a tie
        return _Reached(custody, choices, kit, heads, event)

    def run(self) -> list[_Reached]:
        path = [self.reached(0, 0, None)]
        for _ in range(MOST_TRIES):
            now = path[-1]
            if now.custody == len(self.custody) and now.choices == len(self.choices):
                return path
            if not now.next:
                self.dead.add(now.key)
                path.pop()
                if not path:
                    raise NotRebuilt(self.furthest[1])
                continue
            event = now.next.pop(0)
            if further := self.step(now, event):
                path.append(further)
        raise NotRebuilt(f"no order of the events was found in {MOST_TRIES} steps; {self.furthest[1]}")

    def step(self, now: _Reached, event: Event) -> _Reached | None:
        in_custody = event.subject.startswith(Trail.CUSTODY)
        try:
            kit = after(now.kit, event, recorded=True)
        except (NotAStep, LookupError, TypeError, ValueError, AttributeError) as wrong:
            depth = now.custody + now.choices
            if depth > self.furthest[0]:
                told = f"{event.subject} number {event.number} ({event.type}) cannot follow: {wrong}"
                self.furthest = (depth, told)
            return None
        further = self.reached(now.custody + in_custody, now.choices + (not in_custody), kit, event)
        return None if further.key in self.dead else further


def merge(custody_events: Sequence[Event], choices_events: Sequence[Event]) -> list[Event]:
    """Both trails of one kit in the order in which they were recorded.

    The order is that of ``recorded_at``. Events of one append bear the same time; among those, and where a
    clock was set back, the order is the first that the protocol accepts. Raises NotRebuilt where none is.
    """
    path = _Search(custody_events, choices_events).run()
    return [reached.event for reached in path if reached.event is not None]


def rebuilt(custody_events: Sequence[Event], choices_events: Sequence[Event]) -> Kit:
    """The kit as its trails say it stands. Raises NotRebuilt."""
    kit = _Search(custody_events, choices_events).run()[-1].kit
    if kit is None:
        raise NotRebuilt("there are no events")
    return kit


# --- what the columns beside the document must say --------------------------------------------


def parties(kit: Kit, kinds: Mapping[str, str]) -> list[str]:
    """Which organisations besides the centre may know of the kit, by their kinds (``custody.parties``)."""
    linked = kit.legal in (Legal.LINKED, Legal.RELEASED)
    found: set[str | None] = set()
    for package in kit.packages.values():
        if package.holder is not None and package.state not in _NO_LONGER_HELD:
            found.add(package.holder.organisation)
        offer = kit.handovers.get(package.handover or "")
        if package.state is Custody.IN_TRANSIT and offer is not None:
            found.add(offer.receiver.organisation)
    if linked and kit.link is not None:
        found |= {kit.link.office, kit.link.zone}
    return sorted(o for o, kind in kinds.items() if o in found and (linked or kind not in _KEPT_OUT))


def kit_columns(kit: Kit, kinds: Mapping[str, str]) -> dict[str, Any]:
    """The row of ``custody.kit`` for this projection; None stands for *infinity* where no term is set."""
    return {
        "centre": kit.centre,
        "legal": str(kit.legal),
        "retention": str(kit.retention),
        "holds": len(kit.holds),
        "in_transit": kit.in_transit,
        "destroyed": sum(p.state is Custody.DESTROYED for p in kit.packages.values()),
        "notice_on": kit.term.notice_on if kit.term else None,
        "term_over_at": kit.term.over_at if kit.term else None,
        "cooling_until": kit.destruction.until if kit.destruction else None,
        "disposed_at": kit.disposed_at,
        "registered_at": kit.registered_at,
        "parties": parties(kit, kinds),
        "readers": list(kit.readers) or None,
        "expires_at": kit.expires_at,
        "remind_on": kit.remind_on,
        "key_destroyed_at": kit.key_destroyed_at,
    }


def package_columns(kit: Kit) -> dict[int, dict[str, Any]]:
    """The rows of ``custody.package`` for this projection."""
    rows = {}
    for number, package in kit.packages.items():
        offer = kit.handovers.get(package.handover or "")
        rows[number] = {
            "state": str(package.state),
            "storage": package.storage,
            "holder_person": package.holder.person if package.holder else None,
            "holder_organisation": package.holder.organisation if package.holder else None,
            "receiver_person": offer.receiver.person if offer else None,
            "receiver_organisation": offer.receiver.organisation if offer else None,
            "place": package.place.id if package.place else None,
            "handover": package.handover,
            "due_at": offer.due_at if offer else None,
            "since": package.since,
        }
    return rows


def _paths(stored: Any, made: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON documents differ, as deep as both still have the same form."""
    if isinstance(stored, dict) and isinstance(made, dict):
        for key in sorted(stored.keys() | made.keys()):
            yield from _paths(stored.get(key), made.get(key), f"{path}.{key}")
    elif isinstance(stored, list) and isinstance(made, list) and len(stored) == len(made):
        for at, (one, two) in enumerate(zip(stored, made, strict=True), 1):
            yield from _paths(one, two, f"{path}[{at}]")
    elif stored != made:
        yield path, stored, made


# --- the comparison ---------------------------------------------------------------------------


async def check(where: AsyncEngine | AsyncConnection, progress: Progress | None = None) -> list[Difference]:
    """Rebuild every kit from its trails' bytes and compare; answers what differs, nothing where all is well.

    Needs a role that sees every kit (custody_clerk). All is read from one snapshot, which stays open
    meanwhile; given a connection, it is that of its transaction.
    """
    found: list[Difference] = []
    async with snapshot(where) as connection:
        numbers = await kit_numbers(connection)
        kinds = await kinds_of(connection)
        for at in range(0, len(numbers), AT_ONCE):
            found += await compare(connection, numbers[at : at + AT_ONCE], kinds, Opening())
            if progress is not None:
                progress(min(at + AT_ONCE, len(numbers)), len(numbers))
        found += await heads(connection)
        found += await registers.check(connection)
    return found


async def kinds_of(connection: AsyncConnection) -> dict[str, str]:
    """Every organisation and its kind."""
    rows = await connection.execute(select(t.organisation.c.id, t.organisation.c.kind))
    return {row.id: row.kind for row in rows}


@asynccontextmanager
async def snapshot(where: AsyncEngine | AsyncConnection) -> AsyncIterator[AsyncConnection]:
    if isinstance(where, AsyncConnection):
        yield where
        return
    options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    async with where.execution_options(**options).connect() as connection:
        yield connection


async def kit_numbers(connection: AsyncConnection) -> list[str]:
    """Every number under which anything of a kit is stored."""
    of_events = select(t.event.c.kit).where(t.event.c.kit.is_not(None))
    of_others = (select(table.c.kit) for table in (t.package, t.data_key, t.private_part, t.card))
    numbers = await connection.scalars(union(select(t.kit.c.number), of_events, *of_others))
    return sorted(str(number) for number in numbers)


async def compare(
    connection: AsyncConnection,
    numbers: Sequence[str],
    kinds: Mapping[str, str],
    opening: Opening,
    *,
    read: Callable[[bytes], Event] = decode,
) -> list[Difference]:
    """Rebuild these kits and compare them; ``kinds``: :func:`kinds_of`.

    ``read``: :func:`reread` where every event's spelling was looked at before, which takes half the time.
    """
    found: list[Difference] = []
    trails: defaultdict[str, dict[str, list[Event]]]
    trails = defaultdict(lambda: {str(Trail.CUSTODY): [], str(Trail.CHOICES): []})
    rows = await connection.execute(
        select(t.event).where(t.event.c.kit.in_(numbers)).order_by(t.event.c.subject, t.event.c.number)
    )
    unread = set()
    for row in rows.mappings():
        try:
            event = read(bytes(row["bytes"]))
        except EventRefused as wrong:
            unread.add(row["kit"])
            found.append(Difference(subject=row["subject"], column="event.bytes", words=str(wrong)))
            continue
        found += _event_columns(row, event)
        trails[row["kit"]].setdefault(row["trail"], []).append(event)
    kits = {row["number"]: row for row in await _kit_rows(connection, numbers)}
    packages: defaultdict[str, dict[int, RowMapping]] = defaultdict(dict)
    for row in (await connection.execute(select(t.package).where(t.package.c.kit.in_(numbers)))).mappings():
        packages[row["kit"]][row["package"]] = row
    aside = await beside.read(connection, numbers)
    for number in numbers:
        if number in unread:
            continue
        kit = _kit(number, trails[number])
        if isinstance(kit, Difference):
            found.append(kit)
            continue
        found += _compare_kit(kit, trails[number], kits.get(number), packages[number], kinds)
        events = [*trails[number][Trail.CUSTODY], *trails[number][Trail.CHOICES]]
        found += beside.compare(kit, events, aside, opening)
    return found


def reread(data: bytes) -> Event:
    """The event of bytes that ``decode`` has read before. Raises EventRefused where they cannot be that."""
    try:
        values = json.loads(data)
    except ValueError as error:
        raise EventRefused("these bytes are not an event") from error
    if not isinstance(values, dict) or not values.keys() >= set(ALWAYS):
        raise EventRefused("these bytes are not an event")
    return Event(bytes=data, values=values)


def _kit(number: str, trails: Mapping[str, Sequence[Event]]) -> Kit | Difference:
    try:
        return rebuilt(trails[Trail.CUSTODY], trails[Trail.CHOICES])
    except NotRebuilt as wrong:
        return Difference(subject=number, column="trail", words=str(wrong))


def _event_columns(row: RowMapping, event: Event) -> Iterator[Difference]:
    trail, _, kit = event.subject.partition(":")
    says = {
        "digest": bytes.fromhex(event.digest),
        "subject": event.subject,
        "number": event.number,
        "trail": trail,
        "kit": kit,
        "type": event.type,
        "recorded_at": event.recorded_at,
    }
    for column, value in says.items():
        if row[column] != value:
            yield differs(row["subject"], f"event.{column} of number {row['number']}", row[column], value)


def _compare_kit(
    kit: Kit,
    trails: Mapping[str, Sequence[Event]],
    row: RowMapping | None,
    packages: Mapping[int, RowMapping],
    kinds: Mapping[str, str],
) -> Iterator[Difference]:
    number = kit.number
    if row is None:
        yield Difference(subject=number, column="kit", words="it has events and no row")
        return
    made = to_document(kit)
    if row["document"] != made:
        for path, stored, says in _paths(row["document"], made, "document"):
            yield differs(number, f"kit.{path}", stored, says)
    columns = kit_columns(kit, kinds)
    prepared = any(event.type.startswith("disposal.") for event in trails[Trail.CHOICES])
    if kit.retention is Retention.DISPOSED or not prepared:
        columns["unanswered_requests"] = 0
    for column, value in columns.items():
        if row[column] != value:
            yield differs(number, f"kit.{column}", row[column], value)
    rows = package_columns(kit)
    for package in sorted(rows.keys() | packages.keys()):
        if package not in rows or package not in packages:
            there = "stored" if package in packages else "in the events"
            words = f"it stands only {there}"
            yield Difference(subject=number, column=f"package {package}", words=words)
            continue
        for column, value in rows[package].items():
            if packages[package][column] != value:
                yield differs(number, f"package {package}.{column}", packages[package][column], value)


async def _kit_rows(connection: AsyncConnection, numbers: Sequence[str]) -> Sequence[RowMapping]:
    """The rows, with *infinity*, which Python has no date for, as None."""

    def finite(column: ColumnElement[Any], kind: Any) -> ColumnElement[Any]:
        return case((column == cast(literal("infinity"), kind), None), else_=column).label(column.key)

    k = t.kit.c
    plain = [column for column in k if column.key not in ("notice_on", "term_over_at")]
    rows = await connection.execute(
        select(*plain, finite(k.notice_on, DATE), finite(k.term_over_at, TIMESTAMP(timezone=True))).where(
            k.number.in_(numbers)
        )
    )
    return rows.mappings().all()


async def heads(connection: AsyncConnection) -> list[Difference]:
    """Every trail's head, kits' or not, is its last event; every trail is numbered from 1 without a gap."""
    rows = await connection.execute(
        text("""
        WITH every AS (
            SELECT subject, number, digest, recorded_at FROM custody.event
            UNION ALL SELECT subject, number, digest, recorded_at FROM custody.access
        ), last AS (
            SELECT DISTINCT ON (subject) subject, number, digest, recorded_at,
                   count(*) OVER (PARTITION BY subject) AS events
            FROM every ORDER BY subject, number DESC
        )
        SELECT coalesce(h.subject, l.subject) AS subject, h.number AS stored, l.number AS says,
               l.events IS DISTINCT FROM l.number AS gap
        FROM custody.head h FULL JOIN last l ON l.subject = h.subject
        WHERE (l.subject IS NULL AND h.number > 0)
           OR (l.subject IS NOT NULL AND (
               (h.number, h.digest, h.recorded_at) IS DISTINCT FROM (l.number, l.digest, l.recorded_at)
               OR l.events <> l.number))
        ORDER BY 1
        """)
    )
    found = []
    for row in rows:
        if row.gap and row.says is not None:
            found.append(Difference(subject=row.subject, column="number", words="an event is missing"))
        else:
            words = f"number {row.stored} stands there, the last event is number {row.says}"
            found.append(Difference(subject=row.subject, column="head", words=words))
    return found
