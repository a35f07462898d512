"""The demo's clock: days pass when somebody says so, in a database of invented kits only."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from custody.commands import command
from custody.refusal import Refused
from desk.api.document import describes
from desk.demo import let_pass
from desk.edge import Body, Sent, openly, service

LONGEST = 366

router = APIRouter(tags=["demo"])


@command
class LetPass:
    """How many days pass."""

    days: int


@router.post(
    "/demo/clock",
    name="demo_clock",
    summary="Let days pass",
    status_code=204,
    openapi_extra=describes(body=LetPass, answers={204: None}, key=False),
)
async def clock(
    request: Request,
    _: Annotated[None, Depends(openly("time passes for everybody in the demo"))],
    sent: Annotated[Sent[LetPass], Depends(Body(LetPass))],
) -> Response:
    if not 1 <= sent.order.days <= LONGEST:
        raise Refused("1 to {most} days can pass at once.", field="days", most=LONGEST)
    await let_pass(service(request).engine, sent.order.days)
    return Response(status_code=204)
