"""What the outside is told: one table, the same words for the same thing, nothing that was sent."""

import json
from collections.abc import MutableMapping
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy.exc
from fastapi.exceptions import RequestValidationError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.exceptions import HTTPException

from custody.card import CardRefused, parse_code
from custody.event import EventRefused
from custody.ledger import Inconsistent, MovedOn
from custody.number import NumberRefused, parse_kit_number
from custody.refusal import KeyUsed, NoSuchPlace, NotSeen, Refused, Stale
from desk.problems import (
    MEDIA_TYPE,
    MOST_FAULTS,
    PROBLEMS,
    STATUSES,
    ForeignForm,
    NotSignedIn,
    TookTooLong,
    problem_of,
    send_problem,
    wants_page,
)
from desk.session import TooManyAttempts
from desk.settings import CannotStart
from desk.token import TokenRefused, Why

pytestmark = pytest.mark.anyio

BASE = "https://custody.example"


async def answered(happened: Exception, reference: str | None = None) -> tuple[int, dict[str, str], Any]:
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await send_problem(problem_of(happened, reference), send, base_url=BASE)
    start, body = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert headers["content-type"] == MEDIA_TYPE
    assert headers["content-length"] == str(len(body["body"]))
    assert headers["cache-control"] == "no-store"
    document = json.loads(body["body"])
    assert document["status"] == start["status"]
    return start["status"], headers, document


async def test_every_reason_to_refuse_a_token_gives_the_same_answer_as_no_token() -> None:
    answers = [await answered(TokenRefused(why)) for why in Why] + [await answered(NotSignedIn())]
    assert all(answer == answers[0] for answer in answers)
    status, headers, document = answers[0]
    assert (status, document["type"]) == (401, f"{BASE}/problems/not-signed-in")
    assert headers["www-authenticate"] == 'Bearer realm="custody"'


async def test_a_refusal_says_why_in_the_words_of_the_rule() -> None:
    refused = Refused("Package {package} is with {holder}.", package=2, holder="Invented Courier")
    status, _, document = await answered(refused)
    assert status == 409
    assert document["detail"] == "Package 2 is with Invented Courier."
    assert "errors" not in document


async def test_a_refused_input_is_named() -> None:
    status, _, document = await answered(NoSuchPlace())
    assert status == 422
    assert document["errors"] == [{"field": "place", "detail": document["detail"]}]
    refused = Refused("There is no organisation {id}.", field="organisation", id="freezer {9}")
    status, _, document = await answered(refused)
    assert status == 422
    assert document["errors"] == [{"field": "organisation", "detail": document["detail"]}]
    assert "freezer {9}" in document["detail"]


async def test_a_kit_that_never_existed_and_one_that_is_not_yours_give_the_same_document() -> None:
    assert await answered(NotSeen()) == await answered(NotSeen())
    assert (await answered(NotSeen()))[0] == 404


@pytest.mark.parametrize(
    ("happened", "status"),
    [
        (Stale(), 412),
        (MovedOn(), 409),
        (KeyUsed(), 422),
        (ForeignForm(), 403),
        (Inconsistent("kit 7M4P9XQ3RT6C canary"), 500),
        (KeyError("canary"), 500),
        (RuntimeError("canary {x}"), 500),
        (CannotStart("canary"), 503),
        (sqlalchemy.exc.TimeoutError("canary"), 503),
        (psycopg.OperationalError("canary"), 503),
        (psycopg.errors.CheckViolation("canary"), 500),
    ],
)
async def test_what_happened_inside_gets_its_status_and_no_word_of_it_leaves(
    happened: Exception, status: int
) -> None:
    found, _, document = await answered(happened)
    assert found == status
    assert "canary" not in json.dumps(document)
    assert document["detail"]


async def test_a_database_that_is_away_is_not_now_and_not_our_fault_for_ever() -> None:
    engine = create_async_engine("postgresql+psycopg://nobody:canary@127.0.0.1:1/none?connect_timeout=2")
    with pytest.raises(sqlalchemy.exc.OperationalError) as away:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    await engine.dispose()
    status, headers, document = await answered(away.value)
    assert (status, headers["retry-after"]) == (503, "5")
    assert "canary" not in json.dumps(document)


async def test_a_mistyped_number_is_told_in_its_own_words() -> None:
    with pytest.raises(NumberRefused) as refused:
        parse_kit_number("7M4P-9XQ3-RT6X")
    status, _, document = await answered(refused.value)
    assert (status, document["detail"]) == (422, str(refused.value))
    with pytest.raises(CardRefused) as card:
        parse_code("canary")
    status, _, document = await answered(card.value)
    assert (status, document["detail"]) == (422, str(card.value))


async def test_too_many_attempts_say_when_to_come_back() -> None:
    status, headers, _ = await answered(TooManyAttempts(timedelta(seconds=90)))
    assert (status, headers["retry-after"]) == (429, "91")


