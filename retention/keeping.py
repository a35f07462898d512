"""What people and the clock decide about how long a kit is kept.

Each decision is a plain function: the kit as it was seen, what was asked, who asks, and the time where it
matters go in; facts of the choices trail come out, or Refused in plain words. How terms are reckoned stands
in ``retention.term``; which steps the axes allow, in ``custody.protocol``; who may ask, in
``custody.permission``. The rules that stand here:

1. What protects is easy: an extension takes one person, or the victim's card alone. So does a hold
   (``retention.holds``). Who may ask for what is ``retention.deciding``'s to say.
2. What endangers evidence takes two staff of the centre: an early destruction, a withdrawal, a corrected age
   class.
3. Early destruction cannot be confirmed before majority (so neither while the age is unknown) nor while a
   hold stands, and takes effect only when its cooling-off is over. A hold for suspected pressure or safety
   ends the confirmation (``retention.holds``): the wish is asked about anew. It can be taken back until the
   disposal, also once the cooling-off is over. Whatever ends a wish that had ended the term - taken back,
   more time, a report, such a hold - gives the term from before the wish back.
4. The clock makes work for people and nothing else: a notice is due, a term is over, a cooling-off is over.
   A term never expires before the victim had the whole notice period, also where the notice fell due late
   because this service was not running. While a hold stands, no term expires; while a hold for death or
   incapacity stands, no notice falls due.
5. A term is reckoned under the policy version that the kit keeps, whatever was adopted since.

Pure: no database, no clock.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final

from custody import prosecution, registering
from custody.commands import (
    AskDestruction,
    ConfirmDestruction,
    CorrectAge,
    DeclareReport,
    EndLink,
    EnterOrder,
    ExtendTerm,
    LinkInError,
    Register,
    TakeBackDestruction,
    WithdrawReport,
)
from custody.decision import Decided, Seen
from custody.directory import Directory
from custody.event import write_moment
from custody.kit import ENDED_NOT_DISPOSED, Kit
from custody.kit import Policy as PolicyVersion
from custody.kit import Term as KitTerm
from custody.people import CLOCK, Actor
from custody.permission import permit
from custody.prosecution import choice
from custody.protocol import Legal, Retention
from custody.refusal import Refused
from custody.registering import entered, occurred, term_fields
from retention.adopting import longer_under
from retention.commands import CloseEmpty, MoveTerm
from retention.deciding import agreed_by, decided_by, early_destruction, of_age, two_of_centre
from retention.holds import review_on
from retention.notice import NotNow
from retention.period import RetentionDataError
from retention.policy import AgeClass, Policy, in_force
from retention.reckoning import (
    as_kit_term,
    as_version,
    new_term,
    policy_of,
    reckon,
    standing_term,
    term_of,
)
from retention.term import (
    after_withdrawal,
    agreed_term,
    brought_forward_to,
    cooling_off_until,
    corrected,
    extended,
    local_date,
)

MOST_MOVED: Final = 50
DAYS_WITHOUT_PAPER: Final = 7
"""So long after the examination a kit can be registered without a record on paper."""
FORM_BEFORE: Final = timedelta(hours=12)
"""So long before the examination its form may have been begun: late in the evening, for one in the night."""
NOBODY_ELSE: Final = Directory()


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

    Unknown age gets the longest term (every policy keeps that rule). An examination of long ago comes with
    the record that was made on paper then: a mistyped year would end a term that has just begun. In any case
    the whole notice period is left of the term. Raises Refused.
    """
    permit("kit.register", actor)
    if order.examined_at.tzinfo is None or order.examined_at > seen.at:
        raise Refused("The examination cannot lie in the future.", field="examined_at")
    centre = actor.organisation or ""
    try:
        # Which day it was is a question of the zone, and the zone one of the policy.
        known = tuple(policies)
        first = in_force(known, centre, order.examined_at.date())
        examined_on = local_date(first, order.examined_at)
        policy = in_force(known, centre, examined_on)
    except RetentionDataError as fault:
        raise Refused(
            "No term can be agreed: {why}.", field="examined_at", why=str(fault).rstrip(".")
        ) from fault
    occurred(order.paper, seen.at)
    _on_paper_if_long_ago(order, policy, examined_on, seen.at)
    agreed_by(order, policy.who_decides)
    agreed = reckon(lambda: agreed_term(policy, AgeClass(order.age_class), order.examined_at), "examined_at")
    term = reckon(lambda: after_withdrawal(agreed, policy, seen.at), "examined_at")
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


def _on_paper_if_long_ago(order: Register, policy: Policy, examined_on: date, at: datetime) -> None:
    """Raises Refused for an examination of long ago without its record, and for a record older than it."""
    if order.paper is None:
        if (local_date(policy, at) - examined_on).days > DAYS_WITHOUT_PAPER:
            raise Refused(
                "An examination more than {days} days ago is registered with the record that was made on"
                " paper then. Look at the day and the year: the term begins with that day.",
                field="examined_at",
                days=str(DAYS_WITHOUT_PAPER),
            )
        return
    occurred_at = order.paper.occurred_at
    room = order.examined_at - FORM_BEFORE
    # Far before it no zone is asked: a day of the year 1 can lie outside its calendar.
    far = occurred_at < room - timedelta(days=2)
    if far or (occurred_at < room and local_date(policy, occurred_at) < examined_on):
        raise Refused(
            "The record on paper is from before the day of the examination. Look at both days.",
            field="paper.occurred_at",
        )


