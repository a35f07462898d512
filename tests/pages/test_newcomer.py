"""What somebody meets who has not seen the pages before."""

from tests.custody.story import COORDINATOR, MAGISTRATE, NURSE, OFFICER
from tests.desk.disposed import apart, with_hospital
from tests.desk.test_edge import linked
from tests.pages.conftest import PHONE, WIDE, Pages, Visitor
from tests.pages.doings import FORM, fill_registration, register
from tests.pages.test_every_page import WIDER
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
        assert nurse.sees("Please check what was typed.")
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


def test_nobody_is_said_to_have_seen_a_seal_before_looking(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    kit = register(nurse)
    for action in ("package.store", "seal.check", "package.open"):
        nurse.go(f"/do/{action}?p={kit}.1")
        assert nurse.page.locator("input[name^='condition:'][required]").count() == 2
        assert nurse.page.locator("input[name^='condition:']:checked").count() == 0
    nurse.page.eval_on_selector("form[action^='/do/']", "form => { form.noValidate = true; }")
    nurse.fill(reason="asked for by the centre")
    nurse.press("Open")
    assert nurse.sees("Look at the seal of package 1: is it intact or broken?")


def test_a_seal_that_cannot_be_seen_is_not_asked_about(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    kit = register(nurse)
    nurse.go(f"/do/package.lose?p={kit}.1")
    assert nurse.page.locator("input[name^='condition:'], input[name^='seal:']").count() == 0
    open_package(nurse, kit, 2)
    nurse.go(f"/do/package.store?p={kit}.2")
    assert nurse.page.locator("input[name^='condition:'], input[name^='seal:']").count() == 0


def test_the_keyboard_is_seen_and_a_long_number_stays_on_a_narrow_screen(pages: Pages) -> None:
    nurse, coordinator = pages.at(NURSE), pages.at(COORDINATOR, size={"width": 320, "height": 640})
    kit = register(nurse)
    coordinator.go(f"/do/order.enter?kit={kit}")
    coordinator.fill(digest="ab" * 32, authority="Invented court", dated="2026-01-05")
    coordinator.press("Enter a judge's order")
    nurse.go(f"/do/order.confirm?kit={kit}")
    nurse.fill(digest="ab" * 32)
    nurse.press("Confirm a judge's order")
    coordinator.go(f"/do/kit.link?kit={kit}")
    coordinator.fill(pv="BR.37.L1.012345/2026-" + "9" * 30, notice="N-1")
    coordinator.choose(office="parket-avondland", zone="pz-morgenland")
    coordinator.press("Link to the police report")
    coordinator.press("Link to the police report")
    assert coordinator.sees("9" * 30)
    assert coordinator.page.evaluate(WIDER) <= 0
    coordinator.page.keyboard.press("Tab")
    ring = coordinator.page.evaluate("() => getComputedStyle(document.activeElement).outline")
    assert "solid 3px" in ring


def test_a_scanner_in_a_seal_field_sends_nothing_and_adds_nothing(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    nurse.go("/register")
    fill_registration(nurse)
    rows = nurse.page.locator(".item-line").count()
    nurse.page.focus("#seal-2")
    with nurse.page.expect_navigation():
        nurse.page.keyboard.press("Enter")
    assert pages.desk.count("kit") == 0
    assert nurse.page.locator(".item-line").count() == rows
    assert nurse.page.locator("[role=alert]").count() == 0
    assert nurse.page.input_value("#seal-3") == "S-3"
    assert nurse.page.is_checked("input[name=card][value=issued]")
    nurse.page.set_input_files("#form_digest_file", FORM)  # type: ignore[arg-type]
    nurse.press("Register")
    assert nurse.sees("Kit registered")
    kit = nurse.page.locator(".secret").first.inner_text().replace("-", "")
    nurse.go(f"/do/seal.check?p={kit}.1&p={kit}.2")
    nurse.check(**{f"condition:{kit}.1": "broken"})
    before = pages.desk.count()
    nurse.page.fill(f"[name='seal:{kit}.1']", "S-1")
    nurse.page.focus(f"[name='seal:{kit}.1']")
    with nurse.page.expect_navigation():
        nurse.page.keyboard.press("Enter")
    assert pages.desk.count() == before
    assert nurse.page.input_value(f"[name='seal:{kit}.1']") == "S-1"
    assert nurse.page.is_checked(f"input[name='condition:{kit}.1'][value=broken]")


HEAD = "() => document.querySelector('header.top').getBoundingClientRect().height"
NARROWEST = """() => Math.min(...[...document.querySelectorAll("dl.facts dd")].map(
    (e) => e.getBoundingClientRect().width))"""


def test_the_head_of_a_page_is_one_row_on_a_desk_and_two_on_a_phone(pages: Pages) -> None:
    hanna = apart(lambda: with_hospital(pages.desk))
    for person, size, most in ((COORDINATOR, WIDE, 70), (OFFICER, PHONE, 115), (hanna, PHONE, 115)):
        visitor = pages.at(person, size=size)
        assert visitor.page.evaluate(HEAD) < most, person.name
        assert visitor.page.evaluate(WIDER) <= 0


def test_what_is_signed_second_can_be_read_on_a_phone(pages: Pages) -> None:
    desk = pages.desk
    kit = desk.at(NURSE).register(desk.now())["kit"]
    sure = {"identity": "confirmed", "free_will": "confirmed"}
    for path, given in (("destructions", {"how": "in_person"}), ("destructions/confirmations", sure)):
        done = desk.at(NURSE).post(path, {"kit": kit, **given})
        assert done.status_code in (201, 202), done.text
    coordinator = pages.at(COORDINATOR)
    coordinator.go(f"/signatures/{done.json()['proposal']}")
    assert coordinator.sees("Second signature")
    assert coordinator.page.evaluate(NARROWEST) > 150


def test_a_package_with_nothing_to_do_has_no_empty_line_on_a_phone(pages: Pages) -> None:
    kit = linked(pages.desk)
    magistrate = pages.at(MAGISTRATE)
    magistrate.go(f"/kits/{kit}")
    magistrate.check(purpose="court")
    magistrate.press("Open the kit")
    assert magistrate.sees("Custody trail")
    next_steps = magistrate.page.locator("td[data-label='Next']")
    assert next_steps.count() == 3
    assert not any(each.is_visible() for each in next_steps.all())
