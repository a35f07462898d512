"""A log at work over real events: what is recorded is integrated, signed, published, and kept by others."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from audit import log, publish
from audit.checkpoint import Checkpoint
from audit.key import write_keys
from audit.keybox import create_keys, open_box
from audit.merkle import Span, consistency_plan, hash_of, leaf_hash, root
from audit.proof import Proof
from audit.sign import Signer
from audit.tile import Place, Tiles, grow
from custody.commands import CheckSeal
from custody.handling import check_seal
from desk.export import export_log
from tests.conftest import Engines
from tests.custody.byhand import ByHand
from tests.custody.story import NURSE, Story, ref

ORIGIN = "stories.example/log"
FIRST_SLOT = datetime(2031, 3, 4, tzinfo=UTC)


@dataclass(kw_only=True)
class House:
    """The people of the stories, the signer of the log of events, and a folder for what leaves the house."""

    story: Story
    engines: Engines
    signer: Signer
    folder: Path
    slot: datetime = FIRST_SLOT

    @property
    def clerk(self) -> AsyncEngine:
        return self.engines.clerk

    @property
    def vkeys(self) -> str:
        return write_keys(self.signer.box.verifiers)

    @property
    def note(self) -> bytes:
        """The last signed note, as others keep it."""
        note = self.signer.box.last_note()
        assert note is not None
        return note

    async def settle(self) -> bytes:
        """Integrate and sign what waits; the note."""
        async with self.clerk.begin() as transaction:
            await log.integrate(transaction, "events")
        await self.signer.sign(self.clerk)
        return self.note

    async def published(self) -> bytes:
        """The next slot's publication; its note."""
        self.slot += timedelta(days=1)
        assert await publish.publish(self.clerk, self.signer, self.slot) is not None
        return self.note

    async def exported(self, folder: str = "public") -> Path:
        """The public log as a folder."""
        await export_log(self.engines.service, "events", self.folder / folder, lambda done, total: None)
        return self.folder / folder

    async def proof(self, digest: str) -> Proof | None:
        async with self.clerk.connect() as connection:
            return (await log.prove(connection, "events", [bytes.fromhex(digest)])).get(bytes.fromhex(digest))

    async def seal_checked(self, kit: str) -> str:
        """The nurse looks at the seal of package 1; the digest on the receipt."""
        order = CheckSeal(packages=(ref(kit, 1, condition="intact"),))
        (receipt,) = await self.story.do(NURSE, [kit], lambda seen: check_seal(seen, order, NURSE))
        return receipt.digest


@contextmanager
def at_work(story: Story, engines: Engines, folder: Path) -> Iterator[House]:
    """The house with its key box open."""
    create_keys(folder / "keys" / "events.key", ORIGIN)
    with open_box(folder / "keys" / "events.key") as box:
        yield House(story=story, engines=engines, signer=Signer("events", box), folder=folder)


class Forged:
    """A tree of the forger's own, with every proof that it can give."""

    def __init__(self, digests: Sequence[bytes]) -> None:
        self.size = len(digests)
        self._tiles = Tiles(self.tiles(digests))

    @staticmethod
    def tiles(digests: Sequence[bytes]) -> dict[Place, bytes]:
        return grow(0, {}, [leaf_hash(digest) for digest in digests])

    def checkpoint(self, origin: str) -> Checkpoint:
        return Checkpoint(origin, self.size, root(self.size, self._tiles.read))

    def grown_from(self, old: int) -> tuple[bytes, ...]:
        """The hashes that show its growth from its own first `old` leaves."""
        plan: list[Span] = consistency_plan(old, self.size)
        return tuple(hash_of(span, self._tiles.read) for span in plan)


async def digests_of(engine: AsyncEngine) -> list[bytes]:
    """Every leaf of the log of events, in order."""
    async with engine.connect() as connection:
        return await log.digests_between(connection, "events", 0, await log.size(connection, "events"))


def rewrite(byhand: ByHand, kit: str, old: str, new: str, digests: list[bytes]) -> bytes:
    """Replace words in the last event of a kit's custody trail, and all that follows from its bytes: digest,
    head, projection, leaf, tiles. No guard is on. Answers the new digest."""
    superuser = byhand.of("superuser")
    head = byhand.head(f"custody:{kit}")
    before = bytes.fromhex(str(head.digest))
    superuser.execute("SET custody.maintenance = 'on'")
    for table in ("custody.event", "audit.leaf", "audit.tile", "audit.checkpoint"):
        superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
    row = superuser.execute(
        "UPDATE custody.event e SET bytes = n.bytes, digest = sha256(n.bytes) FROM (SELECT digest,"
        " convert_to(replace(convert_from(bytes, 'UTF8'), %s, %s), 'UTF8') AS bytes FROM custody.event) n"
        " WHERE e.digest = n.digest AND e.digest = %s RETURNING e.digest",
        [old, new, before],
    ).fetchone()
    assert row is not None
    after: bytes = row[0]
    assert after != before
    superuser.execute("UPDATE custody.head SET digest = %s WHERE digest = %s", [after, before])
    superuser.execute(
        "UPDATE custody.kit SET document = replace(document::text, %s, %s)::jsonb WHERE number = %s",
        [before.hex(), after.hex(), kit],
    )
    superuser.execute("UPDATE audit.leaf SET digest = %s WHERE digest = %s", [after, before])
    superuser.execute("DELETE FROM audit.tile WHERE log = 'events'")
    told = [after if digest == before else digest for digest in digests]
    for place, hashes in Forged.tiles(told).items():
        superuser.execute(
            "INSERT INTO audit.tile VALUES ('events', %s, %s, %s)", [place.level, place.number, hashes]
        )
    return after
