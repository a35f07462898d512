"""Another master key for a centre: at every moment each data key opens, and a rotation cut off goes on."""

import asyncio
import os
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from custody import reading
from custody.ledger import Ledger
from custody.private import MARK, number_of
from custody.protocol import Trail
from desk.masters import FileMasters, files_of, path_of
from desk.rewrapping import lay_next, listed, replace_master
from desk.settings import CannotStart
from tests.conftest import Database, Engines
from tests.custody.story import CENTRE, NURSE, OTHER_CENTRE, Story, begin
from tests.faults import OUTCOMES, PowerCut, Write, inject

pytestmark = pytest.mark.anyio
WHY = "yearly"
PART = {"hospital_reference": "INVENTED-1", "item 1": "swab_skin"}


def quiet(*_: object) -> None:
    """Where nobody listens."""


@pytest.fixture
async def story(engines: Engines, tmp_path: Path) -> Story:
    made = await begin(engines.service, engines.clerk)
    made.ledger = Ledger(engines.service, FileMasters(tmp_path))
    return made


async def kits_of(story: Story) -> list[str]:
    return [await story.registered() for _ in range(3)]


async def opens(story: Story, folder: Path, kits: list[str]) -> bool:
    """Whether a worker that ran all the while and one that has just started read every kit."""
    fresh = Ledger(story.ledger.engine, FileMasters(folder, making=False))
    for ledger in (story.ledger, fresh):
        for number in kits:
            if not await ledger.read_private(NURSE, await story.kit(number)):
                return False
    return True


async def wrapped_by(engines: Engines) -> list[int]:
    async with engines.clerk.connect() as connection:
        rows = await connection.scalars(text("SELECT wrapped FROM custody.data_key ORDER BY kit"))
        return [number_of(bytes(each))[0] for each in rows]


async def reasons(engines: Engines) -> list[tuple[str, str]]:
    async with engines.clerk.connect() as connection:
        events = await reading.trail(connection, CENTRE, Trail.ORGANISATION)
    return [(e.get("reason"), e.get("how")) for e in events if e.type == "master_key.replaced"]


async def test_every_data_key_is_wrapped_anew_while_workers_go_on_reading(
    story: Story, engines: Engines, tmp_path: Path
) -> None:
    kits = await kits_of(story)
    read = []

    def told(done: int, total: int) -> None:
        read.append((done, total))

    async def watch() -> None:
        while not read or read[-1][0] < read[-1][1]:
            assert await opens(story, tmp_path, kits)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await replace_master(engines.clerk, tmp_path, CENTRE, WHY, quiet, told)
    await watching
    assert read[-1] == (3, 3)
    assert await wrapped_by(engines) == [2, 2, 2]
    assert [(e.number, e.stage) for e in files_of(tmp_path, CENTRE)] == [(1, "retired"), (2, "")]
    assert await reasons(engines) == [(WHY, "file")]
    kits.append(await story.registered())  # a worker that ran all the while wraps with the new key
    assert await wrapped_by(engines) == [2] * 4
    os.unlink(path_of(tmp_path, CENTRE, 1, "retired"))  # and nothing needs the old one
    assert await opens(story, tmp_path, kits)
    assert await listed(engines.clerk, tmp_path) == [f"{CENTRE}  key 2  4 kits  file"]


NEXT = f"master-{CENTRE}+2.key.next"
WRITES = (
    Write(says="the next key", kind="open", of=NEXT),
    Write(says="the next key, on the disk", kind="flush", of=NEXT),
    Write(says="the event", kind="append", of="master_key.replaced"),
    Write(says="the next key comes into use", kind="name", of=f"master-{CENTRE}+2.key"),
    Write(says="the first data key", kind="statement", of="SELECT custody.rewrap"),
    Write(says="the first data key, for good", kind="commit", of="SELECT custody.rewrap"),
    Write(says="the second data key", kind="commit", of="SELECT custody.rewrap", turn=2),
    Write(says="the last data key", kind="commit", of="SELECT custody.rewrap", turn=3),
    Write(says="the old key retires", kind="name", of=f"master-{CENTRE}.key.retired"),
)


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.says)
async def test_a_rotation_killed_at_any_write_goes_on_and_every_kit_opens_meanwhile(
    story: Story,
    engines: Engines,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Write,
    outcome: str,
) -> None:
    kits = await kits_of(story)
    failing = create_async_engine(database.url("clerk"))
    with monkeypatch.context() as patched:
        fault = inject(patched, failing, write, outcome)
        with pytest.raises(PowerCut):
            await replace_master(failing, tmp_path, CENTRE, WHY, quiet, quiet)
    await failing.dispose()
    assert fault.struck
    assert await opens(story, tmp_path, kits)
    kits.append(await story.registered())
    assert await opens(story, tmp_path, kits)
    await replace_master(engines.clerk, tmp_path, CENTRE, "another word", quiet, quiet)
    assert await opens(story, tmp_path, kits)
    newest = 3 if (write.says, outcome) == ("the old key retires", "persisted") else 2  # it had ended
    assert await wrapped_by(engines) == [newest] * 4
    assert [e.number for e in files_of(tmp_path, CENTRE) if e.stage == ""] == [newest]
    assert len(await reasons(engines)) == newest - 1


