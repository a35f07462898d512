"""One database with kits at different points of their way for each file of tests, and a hand that writes
past the rules of the service."""

from collections.abc import Iterator

import pytest

from desk.postgres import EmbeddedServer
from tests.custody.byhand import ByHand
from tests.postgres.evidence import Evidence, evidence_on


@pytest.fixture(scope="module")
def evidence(server: EmbeddedServer) -> Iterator[Evidence]:
    yield from evidence_on(server)


@pytest.fixture
def byhand(evidence: Evidence) -> Iterator[ByHand]:
    """Attempts leave nothing behind: whatever a test tried, both logs' queues are as long as before."""
    with ByHand(evidence.database) as open_:
        before = open_.of("superuser").execute("SELECT count(*) FROM audit.pending").fetchone()
        yield open_
        assert open_.of("superuser").execute("SELECT count(*) FROM audit.pending").fetchone() == before
