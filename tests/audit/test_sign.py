"""The signer: what it signs, what it refuses, and where it goes on after a crash at any write."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from audit import key as keys
from audit import log, sign
from audit.checkpoint import Checkpoint
from audit.key import ED25519, ML_DSA_44, SigningKey, open_note
from audit.keybox import BoxRefused, Keybox, create_keys, note_path, open_box
from audit.merkle import EMPTY_ROOT
from audit.note import Note
from audit.sign import Signer
from audit.text import Malformed
from audit.verify import Earlier, verify
from tests.audit.whole_log import checkpoints, digests, grow
from tests.conftest import Database, Engines

ORIGIN = "custody.example/events"


@pytest.fixture
def key_path(tmp_path: Path) -> Path:
    path = tmp_path / "signer" / "events.key"
    create_keys(path, ORIGIN)
    return path


@pytest.fixture
def box(key_path: Path) -> Iterator[Keybox]:
    with open_box(key_path) as opened:
        yield opened


@pytest.fixture
async def signer(engines: Engines, box: Keybox) -> Signer:
    """A signer at work: initialised and checked, over a log of 3 leaves, of which it has signed 3."""
    await sign.initialise(engines.clerk, "events", box)
    made = Signer("events", box)
    await made.check(engines.clerk)
    await grow(engines.superuser, engines.clerk, digests(0, 3))
    assert await made.sign(engines.clerk) is not None
    return made


def test_a_key_is_made_once_readable_only_by_its_owner_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "signer" / "events.key"
    public = create_keys(path, ORIGIN)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["events.key"]
    with open_box(path) as box:
        assert box.verifiers == public
    before = path.read_bytes()
    with pytest.raises(BoxRefused, match="never overwritten"):
        create_keys(path, ORIGIN)
    assert path.read_bytes() == before


def test_no_new_key_is_made_beside_the_note_of_a_lost_one(key_path: Path) -> None:
    note_path(key_path).write_bytes(b"a note")
    key_path.unlink()
    with pytest.raises(BoxRefused, match="Bring them back"):
        create_keys(key_path, ORIGIN)


def test_a_key_that_others_can_read_is_refused(key_path: Path) -> None:
    key_path.chmod(0o640)
    with pytest.raises(BoxRefused, match="can be read by others"), open_box(key_path):
        pytest.fail("the box was opened")


def test_a_missing_or_broken_key_is_refused(tmp_path: Path, key_path: Path) -> None:
    with pytest.raises(BoxRefused, match="no signing key"), open_box(tmp_path / "none.key"):
        pytest.fail("the box was opened")
    key_path.write_text("not a key\n")
    with pytest.raises(Malformed), open_box(key_path):
        pytest.fail("the box was opened")


def test_a_second_signer_with_the_same_key_is_kept_out_until_the_first_has_ended(key_path: Path) -> None:
    with open_box(key_path), pytest.raises(BoxRefused, match="Another signer"), open_box(key_path):
        pytest.fail("the box was opened twice")
    with open_box(key_path):
        pass


@pytest.mark.anyio
async def test_without_the_last_note_nothing_is_signed(engines: Engines, box: Keybox) -> None:
    await grow(engines.superuser, engines.clerk, digests(0, 3))
    with pytest.raises(sign.NotInitialised):
        await Signer("events", box).check(engines.clerk)
    with pytest.raises(sign.Unchecked):
        await Signer("events", box).sign(engines.clerk)
    assert await checkpoints(engines.auditor, box.verifiers) == []


@pytest.mark.anyio
async def test_the_first_note_is_of_the_empty_log_and_is_made_once(engines: Engines, box: Keybox) -> None:
    first = await sign.initialise(engines.clerk, "events", box)
    assert (first.size, first.root) == (0, EMPTY_ROOT)
    before = box.last_note()
    assert await sign.initialise(engines.clerk, "events", box) == first
    assert box.last_note() == before


@pytest.mark.anyio
async def test_a_lost_note_is_not_replaced_by_a_new_beginning(engines: Engines, signer: Signer) -> None:
    signer.box.note_path.unlink()
    with pytest.raises(sign.NotInitialised):
        await signer.sign(engines.clerk)
    with pytest.raises(sign.CannotSign, match="run custody recover"):
        await sign.initialise(engines.clerk, "events", signer.box)
    assert not signer.box.note_path.exists()


@pytest.mark.anyio
async def test_a_grown_log_is_signed_once_and_published_after_its_row(
    engines: Engines, signer: Signer
) -> None:
    published: list[bytes] = []

    async def publish(note: bytes) -> None:
        async with engines.service.connect() as connection:
            assert await log.last_checkpoint(connection, "events") == note
        assert signer.box.last_note() == note
        published.append(note)

    signer.publish = publish
    await grow(engines.superuser, engines.clerk, digests(3, 300))
    signed = await signer.sign(engines.clerk)
    assert signed is not None
    assert signed.size == 300
    assert await signer.sign(engines.clerk) is None
    assert [open_note(note, signer.box.verifiers) for note in published] == [signed]
    assert await checkpoints(engines.auditor, signer.box.verifiers) == [0, 3, 300]


@pytest.mark.anyio
async def test_what_was_signed_is_proved_offline_with_nothing_but_the_public_key(
    engines: Engines, signer: Signer
) -> None:
    async with engines.service.connect() as connection:
        earlier = await log.last_checkpoint(connection, "events")
    await grow(engines.superuser, engines.clerk, digests(3, 300))
    await signer.sign(engines.clerk)
    await grow(engines.superuser, engines.clerk, digests(300, 310))  # not yet signed
    async with engines.service.connect() as connection:
        proofs = await log.prove(connection, "events", [*digests(0, 20), *digests(300, 301)])
        note = await log.last_checkpoint(connection, "events")
        growth = await log.prove_consistency(connection, "events", 3, 300)
    assert sorted(proofs) == sorted(digests(0, 20))
    assert note is not None
    assert earlier is not None

    verdict = verify(
        keys.write_keys(signer.box.verifiers),
        note,
        [(digest, proof.written()) for digest, proof in proofs.items()],
        Earlier(note=earlier, hashes=growth.hashes),
    )
    assert verdict.holds
    assert len(verdict.findings) == 5


@pytest.mark.anyio
async def test_a_note_by_another_key_or_of_another_kind_is_not_gone_on_from(
    engines: Engines, signer: Signer
) -> None:
    forgers = [SigningKey(ORIGIN, bytes(32), kind) for kind in (ED25519, ML_DSA_44)]
    forged = keys.sign(Checkpoint(ORIGIN, 0, EMPTY_ROOT), forgers, 0).written()
    for planted in (forged, b"", b"not a note"):
        signer.box.note_path.write_bytes(planted)
        with pytest.raises(sign.ForeignNote):
            await signer.check(engines.clerk)


@pytest.mark.anyio
async def test_the_note_is_read_again_at_every_step(engines: Engines, signer: Signer) -> None:
    signer.box.note_path.write_bytes(b"not a note")
    with pytest.raises(sign.ForeignNote):
        await signer.sign(engines.clerk)


@pytest.mark.anyio
async def test_a_database_taken_back_in_time_is_reported_with_both_sizes_and_nothing_is_signed(
    engines: Engines, box: Keybox, database: Database
) -> None:
    await sign.initialise(engines.clerk, "events", box)
    await grow(engines.superuser, engines.clerk, digests(0, 5))
    ahead = Checkpoint(ORIGIN, 9, bytes(range(32)))
    box.keep(keys.sign(ahead, box.signs, 0).written())
    signer = Signer("events", box)
    with pytest.raises(sign.Rewound) as refused:
        await signer.check(engines.clerk)
    assert (refused.value.signed, refused.value.found) == (9, 5)
    assert "5 leaves" in str(refused.value)
    assert "9 were signed" in str(refused.value)
    assert await checkpoints(engines.auditor, box.verifiers) == []


@pytest.mark.anyio
async def test_a_log_that_grew_again_differently_after_being_taken_back_is_refused(
    engines: Engines, box: Keybox
) -> None:
    await grow(engines.superuser, engines.clerk, digests(0, 9))
    signed_elsewhere = Checkpoint(ORIGIN, 5, bytes(range(32)))
    box.keep(keys.sign(signed_elsewhere, box.signs, 0).written())
    with pytest.raises(sign.Inconsistent) as refused:
        await Signer("events", box).check(engines.clerk)
    assert (refused.value.signed, refused.value.found) == (5, 9)


@pytest.mark.anyio
async def test_a_leaf_changed_between_its_integration_and_its_signature_is_not_vouched_for(
    engines: Engines, signer: Signer, database: Database
) -> None:
    await grow(engines.superuser, engines.clerk, digests(3, 8))
    with database.connect("superuser") as connection:
        connection.execute("SET custody.maintenance = 'on'")
        connection.execute("ALTER TABLE audit.leaf DISABLE TRIGGER leaf_no_change")
        connection.execute("UPDATE audit.leaf SET digest = sha256('other') WHERE index = 5")
    with pytest.raises(sign.Inconsistent, match="leaf 5 is not the one in tile 0/0"):
        await signer.sign(engines.clerk)


@pytest.mark.anyio
async def test_an_old_copy_of_the_note_is_noticed(engines: Engines, signer: Signer) -> None:
    old = signer.box.last_note()
    assert old is not None
    await grow(engines.superuser, engines.clerk, digests(3, 8))
    await signer.sign(engines.clerk)
    signer.box.keep(old)
    await grow(engines.superuser, engines.clerk, digests(8, 9))
    for attempt in (signer.sign, signer.check):
        with pytest.raises(sign.NoteBehind) as refused:
            await attempt(engines.clerk)
        assert (refused.value.signed, refused.value.found) == (3, 8)


@pytest.mark.anyio
async def test_a_stored_checkpoint_that_is_not_the_one_signed_is_noticed(
    engines: Engines, box: Keybox, database: Database
) -> None:
    await sign.initialise(engines.clerk, "events", box)
    with database.connect("superuser") as connection:
        connection.execute(
            "INSERT INTO audit.checkpoint VALUES ('events', 0, %s, 'a note that nobody signed')", [EMPTY_ROOT]
        )
    with pytest.raises(sign.Inconsistent, match="not the note that was signed"):
        await Signer("events", box).check(engines.clerk)


@pytest.mark.anyio
async def test_a_row_missing_after_a_crash_is_restored_from_the_file_byte_for_byte(
    engines: Engines, signer: Signer
) -> None:
    await grow(engines.superuser, engines.clerk, digests(3, 7))
    async with engines.clerk.connect() as connection:
        proof = await log.prove_consistency(connection, "events", 3, 7)
    note = keys.sign(Checkpoint(ORIGIN, 7, proof.new_root), signer.box.signs, 0)
    cosigned = Note(
        note.text, (*note.signatures, note.signatures[0])
    ).written()  # bytes that signing never gives
    signer.box.keep(cosigned)  # the crash came after the file, before the row

    with pytest.raises(sign.Unchecked, match="not in the database"):
        await signer.sign(engines.clerk)
    assert (await signer.check(engines.clerk)).size == 7
    async with engines.service.connect() as connection:
        assert await log.last_checkpoint(connection, "events") == cosigned
