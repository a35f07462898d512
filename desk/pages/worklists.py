"""The first page: what waits for the person who is signed in, each with its one next step."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from custody import access, reading
from custody.departures import WATCH
from custody.kit import Kit
from custody.ledger import reading as seen_by
from custody.people import STAFF, Actor, Function
from custody.permission import PERMISSIONS, may
from custody.protocol import Legal
from desk import duty, edge, texts
from desk.alarm import alarm_of
from desk.api.disposals import observations_of
from desk.api.readings import to_review
from desk.api.worklists import KitTask, LeftLine, PackageLine, Worklists, worklists_of
from desk.edge import Signed
from desk.pages.alarms import glance
from desk.pages.page import day, language, page, to, translated
from desk.service import Service

router = APIRouter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One entry: what it is about, since or until when, and its next step."""

    kit: str | None
    says: str
    href: str
    step: str
    due: datetime | None = None
    since: datetime | None = None
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkList:
    title: str
    empty: str
    rows: tuple[Row, ...]
    always: bool = False


@router.get("/")
async def home(request: Request, who: Annotated[Signed, Depends(edge.signed_in())]) -> Response:
    """Everything that waits; a victim's session has a page of its own."""
    if who.actor.function is Function.VICTIM:
        return to("/v/kit")
    service = edge.service(request)
    lists: list[WorkList] = []
    if who.actor.function in PERMISSIONS["worklist.read"]:
        await access.record(service.engine, who.actor, read="worklist", kit=None, purpose="task")
        found = await worklists_of(service, who.actor)
        lists = _lists(
            request,
            who.actor,
            found,
            {o.id: o.name for o in (await service.directory()).organisations.values()},
        )
        lists += await _linked(
            request, service, who.actor, frozenset(task.kit for task in found.declared_unlinked)
        )
    lists += await _to_observe(request, service, who.actor)
    seen = await glance(request, service, who)
    return await page(
        request,
        "home.html",
        title=translated(request, texts._("Worklist")),
        who=who,
        duty=await _duty(service, who.actor),
        unsigned=may("log.read", who.actor) and alarm_of(edge.settings(request).keys) is not None,
        overdue=seen,
        overdue_count=seen.count if seen else 0,
        lists=[each for each in lists if each.rows or each.always],
        quiet=[each for each in lists if not each.rows and not each.always],
        stands_out=await to_review(service, who.actor) if may("reads.read", who.actor) else None,
        requests=await _asked(service, who.actor),
    )


async def _to_observe(request: Request, service: Service, actor: Actor) -> list[WorkList]:
    """Disposals that this very person is asked to observe: of any centre, without anything of its kits."""
    if not may("disposal.observe", actor):
        return []
    says = translated(request, texts._("{count} packages, carried out by {name}, {organisation}"))
    rows = tuple(
        Row(
            kit=None,
            says=says.format(
                count=len(each.packages), name=each.carried_out_by, organisation=each.organisation
            ),
            href=f"/disposals/observe/{each.id}",
            step=translated(request, texts._("Look and sign")),
            due=each.until,
        )
        for each in await observations_of(service, actor)
    )
    only = actor.function is Function.OBSERVER
    return [
        WorkList(
            title=translated(request, texts._("Disposals to observe")),
            empty=translated(request, texts._("Nobody asks you to observe a disposal.")),
            rows=rows,
            always=only,
        )
    ]


async def _duty(service: Service, actor: Actor) -> bool:
    """Whether the centre's duty credential was opened and waits for this coordinator, or another one."""
    if not may("duty.review", actor):
        return False
    async with service.engine.connect() as connection:
        return bool(await duty.unreviewed(connection, actor.organisation or ""))


