"""Asking witnesses: stories with a real one of our own making, and what is stored of them."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import insert, select, text

from audit import log, sign, tables
from audit.key import COSIGNATURE, ML_DSA_44, SigningKey
from audit.keybox import Keybox, create_keys, open_box
from audit.note import Note, Signature
from audit.policy import Policy
from audit.sign import Signer
from audit.witness import ask, last_quorum_at, quorum, write_request
from tests.audit import a_witness
from tests.audit.a_witness import LogKey
from tests.audit.whole_log import digests, grow
from tests.audit.witnessed import (
    ORIGIN,
    Start,
    another_past,
    asked,
    line_of,
    policy,
    publish,
    shown_elsewhere,
    sign_up_to,
    stored,
)
from tests.conftest import Database, Engines


@pytest.mark.anyio
async def test_a_witness_cosigns_what_is_published_and_follows_the_log_as_it_grows(
    engines: Engines, signer: Signer, start: Start
) -> None:
    one = start("w1")
    wanted = policy(line_of(one))
    await publish(engines, signer, 256)
    first = await asked(engines, wanted)
    assert first.reached
    assert first.troubles == ()
    assert [cosigned.name for cosigned in first.cosigned] == ["w1"]
    for size in (512, 1024, 20_224):
        await publish(engines, signer, size)
        assert (await asked(engines, wanted)).reached
    assert one.asked == [(0, 256, 200), (256, 512, 200), (512, 1024, 200), (1024, 20_224, 200)]
    assert await stored(engines) == [(size, "w1.example") for size in (256, 512, 1024, 20_224)]


@pytest.mark.anyio
async def test_witnesses_are_asked_only_for_what_is_missing(
    engines: Engines, signer: Signer, start: Start
) -> None:
    one, other = start("w1"), start("w2")
    await publish(engines, signer, 256)
    assert (await asked(engines, policy(line_of(one)))).reached
    both = policy(line_of(one), line_of(other))
    assert (await asked(engines, both)).reached
    assert (await asked(engines, both)).reached
    assert (one.asked, other.asked) == ([(0, 256, 200)], [(0, 256, 200)])


@pytest.mark.anyio
async def test_nothing_is_asked_before_anything_is_published(
    engines: Engines, signer: Signer, start: Start
) -> None:
    one = start("w1")
    await sign_up_to(engines, signer, 300)
    assert await ask(engines.clerk, "events", policy(line_of(one))) is None
    async with engines.service.connect() as connection:
        assert await quorum(connection, "events", policy(line_of(one))) is None
        assert await last_quorum_at(connection, "events", policy(line_of(one))) is None
        assert await last_quorum_at(connection, "events", Policy.read(b"quorum none\n")) is None
    assert one.bodies == []


@pytest.mark.anyio
async def test_a_witness_learns_no_size_that_is_not_public(
    engines: Engines, signer: Signer, start: Start
) -> None:
    one = start("w1")
    await sign_up_to(engines, signer, 3)
    await publish(engines, signer, 256)
    await sign_up_to(engines, signer, 300)
    assert (await asked(engines, policy(line_of(one)))).reached
    await publish(engines, signer, 512)
    await sign_up_to(engines, signer, 513)
    assert (await asked(engines, policy(line_of(one)))).reached
    async with engines.clerk.connect() as connection:
        published = [
            await log.prove_consistency(connection, "events", *pair) for pair in ((0, 256), (256, 512))
        ]
        rows = await connection.execute(
            select(tables.checkpoint.c.size, tables.checkpoint.c.note).where(
                tables.checkpoint.c.size.in_([256, 512])
            )
        )
        notes = {row.size: Note.read(row.note.encode()) for row in rows}
    assert one.bodies == [write_request(proof.old, proof.hashes, notes[proof.new]) for proof in published]


@pytest.mark.anyio
async def test_the_other_log_has_witnesses_of_its_own_past(
    engines: Engines, tmp_path: Path, start: Start
) -> None:
    one = start("w1")
    path = tmp_path / "reads" / "reads.key"
    create_keys(path, f"{ORIGIN}/reads")
    with open_box(path) as box:
        one.logs += [LogKey.read(key.written()) for key in box.verifiers]
        await sign.initialise(engines.clerk, "reads", box)
        signer = Signer("reads", box)
        await signer.check(engines.clerk)
        await grow(engines.superuser, engines.clerk, digests(0, 256), "reads")
        await signer.sign(engines.clerk)
        row = {"log": "reads", "size": 256, "slot": datetime(2026, 1, 1, tzinfo=UTC)}
        async with engines.clerk.begin() as transaction:
            await transaction.execute(insert(tables.publication).values(row))
    found = await ask(engines.clerk, "reads", policy(line_of(one)))
    assert found is not None
    assert found.reached
    assert await ask(engines.clerk, "events", policy(line_of(one))) is None


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [COSIGNATURE, ML_DSA_44])
async def test_witnesses_of_both_kinds_are_believed(
    engines: Engines, signer: Signer, start: Start, kind: int
) -> None:
    one = start("w1", (kind,))
    await publish(engines, signer, 256)
    assert (await asked(engines, policy(line_of(one, kind)))).reached


@pytest.mark.anyio
async def test_two_keys_of_one_witness_are_asked_for_in_one_request(
    engines: Engines, signer: Signer, start: Start
) -> None:
    one = start("w1", (a_witness.ED25519, a_witness.ML_DSA_44))
    both = policy(f"witness old {one.vkey()} {one.url}\n", f"witness new {one.vkey(ML_DSA_44)} {one.url}\n")
    await publish(engines, signer, 256)
    found = await asked(engines, both)
    assert [cosigned.name for cosigned in found.cosigned] == ["old", "new"]
    assert one.asked == [(0, 256, 200)]
    one.kinds = (a_witness.ED25519,)
    await publish(engines, signer, 512)
    found = await asked(engines, both)
    assert not found.reached
    assert [trouble.words for trouble in found.troubles] == ["new answered without a cosignature by its key."]
    assert [cosigned.name for cosigned in found.cosigned] == ["old"]


@pytest.mark.anyio
async def test_a_witness_that_forgot_or_is_behind_is_asked_again_from_where_it_is(
    engines: Engines, signer: Signer, start: Start
) -> None:
    one = start("w1")
    wanted = policy(line_of(one))
    await publish(engines, signer, 256)
    await asked(engines, wanted)
    behind = one.state.read_bytes()
    await publish(engines, signer, 512)
    await asked(engines, wanted)
    one.state.write_bytes(behind)
    one.asked.clear()
    await publish(engines, signer, 768)
    assert (await asked(engines, wanted)).reached
    assert one.asked == [(512, 768, 409), (256, 768, 200)]
    one.state.unlink()
    one.asked.clear()
    await publish(engines, signer, 1024)
    assert (await asked(engines, wanted)).reached
    assert one.asked == [(768, 1024, 409), (0, 1024, 200)]


@pytest.mark.anyio
async def test_a_cosignature_whose_answer_was_lost_is_got_at_the_next_round(
    engines: Engines, signer: Signer, start: Start
) -> None:
    one = start("w1")
    wanted = policy(line_of(one))
    await publish(engines, signer, 256)
    async with engines.clerk.connect() as connection:
        note = await log.last_checkpoint(connection, "events")
    assert note is not None
    assert one.answer(write_request(0, [], Note.read(note)))[0] == 200
    one.asked.clear()
    assert (await asked(engines, wanted)).reached
    assert one.asked == [(0, 256, 409), (256, 256, 200)]


@pytest.mark.anyio
async def test_a_witness_that_saw_more_than_a_restored_database_holds_is_named(
    engines: Engines, signer: Signer, box: Keybox, start: Start
) -> None:
    one, other = start("w1"), start("w2")
    await publish(engines, signer, 256)
    shown_elsewhere(box, one, 512, bytes(range(32)))
    found = await asked(engines, policy(line_of(one), line_of(other)))
    assert not found.reached
    (trouble,) = found.troubles
    assert (trouble.name, trouble.grave) == ("w1", True)
    assert "w1 has cosigned 512 leaves of this log, but only 256 are here: the database was" in found.words
    assert one.asked == [(0, 256, 409)]
    assert await stored(engines) == [(256, "w2.example")]


@pytest.mark.anyio
async def test_a_witness_that_was_shown_more_than_was_published_is_named(
    engines: Engines, signer: Signer, start: Start
) -> None:
    one = start("w1")
    await publish(engines, signer, 256)
    await sign_up_to(engines, signer, 300)
    async with engines.clerk.connect() as connection:
        live = await log.last_checkpoint(connection, "events")
    assert live is not None
    one.answer(write_request(0, [], Note.read(live)))
    found = await asked(engines, policy(line_of(one)))
    assert [trouble.grave for trouble in found.troubles] == [True]
    assert "w1 has cosigned 300 leaves, but only 256 are published" in found.words


@pytest.mark.anyio
async def test_a_witness_asked_for_a_later_publication_meanwhile_is_no_alarm(
    engines: Engines, database: Database, signer: Signer, start: Start
) -> None:
    one = start("w1")
    await publish(engines, signer, 256)
    await sign_up_to(engines, signer, 512)
    async with engines.clerk.connect() as connection:
        later = await log.last_checkpoint(connection, "events")
    assert later is not None
    one.answer(write_request(0, [], Note.read(later)))

    def published_meanwhile() -> None:
        with database.connect("clerk") as connection:
            connection.execute(
                "INSERT INTO audit.publication (log, slot, size) VALUES ('events', now(), 512)"
            )

    one.before = published_meanwhile
    found = await asked(engines, policy(line_of(one)))
    assert [(trouble.words, trouble.grave) for trouble in found.troubles] == [
        ("w1 was asked for a later publication meanwhile.", False)
    ]


@pytest.mark.anyio
async def test_a_log_that_does_not_continue_what_a_witness_saw_is_refused_and_nothing_is_stored(
    engines: Engines, signer: Signer, box: Keybox, start: Start
) -> None:
    one, other = start("w1"), start("w2")
    shown_elsewhere(box, one, 256, another_past())
    before = one.seen()
    await publish(engines, signer, 512)
    found = await asked(engines, policy(line_of(one), line_of(other), wants="any"))
    assert found.reached
    assert [(trouble.name, trouble.grave) for trouble in found.troubles] == [("w1", True)]
    assert "does not continue the one it has seen (422)" in found.words
    assert one.asked == [(0, 512, 409), (256, 512, 422)]
    assert one.seen() == before
    assert await stored(engines) == [(512, "w2.example")]


@pytest.mark.anyio
async def test_another_log_of_the_same_size_is_refused_and_named(
    engines: Engines, signer: Signer, box: Keybox, start: Start
) -> None:
    one = start("w1")
    shown_elsewhere(box, one, 256, another_past())
    await publish(engines, signer, 256)
    found = await asked(engines, policy(line_of(one)))
    assert [trouble.grave for trouble in found.troubles] == [True]
    assert "w1 has seen another log of 256 leaves under our name (409)" in found.words
    assert one.asked == [(0, 256, 409), (256, 256, 409)]
    assert await stored(engines) == []


@pytest.mark.anyio
async def test_a_witness_that_does_not_know_us_says_so(
    engines: Engines, signer: Signer, start: Start
) -> None:
    stranger = start("w1", logs=[])
    forgetful = start("w2")
    forgetful.logs = [LogKey.read(SigningKey(ORIGIN, bytes(32)).verifier.written())]
    mistyped = start("w3")
    await publish(engines, signer, 256)
    found = await asked(
        engines,
        policy(line_of(stranger), line_of(forgetful), line_of(mistyped, url=f"{mistyped.url}/elsewhere")),
    )
    assert not found.reached
    assert [trouble.grave for trouble in found.troubles] == [False, False, False]
    for words in (
        "w1 does not know this log, or is not at this address (404)",
        "w2 does not accept the log's signatures (403)",
        "w3 does not know this log, or is not at this address (404)",
    ):
        assert words in found.words
    assert stranger.asked == [(0, 256, 404)]


@pytest.mark.anyio
async def test_without_an_address_nobody_is_asked_and_what_was_stored_still_counts(
    engines: Engines, signer: Signer, start: Start
) -> None:
    one = start("w1")
    await publish(engines, signer, 256)
    await asked(engines, policy(line_of(one)))
    offline = policy(f"witness w1 {one.vkey()}\n")
    assert (await asked(engines, offline)).reached
    async with engines.service.connect() as connection:
        found = await quorum(connection, "events", offline)
    assert found is not None
    assert found.reached
    await publish(engines, signer, 512)
    assert not (await asked(engines, offline)).reached
    assert len(one.asked) == 1


# --- what is stored -------------------------------------------------------------------------


@pytest.mark.anyio
async def test_two_rounds_at_once_store_one_line_each_and_both_see_the_quorum(
    engines: Engines, signer: Signer, start: Start
) -> None:
    wanted = policy(*(line_of(start(name)) for name in ("w1", "w2", "w3")))
    await publish(engines, signer, 256)
    both = await asyncio.gather(asked(engines, wanted), asked(engines, wanted))
    assert [found.reached for found in both] == [True, True]
    assert await stored(engines) == [(256, f"{name}.example") for name in ("w1", "w2", "w3")]


@pytest.mark.anyio
async def test_what_a_witness_said_is_never_changed_or_removed(
    engines: Engines, database: Database, signer: Signer, start: Start
) -> None:
    await publish(engines, signer, 256)
    await asked(engines, policy(line_of(start("w1"))))
    for role, refused in (("clerk", psycopg.errors.InsufficientPrivilege), ("superuser", psycopg.Error)):
        for change in (
            "UPDATE audit.cosignature SET line = 'another'",
            "DELETE FROM audit.cosignature",
            "TRUNCATE audit.cosignature",
        ):
            with database.connect(role) as connection, pytest.raises(refused):
                connection.execute(change)
    assert await stored(engines) == [(256, "w1.example")]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["a forged line", "no line at all"])
async def test_a_line_that_was_planted_is_no_quorum_and_is_named(
    engines: Engines, database: Database, signer: Signer, start: Start, kind: str
) -> None:
    one = start("w1")
    wanted = policy(f"witness w1 {one.vkey()}\n")
    await publish(engines, signer, 256)
    key_id = one.key_id(a_witness.ED25519)
    line = Signature(one.name, key_id, bytes(72)).line() if kind == "a forged line" else kind
    with database.connect("clerk") as direct:
        direct.execute(
            "INSERT INTO audit.cosignature (log, size, name, key_id, line)"
            " VALUES ('events', 256, %s, %s, %s)",
            [one.name, key_id, line],
        )
    async with engines.service.connect() as connection:
        found = await quorum(connection, "events", wanted)
        assert await last_quorum_at(connection, "events", wanted) is None
    assert found is not None
    assert not found.reached
    assert [trouble.grave for trouble in found.troubles] == [True]
    assert "cannot be trusted" in found.words


@pytest.mark.anyio
async def test_a_planted_line_of_a_size_that_is_not_reached_keeps_no_witness_from_being_asked(
    engines: Engines, database: Database, signer: Signer, start: Start
) -> None:
    one = start("w1")
    await publish(engines, signer, 256)
    with database.connect("clerk") as direct:
        direct.execute(
            "INSERT INTO audit.cosignature (log, size, name, key_id, line)"
            " VALUES ('events', 512, %s, %s, 'x')",
            [one.name, one.key_id(a_witness.ED25519)],
        )
    assert (await asked(engines, policy(line_of(one)))).reached
    assert one.asked == [(0, 256, 200)]


@pytest.mark.anyio
async def test_the_last_quorum_is_told_with_the_moment_that_completed_it(
    engines: Engines, signer: Signer, start: Start
) -> None:
    one, other, late = start("w1"), start("w2"), start("w3")
    two_of_three = policy(line_of(one), line_of(other), line_of(late), wants="2")
    await publish(engines, signer, 256)
    await asked(engines, policy(line_of(one)))
    assert await at(engines, two_of_three) is None
    await asked(engines, policy(line_of(other)))
    await asked(engines, policy(line_of(late)))
    times = await received(engines)
    assert times[256, "w1.example"] < times[256, "w2.example"] < times[256, "w3.example"]
    assert await at(engines, two_of_three) == times[256, "w2.example"]

    await publish(engines, signer, 512)
    assert not (await asked(engines, policy(line_of(one)))).troubles
    assert await at(engines, two_of_three) == times[256, "w2.example"]
    await asked(engines, policy(line_of(late)))
    assert await at(engines, two_of_three) == (await received(engines))[512, "w3.example"]
    async with engines.auditor.connect() as connection:
        published_at = await connection.scalar(text("SELECT max(published_at) FROM audit.publication"))
    assert await at(engines, Policy.read(b"quorum none\n")) == published_at


async def at(engines: Engines, wanted: Policy) -> datetime | None:
    async with engines.service.connect() as connection:
        return await last_quorum_at(connection, "events", wanted)


async def received(engines: Engines) -> dict[tuple[int, str], datetime]:
    columns = tables.cosignature.c
    async with engines.auditor.connect() as connection:
        rows = await connection.execute(select(columns.size, columns.name, columns.received_at))
        return {(row.size, row.name): row.received_at for row in rows}
