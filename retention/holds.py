"""Holds: who keeps a kit from being destroyed, why, and when somebody looks at it again.

1. A hold takes one person, or the victim's card alone. It always has a day of review: a given one, or as the
   policy says; never a later one than that.
2. Its end takes two staff of the centre; a hold by order or by a magistrate ends only on a written order.
3. A magistrate reviews the own hold; the coordinator can record that the office did.
4. A hold for death or incapacity stops the card in the same moment, and the notices.
5. A hold for suspected pressure or safety ends the confirmation of an early destruction: the wish counts as
   asked, and is confirmed anew by two people, with a new cooling-off, once the hold is lifted. Where the term
   had ended with the wish already, the term from before it runs again.

Pure: no database, no clock.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any, Final

from custody.commands import LiftHold, PlaceHold
from custody.decision import Decided
from custody.event import Fact
from custody.kit import Hold, Kit
from custody.people import Actor, Function
from custody.permission import permit
from custody.prosecution import choice
from custody.protocol import Legal, Retention
from custody.refusal import Refused
from custody.registering import entered
from retention.commands import ReviewHold
from retention.deciding import NOBODY_DECIDES, decided_by, stopping, two_of_centre
from retention.period import end_of
from retention.policy import Policy
from retention.reckoning import new_term, policy_of, standing_term
from retention.sourced import UNSAID_HOLD_REVIEW
from retention.term import local_date

# Which grounds of a hold a person may give; the ground ``order`` comes with a judge's order alone.
GROUNDS: Final[Mapping[Function, frozenset[str]]] = {
    Function.VICTIM: frozenset({"safety"}),
    Function.MAGISTRATE: frozenset({"magistrate"}),
    Function.NURSE: frozenset({"centre", "suspected_pressure", "death", "incapacity", "safety"}),
    Function.COORDINATOR: frozenset({"centre", "suspected_pressure", "death", "incapacity", "safety"}),
}
DOUBTS: Final = frozenset({"suspected_pressure", "safety"})
"""Grounds that make it doubtful whether a confirmed wish for destruction was the victim's own."""
BY_WRITTEN_ORDER: Final = frozenset({"order", "magistrate"})


def review_on(kit: Kit, asked: date | None, policies: Iterable[Policy], at: datetime) -> date:
    """The local day on which a hold is looked at again. Raises Refused for a day past, or too late.

    A kit whose policy is not known here is held all the same, and looked at again in three months.
    """
    known = {(policy.id, policy.version): policy for policy in policies}
    policy = known.get((kit.policy.id, kit.policy.version)) if kit.policy else None
    today = local_date(policy, at) if policy else at.date()
    latest = end_of(today, (policy.hold_review if policy else UNSAID_HOLD_REVIEW).period)
    if asked is not None and asked <= today:
        raise Refused("The day of the review lies in the future.", field="review_on")
    if asked is not None and asked > latest:
        raise Refused(
            "A hold is looked at again by {latest} at the latest.",
            field="review_on",
            latest=latest,
        )
    return asked or latest


def place_hold(
    kit: Kit, order: PlaceHold, actor: Actor, hold: str, policies: Iterable[Policy], at: datetime
) -> Decided:
    """Hold the kit: nothing may be destroyed, and an approved disposal falls back to *expired*.

    The victim freezes the own kit on the ground *safety*; what the victim writes as reason is not recorded,
    since it could tell of the assault. A magistrate holds on the ground *magistrate*, the centre on its own.
    For death or incapacity the card stops too. ``hold`` is the new hold's name: 128 random bits in
    hexadecimal.
    """
    permit("hold.place", actor, kit)
    if order.ground not in GROUNDS.get(actor.function, frozenset()):
        raise Refused("Your function cannot place a hold on this ground.", field="ground")
    if order.ground == "safety" and any(h.ground == "safety" for h in kit.holds.values()):
        raise Refused("The kit is held already, for safety: nothing can be destroyed.", field="ground")
    known = tuple(policies)
    again = review_on(kit, order.review_on, known, at)
    stated = {"id": hold, "ground": order.ground, "review_on": again.isoformat()}
    fields: dict[str, Any] = {} if actor.function is Function.VICTIM else {"reason": order.reason}
    if order.ground == "safety":  # the other grounds nobody asked for
        fields |= decided_by(kit, "hold.place", order.asked_by, actor, known)
    placed = choice(kit, "hold.placed", actor, hold=stated, **fields, **entered(order.paper, actor))
    if order.ground not in NOBODY_DECIDES:
        return Decided(facts=(placed, *_unconfirmed(kit, order.ground, actor, known, at)))
    stopped, extra = stopping(kit, actor, f"hold for {order.ground}")
    return Decided(facts=(placed, *stopped), extra=extra)


