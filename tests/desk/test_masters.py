"""Master keys: made once by whoever comes first, in a file, in the environment or kept by a program."""

import base64
import multiprocessing
import os
import re
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from custody.private import MARK, PrivateRefused, number_of, wrap
from desk.masters import (
    FileMasters,
    KeyItself,
    NoMaster,
    NotUnwrapped,
    Program,
    files,
    path_of,
    source_of,
    write_new,
)
from desk.settings import CannotStart
from tests.custody.story import NURSE
from tests.desk.conftest import Desk, new_kit

CENTRE, OTHER = "zsg-sterrenberg", "zsg-maanhoek"
KIT, OTHER_KIT = "7M4P9XQ3RT6C", "0" * 12
KEY = bytes(range(32))
SECRET = base64.b64encode(bytes(range(64, 96))).decode()

KMS = """
import sys
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
given, secret = sys.stdin.buffer.read(), AESGCM(bytes(range(7, 39)))
made = (secret.encrypt if sys.argv[-1] == "wrap" else secret.decrypt)(bytes(12), given, b"")
sys.stdout.buffer.write(made)
"""


def lay(keys: Path, data: bytes | str, number: int = 1, stage: str = "") -> Path:
    path = path_of(keys, CENTRE, number, stage)
    write_new(path, data if isinstance(data, bytes) else data.encode())
    return path


def program(folder: Path, text: str) -> str:
    """The line of a master key that this program keeps."""
    written = folder / "program with a blank.py"
    written.write_text(text)
    return f"COMMAND {sys.executable} '{written}'"


def test_a_centres_master_key_is_made_at_first_use_and_is_the_same_ever_after(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    wrapped = FileMasters(keys).wrap(CENTRE, KIT, KEY)
    assert FileMasters(keys).unwrap(CENTRE, KIT, wrapped) == KEY
    path = keys / "master-zsg-sterrenberg.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert len(path.read_bytes()) == 32
    FileMasters(keys).wrap(OTHER, KIT, KEY)
    with pytest.raises(PrivateRefused):
        FileMasters(keys).unwrap(OTHER, KIT, wrapped)
    with pytest.raises(PrivateRefused):
        FileMasters(keys).unwrap(CENTRE, OTHER_KIT, wrapped)


def test_what_was_wrapped_before_there_were_numbers_opens_with_the_first_key(tmp_path: Path) -> None:
    lay(tmp_path, bytes(32))
    lay(tmp_path, bytes(range(32)), number=2)
    masters = FileMasters(tmp_path)
    assert masters.unwrap(CENTRE, KIT, wrap(bytes(32), KEY, KIT, bytes(12))) == KEY
    assert number_of(masters.wrap(CENTRE, KIT, KEY))[0] == 2


def _wrapped(folder: str) -> bytes:
    return FileMasters(Path(folder)).wrap(CENTRE, KIT, KEY)


def test_many_processes_that_ask_at_once_get_the_one_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        wrapped = pool.map(_wrapped, [str(tmp_path)] * 40)
    masters = FileMasters(tmp_path)
    assert {masters.unwrap(CENTRE, KIT, each) for each in wrapped} == {KEY}
    assert [each.number for each in files(tmp_path)] == [1]


def test_what_a_crash_left_half_written_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "master-zsg-sterrenberg.key.new").write_bytes(b"half")
    FileMasters(tmp_path).wrap(CENTRE, KIT, KEY)
    assert not (tmp_path / "master-zsg-sterrenberg.key.new").exists()


def test_a_key_that_others_can_read_or_of_another_length_is_refused(tmp_path: Path) -> None:
    path = lay(tmp_path, bytes(32))
    os.chmod(path, 0o640)
    with pytest.raises(CannotStart, match="Set its mode to 0600"):
        FileMasters(tmp_path).wrap(CENTRE, KIT, KEY)
    path.write_bytes(b"short")
    os.chmod(path, 0o600)
    with pytest.raises(CannotStart, match="Bring it back from its copy"):
        FileMasters(tmp_path).wrap(CENTRE, KIT, KEY)


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "A", "a" * 81, "a+2"])
def test_a_name_that_is_no_centres_makes_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not the identifier"):
        FileMasters(tmp_path).wrap(name, KIT, KEY)
    assert list(tmp_path.iterdir()) == []


