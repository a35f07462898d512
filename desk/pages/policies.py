"""Retention policies: what was adopted and by whom, what a version changes, adopting one, and the kits that a
later version keeps longer."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import Response

from custody import access, reading
from custody.ledger import MovedOn
from custody.ledger import reading as seen_by
from custody.number import NumberRefused
from custody.permission import PERMISSIONS, may
from custody.purpose import TASK
from custody.refusal import NotSeen, Refused
from desk import edge, policy_words, texts
from desk.api.policies import Adopted, LongerLine, adopted, kept_longer, line, version_named
from desk.doors import BY_ACTION
from desk.edge import CALENDAR, Signed
from desk.pages import forms
from desk.pages.page import day, language, page, to, translated
from desk.policies import named, worded
from desk.problems import Problem, problem_of
from desk.service import Waiting
from retention.adopting import follows, policy_in
from retention.aloud import Difference, Point, Value, days_of_term, differences, values
from retention.commands import AdoptPolicy, MoveTerm
from retention.policy import LARGEST_FILE, AgeClass, Policy
from retention.term import local_date

router = APIRouter()

Reader = Annotated[Signed, Depends(edge.acting("policy.read"))]
Adopter = Annotated[Signed, Depends(edge.acting("policy.adopt"))]
Mover = Annotated[Signed, Depends(edge.acting("term.move"))]
DRAWN = (AgeClass.ADULT, AgeClass.MINOR)
"""The terms that are drawn; one of unknown age is as long as the longest."""


DAYS = frozenset({"adopted_on", "valid_from"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One value in words."""

    name: str
    says: str
    source: str | None
    confirmed: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A value in two versions, side by side."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The days of the term of somebody examined today."""

    age_class: AgeClass
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """An adopted version in the list."""

    adopted: Adopted
    kept: tuple[Row, ...]
    confirmed: int
    of: int


@router.get("/policies")
async def policies(request: Request, who: Reader) -> Response:
    """Every policy with its versions, the newest first, and what waits to be adopted."""
    service = edge.service(request)
    found = await adopted(service, who.actor)
    newest = {each.policy.id: each.policy for each in found}
    async with seen_by(service.engine, who.actor) as connection:
        rows = await reading.proposals(connection, await reading.now(connection))
    today = (await edge.now(request)).astimezone(CALENDAR).date()
    return await page(
        request,
        "policies.html",
        title=translated(request, texts._("Retention policies")),
        who=who,
        versions=[_version(request, each) for each in reversed(found)],
        newest=newest,
        lines={
            identifier: [Line(age_class=a, points=days_of_term(policy, a, today)) for a in DRAWN]
            for identifier, policy in newest.items()
        },
        waiting_for=[
            {**row, "reference": _reference(row["command"])}
            for row in rows
            if row["action"] == "policy.adopt"
        ],
        point_names=policy_words.POINTS,
        may_adopt=may("policy.adopt", who.actor),
        may_move=who.actor.function in PERMISSIONS["term.move"],
    )


def _reference(command: Mapping[str, Any]) -> str:
    """The policy and version that somebody proposed to adopt; a dash for one that cannot be read any more."""
    try:
        return policy_in(AdoptPolicy(document=command["document"])).reference
    except Refused:
        return "–"


def _version(request: Request, found: Adopted) -> Version:
    said = [each for each in values(found.policy) if each.confirmed is not None]
    return Version(
        adopted=found,
        kept=tuple(_row(request, each) for each in said if each.name.startswith("kept.")),
        confirmed=sum(each.confirmed is True for each in said),
        of=len(said),
    )


def _says(request: Request, value: Value) -> str:
    if value.name in DAYS and value.written is not None:
        return day(date.fromisoformat(value.written), language(request))
    return worded(value, language(request), partial(translated, request))


def _row(request: Request, value: Value) -> Row:
    name = named(value.name, partial(translated, request))
    return Row(name=name, says=_says(request, value), source=value.source, confirmed=value.confirmed)


def _change(request: Request, found: Difference) -> Change:
    before, after = (_says(request, each) if each else "–" for each in (found.before, found.after))
    return Change(name=named(found.name, partial(translated, request)), before=before, after=after)


def _read_aloud(request: Request, policy: Policy, before: Policy | None) -> dict[str, Any]:
    """What the page of one version shows of it: its values in groups, and what it changes."""
    said, changed = values(policy), differences(before, policy) if before else ()
    return {
        "policy": policy,
        "before": before,
        "groups": [
            (
                translated(request, title),
                [_row(request, each) for each in said if each.name.partition(".")[0] in first],
            )
            for title, first in policy_words.GROUPS
        ],
        "changes": [_change(request, each) for each in changed if each.in_substance],
        "resourced": [_change(request, each).name for each in changed if not each.in_substance],
    }


@router.get("/policies/{policy}/{version}")
async def policy_version(request: Request, policy: str, version: str, who: Reader) -> Response:
    """One adopted version, read aloud, beside the one before it."""
    *before, found = await version_named(edge.service(request), who.actor, policy, version)
    return await page(
        request,
        "policy.html",
        title=found.policy.reference,
        who=who,
        found=found,
        proposed=None,
        document=None,
        **_read_aloud(request, found.policy, before[0].policy if before else None),
    )


