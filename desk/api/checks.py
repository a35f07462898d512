"""The scheduled check, for staff and auditors: when it ran, what it did, what is late, what is set aside.

Figures alone for auditors. Staff are also told which kits of their own centre are set aside, as far as they
may know of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from custody import access, reading
from custody.directory import CALENDAR
from custody.ledger import reading as seen_by
from custody.number import KitNumber, written
from custody.people import STAFF, Actor
from custody.purpose import TASK
from desk.api.answers import answer
from desk.api.document import describes
from desk.edge import Signed, acting, service
from desk.service import Service
from retention import runs
from retention.check import EVERY
from retention.runs import Day, Late, Run

router = APIRouter(tags=["check"])

DAYS: Final = 30
RUNS: Final = 12  # an hour of them
OUTBOX: Final = frozenset({"waiting", "not_sent"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AsideLine:
    """A kit that the check could not move, at which step and why, and when it tries again."""

    kit: str
    written: str
    step: str
    why: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckState:
    """The scheduled check as of `at`. `late` says that no slot of the last fifteen minutes was carried out;
    `last` is the newest one that was. `waiting` counts by kind what was due and is not done, `outbox` the
    messages that wait to be sent and the notices that could not be sent and nobody has given since."""

    at: datetime
    late: bool
    last: Run | None
    runs: tuple[Run, ...]
    days: tuple[Day, ...]
    waiting: tuple[Late, ...]
    outbox: tuple[Late, ...]
    set_aside: tuple[AsideLine, ...]


async def state_of(service: Service, actor: Actor) -> CheckState:
    """How the check stands, for this person. That staff look at a list of kits is on record first."""
    if actor.function in STAFF:
        await access.record(service.engine, actor, read="worklist", kit=None, purpose=TASK)
    async with seen_by(service.engine, actor) as connection:
        at = await reading.now(connection)
        last = await runs.last_finished(connection)
        newest = await runs.newest(connection, RUNS)
        days = await runs.by_day(connection, at - timedelta(days=DAYS), str(CALENDAR))
        late = await runs.late(connection, at - 2 * EVERY)
        aside = await runs.aside(connection) if actor.function in STAFF else ()
    return CheckState(
        at=at,
        late=runs.is_late(last, at),
        last=last,
        runs=tuple(newest),
        days=tuple(days),
        waiting=tuple(x for x in late if x.kind not in OUTBOX),
        outbox=tuple(x for x in late if x.kind in OUTBOX),
        set_aside=_aside(aside),
    )


def _aside(found: Sequence[runs.Aside]) -> tuple[AsideLine, ...]:
    lines = []
    for each in found:
        step, _, why = each.reason.partition(": ")
        lines.append(
            AsideLine(
                kit=each.kit, written=written(KitNumber(each.kit)), step=step, why=why, until=each.until
            )
        )
    return tuple(lines)


@router.get(
    "/check",
    name="check",
    summary="The scheduled check: its runs, what is late, what is set aside",
    openapi_extra=describes(answers={200: CheckState}),
)
async def check(request: Request, who: Annotated[Signed, Depends(acting("check.read"))]) -> Response:
    return answer(await state_of(service(request), who.actor))
