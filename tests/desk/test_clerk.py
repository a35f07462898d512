"""The clerk as a process of its own, over a real database: leads, signs, is killed, goes on, refuses."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from audit import log as logs
from audit.key import VerifierKey, read_keys
from audit.proof import Proof
from custody import access
from custody.bundle import read
from custody.delivery import NotYetInLog, collect
from custody.examination import check
from custody.ledger import reading as seen_by
from custody.protocol import Retention
from desk.alarm import alarm_of
from desk.keys import public_keys
from desk.succession import history
from tests.audit.a_witness import AWitness, LogKey, running
from tests.audit.whole_log import checkpoints
from tests.conftest import Database, Engines
from tests.custody.story import COORDINATOR, NURSE, Story, begin
from tests.retention.kept import adopt, kept

pytestmark = pytest.mark.anyio

ORIGIN = "custody.example/log"
PATIENCE = 60.0


@dataclass
class Process:
    """A clerk that runs, and what it has said."""

    popen: subprocess.Popen[str]
    lines: list[str]

    def says(self, words: str) -> bool:
        return any(words in line for line in self.lines)

    def kill(self) -> None:
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(PATIENCE)

    def stop(self) -> int:
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(PATIENCE)


class Clerks:
    """Starts clerks on one database and one keys folder."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.keys = folder / "keys"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CUSTODY_")},
            "CUSTODY_DATA": str(folder),
            "CUSTODY_DATABASE_URL": database.url("service").replace("+psycopg", ""),
            "CUSTODY_CLERK_DATABASE_URL": database.url("clerk").replace("+psycopg", ""),
            "CUSTODY_ORIGIN": ORIGIN,
        }
        self.started: list[Process] = []

    def start(self) -> Process:
        popen = subprocess.Popen(
            [sys.executable, "-m", "desk.cli", "clerk"],
            env=self.environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        process = Process(popen, [])
        threading.Thread(target=self._listen, args=(process,), daemon=True).start()
        self.started.append(process)
        return process

    @staticmethod
    def _listen(process: Process) -> None:
        assert process.popen.stderr is not None
        with process.popen.stderr as told:
            process.lines.extend(iter(told.readline, ""))

    async def leading(self) -> Process:
        process = self.start()
        await until(lambda: process.says("the clerk leads"), process)
        return process


@pytest.fixture
def clerks(database: Database, tmp_path: Path) -> Iterator[Clerks]:
    made = Clerks(database, tmp_path)
    yield made
    for process in made.started:
        if process.popen.poll() is None:
            process.kill()


@pytest.fixture
async def story(engines: Engines) -> Story:
    return await begin(engines.service, engines.clerk)


async def until(what: Callable[[], object], process: Process) -> None:
    """Wait for something; fail with what the clerk said when it does not come."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, process.lines
        assert process.popen.poll() is None or what(), process.lines
        await asyncio.sleep(0.02)


async def bundled(story: Story, kit: str) -> bytes:
    """The bundle of a kit, as soon as its last event is under a signature."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            async with seen_by(story.ledger.engine, COORDINATOR) as connection:
                return await collect(connection, kit)
        except NotYetInLog:
            assert time.monotonic() < end, "never signed"
            await asyncio.sleep(0.02)


def vkeys(clerks: Clerks, log: str = "events") -> str:
    found = public_keys(clerks.keys, log)
    assert found is not None
    return found


def keys(clerks: Clerks, log: str = "events") -> tuple[VerifierKey, ...]:
    return read_keys(vkeys(clerks, log))


async def test_an_event_becomes_provable_while_the_clerk_runs(story: Story, clerks: Clerks) -> None:
    process = await clerks.leading()
    kit = await story.registered()
    verdict = check(read(await bundled(story, kit)), vkeys(clerks))
    assert verdict.holds, verdict.findings
    assert process.stop() == 0


async def test_the_first_start_makes_keys_that_only_the_clerks_host_can_read(
    story: Story, clerks: Clerks
) -> None:
    await clerks.leading()
    modes = {path.name: path.stat().st_mode & 0o077 for path in clerks.keys.glob("*.key")}
    assert modes == {"events.key": 0, "reads.key": 0}
    assert keys(clerks)[0].name == ORIGIN
    assert keys(clerks, "reads")[0].name == f"{ORIGIN}/reads"
    await until(lambda: (clerks.keys / "clerk.alive").exists(), clerks.started[0])


async def test_a_clerk_that_was_killed_goes_on_where_it_ended_and_contradicts_nothing(
    story: Story, clerks: Clerks, engines: Engines
) -> None:
    first = await clerks.leading()
    await bundled(story, await story.registered())
    before = await checkpoints(engines.clerk, keys(clerks))
    first.kill()
    waiting = await story.registered()

    await clerks.leading()
    assert check(read(await bundled(story, waiting)), vkeys(clerks)).holds
    after = await checkpoints(engines.clerk, keys(clerks))
    assert after[: len(before)] == before
    assert len(after) > len(before)


async def test_what_was_integrated_and_not_yet_signed_is_signed_at_the_next_start(
    story: Story, clerks: Clerks, engines: Engines
) -> None:
    kit = await story.registered()
    async with engines.clerk.begin() as transaction:
        await logs.integrate(transaction, "events")
    await clerks.leading()
    assert check(read(await bundled(story, kit)), vkeys(clerks)).holds


async def test_of_two_clerks_one_leads_and_the_other_takes_over_when_it_is_killed(
    story: Story, clerks: Clerks
) -> None:
    first = await clerks.leading()
    second = clerks.start()
    await until(lambda: second.says("this one waits"), second)
    assert not second.says("the clerk leads")

    first.kill()
    await until(lambda: second.says("the clerk leads"), second)
    assert check(read(await bundled(story, await story.registered())), vkeys(clerks)).holds
    assert second.stop() == 0


async def test_a_clerk_that_waits_for_the_lead_stops_when_told(story: Story, clerks: Clerks) -> None:
    await clerks.leading()
    second = clerks.start()
    await until(lambda: second.says("this one waits"), second)
    assert second.stop() == 0


async def test_reads_are_signed_in_the_second_log(story: Story, clerks: Clerks, engines: Engines) -> None:
    digest = await access.record(engines.service, NURSE, read="kit", kit=None, purpose="scan")
    await clerks.leading()
    end = time.monotonic() + PATIENCE
    proofs = await _proofs(engines.service, bytes.fromhex(digest))
    while not proofs and time.monotonic() < end:
        await asyncio.sleep(0.02)
        proofs = await _proofs(engines.service, bytes.fromhex(digest))
    proofs[bytes.fromhex(digest)].check(bytes.fromhex(digest))
    assert (await checkpoints(engines.clerk, keys(clerks, "reads"), "reads"))[:2] == [0, 1]


async def _proofs(engine: AsyncEngine, digest: bytes) -> dict[bytes, Proof]:
    async with engine.connect() as connection:
        return await logs.prove(connection, "reads", [digest])


def take_back(database: Database) -> None:
    """What a superuser can still do: take the log in the database back to an earlier point."""
    with database.connect("superuser") as connection:
        connection.execute("SET custody.maintenance = 'on'")
        connection.execute("ALTER TABLE audit.leaf DISABLE TRIGGER leaf_no_change")
        connection.execute("ALTER TABLE audit.checkpoint DISABLE TRIGGER checkpoint_no_change")
        connection.execute("DELETE FROM audit.leaf WHERE log = 'events' AND index >= 10")
        connection.execute("DELETE FROM audit.checkpoint WHERE log = 'events' AND size > 10")


async def test_a_database_taken_back_is_never_signed_over_and_both_sizes_are_said(
    story: Story, clerks: Clerks, engines: Engines, database: Database
) -> None:
    process = await clerks.leading()
    await bundled(story, await story.registered())
    signed = (await checkpoints(engines.clerk, keys(clerks)))[-1]
    assert process.stop() == 0
    take_back(database)
    again = clerks.start()
    await until(lambda: again.says("It is tried again in 2 s"), again)
    assert again.says("NOTHING IS SIGNED ANY MORE")
    assert again.says("holds 10 leaves")
    assert again.says(f"but {signed} were signed")
    assert "holds 10 leaves" in (alarm_of(clerks.keys) or ""), "the page of the log shows it"


async def test_a_clerk_at_work_stops_signing_the_moment_the_database_was_taken_back(
    story: Story, clerks: Clerks, database: Database
) -> None:
    process = await clerks.leading()
    await bundled(story, await story.registered())
    take_back(database)
    await story.registered()
    await until(lambda: process.says("NOTHING IS SIGNED ANY MORE"), process)
    assert process.stop() == 0


async def test_an_alarm_ends_when_signing_goes_on(story: Story, clerks: Clerks) -> None:
    process = await clerks.leading()
    assert process.stop() == 0
    shutil.move(clerks.keys / "events.note", clerks.keys / "elsewhere")
    again = clerks.start()
    await until(lambda: again.says("NOTHING IS SIGNED ANY MORE"), again)
    assert alarm_of(clerks.keys) is not None
    shutil.move(clerks.keys / "elsewhere", clerks.keys / "events.note")
    await until(lambda: again.says("the clerk leads"), again)
    assert alarm_of(clerks.keys) is None
    assert check(read(await bundled(story, await story.registered())), vkeys(clerks)).agrees


async def test_a_last_note_that_is_gone_stops_the_clerk(story: Story, clerks: Clerks) -> None:
    process = await clerks.leading()
    await bundled(story, await story.registered())
    assert process.stop() == 0
    shutil.move(clerks.keys / "events.note", clerks.keys / "somewhere")
    again = clerks.start()
    await until(lambda: again.says("run custody recover"), again)
    assert again.stop() == 0


async def test_a_clerk_with_another_origin_than_its_keys_signs_nothing_and_says_so(
    story: Story, clerks: Clerks
) -> None:
    process = await clerks.leading()
    assert process.stop() == 0
    note = (clerks.keys / "events.note").read_bytes()
    clerks.environment["CUSTODY_ORIGIN"] = "another.example/log"
    again = clerks.start()
    await until(lambda: again.says("CUSTODY_ORIGIN makes it another.example/log"), again)
    assert again.says("NOTHING IS SIGNED ANY MORE")
    assert again.stop() == 0
    assert (clerks.keys / "events.note").read_bytes() == note


async def test_a_clerk_that_is_given_another_role_ends_with_one_sentence(
    story: Story, clerks: Clerks
) -> None:
    clerks.environment["CUSTODY_CLERK_DATABASE_URL"] = clerks.environment["CUSTODY_DATABASE_URL"]
    process = clerks.start()
    assert process.popen.wait(PATIENCE) == 1
    await until(lambda: process.says("is of the role custody_service"), process)
    assert not (clerks.keys / "events.key").exists(), "nothing was made"


async def test_a_publication_of_a_day_that_has_not_come_is_told_and_the_log_goes_on(
    story: Story, clerks: Clerks, engines: Engines, database: Database
) -> None:
    clerks.environment["CUSTODY_SLOT_MINUTES"] = "1440"
    process = await clerks.leading()
    await until_published(engines, process)
    assert process.stop() == 0
    with database.connect("superuser") as connection:
        connection.execute("SET custody.maintenance = 'on'")
        connection.execute("ALTER TABLE audit.publication DISABLE TRIGGER publication_no_change")
        connection.execute("UPDATE audit.publication SET slot = '9999-12-31' WHERE log = 'events'")
        connection.execute("ALTER TABLE audit.publication ENABLE ALWAYS TRIGGER publication_no_change")
    again = await clerks.leading()
    await until(lambda: again.says("ALARM: a publication of the log events is for 9999-12-31"), again)
    assert again.stop() == 0
    assert (await published(engines.auditor))["events"][:2] == [256, 512]


# --- what leaves the house --------------------------------------------------------------------------------


async def published(engine: AsyncEngine) -> dict[str, list[int]]:
    """The published sizes of each log, in order."""
    rows = text("SELECT log, size FROM audit.publication ORDER BY log, size")
    async with engine.connect() as connection:
        found: dict[str, list[int]] = {"events": [], "reads": []}
        for log, size in await connection.execute(rows):
            found[log].append(size)
    return found


async def until_published(engines: Engines, process: Process) -> None:
    """Both logs have left the house at least once."""
    end = time.monotonic() + PATIENCE
    while not all((await published(engines.auditor)).values()):
        assert time.monotonic() < end, process.lines
        await asyncio.sleep(0.05)


async def test_both_logs_are_published_once_in_a_slot_however_often_the_clerk_starts(
    story: Story, clerks: Clerks, engines: Engines
) -> None:
    clerks.environment["CUSTODY_SLOT_MINUTES"] = "1440"
    for _ in range(3):
        process = await clerks.leading()
        await story.registered()
        await until_published(engines, process)
        process.kill()
    slots = text("SELECT count(DISTINCT slot) FROM audit.publication")
    async with engines.auditor.connect() as connection:
        several = await connection.scalar(slots) or 0
    sizes = await published(engines.auditor)
    for log in ("events", "reads"):
        assert sizes[log] == [256 * (n + 1) for n in range(several)], "one for each slot; midnight may pass"
        signed = await checkpoints(engines.clerk, keys(clerks, log), log)
        assert set(sizes[log]) <= set(signed)


async def test_witnesses_and_an_authority_that_are_away_do_not_hold_up_the_log(
    story: Story, clerks: Clerks, tmp_path: Path
) -> None:
    stranger = AWitness("witness.example", tmp_path / "state", [])
    away = "http://127.0.0.1:1"
    (tmp_path / "policy").write_text(f"witness Zonneveld {stranger.vkey()} {away}\nquorum Zonneveld\n")
    (tmp_path / "roots.pem").write_text("")
    clerks.environment |= {
        "CUSTODY_WITNESSES": str(tmp_path / "policy"),
        "CUSTODY_STAMP_URL": away,
        "CUSTODY_STAMP_ROOTS": str(tmp_path / "roots.pem"),
    }
    process = await clerks.leading()
    await until(lambda: process.says("Zonneveld") and process.says("was not stamped"), process)
    assert check(read(await bundled(story, await story.registered())), vkeys(clerks)).agrees
    assert process.stop() == 0


async def test_what_the_clerk_publishes_is_cosigned_by_a_witness_and_stands_in_proofs(
    story: Story, clerks: Clerks, engines: Engines, tmp_path: Path
) -> None:
    first = await clerks.leading()
    kit = await story.registered()
    await bundled(story, kit)
    assert first.stop() == 0
    known = {log: [LogKey.read(key.written()) for key in keys(clerks, log)] for log in ("events", "reads")}
    one = AWitness("witness.example", tmp_path / "state", known["events"] + known["reads"])
    with running(one):
        (tmp_path / "policy").write_text(f"witness Zonneveld {one.vkey()} {one.url}\nquorum Zonneveld\n")
        clerks.environment["CUSTODY_WITNESSES"] = str(tmp_path / "policy")
        process = await clerks.leading()
        cosigned = text("SELECT count(DISTINCT log) FROM audit.cosignature")
        end = time.monotonic() + PATIENCE
        while True:
            async with engines.auditor.connect() as connection:
                if await connection.scalar(cosigned) == 2:
                    break
            assert time.monotonic() < end, process.lines
            await asyncio.sleep(0.05)
        assert process.stop() == 0
    (digest,) = await first_digests(engines.service)
    async with engines.service.connect() as connection:
        proof = (await logs.prove(connection, "events", [digest]))[digest]
    proof.check(digest)
    assert [each.name for each in proof.note.signatures] == [ORIGIN, ORIGIN, "witness.example"]


async def first_digests(engine: AsyncEngine) -> list[bytes]:
    """The digest of the first leaf, which every publication covers."""
    async with engine.connect() as connection:
        return await logs.digests_between(connection, "events", 0, 1)


async def test_the_log_begins_with_an_event_that_names_its_keys(
    story: Story, clerks: Clerks, engines: Engines
) -> None:
    for _ in range(2):
        process = await clerks.leading()
        assert process.stop() == 0
    for log in ("events", "reads"):
        (opened,) = await history(engines.clerk, log)
        assert opened.type == "log.opened"


async def test_the_clerk_puts_a_kit_on_the_worklist_when_its_notice_falls_due(
    story: Story, clerks: Clerks, advance: Callable[[timedelta], None]
) -> None:
    await adopt(story)
    kit = await kept(story)
    term = (await story.kit(kit)).term
    assert term is not None
    advance(term.over_at - (await story.look(NURSE)).at - timedelta(days=1))
    process = await clerks.leading()
    end = time.monotonic() + PATIENCE
    while (await story.kit(kit)).retention is not Retention.NOTICE_DUE:
        assert time.monotonic() < end, process.lines
        await asyncio.sleep(0.05)
    assert process.stop() == 0


async def test_terms_are_looked_at_while_nothing_can_be_signed(
    story: Story, clerks: Clerks, advance: Callable[[timedelta], None]
) -> None:
    first = await clerks.leading()
    assert first.stop() == 0
    await adopt(story)
    kit = await kept(story)
    term = (await story.kit(kit)).term
    assert term is not None
    advance(term.over_at - (await story.look(NURSE)).at - timedelta(days=1))
    (clerks.keys / "events.note").unlink()
    process = clerks.start()
    await until(lambda: process.says("NOTHING IS SIGNED ANY MORE"), process)
    end = time.monotonic() + PATIENCE
    while (await story.kit(kit)).retention is not Retention.NOTICE_DUE:
        assert time.monotonic() < end, process.lines
        await asyncio.sleep(0.05)
    assert not process.says("the clerk leads")
    assert process.stop() == 0
