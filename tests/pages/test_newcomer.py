"""What somebody meets who has not seen the pages before."""

from tests.custody.story import COORDINATOR, NURSE
from tests.pages.conftest import Pages, Visitor
from tests.pages.doings import FORM, fill_registration, register
from tests.pages.test_victim import card_of, enter


def open_package(nurse: Visitor, kit: str, package: int) -> None:
    nurse.go(f"/do/package.open?p={kit}.{package}")
    nurse.check(**{f"condition:{kit}.{package}": "intact"})
    nurse.fill(reason="asked for by the centre")
    nurse.press("Open")


def test_who_looked_with_the_card_stands_among_the_readings(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    kit = register(nurse)
    enter(pages.visitor(), *card_of(nurse))
    coordinator = pages.at(COORDINATOR)
    assert coordinator.go(f"/readings?kit={kit}") == 200
    assert coordinator.sees("By the card")


def test_two_opened_packages_are_joined(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    kit = register(nurse)
    for package in (1, 2):
        open_package(nurse, kit, package)
    nurse.go(f"/do/package.join?kit={kit}&p={kit}.1")
    assert nurse.page.is_checked("input[name=packages][value='1']")
    assert nurse.page.locator(".item-line").count() == 0
    nurse.check(packages="2")
    nurse.page.fill("#seal-1", "S-9")
    nurse.fill(reason="they belong together")
    nurse.press("Join")
    assert nurse.sees("Joined into one package")
    assert nurse.sees("S-9")


def test_half_a_line_of_items_is_asked_about_and_never_dropped(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    nurse.go("/register")
    fill_registration(nurse)
    for type_, count, told in (
        ("hair_head", "", "How many of hair, head in package 2?"),
        ("", "3", "Which type are the items in package 2?"),
    ):
        nurse.page.select_option("#type-2-2", type_)
        nurse.page.fill("#count-2-2", count)
        nurse.page.set_input_files("#form_digest_file", FORM)  # type: ignore[arg-type]
        nurse.press("Register")
        assert nurse.sees(told)
        assert nurse.page.input_value("#seal-2") == "S-2"
    assert pages.desk.count("kit") == 0


def test_a_sealed_package_with_nothing_in_it_is_refused(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    nurse.go("/register")
    fill_registration(nurse)
    nurse.page.select_option("#type-2-1", "")
    nurse.page.fill("#count-2-1", "")
    nurse.press("Register")
    assert nurse.sees("Package 2 has no items.")
    assert pages.desk.count("kit") == 0


def test_packages_of_different_conditions_are_stored_one_condition_at_a_time(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    kit = register(nurse)
    nurse.go(f"/do/package.store?p={kit}.1&p={kit}.2")
    assert nurse.sees("Store them one condition at a time.")
    nurse.press("dry")
    assert nurse.page.url.endswith(f"/do/package.store?p={kit}.2")
    assert not nurse.sees("one condition at a time")
    assert nurse.page.locator("#place option").all_inner_texts() == ["Choose", "Shelf 1", "Table 1"]
