"""Whole bundles made in memory: a log that grows day by day, with witnesses, stamps and changes of keys.

Witnesses and the authority of time stamps sign for real; everything else is as the service would write it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from audit import merkle, tile
from audit.checkpoint import Checkpoint
from audit.key import COSIGNATURE, ED25519, ML_DSA_44, SigningKey, VerifierKey, sign, write_keys
from audit.note import Note
from audit.policy import Policy
from audit.proof import Proof
from audit.text import write_base64
from audit.tile import Tiles
from custody.bundle import Anchor, Bundle, Told
from custody.cover import covered
from custody.event import Event, Fact, Head, place_in_trail
from custody.event import after as head_after
from tests.audit.an_authority import Authority
from tests.custody.trails import KEYS, KIT, ORIGIN

FIRST_DAY = datetime(2026, 5, 1, 12, tzinfo=UTC)
WITNESSES = tuple(
    SigningKey(f"{name}.example/witness", sha256(name.encode()).digest(), COSIGNATURE)
    for name in ("abbey", "bastion", "castle")
)


def signing_keys(name: str, origin: str = ORIGIN) -> tuple[SigningKey, ...]:
    """A pair of keys of the log, by a name of their own."""
    return tuple(SigningKey(origin, sha256(name.encode()).digest(), kind) for kind in (ED25519, ML_DSA_44))


def vkeys(keys: Sequence[SigningKey]) -> str:
    return write_keys(key.verifier for key in keys)


def a_policy(rule: str = "all", keys: Sequence[SigningKey] = ()) -> Policy:
    """The three witnesses, of which ``rule`` must have cosigned, for a log of these keys."""
    lines = [f"log {key.verifier.written()}" for key in keys]
    lines += [f"witness {w.name[:3]} {w.verifier.written()}" for w in WITNESSES]
    members = " ".join(w.name[:3] for w in WITNESSES)
    lines += [f"group them {rule} {members}", "quorum them"]
    return Policy.read("".join(f"{line}\n" for line in lines).encode())


@dataclass
class Log:
    """A log in memory. ``keys`` sign; each growth, note and stamp is as of a time that the caller gives."""

    keys: tuple[SigningKey, ...] = KEYS
    origin: str = ORIGIN
    leaves: list[bytes] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    head: Head = field(default_factory=Head)
    anchors: list[tuple[int, Anchor]] = field(default_factory=list)
    _tiles: dict[tile.Place, bytes] = field(default_factory=dict)

    def add(self, *data: bytes) -> None:
        """More leaves: the digests of these bytes."""
        digests = [sha256(each).digest() for each in data]
        hashes = [merkle.leaf_hash(digest) for digest in digests]
        edge = {place: self._tiles[place] for place in tile.right_edge(len(self.leaves))}
        self._tiles |= tile.grow(len(self.leaves), edge, hashes)
        self.leaves += digests

    def pad(self, count: int = 100) -> None:
        """Events of other kits."""
        self.add(*(f"another event {len(self.leaves) + n}".encode() for n in range(count)))

    def note(self, keys: Sequence[SigningKey] | None = None) -> Note:
        size = len(self.leaves)
        root = merkle.root(size, Tiles(self._tiles).read)
        return sign(Checkpoint(self.origin, size, root), keys or self.keys, 1_790_000_000)

    def proof(self, data: bytes, note: Note) -> bytes:
        index = self.leaves.index(sha256(data).digest())
        size = Checkpoint.read(note.text).size
        hashes = tuple(merkle.inclusion_proof(index, size, Tiles(self._tiles).read))
        return Proof(index, hashes, note).written()

    def tell(
        self, type_: str, keys: Sequence[SigningKey], at: datetime, by: Sequence[SigningKey], **more: Any
    ) -> None:
        """An event about the log's keys, under a checkpoint that ``by`` sign."""
        named = {"vkeys": [key.verifier.written() for key in keys], **more}
        if type_ == "log.opened":
            named["digest"] = sha256(vkeys(keys).encode()).hexdigest()
        fact = Fact(type=type_, subject="log:events", who={"function": "clock"}, fields=named)
        event = place_in_trail(fact, self.head, at, sha256(type_.encode()).digest()[:16])
        self.head = head_after(event)
        self.add(event.bytes)
        self.pad(3)
        self.told.append(Told(event=event.bytes, proof=self.proof(event.bytes, self.note(by))))

    def anchor(
        self,
        witnesses: Sequence[SigningKey] = (),
        authority: Authority | None = None,
        at: datetime = FIRST_DAY,
    ) -> None:
        """The log as it stands leaves the house: cosigned and stamped at a time."""
        note = self.note()
        lines = [cosigned(note, witness, at).line() + "\n" for witness in witnesses]
        stamps = () if authority is None else (authority.by_hand(note.written(), at),)
        made = Anchor(signed=note.written(), cosignatures="".join(lines).encode(), growth=b"", stamps=stamps)
        self.anchors.append((len(self.leaves), made))

    def bundle(self, events: Sequence[Event], note: Note | None = None, **more: Any) -> Bundle:
        """The bundle of these events under a note of the log as it stands."""
        note = note or self.note()
        size = Checkpoint.read(note.text).size
        read = Tiles(self._tiles).read
        growths = [merkle.consistency_proof(old, size, read) for old, _ in self.anchors]
        return covered(
            Bundle(
                kit=KIT,
                trail=events[0].subject.split(":")[0],
                origin=self.origin,
                note=note.written(),
                events=tuple(event.bytes for event in events),
                proofs=tuple(self.proof(event.bytes, note) for event in events),
                anchors=tuple(
                    replace(anchor, growth="".join(f"{write_base64(each)}\n" for each in growth).encode())
                    for (_, anchor), growth in zip(self.anchors, growths, strict=True)
                ),
                keys=tuple(self.told),
                **more,
            )
        )


def cosigned(note: Note, witness: SigningKey, at: datetime = FIRST_DAY) -> Any:
    """The line of a witness over the note."""
    verifier: VerifierKey = witness.verifier
    second = int(at.timestamp())
    return verifier.line(witness.sign(verifier.message(note.text, second)), second)


def day(number: int) -> datetime:
    return FIRST_DAY + timedelta(days=number)
