"""The victim's card: the size of a bank card, discreet, and without the second secret.

An address, a code, a QR code for both. Nothing says what it is for; the words on it come from the
caller, and whoever finds the card cannot get further without the second secret. In the QR code the
card's code stands behind `#`: a browser keeps that part to itself, so it is in no server's record.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from custody.card import CardCode, written_code
from labels.drawing import GREY, Box, Drawing, Line, Mark, Symbol, frame, pdf, svg
from labels.qr import qr_code
from labels.typeface import MM_PER_POINT, Weight, fitting_points, wrapped

WIDTH: Final = 85.6  # ISO/IEC 7810, ID-1
HEIGHT: Final = 53.98

_EDGE: Final = 6.0
_QR_SIDE: Final = 24.0
_TEXT_WIDE: Final = WIDTH - 2 * _EDGE - _QR_SIDE - 5.0


@dataclass(frozen=True, slots=True)
class VictimCard:
    """What the card says. `caption_address`, `caption_code` and `note` are words in the victim's language.

    address   where the code is typed in, e.g. `https://my.example.be`
    code      the card's code; printed, never stored
    """

    address: str
    code: CardCode
    caption_address: str
    caption_code: str
    note: str = ""

    @property
    def scanned(self) -> str:
        """What the QR code says: the address, and the code in its fragment."""
        return f"{self.address}#{self.code}"


def card_drawing(card: VictimCard) -> Drawing:
    """The card, 85.6 x 53.98 mm; raises `TextRefused` for words that do not fit on it."""
    if "#" in card.address or not card.address.startswith(("https://", "http://")):
        raise ValueError(f"not usable as the address on a card: {card.address!r}")
    marks: list[Mark] = list(frame(0, 0, WIDTH, HEIGHT, 0.1, GREY))
    marks.append(Symbol(WIDTH - _EDGE - _QR_SIDE, _EDGE, _QR_SIDE, qr_code(card.scanned)))
    shown = card.address.removeprefix("https://")
    marks += _captioned(10.0, card.caption_address, shown, 13, _TEXT_WIDE)
    note = wrapped(card.note, Weight.REGULAR, 8, _TEXT_WIDE) if card.note else []
    for row, line in enumerate(note):
        points = fitting_points(line, Weight.REGULAR, 8, _TEXT_WIDE)
        marks.append(Line(_EDGE, 22.5 + row * 8 * MM_PER_POINT * 1.25, line, points))
    if len(note) > 4:
        raise ValueError("the note on a card has room for four lines")
    marks.append(Box(_EDGE, 36.0, WIDTH - 2 * _EDGE, 0.15, GREY))
    marks += _captioned(40.5, card.caption_code, written_code(card.code), 19, WIDTH - 2 * _EDGE)
    return Drawing(WIDTH, HEIGHT, tuple(marks), shown)


def _captioned(y: float, caption: str, text: str, points: float, room: float) -> list[Mark]:
    size = fitting_points(text, Weight.BOLD, points, room)
    return [
        Line(_EDGE, y, caption, fitting_points(caption, Weight.REGULAR, 8, room)),
        Line(_EDGE, y + 2.2 + size * MM_PER_POINT * 0.7, text, size, Weight.BOLD),
    ]


def card_svg(card: VictimCard) -> str:
    """The card as SVG, to be shown once."""
    return svg(card_drawing(card))


def card_pdf(card: VictimCard, created: datetime) -> bytes:
    """The card as a PDF of its own size."""
    drawing = card_drawing(card)
    return pdf([drawing], created, drawing.name)
