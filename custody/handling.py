"""What happens to packages in somebody's hands: sealed, checked, opened, stored, split, lost and found.

Pure: what was seen goes in, facts come out; whether the kit is still as it was seen is settled by
``append`` at the heads that were seen. A seal that does not match is a finding, not a refusal: it is
recorded, and the package stays where it is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from custody.commands import (
    CheckSeal,
    Correct,
    Deposit,
    Find,
    ItemFinding,
    Join,
    Lose,
    Open,
    OpenIncident,
    PackageRef,
    PrintLabels,
    Regrouped,
    Reseal,
    ReturnBelongings,
    Seal,
    Split,
    Store,
    Swapped,
    Take,
    TakeOver,
    Void,
)
from custody.decision import Decided, Seen
from custody.directory import Directory
from custody.event import Event, Fact
from custody.kit import Holder, Kit, Package
from custody.number import KitNumber, label_code, next_serial, parse_part
from custody.people import Actor
from custody.permission import knows, permit
from custody.protocol import Custody
from custody.refusal import NeedsSecond, NoSuchPackage, NotSeen, Refused
from custody.registering import entered, occurred, paper_fields, refuse_used_seals

Entry = Callable[[Kit, Package, PackageRef], Mapping[str, Any]]


def by_kit(packages: Sequence[PackageRef]) -> dict[str, list[PackageRef]]:
    """The packages of a command, grouped by kit. Raises Refused for none and for one named twice."""
    grouped: dict[str, list[PackageRef]] = {}
    for ref in packages:
        grouped.setdefault(ref.kit, []).append(ref)
    for refs in grouped.values():
        if len({r.package for r in refs}) != len(refs):
            raise Refused("A package stands twice on this list.", field="packages")
    if not grouped:
        raise Refused("Name at least one package.", field="packages")
    return grouped


def package_of(kit: Kit, number: int) -> Package:
    """Raises NoSuchPackage."""
    if number not in kit.packages:
        raise NoSuchPackage(number)
    return kit.packages[number]


def each_kit(
    seen: Seen, action: str, packages: Sequence[PackageRef], actor: Actor
) -> list[tuple[Kit, list[tuple[Package, PackageRef]]]]:
    """Kits and packages that a command names, each permitted to this person. Raises NotSeen, Refused."""
    found = []
    for number, refs in by_kit(packages).items():
        kit = seen.kit(number)
        permit("kit.read", actor, kit)
        pairs = [(package_of(kit, r.package), r) for r in refs]
        permit(action, actor, kit, [p for p, _ in pairs])
        found.append((kit, pairs))
    return found


def fact(
    kit: Kit, type_: str, actor: Actor, entries: Sequence[Mapping[str, Any]] = (), **fields: Any
) -> Fact:
    """A fact of the custody trail about some packages."""
    occurred_at = fields.pop("occurred_at", None)
    return Fact(
        type=type_,
        subject=f"custody:{kit.number}",
        who=actor.who(),
        occurred_at=occurred_at,
        fields={**({"packages": list(entries)} if entries else {}), **fields},
    )


def seal_findings(
    kit: Kit, pairs: Sequence[tuple[Package, PackageRef]], actor: Actor
) -> tuple[list[Fact], list[Package]]:
    """Compare what is seen on the bags with what is recorded.

    Answers the findings and the packages whose seal is as recorded (or was not compared).
    """
    wrong, right = [], []
    for package, ref in pairs:
        if ref.condition == "broken" or (ref.seal is not None and ref.seal != package.seal):
            entry: dict[str, Any] = {"package": package.package}
            if package.seal:
                entry["seal_before"] = package.seal
            if ref.seal is not None and ref.seal != package.seal:
                entry["seal_seen"] = ref.seal
            entry["condition"] = "broken" if ref.condition == "broken" else "other_seal"
            wrong.append(entry)
        else:
            right.append(package)
    return ([fact(kit, "seal.found_broken", actor, wrong)] if wrong else []), right


def seal(seen: Seen, order: Seal, actor: Actor) -> Decided:
    """Close packages, each with a seal of its own."""
    facts = []
    for kit, pairs in each_kit(seen, "package.seal", order.packages, actor):
        _check_new_seals(kit, [r for _, r in pairs])
        entries = [{"package": p.package, "seal": r.seal} for p, r in pairs]
        when = occurred(order.paper, seen.at)
        facts.append(
            fact(kit, "package.sealed", actor, entries, occurred_at=when, **paper_fields(order.paper))
        )
    return Decided(facts=tuple(facts))


def _check_new_seals(kit: Kit, packages: Sequence[PackageRef]) -> None:
    """Raises Refused for a package without a seal and for a seal that closes two packages of a kit."""
    for each in packages:
        if not each.seal:
            raise Refused(
                "Say which seal closes package {package}.", field="packages.seal", package=each.package
            )
    refuse_used_seals(kit, [each.seal for each in packages if each.seal])


def check_seal(seen: Seen, order: CheckSeal, actor: Actor) -> Decided:
    """Look at seals: intact, or a finding for each that is broken or another one."""
    facts: list[Fact] = []
    for kit, pairs in each_kit(seen, "seal.check", order.packages, actor):
        findings, right = seal_findings(kit, pairs, actor)
        facts += findings
        for package in right:
            if package.seal is None:
                raise Refused.step_from("seal.checked", "custody", package.state, package.package)
        if right:
            entries = [{"package": p.package, "seal": p.seal, "condition": "intact"} for p in right]
            facts.append(fact(kit, "seal.checked", actor, entries))
    return Decided(facts=tuple(facts))


def open_(seen: Seen, order: Open, actor: Actor) -> Decided:
    """Break a seal, with a reason. The old seal stays on record and with the package."""
    facts: list[Fact] = []
    for kit, pairs in each_kit(seen, "package.open", order.packages, actor):
        findings, right = seal_findings(kit, pairs, actor)
        facts += findings
        if right:
            entries = [{"package": p.package, **({"seal_before": p.seal} if p.seal else {})} for p in right]
            paper = entered(order.paper, actor)
            facts.append(fact(kit, "package.opened", actor, entries, reason=order.reason, **paper))
    return Decided(facts=tuple(facts))


def reseal(seen: Seen, order: Reseal, actor: Actor) -> Decided:
    """Close with a new seal: what was opened, or what was found broken."""
    facts = []
    for kit, pairs in each_kit(seen, "package.reseal", order.packages, actor):
        for package, _ in pairs:
            if package.state is not Custody.OPENED and not package.seal_broken:
                raise Refused("The seal of package {package} is intact.", package=package.package)
        _check_new_seals(kit, [r for _, r in pairs])
        entries = [
            {"package": p.package, **({"seal_before": p.seal} if p.seal else {}), "seal": r.seal}
            for p, r in pairs
        ]
        facts.append(fact(kit, "package.resealed", actor, entries, **entered(order.paper, actor)))
    return Decided(facts=tuple(facts))


def store(seen: Seen, order: Store, actor: Actor, directory: Directory) -> Decided:
    """Put packages into a place, or into another one."""
    place = directory.place_of(actor, order.place)
    facts: list[Fact] = []
    for kit, pairs in each_kit(seen, "package.store", order.packages, actor):
        findings, right = seal_findings(kit, pairs, actor)
        facts += findings
        for package in right:
            if place.storage is not None and place.storage != package.storage:
                raise Refused(
                    "Package {package} is to be kept {wanted}; {place} keeps {given}.",
                    field="place",
                    package=package.package,
                    wanted=package.storage,
                    place=place.name,
                    given=place.storage,
                )
        when = occurred(order.paper, seen.at)
        for type_, state in (("package.stored", Custody.SEALED), ("package.moved", Custody.STORED)):
            entries = [
                {"package": p.package, **({"seal": p.seal} if p.seal else {})}
                for p in right
                if p.state is state
            ]
            if entries:
                facts.append(
                    fact(
                        kit,
                        type_,
                        actor,
                        entries,
                        place={"id": place.id, "name": place.name},
                        occurred_at=when,
                        **paper_fields(order.paper),
                    )
                )
        _refuse_others(right, Custody.SEALED, Custody.STORED)
    return Decided(facts=tuple(facts))


def _refuse_others(packages: Sequence[Package], *states: Custody) -> None:
    for package in packages:
        if package.state not in states:
            raise Refused.step_from("package.stored", "custody", package.state, package.package)


def take(seen: Seen, order: Take, actor: Actor) -> Decided:
    """Take packages out of their place, into this person's hands."""
    facts = []
    for kit, pairs in each_kit(seen, "package.take", order.packages, actor):
        findings, right = seal_findings(kit, pairs, actor)
        facts += findings
        if right:
            entries = [{"package": p.package} for p in right]
            paper = entered(order.paper, actor)
            facts.append(fact(kit, "package.taken", actor, entries, reason=order.reason, **paper))
    return Decided(facts=tuple(facts))


