"""Attackers with a role in the database: the web service, the clerk, a superuser, a thief of a backup."""

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import timedelta
from hashlib import sha256
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from audit import log
from custody import rebuild, recheck
from custody.commands import DeclareReport
from custody.event import Fact
from custody.kit import to_document
from custody.people import CLOCK, Actor
from custody.private import PrivateRefused, unwrap
from custody.prosecution import declare
from custody.protocol import STEPS, Retention
from custody.trail import after
from desk.postgres import EmbeddedServer
from tests.attackers.claims import COULD, COULD_NOT, claim
from tests.conftest import Database, Engines
from tests.custody.byhand import ByHand, refused
from tests.custody.story import (
    CENTRE,
    COORDINATOR,
    CUSTODIAN_2,
    NURSE,
    NURSE_2,
    OFFICER,
    OTHER_NURSE,
    PlainMasters,
    begin,
)
from tests.custody.test_event import SAMPLES
from tests.desk.conftest import Desk
from tests.postgres.evidence import Evidence, evidence_on
from tests.retention.kept import OBSERVER, adopt, kept_until_approved
from tests.retention.unchecked import disposal

pytestmark = pytest.mark.anyio

SERVICE = "the web service itself (role `custody_service`)"
CLERK = "the clerk (role `custody_clerk`)"
THIEF = "a thief of a backup"

PROTOCOL, BYTES, CHECK = "CU002", "CU003", "23514"
Advance = Callable[[timedelta], None]


@pytest.fixture(scope="module")
def evidence(server: EmbeddedServer) -> Iterator[Evidence]:
    yield from evidence_on(server)


@pytest.fixture
def byhand(evidence: Evidence) -> Iterator[ByHand]:
    with ByHand(evidence.database) as open_:
        yield open_


def looked_at(kit: str, actor: Actor = NURSE) -> Fact:
    """A fact that harms nobody: the seal of package 1 is intact."""
    fields = {"packages": [{"package": 1, "seal": "S-0001", "condition": "intact"}]}
    return Fact(type="seal.checked", subject=f"custody:{kit}", who=actor.who(), fields=fields)


def writes(connection: psycopg.Connection, *tables: str) -> None:
    """Every way to change or remove rows of these tables is refused to this role."""
    for table in tables:
        (column,) = connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum = 1", [table]
        ).fetchone() or ("",)
        for statement in (
            f'UPDATE {table} SET "{column}" = "{column}"',
            f"DELETE FROM {table}",
            f"TRUNCATE {table} CASCADE",
            f"ALTER TABLE {table} DISABLE TRIGGER ALL",
            f"DROP TABLE {table} CASCADE",
        ):
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.RaiseException)):
                connection.execute(sql.SQL(statement))


# --- the web service --------------------------------------------------------------------------------


@claim(
    SERVICE,
    COULD,
    "claim to be any person in office, one after the other, and see what row-level security shows them",
)
def test_the_service_sees_with_the_eyes_of_whom_it_names_and_of_nobody_without(
    byhand: ByHand, evidence: Evidence
) -> None:
    def seen(actor: Actor | None) -> set[str]:
        with byhand.of().transaction():
            if actor is not None:
                byhand.of().execute("SELECT custody.enter(%s)", [Jsonb(actor.context())])
            return {number for (number,) in byhand.of().execute("SELECT number FROM custody.known_kit")}

    assert seen(None) == set()
    assert seen(OTHER_NURSE) == {evidence.of_other_centre}
    assert seen(OFFICER) == {evidence.linked}
    assert seen(NURSE) == evidence.kits - {evidence.of_other_centre}


@claim(SERVICE, COULD, "call `append`, and so write in their names, which stays on record")
def test_the_service_writes_in_the_names_of_two_people_and_both_stay_on_record(
    byhand: ByHand, evidence: Evidence
) -> None:
    kit = byhand.kit(evidence.declared)
    document = to_document(kit)
    fields = {"how": "in_person", "term": document["term"], "policy": document["policy"]}
    withdrawn = Fact(
        type="report.withdrawn",
        subject=f"choices:{kit.number}",
        who=NURSE.who(),
        fields={**fields, "with": [NURSE_2.signs("second")]},
    )
    byhand.write(NURSE_2, withdrawn, proposal=byhand.propose(NURSE, kit.number))
    row = byhand.of("superuser").execute(
        "SELECT convert_from(bytes, 'UTF8') FROM custody.event WHERE type = 'report.withdrawn'"
    )
    (told,) = row.fetchone() or ("",)
    assert NURSE.name in told
    assert NURSE_2.name in told


@claim(
    SERVICE,
    COULD,
    "put into the projection what the database does not guard, which `custody rebuild --check` names",
)
async def test_a_projection_that_lies_where_it_is_not_guarded_is_named(
    engines: Engines, database: Database
) -> None:
    story = await begin(engines.service, engines.clerk)
    kit = await story.registered()
    assert await rebuild.check(engines.clerk) == []
    with ByHand(database) as byhand:
        event = byhand.event(looked_at(kit))
        document = to_document(after(byhand.kit(kit), event))
        document["packages"]["2"]["holder"]["person"] = CUSTODIAN_2.person
        byhand.append(NURSE, [event], documents={kit: document})
    named = await rebuild.check(engines.clerk)
    assert {(each.subject, "holder" in each.column) for each in named} == {(kit, True)}


