"""The edge: who acts, whether the action is theirs, and what exactly was sent.

Every route names its action with `acting("kit.read")`, or says with `openly("…")` why it needs none; a test
walks the routes and fails for one that does neither. What is refused here is refused before any kit is
looked at, so the answer is the same whether the kit exists or not; how a person stands to one kit is asked
later, by the rules.

A person comes with a bearer token (RFC 6750) or with the cookie of a session. A cookie is sent by the browser
whoever asks it to, so a request that changes something with a cookie must also carry the form token of that
session and come from our own pages. What the person may do is never read from the token: it follows from the
appointments that stand today. Who holds several functions says with `Custody-Function:
<function>@<organisation>` in which one this request is made.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar, cast

from fastapi import Request
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException

from custody import reading
from custody.directory import CALENDAR as CALENDAR
from custody.directory import Appointment, day_of
from custody.ledger import reading as seen_by
from custody.number import NumberRefused, parse_kit_number
from custody.people import Actor, Function
from custody.permission import PERMISSIONS
from custody.refusal import NotPermitted, Refused
from desk import duty
from desk import session as sessions
from desk.attempt_key import asker, attempt_key
from desk.problems import ForeignForm, NotSignedIn, SignInTooOld
from desk.service import Given, Service
from desk.settings import Settings
from desk.token import Identity, strict_json

T = TypeVar("T")

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
FORM_TOKEN: Final = "form_token"
"""The field of a form, and `FORM_TOKEN_HEADER` the header of a script, that prove the session's own page."""
FORM_TOKEN_HEADER: Final = "Custody-Form-Token"
FUNCTION_HEADER: Final = "Custody-Function"
RECENT_FOR: Final[Mapping[str, frozenset[Function] | None]] = {
    "disposal.approve": None,
    "disposal.carry_out": None,
    "handover.accept": frozenset({Function.OFFICER}),  # the police accept: the release
    "handover.record_acceptance": None,
    "custody_trail.export": None,
    "choices_trail.export": None,
    "choices.disclose": None,
    "private.disclose": None,
    "policy.adopt": None,
}
"""What asks for a recent sign-in, and of whom (None: of everybody): disposal, release, export, the rules."""
ON_DUTY: Final = frozenset(
    {
        # reading
        "kit.read",
        "custody_trail.read",
        "private.read",
        "worklist.read",
        "kit.break_glass",
        # registering, packages, labels
        "kit.register",
        "kit.supplement",
        "numbers.reserve",
        "labels.print",
        "package.seal",
        "package.open",
        "package.reseal",
        "package.store",
        "package.take",
        "package.take_over",
        "package.split",
        "package.join",
        "package.lose",
        "package.find",
        "seal.check",
        "item.finding",
        "event.correct",
        # from hand to hand; the release to the police at the centre is among it
        "handover.offer",
        "handover.carry",
        "handover.accept",
        "handover.refuse",
        "handover.cancel",
        "handover.record_acceptance",
        "handover.receive_back",
        # what protects: it keeps evidence longer, and can be ended by day
        "report.declare",
        "hold.place",
        "term.extend",
        "notice.attempt",
    }
)
"""All that goes with the duty credential: what a night cannot wait for, and one person may do alone. Whoever
has the sheet can be any of the centre's people, so a second signature given with it would prove nothing."""
NO_DUTY: Final = (
    "This is not possible with the duty credential. Sign in at your organisation's own sign-in page once it"
    " can be reached again."
)
KEY_HEADER: Final = "Idempotency-Key"

_KEY: Final = re.compile(r"[\x21-\x7e]{8,200}")
_ETAG: Final = re.compile(r'"([0-9a-f]{32})"')
_FORMS: Final = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
_KIT_FIELDS: Final = frozenset({"kit", "kits"})
_DOCUMENTS: Final = frozenset({"document"})
"""Taken as they are, line ends included: a digest is made of them, and their own reader is the strict one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """Who is signed in: the person in one function, or a victim's card on its kit.

    `cookie` is the session's value for somebody who came with one, `identity` what a token said of somebody
    who came with that; never both.
    """

    actor: Actor
    cookie: str | None = None
    session: sessions.Session | None = None
    identity: Identity | None = None

    @property
    def on_duty(self) -> bool:
        """Whether the person signed in with the centre's duty credential."""
        issuer = None if self.session is None else self.session.issuer
        return issuer is not None and issuer.startswith(duty.ISSUER)

    @property
    def csrf(self) -> str | None:
        """What the forms of this session carry in the field `FORM_TOKEN`."""
        return None if self.cookie is None else sessions.form_token(self.cookie)


