"""What waits for a second signature: private fields wait sealed, and who signs reads them."""

from dataclasses import fields
from typing import Any
from uuid import uuid4

import pytest

from custody.channel import LONGEST
from custody.private import PrivateRefused
from desk.doors import DOORS
from tests.custody.story import CUSTODIAN, NURSE, NURSE_2, PlainMasters
from tests.desk.conftest import Desk
from tests.desk.test_canaries import spelled

ADDRESS, HOURS, QUESTION = "canary.waiting@invented.example", "canary hours 7741", "canary question 7742"
OTHER_ADDRESS = "canary.other@invented.example"

NOTHING_PRIVATE = {
    "packages": [{"package": 1, "kind": "bag", "storage": "dry", "seal": "S-1", "items": []}],
    "agreement": {"form_digest": "0" * 64, "language": "nl", "channel": "none"},
    "hospital_reference": None,
}


def change(kit: str, **changes: Any) -> dict[str, Any]:
    return {
        "kit": kit,
        "channel": "email",
        "language": "nl",
        "how": "in_person",
        "channel_address": ADDRESS,
        "channel_hours": HOURS,
        "channel_question": QUESTION,
    } | changes


def waiting(desk: Desk) -> str:
    """Every row of the proposals as a thief of the database reads it."""
    with desk.database.connect("superuser") as connection:
        rows = connection.execute("SELECT p::text FROM custody.proposal p").fetchall()
    return "\n".join(str(row[0]) for row in rows)


def proposed(desk: Desk, kit: str, key: str | None = None) -> str:
    answer = desk.at(NURSE).post("channels", change(kit), key or uuid4().hex)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["proposal"])


@pytest.mark.parametrize("bare", [False, True], ids=["with a key of the kit", "before the kit has a key"])
def test_a_new_address_waits_sealed_is_read_by_who_signs_and_is_recorded(desk: Desk, bare: bool) -> None:
    kit = desk.at(NURSE).register(desk.now(), **(NOTHING_PRIVATE if bare else {}))["kit"]
    assert desk.count("data_key") == (0 if bare else 1)
    proposal = proposed(desk, kit)
    stored = waiting(desk)
    assert kit in stored
    for value in (ADDRESS, HOURS, QUESTION):
        assert not any(form in stored for form in spelled(value)), value
    assert ADDRESS not in desk.at(NURSE_2).get("proposals").text
    page = desk.at(NURSE_2).client.get(f"/signatures/{proposal}")
    assert page.status_code == 200
    assert all(value in page.text for value in (ADDRESS, HOURS, QUESTION))
    signed = desk.at(NURSE_2).post(f"proposals/{proposal}/signatures", {})
    assert signed.status_code == 201, signed.text
    assert not any(form in waiting(desk) for form in spelled(ADDRESS))
    told = desk.at(NURSE).get(f"kits/{kit}/private", purpose="review").json()["part"]
    assert (told["channel_address"], told["channel_question"]) == (ADDRESS, QUESTION)


def test_after_a_change_nothing_of_the_old_channel_is_told_as_the_channel_of_today(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    for later in (change(kit), {"kit": kit, "channel": "none", "language": "nl", "how": "in_person"}):
        proposal = desk.at(NURSE).post("channels", later).json()["proposal"]
        assert desk.at(NURSE_2).post(f"proposals/{proposal}/signatures", {}).status_code == 201
    told = desk.at(NURSE).get(f"kits/{kit}/private", purpose="review").json()["part"]
    assert [name for name in told if name.startswith("channel_")] == []
    assert told["hospital_reference"] == "INVENTED-1"
    shown = desk.at(NURSE).get(f"kits/{kit}/channel", purpose="review")
    assert shown.json()["channel"] == "none"
    assert ADDRESS not in shown.text


def test_the_same_change_sent_again_is_the_same_proposal_and_another_address_is_not(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    key = uuid4().hex
    assert proposed(desk, kit, key) == proposed(desk, kit, key)
    other = desk.at(NURSE).post("channels", change(kit, channel_address=OTHER_ADDRESS), key)
    assert other.status_code == 422, other.text
    assert desk.count("proposal") == 1


def test_a_proposal_whose_key_does_not_open_is_refused_in_plain_words_and_can_be_declined(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    proposal = proposed(desk, kit)

    def shut(self: PlainMasters, centre: str, number: str, wrapped: bytes) -> bytes:
        raise PrivateRefused

    monkeypatch.setattr(PlainMasters, "unwrap", shut)
    signed = desk.at(NURSE_2).post(f"proposals/{proposal}/signatures", {})
    assert signed.status_code == 409, signed.text
    assert "What was proposed cannot be read" in signed.json()["detail"]
    page = desk.at(NURSE_2).client.get(f"/signatures/{proposal}")
    assert "What was proposed cannot be read" in page.text
    assert "decline" in page.text
    again = desk.at(NURSE).post("channels", change(kit))
    assert again.status_code == 409
    assert "cannot wait for a second signature" in again.json()["detail"]
    assert desk.at(NURSE_2).client.delete(f"/api/proposals/{proposal}").status_code == 204


def test_a_sealed_field_that_was_moved_to_another_proposal_does_not_open(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    first, second = proposed(desk, kit), proposed(desk, kit)
    with desk.database.connect("superuser") as connection:
        connection.execute("SET custody.maintenance = 'on'")
        connection.execute(
            "UPDATE custody.proposal p SET command = q.command FROM custody.proposal q"
            " WHERE p.id = %s AND q.id = %s",
            [second, first],
        )
    refused = desk.at(NURSE_2).post(f"proposals/{second}/signatures", {})
    assert refused.status_code == 409, refused.text
    assert "What was proposed cannot be read" in refused.json()["detail"]


def test_a_custodian_of_the_centre_reads_the_new_address_and_who_proposed_it_takes_it_back(
    desk: Desk,
) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    proposal = proposed(desk, kit)
    assert ADDRESS in desk.at(CUSTODIAN).client.get(f"/signatures/{proposal}").text
    left = desk.at(NURSE).client.delete(f"/api/proposals/{proposal}")
    assert left.status_code == 204
    assert desk.count("proposal") == 0


def test_every_command_of_two_people_declares_what_is_private_in_it() -> None:
    private = {*LONGEST, "channel_address", "hospital_reference"}
    for door in DOORS:
        named = {each.name for each in fields(door.shape)}
        assert set(door.private) <= named, door.action
        if door.two_people:
            assert named & private == set(door.private), door.action
