"""The end of a kit that nobody reported: proposed, approved, carried out before an observer; then its key.

The clock only makes work (``retention.keeping``); people destroy. The rules that stand here:

1. Nothing is disposed of while a report is declared or linked, an order or a hold stands, the term runs, a
   hand-over is open, or a request of the police that names the centre waits for its answer.
   :func:`eligibility` says each rule as a line that people can read; PostgreSQL refuses the same once more
   (a CHECK on the kit's row), whatever happens here.
2. Three people: who approves, who carries out and who observes. Who approves has not proposed.
3. Every package that is left is scanned with its seal, and every item in them is named. A package that is
   not there, or another or broken seal, is a finding: it is recorded, the disposal is taken back with it, and
   nothing is destroyed.
4. The data key of the private part is destroyed once the time for contesting the disposal is over.

Pure: no database, no clock.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from custody.commands import ApproveDisposal, CarryOutDisposal, PackageRef, ProposeDisposal, WithdrawDisposal
from custody.decision import Decided, Seen
from custody.event import Fact, write_moment
from custody.handling import by_kit, fact, package_of, seal_findings
from custody.kit import Kit, Package
from custody.people import CLOCK, STAFF, Actor
from custody.permission import permit
from custody.prosecution import choice
from custody.protocol import Custody, Legal, Retention
from custody.refusal import NeedsSecond, Refused
from retention.notice import NotNow
from retention.policy import Policy
from retention.reckoning import policy_of
from retention.term import contest_over_at, is_over

DISPOSABLE: Final = (Custody.PACKED, Custody.SEALED, Custody.STORED)
EXPIRED: Final = (Retention.EXPIRED, Retention.PROPOSED, Retention.APPROVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that must be so before a disposal. ``says`` tells how it is: a whole sentence for people."""

    name: str
    met: bool
    says: str


def _condition(name: str, met: bool, so: str, not_so: str) -> Condition:
    return Condition(name=name, met=met, says=so if met else not_so)


def eligibility(kit: Kit, at: datetime, unanswered_requests: int) -> tuple[Condition, ...]:
    """Every condition of a disposal, met or not, in the order in which people check them.

    ``unanswered_requests`` counts requests of the police that name the kit's centre and wait for an answer.
    """
    left = kit.open_packages
    return (
        _condition(
            "report",
            kit.legal is Legal.UNREPORTED,
            "No report has been declared.",
            "A report was declared or the kit is linked to one: it cannot be disposed of.",
        ),
        _condition(
            "order",
            kit.order is None,
            "No order of a judge stands.",
            "An order of a judge stands on this kit: it cannot be disposed of.",
        ),
        _condition("hold", not kit.holds, "No hold stands.", "A hold stands on this kit. Lift it first."),
        _condition(
            "term",
            kit.retention in EXPIRED and kit.term is not None and is_over(kit.term, at),
            "The term is over.",
            "The term is not over.",
        ),
        _condition(
            # Without a notice a term is over only where the victim asked for destruction and cooled off.
            "notice",
            kit.notice_due_at is not None or kit.retention in EXPIRED,
            "The notice period is over, or the victim asked for the destruction.",
            "The victim's notice has not fallen due.",
        ),
        _condition(
            "handover",
            not kit.handovers and kit.in_transit == 0,
            "No hand-over is open.",
            "A hand-over is open. It has to be accepted, refused or cancelled first.",
        ),
        _condition(
            "request",
            unanswered_requests == 0,
            "Every request of the police to this centre is answered.",
            "A request of the police to this centre waits for its answer. Answer it first.",
        ),
        _condition(
            "packages",
            bool(left) and all(_at_centre(kit, p) for p in left),
            "Every package is with the centre.",
            "Not every package is with the centre: what is elsewhere or lost has to be found first.",
        ),
        _condition(
            "opened",
            all(p.state is not Custody.OPENED for p in left),
            "No package is open.",
            "A package is open. Seal it again first.",
        ),
    )


def _at_centre(kit: Kit, package: Package) -> bool:
    return (
        package.holder is not None
        and package.holder.organisation == kit.centre
        and package.state in (*DISPOSABLE, Custody.OPENED)
    )