def service(request: Request) -> Service:
    """What this worker shares between its requests."""
    return cast(Service, request.app.state.service)


def settings(request: Request) -> Settings:
    return cast(Settings, request.app.state.settings)


def over_https(request: Request) -> bool:
    """Whether people reach the service over https, and cookies can be bound to it."""
    return settings(request).base_url.startswith("https://")


async def now(request: Request) -> datetime:
    """The database's clock: the only time there is."""
    async with service(request).engine.connect() as connection:
        return await reading.now(connection)


_secret = lru_cache(maxsize=8)(attempt_key)  # read once in each process


async def count_attempt(request: Request, purpose: sessions.Purpose, key: str) -> None:
    """Count an attempt before it is made, whatever becomes of it. Raises TooManyAttempts."""
    await sessions.count_attempt(service(request).engine, purpose, key, _secret(settings(request).keys))


async def count_attempts(request: Request, tried: Mapping[sessions.Purpose, str]) -> None:
    """The same at several keys at once; refused at one, it counts at none. Raises TooManyAttempts."""
    await sessions.count_attempts(service(request).engine, tried, _secret(settings(request).keys))


async def forgive(request: Request, purpose: sessions.Purpose, key: str) -> None:
    """Forget the attempts at a key: this one was right."""
    async with service(request).engine.begin() as connection:
        await sessions.forgive(connection, purpose, key, _secret(settings(request).keys))


def address_of(request: Request) -> str:
    """What the asker's address counts as."""
    return asker(request.client.host if request.client else None)


# --- who acts ---------------------------------------------------------------------------------------------


async def signed(request: Request) -> Signed:
    """Who is signed in. Raises NotSignedIn, TokenRefused, NotPermitted, ForeignForm."""
    known = getattr(request.state, "signed", None)
    if isinstance(known, Signed):
        return known
    found = await (_by_token(request) if "authorization" in request.headers else _by_cookie(request))
    request.state.signed = found
    return found


async def identity_of(request: Request) -> Identity:
    """What the bearer token of this request says. Raises NotSignedIn, TokenRefused."""
    given = request.headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token:
        raise NotSignedIn
    return await service(request).verifier.verify(token, await now(request))


async def appointments_of(request: Request, identity: Identity) -> tuple[Appointment, ...]:
    """The functions that this person holds today and the issuer vouches for; none for somebody whom the
    register does not know. The demo's issuer, which asks for no proof, speaks for everybody in the demo."""
    local, trusted = service(request).local_issuer, service(request).verifier.issuer(identity.issuer)
    of_demo = local is not None and identity.issuer == local.url
    async with service(request).engine.connect() as connection:
        if of_demo:
            person: str | None = identity.login
        else:
            person = await reading.person_of(connection, identity.issuer, identity.login)
        if person is None:
            return ()
        today = day_of(await reading.now(connection))
        held = await reading.appointments(connection, today, person)
    if of_demo:
        return held
    return tuple(
        each
        for each in held
        if trusted is not None and trusted.vouches_for(each.function, each.organisation, identity.words)
    )


def chosen(held: tuple[Appointment, ...], wanted: str | None) -> Appointment:
    """The function in which the person acts now. Raises NotPermitted, naming the choices."""
    if not held:
        raise NotPermitted("You hold no function here today. Your organisation's coordinator can say why.")
    named = {f"{each.function}@{each.organisation}": each for each in held}
    if wanted is None and len(held) == 1:
        return held[0]
    if wanted not in named:
        raise NotPermitted(
            "Say with the header Custody-Function in which function you act: {choices}.",
            choices=", ".join(sorted(named)),
        )
    return named[wanted]


async def _by_token(request: Request) -> Signed:
    identity = await identity_of(request)
    held = await appointments_of(request, identity)
    return Signed(actor=chosen(held, request.headers.get(FUNCTION_HEADER)).actor(), identity=identity)


async def _by_cookie(request: Request) -> Signed:
    value = request.cookies.get(sessions.cookie_name(https=over_https(request)))
    async with service(request).engine.begin() as connection:
        session = await sessions.find_session(connection, value)
        if value is None or session is None:
            raise NotSignedIn
        if not await _vouched(request, connection, session):
            raise NotSignedIn
        actor = await _actor_of(connection, session)
    if request.method not in SAFE:
        await check_form(request, value)
    return Signed(actor=actor, cookie=value, session=session)


async def _vouched(request: Request, connection: Any, session: sessions.Session) -> bool:
    """Whether what vouched for this session still does: its issuer for that organisation, as it is configured
    now, or the duty credential. What the provider said of functions was checked at the sign-in."""
    if session.issuer is None:  # a card, or the demo
        return True
    if session.issuer.startswith(duty.ISSUER):
        return await duty.stands(connection, session.issuer, session.created_at)
    trusted = service(request).verifier.issuer(session.issuer)
    return trusted is not None and session.organisation in trusted.organisations


