"""Files that somebody else made: read without waiting for anything, counted without following links."""

import errno
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG


def content(path: Path, most: int) -> bytes:
    """The file's bytes, and one more than `most` where there are more.

    Raises OSError; also for a pipe, a socket or a device, whose reader may have to wait for ever.
    """
    mode = path.stat().st_mode
    if S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a file but a pipe, a socket or a device", str(path))
    with path.open("rb") as file:
        return file.read(most + 1)


def files(folder: Path) -> Iterator[Path]:
    """Everything below `folder` that is no folder, each once: links are named, and not followed.

    What cannot be listed is passed over.
    """
    left = [folder]
    while left:
        within: list[Path] = []
        with suppress(OSError):
            within = list(left.pop().iterdir())
        for path in within:
            with suppress(OSError):
                if S_ISDIR(path.lstat().st_mode):
                    left.append(path)
                else:
                    yield path
