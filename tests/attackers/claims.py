"""What the README claims about attackers, and which test shows it.

A cell of the table is a list of claims, separated by ``; ``. A test that shows one bears its words:
``@claim("an officer or magistrate", COULD_NOT, "…")``. `test_table.py` compares both.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

README: Final = Path(__file__).parents[2] / "README.md"
HEADING: Final = "## What an attacker at each place could and could not do"
COULD: Final = "could"
COULD_NOT: Final = "could not"

Claim = tuple[str, str, str]
"""Who, `COULD` or `COULD_NOT`, and the words of the claim as they stand in the README."""

SHOWN: Final[dict[Claim, str]] = {}
"""By claim the name of the test that shows it."""


Test = TypeVar("Test", bound=Callable[..., Any])


def claim(who: str, column: str, words: str) -> Callable[[Test], Test]:
    """The test below shows this claim of the README. A claim has one test; a test may show several."""

    def shown(test: Test) -> Test:
        key = (who, column, words)
        name = f"{test.__module__}.{test.__name__}"
        if not test.__name__.startswith("test_") or SHOWN.setdefault(key, name) != name:
            raise ValueError(f"{name} cannot show the claim {words!r}, or {SHOWN.get(key)} shows it already")
        return test

    return shown


def claimed(readme: str) -> list[Claim]:
    """The claims of the README's table, in order. Raises ValueError where there is no such table."""
    _, _, after = readme.partition(f"{HEADING}\n\n")
    rows = []
    for line in after.splitlines():
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    if rows[:1] != [["who", COULD, COULD_NOT]] or any(len(row) != 3 for row in rows):
        raise ValueError("the README has no table of attackers with three columns")
    return [
        (who, column, words.strip())
        for who, could, could_not in rows[2:]
        for column, cell in ((COULD, could), (COULD_NOT, could_not))
        for words in cell.split("; ")
    ]
