"""Progress bars of long commands: on the error output, where a person watches; nothing in a file."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

Told = Callable[[int, int], None]
"""Told how much is done, and of how much."""

Staged = Callable[[str, int, int], None]
"""The same, with the stage first."""


@contextmanager
def bar(what: str) -> Iterator[Told]:
    """One bar."""
    with stages() as told:
        yield lambda done, total: told(what, done, total)


@contextmanager
def stages() -> Iterator[Staged]:
    """A bar for each stage, from when it is first told of."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=sys.stderr), disable=not sys.stderr.isatty()) as shown:
        tasks: dict[str, TaskID] = {}

        def told(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage, total=None)
            shown.update(tasks[stage], completed=done, total=total)

        yield told
