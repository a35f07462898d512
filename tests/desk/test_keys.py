"""The keys folder: the names of the logs, and public keys that are handed out and remembered."""

from pathlib import Path

import pytest

from audit.key import write_keys
from audit.keybox import BoxRefused, new_keys, open_box
from desk.keys import (
    epoch_of,
    known_keys,
    origin_of,
    public_keys,
    publish_keys,
    retire_keys,
    signing_keys,
)
from desk.settings import CannotStart


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