def test_a_check_makes_no_key_and_nobody_makes_one_in_order_to_open(tmp_path: Path) -> None:
    with pytest.raises(NoMaster):
        FileMasters(tmp_path, making=False).wrap(CENTRE, KIT, KEY)
    with pytest.raises(LookupError, match="Bring it back"):
        FileMasters(tmp_path).unwrap(CENTRE, KIT, MARK + (3).to_bytes(4, "big") + bytes(60))
    lay(tmp_path, bytes(32), stage="retired")
    with pytest.raises(NoMaster, match="none is in use"):
        FileMasters(tmp_path).wrap(CENTRE, KIT, KEY)
    assert not path_of(tmp_path, CENTRE, 1).exists()


def test_a_centre_whose_name_is_the_beginning_of_another_has_its_own_keys(tmp_path: Path) -> None:
    for name in ("zsg", "zsg.2", "zsg-2"):
        FileMasters(tmp_path).wrap(name, KIT, KEY)
        write_new(path_of(tmp_path, name, 2), bytes(32))
    assert [(each.centre, each.number) for each in files(tmp_path)] == [
        (name, number) for name in ("zsg", "zsg-2", "zsg.2") for number in (1, 2)
    ]


# --- the environment -------------------------------------------------------------------------------


def test_a_master_key_can_be_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSPITAL_MASTER", SECRET)
    lay(tmp_path, "ENVIRONMENT HOSPITAL_MASTER\n")
    masters = FileMasters(tmp_path)
    wrapped = masters.wrap(CENTRE, KIT, KEY)
    assert masters.unwrap(CENTRE, KIT, wrapped) == KEY
    monkeypatch.setenv("HOSPITAL_MASTER", base64.b64encode(bytes(32)).decode())
    with pytest.raises(PrivateRefused):
        FileMasters(tmp_path).unwrap(CENTRE, KIT, wrapped)


@pytest.mark.parametrize("value", [None, "", "not base64!", SECRET[:-4], SECRET + "AAAA", SECRET + "\n"])
def test_a_variable_that_is_no_key_is_refused_and_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("HOSPITAL_MASTER", raising=False)
    if value is not None:
        monkeypatch.setenv("HOSPITAL_MASTER", value)
    lay(tmp_path, "ENVIRONMENT HOSPITAL_MASTER")
    with pytest.raises(CannotStart, match="base64 of 32 bytes") as refused:
        FileMasters(tmp_path).wrap(CENTRE, KIT, KEY)
    assert SECRET[:8] not in str(refused.value)


@pytest.mark.parametrize(
    "line",
    [
        b"ENVIRONMENT ",
        b"ENVIRONMENT A B",
        b"ENVIRONMENT A=B",
        b"ENVIRONMENT CUSTODY_DATA",
        b"ENVIRONMENT A\nB\n",
        b"COMMAND ",
        b"COMMAND 'x",
        b"COMMAND x\ny",
        b"COMMAND \xff",
        b"COMMAND x\0",
        b"",
        bytes(31),
        bytes(33),
        b"environment A",
    ],
)
def test_a_file_that_is_neither_key_nor_line_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        source_of(line)


def test_every_kind_of_source_is_told_apart() -> None:
    assert source_of(bytes(32)) == KeyItself("file", bytes(32))
    assert source_of(b"COMMAND kms --key 'a b'\n") == Program(("kms", "--key", "a b"))


# --- a program -------------------------------------------------------------------------------------


def test_a_program_can_keep_the_master_key_so_that_it_never_leaves(tmp_path: Path) -> None:
    lay(tmp_path, program(tmp_path, KMS))
    masters = FileMasters(tmp_path)
    wrapped = masters.wrap(CENTRE, KIT, KEY)
    assert KEY not in wrapped
    assert masters.unwrap(CENTRE, KIT, wrapped) == KEY
    with pytest.raises(PrivateRefused):  # whatever the program does: it knows nothing of kits
        masters.unwrap(CENTRE, OTHER_KIT, wrapped)
    lay(tmp_path, program(tmp_path, KMS), number=2)
    with pytest.raises(PrivateRefused):
        masters.unwrap(CENTRE, KIT, MARK + (2).to_bytes(4, "big") + number_of(wrapped)[1])


FAULTS = {
    "printed 0 bytes": "",
    "ended with status 3": "raise SystemExit(3)",
    "printed more than 4096 bytes": "import sys; sys.stdout.write('x' * 100_000)",
    "did not answer within 0.5 seconds": "import time; time.sleep(60)",
}


