"""Who may do what: action × function × relation to the kit. What does not stand here is refused.

A relation is read from the kit as it stands. ``ANY`` needs no kit. An action on packages asks the
relation for each of them.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from custody.kit import Kit, Package
from custody.people import STAFF, Actor, Function
from custody.protocol import Legal
from custody.refusal import NoSuchPackage, NotPermitted, NotSeen


class Relation(StrEnum):
    ANY = "any"
    OF_CENTRE = "of_its_centre"
    HOLDS = "holds_a_package"
    COLLEAGUE = "with_a_colleague"
    RECEIVES = "receives_an_offer"
    LINKED = "linked"
    OWN = "own_kit"


F, Rel = Function, Relation
JUSTICE: Final = frozenset({F.OFFICER, F.REGISTRAR, F.MAGISTRATE})
Who = Mapping[Function, frozenset[Relation]]


def _who(functions: Iterable[Function], *relations: Relation) -> Who:
    return {f: frozenset(relations) for f in functions}


_STAFF: Final = (F.NURSE, F.CUSTODIAN, F.COORDINATOR)
_CENTRE: Final = _who(_STAFF, Rel.OF_CENTRE)
_HANDS: Final = (F.NURSE, F.CUSTODIAN, F.COORDINATOR, F.OFFICER, F.ANALYST, F.REGISTRAR)
_HOLDERS: Final = _who(_HANDS, Rel.HOLDS)
_RECEIVERS: Final = _who(_HANDS, Rel.RECEIVES)

PERMISSIONS: Final[Mapping[str, Who]] = {
    # reading
    "kit.read": {
        **_who(_STAFF, Rel.OF_CENTRE, Rel.HOLDS, Rel.RECEIVES),
        **_who((F.OFFICER,), Rel.LINKED, Rel.HOLDS, Rel.RECEIVES),
        **_who((F.ANALYST, F.REGISTRAR), Rel.HOLDS, Rel.RECEIVES),
        **_who((F.MAGISTRATE,), Rel.LINKED),
    },
    "custody_trail.read": {**_CENTRE, **_who((F.OFFICER, F.MAGISTRATE), Rel.LINKED)},
    "custody_trail.export": {**_who((F.COORDINATOR,), Rel.OF_CENTRE), **_who((F.MAGISTRATE,), Rel.LINKED)},
    "choices_trail.read": _CENTRE,
    "choices_trail.export": _who((F.COORDINATOR,), Rel.OF_CENTRE),
    "private.read": _CENTRE,
    "own_kit.read": _who((F.VICTIM,), Rel.OWN),
    "worklist.read": _who((*_HANDS, F.MAGISTRATE), Rel.ANY),
    # Whoever watches the log grow sees when a centre works: not for police and justice.
    "log.read": _who((*_STAFF, F.AUDITOR), Rel.ANY),
    "receipt.prove": _who([f for f in F if f not in (F.VICTIM, F.CLOCK)], Rel.ANY),
    "reads.read": _who((F.COORDINATOR,), Rel.ANY),
    "duty.review": _who((F.COORDINATOR,), Rel.ANY),  # what was opened at the own centre, by others
    # the kit and its packages
    "kit.register": _who((F.NURSE,), Rel.ANY),
    "kit.supplement": _who((F.NURSE,), Rel.OF_CENTRE),
    "numbers.reserve": _who((F.NURSE, F.COORDINATOR), Rel.ANY),
    "package.seal": _who((F.NURSE, F.CUSTODIAN), Rel.HOLDS),
    "seal.check": _who(_HANDS, Rel.HOLDS, Rel.OF_CENTRE),
    "package.open": _who((F.NURSE, F.CUSTODIAN, F.ANALYST), Rel.HOLDS),
    "package.reseal": _who((F.NURSE, F.CUSTODIAN, F.ANALYST), Rel.HOLDS),
    "package.store": _HOLDERS,
    "package.take": _HOLDERS,
    "package.take_over": _who(_HANDS, Rel.COLLEAGUE),  # of somebody whose function has ended
    "handover.offer": _HOLDERS,
    "handover.carry": _HOLDERS,
    "handover.accept": _RECEIVERS,
    "handover.refuse": _RECEIVERS,
    "handover.cancel": {**_who(_HANDS, Rel.HOLDS), **_who(_STAFF, Rel.HOLDS, Rel.OF_CENTRE)},
    "handover.record_acceptance": _HOLDERS,
    "handover.receive_back": _who((F.NURSE, F.CUSTODIAN), Rel.OF_CENTRE),
    "package.split": _who((F.NURSE, F.CUSTODIAN, F.ANALYST), Rel.HOLDS),
    "package.join": _who((F.NURSE, F.CUSTODIAN, F.ANALYST), Rel.HOLDS),
    "labels.print": _who((F.NURSE, F.CUSTODIAN), Rel.OF_CENTRE),
    "labels.swapped": _who((F.NURSE, F.CUSTODIAN), Rel.OF_CENTRE),
    "package.lose": {**_who(_HANDS, Rel.HOLDS), **_who(_STAFF, Rel.HOLDS, Rel.OF_CENTRE)},
    "package.find": _who((F.NURSE, F.CUSTODIAN), Rel.OF_CENTRE, Rel.HOLDS),
    "item.finding": {**_who(_HANDS, Rel.HOLDS), **_who(_STAFF, Rel.HOLDS, Rel.OF_CENTRE)},
    "package.void": _who((F.NURSE, F.CUSTODIAN), Rel.OF_CENTRE),
    "event.correct": {**_who(_HANDS, Rel.HOLDS), **_who(_STAFF, Rel.OF_CENTRE)},
    "incident.open": _who((F.CUSTODIAN,), Rel.OF_CENTRE),
    "package.return": _who((F.NURSE, F.CUSTODIAN), Rel.OF_CENTRE),
    "package.deposit": _who((F.REGISTRAR,), Rel.HOLDS),
    # the victim's decision, and justice
    "report.declare": {**_who((F.NURSE, F.COORDINATOR), Rel.OF_CENTRE), **_who((F.VICTIM,), Rel.OWN)},
    "report.withdraw": _who((F.NURSE, F.COORDINATOR), Rel.OF_CENTRE),
    "withdrawal.wish": {**_who((F.NURSE, F.COORDINATOR), Rel.OF_CENTRE), **_who((F.VICTIM,), Rel.OWN)},
    "order.enter": _who((F.COORDINATOR,), Rel.OF_CENTRE),
    "order.confirm": _who(_STAFF, Rel.OF_CENTRE),
    "choices.disclose": _who((F.COORDINATOR,), Rel.OF_CENTRE),
    "request.send": _who((F.OFFICER,), Rel.ANY),
    "request.answer": _who(_STAFF, Rel.ANY),
    "kit.link": _who((F.COORDINATOR,), Rel.OF_CENTRE),
    "link.move": _who((F.COORDINATOR,), Rel.OF_CENTRE),
    "link.error": _who((F.COORDINATOR,), Rel.OF_CENTRE),
    "link.end": _who((F.COORDINATOR,), Rel.OF_CENTRE),
    "release.error": _who((F.COORDINATOR,), Rel.OF_CENTRE),
    # the term
    "term.extend": {**_who((F.NURSE, F.COORDINATOR), Rel.OF_CENTRE), **_who((F.VICTIM,), Rel.OWN)},
    "term.correct": _who((F.COORDINATOR,), Rel.OF_CENTRE),
    "hold.place": {
        **_who((F.NURSE, F.COORDINATOR), Rel.OF_CENTRE),
        **_who((F.MAGISTRATE,), Rel.LINKED),
        **_who((F.VICTIM,), Rel.OWN),
    },
    "hold.lift": _who((F.COORDINATOR,), Rel.OF_CENTRE),
    "notice.attempt": _who((F.NURSE, F.COORDINATOR), Rel.OF_CENTRE),
    "destruction.ask": {**_who((F.NURSE, F.COORDINATOR), Rel.OF_CENTRE), **_who((F.VICTIM,), Rel.OWN)},
    "destruction.confirm": _who((F.NURSE, F.COORDINATOR), Rel.OF_CENTRE),
    "destruction.take_back": {
        **_who((F.NURSE, F.COORDINATOR), Rel.OF_CENTRE),
        **_who((F.VICTIM,), Rel.OWN),
    },
    "disposal.propose": _who((F.CUSTODIAN,), Rel.OF_CENTRE),
    "disposal.approve": _who((F.COORDINATOR,), Rel.OF_CENTRE),
    "disposal.withdraw": _who((F.CUSTODIAN, F.COORDINATOR), Rel.OF_CENTRE),
    "disposal.carry_out": _who((F.CUSTODIAN, F.NURSE), Rel.OF_CENTRE),
    # signing for somebody else's proposal
    "proposal.sign": _who(_STAFF, Rel.ANY),
}


def holds(actor: Actor, package: Package) -> bool:
    """In this person's hands, or in a place of the person's organisation."""
    if package.holder is None or package.holder.organisation != actor.organisation:
        return False
    return package.place is not None or package.holder.person == actor.person


def with_colleague(actor: Actor, package: Package) -> bool:
    """In the hands of another person of the same organisation, and in no place."""
    held = package.holder
    return (
        held is not None
        and package.place is None
        and held.organisation == actor.organisation
        and held.person not in (None, actor.person)
    )


def receives(actor: Actor, kit: Kit, package: Package) -> bool:
    offer = kit.handovers.get(package.handover or "")
    return (
        offer is not None
        and offer.receiver.organisation == actor.organisation
        and offer.receiver.person in (None, actor.person)
    )


def relations(actor: Actor, kit: Kit, package: Package | None = None) -> frozenset[Relation]:
    """How this person stands to the kit, or to one package of it."""
    if actor.function is F.VICTIM:
        return frozenset({Rel.OWN}) if actor.card == kit.number else frozenset()
    found = set()
    linked = kit.link is not None and kit.legal in (Legal.LINKED, Legal.RELEASED)
    if actor.function in JUSTICE and not linked:
        return frozenset()  # for them the kit does not exist, whatever lies in their hands
    if kit.centre == actor.organisation:
        found.add(Rel.OF_CENTRE)
    of = kit.open_packages if package is None else (package,)
    if any(holds(actor, p) for p in of) or (package is None and _organisation_holds(actor, kit)):
        found.add(Rel.HOLDS)
    if any(with_colleague(actor, p) for p in of):
        found.add(Rel.COLLEAGUE)
    if any(receives(actor, kit, p) for p in of):
        found.add(Rel.RECEIVES)
    if linked and kit.link is not None and actor.organisation in (kit.link.office, kit.link.zone):
        found.add(Rel.LINKED)
    return frozenset(found)


def _organisation_holds(actor: Actor, kit: Kit) -> bool:
    return any(
        p.holder is not None and p.holder.organisation == actor.organisation for p in kit.open_packages
    )


def knows(actor: Actor, kit: Kit, package: Package) -> bool:
    """Whether this person may know that the kit has this package: the whole kit for its centre and where it
    is linked; for others what is, or comes, into the hands of their organisation."""
    if {Relation.OF_CENTRE, Relation.LINKED} & relations(actor, kit):
        return True
    held = package.holder is not None and package.holder.organisation == actor.organisation
    return held or receives(actor, kit, package)


def as_known(actor: Actor, kit: Kit) -> Kit:
    """The kit as far as this person may know of it; what may not be known is as if it had never been.

    Its centre and the victim know everything. Others know nothing of the choices, so ``retention`` says
    nothing to them; and where the kit is not linked to them, only of the packages that are, or come, into the
    hands of their organisation.
    """
    if Relation.OWN in relations(actor, kit) or (
        actor.organisation == kit.centre and actor.function in STAFF
    ):
        return kit
    packages = {n: p for n, p in kit.packages.items() if knows(actor, kit, p)}
    items = {n: i for n, i in kit.items.items() if i.package in packages}
    parts = {"K"} | {f"P{n:02}" for n in packages} | {f"I{n:02}" for n in items}
    whole = Relation.LINKED in relations(actor, kit)
    return Kit(
        number=kit.number,
        centre=kit.centre,
        examined_on=kit.examined_on,
        registered_at=kit.registered_at,
        custody_head=kit.custody_head,
        legal=kit.legal,
        packages=packages,
        items=items,
        labels={part: serial for part, serial in kit.labels.items() if part in parts},
        handovers={n: h for n, h in kit.handovers.items() if whole or set(h.packages) & set(packages)},
        order=kit.order if whole else None,
        matches=kit.matches if whole else (),
        link=kit.link,
        linked_at=kit.linked_at,
        released_at=kit.released_at,
        findings=tuple(
            f for f in kit.findings if f.trail == "custody" and (whole or set(f.packages) & set(packages))
        ),
    )


def may(action: str, actor: Actor, kit: Kit | None = None, package: Package | None = None) -> bool:
    """Whether the table allows it."""
    allowed = PERMISSIONS[action].get(actor.function, frozenset())
    if Rel.ANY in allowed:
        return True
    return kit is not None and bool(allowed & relations(actor, kit, package))


def permit(action: str, actor: Actor, kit: Kit | None = None, packages: Iterable[Package] = ()) -> None:
    """Refuse what the table does not allow.

    Raises NotSeen where the kit may not be known of, NoSuchPackage where a package of it may not, and
    NotPermitted otherwise.
    """
    named = tuple(packages)
    if kit is not None and not (may("kit.read", actor, kit) or may("own_kit.read", actor, kit)):
        raise NotSeen
    for package in named:
        if not may(action, actor, kit, package):
            if kit is None or not knows(actor, kit, package):
                raise NoSuchPackage(package.package)
            raise NotPermitted(
                "This is not yours to do with package {package}: it is with {holder}.",
                package=package.package,
                holder=(package.holder.name if package.holder and package.holder.name else "-"),
            )
    if not named and not may(action, actor, kit):
        raise NotPermitted("Your function does not allow this step here.")
