"""The ground every test stands on: one real PostgreSQL per run, a fresh database per test.

CUSTODY_TEST_POSTGRES chooses the major version: 18 (default) or 16 from the wheel, 15 from
Debian. In a template database, migrated once, custody.clock() adds an offset that `advance`
moves, so a story can cover six months without waiting; everything else is as in production.
"""

import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import hypothesis
import psycopg
import pytest
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from desk import database as ground
from desk.postgres import SUPERUSER, Binaries, EmbeddedServer, system_binaries, wheel_binaries
from desk.settings import CannotStart

# How long an example takes says something about the machine, not about the code.
hypothesis.settings.register_profile("custody", deadline=None)
hypothesis.settings.load_profile("custody")

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}
PRODUCTION = "production_template"
MOVABLE = "movable_template"

MOVE_THE_CLOCK = """
SET custody.maintenance = 'on';
CREATE SCHEMA testing;
CREATE TABLE testing.clock_offset (amount interval NOT NULL);
INSERT INTO testing.clock_offset VALUES ('0');
GRANT USAGE ON SCHEMA testing TO custody_owner;
GRANT SELECT ON testing.clock_offset TO custody_owner;
CREATE OR REPLACE FUNCTION custody.clock() RETURNS timestamptz
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
AS 'SELECT clock_timestamp() + (SELECT amount FROM testing.clock_offset)';
"""


def missing(what: str, how: str) -> NoReturn:
    """Skip, saying what is missing; where CI is set, fail: there nothing may be skipped."""
    told = f"{what} is missing: {how}"
    if os.environ.get("CI"):
        pytest.fail(told)
    pytest.skip(told)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser that the tests drive."""
    if not Path("/usr/bin/chromium").exists():
        missing("The browser /usr/bin/chromium", "apt-get install chromium")
    return "/usr/bin/chromium"


@pytest.fixture(scope="session")
def zbarimg() -> str:
    """Path of the second engine that must read our codes."""
    found = shutil.which("zbarimg")
    if found is None:
        missing("zbarimg", "apt-get install zbar-tools")
    return found


@pytest.fixture(scope="session")
def debian_postgres() -> Binaries:
    """Debian's PostgreSQL 15, the oldest version that is supported."""
    try:
        return system_binaries(15)
    except CannotStart:
        missing("PostgreSQL 15", "apt-get install postgresql-15 (Debian 12)")


@pytest.fixture(scope="session")
def binaries(request: pytest.FixtureRequest) -> Binaries:
    """The PostgreSQL this run uses."""
    major = os.environ.get("CUSTODY_TEST_POSTGRES", "18")
    if major == "15":
        debian: Binaries = request.getfixturevalue("debian_postgres")
        return debian
    assert major in ("16", "18"), "CUSTODY_TEST_POSTGRES is 18, 16 or 15"
    return wheel_binaries(int(major))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, binaries: Binaries) -> Iterator[EmbeddedServer]:
    """One PostgreSQL for the whole run, without fsync, with the two templates in it."""
    with EmbeddedServer(tmp_path_factory.mktemp("postgres") / "data", binaries, extra=FAST) as running:
        superuser = running.url(SUPERUSER, "postgres")
        ground.prepare(superuser, running.role_passwords, PRODUCTION)
        ground.migrate(running.url("custody_migrator", PRODUCTION))
        with psycopg.connect(ground.libpq(superuser), autocommit=True) as connection:
            _copy(connection, PRODUCTION, MOVABLE)
        with psycopg.connect(ground.libpq(running.url(SUPERUSER, MOVABLE)), autocommit=True) as connection:
            found = connection.execute("SELECT to_regprocedure('custody.clock()')").fetchone()
            if found != (None,):
                connection.execute(MOVE_THE_CLOCK)
        yield running


def _copy(connection: psycopg.Connection, template: str, name: str) -> None:
    connection.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    )
    ground.limit_connections(connection, name)


@dataclass(frozen=True, kw_only=True)
class Database:
    """One database of one test: its addresses by role ("superuser", "migrator", "service", "clerk",
    "auditor"), for SQLAlchemy and for psycopg."""

    server: EmbeddedServer = field(repr=False)
    name: str

    def url(self, role: str = "service") -> str:
        return self.server.url(SUPERUSER if role == "superuser" else f"custody_{role}", self.name)

    def conninfo(self, role: str = "service") -> str:
        return ground.libpq(self.url(role))

    def connect(self, role: str = "service") -> psycopg.Connection:
        """A plain psycopg connection in autocommit; use it in a `with`."""
        return psycopg.connect(self.conninfo(role), autocommit=True)


def _fresh(server: EmbeddedServer, template: str) -> Iterator[Database]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(ground.libpq(server.url(SUPERUSER, "postgres")), autocommit=True) as connection:
        _copy(connection, template, name)
        yield Database(server=server, name=name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database(server: EmbeddedServer) -> Iterator[Database]:
    """A fresh, migrated database whose clock `advance` can move."""
    yield from _fresh(server, MOVABLE)


@pytest.fixture
def production_database(server: EmbeddedServer) -> Iterator[Database]:
    """A fresh, migrated database exactly as in production: its clock is the real one."""
    yield from _fresh(server, PRODUCTION)


@pytest.fixture
def advance(database: Database) -> Callable[[timedelta], None]:
    """Move the clock of `database` onwards (or back, with a negative step)."""

    def move(step: timedelta) -> None:
        with database.connect("superuser") as connection:
            connection.execute("UPDATE testing.clock_offset SET amount = amount + %s", [step])

    return move


class Engines:
    """Asynchronous SQLAlchemy engines on one database, made at first use."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._made: dict[str, AsyncEngine] = {}

    def of(self, role: str) -> AsyncEngine:
        if role not in self._made:
            self._made[role] = create_async_engine(self._database.url(role))
        return self._made[role]

    @property
    def service(self) -> AsyncEngine:
        return self.of("service")

    @property
    def clerk(self) -> AsyncEngine:
        return self.of("clerk")

    @property
    def migrator(self) -> AsyncEngine:
        return self.of("migrator")

    @property
    def auditor(self) -> AsyncEngine:
        return self.of("auditor")

    @property
    def superuser(self) -> AsyncEngine:
        return self.of("superuser")

    async def dispose(self) -> None:
        for engine in self._made.values():
            await engine.dispose()


@pytest.fixture
async def engines(database: Database) -> AsyncIterator[Engines]:
    """Engines for every role; for tests marked `anyio`."""
    made = Engines(database)
    yield made
    await made.dispose()