def take_over(seen: Seen, order: TakeOver, actor: Actor, directory: Directory) -> Decided:
    """Take over what a colleague held whose function here has ended: a finding, with the reason.

    Who still holds a function hands over and is accepted from; an open offer is taken back first.
    """
    facts: list[Fact] = []
    for kit, pairs in each_kit(seen, "package.take_over", order.packages, actor):
        findings, right = seal_findings(kit, pairs, actor)
        broken = [p for p, r in pairs if r.condition == "broken" and r.seal in (None, p.seal)]
        facts += findings
        by_holder: dict[Holder, list[Mapping[str, Any]]] = {}
        for package in sorted([*right, *broken], key=lambda p: p.package):
            held = package.holder
            if held is None or held.person is None:
                raise NoSuchPackage(package.package)
            if any(
                (a.person, a.organisation) == (held.person, held.organisation) for a in directory.appointments
            ):
                raise Refused(
                    "{holder} still works here and can hand package {package} over: ask for that, and accept"
                    " it.",
                    holder=held.name or held.person,
                    package=package.package,
                )
            by_holder.setdefault(held, []).append(
                {"package": package.package, **({"seal": package.seal} if package.seal else {})}
            )
        for held, entries in by_holder.items():
            left = {"name": held.name, "person": held.person, "organisation": held.organisation}
            known = {k: v for k, v in left.items() if v is not None}
            facts.append(
                fact(kit, "package.taken_over", actor, entries, counterpart=known, reason=order.reason)
            )
    return Decided(facts=tuple(facts))


