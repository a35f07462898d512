"""A second signature that is asked of one named person of another organisation."""

from collections.abc import Sequence

revision: str = "0014_observer"
down_revision: str | None = "0013_check"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
