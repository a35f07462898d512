"""Bundles out of the database: the custody trail, and the choices trail on a judge's order.

What is read is what the asker may see: ``connection`` is in a transaction with a person's context
(`ledger.reading`). Nothing is made up on the way: events, notes, cosignatures and stamps are stored bytes.
"""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from audit import anchors, log
from audit.checkpoint import Checkpoint
from audit.note import Note
from audit.proof import Proof
from audit.text import write_base64
from custody import reading
from custody import tables as t
from custody.bundle import Anchor, Bundle, BundleRefused, Told, write
from custody.cover import covered
from custody.event import Event, decode
from custody.protocol import Trail
from custody.refusal import Refused

DISCLOSED = "choices.disclosed"
_LOG = "events"


class NotYetInLog(Exception):
    """Events of this kit are not yet under a signed checkpoint: ask again in a few seconds."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        super().__init__(
            f"{waiting} events of this kit are recorded but not yet under a signed checkpoint of the log."
            " Ask again in a few seconds."
        )


async def disclosed(connection: AsyncConnection, kit: str) -> int:
    """The number of the last event by which the choices trail was handed out; 0 where it never was."""
    event = t.event.c
    found = await connection.scalar(
        select(event.number)
        .where(event.subject == f"{Trail.CHOICES}:{kit}", event.type == DISCLOSED)
        .order_by(event.number.desc())
        .limit(1)
    )
    return int(found or 0)


def refuse_undisclosed(handed_out: int) -> None:
    """Raises Refused where no order has handed the choices trail out (:func:`disclosed`)."""
    if not handed_out:
        raise Refused(
            "The choices trail leaves only on a judge's order. Enter the order first, together with a second"
            " person."
        )


async def collect(
    connection: AsyncConnection,
    kit: str,
    which: Trail = Trail.CUSTODY,
    policy: bytes | None = None,
    view: log.View = "signed",
) -> bytes:
    """The bundle of one trail of a kit; ``policy`` is what the operator states (C2SP tlog-policy).

    Whose ``view`` is the published log learns nothing of how the log grew since (`audit.log.prove`).
    The choices trail ends at the last order that handed it out. Raises Refused where there is no order,
    NotYetInLog when an event is not yet under a signature, BundleRefused when there is no trail to be seen.
    """
    events = await reading.trail(connection, kit, which)
    if which is Trail.CHOICES:
        events = _up_to_order(events)
    if not events:
        raise BundleRefused(f"there is no {which} trail of this kit to be seen")
    digests = [bytes.fromhex(event.digest) for event in events]
    proofs = await log.prove(connection, _LOG, digests, view)
    if waiting := sum(digest not in proofs for digest in digests):
        raise NotYetInLog(waiting)
    note = proofs[digests[0]].note
    stated = Checkpoint.read(note.text)
    return write(
        covered(
            Bundle(
                kit=kit,
                trail=which,
                origin=stated.origin,
                note=note.written(),
                events=tuple(event.bytes for event in events),
                proofs=tuple(proofs[digest].written() for digest in digests),
                anchors=await _anchors(connection, [proofs[digest].index for digest in digests], stated.size),
                keys=await _keys(connection, stated.size),
                policy=policy,
            )
        )
    )


def _up_to_order(events: Sequence[Event]) -> list[Event]:
    """What the last order handed out: nothing that the victim chose after it. Raises Refused."""
    last = max((event.number for event in events if event.type == DISCLOSED), default=0)
    if events:
        refuse_undisclosed(last)
    return [event for event in events if event.number <= last]


async def _anchors(connection: AsyncConnection, indexes: Sequence[int], size: int) -> tuple[Anchor, ...]:
    return tuple(
        Anchor(
            signed=each.note,
            cosignatures="".join(f"{line}\n" for line in each.cosignatures).encode(),
            growth="".join(f"{write_base64(one)}\n" for one in each.growth).encode(),
            stamps=each.stamps,
        )
        for each in await anchors.anchors(connection, _LOG, indexes, size)
    )


async def _keys(connection: AsyncConnection, size: int) -> tuple[Told, ...]:
    """The log's own events that are under the checkpoint of ``size`` leaves, each as early as it was."""
    event = t.event.c
    rows = await connection.execute(
        select(event.bytes).where(event.subject == f"{Trail.LOG}:{_LOG}").order_by(event.number)
    )
    found = []
    for (data,) in rows.all():
        digest = bytes.fromhex(decode(bytes(data)).digest)
        index = await log.index_of(connection, _LOG, digest)
        if index is None or index >= size:
            break
        signed = await anchors.note_over(connection, _LOG, index)
        note = Note.read(signed or b"")
        proof = await log.prove_inclusion(connection, _LOG, digest, Checkpoint.read(note.text).size)
        if proof is None:
            break
        found.append(Told(event=bytes(data), proof=Proof(index, proof.hashes, note).written()))
    return tuple(found)
