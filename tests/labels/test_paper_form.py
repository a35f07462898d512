"""The form that is filled in by hand when the service cannot be reached."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from custody.number import KIT, LabelCode, check_character, next_serial, parse_kit_number, parse_scan, written
from labels.paper_form import Column, FormTable, PaperForm, form_drawings, form_pdf
from tests.labels.samples import ALL, CREATED, ITEMS, KIT_LABEL, NUMBER, PACKAGES, SERVICE
from tests.labels.scanners import pdf_pages, pdf_texts, read_by_zbar, read_by_zxing

FORM = PaperForm(
    kit=KIT_LABEL,
    title="Registration on paper",
    explanation="Use this form when the service cannot be reached. Enter everything when it is back.",
    fields=(
        "Day and time",
        "Centre",
        "Nurse: name, signature",
        "Second person: name, signature",
        "Entered by",
    ),
    tables=(
        FormTable(
            "Packages",
            (Column("Package", 2), Column("Seal number", 3), Column("Time", 2), Column("Signature", 3)),
            tuple(label.part for label in PACKAGES),
        ),
        FormTable(
            "Items",
            (Column("Item", 2), Column("Type", 5), Column("Time", 2)),
            tuple(i.part for i in ITEMS),
            8,
        ),
        FormTable(
            "Hand-overs", (Column("Time", 2), Column("Gives", 4), Column("Receives", 4)), ("",) * 8, 15
        ),
    ),
    labels=ALL,
)


def test_the_form_brings_every_label_of_its_kit(tmp_path: Path) -> None:
    pages = pdf_pages(form_pdf(FORM, CREATED))
    assert len(pages) == len(form_drawings(FORM)) + 1
    expected = sorted(label.address for label in ALL)
    assert read_by_zxing(pages[-1]) == read_by_zbar(pages[-1], tmp_path) == expected


def test_the_first_page_is_scanned_as_the_kit(tmp_path: Path) -> None:
    first = pdf_pages(form_pdf(FORM, CREATED))[0]
    assert read_by_zxing(first) == read_by_zbar(first, tmp_path) == [KIT_LABEL.address]
    assert parse_scan(KIT_LABEL.address, [SERVICE]) == KIT_LABEL.code


def test_every_page_to_be_written_on_names_the_kit_and_itself() -> None:
    written_on = pdf_texts(form_pdf(FORM, CREATED))[: len(form_drawings(FORM))]
    for number, text in enumerate(written_on, start=1):
        assert written(NUMBER) in text
        assert f"{number} / {len(written_on)}" in text


def test_every_caption_and_row_is_on_the_form() -> None:
    text = "\n".join(pdf_texts(form_pdf(FORM, CREATED))[: len(form_drawings(FORM))])
    for table in FORM.tables:
        for words in (table.title, *(column.caption for column in table.columns), *table.rows):
            assert words in text
    for words in FORM.fields:
        assert words in text


@pytest.mark.parametrize("rows", [1, 5, 17, 40, 99])
def test_a_table_of_any_length_stays_on_its_pages_and_loses_no_row(rows: int) -> None:
    table = FormTable(
        "Items", (Column("Item", 1), Column("Type", 2)), tuple(f"item {n}" for n in range(rows))
    )
    pages = form_drawings(dataclasses.replace(FORM, tables=(table, table)))
    texts = [mark.text for page in pages for mark in page.marks if hasattr(mark, "text")]
    assert sum(text.startswith("item ") for text in texts) == 2 * rows
    assert all(0 <= mark.y <= 297 - 10 for page in pages for mark in page.marks)


def test_a_form_never_comes_with_another_kits_label() -> None:
    other = parse_kit_number("7M4P9XQ3RT7" + check_character("7M4P9XQ3RT7"))
    stranger = dataclasses.replace(KIT_LABEL, code=LabelCode(other, KIT, next_serial(other, KIT, 0)))
    with pytest.raises(ValueError, match="one kit"):
        form_pdf(dataclasses.replace(FORM, labels=(*ALL, stranger)), CREATED)


def test_an_explanation_nobody_would_read_is_refused() -> None:
    with pytest.raises(ValueError, match="four lines"):
        form_drawings(dataclasses.replace(FORM, explanation="word " * 200))


def test_the_same_form_gives_the_same_bytes() -> None:
    assert form_pdf(FORM, CREATED) == form_pdf(FORM, CREATED)
