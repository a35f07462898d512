"""What the scheduled check keeps about itself (PostgreSQL schema ``retention``). No evidence stands here."""

from typing import Final

from sqlalchemy import CheckConstraint, Column, Integer, MetaData, Table, Text
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
