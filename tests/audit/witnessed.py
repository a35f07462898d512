"""What the tests of witnesses share: a log that is published, policies, and what was stored."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from sqlalchemy import insert, select

from audit import key as keys
from audit import log, merkle, tables, tile
from audit.checkpoint import Checkpoint
from audit.keybox import Keybox
from audit.policy import Policy, Quorum
from audit.sign import Signer
from audit.tile import Tiles
from audit.witness import ask, write_request
from tests.audit import a_witness
from tests.audit.a_witness import AWitness
from tests.audit.whole_log import digests, grow
from tests.conftest import Engines

ORIGIN = "custody.example/events"
Start = Callable[..., AWitness]
"""The fixture `start`: starts a witness that knows our log, by name, key types and fields."""


async def sign_up_to(engines: Engines, signer: Signer, size: int) -> None:
    """Let the log grow to `size` leaves, and sign it."""
    async with engines.clerk.connect() as connection:
        have = await log.size(connection, "events")
    await grow(engines.superuser, engines.clerk, digests(have, size))
    signed = await signer.sign(engines.clerk)
    assert signed is not None
    assert signed.size == size


async def publish(engines: Engines, signer: Signer, size: int) -> None:
    await sign_up_to(engines, signer, size)
    await leave(engines, size)


async def leave(engines: Engines, size: int) -> None:
    """The row that says that the checkpoint of `size` leaves is public."""
    row = {"log": "events", "size": size, "slot": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=size)}
    async with engines.clerk.begin() as transaction:
        await transaction.execute(insert(tables.publication).values(row))


def line_of(one: AWitness, kind: int = a_witness.ED25519, url: str | None = None) -> str:
    return f"witness {one.name.removesuffix('.example')} {one.vkey(kind)} {one.url if url is None else url}\n"


def policy(*lines: str, wants: str = "all") -> Policy:
    names = " ".join(line.split(" ")[1] for line in lines)
    return Policy.read(f"{''.join(lines)}group all-of-them {wants} {names}\nquorum all-of-them\n".encode())


async def stored(engines: Engines) -> list[tuple[int, str]]:
    columns = tables.cosignature.c
    async with engines.auditor.connect() as connection:
        rows = await connection.execute(
            select(columns.size, columns.name).order_by(columns.size, columns.name)
        )
        return [(row.size, row.name) for row in rows]


async def asked(engines: Engines, wanted: Policy) -> Quorum:
    found = await ask(engines.clerk, "events", wanted)
    assert found is not None
    return found


def another_past() -> bytes:
    """The root of another log of 256 leaves than the one that these tests grow."""
    leaves = [merkle.leaf_hash(sha256(b"another %d" % number).digest()) for number in range(256)]
    return merkle.root(256, Tiles(tile.grow(0, {}, leaves)).read)


def shown_elsewhere(box: Keybox, one: AWitness, size: int, root: bytes) -> None:
    """Somebody with our keys shows the witness a checkpoint that this database knows nothing of."""
    note = keys.sign(Checkpoint(ORIGIN, size, root), box.signs, int(time.time()))
    status, _, _ = one.answer(write_request(0, [], note))
    assert status == 200
    one.asked.clear()
