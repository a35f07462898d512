"""Who looked at the centre's kits, on the pages: for coordinators; and the glass for all staff."""

import re
from collections.abc import Callable
from datetime import timedelta

from custody.number import KitNumber, Part, PartKind, label_code
from tests.custody.story import COORDINATOR, CUSTODIAN, MAGISTRATE, NURSE, NURSE_2, new_number
from tests.desk.test_edge import linked
from tests.desk.test_readings import READERS, quiet, records, restricted
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
    assert not magistrate.sees("A kit whose label you scan"), "a magistrate scans nothing"
    assert custodian.go(f"/kits/{kit}") == 200
    assert custodian.sees("Who held what"), "and for the kit itself, asked for without a word"


def test_a_kit_that_is_somebodys_task_opens_without_a_question(pages: Pages) -> None:
    kit, never = pages.desk.at(NURSE).register(pages.desk.now())["kit"], new_number()
    nurse = pages.at(NURSE)
    assert nurse.go(f"/kits/{kit}") == 200
    assert nurse.sees("Who held what")
    assert {r.get("purpose") for r in records(pages.desk, NURSE) if r.get("kit") == kit} == {"task"}
    assert nurse.go(f"/kits/{never}") == 200
    assert nurse.sees("Why do you open this kit?")
    assert not nurse.page.locator("[role='alert']").count(), "nothing was said that could be wrong"


def test_a_magistrate_is_asked_once_in_half_an_hour(
    pages: Pages, advance: Callable[[timedelta], None]
) -> None:
    kit = linked(pages.desk)
    magistrate = pages.at(MAGISTRATE)
    magistrate.go(f"/kits/{kit}")
    magistrate.check(purpose="court")
    magistrate.press("Open the kit")
    assert magistrate.go(f"/kits/{kit}") == 200
    assert magistrate.sees("Custody trail")
    assert {r.get("purpose") for r in records(pages.desk, MAGISTRATE) if r.get("kit") == kit} == {"court"}
    advance(timedelta(minutes=31))
    magistrate = pages.at(MAGISTRATE)
    magistrate.go(f"/kits/{kit}")
    assert magistrate.sees("Why do you open this kit?")


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
    assert colleague.sees("This kit is open to you because the glass was broken, until ")
    private = colleague.page.locator("details", has_text="Hospital reference and safe channel")
    assert private.get_attribute("open") is None
    assert private.locator("dd").count() > 0
    readers = pages.at(NURSE)
    readers.go(f"/kits/{kit}")
    assert not readers.sees("because the glass was broken")


def test_a_scan_of_what_cannot_be_opened_says_whom_to_ask_alike_for_a_kit_and_for_none(pages: Pages) -> None:
    kit, never = restricted(pages.desk), new_number()
    colleague, magistrate = pages.at(NURSE_2), pages.at(MAGISTRATE)
    for number in (kit, never):
        assert colleague.go(f"/scan?code={number}") == 404
        assert colleague.sees("ask the coordinator of your centre")
        assert colleague.page.get_by_role("link", name="break the glass").count() == 1
        magistrate.go(f"/scan?code={number}")
        assert not magistrate.sees("break the glass")


def test_a_wrong_address_is_told_as_one_and_offers_no_glass(pages: Pages) -> None:
    colleague = pages.at(NURSE_2)
    for path in ("/nowhere", "/kits/", f"/kits/{new_number()}/nothing"):
        assert colleague.go(path) == 404
        assert colleague.sees("Check the address")
        assert not colleague.sees("break the glass")
        assert not colleague.sees("scan the label")


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
    coordinator.choose(found="asked_the_person")
    coordinator.press("Mark as reviewed")
    assert coordinator.sees(f"reviewed by {COORDINATOR.name}")
    assert coordinator.sees("I asked the person, and it is explained")
    coordinator.go("/")
    assert not coordinator.sees("The glass was broken.")


def test_the_first_page_counts_what_this_coordinator_can_review(pages: Pages) -> None:
    desk = pages.desk
    kit = quiet(desk)
    coordinator = pages.at(COORDINATOR)
    desk.at(COORDINATOR).get(f"kits/{kit}", purpose="stock_take")
    coordinator.go("/")
    assert not coordinator.sees("wait to be reviewed")
    desk.at(CUSTODIAN).get(f"kits/{kit}", purpose="stock_take")
    coordinator.go("/")
    assert coordinator.sees("wait to be reviewed: 1")


def test_readings_fit_a_phone_and_a_wide_screen_and_show_each_day(pages: Pages) -> None:
    desk = pages.desk
    kit = quiet(desk)
    custodian = desk.at(CUSTODIAN)
    custodian.get(f"kits/{kit}", purpose="review")
    custodian.get(f"kits/{kit}/custody-trail", purpose="review")
    for size in (PHONE, WIDE):
        coordinator = pages.at(COORDINATOR, size=size)
        assert coordinator.go("/readings") == 200
        assert coordinator.page.locator(".by-day g").count() == 30
        width = coordinator.page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"]
        coordinator.page.fill("#kit", kit)
        coordinator.press("Look")
        assert coordinator.sees("a stated reason, by somebody who never worked with this kit")
        assert coordinator.page.get_by_role("button", name="Mark as reviewed").count() == 1
        assert coordinator.sees("the kit, the custody trail · I review"), "one look is one line"
        assert coordinator.sees("most on one day: ")
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


def test_a_page_of_a_kit_that_was_opened_from_a_bookmark_asks_why_and_then_opens(pages: Pages) -> None:
    for address in ("/do/hold.place?kit={}", "/kits/{}/channel", "/kits/{}/channel?for=unsaid"):
        kit = quiet(pages.desk)
        path = address.format(kit)
        coordinator = pages.at(COORDINATOR)
        assert coordinator.go(path) == 422
        assert coordinator.sees("Why do you open this kit?")
        assert "stock_take" not in coordinator.page.inner_text("body")
        coordinator.check(purpose="complaint")
        coordinator.press("Go on")
        assert coordinator.page.url.endswith(path.partition("?for")[0])
        assert (
            coordinator.page.get_by_role("heading", level=1).inner_text().startswith(("Hold", "Safe channel"))
        )
        given = [r.get("purpose") for r in records(pages.desk, COORDINATOR) if r.get("kit") == kit]
        assert set(given) == {"complaint"}
