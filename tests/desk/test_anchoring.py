"""What follows a publication: others are asked until they answer, and never hold up the log."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from sqlalchemy import select

from audit import publish, sign, tables
from audit.keybox import create_keys, open_box
from audit.policy import Policy
from audit.sign import Signer
from desk import anchoring
from desk.anchoring import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    Anchoring,
    Errand,
    overdue,
    unpublished_since,
    unseen,
    unwitnessed_since,
)
from desk.settings import CannotStart
from tests.audit import an_authority
from tests.audit.a_witness import AWitness, LogKey, running
from tests.audit.an_authority import Reply, found, serve
from tests.conftest import Engines

pytestmark = pytest.mark.anyio

ORIGIN = "custody.example/log"
SLOT = datetime(2031, 3, 4, tzinfo=UTC)
NOW = datetime(2031, 3, 4, 5, 6, tzinfo=UTC)

openssl = an_authority.openssl


@pytest.fixture
async def signer(engines: Engines, tmp_path: Path) -> AsyncIterator[Signer]:
    create_keys(tmp_path / "keys" / "events.key", ORIGIN)
    with open_box(tmp_path / "keys" / "events.key") as box:
        await sign.initialise(engines.clerk, "events", box)
        made = Signer("events", box)
        await made.check(engines.clerk)
        yield made


@pytest.fixture
def witness(signer: Signer, tmp_path: Path) -> AWitness:
    """A witness that knows the log and does not run yet."""
    known = [LogKey.read(key.written()) for key in signer.box.verifiers]
    return AWitness("witness.example", tmp_path / "witness.json", known)


@pytest.fixture
def out() -> Iterator[ExitStack]:
    """What runs until the test has ended."""
    with ExitStack() as stack:
        yield stack


def policy(*witnesses: AWitness, url: str | None = None) -> Policy:
    """All of the witnesses are wanted."""
    lines = [f"witness w{n} {one.vkey()} {url or one.url}" for n, one in enumerate(witnesses)]
    names = " ".join(f"w{n}" for n in range(len(witnesses)))
    return Policy.read("\n".join([*lines, f"group all all {names}", "quorum all", ""]).encode())


def anchor(engines: Engines, **given: object) -> tuple[Anchoring, list[str]]:
    said: list[str] = []
    wanted = {"policy": None, "stamp_url": None, "stamp_roots": None, "alarm_hours": 48} | given
    return Anchoring(engine=engines.clerk, say=said.append, **wanted), said  # type: ignore[arg-type]


async def cosigned(engines: Engines) -> list[int]:
    async with engines.auditor.connect() as connection:
        return list(await connection.scalars(select(tables.cosignature.c.size).order_by("size")))


async def until(what: Callable[[], object]) -> None:
    with anyio.fail_after(60):
        while not what():  # noqa: ASYNC110 (what is waited for is on another machine)
            await anyio.sleep(0.01)


async def test_before_the_first_publication_there_is_nothing_to_ask(
    engines: Engines, signer: Signer, witness: AWitness
) -> None:
    made, said = anchor(engines, policy=policy(witness, url="http://127.0.0.1:1/w"), stamp_url="http://127.0.0.1:1",
                        stamp_roots=b"")  # fmt: skip
    assert await made.witnessed("events")
    assert await made.stamped("events")
    assert said == []


async def test_a_witness_that_is_away_is_told_and_asked_again(
    engines: Engines, signer: Signer, witness: AWitness, out: ExitStack
) -> None:
    await publish.publish(engines.clerk, signer, SLOT)
    made, said = anchor(engines, policy=policy(witness, url="http://127.0.0.1:1/w"))
    assert not await made.witnessed("events")
    assert len(said) == 1
    assert "w0" in said[0]
    assert "events" in said[0]
    out.enter_context(running(witness))
    made.policy = policy(witness)
    assert await made.witnessed("events")
    assert await cosigned(engines) == [256]


async def test_an_outage_is_waited_out_and_ends_by_itself(
    engines: Engines, signer: Signer, witness: AWitness, out: ExitStack
) -> None:
    await publish.publish(engines.clerk, signer, SLOT)
    known, witness.logs = witness.logs, []
    out.enter_context(running(witness))
    made, said = anchor(engines, policy=policy(witness), first_pause=0.001)
    made.start(["events"])
    try:
        await until(lambda: len(said) >= 3)
        witness.logs = known
        await until(lambda: any(status == 200 for *_, status in witness.asked))
    finally:
        await made.stop()
    assert [status for *_, status in witness.asked][:3] == [404, 404, 404]


async def test_the_next_publication_is_taken_out_at_once(
    engines: Engines, signer: Signer, witness: AWitness, out: ExitStack
) -> None:
    out.enter_context(running(witness))
    made, _ = anchor(engines, policy=policy(witness), first_pause=3600.0)
    await publish.publish(engines.clerk, signer, SLOT)
    made.start(["events", "reads"])
    try:
        await until(lambda: len(witness.asked) == 1)
        await publish.publish(engines.clerk, signer, SLOT + timedelta(days=1))
        made.tell("events")
        made.tell("reads")
        await until(lambda: len(witness.asked) == 2)
    finally:
        await made.stop()
    assert witness.asked == [(0, 256, 200), (256, 512, 200)]


async def test_an_errand_that_fails_in_an_unknown_way_ends_nothing(engines: Engines) -> None:
    made, said = anchor(engines, first_pause=0.001)
    asked = 0

    async def attempt() -> bool:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise RuntimeError("a fault that nobody thought of")
        return True

    task = asyncio.create_task(made._keep("events", Errand(attempt)))
    await until(lambda: asked == 3)
    task.cancel()
    assert len(said) == 2
    assert "RuntimeError" in said[0]


def test_it_is_asked_again_after_a_minute_and_at_least_every_hour() -> None:
    assert (FIRST_PAUSE, LONGEST_PAUSE) == (60.0, 3600.0)


# --- the alarm --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missed", "hours", "alarm"),
    [
        (None, 48, False),
        (timedelta(hours=47, minutes=59), 48, False),
        (timedelta(hours=48), 48, True),
        (timedelta(minutes=59), 1, False),
    ],
)
def test_the_alarm_comes_when_the_quorum_was_missed_for_the_set_time(
    missed: timedelta | None, hours: int, alarm: bool
) -> None:
    assert overdue(None if missed is None else NOW - missed, NOW, hours) is alarm


async def publish_at(engines: Engines, signer: Signer, moment: datetime) -> None:
    """A publication as it would have been made at that moment."""
    async with engines.clerk.begin() as connection:
        size = await publish.pad(connection, "events")
    await signer.sign(engines.clerk)
    async with engines.clerk.begin() as connection:
        row = {"log": "events", "slot": moment, "size": size, "published_at": moment}
        await connection.execute(tables.publication.insert().values(row))


async def test_a_quorum_is_missed_from_the_first_publication_that_did_not_reach_it(
    engines: Engines, signer: Signer, witness: AWitness, out: ExitStack
) -> None:
    now = datetime.now(UTC)
    await publish_at(engines, signer, now - timedelta(days=5))
    out.enter_context(running(witness))
    wanted = policy(witness)
    made, said = anchor(engines, policy=wanted)
    assert await made.witnessed("events")
    assert said == []

    witness.logs = []
    await publish_at(engines, signer, now + timedelta(seconds=30))
    later = now + timedelta(seconds=90)
    await publish_at(engines, signer, later)
    async with engines.service.connect() as connection:
        since = await unwitnessed_since(connection, "events", wanted)
    assert since == now + timedelta(seconds=30), "counted from the first publication that missed it"


async def test_a_quorum_that_was_never_reached_is_counted_from_the_first_publication(
    engines: Engines, signer: Signer, witness: AWitness
) -> None:
    first = datetime.now(UTC) - timedelta(days=3)
    away = policy(witness, url="http://127.0.0.1:1/w")
    await publish_at(engines, signer, first)
    await publish_at(engines, signer, first + timedelta(days=1))
    made, said = anchor(engines, policy=away)
    assert not await made.witnessed("events")
    assert said[-1].startswith("ALARM: no quorum of witnesses has cosigned the log events since")
    assert f"{first:%Y-%m-%d %H:%M}" in said[-1]
    patient, said = anchor(engines, policy=away, alarm_hours=9999)
    assert not await patient.witnessed("events")
    assert not any("ALARM" in line for line in said)


async def test_the_alarm_is_reached_however_asking_fails(
    engines: Engines, signer: Signer, witness: AWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish_at(engines, signer, datetime.now(UTC) - timedelta(days=3))
    made, said = anchor(engines, policy=policy(witness, url="http://127.0.0.1:1/w"))

    async def broken(*given: object) -> None:
        raise OverflowError("a fault that nobody thought of")

    monkeypatch.setattr("audit.witness._published", broken)
    with pytest.raises(OverflowError):
        await made.witnessed("events")
    assert said[-1].startswith("ALARM: no quorum of witnesses has cosigned the log events since")
    assert "Asking them failed (OverflowError)" in said[-1]


async def test_a_log_that_has_not_left_the_house_for_two_slots_is_told(
    engines: Engines, signer: Signer
) -> None:
    now = datetime.now(UTC)
    async with engines.service.connect() as connection:
        assert await unseen(connection, "events", 60) == [], "before the first publication"
    last = now - timedelta(hours=3)
    await publish_at(engines, signer, last)
    async with engines.service.connect() as connection:
        assert await unpublished_since(connection, "events", now, 60) == last
        assert await unpublished_since(connection, "events", now, 90) is None, "two slots, not more"
        (told,) = await unseen(connection, "events", 60)
        assert await unseen(connection, "events", 1440) == []
    assert told.startswith("ALARM: the log events has not left the house since")


async def test_a_slot_that_had_not_come_is_told(engines: Engines, signer: Signer) -> None:
    await publish.publish(engines.clerk, signer, datetime(9999, 12, 31, tzinfo=UTC))
    async with engines.service.connect() as connection:
        (told,) = await unseen(connection, "events", 60)
    assert told.startswith("ALARM: a publication of the log events is for 9999-12-31 00:00 UTC")


async def test_a_policy_that_wants_no_witness_never_alarms(engines: Engines, signer: Signer) -> None:
    await publish_at(engines, signer, datetime.now(UTC) - timedelta(days=30))
    made, said = anchor(engines, policy=Policy.read(b"quorum none\n"))
    assert await made.witnessed("events")
    assert said == []


def test_a_policy_that_cannot_be_read_stops_the_clerk_with_one_sentence(tmp_path: Path) -> None:
    assert anchoring.read_policy(None) is None
    (tmp_path / "policy").write_text("quorum nobody\n")
    with pytest.raises(CannotStart, match="policy of the witnesses"):
        anchoring.read_policy(tmp_path / "policy")
    with pytest.raises(CannotStart, match="policy of the witnesses"):
        anchoring.read_policy(tmp_path / "none")


# --- time stamps ------------------------------------------------------------------------------------------


async def test_a_publication_is_stamped_once_the_authority_answers(
    engines: Engines, signer: Signer, tmp_path: Path, out: ExitStack, openssl: str
) -> None:
    authority = found(tmp_path / "authority")
    working = False
    url = out.enter_context(serve(lambda query: authority.answer(query) if working else Reply(status=503)))
    made, said = anchor(engines, stamp_url=url, stamp_roots=authority.roots)
    await publish.publish(engines.clerk, signer, SLOT)
    assert not await made.stamped("events")
    assert "503" in said[0]
    working = True
    assert await made.stamped("events")
    assert await made.stamped("events"), "what is stamped is not asked for again"
    assert len(said) == 1
    async with engines.service.connect() as connection:
        last = await publish.last_stamp(connection, "events")
    assert last is not None
    assert last[0] == 256
