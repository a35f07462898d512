"""The keys folder: master keys made once, by whoever comes first, and never overwritten."""

import multiprocessing
import os
from pathlib import Path

import pytest

from audit.key import write_keys
from audit.keybox import BoxRefused, new_keys, open_box
from desk.keys import (
    FileMasters,
    epoch_of,
    known_keys,
    origin_of,
    public_keys,
    publish_keys,
    retire_keys,
    signing_keys,
)
from desk.settings import CannotStart


def test_a_centres_master_key_is_made_at_first_use_and_is_the_same_ever_after(tmp_path: Path) -> None:
    first = FileMasters(tmp_path / "keys").master("zsg-sterrenberg")
    assert len(first) == 32
    assert FileMasters(tmp_path / "keys").master("zsg-sterrenberg") == first
    assert FileMasters(tmp_path / "keys").master("zsg-maanhoek") != first
    path = tmp_path / "keys" / "master-zsg-sterrenberg.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.read_bytes() == first


def _master(folder: str) -> bytes:
    return FileMasters(Path(folder)).master("zsg-sterrenberg")


def test_many_processes_that_ask_at_once_get_the_one_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert len(set(pool.map(_master, [str(tmp_path)] * 40))) == 1


def test_what_a_crash_left_half_written_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "master-zsg-sterrenberg.key.new").write_bytes(b"half")
    assert len(FileMasters(tmp_path).master("zsg-sterrenberg")) == 32
    assert not (tmp_path / "master-zsg-sterrenberg.key.new").exists()


def test_a_key_that_others_can_read_or_of_another_length_is_refused(tmp_path: Path) -> None:
    FileMasters(tmp_path).master("zsg-sterrenberg")
    path = tmp_path / "master-zsg-sterrenberg.key"
    os.chmod(path, 0o640)
    with pytest.raises(CannotStart, match="Set its mode to 0600"):
        FileMasters(tmp_path).master("zsg-sterrenberg")
    path.write_bytes(b"short")
    os.chmod(path, 0o600)
    with pytest.raises(CannotStart, match="Bring it back from its copy"):
        FileMasters(tmp_path).master("zsg-sterrenberg")


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "A", "a" * 81])
def test_a_name_that_is_no_centres_makes_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not the identifier"):
        FileMasters(tmp_path).master(name)
    assert list(tmp_path.iterdir()) == []


def test_an_epoch_is_in_the_name_of_the_log_and_is_read_from_it_again() -> None:
    for log, base in (("events", "custody.example/log"), ("reads", "custody.example/log/reads")):
        for epoch, name in ((1, base), (2, f"{base}/2"), (41, f"{base}/41")):
            assert origin_of(log, "custody.example/log", epoch) == name
            assert epoch_of(name, log, "custody.example/log") == epoch
        for other in (
            f"{base}/1",
            f"{base}/0",
            f"{base}/02",
            f"{base}/x",
            f"{base}2",
            "elsewhere.example/log",
        ):
            with pytest.raises(CannotStart, match="Set CUSTODY_ORIGIN"):
                epoch_of(other, log, "custody.example/log")


def test_public_keys_that_leave_are_remembered_once_and_in_order(tmp_path: Path) -> None:
    old, new = ([key.verifier for key in new_keys("custody.example/log")] for _ in range(2))
    publish_keys(tmp_path, "events", new)
    assert known_keys(tmp_path, "events") == tuple(new)
    for _ in range(2):
        retire_keys(tmp_path, "events", old)
        assert known_keys(tmp_path, "events") == (*new, *old)
    assert (tmp_path / "events.vkey.retired").read_text() == write_keys(old)


def test_no_new_key_is_made_where_a_public_half_says_that_there_was_one(tmp_path: Path) -> None:
    path = signing_keys(tmp_path, "events", "custody.example/log")
    with open_box(path) as box:
        publish_keys(tmp_path, "events", box.verifiers)
    path.unlink()
    with pytest.raises(BoxRefused, match="custody recover"):
        signing_keys(tmp_path, "events", "custody.example/log")
    assert not path.exists()


def test_each_log_has_its_own_origin_and_its_public_keys_can_be_handed_out(tmp_path: Path) -> None:
    origin = "custody.example/log"
    assert public_keys(tmp_path, "reads") is None
    path = signing_keys(tmp_path, "reads", origin)
    assert signing_keys(tmp_path, "reads", origin) == path
    with open_box(path) as box:
        assert box.origin == origin_of("reads", origin) == "custody.example/log/reads"
        publish_keys(tmp_path, "reads", box.verifiers)
        assert public_keys(tmp_path, "reads") == write_keys(box.verifiers)
        assert not any(key.written() in (tmp_path / "reads.vkey").read_text() for key in box.keys)
