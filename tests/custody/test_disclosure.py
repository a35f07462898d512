"""What of the private part is given to a court, and that the rest stays hidden."""

import contextlib
import hashlib
import json
import subprocess
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from custody.disclosure import DisclosureRefused, Part, Told, check, digest_of, disclose, salted
from custody.event import Event, Fact, Head, place_in_trail, private_digest
from custody.items import TYPES
from custody.private import unseal
from custody.refusal import Refused
from tests.custody.test_private import EVENT as AN_EVENT
from tests.custody.test_private import KEY, KIT, PARTS
from tests.custody.test_private import SEALED_BEFORE as BEFORE

NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
THREE = salted({"item 1": "swab_penile", "item 2": "shoes", "item 3": "swab_skin"}, bytes(range(100, 148)))


def event_of(part: Part, salt: bytes = bytes(16), digest: str | None = None, kit: str = KIT) -> Event:
    """An event that names this part."""
    fact = Fact(
        type="package.packed",
        subject=f"custody:{kit}",
        who={"function": "clock"},
        private=part.values,
    )
    return place_in_trail(fact, Head(), NOON, salt, digest or part.digest(salt.hex()))


@given(PARTS, st.data())
def test_the_fields_that_were_asked_for_are_told_and_check_and_no_other_is_in_the_document(
    part: Part, data: st.DataObject
) -> None:
    assume(len({field.salt for field in part.fields}) == len(part.fields))
    event = event_of(part)
    wanted = data.draw(st.sets(st.sampled_from(sorted(part.values)), min_size=1))
    document = disclose(KIT, [(event, part)], wanted)
    assert check(document, [event]) == tuple(
        Told(event=event, name=f.name, value=f.value) for f in part.fields if f.name in wanted
    )
    for field in part.fields:
        assert (field.salt.hex() in document.decode()) == (field.name in wanted)
    (entry,) = json.loads(document)["events"]
    assert {each["name"] for each in entry["disclosed"]} == wanted
    assert len(entry["undisclosed"]) == len(part.fields) - len(wanted)


@given(PARTS, st.integers(0, 100_000), st.integers(1, 127))
def test_a_disclosure_with_a_flipped_byte_says_nothing_else(part: Part, at: int, bits: int) -> None:
    event = event_of(part)
    document = disclose(KIT, [(event, part)], part.values)
    told = check(document, [event])
    other = bytearray(document)
    other[at % len(other)] ^= bits
    with contextlib.suppress(DisclosureRefused):
        assert check(bytes(other), [event]) == told  # a blank became another blank


def test_whoever_has_the_event_alone_cannot_confirm_a_guessed_type_of_item() -> None:
    """By the earlier definition they could: the salt stood in the event."""
    one = {"item 1": "swab_penile"}
    before, now = salted(one, bytes(range(16))), salted(one, bytes(range(16, 32)))
    salt = bytes(range(50, 66))
    guesses = [{"item 1": kind} for kind in TYPES]
    assert one in guesses
    old = event_of(before, salt, private_digest(salt.hex(), one))
    assert [g for g in guesses if private_digest(old.values["salt"], g) == old.get("private")] == [one]

    event = event_of(now, salt)
    known = [salt, bytes.fromhex(event.digest)[:16], bytes(16), hashlib.sha256(event.bytes).digest()[:16]]
    for guess in guesses:
        assert private_digest(event.values["salt"], guess) != event.get("private")
        for tried in known:
            assert salted(guess, tried).digest("") != event.get("private")
    assert salted(one, bytes(range(16, 32))).digest("") == event.get("private")  # with the salt they can
    assert event_of(salted(one, bytes(16)), salt).get("private") != event.get("private")


def test_two_fields_never_have_the_same_text_however_the_words_are_cut() -> None:
    one = salted({"a": "b\nc"}, bytes(16)).fields[0]
    two = salted({"ab": "\nc"}, bytes(16)).fields[0]
    assert one.digest != two.digest
    assert digest_of([one.digest, two.digest]) == digest_of([two.digest, one.digest])
    assert digest_of([one.digest]) != one.digest


