"""The supervisor and the command line, with real processes."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from desk.postgres import EmbeddedServer
from desk.serve import TRIES, Child, answers, children_of, listen, pause, supervise
from desk.settings import CannotStart, read
from tests.conftest import Database

WAITS = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
)


def child(program: str, name: str = "The child") -> Child:
    return Child(name=name, command=[sys.executable, "-c", program], environment=dict(os.environ))


def until(what: Callable[[], object], told: str) -> None:
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end, told
        time.sleep(0.02)


class Running:
    """`supervise` in a thread, with what it raised."""

    def __init__(self, children: list[Child], server: EmbeddedServer | None = None) -> None:
        self.stopping = threading.Event()
        self.raised: CannotStart | None = None
        self._thread = threading.Thread(target=self._run, args=(children, server))
        self._thread.start()

    def _run(self, children: list[Child], server: EmbeddedServer | None) -> None:
        try:
            supervise(children, server, self.stopping)
        except CannotStart as error:
            self.raised = error

    def stop(self) -> None:
        self.stopping.set()
        self._thread.join(120)
        assert not self._thread.is_alive()

    def ended(self) -> None:
        self._thread.join(120)
        assert not self._thread.is_alive()


def test_the_pause_doubles_up_to_half_a_minute() -> None:
    assert [pause(failures) for failures in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_a_child_that_is_killed_is_started_again_and_stopped_with_the_rest() -> None:
    waits = child(WAITS)
    running = Running([waits])
    until(lambda: waits.process, "the child never started")
    assert waits.process is not None
    first = waits.process.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: waits.process is not None and waits.process.pid != first, "it was not started again")
    second = waits.process.pid
    running.stop()
    assert running.raised is None
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


def test_a_child_that_never_comes_up_ends_the_service_with_its_name() -> None:
    running = Running([child("raise SystemExit(3)", name="Web worker 1"), child(WAITS)])
    running.ended()
    assert str(running.raised) == "Web worker 1 ended 3 times before it was up; its own output says why."


def test_a_child_that_the_service_can_do_without_is_tried_for_as_long_as_it_takes(
    capfd: pytest.CaptureFixture[str],
) -> None:
    web = child(WAITS, name="Web worker 1")
    clerk = child("raise SystemExit(1)", name="The clerk")
    clerk.without = "Until then nothing is signed."
    running = Running([web, clerk])
    until(lambda: clerk.failures > TRIES, "it was given up")
    assert web.process is not None
    assert web.process.poll() is None
    running.stop()
    assert running.raised is None
    assert "The clerk ended (exit code 1); it starts again in 2 s. Until then nothing is signed." in (
        capfd.readouterr().err
    )


def test_only_the_clerk_may_be_away(database: Database) -> None:
    settings = read(
        {
            "CUSTODY_DATABASE_URL": database.url("service"),
            "CUSTODY_CLERK_DATABASE_URL": database.url("clerk"),
        }
    )
    assert [each.name for each in children_of(settings, 0) if each.without is not None] == ["The clerk"]


def ignores_being_told_to_stop(pid: int) -> bool:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigIgn"], 16) >> (signal.SIGTERM - 1) & 1)


def test_a_child_that_does_not_listen_is_killed_after_the_patience() -> None:
    deaf = Child(name="Deaf", command=[sys.executable, "-c", STUBBORN], environment=dict(os.environ))
    deaf.start(0.0)
    assert deaf.process is not None
    pid = deaf.process.pid
    until(lambda: ignores_being_told_to_stop(pid), "not deaf yet")
    deaf.stop(patience=0.2)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is missing: install util-linux")
def test_a_killed_supervisor_leaves_no_child_behind() -> None:
    program = f"""
