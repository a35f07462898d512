"""What the pages tell about holds, the channel and the choices, looked at on a phone and on a desk."""

import pytest

from tests.custody.story import COORDINATOR, NURSE
from tests.pages.conftest import PHONE, WIDE, Pages
from tests.pages.doings import fill_registration
from tests.pages.test_every_page import check


@pytest.mark.parametrize("size", [PHONE, WIDE], ids=["phone", "desk"])
def test_a_hold_is_told_before_it_is_lifted_and_signed(pages: Pages, size: dict[str, int]) -> None:
    nurse = pages.at(NURSE, size=size)
    nurse.go("/register")
    fill_registration(nurse)
    nurse.choose(channel="phone")
    nurse.fill(channel_address="0400 00 00 77")
    nurse.press("Register")
    kit = nurse.page.locator(".secret").first.inner_text().replace("-", "")
    check(nurse.page, "registered")
    nurse.press("Prove the channel now, while the victim is here")
    check(nurse.page, "channel")
    assert nurse.sees("I called, and the victim answered")
    nurse.go(f"/do/hold.place?kit={kit}")
    check(nurse.page, "hold.place")
    nurse.check(ground="centre")
    nurse.fill(reason="an invented inquiry")
    nurse.press("Hold")

    coordinator = pages.at(COORDINATOR, size=size)
    coordinator.go(f"/do/hold.lift?kit={kit}")
    check(coordinator.page, "hold.lift")
    assert coordinator.sees("an invented inquiry")
    coordinator.fill(reason="it is over")
    coordinator.press("Lift a hold")

    nurse.go("/")
    nurse.press("Compare and sign")
    check(nurse.page, "signature")
    assert nurse.sees("an invented inquiry")
    nurse.press("Sign")
    for path in (f"/kits/{kit}/choices", f"/do/term.extend?kit={kit}", f"/do/channel.prove?kit={kit}"):
        nurse.go(path)
        check(nurse.page, path)
