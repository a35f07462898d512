"""The agreed term: notices, reviews, renewals, and what the database refuses about them.

| table | service | clerk |
|---|---|---|
| retention.outbox | SELECT of its centre's kits | SELECT, UPDATE (attempts, next_at, claimed_until) |
| retention.set_aside | SELECT of its centre's kits | as before |

A kit whose notice was due before this revision keeps `expires_at` empty: its term expires once somebody
records how the victim was told.

The protocol's steps and the spelling of an event are loaded anew, as the code has them.
"""

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from custody.protocol import STEPS
from custody.tables import step
from migrations.spelling import function as spelled

revision: str = "0012_term"
down_revision: str | None = "0011_people"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SQL = Path(__file__).parent.parent / "sql"
MOMENT = postgresql.TIMESTAMP(timezone=True)
FUNCTIONS = (
    "last_said(text, integer, text[])",
    "room(interval)",
    "adopted(jsonb)",
    "kept_policy(text, integer)",
    "over_before_wish(text, integer)",
    "may_name(jsonb, custody.kit, jsonb)",
    "over(jsonb, timestamptz, interval)",
    "check_days(jsonb, text, jsonb)",
    "check_wish(jsonb, custody.kit)",
    "check_policy()",
    "check_hold(jsonb, text, custody.step)",
    "check_term(jsonb, custody.kit, custody.step)",
    "of_age(text)",
    "order_stands(text)",
    "something_left(text)",
    "check_notice(jsonb, custody.kit, custody.step)",
    "keep_outbox(jsonb, custody.kit, custody.step, text)",
)
SEEN = """EXISTS (
    SELECT FROM custody.known_kit k WHERE k.number = {table}.kit AND k.relation = 'of_its_centre')"""


FOR_SIGNERS = """
    organisation = (SELECT custody.mine('organisation'))
    AND (person = (SELECT custody.mine('person'))
         OR (SELECT custody.mine('function')) IN ('nurse', 'custodian', 'coordinator'))
    AND (kit IS NULL OR EXISTS (
        SELECT FROM custody.known_kit k
        WHERE k.number = proposal.kit
          AND (k.relation <> 'in_person' OR proposal.person = (SELECT custody.mine('person')))))"""
# A policy can be for every centre: what waits to be adopted is shown to the coordinators of all of them.
FOR_COORDINATORS = """
    kit IS NULL AND action = 'policy.adopt' AND (SELECT custody.mine('function')) = 'coordinator'"""


