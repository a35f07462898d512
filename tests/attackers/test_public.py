"""Attackers outside the house: readers and hosts of the public log, witnesses, authorities of time stamps."""

import base64
import re
import shutil
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256, sha512
from pathlib import Path

import pytest

from audit import key, witness
from audit.checkpoint import Checkpoint
from audit.key import ED25519, ML_DSA_44, NotSigned, SigningKey, open_note
from audit.note import Note
from audit.policy import Policy
from audit.proof import Proof
from audit.stamp import check, stamp
from audit.static import check_folder
from audit.tile import read_entries
from audit.verify import VerificationError, verify
from tests.attackers.claims import COULD, COULD_NOT, claim
from tests.attackers.house import Forged, House, digests_of
from tests.audit import an_authority
from tests.audit.a_witness import AWitness, LogKey, parse, running
from tests.audit.whole_log import digests, queue
from tests.conftest import Database
from tests.custody.story import NURSE

pytestmark = pytest.mark.anyio

openssl = an_authority.openssl

READER = "whoever reads the public log"
HOST = "whoever runs the static host of the public log"
WITNESS = "a witness"
AUTHORITY = "the authority of time stamps"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def entries(folder: Path) -> list[bytes]:
    """Every digest that the public log shows."""
    return [
        digest
        for path, data in sorted(files(folder).items())
        if path.startswith("tile/entries/")
        for digest in read_entries(data)
    ]


def size_of(note: bytes) -> int:
    return Checkpoint.read(Note.read(note).text).size


# --- readers ----------------------------------------------------------------------------------------


@claim(READER, COULD, "count whole tiles of 256 per slot")
@claim(READER, COULD_NOT, "learn whether a quiet night had a visit")
async def test_a_night_with_a_visit_and_one_without_look_alike_from_outside(house: House) -> None:
    await house.published()
    seen: dict[str, tuple[int, list[int]]] = {}
    for night in ("quiet", "with a visit", "busy"):
        if night == "with a visit":
            await house.story.registered()
        if night == "busy":
            await queue(house.engines.superuser, digests(0, 300))
        had, size = files(await house.exported()), size_of(house.note)
        await house.published()
        has = files(await house.exported())
        new = sorted(len(data) for path, data in has.items() if path not in had and "tile/1/" not in path)
        seen[night] = (size_of(house.note) - size, new)
    assert seen["with a visit"] == seen["quiet"] == (256, [256 * 32, 256 * 34])
    assert seen["busy"] == (512, [256 * 32, 256 * 32, 256 * 34, 256 * 34])


@claim(READER, COULD_NOT, "learn whose or what a digest is, or guess it")
async def test_the_public_log_has_digests_only_and_none_that_can_be_guessed(
    house: House, database: Database
) -> None:
    kit = await house.story.registered()
    for _ in range(2):
        await house.seal_checked(kit)
    await house.published()
    folder = await house.exported()
    whole = b"".join(files(folder).values())
    shown = set(entries(folder))
    assert len(shown) == 256
    with database.connect("superuser") as connection:
        rows = connection.execute("SELECT convert_from(bytes, 'UTF8') FROM custody.event").fetchall()
    events = [str(text) for (text,) in rows]
    assert {sha256(text.encode()).digest() for text in events} <= shown
    for known in (kit, str(NURSE.person), str(NURSE.name), "seal.checked"):
        assert known.encode() not in whole
        assert sha256(known.encode()).digest() not in shown
    for text in events:  # somebody who knows all of an event but its 128 random bits
        (salt,) = re.findall(r'"salt":"([0-9a-f]{32})"', text)
        for guess in (text.replace(salt, "0" * 32), text.replace(f',"salt":"{salt}"', "")):
            assert sha256(guess.encode()).digest() not in shown


# --- the host ---------------------------------------------------------------------------------------


