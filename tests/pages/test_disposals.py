"""Disposals at the pages, without JavaScript: chosen together, scanned in one cart, observed."""

from io import BytesIO

import pytest
from pypdf import PdfReader

from tests.custody.story import COORDINATOR, CUSTODIAN, CUSTODIAN_2, NURSE, NURSE_2, OTHER_NURSE
from tests.desk.conftest import Desk
from tests.desk.disposed import Advance, apart, expired, signed, with_hospital
from tests.pages.conftest import PHONE, WIDE, Pages, Visitor


def codes_of(desk: Desk, kit: str) -> dict[str, str]:
    """Print the labels of the kit; the code of each part."""
    nurse = desk.at(NURSE)
    assert nurse.post("labels/prints", {"kit": kit}).status_code == 201
    told = desk.at(NURSE).get(f"kits/{kit}/custody-trail", purpose="review").json()["events"]
    printed = next(e["event"] for e in reversed(told) if e["type"] == "labels.printed")
    return {each["code"].split("-")[1]: each["code"] for each in printed["labels"]}


def choose_all(visitor: Visitor, button: str) -> None:
    """Tick every kit of the list that has this button, and press it."""
    form = visitor.page.locator("form", has=visitor.page.get_by_role("button", name=button, exact=True))
    for box in form.locator("input[name='kit']").all():
        box.check()
    visitor.press(button)


def approved_at_the_pages(pages: Pages, kits: list[str]) -> None:
    """All proposed at once, all approved at once."""
    custodian = pages.at(CUSTODIAN)
    custodian.go("/disposals")
    choose_all(custodian, "Propose those chosen")
    assert custodian.sees(f"Recorded for {len(kits)} kit")
    assert custodian.sees("Your receipt")
    assert custodian.page.locator("main .digest").count() == len(kits)
    assert not custodian.sees("Propose those chosen"), "nothing is left to tick"
    assert not custodian.sees("Approve those chosen")
    coordinator = pages.at(COORDINATOR, size=WIDE)
    coordinator.go(f"/kits/{kits[0]}/disposal")
    for told in ("No report stands.", "The notice is settled", "No request of the police named this centre"):
        assert coordinator.sees(told)
    coordinator.page.get_by_text("What shows it", exact=True).nth(0).click()
    assert coordinator.sees("Term agreed")
    coordinator.go("/disposals")
    choose_all(coordinator, "Approve those chosen")
    assert coordinator.sees(f"Recorded for {len(kits)} kit")


@pytest.mark.parametrize("size", [PHONE, WIDE])
def test_two_kits_go_in_one_cart_and_a_hospitals_observer_signs(
    pages: Pages, desk: Desk, advance: Advance, size: dict[str, int]
) -> None:
    kits = apart(lambda: expired(desk, advance, 2))
    codes = {kit: codes_of(desk, kit) for kit in kits}
    hanna = apart(lambda: with_hospital(desk))
    approved_at_the_pages(pages, kits)
    cleo = pages.at(CUSTODIAN_2, size=size)

    cleo.go("/disposals")
    choose_all(cleo, "Carry out those chosen")
    assert cleo.sees("0 of 12")
    assert cleo.sees("swab, skin"), "who may read the private part is told what an item is"
    assert str(CUSTODIAN.person) not in [
        each.get_attribute("value") for each in cleo.page.locator("#observer option").all()
    ], "who proposed does not observe"
    first, second = kits
    cleo.scan(codes[first]["P01"])
    cleo.scan("S-1")
    cleo.scan(codes[first]["I01"])
    assert cleo.sees("2 of 12")
    cleo.scan(codes[first]["K"])
    assert cleo.sees("This is the number of the whole kit.")
    rest = [codes[first]["P02"], "S-2", codes[first]["I02"], codes[first]["P03"], "S-3", codes[first]["I03"]]
    for n in (1, 2, 3):
        rest += [codes[second][f"P0{n}"], f"S-{n}", codes[second][f"I0{n}"]]
    before = cleo.page.input_value("#scans")
    cleo.page.get_by_text("All scans, one on each line", exact=True).first.click()
    cleo.page.fill("#scans", before + "\n" + "\n".join(rest))
    cleo.press("Check the list")
    assert cleo.sees("12 of 12")
    cleo.choose(observer=str(hanna.person))
    cleo.press("Carry out and ask the observer")
    assert cleo.sees("This waits for Hanna Heelmeester.")
    assert cleo.sees("on their first page, under “Disposals to observe”, until")
    assert cleo.sees("waits for Hanna Heelmeester until")
    assert not cleo.sees("Carry out those chosen")
    cleo.go(f"/kits/{first}/disposal")
    assert cleo.sees("It was carried out and waits for Hanna Heelmeester")
    assert not cleo.sees("Scan and carry out")

    observer = pages.at(hanna, size=size)
    observer.go("/")
    doors = observer.page.locator("header nav a:visible").evaluate_all("all => all.map((a) => a.pathname)")
    assert [observer.page.request.get(observer.base_url + door).ok for door in doors] == [True] * len(doors)
    observer.go("/")
    observer.press("Look and sign")
    for kit in kits:
        assert observer.sees(f"{kit[:4]}-{kit[4:8]}-{kit[8:]}-P01")
    for never in ("S-1", "frozen", "Freezer", "term", "Item"):
        assert not observer.sees(never)
    observer.press("I saw it, and sign")
    assert observer.sees("You signed that you saw it.")
    assert observer.sees("custody trail of")
    assert not observer.sees("choices trail")
    observer.press("To the worklist")
    assert observer.sees("Nobody asks you to observe a disposal.")
    apart(lambda: signed(desk))

    coordinator = pages.at(COORDINATOR, size=size)
    coordinator.go(f"/kits/{first}/disposal?for=review")
    assert coordinator.sees("is destroyed on")
    assert coordinator.sees("lapses on")
    answer = coordinator.page.request.get(f"{coordinator.base_url}/disposals/certificate.pdf?kit={first}")
    assert answer.ok, answer.text()
    text = "".join(page.extract_text() for page in PdfReader(BytesIO(answer.body())).pages)
    assert "Hanna Heelmeester" in text
    assert "label scanned" in text
    to_the_certificate(pages, first, size)


