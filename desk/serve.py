"""`custody serve`: one process that keeps the others running.

    supervisor ─┬─ PostgreSQL            (only where CUSTODY_DATABASE_URL is not set)
                ├─ web worker × N        (uvicorn on one shared listening socket)
                └─ custody clerk         (integrator, signer, scheduler)

A child that ends is started again, after a pause that doubles from half a second to half a
minute; a web worker that never came up at all ends the service with the reason above it in
the output. The clerk is tried for as long as it takes: a log that cannot be signed must not
keep a nurse from recording, and what is recorded meanwhile is signed afterwards. PostgreSQL
that ends is restarted, the others follow by themselves because their connections break.

Stopping (Ctrl-C, TERM, HUP) goes in the order web, clerk, PostgreSQL, so
that nobody loses the database under a request.

Each child knows only what it needs: a web worker signs in as custody_service and never
sees the clerk's or the migrator's password.
"""

import contextlib
import dataclasses
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final

import uvicorn

from desk import database, discreet
from desk.postgres import SUPERUSER, EmbeddedServer, FolderLocked, dies_with_us
from desk.settings import CannotStart, Settings, environment_of, read
from desk.wire import Wire

STEADY: Final = 10.0  # seconds a child must live to count as having come up
PATIENCE: Final = 30.0  # seconds between asking a child to stop and killing it
TRIES: Final = 3  # starts of a child or of PostgreSQL before giving up


def pause(failures: int) -> float:
    """Seconds to wait before a child that ended `failures` times in a row starts again."""
    return float(min(0.5 * 2 ** (failures - 1), 30.0))


@dataclass(kw_only=True, slots=True)
class Child:
    """One child process and how it fared."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    descriptors: Sequence[int] = ()
    """File descriptors the child inherits."""
    without: str | None = None
    """What the service does without this child, in a sentence; None: it ends if the child never comes up."""
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    failures: int = field(default=0, init=False)
    """Ends in a row, each before the child was steady."""
    ever_steady: bool = field(default=False, init=False)
    started: float = field(default=0.0, init=False)
    next_start: float = field(default=0.0, init=False)

    def start(self, now: float) -> None:
        # A session of its own: Ctrl-C reaches the supervisor alone, which stops in order.
        self.process = subprocess.Popen(  # noqa: S603 (our own programs, no shell)
            [*dies_with_us("TERM"), *self.command],
            stdin=subprocess.DEVNULL,
            env=dict(self.environment),
            pass_fds=tuple(self.descriptors),
            start_new_session=True,
        )
        self.started = now

    def look(self, now: float) -> None:
        """Start the child if it is due; note its end. Raises CannotStart when it never comes up."""
        if self.process is None:
            if now >= self.next_start:
                self.start(now)
            return
        ended = self.process.poll()
        if now - self.started >= STEADY:
            self.failures, self.ever_steady = 0, True
        if ended is None:
            return
        self.process = None
        self.failures += 1
        if self.without is None and not self.ever_steady and self.failures >= TRIES:
            raise CannotStart(f"{self.name} ended {TRIES} times before it was up; its own output says why.")
        self.next_start = now + pause(self.failures)
        how = f"signal {-ended}" if ended < 0 else f"exit code {ended}"
        meanwhile = "" if self.without is None else f" {self.without}"
        say(f"{self.name} ended ({how}); it starts again in {pause(self.failures):g} s.{meanwhile}")

    def stop(self, patience: float = PATIENCE) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            say(f"{self.name} did not stop within {patience:g} s and is killed.")
            self.process.kill()
            self.process.wait()
        self.process = None


def say(sentence: str) -> None:
    print(f"custody: {sentence}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C, TERM and HUP set. Only in the main thread."""
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def supervise(
    children: Sequence[Child],
    server: EmbeddedServer | None,
    stopping: threading.Event,
    up: Callable[[], bool] = lambda: True,
    when_up: Callable[[], None] = lambda: None,
) -> None:
    """Keep `children` and `server` running until `stopping` is set; then stop the children in order.

    `when_up` is called once, as soon as `up` says so. Raises CannotStart when PostgreSQL is dead
    and cannot be restarted, or a child that is needed never comes up. The caller stops the server.
    """
    told = False
    try:
        while not stopping.is_set():
            if server is not None and not server.running():
                _restart(server, stopping)
            for child in children:
                child.look(time.monotonic())
            if not told and up():
                told = True
                when_up()
            stopping.wait(0.1)
    finally:
        for child in children:
            child.stop()


def _restart(server: EmbeddedServer, stopping: threading.Event) -> None:
    for attempt in range(1, TRIES + 1):
        say("PostgreSQL ended; it is started again.")
        try:
            server.restart()
        except CannotStart as error:
            if attempt == TRIES:
                raise CannotStart(f"PostgreSQL ended and cannot be started again: {error}") from error
            if stopping.wait(pause(attempt)):
                return
        else:
            return


