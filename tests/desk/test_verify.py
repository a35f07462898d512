"""What `custody verify` is given may be made to deceive, to hang it, or simply be the wrong thing."""

from dataclasses import replace
from os import mkfifo
from pathlib import Path

import pytest

from audit.checkpoint import Checkpoint
from audit.key import sign
from audit.verify import Finding, Verdict
from custody.bundle import write
from desk.cli import main
from desk.verify import told_of
from tests.audit.an_authority import found
from tests.audit.test_static import LOG_KEYS, ORIGIN, VKEYS, make
from tests.audit.whole_log import digests
from tests.custody.bundles import signing_keys
from tests.custody.test_bundle import BUNDLE, WHOLE
from tests.custody.trails import VKEYS as BUNDLE_VKEYS

STEERING = "\x9b2J\u202egnorw\u2066"  # clears a screen, turns the direction


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "trail.zip").write_bytes(BUNDLE)
    return tmp_path / "trail.zip"


def steers(said: str) -> bool:
    return any(not c.isprintable() and c != "\n" for c in said)


def test_an_origin_that_steers_a_terminal_is_printed_as_text_for_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path, digests(0, 3), origin=ORIGIN + STEERING)
    assert main(["verify", str(tmp_path), "--key", VKEYS]) == 1
    assert main(["verify", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert not steers(said)
    assert f"{ORIGIN}\\x9b2J\\u202egnorw\\u2066" in said


def test_an_origin_that_steers_a_terminal_is_printed_as_text_for_a_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = ORIGIN + STEERING
    keys = signing_keys("another", evil)
    note = sign(Checkpoint(evil, 3, bytes(32)), keys, 1_900_000_000).written()
    (tmp_path / "trail.zip").write_bytes(write(replace(WHOLE, note=note)))
    assert main(["verify", str(tmp_path / "trail.zip"), "--key", BUNDLE_VKEYS]) == 1
    said = capsys.readouterr().out
    assert not steers(said)
    assert f"The checkpoint is of the log {ORIGIN}\\x9b2J\\u202egnorw\\u2066, the bundle names" in said


def test_words_out_of_a_file_cannot_add_a_check_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "log\n1. holds: everything."
    place.mkdir()
    make(place, digests(0, 3))
    assert main(["verify", str(place), "--key", VKEYS]) == 0
    assert "\n1. holds: everything." not in capsys.readouterr().out
    verdict = Verdict(
        findings=(Finding(number=1, title="T", holds=False, words="w"),), checkpoint=None, not_proved=("n",)
    )
    assert told_of(verdict, None)[:2] == ["1. DOES NOT HOLD: T.", "   w"]


def test_a_key_that_is_longer_than_a_name_of_a_file_may_be_is_a_key(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = f"custody.example+{'0' * 8}+{'A' * 400}"
    assert main(["verify", str(bundle), "--key", long]) == 2
    assert "the key cannot be used: " in capsys.readouterr().err
    assert main(["verify", str(bundle), "--key", BUNDLE_VKEYS]) == 0


@pytest.mark.parametrize("option", [None, "--key", "--policy", "--roots"])
def test_a_pipe_is_refused_and_not_waited_for(
    bundle: Path, option: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = bundle.parent / "pipe"
    mkfifo(pipe)
    what = [str(pipe)] if option is None else [str(bundle), option, str(pipe)]
    assert main(["verify", *what]) == 2
    told = f"custody: {pipe}: it is not a file but a pipe, a socket or a device.\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize("content", [b"", b"not a certificate\n", BUNDLE])
def test_roots_without_a_certificate_are_refused_before_anything_is_checked(
    bundle: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    roots = bundle.parent / "roots.pem"
    roots.write_bytes(content)
    assert main(["verify", str(bundle), "--key", BUNDLE_VKEYS, "--roots", str(roots)]) == 2
    said = capsys.readouterr()
    assert said.err == f"custody: {roots} is not a file of root certificates in PEM.\n"
    assert said.out == ""


def test_who_gives_roots_for_a_folder_is_told_that_they_are_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, roots = tmp_path / "log", tmp_path / "roots.pem"
    folder.mkdir()
    make(folder, digests(0, 3))
    roots.write_bytes(found(tmp_path / "authority").roots)
    assert main(["verify", str(folder), "--key", VKEYS, "--roots", str(roots)]) == 0
    assert "(--roots) are not used for a folder." in capsys.readouterr().out
    assert main(["verify", str(folder), "--key", VKEYS]) == 0
    assert "--roots" not in capsys.readouterr().out


def test_the_keys_of_a_policy_are_enough_for_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, policy = tmp_path / "log", tmp_path / "policy"
    folder.mkdir()
    make(folder, digests(0, 3))
    policy.write_text("".join(f"log {each.verifier.written()}\n" for each in LOG_KEYS) + "quorum none\n")
    assert main(["verify", str(folder), "--policy", str(policy)]) == 0
    assert "1. holds: " in capsys.readouterr().out
