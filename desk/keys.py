"""The keys folder: the logs' signing keys, their public halves, and the centres' master keys.

    events.key, events.note   signing keys and last signed note of the log of events (`audit.keybox`)
    reads.key, reads.note     the same for the log of reads
    events.vkey, reads.vkey   the public keys, one a line, to be handed to whoever will check a bundle
    master-<centre>.key       32 random bytes under which the data keys of a centre's kits are wrapped

Nothing here is ever overwritten, except a note by its successor and a public key by itself. Losing
a master key makes the private parts of that centre unreadable for good: the folder belongs into a backup of
its own, apart from the database's.
"""

import contextlib
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from audit.key import VerifierKey, read_keys, write_keys
from audit.keybox import create_keys
from desk.settings import CannotStart

LOGS: Final = ("events", "reads")
MASTER_BYTES: Final = 32

_CENTRE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")


def origin_of(log: str, origin: str) -> str:
    """The name of a log in its checkpoints, out of the setting CUSTODY_ORIGIN."""
    return origin if log == "events" else f"{origin}/{log}"


def signing_keys(keys: Path, log: str, origin: str) -> Path:
    """The path of a log's signing keys, made at the first start. Raises `audit.keybox.BoxRefused`."""
    path = keys / f"{log}.key"
    if not path.exists():
        create_keys(path, origin_of(log, origin))
    return path


def publish_keys(keys: Path, log: str, public: Sequence[VerifierKey]) -> Path:
    """Lay the public keys beside the secret ones as a file that anybody may have, and answer its path."""
    path = keys / f"{log}.vkey"
    text = write_keys(public)
    if not path.exists() or path.read_text(encoding="ascii", errors="replace") != text:
        path.write_text(text, encoding="ascii")
    return path


def public_keys(keys: Path, log: str) -> str | None:
    """The public keys of a log, one vkey a line; None before the clerk's first start. `text.Malformed`."""
    try:
        text = (keys / f"{log}.vkey").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    return write_keys(read_keys(text))


class FileMasters:
    """The centres' master keys as files of the keys folder (`custody.ledger.Masters`).

    A centre's key is made when it is first asked for, by whichever process comes first.
    """

    def __init__(self, keys: Path) -> None:
        self.keys = keys
        self._read: dict[str, bytes] = {}

    def master(self, centre: str) -> bytes:
        """The 32 bytes of this centre's master key.

        Raises ValueError for what is no identifier of a centre, CannotStart for a file that is not such a
        key or that others can read.
        """
        if centre not in self._read:
            if _CENTRE.fullmatch(centre) is None:
                raise ValueError("this is not the identifier of a centre")
            path = self.keys / f"master-{centre}.key"
            with _alone(self.keys):
                if not path.exists():
                    _write_new(path, secrets.token_bytes(MASTER_BYTES))
            self._read[centre] = _read_secret(path)
        return self._read[centre]


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """An exclusive lock among all processes that make master keys in this folder."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / "masters.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_new(path: Path, data: bytes) -> None:
    """A new file, on the disk and whole before it has its name. FileExistsError when the name is taken."""
    new = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(new, path)  # unlike a rename, a link never takes a name that is in use
    finally:
        os.unlink(new)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read_secret(path: Path) -> bytes:
    with path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise CannotStart(f"{path} can be read by others. Set its mode to 0600.")
        data = file.read(MASTER_BYTES + 1)
    if len(data) != MASTER_BYTES:
        raise CannotStart(f"{path} is not a master key of {MASTER_BYTES} bytes. Bring it back from its copy.")
    return data
