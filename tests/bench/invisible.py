"""Whether the time of an answer tells that a kit exists: each case asks about one that the asker may not know
of and about a number that never was, in random order, many thousand times, from one client over HTTP.

For each case the table has the area under the ROC curve of both times (Mann and Whitney's statistic: how
often the invisible kit took longer, one half where time tells nothing) with its 95 % interval (Hanley and
McNeil 1982, equation 1). The service is a web worker in a process of its own on a PostgreSQL as in
production.
"""

import argparse
import asyncio
import gc
import http.client
import json
import os
import random
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import sqrt
from statistics import median
from typing import Any, Final
from urllib.parse import urlencode
from uuid import uuid4

import psycopg
from sqlalchemy.ext.asyncio import create_async_engine

from custody import card
from custody.people import Actor
from tests.bench.ground import Ground, ground, show, wait_for
from tests.custody.story import (
    CENTRE,
    COORDINATOR,
    MAGISTRATE,
    NURSE,
    NURSE_2,
    OFFICER,
    OTHER_NURSE,
    begin,
    new_number,
)
from tests.desk.conftest import adopt, new_kit, refs

AIM: Final = (0.45, 0.55)
WARMING: Final = 30  # pairs of a case that do not count

_WORKER: Final = """
import socket, sys, uvicorn
from desk.serve import worker
from desk.settings import read
uvicorn.Server(worker(read())).run(sockets=[socket.create_server(("127.0.0.1", int(sys.argv[1])))])
"""

Ask = tuple[str, str, bytes | None, Mapping[str, str]]
"""Method, path, body, headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question, about what is there and invisible and about what never was. `before` runs untimed before
    each request; `status` is the answer to both."""

    name: str
    there: Callable[[], Ask]
    nowhere: Callable[[], Ask]
    status: int = 404
    before: Callable[[], object] = field(default=lambda: None)


class Worker:
    """The service in a process of its own, and a client of it that keeps its connection."""

    def __init__(self, where: Ground) -> None:
        self._where = where
        self._port = _free_port()
        self.base_url = f"http://127.0.0.1:{self._port}"
        self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        self._tokens: dict[str, tuple[str, float]] = {}

    @contextmanager
    def running(self) -> Iterator["Worker"]:
        given = {
            "CUSTODY_DATA": str(self._where.folder / "desk"),
            "CUSTODY_DATABASE_URL": self._where.url("service").replace("+psycopg", ""),
            "CUSTODY_BASE_URL": self.base_url,
            "CUSTODY_DEMO": "fictional",
        }
        others = {name: value for name, value in os.environ.items() if not name.startswith("CUSTODY_")}
        process = subprocess.Popen([sys.executable, "-c", _WORKER, str(self._port)], env=others | given)
        try:
            wait_for(lambda: process.poll() is not None or self._answers())
            if process.poll() is not None:
                raise RuntimeError("the web worker did not come up")
            yield self
        finally:
            self._connection.close()
            process.terminate()
            process.wait(60)

    def _answers(self) -> bool:
        try:
            return self.send(("GET", "/healthz", None, {}))[0] == 200
        except OSError:
            self._connection.close()
            return False

    def send(self, ask: Ask) -> tuple[int, bytes]:
        method, path, body, headers = ask
        self._connection.request(method, path, body, dict(headers))
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def token(self, who: Actor) -> str:
        """A token of this person, renewed before it is over."""
        assert who.person is not None
        token, until = self._tokens.get(who.person, ("", 0.0))
        if time.monotonic() > until:
            body = json.dumps({"person": who.person}).encode()
            status, told = self.send(("POST", "/demo/sign-in", body, {"content-type": "application/json"}))
            assert status == 201, told
            said = json.loads(told)
            token = str(said["access_token"])
            self._tokens[who.person] = token, time.monotonic() + said["expires_in"] / 2
        return token

    def get(self, who: Actor, path: str, **more: str) -> Ask:
        return "GET", path, None, {"authorization": f"Bearer {self.token(who)}", **more}

    def post(self, who: Actor, path: str, order: object) -> Ask:
        headers = {
            "authorization": f"Bearer {self.token(who)}",
            "content-type": "application/json",
            "idempotency-key": uuid4().hex,
        }
        return "POST", f"/api/{path}", json.dumps(order).encode(), headers

    def done(self, who: Actor, path: str, order: object) -> dict[str, Any]:
        status, told = self.send(self.post(who, path, order))
        assert status in (201, 202), told
        return dict(json.loads(told))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


