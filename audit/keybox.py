"""The signer's two files, outside the database: the private key and, beside it, the last signed note.

`events.key` is one line, `PRIVATE+KEY+name+id+key` (see `audit.note`), mode 0600. `events.note` is the full
note that this key signed last. Together they make a box: who has the key without the note does not know what
it vouched for, and must not sign.

The note is replaced in one step: a new file is written and flushed, takes the old one's name, and the folder
is flushed, so that after a power cut the old note or the new one is there, whole. While a box is open a lock
on the key file (which is never replaced) keeps every other signer on this host out.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.note import SigningKey, VerifierKey

_SECRET_MODE: Final = 0o600
_MAX_NOTE_BYTES: Final = 1 << 20


class BoxRefused(Exception):
    """A box that is not opened or made: the message names the file and says what can be done."""


@dataclass(frozen=True, slots=True)
class Keybox:
    """An open box: `key`, and the note beside it. Only `open_box` makes one; it holds the lock meanwhile."""

    path: Path
    key: SigningKey

    @property
    def note_path(self) -> Path:
        """Where the last signed note lies."""
        return note_path(self.path)

    def last_note(self) -> bytes | None:
        """The bytes of the last signed note, unverified; None when there is none."""
        try:
            with self.note_path.open("rb") as file:
                return file.read(_MAX_NOTE_BYTES + 1)
        except FileNotFoundError:
            return None

    def keep(self, note: bytes) -> None:
        """Make `note` the last signed note, durably. After an OSError the old or the new one is there."""
        _write(self.note_path, note, replace=True)


def note_path(key_path: Path) -> Path:
    """The last signed note's path for a key at `key_path`: `events.key` → `events.note`."""
    return key_path.with_suffix(".note")


def create_key(path: Path, name: str) -> VerifierKey:
    """Make a new Ed25519 key that signs under `name` (the log's origin) in a new file at `path`.

    Raises `BoxRefused` when there is a key already, or a note without its key; `text.Malformed` for a name
    that no key may have.
    """
    if note_path(path).exists() and not path.exists():
        raise BoxRefused(
            f"{note_path(path)} is the last note of a key that is missing. Bring the key back from its copy; "
            "a new key must not stand beside another key's note."
        )
    key = SigningKey(name, Ed25519PrivateKey.generate().private_bytes_raw())
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        _write(path, (key.written() + "\n").encode(), replace=False)
    except FileExistsError as there:
        raise BoxRefused(f"{path} is there already; a key is never overwritten") from there
    return key.verifier


@contextmanager
def open_box(path: Path) -> Iterator[Keybox]:
    """Open the box whose key is at `path`, alone, until the `with` ends.

    Raises `BoxRefused` when the key is missing, readable by others, or in use by another signer;
    `text.Malformed` when the file is not a key.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as missing:
        raise BoxRefused(f"There is no signing key at {path}.") from missing
    with os.fdopen(descriptor, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            raise BoxRefused(
                f"Another signer is using {path}. One signer per log: stop the other first."
            ) from taken
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            raise BoxRefused(
                f"{path} can be read by others. Set its mode to 0600 and consider the key as seen."
            )
        yield Keybox(path, SigningKey.read(file.read(4096).decode("utf-8", "replace").removesuffix("\n")))


def _write(path: Path, data: bytes, *, replace: bool) -> None:
    """Put `data` at `path` in one step, flushed to the disk. Without `replace`, FileExistsError if taken."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(
        new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, _SECRET_MODE
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if replace:
        os.replace(new, path)
    else:
        try:
            os.link(new, path)  # unlike a rename, a link never takes a name that is in use
        finally:
            os.unlink(new)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
