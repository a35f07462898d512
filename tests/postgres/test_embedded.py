"""The embedded server: started, stopped, killed, and everything that may stand in its way.

Each test runs a real server of its own. What must survive is asked of PostgreSQL itself.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from desk.database import libpq
from desk.postgres import SUPERUSER, Binaries, EmbeddedServer, FolderLocked, wheel_binaries
from desk.settings import CannotStart

FAST = {"fsync": "off"}


def ask(server: EmbeddedServer, query: str) -> object:
    with psycopg.connect(libpq(server.url(SUPERUSER, "postgres")), autocommit=True) as connection:
        answer = connection.execute(query)
        row = answer.fetchone() if answer.description else None
    return row[0] if row else None


def write_a_row(server: EmbeddedServer) -> None:
    ask(server, "CREATE TABLE written (x int)")
    ask(server, "INSERT INTO written VALUES (41)")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    until = time.monotonic() + 30
    while alive(pid):
        assert time.monotonic() < until, f"process {pid} does not end"
        time.sleep(0.02)


def postmaster(folder: Path) -> int:
    return int((folder / "postgres" / "postmaster.pid").read_text().splitlines()[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def supervisor(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs a server on `folder` until it is told to stop."""
    script = """
        import sys, threading
        from pathlib import Path
        from desk.postgres import EmbeddedServer
        from desk.serve import stop_signals
        with stop_signals() as stopping, EmbeddedServer(Path(sys.argv[1]), extra={"fsync": "off"}) as server:
            print("ready", flush=True)
            stopping.wait()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.stdout.close()
    if process.poll() is None:
        process.terminate()
    process.wait(60)


def test_a_first_start_makes_a_database_that_asks_everyone_for_a_password(folder: Path) -> None:
    with EmbeddedServer(folder, extra=FAST) as server:
        assert ask(server, "SHOW server_version_num") is not None
        assert ask(server, "SHOW listen_addresses") == "127.0.0.1"
        assert ask(server, "SHOW unix_socket_directories") == ""
        assert ask(server, "SHOW data_checksums") == "on"
        assert ask(server, "SHOW server_encoding") == "UTF8"
        assert ask(server, "SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules") == (
            "scram-sha-256"
        )
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(host="127.0.0.1", port=server.port, user=SUPERUSER, dbname="postgres")


def test_nobody_else_on_the_machine_can_read_the_data_folder_or_the_passwords(folder: Path) -> None:
    with EmbeddedServer(folder, extra=FAST):
        for inside in (folder, folder / "postgres", folder / "secrets.json", folder / "postgres.log"):
            assert stat.S_IMODE(inside.stat().st_mode) & 0o077 == 0, inside
        assert not (folder / "password.new").exists()


def test_a_folder_that_exists_keeps_its_mode_and_so_do_those_above_it(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with EmbeddedServer(closed / "data", extra=FAST):
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_a_second_start_continues_on_the_same_data_and_port(folder: Path) -> None:
    with EmbeddedServer(folder, extra=FAST) as first:
        write_a_row(first)
        port = first.port
    with EmbeddedServer(folder, extra=FAST) as second:
        assert second.port == port
        assert ask(second, "SELECT x FROM written") == 41


def test_stopping_is_a_clean_shutdown_and_leaves_no_process(folder: Path) -> None:
    with EmbeddedServer(folder, extra=FAST):
        pid = postmaster(folder)
    assert not alive(pid)
    assert "database system is shut down" in (folder / "postgres.log").read_text()


def test_the_log_of_the_server_never_shows_the_values_of_a_row(folder: Path) -> None:
    with EmbeddedServer(folder, extra=FAST) as server:
        ask(server, "CREATE TABLE kept (told text CHECK (told <> 'a secret of nobody'))")
        with pytest.raises(psycopg.errors.CheckViolation):
            ask(server, "INSERT INTO kept VALUES ('a secret of nobody')")
    assert "violates check constraint" in (folder / "postgres.log").read_text()
    assert "a secret of nobody" not in (folder / "postgres.log").read_text()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_supervisor_stops_the_server(
    folder: Path, supervisor: subprocess.Popen[str], how: signal.Signals
) -> None:
    pid = postmaster(folder)
    supervisor.send_signal(how)
    assert supervisor.wait(60) == 0
    assert not alive(pid)
    assert "database system is shut down" in (folder / "postgres.log").read_text()


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is missing: install util-linux")
def test_a_killed_supervisor_takes_the_server_down_with_it(
    folder: Path, supervisor: subprocess.Popen[str]
) -> None:
    pid = postmaster(folder)
    supervisor.kill()
    supervisor.wait()
    wait_until_gone(pid)


def test_after_a_kill_of_everything_the_next_start_recovers_what_was_committed(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.start()
    write_a_row(server)
    pid = postmaster(folder)
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    server.stop()
    with EmbeddedServer(folder) as again:
        assert ask(again, "SELECT x FROM written") == 41


def test_a_server_that_died_is_restarted_under_the_same_lock(folder: Path) -> None:
    with EmbeddedServer(folder, extra=FAST) as server:
        write_a_row(server)
        os.kill(postmaster(folder), signal.SIGKILL)
        wait_until_gone(postmaster(folder))
        assert not server.running()
        server.restart()
        assert ask(server, "SELECT x FROM written") == 41
        with pytest.raises(FolderLocked):
            EmbeddedServer(folder).start()


def test_a_server_left_over_by_a_lost_supervisor_is_stopped_before_a_new_one_starts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without setpriv, as on a machine that has none, the server outlives its supervisor.
    monkeypatch.setattr("desk.postgres.dies_with_us", lambda name: [])
    lost = EmbeddedServer(folder, extra=FAST)
    lost.start()
    write_a_row(lost)
    pid = postmaster(folder)
    assert lost._lock is not None
    os.close(lost._lock)  # what the end of its process would do
    lost._lock = None
    with EmbeddedServer(folder, extra=FAST) as server:
        assert postmaster(folder) != pid
        assert ask(server, "SELECT x FROM written") == 41
    lost.stop()
    assert not alive(pid)


def test_a_process_number_that_now_belongs_to_another_program_is_left_alone(folder: Path) -> None:
    with EmbeddedServer(folder, extra=FAST):
        kept = (folder / "postgres" / "postmaster.pid").read_text().splitlines()
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        (folder / "postgres" / "postmaster.pid").write_text("\n".join([str(bystander.pid), *kept[1:]]))
        with EmbeddedServer(folder, extra=FAST) as server:
            assert ask(server, "SELECT 1") == 1
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_an_interrupted_first_start_is_made_again(folder: Path) -> None:
    with EmbeddedServer(folder, extra=FAST):
        pass
    # As if the machine had gone down in initdb: the marker and the passwords are there, no database.
    (folder / "postgres").rename(folder / "postgres.new")
    (folder / "postgres.new" / "PG_VERSION").unlink()
    with EmbeddedServer(folder, extra=FAST) as server:
        assert ask(server, "SELECT 1") == 1
    assert not (folder / "postgres.new").exists()


def test_a_locked_data_folder_is_refused(folder: Path, supervisor: subprocess.Popen[str]) -> None:
    with pytest.raises(FolderLocked, match="is locked: another Custody is running on it"):
        EmbeddedServer(folder).start()
    assert alive(postmaster(folder))


def test_a_server_that_another_process_runs_can_be_joined_and_is_left_running(
    folder: Path, supervisor: subprocess.Popen[str]
) -> None:
    guest = EmbeddedServer(folder)
    guest.join()
    assert ask(guest, "SELECT 1") == 1
    guest.stop()
    assert alive(postmaster(folder))


def test_a_foreign_data_folder_is_refused_and_left_untouched(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").write_text("not ours")
    with pytest.raises(CannotStart, match=r'holds something else \(such as "thesis.txt"\)'):
        EmbeddedServer(folder).start()
    assert [entry.name for entry in folder.iterdir()] == ["thesis.txt"]


def test_a_file_in_place_of_the_data_folder_is_refused(folder: Path) -> None:
    folder.write_text("")
    with pytest.raises(CannotStart, match="but it is a file"):
        EmbeddedServer(folder).start()


def test_a_taken_port_is_refused_by_number(folder: Path) -> None:
    with EmbeddedServer(folder, extra=FAST) as server:
        port = server.port
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(CannotStart, match=f"Port {port}, .* is taken by another program"):
            EmbeddedServer(folder, extra=FAST).start()
    with EmbeddedServer(folder, extra=FAST) as server:
        assert server.port == port


def test_data_of_another_major_version_is_refused_and_left_as_it_was(folder: Path) -> None:
    with EmbeddedServer(folder, wheel_binaries(16), extra=FAST) as server:
        write_a_row(server)
    with pytest.raises(
        CannotStart, match=r"made by PostgreSQL 16, but the programs at hand are PostgreSQL 18"
    ):
        EmbeddedServer(folder, wheel_binaries(18), extra=FAST).start()
    with EmbeddedServer(folder, wheel_binaries(16), extra=FAST) as server:
        assert ask(server, "SELECT x FROM written") == 41


def test_data_whose_marker_lies_about_the_version_is_refused_too(folder: Path) -> None:
    with EmbeddedServer(folder, wheel_binaries(16), extra=FAST):
        pass
    marker = folder / "custody-data.json"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "postgres_major": 18}))
    with pytest.raises(CannotStart, match="is of PostgreSQL 16, but the programs at hand are PostgreSQL 18"):
        EmbeddedServer(folder, wheel_binaries(18)).start()


def test_debians_postgres_runs_under_the_same_supervisor(folder: Path, debian_postgres: Binaries) -> None:
    with EmbeddedServer(folder, debian_postgres, extra=FAST) as server:
        assert str(ask(server, "SHOW server_version")).startswith("15.")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": "custody-data/1"}', "\0"])
def test_a_damaged_marker_is_one_sentence(folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / "custody-data.json").write_text(content)
    with pytest.raises(CannotStart, match="cannot be read; bring it back from a backup"):
        EmbeddedServer(folder).start()


def test_passwords_that_others_may_read_are_refused(folder: Path) -> None:
    with EmbeddedServer(folder, extra=FAST):
        pass
    (folder / "secrets.json").chmod(0o644)
    with pytest.raises(CannotStart, match="may be read by others"):
        EmbeddedServer(folder).start()


def test_lost_passwords_are_never_made_anew_over_an_existing_database(folder: Path) -> None:
    with EmbeddedServer(folder, extra=FAST):
        pass
    (folder / "secrets.json").unlink()
    with pytest.raises(CannotStart, match="are gone: bring the file back"):
        EmbeddedServer(folder).start()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB: too small for a first start."""
    mounted = tmp_path / "tiny"
    mounted.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(mounted)],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip("No small disk to fill: run this test as root on Linux, where a tmpfs can be mounted")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_a_disk_that_fills_during_the_first_start_is_one_sentence_and_leaves_no_server(
    tiny_disk: Path,
) -> None:
    with pytest.raises(CannotStart, match=r"The disk that holds .* is full: make room and start again"):
        EmbeddedServer(tiny_disk / "data").start()
    assert not (tiny_disk / "data" / "postgres").exists()


