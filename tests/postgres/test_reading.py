"""Row-level security as the only guard: plain SQL as the service's role, under every kind of reader."""

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from custody.ledger import reading
from custody.people import Actor, Function
from tests.custody.story import (
    ANALYST,
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    MAGISTRATE,
    NURSE,
    OFFICER,
    OTHER_CENTRE,
    OTHER_NURSE,
    ZONE,
)
from tests.postgres.evidence import Evidence

NOBODY = Actor(function=Function.AUDITOR)
OTHER_OFFICER = Actor(function=Function.OFFICER, person="otto", organisation="pz-avondrood")
AUDITOR = Actor(function=Function.AUDITOR, person="aude", organisation="toezicht")
ODD = [
    Actor(function=Function.NURSE),
    Actor(function=Function.OFFICER, organisation=CENTRE, person="x"),
    Actor(function=Function.MAGISTRATE, organisation=OTHER_CENTRE, person="x"),
    Actor(function=Function.CLOCK),
    Actor(function=Function.VICTIM, card="0" * 12),
    Actor(function=Function.COORDINATOR, organisation="' OR true --"),
]
KITS_OF = {
    "known kit": "SELECT number FROM custody.known_kit",
    "kit": "SELECT number FROM custody.kit",
    "package": "SELECT kit FROM custody.package",
    "custody trail": "SELECT kit FROM custody.event WHERE trail = 'custody'",
    "choices trail": "SELECT kit FROM custody.event WHERE trail = 'choices'",
    "data key": "SELECT kit FROM custody.data_key",
    "private part": "SELECT kit FROM custody.private_part",
    "proposal": "SELECT kit FROM custody.proposal WHERE kit IS NOT NULL AND signed_at IS NULL",
    "access": "SELECT kit FROM custody.access",
    "anything": "SELECT kit FROM custody.event WHERE kit IS NOT NULL",
    "look": "SELECT jsonb_object_keys(documents) FROM custody.look(%(actor)s, %(kits)s)",
}

OF_CENTRE = (
    *("known kit", "kit", "package", "custody trail", "choices trail", "data key", "private part", "look"),
)
OF_PARTIES = ("known kit", "package", "custody trail", "look", "anything")
"""The row of a kit itself is for its centre and the card: others read the view alone, which is cut."""
NEVER_OF_PARTIES = ("kit", "choices trail", "data key", "private part", "proposal", "access")


def seen(evidence: Evidence, actor: Actor | None, query: str) -> set[Any]:
    """What this reader sees of the first column, as the service's role and by no rule but the database's."""
    values = {
        "actor": Jsonb(actor.context() if actor else {}),
        "kits": [*evidence.kits, "0" * 12],
    }
    with evidence.database.connect("service") as connection, connection.transaction():
        if actor is not None:
            connection.execute("SELECT custody.enter(%(actor)s)", values)
        return {row[0] for row in connection.execute(query, values)}


def kits_seen(evidence: Evidence, actor: Actor | None) -> dict[str, set[str]]:
    return {what: seen(evidence, actor, query) for what, query in KITS_OF.items()}


def test_without_a_context_no_kit_exists(evidence: Evidence) -> None:
    assert kits_seen(evidence, None) == {what: set() for what in KITS_OF}
    for table in ("request", "answer", "reserved_number", "proposal", "access"):
        assert seen(evidence, None, f"SELECT 1 FROM custody.{table}") == set()


def test_the_centre_sees_its_kits_and_no_other_centres(evidence: Evidence) -> None:
    own = evidence.kits - {evidence.of_other_centre}
    found = kits_seen(evidence, NURSE)
    for what in OF_CENTRE:
        assert found[what] == own, what
    assert found["proposal"] == {evidence.unreported}
    assert found["access"] == set()
    assert kits_seen(evidence, COORDINATOR)["access"] == {evidence.unreported}

    other = {evidence.of_other_centre}
    found = kits_seen(evidence, OTHER_NURSE)
    for what in OF_CENTRE:
        assert found[what] == other, what
    assert found["proposal"] == found["access"] == set()


@pytest.mark.parametrize("actor", [OFFICER, MAGISTRATE], ids=["police", "prosecutor"])
def test_for_police_and_prosecutor_only_a_linked_kit_exists_and_never_its_choices(
    evidence: Evidence, actor: Actor
) -> None:
    found = kits_seen(evidence, actor)
    for what in OF_PARTIES:
        assert found[what] == {evidence.linked}, what
    for what in NEVER_OF_PARTIES:
        assert found[what] == set(), what


def test_a_laboratory_sees_the_kit_whose_package_it_holds_and_no_choices(evidence: Evidence) -> None:
    found = kits_seen(evidence, ANALYST)
    for what in OF_PARTIES:
        assert found[what] == {evidence.at_the_lab}, what
    for what in NEVER_OF_PARTIES:
        assert found[what] == set(), what


def test_a_card_opens_its_own_kit_and_none_of_its_secrets(evidence: Evidence) -> None:
    card = Actor(function=Function.VICTIM, card=evidence.declared)
    found = kits_seen(evidence, card)
    for what in ("known kit", "kit", "package", "custody trail", "choices trail", "look"):
        assert found[what] == {evidence.declared}, what
    for what in ("data key", "private part", "proposal", "access"):
        assert found[what] == set(), what


