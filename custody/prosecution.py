"""From the victim's decision (or a judge's order) to the prosecution file, and the ways back."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final

from custody.commands import (
    AnswerRequest,
    ConfirmOrder,
    DeclareReport,
    DiscloseChoices,
    EndLink,
    EnterOrder,
    Link,
    LinkInError,
    MoveLink,
    ReleaseInError,
    Request,
    WishWithdrawal,
    WithdrawReport,
)
from custody.decision import Decided
from custody.directory import Directory
from custody.event import Fact
from custody.handling import fact, needs_second
from custody.handover import JUSTICE, cancel_offers
from custody.kit import Handover, Kit, Policy, Term
from custody.people import Actor, OrganisationKind
from custody.permission import Relation, permit, relations
from custody.protocol import Legal
from custody.refusal import NotSeen, Refused
from custody.registering import entered, policy_fields, term_fields

EARLIEST_DAY: Final = timedelta(hours=14)
"""How far the calendar of any place on earth is ahead of UTC: a date later than that is still to come."""


def choice(kit: Kit, type_: str, actor: Actor, **fields: Any) -> Fact:
    """A fact of the choices trail."""
    occurred_at = fields.pop("occurred_at", None)
    return Fact(
        type=type_,
        subject=f"choices:{kit.number}",
        who=actor.who(),
        occurred_at=occurred_at,
        fields=fields,
    )


def _signed(second: Actor | None) -> dict[str, Any]:
    return {} if second is None else {"with": [second.signs("second")]}


def declare(kit: Kit, order: DeclareReport, actor: Actor) -> Decided:
    """The victim decides to report. From now on no term runs and nothing can be destroyed."""
    permit("report.declare", actor, kit)
    fields = {"how": order.how, "decided_by": order.asked_by, **entered(order.paper, actor)}
    declared = choice(kit, "report.declared", actor, **fields)
    return Decided(facts=(declared,))


def withdraw(
    kit: Kit,
    order: WithdrawReport,
    actor: Actor,
    second: Actor | None,
    term: Term,
    policy: Policy,
    *,
    directory: Directory,
) -> Decided:
    """The victim withdraws before the link; two staff confirmed identity and free will.

    What is offered to justice stays here; a hand-over within the house, or to a laboratory, goes on.
    """
    permit("report.withdraw", actor, kit)
    if kit.legal in (Legal.LINKED, Legal.RELEASED):
        raise Refused(
            "The kit is linked: record the wish, and the prosecutor's office decides about the link."
        )
    needs_second(actor, second)
    fields: dict[str, Any] = {"how": order.how, "decided_by": order.asked_by}
    fields |= {"term": term_fields(term), "policy": policy_fields(policy)}
    withdrawn = choice(kit, "report.withdrawn", actor, **fields, **_signed(second))
    offers = cancel_offers(kit, actor, [h for h in kit.handovers.values() if _leaves(kit, h, directory)])
    return Decided(facts=(*offers, withdrawn))


def _leaves(kit: Kit, offer: Handover, directory: Directory) -> bool:
    """Whether an offer goes to justice, or to somebody who is not known here."""
    if offer.receiver.organisation == kit.centre:
        return False
    receiver = directory.organisations.get(offer.receiver.organisation or "")
    return receiver is None or receiver.kind in JUSTICE


def wish_withdrawal(kit: Kit, order: WishWithdrawal, actor: Actor) -> Decided:
    """After the link the wish is recorded; only the prosecutor's office ends the link."""
    permit("withdrawal.wish", actor, kit)
    return Decided(facts=(choice(kit, "withdrawal.wished", actor, how=order.how),))


def enter_order(
    kit: Kit,
    order: EnterOrder,
    actor: Actor,
    hold: str,
    at: datetime,
    *,
    review_on: date | None = None,
) -> Decided:
    """A judge's order arrives: entered with its digest, and the kit is held at once, until ``review_on`` or
    until somebody looked at it again."""
    permit("order.enter", actor, kit)
    if kit.order is not None:
        raise Refused("An order is entered for this kit already.")
    stated = _stated(order, at)
    again = {"review_on": review_on.isoformat()} if review_on is not None else {}
    return Decided(
        facts=(
            fact(kit, "order.entered", actor, order=stated),
            choice(kit, "hold.placed", actor, hold={"id": hold, "ground": "order", **again}),
        )
    )


