"""The outbox: messages that PostgreSQL laid here in the transaction of the event that asked for them.

    claim      one that is due, for as long as a lease, however many replicas ask
    to_say     whether it is still wanted, and to whom and in which language
    …          the message is handed over; no transaction is open meanwhile
    answer     the event that says what came of it, which also ends the row

A row is counted before it is sent, so a message that kills its sender is not sent for ever. A crash between
the acceptance by a mail server and the event sends again, under the same Message-ID: at least once, because a
victim who hears twice is better off than one who never hears. What fails for now is tried again after
:data:`PAUSES`; after the last of them it has failed, and is work for a person. What PostgreSQL refuses to
record would be refused again: such a message is never handed over a second time, and is work for a person.

The engine and the ledger are those of the role ``custody_clerk``.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from custody import tables as evidence
from custody.channel import channel_of
from custody.decision import Decided, Seen
from custody.kit import Kit
from custody.ledger import Command, Inconsistent, Ledger
from custody.people import CLOCK
from custody.prosecution import choice
from custody.protocol import Legal
from custody.refusal import Refused
from retention import tables as own
from retention.notice import TOLD, NotNow, answered, nobody_to_tell, settled, why_not_sent
from retention.policy import Policy

PAUSES: Final = (
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=8),
    timedelta(hours=24),
)
"""How long after each try that failed for now the next one is made; one try more than there are pauses."""

LEASE: Final = timedelta(minutes=10)
"""A row that was claimed and not answered for so long is anybody's: its sender is gone."""

PUT_ASIDE: Final = timedelta(days=36_500)
"""When a message comes up again that nothing can be recorded of: never, by itself."""

