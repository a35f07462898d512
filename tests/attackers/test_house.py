"""Attackers in the house: a superuser of the database, a thief of the keys, whoever restores a backup."""

import time
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from audit import key, log
from audit.checkpoint import Checkpoint
from audit.key import open_note
from audit.merkle import InvalidProof
from audit.note import Note
from audit.sign import Inconsistent, Rewound
from audit.verify import Earlier, verify
from audit.witness import write_request
from custody import recheck
from custody.ledger import reading as seen_by
from custody.protocol import Trail
from custody.reading import trail
from desk import database as ground
from desk.postgres import SUPERUSER
from tests.attackers.claims import COULD, COULD_NOT, claim
from tests.attackers.house import Forged, House, digests_of, rewrite
from tests.audit.a_witness import AWitness, LogKey
from tests.conftest import Database, Engines
from tests.custody.byhand import ByHand
from tests.custody.story import NURSE

pytestmark = pytest.mark.anyio

ROOT = "a superuser of the database"
KEYS = "whoever holds the signing keys alone"
BACKUP = "whoever restores an older backup"


# --- a superuser ------------------------------------------------------------------------------------


@claim(ROOT, COULD, "rewrite the database, until it agrees with itself")
@claim(ROOT, COULD_NOT, "make a rewritten event agree with a checkpoint that has left the house")
@claim(ROOT, COULD_NOT, "get it signed: the signer compares with its own last note")
async def test_a_rewritten_event_fails_against_the_checkpoint_that_somebody_kept(
    house: House, database: Database
) -> None:
    kit = await house.story.registered()
    digest = await house.seal_checked(kit)
    kept = await house.settle()
    proof = await house.proof(digest)
    assert proof is not None
    assert verify(house.vkeys, kept, [(bytes.fromhex(digest), proof.written())]).holds
    with ByHand(database) as byhand:
        forged = rewrite(byhand, kit, str(NURSE.name), "Somebody Else", await digests_of(house.clerk))
        byhand.of("superuser").execute("DELETE FROM audit.checkpoint")
    assert (await recheck.check(house.clerk, recheck.Outside())).wrong is None
    async with seen_by(house.engines.service, NURSE) as connection:
        last = (await trail(connection, kit, Trail.CUSTODY))[-1]
    assert (last.digest, last.who["name"]) == (forged.hex(), "Somebody Else")

    outside = recheck.Outside(keys={"events": house.signer.box.verifiers}, notes={"events": kept})
    assert (await recheck.check(house.clerk, outside)).wrong is not None
    assert not verify(house.vkeys, kept, [(forged, proof.written())]).holds
    for _ in range(2):
        with pytest.raises(Inconsistent):
            await house.signer.check(house.clerk)
        await house.seal_checked(await house.story.registered())  # nor when the log has grown
        async with house.clerk.begin() as transaction:
            await log.integrate(transaction, "events")
    assert house.note == kept


@claim(ROOT, COULD, "remove an event before it is in the log: only the receipt that was handed out names it")
async def test_an_event_that_was_not_yet_in_the_log_is_missed_by_whoever_has_its_receipt(
    house: House, database: Database
) -> None:
    kit = await house.story.registered()
    await house.settle()
    with ByHand(database) as byhand:
        superuser, before = byhand.of("superuser"), byhand.head(f"custody:{kit}")
        document = superuser.execute(
            "SELECT document::text FROM custody.kit WHERE number = %s", [kit]
        ).fetchone()
        assert document is not None
        receipt = await house.seal_checked(kit)
        superuser.execute("SET custody.maintenance = 'on'")
        superuser.execute("ALTER TABLE custody.event DISABLE TRIGGER USER")
        superuser.execute("DELETE FROM custody.event WHERE digest = decode(%s, 'hex')", [receipt])
        superuser.execute("DELETE FROM audit.pending")
        superuser.execute(
            "UPDATE custody.head SET number = %s, digest = decode(%s, 'hex'), recorded_at = %s"
            " WHERE subject = %s",
            [before.number, before.digest, before.recorded_at, f"custody:{kit}"],
        )
        superuser.execute("UPDATE custody.kit SET document = %s WHERE number = %s", [document[0], kit])
    outside = recheck.Outside(keys={"events": house.signer.box.verifiers}, notes={"events": house.note})
    assert (await recheck.check(house.clerk, outside)).wrong is None
    await house.seal_checked(kit)
    await house.settle()
    assert await house.proof(receipt) is None  # it says so to whoever holds the receipt
    assert await house.proof(str(before.digest)) is not None


# --- the keys ---------------------------------------------------------------------------------------


@claim(KEYS, COULD, "sign another history")
@claim(KEYS, COULD_NOT, "make it consistent with checkpoints and proofs that others keep")
@claim(KEYS, COULD_NOT, "get a witness that has seen the log to cosign it")
async def test_another_history_is_signed_and_contradicts_what_others_keep(house: House) -> None:
    digest = await house.seal_checked(await house.story.registered())
    kept = await house.settle()
    size = Checkpoint.read(Note.read(kept).text).size
    proof = await house.proof(digest)
    witness = AWitness(
        name="witness.example",
        state=house.folder / "witness",
        logs=[LogKey.read(line) for line in house.vkeys.splitlines()],
    )
    honest = Note.read(kept)
    assert proof is not None
    assert witness.answer(write_request(0, [], honest))[0] == 200

    other = [sha256(bytes([1, n % 256])).digest() for n in range(size + 7)]
    without_it = [leaf for leaf in await digests_of(house.clerk) if leaf.hex() != digest]
    for history in (other[:size], other, without_it + other[:7]):
        forged = Forged(history)
        stated = forged.checkpoint(house.signer.box.origin)
        note = key.sign(stated, house.signer.box.signs, int(time.time()))
        assert open_note(note.written(), house.signer.box.verifiers) == stated  # signed it is
        hashes = forged.grown_from(size)
        earlier = Earlier(note=kept, hashes=hashes)
        assert not verify(house.vkeys, note.written(), earlier=earlier).holds
        with pytest.raises(InvalidProof):
            proof.check_under(bytes.fromhex(digest), stated)
        assert witness.answer(write_request(size, list(hashes), note))[0] in (409, 422)
    assert witness.seen()[house.signer.box.origin][0] == size


# --- a backup that is restored ----------------------------------------------------------------------


@claim(BACKUP, COULD, "lose the events recorded since then")
@claim(BACKUP, COULD_NOT, "do so unseen: both sizes are named and nothing is signed")
async def test_an_older_backup_is_named_with_both_sizes_and_never_signed(
    house: House, database: Database, tmp_path: Path
) -> None:
    await house.story.registered()
    before = await house.settle()
    await house.engines.dispose()
    older = Database(server=database.server, name=f"{database.name}_older")
    maintenance = ground.libpq(database.server.url(SUPERUSER, "postgres"))
    with psycopg.connect(maintenance, autocommit=True) as connection:
        names = [sql.Identifier(older.name), sql.Identifier(database.name)]
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
    digest = await house.seal_checked(await house.story.registered())
    since = await house.settle()
    had, has = (Checkpoint.read(Note.read(note).text).size for note in (since, before))
    restored = Engines(older)
    try:
        assert bytes.fromhex(digest) not in await digests_of(restored.clerk)
        with pytest.raises(Rewound) as told:
            await house.signer.check(restored.clerk)
    finally:
        await restored.dispose()
        with psycopg.connect(maintenance, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(older.name)))
    assert (told.value.signed, told.value.found) == (had, has)
    assert f"{has} leaves" in str(told.value)
    assert f"{had} were signed" in str(told.value)
    assert house.note == since
