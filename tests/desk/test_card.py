"""The victim's card over HTTP: stopped by one, renewed by two, its code shown once; and who came of age."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.custody.story import COORDINATOR, CUSTODIAN, NURSE, NURSE_2
from tests.desk.conftest import Desk, Person

TOGETHER = "Code and number do not belong together"


def opens(desk: Desk, card: dict[str, Any]) -> httpx.Response:
    """What the victim's page answers to this code and number."""
    victim = desk.client(origin=desk.base_url, accept="text/html")
    typed = {"code": card["code"], "secret": card["secret"]}
    return victim.post("/v", data=typed, follow_redirects=True)


def renewed(proposer: Person, kit: str) -> str:
    """A new card, proposed; the name of the proposal."""
    waiting = proposer.post("cards/renewals", {"kit": kit, "how": "in_person"})
    assert waiting.status_code == 202, waiting.text
    assert "card" not in waiting.json()
    return str(waiting.json()["proposal"])


def test_a_new_card_is_shown_once_to_who_signs_second_and_the_old_one_opens_nothing(desk: Desk) -> None:
    nurse, coordinator = desk.at(NURSE), desk.at(COORDINATOR)
    made = nurse.register(desk.now())
    old = made["card"]
    assert "Your page" in opens(desk, old).text
    proposal = renewed(nurse, made["kit"])
    assert opens(desk, old).status_code == 200  # until the second person has signed

    signed = coordinator.post(f"proposals/{proposal}/signatures", {}, "signed-once")
    again = coordinator.post(f"proposals/{proposal}/signatures", {}, "signed-once")
    new = signed.json()["card"]

    assert (signed.status_code, again.status_code) == (201, 200)
    assert "card" not in again.json()
    assert new["code"] != old["code"]
    assert TOGETHER in opens(desk, old).text
    assert "Kept for you until" in opens(desk, new).text


def test_a_page_that_the_old_card_had_opened_closes_with_it(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    made = nurse.register(desk.now())
    victim = desk.client(origin=desk.base_url, accept="text/html")
    victim.post("/v", data={"code": made["card"]["code"], "secret": made["card"]["secret"]})
    assert victim.get("/v/kit").status_code == 200

    assert nurse.post("cards/stops", {"kit": made["kit"], "reason": "lost"}).status_code == 201

    assert victim.get("/v/kit").status_code == 303  # back to where a card is typed
    assert TOGETHER in opens(desk, made["card"]).text


def test_neither_a_custodian_nor_the_same_person_signs_for_a_new_card(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    made = nurse.register(desk.now())
    proposal = renewed(nurse, made["kit"])

    for person in (CUSTODIAN, NURSE):
        refused = desk.at(person).post(f"proposals/{proposal}/signatures", {})
        assert refused.status_code in (403, 409), refused.text
        assert "card" not in refused.json()
    assert "Kept for you until" in opens(desk, made["card"]).text


def test_two_cards_renewed_at_the_same_moment_leave_one_that_opens(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    kit = nurse.register(desk.now())["kit"]
    proposals = [renewed(nurse, kit), renewed(nurse, kit)]
    signers = [desk.at(NURSE_2), desk.at(COORDINATOR)]

    def sign(signer: Person, proposal: str) -> httpx.Response:
        return signer.post(f"proposals/{proposal}/signatures", {})

    with ThreadPoolExecutor(2) as both:
        answers = list(both.map(sign, signers, proposals))
    cards = [a.json()["card"] for a in answers if a.status_code == 201]

    assert len(cards) == 2, [a.text for a in answers]
    assert sorted("Kept for you until" in opens(desk, card).text for card in cards) == [False, True]


def test_death_holds_the_kit_and_stops_card_and_page_at_once(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    made = nurse.register(desk.now())
    order = {"kit": made["kit"], "ground": "death", "reason": "told by the hospital"}

    answer = nurse.post("holds", order)

    assert [r["type"] for r in answer.json()["receipts"]] == ["hold.placed", "card.stopped"]
    assert TOGETHER in opens(desk, made["card"]).text
    refused = nurse.post("cards/renewals", {"kit": made["kit"], "how": "in_person"})
    assert "nobody gets a card" in refused.json()["detail"]


def test_a_minor_who_has_come_of_age_gets_a_new_card_and_may_then_ask_for_destruction(desk: Desk) -> None:
    nurse, coordinator = desk.at(NURSE), desk.at(COORDINATOR)
    kit = nurse.register(desk.now(), age_class="minor")["kit"]
    asked = nurse.post("destructions", {"kit": kit, "how": "in_person"})
    assert asked.status_code == 201, asked.text
    sure = {"kit": kit, "identity": "confirmed", "free_will": "confirmed"}
    early = nurse.post("destructions/confirmations", sure)
    assert "come of age" in early.json()["detail"]

    for path, order in (
        ("majorities", {"kit": kit, "how": "in_person"}),
        ("cards/renewals", {"kit": kit, "how": "in_person"}),
        ("destructions/confirmations", sure),
    ):
        waiting = nurse.post(path, order)
        assert waiting.status_code == 202, waiting.text
        signed = coordinator.post(f"proposals/{waiting.json()['proposal']}/signatures", {})
        assert signed.status_code == 201, signed.text

    told = coordinator.get(f"kits/{kit}", purpose="task").json()["choices"]
    assert told["card"] == "issued"
    assert told["of_age_at"]
    assert told["destruction"]["until"]


def test_the_victim_says_the_channel_is_right_and_stops_the_card(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    made = nurse.register(desk.now())
    victim = desk.client(origin=desk.base_url, accept="text/html")
    victim.post("/v", data={"code": made["card"]["code"], "secret": made["card"]["secret"]})

    def wish(action: str) -> httpx.Response:
        page = victim.get("/v/kit").text
        form = page[page.index(f'value="{action}"') - 600 :]
        fields = dict(re.findall(r'name="(key|csrf|form_token|token)" value="([^"]*)"', form))
        data = fields | {"wish": action, "sure": "yes"}
        return victim.post("/v/kit", data=data, follow_redirects=True)

    assert "Recorded: The agreed way to reach me is still right." in wish("channel.prove").text
    coordinator = desk.at(COORDINATOR)
    assert coordinator.get(f"kits/{made['kit']}", purpose="task").json()["choices"]["channel_proved_at"]

    assert "The card is stopped" in wish("card.stop").text
    assert victim.get("/v/kit").status_code == 303  # back to where a card is typed
    assert TOGETHER in opens(desk, made["card"]).text
