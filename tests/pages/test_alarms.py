"""What is overdue, and a stock-take, in a real browser: on a phone and on a desk."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import segno
from playwright.sync_api import expect

from custody.number import KitNumber, Part, PartKind, label_code
from tests.custody.story import COORDINATOR, CUSTODIAN, MAGISTRATE, NURSE, NURSE_2, new_number
from tests.desk.conftest import refs
from tests.desk.test_readings import quiet, restricted
from tests.pages.conftest import FLAGS, PHONE, WIDE, Pages
from tests.pages.test_every_page import check

Advance = Callable[[timedelta], None]
SIZES = pytest.mark.parametrize("size", [PHONE, WIDE], ids=["phone", "desk"])


def label(kit: str, package: int) -> str:
    return label_code(KitNumber(kit), Part(PartKind.PACKAGE, package), 1)


def labelled(pages: Pages, place: str = "shelf-1") -> str:
    """A kit with all its labels; two of its packages lie on the shelf, the third is with the nurse."""
    nurse = pages.desk.at(NURSE)
    kit: str = nurse.register(pages.desk.now())["kit"]
    assert nurse.post("labels/prints", {"kit": kit}).status_code == 201
    stored = nurse.post("packages/store", {"packages": refs(kit, 2, 3), "place": place})
    assert stored.status_code == 201, stored.text
    return kit


@SIZES
def test_what_is_overdue_stands_on_the_first_page_and_leads_to_the_work(
    pages: Pages, advance: Advance, size: dict[str, int]
) -> None:
    nurse = pages.at(NURSE, size=size)
    nurse.go("/alarms")
    check(nurse.page, "/alarms, empty")
    assert nurse.sees("Nothing is overdue, as of")
    kit = pages.desk.at(NURSE).register(pages.desk.now())["kit"]
    advance(timedelta(hours=30))
    nurse = pages.at(NURSE, size=size)
    check(nurse.page, "/")
    expect(nurse.page.get_by_role("heading", name="Overdue")).to_have_count(1)
    assert nurse.sees("for you: 1 of 2")
    nurse.press("Everything overdue")
    check(nurse.page, "/alarms")
    assert nurse.sees("overdue by 6 h")
    first = nurse.page.locator(".rows > li").first
    expect(first).to_contain_text("A package in somebody's hands that lies in no place")
    expect(first).to_contain_text("for you")
    pictures = nurse.page.locator("svg.late")
    assert [p.get_attribute("aria-label") for p in pictures.all()] == [
        "A package in somebody's hands that lies in no place: 1, the longest overdue by 6 h",
        "A seal that only the person who closed it has seen: 1, the longest overdue by 6 h",
    ]
    nurse.choose(person="me")
    nurse.press("Look")
    assert nurse.page.locator(".rows > li").count() == 1
    nurse.press("Store or hand over")
    assert f"/scan?p={kit}.1" in nurse.page.url
    colleague = pages.at(NURSE_2, size=size)
    colleague.go("/alarms?rule=seal_not_checked")
    colleague.press("Check seals")
    assert "/do/seal.check" in colleague.page.url
    assert pages.at(MAGISTRATE, size=size).go("/alarms") == 403


@SIZES
def test_a_stock_take_is_scanned_line_by_line_compared_and_put_on_record(
    pages: Pages, size: dict[str, int]
) -> None:
    kit = labelled(pages)
    here, missing, elsewhere = label(kit, 2), (kit, 3), label(kit, 1)
    custodian = pages.at(CUSTODIAN, size=size)
    custodian.go("/stock-take")
    check(custodian.page, "/stock-take")
    assert custodian.sees("packages recorded here: 2")
    assert custodian.sees("never counted; opened ")
    assert not re.search(r"due [^\n]*00:00", custodian.page.inner_text("main")), "a day counts whole"
    custodian.go("/stock-take/shelf-1")
    check(custodian.page, "/stock-take/shelf-1")
    expect(custodian.page.locator("#codes")).to_be_focused()
    for code in (here, elsewhere, "NONSENSE", here):
        custodian.page.keyboard.type(code)
        custodian.page.keyboard.press("Enter")
    custodian.press("Compare with what is recorded")
    check(custodian.page, "compared")
    picture = custodian.page.locator("svg.counted").get_attribute("aria-label")
    assert picture == "as recorded: 1, recorded elsewhere: 1, not scanned: 1, not to be recorded here: 0"
    assert custodian.sees("there are differences")
    assert custodian.sees("NONSENSE")
    before = pages.desk.count()
    custodian.press("Compare again")
    assert pages.desk.count() == before, "nothing is recorded until the end"
    custodian.check(storage="seen")
    custodian.press("Record the stock-take")
    check(custodian.page, "recorded")
    assert custodian.sees("Recorded here, and not scanned")
    assert pages.desk.count() == before + 2, "one event of the place, one of the kit"
    custodian.press("Cannot be found")
    assert custodian.page.url.endswith(f"/do/package.lose?p={missing[0]}.{missing[1]}")
    nurse = pages.desk.at(NURSE).get(f"kits/{kit}", purpose="task").json()
    assert nurse["packages"]["1"]["place"]["id"] == "shelf-1"
    custodian.go("/stock-take")
    assert custodian.sees("last counted ")


def test_a_place_in_which_all_lies_as_recorded_says_so_and_a_void_label_is_told(pages: Pages) -> None:
    kit = labelled(pages)
    custodian = pages.at(CUSTODIAN)
    custodian.go("/stock-take/shelf-1")
    custodian.fill(codes=f"{label(kit, 2)}\n{label(kit, 3)}")
    custodian.press("Compare with what is recorded")
    assert custodian.sees("everything as recorded")
    again = pages.desk.at(NURSE).post("labels/prints", {"kit": kit, "parts": ["P03"], "reason": "torn"})
    assert again.status_code == 201
    custodian.press("Compare again")
    assert custodian.sees("This label is void")
    assert custodian.sees("there are differences")


def test_a_label_of_a_restricted_kit_and_of_none_are_told_alike(pages: Pages) -> None:
    kit, never = restricted(pages.desk), new_number()
    custodian = pages.at(CUSTODIAN)
    told = []
    for number in (kit, never):
        custodian.go("/stock-take/shelf-1")
        custodian.fill(codes=label(number, 1))
        custodian.press("Compare with what is recorded")
        told.append(custodian.page.inner_text("main").replace(label(number, 1), "LABEL"))
    assert told[0] == told[1]
    assert "There is no kit with this number that you can open." in told[0]


@SIZES
def test_what_is_to_be_kept_otherwise_is_said_before_the_stock_take_puts_it_there(
    pages: Pages, size: dict[str, int]
) -> None:
    kit = labelled(pages)
    custodian = pages.at(CUSTODIAN, size=size)
    custodian.go("/stock-take/freezer-1")
    custodian.fill(codes=label(kit, 2))
    custodian.press("Compare with what is recorded")
    assert custodian.sees("Freezer 1 is frozen.")
    assert custodian.sees("package 2: dry")
    before = pages.desk.count()
    custodian.page.eval_on_selector("form[action$='/taken']", "form => { form.noValidate = true; }")
    custodian.press("Record the stock-take")
    assert custodian.sees("Some of these packages are to be kept under another condition")
    assert custodian.sees("package 2: dry"), "the list is still there"
    assert pages.desk.count() == before
    custodian.check(storage="seen")
    check(custodian.page, "ticked")
    custodian.press("Record the stock-take")
    assert pages.desk.count() == before + 2
    custodian.go("/stock-take/shelf-1")
    custodian.fill(codes=label(kit, 1))
    custodian.press("Compare with what is recorded")
    assert custodian.sees("Shelf 1 is dry.")


def filmed(code: str, path: Path) -> None:
    """A film of one still picture, as a camera that looks at this code sees it (YUV4MPEG2, 640 x 480)."""
    modules = [list(row) for row in segno.make_qr(code, error="q").matrix_iter(scale=8, border=4)]
    wide, high, side = 640, 480, len(modules)
    left, top = (wide - side) // 2, (high - side) // 2
    rows = [bytearray(b"\xeb" * wide) for _ in range(high)]
    for y, row in enumerate(modules):
        rows[top + y][left : left + side] = bytes(16 if dark else 235 for dark in row)
    frame = b"FRAME\n" + b"".join(rows) + b"\x80" * (wide * high // 2)
    path.write_bytes(b"YUV4MPEG2 W640 H480 F10:1 Ip A1:1 C420jpeg\n" + frame * 10)


def test_the_camera_writes_each_code_on_a_line_of_the_stock_take(
    pages: Pages, chromium: str, tmp_path: Path
) -> None:
    kit = labelled(pages)
    film = tmp_path / "label.y4m"
    filmed(label(kit, 2), film)
    eyes = ("device-for-media-stream", "ui-for-media-stream")
    flags = [*FLAGS, *(f"--use-fake-{each}" for each in eyes), f"--use-file-for-fake-video-capture={film}"]
    camera = pages.browser.browser_type.launch(executable_path=chromium, args=flags)
    try:
        custodian = Pages(camera, pages.desk).at(CUSTODIAN, scripts=True)
        custodian.go("/stock-take/shelf-1")
        custodian.page.get_by_role("button", name="Use the camera").click()
        expect(custodian.page.locator("#codes")).to_have_value(label(kit, 2) + "\n")
        custodian.page.get_by_role("button", name="Stop the camera").click()
        custodian.press("Compare with what is recorded")
        assert custodian.sees("as recorded: 1")
    finally:
        camera.close()


def test_a_stock_take_is_for_those_who_keep_places(pages: Pages) -> None:
    quiet(pages.desk)
    assert pages.at(COORDINATOR).go("/stock-take") == 403
    nurse = pages.at(NURSE)
    assert nurse.go("/stock-take/safe-1") == 422
    assert nurse.sees("There is no open place of this name at your organisation.")
