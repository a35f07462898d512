"""The tables of schema `custody` as revision 0002 made them. History: later changes are later revisions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql


def _access() -> None:
    op.create_table(
        "access",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("recorded_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("kit", sa.Text(), nullable=True),
        sa.Column("centre", sa.Text(), nullable=True),
        sa.Column("bytes", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("length(digest) = 32 AND digest = sha256(bytes)", name="access_digest"),
        sa.PrimaryKeyConstraint("digest"),
        sa.UniqueConstraint("subject", "number", name="access_subject_number"),
        schema="custody",
    )
    op.create_index("access_kit", "access", ["kit", "recorded_at"], unique=False, schema="custody")


def _event() -> None:
    op.create_table(
        "event",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("trail", sa.Text(), nullable=False),
        sa.Column("kit", sa.Text(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("recorded_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("bytes", sa.LargeBinary(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("ordinal", sa.SmallInteger(), nullable=False),
        sa.Column("command", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("length(bytes) <= 65536", name="event_bytes"),
        sa.CheckConstraint("length(command) = 32", name="event_command"),
        sa.CheckConstraint("length(digest) = 32 AND digest = sha256(bytes)", name="event_digest"),
        sa.CheckConstraint("length(idempotency_key) BETWEEN 8 AND 200", name="event_key"),
        sa.CheckConstraint("number >= 1", name="event_number"),
        sa.PrimaryKeyConstraint("digest"),
        sa.UniqueConstraint("person", "idempotency_key", "ordinal", name="event_once"),
        sa.UniqueConstraint("subject", "number", name="event_subject_number"),
        schema="custody",
    )
    op.create_index("event_kit", "event", ["kit", "recorded_at"], unique=False, schema="custody")


def _head() -> None:
    op.create_table(
        "head",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("recorded_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("digest IS NULL OR length(digest) = 32", name="head_digest"),
        sa.CheckConstraint("number >= 0 AND (number = 0) = (digest IS NULL)", name="head_number"),
        sa.PrimaryKeyConstraint("subject"),
        schema="custody",
    )


def _organisation() -> None:
    op.create_table(
        "organisation",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("zone", sa.Text(), nullable=True),
        sa.Column("unanswered_requests", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "kind IN ('centre', 'police', 'prosecutor', 'laboratory', 'registry', 'oversight', 'hospital')",
            name="organisation_kind",
        ),
        sa.CheckConstraint("unanswered_requests >= 0", name="organisation_requests"),
        sa.PrimaryKeyConstraint("id"),
        schema="custody",
    )


def _person() -> None:
    op.create_table(
        "person",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=True),
        sa.Column("login", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("issuer", "login", name="person_login"),
        schema="custody",
    )


def _policy() -> None:
    op.create_table(
        "policy",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("length(digest) = 32", name="policy_digest"),
        sa.PrimaryKeyConstraint("id", "version"),
        schema="custody",
    )


def _step() -> None:
    op.create_table(
        "step",
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("trail", sa.Text(), nullable=False),
        sa.Column("custody", postgresql.JSONB(), nullable=False),
        sa.Column("legal", postgresql.JSONB(), nullable=False),
        sa.Column("retention", postgresql.JSONB(), nullable=False),
        sa.Column("packs", sa.BOOLEAN(), nullable=False),
        sa.Column("holds", sa.SmallInteger(), nullable=False),
        sa.Column("people", sa.SmallInteger(), nullable=False),
        sa.Column("needs", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("may", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("writers", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("type"),
        schema="custody",
    )


def _appointment() -> None:
    op.create_table(
        "appointment",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("organisation", sa.Text(), nullable=False),
        sa.Column("function", sa.Text(), nullable=False),
        sa.Column("from", sa.DATE(), nullable=False),
        sa.Column("until", sa.DATE(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation"],
            ["custody.organisation.id"],
        ),
        sa.ForeignKeyConstraint(
            ["person"],
            ["custody.person.id"],
        ),
        sa.PrimaryKeyConstraint("person", "organisation", "function", "from"),
        schema="custody",
    )


def _kit() -> None:
    op.create_table(
        "kit",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("centre", sa.Text(), nullable=False),
        sa.Column("legal", sa.Text(), nullable=False),
        sa.Column("retention", sa.Text(), nullable=False),
        sa.Column("holds", sa.Integer(), nullable=False),
        sa.Column("in_transit", sa.Integer(), nullable=False),
        sa.Column("destroyed", sa.Integer(), nullable=False),
        sa.Column("unanswered_requests", sa.Integer(), nullable=False),
        sa.Column("notice_on", sa.DATE(), nullable=False),
        sa.Column("term_over_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("cooling_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("disposed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("registered_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("parties", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("document", postgresql.JSONB(), nullable=False),
        sa.CheckConstraint(
            "destroyed = 0 OR retention = 'disposed'", name="kit_destroyed_only_when_disposed"
        ),
        sa.CheckConstraint("legal IN ('unreported', 'declared', 'linked', 'released')", name="kit_legal"),
        sa.CheckConstraint(
            "retention <> 'disposed' OR (legal = 'unreported' AND holds = 0 AND in_transit = "
            "0 AND unanswered_requests = 0 AND term_over_at <= disposed_at)",
            name="kit_disposed_only_when_nothing_protects_it",
        ),
        sa.CheckConstraint(
            "retention IN ('running', 'notice_due', 'expired', 'proposed', 'approved', "
            "'stopped', 'disposed')",
            name="kit_retention",
        ),
        sa.CheckConstraint("holds >= 0 AND in_transit >= 0 AND destroyed >= 0", name="kit_counts"),
        sa.CheckConstraint("length(number) = 12", name="kit_number"),
        sa.ForeignKeyConstraint(
            ["centre"],
            ["custody.organisation.id"],
        ),
        sa.PrimaryKeyConstraint("number"),
        schema="custody",
    )
    op.create_index("kit_centre", "kit", ["centre", "registered_at"], unique=False, schema="custody")
    op.create_index(
        "kit_cooling",
        "kit",
        ["cooling_until"],
        unique=False,
        schema="custody",
        postgresql_where=sa.text("cooling_until IS NOT NULL"),
    )
    op.create_index(
        "kit_notice",
        "kit",
        ["notice_on"],
        unique=False,
        schema="custody",
        postgresql_where=sa.text("retention = 'running'"),
    )
    op.create_index(
        "kit_over",
        "kit",
        ["term_over_at"],
        unique=False,
        schema="custody",
        postgresql_where=sa.text("retention = 'notice_due'"),
    )
    op.create_index("kit_parties", "kit", ["parties"], unique=False, schema="custody", postgresql_using="gin")


def _place() -> None:
    op.create_table(
        "place",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("organisation", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("storage", sa.Text(), nullable=True),
        sa.Column("closed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation"],
            ["custody.organisation.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        schema="custody",
    )


def _proposal() -> None:
    op.create_table(
        "proposal",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("kit", sa.Text(), nullable=True),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("function", sa.Text(), nullable=False),
        sa.Column("organisation", sa.Text(), nullable=False),
        sa.Column("command", postgresql.JSONB(), nullable=False),
        sa.Column("proposed_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("until", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("signed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("signed_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["person"],
            ["custody.person.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        schema="custody",
    )
    op.create_index(
        "proposal_open",
        "proposal",
        ["organisation"],
        unique=False,
        schema="custody",
        postgresql_where=sa.text("signed_at IS NULL"),
    )


def _request() -> None:
    op.create_table(
        "request",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("centre", sa.Text(), nullable=False),
        sa.Column("naming", postgresql.JSONB(), nullable=False),
        sa.Column("received_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["centre"],
            ["custody.organisation.id"],
        ),
        sa.ForeignKeyConstraint(
            ["zone"],
            ["custody.organisation.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        schema="custody",
    )
    op.create_index("request_centre", "request", ["centre", "received_at"], unique=False, schema="custody")


def _reserved_number() -> None:
    op.create_table(
        "reserved_number",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("centre", sa.Text(), nullable=False),
        sa.Column("reserved_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("used_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("length(number) = 12", name="reserved_number_length"),
        sa.ForeignKeyConstraint(
            ["centre"],
            ["custody.organisation.id"],
        ),
        sa.PrimaryKeyConstraint("number"),
        schema="custody",
    )


def _answer() -> None:
    op.create_table(
        "answer",
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("centre", sa.Text(), nullable=False),
        sa.Column("answered_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("how", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["request"],
            ["custody.request.id"],
        ),
        sa.PrimaryKeyConstraint("request"),
        schema="custody",
    )


def _card() -> None:
    op.create_table(
        "card",
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("kit", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("issued_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("stopped_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("length(code_hash) = 32", name="card_hash"),
        sa.ForeignKeyConstraint(
            ["kit"],
            ["custody.kit.number"],
        ),
        sa.PrimaryKeyConstraint("code_hash"),
        schema="custody",
    )


def _data_key() -> None:
    op.create_table(
        "data_key",
        sa.Column("kit", sa.Text(), nullable=False),
        sa.Column("centre", sa.Text(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("made_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["kit"],
            ["custody.kit.number"],
        ),
        sa.PrimaryKeyConstraint("kit"),
        schema="custody",
    )


def _package() -> None:
    op.create_table(
        "package",
        sa.Column("kit", sa.Text(), nullable=False),
        sa.Column("package", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("storage", sa.Text(), nullable=True),
        sa.Column("holder_person", sa.Text(), nullable=True),
        sa.Column("holder_organisation", sa.Text(), nullable=True),
        sa.Column("receiver_person", sa.Text(), nullable=True),
        sa.Column("receiver_organisation", sa.Text(), nullable=True),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("handover", sa.Text(), nullable=True),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("since", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('packed', 'sealed', 'stored', 'in_transit', 'opened', 'split', "
            "'joined', 'destroyed', 'returned', 'deposited', 'lost', 'void')",
            name="package_state",
        ),
        sa.ForeignKeyConstraint(
            ["kit"],
            ["custody.kit.number"],
        ),
        sa.PrimaryKeyConstraint("kit", "package"),
        schema="custody",
    )
    op.create_index(
        "package_due",
        "package",
        ["due_at"],
        unique=False,
        schema="custody",
        postgresql_where=sa.text("state = 'in_transit'"),
    )
    op.create_index("package_place", "package", ["place"], unique=False, schema="custody")


def _private_part() -> None:
    op.create_table(
        "private_part",
        sa.Column("event", sa.LargeBinary(), nullable=False),
        sa.Column("kit", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["event"],
            ["custody.event.digest"],
        ),
        sa.ForeignKeyConstraint(
            ["kit"],
            ["custody.kit.number"],
        ),
        sa.PrimaryKeyConstraint("event"),
        schema="custody",
    )


TABLES = (
    _access,
    _event,
    _head,
    _organisation,
    _person,
    _policy,
    _step,
    _appointment,
    _kit,
    _place,
    _proposal,
    _request,
    _reserved_number,
    _answer,
    _card,
    _data_key,
    _package,
    _private_part,
)
