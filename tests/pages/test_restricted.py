"""At the pages: a nurse names the readers of a kit, and for a colleague it is a number that never existed."""

import re

from tests.custody.story import COORDINATOR, CUSTODIAN, NURSE, NURSE_2, new_number
from tests.pages.conftest import Pages
from tests.pages.doings import register


def test_a_kit_is_restricted_on_its_page_and_is_gone_for_a_colleague(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    kit = register(nurse)
    colleague = pages.at(NURSE_2)
    assert colleague.go(f"/kits/{kit}?for=review") == 200
    nurse.go(f"/do/kit.restrict?kit={kit}")
    assert nurse.sees("choose at least two, one of them a coordinator")
    nurse.press("Restrict to named readers")
    assert nurse.sees("Name 2 to 20 readers"), "the one who restricts is chosen already, and alone"
    nurse.check(readers="coraline")
    nurse.press("Restrict to named readers")
    assert nurse.sees("Restricted to named readers")
    assert nurse.sees("Read by Coraline Kompas, Nora Nachtwacht.")

    told = []
    for number in (kit, str(new_number())):
        assert colleague.go(f"/kits/{number}?for=review") == 404
        told.append(re.sub(r"[0-9a-f-]{36}", "", colleague.page.inner_text("main")))
    assert told[0] == told[1]
    asked = []
    for number in (kit, str(new_number())):
        assert colleague.go(f"/kits/{number}") == 200
        asked.append(colleague.page.inner_text("form[action^='/kits/']"))
    assert asked[0] == asked[1], "the page that asks why says nothing of readers"
    assert pages.at(CUSTODIAN).go(f"/do/kit.restrict?kit={kit}") == 403


def test_the_restriction_is_lifted_by_a_coordinator_and_another_reader(pages: Pages) -> None:
    nurse, coordinator = pages.at(NURSE), pages.at(COORDINATOR)
    kit = register(nurse)
    nurse.go(f"/do/kit.restrict?kit={kit}")
    nurse.check(readers="coraline")
    nurse.press("Restrict to named readers")
    coordinator.go(f"/kits/{kit}?for=review")
    coordinator.go(f"/do/restriction.lift?kit={kit}")
    coordinator.fill(reason="the colleague has moved")
    coordinator.press("Lift the restriction")
    proposal = coordinator.page.url.partition("waiting=")[2]
    assert proposal
    other = pages.at(NURSE_2)
    assert other.go(f"/signatures/{proposal}") == 404
    assert nurse.go(f"/signatures/{proposal}") == 200
    assert nurse.sees("the colleague has moved")
    nurse.press("Sign")
    assert nurse.sees("Restriction lifted")
    assert other.go(f"/kits/{kit}?for=review") == 200
