"""What leaves the house: padding, publications, cosignatures of witnesses, time stamps.

| table | clerk | service, auditor |
|---|---|---|
| padding, publication, cosignature, stamp | SELECT, INSERT | SELECT |

Nothing in them is ever changed or removed: the triggers are those of the log itself (`0001_log`).
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005_publication"
down_revision: str | None = "0004_desk"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLES = ("padding", "publication", "cosignature", "stamp")

_LOG = "log ~ '^[a-z]{1,32}$'"


def upgrade() -> None:
    """Make the four tables, their triggers and the grants."""
    _padding()
    _publication()
    _cosignature()
    _stamp()
    for table in TABLES:
        for trigger, moment, extent in (
            (f"{table}_no_change", "BEFORE UPDATE OR DELETE", "FOR EACH ROW"),
            (f"{table}_no_truncate", "BEFORE TRUNCATE", "FOR EACH STATEMENT"),
        ):
            op.execute(
                f"CREATE TRIGGER {trigger} {moment} ON audit.{table} {extent}"
                " EXECUTE FUNCTION audit.refuse_change()"
            )
            op.execute(f"ALTER TABLE audit.{table} ENABLE ALWAYS TRIGGER {trigger}")
        op.execute(f"GRANT SELECT ON audit.{table} TO custody_service, custody_auditor")
        op.execute(f"GRANT SELECT, INSERT ON audit.{table} TO custody_clerk")


def _now(name: str) -> "sa.Column[object]":
    return sa.Column(
        name, sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")
    )


def _padding() -> None:
    op.create_table(
        "padding",
        sa.Column("log", sa.Text, primary_key=True),
        sa.Column("index", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.CheckConstraint(_LOG, name="padding_log_is_a_word"),
        sa.CheckConstraint("index >= 0", name="padding_index_from_zero"),
        sa.CheckConstraint("length(salt) = 32", name="padding_salt_length"),
        schema="audit",
    )


def _publication() -> None:
    op.create_table(
        "publication",
        sa.Column("log", sa.Text, primary_key=True),
        sa.Column("slot", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        _now("published_at"),
        sa.UniqueConstraint("log", "size", name="publication_size_once"),
        sa.CheckConstraint(_LOG, name="publication_log_is_a_word"),
        sa.CheckConstraint("size > 0 AND size % 256 = 0", name="publication_of_whole_tiles"),
        schema="audit",
    )


def _cosignature() -> None:
    op.create_table(
        "cosignature",
        sa.Column("log", sa.Text, primary_key=True),
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("key_id", sa.LargeBinary, primary_key=True),
        sa.Column("line", sa.Text, nullable=False),
        _now("received_at"),
        sa.CheckConstraint(_LOG, name="cosignature_log_is_a_word"),
        sa.CheckConstraint("size > 0", name="cosignature_size_from_one"),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 255", name="cosignature_name_length"),
        sa.CheckConstraint("length(key_id) = 4", name="cosignature_key_id_length"),
        sa.CheckConstraint("length(line) BETWEEN 1 AND 8192", name="cosignature_line_length"),
        schema="audit",
    )


def _stamp() -> None:
    op.create_table(
        "stamp",
        sa.Column("log", sa.Text, primary_key=True),
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("token", sa.LargeBinary, nullable=False),
        sa.Column("stamped_at", sa.DateTime(timezone=True), nullable=False),
        _now("received_at"),
        sa.CheckConstraint(_LOG, name="stamp_log_is_a_word"),
        sa.CheckConstraint("size > 0", name="stamp_size_from_one"),
        sa.CheckConstraint("number BETWEEN 1 AND 99", name="stamp_number_in_range"),
        sa.CheckConstraint("length(token) BETWEEN 1 AND 65536", name="stamp_token_length"),
        schema="audit",
    )


def downgrade() -> None:
    """Remove the four tables. Only for an empty development database."""
    for table in reversed(TABLES):
        op.drop_table(table, schema="audit")
