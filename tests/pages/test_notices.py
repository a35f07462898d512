"""The safe channel and the list of notices in a browser, on a phone and on a desk."""

import pytest

from tests.custody.story import NURSE
from tests.pages.conftest import PHONE, WIDE, Pages
from tests.pages.doings import register
from tests.pages.test_every_page import check


@pytest.mark.parametrize("size", [PHONE, WIDE], ids=["phone", "desk"])
def test_a_nurse_finds_the_safe_channel_from_the_kit_and_the_list_from_the_menu(
    pages: Pages, size: dict[str, int]
) -> None:
    nurse = pages.at(NURSE, size=size)
    kit = register(nurse)

    nurse.go(f"/kits/{kit}/channel")
    check(nurse.page, "channel")
    assert nurse.sees("Safe channel")
    nurse.go("/notices")
    check(nurse.page, "notices")
    assert nurse.sees("Nobody waits for a call.")
