"""The sealed duty credential of a centre; what a provider let somebody choose from; keyed counts of attempts.

| table | service | clerk |
|---|---|---|
| duty_credential | SELECT; UPDATE of what use and review change | SELECT, INSERT, UPDATE of `voided_at` |

A web worker uses a credential and can never make one. A trigger keeps every step of a credential from being
taken back: an opening stays where it is, whoever used it stays named, a review is not undone. And it lets no
step be taken that does not stand in the trail of the centre: a worker cannot silence the alarm unrecorded.
"""

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision: str = "0009_duty"
down_revision: str | None = "0008_boundary"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SQL = Path(__file__).parent.parent / "sql"

GRANTS = (
    "GRANT SELECT ON desk.duty_credential TO custody_service, custody_clerk",
    "GRANT UPDATE (opened_at, ends_at, reason, opening, used_by, reviewed_at, reviewed_by, review)"
    " ON desk.duty_credential TO custody_service",
    "GRANT INSERT, UPDATE (voided_at) ON desk.duty_credential TO custody_clerk",
    "REVOKE ALL ON FUNCTION desk.duty_goes_forward() FROM PUBLIC",
    "REVOKE ALL ON FUNCTION desk.duty_event(bytea, text, text, timestamptz) FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION desk.duty_event(bytea, text, text, timestamptz)"
    " TO custody_service, custody_clerk",
)
PLAIN = "SHA-256 of what the attempts go against"
KEYED = "HMAC-SHA-256 of what the attempts go against, under a key that is not in the database"

Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the table, its guard and the column; forget the attempts, whose keys are made otherwise now."""
    _duty_credential()
    op.execute((SQL / "desk_duty_goes_forward.sql").read_text(encoding="utf-8"))
    op.execute(
        "CREATE TRIGGER duty_credential_goes_forward BEFORE UPDATE OR DELETE ON desk.duty_credential"
        " FOR EACH ROW EXECUTE FUNCTION desk.duty_goes_forward()"
    )
    op.execute("ALTER TABLE desk.duty_credential ENABLE ALWAYS TRIGGER duty_credential_goes_forward")
    for grant in GRANTS:
        op.execute(grant)
    op.add_column(
        "pending_sign_in",
        sa.Column("offered", ARRAY(sa.Text), comment="the functions to choose from, as the provider let it"),
        schema="desk",
    )
    op.create_check_constraint(
        "pending_sign_in_offers",
        "pending_sign_in",
        "(offered IS NULL) = (person IS NULL) AND cardinality(offered) BETWEEN 1 AND 100",
        schema="desk",
    )
    op.execute("DELETE FROM desk.attempt")
    op.alter_column("attempt", "key_hash", comment=KEYED, existing_comment=PLAIN, schema="desk")


def _duty_credential() -> None:
    op.create_table(
        "duty_credential",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("centre", sa.Text, nullable=False),
        sa.Column("code_hash", sa.Text, nullable=False, comment="scrypt of the code, with its own salt"),
        sa.Column("made_at", Moment, nullable=False),
        sa.Column("voided_at", Moment, comment="when another took its place"),
        sa.Column("opened_at", Moment),
        sa.Column("ends_at", Moment, comment="until when it signs in; spent afterwards"),
        sa.Column("reason", sa.Text),
        sa.Column("opening", sa.LargeBinary, comment="digest of the event of its opening"),
        sa.Column("used_by", ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")),
        sa.Column("reviewed_at", Moment),
        sa.Column("reviewed_by", sa.Text),
        sa.Column("review", sa.LargeBinary, comment="digest of the event of its review"),
        sa.CheckConstraint("id ~ '^[0-9a-f]{32}$'", name="duty_credential_id"),
        sa.CheckConstraint(
            "length(centre) BETWEEN 1 AND 80 AND length(code_hash) BETWEEN 1 AND 200"
            " AND length(reason) BETWEEN 1 AND 40 AND length(opening) = 32"
            " AND length(reviewed_by) BETWEEN 1 AND 80 AND length(review) = 32",
            name="duty_credential_lengths",
        ),
        sa.CheckConstraint(
            "(opened_at IS NULL) = (ends_at IS NULL) AND (opened_at IS NULL) = (reason IS NULL)"
            " AND (opened_at IS NULL) = (opening IS NULL) AND (opened_at IS NULL) = (used_by = '{}')"
            " AND ends_at <= opened_at + interval '12 hours'",
            name="duty_credential_opened_or_not",
        ),
        sa.CheckConstraint(
            "(reviewed_at IS NULL) = (reviewed_by IS NULL) AND (reviewed_at IS NULL) = (review IS NULL)"
            " AND (reviewed_at IS NULL OR opened_at IS NOT NULL)"
            " AND NOT coalesce(reviewed_by = ANY (used_by), false)",
            name="duty_credential_reviewed_by_another",
        ),
        schema="desk",
    )
    op.create_index(
        "duty_credential_stands",
        "duty_credential",
        ["centre"],
        unique=True,
        schema="desk",
        postgresql_where=sa.text("voided_at IS NULL"),
    )


def downgrade() -> None:
    """Remove the credentials; the events of their use stay. Attempts are counted anew."""
    op.execute("DELETE FROM desk.attempt")
    op.alter_column("attempt", "key_hash", comment=PLAIN, existing_comment=KEYED, schema="desk")
    op.drop_constraint("pending_sign_in_offers", "pending_sign_in", schema="desk")
    op.drop_column("pending_sign_in", "offered", schema="desk")
    op.drop_table("duty_credential", schema="desk")
    op.execute("DROP FUNCTION desk.duty_goes_forward()")
    op.execute("DROP FUNCTION desk.duty_event(bytea, text, text, timestamptz)")
