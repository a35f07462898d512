"""What the database refuses, whoever asks: asked of the catalogue, and tried statement by statement."""

import psycopg
import pytest
from psycopg import sql

from tests.conftest import Database
from tests.postgres.evidence import Evidence

SCHEMAS = ("audit", "custody", "retention", "desk")
ROLES = ("service", "clerk", "auditor")

# Everything that runs with its owner's rights. Whatever else is added here opens a door.
DEFINERS = {
    "custody.append",
    "custody.append_for_clock",
    "custody.behind_glass",
    "custody.decline_observation",
    "custody.drop_proposal",
    "custody.find_card",
    "custody.forget_proposals",
    "custody.glass_open",
    "custody.heads",
    "custody.look",
    "custody.my_readings",
    "custody.observations",
    "custody.open_glasses",
    "custody.propose",
    "custody.receipts",
    "custody.record_access",
    "custody.rewrap",
    "custody.without_reader",
}
FOR_THE_DESK = {
    *("custody.behind_glass", "custody.glass_open", "custody.my_readings", "custody.open_glasses"),
    *("custody.drop_proposal", "custody.find_card", "custody.propose", "custody.without_reader"),
    *("custody.decline_observation", "custody.observations"),
}
EVERYBODYS = {"custody.clock", "custody.enter", "custody.human", "custody.mine"}
MAY_RUN = {
    "service": DEFINERS - {"custody.append_for_clock", "custody.forget_proposals", "custody.rewrap"}
    | EVERYBODYS
    | {"custody.known_document"},
    "clerk": DEFINERS - FOR_THE_DESK | EVERYBODYS,
    "auditor": {"custody.clock"},
}
SEEN_BY_ROW = {
    "access",
    "answer",
    "data_key",
    "event",
    "kit",
    "package",
    "private_part",
    "proposal",
    "request",
    "reserved_number",
}
NEVER_CHANGED = ("access", "answer", "event", "policy", "private_part")
NEVER_REMOVED = (
    "account",
    "appointment",
    "card",
    "head",
    "kit",
    "organisation",
    "package",
    "person",
    "place",
    "request",
)
LEFT_THE_HOUSE = ("padding", "publication", "cosignature", "stamp")
TRIGGERS = {
    *((f"custody.{t}", f"{t}_no_change") for t in NEVER_CHANGED),
    *((f"custody.{t}", f"{t}_no_delete") for t in NEVER_REMOVED),
    *((f"custody.{t}", f"{t}_no_truncate") for t in (*NEVER_CHANGED, *NEVER_REMOVED)),
    ("custody.event", "event_observer"),
    ("custody.policy", "policy_readable"),
    ("custody.proposal", "proposal_signer"),
    ("audit.leaf", "leaf_no_change"),
    ("audit.leaf", "leaf_no_truncate"),
    ("audit.leaf", "leaf_is_next"),
    ("audit.checkpoint", "checkpoint_no_change"),
    ("audit.checkpoint", "checkpoint_no_truncate"),
    ("audit.checkpoint", "checkpoint_grows"),
    ("audit.tile", "tile_grows"),
    ("audit.tile", "tile_no_delete"),
    ("audit.tile", "tile_no_truncate"),
    ("audit.pending", "pending_no_truncate"),
    *((f"audit.{t}", f"{t}_no_change") for t in LEFT_THE_HOUSE),
    *((f"audit.{t}", f"{t}_no_truncate") for t in LEFT_THE_HOUSE),
}


def rows(database: Database, query: str, *values: object) -> list[tuple[object, ...]]:
    with database.connect("superuser") as connection:
        return connection.execute(query, values).fetchall()


# --- the catalogue ---------------------------------------------------------------------------------


def test_everything_belongs_to_an_owner_who_cannot_sign_in(production_database: Database) -> None:
    found = rows(
        production_database,
        "SELECT n.nspname || '.' || c.relname, r.rolname, r.rolcanlogin FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner"
        " WHERE n.nspname = ANY (%s)"
        " UNION ALL SELECT n.nspname || '.' || p.proname, r.rolname, r.rolcanlogin FROM pg_proc p"
        " JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles r ON r.oid = p.proowner"
        " WHERE n.nspname = ANY (%s)",
        list(SCHEMAS),
        list(SCHEMAS),
    )
    assert len(found) > 60
    assert {row[1:] for row in found} == {("custody_owner", False)}


