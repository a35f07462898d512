"""Who signs second, and who links a kit, is shown what it is about in words that can be compared."""

from tests.custody.story import CENTRE, COORDINATOR, NURSE, NURSE_2, OFFICER
from tests.pages.conftest import Pages
from tests.pages.doings import register

PV = "BR.37.L1.012345/2026"


def test_the_second_person_sees_which_report_of_which_zone_asked_for_what(pages: Pages) -> None:
    kit = register(pages.at(NURSE))
    desk = pages.desk
    asked = desk.at(OFFICER).post("requests", {"pv": PV, "centre": CENTRE, "kit": kit})
    request = asked.json()["receipts"][0]["trail"].split(":")[1]
    desk.at(NURSE).post("reports", {"kit": kit, "how": "in_person"})
    desk.at(NURSE).post("requests/answers", {"request": request, "kit": kit, "how": "match"})
    written = f"{kit[:4]}-{kit[4:8]}-{kit[8:]}"

    second = pages.at(NURSE_2)
    second.press("Compare and sign")
    told = f"{PV}, Politiezone Morgenland, received on"
    assert second.sees(told)
    assert second.sees(f"asked for kit {written}")
    assert not second.sees(request[:12])
    second.press("Sign")

    coordinator = pages.at(COORDINATOR)
    coordinator.go(f"/do/kit.link?kit={kit}")
    offered = coordinator.page.locator("select[name='request'] option").all_inner_texts()
    assert len(offered) == 2
    assert offered[1].startswith(told)
