"""For coordinators: who looked at the centre's kits, and what stands out. For staff: the glass."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from markupsafe import Markup
from starlette.responses import Response

from custody import access, reading, readings
from custody.directory import day_of
from custody.ledger import reading as seen_by
from custody.number import NumberRefused, parse_kit_number
from custody.purpose import GLASS, GLASS_REASONS
from custody.readings import Asked, Looked
from custody.refusal import NotSeen, Refused
from custody.review import ONE_LOOK
from desk import edge, texts
from desk.api.readings import Page, ReadingLine, asked, break_glass, digest_of, line, page_of
from desk.edge import Signed
from desk.pages import forms
from desk.pages.page import day, language, page, to, translated
from desk.problems import Problem, problem_of

router = APIRouter()

DAYS: Final = 30
WIDE: Final = 20  # of one day in the picture
HIGH: Final = 90
LOWEST: Final = 3  # a single reading is to be seen


@router.get("/readings")
async def who_looked(
    request: Request, who: Annotated[Signed, Depends(edge.acting("reads.read"))]
) -> Response:
    """Who read the centre's kits, when and why. Looking here is itself on record."""
    return await _page(request, who)


async def _page(request: Request, who: Signed, problem: Problem | None = None) -> Response:
    query = request.query_params
    given = {name: query.get(name, "").strip() for name in ("kit", "person", "day")}
    unusual = query.get("unusual") == "1"
    service, found, wanted = edge.service(request), Page(looked=(), after=None), Asked()
    try:
        wanted = asked(given["kit"] or None, given["person"] or None, given["day"] or None)
        found = await page_of(service, who.actor, wanted, query.get("after"), unusual)
    except (NumberRefused, Refused) as refused:
        problem = problem or problem_of(refused)
    async with seen_by(service.engine, who.actor) as connection:
        today = day_of(await reading.now(connection))
        since = await reading.now(connection) - timedelta(days=DAYS)
        window = await readings.of_window(connection, since)
        glass = await readings.broken_glass(connection)
    names = {x.reading.person: x.reading.name for x in window if x.reading.person is not None}
    return await page(
        request,
        "readings.html",
        title=translated(request, texts._("Readings")),
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
        given=given,
        unusual=unusual,
        following=found.after,
        looks=looks_of([line(x) for x in found.looked]),
        glass=looks_of([line(x) for x in glass]),
        unreviewed=sum(x.stands_out for x in window),
        people=sorted(names.items(), key=lambda each: str(each[1])),
        picture=drawing(window, today, _words(request), language(request)),
        first_day=day(today - timedelta(days=DAYS - 1), language(request)),
        last_day=day(today, language(request)),
        most=max(Counter(x.reading.day for x in window).values(), default=0),
        me=who.actor.person,
    )


@dataclass(frozen=True, slots=True)
class Look:
    """What one person read of one kit at once: one line. ``of`` stands for all its readings, and is the one
    that stands out, where one does; ``reads`` are their words, in the order in which they were read."""

    of: ReadingLine
    reads: tuple[str, ...]


def looks_of(lines: Sequence[ReadingLine]) -> list[Look]:
    """Readings, newest first, as looks. A reading of an unnamed kit, the same part read again and a second
    one that stands out are each a look of their own: nothing is hidden that is to be reviewed or counted."""
    groups: list[list[ReadingLine]] = []
    latest: dict[tuple[str | None, ...], list[ReadingLine]] = {}
    for each in lines:
        key = (each.person, each.function, each.kit, each.purpose, each.reason)
        group = latest.get(key)
        fits = (
            group is not None
            and each.kit is not None
            and group[0].at - each.at < ONE_LOOK
            and all(x.read != each.read and not (x.stands_out and each.stands_out) for x in group)
        )
        if group is not None and fits:
            group.append(each)
        else:
            latest[key] = [each]
            groups.append(latest[key])
    return [
        Look(
            of=next((x for x in group if x.stands_out), group[-1]),
            reads=tuple(x.read for x in reversed(group)),
        )
        for group in groups
    ]


