"""One form for every command, drawn from its shape; and the second signature of what another proposed.

The usual steps and the rare ones pass here alike, so that none of them is without a page. A refusal shows
the form again, filled in, with the reason on top.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import RowMapping
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.responses import Response

from custody import access, reading
from custody.kit import Kit
from custody.ledger import MovedOn, state_tag
from custody.ledger import reading as seen_by
from custody.number import NumberRefused
from custody.people import Function
from custody.permission import PERMISSIONS
from custody.purpose import NoPurpose
from custody.refusal import NotPermitted, NotSeen, Refused
from desk import edge, texts
from desk.api.answers import of_centre
from desk.doors import BY_ACTION, Door
from desk.edge import Signed
from desk.pages import ends, forms
from desk.pages.held import HoldTold, holds_of
from desk.pages.options import Chosen, asked_in_words, by_storage, unread_by
from desk.pages.page import page, to, translated
from desk.problems import Problem, problem_of
from desk.service import SEALED, Done, Given, Waiting
from retention.deciding import early_destruction
from retention.reckoning import policy_of
from retention.term import cooling_off_until, local_date

router = APIRouter()

# Steps that are decided on how the kit stands: the form carries its state, and a change in between is told.
ON_STATE: Final = frozenset(
    action
    for action in BY_ACTION
    if action.split(".")[0] in ("link", "order", "hold", "term", "disposal", "report", "card", "channel")
) | {"majority.confirm", "kit.link", "kit.restrict", "release.error", "destruction.confirm"}
CHANNEL_SHOWN: Final = frozenset({"notice.attempt", "notice.send", "channel.prove", "channel.change"})
HOLDS_SHOWN: Final = frozenset({"hold.lift", "hold.review"})
AHEAD: Final = frozenset({"term.extend", "destruction.ask", "destruction.confirm", "hold.place"})
TOLD_BEFORE_SIGNING: Final = frozenset({"destruction.confirm", "term.correct"})
ASKED_APART: Final = ("identity", "free_will")
UNASKED: Final = texts._(
    "You sign that you asked, apart from the other person, and are certain of both: who this is, and that it"
    " is the person's own wish. If you are not certain, decline; the request stays as it is."
)
CORRECTED: Final = (Refused, NumberRefused, ValidationError, MovedOn)


async def door_of(request: Request, action: str, who: Signed) -> Door:
    """The door of an action that this person's function has. Raises 404, NotPermitted, SignInTooOld."""
    if action not in BY_ACTION:
        raise HTTPException(404)
    if who.actor.function not in PERMISSIONS[action] or who.actor.function is Function.VICTIM:
        may = ", ".join(sorted(f for f in PERMISSIONS[action] if f is not Function.VICTIM))
        raise NotPermitted("Your function does not allow this. It is for: {functions}.", functions=may)
    await edge.stepped_up(request, who, action)
    return BY_ACTION[action]


@router.get("/do/{action}")
async def ask(request: Request, action: str, who: Annotated[Signed, Depends(edge.signed_in())]) -> Response:
    """The form of a step, for the packages or the kit in the address."""
    door = await door_of(request, action, who)
    query = request.query_params
    if action == "disposal.carry_out":  # a page of its own: everything is scanned there
        return to("/disposals/cart", kit=query.get("kit", ""))
    if action == "policy.adopt":  # and here a file is read aloud first
        return to("/adopt-policy")
    chosen = await forms.chosen_of(request, who, query.getlist("p"), query.get("kit"))
    if action == "destruction.confirm" and chosen.kit is not None:
        early_destruction(chosen.kit)
    return await _form(request, who, door, chosen, {})


