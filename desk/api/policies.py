"""Retention policies, version by version: who adopted them and when, every value with its source, what each
version changes, and the kits that a later one would keep longer."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from custody import access, reading
from custody.event import Event
from custody.kit import Kit
from custody.ledger import reading as seen_by
from custody.people import Actor
from custody.purpose import TASK
from custody.refusal import Refused
from desk.adopted import read_policies
from desk.api.answers import answer, written
from desk.api.document import describes
from desk.edge import Signed, acting, service
from desk.service import Service
from retention.adopting import longer_under, newest_valid
from retention.aloud import differences, values
from retention.policy import Policy
from retention.term import Term

router = APIRouter(tags=["policies"])

LOOKED_AT: Final = 500
"""Kits of earlier versions that are looked at for one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """One adopted version: the policy, its exact document, and the event that adopted it."""

    policy: Policy
    document: bytes
    event: Event

    @property
    def signers(self) -> tuple[str, ...]:
        """The names of the people who adopted it, who brought it first."""
        people = [self.event.who, *self.event.get("with")]
        return tuple(str(each["name"]) for each in people)


async def adopted(service: Service, actor: Actor) -> tuple[Adopted, ...]:
    """Every adopted version that can be read, the earlier ones of a policy first."""
    async with seen_by(service.engine, actor) as connection:
        documents = {hashlib.sha256(d).hexdigest(): d for d in await reading.policies(connection)}
        events = await reading.adoptions(connection)
    found = []
    for event in events:
        named, document = event.get("policy"), documents.get(event.get("digest"), b"")
        for policy in read_policies(document) or ():
            if (policy.id, policy.version) == (named["id"], named["version"]):
                found.append(Adopted(policy=policy, document=document, event=event))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueLine:
    """One value of a policy as its file writes it. Without a source: a name, a date or a place."""

    name: str
    value: str | None = None
    source: str | None = None
    confirmed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceLine:
    """What a version changes. `in_substance`: the value itself, and not only where it comes from."""

    name: str
    in_substance: bool
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyVersion:
    """One adopted version. `digest` is that of its document, and stands in the event that adopted it."""

    id: str
    version: int
    adopted_at: datetime
    adopted_by: tuple[str, ...]
    digest: str
    values: tuple[ValueLine, ...]
    changes: tuple[DifferenceLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LongerLine:
    """A kit that the version of its policy which is valid now keeps longer."""

    kit: str
    written: str
    policy: str
    newer: str
    ends: date
    would_end: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Longer:
    """`more`: the number after which to ask for further kits, where not all of them were looked at."""

    kits: tuple[LongerLine, ...]
    more: str | None = None


async def version_named(service: Service, actor: Actor, policy: str, version: str) -> tuple[Adopted, ...]:
    """The version of this name, and before it the one that it follows, if there is one. Raises 404."""
    found = [each for each in await adopted(service, actor) if each.policy.id == policy]
    for place, each in enumerate(found):
        if str(each.policy.version) == version:
            return (found[place - 1], each) if place else (each,)
    raise HTTPException(404)


@router.get(
    "/policies/longer",
    name="policies_longer",
    summary="Kits of the own centre that a later version of their policy would keep longer",
    openapi_extra=describes(answers={200: Longer}),
)
async def longer(
    request: Request,
    who: Annotated[Signed, Depends(acting("term.move"))],
    after: Annotated[str | None, Query(description="The number after which to go on")] = None,
) -> Response:
    await access.record(service(request).engine, who.actor, read="worklist", kit=None, purpose=TASK)
    found, more = await kept_longer(service(request), who.actor, after)
    return answer(Longer(kits=tuple(line(kit, new, term) for kit, new, term in found), more=more))


def line(kit: Kit, new: Policy, term: Term) -> LongerLine:
    """One entry of the list. The kit has a term and a policy, or it would not be longer under another."""
    if kit.term is None or kit.policy is None:
        raise TypeError("a kit without a term is kept longer under no policy")
    return LongerLine(
        kit=kit.number,
        written=written(kit.number),
        policy=f"{kit.policy.id}/{kit.policy.version}",
        newer=new.reference,
        ends=kit.term.end,
        would_end=term.end,
    )


async def kept_longer(
    service: Service, actor: Actor, after: str | None = None
) -> tuple[list[tuple[Kit, Policy, Term]], str | None]:
    """Kits of the actor's centre with the version and term that would keep them longer, by policy and number,
    and where to go on, if not all of them were looked at."""
    policies = await service.policies()
    identifiers = sorted({policy.id for policy in policies})
    begin, number = _from(after, identifiers)
    found: list[tuple[Kit, Policy, Term]] = []
    left = LOOKED_AT
    async with seen_by(service.engine, actor) as connection:
        at = await reading.now(connection)
        for identifier in identifiers[identifiers.index(begin) :] if begin else identifiers:
            newest = newest_valid(policies, identifier, at)
            if newest is None:
                continue
            centre, since = actor.organisation or "", number if identifier == begin else None
            seen = await reading.kits_under(connection, centre, (identifier, newest.version), since, left)
            found += [(kit, *better) for kit in seen if (better := _longer(kit, policies, at))]
            left -= len(seen)
            if left == 0:
                return found, f"{identifier}~{seen[-1].number}"
    return found, None


def _longer(kit: Kit, policies: Sequence[Policy], at: datetime) -> tuple[Policy, Term] | None:
    try:
        return longer_under(kit, policies, at)
    except Refused:
        return None  # its own version cannot be read: an alarm tells of that


def _from(after: str | None, identifiers: Sequence[str]) -> tuple[str | None, str | None]:
    """Where to go on: the policy and the kit's number. Raises Refused."""
    if after is None:
        return None, None
    identifier, _, number = after.partition("~")
    if identifier not in identifiers or not number:
        raise Refused("There is no such place in the list to go on from. Begin at its start.", field="after")
    return identifier, number


@router.get(
    "/policies/{policy}/{version}",
    name="policy_version",
    summary="One version of a policy: who adopted it, every value with its source, what it changes",
    openapi_extra=describes(answers={200: PolicyVersion}),
)
async def policy_version(
    request: Request, policy: str, version: str, who: Annotated[Signed, Depends(acting("policy.read"))]
) -> Response:
    *before, found = await version_named(service(request), who.actor, policy, version)
    return answer(
        PolicyVersion(
            id=found.policy.id,
            version=found.policy.version,
            adopted_at=found.event.recorded_at,
            adopted_by=found.signers,
            digest=found.event.get("digest"),
            values=tuple(
                ValueLine(name=v.name, value=v.written, source=v.source, confirmed=v.confirmed)
                for v in values(found.policy)
            ),
            changes=tuple(
                DifferenceLine(
                    name=d.name,
                    in_substance=d.in_substance,
                    before=d.before.written if d.before else None,
                    after=d.after.written if d.after else None,
                )
                for earlier in before
                for d in differences(earlier.policy, found.policy)
            ),
        )
    )


@router.get(
    "/policies/{policy}/{version}/document",
    name="policy_document",
    summary="The document of a version, byte for byte as it was adopted",
    openapi_extra=describes(answers={200: "application/json"}),
)
async def policy_document(
    request: Request, policy: str, version: str, who: Annotated[Signed, Depends(acting("policy.read"))]
) -> Response:
    *_, found = await version_named(service(request), who.actor, policy, version)
    name = f"{found.policy.id}-{found.policy.version}.json"
    told = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(found.document, media_type="application/json", headers=told)
