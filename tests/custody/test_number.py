"""What a person types at night and what a scanner gives: read rightly, or refused in plain words."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from custody.number import (
    ALPHABET,
    KIT,
    KIT_NUMBER_LENGTH,
    RANDOM_BYTES,
    Fault,
    KitNumber,
    LabelCode,
    NumberRefused,
    Part,
    PartKind,
    blind_swaps,
    check_character,
    check_matches,
    issue,
    item,
    label_code,
    next_serial,
    package,
    parse_kit_number,
    parse_label_code,
    parse_part,
    parse_scan,
    scan_address,
    written,
)

SERVICE = "https://custody.example.be"
ISO = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _issued(random: bytes) -> KitNumber:
    number = issue(random)
    assume(number is not None)
    assert number is not None
    return number


kits = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES).map(issue).filter(lambda n: n is not None)
parts = st.one_of(
    st.just(KIT),
    st.integers(1, 99).map(package),
    st.integers(1, 99).map(item),
    st.sampled_from([package(12)]),
)


@st.composite
def labels(draw: st.DrawFn) -> LabelCode:
    kit = _issued(draw(st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)))
    part = draw(parts)
    return LabelCode(kit, part, next_serial(kit, part, draw(st.integers(0, 1200))))


def fault_of(text: str) -> Fault:
    with pytest.raises(NumberRefused) as refused:
        parse_scan(text, [SERVICE])
    return refused.value.fault


KIT_A = parse_kit_number("7M4P9XQ3RT6" + check_character("7M4P9XQ3RT6"))


@pytest.mark.parametrize(
    ("body", "check"),
    [
        ("A12425GABC1234002", "M"),  # the example of the Global Release Identifier (GRid) standard
        ("188166C734206541", "Y"),  # ISAN (ISO 15706): the check of the first sixteen characters …
        ("188166C7342065419F3A0245", "O"),  # … and of the version; the same example number
    ],
)
def test_the_check_character_is_the_one_other_users_of_the_standard_print(body: str, check: str) -> None:
    assert check_character(body) == check
    assert check_matches(body + check)


def test_the_check_character_is_blind_to_one_pair_of_running_sums_and_to_no_other() -> None:
    """All swaps at all 36 factors: the rule in `blind_swaps` is the whole truth, not a sample."""
    after = {factor: (factor * 2) % 37 for factor in range(1, 37)}
    for factor in range(1, 37):
        for a in range(36):
            for b in range(36):
                if a == b:
                    continue
                x, y = (factor + a) % 36 or 36, (factor + b) % 36 or 36
                unseen = (after[x] + b - after[y] - a) % 36 == 0
                assert unseen == ({x, y} == {18, 19})


@given(st.text(ISO, min_size=2, max_size=30), st.data())
def test_a_swap_goes_unseen_exactly_where_blind_swaps_says(body: str, data: st.DataObject) -> None:
    text = body + check_character(body)
    i = data.draw(st.integers(0, len(text) - 2))
    assume(text[i] != text[i + 1])
    swapped = text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    assert check_matches(swapped) == (i in blind_swaps(text))


@given(kits)
def test_every_single_wrong_character_of_a_kit_number_is_caught(number: KitNumber) -> None:
    for i, right in enumerate(number):
        for wrong in set(ALPHABET) - {right}:
            with pytest.raises(NumberRefused) as refused:
                parse_kit_number(number[:i] + wrong + number[i + 1 :])
            assert refused.value.fault is Fault.CHECK


@given(kits)
def test_every_swap_of_two_neighbours_in_a_kit_number_is_caught(number: KitNumber) -> None:
    for i in range(KIT_NUMBER_LENGTH - 1):
        if number[i] != number[i + 1]:
            with pytest.raises(NumberRefused) as refused:
                parse_kit_number(number[:i] + number[i + 1] + number[i] + number[i + 2 :])
            assert refused.value.fault is Fault.CHECK


@given(st.text(ALPHABET, min_size=11, max_size=11))
def test_a_number_that_is_never_issued_is_never_read_either(body: str) -> None:
    number = body + check_character(body)
    if number[-1] in ALPHABET and not blind_swaps(number):
        assert parse_kit_number(number) == number
    elif number[-1] not in "ILO":  # those three would be read as 0 and 1
        with pytest.raises(NumberRefused):
            parse_kit_number(number)


def test_a_number_whose_check_character_would_be_misread_is_not_issued() -> None:
    refused = [last for last in range(256) if issue(bytes([7, 7, 7, 7, 7, 7, last])) is None]
    assert refused
    for last in refused:
        bits = int.from_bytes(bytes([7, 7, 7, 7, 7, 7, last]), "big") >> 1
        body = "".join(ALPHABET[bits >> 5 * place & 31] for place in reversed(range(11)))
        check = check_character(body)
        assert check in "ILOU" or blind_swaps(body + check)


def test_issuing_takes_seven_random_bytes_and_nothing_else() -> None:
    for count in (0, 6, 8):
        with pytest.raises(ValueError, match="7 random bytes"):
            issue(bytes(count))


@given(kits, st.randoms(use_true_random=False))
def test_a_kit_number_is_read_however_it_is_written(number: KitNumber, chance: object) -> None:
    assert parse_kit_number(written(number)) == number
    assert parse_kit_number(f"  {written(number).lower()}\r\n") == number
    assert parse_kit_number(number.replace("0", "O").replace("1", "l")) == number
    assert parse_kit_number(" ".join(number)) == number
    assert parse_scan(number.replace("1", "I").replace("0", "o"), []) == number


def test_a_number_is_written_in_three_groups_of_four() -> None:
    assert written(KIT_A) == f"7M4P-9XQ3-RT6{KIT_A[-1]}"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", Fault.EMPTY),
        (" - - \r\n", Fault.EMPTY),
        ("7M4P-9XQ3", Fault.LENGTH),
        ("7M4P-9XQ3-RT6C-7", Fault.LENGTH),
        ("7M4P-9XQ3-RU6C", Fault.CHARACTER),
        ("7M4P_9XQ3_RT6C", Fault.CHARACTER),
        ("7M4P-9XQ3'RT6C", Fault.CHARACTER),
        ("７Ｍ４Ｐ-9XQ3-RT6C", Fault.UNPRINTABLE),  # full-width
        ("7M4P-9ХQ3-RT6C", Fault.UNPRINTABLE),  # a Cyrillic Х
        ("7M4P–9XQ3–RT6C", Fault.UNPRINTABLE),  # dashes of a word processor
        ("7M4P9XQ3RT6\u200bC", Fault.UNPRINTABLE),
        ("7M4P9XQ3\x00RT6C", Fault.UNPRINTABLE),
        ("\x1b[2J7M4P9XQ3RT6C", Fault.UNPRINTABLE),
        ("7M4P\n9XQ3RT6C", Fault.UNPRINTABLE),
        ("ﬅ", Fault.UNPRINTABLE),
        ("٧", Fault.UNPRINTABLE),
        ("A" * 5000, Fault.TOO_LONG),
    ],
)
def test_what_is_no_number_is_refused_and_the_refusal_says_which_fault(text: str, fault: Fault) -> None:
    assert fault_of(text) is fault


def test_a_mistyped_number_is_called_a_typing_error() -> None:
    wrong = "8" + KIT_A[1:]
    with pytest.raises(NumberRefused, match="typing error"):
        parse_kit_number(wrong)


def test_a_refusal_never_repeats_an_invisible_character() -> None:
    with pytest.raises(NumberRefused) as refused:
        parse_scan("7M4P\x1b]0;", [])
    assert str(refused.value).isprintable()
    assert refused.value.values == {"place": 5}


@pytest.mark.parametrize("fault", list(Fault))
def test_every_refusal_can_be_said(fault: Fault) -> None:
    refused = NumberRefused(fault, count=3, expected=12, character="U", place=4)
    assert "{" not in str(refused)
    assert str(refused).endswith(".")


# ── Labels ───────────────────────────────────────────────────────────────────────────────────────────


@given(parts)
def test_a_part_is_read_as_it_is_written(part: Part) -> None:
    assert parse_part(str(part)) == part


@pytest.mark.parametrize("text", ["", "k", "K1", "P", "P1", "P00", "P100", "Q01", "P1x", "P²1", "I-1", "01"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(NumberRefused):
        parse_part(text)


@pytest.mark.parametrize(
    ("kind", "number"), [(PartKind.KIT, 1), (PartKind.PACKAGE, 0), (PartKind.ITEM, 100), (PartKind.ITEM, -1)]
)
def test_a_part_that_cannot_be_on_a_label_is_never_made(kind: PartKind, number: int) -> None:
    with pytest.raises(ValueError, match="numbered"):
        Part(kind, number)


@given(labels())
def test_a_label_code_is_read_however_it_is_written(label: LabelCode) -> None:
    code = str(label)
    assert parse_label_code(code) == label
    assert parse_label_code(label.written.lower()) == label
    assert parse_label_code(code.replace("-", " ")) == label
    assert parse_label_code(code.replace("0", "O").replace("I", "1")) == label
    assert parse_scan(code.replace("-", "") + "\r", []) == label
    assert parse_scan(scan_address(SERVICE + "/", label), [SERVICE]) == label
    assert parse_scan(scan_address(SERVICE, label).lower(), ["https://older.example.be", SERVICE]) == label


@given(labels())
def test_every_single_wrong_character_of_a_label_code_is_caught(label: LabelCode) -> None:
    code = str(label).replace("-", "")
    for i, right in enumerate(code):
        for wrong in set(ALPHABET) - {right}:
            if right == "I" and wrong == "1":  # after the kit number a 1 can only mean I
                continue
            with pytest.raises(NumberRefused):
                parse_scan(code[:i] + wrong + code[i + 1 :], [])


@given(labels())
@example(LabelCode(KIT_A, package(12), next_serial(KIT_A, package(12), 0)))
def test_every_swap_of_two_neighbours_in_a_label_code_is_caught(label: LabelCode) -> None:
    code = str(label).replace("-", "")
    for i in range(len(code) - 1):
        swapped = code[:i] + code[i + 1] + code[i] + code[i + 2 :]
        # An item's I beside a 1 can change places: only I can stand there, so it is the same label still.
        if code[i] == code[i + 1] or {code[i], code[i + 1]} == {"1", "I"}:
            assert parse_scan(swapped, []) == label
        else:
            with pytest.raises(NumberRefused):
                parse_scan(swapped, [])


@given(kits, st.integers(0, 500))
def test_packages_12_and_21_are_never_taken_for_each_other(kit: KitNumber, after: int) -> None:
    """The one swap the check character cannot see in a part's number; their serials keep them apart."""
    twelve = LabelCode(kit, package(12), next_serial(kit, package(12), after))
    assert twelve.serial % 2 == 1
    assert next_serial(kit, package(21), after) % 2 == 0
    with pytest.raises(NumberRefused, match="typing error"):
        parse_label_code(str(twelve).replace("P12", "P21"))


