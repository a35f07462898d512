"""QR codes (ISO/IEC 18004) as plain rows of dark and light squares.

Always an ordinary QR code, never Micro QR, which phones rarely read. Error level Q, exactly: of the
damaged labels that were tried it was read most often for its size (a higher level makes the squares
smaller, and scuffs larger in proportion).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import segno

ERROR_LEVEL: Final = "Q"
QUIET_ZONE: Final = 4
"""Squares that must stay light around the code (ISO/IEC 18004, 6.3.8)."""


@dataclass(frozen=True, slots=True)
class QrCode:
    """One code: its text, its version (1 to 40) and its rows; True is dark."""

    text: str
    version: int
    rows: tuple[tuple[bool, ...], ...]

    @property
    def size(self) -> int:
        """Squares along one side, without the quiet zone."""
        return len(self.rows)

    def dark_runs(self) -> Iterator[tuple[int, int, int]]:
        """Every unbroken run of dark squares in a row: (column, row, length)."""
        for y, row in enumerate(self.rows):
            start: int | None = None
            for x, dark in enumerate((*row, False)):
                if dark and start is None:
                    start = x
                elif not dark and start is not None:
                    yield start, y, x - start
                    start = None


@lru_cache(maxsize=512)
def qr_code(text: str) -> QrCode:
    """The QR code for `text` at error level Q; raises ValueError when it holds nothing or too much."""
    if not text:
        raise ValueError("a QR code of nothing")
    code = segno.make_qr(text, error=ERROR_LEVEL, boost_error=False)
    rows = tuple(tuple(bool(square) for square in row) for row in code.matrix)
    return QrCode(text, int(code.version), rows)
