"""Signing in and out, the demo's own sign-in, and whether the service is well."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from sqlalchemy import text
from starlette.responses import JSONResponse, Response

from custody import reading
from custody.commands import command
from custody.directory import Appointment
from desk import session as sessions
from desk.api.answers import DemoToken, Healthy, Me, answer
from desk.api.document import describes, document_of
from desk.api.people import me_of
from desk.client import is_name
from desk.edge import (
    CALENDAR,
    FUNCTION_HEADER,
    Body,
    Sent,
    Signed,
    appointments_of,
    chosen,
    identity_of,
    openly,
    over_https,
    service,
    signed_in,
)
from desk.issuer import LIFE

router = APIRouter(tags=["sign-in"])
demo_router = APIRouter(tags=["demo"])


async def open_session(
    request: Request,
    appointment: Appointment,
    authenticated_at: datetime | None = None,
    issuer: str | None = None,
    acr: str | None = None,
) -> str:
    """Open a session of the pages for this person; answers the cookie's value. Closes the one it replaces.

    `issuer` is the provider that vouched for the person, None in the demo.
    """
    name = sessions.cookie_name(https=over_https(request))
    async with service(request).engine.begin() as connection:
        return await sessions.open_session(
            connection,
            person=appointment.person,
            function=str(appointment.function),
            organisation=appointment.organisation,
            authenticated_at=authenticated_at,
            replaces=request.cookies.get(name),
            issuer=issuer,
            acr=acr if acr is not None and is_name(acr) else None,
        )


def cookie_of(request: Request, value: str) -> str:
    """The Set-Cookie header of a person's session."""
    return sessions.session_cookie(value, kind=sessions.Kind.PERSON, https=over_https(request))


@router.post(
    "/session",
    name="session_open",
    summary="Exchange an access token for a session of the pages",
    openapi_extra=describes(answers={201: Me}),
)
async def sign_in(
    request: Request,
    _: Annotated[None, Depends(openly("the bearer token in the request is what signs in"))],
) -> Response:
    identity = await identity_of(request)
    held = chosen(await appointments_of(request, identity), request.headers.get(FUNCTION_HEADER))
    local = service(request).local_issuer
    if local is not None and identity.issuer == local.url:
        value = await open_session(request, held, identity.authenticated_at)
    else:
        # Without a stated time of the proof, the session begins with one too old for any step that asks.
        proved_at = identity.signed_in_at or identity.issued_at - sessions.ABSOLUTE[sessions.Kind.PERSON]
        value = await open_session(request, held, proved_at, identity.issuer, identity.acr)
    told = await me_of(request, Signed(actor=held.actor(), cookie=value))
    return answer(told, 201, set_cookie=cookie_of(request, value))


@router.delete(
    "/session",
    name="session_close",
    summary="Sign out",
    status_code=204,
    openapi_extra=describes(answers={204: None}),
)
async def sign_out(request: Request, who: Annotated[Signed, Depends(signed_in())]) -> Response:
    if who.cookie is not None:
        async with service(request).engine.begin() as connection:
            await sessions.close_session(connection, who.cookie)
    return Response(status_code=204, headers={"set-cookie": sessions.no_cookie(https=over_https(request))})


@router.get(
    "/healthz",
    name="health",
    summary="Whether the service reaches its database",
    openapi_extra=describes(answers={200: Healthy}),
)
async def health(
    request: Request, _: Annotated[None, Depends(openly("it says nothing but that it is well"))]
) -> Response:
    async with service(request).engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    return answer(Healthy(status="ok"))


@router.get(
    "/api/openapi.json",
    name="openapi",
    summary="This document",
    openapi_extra=describes(answers={200: "application/json"}),
)
async def openapi(
    request: Request, _: Annotated[None, Depends(openly("the API's form is no secret"))]
) -> Response:
    return JSONResponse(document_of(request.app))


# --- the demo ---------------------------------------------------------------------------------------------


@command
class DemoSignIn:
    """Who of the invented people signs in; `function` as in the header Custody-Function."""

    person: str
    function: str | None = None


@demo_router.get(
    "/demo/jwks",
    name="demo_jwks",
    summary="The demo issuer's public key (RFC 7517)",
    openapi_extra=describes(answers={200: "application/json"}),
)
async def jwks(request: Request, _: Annotated[None, Depends(openly("a public key is public"))]) -> Response:
    issuer = service(request).local_issuer
    assert issuer is not None, "the demo's routes exist with its issuer only"
    return JSONResponse(issuer.jwks())


@demo_router.post(
    "/demo/sign-in",
    name="demo_sign_in",
    summary="Sign in as one of the invented people",
    openapi_extra=describes(body=DemoSignIn, answers={201: DemoToken}, key=False),
)
async def demo_sign_in(
    request: Request,
    _: Annotated[None, Depends(openly("everybody in the demo is invented"))],
    sent: Annotated[Sent[DemoSignIn], Depends(Body(DemoSignIn))],
) -> Response:
    issuer = service(request).local_issuer
    assert issuer is not None, "the demo's routes exist with its issuer only"
    async with service(request).engine.connect() as connection:
        at = await reading.now(connection)
        held = await reading.appointments(connection, at.astimezone(CALENDAR).date(), sent.order.person)
    appointment = chosen(held, sent.order.function)
    value = await open_session(request, appointment)
    told = DemoToken(
        access_token=issuer.issue(appointment.person, at),
        token_type="Bearer",  # noqa: S106 (the name of a scheme, RFC 6750)
        expires_in=int(LIFE.total_seconds()),
        me=await me_of(request, Signed(actor=appointment.actor(), cookie=value)),
    )
    return answer(told, 201, set_cookie=cookie_of(request, value))
