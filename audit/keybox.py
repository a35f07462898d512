"""The signer's two files, outside the database: the private keys and, beside them, the last signed note.

`events.key` has one key a line, mode 0600; every one of them signs every checkpoint, the first line's name is
the log's origin:

    PRIVATE+KEY+<name>+<id>+<base64>      the private key itself (`audit.key`)
    COMMAND <vkey> <program> [argument…]  a program that keeps it: gets the message on its standard input,
                                          writes the bare signature to its standard output

`events.note` is the full note that these keys signed last. Together they make a box: who has the keys without
the note does not know what they vouched for, and must not sign. Keys of another name than the first line's
are those of an earlier epoch (`desk.succession`): they sign along, so that who knows them sees who follows.

Both files are replaced in one step: a new one is written and flushed, takes the old one's name, and the
folder is flushed, so that after a power cut the old or the new one is there, whole. While a box is open a
lock on `events.lock` keeps every other signer on this host out.
"""

import contextlib
import fcntl
import os
import shlex
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes
from typing import IO, Final

from audit.key import LOG_TYPES, MAX_KEYS, SEED_BYTES, SigningKey, Signs, VerifierKey
from audit.text import Malformed

_SECRET_MODE: Final = 0o600
_MAX_NOTE_BYTES: Final = 1 << 20
_MAX_KEY_BYTES: Final = 1 << 18
_COMMAND: Final = "COMMAND "
_ANSWER_WITHIN: Final = 10.0  # seconds for a program that signs
_MAX_ANSWER_BYTES: Final = 4096  # no signature is longer; a program that prints more is not waited for


class BoxRefused(Exception):
    """A box that is not opened or made: the message names the file and says what can be done."""


class InUse(BoxRefused):
    """Another signer on this host has the box open."""


@dataclass(frozen=True, slots=True)
class CommandKey:
    """A private key that a program keeps, for example in a hardware module."""

    verifier: VerifierKey
    command: tuple[str, ...]

    def sign(self, message: bytes) -> bytes:
        """What the program answers, which is not yet shown to be a signature (`key.sign` checks it).

        Raises `BoxRefused` when it cannot be run, ends with an error, takes longer than ten seconds, or
        prints more than any signature has. Its error output goes where this process's goes.
        """
        try:
            return ask(self.command, message)
        except NoAnswer as why:
            raise BoxRefused(
                f"The program {self.command[0]}, which keeps key {self.verifier.key_id.hex()}, gave no"
                f" signature: it {why}."
            ) from None

    def written(self) -> str:
        """The line of the key file."""
        return f"{_COMMAND}{self.verifier.written()} {shlex.join(self.command)}"


class NoAnswer(Exception):
    """A program that keeps a key did not answer; the message says what it did instead, and no more."""


def ask(command: Sequence[str], message: bytes) -> bytes:
    """What a program that keeps a key prints for `message` on its standard input.

    Raises `NoAnswer` when it cannot be run, ends with an error, takes longer than ten seconds, or prints more
    than 4096 bytes. Its error output goes where this process's goes.
    """
    answer, status = b"", None
    with contextlib.suppress(OSError):
        answer, status = _answer_of(command, message)
    if status is None:
        raise NoAnswer("could not be run")
    if len(answer) > _MAX_ANSWER_BYTES:
        raise NoAnswer(f"printed more than {_MAX_ANSWER_BYTES} bytes")
    if status == -signal.SIGKILL:
        raise NoAnswer(f"did not answer within {_ANSWER_WITHIN:g} seconds")
    if status != 0:
        raise NoAnswer(f"ended with status {status}")
    return answer


