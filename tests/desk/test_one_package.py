"""Who has one package of a kit in hand learns nothing of the others, nor of the choices trail."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest

from custody.number import KitNumber, Part, item, label_code, next_serial, package
from custody.people import Actor
from desk.doors import DOORS
from tests.custody.story import ANALYST, CENTRE, COORDINATOR, LAB, NURSE, OTHER_CENTRE, OTHER_NURSE
from tests.desk.conftest import Desk, moment, refs


@pytest.fixture
def kit(desk: Desk) -> str:
    """Package 1 is at the laboratory, package 2 at another centre, package 3 still with the nurse."""
    number = str(desk.at(NURSE).register(desk.now())["kit"])
    due = moment(desk.now() + timedelta(hours=4))
    for n, organisation, receiver in ((1, LAB, ANALYST), (2, OTHER_CENTRE, OTHER_NURSE)):
        given = {"packages": refs(number, n), "organisation": organisation, "due_at": due}
        assert desk.at(NURSE).post("hand-overs/offers", given).status_code == 201
        taken = desk.at(receiver).post("hand-overs/acceptances", {"packages": refs(number, n)})
        assert taken.status_code == 201, taken.text
    return number


def test_a_package_of_others_is_answered_as_one_that_never_was(desk: Desk, kit: str) -> None:
    analyst = desk.at(ANALYST)
    for path, more in (
        ("packages/check-seal", {}),
        ("packages/open", {"reason": "to find out"}),
        ("packages/lose", {"reason": "to find out"}),
        ("hand-overs/cancellations", {}),
    ):
        told = [analyst.post(path, {"packages": refs(kit, n), **more}) for n in (3, 77)]
        assert [t.status_code for t in told] == [422, 422], path
        assert told[0].json()["detail"].replace("3", "77") == told[1].json()["detail"], path


def test_an_item_of_others_is_answered_as_one_that_never_was(desk: Desk, kit: str) -> None:
    told = [
        desk.at(ANALYST).post(
            "items/findings", {"kit": kit, "items": [n], "missing": True, "reason": "looked"}
        )
        for n in (2, 77)
    ]
    assert [t.status_code for t in told] == [422, 422]
    assert told[0].json()["detail"] == told[1].json()["detail"]
    own = {"kit": kit, "items": [1], "missing": True, "reason": "looked"}
    assert desk.at(ANALYST).post("items/findings", own).status_code == 201


def test_the_alarm_of_a_late_hand_over_rings_for_those_who_take_part(
    desk: Desk, kit: str, advance: Callable[[timedelta], None]
) -> None:
    due = moment(desk.now() + timedelta(minutes=5))
    given = {"packages": refs(kit, 3), "organisation": CENTRE, "due_at": due}
    assert desk.at(NURSE).post("hand-overs/offers", given).status_code == 201
    back = {"packages": refs(kit, 2), "organisation": CENTRE, "due_at": due}
    assert desk.at(OTHER_NURSE).post("hand-overs/offers", back).status_code == 201
    advance(timedelta(minutes=6))

    def rings(person: Actor) -> list[int]:
        found = desk.at(person).get("worklists").json()["overdue"]
        return sorted(line["package"] for line in found)

    assert rings(COORDINATOR) == [2, 3]
    assert rings(OTHER_NURSE) == [2]
    assert rings(ANALYST) == []


def test_another_centre_learns_nothing_of_a_disposal_or_an_order(desk: Desk, kit: str) -> None:
    nurse = desk.at(OTHER_NURSE)
    disposal = nurse.post("disposals", {"packages": [{"kit": kit, "package": 1}]})
    order = {"kit": kit, "digest": "ab" * 32}
    confirmed = nurse.post("orders/confirmations", order)
    assert (disposal.status_code, confirmed.status_code) == (403, 403)
    entered = desk.at(COORDINATOR).post(
        "orders", order | {"authority": "Invented court", "dated": "2026-01-01"}
    )
    assert entered.status_code == 201
    assert nurse.post("orders/confirmations", order).json()["detail"] == confirmed.json()["detail"]


def test_the_label_of_a_package_of_others_is_as_one_that_was_never_printed(desk: Desk, kit: str) -> None:
    assert desk.at(NURSE).post("labels/prints", {"kit": kit}).status_code == 201

    def says(person: Actor, part: Part) -> str:
        code = label_code(KitNumber(kit), part, next_serial(KitNumber(kit), part, 0))
        return str(desk.at(person).get("scan", code=code).json()["says"])

    assert says(ANALYST, package(1)) == says(NURSE, package(3))
    assert says(ANALYST, package(3)) == says(ANALYST, package(77)) != says(NURSE, package(3))
    assert says(ANALYST, item(2)) == says(ANALYST, item(77))


@pytest.mark.parametrize("person", [ANALYST, OTHER_NURSE])
def test_no_page_shows_the_packages_of_others_or_the_choices(desk: Desk, kit: str, person: Actor) -> None:
    hold = {"kit": kit, "ground": "suspected_pressure", "reason": "somebody waits outside"}
    assert desk.at(COORDINATOR).post("holds", hold).status_code == 201
    choices = desk.at(COORDINATOR).get(f"kits/{kit}", purpose="task").json()["choices"]
    own = 1 if person is ANALYST else 2
    client = desk.client(**{"sec-fetch-site": "same-origin", "accept": "text/html"})
    assert person.person is not None
    assert client.post("/sign-in", data={"who": person.person}).status_code == 303
    shown = client.get(f"/kits/{kit}", params={"for": "task"})
    assert f"S-{own}" in shown.text
    others = [f"{kit}.{n}" for n in (1, 2, 3) if n != own]
    paths = [f"/kits/{kit}?for=task", f"/scan?kit={kit}&then=disposal.carry_out"]
    paths += [f"/do/{door.action}?kit={kit}" for door in DOORS]
    paths += [f"/do/{door.action}?p={p}" for door in DOORS for p in others]
    paths += [f"/scan?p={p}" for p in others]
    for path in paths:
        page = re.sub(r'value="[\w-]{43}"', "", client.get(path).text)  # the form's token may hold anything
        for told in (*(f"S-{n}" for n in (1, 2, 3) if n != own), choices["holds"][0]["id"]):
            assert told not in page, f"{path}: {told}"
