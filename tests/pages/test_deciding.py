"""Who decides, holds, the card and the channel, at the pages: offered to who may, where the state allows."""

import pytest

from tests.custody.story import COORDINATOR, NURSE, NURSE_2
from tests.pages.conftest import PHONE, WIDE, Pages, Visitor
from tests.pages.doings import register
from tests.pages.test_victim import card_of, enter

GROUPS = ("The victim decides", "Holds", "The card and the channel")


def offered(visitor: Visitor, kit: str) -> dict[str, list[str]]:
    """The rare steps of the kit's page, by the group in which they stand."""
    visitor.go(f"/kits/{kit}?for=task")
    found = {}
    for box in visitor.page.locator("details.bare", has=visitor.page.locator("a[href*='/do/']")).all():
        box.locator("summary").first.click()
        title = box.locator("summary").first.inner_text()
        found[title] = [a.inner_text() for a in box.locator("a").all()]
    return found


@pytest.mark.parametrize("size", [PHONE, WIDE], ids=["phone", "wide"])
def test_the_steps_stand_together_and_none_runs_out_of_the_page(pages: Pages, size: dict[str, int]) -> None:
    kit = register(pages.at(NURSE))
    coordinator = pages.at(COORDINATOR, size=size)

    steps = offered(coordinator, kit)

    assert set(GROUPS) <= set(steps)
    assert "Stop the card" in steps["The card and the channel"]
    assert "The safe channel was tried" not in steps["The card and the channel"]  # none was agreed
    assert steps["Holds"] == ["Hold"]
    assert "Confirm the wish for destruction" not in steps["The victim decides"]
    assert coordinator.page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_a_hold_is_placed_reviewed_and_lifted_at_the_pages(pages: Pages) -> None:
    kit = register(pages.at(NURSE))
    coordinator = pages.at(COORDINATOR)
    coordinator.go(f"/do/hold.place?kit={kit}")
    coordinator.check(ground="centre")
    coordinator.fill(reason="an inquiry of the hospital")
    coordinator.press("Hold")
    assert coordinator.sees("look again on")
    assert offered(coordinator, kit)["Holds"] == ["Hold", "The hold was looked at again", "Lift a hold"]

    coordinator.go(f"/do/hold.review?kit={kit}")
    coordinator.fill(reason="the inquiry goes on")
    coordinator.press("The hold was looked at again")

    assert coordinator.sees("Recorded")
    assert coordinator.sees("The centre holds it")


def test_a_destruction_asks_for_identity_and_free_will_apart(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    kit = register(nurse)
    nurse.go(f"/do/destruction.ask?kit={kit}")
    nurse.check(how="in_person")
    nurse.press("The victim asks for destruction")
    nurse.go(f"/do/destruction.confirm?kit={kit}")
    nurse.check(identity="confirmed", free_will="not_confirmed")
    nurse.press("Confirm the wish for destruction")
    assert nurse.sees("identity and free will are both certain")
    nurse.check(identity="confirmed", free_will="confirmed")
    nurse.press("Confirm the wish for destruction")

    second = pages.at(NURSE_2)
    second.press("Compare and sign")
    assert second.sees("yes, I asked and I am certain")
    assert second.sees("Once you sign, the time to think begins: 30 days, until the end of")
    second.check(identity="confirmed")
    second.press("Sign")
    assert second.sees("You sign that you asked, apart from the other person, and are certain of both")
    second.check(identity="confirmed", free_will="confirmed")
    second.press("Sign")

    nurse.go(f"/kits/{kit}?for=task")
    assert nurse.sees("The cooling-off ends")


def test_a_new_card_is_shown_to_who_signs_second_and_opens_the_page(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    kit = register(nurse)
    old = card_of(nurse)
    nurse.go(f"/do/card.renew?kit={kit}")
    nurse.check(how="in_person")
    nurse.press("A new card")
    second = pages.at(COORDINATOR)
    second.press("Compare and sign")
    second.press("Sign")
    assert second.sees("shown now and never again")
    new = card_of(second)
    form: dict[str, str | float | bool] = {
        str(field.get_attribute("name")): str(field.get_attribute("value"))
        for field in second.page.locator("form[action='/card/renewed'] input").all()
    }
    printed = second.page.request.post(
        f"{second.base_url}/card/renewed", form=form, headers={"origin": second.base_url}
    )
    assert printed.headers["content-type"] == "application/pdf", printed.text()[:300]

    victim = pages.visitor()
    enter(victim, *old)
    assert victim.sees("do not belong together")
    enter(victim, *new)
    assert victim.sees("Kept for you until")
