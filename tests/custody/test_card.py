"""The victim's card code and second secret: readable, forgiving to type, stored only as hashes."""

from __future__ import annotations

import re
from base64 import b64decode
from hashlib import scrypt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custody import card
from custody.card import (
    CardCode,
    CardFault,
    CardRefused,
    code_hash,
    issue_code,
    issue_secret,
    no_such_secret,
    parse_code,
    parse_secret,
    secret_hash,
    secret_matches,
    written_code,
    written_secret,
)
from custody.number import ALPHABET

codes = st.binary(min_size=15, max_size=15).map(issue_code).filter(lambda code: code is not None)
SECRET = parse_secret("1234 5678")
SALT = bytes(range(16))


def test_a_card_code_carries_at_least_a_hundred_random_bits() -> None:
    assert card.CODE_BITS >= 100
    assert len(ALPHABET) ** (card.CODE_LENGTH - 1) == 2**card.CODE_BITS


def test_every_random_bit_counts() -> None:
    issued = {issue_code((1 << bit).to_bytes(15, "big")) for bit in range(120)} - {None}
    drawn = [bit for bit in range(120) if issue_code((1 << bit).to_bytes(15, "big"))]
    assert len(issued) == len(drawn) > 90


@given(codes)
def test_a_card_code_is_read_however_it_is_typed(code: CardCode) -> None:
    assert re.fullmatch(r"(?:[0-9A-HJKMNP-TV-Z]{5}-){4}[0-9A-HJKMNP-TV-Z]{5}", written_code(code))
    assert parse_code(written_code(code)) == code
    assert parse_code(f" {written_code(code).lower()}\n") == code
    assert parse_code(code.replace("0", "o").replace("1", "l")) == code
    assert parse_code(" ".join(code)) == code


@settings(max_examples=20)
@given(codes)
def test_a_wrong_character_or_a_swap_in_a_card_code_is_called_a_typing_error(code: CardCode) -> None:
    wrong = [code[:i] + c + code[i + 1 :] for i, right in enumerate(code) for c in set(ALPHABET) - {right}]
    swapped = [code[:i] + code[i + 1] + code[i] + code[i + 2 :] for i in range(24) if code[i] != code[i + 1]]
    for typed in wrong + swapped:
        with pytest.raises(CardRefused, match="typing error"):
            parse_code(typed)


@pytest.mark.parametrize(
    "typed", ["", "ABC", "U" * 25, "А" * 25, "0" * 26, "0" * 5000, "0\x00" * 12, "2" * 24 + "!"]
)
def test_what_cannot_be_a_card_code_is_refused_without_repeating_it(typed: str) -> None:
    with pytest.raises(CardRefused) as refused:
        parse_code(typed)
    assert refused.value.fault is CardFault.CODE
    assert str(refused.value) == CardFault.CODE.value


def test_the_stored_hash_of_a_code_is_frozen() -> None:
    """Cards are in people's pockets for decades: this must never come out differently."""
    code = issue_code(bytes(range(15)))
    assert code is not None
    assert written_code(code) == "000G4-0R40M-30E20-9185G-R38EV"
    assert code_hash(code).hex() == "9f36de3025497d6a5ec4cf54abaf57c3ed0561ac0fa5fe986ea770de57aee603"


def test_a_second_secret_is_eight_digits_with_its_leading_zeros() -> None:
    assert issue_secret(bytes(16)) == "00000000"
    assert issue_secret((10**8 * 7 + 42).to_bytes(16, "big")) == "00000042"
    assert written_secret(SECRET) == "1234 5678"


@given(st.binary(min_size=16, max_size=16))
def test_a_second_secret_is_read_as_it_is_written(random: bytes) -> None:
    secret = issue_secret(random)
    assert parse_secret(written_secret(secret)) == secret
    assert parse_secret(f"{secret[:2]}-{secret[2:]}\n") == secret


@pytest.mark.parametrize(
    "typed", ["", "1234567", "123456789", "1234567a", "１２３４５６７８", "1" * 999, "12.45678"]
)
def test_what_cannot_be_a_second_secret_is_refused(typed: str) -> None:
    with pytest.raises(CardRefused, match="eight digits"):
        parse_secret(typed)


def test_only_the_right_secret_matches_its_hash() -> None:
    stored = secret_hash(SECRET, SALT)
    assert secret_matches(SECRET, stored)
    assert not secret_matches(parse_secret("1234 5679"), stored)
    assert not no_such_secret(SECRET)


def test_the_same_secret_with_another_salt_is_stored_differently() -> None:
    assert secret_hash(SECRET, SALT) != secret_hash(SECRET, SALT[::-1])


def test_the_stored_hash_of_a_secret_names_its_version_and_is_scrypt_at_the_agreed_cost() -> None:
    version, _, stretched = secret_hash(SECRET, SALT).split("$")
    expected = scrypt(b"12345678", salt=SALT, n=2**14, r=8, p=1, maxmem=2**26, dklen=32)
    assert version == "scrypt-1"
    assert b64decode(stretched) == expected


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "scrypt-1",
        "scrypt-1$$",
        "scrypt-2$AAECAwQFBgcICQoLDA0ODw==$" + "A" * 43 + "=",
        "scrypt-1$é$x",
        "a$b$c$d",
    ],
)
def test_a_damaged_hash_is_called_damage_and_never_a_wrong_secret(damaged: str) -> None:
    with pytest.raises(ValueError, match="damaged"):
        secret_matches(SECRET, damaged)


def test_issuing_refuses_too_few_or_too_many_random_bytes() -> None:
    for issue, right in ((issue_code, 15), (issue_secret, 16)):
        for count in (0, right - 1, right + 1):
            with pytest.raises(ValueError, match="random bytes"):
                issue(bytes(count))
    with pytest.raises(ValueError, match="salt"):
        secret_hash(SECRET, b"short")