@given(kits, parts, st.integers(0, 200))
def test_serials_rise_and_are_never_used_twice(kit: KitNumber, part: Part, after: int) -> None:
    first = next_serial(kit, part, after)
    second = next_serial(kit, part, first)
    assert after < first < second
    assert label_code(kit, part, first)[-1] in ALPHABET


def test_a_serial_that_is_never_printed_makes_no_label() -> None:
    printed = set()
    serial = 0
    while serial < 200:
        serial = next_serial(KIT_A, package(1), serial)
        printed.add(serial)
    skipped = set(range(1, serial)) - printed
    assert skipped
    for serial in skipped:
        with pytest.raises(ValueError, match="never printed"):
            label_code(KIT_A, package(1), serial)
    with pytest.raises(ValueError, match="9999"):
        next_serial(KIT_A, package(1), 9999)


def _with_check(body: str) -> str:
    return body + check_character(body)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (_with_check(KIT_A + "P001"), Fault.PART),
        (_with_check(KIT_A + "X011"), Fault.PART),
        (_with_check(KIT_A + "P0101"), Fault.SERIAL),
        (_with_check(KIT_A + "P01A"), Fault.SERIAL),
        (_with_check(KIT_A + "P0112345"), Fault.LABEL_LENGTH),
        (KIT_A + "P01", Fault.LABEL_LENGTH),
        (KIT_A + "P011U", Fault.CHARACTER),
        (_with_check("8" + KIT_A[1:] + "P013"), Fault.CHECK),  # the kit number inside is wrong
    ],
)
def test_a_label_code_that_cannot_be_is_refused_and_the_refusal_says_why(text: str, fault: Fault) -> None:
    assert fault_of(text) is fault


