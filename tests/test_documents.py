"""What the documents show as an example is taken by the program as it stands there."""

import re
from datetime import date
from pathlib import Path

from audit.policy import Policy
from custody.standing import Standing
from desk.people import changes
from desk.people_file import read

DOCS = Path(__file__).parent.parent / "docs"


def test_the_policy_in_the_page_about_witnesses_is_a_policy() -> None:
    text = (DOCS / "witnesses.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 1
    policy = Policy.read(blocks[0].encode())
    assert [witness.name for witness in policy.witnesses] == ["university", "registry", "notaries"]
    assert all(witness.url for witness in policy.witnesses)


def test_every_document_that_is_named_is_there() -> None:
    named = re.findall(
        r"\]\(((?:docs/)?[a-z-]+\.md)\)", (DOCS.parent / "README.md").read_text(encoding="utf-8")
    )
    assert named
    for name in named:
        assert (DOCS.parent / name).is_file(), name


def test_the_example_of_a_register_file_is_one() -> None:
    text = (DOCS / "people.md").read_text(encoding="utf-8")
    example, twice = re.findall(r"^```json\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    made = changes(read(example.encode()), Standing(today=date(2026, 6, 1)))
    assert [change.fact.type for change in made if change.leaves] == []
    assert len(made) == 5 + 2 + 1 + 2 + 2
    assert read(twice.encode()).people[0].same_as == "wanda"
