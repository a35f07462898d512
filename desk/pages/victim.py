"""The victim's page: a code from the card and a second number open it; it says kindly how things stand.

Protective wishes take effect at once; the others ask the centre, where two people confirm them. A visit is
an access record, not an event of the custody trail. Words, status and cost are the same for a code that
nobody has, a stopped card and a wrong second number.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from sqlalchemy import text
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from custody import card as cards
from custody.kit import Kit
from custody.people import Function
from custody.permission import PERMISSIONS, may
from custody.protocol import Legal, Retention
from custody.refusal import Refused
from desk import edge, texts
from desk import session as sessions
from desk.doors import BY_ACTION
from desk.edge import Signed
from desk.pages import ends, forms
from desk.pages.page import day, language, page, to, translated
from desk.pages.steps import RECORDS, possible
from desk.problems import Problem, problem_of
from desk.session import Kind, Purpose
from retention.deciding import of_age
from retention.policy import Policy

router = APIRouter()

_FIND: Final = text("SELECT kit, secret_hash FROM custody.find_card(:code_hash)")
LEAVE_TO: Final = "https://www.meteo.be/"
WRONG: Final = texts._("Code and number do not belong together. Please compare both and try again.")


class NotTogether(Refused):
    """A code that nobody has, a stopped card, or a wrong second number: one sentence for all three."""

    def __init__(self) -> None:
        super().__init__(WRONG)


@router.get("/v", dependencies=[Depends(edge.openly("whoever has a card comes here"))])
async def ask(request: Request) -> Response:
    """Where the card's code and the second number are typed."""
    return await _ask(request)


async def _ask(request: Request, problem: Problem | None = None) -> Response:
    return await page(
        request,
        "victim_enter.html",
        title=translated(request, texts._("Your page")),
        status=problem.status if problem else 200,
        problem=problem,
        stopped="stopped" in request.query_params,
    )


@router.post("/v", dependencies=[Depends(edge.openly("the card and the second number are what opens it"))])
async def enter(request: Request) -> Response:
    """Open the page of the card's own kit."""
    await edge.check_form(request, None)
    form = await request.form()
    try:
        code = cards.parse_code(forms.value(form, "code") or "")
        secret = cards.parse_secret(forms.value(form, "secret") or "")
        kit = await _kit_of(request, code, secret)
    except (cards.CardRefused, NotTogether, sessions.TooManyAttempts) as refusal:
        return await _ask(request, problem_of(refusal))
    async with edge.service(request).engine.begin() as connection:
        name = sessions.cookie_name(https=edge.over_https(request))
        value = await sessions.open_card_session(connection, kit=kit, replaces=request.cookies.get(name))
    answer = to("/v/kit")
    answer.headers["set-cookie"] = sessions.session_cookie(
        value, kind=Kind.CARD, https=edge.over_https(request)
    )
    return answer


async def _kit_of(request: Request, code: cards.CardCode, secret: cards.SecondSecret) -> str:
    """The kit of this card. Counted before it is tried; an unknown code costs what a known one costs."""
    engine = edge.service(request).engine
    code_hash = cards.code_hash(code)
    address, card = edge.address_of(request), code_hash.hex()
    counted = {Purpose.CARD_CODE: address, Purpose.CARD_SECRET: f"{card} {address}", Purpose.CARD: card}
    await edge.count_attempts(request, counted)
    async with engine.connect() as connection:
        found = (await connection.execute(_FIND, {"code_hash": code_hash})).one_or_none()
    if found is None:
        await run_in_threadpool(cards.no_such_secret, secret)
        raise NotTogether
    if not await run_in_threadpool(cards.secret_matches, secret, found.secret_hash):
        raise NotTogether
    for purpose, key in counted.items():
        await edge.forgive(request, purpose, key)
    return str(found.kit)


@router.get("/v/leave", dependencies=[Depends(edge.openly("leaving must always work"))])
async def leave(request: Request) -> Response:
    """Close the page at once and go to the weather."""
    name = sessions.cookie_name(https=edge.over_https(request))
    async with edge.service(request).engine.begin() as connection:
        found = await sessions.find_session(connection, request.cookies.get(name))
        if found is not None and found.kind is Kind.CARD:
            await sessions.close_session(connection, request.cookies.get(name))
    answer = RedirectResponse(LEAVE_TO, status_code=303)
    answer.headers["referrer-policy"] = "no-referrer"
    if found is None or found.kind is Kind.CARD:
        answer.headers["set-cookie"] = sessions.no_cookie(https=edge.over_https(request))
    return answer


@dataclass(frozen=True, slots=True)
class Wish:
    """Something that can be asked for here."""

    action: str
    title: str
    says: str
    button: str
    gentle: bool = True