OVERTAKES: Final = (
    "channel.changed",
    "majority.confirmed",  # who reads at the address of before is not known any more
    "term.extended",
    "term.corrected",
    "term.moved",
    "report.declared",
)
"""What after the asking makes a message pointless, or would send it where it must not go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A claimed message: the digest of the event that asked for it, and how often it was claimed by now."""

    event: bytes
    kit: str
    channel: str
    attempts: int

    @property
    def last(self) -> bool:
        """Whether no further try is made after this one."""
        return self.attempts > len(PAUSES)

    @property
    def too_often(self) -> bool:
        """Whether even the last try has been begun before, and its sender did not live to tell."""
        return self.attempts > len(PAUSES) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ToSay:
    """Whom to tell, over which channel, in which language; ``address`` None where none was agreed."""

    channel: str
    address: str | None = field(repr=False)
    language: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A row as people see it on the list of messages."""

    event: bytes
    kit: str
    channel: str
    made_at: datetime
    attempts: int
    next_at: datetime
    done_at: datetime | None
    outcome: str | None

    @property
    def put_aside(self) -> bool:
        """Whether nothing could be recorded of it."""
        return self.done_at is None and self.next_at - self.made_at >= PUT_ASIDE


async def claim(engine: AsyncEngine, channels: Iterable[str], lease: timedelta = LEASE) -> Row | None:
    """One due message over one of these channels, for this process alone; None where nothing is due.

    Two replicas never get the same one: a row that another is claiming is skipped.
    """
    now = func.custody.clock()
    o = own.outbox.c
    free = o.claimed_until.is_(None) | (o.claimed_until <= now)
    due = (
        select(o.event)
        .where(o.done_at.is_(None), o.next_at <= now, free, o.channel.in_(tuple(channels)))
        .order_by(o.next_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    taken = (
        update(own.outbox)
        .where(o.event == due.scalar_subquery())
        .values(attempts=o.attempts + 1, claimed_until=now + lease)
        .returning(o.event, o.kit, o.channel, o.attempts)
    )
    async with engine.begin() as connection:
        found = (await connection.execute(taken)).first()
    if found is None:
        return None
    return Row(event=bytes(found.event), kit=found.kit, channel=found.channel, attempts=found.attempts)


async def to_say(ledger: Ledger, row: Row) -> ToSay | None:
    """Whom to tell; None where the message is not needed any more. Looked at under the claim.

    Raises `custody.ledger.PrivateAltered` where the private part is not what the events name.
    """
    seen = await ledger.look(CLOCK, [row.kit])
    kit = seen.kit(row.kit)
    async with ledger.engine.connect() as connection:
        if not await _wanted(connection, kit, row):
            return None
    said = channel_of(await ledger.private_parts(CLOCK, kit))
    return ToSay(channel=row.channel, address=said.address, language=kit.language or "en", at=seen.at)


async def _wanted(connection: AsyncConnection, kit: Kit, row: Row) -> bool:
    """Whether the message that this event asked for is still to be sent."""
    e = evidence.event.c
    asked = (await connection.execute(select(e.type, e.subject, e.number).where(e.digest == row.event))).one()
    if kit.legal is not Legal.UNREPORTED or kit.retention not in TOLD or nobody_to_tell(kit):
        return False
    if kit.channel != row.channel or (asked.type == "notice.due" and settled(kit)):
        return False
    later = exists().where(e.subject == asked.subject, e.number > asked.number, e.type.in_(OVERTAKES))
    return not await connection.scalar(select(later))


async def answer(ledger: Ledger, engine: AsyncEngine, row: Row, how: str, policies: Sequence[Policy]) -> None:
    """Record what came of a claimed message: ``sent``, ``tried``, ``failed``, ``not_wanted`` (not needed).

    ``tried`` after the last pause is recorded as ``failed``. Where the term no longer ends, PostgreSQL has
    ended the row already, and nothing is recorded. Raises Refused or Inconsistent where the answer is
    refused; people tell the victim then, and the message is not handed over again.
    """
    said = "failed" if how == "tried" and row.last else how

    def decide(seen: Seen) -> Decided:
        kit = seen.kit(row.kit)
        return answered(kit, said, [row.event.hex()], policies, seen.at, row.channel)

    try:
        await ledger.carry_out(_command(row, said), decide)
    except NotNow:
        return
    except (Refused, Inconsistent):
        await _leave_to_people(ledger, engine, row, said)
        raise
    if said == "tried":
        await _again(engine, row, PAUSES[min(row.attempts, len(PAUSES)) - 1])


def _command(row: Row, said: str) -> Command:
    key = f"notice:{row.event.hex()}:{row.attempts}:{said}"
    return Command(actor=CLOCK, key=key, digest=hashlib.sha256(key.encode()).digest(), kits=(row.kit,))


async def _leave_to_people(ledger: Ledger, engine: AsyncEngine, row: Row, said: str) -> None:
    """The answer was refused. That a message went out is recorded all the same, without settling anything."""

    def went_out(seen: Seen) -> Decided:
        stated = {"how": "sent", "channel": row.channel, "cites": [row.event.hex()]}
        return Decided(facts=(choice(seen.kit(row.kit), "notice.attempted", CLOCK, **stated),))

    try:
        if said == "sent":
            await ledger.carry_out(_command(row, "unsettled"), went_out)
            return
    except (Refused, Inconsistent):
        pass
    await _again(engine, row, PUT_ASIDE)


async def _again(engine: AsyncEngine, row: Row, pause: timedelta) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            update(own.outbox)
            .where(own.outbox.c.event == row.event)
            .values(next_at=func.custody.clock() + pause, claimed_until=None)
        )


async def sent_as(engine: AsyncEngine) -> list[tuple[bytes, str, str, str | None]]:
    """Event, kit, channel and outcome of every message, to find the one that a bounce is about."""
    o = own.outbox.c
    async with engine.connect() as connection:
        rows = await connection.execute(select(o.event, o.kit, o.channel, o.outcome).where(o.attempts > 0))
        return [(bytes(row.event), row.kit, row.channel, row.outcome) for row in rows]


async def came_back(ledger: Ledger, event: bytes, kit: str, channel: str, policies: Sequence[Policy]) -> bool:
    """Record that a message came back, once however often it does. False where no notice stands any more."""
    key = f"notice:{event.hex()}:bounced"
    command = Command(actor=CLOCK, key=key, digest=hashlib.sha256(key.encode()).digest(), kits=(kit,))

    def decide(seen: Seen) -> Decided:
        return answered(seen.kit(kit), "bounced", [event.hex()], policies, seen.at, channel)

    try:
        await ledger.carry_out(command, decide)
    except NotNow:
        return False
    return True


async def of_kits(connection: AsyncConnection, kits: Sequence[str]) -> dict[str, Standing]:
    """The newest message of each of these kits, as far as this person's rights reach."""
    o = own.outbox.c
    rows = (
        select(o.event, o.kit, o.channel, o.made_at, o.attempts, o.next_at, o.done_at, o.outcome)
        .where(o.kit.in_(tuple(kits)))
        .order_by(o.made_at)
    )
    return {row.kit: Standing(**row._mapping) for row in await connection.execute(rows)}


# --- the list of people's work ----------------------------------------------------------------------------


def stands(kit: Kit, policy: Policy, at: datetime, message: Standing | None, sends: Sequence[str]) -> str:
    """Where telling the victim stands, in one word; ``sends`` are the channels that this service can use.

    ``held`` nobody is told (death, incapacity); ``settled``; ``waiting`` the service sends, or tries again;
    ``cannot_send`` it was not told how; ``bounced``, ``failed`` the message did not arrive; ``unrecorded`` it
    went out, or was tried, and what came of it could not be recorded as it was; ``to_call``,
    ``to_post``; ``never_proved``, ``proved_long_ago`` the channel is confirmed first, or sent to all the
    same; ``to_send`` a message was not needed, or the channel changed: a person has it sent.
    """
    if nobody_to_tell(kit):
        return "held"
    if message is not None and message.done_at is None and not message.put_aside:
        return "waiting" if message.channel in sends else "cannot_send"
    if settled(kit):
        return "settled"
    last = kit.attempts[-1].how if kit.attempts else None
    if last in ("bounced", "failed"):
        return last
    if last == "sent" or (message is not None and message.put_aside):
        return "unrecorded"
    why = why_not_sent(kit, policy, at)
    if why == "by_hand":
        return "to_post" if kit.channel == "post" else "to_call"
    return why if why in ("never_proved", "proved_long_ago") else "to_send"