@pytest.mark.parametrize("actor", [NOBODY, OTHER_OFFICER, AUDITOR], ids=["nobody", "other zone", "auditor"])
def test_everybody_else_sees_no_kit(evidence: Evidence, actor: Actor) -> None:
    assert kits_seen(evidence, actor) == {what: set() for what in KITS_OF}


@pytest.mark.parametrize("actor", ODD, ids=lambda a: f"{a.function}-{a.organisation or a.card}")
def test_an_odd_context_never_sees_choices_or_secrets(evidence: Evidence, actor: Actor) -> None:
    found = kits_seen(evidence, actor)
    for what in NEVER_OF_PARTIES:
        assert found[what] == set(), what


def test_a_request_shows_the_police_that_it_was_received_and_nothing_of_what_was_found(
    evidence: Evidence,
) -> None:
    asked = {evidence.answered, evidence.waiting, "c3" * 16}
    assert seen(evidence, OFFICER, "SELECT id FROM custody.request") == asked
    assert seen(evidence, OFFICER, "SELECT request FROM custody.answer") == set()
    types = "SELECT DISTINCT type FROM custody.event WHERE trail = 'request'"
    assert seen(evidence, OFFICER, types) == {"request.received"}
    assert seen(evidence, CUSTODIAN, types) == {"request.received", "request.answered"}
    assert seen(evidence, CUSTODIAN, "SELECT request FROM custody.answer") == {evidence.answered, "c3" * 16}
    for stranger in (OTHER_NURSE, OTHER_OFFICER, MAGISTRATE, ANALYST, None):
        assert seen(evidence, stranger, "SELECT id FROM custody.request") == set()
        assert seen(evidence, stranger, types) == set()
    # Rows look the same whether answered or not: no column of the request changes with the answer.
    columns = "SELECT to_jsonb(q) - ARRAY['id', 'received_at'] #>> '{}' FROM custody.request q"
    assert len(seen(evidence, OFFICER, columns)) == 1


def test_nobody_counts_the_unanswered_requests_of_a_centre(evidence: Evidence) -> None:
    for query in (
        "SELECT unanswered_requests FROM custody.organisation",
        "SELECT * FROM custody.organisation",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            seen(evidence, OFFICER, query)
    assert ZONE in seen(evidence, OFFICER, "SELECT id FROM custody.organisation")


def test_reserved_numbers_are_the_centres_own(evidence: Evidence) -> None:
    query = "SELECT number FROM custody.reserved_number"
    assert seen(evidence, NURSE, query) == {evidence.reserved}
    for stranger in (OTHER_NURSE, OFFICER, ANALYST, None):
        assert seen(evidence, stranger, query) == set()


def test_heads_of_kits_are_told_to_nobody(evidence: Evidence) -> None:
    subjects = [f"{trail}:{kit}" for trail in ("custody", "choices") for kit in sorted(evidence.kits)]
    with evidence.database.connect("service") as connection:
        connection.execute("SELECT custody.enter(%s)", [Jsonb(NURSE.context())])
        assert connection.execute("SELECT * FROM custody.heads(%s)", [subjects]).fetchall() == []


def test_hashes_of_cards_are_read_by_no_role_and_found_only_by_the_code(evidence: Evidence) -> None:
    for role in ("service", "clerk", "auditor"):
        with evidence.database.connect(role) as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT * FROM custody.card")
            if role == "service":
                found = connection.execute("SELECT * FROM custody.find_card(%s)", [bytes(32)]).fetchall()
                assert found == []


def test_the_auditor_reads_the_log_and_no_kit(evidence: Evidence) -> None:
    with evidence.database.connect("auditor") as connection:
        connection.execute("SELECT count(*) FROM audit.leaf")
        for table in ("kit", "event", "package", "request", "access", "proposal"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT * FROM custody.{table}".encode())


@pytest.mark.anyio
async def test_a_pooled_connection_keeps_no_context_after_commit_rollback_or_a_statement(
    evidence: Evidence,
) -> None:
    engine = create_async_engine(evidence.database.url("service"), pool_size=1, max_overflow=0)
    count = text("SELECT count(*) FROM custody.known_kit")
    try:
        async with reading(engine, NURSE) as connection:
            assert await connection.scalar(count) == 4
        async with engine.connect() as connection:
            assert await connection.scalar(count) == 0

        async def fails() -> None:
            async with reading(engine, NURSE) as connection:
                assert await connection.scalar(count) == 4
                raise RuntimeError("on the way")

        with pytest.raises(RuntimeError, match="on the way"):
            await fails()
        async with reading(engine, OFFICER) as connection:
            assert await connection.scalar(count) == 1
        async with reading(engine, NOBODY) as connection:
            assert await connection.scalar(count) == 0

        autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        async with autocommit.connect() as connection:
            await connection.execute(
                text("SELECT custody.look(CAST(:a AS jsonb), '{}')"),
                {"a": '{"function": "nurse", "organisation": "zsg-sterrenberg"}'},
            )
            assert await connection.scalar(count) == 0
    finally:
        await engine.dispose()
