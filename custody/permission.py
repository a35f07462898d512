"""Who may do what: action × function × relation to the kit. What does not stand here is refused.

A relation is read from the kit as it stands. ``ANY`` needs no kit. An action on packages asks the
relation for each of them.

Two rules stand above the table. A restricted kit names its readers: for every other person of its centre it
does not exist, but for the package in that person's own hands. And once evidence is with justice, the centre
and the victim see since when, and no more, until the prosecutor's office opens the kit to its centre.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from custody.kit import Hold, Item, Kit, Package
from custody.people import STAFF, Actor, Function
from custody.protocol import ENDED, Legal
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
    "private.disclose": _who((F.COORDINATOR,), Rel.OF_CENTRE),
    "own_kit.read": _who((F.VICTIM,), Rel.OWN),
    "worklist.read": _who((*_HANDS, F.MAGISTRATE), Rel.ANY),
    # Whoever watches the log grow sees when a centre works: not for police and justice.
    "log.read": _who((*_STAFF, F.AUDITOR), Rel.ANY),
    "receipt.prove": _who([f for f in F if f not in (F.VICTIM, F.CLOCK, F.OBSERVER)], Rel.ANY),
    "reads.read": _who((F.COORDINATOR,), Rel.ANY),
    "reading.review": _who((F.COORDINATOR,), Rel.ANY),  # of the own centre's kits, read by others
    "kit.break_glass": _who(_STAFF, Rel.ANY),  # who is no reader of a restricted kit may not know of it
    "duty.review": _who((F.COORDINATOR,), Rel.ANY),  # what was opened at the own centre, by others
    "policy.read": _who(_STAFF, Rel.ANY),
    "check.read": _who((*_STAFF, F.AUDITOR), Rel.ANY),  # figures alone
    "alarm.read": _who(_STAFF, Rel.ANY),  # of the own centre's kits
    "certificate.read": _CENTRE,
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
    "handover.cancel": {
        **_who(_HANDS, Rel.HOLDS, Rel.COLLEAGUE),
        **_who(_STAFF, Rel.HOLDS, Rel.COLLEAGUE, Rel.OF_CENTRE),
    },
    "handover.record_acceptance": _HOLDERS,
    "handover.receive_back": _who((F.NURSE, F.CUSTODIAN), Rel.OF_CENTRE),
    "package.split": _who((F.NURSE, F.CUSTODIAN, F.ANALYST), Rel.HOLDS),
    "package.join": _who((F.NURSE, F.CUSTODIAN, F.ANALYST), Rel.HOLDS),
    "labels.print": _who((F.NURSE, F.CUSTODIAN), Rel.OF_CENTRE),
    "labels.swapped": _who((F.NURSE, F.CUSTODIAN), Rel.OF_CENTRE),
    "package.lose": {**_who(_HANDS, Rel.HOLDS), **_who(_STAFF, Rel.HOLDS, Rel.OF_CENTRE)},
    "package.find": _who((F.NURSE, F.CUSTODIAN), Rel.OF_CENTRE, Rel.HOLDS),
    "search.end": _who((F.CUSTODIAN, F.COORDINATOR), Rel.OF_CENTRE),
    "item.finding": {**_who(_HANDS, Rel.HOLDS), **_who(_STAFF, Rel.HOLDS, Rel.OF_CENTRE)},
    "package.void": _who((F.NURSE, F.CUSTODIAN), Rel.OF_CENTRE),
    "event.correct": {**_who(_HANDS, Rel.HOLDS), **_who(_STAFF, Rel.OF_CENTRE)},
    "incident.open": _who((F.CUSTODIAN,), Rel.OF_CENTRE),
    "stock_take.take": _who((F.CUSTODIAN, F.NURSE), Rel.ANY),  # of a place of the own centre
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
    "term.move": _who((F.COORDINATOR,), Rel.OF_CENTRE),
    "policy.adopt": _who((F.COORDINATOR,), Rel.ANY),
    "majority.confirm": _who((F.NURSE, F.COORDINATOR), Rel.OF_CENTRE),
    "channel.prove": {**_who((F.NURSE, F.COORDINATOR), Rel.OF_CENTRE), **_who((F.VICTIM,), Rel.OWN)},
    "channel.change": _who((F.NURSE, F.COORDINATOR), Rel.OF_CENTRE),
    "card.stop": {**_who((F.NURSE, F.COORDINATOR), Rel.OF_CENTRE), **_who((F.VICTIM,), Rel.OWN)},
    "card.renew": _who((F.NURSE, F.COORDINATOR), Rel.OF_CENTRE),
    "hold.place": {
        **_who((F.NURSE, F.COORDINATOR), Rel.OF_CENTRE),
        **_who((F.MAGISTRATE,), Rel.LINKED),
        **_who((F.VICTIM,), Rel.OWN),
    },
    "hold.review": {**_who((F.COORDINATOR,), Rel.OF_CENTRE), **_who((F.MAGISTRATE,), Rel.LINKED)},
    "hold.lift": _who((F.COORDINATOR,), Rel.OF_CENTRE),
    "notice.attempt": _who((F.NURSE, F.COORDINATOR), Rel.OF_CENTRE),
    "notice.send": _who((F.NURSE, F.COORDINATOR), Rel.OF_CENTRE),
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
    "disposal.observe": _who((*_STAFF, F.OBSERVER), Rel.ANY),  # who is asked to sign beside the others
    "disposal.close_empty": _who((F.CUSTODIAN, F.COORDINATOR), Rel.OF_CENTRE),
    # who reads it
    "kit.restrict": _who((F.NURSE, F.COORDINATOR), Rel.OF_CENTRE),
    "restriction.lift": _who((F.COORDINATOR,), Rel.OF_CENTRE),
    "release.open": _who((F.MAGISTRATE,), Rel.LINKED),
    # signing for somebody else's proposal
    "proposal.sign": _who(_STAFF, Rel.ANY),
}

# What the kit's centre no longer reads while the kit is with justice. What a judge ordered to hand out (the
# bundle of the choices trail, a field of the private part) is no reading of the centre's own, and goes on.
UNTIL_RELEASE: Final = frozenset(
    {"custody_trail.read", "custody_trail.export", "private.read", "choices_trail.read"}
)


def with_justice(kit: Kit) -> bool:
    """Released, and not opened to its centre again by the prosecutor's office."""
    return kit.legal is Legal.RELEASED and kit.opened_to_centre_at is None


