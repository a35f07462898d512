"""Signing in and out: at the organisation's own provider; in the demo, from a list of invented people."""

from collections.abc import Sequence
from itertools import groupby
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from custody import reading
from custody.directory import Appointment, day_of
from custody.people import Function
from desk import edge, pending, texts
from desk import session as sessions
from desk.api.sign_in import cookie_of, open_session
from desk.client import is_name
from desk.demo import let_pass
from desk.edge import Signed
from desk.pages import forms
from desk.pages.page import inside, page, to, translated
from desk.pending import Pending, Proof
from desk.provider import Provider, ProviderAway, Providers, Reason, SignInRefused, log_refusal
from desk.session import Purpose
from desk.token import TokenRefused

MOST_OFFERED: Final = 100  # functions of one person

router = APIRouter()


def providers(request: Request) -> Providers:
    return cast(Providers, request.app.state.providers)


@router.get("/sign-in", dependencies=[Depends(edge.openly("whoever is not signed in comes here"))])
async def ask(request: Request) -> Response:
    """Where people sign in: at their provider; in the demo as one of a list of invented people."""
    return await _ask(request, request.query_params.get("next"))


async def _ask(request: Request, then: str | None, away: Provider | None = None) -> Response:
    demo = edge.service(request).local_issuer is not None
    directory = await edge.service(request).directory() if demo else None
    people = sorted(directory.appointments, key=lambda a: (a.organisation, a.name)) if directory else []
    names = {o.id: o.name for o in directory.organisations.values()} if directory else {}
    return await page(
        request,
        "sign_in.html",
        title=translated(request, texts._("Sign in")),
        status=200 if away is None else 503,
        groups=[(names[o], list(each)) for o, each in groupby(people, key=lambda a: a.organisation)],
        local=demo,
        providers=list(providers(request)),
        away=None if away is None else away.client.name,
        then=inside(then),
    )


# --- at the provider --------------------------------------------------------------------------------------


@router.get(
    "/sign-in/at/{key}", dependencies=[Depends(edge.openly("whoever is not signed in signs in there"))]
)
async def begin(request: Request, key: str) -> Response:
    """Begin to sign in at a provider."""
    provider = providers(request).by_key(key)
    if provider is None:
        raise HTTPException(404)
    return await _begin(request, provider, request.query_params.get("next"))


@router.get("/sign-in/again")
async def again(request: Request, who: Annotated[Signed, Depends(edge.signed_in())]) -> Response:
    """Sign in once more at the same provider, for a step that asks for a recent sign-in."""
    provider = providers(request).by_issuer(who.session.issuer if who.session else None)
    then = request.query_params.get("next")
    if provider is None:
        return to("/sign-in/duty" if who.on_duty else "/sign-in", next=inside(then))
    return await _begin(request, provider, then, again=True)


async def _begin(request: Request, provider: Provider, then: str | None, *, again: bool = False) -> Response:
    await edge.count_attempt(request, Purpose.SIGN_IN, edge.address_of(request))
    browser = pending.browser_value(_browser(request))
    at = await edge.now(request)
    try:
        await provider.metadata(at)  # nothing is noted for a provider that is away
        async with edge.service(request).engine.begin() as connection:
            state = await pending.begin(
                connection, browser, issuer=provider.issuer, onward=inside(then), again=again
            )
        nonce, verifier = pending.nonce_of(browser, state), pending.verifier_of(browser, state)
        address = await provider.asks(at, state=state, nonce=nonce, verifier=verifier, again=again)
    except ProviderAway:
        return await _ask(request, then, provider)
    answer = RedirectResponse(address, 303)
    answer.headers["set-cookie"] = pending.browser_cookie(browser, https=edge.over_https(request))
    return answer


@router.get(
    "/sign-in/callback/{key}",
    dependencies=[Depends(edge.openly("the provider leads back here, with a code"))],
)
async def come_back(request: Request, key: str) -> Response:
    """The provider's answer: whoever began in this browser and proved who they are is signed in."""
    provider = providers(request).by_key(key)
    if provider is None:
        raise HTTPException(404)
    await edge.count_attempt(request, Purpose.SIGN_IN, edge.address_of(request))
    try:
        begun, proof, held = await _proved(request, provider)
    except (SignInRefused, TokenRefused) as refused:
        log_refusal(provider, refused)
        return await _refused(request)
    except ProviderAway:
        return await _ask(request, None, provider)
    await edge.forgive(request, Purpose.SIGN_IN, edge.address_of(request))
    appointment = await _chosen_before(request, held) if begun.again else None
    if len(held) == 1:
        appointment = held[0]
    if appointment is None:
        return await _ask_function(request, begun, proof, held)
    return await _signed_in(request, begun, proof, appointment)


