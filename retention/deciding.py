"""Who decides about a kit: the victim, a representative, nobody. And the card, which is the victim's.

What differs from place to place is data of the policy, with its source (``retention.sourced.WhoDecides``);
no policy changes the rest:

1. A minor who was judged capable decides alone: the agreement then says that the victim decides.
2. A representative does no more than protect, only where the policy allows it and the agreement says that a
   representative decides (or the victim cannot any more), and no longer than until majority.
3. A representative who is suspected, or lives with a suspect, gets no card, no notice and no knowledge.
4. Nothing is destroyed early before majority, nor after death, nor while the victim cannot decide: heirs and
   representatives cannot destroy.
5. With death or incapacity the kit is held at once, and notices and the card stop in the same moment.
6. With majority the old card stops, and the safe channel counts as never tried, until both are renewed.

Pure: no database, no clock.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from custody.commands import Register
from custody.decision import Decided
from custody.event import Fact
from custody.handling import needs_second
from custody.kit import Kit
from custody.people import STAFF, Actor, Function
from custody.permission import permit
from custody.prosecution import choice
from custody.refusal import Refused
from retention.commands import ConfirmMajority, RenewCard, StopCard
from retention.policy import Policy
from retention.reckoning import policy_of
from retention.sourced import WhoDecides

PROTECTS: Final = frozenset({"report.declare", "term.extend", "hold.place", "destruction.take_back"})
"""What keeps evidence: needs little proof, and may be left to a representative."""
ENDANGERS: Final = frozenset({"report.withdraw", "destruction.ask", "destruction.confirm"})
NOBODY_DECIDES: Final = frozenset({"death", "incapacity"})
"""Grounds of a hold while which no notice is given, no card opens anything and nothing is given up."""


def of_age(kit: Kit) -> bool:
    """Whether the victim is known to be of age: at the examination, or since staff saw it."""
    return kit.age_class == "adult" or kit.of_age_at is not None


def nobody_decides(kit: Kit) -> bool:
    """Whether a hold for death or incapacity stands: no notice, no card, no destruction."""
    return any(hold.ground in NOBODY_DECIDES for hold in kit.holds.values())


def _died(kit: Kit) -> bool:
    return any(hold.ground == "death" for hold in kit.holds.values())


# --- who asked ----------------------------------------------------------------------------------


def decided_by(
    kit: Kit, action: str, asked_by: str, actor: Actor, policies: Iterable[Policy]
) -> dict[str, str]:
    """Who asked for this, as a field of the event. Raises Refused where it is not theirs to ask.

    What protects and is asked for by the victim needs no policy, so that nothing stands in its way.
    """
    if asked_by == "representative":
        _representative_may(kit, action, actor, policies)
    elif actor.function is not Function.VICTIM and _died(kit):
        raise Refused(
            "A hold for death stands, so the victim cannot have asked. The hold keeps the evidence; if it was"
            " placed in error, two people lift it.",
            field="asked_by",
        )
    elif action in ENDANGERS:
        _decides_alone(kit, policies)
    return {"decided_by": asked_by}


def _representative_may(kit: Kit, action: str, actor: Actor, policies: Iterable[Policy]) -> None:
    if actor.function is Function.VICTIM:
        raise Refused("What is asked for by the card is asked for by the victim.", field="asked_by")
    if action not in PROTECTS:
        raise Refused(
            "A representative or an heir can protect the evidence and no more: the victim alone, once of age,"
            " gives it up.",
            field="asked_by",
        )
    if not nobody_decides(kit) and (kit.decided_by != "representative" or of_age(kit)):
        raise Refused(
            "The victim decides alone about this kit: speak with the victim. If somebody else is asking,"
            " a hold keeps the evidence.",
            field="asked_by",
        )
    if not policy_of(kit, policies).who_decides.representative_protects.answer:
        raise Refused(
            "The policy of this kit does not leave this to a representative. A hold keeps the evidence.",
            field="asked_by",
        )


def _decides_alone(kit: Kit, policies: Iterable[Policy]) -> None:
    """For what endangers evidence: the victim has to be able to decide it alone. Raises Refused."""
    if nobody_decides(kit):
        raise Refused(
            "A hold for death or incapacity stands: nothing that endangers the evidence is decided now."
        )
    if of_age(kit):
        return
    alone = policy_of(kit, policies).who_decides.capable_minor_alone.answer
    if kit.decided_by == "representative" or not alone:
        raise Refused(
            "The victim was a minor at the examination and does not decide this alone before majority."
            " What protects is possible at any time: more time, a hold, a report."
        )


def early_destruction(kit: Kit) -> None:
    """Raises Refused while nothing of this kit may be destroyed before the end of its term."""
    if nobody_decides(kit):
        raise Refused("A hold for death or incapacity stands: heirs and representatives cannot destroy.")
    if not of_age(kit):
        raise Refused(
            "Evidence of a minor, or where the age is not known, is not destroyed before the term. Once the"
            " victim has come of age, two of you record that, and the wish can be confirmed."
        )


def agreed_by(order: Register, rules: WhoDecides) -> None:
    """Whether who agreed may, as the form was filled in. Raises Refused naming the field.

    Nothing of this is recorded beyond who decided: that somebody is suspected stands in no event.
    """
    agreement = order.agreement
    suspected = agreement.representative_suspected
    if suspected == "yes" and (
        agreement.decided_by != "victim" or agreement.channel != "none" or order.card != "declined"
    ):
        raise Refused(
            "A representative who is suspected, or lives with a suspect, gets no card, no notice and no"
            " knowledge. Record that the victim decides, without a channel and without a card; both can be"
            " given later, when the victim can have them safely.",
            field="agreement.representative_suspected",
        )
    if agreement.decided_by == "victim":
        if order.age_class == "minor" and not rules.capable_minor_alone.answer and suspected != "yes":
            raise Refused(
                "Under the policy of this centre a representative agrees for a minor.",
                field="agreement.decided_by",
            )
        return
    if order.age_class == "adult":
        raise Refused(
            "An adult agrees alone. If the victim cannot now, register without an age class and hold the kit"
            " for incapacity.",
            field="agreement.decided_by",
        )
    if suspected is None:
        raise Refused(
            "Say whether the representative is suspected, or lives with a suspect.",
            field="agreement.representative_suspected",
        )


# --- coming of age ------------------------------------------------------------------------------


def two_of_centre(kit: Kit, actor: Actor, second: Actor | None) -> dict[str, Any]:
    """The second signature, as a field of the event. Raises NeedsSecond, Refused."""
    needs_second(actor, second)
    if second is None or second.function not in STAFF or second.organisation != kit.centre:
        raise Refused("The second signature must be that of another person of the centre.")
    return {"with": [second.signs("second")]}


def confirm_majority(kit: Kit, order: ConfirmMajority, actor: Actor, second: Actor | None) -> Decided:
    """Two staff saw that the victim has come of age. The card stops at once: who holds it is not known.

    The safe channel counts as never tried from then on; card and channel are renewed with the victim.
    """
    permit("majority.confirm", actor, kit)
    if of_age(kit):
        raise Refused("The victim is known to be of age already.")
    if nobody_decides(kit):
        raise Refused("A hold for death or incapacity stands: lift it first, if it was placed in error.")
    signed = two_of_centre(kit, actor, second)
    confirmed = choice(kit, "majority.confirmed", actor, how=order.how, **signed)
    stopped, extra = stopping(kit, actor, "came of age: a new card is made")
    return Decided(facts=(confirmed, *stopped), extra=extra)


# --- the card -------------------------------------------------------------------------------------


def stopping(kit: Kit, actor: Actor, reason: str) -> tuple[tuple[Fact, ...], Mapping[str, Any]]:
    """The fact and the secret that stop the kit's card; neither where no card opens anything."""
    if kit.card != "issued":
        return (), {}
    return (choice(kit, "card.stopped", actor, reason=reason),), {"cards": [{"kit": kit.number}]}


