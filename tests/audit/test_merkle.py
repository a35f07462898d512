"""The tree against the RFC's own recursive definitions, written out here a second time."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import merkle, tile
from audit.merkle import InvalidProof
from audit.tile import Place, Tiles

SIZES = range(71)

# The leaves and roots that the Certificate Transparency reference implementations test with.
CT_LEAVES = [
    bytes.fromhex(entry)
    for entry in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def entries(count: int) -> list[bytes]:
    return [sha256(number.to_bytes(8, "big")).digest() for number in range(count)]


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = largest_power_below(len(leaves))
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962 section 2.1.1, word for word."""
    if len(leaves) == 1:
        return []
    k = largest_power_below(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    """RFC 6962 section 2.1.2, word for word."""
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = largest_power_below(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def largest_power_below(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def tree(leaves: list[bytes]) -> Tiles:
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    return Tiles(tile.grow(0, {}, hashes))


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(changed)


LEAVES = entries(700)
TREE = tree(LEAVES)


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_those_of_the_certificate_transparency_reference_tree(size: int) -> None:
    assert merkle.root(size, tree(CT_LEAVES[:size]).read).hex() == CT_ROOTS[size]


def test_the_path_of_the_first_reference_leaf_is_the_published_one() -> None:
    assert [one.hex() for one in merkle.inclusion_proof(0, 8, tree(CT_LEAVES).read)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]


@pytest.mark.parametrize("size", SIZES)
def test_every_leaf_of_every_small_tree_has_the_path_of_the_definition_and_it_holds(size: int) -> None:
    root = merkle.root(size, TREE.read)
    assert root == mth(LEAVES[:size])
    for index in range(size):
        proof = merkle.inclusion_proof(index, size, TREE.read)
        assert proof == path(index, LEAVES[:size])
        merkle.verify_inclusion(merkle.leaf_hash(LEAVES[index]), index, size, proof, root)


@pytest.mark.parametrize("new", SIZES)
def test_every_two_small_trees_have_the_consistency_proof_of_the_definition_and_it_holds(new: int) -> None:
    new_root = mth(LEAVES[:new])
    for old in range(new + 1):
        proof = merkle.consistency_proof(old, new, TREE.read)
        assert proof == (subproof(old, LEAVES[:new], True) if old else [])
        merkle.verify_consistency(old, mth(LEAVES[:old]), new, new_root, proof)


@given(st.integers(1, 700).flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size))))
def test_proofs_over_several_tiles_are_those_of_the_definition(where: tuple[int, int]) -> None:
    index, size = where
    assert merkle.inclusion_proof(index, size, TREE.read) == path(index, LEAVES[:size])
    assert merkle.consistency_proof(index + 1, size, TREE.read) == subproof(index + 1, LEAVES[:size], True)


@given(
    st.integers(2, 700).flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size))),
    st.integers(0, 10**6),
)
def test_a_path_with_any_bit_flipped_or_of_another_leaf_or_size_is_refused(
    where: tuple[int, int], bit: int
) -> None:
    index, size = where
    leaf, root = merkle.leaf_hash(LEAVES[index]), merkle.root(size, TREE.read)
    proof = merkle.inclusion_proof(index, size, TREE.read)
    at = bit % len(proof)
    wrong = [*proof[:at], flipped(proof[at], bit), *proof[at + 1 :]]
    for attempt in (
        (leaf, index, size, wrong, root),
        (flipped(leaf, bit), index, size, proof, root),
        (leaf, index, size, proof, flipped(root, bit)),
        (leaf, index, size, proof[:-1], root),
        (leaf, index, size, [*proof, proof[-1]], root),
        (leaf, (index + 1) % size, size, proof, root),
        (leaf, size, size, proof, root),
        (leaf, -1, size, proof, root),
        (leaf, index, size, [one[:31] for one in proof], root),
    ):
        with pytest.raises(InvalidProof):
            merkle.verify_inclusion(*attempt)


@given(
    st.integers(3, 700).flatmap(lambda new: st.tuples(st.integers(1, new - 1), st.just(new))),
    st.integers(0, 10**6),
)
def test_a_consistency_proof_with_any_bit_flipped_is_refused(sizes: tuple[int, int], bit: int) -> None:
    old, new = sizes
    old_root, new_root = merkle.root(old, TREE.read), merkle.root(new, TREE.read)
    proof = merkle.consistency_proof(old, new, TREE.read)
    at = bit % len(proof)
    wrong = [*proof[:at], flipped(proof[at], bit), *proof[at + 1 :]]
    for attempt in (
        (old, old_root, new, new_root, wrong),
        (old, flipped(old_root, bit), new, new_root, proof),
        (old, old_root, new, flipped(new_root, bit), proof),
        (old, old_root, new, new_root, proof[:-1]),
        (old, old_root, new, new_root, [*proof, proof[-1]]),
        (old, old_root, old, new_root, []),
        (new, new_root, old, old_root, proof),
        (0, old_root, new, new_root, []),
        (0, merkle.EMPTY_ROOT, new, new_root, proof),
    ):
        with pytest.raises(InvalidProof):
            merkle.verify_consistency(*attempt)


