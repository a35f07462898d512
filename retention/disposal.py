"""The end of a kit that nobody reported: proposed, approved, carried out before an observer; then its key.

The clock only makes work (``retention.keeping``); people destroy. The rules that stand here:

1. Nothing is disposed of while a report is declared or linked, an order or a hold stands, the term runs, a
   hand-over is open, or a request of the police that names the centre waits for its answer.
   ``retention.eligibility`` says each rule as a line that people can read; PostgreSQL refuses the same once
   more (a CHECK on the kit's row), whatever happens here.
2. Three people: who approves, who carries out and who observes. Who approves has not proposed, nor has
   who observes.
3. One cart of many kits: every package that is left is scanned with its seal, and every item in them by its
   label; an item that never had one is named by its number. What is not there, or another or broken seal, is
   a finding: it is recorded at once and stops that kit alone.
4. What is lost when its kit is closed can be found afterwards. It is destroyed as everything else, by the
   same cart and three people: who approved the end of the kit, or signed as the second that nothing was left,
   stands for the approver; where that person has left, a coordinator approves anew. The end of the kit itself
   stands: the term was over and the victim was told so. No report, hold or return begins with what was found.
5. The data key of the private part is destroyed once the time for contesting the disposal is over. What is
   found later is destroyed without it: nothing private is read for that.

Pure: no database, no clock.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from custody.commands import (
    ApproveDisposal,
    CarryOutDisposal,
    ItemRef,
    PackageRef,
    ProposeDisposal,
    WithdrawDisposal,
)
from custody.decision import Decided, Seen
from custody.event import Fact, write_moment
from custody.handling import by_kit, fact, package_of, seal_findings
from custody.kit import Item, Kit, Package
from custody.number import LabelCode, NumberRefused, PartKind, parse_label_code
from custody.people import CLOCK, STAFF, Actor, Function
from custody.permission import permit
from custody.prosecution import choice
from custody.protocol import Retention
from custody.refusal import NeedsSecond, Refused
from retention.eligibility import EXPIRED, Condition, eligibility, found_after
from retention.notice import NotNow
from retention.policy import Policy
from retention.reckoning import policy_of
from retention.term import contest_over_at

__all__ = [
    "EXPIRED",
    "OBSERVERS",
    "Condition",
    "approve",
    "carry_out",
    "contest_over",
    "destroy_key",
    "eligibility",
    "kits_of",
    "propose",
    "withdraw_disposal",
]

OBSERVERS: Final = STAFF | {Function.OBSERVER}
"""Who observes: staff of any centre, or somebody whom a hospital names for it."""


def _must_be_eligible(kit: Kit, at: datetime, unanswered_requests: int) -> None:
    for condition in eligibility(kit, at):
        if not condition.met:
            told = {k: _at(v) if isinstance(v, datetime) else v for k, v in condition.values.items()}
            raise Refused(condition.says, **told)
    if unanswered_requests:
        raise Refused("A request of the police to this centre waits for its answer. Answer it first.")


def _at(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def propose(
    kit: Kit, order: ProposeDisposal, actor: Actor, at: datetime, *, unanswered_requests: int = 0
) -> Decided:
    """A custodian proposes to dispose of every package that is left.

    Requests of the police are counted again by the database when the disposal is carried out; hand in their
    number where it is known, so that people are told early.
    """
    permit("disposal.propose", actor, kit)
    _must_be_eligible(kit, at, unanswered_requests)
    entries = [{"package": number} for number in _numbers(kit.remaining)]
    return Decided(facts=(choice(kit, "disposal.proposed", actor, packages=entries),))


def approve(
    kit: Kit, order: ApproveDisposal, actor: Actor, at: datetime, *, unanswered_requests: int = 0
) -> Decided:
    """A coordinator approves what another person proposed.

    Of a kit disposed of: approves anew what was found since, where who approved the end of the kit has left.
    """
    permit("disposal.approve", actor, kit)
    if found_after(kit):
        _must_be_eligible(kit, at, unanswered_requests)
        return Decided(facts=(choice(kit, "disposal.approved", actor),))
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


# --- carrying it out ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cart:
    """What was scanned of one kit."""

    kit: Kit
    approver: Actor
    packages: tuple[tuple[Package, PackageRef], ...]
    labels: tuple[LabelCode, ...]
    items: tuple[int, ...]  # named by number: they never had a label
    not_found: tuple[int, ...]
    items_not_found: tuple[int, ...]


def kits_of(order: CarryOutDisposal) -> tuple[str, ...]:
    """The kits of a cart, in the order in which they were scanned."""
    named: list[PackageRef | ItemRef] = [*order.packages, *order.not_found, *order.items_not_found]
    return tuple(dict.fromkeys(each.kit for each in named))


def carry_out(
    seen: Seen,
    order: CarryOutDisposal,
    actor: Actor,
    observer: Actor | None,
    *approvers: Actor,
    unanswered_requests: int = 0,
    human: Callable[[str], str] = str,
) -> Decided:
    """Destroy what was approved: each package and item of a cart scanned, before an observer who signs after.

    ``approvers`` are the people whom the approvals of these kits name; of what was found after its kit was
    disposed of, who approved that disposal, or who signed as the second that nothing was left. ``human`` says
    who an entry of the register turned out to be, of somebody registered twice.

    What was looked for and is not there, and a seal that is not as recorded, are findings: they are recorded
    at once, need no observer, stop their kit and nothing is destroyed with them. Send the rest of the cart
    again. Raises NeedsSecond until the observer signs.
    """
    carts = [_cart(seen, order, number, actor, approvers, unanswered_requests) for number in kits_of(order)]
    if not carts:
        raise Refused("Scan at least one package.", field="packages")
    _must_all_belong(order, carts)
    if findings := [each for cart in carts for each in _findings(cart, actor)]:
        if observer is not None:
            raise Refused("What was scanned is no longer as it was.")
        return Decided(facts=tuple(findings))
    for cart in carts:
        _must_be_complete(cart)
    if observer is None:
        raise NeedsSecond
    _must_be_three(order, actor, observer, carts, human)
    return Decided(facts=tuple(fact for cart in carts for fact in _destroyed(cart, actor, observer)))


def _must_be_three(
    order: CarryOutDisposal,
    actor: Actor,
    observer: Actor,
    carts: Sequence[_Cart],
    human: Callable[[str], str],
) -> None:
    def humans(people: Iterable[str | None]) -> set[str]:
        return {human(each) for each in people if each is not None}

    involved = humans((actor.person, *(cart.approver.person for cart in carts)))
    if observer.person is None or human(observer.person) in involved:
        raise Refused("Who approves, who carries out and who observes a disposal are three people.")
    if human(observer.person) in humans(cart.kit.disposal.proposed_by for cart in carts if cart.kit.disposal):
        raise Refused("Who proposed a disposal does not observe it: ask somebody who is not involved.")
    if observer.function not in OBSERVERS:
        raise Refused("The observer is an employee of the hospital or of a centre.")
    if order.observer is not None and observer.person != order.observer:
        raise Refused("Another person was asked to observe this disposal.")


def _cart(
    seen: Seen,
    order: CarryOutDisposal,
    number: str,
    actor: Actor,
    approvers: Sequence[Actor],
    unanswered_requests: int,
) -> _Cart:
    """What was scanned of one kit, which may be disposed of. Raises Refused, NotSeen."""
    kit = seen.kit(number)
    permit("disposal.carry_out", actor, kit)
    found = bool(found_after(kit))
    approved = found or kit.retention is Retention.APPROVED
    if kit.disposal is None or kit.disposal.approved_by is None or not approved:
        raise Refused("Nobody has approved the disposal of this kit.")
    approver = next((a for a in approvers if a.person == kit.disposal.approved_by), None)
    if approver is None:
        raise Refused("This is not the person who approved the disposal.")
    if actor.person == approver.person:
        raise Refused("You approved this disposal: another person has to carry it out.")
    _must_be_eligible(kit, seen.at, unanswered_requests)
    if not found:  # what was found later nobody had proposed: it is all that is there now
        _must_be_whole(kit, kit.disposal.packages)
    return _Cart(
        kit=kit,
        approver=approver,
        packages=_scanned(kit, order),
        labels=_labels(kit, order.labels),
        items=tuple(each.item for each in order.items if each.kit == number),
        not_found=tuple(each.package for each in order.not_found if each.kit == number),
        items_not_found=tuple(each.item for each in order.items_not_found if each.kit == number),
    )


def _must_all_belong(order: CarryOutDisposal, carts: Sequence[_Cart]) -> None:
    """Every label and item of the cart is of a kit whose packages are on it."""
    if sum(len(cart.labels) for cart in carts) != len(order.labels) or sum(
        len(cart.items) for cart in carts
    ) != len(order.items):
        raise Refused("A label or an item of another kit is on this list.", field="labels")


def _must_be_whole(kit: Kit, proposed: Sequence[int]) -> None:
    """What was proposed is what is left, no more and no less."""
    if sorted(proposed) != _numbers(kit.remaining):
        raise Refused(
            "The packages of this kit have changed since the proposal. Take it back and propose again."
        )


def _numbers(packages: Iterable[Package]) -> list[int]:
    return sorted(p.package for p in packages)


def _scanned(kit: Kit, order: CarryOutDisposal) -> tuple[tuple[Package, PackageRef], ...]:
    """The packages as scanned, each once and with its seal. Raises Refused."""
    refs = by_kit(order.packages).get(kit.number, []) if order.packages else []
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
    return tuple(pairs)


def _labels(kit: Kit, codes: Sequence[str]) -> tuple[LabelCode, ...]:
    """The labels of this kit among those scanned. Raises Refused for one that is void, or scanned twice."""
    found: list[LabelCode] = []
    for code in codes:
        try:
            read = parse_label_code(code)
        except NumberRefused as refused:
            raise Refused(refused.fault.value, field="labels", **dict(refused.values)) from refused
        if str(read.kit) != kit.number:
            continue
        if read.part.kind is PartKind.KIT:
            raise Refused("This is the label of a whole kit. Scan its packages and items.", field="labels")
        if kit.labels.get(str(read.part)) != read.serial:
            raise Refused(
                "Label {label} is void: a newer one was printed, or none. Look what the bag is.",
                field="labels",
                label=read.written,
            )
        if read in found:
            raise Refused("Label {label} stands on this list twice.", field="labels", label=read.written)
        found.append(read)
    return tuple(found)


def _findings(cart: _Cart, actor: Actor) -> tuple[Fact, ...]:
    """What is not as recorded, and the disposal taken back with it; nothing where all is as it should be."""
    kit = cart.kit
    findings, _ = seal_findings(kit, cart.packages, actor)
    why = ["a seal is not as recorded"] if findings else []
    left = {p.package for p in kit.remaining}
    if cart.not_found:
        _each_once(cart.not_found, left - {p.package for p, _ in cart.packages})
        entries = [{"package": number} for number in sorted(cart.not_found)]
        findings.append(fact(kit, "package.lost", actor, entries, reason="not found at the disposal"))
        why.append("a package was not found")
    if cart.items_not_found:
        _each_once(cart.items_not_found, {i.item for i in _inside(kit)})
        gone = [{"item": number} for number in sorted(cart.items_not_found)]
        reason = "not found at the disposal"
        findings.append(fact(kit, "item.found_missing", actor, items=gone, reason=reason))
        why.append("an item was not found")
    if not findings:
        return ()
    if kit.retention is Retention.DISPOSED:  # what ended the kit stands
        return tuple(findings)
    return (*findings, choice(kit, "disposal.withdrawn", actor, reason=" and ".join(why)))


def _each_once(named: Sequence[int], possible: set[int]) -> None:
    if len(set(named)) != len(named) or not set(named) <= possible:
        raise Refused("Something stands on this list twice, or is not to be destroyed.", field="not_found")


def _inside(kit: Kit) -> list[Item]:
    """The items that are destroyed with the kit's packages, in order."""
    left = {p.package for p in kit.remaining}
    inside = (i for i in kit.items.values() if i.package in left and not i.missing)
    return sorted(inside, key=lambda item: item.item)


