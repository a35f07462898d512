"""A database is taken back, keys or the last note are lost: the logs go on as another epoch, said openly."""

import asyncio
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from audit import log as logs
from audit.checkpoint import Checkpoint
from audit.key import NotSigned, open_note, read_keys, write_keys
from audit.keybox import open_box
from audit.proof import Proof
from audit.sign import Rewound, Unfinished
from audit.verify import verify
from custody import access
from custody.commands import Paper, Store
from custody.handling import store
from custody.people import Actor
from desk.cli import main
from desk.keys import LOGS, known_keys, public_keys
from desk.settings import CannotStart, Settings, environment_of
from desk.succession import begin_rotation, finish_rotation, history, recover_logs
from tests.conftest import Database, Engines
from tests.custody.story import NURSE, Story, begin, ref
from tests.desk.signing import (
    EVENING,
    NOON,
    ORIGIN,
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
from tests.restore import bring_back, copy_of

pytestmark = pytest.mark.anyio

REASON = "the disk failed, the copy of last night was brought back"


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
    await read_once(engines)
    await sign_all(engines.clerk, made, NOON)
    return made


async def read_once(engines: Engines, reader: Actor = NURSE) -> None:
    await access.record(engines.service, reader, read="kit", kit=None, purpose="scan")


async def taken_back(
    engines: Engines, database: Database, settings: Settings, story: Story, *, reads: bool = True
) -> list[int]:
    """Record and sign more, then bring back the copy from before. Answers the sizes that were signed."""
    await engines.dispose()
    with copy_of(database) as backup:
        await story.registered()
        if reads:
            await read_once(engines)
        await sign_all(engines.clerk, settings)
        signed = [beside(settings, log).size for log in LOGS]
        await engines.dispose()
        bring_back(database, backup)
    return signed


async def size(engines: Engines, log: str) -> int:
    async with engines.clerk.connect() as connection:
        return await logs.size(connection, log)


async def test_a_restore_is_detected_at_the_start_with_both_sizes(
    engines: Engines, database: Database, settings: Settings, story: Story
) -> None:
    before = [beside(settings, log).size for log in LOGS]
    signed = await taken_back(engines, database, settings, story)
    with pytest.raises(Rewound) as refused:
        await sign_all(engines.clerk, settings)
    assert (refused.value.signed, refused.value.found) == (signed[0], before[0])


async def test_after_a_restore_both_logs_go_on_as_a_new_epoch_that_names_what_was_lost(
    engines: Engines, database: Database, settings: Settings, story: Story
) -> None:
    old = {log: public_keys(settings.keys, log) or "" for log in LOGS}
    signed = await taken_back(engines, database, settings, story)
    last = {log: beside(settings, log) for log in LOGS}
    found = [await size(engines, log) for log in LOGS]
    told: list[str] = []
    await recover_logs(engines.clerk, settings, REASON, told.append)

    assert told[0] == (
        f"events: it was taken back to an earlier time. {signed[0]} leaves were signed as {ORIGIN}, the"
        f" database holds {found[0]}."
    )
    for log, leaves in zip(LOGS, found, strict=True):
        event = (await history(engines.clerk, log))[-1]
        assert event.type == "log.recovered"
        assert event.get("log") == {
            "name": log,
            "origin": last[log].origin,
            "size": last[log].size,
            "root": last[log].root.hex(),
        }
        assert event.get("resumed") == leaves
        assert event.get("reason") == REASON
        origin = current_origin(settings, log)
        assert origin == f"{last[log].origin}/2"
        assert event.get("vkeys") == (public_keys(settings.keys, log) or "").splitlines()
        first = (await notes(engines.clerk, log))[-1]
        stated = open_note(first.written(), read_keys(public_keys(settings.keys, log) or ""))
        assert stated.origin == origin
        assert stated.size > leaves
        # Who knows the old keys sees that their holder vouches for what comes next.
        assert signers(first, read_keys(old[log])) == set(old[log].splitlines())
        kept = open_note((settings.keys / f"{log}.note.epoch-1").read_bytes(), read_keys(old[log]))
        assert kept == last[log]
        await whole(engines.clerk, settings, log)
    assert signers(await first_over(engines.clerk, event), read_keys(old["events"]))
    await story.registered()
    await sign_all(engines.clerk, settings, EVENING)
    assert beside(settings, "events").origin == f"{ORIGIN}/2"


async def test_nothing_is_recovered_where_nothing_is_lost(engines: Engines, settings: Settings) -> None:
    before = {path.name: path.read_bytes() for path in settings.keys.iterdir()}
    with pytest.raises(CannotStart, match="Nothing is to be recovered"):
        await recover_logs(engines.clerk, settings, REASON, quiet)
    assert before == {path.name: path.read_bytes() for path in settings.keys.iterdir()}
    assert await types(engines.clerk, "events") == ["log.opened"]


async def test_a_log_that_was_not_taken_back_keeps_its_epoch(
    engines: Engines, database: Database, settings: Settings, story: Story
) -> None:
    await taken_back(engines, database, settings, story, reads=False)
    await recover_logs(engines.clerk, settings, REASON, quiet)
    assert current_origin(settings, "events") == f"{ORIGIN}/2"
    assert current_origin(settings, "reads") == f"{ORIGIN}/reads"
    assert await types(engines.clerk, "reads") == ["log.opened"]
    await read_once(engines)
    await sign_all(engines.clerk, settings)


async def test_a_restored_log_that_has_grown_again_is_recovered_too(
    engines: Engines, database: Database, settings: Settings, story: Story
) -> None:
    signed = await taken_back(engines, database, settings, story)
    while await size(engines, "events") <= signed[0]:
        await story.registered()
        async with engines.clerk.begin() as transaction:
            await logs.integrate(transaction, "events")
    told: list[str] = []
    await recover_logs(engines.clerk, settings, REASON, told.append)
    assert "then grew in another way" in told[0]
    await whole(engines.clerk, settings, "events")


async def test_a_log_that_was_altered_and_not_only_taken_back_is_not_gone_on_with(
    engines: Engines, database: Database, settings: Settings, story: Story
) -> None:
    await taken_back(engines, database, settings, story)
    with database.connect("superuser") as connection:
        connection.execute("SET custody.maintenance = 'on'")
        connection.execute("ALTER TABLE audit.leaf DISABLE TRIGGER leaf_no_change")
        connection.execute(
            "UPDATE audit.leaf SET digest = sha256('other') WHERE log = 'events' AND index = 3"
        )
    before = {path.name: path.read_bytes() for path in settings.keys.iterdir()}
    with pytest.raises(CannotStart, match="bring back another copy"):
        await recover_logs(engines.clerk, settings, REASON, quiet)
    assert before == {path.name: path.read_bytes() for path in settings.keys.iterdir()}


async def test_the_second_restore_opens_the_third_epoch_even_when_it_took_the_first_recovery_back(
    engines: Engines, database: Database, settings: Settings, story: Story
) -> None:
    await engines.dispose()
    with copy_of(database) as backup:
        await story.registered()
        await read_once(engines)
        await sign_all(engines.clerk, settings)
        for _ in range(2):
            await engines.dispose()
            bring_back(database, backup)
            await recover_logs(engines.clerk, settings, REASON, quiet)
            await sign_all(engines.clerk, settings)
    assert beside(settings, "events").origin == f"{ORIGIN}/3"
    assert beside(settings, "reads").origin == f"{ORIGIN}/reads/3"
    for log in LOGS:
        assert await types(engines.clerk, log) == ["log.opened", "log.keys_changed", "log.recovered"]
        await whole(engines.clerk, settings, log)
    named = {vkey for event in await history(engines.clerk, "events") for vkey in event.get("vkeys")}
    recovered = (await history(engines.clerk, "events"))[-1]
    note = await first_over(engines.clerk, recovered)
    assert len(note.signatures) == 6
    assert signers(note, known_keys(settings.keys, "events")) == named


async def test_the_keys_of_an_ended_epoch_leave_by_the_same_command_as_rotated_ones(
    engines: Engines, database: Database, settings: Settings, story: Story
) -> None:
    await taken_back(engines, database, settings, story)
    await recover_logs(engines.clerk, settings, REASON, quiet)
    with pytest.raises(CannotStart, match="First end it"):
        await begin_rotation(engines.clerk, settings, REASON, quiet)
    await sign_all(engines.clerk, settings, EVENING)
    await finish_rotation(engines.clerk, settings, REASON, quiet)
    for log in LOGS:
        with open_box(settings.keys / f"{log}.key") as box:
            assert {key.verifier.name for key in box.keys} == {current_origin(settings, log)}
        assert (await types(engines.clerk, log))[-1] == "log.recovered"
        await whole(engines.clerk, settings, log)
    await begin_rotation(engines.clerk, settings, REASON, quiet)


async def test_what_was_lost_is_still_proved_by_its_receipt_and_is_entered_again_under_its_digest(
    engines: Engines, database: Database, settings: Settings, story: Story
) -> None:
    kit = await story.registered()
    await sign_all(engines.clerk, settings)
    old = public_keys(settings.keys, "events") or ""
    await engines.dispose()
    order = Store(packages=(ref(kit, 1),), place="freezer-1")
    with copy_of(database) as backup:
        (receipt,) = await story.do(NURSE, [kit], lambda s: store(s, order, NURSE, story.directory))
        await read_once(engines)
        await sign_all(engines.clerk, settings)
        digest = bytes.fromhex(receipt.digest)
        async with engines.service.connect() as connection:
            proof = (await logs.prove(connection, "events", [digest]))[digest]
        await engines.dispose()
        bring_back(database, backup)
    await recover_logs(engines.clerk, settings, REASON, quiet)

    # The proof that came with the receipt holds offline, under the old key, for ever.
    verdict = verify(old, proof.note.written(), [(digest, proof.written())])
    assert verdict.holds
    lost = (await history(engines.clerk, "events"))[-1].get("log")
    assert Checkpoint.read(proof.note.text).size <= lost["size"]
    # The event is not in the log of today; it is entered again and names the receipt.
    async with engines.service.connect() as connection:
        assert await logs.index_of(connection, "events", digest) is None
    at = (await story.look(NURSE)).at
    paper = Paper(digest=sha256(b"the printed receipt").hexdigest(), occurred_at=at, lost=receipt.digest)
    again = Store(packages=(ref(kit, 1),), place="freezer-1", paper=paper)
    (entered,) = await story.do(NURSE, [kit], lambda s: store(s, again, NURSE, story.directory))
    await sign_all(engines.clerk, settings)
    async with engines.service.connect() as connection:
        found = (await logs.prove(connection, "events", [bytes.fromhex(entered.digest)])).popitem()[1]
    new = public_keys(settings.keys, "events") or ""
    assert Proof.read(found.written()).checkpoint().origin == f"{ORIGIN}/2"
    assert verify(new, found.note.written(), [(bytes.fromhex(entered.digest), found.written())]).holds


# --- lost keys, lost notes -------------------------------------------------------------------------------


async def test_lost_keys_are_followed_by_an_epoch_for_which_only_the_new_ones_vouch(
    engines: Engines, settings: Settings
) -> None:
    old = {log: read_keys(public_keys(settings.keys, log) or "") for log in LOGS}
    for log in LOGS:
        (settings.keys / f"{log}.key").unlink()
    told: list[str] = []
    await recover_logs(engines.clerk, settings, "the key file cannot be read any more", told.append)
    assert "its keys are lost" in told[0]
    for log in LOGS:
        recovered = (await history(engines.clerk, log))[-1]
        assert recovered.type == "log.recovered"
        first = (await notes(engines.clerk, log))[-1]
        with pytest.raises(NotSigned):
            signers(first, old[log])
        assert set(old[log]) <= set(known_keys(settings.keys, log))
        await whole(engines.clerk, settings, log)
    await sign_all(engines.clerk, settings)


async def test_keys_and_notes_that_are_all_gone_take_the_public_keys_from_whoever_has_them(
    engines: Engines, settings: Settings, tmp_path: Path
) -> None:
    handed_out = tmp_path / "office"
    handed_out.mkdir()
    for log in LOGS:
        shutil.copy(settings.keys / f"{log}.vkey", handed_out)
    shutil.rmtree(settings.keys)
    with pytest.raises(CannotStart, match="no folder"):
        await recover_logs(engines.clerk, settings, REASON, quiet)
    settings.keys.mkdir()
    with pytest.raises(CannotStart, match="the public keys alone"):
        await recover_logs(engines.clerk, settings, REASON, quiet)
    for log in LOGS:
        shutil.copy(handed_out / f"{log}.vkey", settings.keys)
    await recover_logs(engines.clerk, settings, REASON, quiet)
    await sign_all(engines.clerk, settings)
    assert beside(settings, "events").origin == f"{ORIGIN}/2"
    for log in LOGS:
        await whole(engines.clerk, settings, log)


async def test_a_lost_last_note_is_never_guessed_a_new_epoch_begins_instead(
    engines: Engines, settings: Settings
) -> None:
    old = {log: beside(settings, log) for log in LOGS}
    (settings.keys / "events.note").unlink()
    told: list[str] = []
    await recover_logs(engines.clerk, settings, REASON, told.append)
    assert "its last note is lost" in told[0]
    assert current_origin(settings, "events") == f"{ORIGIN}/2"
    assert current_origin(settings, "reads") == f"{ORIGIN}/reads"
    recovered = (await history(engines.clerk, "events"))[-1]
    assert recovered.get("log")["root"] == old["events"].root.hex()
    assert read_keys(write_keys(known_keys(settings.keys, "events")))
    await sign_all(engines.clerk, settings)


async def test_a_note_by_a_stranger_is_not_recovered_from(engines: Engines, settings: Settings) -> None:
    shutil.copy(settings.keys / "reads.note", settings.keys / "events.note")
    with pytest.raises(CannotStart, match="not signed by any of its keys"):
        await recover_logs(engines.clerk, settings, REASON, quiet)


async def test_a_recovery_that_was_cut_off_stops_the_signer_with_what_to_do(
    engines: Engines, database: Database, settings: Settings, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    await taken_back(engines, database, settings, story)

    async def cut(*_: object) -> None:
        raise OSError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr("desk.succession._record_recovery", cut)
        with pytest.raises(OSError, match="power"):
            await recover_logs(engines.clerk, settings, REASON, quiet)
    with pytest.raises(Unfinished, match="repeat custody recover"):
        await sign_all(engines.clerk, settings)
    told: list[str] = []
    await recover_logs(engines.clerk, settings, REASON, told.append)
    assert "was begun and is finished now" in told[0]
    await sign_all(engines.clerk, settings)
    assert beside(settings, "events").origin == f"{ORIGIN}/2"


async def test_the_command_recovers_and_says_both_sizes(
    engines: Engines,
    database: Database,
    settings: Settings,
    story: Story,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    assert await asyncio.to_thread(main, ["recover", "--reason", REASON]) == 1
    assert "Nothing is to be recovered" in capsys.readouterr().err
    signed = await taken_back(engines, database, settings, story)
    with open_box(settings.keys / "events.key"):
        assert await asyncio.to_thread(main, ["recover", "--reason", REASON]) == 1
    assert "Stop the service" in capsys.readouterr().err
    assert await asyncio.to_thread(main, ["recover", "--reason", REASON]) == 0
    out = capsys.readouterr().out
    assert f"{signed[0]} leaves were signed as {ORIGIN}" in out
    assert f"goes on as {ORIGIN}/2" in out