def split(seen: Seen, order: Split, actor: Actor) -> Decided:
    """One opened package becomes several; every item of it goes into exactly one of them."""
    kit = seen.kit(order.kit)
    old = package_of(kit, order.package)
    permit("package.split", actor, kit, [old])
    if len(order.into) < 2:
        raise Refused("A package is split into at least two.", field="into")
    inside = sorted(i.item for i in kit.items_of(old.package))
    moved = sorted(i for p in order.into for i in p.items)
    if inside != moved:
        raise Refused(
            "Every item of package {package} goes into exactly one of the new ones.",
            field="into",
            package=old.package,
        )
    entries: list[Mapping[str, Any]] = [{"package": old.package}]
    entries += [
        {"package": p.package, "kind": p.kind, "storage": p.storage, "from": [old.package]}
        for p in order.into
    ]
    items = [{"item": i, "package": p.package} for p in order.into for i in p.items]
    if not items:
        raise Refused("Package {package} has no items to split.", field="package", package=old.package)
    made = fact(kit, "package.split", actor, entries, items=items, reason=order.reason)
    return Decided(facts=(made, *_seal_new(kit, order.into, actor)))


def join(seen: Seen, order: Join, actor: Actor) -> Decided:
    """Opened packages of one kit become one."""
    kit = seen.kit(order.kit)
    olds = [package_of(kit, n) for n in order.packages]
    permit("package.join", actor, kit, olds)
    if len({p.package for p in olds}) < 2:
        raise Refused("At least two packages are joined.", field="packages")
    items = [{"item": i.item, "package": order.into.package} for p in olds for i in kit.items_of(p.package)]
    if not items:
        raise Refused("These packages hold no items.", field="packages")
    new = order.into
    entries: list[Mapping[str, Any]] = [{"package": p.package} for p in olds]
    sources = [p.package for p in olds]
    entries.append({"package": new.package, "kind": new.kind, "storage": new.storage, "from": sources})
    made = fact(kit, "package.joined", actor, entries, items=items, reason=order.reason)
    return Decided(facts=(made, *_seal_new(kit, (new,), actor)))


def _seal_new(kit: Kit, packages: Sequence[Regrouped], actor: Actor) -> list[Fact]:
    refuse_used_seals(kit, [p.seal for p in packages if p.seal])
    sealed = [{"package": p.package, "seal": p.seal} for p in packages if p.seal]
    return [fact(kit, "package.sealed", actor, sealed)] if sealed else []


