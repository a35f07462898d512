"""The scheduled check: which slots were carried out, and which kits are set aside for a while."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision: str = "0003_retention"
down_revision: str | None = "0002_custody"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make both tables; the clerk writes them, coordinators read them through the service."""
    moment = TIMESTAMP(timezone=True)
    counts = ("notices_due", "expired", "cooled_off", "keys_destroyed", "failed")
    op.create_table(
        "run",
        sa.Column("slot", moment, primary_key=True),
        sa.Column("started_at", moment, nullable=False),
        sa.Column("finished_at", moment),
        *(sa.Column(name, sa.Integer, nullable=False, server_default="0") for name in counts),
        sa.CheckConstraint("finished_at IS NULL OR finished_at >= started_at", name="run_order"),
        schema="retention",
    )
    op.create_table(
        "set_aside",
        sa.Column("kit", sa.Text, primary_key=True),
        sa.Column("until", moment, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        schema="retention",
    )
    op.execute("GRANT USAGE ON SCHEMA retention TO custody_service, custody_clerk, custody_auditor")
    op.execute("GRANT SELECT ON retention.run TO custody_service, custody_auditor")
    op.execute("GRANT SELECT, INSERT, UPDATE ON retention.run TO custody_clerk")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON retention.set_aside TO custody_clerk")


def downgrade() -> None:
    """Remove both tables."""
    op.drop_table("set_aside", schema="retention")
    op.drop_table("run", schema="retention")
