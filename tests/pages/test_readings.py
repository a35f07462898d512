"""Who looked at the centre's kits, on the pages: for coordinators; and the glass for all staff."""

import re

from custody.number import KitNumber, Part, PartKind, label_code
from tests.custody.story import COORDINATOR, CUSTODIAN, MAGISTRATE, NURSE, NURSE_2, new_number
from tests.desk.test_readings import READERS, quiet, restricted
from tests.pages.conftest import PHONE, WIDE, Pages


def test_a_kit_without_a_task_asks_for_a_reason_of_the_function(pages: Pages) -> None:
    kit = quiet(pages.desk)
    custodian = pages.at(CUSTODIAN)
    assert custodian.go(f"/kits/{kit}?for=task") == 422
    assert custodian.sees("You have no task with this kit now.")
    offered = {box.get_attribute("value") for box in custodian.page.locator("[name='purpose']").all()}
    assert offered == {"report", "safety", "court", "stock_take", "review", "complaint"}
    custodian.check(purpose="stock_take")
    custodian.press("Open the kit")
    assert custodian.page.url.endswith("?for=stock_take")
    assert custodian.go(f"/kits/{kit}/choices") == 200, "the reason holds for the pages of the kit"
    magistrate = pages.at(MAGISTRATE)
    magistrate.go(f"/kits/{kit}")
    offered = {box.get_attribute("value") for box in magistrate.page.locator("[name='purpose']").all()}
    assert offered == {"court", "report", "complaint"}
    assert not magistrate.sees("break the glass")


def test_a_typed_number_asks_for_a_reason_and_a_scanned_label_does_not(pages: Pages) -> None:
    kit = quiet(pages.desk)
    custodian = pages.at(CUSTODIAN)
    custodian.go(f"/scan?code={kit}")
    assert custodian.page.url.endswith(f"/kits/{kit}")
    assert custodian.sees("Why do you open this kit?")
    custodian.go(f"/s/{label_code(KitNumber(kit), Part(PartKind.PACKAGE, 1), 1)}")
    assert custodian.page.url.endswith(f"code={label_code(KitNumber(kit), Part(PartKind.PACKAGE, 1), 1)}")
    assert custodian.go(f"/kits/{kit}?for=scan") == 200


def test_the_page_not_found_offers_the_glass_alike_for_a_restricted_kit_and_for_none(pages: Pages) -> None:
    kit, never = restricted(pages.desk), new_number()
    colleague = pages.at(NURSE_2)
    shown = []
    for number in (kit, never):
        assert colleague.go(f"/kits/{number}?for=review") == 404
        assert colleague.page.get_by_role("link", name="break the glass").count() == 1
        shown.append(re.sub(r"[0-9a-f-]{36}|[A-Za-z0-9_-]{43}", "", colleague.page.content()))
    assert shown[0] == shown[1]
    for number in (never, kit):
        colleague.go("/glass")
        colleague.fill(kit=number)
        colleague.check(reason="victim_in_danger")
        colleague.press("Break the glass")
        assert colleague.sees("Not found") == (number == never)
    assert colleague.page.url.endswith(f"/kits/{kit}?for=break_glass")


def test_coordinators_are_told_of_broken_glass_until_another_person_reviewed_it(pages: Pages) -> None:
    desk = pages.desk
    kit = restricted(desk)
    coordinator = pages.at(COORDINATOR)
    assert not coordinator.sees("The glass was broken")
    opened = desk.at(NURSE_2).client.post(f"/api/kits/{kit}/glass", json={"reason": "readers_absent"})
    assert opened.status_code == 201
    coordinator.go("/")
    assert coordinator.sees("The glass was broken.")
    coordinator.go("/readings")
    assert coordinator.sees("No reader can be reached, and it cannot wait")
    coordinator.press("Reviewed")
    assert coordinator.sees(f"reviewed by {COORDINATOR.name}")
    coordinator.go("/")
    assert not coordinator.sees("The glass was broken.")


def test_readings_fit_a_phone_and_a_wide_screen_and_show_each_day(pages: Pages) -> None:
    desk = pages.desk
    kit = quiet(desk)
    desk.at(CUSTODIAN).get(f"kits/{kit}", purpose="review")
    for size in (PHONE, WIDE):
        coordinator = pages.at(COORDINATOR, size=size)
        assert coordinator.go("/readings") == 200
        assert coordinator.page.locator(".by-day g").count() == 30
        width = coordinator.page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"]
        coordinator.page.fill("#kit", kit)
        coordinator.press("Look")
        assert coordinator.sees("a stated reason, by somebody who never worked with this kit")
        assert coordinator.page.get_by_role("button", name="Reviewed").count() == 1
        coordinator.page.fill("#kit", "7M4P")
        coordinator.press("Look")
        assert coordinator.page.locator("[role='alert']").count() == 1


def test_the_readers_of_a_restricted_kit_meet_no_glass(pages: Pages) -> None:
    kit = restricted(pages.desk)
    assert COORDINATOR.person in READERS
    nurse = pages.at(NURSE)
    assert nurse.go(f"/kits/{kit}?for=task") == 200
    nurse.go("/glass")
    nurse.fill(kit=kit)
    nurse.check(reason="readers_absent")
    nurse.press("Break the glass")
    assert nurse.sees("This kit stands open to you.")
