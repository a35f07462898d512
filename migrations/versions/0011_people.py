"""People with several accounts; functions that end."""

from collections.abc import Sequence

revision: str = "0011_people"
down_revision: str | None = "0010_private"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
