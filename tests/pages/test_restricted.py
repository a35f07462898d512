"""At the pages: a nurse names the readers of a kit, and for a colleague it is a number that never existed."""

import re

from tests.custody.story import COORDINATOR, CUSTODIAN, MAGISTRATE, NURSE, NURSE_2, new_number
from tests.desk.test_restricted import released
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


def test_who_offers_a_restricted_kit_is_told_who_is_no_reader(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    kit = register(nurse)
    nurse.go(f"/do/handover.offer?p={kit}.1")
    assert not nurse.sees("not a reader")
    nurse.go(f"/do/kit.restrict?kit={kit}")
    assert nurse.sees("when a colleague, or somebody close to a colleague, is concerned")
    assert nurse.sees("Coraline Kompas – Coordinator")
    nurse.check(readers="coraline")
    nurse.press("Restrict to named readers")
    nurse.go(f"/do/handover.offer?p={kit}.1")
    labels = nurse.page.locator("select[name='to'] option").all_inner_texts()
    assert "Casper Kluis – not a reader: will see only what is offered" in labels
    assert "Coraline Kompas" in labels
    assert nurse.sees("not a reader. They will see only what you offer them.")


def test_a_reader_who_left_stands_on_the_kits_page_by_name(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    kit = register(nurse)
    nurse.go(f"/do/kit.restrict?kit={kit}")
    nurse.check(readers="coraline")
    nurse.press("Restrict to named readers")
    with pages.desk.database.connect("superuser") as connection:
        connection.execute("UPDATE custody.appointment SET until = '2020-06-01' WHERE person = 'coraline'")
    nurse.go("/")
    assert nurse.sees("one reader left, or no coordinator among its readers: name another")
    nurse.go(f"/kits/{kit}?for=task")
    assert nurse.sees("Read by Coraline Kompas (left), Nora Nachtwacht.")


def test_the_magistrate_reads_for_how_long_the_kit_is_opened_and_says_why(pages: Pages) -> None:
    kit = released(pages.desk, 1, 2)
    magistrate = pages.at(MAGISTRATE)
    assert magistrate.go(f"/kits/{kit}?for=court") == 200
    assert magistrate.go(f"/do/release.open?kit={kit}") == 200
    assert magistrate.sees("until the release is found in error; it cannot be closed again")
    magistrate.page.evaluate("document.querySelector('[name=reason]').required = false")
    magistrate.press("Open the kit to its centre")
    assert magistrate.sees("Say why.")
    magistrate.fill(reason="for the hearing")
    magistrate.press("Open the kit to its centre")
    custodian = pages.at(CUSTODIAN)
    custodian.go(f"/kits/{kit}?for=review")
    offered = custodian.page.locator("a[href*='seal.check']")
    assert [a.get_attribute("href") for a in offered.all()] == [f"/do/seal.check?p={kit}.3"]
