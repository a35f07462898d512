"""The police ask for the evidence of a report; whatever is found, the answer is *received*."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from custody import commands as c
from custody.people import OrganisationKind
from desk import edge, texts
from desk.edge import Signed
from desk.pages import forms
from desk.pages.doing import CORRECTED
from desk.pages.page import page, to, translated
from desk.problems import Problem, problem_of

router = APIRouter()


@router.get("/ask")
async def ask_for(request: Request, who: Annotated[Signed, Depends(edge.acting("request.send"))]) -> Response:
    """The police ask for the evidence of a report. It never names a person."""
    return await _ask_form(request, who, {})


async def _ask_form(request: Request, who: Signed, filled: Any, problem: Problem | None = None) -> Response:
    directory = await edge.service(request).directory()
    centres = sorted(
        (o for o in directory.organisations.values() if o.kind is OrganisationKind.CENTRE),
        key=lambda o: o.name,
    )
    return await page(
        request,
        "ask.html",
        title=translated(request, texts._("Ask for evidence")),
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
        filled=filled,
        centres=centres,
        received="received" in request.query_params,
        latest=((await edge.now(request)) + timedelta(hours=2)).date(),
    )


@router.post("/ask")
async def send(request: Request, who: Annotated[Signed, Depends(edge.acting("request.send"))]) -> Response:
    """Whatever is found, the answer is the same: received."""
    form = await request.form()
    made = {name: forms.value(form, name) for name in ("pv", "centre", "examined_on", "kit")}
    try:
        order = forms.order(c.Request, made)
        await edge.service(request).ask(order, forms.given(form, who, made))
    except CORRECTED as refusal:
        return await _ask_form(request, who, form, problem_of(refusal))
    return to("/ask", received="1", done=forms.key_of(form))
