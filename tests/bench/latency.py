"""How long from an event's commit until a signed checkpoint covers it, while 500 events arrive a second.

An open loop: pgbench begins custody.append calls at random moments, as many a second as asked, whether or
not earlier ones came back; its log says when each was committed. A reader asks every few milliseconds for
the size of the largest signed checkpoint, and a checkpoint counts from when that reader sees it. The clerk
runs as a process of its own. The first two seconds do not count.
"""

import argparse
import asyncio
import threading
import time
from bisect import bisect_right
from statistics import quantiles

from tests.bench.ground import Ground, Run, ground, show, wait_for
from tests.bench.stage import APPEND, TABLES, Clients, open_kits

AIM = 500.0  # milliseconds, at the 99th percentile
CLIENTS = 8
WARMING = 2.0  # seconds
LOOK = 0.005  # seconds between two looks of the reader

INDEXES = """
SELECT s.client, s.i, l.index
FROM bench.staged s JOIN audit.leaf l ON l.log = 'events' AND l.digest = sha256(s.bytes)
"""


class Reader:
    """Notes when each signed size was first seen."""

    def __init__(self, where: Ground) -> None:
        self._where = where
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.sizes: list[int] = []
        self.times: list[float] = []

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _look(self) -> None:
        with self._where.connect("service") as connection:
            while not self._stopping.wait(LOOK):
                row = connection.execute(
                    "SELECT size FROM audit.checkpoint WHERE log = 'events' ORDER BY size DESC LIMIT 1"
                ).fetchone()
                if row is not None and (not self.sizes or row[0] > self.sizes[-1]):
                    self.sizes.append(row[0])
                    self.times.append(time.time())


def main() -> None:
    parser = argparse.ArgumentParser(description="From commit to signed checkpoint.")
    parser.add_argument("--rate", type=int, default=500, help="events a second")
    parser.add_argument("--seconds", type=float, default=20)
    asked = parser.parse_args()
    with ground() as where:
        with where.connect() as connection:
            connection.execute(TABLES)
        clients = Clients(where, asyncio.run(open_kits(where, CLIENTS)))
        each = round(asked.rate * asked.seconds / CLIENTS)
        for client in range(CLIENTS):
            clients.stage(client, each)
        with where.clerk(), Reader(where) as reader:
            where.settle()
            options = [f"--client={CLIENTS}", "--jobs=2", f"--transactions={each}", f"--rate={asked.rate}"]
            run = where.pgbench(APPEND, [*options, "--define=i=0", "--define=base=0"], role="service")
            where.settle()
            with where.connect() as connection:
                last = connection.execute("SELECT max(index) FROM audit.leaf WHERE log = 'events'").fetchone()
            assert last is not None
            wait_for(lambda: reader.sizes[-1] > last[0])
        waits = latencies(where, run, reader, min(WARMING, asked.seconds / 4))
    report(waits, run.rate)


def latencies(where: Ground, run: Run, reader: Reader, warming: float) -> list[float]:
    """Milliseconds from the commit of each event to the first checkpoint that covers it."""
    commits = []
    counted = dict.fromkeys(range(CLIENTS), 0)
    for client, at in run.done:
        counted[client] += 1
        commits.append((at, client, counted[client]))
    begin = min(at for at, _, _ in commits) + warming
    with where.connect() as connection:
        indexes = {(client, i): index for client, i, index in connection.execute(INDEXES)}
    waits = []
    for at, client, i in commits:
        first = bisect_right(reader.sizes, indexes[client, i])
        assert first < len(reader.sizes), "an event that was committed is under no signature"
        if at >= begin:
            waits.append((reader.times[first] - at) * 1000)
    return waits


def report(waits: list[float], rate: float) -> None:
    cuts = quantiles(waits, n=100)
    show(
        f"From commit to signed checkpoint, {rate:,.0f} events a second arriving",
        ["events", "p50", "p90", "p99", "largest", "aim (p99)"],
        [
            [
                f"{len(waits):,}",
                *(f"{value:,.0f} ms" for value in (cuts[49], cuts[89], cuts[98], max(waits), AIM)),
            ]
        ],
        {"checkpoints": "signed with Ed25519 and ML-DSA-44, seen by a reader of the database"},
    )


if __name__ == "__main__":
    main()
