"""The tables of the log (schema `audit`), as SQLAlchemy Core sees them.

Each table has a column `log`: `events` or `reads`, two trees that never share a row.

- `pending`: digests written in the transaction of what they are digests of, waiting for a place in the
  tree. A queue without an order that counts; the integrator empties it.
- `leaf`: the digest (32 bytes, SHA-256) at each index of the tree, 0, 1, 2, ... without a gap.
- `tile`: concatenated 32-byte hashes, at most 256 of them (C2SP tlog-tiles); rightmost tiles are partial.
- `checkpoint`: the signed notes, one per signed size; `root` repeats what stands in the note.
- `padding`: what the random leaves are made of that hide how much happened between two publications: the
  leaf's digest is `audit.publish.padding_digest(salt)`, so nobody can pass off a removed event as padding.
- `publication`: the sizes at which the log left the house, one per slot; always a multiple of 256.
- `cosignature`: signature lines of witnesses over a checkpoint.
- `stamp`: RFC 3161 time stamps over a checkpoint's note (`number` 1), each next one over the one before.

The guards (nothing is ever changed or removed) are triggers: see `migrations/versions/0001_log.py` and
`0005_publication.py`.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

SCHEMA: Final = "audit"

metadata = MetaData(schema=SCHEMA)

_LOG_IS_A_WORD: Final = "log ~ '^[a-z]{1,32}$'"

pending = Table(
    "pending",
    metadata,
    Column("log", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("queued_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    CheckConstraint(_LOG_IS_A_WORD, name="pending_log_is_a_word"),
    CheckConstraint("length(digest) = 32", name="pending_digest_is_sha256"),
)

leaf = Table(
    "leaf",
    metadata,
    Column("log", Text, primary_key=True),
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, nullable=False),
    UniqueConstraint("log", "digest", name="leaf_digest_once"),
    CheckConstraint(_LOG_IS_A_WORD, name="leaf_log_is_a_word"),
    CheckConstraint("index >= 0", name="leaf_index_from_zero"),
    CheckConstraint("length(digest) = 32", name="leaf_digest_is_sha256"),
)

tile = Table(
    "tile",
    metadata,
    Column("log", Text, primary_key=True),
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
    CheckConstraint(_LOG_IS_A_WORD, name="tile_log_is_a_word"),
    CheckConstraint("level BETWEEN 0 AND 7", name="tile_level_in_range"),
    CheckConstraint("index >= 0", name="tile_index_from_zero"),
    CheckConstraint(
        "length(hashes) BETWEEN 32 AND 8192 AND length(hashes) % 32 = 0", name="tile_of_whole_hashes"
    ),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("log", Text, primary_key=True),
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("signed_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    CheckConstraint(_LOG_IS_A_WORD, name="checkpoint_log_is_a_word"),
    CheckConstraint("size >= 0", name="checkpoint_size_from_zero"),
    CheckConstraint("length(root) = 32", name="checkpoint_root_is_sha256"),
    CheckConstraint("length(note) BETWEEN 1 AND 1048576", name="checkpoint_note_length"),
)

padding = Table(
    "padding",
    metadata,
    Column("log", Text, primary_key=True),
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("salt", LargeBinary, nullable=False),
    CheckConstraint(_LOG_IS_A_WORD, name="padding_log_is_a_word"),
    CheckConstraint("index >= 0", name="padding_index_from_zero"),
    CheckConstraint("length(salt) = 32", name="padding_salt_length"),
)

publication = Table(
    "publication",
    metadata,
    Column("log", Text, primary_key=True),
    Column("slot", DateTime(timezone=True), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("published_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    UniqueConstraint("log", "size", name="publication_size_once"),
    CheckConstraint(_LOG_IS_A_WORD, name="publication_log_is_a_word"),
    CheckConstraint("size > 0 AND size % 256 = 0", name="publication_of_whole_tiles"),
)

cosignature = Table(
    "cosignature",
    metadata,
    Column("log", Text, primary_key=True),
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("key_id", LargeBinary, primary_key=True),
    Column("line", Text, nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    CheckConstraint(_LOG_IS_A_WORD, name="cosignature_log_is_a_word"),
    CheckConstraint("size > 0", name="cosignature_size_from_one"),
    CheckConstraint("length(name) BETWEEN 1 AND 255", name="cosignature_name_length"),
    CheckConstraint("length(key_id) = 4", name="cosignature_key_id_length"),
    CheckConstraint("length(line) BETWEEN 1 AND 8192", name="cosignature_line_length"),
)

stamp = Table(
    "stamp",
    metadata,
    Column("log", Text, primary_key=True),
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("number", SmallInteger, primary_key=True, autoincrement=False),
    Column("token", LargeBinary, nullable=False),
    Column("stamped_at", DateTime(timezone=True), nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    CheckConstraint(_LOG_IS_A_WORD, name="stamp_log_is_a_word"),
    CheckConstraint("size > 0", name="stamp_size_from_one"),
    CheckConstraint("number BETWEEN 1 AND 99", name="stamp_number_in_range"),
    CheckConstraint("length(token) BETWEEN 1 AND 65536", name="stamp_token_length"),
)
