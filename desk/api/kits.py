"""Kits for who may read them: lists, one kit, its trails, the bundle, what a scan means, what waits.

Reading takes a purpose, and is on record before anything is shown. A kit that does not exist, one that the
asker may not know of and one not reported yet give the same answer.
"""

import asyncio
import base64
import re
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from audit.log import View
from custody import access, delivery, reading
from custody.event import Event
from custody.kit import Kit
from custody.ledger import reading as seen_by
from custody.ledger import state_tag
from custody.number import LabelCode, PartKind, parse_kit_number, parse_scan
from custody.people import Actor
from custody.permission import as_known, may, permit
from custody.protocol import Trail
from custody.purpose import PURPOSES, SCAN, TASK, stated
from custody.refusal import Refused
from desk.api.answers import (
    EventAnswer,
    KitAnswer,
    KitPage,
    PrivatePart,
    Scanned,
    TrailAnswer,
    answer,
    kit_answer,
    kit_line,
    of_centre,
    written,
)
from desk.api.document import describes
from desk.api.worklists import Worklists, worklists_of
from desk.edge import Signed, acting, service, settings
from desk.service import Service

router = APIRouter(tags=["kits"])

Reader = Annotated[Signed, Depends(acting("kit.read"))]
_AFTER: Final = re.compile(r"(\d{4}-\d{2}-\d{2}T[0-9:.]{8,15}\+00:00~[0-9A-HJKMNP-TV-Z]{12})")


def purpose_of(
    purpose: Annotated[
        str | None,
        Query(
            description="Why. A scan and a task must be true; the other words depend on the function.",
            json_schema_extra={"enum": list(PURPOSES)},
        ),
    ] = None,
) -> str:
    """The purpose of a reading, as it is asked for. Raises Refused for none."""
    if purpose not in PURPOSES:
        raise Refused("Say why you read this: {words}.", field="purpose", words=", ".join(PURPOSES))
    return purpose


Why = Annotated[str, Depends(purpose_of)]


@router.get(
    "/kits",
    name="kits",
    summary="Kits that can be seen, newest first",
    openapi_extra=describes(answers={200: KitPage}),
)
async def kits(request: Request, who: Reader, purpose: Why, after: str | None = None) -> Response:
    if after is not None:
        after = _cursor(after)
    stated(who.actor, purpose)  # nobody has a task with all kits
    await access.record(service(request).engine, who.actor, read="kit_list", kit=None, purpose=purpose)
    async with seen_by(service(request).engine, who.actor) as connection:
        found, more = await reading.page_of_kits(connection, after)
    lines = tuple(kit_line(kit, who.actor) for kit in found if may("kit.read", who.actor, kit))
    following = f"/api/kits?purpose={purpose}&after={_as_cursor(more)}" if more else None
    return answer(KitPage(kits=lines, next=following))


