"""Who decides: the victim, a representative within the policy, nobody after death; and whose the card is."""

from dataclasses import replace
from typing import Any

import pytest

from custody.commands import (
    AskDestruction,
    ConfirmDestruction,
    DeclareReport,
    ExtendTerm,
    PlaceHold,
    TakeBackDestruction,
    WithdrawReport,
)
from custody.decision import Seen
from custody.items import TYPES
from custody.kit import Kit
from custody.people import Actor
from custody.refusal import NeedsSecond, NotPermitted, NotSeen, Refused
from retention.commands import ConfirmMajority, ProveChannel, RenewCard, StopCard
from retention.deciding import confirm_majority, of_age, renew_card, stop_card
from retention.holds import place_hold
from retention.keeping import (
    ask_destruction,
    confirm_destruction,
    declare,
    extend,
    register,
    take_back_destruction,
    withdraw,
)
from retention.notice import prove_channel, why_not_sent
from retention.policy import Policy
from tests.custody.story import COORDINATOR, CUSTODIAN, NURSE, NURSE_2, OTHER_NURSE, kit_order
from tests.retention.kept import BELGIUM, DAY, HASHES, NOON, POLICY, card_of, kit_of, then, without

NEW = {"code_hash": "77" * 32, "secret_hash": "none"}


def represented(age_class: str = "minor") -> Kit:
    return without(kit_of(NOON, age_class), decided_by="representative")


def held(kit: Kit, ground: Any) -> Kit:
    order = PlaceHold(kit=kit.number, ground=ground, reason="told by the hospital")
    return then(kit, place_hold(kit, order, NURSE, "ab" * 16, BELGIUM, NOON), NOON)


def grown(kit: Kit) -> Kit:
    order = ConfirmMajority(kit=kit.number, how="in_person")
    return then(kit, confirm_majority(kit, order, NURSE, COORDINATOR), NOON)


def answering(name: str, answer: bool) -> tuple[Policy, ...]:
    """Belgium's policy, with one of its answers about who decides put differently."""
    rules = POLICY.who_decides
    return (
        replace(POLICY, who_decides=replace(rules, **{name: replace(getattr(rules, name), answer=answer)})),
    )


def agreed(
    age_class: Any, policies: tuple[Policy, ...] = BELGIUM, card: Any = "declined", **told: Any
) -> Any:
    order = kit_order(NOON, age_class)
    agreement = replace(order.agreement, **told)
    order = replace(order, agreement=agreement, card=card)
    return register(
        Seen(at=NOON), order, NURSE, number="7M4P9XQ3RT6C", policies=policies, item_types=TYPES, card=None
    )


# --- who agrees -------------------------------------------------------------------------------------


def test_a_minor_judged_capable_agrees_alone_where_the_policy_says_so() -> None:
    assert agreed("minor").facts
    with pytest.raises(Refused, match="a representative agrees for a minor") as refusal:
        agreed("minor", answering("capable_minor_alone", False))
    assert refusal.value.field == "agreement.decided_by"


def test_a_representative_who_is_suspected_gets_no_card_no_notice_and_no_knowledge() -> None:
    none: Any = {"channel": "none", "channel_address": None}
    cases: Any = ({"decided_by": "representative", **none}, {"decided_by": "victim", "channel": "email"})
    for told in cases:
        with pytest.raises(Refused, match="no card, no notice") as refusal:
            agreed("minor", representative_suspected="yes", **told)
        assert refusal.value.field == "agreement.representative_suspected"
    with pytest.raises(Refused, match="no card, no notice"):
        agreed("minor", card="issued", representative_suspected="yes", **none)

    decided = agreed("minor", representative_suspected="yes", **none)
    fields = [fact.fields for fact in decided.facts if fact.type == "agreement.recorded"]

    assert [(f["decided_by"], f["channel"]) for f in fields] == [("victim", "none")]
    assert "suspected" not in repr(decided.facts)


def test_a_suspected_representative_does_not_stand_in_the_way_where_representatives_agree() -> None:
    policies = answering("capable_minor_alone", False)
    none: Any = {"channel": "none", "channel_address": None}

    assert agreed("minor", policies, representative_suspected="yes", **none).facts


def test_somebody_says_of_every_representative_whether_they_are_suspected() -> None:
    with pytest.raises(Refused, match="Say whether the representative is suspected"):
        agreed("minor", decided_by="representative")
    assert agreed("minor", decided_by="representative", representative_suspected="no").facts
    with pytest.raises(Refused, match="An adult agrees alone"):
        agreed("adult", decided_by="representative", representative_suspected="no")


