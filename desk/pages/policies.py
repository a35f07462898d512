"""Retention policies: what was adopted and by whom, what a version changes, adopting one, and the kits that a
later version keeps longer."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
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
from custody.people import STAFF
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
from retention.adopting import Shorter, brought, by_another_centre, follows, newest_valid, policy_in
from retention.aloud import Difference, Point, Value, days_of_term, differences, values
from retention.commands import AdoptPolicy, MoveTerm
from retention.period import RetentionDataError
from retention.policy import LARGEST_FILE, AgeClass, Policy, in_force
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
    """The days of the term of somebody examined on one day."""

    age_class: AgeClass
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A version that is in force somewhere today, or one that is not valid yet, from its first day on.

    ``stands``: ``here`` where it is the one that this centre agrees terms under today, ``later`` where it is
    not valid yet, ``other`` where another one is in force here.
    """

    policy: Policy
    stands: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """An adopted version in the list."""

    adopted: Adopted
    kept: tuple[tuple[str, str], ...]
    confirmed: int
    of: int


@router.get("/policies")
async def policies(request: Request, who: Reader) -> Response:
    """Every policy with its versions, the newest first, and what waits to be adopted."""
    service = edge.service(request)
    found = await adopted(service, who.actor)
    async with seen_by(service.engine, who.actor) as connection:
        rows = await reading.proposals(connection, await reading.now(connection))
    known, at = [each.policy for each in found], await edge.now(request)
    here = _in_force_here(known, who, at)
    return await page(
        request,
        "policies.html",
        title=translated(request, texts._("Retention policies")),
        who=who,
        versions=[_version(request, each) for each in reversed(found)],
        drawn=_drawn(known, here, at),
        here=here,
        none_here=bool(found) and here is None and who.actor.function in STAFF,
        waiting_for=[
            {**row, "reference": _reference(row["command"])}
            for row in rows
            if row["action"] == "policy.adopt"
        ],
        point_names=policy_words.POINTS,
        may_adopt=may("policy.adopt", who.actor),
        may_move=who.actor.function in PERMISSIONS["term.move"],
    )


def _in_force_here(known: Sequence[Policy], who: Signed, at: datetime) -> Policy | None:
    """Under which version this centre agrees a term today; None where there is no single one."""
    try:
        return in_force(known, who.actor.organisation or "", at.astimezone(CALENDAR).date())
    except RetentionDataError:
        return None


def _drawn(known: Sequence[Policy], here: Policy | None, at: datetime) -> list[Drawn]:
    """Of each policy the version that is valid, and those that are not yet; the one in force here first."""
    found = []
    for identifier in dict.fromkeys(each.id for each in known):
        valid = newest_valid(known, identifier, at)
        first = [] if valid is None else [valid]
        later = [p for p in known if p.id == identifier and p.valid_from > local_date(p, at)]
        for policy in (*first, *later):
            on = max(policy.valid_from, local_date(policy, at))
            stands = "later" if policy in later else "here" if policy == here else "other"
            lines = tuple(Line(age_class=a, points=days_of_term(policy, a, on)) for a in DRAWN)
            found.append(Drawn(policy=policy, stands=stands, lines=lines))
    return sorted(found, key=lambda each: each.stands != "here")


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
        kept=tuple((each.name.removeprefix("kept."), _says(request, each)) for each in said[: len(AgeClass)]),
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
        title=_title(request, found.policy),
        who=who,
        found=found,
        proposed=None,
        document=None,
        less=(),
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
    """A policy that nobody has adopted yet, read aloud beside the version it would follow: where it could
    protect less, and whose signature it takes. Raises Refused where it cannot be brought."""
    policy = policy_in(AdoptPolicy(document=document))
    found = await adopted(edge.service(request), who.actor)
    known, at = [each.policy for each in found], await edge.now(request)
    less: tuple[Shorter, ...] = ()
    problem = proposer = None
    if waiting is None:
        less = brought(policy, who.actor, known, at)
    else:
        try:
            less = follows(policy, known, local_date(policy, at))
        except Refused as refusal:  # what was adopted since stands in its way
            problem = problem_of(refusal)
        appointments = (await edge.service(request).directory()).appointments
        proposer = {a.person: a.name for a in appointments}.get(waiting["person"], waiting["person"])
    before = [each.policy for each in found if each.policy.id == policy.id]
    mine = waiting is not None and waiting["person"] == who.actor.person
    of_own_centre = waiting is None or waiting["organisation"] == who.actor.organisation
    elsewhere = by_another_centre(policy, less)
    return await page(
        request,
        "policy.html",
        title=_title(request, policy),
        who=who,
        found=None,
        proposed=waiting,
        proposer=proposer,
        problem=problem,
        mine=mine,
        less=_less(request, less),
        than=less[0].than if less else None,
        elsewhere=elsewhere,
        may_sign=not mine and problem is None and not (elsewhere and of_own_centre),
        may_decline=of_own_centre,
        document=base64.b64encode(document.encode()).decode(),
        **_read_aloud(request, policy, before[-1] if before else None),
    )


def _title(request: Request, policy: Policy) -> str:
    words = translated(request, texts._("Policy {name}, version {version}"))
    return words.format(name=policy.id, version=policy.version)


def _less(request: Request, less: Sequence[Shorter]) -> list[str]:
    """What could protect less, each thing once, in the words of the language."""
    return [translated(request, what) for what in dict.fromkeys(each.what for each in less)]


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
