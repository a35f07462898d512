"""The keys folder: the logs' signing keys and their public halves.

    events.key, events.note   signing keys and last signed note of the log of events (`audit.keybox`)
    reads.key, reads.note     the same for the log of reads
    events.vkey, reads.vkey   the public keys, one a line, to be handed to whoever will check a bundle
    events.vkey.retired       public keys that signed earlier and no longer do, for older checkpoints
    events.note.epoch-1       the last note before a restore, after which the log went on as another epoch
    master-<centre>.key       the master key of a centre (`desk.masters`)

Nothing here is overwritten, except a note by its successor, and the keys by a succession, which is on record
in the log (`desk.succession`; docs/log.md). Losing a master key makes the private parts of that centre
unreadable for good: the folder belongs into a backup of its own, apart from the database's.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from audit.key import VerifierKey, read_keys, write_keys
from audit.keybox import BoxRefused, create_keys, lay
from desk.settings import CannotStart

LOGS: Final = ("events", "reads")

_EPOCH: Final = re.compile(r"[1-9][0-9]{0,5}")


def origin_of(log: str, origin: str, epoch: int = 1) -> str:
    """The name of a log in its checkpoints, out of the setting CUSTODY_ORIGIN and how often it was recovered:
    epoch 1 from the beginning, 2 after the first restore."""
    base = origin if log == "events" else f"{origin}/{log}"
    return base if epoch == 1 else f"{base}/{epoch}"


def epoch_of(name: str, log: str, origin: str) -> int:
    """Which epoch of the log bears this name: the inverse of `origin_of`. Raises CannotStart."""
    base = origin_of(log, origin)
    number = name.removeprefix(f"{base}/")
    if name == base:
        return 1
    if name.startswith(f"{base}/") and _EPOCH.fullmatch(number) and number != "1":
        return int(number)
    raise CannotStart(
        f"The log {log} is signed as {name}, but CUSTODY_ORIGIN makes it {base}."
        " Set CUSTODY_ORIGIN to what it was when the log began."
    )


def signing_keys(keys: Path, log: str, origin: str) -> Path:
    """The path of a log's signing keys, made at the first start. Raises `audit.keybox.BoxRefused`."""
    path = keys / f"{log}.key"
    if not path.exists():
        if (keys / f"{log}.vkey").exists():
            raise BoxRefused(
                f"{path} is missing, but its public half is there. Bring the key back from its copy; if there"
                " is none, custody recover goes on with a new one."
            )
        create_keys(path, origin_of(log, origin))
    return path


def publish_keys(keys: Path, log: str, public: Sequence[VerifierKey]) -> Path:
    """Lay the public keys beside the secret ones as a file that anybody may have, and answer its path."""
    path = keys / f"{log}.vkey"
    _lay_public(path, public)
    return path


def retire_keys(keys: Path, log: str, public: Sequence[VerifierKey]) -> None:
    """Remember public keys that leave, so that what they signed can still be checked; each once."""
    path = keys / f"{log}.vkey.retired"
    before = _read_public(path)
    _lay_public(path, (*before, *(key for key in public if key not in before)))


def public_keys(keys: Path, log: str) -> str | None:
    """The public keys of a log, one vkey a line; None before the clerk's first start. `text.Malformed`."""
    return write_keys(_read_public(keys / f"{log}.vkey")) or None


def known_keys(keys: Path, log: str) -> tuple[VerifierKey, ...]:
    """All keys that ever signed the log, those that sign now first. `text.Malformed`."""
    both = (*_read_public(keys / f"{log}.vkey"), *_read_public(keys / f"{log}.vkey.retired"))
    return tuple(dict.fromkeys(both))


def _read_public(path: Path) -> tuple[VerifierKey, ...]:
    try:
        return read_keys(path.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return ()


def _lay_public(path: Path, public: Sequence[VerifierKey]) -> None:
    text = write_keys(public)
    if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text:
        lay(path, text.encode(), mode=0o644)