import os, sys, threading
from desk.serve import Child, supervise
child = Child(name="The child", command=[sys.executable, "-c", {WAITS!r}], environment=dict(os.environ))
supervise([child], None, threading.Event(), when_up=lambda: print(child.process.pid, flush=True))
"""
    supervisor = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout is not None
    pid = int(supervisor.stdout.readline())
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    until(lambda: not Path(f"/proc/{pid}").exists() or "(zombie)" in status(pid), "the child lives on")


def status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def test_postgres_that_dies_under_the_supervisor_is_started_again(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "data", extra={"fsync": "off"}) as server:
        noted = tmp_path / "data" / "postgres" / "postmaster.pid"
        first = int(noted.read_text().splitlines()[0])
        running = Running([], server)
        os.kill(first, signal.SIGKILL)
        until(
            lambda: int(noted.read_text().splitlines()[0]) != first if noted.exists() else False,
            "not restarted",
        )
        running.stop()
        assert running.raised is None


def test_a_taken_port_of_the_service_is_one_sentence() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CannotStart, match=f"cannot listen on 127.0.0.1 port {port}"):
            listen("127.0.0.1", port)
        assert not answers("127.0.0.1", port)


def test_each_child_is_told_only_the_password_it_needs(database: Database) -> None:
    settings = read(
        {
            "CUSTODY_DATABASE_URL": database.url("service"),
            "CUSTODY_CLERK_DATABASE_URL": database.url("clerk"),
            "CUSTODY_MIGRATOR_DATABASE_URL": database.url("migrator"),
            "CUSTODY_WORKERS": "3",
        }
    )
    *web, clerk = children_of(settings, 0)
    assert len(web) == 3
    for worker in web:
        assert worker.environment["CUSTODY_DATABASE_URL"] == database.url("service")
        assert "CUSTODY_CLERK_DATABASE_URL" not in worker.environment
        assert "CUSTODY_MIGRATOR_DATABASE_URL" not in worker.environment
    assert clerk.environment["CUSTODY_CLERK_DATABASE_URL"] == database.url("clerk")
    assert "CUSTODY_MIGRATOR_DATABASE_URL" not in clerk.environment


def custody(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CUSTODY_")}
    return subprocess.run(
        [sys.executable, "-m", "desk.cli", *arguments],
        env={**kept, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "settings", "told"),
    [
        (["serve"], {"CUSTODY_PROT": "1"}, "the nearest one is CUSTODY_PORT"),
        (["serve"], {"CUSTODY_DATA": "/dev/null/data"}, "cannot be used"),
        (["serve"], {"CUSTODY_ISSUERS": __file__}, "CUSTODY_ISSUERS: The file of issuers is not strict JSON"),
        (["clerk"], {}, "custody serve runs the clerk itself"),
        (["demo"], {}, "set CUSTODY_DEMO=fictional"),
        (
            ["database", "migrate"],
            {"CUSTODY_DATABASE_URL": "postgresql://db/x"},
            "CUSTODY_MIGRATOR_DATABASE_URL",
        ),
        (["serve"], {"CUSTODY_DATABASE_URL": "postgresql://127.0.0.1:1/x"}, "custody database prepare"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_a_failing_exit_code(
    arguments: list[str], settings: dict[str, str], told: str
) -> None:
    done = custody(*arguments, **settings)
    assert done.returncode == 1
    assert done.stderr.startswith("custody: ")
    assert done.stderr.count("\n") == 1
    assert told in done.stderr


def test_a_locked_data_folder_stops_a_second_service_at_once(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "data", extra={"fsync": "off"}):
        done = custody("serve", CUSTODY_DATA=str(tmp_path / "data"))
    assert done.returncode == 1
    assert "is locked: another Custody is running on it" in done.stderr


def test_the_embedded_database_is_prepared_by_one_command(tmp_path: Path) -> None:
    done = custody("database", "prepare", CUSTODY_DATA=str(tmp_path / "data"))
    assert (done.returncode, done.stdout) == (0, "The embedded database is prepared and migrated.\n"), (
        done.stderr
    )


def test_another_server_is_prepared_and_migrated_with_the_passwords_of_the_settings(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "data", extra={"fsync": "off"}) as server:
        settings = {
            "CUSTODY_DATABASE_URL": server.url("custody_service", "elsewhere"),
            "CUSTODY_CLERK_DATABASE_URL": server.url("custody_clerk", "elsewhere"),
            "CUSTODY_MIGRATOR_DATABASE_URL": server.url("custody_migrator", "elsewhere"),
        }
        superuser = server.url("postgres", "postgres").replace("+psycopg", "")
        for arguments in (["database", "prepare", "--superuser", superuser], ["database", "migrate"]):
            done = custody(*arguments, **settings)
            assert done.returncode == 0, done.stderr
