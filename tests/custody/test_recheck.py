"""A check that was interrupted goes on where it was, and says what it did not look at a second time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from audit import log, recheck, sign
from audit.keybox import create_keys, open_box
from audit.sign import Signer
from custody import rebuild
from custody.recheck import Outside, Position, Verdict, check
from desk import upkeep
from desk.keys import publish_keys
from desk.settings import Settings, read
from tests.conftest import Database, Engines
from tests.custody.story import PlainMasters, Story, begin, new_number
from tests.retention.kept import adopt, kept

ORIGIN = "custody.example/fictional"
HASH = st.binary(min_size=32, max_size=32)


@st.composite
def positions(draw: st.DrawFn) -> Position:
    sizes = draw(st.dictionaries(st.sampled_from(("events", "reads")), st.integers(0, 2**40)))
    leaves = {
        name: (size, tuple(draw(st.lists(HASH, min_size=size.bit_count(), max_size=size.bit_count()))))
        for name, size in sizes.items()
    }
    return Position(
        began=draw(st.datetimes(timezones=st.just(UTC))),
        leaves=leaves,
        signed={name: (size, draw(HASH)) for name, size in sizes.items()},
        kits=draw(st.sampled_from(("", "7K3M9QX2T4VW"))),
        known=draw(st.integers(0, 2**40)),
    )


@given(positions())
def test_a_position_is_read_as_it_was_written(position: Position) -> None:
    assert Position.read(position.written()) == position


@given(positions(), st.data())
def test_a_position_that_was_changed_or_cut_is_never_misread(position: Position, data: st.DataObject) -> None:
    written = position.written()
    cut = written[: data.draw(st.integers(0, len(written) - 1))]
    for wrong in (cut, written + "\n", written.replace(", ", ",", 1), "[]", "{}", "null", "1"):
        with pytest.raises(ValueError):  # noqa: PT011  # whatever json says
            Position.read(wrong)


# --- over a database ------------------------------------------------------------------------------


class Interrupted(Exception):
    """Somebody pressed Ctrl-C."""


class Kept:
    """Some kits, a log signed after each, and a check that can be interrupted."""

    def __init__(self, engines: Engines, story: Story, folder: Path) -> None:
        self.engines, self.story, self.path = engines, story, folder / "events.key"
        self.keys = create_keys(self.path, ORIGIN)
        self.position: Position | None = None

    async def more(self, kits: int) -> None:
        with open_box(self.path) as box:
            await sign.initialise(self.engines.clerk, "events", box)
            signer = Signer("events", box)
            await signer.check(self.engines.clerk)
            for _ in range(kits):
                await kept(self.story)
                async with self.engines.clerk.begin() as transaction:
                    await log.integrate(transaction, "events")
                await signer.sign(self.engines.clerk)

    @property
    def outside(self) -> Outside:
        with open_box(self.path) as box:
            note = box.last_note()
        assert note is not None
        reads = {"reads": self.keys}
        return Outside(keys={"events": self.keys, **reads}, notes={"events": note}, masters=PlainMasters())

    def keep(self, position: Position) -> None:
        self.position = Position.read(position.written())

    async def interrupted(self, stage: str, at_least: int) -> None:
        """Check until so much of a stage is done."""

        def told(now: str, done: int, total: int) -> None:
            if now == stage and done >= at_least:
                raise Interrupted

        with pytest.raises(Interrupted):
            await check(self.engines.clerk, self.outside, told=told, kept=self.keep)

    async def gone_on(
        self, connection: AsyncConnection | None = None
    ) -> tuple[Verdict, dict[str, list[int]]]:
        """The rest of the check, and how much of each stage was done when it was told."""
        stages: dict[str, list[int]] = {}
        verdict = await check(
            connection or self.engines.clerk,
            self.outside,
            position=self.position,
            told=lambda stage, done, _: stages.setdefault(stage, []).append(done),
        )
        return verdict, stages

    @asynccontextmanager
    async def altered(self, statement: str) -> AsyncIterator[AsyncConnection]:
        async with self.engines.superuser.connect() as connection:
            await connection.execute(text("SET LOCAL custody.maintenance = 'on'"))
            for table in ("audit.leaf", "audit.tile", "custody.event", "custody.kit", "audit.checkpoint"):
                await connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
            assert (await connection.execute(text(statement))).rowcount
            yield connection
            await connection.rollback()


@pytest.fixture
async def some(engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    monkeypatch.setattr(recheck, "PAGE", 7)
    monkeypatch.setattr(rebuild, "AT_ONCE", 1)
    monkeypatch.setattr("custody.recheck.KEPT_EVERY", 1)
    story = await begin(engines.service, engines.clerk)
    await adopt(story)
    made = Kept(engines, story, tmp_path)
    await made.more(3)
    return made


AGAIN = "Not looked at again: the first"


@pytest.mark.anyio
async def test_a_check_goes_on_at_the_leaf_it_had_come_to(some: Kept) -> None:
    await some.interrupted("leaves of the log events", 20)
    assert some.position is not None
    assert some.position.leaves["events"][0] == 21
    await some.more(1)
    verdict, stages = await some.gone_on()
    assert verdict.wrong is None
    assert stages["leaves of the log events"][0] == 28
    assert stages["leaves of the log events"][-1] > 40
    assert verdict.remarks[0].startswith(f"{AGAIN} 21 leaves of the log events, which a check of")
    assert "--afresh" in verdict.remarks[0]


@pytest.mark.anyio
async def test_what_lies_behind_the_position_is_said_and_what_lies_before_it_is_found(some: Kept) -> None:
    await some.interrupted("leaves of the log events", 20)
    behind = "UPDATE audit.leaf SET digest = sha256('') WHERE index = 3"
    async with some.altered(behind) as connection:
        afresh = await check(connection, some.outside)
        assert afresh.wrong == "Leaf 3 of the log events is the digest of nothing that is recorded."
        verdict, _ = await some.gone_on(connection)
        assert verdict.remarks[0].startswith(AGAIN)
        assert verdict.wrong is not None  # its event has no leaf any more: that is looked at every time
        assert "is not in the log events" in verdict.wrong
    async with some.altered("UPDATE audit.leaf SET digest = sha256('') WHERE index = 30") as connection:
        verdict, _ = await some.gone_on(connection)
        assert verdict.wrong == "Leaf 30 of the log events is the digest of nothing that is recorded."
    tile = "UPDATE audit.tile SET hashes = overlay(hashes PLACING sha256('') FROM 33) WHERE level = 0"
    async with some.altered(tile) as connection:
        verdict, _ = await some.gone_on(connection)
        assert verdict.wrong == (
            "Tile 0/0 of the log events is not what its leaves made when they were looked at before."
        )


@pytest.mark.anyio
async def test_a_check_goes_on_at_the_kit_it_had_come_to_and_looks_at_those_that_moved(
    some: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    await some.interrupted("kits", 3)
    assert some.position is not None
    first = some.position.kits
    numbers = await _numbers(some)
    assert first == numbers[1]
    verdict, stages = await some.gone_on()
    assert verdict.wrong is None
    assert stages["kits"] == [3]
    assert f"the kits up to {first}" in verdict.remarks[0]

    monkeypatch.setattr("tests.retention.kept.new_number", lambda: _below(numbers[0]))
    await some.more(1)  # a kit that stands before all others
    verdict, stages = await some.gone_on()
    assert (verdict.wrong, stages["kits"]) == (None, [3, 4])
    newest = (await _numbers(some))[0]
    async with some.altered(f"UPDATE custody.kit SET holds = 7 WHERE number = '{newest}'") as connection:
        verdict, _ = await some.gone_on(connection)
        assert verdict.wrong == f"{newest}: kit.holds: stored 7, the events say 0."


async def _numbers(some: Kept) -> list[str]:
    async with some.engines.clerk.connect() as connection:
        return await rebuild.kit_numbers(connection)


def _below(number: str) -> str:
    while (made := new_number()) >= number:
        pass
    return made


@pytest.mark.anyio
async def test_a_position_of_another_state_of_the_database_is_not_used(some: Kept) -> None:
    await some.interrupted("leaves of the log events", 45)
    assert some.position is not None
    (size, _root) = some.position.signed["events"]
    some.position = replace(some.position, signed={"events": (size, bytes(32))})
    verdict, stages = await some.gone_on()
    assert verdict.wrong is None
    assert stages["leaves of the log events"][0] == 7
    assert verdict.remarks[0].startswith("The position of an interrupted check was of another state")


@pytest.mark.anyio
async def test_a_log_shorter_than_what_was_looked_at_was_taken_back(some: Kept) -> None:
    await some.interrupted("leaves of the log events", 30)
    assert some.position is not None
    async with some.altered("DELETE FROM audit.leaf WHERE index >= 30") as connection:
        await connection.execute(text("DELETE FROM audit.checkpoint WHERE size > 30"))
        outside = replace(some.outside, notes={})
        verdict = await check(connection, outside, position=replace(some.position, signed={}))
    assert verdict.wrong is not None
    assert "leaves of the log events were looked at before, and it has 30" in verdict.wrong


# --- the command ------------------------------------------------------------------------------------


def settings_of(database: Database, keys: Path) -> Settings:
    return read(
        {
            "CUSTODY_DATA": str(keys),
            "CUSTODY_KEYS": str(keys),
            "CUSTODY_DATABASE_URL": database.url("service"),
            "CUSTODY_CLERK_DATABASE_URL": database.url("clerk"),
        }
    )


@pytest.mark.anyio
async def test_the_command_goes_on_after_an_interruption_or_begins_afresh(
    some: Kept, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(database, some.path.parent)
    kept_at = settings.keys / upkeep.POSITION
    publish_keys(settings.keys, "events", some.keys)

    def again(*, afresh: bool = False) -> int:
        return upkeep.check_logs(settings, afresh=afresh)

    written = upkeep._keep

    def stop(kept: Path, reached: Position) -> None:
        written(kept, reached)
        if reached.leaves["events"][0] >= 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(upkeep, "_keep", stop)
    with pytest.raises(KeyboardInterrupt):
        await asyncio.to_thread(again)
    monkeypatch.setattr(upkeep, "_keep", written)
    assert Position.read(kept_at.read_text()).leaves["events"][0] == 21
    left = kept_at.read_text()

    assert await asyncio.to_thread(again) == 0
    said = capsys.readouterr().out
    assert said.startswith("Everything follows from the events, and every checkpoint holds.\n")
    assert f"{AGAIN} 21 leaves of the log events" in said
    assert not kept_at.exists()

    kept_at.write_text(left)
    assert await asyncio.to_thread(lambda: again(afresh=True)) == 0
    assert AGAIN not in capsys.readouterr().out
    kept_at.write_text("half a posi")
    assert await asyncio.to_thread(again) == 0
    assert "does not say how far a check had come" in capsys.readouterr().out
