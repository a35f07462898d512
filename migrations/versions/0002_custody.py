"""Evidence: the tables of schema `custody`, the functions that write them, and who may read what.

| role | may |
|---|---|
| custody_service | SELECT what row-level security shows; EXECUTE look, append and their like |
| custody_clerk | SELECT everything but secrets of cards; append as the clock |
| custody_auditor | SELECT organisations, people, policies, the protocol; no kit |
"""

from collections.abc import Sequence
from pathlib import Path

from alembic import op

from custody.protocol import STEPS
from custody.tables import step
from migrations.evidence_0002 import TABLES
from migrations.spelling import function as spelled

revision: str = "0002_custody"
down_revision: str | None = "0001_log"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SQL = Path(__file__).parent.parent / "sql"
FILES = ("custody_append", "custody_secrets", "custody_look", "custody_guards")

NEVER_CHANGED = ("event", "access", "policy", "private_part", "answer")
NEVER_REMOVED = (
    "head",
    "kit",
    "package",
    "request",
    "card",
    "person",
    "organisation",
    "appointment",
    "place",
)

# Who sees a row. The functions' owner is not bound by these: writing goes through `append`.
STAFF = "custody.mine('function') IN ('nurse', 'custodian', 'coordinator')"
POLICIES = {
    "kit": (
        "(custody.mine('card') = number)"
        f" OR (centre = custody.mine('organisation') AND {STAFF})"
        " OR (custody.mine('organisation') = ANY (parties)"
        "     AND custody.mine('function') IN ('nurse', 'custodian', 'coordinator', 'officer', 'analyst',"
        "                                      'registrar', 'magistrate'))"
    ),
    "package": "EXISTS (SELECT FROM custody.kit k WHERE k.number = kit)",
    "event": (
        "(trail = 'custody' AND EXISTS (SELECT FROM custody.kit k WHERE k.number = kit))"  # noqa: S608
        " OR (trail = 'choices' AND EXISTS (SELECT FROM custody.kit k WHERE k.number = kit"
        "      AND (custody.mine('card') = k.number"
        f"          OR (k.centre = custody.mine('organisation') AND {STAFF}))))"
        # What was answered is for the centre alone: the police are told "received", whatever was found.
        " OR (trail = 'request' AND EXISTS (SELECT FROM custody.request q"
        "     WHERE 'request:' || q.id = subject AND (type = 'request.received'"
        f"      OR (q.centre = custody.mine('organisation') AND {STAFF}))))"
        " OR trail IN ('organisation', 'place', 'policy', 'log')"
    ),
    "request": (
        f"(centre = custody.mine('organisation') AND {STAFF})"
        " OR (zone = custody.mine('organisation') AND custody.mine('function') = 'officer')"
    ),
    "answer": f"centre = custody.mine('organisation') AND {STAFF}",
    "proposal": "organisation = custody.mine('organisation')",
    "reserved_number": f"centre = custody.mine('organisation') AND {STAFF}",
    "data_key": f"EXISTS (SELECT FROM custody.kit k WHERE k.number = kit"
    f" AND k.centre = custody.mine('organisation') AND {STAFF})",
    "private_part": f"EXISTS (SELECT FROM custody.kit k WHERE k.number = kit"
    f" AND k.centre = custody.mine('organisation') AND {STAFF})",
    "access": ("custody.mine('function') = 'coordinator' AND centre = custody.mine('organisation')"),
}

OPEN_TO_ALL = ("step", "person", "appointment", "place", "policy")
# All columns but the number of unanswered requests: counting it before and after would be an answer.
ORGANISATION = "id, kind, name, country, zone"
FOR_SERVICE = (
    "enter(jsonb)",
    "mine(text)",
    "clock()",
    "look(jsonb, text[])",
    "heads(text[])",
    "receipts(text, text)",
    "append(jsonb, text, bytea, jsonb, bytea[], jsonb, jsonb)",
    "record_access(integer, bytea, text)",
)
FOR_DESK = (
    "find_card(bytea)",
    "propose(text, text, text, jsonb, jsonb, interval)",
    "drop_proposal(text)",
)


def upgrade() -> None:
    """Make tables, functions, guards, policies, grants; load the protocol."""
    for table in TABLES:
        table()
    for name in FILES:
        op.execute((SQL / f"{name}.sql").read_text(encoding="utf-8"))
    op.get_bind().exec_driver_sql(spelled())
    _load_protocol()
    _guards()
    _reading()


def _load_protocol() -> None:
    op.bulk_insert(
        step,
        [
            {
                "type": name,
                "trail": each.trail.value,
                "custody": {k.value: v.value for k, v in each.custody.items()},
                "legal": {k.value: v.value for k, v in each.legal.items()},
                "retention": {k.value: v.value for k, v in each.retention.items()},
                "packs": each.packs,
                "holds": each.holds,
                "people": each.people,
                "writers": sorted(each.writers),
                "needs": sorted(each.needs),
                "may": sorted(each.may),
            }
            for name, each in STEPS.items()
        ],
    )


def _guards() -> None:
    for table in NEVER_CHANGED:
        _guard(table, "no_change", "BEFORE UPDATE OR DELETE", "ROW")
        _guard(table, "no_truncate", "BEFORE TRUNCATE", "STATEMENT")
    for table in NEVER_REMOVED:
        _guard(table, "no_delete", "BEFORE DELETE", "ROW")
        _guard(table, "no_truncate", "BEFORE TRUNCATE", "STATEMENT")


def _guard(table: str, name: str, moment: str, extent: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_{name} {moment} ON custody.{table}"
        f" FOR EACH {extent} EXECUTE FUNCTION custody.refuse_change()"
    )
    op.execute(f"ALTER TABLE custody.{table} ENABLE ALWAYS TRIGGER {table}_{name}")


def _reading() -> None:
    op.execute("GRANT USAGE ON SCHEMA custody TO custody_service, custody_clerk, custody_auditor")
    op.execute("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA custody FROM PUBLIC")
    for table in OPEN_TO_ALL:
        op.execute(f"GRANT SELECT ON custody.{table} TO custody_service, custody_clerk, custody_auditor")
    op.execute(f"GRANT SELECT ({ORGANISATION}) ON custody.organisation TO custody_service, custody_auditor")
    op.execute("GRANT SELECT ON custody.organisation TO custody_clerk")
    for table, sees in POLICIES.items():
        op.execute(f"ALTER TABLE custody.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY {table}_seen ON custody.{table} FOR SELECT TO custody_service USING ({sees})"
        )
        op.execute(f"CREATE POLICY {table}_clerk ON custody.{table} FOR SELECT TO custody_clerk USING (true)")
        op.execute(f"GRANT SELECT ON custody.{table} TO custody_service, custody_clerk")
    op.execute("GRANT SELECT ON custody.head TO custody_clerk")
    for function in FOR_SERVICE:
        op.execute(f"GRANT EXECUTE ON FUNCTION custody.{function} TO custody_service, custody_clerk")
    for function in FOR_DESK:
        op.execute(f"GRANT EXECUTE ON FUNCTION custody.{function} TO custody_service")
    op.execute("GRANT EXECUTE ON FUNCTION custody.forget_proposals() TO custody_clerk")
    op.execute("GRANT EXECUTE ON FUNCTION custody.clock() TO custody_auditor")


def downgrade() -> None:
    """Remove everything. Only for an empty development database: evidence is never removed."""
    op.execute("DROP SCHEMA custody CASCADE")
    op.execute("CREATE SCHEMA custody")