def labels_printed(kit: Kit, order: PrintLabels, actor: Actor) -> Decided:
    """Print labels: each print has a serial of its own, and a reprint voids the one before."""
    permit("labels.print", actor, kit)
    known = ["K", *(f"P{p.package:02}" for p in kit.open_packages), *(f"I{i:02}" for i in kit.items)]
    parts = list(order.parts) or [p for p in known if p not in kit.labels]
    if not parts:
        raise Refused("Every part of this kit has a label. Name the one to print again.", field="parts")
    if unknown := [p for p in parts if p not in known]:
        raise Refused("This kit has no part {part}.", field="parts", part=unknown[0])
    if len(set(parts)) != len(parts):
        raise Refused("A part stands twice on this list.", field="parts")
    reprinted = any(p in kit.labels for p in parts)
    if reprinted and not order.reason:
        raise Refused("Say why a label is printed again; the older one becomes void.", field="reason")
    number = KitNumber(kit.number)
    printed = []
    for part in parts:
        serial = next_serial(number, parse_part(part), kit.labels.get(part, 0))
        printed.append({"code": label_code(number, parse_part(part), serial), "serial": serial})
    fields: dict[str, Any] = {"labels": printed, **({"reason": order.reason} if order.reason else {})}
    return Decided(facts=(fact(kit, "labels.printed", actor, **fields),))


def swapped(seen: Seen, order: Swapped, actor: Actor, second: Actor | None, finding: str) -> Decided:
    """Two labels were found swapped: one finding in the trail of each kit, new labels, two people."""
    pairs = []
    for ref in (order.first, order.second):
        kit = seen.kit(ref.kit)
        package = package_of(kit, ref.package)
        permit("labels.swapped", actor, kit, [package])
        pairs.append((kit, package))
    if (order.first.kit, order.first.package) == (order.second.kit, order.second.package):
        raise Refused("Name two different packages.", field="second")
    needs_second(actor, second)
    facts = []
    kits = {kit.number: kit for kit, _ in pairs}
    signs = [second.signs("second")] if second else []
    for number, kit in kits.items():
        entries = [{"package": p.package} for k, p in pairs if k.number == number]
        facts.append(
            fact(
                kit, "labels.swapped", actor, entries, finding=finding, reason=order.reason, **{"with": signs}
            )
        )
        parts = tuple(f"P{e['package']:02}" for e in entries)
        again = PrintLabels(kit=number, parts=parts, reason="labels swapped")
        printed = labels_printed(kit, again, actor).facts[0]
        facts.append(
            Fact(
                type=printed.type,
                subject=printed.subject,
                who=printed.who,
                fields={**printed.fields, "with": signs},
            )
        )
    return Decided(facts=tuple(facts))


def needs_second(actor: Actor, second: Actor | None) -> None:
    """Raises NeedsSecond until another person signs too; Refused for the same person twice."""
    if second is None:
        raise NeedsSecond
    if second.person == actor.person:
        raise Refused("The second signature must be another person's.")


def lose(seen: Seen, order: Lose, actor: Actor) -> Decided:
    """A package cannot be found. It stays on record and can be found again."""
    return Decided(
        facts=tuple(
            fact(kit, "package.lost", actor, [{"package": p.package} for p, _ in pairs], reason=order.reason)
            for kit, pairs in each_kit(seen, "package.lose", order.packages, actor)
        )
    )


def find(seen: Seen, order: Find, actor: Actor, directory: Directory) -> Decided:
    """A lost package was found; or one was found in another place than recorded."""
    facts: list[Fact] = []
    for kit, pairs in each_kit(seen, "package.find", order.packages, actor):
        findings, _ = seal_findings(kit, pairs, actor)
        for package, ref in pairs:
            entry = {"package": package.package, "condition": ref.condition}
            if package.state is Custody.LOST:
                facts.append(fact(kit, "package.found", actor, [entry]))
                continue
            if order.place is None:
                raise Refused("Say in which place package {package} is.", field="place", package=ref.package)
            place = directory.place_of(actor, order.place)
            facts.append(
                fact(
                    kit,
                    "package.found_elsewhere",
                    actor,
                    [entry],
                    place={"id": place.id, "name": place.name},
                )
            )
        facts += findings
    return Decided(facts=tuple(facts))