def test_a_court_checks_with_sha256sum_what_the_documentation_says() -> None:
    def sha256sum(text: str) -> str:
        done = subprocess.run(["sha256sum"], input=text.encode(), capture_output=True, check=True)
        return done.stdout.decode()[:64]

    event = event_of(THREE)
    (entry,) = json.loads(disclose(KIT, [(event, THREE)], ["item 2"]))["events"]
    (told,) = entry["disclosed"]
    field = sha256sum(f"custody private field\n{told['salt']}\n{told['name']}\n{told['value']}")
    lines = "\n".join(sorted([field, *entry["undisclosed"]]))
    assert sha256sum(f"custody private part\n{lines}\n") == event.get("private")
    assert sha256sum(event.bytes.decode()) == entry["event"]


# --- refusals --------------------------------------------------------------------------------------

ONE = event_of(THREE)


def document(**changes: Any) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(disclose(KIT, [(ONE, THREE)], ["item 2"]))
    read["events"][0] |= changes
    return read


def told(**changes: Any) -> list[dict[str, Any]]:
    return [document()["events"][0]["disclosed"][0] | changes]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"disclosed": told(value="boots")}, "not those that event"),
        ({"disclosed": told(name="item 4")}, "not those that event"),
        ({"disclosed": told(salt="00" * 16)}, "not those that event"),
        ({"disclosed": told(salt="00" * 15)}, "salt"),
        ({"disclosed": told(name="Item 4")}, "cannot be read"),
        ({"disclosed": told(value=3)}, "texts"),
        ({"disclosed": told(more="x")}, "an object with"),
        ({"disclosed": [*told(), *told()]}, "cannot be read"),
        ({"disclosed": []}, "cannot be read"),
        ({"disclosed": "x"}, "lists"),
        ({"undisclosed": []}, "not those that event"),
        ({"undisclosed": ["x"]}, "undisclosed"),
        ({"event": "00" * 32}, "is not in the bundle"),
        ({"event": "x"}, "event"),
        ({"more": 1}, "an object with"),
        ({"whole": {"item 2": "shoes"}}, "an object with"),
    ],
)
def test_a_disclosure_that_was_altered_is_refused_with_the_reason(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(DisclosureRefused, match=why):
        check(json.dumps(document(**wrong)).encode(), [ONE])


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "an object with"),
        (b'{"format": "x", "format": "x"}', "twice"),
        (b" " * (1 << 20) + b"{}", "at most"),
        (json.dumps(document() | {"format": "x"}).encode(), "does not know"),
        (json.dumps(document() | {"kit": "x"}).encode(), "kit"),
        (json.dumps(document() | {"kit": "0" * 12}).encode(), "is not of kit"),
        (json.dumps(document() | {"events": []}).encode(), "no event"),
        (json.dumps(document() | {"events": document()["events"] * 2}).encode(), "twice"),
    ],
)
def test_what_is_no_disclosure_is_refused_with_the_reason(written: bytes, why: str) -> None:
    with pytest.raises(DisclosureRefused, match=why):
        check(written, [ONE])


def test_nothing_is_told_that_nobody_asked_for_or_that_is_not_there() -> None:
    with pytest.raises(Refused, match="Name the fields"):
        disclose(KIT, [(ONE, THREE)], [])
    with pytest.raises(Refused, match="has no"):
        disclose(KIT, [(ONE, THREE)], ["item 9"])


def test_a_part_of_the_earlier_definition_is_told_whole_or_not_at_all() -> None:
    part = unseal(KEY, BEFORE, KIT, AN_EVENT)
    event = event_of(part)
    with pytest.raises(Refused, match="only be told whole"):
        disclose(KIT, [(event, part)], ["hospital_reference"])
    whole = disclose(KIT, [(event, part)], part.values)
    assert {t.name: t.value for t in check(whole, [event])} == part.values
    altered = json.loads(whole)
    altered["events"][0]["whole"]["hospital_reference"] = "VERZONNEN-2"
    with pytest.raises(DisclosureRefused, match="not those that event"):
        check(json.dumps(altered).encode(), [event])
    altered["events"][0]["whole"] = {}
    with pytest.raises(DisclosureRefused, match="names and values"):
        check(json.dumps(altered).encode(), [event])
