"""Labels as they come out of a printer, read back by two scanners."""

from __future__ import annotations

import dataclasses
import random
import re
from io import BytesIO
from pathlib import Path

import pytest
import zxingcpp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import sync_playwright

from custody.number import LabelCode, issue, item, next_serial, package, parse_scan
from labels.drawing import Box, Line, Symbol, svg
from labels.label import (
    PER_SHEET,
    Label,
    label_drawing,
    label_png,
    label_roll_pdf,
    label_sheet_pdf,
    label_svg,
    sheet_drawings,
)
from labels.qr import QUIET_ZONE, qr_code
from labels.typeface import TextRefused, width
from tests.labels.samples import ALL, CREATED, KIT_LABEL, NUMBER, PACKAGES, SERVICE, label
from tests.labels.scanners import pdf_pages, pdf_texts, read_by_zbar, read_by_zxing

SAMPLE = PACKAGES[2]


def picture(png: bytes) -> Image.Image:
    return Image.open(BytesIO(png)).convert("L")


def framed(image: Image.Image) -> Image.Image:
    """The label on a brown bag."""
    bag = Image.new("L", (image.width + 120, image.height + 120), 140)
    bag.paste(image, (60, 60))
    return bag


@pytest.mark.parametrize("dots_per_inch", [203, 300, 600])
@pytest.mark.parametrize("sample", [KIT_LABEL, SAMPLE, ALL[-1]], ids=str)
def test_a_label_as_png_is_read_by_both_scanners(sample: Label, dots_per_inch: int, tmp_path: Path) -> None:
    printed = framed(picture(label_png(sample, dots_per_inch)))
    assert read_by_zxing(printed) == [sample.address]
    assert read_by_zbar(printed, tmp_path) == [sample.address]


def test_a_label_as_svg_is_read_by_both_scanners_after_a_browser_drew_it(
    chromium: str, tmp_path: Path
) -> None:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(device_scale_factor=2)
        page.set_content(f"<body style='background:#b98'>{label_svg(SAMPLE)}")
        drawn = Image.open(BytesIO(page.screenshot())).convert("L")
        assert page.get_by_role("img", name=SAMPLE.code.written).is_visible()
        browser.close()
    assert read_by_zxing(drawn) == [SAMPLE.address]
    assert read_by_zbar(drawn, tmp_path) == [SAMPLE.address]


def test_every_code_on_a_full_sheet_is_read_by_both_scanners(tmp_path: Path) -> None:
    labels = [*ALL, *(label(item(n), f"item {n}", "frozen") for n in range(15, 18))]
    assert len(labels) == PER_SHEET
    (page,) = pdf_pages(label_sheet_pdf(labels, CREATED))
    expected = sorted(sample.address for sample in labels)
    assert read_by_zxing(page) == expected
    assert read_by_zbar(page, tmp_path) == expected
    assert {parse_scan(text, [SERVICE]) for text in expected} == {sample.code for sample in labels}


def test_a_sheet_already_begun_leaves_its_used_places_free() -> None:
    pages = pdf_pages(label_sheet_pdf(ALL, CREATED, skip=20), 150)
    assert len(pages) == 2
    first, second = (read_by_zxing(page) for page in pages)
    assert sorted(first + second) == sorted(sample.address for sample in ALL)
    assert len(first) == 4
    with pytest.raises(ValueError, match="places 0 to 23"):
        sheet_drawings(ALL, skip=24)


def test_a_roll_has_one_label_a_page(tmp_path: Path) -> None:
    pages = pdf_pages(label_roll_pdf(ALL[:3], CREATED))
    for page, sample in zip(pages, ALL[:3], strict=True):
        assert read_by_zxing(framed(page)) == [sample.address]
        assert read_by_zbar(framed(page), tmp_path) == [sample.address]


def test_what_a_person_reads_on_the_label_is_what_the_code_says() -> None:
    (text,) = pdf_texts(label_roll_pdf([SAMPLE], CREATED))
    lines = text.split()
    assert lines[:3] == ["7M4P", "9XQ3", f"RT6{NUMBER[-1]}"]
    assert SAMPLE.part in text
    assert SAMPLE.storage in text
    assert SAMPLE.serial in text
    typed = next(word for word in lines if word.count("-") == 5)
    assert parse_scan(typed, []) == SAMPLE.code


