"""The tables of evidence and of who handles it (PostgreSQL schema ``custody``).

Events are the truth; every other table here is a projection of them, a secret, or a signature waited
for. Nothing is written but through the functions in ``migrations/sql``: the service's role has SELECT
and EXECUTE and no more. Row-level security, guards and the functions are added by the migration.
"""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, BOOLEAN, DATE, JSONB, TIMESTAMP

from custody.protocol import Custody, Legal, Retention

metadata: Final = MetaData(schema="custody")

Moment: Final = TIMESTAMP(timezone=True)


def _one_of(column: str, words: Iterable[str]) -> str:
    listed = ", ".join(f"'{w}'" for w in words)
    return f"{column} IN ({listed})"


step = Table(
    "step",
    metadata,
    Column("type", Text, primary_key=True),
    Column("trail", Text, nullable=False),
    Column("custody", JSONB, nullable=False),
    Column("legal", JSONB, nullable=False),
    Column("retention", JSONB, nullable=False),
    Column("packs", BOOLEAN, nullable=False),
    Column("holds", SmallInteger, nullable=False),
    Column("people", SmallInteger, nullable=False),
    Column("needs", ARRAY(Text), nullable=False),
    Column("may", ARRAY(Text), nullable=False),
    Column("writers", ARRAY(Text), nullable=False),
)

organisation = Table(
    "organisation",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("country", Text),
    Column("zone", Text),
    Column("unanswered_requests", Integer, nullable=False, server_default=text("0")),
    CheckConstraint(
        "kind IN ('centre', 'police', 'prosecutor', 'laboratory', 'registry', 'oversight', 'hospital')",
        name="organisation_kind",
    ),
    CheckConstraint("unanswered_requests >= 0", name="organisation_requests"),
)

person = Table(
    "person",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("merged_into", ForeignKey("custody.person.id")),
)

account = Table(
    "account",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("login", Text, primary_key=True),
    Column("person", ForeignKey("custody.person.id"), primary_key=True),
    Column("removed_at", Moment),
    CheckConstraint(
        "length(issuer) BETWEEN 1 AND 200 AND length(login) BETWEEN 1 AND 200", name="account_lengths"
    ),
    Index(
        "account_signs_one_in", "issuer", "login", unique=True, postgresql_where=text("removed_at IS NULL")
    ),
)

appointment = Table(
    "appointment",
    metadata,
    Column("person", ForeignKey("custody.person.id"), primary_key=True),
    Column("organisation", ForeignKey("custody.organisation.id"), primary_key=True),
    Column("function", Text, primary_key=True),
    Column("from", DATE, primary_key=True),
    Column("until", DATE),
)

place = Table(
    "place",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation", ForeignKey("custody.organisation.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("storage", Text),
    Column("closed_at", Moment),
)

