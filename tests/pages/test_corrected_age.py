"""Who corrects an age class, and who signs it second, sees from what to what, before anything is signed."""

from tests.custody.story import COORDINATOR, NURSE, NURSE_2
from tests.pages.conftest import Pages, Visitor
from tests.pages.doings import FORM, fill_registration


def told(visitor: Visitor, name: str) -> list[str]:
    """What stands beside this name among the facts of the page."""
    return [
        " ".join(each.split())
        for each in visitor.page.locator(f"dt:text-is('{name}') + dd").all_inner_texts()
    ]


def test_both_who_sign_a_corrected_age_see_from_when_to_when(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    nurse.go("/register")
    fill_registration(nurse)
    nurse.check(age_class="minor")
    nurse.page.set_input_files("#form_digest_file", FORM)  # type: ignore[arg-type]
    nurse.press("Register")
    kit = nurse.page.locator(".secret").first.inner_text().replace("-", "")

    coordinator = pages.at(COORDINATOR)
    coordinator.go(f"/do/term.correct?kit={kit}")
    assert coordinator.sees("What it would bring, signed today")
    assert told(coordinator, "Age class") == [
        "minor → adult",
        "minor → not known (the longer term applies)",
    ]
    first = told(coordinator, "Kept until")[0]
    before, after = first.removesuffix(" earlier").split(" → ")
    assert first.endswith(" earlier")
    assert int(before[-4:]) - int(after[-4:]) > 40
    coordinator.check(age_class="adult")
    coordinator.fill(reason="the hospital had noted another day of birth")
    coordinator.press("Correct the age class")

    second = pages.at(NURSE_2)
    second.press("Compare and sign")
    assert second.sees("What it brings, signed today")
    assert told(second, "Age class")[-1] == "minor → adult"
    assert told(second, "Kept until") == [first]
    second.press("Sign")

    coordinator.go(f"/kits/{kit}?for=task")
    assert coordinator.sees(f"kept until {after}")
