"""Who reads a kit beside the rule for all: its named readers, and its centre once it is with justice.

A kit is restricted where a colleague or a relative of somebody concerned works at its centre. From then on
its readers alone know of it; for the rest of the centre it does not exist. Who breaks the glass in an
emergency sees it for an hour, on record (`custody.access`).
"""

from collections.abc import Container
from typing import Any, Final

from custody.commands import LiftRestriction, OpenToCentre, Restrict
from custody.decision import Decided
from custody.directory import Directory
from custody.handling import fact, needs_second
from custody.kit import Kit
from custody.people import STAFF, Actor, Function
from custody.permission import PERMISSIONS, permit, with_justice
from custody.prosecution import choice
from custody.protocol import Legal
from custody.refusal import NotSeen, Refused

FEWEST: Final = 2  # one alone could neither be replaced nor be a second signature
MOST: Final = 20


def restrict(kit: Kit, order: Restrict, actor: Actor, directory: Directory) -> Decided:
    """Name the people who alone read this kit; again, to replace them.

    Every reader holds a function at the kit's centre today, and one of them is a coordinator. Whoever
    restricts a kit is among its readers. The list is replaced by a reader, who may leave it so; where no
    reader works there any more who could, by a coordinator who broke the glass. Nobody takes a reader off
    who still works there. Raises Refused.
    """
    permit("kit.restrict", actor, kit)
    readers = tuple(sorted(order.readers))
    if len(set(readers)) != len(readers):
        raise Refused("A reader is named twice.", field="readers")
    if not FEWEST <= len(readers) <= MOST:
        raise Refused("Name {least} to {most} readers.", field="readers", least=FEWEST, most=MOST)
    if readers == kit.readers:
        raise Refused("The kit is restricted to these readers already.", field="readers")
    _check_who(kit, readers, actor, directory)
    held = {
        (a.person, a.function)
        for a in directory.appointments
        if a.organisation == kit.centre and a.function in STAFF
    }
    for reader in readers:
        if reader not in {person for person, _ in held}:
            raise Refused("{person} works at this centre in no function today.", "readers", person=reader)
    if not any((reader, Function.COORDINATOR) in held for reader in readers):
        raise Refused("One of the readers must be a coordinator of this centre.", field="readers")
    return Decided(facts=(choice(kit, "kit.restricted", actor, readers=list(readers)),))


def _check_who(kit: Kit, readers: tuple[str, ...], actor: Actor, directory: Directory) -> None:
    if not kit.readers:
        if actor.person not in readers:
            raise Refused("Whoever restricts a kit is among its readers. Name yourself too.", field="readers")
        return
    if actor.person not in kit.readers:
        if actor.function is not Function.COORDINATOR:
            raise Refused(
                "The readers are replaced by one of them; where none is left who could, by a coordinator who"
                " broke the glass."
            )
        if able := _names(kit, directory, PERMISSIONS["kit.restrict"], kit.readers):
            raise Refused(
                "Ask a reader of this kit, who works here and can name others: {people}. Behind the broken"
                " glass nobody replaces them.",
                people=able,
            )
    if gone := _names(kit, directory, STAFF, set(kit.readers) - {*readers, actor.person}):
        raise Refused(
            "Keep on the list who reads this kit and still works here: {people}. Readers leave it"
            " themselves, or a coordinator and another reader lift the restriction.",
            field="readers",
            people=gone,
        )


def _names(kit: Kit, directory: Directory, functions: Container[Function], people: Container[str]) -> str:
    """Who of these people holds one of these functions at the kit's centre today, by name."""
    named = {
        a.person: a.name
        for a in directory.appointments
        if a.organisation == kit.centre and a.function in functions and a.person in people
    }
    return ", ".join(named[person] for person in sorted(named))


def still_here(kit: Kit, directory: Directory) -> frozenset[str]:
    """The readers who work at the kit's centre today."""
    here = {a.person for a in directory.appointments if a.organisation == kit.centre and a.function in STAFF}
    return frozenset(kit.readers) & here


def lacks_reader(kit: Kit, directory: Directory) -> bool:
    """Whether a restricted kit has one reader left or none, or no coordinator among them: somebody left."""
    left = still_here(kit, directory)
    coordinators = {
        a.person
        for a in directory.appointments
        if a.organisation == kit.centre and a.function is Function.COORDINATOR
    }
    return bool(kit.readers) and (len(left) < FEWEST or not left & coordinators)


def lift_restriction(
    kit: Kit, order: LiftRestriction, actor: Actor, second: Actor | None, directory: Directory
) -> Decided:
    """The whole centre reads the kit again. A coordinator and another reader sign. Raises Refused."""
    permit("restriction.lift", actor, kit)
    if not kit.readers:
        raise Refused("This kit is not restricted.")
    if not still_here(kit, directory) - {actor.person}:
        raise Refused("No other reader works here who could sign. Name another reader first.")
    needs_second(actor, second)
    signs = {} if second is None else {"with": [second.signs("second")]}
    return Decided(facts=(choice(kit, "restriction.lifted", actor, reason=order.reason, **signs),))


def may_sign(kit: Kit, second: Actor) -> None:
    """What is proposed about a restricted kit its readers alone sign, at its centre. Raises NotSeen."""
    if kit.readers and (second.person not in kit.readers or second.organisation != kit.centre):
        raise NotSeen


def open_to_centre(kit: Kit, order: OpenToCentre, magistrate: Actor) -> Decided:
    """The prosecutor's office lets the centre read a released kit and its trails again. Raises Refused."""
    permit("release.open", magistrate, kit)
    if kit.legal is not Legal.RELEASED:
        raise Refused("The kit is not with justice: its centre reads it.")
    if not with_justice(kit):
        raise Refused("The kit is open to its centre already.")
    stated: dict[str, Any] = {} if order.reason is None else {"reason": order.reason}
    return Decided(facts=(fact(kit, "kit.opened_to_centre", magistrate, **stated),))