# --- who asks -----------------------------------------------------------------------------------------


def protecting(kit: Kit, by: Any, actor: Actor = NURSE, policies: tuple[Policy, ...] = BELGIUM) -> Any:
    how: Any = "in_person"
    yield lambda: extend(kit, ExtendTerm(kit=kit.number, how=how, asked_by=by), actor, policies, NOON)
    yield lambda: declare(kit, DeclareReport(kit=kit.number, how=how, asked_by=by), actor, policies)
    hold = PlaceHold(kit=kit.number, ground="safety", reason="asked for", asked_by=by)
    yield lambda: place_hold(kit, hold, actor, "cd" * 16, policies, NOON)


def test_a_representative_who_decides_may_protect_and_it_is_on_record_who_asked() -> None:
    for decide in protecting(represented(), "representative"):
        assert decide().facts[0].fields["decided_by"] == "representative"


def test_a_representative_does_nothing_where_the_victim_decides_is_of_age_or_the_policy_is_silent() -> None:
    for kit in (kit_of(), kit_of(NOON, "minor"), grown(represented())):
        for decide in protecting(kit, "representative"):
            with pytest.raises(Refused, match="decides alone") as refusal:
                decide()
            assert refusal.value.field == "asked_by"
    for decide in protecting(
        represented(), "representative", policies=answering("representative_protects", False)
    ):
        with pytest.raises(Refused, match="does not leave this to a representative"):
            decide()


def test_what_the_card_asks_for_is_never_a_representatives() -> None:
    kit = represented()
    for decide in protecting(kit, "representative", card_of(kit.number)):
        with pytest.raises(Refused, match="asked for by the victim"):
            decide()


def test_neither_a_representative_nor_an_heir_gives_evidence_up() -> None:
    for kit in (represented(), held(kit_of(), "death"), held(kit_of(), "incapacity")):
        ask = AskDestruction(kit=kit.number, how="in_writing", asked_by="representative")
        with pytest.raises(Refused, match="protect the evidence and no more"):
            ask_destruction(kit, ask, NURSE, BELGIUM)
        back = WithdrawReport(kit=kit.number, how="in_writing", asked_by="representative")
        with pytest.raises(Refused, match="protect the evidence and no more"):
            withdraw(kit, back, NURSE, NURSE_2, BELGIUM, NOON)


def test_after_a_death_nobody_is_written_down_as_the_victim_asking() -> None:
    kit = held(kit_of(), "death")

    for decide in protecting(kit, "victim"):
        with pytest.raises(Refused, match="cannot have asked"):
            decide()
    for decide in protecting(kit, "representative"):
        assert decide().facts


def test_while_the_victim_cannot_decide_only_what_protects_goes_on() -> None:
    kit = held(kit_of(), "incapacity")

    with pytest.raises(Refused, match="nothing that endangers"):
        ask_destruction(kit, AskDestruction(kit=kit.number, how="in_person"), NURSE, BELGIUM)
    assert [bool(decide().facts) for decide in protecting(kit, "victim")] == [True, True, True]


def test_a_child_for_whom_a_representative_decides_protects_and_does_not_withdraw() -> None:
    kit = represented()
    order = WithdrawReport(kit=kit.number, how="in_person")

    assert all(decide().facts for decide in protecting(kit, "victim"))
    with pytest.raises(Refused, match="before majority"):
        withdraw(kit, order, NURSE, NURSE_2, BELGIUM, NOON)


# --- destruction --------------------------------------------------------------------------------------


def asking(kit: Kit) -> Kit:
    order = AskDestruction(kit=kit.number, how="by_card")
    return then(kit, ask_destruction(kit, order, card_of(kit.number), BELGIUM), NOON)


def confirming(kit: Kit, identity: Any = "confirmed", free_will: Any = "confirmed") -> Any:
    order = ConfirmDestruction(kit=kit.number, identity=identity, free_will=free_will)
    return confirm_destruction(kit, order, NURSE, NURSE_2, BELGIUM, NOON)


@pytest.mark.parametrize("field", ["identity", "free_will"])
def test_a_destruction_is_confirmed_only_where_identity_and_free_will_are_both_certain(field: str) -> None:
    with pytest.raises(Refused, match="both certain") as refusal:
        confirming(asking(kit_of()), **{field: "not_confirmed"})
    assert refusal.value.field == field


