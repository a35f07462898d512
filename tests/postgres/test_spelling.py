"""The database reads an event as strictly as `decode`: what nobody could read afterwards never gets in."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from custody.event import FIELDS, MOST_BYTES, EventRefused, Many, Text, Thing, Whole, decode, encode
from desk.postgres import EmbeddedServer
from migrations.spelling import function
from tests.conftest import MOVABLE, _fresh
from tests.custody.test_event import EVENTS, SAMPLES

Spelled = Callable[[bytes], str | None]


@pytest.fixture(scope="module")
def connection(server: EmbeddedServer) -> Iterator[psycopg.Connection]:
    for database in _fresh(server, MOVABLE):
        with database.connect("superuser") as open_:
            yield open_


@pytest.fixture(scope="module")
def spelled(connection: psycopg.Connection) -> Spelled:
    """What the database finds wrong with the spelling of these bytes."""

    def asked(data: bytes) -> str | None:
        found = connection.execute("SELECT custody.spelled(%s)", [data]).fetchone()
        assert found is not None
        return None if found[0] is None else str(found[0])

    return asked


def readable(data: bytes) -> bool:
    try:
        decode(data)
    except EventRefused:
        return False
    return True


def agree(spelled: Spelled, data: bytes) -> None:
    assert (spelled(data) is None) == readable(data), (spelled(data), data)


# --- what is in the database is what the code says ----------------------------------------------


def test_the_function_in_the_database_is_made_of_the_fields_of_today(connection: psycopg.Connection) -> None:
    found = connection.execute("SELECT prosrc FROM pg_proc WHERE oid = 'custody.spelled'::regproc").fetchone()
    assert found is not None
    assert found[0] in function()


@pytest.mark.parametrize("name", SAMPLES)
def test_every_event_ever_written_is_spelled_rightly(spelled: Spelled, name: str) -> None:
    assert spelled(SAMPLES[name]) is None


def largest(kind: Any, text: str) -> Any:
    """A value with every key, and as many letters as there may be."""
    match kind:
        case Text(most, None):
            return text * most
        case Whole(most=most):
            return most
        case Thing(keys):
            return {key: largest(of, text) for key, of in keys.items()}
        case Many(of, most):
            return [largest(of, text)] * min(most, 3)
    if isinstance(kind, Text) and kind.pattern is not None:
        return GIVEN[kind.pattern.pattern]
    return GIVEN[type(kind).__name__]


GIVEN = {
    "Moment": "2024-02-29T23:59:59.999999Z",
    "Day": "2000-02-29",
    "[0-9a-f]{64}": "09af" * 16,
    "[0-9a-f]{32}": "09af" * 8,
    "[a-z0-9][a-z0-9._-]*": "0" + "z-._" * 19 + "aaa",
    "[a-z][a-z0-9_]*": "z" + "a_9" * 13,
    r"[A-Z0-9][A-Z0-9 ./-]*": "Z ./-9A Z" * 4 + "ZZZZ",
    "[0-9A-HJKMNP-TV-Z]{12}": "7M4P9XQ3RT6C",
    r"[0-9A-HJKMNP-TV-Z]{12}-(?:K|[PI][0-9]{2})-[0-9]{1,3}-[0-9A-Z]": "7M4P9XQ3RT6C-P01-100-7",
    "[a-z]+:[A-Za-z0-9._-]+": "custody:" + "A" * 112,
    r"[a-z]+(?:_[a-z]+)*\.[a-z]+(?:_[a-z]+)*": "a" * 30 + "." + "b" * 29,
    r"[^+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]+={0,2}": 'é "x"+0123abcd+' + "A" * 2385,
    "adult|minor|unknown": "unknown",
    "victim|support_person|police|hospital_staff": "hospital_staff",
    "report|order": "report",
    "victim|representative": "representative",
    "none|email|sms|phone|post": "phone",
    "[a-z]{2}": "nl",
    "issued|declined": "declined",
    "[A-Z]{2}": "BE",
}
"""The longest text of each pattern."""


@pytest.mark.parametrize("text", ["a", "é", '"', "\\", "\U0001f9ca", "가", "'", "/"])
@pytest.mark.parametrize("name", FIELDS)
def test_the_longest_of_every_field_fits_and_one_letter_more_does_not(
    spelled: Spelled, name: str, text: str
) -> None:
    values = {**json.loads(SAMPLES["package.sealed"]), name: largest(FIELDS[name], text)}
    if name == "format":
        values[name] = 1
    data = encode(values)
    assert spelled(data) is None
    for match in re.finditer(rb'"((?:[^"\\]|\\.)*)"(?!:)', data):
        agree(spelled, data[: match.end() - 1] + b"a" + data[match.end() - 1 :])
        agree(spelled, data[: match.start() + 1] + data[match.end() - 1 :])
    for number in re.finditer(rb"[:,\[]([0-9]+)(?=[,}\]])", data):
        for other in (str(int(number[1]) + 1), number[1].decode() + "0", "0", "-1"):
            agree(spelled, data[: number.start(1)] + other.encode() + data[number.end(1) :])


def test_lists_have_as_many_entries_as_they_may_and_none_more(spelled: Spelled) -> None:
    values = json.loads(SAMPLES["package.sealed"])
    for name, kind in FIELDS.items():
        if isinstance(kind, Many) and name not in ("vkeys", "retiring"):
            one = largest(kind.of, "a")
            one = (
                {k: v for k, v in one.items() if k not in kind.of.may} if isinstance(kind.of, Thing) else one
            )
            for entries in (0, 1, kind.most, kind.most + 1):
                agree(spelled, written({**values, name: [one] * entries}))
    for entries in (0, 20, 21):
        agree(spelled, written({**values, "packages": [{"package": 1, "from": [1] * entries}]}))
    sealed = SAMPLES["package.sealed"]
    agree(spelled, sealed + b" " * (MOST_BYTES - len(sealed)))


# --- whatever is put differently -----------------------------------------------------------------


class Pairs(list[tuple[str, Any]]):
    """An object as it stands: in any order, a key perhaps twice."""


def written(value: Any) -> bytes:
    return spell(value).encode("utf-8", "surrogatepass")


def spell(value: Any) -> str:
    if isinstance(value, dict):
        value = Pairs(value.items())
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{spell(k)}:{spell(v)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(spell, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def objects(value: Any) -> Iterator[Pairs]:
    if isinstance(value, Pairs):
        yield value
        for _, each in value:
            yield from objects(each)
    elif isinstance(value, list):
        for each in value:
            yield from objects(each)


NUMBERS = ("0", "-0", "1", "1.0", "1e0", "01", "100", "9007199254740991", "9007199254740992", "9" * 40)
OTHER = ("null", "true", '""', '"1"', "[]", "{}", '"now"', '"yesterday"', '"2026-02-29"', '"0000-01-01"')
TIMES = ("2026-05-01T24:00:00.000000Z", "2026-05-01T10:00:60.000000Z", "1900-02-29T10:00:00.000000Z")
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[0-9]+|null|[\[\]{}:,]')
EVENT = st.one_of(
    st.sampled_from(sorted(SAMPLES.values())),
    EVENTS.map(lambda values: encode({**values, "number": 1, "previous": None})),
)


@st.composite
def other_objects(draw: st.DrawFn) -> bytes:
    """An event of which one object has its keys in another order, one twice, one more, or one less."""
    values = json.loads(draw(EVENT), object_pairs_hook=Pairs)
    one = draw(st.sampled_from(list(objects(values))))
    at = draw(st.integers(0, len(one) - 1))
    match draw(st.sampled_from(["order", "twice", "other value twice", "more", "less", "emptied"])):
        case "order":
            one[:] = draw(st.permutations(one))
        case "twice":
            one.insert(at, one[draw(st.integers(0, len(one) - 1))])
        case "other value twice":
            one.insert(draw(st.integers(0, len(one))), (one[at][0], draw(st.sampled_from(["x", 1, None]))))
        case "more":
            name = draw(st.sampled_from(["note", "victim", "", "é", *FIELDS, "person", "zone"]))
            one.insert(at, (name, draw(st.sampled_from(["Jane Real Name", 1, None, ["x"], one[at][1]]))))
        case "less":
            del one[at]
        case _:
            one.clear()
    return written(values)


@st.composite
def other_tokens(draw: st.DrawFn) -> bytes:
    """An event of which one token is spelled otherwise or says something else."""
    tokens = TOKEN.findall(draw(EVENT).decode())
    at = draw(st.integers(0, len(tokens) - 1))
    one = tokens[at]
    match draw(st.sampled_from(["blank", "other", "number", "time", "escape", "letter", "gone", "twice"])):
        case "blank":
            one = draw(st.sampled_from([" ", "\n", "\t", "\r", "\u00a0", "\ufeff", "/**/"])) + one
        case "other":
            one = draw(st.sampled_from(OTHER))
        case "number":
            one = draw(st.sampled_from(NUMBERS))
        case "time":
            one = json.dumps(draw(st.sampled_from(TIMES)))
        case "escape" if one.startswith('"') and len(one) > 2:
            k = draw(st.integers(1, len(one) - 2))
            ways = [f"\\u{ord(one[k]):04x}", f"\\u{ord(one[k]):04X}", "\\" + one[k], "\\/", "\\ud800", "\\n"]
            one = one[:k] + draw(st.sampled_from(ways)) + one[k + 1 :]
        case "letter" if one.startswith('"'):
            k = draw(st.integers(1, len(one) - 1))
            one = one[:k] + draw(st.characters(exclude_categories=["Cs"])) + one[k:]
        case "gone":
            one = ""
        case _:
            one += one
    return "".join([*tokens[:at], one, *tokens[at + 1 :]]).encode()


@given(EVENT)
def test_what_encode_writes_is_spelled_rightly(spelled: Spelled, data: bytes) -> None:
    assert spelled(data) is None


@given(other_objects())
def test_an_object_put_differently_is_refused_by_both_or_by_none(spelled: Spelled, data: bytes) -> None:
    agree(spelled, data)


@given(other_tokens())
def test_a_token_put_differently_is_refused_by_both_or_by_none(spelled: Spelled, data: bytes) -> None:
    agree(spelled, data)


@given(EVENT, st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_byte_is_refused_by_both_or_by_none(
    spelled: Spelled, data: bytes, at: int, bits: int
) -> None:
    at %= len(data)
    agree(spelled, data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :])


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_the_letters_of_a_text_are_judged_alike(spelled: Spelled, text: str) -> None:
    agree(spelled, written({**json.loads(SAMPLES["package.sealed"]), "reason": text}))


@pytest.mark.parametrize(
    "plane", [*range(0, 0x3000, 0x100), 0xD700, 0xE000, 0xFB00, 0xFF00, 0x1F900, 0xE0000]
)
def test_every_letter_of_a_block_is_judged_alike(spelled: Spelled, plane: int) -> None:
    values = json.loads(SAMPLES["package.sealed"])
    for code in range(plane, plane + 0x100, 7):
        if not 0xD800 <= code <= 0xDFFF:
            agree(spelled, written({**values, "reason": f"a{chr(code)}b"}))


@given(st.binary(max_size=200))
def test_bytes_at_random_are_no_event(spelled: Spelled, data: bytes) -> None:
    assert spelled(data) is not None


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"{}", b'"x"', b"[" * 60_000, b'{"a":' * 10_000, b"\xff", b"\0"], ids=repr
)
def test_what_is_no_object_at_all_is_refused(spelled: Spelled, data: bytes) -> None:
    assert spelled(data) is not None
