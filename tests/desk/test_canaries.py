"""Canaries: values planted wherever people type, and looked for wherever they must not turn up.

Some may stand nowhere but encrypted (what is private, what opens something); the others stand in the database
by design, and still in no log, no refusal and nobody else's page.
"""

import base64
import hashlib
import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import text

from desk.api.document import routes_of
from desk.database import libpq
from desk.discreet import Discreet, blotted
from desk.doors import DOORS
from desk.postgres import SUPERUSER, free_port, wheel_binaries
from desk.serve import worker
from desk.settings import CannotStart
from tests.conftest import Database
from tests.custody.story import NURSE
from tests.desk.conftest import Desk
from tests.test_main_job import START, in_hours, let_pass, refs, to_the_store, wait_until
from tests.test_main_job import Desk as Person

HOSPITAL = "CANARY-HOSPITAL-7731"
CHANNEL = "canary.channel@invented.example"
CHANGED = {
    "channel_address": "canary.changed@invented.example",
    "channel_hours": "canary hours 7736",
    "channel_question": "canary question 7737",
}
FORM = "CANARY form of agreement, signed"
TYPED = {
    "reason": "canary reason 7732",
    "courier": "Canary Kurier",
    "courier_organisation": "Canary Koerierdienst",
    "pv": "PV.99.L9.773301/2026",
    "notice": "NO.99.77.34/26",
    "type": "canary_item_type",
    "login": "canary.login",
    "number": "CANARYNUMBER",
}
SENT_ALONG = {
    "bearer": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYW5hcnkifQ.canarySignature",
    "cookie": "canaryCookie" + "A" * 31,
    "form token": "canaryFormToken" + "B" * 28,
    "key": "canary-idempotency-key-7735",
    "address": "203.0.113.77",
}


def spelled(value: str) -> set[str]:
    """How a value may turn up: as it is, without its hyphens, and as bytes are written in a dump."""
    plain = {value, re.sub(r"[\s-]", "", value)}
    return {form for each in plain for form in (each, each.encode().hex(), _in_base64(each))}


def _in_base64(value: str) -> str:
    return base64.b64encode(value.encode()).decode().rstrip("=")


def found_in(content: str, values: Mapping[str, str] | list[str]) -> list[str]:
    """Which of the values turn up, with what stands before them, for the message of a failing test."""
    named = values.values() if isinstance(values, Mapping) else values
    lowered = content.lower()
    turned_up = []
    for value in named:
        for form in spelled(value):
            if (at := lowered.find(form.lower())) >= 0:
                turned_up.append(f"{value}: …{content[max(0, at - 80) : at + 80]}…")
    return turned_up


# --- what is written to the log ---------------------------------------------------------------------------


def logged(note: Callable[[logging.Logger], None], name: str = "desk.somewhere") -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Discreet())
    logger = logging.Logger(name)
    logger.addHandler(handler)
    note(logger)
    return stream.getvalue()


def test_a_failure_is_told_by_its_kind_and_its_places_and_never_in_its_own_words(database: Database) -> None:
    with database.connect("superuser") as connection:
        connection.execute("SET custody.maintenance = 'on'")
        connection.execute("CREATE TEMP TABLE kept (number text PRIMARY KEY)")
        connection.execute("INSERT INTO kept VALUES ('canary-row')")
        with pytest.raises(psycopg.errors.UniqueViolation, match="canary-row") as repeats:
            connection.execute("INSERT INTO kept VALUES ('canary-row')")
    outer = RuntimeError("canary words")
    outer.__cause__ = repeats.value
    told = logged(lambda logger: logger.error("request %s failed", uuid4(), exc_info=outer))
    assert "canary" not in told.replace("test_canaries.py", "")
    assert "builtins.RuntimeError" in told
    assert "because of psycopg.errors.UniqueViolation 23505 kept_pkey" in told
    assert "tests/desk/test_canaries.py:" in told


def test_a_refusal_to_start_is_written_in_full_and_a_request_keeps_its_reference() -> None:
    reference = str(uuid4())

    def note(logger: logging.Logger) -> None:
        logger.error("request %s failed", reference, exc_info=CannotStart("The port is taken: take another."))

    told = logged(note)
    assert reference in told
    assert "The port is taken: take another." in told


