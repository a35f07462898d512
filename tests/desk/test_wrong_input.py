"""Input that no form of ours sends: refused in words, and never a fault of the service."""

import base64
from datetime import timedelta
from uuid import uuid4

import pytest

from tests.custody.story import NURSE
from tests.desk.conftest import Desk, new_kit


@pytest.mark.parametrize(
    "body", [b'{"kit":' * 700 + b"1" + b"}" * 700, b"[" * 900 + b"]" * 900, b"[" * 100_000]
)
def test_a_body_nested_without_end_is_refused(desk: Desk, body: bytes) -> None:
    nurse = desk.at(NURSE)
    headers = {"Idempotency-Key": uuid4().hex, "Content-Type": "application/json"}
    answer = nurse.client.post("/api/kits", content=body, headers=headers)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == "body"


@pytest.mark.parametrize(
    "place",
    [
        "2026-99-01T00:00:00.000000",
        "0000-01-01T00:00:00.000000",
        "2026-01-01T23:59:60",
        "2026-01-01T::::::::",
    ],
)
def test_a_page_of_kits_begins_at_a_time_that_exists(desk: Desk, place: str) -> None:
    after = base64.urlsafe_b64encode(f"{place}+00:00~0123456789AB".encode()).decode().rstrip("=")
    answer = desk.at(NURSE).get("kits", purpose="task", after=after)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == "after"


def test_a_paper_record_of_a_time_before_all_calendars_is_refused(desk: Desk) -> None:
    order = new_kit(desk.now() - timedelta(hours=1))
    before = desk.count()
    paper = {"digest": "ab" * 32, "occurred_at": "0001-01-01T00:00:00+23:59"}
    answer = desk.at(NURSE).post("kits", order | {"paper": paper})
    assert answer.status_code == 422, answer.text
    assert desk.count() == before