def _must_be_eligible(kit: Kit, at: datetime, unanswered_requests: int) -> None:
    for condition in eligibility(kit, at, unanswered_requests):
        if not condition.met:
            raise Refused(condition.says)


def propose(
    kit: Kit, order: ProposeDisposal, actor: Actor, at: datetime, *, unanswered_requests: int = 0
) -> Decided:
    """A custodian proposes to dispose of every package that is left.

    Requests of the police are counted again by the database when the disposal is carried out; hand in their
    number where it is known, so that people are told early.
    """
    permit("disposal.propose", actor, kit)
    _must_be_eligible(kit, at, unanswered_requests)
    entries = [{"package": number} for number in _numbers(kit.open_packages)]
    return Decided(facts=(choice(kit, "disposal.proposed", actor, packages=entries),))


def approve(
    kit: Kit, order: ApproveDisposal, actor: Actor, at: datetime, *, unanswered_requests: int = 0
) -> Decided:
    """A coordinator approves what another person proposed."""
    permit("disposal.approve", actor, kit)
    if kit.disposal is None:
        raise Refused("Nobody has proposed the disposal of this kit.")
    if kit.disposal.proposed_by == actor.person:
        raise Refused("You proposed this disposal: another person has to approve it.")
    _must_be_eligible(kit, at, unanswered_requests)
    _must_be_whole(kit, kit.disposal.packages)
    return Decided(facts=(choice(kit, "disposal.approved", actor),))


def withdraw_disposal(kit: Kit, order: WithdrawDisposal, actor: Actor) -> Decided:
    """Take a proposal or approval back; the kit stands on the list of expired terms again."""
    permit("disposal.withdraw", actor, kit)
    return Decided(facts=(choice(kit, "disposal.withdrawn", actor, reason=order.reason),))


def carry_out(
    seen: Seen,
    order: CarryOutDisposal,
    actor: Actor,
    observer: Actor | None,
    approver: Actor,
    *,
    unanswered_requests: int = 0,
) -> Decided:
    """Destroy what was approved: every package scanned, every item named, before an observer who signs after.

    ``approver`` is the person whom the approval names. Raises NeedsSecond until the observer signs; findings
    need no observer and are recorded at once, with nothing destroyed.
    """
    kit = seen.kit(order.kit)
    permit("disposal.carry_out", actor, kit)
    if kit.disposal is None or kit.disposal.approved_by is None or kit.retention is not Retention.APPROVED:
        raise Refused("Nobody has approved the disposal of this kit.")
    if approver.person != kit.disposal.approved_by:
        raise Refused("This is not the person who approved the disposal.")
    if actor.person == approver.person:
        raise Refused("You approved this disposal: another person has to carry it out.")
    _must_be_eligible(kit, seen.at, unanswered_requests)
    _must_be_whole(kit, kit.disposal.packages)
    scanned = _scanned(kit, order)
    if findings := _findings(kit, order.not_found, scanned, actor):
        return Decided(facts=findings)
    _must_name_items(kit, order.items)
    if observer is None:
        raise NeedsSecond
    if observer.person is None or observer.person in (actor.person, approver.person):
        raise Refused("Who approves, who carries out and who observes a disposal are three people.")
    if observer.function not in STAFF:
        raise Refused("The observer is an employee of the hospital or of a centre.")
    signed = {"with": [approver.signs("approver"), observer.signs("observer")]}
    return Decided(facts=_destroyed(kit, scanned, actor, signed))


def _must_be_whole(kit: Kit, proposed: Sequence[int]) -> None:
    """What was proposed is what is left, no more and no less."""
    if sorted(proposed) != _numbers(kit.open_packages):
        raise Refused(
            "The packages of this kit have changed since the proposal. Take it back and propose again."
        )


def _numbers(packages: Iterable[Package]) -> list[int]:
    return sorted(p.package for p in packages)


