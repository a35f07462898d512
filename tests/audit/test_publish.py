"""What leaves the house: slots, padding, and one whole publication after a crash anywhere."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, event, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from audit import log, outgoing, publish, sign, tables
from audit.key import SigningKey
from audit.keybox import Keybox, create_keys, open_box
from audit.note import Note
from audit.publish import NotPublished, Publication, padded_size, padding_digest, slot_of
from audit.sign import Signer
from tests.audit.whole_log import checkpoints, digests, grow, leaves, queue
from tests.conftest import Database, Engines

ORIGIN = "custody.example/log"
SLOT = datetime(2021, 3, 4, tzinfo=UTC)  # one that has come


class PowerCut(Exception):
    """What a test raises where the machine is imagined to fail."""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Keybox]:
    create_keys(tmp_path / "events.key", ORIGIN)
    with open_box(tmp_path / "events.key") as opened:
        yield opened


@pytest.fixture
async def signer(engines: Engines, box: Keybox) -> Signer:
    await sign.initialise(engines.clerk, "events", box)
    return await checked(engines.clerk, box)


async def checked(engine: AsyncEngine, box: Keybox) -> Signer:
    made = Signer("events", box)
    await made.check(engine)
    return made


async def publications(engine: AsyncEngine) -> list[tuple[datetime, int]]:
    c = tables.publication.c
    async with engine.connect() as connection:
        rows = await connection.execute(select(c.slot, c.size).where(c.log == "events").order_by(c.size))
        return [(slot, size) for slot, size in rows]


# --- slots and sizes --------------------------------------------------------------------------------------


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 (the zone comes beside it)
    st.integers(-14 * 60, 14 * 60),
    st.integers(1, 1440),
)
def test_a_slot_holds_its_moment_and_begins_a_whole_number_of_slots_after_midnight_utc(
    moment: datetime, zone: int, minutes: int
) -> None:
    now = moment.replace(tzinfo=timezone(timedelta(minutes=zone)))
    slot = slot_of(now, minutes)
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    assert (slot - midnight) % timedelta(minutes=minutes) == timedelta()
    assert midnight <= slot <= now < min(slot + timedelta(minutes=minutes), midnight + timedelta(days=1))
    assert slot_of(slot, minutes) == slot


def test_a_daily_slot_begins_at_midnight_utc_wherever_people_are() -> None:
    brussels = timezone(timedelta(hours=2))
    assert slot_of(datetime(2031, 7, 1, 1, 30, tzinfo=brussels), 1440) == datetime(2031, 6, 30, tzinfo=UTC)
    assert slot_of(datetime(2031, 7, 1, 2, 0, tzinfo=brussels), 1440) == datetime(2031, 7, 1, tzinfo=UTC)


@given(st.integers(0, 10**6), st.integers(0, 3000))
def test_a_log_leaves_the_house_by_whole_tiles_at_least_one_and_no_more_than_it_must(
    tiles: int, added: int
) -> None:
    published = tiles * 256
    size = padded_size(published + added, published)
    assert size % 256 == 0
    assert size >= published + added
    assert size == published + max(1, -(-added // 256)) * 256


@pytest.mark.parametrize("added", [0, 1, 17, 255, 256])
def test_a_quiet_day_looks_like_a_busy_one(added: int) -> None:
    assert padded_size(512 + added, 512) == 768


def test_a_padding_leaf_is_what_its_salt_makes_and_nothing_else() -> None:
    assert padding_digest(bytes(32)) == sha256(b"custody.padding/v1\n" + bytes(32)).digest()
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(ValueError, match="32 bytes"):
            padding_digest(wrong)


# --- publishing -------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_what_is_published_is_a_signed_checkpoint_of_whole_tiles(
    engines: Engines, signer: Signer
) -> None:
    await queue(engines.superuser, digests(0, 300))
    done = await publish.publish(engines.clerk, signer, SLOT)
    assert done is not None
    assert (done.slot, done.size) == (SLOT, 512)
    known = await leaves(engines.auditor)
    assert sorted(known[:300]) == sorted(digests(0, 300))
    assert await checkpoints(engines.auditor, signer.box.verifiers) == [0, 512]
    async with engines.service.connect() as connection:
        assert await log.published_size(connection, "events") == 512
        assert await publish.last_publication(connection, "events") == done


@pytest.mark.anyio
async def test_every_leaf_beyond_the_events_is_made_of_a_stored_salt(
    engines: Engines, signer: Signer
) -> None:
    await queue(engines.superuser, digests(0, 3))
    await publish.publish(engines.clerk, signer, SLOT)
    known = await leaves(engines.auditor)
    async with engines.auditor.connect() as connection:
        rows = await connection.execute(select(tables.padding.c.index, tables.padding.c.salt))
        salts = {index: bytes(salt) for index, salt in rows}
    assert set(salts) == set(range(3, 256))
    assert all(known[index] == padding_digest(salt) for index, salt in salts.items())
    assert len(set(salts.values())) == len(salts)


@pytest.mark.anyio
@pytest.mark.parametrize("busy", [0, 1, 255, 256])
async def test_the_public_log_grows_by_the_same_whatever_happened_in_between(
    engines: Engines, signer: Signer, busy: int
) -> None:
    await publish.publish(engines.clerk, signer, SLOT)
    await grow(engines.superuser, engines.clerk, digests(0, busy))
    await signer.sign(engines.clerk)
    await publish.publish(engines.clerk, signer, SLOT + timedelta(days=1))
    assert await publications(engines.auditor) == [(SLOT, 256), (SLOT + timedelta(days=1), 512)]


@pytest.mark.anyio
async def test_a_slot_is_published_once_and_an_earlier_one_never_afterwards(
    engines: Engines, signer: Signer
) -> None:
    assert await publish.publish(engines.clerk, signer, SLOT) is not None
    size = len(await leaves(engines.auditor))
    for slot in (SLOT, SLOT - timedelta(days=1)):
        assert await publish.publish(engines.clerk, signer, slot) is None
    assert len(await leaves(engines.auditor)) == size
    assert await publications(engines.auditor) == [(SLOT, 256)]


@pytest.mark.anyio
async def test_a_clock_that_once_was_years_ahead_does_not_silence_the_log(
    engines: Engines, signer: Signer
) -> None:
    ahead = datetime(9999, 12, 31, tzinfo=UTC)
    await publish.publish(engines.clerk, signer, ahead)
    async with engines.service.connect() as connection:
        assert await publish.misdated(connection, "events") == ahead
        assert await publish.misdated(connection, "reads") is None
    for slot, published in ((SLOT, True), (SLOT, False), (SLOT + timedelta(days=1), True), (SLOT, False)):
        assert (await publish.publish(engines.clerk, signer, slot) is not None) is published
    assert await publications(engines.auditor) == [(ahead, 256), (SLOT, 512), (SLOT + timedelta(days=1), 768)]


@pytest.mark.anyio
async def test_a_slot_that_had_not_come_when_it_was_published_is_named_by_the_check(
    engines: Engines, signer: Signer
) -> None:
    await publish.publish(engines.clerk, signer, SLOT)
    async with engines.clerk.connect() as connection:
        assert (await outgoing.check(connection, "events")).wrong is None
    await publish.publish(engines.clerk, signer, datetime.now(UTC) + timedelta(hours=2))
    async with engines.clerk.connect() as connection:
        wrong = (await outgoing.check(connection, "events")).wrong
    assert wrong is not None
    assert wrong.startswith("The publication of 512 leaves of the log events is for the slot")
    assert "had not come when it was made" in wrong


@pytest.mark.anyio
async def test_slots_that_were_missed_are_not_made_up_for(engines: Engines, signer: Signer) -> None:
    for days in (0, 5):
        await publish.publish(engines.clerk, signer, SLOT + timedelta(days=days))
    assert await publications(engines.auditor) == [(SLOT, 256), (SLOT + timedelta(days=5), 512)]


@pytest.mark.anyio
async def test_when_somebody_else_integrates_meanwhile_nothing_unpadded_is_published(
    engines: Engines, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = signer.sign

    class Late(Signer):
        async def sign(self, engine: AsyncEngine) -> Any:
            await grow(engines.superuser, engines.clerk, digests(0, 1))
            return await whole(engine)

    with pytest.raises(NotPublished, match="another process"):
        await publish.publish(engines.clerk, Late("events", signer.box), SLOT)
    assert await publications(engines.auditor) == []
    await publish.publish(engines.clerk, signer, SLOT)
    assert await publications(engines.auditor) == [(SLOT, 512)]


# --- a crash between any two steps ------------------------------------------------------------------------


def cut_power(engine: Engine, after: int, *, persisted: bool) -> Callable[[], int]:
    """Fail at the `after`-th step: a statement that was made, or a commit that was lost or came through and
    is reported lost. Answers how many steps there were."""
    steps = 0

    def step() -> bool:
        nonlocal steps
        steps += 1
        return steps == after

    def statement(_: Connection, *rest: Any) -> None:
        if step():
            raise PowerCut

    def commit(connection: Connection) -> None:
        if step():
            if persisted:
                connection.connection.dbapi_connection.commit()  # type: ignore[union-attr]
            raise PowerCut

    event.listen(engine, "after_cursor_execute", statement)
    event.listen(engine, "commit", commit)
    return lambda: steps


async def until_the_power_fails(
    database: Database, box: Keybox, after: int, *, persisted: bool
) -> Publication | int | None:
    """Check and publish on an engine that fails at this step; how many steps there are if it never did."""
    crashing = create_async_engine(database.url("clerk"))
    try:
        signer = await checked(crashing, box)
        steps = cut_power(crashing.sync_engine, after, persisted=persisted)
        await publish.publish(crashing, signer, SLOT)
        return steps()
    except PowerCut:
        return None
    finally:
        await crashing.dispose()


@pytest.mark.anyio
@pytest.mark.parametrize("persisted", [False, True], ids=["lost", "persisted but reported lost"])
@pytest.mark.parametrize("busy", [False, True], ids=["quiet", "with events in between"])
async def test_after_a_crash_at_any_step_a_repeated_call_publishes_once_and_whole(
    engines: Engines, database: Database, signer: Signer, persisted: bool, busy: bool
) -> None:
    box, after, crashes = signer.box, 0, 0
    await queue(engines.superuser, digests(0, 3))
    while True:
        after += 1
        steps = await until_the_power_fails(database, box, after, persisted=persisted)
        if steps is not None:
            break
        crashes += 1
        if busy:
            await grow(engines.superuser, engines.clerk, digests(10 * after, 10 * after + 2))
            await (await checked(engines.clerk, box)).sign(engines.clerk)
    assert crashes >= 5
    ((slot, size),) = await publications(engines.auditor)
    assert (slot, size % 256) == (SLOT, 0)
    signed = await checkpoints(engines.auditor, box.verifiers)
    assert size in signed
    if not busy:
        assert size == 256, "what was padded once is not padded again"
        assert signed == [0, 256]


@pytest.mark.anyio
async def test_a_crash_between_writing_the_note_and_its_row_is_finished_by_the_next_call(
    engines: Engines, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = Keybox.keep

    def kept_and_cut(box: Keybox, note: bytes) -> None:
        keep(box, note)
        raise PowerCut

    with monkeypatch.context() as failing:
        failing.setattr(Keybox, "keep", kept_and_cut)
        with pytest.raises(PowerCut):
            await publish.publish(engines.clerk, signer, SLOT)
    assert await publications(engines.auditor) == []
    await publish.publish(engines.clerk, await checked(engines.clerk, signer.box), SLOT)
    assert await publications(engines.auditor) == [(SLOT, 256)]
    assert await checkpoints(engines.auditor, signer.box.verifiers) == [0, 256]


# --- which checkpoint a proof is under --------------------------------------------------------------------


WITNESSES = [
    SigningKey(f"witness-{name}.example", bytes([number]) * 32, 0x04) for number, name in enumerate("abc")
]


async def cosign(engine: AsyncEngine, size: int, *keys: SigningKey) -> None:
    """Store cosignatures as the clerk does."""
    async with engine.begin() as connection:
        note = await log.note_of(connection, "events", size)
        assert note is not None
        for key in keys:
            verifier = key.verifier
            line = verifier.line(key.sign(verifier.message(note.text, 1_900_000_000)), 1_900_000_000)
            row = {
                "log": "events",
                "size": size,
                "name": key.name,
                "key_id": line.key_id,
                "line": line.line(),
            }
            await connection.execute(tables.cosignature.insert().values(row))


async def proved(engines: Engines, *wanted: bytes) -> tuple[int, set[str]]:
    """The size of the checkpoint that these digests are proved under, and whose signatures it has."""
    async with engines.service.connect() as connection:
        proofs = await log.prove(connection, "events", wanted)
    for digest in wanted:
        proofs[digest].check(digest)
    (note,) = {proof.note for proof in proofs.values()}
    return proofs[wanted[0]].checkpoint().size, {each.name for each in note.signatures}


@pytest.mark.anyio
async def test_a_proof_is_under_the_published_checkpoint_that_witnesses_have_cosigned(
    engines: Engines, signer: Signer
) -> None:
    old, new = digests(0, 2), digests(2, 4)
    await queue(engines.superuser, old)
    await publish.publish(engines.clerk, signer, SLOT)
    await grow(engines.superuser, engines.clerk, new)
    await signer.sign(engines.clerk)
    assert await proved(engines, *old) == (258, {ORIGIN})

    await cosign(engines.clerk, 256, *WITNESSES[:2])
    assert await proved(engines, *old) == (256, {ORIGIN, "witness-a.example", "witness-b.example"})
    assert await proved(engines, *new) == (258, {ORIGIN})
    assert await proved(engines, old[0], new[0]) == (258, {ORIGIN}), (
        "all of one call are under one checkpoint"
    )


@pytest.mark.anyio
async def test_a_witness_that_is_late_does_not_make_proofs_weaker_than_the_day_before(
    engines: Engines, signer: Signer
) -> None:
    await queue(engines.superuser, digests(0, 2))
    for day in range(3):
        await publish.publish(engines.clerk, signer, SLOT + timedelta(days=day))
    await cosign(engines.clerk, 256, WITNESSES[0])
    await cosign(engines.clerk, 512, *WITNESSES)
    await cosign(engines.clerk, 768, WITNESSES[0])
    assert (await proved(engines, digests(0, 1)[0]))[0] == 512
    await cosign(engines.clerk, 768, *WITNESSES[1:])
    assert (await proved(engines, digests(0, 1)[0]))[0] == 768


@pytest.mark.anyio
async def test_a_digest_that_is_in_no_log_is_not_proved_and_does_not_hide_the_others(
    engines: Engines, signer: Signer
) -> None:
    await queue(engines.superuser, digests(0, 1))
    await publish.publish(engines.clerk, signer, SLOT)
    await cosign(engines.clerk, 256, WITNESSES[0])
    async with engines.service.connect() as connection:
        proofs = await log.prove(connection, "events", [*digests(0, 1), bytes(32)])
    assert list(proofs) == digests(0, 1)


@pytest.mark.anyio
async def test_when_it_first_left_the_house_after_a_moment_is_told(engines: Engines, signer: Signer) -> None:
    first = await publish.publish(engines.clerk, signer, SLOT)
    second = await publish.publish(engines.clerk, signer, SLOT + timedelta(days=1))
    assert first is not None
    assert second is not None
    async with engines.service.connect() as connection:
        assert await publish.first_published(connection, "events", None) == first.published_at
        assert await publish.first_published(connection, "events", first.published_at) == second.published_at
        assert await publish.first_published(connection, "events", second.published_at) is None
        assert await publish.first_published(connection, "reads", None) is None
        note = await log.checkpoint_note(connection, "events", "published")
        assert note is not None
        assert Note.read(note.written()) == note
        assert await publish.last_stamp(connection, "events") is None
