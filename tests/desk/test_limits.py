"""What a stranger may take of the service: bytes, time, connections, guesses; and nobody's page for long."""

import asyncio
import contextlib
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy.exc
import uvicorn
from fastapi import FastAPI, Request
from sqlalchemy import text
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from custody import card as cards
from desk import wire
from desk.app import engine_of
from desk.guard import LARGEST_HEADERS, LONGEST_ADDRESS, MOST_HEADERS, SECURITY, Guard
from desk.problems import problem_of
from desk.serve import worker
from desk.session import LIMITS, LONGEST_WAIT, Purpose
from desk.settings import environment_of, read
from desk.wire import Wire
from tests.conftest import Database
from tests.custody.story import NURSE
from tests.desk.conftest import Desk

SHORT = 0.3  # seconds, for limits that a test waits for
LONG = 20.0  # seconds that nothing here takes


def small_app(settings: Any) -> FastAPI:
    """Routes that do what no route of ours does, behind the guard of ours."""
    app = FastAPI(openapi_url=None)
    app.state.problem_page = None
    app.add_middleware(Guard, settings=settings)

    @app.get("/who")
    async def who(request: Request) -> Response:
        return PlainTextResponse(request.client.host if request.client else "nobody")

    @app.post("/read")
    async def read_all(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    @app.get("/sleep")
    async def sleep() -> Response:
        await asyncio.sleep(LONG)
        return PlainTextResponse("at last")

    @app.get("/endless")
    async def endless() -> Response:
        async def drops() -> AsyncIterator[bytes]:
            while True:
                yield b"drop"
                await asyncio.sleep(0.01)

        return StreamingResponse(drops())

    return app


class Serving:
    """A worker in a thread, with uvicorn configured as in production."""

    def __init__(self, **environment: str) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(listening.getsockname()[1])
        self.base_url = f"http://127.0.0.1:{self.port}"
        settings = replace(read(environment), base_url=self.base_url)
        self.server = uvicorn.Server(worker(settings, small_app(settings)))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listening]})

    def __enter__(self) -> "Serving":
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive(), "the worker ended before it was up"
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()

    def connect(self) -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", self.port))
        opened.settimeout(LONG)
        return opened

    def told(self, *pieces: bytes) -> bytes:
        """All that comes back for these bytes until the connection is closed."""
        with self.connect() as opened:
            for piece in pieces:
                with contextlib.suppress(ConnectionError):
                    opened.sendall(piece)
            return rest_of(opened)


