"""What people and the clock decide about how long a kit is kept.

Each decision is a plain function: the kit as it was seen, what was asked, who asks, and the time where it
matters go in; facts of the choices trail come out, or Refused in plain words. How terms are reckoned stands
in ``retention.term``; which steps the axes allow, in ``custody.protocol``; who may ask, in
``custody.permission``. The rules that stand here:

1. What protects is easy: an extension and a hold take one person, or the victim's card alone.
2. What endangers evidence takes two staff of the centre: an early destruction, a withdrawal, a corrected age
   class, the end of a hold. A hold by order or by a magistrate ends only on a written order.
3. Early destruction cannot be confirmed before majority (so neither while the age is unknown) nor while a
   hold stands, and takes effect only when its cooling-off is over.
4. The clock makes work for people and nothing else: a notice is due, a term is over, a cooling-off is over.
   A term never expires before the victim had the whole notice period, also where the notice fell due late
   because this service was not running. While a hold stands, no term expires; while a hold for death or
   incapacity stands, no notice falls due.
5. A term is reckoned under the policy version that the kit keeps, whatever was adopted since.

Pure: no database, no clock.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from custody import prosecution, registering
from custody.commands import (
    AskDestruction,
    ConfirmDestruction,
    CorrectAge,
    EndLink,
    ExtendTerm,
    LiftHold,
    LinkInError,
    PlaceHold,
    Register,
    TakeBackDestruction,
    WithdrawReport,
)
from custody.decision import Decided, Seen
from custody.event import write_moment
from custody.handling import needs_second
from custody.kit import Kit
from custody.kit import Policy as PolicyVersion
from custody.kit import Term as KitTerm
from custody.people import CLOCK, STAFF, Actor, Function
from custody.permission import permit
from custody.prosecution import choice
from custody.protocol import Legal, Retention
from custody.refusal import Refused
from custody.registering import entered, term_fields
from retention.notice import NotNow
from retention.period import RetentionDataError
from retention.policy import AgeClass, Policy, in_force
from retention.reckoning import as_version, new_term, policy_of, reckon, term_of
from retention.term import (
    after_withdrawal,
    agreed_term,
    brought_forward_to,
    cooling_off_until,
    corrected,
    extended,
    local_date,
)

# Which grounds of a hold a person may give; the ground ``order`` comes with a judge's order alone.
GROUNDS: Final[Mapping[Function, frozenset[str]]] = {
    Function.VICTIM: frozenset({"safety"}),
    Function.MAGISTRATE: frozenset({"magistrate"}),
    Function.NURSE: frozenset({"centre", "suspected_pressure", "death", "incapacity", "safety"}),
    Function.COORDINATOR: frozenset({"centre", "suspected_pressure", "death", "incapacity", "safety"}),
}
BY_WRITTEN_ORDER: Final = frozenset({"order", "magistrate"})


# --- two people -------------------------------------------------------------------------------


def _two_staff(kit: Kit, actor: Actor, second: Actor | None) -> dict[str, Any]:
    """The second signature, as a field of the event. Raises NeedsSecond, Refused."""
    needs_second(actor, second)
    if second is None or second.function not in STAFF or second.organisation != kit.centre:
        raise Refused("The second signature must be that of another person of the centre.")
    return {"with": [second.signs("second")]}


# --- registering ------------------------------------------------------------------------------


def register(
    seen: Seen,
    order: Register,
    actor: Actor,
    *,
    number: str,
    policies: Iterable[Policy],
    item_types: Mapping[str, Any],
    card: Mapping[str, str] | None,
) -> Decided:
    """Register a kit under the policy in force at the centre on the day of the examination.

    Unknown age gets the longest term (every policy keeps that rule). Raises Refused.
    """
    permit("kit.register", actor)
    if order.examined_at.tzinfo is None or order.examined_at > seen.at:
        raise Refused("The examination cannot lie in the future.", field="examined_at")
    centre = actor.organisation or ""
    try:
        # Which day it was is a question of the zone, and the zone one of the policy.
        known = tuple(policies)
        first = in_force(known, centre, order.examined_at.date())
        policy = in_force(known, centre, local_date(first, order.examined_at))
    except RetentionDataError as fault:
        raise Refused(
            "No term can be agreed: {why}.", field="examined_at", why=str(fault).rstrip(".")
        ) from fault
    term = reckon(lambda: agreed_term(policy, AgeClass(order.age_class), order.examined_at), "examined_at")
    return registering.register(
        seen,
        order,
        actor,
        number=number,
        term=term,
        policy=as_version(policy),
        item_types=item_types,
        card=card,
    )


# --- the term -----------------------------------------------------------------------------------


def extend(kit: Kit, order: ExtendTerm, actor: Actor, policies: Iterable[Policy], at: datetime) -> Decided:
    """The victim asks to keep the evidence longer. A request for early destruction falls with it."""
    permit("term.extend", actor, kit)
    policy = policy_of(kit, policies)
    term = reckon(lambda: extended(term_of(kit), policy, local_date(policy, at)))
    fields = {"how": order.how, **new_term(term, policy), **entered(order.paper, actor)}
    return Decided(facts=(choice(kit, "term.extended", actor, **fields),))


def _again(kit: Kit, policies: Iterable[Policy], at: datetime) -> tuple[KitTerm, PolicyVersion]:
    """The term that runs again after a report or link ended: at least the notice period is left of it."""
    policy = policy_of(kit, policies)
    return reckon(lambda: after_withdrawal(term_of(kit), policy, at)), as_version(policy)


def withdraw(
    kit: Kit,
    order: WithdrawReport,
    actor: Actor,
    second: Actor | None,
    policies: Iterable[Policy],
    at: datetime,
) -> Decided:
    """The victim withdraws a declared report before the link; the term runs again."""
    permit("report.withdraw", actor, kit)
    return prosecution.withdraw(kit, order, actor, second, *_again(kit, policies, at))


def link_in_error(
    kit: Kit, order: LinkInError, actor: Actor, second: Actor | None, policies: Iterable[Policy], at: datetime
) -> Decided:
    """The wrong kit was linked. Back to the declared report; after an order, the term runs again."""
    permit("link.error", actor, kit)
    return prosecution.link_in_error(kit, order, actor, second, *_again(kit, policies, at))


def end_link(
    kit: Kit, order: EndLink, actor: Actor, second: Actor | None, policies: Iterable[Policy], at: datetime
) -> Decided:
    """The prosecutor's office ended the link in writing; the term runs again."""
    permit("link.end", actor, kit)
    return prosecution.end_link(kit, order, actor, second, *_again(kit, policies, at))


