"""Signing in with the centre's sealed duty credential, and reviewing afterwards how it was used.

Two steps: the code of the sheet first; then who of the centre's people one is, and why. Names are shown to
nobody before the code was right. Works without any provider.
"""

import hashlib
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from custody import reading
from custody.directory import Appointment, day_of
from custody.people import Function, OrganisationKind
from custody.refusal import Refused
from desk import duty, edge, pending, texts
from desk import session as sessions
from desk.api.sign_in import cookie_of
from desk.edge import Signed
from desk.pages import forms
from desk.pages.page import inside, page, to, translated
from desk.pending import Pending
from desk.problems import Problem, problem_of
from desk.session import Purpose, TooManyAttempts

router = APIRouter()

_NO_CENTRE: Final = "no such centre"


@router.get(
    "/sign-in/duty", dependencies=[Depends(edge.openly("who cannot sign in at a provider comes here"))]
)
async def ask(request: Request) -> Response:
    """Where the code of the sheet is typed."""
    return await _ask(request, request.query_params.get("next"))


async def _ask(request: Request, then: str | None, problem: Problem | None = None) -> Response:
    return await page(
        request,
        "duty.html",
        title=translated(request, texts._("Duty credential")),
        status=problem.status if problem else 200,
        problem=problem,
        centres=await _centres(request),
        then=inside(then),
    )


async def _centres(request: Request) -> list[tuple[str, str]]:
    directory = await edge.service(request).directory()
    known = (o for o in directory.organisations.values() if o.kind is OrganisationKind.CENTRE)
    return sorted(((o.id, o.name) for o in known), key=lambda each: each[1])


@router.post("/sign-in/duty", dependencies=[Depends(edge.openly("the code of the sheet is what opens it"))])
async def enter(request: Request) -> Response:
    """The right code leads to the list of the centre's people."""
    await edge.check_form(request, None)
    form = await request.form()
    centre, then = forms.value(form, "centre") or "", forms.value(form, "next")
    try:
        found = await _opened(request, centre, forms.value(form, "code") or "")
    except (Refused, TooManyAttempts) as refusal:
        return await _ask(request, then, problem_of(refusal))
    browser = pending.browser_value(_browser(request))
    async with edge.service(request).engine.begin() as connection:
        issuer = duty.ISSUER + found.centre
        choice = await pending.begin(connection, browser, issuer=issuer, onward=inside(then))
    answer = await page(
        request,
        "duty_person.html",
        title=translated(request, texts._("Who are you?")),
        choice=choice,
        people=await _people(request, found.centre),
        opened=found.opened_at is not None,
        reasons=texts.DUTY_REASONS,
    )
    answer.headers["set-cookie"] = pending.browser_cookie(browser, https=edge.over_https(request))
    return answer


async def _opened(request: Request, centre: str, typed: str) -> duty.Credential:
    """The credential that this code opens. Counted before it is tried; where there is none, it takes as long.

    Raises Refused, TooManyAttempts.
    """
    code = duty.read_code(typed)
    known = centre if centre in dict(await _centres(request)) else _NO_CENTRE
    key = f"{known}\n{edge.address_of(request)}"
    await edge.count_attempt(request, Purpose.DUTY, key)
    async with edge.service(request).engine.connect() as connection:
        found = await duty.usable(connection, known)
    if not await run_in_threadpool(duty.matches, code, found[1] if found else None) or found is None:
        raise duty.DutyRefused
    await edge.forgive(request, Purpose.DUTY, key)
    return found[0]


async def _people(request: Request, centre: str) -> list[Appointment]:
    async with edge.service(request).engine.connect() as connection:
        today = day_of(await reading.now(connection))
        held = await reading.appointments(connection, today)
    mine = (each for each in held if each.organisation == centre and each.function in duty.FUNCTIONS)
    return sorted(mine, key=lambda each: (each.name, each.function))