policy = Table(
    "policy",
    metadata,
    Column("id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("document", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    CheckConstraint("length(digest) = 32", name="policy_digest"),
)

reserved_number = Table(
    "reserved_number",
    metadata,
    Column("number", Text, primary_key=True),
    Column("centre", ForeignKey("custody.organisation.id"), nullable=False),
    Column("reserved_at", Moment, nullable=False),
    Column("used_at", Moment),
    CheckConstraint("length(number) = 12", name="reserved_number_length"),
)

head = Table(
    "head",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("digest", LargeBinary),
    Column("recorded_at", Moment),
    CheckConstraint("number >= 0 AND (number = 0) = (digest IS NULL)", name="head_number"),
    CheckConstraint("digest IS NULL OR length(digest) = 32", name="head_digest"),
)

event = Table(
    "event",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("trail", Text, nullable=False),
    Column("kit", Text),
    Column("type", Text, nullable=False),
    Column("recorded_at", Moment, nullable=False),
    Column("bytes", LargeBinary, nullable=False),
    Column("person", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("ordinal", SmallInteger, nullable=False),
    Column("command", LargeBinary, nullable=False),
    UniqueConstraint("subject", "number", name="event_subject_number"),
    UniqueConstraint("person", "idempotency_key", "ordinal", name="event_once"),
    CheckConstraint("length(digest) = 32 AND digest = sha256(bytes)", name="event_digest"),
    CheckConstraint("number >= 1", name="event_number"),
    CheckConstraint("length(bytes) <= 65536", name="event_bytes"),
    CheckConstraint("length(command) = 32", name="event_command"),
    CheckConstraint("length(idempotency_key) BETWEEN 8 AND 200", name="event_key"),
    Index("event_kit", "kit", "recorded_at"),
)

kit = Table(
    "kit",
    metadata,
    Column("number", Text, primary_key=True),
    Column("centre", ForeignKey("custody.organisation.id"), nullable=False),
    Column("legal", Text, nullable=False),
    Column("retention", Text, nullable=False),
    Column("holds", Integer, nullable=False),
    Column("in_transit", Integer, nullable=False),
    Column("destroyed", Integer, nullable=False),
    Column("unanswered_requests", Integer, nullable=False),
    Column("notice_on", DATE, nullable=False),
    Column("term_over_at", Moment, nullable=False),
    Column("cooling_until", Moment),
    Column("disposed_at", Moment),
    Column("registered_at", Moment, nullable=False),
    Column("parties", ARRAY(Text), nullable=False),
    Column("document", JSONB, nullable=False),
    Column("readers", ARRAY(Text)),  # who alone may read a restricted kit
    Column("expires_at", Moment),  # the term may expire from then on; null: nobody was told of its end
    Column("remind_on", DATE),
    Column("key_destroyed_at", Moment),
    CheckConstraint(_one_of("legal", Legal), name="kit_legal"),
    CheckConstraint(_one_of("retention", Retention), name="kit_retention"),
    CheckConstraint("length(number) = 12", name="kit_number"),
    CheckConstraint("holds >= 0 AND in_transit >= 0 AND destroyed >= 0", name="kit_counts"),
    CheckConstraint("cardinality(readers) BETWEEN 1 AND 20", name="kit_readers"),
    # The rule that no bug, no race and no single person may break, on the one row that carries it all.
    CheckConstraint(
        "retention <> 'disposed' OR (legal = 'unreported' AND holds = 0 AND in_transit = 0"
        " AND unanswered_requests = 0 AND term_over_at <= disposed_at)",
        name="kit_disposed_only_when_nothing_protects_it",
    ),
    CheckConstraint("destroyed = 0 OR retention = 'disposed'", name="kit_destroyed_only_when_disposed"),
    Index("kit_centre", "centre", "registered_at"),
    Index("kit_notice", "notice_on", postgresql_where=text("retention = 'running'")),
    Index("kit_over", "term_over_at", postgresql_where=text("retention = 'notice_due'")),
    Index("kit_expires", "expires_at", postgresql_where=text("retention = 'notice_due'")),
    Index("kit_remind", "remind_on", postgresql_where=text("retention = 'notice_due'")),
    Index("kit_cooling", "cooling_until", postgresql_where=text("cooling_until IS NOT NULL")),
    Index(
        "kit_contest",
        "disposed_at",
        postgresql_where=text("retention = 'disposed' AND key_destroyed_at IS NULL"),
    ),
    Index("kit_parties", "parties", postgresql_using="gin"),
)

# Written out, not bound: only so does the planner see that the index below is about these packages.
STILL_THERE: Final = text("state IN ('packed', 'sealed', 'stored', 'opened', 'lost')")

package = Table(
    "package",
    metadata,
    Column("kit", ForeignKey("custody.kit.number"), primary_key=True),
    Column("package", SmallInteger, primary_key=True),
    Column("state", Text, nullable=False),
    Column("storage", Text),
    Column("holder_person", Text),
    Column("holder_organisation", Text),
    Column("receiver_person", Text),
    Column("receiver_organisation", Text),
    Column("place", Text),
    Column("handover", Text),
    Column("due_at", Moment),
    Column("since", Moment),
    CheckConstraint(_one_of("state", Custody), name="package_state"),
    Index("package_due", "due_at", postgresql_where=text("state = 'in_transit'")),
    Index("package_place", "place"),
    Index("package_there", "holder_organisation", postgresql_where=STILL_THERE),
)

request = Table(
    "request",
    metadata,
    Column("id", Text, primary_key=True),
    Column("zone", ForeignKey("custody.organisation.id"), nullable=False),
    Column("person", Text, nullable=False),
    Column("centre", ForeignKey("custody.organisation.id"), nullable=False),
    Column("naming", JSONB, nullable=False),
    Column("received_at", Moment, nullable=False),
    Index("request_centre", "centre", "received_at"),
)

# Apart from the request, because the police see their requests and never what was found.
answer = Table(
    "answer",
    metadata,
    Column("request", ForeignKey("custody.request.id"), primary_key=True),
    Column("centre", Text, nullable=False),
    Column("answered_at", Moment, nullable=False),
    Column("how", Text, nullable=False),
)

proposal = Table(
    "proposal",
    metadata,
    Column("id", Text, primary_key=True),
    Column("action", Text, nullable=False),
    Column("kit", Text),
    Column("person", ForeignKey("custody.person.id"), nullable=False),
    Column("function", Text, nullable=False),
    Column("organisation", Text, nullable=False),
    Column("command", JSONB, nullable=False),
    Column("proposed_at", Moment, nullable=False),
    Column("until", Moment, nullable=False),
    Column("signed_at", Moment),
    Column("signed_by", Text),
    Column("signer", ForeignKey("custody.person.id")),  # the one person whose signature is asked
    Column("declined_at", Moment),  # when that person declined; `until` ends then too
    Column("declined", Text),  # why, in the person's words
    Index("proposal_open", "organisation", postgresql_where=text("signed_at IS NULL")),
    Index(
        "proposal_asked",
        "signer",
        postgresql_where=text("signer IS NOT NULL AND signed_at IS NULL"),
    ),
)

card = Table(
    "card",
    metadata,
    Column("code_hash", LargeBinary, primary_key=True),
    Column("kit", ForeignKey("custody.kit.number"), nullable=False),
    Column("secret_hash", Text, nullable=False),
    Column("issued_at", Moment, nullable=False),
    Column("stopped_at", Moment),
    CheckConstraint("length(code_hash) = 32", name="card_hash"),
)

data_key = Table(
    "data_key",
    metadata,
    Column("kit", ForeignKey("custody.kit.number"), primary_key=True),
    Column("centre", Text, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("made_at", Moment, nullable=False),
)

private_part = Table(
    "private_part",
    metadata,
    Column("event", ForeignKey("custody.event.digest"), primary_key=True),
    Column("kit", ForeignKey("custody.kit.number"), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

access = Table(
    "access",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("recorded_at", Moment, nullable=False),
    Column("kit", Text),
    Column("centre", Text),
    Column("bytes", LargeBinary, nullable=False),
    UniqueConstraint("subject", "number", name="access_subject_number"),
    CheckConstraint("length(digest) = 32 AND digest = sha256(bytes)", name="access_digest"),
    Index("access_kit", "kit", "recorded_at"),
    Index("access_centre", "centre", "recorded_at"),
    Index(
        "access_glass",
        "subject",
        "recorded_at",
        postgresql_where=text("""position('"read":"break_glass"'::bytea IN bytes) > 0"""),
    ),
)

views: Final = MetaData(schema="custody")
"""Apart from the tables, which the migrated schema is compared with."""

known_kit = Table(
    "known_kit",
    views,
    Column("number", Text, primary_key=True),
    Column("centre", Text, nullable=False),
    Column("legal", Text, nullable=False),
    Column("retention", Text),
    Column("registered_at", Moment, nullable=False),
    Column("term_over_at", Moment),
    Column("relation", Text, nullable=False),
    Column("document", JSONB, nullable=False),
)
"""What the asker of this transaction may know of each kit: everything that is shown is read from here.

``relation`` is how they stand to it: ``own_kit``, ``of_its_centre``, ``linked``, ``in_hands`` (of their
organisation), or ``in_person`` (a restricted kit's package in the very hands of somebody who is no reader).
The term is for the first two alone; for the others ``document`` is cut to what `custody.permission.as_known`
leaves.
"""
