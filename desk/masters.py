"""The centres' master keys, under which the data keys of their kits are wrapped: a line or a key in a file.

Each centre has numbered master keys in the keys folder; the highest wraps what is new, the others open what
they wrapped. A file holds either of these, and nobody else may read it (mode 0600):

    32 bytes                          the key itself, random
    ENVIRONMENT <NAME>                the environment variable NAME holds it, as base64
    COMMAND <program> [argument...]   a program (the client of a KMS, of a hardware module) keeps it

    master-<centre>.key               master key 1; the next are master-<centre>+2.key, +3 and so on
    master-<centre>+2.key.next        opens already and does not wrap yet (`desk.rewrapping`)
    master-<centre>.key.retired       wraps nothing any more; opens copies of an earlier database

The program is started without a shell, with the word `wrap` or `unwrap` as its last argument. It gets bytes
on its standard input and writes bytes to its standard output: for `wrap` whatever it makes of the 64 bytes it
gets (at most 4096), for `unwrap` of these the 64 bytes again. It has ten seconds, as a program that signs
(`audit.keybox`). The first 32 of the 64 are SHA-256 over the kit and the key's number, so that what was
wrapped for one kit does not open for another, whatever the program does; the other 32 are the data key.

A data key is used only after it was unwrapped again: a program that prints something else and reports success
would lose what is sealed for good.

No key and no value of a variable is ever part of a message.
"""

import base64
import binascii
import contextlib
import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audit.keybox import NoAnswer, ask
from custody import private
from custody.private import KEY_BYTES, MOST_NUMBER, PrivateRefused
from desk.settings import CannotStart

MASTER_BYTES: Final = 32
_MOST_FILE: Final = 4096

_CENTRE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
_FILE: Final = re.compile(
    r"master-(?P<centre>[a-z0-9][a-z0-9._-]{0,79})(?:\+(?P<number>[1-9][0-9]{0,3}))?\.key"
    r"(?P<stage>|\.next|\.retired)"
)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_ENVIRONMENT: Final = b"ENVIRONMENT "
_COMMAND: Final = b"COMMAND "

_log = logging.getLogger(__name__)


class NoMaster(CannotStart, LookupError):
    """A master key that is not at hand."""


