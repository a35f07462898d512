"""The boundary of reading: what other parties than the centre see of a kit, and who reads a restricted one."""

from collections.abc import Sequence

revision: str = "0008_boundary"
down_revision: str | None = "0007_sign_in"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
