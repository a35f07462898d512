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
from audit.merkle import MAX_PROOF, InvalidProof, leaf_hash, node_hash, verify_inclusion
from audit.note import Note
from audit.text import HASH_BYTES, Malformed, read_base64, read_decimal, read_hash, read_utf8, write_base64

HEADER: Final = "c2sp.org/tlog-proof@v1"
_HEADER: Final = HEADER.encode()


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


class ManyProofs:
    """Checks many proofs under one checkpoint, each shared part once.

    What it accepts is what `Proof.read` and `Proof.check` accept, with three things more: the proof carries
    `note` byte for byte, and no extra data, and the index of no proof before it. A node of the tree that a
    proof before has led to the root is known together with the rest of that proof; a proof that comes to the
    same node leads to the root exactly if its rest is the same, byte for byte.
    """

    def __init__(self, note: bytes, checkpoint: Checkpoint) -> None:
        """`note` is that of `checkpoint`; its signatures are another check (`audit.key`)."""
        self._note, self._checkpoint = note, checkpoint
        self._known: dict[tuple[int, int], tuple[bytes, list[bytes]]] = {}
        self._hashes: dict[bytes, bytes] = {}
        self._indexes: set[int] = set()

    def check(self, digest: bytes, data: bytes) -> int:
        """The index at which the proof `data` shows `digest` (32 bytes).

        Raises `Malformed` for what is no such proof, `InvalidProof` for one that does not show it.
        """
        head, blank, note = data.partition(b"\n\n")
        if not blank:
            raise Malformed("the proof has no blank line before its checkpoint")
        if note != self._note:
            raise InvalidProof("it speaks of another checkpoint")
        lines = head.split(b"\n")
        if lines[0] != _HEADER or len(lines) < 2 or not lines[1].startswith(b"index "):
            raise Malformed("the proof does not begin with its header and its index")
        index = read_decimal(lines[1][6:].decode("ascii", "replace"), "the index")
        path = lines[2:]
        if index >= self._checkpoint.size or len(path) > MAX_PROOF:
            raise Malformed(f"index {index} is not in the log of the proof's checkpoint")
        if index in self._indexes:
            raise InvalidProof(f"index {index} is that of another proof already")
        self._climb(leaf_hash(digest), index, path)
        self._indexes.add(index)
        return index

    def _climb(self, result: bytes, index: int, path: list[bytes]) -> None:
        """RFC 9162 section 2.1.3.2, up to a node that is known. Raises `InvalidProof`, `Malformed`."""
        position, last, level = index, self._checkpoint.size - 1, 0
        passed: list[tuple[tuple[int, int], tuple[bytes, list[bytes]]]] = []
        for at, line in enumerate(path):
            node = (level, position)
            rest = path[at:]
            if self._known.get(node) == (result, rest):
                break
            passed.append((node, (result, rest)))
            if last == 0:
                raise InvalidProof("the inclusion proof has too many hashes")
            step = self._hash(line)
            if position & 1 or position == last:
                result = node_hash(step, result)
                while not position & 1 and position:
                    position, last, level = position >> 1, last >> 1, level + 1
            else:
                result = node_hash(result, step)
            position, last, level = position >> 1, last >> 1, level + 1
        else:
            if last:
                raise InvalidProof("the inclusion proof has too few hashes")
            if result != self._checkpoint.root:
                raise InvalidProof("the inclusion proof leads to another root")
        self._known.update(passed)

    def _hash(self, line: bytes) -> bytes:
        found = self._hashes.get(line)
        if found is None:
            found = self._hashes[line] = read_hash(
                read_utf8(line, "a hash of the proof"), "a hash of the proof"
            )
        return found
