"""What is sent to a witness and read from it, without any network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import key as keys
from audit import merkle, tile, witness
from audit.checkpoint import Checkpoint
from audit.key import COSIGNATURE, ED25519, ML_DSA_44, NotSigned, SigningKey
from audit.note import Signature
from audit.policy import Witness
from audit.text import Malformed
from audit.tile import Tiles
from audit.witness import write_request
from tests.audit import a_witness
from tests.audit.whole_log import digests
from tests.audit.witnessed import ORIGIN

SIGNERS = [SigningKey(ORIGIN, bytes(range(32)), kind) for kind in (ED25519, ML_DSA_44)]
digests_of_any_kind = st.binary(min_size=32, max_size=32)


@given(st.data(), st.integers(1, 2**62), digests_of_any_kind)
def test_a_witness_reads_out_of_a_request_what_was_written_into_it(
    data: st.DataObject, size: int, root: bytes
) -> None:
    note = keys.sign(Checkpoint(ORIGIN, size, root), SIGNERS, 1_790_000_000)
    old = data.draw(st.integers(0, size))
    proof = data.draw(st.lists(digests_of_any_kind, max_size=63 if old else 0))
    read = a_witness.parse(write_request(old, proof, note))
    assert (read.old, read.proof, read.origin, read.size, read.root) == (old, proof, ORIGIN, size, root)
    assert read.text == note.text
    assert [Signature(*parts) for parts in read.signatures] == list(note.signatures)


def test_a_request_that_no_witness_would_take_is_not_written() -> None:
    note = keys.sign(Checkpoint(ORIGIN, 300, bytes(32)), SIGNERS, 1_790_000_000)
    for old, proof in ((301, []), (-1, []), (0, [bytes(32)]), (256, [bytes(32)] * 64), (256, [bytes(31)])):
        with pytest.raises(Malformed):
            write_request(old, proof, note)
    assert write_request(256, [bytes(32)] * 63, note)


@given(st.integers(0, 2**63 - 1))
def test_a_stated_size_is_read_as_it_is_written(size: int) -> None:
    assert witness.read_size(f"{size}\n".encode()) == size


@given(st.binary(max_size=24) | st.text("0123456789\n +-", max_size=24).map(str.encode))
def test_a_stated_size_has_one_spelling(body: bytes) -> None:
    try:
        size = witness.read_size(body)
    except Malformed:
        return
    assert f"{size}\n".encode() == body


@given(
    st.lists(
        st.builds(
            Signature,
            st.sampled_from(["w1.example", "wítness"]),
            st.binary(min_size=4, max_size=4),
            st.binary(min_size=1, max_size=80),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_cosignature_lines_are_read_as_they_are_written(written: list[Signature]) -> None:
    body = "".join(f"{one.line()}\n" for one in written).encode()
    assert witness.read_cosignatures(body) == tuple(written)
    for cut in range(len(body)):
        try:
            part = witness.read_cosignatures(body[:cut])
        except Malformed:
            continue
        assert part == tuple(written[: len(part)])
        assert len(part) < len(written)


@given(st.integers(0, 2**63 - 1))
def test_a_cosignature_counts_up_to_five_minutes_ahead_of_our_clock(at: int) -> None:
    now, text_ = 1_790_000_000, Checkpoint(ORIGIN, 256, bytes(32)).text()
    signing = SigningKey("w1.example", bytes(32), COSIGNATURE)
    known = Witness(b"w1", signing.verifier)
    line = signing.verifier.line(signing.sign(signing.verifier.message(text_, at)), at)
    if 0 < at <= now + 300:
        assert witness.cosignatures_by([known], text_, [line], now) == {known: line}
    else:
        with pytest.raises(NotSigned):
            witness.cosignatures_by([known], text_, [line], now)


@given(st.data(), st.integers(1, 600))
def test_the_witness_of_these_tests_takes_true_proofs_of_growth_and_no_others(
    data: st.DataObject, new: int
) -> None:
    old = data.draw(st.integers(1, new))
    leaves = [merkle.leaf_hash(entry) for entry in digests(0, new)]
    tiles = Tiles(tile.grow(0, {}, leaves))
    roots = [merkle.root(size, tiles.read) for size in (old, new)]
    proof = merkle.consistency_proof(old, new, tiles.read)
    assert a_witness.consistent(old, roots[0], new, roots[1], proof)
    assert not a_witness.consistent(old, bytes(32), new, roots[1], proof)
    assert not a_witness.consistent(old, roots[0], new, roots[1], [*proof, bytes(32)])
    if proof:
        assert not a_witness.consistent(old, roots[0], new, bytes(32), proof)
        assert not a_witness.consistent(old, roots[0], new, roots[1], proof[:-1])
        at_hash = data.draw(st.integers(0, len(proof) - 1))
        altered = [*proof[:at_hash], bytes(32), *proof[at_hash + 1 :]]
        assert not a_witness.consistent(old, roots[0], new, roots[1], altered)
