"""Trails made in memory: events with visibly invented people, a log around them, and its signed note."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from audit import merkle, tile
from audit.checkpoint import Checkpoint
from audit.key import ED25519, ML_DSA_44, SigningKey, sign, write_keys
from audit.proof import Proof
from audit.tile import Tiles
from custody.event import Event, Fact, Head, place_in_trail
from custody.event import after as head_after
from custody.number import RANDOM_BYTES, issue

KIT = next(n for n in (issue(bytes([at]) * RANDOM_BYTES) for at in range(256)) if n)
ORIGIN = "custody.example/log"
KEYS = tuple(SigningKey(ORIGIN, bytes(range(32)), kind) for kind in (ED25519, ML_DSA_44))
VKEYS = write_keys(key.verifier for key in KEYS)
BEGIN = datetime(2026, 5, 1, 1, 30, tzinfo=UTC)

NORA = {"person": "nora", "name": "Nora Nachtwacht", "function": "nurse", "organisation": "zsg-sterrenberg"}
CASPER = {
    "person": "casper",
    "name": "Casper Kluis",
    "function": "custodian",
    "organisation": "zsg-sterrenberg",
}
OSCAR = {"person": "oscar", "name": "Oscar Ochtend", "function": "officer", "organisation": "pz-morgenland"}
COUNTERPART = {"person": "casper", "name": "Casper Kluis", "organisation": "zsg-sterrenberg"}
LINK = {"ground": "report", "pv": "PV-0", "notice": "N-0", "office": "parket-x", "zone": "pz-morgenland"}

Told = tuple[str, dict[str, Any], dict[str, Any]]  # type, who, fields

TO_THE_STORE: tuple[Told, ...] = (
    ("kit.registered", NORA, {"centre": "zsg-sterrenberg", "examined_on": "2026-05-01"}),
    ("package.packed", NORA, {"packages": [{"package": 1, "kind": "bag", "storage": "dry"}]}),
    ("package.sealed", NORA, {"packages": [{"package": 1, "seal": "S-0001"}]}),
    (
        "handover.offered",
        NORA,
        {
            "packages": [{"package": 1}],
            "handover": "ab" * 16,
            "counterpart": COUNTERPART,
            "due_at": "2026-05-02T00:00:00.000000Z",
        },
    ),
    (
        "handover.accepted",
        CASPER,
        {"packages": [{"package": 1}], "handover": "ab" * 16, "counterpart": COUNTERPART},
    ),
    ("package.stored", CASPER, {"packages": [{"package": 1}], "place": {"id": "shelf-1", "name": "Shelf 1"}}),
)


def trail(told: Sequence[Told], which: str = "custody", at: datetime = BEGIN) -> list[Event]:
    """The events of what is told, one minute apart, chained, with fixed salts."""
    events: list[Event] = []
    head = Head()
    for minute, (type_, who, fields) in enumerate(told):
        fact = Fact(type=type_, subject=f"{which}:{KIT}", who=who, fields=fields)
        salt = sha256(f"{which} {minute}".encode()).digest()[:16]
        events.append(place_in_trail(fact, head, at + timedelta(minutes=minute), salt))
        head = head_after(events[-1])
    return events


@dataclass(frozen=True)
class Signed:
    """A log in memory that holds these digests among others, signed by `KEYS` (or others)."""

    note: bytes
    proofs: tuple[bytes, ...]


def logged(events: Sequence[bytes], others: int = 300, keys: Sequence[SigningKey] = KEYS) -> Signed:
    digests = [sha256(data).digest() for data in events]
    around = [sha256(f"another event {n}".encode()).digest() for n in range(others)]
    leaves = [*around[: others // 2], *digests, *around[others // 2 :]]
    tiles = Tiles(tile.grow(0, {}, [merkle.leaf_hash(leaf) for leaf in leaves]))
    note = sign(
        Checkpoint(keys[0].name, len(leaves), merkle.root(len(leaves), tiles.read)), keys, 1_790_000_000
    )
    proofs = []
    for index in range(others // 2, others // 2 + len(digests)):
        hashes = tuple(merkle.inclusion_proof(index, len(leaves), tiles.read))
        proofs.append(Proof(index, hashes, note).written())
    return Signed(note=note.written(), proofs=tuple(proofs))