def to_the_certificate(pages: Pages, kit: str, size: dict[str, int]) -> None:
    """By clicking alone, for somebody with no task: the reason is asked in words, then the file comes."""
    written = f"{kit[:4]}-{kit[4:8]}-{kit[8:]}"
    nurse = pages.at(NURSE_2, size=size)
    nurse.go("/disposals")
    lately = nurse.page.locator("section", has_text="Disposed of lately").locator("li", has_text=written)
    lately.get_by_role("button", name="Certificate").click()
    assert nurse.sees("Why do you open this kit?")
    assert not nurse.sees("stock_take")
    nurse.check(**{"for": "complaint"})
    with nurse.page.expect_download() as told:
        nurse.page.get_by_role("button", name="Download the certificate").click()
    assert told.value.suggested_filename == f"disposal-{kit}.pdf"
    nurse.go(f"/kits/{kit}?for=complaint")
    packages = nurse.page.locator("td[data-label='With']").all_inner_texts()
    assert {each.strip() for each in packages} == {"–"}
    nurse.press("Disposal and certificate")
    assert nurse.sees("Download the certificate")


def test_a_kit_that_is_held_meanwhile_falls_off_the_cart_alone(
    pages: Pages, desk: Desk, advance: Advance
) -> None:
    here, held = apart(lambda: expired(desk, advance, 2))
    codes = {kit: codes_of(desk, kit) for kit in (here, held)}
    approved_at_the_pages(pages, [here, held])
    cleo = pages.at(CUSTODIAN_2)
    cleo.go(f"/disposals/cart?kit={here}&kit={held}")
    for code in (codes[held]["P01"], "S-1", codes[here]["P01"]):
        cleo.scan(code)
    placed = desk.at(COORDINATOR).post("holds", {"kit": held, "ground": "centre", "reason": "asked"})
    assert placed.status_code == 201, placed.text

    cleo.scan("S-1")

    assert cleo.sees("1 kit is not on this cart any more. All scans of the others are kept.")
    assert cleo.sees(f"{held[:4]}-{held[4:8]}-{held[8:]}: A hold stands since")
    assert cleo.sees("1 of 6")
    assert cleo.page.input_value("#scans").split() == [codes[here]["P01"], "S-1"]
    assert cleo.page.locator("input[name='kit']").count() == 1
    cleo.go(f"/disposals/cart?kit={held}")
    assert cleo.sees("A hold stands since")
    assert not cleo.sees("Carry out and ask the observer")


def test_what_is_not_there_stops_its_kit_and_the_other_goes_on(
    pages: Pages, desk: Desk, advance: Advance
) -> None:
    here, gone = apart(lambda: expired(desk, advance, 2))
    approved_at_the_pages(pages, [here, gone])
    cleo = pages.at(CUSTODIAN_2)
    cleo.go(f"/disposals/cart?kit={here}&kit={gone}")

    for kit in (here, gone):
        for n in (1, 2, 3):
            cleo.check(at_hand=f"{kit}.P0{n}")
            cleo.page.check(f"input[name='at_hand'][value='{kit}.I0{n}']")
            cleo.page.fill(f"input[name='seal.{kit}.P0{n}']", f"S-{n}")
    cleo.page.check(f"input[name='missing'][value='{gone}.I02']")
    cleo.choose(observer=str(OTHER_NURSE.person))
    cleo.press("Carry out and ask the observer")
    assert cleo.sees("Something is not as recorded.")
    cleo.check(confirmed="yes")
    cleo.press("Carry out and ask the observer")
    assert cleo.sees("Item missing")
    assert cleo.sees("This waits for Mira Maan.")

    mira = pages.at(OTHER_NURSE)
    mira.go("/")
    mira.press("Look and sign")
    mira.press("I saw it, and sign")
    states = {k: desk.at(NURSE).get(f"kits/{k}", purpose="review").json()["retention"] for k in (here, gone)}
    assert states == {here: "disposed", gone: "expired"}