class NotUnwrapped(CannotStart):
    """A master key that is at hand and could not be used: a program that gave no answer, a variable that is
    no key."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class MasterFile:
    """A file of the keys folder that is a master key, or says where it is.

    ``stage``: empty for one in use, ``next`` or ``retired``.
    """

    centre: str
    number: int
    stage: str
    path: Path


@dataclass(frozen=True, slots=True)
class KeyItself:
    """A master key whose 32 bytes are at hand."""

    kind: str
    key: bytes

    def wrap(self, kit: str, number: int, data_key: bytes) -> bytes:
        return private.wrap(self.key, data_key, kit, secrets.token_bytes(private.NONCE_BYTES))

    def unwrap(self, kit: str, number: int, payload: bytes) -> bytes:
        return private.unwrap(self.key, payload, kit)


@dataclass(frozen=True, slots=True)
class Program:
    """A master key that a program keeps."""

    command: tuple[str, ...]
    kind: str = "command"

    def wrap(self, kit: str, number: int, data_key: bytes) -> bytes:
        return self._ask("wrap", _bound_to(kit, number) + data_key, range(1, private.MOST_WRAPPED + 1))

    def unwrap(self, kit: str, number: int, payload: bytes) -> bytes:
        both = self._ask("unwrap", payload, range(2 * KEY_BYTES, 2 * KEY_BYTES + 1))
        if not hmac.compare_digest(both[:KEY_BYTES], _bound_to(kit, number)):
            raise PrivateRefused
        return both[KEY_BYTES:]

    def _ask(self, verb: str, message: bytes, length: range) -> bytes:
        try:
            answer = ask((*self.command, verb), message)
        except NoAnswer as why:
            raise NotUnwrapped(
                f"The program {self.command[0]}, which keeps a master key, did not {verb}: it {why}."
            ) from None
        if len(answer) not in length:
            raise NotUnwrapped(
                f"The program {self.command[0]}, which keeps a master key, did not {verb}: it printed"
                f" {len(answer)} bytes."
            )
        return answer


Source = KeyItself | Program


def _bound_to(kit: str, number: int) -> bytes:
    return hashlib.sha256(f"custody data key\n{kit}\n{number}".encode()).digest()


class FileMasters:
    """The master keys that the keys folder holds or points to (`custody.ledger.Masters`).

    Every call looks at the folder again, so a running worker knows a new key as soon as its file is there. A
    centre's first key is made when something is first to be wrapped, by whichever process comes first;
    with ``making`` false none is made. Nothing is ever made in order to open something.
    """

    def __init__(self, keys: Path, *, making: bool = True) -> None:
        self.keys = keys
        self._making = making
        self._read: dict[Path, tuple[tuple[int, int, int], Source]] = {}

    def wrap(self, centre: str, kit: str, data_key: bytes) -> bytes:
        """This kit's data key under the newest master key of the centre, opened again before it is answered.

        Raises ValueError for what is no identifier of a centre, NoMaster where there is none and none may be
        made, NotUnwrapped where it does not open again, CannotStart for a file or program that is not as it
        should be.
        """
        newest = None
        try:
            newest = self.newest(centre)
            wrapped = self.wrap_with(newest, kit, data_key)
            self._try(newest, kit, data_key, wrapped)
        except CannotStart:
            _log.error("no data key can be wrapped for %s%s", centre, self._kept_by(newest))
            raise
        return wrapped

    def _try(self, master: MasterFile, kit: str, data_key: bytes, wrapped: bytes) -> None:
        try:
            same = hmac.compare_digest(self.unwrap(master.centre, kit, wrapped), data_key)
        except PrivateRefused:
            same = False
        if not same:
            raise NotUnwrapped(f"{master.path} does not open what it wraps. Take it away, or mend it.")

    def _kept_by(self, master: MasterFile | None) -> str:
        """Which program it is, for the log: its name alone, for an argument may be a secret."""
        known = None if master is None else self._read.get(master.path)
        return f": {known[1].command[0]}" if known and isinstance(known[1], Program) else ""

    def unwrap(self, centre: str, kit: str, wrapped: bytes) -> bytes:
        """The data key. Raises as `wrap`, and PrivateRefused for what was not wrapped so for this kit."""
        number, payload = private.number_of(wrapped)
        for _ in range(3):  # a file may change its stage, and so its name, while it is looked for
            found = [each for each in files_of(self.keys, centre) if each.number == number]
            with contextlib.suppress(FileNotFoundError):
                for each in found:
                    return self.source(each).unwrap(kit, number, payload)
        raise NoMaster(
            f"Master key {number} of {centre} is not in {self.keys}. Bring it back from its copy: what it"
            " wrapped opens with nothing else."
        )

    def wrap_with(self, master: MasterFile, kit: str, data_key: bytes) -> bytes:
        """The data key under this master key."""
        return private.numbered(master.number, self.source(master).wrap(kit, master.number, data_key))

    def newest(self, centre: str) -> MasterFile:
        """The master key that wraps; the first is made. Raises as `wrap`."""
        in_use = [each for each in files_of(self.keys, centre) if each.stage == ""]
        if in_use:
            return in_use[-1]
        if not self._making:
            raise NoMaster(f"There is no master key of {centre} in {self.keys}.")
        return self._first(centre)

    def _first(self, centre: str) -> MasterFile:
        with alone(self.keys):
            there = files_of(self.keys, centre)
            if in_use := [each for each in there if each.stage == ""]:
                return in_use[-1]
            if there:
                raise NoMaster(
                    f"Of the master keys of {centre} in {self.keys} none is in use: {there[-1].path.name} is"
                    " there. Bring the newest back from its copy."
                )
            made = MasterFile(centre=centre, number=1, stage="", path=path_of(self.keys, centre, 1))
            write_new(made.path, secrets.token_bytes(MASTER_BYTES))
            return made

    def source(self, master: MasterFile) -> Source:
        """What the file holds, read again when it changed. Raises CannotStart, FileNotFoundError."""
        found = master.path.stat()
        seen = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
        known = self._read.get(master.path)
        if known is None or known[0] != seen:
            known = (seen, read_source(master.path))
            self._read[master.path] = known
        return known[1]


def path_of(keys: Path, centre: str, number: int, stage: str = "") -> Path:
    """The file of a centre's master key. Raises ValueError for what is no identifier of a centre."""
    if _CENTRE.fullmatch(centre) is None or not 1 <= number <= MOST_NUMBER:
        raise ValueError("this is not the identifier of a centre, or not the number of a master key")
    named = "" if number == 1 else f"+{number}"
    return keys / f"master-{centre}{named}.key{'.' if stage else ''}{stage}"


