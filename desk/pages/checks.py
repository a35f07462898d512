"""The scheduled check, for people: is it at work, what did it do, what is late and what is set aside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from markupsafe import Markup
from starlette.responses import Response

from custody.directory import day_of
from desk import edge, texts
from desk.api.checks import DAYS, AsideLine, CheckState, state_of
from desk.edge import Signed
from desk.pages.page import day, language, moment, page, translated
from retention.runs import Day, Late, Run

router = APIRouter()

WIDE: Final = 20  # of one day in the picture
HIGH: Final = 90
LOWEST: Final = 3  # a single kit is to be seen

STEPS: Final[Mapping[str, str]] = {
    "notices_due": texts._("the victim is to be told"),
    "repeated": texts._("the victim is to be told again"),
    "expired": texts._("the term is over"),
    "cooled_off": texts._("the cooling-off is over"),
    "keys_destroyed": texts._("the data key was destroyed"),
    "failed": texts._("could not be moved"),
}
"""What a run counts, as people call it."""

LATE: Final[Mapping[str, str]] = {
    "notices_due": texts._("the victim should have been told"),
    "repeated": texts._("the victim should have been told again"),
    "expired": texts._("the term is over, and the kit is not on the list"),
    "cooled_off": texts._("the cooling-off is over, and the kit is not on the list"),
    "set_aside": texts._("set aside: the check could not move it"),
    "waiting": texts._("messages that wait to be sent"),
    "not_sent": texts._("notices that could not be sent, and nobody has given since"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """One kind of what is late, in words."""

    says: str
    kits: int
    since: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One run in words: `did` is what it did, empty where there was nothing to do."""

    at: str
    seconds: float | None
    did: tuple[str, ...]
    taken_over: int
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """A kit that is set aside, in words."""

    kit: str
    step: str
    why: str
    until: str


@router.get("/check")
async def check(request: Request, who: Annotated[Signed, Depends(edge.acting("check.read"))]) -> Response:
    """How the scheduled check stands."""
    found = await state_of(edge.service(request), who.actor)
    today, lang = day_of(found.at), language(request)
    return await page(
        request,
        "check.html",
        title=translated(request, texts._("Scheduled check")),
        who=who,
        found=found,
        last=None if found.last is None else moment(found.last.slot, lang),
        undone=[_counted(request, x) for x in found.waiting if x.kits],
        messages=[_counted(request, x) for x in found.outbox if x.kits],
        ran=[_ran(request, each) for each in found.runs],
        aside=[_aside(request, each) for each in found.set_aside],
        picture=drawing(found.days, today, _words(request), lang),
        first_day=day(today - timedelta(days=DAYS - 1), lang),
        last_day=day(today, lang),
        most=most_of(found),
    )


def most_of(found: CheckState) -> int:
    """The kits moved on the busiest day."""
    return max((each.figures.moved for each in found.days), default=0)


def _counted(request: Request, late: Late) -> Counted:
    since = None if late.since is None else moment(late.since, language(request))
    return Counted(says=translated(request, LATE[late.kind]), kits=late.kits, since=since)


def _ran(request: Request, run: Run) -> Ran:
    did = tuple(
        f"{translated(request, says)}: {count}"
        for name, says in STEPS.items()
        if (count := getattr(run.figures, name))
    )
    return Ran(
        at=moment(run.slot, language(request)),
        seconds=None if run.finished_at is None else (run.finished_at - run.started_at).total_seconds(),
        did=did,
        taken_over=run.taken_over,
        finished=run.finished_at is not None,
    )


def _aside(request: Request, aside: AsideLine) -> Aside:
    """Why, in words: a refusal says it; anything else stands in the service's own log."""
    kind, _, says = aside.why.partition(": ")
    why = translated(request, says) if kind == "Refused" and says else ""
    return Aside(
        kit=aside.kit,
        step=translated(request, texts.EVENTS[aside.step]) if aside.step in texts.EVENTS else aside.step,
        why=why or translated(request, texts._("An unforeseen fault. Tell those who run the service.")),
        until=moment(aside.until, language(request)),
    )


def _words(request: Request) -> Mapping[str, str]:
    return {
        "title": translated(request, texts._("What the check did in the last 30 days, by day")),
        "moved": translated(request, texts._("kits that went on a step: {count}")),
        "failed": translated(request, texts._("kits that could not: {count}")),
        "none": translated(request, texts._("no run")),
    }


def drawing(days: Sequence[Day], today: date, words: Mapping[str, str], lang: str = "en") -> Markup:
    """A bar for each of the last 30 days: kits that were moved, and those that could not be as its foot."""
    by_day = {each.on: each for each in days}
    most = max((x.figures.moved + x.figures.failed for x in days), default=0) or 1
    bars = []
    for place in range(DAYS):
        on = today - timedelta(days=DAYS - 1 - place)
        found = by_day.get(on)
        moved, failed = (found.figures.moved, found.figures.failed) if found else (0, 0)
        told = [words["moved"].format(count=moved)] if found else [words["none"]]
        if failed:
            told.append(words["failed"].format(count=failed))
        tall, foot = (max(round(HIGH * n / most), LOWEST) if n else 0 for n in (moved + failed, failed))
        bars.append(
            Markup(
                '<g><title>{}</title><rect class="back" x="{}" y="0" width="{}" height="{}"/>'
                '<rect class="all" x="{}" y="{}" width="{}" height="{}"/>'
                '<rect class="marked" x="{}" y="{}" width="{}" height="{}"/></g>'
            ).format(
                f"{day(on, lang)}: {', '.join(told)}",
                *(place * WIDE, WIDE, HIGH),
                *(place * WIDE + 3, HIGH - tall, WIDE - 6, tall),
                *(place * WIDE + 3, HIGH - foot, WIDE - 6, foot),
            )
        )
    return Markup(
        '<svg class="by-day" role="img" aria-label="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">'
        "{}</svg>"
    ).format(words["title"], DAYS * WIDE, HIGH, Markup("").join(bars))
