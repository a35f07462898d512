"""What the scheduled check keeps about itself (PostgreSQL schema ``retention``). No evidence stands here."""

from typing import Final

from sqlalchemy import CheckConstraint, Column, Index, Integer, LargeBinary, MetaData, Table, Text, text
from sqlalchemy.dialects.postgresql import TIMESTAMP

metadata: Final = MetaData(schema="retention")

Moment: Final = TIMESTAMP(timezone=True)

# One row a slot: whoever inserts it first carries the slot out, whatever the number of replicas.
run = Table(
    "run",
    metadata,
    Column("slot", Moment, primary_key=True),
    Column("started_at", Moment, nullable=False),
    Column("finished_at", Moment),
    Column("notices_due", Integer, nullable=False, server_default="0"),
    Column("expired", Integer, nullable=False, server_default="0"),
    Column("cooled_off", Integer, nullable=False, server_default="0"),
    Column("keys_destroyed", Integer, nullable=False, server_default="0"),
    Column("failed", Integer, nullable=False, server_default="0"),
    Column("repeated", Integer, nullable=False, server_default="0"),
    Column("alive_at", Moment),  # the last sign of life of whoever carries the slot out
    Column("taken_over", Integer, nullable=False, server_default="0"),
    CheckConstraint("finished_at IS NULL OR finished_at >= started_at", name="run_order"),
)

# A kit that the check could not move is set aside for a while, so that it cannot stop the others.
set_aside = Table(
    "set_aside",
    metadata,
    Column("kit", Text, primary_key=True),
    Column("until", Moment, nullable=False),
    Column("reason", Text, nullable=False),
)

# A notice that the service is to send, from the transaction of the event that says so (``event`` is its
# digest). What is sent, and to which address, stands nowhere here.
outbox = Table(
    "outbox",
    metadata,
    Column("event", LargeBinary, primary_key=True),
    Column("kit", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("made_at", Moment, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_at", Moment, nullable=False),
    Column("claimed_until", Moment),
    Column("done_at", Moment),
    Column("outcome", Text),  # sent, failed, bounced, not_wanted; overtaken: the term no longer ends
    CheckConstraint("length(event) = 32", name="outbox_event"),
    CheckConstraint("channel IN ('email', 'sms')", name="outbox_channel"),
    CheckConstraint("attempts >= 0", name="outbox_attempts"),
    CheckConstraint("(done_at IS NULL) = (outcome IS NULL)", name="outbox_done"),
    Index("outbox_kit", "kit"),
    Index("outbox_next", "next_at", postgresql_where=text("done_at IS NULL")),
)
