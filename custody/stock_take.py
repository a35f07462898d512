"""A stock-take: everything in a place is scanned, and compared with what is recorded there.

What is recorded in the place and was not scanned is listed as missing, and no more: somebody looks for it,
and then says of the package itself that it cannot be found. What was scanned and is recorded elsewhere is a
finding in the trail of its own kit, and lies here from then on. The place gets one event, which names no kit.

Pure: what was seen goes in, facts come out.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from custody.commands import PackageRef, TakeStock
from custody.decision import Decided, Seen
from custody.directory import Directory, OpenPlace
from custody.event import Fact
from custody.handling import fact, package_of, seal_findings
from custody.kit import Kit, Package
from custody.people import Actor
from custody.permission import knows, may, permit
from custody.protocol import Custody
from custody.refusal import NoSuchPackage, Refused

Ref = tuple[str, int]
"""A kit's number and the number of one of its packages."""

STATES_FOUND: Final = frozenset({Custody.STORED, Custody.SEALED, Custody.IN_TRANSIT, Custody.LOST})
"""A sealed package that lies here can be recorded here, wherever it was thought to be, or lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Everything that was scanned in a place or is recorded there, each package once, by kit and number.

    ``here``: recorded here and scanned. ``elsewhere``: scanned, and recorded in another place, in somebody's
    hands or on the way. ``found``: scanned, and recorded as lost. ``missing``: recorded here, not scanned.
    ``unclear``: scanned, and not to be recorded in a place: never closed, open, on the way to this
    organisation and not accepted, or gone for good as far as the trail says.
    """

    here: tuple[Ref, ...] = ()
    elsewhere: tuple[Ref, ...] = ()
    found: tuple[Ref, ...] = ()
    missing: tuple[Ref, ...] = ()
    unclear: tuple[Ref, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything that is recorded here was scanned, and nothing else."""
        return not (self.elsewhere or self.found or self.missing or self.unclear)


def compare(
    place: str, scanned: Mapping[Ref, tuple[Kit, Package]], recorded: Collection[Ref], actor: Actor
) -> Compared:
    """What was scanned in ``place`` against ``recorded``, the packages that are recorded there.

    Both as far as this person may know of them: a restricted kit's packages are missing from both, unless
    the person is one of its readers.
    """
    sorted_: dict[str, list[Ref]] = {"here": [], "elsewhere": [], "found": [], "unclear": []}
    for ref, (kit, package) in scanned.items():
        sorted_[_part(place, kit, package, actor)].append(ref)
    told = {part: tuple(sorted(refs)) for part, refs in sorted_.items()}
    return Compared(**told, missing=tuple(sorted(set(recorded) - scanned.keys())))


def _part(place: str, kit: Kit, package: Package, actor: Actor) -> str:
    if package.state is Custody.STORED and package.place is not None and package.place.id == place:
        return "here"
    if package.state not in STATES_FOUND or not may("package.find", actor, kit, package):
        return "unclear"
    return "found" if package.state is Custody.LOST else "elsewhere"


def take(
    seen: Seen, order: TakeStock, actor: Actor, directory: Directory, chance: str, recorded: Collection[Ref]
) -> Decided:
    """Everything at a place was scanned: one event of the place, one finding for each package that was
    thought to be elsewhere or lost.

    ``recorded`` is what the database says lies in the place; ``chance``, 128 random bits in hexadecimal, is
    the number that findings and event share where they differ. A seal that does not match is a finding as
    always. Raises NotSeen, NoSuchPackage, NoSuchPlace, NotPermitted, Refused.
    """
    permit("stock_take.take", actor)
    place = directory.place_of(actor, order.place)
    grouped, scanned = _scanned(seen, order.packages, actor)
    compared = compare(place.id, scanned, recorded, actor)
    number = {} if compared.complete else {"finding": chance}
    facts = [
        Fact(
            type="stock_take.taken",
            subject=f"place:{place.id}",
            who=actor.who(),
            fields={"how": "complete" if compared.complete else "differences", **number},
        )
    ]
    for kit, pairs in grouped:
        facts += _findings(kit, pairs, compared, place, actor, number)
    return Decided(facts=tuple(facts))


Scanned = list[tuple[Kit, list[tuple[Package, PackageRef]]]]


def _scanned(
    seen: Seen, packages: Sequence[PackageRef], actor: Actor
) -> tuple[Scanned, dict[Ref, tuple[Kit, Package]]]:
    """What was scanned, by kit and by package. An empty place is counted too: then there is nothing."""
    by_kit: dict[str, tuple[Kit, list[tuple[Package, PackageRef]]]] = {}
    known: dict[Ref, tuple[Kit, Package]] = {}
    for ref in packages:
        kit = seen.kit(ref.kit)
        permit("kit.read", actor, kit)
        package = package_of(kit, ref.package)
        if (kit.number, package.package) in known:
            raise Refused("A package stands twice on this list.", field="packages")
        if not knows(actor, kit, package):
            raise NoSuchPackage(ref.package)
        known[kit.number, package.package] = (kit, package)
        by_kit.setdefault(kit.number, (kit, []))[1].append((package, ref))
    return list(by_kit.values()), known


def _findings(
    kit: Kit,
    pairs: Sequence[tuple[Package, PackageRef]],
    compared: Compared,
    place: OpenPlace,
    actor: Actor,
    number: Mapping[str, Any],
) -> list[Fact]:
    """What the kit's own trail learns: lost packages are found, and lie here as those found elsewhere do. One
    that was never closed, or is open, comes into the finder's hands to be closed first."""
    entries = {p.package: {"package": p.package, "condition": ref.condition} for p, ref in pairs}
    closed = {p.package for p, _ in pairs if p.seal is not None and not p.seal_broken}
    found = [n for k, n in compared.found if k == kit.number]
    facts = [fact(kit, "package.found", actor, [entries[n] for n in found])] if found else []
    moved = [entries[n] for n in found if n in closed]
    moved += [entries[n] for k, n in compared.elsewhere if k == kit.number]
    if moved:
        where = {"id": place.id, "name": place.name}
        facts.append(fact(kit, "package.found_elsewhere", actor, moved, place=where, **number))
    in_doubt = {n for k, n in compared.unclear if k == kit.number}
    wrong, _ = seal_findings(kit, [(p, ref) for p, ref in pairs if p.package not in in_doubt], actor)
    return facts + wrong
