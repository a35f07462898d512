"""From a running clerk through a real restore into the next epoch: a court checks the bundles of both."""

import subprocess
import sys
from pathlib import Path

import pytest

from audit.key import write_keys
from audit.verify import Verdict
from custody.bundle import read
from custody.examination import check
from desk.keys import known_keys, public_keys
from desk.succession import history
from tests.audit.whole_log import checkpoints
from tests.conftest import Database, Engines
from tests.custody.story import Story
from tests.desk.test_clerk import PATIENCE, Clerks, bundled, clerks, story, until
from tests.restore import bring_back, copy_of

pytestmark = pytest.mark.anyio

__all__ = ["clerks", "story"]  # fixtures


def command(clerks: Clerks, *arguments: str) -> str:
    """What a command of the operator prints; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "desk.cli", *arguments],
        env=clerks.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def failing(verdict: Verdict) -> list[str]:
    return [finding.words for finding in verdict.findings if finding.holds is False]


async def test_a_court_that_knows_only_the_first_key_follows_the_log_into_its_next_epoch(
    story: Story, clerks: Clerks, database: Database, engines: Engines, tmp_path: Path
) -> None:
    process = await clerks.leading()
    kept, lost = await story.registered(), ""
    before = await bundled(story, kept)
    court = public_keys(clerks.keys, "events")
    assert process.stop() == 0
    await engines.dispose()
    with copy_of(database) as backup:
        process = await clerks.leading()
        lost = await story.registered()
        of_the_lost = await bundled(story, lost)
        assert process.stop() == 0
        await engines.dispose()
        bring_back(database, backup)

    refusing = clerks.start()
    await until(lambda: refusing.says("NOTHING IS SIGNED ANY MORE"), refusing)
    assert refusing.says("taken back to an earlier")
    refusing.stop()
    assert "goes on as" in command(clerks, "recover", "--reason", "the disk failed")
    process = await clerks.leading()
    await story.registered()
    after = await bundled(story, kept)
    assert process.stop() == 0

    # Bundles of both epochs hold for who knows only the first key; so does the one of what was lost.
    for data in (before, after, of_the_lost):
        assert failing(check(read(data), court)) == []
    assert read(before).origin == "custody.example/log"
    assert read(after).origin == "custody.example/log/2"
    assert lost not in [number for (number,) in _kits(database)]
    assert [event.type for event in await history(engines.clerk, "events")] == ["log.opened", "log.recovered"]
    assert await checkpoints(engines.clerk, known_keys(clerks.keys, "events"))
    assert "every checkpoint holds" in command(clerks, "log", "check")

    # By the command of the court, with the key from its own files.
    (tmp_path / "after.zip").write_bytes(after)
    (tmp_path / "court.vkey").write_text(court or "")
    told = command(clerks, "verify", str(tmp_path / "after.zip"), "--key", str(tmp_path / "court.vkey"))
    assert "custody.example/log/2" in told


async def test_after_lost_keys_the_old_key_is_not_enough_and_the_new_one_must_come_from_elsewhere(
    story: Story, clerks: Clerks
) -> None:
    process = await clerks.leading()
    kit = await story.registered()
    await bundled(story, kit)
    court = public_keys(clerks.keys, "events")
    assert process.stop() == 0
    for log in ("events", "reads"):
        (clerks.keys / f"{log}.key").unlink()
    refusing = clerks.start()
    await until(lambda: refusing.says("custody recover goes on with a new one"), refusing)
    refusing.stop()
    assert "its keys are lost" in command(clerks, "recover", "--reason", "the key file is gone for good")
    process = await clerks.leading()
    data = await bundled(story, kit)
    assert process.stop() == 0
    assert failing(check(read(data), court)) != []
    new = write_keys(known_keys(clerks.keys, "events")[:2])
    assert failing(check(read(data), new)) == []
    assert "every checkpoint holds" in command(clerks, "log", "check")


def _kits(database: Database) -> list[tuple[str]]:
    with database.connect("superuser") as connection:
        return connection.execute("SELECT number FROM custody.kit").fetchall()
