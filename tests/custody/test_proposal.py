"""A command that waits for a second person is no evidence: it falls away when nobody signs."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text

from custody.ledger import forget_proposals
from tests.conftest import Engines
from tests.custody.story import NURSE, Story, begin

pytestmark = pytest.mark.anyio


@pytest.fixture
async def story(engines: Engines) -> Story:
    return await begin(engines.service, engines.clerk)


async def test_a_command_that_waited_in_vain_is_forgotten_after_thirty_days(
    story: Story, advance: Callable[[timedelta], None]
) -> None:
    waiting = "SELECT count(*) FROM custody.proposal"
    command = (
        "SELECT custody.propose('ab', 'package.void', NULL, CAST(:actor AS jsonb),"
        " CAST('{}' AS jsonb), interval '3 days')"
    )
    async with story.ledger.engine.begin() as connection:
        await connection.execute(text(command), {"actor": json.dumps(NURSE.context())})
    async with story.clerk.engine.begin() as connection:
        await forget_proposals(connection)
        assert await connection.scalar(text(waiting)) == 1
    advance(timedelta(days=34))
    async with story.clerk.engine.begin() as connection:
        await forget_proposals(connection)
        assert await connection.scalar(text(waiting)) == 0
