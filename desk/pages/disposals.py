"""Disposals for the people who decide: many kits at once, one with its evidence, and the observer's page.

Every step goes through the same door as the API's, kit by kit, so that what is refused of one stops none of
the others. The cart in which they are carried out is `desk.pages.cart`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.responses import Response

from custody import access, reading
from custody import commands as c
from custody.directory import Appointment
from custody.kit import Kit
from custody.ledger import MovedOn
from custody.ledger import Receipt as LedgerReceipt
from custody.ledger import reading as seen_by
from custody.number import NumberRefused, parse_kit_number
from custody.people import STAFF, Actor
from custody.permission import PERMISSIONS, may
from custody.protocol import Custody, Retention
from custody.purpose import PURPOSES, TASK, NoPurpose
from custody.refusal import NotPermitted, NotSeen, Refused
from desk import edge, texts
from desk.api.disposals import certificate_of, conditions_of, key_dates, observations_of
from desk.doors import BY_ACTION
from desk.edge import Signed
from desk.pages import ends, forms
from desk.pages.page import Shown as Receipt
from desk.pages.page import day, language, moment, page, trail_words, translated
from desk.problems import Problem, problem_of
from desk.service import Done, Given, Service
from retention.certificate import MOST_KITS
from retention.eligibility import Condition, eligibility, found_after

router = APIRouter()
MOST_CHOSEN: Final = 200
MOST_LATELY: Final = 30
MOST_REASON: Final = 200
SHAPES: Final = {"disposal.propose": c.ProposeDisposal, "disposal.approve": c.ApproveDisposal}
REFUSED: Final = (Refused, NumberRefused, MovedOn)
Watcher = Annotated[Signed, Depends(edge.acting("disposal.observe"))]
Staff = Annotated[Signed, Depends(edge.acting("choices_trail.read"))]


def in_words(request: Request, condition: Condition) -> str:
    """A condition as a sentence in the reader's language, with its days and times."""
    lang = language(request)

    def told(value: Any) -> Any:
        if isinstance(value, datetime):
            return moment(value, lang)
        return day(value, lang) if isinstance(value, date) else value

    return translated(request, condition.says).format(**{k: told(v) for k, v in condition.values.items()})


# --- many kits --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """A kit in a list: what keeps it from the next step, if anything, whether it is this person's, and
    whose signature it waits for."""

    kit: Kit
    lacks: str | None
    mine: bool
    ended: str
    waits: "Waits | None" = None
    declined: "Declined | None" = None

    @property
    def open(self) -> bool:
        """Whether it can be chosen."""
        return self.mine and not self.lacks and self.waits is None


@dataclass(frozen=True, slots=True)
class Waits:
    """A disposal that was carried out and waits for its observer; ``mine`` where the asker did it."""

    proposal: str
    name: str
    until: datetime
    mine: bool


@dataclass(frozen=True, slots=True)
class Declined:
    """An observer declined: who, when and why. ``again`` is the cart with what was scanned, for who scanned
    it."""

    name: str
    at: datetime
    why: str | None
    again: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A kit of which a step was refused, and why."""

    kit: str
    says: str


@router.get("/disposals")
async def disposals(request: Request, who: Staff) -> Response:
    """Kits whose term is over, and what is proposed and approved, each to be chosen with others."""
    return await _list(request, who)


async def waiting_for_observers(service: Service, actor: Actor, at: datetime) -> dict[str, Waits]:
    """The kits whose disposal waits for an observer's signature."""
    async with seen_by(service.engine, actor) as connection:
        rows = await reading.proposals_of(connection, "disposal.carry_out", at)
        names = await reading.names_of(connection, [row["signer"] for row in rows if row["signer"]])
    return {
        str(each["kit"]): Waits(
            row["id"], names.get(row["signer"], "–"), row["until"], row["person"] == actor.person
        )
        for row in rows
        for each in row["command"].get("packages") or ()
    }


