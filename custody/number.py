"""Kit numbers and label codes: what stands on a kit, and what a scanner or a person gives back.

A **kit number** is twelve characters: eleven random ones (55 bits, so numbers tell nothing about each
other and cannot be guessed from one another) and one check character by ISO/IEC 7064 MOD 37,36. The
alphabet leaves out I, L, O and U, which are misread at night; what is typed as O, I or L is read as
0 and 1. A **label code** is the kit number, the part it stands for, the label's serial (a reprint
raises it, and voids the older label) and its own check character:

    7M4P9XQ3RT6C-P02-1-X        kit 7M4P-9XQ3-RT6C, package 2, first label, check character X

What the check character catches. In any hybrid system of ISO/IEC 7064 every single wrong character is
caught, but not quite every swap of two neighbours: in MOD 37,36 exactly one pair of running sums
(18 and 19) can change places unseen. So a number holding such a pair is never issued and always
refused, and with that **every** single wrong character and **every** swap of two neighbours is caught
before any query.

Everything here is pure: random bytes are an argument.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NewType

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""The characters of a kit number, in order: Crockford's base 32."""

KIT_NUMBER_LENGTH: Final = 12
RANDOM_BYTES: Final = 7
"""How many random bytes `issue` takes; 55 of their 56 bits are used."""

HIGHEST_PART: Final = 99
HIGHEST_SERIAL: Final = 9999
LONGEST_SCAN: Final = 300
"""Characters of the longest text `parse_scan` looks at; a QR code of ours holds fewer than 120."""

KitNumber = NewType("KitNumber", str)
"""A checked kit number without hyphens: made by `issue` and `parse_kit_number` only."""

_SHORTEST_LABEL_CODE: Final = KIT_NUMBER_LENGTH + len("K") + len("1") + len("X")
_ISO_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_READ_AS: Final = str.maketrans({"O": "0", "I": "1", "L": "1"})
_ITEM_LETTER_MISREAD: Final = frozenset("1L")  # where only K, P or I can stand, these two mean I
# Alphanumeric mode of QR (ISO/IEC 18004, 7.4.4) has upper case only, and these beside A-Z and 0-9.
_ADDRESS_CHARACTERS: Final = frozenset(_ISO_ALPHABET + "$%*+-./:")


class Fault(StrEnum):
    """Why a number was refused: message keys, with `{places}` for the values."""

    EMPTY = "Nothing was scanned or typed. Scan the label, or type the kit number."
    TOO_LONG = "This is too long to be a kit number or a label ({count} characters). Scan the label again."
    LENGTH = (
        "A kit number has {expected} characters, this one has {count}. Compare it with the label, "
        "character by character."
    )
    LABEL_LENGTH = "This label code is not complete, or has something too much. Compare it with the label."
    CHARACTER = (
        "“{character}” (at place {place}) never stands in a kit number or a label code. "
        "Compare it with the label."
    )
    UNPRINTABLE = (
        "This holds an invisible or foreign character (at place {place}). Scan the label, "
        "or type the number instead of copying it."
    )
    CHECK = (
        "This number has a typing error: its check character does not match. Compare it with the label, "
        "character by character."
    )
    PART = "After the kit number, a label names a part: K (kit), P01 to P99 (package) or I01 to I99 (item)."
    SERIAL = (
        "The number of the label (before the last character) must be 1 to 9999. Compare it with the label."
    )
    FOREIGN_ADDRESS = (
        "This code holds the address of something else, not of a label of this service. It was not opened."
    )


class NumberRefused(ValueError):
    """A scanned or typed text is not a number of ours; `str()` says why in plain words.

    `fault` is the message key and `values` its places, for a page that speaks another language.
    """

    def __init__(self, fault: Fault, **values: str | int) -> None:
        self.fault: Fault = fault
        self.values: Mapping[str, str | int] = MappingProxyType(values)
        super().__init__(fault.value.format(**values))


# ── The check character ──────────────────────────────────────────────────────────────────────────────