# --- the term -----------------------------------------------------------------------------------


def extend(kit: Kit, order: ExtendTerm, actor: Actor, policies: Iterable[Policy], at: datetime) -> Decided:
    """The victim asks to keep the evidence longer. A request for early destruction falls with it: where the
    term had ended with it, the extension is counted from the term before.

    How often, by how long, until when and up to which longest term is the policy's to say; a refusal names
    what keeps the evidence instead.
    """
    permit("term.extend", actor, kit)
    known = tuple(policies)
    policy = policy_of(kit, known)
    asked = decided_by(kit, "term.extend", order.asked_by, actor, known)
    stands = standing_term(kit, policy, at)
    past = kit.retention in ENDED_NOT_DISPOSED and not kit.ended_by_wish
    try:
        term = as_kit_term(
            extended(stands, policy, local_date(policy, at), times=kit.extensions, expired=past)
        )
    except RetentionDataError as fault:
        raise Refused(
            "The term cannot be extended: {why}. A hold keeps the evidence for now, and a report keeps it.",
            why=str(fault).rstrip("."),
        ) from fault
    if term.end <= stands.end:
        raise Refused(
            "An extension asked for today keeps nothing longer: the evidence is kept until {end} already.",
            end=stands.end,
        )
    fields = {"how": order.how, **asked, **new_term(term, policy), **entered(order.paper, actor)}
    return Decided(facts=(choice(kit, "term.extended", actor, **fields),))


def move_term(seen: Seen, order: MoveTerm, actor: Actor, policies: Iterable[Policy]) -> Decided:
    """Kits go to the newest version of their policy, each because that keeps it longer; never otherwise.

    One person, since nothing is brought forward: the rules and the database refuse an earlier end.
    """
    if not 1 <= len(order.kits) <= MOST_MOVED or len(set(order.kits)) != len(order.kits):
        raise Refused("Name 1 to {most} kits, each once.", field="kits", most=str(MOST_MOVED))
    known = tuple(policies)
    facts = []
    for number in order.kits:
        kit = seen.kit(number)
        permit("term.move", actor, kit)
        longer = longer_under(kit, known, seen.at)
        if longer is None:
            raise Refused(
                "No newer version of its policy keeps the kit {kit} longer; it stays under its own.",
                field="kits",
                kit=number,
            )
        policy, term = longer
        moved = new_term(as_kit_term(term), policy)
        facts.append(choice(kit, "term.moved", actor, how=order.how, reason=order.reason, **moved))
    return Decided(facts=tuple(facts))


def declare(kit: Kit, order: DeclareReport, actor: Actor, policies: Iterable[Policy]) -> Decided:
    """The victim decides to report, or who may for the victim. No term runs and nothing can be destroyed."""
    permit("report.declare", actor, kit)
    decided_by(kit, "report.declare", order.asked_by, actor, policies)
    return prosecution.declare(kit, order, actor)


def enter_order(
    kit: Kit, order: EnterOrder, actor: Actor, hold: str, policies: Iterable[Policy], at: datetime
) -> Decided:
    """A judge's order arrives: the kit is held at once, and the hold has a day of review as every other."""
    permit("order.enter", actor, kit)
    again = review_on(kit, None, policies, at)
    return prosecution.enter_order(kit, order, actor, hold, at, review_on=again)


def _again(kit: Kit, policies: Iterable[Policy], at: datetime) -> tuple[KitTerm, PolicyVersion]:
    """The term that runs again after a report or link ended: at least the notice period is left of it.

    A report ends the wish for destruction: where that had ended the term, the term before it runs again.
    """
    policy = policy_of(kit, policies)
    stands = standing_term(kit, policy, at)
    return reckon(lambda: after_withdrawal(stands, policy, at)), as_version(policy)


def withdraw(
    kit: Kit,
    order: WithdrawReport,
    actor: Actor,
    second: Actor | None,
    policies: Iterable[Policy],
    at: datetime,
    directory: Directory = NOBODY_ELSE,
) -> Decided:
    """The victim withdraws a declared report before the link; the term runs again.

    Only an offer to justice is cancelled, which ``directory`` tells; one within the house goes on.
    """
    permit("report.withdraw", actor, kit)
    known = tuple(policies)
    decided_by(kit, "report.withdraw", order.asked_by, actor, known)
    return prosecution.withdraw(kit, order, actor, second, *_again(kit, known, at), directory=directory)


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
    stands = kit.term_before_wish or term_of(kit)
    term = reckon(lambda: corrected(stands, policy, was=was, now=now, at=at, extensions=kit.extensions))
    fields = {"age_class": order.age_class, "reason": order.reason, **new_term(term, policy)}
    signed = two_of_centre(kit, actor, second)
    return Decided(facts=(choice(kit, "term.corrected", actor, **fields, **signed),))


