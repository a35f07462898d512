"""`custody clerk`: the one process that integrates, signs and looks at the calendar.

    lead      one clerk leads, by an advisory lock on a connection of its own; another one waits for it
    events    what is pending is integrated and signed within a quarter of a second
    reads     the log of reads, each minute
    public    in each slot both logs are padded, signed and published (`audit.publish`); then, apart from all
              this, witnesses are asked and a time stamp is fetched (`desk.anchoring`)
    check     the scheduled check of the terms (`retention.check`), every five minutes and at the start
    notices   what waits in the outbox is sent (`desk.notifier`), every half minute, apart from the check
    heart     every ten seconds a line beside the keys (`desk.alarm`)

One log is integrated, signed or published by one task at a time: each log has a lock.

A database or a lead that is lost ends the process with one sentence; the supervisor starts it again. Whatever
else keeps it from signing (a key, a note, a file, a damaged log) ends the signing alone: it is said, and
tried again after a second, then two, four, up to a minute, each time with a look at where the last step
ended. A log that does not continue what was signed is never signed over, however often it is tried. Until
people have looked, the alarm stands beside the keys and on the page of the log, everything is recorded as
before, and the scheduled check goes on: terms do not wait for a signer.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from audit import log as logs
from audit import publish, sign
from audit.keybox import BoxRefused, open_box
from audit.publish import NotPublished, slot_of
from audit.sign import CannotSign, Signer
from audit.text import Malformed
from audit.tile import MissingTile
from custody import reading
from custody.ledger import Inconsistent, Ledger, forget_proposals
from desk import alarm
from desk.alarm import HEART_EVERY
from desk.anchoring import Anchoring, unseen
from desk.database import libpq
from desk.keys import LOGS, epoch_of, publish_keys, signing_keys
from desk.masters import FileMasters
from desk.notifier import Notifier, missing
from desk.session import forget_ended
from desk.settings import CannotStart, Settings
from desk.succession import open_log
from desk.upkeep import CLERK
from retention.check import newest_slot, run_slot

LOOK: Final = 0.1  # seconds between two looks at the queue of events
REST: Final = 0.15  # seconds between two signatures at least: they are kept forever
READS_EVERY: Final = 60.0
PUBLISH_LOOK: Final = 1.0  # between two looks at whether a slot has begun
LEAD_EVERY: Final = 0.25  # seconds between two looks of a clerk that waits, for the lead or to sign again
FIRST_PAUSE: Final = 1.0  # seconds before what could not be signed is tried again
LONGEST_PAUSE: Final = 60.0
STOP_WITHIN: Final = 10.0  # seconds for the turns under way to end

_LEAD: Final = "SELECT pg_try_advisory_lock(hashtextextended('custody clerk', 0))"
_HELD: Final = "SELECT session_user"
_PENDING: Final = "SELECT EXISTS (SELECT FROM audit.pending WHERE log = 'events')"


def run(settings: Settings) -> None:
    """Be the clerk until TERM, INT or HUP. Raises CannotStart with the reason when it must end."""
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    try:
        asyncio.run(_run(settings))
    except (DBAPIError, psycopg.Error) as error:
        raise CannotStart(f"The clerk lost the database ({_first_line(error)}).") from error
    except (CannotStart, OSError) as refused:
        why = _why(refused, settings)
        alarm.raise_alarm(settings.keys, why)
        raise CannotStart(f"NOTHING IS SIGNED ANY MORE. {why}") from refused


REFUSALS: Final = (
    CannotSign,
    CannotStart,
    NotPublished,
    MissingTile,
    BoxRefused,
    Malformed,
    Inconsistent,
    OSError,
)
"""What ends the signing and not the clerk."""


def _why(refused: Exception, settings: Settings) -> str:
    """Why nothing is signed any more, for people."""
    match refused:
        case MissingTile():
            return f"The stored log is damaged: {refused}."
        case Inconsistent():
            return f"What the log records of itself was refused: {refused}. custody log check says more."
        case BoxRefused() | Malformed():
            return f"The signing keys in {settings.keys} cannot be used: {refused}"
        case OSError():
            return f"{refused.filename or settings.keys} cannot be used: {refused.strerror or refused}."
        case _:
            return str(refused)


@dataclass(kw_only=True)
class Clerk:
    """What the tasks of a leading clerk share."""

    settings: Settings
    engine: AsyncEngine
    lead: psycopg.AsyncConnection[Any]
    signers: Mapping[str, Signer]
    anchoring: Anchoring
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the signing is to end: the process was told to, or one of the tasks failed."""
    locks: Mapping[str, asyncio.Lock] = field(default_factory=lambda: {log: asyncio.Lock() for log in LOGS})
    """A log is integrated, signed or published by whoever holds its lock."""
    slots: dict[str, datetime] = field(default_factory=dict)
    """The slot for which each log is known to be published."""
    sizes: dict[str, int] = field(default_factory=dict)
    leads: bool = False
    """Whether it has come to sign at all."""

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until the clerk is told to stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    async def settle(self, log: str) -> None:
        """Integrate all that is pending in a log, then sign it as it stands."""
        async with self.locks[log]:
            more = True
            while more:
                async with self.engine.begin() as transaction:
                    more = (await logs.integrate(transaction, log)).more
            signed = await self.signers[log].sign(self.engine)
        if signed is not None:
            self.sizes[log] = signed.size

    async def publish(self, log: str, slot: datetime) -> None:
        """Publish a log for this slot, unless that was done, and have it cosigned and stamped."""
        if self.slots.get(log) == slot:
            return
        async with self.locks[log]:
            done = await publish.publish(self.engine, self.signers[log], slot)
        self.slots[log] = slot
        async with self.engine.connect() as connection:
            for told in await unseen(connection, log, self.settings.slot_minutes):
                _say(told)
        if done is not None:
            self.sizes[log] = done.size
            self.anchoring.tell(log)

    async def keep_events(self) -> None:
        """Settle the log of events whenever something is pending; the look shows the lead held, too."""
        while not self.stopping.is_set():
            row = await (await self.lead.execute(_PENDING)).fetchone()
            if row is not None and row[0]:
                await self.settle("events")
                await self.pause(REST)
            else:
                await self.pause(LOOK)

    async def keep_reads(self) -> None:
        while not self.stopping.is_set():
            await self.pause(READS_EVERY)
            await self.settle("reads")

    async def keep_public(self) -> None:
        """Publish both logs as soon as a slot begins, by the database's clock; a missed slot stays missed."""
        while not self.stopping.is_set():
            async with self.engine.connect() as connection:
                slot = slot_of(await publish.clock(connection), self.settings.slot_minutes)
            for log in LOGS:
                await self.publish(log, slot)
            await self.pause(PUBLISH_LOOK)

    async def keep_alive(self) -> None:
        """The heartbeat, for whoever watches the signer's host."""
        while not self.stopping.is_set():
            sizes = " ".join(f"{log} {self.sizes[log]}" for log in LOGS)
            alarm.beat(self.settings.keys, sizes, datetime.now(UTC))
            await self.pause(HEART_EVERY)


