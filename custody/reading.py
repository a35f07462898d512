"""Queries: what people and the desk ask for. Each runs in a transaction that row-level security limits.

Kits are read from the view ``custody.known_kit``: as much of each as this person may know.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import RowMapping, Select, and_, cast, exists, func, literal, or_, select, text
from sqlalchemy.dialects.postgresql import JSONPATH
from sqlalchemy.ext.asyncio import AsyncConnection

from custody import tables as t
from custody.directory import Appointment, Directory, OpenPlace, Organisation, day_of
from custody.event import Event, decode
from custody.kit import Kit, from_document
from custody.people import Actor, Function, OrganisationKind
from custody.protocol import Custody, Legal, Retention, Trail

PAGE: Final = 50


async def now(connection: AsyncConnection) -> datetime:
    """The database's clock: the only time there is."""
    at = await connection.scalar(select(func.custody.clock()))
    if not isinstance(at, datetime):
        raise TypeError("the clock gave no time")
    return at


async def directory(connection: AsyncConnection) -> Directory:
    """Organisations, open places and the people who hold a function today."""
    today = day_of(await now(connection))
    organisations = await connection.execute(
        select(t.organisation.c.id, t.organisation.c.kind, t.organisation.c.name)
    )
    places = await connection.execute(select(t.place).where(t.place.c.closed_at.is_(None)))
    entry = t.person.c
    twice = await connection.execute(
        select(entry.id, entry.merged_into).where(entry.merged_into.is_not(None))
    )
    return Directory(
        organisations={
            o.id: Organisation(id=o.id, kind=OrganisationKind(o.kind), name=o.name) for o in organisations
        },
        places={
            p.id: OpenPlace(id=p.id, organisation=p.organisation, name=p.name, storage=p.storage)
            for p in places
        },
        appointments=await appointments(connection, today),
        merged={each.id: each.merged_into for each in twice},
    )


async def appointments(
    connection: AsyncConnection, today: date, person: str | None = None
) -> tuple[Appointment, ...]:
    """Functions held on this day, by everybody or one person."""
    a, p = t.appointment.c, t.person.c
    query = (
        select(a.person, p.name, a.function, a.organisation, a["from"], a.until)
        .join(t.person, p.id == a.person)
        .where(a["from"] <= today, or_(a.until.is_(None), a.until >= today))
        .order_by(a.person, a.function)
    )
    if person is not None:
        query = query.where(a.person == person)
    return tuple(
        Appointment(
            person=row[0],
            name=row[1],
            function=Function(row[2]),
            organisation=row[3],
            from_=row[4],
            until=row[5],
        )
        for row in await connection.execute(query)
    )


async def person_of(connection: AsyncConnection, issuer: str, login: str) -> str | None:
    """The person whom this issuer knows under this login: one person, whichever account was used."""
    a = t.account.c
    found = await connection.scalar(
        select(func.custody.human(a.person)).where(
            a.issuer == issuer, a.login == login, a.removed_at.is_(None)
        )
    )
    return None if found is None else str(found)


async def known(connection: AsyncConnection, number: str) -> tuple[Kit, str] | None:
    """As much of this kit as may be known, and how the asker stands to it (``tables.known_kit``)."""
    k = t.known_kit.c
    rows = await connection.execute(select(k.document, k.relation).where(k.number == number))
    row = rows.first()
    return None if row is None else (from_document(Kit, row.document), str(row.relation))


async def kits(connection: AsyncConnection, numbers: Sequence[str]) -> dict[str, Kit]:
    """Those of these kits that may be known of, as far as they may."""
    k = t.known_kit.c
    rows = await connection.execute(select(k.number, k.document).where(k.number.in_(numbers)))
    return {number: from_document(Kit, document) for number, document in rows}


async def trail(connection: AsyncConnection, kit: str, which: Trail, after: int = 0) -> list[Event]:
    """The events of one trail of a kit, in order, from their exact bytes."""
    rows = await connection.execute(
        select(t.event.c.bytes)
        .where(t.event.c.subject == f"{which}:{kit}", t.event.c.number > after)
        .order_by(t.event.c.number)
    )
    return [decode(bytes(row[0])) for row in rows]


async def restricted_without_reader(connection: AsyncConnection) -> list[str]:
    """For a coordinator: the restricted kits of the own centre of which no reader is left who could name
    others. Their numbers, so that somebody breaks the glass and names readers; nothing else is known."""
    return list(await connection.scalars(select(func.custody.without_reader())))