def test_another_librarys_line_says_where_it_is_from_and_not_what_it_says() -> None:
    told = logged(lambda logger: logger.warning("a row: %s", "canary"), "some.library")
    assert "canary" not in told
    assert "test_canaries.py" in told
    told = logged(lambda logger: logger.warning("Invalid %s\ncanary", "canary"), "uvicorn.error")
    assert told.endswith("uvicorn.error: Invalid …\n")


@pytest.mark.parametrize(
    "datum",
    [
        "7G8SWXS0BC0J",
        "7G8S-WXS0-BC0J",
        "7g8s-wxs0-bc0j",
        "7M4P9-XQ3RT-6C7M4-P9XQ3-RT6C7",
        "1234 5678",
        "203.0.113.77",
        "2001:db8:1:2:3:4:5:6",
        "2001:db8::77",
        "somebody@invented.example",
        SENT_ALONG["bearer"],
        "x7" * 21,
    ],
)
def test_what_looks_like_a_datum_is_blotted_out_of_our_own_lines_too(datum: str) -> None:
    for around in ("{}", "kit {}.", "({})", "a={}, b"):
        line = around.format(datum)
        assert datum not in blotted(line), line
        assert "[" in blotted(line)


@pytest.mark.parametrize(
    "words",
    [
        "The clerk leads; events: 12 leaves signed, reads: 3 leaves signed",
        "request 9702382c-1bd5-4a73-bc64-6313fc2a9741 failed: OperationalError",
        "desk/pages/victim.py:88 in _kit_of",
        "2026-11-22T04:16:52+00:00",
    ],
)
def test_what_is_no_datum_stays_as_it_is(words: str) -> None:
    assert blotted(words) == words


# --- every route ------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Watched:
    """A worker whose whole log, at its most talkative, is kept; and how every route is asked."""

    app: FastAPI
    base_url: str
    log: io.StringIO
    kit: str
    token: str
    server_log: io.TextIOWrapper
    """Of PostgreSQL, from where the test began."""
    secrets: list[str] = field(default_factory=list)

    @cached_property
    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self.base_url)

    def routes(self) -> Iterator[tuple[str, str]]:
        for route in routes_of(self.app):
            for method in sorted(route.methods or ()):
                yield method, re.sub(r"\{[^}]+\}", self._filled, str(route.path))
        yield from (("POST", f"/api/{door.path}") for door in DOORS)
        yield from (("GET", path) for path in ("/static/canary.css", f"/canary/{self.kit}", "/canary%ff%00"))
        yield from (("PATCH", path) for path in (f"/kits/{self.kit}", f"/api/kits/{self.kit}"))

    def _filled(self, place: re.Match[str]) -> str:
        return self.kit if "number" in place[0] or "kit" in place[0] else TYPED["number"]

    def requests(self, method: str, path: str) -> Iterator[httpx.Request]:
        """Valid, invalid and hostile requests to this route, each full of canaries."""
        typed = {**TYPED, "hospital_reference": HOSPITAL, "channel_address": CHANNEL, "kit": self.kit}
        query = {"purpose": TYPED["reason"], "code": self.kit, "q": HOSPITAL, "next": CHANNEL, "p": self.kit}
        headers = {
            "x-forwarded-for": SENT_ALONG["address"],
            "idempotency-key": SENT_ALONG["key"],
            "custody-function": TYPED["login"],
            "user-agent": HOSPITAL,
        }
        signed = {**headers, "authorization": f"Bearer {self.token}"}
        del signed["custody-function"]
        foreign = {**headers, "authorization": f"Bearer {SENT_ALONG['bearer']}"}
        cookie = {**headers, "cookie": f"custody={SENT_ALONG['cookie']}", "sec-fetch-site": "same-origin"}
        form = typed | {"form_token": SENT_ALONG["form token"], "who": TYPED["login"], "secret": "7736 7736"}
        page = {"accept": "text/html"}
        make = self._client.build_request
        yield make(method, path, headers=headers, params=query)
        yield make(method, path, headers=headers | page, params=query)
        yield make(method, path, headers=foreign, params=query, json=typed)
        yield make(method, path, headers=signed, params={"purpose": "task"})
        yield make(method, path, headers=signed, params=query, json=typed)
        yield make(method, path, headers=signed, content=f'{{"{HOSPITAL}": '.encode())
        yield make(method, path, headers=signed | page, params=query, data=form)
        yield make(method, path, headers=cookie | page, data=form)
        yield make(method, path, headers=cookie, data=form, files={"form": (HOSPITAL, CHANNEL.encode())})

    def logs(self) -> str:
        """What the worker wrote, without the lines of the test's own client, which shares the process and
        says whom it asks; and what PostgreSQL wrote."""
        own = [
            line
            for line in self.log.getvalue().splitlines()
            if not re.search(r" (?:httpx|httpcore)[\w.]*: ", line)
        ]
        return "\n".join([*own, self.server_log.read()])

    def everything(self) -> list[str]:
        return [HOSPITAL, CHANNEL, *TYPED.values(), *SENT_ALONG.values(), self.kit, *self.secrets]

    def ask_every_route(self, every: int = 1) -> dict[int, int]:
        """Send them all, or every so many of each route; every refusal is looked at. Answers how often each
        status came."""
        came: dict[int, int] = {}
        with httpx.Client(timeout=60) as client:
            for method, path in self.routes():
                for request in list(self.requests(method, path))[every - 1 :: every]:
                    answer = client.send(request)
                    came[answer.status_code] = came.get(answer.status_code, 0) + 1
                    self._look_at(request, answer)
        return came

    def _look_at(self, request: httpx.Request, answer: httpx.Response) -> None:
        where = f"{request.method} {request.url.path} {answer.status_code}"
        told = answer.text + str(dict(answer.headers))
        document = answer.headers.get("content-type") == "application/problem+json"
        if document or answer.status_code in (400, 401, 403, 404, 405, 408, 413, 415, 500, 503):
            assert found_in(told, self.everything()) == [], where
        elif answer.status_code >= 400:  # a form that is shown again keeps what its own sender typed
            assert found_in(told, [*SENT_ALONG.values(), *self.secrets]) == [], where