def correct_age(
    kit: Kit, order: CorrectAge, actor: Actor, second: Actor | None, policies: Iterable[Policy], at: datetime
) -> Decided:
    """The age class was wrong: the term is set again, with a fresh notice period where it gets shorter.

    A request for early destruction falls unless the victim is of age.
    """
    permit("term.correct", actor, kit)
    if order.age_class == kit.age_class:
        raise Refused("This age class is on record already.", field="age_class")
    policy = policy_of(kit, policies)
    was, now = AgeClass(kit.age_class), AgeClass(order.age_class)
    term = reckon(lambda: corrected(term_of(kit), policy, was=was, now=now, at=at))
    fields = {"age_class": order.age_class, "reason": order.reason, **new_term(term, policy)}
    signed = _two_staff(kit, actor, second)
    return Decided(facts=(choice(kit, "term.corrected", actor, **fields, **signed),))


# --- holds --------------------------------------------------------------------------------------


def place_hold(kit: Kit, order: PlaceHold, actor: Actor, hold: str) -> Decided:
    """Hold the kit: nothing may be destroyed, and an approved disposal falls back to *expired*.

    The victim freezes the own kit on the ground *safety*; what the victim writes as reason is not recorded,
    since it could tell of the assault. A magistrate holds on the ground *magistrate*, the centre on its own.
    ``hold`` is the new hold's name: 128 random bits in hexadecimal.
    """
    permit("hold.place", actor, kit)
    if order.ground not in GROUNDS.get(actor.function, frozenset()):
        raise Refused("Your function cannot place a hold on this ground.", field="ground")
    if order.ground == "safety" and any(h.ground == "safety" for h in kit.holds.values()):
        raise Refused("The kit is held already, for safety: nothing can be destroyed.", field="ground")
    stated: dict[str, str] = {"id": hold, "ground": order.ground}
    if order.review_on is not None:
        stated["review_on"] = order.review_on.isoformat()
    reason = {} if actor.function is Function.VICTIM else {"reason": order.reason}
    placed = choice(kit, "hold.placed", actor, hold=stated, **reason, **entered(order.paper, actor))
    return Decided(facts=(placed,))


