"""Master keys that can be replaced: data keys are wrapped anew."""

from collections.abc import Sequence

revision: str = "0010_private"
down_revision: str | None = "0009_duty"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
