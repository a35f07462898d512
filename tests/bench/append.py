"""Appending with the log alive, as a share of inserting the same number of bytes into a plain table.

Three statements, one transaction each, by pgbench, at 1, 8 and 32 clients, in rounds that take turns:

plain    one INSERT into a table with a primary key: what durable writing costs at all on this machine
log      what makes it a log: the trail's head moves on if it is where it was seen, the event's row with all
         its keys and checks, its digest in the queue
append   custody.append, whole: bytes against the trail, who may write, the protocol of all axes, the
         projection, the log

Every commit waits for the disk. The clerk runs beside all three, as a process of its own, and integrates and
signs what the second and third queue; each round begins when the queue is empty.
"""

import argparse
import asyncio
from statistics import median

from tests.bench.ground import Ground, ground, show
from tests.bench.stage import APPEND, TABLES, Clients, open_kits

AIMS = {1: 0.6, 8: 0.6, 32: 0.5}

PLAIN = """
\\set n :n + :step
\\set row :n + :client_id
INSERT INTO bench.plain (bytes) SELECT bytes FROM bench.bytes WHERE n = :row;
"""

LOG = """
\\set i :i + 1
\\set n :n + :step
\\set row :n + :client_id
\\set client :base + :client_id
WITH given AS (
    SELECT 'bench:' || :client AS subject, sha256(bytes) AS digest, bytes FROM bench.bytes WHERE n = :row
), moved AS (
    UPDATE custody.head h SET number = h.number + 1, digest = given.digest, recorded_at = custody.clock()
    FROM given WHERE h.subject = given.subject AND h.number = :i - 1
    RETURNING h.subject, h.number, h.digest, h.recorded_at, given.bytes
), written AS (
    INSERT INTO custody.event (digest, subject, number, trail, kit, type, recorded_at, bytes, person,
                               idempotency_key, ordinal, command)
    SELECT digest, subject, number, 'bench', subject, 'bench', recorded_at, bytes, 'bench',
           'bench-' || :row, 0, digest
    FROM moved
)
INSERT INTO audit.pending (log, digest) SELECT 'events', digest FROM moved;
"""


class Bench:
    """One server, one clerk, and how far each client has come."""

    def __init__(self, where: Ground, clients: Clients, counts: list[int]) -> None:
        self.where = where
        self.clients = clients
        self.base = {count: sum(counts[: counts.index(count)]) for count in counts}
        self.done = {(kind, count): 0 for kind in ("plain", "log", "append") for count in counts}
        self.rows = 0

    def run(self, kind: str, count: int, each: int) -> float:
        """`each` transactions by each of `count` clients: transactions a second."""
        start = self.done[kind, count]
        base = self.base[count]
        if kind == "append":
            for client in range(base, base + count):
                self.clients.stage(client, start + each)
        else:
            self._fill(count * each)
        if kind == "log" and start == 0:
            self._begin_trails(base, count)
        self.where.settle()
        options = [f"--client={count}", f"--jobs={min(count, 2)}", f"--transactions={each}"]
        options += [f"--define=i={start}", f"--define=base={base}"]
        options += [f"--define=n={self.rows - count + 1}", f"--define=step={count}"]
        script = {"plain": PLAIN, "log": LOG, "append": APPEND}[kind]
        before = self._written(kind)
        done = self.where.pgbench(script, options, "service" if kind == "append" else "superuser")
        assert done.count == count * each == self._written(kind) - before, "something was not written"
        self.done[kind, count] += each
        if kind != "append":
            self.rows += count * each
        return done.rate

    def _fill(self, more: int) -> None:
        """Rows of the length of an event, each used once."""
        with self.where.connect() as connection:
            connection.execute(
                "INSERT INTO bench.bytes SELECT n, convert_to(rpad(n || ' ', %s, 'fictional '), 'UTF8')"
                " FROM generate_series(%s::int, %s::int) n",
                [self.clients.event_bytes, self.rows + 1, self.rows + more],
            )
            connection.execute("CHECKPOINT")

    def _begin_trails(self, base: int, count: int) -> None:
        with self.where.connect() as connection:
            connection.execute(
                "INSERT INTO custody.head (subject, number) SELECT 'bench:' || c, 0"
                " FROM generate_series(%s::int, %s::int) c",
                [base, base + count - 1],
            )

    def _written(self, kind: str) -> int:
        table = "bench.plain" if kind == "plain" else "custody.event"
        with self.where.connect() as connection:
            row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert row is not None
        return int(row[0])


def main() -> None:
    parser = argparse.ArgumentParser(description="Appending as a share of a plain INSERT.")
    parser.add_argument("--clients", default="1,8,32", help="how many at once, separated by commas")
    parser.add_argument("--seconds", type=float, default=1.5, help="about how long each measurement takes")
    parser.add_argument("--rounds", type=int, default=4)
    asked = parser.parse_args()
    counts = [int(count) for count in asked.clients.split(",")]
    with ground() as where:
        with where.connect() as connection:
            connection.execute(TABLES)
        clients = Clients(where, asyncio.run(open_kits(where, sum(counts))))
        clients.stage(0, 1)
        with where.clerk():
            bench = Bench(where, clients, counts)
            rates = {count: measure(bench, count, asked.seconds, asked.rounds) for count in counts}
    report(rates, clients.event_bytes)


def measure(bench: Bench, count: int, seconds: float, rounds: int) -> dict[str, list[float]]:
    """The rates of each kind, by turns."""
    each = {}
    for kind in ("plain", "log", "append"):  # not counted: says how many fit into the time
        rate = bench.run(kind, count, 30)
        each[kind] = max(30, round(rate * seconds / count))
    rates: dict[str, list[float]] = {kind: [] for kind in each}
    for _ in range(rounds):
        for kind, transactions in each.items():
            rates[kind].append(bench.run(kind, count, transactions))
    return rates


def report(rates: dict[int, dict[str, list[float]]], event_bytes: int) -> None:
    rows = []
    for count, of in rates.items():
        shares = {
            kind: median(one / plain for one, plain in zip(of[kind], of["plain"], strict=True))
            for kind in ("log", "append")
        }
        rows.append(
            [
                str(count),
                f"{median(of['plain']):,.0f}/s",
                f"{median(of['log']):,.0f}/s",
                f"{shares['log']:.2f}",
                f"{AIMS[count]:.1f}" if count in AIMS else "",
                f"{median(of['append']):,.0f}/s",
                f"{shares['append']:.2f}",
            ]
        )
    heads = ["clients", "plain", "log", "log / plain", "aim", "append", "append / plain"]
    show(
        f"Appending events of {event_bytes} bytes with live integration and signing",
        heads,
        rows,
        {
            "log": "head moved on, event's row, digest queued",
            "append": "custody.append with every check of the protocol",
            "ratios": "medians of the rounds' ratios, not ratios of the medians",
        },
    )


if __name__ == "__main__":
    main()