def upgrade() -> None:
    """Add what a notice needs, the outbox and who sees it; load the protocol anew."""
    op.add_column("kit", sa.Column("expires_at", MOMENT), schema="custody")
    op.add_column("kit", sa.Column("remind_on", sa.Date), schema="custody")
    for name, column in (("kit_expires", "expires_at"), ("kit_remind", "remind_on")):
        op.create_index(
            name,
            "kit",
            [column],
            schema="custody",
            postgresql_where=sa.text("retention = 'notice_due'"),
        )
    op.add_column(
        "run", sa.Column("repeated", sa.Integer, nullable=False, server_default="0"), schema="retention"
    )
    _outbox()
    for table in ("outbox", "set_aside"):
        op.execute(f"ALTER TABLE retention.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY {table}_seen ON retention.{table} FOR SELECT TO custody_service"
            f" USING ({SEEN.format(table=table)})"
        )
        op.execute(
            f"CREATE POLICY {table}_clerk ON retention.{table} TO custody_clerk"
            " USING (true) WITH CHECK (true)"
        )
        op.execute(f"GRANT SELECT ON retention.{table} TO custody_service")
    op.execute("GRANT SELECT ON retention.outbox TO custody_clerk")
    op.execute("GRANT UPDATE (attempts, next_at, claimed_until) ON retention.outbox TO custody_clerk")
    op.create_index(
        "package_there",
        "package",
        ["holder_organisation"],
        schema="custody",
        postgresql_where=sa.text("state IN ('packed', 'sealed', 'stored', 'opened', 'lost')"),
    )
    for file in ("custody_policy", "custody_term"):
        op.execute((SQL / f"{file}.sql").read_text(encoding="utf-8"))
    op.execute(
        "CREATE TRIGGER policy_readable BEFORE INSERT ON custody.policy"
        " FOR EACH ROW EXECUTE FUNCTION custody.check_policy()"
    )
    op.execute("ALTER TABLE custody.policy ENABLE ALWAYS TRIGGER policy_readable")
    op.execute(
        f"ALTER POLICY proposal_seen ON custody.proposal USING (({FOR_SIGNERS}) OR ({FOR_COORDINATORS}))"
    )
    for name in FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION custody.{name} FROM PUBLIC")
    op.get_bind().exec_driver_sql(spelled())
    _load_protocol()


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("event", sa.LargeBinary, primary_key=True),
        sa.Column("kit", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_at", MOMENT, nullable=False),
        sa.Column("claimed_until", MOMENT),
        sa.Column("done_at", MOMENT),
        sa.Column("outcome", sa.Text),
        sa.CheckConstraint("length(event) = 32", name="outbox_event"),
        sa.CheckConstraint("channel IN ('email', 'sms')", name="outbox_channel"),
        sa.CheckConstraint("attempts >= 0", name="outbox_attempts"),
        sa.CheckConstraint("(done_at IS NULL) = (outcome IS NULL)", name="outbox_done"),
        schema="retention",
    )
    op.create_index("outbox_kit", "outbox", ["kit"], schema="retention")
    op.create_index(
        "outbox_next",
        "outbox",
        ["next_at"],
        schema="retention",
        postgresql_where=sa.text("done_at IS NULL"),
    )


def _load_protocol() -> None:
    rows = [
        {
            "type": name,
            "trail": each.trail.value,
            "custody": {k.value: v.value for k, v in each.custody.items()},
            "legal": {k.value: v.value for k, v in each.legal.items()},
            "retention": {k.value: v.value for k, v in each.retention.items()},
            "packs": each.packs,
            "holds": each.holds,
            "people": each.people,
            "writers": sorted(each.writers),
            "needs": sorted(each.needs),
            "may": sorted(each.may),
        }
        for name, each in STEPS.items()
    ]
    loaded = postgresql.insert(step).values(rows)
    op.execute(
        loaded.on_conflict_do_update(
            index_elements=["type"],
            set_={name: loaded.excluded[name] for name in rows[0] if name != "type"},
        )
    )


def downgrade() -> None:
    """Put the earlier functions back; only for a development database: what waits to be sent is forgotten."""
    for file, names in (
        ("custody_boundary", ("apply_to_kit", "apply_document")),
        ("custody_destroy_key", ("keep_secrets",)),
        ("custody_register", ("check_who",)),
    ):
        for name in names:
            op.execute(_as_in(file, name))
    op.drop_index("package_there", "package", schema="custody")
    op.execute(f"ALTER POLICY proposal_seen ON custody.proposal USING ({FOR_SIGNERS})")
    op.execute("DROP TRIGGER policy_readable ON custody.policy")
    for name in FUNCTIONS:
        op.execute(f"DROP FUNCTION custody.{name}")
    op.execute("DROP POLICY set_aside_seen ON retention.set_aside")
    op.execute("DROP POLICY set_aside_clerk ON retention.set_aside")
    op.execute("ALTER TABLE retention.set_aside DISABLE ROW LEVEL SECURITY")
    op.execute("REVOKE SELECT ON retention.set_aside FROM custody_service")
    op.drop_table("outbox", schema="retention")
    op.drop_column("run", "repeated", schema="retention")
    op.drop_column("kit", "remind_on", schema="custody")
    op.drop_column("kit", "expires_at", schema="custody")


def _as_in(file: str, name: str) -> str:
    """A function as an earlier revision made it."""
    text = (SQL / f"{file}.sql").read_text(encoding="utf-8")
    _, found, rest = text.partition(f"CREATE OR REPLACE FUNCTION custody.{name}(")
    body, end, _ = rest.partition("END $$;")
    return found + body + end
