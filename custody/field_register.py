"""The field register: every column of the database, its purpose, controller and term (a seed file).

A column that does not stand there fails a test, so that nobody adds one without saying what it is for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One column: what it is for, who answers for it, how long it is kept, in whole sentences."""

    purpose: str
    controller: str
    kept: str


def read(register: Mapping[str, Any]) -> dict[str, Field]:
    """The register by ``schema.table.column``. KeyError for a controller or term that it does not explain."""
    return {
        f"{table}.{column}": Field(
            purpose=purpose,
            controller=register["controllers"][told["controller"]],
            kept=register["terms"][told["kept"]],
        )
        for table, told in register["tables"].items()
        for column, purpose in told["columns"].items()
    }


REGISTER: Final[Mapping[str, Field]] = read(
    json.loads(files("custody").joinpath("seed", "field_register.json").read_text(encoding="utf-8"))
)
