"""The stored projection follows from the trails, and whatever was altered behind the service is named."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit import log, sign
from audit.key import SigningKey, VerifierKey
from audit.keybox import create_keys, open_box
from audit.sign import Signer
from custody.commands import (
    Accept,
    AnswerRequest,
    DeclareReport,
    ExtendTerm,
    Link,
    Offer,
    PlaceHold,
    Request,
    Store,
)
from custody.event import Event
from custody.handling import store
from custody.handover import accept, offer
from custody.ledger import reading as seen_by
from custody.prosecution import answer, declare, link, request
from custody.protocol import Legal, Retention, Trail
from custody.reading import trail as trail_of
from custody.rebuild import NotRebuilt, check, merge, rebuilt
from custody.recheck import Outside, Verdict
from custody.recheck import check as check_all
from custody.trail import replay
from retention.holds import place_hold
from retention.keeping import extend
from tests.conftest import Database, Engines
from tests.custody import trails
from tests.custody.story import (
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    NURSE,
    NURSE_2,
    OFFICE,
    OFFICER,
    ZONE,
    PlainMasters,
    Story,
    begin,
    ref,
)
from tests.custody.trails import CASPER, LINK, NORA, TO_THE_STORE, trail
from tests.retention.kept import BELGIUM, adopt, destroyed, kept, kept_until_approved

Advance = Callable[[timedelta], None]

REPORTED: trails.Told = ("report.declared", NORA, {"how": "in_person"})
LINKED: trails.Told = ("kit.linked", CASPER, {"link": LINK})


# --- one order out of two trails, without a database -------------------------------------------


def types(events: Sequence[Event]) -> list[str]:
    return [event.type for event in events]


def test_what_was_recorded_earlier_comes_earlier_whichever_trail_it_stands_in() -> None:
    custody = trail([*TO_THE_STORE, LINKED])
    choices = trail([REPORTED], "choices", trails.BEGIN + timedelta(minutes=5, seconds=30))
    assert types(merge(custody, choices)) == [*types(custody)[:6], "report.declared", "kit.linked"]


def test_at_the_same_time_the_order_is_the_one_that_the_protocol_accepts() -> None:
    """A disposal writes first that it was carried out, then each package destroyed, all in one append."""
    three = {"with": [{"part": "approver", **NORA}, {"part": "observer", **trails.OSCAR}]}
    ending = ("package.destroyed", CASPER, {"packages": [{"package": 1}], **three})
    custody = trail([*TO_THE_STORE, ending])
    told: list[trails.Told] = [
        ("notice.due", {"function": "clock"}, {}),
        ("term.expired", {"function": "clock"}, {}),
        ("disposal.proposed", CASPER, {"packages": [{"package": 1}]}),
        ("disposal.approved", NORA, {}),
        ("disposal.carried_out", CASPER, {"packages": [{"package": 1}], **three}),
    ]
    choices = trail(told, "choices", trails.BEGIN + timedelta(minutes=2))
    assert choices[-1].recorded_at == custody[-1].recorded_at
    assert types(merge(custody, choices))[-2:] == ["disposal.carried_out", "package.destroyed"]
    assert rebuilt(custody, choices).retention is Retention.DISPOSED


def test_where_a_clock_was_set_back_the_protocol_still_gives_one_order() -> None:
    custody = trail([*TO_THE_STORE, LINKED])
    late = trail([REPORTED], "choices", custody[-1].recorded_at + timedelta(seconds=1))
    assert types(merge(custody, late))[-2:] == ["report.declared", "kit.linked"]
    assert rebuilt(custody, late).legal is Legal.LINKED


def test_the_order_found_is_always_the_same_and_replays() -> None:
    custody = trail([*TO_THE_STORE, LINKED])
    choices = trail([REPORTED], "choices")
    first = merge(custody, choices)
    assert first == merge(custody, choices)
    assert replay(first) == rebuilt(custody, choices)


def test_trails_that_no_order_reconciles_are_refused_with_the_event_where_they_end() -> None:
    with pytest.raises(NotRebuilt, match=r"custody:.* number 7 \(kit.linked\) cannot follow"):
        merge(trail([*TO_THE_STORE, LINKED]), [])
    with pytest.raises(NotRebuilt):
        rebuilt([], [])


def test_a_long_trail_that_ends_in_an_impossible_step_is_refused_without_trying_every_order() -> None:
    moves: list[trails.Told] = []
    for _ in range(100):
        moves.append(("package.taken", CASPER, {"packages": [{"package": 1}]}))
        moves.append(TO_THE_STORE[-1])
    visits: list[trails.Told] = [("victim.visited", {"function": "victim"}, {})] * 200
    custody, choices = trail([*TO_THE_STORE, *moves, LINKED]), trail(visits, "choices")
    with pytest.raises(NotRebuilt, match=r"kit\.linked"):
        merge(custody, choices)


# --- over a database ------------------------------------------------------------------------


@pytest.fixture
async def story(engines: Engines) -> Story:
    begun = await begin(engines.service, engines.clerk)
    await adopt(begun)
    return begun


async def to_justice(story: Story) -> str:
    """Handed over, stored, extended, held, reported, linked, offered to the police and partly released."""
    kit = await kept(story)
    due = (await story.look(NURSE)).at + timedelta(hours=4)
    two = (ref(kit, 1), ref(kit, 2))

    inside = Offer(packages=two, organisation=CENTRE, due_at=due)
    await story.do(NURSE, [kit], lambda seen: offer(seen, inside, NURSE, story.directory, "a" * 32))
    await story.do(CUSTODIAN, [kit], lambda seen: accept(seen, Accept(packages=two), CUSTODIAN))
    put = Store(packages=(ref(kit, 1),), place="freezer-1")
    await story.do(CUSTODIAN, [kit], lambda seen: store(seen, put, CUSTODIAN, story.directory))
    longer = ExtendTerm(kit=kit, how="in_person")
    await story.do(NURSE, [kit], lambda seen: extend(seen.kit(kit), longer, NURSE, BELGIUM, seen.at))
    hold = PlaceHold(kit=kit, ground="centre", reason="a question")
    await story.do(
        COORDINATOR, [kit], lambda s: place_hold(s.kit(kit), hold, COORDINATOR, "b" * 32, (), s.at)
    )
    told = DeclareReport(kit=kit, how="in_person")
    await story.do(NURSE, [kit], lambda seen: declare(seen.kit(kit), told, NURSE))
    await requested(story, kit)
    joined = Link(kit=kit, pv="PV-0", notice="N-0", office=OFFICE, zone=ZONE, request="e" * 32)
    await story.do(COORDINATOR, [kit], lambda seen: link(seen.kit(kit), joined, COORDINATOR, story.directory))
    away = Offer(packages=(ref(kit, 2),), organisation=ZONE, due_at=due)
    await story.do(CUSTODIAN, [kit], lambda seen: offer(seen, away, CUSTODIAN, story.directory, "c" * 32))
    took = Accept(packages=(ref(kit, 2),))
    await story.do(OFFICER, [kit], lambda seen: accept(seen, took, OFFICER))
    more = Offer(packages=(ref(kit, 3),), organisation=ZONE, due_at=due)
    await story.do(NURSE, [kit], lambda seen: offer(seen, more, NURSE, story.directory, "d" * 32))
    return kit


async def requested(story: Story, kit: str) -> None:
    """The police ask; two staff of the centre say that this kit is meant."""
    asked = Request(pv="PV-0", centre=CENTRE)
    others = (f"request:{'e' * 32}",)
    await story.do(
        OFFICER, [], lambda seen: request(asked, OFFICER, story.directory, "e" * 32), others=others
    )
    match = AnswerRequest(request="e" * 32, kit=kit, how="match")
    await story.do(NURSE, [kit], lambda seen: answer(match, seen.kit(kit), NURSE, NURSE_2), others=others)


async def to_its_end(story: Story, advance: Advance) -> str:
    """Notice, expiry, and the disposal by three people."""
    kit = await kept_until_approved(story, advance)
    await destroyed(story, kit)
    return kit


@pytest.mark.anyio
async def test_whole_stories_are_rebuilt_from_their_bytes_exactly(
    story: Story, engines: Engines, advance: Advance
) -> None:
    ended = await to_its_end(story, advance)
    linked = await to_justice(story)
    told: list[tuple[int, int]] = []

    assert await check(engines.clerk, lambda done, of: told.append((done, of))) == []

    assert told == [(2, 2)]
    assert (await story.kit(ended)).retention is Retention.DISPOSED
    assert (await story.kit(linked)).legal is Legal.RELEASED
    for kit in (ended, linked):
        async with seen_by(engines.service, COORDINATOR) as connection:
            custody = await trail_of(connection, kit, Trail.CUSTODY)
            choices = await trail_of(connection, kit, Trail.CHOICES)
        assert replay(merge(custody, choices)) == await story.kit(kit)


ALTERED = {
    "UPDATE custody.kit SET holds = 0": "kit.holds",
    "UPDATE custody.kit SET legal = 'linked'": "kit.legal",
    "UPDATE custody.kit SET parties = '{pz-morgenland}'": "kit.parties",
    "UPDATE custody.kit SET term_over_at = now()": "kit.term_over_at",
    "UPDATE custody.kit SET notice_on = 'infinity'": "kit.notice_on",
    "UPDATE custody.kit SET unanswered_requests = 3": "kit.unanswered_requests",
    "UPDATE custody.kit SET registered_at = registered_at - interval '1 day'": "kit.registered_at",
    "UPDATE custody.kit SET document = jsonb_set(document, '{packages,1,seal}', '\"S-6666\"')": (
        "kit.document.packages.1.seal"
    ),
    "UPDATE custody.kit SET document = document - 'link'": "kit.document.link",
    "UPDATE custody.package SET state = 'lost' WHERE package = 2": "package 2.state",
    "UPDATE custody.package SET holder_person = 'nobody' WHERE package = 1": "package 1.holder_person",
    "UPDATE custody.package SET due_at = due_at + interval '1 hour' WHERE package = 3": "package 3.due_at",
    "DELETE FROM custody.package WHERE package = 3": "package 3",
    "UPDATE custody.event SET recorded_at = recorded_at - interval '1 hour' WHERE type = 'kit.linked'": (
        "event.recorded_at of number 8"
    ),
    "UPDATE custody.organisation SET unanswered_requests = 2 WHERE id = 'zsg-sterrenberg'": (
        "organisation.unanswered_requests"
    ),
    "UPDATE custody.head SET number = number + 1 WHERE subject = 'place:safe-1'": "head",
}


GUARDED = (
    *("custody.event", "custody.kit", "custody.package", "custody.head", "custody.private_part"),
    *("audit.leaf", "audit.tile", "audit.checkpoint"),
)
HINDERING = (
    "event DROP CONSTRAINT event_digest",
    "private_part DROP CONSTRAINT private_part_event_fkey",
    "kit DROP CONSTRAINT kit_destroyed_only_when_disposed",
)


class Altered:
    """What only a superuser can do, with the guards switched off; rolled back afterwards."""

    def __init__(self, engines: Engines) -> None:
        self.superuser = engines.superuser

    @asynccontextmanager
    async def __call__(self, statement: str) -> AsyncIterator[AsyncConnection]:
        async with self.superuser.connect() as connection:
            await connection.exec_driver_sql("SET LOCAL custody.maintenance = 'on'")
            for table in GUARDED:
                await connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            for constraint in HINDERING:
                await connection.exec_driver_sql(f"ALTER TABLE custody.{constraint}")
            assert (await connection.exec_driver_sql(statement)).rowcount > 0, statement
            yield connection
            await connection.rollback()


@pytest.fixture
def altered(engines: Engines) -> Altered:
    return Altered(engines)


@pytest.mark.anyio
async def test_whatever_column_was_altered_is_named_and_nothing_else(
    story: Story, engines: Engines, altered: Altered
) -> None:
    kit = await to_justice(story)
    found = {}
    for statement in ALTERED:
        async with altered(statement) as connection:
            found[statement] = [difference.column for difference in await check(connection)]
    assert found == {statement: [column] for statement, column in ALTERED.items()}
    assert await check(engines.clerk) == []
    async with altered("UPDATE custody.kit SET holds = 7") as connection:
        (difference,) = await check(connection)
        assert str(difference) == f"{kit}: kit.holds: stored 7, the events say 1"


@pytest.mark.anyio
async def test_an_event_that_was_removed_or_rewritten_is_named(story: Story, altered: Altered) -> None:
    kit = await kept(story)
    async with altered("DELETE FROM custody.event WHERE type = 'package.sealed'") as connection:
        words = {d.column: str(d) for d in await check(connection)}
        assert words["head"] == f"custody:{kit}: head: number 3 stands there, the last event is number 2"
        assert words["package 1.state"] == f"{kit}: package 1.state: stored sealed, the events say packed"
        assert "kit.document.packages.1.seal" in words
    async with altered("DELETE FROM custody.event WHERE type = 'package.packed'") as connection:
        words = {d.column: str(d) for d in await check(connection)}
        assert "(package.sealed) cannot follow" in words["trail"]
        assert words["number"] == f"custody:{kit}: number: an event is missing"
    rewritten = (
        "UPDATE custody.event SET bytes = convert_to(replace(convert_from(bytes, 'UTF8'),"
        " 'S-0001', 'S-6666'), 'UTF8') WHERE type = 'package.sealed'"
    )
    async with altered(rewritten) as connection:
        columns = {d.column for d in await check(connection)}
        assert "event.digest of number 3" in columns
        assert "kit.document.packages.1.seal" in columns
    longer = "UPDATE custody.event SET bytes = bytes || ' ' WHERE type = 'term.agreed'"
    async with altered(longer) as connection:
        (difference, *_) = await check(connection)
        assert difference.column == "event.bytes"


# --- the logs --------------------------------------------------------------------------------


@dataclass
class Log:
    """A log of events that was integrated and signed three times."""

    keys: Sequence[VerifierKey]
    note: bytes


@pytest.fixture
async def signed(story: Story, engines: Engines, tmp_path: Path) -> Log:
    path = tmp_path / "events.key"
    keys = create_keys(path, trails.ORIGIN)
    with open_box(path) as box:
        await sign.initialise(engines.clerk, "events", box)
        signer = Signer("events", box)
        await signer.check(engines.clerk)
        for _ in range(3):
            await kept(story)
            async with engines.clerk.begin() as transaction:
                await log.integrate(transaction, "events")
            await signer.sign(engines.clerk)
        note = box.last_note()
    assert note is not None
    return Log(keys, note)


async def first_wrong(connection: AsyncConnection | AsyncEngine, signed: Log | None = None) -> str | None:
    """What a check of everything names first, with the keys and the note at hand."""
    keys = {"events": signed.keys} if signed else {}
    notes = {"events": signed.note} if signed else {}
    told = await check_all(connection, Outside(keys=keys, notes=notes, masters=PlainMasters()))
    return told.wrong


@pytest.mark.anyio
async def test_a_log_that_nobody_touched_follows_from_its_events(
    story: Story, signed: Log, engines: Engines
) -> None:
    told: list[tuple[str, int, int]] = []
    await kept(story)  # recorded, and still waiting for its leaves
    outside = Outside(keys={"events": signed.keys}, notes={"events": signed.note}, masters=PlainMasters())
    found = await check_all(engines.clerk, outside, told=lambda *at: told.append(at))
    assert found == Verdict(
        wrong=None,
        remarks=(
            "No public key of the log reads is at hand: its signatures are not checked.",
            "No last signed note of the log reads is at hand: a database taken back would not show.",
        ),
    )
    stages = {stage: (done, of) for stage, done, of in told}
    assert list(stages) == ["leaves of the log events", "heads and registers", "kits"]
    assert all(done == of for done, of in stages.values())
    assert stages["leaves of the log events"][0] > 30


@pytest.mark.anyio
async def test_what_is_not_at_hand_is_said_and_not_passed_over(story: Story, engines: Engines) -> None:
    await kept(story)
    found = await check_all(engines.clerk, Outside())
    assert found.wrong is None
    assert len(found.remarks) == 5
    assert f"2 private parts of {CENTRE} were not opened: its master key is not at hand." in found.remarks


TOUCHED = {
    "UPDATE custody.event SET bytes = bytes || ' ' WHERE type = 'kit.registered'": (
        "its bytes are not those of its digest"
    ),
    "DELETE FROM audit.leaf WHERE index = (SELECT max(index) FROM audit.leaf)": "it was taken back",
    "DELETE FROM custody.event WHERE type = 'term.agreed'": "is the digest of nothing that is recorded",
    "UPDATE audit.tile SET hashes = overlay(hashes placing '\\x00' from 40) WHERE level = 0": "Tile 0/0",
    "DELETE FROM audit.tile": "Tile 0/0",
    "UPDATE audit.leaf SET index = index + 1000 WHERE index >= 5": "Leaf 5 of the log events is missing",
    "UPDATE audit.leaf SET index = CASE index WHEN 3 THEN 1004 ELSE 1003 END WHERE index IN (3, 4)": "Leaf 3",
    "UPDATE audit.checkpoint SET size = size + 1 WHERE size = (SELECT max(size) FROM audit.checkpoint)": (
        "it was taken back"
    ),
    "UPDATE audit.checkpoint SET note = replace(note, '=', '') WHERE size > 0 AND size <"
    " (SELECT max(size) FROM audit.checkpoint)": "is not to be trusted",
    "INSERT INTO audit.tile VALUES ('events', 3, 0, sha256(''))": "tiles, its",
}


@pytest.mark.anyio
async def test_whatever_was_touched_in_a_log_the_first_thing_wrong_is_named(
    story: Story, signed: Log, altered: Altered
) -> None:
    found = {}
    for statement, words in TOUCHED.items():
        async with altered(statement) as connection:
            told = await first_wrong(connection, signed)
            found[statement] = words if told and words in told else told
    assert found == TOUCHED


@pytest.mark.anyio
async def test_a_log_taken_back_is_found_by_the_note_beside_the_key(
    story: Story, signed: Log, altered: Altered
) -> None:
    """Events, leaves, tiles and checkpoints of an earlier time agree with each other; the note remembers."""
    size = "(SELECT min(size) FROM audit.checkpoint WHERE size > 0)"
    back = (
        f"WITH gone AS (DELETE FROM audit.leaf WHERE index >= {size} RETURNING digest), parts AS"
        " (DELETE FROM custody.private_part WHERE event IN (SELECT digest FROM gone)), later AS"
        f" (DELETE FROM audit.checkpoint WHERE size > {size}) DELETE FROM custody.event"
        " WHERE digest IN (SELECT digest FROM gone)"
    )
    async with altered(back) as connection:
        told = await first_wrong(connection, signed)
        assert told is not None
        assert "it was taken back" in told


@pytest.mark.anyio
async def test_signatures_of_another_key_are_not_taken(story: Story, signed: Log, engines: Engines) -> None:
    other = Log([SigningKey(trails.ORIGIN, bytes(32)).verifier], signed.note)
    told = await first_wrong(engines.clerk, other)
    assert told is not None
    assert "is not to be trusted" in told
    assert await first_wrong(engines.clerk) is None


# --- the commands ----------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_commands_say_what_differs_and_end_badly_then(
    story: Story, engines: Engines, database: Database, tmp_path: Path
) -> None:
    kit = await kept(story)

    def custody(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CUSTODY_")}
        environment |= {
            "CUSTODY_DATA": str(tmp_path),
            "CUSTODY_DATABASE_URL": database.url("service").replace("+psycopg", ""),
            "CUSTODY_CLERK_DATABASE_URL": database.url("clerk").replace("+psycopg", ""),
        }
        return subprocess.run(
            [sys.executable, "-m", "desk.cli", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    well = custody("rebuild", "--check")
    assert (well.returncode, well.stdout) == (0, "The projection equals what the trails say.\n"), well.stderr
    assert custody("log", "check").returncode == 0
    with database.connect("superuser") as connection:
        connection.execute("UPDATE custody.kit SET holds = 9")
        connection.execute("DELETE FROM audit.pending")
    badly = custody("rebuild", "--check")
    assert badly.returncode == 1
    assert badly.stdout == f"{kit}: kit.holds: stored 9, the events say 0\n1 differences.\n"
    lost = custody("log", "check")
    assert lost.returncode == 1
    assert "is not in the log events" in lost.stdout
