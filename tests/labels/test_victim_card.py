"""The victim's card: readable, discreet, and not enough by itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from custody.card import issue_code, parse_code, written_code
from labels.drawing import Line
from labels.typeface import TextRefused
from labels.victim_card import VictimCard, card_drawing, card_pdf, card_svg
from tests.labels.samples import CREATED
from tests.labels.scanners import pdf_pages, pdf_texts, read_by_zbar, read_by_zxing

CODE = issue_code(bytes(range(15)))
assert CODE is not None
CARD = VictimCard(
    "https://my.example.be", CODE, "Open this address", "Type this code", "Ring 000 00 00, day and night."
)


def test_both_scanners_read_the_address_with_the_code_where_no_server_records_it(tmp_path: Path) -> None:
    (page,) = pdf_pages(card_pdf(CARD, CREATED))
    assert read_by_zxing(page) == read_by_zbar(page, tmp_path) == [CARD.scanned]
    address, _, fragment = CARD.scanned.partition("#")
    assert address == "https://my.example.be"
    assert parse_code(fragment) == CODE


def test_the_code_printed_on_the_card_can_be_typed() -> None:
    (text,) = pdf_texts(card_pdf(CARD, CREATED))
    typed = next(word for word in text.split() if word.count("-") == 4)
    assert parse_code(typed) == CODE


def test_the_card_says_what_the_caller_passed_and_not_one_word_more() -> None:
    """And there is no field for the second secret, a name or a kit number."""
    fields = [field.name for field in dataclasses.fields(VictimCard)]
    assert fields == ["address", "code", "caption_address", "caption_code", "note"]
    said = " ".join(mark.text for mark in card_drawing(CARD).marks if isinstance(mark, Line))
    for words in (
        CARD.caption_address,
        CARD.caption_code,
        CARD.note,
        "my.example.be",
        written_code(CARD.code),
    ):
        assert words in said
        said = said.replace(words, "")
    assert said.strip() == ""


def test_the_card_as_a_picture_has_only_the_address_as_its_name() -> None:
    svg = card_svg(CARD)
    assert "<title>my.example.be</title>" in svg
    assert CARD.code not in svg


def test_the_same_card_gives_the_same_bytes() -> None:
    assert card_pdf(CARD, CREATED) == card_pdf(CARD, CREATED)


@pytest.mark.parametrize("address", ["my.example.be", "https://my.example.be/#x", "javascript:x"])
def test_an_address_that_cannot_stand_on_a_card_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="not usable"):
        card_drawing(dataclasses.replace(CARD, address=address))


def test_words_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="four lines"):
        card_drawing(dataclasses.replace(CARD, note="one word after another " * 12))
    with pytest.raises(TextRefused, match="no room"):
        card_drawing(dataclasses.replace(CARD, caption_address="a caption much too long " * 6))
