"""Policy files at the command line: `custody policies check` and `custody policies show`, offline."""

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from desk.policy_words import NONE, VALUES, WRITTEN, length
from retention.aloud import Difference, Value, check_readable, differences, values
from retention.period import RetentionDataError
from retention.policy import Policy, load


def check(files: Sequence[Path]) -> int:
    """Whether each file can be read and keeps every rule of a policy; 0 where all of them do."""
    wrong = 0
    for file in files:
        try:
            policies = _read(file)
            for policy in policies:
                check_readable(policy)
        except RetentionDataError as fault:
            print(f"{file}: {fault}", file=sys.stderr)
            wrong += 1
            continue
        for policy in policies:
            said = [each for each in values(policy) if each.confirmed is not None]
            confirmed = sum(each.confirmed is True for each in said)
            print(f"{file}: {policy.reference} is in order; {confirmed} of {len(said)} values are confirmed.")
    return 1 if wrong else 0


def show(files: Sequence[Path]) -> int:
    """Files, read aloud: every value with its source, and what each later version of a policy changes."""
    policies: list[Policy] = []
    for file in files:
        try:
            policies += _read(file)
        except RetentionDataError as fault:
            print(f"{file}: {fault}", file=sys.stderr)
            return 1
    print("\n\n".join(_told(policy) for policy in policies))
    for before, after in pairwise(sorted(policies, key=lambda policy: (policy.id, policy.version))):
        if before.id == after.id:
            print(f"\nFrom {before.reference} to {after.reference}:")
            print("\n".join(_changed(each) for each in differences(before, after)) or "  nothing changes")
    return 0


def _read(file: Path) -> tuple[Policy, ...]:
    try:
        return load(file.read_bytes())
    except OSError as fault:
        raise RetentionDataError(f"it cannot be read: {fault.strerror}") from fault


def _told(policy: Policy) -> str:
    return "\n".join([f"{policy.reference}", *(_line(each) for each in values(policy))])


def _line(value: Value) -> str:
    line = f"  {named(value.name)}: {worded(value)}"
    if value.source is None:
        return line
    return f"{line}  [{'confirmed' if value.confirmed else 'unconfirmed'}]\n      {value.source}"


def _changed(difference: Difference) -> str:
    before, after = (worded(each) if each else "–" for each in (difference.before, difference.after))
    if not difference.in_substance:
        after = "the same, with another source"
    return f"  {named(difference.name)}: {before} -> {after}"


def _plain(message: str) -> str:
    return message


def named(name: str, translate: Callable[[str], str] = _plain) -> str:
    """What a value is called; later notices are told apart by their number."""
    first, _, number = name.partition(".")
    return f"{translate(VALUES[first])} {number}" if first == "reminders" else translate(VALUES[name])


def worded(value: Value, lang: str = "en", translate: Callable[[str], str] = _plain) -> str:
    """A value as people read it: lengths in the words of the language, names and holidays as they stand."""
    if value.written is None:
        return translate(NONE[value.name])
    known = WRITTEN.get(f"{value.name} {value.written}") or WRITTEN.get(value.written)
    if known is not None:
        return translate(known)
    if value.source is not None and value.name != "holidays":
        return length(value.written, lang)
    return value.written