def _unconfirmed(
    kit: Kit, ground: str, actor: Actor, policies: Iterable[Policy], at: datetime
) -> tuple[Fact, ...]:
    """The wish for destruction as it was before its confirmation, where this hold makes that doubtful.

    Where the cooling-off is over already and the term ended with it, the term from before the wish runs
    again. Without the policy nothing can be reckoned: the hold alone keeps the kit.
    """
    confirmed = kit.destruction is not None and kit.destruction.until is not None
    cools = kit.retention in (Retention.RUNNING, Retention.NOTICE_DUE) and kit.legal is Legal.UNREPORTED
    if ground not in DOUBTS or not (kit.ended_by_wish or (confirmed and cools)):
        return ()
    why = "the hold ends the confirmation; the wish is asked about anew"
    anew = choice(kit, "destruction.requested", actor, how="hold", reason=why)
    if not kit.ended_by_wish:
        return (anew,)
    try:
        policy = policy_of(kit, policies)
        term = new_term(standing_term(kit, policy, at), policy)
    except Refused:
        return ()
    return choice(kit, "term.extended", actor, how="hold", reason=why, **term), anew


def _standing(kit: Kit, hold: str) -> Hold:
    if hold not in kit.holds:
        raise Refused("There is no such hold on this kit.", field="hold")
    return kit.holds[hold]


def lift_hold(kit: Kit, order: LiftHold, actor: Actor, second: Actor | None) -> Decided:
    """Lift one hold: two people; for a hold by a judge or magistrate also the digest of the written order."""
    permit("hold.lift", actor, kit)
    ground = _standing(kit, order.hold).ground
    if ground in BY_WRITTEN_ORDER and order.order is None:
        raise Refused(
            "A hold by a judge or magistrate is lifted only by a written order: give its digest.",
            field="order",
        )
    fields: dict[str, Any] = {"hold": {"id": order.hold, "ground": ground}, "reason": order.reason}
    if order.order is not None:
        fields["documents"] = [{"kind": "written_order", "digest": order.order}]
    fields |= two_of_centre(kit, actor, second)
    return Decided(facts=(choice(kit, "hold.lifted", actor, **fields),))


def review_hold(
    kit: Kit, order: ReviewHold, actor: Actor, policies: Iterable[Policy], at: datetime
) -> Decided:
    """Somebody looked at a hold again, and it stays, with the reason; and when it is looked at next."""
    permit("hold.review", actor, kit)
    hold = _standing(kit, order.hold)
    if actor.function is Function.MAGISTRATE and hold.ground != "magistrate":
        raise Refused(
            "You review the holds of magistrates; this one is for {who} to review.",
            field="hold",
            who="the coordinator of the centre",
        )
    again = review_on(kit, order.review_on, policies, at)
    stated = {"id": hold.id, "ground": hold.ground, "review_on": again.isoformat()}
    reviewed = choice(kit, "hold.reviewed", actor, hold=stated, reason=order.reason)
    return Decided(facts=(reviewed,))


def unreviewed(kit: Kit, at: datetime) -> tuple[Hold, ...]:
    """The holds that wait for somebody to look at them again, the longest standing first.

    Due from the day of review on (its first instant in UTC); a hold without such a day, from the beginning.
    """
    due = [h for h in kit.holds.values() if h.review_on is None or h.review_on <= at.date()]
    return tuple(sorted(due, key=lambda h: (h.placed_at or at, h.id)))
