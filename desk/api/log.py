"""The log for who wants to check it: checkpoint, tiles, entries; the key to compare; a receipt's proof.

Checkpoint, tiles and entry bundles are at the addresses of C2SP tlog-tiles, not below /api: a log's prefix is
its origin with the scheme before it. One address has two views. Without credentials it is the *published*
log: what left the house in the last slot, padded (`audit.publish`), at the widths that published sizes have.
Anything beyond is answered like what never existed, so nobody outside learns how the log grows in between.
Staff and auditors see the log as it is signed now, at the same addresses.

A published resource never changes and may be kept by everybody; a checkpoint for a few seconds. What staff
see is kept by nobody but their own browser. A receipt is proved to others than them by a published
checkpoint, or by the first that covers it: a proof is no window on the live log.

HEAD is answered like GET, without the body.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Request
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.exceptions import HTTPException
from starlette.responses import Response

from audit import log as logs
from audit import tile
from audit.log import View
from audit.proof import Proof
from audit.text import Malformed
from custody import bundle
from custody.permission import may
from custody.refusal import Refused
from desk.api.answers import KeyAnswer, NotYet, answer
from desk.api.document import describes
from desk.edge import Signed, acting, openly_with_more, service, settings
from desk.keys import LOGS, public_keys

router = APIRouter(tags=["log"])
"""Below /api."""
resources = APIRouter(tags=["log"])
"""At the root: what C2SP tlog-tiles names."""

LONGEST_WAIT: Final = 10  # seconds, of what `Prefer: wait` asks for
LOOK_AGAIN: Final = 0.1

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_VARY: Final = {"vary": "Authorization, Cookie"}
_CHECKPOINT_KEPT: Final = {"published": "public, max-age=5", "signed": "private, no-cache"}
_TILE_KEPT: Final = {
    "published": "public, max-age=31536000, immutable",
    "signed": "private, max-age=31536000, immutable",
}

Prover = Annotated[Signed, Depends(acting("receipt.prove"))]
Watcher = Annotated[
    Signed | None,
    Depends(openly_with_more("the published log is for everybody who checks it", "log.read")),
]
Log = Literal["events", "reads"]


def _view(who: Signed | None) -> View:
    return "published" if who is None else "signed"


def _serve(log: str) -> None:
    """The routes of one log."""
    prefix, name = ("/log", "") if log == "events" else (f"/log/{log}", f"{log}_")

    @resources.head(f"{prefix}/checkpoint", name=f"{name}checkpoint_head")
    @resources.get(
        f"{prefix}/checkpoint",
        name=f"{name}checkpoint",
        summary=f"The last checkpoint of the log of {log} (C2SP tlog-checkpoint), published or just signed",
        openapi_extra=describes(answers={200: "text/plain"}),
    )
    async def checkpoint(request: Request, who: Watcher) -> Response:
        view = _view(who)
        async with service(request).engine.connect() as connection:
            note = await logs.checkpoint_note(connection, log, view)
        if note is None:
            raise HTTPException(404)
        kept = {"cache-control": _CHECKPOINT_KEPT[view], **_VARY}
        return Response(note.written(), 200, kept, media_type="text/plain")

    @resources.head(f"{prefix}/tile/{{place:path}}", name=f"{name}tile_head")
    @resources.get(
        f"{prefix}/tile/{{place:path}}",
        name=f"{name}tile",
        summary=f"A tile, or a bundle of entries, of the log of {log} (C2SP tlog-tiles)",
        openapi_extra=describes(answers={200: "application/octet-stream"}),
    )
    async def part(request: Request, place: str, who: Watcher) -> Response:
        view = _view(who)
        async with service(request).engine.connect() as connection:
            data = await _part(connection, log, f"tile/{place}", view)
        if data is None:
            raise HTTPException(404)
        kept = {"cache-control": _TILE_KEPT[view], **_VARY}
        return Response(data, 200, kept, media_type="application/octet-stream")


async def _part(connection: AsyncConnection, log: str, path: str, view: View) -> bytes | None:
    """The tile or entry bundle at `path`; None for what the view does not show, and for what is no path."""
    try:
        if path.startswith("tile/entries/"):
            return await logs.entries_of_width(connection, log, *tile.read_entries_path(path), view)
        return await logs.tile_of_width(connection, log, *tile.read_path(path), view)
    except Malformed:
        return None


for _log in LOGS:
    _serve(_log)


@router.get(
    "/log/key",
    name="log_key",
    summary="The log's public key, to compare with the one that reached you another way",
    openapi_extra=describes(answers={200: KeyAnswer}),
)
async def key(request: Request, who: Prover, of: Log = "events") -> Response:
    vkeys = public_keys(settings(request).keys, of)
    if vkeys is None:
        raise HTTPException(404)
    return answer(KeyAnswer(log=of, key=vkeys, fingerprint=bundle.fingerprint(vkeys)))


@router.get(
    "/receipts/{digest}",
    name="receipt",
    summary="The proof that a receipt's event is in the log (C2SP tlog-proof), 202 while it is not",
    openapi_extra=describes(answers={200: "text/plain", 202: NotYet}),
)
async def receipt(request: Request, digest: str, who: Prover) -> Response:
    """A digest that never existed is answered as one that is not yet in the log: nothing can be found out.

    Who may not read the live log gets a proof that tells nothing of what came after the event: the same
    each time, until the event is published. `Prefer: wait=2` (RFC 7240 section 4.3) has the answer wait up to
    two seconds, ten at most, for the proof.
    """
    if not _DIGEST.fullmatch(digest):
        raise Refused("A digest has 64 hexadecimal characters in lower case.", field="digest")
    wait = preferred_wait(request.headers.getlist("prefer"))
    applied: Mapping[str, str] = {} if wait is None else {"preference-applied": f"wait={wait}"}
    view: View = "signed" if may("log.read", who.actor) else "published"
    proof = await _proof_within(request, bytes.fromhex(digest), view, wait or 0)
    if proof is None:
        early = answer(NotYet(answer="not yet in the log"), 202, retry_after="1")
        early.headers.update(applied)
        return early
    named = {"content-disposition": f'attachment; filename="{digest}.tlog-proof"', **applied}
    return Response(proof.written(), 200, named, media_type="text/plain")


async def _proof_within(request: Request, digest: bytes, view: View, seconds: int) -> Proof | None:
    """The proof, asked for again and again; no connection is held in between."""
    until = time.monotonic() + seconds
    while True:
        async with service(request).engine.connect() as connection:
            proof = (await logs.prove(connection, "events", [digest], view)).get(digest)
        left = until - time.monotonic()
        if proof is not None or left <= 0:
            return proof
        await asyncio.sleep(min(LOOK_AGAIN, left))


def preferred_wait(headers: list[str]) -> int | None:
    """How many seconds the headers `Prefer` ask to wait, cut to `LONGEST_WAIT`; None where they do not.

    RFC 7240: the first of several counts, and what cannot be read is as if it were not there.
    """
    for preference in ",".join(headers)[:1000].split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            seconds = value.strip().removeprefix('"').removesuffix('"')
            known = seconds.isascii() and seconds.isdigit() and len(seconds) < 10
            return min(int(seconds), LONGEST_WAIT) if known else None
    return None
