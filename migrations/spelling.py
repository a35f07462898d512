"""The one spelling of an event, as regular expressions that PostgreSQL can hold bytes against.

`custody.event.FIELDS` says what an event may state; what follows from it here is put into the function
`custody.spelled` (sql/custody_spelled.sql). Nothing is written down twice: a changed field needs a revision
that makes the function again with :func:`function`, and a test compares the two.

Each top-level field has one expression over the JSON text of its value: keys in their order, no blank, no
escape but of quote and backslash, digits and lengths as FIELDS says. Commas are matched leniently, for the
text has been parsed as JSON before.
"""

import json
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from custody.event import ALWAYS, FIELDS, FORMAT, Day, Kind, Many, Moment, Text, Thing, Whole

SQL: Final = Path(__file__).parent / "sql" / "custody_spelled.sql"

# --- a day of the calendar; the year 0000 is none -------------------------------------------------

_YEAR: Final = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_LEAP: Final = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DAY: Final = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP}-02-29)"
)
_MOMENT: Final = _DAY + r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z"

# --- texts ----------------------------------------------------------------------------------------

_ESCAPED: Final = r'\\["\\]'
_NEVER: Final = r'"\\\u0001-\u001f\u007f'
_TWO_CLASSES: Final = re.compile(r"(\[[^\]^][^\]]*\])(\[[^\]^][^\]]*\])\*")
_HEXADECIMAL: Final = re.compile(r"\(\?:\[0-9a-f\]\{([0-9]+)\}\)")
_FIXED: Final = re.compile(r"(?:[^*+?{}]|\(\?:|\{[0-9]+(?:,[0-9]+)?\})*")


def _pattern(kind: Text, quick: bool = False) -> tuple[str, bool]:
    """The expression of a text without its quotes, and whether it bounds the length, too.

    Counting is what takes time: the `quick` expression does not count the letters of a text.
    """
    if kind.pattern is None:
        return f"(?:[^{_NEVER}]|{_ESCAPED})" + ("+" if quick else f"{{1,{kind.most}}}"), True
    pattern = kind.pattern.pattern
    if (two := _TWO_CLASSES.fullmatch(pattern)) is not None:
        return two[1] + two[2] + ("*" if quick else f"{{0,{kind.most - 1}}}"), True
    all_but = re.sub(r"\[\^([^\]]*)\]", lambda m: f"(?:[^{_NEVER}{m[1]}]|{_ESCAPED})", pattern)
    return f"(?:{all_but})", _FIXED.fullmatch(pattern) is not None


def _digits(count: int) -> str:
    return "" if count == 0 else "[0-9]" if count == 1 else f"[0-9]{{{count}}}"


def _whole(kind: Whole) -> str:
    """Whole numbers from 0 or 1 to the largest, without a leading zero."""
    if kind.least not in (0, 1):
        raise ValueError(f"no expression for whole numbers from {kind.least}")
    largest = str(kind.most)
    ways = [largest]
    for at, digit in enumerate(largest):
        first, rest = int(at == 0), len(largest) - at - 1
        if int(digit) > first:
            ways.append(f"{largest[:at]}[{first}-{int(digit) - 1}]{_digits(rest)}")
    ways += [f"[1-9]{_digits(count)}" for count in range(len(largest) - 1)]
    return "(?:" + "|".join(["0", *ways] if kind.least == 0 else ways) + ")"


def _written(kind: Kind, where: str, quick: bool = False) -> str:
    """The expression of a value inside another: everything about it must be in the expression."""
    match kind:
        case Text():
            pattern, bounded = _pattern(kind, quick)
            if not bounded:
                raise ValueError(f"the length of {where} does not follow from its pattern")
            return f'"{pattern}"'
        case Whole():
            return _whole(kind)
        case Moment():
            return f'"{_MOMENT}"'
        case Day():
            return f'"{_DAY}"'
        case Thing(keys, may):
            told = [
                f'(?:"{key}":{_written(of, f"{where}.{key}", quick)},?){"?" if key in may else ""}'
                for key, of in keys.items()
            ]
            return r"\{" + "".join(told) + r"\}"
        case Many(of, most):
            one = _written(of, where, quick)
            return rf"\[{one}(?:,{one}){{0,{most - 1}}}\]"


