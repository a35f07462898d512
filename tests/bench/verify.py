"""Checking without a service, a database or a network: how many leaves and events a second, on one core.

folder   `audit.static.check_folder` over an exported log: every entry hashed, every tile compared, the root,
         the signatures
bundle   `custody.bundle.read` and `custody.examination.check` over the trail of one kit: every event read and
         followed, every proof on its own
hashing  for comparison: SHA-256 of as many leaves and nodes and nothing else, in a bare loop of Python
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from itertools import islice
from pathlib import Path
from statistics import median

from audit import merkle, tile
from audit.checkpoint import Checkpoint
from audit.key import sign
from audit.static import check_folder
from audit.tile import WIDTH, Place, Tiles
from custody import bundle
from custody.bundle import Bundle
from custody.cover import covered
from custody.examination import check
from tests.bench.ground import show
from tests.custody.trails import KEYS, KIT, NORA, ORIGIN, TO_THE_STORE, VKEYS, logged, trail

AIM = 200_000  # leaves a second
STEP = 64 * WIDTH
CHECKED = ("seal.checked", NORA, {"packages": [{"package": 1, "seal": "S-0001", "condition": "intact"}]})


def write_folder(folder: Path, leaves: int) -> None:
    """A whole log as a folder, by the layout of C2SP tlog-tiles."""
    tiles: dict[Place, bytes] = {}
    numbers = iter(range(leaves))
    size = 0
    while digests := [sha256(b"fictional event %d" % n).digest() for n in islice(numbers, STEP)]:
        for at in range(0, len(digests), WIDTH):
            entries = digests[at : at + WIDTH]
            path = tile.write_entries_path((size + at) // WIDTH, len(entries))
            write(folder / path, tile.write_entries(entries))
        edge = {place: tiles[place] for place in tile.right_edge(size)}
        tiles |= tile.grow(size, edge, [merkle.leaf_hash(digest) for digest in digests])
        size += len(digests)
    for place, wide in tile.places(leaves):
        write(folder / tile.write_path(place, wide), tiles[place])
    stated = Checkpoint(ORIGIN, leaves, merkle.root(leaves, Tiles(tiles).read))
    write(folder / "checkpoint", sign(stated, KEYS, 1_790_000_000).written())


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_bundle(events: int) -> bytes:
    """The trail of a kit whose seal was looked at again and again."""
    told = [*TO_THE_STORE, *([CHECKED] * (events - len(TO_THE_STORE)))]
    made = tuple(event.bytes for event in trail(told))
    signed = logged(made, others=10_000)
    return bundle.write(
        covered(
            Bundle(
                kit=KIT,
                trail="custody",
                origin=ORIGIN,
                note=signed.note,
                events=made,
                proofs=signed.proofs,
            )
        )
    )


def seconds(work: Callable[[], object], rounds: int) -> float:
    """The median over the rounds."""
    spent = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return median(spent)


def hash_only(leaves: int) -> None:
    digest = bytes(32)
    for _ in range(leaves):
        sha256(b"\x00" + digest).digest()
        sha256(b"\x01" + digest + digest).digest()


def main() -> None:
    parser = argparse.ArgumentParser(description="Checking offline.")
    parser.add_argument("--leaves", type=int, default=500_000)
    parser.add_argument("--events", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    data = write_bundle(asked.events)
    with tempfile.TemporaryDirectory(prefix="custody-bench-") as name:
        folder = Path(name)
        write_folder(folder, asked.leaves)

        def folder_holds() -> None:
            assert check_folder(folder, VKEYS).holds

        def bundle_holds() -> None:
            verdict = check(bundle.read(data), VKEYS)
            assert verdict.holds, verdict

        of_folder = seconds(folder_holds, asked.rounds)
        of_bundle = seconds(bundle_holds, asked.rounds)
        of_hashing = seconds(lambda: hash_only(asked.leaves), asked.rounds)
    rows = [
        ["folder", f"{asked.leaves:,} leaves", f"{asked.leaves / of_folder:,.0f}/s", f"{AIM:,}/s"],
        ["bundle", f"{asked.events:,} events", f"{asked.events / of_bundle:,.0f}/s", ""],
        ["hashing", f"{asked.leaves:,} leaves", f"{asked.leaves / of_hashing:,.0f}/s", ""],
    ]
    show(
        "Checking offline, on one core",
        ["what", "of", "rate", "aim"],
        rows,
        {"folder / hashing": f"{of_hashing / of_folder:.2f} of the rate of hashing alone"},
    )


if __name__ == "__main__":
    main()