def test_every_function_looks_names_up_in_the_catalogue_only_and_few_run_with_the_owners_rights(
    production_database: Database,
) -> None:
    found = rows(
        production_database,
        "SELECT n.nspname || '.' || p.proname, p.prosecdef, p.proconfig FROM pg_proc p"
        " JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = ANY (%s)",
        list(SCHEMAS),
    )
    assert {name for name, definer, _ in found if definer} == DEFINERS | {
        "desk.settle_database_kind",
        "retention.late",
    }
    for name, _, config in found:
        assert config == ["search_path=pg_catalog, pg_temp"], name


def test_who_may_run_which_function(production_database: Database) -> None:
    for role in ROLES:
        found = rows(
            production_database,
            "SELECT n.nspname || '.' || p.proname FROM pg_proc p"
            " JOIN pg_namespace n ON n.oid = p.pronamespace"
            " WHERE n.nspname IN ('audit', 'custody') AND has_function_privilege(%s, p.oid, 'EXECUTE')",
            f"custody_{role}",
        )
        assert {str(row[0]) for row in found} == MAY_RUN[role]
    public = rows(
        production_database,
        "SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace,"
        " LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a"
        " WHERE n.nspname = ANY (%s) AND a.grantee = 0",
        list(SCHEMAS),
    )
    assert public == []


def test_the_service_reads_evidence_and_writes_none(production_database: Database) -> None:
    found = rows(
        production_database,
        "SELECT g.grantee, n.nspname || '.' || c.relname, a.privilege_type FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace,"
        " LATERAL aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a,"
        " LATERAL (SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END) g (grantee)"
        " WHERE n.nspname IN ('audit', 'custody') AND c.relkind IN ('r', 'v', 'm', 'S', 'p')"
        " AND a.grantee <> c.relowner",
    )
    beyond = {row for row in found if row[2] != "SELECT"}
    assert beyond == {
        ("custody_clerk", "audit.pending", "DELETE"),
        ("custody_clerk", "audit.leaf", "INSERT"),
        ("custody_clerk", "audit.checkpoint", "INSERT"),
        ("custody_clerk", "audit.tile", "INSERT"),
        ("custody_clerk", "audit.tile", "UPDATE"),
        *(("custody_clerk", f"audit.{t}", "INSERT") for t in LEFT_THE_HOUSE),
    }
    assert not [row for row in found if row[0] == "PUBLIC"]
    nobody = {"custody.card", "custody.head", "audit.pending"}
    assert not [row for row in found if row[0] == "custody_service" and row[1] in nobody]
    no_kit = {row[1] for row in found if row[0] == "custody_auditor"}
    assert no_kit == {
        *("custody.step", "custody.person", "custody.appointment", "custody.place", "custody.policy"),
        *("audit.leaf", "audit.tile", "audit.checkpoint"),
        *(f"audit.{t}" for t in LEFT_THE_HOUSE),
    }


def test_rows_of_kits_are_seen_by_row_level_security_alone(production_database: Database) -> None:
    found = rows(
        production_database,
        "SELECT c.relname, p.polname, p.polcmd::text, p.polpermissive FROM pg_class c"
        " LEFT JOIN pg_policy p ON p.polrelid = c.oid"
        " WHERE c.relnamespace = 'custody'::regnamespace AND c.relrowsecurity",
    )
    wanted = {(t, f"{t}_{who}", "r", True) for t in SEEN_BY_ROW for who in ("seen", "clerk")}
    assert set(found) == wanted


def test_what_the_check_keeps_of_kits_is_seen_by_row_too_and_the_outbox_changes_in_three_columns(
    production_database: Database,
) -> None:
    found = rows(
        production_database,
        "SELECT c.relname, p.polname, p.polcmd::text FROM pg_class c"
        " LEFT JOIN pg_policy p ON p.polrelid = c.oid"
        " WHERE c.relnamespace = 'retention'::regnamespace AND c.relrowsecurity",
    )
    both = ("outbox", "set_aside")
    assert set(found) == {(t, f"{t}_{who}", c) for t in both for who, c in (("seen", "r"), ("clerk", "*"))}
    may = rows(
        production_database,
        "SELECT r, c.relname, p FROM pg_class c, unnest(%s::text[]) r,"
        " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p"
        " WHERE c.oid = 'retention.outbox'::regclass AND has_table_privilege('custody_' || r, c.oid, p)",
        list(ROLES),
    )
    assert {(row[0], row[2]) for row in may} == {("service", "SELECT"), ("clerk", "SELECT")}
    columns = rows(
        production_database,
        "SELECT a.attname FROM pg_attribute a WHERE a.attrelid = 'retention.outbox'::regclass"
        " AND a.attnum > 0 AND has_column_privilege('custody_clerk', a.attrelid, a.attnum, 'UPDATE')",
    )
    assert {row[0] for row in columns} == {"attempts", "next_at", "claimed_until"}


