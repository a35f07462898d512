"""What the benchmarks stand on: a PostgreSQL as in production, a clerk beside it, and a table at the end."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psycopg
from rich.console import Console
from rich.table import Table

from desk import database
from desk.postgres import DATABASE, SUPERUSER, EmbeddedServer

SETTINGS = {"max_connections": "100"}  # else as in production: every commit waits for the disk
PATIENCE = 60.0
WARM = 10  # transactions of a client that do not count


@dataclass(frozen=True, slots=True)
class Ground:
    """A migrated database on a server of its own."""

    server: EmbeddedServer
    folder: Path

    def url(self, role: str) -> str:
        """For SQLAlchemy: the role is "superuser", "service" or "clerk"."""
        return self.server.url(SUPERUSER if role == "superuser" else f"custody_{role}", DATABASE)

    def connect(self, role: str = "superuser") -> psycopg.Connection:
        """A plain connection in autocommit; a superuser's may change the schema."""
        connection = psycopg.connect(database.libpq(self.url(role)), autocommit=True)
        if role == "superuser":
            connection.execute("SET custody.maintenance = 'on'")
        return connection

    def pgbench(self, script: str, options: Sequence[str], role: str = "superuser") -> "Run":
        """Run a script of pgbench's; `options` say how often and by how many."""
        (self.folder / "script.sql").write_text(script)
        command = [
            str(self.server.binaries.folder / "pgbench"),
            "--no-vacuum",
            "--protocol=prepared",
            "--log",
        ]
        command += ["--file=script.sql", *options, database.libpq(self.url(role))]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        count = re.search(r"^number of transactions actually processed: (\d+)", done.stdout, re.MULTILINE)
        if done.returncode != 0 or count is None:
            raise RuntimeError(f"pgbench did not come through: {done.stderr[-2000:]}")
        return Run(int(count[1]), [*self._logged()])

    def _logged(self) -> Iterator["Done"]:
        """The transactions in the logs of pgbench, which are removed."""
        for path in self.folder.glob("pgbench_log.*"):
            for line in path.read_text().splitlines():
                client, _, _, _, seconds, microseconds, *_ = (int(word) for word in line.split())
                yield Done(client, seconds + microseconds / 1e6)
            path.unlink()

    @contextmanager
    def clerk(self) -> Iterator[None]:
        """The real clerk, in a process of its own, leading."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CUSTODY_")},
            "CUSTODY_DATA": str(self.folder / "clerk"),
            "CUSTODY_DATABASE_URL": self.url("service").replace("+psycopg", ""),
            "CUSTODY_CLERK_DATABASE_URL": self.url("clerk").replace("+psycopg", ""),
            "CUSTODY_ORIGIN": "custody.example/bench",
        }
        command = [sys.executable, "-m", "desk.cli", "clerk"]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        said: list[str] = []
        threading.Thread(target=_listen, args=(process, said), daemon=True).start()
        try:
            wait_for(lambda: any("the clerk leads" in line for line in said) or process.poll() is not None)
            if process.poll() is not None:
                raise RuntimeError("".join(said))
            yield
            if process.poll() is not None:
                raise RuntimeError("".join(said))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()

    def settle(self) -> None:
        """Wait until the clerk has integrated all that was queued."""
        with self.connect() as connection:
            wait_for(lambda: connection.execute("SELECT count(*) FROM audit.pending").fetchone() == (0,))


class Done(NamedTuple):
    """A transaction that was committed: by which client, when (seconds since 1970)."""

    client: int
    at: float


@dataclass(frozen=True, slots=True)
class Run:
    """What pgbench did: how many transactions, and each of them in the order of its client."""

    count: int
    done: list[Done]

    @property
    def rate(self) -> float:
        """Transactions a second while every client was at work and had its statements planned.

        A session's first calls compile and plan what it will use for hours; a short run must not count them.
        """
        moments: dict[int, list[float]] = {}
        for client, at in self.done:
            moments.setdefault(client, []).append(at)
        begin = max(of[min(WARM, len(of) - 1)] for of in moments.values())
        end = min(of[-1] for of in moments.values())
        if end <= begin:  # too few to tell
            return self.count / (max(at for _, at in self.done) - min(at for _, at in self.done))
        return sum(begin < at <= end for _, at in self.done) / (end - begin)


@contextmanager
def ground() -> Iterator[Ground]:
    """A server, prepared and migrated; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="custody-bench-"))
    try:
        with EmbeddedServer(folder / "data", extra=SETTINGS) as server:
            database.prepare(server.url(SUPERUSER, "postgres"), server.role_passwords, DATABASE)
            database.migrate(server.url("custody_migrator", DATABASE))
            yield Ground(server, folder)
    finally:
        shutil.rmtree(folder)


def _listen(process: subprocess.Popen[str], said: list[str]) -> None:
    assert process.stderr is not None
    with process.stderr as lines:
        said.extend(iter(lines.readline, ""))


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > end:
            raise TimeoutError("what was waited for did not come within a minute")
        time.sleep(0.01)


def show(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], notes: Mapping[str, str]) -> None:
    """Print a table; `notes` say below it what a word in it means."""
    console = Console(width=110)
    table = Table()
    for number, head in enumerate(heads):
        table.add_column(head, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(f"\n{title}", style="bold", highlight=False)
    console.print(table)
    for word, meaning in notes.items():
        console.print(f"{word}: {meaning}", highlight=False)
