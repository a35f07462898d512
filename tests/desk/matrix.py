"""The people and the kits of the matrix, and what the table of permissions says of each pair, worked out from
what was done to the kit and not from its projection.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from custody.number import KIT, KitNumber, label_code, next_serial
from custody.people import Actor, Function
from custody.permission import PERMISSIONS, UNTIL_RELEASE
from custody.permission import Relation as Rel
from desk.doors import BY_ACTION
from tests.custody.story import (
    ANALYST,
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    LAB,
    MAGISTRATE,
    NURSE,
    NURSE_2,
    OFFICE,
    OFFICER,
    OTHER_CENTRE,
    OTHER_MAGISTRATE,
    OTHER_NURSE,
    OTHER_OFFICE,
    REGISTRAR,
    REGISTRY,
    ZONE,
    new_number,
)
from tests.desk.conftest import Desk, moment, refs

F: Final = Function
OTHER_ZONE, OVERSIGHT, HOSPITAL = "pz-schemerland", "toezicht-regenboog", "ziekenhuis-duinrand"
OTHER_COORDINATOR = Actor(function=F.COORDINATOR, person="marn", name="Marn Maan", organisation=OTHER_CENTRE)
OTHER_OFFICER = Actor(function=F.OFFICER, person="otto", name="Otto Schemer", organisation=OTHER_ZONE)
OTHER_ANALYST = Actor(function=F.ANALYST, person="anton", name="Anton Lyse", organisation=LAB)
AUDITOR = Actor(function=F.AUDITOR, person="aukje", name="Aukje Toezicht", organisation=OVERSIGHT)
OBSERVER = Actor(function=F.OBSERVER, person="odil", name="Odil Duin", organisation=HOSPITAL)
NEWCOMERS: Final = (OTHER_COORDINATOR, OTHER_OFFICER, OTHER_ANALYST, AUDITOR, OBSERVER)
PEOPLE: Final = (
    NURSE,
    NURSE_2,
    CUSTODIAN,
    COORDINATOR,
    OTHER_NURSE,
    OTHER_COORDINATOR,
    OFFICER,
    OTHER_OFFICER,
    ANALYST,
    OTHER_ANALYST,
    REGISTRAR,
    MAGISTRATE,
    OTHER_MAGISTRATE,
    AUDITOR,
    OBSERVER,
)
COLLEAGUES: Final = (NURSE_2, OTHER_OFFICER, OTHER_ANALYST, OTHER_MAGISTRATE)
"""Who differs from another of `PEOPLE` by the relation alone."""
JUSTICE: Final = frozenset({F.OFFICER, F.REGISTRAR, F.MAGISTRATE})


# --- the kits ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Lies:
    """Where a package is: an organisation, a person of it or (None) a place; and to whom it is on offer."""

    organisation: str
    person: str | None = None
    offered: str | None = None
    offered_person: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A kit, and how it stands, as far as the table asks. `link`: the office and the zone it is linked to.

    `nowhere` is a number that never was. `digest` is that of an event of its custody trail.
    """

    name: str
    number: str
    centre: str = CENTRE
    link: tuple[str, str] | None = None
    released: bool = False
    readers: tuple[str | None, ...] = ()
    packages: Mapping[int, Lies] = field(default_factory=dict)
    digest: str = "ab" * 32
    code: str = ""

    @property
    def nowhere(self) -> bool:
        return not self.packages


def unknown() -> Case:
    """A number that never was."""
    number = new_number()
    return Case(name="unknown", number=number, code=_code(number))


def _code(number: str) -> str:
    return label_code(KitNumber(number), KIT, next_serial(KitNumber(number), KIT, 0))


def room_of(organisation: str | None) -> str:
    """A place of this organisation."""
    return f"room-{organisation}"


def introduce(desk: Desk) -> None:
    """The clerk registers the organisations and people that the stories lack."""
    for id_, kind in ((OTHER_ZONE, "police"), (OVERSIGHT, "oversight"), (HOSPITAL, "hospital")):
        desk.record(
            "organisation.registered", f"organisation:{id_}", id=id_, kind=kind, name=id_, country="BE"
        )
    for each in NEWCOMERS:
        assert each.person
        assert each.name
        assert each.organisation
        subject = f"person:{each.person}"
        desk.record("person.registered", subject, id=each.person, name=each.name)
        since = {"from": "2020-01-01"}
        desk.record(
            "person.appointed",
            subject,
            id=each.person,
            organisation=each.organisation,
            function=str(each.function),
            **since,
        )
    for organisation in sorted({str(each.organisation) for each in PEOPLE}):
        of = {"id": room_of(organisation), "kind": "storage", "name": "Room", "organisation": organisation}
        desk.record("place.opened", f"place:{room_of(organisation)}", **of)