@claim(SERVICE, COULD_NOT, "change or delete an event, a leaf or a checkpoint")
def test_the_service_changes_and_deletes_nothing(byhand: ByHand) -> None:
    writes(byhand.of("service"), "custody.event", "audit.leaf", "audit.checkpoint")


@claim(SERVICE, COULD_NOT, "write as the clock")
def test_the_service_is_not_the_clock(byhand: ByHand, evidence: Evidence) -> None:
    kit = evidence.unreported
    due = byhand.event(Fact(type="notice.due", subject=f"choices:{kit}", who=CLOCK.who(), fields={}))
    document = {kit: to_document(after(byhand.kit(kit), due))}
    with refused(BYTES):
        byhand.append(CLOCK, [due], documents=document, connection=byhand.of("service"))
    with refused(BYTES):
        byhand.append(NURSE, [due], documents=document, connection=byhand.of("service"))


@claim(SERVICE, COULD_NOT, "write a step that the protocol does not have from where the kit stands")
def test_the_service_takes_no_step_that_the_protocol_does_not_have(
    byhand: ByHand, evidence: Evidence
) -> None:
    kit = evidence.unreported
    document = {kit: to_document(byhand.kit(kit))}
    for type_ in ("kit.released", "kit.linked", "package.deposited", "disposal.approved", "package.voided"):
        trail = "choices" if type_ == "disposal.approved" else "custody"
        fact = Fact(type="seal.checked", subject=f"{trail}:{kit}", who=NURSE.who(), fields={})
        sample = json.loads(SAMPLES[type_])
        needed: dict[str, Any] = {name: sample[name] for name in STEPS[type_].needs}
        if "packages" in needed:
            needed["packages"] = [{"package": 1}]
        event = byhand.event(fact, type=type_, **needed)
        with refused(PROTOCOL):
            byhand.append(NURSE, [event], documents=document)


PROTECTS = {
    "a report": "UPDATE custody.kit SET legal = 'declared'",
    "a hold": "UPDATE custody.kit SET holds = 1",
    "a hand-over": "UPDATE custody.kit SET in_transit = 1",
    "a request": "UPDATE custody.organisation SET unanswered_requests = 1",
    "an unexpired term": "UPDATE custody.kit SET term_over_at = custody.clock() + interval '1 hour'",
}


@claim(
    SERVICE,
    COULD_NOT,
    "dispose of a kit while a report, a hold, a hand-over, a request or an unexpired term protects it",
)
async def test_without_any_rule_of_the_service_a_protected_kit_is_not_disposed_of(
    engines: Engines, database: Database, advance: Advance
) -> None:
    story = await begin(engines.service, engines.clerk)
    await adopt(story)
    number = await kept_until_approved(story, advance)
    with ByHand(database) as byhand:
        write = disposal(byhand, byhand.kit(number))
        proposal = byhand.propose(CUSTODIAN_2, number)
        inside = byhand.of("superuser")
        for what, protect in PROTECTS.items():
            with inside.transaction(force_rollback=True):
                inside.execute(sql.SQL(protect))
                with pytest.raises(psycopg.Error) as told, inside.transaction():
                    write.do(inside, proposal)
                assert told.value.sqlstate in (PROTOCOL, CHECK), what
        write.do(byhand.of(), proposal)  # nothing protects it any more
    assert (await story.kit(number)).retention is Retention.DISPOSED


# --- the clerk --------------------------------------------------------------------------------------