@pytest.mark.parametrize("seed", range(12))
def test_a_scratched_stained_and_crooked_label_is_still_read(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    worn = framed(picture(label_png(SAMPLE)))
    pen = ImageDraw.Draw(worn)
    left, top, side = 60 + 35, 60 + 35, 236
    y = top + chance.randrange(90, 150)
    pen.line((left, y, left + side, y + chance.randrange(-20, 20)), fill=255, width=5)  # a scratch
    x, y = left + chance.randrange(90, 180), top + chance.randrange(90, 180)
    pen.ellipse((x, y, x + 34, y + 34), fill=40)  # a stain as wide as five squares
    worn = worn.rotate(chance.uniform(-12, 12), expand=True, fillcolor=140, resample=Image.Resampling.BICUBIC)
    worn = worn.filter(ImageFilter.GaussianBlur(1.2))
    assert read_by_zxing(worn) == [SAMPLE.address]
    assert read_by_zbar(worn, tmp_path) == [SAMPLE.address]


def test_a_code_is_an_ordinary_qr_code_of_version_4_at_level_q() -> None:
    code = qr_code(SAMPLE.address)
    assert code.version == 4
    assert code.size == 33
    # The first two format bits (ISO/IEC 18004, 7.9) are 11 for level Q, and 10 is laid over them as a mask.
    assert code.rows[8][:2] == (False, True)
    (found,) = zxingcpp.read_barcodes(framed(picture(label_png(SAMPLE))))
    assert found.ec_level == "Q"
    assert found.format.name in ("QRCode", "QRCodeModel2")


@pytest.mark.parametrize("text", ["1", "A", "KIT-1"])
def test_even_the_shortest_text_never_becomes_a_micro_qr_code(text: str) -> None:
    assert qr_code(text).version == 1
    assert qr_code(text).size == 21


def test_a_code_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        qr_code("")


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_the_quiet_zone_around_a_code_stays_free(sample: Label) -> None:
    image = picture(label_png(sample))
    (symbol,) = [mark for mark in label_drawing(sample).marks if isinstance(mark, Symbol)]
    scale = 300 / 25.4
    quiet = QUIET_ZONE * symbol.side / symbol.code.size
    outer = [
        symbol.x - quiet,
        symbol.y - quiet,
        symbol.x + symbol.side + quiet,
        symbol.y + symbol.side + quiet,
    ]
    area = image.crop(tuple(round(mm * scale) for mm in outer))  # type: ignore[arg-type]
    inner = round(quiet * scale) - 1
    ImageDraw.Draw(area).rectangle((inner, inner, area.width - inner, area.height - inner), fill=255)
    assert area.getextrema() == (255, 255)


def test_a_label_has_no_room_for_a_person_or_a_story() -> None:
    """The whole of what a label can say; a new field has to be argued for here."""
    assert [field.name for field in dataclasses.fields(Label)] == [
        "code",
        "base_url",
        "part",
        "storage",
        "serial",
    ]
    said = {mark.text for mark in label_drawing(SAMPLE).marks if isinstance(mark, Line)}
    groups = set(SAMPLE.code.written.split("-")[:3])
    assert said == groups | {"P03", SAMPLE.code.written, SAMPLE.part, SAMPLE.storage, SAMPLE.serial}


def test_the_same_labels_and_date_give_the_same_bytes() -> None:
    assert label_sheet_pdf(ALL, CREATED) == label_sheet_pdf(ALL, CREATED)
    assert label_roll_pdf(ALL, CREATED) == label_roll_pdf(ALL, CREATED)
    assert label_png(SAMPLE) == label_png(SAMPLE)
    assert label_svg(SAMPLE) == label_svg(SAMPLE)


def test_the_only_date_in_a_pdf_is_the_one_it_was_given() -> None:
    pdf = label_sheet_pdf(ALL, CREATED)
    assert set(re.findall(rb"D:(\d{14})", pdf)) == {b"20310304050607"}
    assert b"ModDate" not in pdf
    with pytest.raises(ValueError, match="time zone"):
        label_sheet_pdf(ALL, CREATED.replace(tzinfo=None))


def test_no_labels_make_no_pdf() -> None:
    with pytest.raises(ValueError, match="without a page"):
        label_sheet_pdf([], CREATED)


def test_words_in_the_languages_of_the_country_and_its_neighbours_can_be_printed() -> None:
    for words in (
        "pièce n° 7",
        "Päckchen 7 – gekühlt",
        "pakket 7, diepgevroren",
        "przesyłka 7",
        "опаковка 7",
        "δέμα 7",
    ):
        label_png(dataclasses.replace(SAMPLE, part=words))


def test_a_word_that_cannot_be_printed_is_refused_and_never_becomes_an_empty_box() -> None:
    with pytest.raises(TextRefused, match=r"U\+4E00"):
        label_png(dataclasses.replace(SAMPLE, part="一"))
    with pytest.raises(TextRefused, match="no room"):
        label_svg(
            dataclasses.replace(SAMPLE, part="a part with a name that nobody could ever read on a label")
        )


def test_words_are_escaped_in_the_svg() -> None:
    drawing = dataclasses.replace(label_drawing(SAMPLE), name="<script>&")
    assert "<title>&lt;script&gt;&amp;</title>" in svg(drawing)


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=7, max_size=7), st.integers(1, 99), st.integers(0, 9000))
@example(bytes.fromhex("a729ca729ca700"), 99, 9000)  # MWMW-… : the widest letters
def test_no_words_on_a_label_run_over_its_edge_or_over_each_other(
    drawn: bytes, number: int, after: int
) -> None:
    kit = issue(drawn)
    if kit is None:
        return
    part = package(number)
    code = LabelCode(kit, part, next_serial(kit, part, after))
    made = label_drawing(
        Label(code, SERVICE, f"package {number}", "dry at room temperature", f"label {code.serial}")
    )
    lines = [mark for mark in made.marks if isinstance(mark, Line)]
    block = max((mark for mark in made.marks if isinstance(mark, Box)), key=lambda box: box.height)
    ends = {line.text: line.x + width(line.text, line.weight, line.points) for line in lines}
    assert max(ends.values()) <= made.width - 2.4
    for group in code.written.split("-")[:3]:
        assert ends[group] < block.x
    (serial,) = [line for line in lines if line.text.startswith("label ")]
    assert ends[code.written] < serial.x


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=7, max_size=7), st.integers(1, 99), st.integers(0, 300))
def test_any_label_that_can_be_issued_reads_back_as_itself(drawn: bytes, number: int, after: int) -> None:
    kit = issue(drawn)
    if kit is None:
        return
    part = package(number)
    code = LabelCode(kit, part, next_serial(kit, part, after))
    printed = framed(
        picture(label_png(Label(code, SERVICE, f"package {number}", "frozen", f"label {code.serial}")))
    )
    (text,) = read_by_zxing(printed)
    assert parse_scan(text, [SERVICE]) == code
