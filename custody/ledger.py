"""Look, decide, append: the two calls around every pure decision.

A command is carried out so: ``look`` reads the projection of the kits it names, under row-level
security, and then the clock; a pure function decides from what was seen; ``append`` writes the events
at the heads that were seen, in one transaction, or refuses because a trail has moved on. Then the
decision is taken again from a new look. No lock spans Python, and no receipt is given for something
that was not committed.
"""

import asyncio
import base64
import hashlib
import json
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

import psycopg
from psycopg.types.json import Jsonb
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from custody import private
from custody.channel import as_it_stands
from custody.decision import Decided, Seen
from custody.disclosure import SALT_BYTES, Part, salted
from custody.event import Event, Fact, Head, decode, place_in_trail
from custody.kit import Kit, from_document, to_document
from custody.people import Actor
from custody.permission import kept_out
from custody.protocol import STEPS, Step, Trail
from custody.refusal import KeyUsed, Refused, Stale
from custody.trail import NotAStep, after

TRIES: Final = 6

_log = logging.getLogger(__name__)


class MovedOn(Exception):
    """A trail was extended by somebody else since it was looked at."""


class PrivateAltered(Refused):
    """What is stored as the private part of a kit is not what its events name."""

    def __init__(self) -> None:
        super().__init__(
            "The private part of this kit is not shown: what is stored is not what the kit's events name."
            " Tell those who run the service; a check of the log says what was altered."
        )


class Inconsistent(RuntimeError):
    """The database refused what the service folded: a fault of ours; nothing was written."""


