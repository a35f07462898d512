"""The private part: readable with its key, for its kit, its event and its field, and with nothing else."""

import json

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import assume, given
from hypothesis import strategies as st

from custody.disclosure import SALT_BYTES, Field, Part, salted
from custody.event import private_digest
from custody.private import (
    MAGIC,
    MARK,
    NONCE_BYTES,
    PrivateRefused,
    names,
    number_of,
    numbered,
    seal,
    unseal,
    unwrap,
    wrap,
)

KEY, MASTER = bytes(range(32)), bytes(range(32, 64))
NONCE = bytes(NONCE_BYTES)
KIT, OTHER_KIT = "7M4P9XQ3RT6C", "0" * 12
EVENT, OTHER_EVENT = "ab" * 32, "cd" * 32
NAMES = st.from_regex(r"[a-z][a-z0-9_ ]{0,20}", fullmatch=True)
VALUES = st.dictionaries(NAMES, st.text(max_size=300), min_size=1, max_size=4)
PARTS = VALUES.flatmap(
    lambda values: st.binary(min_size=16 * len(values), max_size=16 * len(values)).map(
        lambda chance: salted(values, chance)
    )
)
TWO = salted({"hospital_reference": "VERZONNEN-1", "item 1": "swab_skin"}, bytes(range(32)))


def nonces(part: Part) -> bytes:
    return bytes(range(NONCE_BYTES * len(part.fields)))


def sealed_of(part: Part, kit: str = KIT, event: str = EVENT, key: bytes = KEY) -> bytes:
    return seal(key, part, kit, event, nonces(part))


def entries(sealed: bytes) -> list[bytes]:
    """The sealed fields of a container, each whole."""
    found, at = [], len(MAGIC)
    while at < len(sealed):
        end = at + 48 + int.from_bytes(sealed[at + 44 : at + 48], "big")
        found.append(sealed[at:end])
        at = end
    return found


@given(PARTS)
def test_what_was_sealed_is_read_again_and_names_the_digest_of_its_event_without_a_key(part: Part) -> None:
    sealed = sealed_of(part)
    assert unseal(KEY, sealed, KIT, EVENT) == part
    assert names(sealed) == part.digest("00" * 16)


@given(PARTS, st.integers(0, 10_000), st.integers(1, 255))
def test_a_sealed_part_that_was_altered_does_not_open(part: Part, at: int, bits: int) -> None:
    sealed = bytearray(sealed_of(part))
    sealed[at % len(sealed)] ^= bits
    with pytest.raises(PrivateRefused):
        unseal(KEY, bytes(sealed), KIT, EVENT)


@given(PARTS, st.integers(0, 10_000))
def test_a_part_that_was_cut_off_opens_as_no_other_whole_one(part: Part, at: int) -> None:
    """Cut between two fields it still is a container, but no longer the one that the event names."""
    cut = sealed_of(part)[: at % len(sealed_of(part))]
    try:
        read = unseal(KEY, cut, KIT, EVENT)
    except PrivateRefused:
        return
    assert read.digest("") != part.digest("")


@pytest.mark.parametrize(
    ("key", "kit", "event"), [(MASTER, KIT, EVENT), (KEY, OTHER_KIT, EVENT), (KEY, KIT, OTHER_EVENT)]
)
def test_it_opens_with_its_own_key_for_its_own_kit_and_event_only(key: bytes, kit: str, event: str) -> None:
    with pytest.raises(PrivateRefused):
        unseal(key, sealed_of(TWO), kit, event)


def test_a_sealed_field_cannot_take_the_place_of_another_field_kit_or_event() -> None:
    first, second = entries(sealed_of(TWO))
    assert MAGIC + first + second == sealed_of(TWO)
    swapped = MAGIC + first[:32] + second[32:] + second[:32] + first[32:]
    strangers = [sealed_of(TWO, kit=OTHER_KIT), sealed_of(TWO, event=OTHER_EVENT)]
    mixed = [MAGIC + first + entries(each)[1] for each in strangers]
    for wrong in (swapped, *mixed, MAGIC + second + first, MAGIC + first + first):
        with pytest.raises(PrivateRefused):
            unseal(KEY, wrong, KIT, EVENT)


def test_the_container_shows_no_name_no_value_no_salt_and_not_how_long_a_value_is() -> None:
    sealed = sealed_of(TWO)
    for field in TWO.fields:
        for hidden in (field.name.encode(), field.value.encode(), field.salt, field.salt.hex().encode()):
            assert hidden not in sealed
    lengths = {
        len(sealed_of(salted({"item 1": kind}, bytes(16)))) for kind in ("a", "shoes", "swab_genital" * 3)
    }
    assert len(lengths) == 1


