"""Who is signed in, and registers in which no kit stands: organisations, places, policies."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from custody import reading
from custody.directory import Appointment
from custody.people import Function
from custody.refusal import NotPermitted
from desk.api.answers import (
    FunctionAnswer,
    Me,
    OrganisationAnswer,
    Organisations,
    PlaceAnswer,
    Places,
    Policies,
    PolicyAnswer,
    answer,
)
from desk.api.document import describes
from desk.edge import CALENDAR, Signed, acting, service, signed_in
from retention.policy import Policy

router = APIRouter(tags=["people and places"])

Anybody = Annotated[Signed, Depends(signed_in())]


async def person(who: Anybody) -> Signed:
    """Somebody with a function; a victim's card opens its own kit and nothing else."""
    if who.actor.function is Function.VICTIM:
        raise NotPermitted("Your function does not allow this.")
    return who


Person = Annotated[Signed, Depends(person)]


@router.get(
    "/me",
    name="me",
    summary="Who is signed in, and in which functions they can act",
    openapi_extra=describes(answers={200: Me}),
)
async def me(request: Request, who: Anybody) -> Response:
    return answer(await me_of(request, who))


async def me_of(request: Request, who: Signed) -> Me:
    actor = who.actor
    found: tuple[Appointment, ...] = ()
    async with service(request).engine.connect() as connection:
        now = await reading.now(connection)
        if actor.person is not None:
            today = now.astimezone(CALENDAR).date()
            found = await reading.appointments(connection, today, actor.person)
    held = tuple(
        FunctionAnswer(
            function=a.function, organisation=a.organisation, choose=f"{a.function}@{a.organisation}"
        )
        for a in found
    )
    return Me(
        now=now,
        function=actor.function,
        person=actor.person,
        name=actor.name,
        organisation=actor.organisation,
        kit=actor.card,
        functions=held,
        form_token=who.csrf,
    )


@router.get(
    "/organisations",
    name="organisations",
    summary="Organisations that take part",
    openapi_extra=describes(answers={200: Organisations}),
)
async def organisations(request: Request, who: Person) -> Response:
    known = (await service(request).directory()).organisations.values()
    told = (OrganisationAnswer(id=o.id, kind=str(o.kind), name=o.name) for o in known)
    return answer(Organisations(organisations=tuple(sorted(told, key=lambda o: o.id))))


@router.get(
    "/places",
    name="places",
    summary="Open places of the own organisation",
    openapi_extra=describes(answers={200: Places}),
)
async def places(request: Request, who: Person) -> Response:
    known = (await service(request).directory()).places.values()
    told = (
        PlaceAnswer(id=p.id, organisation=p.organisation, name=p.name, storage=p.storage)
        for p in known
        if p.organisation == who.actor.organisation
    )
    return answer(Places(places=tuple(sorted(told, key=lambda p: p.id))))


@router.get(
    "/policies",
    name="policies",
    summary="Retention policies that were adopted, every version",
    openapi_extra=describes(answers={200: Policies}),
)
async def policies(request: Request, who: Annotated[Signed, Depends(acting("policy.read"))]) -> Response:
    return answer(Policies(policies=tuple(_policy(each) for each in await service(request).policies())))


def _policy(policy: Policy) -> PolicyAnswer:
    periods = {
        "adult": policy.adult,
        "minor": policy.minor,
        "unknown": policy.unknown,
        "notice": policy.notice,
        "cooling_off": policy.cooling_off,
        "extension": policy.extension,
        "contest": policy.contest,
        "unlinked": policy.unlinked,
    }
    return PolicyAnswer(
        id=policy.id,
        version=policy.version,
        country=policy.country,
        centre=policy.centre,
        valid_from=policy.valid_from,
        kept={name: str(periods[name].period) for name in ("adult", "minor", "unknown")},
        notice=str(policy.notice.period),
        cooling_off=str(policy.cooling_off.period),
        extension=str(policy.extension.period),
        contest=str(policy.contest.period),
        unconfirmed=tuple(name for name, each in periods.items() if not each.confirmed),
    )