def _by_kit(
    lines: Iterable[PackageLine], says: str, names: dict[str, str], step: str, href: str, at: datetime
) -> tuple[Row, ...]:
    """Packages of one kit as one entry. ``href`` has places for ``kit`` and ``packages``."""
    grouped: dict[tuple[str, str | None], list[PackageLine]] = {}
    for line in lines:
        grouped.setdefault((line.kit, line.organisation), []).append(line)
    rows = []
    for (kit, organisation), group in grouped.items():
        due = min((x.due_at for x in group if x.due_at), default=None)
        numbers = ", ".join(str(x.package) for x in sorted(group, key=lambda x: x.package))
        query = "&".join(f"p={kit}.{x.package}" for x in group)
        rows.append(
            Row(
                kit=kit,
                says=says.format(packages=numbers, organisation=names.get(organisation or "", "")),
                href=href.format(kit=kit, packages=query),
                step=step,
                due=due,
                since=min((x.since for x in group if x.since), default=None) if due is None else None,
                late=due is not None and due <= at,
            )
        )
    return tuple(rows)


def _lists(request: Request, actor: Actor, found: Worklists, names: dict[str, str]) -> list[WorkList]:
    def _(message: str) -> str:
        return translated(request, message)

    packages, at = _(texts._("packages {packages}")), found.at
    from_ = _(texts._("packages {packages} from {organisation}"))
    towards = _(texts._("packages {packages} to {organisation}"))
    lists = [
        WorkList(
            title=_(texts._("Waiting for me to accept")),
            empty=_(texts._("Nothing is on the way to you.")),
            rows=_by_kit(
                found.offers,
                from_,
                names,
                _(texts._("Scan and accept")),
                "/scan?then=handover.accept&kit={kit}",
                at,
            ),
            always=actor.function in PERMISSIONS["handover.accept"],
        ),
        WorkList(
            title=_(texts._("In my hands")),
            empty=_(texts._("You hold nothing that is not in a place.")),
            rows=_by_kit(
                found.in_hands, packages, names, _(texts._("Store or hand over")), "/scan?{packages}", at
            ),
            always=actor.function in PERMISSIONS["handover.accept"],
        ),
        WorkList(
            title=_(texts._("Not accepted in time")),
            empty=_(texts._("No hand-over is late.")),
            rows=_by_kit(
                found.overdue, towards, names, _(texts._("Look at the kit")), "/kits/{kit}?for=task", at
            ),
        ),
    ]
    if actor.function in WATCH:
        lists.append(
            WorkList(
                title=_(texts._("With somebody who left")),
                empty=_(texts._("Nobody who left still has anything.")),
                rows=_left_behind(actor, found.left_behind, _, at),
            )
        )
    if actor.function in STAFF:
        lists += _of_centre(actor, found, _, names, language(request))
    return lists


LEFT: Final = {
    "in_hands": texts._("packages {packages}, in the hands of {name}"),
    "offered_by": texts._("packages {packages}, offered by {name}"),
    "offered_to": texts._("packages {packages}, offered to {name}"),
}


def _left_behind(actor: Actor, lines: Iterable[LeftLine], _: Any, at: datetime) -> tuple[Row, ...]:
    """What the organisation that holds it can put right, its people do; a kit's centre is told."""
    grouped: dict[tuple[str, str, str, str], list[LeftLine]] = {}
    for line in lines:
        grouped.setdefault((line.kit, line.part, line.person, line.holder_organisation), []).append(line)
    rows = []
    for (kit, part, name, holder), group in grouped.items():
        action = "package.take_over" if part == "in_hands" else "handover.cancel"
        query = "&".join(f"p={kit}.{x.package}" for x in group)
        ours = holder == actor.organisation and actor.function in PERMISSIONS[action]
        due = min((x.due_at for x in group if x.due_at), default=None)
        rows.append(
            Row(
                kit=kit,
                says=_(LEFT[part]).format(
                    packages=", ".join(str(n) for n in sorted(x.package for x in group)), name=name
                ),
                href=f"/do/{action}?{query}" if ours else f"/kits/{kit}?for=task",
                step=_(texts.ACTIONS[action] if ours else texts._("Look at the kit")),
                due=due,
                since=None if due else min((x.since for x in group if x.since), default=None),
                late=due is not None and due <= at,
            )
        )
    return tuple(rows)


@dataclass(frozen=True, slots=True)
class Tasks:
    """A list of kits of the centre: where it comes from, its words, and its one next step."""

    name: str
    title: str
    empty: str
    says: str
    step: str
    href: str = "/kits/{kit}/disposal"
    action: str | None = None  # whose function this is not looks at the kit instead


