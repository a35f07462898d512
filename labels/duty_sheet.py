"""The sheet with a centre's duty credential: one page, sealed in an envelope and kept at the bench.

The words come from the caller, in the language of the centre. The code is printed and stored nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from custody.card import CardCode, written_code
from labels.drawing import A4, GREY, Drawing, Line, Mark, frame, pdf
from labels.typeface import MM_PER_POINT, Weight, fitting_points, wrapped

_LEFT: Final = 22.0
_WIDE: Final = A4[0] - 2 * _LEFT
_MOST_LINES: Final = 40


@dataclass(frozen=True, slots=True)
class DutySheet:
    """What the sheet says: `title`, the `centre`'s name, the `address` to type the code at, and `steps`;
    when it was `made`, and `call` before a blank line for the number of whoever is to be told."""

    title: str
    centre: str
    address: str
    code: CardCode
    steps: tuple[str, ...]
    made: str
    call: str


def duty_drawing(sheet: DutySheet) -> Drawing:
    """The page, A4; raises `TextRefused` for words that the typeface does not have or that do not fit."""
    marks: list[Mark] = [
        Line(_LEFT, 32.0, sheet.title, fitting_points(sheet.title, Weight.BOLD, 24, _WIDE), Weight.BOLD),
        Line(_LEFT, 44.0, sheet.centre, fitting_points(sheet.centre, Weight.REGULAR, 16, _WIDE)),
        Line(_LEFT, 58.0, sheet.address, fitting_points(sheet.address, Weight.REGULAR, 14, _WIDE)),
        *frame(_LEFT, 66.0, _WIDE, 24.0, 0.3, GREY),
    ]
    code = written_code(sheet.code)
    size = fitting_points(code, Weight.BOLD, 26, _WIDE - 10)
    marks.append(Line(_LEFT + 5, 81.0, code, size, Weight.BOLD))
    y, points = 104.0, 12.0
    lines = [line for step in sheet.steps for line in (*wrapped(step, Weight.REGULAR, points, _WIDE), "")]
    if len(lines) > _MOST_LINES:
        raise ValueError(f"a duty sheet has room for {_MOST_LINES} lines")
    for line in lines:
        if line:
            marks.append(Line(_LEFT, y, line, fitting_points(line, Weight.REGULAR, points, _WIDE)))
        y += points * MM_PER_POINT * (1.3 if line else 0.6)
    marks.append(Line(_LEFT, y + 8.0, sheet.call, points, Weight.BOLD))
    marks += frame(_LEFT, y + 12.0, _WIDE, 14.0, 0.3, GREY)
    marks.append(Line(_LEFT, y + 38.0, sheet.made, points))
    return Drawing(A4[0], A4[1], tuple(marks), sheet.title)


def duty_pdf(sheet: DutySheet, created: datetime) -> bytes:
    """The sheet as a PDF of one page."""
    return pdf([duty_drawing(sheet)], created, sheet.title)
