"""What the service writes to its output: when, where in the code, what kind of failure. No datum of anybody.

Logs are kept longer, copied further and read by more people than the database. So one formatter writes every
line of a worker:

- our own lines are written as they are; they hold a request's reference, never what was sent. What looks like
  a kit number, a card's code or number, a token, an address of a machine or of a person is blotted out all
  the same;
- of a failure: the kinds of exception and the places in the code, never an exception's own words, which may
  repeat a row ("Failing row contains (…)") or what somebody typed. Of the database its SQLSTATE and the
  constraint. Refusals to start are addressed to whoever starts the service and are written in full;
- of other libraries' lines the place in the code only; uvicorn's sentences without their values.

Uncaught exceptions and Python's warnings go the same way.
"""

import logging
import re
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, cast

from custody.number import NumberRefused, parse_kit_number
from desk.issuer import DemoRefused
from desk.settings import CannotStart

OURS: Final = frozenset({"desk", "custody", "audit", "labels", "retention", "migrations", "__main__"})
SPEAKS: Final = frozenset({"uvicorn.error"})
"""Whose sentences are constant; the values in them are left out."""
FOR_WHO_STARTS_IT: Final = (CannotStart, DemoRefused)
MOST_CAUSES: Final = 5

_ROOT: Final = str(Path(__file__).parent.parent) + "/"
_PACKAGES: Final = re.compile(r".*/(?:site-packages|python3\.\d+)/")
_PLACE: Final = re.compile(r"%(?:\(\w+\))?[-#0-9 .*+]*[a-zA-Z]")
_CROCKFORD: Final = "[0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]"
_BLOTTED: Final = re.compile(
    r"(?P<uuid>\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b)"  # a request's reference stays
    r"|(?P<person>[^\s<>()\"']+@[^\s<>()\"']+\.[A-Za-z]{2,})"
    rf"|(?P<card>(?<![0-9A-Za-z])(?:{_CROCKFORD}{{5}}-){{4}}{_CROCKFORD}{{5}}(?![0-9A-Za-z]))"
    rf"|(?P<kit>(?<![0-9A-Za-z]){_CROCKFORD}{{4}}-?{_CROCKFORD}{{4}}-?{_CROCKFORD}{{4}}(?![0-9A-Za-z]))"
    r"|(?P<token>(?<![\w.-])(?:eyJ[\w-]{9,}|(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{20,})(?:\.[\w-]+)*)"
    r"|(?P<four>(?<!\d)(?<!\d\.)(?:\d{1,3}\.){3}\d{1,3}(?!\.?\d))"
    r"|(?P<six>(?<![\w:])(?=[0-9A-Fa-f:]*::|(?:[0-9A-Fa-f]+:){4})[0-9A-Fa-f:]{3,39}(?![\w:]))"
    r"|(?P<secret>(?<!\d)\d{4} ?\d{4}(?!\d))"
)
_BLOTS: Final = {
    "person": "[address]",
    "card": "[card]",
    "kit": "[kit]",
    "token": "[value]",
    "four": "[address]",
    "six": "[address]",
    "secret": "[number]",
}


def blotted(text: str) -> str:
    """The text without what looks like a kit, a card, a secret or an address."""

    def blot(found: re.Match[str]) -> str:
        kind = cast(str, found.lastgroup)
        if kind == "uuid" or (kind == "kit" and not _is_kit(found[0])):
            return found[0]
        return _BLOTS[kind]

    return _BLOTTED.sub(blot, text)


def _is_kit(text: str) -> bool:
    try:
        parse_kit_number(text)
    except NumberRefused:
        return False
    return True


class Discreet(logging.Formatter):
    """Writes a record as the head of this file says; the time is UTC."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="seconds")
        lines = [f"{at} {record.levelname} {record.name}: {_says(record)}"]
        if record.exc_info and record.exc_info[1] is not None:
            lines += _failure(record.exc_info[1])
        return "\n".join(lines)


def _says(record: logging.LogRecord) -> str:
    if record.name.partition(".")[0] in OURS:
        return blotted(record.getMessage())
    place = f"{Path(record.pathname).name}:{record.lineno} in {record.funcName}"
    if record.name not in SPEAKS or not isinstance(record.msg, str) or record.msg.startswith("Traceback"):
        return place
    sentence = record.msg.strip().partition("\n")[0]
    return blotted(_PLACE.sub("…", sentence))


def _failure(happened: BaseException) -> Iterator[str]:
    """The kinds of exception, outermost first, each with its places in the code."""
    each: BaseException | None = happened
    seen: set[int] = set()
    while each is not None and len(seen) < MOST_CAUSES and id(each) not in seen:
        seen.add(id(each))
        yield f"  {'because of ' if len(seen) > 1 else ''}{_kind(each)}"
        yield from _places(each.__traceback__)
        if isinstance(each, BaseExceptionGroup):
            yield from (f"    with {_kind(one)}" for one in each.exceptions[:MOST_CAUSES])
        hidden = None if each.__suppress_context__ else each.__context__
        each = each.__cause__ or hidden


def _kind(happened: BaseException) -> str:
    kind = f"{type(happened).__module__}.{type(happened).__qualname__}"
    if isinstance(happened, FOR_WHO_STARTS_IT):
        return f"{kind}: {blotted(str(happened))}"
    told = [
        getattr(happened, "sqlstate", None),
        getattr(getattr(happened, "diag", None), "constraint_name", None),
    ]
    return " ".join([kind, *(str(each) for each in told if each)])


def _places(trace: TracebackType | None) -> Iterator[str]:
    while trace is not None:
        code = trace.tb_frame.f_code
        file = _PACKAGES.sub("", code.co_filename.removeprefix(_ROOT))
        yield f"    {file}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next


def settle(level: int = logging.WARNING) -> None:
    """From now on this process writes its log through `Discreet`, on the error output."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Discreet())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.raiseExceptions = False  # a line that cannot be formatted would be shown with its values
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda told: _note(told.exc_value)
    sys.unraisablehook = lambda told: _note(told.exc_value)


def _uncaught(kind: type[BaseException], happened: BaseException, trace: TracebackType | None) -> None:
    _note(happened)


def _note(happened: BaseException | None) -> None:
    if not isinstance(happened, KeyboardInterrupt | SystemExit):
        logging.getLogger("desk").error("a part of the service ended", exc_info=happened)
