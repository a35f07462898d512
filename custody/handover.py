"""The two-sided hand-over: offered by the holder, accepted (or refused, or cancelled), due by a time.

In between the packages are *in transit* and the giver answers for them; what is not accepted in time
raises an alarm. A courier signs on the way; a receiver without an account signs on the giver's device
or on paper, which is shown as *acceptance recorded by the giver*.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

from custody.commands import (
    Accept,
    Cancel,
    Carry,
    Offer,
    PackageRef,
    ReceiveBack,
    RecordAcceptance,
    Refuse,
)
from custody.decision import Decided, Seen
from custody.directory import Directory
from custody.event import Fact, write_moment
from custody.handling import each_kit, fact, seal_findings
from custody.kit import Handover, Holder, Kit, Package
from custody.people import Actor, Function, OrganisationKind
from custody.protocol import Custody, Legal
from custody.refusal import Refused
from custody.registering import entered, occurred, paper_fields

LONGEST_WAY: Final = timedelta(days=14)
JUSTICE: Final = frozenset({OrganisationKind.POLICE, OrganisationKind.PROSECUTOR, OrganisationKind.REGISTRY})


def offer(seen: Seen, order: Offer, giver: Actor, directory: Directory, handover: str) -> Decided:
    """Offer packages from the hands that hold them to the organisation that will sign for them.

    ``handover`` is 128 random bits in hexadecimal. Before a report is linked nothing can be offered to the
    police or to justice: for them the kit does not exist.
    """
    receiver = directory.organisation(order.organisation)
    named = directory.person(order.person, receiver.id) if order.person else None
    if order.due_at.tzinfo is None or not seen.at < order.due_at <= seen.at + LONGEST_WAY:
        raise Refused(
            "Say by when it is due: later than now, within {days} days.",
            field="due_at",
            days=LONGEST_WAY.days,
        )
    counterpart: dict[str, Any] = {"organisation": receiver.id, "organisation_name": receiver.name}
    if named is not None:
        counterpart = {"name": named.name, "person": named.person, **counterpart}
    facts: list[Fact] = []
    for kit, pairs in each_kit(seen, "handover.offer", order.packages, giver):
        if receiver.kind in JUSTICE and kit.legal not in (Legal.LINKED, Legal.RELEASED):
            raise Refused(
                "Evidence goes to the police or to justice only once the report is linked.",
                field="organisation",
            )
        findings, right = seal_findings(kit, pairs, giver)
        facts += findings
        if not right:
            continue
        for package in right:
            if package.seal_broken:
                raise Refused(
                    "The seal of package {package} is broken or is not the one on record:"
                    " close it again first.",
                    package=package.package,
                )
        when = occurred(order.paper, seen.at)
        entries = [{"package": p.package, **({"seal": p.seal} if p.seal else {})} for p in right]
        facts.append(
            fact(
                kit,
                "handover.offered",
                giver,
                entries,
                handover=handover,
                counterpart=counterpart,
                due_at=write_moment(order.due_at),
                occurred_at=when,
                **paper_fields(order.paper),
            )
        )
    return Decided(facts=tuple(facts))


def _by_handover(
    kit: Kit, pairs: Sequence[tuple[Package, PackageRef]]
) -> list[tuple[Handover, list[tuple[Package, PackageRef]]]]:
    """Group packages by the open hand-over they are on. Raises Refused for one that is on none."""
    grouped: dict[str, list[tuple[Package, PackageRef]]] = {}
    for package, ref in pairs:
        if package.state is not Custody.IN_TRANSIT or package.handover is None:
            raise Refused("Package {package} is not on the way to anybody.", package=package.package)
        grouped.setdefault(package.handover, []).append((package, ref))
    return [(kit.handovers[id_], group) for id_, group in grouped.items()]


def carry(seen: Seen, order: Carry, actor: Actor) -> Decided:
    """A courier signed for packages that are on the way; the giver answers for them until accepted."""
    facts = []
    for kit, pairs in each_kit(seen, "handover.carry", order.packages, actor):
        for open_, group in _by_handover(kit, pairs):
            facts.append(
                fact(
                    kit,
                    "handover.carried",
                    actor,
                    [{"package": p.package, **({"seal": p.seal} if p.seal else {})} for p, _ in group],
                    handover=open_.id,
                    carrier={"name": order.courier, "organisation_name": order.courier_organisation},
                    documents=[{"kind": "signature", "digest": order.signature}],
                )
            )
    return Decided(facts=tuple(facts))


def accept(seen: Seen, order: Accept, receiver: Actor) -> Decided:
    """Accept packages by scanning each: the seal seen is compared with the one recorded.

    A package whose seal is another one is not accepted: the finding is recorded, and it stays on the way.
    A broken seal is recorded and the package accepted, since somebody must answer for it. Evidence
    accepted by the police after the link is released to the prosecution file. Who offered does not accept:
    a hand-over has two sides.
    """
    facts: list[Fact] = []
    for kit, pairs in each_kit(seen, "handover.accept", order.packages, receiver):
        when = occurred(order.paper, seen.at)
        for open_, group in _by_handover(kit, pairs):
            if open_.giver.person is not None and open_.giver.person == receiver.person:
                raise Refused(
                    "You offered package {package} yourself: another person accepts it, or you take the offer"
                    " back.",
                    package=group[0][0].package,
                )
            findings, right = seal_findings(kit, group, receiver)
            facts += findings
            broken = [p for p, r in group if r.condition == "broken" and r.seal in (None, p.seal)]
            taken = sorted([*right, *broken], key=lambda p: p.package)
            if not taken:
                continue
            conditions = {r.package: r.condition for _, r in group}
            entries: list[dict[str, Any]] = [
                {
                    "package": p.package,
                    **({"seal": p.seal} if p.seal else {}),
                    "condition": conditions[p.package],
                }
                for p in taken
            ]
            facts.append(
                fact(
                    kit,
                    "handover.accepted",
                    receiver,
                    entries,
                    handover=open_.id,
                    counterpart=_as_party(open_),
                    occurred_at=when,
                    **paper_fields(order.paper),
                )
            )
            if receiver.function is Function.OFFICER and kit.legal in (Legal.LINKED, Legal.RELEASED):
                packages = [{"package": p.package} for p in taken]
                facts.append(fact(kit, "kit.released", receiver, packages))
    return Decided(facts=tuple(facts))


def _as_party(open_: Handover) -> dict[str, Any]:
    """The giver, as the counterpart of the receiver's event."""
    told = {
        "name": open_.giver.name,
        "person": open_.giver.person,
        "organisation": open_.giver.organisation,
    }
    return {k: v for k, v in told.items() if v is not None}


