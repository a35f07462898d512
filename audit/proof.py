"""Proofs as files (C2SP tlog-proof@v1): everything that shows one digest to be in the log, in one text.

    c2sp.org/tlog-proof@v1
    extra <base64, only if there is any>
    index <decimal>
    <base64 hash, from the leaf's sibling up to the root's child; one per line, none in a log of one leaf>

    <the signed checkpoint, verbatim>

The extra data is vouched for by nothing and means nothing here. Files are named `*.tlog-proof`.
"""

from dataclasses import dataclass
from typing import Final, Self

from audit.checkpoint import Checkpoint
from audit.merkle import MAX_PROOF, InvalidProof, leaf_hash, verify_inclusion
from audit.note import Note
from audit.text import HASH_BYTES, Malformed, read_base64, read_decimal, read_hash, read_utf8, write_base64

HEADER: Final = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class Proof:
    """Leaf `index`, the `hashes` of its path (32 bytes each), the `note` of the checkpoint, `extra` bytes."""

    index: int
    hashes: tuple[bytes, ...]
    note: Note
    extra: bytes | None = None

    def written(self) -> bytes:
        """The proof's bytes. The inverse of `read`; raises `Malformed` for one that could not be read."""
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"extra {write_base64(self.extra)}")
        lines.append(f"index {self.index}")
        lines.extend(write_base64(one) for one in self.hashes)
        data = ("\n".join(lines) + "\n\n").encode() + self.note.written()
        if Proof.read(data) != self:
            raise Malformed("these parts do not make a proof")
        return data

    @classmethod
    def read(cls, data: bytes) -> Self:
        """The proof written as `data`; `Malformed` for anything `written` would not write.

        Reading says nothing about whether the proof holds: see `check`.
        """
        head, blank, note = data.partition(b"\n\n")
        if not blank:
            raise Malformed("the proof has no blank line before its checkpoint")
        lines = read_utf8(head, "the proof").split("\n")
        if lines.pop(0) != HEADER:
            raise Malformed(f"the proof does not begin with {HEADER}")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = read_base64(lines.pop(0).removeprefix("extra "), "the extra data")
            if not extra:
                raise Malformed("the line of the extra data is empty")
        if not lines or not lines[0].startswith("index "):
            raise Malformed("the proof does not say its index")
        index = read_decimal(lines.pop(0).removeprefix("index "), "the index")
        if len(lines) > MAX_PROOF:
            raise Malformed("the proof has more hashes than any tree needs")
        hashes = tuple(read_hash(line, "a hash of the proof") for line in lines)
        proof = cls(index, hashes, Note.read(note), extra)
        if index >= proof.checkpoint().size:
            raise Malformed(f"index {index} is not in the log of the proof's checkpoint")
        return proof

    def checkpoint(self) -> Checkpoint:
        """What the note says, unverified; `Malformed` when it is not a checkpoint."""
        return Checkpoint.read(self.note.text)

    def check(self, digest: bytes) -> None:
        """Check that `digest` (32 bytes) stands at `index` of the tree that the proof's own note states.

        Raises `InvalidProof` if that is not shown. The note's signature is another check
        (`audit.key.open_note`).
        """
        self.check_under(digest, self.checkpoint())

    def check_under(self, digest: bytes, checkpoint: Checkpoint) -> None:
        """Check that `digest` (32 bytes) is at `index` of the tree of `checkpoint`; else `InvalidProof`."""
        if len(digest) != HASH_BYTES:
            raise InvalidProof(f"a digest has {HASH_BYTES} bytes")
        verify_inclusion(leaf_hash(digest), self.index, checkpoint.size, self.hashes, checkpoint.root)
