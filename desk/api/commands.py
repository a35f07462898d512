"""Commands: one route for each door, and those few that need more than a decision.

Every command carries an Idempotency-Key; sent again with the same key it answers its first receipts (200
instead of 201). A command that takes two people is answered with 202 and waits for the second signature.
"""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from custody import access, reading
from custody import commands as c
from custody.ledger import reading as seen_by
from custody.protocol import Trail
from custody.purpose import TASK
from custody.refusal import Refused
from desk.api.answers import (
    RECEIVED,
    Asked,
    CardAnswer,
    ProposalAnswer,
    Proposals,
    Receipts,
    Registered,
    RequestAnswer,
    Requests,
    Reserved,
    WaitingAnswer,
    answer,
    receipts_of,
    repeated,
    written,
)
from desk.api.document import describes
from desk.doors import BY_ACTION, DOORS, Door
from desk.edge import Body, Sent, Signed, acting, given, service, stepped_up_to_sign
from desk.service import SEALED, Done, Waiting

router = APIRouter()
T = TypeVar("T")

Route = Callable[..., Awaitable[Response]]


def _card_of(done: Done) -> CardAnswer | None:
    """Code and second secret of a new card, which are there this once."""
    if done.card_code is None or done.card_secret is None:
        return None
    return CardAnswer(code=done.card_code, secret=done.card_secret)


def _carried_out(done: Done | Waiting) -> Response:
    match done:
        case Waiting():
            where = f"/api/proposals/{done.proposal}"
            return answer(WaitingAnswer(proposal=done.proposal, until=done.until), 202, location=where)
        case Done():
            status = 200 if repeated(done.receipts) else 201
            told = Receipts(receipts=receipts_of(done.receipts), card=_card_of(done))
            return answer(told, status)


def _route_of(door: Door) -> Route:
    body: Body[Any] = Body(door.shape)

    async def carry_out(
        request: Request,
        who: Annotated[Signed, Depends(acting(door.action))],
        sent: Annotated[Sent[Any], Depends(body)],
    ) -> Response:
        done = await service(request).carry_out(door, sent.order, given(request, who, sent.body))
        return _carried_out(done)

    return carry_out


for _door in DOORS:
    router.add_api_route(
        f"/{_door.path}",
        _route_of(_door),
        methods=["POST"],
        name=_door.action.replace(".", "_"),
        summary=_door.says,
        tags=[_door.path.partition("/")[0]],
        openapi_extra=describes(
            body=_door.shape,
            answers={201: Receipts, 200: Receipts} | ({202: WaitingAnswer} if _door.two_people else {}),
        ),
    )


@router.post(
    "/kits",
    name="kit_register",
    summary="Register a kit",
    tags=["kits"],
    openapi_extra=describes(body=c.Register, answers={201: Registered, 200: Registered}),
)
async def register(
    request: Request,
    who: Annotated[Signed, Depends(acting("kit.register"))],
    sent: Annotated[Sent[c.Register], Depends(Body(c.Register))],
) -> Response:
    done = await service(request).register(sent.order, given(request, who, sent.body))
    if done.kit is None:
        raise TypeError("a kit was registered without a number")
    told = Registered(
        kit=done.kit, written=written(done.kit), receipts=receipts_of(done.receipts), card=_card_of(done)
    )
    return answer(told, 200 if repeated(done.receipts) else 201, location=f"/api/kits/{done.kit}")


@router.post(
    "/numbers",
    name="numbers_reserve",
    summary="Set kit numbers aside for an outage",
    tags=["kits"],
    openapi_extra=describes(body=c.ReserveNumbers, answers={201: Reserved, 200: Reserved}),
)
async def reserve(
    request: Request,
    who: Annotated[Signed, Depends(acting("numbers.reserve"))],
    sent: Annotated[Sent[c.ReserveNumbers], Depends(Body(c.ReserveNumbers))],
) -> Response:
    receipts = await service(request).reserve(sent.order, given(request, who, sent.body))
    async with seen_by(service(request).engine, who.actor) as connection:
        event = await reading.trail(
            connection, who.actor.organisation or "", Trail.ORGANISATION, receipts[0].number - 1
        )
    told = Reserved(numbers=tuple(event[0].get("numbers")), receipts=receipts_of(receipts))
    return answer(told, 200 if repeated(receipts) else 201)


