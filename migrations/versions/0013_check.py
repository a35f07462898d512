"""The scheduled check at speed, and what it reports."""

from collections.abc import Sequence

revision: str = "0013_check"
down_revision: str | None = "0012_term"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
