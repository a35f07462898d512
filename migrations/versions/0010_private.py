"""Master keys that can be replaced, one function that deletes, and secrets that come with their own event.

| role | may |
|---|---|
| custody_clerk | EXECUTE custody.rewrap |

What is sealed and wrapped stays as it is: what was written before is told apart by its own bytes
(`custody.private`).
"""

from collections.abc import Sequence
from pathlib import Path

from alembic import op

revision: str = "0010_private"
down_revision: str | None = "0009_duty"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SQL = Path(__file__).parent.parent / "sql"
BEFORE = "CREATE FUNCTION custody.keep_secrets"


def upgrade() -> None:
    """One function deletes, one wraps anew; a card comes with its event, a key with the first part."""
    op.execute((SQL / "custody_destroy_key.sql").read_text(encoding="utf-8"))
    op.execute("REVOKE ALL ON FUNCTION custody.destroy_key(text, bytea[]) FROM PUBLIC")
    op.execute("REVOKE ALL ON FUNCTION custody.rewrap(text, bytea, bytea) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION custody.rewrap(text, bytea, bytea) TO custody_clerk")


def downgrade() -> None:
    """`keep_secrets` as 0002 has it, with the deletion in it."""
    secrets = (SQL / "custody_secrets.sql").read_text(encoding="utf-8")
    first = secrets[secrets.index(BEFORE) :]
    op.execute(first[: first.index("END $$;") + len("END $$;")].replace("CREATE", "CREATE OR REPLACE", 1))
    op.execute("DROP FUNCTION custody.rewrap(text, bytea, bytea)")
    op.execute("DROP FUNCTION custody.destroy_key(text, bytea[])")
