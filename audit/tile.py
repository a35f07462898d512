"""Tiles: the tree's hashes in blocks of 256, as C2SP tlog-tiles lays them out.

Tile (level l, number n) holds the hashes MTH(D[(n * 256 + i) * 256**l : (n * 256 + i + 1) * 256**l]) for
i = 0, 1, ..., 255: level 0 the leaf hashes, each level above one hash for every *full* tile below. The
rightmost tile of a level is *partial*, 1 to 255 hashes wide. The tree's levels in between are not stored;
they are hashed from a tile when a proof needs them.

A stored tile may be wider than the tree a proof is for: a proof in a smaller tree reads only hashes that
tree already had.

*Entry bundles* are the entries below the tiles of level 0, number for number and width for width. An entry of
our logs is a digest of 32 bytes, so a bundle is that, each after its length as a big-endian uint16.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from audit import merkle
from audit.merkle import Node, Span
from audit.text import HASH_BYTES, MAX_SIZE, Malformed, read_decimal

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
MAX_LEVEL: Final = 7  # 256**8 leaves are more than any index counts

_LENGTH: Final = HASH_BYTES.to_bytes(2, "big")  # before each entry of a bundle
_ENTRY_BYTES: Final = len(_LENGTH) + HASH_BYTES


class Place(NamedTuple):
    """Where a tile stands: its level (0 = leaf hashes) and its number (the format's index) in the level."""

    level: int
    number: int


class MissingTile(LookupError):
    """A tile that a proof needs is absent or too narrow: the stored tree is damaged."""


def width(place: Place, size: int) -> int:
    """How many hashes the tile at `place` has in the tree of `size` leaves: 0 (no such tile) to 256."""
    return max(0, min(WIDTH, (size >> HEIGHT * place.level) - place.number * WIDTH))


def places(size: int) -> Iterator[tuple[Place, int]]:
    """Every tile of the tree of `size` leaves with its width, level by level, left to right."""
    for level in range(MAX_LEVEL + 1):
        hashes = size >> HEIGHT * level
        for index in range((hashes + WIDTH - 1) // WIDTH):
            yield Place(level, index), min(WIDTH, hashes - index * WIDTH)


def right_edge(size: int) -> list[Place]:
    """The tiles that further leaves after `size` will widen: one partial tile a level, where there is one."""
    edge = (Place(level, size >> HEIGHT * (level + 1)) for level in range(MAX_LEVEL + 1))
    return [place for place in edge if width(place, size)]


def write_path(place: Place, hashes: int) -> str:
    """The path of a tile `hashes` wide, as C2SP tlog-tiles writes it: `tile/0/x001/234`, `tile/1/000.p/17`.

    Raises ValueError for a width outside 1 to 256.
    """
    return f"tile/{place.level}/{_write_number(place.number, hashes)}"


def read_path(path: str) -> tuple[Place, int]:
    """The tile and width that `path` names: the inverse of `write_path`; `Malformed` for anything else."""
    level_text, _, rest = path.removeprefix("tile/").partition("/")
    number, hashes = _read_number(rest, path)
    place = Place(read_decimal(level_text, "the level of a tile"), number)
    if place.level > MAX_LEVEL or write_path(place, hashes) != path:
        raise Malformed(f"{path[:80]!r} is not the path of a tile")
    return place, hashes


def write_entries_path(number: int, entries: int) -> str:
    """The path of an entry bundle `entries` wide: `tile/entries/x001/234`, `tile/entries/000.p/17`.

    Raises ValueError for a width outside 1 to 256.
    """
    return f"tile/entries/{_write_number(number, entries)}"


def read_entries_path(path: str) -> tuple[int, int]:
    """The number and width that `path` names: the inverse of `write_entries_path`; `Malformed` for anything
    else."""
    number, entries = _read_number(path.removeprefix("tile/entries/"), path)
    if write_entries_path(number, entries) != path:
        raise Malformed(f"{path[:80]!r} is not the path of an entry bundle")
    return number, entries


def _write_number(number: int, wide: int) -> str:
    if not 1 <= wide <= WIDTH:
        raise ValueError(f"a tile is 1 to {WIDTH} hashes wide, not {wide}")
    digits = f"{number:d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    index = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return index + ("" if wide == WIDTH else f".p/{wide}")


def _read_number(text: str, path: str) -> tuple[int, int]:
    """A number and a width; more spellings than one are read, so the caller writes it again and compares."""
    index, partial, width_text = text.partition(".p/")
    digits = index.replace("/", "").replace("x", "")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 21 or int(digits) > MAX_SIZE:
        raise Malformed(f"{path[:80]!r} is not the path of a tile")
    wide = read_decimal(width_text, "the width of a tile") if partial else WIDTH
    if not 1 <= wide <= WIDTH:
        raise Malformed(f"{path[:80]!r} is not the path of a tile")
    return int(digits), wide


def write_entries(digests: Sequence[bytes]) -> bytes:
    """The entry bundle of 1 to 256 digests. Raises ValueError for any other number or length."""
    if not 1 <= len(digests) <= WIDTH or any(len(digest) != HASH_BYTES for digest in digests):
        raise ValueError(f"an entry bundle has 1 to {WIDTH} digests of {HASH_BYTES} bytes")
    return _LENGTH + _LENGTH.join(digests)


def read_entries(data: bytes) -> list[bytes]:
    """The digests of an entry bundle: the inverse of `write_entries`; `Malformed` for anything else."""
    count, rest = divmod(len(data), _ENTRY_BYTES)
    if rest or not 1 <= count <= WIDTH:
        raise Malformed(f"{len(data)} bytes are not a bundle of 1 to {WIDTH} digests")
    digests = [data[at : at + HASH_BYTES] for at in range(len(_LENGTH), len(data), _ENTRY_BYTES)]
    if write_entries(digests) != data:
        raise Malformed("an entry of the bundle is not a digest of 32 bytes")
    return digests


def place_of(node: Node) -> Place:
    """The tile from whose hashes `node` is known or can be hashed."""
    level, height = divmod(node.level, HEIGHT)
    return Place(level, (node.number << height) // WIDTH)


def places_for(spans: Iterable[Span]) -> set[Place]:
    """The tiles that a proof made of `spans` needs: O(log n) of them in a tree of n leaves."""
    return {place_of(node) for span in spans for node in merkle.nodes_of(span)}


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tiles in memory, as a reader of nodes: `merkle.root(size, Tiles(...).read)`."""

    hashes: Mapping[Place, bytes]

    def read(self, node: Node) -> bytes:
        """The hash of the complete subtree `node`. Raises `MissingTile` when its tile is absent or narrow."""
        level, height = divmod(node.level, HEIGHT)
        first = (node.number << height) % WIDTH
        place = place_of(node)
        tile = self.hashes.get(place, b"")
        row = _hashes(tile[first * HASH_BYTES : (first + (1 << height)) * HASH_BYTES])
        if len(row) != 1 << height:
            raise MissingTile(f"tile {level}/{place.number} has no hash {first + (1 << height) - 1}")
        return _fold(row)


def grow(size: int, edge: Mapping[Place, bytes], leaf_hashes: Sequence[bytes]) -> dict[Place, bytes]:
    """The tiles that change when `leaf_hashes` are added to the tree of `size` leaves: place → all hashes.

    `edge` holds the tiles of `right_edge(size)`, each exactly as wide as that tree makes it; raises
    `MissingTile` when one is not, because anything built on it would be wrong.
    """
    for place in right_edge(size):
        found = len(edge.get(place, b"")) / HASH_BYTES
        if found != width(place, size):
            raise MissingTile(
                f"tile {place.level}/{place.number} has {found:g} hashes, "
                f"in a tree of {size} leaves it must have {width(place, size)}"
            )
    changed: dict[Place, bytes] = {}
    added = list(leaf_hashes)
    for level in range(MAX_LEVEL + 1):
        if not added:
            break
        position = size >> HEIGHT * level
        above: list[bytes] = []
        taken = 0
        while taken < len(added):
            place = Place(level, position // WIDTH)
            now = added[taken : taken + WIDTH - position % WIDTH]
            before = edge[place] if position % WIDTH else b""
            changed[place] = before + b"".join(now)
            taken, position = taken + len(now), position + len(now)
            if position % WIDTH == 0:
                above.append(_fold(_hashes(changed[place])))
        added = above
    return changed


def _hashes(data: bytes) -> list[bytes]:
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def _fold(row: list[bytes]) -> bytes:
    """The root over a row of hashes whose number is a power of two."""
    while len(row) > 1:
        row = [merkle.node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]