async def _actor_of(connection: Any, session: sessions.Session) -> Actor:
    if session.kind is sessions.Kind.CARD:
        return Actor(function=Function.VICTIM, card=session.kit)
    today = day_of(await reading.now(connection))
    for each in await reading.appointments(connection, today, session.person):
        if (each.function, each.organisation) == (session.function, session.organisation):
            return each.actor()
    raise NotSignedIn  # the appointment ended, and with it the session


async def stepped_up(request: Request, who: Signed, action: str) -> None:
    """Refuse what asks for a recent sign-in to somebody whose sign-in at a provider is older, or whose token
    does not say how old it is; or less strong than the issuer's configuration asks. The demo, whose sign-in
    proves nothing, is exempt. With the duty credential only what stands in `ON_DUTY` goes at all.

    Raises SignInTooOld, NotPermitted.
    """
    asked_of = RECENT_FOR.get(action, frozenset())
    asked = asked_of is None or who.actor.function in asked_of
    if who.on_duty and action not in ON_DUTY:
        raise NotPermitted(NO_DUTY)
    if not asked:
        return
    local = service(request).local_issuer
    if who.identity is not None:
        issuer, acr, proved_at = who.identity.issuer, who.identity.acr, who.identity.signed_in_at
    elif who.session is not None and who.session.issuer is not None:
        issuer, acr, proved_at = who.session.issuer, who.session.acr, who.session.authenticated_at
    else:
        return
    if local is not None and issuer == local.url:
        return
    trusted = service(request).verifier.issuer(issuer)
    recent = proved_at is not None and await now(request) - proved_at <= SignInTooOld.MAX_AGE
    if not recent or (trusted is not None and not trusted.is_strong(acr)):
        raise SignInTooOld(() if trusted is None else trusted.strong_acr)


async def stepped_up_to_sign(request: Request, who: Signed, proposal: str) -> None:
    """The same for the second signature under what another proposed. Raises SignInTooOld."""
    async with seen_by(service(request).engine, who.actor) as connection:
        waiting = await reading.proposal(connection, proposal)
    if waiting is not None:
        await stepped_up(request, who, waiting["action"])


async def check_form(request: Request, cookie: str | None) -> None:
    """Refuse a form that is not one of our own pages'. Raises ForeignForm.

    Before there is a session (sign-in, card code) `cookie` is None and only the sender is checked.
    """
    here = sessions.came_from_here(
        origin=request.headers.get("origin"),
        fetch_site=request.headers.get("sec-fetch-site"),
        base_url=settings(request).base_url,
    )
    if not here:
        raise ForeignForm
    if cookie is None:
        return
    token = request.headers.get(FORM_TOKEN_HEADER)
    if token is None and media_type(request) in _FORMS:
        field = (await request.form()).get(FORM_TOKEN)
        token = field if isinstance(field, str) else None
    if not sessions.form_token_holds(cookie, token):
        raise ForeignForm


# --- whether the action is theirs -------------------------------------------------------------------------


class Acting:
    """A dependency that declares a route's action and lets only those in whose function has it."""

    def __init__(self, action: str | None) -> None:
        if action is not None and action not in PERMISSIONS:
            raise ValueError(f"{action} is not an action of custody.permission")
        self.action = action

    async def __call__(self, request: Request) -> Signed:
        found = await signed(request)
        if self.action is not None and found.actor.function not in PERMISSIONS[self.action]:
            raise NotPermitted(
                "Your function does not allow this. It is for: {functions}.",
                functions=", ".join(sorted(PERMISSIONS[self.action])),
            )
        if self.action is not None:
            await stepped_up(request, found, self.action)
        return found


class Openly:
    """A dependency that declares why a route needs nobody to be signed in."""

    def __init__(self, why: str) -> None:
        self.why = why

    async def __call__(self, request: Request) -> Signed | None:
        return None


class OpenlyWithMore(Openly):
    """Open to everybody; who is signed in, and in whose function the action is, is shown more."""

    def __init__(self, why: str, action: str) -> None:
        super().__init__(why)
        if action not in PERMISSIONS:
            raise ValueError(f"{action} is not an action of custody.permission")
        self.action = action

    async def __call__(self, request: Request) -> Signed | None:
        """Who is to be shown more; None for everybody else. A token that is refused is still refused."""
        token = "authorization" in request.headers
        if not token and sessions.cookie_name(https=over_https(request)) not in request.cookies:
            return None
        try:
            found = await signed(request)
        except NotSignedIn:
            if token:
                raise
            return None  # a session that has ended
        shown = found.actor.function in PERMISSIONS[self.action]
        return found if shown and (not found.on_duty or self.action in ON_DUTY) else None


