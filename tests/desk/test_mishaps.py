"""Commands that meet the wrong role, a full disk or a damaged file: one sentence, never a traceback."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from desk import alarm
from desk.cli import main
from desk.keys import LOGS
from desk.settings import Settings, environment_of
from tests.conftest import Database, Engines
from tests.custody.story import begin
from tests.desk.signing import NOON, beside, settings_for, sign_all, types, whole

pytestmark = pytest.mark.anyio

REASON = "two years are over"
Run = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
async def settings(
    engines: Engines, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """A service at work, both logs signed and published; the environment names it."""
    made = settings_for(database, tmp_path)
    story = await begin(engines.service, engines.clerk)
    await story.registered()
    await sign_all(engines.clerk, made, NOON)
    for name, value in environment_of(made).items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; its exit code and all that it said. An exception that comes through fails the test."""

    async def made(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        code = await asyncio.to_thread(main, [str(each) for each in arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    return made


@contextmanager
def full(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """No file is flushed to the disk any more."""

    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(path: Path, *given: object, **named: object) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with patch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        patched.setattr(Path, "write_text", write)
        patched.setattr(Path, "write_bytes", write)
        yield


def files(settings: Settings) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in settings.keys.iterdir() if path.suffix != ".lock"}


@pytest.mark.parametrize(
    "command",
    [
        ("log", "rotate", "--reason", REASON),
        ("log", "rotate", "--reason", REASON, "--finish"),
        ("recover", "--reason", REASON),
        ("log", "check"),
        ("rebuild", "--check"),
    ],
)
async def test_the_wrong_role_is_refused_before_anything_is_touched(
    settings: Settings, engines: Engines, run: Run, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    before = files(settings)
    monkeypatch.setenv("CUSTODY_CLERK_DATABASE_URL", os.environ["CUSTODY_DATABASE_URL"])
    code, said = await run(*command)
    assert (code, said.count("\n")) == (1, 1)
    assert "is of the role custody_service" in said
    assert files(settings) == before
    assert await types(engines.clerk, "events") == ["log.opened"]


async def test_a_full_disk_is_one_sentence_and_the_command_finishes_when_there_is_room(
    settings: Settings, engines: Engines, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full(monkeypatch):
        code, said = await run("log", "rotate", "--reason", REASON)
    assert (code, said.count("\n")) == (1, 1)
    assert "No space left on device" in said
    assert (await run("log", "rotate", "--reason", REASON))[0] == 0
    assert await types(engines.clerk, "events") == ["log.opened", "log.keys_changed"]
    (settings.keys / "events.note").unlink()
    with full(monkeypatch):
        code, said = await run("recover", "--reason", REASON)
    assert code == 1
    assert said.splitlines()[-1].startswith("custody: ")
    assert "No space left on device" in said
    assert (await run("recover", "--reason", REASON))[0] == 0
    for log in LOGS:
        await whole(engines.clerk, settings, log)


async def test_a_check_goes_on_where_it_cannot_keep_how_far_it_came(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full(monkeypatch):
        code, said = await run("log", "check")
    assert code == 0, said
    assert "every checkpoint holds" in said
    assert "could not be kept" in said
    assert not list(settings.keys.glob("*.new"))


async def test_an_export_onto_a_full_disk_is_one_sentence(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with full(monkeypatch):
        code, said = await run("log", "export", tmp_path / "out")
    assert (code, said.count("\n")) == (1, 1)
    assert "No space left on device" in said
    assert (await run("log", "export", tmp_path / "out"))[0] == 0


async def test_an_export_with_damaged_public_keys_says_which_file_it_is(
    settings: Settings, run: Run, tmp_path: Path
) -> None:
    (settings.keys / "events.vkey").write_text("not a key\n")
    code, said = await run("log", "export", tmp_path / "out")
    assert code == 1
    assert f"{settings.keys / 'events.vkey'} cannot be read" in said
    assert "Start the clerk" in said


async def test_without_public_keys_a_check_says_that_no_signature_was_checked(
    settings: Settings, run: Run
) -> None:
    (settings.keys / "events.vkey").rename(settings.keys / "elsewhere")
    code, said = await run("log", "check")
    assert code == 1
    assert said.startswith("NO SIGNATURE OF THE LOG events WAS CHECKED")
    assert "every checkpoint holds" not in said
    (settings.keys / "elsewhere").rename(settings.keys / "events.vkey")
    assert (await run("log", "check"))[0] == 0


@pytest.mark.parametrize("command", [("log", "rotate"), ("recover",)])
async def test_another_origin_than_the_keys_have_is_refused(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    before = files(settings)
    monkeypatch.setenv("CUSTODY_ORIGIN", "another.example/log")
    code, said = await run(*command, "--reason", REASON)
    assert code == 1
    assert "CUSTODY_ORIGIN makes it another.example/log" in said
    assert files(settings) == before


@pytest.mark.parametrize("left", [0, 100])
async def test_a_damaged_note_is_set_aside_and_recovered_from_as_the_sentence_says(
    settings: Settings, engines: Engines, run: Run, left: int
) -> None:
    note = settings.keys / "events.note"
    origin = beside(settings, "events").origin
    note.write_bytes(note.read_bytes()[:left])
    assert (await run("log", "rotate", "--reason", REASON))[0] == 1
    code, said = await run("recover", "--reason", REASON)
    assert code == 1
    assert f"{note} was not signed by any of its keys" in said
    assert "set the file aside (keep it) and repeat the command" in said
    note.rename(settings.keys / "events.note.damaged")
    code, said = await run("recover", "--reason", REASON)
    assert code == 0, said
    await sign_all(engines.clerk, settings)
    assert beside(settings, "events").origin == f"{origin}/2"
    for log in LOGS:
        await whole(engines.clerk, settings, log)


def test_an_alarm_on_a_full_disk_is_an_alarm_without_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert alarm.alarm_of(tmp_path) is None
    with full(monkeypatch):
        alarm.raise_alarm(tmp_path, "the disk is full")
    assert alarm.alarm_of(tmp_path) == "The clerk gave no reason."
    assert [path.name for path in tmp_path.iterdir()] == ["clerk.alarm"]
    alarm.raise_alarm(tmp_path, "the disk is full")
    assert alarm.alarm_of(tmp_path) == "the disk is full"