async def declined_by(service: Service, actor: Actor, kits: Sequence[Kit]) -> dict[str, Declined]:
    """Those of these kits whose observer declined, until they are sent again or the disposal taken back."""
    async with seen_by(service.engine, actor) as connection:
        asked = await reading.latest_asked(connection, "disposal.carry_out")
        names = await reading.names_of(connection, [row["signer"] for row in asked.values()])
    found = {}
    for kit in kits:
        row = asked.get(kit.number)
        since = kit.disposal.approved_at if kit.disposal else None
        if row is None or row["declined_at"] is None or since is None or row["declined_at"] < since:
            continue
        again = None
        if row["person"] == actor.person:
            on_it = dict.fromkeys(str(each["kit"]) for each in row["command"]["packages"])
            again = "/disposals/cart?" + "&".join(f"kit={n}" for n in on_it) + f"&scanned={row['id']}"
        found[kit.number] = Declined(
            names.get(row["signer"], "–"), row["declined_at"], row["declined"], again
        )
    return found


async def _list(
    request: Request,
    who: Signed,
    refused: Sequence[Refusal] = (),
    receipts: Sequence[Receipt] | None = None,
    problem: Problem | None = None,
) -> Response:
    service = edge.service(request)
    await access.record(service.engine, who.actor, read="kit_list", kit=None, purpose=TASK)
    at = await edge.now(request)
    centre = who.actor.organisation or ""
    async with seen_by(service.engine, who.actor) as connection:
        found = {
            state: await reading.kits_at(connection, centre, retention=state)
            for state in (Retention.EXPIRED, Retention.PROPOSED, Retention.APPROVED)
        }
        waiting = len(await reading.open_requests(connection, centre))
        lately = await reading.kits_disposed(connection, centre, MOST_LATELY)
        found[Retention.DISPOSED] = await reading.kits_found_after_disposal(connection, centre)
    waits = await waiting_for_observers(service, who.actor, at)
    to_destroy = [*found[Retention.APPROVED], *found[Retention.DISPOSED]]
    declined = await declined_by(service, who.actor, to_destroy)
    policies = await service.policies()

    def lines(state: Retention, action: str) -> list[Line]:
        return [
            Line(
                kit,
                _lacks(request, kit, at),
                _fits(action, kit, who) and may(action, who.actor, kit),
                ends.ended(request, kit, at, policies),
                waits.get(kit.number) if action == "disposal.carry_out" else None,
                declined.get(kit.number) if action == "disposal.carry_out" else None,
            )
            for kit in found[state]
        ]

    just_now: dict[str, Any] = {} if receipts is None else {"receipts": receipts}
    taken = len({receipt.digest for receipt in receipts or ()})
    return await page(
        request,
        "disposals.html",
        title=translated(request, texts._("Disposals")),
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
        expired=lines(Retention.EXPIRED, "disposal.propose"),
        proposed=lines(Retention.PROPOSED, "disposal.approve"),
        approved=lines(Retention.APPROVED, "disposal.carry_out"),
        found_after=lines(Retention.DISPOSED, "disposal.carry_out"),
        requests=waiting,
        refused=refused,
        taken=taken,
        lately=lately,
        certified={kit.number for kit in lately if destroyed(kit)},
        asked=await observations_of(service, who.actor),
        may_propose=who.actor.function in PERMISSIONS["disposal.propose"],
        may_approve=who.actor.function in PERMISSIONS["disposal.approve"],
        may_carry_out=who.actor.function in PERMISSIONS["disposal.carry_out"],
        **just_now,
    )


def destroyed(kit: Kit) -> bool:
    """Whether something of a kit disposed of was destroyed, so that there is a certificate."""
    return any(p.state is Custody.DESTROYED for p in kit.packages.values())


def _lacks(request: Request, kit: Kit, at: datetime) -> str | None:
    """The first condition that is not met, of those that stand on the kit itself."""
    lacking = next((each for each in eligibility(kit, at) if not each.met), None)
    return in_words(request, lacking) if lacking else None


@router.post("/disposals/propose/many")
async def propose(
    request: Request, who: Annotated[Signed, Depends(edge.acting("disposal.propose"))]
) -> Response:
    """Propose the kits that were chosen."""
    return await _many(request, who, "disposal.propose")


@router.post("/disposals/approve/many")
async def approve(
    request: Request, who: Annotated[Signed, Depends(edge.acting("disposal.approve"))]
) -> Response:
    """Approve the kits that were chosen."""
    return await _many(request, who, "disposal.approve")


