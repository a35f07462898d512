"""Printing: labels of a kit, and what is printed ahead for an outage."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from custody import commands as c
from custody import reading
from custody.kit import Kit
from custody.ledger import reading as seen_by
from custody.number import KIT, KitNumber, LabelCode, Part, next_serial, package, parse_kit_number
from desk import edge, texts
from desk.doors import BY_ACTION
from desk.edge import Signed
from desk.pages import forms
from desk.pages.doing import CORRECTED
from desk.pages.page import page, to, translated
from desk.problems import Problem, problem_of
from labels.label import Label
from labels.paper_form import Column, FormTable, PaperForm, form_pdf

router = APIRouter()


@router.get("/kits/{number}/labels")
async def labels(
    request: Request, number: str, who: Annotated[Signed, Depends(edge.acting("labels.print"))]
) -> Response:
    """Which labels there are, which are missing, and the sheet to print."""
    kit = await edge.service(request).kit(who.actor, str(parse_kit_number(number)), "labels.print", "task")
    return await _page(request, who, kit)


async def _page(request: Request, who: Signed, kit: Kit, problem: Problem | None = None) -> Response:
    parts = ["K", *(f"P{p.package:02}" for p in kit.open_packages), *(f"I{i:02}" for i in kit.items)]
    return await page(
        request,
        "labels.html",
        title=translated(request, texts._("Print labels")),
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
        kit=kit,
        parts=parts,
        missing=[p for p in parts if p not in kit.labels],
    )


@router.post("/kits/{number}/labels")
async def print_labels(
    request: Request, number: str, who: Annotated[Signed, Depends(edge.acting("labels.print"))]
) -> Response:
    """Printing is an event, since a new label voids the older one; the sheet comes after it."""
    form = await request.form()
    known = str(parse_kit_number(number))
    made = {
        "kit": known,
        "parts": [str(p) for p in form.getlist("parts")],
        "reason": forms.value(form, "reason"),
    }
    try:
        given = forms.given(form, who, made)
        await edge.service(request).carry_out(
            BY_ACTION["labels.print"], forms.order(c.PrintLabels, made), given
        )
    except CORRECTED as refusal:
        kit = await edge.service(request).kit(who.actor, known, "labels.print", "task")
        return await _page(request, who, kit, problem_of(refusal))
    return to(f"/kits/{known}/labels", done=given.key)


# --- an outage ---------------------------------------------------------------------------------------------


@router.get("/outage")
async def outage(
    request: Request, who: Annotated[Signed, Depends(edge.acting("numbers.reserve"))]
) -> Response:
    """Numbers set aside, their paper forms, and how a paper record is entered afterwards."""
    return await _outage(request, who)


async def _outage(request: Request, who: Signed, problem: Problem | None = None) -> Response:
    async with seen_by(edge.service(request).engine, who.actor) as connection:
        reserved = await reading.reserved(connection, who.actor.organisation or "")
    return await page(
        request,
        "outage.html",
        title=translated(request, texts._("Outage")),
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
        reserved=reserved,
    )


@router.post("/outage")
async def reserve(
    request: Request, who: Annotated[Signed, Depends(edge.acting("numbers.reserve"))]
) -> Response:
    """Set numbers aside, so that forms and labels can be printed ahead."""
    form = await request.form()
    count = forms.value(form, "count") or ""
    made = {"count": int(count) if count.isascii() and count.isdigit() and len(count) < 4 else 0}
    try:
        await edge.service(request).reserve(forms.order(c.ReserveNumbers, made), forms.given(form, who, made))
    except CORRECTED as refusal:
        return await _outage(request, who, problem_of(refusal))
    return to("/outage", done=forms.key_of(form))


@router.get("/outage/{number}.pdf")
async def paper_form(
    request: Request, number: str, who: Annotated[Signed, Depends(edge.acting("numbers.reserve"))]
) -> Response:
    """The paper form of one reserved number with its labels."""
    known = parse_kit_number(number)
    async with seen_by(edge.service(request).engine, who.actor) as connection:
        reserved = [r["number"] for r in await reading.reserved(connection, who.actor.organisation or "")]
    if known not in reserved:
        raise HTTPException(404)
    data = await run_in_threadpool(form_pdf, _form(request, known), await edge.now(request))
    return Response(data, media_type="application/pdf")


def _form(request: Request, number: KitNumber) -> PaperForm:
    def _(message: str) -> str:
        return translated(request, message)

    def label(part: Part, words: str) -> Label:
        serial = next_serial(number, part, 0)
        said = _(texts._("label {serial}")).format(serial=serial)
        return Label(LabelCode(number, part, serial), edge.settings(request).base_url, words, "", said)

    names = [_(texts._("package {number}")).format(number=n) for n in range(1, 7)]
    kit = label(KIT, _(texts._("kit")))
    written = _(texts._("Time")), _(texts._("Name")), _(texts._("Signature"))
    handovers = tuple(_(texts._("hand-over {number}")).format(number=n) for n in range(1, 5))
    return PaperForm(
        kit=kit,
        title=_(texts._("Record on paper")),
        explanation=_(
            texts._("For use while the service cannot be reached. Enter it afterwards as recorded on paper.")
        ),
        fields=tuple(
            _(each)
            for each in (
                texts._("Examination: day and time"),
                texts._("Age class: adult, minor, not known"),
                texts._("Agreement signed: language"),
                texts._("Recorded by: name"),
            )
        ),
        tables=(
            FormTable(
                _(texts._("Packages")),
                (
                    Column(_(texts._("Package")), 2),
                    Column(_(texts._("Kind")), 2),
                    Column(_(texts._("Storage")), 2),
                    Column(_(texts._("Seal number")), 3),
                    Column(_(texts._("Items")), 3),
                ),
                tuple(names),
            ),
            FormTable(
                _(texts._("Hands")),
                (
                    Column(_(texts._("Step")), 2),
                    Column(_(texts._("Packages")), 2),
                    *(Column(w, 2) for w in written),
                ),
                handovers,
                14.0,
            ),
        ),
        labels=(kit, *(label(package(n), name) for n, name in enumerate(names, 1))),
    )