def item_finding(kit: Kit, order: ItemFinding, actor: Actor) -> Decided:
    """Items were found missing, or missing ones were found."""
    permit("kit.read", actor, kit)
    inside = [kit.packages[kit.items[i].package] for i in order.items if i in kit.items]
    if not order.items or len(inside) != len(order.items) or not all(knows(actor, kit, p) for p in inside):
        raise Refused("This kit has no such item.", field="items")
    permit("item.finding", actor, kit, inside)
    for number in order.items:
        if kit.items[number].missing is order.missing:
            raise Refused("This is recorded of item {item} already.", field="items", item=number)
    type_ = "item.found_missing" if order.missing else "item.found"
    made = fact(kit, type_, actor, items=[{"item": i} for i in order.items], reason=order.reason)
    return Decided(facts=(made,))


def void(seen: Seen, order: Void, actor: Actor, second: Actor | None) -> Decided:
    """Packages registered in error, and empty. Takes two people."""
    facts = []
    found = each_kit(seen, "package.void", order.packages, actor)
    for kit, pairs in found:
        for package, _ in pairs:
            if kit.items_of(package.package):
                raise Refused("Package {package} is not empty.", package=package.package)
    needs_second(actor, second)
    for kit, pairs in found:
        entries = [{"package": p.package} for p, _ in pairs]
        signs = [second.signs("second")] if second else []
        facts.append(fact(kit, "package.voided", actor, entries, reason=order.reason, **{"with": signs}))
    return Decided(facts=tuple(facts))


def correct(kit: Kit, order: Correct, actor: Actor, trail: Sequence[Event]) -> Decided:
    """Say what an earlier event of this custody trail has wrong. The event stays as it is.

    The kit's centre can correct every event, others those of their own organisation.
    """
    permit("event.correct", actor, kit)
    corrected = next((event for event in trail if event.digest == order.digest), None)
    if corrected is None or actor.organisation not in (kit.centre, corrected.who.get("organisation")):
        raise NotSeen
    made = fact(kit, "event.corrected", actor, cites=[order.digest], reason=order.reason)
    return Decided(facts=(made,))


SAMPLE_FREE: Final = "belongings"


def return_belongings(
    seen: Seen,
    order: ReturnBelongings,
    actor: Actor,
    second: Actor | None,
) -> Decided:
    """Give the victim's own belongings back. Samples never leave this way. Takes two people."""
    found = each_kit(seen, "package.return", order.packages, actor)
    for kit, pairs in found:
        if kit.holds:
            raise Refused("The kit is held; nothing leaves it.")
        for package, _ in pairs:
            if package.holder is None or package.holder.organisation != actor.organisation:
                raise Refused("Package {package} is not at the centre.", package=package.package)
            items = kit.items_of(package.package)
            if not items or any(i.group != SAMPLE_FREE for i in items):
                raise Refused(
                    "Package {package} holds samples; only belongings can be returned.",
                    package=package.package,
                )
    needs_second(actor, second)
    signs = [second.signs("second")] if second else []
    return Decided(
        facts=tuple(
            fact(
                kit, "package.returned", actor, [{"package": p.package} for p, _ in pairs], **{"with": signs}
            )
            for kit, pairs in found
        )
    )


def deposit(seen: Seen, order: Deposit, actor: Actor, directory: Directory) -> Decided:
    """The court registry takes packages into its keeping; they end here."""
    place = directory.place_of(actor, order.place)
    return Decided(
        facts=tuple(
            fact(
                kit,
                "package.deposited",
                actor,
                [{"package": p.package} for p, _ in pairs],
                place={"id": place.id, "name": place.name},
            )
            for kit, pairs in each_kit(seen, "package.deposit", order.packages, actor)
        )
    )


def incident(seen: Seen, order: OpenIncident, actor: Actor, directory: Directory, finding: str) -> Decided:
    """An incident at a place: one event of the place, one finding in the trail of every kit it touched.

    The kits cite the finding's number, so that no kit's trail names another kit.
    """
    place = directory.place_of(actor, order.place)
    facts = [
        Fact(
            type="incident.opened",
            subject=f"place:{place.id}",
            who=actor.who(),
            fields={"reason": order.reason, "finding": finding},
        )
    ]
    for kit, pairs in each_kit(seen, "incident.open", order.packages, actor):
        for package, _ in pairs:
            if package.place is None or package.place.id != place.id:
                raise Refused(
                    "Package {package} is not in {place}.", package=package.package, place=place.name
                )
        facts.append(
            fact(
                kit,
                "incident.touched",
                actor,
                [{"package": p.package} for p, _ in pairs],
                place={"id": place.id, "name": place.name},
                finding=finding,
            )
        )
    return Decided(facts=tuple(facts))
