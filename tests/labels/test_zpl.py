"""A label in the printer's own language: every field comes out as it went in."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labels.zpl import escaped, label_zpl
from tests.labels.samples import PACKAGES

SAMPLE = PACKAGES[2]


def as_printer_reads(field: str) -> str:
    """`^FH` with `^CI28`: _xx is one byte of UTF-8."""
    data = re.sub(rb"_([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), field.encode("ascii"))
    return data.decode()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_ever_becomes_a_command_and_every_text_is_read_back(text: str) -> None:
    field = escaped(text)
    assert not set(field) & set("^~\\\n\r")
    assert field.isascii()
    assert as_printer_reads(field) == text


@pytest.mark.parametrize("dots_per_mm", [8, 12])
def test_the_qr_code_in_zpl_says_the_same_at_level_q(dots_per_mm: int) -> None:
    zpl = label_zpl(SAMPLE, dots_per_mm)
    (magnification, data) = re.findall(r"\^BQN,2,(\d+),Q\^FH\^FDQA,([^^]*)\^FS", zpl)[0]
    assert as_printer_reads(data) == SAMPLE.address
    assert int(magnification) == {8: 4, 12: 7}[dots_per_mm]


def test_a_zpl_label_has_the_same_words_as_every_other_label() -> None:
    words = dataclasses.replace(SAMPLE, part="pièce ^XZ~_3", storage="gekühlt")
    zpl = label_zpl(words)
    assert zpl.startswith("^XA\n")
    assert zpl.endswith("^XZ\n")
    assert zpl.count("^XZ") == 1
    fields = {as_printer_reads(field) for field in re.findall(r"\^FD(.*?)\^FS", zpl)}
    assert {"7M4P", "9XQ3", "P03", "pièce ^XZ~_3", "gekühlt", words.code.written, words.serial} <= fields


def test_a_printer_with_an_unknown_resolution_is_refused() -> None:
    with pytest.raises(ValueError, match="dots per mm"):
        label_zpl(SAMPLE, 300)