def _scanned(kit: Kit, order: CarryOutDisposal) -> list[tuple[Package, PackageRef]]:
    """The packages as scanned. Raises Refused unless every one that is left was scanned or is not there."""
    refs = by_kit(order.packages).get(kit.number, []) if order.packages else []
    if len(refs) != len(order.packages):
        raise Refused("A package of another kit is on this list.", field="packages")
    pairs = [(package_of(kit, ref.package), ref) for ref in refs]
    for package, ref in pairs:
        if package.seal is not None and ref.seal is None:
            raise Refused(
                "Scan package {package} with its seal.", field="packages.seal", package=package.package
            )
        if package.seal is None and (ref.seal is not None or ref.condition == "broken"):
            raise Refused(
                "Package {package} was never sealed.", field="packages.seal", package=package.package
            )
    named = [*(ref.package for ref in refs), *order.not_found]
    for number in _numbers(kit.open_packages):
        if number not in named:
            raise Refused("Scan package {package}, or say that it is not there.", package=number)
    if sorted(named) != _numbers(kit.open_packages):
        raise Refused("A package stands on this list twice, or is not to be destroyed.", field="packages")
    return pairs


def _findings(
    kit: Kit, not_found: Sequence[int], scanned: Sequence[tuple[Package, PackageRef]], actor: Actor
) -> tuple[Fact, ...]:
    """What is not as recorded, and the disposal taken back with it; nothing where all is as it should be."""
    findings, _ = seal_findings(kit, scanned, actor)
    why = ["a seal is not as recorded"] if findings else []
    if not_found:
        entries = [{"package": number} for number in sorted(not_found)]
        findings.append(fact(kit, "package.lost", actor, entries, reason="not found at the disposal"))
        why.append("a package was not found")
    if not findings:
        return ()
    return (*findings, choice(kit, "disposal.withdrawn", actor, reason=" and ".join(why)))


def _must_name_items(kit: Kit, named: Sequence[int]) -> None:
    left = {p.package for p in kit.open_packages}
    inside = sorted(i.item for i in kit.items.values() if i.package in left and not i.missing)
    if sorted(named) != inside:
        raise Refused(
            "Name every item that is destroyed, each once: {items}.",
            field="items",
            items=", ".join(str(item) for item in inside),
        )


def _destroyed(
    kit: Kit, scanned: Sequence[tuple[Package, PackageRef]], actor: Actor, signed: dict[str, Any]
) -> tuple[Fact, ...]:
    """The end of the term first, then of the packages: PostgreSQL destroys nothing of a kit not disposed."""
    numbers = sorted(package.package for package, _ in scanned)
    done = choice(
        kit, "disposal.carried_out", actor, packages=[{"package": number} for number in numbers], **signed
    )
    entries = [
        {"package": package.package, **({"seal_seen": ref.seal} if ref.seal else {})}
        for package, ref in sorted(scanned, key=lambda pair: pair[0].package)
    ]
    items = [
        {"item": item.item, "group": item.group, "package": item.package}
        for item in sorted(kit.items.values(), key=lambda i: i.item)
        if item.package in numbers and not item.missing
    ]
    stated = {"items": items} if items else {}
    return done, fact(kit, "package.destroyed", actor, entries, **stated, **signed)


# --- the data key ----------------------------------------------------------------------------------


def contest_over(kit: Kit, policies: Iterable[Policy], at: datetime) -> bool:
    """Whether the time for contesting the disposal is over, by the policy that the kit keeps."""
    if kit.disposed_at is None:
        return False
    return at >= contest_over_at(policy_of(kit, policies), kit.disposed_at)


def destroy_key(kit: Kit, at: datetime, backups_lapse_at: datetime) -> Decided:
    """Destroy the data key of a kit disposed of: nobody can read its private part any more.

    ``backups_lapse_at`` says when the last copy of the key in a backup lapses; it stands in the event. The
    caller has seen to it that the time for contesting is over (:func:`contest_over`). Raises NotNow.
    """
    if kit.retention is not Retention.DISPOSED or kit.key_destroyed_at is not None:
        raise NotNow("No key of a disposed kit is left to destroy.")
    if backups_lapse_at < at:
        raise ValueError("the backups cannot have lapsed before the key is destroyed")
    destroyed = choice(kit, "key.destroyed", CLOCK, until=write_moment(backups_lapse_at))
    return Decided(facts=(destroyed,), extra={"destroyed_keys": [{"kit": kit.number}]})
