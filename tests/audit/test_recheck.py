"""A log derived anew: the running root, pages that end inside a tile, and a hash that was changed."""

from pathlib import Path

import pytest
from sqlalchemy import text

from audit import log, merkle, recheck, sign, tile
from audit.keybox import create_keys, open_box
from audit.recheck import Range
from audit.sign import Signer
from audit.tile import Tiles
from tests.audit.whole_log import digests, queue
from tests.conftest import Engines


def test_the_running_root_is_the_root_of_the_tree_at_every_size() -> None:
    hashes = [merkle.leaf_hash(digest) for digest in digests(0, 600)]
    tiles = Tiles(tile.grow(0, {}, hashes))
    running = Range()
    assert running.root() == merkle.root(0, tiles.read)
    for size, one in enumerate(hashes, 1):
        running.add(one)
        assert (running.size, running.root()) == (size, merkle.root(size, tiles.read))


@pytest.mark.anyio
async def test_a_log_of_several_tiles_is_read_in_pages_and_agrees(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recheck, "PAGE", 100)
    keys = create_keys(tmp_path / "events.key", "custody.example/log")
    with open_box(tmp_path / "events.key") as box:
        await sign.initialise(engines.clerk, "events", box)
        signer = Signer("events", box)
        await signer.check(engines.clerk)
        for start in range(0, 700, 140):
            await queue(engines.superuser, digests(start, start + 140))
            async with engines.clerk.begin() as transaction:
                await log.integrate(transaction, "events")
            await signer.sign(engines.clerk)
        note = box.last_note()
    told: list[tuple[int, int]] = []
    async with engines.auditor.connect() as connection:
        found = await recheck.recheck(connection, "events", keys, note, lambda *at: told.append(at))
    assert found is None
    assert told == [(done, 700) for done in range(100, 701, 100)]

    async with engines.superuser.connect() as connection:
        await connection.execute(text("SET LOCAL custody.maintenance = 'on'"))
        await connection.execute(text("ALTER TABLE audit.tile DISABLE TRIGGER USER"))
        await connection.execute(
            text("UPDATE audit.tile SET hashes = overlay(hashes PLACING sha256('') FROM 33) WHERE level = 1")
        )
        found = await recheck.recheck(connection, "events", keys, note)
        await connection.rollback()
    assert found == "Tile 1/0 of the log events is not what its leaves make."
