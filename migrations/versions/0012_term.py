"""The agreed term: notices, reviews, renewals, and what the database refuses about them."""

from collections.abc import Sequence

revision: str = "0012_term"
down_revision: str | None = "0011_people"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