def files(keys: Path) -> list[MasterFile]:
    """All master keys of the folder, by centre and number."""
    found = []
    for name in os.listdir(keys) if keys.exists() else ():
        read = _FILE.fullmatch(name)
        if read is not None and read["number"] != "1":
            number = int(read["number"] or 1)
            stage = read["stage"].removeprefix(".")
            found.append(MasterFile(centre=read["centre"], number=number, stage=stage, path=keys / name))
    return sorted(found)


def files_of(keys: Path, centre: str) -> list[MasterFile]:
    """The master keys of one centre, oldest first. Raises ValueError for what is no identifier."""
    path_of(keys, centre, 1)
    return [each for each in files(keys) if each.centre == centre]


# --- files -----------------------------------------------------------------------------------------


def read_source(path: Path) -> Source:
    """The master key that a file holds or points to. Raises CannotStart, which never quotes the file."""
    with path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise CannotStart(f"{path} can be read by others. Set its mode to 0600.")
        data = file.read(_MOST_FILE + 1)
    try:
        return source_of(data)
    except ValueError as wrong:
        raise CannotStart(f"{path} is not a master key: {wrong}. Bring it back from its copy.") from None


def source_of(data: bytes) -> Source:
    """The master key that these bytes of a file are, or name. Raises ValueError, NotUnwrapped."""
    if data.startswith(_ENVIRONMENT):
        return _from_environment(_line(data.removeprefix(_ENVIRONMENT)))
    if data.startswith(_COMMAND):
        try:
            command = tuple(shlex.split(_line(data.removeprefix(_COMMAND))))
        except ValueError:
            raise ValueError("the command in it cannot be read") from None
        if not command:
            raise ValueError("the command in it is missing")
        return Program(command)
    if len(data) != MASTER_BYTES:
        raise ValueError(
            f"it is neither a key of {MASTER_BYTES} bytes nor a line that begins with ENVIRONMENT or COMMAND"
        )
    return KeyItself("file", data)


def _line(data: bytes) -> str:
    text = data.decode("utf-8", "replace").removesuffix("\n")
    if "\n" in text or "\0" in text or "�" in text or len(data) > _MOST_FILE - 20:
        raise ValueError("it has more than one line, or is not text")
    return text


def _from_environment(name: str) -> KeyItself:
    if _VARIABLE.fullmatch(name) is None or name.startswith("CUSTODY_"):
        raise ValueError("a variable has a name of letters, digits and _, and not one of the settings'")
    try:
        key = base64.b64decode(os.environ.get(name, ""), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != MASTER_BYTES:
        raise NotUnwrapped(
            f"The environment variable {name} does not hold a master key: base64 of {MASTER_BYTES} bytes."
        )
    return KeyItself("environment", key)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """An exclusive lock among all processes that make or move keys of the service in this folder."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / "masters.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_new(path: Path, data: bytes) -> None:
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
    flush(path.parent)


def flush(folder: Path) -> None:
    """Names that were given or taken in this folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
