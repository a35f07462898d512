"""The one typeface on paper: Source Sans Pro (SIL Open Font License), from the package that ships it.

One file of letters for every format: SVG gets outlines, PDF an embedded subset, PNG the drawn letters,
so that a label looks the same from every printer. A character the typeface does not have is refused:
an empty box on evidence would be worse than no label.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from fontTools.pens.svgPathPen import SVGPathPen  # type: ignore[import-untyped]
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]

MM_PER_POINT: Final = 25.4 / 72
SMALLEST_SHARE: Final = 0.5
"""How far a text may be made smaller to fit before it is refused."""


class Weight(StrEnum):
    """The two weights in use, by the name of their file."""

    REGULAR = "SourceSansPro-Regular"
    BOLD = "SourceSansPro-Bold"


class TextRefused(ValueError):
    """A text cannot be printed: a character is missing in the typeface, or there is no room for it."""


@dataclass(frozen=True, slots=True)
class _Face:
    units: int
    advances: dict[int, int]
    glyph_names: dict[int, str]
    glyphs: Any


@lru_cache
def font_path(weight: Weight) -> str:
    """Where the file of this weight is."""
    return str(files("font_source_sans_pro") / "files" / f"{weight.value}.ttf")


@lru_cache
def _face(weight: Weight) -> _Face:
    font = TTFont(font_path(weight))
    names: dict[int, str] = font.getBestCmap()
    metrics = font["hmtx"]
    advances = {character: int(metrics[name][0]) for character, name in names.items()}
    return _Face(int(font["head"].unitsPerEm), advances, names, font.getGlyphSet())


def width(text: str, weight: Weight, points: float) -> float:
    """The width of one line in mm; raises `TextRefused` for a character the typeface does not have."""
    face = _face(weight)
    try:
        units = sum(face.advances[ord(character)] for character in text)
    except KeyError as missing:
        raise TextRefused(f"the typeface on labels has no character U+{missing.args[0]:04X}") from missing
    return units / face.units * points * MM_PER_POINT


def fitting_points(text: str, weight: Weight, points: float, room: float) -> float:
    """The size at which `text` fits into `room` mm: `points` or smaller.

    Raises `TextRefused` when it would have to be less than half as large.
    """
    wide = width(text, weight, points)
    if wide <= room:
        return points
    if wide * SMALLEST_SHARE > room:
        raise TextRefused(f"no room on paper for {text!r}: {wide:.0f} mm wide, {room:.0f} mm free")
    return points * room / wide


def wrapped(text: str, weight: Weight, points: float, room: float) -> list[str]:
    """`text` broken between words into lines of at most `room` mm; a line break in it stays one."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}" if line else word
            if line and width(longer, weight, points) > room:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(line)
    return lines


@lru_cache(maxsize=1024)
def outline(character: str, weight: Weight) -> tuple[str, int]:
    """The SVG path of one character, in font units with y upward, and its advance."""
    face = _face(weight)
    pen = SVGPathPen(face.glyphs)
    face.glyphs[face.glyph_names[ord(character)]].draw(pen)
    return str(pen.getCommands()), face.advances[ord(character)]


def units_per_em(weight: Weight) -> int:
    """Font units to the em, for scaling an `outline`."""
    return _face(weight).units