async def _many(request: Request, who: Signed, action: str) -> Response:
    """Take the step with each kit by itself: what is refused of one stops no other. Raises NotSeen."""
    door = BY_ACTION[action]
    form = await request.form()
    key, refused = forms.key_of(form), []
    receipts: list[Receipt] = []
    numbers = dict.fromkeys(str(parse_kit_number(str(each))) for each in form.getlist("kit"))
    if not numbers:
        return await _list(request, who, problem=problem_of(Refused("Choose at least one kit.", field="kit")))
    for number in list(numbers)[:MOST_CHOSEN]:
        body = json.dumps({"kit": number}).encode()
        given = Given(actor=who.actor, key=f"{key}-{number}"[:200], body=body)
        try:
            done = await edge.service(request).carry_out(door, SHAPES[action](kit=number), given)
            if isinstance(done, Done):
                receipts += [_receipt(request, each) for each in done.receipts]
        except REFUSED as refusal:
            if isinstance(refusal, NotSeen | NotPermitted):
                raise
            refused.append(Refusal(number, problem_of(refusal).says(lambda text: translated(request, text))))
    return await _list(request, who, refused, receipts)


def _receipt(request: Request, of: LedgerReceipt) -> Receipt:
    return Receipt(of.type, trail_words(request, of.trail), of.number, of.recorded_at, of.digest)


# --- one kit ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shown:
    """A condition in words, with the events that bear it out."""

    condition: Condition
    says: str


@router.get("/kits/{number}/disposal")
async def disposal(request: Request, number: str, who: Staff) -> Response:
    """Every condition of a disposal, met or not, with its evidence, and the next step."""
    service = edge.service(request)
    given = request.query_params.get("for")
    known = str(parse_kit_number(number))
    try:
        found = await service.kit(who.actor, known, "choices_trail.read", _purpose(given))
    except NoPurpose as refused:
        return await _why(
            request, who, f"/kits/{known}/disposal", [known], problem_of(refused) if given else None
        )
    conditions = await conditions_of(service, who.actor, found, await edge.now(request))
    disposed = found.retention is Retention.DISPOSED
    again = bool(found_after(found))
    appointed = (await service.directory()).appointments
    all_met = all(each.met for each in conditions)
    waits = (await waiting_for_observers(service, who.actor, await edge.now(request))).get(found.number)
    actions = [
        a
        for a in ("disposal.propose", "disposal.approve", "disposal.carry_out", "disposal.withdraw")
        if may(a, who.actor, found)
        and _fits(a, found, who)
        and (all_met or a == "disposal.withdraw")
        and not (waits and a == "disposal.carry_out")
        and not (again and a == "disposal.carry_out" and not approver_is_here(found, appointed))
        and not (again and a == "disposal.approve" and approver_is_here(found, appointed))
    ]
    empty = not found.remaining and found.retention is Retention.EXPIRED
    if empty and may("disposal.close_empty", who.actor, found):
        actions = ["disposal.close_empty"]
    return await page(
        request,
        "disposal.html",
        title=translated(request, texts._("Disposal")),
        who=who,
        kit=found,
        conditions=[Shown(each, in_words(request, each)) for each in conditions],
        all_met=all_met,
        disposed=disposed,
        again=again,
        anew=again and not approver_is_here(found, appointed),
        destroyed=disposed and destroyed(found),
        waits=waits,
        declined=None if waits else (await declined_by(service, who.actor, [found])).get(found.number),
        purpose=given or TASK,
        keys=await key_dates(request, who.actor, found),
        actions=actions,
        names={a.person: a.name for a in appointed},
    )


def approver_is_here(kit: Kit, appointments: Sequence[Appointment]) -> bool:
    """Whether who approved the end of this kit still works at its centre."""
    by = kit.disposal.approved_by if kit.disposal else None
    return any(
        each.person == by and each.organisation == kit.centre and each.function in STAFF
        for each in appointments
    )


def _purpose(given: str | None) -> str:
    return given if given in PURPOSES else TASK


