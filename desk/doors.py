"""Every command that people can give: its address, its shape, its permission and its decision, as data.

The API and the pages both come in through these doors, so that neither can do what the other cannot.
A command that takes two people waits as a proposal until the second one signs; then the same decision is
taken again, with both.
"""

from datetime import timedelta
from typing import Final

from custody import commands as c
from custody import handling, handover, prosecution, registering, restriction, searching, stock_take
from custody.decision import Decided, Seen
from custody.items import TYPES
from custody.kit import Kit
from custody.people import STAFF, Actor
from custody.permission import permit
from custody.protocol import Retention
from custody.refusal import Refused
from desk.door import Doing as Doing
from desk.door import Door as Door
from desk.door import kits_of_packages
from desk.term_doors import TERM_DOORS
from retention import disposal, keeping


def _link_error(x: Doing, o: c.LinkInError, s: Seen) -> Decided:
    return keeping.link_in_error(s.kit(o.kit), o, x.actor, x.second, x.policies, s.at)


def _confirm_order(x: Doing, o: c.ConfirmOrder, s: Seen) -> Decided:
    kit = s.kit(o.kit)
    permit("order.confirm", x.actor, kit)
    entered = kit.order.entered_by if kit.order else None
    return prosecution.confirm_order(kit, o, x.actor, x.person(entered, kit.centre, "coordinator"))


def _answer(x: Doing, o: c.AnswerRequest, s: Seen) -> Decided:
    return prosecution.answer(o, s.kit(o.kit) if o.kit else None, x.actor, x.second)


STAND_IN: Final = "second-signature"
"""Stands for the second person while a command is rehearsed; never written."""


def _observer(x: Doing, o: c.CarryOutDisposal) -> Actor | None:
    """Who observes: who signs now, and in a rehearsal the one who is to be asked. Raises Refused."""
    if o.observer is None:
        raise Refused("Name the person who observes: another who is not involved.", field="observer")
    if x.second is None or x.second.person != STAND_IN:
        return x.second
    for each in x.directory.appointments:
        if each.person == o.observer and each.function in disposal.OBSERVERS:
            return each.actor()
    raise Refused(
        "The observer is an employee of the hospital or of a centre, and this is nobody of them.",
        field="observer",
    )


def _carry_out(x: Doing, o: c.CarryOutDisposal, s: Seen) -> Decided:
    """An observer, who reads nothing of the kits, is not told why a disposal cannot go on."""
    try:
        return _carried_out(x, o, s)
    except Refused:
        if x.second is None or x.second.person == STAND_IN or x.second.person != o.observer:
            raise
        raise Refused(
            "This disposal cannot be carried out as it stands, and nothing was recorded. Tell the person who"
            " asked you: the reason is shown there."
        ) from None


def _approver(x: Doing, kit: Kit) -> Actor:
    """Who approved the disposal, in a function of today. Raises Refused.

    Nothing was left of a kit: then the second person who signed that, in any function. What is found later is
    destroyed on that signature, or on a new one.
    """
    approved = kit.disposal.approved_by if kit.disposal else None
    if approved is None:
        raise Refused("Nobody has approved the disposal of this kit.")
    if kit.retention is not Retention.DISPOSED:
        return x.person(approved, kit.centre, "coordinator")
    for each in x.directory.appointments:
        if each.person == approved and each.organisation == kit.centre and each.function in STAFF:
            return each.actor()
    raise Refused(
        "Who approved the end of this kit works here no longer. A coordinator approves anew what was found."
    )


def _carried_out(x: Doing, o: c.CarryOutDisposal, s: Seen) -> Decided:
    approvers = []
    for number in disposal.kits_of(o):
        kit = s.kit(number)
        permit("disposal.carry_out", x.actor, kit)
        approvers.append(_approver(x, kit))
    observer = _observer(x, o)
    return disposal.carry_out(
        s,
        o,
        x.actor,
        observer,
        *approvers,
        unanswered_requests=x.unanswered,
        human=x.directory.human,
    )


