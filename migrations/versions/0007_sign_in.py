"""Sign-in at the organisations' own providers: sign-ins that are not finished, and where a session's began.

| table | service | clerk |
|---|---|---|
| pending_sign_in | SELECT, INSERT, DELETE | SELECT, DELETE (forgets what has ended) |

A pending sign-in holds digests alone; what proves it lies in the browser's cookie and at the provider.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007_sign_in"
down_revision: str | None = "0006_check"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the table, and the two columns of a session."""
    op.add_column(
        "session",
        sa.Column("issuer", sa.Text, comment="the provider at which the person signed in; none in the demo"),
        schema="desk",
    )
    op.add_column(
        "session",
        sa.Column("acr", sa.Text, comment="how strongly, in the provider's words"),
        schema="desk",
    )
    op.create_check_constraint(
        "session_provider_lengths",
        "session",
        "length(issuer) BETWEEN 1 AND 200 AND length(acr) BETWEEN 1 AND 200"
        " AND (acr IS NULL OR issuer IS NOT NULL)",
        schema="desk",
    )
    _pending_sign_in()
    op.execute("GRANT SELECT, INSERT, DELETE ON desk.pending_sign_in TO custody_service")
    op.execute("GRANT SELECT, DELETE ON desk.pending_sign_in TO custody_clerk")


def _pending_sign_in() -> None:
    op.create_table(
        "pending_sign_in",
        sa.Column("state_hash", sa.LargeBinary, primary_key=True, comment="SHA-256 of what leads back to it"),
        sa.Column("browser_hash", sa.LargeBinary, nullable=False, comment="SHA-256 of the browser's cookie"),
        sa.Column("issuer", sa.Text, nullable=False, comment="the provider that was asked"),
        sa.Column("onward", sa.Text, nullable=False, comment="the page to open afterwards"),
        sa.Column("again", sa.Boolean, nullable=False, comment="a recent proof was asked for"),
        sa.Column("person", sa.Text, comment="who signed in and has a function to choose"),
        sa.Column("authenticated_at", Moment),
        sa.Column("acr", sa.Text),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("ends_at", Moment, nullable=False),
        sa.CheckConstraint(
            "length(state_hash) = 32 AND length(browser_hash) = 32", name="pending_sign_in_hashes_are_sha256"
        ),
        sa.CheckConstraint(
            "length(issuer) BETWEEN 1 AND 200 AND length(onward) BETWEEN 1 AND 500 AND onward ~ '^/'"
            " AND length(person) BETWEEN 1 AND 200 AND length(acr) BETWEEN 1 AND 200",
            name="pending_sign_in_lengths",
        ),
        sa.CheckConstraint(
            "(person IS NULL) = (authenticated_at IS NULL) AND (acr IS NULL OR person IS NOT NULL)",
            name="pending_sign_in_is_proved_or_not",
        ),
        sa.CheckConstraint(
            "created_at < ends_at AND ends_at <= created_at + interval '10 minutes'",
            name="pending_sign_in_is_short",
        ),
        schema="desk",
    )
    op.create_index("pending_sign_in_by_end", "pending_sign_in", ["ends_at"], schema="desk")


def downgrade() -> None:
    """Remove the table and the columns; sign-ins that are not finished begin anew."""
    op.drop_table("pending_sign_in", schema="desk")
    op.drop_constraint("session_provider_lengths", "session", schema="desk")
    op.drop_column("session", "acr", schema="desk")
    op.drop_column("session", "issuer", schema="desk")
