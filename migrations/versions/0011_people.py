"""People with several accounts, people who were registered twice, functions that end.

| table | service | clerk |
|---|---|---|
| account | SELECT | SELECT |

Accounts move out of `custody.person` into a table of their own; a removed one stays as a row that signs
nobody in. Who left leaves packages behind: a colleague takes them over.
"""

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision: str = "0011_people"
down_revision: str | None = "0010_private"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SQL = Path(__file__).parent.parent / "sql"
LENGTHS = "length(issuer) BETWEEN 1 AND 200 AND length(login) BETWEEN 1 AND 200"


def upgrade() -> None:
    """Make the table, move what `person` has, count people."""
    op.create_table(
        "account",
        sa.Column("issuer", sa.Text, primary_key=True),
        sa.Column("login", sa.Text, primary_key=True),
        sa.Column("person", sa.Text, sa.ForeignKey("custody.person.id"), primary_key=True),
        sa.Column("removed_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint(LENGTHS, name="account_lengths"),
        schema="custody",
    )
    op.create_index(
        "account_signs_one_in",
        "account",
        ["issuer", "login"],
        unique=True,
        schema="custody",
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.execute(
        "INSERT INTO custody.account (issuer, login, person)"
        " SELECT issuer, login, id FROM custody.person WHERE issuer IS NOT NULL AND login IS NOT NULL"
    )
    op.drop_column("person", "issuer", schema="custody")
    op.drop_column("person", "login", schema="custody")
    op.add_column(
        "person",
        sa.Column("merged_into", sa.Text, sa.ForeignKey("custody.person.id")),
        schema="custody",
    )
    for name, moment, extent in (
        ("account_no_delete", "BEFORE DELETE", "ROW"),
        ("account_no_truncate", "BEFORE TRUNCATE", "STATEMENT"),
    ):
        op.execute(
            f"CREATE TRIGGER {name} {moment} ON custody.account"
            f" FOR EACH {extent} EXECUTE FUNCTION custody.refuse_change()"
        )
        op.execute(f"ALTER TABLE custody.account ENABLE ALWAYS TRIGGER {name}")
    op.execute((SQL / "custody_register.sql").read_text(encoding="utf-8"))
    op.execute("REVOKE ALL ON FUNCTION custody.human(text) FROM PUBLIC")
    op.execute("REVOKE ALL ON FUNCTION custody.check_hands(jsonb, custody.step, text) FROM PUBLIC")
    op.execute("REVOKE ALL ON FUNCTION custody.at_work(text[], text, text[]) FROM PUBLIC")
    op.execute("REVOKE ALL ON FUNCTION custody.without_reader() FROM PUBLIC")
    op.execute("REVOKE ALL ON FUNCTION custody.check_merged(text, timestamptz) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION custody.human(text) TO custody_service, custody_clerk")
    op.execute("GRANT EXECUTE ON FUNCTION custody.without_reader() TO custody_service")
    op.execute("GRANT SELECT ON custody.account TO custody_service, custody_clerk")


def downgrade() -> None:
    """Move one account of each person back; only for a development database: other accounts are forgotten."""
    op.add_column("person", sa.Column("issuer", sa.Text), schema="custody")
    op.add_column("person", sa.Column("login", sa.Text), schema="custody")
    op.create_unique_constraint("person_login", "person", ["issuer", "login"], schema="custody")
    op.execute(
        "UPDATE custody.person p SET issuer = a.issuer, login = a.login FROM custody.account a"
        " WHERE a.person = p.id AND a.removed_at IS NULL"
    )
    op.drop_column("person", "merged_into", schema="custody")
    op.drop_table("account", schema="custody")
    for name in ("check_who", "apply_to_register"):
        op.execute(_as_in_0002(name))
    op.execute("DROP FUNCTION custody.check_hands(jsonb, custody.step, text)")
    op.execute("DROP FUNCTION custody.check_merged(text, timestamptz)")
    op.execute("DROP FUNCTION custody.without_reader()")
    op.execute("DROP FUNCTION custody.at_work(text[], text, text[])")
    op.execute("DROP FUNCTION custody.human(text)")


def _as_in_0002(name: str) -> str:
    """A function as revision 0002 made it."""
    text = (SQL / "custody_append.sql").read_text(encoding="utf-8")
    _, found, rest = text.partition(f"CREATE FUNCTION custody.{name}(")
    body, end, _ = rest.partition("END $$;")
    return found.replace("CREATE", "CREATE OR REPLACE", 1) + body + end
