"""Disposals: what each condition is borne out by, who is asked to observe, and the certificate afterwards.

Proposing, approving and carrying out are commands like all others (`desk.doors`). An observer reads nothing
of a kit: what they are told, and what they sign, stands here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from audit import log as logs
from custody import access, reading
from custody.event import Event, decode
from custody.kit import Kit
from custody.ledger import reading as seen_by
from custody.number import KitNumber, package, parse_kit_number, written
from custody.people import Actor
from custody.permission import may
from custody.protocol import Trail
from custody.purpose import TASK
from custody.refusal import Refused
from desk import texts
from desk.api.answers import Receipts, answer, receipts_of, repeated
from desk.api.document import describes
from desk.api.kits import Why
from desk.edge import Signed, acting, given, now, service, settings, stepped_up
from desk.service import Service
from retention.certificate import MOST_KITS, Certificate, Ended, certificate_pdf
from retention.eligibility import Condition, Evidence, RequestSeen, eligibility, not_found
from retention.reckoning import policy_of
from retention.term import contest_over_at, local_date

router = APIRouter(tags=["disposals"])
Watcher = Annotated[Signed, Depends(acting("disposal.observe"))]
Reader = Annotated[Signed, Depends(acting("certificate.read"))]
UNSIGNED: Final = "The destruction is recorded and not yet in the signed log. Try again in a moment."


# --- the conditions ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceAnswer:
    """An event that bears a condition out."""

    trail: str
    number: int
    type: str
    recorded_at: datetime
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionAnswer:
    """One thing that must be so before a disposal, in words, with the events that show it."""

    name: str
    met: bool
    says: str
    evidence: tuple[EvidenceAnswer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Eligibility:
    """Whether a kit may be disposed of now, condition by condition. `packages` are those left to destroy."""

    kit: str
    written: str
    eligible: bool
    conditions: tuple[ConditionAnswer, ...]
    packages: tuple[int, ...]
    backups_until: date | None = None
    key_until: date | None = None


async def conditions_of(service: Service, actor: Actor, kit: Kit, at: datetime) -> tuple[Condition, ...]:
    """Every condition of the kit's disposal with its evidence, for who may read its choices."""
    async with seen_by(service.engine, actor) as connection:
        events = [
            event
            for trail in (Trail.CUSTODY, Trail.CHOICES)
            for event in await reading.trail(connection, kit.number, trail)
        ]
        rows = await reading.requests_to(connection, kit.centre, kit.examined_on)
    zones = {o.id: o.name for o in (await service.directory()).organisations.values()}
    return eligibility(kit, at, [_request(row, zones) for row in rows], events)


def _request(row: Any, zones: dict[str, str]) -> RequestSeen:
    naming = row["naming"]
    named = naming.get("examined_on")
    answered = decode(bytes(row["bytes"])) if row["bytes"] is not None else None
    people: Sequence[Any] = (answered.who, *(answered.get("with") or ())) if answered else ()
    return RequestSeen(
        id=row["id"],
        zone=zones.get(row["zone"], row["zone"]),
        received_at=row["received_at"],
        examined_on=date.fromisoformat(named) if named else None,
        kit=naming.get("kit"),
        how=row["how"],
        answered_at=row["answered_at"],
        by=tuple(dict.fromkeys(str(each["name"]) for each in people if each.get("name"))),
    )


@router.get(
    "/kits/{number}/disposal",
    name="disposal",
    summary="Whether a kit may be disposed of: each condition with what bears it out",
    openapi_extra=describes(answers={200: Eligibility}),
)
async def disposal(
    request: Request,
    number: str,
    who: Annotated[Signed, Depends(acting("choices_trail.read"))],
    purpose: Why,
) -> Response:
    kit = await service(request).kit(who.actor, parse_kit_number(number), "choices_trail.read", purpose)
    found = await conditions_of(service(request), who.actor, kit, await now(request))
    dates = await key_dates(request, who.actor, kit)
    return answer(
        Eligibility(
            kit=kit.number,
            written=written(KitNumber(kit.number)),
            eligible=all(each.met for each in found),
            conditions=tuple(_told(each) for each in found),
            packages=tuple(p.package for p in kit.remaining),
            key_until=dates[0] if dates else None,
            backups_until=dates[1] if dates else None,
        )
    )


