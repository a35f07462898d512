"""Notes, keys, checkpoints and proofs as text: one spelling each, and no byte that may be changed."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import key, note, tile
from audit.checkpoint import Checkpoint
from audit.key import ED25519, ML_DSA_44, NotSigned, SigningKey, VerifierKey, open_note
from audit.merkle import EMPTY_ROOT, InvalidProof, inclusion_proof, leaf_hash, root
from audit.note import Note, Signature
from audit.proof import Proof
from audit.text import Malformed
from audit.tile import Tiles

# The key, text and signature in the documentation of Go's sumdb/note.
GO_KEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
GO_LINE = (
    "— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
)
SUM_GOLANG_ORG = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"

ORIGIN = "custody.example/events"
KEY = SigningKey(ORIGIN, bytes(range(32)))
POST_QUANTUM = SigningKey(ORIGIN, bytes(range(32)), ML_DSA_44)
KEYS = (KEY, POST_QUANTUM)
PUBLIC = tuple(each.verifier for each in KEYS)
OTHER = SigningKey(ORIGIN, bytes(range(1, 33)))
AT = 1_790_000_000

names = st.text(
    st.characters(exclude_characters="+", exclude_categories=["C", "Z"]), min_size=1, max_size=20
).filter(note.is_key_name)
lines = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30)
texts = st.lists(lines, min_size=1, max_size=4).map(lambda parts: "\n".join(parts) + "\n")
signatures = st.builds(
    Signature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=70)
)
notes = st.builds(Note, texts, st.lists(signatures, min_size=1, max_size=4).map(tuple))
checkpoints = st.builds(
    Checkpoint,
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40),
    st.integers(1, 2**63 - 1),
    st.binary(min_size=32, max_size=32),
)


def line(signer: SigningKey, text: str, at: int = AT) -> Signature:
    """The signature line of one key over a text."""
    return signer.verifier.line(signer.sign(signer.verifier.message(text, at)), at)


def bits(data: bytes) -> list[bytes]:
    """`data` with each of its bits flipped in turn."""
    return [
        data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
        for at in range(len(data))
        for bit in range(8)
    ]


def test_go_s_published_key_signs_go_s_published_note() -> None:
    go = SigningKey.read(GO_KEY)
    assert go.written() == GO_KEY
    assert go.verifier.written() == GO_VKEY
    signed = Note(GO_TEXT, (line(go, GO_TEXT),))
    assert signed.written().decode() == f"{GO_TEXT}\n{GO_LINE}\n"
    assert key.verify(Note.read(signed.written()), [VerifierKey.read(GO_VKEY)]) == (go.verifier,)


def test_the_go_checksum_database_s_key_is_read_and_written_back() -> None:
    go = VerifierKey.read(SUM_GOLANG_ORG)
    assert (go.name, go.key_id.hex(), go.written()) == ("sum.golang.org", "033de0ae", SUM_GOLANG_ORG)


def test_the_specification_s_example_of_a_checkpoint_is_read_and_written_back() -> None:
    data = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa "
        "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    ).encode()
    read = Note.read(data)
    assert read.written() == data
    assert Checkpoint.read(read.text).size == 20_852_163


@given(notes)
def test_reading_a_note_is_the_inverse_of_writing_it(written: Note) -> None:
    assert Note.read(written.written()) == written


@given(names, st.binary(min_size=32, max_size=32), st.sampled_from([ED25519, ML_DSA_44]))
def test_reading_a_key_is_the_inverse_of_writing_it(name: str, seed: bytes, kind: int) -> None:
    made = SigningKey(name, seed, kind)
    public = made.verifier
    assert SigningKey.read(made.written()) == made
    assert VerifierKey.read(public.written()) == public
    assert public.key_id == sha256(name.encode() + b"\n" + bytes([kind]) + public.public_key).digest()[:4]


@given(checkpoints)
def test_reading_a_checkpoint_is_the_inverse_of_writing_it(written: Checkpoint) -> None:
    assert Checkpoint.read(written.text()) == written


@given(st.binary(max_size=200) | texts.map(str.encode) | notes.map(Note.written))
def test_a_note_that_is_read_at_all_has_only_that_spelling(data: bytes) -> None:
    try:
        read = Note.read(data)
    except Malformed:
        return
    assert read.written() == data


def test_a_key_never_shows_its_secret_by_accident() -> None:
    assert KEY.seed.hex() not in repr(KEY)
    assert str(KEY.seed) not in repr(KEY)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\ud800", "a\u00a0b", "a\u2003b", "a\nb", "a\tb"])
def test_a_name_with_a_space_or_a_plus_is_no_key_s_name(name: str) -> None:
    with pytest.raises(Malformed):
        SigningKey(name, bytes(32))


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "PeterNeumann",
        GO_VKEY.replace("c74f", "C74F"),
        GO_VKEY.replace("c74f20a3", "c74f20a4"),
        GO_VKEY + "=",
        GO_VKEY + "\n",
        GO_VKEY.replace("Peter", "Pieter"),
        "PeterNeumann+c74f20a3+",
        "PeterNeumann+c74f20a3+AQ==",
        "PeterNeumann+c74f20a3+BhpcAA==",
        "PeterNeumann+c74f20a3+AhpcAA==",
    ],
)
def test_a_key_written_in_any_other_way_is_refused(wrong: str) -> None:
    with pytest.raises(Malformed):
        VerifierKey.read(wrong)


def test_a_secret_key_in_any_other_form_is_refused_without_being_quoted() -> None:
    for wrong in (GO_KEY.removeprefix("PRIVATE+"), GO_KEY.replace("c74f", "c74e"), GO_KEY + " "):
        with pytest.raises(Malformed) as refused:
            SigningKey.read(wrong)
        assert "AYEKFALV" not in str(refused.value)


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"text\n",
        b"text\n\n",
        f"text\n{GO_LINE}\n".encode(),
        f"text\n\n{GO_LINE}".encode(),
        f"text\n\n{GO_LINE}\n\n".encode(),
        f"text\r\n\n{GO_LINE}\n".encode(),
        f"text\n\n{GO_LINE}\n{GO_LINE} \n".encode(),
        f"text\n\n{GO_LINE.replace('—', '-')}\n".encode(),
        f"text\n\n{GO_LINE.replace('nAM=', 'nAN=')}\n".encode(),
        b"\xff\n\n" + GO_LINE.encode() + b"\n",
        "text\n\n— name AAAAAA==\n".encode(),
        "text\n\n— AAAAAAA=\n".encode(),
        f"text\n\n{(GO_LINE + chr(10)) * 101}".encode(),
    ],
)
def test_a_note_in_any_other_form_is_refused(wrong: bytes) -> None:
    with pytest.raises(Malformed):
        Note.read(wrong)


def test_sixteen_signatures_are_accepted_and_unknown_ones_are_kept() -> None:
    text = Checkpoint(ORIGIN, 0, EMPTY_ROOT).text()
    strangers = tuple(Signature(f"witness{n}.example", bytes([n] * 4), b"\x06" * 2424) for n in range(14))
    data = Note(text, (line(KEY, text), line(POST_QUANTUM, text), *strangers)).written()
    assert Note.read(data).signatures[2:] == strangers
    assert open_note(data, PUBLIC).size == 0


def test_a_stranger_s_signature_alone_proves_nothing() -> None:
    text = Checkpoint(ORIGIN, 0, EMPTY_ROOT).text()
    with pytest.raises(NotSigned, match="none of the known keys"):
        key.verify(Note(text, (line(OTHER, text),)), PUBLIC)


def test_one_wrong_signature_in_a_known_key_s_name_refuses_the_whole_note() -> None:
    text = Checkpoint(ORIGIN, 0, EMPTY_ROOT).text()
    good = line(KEY, text)
    forged = Signature(good.name, good.key_id, line(OTHER, text).signature)
    with pytest.raises(NotSigned, match="is not by key"):
        key.verify(Note(text, (good, forged)), PUBLIC)


def test_a_signed_checkpoint_with_any_bit_flipped_is_refused() -> None:
    data = key.sign(Checkpoint(ORIGIN, 7, sha256(b"seven").digest()), KEYS, AT).written()
    assert open_note(data, PUBLIC).size == 7
    for changed in bits(data):
        with pytest.raises((Malformed, NotSigned)):
            open_note(changed, PUBLIC)


@pytest.mark.parametrize("lacking", KEYS, ids=["Ed25519", "ML-DSA-44"])
def test_a_checkpoint_without_one_of_the_two_algorithms_is_refused(lacking: SigningKey) -> None:
    signed = key.sign(Checkpoint(ORIGIN, 0, EMPTY_ROOT), [k for k in KEYS if k is not lacking], AT)
    with pytest.raises(NotSigned, match=f"the {lacking.verifier.algorithm} signature by .* is missing"):
        open_note(signed.written(), PUBLIC)


def test_a_post_quantum_signature_is_over_the_structure_of_the_specification() -> None:
    root_ = sha256(b"root").digest()
    message = POST_QUANTUM.verifier.message(Checkpoint(ORIGIN, 300, root_).text(), 1_679_315_147)
    name = ORIGIN.encode()
    assert message == (
        b"subtree/v1\n\x00"
        + bytes([len(name)])
        + name
        + (1_679_315_147).to_bytes(8, "big")
        + bytes([len(name)])
        + name
        + bytes(8)
        + (300).to_bytes(8, "big")
        + root_
    )


def test_a_program_that_signs_wrongly_is_found_out_before_its_signature_is_used() -> None:
    class Forger:
        verifier = KEY.verifier

        def sign(self, message: bytes) -> bytes:
            return OTHER.sign(message)

    with pytest.raises(ValueError, match="not its own"):
        key.sign(Checkpoint(ORIGIN, 0, EMPTY_ROOT), [Forger(), POST_QUANTUM], AT)


def test_public_keys_are_a_text_of_one_key_a_line() -> None:
    assert key.read_keys(key.write_keys(PUBLIC)) == PUBLIC
    for wrong in ("", "\n", key.write_keys(PUBLIC) + "\n", key.write_keys([*PUBLIC, KEY.verifier])):
        with pytest.raises(Malformed):
            key.read_keys(wrong)


def test_a_checkpoint_of_another_log_by_the_same_key_is_refused() -> None:
    text = Checkpoint("custody.example/reads", 0, EMPTY_ROOT).text()
    with pytest.raises(NotSigned, match=r"is of custody\.example/reads"):
        open_note(Note(text, (line(KEY, text),)).written(), PUBLIC)
    with pytest.raises(ValueError, match="none of the keys signs for"):
        key.sign(Checkpoint("custody.example/reads", 0, EMPTY_ROOT), KEYS, AT)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "a\n1\n",
        f"\n1\n{'A' * 43}=\n",
        f"a\n01\n{'A' * 43}=\n",
        f"a\n-1\n{'A' * 43}=\n",
        f"a\n٣\n{'A' * 43}=\n",
        f"a\n9223372036854775808\n{'A' * 43}=\n",
        f"a\n1\n{'A' * 42}B=\n",
        f"a\n1\n{'A' * 44}\n",
        f"a\n1\n{'A' * 43}=\nextension\n",
        f"a\n1\n{'A' * 43}=",
        f"a\n0\n{'A' * 43}=\n",
        f"a\tb\n1\n{'A' * 43}=\n",
    ],
)
def test_a_checkpoint_in_any_other_form_is_refused(wrong: str) -> None:
    with pytest.raises(Malformed):
        Checkpoint.read(wrong)


DIGESTS = [sha256(bytes([number])).digest() for number in range(11)]
TREE = Tiles(tile.grow(0, {}, [leaf_hash(digest) for digest in DIGESTS]))


def proof_of(index: int, size: int = 11, extra: bytes | None = None) -> Proof:
    signed = key.sign(Checkpoint(ORIGIN, size, root(size, TREE.read)), KEYS, AT)
    return Proof(index, tuple(inclusion_proof(index, size, TREE.read)), signed, extra)


@given(
    st.integers(1, 11).flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size))),
    st.none() | st.binary(min_size=1),
)
def test_reading_a_proof_is_the_inverse_of_writing_it_and_it_still_holds(
    where: tuple[int, int], extra: bytes | None
) -> None:
    index, size = where
    proof = proof_of(index, size, extra)
    read = Proof.read(proof.written())
    assert read == proof
    read.check(DIGESTS[index])


def test_a_proof_file_begins_as_the_specification_says() -> None:
    lines = proof_of(3, extra=b"a word").written().decode().split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra YSB3b3Jk", "index 3"]
    assert lines[7:10] == ["", ORIGIN, "11"]
    assert proof_of(0, 1).written().decode().split("\n")[:3] == ["c2sp.org/tlog-proof@v1", "index 0", ""]


def test_a_proof_with_any_bit_flipped_is_refused() -> None:
    def accept(data: bytes) -> None:
        read = Proof.read(data)
        open_note(read.note.written(), PUBLIC)
        read.check(DIGESTS[6])

    data = proof_of(6).written()
    accept(data)
    for changed in bits(data):
        with pytest.raises((Malformed, NotSigned, InvalidProof)):
            accept(changed)


def test_a_proof_does_not_hold_for_another_digest() -> None:
    with pytest.raises(InvalidProof):
        proof_of(6).check(DIGESTS[7])
    with pytest.raises(InvalidProof):
        proof_of(6).check(DIGESTS[6][:31])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2"),
        ("index 6", "index 06"),
        ("index 6", "index 11"),
        ("index 6", "extra \nindex 6"),
        ("index 6", "index 6\nindex 6"),
        ("index 6\n", ""),
        ("index 6", "extra YQ==\nextra YQ==\nindex 6"),
        ("\n\n", "\n\n\n"),
        ("index 6", "index 6\r"),
        ("index 6\n", "index 6\n" + ("A" * 43 + "=\n") * 65),
    ],
)
def test_a_proof_in_any_other_form_is_refused(before: str, after: str) -> None:
    with pytest.raises(Malformed):
        Proof.read(proof_of(6).written().decode().replace(before, after, 1).encode())