async def _why(
    request: Request, who: Signed, address: str, kits: Sequence[str], problem: Problem | None = None
) -> Response:
    """The reasons that this person can state, in words; choosing one leads on."""
    return await page(
        request,
        "purpose.html",
        title=translated(request, texts._("Why do you open this kit?")),
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
        number=None,
        go=address,
        kits=kits,
        staff=False,
        scans=False,
    )


def _fits(action: str, kit: Kit, who: Signed) -> bool:
    """Whether the step starts from how the kit stands, by another person than the step before."""
    of = kit.disposal
    match action:
        case "disposal.propose":
            return kit.retention is Retention.EXPIRED
        case "disposal.approve":
            if found_after(kit):
                return True
            return (
                kit.retention is Retention.PROPOSED and of is not None and of.proposed_by != who.actor.person
            )
        case "disposal.carry_out":
            ready = kit.retention is Retention.APPROVED or bool(found_after(kit))
            return ready and of is not None and of.approved_by != who.actor.person
        case _:
            return kit.retention in (Retention.PROPOSED, Retention.APPROVED)


# --- the observer -----------------------------------------------------------------------------------------


@router.get("/disposals/observe/{proposal}")
async def observed(request: Request, proposal: str, who: Watcher) -> Response:
    """Which packages are destroyed, by whom, and a place to sign. Nothing else of the kits is shown."""
    return await _observed(request, proposal, who)


async def _observed(request: Request, proposal: str, who: Signed, problem: Problem | None = None) -> Response:
    service = edge.service(request)
    asked = next((o for o in await observations_of(service, who.actor) if o.id == proposal), None)
    if asked is None:
        raise HTTPException(404)
    await access.record(service.engine, who.actor, read="proposal", kit=None, purpose=TASK)
    return await page(
        request,
        "observe.html",
        title=translated(request, texts._("Observe a disposal")),
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
        asked=asked,
    )


@router.post("/disposals/observe/{proposal}")
async def observe(request: Request, proposal: str, who: Watcher) -> Response:
    """Sign as the observer, or decline."""
    form: FormData = await request.form()
    service = edge.service(request)
    if forms.value(form, "decision") == "decline":
        return await _decline(request, proposal, who, forms.value(form, "reason"))
    await edge.stepped_up(request, who, "disposal.carry_out")
    body = json.dumps({"proposal": proposal}).encode()
    given = Given(actor=who.actor, key=forms.key_of(form), body=body)
    try:
        done = await service.observe(proposal, given)
    except REFUSED as refusal:
        if isinstance(refusal, NotSeen):
            raise
        return await _observed(request, proposal, who, problem_of(refusal))
    # Of the choices trail an observer learns nothing, not even how long it is.
    receipts = [_receipt(request, r) for r in done.receipts if r.trail.startswith("custody:")]
    return await page(
        request,
        "observe.html",
        title=translated(request, texts._("Observe a disposal")),
        who=who,
        asked=None,
        receipts=receipts,
    )


async def _decline(request: Request, proposal: str, who: Signed, why: str | None) -> Response:
    """Decline, with a reason: who asked reads it, and the observer is told so."""
    service = edge.service(request)
    asked = next((o for o in await observations_of(service, who.actor) if o.id == proposal), None)
    if asked is None or why is None or len(why) > MOST_REASON:
        says = texts._("Say in a few words why you decline: at most {most} characters.")
        return await _observed(request, proposal, who, problem_of(Refused(says, most=MOST_REASON)))
    await service.decline(proposal, who.actor, why)
    return await page(
        request,
        "observe.html",
        title=translated(request, texts._("Observe a disposal")),
        who=who,
        asked=None,
        declined=asked,
    )


# --- the certificate --------------------------------------------------------------------------------------


@router.get("/disposals/certificate.pdf")
async def certificate(
    request: Request, who: Annotated[Signed, Depends(edge.acting("certificate.read"))]
) -> Response:
    """The certificate of one kit, or one of several, as a file; who has no task with them is asked why."""
    numbers = request.query_params.getlist("kit")[: MOST_KITS + 1]
    given = request.query_params.get("for")
    try:
        return await certificate_of(request, who, numbers, _purpose(given))
    except NoPurpose as refused:
        kits = [str(parse_kit_number(each)) for each in numbers]
        problem = problem_of(refused) if given else None
        return await _why(request, who, "/disposals/certificate.pdf", kits, problem)