async def _form(
    request: Request,
    who: Signed,
    door: Door,
    chosen: Chosen,
    filled: Mapping[str, Any] | FormData,
    problem: Problem | None = None,
    warn: bool = False,
) -> Response:
    kit = chosen.kit
    holds = await holds_of(request, who, kit) if door.action in HOLDS_SHOWN and kit is not None else {}
    chosen = replace(chosen, holds={id_: hold.line for id_, hold in holds.items()})
    controls = forms.controls(door, chosen)
    fresh = [{"kind": "bag", "storage": "dry", "seal": "", "usable_until": "", "items": _blank()}]
    if door.action == "package.split":
        forms.one_package(chosen)
        fresh = fresh * 2
    return await page(
        request,
        "do.html",
        title=translated(request, texts.ACTIONS[door.action]),
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
        door=door,
        controls=controls,
        chosen=chosen,
        kit=kit,
        tag=state_tag(kit)
        if door.action in ON_STATE and kit is not None and of_centre(who.actor, kit)
        else "",
        filled=filled,
        warn=warn,
        new_lines=forms.lines(filled, fresh),
        new_seal=door.action in forms.SEALS_NEW,
        scanned_into=bool(chosen.packages)
        or any(c.kind in ("new_packages", "new_package", "split") for c in controls),
        has_seal=forms.has_seal,
        seal_seen=door.action in forms.SEALS_SEEN,
        seal_unseen=door.action in forms.SEALS_UNSEEN,
        seal_asked=door.action in forms.SEALS_ASKED,
        unread=unread_by(chosen),
        apart=by_storage(chosen) if door.action == "package.store" else {},
        channel=await _channel(request, who, door, kit),
        asked=await _asked(request, who, door, filled),
        holds=holds,
        ahead=await _ahead(request, door, kit),
        corrections=await _corrections(request, door.action, kit),
        files=any(c.kind in ("digest", "paper") for c in controls),
        signs=any(c.kind == "signature" for c in controls),
    )


async def _asked(
    request: Request, who: Signed, door: Door, filled: Mapping[str, Any] | FormData
) -> Mapping[str, Any] | None:
    """The request of the police that is being answered."""
    if door.action != "request.answer":
        return None
    id_ = filled.get("request") or request.query_params.get("request")
    service = edge.service(request)
    async with seen_by(service.engine, who.actor) as connection:
        open_ = await reading.open_requests(connection, who.actor.organisation or "")
    found = next((r for r in open_ if r["id"] == id_), None)
    if found is None:
        raise HTTPException(404)
    zone = (await service.directory()).organisations[found["zone"]].name
    return {"zone": zone, "received_at": found["received_at"], **found["naming"]}


async def _ahead(request: Request, door: Door, kit: Kit | None) -> str:
    """What the step would bring if it were taken today."""
    if kit is None or door.action not in AHEAD:
        return ""
    return ends.ahead(
        request, door.action, kit, await edge.service(request).policies(), await edge.now(request)
    )


async def _corrections(
    request: Request, action: str, kit: Kit | None, now: str | None = None
) -> list[ends.Correction]:
    """What a correction of the age class brings, before it is made and before it is signed."""
    if kit is None or action != "term.correct":
        return []
    policies = await edge.service(request).policies()
    return ends.corrections(kit, policies, await edge.now(request), now)


def _blank() -> list[dict[str, str]]:
    return [{"type": "", "count": ""} for _ in range(forms.FIRST_LINES)]


async def _channel(request: Request, who: Signed, door: Door, kit: Kit | None) -> Mapping[str, str] | None:
    """Where a notice may go: the private part, read on record, shown on the forms that are about it alone."""
    if door.action not in CHANNEL_SHOWN or kit is None:
        return None
    service = edge.service(request)
    await service.kit(who.actor, kit.number, "private.read", "task")
    return {"channel": kit.channel or "none", **await forms.private_part(request, who, kit)}


@router.post("/do/{action}")
async def do(request: Request, action: str, who: Annotated[Signed, Depends(edge.signed_in())]) -> Response:
    """Carry the step out, or let it wait for the second person; then go where the receipt is shown."""
    door = await door_of(request, action, who)
    form = await request.form(max_files=4, max_fields=2000)
    kit = forms.value(form, "kit") if door.action != "request.answer" else None
    try:
        chosen = await forms.chosen_of(request, who, [str(v) for v in form.getlist("p")], kit, shown=False)
    except NumberRefused as refused:
        raise Refused(refused.fault.value, field="kit", **dict(refused.values)) from refused
    if "more" in form:
        return await _again(request, who, door, form, filled=grown(form))
    if forms.unusual(form):
        return await _again(request, who, door, form, warn=True)
    try:
        made = await forms.document(door, form, chosen)
        command = forms.order(door.shape, made)
        done = await edge.service(request).carry_out(door, command, forms.given(form, who, made))
    except CORRECTED as refusal:
        if isinstance(refusal, NotSeen):
            raise
        return await _again(request, who, door, form, problem_of(refusal))
    return after(form, done, chosen.kits)