async def people(where: Ground) -> None:
    """The people and places of the stories, and a policy that was adopted."""
    service, clerk = (create_async_engine(where.url(role)) for role in ("service", "clerk"))
    try:
        await adopt(await begin(service, clerk))
    finally:
        await service.dispose()
        await clerk.dispose()


# --- the cases --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Kits:
    """What is there: kits nobody reported, some of them restricted, some with a card (its code)."""

    unreported: Sequence[str]
    restricted: Sequence[str]
    cards: Sequence[str]


def register(where: Ground, worker: Worker, count: int) -> Kits:
    with where.connect() as connection:
        row = connection.execute("SELECT custody.clock()").fetchone()
        assert row is not None
        at = row[0]
    kits, cards = [], []
    for _ in range(count):
        done = worker.done(NURSE, "kits", new_kit(at) | {"card": "issued"})
        kits.append(str(done["kit"]))
        cards.append(str(done["card"]["code"]))
    restricted = [str(worker.done(NURSE, "kits", new_kit(at))["kit"]) for _ in range(count)]
    for kit in restricted:
        readers = [NURSE.person, COORDINATOR.person]
        worker.done(COORDINATOR, "restrictions", {"kit": kit, "readers": readers})
    return Kits(unreported=kits, restricted=restricted, cards=cards)


def cases(database: psycopg.Connection, worker: Worker, kits: Kits) -> list[Case]:
    """Everybody who could want to find out whether there is a kit, and how they would."""

    def asks(
        name: str, make: Callable[[str], Ask], there: Sequence[str] = kits.unreported, status: int = 404
    ) -> Case:
        return Case(
            name=name,
            there=lambda: make(random.choice(there)),
            nowhere=lambda: make(new_number()),
            status=status,
        )

    def api(who: Actor, path: str) -> Callable[[str], Ask]:
        return lambda kit: worker.get(who, f"/api/kits/{kit}{path}?purpose=court")

    def page(who: Actor) -> Callable[[str], Ask]:
        return lambda kit: worker.get(who, f"/kits/{kit}?for=scan", accept="text/html")

    def accept(kit: str) -> Ask:
        return worker.post(OTHER_NURSE, "hand-overs/acceptances", {"packages": refs(kit, 1)})

    def request(kit: str) -> Ask:
        pv = f"PV.99.L9.{random.randrange(10**6):06}/2026"
        return worker.post(OFFICER, "requests", {"pv": pv, "centre": CENTRE, "kit": kit})

    return [
        asks("officer, a kit nobody reported", api(OFFICER, "")),
        asks("other centre's nurse, a kit", api(OTHER_NURSE, "")),
        asks("magistrate, a custody trail", api(MAGISTRATE, "/custody-trail")),
        asks("officer, a scan", lambda kit: worker.get(OFFICER, f"/api/scan?code={kit}")),
        asks("other centre's nurse, the page of a kit", page(OTHER_NURSE)),
        asks("other centre's nurse, to accept a package", accept),
        asks("officer, a request that names a kit", request, status=202),
        asks("own centre, a kit restricted to others", api(NURSE_2, ""), kits.restricted),
        _cards(database, worker, kits),
    ]


