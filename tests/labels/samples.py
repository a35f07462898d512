"""An invented kit and its labels, as the desk would pass them in."""

from __future__ import annotations

from datetime import UTC, datetime

from custody.number import (
    KIT,
    KitNumber,
    LabelCode,
    Part,
    check_character,
    item,
    next_serial,
    package,
    parse_kit_number,
)
from labels.label import Label

SERVICE = "https://custody.example.be"
CREATED = datetime(2031, 3, 4, 5, 6, 7, tzinfo=UTC)
NUMBER: KitNumber = parse_kit_number("7M4P9XQ3RT6" + check_character("7M4P9XQ3RT6"))
STORAGE = ("congelé", "gekühlt", "dry at room temperature")


def label(part: Part, words: str, storage: str = "") -> Label:
    serial = next_serial(NUMBER, part, 0)
    return Label(LabelCode(NUMBER, part, serial), SERVICE, words, storage, f"label {serial}")


KIT_LABEL = label(KIT, "kit")
PACKAGES = tuple(label(package(n), f"package {n}", STORAGE[n % 3]) for n in range(1, 7))
ITEMS = tuple(label(item(n), f"item {n}", STORAGE[n % 3]) for n in range(1, 15))
ALL = (KIT_LABEL, *PACKAGES, *ITEMS)