def stop_card(kit: Kit, order: StopCard, actor: Actor) -> Decided:
    """The card opens nothing any more: lost, seen by somebody, no longer wanted. One person, or the victim.

    What the victim writes is not recorded, since it could tell of the assault.
    """
    permit("card.stop", actor, kit)
    reason = "asked for by card" if actor.function is Function.VICTIM else order.reason
    facts, extra = stopping(kit, actor, reason)
    if not facts:
        raise Refused("No card of this kit opens anything.")
    return Decided(facts=facts, extra=extra)


def renew_card(
    kit: Kit, order: RenewCard, actor: Actor, second: Actor | None, card: Mapping[str, str] | None
) -> Decided:
    """A new card; the old one stops at once. ``card`` holds the hashes of its code and second secret.

    Two people of whom each may do this, since who signs second sees code and secret, once.
    """
    permit("card.renew", actor, kit)
    if nobody_decides(kit):
        raise Refused("A hold for death or incapacity stands: nobody gets a card.")
    signed = two_of_centre(kit, actor, second)
    if second is not None:
        permit("card.renew", second, kit)
    if card is None:
        raise TypeError("a card is renewed only with the hashes of the new one")
    renewed = choice(kit, "card.renewed", actor, how=order.how, **signed)
    return Decided(facts=(renewed,), extra={"cards": [{"kit": kit.number, **card}]})
