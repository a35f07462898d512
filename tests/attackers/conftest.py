"""Attackers meet the running service, a real database, and a log that is signed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from audit import sign
from tests.attackers.house import House, at_work
from tests.conftest import Engines
from tests.custody.story import begin
from tests.desk.conftest import desk

__all__ = ["desk"]


@pytest.fixture
async def house(engines: Engines, tmp_path: Path) -> AsyncIterator[House]:
    """The people of the stories, and the signer of their log at work."""
    with at_work(await begin(engines.service, engines.clerk), engines, tmp_path) as made:
        await sign.initialise(made.clerk, "events", made.signer.box)
        await made.signer.check(made.clerk)
        yield made
