"""The sealed duty credential of a centre."""

from collections.abc import Sequence

revision: str = "0009_duty"
down_revision: str | None = "0008_boundary"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