LABEL = LabelCode(KIT_A, package(2), next_serial(KIT_A, package(2), 0))


@pytest.mark.parametrize(
    "address",
    [
        f"https://elsewhere.example/S/{LABEL}",
        f"https://custody.example.be.elsewhere.example/S/{LABEL}",
        f"https://custody.example.be@elsewhere.example/S/{LABEL}",
        f"https://custody.example.be/s/../S/{LABEL}",
        f"https://custody.example.be/S/{LABEL}?next=//elsewhere.example",
        f"https://custody.example.be/S/{LABEL}#x",
        f"https://custody.example.be/S/{LABEL}/",
        f"https://custody.example.be/S/ {LABEL}",
        f"https://custody.example.be/T/{LABEL}",
        "https://custody.example.be/S/",
        f"http://custody.example.be/S/{LABEL}",
        f"javascript:alert('{LABEL}')",
        f"//custody.example.be/S/{LABEL}",
        f"https://cuſtody.example.be/S/{LABEL}",  # a long s, which upper case would turn into S
    ],
)
def test_an_address_that_is_not_exactly_a_label_of_ours_is_refused(address: str) -> None:
    assert fault_of(address) is Fault.FOREIGN_ADDRESS


@given(st.text(max_size=400))
def test_nothing_else_than_a_number_or_a_plain_refusal_ever_comes_out(text: str) -> None:
    try:
        found = parse_scan(text, [SERVICE])
    except NumberRefused:
        return
    assert parse_scan(str(found), [SERVICE]) == found


@pytest.mark.parametrize(
    "base", ["custody.example.be", "https://custody.example.be/?a=b", "ftp://x", "https://é.be"]
)
def test_an_address_a_qr_code_cannot_hold_compactly_is_refused_before_anything_is_printed(base: str) -> None:
    with pytest.raises(ValueError, match="not usable"):
        scan_address(base, LABEL)