def _answer_of(command: Sequence[str], message: bytes) -> tuple[bytes, int]:
    """What a program prints for `message`, at most one byte too many, and its status. OSError if none runs.

    It is a process group of its own, so that nothing it started holds its output open when it is killed.
    """
    with subprocess.Popen(  # noqa: S603 (the operator's own program, out of a file of mode 0600)
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:

        def kill() -> None:
            if process.returncode is None:  # or the number could by now be another's
                os.killpg(process.pid, signal.SIGKILL)

        late = threading.Timer(_ANSWER_WITHIN, kill)
        late.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                _of(process.stdin).write(message)
                _of(process.stdin).close()
            answer = _of(process.stdout).read(_MAX_ANSWER_BYTES + 1)
            if len(answer) > _MAX_ANSWER_BYTES:
                kill()
            return answer, process.wait()
        finally:
            late.cancel()
            kill()


def _of(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise OSError("a program without its pipes")
    return pipe


BoxKey = SigningKey | CommandKey


@dataclass(frozen=True, slots=True)
class Keybox:
    """An open box: `keys`, and the note beside them. `open_box` makes one and holds the lock meanwhile."""

    path: Path
    keys: tuple[BoxKey, ...]

    @property
    def origin(self) -> str:
        """The log that is signed for: the name of the first key."""
        return self.keys[0].verifier.name

    @property
    def signs(self) -> Sequence[Signs]:
        """All keys, as what signs with them."""
        return self.keys

    @property
    def verifiers(self) -> tuple[VerifierKey, ...]:
        """The public keys that bear the origin's name."""
        return tuple(key.verifier for key in self.keys if key.verifier.name == self.origin)

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
        lay(self.note_path, note)


def note_path(key_path: Path) -> Path:
    """The last signed note's path for keys at `key_path`: `events.key` → `events.note`."""
    return key_path.with_suffix(".note")


def new_keys(name: str) -> tuple[SigningKey, ...]:
    """A new key of each type that signs a checkpoint, under `name`. `text.Malformed` for an unfit name."""
    return tuple(SigningKey(name, token_bytes(SEED_BYTES), key_type) for key_type in LOG_TYPES)


def create_keys(path: Path, name: str) -> tuple[VerifierKey, ...]:
    """Make new keys that sign under `name` (the log's origin) in a new file at `path`.

    Raises `BoxRefused` when there is a key file already, or a note without its keys; `text.Malformed` for a
    name that no key may have.
    """
    if note_path(path).exists() and not path.exists():
        raise BoxRefused(
            f"{note_path(path)} is the last note of keys that are missing. Bring them back from their copy;"
            " new keys must not stand beside another key's note."
        )
    keys = new_keys(name)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        lay(path, write_box(keys).encode(), replace=False)
    except FileExistsError as there:
        raise BoxRefused(f"{path} is there already; a key is never overwritten") from there
    return tuple(key.verifier for key in keys)


def replace_keys(box: Keybox, keys: Sequence[BoxKey]) -> Keybox:
    """Put `keys` in the place of an open box's, in one step; the box as it is then."""
    return lay_keys(box.path, keys)


def lay_keys(path: Path, keys: Sequence[BoxKey]) -> Keybox:
    """Make `keys` the key file at `path`, in one step; the caller holds its lock (`alone`)."""
    lay(path, write_box(keys).encode())
    return Keybox(path, tuple(keys))


def write_box(keys: Sequence[BoxKey]) -> str:
    """The text of a key file; the inverse of `read_box`."""
    return "".join(f"{key.written()}\n" for key in keys)


def read_box(text: str) -> tuple[BoxKey, ...]:
    """The keys in a key file's text. `text.Malformed`, which never quotes a key, for anything else."""
    lines = text.removesuffix("\n").split("\n")
    if len(lines) > MAX_KEYS:
        raise Malformed(f"there are more than {MAX_KEYS} keys")
    keys = tuple(_read_line(line) for line in lines)
    types = {key.verifier.key_type for key in keys if key.verifier.name == keys[0].verifier.name}
    if not types.issuperset(LOG_TYPES):
        raise Malformed(
            "a log's key file has an Ed25519 and an ML-DSA-44 key of the log's name; one made before the log"
            " had both belongs to a demo, which begins anew in another folder"
        )
    return keys


def _read_line(line: str) -> BoxKey:
    if not line.startswith(_COMMAND):
        return SigningKey.read(line)
    vkey, _, rest = line.removeprefix(_COMMAND).partition(" ")
    try:
        command = tuple(shlex.split(rest))
    except ValueError as wrong:
        raise Malformed("the command of a key cannot be read") from wrong
    if not command:
        raise Malformed("the command of a key is missing")
    return CommandKey(VerifierKey.read(vkey), command)


@contextmanager
def open_box(path: Path) -> Iterator[Keybox]:
    """Open the box whose keys are at `path`, alone, until the `with` ends.

    Raises `BoxRefused` when the key file is missing, readable by others, or in use by another signer;
    `text.Malformed` when it is not a key file.
    """
    if not path.exists():
        raise BoxRefused(f"There is no signing key at {path}.")
    with alone(path):
        yield load_box(path)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep every other signer on this host away from the keys at `path`. Raises `InUse` when one is there."""
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _SECRET_MODE)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            raise InUse(
                f"Another signer is using {path}. One signer per log: stop the other first."
            ) from taken
        yield
    finally:
        os.close(lock)


def load_box(path: Path) -> Keybox:
    """The box whose keys are at `path`; the caller holds its lock (`alone`). Raises as `open_box`."""
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise BoxRefused(
                    f"{path} can be read by others. Set its mode to 0600 and consider the keys as seen."
                )
            text = file.read(_MAX_KEY_BYTES).decode("utf-8", "replace")
    except FileNotFoundError as missing:
        raise BoxRefused(f"There is no signing key at {path}.") from missing
    return Keybox(path, read_box(text))


def lay(path: Path, data: bytes, *, replace: bool = True, mode: int = _SECRET_MODE) -> None:
    """Put `data` at `path` in one step, flushed to the disk. Without `replace`, FileExistsError if taken."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
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