class Story:
    """What is done to the kits, through the service."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._people: dict[str, Any] = {}

    def at(self, who: Actor) -> Any:
        return self._people.setdefault(str(who.person), self.desk.at(who))

    def done(self, who: Actor, path: str, order: Mapping[str, Any], second: Actor | None = None) -> Any:
        """The command is recorded; where it takes two people, the second one signs."""
        answer = self.at(who).post(path, order)
        if second is not None:
            assert answer.status_code == 202, answer.text
            answer = self.at(second).post(f"proposals/{answer.json()['proposal']}/signatures", None)
        assert answer.status_code in (201, 202), f"{path}: {answer.text}"
        return answer.json()

    def kit(self, name: str, nurse: Actor = NURSE) -> Case:
        """A kit of three packages in the nurse's hands, with its labels."""
        made = self.at(nurse).register(self.desk.now())
        assert nurse.organisation is not None
        self.done(nurse, "labels/prints", {"kit": made["kit"]})
        hands = Lies(organisation=nurse.organisation, person=nurse.person)
        of_custody = [r["digest"] for r in made["receipts"] if r["trail"].startswith("custody:")]
        return Case(
            name=name,
            number=made["kit"],
            centre=nurse.organisation,
            packages=dict.fromkeys((1, 2, 3), hands),
            digest=of_custody[0],
            code=_code(made["kit"]),
        )

    def declare(self, case: Case) -> None:
        self.done(NURSE, "reports", {"kit": case.number, "how": "in_person"})

    def link(self, case: Case) -> None:
        self.declare(case)
        pv = f"PV.99.L9.{int(uuid4()) % 10**6:06}/2026"
        self.done(OFFICER, "requests", {"pv": pv, "centre": CENTRE})
        waiting = self.at(COORDINATOR).get("worklists").json()["requests"]
        (request,) = (each["id"] for each in waiting if each["pv"] == pv)
        answered = {"request": request, "kit": case.number, "how": "match"}
        self.done(NURSE, "requests/answers", answered, NURSE_2)
        link = {"kit": case.number, "pv": pv, "notice": "NO.99.99.1/26", "office": OFFICE, "zone": ZONE}
        self.done(COORDINATOR, "links", link | {"request": request})

    def offer(self, case: Case, organisation: str, person: str | None = None, package: int = 1) -> None:
        due = moment(self.desk.now() + timedelta(days=1))
        order: dict[str, Any] = {"packages": refs(case.number, package), "organisation": organisation}
        self.done(
            NURSE, "hand-overs/offers", order | {"due_at": due} | ({"person": person} if person else {})
        )

    def accept(self, case: Case, who: Actor, package: int = 1) -> None:
        self.done(who, "hand-overs/acceptances", {"packages": refs(case.number, package)})


def _with(case: Case, lies: Lies, **more: Any) -> Case:
    told: dict[str, Any] = {name: getattr(case, name) for name in Case.__dataclass_fields__}
    return Case(**(told | {"packages": {**case.packages, 1: lies}} | more))


def kits(desk: Desk) -> list[Case]:
    """One kit for each relation that somebody can have to a kit."""
    story = Story(desk)
    linked = {"link": (OFFICE, ZONE)}
    hands = Lies(organisation=CENTRE, person=NURSE.person)
    cases = [story.kit("own and unreported"), story.kit("of another centre", OTHER_NURSE)]

    stored = story.kit("in a place of the centre")
    story.done(NURSE, "packages/store", {"packages": refs(stored.number, 1), "place": "freezer-1"})
    cases.append(_with(stored, Lies(organisation=CENTRE)))

    declared_ = story.kit("declared, not linked")
    story.declare(declared_)
    cases.append(declared_)

    case = story.kit("linked")
    story.link(case)
    cases.append(_with(case, hands, **linked))

    case = story.kit("linked to another office")
    story.link(case)
    move = {"kit": case.number, "notice": "NO.99.99.2/26", "office": OTHER_OFFICE}
    story.done(COORDINATOR, "links/moves", move)
    cases.append(_with(case, hands, link=(OTHER_OFFICE, ZONE)))

    case = story.kit("linked in error")
    story.link(case)
    story.offer(case, ZONE)
    story.done(COORDINATOR, "links/errors", {"kit": case.number, "reason": "another kit"}, NURSE)
    cases.append(case)

    case = story.kit("linked and on offer to the police")
    story.link(case)
    story.offer(case, ZONE)
    cases.append(_with(case, Lies(organisation=CENTRE, person=NURSE.person, offered=ZONE), **linked))

    case = story.kit("released")
    story.link(case)
    story.offer(case, ZONE)
    story.accept(case, OFFICER)
    cases.append(_with(case, Lies(organisation=ZONE, person=OFFICER.person), released=True, **linked))

    case = story.kit("linked, a package at the registry")
    story.link(case)
    story.offer(case, REGISTRY)
    story.accept(case, REGISTRAR)
    cases.append(_with(case, Lies(organisation=REGISTRY, person=REGISTRAR.person), **linked))

    cases += _restricted(story)

    for organisation, who, what in (
        (LAB, ANALYST, "laboratory"),
        (OTHER_CENTRE, OTHER_NURSE, "other centre"),
    ):
        on_offer = Lies(organisation=CENTRE, person=NURSE.person, offered=organisation)
        case = story.kit(f"on offer to the {what}")
        story.offer(case, organisation)
        cases.append(_with(case, on_offer))
        case = story.kit(f"on offer to one person of the {what}")
        story.offer(case, organisation, who.person)
        named = Lies(
            organisation=CENTRE, person=NURSE.person, offered=organisation, offered_person=who.person
        )
        cases.append(_with(case, named))
        case = story.kit(f"a package at the {what}")
        story.offer(case, organisation)
        story.accept(case, who)
        cases.append(_with(case, Lies(organisation=organisation, person=who.person)))
    return cases


