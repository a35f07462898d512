"""Who looked: access records of a centre's kits, for its coordinators. Row-level security limits each query.

Looking here is itself on record, before anything is shown (:func:`custody.access.record`).
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final

from sqlalchemy import Boolean, ColumnElement, and_, literal_column, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from custody import tables as t
from custody.directory import CALENDAR, day_of
from custody.event import Event, decode
from custody.review import Around, Reading, reading_of, reviewed_by, unusual

PAGE: Final = 50
WINDOW: Final = timedelta(days=30)
MOST: Final = 20_000
"""Records of a window that are looked at. The busiest centre makes about a thousand a week."""

_ACTS: Final = text(
    "SELECT DISTINCT e.kit, p.person, (e.recorded_at AT TIME ZONE 'Europe/Brussels')::date AS day"
    " FROM custody.event e, LATERAL (VALUES (e.person),"
    " (convert_from(e.bytes, 'UTF8')::jsonb #>> '{who,person}')) p (person)"
    " WHERE e.kit = ANY (:kits) AND p.person IS NOT NULL"
)
_ENDED: Final = text(
    "SELECT number, document ->> 'released_at' AS released_at, document ->> 'disposed_at' AS disposed_at,"
    " document -> 'readers' AS readers, document ->> 'order' IS NOT NULL AS ordered"
    " FROM custody.known_kit WHERE number = ANY (:kits) AND relation = 'of_its_centre'"
)


_OWN: Final = text("SELECT * FROM custody.my_readings(:kit, :since)")
_EVENTS: Final = text(
    "SELECT bytes FROM custody.event WHERE subject = ANY (:subjects) AND recorded_at >= :since"
)
_PROPOSED: Final = text(
    "SELECT EXISTS (SELECT FROM custody.proposal WHERE kit = :kit AND signed_at IS NULL AND until > :at)"
)
_LEFT: Final = text(
    "SELECT EXISTS (SELECT FROM unnest(CAST(:people AS text[])) p WHERE NOT EXISTS ("
    " SELECT FROM custody.appointment a WHERE a.person = p AND (a.until IS NULL OR a.until >= :today)))"
)
_SAME: Final = text(
    "SELECT p FROM unnest(CAST(:people AS text[])) p"
    " WHERE custody.human(p) IS NOT DISTINCT FROM custody.human(:one)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which readings are asked for; None asks for all."""

    kit: str | None = None
    person: str | None = None
    day: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One reading as a coordinator sees it: why it stands out, and who reviewed it."""

    reading: Reading
    rules: tuple[str, ...] = ()
    review: Reading | None = None
    known: bool = True  # whether the coordinator may know of the kit; a restricted one names its readers

    @property
    def stands_out(self) -> bool:
        return bool(self.rules) and self.review is None


def _day_begins(day: date) -> datetime:
    return datetime.combine(day, time(), CALENDAR)


def _conditions(asked: Asked) -> list[ColumnElement[bool]]:
    a = t.access.c
    found: list[ColumnElement[bool]] = []
    if asked.kit is not None:
        found.append(a.kit == asked.kit)
    if asked.person is not None:
        found.append(a.subject == f"reads:{asked.person}")
    if asked.day is not None:
        found += [
            a.recorded_at >= _day_begins(asked.day),
            a.recorded_at < _day_begins(asked.day + timedelta(days=1)),
        ]
    return found


async def _records(
    connection: AsyncConnection, *conditions: ColumnElement[bool], limit: int = MOST
) -> list[Reading]:
    """Readings, newest first."""
    a = t.access.c
    query = select(a.bytes).where(a.centre.is_not(None), *conditions)
    rows = await connection.execute(query.order_by(a.recorded_at.desc(), a.digest).limit(limit))
    return [reading_of(decode(bytes(row[0]))) for row in rows]


async def newest(
    connection: AsyncConnection, asked: Asked, after: tuple[datetime, str] | None = None
) -> tuple[list[Looked], tuple[datetime, str] | None]:
    """A page of readings, newest first, and where the next one begins; None at the end."""
    a, conditions = t.access.c, _conditions(asked)
    if after is not None:
        at, digest = after
        later = and_(a.recorded_at == at, a.digest > bytes.fromhex(digest))
        conditions.append(or_(a.recorded_at < at, later))
    found = await _records(connection, *conditions, limit=PAGE + 1)
    shown = found[:PAGE]
    around = await _beside(connection, shown)
    looked = await judged(connection, around)
    place = (shown[-1].at, shown[-1].digest) if len(found) > PAGE else None
    by_digest = {each.reading.digest: each for each in looked}
    return [by_digest[each.digest] for each in shown], place


async def _beside(connection: AsyncConnection, shown: Sequence[Reading]) -> list[Reading]:
    """Everything that these people read on these days, for the rules that count."""
    a = t.access.c
    days = {(each.reader, each.day) for each in shown if each.person is not None}
    spans = [
        and_(
            a.subject == f"reads:{reader}",
            a.recorded_at >= _day_begins(day) - timedelta(hours=1),
            a.recorded_at < _day_begins(day + timedelta(days=1)),
        )
        for reader, day in sorted(days)
    ]
    more = await _records(connection, or_(*spans)) if spans else []
    return list({each.digest: each for each in (*more, *shown)}.values())


async def of_window(connection: AsyncConnection, since: datetime, asked: Asked | None = None) -> list[Looked]:
    """All readings since then, newest first; the rules see all, also what ``asked`` leaves out."""
    looked = await judged(connection, await _records(connection, t.access.c.recorded_at >= since))
    return [each for each in looked if asked is None or _matches(each.reading, asked)]


def _matches(reading: Reading, asked: Asked) -> bool:
    return (
        asked.kit in (None, reading.kit)
        and asked.person in (None, reading.person)
        and asked.day in (None, reading.day)
    )


async def judged(connection: AsyncConnection, readings: Sequence[Reading]) -> list[Looked]:
    """Each reading with the rules that mark it, and its review."""
    around, known = await _around(connection, {r.kit for r in readings if r.kit is not None})
    found = unusual(readings, around)
    reviews = await _reviews(connection, [r for r in readings if r.digest in found])
    return [
        Looked(
            reading=each,
            rules=found.get(each.digest, ()),
            review=reviews.get(each.digest),
            known=each.kit is None or each.kit in known,
        )
        for each in readings
    ]


async def _around(connection: AsyncConnection, kits: Collection[str]) -> tuple[Around, set[str]]:
    """What the rules ask about these kits, and which of them may be known of."""
    acts = await connection.execute(_ACTS, {"kits": sorted(kits)})
    ended, known, readers, ordered = {}, set(), {}, set()
    for row in await connection.execute(_ENDED, {"kits": sorted(kits)}):
        known.add(row.number)
        if row.readers:
            readers[row.number] = frozenset(row.readers)
        if row.ordered:
            ordered.add(row.number)
        for how, since in (("released", row.released_at), ("disposed", row.disposed_at)):
            if since is not None:
                ended[row.number] = (how, datetime.fromisoformat(since))
    worked = {(row.person, row.kit, row.day) for row in acts}
    return Around(acts=worked, ended=ended, readers=readers, ordered=ordered), known


async def knows(connection: AsyncConnection, kit: str) -> bool:
    """Whether this coordinator may know of the kit: what is not known has no readings either."""
    k = t.known_kit.c
    found = select(k.number).where(k.number == kit, k.relation == "of_its_centre")
    return await connection.scalar(found) is not None


async def _reviews(connection: AsyncConnection, marked: Iterable[Reading]) -> dict[str, Reading]:
    kits = sorted({each.kit for each in marked if each.kit is not None})
    if not kits:
        return {}
    a = t.access.c
    found = await _records(connection, a.kit.in_(kits), _IS_REVIEW)
    return reviewed_by(found)


# Bytes of records have one spelling, and a quotation mark within a value is escaped: these find exactly the
# field, and the second is the condition of an index.
_IS_REVIEW: Final = literal_column("""position('"read":"reading_reviewed"'::bytea IN bytes) > 0""", Boolean)
_IS_GLASS: Final = literal_column("""position('"read":"break_glass"'::bytea IN bytes) > 0""", Boolean)


async def broken_glass(connection: AsyncConnection) -> list[Looked]:
    """Every breaking of the glass at the own centre that nobody has reviewed yet, however long ago."""
    looked = await judged(connection, await _records(connection, _IS_GLASS))
    return [each for each in looked if each.review is None]


async def of_digest(connection: AsyncConnection, digest: str) -> Reading | None:
    """The reading with this record, if it is of a kit of the own centre."""
    found = await _records(connection, t.access.c.digest == bytes.fromhex(digest))
    return found[0] if found else None


# --- what a purpose is checked against --------------------------------------------------------------------


async def own(connection: AsyncConnection, kit: str, since: datetime) -> list[Event]:
    """The asker's own access records of one kit since then."""
    rows = await connection.execute(_OWN, {"kit": kit, "since": since})
    return [decode(bytes(row[0])) for row in rows]


