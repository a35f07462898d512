"""The paper form for an outage: one reserved kit number, its labels, and room to write.

Printed ahead and kept in a drawer. What is written on it is entered afterwards as *from paper*. The
fields and columns are the caller's, in the language of the centre; none of them may ask who the victim
is or what happened, and there is no field for free text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from custody.number import written
from labels.drawing import A4, GREY, Box, Drawing, Line, Mark, Symbol, frame, pdf, right_aligned
from labels.label import Label, sheet_drawings
from labels.qr import qr_code
from labels.typeface import MM_PER_POINT, Weight, fitting_points, wrapped

_LEFT: Final = 18.0
_RIGHT: Final = A4[0] - 18.0
_WIDE: Final = _RIGHT - _LEFT
_FIRST_TOP: Final = 56.0
_NEXT_TOP: Final = 30.0
_BOTTOM: Final = A4[1] - 20.0
_FIELD_HIGH: Final = 14.0
_HEAD_HIGH: Final = 6.5
_LIGHT: Final = 225


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its caption, and its share of the width beside the other columns' shares."""

    caption: str
    share: float


@dataclass(frozen=True, slots=True)
class FormTable:
    """A table to be written into: one row for each of `rows`, which stands in the first column.

    `row_height` in mm; a signature needs 14.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[str, ...]
    row_height: float = 10.0


@dataclass(frozen=True, slots=True)
class PaperForm:
    """One form. `fields` are the captions of lines filled in once (time, by whom, seal number, …)."""

    kit: Label
    title: str
    explanation: str
    fields: tuple[str, ...]
    tables: tuple[FormTable, ...]
    labels: tuple[Label, ...]


def form_pdf(form: PaperForm, created: datetime) -> bytes:
    """The form and then its sheets of labels, as one PDF.

    Raises ValueError when a label belongs to another kit than the form.
    """
    if any(label.code.kit != form.kit.code.kit for label in form.labels):
        raise ValueError("a form and its labels belong to one kit")
    pages = [*form_drawings(form), *sheet_drawings(form.labels)]
    return pdf(pages, created, f"{form.title} {written(form.kit.code.kit)}")


def form_drawings(form: PaperForm) -> list[Drawing]:
    """The pages to be written on, each with the kit number, its QR code and the page's number."""
    pages: list[list[Mark]] = [_fields(form.fields)]
    y = _FIRST_TOP + _FIELD_HIGH * ((len(form.fields) + 1) // 2) + 6
    for table in form.tables:
        rows = list(table.rows)
        # A title is never left alone at the foot of a page.
        if y + 8 + _HEAD_HIGH + table.row_height > _BOTTOM:
            pages.append([])
            y = _NEXT_TOP
        while rows:
            room = max(1, int((_BOTTOM - y - 8 - _HEAD_HIGH) / table.row_height))
            part, rows = rows[:room], rows[room:]
            pages[-1] += _table(table, part, y)
            y += 8 + _HEAD_HIGH + len(part) * table.row_height + 6
            if rows:
                pages.append([])
                y = _NEXT_TOP
    return [
        Drawing(*A4, (*_head(form, page, len(pages)), *marks), form.title)
        for page, marks in enumerate(pages, 1)
    ]


def _head(form: PaperForm, page: int, pages: int) -> list[Mark]:
    kit = written(form.kit.code.kit)
    marks: list[Mark] = [right_aligned(_RIGHT, A4[1] - 11, f"{kit}   {page} / {pages}", 9)]
    if page > 1:
        return [
            *marks,
            Line(_LEFT, 20, form.title, fitting_points(form.title, Weight.REGULAR, 10, _WIDE - 60)),
            right_aligned(_RIGHT, 20, kit, 16, Weight.BOLD),
            Box(_LEFT, 23, _WIDE, 0.4),
        ]
    side = 26.0
    marks.append(Symbol(_RIGHT - side, 16, side, qr_code(form.kit.address)))
    room = _WIDE - side - 8
    marks.append(Line(_LEFT, 19, form.title, fitting_points(form.title, Weight.BOLD, 13, room), Weight.BOLD))
    marks.append(Line(_LEFT, 30, kit, 28, Weight.BOLD))
    lines = wrapped(form.explanation, Weight.REGULAR, 9.5, room)
    if len(lines) > 4:
        raise ValueError("the explanation on a form has room for four lines")
    for row, text in enumerate(lines):
        points = fitting_points(text, Weight.REGULAR, 9.5, room)
        marks.append(Line(_LEFT, 37 + row * 9.5 * MM_PER_POINT * 1.25, text, points))
    marks.append(Box(_LEFT, _FIRST_TOP - 5, _WIDE, 0.4))
    return marks


def _fields(captions: Sequence[str]) -> list[Mark]:
    marks: list[Mark] = []
    wide = (_WIDE - 8) / 2
    for place, caption in enumerate(captions):
        row, column = divmod(place, 2)
        x, y = _LEFT + column * (wide + 8), _FIRST_TOP + row * _FIELD_HIGH
        marks.append(Line(x, y + 2.5, caption, fitting_points(caption, Weight.REGULAR, 8.5, wide)))
        marks.append(Box(x, y + _FIELD_HIGH - 2, wide, 0.2))
    return marks


def _table(table: FormTable, rows: Sequence[str], y: float) -> list[Mark]:
    marks: list[Mark] = [
        Line(_LEFT, y + 5, table.title, fitting_points(table.title, Weight.BOLD, 11, _WIDE), Weight.BOLD)
    ]
    top = y + 8
    marks.append(Box(_LEFT, top, _WIDE, _HEAD_HIGH, _LIGHT))
    high = _HEAD_HIGH + len(rows) * table.row_height
    unit = _WIDE / sum(column.share for column in table.columns)
    x = _LEFT
    for place, column in enumerate(table.columns):
        wide = column.share * unit
        points = fitting_points(column.caption, Weight.BOLD, 8.5, wide - 2)
        marks.append(Line(x + 1.2, top + 4.4, column.caption, points, Weight.BOLD))
        if place:
            marks.append(Box(x, top, 0.15, high, GREY))
        x += wide
    for row, text in enumerate(rows):
        line = top + _HEAD_HIGH + row * table.row_height
        marks.append(Box(_LEFT, line, _WIDE, 0.15, GREY))
        if text:
            room = table.columns[0].share * unit - 2
            points = fitting_points(text, Weight.BOLD, 10, room)
            marks.append(Line(_LEFT + 1.2, line + table.row_height / 2 + 1.3, text, points, Weight.BOLD))
    return [*marks, *frame(_LEFT, top, _WIDE, high)]
