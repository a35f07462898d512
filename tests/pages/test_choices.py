"""The choices trail at the pages: an order that two people enter, and a file that ends with it."""

import time
from collections.abc import Callable

from custody.bundle import read
from custody.event import decode
from tests.custody.story import COORDINATOR, NURSE, NURSE_2
from tests.pages.conftest import Pages
from tests.pages.doings import register

LETTER = {"name": "order.pdf", "mimeType": "application/pdf", "buffer": b"an invented order"}
NARROW, WIDE = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


SIGNED = """
SELECT NOT EXISTS (SELECT FROM audit.pending WHERE log = 'events') AND
       (SELECT max(size) FROM audit.checkpoint WHERE log = 'events')
           = (SELECT max(index) + 1 FROM audit.leaf WHERE log = 'events')
"""


def until_signed(pages: Pages, patience: float = 60) -> None:
    """Wait until all that is recorded is under a signed checkpoint."""
    until = time.monotonic() + patience
    with pages.desk.database.connect("superuser") as connection:
        while connection.execute(SIGNED).fetchone() != (True,):
            assert time.monotonic() < until, "the clerk signed nothing"
            time.sleep(0.1)


def test_the_coordinator_enters_the_order_a_nurse_signs_and_the_file_can_be_taken(
    pages: Pages, clerk: Callable[[], None]
) -> None:
    kit = register(pages.at(NURSE))
    coordinator = pages.at(COORDINATOR)
    coordinator.go(f"/kits/{kit}/choices")
    assert coordinator.sees("It leaves only on a judge's order, which two of you enter.")
    assert coordinator.page.get_by_role("button", name="Download").count() == 0
    coordinator.press("Hand out the choices trail on a judge's order")
    coordinator.page.set_input_files("#digest_file", LETTER)  # type: ignore[arg-type]
    coordinator.fill(authority="Onderzoeksrechter Avondland (invented)", dated="2026-05-03")
    coordinator.press("Hand out the choices trail on a judge's order")
    coordinator.go(f"/kits/{kit}/choices")
    assert coordinator.page.get_by_role("button", name="Download").count() == 0, "one person is not enough"

    second = pages.at(NURSE_2)
    second.go("/")
    second.press("Compare and sign")
    assert second.sees("Onderzoeksrechter Avondland (invented)")
    second.press("Sign")
    clerk()
    until_signed(pages)
    for size in (NARROW, WIDE):
        coordinator.page.set_viewport_size(size)  # type: ignore[arg-type]
        coordinator.go(f"/kits/{kit}/choices")
        wide = coordinator.page.evaluate("() => document.documentElement.scrollWidth")
        assert wide <= size["width"]
    assert coordinator.sees("Choices trail handed out on an order")
    assert coordinator.sees("Onderzoeksrechter Avondland (invented), 3 May 2026")
    assert coordinator.sees("Up to entry 4, as the judge's order was entered.")
    coordinator.page.select_option("#purpose", "court")
    with coordinator.page.expect_download() as coming:
        coordinator.page.get_by_role("button", name="Download").click()
    assert coming.value.suggested_filename == f"choices-{kit}.zip"
    types = [decode(event).type for event in read(coming.value.path().read_bytes()).events]
    assert types == ["agreement.recorded", "term.agreed", "card.issued", "choices.disclosed"]