class Package(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    seal: str
    number: int


class Kit(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    packages: list[Package]


async def test_wrong_input_names_the_field_and_does_not_repeat_what_was_sent() -> None:
    sent = '{"packages": [{"seal": "S-1", "number": "canary"}, {"number": 1, "more": "canary"}]}'
    with pytest.raises(ValidationError) as wrong:
        Kit.model_validate_json(sent)
    status, _, document = await answered(wrong.value)
    assert status == 422
    assert {error["field"] for error in document["errors"]} == {
        "packages.0.number",
        "packages.1.seal",
        "packages.1.more",
    }
    assert "canary" not in json.dumps(document)


async def test_what_the_framework_finds_wrong_is_named_in_the_same_way() -> None:
    wrong = RequestValidationError([{"loc": ("query", "after"), "msg": "Field required", "type": "missing"}])
    _, _, document = await answered(wrong)
    assert document["errors"] == [{"field": "query.after", "detail": "Field required"}]
    body = RequestValidationError([{"loc": ("body",), "msg": "Invalid JSON", "type": "json_invalid"}])
    _, _, document = await answered(body)
    assert document["errors"] == [{"field": "body", "detail": "Invalid JSON"}]


async def test_a_thousand_faults_do_not_make_a_thousand_lines() -> None:
    with pytest.raises(ValidationError) as wrong:
        Kit.model_validate({"packages": [{"seal": 1, "number": 1}] * 1000})
    _, _, document = await answered(wrong.value)
    assert len(document["errors"]) == MOST_FAULTS


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 406, 410, 413, 415, 418, 428, 500, 501, 503])
async def test_what_the_framework_raises_is_told_in_our_words(status: int) -> None:
    found, _, document = await answered(HTTPException(status, detail="canary"))
    assert found == status
    assert document["detail"]
    assert "canary" not in json.dumps(document)


async def test_a_wrong_method_still_says_which_ones_are_right() -> None:
    raised = HTTPException(405, headers={"Allow": "GET, POST", "X-Other": "canary"})
    _, headers, _ = await answered(raised)
    assert headers["allow"] == "GET, POST"
    assert "x-other" not in headers


async def test_a_reference_ties_the_answer_to_the_log() -> None:
    reference = "0b0c7a2e-6a1e-4f0e-9d2d-0f4f1e6f2a11"
    _, _, document = await answered(RuntimeError(), reference)
    assert document["instance"] == f"urn:uuid:{reference}"
    assert "instance" not in (await answered(RuntimeError()))[2]


def test_a_page_shows_the_same_problem_in_its_own_language() -> None:
    dutch = {"Package {package} is with {holder}.": "Pakket {package} is bij {holder}."}
    refused = Refused("Package {package} is with {holder}.", package=2, holder="Invented Courier")
    problem = problem_of(refused)
    assert problem.says(lambda key: dutch.get(key, key)) == "Pakket 2 is bij Invented Courier."


@pytest.mark.parametrize("happened", [RuntimeError("canary"), TookTooLong()], ids=["fault", "late"])
def test_what_only_a_program_can_use_stands_in_the_document_and_on_no_page(happened: Exception) -> None:
    problem = problem_of(happened)
    assert "look whether it was recorded" in problem.says()
    assert "Idempotency-Key" not in problem.says()
    assert problem.document()["detail"].endswith("the same Idempotency-Key is safe.")
    assert "Idempotency-Key" not in problem_of(NotSeen()).document()["detail"]


def test_one_kind_has_one_title_and_every_status_is_an_error() -> None:
    rows = [*PROBLEMS.values(), *STATUSES.values()]
    assert all(400 <= row.status < 600 for row in rows)
    assert all(STATUSES[status].status == status for status in STATUSES)
    titles: dict[str, set[str]] = {}
    for row in rows:
        titles.setdefault(row.kind, set()).add(row.title)
    assert all(len(found) == 1 for found in titles.values())


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("text/html", True),
        ("text/*, application/json;q=0.5", True),
        ("TEXT/HTML; q=0.7, */*; q=0.1", True),
        (None, False),
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("application/problem+json, text/html", False),
        ("application/json, text/html", False),
        ("text/html;q=0", False),
        ("text/html;q=nan", False),
        ("text/html;q=x", False),
        ("text/html;q=2", False),
    ],
)
def test_a_browser_gets_a_page_and_a_program_a_document(accept: str | None, page: bool) -> None:
    assert wants_page(accept) is page


@given(st.text(max_size=300))
def test_no_accept_header_is_a_fault(accept: str) -> None:
    assert wants_page(accept) in {True, False}


async def test_a_value_that_no_event_can_hold_is_named_as_the_field_it_came_in() -> None:
    sentence = "packages[2].seal must have 1 to 40 characters"
    status, _, document = await answered(EventRefused(sentence))
    assert status == 422
    assert document["errors"] == [{"field": "packages.1.seal", "detail": sentence}]
    assert "errors" not in (await answered(EventRefused("these bytes are not an event")))[2]
