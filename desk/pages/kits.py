"""One kit: how it stands, who holds what, what happened, what can be done now.

Opening a kit takes a scan, a task or a reason that is given; every opening is on record first.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from custody import delivery, reading, readings
from custody.directory import Directory
from custody.event import Event
from custody.kit import Kit
from custody.ledger import reading as seen_by
from custody.number import parse_kit_number
from custody.permission import Relation, kept_out, may, relations, with_justice
from custody.protocol import Legal, Trail
from custody.purpose import (
    GLASS,
    GLASS_HOLDS,
    PURPOSES,
    NoPurpose,
    reasons_of,
    unasked,
)
from custody.refusal import NotPermitted, NotSeen, Refused
from custody.registering import item_key
from custody.restriction import still_here
from desk import edge, texts
from desk.api.answers import of_centre
from desk.api.kits import export, export_choices
from desk.edge import Signed
from desk.pages import ends, forms
from desk.pages.hands import drawing, stretches
from desk.pages.page import ask_why, day, inside, kit_written, language, page, to, translated
from desk.pages.steps import GROUPS_OF_KIT, for_kit, for_packages, packages_on_offer
from desk.pages.told import told
from desk.problems import problem_of
from retention.holds import unreviewed
from retention.policy import Policy

router = APIRouter()


@router.get("/kits/{number}")
async def kit(
    request: Request, number: str, who: Annotated[Signed, Depends(edge.acting("kit.read"))]
) -> Response:
    """The kit as it stands. Without a purpose in the address, the page asks for one, unless the kit is this
    person's work now. What cannot be seen is refused to a stated purpose alone: asking tells nothing."""
    known = str(parse_kit_number(number))
    purpose = request.query_params.get("for", "")
    given = purpose in PURPOSES or purpose == GLASS
    if not given:
        purpose = unasked(who.actor.function)
    service = edge.service(request)
    try:
        found = await service.kit(who.actor, known, "kit.read", purpose)
    except NoPurpose as refused:
        return await ask_why(request, who, known, problem_of(refused) if given else None)
    except (NotSeen, NotPermitted):
        if given:
            raise
        return await ask_why(request, who, known)
    if (
        given and "then" in request.query_params
    ):  # a page of the kit that could not be opened without a reason
        return to(inside(request.query_params["then"]))
    who = replace(who, actor=await service.eyes(who.actor, found))
    trail = await _trail(request, who, found, purpose)
    part = await _private_part(request, who, found, purpose)
    at = await edge.now(request)
    directory = await service.directory()
    names = {o.id: o.name for o in directory.organisations.values()}
    return await page(
        request,
        "kit.html",
        title=f"{translated(request, texts._('Kit'))} {kit_written(known)}",
        who=who,
        kit=found,
        purpose=purpose,
        states=_states(request, found, who, at, await service.policies()),
        steps=for_kit(who.actor, found, purpose),
        groups=tuple(GROUPS_OF_KIT),
        unreviewed=unreviewed(found, at),
        last_day=ends.last_day,
        package_steps={p.package: for_packages(who.actor, [(found, p)]) for p in found.packages.values()},
        mine_to_accept=packages_on_offer(who.actor, found),
        trail=told(request, trail, names) if trail is not None else None,
        hands=_hands(request, trail or ()),
        at=at,
        staff=of_centre(who.actor, found),
        whole=Relation.OF_CENTRE in relations(who.actor, found)
        or Relation.LINKED in relations(who.actor, found),
        may_read_choices=may("choices_trail.read", who.actor, found),
        may_export=may("custody_trail.export", who.actor, found),
        names=names,
        closed=with_justice(found) and Relation.OF_CENTRE in relations(who.actor, found),
        readers=await _readers(request, who, found, directory),
        glass_until=await _glass_until(request, who, found, at),
        private={name: part[name] for name in PRIVATE if name in part},
        types={item: part[item_key(item)] for item in found.items if item_key(item) in part},
        item=request.query_params.get("item"),
    )


@router.post("/kits/{number}")
async def open_for(
    request: Request, number: str, who: Annotated[Signed, Depends(edge.acting("kit.read"))]
) -> Response:
    """A reason was given: open the kit for it."""
    form = await request.form()
    purpose, then = forms.value(form, "purpose") or "", forms.value(form, "then")
    if purpose not in reasons_of(who.actor.function):
        raise Refused("Say why you open this kit.", field="purpose")
    return to(f"/kits/{parse_kit_number(number)}", **{"for": purpose}, **({"then": then} if then else {}))


async def _trail(request: Request, who: Signed, kit: Kit, purpose: str) -> list[Event] | None:
    """The custody trail, for who may read it; None for the others."""
    if not may("custody_trail.read", who.actor, kit):
        return None
    service = edge.service(request)
    await service.kit(who.actor, kit.number, "custody_trail.read", purpose)
    async with seen_by(service.engine, who.actor) as connection:
        return await reading.trail(connection, kit.number, Trail.CUSTODY)


PRIVATE: Final = ("hospital_reference", "channel_address", "channel_hours", "channel_question")
"""What of the private part stands on the kit's page beside what each item is."""