async def page_of_kits(
    connection: AsyncConnection, after: str | None = None, limit: int = PAGE
) -> tuple[list[Kit], str | None]:
    """Kits that can be seen, newest first; answers the cursor of the next page, None at the end."""
    # The numbers of the page first: only the documents of these few are then cut to what may be known.
    k = t.known_kit.c
    query = select(k.registered_at, k.number).order_by(k.registered_at.desc(), k.number)
    if after is not None:
        at, number = after.split("~")
        moment = datetime.fromisoformat(at)
        query = query.where(or_(k.registered_at < moment, and_(k.registered_at == moment, k.number > number)))
    rows = (await connection.execute(query.limit(limit + 1))).all()
    more = len(rows) > limit
    shown = rows[:limit]
    cursor = f"{shown[-1].registered_at.isoformat()}~{shown[-1].number}" if more else None
    found = await kits(connection, [row.number for row in shown])
    return [found[row.number] for row in shown if row.number in found], cursor


# Worklists: what waits for whom. Each is a condition on the projections; row-level security does the rest.
async def offers_to(connection: AsyncConnection, actor: Actor) -> list[RowMapping]:
    """Packages on the way to this person's organisation, the most urgent first."""
    p = t.package.c
    rows = await connection.execute(
        select(p.kit, p.package, p.due_at, p.handover, p.holder_organisation, p.storage)
        .where(
            p.state == Custody.IN_TRANSIT,
            p.receiver_organisation == actor.organisation,
            or_(p.receiver_person.is_(None), p.receiver_person == actor.person),
        )
        .order_by(p.due_at, p.kit, p.package)
    )
    return list(rows.mappings())


async def in_hands_of(connection: AsyncConnection, actor: Actor) -> list[RowMapping]:
    """Packages that this person answers for and that lie in no place."""
    p = t.package.c
    rows = await connection.execute(
        select(p.kit, p.package, p.state, p.since, p.storage)
        .where(
            p.holder_person == actor.person,
            p.place.is_(None),
            p.state.in_([Custody.PACKED, Custody.SEALED, Custody.OPENED]),
        )
        .order_by(p.since)
    )
    return list(rows.mappings())


async def overdue(connection: AsyncConnection, actor: Actor, at: datetime) -> list[RowMapping]:
    """Hand-overs that nobody accepted by their due time: of the own centre's kits, and those in which the
    person's organisation gives or receives. Who has one package of a kit learns nothing of the others, and a
    centre nothing of what goes on with justice."""
    p, k = t.package.c, t.known_kit.c
    own = and_(
        k.centre == actor.organisation,
        or_(k.legal != Legal.RELEASED, k.document.has_key("opened_to_centre_at")),
    )
    rows = await connection.execute(
        select(p.kit, p.package, p.due_at, p.receiver_organisation, p.holder_organisation)
        .join(t.known_kit, k.number == p.kit)
        .where(
            p.state == Custody.IN_TRANSIT,
            p.due_at <= at,
            or_(own, *(c == actor.organisation for c in (p.receiver_organisation, p.holder_organisation))),
        )
        .order_by(p.due_at)
    )
    return list(rows.mappings())


async def kits_at(
    connection: AsyncConnection, centre: str, retention: Retention | None = None, legal: Legal | None = None
) -> list[Kit]:
    """Kits of a centre at one state of the term or the law."""
    k = t.known_kit.c
    query = select(k.document).where(k.centre == centre).order_by(k.term_over_at, k.number).limit(500)
    if retention is not None:
        query = query.where(k.retention == retention)
    if legal is not None:
        query = query.where(k.legal == legal)
    return [from_document(Kit, row[0]) for row in await connection.execute(query)]


async def kits_to_speak_about(connection: AsyncConnection, centre: str) -> list[Kit]:
    """Kits whose victim asked for something by card: to keep it safe, or to have it destroyed."""
    document = t.known_kit.c.document
    unheard = document.has_key("destruction") & ~document["destruction"].has_key("until")
    frozen = func.jsonb_path_exists(document, cast('$.holds.*?(@.ground == "safety")', JSONPATH))
    return await _kits_of(connection, centre, or_(unheard, frozen))


async def kits_ordered(connection: AsyncConnection, centre: str) -> list[Kit]:
    """Kits with a judge's order that are not linked yet."""
    return await _kits_of(
        connection,
        centre,
        and_(t.known_kit.c.document.has_key("order"), t.known_kit.c.legal == Legal.UNREPORTED),
    )


async def kits_restricted(connection: AsyncConnection, centre: str) -> list[Kit]:
    """Restricted kits that this person reads, or opened by breaking the glass."""
    k = t.known_kit.c
    return await _kits_of(
        connection, centre, and_(k.document.has_key("readers"), k.relation == "of_its_centre")
    )


async def kits_with_lost(connection: AsyncConnection, centre: str) -> list[Kit]:
    """Kits of which a package cannot be found."""
    p = t.package.c
    lost = select(p.kit).where(p.state == Custody.LOST)
    return await _kits_of(connection, centre, t.known_kit.c.number.in_(lost))