def _must_be_complete(cart: _Cart) -> None:
    """Every package scanned, by its label where it has one; every item scanned by its label, or named where
    it never had one. Raises Refused."""
    kit = cart.kit
    parts = [str(label.part) for label in cart.labels]
    named = [package.package for package, _ in cart.packages]
    for number in _numbers(kit.remaining):
        if number not in named:
            raise Refused("Scan package {package}, or say that it is not there.", package=number)
        if f"P{number:02}" in kit.labels and f"P{number:02}" not in parts:
            raise Refused("Package {package} has a label: scan it.", field="labels", package=number)
    if sorted(named) != _numbers(kit.remaining):
        raise Refused("A package stands on this list twice, or is not to be destroyed.", field="packages")
    inside = _inside(kit)
    for item in inside:
        labelled = f"I{item.item:02}" in kit.labels
        if labelled and item.item in cart.items:
            raise Refused(
                "Item {item} has a label: scan it. Print it again where it cannot be read.",
                field="items",
                item=item.item,
            )
        if labelled and f"I{item.item:02}" not in parts:
            raise Refused("Scan item {item}, or say that it is not there.", field="labels", item=item.item)
        if not labelled and item.item not in cart.items:
            raise Refused(
                "Item {item} never had a label: name it by its number.", field="items", item=item.item
            )
    known = {f"P{n:02}" for n in named} | {f"I{i.item:02}" for i in inside}
    if len(set(cart.items)) != len(cart.items) or not set(cart.items) <= {i.item for i in inside}:
        raise Refused("An item stands on this list twice, or is not to be destroyed.", field="items")
    if not set(parts) <= known:
        raise Refused("A label on this list is not of something to be destroyed.", field="labels")


def _destroyed(cart: _Cart, actor: Actor, observer: Actor) -> tuple[Fact, ...]:
    """The end of the term first, then of the packages: PostgreSQL destroys nothing of a kit not disposed.

    Of a kit disposed of already, the packages alone.
    """
    kit = cart.kit
    signed: dict[str, Any] = {"with": [cart.approver.signs("approver"), observer.signs("observer")]}
    pairs = sorted(cart.packages, key=lambda pair: pair[0].package)
    numbers = [{"package": package.package} for package, _ in pairs]
    entries = [
        {"package": package.package, **({"seal_seen": ref.seal} if ref.seal else {})}
        for package, ref in pairs
    ]
    items = [{"item": i.item, "group": i.group, "package": i.package} for i in _inside(kit)]
    labels = [{"code": str(label), "serial": label.serial} for label in cart.labels]
    stated: dict[str, Any] = {**({"items": items} if items else {}), **({"labels": labels} if labels else {})}
    gone = fact(kit, "package.destroyed", actor, entries, **stated, **signed)
    if kit.retention is Retention.DISPOSED:
        return (gone,)
    return (choice(kit, "disposal.carried_out", actor, packages=numbers, **signed), gone)


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
