"""Databases copied whole, as a backup is: taken, brought back, or run beside the first as another primary."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from desk import database as ground
from desk.postgres import SUPERUSER
from tests.conftest import Database


@contextmanager
def _server(database: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(
        ground.libpq(database.server.url(SUPERUSER, "postgres")), autocommit=True
    ) as connection:
        yield connection


def _copied(connection: psycopg.Connection, source: str, name: str) -> None:
    """Everybody is sent away from the source first: a template must have no visitors."""
    connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [source]
    )
    connection.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(source))
    )
    ground.limit_connections(connection, name)


@contextmanager
def copy_of(database: Database) -> Iterator[Database]:
    """Another database with the same content, from now on apart from the first."""
    name = f"{database.name}_{uuid.uuid4().hex[:6]}"
    with _server(database) as connection:
        _copied(connection, database.name, name)
        try:
            yield Database(server=database.server, name=name)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def bring_back(database: Database, backup: Database) -> None:
    """Put the backup in the place of the database: whatever was recorded since is gone."""
    with _server(database) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database.name)))
        _copied(connection, backup.name, database.name)
