"""What waits for a person: each list is a question to the projections; row-level security does the rest."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal

from custody import reading
from custody.departures import WATCH, left_behind
from custody.directory import day_of
from custody.kit import Kit
from custody.ledger import reading as seen_by
from custody.number import KitNumber, written
from custody.people import STAFF, Actor
from custody.permission import as_known
from custody.protocol import Custody, Legal, Retention
from custody.restriction import lacks_reader
from desk.service import Service
from retention.notice import nobody_to_tell, settled
from retention.policy import Policy
from retention.term import unlinked_work_at

CHECK_WITHIN: Final = timedelta(hours=24)
"""Another person looks at a seal that somebody closed alone, within this time."""
NEWEST: Final = 200  # kits among which seals to be checked are looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageLine:
    """A package that waits. `due_at`: by when; `since`: since when."""

    kit: str
    written: str
    package: int
    storage: str | None = None
    organisation: str | None = None
    due_at: datetime | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftLine:
    """A package with somebody who left: ``in_hands``, ``offered_by`` or ``offered_to`` them.

    `organisation` is where the person worked, `holder_organisation` whose people can put it right.
    """

    kit: str
    written: str
    package: int
    part: Literal["in_hands", "offered_by", "offered_to"]
    person: str
    organisation: str
    holder_organisation: str
    storage: str | None = None
    due_at: datetime | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KitTask:
    """A kit that waits for a person of its centre. `last_day`: of its term; it counts whole."""

    kit: str
    written: str
    since: datetime | None = None
    last_day: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTask:
    """A request of the police that this centre has not answered."""

    id: str
    zone: str
    pv: str
    received_at: datetime
    kit: str | None = None
    examined_on: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalTask:
    """A command that waits for a second person's signature."""

    id: str
    action: str
    person: str
    until: datetime
    kit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worklists:
    """What waits, by list. Lists of kits are there for staff of the kit's own centre only."""

    at: datetime
    offers: tuple[PackageLine, ...]
    in_hands: tuple[PackageLine, ...]
    overdue: tuple[PackageLine, ...]
    left_behind: tuple[LeftLine, ...] = ()
    notices_due: tuple[KitTask, ...] = ()
    expired: tuple[KitTask, ...] = ()
    disposals_proposed: tuple[KitTask, ...] = ()
    disposals_approved: tuple[KitTask, ...] = ()
    declared_unlinked: tuple[KitTask, ...] = ()
    asked_by_victim: tuple[KitTask, ...] = ()
    ordered: tuple[KitTask, ...] = ()
    lost: tuple[KitTask, ...] = ()
    readers_lacking: tuple[KitTask, ...] = ()
    without_reader: tuple[
        KitTask, ...
    ] = ()  # for coordinators: behind the glass, and nobody left to read them
    seal_checks_due: tuple[PackageLine, ...] = ()
    requests: tuple[RequestTask, ...] = ()
    proposals: tuple[ProposalTask, ...] = ()


async def worklists_of(service: Service, actor: Actor) -> Worklists:
    """Everything that waits for this person, as of one moment."""
    policies = await service.policies() if actor.function in STAFF else ()
    async with seen_by(service.engine, actor) as connection:
        at = await reading.now(connection)
        lists: dict[str, Any] = {
            "offers": _lines(await reading.offers_to(connection, actor), "holder_organisation"),
            "in_hands": _lines(await reading.in_hands_of(connection, actor)),
            "overdue": _lines(await reading.overdue(connection, actor, at), "receiver_organisation"),
        }
        if actor.function in WATCH:
            lists["left_behind"] = _left(await left_behind(connection, actor, day_of(at)))
        if actor.function in STAFF and actor.organisation is not None:
            lists |= await _of_centre(connection, actor.organisation, actor, at, policies)
    return Worklists(at=at, **lists)


