"""A double click, a retry after a broken connection, a key used twice: one act, one receipt."""

import pytest

from tests.custody.story import CUSTODIAN, NURSE, NURSE_2
from tests.desk.conftest import Desk, new_kit, refs


def test_a_double_click_finds_its_first_receipt(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    kit = nurse.register(desk.now())["kit"]
    order = {"packages": refs(kit, 1), "place": "freezer-1"}
    first = nurse.post("packages/store", order, "one-click-1")
    before = desk.count()
    again = nurse.post("packages/store", order, "one-click-1")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert desk.count() == before


def test_the_same_key_for_another_command_is_refused(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    kit = nurse.register(desk.now())["kit"]
    assert nurse.post("labels/prints", {"kit": kit, "parts": ["K"]}, "used-once-1").status_code == 201
    before = desk.count()
    for path, order in (
        ("labels/prints", {"kit": kit, "parts": ["P01"]}),
        ("packages/store", {"packages": refs(kit, 1), "place": "freezer-1"}),
        ("numbers", {"count": 1}),
        ("kits", new_kit(desk.now())),
    ):
        answer = nurse.post(path, order, "used-once-1")
        assert answer.status_code == 422, f"{path} {answer.text}"
        assert answer.json()["type"].endswith("/problems/key-used")
    assert desk.count() == before


def test_two_people_may_use_the_same_key(desk: Desk) -> None:
    nurse, other = desk.at(NURSE), desk.at(NURSE_2)
    assert nurse.post("numbers", {"count": 1}, "the-same-key").status_code == 201
    assert other.post("numbers", {"count": 1}, "the-same-key").status_code == 201


def test_registering_twice_with_one_key_makes_one_kit_and_never_shows_the_card_again(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    order = new_kit(desk.now())
    first = nurse.post("kits", order, "register-once")
    again = nurse.post("kits", order, "register-once")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["kit"] == first.json()["kit"]
    assert again.json()["receipts"] == first.json()["receipts"]
    assert "card" in first.json()
    assert "card" not in again.json()
    assert desk.count("kit") == 1


def test_a_key_of_a_waiting_command_is_not_free_for_another(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    kit = nurse.register(desk.now())["kit"]
    order = {
        "kit": kit,
        "brought_by": "victim",
        "packages": [{"package": n, "kind": "bag", "storage": "dry"} for n in (4, 5)],
    }
    assert nurse.post("kits/supplements", order, "supplement-1").status_code == 201
    void = {"packages": [{"kit": kit, "package": 4}], "reason": "registered twice"}
    assert nurse.post("packages/void", void, "void-four-1").status_code == 202
    other = void | {"packages": [{"kit": kit, "package": 5}]}
    assert nurse.post("packages/void", other, "void-four-1").status_code == 422
    assert nurse.post("packages/void", other, "supplement-1").status_code == 422
    assert desk.count("proposal") == 1


@pytest.mark.parametrize("key", [None, "", "short", "x" * 201, "with a blank", "tab\there"])
def test_every_command_needs_a_key_of_visible_characters(desk: Desk, key: str | None) -> None:
    nurse = desk.at(NURSE)
    named = {} if key is None else {"Idempotency-Key": key}
    before = desk.count()
    answer = nurse.client.post("/api/numbers", json={"count": 1}, headers=named)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
    assert desk.count() == before


def test_a_lost_answer_is_found_again_by_another_session_of_the_same_person(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    offered = {"packages": refs(kit, 1), "place": "freezer-1"}
    first = desk.at(NURSE).post("packages/store", offered, "device-1-act-7")
    late = desk.at(NURSE).post("packages/store", offered, "device-1-act-7")
    assert late.json() == first.json()
    assert desk.at(CUSTODIAN).post("packages/store", offered, "device-1-act-7").status_code == 201
