"""The desk's own tables, schema `desk`: sessions and how they begin, duty credentials, counted attempts, the
database's mark.

Nothing here is evidence: rows end and are deleted; that a duty credential was used stands in the trail of its
centre. No token, cookie value, card code or secret is stored, only digests of them.
"""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

metadata: Final = sa.MetaData(schema="desk")

session: Final = sa.Table(
    "session",
    metadata,
    sa.Column("id_hash", sa.LargeBinary, primary_key=True, comment="SHA-256 of the cookie's value"),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("person", sa.Text, comment="identifier in the register of people"),
    sa.Column("function", sa.Text, comment="the function the person works in now"),
    sa.Column("organisation", sa.Text, comment="the organisation the person works for now"),
    sa.Column("kit", sa.Text, comment="kit number of a victim's card"),
    sa.Column("authenticated_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False, comment="absolute limit"),
    sa.Column("revoked_at", sa.DateTime(timezone=True)),
    sa.Column("issuer", sa.Text, comment="the provider at which the person signed in; none in the demo"),
    sa.Column("acr", sa.Text, comment="how strongly, in the provider's words"),
    sa.CheckConstraint("length(id_hash) = 32", name="session_id_is_sha256"),
    sa.CheckConstraint(
        "(kind = 'person' AND person IS NOT NULL AND function IS NOT NULL AND organisation IS NOT NULL"
        " AND kit IS NULL)"
        " OR (kind = 'card' AND kit IS NOT NULL AND person IS NULL AND function IS NULL"
        " AND organisation IS NULL)",
        name="session_of_a_person_or_a_card",
    ),
    sa.CheckConstraint(
        "length(person) BETWEEN 1 AND 200 AND length(function) BETWEEN 1 AND 40"
        " AND length(organisation) BETWEEN 1 AND 200",
        name="session_person_lengths",
    ),
    sa.CheckConstraint("kit ~ '^[0-9A-HJKMNP-TV-Z]{12}$'", name="session_kit_is_a_number"),
    sa.CheckConstraint(
        "created_at <= last_seen_at AND created_at < ends_at AND ends_at <= created_at + interval '12 hours'",
        name="session_times_in_order",
    ),
    sa.CheckConstraint(
        "length(issuer) BETWEEN 1 AND 200 AND length(acr) BETWEEN 1 AND 200"
        " AND (acr IS NULL OR issuer IS NOT NULL)",
        name="session_provider_lengths",
    ),
)
sa.Index("session_by_person", session.c.person, postgresql_where=session.c.revoked_at.is_(None))
sa.Index("session_by_kit", session.c.kit, postgresql_where=session.c.revoked_at.is_(None))
sa.Index("session_by_end", session.c.ends_at)

pending_sign_in: Final = sa.Table(
    "pending_sign_in",
    metadata,
    sa.Column("state_hash", sa.LargeBinary, primary_key=True, comment="SHA-256 of what leads back to it"),
    sa.Column("browser_hash", sa.LargeBinary, nullable=False, comment="SHA-256 of the browser's cookie"),
    sa.Column("issuer", sa.Text, nullable=False, comment="the provider that was asked"),
    sa.Column("onward", sa.Text, nullable=False, comment="the page to open afterwards"),
    sa.Column("again", sa.Boolean, nullable=False, comment="a recent proof was asked for"),
    sa.Column("person", sa.Text, comment="who signed in and has a function to choose"),
    sa.Column("authenticated_at", sa.DateTime(timezone=True)),
    sa.Column("acr", sa.Text),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("offered", ARRAY(sa.Text), comment="the functions to choose from, as the provider let it"),
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
    sa.CheckConstraint(
        "(offered IS NULL) = (person IS NULL) AND cardinality(offered) BETWEEN 1 AND 100",
        name="pending_sign_in_offers",
    ),
)
sa.Index("pending_sign_in_by_end", pending_sign_in.c.ends_at)

duty_credential: Final = sa.Table(
    "duty_credential",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("centre", sa.Text, nullable=False),
    sa.Column("code_hash", sa.Text, nullable=False, comment="scrypt of the code, with its own salt"),
    sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("voided_at", sa.DateTime(timezone=True), comment="when another took its place"),
    sa.Column("opened_at", sa.DateTime(timezone=True)),
    sa.Column("ends_at", sa.DateTime(timezone=True), comment="until when it signs in; spent afterwards"),
    sa.Column("reason", sa.Text),
    sa.Column("opening", sa.LargeBinary, comment="digest of the event of its opening"),
    sa.Column("used_by", ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")),
    sa.Column("reviewed_at", sa.DateTime(timezone=True)),
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
)
sa.Index(
    "duty_credential_stands",
    duty_credential.c.centre,
    unique=True,
    postgresql_where=duty_credential.c.voided_at.is_(None),
)

attempt: Final = sa.Table(
    "attempt",
    metadata,
    sa.Column("purpose", sa.Text, primary_key=True),
    sa.Column(
        "key_hash",
        sa.LargeBinary,
        primary_key=True,
        comment="HMAC-SHA-256 of what the attempts go against, under a key that is not in the database",
    ),
    sa.Column("counted", sa.Integer, nullable=False),
    sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("refused_until", sa.DateTime(timezone=True)),
    sa.CheckConstraint("purpose ~ '^[a-z_]{1,40}$'", name="attempt_purpose_is_a_word"),
    sa.CheckConstraint("length(key_hash) = 32", name="attempt_key_is_sha256"),
    sa.CheckConstraint("counted > 0", name="attempt_counted"),
    sa.CheckConstraint(
        "refused_until <= last_at + interval '15 minutes'", name="attempt_never_locks_out_for_long"
    ),
)
sa.Index("attempt_by_time", attempt.c.last_at)

database_kind: Final = sa.Table(
    "database_kind",
    metadata,
    sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("kind", sa.Text, nullable=False, comment="fictional (demo) or real; set once"),
    sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('"only"', name="database_kind_is_one_row"),
    sa.CheckConstraint("kind IN ('fictional', 'real')", name="database_kind_is_known"),
)
