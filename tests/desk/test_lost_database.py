"""The database goes away in the middle of a command: people are told, and the same key is safe."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.custody.story import NURSE
from tests.desk.conftest import Desk

PATIENCE = 20.0  # seconds until the command waits for the lock

WAITING = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE usename = 'custody_service' AND wait_event_type = 'Lock' AND query LIKE '%%custody.append%%'"
)


def test_a_connection_that_breaks_during_a_command_is_answered_as_not_available(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    nurse = desk.at(NURSE)
    kit = nurse.register(desk.now())["kit"]
    order, key = {"kit": kit, "how": "in_person"}, uuid4().hex
    with (
        ThreadPoolExecutor(1) as other,
        desk.database.connect("superuser") as watching,
        desk.database.connect("superuser") as holding,
        caplog.at_level(logging.ERROR),
    ):
        holding.execute("BEGIN")
        holding.execute("SELECT FROM custody.head WHERE subject = %s FOR UPDATE", [f"custody:{kit}"])
        sent = other.submit(nurse.post, "reports", order, key)
        until = time.monotonic() + PATIENCE
        while not (waiting := watching.execute(WAITING).fetchall()):
            assert time.monotonic() < until, "the command never waited"
            time.sleep(0.02)
        for (pid,) in waiting:
            watching.execute("SELECT pg_terminate_backend(%s)", [pid])
        answer = sent.result()
        holding.execute("ROLLBACK")
    assert answer.status_code == 503, answer.text
    assert answer.headers["retry-after"] == "5"
    told = [record for record in caplog.records if answer.headers["custody-reference"] in record.getMessage()]
    assert [record.exc_info for record in told] == [None]
    again = nurse.post("reports", order, key)
    assert again.status_code == 201, again.text
    assert nurse.post("reports", order, key).json() == again.json()
