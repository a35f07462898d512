"""Preparing and migrating the database: what stands before the first table.

`prepare` runs as a superuser and may run again at any time. It makes

- the roles: custody_owner (owns everything, cannot sign in), custody_migrator (changes the
  schema by acting as the owner), custody_service, custody_clerk, custody_auditor;
- the database and the schemas audit, custody, retention, desk, all the owner's;
- the defaults: nobody in general (PUBLIC) may connect, make temporary tables, use the schemas
  or execute the owner's functions. A migration grants what a role needs, by name;
- a fixed search path (pg_catalog) for every role: a table or function is always named with its schema;
- the guard: an event trigger that refuses every change of the schema outside migrations. The
  owner could otherwise rewrite evidence with ALTER TABLE, and no row trigger would fire. A superuser
  says `SET custody.maintenance = 'on'` first, so that nothing happens by accident; what a
  superuser does all the same, the signed checkpoints outside the database expose.

`migrate` runs Alembic as custody_migrator.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy.exc import DBAPIError

import migrations
from desk.postgres import DATABASE, ROLES
from desk.settings import DRIVER, CannotStart

SCHEMAS: Final = ("audit", "custody", "retention", "desk")
OWNER: Final = "custody_owner"
MIGRATOR: Final = "custody_migrator"
READERS: Final = ("custody_service", "custody_clerk", "custody_auditor")

_LEAST_VERSION: Final = 150000

_GUARD: Final = """
CREATE OR REPLACE FUNCTION guard.only_migrations() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $guard$
BEGIN
    -- session_user cannot be changed by SET ROLE or by a SECURITY DEFINER function.
    IF session_user = 'custody_migrator' THEN
        RETURN;
    END IF;
    IF current_setting('custody.maintenance', true) = 'on'
       AND (SELECT rolsuper FROM pg_roles WHERE rolname = session_user) THEN
        RETURN;
    END IF;
    RAISE EXCEPTION '% is refused: the schema changes only through migrations', tg_tag
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'custody database migrate; a superuser first says SET custody.maintenance = ''on''.';
END
$guard$;
REVOKE ALL ON FUNCTION guard.only_migrations() FROM PUBLIC;
DROP EVENT TRIGGER IF EXISTS custody_only_migrations;
CREATE EVENT TRIGGER custody_only_migrations ON ddl_command_start
    EXECUTE FUNCTION guard.only_migrations();
-- ALWAYS: session_replication_role = replica does not switch it off.
ALTER EVENT TRIGGER custody_only_migrations ENABLE ALWAYS;
"""


def prepare(superuser: str, passwords: Mapping[str, str], database: str = DATABASE) -> None:
    """Make roles, database, schemas, default rights and the guard. Idempotent.

    `superuser` is an address or a libpq conninfo of a superuser, on any database of the server.
    `passwords` maps role names to passwords; a role without one keeps what it has (a new one
    cannot sign in until it gets one). Raises CannotStart.
    """
    if unknown := set(passwords) - set(ROLES):
        raise CannotStart(f"{min(unknown)} is not a role that connects; those are {', '.join(ROLES)}.")
    with _plain_errors(), psycopg.connect(libpq(superuser), autocommit=True) as server:
        if server.info.server_version < _LEAST_VERSION:
            raise CannotStart(
                f"PostgreSQL 15 or newer is needed; this server is {server.info.server_version // 10000}."
            )
        if server.info.parameter_status("is_superuser") != "on":
            raise CannotStart(
                f"{server.info.user} is no superuser of this server; only a superuser can make the roles"
                f" and the guard."
            )
        _make_roles(server, passwords)
        found = server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone()
        if not found:
            server.execute(
                sql.SQL(
                    "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
                ).format(sql.Identifier(database))
            )
        limit_connections(server, database)
    with (
        _plain_errors(),
        psycopg.connect(libpq(superuser), dbname=database, autocommit=True) as inside,
        inside.transaction(),
    ):
        inside.execute("SET LOCAL custody.maintenance = 'on'")
        _make_schemas(inside)
        inside.execute(_GUARD)


def limit_connections(server: psycopg.Connection, database: str) -> None:
    """Only our roles may connect to `database`, and none may make temporary tables there. These
    rights belong to the server's list of databases: a copy of a database does not carry them."""
    name = sql.Identifier(database)
    server.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    for role in ROLES:
        server.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, sql.Identifier(role)))