def refuse(seen: Seen, order: Refuse, receiver: Actor) -> Decided:
    """The receiver does not take the packages; they are back with the giver."""
    facts = []
    for kit, pairs in each_kit(seen, "handover.refuse", order.packages, receiver):
        for open_, group in _by_handover(kit, pairs):
            packages = [{"package": p.package} for p, _ in group]
            facts.append(
                fact(kit, "handover.refused", receiver, packages, handover=open_.id, reason=order.reason)
            )
    return Decided(facts=tuple(facts))


def cancel(seen: Seen, order: Cancel, giver: Actor) -> Decided:
    """The giver, or another of the giving organisation, takes the offer back before it is accepted."""
    facts = []
    for kit, pairs in each_kit(seen, "handover.cancel", order.packages, giver):
        for open_, group in _by_handover(kit, pairs):
            if open_.giver.organisation != giver.organisation:
                raise Refused("Only the giving organisation can take this offer back.")
            packages = [{"package": p.package} for p, _ in group]
            facts.append(fact(kit, "handover.cancelled", giver, packages, handover=open_.id))
    return Decided(facts=tuple(facts))


def cancel_offers(kit: Kit, actor: Actor, offers: Iterable[Handover] | None = None) -> list[Fact]:
    """Take back open offers of a kit, all of them or these: a report is withdrawn, or a link was an error."""
    return [
        fact(
            kit,
            "handover.cancelled",
            actor,
            [{"package": p} for p in open_.packages],
            handover=open_.id,
            reason="the report or the link ended",
        )
        for open_ in (kit.handovers.values() if offers is None else offers)
    ]


def record_acceptance(seen: Seen, order: RecordAcceptance, giver: Actor) -> Decided:
    """A receiver without an account signed: *acceptance recorded by the giver*."""
    facts = []
    for kit, pairs in each_kit(seen, "handover.record_acceptance", order.packages, giver):
        for open_, group in _by_handover(kit, pairs):
            facts.append(
                fact(
                    kit,
                    "handover.acceptance_recorded",
                    giver,
                    [{"package": p.package, **({"seal": p.seal} if p.seal else {})} for p, _ in group],
                    handover=open_.id,
                    counterpart={"name": order.receiver, "organisation_name": order.receiver_organisation},
                    documents=[{"kind": "signature", "digest": order.signature}],
                    **entered(order.paper, giver),
                )
            )
            if kit.link is not None and open_.receiver.organisation == kit.link.zone:
                facts.append(fact(kit, "kit.released", giver, [{"package": p.package} for p, _ in group]))
    return Decided(facts=tuple(facts))


def receive_back(seen: Seen, order: ReceiveBack, receiver: Actor, directory: Directory) -> Decided:
    """Packages come back from somebody without an account, or from one whose access has ended.

    Who has an account and may know of the kit hands over and is accepted from; nobody takes from them alone.
    """
    facts: list[Fact] = []
    for kit, pairs in each_kit(seen, "handover.receive_back", order.packages, receiver):
        findings, _ = seal_findings(kit, pairs, receiver)
        facts += findings
        for package, _ in pairs:
            held = package.holder
            if held is not None and held.organisation == receiver.organisation:
                raise Refused("Package {package} is not with anybody else.", package=package.package)
            if held is not None and _can_act(kit, held, directory):
                raise Refused(
                    "{holder} can hand package {package} over here: ask for that, and accept it.",
                    holder=held.name or held.organisation,
                    package=package.package,
                )
        facts.append(
            fact(
                kit,
                "handover.received_back",
                receiver,
                [{"package": p.package, "condition": r.condition} for p, r in pairs],
                counterpart={"name": order.giver, "organisation_name": order.giver_organisation},
            )
        )
    return Decided(facts=tuple(facts))


def _can_act(kit: Kit, held: Holder, directory: Directory) -> bool:
    """Whether the holder's organisation takes part and may know of the kit."""
    organisation = directory.organisations.get(held.organisation or "")
    if organisation is None:
        return False
    return organisation.kind not in JUSTICE or kit.legal in (Legal.LINKED, Legal.RELEASED)