@pytest.fixture
def watched(desk: Desk, database: Database) -> Iterator[Watched]:
    """A second worker on the desk's database, with its log at DEBUG."""
    from desk.app import build
    from tests.custody.story import PlainMasters

    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(Discreet())
    root = logging.getLogger()
    before = root.level
    nurse = desk.at(NURSE)
    done = nurse.register(desk.now())
    with (
        (database.server.folder / "postgres.log").open(errors="replace") as server_log,
        listened(log, handler, root, before),
    ):
        server_log.seek(0, io.SEEK_END)
        app = build(desk.settings, PlainMasters())
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(worker(desk.settings, app, log_level="debug"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the worker ended before it was up"
            time.sleep(0.01)
        yield Watched(
            app=app,
            base_url=f"http://127.0.0.1:{listening.getsockname()[1]}",
            log=log,
            kit=done["kit"],
            server_log=server_log,
            token=nurse.client.headers["authorization"].removeprefix("Bearer "),
            secrets=[done["card"]["code"], done["card"]["secret"]],
        )
        server.should_exit = True
        thread.join()


@contextmanager
def listened(log: io.StringIO, handler: logging.Handler, root: logging.Logger, before: int) -> Iterator[None]:
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def test_no_route_repeats_what_was_sent_in_a_refusal_or_in_the_log(watched: Watched) -> None:
    came = watched.ask_every_route()
    assert {200, 401, 403, 404, 405, 415, 422} <= set(came), came
    log = watched.logs()
    assert not {500, 503} & set(came), log
    assert found_in(log, watched.everything()) == []
    for other in ("/healthz", "/sign-in", "/v", "/api/openapi.json"):
        told = httpx.get(watched.base_url + other, headers={"accept": "text/html"}).text
        assert found_in(told, [*watched.everything()]) == [], other


def test_a_fault_in_any_route_repeats_nothing_either(watched: Watched) -> None:
    engine = watched.app.state.service.engine

    async def fails() -> None:
        words = f"{HOSPITAL} {CHANNEL} {watched.kit} {watched.token}"
        async with engine.connect() as connection:
            try:
                await connection.execute(text("SELECT CAST(CAST(:word AS text) AS integer)"), {"word": words})
            except Exception as happened:
                raise RuntimeError(words) from happened

    async def fails_with(*_: object, **__: object) -> None:
        await fails()

    for route in routes_of(watched.app):
        original: Any = route.original_route
        for dependant in (original.dependant, getattr(route, "dependant", original.dependant)):
            dependant.call = fails_with
    came = watched.ask_every_route(every=3)
    assert came.get(500, 0) > 50, came
    log = watched.logs()
    assert "InvalidTextRepresentation 22P02" in log
    assert found_in(log, watched.everything()) == []


def test_a_database_that_is_away_makes_nobody_talk(watched: Watched, database: Database) -> None:
    elsewhere = libpq(database.server.url(SUPERUSER, "postgres"))
    with psycopg.connect(elsewhere, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false")
        gone = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        connection.execute(gone, [database.name])
        try:
            came = watched.ask_every_route(every=3)
        finally:
            connection.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS true")
    assert came.get(503, 0) > 50, came
    log = watched.logs()
    assert "failed: OperationalError" in log
    assert found_in(log, watched.everything()) == []


# --- the whole story --------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Service:
    """The service as people start it, in a folder of its own, and all that it wrote."""

    base_url: str
    folder: Path
    output: Path

    def logs(self) -> dict[str, str]:
        files = [self.output, *self.folder.glob("**/*.log"), *self.folder.glob("**/clerk.a*")]
        return {path.name: path.read_text(errors="replace") for path in files}

    def dump(self) -> str:
        """The whole database, as a thief of a backup would have it."""
        passwords = json.loads((self.folder / "secrets.json").read_text())
        port = json.loads((self.folder / "custody-data.json").read_text())["port"]
        done = subprocess.run(
            [wheel_binaries().folder / "pg_dump", "-h127.0.0.1", f"-p{port}", f"-U{SUPERUSER}", "custody"],
            env={**os.environ, "PGPASSWORD": passwords[SUPERUSER]},
            capture_output=True,
            check=True,
        )
        return done.stdout.decode(errors="replace")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    port = free_port()
    made = Service(base_url=f"http://127.0.0.1:{port}", folder=tmp_path / "var", output=tmp_path / "output")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CUSTODY_")} | {
        "CUSTODY_DATA": str(made.folder),
        "CUSTODY_PORT": str(port),
        "CUSTODY_WORKERS": "1",
        "CUSTODY_DEMO": "fictional",
    }
    with made.output.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "desk.cli", "demo"], env=environment, stdout=output, stderr=output
        )
        try:
            until = time.monotonic() + START
            while not _well(made.base_url):
                assert process.poll() is None, made.output.read_text()
                assert time.monotonic() < until, made.output.read_text()
                time.sleep(0.2)
            yield made
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0, made.output.read_text()


