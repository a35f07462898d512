"""One kit of the simulation, drawn from the seed: who keeps it, what is drawn for it, what was planned."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from custody.commands import PackageRef
from custody.kit import Kit
from custody.number import RANDOM_BYTES, issue
from tests.simulation.house import House, Staff


@dataclass(slots=True)
class Life:
    """One kit: who keeps it, what is drawn for it, what was planned."""

    index: int
    rng: Random = field(repr=False)
    staff: Staff
    number: str
    age_class: str
    channel: str
    packages: int
    arrives: float  # days after the beginning
    ways: list[str] = field(default_factory=list)
    calls: int = 0

    def within(self, least: float, most: float) -> float:
        return self.rng.uniform(least, most)

    def happens(self, chance: float) -> bool:
        return self.rng.random() < chance


Plan = Callable[[float, Life, str], None]
"""So many days from now, this is done about this kit."""


def born(seed: int, index: int, arrives: float, staff: Staff) -> Life:
    """A life whose every draw follows from the seed and the number of the kit."""
    rng = Random(f"{seed}:{index}")
    number = None
    while number is None:
        number = issue(rng.randbytes(RANDOM_BYTES))
    return Life(
        index=index,
        rng=rng,
        staff=staff,
        number=number,
        age_class=rng.choices(["adult", "minor", "unknown"], [80, 15, 5])[0],
        channel=rng.choices(["none", "email", "sms", "phone"], [30, 30, 15, 25])[0],
        packages=rng.choices([1, 2], [75, 25])[0],
        arrives=arrives,
    )


def refs(life: Life, kit: Kit, *numbers: int) -> tuple[PackageRef, ...]:
    open_ = [p for p in kit.open_packages if not numbers or p.package in numbers]
    return tuple(PackageRef(kit=life.number, package=p.package, seal=p.seal) for p in open_)


async def seen_kit(house: House, life: Life) -> Kit:
    return (await house.ledger.look(life.staff.nurse, [life.number])).kit(life.number)
