"""For who watches over it: the signed log, and the proof of a receipt."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from audit import log, publish, witness
from audit.checkpoint import Checkpoint
from audit.policy import Policy
from custody import bundle, reading
from custody.permission import may
from desk import edge, texts
from desk.alarm import alarm_of, silent_since
from desk.anchoring import overdue, read_policy, unpublished_since, unwitnessed_since
from desk.edge import Signed
from desk.keys import LOGS, public_keys
from desk.pages.page import page, translated
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