def _running_sums(text: str) -> tuple[list[int], int]:
    """The factor before each character and the one after the last (ISO/IEC 7064:2003, hybrid systems)."""
    factor = 36
    before: list[int] = []
    for character in text:
        before.append(factor)
        total = (factor + _ISO_ALPHABET.index(character)) % 36 or 36
        factor = total * 2 % 37
    return before, factor


def check_character(text: str) -> str:
    """The check character of `text` (0-9, A-Z) by ISO/IEC 7064 MOD 37,36; may be I, L, O or U.

    Raises ValueError for a character outside 0-9, A-Z.
    """
    _, factor = _running_sums(text)
    return _ISO_ALPHABET[(1 - factor) % 36]


def check_matches(text: str) -> bool:
    """Whether the last character of `text` is the check character of what stands before it."""
    return len(text) > 1 and check_character(text[:-1]) == text[-1]


def blind_swaps(text: str) -> list[int]:
    """Places i where characters i and i+1 could change places without the check character noticing.

    With factor P before them the two sums are P+a and P+b, and swapping goes unseen only when
    2x mod 37 - x and 2y mod 37 - y agree modulo 36 for x ≠ y in 1..36: that is {18, 19} alone.
    """
    before, _ = _running_sums(text)
    values = [_ISO_ALPHABET.index(character) for character in text]
    return [
        i
        for i in range(len(text) - 1)
        if {(before[i] + values[i]) % 36, (before[i] + values[i + 1]) % 36} == {18, 19}
    ]


# ── Kit numbers ──────────────────────────────────────────────────────────────────────────────────────


def issue(random: bytes) -> KitNumber | None:
    """The kit number made of `random` (7 bytes), or None where none is issued: draw again then.

    None means that the check character would be I, L, O or U, or that a swap would go unseen; about one
    draw in nine. Raises ValueError for any other count of bytes.
    """
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"a kit number takes {RANDOM_BYTES} random bytes, not {len(random)}")
    body = crockford(random, KIT_NUMBER_LENGTH - 1)
    number = body + check_character(body)
    return KitNumber(number) if number[-1] in ALPHABET and not blind_swaps(number) else None


def crockford(random: bytes, characters: int) -> str:
    """The first `characters` x 5 bits of `random` in the alphabet, each character equally likely."""
    spare = len(random) * 8 - characters * 5
    if spare < 0:
        raise ValueError(f"{characters} characters take {characters * 5} bits, {len(random) * 8} were given")
    bits = int.from_bytes(random, "big") >> spare
    return "".join(ALPHABET[bits >> 5 * place & 31] for place in reversed(range(characters)))


def parse_kit_number(text: str) -> KitNumber:
    """The kit number that was typed or scanned; case, spaces and hyphens do not matter.

    Raises `NumberRefused`: empty, a character that never occurs, wrong length, or a check character that
    does not match (which catches every single wrong character and every swap of two neighbours).
    """
    number = normalised(text).translate(_READ_AS)
    _refuse_foreign_letters(number, text)
    return _checked_kit(number)


def written(number: KitNumber) -> str:
    """A kit number as people read it: `7M4P-9XQ3-RT6C`."""
    return "-".join(number[i : i + 4] for i in range(0, KIT_NUMBER_LENGTH, 4))


def normalised(text: str) -> str:
    """Upper case without spaces, hyphens and line ends; refuses what is not printable ASCII.

    Letters of other alphabets that look like ours are refused and never guessed at. Raises
    `NumberRefused`.
    """
    if len(text) > LONGEST_SCAN:
        raise NumberRefused(Fault.TOO_LONG, count=len(text))
    kept = text.strip(" \t\r\n")  # a hand scanner ends with Enter or Tab
    for place, character in enumerate(kept, start=1):
        if not " " <= character <= "~":
            raise NumberRefused(Fault.UNPRINTABLE, place=place)
    plain = kept.replace(" ", "").replace("-", "").upper()
    if not plain:
        raise NumberRefused(Fault.EMPTY)
    return plain


def _refuse_foreign_letters(number: str, text: str) -> None:
    for character in number:
        if character not in ALPHABET:
            typed = text.strip(" \t\r\n").upper()
            raise NumberRefused(Fault.CHARACTER, character=character, place=typed.index(character) + 1)


