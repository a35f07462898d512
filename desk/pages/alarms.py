"""What is overdue, in one place: first what the person who looks must do, then by how long it is overdue."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from markupsafe import Markup
from starlette.responses import Response

from custody import access
from custody.directory import Directory
from custody.people import Actor
from custody.permission import PERMISSIONS
from custody.purpose import TASK
from desk import edge, texts
from desk.api.alarms import alarms_for, chosen
from desk.edge import Signed
from desk.pages.page import language, moment, page, translated
from desk.service import Service
from retention.alarms import BY_NAME, RULES, Acts, Alarm
from retention.overdue import Overdue

router = APIRouter()

MOST_ROWS: Final = 200
"""Alarms on one page; the filters lead to the others."""

STRIPS: Final = 60  # of one drawing
WIDE: Final = 10  # of one strip
HIGH: Final = 30
LOWEST: Final = 5  # a single alarm is to be seen
ZONES: Final = (timedelta(days=1), timedelta(days=7), timedelta(days=30), timedelta(days=365))
"""Each takes a quarter of the drawing: late by hours, by days, by weeks, and by more than a month."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One alarm as the page shows it: whose, how late, what is done, and where."""

    kit: str | None
    title: str
    of: str
    since: str
    late: str
    acts: tuple[str, ...]
    mine: bool
    do: str
    why: str | None
    href: str
    step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of alarm that stands now, drawn by how late each one is."""

    rule: str
    title: str
    after: str
    count: int
    mine: int
    drawing: Markup


@router.get("/alarms")
async def overdue(request: Request, who: Annotated[Signed, Depends(edge.acting("alarm.read"))]) -> Response:
    """Everything overdue that this person may know of, or one kind, or what one person must do."""
    service = edge.service(request)
    rule = request.query_params.get("rule")
    person = request.query_params.get("person") or None
    rule = rule if rule in BY_NAME else None
    await access.record(service.engine, who.actor, read="worklist", kit=None, purpose=TASK)
    found = await alarms_for(service, who.actor)
    wanted = chosen(found, who.actor, rule, person)
    directory = await service.directory()
    return await page(
        request,
        "alarms.html",
        title=translated(request, texts._("Overdue")),
        who=who,
        at=found.at,
        lines=[_line(request, each, who.actor, directory, found.at) for each in wanted[:MOST_ROWS]],
        left=max(0, len(wanted) - MOST_ROWS),
        more=found.more,
        kinds=kinds_of(request, found, who.actor),
        people=_people(found.alarms),
        rule=rule,
        person=person or "",
        count=len(found.alarms),
        overdue_count=len(found.alarms),
        takes_stock=who.actor.function in PERMISSIONS["stock_take.take"],
    )


def _people(found: Iterable[Alarm]) -> list[tuple[str, str]]:
    """Who is named by an alarm, by name."""
    named = {a.person: a.name or a.person for each in found for a in each.acts if a.person is not None}
    return sorted(named.items(), key=lambda each: each[1])


# --- one line ---------------------------------------------------------------------------------------------

STEPS: Final[Mapping[str, tuple[str, str]]] = {
    "handover_late": ("handover.accept", "/scan?then=handover.accept&kit={kit}"),
    "not_stored": ("package.store", "/scan?{packages}"),
    "seal_not_checked": ("seal.check", "/do/seal.check?{packages}"),
    "notice_came_back": ("notice.attempt", "/kits/{kit}/channel"),
    "notice_not_settled": ("notice.attempt", "/kits/{kit}/channel"),
    "channel_old": ("channel.prove", "/kits/{kit}/channel"),
    "hold_not_reviewed": ("hold.review", "/do/hold.review?kit={kit}&hold={about}"),
    "expired_not_reviewed": ("choices_trail.read", "/kits/{kit}/disposal"),
    "proposed_not_decided": ("choices_trail.read", "/kits/{kit}/disposal"),
    "approved_not_carried_out": ("choices_trail.read", "/kits/{kit}/disposal"),
    "found_after_disposal": ("choices_trail.read", "/kits/{kit}/disposal"),
    "request_unanswered": ("request.answer", "/do/request.answer?request={about}"),
    "stock_take_due": ("stock_take.take", "/stock-take/{place}"),
    "glass_not_reviewed": ("reads.read", "/readings?unusual=1"),
    "duty_not_reviewed": ("duty.review", "/duty"),
    "log_not_signed": ("log.read", "/log"),
    "policy_unreadable": ("policy.adopt", "/policies"),
}
"""The step that ends an alarm: whose action, and where it is done. Without one, the kit is looked at."""

LABELS: Final[Mapping[str, str]] = {
    "handover.accept": texts._("Scan and accept"),
    "package.store": texts._("Store or hand over"),
    "choices_trail.read": texts._("Look at the conditions"),
    "reads.read": texts._("Look at the readings"),
    "duty.review": texts._("Review it"),
    "log.read": texts._("Look at the log"),
    "stock_take.take": texts._("Take stock"),
    "request.answer": texts._("Answer"),
    "policy.adopt": texts._("Look at the policies"),
}


def _line(request: Request, alarm: Alarm, actor: Actor, directory: Directory, at: datetime) -> Line:
    rule, mine = BY_NAME[alarm.rule], alarm.is_for(actor)
    href, step = _step(request, alarm, actor, mine)
    return Line(
        kit=alarm.kit,
        title=translated(request, rule.watches),
        of=_of(request, alarm, directory),
        since=moment(alarm.since, language(request)),
        late=late(request, at - alarm.due_at),
        acts=tuple(_who(request, each, actor, directory) for each in alarm.acts),
        mine=mine,
        do=translated(request, rule.do),
        why=alarm.why,
        href=href,
        step=step,
    )


def _of(request: Request, alarm: Alarm, directory: Directory) -> str:
    """What of it: packages, or the place."""
    if alarm.place is not None:
        place = directory.places.get(alarm.place)
        return place.name if place else alarm.place
    if alarm.packages:
        told = ", ".join(str(n) for n in alarm.packages)
        return translated(request, texts._("packages {packages}")).format(packages=told)
    return ""


def _step(request: Request, alarm: Alarm, actor: Actor, mine: bool) -> tuple[str, str]:
    first = alarm.acts[0].is_for(actor)  # of a hand-over, the receiver; the giver looks at the kit
    if alarm.rule in STEPS:
        action, href = STEPS[alarm.rule]
        if actor.function in PERMISSIONS[action] and (first or alarm.kit is None):
            packages = "&".join(f"p={alarm.kit}.{n}" for n in alarm.packages)
            there = href.format(kit=alarm.kit, packages=packages, about=alarm.about, place=alarm.place)
            return there, translated(request, LABELS.get(action) or texts.ACTIONS[action])
    if alarm.kit is None:
        return "", ""
    task = "?for=task" if mine else ""  # who has no task there is asked for a reason
    return f"/kits/{alarm.kit}{task}", translated(request, texts._("Look at the kit"))


def _who(request: Request, acts: Acts, actor: Actor, directory: Directory) -> str:
    """Who must act, in words: the person, or the functions; with the organisation where it is another."""
    if acts.person is not None:
        told = acts.name or acts.person
    else:
        told = ", ".join(translated(request, texts.FUNCTIONS[f]) for f in sorted(acts.functions))
    organisation = directory.organisations.get(acts.organisation or "")
    if organisation is None or acts.organisation == actor.organisation:
        return told
    return f"{organisation.name}: {acts.name}" if acts.person else organisation.name


def late(request: Request, by: timedelta) -> str:
    """How late, in the largest unit that fits."""
    hours = int(by.total_seconds() // 3600)
    if hours < 1:
        return translated(request, texts._("overdue since a moment ago"))
    if hours < 48:
        return translated(request, texts._("overdue by {hours} h")).format(hours=hours)
    return translated(request, texts._("overdue by {days} days")).format(days=hours // 24)


# --- the picture ------------------------------------------------------------------------------------------


def kinds_of(request: Request, found: Overdue, actor: Actor) -> list[Kind]:
    """The kinds that stand now, in the order of the rules, each drawn."""
    drawn = []
    for rule in RULES:
        of_rule = [each for each in found.alarms if each.rule == rule.name]
        if not of_rule:
            continue
        title = translated(request, rule.watches)
        mine = [each for each in of_rule if each.is_for(actor)]
        longest = late(request, found.at - min(each.due_at for each in of_rule))
        label = translated(request, texts._("{title}: {count}, the longest {late}")).format(
            title=title, count=len(of_rule), late=longest
        )
        drawn.append(
            Kind(
                rule=rule.name,
                title=title,
                after=translated(request, rule.after),
                count=len(of_rule),
                mine=len(mine),
                drawing=drawing(
                    [found.at - each.due_at for each in of_rule],
                    [found.at - each.due_at for each in mine],
                    label,
                ),
            )
        )
    return drawn


def place_of(by: timedelta) -> int:
    """In which strip of the drawing something so late stands: four zones of the same width."""
    each, start = STRIPS // len(ZONES), timedelta(0)
    for zone, end in enumerate(ZONES):
        if by < end:
            return zone * each + int(each * ((by - start) / (end - start)))
        start = end
    return STRIPS - 1


def drawing(all_: Sequence[timedelta], mine: Sequence[timedelta], label: str) -> Markup:
    """Alarms of one kind from left to right by how late they are; this person's own are the foot of a bar."""
    counts, own = Counter(map(place_of, all_)), Counter(map(place_of, mine))
    most = max(counts.values(), default=1)
    parts = [
        Markup('<rect class="zone" x="{}" y="0" width="1" height="{}"/>').format(
            zone * STRIPS // len(ZONES) * WIDE, HIGH
        )
        for zone in range(len(ZONES))
    ]
    for place, count in sorted(counts.items()):
        tall, foot = (max(round(HIGH * n / most), LOWEST) if n else 0 for n in (count, own[place]))
        for name, height in (("all", tall), ("mine", foot)):
            if height:
                parts.append(
                    Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
                        name, place * WIDE + 1, HIGH - height, WIDE - 2, height
                    )
                )
    return Markup(
        '<svg class="late" role="img" aria-label="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">{}</svg>'
    ).format(label, STRIPS * WIDE, HIGH, Markup("").join(parts))


# --- the first page ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What the first page says: how many are overdue, how many of them are this person's, as of when."""

    count: int
    mine: int
    at: datetime
    kinds: tuple[tuple[str, str, int], ...] = ()


async def glance(request: Request, service: Service, who: Signed) -> Glance | None:
    """For staff of a centre who signed in as themselves; None for everybody else."""
    if who.on_duty or who.actor.function not in PERMISSIONS["alarm.read"]:
        return None
    found = await alarms_for(service, who.actor)
    mine = found.of(who.actor)
    counted: Mapping[str, Any] = Counter(each.rule for each in mine)
    kinds = tuple(
        (rule.name, translated(request, rule.watches), int(counted[rule.name]))
        for rule in RULES
        if rule.name in counted
    )
    return Glance(count=len(found.alarms), mine=len(mine), at=found.at, kinds=kinds)
