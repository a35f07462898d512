"""Somebody left: what they still held is on the first page of who can put it right, with its next step."""

from datetime import timedelta

from tests.custody.story import COORDINATOR, CUSTODIAN, NURSE, NURSE_2
from tests.desk.conftest import moment, refs
from tests.pages.conftest import Pages
from tests.pages.doings import see_seals


def test_a_custodian_takes_over_what_a_nurse_left_behind(pages: Pages) -> None:
    desk = pages.desk
    kit = desk.at(NURSE).register(desk.now())["kit"]
    offer = {
        "packages": refs(kit, 3),
        "organisation": NURSE.organisation,
        "person": NURSE_2.person,
        "due_at": moment(desk.now() + timedelta(hours=3)),
    }
    assert desk.at(NURSE).post("hand-overs/offers", offer).status_code == 201
    custodian = pages.at(CUSTODIAN)
    assert custodian.sees("Nobody who left still has anything.")
    with desk.database.connect("superuser") as connection:
        connection.execute("UPDATE custody.appointment SET until = '2020-06-01' WHERE person = 'nora'")

    custodian.go("/")
    assert custodian.sees("With somebody who left")
    assert custodian.sees("packages 1, 2, in the hands of Nora Nachtwacht")
    assert custodian.sees("packages 3, offered by Nora Nachtwacht")
    custodian.press("Take over from somebody who left")
    custodian.fill(reason="left in the night room")
    see_seals(custodian)
    custodian.press("Take over from somebody who left")
    assert custodian.sees("Taken over from somebody who left")

    coordinator = pages.at(COORDINATOR)
    assert not coordinator.sees("in the hands of Nora Nachtwacht")
    coordinator.press("Take the offer back")
    coordinator.press("Take the offer back")
    coordinator.go("/")
    assert coordinator.sees("packages 3, in the hands of Nora Nachtwacht")
