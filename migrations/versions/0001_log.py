"""The log: queue of digests, leaves, tiles, signed checkpoints, and the guards around them.

Schema `audit` and the roles exist already (`custody database prepare` makes them); this runs as
`custody_owner`. What a role may do here:

| table | service | clerk | auditor |
|---|---|---|---|
| pending | – (only through `custody.append`) | SELECT, DELETE | – |
| leaf | SELECT | SELECT, INSERT | SELECT |
| tile | SELECT | SELECT, INSERT, UPDATE (appending only) | SELECT |
| checkpoint | SELECT | SELECT, INSERT | SELECT |
"""

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision: str = "0001_log"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SQL = Path(__file__).parent.parent / "sql"

FUNCTIONS = ("log_refuse_change", "log_leaf_is_next", "log_tile_grows", "log_checkpoint_grows")

# (trigger, table, when, function): all are ENABLE ALWAYS, because `session_replication_role = replica`
# switches ordinary triggers off.
TRIGGERS = (
    ("leaf_no_change", "leaf", "BEFORE UPDATE OR DELETE", "FOR EACH ROW", "refuse_change"),
    ("leaf_no_truncate", "leaf", "BEFORE TRUNCATE", "FOR EACH STATEMENT", "refuse_change"),
    (
        "leaf_is_next",
        "leaf",
        "AFTER INSERT",
        "REFERENCING NEW TABLE AS added FOR EACH STATEMENT",
        "leaf_is_next",
    ),
    ("checkpoint_no_change", "checkpoint", "BEFORE UPDATE OR DELETE", "FOR EACH ROW", "refuse_change"),
    ("checkpoint_no_truncate", "checkpoint", "BEFORE TRUNCATE", "FOR EACH STATEMENT", "refuse_change"),
    ("checkpoint_grows", "checkpoint", "BEFORE INSERT", "FOR EACH ROW", "checkpoint_grows"),
    ("tile_grows", "tile", "BEFORE UPDATE", "FOR EACH ROW", "tile_grows"),
    ("tile_no_delete", "tile", "BEFORE DELETE", "FOR EACH ROW", "refuse_change"),
    ("tile_no_truncate", "tile", "BEFORE TRUNCATE", "FOR EACH STATEMENT", "refuse_change"),
    ("pending_no_truncate", "pending", "BEFORE TRUNCATE", "FOR EACH STATEMENT", "refuse_change"),
)

GRANTS = (
    "GRANT USAGE ON SCHEMA audit TO custody_service, custody_clerk, custody_auditor",
    "GRANT SELECT ON audit.leaf, audit.tile, audit.checkpoint TO custody_service, custody_auditor",
    "GRANT SELECT, DELETE ON audit.pending TO custody_clerk",
    "GRANT SELECT, INSERT ON audit.leaf, audit.checkpoint TO custody_clerk",
    "GRANT SELECT, INSERT, UPDATE ON audit.tile TO custody_clerk",
)


def upgrade() -> None:
    """Make the four tables, their triggers and the grants."""
    _tables()
    for name in FUNCTIONS:
        op.execute((SQL / f"{name}.sql").read_text(encoding="utf-8"))
    for trigger, table, moment, extent, function in TRIGGERS:
        op.execute(
            f"CREATE TRIGGER {trigger} {moment} ON audit.{table} {extent} EXECUTE FUNCTION audit.{function}()"
        )
        op.execute(f"ALTER TABLE audit.{table} ENABLE ALWAYS TRIGGER {trigger}")
    for function in ("refuse_change", "leaf_is_next", "tile_grows", "checkpoint_grows"):
        op.execute(f"REVOKE ALL ON FUNCTION audit.{function}() FROM PUBLIC")
    for grant in GRANTS:
        op.execute(grant)


def _tables() -> None:
    log = "log ~ '^[a-z]{1,32}$'"
    op.create_table(
        "pending",
        sa.Column("log", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column(
            "queued_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("clock_timestamp()"),
        ),
        sa.CheckConstraint(log, name="pending_log_is_a_word"),
        sa.CheckConstraint("length(digest) = 32", name="pending_digest_is_sha256"),
        schema="audit",
    )
    op.create_table(
        "leaf",
        sa.Column("log", sa.Text, primary_key=True),
        sa.Column("index", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("log", "digest", name="leaf_digest_once"),
        sa.CheckConstraint(log, name="leaf_log_is_a_word"),
        sa.CheckConstraint("index >= 0", name="leaf_index_from_zero"),
        sa.CheckConstraint("length(digest) = 32", name="leaf_digest_is_sha256"),
        schema="audit",
    )
    op.create_table(
        "tile",
        sa.Column("log", sa.Text, primary_key=True),
        sa.Column("level", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("index", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        sa.CheckConstraint(log, name="tile_log_is_a_word"),
        sa.CheckConstraint("level BETWEEN 0 AND 7", name="tile_level_in_range"),
        sa.CheckConstraint("index >= 0", name="tile_index_from_zero"),
        sa.CheckConstraint(
            "length(hashes) BETWEEN 32 AND 8192 AND length(hashes) % 32 = 0", name="tile_of_whole_hashes"
        ),
        schema="audit",
    )
    op.create_table(
        "checkpoint",
        sa.Column("log", sa.Text, primary_key=True),
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column(
            "signed_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("clock_timestamp()"),
        ),
        sa.CheckConstraint(log, name="checkpoint_log_is_a_word"),
        sa.CheckConstraint("size >= 0", name="checkpoint_size_from_zero"),
        sa.CheckConstraint("length(root) = 32", name="checkpoint_root_is_sha256"),
        sa.CheckConstraint("length(note) BETWEEN 1 AND 1048576", name="checkpoint_note_length"),
        schema="audit",
    )


def downgrade() -> None:
    """Remove the log. Only for an empty development database: a log is never removed from a real one."""
    for table in ("checkpoint", "tile", "leaf", "pending"):
        op.drop_table(table, schema="audit")
    for function in ("checkpoint_grows", "tile_grows", "leaf_is_next", "refuse_change"):
        op.execute(f"DROP FUNCTION audit.{function}()")
