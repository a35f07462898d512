"""The published log as files, laid out as the addresses of C2SP tlog-tiles, and the check of such a folder.

    checkpoint                    the signed note, with the cosignatures of witnesses
    tile/<level>/<number>[.p/<width>]
    tile/entries/<number>[.p/<width>]

Every resource of the format is a file under the name that ends its address, so any static host serves it.
`resources` says what a folder of one size lacks to become one of a larger size. `check_folder` trusts nothing
but the keys that it is given: it makes every hash anew from the entries, compares every tile, and ends at
the root that was signed. It needs no service, no database and no network, reads each file once, and keeps
no more than a few tiles in memory. The signature comes first: of a checkpoint that is not signed by the keys
that were given no tile is looked for, since its size is anybody's word.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from audit import merkle, tile
from audit.checkpoint import Checkpoint
from audit.file import content, files
from audit.key import NotSigned, VerifierKey, open_note, read_keys, signed_with
from audit.note import MAX_NOTE_BYTES, Note
from audit.policy import Policy
from audit.text import HASH_BYTES, Malformed
from audit.tile import WIDTH, Place, Tiles
from audit.verify import NOT_PROVED as LOG_DOES_NOT_PROVE
from audit.verify import Finding, Verdict, VerificationError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

Told = Callable[[int, int], None]
"""Told how many leaves are checked, and of how many."""

CHECKPOINT: Final = "checkpoint"
_READS: Final = "reads"  # the folder of the second log, within that of the first
TITLES: Final = {
    1: "The checkpoint is signed by the key you gave",
    2: "Every entry is there, and is a digest",
    3: "Every tile is what the entries make",
    4: "The root that was signed is what the entries make",
    5: "Enough witnesses cosigned the checkpoint",
}

_AT_ONCE: Final = 16  # bundles hashed between two looks at the tiles
_READ_AT_ONCE: Final = 64  # bundles or tiles read from the database in one statement
_ALONE: Final = LOG_DOES_NOT_PROVE[1]  # about witnesses


# --- from the database --------------------------------------------------------------------


async def resources(
    connection: "AsyncConnection", log: str, old: int, size: int
) -> AsyncIterator[tuple[str, bytes]]:
    """Path and bytes of every tile and bundle of `log` at `size` leaves that the log of `old` leaves has not.

    Every size at which the log was signed will do. Raises `tile.MissingTile` when the stored log is damaged.
    """
    from audit import log as logs  # here, so that the offline check needs no database driver

    for number in range(old // WIDTH, -(-size // WIDTH)):
        first = number * WIDTH
        if number % _READ_AT_ONCE == 0 or number == old // WIDTH:
            until = min(size, (number // _READ_AT_ONCE + 1) * _READ_AT_ONCE * WIDTH)
            digests = await logs.digests_between(connection, log, first, until)
            start = first
        bundle = digests[first - start : first - start + WIDTH]
        yield tile.write_entries_path(number, len(bundle)), tile.write_entries(bundle)
    new = ((place, wide) for place, wide in _places(old, size) if wide != tile.width(place, old))
    while chunk := dict(islice(new, _READ_AT_ONCE)):
        for place, hashes in (await logs.tiles_of_width(connection, log, chunk)).items():
            yield tile.write_path(place, chunk[place]), hashes


def superseded(old: int, size: int) -> Iterator[str]:
    """The folders of those partial tiles of the tree of `old` leaves that are full in the tree of `size`."""
    for place in tile.right_edge(old):
        if tile.width(place, size) == WIDTH:
            yield tile.write_path(place, 1).rpartition("/")[0]


def _places(old: int, size: int) -> Iterator[tuple[Place, int]]:
    """The tiles of the tree of `size` leaves, each with its width, from the right edge of `old` on."""
    for level in range(tile.MAX_LEVEL + 1):
        step = tile.HEIGHT * level
        for number in range((old >> step) // WIDTH, -(-(size >> step) // WIDTH)):
            yield Place(level, number), tile.width(Place(level, number), size)


# --- checking, offline --------------------------------------------------------------------


class _Damaged(Exception):
    """The entries cannot be read any further; the message says which file and why."""


def read_checkpoint(folder: Path) -> Note:
    """The note of the checkpoint in `folder`, whoever signed it. Raises OSError, `text.Malformed`."""
    return Note.read(content(folder / CHECKPOINT, MAX_NOTE_BYTES))


def check_folder(
    path: Path, vkeys: str | None, policy: Policy | None = None, told: Told | None = None
) -> Verdict:
    """Make the numbered checks of `TITLES` over the folder of one log: all of them, except that nothing is
    made of the tiles where the checkpoint is not signed by the keys.

    `vkeys` are the log's public keys as text (one vkey a line) from elsewhere than the folder; without them,
    those of the policy's log lines. `policy` says which witnesses are wanted; what is not given is not
    checked, and the finding says so. What of the folder was not looked at is among what is not proved. Raises
    `VerificationError` when the folder holds no checkpoint or the keys are none.
    """
    try:
        keys = None if vkeys is None else read_keys(vkeys)
    except Malformed as wrong:
        raise VerificationError(f"the key cannot be used: {wrong}") from wrong
    if keys is None and policy is not None and policy.logs:
        keys = policy.logs
    try:
        note = read_checkpoint(path)
        stated = Checkpoint.read(note.text)
    except OSError as wrong:
        why = wrong.strerror or type(wrong).__name__
        raise VerificationError(f"{path / CHECKPOINT} cannot be read: {why}") from wrong
    except Malformed as wrong:
        raise VerificationError(f"{path / CHECKPOINT} is not a checkpoint: {wrong}") from wrong
    signature = _signature(note, stated, keys)
    folder = _Folder.of(path)
    tree = _not_made() if signature.holds is False else _tree(folder, stated, told)
    findings = [signature, *tree, _witnesses(note, policy)]
    not_proved: tuple[str, ...] = LOG_DOES_NOT_PROVE
    if policy is not None and findings[-1].holds:
        not_proved = tuple(sentence for sentence in not_proved if sentence != _ALONE)
    return Verdict(
        findings=tuple(findings),
        checkpoint=stated if signature.holds else None,
        not_proved=(
            *not_proved,
            "That the log has not grown since: later checkpoints may exist elsewhere.",
            "Which entries are events and which are padding: who has the events can say.",
            *folder.left_out(),
        ),
    )


@dataclass(slots=True)
class _Folder:
    """The folder of a log, and how many files it has for what the checkpoint speaks of."""

    path: Path
    entries: int
    """Files below tile/entries: a log has no more bundles than these."""
    parts: int
    """Files below tile/, those of entries among them."""
    read: int = 0
    """How many of them were looked at."""

    @classmethod
    def of(cls, path: Path) -> "_Folder":
        parts = path / "tile"
        return cls(path, sum(1 for _ in files(parts / "entries")), sum(1 for _ in files(parts)))

    def content(self, name: str) -> bytes:
        """No more of the file than the largest one of the layout has, and one. Raises OSError."""
        data = content(self.path / name, WIDTH * (HASH_BYTES + 2))
        self.read += 1
        return data

    def left_out(self) -> Iterator[str]:
        """What of the folder was not looked at, each in a sentence."""
        if unread := max(0, self.parts - self.read):
            yield (
                f"Anything about {unread} of the {self.parts} files below tile/: the checkpoint does not"
                " speak of them, or the check ended before them. They were not looked at."
            )
        names: list[str] = []
        with suppress(OSError):
            names = sorted(each.name for each in self.path.iterdir())
        if keys := [name for name in names if name.endswith(".vkey")]:
            yield f"That {' and '.join(keys)} in the folder is the log's key: that was not looked at."
        if _READS in names:
            yield (
                f"Anything about {self.path / _READS}: that is a log of its own, to be checked as that folder"
                " with the key of that log, reads.vkey, from elsewhere. It was not looked at."
            )
        if others := [name for name in names if name not in {CHECKPOINT, "tile", _READS, *keys}]:
            what = "one other thing" if len(others) == 1 else f"{len(others)} other things"
            yield f"Anything about {what} in the folder beside the log: not looked at."


def _finding(number: int, wrong: str | None, well: str) -> Finding:
    return Finding(number=number, title=TITLES[number], holds=wrong is None, words=wrong or well)


def _signature(note: Note, stated: Checkpoint, keys: tuple[VerifierKey, ...] | None) -> Finding:
    """Check 1."""
    if keys is None:
        words = (
            "No key was given. The checkpoint says that it is of"
            f" {stated.origin}; only the log's public key, which must come from elsewhere, can show it."
        )
        return Finding(number=1, title=TITLES[1], holds=None, words=words)
    try:
        open_note(note.written(), keys)
    except NotSigned as wrong:
        return _finding(1, f"The checkpoint is not to be trusted: {wrong}.", "")
    well = f"{stated.origin} signed that the log has {stated.size} leaves, with {signed_with(note, keys)}."
    return _finding(1, None, well)


def _witnesses(note: Note, policy: Policy | None) -> Finding:
    """Check 5."""
    if policy is None:
        words = "No policy was given, so nobody but the log itself vouches for it."
        return Finding(number=5, title=TITLES[5], holds=None, words=words)
    try:
        judged = policy.judge(note)
    except NotSigned as wrong:
        return _finding(5, f"The cosignatures are not to be trusted: {wrong}.", "")
    return _finding(5, None if judged.reached else judged.words, judged.words)


def _not_made() -> list[Finding]:
    """Checks 2 to 4 of a checkpoint that nobody who is known has signed."""
    words = (
        "Not looked at, since the checkpoint is not signed by the key: its size and root are anybody's word."
    )
    return [Finding(number=number, title=TITLES[number], holds=None, words=words) for number in (2, 3, 4)]


def _tree(folder: _Folder, stated: Checkpoint, told: Told | None) -> list[Finding]:
    """Checks 2 to 4: one walk through the entries."""
    wrong_tile: str | None = None
    tiles = 0
    edge: dict[Place, bytes] = {}
    reached = 0
    try:
        while reached < stated.size:
            hashes = _leaf_hashes(folder, reached, stated.size)
            changed = tile.grow(reached, edge, hashes)
            reached += len(hashes)
            for place, made in changed.items():
                wide = tile.width(place, stated.size)
                if wide * HASH_BYTES == len(made):  # further leaves do not change it any more
                    tiles += 1
                    wrong_tile = wrong_tile or _differs(folder, place, wide, made)
            edge = {place: changed.get(place) or edge[place] for place in tile.right_edge(reached)}
            if told is not None:
                told(reached, stated.size)
    except _Damaged as damaged:
        because = "The entries cannot be read to their end, so this was not checked any further."
        return [
            _finding(2, f"{damaged}.", ""),
            _finding(3, wrong_tile or because, ""),
            _finding(4, because, ""),
        ]
    root = merkle.root(stated.size, Tiles(edge).read)
    other = None
    if root != stated.root:
        other = f"The {stated.size} entries make another root than the one in the checkpoint."
    return [
        _finding(2, None, f"All {stated.size} entries are there; each is a digest of 32 bytes."),
        _finding(3, wrong_tile, f"All {tiles} tiles were made anew from the entries and are the same."),
        _finding(4, other, f"The {stated.size} entries make exactly the root in the checkpoint."),
    ]


def _leaf_hashes(folder: _Folder, start: int, size: int) -> list[bytes]:
    """The leaf hashes of the next bundles from leaf `start` (a multiple of 256) on. Raises `_Damaged`."""
    found: list[bytes] = []
    for number in range(start // WIDTH, start // WIDTH + _AT_ONCE):
        wide = tile.width(Place(0, number), size)
        if not wide:
            break
        path = tile.write_entries_path(number, wide)
        if number >= folder.entries:  # links in circles have a file at every path
            raise _Damaged(f"{path} cannot be: the folder has {folder.entries} files below tile/entries")
        try:
            digests = tile.read_entries(folder.content(path))
        except Malformed as wrong:
            raise _Damaged(f"{path} is not an entry bundle: {wrong}") from wrong
        except OSError as wrong:
            raise _Damaged(f"{path} cannot be read: {wrong.strerror or type(wrong).__name__}") from wrong
        if len(digests) != wide:
            raise _Damaged(f"{path} has {len(digests)} entries, the log of {size} leaves has {wide} there")
        found += map(merkle.leaf_hash, digests)
    return found


def _differs(folder: _Folder, place: Place, wide: int, made: bytes) -> str | None:
    """What is wrong with the file of a tile, in words; None where it is what was made."""
    path = tile.write_path(place, wide)
    stored: bytes | None = None
    with suppress(OSError):
        stored = folder.content(path)
    if stored is None:
        return f"{path} is missing or cannot be read."
    return None if stored == made else f"{path} is not the tile that the entries make."
