"""Where the database does not say what the events say: one form for every comparison."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """``subject``: a kit's number, or a trail. ``column``: the column, or what was compared."""

    subject: str
    column: str
    words: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.column}: {self.words}"


def differs(subject: str, column: str, stored: Any, made: Any) -> Difference:
    """A stored value, and the one that the events make."""
    return Difference(
        subject=subject, column=column, words=f"stored {short(stored)}, the events say {short(made)}"
    )


def short(value: Any) -> str:
    """A value for people, cut where it is long."""
    return "nothing" if value is None else str(value)[:80]
