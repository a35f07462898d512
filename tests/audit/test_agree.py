"""The leaves against the tiles, as the signer looks at them before it signs."""

import pytest
from sqlalchemy import text

from audit.agree import leaves_agree
from tests.audit.whole_log import digests, grow
from tests.conftest import Engines

CHANGES = {
    "UPDATE audit.leaf SET digest = sha256('') WHERE index = 300": "leaf 300 is not the one in tile 0/1",
    "DELETE FROM audit.leaf WHERE index = 299": "leaf 299 is not the one in tile 0/1",
    "DELETE FROM audit.leaf WHERE index = 309": "leaf 309 is missing",
    "DELETE FROM audit.tile": "leaf 250 is not the one in tile 0/0",
}


@pytest.mark.anyio
async def test_a_leaf_that_was_changed_since_it_was_integrated_does_not_agree(engines: Engines) -> None:
    await grow(engines.superuser, engines.clerk, digests(0, 310))
    async with engines.clerk.connect() as connection:
        assert await leaves_agree(connection, "events", 0, 310) is None
        assert await leaves_agree(connection, "events", 256, 256) is None
        assert await leaves_agree(connection, "events", 250, 311) == "leaf 310 is missing"
    found = {}
    for statement in CHANGES:
        async with engines.superuser.connect() as connection:
            await connection.execute(text("SET LOCAL custody.maintenance = 'on'"))
            for table in ("leaf", "tile"):
                await connection.execute(text(f"ALTER TABLE audit.{table} DISABLE TRIGGER USER"))
            await connection.execute(text(statement))
            found[statement] = await leaves_agree(connection, "events", 250, 310)
            assert await leaves_agree(connection, "events", 310, 310) is None
            await connection.rollback()
    assert found == CHANGES