def rest_of(opened: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while more := opened.recv(65536):
            found += more
    return found


@pytest.fixture
def serving() -> Iterator[Serving]:
    with Serving() as made:
        yield made


# --- a connection -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [b"", b"\r\n", b"G", b"GET /who HTTP/1.1\r\nHost: here\r\nX-Slow: a"],
    ids=["silence", "an empty line", "one letter", "half a head"],
)
def test_a_connection_that_does_not_finish_its_head_is_closed(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(Wire, "head_within", SHORT)
    begun = time.monotonic()
    assert serving.told(sent) == b""
    assert time.monotonic() - begun < LONG


def test_a_second_head_on_a_connection_has_no_more_time_than_the_first(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wire, "head_within", SHORT)
    with serving.connect() as opened:
        opened.sendall(b"GET /who HTTP/1.1\r\nHost: here\r\n\r\n")
        first = opened.recv(65536)
        assert first.startswith(b"HTTP/1.1 200")
        with contextlib.suppress(ConnectionError):
            for _ in range(20):  # letter by letter, for longer than a head may take
                opened.sendall(b"\r\n")
                time.sleep(SHORT / 10)
        assert rest_of(opened) == b""


def test_a_head_without_end_is_refused_before_it_is_kept(serving: Serving) -> None:
    line = b"X-Long: " + b"a" * (2 * wire.LARGEST_HEAD)
    told = serving.told(b"GET /who HTTP/1.1\r\nHost: here\r\n" + line)
    assert told.startswith(b"HTTP/1.1 431")
    assert b"aaaa" not in told


def test_what_is_no_http_is_refused_with_a_problem_and_our_headers(serving: Serving) -> None:
    told = serving.told(b"\x16\x03\x01canary\r\n\r\n")
    head, _, body = told.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in head
    for name, value in SECURITY.items():
        assert f"{name}: {value}".encode() in head
    assert b"canary" not in told
    assert b"wrong-request" in body


def test_lines_after_a_body_are_not_kept(serving: Serving) -> None:
    told = serving.told(
        b"POST /read HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"3\r\nabc\r\n0\r\n" + b"X-Late: a\r\n" * 2000 + b"\r\n"
    )
    assert told.startswith(b"HTTP/1.1 200")
    assert told.endswith(b"3")


def test_a_worker_keeps_no_more_connections_than_it_can_open_files(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MOST_CONNECTIONS", 3)
    with ExitStack() as kept:
        for _ in range(3):
            kept.enter_context(serving.connect())
            while len(serving.server.server_state.connections) < len(kept._exit_callbacks):  # type: ignore[attr-defined]
                time.sleep(0.01)
        assert serving.told(b"") == b""
    while serving.server.server_state.connections:
        time.sleep(0.01)
    assert httpx.get(f"{serving.base_url}/who").status_code == 200


# --- a request --------------------------------------------------------------------------------------------


def test_a_body_that_trickles_is_given_up(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guard, "body_within", SHORT)
    told = serving.told(b"POST /read HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\ncanary")
    assert told.startswith(b"HTTP/1.1 408")
    assert b"too-slow" in told
    assert b"canary" not in told


def test_a_request_that_takes_us_too_long_is_given_up_in_words(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Guard, "handled_within", SHORT)
    answer = httpx.get(f"{serving.base_url}/sleep", timeout=LONG)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["type"].endswith("/problems/not-now")
    assert "look whether it was recorded" in answer.json()["detail"]


def test_time_for_the_body_is_not_taken_from_the_time_for_the_answer(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Guard, "handled_within", SHORT)
    with serving.connect() as opened:
        opened.sendall(
            b"POST /read HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: 6\r\n\r\nabc"
        )
        time.sleep(2 * SHORT)
        opened.sendall(b"def")
        assert rest_of(opened).startswith(b"HTTP/1.1 200")


def test_a_download_has_its_own_time_and_ends_too(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guard, "handled_within", SHORT)
    monkeypatch.setattr(Guard, "sent_within", 3 * SHORT)
    begun = time.monotonic()
    told = serving.told(b"GET /endless HTTP/1.1\r\nHost: here\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 200")
    assert 2 * SHORT < time.monotonic() - begun < LONG
    assert not told.endswith(b"0\r\n\r\n"), "what is cut off does not look complete"


def test_an_address_and_headers_are_read_up_to_a_length(serving: Serving) -> None:
    with httpx.Client(base_url=serving.base_url) as client:
        assert client.get("/who", params={"q": "a" * LONGEST_ADDRESS}).status_code == 414
        assert client.get("/who", headers={"x-long": "a" * LARGEST_HEADERS}).status_code == 431
        many = {f"x-{n}": "a" for n in range(MOST_HEADERS)}
        refused = client.get("/who", headers=many)
        assert refused.status_code == 431
        assert refused.headers["content-security-policy"] == SECURITY["content-security-policy"]
        assert client.get("/who", headers={"x-short": "a" * 1000}).status_code == 200


@pytest.mark.parametrize("kind", ["fields", "parts", "files"])
def test_a_form_has_no_more_fields_and_files_than_any_of_ours(desk: Desk, kind: str) -> None:
    client = desk.client(**{"sec-fetch-site": "same-origin"})
    several = [(f"canary-{n}", (None if kind == "parts" else "canary.txt", b"x")) for n in range(1100)]
    more: dict[str, Any] = (
        {"data": {name: "x" for name, _ in several}} if kind == "fields" else {"files": several}
    )
    answer = client.post("/v", **more)
    assert answer.status_code == 400
    assert "canary" not in answer.text


# --- the database -----------------------------------------------------------------------------------------


def test_a_statement_a_lock_and_a_forgotten_transaction_are_not_waited_for(database: Database) -> None:
    async def within() -> tuple[dict[str, str], list[int]]:
        engine = engine_of(database.url())
        statuses = []
        try:
            async with engine.connect() as one, engine.connect() as other:
                names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
                shown = {name: str(await one.scalar(text(f"SHOW {name}"))) for name in names}
                await one.execute(text("SELECT pg_advisory_xact_lock(1)"))
                for waits in ("SET LOCAL lock_timeout = 50", "SET LOCAL statement_timeout = 50"):
                    await other.rollback()
                    await other.execute(text(waits))
                    try:
                        await other.execute(text("SELECT pg_advisory_xact_lock(1)"))
                    except sqlalchemy.exc.DBAPIError as refused:
                        statuses.append(problem_of(refused).status)
        finally:
            await engine.dispose()
        return shown, statuses

    shown, statuses = asyncio.run(within())
    assert shown == {
        "statement_timeout": "20s",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "1min",
    }
    assert statuses == [503, 503]


# --- whose address ----------------------------------------------------------------------------------------


def test_nobody_says_for_themselves_from_where_they_come(serving: Serving) -> None:
    answer = httpx.get(f"{serving.base_url}/who", headers={"x-forwarded-for": "203.0.113.9"})
    assert answer.text == "127.0.0.1"


def test_a_named_proxy_says_from_where_somebody_comes_and_what_they_claimed_is_passed_over() -> None:
    with Serving(CUSTODY_PROXIES="127.0.0.1,10.0.0.0/8") as serving:
        for said, believed in (
            ("203.0.113.9", "203.0.113.9"),
            ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
            ("198.51.100.1, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ):
            answer = httpx.get(f"{serving.base_url}/who", headers={"x-forwarded-for": said})
            assert answer.text == believed


# --- headers and files ------------------------------------------------------------------------------------


def test_no_page_may_run_or_load_anything_that_is_not_ours(desk: Desk) -> None:
    policy = dict(part.split(" ", 1) for part in SECURITY["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert "unsafe-inline" not in str(policy)
    assert "'unsafe-eval'" not in str(policy)
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["script-src-attr"] == "'none'"
    client = desk.client(accept="text/html")
    for path in ("/", "/v", "/sign-in", "/nowhere", "/api/kits", "/static/desk.css", "/static/nothing.css"):
        answer = client.get(path)
        for name, value in SECURITY.items():
            assert answer.headers[name] == value, (path, name)
        kept = "no-cache" if path.startswith("/static/") else "no-store"
        assert answer.headers["cache-control"] == kept, path
        assert "server" not in answer.headers


def test_no_template_and_no_script_of_ours_writes_anything_inline() -> None:
    inline = re.compile(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:|innerHTML|\beval\(")
    folder = Path(__file__).parents[2] / "desk"
    read_ = [*folder.glob("templates/**/*.html"), *folder.glob("static/*.js"), *folder.glob("static/*.svg")]
    assert len(read_) > 20
    assert {path.name: found[0] for path in read_ if (found := inline.search(path.read_text()))} == {}


@pytest.mark.parametrize(
    "path",
    [
        "/static",
        "/static/",
        "/static/vendor/",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
    ],
)
def test_static_files_are_no_way_to_other_files_or_to_a_list_of_them(desk: Desk, path: str) -> None:
    port = int(desk.base_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as opened:  # a client would tidy the path up
        opened.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
        told = rest_of(opened)
    assert told.startswith(b"HTTP/1.1 404")
    assert b"import" not in told
    assert b"desk.css" not in told


# --- a victim's card --------------------------------------------------------------------------------------


@pytest.fixture
def two_workers(desk: Desk) -> Iterator[list[httpx.Client]]:
    """Two processes of the service on one database, behind a proxy that says from where people come."""
    with ExitStack() as open_:
        clients = []
        for _ in range(2):
            listening = socket.create_server(("127.0.0.1", 0))
            base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            settings = replace(desk.settings, base_url=base_url, proxies=("127.0.0.1",))
            process = subprocess.Popen(
                [sys.executable, "-m", "desk.serve", str(listening.fileno())],
                env=_environment() | environment_of(settings),
                pass_fds=[listening.fileno()],
            )
            open_.callback(process.wait)
            open_.callback(process.terminate)
            listening.close()
            headers = {"sec-fetch-site": "same-origin", "accept": "text/html"}
            client = open_.enter_context(httpx.Client(base_url=base_url, headers=headers, timeout=LONG))
            _wait_for(client, process)
            clients.append(client)
        yield clients


def _environment() -> dict[str, str]:
    import os

    return {name: value for name, value in os.environ.items() if not name.startswith("CUSTODY_")}


def _wait_for(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, "the worker ended before it was up"
        try:
            if client.get("/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the worker did not come up")


class Card:
    """A victim's card, and what is tried with it in turn at both processes."""

    def __init__(self, desk: Desk, clients: list[httpx.Client]) -> None:
        given = desk.at(NURSE).register(desk.now())["card"]
        self.code, self.secret = given["code"], given["secret"]
        digits = str((int(re.sub(r"\D", "", self.secret)) + 1) % 10**8).zfill(8)
        self.wrong = f"{digits[:4]} {digits[4:]}"
        self.clients = clients
        self.turn = 0

    def enter(self, address: str, *, right: bool, code: str | None = None) -> int:
        self.turn += 1
        client = self.clients[self.turn % 2]
        client.cookies.clear()
        answer = client.post(
            "/v",
            data={"code": code or self.code, "secret": self.secret if right else self.wrong},
            headers={"x-forwarded-for": address},
        )
        if answer.status_code == 429:
            assert 0 < int(answer.headers.get("retry-after", "1")) <= LONGEST_WAIT.total_seconds() + 1
        return answer.status_code

    def guesses(self, address: str) -> int:
        """How many wrong numbers are looked at before the address has to wait."""
        for count in range(100):
            if (status := self.enter(address, right=False)) != 409:
                assert status == 429
                return count
        raise AssertionError("guessing never has to wait")


FOUND_IT, VICTIM = "198.51.100.1", "203.0.113.9"


def test_whoever_found_a_card_waits_alone_and_its_victim_comes_in_from_elsewhere(
    desk: Desk, two_workers: list[httpx.Client]
) -> None:
    card = Card(desk, two_workers)
    assert card.guesses(FOUND_IT) == LIMITS[Purpose.CARD_SECRET].free
    assert card.enter(FOUND_IT, right=True) == 429, "not even the right number, in either process"
    assert card.enter(VICTIM, right=True) == 303


def test_at_the_same_address_no_wait_is_longer_than_a_quarter_of_an_hour_and_nobody_lengthens_it(
    desk: Desk, two_workers: list[httpx.Client], advance: Callable[[timedelta], None]
) -> None:
    card = Card(desk, two_workers)
    for _ in range(12):  # until the waits grow no more
        card.guesses(FOUND_IT)
        advance(LONGEST_WAIT)
    card.guesses(FOUND_IT)
    advance(LONGEST_WAIT - timedelta(minutes=1))
    assert {card.enter(FOUND_IT, right=False) for _ in range(10)} == {429}
    advance(timedelta(minutes=1))
    assert card.enter(FOUND_IT, right=True) == 303


def test_guesses_from_many_addresses_add_up_and_the_victim_waits_a_minute_at_most(
    desk: Desk, two_workers: list[httpx.Client], advance: Callable[[timedelta], None]
) -> None:
    card = Card(desk, two_workers)
    limit = LIMITS[Purpose.CARD]
    looked_at = 0
    for n in range(limit.free + 20):
        status = card.enter(f"198.51.100.{n}", right=False)
        looked_at += status == 409
        if status == 429:
            advance(limit.longest_wait / 8)
    assert limit.free <= looked_at < limit.free + 20
    while card.enter("198.51.100.250", right=False) != 429:
        pass
    assert card.enter(VICTIM, right=True) == 429
    advance(limit.longest_wait)
    assert card.enter(VICTIM, right=True) == 303


def test_guesses_of_codes_slow_their_own_address_down_and_nobody_else(
    desk: Desk, two_workers: list[httpx.Client]
) -> None:
    card = Card(desk, two_workers)
    limit = LIMITS[Purpose.CARD_CODE]
    for _ in range(limit.free):
        code = None
        while code is None:
            code = cards.issue_code(secrets.token_bytes(cards.CODE_RANDOM_BYTES))
        assert card.enter(FOUND_IT, right=False, code=cards.written_code(code)) == 409
    assert card.enter(FOUND_IT, right=True) == 429
    assert card.enter(VICTIM, right=True) == 303