def _field(name: str, kind: Kind) -> dict[str, Any]:
    """The expression of a field (`form`), and what stands beside it.

    `quick`: an expression for values without a long text; `exact`: the length of the whole value, of which
    `quick` then says the letters; `most`: entries; `longest`: letters of each text.
    """
    if name == "format":
        return {"form": f"^{FORMAT}$"}
    if isinstance(kind, Text):
        pattern, bounded = _pattern(kind)
        if (hexadecimal := _HEXADECIMAL.fullmatch(pattern)) is not None:
            null = "null|" if name == "previous" else ""
            return {
                "form": f'^(?:{null}"{pattern}")$',
                "exact": int(hexadecimal[1]) + 2,
                "quick": '^"[0-9a-f]+"$',
            }
        if not bounded:
            return {"form": f'^"{pattern}"$', "longest": kind.most}
        return {"form": f'^"{pattern}"$', "quick": f'^"{_pattern(kind, quick=True)[0]}"$'}
    if isinstance(kind, Many) and isinstance(kind.of, Text):
        pattern, bounded = _pattern(kind.of)
        longest = {} if bounded else {"longest": kind.of.most}
        return {"form": rf'^\[(?:"{pattern}",?)+\]$', "most": kind.most, **longest}
    if isinstance(kind, Many):
        if not isinstance(kind.of, Thing):
            raise ValueError(f"no expression for the entries of {name}")
        return {
            "form": rf"^\[(?:{_written(kind.of, name)},?)+\]$",
            "quick": rf"^\[(?:{_written(kind.of, name, quick=True)},?)+\]$",
            "most": kind.most,
        }
    form = f"^{_written(kind, name)}$"
    return {"form": form} | (
        {"quick": f"^{_written(kind, name, quick=True)}$"} if isinstance(kind, Thing) else {}
    )


def _shortest(kind: Kind) -> int:
    """The fewest letters that some text in a value may have at most."""
    match kind:
        case Text(most):
            return most
        case Thing(keys):
            return min(_shortest(of) for of in keys.values())
        case Many(of):
            return _shortest(of)
        case _:
            return 40


SHORT: Final = min(_shortest(kind) for kind in FIELDS.values())
"""A text of so many letters is too long for no field: the quick expressions suffice for it."""


def fields() -> dict[str, dict[str, Any]]:
    """Every field by name: its place in the order, its expression, and whether every event has it."""
    return {
        name: {"place": place, "always": name in ALWAYS, **_field(name, kind)}
        for place, (name, kind) in enumerate(FIELDS.items(), 1)
    }


# --- letters --------------------------------------------------------------------------------------


def _refused() -> Iterator[tuple[int, int]]:
    """Ranges beyond ASCII that no text may have, see `custody.event.Text`; surrogates are no UTF-8."""
    start: int | None = None
    for code in range(0x80, sys.maxunicode + 2):
        never = code <= sys.maxunicode and not 0xD800 <= code <= 0xDFFF
        never = never and unicodedata.category(chr(code)) in {"Cc", "Cf", "Co", "Cn", "Zl", "Zp"}
        if never and start is None:
            start = code
        elif not never and start is not None:
            yield start, code - 1
            start = None


def letters_refused() -> str:
    """A bracket expression of the characters that stand in no text."""
    return "[" + "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in _refused()) + "]"


def function() -> str:
    """The statement that makes `custody.spelled`."""
    return (
        SQL.read_text(encoding="utf-8")
        .replace("@FIELDS@", json.dumps(fields(), ensure_ascii=True))
        .replace("@REFUSED@", letters_refused())
        .replace("@SHORT@", str(SHORT))
        .replace("@ALWAYS@", str(len(ALWAYS)))
    )