def _well(base_url: str) -> bool:
    try:
        return httpx.get(f"{base_url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


@dataclass(kw_only=True)
class Planted:
    """What was typed and given out in the story."""

    private: list[str] = field(default_factory=lambda: [HOSPITAL, CHANNEL, FORM, *CHANGED.values()])
    opening: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=lambda: [*TYPED.values()])


def canary_kit(nurse: Person, planted: Planted) -> str:
    packages = [
        {
            "package": n,
            "kind": kind,
            "storage": storage,
            "seal": f"S-{n}",
            "items": [{"item": n, "type": type_}],
        }
        for n, (kind, storage, type_) in enumerate(
            (
                ("envelope", "frozen", "swab_skin"),
                ("bag", "dry", "underwear"),
                ("tube_rack", "refrigerated", "saliva_reference"),
            ),
            1,
        )
    ]
    done = nurse.do(
        "kits",
        examined_at=(datetime.now(UTC) - timedelta(hours=2)).isoformat().replace("+00:00", "Z"),
        age_class="adult",
        packages=packages,
        agreement={
            "form_digest": hashlib.sha256(FORM.encode()).hexdigest(),
            "language": "nl",
            "channel": "email",
            "channel_address": CHANNEL,
        },
        hospital_reference=HOSPITAL,
    )
    planted.opening += [done["card"]["code"], done["card"]["secret"]]
    planted.known.append(done["kit"])
    return str(done["kit"])


def visit(service: Service, planted: Planted) -> None:
    """The victim comes in with code and number, mistypes once, and asks for more time."""
    code, secret = planted.opening[-2:]
    with httpx.Client(base_url=service.base_url, headers={"sec-fetch-site": "same-origin"}) as victim:
        wrong = "0000 0000" if secret != "0000 0000" else "1111 1111"
        assert victim.post("/v", data={"code": code, "secret": wrong}).status_code == 409
        entered = victim.post("/v", data={"code": code, "secret": secret})
        assert entered.status_code == 303
        planted.opening.append(victim.cookies["custody"])
        assert victim.get("/v/kit").status_code == 200


