"""What is overdue at a centre: the queries around `retention.alarms`.

Kits that can have something overdue are few among all that a centre has kept. They are found by the columns
that PostgreSQL keeps beside each kit; only these are read whole, and then the rules decide. Everything is
asked as the person who reads (`custody.ledger.reading`), and a kit is shown as far as that person may know
of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, cast, func, not_, or_, select, union
from sqlalchemy.dialects.postgresql import JSONPATH
from sqlalchemy.ext.asyncio import AsyncConnection

from custody import reading, readings
from custody import tables as t
from custody.departures import IN_HANDS
from custody.directory import day_of
from custody.kit import Kit
from custody.people import Actor, Function
from custody.permission import as_known, kept_out
from custody.protocol import Custody, Legal, Retention
from retention import alarms
from retention import tables as own
from retention.alarms import Alarm
from retention.period import RetentionDataError, latest_start
from retention.policy import Policy, in_force, version_of
from retention.runs import SET_ASIDE

MOST_KITS: Final = 1000
"""Kits that are looked at for one answer; a centre with more of them has other worries than the next line."""

AFTER_NOTICE: Final = (Retention.NOTICE_DUE, Retention.EXPIRED, Retention.PROPOSED, Retention.APPROVED)
WAITS_FOR_JUSTICE: Final = (Legal.DECLARED, Legal.LINKED)
_WAITS: Final = (
    '$.packages.*?((@.state == "sealed" || @.state == "stored")'
    " && exists(@.sealed_at) && !(@.seal_checked == true))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """What is overdue as of `at`, first what this person must do. `more`: there are kits beyond these."""

    at: datetime
    alarms: tuple[Alarm, ...]
    more: bool = False

    def of(self, actor: Actor) -> tuple[Alarm, ...]:
        """Those of them that are this person's to act on."""
        return tuple(each for each in self.alarms if each.is_for(actor))


async def overdue_for(connection: AsyncConnection, actor: Actor, policies: Sequence[Policy]) -> Overdue:
    """Everything overdue that this person of a centre may know of."""
    at = await reading.now(connection)
    centre = actor.organisation or ""
    today = day_of(at)
    general = _in_force(policies, centre, today)
    numbers = await _candidates(connection, centre, at, policies, today)
    kits = await reading.kits(connection, numbers[:MOST_KITS])
    found: list[Alarm] = []
    for kit in kits.values():
        policy = _policy_of(kit, policies) or general
        if policy is not None:
            found += alarms.alarms_of(as_known(_eyes(actor, kit), kit), policy, at)
    waiting = await _beside_kits(connection, actor, centre, general)
    found += alarms.overdue(waiting, at)
    return Overdue(at=at, alarms=alarms.in_order(found, actor), more=len(numbers) > MOST_KITS)


def is_overdue_for(kit: Kit, actor: Actor, policies: Sequence[Policy], at: datetime) -> bool:
    """Whether something about this kit, as far as the person may know of it, is overdue and theirs to do."""
    policy = _policy_of(kit, policies) or _in_force(policies, kit.centre, day_of(at))
    return policy is not None and any(each.is_for(actor) for each in alarms.alarms_of(kit, policy, at))


def _eyes(actor: Actor, kit: Kit) -> Actor:
    """Of a restricted kit the database shows the choices only to its readers, and to who broke the glass."""
    opened = kept_out(actor, kit) and kit.policy is not None
    return replace(actor, glass=frozenset({kit.number})) if opened else actor


def _policy_of(kit: Kit, policies: Iterable[Policy]) -> Policy | None:
    try:
        return version_of(policies, kit.policy.id, kit.policy.version) if kit.policy else None
    except RetentionDataError:
        return None  # not adopted here: then the centre's own times are as good as any


def _in_force(policies: Sequence[Policy], centre: str, today: date) -> Policy | None:
    try:
        return in_force(policies, centre, today)
    except RetentionDataError:
        return None


# --- kits -------------------------------------------------------------------------------------------------


