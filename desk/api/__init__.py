"""The JSON API, by user: commands for whoever acts, reading of kits, labels, the log, sign-in.

Every route names its action (`desk.edge.acting`). Commands answer receipts; problems are RFC 9457 documents.
"""

from fastapi import APIRouter

from desk.api import (
    alarms,
    checks,
    commands,
    demo_clock,
    disclosures,
    disposals,
    duty,
    kits,
    labels,
    log,
    notices,
    people,
    policies,
    readings,
    sign_in,
)

router = APIRouter()
"""Everything but the demo's sign-in."""
for _each in (
    alarms,
    checks,
    commands,
    disclosures,
    disposals,
    duty,
    kits,
    labels,
    log,
    notices,
    people,
    policies,
    readings,
):
    router.include_router(_each.router, prefix="/api")
router.include_router(sign_in.router)
router.include_router(log.resources)

demo_router = APIRouter()
demo_router.include_router(sign_in.demo_router)
demo_router.include_router(demo_clock.router)
"""Exists only where the demo is switched on."""