def ask_destruction(kit: Kit, order: AskDestruction, actor: Actor, policies: Iterable[Policy]) -> Decided:
    """The victim asks for destruction before the end of the term. Nothing happens until two staff confirm."""
    permit("destruction.ask", actor, kit)
    if kit.destruction is not None:
        raise Refused("The victim has asked for destruction already.")
    asked = decided_by(kit, "destruction.ask", order.asked_by, actor, policies)
    return Decided(facts=(choice(kit, "destruction.requested", actor, how=order.how, **asked),))


def confirm_destruction(
    kit: Kit,
    order: ConfirmDestruction,
    actor: Actor,
    second: Actor | None,
    policies: Iterable[Policy],
    at: datetime,
) -> Decided:
    """Two staff confirmed identity and free will, each apart; the cooling-off begins. The wish can be
    taken back until the disposal.

    Not before majority, so not while the age is unknown either; not while a hold stands: suspected pressure
    is one.
    """
    permit("destruction.confirm", actor, kit)
    if kit.destruction is None:
        raise Refused("The victim has not asked for destruction.")
    if kit.destruction.until is not None:
        raise Refused("This request is confirmed already; the cooling-off is running.")
    for name, answer in (("identity", order.identity), ("free_will", order.free_will)):
        if answer != "confirmed":
            raise Refused(
                "A destruction is confirmed only once identity and free will are both certain. If somebody"
                " may be under pressure, hold the kit on that ground; the request stays as it is.",
                field=name,
            )
    early_destruction(kit)
    if kit.holds:
        raise Refused("The kit is held: an early destruction cannot be confirmed until the hold is lifted.")
    known = tuple(policies)
    asked = decided_by(kit, "destruction.confirm", order.asked_by, actor, known)
    until = cooling_off_until(policy_of(kit, known), at)
    signed = two_of_centre(kit, actor, second)
    confirmed = choice(kit, "destruction.confirmed", actor, until=write_moment(until), **asked, **signed)
    return Decided(facts=(confirmed,))


def take_back_destruction(
    kit: Kit, order: TakeBackDestruction, actor: Actor, policies: Iterable[Policy], at: datetime
) -> Decided:
    """The victim takes the request back, until the disposal; nobody needs to agree.

    Where the cooling-off is over and the term ended with it, the term is given back in the same moment: it
    runs again to the end that it had, and at least for the notice period. That stands in the trail as a
    longer term, and is none of the victim's extensions.
    """
    permit("destruction.take_back", actor, kit)
    known = tuple(policies)
    if kit.destruction is None and not kit.ended_by_wish:
        raise Refused(
            "No request for destruction stands. To keep the evidence longer, ask to extend the term."
        )
    asked = decided_by(kit, "destruction.take_back", order.asked_by, actor, known)
    facts = [choice(kit, "destruction.taken_back", actor, how=order.how, **asked)]
    if kit.ended_by_wish:
        policy = policy_of(kit, known)
        term = new_term(standing_term(kit, policy, at), policy)
        facts.append(choice(kit, "term.extended", actor, how="taken_back", **term, **asked))
    return Decided(facts=tuple(facts))


# --- nothing is left --------------------------------------------------------------------------------


def close_empty(
    kit: Kit, order: CloseEmpty, actor: Actor, second: Actor | None, *, unanswered_requests: int
) -> Decided:
    """The term is over and nothing is left to destroy: what was there went back, ended, or is lost for good.

    Two staff. What protects a kit from a disposal protects it from this too.
    """
    permit("disposal.close_empty", actor, kit)
    if kit.remaining:
        raise Refused(
            "Packages of this kit are still there, or still looked for. Dispose of what is there; for what"
            " cannot be found, two people end the search first."
        )
    if kit.holds or (kit.order is not None):
        raise Refused("The kit is held, or an order stands: it stays open until that is ended.")
    if unanswered_requests:
        raise Refused("A request of the police to this centre is not answered yet. Answer it first.")
    signed = two_of_centre(kit, actor, second)
    closed = choice(kit, "disposal.nothing_left", actor, reason=order.reason, **signed)
    return Decided(facts=(closed,))


# --- the clock ------------------------------------------------------------------------------------


def cool_off(kit: Kit, policies: Iterable[Policy], at: datetime) -> Decided:
    """The cooling-off of a confirmed early destruction is over: the term ends with it. Raises NotNow."""
    if kit.retention not in (Retention.RUNNING, Retention.NOTICE_DUE) or kit.legal is not Legal.UNREPORTED:
        raise NotNow("The term does not run.")
    until = kit.destruction.until if kit.destruction else None
    if until is None or at < until:
        raise NotNow("No cooling-off is over.")
    if kit.holds or not of_age(kit):
        raise NotNow("The kit is held, or the victim is not known to be of age.")
    policy = policy_of(kit, policies)
    term = reckon(lambda: brought_forward_to(term_of(kit), policy, until))
    return Decided(facts=(choice(kit, "destruction.cooled_off", CLOCK, term=term_fields(term)),))