def _make_roles(server: psycopg.Connection, passwords: Mapping[str, str]) -> None:
    present = {row[0] for row in server.execute("SELECT rolname FROM pg_roles")}
    plain = sql.SQL("NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT")
    for role in (OWNER, *ROLES):
        name = sql.Identifier(role)
        if role not in present:
            server.execute(sql.SQL("CREATE ROLE {}").format(name))
        login = sql.SQL("NOLOGIN" if role == OWNER else "LOGIN")
        server.execute(sql.SQL("ALTER ROLE {} {} {}").format(name, login, plain))
        server.execute(sql.SQL("ALTER ROLE {} SET search_path = pg_catalog, pg_temp").format(name))
        if role in passwords:
            # Hashed here, so that the password itself never reaches the server's log.
            hashed = server.pgconn.encrypt_password(
                passwords[role].encode(), role.encode(), b"scram-sha-256"
            ).decode()
            server.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(hashed)))
    # NOINHERIT: the migrator has the owner's rights only after SET ROLE, never by the way.
    server.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(OWNER), sql.Identifier(MIGRATOR)))


def _make_schemas(inside: psycopg.Connection) -> None:
    owner = sql.Identifier(OWNER)
    inside.execute("CREATE SCHEMA IF NOT EXISTS guard")
    inside.execute("REVOKE ALL ON SCHEMA guard, public FROM PUBLIC")
    for schema in SCHEMAS:
        name = sql.Identifier(schema)
        inside.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(name, owner))
        inside.execute(sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(name, owner))
        inside.execute(sql.SQL("REVOKE ALL ON SCHEMA {} FROM PUBLIC").format(name))
        for role in READERS:
            inside.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(name, sql.Identifier(role)))
    for kind in ("TABLES", "SEQUENCES", "FUNCTIONS", "TYPES"):
        inside.execute(
            sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} REVOKE ALL ON {} FROM PUBLIC").format(
                owner, sql.SQL(kind)
            )
        )


def configuration(migrator: str) -> Config:
    """Alembic's configuration for `migrator`, the database's address as custody_migrator."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["url"] = migrator
    return config


def migrate(migrator: str) -> None:
    """Bring the schema to the newest revision. Raises CannotStart."""
    with _plain_errors():
        command.upgrade(configuration(migrator), "head")


def check(migrator: str) -> None:
    """Compare the schema with the tables in the code; raises alembic.util.CommandError when they differ."""
    command.check(configuration(migrator))


def refuse_unready(service: str) -> None:
    """Say at start whether `prepare` or `migrate` is missing, or the guard is. Raises CannotStart."""
    newest = set(ScriptDirectory(str(Path(migrations.__file__).parent)).get_heads())
    try:
        with psycopg.connect(libpq(service)) as connection:
            if not connection.execute(
                "SELECT 1 FROM pg_event_trigger"
                " WHERE evtname = 'custody_only_migrations' AND evtenabled = 'A'"
            ).fetchone():
                raise CannotStart(
                    "The database is not prepared (the guard against changes of the schema is missing):"
                    " run custody database prepare."
                )
            found = set()
            if connection.execute("SELECT to_regclass('desk.alembic_version')").fetchone() != (None,):
                found = {row[0] for row in connection.execute("SELECT version_num FROM desk.alembic_version")}
    except psycopg.Error as error:
        raise CannotStart(
            f"The database cannot be used as it is ({_first_line(error)});"
            f" if it is new, run custody database prepare and custody database migrate."
        ) from error
    if found != newest:
        raise CannotStart(
            f"The database's schema is at revision {', '.join(sorted(found)) or 'none'}, this release needs"
            f" {', '.join(sorted(newest)) or 'none'}: run custody database migrate."
        )


def libpq(url: str) -> str:
    """The same address without SQLAlchemy's driver name, as psycopg and libpq read it."""
    return url.replace(f"{DRIVER}://", "postgresql://", 1)


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except (psycopg.Error, DBAPIError) as error:
        raise CannotStart(f"The database refused: {_first_line(error)}.") from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