WISHES: Final = (
    Wish(
        "report.declare",
        texts._("I want to report"),
        texts._(
            "The centre is told that you decided to report. From then on nothing can be destroyed. You can"
            " still change your mind together with the centre, until the police have the file."
        ),
        texts._("I want to report"),
    ),
    Wish(
        "term.extend",
        texts._("Keep it longer"),
        texts._("You get more time to decide. You do not have to say why."),
        texts._("Keep it longer"),
    ),
    Wish(
        "hold.place",
        texts._("Keep it safe for now"),
        texts._(
            "Nothing is destroyed until you and the centre have spoken. Use this also if somebody puts you"
            " under pressure."
        ),
        texts._("Keep it safe for now"),
    ),
    Wish(
        "destruction.take_back",
        texts._("I changed my mind: keep it"),
        texts._("Your wish to have it destroyed is taken back."),
        texts._("Keep it"),
    ),
    Wish(
        "channel.prove",
        texts._("The agreed way to reach me is still right"),
        texts._(
            "The centre may go on telling you things in the way that you agreed with it. If it is no longer"
            " right, speak with the centre: nobody else can change it."
        ),
        texts._("It is still right"),
    ),
    Wish(
        "card.stop",
        texts._("Stop this card"),
        texts._(
            "From then on the card and its second number open nothing, and this page closes. Everything else"
            " stays as it is; the centre can give you a new card."
        ),
        texts._("Stop this card"),
        gentle=False,
    ),
    Wish(
        "withdrawal.wish",
        texts._("I no longer want to go on with the report"),
        texts._(
            "The centre records your wish and passes it on. The prosecutor's office decides about the file."
        ),
        texts._("Record my wish"),
        gentle=False,
    ),
    Wish(
        "destruction.ask",
        texts._("Have it destroyed"),
        texts._(
            "The centre first speaks with you. Then there is a time to think. Nothing happens before that is"
            " over, and you can change your mind until it is destroyed."
        ),
        texts._("Ask for it"),
        gentle=False,
    ),
)


ASKED: Final = texts._("You asked to have it destroyed. The centre will speak with you first.")
OF_AGE_FIRST: Final = texts._(
    "The centre notes that you wish it. It can be destroyed before the agreed time only once the centre knows"
    " that you are of age, and has spoken with you; until then it is kept. You can change your mind at any"
    " time."
)
ASKED_TOO_EARLY: Final = texts._(
    "You asked to have it destroyed. That is possible only once the centre knows that you are of age; until"
    " then it is kept."
)
THINKING: Final = texts._(
    "You asked to have it destroyed. Nothing happens before the end of {day}, and you can change your mind"
    " until it is destroyed."
)
THOUGHT: Final = texts._(
    "You asked to have it destroyed, and the time to think is over. You can change your mind until it is"
    " destroyed."
)


@router.get("/v/kit")
async def own(request: Request, who: Annotated[Signed, Depends(edge.acting("own_kit.read"))]) -> Response:
    """How things stand, and what can be asked for."""
    kit = await edge.service(request).kit(who.actor, who.actor.card or "", "own_kit.read", "own_page")
    return await _own(request, who, kit)


async def _own(request: Request, who: Signed, kit: Kit, problem: Problem | None = None) -> Response:
    at, policies = await edge.now(request), await edge.service(request).policies()
    return await page(
        request,
        "victim.html",
        title=translated(request, texts._("Your page")),
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
        standing=_says(request, kit, at, policies),
        gone=kit.retention is Retention.DISPOSED,
        more=_more(request, kit),
        ahead=_ahead(request, kit, policies, at),
        wishes=[_for(w, kit) for w in WISHES if _open(w.action, kit, who)],
        recorded=await _recorded(request, who),
    )


def _for(wish: Wish, kit: Kit) -> Wish:
    """The wish in the words for this kit: no destruction is promised before majority."""
    if wish.action != "destruction.ask" or of_age(kit):
        return wish
    return replace(wish, says=OF_AGE_FIRST)


async def _recorded(request: Request, who: Signed) -> tuple[str, datetime] | None:
    """The wish that was just sent and when it was recorded, read back from the event itself."""
    key = request.query_params.get("done")
    if not key:
        return None
    query = text("SELECT type, recorded_at FROM custody.receipts(:author, :key)")
    async with edge.service(request).engine.connect() as connection:
        found = (await connection.execute(query, {"author": who.actor.author, "key": key})).all()
    by_type = {each.type: each for each in found}
    # Taking a wish for destruction back may set the term again; a longer term is then not what was asked.
    known = sorted(WISHES, key=lambda w: w.action == "term.extend")
    wished = ((w, by_type[type_]) for w in known for type_ in RECORDS[w.action] if type_ in by_type)
    return next(((translated(request, w.title), each.recorded_at) for w, each in wished), None)


