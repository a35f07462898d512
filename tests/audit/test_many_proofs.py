"""Many proofs under one checkpoint are held to what each of them alone is held to."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import merkle, tile
from audit.checkpoint import Checkpoint
from audit.merkle import InvalidProof
from audit.note import Note, Signature
from audit.proof import ManyProofs, Proof
from audit.text import Malformed
from audit.tile import Tiles

MOST = 70
DIGESTS = [sha256(bytes([number])).digest() for number in range(MOST)]
TREE = Tiles(tile.grow(0, {}, [merkle.leaf_hash(digest) for digest in DIGESTS]))


def under(size: int) -> tuple[Checkpoint, Note, list[bytes]]:
    """The checkpoint of so many leaves, a note of it, and the proof of each leaf."""
    stated = Checkpoint("log.example", size, merkle.root(size, TREE.read))
    note = Note(stated.text(), (Signature("log.example", b"1234", b"nobody's"),))
    paths = [tuple(merkle.inclusion_proof(index, size, TREE.read)) for index in range(size)]
    return stated, note, [Proof(index, path, note).written() for index, path in enumerate(paths)]


@settings(max_examples=60)
@given(st.integers(1, MOST), st.randoms(use_true_random=False))
def test_true_proofs_hold_in_whatever_order_they_come(size: int, chance: object) -> None:
    stated, note, proofs = under(size)
    order = list(range(size))
    chance.shuffle(order)  # type: ignore[attr-defined]
    many = ManyProofs(note.written(), stated)
    assert [many.check(DIGESTS[index], proofs[index]) for index in order] == order


@settings(max_examples=300)
@given(st.data())
def test_a_changed_proof_is_refused_whatever_was_known_before_it(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, MOST))
    stated, note, proofs = under(size)
    index = data.draw(st.integers(0, size - 1))
    known = data.draw(st.lists(st.integers(0, size - 1).filter(lambda n: n != index), unique=True))
    many = ManyProofs(note.written(), stated)
    for each in known:
        many.check(DIGESTS[each], proofs[each])
    proof = proofs[index]
    at = data.draw(st.integers(0, len(proof) - 1))
    to = data.draw(st.integers(0, 255).filter(lambda byte: byte != proof[at]))
    with pytest.raises((Malformed, InvalidProof)):
        many.check(DIGESTS[index], proof[:at] + bytes([to]) + proof[at + 1 :])
    assert many.check(DIGESTS[index], proof) == index


def test_one_leaf_does_not_stand_for_two_events() -> None:
    stated, note, proofs = under(5)
    many = ManyProofs(note.written(), stated)
    many.check(DIGESTS[3], proofs[3])
    with pytest.raises(InvalidProof, match="another proof"):
        many.check(DIGESTS[3], proofs[3])


def test_a_proof_with_a_hash_too_many_or_too_few_is_refused() -> None:
    stated, note, _ = under(6)
    many = ManyProofs(note.written(), stated)
    path = tuple(merkle.inclusion_proof(2, 6, TREE.read))
    for wrong in ((*path, path[0]), path[:-1], ()):
        with pytest.raises(InvalidProof):
            many.check(DIGESTS[2], Proof(2, wrong, note).written())