@contextlib.contextmanager
def reachable(settings: Settings, *, alone: bool = False) -> Iterator[tuple[Settings, EmbeddedServer | None]]:
    """Settings that name a database, and the embedded server if this process runs it.

    Without CUSTODY_DATABASE_URL the embedded server is started, prepared and migrated here; a
    server that another process already runs on the same data folder is used as it is, or
    refused where this process must be the only one (`alone`).
    """
    if settings.database_url is not None:
        yield settings, None
        return
    server = EmbeddedServer(settings.data)
    try:
        server.start()
    except FolderLocked:
        if alone:
            raise
        server.join()
        yield _with_addresses(settings, server), None
        return
    try:
        database.prepare(server.url(SUPERUSER, "postgres"), server.role_passwords)
        database.migrate(server.url("custody_migrator"))
        yield _with_addresses(settings, server), server
    finally:
        server.stop()


def _with_addresses(settings: Settings, server: EmbeddedServer) -> Settings:
    return dataclasses.replace(
        settings,
        database_url=server.url("custody_service"),
        clerk_database_url=server.url("custody_clerk"),
        migrator_database_url=server.url("custody_migrator"),
    )


def listen(host: str, port: int) -> socket.socket:
    """The socket that all web workers accept from. Raises CannotStart when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
        opened.listen(1024)
    except OSError as error:
        opened.close()
        raise CannotStart(
            f"Custody cannot listen on {host} port {port} ({error.strerror}): stop the program that uses it,"
            f" or choose another with CUSTODY_HOST and CUSTODY_PORT."
        ) from error
    return opened


def answers(host: str, port: int) -> bool:
    """Whether a web worker answers at all; any status will do."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared, not bound)
    connection = http.client.HTTPConnection(shown, port, timeout=1)
    try:
        connection.request("GET", "/", headers={"Accept": "text/html"})
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _check_issuers(settings: Settings) -> None:
    """Say once what is wrong with the file of issuers, before every worker does. Raises CannotStart."""
    from desk.trust import IssuersUnreadable, read_issuers  # here, as above

    try:
        if settings.issuers is not None:
            read_issuers(settings.issuers)
    except IssuersUnreadable as fault:
        raise CannotStart(f"CUSTODY_ISSUERS: {fault}") from None


def serve(settings: Settings, before: Callable[[Settings], Sequence[str]] = lambda settings: ()) -> None:
    """Run the service until it is told to stop. `before` runs once the database is there and
    returns lines to print when the first worker answers. Raises CannotStart."""
    from desk.anchoring import read_policy  # here, because each worker imports this file too

    read_policy(settings.witnesses)  # a mistake in it is told to whoever starts the service, not to the clerk
    _check_issuers(settings)
    with contextlib.ExitStack() as stack:
        stopping = stack.enter_context(stop_signals())
        ready, server = stack.enter_context(reachable(settings, alone=True))
        opened = stack.enter_context(listen(settings.host, settings.port))
        assert ready.database_url is not None, "reachable names a database"
        database.refuse_unready(ready.database_url)
        lines = [f"Custody is at {ready.base_url} (Ctrl-C stops it).", *before(ready)]
        supervise(
            children_of(ready, opened.fileno()),
            server,
            stopping,
            up=lambda: answers(settings.host, settings.port),
            when_up=lambda: print("\n".join(lines), flush=True),
        )


def children_of(settings: Settings, listening: int) -> list[Child]:
    """The web workers and the clerk, each with the settings it needs and no others."""
    web = dataclasses.replace(settings, clerk_database_url=None, migrator_database_url=None)
    clerk = dataclasses.replace(settings, migrator_database_url=None)
    made = [
        Child(
            name=f"Web worker {number}",
            command=[sys.executable, "-m", "desk.serve", str(listening)],
            environment=_child_environment(web),
            descriptors=[listening],
        )
        for number in range(1, settings.workers + 1)
    ]
    if settings.clerk_database_url is not None:
        made.append(
            Child(
                name="The clerk",
                command=[sys.executable, "-m", "desk.cli", "clerk"],
                environment=_child_environment(clerk),
                without="Until then nothing is signed; everything is recorded, and signed afterwards.",
            )
        )
    return made


def _child_environment(settings: Settings) -> dict[str, str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith("CUSTODY_")}
    return {**others, **environment_of(settings)}


def web(listening: int) -> None:
    """One web worker on the socket with file descriptor `listening`."""
    discreet.settle()
    try:
        uvicorn.Server(worker(read())).run(sockets=[socket.socket(fileno=listening)])
    except CannotStart as refused:
        say(str(refused))
        sys.exit(1)


def worker(settings: Settings, app: Any = "desk.app:create_app", **changes: Any) -> uvicorn.Config:
    """How uvicorn runs a worker: `app` is a factory's name, or an application."""
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        http=Wire,
        ws="none",
        log_config=None,  # desk.discreet says what is written
        access_log=False,  # a path holds a kit's number; reads have their own log
        server_header=False,
        # Without a proxy that is named, nobody's word about addresses is taken, not even this machine's.
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        timeout_keep_alive=5,
        timeout_graceful_shutdown=20,
        **changes,
    )


if __name__ == "__main__":
    web(int(sys.argv[1]))
