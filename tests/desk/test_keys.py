"""The keys folder: master keys made once, by whoever comes first, and never overwritten."""

import multiprocessing
import os
from pathlib import Path

import pytest

from audit.key import write_keys
from audit.keybox import open_box
from desk.keys import FileMasters, origin_of, public_keys, publish_keys, signing_keys
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
