"""What a court's own computer says about a checkpoint, proofs and growth."""

from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import key, merkle, tile
from audit.checkpoint import Checkpoint
from audit.key import ED25519, ML_DSA_44, SigningKey, write_keys
from audit.note import Note
from audit.proof import Proof
from audit.tile import Tiles
from audit.verify import TITLES, Earlier, VerificationError, verify

ORIGIN = "custody.example/events"


def pair(seed: bytes) -> tuple[SigningKey, ...]:
    return tuple(SigningKey(ORIGIN, seed, kind) for kind in (ED25519, ML_DSA_44))


KEYS = pair(bytes(range(32)))
FORGERS = pair(bytes(32))
VKEYS = write_keys(each.verifier for each in KEYS)
DIGESTS = [sha256(bytes([number])).digest() for number in range(20)]
TREE = Tiles(tile.grow(0, {}, [merkle.leaf_hash(digest) for digest in DIGESTS]))


@cache
def note_of(size: int, keys: tuple[SigningKey, ...] = KEYS) -> bytes:
    return key.sign(Checkpoint(ORIGIN, size, merkle.root(size, TREE.read)), keys, 1_790_000_000).written()


def proof_of(index: int, size: int) -> bytes:
    hashes = tuple(merkle.inclusion_proof(index, size, TREE.read))
    return Proof(index, hashes, Note.read(note_of(size))).written()


def growth(old: int, new: int) -> Earlier:
    return Earlier(note=note_of(old), hashes=merkle.consistency_proof(old, new, TREE.read))


def test_everything_in_order_holds_and_the_verdict_still_says_what_was_not_proved() -> None:
    proofs = [(DIGESTS[index], proof_of(index, 20)) for index in (0, 7, 19)]
    verdict = verify(VKEYS, note_of(20), proofs, growth(13, 20))

    assert verdict.holds
    assert [finding.number for finding in verdict.findings] == list(TITLES)
    assert [finding.words for finding in verdict.findings] == [
        "custody.example/events signed that the log has 20 leaves, with Ed25519 and ML-DSA-44.",
        "All 3 proofs speak of the same checkpoint.",
        "All 3 digests are in the log of 20 leaves.",
        "custody.example/events signed that the log has 13 leaves, with Ed25519 and ML-DSA-44.",
        "The first 13 of the 20 leaves are those of the earlier checkpoint.",
    ]
    assert any("witness" in words for words in verdict.not_proved)
    assert any("time" in words for words in verdict.not_proved)


def test_without_an_earlier_checkpoint_the_verdict_says_that_growth_was_not_proved() -> None:
    assert any("earlier checkpoint" in words for words in verify(VKEYS, note_of(20)).not_proved)
    assert not any(
        "earlier checkpoint" in words for words in verify(VKEYS, note_of(20), (), growth(1, 20)).not_proved
    )


def test_a_checkpoint_by_another_key_fails_check_1_and_nothing_else_is_said() -> None:
    verdict = verify(VKEYS, note_of(20, FORGERS), [(DIGESTS[0], proof_of(0, 20))])
    assert [(finding.number, finding.holds) for finding in verdict.findings] == [(1, False)]
    assert verdict.checkpoint is None
    assert not verdict.holds


def test_a_proof_under_another_checkpoint_fails_check_2_and_check_3() -> None:
    verdict = verify(VKEYS, note_of(20), [(DIGESTS[0], proof_of(0, 20)), (DIGESTS[1], proof_of(1, 13))])
    assert [(finding.number, finding.holds) for finding in verdict.findings] == [
        (1, True),
        (2, False),
        (3, False),
    ]
    assert "index 1" in verdict.findings[1].words
    assert DIGESTS[1].hex() in verdict.findings[2].words


def test_a_digest_that_is_not_the_one_proved_fails_check_3_and_is_named() -> None:
    verdict = verify(VKEYS, note_of(20), [(DIGESTS[1], proof_of(0, 20))])
    assert [(finding.number, finding.holds) for finding in verdict.findings] == [
        (1, True),
        (2, True),
        (3, False),
    ]
    assert DIGESTS[1].hex() in verdict.findings[2].words


def test_an_earlier_checkpoint_by_another_key_fails_check_4() -> None:
    forged = Earlier(note=note_of(13, FORGERS), hashes=growth(13, 20).hashes)
    verdict = verify(VKEYS, note_of(20), (), forged)
    assert [(finding.number, finding.holds) for finding in verdict.findings] == [(1, True), (4, False)]


def test_a_log_that_was_rewritten_since_the_earlier_checkpoint_fails_check_5() -> None:
    other = Tiles(tile.grow(0, {}, [merkle.leaf_hash(digest) for digest in reversed(DIGESTS)]))
    rewritten = key.sign(Checkpoint(ORIGIN, 20, merkle.root(20, other.read)), KEYS, 1_790_000_000).written()
    earlier = Earlier(note=note_of(13), hashes=merkle.consistency_proof(13, 20, other.read))
    verdict = verify(VKEYS, rewritten, (), earlier)
    assert [(finding.number, finding.holds) for finding in verdict.findings] == [
        (1, True),
        (4, True),
        (5, False),
    ]
    assert "13 to 20" in verdict.findings[2].words


@given(st.binary(max_size=80), st.sampled_from(range(5)))
def test_anything_malformed_is_a_verification_error_and_nothing_else(junk: bytes, where: int) -> None:
    vkeys, note, digest, proof = VKEYS, note_of(20), DIGESTS[0], proof_of(0, 20)
    earlier = growth(13, 20)
    if where == 0:
        vkeys = junk.decode("latin-1")
    elif where == 1:
        note = junk
    elif where == 2:
        digest = junk if len(junk) != 32 else junk[1:]
    elif where == 3:
        proof = junk
    else:
        earlier = Earlier(note=junk, hashes=earlier.hashes)
    with pytest.raises(VerificationError):
        verify(vkeys, note, [(digest, proof)], earlier)
