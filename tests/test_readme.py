"""The README says what the code does: its tables are the code's own.

``python -m tests.test_readme`` writes the tables anew after a change of the protocol or the permissions.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from custody.people import Function
from custody.permission import PERMISSIONS
from custody.protocol import (
    CHOICES_STEPS,
    CUSTODY_STEPS,
    OTHER_STEPS,
    Custody,
    Legal,
    Retention,
    Step,
)

README = Path(__file__).parent.parent / "README.md"


def _states(moves: Mapping[Custody, Custody] | Mapping[Legal, Legal] | Mapping[Retention, Retention]) -> str:
    """`a, b → c`: from which states to which; `unchanged` where it only must be one of them."""
    if not moves:
        return ""
    by_end: dict[str, list[str]] = {}
    same = [str(k) for k, v in moves.items() if k == v]
    for start, end in moves.items():
        if start != end:
            by_end.setdefault(str(end), []).append(str(start))
    told = [f"{', '.join(starts)} → {end}" for end, starts in by_end.items()]
    if same:
        told.append(f"in {', '.join(same)}")
    return "; ".join(told)


def _steps(steps: Mapping[str, Step]) -> str:
    lines = [
        "| event | what happened | package | legal | term | people |",
        "|---|---|---|---|---|---|",
    ]
    for name, step in steps.items():
        lines.append(
            f"| `{name}` | {step.says} | {_states(step.custody)} | {_states(step.legal)} |"
            f" {_states(step.retention)} | {step.people} |"
        )
    return "\n".join(lines)


def _others() -> str:
    lines = ["| event | what happened | people |", "|---|---|---|"]
    lines += [f"| `{name}` | {step.says} | {step.people} |" for name, step in OTHER_STEPS.items()]
    return "\n".join(lines)


def _permissions() -> str:
    functions = [f for f in Function if f is not Function.CLOCK]
    lines = [
        "| action | " + " | ".join(functions) + " |",
        "|---|" + "---|" * len(functions),
    ]
    for action, who in PERMISSIONS.items():
        cells = [", ".join(sorted(r.replace("_", " ") for r in who.get(f, ()))) for f in functions]
        lines.append(f"| `{action}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


TABLES: Mapping[str, Callable[[], str]] = {
    "custody trail": lambda: _steps(CUSTODY_STEPS),
    "choices trail": lambda: _steps(CHOICES_STEPS),
    "other trails": _others,
    "permissions": _permissions,
}


def _block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- table: {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def test_the_tables_of_the_readme_are_those_of_the_code() -> None:
    text = README.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        found = _block(name).search(text)
        assert found is not None, f"the README has no table of the {name}"
        assert found[2] == table() + "\n", (
            f"the table of the {name} is not the code's; run python -m tests.test_readme"
        )


def test_the_readme_names_the_two_commands_that_exist() -> None:
    text = README.read_text(encoding="utf-8")
    makefile = README.with_name("Makefile").read_text(encoding="utf-8")
    for command in ("demo", "test"):
        assert f"make {command}" in text
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)


def rewrite() -> None:
    """Write the tables of the README anew."""
    text = README.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        head, _, rest = text.partition(f"<!-- table: {name} -->\n")
        text = f"{head}<!-- table: {name} -->\n{table()}\n{rest[rest.index('<!-- end -->') :]}"
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    rewrite()