async def _kits_of(connection: AsyncConnection, centre: str, condition: Any) -> list[Kit]:
    k = t.known_kit.c
    query = select(k.document).where(k.centre == centre, k.retention != Retention.DISPOSED, condition)
    rows = await connection.execute(query.order_by(k.registered_at, k.number).limit(500))
    return [from_document(Kit, row[0]) for row in rows]


async def open_requests(connection: AsyncConnection, centre: str) -> list[RowMapping]:
    """Requests of the police that name this centre and wait for an answer."""
    q = t.request.c
    rows = await connection.execute(
        select(q.id, q.zone, q.naming, q.received_at)
        .where(q.centre == centre, ~exists().where(t.answer.c.request == q.id))
        .order_by(q.received_at)
    )
    return list(rows.mappings())


async def asked_about(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Of each of these requests: the report (PV) it named, and the police zone that asked."""
    q = t.request.c
    rows = await connection.execute(select(q.id, q.naming, q.zone).where(q.id.in_(ids)))
    return {row.id: (row.naming["pv"], row.zone) for row in rows}


async def requests_named(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, RowMapping]:
    """These requests of the police, answered or not, as far as this person may know of them."""
    q = t.request.c
    rows = await connection.execute(select(q.id, q.zone, q.naming, q.received_at).where(q.id.in_(ids)))
    return {row["id"]: row for row in rows.mappings()}


async def names_of(connection: AsyncConnection, people: Sequence[str]) -> dict[str, str]:
    """The names of these people, of those as well whose functions have ended."""
    p = t.person.c
    return {
        row.id: row.name for row in await connection.execute(select(p.id, p.name).where(p.id.in_(people)))
    }


async def requests_of(connection: AsyncConnection, zone: str) -> list[RowMapping]:
    """What a police zone asked, and when. Never what was found."""
    q = t.request.c
    rows = await connection.execute(
        select(q.id, q.naming, q.received_at).where(q.zone == zone).order_by(q.received_at.desc()).limit(200)
    )
    return list(rows.mappings())


async def proposals(connection: AsyncConnection, at: datetime) -> list[RowMapping]:
    """Commands of this organisation that wait for a second person, whoever may sign, and the asker's own.
    Where one person is asked, `observations` tells that person."""
    p = t.proposal.c
    rows = await connection.execute(
        select(t.proposal)
        .where(
            p.signed_at.is_(None),
            p.until > at,
            or_(p.signer.is_(None), p.person == func.custody.mine("person")),
        )
        .order_by(p.proposed_at)
    )
    return list(rows.mappings())


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A disposal that the asker is asked to observe: who carries it out; packages as kit and number."""

    id: str
    person: str
    function: str
    organisation: str
    proposed_at: datetime
    until: datetime
    signed: bool
    packages: tuple[tuple[str, int], ...]


_OBSERVATIONS: Final = text("SELECT * FROM custody.observations()")


async def observations(connection: AsyncConnection) -> list[Observation]:
    """What this person is asked to observe, or signed a moment ago, and no more than an observer sees."""
    return [
        Observation(
            id=row.id,
            person=row.person,
            function=row.function,
            organisation=row.organisation,
            proposed_at=row.proposed_at,
            until=row.until,
            signed=row.signed,
            packages=tuple((each["kit"], each["package"]) for each in row.packages or ()),
        )
        for row in await connection.execute(_OBSERVATIONS)
    ]


async def observation(connection: AsyncConnection, id_: str) -> Observation | None:
    """The one of this name that this person is asked to observe."""
    return next((each for each in await observations(connection) if each.id == id_), None)


async def proposal(connection: AsyncConnection, id_: str) -> RowMapping | None:
    rows = await connection.execute(select(t.proposal).where(t.proposal.c.id == id_))
    return rows.mappings().first()


async def reserved(connection: AsyncConnection, centre: str) -> list[RowMapping]:
    """Numbers set aside for an outage and not used yet."""
    r = t.reserved_number.c
    rows = await connection.execute(
        select(r.number, r.reserved_at).where(r.centre == centre, r.used_at.is_(None)).order_by(r.number)
    )
    return list(rows.mappings())


async def policies(connection: AsyncConnection) -> list[bytes]:
    """The documents of all adopted retention policies, every version."""
    rows = await connection.execute(select(t.policy.c.document).order_by(t.policy.c.id, t.policy.c.version))
    return [bytes(row[0]) for row in rows]


async def reads_of(connection: AsyncConnection, kit: str) -> list[Any]:
    """Who read this kit, when and why, from the exact bytes of the access records."""
    rows = await connection.execute(
        select(t.access.c.bytes)
        .where(t.access.c.kit == kit)
        .order_by(t.access.c.recorded_at.desc())
        .limit(200)
    )
    return [decode(bytes(row[0])) for row in rows]


async def lying_in(connection: AsyncConnection, place: str) -> frozenset[tuple[str, int]]:
    """The packages that are recorded in this place, by kit and number, as far as they may be known of."""
    p = t.package.c
    rows = await connection.execute(
        select(p.kit, p.package).where(p.place == place, p.state == Custody.STORED)
    )
    return frozenset((row.kit, row.package) for row in rows)


async def requests_to(connection: AsyncConnection, centre: str, since: date) -> list[RowMapping]:
    """Requests of the police to this centre that came since that day, or wait still; with how each was
    answered, and the bytes of the event that says by whom."""
    q, a, e = t.request.c, t.answer.c, t.event.c
    rows = await connection.execute(
        select(q.id, q.zone, q.naming, q.received_at, a.how, a.answered_at, e.bytes)
        .outerjoin(t.answer, a.request == q.id)
        .outerjoin(t.event, and_(e.subject == literal("request:") + q.id, e.type == "request.answered"))
        .where(q.centre == centre, or_(a.request.is_(None), q.received_at >= since))
        .order_by(q.received_at)
    )
    return list(rows.mappings())


async def adoptions(connection: AsyncConnection) -> list[Event]:
    """Every adoption of a policy version, in the order of the versions of each policy."""
    e = t.event.c
    rows = await connection.execute(
        select(e.bytes).where(e.trail == Trail.POLICY).order_by(e.subject, e.number)
    )
    return [decode(bytes(row[0])) for row in rows]


async def kits_under(
    connection: AsyncConnection, centre: str, policy: tuple[str, int], after: str | None, limit: int
) -> list[Kit]:
    """Kits of the centre under an earlier version of this policy than this one, unreported, by number."""
    k, (identifier, version) = t.known_kit.c, policy
    query = select(k.document).where(
        k.centre == centre,
        k.relation == "of_its_centre",
        k.legal == Legal.UNREPORTED,
        k.retention != Retention.DISPOSED,
        k.document["policy"]["id"].astext == identifier,
        k.document["policy"]["version"].as_integer() < version,
    )
    if after is not None:
        query = query.where(k.number > after)
    rows = await connection.execute(query.order_by(k.number).limit(limit))
    return [from_document(Kit, row[0]) for row in rows]


async def kits_disposed(connection: AsyncConnection, centre: str, most: int) -> list[Kit]:
    """Kits of a centre that were disposed of, the last one first."""
    k = t.known_kit.c
    query = (
        select(k.document)
        .where(k.centre == centre, k.retention == Retention.DISPOSED)
        .order_by(k.document["disposed_at"].astext.desc(), k.number)
        .limit(most)
    )
    return [from_document(Kit, row[0]) for row in await connection.execute(query)]


def found_after_disposal(centre: str) -> Select[tuple[str]]:
    """Numbers of this centre's kits that were disposed of, of which something is there or lost since.

    By the packages that the centre answers for, of which an index knows those that have not ended: far fewer
    than the kits that were ever disposed of. Wider than the rule: of some the search has ended.
    """
    p, k = t.package.c, t.kit.c
    there = and_(p.holder_organisation == centre, t.STILL_THERE)
    closed = and_(k.centre == centre, k.retention == Retention.DISPOSED)
    return select(p.kit).distinct().join(t.kit, k.number == p.kit).where(there, closed)


async def kits_found_after_disposal(connection: AsyncConnection, centre: str) -> list[Kit]:
    """Kits of a centre that were disposed of, of which a package was found since, by their numbers."""
    k = t.known_kit.c
    query = select(k.document).where(k.number.in_(found_after_disposal(centre))).order_by(k.number).limit(500)
    kits = [from_document(Kit, row[0]) for row in await connection.execute(query)]
    return [kit for kit in kits if kit.remaining]


async def proposals_of(connection: AsyncConnection, action: str, at: datetime) -> list[RowMapping]:
    """What waits for a second person with this action at this organisation, whoever is asked to sign."""
    p = t.proposal.c
    rows = await connection.execute(
        select(t.proposal)
        .where(p.action == action, p.signed_at.is_(None), p.until > at)
        .order_by(p.proposed_at)
    )
    return list(rows.mappings())


async def latest_asked(connection: AsyncConnection, action: str) -> dict[str, RowMapping]:
    """For each kit the proposal with this action that was made last at this organisation, of those that one
    person was asked to sign: waiting, signed, lapsed or declined. They are kept for thirty days."""
    p = t.proposal.c
    query = select(t.proposal).where(p.action == action, p.signer.is_not(None)).order_by(p.proposed_at)
    return {
        str(each["kit"]): row
        for row in (await connection.execute(query)).mappings()
        for each in row["command"].get("packages") or ()
    }