CONDITIONS: Final = texts._("Look at the conditions")
TASKS: Final = (
    Tasks(
        "asked_by_victim",
        texts._("The victim asked for something"),
        texts._("No victim waits for the centre."),
        texts._("speak with the victim first"),
        texts._("Look at the kit"),
        "/kits/{kit}?for=task",
    ),
    Tasks(
        "ordered",
        texts._("Orders of a judge"),
        texts._("No order waits for its second person or its link."),
        texts._("to be confirmed by a second person, then linked"),
        texts._("Look at the kit"),
        "/kits/{kit}?for=task",
    ),
    Tasks(
        "lost",
        texts._("Packages that cannot be found"),
        texts._("No package is missing."),
        texts._("a package cannot be found"),
        texts._("Look at the kit"),
        "/kits/{kit}?for=task",
    ),
    Tasks(
        "readers_lacking",
        texts._("Restricted, and a reader left"),
        texts._("Every restricted kit has its readers."),
        texts._("a restricted kit has one reader left, or no coordinator among its readers: name another"),
        texts.ACTIONS["kit.restrict"],
        "/do/kit.restrict?kit={kit}",
        "kit.restrict",
    ),
    Tasks(
        "without_reader",
        texts._("Restricted, and no reader is left"),
        texts._("No restricted kit is without anybody who could name readers."),
        texts._("nobody is left who could name readers of this kit: break the glass, then name them"),
        texts._("Break the glass"),
        "/glass?kit={kit}",
    ),
    Tasks(
        "notices_due",
        texts._("Notices due"),
        texts._("No notice is due."),
        texts._("the term ends on {day}"),
        texts._("Tell the victim"),
        "/kits/{kit}/channel",
    ),
    Tasks(
        "expired",
        texts._("Terms that are over"),
        texts._("No term is over."),
        texts._("the term ended on {day}"),
        CONDITIONS,
    ),
    Tasks(
        "disposals_proposed",
        texts._("Disposals proposed"),
        texts._("No disposal waits for approval."),
        texts._("to be approved by a coordinator"),
        CONDITIONS,
    ),
    Tasks(
        "disposals_approved",
        texts._("Disposals approved"),
        texts._("No disposal is to be carried out."),
        texts._("to be carried out before an observer"),
        CONDITIONS,
    ),
    Tasks(
        "declared_unlinked",
        texts._("Declared long ago and not linked"),
        texts._("No declared report has waited too long."),
        texts._("report declared on {day}"),
        texts._("Look at the kit"),
        "/kits/{kit}?for=task",
    ),
)


def _of_centre(actor: Actor, found: Worklists, _: Any, names: dict[str, str], lang: str) -> list[WorkList]:
    signatures = tuple(
        Row(
            kit=p.kit,
            says=_(texts.ACTIONS[p.action]),
            href=f"/signatures/{p.id}",
            step=_(texts._("Compare and sign")),
            due=p.until,
        )
        for p in found.proposals
    )
    requests = tuple(
        Row(
            kit=r.kit,
            says=f"{names.get(r.zone, r.zone)}, {r.pv}",
            href=f"/do/request.answer?request={r.id}",
            step=_(texts._("Answer")),
            since=r.received_at,
        )
        for r in found.requests
    )
    seals = _by_kit(
        found.seal_checks_due,
        _(texts._("packages {packages}")),
        names,
        _(texts._("Check seals")),
        "/do/seal.check?{packages}",
        found.at,
    )

    def lists(title: str, empty: str, rows: tuple[Row, ...]) -> WorkList:
        return WorkList(title=_(title), empty=_(empty), rows=rows)

    return [
        lists(texts._("Second signatures"), texts._("Nothing waits for your signature."), signatures),
        lists(
            texts._("Requests of the police"), texts._("Every request of the police is answered."), requests
        ),
        lists(
            texts._("Seals to be checked by another person"), texts._("No seal waits to be checked."), seals
        ),
        *(
            lists(t.title, t.empty, _rows_of(_theirs(t, actor), getattr(found, t.name), _, lang))
            for t in TASKS
            if t.name not in ASKED_OF or actor.function in PERMISSIONS[ASKED_OF[t.name]]
        ),
    ]