def _checked_kit(number: str) -> KitNumber:
    if len(number) != KIT_NUMBER_LENGTH:
        raise NumberRefused(Fault.LENGTH, expected=KIT_NUMBER_LENGTH, count=len(number))
    if not check_matches(number) or blind_swaps(number):
        raise NumberRefused(Fault.CHECK)
    return KitNumber(number)


# ── Label codes ──────────────────────────────────────────────────────────────────────────────────────


class PartKind(StrEnum):
    """What a label stands on."""

    KIT = "K"
    PACKAGE = "P"
    ITEM = "I"


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """The part of a kit that a label stands for: the kit (number 0), or package or item 1 to 99.

    `str()` is how it stands in a label code: `K`, `P02`, `I07`. Raises ValueError outside that range.
    """

    kind: PartKind
    number: int = 0

    def __post_init__(self) -> None:
        lowest, highest = (0, 0) if self.kind is PartKind.KIT else (1, HIGHEST_PART)
        if not lowest <= self.number <= highest:
            raise ValueError(f"a part {self.kind.value} is numbered {lowest} to {highest}, not {self.number}")

    def __str__(self) -> str:
        return self.kind.value if self.kind is PartKind.KIT else f"{self.kind.value}{self.number:02d}"


KIT: Final = Part(PartKind.KIT)


def package(number: int) -> Part:
    """Package `number` (1 to 99) of a kit."""
    return Part(PartKind.PACKAGE, number)


def item(number: int) -> Part:
    """Item `number` (1 to 99) of a kit."""
    return Part(PartKind.ITEM, number)


def parse_part(text: str) -> Part:
    """The inverse of `str(part)`; raises `NumberRefused` for anything else."""
    if text == "K":
        return KIT
    kind, number = text[:1], text[1:]
    if kind in ("P", "I") and len(number) == 2 and set(number) <= set("0123456789") and number != "00":
        return Part(PartKind(kind), int(number))
    raise NumberRefused(Fault.PART)


@dataclass(frozen=True, slots=True)
class LabelCode:
    """One label: kit, part, serial. `str()` is the code as printed and as it stands in the QR code.

    Raises ValueError for a serial that is never printed (see `next_serial`).
    """

    kit: KitNumber
    part: Part
    serial: int

    def __post_init__(self) -> None:
        if not _printable(self.kit, self.part, self.serial):
            raise ValueError(f"label {self.serial} of {self.part} is never printed; use next_serial")

    def __str__(self) -> str:
        return f"{self.kit}-{self.part}-{self.serial}-{_label_check(self.kit, self.part, self.serial)}"

    @property
    def written(self) -> str:
        """The code in groups, as a person types it: `7M4P-9XQ3-RT6C-P02-1-X`."""
        return written(self.kit) + str(self)[KIT_NUMBER_LENGTH:]


def label_code(kit: KitNumber, part: Part, serial: int) -> str:
    """The code of one label; raises ValueError for a serial that is never printed."""
    return str(LabelCode(kit, part, serial))


def next_serial(kit: KitNumber, part: Part, after: int) -> int:
    """The serial of the next label of this part, given the last one printed (0: none yet).

    Skips serials whose check character would be I, L, O or U, or where a swap would go unseen.
    Raises ValueError when all 9999 are used up.
    """
    for serial in range(max(after, 0) + 1, HIGHEST_SERIAL + 1):
        if _printable(kit, part, serial):
            return serial
    raise ValueError(f"there is no label after {after} for {part}: {HIGHEST_SERIAL} is the highest")


def _label_check(kit: KitNumber, part: Part, serial: int) -> str:
    return check_character(f"{kit}{part}{serial}")