async def _again(
    request: Request,
    who: Signed,
    door: Door,
    form: FormData,
    problem: Problem | None = None,
    *,
    filled: FormData | None = None,
    warn: bool = False,
) -> Response:
    """The form once more, as it was filled in; what it shows is on record first."""
    kit = forms.value(form, "kit") if door.action != "request.answer" else None
    chosen = await forms.chosen_of(request, who, [str(v) for v in form.getlist("p")], kit)
    return await _form(request, who, door, chosen, form if filled is None else filled, problem, warn)


def grown(form: FormData) -> FormData:
    """The form with one package or three lines of items more, as its button asked."""
    changed: dict[str, str] = {}
    what = str(form.get("more", ""))
    if what == "package":
        count = forms.whole(str(form.get("packages_count", ""))) or 1
        changed["packages_count"] = str(count + 1)
    elif what.startswith("lines-") and forms.whole(what.removeprefix("lines-")) is not None:
        changed[what] = str((forms.whole(str(form.get(what, ""))) or forms.FIRST_LINES) + 3)
    kept = [(k, v) for k, v in form.multi_items() if isinstance(v, str) and k not in changed]
    return FormData([*kept, *changed.items()])


def after(form: FormData, done: Done | Waiting, kits: Mapping[str, Kit]) -> Response:
    """To the kit, or to the first page where there are several or none."""
    path = f"/kits/{next(iter(kits))}" if len(kits) == 1 else "/"
    told = {"for": "task"} if len(kits) == 1 else {}
    if isinstance(done, Waiting):
        return to(path, **told, waiting=done.proposal)
    return to(path, **told, done=forms.key_of(form))


# --- the second signature ----------------------------------------------------------------------------------


@router.get("/signatures/{proposal}")
async def proposed(
    request: Request, proposal: str, who: Annotated[Signed, Depends(edge.acting("proposal.sign"))]
) -> Response:
    """What another person proposed, in words, to be compared and signed."""
    await edge.stepped_up_to_sign(request, who, proposal)
    return await _proposed(request, proposal, who)


async def _proposed(request: Request, proposal: str, who: Signed, problem: Problem | None = None) -> Response:
    service = edge.service(request)
    async with seen_by(service.engine, who.actor) as connection:
        waiting = await reading.proposal(connection, proposal)
    if waiting is None or waiting["signed_at"] is not None or waiting["declined_at"] is not None:
        raise HTTPException(404)
    if waiting["action"] == "policy.adopt":  # signed where every value is read aloud
        return to(f"/policies/{proposal}")
    await access.record(service.engine, who.actor, read="proposal", kit=waiting["kit"], purpose="task")
    directory = await service.directory()
    names = {a.person: a.name for a in directory.appointments}
    command, unread = await _opened(request, who, waiting)
    kit = None
    if waiting["action"] in TOLD_BEFORE_SIGNING:
        kit = (await service.ledger.look(who.actor, [waiting["kit"]])).kits.get(waiting["kit"])
    problem = problem or unread
    return await page(
        request,
        "signature.html",
        title=translated(request, texts._("Second signature")),
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
        waiting_for=waiting,
        proposer=names.get(waiting["person"], waiting["person"]),
        mine=waiting["person"] == who.actor.person,
        command=command,
        asked=await asked_in_words(request, who, _requests(command)),
        holds=await _holds(request, who, waiting["kit"], command),
        observer=waiting["action"] == "disposal.carry_out",
        cooling_off=await _cooling_off(request, kit, waiting),
        corrections=await _corrections(request, waiting["action"], kit, command.get("age_class")),
        organisations={o.id: o.name for o in directory.organisations.values()},
        places={p.id: p.name for p in directory.places.values()},
    )


