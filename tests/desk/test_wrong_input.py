"""Input that no form of ours sends: refused in words, and never a fault of the service."""

import base64
from datetime import timedelta
from uuid import uuid4

import httpx
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


@pytest.fixture
def page(desk: Desk) -> tuple[httpx.Client, dict[str, str]]:
    """A nurse at the pages: a client with a session, and what every form of it carries."""
    assert NURSE.person is not None
    client = desk.client(**{"sec-fetch-site": "same-origin", "accept": "text/html"})
    assert client.post("/sign-in", data={"who": NURSE.person}).status_code == 303
    token = client.get("/api/me").json()["form_token"]
    return client, {"form_token": token, "key": uuid4().hex}


def test_a_character_that_no_database_keeps_is_refused_wherever_it_stands(
    desk: Desk, page: tuple[httpx.Client, dict[str, str]]
) -> None:
    client, form = page
    told = [client.get(path) for path in ("/?done=a%00b", "/v?done=%00", "/signatures/a%00b", "/kits/%00")]
    assert [t.status_code for t in told] == [400] * 4
    assert client.post("/do/report.declare", data=form | {"kit": "a\0b"}).status_code == 422
    assert client.post("/sign-in", data={"who": "nora\0"}).status_code == 422


@pytest.mark.parametrize("count", ["9" * 5000, "²", "-1", "1e3", "٣"])
def test_a_number_of_a_form_is_a_short_one_in_plain_digits(
    desk: Desk, page: tuple[httpx.Client, dict[str, str]], count: str
) -> None:
    client, form = page
    kit = desk.at(NURSE).register(desk.now())["kit"]
    before = desk.count()
    grown = {"packages_count": count, "lines-1": count, "type-1-1": "shoes", "count-1-1": count}
    for more in ("package", f"lines-{count}", "lines-1", ""):
        named = form | grown | ({"more": more} if more else {})
        for path in ("/register", "/do/kit.supplement"):
            answer = client.post(path, data=named | {"kit": kit, "brought_by": "victim"})
            assert answer.status_code in (200, 422), f"{path} {more[:20]}: {answer.status_code}"
    assert client.get("/scan", params={"p": f"{kit}.{count}"}).status_code in (200, 422)
    assert desk.count() == before


def test_a_split_or_a_join_without_a_package_is_refused_in_words(
    desk: Desk, page: tuple[httpx.Client, dict[str, str]]
) -> None:
    client, form = page
    kit = desk.at(NURSE).register(desk.now())["kit"]
    assert client.get("/do/package.split", params={"kit": kit}).status_code == 422
    for action in ("package.split", "package.join"):
        answer = client.post(f"/do/{action}", data=form | {"kit": kit, "reason": "one is full"})
        assert answer.status_code == 422, answer.text
