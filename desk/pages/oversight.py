"""For who watches over it: the signed log, the proof of a receipt, and who read what."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from audit import log
from audit.checkpoint import Checkpoint
from audit.note import Note
from custody import access, bundle, reading
from custody.ledger import reading as seen_by
from custody.number import NumberRefused, parse_kit_number
from custody.permission import may
from desk import edge, texts
from desk.edge import Signed
from desk.keys import public_keys
from desk.pages.page import page, translated
from desk.problems import problem_of

router = APIRouter()


@router.get("/log")
async def the_log(
    request: Request, who: Annotated[Signed, Depends(edge.acting("receipt.prove"))]
) -> Response:
    """How far the log has grown under a signature, the key to compare, and whether a receipt is in it."""
    digest = request.query_params.get("digest", "").strip().lower()
    sound = len(digest) == 64 and set(digest) <= set("0123456789abcdef")
    logs = []
    async with edge.service(request).engine.connect() as connection:
        for name in ("events", "reads"):
            watched = may("log.read", who.actor)
            note = await log.last_checkpoint(connection, name) if watched else None
            vkeys = public_keys(edge.settings(request).keys, name)
            logs.append(
                {
                    "name": name,
                    "watched": watched,
                    "size": Checkpoint.read(Note.read(note).text).size if note else 0,
                    "note": note.decode() if note else None,
                    "key": vkeys,
                    "fingerprint": bundle.fingerprint(vkeys) if vkeys else None,
                }
            )
        found = bool(sound and await log.prove(connection, "events", [bytes.fromhex(digest)]))
    return await page(
        request,
        "log.html",
        title=translated(request, texts._("Log")),
        who=who,
        logs=logs,
        digest=digest,
        sound=sound,
        in_log=found,
    )


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