@claim(CLERK, COULD, "stop integrating and signing: no receipt gets a proof any more")
def test_without_the_clerk_receipts_stay_without_a_proof(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    (receipt, *_) = nurse.register(desk.now())["receipts"]
    answer = nurse.get(f"receipts/{receipt['digest']}")
    assert (answer.status_code, answer.json()["answer"]) == (202, "not yet in the log")


@claim(CLERK, COULD, "leave a digest out of the log or put a false one in, which `custody log check` names")
async def test_what_the_clerk_leaves_out_or_puts_in_is_named(engines: Engines, database: Database) -> None:
    story = await begin(engines.service, engines.clerk)
    kit = await story.registered()
    async with engines.clerk.begin() as connection:
        await log.integrate(connection, "events")

    async def wrong() -> str | None:
        return (await recheck.check(engines.clerk, recheck.Outside())).wrong

    assert await wrong() is None
    report = DeclareReport(kit=kit, how="in_person")
    await story.do(NURSE, [kit], lambda seen: declare(seen.kit(kit), report, NURSE))
    assert await wrong() is None  # it waits for its leaf
    with database.connect("clerk") as clerk:
        assert clerk.execute("DELETE FROM audit.pending").rowcount == 1
        assert re.search(f"choices:{kit} .*not in the log", str(await wrong()))
        clerk.execute(
            "INSERT INTO audit.leaf SELECT log, max(index) + 1, sha256('none') FROM audit.leaf GROUP BY log"
        )
    assert re.search(r"Leaf \d+ of the log events", str(await wrong()))


@claim(CLERK, COULD, "write what the clock may write, an appointment for example")
def test_the_clerk_appoints_somebody_and_that_stays_on_record(byhand: ByHand) -> None:
    register = {"id": "nora", "organisation": CENTRE, "function": "coordinator", "from": "2020-01-01"}
    fact = Fact(
        type="person.appointed", subject="person:nora", who=CLOCK.who(), fields={"register": register}
    )
    with refused(BYTES):
        byhand.append(NURSE, [byhand.event(fact, who=NURSE.who())])
    event = byhand.event(fact)
    byhand.append(CLOCK, [event])
    row = byhand.of("superuser").execute("SELECT person FROM custody.event WHERE bytes = %s", [event.bytes])
    assert row.fetchone() == ("clock",)


@claim(CLERK, COULD_NOT, "change or delete an event or a leaf")
def test_the_clerk_changes_and_deletes_neither_event_nor_leaf(byhand: ByHand) -> None:
    writes(byhand.of("clerk"), "custody.event", "audit.leaf", "audit.checkpoint")


@claim(CLERK, COULD_NOT, "write in anybody's name")
def test_the_clerk_writes_as_nobody_but_the_clock(byhand: ByHand, evidence: Evidence) -> None:
    kit = evidence.unreported
    event = byhand.event(looked_at(kit))
    document = {kit: to_document(after(byhand.kit(kit), event))}
    with refused(BYTES):
        byhand.append(NURSE, [event], documents=document, connection=byhand.of("clerk"))
    with refused(BYTES):
        byhand.append(CLOCK, [event], documents=document)
    byhand.append(NURSE, [event], documents=document)  # the nurse herself


@claim(CLERK, COULD_NOT, "dispose of a kit")
async def test_the_clerk_disposes_of_nothing_even_when_all_is_approved(
    engines: Engines, database: Database, advance: Advance
) -> None:
    story = await begin(engines.service, engines.clerk)
    await adopt(story)
    number = await kept_until_approved(story, advance)
    signs = [COORDINATOR.signs("approver"), OBSERVER.signs("observer")]
    fields = {"packages": [{"package": n} for n in (1, 2, 3)]}
    with ByHand(database) as byhand:
        for who, more in ((CLOCK, {}), (CUSTODIAN_2, {"with": signs})):
            fact = Fact(
                type="disposal.carried_out",
                subject=f"choices:{number}",
                who=who.who(),
                fields={**fields, **more},
            )
            with refused(BYTES):
                byhand.write(who, fact, connection=byhand.of("clerk"))
    assert (await story.kit(number)).retention is Retention.APPROVED


# --- a backup ---------------------------------------------------------------------------------------


def everything(desk: Desk) -> bytes:
    """All that a copy of the database has, each value as it is stored."""
    found = []
    with desk.database.connect("superuser") as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables"
            " WHERE schemaname IN ('audit', 'custody', 'desk', 'retention')"
        ).fetchall()
        assert len(tables) > 25
        for schema, table in tables:
            rows = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, table)))
            found += [v if isinstance(v, bytes) else str(v).encode() for row in rows for v in row]
    return b"\n".join(found)


@claim(THIEF, COULD, "read the events of the trails, with the names of staff")
@claim(THIEF, COULD_NOT, "read the private part without the centre's master key")
@claim(THIEF, COULD_NOT, "open a victim's page, or go on with anybody's session")
@claim(THIEF, COULD_NOT, "sign anything: no signing key is in the database")
def test_a_backup_tells_who_did_what_and_opens_nothing(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    made = nurse.register(desk.now(), card="issued")
    kit, code, secret = made["kit"], made["card"]["code"], made["card"]["secret"]
    victim = desk.client(origin=desk.base_url)
    assert victim.post("/v", data={"code": code, "secret": secret}).status_code == 303
    (cookie,) = victim.cookies.jar
    stolen = everything(desk)
    for known in (kit, str(NURSE.name), '"type":"kit.registered"'):
        assert known.encode() in stolen
    private = ("INVENTED-1", "somebody@invented.example", code, code.replace("-", ""), cookie.value)
    for hidden in (*private, secret, secret.replace(" ", ""), "PRIVATE+KEY"):
        assert str(hidden).encode() not in stolen, hidden
    with desk.database.connect("superuser") as connection:
        (stored,) = connection.execute("SELECT id_hash FROM desk.session").fetchone() or (b"",)
        (wrapped,) = connection.execute("SELECT wrapped FROM custody.data_key").fetchone() or (b"",)
    for value in (stored.hex(), urlsafe_b64encode(stored).decode().rstrip("=")):
        assert desk.client(cookie=f"{cookie.name}={value}").get("/v/kit").status_code == 401
    assert victim.get("/v/kit").status_code == 200
    with pytest.raises(PrivateRefused):
        unwrap(sha256(b"a guess").digest(), wrapped, kit)
    assert len(unwrap(PlainMasters().master(CENTRE), wrapped, kit)) == 32
