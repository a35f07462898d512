"""A database for all tests of a file: each story has kits of its own in it."""

from collections.abc import AsyncIterator

import pytest

from desk.postgres import EmbeddedServer
from tests.conftest import MOVABLE, Engines, _fresh
from tests.custody.story import Story, begin


@pytest.fixture(scope="module")
async def centre(server: EmbeddedServer) -> AsyncIterator[Story]:
    """The people and places of the stories, for tests that need no clock of their own."""
    for database in _fresh(server, MOVABLE):
        engines = Engines(database)
        try:
            yield await begin(engines.service, engines.clerk)
        finally:
            await engines.dispose()
