"""The boundary of reading: what other parties than the centre see of a kit, and who reads a restricted one.

| role | may |
|---|---|
| custody_service | SELECT custody.known_kit; EXECUTE what FUNCTIONS names |

The protocol's steps and the spelling of an event are loaded anew, as the code has them.
"""

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from custody.protocol import STEPS
from custody.tables import step
from migrations.spelling import function as spelled

revision: str = "0008_boundary"
down_revision: str | None = "0007_sign_in"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SQL = Path(__file__).parent.parent / "sql"
GLASS = """position('"read":"break_glass"'::bytea IN bytes) > 0"""
STAFF = "custody.mine('function') IN ('nurse', 'custodian', 'coordinator')"
FUNCTIONS = (
    "glass_open(text, text)",
    "open_glasses()",
    "known_document(jsonb, text, text)",
    "my_readings(text, timestamptz)",
    "behind_glass(text)",
)
CHECKS = ("check_readers(text[], text, timestamptz)", "check_replaced(text[], text[], text, text)")
BEFORE = {
    "kit": (
        "(custody.mine('card') = number)"
        f" OR (centre = custody.mine('organisation') AND {STAFF})"
        " OR (custody.mine('organisation') = ANY (parties)"
        "     AND custody.mine('function') IN ('nurse', 'custodian', 'coordinator', 'officer', 'analyst',"
        "                                      'registrar', 'magistrate'))"
    ),
    "package": "EXISTS (SELECT FROM custody.kit k WHERE k.number = package.kit)",
    "event": (
        "(trail = 'custody' AND EXISTS (SELECT FROM custody.kit k WHERE k.number = event.kit))"  # noqa: S608
        " OR (trail = 'choices' AND EXISTS (SELECT FROM custody.kit k WHERE k.number = event.kit"
        "      AND (custody.mine('card') = k.number"
        f"          OR (k.centre = custody.mine('organisation') AND {STAFF}))))"
        " OR (trail = 'request' AND EXISTS (SELECT FROM custody.request q"
        "     WHERE 'request:' || q.id = subject AND (type = 'request.received'"
        f"      OR (q.centre = custody.mine('organisation') AND {STAFF}))))"
        " OR trail IN ('organisation', 'place', 'policy', 'log')"
    ),
    "data_key": "EXISTS (SELECT FROM custody.kit k WHERE k.number = data_key.kit"
    f" AND k.centre = custody.mine('organisation') AND {STAFF})",
    "private_part": "EXISTS (SELECT FROM custody.kit k WHERE k.number = private_part.kit"
    f" AND k.centre = custody.mine('organisation') AND {STAFF})",
    "proposal": "organisation = custody.mine('organisation')",
}
"""The policies that stood before."""


def upgrade() -> None:
    """Add the readers of a restricted kit, the view, and the policies; load the protocol anew."""
    op.add_column("kit", sa.Column("readers", postgresql.ARRAY(sa.Text())), schema="custody")
    op.create_check_constraint(
        "kit_readers", "kit", "cardinality(readers) BETWEEN 1 AND 20", schema="custody"
    )
    # Few records break the glass: an index over those alone finds the open ones of a person at once.
    op.create_index(
        "access_glass",
        "access",
        ["subject", "recorded_at"],
        schema="custody",
        postgresql_where=sa.text(GLASS),
    )
    op.create_index("access_centre", "access", ["centre", "recorded_at"], schema="custody")
    for name in ("custody_boundary", "custody_readings"):
        op.execute((SQL / f"{name}.sql").read_text(encoding="utf-8"))
    for name in (*FUNCTIONS, *CHECKS):
        op.execute(f"REVOKE ALL ON FUNCTION custody.{name} FROM PUBLIC")
    for name in FUNCTIONS:
        op.execute(f"GRANT EXECUTE ON FUNCTION custody.{name} TO custody_service")
    op.execute("GRANT SELECT ON custody.known_kit TO custody_service")
    op.get_bind().exec_driver_sql(spelled())
    _load_protocol()


def _load_protocol() -> None:
    rows = [
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
    ]
    loaded = postgresql.insert(step).values(rows)
    op.execute(
        loaded.on_conflict_do_update(
            index_elements=["type"],
            set_={name: loaded.excluded[name] for name in rows[0] if name != "type"},
        )
    )


def downgrade() -> None:
    """Put the earlier policies and functions back. A restriction is lifted by it: for development alone."""
    for table, sees in BEFORE.items():
        op.execute(f"ALTER POLICY {table}_seen ON custody.{table} USING ({sees})")
    op.execute("DROP VIEW custody.known_kit CASCADE")
    for name in ("custody_append", "custody_secrets", "custody_look"):
        earlier = (SQL / f"{name}.sql").read_text(encoding="utf-8")
        op.execute(earlier.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    for function in (*FUNCTIONS, *CHECKS):
        op.execute(f"DROP FUNCTION custody.{function}")
    op.drop_index("access_centre", table_name="access", schema="custody")
    op.drop_index("access_glass", table_name="access", schema="custody")
    op.drop_constraint("kit_readers", "kit", schema="custody")
    op.drop_column("kit", "readers", schema="custody")
