"""Every write of a rotation and of a recovery, lost, and persisted but reported lost.

After each, the clerk either goes on or refuses and says what to do; the command, repeated, finishes: with one
new generation of keys, one event, and a log that is whole with every signature on it.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from audit.key import read_keys
from audit.keybox import open_box
from audit.sign import CannotSign
from custody import access
from desk.keys import LOGS, known_keys, public_keys
from desk.settings import CannotStart, Settings
from desk.succession import begin_rotation, finish_rotation, history, recover_logs
from tests.audit.whole_log import digests, put
from tests.conftest import Database, Engines
from tests.custody.story import NURSE, Story, begin
from tests.desk.signing import (
    EVENING,
    NOON,
    beside,
    first_over,
    settings_for,
    sign_all,
    signers,
    types,
    whole,
)
from tests.faults import OUTCOMES, PowerCut, Write, inject
from tests.restore import copy_of

pytestmark = pytest.mark.anyio

ROTATE = (
    Write(says="new keys of the events", kind="name", of="events.key"),
    Write(says="their public keys", kind="name", of="events.vkey"),
    Write(says="the event about the events", kind="append", of="log.keys_changed"),
    Write(says="new keys of the reads", kind="name", of="reads.key"),
    Write(says="the event about the reads", kind="append", of="log.keys_changed", turn=2),
    Write(says="the integration", kind="commit", of="WITH drained"),
    Write(says="the note", kind="name", of="events.note", turn=2),
    Write(says="the row", kind="commit", of="INSERT INTO audit.checkpoint"),
)
FINISH = (
    Write(says="the retired public keys", kind="name", of="events.vkey.retired"),
    Write(says="the old keys leave", kind="name", of="events.key"),
    Write(says="the public keys that remain", kind="name", of="events.vkey"),
    Write(says="the event about the events", kind="append", of="log.keys_changed"),
    Write(says="the old keys of the reads leave", kind="name", of="reads.key"),
    Write(says="the event about the reads", kind="append", of="log.keys_changed", turn=2),
    Write(says="the note", kind="name", of="events.note", turn=2),
    Write(says="the row", kind="commit", of="INSERT INTO audit.checkpoint"),
)
RECOVER = (
    Write(says="the lost epoch's note is kept", kind="name", of="events.note.epoch-1"),
    Write(says="the old public keys", kind="name", of="events.vkey.retired"),
    Write(says="new keys of the events", kind="name", of="events.key"),
    Write(says="their public keys", kind="name", of="events.vkey"),
    Write(says="new keys of the reads", kind="name", of="reads.key"),
    Write(says="the event about the events", kind="append", of="log.recovered"),
    Write(says="the event about the reads", kind="append", of="log.recovered", turn=2),
    Write(says="the integration of the events", kind="commit", of="WITH drained"),
    Write(says="the first note of the events", kind="name", of="events.note"),
    Write(says="its row", kind="commit", of="INSERT INTO audit.checkpoint"),
    Write(says="padding of the reads", kind="commit", of="INSERT INTO audit.padding"),
    Write(says="the first note of the reads", kind="name", of="reads.note"),
    Write(says="its row too", kind="commit", of="INSERT INTO audit.checkpoint", turn=2),
)

Command = Callable[[AsyncEngine], Awaitable[None]]


def quiet(sentence: str) -> None:
    """Where nobody listens."""


@pytest.fixture
async def story(engines: Engines) -> Story:
    return await begin(engines.service, engines.clerk)


@pytest.fixture
async def settings(story: Story, engines: Engines, database: Database, tmp_path: Path) -> Settings:
    made = settings_for(database, tmp_path)
    await access.record(engines.service, NURSE, read="kit", kit=None, purpose="scan")
    await sign_all(engines.clerk, made, NOON)
    return made


async def cut_and_repeat(
    engines: Engines,
    database: Database,
    settings: Settings,
    patch: pytest.MonkeyPatch,
    command: Command,
    write: Write,
    outcome: str,
    done: str | None,
) -> None:
    """The command is cut off at a write; the clerk starts, and may refuse; the command is repeated."""
    failing = create_async_engine(database.url("clerk"))
    with patch.context() as patched:
        inject(patched, failing, write, outcome)
        with pytest.raises(PowerCut):
            await command(failing)
    await failing.dispose()
    for log in LOGS:
        await whole(engines.clerk, settings, log)
    with suppress(CannotSign):
        await sign_all(engines.clerk, settings)
    with nothing_left(done):
        await command(engines.clerk)
    await sign_all(engines.clerk, settings)
    for log in LOGS:
        assert (await whole(engines.clerk, settings, log))[-1] == beside(settings, log).size


@contextmanager
def nothing_left(words: str | None) -> Iterator[None]:
    """The repeated command may say so: the crash came after its last step, or the clerk took that step."""
    try:
        yield
    except CannotStart as refused:
        if words is None or words not in str(refused):
            raise


def in_file(settings: Settings, log: str) -> list[str]:
    with open_box(settings.keys / f"{log}.key") as box:
        return [key.verifier.written() for key in box.keys]


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("write", ROTATE, ids=lambda write: write.says)
async def test_a_rotation_cut_off_anywhere_is_finished_with_one_new_generation(
    engines: Engines,
    database: Database,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    write: Write,
    outcome: str,
) -> None:
    old = {log: in_file(settings, log) for log in LOGS}

    async def rotate(engine: AsyncEngine) -> None:
        await begin_rotation(engine, settings, "two years are over", quiet)

    await cut_and_repeat(engines, database, settings, monkeypatch, rotate, write, outcome, None)
    for log in LOGS:
        keys = in_file(settings, log)
        assert keys[:2] == old[log]
        assert len(keys) == 4
        assert (public_keys(settings.keys, log) or "").splitlines() == keys
        assert await types(engines.clerk, log) == ["log.opened", "log.keys_changed"]
        changed = (await history(engines.clerk, log))[-1]
        assert (changed.get("vkeys"), changed.get("retiring")) == (keys, old[log])
        covering = await first_over(engines.clerk, changed)
        assert signers(covering, known_keys(settings.keys, "events")) == set(in_file(settings, "events"))


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("write", FINISH, ids=lambda write: write.says)
async def test_the_end_of_an_overlap_cut_off_anywhere_is_finished_and_loses_no_public_key(
    engines: Engines,
    database: Database,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    write: Write,
    outcome: str,
) -> None:
    await begin_rotation(engines.clerk, settings, "two years are over", quiet)
    await sign_all(engines.clerk, settings, EVENING)
    both = {log: in_file(settings, log) for log in LOGS}

    async def finish(engine: AsyncEngine) -> None:
        await finish_rotation(engine, settings, "the world has seen them", quiet)

    await cut_and_repeat(engines, database, settings, monkeypatch, finish, write, outcome, "nothing to end")
    for log in LOGS:
        assert in_file(settings, log) == both[log][2:]
        assert (public_keys(settings.keys, log) or "").splitlines() == both[log][2:]
        assert {key.written() for key in known_keys(settings.keys, log)} == set(both[log])
        assert await types(engines.clerk, log) == ["log.opened", "log.keys_changed", "log.keys_changed"]
        assert (await history(engines.clerk, log))[-1].get("vkeys") == both[log][2:]


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("write", RECOVER, ids=lambda write: write.says)
async def test_a_recovery_cut_off_anywhere_is_finished_with_one_new_epoch(
    engines: Engines,
    database: Database,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    write: Write,
    outcome: str,
) -> None:
    old = {log: in_file(settings, log) for log in LOGS}
    await the_future_is_lost(engines, database, settings)
    last = {log: beside(settings, log) for log in LOGS}

    async def recover(engine: AsyncEngine) -> None:
        await recover_logs(engine, settings, "the disk failed", quiet)

    await cut_and_repeat(
        engines, database, settings, monkeypatch, recover, write, outcome, "Nothing is to be recovered"
    )
    for log in LOGS:
        keys = in_file(settings, log)
        assert len(keys) == 4
        assert keys[2:] == old[log]
        assert (public_keys(settings.keys, log) or "").splitlines() == keys[:2]
        assert beside(settings, log).origin == f"{last[log].origin}/2"
        assert await types(engines.clerk, log) == ["log.opened", "log.recovered"]
        recovered = (await history(engines.clerk, log))[-1]
        assert recovered.get("log")["size"] == last[log].size
        covering = await first_over(engines.clerk, recovered)
        assert signers(covering, read_keys("\n".join(old["events"]))) == set(old["events"])


async def the_future_is_lost(engines: Engines, database: Database, settings: Settings) -> None:
    """More is recorded and signed in a copy that is then gone: the database is the one from before."""
    await engines.dispose()
    with copy_of(database) as ahead:
        future = Engines(ahead)
        await begin_more(future)
        await sign_all(future.clerk, settings)
        await future.dispose()


async def begin_more(future: Engines) -> None:
    for _ in range(2):
        await access.record(future.service, NURSE, read="kit", kit=None, purpose="scan")
    async with future.superuser.begin() as transaction:
        await put(transaction, digests(0, 5))
