"""What the clerk leaves beside the keys for whoever watches: a heartbeat, an alarm while nothing is signed.

    clerk.alive    a line every ten seconds: the time, and how many leaves of each log are signed
    clerk.alarm    one sentence, from the moment signing ended until it goes on

Recording goes on while nothing is signed: what is recorded waits in the database. So the alarm stops nobody's
work; it stands on the page of the log, and on the clerk's error output each time it tries again.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

HEART_EVERY: Final = 10.0  # seconds
SILENT_AFTER: Final = timedelta(minutes=1)

_MOST: Final = 4096  # bytes of either file


def beat(keys: Path, sizes: str, now: datetime) -> None:
    """Say that the clerk is at work."""
    _write(keys / "clerk.alive", f"{now.astimezone(UTC).isoformat(timespec='seconds')} {sizes}")


def raise_alarm(keys: Path, words: str) -> None:
    """Say that nothing is signed any more, and why.

    A full disk may still take an empty file: an alarm without words. One that takes nothing leaves it to the
    error output, where the caller says the same.
    """
    path = keys / "clerk.alarm"
    try:
        keys.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(path, words)
    except OSError:
        with suppress(OSError):
            path.touch()
        with suppress(OSError):
            _new(path).unlink(missing_ok=True)


def end_alarm(keys: Path) -> None:
    """Say that signing goes on."""
    (keys / "clerk.alarm").unlink(missing_ok=True)


def alarm_of(keys: Path) -> str | None:
    """Why nothing is signed, in the clerk's own sentence; None where there is no alarm, or no such folder."""
    words = _read(keys / "clerk.alarm")
    return None if words is None else words.strip() or "The clerk gave no reason."


def silent_since(keys: Path, now: datetime) -> datetime | None:
    """When the clerk was last heard, if that is too long ago; None where it is at work or never was here."""
    said = (_read(keys / "clerk.alive") or "").split(" ")[0].strip()
    try:
        heard = datetime.fromisoformat(said)
    except ValueError:
        return None
    return heard if heard.tzinfo is not None and now - heard > SILENT_AFTER else None


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(_MOST).decode("utf-8", "replace")
    except OSError:
        return None


def _new(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _write(path: Path, words: str) -> None:
    """In one step, so that nobody reads half a sentence."""
    new = _new(path)
    new.write_text(f"{words}\n", encoding="utf-8")
    new.replace(path)
