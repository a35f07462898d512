"""A kit begins: what was collected and agreed; then its number and the card, shown once."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response

from custody import commands as c
from custody.card import parse_code
from custody.number import NumberRefused, parse_kit_number
from custody.refusal import Refused
from desk import edge, texts
from desk.edge import Signed
from desk.pages import ends, forms
from desk.pages.doing import CORRECTED, grown
from desk.pages.page import page, translated
from desk.problems import Problem, problem_of
from labels.victim_card import VictimCard, card_pdf

router = APIRouter()

THREE: tuple[dict[str, Any], ...] = (
    {"kind": "envelope", "storage": "frozen", "seal": "", "usable_until": ""},
    {"kind": "clothing_bag", "storage": "dry", "seal": "", "usable_until": ""},
    {"kind": "tube_rack", "storage": "refrigerated", "seal": "", "usable_until": ""},
)
"""Most kits: frozen swabs, dry clothing, toxicology tubes."""


@router.get("/register")
async def ask(request: Request, who: Annotated[Signed, Depends(edge.acting("kit.register"))]) -> Response:
    """The form, with three packages to begin with."""
    return await _form(request, who, {})


async def _form(request: Request, who: Signed, filled: Any, problem: Problem | None = None) -> Response:
    blank = [{"type": "", "count": ""} for _ in range(forms.FIRST_LINES)]
    now = (await edge.now(request)).astimezone(edge.CALENDAR)
    return await page(
        request,
        "register.html",
        title=translated(request, texts._("Register a kit")),
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
        filled=filled,
        number=request.query_params.get("number") or filled.get("number", ""),
        now=now.strftime("%Y-%m-%dT%H:%M"),
        new_lines=forms.lines(filled, [{**start, "items": list(blank)} for start in THREE]),
        split=False,
        one=False,
    )


@router.post("/register")
async def register(
    request: Request, who: Annotated[Signed, Depends(edge.acting("kit.register"))]
) -> Response:
    """Register the kit. The answer is the one page that shows the card's code and second secret."""
    form = await request.form(max_files=4, max_fields=2000)
    if "more" in form:
        return await _form(request, who, grown(form))
    try:
        made = await _order(form)
        order = forms.order(c.Register, made)
        done = await edge.service(request).register(order, forms.given(form, who, made))
    except (*CORRECTED, NumberRefused) as refusal:
        return await _form(request, who, form, problem_of(refusal))
    service, kept = edge.service(request), ("", "")
    kit = (await service.ledger.look(who.actor, [done.kit])).kits.get(done.kit) if done.kit else None
    if kit is not None:
        policies = await service.policies()
        until = ends.told(request, kit, await edge.now(request), policies, ends.STAFF)
        kept = until, ends.moved(request, kit, policies)
    return await page(
        request,
        "registered.html",
        title=translated(request, texts._("Kit registered")),
        who=who,
        status=201,
        done=done,
        kept=kept,
        card=made["card"],
        language=made["agreement"]["language"],
        channel=made["agreement"]["channel"],
    )


async def _order(form: FormData) -> dict[str, Any]:
    digest = await forms.digest(form, "form_digest")
    if digest is None:
        raise Refused("Choose the scanned agreement, or type its digest.", field="form_digest")
    agreement = {
        "form_digest": digest,
        "language": forms.value(form, "language"),
        "decided_by": forms.value(form, "decided_by") or "victim",
        "channel": forms.value(form, "channel") or "none",
        "channel_address": forms.value(form, "channel_address"),
        "channel_hours": forms.value(form, "channel_hours"),
        "channel_question": forms.value(form, "channel_question"),
        "representative_suspected": forms.value(form, "representative_suspected"),
    }
    made = {
        "examined_at": forms.when(form, "examined_at"),
        "age_class": forms.value(form, "age_class"),
        "packages": forms.new_packages(form, None),
        "agreement": agreement,
        "card": forms.value(form, "card") or "declined",
        "hospital_reference": forms.value(form, "hospital_reference"),
        "number": forms.value(form, "number"),
        "paper": await forms.paper(form),
    }
    if made["number"] is not None:
        made["number"] = str(parse_kit_number(str(made["number"])))
    return made


@router.post("/card")
async def card(request: Request, who: Annotated[Signed, Depends(edge.acting("kit.register"))]) -> Response:
    """The card as a file, from the code in the form: it is printed now or never, and kept nowhere."""
    return await _card(request)


@router.post("/card/renewed")
async def renewed(request: Request, who: Annotated[Signed, Depends(edge.acting("card.renew"))]) -> Response:
    """The same for a new card, which a coordinator may have signed for."""
    return await _card(request)


async def _card(request: Request) -> Response:
    code = parse_code(forms.value(await request.form(), "card_code") or "")
    made = VictimCard(
        address=f"{edge.settings(request).base_url}/v",
        code=code,
        caption_address=translated(request, texts._("Open")),
        caption_code=translated(request, texts._("Code")),
        note=translated(request, texts._("Keep the second number somewhere else.")),
    )
    data = await run_in_threadpool(card_pdf, made, await edge.now(request))
    return Response(data, media_type="application/pdf")