@claim(HOST, COULD, "show an old state: whoever checks it is told that there may be a newer one")
@claim(HOST, COULD_NOT, "change unseen what its checkpoint speaks of")
async def test_an_old_folder_holds_and_an_altered_one_does_not(house: House) -> None:
    await house.seal_checked(await house.story.registered())
    await house.published()
    shutil.copytree(await house.exported(), house.folder / "old")
    await house.published()
    folder = await house.exported("new")
    old = check_folder(house.folder / "old", house.vkeys)
    assert old.holds
    assert any("later checkpoints may exist" in sentence for sentence in old.not_proved)
    assert check_folder(folder, house.vkeys).holds
    assert len(files(folder)) == 6  # checkpoint, three tiles, two bundles of entries
    for path, data in files(folder).items():
        for at in (0, len(data) // 2, len(data) - 1):
            (folder / path).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            assert not holds(folder, house.vkeys), f"{path}, byte {at}"
        (folder / path).unlink()
        assert not holds(folder, house.vkeys), f"{path} is missing"
        (folder / path).write_bytes(data)
    assert holds(folder, house.vkeys)


def holds(folder: Path, vkeys: str) -> bool:
    try:
        return check_folder(folder, vkeys).holds
    except VerificationError:
        return False


# --- a witness --------------------------------------------------------------------------------------


def policy(house: House, of: AWitness) -> Policy:
    log = "".join(f"log {line}\n" for line in house.vkeys.splitlines())
    return Policy.read(f"{log}witness w {of.vkey()} {of.url}\nquorum w\n".encode())


@claim(WITNESS, COULD, "refuse to cosign, which shows")
@claim(WITNESS, COULD_NOT, "learn more than sizes, roots and hashes of published checkpoints")
async def test_a_witness_that_is_silent_is_missed_and_one_that_signs_sees_no_digest(house: House) -> None:
    made = AWitness(
        name="witness.example",
        state=house.folder / "witness",
        logs=[LogKey.read(line) for line in house.vkeys.splitlines()],
    )
    public = []
    with running(made):
        trusted = policy(house, made)
        for _ in range(2):
            await house.seal_checked(await house.story.registered())
            public.append(size_of(await house.published()))
            told = await witness.ask(house.clerk, "events", trusted)
            assert told is not None
            assert told.reached, told
            await house.settle()
            await house.seal_checked(await house.story.registered())
            await house.settle()  # signed and not public: no witness hears of it
    sent = b"".join(made.bodies)
    assert {parse(body).size for body in made.bodies} == set(public)
    for digest in await digests_of(house.clerk):
        assert not any(form in sent for form in (digest, base64.b64encode(digest), digest.hex().encode()))
    await house.published()
    missed = await witness.ask(house.clerk, "events", trusted)
    assert missed is not None
    assert not missed.reached
    assert "w cannot be reached" in missed.words


@claim(WITNESS, COULD_NOT, "make a checkpoint of its own")
async def test_a_witness_alone_signs_no_checkpoint_of_the_log(house: House) -> None:
    await house.settle()
    own = Forged([sha256(b"of the witness").digest()]).checkpoint(house.signer.box.origin)
    in_our_name = [SigningKey(house.signer.box.origin, bytes(32), kind) for kind in (ED25519, ML_DSA_44)]
    genuine = Note.read(house.note).signatures
    signed = key.sign(own, in_our_name, int(time.time()))
    borrowed = Note(own.text(), genuine)
    for note in (signed, borrowed):
        with pytest.raises(NotSigned):
            open_note(note.written(), house.signer.box.verifiers)


# --- an authority of time stamps --------------------------------------------------------------------


@claim(AUTHORITY, COULD, "state a wrong time")
@claim(AUTHORITY, COULD_NOT, "make an event that is not in the log appear in it")
async def test_a_wrong_time_is_believed_and_a_wrong_log_is_not(house: House, openssl: str) -> None:
    digest = await house.seal_checked(await house.story.registered())
    authority = an_authority.found(house.folder / "authority")
    note, wrong = await house.published(), datetime.now(UTC).replace(microsecond=0) - timedelta(days=300)
    assert check(authority.by_hand(note, wrong), note, authority.roots).at == wrong

    invented = sha256(b"an event that nobody recorded").digest()
    forged = Forged([*await digests_of(house.clerk), invented]).checkpoint(house.signer.box.origin)
    forger = [SigningKey(house.signer.box.origin, bytes(32), kind) for kind in (ED25519, ML_DSA_44)]
    stamped = key.sign(forged, forger, int(time.time())).written()
    assert check(authority.by_hand(stamped, wrong), stamped, authority.roots).at == wrong
    assert not verify(house.vkeys, stamped).holds
    proof = await house.proof(digest)
    assert proof is not None
    other = Proof(proof.index, proof.hashes, proof.note).written()
    assert verify(house.vkeys, proof.note.written(), [(bytes.fromhex(digest), other)]).holds
    assert not verify(house.vkeys, proof.note.written(), [(invented, other)]).holds


@claim(AUTHORITY, COULD_NOT, "learn more than the SHA-512 of a checkpoint")
async def test_an_authority_is_sent_one_hash_and_a_random_number(house: House, openssl: str) -> None:
    authority = an_authority.found(house.folder / "authority")
    await house.seal_checked(await house.story.registered())
    note = await house.published()
    asked: list[bytes] = []

    def answer(query: bytes) -> bytes:
        asked.append(query)
        return authority.answer(query)

    with an_authority.serve(answer) as url:
        assert await stamp(house.clerk, "events", size_of(note), url, authority.roots) is not None
    (query,) = asked
    signed_by_the_log = Note(Note.read(note).text, Note.read(note).signatures).written()
    assert sha512(signed_by_the_log).digest() in query
    assert len(query) < 64 + 60  # the form around the hash, a nonce of 8 bytes, and nothing else
    for hidden in (Checkpoint.read(Note.read(note).text).root, house.signer.box.origin.encode()):
        assert hidden not in query