async def test_the_next_key_can_be_laid_first_and_copied_to_other_hosts(
    story: Story, engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kits = await kits_of(story)
    laid = lay_next(tmp_path, CENTRE)
    assert lay_next(tmp_path, CENTRE) == laid
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    for name in os.listdir(tmp_path):
        if name.startswith("master-"):
            (elsewhere / name).write_bytes((tmp_path / name).read_bytes())
            os.chmod(elsewhere / name, 0o600)
    await replace_master(engines.clerk, tmp_path, CENTRE, WHY, quiet, quiet)
    assert await opens(story, elsewhere, kits)
    with pytest.raises(CannotStart, match="ENVIRONMENT or COMMAND"):
        lay_next(tmp_path, CENTRE, "x")
    lay_next(tmp_path, CENTRE, "COMMAND /nowhere/kms")
    with pytest.raises(CannotStart, match="laid already"):
        lay_next(tmp_path, CENTRE, "COMMAND /nowhere/kms")
    with pytest.raises(CannotStart, match="could not be run"):
        await replace_master(engines.clerk, tmp_path, CENTRE, WHY, quiet, quiet)
    assert await wrapped_by(engines) == [2, 2, 2]
    assert len(await reasons(engines)) == 1
    assert "CANNOT" not in (await listed(engines.clerk, tmp_path))[1]


async def test_what_a_late_worker_still_wrapped_with_the_retired_key_opens_and_is_wrapped_anew_later(
    story: Story, engines: Engines, tmp_path: Path
) -> None:
    kits = await kits_of(story)
    await replace_master(engines.clerk, tmp_path, CENTRE, WHY, quiet, quiet)
    path_of(tmp_path, CENTRE, 2).rename(tmp_path / "aside")
    path_of(tmp_path, CENTRE, 1, "retired").rename(path_of(tmp_path, CENTRE, 1))
    kits.append(await story.registered())
    path_of(tmp_path, CENTRE, 1).rename(path_of(tmp_path, CENTRE, 1, "retired"))
    (tmp_path / "aside").rename(path_of(tmp_path, CENTRE, 2))
    assert sorted(await wrapped_by(engines)) == [1, 2, 2, 2]
    assert f"{CENTRE}  key 1  1 kit  file, retired" in await listed(engines.clerk, tmp_path)
    assert await opens(story, tmp_path, kits)
    said: list[str] = []
    await replace_master(engines.clerk, tmp_path, CENTRE, WHY, said.append, quiet)
    assert "was cut off" in said[0]
    assert await wrapped_by(engines) == [2, 2, 2, 2]
    assert len(await reasons(engines)) == 1


async def test_what_does_not_open_is_left_as_it_was_and_the_old_key_stays(
    story: Story, engines: Engines, tmp_path: Path, database: Database
) -> None:
    await kits_of(story)
    with database.connect("superuser") as connection:
        connection.execute("UPDATE custody.data_key SET wrapped = set_byte(wrapped, 40, 0)")
        connection.execute("UPDATE custody.data_key SET wrapped = set_byte(wrapped, 41, 0)")
        connection.commit()
    with pytest.raises(CannotStart, match="stays as it was"):
        await replace_master(engines.clerk, tmp_path, CENTRE, WHY, quiet, quiet)
    assert await wrapped_by(engines) == [1, 1, 1]
    assert path_of(tmp_path, CENTRE, 1).exists()


async def test_one_rotation_at_a_time_and_only_of_a_centre_that_is_registered(
    story: Story, engines: Engines, tmp_path: Path
) -> None:
    with pytest.raises(CannotStart, match=f"Those that are registered: {OTHER_CENTRE}, {CENTRE}"):
        await replace_master(engines.clerk, tmp_path, "zsg-nergens", WHY, quiet, quiet)
    async with engines.clerk.connect() as other:
        await other.execute(text("SELECT pg_advisory_lock(hashtextextended('custody masters', 0))"))
        with pytest.raises(CannotStart, match="under way"):
            await replace_master(engines.clerk, tmp_path, CENTRE, WHY, quiet, quiet)


async def test_the_database_takes_only_a_data_key_under_a_later_master_key_from_the_clerk_alone(
    story: Story, engines: Engines, tmp_path: Path
) -> None:
    kit = await story.registered()
    wrapped = FileMasters(tmp_path).wrap(CENTRE, kit, bytes(32))
    later = MARK + (2).to_bytes(4, "big") + wrapped[12:]
    query = text("SELECT custody.rewrap(:kit, :old, :new)")
    async with engines.clerk.connect() as connection:
        stored = bytes(await connection.scalar(text("SELECT wrapped FROM custody.data_key")) or b"")
        assert not await connection.scalar(query, {"kit": kit, "old": wrapped, "new": later})
        for wrong in (stored, wrapped, b"x" * 60, later[:12], MARK + b"\0\0\0\0x", later + bytes(5000)):
            with pytest.raises(DBAPIError, match="not a data key under a later master key"):
                await connection.execute(query, {"kit": kit, "old": stored, "new": wrong})
            await connection.rollback()
        assert await connection.scalar(query, {"kit": kit, "old": stored, "new": later})
        assert not await connection.scalar(query, {"kit": kit, "old": stored, "new": later})
    async with engines.service.connect() as connection:
        with pytest.raises(DBAPIError, match="permission denied"):
            await connection.execute(query, {"kit": kit, "old": stored, "new": later})