def test_suspected_pressure_stops_a_destruction_that_was_asked_for() -> None:
    with pytest.raises(Refused, match="held"):
        confirming(held(asking(kit_of()), "suspected_pressure"))


def test_evidence_of_a_minor_is_destroyed_early_only_once_two_staff_saw_the_victim_of_age() -> None:
    kit = asking(kit_of(NOON, "minor"))
    with pytest.raises(Refused, match="come of age"):
        confirming(kit)

    assert confirming(grown(kit)).facts[0].fields["decided_by"] == "victim"


def test_a_wish_taken_back_says_who_took_it_back() -> None:
    kit = asking(kit_of())
    order = TakeBackDestruction(kit=kit.number, how="by_card")

    decided = take_back_destruction(kit, order, card_of(kit.number), BELGIUM, NOON)

    assert decided.facts[0].fields["decided_by"] == "victim"
    assert then(kit, decided, NOON).destruction is None


# --- coming of age --------------------------------------------------------------------------------------


def test_with_majority_the_old_card_stops_and_the_channel_has_to_be_tried_again() -> None:
    kit = kit_of(NOON, "minor")
    proof = ProveChannel(kit=kit.number, how="in_person")
    kit = then(kit, prove_channel(kit, proof, NURSE), NOON)
    assert why_not_sent(kit, POLICY, NOON) is None
    order = ConfirmMajority(kit=kit.number, how="in_person")

    with pytest.raises(NeedsSecond):
        confirm_majority(kit, order, NURSE, None)
    with pytest.raises(Refused, match="of the centre"):
        confirm_majority(kit, order, NURSE, OTHER_NURSE)
    decided = confirm_majority(kit, order, NURSE, COORDINATOR)
    kit = then(kit, decided, NOON + DAY)

    assert decided.extra == {"cards": [{"kit": kit.number}]}
    assert (of_age(kit), kit.card, kit.of_age_at) == (True, "stopped", NOON + DAY)
    assert why_not_sent(kit, POLICY, NOON + DAY) == "never_proved"
    with pytest.raises(Refused, match="of age already"):
        confirm_majority(kit, order, NURSE, COORDINATOR)
    with pytest.raises(Refused, match="of age already"):
        confirm_majority(kit_of(), order, NURSE, COORDINATOR)


# --- the card -------------------------------------------------------------------------------------------


def test_one_person_or_the_victim_stops_the_card_and_what_the_victim_writes_is_not_kept() -> None:
    kit = kit_of()
    order = StopCard(kit=kit.number, reason="he found it")

    by_card = stop_card(kit, order, card_of(kit.number))
    assert "he found it" not in repr(by_card.facts)
    stopped = then(kit, by_card, NOON)
    assert stopped.card == "stopped"
    assert stop_card(kit, order, NURSE).facts[0].fields["reason"] == "he found it"
    with pytest.raises(Refused, match="No card"):
        stop_card(stopped, order, NURSE)
    with pytest.raises(NotSeen):
        stop_card(kit, order, card_of(kit_of().number))
    with pytest.raises(NotPermitted):
        stop_card(kit, order, CUSTODIAN)


@pytest.mark.parametrize("card", ["issued", "stopped", "declined"])
def test_two_people_renew_a_card_that_was_lost_or_never_taken(card: str) -> None:
    kit = without(kit_of(), card=card)
    order = RenewCard(kit=kit.number, how="in_person")

    with pytest.raises(NeedsSecond):
        renew_card(kit, order, NURSE, None, None)
    with pytest.raises(Refused, match="another person's"):
        renew_card(kit, order, NURSE, NURSE, NEW)
    with pytest.raises(NotPermitted):
        renew_card(kit, order, NURSE, CUSTODIAN, NEW)  # who signs second sees code and secret
    with pytest.raises(TypeError):
        renew_card(kit, order, NURSE, COORDINATOR, None)
    decided = renew_card(kit, order, NURSE, COORDINATOR, NEW)

    assert decided.extra == {"cards": [{"kit": kit.number, **NEW}]}
    assert then(kit, decided, NOON).card == "issued"


@pytest.mark.parametrize("ground", ["death", "incapacity"])
def test_nobody_gets_a_card_after_a_death_or_while_the_victim_cannot_decide(ground: str) -> None:
    kit = held(kit_of(), ground)

    with pytest.raises(Refused, match="nobody gets a card"):
        renew_card(kit, RenewCard(kit=kit.number, how="in_person"), NURSE, COORDINATOR, NEW)
    assert HASHES != NEW