def _stated(order: EnterOrder | DiscloseChoices, at: datetime) -> dict[str, str]:
    """How an event names an order. Raises Refused for a date that is still to come."""
    if order.dated > (at + EARLIEST_DAY).date():
        raise Refused("The order bears a date that is still to come. Compare it.", field="dated")
    return {"digest": order.digest, "authority": order.authority, "dated": order.dated.isoformat()}


def disclose(kit: Kit, order: DiscloseChoices, actor: Actor, second: Actor | None, at: datetime) -> Decided:
    """On a judge's order, which two people have seen, the choices trail may leave, up to this event."""
    permit("choices.disclose", actor, kit)
    stated = _stated(order, at)
    needs_second(actor, second)
    return Decided(facts=(choice(kit, "choices.disclosed", actor, order=stated, **_signed(second)),))


def confirm_order(kit: Kit, order: ConfirmOrder, actor: Actor, entered_by: Actor) -> Decided:
    """A second person compares the order with what was entered, by its digest.

    ``entered_by`` is the person who entered it, as that event names them.
    """
    permit("order.confirm", actor, kit)
    if kit.order is None or kit.order.confirmed:
        raise Refused("No order waits for a second person here.")
    if kit.order.digest != order.digest:
        raise Refused("This is not the order that was entered.", field="digest")
    if kit.order.entered_by == actor.person:
        raise Refused("The second signature must be another person's.")
    stated = {
        "digest": kit.order.digest,
        "authority": kit.order.authority,
        "dated": kit.order.dated.isoformat(),
    }
    signs = [entered_by.signs("entered")]
    return Decided(facts=(fact(kit, "order.confirmed", actor, order=stated, **{"with": signs}),))


def request(order: Request, officer: Actor, directory: Directory, id_: str) -> Decided:
    """The police ask. Whatever is found, the answer is *received*.

    The request protects every kit of the centre it names from disposal until the centre has answered.
    """
    permit("request.send", officer)
    if directory.organisation(order.centre, "centre").kind is not OrganisationKind.CENTRE:
        raise Refused("There is no centre {id}.", field="centre", id=order.centre)
    naming: dict[str, Any] = {"pv": order.pv, "centre": order.centre}
    if order.examined_on is not None:
        naming["examined_on"] = order.examined_on.isoformat()
    if order.kit is not None:
        naming["kit"] = order.kit
    asked = Fact(
        type="request.received", subject=f"request:{id_}", who=officer.who(), fields={"naming": naming}
    )
    return Decided(facts=(asked,))


def answer(order: AnswerRequest, kit: Kit | None, actor: Actor, second: Actor | None) -> Decided:
    """Two staff looked whether a kit belongs to the request; kit and person were confirmed in person."""
    permit("request.answer", actor)
    if (order.how == "match") != (kit is not None):
        raise Refused("Name the kit that matches, or say that none does.", field="kit")
    if kit is not None:
        permit("kit.read", actor, kit)
        if Relation.OF_CENTRE not in relations(actor, kit):  # who only has a package of it, and is kept out
            raise NotSeen
        if kit.legal is Legal.UNREPORTED and kit.order is None:
            raise Refused(
                "The victim of this kit has not reported. Without a report or an order there is no match."
            )
    needs_second(actor, second)
    answered = Fact(
        type="request.answered",
        subject=f"request:{order.request}",
        who=actor.who(),
        fields={"how": order.how, **_signed(second)},
    )
    if kit is None:
        return Decided(facts=(answered,))
    matched = fact(kit, "match.confirmed", actor, request=order.request, **_signed(second))
    return Decided(facts=(matched, answered))


