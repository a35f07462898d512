"""How Alembic reaches the database: as custody_migrator, acting as custody_owner.

One migration at a time (an advisory lock), never waiting long for a lock that the running
service holds, and everything in one transaction.
"""

import importlib
import importlib.util
from typing import Final, Literal

from alembic import context
from sqlalchemy import MetaData, create_engine, pool, text
from sqlalchemy.engine import Connection

from desk import settings

SCHEMAS: Final = frozenset({"audit", "custody", "retention", "desk"})
VERSIONS: Final = "desk"  # the schema of Alembic's own table

_ONE_AT_A_TIME: Final = 0x43555354  # any constant of ours: "CUST"


def tables() -> list[MetaData]:
    """The tables of every package that owns some."""
    names = [f"{package}.tables" for package in ("audit", "custody", "retention", "desk")]
    return [importlib.import_module(name).metadata for name in names if importlib.util.find_spec(name)]


def url() -> str:
    given: str | None = context.config.attributes.get("url") or settings.read().migrator_database_url
    if given is None:
        raise settings.CannotStart("CUSTODY_MIGRATOR_DATABASE_URL must name the database to migrate.")
    return given


def ours(
    name: str | None,
    kind: Literal[
        "schema",
        "table",
        "column",
        "index",
        "unique_constraint",
        "foreign_key_constraint",
        "check_constraint",
    ],
    parents: object,
) -> bool:
    return name in SCHEMAS if kind == "schema" else True


def migrate(connection: Connection) -> None:
    connection.execute(text("SET lock_timeout = '5s'"))
    connection.execute(text("SET statement_timeout = '10min'"))
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ONE_AT_A_TIME})
    connection.execute(text("SET ROLE custody_owner"))
    # Without this commit Alembic takes the open transaction for the caller's and never
    # commits its own: exit code 0, and no tables.
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=tables(),
        include_schemas=True,
        include_name=ours,
        version_table_schema=VERSIONS,
    )
    with context.begin_transaction():
        context.run_migrations()
        # The service compares the revision with its own at start.
        if connection.execute(text(f"SELECT to_regclass('{VERSIONS}.alembic_version')")).scalar():
            connection.execute(
                text(f"GRANT SELECT ON {VERSIONS}.alembic_version TO custody_service, custody_clerk")
            )


if context.is_offline_mode():
    raise SystemExit("Migrations need the database; writing them as a script is not supported.")

engine = create_engine(url(), poolclass=pool.NullPool)
with engine.connect() as connected:
    migrate(connected)
