"""A proof out of PostgreSQL: is it slower in a long log than in a short one?

Two logs in one database, one of ten thousand leaves and one of a million, both signed. For random digests, by
turns, `audit.log.prove` makes the whole proof: index, path and signed note, as `GET /receipts/{digest}`
answers it.
"""

import argparse
import asyncio
import random
import time
from pathlib import Path
from statistics import median, quantiles

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from audit import log as logs
from audit.keybox import create_keys, open_box
from audit.sign import Signer, initialise
from tests.bench.ground import Ground, ground, show

AIM, AIM_RATIO = 2.0, 1.5  # milliseconds in the long log; long to short
BEFORE = 20  # proofs that do not count

QUEUE = """
INSERT INTO audit.pending (log, digest)
SELECT :log, sha256(convert_to(:log || ' fictional ' || n, 'UTF8'))
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) n
"""


async def fill(superuser: AsyncEngine, clerk: AsyncEngine, log: str, leaves: int) -> float:
    """Queue and integrate that many digests: leaves a second."""
    spent = 0.0
    for first in range(0, leaves, logs.BATCH):
        async with superuser.begin() as connection:
            last = min(leaves, first + logs.BATCH) - 1
            await connection.execute(text(QUEUE), {"log": log, "first": first, "last": last})
        began = time.perf_counter()
        async with clerk.begin() as connection:
            await logs.integrate(connection, log)
        spent += time.perf_counter() - began
    return leaves / spent


async def sign(clerk: AsyncEngine, log: str, keys: Path) -> None:
    create_keys(keys, f"custody.example/bench/{log}")
    with open_box(keys) as box:
        await initialise(clerk, log, box)
        signer = Signer(log, box)
        await signer.check(clerk)
        await signer.sign(clerk)


async def prove(service: AsyncEngine, sizes: dict[str, int], proofs: int) -> dict[str, list[float]]:
    """Milliseconds for each proof of each log, by turns."""
    chance = random.Random(1)  # the same leaves in every run
    spent: dict[str, list[float]] = {log: [] for log in sizes}
    async with service.connect() as connection:
        for turn in range(proofs + BEFORE):
            for log, size in sizes.items():
                digest = await connection.scalar(
                    text("SELECT digest FROM audit.leaf WHERE log = :log AND index = :index"),
                    {"log": log, "index": chance.randrange(size)},
                )
                began = time.perf_counter()
                found = await logs.prove(connection, log, [digest])
                data = found[digest].written()
                took = (time.perf_counter() - began) * 1000
                assert data
                if turn >= BEFORE:
                    spent[log].append(took)
    return spent


async def measure(where: Ground, sizes: dict[str, int], proofs: int) -> dict[str, list[float]]:
    engines = {role: create_async_engine(where.url(role)) for role in ("superuser", "clerk", "service")}
    try:
        for log, leaves in sizes.items():
            rate = await fill(engines["superuser"], engines["clerk"], log, leaves)
            print(f"{leaves:,} leaves integrated: {rate:,.0f} a second")
            await sign(engines["clerk"], log, where.folder / f"{log}.key")
        async with engines["superuser"].execution_options(isolation_level="AUTOCOMMIT").connect() as quiet:
            await quiet.execute(text("VACUUM ANALYZE audit.leaf, audit.tile"))
        return await prove(engines["service"], sizes, proofs)
    finally:
        for engine in engines.values():
            await engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description="Proofs out of a short log and a long one.")
    parser.add_argument("--short", type=int, default=10_000)
    parser.add_argument("--long", type=int, default=1_000_000)
    parser.add_argument("--proofs", type=int, default=1_000)
    asked = parser.parse_args()
    sizes = {"reads": asked.short, "events": asked.long}
    with ground() as where:
        spent = asyncio.run(measure(where, sizes, asked.proofs))
    ratio = median(spent["events"]) / median(spent["reads"])
    rows = [
        [
            f"{size:,}",
            f"{median(spent[log]):.2f} ms",
            f"{quantiles(spent[log], n=100)[98]:.2f} ms",
            f"{AIM:.0f} ms" if log == "events" else "",
            f"{ratio:.2f}" if log == "events" else "",
            f"{AIM_RATIO}" if log == "events" else "",
        ]
        for log, size in sizes.items()
    ]
    show(
        "One proof out of PostgreSQL, with its signed checkpoint",
        ["leaves", "median", "p99", "aim", "long / short", "aim"],
        rows,
        {},
    )


if __name__ == "__main__":
    main()
