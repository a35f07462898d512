"""A second signature that is asked of one named person of another organisation.

The observer of a disposal is named by who carries it out. The proposal keeps the name; that person alone
signs it, as observer and as nothing else, and sees of it which packages are destroyed.

And the office that a kit is linked to sees the holds of its magistrates, which it looks at again.
"""

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision: str = "0014_observer"
down_revision: str | None = "0013_check"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SQL = Path(__file__).parent.parent / "sql"
# Events of two or three people, what is written while an observer signs, and whatever names an observer.
LOOKED_AT = (
    "NEW.type IN ('disposal.carried_out', 'package.destroyed')"
    " OR coalesce(current_setting('custody.observing', true), '') <> ''"
    ' OR position(\'"function":"observer"\'::bytea IN NEW.bytes) > 0'
)


def upgrade() -> None:
    """Add the column, the functions around it, and the two triggers that keep it."""
    op.add_column(
        "proposal", sa.Column("signer", sa.Text, sa.ForeignKey("custody.person.id")), schema="custody"
    )
    op.add_column("proposal", sa.Column("declined_at", sa.DateTime(timezone=True)), schema="custody")
    op.add_column("proposal", sa.Column("declined", sa.Text), schema="custody")
    op.create_index(
        "proposal_asked",
        "proposal",
        ["signer"],
        schema="custody",
        postgresql_where=sa.text("signer IS NOT NULL AND signed_at IS NULL"),
    )
    for file in ("custody_observer.sql", "custody_known.sql"):
        op.execute((SQL / file).read_text(encoding="utf-8"))
    op.execute(
        "CREATE TRIGGER proposal_signer BEFORE UPDATE ON custody.proposal"
        " FOR EACH ROW EXECUTE FUNCTION custody.check_signer()"
    )
    op.execute("ALTER TABLE custody.proposal ENABLE ALWAYS TRIGGER proposal_signer")
    op.execute(
        "CREATE TRIGGER event_observer AFTER INSERT ON custody.event"
        f" FOR EACH ROW WHEN ({LOOKED_AT}) EXECUTE FUNCTION custody.check_observer()"
    )
    op.execute("ALTER TABLE custody.event ENABLE ALWAYS TRIGGER event_observer")
    for function in ("observations", "check_signer", "check_observer"):
        op.execute(f"REVOKE ALL ON FUNCTION custody.{function}() FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION custody.observations() TO custody_service")
    op.execute("REVOKE ALL ON FUNCTION custody.decline_observation(text, text) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION custody.decline_observation(text, text) TO custody_service")


def downgrade() -> None:
    """Only for a development database: who was asked is forgotten, and anybody of the centre may sign."""
    op.execute("DROP TRIGGER event_observer ON custody.event")
    op.execute("DROP TRIGGER proposal_signer ON custody.proposal")
    for function in ("observations", "check_signer", "check_observer"):
        op.execute(f"DROP FUNCTION custody.{function}()")
    op.execute("DROP FUNCTION custody.decline_observation(text, text)")
    _as_before("custody_boundary.sql", "known_document")
    _as_before("custody_secrets.sql", "propose")
    _as_before("custody_boundary.sql", "drop_proposal")
    op.drop_index("proposal_asked", "proposal", schema="custody")
    for column in ("signer", "declined_at", "declined"):
        op.drop_column("proposal", column, schema="custody")


def _as_before(file: str, name: str) -> None:
    """Make a function again as an earlier revision made it."""
    text = (SQL / file).read_text(encoding="utf-8").replace("CREATE OR REPLACE", "CREATE")
    _, found, rest = text.partition(f"CREATE FUNCTION custody.{name}(")
    body, end, _ = rest.partition("END $$;")
    op.execute(found.replace("CREATE", "CREATE OR REPLACE", 1) + body + end)
