"""A label in ZPL II, the language of Zebra's label printers and of many that imitate them.

Written by hand, since it is a dozen commands. What is printed never becomes a command: every field is
escaped with `^FH`, and the printer reads it as UTF-8 (`^CI28`).
"""

from __future__ import annotations

from typing import Final

from labels.drawing import WHITE, Box, Line, Symbol
from labels.label import HEIGHT, WIDTH, Label, label_drawing
from labels.qr import ERROR_LEVEL
from labels.typeface import MM_PER_POINT, width

_ESCAPED: Final = frozenset(b"^~_\\")
_CAPITALS: Final = 0.66  # height of capitals in our typeface, as a share of its size
_ZPL_CAPITALS: Final = 0.75  # … and in the printer's own font 0, as a share of its height


def label_zpl(label: Label, dots_per_mm: int = 12) -> str:
    """One label as one ZPL format; 8 dots per mm is a 203 dpi printer, 12 one of 300 dpi.

    Laid out as the other formats are, with the printer's own font, each line as wide as ours.
    """
    if dots_per_mm not in (6, 8, 12, 24):
        raise ValueError(f"label printers have 6, 8, 12 or 24 dots per mm, not {dots_per_mm}")

    def dots(mm: float) -> int:
        return round(mm * dots_per_mm)

    commands = ["^XA", "^CI28", "^LH0,0", f"^PW{dots(WIDTH)}", f"^LL{dots(HEIGHT)}"]
    for mark in label_drawing(label).marks:
        if isinstance(mark, Symbol):
            square = min(10, int(mark.side * dots_per_mm / mark.code.size))
            commands.append(
                f"^FO{dots(mark.x)},{dots(mark.y)}^BQN,2,{square},{ERROR_LEVEL}"
                f"^FH^FD{ERROR_LEVEL}A,{escaped(mark.code.text)}^FS"
            )
        elif isinstance(mark, Box):
            wide, high = dots(mark.width), dots(mark.height)
            commands.append(f"^FO{dots(mark.x)},{dots(mark.y)}^GB{wide},{high},{min(wide, high)}^FS")
        else:
            commands.append(_text(mark, dots_per_mm))
    return "\n".join([*commands, "^PQ1", "^XZ", ""])


def escaped(text: str) -> str:
    """`text` for a field after `^FH`: commands' own characters and all beyond ASCII as `_xx` of UTF-8."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in _ESCAPED else f"_{byte:02X}"
        for byte in text.encode()
    )


def _text(line: Line, dots_per_mm: int) -> str:
    capitals = line.points * MM_PER_POINT * _CAPITALS
    high = round(capitals / _ZPL_CAPITALS * dots_per_mm)
    # Font 0 scales each way on its own; its letters are about half as wide as the width asked for.
    wide = round(width(line.text, line.weight, line.points) / max(len(line.text), 1) * 1.8 * dots_per_mm)
    reverse = "^FR" if line.shade == WHITE else ""
    place = f"^FT{round(line.x * dots_per_mm)},{round(line.y * dots_per_mm)}"
    return f"{place}^A0N,{high},{wide}{reverse}^FH^FD{escaped(line.text)}^FS"
