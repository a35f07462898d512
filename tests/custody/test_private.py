"""The private part: readable with its key and for its event, and with nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custody.private import NONCE_BYTES, PrivateRefused, seal, unseal, unwrap, wrap

KEY, MASTER = bytes(range(32)), bytes(range(32, 64))
NONCE = bytes(NONCE_BYTES)
EVENT = "ab" * 32
PART = st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=60), max_size=4)


@given(PART, st.binary(min_size=12, max_size=12))
def test_what_was_sealed_is_read_again(part: dict[str, str], nonce: bytes) -> None:
    assert unseal(KEY, seal(KEY, part, EVENT, nonce), EVENT) == part


@given(PART, st.integers(0, 10_000), st.integers(1, 255))
def test_a_sealed_part_that_was_altered_does_not_open(part: dict[str, str], at: int, bits: int) -> None:
    sealed = bytearray(seal(KEY, part, EVENT, NONCE))
    sealed[at % len(sealed)] ^= bits
    with pytest.raises(PrivateRefused):
        unseal(KEY, bytes(sealed), EVENT)


def test_it_opens_with_its_own_key_and_for_its_own_event_only() -> None:
    sealed = seal(KEY, {"hospital_reference": "VERZONNEN-1"}, EVENT, NONCE)
    assert b"VERZONNEN" not in sealed
    for key, event in ((MASTER, EVENT), (KEY, "cd" * 32)):
        with pytest.raises(PrivateRefused):
            unseal(key, sealed, event)


@pytest.mark.parametrize("sealed", [b"", b"x", bytes(12), bytes(27)])
def test_what_is_too_short_does_not_open(sealed: bytes) -> None:
    with pytest.raises(PrivateRefused):
        unseal(KEY, sealed, EVENT)


def test_a_data_key_is_wrapped_for_its_own_kit() -> None:
    wrapped = wrap(MASTER, KEY, "7M4P9XQ3RT6C", NONCE)
    assert unwrap(MASTER, wrapped, "7M4P9XQ3RT6C") == KEY
    assert KEY not in wrapped
    for master, kit in ((KEY, "7M4P9XQ3RT6C"), (MASTER, "0" * 12)):
        with pytest.raises(PrivateRefused):
            unwrap(master, wrapped, kit)