def _restricted(story: Story) -> list[Case]:
    """A kit that names its readers; one of which a package is in the hands of somebody who is none of them,
    and one of which a package is on offer to such a person."""
    readers = (NURSE.person, COORDINATOR.person)
    found = []
    for name, who in (
        ("restricted", None),
        ("restricted, in other hands", NURSE_2),
        ("restricted, offered", NURSE_2),
    ):
        case = story.kit(name)
        lies = case.packages[1]
        if who is not None:
            story.offer(case, CENTRE, who.person)
            lies = Lies(organisation=CENTRE, person=NURSE.person, offered=CENTRE, offered_person=who.person)
        if name.endswith("hands"):
            story.accept(case, NURSE_2)
            lies = Lies(organisation=CENTRE, person=NURSE_2.person)
        story.done(COORDINATOR, "restrictions", {"kit": case.number, "readers": list(readers)})
        found.append(_with(case, lies, readers=readers))
    return found


# --- what the table says ----------------------------------------------------------------------------------


def related(who: Actor, case: Case, package: int | None = None) -> frozenset[Rel]:
    """How this person stands to the kit, or to one package of it."""
    if case.nowhere:
        return frozenset()
    if who.function is F.VICTIM:
        return frozenset({Rel.OWN}) if who.card == case.number else frozenset()
    if who.function in JUSTICE and case.link is None:
        return frozenset()
    found = set()
    of = list(case.packages.values() if package is None else [case.packages[package]])
    kept_out = bool(case.readers) and who.organisation == case.centre and who.person not in case.readers
    if kept_out:  # what is in the own hands, or on offer to this very person
        of = [lies for lies in of if who.person in (lies.person, lies.offered_person)]
    elif who.organisation == case.centre:
        found.add(Rel.OF_CENTRE)
    for lies in of:
        mine = lies.organisation == who.organisation
        if mine and (lies.person in (None, who.person) or (package is None and not kept_out)):
            found.add(Rel.HOLDS)
        if mine and lies.person not in (None, who.person) and not kept_out:
            found.add(Rel.COLLEAGUE)
        if lies.offered == who.organisation and lies.offered_person in (None, who.person):
            found.add(Rel.RECEIVES)
    if case.link is not None and who.organisation in case.link:
        found.add(Rel.LINKED)
    return frozenset(found)


def has(action: str, who: Actor) -> bool:
    """Whether the action stands in the table for this function at all."""
    return who.function in PERMISSIONS[action]


def allowed(action: str, who: Actor, case: Case, package: int | None = None) -> bool:
    cell = PERMISSIONS[action].get(who.function, frozenset())
    if action in UNTIL_RELEASE and case.released:
        cell -= {Rel.OF_CENTRE}
    return Rel.ANY in cell or bool(cell & related(who, case, package))


def sees(who: Actor, case: Case) -> bool:
    return allowed("kit.read", who, case) or allowed("own_kit.read", who, case)


def packages_of(action: str) -> tuple[int, ...]:
    """Which packages the orders of `orders` name; none for what is about the kit as a whole."""
    if action in ("labels.swapped", "package.join"):
        return (1, 2)
    names = BY_ACTION[action].shape.__dataclass_fields__
    on_packages = ("packages" in names and action != "kit.supplement") or action == "package.split"
    return (1,) if on_packages or action == "item.finding" else ()


def may_do(action: str, who: Actor, case: Case) -> bool:
    """Whether the command of `orders` is this person's to give."""
    if action == "event.correct":  # the event that is cited is one of the centre's
        return Rel.OF_CENTRE in related(who, case) and allowed(action, who, case)
    if action == "request.answer":  # that it is this kit is the kit's own centre's to say
        return Rel.OF_CENTRE in related(who, case)
    packages = packages_of(action)
    return all(allowed(action, who, case, p) for p in packages) if packages else allowed(action, who, case)


def one_of_each(who: Actor, cases: Iterable[Case]) -> list[Case]:
    """Of these kits one for each way in which this person can stand to a kit and to its first package."""
    found: dict[tuple[Any, ...], Case] = {}
    for case in cases:
        stands: tuple[Any, ...] = (
            related(who, case),
            related(who, case, 1),
            related(who, case, 2),
            case.released,
        )
        if not stands[0]:
            stands = (*stands, case.centre == who.organisation, case.link is None)
        found.setdefault(stands, case)
    return list(found.values())
