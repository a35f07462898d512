"""The page about the scheduled check in a real browser: on a phone and on a desk."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from tests.custody.story import COORDINATOR, NURSE, OFFICER
from tests.desk.test_alarms import check as run_the_check
from tests.desk.test_check_page import damage
from tests.pages.conftest import PHONE, WIDE, Pages
from tests.pages.test_every_page import check

Advance = Callable[[timedelta], None]


@pytest.mark.parametrize("size", [PHONE, WIDE], ids=["phone", "desk"])
def test_whether_the_check_runs_what_it_did_and_what_it_set_aside(
    pages: Pages, advance: Advance, size: dict[str, int]
) -> None:
    nurse = pages.at(NURSE, size=size)
    nurse.go("/check")
    check(nurse.page, "/check, never run")
    assert nurse.sees("The check is not running")
    first, second = (pages.desk.at(NURSE).register(pages.desk.now())["kit"] for _ in range(2))
    damage(pages.desk, first)
    advance(timedelta(days=150))
    with ThreadPoolExecutor(1) as beside:  # the browser's own loop runs in this thread
        beside.submit(run_the_check, pages.desk).result()
    coordinator = pages.at(COORDINATOR, size=size)
    coordinator.go("/check")
    check(coordinator.page, "/check")
    assert coordinator.sees("It runs.")
    assert coordinator.sees("the victim is to be told: 1; could not be moved: 1")
    assert coordinator.sees("No term was agreed for this kit.")
    picture = coordinator.page.locator("svg.by-day")
    expect(picture).to_have_attribute("aria-label", "What the check did in the last 30 days, by day")
    assert picture.locator("g").count() == 30
    if size == PHONE:
        coordinator.page.get_by_text("More", exact=True).click()
    expect(coordinator.page.get_by_role("link", name="Check", exact=True)).to_have_attribute(
        "aria-current", "page"
    )
    assert not coordinator.sees(second)
    assert pages.at(OFFICER, size=size).go("/check") == 403
