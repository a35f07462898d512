"""A magistrate holds a kit that is linked to the office, sees it held, and looks at the hold again."""

from tests.custody.story import COORDINATOR, MAGISTRATE, OFFICER
from tests.desk.conftest import Desk
from tests.desk.test_edge import linked
from tests.pages.conftest import Pages, Visitor


def opened(visitor: Visitor, kit: str) -> None:
    visitor.go(f"/kits/{kit}")
    visitor.check(purpose="court")
    visitor.press("Open the kit")


def test_a_magistrate_sees_the_own_hold_and_reviews_it(pages: Pages, desk: Desk) -> None:
    kit = linked(desk)
    asked = {"kit": kit, "ground": "centre", "reason": "asked by the hospital"}
    assert desk.at(COORDINATOR).post("holds", asked).status_code == 201
    magistrate = pages.at(MAGISTRATE)
    opened(magistrate, kit)
    assert not magistrate.sees("Held."), "the hold of the centre is not for justice to know"
    assert magistrate.page.locator(f"a[href='/do/hold.review?kit={kit}']").count() == 0
    magistrate.go(f"/do/hold.place?kit={kit}")
    magistrate.check(ground="magistrate")
    magistrate.fill(reason="the appeal runs until the end of the year")
    magistrate.press("Hold")
    assert magistrate.sees("Held. Nothing of this kit can be destroyed. A magistrate holds it (look again on")
    assert not magistrate.sees("The centre holds it")

    magistrate.go("/")
    assert magistrate.sees("held; look again on")
    magistrate.press("Look at the kit")
    magistrate.page.get_by_text("Holds", exact=True).click()
    magistrate.press("The hold was looked at again")
    assert magistrate.sees("A magistrate holds it")
    options = magistrate.page.locator("select[name='hold'] option").all_inner_texts()
    assert len(options) == 2, "the hold of the centre is not offered"
    magistrate.page.select_option("select[name='hold']", index=1)
    magistrate.fill(reason="the appeal still runs")
    magistrate.press("The hold was looked at again")
    assert magistrate.sees("Held.")

    officer = pages.at(OFFICER)
    opened(officer, kit)
    assert not officer.sees("Held."), "the zone is not told"