async def _proved(request: Request, provider: Provider) -> tuple[Pending, Proof, tuple[Appointment, ...]]:
    """What was begun, who it was, and their functions. Raises SignInRefused, TokenRefused, ProviderAway."""
    given = request.query_params.multi_items()
    answer = dict(given)
    browser, state = _browser(request), answer.get("state")
    async with edge.service(request).engine.begin() as connection:
        begun = await pending.take(connection, browser, state)
        at = await reading.now(connection)
    if begun is None or begun.proof is not None or browser is None or state is None:
        raise SignInRefused(Reason.UNKNOWN)
    if begun.issuer != provider.issuer or len(given) != len(answer):
        raise SignInRefused(Reason.OTHER_PROVIDER)
    identity = await provider.identity(
        await provider.code_in(answer, at),
        nonce=pending.nonce_of(browser, state),
        verifier=pending.verifier_of(browser, state),
        since=begun.created_at,
        again=begun.again,
        at=at,
    )
    held = await edge.appointments_of(request, identity)
    if not held:
        raise SignInRefused(Reason.NOBODY)
    proof = Proof(
        person=held[0].person,
        authenticated_at=identity.authenticated_at,
        acr=identity.acr if identity.acr and is_name(identity.acr) else None,
        offered=tuple(map(_offer, held))[:MOST_OFFERED],
    )
    return begun, proof, held


def _offer(appointment: Appointment) -> str:
    return f"{appointment.function}@{appointment.organisation}"


async def _chosen_before(request: Request, held: Sequence[Appointment]) -> Appointment | None:
    """The function of the session that is still open, where the same person signs in once more."""
    value = request.cookies.get(sessions.cookie_name(https=edge.over_https(request)))
    async with edge.service(request).engine.begin() as connection:
        open_ = await sessions.find_session(connection, value)
    if open_ is None:
        return None
    mine = (open_.person, open_.function, open_.organisation)
    return next((each for each in held if (each.person, each.function, each.organisation) == mine), None)


async def _ask_function(
    request: Request, begun: Pending, proof: Proof, held: Sequence[Appointment]
) -> Response:
    browser = pending.browser_value(_browser(request))
    async with edge.service(request).engine.begin() as connection:
        choice = await pending.begin(
            connection, browser, issuer=begun.issuer, onward=begun.onward, proof=proof
        )
    directory = await edge.service(request).directory()
    return await page(
        request,
        "choose_function.html",
        title=translated(request, texts._("In which function do you work now?")),
        choice=choice,
        held=held,
        names={o.id: o.name for o in directory.organisations.values()},
    )


@router.post(
    "/sign-in/function",
    dependencies=[Depends(edge.openly("whoever just signed in at a provider chooses the function"))],
)
async def choose(request: Request) -> Response:
    """The function that somebody with several works in now."""
    await edge.check_form(request, None)
    form = await request.form()
    async with edge.service(request).engine.begin() as connection:
        begun = await pending.take(connection, _browser(request), forms.value(form, "choice"))
        held: tuple[Appointment, ...] = ()
        if begun is not None and begun.proof is not None:
            today = day_of(await reading.now(connection))
            known = await reading.appointments(connection, today, begun.proof.person)
            held = tuple(each for each in known if _offer(each) in begun.proof.offered)
    if begun is None or begun.proof is None or not held:
        return await _refused(request)
    return await _signed_in(
        request, begun, begun.proof, edge.chosen(held, forms.value(form, "function") or None)
    )


async def _signed_in(request: Request, begun: Pending, proof: Proof, appointment: Appointment) -> Response:
    value = await open_session(request, appointment, proof.authenticated_at, begun.issuer, proof.acr)
    answer = to(begun.onward)
    answer.headers["set-cookie"] = cookie_of(request, value)
    return answer


async def _refused(request: Request) -> Response:
    """The one page for every refusal: what exactly was wrong would help whoever is trying."""
    return await page(
        request,
        "not_signed_in.html",
        title=translated(request, texts._("You were not signed in")),
        status=403,
        reference=getattr(request.state, "reference", None),
    )


def _browser(request: Request) -> str | None:
    return request.cookies.get(pending.cookie_name(https=edge.over_https(request)))


# --- the demo, and signing out ----------------------------------------------------------------------------


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
    """End the session, then the one at the provider; a victim is taken to a page of somebody else's."""
    async with edge.service(request).engine.begin() as connection:
        await sessions.close_session(connection, who.cookie)
    provider = providers(request).by_issuer(who.session.issuer if who.session else None)
    if provider is not None:
        answer: Response = await _signed_out(request, provider)
    else:
        answer = to("/v" if who.actor.function is Function.VICTIM else "/sign-in")
    answer.headers["set-cookie"] = sessions.no_cookie(https=edge.over_https(request))
    return answer


async def _signed_out(request: Request, provider: Provider) -> Response:
    """A page that goes on to the provider's own sign-out: with a header, because a form may lead to our own
    pages alone (Content-Security-Policy), and a redirect is part of it."""
    try:
        address = await provider.signs_out(await edge.now(request))
    except ProviderAway:
        address = None
    values: dict[str, Any] = {"address": address, "provider": provider.client.name}
    title = translated(request, texts._("You are signed out here"))
    answer = await page(request, "signed_out.html", title=title, **values)
    if address is not None:
        answer.headers["refresh"] = f"0; url={address}"
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
