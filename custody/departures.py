"""What is still with somebody whose functions at the organisation have all ended, or who never had one.

Functions end on a date, and nothing else has to happen for that. What such a person holds, offered, or was
offered stays where it is; here it is found, so that a colleague takes it over and open offers are taken back.
"""

from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, and_, exists, func, literal, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from custody import tables as t
from custody.people import STAFF, Actor, Function
from custody.protocol import Custody, Legal, Retention

IN_HANDS: Final = (Custody.PACKED, Custody.SEALED, Custody.OPENED)
"""The states of a package that lies in no place and is not on the way: somebody has it."""

WATCH: Final = frozenset(
    {Function.CUSTODIAN, Function.COORDINATOR, Function.OFFICER, Function.ANALYST, Function.REGISTRAR}
)
"""Who is told what a colleague left behind. At a centre that is day work: the nurse at night is not asked."""


async def left_behind(
    connection: AsyncConnection, actor: Actor, today: date, kit: str | None = None
) -> list[RowMapping]:
    """Packages that are with somebody who left: of the own organisation, or of the own centre's kits; of all
    kits, or of one.

    ``part`` says how: ``in_hands``, ``offered_by``, or ``offered_to``; ``person`` and ``organisation`` are
    who left what. A centre learns nothing of what goes on with justice. To be asked as the person who reads
    (`custody.ledger.reading`).
    """
    p, k = t.package.c, t.known_kit.c
    ours = or_(
        p.holder_organisation == actor.organisation,
        exists().where(
            k.number == p.kit,
            k.centre == actor.organisation,
            or_(k.legal != Legal.RELEASED, k.document.has_key("opened_to_centre_at")),
        ),
    )
    holds = and_(p.holder_person.is_not(None), _gone(p.holder_person, p.holder_organisation, today))
    awaited = and_(p.receiver_person.is_not(None), _gone(p.receiver_person, p.receiver_organisation, today))

    if kit is not None:
        ours = and_(p.kit == kit, ours)

    def rows(part: str, person: Any, organisation: Any, *conditions: ColumnElement[bool]) -> Any:
        return (
            select(
                *(p.kit, p.package, p.storage, p.since, p.due_at, p.holder_organisation),
                literal(part).label("part"),
                person.label("person"),
                organisation.label("organisation"),
                t.person.c.name.label("name"),
            )
            .join(t.person, t.person.c.id == person)
            .where(ours, *conditions)
        )

    held = and_(p.state.in_(IN_HANDS), p.place.is_(None))
    on_the_way = p.state == Custody.IN_TRANSIT
    found = union_all(
        rows("in_hands", p.holder_person, p.holder_organisation, held, holds),
        rows("offered_by", p.holder_person, p.holder_organisation, on_the_way, holds),
        rows("offered_to", p.receiver_person, p.receiver_organisation, on_the_way, awaited, ~holds),
    ).subquery()
    c = found.c
    return list((await connection.execute(select(found).order_by(c.since, c.kit, c.package))).mappings())


def _gone(person: Any, organisation: Any, today: date) -> ColumnElement[bool]:
    a = t.appointment.c
    return ~exists().where(
        a.person == person,
        a.organisation == organisation,
        a["from"] <= today,
        or_(a.until.is_(None), a.until >= today),
    )


async def still_with(
    connection: AsyncConnection, people: Collection[str]
) -> Mapping[tuple[str, str], tuple[int, int, int]]:
    """What is with these people, by person and organisation: packages in hand, offered by them, offered to
    them. For whoever looks after the register (role custody_clerk): numbers, and of no kit."""
    p = t.package.c
    held = and_(p.state.in_(IN_HANDS), p.place.is_(None))
    on_the_way = p.state == Custody.IN_TRANSIT
    counted: dict[tuple[str, str], tuple[int, int, int]] = {}
    for place, person, organisation, condition in (
        (0, p.holder_person, p.holder_organisation, held),
        (1, p.holder_person, p.holder_organisation, on_the_way),
        (2, p.receiver_person, p.receiver_organisation, on_the_way),
    ):
        query = select(person, organisation, func.count()).where(person.in_(people), condition)
        for who, where, number in await connection.execute(query.group_by(person, organisation)):
            known = list(counted.get((who, where), (0, 0, 0)))
            known[place] = number
            counted[who, where] = (known[0], known[1], known[2])
    return counted


async def open_under(
    connection: AsyncConnection, people: Collection[str], at: datetime
) -> Mapping[str, tuple[int, int, int]]:
    """What is open under these names: packages in hand or on the way from or to them, restricted kits that
    they read, proposals that wait. For whoever looks after the register (role custody_clerk): numbers, and
    of no kit. The same as in ``custody.check_merged``."""
    k, p = t.kit.c, t.proposal.c
    found: dict[str, tuple[int, int, int]] = {}
    with_them = await still_with(connection, people)
    for person in people:
        reads = select(func.count()).select_from(t.kit).where(k.readers.contains([person]))
        waits = (
            select(func.count())
            .select_from(t.proposal)
            .where(p.person == person, p.signed_at.is_(None), p.until > at)
        )
        counted = (
            sum(sum(numbers) for (who, _), numbers in with_them.items() if who == person),
            int(await connection.scalar(reads) or 0),
            int(await connection.scalar(waits) or 0),
        )
        if any(counted):
            found[person] = counted
    return found


async def readers_lost(
    connection: AsyncConnection,
    leaving: Mapping[str, date],
    ended: Collection[tuple[str, str, str, date]],
) -> int:
    """How many restricted kits lose a reader when these people leave, each after their last day.

    ``ended`` are the appointments that end by it: person, organisation, function, first day. For whoever
    looks after the register (role custody_clerk): a number, and no kit.
    """
    a, k = t.appointment.c, t.kit.c
    held = await connection.execute(
        select(a.person, a.organisation, a.function, a["from"], a.until).where(
            a.person.in_(leaving), a.function.in_(STAFF)
        )
    )
    stays = {
        (row.person, row.organisation)
        for row in held
        if tuple(row)[:4] not in ended and (row.until is None or row.until > leaving[row.person])
    }
    kits = await connection.execute(
        select(k.centre, k.readers).where(k.readers.overlap(list(leaving)), k.retention != Retention.DISPOSED)
    )
    return sum(any((r, row.centre) not in stays for r in row.readers if r in leaving) for row in kits)
