"""The README's table of attackers says neither more nor less than what these tests show."""

import importlib
import pkgutil

import pytest

import tests.attackers
from tests.attackers.claims import COULD, COULD_NOT, README, SHOWN, Claim, claim, claimed


def shown() -> set[Claim]:
    """Every claim that has a test, in whichever file of this folder."""
    for module in pkgutil.iter_modules(tests.attackers.__path__):
        if module.name.startswith("test_"):
            importlib.import_module(f"tests.attackers.{module.name}")
    return set(SHOWN)


def test_every_claim_of_the_readme_has_its_test_and_every_test_its_claim() -> None:
    stated = claimed(README.read_text(encoding="utf-8"))
    assert len(stated) == len(set(stated)), "the README makes a claim twice"
    tested = shown()
    assert [each for each in stated if each not in tested] == [], "claims without a test"
    assert sorted(tested - set(stated)) == [], "tests whose claim the README does not make"


def test_every_attacker_of_the_table_could_do_something_and_could_not_do_something() -> None:
    stated = claimed(README.read_text(encoding="utf-8"))
    for who in {who for who, _, _ in stated}:
        assert {column for named, column, words in stated if named == who and words} == {COULD, COULD_NOT}, (
            who
        )


def test_a_claim_that_is_shown_twice_or_by_no_test_is_refused() -> None:
    def helps() -> None:
        """Not a test."""

    def test_again() -> None:
        """A test, but the claim is shown already."""

    first = next(iter(sorted(shown())))
    for wrong in (helps, test_again):
        with pytest.raises(ValueError, match="cannot show"):
            claim(*first)(wrong)
    assert first in SHOWN
