"""Who looked at the centre's kits, for its coordinators; and the glass before a restricted kit.

Looking at readings is itself on record. What stands out is marked by the rules of `custody.review`, until
another coordinator than the reader has reviewed it.
"""

import base64
import logging
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from custody import access, reading, readings
from custody.commands import command
from custody.ledger import reading as seen_by
from custody.number import parse_kit_number
from custody.people import Actor
from custody.purpose import GLASS_HOLDS
from custody.readings import Asked, Looked
from custody.refusal import Refused
from custody.review import FOUND
from desk.api.answers import answer, written
from desk.api.document import describes
from desk.edge import Body, Sent, Signed, acting, now, service
from desk.service import Service

router = APIRouter(tags=["readings"])
_log = logging.getLogger(__name__)

_PLACE: Final = re.compile(r"(\d{4}-\d{2}-\d{2}T[0-9:.]{8,15}\+00:00)~([0-9a-f]{64})")
_PERSON: Final = re.compile(r"[a-z0-9][a-z0-9._:-]{0,99}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingLine:
    """One reading: who, in which function, what, when, why. `stands_out` names the rules that mark it.

    `found` is what its review came to. A kit that is restricted, and not to this coordinator, is not named.
    """

    digest: str
    at: datetime
    function: str
    read: str
    purpose: str
    person: str | None = None
    name: str | None = None
    organisation: str | None = None
    kit: str | None = None
    written: str | None = None
    reason: str | None = None
    stands_out: tuple[str, ...] = ()
    reviewed_by: str | None = None
    reviewed_at: datetime | None = None
    found: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingsPage:
    """Readings, newest first. `next` is the address of the following page."""

    readings: tuple[ReadingLine, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """The record of a review, and of which reading it is."""

    digest: str
    reviews: str


@command
class BreakGlass:
    """Why a restricted kit is opened by somebody who is none of its readers."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GlassOpen:
    """The kit is open to this person until then. It is on record under `digest`, and will be reviewed."""

    kit: str
    digest: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Readings that were asked for, newest first, and where the next page begins."""

    looked: tuple[Looked, ...]
    after: str | None


Oversight = Annotated[Signed, Depends(acting("reads.read"))]


def line(looked: Looked) -> ReadingLine:
    """A reading as it is answered."""
    each, review = looked.reading, looked.review
    kit = each.kit if looked.known else None
    return ReadingLine(
        digest=each.digest,
        at=each.at,
        function=each.function,
        read=each.read,
        purpose=each.purpose,
        person=each.person,
        name=each.name,
        organisation=each.organisation,
        kit=kit,
        written=written(kit) if kit else None,
        reason=each.reason,
        stands_out=looked.rules,
        reviewed_by=review.name if review else None,
        reviewed_at=review.at if review else None,
        found=review.reason if review else None,
    )


def asked(kit: str | None, person: str | None, day: str | None) -> Asked:
    """What is asked for. Raises Refused, NumberRefused."""
    if person is not None and not _PERSON.fullmatch(person):
        raise Refused("This is not the name of a person here.", field="person")
    try:
        on = None if day is None else date.fromisoformat(day)
    except ValueError:
        raise Refused("Write the day as year-month-day.", field="day") from None
    return Asked(kit=None if kit is None else str(parse_kit_number(kit)), person=person, day=on)


async def page_of(service: Service, actor: Actor, wanted: Asked, after: str | None, unusual: bool) -> Page:
    """A page of readings of the centre's kits; that somebody looks is on record first.

    What stands out is looked for in the last 30 days. Raises Refused for a place where no page begins.
    """
    place = None if after is None else _place(after)
    async with seen_by(service.engine, actor) as connection:
        known = wanted.kit is None or await readings.knows(connection, wanted.kit)
    kit = wanted.kit if known else None
    await access.record(service.engine, actor, read="reads_read", kit=kit, purpose="review")
    if not known:
        return Page(looked=(), after=None)
    async with seen_by(service.engine, actor) as connection:
        if not unusual:
            found, following = await readings.newest(connection, wanted, place)
            return Page(looked=tuple(found), after=None if following is None else _written_place(*following))
        since = await reading.now(connection) - readings.WINDOW
        marked = [x for x in await readings.of_window(connection, since, wanted) if x.rules]
    rest = [x for x in marked if place is None or _comes_after(x, place)]
    shown = rest[: readings.PAGE]
    more = len(rest) > readings.PAGE
    last = shown[-1].reading if more else None
    return Page(looked=tuple(shown), after=_written_place(last.at, last.digest) if last else None)


def _comes_after(looked: Looked, place: tuple[datetime, str]) -> bool:
    at, digest = place
    return looked.reading.at < at or (looked.reading.at == at and looked.reading.digest > digest)


def _written_place(at: datetime, digest: str) -> str:
    place = f"{at.astimezone(UTC).isoformat(timespec='microseconds')}~{digest}"
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _place(text: str) -> tuple[datetime, str]:
    refused = Refused("This is not the place where a page begins. Follow the link next.", field="after")
    try:
        found = _PLACE.fullmatch(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii"))
        if found is None or _written_place(datetime.fromisoformat(found[1]), found[2]) != text:
            raise refused
        return datetime.fromisoformat(found[1]), found[2]
    except ValueError:
        raise refused from None


@router.get(
    "/readings",
    name="readings",
    summary="Who looked at the centre's kits, newest first, and what stands out",
    openapi_extra=describes(answers={200: ReadingsPage}),
)
async def who_looked(
    request: Request,
    who: Oversight,
    kit: str | None = None,
    person: str | None = None,
    day: Annotated[str | None, Query(description="A day at the centre, year-month-day")] = None,
    unusual: Annotated[bool, Query(description="Only what stands out, of the last 30 days")] = False,
    after: str | None = None,
) -> Response:
    wanted = asked(kit, person, day)
    found = await page_of(service(request), who.actor, wanted, after, unusual)
    following = None
    if found.after is not None:
        given = {"kit": wanted.kit, "person": wanted.person, "day": wanted.day, "after": found.after}
        parts = [f"{name}={value}" for name, value in given.items() if value is not None]
        following = "/api/readings?" + "&".join([*(["unusual=true"] if unusual else []), *parts])
    return answer(ReadingsPage(readings=tuple(line(x) for x in found.looked), next=following))


@router.post(
    "/readings/{digest}/review",
    name="reading_review",
    summary="Put on record that a reading was looked at, and what was found",
    openapi_extra=describes(answers={201: Reviewed}),
)
async def review(
    request: Request,
    digest: str,
    who: Annotated[Signed, Depends(acting("reading.review"))],
    found: Annotated[
        str | None, Query(description="What was found", json_schema_extra={"enum": list(FOUND)})
    ] = None,
) -> Response:
    made = await access.review(service(request).engine, who.actor, digest=digest_of(digest), found=found)
    return answer(Reviewed(digest=made, reviews=digest), 201)


def digest_of(text: str) -> str:
    """The digest of a record. Raises Refused."""
    if not _DIGEST.fullmatch(text):
        raise Refused("This is not the digest of a record.", field="digest")
    return text


# --- the glass --------------------------------------------------------------------------------------------


@router.post(
    "/kits/{number}/glass",
    name="kit_break_glass",
    summary="Break the glass before a restricted kit: it opens for an hour, and an alarm is raised",
    openapi_extra=describes(body=BreakGlass, answers={201: GlassOpen}, key=False),
)
async def glass(
    request: Request,
    number: str,
    who: Annotated[Signed, Depends(acting("kit.break_glass"))],
    sent: Annotated[Sent[BreakGlass], Depends(Body(BreakGlass))],
) -> Response:
    known = str(parse_kit_number(number))
    digest = await break_glass(service(request), who.actor, known, sent.order.reason)
    until = await now(request) + GLASS_HOLDS
    return answer(GlassOpen(kit=known, digest=digest, until=until), 201)


async def break_glass(service: Service, actor: Actor, kit: str, reason: str) -> str:
    """Open a restricted kit for an hour and raise the alarm. Raises NotSeen, NotPermitted, Refused."""
    digest = await access.break_glass(service.engine, actor, kit=kit, reason=reason)
    _log.warning("The glass before a restricted kit was broken at %s.", actor.organisation)
    return digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ToReview:
    """What waits for a coordinator: broken glass, ever; other people's readings that stand out."""

    glass: tuple[Looked, ...]
    unusual: int


async def to_review(service: Service, actor: Actor) -> ToReview:
    """What stands out at this coordinator's centre and nobody has reviewed; their own readings are for others
    to review."""
    async with seen_by(service.engine, actor) as connection:
        broken = await readings.broken_glass(connection)
        since = await reading.now(connection) - readings.WINDOW
        found = await readings.of_window(connection, since)
        waiting = [x for x in found if x.stands_out and x.reading.read != "break_glass"]
        people = {x.reading.person for x in waiting if x.reading.person is not None}
        own = await readings.same_person(connection, people, actor.person)
    others = [x for x in waiting if x.reading.person not in own]
    return ToReview(glass=tuple(broken), unusual=len(others))
