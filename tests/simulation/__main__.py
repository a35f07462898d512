"""Sixty years with twenty thousand kits, with a progress bar; figures and a drawn time line at the end."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from custody.event import decode
from desk.progress import bar
from tests.simulation.figures import draw, show
from tests.simulation.house import House, close_house, open_house, server
from tests.simulation.observer import Cry
from tests.simulation.sixty import Scale, Sixty

TOLD = ("how", "until", "term", "hold", "policy", "age_class", "channel", "packages")
DRAWN = Path("build") / "sixty-years.svg"


async def simulate(scale: Scale, drawn: Path) -> bool:
    """Run it, print the figures, draw the line. False where the observer cried."""
    with (
        tempfile.TemporaryDirectory(prefix="custody-simulation-") as folder,
        server(Path(folder)) as database,
    ):
        house = await open_house(database)
        try:
            with bar("days") as told:
                sixty = Sixty(house=house, scale=scale, told=told)
                await sixty.run()
            for cry in sixty.observer.cries[:5]:
                tell(house, cry)
        finally:
            await close_house(house)
    show(sixty)
    draw(sixty, drawn)
    for cry in sixty.observer.cries[:50]:
        print(cry)
    for difference in sixty.differences[:50]:
        print(difference)
    return not sixty.observer.cries and not sixty.differences


def tell(house: House, cry: Cry) -> None:
    """What the observer cries about, and the trail of that kit."""
    print(cry)
    rows = house.admin.execute(
        "SELECT bytes FROM custody.event WHERE kit = %s ORDER BY recorded_at, ordinal", [cry.kit]
    ).fetchall()
    for (data,) in rows:
        event = decode(bytes(data))
        says = {k: v for k, v in event.values.items() if k in TOLD}
        print(f"    {event.recorded_at:%Y-%m-%d %H:%M} {event.type} {says}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Sixty years of two centres, at accelerated time.")
    parser.add_argument("--kits", type=int, default=20_000)
    parser.add_argument("--years", type=int, default=60)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--killed", type=int, default=20, help="replicas that are killed as processes")
    parser.add_argument("--sparse", action="store_true", help="only days on which something may be due")
    parser.add_argument("--draw", type=Path, default=DRAWN, help="where the time line goes (SVG)")
    asked = parser.parse_args()
    scale = Scale(
        kits=asked.kits,
        years=asked.years,
        seed=asked.seed,
        killed=asked.killed,
        daily=not asked.sparse,
    )
    if not asyncio.run(simulate(scale, asked.draw)):
        sys.exit("a promise was broken")


if __name__ == "__main__":
    main()
