"""The log for who wants to check it: the signed checkpoint, the key to compare, the proof of one receipt."""

import re
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from audit import log
from custody import bundle
from custody.refusal import Refused
from desk.api.answers import KeyAnswer, NotYet, answer
from desk.api.document import describes
from desk.edge import Signed, acting, service, settings
from desk.keys import public_keys

router = APIRouter(tags=["log"])

Reader = Annotated[Signed, Depends(acting("log.read"))]
Prover = Annotated[Signed, Depends(acting("receipt.prove"))]
Log = Literal["events", "reads"]
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@router.get(
    "/log/checkpoint",
    name="checkpoint",
    summary="The last signed checkpoint (C2SP tlog-checkpoint)",
    openapi_extra=describes(answers={200: "text/plain"}),
)
async def checkpoint(request: Request, who: Reader, of: Log = "events") -> Response:
    async with service(request).engine.connect() as connection:
        note = await log.last_checkpoint(connection, of)
    if note is None:
        raise HTTPException(404)
    return Response(note, media_type="text/plain")


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
    """A digest that never existed is answered as one that is not yet in the log: nothing can be found out."""
    if not _DIGEST.fullmatch(digest):
        raise Refused("A digest has 64 hexadecimal characters in lower case.", field="digest")
    wanted = bytes.fromhex(digest)
    async with service(request).engine.connect() as connection:
        proof = (await log.prove(connection, "events", [wanted])).get(wanted)
    if proof is None:
        return answer(NotYet(answer="not yet in the log"), 202, retry_after="1")
    named = {"content-disposition": f'attachment; filename="{digest}.tlog-proof"'}
    return Response(proof.written(), 200, named, media_type="text/plain")
