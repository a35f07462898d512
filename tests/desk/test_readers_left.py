"""A reader of a restricted kit leaves: who is told, what is refused until another is named, and what a
coordinator does where all are gone. And a seal that another organisation has is not the centre's to check."""

from collections.abc import Iterable
from typing import Any

from custody.people import Actor
from tests.custody.story import COORDINATOR, CUSTODIAN, MAGISTRATE, NURSE, NURSE_2, new_number
from tests.desk.conftest import Desk
from tests.desk.test_restricted import recorded, released, restricted


def left(desk: Desk, people: Iterable[str]) -> None:
    with desk.database.connect("superuser") as connection:
        for person in people:
            connection.execute(
                "UPDATE custody.appointment SET until = '2020-06-01' WHERE person = %s", [person]
            )


def lacking(desk: Desk, person: Actor) -> list[Any]:
    return [line["kit"] for line in desk.at(person).get("worklists").json()["readers_lacking"]]


def test_the_reader_who_is_left_is_told_and_names_another(desk: Desk) -> None:
    kit = restricted(desk)
    assert lacking(desk, NURSE) == lacking(desk, COORDINATOR) == []
    left(desk, ["nora"])
    assert lacking(desk, COORDINATOR) == [kit]
    assert lacking(desk, NURSE_2) == lacking(desk, CUSTODIAN) == []
    coordinator = desk.at(COORDINATOR)
    assert coordinator.get(f"kits/{kit}", purpose="task").status_code == 200
    before = desk.count("proposal")
    refused = coordinator.post("restrictions/lifts", {"kit": kit, "reason": "no longer needed"})
    assert (refused.status_code, desk.count("proposal")) == (409, before)
    assert "Name another reader first" in refused.json()["detail"]
    named = coordinator.post("restrictions", {"kit": kit, "readers": ["coraline", "nils"]})
    assert recorded(named) == ["kit.restricted"]
    assert lacking(desk, COORDINATOR) == lacking(desk, NURSE_2) == []
    lift = coordinator.post("restrictions/lifts", {"kit": kit, "reason": "no longer needed"})
    assert lift.status_code == 202, lift.text


def test_where_no_coordinator_is_left_among_them_the_nurse_is_told(desk: Desk) -> None:
    kit = restricted(desk)
    left(desk, ["coraline"])
    assert lacking(desk, NURSE) == [kit]


def test_where_all_readers_are_gone_a_coordinator_breaks_the_glass_and_names_others(desk: Desk) -> None:
    kit = restricted(desk)
    left(desk, ["coraline", "nora"])
    with desk.database.connect("superuser") as connection:
        connection.execute(
            "INSERT INTO custody.appointment (person, organisation, function, \"from\") SELECT 'nils',"
            " organisation, 'coordinator', '2020-01-01' FROM custody.appointment WHERE person = 'nils'"
        )
    coordinator = desk.at(NURSE_2)
    coordinator.client.headers["custody-function"] = f"coordinator@{NURSE.organisation}"
    assert [line["kit"] for line in coordinator.get("worklists").json()["without_reader"]] == [kit]
    assert f"/glass?kit={kit}" in coordinator.client.get("/").text
    custodian = desk.at(CUSTODIAN)
    assert custodian.get("worklists").json()["without_reader"] == []
    home = custodian.client.get("/").text
    assert "Nothing waits here" in home
    assert "name readers" not in home
    readers = {"kit": kit, "readers": ["casper", "nils"]}
    assert coordinator.post("restrictions", readers).status_code == 404
    assert coordinator.post(f"kits/{kit}/glass", {"reason": "readers_absent"}).status_code in (200, 201)
    assert recorded(coordinator.post("restrictions", readers)) == ["kit.restricted"]
    assert coordinator.get("worklists").json()["without_reader"] == []
    assert desk.at(CUSTODIAN).get(f"kits/{kit}", purpose="review").status_code == 200


def test_a_seal_that_the_police_have_is_not_the_centres_to_check(desk: Desk) -> None:
    kit = released(desk, 1, 2)
    opened = desk.at(MAGISTRATE).post("releases/openings", {"kit": kit, "reason": "for the hearing"})
    assert recorded(opened) == ["kit.opened_to_centre"]
    due = desk.at(CUSTODIAN).get("worklists").json()["seal_checks_due"]
    assert {(line["kit"], line["package"]) for line in due} == {(kit, 3)}


def test_who_may_not_do_a_step_is_told_whose_it_is_the_same_for_every_kit(desk: Desk) -> None:
    kits = [restricted(desk), new_number()]
    order = {"readers": ["coraline", "nora"]}
    told = [desk.at(CUSTODIAN).post("restrictions", order | {"kit": kit}).json()["detail"] for kit in kits]
    assert told == ["Your function does not allow this. It is for: coordinator, nurse."] * 2