def test_a_disk_full_to_the_last_byte_is_the_same_sentence(tiny_disk: Path) -> None:
    with contextlib.suppress(OSError), (tiny_disk / "filler").open("wb") as filler:
        while True:
            filler.write(b"\0" * 65536)
            filler.flush()
    with pytest.raises(CannotStart, match=r"The disk that holds .* is full: make room and start again"):
        EmbeddedServer(tiny_disk / "data").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user needs no other account")
def test_root_without_user_namespaces_is_told_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        CannotStart, match="does not run as root, and this machine does not allow user namespaces"
    ):
        EmbeddedServer(folder).start()


AS_NOBODY = """
    import os, sys
    from pathlib import Path
    import psycopg
    from desk.database import libpq
    from desk.postgres import EmbeddedServer
    assert os.geteuid() != 0
    for turn in range(2):
        with EmbeddedServer(Path(sys.argv[1])) as server:
            with psycopg.connect(libpq(server.url("postgres", "postgres"))) as connection:
                print(connection.execute("SELECT 1").fetchone())
"""


@pytest.mark.skipif(
    os.geteuid() != 0, reason="every other test of this file already runs as an ordinary user"
)
def test_an_ordinary_user_starts_it_too() -> None:
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    readable = [*become, sys.executable, "-c", "import desk.postgres"]
    if subprocess.run(readable, capture_output=True, check=False).returncode == 0:
        os.chown(place, 65534, 65534)
    else:
        # The programs lie in a closed folder of root's: an ordinary user who may read them.
        become = ["unshare", "--user", "--map-user=65534", "--map-group=65534"]
    try:
        done = subprocess.run(
            [*become, sys.executable, "-c", textwrap.dedent(AS_NOBODY), str(place / "data")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "(1,)\n(1,)\n"), done.stderr
    finally:
        shutil.rmtree(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder that belongs to somebody else")
def test_a_data_folder_of_another_user_is_refused(folder: Path) -> None:
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    with pytest.raises(CannotStart, match="belongs to another user"):
        EmbeddedServer(folder).start()