def test_every_guard_is_there_and_always_on(production_database: Database) -> None:
    found = rows(
        production_database,
        "SELECT t.tgrelid::regclass::text, t.tgname, t.tgenabled::text FROM pg_trigger t"
        " JOIN pg_class c ON c.oid = t.tgrelid"
        " WHERE NOT t.tgisinternal AND c.relnamespace IN ('audit'::regnamespace, 'custody'::regnamespace)",
    )
    assert {row[:2] for row in found} == TRIGGERS
    assert {row[2] for row in found} == {"A"}


def test_the_clock_of_production_is_the_machines(production_database: Database) -> None:
    found = rows(
        production_database,
        "SELECT btrim(prosrc), provolatile::text, prosecdef FROM pg_proc"
        " WHERE oid = 'custody.clock()'::regprocedure",
    )
    assert found == [("SELECT clock_timestamp()", "v", False)]


def test_the_rule_of_disposal_stands_on_the_kits_own_row(production_database: Database) -> None:
    found = {
        row[0]: row[1]
        for row in rows(
            production_database,
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conrelid = 'custody.kit'::regclass AND contype = 'c' AND convalidated",
        )
    }
    rule = str(found["kit_disposed_only_when_nothing_protects_it"])
    for part in ("legal = 'unreported'", "holds = 0", "in_transit = 0", "unanswered_requests = 0"):
        assert part in rule
    assert "term_over_at <= disposed_at" in rule
    assert "retention = 'disposed'" in str(found["kit_destroyed_only_when_disposed"])


# --- statement by statement ----------------------------------------------------------------------

TABLES = (
    *("custody.event", "custody.kit", "custody.package", "custody.head", "custody.access", "custody.card"),
    *("custody.request", "custody.answer", "custody.policy", "custody.person", "custody.appointment"),
    *("custody.organisation", "custody.place", "custody.private_part", "custody.data_key"),
    *("custody.proposal", "custody.reserved_number", "custody.step", "custody.account"),
    *("audit.leaf", "audit.checkpoint", "audit.tile", "audit.pending"),
    *(f"audit.{t}" for t in LEFT_THE_HOUSE),
)
CLERK_MAY = {("audit.pending", "DELETE"), ("audit.tile", "UPDATE")}


@pytest.mark.parametrize("role", [*ROLES, "migrator"])
def test_no_role_writes_a_table_of_evidence_directly(evidence: Evidence, role: str) -> None:
    with evidence.database.connect(role) as connection:
        for table in TABLES:
            column = rows(
                evidence.database,
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum = 1",
                table,
            )[0][0]
            assert isinstance(column, str)
            statements = {
                "INSERT": f"INSERT INTO {table} SELECT * FROM {table}",
                "UPDATE": f'UPDATE {table} SET "{column}" = "{column}"',
                "DELETE": f"DELETE FROM {table}",
                "TRUNCATE": f"TRUNCATE {table} CASCADE",
                "COPY": f"COPY {table} FROM STDIN",
            }
            for word, statement in statements.items():
                if role == "clerk" and (table, word) in CLERK_MAY:
                    continue
                if role == "clerk" and table.startswith("audit.") and word in ("INSERT", "COPY"):
                    continue  # it integrates: see the tests of the log
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(sql.SQL(statement))


@pytest.mark.parametrize("who", ["superuser", "owner"])
@pytest.mark.parametrize("replica", [False, True])
def test_not_even_owner_or_superuser_changes_what_happened(
    evidence: Evidence, who: str, replica: bool
) -> None:
    if who == "owner" and replica:
        with evidence.database.connect("migrator") as connection:
            connection.execute("SET ROLE custody_owner")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SET session_replication_role = replica")
        return
    with evidence.database.connect("superuser" if who == "superuser" else "migrator") as connection:
        if who == "owner":
            connection.execute("SET ROLE custody_owner")
        if replica:
            connection.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.RestrictViolation, match="never changed or removed"):
            connection.execute("UPDATE custody.event SET type = type")
        for table in NEVER_CHANGED:
            found = rows(evidence.database, f"SELECT count(*) FROM custody.{table}")
            if found[0][0]:
                with pytest.raises(psycopg.errors.RestrictViolation, match="never changed or removed"):
                    connection.execute(sql.SQL(f"DELETE FROM custody.{table}"))
        for table in (*NEVER_CHANGED, *NEVER_REMOVED):
            with pytest.raises(psycopg.errors.RestrictViolation, match="never changed or removed"):
                connection.execute(sql.SQL(f"TRUNCATE custody.{table} CASCADE"))
        for table in NEVER_REMOVED:
            with pytest.raises(psycopg.errors.RestrictViolation, match="never changed or removed"):
                connection.execute(sql.SQL(f"DELETE FROM custody.{table}"))


