"""One label, a sheet of them, a roll of them.

A label is read at night with gloves on: the kit number is large and in three groups, the part stands in
a black block and in words, the storage condition in a black bar. The code is printed in full, so that it
can be typed where a scanner fails. Nothing on it says what the kit is about, or who it is from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from custody.number import LabelCode, scan_address, written
from labels.drawing import A4, WHITE, Box, Drawing, Line, Mark, Symbol, moved, pdf, png, right_aligned, svg
from labels.qr import qr_code
from labels.typeface import MM_PER_POINT, Weight, fitting_points, width

WIDTH: Final = 57.0
HEIGHT: Final = 32.0
COLUMNS: Final = 3
ROWS: Final = 8
PER_SHEET: Final = COLUMNS * ROWS

_GAP_ACROSS: Final = 6.0
_GAP_DOWN: Final = 3.0
_CUT: Final = 1.2  # mm of a cutting mark, outside the label
_EDGE: Final = 2.5
_QR_AT: Final = (3.0, 3.0)
_QR_SIDE: Final = 20.0
_TEXT_AT: Final = 26.5  # right of the code's quiet zone
_TEXT_WIDE: Final = WIDTH - _TEXT_AT - _EDGE
_BLOCK_AT: Final = 43.0
_CODE_WIDE: Final = 38.0  # of the code in full; the rest of its line is for the serial


@dataclass(frozen=True, slots=True)
class Label:
    """What one label says. The words come from the caller, in the language of the centre.

    code      the label's code: kit, part, serial
    base_url  the service's address for the QR code, e.g. `https://custody.example.be`
    part      the part in words: `package 2`
    storage   the storage condition in words: `frozen`; empty where there is none (a kit's own label)
    serial    the label's serial in words: `label 1`
    """

    code: LabelCode
    base_url: str
    part: str
    storage: str
    serial: str

    @property
    def address(self) -> str:
        """What the QR code says; raises ValueError for a base URL that cannot stand on a label."""
        return scan_address(self.base_url, self.code)


def label_drawing(label: Label) -> Drawing:
    """The label, 57 x 32 mm; raises `TextRefused` for words that cannot be printed on it."""
    marks: list[Mark] = [Symbol(*_QR_AT, _QR_SIDE, qr_code(label.address))]
    groups = written(label.code.kit).split("-")
    room = _BLOCK_AT - _TEXT_AT - 1
    points = min(fitting_points(group, Weight.BOLD, 18, room) for group in groups)  # M and W are wide
    marks += [Line(_TEXT_AT, 7.0 + 5.6 * row, group, points, Weight.BOLD) for row, group in enumerate(groups)]
    marks += _part_block(label)
    part_points = fitting_points(label.part, Weight.BOLD, 13, _TEXT_WIDE)
    marks.append(Line(_TEXT_AT, 22.9, label.part, part_points, Weight.BOLD))
    if label.storage:
        marks += _black_bar(_TEXT_AT, 24.1, _TEXT_WIDE, 3.9, label.storage, 10)
    code_points = fitting_points(label.code.written, Weight.BOLD, 8.5, _CODE_WIDE)
    marks.append(Line(_QR_AT[0], 30.7, label.code.written, code_points, Weight.BOLD))
    room = WIDTH - _EDGE - _QR_AT[0] - width(label.code.written, Weight.BOLD, code_points) - 1
    serial_points = fitting_points(label.serial, Weight.REGULAR, 8, room)
    marks.append(right_aligned(WIDTH - _EDGE, 30.7, label.serial, serial_points))
    return Drawing(WIDTH, HEIGHT, tuple(marks), label.code.written)


def _part_block(label: Label) -> list[Mark]:
    """The part as in the code, white in black: what the hand looks for among twenty bags."""
    short = str(label.code.part)
    wide, high = WIDTH - _EDGE - _BLOCK_AT, 15.2
    points = fitting_points(short, Weight.BOLD, 26, wide - 2)
    x = _BLOCK_AT + (wide - width(short, Weight.BOLD, points)) / 2
    y = 2.8 + (high + _cap_height(points)) / 2
    return [Box(_BLOCK_AT, 2.8, wide, high), Line(x, y, short, points, Weight.BOLD, WHITE)]


def _black_bar(x: float, y: float, wide: float, high: float, text: str, points: float) -> list[Mark]:
    points = fitting_points(text, Weight.BOLD, points, wide - 2)
    left = x + (wide - width(text, Weight.BOLD, points)) / 2
    baseline = y + (high + _cap_height(points)) / 2
    return [Box(x, y, wide, high), Line(left, baseline, text, points, Weight.BOLD, WHITE)]


def _cap_height(points: float) -> float:
    return points * MM_PER_POINT * 0.66


def label_svg(label: Label) -> str:
    """One label as SVG, for a page or a printer that takes vectors."""
    return svg(label_drawing(label))


def label_png(label: Label, dots_per_inch: int = 300) -> bytes:
    """One label as PNG; 300 and 203 dots per inch are what label printers have."""
    return png(label_drawing(label), dots_per_inch)


def label_roll_pdf(labels: Sequence[Label], created: datetime) -> bytes:
    """One label a page, for a label printer that takes PDF."""
    return pdf([label_drawing(label) for label in labels], created, _title(labels))


def label_sheet_pdf(labels: Sequence[Label], created: datetime, skip: int = 0) -> bytes:
    """A4 sheets of 3 x 8 labels with cutting marks; `skip` leaves the first places of one begun free."""
    return pdf(sheet_drawings(labels, skip), created, _title(labels))


def sheet_drawings(labels: Sequence[Label], skip: int = 0) -> list[Drawing]:
    """The pages of `label_sheet_pdf`; raises ValueError when `skip` is not a place on the first sheet."""
    if not 0 <= skip < PER_SHEET:
        raise ValueError(f"a sheet has places 0 to {PER_SHEET - 1}, not {skip}")
    pages: list[list[Mark]] = []
    for place, label in enumerate(labels, start=skip):
        if place % PER_SHEET == 0 or not pages:
            pages.append([])
        row, column = divmod(place % PER_SHEET, COLUMNS)
        x, y = _place(row, column)
        pages[-1] += moved(label_drawing(label).marks, x, y)
        pages[-1] += _cutting_marks(x, y)
    return [Drawing(*A4, tuple(marks), _title(labels)) for marks in pages]


def _place(row: int, column: int) -> tuple[float, float]:
    left = (A4[0] - COLUMNS * WIDTH - (COLUMNS - 1) * _GAP_ACROSS) / 2
    top = (A4[1] - ROWS * HEIGHT - (ROWS - 1) * _GAP_DOWN) / 2
    return left + column * (WIDTH + _GAP_ACROSS), top + row * (HEIGHT + _GAP_DOWN)


def _cutting_marks(x: float, y: float) -> list[Mark]:
    marks: list[Mark] = []
    for corner_x, outward_x in ((x, -_CUT), (x + WIDTH, 0.0)):
        for corner_y, outward_y in ((y, -_CUT), (y + HEIGHT, 0.0)):
            marks.append(Box(corner_x + outward_x, corner_y - 0.05, _CUT, 0.1))
            marks.append(Box(corner_x - 0.05, corner_y + outward_y, 0.1, _CUT))
    return marks


def _title(labels: Sequence[Label]) -> str:
    kits = sorted({written(label.code.kit) for label in labels})
    return ", ".join(kits)