def _open(action: str, kit: Kit, who: Signed) -> bool:
    if not may(action, who.actor, kit) or not possible(action, kit):
        return False
    match action:
        case _ if kit.legal is Legal.RELEASED:
            return action == "withdrawal.wish"
        case "destruction.ask":
            return kit.destruction is None
        case "destruction.take_back":
            return kit.destruction is not None or kit.ended_by_wish
        case "hold.place":
            return kit.retention is not Retention.DISPOSED and all(
                h.ground != "safety" for h in kit.holds.values()
            )
        case "channel.prove":
            return kit.channel not in (None, "none") and kit.retention is not Retention.DISPOSED
        case "card.stop":
            return kit.card == "issued"
        case "term.extend":
            return kit.retention is not Retention.DISPOSED
        case _:
            return True


def _says(request: Request, kit: Kit, at: datetime, policies: Sequence[Policy]) -> str:
    """How things stand, in one kind sentence."""
    lang = language(request)

    def _(message: str, on: Any = None) -> str:
        told = translated(request, message)
        return told.format(day=day(on, lang)) if on is not None else told

    local = edge.CALENDAR
    if kit.legal is Legal.RELEASED and kit.released_at:
        return _(texts._("With justice since {day}."), kit.released_at.astimezone(local).date())
    if kit.legal is Legal.LINKED and kit.linked_at and kit.link and kit.link.ground == "order":
        return _(
            texts._(
                "Linked to a file on a judge's order since {day}. It is kept until the police take it over."
            ),
            kit.linked_at.astimezone(local).date(),
        )
    if kit.legal is Legal.LINKED and kit.linked_at:
        return _(
            texts._(
                "Linked to your report since {day}. It is kept at the centre until the police take it over."
            ),
            kit.linked_at.astimezone(local).date(),
        )
    if kit.legal is Legal.DECLARED and kit.reported_at:
        return _(
            texts._("You decided to report on {day}. It is kept; nothing can be destroyed."),
            kit.reported_at.astimezone(local).date(),
        )
    if kit.retention is Retention.DISPOSED and kit.disposed_at:
        last = kit.disposed_at.astimezone(local).date()
        return _(texts._("It was kept until {day}, and is no longer there."), last)
    if kit.retention in (Retention.RUNNING, Retention.NOTICE_DUE):
        return ends.told(request, kit, at, policies, ends.VICTIM) or _(ends.VICTIM["over"])
    return _(ends.VICTIM["over"])


def _more(request: Request, kit: Kit) -> list[str]:
    """What else is good to know."""
    lang = language(request)
    told = []
    if any(h.ground == "safety" for h in kit.holds.values()):
        told.append(translated(request, texts._("You asked to keep it safe. Nothing is destroyed.")))
    if kit.retention is Retention.NOTICE_DUE:
        told.append(
            translated(request, texts._("The agreed time is coming to its end. You may ask for more time."))
        )
    if kit.destruction is not None and kit.destruction.until is None:
        told.append(translated(request, ASKED if of_age(kit) else ASKED_TOO_EARLY))
    if kit.destruction is not None and kit.destruction.until is not None:
        last = ends.last_day(kit.destruction.until)
        told.append(translated(request, THINKING).format(day=day(last, lang)))
    if kit.ended_by_wish:
        told.append(translated(request, THOUGHT))
    return told


def _ahead(request: Request, kit: Kit, policies: Sequence[Policy], at: datetime) -> dict[str, str]:
    """What a wish would bring today, where that is more than its words say."""
    return {"term.extend": ends.ahead(request, "term.extend", kit, policies, at)}


@router.post("/v/kit")
async def wish(request: Request, who: Annotated[Signed, Depends(edge.acting("own_kit.read"))]) -> Response:
    """Record a wish; what it takes is decided by the same rules as for everybody."""
    form = await request.form()
    action = forms.value(form, "wish") or ""
    number = who.actor.card or ""
    known = next((w for w in WISHES if w.action == action), None)
    try:
        if known is None or forms.value(form, "sure") != "yes":
            raise Refused("Please tick that you are sure.", field="sure")
        made: dict[str, Any] = {"kit": number, "how": "by_card"}
        if action == "hold.place":
            made = {"kit": number, "ground": "safety", "reason": "asked for by card"}
        if action == "card.stop":
            made = {"kit": number, "reason": "asked for by card"}
        door = BY_ACTION[action]
        order: Any = forms.order(door.shape, made)
        await edge.service(request).carry_out(door, order, forms.given(form, who, made))
    except Refused as refusal:
        kit = await edge.service(request).kit(who.actor, number, "own_kit.read", "own_page")
        return await _own(request, who, kit, problem_of(refusal))
    if action == "card.stop":
        answer = to("/v", stopped="1")
        answer.headers["set-cookie"] = sessions.no_cookie(https=edge.over_https(request))
        return answer
    return to("/v/kit", done=forms.key_of(form))


# Every wish is a command like any other, and the victim may give it.
assert all(Function.VICTIM in PERMISSIONS[BY_ACTION[w.action].action] for w in WISHES)