class Masters(Protocol):
    """Who keeps the master keys of the centres: a key never leaves, it wraps and unwraps data keys.

    May take seconds (a program is asked), so it is never called on the thread of the event loop. Raises
    `custody.private.PrivateRefused` for a wrapped key that is not this kit's.
    """

    def wrap(self, centre: str, kit: str, data_key: bytes) -> bytes: ...

    def unwrap(self, centre: str, kit: str, wrapped: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the person who recorded an event gets. ``repeated``: the command had been carried out before."""

    trail: str
    number: int
    digest: str
    recorded_at: datetime
    type: str
    repeated: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What is to be carried out, and the key under which it is carried out once.

    ``digest`` is the SHA-256 of the command as it came in, to tell a retry from another command.
    ``expected`` is the state the caller decided on (``If-Match``); None where it does not matter. ``eyes`` is
    whose reading rights the look has, where the one who signs has none (an observer at a disposal).
    """

    actor: Actor
    key: str
    digest: bytes
    kits: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    proposal: str | None = None
    expected: str | None = None
    eyes: Actor | None = None


Decide = Callable[[Seen], Decided]


def state_tag(kit: Kit) -> str:
    """An opaque name for the state of both trails: what ``If-Match`` compares. It counts nothing."""
    heads = f"{kit.custody_head.digest}:{kit.choices_head.digest}"
    return hashlib.sha256(heads.encode()).hexdigest()[:32]


@asynccontextmanager
async def reading(engine: AsyncEngine, actor: Actor) -> AsyncIterator[AsyncConnection]:
    """A transaction that sees what this person may see."""
    async with engine.connect() as connection, connection.begin():
        await connection.execute(
            text("SELECT custody.enter(CAST(:actor AS jsonb))"), {"actor": json.dumps(actor.context())}
        )
        yield connection


async def forget_proposals(connection: AsyncConnection) -> None:
    """Delete commands that waited for a second person until thirty days ago. For the clerk."""
    await connection.execute(text("SELECT custody.forget_proposals()"))


class Ledger:
    """Writes evidence. One for each process; safe to share between tasks."""

    def __init__(self, engine: AsyncEngine, masters: Masters) -> None:
        self.engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._masters = masters

    @asynccontextmanager
    async def _driver(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        async with self._autocommit.connect() as connection:
            raw = await connection.get_raw_connection()
            driver: psycopg.AsyncConnection[Any] | None = raw.driver_connection
            if driver is None:
                raise Inconsistent("the pool gave no connection")
            yield driver

    async def look(self, actor: Actor, kits: Sequence[str] = (), others: Sequence[str] = ()) -> Seen:
        """What this person can see of these kits and trails, and the time after it was read."""
        async with self._driver() as driver:
            return await self._look(driver, actor, kits, others)

    async def _look(
        self, driver: psycopg.AsyncConnection[Any], actor: Actor, kits: Sequence[str], others: Sequence[str]
    ) -> Seen:
        heads: dict[str, Head] = {}
        if others:
            rows = await driver.execute("SELECT * FROM custody.heads(%s)", [list(others)])
            for subject, number, digest, recorded_at, _ in await rows.fetchall():
                heads[subject] = Head(number=number, digest=digest, recorded_at=recorded_at)
        row = await driver.execute(_LOOK, [Jsonb(actor.context()), list(kits)])
        found = await row.fetchone()
        if found is None:
            raise Inconsistent("a look saw no clock")
        at, documents = found
        seen = {k: from_document(Kit, document) for k, document in documents.items()}
        return Seen(at=at, kits=seen, heads=heads, glass=await self._glass(driver, actor, seen))

    async def look_at_documents(
        self, actor: Actor, kits: Sequence[str]
    ) -> tuple[datetime, Mapping[str, Any]]:
        """The time, and the kits' documents as they are stored: for many kits that are read elsewhere."""
        async with self._driver() as driver:
            row = await driver.execute(_LOOK, [Jsonb(actor.context()), list(kits)])
            found = await row.fetchone()
        if found is None:
            raise Inconsistent("a look saw no clock")
        return found[0], found[1]

    async def append_for_clock(
        self, keys: Sequence[str], events: Sequence[bytes], changes: Mapping[str, Any]
    ) -> frozenset[str]:
        """Write the clock's steps on many kits in one transaction (`custody.batch`): the kits written.

        ``keys`` are those of ``events``; ``changes`` say for each kit where its trails were seen and what is
        other in its document. A kit that moved on is left out. Raises MovedOn, Refused, Inconsistent.
        """
        async with self._driver() as driver:
            try:
                rows = await driver.execute(
                    "SELECT * FROM custody.append_for_clock(%s, %s, %s)",
                    [list(keys), list(events), Jsonb(changes)],
                )
                return frozenset(str(row[0]) for row in await rows.fetchall())
            except psycopg.Error as error:
                raise _refusal(error) from error

    async def _glass(
        self, driver: psycopg.AsyncConnection[Any], actor: Actor, seen: Mapping[str, Kit]
    ) -> frozenset[str]:
        """To which of these kits, restricted to others, this person broke the glass."""
        shut = [number for number, kit in seen.items() if kept_out(actor, kit)]
        if not shut:
            return frozenset()
        rows = await driver.execute(
            "SELECT k FROM unnest(%s::text[]) k WHERE custody.glass_open(k, %s)", [shut, actor.person]
        )
        return frozenset(str(row[0]) for row in await rows.fetchall())

    async def carry_out(self, command: Command, decide: Decide) -> tuple[Receipt, ...]:
        """Look, decide, append; again when the trail moved on. The same key gives the same receipts.

        Raises Refused (nothing was written), NotSeen, KeyUsed, Stale, and MovedOn after several lost races.
        """
        async with self._driver() as driver:
            for _ in range(TRIES):
                try:
                    eyes = command.eyes or command.actor
                    seen = await self._look(driver, eyes, command.kits, command.others)
                    self._check_expected(command, seen)
                    decided = decide(seen)
                    return await self.append(driver, command, seen, decided)
                except MovedOn:
                    continue
                except (Refused, psycopg.errors.UniqueViolation) as refusal:
                    if earlier := await self.receipts(driver, command):
                        return earlier
                    if isinstance(refusal, Refused):
                        raise
                    raise Inconsistent(str(refusal)) from refusal
            raise MovedOn

    def _check_expected(self, command: Command, seen: Seen) -> None:
        if command.expected is not None:
            for number in command.kits:
                if state_tag(seen.kit(number)) != command.expected:
                    raise Stale

    async def receipts(self, driver: psycopg.AsyncConnection[Any], command: Command) -> tuple[Receipt, ...]:
        """The receipts of this command if it was carried out before. Raises KeyUsed for another one's key."""
        rows = await driver.execute(
            "SELECT * FROM custody.receipts(%s, %s)", [command.actor.author, command.key]
        )
        found = await rows.fetchall()
        if any(bytes(row[5]) != command.digest for row in found):
            raise KeyUsed
        return tuple(
            Receipt(trail=s, number=n, digest=bytes(d).hex(), recorded_at=at, type=t, repeated=True)
            for s, n, d, at, t, _ in found
        )

    async def append(
        self, driver: psycopg.AsyncConnection[Any], command: Command, seen: Seen, decided: Decided
    ) -> tuple[Receipt, ...]:
        """Write what was decided at the heads that were seen. Raises MovedOn, Refused, Inconsistent."""
        parts = [salt_part(fact) for fact in decided.facts]
        events, kits, expected = place(decided.facts, seen, parts)
        extra = dict(decided.extra)
        if command.proposal is not None:
            extra["proposal"] = command.proposal
        await self._seal_private(driver, command.actor, parts, events, kits, extra)
        try:
            rows = await driver.execute(
                "SELECT * FROM custody.append(%s, %s, %s, %s, %s, %s, %s)",
                [
                    Jsonb(command.actor.context()),
                    command.key,
                    command.digest,
                    Jsonb(expected),
                    [event.bytes for event in events],
                    Jsonb({number: to_document(kit) for number, kit in kits.items()}),
                    Jsonb(extra),
                ],
            )
            await rows.fetchall()
        except psycopg.Error as error:
            raise _refusal(error) from error
        return tuple(
            Receipt(trail=e.subject, number=e.number, digest=e.digest, recorded_at=e.recorded_at, type=e.type)
            for e in events
        )

    async def _seal_private(
        self,
        driver: psycopg.AsyncConnection[Any],
        actor: Actor,
        parts: Sequence[Part | None],
        events: Sequence[Event],
        kits: Mapping[str, Kit],
        extra: dict[str, Any],
    ) -> None:
        keys: dict[str, bytes] = {}
        sealed: list[dict[str, Any]] = []
        for ordinal, (part, event) in enumerate(zip(parts, events, strict=True)):
            if part is None:
                continue
            number = event.subject.split(":")[1]
            if number not in keys:
                keys[number] = await self._data_key(driver, actor, kits[number], extra)
            nonces = secrets.token_bytes(private.NONCE_BYTES * len(part.fields))
            data = private.seal(keys[number], part, number, event.digest, nonces)
            sealed.append({"ordinal": ordinal, "sealed": base64.b64encode(data).decode()})
        if sealed:
            extra["private_parts"] = sealed

    async def _data_key(
        self, driver: psycopg.AsyncConnection[Any], actor: Actor, kit: Kit, extra: dict[str, Any]
    ) -> bytes:
        async with driver.transaction():
            await driver.execute("SELECT custody.enter(%s)", [Jsonb(actor.context())])
            row = await driver.execute("SELECT wrapped FROM custody.data_key WHERE kit = %s", [kit.number])
            found = await row.fetchone()
        if found is not None:
            return await asyncio.to_thread(self._masters.unwrap, kit.centre, kit.number, bytes(found[0]))
        key = secrets.token_bytes(private.KEY_BYTES)
        wrapped = await asyncio.to_thread(self._masters.wrap, kit.centre, kit.number, key)
        extra.setdefault("data_keys", []).append(
            {"kit": kit.number, "wrapped": base64.b64encode(wrapped).decode()}
        )
        return key

    async def seal_waiting(
        self, actor: Actor, kit: Kit, proposal: str, values: Mapping[str, str]
    ) -> dict[str, str]:
        """Private values of a command that waits for a second person, sealed for its proposal.

        With the data key of the kit, so that they become unreadable with its private part; for a kit that has
        none yet with a fresh one, which goes along wrapped. Raises PrivateRefused.
        """
        extra: dict[str, Any] = {}
        async with self._driver() as driver:
            key = await self._data_key(driver, actor, kit, extra)
        part = salted(values, secrets.token_bytes(SALT_BYTES * len(values)))
        nonces = secrets.token_bytes(private.NONCE_BYTES * len(part.fields))
        data = private.seal(key, part, kit.number, _waiting(proposal), nonces)
        sealed = {"part": base64.b64encode(data).decode()}
        for fresh in extra.get("data_keys", ()):
            sealed["key"] = fresh["wrapped"]
        return sealed

    async def open_waiting(
        self, actor: Actor, kit: Kit, proposal: str, sealed: Mapping[str, str]
    ) -> Mapping[str, str]:
        """The inverse of :meth:`seal_waiting`. Raises PrivateRefused, also where the key is destroyed or not
        for this person's eyes."""
        if "key" in sealed:
            wrapped = base64.b64decode(sealed["key"])
        else:
            async with reading(self.engine, actor) as connection:
                wrapped = await connection.scalar(_WRAPPED, {"kit": kit.number})
            if wrapped is None:
                raise private.PrivateRefused("there is no key for it")
        key = await asyncio.to_thread(self._masters.unwrap, kit.centre, kit.number, bytes(wrapped))
        return private.unseal(key, base64.b64decode(sealed["part"]), kit.number, _waiting(proposal)).values

    async def read_private(self, actor: Actor, kit: Kit) -> dict[str, str]:
        """The private part as it stands (`custody.channel.as_it_stands`). Empty where it is destroyed."""
        return as_it_stands(kit.channel, await self.private_parts(actor, kit))

    async def private_parts(self, actor: Actor, kit: Kit) -> list[tuple[Event, Part]]:
        """Each private part of the kit with its event, in the order of their trails; none where the key is
        destroyed, or where this person may not see it.

        Raises PrivateAltered where they are not all there, or one is not what its event names: an older safe
        channel, or a part without some of its fields, would be believed.
        """
        async with reading(self.engine, actor) as connection:
            values = {"kit": kit.number}
            wrapped = await connection.scalar(_WRAPPED, values)
            rows = (await connection.execute(_PARTS, values)).all()
        if wrapped is None or not rows:
            return []
        try:
            key = await asyncio.to_thread(self._masters.unwrap, kit.centre, kit.number, bytes(wrapped))
            return [_opened(key, kit.number, bytes(data), sealed) for data, sealed in rows]
        except private.PrivateRefused as why:
            _log.error("ALARM: a private part is not what its event names (%s); custody log check", why)
            raise PrivateAltered from None


def _waiting(proposal: str) -> str:
    """What stands in the context of a sealed field where no event has a digest yet."""
    return f"proposal {proposal}"


def _opened(key: bytes, kit: str, data: bytes, sealed: bytes | None) -> tuple[Event, Part]:
    """An event and its private part. Raises PrivateRefused for one that is missing, or not what it names."""
    event = decode(data)
    if sealed is None:
        raise private.PrivateRefused("it is missing")
    part = private.unseal(key, bytes(sealed), kit, event.digest)
    if part.digest(str(event.get("salt"))) != event.get("private"):
        raise private.PrivateRefused("it has other fields")
    return event, part


_LOOK: Final = "SELECT * FROM custody.look(%s, %s)"
_WRAPPED: Final = text("SELECT wrapped FROM custody.data_key WHERE kit = :kit")
_PARTS: Final = text(
    "SELECT e.bytes, p.sealed FROM custody.event e LEFT JOIN custody.private_part p ON p.event = e.digest"
    " WHERE e.kit = :kit AND convert_from(e.bytes, 'UTF8')::json ->> 'private' IS NOT NULL"
    " ORDER BY e.recorded_at, e.subject, e.number"
)


def salt_part(fact: Fact) -> Part | None:
    """The private part of a fact under fresh salts; None where it has none. Raises Inconsistent."""
    if not fact.private:
        return None
    try:
        return salted(fact.private, secrets.token_bytes(SALT_BYTES * len(fact.private)))
    except ValueError as wrong:
        raise Inconsistent(f"{fact.type}: {wrong}") from None


def place(
    facts: Sequence[Fact], seen: Seen, parts: Sequence[Part | None] | None = None
) -> tuple[list[Event], dict[str, Kit], dict[str, int]]:
    """Give each fact its place in its trail and fold it into its kit.

    ``parts`` are the facts' private parts as they will be sealed; made here where nothing will be written.
    Answers the events, the kits after them, and the number at which each trail was seen.
    Raises Refused where the protocol has no such step.
    """
    heads: dict[str, Head] = dict(seen.heads)
    kits: dict[str, Kit] = {}
    expected: dict[str, int] = {}
    events: list[Event] = []
    salted_parts = [salt_part(fact) for fact in facts] if parts is None else parts
    for fact, part in zip(facts, salted_parts, strict=True):
        step = STEPS[fact.type]
        _check_fields(fact, step)
        number = fact.subject.split(":")[1]
        of_kit = step.trail in (Trail.CUSTODY, Trail.CHOICES)
        if of_kit:
            before = kits.get(number, seen.kits.get(number))
            heads.setdefault(f"custody:{number}", before.custody_head if before else Head())
            heads.setdefault(f"choices:{number}", before.choices_head if before else Head())
            # Both trails are named, so that a decision about one axis is void when another has moved.
            expected.setdefault(f"custody:{number}", heads[f"custody:{number}"].number)
            expected.setdefault(f"choices:{number}", heads[f"choices:{number}"].number)
        else:
            heads.setdefault(fact.subject, Head())
            expected.setdefault(fact.subject, heads[fact.subject].number)
        salt = secrets.token_bytes(16)
        bound = None if part is None else part.digest(salt.hex())
        event = place_in_trail(fact, heads[fact.subject], seen.at, salt, bound)
        heads[fact.subject] = Head(number=event.number, digest=event.digest, recorded_at=event.recorded_at)
        if of_kit:
            try:
                kits[number] = after(kits.get(number, seen.kits.get(number)), event)
            except NotAStep as error:
                raise Refused.step_from(fact.type, error.axis, error.state, error.package) from error
        events.append(event)
    return events, kits, expected


def _check_fields(fact: Fact, step: Step) -> None:
    """What a step must and may state stands in the protocol; anything else is a fault of ours."""
    given = set(fact.fields) | ({"private"} if fact.private else set())
    if lacking := step.needs - given:
        raise Inconsistent(f"{fact.type} lacks {sorted(lacking)[0]}")
    if surplus := given - step.needs - step.may:
        raise Inconsistent(f"{fact.type} does not state {sorted(surplus)[0]}")


def _refusal(error: psycopg.Error) -> Exception:
    match error.sqlstate:
        case "CU001" | "40001" | "40P01":
            return MovedOn()
        case "CU002":
            return Refused("The database refused this step: {detail}.", detail=_first_line(error))
        case "23505" if error.diag.constraint_name == "policy_pkey":
            return Refused(
                "This version of the policy was adopted meanwhile by others. Read what they adopted; what you"
                " want to change takes a later version."
            )
        case "23505":
            return error
        case "23514" if (error.diag.constraint_name or "").startswith(("kit_disposed", "kit_destroyed")):
            return Refused(
                "Nothing may be destroyed while a report, a hold, a hand-over, a request of the police"
                " or an unexpired term stands."
            )
        case _ if isinstance(error, psycopg.OperationalError):
            return error  # the connection was lost: whether it was written, the same key will tell
        case _:
            return Inconsistent(_first_line(error))


def _first_line(error: psycopg.Error) -> str:
    return (error.diag.message_primary or type(error).__name__)[:300]
