"""The bytes of events: one spelling, frozen samples that stay readable forever, nothing else accepted."""

import hashlib
import json
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from custody.disclosure import salted
from custody.event import (
    ALWAYS,
    FIELDS,
    HEADER,
    MOST_BYTES,
    EventRefused,
    Fact,
    Head,
    decode,
    encode,
    place_in_trail,
    private_digest,
    read_moment,
    write_moment,
)
from custody.protocol import STEPS

FROZEN = Path(__file__).parent / "frozen"
SAMPLES = {path.stem: path.read_bytes() for path in sorted(FROZEN.glob("*.json"))}
LINES = [line.split("  ") for line in (FROZEN / "SHA256SUMS").read_text(encoding="ascii").splitlines()]
SUMS = {name: digest for digest, name in LINES}

# In this order they stand in every event ever written. A new field may come between two of them.
ORDER = (
    *(
        "format",
        "type",
        "subject",
        "number",
        "previous",
        "recorded_at",
        "occurred_at",
        "who",
        "with",
        "centre",
    ),
    *("examined_on", "age_class", "packages", "items", "brought_by", "place", "handover", "counterpart"),
    *("carrier", "due_at", "labels", "link", "request", "order", "policy", "term", "until"),
    *("remind_on", "hold"),
    *("decided_by", "channel", "language", "card", "how", "reason", "finding", "cites", "documents", "paper"),
    *("register", "numbers", "naming", "digest", "kit", "purpose", "read", "salt", "private"),
)

ONE = SAMPLES["package.sealed"]


def altered(name: str = "package.sealed", **change: Any) -> dict[str, Any]:
    """The values of a frozen event with some put differently; None takes one away."""
    values = {**json.loads(SAMPLES[name]), **change}
    return {k: v for k, v in values.items() if v is not None}