def test_a_proof_of_a_tree_that_does_not_exist_is_not_even_planned() -> None:
    for index, size in ((0, 0), (3, 3), (-1, 3)):
        with pytest.raises(ValueError, match="no leaf"):
            merkle.inclusion_plan(index, size)
    with pytest.raises(ValueError, match="no consistency"):
        merkle.consistency_plan(5, 4)


def test_a_proof_in_a_tree_of_a_hundred_million_leaves_needs_few_tiles() -> None:
    size = 100_000_001
    for index in (0, 12_345_678, size - 1):
        assert len(tile.places_for(merkle.inclusion_plan(index, size))) <= 10
    assert len(tile.places_for(merkle.consistency_plan(77_777_777, size))) <= 14


@given(st.lists(st.integers(0, 300), max_size=6))
def test_tiles_grown_in_any_steps_are_those_of_the_definition(steps: list[int]) -> None:
    stored: dict[Place, bytes] = {}
    size = 0
    for step in steps:
        hashes = [merkle.leaf_hash(leaf) for leaf in entries(1800)[size : size + step]]
        stored |= tile.grow(size, {place: stored[place] for place in tile.right_edge(size)}, hashes)
        size += step

    assert {place: len(hashes) // 32 for place, hashes in stored.items()} == dict(tile.places(size))
    leaves = entries(size)
    assert merkle.root(size, Tiles(stored).read) == mth(leaves)
    for place, row in stored.items():
        reach = 256**place.level
        start = place.number * 256 * reach
        wanted = b"".join(
            mth(leaves[at : at + reach]) for at in range(start, start + len(row) // 32 * reach, reach)
        )
        assert row == wanted


def test_a_third_level_of_tiles_appears_with_leaf_65536() -> None:
    stored = tile.grow(0, {}, [merkle.leaf_hash(leaf) for leaf in entries(65_537)])
    assert len(stored[Place(1, 0)]) == 8192
    assert stored[Place(2, 0)] == merkle.root(65_536, Tiles(stored).read)
    assert tile.right_edge(65_537) == [Place(0, 256), Place(2, 0)]


def test_the_specification_s_own_example_of_70000_leaves_has_the_tiles_it_names() -> None:
    tiles = dict(tile.places(70_000))
    full = [place for place, hashes in tiles.items() if hashes == 256]
    assert [sum(place.level == level for place in full) for level in range(3)] == [273, 1, 0]
    assert {place: hashes for place, hashes in tiles.items() if hashes < 256} == {
        Place(0, 273): 112,
        Place(1, 1): 17,
        Place(2, 0): 1,
    }
    assert dict(tile.places(256)) == {Place(0, 0): 256, Place(1, 0): 1}


def test_a_tile_that_is_not_as_wide_as_the_tree_says_stops_everything() -> None:
    with pytest.raises(tile.MissingTile, match="has 0 hashes, in a tree of 3 leaves it must have 3"):
        tile.grow(3, {}, [bytes(32)])
    with pytest.raises(tile.MissingTile):
        merkle.root(701, TREE.read)


@pytest.mark.parametrize(
    ("place", "width", "path_text"),
    [
        (Place(0, 0), 256, "tile/0/000"),
        (Place(0, 1234), 256, "tile/0/x001/234"),
        (Place(3, 1234067), 256, "tile/3/x001/x234/067"),
        (Place(1, 999), 17, "tile/1/999.p/17"),
        (Place(0, 273), 112, "tile/0/273.p/112"),
    ],
)
def test_paths_are_written_as_the_specification_writes_them(place: Place, width: int, path_text: str) -> None:
    assert tile.write_path(place, width) == path_text
    assert tile.read_path(path_text) == (place, width)


@given(st.integers(0, 7), st.integers(0, 2**63 - 1), st.integers(1, 256))
def test_reading_a_path_is_the_inverse_of_writing_it(level: int, number: int, width: int) -> None:
    place = Place(level, number)
    assert tile.read_path(tile.write_path(place, width)) == (place, width)


@pytest.mark.parametrize(
    "wrong",
    ["", "tile/0/0", "tile/00/000", "tile/0/x000/001", "tile/0/000.p/0", "tile/0/000.p/256", "tile/8/000",
     "tile/0/001/234", "tile/0/x001/x234", "tile/0/٠٠٠", "tile/0/000/", "/tile/0/000", "tile/0/000.p/01",
     "tile/-1/000", "tile/0/x999/x999/x999/x999/x999/x999/x999/999"],
)  # fmt: skip
def test_any_other_path_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="tile"):
        tile.read_path(wrong)
