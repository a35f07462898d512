"""The duty credential in the API: what waits for a review, and the review. Signing in is for the pages."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from custody.commands import command
from custody.refusal import NotSeen
from desk import duty
from desk.api.answers import Receipts, answer, receipts_of
from desk.api.document import describes
from desk.edge import Body, Sent, Signed, acting, key_of, service

router = APIRouter(tags=["people and places"])


@dataclass(frozen=True, slots=True, kw_only=True)
class DutyAnswer:
    """A credential that was opened: when, until when, why, and who signed in with it."""

    id: str
    opened_at: datetime
    ends_at: datetime
    reason: str
    used_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DutyAnswers:
    waiting: tuple[DutyAnswer, ...]


@command
class ReviewDuty:
    """What a coordinator found: `in_order` or `not_in_order`."""

    finding: str


@router.get(
    "/duty",
    name="duty",
    summary="Duty credentials of the own centre that were opened and wait for a review",
    openapi_extra=describes(answers={200: DutyAnswers}),
)
async def waiting(request: Request, who: Annotated[Signed, Depends(acting("duty.review"))]) -> Response:
    async with service(request).engine.connect() as connection:
        found = await duty.unreviewed(connection, who.actor.organisation or "")
    told = tuple(
        DutyAnswer(
            id=each.id,
            opened_at=each.opened_at,
            ends_at=each.ends_at,
            reason=each.reason,
            used_by=each.used_by,
        )
        for each in found
        if each.opened_at is not None and each.ends_at is not None and each.reason is not None
    )
    return answer(DutyAnswers(waiting=told))


@router.post(
    "/duty/{credential}/reviews",
    name="duty_review",
    summary="Review how a duty credential was used; that ends it",
    openapi_extra=describes(body=ReviewDuty, answers={201: Receipts}),
)
async def review(
    request: Request,
    credential: str,
    who: Annotated[Signed, Depends(acting("duty.review"))],
    sent: Annotated[Sent[ReviewDuty], Depends(Body(ReviewDuty))],
) -> Response:
    if len(credential) != 32 or set(credential) - set("0123456789abcdef"):
        raise NotSeen
    receipts = await duty.review(
        service(request).engine,
        service(request).ledger,
        who.actor,
        credential,
        sent.order.finding,
        key_of(request),
    )
    return answer(Receipts(receipts=receipts_of(receipts)), 201)
