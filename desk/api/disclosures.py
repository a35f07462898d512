"""Some fields of the private part, told to a court on a judge's order, so that anybody can check them."""

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from custody import access
from custody.commands import command
from custody.delivery import DISCLOSED
from custody.disclosure import check, disclose
from custody.event import FIELDS, EventRefused
from custody.ledger import reading
from custody.number import parse_kit_number
from custody.people import Actor
from custody.prosecution import EARLIEST_DAY
from custody.protocol import Trail
from custody.reading import trail
from custody.refusal import Refused
from desk.api.document import describes
from desk.edge import Body, Sent, Signed, acting, now, service
from desk.service import Service

router = APIRouter(tags=["kits"])


@command
class DisclosePrivate:
    """A judge orders that fields of the private part are told. `digest`, `authority` and `dated` are those of
    an order that two people entered for this kit (`choices/disclosures`), `fields` the names it asks for.

    What each item is (`item 1`) belongs to events of the custody trail, `hospital_reference` and
    `channel_address` to an event of the choices trail: a file with both is checked beside both bundles.
    """

    digest: str
    authority: str
    dated: date
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """The document as it is handed over: docs/private-part.md says what is in it and how it is checked."""

    format: str
    kit: str
    events: tuple[dict[str, Any], ...]


@router.post(
    "/kits/{number}/disclosures",
    name="private_disclose",
    summary="Fields of the private part as a file, on a judge's order",
    openapi_extra=describes(body=DisclosePrivate, answers={200: Disclosure}, key=False),
)
async def disclosure(
    request: Request,
    number: str,
    who: Annotated[Signed, Depends(acting("private.disclose"))],
    sent: Annotated[Sent[DisclosePrivate], Depends(Body(DisclosePrivate))],
) -> Response:
    known = str(parse_kit_number(number))
    if sent.order.dated > (await now(request) + EARLIEST_DAY).date():
        raise Refused("The order bears a date that is still to come. Compare it.", field="dated")
    document = await disclosed(service(request), who.actor, known, sent.order)
    named = {"content-disposition": f'attachment; filename="disclosure-{known}.json"'}
    return Response(document, 200, named, media_type="application/json")


async def disclosed(service: Service, actor: Actor, number: str, order: DisclosePrivate) -> bytes:
    """The document; who asked for it, for which order, is on record before it is answered. The order is one
    that two people entered: one person and a typed digest hand nothing out.

    Raises NotSeen, NotPermitted, Refused.
    """
    stated = {"digest": order.digest, "authority": order.authority, "dated": order.dated.isoformat()}
    try:
        FIELDS["order"].check("order", stated)
    except EventRefused as wrong:
        raise Refused("The order cannot be recorded so: {why}.", field="digest", why=str(wrong)) from None
    found = await service.kit(actor, number, "private.disclose", "court")
    async with reading(service.engine, actor) as connection:
        choices = await trail(connection, number, Trail.CHOICES)
    if not any(event.type == DISCLOSED and event.get("order") == stated for event in choices):
        raise Refused(
            "No such order stands in the choices trail of this kit. Enter the order first, together with a"
            " second person, and give its digest, authority and date as they were entered.",
            field="digest",
        )
    parts = await service.ledger.private_parts(actor, found)
    if not parts:
        raise Refused("No private part of this kit can be read here any more.")
    document = disclose(number, parts, order.fields)
    check(document, [event for event, _ in parts])  # nothing is handed over that a court would refuse
    await access.record(
        service.engine, actor, read="private_disclosed", kit=number, purpose="court", digest=order.digest
    )
    return document