def test_a_superuser_cannot_write_a_disposal_past_the_rule_on_the_kits_row(evidence: Evidence) -> None:
    with evidence.database.connect("superuser") as connection:
        connection.execute("SET session_replication_role = replica")
        for change in (
            "legal = 'linked'",
            "holds = 1",
            "in_transit = 1",
            "unanswered_requests = 1",
            "holds = 0",
        ):
            with pytest.raises(psycopg.errors.CheckViolation, match="nothing_protects_it"):
                connection.execute(
                    sql.SQL(
                        f"UPDATE custody.kit SET retention = 'disposed', disposed_at = now(), {change}"
                        " WHERE number = %s"
                    ),
                    [evidence.unreported],
                )


@pytest.mark.parametrize("role", [*ROLES, "migrator", "superuser"])
@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE custody.event ALTER COLUMN type TYPE text USING 'planted'",
        "ALTER TABLE custody.event DISABLE TRIGGER ALL",
        "ALTER TABLE custody.kit DROP CONSTRAINT kit_disposed_only_when_nothing_protects_it",
        "ALTER TABLE custody.kit DISABLE ROW LEVEL SECURITY",
        "DROP POLICY kit_seen ON custody.kit",
        "CREATE POLICY planted ON custody.kit FOR SELECT TO custody_service USING (true)",
        "DROP TRIGGER event_no_change ON custody.event",
        "DROP TABLE custody.event",
        "DROP FUNCTION custody.append(jsonb, text, bytea, jsonb, bytea[], jsonb, jsonb)",
        "CREATE OR REPLACE FUNCTION custody.clock() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'",
        "GRANT ALL ON custody.event TO custody_service",
        "CREATE RULE planted AS ON INSERT TO custody.event DO INSTEAD NOTHING",
        "CREATE TABLE planted (x int)",
        "CREATE TABLE custody.planted () INHERITS (custody.event)",
    ],
)
def test_no_role_changes_the_schema_of_evidence(evidence: Evidence, role: str, statement: str) -> None:
    with (
        evidence.database.connect(role) as connection,
        pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.RaiseException)),
    ):
        connection.execute(sql.SQL(statement))


@pytest.mark.parametrize("role", [*ROLES, "migrator"])
def test_no_role_runs_the_inner_functions(evidence: Evidence, role: str) -> None:
    calls = [
        "custody.apply_to_kit('{}', 'x', NULL)",
        "custody.apply_to_register('{}', '{}')",
        "custody.apply_document('x', '{}')",
        "custody.keep_secrets('{}', '{}', '{}')",
        "custody.check_who('{}', '{}', 'x', NULL, 'x')",
        "custody.check_hands('{}', NULL, 'x')",
        "custody.check_readers('{}', 'x', now())",
        "custody.advance('a', 'b', '{}', 'c')",
        "custody.parties('x', 'linked', '{}')",
    ]
    with evidence.database.connect(role) as connection:
        for call in calls:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL(f"SELECT {call}"))


@pytest.mark.parametrize("role", ROLES)
def test_no_role_becomes_another_or_switches_guards_off(evidence: Evidence, role: str) -> None:
    with evidence.database.connect(role) as connection:
        for statement in (
            "SET ROLE custody_owner",
            "SET SESSION AUTHORIZATION custody_migrator",
            "SET session_replication_role = replica",
            "ALTER SYSTEM SET fsync = off",
            "COPY custody.step TO PROGRAM 'true'",
            "SELECT pg_read_file('PG_VERSION')",
            "SELECT lo_import('PG_VERSION')",
            "CREATE TEMP TABLE event (x int)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL(statement))
        other = next(r for r in ROLES if r != role)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(sql.SQL(f"SET ROLE custody_{other}"))
        # Claiming not to be bound by row-level security does not lift it: it makes the query an error.
        connection.execute("SET row_security = off")
        if role == "service":
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT * FROM custody.kit")