def _told(condition: Condition) -> ConditionAnswer:
    def of(evidence: Evidence) -> EvidenceAnswer:
        return EvidenceAnswer(
            trail=evidence.trail,
            number=evidence.number,
            type=evidence.type,
            recorded_at=evidence.at,
            digest=evidence.digest,
        )

    return ConditionAnswer(
        name=condition.name,
        met=condition.met,
        says=condition.told,
        evidence=tuple(of(each) for each in condition.evidence),
    )


async def key_dates(request: Request, actor: Actor, kit: Kit) -> tuple[date, date] | None:
    """Of a kit disposed of: the day its key is, or was, destroyed, and that on which the last copy in a
    backup lapses; None before."""
    if kit.disposed_at is None:
        return None
    policy = policy_of(kit, await service(request).policies())
    if kit.key_destroyed_at is not None:
        async with seen_by(service(request).engine, actor) as connection:
            events = await reading.trail(connection, kit.number, Trail.CHOICES)
        told = next((e for e in reversed(events) if e.type == "key.destroyed"), None)
        lapse = datetime.fromisoformat(told.get("until")) if told else kit.key_destroyed_at
        return local_date(policy, kit.key_destroyed_at), local_date(policy, lapse)
    destroyed = contest_over_at(policy, kit.disposed_at)
    lapse = destroyed + timedelta(days=settings(request).backup_days)
    return local_date(policy, destroyed), local_date(policy, lapse)


# --- the observer -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationAnswer:
    """A disposal to be observed: who carries it out, and the codes of the packages. Nothing else."""

    id: str
    carried_out_by: str
    organisation: str
    proposed_at: datetime
    until: datetime
    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    observations: tuple[ObservationAnswer, ...]


async def observations_of(service: Service, actor: Actor) -> tuple[ObservationAnswer, ...]:
    """What this person is asked to observe, and has not signed."""
    if not may("disposal.observe", actor):
        return ()
    async with seen_by(service.engine, actor) as connection:
        rows = [row for row in await reading.observations(connection) if not row.signed]
    if not rows:
        return ()
    directory = await service.directory()
    names = {a.person: a.name for a in directory.appointments}
    return tuple(
        ObservationAnswer(
            id=row.id,
            carried_out_by=names.get(row.person, row.person),
            organisation=directory.organisations[row.organisation].name,
            proposed_at=row.proposed_at,
            until=row.until,
            packages=tuple(f"{written(KitNumber(kit))}-{package(number)}" for kit, number in row.packages),
        )
        for row in rows
    )


@router.get(
    "/disposals/observations",
    name="observations",
    summary="Disposals that this person is asked to observe",
    openapi_extra=describes(answers={200: Observations}),
)
async def observations(request: Request, who: Watcher) -> Response:
    await access.record(service(request).engine, who.actor, read="proposals", kit=None, purpose=TASK)
    return answer(Observations(observations=await observations_of(service(request), who.actor)))


@router.post(
    "/disposals/observations/{proposal}",
    name="observation_sign",
    summary="Sign as the observer of a disposal",
    openapi_extra=describes(answers={201: Receipts, 200: Receipts}, key=True),
)
async def observe(request: Request, proposal: str, who: Watcher) -> Response:
    await stepped_up(request, who, "disposal.carry_out")
    signing = given(request, who, f"sign {_id(proposal)}".encode())
    done = await service(request).observe(_id(proposal), signing)
    status = 200 if repeated(done.receipts) else 201
    # Of the choices trail an observer learns nothing, not even how long it is.
    own = tuple(receipt for receipt in done.receipts if receipt.trail.startswith("custody:"))
    return answer(Receipts(receipts=receipts_of(own)), status)


@router.delete(
    "/disposals/observations/{proposal}",
    name="observation_decline",
    summary="Decline to observe a disposal",
    status_code=204,
    openapi_extra=describes(answers={204: None}),
)
async def decline(request: Request, proposal: str, who: Watcher) -> Response:
    await service(request).decline(_id(proposal), who.actor)
    return Response(status_code=204)


