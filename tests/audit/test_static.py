"""The published log as a folder: written in steps, cut off anywhere, altered anywhere, checked offline."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from os import mkfifo
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from audit import key, log, merkle, publish, sign, static, tables, tile
from audit.checkpoint import Checkpoint
from audit.key import COSIGNATURE, SigningKey, write_keys
from audit.keybox import Keybox, create_keys, open_box
from audit.note import Note
from audit.policy import Policy
from audit.sign import Signer
from audit.text import Malformed
from audit.tile import Place, Tiles
from audit.verify import VerificationError
from desk import export
from desk.export import FolderRefused, export_log
from tests.audit.whole_log import digests, queue
from tests.conftest import Engines

ORIGIN = "custody.example/log"
SLOT = datetime(2031, 3, 4, tzinfo=UTC)
LOG_KEYS = [SigningKey(ORIGIN, bytes([key_type]) * 32, key_type) for key_type in key.LOG_TYPES]
VKEYS = write_keys(each.verifier for each in LOG_KEYS)
WITNESS = SigningKey("witness.example", bytes(32), COSIGNATURE)
POLICY = Policy.read(
    f"log {LOG_KEYS[0].verifier.written()}\nwitness w {WITNESS.verifier.written()}\nquorum w\n".encode()
)


def untold(done: int, total: int) -> None:
    """Nobody watches."""


# --- the codec of entry bundles ---------------------------------------------------------------------------

A_DIGEST = st.binary(min_size=32, max_size=32)


@given(st.lists(A_DIGEST, min_size=1, max_size=256))
def test_reading_an_entry_bundle_is_the_inverse_of_writing_it(bundle: list[bytes]) -> None:
    data = tile.write_entries(bundle)
    assert tile.read_entries(data) == bundle
    assert len(data) == 34 * len(bundle)
    assert data[:34] == b"\x00\x20" + bundle[0]


@given(st.lists(A_DIGEST, min_size=1, max_size=8), st.data())
def test_an_entry_bundle_with_a_flipped_bit_is_another_bundle_or_none(
    bundle: list[bytes], data: st.DataObject
) -> None:
    altered = bytearray(tile.write_entries(bundle))
    at = data.draw(st.integers(0, len(altered) - 1))
    altered[at] ^= 1 << data.draw(st.integers(0, 7))
    if at % 34 < 2:
        with pytest.raises(Malformed):
            tile.read_entries(bytes(altered))
    else:
        assert tile.read_entries(bytes(altered)) != bundle


@given(st.binary(max_size=700))
def test_whatever_reads_as_an_entry_bundle_is_written_the_same(data: bytes) -> None:
    try:
        bundle = tile.read_entries(data)
    except Malformed:
        return
    assert tile.write_entries(bundle) == data


def test_a_bundle_holds_1_to_256_digests() -> None:
    for wrong in ([], [bytes(32)] * 257, [bytes(31)], [bytes(32), bytes(33)]):
        with pytest.raises(ValueError, match="entry bundle"):
            tile.write_entries(wrong)
    with pytest.raises(Malformed):
        tile.read_entries(b"")
    with pytest.raises(Malformed):
        tile.read_entries(tile.write_entries([bytes(32)] * 256) + b"\x00\x20" + bytes(32))


@given(st.integers(0, 2**63 - 1), st.integers(1, 256))
def test_reading_a_bundles_path_is_the_inverse_of_writing_it(number: int, width: int) -> None:
    assert tile.read_entries_path(tile.write_entries_path(number, width)) == (number, width)


@pytest.mark.parametrize(
    ("number", "width", "path"),
    [
        (0, 256, "tile/entries/000"),
        (1234067, 256, "tile/entries/x001/x234/067"),
        (273, 112, "tile/entries/273.p/112"),
    ],
)
def test_bundle_paths_are_written_as_the_specification_writes_them(
    number: int, width: int, path: str
) -> None:
    assert tile.write_entries_path(number, width) == path


@pytest.mark.parametrize(
    "wrong",
    ["", "tile/entries/", "tile/entries/0", "entries/000", "tile/0/000", "tile/entries/000.p/0",
     "tile/entries/000.p/256", "tile/entries/x000/001", "tile/entries/001/234", "tile/entries/000/",
     "tile/entries/٠٠٠", "tile/entries/000.p/01", "tile/entries/-01", "000", "tile/entries/x123",
     "tile/entries/tile/entries/000"],
)  # fmt: skip
def test_any_other_path_of_a_bundle_is_refused(wrong: str) -> None:
    with pytest.raises(Malformed):
        tile.read_entries_path(wrong)


# --- a folder made by hand, checked -----------------------------------------------------------------------


def make(folder: Path, entries: list[bytes], *, origin: str = ORIGIN, cosigned: bool = False) -> None:
    """A whole static log of these digests, made without a database."""
    size = len(entries)
    made = tile.grow(0, {}, [merkle.leaf_hash(entry) for entry in entries])
    files = {tile.write_path(place, tile.width(place, size)): data for place, data in made.items()}
    for number in range(-(-size // 256)):
        bundle = entries[256 * number : 256 * number + 256]
        files[tile.write_entries_path(number, len(bundle))] = tile.write_entries(bundle)
    keys = [SigningKey(origin, each.seed, each.key_type) for each in LOG_KEYS]
    stated = Checkpoint(origin, size, merkle.root(size, Tiles(made).read))
    note = key.sign(stated, keys, 1_900_000_000)
    if cosigned:
        message = WITNESS.verifier.message(note.text, 1_900_000_000)
        note = note.signed_too([WITNESS.verifier.line(WITNESS.sign(message), 1_900_000_000)])
    files["checkpoint"] = note.written()
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def held(folder: Path, vkeys: str | None = VKEYS, policy: Policy | None = None) -> dict[int, bool | None]:
    return {each.number: each.holds for each in static.check_folder(folder, vkeys, policy).findings}


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 700, 5000])
def test_a_whole_folder_holds_in_every_check_that_can_be_made(tmp_path: Path, size: int) -> None:
    make(tmp_path, digests(0, size))
    seen: list[tuple[int, int]] = []
    verdict = static.check_folder(tmp_path, VKEYS, None, lambda done, total: seen.append((done, total)))
    assert [each.holds for each in verdict.findings] == [True, True, True, True, None], verdict.findings
    assert verdict.checkpoint is not None
    assert verdict.checkpoint.size == size
    assert seen[-1:] == ([(size, size)] if size else [])
    assert any("witness" in sentence for sentence in verdict.not_proved)


def test_a_quorum_of_witnesses_is_a_check_and_no_longer_among_what_is_not_proved(tmp_path: Path) -> None:
    make(tmp_path, digests(0, 300), cosigned=True)
    verdict = static.check_folder(tmp_path, VKEYS, POLICY)
    assert verdict.holds
    assert all(each.holds for each in verdict.findings)
    assert not any("witness" in sentence for sentence in verdict.not_proved)


def test_a_missing_quorum_is_found(tmp_path: Path) -> None:
    make(tmp_path, digests(0, 300))
    assert held(tmp_path, policy=POLICY) == {1: True, 2: True, 3: True, 4: True, 5: False}


def test_without_a_key_the_folder_only_agrees_with_itself(tmp_path: Path) -> None:
    make(tmp_path, digests(0, 300))
    verdict = static.check_folder(tmp_path, None)
    assert verdict.agrees
    assert not verdict.holds
    assert verdict.checkpoint is None


def test_another_key_is_not_believed(tmp_path: Path) -> None:
    make(tmp_path, digests(0, 300))
    other = write_keys(SigningKey(ORIGIN, bytes(32), each.key_type).verifier for each in LOG_KEYS)
    assert held(tmp_path, other)[1] is False
    make(tmp_path, digests(0, 300), origin="other.example/log")
    assert held(tmp_path)[1] is False


def test_any_flipped_bit_in_any_file_is_found_and_the_file_is_named(tmp_path: Path) -> None:
    make(tmp_path, digests(0, 700), cosigned=True)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(files) == 1 + 3 + 3 + 1
    for path in files:
        whole = path.read_bytes()
        for at in {0, 1, 2, 40, len(whole) // 2, len(whole) - 2, len(whole) - 1}:
            altered = bytearray(whole)
            altered[at] ^= 1
            path.write_bytes(bytes(altered))
            name = str(path.relative_to(tmp_path))
            try:
                verdict = static.check_folder(tmp_path, VKEYS, POLICY)
            except VerificationError:
                assert name == "checkpoint"
                continue
            assert not verdict.holds, f"byte {at} of {name}"
            words = " ".join(each.words for each in verdict.findings if each.holds is False)
            if "entries" not in name and name != "checkpoint":
                assert name in words
        path.write_bytes(whole)
    assert static.check_folder(tmp_path, VKEYS, POLICY).holds


def test_a_missing_file_is_found_and_named(tmp_path: Path) -> None:
    make(tmp_path, digests(0, 700))
    for name in ("tile/0/001", "tile/1/000.p/2", "tile/entries/001", "tile/entries/002.p/188"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        verdict = static.check_folder(tmp_path, VKEYS)
        assert not verdict.agrees
        assert any(f"{name} " in each.words for each in verdict.findings if each.holds is False), name
        (tmp_path / name).write_bytes(data)


def test_swapped_entries_are_found(tmp_path: Path) -> None:
    entries = digests(0, 600)
    make(tmp_path, entries)
    swapped = [entries[1], entries[0], *entries[2:256]]
    (tmp_path / "tile/entries/000").write_bytes(tile.write_entries(swapped))
    assert held(tmp_path) == {1: True, 2: True, 3: False, 4: False, 5: None}


def test_what_is_no_exported_log_or_no_key_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="cannot be read"):
        static.check_folder(tmp_path, VKEYS)
    (tmp_path / "checkpoint").write_bytes(b"hello")
    with pytest.raises(VerificationError, match="is not a checkpoint"):
        static.check_folder(tmp_path, VKEYS)
    make(tmp_path, digests(0, 1))
    with pytest.raises(VerificationError, match="key cannot be used"):
        static.check_folder(tmp_path, "no key")


def test_a_pipe_in_the_place_of_any_file_is_found_and_waits_for_nobody(tmp_path: Path) -> None:
    make(tmp_path, digests(0, 300))
    for name in ("tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        mkfifo(tmp_path / name)
        verdict = static.check_folder(tmp_path, VKEYS)
        assert any(f"{name} " in each.words for each in verdict.findings if each.holds is False), name
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes(data)
    (tmp_path / "checkpoint").unlink()
    mkfifo(tmp_path / "checkpoint")
    with pytest.raises(VerificationError, match="it is not a file but a pipe"):
        static.check_folder(tmp_path, VKEYS)


def state(folder: Path, size: int, keys: list[SigningKey]) -> None:
    """A checkpoint of a size that nobody has the leaves of."""
    stated = Checkpoint(ORIGIN, size, bytes(32))
    (folder / "checkpoint").write_bytes(key.sign(stated, keys, 1_900_000_000).written())


@pytest.mark.parametrize("vkeys", [VKEYS, None])
def test_a_size_that_cannot_be_ends_where_the_files_end_even_if_links_go_in_circles(
    tmp_path: Path, vkeys: str | None
) -> None:
    (tmp_path / "tile" / "entries").mkdir(parents=True)
    for number in range(1000):
        name = tile.write_entries_path(number, 256)
        (tmp_path / name).write_bytes(tile.write_entries([bytes(32)] * 256))
    for number in range(1, 10):  # a file at every path up to x009/x009/…/999
        (tmp_path / "tile" / "entries" / f"x{number:03}").symlink_to(".")
    state(tmp_path, 2**63 - 1, LOG_KEYS)
    found: list[int] = []
    verdict = static.check_folder(tmp_path, vkeys, told=lambda done, _: found.append(done))
    assert [each.holds for each in verdict.findings[1:4]] == [False, False, False]
    told = "tile/entries/x001/009 cannot be: the folder has 1009 files below tile/entries."
    assert verdict.findings[1].words == told
    assert found[-1] < 1009 * 256


def test_of_a_checkpoint_that_the_key_did_not_sign_no_tile_is_looked_for(tmp_path: Path) -> None:
    make(tmp_path, digests(0, 600))
    state(tmp_path, 600, [SigningKey(ORIGIN, bytes(32), each.key_type) for each in LOG_KEYS])
    seen: list[int] = []
    verdict = static.check_folder(tmp_path, VKEYS, told=lambda done, _: seen.append(done))
    assert [each.holds for each in verdict.findings] == [False, None, None, None, None]
    assert not verdict.agrees
    assert seen == []


def test_what_of_the_folder_was_not_looked_at_is_counted_and_said(tmp_path: Path) -> None:
    make(tmp_path, digests(0, 300))
    whole = static.check_folder(tmp_path, VKEYS).not_proved
    assert not any("looked at" in sentence for sentence in whole)
    for name in ("tile/0/001.p/43", "tile/entries/002", "tile/5/000", "events.vkey", "letter.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"a lie")
    (tmp_path / "reads").mkdir()
    verdict = static.check_folder(tmp_path, VKEYS)
    assert verdict.holds
    parts, vkey, reads, other = verdict.not_proved[len(whole) :]
    assert parts.startswith("Anything about 3 of the 8 files below tile/:")
    assert vkey.startswith("That events.vkey in the folder is the log's key:")
    assert f"{tmp_path / 'reads'}: that is a log of its own" in reads
    assert "reads.vkey" in reads
    assert other.startswith("Anything about one other thing in the folder")


def test_the_log_lines_of_a_policy_are_the_key_where_no_other_is_given(tmp_path: Path) -> None:
    make(tmp_path, digests(0, 300), cosigned=True)
    known = "".join(f"log {each.verifier.written()}\n" for each in LOG_KEYS)
    assert held(tmp_path, None, Policy.read(f"{known}quorum none\n".encode()))[1] is True
    other = write_keys(SigningKey(ORIGIN, bytes(32), each.key_type).verifier for each in LOG_KEYS)
    assert held(tmp_path, other, Policy.read(f"{known}quorum none\n".encode()))[1] is False


# --- a folder written from the database -------------------------------------------------------------------


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Keybox]:
    create_keys(tmp_path / "keys" / "events.key", ORIGIN)
    with open_box(tmp_path / "keys" / "events.key") as opened:
        yield opened


@pytest.fixture
async def signer(engines: Engines, box: Keybox) -> Signer:
    await sign.initialise(engines.clerk, "events", box)
    made = Signer("events", box)
    await made.check(engines.clerk)
    return made


async def published(engines: Engines, signer: Signer, day: int, start: int, end: int) -> int:
    await queue(engines.superuser, digests(start, end))
    done = await publish.publish(engines.clerk, signer, SLOT + timedelta(days=day))
    assert done is not None
    return done.size


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def checked(folder: Path, box: Keybox) -> int:
    """The size of a folder that holds in every check."""
    verdict = static.check_folder(folder, write_keys(box.verifiers))
    assert verdict.holds, verdict.findings
    assert verdict.checkpoint is not None
    return verdict.checkpoint.size


@pytest.mark.anyio
async def test_before_the_first_publication_nothing_is_written(
    engines: Engines, signer: Signer, tmp_path: Path
) -> None:
    await queue(engines.superuser, digests(0, 3))
    async with engines.clerk.begin() as connection:
        await log.integrate(connection, "events")
    await signer.sign(engines.clerk)
    assert await export_log(engines.service, "events", tmp_path / "out", untold) is None
    assert not (tmp_path / "out").exists()


@pytest.mark.anyio
async def test_an_export_grows_with_the_publications_and_leaves_full_files_alone(
    engines: Engines, signer: Signer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    sizes = []
    inodes: dict[str, int] = {}
    for day, (start, end) in enumerate([(0, 3), (3, 600), (600, 600)]):
        sizes.append(await published(engines, signer, day, start, end))
        assert await export_log(engines.service, "events", out, untold) == sizes[-1]
        assert checked(out, signer.box) == sizes[-1]
        now = {name: (out / name).stat().st_ino for name in content(out) if name != "checkpoint"}
        assert {name: now[name] for name in inodes} == inodes
        inodes = {name: inode for name, inode in now.items() if ".p/" not in name}
    assert sizes == [256, 1024, 1280]
    assert "tile/1/000.p/5" in content(out)
    before = content(out)
    assert await export_log(engines.service, "events", out, untold) == 1280
    assert content(out) == before


@pytest.mark.anyio
async def test_partial_tiles_go_when_the_full_tile_is_there(
    engines: Engines, signer: Signer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    await published(engines, signer, 0, 0, 254 * 256)
    await export_log(engines.service, "events", out, untold)
    await published(engines, signer, 1, 0, 0)
    await export_log(engines.service, "events", out, untold)
    assert {"tile/1/000.p/254", "tile/1/000.p/255"} <= content(out).keys()
    await published(engines, signer, 2, 0, 0)
    await export_log(engines.service, "events", out, untold)
    assert checked(out, signer.box) == 65_536
    assert {name for name in content(out) if name.startswith(("tile/1", "tile/2"))} == {
        "tile/1/000",
        "tile/2/000.p/1",
    }


class Cut(Exception):
    """What a test raises where the export is cut off."""


@pytest.mark.anyio
async def test_an_export_that_is_cut_off_at_any_file_is_finished_by_the_next(
    engines: Engines, signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    await published(engines, signer, 0, 0, 3)
    await export_log(engines.service, "events", out, untold)
    await published(engines, signer, 1, 3, 600)
    write, after = export._write, 0
    while True:
        after += 1
        left = after

        def cut(path: Path, data: bytes) -> None:
            nonlocal left
            left -= 1
            if not left:
                (path.parent / (path.name + ".new")).parent.mkdir(parents=True, exist_ok=True)
                (path.parent / (path.name + ".new")).write_bytes(data[:5])
                raise Cut
            write(path, data)

        with monkeypatch.context() as failing:
            failing.setattr(export, "_write", cut)
            try:
                await export_log(engines.service, "events", out, untold)
            except Cut:
                assert checked(out, signer.box) == 256, "the checkpoint comes last"
                continue
        break
    assert after > 6
    assert checked(out, signer.box) == 1024
    assert not list(out.rglob("*.new"))


@pytest.mark.anyio
async def test_cosignatures_that_come_later_reach_the_folder_with_the_next_export(
    engines: Engines, signer: Signer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    size = await published(engines, signer, 0, 0, 3)
    await export_log(engines.service, "events", out, untold)
    await cosign(engines.clerk, size)
    await export_log(engines.service, "events", out, untold)
    names = [each.name for each in Note.read((out / "checkpoint").read_bytes()).signatures]
    assert names == [ORIGIN, ORIGIN, WITNESS.name]


async def cosign(engine: AsyncEngine, size: int) -> None:
    async with engine.begin() as connection:
        note = await log.note_of(connection, "events", size)
        assert note is not None
        line = WITNESS.verifier.line(WITNESS.sign(WITNESS.verifier.message(note.text, 1)), 1)
        row = {"log": "events", "size": size, "name": line.name, "key_id": line.key_id, "line": line.line()}
        await connection.execute(tables.cosignature.insert().values(row))


@pytest.mark.anyio
async def test_a_folder_of_another_log_one_that_is_ahead_and_one_of_other_things_are_left_alone(
    engines: Engines, signer: Signer, tmp_path: Path
) -> None:
    await published(engines, signer, 0, 0, 3)
    cases = {
        "another origin": ("holds the log other.example/log", digests(0, 100), "other.example/log"),
        "ahead": ("holds 1000 leaves", digests(0, 1000), ORIGIN),
        "another past": ("does not continue", digests(0, 100), ORIGIN),
        "another present": ("does not continue", digests(0, 256), ORIGIN),
    }
    for name, (told, entries, origin) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        make(folder, entries, origin=origin)
        before = content(folder)
        with pytest.raises(FolderRefused, match=told):
            await export_log(engines.service, "events", folder, untold)
        assert content(folder) == before
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "letter.txt").write_text("not a log")
    with pytest.raises(FolderRefused, match="is not an exported log"):
        await export_log(engines.service, "events", strange, untold)
    (strange / "checkpoint").write_text("not a checkpoint")
    with pytest.raises(FolderRefused, match="is not a checkpoint"):
        await export_log(engines.service, "events", strange, untold)


def test_the_log_of_this_example_is_the_same_in_every_tool() -> None:
    """The first entry's leaf hash and a tree of two, by the definition of RFC 6962 section 2.1."""
    first, second = digests(0, 2)
    made = tile.grow(0, {}, [merkle.leaf_hash(first), merkle.leaf_hash(second)])
    leaf = sha256(b"\x00" + first).digest()
    assert made[Place(0, 0)][:32] == leaf
    root = sha256(b"\x01" + leaf + sha256(b"\x00" + second).digest()).digest()
    assert merkle.root(2, Tiles(made).read) == root