def written(values: Any, **how: Any) -> bytes:
    """JSON as `encode` spells it, without its checks."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"), **how).encode()


# --- frozen ----------------------------------------------------------------------------------


def test_every_type_of_event_has_its_frozen_bytes_and_none_was_ever_changed() -> None:
    assert {name.partition("@")[0] for name in SAMPLES} == set(STEPS)
    assert {f"{name}.json": hashlib.sha256(data).hexdigest() for name, data in SAMPLES.items()} == SUMS
    # The list of digests itself: a line may be added for a new type, and this value with it.
    of_all = hashlib.sha256((FROZEN / "SHA256SUMS").read_bytes()).hexdigest()
    assert of_all == "7576d54ee7d91a7f9cc228eb3ad482f0ad1d6f1d939d7c85317ae7ba77048278"


@pytest.mark.parametrize("name", SAMPLES)
def test_frozen_bytes_are_read_and_written_again_to_the_byte(name: str) -> None:
    event = decode(SAMPLES[name])
    assert event.type == name.partition("@")[0]
    assert event.digest == SUMS[f"{name}.json"]
    assert encode(event.values) == SAMPLES[name]
    assert encode(dict(reversed(list(event.values.items())))) == SAMPLES[name]
    step = STEPS[event.type]
    assert step.needs <= set(event.values) <= step.needs | step.may | set(ALWAYS)


def test_the_order_of_fields_is_the_one_of_all_events_written_before() -> None:
    assert [name for name in FIELDS if name in ORDER] == list(ORDER)


@pytest.mark.parametrize("at", range(len(ONE)))
def test_whatever_byte_of_an_event_is_flipped_it_is_refused_or_another_event(at: int) -> None:
    for bit in (0x01, 0x02, 0x20, 0x80):
        _flipped(ONE, at, bit)


@given(st.sampled_from(sorted(SAMPLES)), st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_another_event_in_every_type(name: str, at: int, bits: int) -> None:
    _flipped(SAMPLES[name], at % len(SAMPLES[name]), bits)


def _flipped(data: bytes, at: int, bits: int) -> None:
    other = data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]
    try:
        event = decode(other)
    except EventRefused:
        return
    assert event.digest != hashlib.sha256(data).hexdigest()
    assert event.values != json.loads(data)


# --- properties ------------------------------------------------------------------------------

LETTERS = st.characters(exclude_categories=("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
TEXT = st.text(LETTERS, min_size=1, max_size=60).map(lambda t: unicodedata.normalize("NFC", t))
HEX = st.binary(min_size=32, max_size=32).map(bytes.hex)
MOMENT = st.datetimes(datetime(1900, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC)).map(write_moment)  # noqa: DTZ001  # hypothesis takes naive bounds
WORDS = st.from_regex("[a-z][a-z0-9_]{0,20}", fullmatch=True)
IDS = st.from_regex("[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
EVENTS = st.fixed_dictionaries(
    {
        "format": st.just(1),
        "type": st.sampled_from(sorted(STEPS)),
        "subject": st.just("custody:7M4P9XQ3RT6C"),
        "recorded_at": MOMENT,
        "who": st.fixed_dictionaries(
            {"function": WORDS}, optional={"person": IDS, "name": TEXT, "organisation": IDS}
        ),
        "salt": HEX.map(lambda d: d[:32]),
    },
    optional={
        "occurred_at": MOMENT,
        "reason": TEXT,
        "place": st.fixed_dictionaries({"name": TEXT, "id": IDS}),
        "documents": st.lists(st.fixed_dictionaries({"digest": HEX, "kind": WORDS}), min_size=1, max_size=3),
        "packages": st.lists(
            st.fixed_dictionaries({"package": st.integers(1, 99)}, optional={"reason": WORDS}),
            min_size=1,
            max_size=4,
        ),
        "private": HEX,
    },
)


@given(EVENTS, st.integers(1, 2**53 - 1), HEX)
def test_what_is_written_is_read_and_what_is_read_was_written(
    values: dict[str, Any], number: int, previous: str
) -> None:
    values = {**values, "number": number, "previous": None if number == 1 else previous}
    assume(all(len(t) <= 60 for t in (values.get("reason", ""), values.get("place", {}).get("name", ""))))
    data = encode(values)
    event = decode(data)
    assert event.values == values
    assert encode(event.values) == data
    assert data == data.strip()
    assert b'": ' not in written(list(event.values))


@given(st.binary(max_size=300))
def test_bytes_that_are_no_event_are_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises(EventRefused):
        decode(data)


@given(st.datetimes(timezones=st.timezones()))
def test_a_time_is_written_in_utc_with_six_digits_and_read_back(at: datetime) -> None:
    try:
        same = at.astimezone(UTC)
    except OverflowError:
        assume(False)
    assert read_moment(write_moment(at)) == same
    assert len(write_moment(at)) == 27


def test_a_time_without_a_zone_is_not_recorded() -> None:
    with pytest.raises(EventRefused, match="without a zone"):
        write_moment(datetime(2026, 5, 1))  # noqa: DTZ001  # the point of this test


# --- what is refused -------------------------------------------------------------------------


def test_keys_in_another_order_are_refused_at_every_depth() -> None:
    values = json.loads(ONE)
    swapped = {k: values[k] for k in ("type", "format", *list(values)[2:])}
    inner = {**values, "packages": [{"seal": "S-0001", "package": 1}]}
    for wrong in (swapped, inner):
        with pytest.raises(EventRefused, match="one spelling"):
            decode(written(wrong))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"format":1,', b'{"format":1,"format":1,'),
        (b'"seal":"S-0001"', b'"seal":"S-0002","seal":"S-0001"'),
    ],
)
def test_a_key_that_stands_twice_is_refused(old: bytes, new: bytes) -> None:
    with pytest.raises(EventRefused, match="stands twice"):
        decode(ONE.replace(old, new))


@pytest.mark.parametrize(
    "number", ["4.0", "4e0", "NaN", "Infinity", "-0", "04", "4 ", '"4"', "true", "9" * 5000]
)
def test_a_number_is_whole_and_has_one_spelling(number: str) -> None:
    values = json.loads(ONE)
    with pytest.raises(EventRefused):
        decode(ONE.replace(f'"number":{values["number"]}'.encode(), f'"number":{number}'.encode()))


@pytest.mark.parametrize(
    "data",
    [
        ONE + b"\n",
        b" " + ONE,
        b"\xef\xbb\xbf" + ONE,
        ONE.replace(b",", b", ", 1),
        ONE.replace(b"Nora", b"\\u004eora"),
        ONE.replace(b"Nora", b"N\\/ora"),
        ONE.replace(b"Nora", b"\\ud800"),
        ONE.decode().encode("utf-16"),
        ONE[:-1],
        b"[" + ONE + b"]",
        b"[" * 100_000,
        b"null",
        b"",
    ],
    ids=lambda data: repr(data[:12]) if isinstance(data, bytes) else None,
)
def test_another_spelling_of_the_same_is_refused(data: bytes) -> None:
    with pytest.raises(EventRefused):
        decode(data)


@pytest.mark.parametrize("name", [n for n in json.loads(ONE) if n != "previous"])
def test_null_stands_nowhere_but_as_the_first_events_previous(name: str) -> None:
    values = json.loads(ONE)
    with pytest.raises(EventRefused):
        decode(written({**values, name: None}))


def test_the_first_event_follows_nothing_and_every_other_follows_one() -> None:
    first = json.loads(SAMPLES["kit.registered"])
    assert first["number"] == 1
    assert first["previous"] is None
    for wrong in (
        {**first, "previous": "ab" * 32},
        {**first, "number": 2},
        {k: v for k, v in first.items() if k != "previous"},
    ):
        with pytest.raises(EventRefused, match="previous"):
            encode(wrong)


@pytest.mark.parametrize("name", [*HEADER, "who", "salt"])
def test_what_every_event_says_cannot_be_left_out(name: str) -> None:
    values = json.loads(ONE)
    del values[name]
    with pytest.raises(EventRefused, match="missing"):
        encode(values)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"victim": "x"}, "not a field"),
        ({"who": {"function": "nurse", "age": 3}}, "unknown key"),
        ({"packages": [{"package": 1, "weight": 2}]}, "unknown key"),
        ({"packages": []}, "1 to 99"),
        ({"packages": {"package": 1}}, "must be a list"),
        ({"packages": [{"package": 0}]}, "whole number"),
        ({"packages": [{"package": True}]}, "whole number"),
        ({"packages": [{"package": 1.0}]}, "whole number"),
        ({"packages": [{"seal": "S-1"}]}, "lacks package"),
        ({"reason": "Cafe\u0301"}, "normal form C"),
        ({"reason": "a\u0000b"}, "control characters"),
        ({"reason": "a\nb"}, "control characters"),
        ({"reason": "a\u202eb"}, "control characters"),
        ({"reason": "a\u200bb"}, "control characters"),
        ({"reason": "a\u2028b"}, "control characters"),
        ({"reason": "\ud800"}, "control characters"),
        ({"reason": ""}, "1 to 200"),
        ({"reason": "x" * 201}, "1 to 200"),
        ({"salt": "AB" * 16}, "form"),
        ({"salt": "ab" * 15}, "form"),
        ({"paper": "AB" * 32}, "form"),
        ({"recorded_at": "2026-05-01T10:00:00Z"}, "must be a time"),
        ({"recorded_at": "2026-05-01T10:00:00.000000+00:00"}, "must be a time"),
        ({"recorded_at": "2026-05-01 10:00:00.000000Z"}, "must be a time"),
        ({"recorded_at": "2026-05-01T24:00:00.000000Z"}, "must be a time"),
        ({"recorded_at": "२०२६-05-01T10:00:00.000000Z"}, "must be a time"),
        ({"examined_on": "20260501"}, "must be a day"),
        ({"examined_on": "2026-02-30"}, "must be a day"),
        ({"examined_on": "2026-W18-5"}, "must be a day"),
        ({"examined_on": 20260501}, "must be a day"),
        ({"format": 2}, "not known to this reader"),
        ({"subject": "custody:a b"}, "form"),
        ({"type": "Kit.Registered"}, "form"),
        ({"numbers": ["7M4P9XQ3RT6I"]}, "form"),
    ],
)
def test_a_value_that_is_none_is_refused_by_name(change: dict[str, Any], says: str) -> None:
    with pytest.raises(EventRefused, match=says):
        encode(altered(**change))


def test_an_event_is_not_larger_than_a_court_can_read() -> None:
    entries = [
        {"package": n, "seal": "S" * 40, "reason": "r" * 40, "condition": "c" * 40} for n in range(1, 100)
    ]
    labels = [{"code": "7M4P9XQ3RT6C-P01-100-7", "serial": 100}] * 200
    documents = [{"kind": "k" * 40, "digest": "ab" * 32}] * 20
    items = [
        {"item": n, "group": "t" * 40, "package": n, "usable_until": "2026-05-01"} for n in range(1, 100)
    ]
    big = altered(
        packages=entries, labels=labels, documents=documents, items=items, numbers=["7M4P9XQ3RT6C"] * 200
    )
    assert len(encode(big)) < MOST_BYTES
    with pytest.raises(EventRefused, match="bytes"):
        encode(
            {
                **big,
                "cites": ["ab" * 32] * 20,
                "reason": "\U0001f9ca" * 200,
                "with": [{"part": "p" * 40, "name": "\U0001f9ca" * 120}] * 6,
                "packages": [
                    {
                        **e,
                        "kind": "k" * 40,
                        "storage": "s" * 40,
                        "seal_before": "S" * 40,
                        "seal_seen": "S" * 40,
                        "from": list(range(1, 21)),
                    }
                    for e in entries
                ],
            }
        )
    with pytest.raises(EventRefused, match="bytes"):
        decode(b" " * (MOST_BYTES + 1))


# --- placing ---------------------------------------------------------------------------------

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
FACT = Fact(
    type="package.sealed",
    subject="custody:7M4P9XQ3RT6C",
    who={"function": "clock"},
    fields={"packages": [{"package": 1, "seal": "S-0001"}]},
)


def test_an_event_follows_its_head_and_time_never_runs_backwards() -> None:
    head = Head(number=4, digest="ab" * 32, recorded_at=NOON + timedelta(seconds=3))
    event = place_in_trail(FACT, head, NOON, bytes(16))
    assert (event.number, event.previous, event.recorded_at) == (5, "ab" * 32, head.recorded_at)
    assert event.occurred_at == event.recorded_at


def test_what_has_not_happened_yet_is_not_recorded() -> None:
    early = Fact(type=FACT.type, subject=FACT.subject, who=FACT.who, occurred_at=NOON, fields=FACT.fields)
    assert place_in_trail(early, Head(), NOON, bytes(16)).occurred_at == NOON
    with pytest.raises(EventRefused, match="future"):
        place_in_trail(early, Head(), NOON - timedelta(microseconds=1), bytes(16))


def test_a_time_of_another_zone_is_written_as_the_same_instant() -> None:
    summer = datetime(2026, 5, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    assert write_moment(summer) == "2026-05-01T12:00:00.000000Z"


def test_two_events_that_say_the_same_have_different_digests_by_their_salt() -> None:
    first = place_in_trail(FACT, Head(), NOON, bytes(16))
    second = place_in_trail(FACT, Head(), NOON, bytes(15) + b"\1")
    assert first.digest != second.digest


@given(st.dictionaries(WORDS, TEXT, min_size=1, max_size=4), HEX, HEX)
def test_the_private_parts_digest_depends_on_salt_and_every_word_but_not_on_their_order(
    part: dict[str, str], salt: str, other: str
) -> None:
    salt, other = salt[:32], other[:32]
    assume(salt != other)
    digest = private_digest(salt, part)
    assert digest == private_digest(salt, dict(reversed(part.items())))
    assert digest != private_digest(other, part)
    name = next(iter(part))
    assert digest != private_digest(salt, {**part, name: part[name] + "x"})
    assert digest != private_digest(salt, {**part, f"{name}x9": "more"})


def test_the_private_part_leaves_only_its_digest_in_the_event() -> None:
    part = {"hospital_reference": "VERZONNEN-1"}
    fact = Fact(type=FACT.type, subject=FACT.subject, who=FACT.who, fields=FACT.fields, private=part)
    digest = salted(part, bytes(16)).digest("")
    event = place_in_trail(fact, Head(), NOON, bytes(16), digest)
    assert b"VERZONNEN" not in event.bytes
    assert event.get("private") == digest
    with pytest.raises(EventRefused, match="belong together"):
        place_in_trail(fact, Head(), NOON, bytes(16))
    with pytest.raises(EventRefused, match="belong together"):
        place_in_trail(FACT, Head(), NOON, bytes(16), digest)