def link(
    kit: Kit,
    order: Link,
    coordinator: Actor,
    directory: Directory,
    asked: Mapping[str, tuple[str, str]] | None = None,
) -> Decided:
    """Join the kit to a police report, notice number and prosecutor's office.

    On the ground *report* two staff have confirmed that kit and person match; on the ground *order* a second
    person has confirmed the order. ``asked`` says of each request that was matched which report (PV) and
    which police zone it named: the link is to one of these.
    """
    permit("kit.link", coordinator, kit)
    _check_offices(directory, order.office, order.zone)
    by_order = kit.legal is Legal.UNREPORTED and kit.order is not None
    if by_order and not (kit.order and kit.order.confirmed):
        raise Refused("A second person must confirm the order before the kit is linked.")
    if not by_order and not kit.matches:
        raise Refused(
            "Two staff must confirm that kit and person match before the kit is linked. They do so by"
            " answering a request of the police."
        )
    if order.request is not None and all(m.request != order.request for m in kit.matches):
        raise Refused("This request was not matched with this kit.", field="request")
    matched = [m.request for m in kit.matches if order.request in (None, m.request)]
    if asked is not None and matched and (order.pv, order.zone) not in [asked.get(r) for r in matched]:
        raise Refused("The request that was matched named another report or another zone.", field="pv")
    stated = {
        "ground": "order" if by_order else "report",
        "pv": order.pv,
        "notice": order.notice,
        "office": order.office,
        "zone": order.zone,
    }
    fields: dict[str, Any] = {"link": stated}
    if order.request is not None:
        fields["request"] = order.request
    if by_order and kit.order:
        fields["order"] = {
            "digest": kit.order.digest,
            "authority": kit.order.authority,
            "dated": kit.order.dated.isoformat(),
        }
    return Decided(
        facts=(fact(kit, "kit.linked_by_order" if by_order else "kit.linked", coordinator, **fields),)
    )


def _check_offices(directory: Directory, office: str, zone: str | None) -> None:
    if directory.organisation(office, "office").kind is not OrganisationKind.PROSECUTOR:
        raise Refused("There is no prosecutor's office {id}.", field="office", id=office)
    if zone is not None and directory.organisation(zone, "zone").kind is not OrganisationKind.POLICE:
        raise Refused("There is no police zone {id}.", field="zone", id=zone)


def move_link(kit: Kit, order: MoveLink, coordinator: Actor, directory: Directory) -> Decided:
    """Another prosecutor's office takes the file over."""
    permit("link.move", coordinator, kit)
    _check_offices(directory, order.office, None)
    if kit.link is None:
        raise Refused("The kit is not linked.")
    stated = {
        "ground": kit.link.ground,
        "pv": kit.link.pv,
        "notice": order.notice,
        "office": order.office,
        "zone": kit.link.zone,
    }
    return Decided(facts=(fact(kit, "link.moved", coordinator, link=stated),))


def link_in_error(
    kit: Kit, order: LinkInError, actor: Actor, second: Actor | None, term: Term, policy: Policy
) -> Decided:
    """The wrong kit was linked: access of police and prosecutor ends at once, and offers are taken back."""
    permit("link.error", actor, kit)
    if kit.link is None:
        raise Refused("The kit is not linked.")
    needs_second(actor, second)
    type_ = "link.in_error" if kit.link.ground == "report" else "order_link.in_error"
    ended = fact(kit, type_, actor, reason=order.reason, **_signed(second))
    facts = [*cancel_offers(kit, actor), ended]
    if type_ == "order_link.in_error":
        facts.append(_restarted(kit, actor, term, policy))
    return Decided(facts=tuple(facts))


def end_link(
    kit: Kit, order: EndLink, actor: Actor, second: Actor | None, term: Term, policy: Policy
) -> Decided:
    """The prosecutor's office ended the link in writing: the term runs again, with its notice period."""
    permit("link.end", actor, kit)
    if kit.link is None:
        raise Refused("The kit is not linked.")
    needs_second(actor, second)
    ended = fact(
        kit,
        "link.ended",
        actor,
        reason=order.reason,
        documents=[{"kind": "letter_of_the_office", "digest": order.letter}],
        **_signed(second),
    )
    return Decided(facts=(*cancel_offers(kit, actor), ended, _restarted(kit, actor, term, policy)))


def _restarted(kit: Kit, actor: Actor, term: Term, policy: Policy) -> Fact:
    return choice(kit, "term.restarted", actor, term=term_fields(term), policy=policy_fields(policy))


def release_in_error(kit: Kit, order: ReleaseInError, actor: Actor, second: Actor | None) -> Decided:
    """Evidence was released in error: it comes back sealed, and the link stands until it is ended itself."""
    permit("release.error", actor, kit)
    needs_second(actor, second)
    return Decided(facts=(fact(kit, "release.in_error", actor, reason=order.reason, **_signed(second)),))


def waits_for_link_since(kit: Kit, days: int, today: date) -> bool:
    """Declared and not linked for so many days: work for people, never a restart by clock."""
    return (
        kit.legal is Legal.DECLARED
        and kit.reported_at is not None
        and (today - kit.reported_at.date()).days >= days
    )
