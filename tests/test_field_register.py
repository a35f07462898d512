"""Every column of the database stands in the field register, and nothing stands there that is no column."""

import json
from importlib.resources import files

import pytest

from custody.field_register import REGISTER, read
from tests.conftest import Database


def test_register_and_database_name_the_same_columns(production_database: Database) -> None:
    with production_database.connect("superuser") as connection:
        rows = connection.execute(
            "SELECT n.nspname || '.' || c.relname || '.' || a.attname FROM pg_attribute a"
            " JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped"
            " AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%'"
        ).fetchall()
    found = {row[0] for row in rows}
    assert found - set(REGISTER) == set(), "say in custody/seed/field_register.json what they are for"
    assert set(REGISTER) - found == set(), "these columns are no more"


def test_every_entry_says_what_for_who_answers_and_how_long() -> None:
    for column, field in REGISTER.items():
        for told in (field.purpose, field.controller, field.kept):
            assert len(told) >= 4, column


def test_every_controller_and_term_is_used_and_an_unknown_one_is_refused() -> None:
    told = json.loads(files("custody").joinpath("seed", "field_register.json").read_text(encoding="utf-8"))
    assert {t["controller"] for t in told["tables"].values()} == set(told["controllers"])
    assert {t["kept"] for t in told["tables"].values()} == set(told["terms"])
    told["tables"]["custody.kit"]["kept"] = "for ever and a day"
    with pytest.raises(KeyError):
        read(told)