async def _candidates(
    connection: AsyncConnection, centre: str, at: datetime, policies: Sequence[Policy], today: date
) -> list[str]:
    """The numbers of kits of which something may be overdue, one more than `MOST_KITS` at most.

    Every condition here is wider than the rule it is for: what it lets through is decided by the rule.
    """
    k, p = t.kit.c, t.package.c
    ours = select(k.number).where(k.centre == centre, k.retention != Retention.DISPOSED)
    held = and_(p.holder_organisation == centre, p.place.is_(None), p.state.in_(IN_HANDS))
    late = and_(p.state == Custody.IN_TRANSIT, p.due_at <= at)
    with_us = or_(p.holder_organisation == centre, p.receiver_organisation == centre)
    asked = union(
        ours.where(or_(*_by_columns(_first_day(policies, today)), _by_document())),
        select(p.kit).where(held),
        select(p.kit).where(late, or_(with_us, p.kit.in_(ours))),
        reading.found_after_disposal(centre),
    ).subquery()
    order = select(asked.c[0]).order_by(asked.c[0]).limit(MOST_KITS + 1)
    return list(await connection.scalars(order))


def _by_columns(notice_from: date) -> list[ColumnElement[bool]]:
    k = t.kit.c
    return [
        k.retention.in_(AFTER_NOTICE),
        k.legal.in_(WAITS_FOR_JUSTICE),
        k.holds > 0,
        and_(k.retention == Retention.RUNNING, k.notice_on <= notice_from),
    ]


def _by_document() -> ColumnElement[bool]:
    """What no column tells: seals that nobody else has seen, and wishes that nobody has heard. Last, since it
    reads the documents of what has not ended."""
    document = t.kit.c.document
    unseen = func.jsonb_path_exists(document, cast(_WAITS, JSONPATH))
    asked = and_(document.has_key("destruction"), not_(document["destruction"].has_key("until")))
    return and_(t.kit.c.legal != Legal.RELEASED, or_(unseen, asked))


def _first_day(policies: Sequence[Policy], today: date) -> date:
    """The last day of notice for which the safe channel may be asked about today, under any policy."""
    longest = today
    for policy in policies:
        while latest_start(longest, policy.notice.period) <= today:
            longest += timedelta(days=7)
    return longest


# --- beside kits ------------------------------------------------------------------------------------------


async def _beside_kits(
    connection: AsyncConnection, actor: Actor, centre: str, policy: Policy | None
) -> list[Alarm]:
    found = [
        alarms.request_unanswered(row["id"], centre, row["received_at"])
        for row in await reading.open_requests(connection, centre)
    ]
    if policy is not None:
        since = await stock_takes(connection, await _places(connection, centre))
        found += [alarms.stock_take_due(place, centre, last, policy) for place, last in since.items()]
    found += [
        alarms.kit_set_aside(row.kit, centre, row.until - SET_ASIDE, row.reason)
        for row in await connection.execute(select(own.set_aside))
    ]
    if actor.function is Function.COORDINATOR:
        found += [
            alarms.not_reviewed(
                "glass_not_reviewed",
                centre,
                each.reading.at,
                each.reading.person,
                each.reading.kit if each.known else None,
                each.reading.digest,
            )
            for each in await readings.broken_glass(connection)
        ]
    return found


async def _places(connection: AsyncConnection, centre: str) -> list[str]:
    p = t.place.c
    return list(await connection.scalars(select(p.id).where(p.organisation == centre, p.closed_at.is_(None))))


async def stock_takes(connection: AsyncConnection, places: Sequence[str]) -> Mapping[str, datetime]:
    """When each of these places was last counted; where it never was, when it was opened."""
    e = t.event.c
    counted = ("stock_take.taken", "place.opened")
    query = (
        select(e.subject, func.max(e.recorded_at))
        .where(e.subject.in_([f"place:{place}" for place in places]), e.type.in_(counted))
        .group_by(e.subject)
    )
    return {subject.removeprefix("place:"): at for subject, at in await connection.execute(query)}


async def counted(connection: AsyncConnection, places: Sequence[str]) -> frozenset[str]:
    """Those of these places that were ever counted."""
    e = t.event.c
    named = e.subject.in_([f"place:{place}" for place in places])
    query = select(e.subject).where(named, e.type == "stock_take.taken").distinct()
    return frozenset(subject.removeprefix("place:") for subject in await connection.scalars(query))