def _id(text: str) -> str:
    if len(text) != 32 or set(text) - set("0123456789abcdef"):
        raise Refused("This is not the name of a disposal to observe.", field="proposal")
    return text


# --- the certificate --------------------------------------------------------------------------------------


@router.get(
    "/kits/{number}/certificate",
    name="certificate",
    summary="The certificate of a kit's disposal, with its proof inside",
    openapi_extra=describes(answers={200: "application/pdf"}),
)
async def certificate(request: Request, number: str, who: Reader, purpose: Why) -> Response:
    return await certificate_of(request, who, [number], purpose)


@router.get(
    "/disposals/certificate",
    name="certificate_of_many",
    summary="One certificate of the disposal of several kits",
    openapi_extra=describes(answers={200: "application/pdf"}),
)
async def certificates(
    request: Request,
    who: Reader,
    purpose: Why,
    kit: Annotated[list[str] | None, Query(max_length=MOST_KITS)] = None,
) -> Response:
    return await certificate_of(request, who, kit or [], purpose)


async def certificate_of(request: Request, who: Signed, numbers: Sequence[str], purpose: str) -> Response:
    """The certificate of these kits as PDF; each reading is on record. Raises Refused, NotSeen."""
    named = list(dict.fromkeys(str(parse_kit_number(number)) for number in numbers))
    if not 1 <= len(named) <= MOST_KITS:
        raise Refused(
            "Name the kits whose certificate you want, at most {most}.", field="kit", most=MOST_KITS
        )
    kits = [await service(request).kit(who.actor, number, "certificate.read", purpose) for number in named]
    ended = await _ended(request, who.actor, kits)
    directory = await service(request).directory()
    policies = await service(request).policies()
    made = Certificate(
        centre=directory.organisations[str(who.actor.organisation)].name,
        kits=tuple(ended),
        organisations={o.id: o.name for o in directory.organisations.values()},
        functions=dict(texts.FUNCTIONS),
        made_at=await now(request),
        zone=policy_of(kits[0], policies).zone,
    )
    data = await run_in_threadpool(certificate_pdf, made)
    name = named[0] if len(named) == 1 else f"{len(named)}-kits"
    shown = {"content-disposition": f'attachment; filename="disposal-{name}.pdf"'}
    return Response(data, 200, shown, media_type="application/pdf")


async def _ended(request: Request, actor: Actor, kits: Sequence[Kit]) -> list[Ended]:
    """The destruction of each kit with its proof, all under one checkpoint. Raises Refused."""
    found: list[tuple[Kit, Event, tuple[date, date]]] = []
    for kit in kits:
        dates = await key_dates(request, actor, kit)
        async with seen_by(service(request).engine, actor) as connection:
            events = await reading.trail(connection, kit.number, Trail.CUSTODY)
        destroyed = [e for e in events if e.type == "package.destroyed"]
        if not destroyed or dates is None:
            raise Refused("Nothing of this kit was destroyed: there is no certificate.")
        found += [(kit, each, dates) for each in destroyed]  # what was found later is destroyed later
    first = {kit.number: event.digest for kit, event, _ in reversed(found)}.values()
    async with seen_by(service(request).engine, actor) as connection:
        digests = [bytes.fromhex(event.digest) for _, event, _ in found]
        proofs = await logs.prove(connection, "events", digests, "signed")
    if any(digest not in proofs for digest in digests):
        raise Refused(UNSIGNED)
    return [
        Ended(
            event=event.bytes,
            proof=proofs[digest].written(),
            packages=_kinds(kit, event),
            key_until=dates[0],
            backups_until=dates[1],
            key_destroyed=kit.key_destroyed_at is not None,
            not_found=not_found(kit) if event.digest in first else (),
        )
        for (kit, event, dates), digest in zip(found, digests, strict=True)
    ]


def _kinds(kit: Kit, destroyed: Event) -> dict[int, str]:
    """What kind of package each was and how it was stored, in words."""
    found = {}
    for entry in destroyed.get("packages"):
        each = kit.packages[int(entry["package"])]
        found[each.package] = f"{texts.KINDS[each.kind]}, {texts.STORAGE[each.storage]}"
    return found
