"""The pages: server-rendered, for people at a bench, at a desk, in court, and for the victim.

One file for each user; every page works without JavaScript. A form posts to a page route, which builds the
same command as the API and goes through the same door; the answer is a redirect, and the receipt is read
from the events when the next page is shown.
"""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Depends, Request

from desk.pages import (
    alarms,
    cart,
    checks,
    disposals,
    doing,
    duty,
    justice,
    kits,
    labels,
    notices,
    oversight,
    policies,
    readings,
    register,
    scan,
    sign_in,
    stock_take,
    victim,
    worklists,
)
from desk.pages.page import problem_page

__all__ = ["problem_page", "router"]


async def forget_files(request: Request) -> AsyncIterator[None]:
    """Close and delete what was uploaded, whatever became of the form: only digests are kept."""
    try:
        yield
    finally:
        await request.close()


router = APIRouter(include_in_schema=False, dependencies=[Depends(forget_files)])
for _each in (
    sign_in,
    duty,
    worklists,
    alarms,
    stock_take,
    scan,
    kits,
    disposals,
    cart,
    doing,
    notices,
    register,
    labels,
    justice,
    victim,
    oversight,
    readings,
    policies,
    checks,
):
    router.include_router(_each.router)