def _printable(kit: KitNumber, part: Part, serial: int) -> bool:
    """Whether this label may exist: its check character is clear and no swap in it goes unseen.

    A kit number that matches always leaves the same factor behind, so of all parts only P12 and P21
    read as each other unseen, whatever the serial. Odd serials belong to P12 and even ones to P21:
    a swap then always gives a label that does not exist.
    """
    if not 1 <= serial <= HIGHEST_SERIAL:
        return False
    text = f"{kit}{part}{serial}"
    text += check_character(text)
    first_digit = KIT_NUMBER_LENGTH + 1
    swaps = blind_swaps(text)
    if part.kind is PartKind.PACKAGE and first_digit in swaps:
        swaps.remove(first_digit)
        if serial % 2 != (1 if text[first_digit] < text[first_digit + 1] else 0):
            return False
    return text[-1] in ALPHABET and not swaps


def parse_label_code(text: str) -> LabelCode:
    """The label code that was typed or scanned; case, spaces and hyphens do not matter.

    Raises `NumberRefused` as `parse_kit_number` does, and for a part or serial that cannot be.
    """
    plain = normalised(text)
    # The thirteenth character can only be K, P or I, so there a 1 or L can only mean I.
    letter = plain[KIT_NUMBER_LENGTH : KIT_NUMBER_LENGTH + 1]
    letter = "I" if letter in _ITEM_LETTER_MISREAD else letter
    kit = plain[:KIT_NUMBER_LENGTH].translate(_READ_AS)
    rest = plain[KIT_NUMBER_LENGTH + 1 :].translate(_READ_AS)
    _refuse_foreign_letters(kit + rest, text)
    digits = 0 if letter == PartKind.KIT.value else 2
    if len(plain) <= KIT_NUMBER_LENGTH or not digits + 2 <= len(rest) <= digits + 1 + len(
        str(HIGHEST_SERIAL)
    ):
        raise NumberRefused(Fault.LABEL_LENGTH)
    number, serial, check = _checked_kit(kit), rest[digits:-1], rest[-1]
    if letter not in ("K", "P", "I"):
        raise NumberRefused(Fault.PART)
    # The check character first: a single wrong character should be called a typing error.
    if check_character(kit + letter + rest[:-1]) != check:
        raise NumberRefused(Fault.CHECK)
    part = parse_part(letter + rest[:digits])
    if not set(serial) <= set("0123456789") or serial.startswith("0"):
        raise NumberRefused(Fault.SERIAL)
    if not _printable(number, part, int(serial)):
        raise NumberRefused(Fault.CHECK)
    return LabelCode(number, part, int(serial))


# ── The scan ─────────────────────────────────────────────────────────────────────────────────────────


def scan_address(base_url: str, code: LabelCode) -> str:
    """What a label's QR code says: `<BASE URL>/S/<code>`, upper case for QR's alphanumeric mode.

    Raises ValueError for a base URL with characters that mode does not have, or without http(s).
    """
    base = base_url.rstrip("/").upper()
    if not base.startswith(("HTTPS://", "HTTP://")) or not set(base) <= _ADDRESS_CHARACTERS:
        raise ValueError(f"not usable as the address on a label: {base_url!r}")
    return f"{base}/S/{code}"


def parse_scan(text: str, base_urls: Collection[str]) -> KitNumber | LabelCode:
    """What a scanner read or a person typed: the address in a QR code, a label code or a kit number.

    `base_urls` are the addresses this service prints or ever printed on labels; an address is taken
    apart here and never followed, and one that is not ours is refused. Raises `NumberRefused`.
    """
    if len(text) > LONGEST_SCAN:
        raise NumberRefused(Fault.TOO_LONG, count=len(text))
    given = text.strip(" \t\r\n")
    if ":" in given or "/" in given:
        return parse_label_code(_code_in_address(given, base_urls))
    if len(normalised(given)) >= _SHORTEST_LABEL_CODE:
        return parse_label_code(given)
    return parse_kit_number(given)


def _code_in_address(address: str, base_urls: Collection[str]) -> str:
    if not address.isascii():
        raise NumberRefused(Fault.FOREIGN_ADDRESS)
    for base in base_urls:
        start = base.rstrip("/").upper() + "/S/"
        code = address[len(start) :]
        # A label is printed without spaces, so an address with any was not read from one.
        if address.upper().startswith(start) and code and code.replace("-", "").isalnum():
            return code
    raise NumberRefused(Fault.FOREIGN_ADDRESS)