def _cards(database: psycopg.Connection, worker: Worker, kits: Kits) -> Case:
    """A card's code with a wrong second number, and a code that nobody has."""

    def enter(code: str) -> Ask:
        form = urlencode({"code": code, "secret": f"{random.randrange(10**8):08}"})
        headers = {"content-type": "application/x-www-form-urlencoded", "origin": worker.base_url}
        return "POST", "/v", form.encode(), headers | {"accept": "text/html"}

    def nobodys() -> str:
        while True:
            if code := card.issue_code(secrets.token_bytes(15)):
                return card.written_code(code)

    def forget() -> None:
        database.execute("DELETE FROM desk.attempt")  # or the limit of attempts would be measured

    return Case(
        name="anybody, the code of a card",
        status=409,
        there=lambda: enter(random.choice(kits.cards)),
        nowhere=lambda: enter(nobodys()),
        before=forget,
    )


# --- measuring --------------------------------------------------------------------------------------------


def measure(worker: Worker, case: Case, pairs: int) -> tuple[list[float], list[float]]:
    """Milliseconds of the answers about what is there and about what never was, asked in turns."""
    times: tuple[list[float], list[float]] = [], []
    told: list[set[tuple[int, int]]] = [set(), set()]
    for pair in range(WARMING + pairs):
        for which in random.sample((0, 1), 2):
            case.before()
            ask = (case.there, case.nowhere)[which]()
            begin_ = time.perf_counter()
            status, body = worker.send(ask)
            took = (time.perf_counter() - begin_) * 1000
            told[which].add((status, len(re.sub(rb'name="key" value="[^"]*"', b"", body))))
            if pair >= WARMING:
                times[which].append(took)
    if told[0] != told[1] or {status for status, _ in told[0]} != {case.status} or len(told[0]) != 1:
        raise RuntimeError(f"{case.name}: the answers differ: {told}")
    return times


def area(there: Sequence[float], nowhere: Sequence[float]) -> tuple[float, float]:
    """How often the first took longer than the second, ties halved, and half of its 95 % interval."""
    both = sorted([(t, 1) for t in there] + [(t, 0) for t in nowhere])
    ranks, place = 0.0, 0
    while place < len(both):
        end = place
        while end < len(both) and both[end][0] == both[place][0]:
            end += 1
        mean = (place + 1 + end) / 2
        ranks += mean * sum(is_there for _, is_there in both[place:end])
        place = end
    m, n = len(there), len(nowhere)
    auc = (ranks - m * (m + 1) / 2) / (m * n)
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (m - 1) * (q1 - auc**2) + (n - 1) * (q2 - auc**2)) / (m * n)
    return auc, 1.96 * sqrt(max(variance, 0.0))


def main() -> None:
    parser = argparse.ArgumentParser(description="Whether time tells that a kit exists.")
    parser.add_argument("--pairs", type=int, default=2000, help="pairs of questions for each case")
    parser.add_argument("--kits", type=int, default=20, help="kits there are of each kind")
    parser.add_argument("--only", default="", help="only cases whose name has this in it")
    asked = parser.parse_args()
    rows = []
    with ground() as where:
        asyncio.run(people(where))
        with Worker(where).running() as worker, where.connect() as database:
            for case in cases(database, worker, register(where, worker, asked.kits)):
                if asked.only not in case.name:
                    continue
                gc.disable()
                there, nowhere = measure(worker, case, asked.pairs)
                gc.enable()
                auc, half = area(there, nowhere)
                rows.append(
                    [
                        case.name,
                        f"{asked.pairs:,}",
                        f"{median(there):.2f} ms",
                        f"{median(nowhere):.2f} ms",
                        f"{auc:.3f}",
                        f"{auc - half:.3f} to {auc + half:.3f}",
                        "yes" if AIM[0] <= auc <= AIM[1] else "NO",
                    ]
                )
    show(
        "Whether time tells that there is a kit",
        ["who asks, and about what", "pairs", "it is there", "it never was", "area", "95 %", "in 0.45-0.55"],
        rows,
        {"area": "under the ROC curve: how often the kit that is there took longer; 0.5 tells nothing"},
    )


if __name__ == "__main__":
    main()
