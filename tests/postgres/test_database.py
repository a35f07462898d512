"""Roles, rights and the guard, asked of PostgreSQL itself."""

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from desk import database as ground
from desk.postgres import SUPERUSER, EmbeddedServer
from desk.settings import CannotStart
from tests.conftest import Database, Engines

LOGIN_ROLES = ["migrator", "service", "clerk", "auditor"]
STATEMENTS = [
    "CREATE TABLE desk.planted (x int)",
    "CREATE TEMP TABLE planted (x int)",
    "CREATE SCHEMA planted",
    "CREATE FUNCTION desk.planted() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DROP SCHEMA audit CASCADE",
    "ALTER TABLE desk.alembic_version ALTER COLUMN version_num TYPE text USING 'planted'",
    "GRANT ALL ON SCHEMA audit TO PUBLIC",
]


@pytest.mark.anyio
async def test_every_role_reaches_the_database_through_its_own_engine(engines: Engines) -> None:
    for role in LOGIN_ROLES:
        async with engines.of(role).connect() as connection:
            assert await connection.scalar(text("SELECT session_user")) == f"custody_{role}"


def test_the_owner_of_everything_cannot_sign_in_and_no_role_of_ours_stands_above_the_rules(
    database: Database,
) -> None:
    with database.connect("superuser") as connection:
        rows = connection.execute(
            "SELECT rolname, rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication,"
            " rolinherit FROM pg_roles WHERE rolname LIKE 'custody%' ORDER BY 1"
        ).fetchall()
    assert rows == [
        (f"custody_{name}", name != "owner", False, False, False, False, False, False)
        for name in ("auditor", "clerk", "migrator", "owner", "service")
    ]


def test_only_the_migrator_may_act_as_the_owner(database: Database) -> None:
    with database.connect("migrator") as connection:
        connection.execute("SET ROLE custody_owner")
    for role in ("service", "clerk", "auditor"):
        with database.connect(role) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SET ROLE custody_owner")


def test_the_migrator_has_the_owners_rights_only_after_saying_so(database: Database) -> None:
    with database.connect("migrator") as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE desk.planted (x int)")
        connection.execute("SET ROLE custody_owner")
        connection.execute("CREATE TABLE desk.planted (x int)")


@pytest.mark.parametrize("role", [*LOGIN_ROLES, "superuser"])
@pytest.mark.parametrize("statement", STATEMENTS)
def test_nobody_changes_the_schema_outside_a_migration(database: Database, role: str, statement: str) -> None:
    refusal = pytest.raises(psycopg.errors.InsufficientPrivilege)
    with database.connect(role) as connection, refusal as refused:
        connection.execute(statement)
    if role != "migrator":
        assert "changes only through migrations" in str(refused.value)


@pytest.mark.parametrize("role", ["service", "clerk", "auditor"])
def test_a_role_that_claims_maintenance_is_still_refused(database: Database, role: str) -> None:
    with database.connect(role) as connection:
        connection.execute("SET custody.maintenance = 'on'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="only through migrations"):
            connection.execute("CREATE TABLE desk.planted (x int)")


def test_a_superuser_changes_the_schema_only_after_saying_so(database: Database) -> None:
    with database.connect("superuser") as connection:
        connection.execute("SET custody.maintenance = 'on'")
        connection.execute("CREATE TABLE desk.planted (x int)")


def test_replaying_as_a_replica_does_not_switch_the_guard_off(database: Database) -> None:
    with database.connect("superuser") as connection:
        connection.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="only through migrations"):
            connection.execute("CREATE TABLE desk.planted (x int)")


def test_every_name_is_looked_up_in_the_system_catalogue_only(database: Database) -> None:
    for role in LOGIN_ROLES:
        with database.connect(role) as connection:
            assert connection.execute("SHOW search_path").fetchone() == ("pg_catalog, pg_temp",)


def test_what_the_owner_makes_is_nobodys_until_a_migration_grants_it(database: Database) -> None:
    with database.connect("migrator") as connection:
        connection.execute("SET ROLE custody_owner")
        connection.execute("CREATE TABLE desk.planted (x int)")
        connection.execute("CREATE FUNCTION desk.planted() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    for role in ("service", "clerk", "auditor"):
        with database.connect(role) as connection:
            for statement in ("SELECT * FROM desk.planted", "SELECT desk.planted()"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)


def test_a_stranger_to_the_service_cannot_even_connect(server: EmbeddedServer, database: Database) -> None:
    with psycopg.connect(ground.libpq(server.url(SUPERUSER, "postgres")), autocommit=True) as connection:
        connection.execute("CREATE ROLE stranger LOGIN PASSWORD 'fictional'")
        try:
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                psycopg.connect(
                    host="127.0.0.1",
                    port=server.port,
                    user="stranger",
                    password="fictional",
                    dbname=database.name,
                )
        finally:
            connection.execute("DROP ROLE stranger")


def test_a_wrong_password_is_refused_and_the_stored_one_is_a_scram_hash(
    server: EmbeddedServer, database: Database
) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(database.conninfo("service"), password="wrong")
    with database.connect("superuser") as connection:
        stored = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname LIKE 'custody%'")
        hashes = [row[0] for row in stored]
    assert all(value is None or value.startswith("SCRAM-SHA-256$") for value in hashes)
    assert hashes.count(None) == 1  # the owner's


def test_preparing_twice_changes_nothing_and_repairs_what_was_taken_away(
    server: EmbeddedServer, database: Database
) -> None:
    def rights() -> list[tuple[object, ...]]:
        with database.connect("superuser") as connection:
            return connection.execute(
                "SELECT nspname, nspowner::regrole::text, nspacl::text FROM pg_namespace ORDER BY 1"
            ).fetchall()

    superuser = ground.libpq(server.url(SUPERUSER, "postgres"))
    before = rights()
    ground.prepare(superuser, {}, database.name)
    assert rights() == before

    with database.connect("superuser") as connection:
        connection.execute("DROP EVENT TRIGGER custody_only_migrations")
        connection.execute("GRANT CREATE ON SCHEMA audit TO custody_service")
    with pytest.raises(CannotStart, match="custody database prepare"):
        ground.refuse_unready(database.url("service"))
    ground.prepare(superuser, {}, database.name)
    ground.refuse_unready(database.url("service"))


def test_only_a_superuser_prepares(database: Database) -> None:
    with pytest.raises(CannotStart, match="custody_service is no superuser"):
        ground.prepare(database.conninfo("service"), {}, database.name)


def test_an_unprepared_database_is_named_as_such(server: EmbeddedServer, database: Database) -> None:
    superuser = ground.libpq(server.url(SUPERUSER, "postgres"))
    bare = f"{database.name}_bare"
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(bare)))
        try:
            with pytest.raises(CannotStart, match="custody database prepare"):
                ground.refuse_unready(server.url("custody_service", bare))
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(bare)))


def test_a_database_that_does_not_answer_is_one_sentence(server: EmbeddedServer) -> None:
    with pytest.raises(CannotStart, match="cannot be used as it is") as refused:
        ground.refuse_unready(server.url("custody_service", "nowhere"))
    assert "\n" not in str(refused.value)


def test_migrating_again_is_harmless_and_the_code_and_the_schema_agree(
    production_database: Database,
) -> None:
    ground.migrate(production_database.url("migrator"))
    ground.refuse_unready(production_database.url("service"))
    ground.check(production_database.url("migrator"))