async def events_since(connection: AsyncConnection, kit: str, since: datetime) -> list[Event]:
    """What was recorded on both trails of a kit since then, as far as the asker sees it."""
    subjects = [f"custody:{kit}", f"choices:{kit}"]
    rows = await connection.execute(_EVENTS, {"subjects": subjects, "since": since})
    return [decode(bytes(row[0])) for row in rows]


async def is_proposed(connection: AsyncConnection, kit: str, at: datetime) -> bool:
    """Whether a command on this kit waits for a second person."""
    return bool(await connection.scalar(_PROPOSED, {"kit": kit, "at": at}))


async def is_left(connection: AsyncConnection, people: Sequence[str], at: datetime) -> bool:
    """Whether one of these people holds no function any more."""
    return bool(await connection.scalar(_LEFT, {"people": list(people), "today": day_of(at)}))


async def is_reviewed(connection: AsyncConnection, reading: Reading) -> bool:
    return reading.digest in await _reviews(connection, [reading])


async def one_person(connection: AsyncConnection, one: str | None, other: str | None) -> bool:
    """Whether both names are of one person: people count, not entries."""
    same = text("SELECT custody.human(:one) IS NOT DISTINCT FROM custody.human(:other)")
    return bool(await connection.scalar(same, {"one": one, "other": other}))


async def same_person(connection: AsyncConnection, people: Collection[str], one: str | None) -> set[str]:
    """Which of these names are of the same person as ``one``: whose readings they cannot review."""
    rows = await connection.execute(_SAME, {"people": sorted(people), "one": one})
    return {str(row[0]) for row in rows}