async def _of_centre(
    connection: Any, centre: str, actor: Actor, at: datetime, policies: Sequence[Policy]
) -> dict[str, Any]:
    async def at_state(retention: Retention) -> tuple[KitTask, ...]:
        return _tasks(await reading.kits_at(connection, centre, retention=retention))

    directory = await reading.directory(connection)
    declared = await reading.kits_at(connection, centre, legal=Legal.DECLARED)
    noticed = await reading.kits_at(connection, centre, retention=Retention.NOTICE_DUE)
    newest, _ = await reading.page_of_kits(connection, limit=NEWEST)
    lost = [kit for kit in await reading.kits_with_lost(connection, centre) if _lost(as_known(actor, kit))]
    return {
        "notices_due": _tasks(kit for kit in noticed if _untold(kit)),
        "expired": await at_state(Retention.EXPIRED),
        "disposals_proposed": await at_state(Retention.PROPOSED),
        "disposals_approved": await at_state(Retention.APPROVED),
        "declared_unlinked": _tasks(kit for kit in declared if unlinked_for_too_long(kit, policies, at)),
        "asked_by_victim": _tasks(await reading.kits_to_speak_about(connection, centre)),
        "ordered": _tasks(await reading.kits_ordered(connection, centre)),
        "lost": _tasks(lost),
        "readers_lacking": _tasks(
            kit for kit in await reading.kits_restricted(connection, centre) if lacks_reader(kit, directory)
        ),
        "without_reader": tuple(
            KitTask(kit=number, written=written(KitNumber(number)))
            for number in await reading.restricted_without_reader(connection)
        ),
        "seal_checks_due": tuple(
            line
            for kit in newest
            if kit.centre == centre
            for line in seal_checks_due(as_known(actor, kit), actor)
        ),
        "requests": tuple(
            RequestTask(
                id=row["id"],
                zone=row["zone"],
                pv=row["naming"]["pv"],
                received_at=row["received_at"],
                kit=row["naming"].get("kit"),
                examined_on=row["naming"].get("examined_on"),
            )
            for row in await reading.open_requests(connection, centre)
        ),
        "proposals": tuple(
            ProposalTask(
                id=row["id"],
                action=row["action"],
                person=row["person"],
                until=row["until"],
                kit=row["kit"],
            )
            for row in await reading.proposals(connection, at)
            if row["person"] != actor.person
        ),
    }


def _lost(kit: Kit) -> bool:
    """Whether a package is lost among those that are the centre's to look for: not what is with justice."""
    return any(package.state is Custody.LOST for package in kit.packages.values())


def _untold(kit: Kit) -> bool:
    """Whether a person must tell the victim, or see to it: nobody was told, and somebody can be."""
    return not settled(kit) and not nobody_to_tell(kit)


def unlinked_for_too_long(kit: Kit, policies: Iterable[Policy], at: datetime) -> bool:
    """Declared and not linked for longer than the kit's policy says: work for people, never for the clock."""
    for policy in policies:
        if kit.policy is not None and (policy.id, policy.version) == (kit.policy.id, kit.policy.version):
            return kit.reported_at is not None and unlinked_work_at(policy, kit.reported_at) <= at
    return False


def seal_checks_due(kit: Kit, actor: Actor) -> tuple[PackageLine, ...]:
    """Packages whose seal only the person who closed it has seen; that person's own are not listed.

    A package with another person or on the way was or will be looked at when it is accepted; one that
    another organisation has is out of sight.
    """
    return tuple(
        PackageLine(
            kit=kit.number,
            written=written(KitNumber(kit.number)),
            package=p.package,
            storage=p.storage,
            since=p.sealed_at,
            due_at=p.sealed_at + CHECK_WITHIN,
        )
        for p in kit.packages.values()
        if p.state in (Custody.SEALED, Custody.STORED)
        and p.sealed_at is not None
        and not p.seal_checked
        and p.sealed_by != actor.person
        and p.holder is not None
        and p.holder.organisation == actor.organisation
    )


def _tasks(kits: Iterable[Kit]) -> tuple[KitTask, ...]:
    return tuple(
        KitTask(
            kit=kit.number,
            written=written(KitNumber(kit.number)),
            since=kit.reported_at or (kit.term.over_at if kit.term else None),
            last_day=kit.term.end if kit.term else None,
        )
        for kit in kits
    )


def _left(rows: Iterable[Any]) -> tuple[LeftLine, ...]:
    return tuple(
        LeftLine(
            kit=row["kit"],
            written=written(KitNumber(row["kit"])),
            package=row["package"],
            part=row["part"],
            person=row["name"],
            organisation=row["organisation"],
            holder_organisation=row["holder_organisation"],
            storage=row["storage"],
            due_at=row["due_at"],
            since=row["since"],
        )
        for row in rows
    )


def _lines(rows: Iterable[Any], organisation: str | None = None) -> tuple[PackageLine, ...]:
    return tuple(
        PackageLine(
            kit=row["kit"],
            written=written(KitNumber(row["kit"])),
            package=row["package"],
            storage=row.get("storage"),
            organisation=row[organisation] if organisation else None,
            due_at=row.get("due_at"),
            since=row.get("since"),
        )
        for row in rows
    )