@router.post(
    "/sign-in/duty/person",
    dependencies=[Depends(edge.openly("whoever gave the right code says who they are"))],
)
async def choose(request: Request) -> Response:
    """This person is signed in, until the credential ends; the sign-in is on record first."""
    await edge.check_form(request, None)
    form = await request.form()
    state, reason = forms.value(form, "choice"), forms.value(form, "reason") or ""
    async with edge.service(request).engine.begin() as connection:
        begun = await pending.take(connection, _browser(request), state)
    try:
        found = await _still_open(request, begun)
        person = next(
            (each for each in await _people(request, found.centre) if _value(each) == form.get("person")),
            None,
        )
        if begun is None or state is None or person is None:
            raise duty.DutyRefused
        service, key = edge.service(request), hashlib.sha256(state.encode()).hexdigest()[:32]
        until = await duty.use(service.engine, service.ledger, found, person.actor(), reason, key)
    except Refused as refusal:
        return await _ask(request, begun.onward if begun else None, problem_of(refusal))
    value = await _session(request, begun, person, until)
    answer = to(begun.onward)
    answer.headers["set-cookie"] = cookie_of(request, value)
    return answer


async def _still_open(request: Request, begun: Pending | None) -> duty.Credential:
    """The credential whose code was given at the beginning. Raises DutyRefused."""
    if begun is None or not begun.issuer.startswith(duty.ISSUER):
        raise duty.DutyRefused
    async with edge.service(request).engine.connect() as connection:
        found = await duty.usable(connection, begun.issuer.removeprefix(duty.ISSUER))
    if found is None or found[0].made_at > begun.created_at:
        raise duty.DutyRefused
    return found[0]


async def _session(request: Request, begun: Pending, person: Appointment, until: datetime) -> str:
    name = sessions.cookie_name(https=edge.over_https(request))
    async with edge.service(request).engine.begin() as connection:
        return await sessions.open_session(
            connection,
            person=person.person,
            function=str(person.function),
            organisation=person.organisation,
            replaces=request.cookies.get(name),
            issuer=begun.issuer,
            until=until,
        )


def _value(appointment: Appointment) -> str:
    return f"{appointment.person}|{appointment.function}"


def _browser(request: Request) -> str | None:
    return request.cookies.get(pending.cookie_name(https=edge.over_https(request)))


# --- afterwards -------------------------------------------------------------------------------------------


@router.get("/duty")
async def look(request: Request, who: Annotated[Signed, Depends(edge.acting("duty.review"))]) -> Response:
    """What was opened at the own centre and waits for a review."""
    return await _look(request, who)


async def _look(request: Request, who: Signed, problem: Problem | None = None) -> Response:
    async with edge.service(request).engine.connect() as connection:
        opened = await duty.unreviewed(connection, who.actor.organisation or "")
        names = {each.person: each.name for each in (await reading.directory(connection)).appointments}
        reviewers = {each.id: await _reviewers(connection, each) for each in opened}
    return await page(
        request,
        "duty_review.html",
        title=translated(request, texts._("Duty credential")),
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
        opened=opened,
        names=names,
        reviewers=reviewers,
        reasons=texts.DUTY_REASONS,
        findings=texts.DUTY_FINDINGS,
    )


async def _reviewers(connection: AsyncConnection, opened: duty.Credential) -> dict[str, str]:
    """Who may review it: the centre's coordinators who did not use it, under whatever entry."""
    used = await duty.same_people(connection, opened.used_by)
    held = await reading.appointments(connection, day_of(await reading.now(connection)))
    mine = [
        each for each in held if each.organisation == opened.centre and each.function is Function.COORDINATOR
    ]
    return {e.person: e.name for e in mine if not await duty.same_people(connection, (e.person,)) & used}


@router.post("/duty")
async def review(request: Request, who: Annotated[Signed, Depends(edge.acting("duty.review"))]) -> Response:
    """A coordinator who did not use it reviewed the use; the credential ends with it."""
    form = await request.form()
    service, key = edge.service(request), forms.key_of(form)
    id_, finding = forms.value(form, "credential") or "", forms.value(form, "finding") or ""
    try:
        await duty.review(service.engine, service.ledger, who.actor, id_, finding, key)
    except Refused as refusal:
        return await _look(request, who, problem_of(refusal))
    return to("/duty", done=key)
