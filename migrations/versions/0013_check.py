"""The scheduled check at speed, and what it reports.

| function | who may run it |
|---|---|
| custody.append_for_clock | custody_clerk |
| retention.late | custody_service |

Auditors are told counts alone; staff which kits of their own centre are set aside.
"""

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0013_check"
down_revision: str | None = "0012_term"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SQL = Path(__file__).parent.parent / "sql"
MOMENT = postgresql.TIMESTAMP(timezone=True)
FUNCTIONS = ("append_for_clock(text[], bytea[], jsonb)", "spelled_by_clock(jsonb)", "moment(text)")
KEY_DESTROYED = """
UPDATE custody.kit k SET key_destroyed_at = e.recorded_at
FROM custody.event e WHERE e.kit = k.number AND e.type = 'key.destroyed'
"""


def upgrade() -> None:
    """Add the function, what a run says of itself, and what makes a look at nothing cost nothing."""
    op.add_column("kit", sa.Column("key_destroyed_at", MOMENT), schema="custody")
    op.execute(KEY_DESTROYED)
    op.create_index(
        "kit_contest",
        "kit",
        ["disposed_at"],
        schema="custody",
        postgresql_where=sa.text("retention = 'disposed' AND key_destroyed_at IS NULL"),
    )
    op.add_column("run", sa.Column("alive_at", MOMENT), schema="retention")
    op.add_column(
        "run", sa.Column("taken_over", sa.Integer, nullable=False, server_default="0"), schema="retention"
    )
    op.execute((SQL / "custody_check.sql").read_text(encoding="utf-8"))
    for name in FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION custody.{name} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION custody.{FUNCTIONS[0]} TO custody_clerk")
    op.execute("REVOKE ALL ON FUNCTION retention.late(timestamptz) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION retention.late(timestamptz) TO custody_service")


def downgrade() -> None:
    """Remove what was added; only for a development database."""
    op.execute("DROP FUNCTION retention.late(timestamptz)")
    for name in FUNCTIONS:
        op.execute(f"DROP FUNCTION custody.{name}")
    text = (SQL / "custody_destroy_key.sql").read_text(encoding="utf-8")
    made, end, _ = text.partition("END $$;")
    op.execute(made.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION") + end)
    op.drop_column("run", "taken_over", schema="retention")
    op.drop_column("run", "alive_at", schema="retention")
    op.drop_index("kit_contest", table_name="kit", schema="custody")
    op.drop_column("kit", "key_destroyed_at", schema="custody")
