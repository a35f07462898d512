"""Signing in and out. The demo signs in its invented people from a list; elsewhere a token is exchanged."""

from itertools import groupby
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from custody import reading
from custody.people import Function
from desk import edge, texts
from desk import session as sessions
from desk.api.sign_in import cookie_of, open_session
from desk.demo import let_pass
from desk.edge import Signed
from desk.pages import forms
from desk.pages.page import inside, page, to, translated

router = APIRouter()


@router.get("/sign-in", dependencies=[Depends(edge.openly("whoever is not signed in comes here"))])
async def ask(request: Request) -> Response:
    """Who signs in: a list of invented people in the demo, a sentence elsewhere."""
    demo = edge.service(request).local_issuer is not None
    directory = await edge.service(request).directory() if demo else None
    people = sorted(directory.appointments, key=lambda a: (a.organisation, a.name)) if directory else []
    names = {o.id: o.name for o in directory.organisations.values()} if directory else {}
    return await page(
        request,
        "sign_in.html",
        title=translated(request, texts._("Sign in")),
        groups=[(names[o], list(each)) for o, each in groupby(people, key=lambda a: a.organisation)],
        local=demo,
        then=inside(request.query_params.get("next")),
    )


@router.post("/sign-in", dependencies=[Depends(edge.openly("everybody in the demo is invented"))])
async def sign_in(request: Request) -> Response:
    """The demo's sign-in, without proof; it exists with the demo's own issuer only."""
    service = edge.service(request)
    if service.local_issuer is None:
        raise HTTPException(404)
    await edge.check_form(request, None)
    form = await request.form()
    person, _, function = (forms.value(form, "who") or "").partition("|")
    async with service.engine.connect() as connection:
        at = await reading.now(connection)
        held = await reading.appointments(connection, at.astimezone(edge.CALENDAR).date(), person)
    value = await open_session(request, edge.chosen(held, function or None))
    answer = to(inside(forms.value(form, "next")))
    answer.headers["set-cookie"] = cookie_of(request, value)
    return answer


@router.post("/sign-out")
async def sign_out(request: Request, who: Annotated[Signed, Depends(edge.signed_in())]) -> Response:
    """End the session; a victim is taken to a page of somebody else's."""
    async with edge.service(request).engine.begin() as connection:
        await sessions.close_session(connection, who.cookie)
    answer = to("/v" if who.actor.function is Function.VICTIM else "/sign-in")
    answer.headers["set-cookie"] = sessions.no_cookie(https=edge.over_https(request))
    return answer


@router.post("/demo/days")
async def pass_days(request: Request, who: Annotated[Signed, Depends(edge.signed_in())]) -> Response:
    """Let the demo's clock go on, so that terms can be seen to end."""
    if not edge.settings(request).demo:
        raise HTTPException(404)
    days = forms.whole(forms.value(await request.form(), "days") or "")
    if days is not None:
        await let_pass(edge.service(request).engine, min(days, 366))
    return to("/")