async def _private_part(request: Request, who: Signed, kit: Kit, purpose: str) -> dict[str, str]:
    """The private part, for who may read that: what each item is, how to reach whom."""
    if not may("private.read", who.actor, kit):
        return {}
    service = edge.service(request)
    await service.kit(who.actor, kit.number, "private.read", purpose)
    return await forms.private_part(request, who, kit)


async def _glass_until(request: Request, who: Signed, kit: Kit, at: datetime) -> str | None:
    """Until when (hours and minutes) the kit is open to this person because they broke the glass.

    None where it is open for another reason.
    """
    if kit.number not in who.actor.glass or who.actor.person in kit.readers:
        return None
    async with seen_by(edge.service(request).engine, who.actor) as connection:
        own = await readings.own(connection, kit.number, at - GLASS_HOLDS)
    broken = [record.recorded_at for record in own if record.get("read") == GLASS]
    return f"{(max(broken) + GLASS_HOLDS).astimezone(edge.CALENDAR):%H:%M}" if broken else None


@dataclass(frozen=True, slots=True)
class State:
    """One axis in words; ``tone`` is how it is coloured."""

    axis: str
    says: str
    tone: str = ""
    more: str = ""


async def _readers(request: Request, who: Signed, kit: Kit, directory: Directory) -> list[str]:
    """The names of who alone may read a restricted kit, with a word at those who have left."""
    if not kit.readers or kept_out(who.actor, kit):
        return []
    async with edge.service(request).engine.connect() as connection:
        names = await reading.names_of(connection, kit.readers)
    here, left = still_here(kit, directory), translated(request, texts._("left"))
    return sorted(names.get(r, r) + ("" if r in here else f" ({left})") for r in kit.readers)


def _states(request: Request, kit: Kit, who: Signed, at: datetime, policies: Sequence[Policy]) -> list[State]:
    def _(message: str) -> str:
        return translated(request, message)

    since = ""
    if kit.legal is Legal.RELEASED and kit.released_at is not None:
        on = day(kit.released_at.astimezone(edge.CALENDAR).date(), language(request))
        since = _(texts._("with justice since {day}")).format(day=on)
    held = Counter(texts.CUSTODY[p.state] for p in kit.packages.values())
    custody = " · ".join(f"{n} {_(word)}" for word, n in held.items()) or _(texts._("no packages"))
    states = [
        State(_(texts._("Packages")), custody),
        State(
            _(texts._("Justice")),
            _(texts.LEGAL[kit.legal]),
            "accent" if kit.legal is not Legal.UNREPORTED else "",
            since,
        ),
    ]
    if of_centre(who.actor, kit):
        more = ""
        if kit.term is not None and kit.legal is Legal.UNREPORTED and kit.retention != "disposed":
            more = ends.told(request, kit, at, policies, ends.STAFF)
            if why := ends.moved(request, kit, policies):
                more = f"{more}. {why}"
        states.append(State(_(texts._("Term")), _(texts.RETENTION[kit.retention]), "", more))
    return states


def _hands(request: Request, trail: Sequence[Event]) -> Any:
    words = {
        "title": translated(request, texts._("Who held each package, in order")),
        "package": translated(request, texts._("P")),
        "way": translated(request, texts._("on the way")),
    }
    return drawing(stretches(trail), words)


@router.get("/kits/{number}/choices")
async def choices(
    request: Request, number: str, who: Annotated[Signed, Depends(edge.acting("choices_trail.read"))]
) -> Response:
    """The choices trail: for the kit's own centre alone, and apart from what goes to court."""
    service = edge.service(request)
    found = await service.kit(who.actor, str(parse_kit_number(number)), "choices_trail.read", "task")
    async with seen_by(service.engine, who.actor) as connection:
        events = await reading.trail(connection, found.number, Trail.CHOICES)
        handed_out = await delivery.disclosed(connection, found.number)
    return await page(
        request,
        "choices.html",
        title=translated(request, texts._("Choices trail")),
        who=who,
        kit=found,
        trail=told(request, events, {}),
        may_export=may("choices_trail.export", who.actor, found),
        may_disclose=may("choices.disclose", who.actor, found),
        handed_out=handed_out,
    )


@router.post("/kits/{number}/bundle")
async def bundle(
    request: Request, number: str, who: Annotated[Signed, Depends(edge.acting("custody_trail.export"))]
) -> Response:
    """The custody trail with its proofs as a file, for a purpose that is given."""
    return await export(request, number, who, await _export_purpose(request))


@router.post("/kits/{number}/choices-bundle")
async def choices_bundle(
    request: Request, number: str, who: Annotated[Signed, Depends(edge.acting("choices_trail.export"))]
) -> Response:
    """The choices trail with its proofs as a file, as far as a judge's order handed it out."""
    return await export_choices(request, number, who, await _export_purpose(request))


async def _export_purpose(request: Request) -> str:
    purpose = forms.value(await request.form(), "purpose") or ""
    if purpose not in texts.EXPORT_PURPOSES:
        raise Refused("Say what the file is for.", field="purpose")
    return purpose