@router.post(
    "/requests",
    name="request_send",
    summary="The police ask for the evidence that belongs to a report",
    tags=["requests"],
    openapi_extra=describes(body=c.Request, answers={202: Asked}),
)
async def ask(
    request: Request,
    who: Annotated[Signed, Depends(acting("request.send"))],
    sent: Annotated[Sent[c.Request], Depends(Body(c.Request))],
) -> Response:
    receipts = await service(request).ask(sent.order, given(request, who, sent.body))
    return answer(Asked(answer=RECEIVED, receipts=receipts_of(receipts)), 202)


@router.get(
    "/requests",
    name="requests_of_zone",
    summary="What the own police zone asked",
    tags=["requests"],
    openapi_extra=describes(answers={200: Requests}),
)
async def requests(request: Request, who: Annotated[Signed, Depends(acting("request.send"))]) -> Response:
    async with seen_by(service(request).engine, who.actor) as connection:
        rows = await reading.requests_of(connection, who.actor.organisation or "")
    return answer(Requests(requests=tuple(_request(row) for row in rows)))


def _request(row: Any) -> RequestAnswer:
    naming = row["naming"]
    day = naming.get("examined_on")
    return RequestAnswer(
        id=row["id"],
        pv=naming["pv"],
        centre=naming["centre"],
        received_at=row["received_at"],
        examined_on=date.fromisoformat(day) if day else None,
        kit=naming.get("kit"),
    )


# --- two people -------------------------------------------------------------------------------------------


@router.get(
    "/proposals",
    name="proposals",
    summary="What waits for a second person's signature",
    tags=["proposals"],
    openapi_extra=describes(answers={200: Proposals}),
)
async def proposals(request: Request, who: Annotated[Signed, Depends(acting("proposal.sign"))]) -> Response:
    await access.record(service(request).engine, who.actor, read="proposals", kit=None, purpose=TASK)
    async with seen_by(service(request).engine, who.actor) as connection:
        rows = await reading.proposals(connection, await reading.now(connection))
    return answer(Proposals(proposals=tuple(_proposal(row) for row in rows)))


def _proposal(row: Any) -> ProposalAnswer:
    told = {name: row[name] for name in row if name in ProposalAnswer.__dataclass_fields__}
    told["command"] = {name: value for name, value in row["command"].items() if name != SEALED}
    return ProposalAnswer(**told, says=BY_ACTION[row["action"]].says)


@router.post(
    "/proposals/{proposal}/signatures",
    name="proposal_sign",
    summary="Sign what another person proposed",
    tags=["proposals"],
    openapi_extra=describes(answers={201: Receipts, 200: Receipts}, key=True),
)
async def sign(
    request: Request, proposal: str, who: Annotated[Signed, Depends(acting("proposal.sign"))]
) -> Response:
    await stepped_up_to_sign(request, who, _id(proposal))
    signing = given(request, who, f"sign {_id(proposal)}".encode())
    return _carried_out(await service(request).sign(proposal, signing))


@router.delete(
    "/proposals/{proposal}",
    name="proposal_drop",
    summary="Take a proposal back, or decline it",
    status_code=204,
    tags=["proposals"],
    openapi_extra=describes(answers={204: None}),
)
async def drop(
    request: Request, proposal: str, who: Annotated[Signed, Depends(acting("proposal.sign"))]
) -> Response:
    await service(request).drop(_id(proposal), who.actor)
    return Response(status_code=204)


def _id(text: str) -> str:
    if len(text) != 32 or set(text) - set("0123456789abcdef"):
        raise Refused("This is not the name of a proposal.", field="proposal")
    return text