# --- adopting ---------------------------------------------------------------------------------------------


@router.get("/adopt-policy")
async def ask(request: Request, who: Adopter) -> Response:
    """The form: a file, which is read before anything is proposed."""
    return await _form(request, who)


async def _form(request: Request, who: Signed, problem: Problem | None = None) -> Response:
    return await page(
        request,
        "policy_adopt.html",
        title=translated(request, texts._("Adopt a policy")),
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
    )


@router.post("/adopt-policy")
async def adopt(request: Request, who: Adopter) -> Response:
    """Read the file aloud; then, once it was read, let it wait for the second person."""
    form = await request.form(max_files=1, max_fields=20)
    service = edge.service(request)
    try:
        made = {"document": await _document(form)}
        order = forms.order(AdoptPolicy, made)
        if forms.value(form, "decision") != "propose":
            return await _proposal(request, who, order.document, None)
        done = await service.carry_out(BY_ACTION["policy.adopt"], order, forms.given(form, who, made))
    except (Refused, MovedOn) as refusal:
        return await _form(request, who, problem_of(refusal))
    if isinstance(done, Waiting):
        return to("/policies", waiting=done.proposal)
    return to("/policies", done=forms.key_of(form))


async def _document(form: FormData) -> str:
    """The file that was chosen, or the one that was read a page ago, byte for byte. Raises Refused."""
    upload, read = form.get("document_file"), forms.value(form, "document")
    try:
        content = base64.b64decode(read, validate=True) if read else b""
        if isinstance(upload, UploadFile) and upload.filename:
            content = await upload.read(LARGEST_FILE + 1)
        if not content:
            raise Refused("Choose the file of the policy.", field="document")
        return content.decode()
    except (UnicodeDecodeError, binascii.Error) as fault:
        raise Refused("This file is not a policy: it is no text in UTF-8.", field="document") from fault


async def _proposal(request: Request, who: Signed, document: str, waiting: Any) -> Response:
    """A policy that nobody has adopted yet, read aloud beside the version it would follow."""
    policy = policy_in(AdoptPolicy(document=document))
    found = await adopted(edge.service(request), who.actor)
    if waiting is None:
        follows(policy, [each.policy for each in found], local_date(policy, await edge.now(request)))
    before = [each.policy for each in found if each.policy.id == policy.id]
    proposer = None
    if waiting is not None:
        appointments = (await edge.service(request).directory()).appointments
        proposer = {a.person: a.name for a in appointments}.get(waiting["person"], waiting["person"])
    return await page(
        request,
        "policy.html",
        title=policy.reference,
        who=who,
        found=None,
        proposed=waiting,
        proposer=proposer,
        mine=waiting is not None and waiting["person"] == who.actor.person,
        document=base64.b64encode(document.encode()).decode(),
        **_read_aloud(request, policy, before[-1] if before else None),
    )


@router.get("/policies/{proposal}")
async def proposed(request: Request, proposal: str, who: Reader) -> Response:
    """What somebody proposed to adopt, for the second person to read and sign."""
    async with seen_by(edge.service(request).engine, who.actor) as connection:
        waiting = await reading.proposal(connection, proposal)
    if waiting is None or waiting["signed_at"] is not None or waiting["action"] != "policy.adopt":
        raise HTTPException(404)
    return await _proposal(request, who, waiting["command"]["document"], waiting)


# --- kits that a later version keeps longer ---------------------------------------------------------------


@router.get("/longer")
async def longer(request: Request, who: Mover) -> Response:
    """The centre's kits that the newest version of their policy would keep longer."""
    return await _longer(request, who)


async def _longer(
    request: Request, who: Signed, problem: Problem | None = None, chosen: Sequence[str] = ()
) -> Response:
    service = edge.service(request)
    await access.record(service.engine, who.actor, read="worklist", kit=None, purpose=TASK)
    found, more = await kept_longer(service, who.actor, request.query_params.get("after"))
    lines: list[LongerLine] = [line(kit, new, term) for kit, new, term in found]
    return await page(
        request,
        "policy_longer.html",
        title=translated(request, texts._("Kits that a newer policy keeps longer")),
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
        kits=lines,
        more=more,
        chosen=chosen,
    )


@router.post("/longer")
async def move(request: Request, who: Mover) -> Response:
    """The kits that were ticked go to the newer version, together or not at all."""
    form = await request.form(max_files=0, max_fields=600)
    kits = [str(each) for each in form.getlist("kits")]
    made = {"kits": kits, "how": forms.value(form, "how"), "reason": forms.value(form, "reason")}
    try:
        if not kits:
            raise Refused("Tick the kits that go to the newer version.", field="kits")
        order = forms.order(MoveTerm, made)
        await edge.service(request).carry_out(BY_ACTION["term.move"], order, forms.given(form, who, made))
    except (Refused, NumberRefused, MovedOn) as refusal:
        if isinstance(refusal, NotSeen):
            raise
        return await _longer(request, who, problem_of(refusal), kits)
    return to("/longer", done=forms.key_of(form))