def kept_out(actor: Actor, kit: Kit) -> bool:
    """Whether the kit is restricted to other people of this person's centre, and the glass is whole."""
    return (
        bool(kit.readers)
        and actor.organisation == kit.centre
        and actor.person not in kit.readers
        and kit.number not in actor.glass
    )


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
        # A card that was stopped opens nothing, also where its page is still open somewhere.
        own = actor.card == kit.number and kit.card != "stopped"
        return frozenset({Rel.OWN}) if own else frozenset()
    of = kit.open_packages if package is None else (package,)
    if kept_out(actor, kit):
        return _in_person(actor, kit, of)
    found = set()
    linked = kit.link is not None and kit.legal in (Legal.LINKED, Legal.RELEASED)
    if actor.function in JUSTICE and not linked:
        return frozenset()  # for them the kit does not exist, whatever lies in their hands
    if kit.centre == actor.organisation:
        found.add(Rel.OF_CENTRE)
    if any(holds(actor, p) for p in of) or (package is None and _organisation_holds(actor, kit)):
        found.add(Rel.HOLDS)
    if any(with_colleague(actor, p) for p in of):
        found.add(Rel.COLLEAGUE)
    if any(receives(actor, kit, p) for p in of):
        found.add(Rel.RECEIVES)
    if linked and kit.link is not None and actor.organisation in (kit.link.office, kit.link.zone):
        found.add(Rel.LINKED)
    return frozenset(found)


def _in_person(actor: Actor, kit: Kit, of: Iterable[Package]) -> frozenset[Relation]:
    """How somebody who is kept out stands to packages of the kit: only what is in the own hands, and in no
    place, or was offered to this very person. What lies in the centre's store is for the readers."""
    found = set()
    for package in of:
        if package.holder is not None and package.holder.person == actor.person and package.place is None:
            found.add(Rel.HOLDS)
        offer = kit.handovers.get(package.handover or "")
        if offer is not None and offer.receiver.person == actor.person and receives(actor, kit, package):
            found.add(Rel.RECEIVES)
    return frozenset(found)


def _organisation_holds(actor: Actor, kit: Kit) -> bool:
    return any(
        p.holder is not None and p.holder.organisation == actor.organisation for p in kit.open_packages
    )


def knows(actor: Actor, kit: Kit, package: Package) -> bool:
    """Whether this person may know that the kit has this package: the whole kit for its centre, until it is
    with justice, and where it is linked; for others what is, or comes, into the hands of their organisation,
    and for who is kept out into the own hands."""
    standing = relations(actor, kit)
    if Rel.LINKED in standing:
        return True
    if Rel.OF_CENTRE in standing:
        return not with_justice(kit) or _still_there(kit, package)
    if kept_out(actor, kit):
        return bool(relations(actor, kit, package))
    held = package.holder is not None and package.holder.organisation == actor.organisation
    return held or receives(actor, kit, package)


