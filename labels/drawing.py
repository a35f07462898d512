"""A drawing in millimetres, laid out once and written as SVG, PNG or PDF.

A drawing is a size and a list of marks: filled boxes, lines of text, QR codes. Everything printed is
laid out as a drawing, so the three formats cannot drift apart. The same drawing gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from typing import Final
from xml.sax.saxutils import escape

from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFont

from labels.qr import QrCode
from labels.typeface import MM_PER_POINT, Weight, font_path, outline, units_per_em, width

BLACK: Final = 0
GREY: Final = 150
WHITE: Final = 255

A4: Final = (210.0, 297.0)
_MM_PER_INCH: Final = 25.4
_SEAM: Final = 0.01  # mm that a PDF row of squares reaches into the next, so that no light line shows between


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle; x, y (top left), width and height in mm; shade 0 (black) to 255 (white)."""

    x: float
    y: float
    width: float
    height: float
    shade: int = BLACK


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text: left end of its baseline in mm, size in points."""

    x: float
    y: float
    text: str
    points: float
    weight: Weight = Weight.REGULAR
    shade: int = BLACK


@dataclass(frozen=True, slots=True)
class Symbol:
    """A QR code: top left and side in mm, without its quiet zone, which must be left free around it."""

    x: float
    y: float
    side: float
    code: QrCode


Mark = Box | Line | Symbol


@dataclass(frozen=True, slots=True)
class Drawing:
    """A size in mm, marks in the order they are drawn, and a name for the SVG and for screen readers."""

    width: float
    height: float
    marks: tuple[Mark, ...]
    name: str


def right_aligned(x: float, y: float, text: str, points: float, weight: Weight = Weight.REGULAR) -> Line:
    """A line that ends at `x`."""
    return Line(x - width(text, weight, points), y, text, points, weight)


def frame(x: float, y: float, wide: float, high: float, line: float = 0.2, shade: int = BLACK) -> list[Mark]:
    """Four thin boxes around a rectangle."""
    return [
        Box(x, y, wide, line, shade),
        Box(x, y + high - line, wide, line, shade),
        Box(x, y, line, high, shade),
        Box(x + wide - line, y, line, high, shade),
    ]


def moved(marks: Iterable[Mark], dx: float, dy: float) -> list[Mark]:
    """The same marks, further right by `dx` and down by `dy` mm."""
    return [replace(mark, x=mark.x + dx, y=mark.y + dy) for mark in marks]


# ── SVG ──────────────────────────────────────────────────────────────────────────────────────────────


def svg(drawing: Drawing) -> str:
    """The drawing as SVG 1.1; text is drawn as outlines, so no viewer needs the typeface."""
    size = f"{_figure(drawing.width)} {_figure(drawing.height)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{_figure(drawing.width)}mm" '
        f'height="{_figure(drawing.height)}mm" viewBox="0 0 {size}">',
        f"<title>{escape(drawing.name)}</title>",
        _svg_box(Box(0, 0, drawing.width, drawing.height, WHITE)),
    ]
    for mark in drawing.marks:
        if isinstance(mark, Box):
            parts.append(_svg_box(mark))
        elif isinstance(mark, Line):
            parts.append(_svg_line(mark))
        else:
            parts.append(_svg_symbol(mark))
    return "\n".join([*parts, "</svg>", ""])


def _figure(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")


def _grey(shade: int) -> str:
    return f"#{shade:02x}{shade:02x}{shade:02x}"


def _svg_box(box: Box) -> str:
    return (
        f'<rect x="{_figure(box.x)}" y="{_figure(box.y)}" width="{_figure(box.width)}" '
        f'height="{_figure(box.height)}" fill="{_grey(box.shade)}"/>'
    )


def _svg_line(line: Line) -> str:
    scale = line.points * MM_PER_POINT / units_per_em(line.weight)
    glyphs, along = [], 0
    for character in line.text:
        path, advance = outline(character, line.weight)
        if path:
            glyphs.append(f'<path transform="translate({along} 0)" d="{path}"/>')
        along += advance
    move = f"translate({_figure(line.x)} {_figure(line.y)}) scale({scale:.6f} {-scale:.6f})"
    return f'<g fill="{_grey(line.shade)}" transform="{move}">{"".join(glyphs)}</g>'


def _svg_symbol(symbol: Symbol) -> str:
    scale = symbol.side / symbol.code.size
    path = "".join(f"M{x} {y}h{length}v1h-{length}z" for x, y, length in symbol.code.dark_runs())
    move = f"translate({_figure(symbol.x)} {_figure(symbol.y)}) scale({scale:.6f})"
    return f'<path shape-rendering="crispEdges" transform="{move}" d="{path}"/>'


# ── PNG ──────────────────────────────────────────────────────────────────────────────────────────────


def png(drawing: Drawing, dots_per_inch: int = 300) -> bytes:
    """The drawing as a greyscale PNG; squares of a QR code are a whole number of dots, so edges stay sharp.

    Raises ValueError when a square would be smaller than one dot.
    """
    scale = dots_per_inch / _MM_PER_INCH
    image = Image.new("L", (round(drawing.width * scale), round(drawing.height * scale)), WHITE)
    pen = ImageDraw.Draw(image)
    for mark in drawing.marks:
        if isinstance(mark, Box):
            left, top = round(mark.x * scale), round(mark.y * scale)
            right = max(round((mark.x + mark.width) * scale), left + 1)
            bottom = max(round((mark.y + mark.height) * scale), top + 1)
            pen.rectangle((left, top, right - 1, bottom - 1), fill=mark.shade)
        elif isinstance(mark, Line):
            font = _pixel_font(mark.weight, mark.points * MM_PER_POINT * scale)
            pen.text((mark.x * scale, mark.y * scale), mark.text, fill=mark.shade, font=font, anchor="ls")
        else:
            _png_symbol(pen, mark, scale)
    out = BytesIO()
    image.save(out, "PNG", dpi=(dots_per_inch, dots_per_inch), optimize=True)
    return out.getvalue()


def _pixel_font(weight: Weight, pixels: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_path(weight), pixels, layout_engine=ImageFont.Layout.BASIC)


def _png_symbol(pen: ImageDraw.ImageDraw, symbol: Symbol, scale: float) -> None:
    dots = int(symbol.side * scale / symbol.code.size)
    if dots < 1:
        raise ValueError("a square of the QR code would be smaller than one dot of the printer")
    spare = symbol.side * scale - dots * symbol.code.size
    left, top = round(symbol.x * scale + spare / 2), round(symbol.y * scale + spare / 2)
    for x, y, length in symbol.code.dark_runs():
        corner = (left + x * dots, top + y * dots)
        pen.rectangle((*corner, corner[0] + length * dots - 1, corner[1] + dots - 1), fill=BLACK)


# ── PDF ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Attached:
    """A file that a PDF carries inside it: its name, media type, what it is, and its exact bytes."""

    name: str
    media_type: str
    says: str
    content: bytes


def pdf(pages: Sequence[Drawing], created: datetime, title: str, attached: Sequence[Attached] = ()) -> bytes:
    """The drawings as pages of one PDF: vectors and one embedded typeface.

    `created` (with a time zone) is the only date inside: same pages, same date, same bytes. With files
    `attached` it is a PDF/A-3B (ISO 19005-3), which is made to be kept and may carry them; that has an
    identifier of its own each time.
    """
    if created.tzinfo is None:
        raise ValueError("the date of a PDF needs a time zone")
    if not pages:
        raise ValueError("a PDF without a page")
    document = FPDF(unit="mm", enforce_compliance="PDF/A-3B" if attached else None)
    document.set_creation_date(created)
    document.set_title(title)
    document.set_auto_page_break(False)
    document.c_margin = 0
    for weight in Weight:
        document.add_font(weight.value, fname=font_path(weight))
    for page in pages:
        document.add_page(format=(page.width, page.height))
        for mark in page.marks:
            _pdf_mark(document, mark)
    for file in attached:
        document.embed_file(
            bytes=file.content,
            basename=file.name,
            modification_date=created,
            creation_date=created,
            mime_type=file.media_type,
            associated_file_relationship="Data",
            desc=file.says,
            compress=True,
            checksum=False,
        )
    return bytes(document.output())


def _pdf_mark(document: FPDF, mark: Mark) -> None:
    if isinstance(mark, Box):
        document.set_fill_color(mark.shade)
        document.rect(mark.x, mark.y, mark.width, mark.height, style="F")
    elif isinstance(mark, Line):
        document.set_text_color(mark.shade)
        document.set_font(mark.weight.value, size=mark.points)
        document.text(mark.x, mark.y, mark.text)
    else:
        document.set_fill_color(BLACK)
        square = mark.side / mark.code.size
        for x, y, length in mark.code.dark_runs():
            left, top = mark.x + x * square, mark.y + y * square
            document.rect(left, top, length * square, square + _SEAM, style="F")