def acting(action: str) -> Acting:
    """`Depends(acting("kit.read"))` answers `Signed`. Default deny: what the table does not allow is 403."""
    return Acting(action)


def signed_in() -> Acting:
    """For what everybody may do who is signed in: see who they are, sign out."""
    return Acting(None)


def openly(why: str) -> Openly:
    return Openly(why)


def openly_with_more(why: str, action: str) -> OpenlyWithMore:
    """`Depends(openly_with_more("…", "log.read"))` answers `Signed` for whom the action is, else None."""
    return OpenlyWithMore(why, action)


def declared(route: Any) -> list[Acting | Openly]:
    """What a route declares: exactly one, or a test fails."""

    def within(dependant: Any) -> Iterator[Acting | Openly]:
        for each in dependant.dependencies:
            if isinstance(each.call, Acting | Openly):
                yield each.call
            yield from within(each)

    return list(within(route.dependant)) if hasattr(route, "dependant") else []


# --- what was sent ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent(Generic[T]):
    """A command as it was read, and the exact bytes that came in."""

    order: T
    body: bytes


class Body(Generic[T]):
    """A dependency that reads the JSON body of a command as strictly as `order_of`."""

    def __init__(self, shape: type[T]) -> None:
        self.shape = shape
        self._adapter: TypeAdapter[T] = TypeAdapter(shape)

    async def __call__(self, request: Request) -> Sent[T]:
        if media_type(request) != "application/json":
            raise HTTPException(415)
        data = await request.body()
        try:
            document = strict_json(data)
        except ValueError:
            raise Refused("The body is not JSON, or has a member twice.", field="body") from None
        return Sent(order_of(self._adapter, document), data)


def order_of(adapter: TypeAdapter[T], document: object) -> T:
    """A command out of plain JSON values: kit numbers are read as people write them, text is checked.

    Raises Refused or pydantic's ValidationError, both with the name of the field.
    """
    try:
        return adapter.validate_json(json.dumps(_read(document, "", "")))
    except RecursionError:
        raise Refused("The body is nested more deeply than any command is.", field="body") from None


def _read(value: object, path: str, name: str) -> object:
    if isinstance(value, dict):
        return {_text(k, "body"): _read(v, f"{path}.{k}" if path else k, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_read(v, f"{path}.{place}" if path else str(place), name) for place, v in enumerate(value)]
    if not isinstance(value, str) or name in _DOCUMENTS:
        return value
    text = _text(value, path)
    if name in _KIT_FIELDS:
        try:
            return str(parse_kit_number(text))
        except NumberRefused as refused:
            raise Refused(refused.fault.value, field=path, **dict(refused.values)) from None
    return text


def _text(value: str, path: str) -> str:
    """Text in one spelling (NFC) without characters that do nothing but hide something."""
    if any(unicodedata.category(c) in ("Cc", "Cs", "Cf", "Co", "Cn") for c in value):
        raise Refused("This text has characters that cannot be seen. Write it again.", field=path or "body")
    return unicodedata.normalize("NFC", value)


def media_type(request: Request) -> str:
    """The type of the body without its parameters; only UTF-8 is read."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    given = parameters.strip().lower()
    if given.startswith("charset=") and given.removeprefix("charset=").strip('"') != "utf-8":
        raise HTTPException(415)
    return kind.strip().lower()


def key_of(request: Request) -> str:
    """The Idempotency-Key: 8 to 200 visible ASCII characters, the caller's own name for this one act."""
    given = request.headers.getlist(KEY_HEADER)
    if len(given) != 1 or not _KEY.fullmatch(given[0]):
        raise Refused(
            "Send one Idempotency-Key of 8 to 200 visible characters: a new one for each act, the same one to"
            " repeat it.",
            field=KEY_HEADER,
        )
    return given[0]


def expected_of(request: Request) -> str | None:
    """The state that the caller decided on (If-Match); None where it does not matter."""
    given = request.headers.getlist("if-match")
    if not given or given == ["*"]:
        return None
    found = _ETAG.fullmatch(given[0]) if len(given) == 1 else None
    if found is None:
        raise Refused("If-Match takes the ETag of a kit, as it was given.", field="If-Match")
    return found[1]


def given(request: Request, who: Signed, body: bytes) -> Given:
    """A command as it came in, ready for `Service`."""
    return Given(actor=who.actor, key=key_of(request), body=body, expected=expected_of(request))