def _still_there(kit: Kit, package: Package) -> bool:
    """Whether the package has not left the centre, or is on its way back to it."""
    if package.state in ENDED:
        return False
    offer = kit.handovers.get(package.handover or "")
    held = package.holder is not None and package.holder.organisation == kit.centre
    return held or (offer is not None and offer.receiver.organisation == kit.centre)


def as_known(actor: Actor, kit: Kit) -> Kit:
    """The kit as far as this person may know of it; what may not be known is as if it had never been.

    Its centre and the victim know everything until it is with justice, and from then on since when; the
    centre also what has not left it. Others know nothing of the choices, so ``retention`` says
    nothing to them; only the office that the kit is linked to knows the holds of magistrates, its own. Where
    the kit is not linked to them, others know only of the packages that are, or come, into the hands of their
    organisation.
    """
    own = Relation.OWN in relations(actor, kit)
    if own or (actor.organisation == kit.centre and actor.function in STAFF and not kept_out(actor, kit)):
        closed = kit.legal is Legal.RELEASED if own else with_justice(kit)
        return _since(actor, kit) if closed else kit
    packages = {n: p for n, p in kit.packages.items() if knows(actor, kit, p)}
    items, parts = _inside(kit, packages)
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
        opened_to_centre_at=kit.opened_to_centre_at if whole else None,
        holds={id_: h for id_, h in kit.holds.items() if whole and _of_office(actor, kit, h)},
        findings=tuple(
            f for f in kit.findings if f.trail == "custody" and (whole or set(f.packages) & set(packages))
        ),
        readers=kit.readers if kept_out(actor, kit) else (),  # or the rule would not know it the next time
    )


def _of_office(actor: Actor, kit: Kit, hold: Hold) -> bool:
    """Whether a magistrate placed the hold, and this person is of the office that the kit is linked to."""
    return hold.ground == "magistrate" and kit.link is not None and kit.link.office == actor.organisation


def _inside(kit: Kit, packages: Mapping[int, Package]) -> tuple[dict[int, Item], set[str]]:
    """The items of these packages, and the parts of the kit whose labels belong to them."""
    items = {n: i for n, i in kit.items.items() if i.package in packages}
    return items, {"K"} | {f"P{n:02}" for n in packages} | {f"I{n:02}" for n in items}


def _since(actor: Actor, kit: Kit) -> Kit:
    """What the kit's centre, or the victim, knows of a kit that is with justice: since when; and the centre
    what has not left it. Without the heads of the trails: they would tell that something goes on."""
    of_centre = actor.function is not F.VICTIM
    packages = {n: p for n, p in kit.packages.items() if of_centre and knows(actor, kit, p)}
    items, parts = _inside(kit, packages)
    return Kit(
        number=kit.number,
        centre=kit.centre,
        examined_on=kit.examined_on,
        registered_at=kit.registered_at,
        legal=kit.legal,
        retention=kit.retention,
        packages=packages,
        items=items,
        labels={part: serial for part, serial in kit.labels.items() if packages and part in parts},
        handovers={n: h for n, h in kit.handovers.items() if set(h.packages) & set(packages)},
        released_at=kit.released_at,
        readers=kit.readers if of_centre else (),
    )


def may(action: str, actor: Actor, kit: Kit | None = None, package: Package | None = None) -> bool:
    """Whether the table allows it."""
    allowed = PERMISSIONS[action].get(actor.function, frozenset())
    if Rel.ANY in allowed:
        return True
    if kit is None:
        return False
    if action in UNTIL_RELEASE and with_justice(kit):
        allowed -= {Rel.OF_CENTRE}
    return bool(allowed & relations(actor, kit, package))


def _closed(action: str, actor: Actor, kit: Kit) -> bool:
    """Whether it is only the release that keeps this person from reading."""
    allowed = PERMISSIONS[action].get(actor.function, frozenset()) & relations(actor, kit)
    return action in UNTIL_RELEASE and with_justice(kit) and bool(allowed)


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
        if kit is not None and _closed(action, actor, kit):
            raise NotPermitted(
                "This kit is with justice. Ask the prosecutor's office: it can open the kit to the centre"
                " again."
            )
        raise NotPermitted("Your function does not allow this step here.")
