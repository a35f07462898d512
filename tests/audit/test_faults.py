"""Every write between a digest in the queue and a published log, lost, and persisted but reported lost.

After each: nothing is signed before the signer has looked, then it goes on as if nothing had been. The whole
log is checked anew after each: every leaf, tile, root and signature, and that no size has two notes.
"""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from audit import log, publish, sign
from audit.key import open_note
from audit.keybox import Keybox
from audit.sign import Signer
from tests.audit.whole_log import checkpoints, digests, grow, leaves, queue
from tests.conftest import Database, Engines
from tests.faults import OUTCOMES, Fault, PowerCut, Write, inject, publisher

pytestmark = pytest.mark.anyio

SLOT = datetime(2026, 6, 1, tzinfo=UTC)

# Each write in its order; True: the signer was at work, and refuses until it has checked.
WRITES = {
    Write(says="the queue is emptied", kind="statement", of="WITH drained"): False,
    Write(says="leaves get their place", kind="copy", of="audit.leaf"): False,
    Write(says="tiles grow", kind="statement", of="INSERT INTO audit.tile"): False,
    Write(says="the integration is committed", kind="commit", of="WITH drained"): False,
    Write(says="the note's file is opened", kind="open", of="events.note"): True,
    Write(says="the note is flushed", kind="flush", of="events.note"): True,
    Write(says="the note takes its name", kind="name", of="events.note"): True,
    Write(says="the name is flushed", kind="flush the name", of="events.note"): True,
    Write(says="the row", kind="statement", of="INSERT INTO audit.checkpoint"): True,
    Write(says="the row is committed", kind="commit", of="INSERT INTO audit.checkpoint"): True,
    Write(says="the note is taken out", kind="publish"): True,
    Write(says="padding gets its place", kind="copy", of="audit.leaf", turn=2): False,
    Write(says="the salts of padding", kind="statement", of="INSERT INTO audit.padding"): False,
    Write(says="padding is committed", kind="commit", of="INSERT INTO audit.padding"): False,
    Write(says="the padded log's note", kind="name", of="events.note", turn=2): True,
    Write(says="the padded log's row", kind="commit", of="INSERT INTO audit.checkpoint", turn=2): True,
    Write(says="the padded log's note is taken out", kind="publish", turn=2): True,
    Write(says="the publication", kind="statement", of="INSERT INTO audit.publication"): False,
    Write(says="the publication is committed", kind="commit", of="INSERT INTO audit.publication"): False,
}


@pytest.fixture
async def signer(engines: Engines, box: Keybox) -> Signer:
    """A signer at work over a log of 3 leaves that it has signed; 297 digests wait."""
    await sign.initialise(engines.clerk, "events", box)
    made = Signer("events", box)
    await made.check(engines.clerk)
    await grow(engines.superuser, engines.clerk, digests(0, 3))
    await made.sign(engines.clerk)
    await queue(engines.superuser, digests(3, 300))
    return made


async def turn(engine: AsyncEngine, signer: Signer) -> None:
    """What the clerk does at the beginning of a slot: integrate, sign, publish."""
    async with engine.begin() as transaction:
        await log.integrate(transaction, signer.name)
    await signer.sign(engine)
    await publish.publish(engine, signer, SLOT)


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.says)
async def test_after_a_fault_at_any_write_the_log_is_whole_and_goes_on(
    engines: Engines,
    database: Database,
    signer: Signer,
    monkeypatch: pytest.MonkeyPatch,
    write: Write,
    outcome: str,
) -> None:
    public, published = signer.box.verifiers, set[bytes]()
    failing = create_async_engine(database.url("clerk"))
    with monkeypatch.context() as patch:
        fault = inject(patch, failing, write, outcome)
        signer.publish = publisher(fault, published)
        with pytest.raises(PowerCut):
            await turn(failing, signer)
    await failing.dispose()
    assert fault.struck
    await checkpoints(engines.auditor, public)
    if WRITES[write]:
        with pytest.raises(sign.Unchecked):
            await signer.sign(engines.clerk)

    # The same process goes on after a check; a new process begins with one.
    last = await signer.check(engines.clerk)
    assert signer.box.last_note() in published
    assert (await checkpoints(engines.auditor, public))[-1] == last.size
    await turn(engines.clerk, signer)

    found = await leaves(engines.auditor)
    assert len(found) == 512
    assert sorted(found[:300]) == sorted(digests(0, 300))
    assert (await checkpoints(engines.auditor, public))[-1] == 512
    assert await _publications(engines) == [(SLOT, 512)]
    sizes = [open_note(note, public).size for note in published]
    assert len(set(sizes)) == len(sizes), "one size was taken out with two notes"


async def _publications(engines: Engines) -> list[tuple[datetime, int]]:
    async with engines.auditor.connect() as connection:
        rows = await connection.execute(text("SELECT slot, size FROM audit.publication"))
        return [(row.slot, row.size) for row in rows]


def test_a_fault_that_is_not_reached_would_be_noticed() -> None:
    fault = Fault(Write(says="nothing", kind="publish", turn=3), "lost")
    assert not fault.due()
    assert not fault.struck
