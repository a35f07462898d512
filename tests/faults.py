"""Faults put where a machine fails: at one write of a file, one statement, one COMMIT.

*Lost*: it fails before anything happened. *Persisted*: it happens, and the caller is told that it failed.
The faults are in the operating system's calls and in the driver, so the code under test is the real one.
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine

OUTCOMES: Final = ("lost", "persisted")


class PowerCut(OSError):
    """What is raised where the machine is imagined to fail."""


@dataclass(frozen=True, kw_only=True)
class Write:
    """One write: `kind` and what it is about; `turn` counts those that look alike, from 1.

    ``open``, ``flush``, ``name``, ``flush the name``: the four steps that lay the file `of`;
    ``statement`` and ``commit``: SQL that begins with `of`, and the COMMIT of its transaction;
    ``copy``: COPY into the table `of`; ``append``: the event of type `of`; ``publish``: the note taken out.
    """

    says: str
    kind: str
    of: str = ""
    turn: int = 1


class Fault:
    """Strikes once, at one write; `struck` says whether it has."""

    def __init__(self, write: Write, outcome: str) -> None:
        self.write, self.lost = write, outcome == "lost"
        self.seen, self.struck = 0, False

    def due(self) -> bool:
        """Whether this is the turn; counts."""
        self.seen += 1
        self.struck = self.struck or self.seen == self.write.turn
        return self.seen == self.write.turn

    def around(self, call: Callable[..., Any], concerns: Callable[..., bool]) -> Callable[..., Any]:
        """`call`, failing at its turn among those that `concerns` says it is about."""

        def wrapper(*args: Any, **options: Any) -> Any:
            strikes = concerns(*args) and self.due()
            if strikes and self.lost:
                raise PowerCut
            result = call(*args, **options)
            if strikes:
                raise PowerCut
            return result

        return wrapper


def inject(patch: pytest.MonkeyPatch, engine: AsyncEngine, write: Write, outcome: str) -> Fault:
    """Make one write fail. `engine` is the one that the code under test works with, and nobody else."""
    fault = Fault(write, outcome)
    if write.kind in ("open", "flush", "name", "flush the name"):
        _files(patch, fault)
    elif write.kind in ("statement", "commit"):
        _statements(engine, fault)
    elif write.kind == "copy":
        _copies(patch, fault)
    elif write.kind == "append":
        _appends(patch, fault)
    else:
        assert write.kind == "publish"
    return fault


def _files(patch: pytest.MonkeyPatch, fault: Fault) -> None:
    name = fault.write.of

    def opened(path: Any, flags: int, *_: Any) -> bool:
        return bool(flags & os.O_CREAT) and Path(path).name == f"{name}.new"

    def flushed(descriptor: int) -> bool:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}")).name == f"{name}.new"

    def named(_: Any, path: Any) -> bool:
        return Path(path).name == name

    if fault.write.kind == "open":
        patch.setattr(os, "open", fault.around(os.open, opened))
    elif fault.write.kind == "flush":
        patch.setattr(os, "fsync", fault.around(os.fsync, flushed))
    elif fault.write.kind == "name":
        patch.setattr(os, "replace", fault.around(os.replace, named))
    else:
        laid = []
        replace = os.replace

        def noted(source: Any, path: Any) -> None:
            replace(source, path)
            if named(source, path):
                laid.append(Path(path).parent)

        def folder(descriptor: int) -> bool:
            return bool(laid) and Path(os.readlink(f"/proc/self/fd/{descriptor}")) == laid.pop()

        patch.setattr(os, "replace", noted)
        patch.setattr(os, "fsync", fault.around(os.fsync, folder))


def _statements(engine: AsyncEngine, fault: Fault) -> None:
    commits = fault.write.kind == "commit"
    concerned: list[Connection] = []

    def before(connection: Connection, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.lstrip().startswith(fault.write.of):
            if commits:
                concerned.append(connection)
            elif fault.lost and fault.due():
                raise PowerCut

    def after(connection: Connection, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.lstrip().startswith(fault.write.of) and not commits and not fault.lost and fault.due():
            raise PowerCut

    def at_commit(connection: Connection) -> None:
        if connection in concerned:
            concerned.remove(connection)
            if fault.due():
                if not fault.lost:
                    connection.connection.dbapi_connection.commit()  # type: ignore[union-attr]
                raise PowerCut

    event.listen(engine.sync_engine, "before_cursor_execute", before)
    event.listen(engine.sync_engine, "after_cursor_execute", after)
    event.listen(engine.sync_engine, "commit", at_commit)


def _copies(patch: pytest.MonkeyPatch, fault: Fault) -> None:
    copy = psycopg.AsyncCursor.copy

    @asynccontextmanager
    async def failing(cursor: Any, statement: Any, *rest: Any, **options: Any) -> AsyncIterator[Any]:
        strikes = fault.write.of in str(statement) and fault.due()
        if strikes and fault.lost:
            raise PowerCut
        async with copy(cursor, statement, *rest, **options) as copying:
            yield copying
        if strikes:
            raise PowerCut

    patch.setattr(psycopg.AsyncCursor, "copy", failing)


def _appends(patch: pytest.MonkeyPatch, fault: Fault) -> None:
    execute = psycopg.AsyncConnection.execute

    async def failing(connection: Any, query: Any, *rest: Any, **options: Any) -> Any:
        about = "custody.append" in str(query) and f'"type":"{fault.write.of}"' in str(rest)
        strikes = about and fault.due()
        if strikes and fault.lost:
            raise PowerCut
        result = await execute(connection, query, *rest, **options)
        if strikes:
            raise PowerCut
        return result

    patch.setattr(psycopg.AsyncConnection, "execute", failing)


def publisher(fault: Fault, published: set[bytes]) -> Callable[[bytes], Any]:
    """What takes notes out: a set, and the fault where it is about that."""

    async def publish(note: bytes) -> None:
        strikes = fault.write.kind == "publish" and fault.due()
        if strikes and fault.lost:
            raise PowerCut
        published.add(note)
        if strikes:
            raise PowerCut

    return publish
