"""What the documents show as an example is taken by the program as it stands there."""

import re
from datetime import date
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from audit.policy import Policy
from custody.standing import Standing
from desk.client import MEMBERS
from desk.people import changes
from desk.people_file import read
from desk.trust import NEEDED, OPTIONAL, read_issuers

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


def test_the_example_of_the_issuers_is_one_and_every_member_is_explained(tmp_path: Path) -> None:
    text = (DOCS / "sign-in.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```json\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "issuers.json").write_text(example, encoding="utf-8")
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "hospital-client.pem").write_bytes(pem)
    (tmp_path / "hospital-client.pem").chmod(0o600)
    (issuer,) = read_issuers(tmp_path / "issuers.json")
    assert issuer.organisations == {"zsg-sterrenberg"}
    assert issuer.client is not None
    assert issuer.client.id == "custody"
    rows = "".join(line for line in text.splitlines() if line.startswith("| `"))
    for member in NEEDED | OPTIONAL | MEMBERS:
        assert f"`{member}`" in rows, member