DOORS: Final[tuple[Door, ...]] = (
    # packages
    Door(
        path="kits/supplements",
        action="kit.supplement",
        shape=c.Supplement,
        says="Add packages",
        decide=lambda x, o, s: registering.supplement(s.kit(o.kit), o, x.actor, s.at, TYPES),
    ),
    Door(
        path="packages/seal",
        action="package.seal",
        shape=c.Seal,
        kits=kits_of_packages,
        says="Seal",
        decide=lambda x, o, s: handling.seal(s, o, x.actor),
    ),
    Door(
        path="packages/check-seal",
        action="seal.check",
        shape=c.CheckSeal,
        kits=kits_of_packages,
        says="Check seals",
        decide=lambda x, o, s: handling.check_seal(s, o, x.actor),
    ),
    Door(
        path="packages/open",
        action="package.open",
        shape=c.Open,
        kits=kits_of_packages,
        says="Open",
        decide=lambda x, o, s: handling.open_(s, o, x.actor),
    ),
    Door(
        path="packages/reseal",
        action="package.reseal",
        shape=c.Reseal,
        kits=kits_of_packages,
        says="Close with a new seal",
        decide=lambda x, o, s: handling.reseal(s, o, x.actor),
    ),
    Door(
        path="packages/store",
        action="package.store",
        shape=c.Store,
        kits=kits_of_packages,
        says="Put into a place",
        decide=lambda x, o, s: handling.store(s, o, x.actor, x.directory),
    ),
    Door(
        path="packages/take",
        action="package.take",
        shape=c.Take,
        kits=kits_of_packages,
        says="Take out of its place",
        decide=lambda x, o, s: handling.take(s, o, x.actor),
    ),
    Door(
        path="packages/take-over",
        action="package.take_over",
        shape=c.TakeOver,
        kits=kits_of_packages,
        says="Take over from somebody who left",
        decide=lambda x, o, s: handling.take_over(s, o, x.actor, x.directory),
    ),
    Door(
        path="packages/split",
        action="package.split",
        shape=c.Split,
        says="Split",
        decide=lambda x, o, s: handling.split(s, o, x.actor),
    ),
    Door(
        path="packages/join",
        action="package.join",
        shape=c.Join,
        says="Join",
        decide=lambda x, o, s: handling.join(s, o, x.actor),
    ),
    Door(
        path="packages/lose",
        action="package.lose",
        shape=c.Lose,
        kits=kits_of_packages,
        says="Cannot be found",
        decide=lambda x, o, s: handling.lose(s, o, x.actor),
    ),
    Door(
        path="packages/find",
        action="package.find",
        shape=c.Find,
        kits=kits_of_packages,
        says="Was found",
        decide=lambda x, o, s: handling.find(s, o, x.actor, x.directory),
    ),
    Door(
        path="searches/ends",
        action="search.end",
        shape=c.EndSearch,
        kits=kits_of_packages,
        says="The search is ended",
        two_people=True,
        decide=lambda x, o, s: searching.end_search(s, o, x.actor, x.second),
    ),
    Door(
        path="stock-takes",
        action="stock_take.take",
        shape=c.TakeStock,
        kits=kits_of_packages,
        others=lambda x, o: (f"place:{o.place}",),
        needs_place=True,
        says="Stock-take of a place",
        decide=lambda x, o, s: stock_take.take(s, o, x.actor, x.directory, x.chance, x.lying),
    ),
    Door(
        path="packages/void",
        action="package.void",
        shape=c.Void,
        kits=kits_of_packages,
        says="Registered in error",
        two_people=True,
        decide=lambda x, o, s: handling.void(s, o, x.actor, x.second),
    ),
    Door(
        path="packages/return",
        action="package.return",
        shape=c.ReturnBelongings,
        kits=kits_of_packages,
        says="Return belongings",
        two_people=True,
        decide=lambda x, o, s: handling.return_belongings(s, o, x.actor, x.second),
    ),
    Door(
        path="packages/deposit",
        action="package.deposit",
        shape=c.Deposit,
        kits=kits_of_packages,
        says="Deposit at the registry",
        decide=lambda x, o, s: handling.deposit(s, o, x.actor, x.directory),
    ),
    Door(
        path="items/findings",
        action="item.finding",
        shape=c.ItemFinding,
        says="Item missing or found",
        decide=lambda x, o, s: handling.item_finding(s.kit(o.kit), o, x.actor),
    ),
    Door(
        path="labels/prints",
        action="labels.print",
        shape=c.PrintLabels,
        says="Print labels",
        decide=lambda x, o, s: handling.labels_printed(s.kit(o.kit), o, x.actor),
    ),
    Door(
        path="labels/swapped",
        action="labels.swapped",
        shape=c.Swapped,
        kits=lambda o: tuple(dict.fromkeys((o.first.kit, o.second.kit))),
        says="Labels were swapped",
        two_people=True,
        decide=lambda x, o, s: handling.swapped(s, o, x.actor, x.second, x.chance),
    ),
    Door(
        path="corrections",
        action="event.correct",
        shape=c.Correct,
        needs_trail=True,
        says="Correct an event",
        decide=lambda x, o, s: handling.correct(s.kit(o.kit), o, x.actor, x.trail),
    ),
    Door(
        path="incidents",
        action="incident.open",
        shape=c.OpenIncident,
        kits=kits_of_packages,
        says="Incident at a place",
        others=lambda x, o: (f"place:{o.place}",),
        decide=lambda x, o, s: handling.incident(s, o, x.actor, x.directory, x.chance),
    ),
    # hand-overs
    Door(
        path="hand-overs/offers",
        action="handover.offer",
        shape=c.Offer,
        kits=kits_of_packages,
        says="Hand over",
        decide=lambda x, o, s: handover.offer(s, o, x.actor, x.directory, x.chance),
    ),
    Door(
        path="hand-overs/couriers",
        action="handover.carry",
        shape=c.Carry,
        kits=kits_of_packages,
        says="A courier signs",
        decide=lambda x, o, s: handover.carry(s, o, x.actor),
    ),
    Door(
        path="hand-overs/acceptances",
        action="handover.accept",
        shape=c.Accept,
        kits=kits_of_packages,
        says="Accept",
        decide=lambda x, o, s: handover.accept(s, o, x.actor),
    ),
    Door(
        path="hand-overs/refusals",
        action="handover.refuse",
        shape=c.Refuse,
        kits=kits_of_packages,
        says="Refuse",
        decide=lambda x, o, s: handover.refuse(s, o, x.actor),
    ),
    Door(
        path="hand-overs/cancellations",
        action="handover.cancel",
        shape=c.Cancel,
        kits=kits_of_packages,
        says="Take the offer back",
        decide=lambda x, o, s: handover.cancel(s, o, x.actor),
    ),
    Door(
        path="hand-overs/recorded-acceptances",
        action="handover.record_acceptance",
        shape=c.RecordAcceptance,
        kits=kits_of_packages,
        says="Receiver without an account signs",
        decide=lambda x, o, s: handover.record_acceptance(s, o, x.actor),
    ),
    Door(
        path="hand-overs/returns",
        action="handover.receive_back",
        shape=c.ReceiveBack,
        kits=kits_of_packages,
        says="Receive back",
        decide=lambda x, o, s: handover.receive_back(s, o, x.actor, x.directory),
    ),
    # the victim's decision, and justice
    Door(
        path="reports",
        action="report.declare",
        shape=c.DeclareReport,
        says="The victim reports",
        decide=lambda x, o, s: keeping.declare(s.kit(o.kit), o, x.actor, x.policies),
    ),
    Door(
        path="reports/withdrawals",
        action="report.withdraw",
        shape=c.WithdrawReport,
        two_people=True,
        says="The report is withdrawn",
        decide=lambda x, o, s: keeping.withdraw(
            s.kit(o.kit), o, x.actor, x.second, x.policies, s.at, x.directory
        ),
    ),
    Door(
        path="reports/withdrawal-wishes",
        action="withdrawal.wish",
        shape=c.WishWithdrawal,
        says="Record the wish to withdraw",
        decide=lambda x, o, s: prosecution.wish_withdrawal(s.kit(o.kit), o, x.actor),
    ),
    Door(
        path="orders",
        action="order.enter",
        shape=c.EnterOrder,
        says="Enter a judge's order",
        decide=lambda x, o, s: keeping.enter_order(s.kit(o.kit), o, x.actor, x.chance, x.policies, s.at),
    ),
    Door(
        path="orders/confirmations",
        action="order.confirm",
        shape=c.ConfirmOrder,
        says="Confirm a judge's order",
        decide=_confirm_order,
    ),
    Door(
        path="choices/disclosures",
        action="choices.disclose",
        shape=c.DiscloseChoices,
        two_people=True,
        says="Hand out the choices trail on a judge's order",
        decide=lambda x, o, s: prosecution.disclose(s.kit(o.kit), o, x.actor, x.second, s.at),
    ),
    Door(
        path="requests/answers",
        action="request.answer",
        shape=c.AnswerRequest,
        kits=lambda o: (o.kit,) if o.kit else (),
        others=lambda x, o: (f"request:{o.request}",),
        two_people=True,
        says="Answer a request of the police",
        decide=_answer,
    ),
    Door(
        path="links",
        action="kit.link",
        shape=c.Link,
        says="Link to the police report",
        needs_asked=True,
        decide=lambda x, o, s: prosecution.link(s.kit(o.kit), o, x.actor, x.directory, x.asked),
    ),
    Door(
        path="links/moves",
        action="link.move",
        shape=c.MoveLink,
        says="Another office takes the file",
        decide=lambda x, o, s: prosecution.move_link(s.kit(o.kit), o, x.actor, x.directory),
    ),
    Door(
        path="links/errors",
        action="link.error",
        shape=c.LinkInError,
        two_people=True,
        says="Linked in error",
        decide=_link_error,
    ),
    Door(
        path="links/ends",
        action="link.end",
        shape=c.EndLink,
        two_people=True,
        says="The office ended the link",
        decide=lambda x, o, s: keeping.end_link(s.kit(o.kit), o, x.actor, x.second, x.policies, s.at),
    ),
    Door(
        path="releases/errors",
        action="release.error",
        shape=c.ReleaseInError,
        two_people=True,
        says="Released in error",
        decide=lambda x, o, s: prosecution.release_in_error(s.kit(o.kit), o, x.actor, x.second),
    ),
    # who reads it
    Door(
        path="restrictions",
        action="kit.restrict",
        shape=c.Restrict,
        says="Restrict to named readers",
        decide=lambda x, o, s: restriction.restrict(s.kit(o.kit), o, x.actor, x.directory),
    ),
    Door(
        path="restrictions/lifts",
        action="restriction.lift",
        shape=c.LiftRestriction,
        two_people=True,
        says="Lift the restriction",
        decide=lambda x, o, s: restriction.lift_restriction(s.kit(o.kit), o, x.actor, x.second, x.directory),
    ),
    Door(
        path="releases/openings",
        action="release.open",
        shape=c.OpenToCentre,
        says="Open the kit to its centre",
        decide=lambda x, o, s: restriction.open_to_centre(s.kit(o.kit), o, x.actor),
    ),
    *TERM_DOORS,
    # disposal
    Door(
        path="disposals/proposals",
        action="disposal.propose",
        shape=c.ProposeDisposal,
        says="Propose the disposal",
        decide=lambda x, o, s: disposal.propose(
            s.kit(o.kit), o, x.actor, s.at, unanswered_requests=x.unanswered
        ),
        needs_requests=True,
    ),
    Door(
        path="disposals/approvals",
        action="disposal.approve",
        shape=c.ApproveDisposal,
        says="Approve the disposal",
        decide=lambda x, o, s: disposal.approve(
            s.kit(o.kit), o, x.actor, s.at, unanswered_requests=x.unanswered
        ),
        needs_requests=True,
    ),
    Door(
        path="disposals/withdrawals",
        action="disposal.withdraw",
        shape=c.WithdrawDisposal,
        says="Take the disposal back",
        decide=lambda x, o, s: disposal.withdraw_disposal(s.kit(o.kit), o, x.actor),
    ),
    Door(
        path="disposals",
        action="disposal.carry_out",
        shape=c.CarryOutDisposal,
        kits=disposal.kits_of,
        needs_requests=True,
        two_people=True,
        valid=timedelta(hours=2),
        says="Carry out the disposal",
        decide=_carry_out,
    ),
)

BY_ACTION: Final = {door.action: door for door in DOORS}
