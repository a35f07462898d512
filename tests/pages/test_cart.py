"""The cart of a disposal: what was misread is scanned again, and a refusal names what it is about."""

from tests.custody.story import CUSTODIAN, CUSTODIAN_2, OTHER_NURSE
from tests.desk.conftest import Desk
from tests.desk.disposed import Advance, apart, expired, with_hospital
from tests.pages.conftest import Pages
from tests.pages.test_disposals import approved_at_the_pages, codes_of


def test_a_misread_seal_is_scanned_away_and_what_is_left_is_named(
    pages: Pages, desk: Desk, advance: Advance
) -> None:
    (kit,) = apart(lambda: expired(desk, advance, 1))
    codes = codes_of(desk, kit)
    approved_at_the_pages(pages, [kit])
    written = f"{kit[:4]}-{kit[4:8]}-{kit[8:]}"
    cleo = pages.at(CUSTODIAN_2)
    cleo.go(f"/disposals/cart?kit={kit}")
    for code in (codes["P01"], "S-9", codes["P02"]):
        cleo.scan(code)

    cleo.press("Carry out and ask the observer")
    assert cleo.sees(f"{written}: Package 1: the seal that was read is S-9; on record is S-1.")
    assert cleo.sees("Not scanned yet:")
    assert cleo.sees(f"{written}: Package 1: of its items: 1.")
    assert cleo.sees(f"{written}: Package 2: its seal, of its items: 2.")
    assert cleo.sees(f"{written}: Package 3: its label, its seal, of its items: 3.")

    cleo.scan(codes["P01"])
    cleo.scan("S-8")
    assert cleo.sees("On record is S-1.")
    cleo.scan("S-1")
    assert not cleo.sees("On record is S-1.")
    assert not cleo.sees("neither a label nor the seal")
    cleo.press("Carry out and ask the observer")
    assert not cleo.sees("Something is not as recorded.")
    assert cleo.sees(f"{written}: Package 2: its seal, of its items: 2.")
    assert cleo.page.locator("input[name='confirmed']").count() == 0

    cleo.page.fill(f"input[name='seal.{kit}.P02']", "S-7")
    cleo.press("Check the list")
    for code in (codes["I01"], codes["P03"], "S-3", codes["I02"], codes["I03"]):
        cleo.scan(code)
    assert cleo.page.input_value(f"input[name='seal.{kit}.P02']") == "S-7", "what was typed stays"
    cleo.scan(codes["P02"])
    cleo.scan("S-2")
    assert cleo.sees("6 of 6")
    cleo.scan("S-2")
    assert cleo.sees("This is neither a label nor the seal of a package that was just scanned.")
    cleo.choose(observer=str(OTHER_NURSE.person))
    cleo.press("Carry out and ask the observer")
    assert cleo.sees("This waits for Mira Maan.")


def test_who_declines_says_why_and_who_asked_reads_it_with_all_scans_kept(
    pages: Pages, desk: Desk, advance: Advance
) -> None:
    (kit,) = apart(lambda: expired(desk, advance, 1))
    codes = codes_of(desk, kit)
    hanna = apart(lambda: with_hospital(desk))
    approved_at_the_pages(pages, [kit])
    cleo = pages.at(CUSTODIAN_2)
    cleo.go(f"/disposals/cart?kit={kit}")
    lines = [code for n in (1, 2, 3) for code in (codes[f"P0{n}"], f"S-{n}", codes[f"I0{n}"])]
    cleo.page.fill("#scans", "\n".join(lines))
    cleo.press("Check the list")
    assert cleo.sees("6 of 6")
    cleo.choose(observer=str(hanna.person))
    cleo.press("Carry out and ask the observer")

    observer = pages.at(hanna)
    observer.press("Look and sign")
    assert observer.sees("3 packages")
    observer.page.get_by_text("I do not sign", exact=True).click()
    observer.page.eval_on_selector("form:has(#reason)", "form => { form.noValidate = true; }")
    observer.press("Decline")
    assert observer.sees("Say in a few words why you decline")
    observer.fill(reason="two bags were open before I came")
    observer.press("Decline")
    assert observer.sees("You declined.")
    assert observer.sees("Cleo Kast, Zorgcentrum Sterrenberg, who asked you, reads that you declined")
    observer.press("To the worklist")
    assert observer.sees("Nobody asks you to observe a disposal.")

    other = pages.at(CUSTODIAN)
    other.go("/disposals")
    assert other.sees("Hanna Heelmeester declined on")
    assert not other.sees("Back to the cart"), "only who scanned goes on with the scans"
    cleo.go(f"/kits/{kit}/disposal")
    assert cleo.sees("two bags were open before I came")
    cleo.go("/disposals")
    assert cleo.sees("Hanna Heelmeester declined on")
    assert cleo.sees("“two bags were open before I came”")
    cleo.page.get_by_text("Back to the cart, with all that was scanned").click()
    assert cleo.sees("6 of 6")
    cleo.choose(observer=str(OTHER_NURSE.person))
    cleo.press("Carry out and ask the observer")
    assert cleo.sees("This waits for Mira Maan.")
    assert not cleo.sees("declined on"), "it was sent again"
