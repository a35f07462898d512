"""Checkpoints (C2SP tlog-checkpoint): the signed statement of a log's size and root.

The text of the note is three lines: the *origin* (which log), the number of leaves, the root in base64.
Extension lines, which the format allows and advises against, are refused: nobody could audit them. The keys
that sign carry the origin as their name (`audit.key`).
"""

from dataclasses import dataclass
from typing import Self

from audit.merkle import EMPTY_ROOT
from audit.text import HASH_BYTES, MAX_SIZE, Malformed, is_line, read_decimal, read_hash, write_base64


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's state: `origin`, `size` in leaves, `root` (32 bytes). Unsigned until it is in a note."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not self.origin or not is_line(self.origin):
            raise Malformed("the origin of a checkpoint is one line that is not empty")
        if not 0 <= self.size <= MAX_SIZE:
            raise Malformed(f"a log of {self.size} leaves is not possible")
        if len(self.root) != HASH_BYTES:
            raise Malformed(f"the root has {len(self.root)} bytes, a SHA-256 hash has {HASH_BYTES}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise Malformed("the root of the empty log is not the one every empty log has")

    def text(self) -> str:
        """The text of the note: three lines."""
        return f"{self.origin}\n{self.size}\n{write_base64(self.root)}\n"

    @classmethod
    def read(cls, text: str) -> Self:
        """The checkpoint written as `text`: the inverse of `text()`; `Malformed` for anything else."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise Malformed("a checkpoint has three lines: origin, size and root")
        origin, size, root, _ = lines
        return cls(origin, read_decimal(size, "the size in the checkpoint"), read_hash(root, "the root"))