def _as_cursor(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _cursor(text: str) -> str:
    try:
        place = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
        datetime.fromisoformat(place.partition("~")[0])
    except ValueError:
        place = ""
    if not _AFTER.fullmatch(place) or _as_cursor(place) != text:
        raise Refused("This is not the place where a page begins. Follow the link next.", field="after")
    return place


@router.get(
    "/kits/{number}",
    name="kit",
    summary="One kit, as far as the asker may know of it",
    openapi_extra=describes(answers={200: KitAnswer}),
)
async def kit(request: Request, number: str, who: Reader, purpose: Why) -> Response:
    found = await service(request).kit(who.actor, parse_kit_number(number), "kit.read", purpose)
    # Of the choices trail others may not even know that it moves, so they get no tag of both trails.
    eyes = await service(request).eyes(who.actor, found)
    tag = {"etag": f'"{state_tag(found)}"'} if of_centre(eyes, found) else {}
    return answer(kit_answer(found, eyes), **tag)


# --- trails and the bundle --------------------------------------------------------------------------------


@router.get(
    "/kits/{number}/custody-trail",
    name="custody_trail",
    summary="Every event of the custody trail, as its exact bytes",
    openapi_extra=describes(answers={200: TrailAnswer}),
)
async def custody_trail(
    request: Request,
    number: str,
    who: Annotated[Signed, Depends(acting("custody_trail.read"))],
    purpose: Why,
) -> Response:
    found = await service(request).kit(who.actor, parse_kit_number(number), "custody_trail.read", purpose)
    return answer(await _trail(request, who, found, Trail.CUSTODY))


@router.get(
    "/kits/{number}/choices-trail",
    name="choices_trail",
    summary="Every event of the choices trail; for the kit's own centre",
    openapi_extra=describes(answers={200: TrailAnswer}),
)
async def choices_trail(
    request: Request,
    number: str,
    who: Annotated[Signed, Depends(acting("choices_trail.read"))],
    purpose: Why,
) -> Response:
    found = await service(request).kit(who.actor, parse_kit_number(number), "choices_trail.read", purpose)
    return answer(await _trail(request, who, found, Trail.CHOICES))


@router.get(
    "/kits/{number}/private",
    name="private_part",
    summary="Hospital reference, safe channel, types of items; for the kit's own centre",
    openapi_extra=describes(answers={200: PrivatePart}),
)
async def private_part(
    request: Request,
    number: str,
    who: Annotated[Signed, Depends(acting("private.read"))],
    purpose: Why,
) -> Response:
    found = await service(request).kit(who.actor, parse_kit_number(number), "private.read", purpose)
    part = await service(request).ledger.read_private(who.actor, found)
    return answer(PrivatePart(kit=found.number, part=part))


async def _trail(request: Request, who: Signed, kit: Kit, which: Trail) -> TrailAnswer:
    async with seen_by(service(request).engine, who.actor) as connection:
        events = await reading.trail(connection, kit.number, which)
    name: Any = which.value
    return TrailAnswer(kit=kit.number, trail=name, events=tuple(_event(event) for event in events))


def _event(event: Event) -> EventAnswer:
    return EventAnswer(
        number=event.number,
        digest=event.digest,
        type=event.type,
        recorded_at=event.recorded_at,
        bytes=base64.b64encode(event.bytes).decode(),
        event=event.values,
    )


@router.get(
    "/kits/{number}/bundle",
    name="bundle",
    summary="The custody trail with its proofs, as a file that anybody can check offline",
    openapi_extra=describes(answers={200: "application/zip"}),
)
async def export(
    request: Request,
    number: str,
    who: Annotated[Signed, Depends(acting("custody_trail.export"))],
    purpose: Why,
) -> Response:
    found = await service(request).kit(who.actor, parse_kit_number(number), "custody_trail.export", purpose)
    return await _bundle(request, who, found, Trail.CUSTODY)


@router.get(
    "/kits/{number}/choices-bundle",
    name="choices_bundle",
    summary="The choices trail with its proofs, as far as a judge's order handed it out",
    openapi_extra=describes(answers={200: "application/zip"}),
)
async def export_choices(
    request: Request,
    number: str,
    who: Annotated[Signed, Depends(acting("choices_trail.export"))],
    purpose: Why,
) -> Response:
    known = parse_kit_number(number)
    seen = await service(request).ledger.look(who.actor, [known])
    permit("choices_trail.export", who.actor, seen.kit(known))
    async with seen_by(service(request).engine, who.actor) as connection:
        delivery.refuse_undisclosed(await delivery.disclosed(connection, known))
    found = await service(request).kit(who.actor, known, "choices_trail.export", purpose)
    return await _bundle(request, who, found, Trail.CHOICES)


async def _bundle(request: Request, who: Signed, kit: Kit, which: Trail) -> Response:
    stated = settings(request).witnesses
    view: View = "signed" if may("log.read", who.actor) else "published"
    policy = None if stated is None else await asyncio.to_thread(stated.read_bytes)
    async with seen_by(service(request).engine, who.actor) as connection:
        try:
            data = await delivery.collect(connection, kit.number, which, policy, view)
        except delivery.NotYetInLog:
            raise Refused(
                "The last events of this kit are not yet in the signed log. Try again in a moment."
            ) from None
    named = {"content-disposition": f'attachment; filename="{which}-{kit.number}.zip"'}
    return Response(data, 200, named, media_type="application/zip")


# --- scanning ---------------------------------------------------------------------------------------------


@router.get(
    "/scan",
    name="scan",
    summary="What a scanned or typed code stands for",
    openapi_extra=describes(answers={200: Scanned}),
)
async def scan(request: Request, who: Reader, code: str) -> Response:
    read = parse_scan(code, [settings(request).base_url])
    if isinstance(read, LabelCode):
        return answer(scanned(await scan_of(service(request), who.actor, read), read))
    return answer(scanned(await service(request).kit(who.actor, read, "kit.read", TASK), None))


async def scan_of(service: Service, actor: Actor, label: LabelCode) -> Kit:
    """The kit of a label that was scanned. Raises NotSeen.

    Only a label in use shows that something of the kit is at hand: its scan is a purpose for half an hour. A
    typed kit number is none.
    """
    seen = await service.ledger.look(actor, [label.kit])
    eyes = seen.eyes(actor)
    permit("kit.read", eyes, seen.kit(label.kit))
    found = as_known(eyes, seen.kit(label.kit))
    in_use = found.labels.get(str(label.part)) == label.serial
    read = SCAN if in_use else "scan_of_no_label_in_use"
    await access.record(service.engine, actor, read=read, kit=label.kit, purpose=SCAN)
    return found


def scanned(kit: Kit, label: LabelCode | None) -> Scanned:
    """What a label of this kit stands for, and whether it is the one in use."""
    if label is None:
        return Scanned(
            kit=kit.number,
            written=written(kit.number),
            part="K",
            voided=False,
            says="A kit number was given, without a label.",
        )
    part = str(label.part)
    in_use = kit.labels.get(part)
    if in_use == label.serial:
        says = "This is the label in use."
    elif in_use is None or label.serial > in_use:
        says = "No such label was printed for this kit. Ask the custodian before you go on."
    else:
        says = "This label is void: a later one is in use. Take it off and use the later one."
    numbered = {label.part.kind: label.part.number}
    return Scanned(
        kit=kit.number,
        written=written(kit.number),
        part=part,
        voided=in_use != label.serial,
        says=says,
        serial=label.serial,
        package=numbered.get(PartKind.PACKAGE),
        item=numbered.get(PartKind.ITEM),
    )


# --- what waits -------------------------------------------------------------------------------------------


@router.get(
    "/worklists",
    name="worklists",
    summary="What waits for this person",
    tags=["worklists"],
    openapi_extra=describes(answers={200: Worklists}),
)
async def worklists(request: Request, who: Annotated[Signed, Depends(acting("worklist.read"))]) -> Response:
    await access.record(service(request).engine, who.actor, read="worklist", kit=None, purpose=TASK)
    return answer(await worklists_of(service(request), who.actor))
