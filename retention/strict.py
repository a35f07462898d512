"""Reading JSON that people wrote, strictly: every value has one form, and a refusal says where it stands.

Pure: values in, values out. Every function raises RetentionDataError, with the place in the file first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Final, TypeVar

from retention.period import RetentionDataError

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_Made = TypeVar("_Made")


def parsed(content: bytes) -> object:
    """What `content`, UTF-8 JSON, says; repeated keys and numbers with a fraction are refused."""
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_no_repeats,
            parse_float=_no_such_number,
            parse_constant=_no_such_number,
        )
    except RetentionDataError:
        raise
    except json.JSONDecodeError as fault:
        raise RetentionDataError(
            f"the policy file is not UTF-8 JSON: look at line {fault.lineno}, character {fault.colno}"
        ) from fault
    except (ValueError, RecursionError) as fault:
        raise RetentionDataError(f"the policy file is not UTF-8 JSON: {fault}") from fault


def fields(
    value: object, expected: frozenset[str], where: str, optional: frozenset[str] = frozenset()
) -> Mapping[str, object]:
    """An object with exactly the fields `expected`, and any of `optional`."""
    if not isinstance(value, dict):
        raise RetentionDataError(f"{where}: an object with {', '.join(sorted(expected))} is needed")
    if missing := sorted(expected - value.keys()):
        raise RetentionDataError(f"{where}: {', '.join(missing)} missing")
    if unknown := sorted(value.keys() - expected - optional):
        raise RetentionDataError(f"{where}: {', '.join(unknown)} not known here")
    return value


def entries(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise RetentionDataError(f"{where}: a list is needed")
    return value


def text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise RetentionDataError(f"{where}: a text is needed")
    return value


def number(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise RetentionDataError(f"{where}: a whole number is needed")
    return value


def answer(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise RetentionDataError(f"{where}: true or false is needed")
    return value


def day(value: object, where: str) -> date:
    written = text(value, where)
    try:
        if _DATE.fullmatch(written) is None:
            raise ValueError(written)
        return date.fromisoformat(written)
    except ValueError as fault:
        raise RetentionDataError(f"{where}: {written!r} is not a date such as 2026-03-01") from fault


def said_where(where: str, make: Callable[[], _Made]) -> _Made:
    """What `make` gives; its refusals are told with the place in the file, once."""
    try:
        return make()
    except RetentionDataError as fault:
        raise fault if str(fault).startswith(where) else RetentionDataError(f"{where}: {fault}") from fault


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        raise RetentionDataError(f"{', '.join(repeated)} stands there more than once in one object")
    return found


def _no_such_number(written: str) -> object:
    raise RetentionDataError(f"{written}: only whole numbers are written in a policy file")
