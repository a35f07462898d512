"""New keys sign beside the old ones, the world sees it, the old ones end: by command, and after any crash."""

import asyncio
from pathlib import Path

import pytest

from audit.key import NotSigned, open_note, read_keys
from audit.keybox import open_box
from custody import access
from desk.cli import main
from desk.keys import LOGS, known_keys, public_keys
from desk.settings import CannotStart, Settings, environment_of
from desk.succession import begin_rotation, finish_rotation, history
from tests.conftest import Database, Engines
from tests.custody.story import NURSE, Story, begin
from tests.desk.signing import (
    EVENING,
    NOON,
    beside,
    current_origin,
    first_over,
    notes,
    settings_for,
    sign_all,
    signers,
    types,
    whole,
)

pytestmark = pytest.mark.anyio

REASON = "two years are over"


def quiet(sentence: str) -> None:
    """Where nobody listens."""


@pytest.fixture
async def story(engines: Engines) -> Story:
    return await begin(engines.service, engines.clerk)


@pytest.fixture
async def settings(story: Story, engines: Engines, database: Database, tmp_path: Path) -> Settings:
    """A service at work: a kit, a reading, both logs signed and published."""
    made = settings_for(database, tmp_path)
    await story.registered()
    await access.record(engines.service, NURSE, read="kit", kit=None, purpose="scan")
    await sign_all(engines.clerk, made, NOON)
    return made


def vkeys(settings: Settings, log: str) -> list[str]:
    return (public_keys(settings.keys, log) or "").splitlines()


async def test_the_history_begins_once_with_the_first_keys(engines: Engines, settings: Settings) -> None:
    await sign_all(engines.clerk, settings)
    for log in LOGS:
        (opened,) = await history(engines.clerk, log)
        assert opened.type == "log.opened"
        assert opened.get("vkeys") == vkeys(settings, log)
        assert opened.who == {"function": "clock"}


async def test_during_the_overlap_old_and_new_keys_sign_and_the_event_says_so(
    engines: Engines, settings: Settings
) -> None:
    old = {log: vkeys(settings, log) for log in LOGS}
    await begin_rotation(engines.clerk, settings, REASON, quiet)
    for log in LOGS:
        changed = (await history(engines.clerk, log))[-1]
        new = vkeys(settings, log)
        assert len(new) == 4
        assert new[:2] == old[log]
        assert changed.get("vkeys") == new
        assert changed.get("retiring") == old[log]
        assert changed.get("reason") == REASON
        assert signers(
            await first_over(engines.clerk, changed), read_keys("\n".join(vkeys(settings, "events")))
        ) == set(vkeys(settings, "events"))
        assert current_origin(settings, log) == beside(settings, log).origin
        await whole(engines.clerk, settings, log)


async def test_who_knows_only_the_old_keys_still_verifies_until_the_overlap_ends(
    story: Story, engines: Engines, settings: Settings
) -> None:
    old = read_keys(public_keys(settings.keys, "events") or "")
    await begin_rotation(engines.clerk, settings, REASON, quiet)
    await story.registered()
    await access.record(engines.service, NURSE, read="kit", kit=None, purpose="scan")
    await sign_all(engines.clerk, settings, EVENING)
    during = (await notes(engines.clerk, "events"))[-1]
    assert open_note(during.written(), old).size

    await finish_rotation(engines.clerk, settings, REASON, quiet)
    after = (await notes(engines.clerk, "events"))[-1]
    with pytest.raises(NotSigned):
        open_note(after.written(), old)
    staying = vkeys(settings, "events")
    assert len(staying) == 2
    assert not set(staying) & {key.written() for key in old}
    ended = (await history(engines.clerk, "events"))[-1]
    assert ended.get("vkeys") == staying
    assert ended.get("retiring") is None
    with open_box(settings.keys / "events.key") as box:
        assert [key.verifier.written() for key in box.keys] == staying
    assert {key.written() for key in known_keys(settings.keys, "events")} >= {key.written() for key in old}
    for log in LOGS:
        await whole(engines.clerk, settings, log)


async def test_a_rotation_begun_twice_makes_no_third_pair_of_keys(
    engines: Engines, settings: Settings
) -> None:
    await begin_rotation(engines.clerk, settings, REASON, quiet)
    before = {log: (settings.keys / f"{log}.key").read_bytes() for log in LOGS}
    told: list[str] = []
    await begin_rotation(engines.clerk, settings, "again", told.append)
    assert before == {log: (settings.keys / f"{log}.key").read_bytes() for log in LOGS}
    assert await types(engines.clerk, "events") == ["log.opened", "log.keys_changed"]
    assert told[0].startswith("events: new and old keys sign since")


async def test_the_overlap_does_not_end_before_the_world_has_seen_it(
    engines: Engines, settings: Settings
) -> None:
    await begin_rotation(engines.clerk, settings, REASON, quiet)
    before = (settings.keys / "events.key").read_bytes()
    with pytest.raises(CannotStart, match="has not left the house yet"):
        await finish_rotation(engines.clerk, settings, REASON, quiet)
    assert (settings.keys / "events.key").read_bytes() == before


async def test_the_overlap_does_not_end_while_the_new_keys_have_not_signed_every_log(
    engines: Engines, settings: Settings
) -> None:
    before = (settings.keys / "reads.note").read_bytes()
    await begin_rotation(engines.clerk, settings, REASON, quiet)
    await sign_all(engines.clerk, settings, EVENING)
    (settings.keys / "reads.note").write_bytes(before)
    with pytest.raises(Exception, match="old copy"):
        await finish_rotation(engines.clerk, settings, REASON, quiet)


async def test_without_an_overlap_there_is_nothing_to_end(engines: Engines, settings: Settings) -> None:
    with pytest.raises(CannotStart, match="nothing to end"):
        await finish_rotation(engines.clerk, settings, REASON, quiet)


async def test_an_old_copy_of_the_key_file_is_not_taken_for_the_end_of_an_overlap(
    engines: Engines, settings: Settings
) -> None:
    before = (settings.keys / "events.key").read_bytes()
    await begin_rotation(engines.clerk, settings, REASON, quiet)
    (settings.keys / "events.key").write_bytes(before)
    for each in (begin_rotation, finish_rotation):
        with pytest.raises(CannotStart, match="Bring back the key file"):
            await each(engines.clerk, settings, REASON, quiet)
    assert await types(engines.clerk, "events") == ["log.opened", "log.keys_changed"]


async def test_the_command_rotates_and_refuses_while_a_signer_is_at_work(
    engines: Engines,
    settings: Settings,
    database: Database,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    with open_box(settings.keys / "events.key"):
        assert await asyncio.to_thread(main, ["log", "rotate", "--reason", REASON]) == 1
    assert "Stop the service" in capsys.readouterr().err
    assert await asyncio.to_thread(main, ["log", "rotate", "--reason", REASON]) == 0
    assert "new keys sign beside the old ones" in capsys.readouterr().out
    assert await asyncio.to_thread(main, ["log", "rotate", "--reason", REASON, "--finish"]) == 1
    assert "Wait for the next publication" in capsys.readouterr().err
    await sign_all(engines.clerk, settings, EVENING)
    assert await asyncio.to_thread(main, ["log", "rotate", "--reason", REASON, "--finish"]) == 0
    assert "must be destroyed" in capsys.readouterr().out
    assert await asyncio.to_thread(main, ["log", "rotate", "--reason", "x" * 300]) == 1