@dataclass(kw_only=True)
class Calendar:
    """What a leading clerk does by the clock, whether or not it can sign."""

    settings: Settings
    engine: AsyncEngine
    last_slot: datetime | None = None

    async def check_terms(self) -> None:
        """The scheduled check for the newest slot, by the database's clock, unless it was done here."""
        try:
            async with self.engine.connect() as connection:
                slot = newest_slot(await reading.now(connection))
            if slot != self.last_slot:
                await run_slot(
                    Ledger(self.engine, FileMasters(self.settings.keys)),
                    self.engine,
                    slot,
                    backups_kept=timedelta(days=self.settings.backup_days),
                )
                self.last_slot = slot
        except Exception as error:  # the next slot does the work; evidence does not wait for the calendar
            _say(f"the scheduled check did not come through ({type(error).__name__}); the next one will.")

    async def send_notices(self) -> None:
        """Send what waits in the outbox; what was not sent waits for the next turn."""
        try:
            ledger = Ledger(self.engine, FileMasters(self.settings.keys))
            await Notifier(self.settings, self.engine, ledger).send_due()
        except Exception as error:
            _say(f"notices were not sent ({type(error).__name__}); the next turn will.")

    async def forget(self) -> None:
        """Delete sessions, counted attempts and waiting commands that ended long ago."""
        try:
            async with self.engine.begin() as connection:
                await forget_ended(connection)
                await forget_proposals(connection)
        except Exception as error:
            _say(f"ended sessions were not deleted ({type(error).__name__}); the next turn will.")

    def schedule(self) -> AsyncIOScheduler:
        """The clock of this process. In the demo it looks often, because the demo's time can be moved."""
        scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": 240}
        )
        seconds = 5 if self.settings.demo else 300
        now = datetime.now(UTC)
        scheduler.add_job(self.check_terms, "interval", seconds=seconds, next_run_time=now)
        notices = 5 if self.settings.demo else 30
        scheduler.add_job(self.send_notices, "interval", seconds=notices, next_run_time=now)
        scheduler.add_job(self.forget, "interval", hours=1, next_run_time=now)
        return scheduler


async def _run(settings: Settings) -> None:
    if settings.clerk_database_url is None:
        raise CannotStart("CUSTODY_CLERK_DATABASE_URL must name the database for the clerk.")
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    engine = create_async_engine(settings.clerk_database_url, hide_parameters=True)
    try:
        async with _leading(settings.clerk_database_url, stopping) as lead:
            if lead is not None:
                await _refuse_another_role(lead)
                for told in missing(settings):
                    _say(told)
                scheduler = Calendar(settings=settings, engine=engine).schedule()
                scheduler.start()
                try:
                    await _keep_signing(settings, engine, lead, stopping)
                finally:
                    scheduler.shutdown(wait=False)
    finally:
        await engine.dispose()