def lift_hold(kit: Kit, order: LiftHold, actor: Actor, second: Actor | None) -> Decided:
    """Lift one hold: two people; for a hold by a judge or magistrate also the digest of the written order."""
    permit("hold.lift", actor, kit)
    if order.hold not in kit.holds:
        raise Refused("There is no such hold on this kit.", field="hold")
    ground = kit.holds[order.hold].ground
    if ground in BY_WRITTEN_ORDER and order.order is None:
        raise Refused(
            "A hold by a judge or magistrate is lifted only by a written order: give its digest.",
            field="order",
        )
    fields: dict[str, Any] = {"hold": {"id": order.hold, "ground": ground}, "reason": order.reason}
    if order.order is not None:
        fields["documents"] = [{"kind": "written_order", "digest": order.order}]
    fields |= _two_staff(kit, actor, second)
    return Decided(facts=(choice(kit, "hold.lifted", actor, **fields),))


# --- early destruction --------------------------------------------------------------------


def ask_destruction(kit: Kit, order: AskDestruction, actor: Actor) -> Decided:
    """The victim asks for destruction before the end of the term. Nothing happens until two staff confirm."""
    permit("destruction.ask", actor, kit)
    if kit.destruction is not None:
        raise Refused("The victim has asked for destruction already.")
    return Decided(facts=(choice(kit, "destruction.requested", actor, how=order.how),))


def confirm_destruction(
    kit: Kit,
    order: ConfirmDestruction,
    actor: Actor,
    second: Actor | None,
    policies: Iterable[Policy],
    at: datetime,
) -> Decided:
    """Two staff confirmed identity and free will; the cooling-off begins, and can be taken back till its end.

    Not before majority, so not while the age is unknown either; not while a hold stands.
    """
    permit("destruction.confirm", actor, kit)
    if kit.destruction is None:
        raise Refused("The victim has not asked for destruction.")
    if kit.destruction.until is not None:
        raise Refused("This request is confirmed already; the cooling-off is running.")
    if kit.age_class != AgeClass.ADULT:
        raise Refused("Evidence of a minor, or where the age is not known, is not destroyed before the term.")
    if kit.holds:
        raise Refused("The kit is held: an early destruction cannot be confirmed until the hold is lifted.")
    until = cooling_off_until(policy_of(kit, policies), at)
    signed = _two_staff(kit, actor, second)
    confirmed = choice(kit, "destruction.confirmed", actor, until=write_moment(until), **signed)
    return Decided(facts=(confirmed,))


def take_back_destruction(kit: Kit, order: TakeBackDestruction, actor: Actor) -> Decided:
    """The victim takes the request back; nobody needs to agree."""
    permit("destruction.take_back", actor, kit)
    if kit.destruction is None:
        raise Refused(
            "No request for destruction stands. To keep the evidence longer, ask to extend the term."
        )
    return Decided(facts=(choice(kit, "destruction.taken_back", actor, how=order.how),))


# --- the clock ------------------------------------------------------------------------------------


def cool_off(kit: Kit, policies: Iterable[Policy], at: datetime) -> Decided:
    """The cooling-off of a confirmed early destruction is over: the term ends with it. Raises NotNow."""
    if kit.retention not in (Retention.RUNNING, Retention.NOTICE_DUE) or kit.legal is not Legal.UNREPORTED:
        raise NotNow("The term does not run.")
    until = kit.destruction.until if kit.destruction else None
    if until is None or at < until:
        raise NotNow("No cooling-off is over.")
    if kit.holds or kit.age_class != AgeClass.ADULT:
        raise NotNow("The kit is held, or the victim is not known to be of age.")
    policy = policy_of(kit, policies)
    term = reckon(lambda: brought_forward_to(term_of(kit), policy, until))
    return Decided(facts=(choice(kit, "destruction.cooled_off", CLOCK, term=term_fields(term)),))