def _words(request: Request) -> Mapping[str, str]:
    return {
        "title": translated(request, texts._("Readings of the last 30 days, by day")),
        "readings": translated(request, texts._("{count} readings")),
        "marked": translated(request, texts._("{count} stand out")),
    }


def drawing(window: Sequence[Looked], today: date, words: Mapping[str, str], lang: str = "en") -> Markup:
    """A bar for each of the last 30 days. What stands out, and is not reviewed, is the foot of the bar."""
    seen = Counter(x.reading.day for x in window)
    marked = Counter(x.reading.day for x in window if x.stands_out)
    most = max(seen.values(), default=1)
    bars = []
    for place in range(DAYS):
        on = today - timedelta(days=DAYS - 1 - place)
        told = [day(on, lang), words["readings"].format(count=seen[on])]
        if marked[on]:
            told.append(words["marked"].format(count=marked[on]))
        tall, foot = (max(round(HIGH * n / most), LOWEST) if n else 0 for n in (seen[on], marked[on]))
        bars.append(
            Markup(
                '<g><title>{}</title><rect class="back" x="{}" y="0" width="{}" height="{}"/>'
                '<rect class="all" x="{}" y="{}" width="{}" height="{}"/>'
                '<rect class="marked" x="{}" y="{}" width="{}" height="{}"/></g>'
            ).format(
                ": ".join((told[0], ", ".join(told[1:]))),
                *(place * WIDE, WIDE, HIGH),
                *(place * WIDE + 3, HIGH - tall, WIDE - 6, tall),
                *(place * WIDE + 3, HIGH - foot, WIDE - 6, foot),
            )
        )
    return Markup(
        '<svg class="by-day" role="img" aria-label="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">'
        "{}</svg>"
    ).format(words["title"], DAYS * WIDE, HIGH, Markup("").join(bars))


@router.post("/readings/{digest}/review")
async def review(
    request: Request, digest: str, who: Annotated[Signed, Depends(edge.acting("reading.review"))]
) -> Response:
    """Put on record that this reading was looked at, and what was found."""
    found = forms.value(await request.form(), "found") or ""
    try:
        await access.review(edge.service(request).engine, who.actor, digest=digest_of(digest), found=found)
    except Refused as refusal:
        if isinstance(refusal, NotSeen):
            raise
        return await _page(request, who, problem_of(refusal))
    return to("/readings", unusual="1")


# --- the glass --------------------------------------------------------------------------------------------


@router.get("/glass")
async def ask(request: Request, who: Annotated[Signed, Depends(edge.acting("kit.break_glass"))]) -> Response:
    """The same form for every number, whether there is such a kit or not."""
    return await _glass(request, who, request.query_params.get("kit", ""))


async def _glass(request: Request, who: Signed, number: str, problem: Problem | None = None) -> Response:
    return await page(
        request,
        "glass.html",
        title=translated(request, texts._("Break the glass")),
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
        number=number[:40],
    )


@router.post("/glass")
async def broken(
    request: Request, who: Annotated[Signed, Depends(edge.acting("kit.break_glass"))]
) -> Response:
    """Open a restricted kit for an hour, on record and with an alarm."""
    form = await request.form()
    given = forms.value(form, "kit") or ""
    try:
        number = str(parse_kit_number(given))
        reason = forms.value(form, "reason") or ""
        if reason not in GLASS_REASONS:
            raise Refused("Say why you break the glass.", field="reason")
        await break_glass(edge.service(request), who.actor, number, reason)
    except (NumberRefused, Refused) as refusal:
        if isinstance(refusal, NotSeen):
            raise
        return await _glass(request, who, given, problem_of(refusal))
    return to(f"/kits/{number}", **{"for": GLASS})