async def _refuse_another_role(lead: psycopg.AsyncConnection[Any]) -> None:
    row = await (await lead.execute(_HELD)).fetchone()
    if row is None or row[0] != CLERK:
        raise CannotStart(
            f"CUSTODY_CLERK_DATABASE_URL is of the role {row[0] if row else 'nobody'}. The clerk is {CLERK}:"
            " name that role's address."
        )


async def _keep_signing(
    settings: Settings, engine: AsyncEngine, lead: psycopg.AsyncConnection[Any], stopping: asyncio.Event
) -> None:
    """Sign until told to stop. What cannot be signed is said, and tried again while the lead is held."""
    pause = FIRST_PAUSE
    while not stopping.is_set():
        led = False
        try:
            with _signers(settings) as signers:
                anchoring = Anchoring.of(settings, engine, _say)
                clerk = Clerk(
                    settings=settings, engine=engine, lead=lead, signers=signers, anchoring=anchoring
                )
                try:
                    await _work(clerk, stopping)
                finally:
                    led = clerk.leads
        except REFUSALS as refused:
            why = _why(refused, settings)
            alarm.raise_alarm(settings.keys, why)
            pause = FIRST_PAUSE if led else pause
            _say(f"NOTHING IS SIGNED ANY MORE. {why} It is tried again in {pause:g} s.")
            await _wait(lead, stopping, pause)
            pause = min(2 * pause, LONGEST_PAUSE)


async def _wait(lead: psycopg.AsyncConnection[Any], stopping: asyncio.Event, seconds: float) -> None:
    """So long, or until told to stop; the look shows the lead held."""
    end = asyncio.get_running_loop().time() + seconds
    while not stopping.is_set() and asyncio.get_running_loop().time() < end:
        await lead.execute(_HELD)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), LEAD_EVERY)


async def _work(clerk: Clerk, stopping: asyncio.Event) -> None:
    """Find out where the last step ended and finish it, then work until told to stop; the first failure ends
    it all."""
    for log, signer in clerk.signers.items():
        await sign.initialise(clerk.engine, log, signer.box)
        clerk.sizes[log] = (await signer.check(clerk.engine)).size
        publish_keys(clerk.settings.keys, log, signer.box.verifiers)
        await open_log(clerk.engine, log, signer.box)
    for log in clerk.signers:
        await clerk.settle(log)  # what was integrated before a crash and not yet signed, too
    alarm.end_alarm(clerk.settings.keys)
    _say("the clerk leads; " + ", ".join(f"{log}: {size} leaves signed" for log, size in clerk.sizes.items()))
    clerk.leads = True
    tasks = [
        asyncio.create_task(each)
        for each in (clerk.keep_events(), clerk.keep_reads(), clerk.keep_public(), clerk.keep_alive())
    ]
    told = asyncio.create_task(stopping.wait())
    clerk.anchoring.start(LOGS)
    try:
        await asyncio.wait([*tasks, told], return_when=asyncio.FIRST_COMPLETED)
        clerk.stopping.set()
        await asyncio.wait(tasks, timeout=STOP_WITHIN)
    finally:
        told.cancel()
        await clerk.anchoring.stop()
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
            raise outcome


@contextlib.asynccontextmanager
async def _leading(url: str, stopping: asyncio.Event) -> AsyncIterator[psycopg.AsyncConnection[Any] | None]:
    """The connection that holds the lead; None when told to stop while another clerk had it.

    Asked for again and again: a statement that waits for the lock would hold a snapshot all the while, and
    the emptied queue could not be cleaned up behind it.
    """
    async with await psycopg.AsyncConnection.connect(libpq(url), autocommit=True) as lead:
        told = False
        while not stopping.is_set():
            row = await (await lead.execute(_LEAD)).fetchone()
            if row is not None and row[0]:
                yield lead
                return
            if not told:
                _say("another clerk leads; this one waits.")
                told = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), LEAD_EVERY)
        yield None


@contextlib.contextmanager
def _signers(settings: Settings) -> Iterator[dict[str, Signer]]:
    """A signer for each log, with its box open; the keys are made at the first start."""
    with contextlib.ExitStack() as stack:
        signers = {}
        for log in LOGS:
            box = stack.enter_context(open_box(signing_keys(settings.keys, log, settings.origin)))
            epoch_of(box.origin, log, settings.origin)  # refuses another CUSTODY_ORIGIN than the keys have
            signers[log] = Signer(log, box)
        yield signers


def _say(sentence: str) -> None:
    print(f"custody: {sentence}", file=sys.stderr, flush=True)


def _first_line(error: Exception) -> str:
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
