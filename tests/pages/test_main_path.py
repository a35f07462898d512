"""The main path, from the bench to the court, in a browser without JavaScript."""

import io
import zipfile
from collections.abc import Callable

from tests.custody.story import COORDINATOR, CUSTODIAN, MAGISTRATE, NURSE, OFFICE, OFFICER, ZONE
from tests.pages.conftest import WIDE, Pages, Visitor
from tests.pages.doings import labels_of, register, scan_all, see_seals

SIGNED_WITHIN = 60  # looks, each a page


def wait_until_signed(visitor: Visitor) -> None:
    """Look at the log until the last receipt on this page is under a signature of the clerk."""
    digest = visitor.page.locator(".note.good .digest").last.inner_text()
    for _ in range(SIGNED_WITHIN):
        visitor.go(f"/log?digest={digest}")
        if visitor.sees("It is in the signed log."):
            visitor.page.get_by_text("The public keys", exact=True).first.click()
            assert visitor.page.locator("code.key").first.inner_text().count("+") >= 2
            return
        visitor.page.wait_for_timeout(500)
    raise AssertionError("the clerk did not sign the last event")


PV = "BR.37.L1.012345/2026"


def to_the_store(nurse: Visitor, custodian: Visitor, kit: str, codes: list[str]) -> None:
    """Handed over by scanning, accepted by scanning, put into places that fit."""
    nurse.go("/scan")
    scan_all(nurse, codes)
    nurse.press("Hand over")
    nurse.choose(to=f"{CUSTODIAN.organisation}/{CUSTODIAN.person}")
    nurse.press("Hand over")
    assert nurse.sees("Handed over, to be accepted")
    assert nurse.sees("Open hand-overs")
    custodian.go("/")
    custodian.press("Scan and accept")
    scan_all(custodian, codes)
    custodian.press("Accept")
    see_seals(custodian)
    custodian.press("Accept")
    assert custodian.sees("Recorded.")
    for package, place in ((1, "freezer-1"), (2, "shelf-1"), (3, "fridge-1")):
        custodian.go(f"/do/package.store?p={kit}.{package}")
        custodian.choose(place=place)
        see_seals(custodian)
        custodian.press("Store")
    assert custodian.sees("3 stored")


def report_and_link(nurse: Visitor, coordinator: Visitor, officer: Visitor, kit: str) -> None:
    """The victim reports; the police ask; two staff look; the coordinator links."""
    nurse.go(f"/do/report.declare?kit={kit}")
    nurse.check(how="in_person")
    nurse.press("The victim reports")
    assert nurse.sees("report declared")
    officer.go("/ask")
    officer.fill(pv=PV)
    officer.choose(centre=NURSE.organisation or "")
    officer.press("Send")
    assert officer.sees("Received.")
    nurse.go("/")
    nurse.press("Answer")
    nurse.fill(kit=kit)
    nurse.check(how="match")
    nurse.press("Answer a request of the police")
    assert nurse.sees("This waits for a second person.")
    coordinator.go("/")
    coordinator.press("Compare and sign")
    coordinator.press("Sign")
    assert coordinator.sees("Match confirmed by two people")
    coordinator.go(f"/do/kit.link?kit={kit}")
    coordinator.fill(pv=PV, notice="AV.00.0001")
    coordinator.choose(office=OFFICE, zone=ZONE)
    coordinator.press("Link to the police report")
    assert coordinator.sees("Linked to a police report")


def test_a_kit_goes_from_the_bench_to_the_court_without_a_script(
    pages: Pages, clerk: Callable[[], None]
) -> None:
    clerk()
    nurse, custodian, coordinator = pages.at(NURSE), pages.at(CUSTODIAN), pages.at(COORDINATOR)

    # registered, labelled
    kit = register(nurse)
    nurse.press("Print labels")
    assert nurse.sees("Labels printed")
    codes = labels_of(nurse, kit)

    to_the_store(nurse, custodian, kit, codes)
    officer = pages.at(OFFICER)
    report_and_link(nurse, coordinator, officer, kit)

    # handed to the police, who accept by scanning
    custodian.go(f"/do/handover.offer?p={kit}.1&p={kit}.2&p={kit}.3")
    custodian.choose(to=ZONE)
    custodian.press("Hand over")
    officer.go("/")
    officer.press("Scan and accept")
    scan_all(officer, codes)
    officer.press("Accept")
    see_seals(officer)
    officer.press("Accept")
    assert officer.sees("Released to the prosecution file")

    wait_until_signed(officer)

    # the centre sees since when it is with justice, and no more
    assert coordinator.go(f"/kits/{kit}?for=review") == 200
    assert coordinator.sees("with justice since")
    assert coordinator.sees("No package is at the centre.")
    assert not coordinator.sees("Custody trail")

    # the magistrate says why, reads the trail and takes it along
    magistrate = pages.at(MAGISTRATE, size=WIDE)
    magistrate.press("Look at the kit")
    magistrate.check(purpose="court")
    magistrate.press("Open the kit")
    assert magistrate.sees("released to justice")
    assert magistrate.sees("Custody trail")
    assert not magistrate.sees("Choices trail")
    magistrate.choose(purpose="court")
    with magistrate.page.expect_download() as download:
        magistrate.page.get_by_role("button", name="Download").click()
    bundle = download.value.path().read_bytes()
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        events = [name for name in archive.namelist() if name.startswith("events/")]
    assert len(events) == 14