@pytest.mark.parametrize("sealed", [b"", b"x", bytes(12), bytes(27), MAGIC, MAGIC + b"x", MAGIC + bytes(200)])
def test_what_is_no_sealed_part_does_not_open(sealed: bytes) -> None:
    with pytest.raises(PrivateRefused):
        unseal(KEY, sealed, KIT, EVENT)


def test_a_sealed_field_in_another_spelling_is_refused() -> None:
    """Somebody who has the key could write other zeros; a field has one spelling."""
    field = TWO.fields[0]
    name, value = field.name.encode(), field.value.encode()
    plain = field.salt + bytes([len(name)]) + name + len(value).to_bytes(4, "big") + value
    context = f"custody private field\n{KIT}\n{EVENT}\n{field.digest}".encode()
    for padded in (plain + bytes(-len(plain) % 128), plain + b"\1" * (-len(plain) % 128), plain + bytes(300)):
        hidden = AESGCM(KEY).encrypt(NONCE, padded, context)
        head = bytes.fromhex(field.digest) + NONCE + len(hidden).to_bytes(4, "big")
        if padded == plain + bytes(-len(plain) % 128):
            assert unseal(KEY, MAGIC + head + hidden, KIT, EVENT).fields == (field,)
        else:
            with pytest.raises(PrivateRefused):
                unseal(KEY, MAGIC + head + hidden, KIT, EVENT)


# --- what was sealed before ------------------------------------------------------------------------

BEFORE = {"hospital_reference": "VERZONNEN-1", "channel_address": "+32 400 00 00 00"}
PLAIN = json.dumps(dict(sorted(BEFORE.items())), ensure_ascii=False, separators=(",", ":")).encode()
SEALED_BEFORE = NONCE + AESGCM(KEY).encrypt(NONCE, PLAIN, bytes.fromhex(EVENT))


def test_a_part_sealed_before_fields_had_salts_of_their_own_still_opens_and_is_verified() -> None:
    part = unseal(KEY, SEALED_BEFORE, KIT, EVENT)
    assert part.whole
    assert part.values == BEFORE
    assert part.digest("12" * 16) == private_digest("12" * 16, BEFORE)
    assert names(SEALED_BEFORE) is None
    for key, event in ((MASTER, EVENT), (KEY, OTHER_EVENT)):
        with pytest.raises(PrivateRefused):
            unseal(key, SEALED_BEFORE, KIT, event)


def test_no_part_is_sealed_the_earlier_way_any_more() -> None:
    whole = unseal(KEY, SEALED_BEFORE, KIT, EVENT)
    with pytest.raises(ValueError, match="nonce of its own"):
        seal(KEY, whole, KIT, EVENT, nonces(whole))


# --- the data key ----------------------------------------------------------------------------------


def test_a_data_key_is_wrapped_for_its_own_kit() -> None:
    wrapped = wrap(MASTER, KEY, KIT, NONCE)
    assert unwrap(MASTER, wrapped, KIT) == KEY
    assert KEY not in wrapped
    for master, kit in ((KEY, KIT), (MASTER, OTHER_KIT)):
        with pytest.raises(PrivateRefused):
            unwrap(master, wrapped, kit)


@given(st.integers(1, 9999), st.binary(min_size=1, max_size=4096))
def test_a_wrapped_key_says_which_master_key_made_it(number: int, payload: bytes) -> None:
    assert number_of(numbered(number, payload)) == (number, payload)


@given(st.binary(min_size=60, max_size=60))
def test_a_key_wrapped_before_there_were_numbers_is_of_the_first_master_key(wrapped: bytes) -> None:
    assume(not wrapped.startswith(MARK))
    assert number_of(wrapped) == (1, wrapped)


@pytest.mark.parametrize(
    "wrapped", [MARK, MARK + bytes(4), MARK + bytes(4) + b"x", MARK + b"\0\0\0\1", MARK + b"\xff" * 9]
)
def test_a_wrapped_key_without_number_or_content_is_refused(wrapped: bytes) -> None:
    with pytest.raises(PrivateRefused):
        number_of(wrapped)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Field(salt=bytes(15), name="a", value=""),
        lambda: Field(salt=bytes(16), name="a\nb", value=""),
        lambda: Field(salt=bytes(16), name="", value=""),
        lambda: Field(salt=bytes(16), name="A", value=""),
        lambda: Field(salt=bytes(16), name="a", value="\ud800"),
        lambda: Field(salt=bytes(16), name="a", value="x" * 4001),
        lambda: Part(()),
        lambda: Part(TWO.fields[::-1]),
        lambda: Part((TWO.fields[0], TWO.fields[0])),
        lambda: salted({"a": "b"}, bytes(SALT_BYTES - 1)),
        lambda: numbered(0, b"x"),
        lambda: numbered(1, b""),
        lambda: seal(KEY, TWO, KIT, EVENT, bytes(12)),
    ],
)
def test_what_is_no_field_part_or_wrapped_key_is_not_made(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"."):
        wrong()
