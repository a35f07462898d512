"""The check of everything (`custody log check`) counts cards: whose they are and whether they open.

Nothing of what a card or its second secret hash to is shown to the clerk.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0006_check"
down_revision: str | None = "0005_publication"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Grant two columns of the cards, and every row of them, to the clerk."""
    op.execute("GRANT SELECT (kit, stopped_at) ON custody.card TO custody_clerk")


def downgrade() -> None:
    """Take the grant back."""
    op.execute("REVOKE SELECT (kit, stopped_at) ON custody.card FROM custody_clerk")