@pytest.mark.parametrize(("why", "text"), FAULTS.items())
def test_a_program_that_fails_hangs_or_prints_rubbish_is_named_and_nothing_it_got_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], why: str, text: str
) -> None:
    monkeypatch.setattr("audit.keybox._ANSWER_WITHIN", 0.5 if "60" in text else 60.0)
    lay(tmp_path, program(tmp_path, text))
    began = time.monotonic()
    masters, wrapped = FileMasters(tmp_path), MARK + (1).to_bytes(4, "big") + SECRET.encode()
    for call in (partial(masters.wrap, CENTRE, KIT, KEY), partial(masters.unwrap, CENTRE, KIT, wrapped)):
        with pytest.raises(NotUnwrapped, match=re.escape(why)) as refused:
            call()
        assert SECRET not in str(refused.value)
        assert KEY.hex() not in str(refused.value)
    assert time.monotonic() - began < 50
    assert SECRET not in "".join(capfd.readouterr())


def test_a_program_that_answers_with_something_else_opens_nothing(tmp_path: Path) -> None:
    lay(tmp_path, program(tmp_path, "import sys; sys.stdout.write('x' * 64)"))
    with pytest.raises(PrivateRefused):
        FileMasters(tmp_path).unwrap(CENTRE, KIT, MARK + (1).to_bytes(4, "big") + b"y")
    lay(tmp_path, program(tmp_path, "import sys; sys.stdout.write('x' * 63)"), number=2)
    with pytest.raises(NotUnwrapped, match="printed 63 bytes"):
        FileMasters(tmp_path).unwrap(CENTRE, KIT, MARK + (2).to_bytes(4, "big") + b"y")


RUBBISH = "import sys; sys.stdout.write('x' * 64)"


@pytest.mark.parametrize("text", [RUBBISH, KMS.replace('b"")', "sys.argv[-1].encode())")])
def test_nothing_is_wrapped_by_a_program_that_does_not_open_it_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    lay(tmp_path, program(tmp_path, text) + " --pin INVENTED-PIN")
    with pytest.raises(NotUnwrapped):
        FileMasters(tmp_path).wrap(CENTRE, KIT, KEY)
    (line,) = caplog.messages
    assert line == f"no data key can be wrapped for {CENTRE}: {sys.executable}"


@pytest.mark.parametrize(
    "line", ["rubbish", "COMMAND /nowhere/kms", "ENVIRONMENT NO_SUCH_MASTER", "half a key"]
)
def test_where_the_master_key_does_not_answer_nothing_is_registered_and_it_is_said_plainly(
    desk: Desk, tmp_path: Path, line: str
) -> None:
    keys = tmp_path / "masters"
    keys.mkdir()
    lay(keys, program(tmp_path, RUBBISH) if line == "rubbish" else line)
    desk.service.ledger._masters = FileMasters(keys)
    before = desk.count()
    refused = desk.at(NURSE).post("kits", new_kit(desk.now()))
    assert refused.status_code == 503, refused.text
    assert "master key does not answer" in refused.json()["detail"]
    assert (desk.count(), desk.count("kit"), desk.count("data_key")) == (before, 0, 0)
    path_of(keys, CENTRE, 1).unlink()
    lay(keys, program(tmp_path, KMS))
    kit = desk.at(NURSE).register(desk.now())["kit"]
    assert "INVENTED-1" in desk.at(NURSE).get(f"kits/{kit}/private", purpose="review").text


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    lay(tmp_path, "COMMAND /nowhere/kms --key a")
    with pytest.raises(NotUnwrapped, match=r"/nowhere/kms.*could not be run"):
        FileMasters(tmp_path).wrap(CENTRE, KIT, KEY)


def test_a_running_worker_reads_a_file_again_when_it_changed(tmp_path: Path) -> None:
    masters = FileMasters(tmp_path)
    first = masters.wrap(CENTRE, KIT, KEY)
    assert number_of(first)[0] == 1
    lay(tmp_path, bytes(range(32)), number=2, stage="next")
    assert number_of(masters.wrap(CENTRE, KIT, KEY))[0] == 1  # the next one opens and does not wrap yet
    path_of(tmp_path, CENTRE, 2, "next").rename(path_of(tmp_path, CENTRE, 2))
    second = masters.wrap(CENTRE, KIT, KEY)
    assert number_of(second)[0] == 2
    path_of(tmp_path, CENTRE, 1).rename(path_of(tmp_path, CENTRE, 1, "retired"))
    assert masters.unwrap(CENTRE, KIT, first) == masters.unwrap(CENTRE, KIT, second) == KEY
