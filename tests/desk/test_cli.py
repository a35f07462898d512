"""What the command line refuses before it does anything, and how it ends."""

import os
import signal
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from desk.cli import main


@pytest.mark.parametrize("arguments", [["log", "check"], ["rebuild", "--check"]])
def test_a_folder_without_a_database_is_not_checked_and_called_sound(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("CUSTODY_DATABASE_URL", "CUSTODY_CLERK_DATABASE_URL", "CUSTODY_MIGRATOR_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUSTODY_DATA", str(tmp_path / "elsewhere"))

    assert main(arguments) == 1

    assert "There is no database in" in capsys.readouterr().err
    assert not (tmp_path / "elsewhere").exists()


def test_a_bundle_that_was_unpacked_is_refused_with_what_to_give_instead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(tmp_path)]) == 2
    assert "Give the bundle as it was downloaded, the .zip file," in capsys.readouterr().err


def test_the_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "CUSTODY_PORT" in capsys.readouterr().out


def test_whoever_reads_only_the_first_lines_is_not_answered_with_a_traceback() -> None:
    show = ["policies", "show", str(files("retention") / "seed" / "belgium.json")]
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from desk.cli import main; sys.exit(main())", *show],
            stdout=write,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")
