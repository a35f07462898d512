"""What the migrations made is what the code's tables say: constraints and indexes too, which Alembic does
not compare."""

import importlib

import pytest
from sqlalchemy import Connection, create_engine, text

from tests.conftest import Database

CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = CAST(:schema AS regnamespace) AND contype IN ('c', 'u', 'f', 'p')
"""
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = :schema"


def made(connection: Connection, schema: str) -> set[tuple[str, ...]]:
    rows = [*connection.execute(text(CONSTRAINTS), {"schema": schema})]
    rows += [*connection.execute(text(INDEXES), {"schema": schema})]
    return {tuple(row) for row in rows if "alembic_version" not in str(row)}


@pytest.mark.parametrize("schema", ["audit", "custody", "retention", "desk"])
def test_the_migrated_schema_has_the_constraints_and_indexes_of_the_code(
    database: Database, schema: str
) -> None:
    tables = importlib.import_module(f"{schema}.tables").metadata
    engine = create_engine(database.url("superuser"))
    with engine.connect() as connection:
        migrated = made(connection, schema)
        connection.execute(text("SET custody.maintenance = 'on'"))
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
        connection.execute(text(f"CREATE SCHEMA {schema}"))
        tables.create_all(connection)
        coded = made(connection, schema)
        connection.rollback()
    engine.dispose()
    assert migrated == coded
