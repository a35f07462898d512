"""What the tests of terms begin with."""

import pytest

from tests.conftest import Engines
from tests.custody.story import Story, begin
from tests.retention.kept import adopt


@pytest.fixture
async def story(engines: Engines) -> Story:
    """Two centres on a real database, and Belgium's policy adopted."""
    begun = await begin(engines.service, engines.clerk)
    await adopt(begun)
    return begun
