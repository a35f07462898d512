"""The victim's page: kind words, the same answer for every wrong code, protective wishes at once."""

import re

from tests.custody.story import COORDINATOR, NURSE
from tests.pages.conftest import Pages, Visitor
from tests.pages.doings import register

FORBIDDEN = re.compile(r"assault|violen|rape|sexual|abuse|police custody|evidence", re.IGNORECASE)


def card_of(nurse: Visitor) -> tuple[str, str]:
    """The code and the second number, as they are shown once."""
    return nurse.page.inner_text("#card-code"), nurse.page.inner_text("#card-secret")


def enter(victim: Visitor, code: str, secret: str) -> None:
    victim.go("/v")
    victim.fill(code=code, secret=secret)
    victim.press("Open")


def test_the_card_opens_a_page_that_says_how_things_stand(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    register(nurse)
    code, secret = card_of(nurse)
    victim = pages.visitor()
    enter(victim, code, secret)
    assert victim.sees("Kept for you until")
    assert not FORBIDDEN.search(victim.page.content())
    assert "Custody" not in victim.page.title()


def test_wishes_that_protect_take_effect_at_once(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    kit = register(nurse)
    victim = pages.visitor()
    enter(victim, *card_of(nurse))
    for title, told in (
        ("Keep it safe for now", "You asked to keep it safe"),
        ("I want to report", "You decided to report"),
    ):
        box = victim.page.locator("details", has=victim.page.locator("summary", has_text=title))
        if box.get_attribute("open") is None:
            box.locator("summary").click()
        box.locator("input[name=sure]").check()
        with victim.page.expect_navigation():
            box.locator("button").click()
        assert victim.sees(f"Recorded: {title}.")
        assert victim.sees(told)
    coordinator = pages.at(COORDINATOR)
    coordinator.go(f"/kits/{kit}?for=task")
    assert coordinator.sees("report declared")
    assert coordinator.sees("Held.")


def test_destruction_is_only_asked_for_and_can_be_taken_back(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    register(nurse)
    victim = pages.visitor()
    enter(victim, *card_of(nurse))
    victim.page.locator("summary", has_text="Have it destroyed").click()
    box = victim.page.locator("details", has_text="Have it destroyed")
    box.locator("input[name=sure]").check()
    with victim.page.expect_navigation():
        box.locator("button").click()
    assert victim.sees("The centre will speak with you first.")
    assert victim.sees("I changed my mind: keep it")


def test_an_unknown_code_and_a_wrong_number_get_one_answer(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    register(nurse)
    code, secret = card_of(nurse)
    other = "11111111" if secret.replace(" ", "") != "11111111" else "22222222"
    victim = pages.visitor()
    enter(victim, code, other)
    wrong_number = victim.page.content()
    register(nurse)
    unknown = _another_code(pages, code)
    enter(victim, unknown, other)
    assert "Code and number do not belong together" in wrong_number
    assert victim.page.content() == wrong_number


def _another_code(pages: Pages, code: str) -> str:
    """A well-formed code that no card has."""
    from custody.card import issue_code

    for n in range(1, 200):
        made = issue_code(n.to_bytes(15, "big"))
        if made is not None and made != code.replace("-", ""):
            return str(made)
    raise AssertionError("no code was made")


def test_a_visit_stands_in_no_trail_of_the_kit(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    register(nurse)
    before, reads = pages.desk.count("event"), pages.desk.count("access")
    enter(pages.visitor(), *card_of(nurse))
    assert pages.desk.count("event") == before
    assert pages.desk.count("access") == reads + 1


def test_leaving_quickly_closes_the_page(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    register(nurse)
    victim = pages.visitor()
    enter(victim, *card_of(nurse))
    answer = victim.page.request.get(f"{victim.base_url}/v/leave", max_redirects=0)
    assert answer.status == 303
    assert answer.headers["location"].startswith("https://www.meteo.be")
    victim.go("/v/kit")
    assert victim.page.url.endswith("/v")


def test_the_code_behind_the_address_of_the_card_is_filled_in(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    register(nurse)
    code, secret = card_of(nurse)
    victim = pages.visitor(scripts=True)
    victim.go("/v#" + code.replace("-", ""))
    victim.page.wait_for_function("document.getElementById('code').value !== ''")
    assert "#" not in victim.page.url
    victim.fill(secret=secret)
    victim.press("Open")
    assert victim.sees("Kept for you until")
