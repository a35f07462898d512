"""The desk: sessions, counted attempts, and the mark that keeps fictional and real kits apart.

| table | service | clerk |
|---|---|---|
| session | SELECT, INSERT, UPDATE, DELETE | SELECT, DELETE (forgets what has ended) |
| attempt | SELECT, INSERT, UPDATE, DELETE | SELECT, DELETE (the same) |
| database_kind | SELECT; set once through `desk.settle_database_kind` | SELECT |

None of it is evidence, so sessions and attempts may be changed and deleted.
"""

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision: str = "0004_desk"
down_revision: str | None = "0003_retention"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SQL = Path(__file__).parent.parent / "sql"
FUNCTIONS = ("desk_refuse_change", "desk_settle_database_kind")

GRANTS = (
    "GRANT USAGE ON SCHEMA desk TO custody_service, custody_clerk",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON desk.session, desk.attempt TO custody_service",
    "GRANT SELECT, DELETE ON desk.session, desk.attempt TO custody_clerk",
    "GRANT SELECT ON desk.database_kind TO custody_service, custody_clerk",
    "REVOKE ALL ON FUNCTION desk.refuse_change(), desk.settle_database_kind(text) FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION desk.settle_database_kind(text) TO custody_service",
)

Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the three tables, the mark's guards and the grants."""
    _session()
    _attempt()
    _database_kind()
    for name in FUNCTIONS:
        op.execute((SQL / f"{name}.sql").read_text(encoding="utf-8"))
    for trigger, when in (
        ("database_kind_no_change", "BEFORE UPDATE OR DELETE ON desk.database_kind FOR EACH ROW"),
        ("database_kind_no_truncate", "BEFORE TRUNCATE ON desk.database_kind FOR EACH STATEMENT"),
    ):
        op.execute(f"CREATE TRIGGER {trigger} {when} EXECUTE FUNCTION desk.refuse_change()")
        op.execute(f"ALTER TABLE desk.database_kind ENABLE ALWAYS TRIGGER {trigger}")
    for grant in GRANTS:
        op.execute(grant)


def _session() -> None:
    op.create_table(
        "session",
        sa.Column("id_hash", sa.LargeBinary, primary_key=True, comment="SHA-256 of the cookie's value"),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("person", sa.Text, comment="identifier in the register of people"),
        sa.Column("function", sa.Text, comment="the function the person works in now"),
        sa.Column("organisation", sa.Text, comment="the organisation the person works for now"),
        sa.Column("kit", sa.Text, comment="kit number of a victim's card"),
        sa.Column("authenticated_at", Moment, nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("last_seen_at", Moment, nullable=False),
        sa.Column("ends_at", Moment, nullable=False, comment="absolute limit"),
        sa.Column("revoked_at", Moment),
        sa.CheckConstraint("length(id_hash) = 32", name="session_id_is_sha256"),
        sa.CheckConstraint(
            "(kind = 'person' AND person IS NOT NULL AND function IS NOT NULL AND organisation IS NOT NULL"
            " AND kit IS NULL)"
            " OR (kind = 'card' AND kit IS NOT NULL AND person IS NULL AND function IS NULL"
            " AND organisation IS NULL)",
            name="session_of_a_person_or_a_card",
        ),
        sa.CheckConstraint(
            "length(person) BETWEEN 1 AND 200 AND length(function) BETWEEN 1 AND 40"
            " AND length(organisation) BETWEEN 1 AND 200",
            name="session_person_lengths",
        ),
        sa.CheckConstraint("kit ~ '^[0-9A-HJKMNP-TV-Z]{12}$'", name="session_kit_is_a_number"),
        sa.CheckConstraint(
            "created_at <= last_seen_at AND created_at < ends_at"
            " AND ends_at <= created_at + interval '12 hours'",
            name="session_times_in_order",
        ),
        schema="desk",
    )
    still_open = sa.text("revoked_at IS NULL")
    op.create_index("session_by_person", "session", ["person"], schema="desk", postgresql_where=still_open)
    op.create_index("session_by_kit", "session", ["kit"], schema="desk", postgresql_where=still_open)
    op.create_index("session_by_end", "session", ["ends_at"], schema="desk")


def _attempt() -> None:
    op.create_table(
        "attempt",
        sa.Column("purpose", sa.Text, primary_key=True),
        sa.Column(
            "key_hash", sa.LargeBinary, primary_key=True, comment="SHA-256 of what the attempts go against"
        ),
        sa.Column("counted", sa.Integer, nullable=False),
        sa.Column("last_at", Moment, nullable=False),
        sa.Column("refused_until", Moment),
        sa.CheckConstraint("purpose ~ '^[a-z_]{1,40}$'", name="attempt_purpose_is_a_word"),
        sa.CheckConstraint("length(key_hash) = 32", name="attempt_key_is_sha256"),
        sa.CheckConstraint("counted > 0", name="attempt_counted"),
        sa.CheckConstraint(
            "refused_until <= last_at + interval '15 minutes'", name="attempt_never_locks_out_for_long"
        ),
        schema="desk",
    )
    op.create_index("attempt_by_time", "attempt", ["last_at"], schema="desk")


def _database_kind() -> None:
    op.create_table(
        "database_kind",
        sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.true()),
        sa.Column("kind", sa.Text, nullable=False, comment="fictional (demo) or real; set once"),
        sa.Column("set_at", Moment, nullable=False),
        sa.CheckConstraint('"only"', name="database_kind_is_one_row"),
        sa.CheckConstraint("kind IN ('fictional', 'real')", name="database_kind_is_known"),
        schema="desk",
    )


def downgrade() -> None:
    """Remove the desk's tables; everybody is signed out."""
    op.execute("DROP FUNCTION desk.settle_database_kind(text)")
    for table in ("database_kind", "attempt", "session"):
        op.drop_table(table, schema="desk")
    op.execute("DROP FUNCTION desk.refuse_change()")