async def _cooling_off(request: Request, kit: Kit | None, waiting: RowMapping) -> tuple[int, date] | None:
    """How many days the victim can think again if a destruction is confirmed now, and the last of them."""
    if kit is None or waiting["action"] != "destruction.confirm":
        return None
    policy = policy_of(kit, await edge.service(request).policies())
    at = await edge.now(request)
    last = local_date(policy, cooling_off_until(policy, at) - timedelta(microseconds=1))
    return (last - local_date(policy, at)).days, last


async def _opened(
    request: Request, who: Signed, waiting: RowMapping
) -> tuple[Mapping[str, Any], Problem | None]:
    """What was proposed; what is private in it for who may read the private part, on record first.

    Where it does not open, the rest with the refusal: it can still be declined or taken back.
    """
    command = {name: value for name, value in waiting["command"].items() if name != SEALED}
    if SEALED not in waiting["command"]:
        return command, None
    service = edge.service(request)
    try:
        await service.kit(who.actor, waiting["kit"], "private.read", "task")
        return await service.proposed(who.actor, waiting), None
    except (NotSeen, NotPermitted):
        return command, None
    except Refused as refusal:
        return command, problem_of(refusal)


async def _holds(
    request: Request, who: Signed, kit: str | None, command: Mapping[str, Any]
) -> Mapping[str, HoldTold]:
    """The hold that the step is about, for who may know of it."""
    if kit is None or "hold" not in command:
        return {}
    try:
        known = await edge.service(request).kit(who.actor, kit, "kit.read", "task")
        return await holds_of(request, who, known)
    except (NotSeen, NotPermitted, NoPurpose):
        return {}


def _requests(command: Mapping[str, Any]) -> list[str]:
    return [command["request"]] if command.get("request") else []


async def _unsaid(request: Request, who: Signed, proposal: str, form: FormData) -> Problem | Response | None:
    """What a page asks of who signs second, besides the signature; None where all is answered.

    Both who sign a destruction asked by themselves whether it is this person, and the person's own wish; a
    policy is signed on the page that reads it aloud. The API takes a signature as it is.
    """
    async with seen_by(edge.service(request).engine, who.actor) as connection:
        waiting = await reading.proposal(connection, proposal)
    action = waiting["action"] if waiting is not None else None
    if action == "policy.adopt" and forms.value(form, "read") != "aloud":
        return to(f"/policies/{proposal}")
    if action == "destruction.confirm" and any(
        forms.value(form, each) != "confirmed" for each in ASKED_APART
    ):
        return problem_of(Refused(UNASKED, field="identity"))
    return None


@router.post("/signatures/{proposal}")
async def sign(
    request: Request, proposal: str, who: Annotated[Signed, Depends(edge.acting("proposal.sign"))]
) -> Response:
    """Sign, or decline, what another person proposed."""
    form = await request.form()
    service = edge.service(request)
    if forms.value(form, "decision") == "decline":
        await service.drop(proposal, who.actor)
        return to("/")
    await edge.stepped_up_to_sign(request, who, proposal)
    unsaid = await _unsaid(request, who, proposal, form)
    if isinstance(unsaid, Response):
        return unsaid
    if unsaid is not None:
        return await _proposed(request, proposal, who, unsaid)
    body = json.dumps({"proposal": proposal}).encode()
    given = Given(actor=who.actor, key=forms.key_of(form), body=body)
    try:
        done = await service.sign(proposal, given)
    except CORRECTED as refusal:
        if isinstance(refusal, NotSeen):
            raise
        return await _proposed(request, proposal, who, problem_of(refusal))
    if done.card_code is not None:
        return await _new_card(request, who, done)
    if done.kit is not None:
        kits = (await service.ledger.look(who.actor, [done.kit])).kits
        if done.kit in kits:
            return to(f"/kits/{done.kit}", **{"for": "task", "done": given.key})
    return to("/", done=given.key)


async def _new_card(request: Request, who: Signed, done: Done) -> Response:
    """The one page that shows the new card's code and second number, to who signed second."""
    return await page(
        request,
        "card_renewed.html",
        title=translated(request, texts._("A new card")),
        who=who,
        status=201,
        done=done,
    )


# The shapes are read once at import, so that a shape which cannot be parsed fails before anybody waits.
ADAPTERS: Final = {action: TypeAdapter(door.shape) for action, door in BY_ACTION.items()}