ASKED_OF: Final = {
    "asked_by_victim": "destruction.confirm",
    "notices_due": "notice.attempt",
    "without_reader": "restriction.lift",
}
"""Lists for those alone whose function does this; others are not told of them."""


def _theirs(tasks: Tasks, actor: Actor) -> Tasks:
    if tasks.action is None or actor.function in PERMISSIONS[tasks.action]:
        return tasks
    return replace(tasks, step=texts._("Look at the kit"), href="/kits/{kit}?for=task")


def _rows_of(tasks: Tasks, kits: Iterable[KitTask], _: Any, lang: str) -> tuple[Row, ...]:
    return tuple(
        Row(
            kit=k.kit,
            says=_(tasks.says).format(day=day(on, lang) if (on := _day_of(tasks, k)) is not None else ""),
            href=tasks.href.format(kit=k.kit),
            step=_(tasks.step),
        )
        for k in kits
    )


def _day_of(tasks: Tasks, task: KitTask) -> date | None:
    """The day that a list speaks of: of the report, or the last of the term, which counts whole."""
    if tasks.name != "declared_unlinked":
        return task.last_day
    return task.since.astimezone(edge.CALENDAR).date() if task.since else None


async def _linked(request: Request, service: Service, actor: Actor, listed: frozenset[str]) -> list[WorkList]:
    """Kits that stand between the report and justice: those of the centre, or those linked to the office.

    ``listed`` stand on the page already, as declared long ago.
    """
    at_centre = actor.function in (Function.COORDINATOR, Function.NURSE)
    of_justice = actor.function in (Function.MAGISTRATE, Function.OFFICER)
    if not (at_centre or of_justice):
        return []
    await access.record(service.engine, actor, read="kit_list", kit=None, purpose="task")
    async with seen_by(service.engine, actor) as connection:
        if at_centre:
            kits = await reading.kits_at(connection, actor.organisation or "", legal=Legal.DECLARED)
        else:
            page_of, _more = await reading.page_of_kits(connection, limit=200)
            kits = [k for k in page_of if k.link is not None and may("kit.read", actor, k)]
    rows = tuple(_row_of(request, kit, at_centre) for kit in kits if kit.number not in listed)
    if at_centre:
        title, empty = (
            texts._("Reports declared, not linked"),
            texts._("No declared report waits for its link."),
        )
    else:
        title, empty = texts._("Linked kits"), texts._("No kit is linked to your organisation.")
    return [
        WorkList(
            title=translated(request, title), empty=translated(request, empty), rows=rows, always=of_justice
        )
    ]


def _row_of(request: Request, kit: Kit, at_centre: bool) -> Row:
    says = texts.LEGAL[kit.legal]
    if at_centre and kit.matches:
        says = texts._("match confirmed, ready to be linked")
    told = translated(request, says)
    if kit.link is not None:
        told = f"{kit.link.pv} · {told}"
    if not at_centre and kit.holds:  # what an office knows: the holds of its magistrates
        again = min((h.review_on for h in kit.holds.values() if h.review_on), default=None)
        held = translated(request, texts._("held; look again on {day}") if again else texts._("held"))
        told = f"{told} · {held.format(day=day(again, language(request)) if again else '')}"
    linkable = at_centre and bool(kit.matches)
    step = texts._("Link to the police report") if linkable else texts._("Look at the kit")
    if linkable:
        href = f"/do/kit.link?kit={kit.number}"
    else:  # who has neither a task nor a reason of the last half hour is asked for one
        href = f"/kits/{kit.number}?for=task" if at_centre else f"/kits/{kit.number}"
    return Row(
        kit=kit.number,
        says=told,
        href=href,
        step=translated(request, step),
        since=kit.linked_at or kit.reported_at,
    )


async def _asked(service: Service, actor: Actor) -> list[Any]:
    """What an officer's zone asked. Never what was found."""
    if actor.function is not Function.OFFICER:
        return []
    async with seen_by(service.engine, actor) as connection:
        return list(await reading.requests_of(connection, actor.organisation or ""))[:20]
