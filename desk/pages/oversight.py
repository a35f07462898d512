"""For who watches over it: the signed log, the proof of a receipt, and who read what."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from audit import log, publish, witness
from audit.checkpoint import Checkpoint
from audit.policy import Policy
from custody import access, bundle, reading
from custody.ledger import reading as seen_by
from custody.number import NumberRefused, parse_kit_number
from custody.permission import may
from desk import edge, texts
from desk.alarm import alarm_of, silent_since
from desk.anchoring import overdue, read_policy, unpublished_since, unwitnessed_since
from desk.edge import Signed
from desk.keys import LOGS, public_keys
from desk.pages.page import page, translated
from desk.problems import problem_of
from desk.settings import CannotStart, Settings

router = APIRouter()


@router.get("/log")
async def the_log(
    request: Request, who: Annotated[Signed, Depends(edge.acting("receipt.prove"))]
) -> Response:
    """How far the logs have grown under a signature and left the house, who vouches for them, the keys to
    compare, and whether a receipt is in them. What is wrong stands first."""
    digest = request.query_params.get("digest", "").strip().lower()
    sound = len(digest) == 64 and set(digest) <= set("0123456789abcdef")
    keys, watched = edge.settings(request).keys, may("log.read", who.actor)
    policy, unreadable = _policy(edge.settings(request))
    async with edge.service(request).engine.connect() as connection:
        now = await reading.now(connection)
        shown = [await _standing(connection, name, edge.settings(request), policy, now) for name in LOGS]
        found = bool(sound and await log.prove(connection, "events", [bytes.fromhex(digest)]))
    return await page(
        request,
        "log.html",
        title=translated(request, texts._("Log")),
        who=who,
        logs=shown,
        watched=watched,
        policy=policy,
        policy_unreadable=unreadable,
        stamps=edge.settings(request).stamp_url is not None,
        base_url=edge.settings(request).base_url,
        alarm=alarm_of(keys),
        silent_since=silent_since(keys, datetime.now(UTC)),
        digest=digest,
        sound=sound,
        in_log=found,
    )


def _policy(settings: Settings) -> tuple[Policy | None, bool]:
    """Who must witness, and whether the file that says it cannot be read."""
    try:
        return read_policy(settings.witnesses), False
    except CannotStart:
        return None, True


async def _standing(
    connection: AsyncConnection, name: str, settings: Settings, policy: Policy | None, now: datetime
) -> dict[str, Any]:
    """One log, for the page: what is signed and what is public of it, and who vouches for that."""
    note = await log.checkpoint_note(connection, name, "signed")
    since = None if policy is None else await unwitnessed_since(connection, name, policy)
    vkeys = public_keys(settings.keys, name)
    return {
        "name": name,
        "size": Checkpoint.read(note.text).size if note else 0,
        "note": note.written().decode() if note else None,
        "published": await publish.last_publication(connection, name),
        "unpublished_since": await unpublished_since(
            connection, name, await publish.clock(connection), settings.slot_minutes
        ),
        "quorum": None if policy is None else await witness.quorum(connection, name, policy),
        "unwitnessed_since": since,
        "overdue": overdue(since, now, settings.witness_alarm_hours),
        "stamp": await publish.last_stamp(connection, name),
        "key": vkeys,
        "fingerprint": bundle.fingerprint(vkeys) if vkeys else None,
    }


@router.get("/readings")
async def readings(request: Request, who: Annotated[Signed, Depends(edge.acting("reads.read"))]) -> Response:
    """Who read a kit of this centre, when and why. Looking here is itself on record."""
    given, problem, rows, number = request.query_params.get("kit", "").strip(), None, [], None
    if given:
        try:
            number = str(parse_kit_number(given))
            await access.record(
                edge.service(request).engine, who.actor, read="reads_read", kit=number, purpose="review"
            )
            async with seen_by(edge.service(request).engine, who.actor) as connection:
                rows = await reading.reads_of(connection, number)
        except NumberRefused as refused:
            problem = problem_of(refused)
    return await page(
        request,
        "readings.html",
        title=translated(request, texts._("Readings")),
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
        given=given,
        number=number,
        rows=rows,
    )