class Story:
    """Both endings of the main job, with everybody's tokens kept as canaries."""

    def __init__(self, service: Service, open_: ExitStack) -> None:
        self.service, self.open = service, open_
        self.planted = Planted()
        self.dump_while_waiting = ""

    def at(self, *names: str) -> list[Person]:
        people = [Person(self.service.base_url, name, self.open) for name in names]
        for each in people:
            self.planted.opening.append(each.client.headers["authorization"].removeprefix("Bearer "))
            self.planted.opening += [str(value) for value in each.client.cookies.values()]
        return people

    def to_the_file(self) -> None:
        nora, casper, coraline, oscar, magda = self.at("nora", "casper", "coraline", "oscar", "magda")
        kit = canary_kit(nora, self.planted)
        visit(self.service, self.planted)
        other = {"kit": kit, "channel": "email", "language": "nl", "how": "in_person", **CHANGED}
        waiting = nora.propose("channels", **other)
        self.dump_while_waiting = self.service.dump()
        coraline.sign(waiting)
        nora.do("labels/prints", kit=kit)
        to_the_store(nora, casper, kit)
        assert magda.get(f"kits/{kit}", purpose="court").status_code >= 400
        nora.do("holds", kit=kit, ground="safety", reason=TYPED["reason"])
        nora.do("reports", kit=kit, how="in_person")
        assert oscar.post("requests", pv=TYPED["pv"], centre="zsg-sterrenberg").status_code == 202
        (request,) = (r["id"] for r in coraline.get("worklists").json()["requests"])
        coraline.sign(nora.propose("requests/answers", request=request, kit=kit, how="match"))
        coraline.do(
            "links",
            kit=kit,
            pv=TYPED["pv"],
            notice=TYPED["notice"],
            office="parket-avondland",
            zone="pz-morgenland",
            request=request,
        )
        casper.do(
            "hand-overs/offers",
            packages=refs(kit, 1, 2, 3),
            organisation="pz-morgenland",
            due_at=in_hours(casper, 8),
        )
        oscar.do("hand-overs/acceptances", packages=refs(kit, 1, 2, 3))

    def to_the_end(self) -> None:
        nora, casper, coraline = self.at("nora", "casper", "coraline")
        kit = canary_kit(nora, self.planted)
        to_the_store(nora, casper, kit)
        let_pass(coraline, 140)
        nora, coraline = self.at("nora", "coraline")
        wait_until(coraline, kit, "notice_due")
        nora.do("notices/attempts", kit=kit, how="reached")
        let_pass(coraline, 66)
        nora, nils, casper, cleo, coraline = self.at("nora", "nils", "casper", "cleo", "coraline")
        wait_until(coraline, kit, "expired")
        casper.do("disposals/proposals", kit=kit)
        coraline.do("disposals/approvals", kit=kit)
        items = [{"kit": kit, "item": n} for n in (1, 2, 3)]
        nils.sign(cleo.propose("disposals", packages=refs(kit, 1, 2, 3), items=items, observer="nils"))

    def others_pages(self) -> str:
        """What people see who have nothing to do with the kits."""
        told = []
        for person in self.at("mira", "ana"):
            for path in ("/", "/log", "/api/worklists", "/api/kits?purpose=task", "/api/log/checkpoint"):
                told.append(person.client.get(path, headers={"accept": "text/html"}).text)
        return "\n".join(told)


def test_after_the_whole_story_no_log_and_no_backup_tells_what_is_private(service: Service) -> None:
    with ExitStack() as open_:
        story = Story(service, open_)
        story.to_the_file()
        story.to_the_end()
        planted = story.planted
        pages = story.others_pages()
    waited = story.dump_while_waiting
    assert "channel.change" in waited, "it waits"
    assert found_in(waited, [*planted.private, *planted.opening]) == []
    dump = service.dump()
    assert all(found_in(dump, [kit]) for kit in planted.known[-2:]), "the search finds what is there"
    assert found_in(dump, planted.private + planted.opening) == []
    assert found_in(pages, planted.private + planted.known) == []
    logs = service.logs()
    assert {"output", "postgres.log"} <= set(logs)
    for name, log in logs.items():
        assert log, name
        assert found_in(log, planted.private + planted.opening + planted.known) == [], name
