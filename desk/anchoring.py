"""What follows a publication: witnesses are asked to cosign it, and an authority to stamp it.

Both are other people's machines. Whatever they do, or fail to do, never holds up the log: each has a task of
its own, asks again after a minute, then two, four, up to an hour, and begins anew with the next publication.
A quorum that has been missed for too long is an alarm for people, on the error output and on the page of the
log; it is read out of the tables, so a restart forgets nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit import publish, stamp, witness
from audit.policy import Policy
from audit.stamp import StampRefused
from audit.text import Malformed
from desk.settings import CannotStart, Settings

FIRST_PAUSE: Final = 60.0  # seconds
LONGEST_PAUSE: Final = 3600.0

Say = Callable[[str], None]


def read_policy(path: Path | None) -> Policy | None:
    """The witnesses' policy; None where none is configured. Raises CannotStart for one that is none."""
    if path is None:
        return None
    try:
        return Policy.read(path.read_bytes())
    except (OSError, Malformed) as wrong:
        raise CannotStart(f"The policy of the witnesses, {path}, cannot be read: {wrong}.") from wrong


async def unwitnessed_since(connection: AsyncConnection, log: str, policy: Policy) -> datetime | None:
    """The time of the first publication after the last one that reached the quorum; None where all did."""
    reached = await witness.last_quorum_at(connection, log, policy)
    return await publish.first_published(connection, log, reached)


def overdue(since: datetime | None, now: datetime, hours: int) -> bool:
    """Whether the quorum has been missed for so long that people must look."""
    return since is not None and now - since >= timedelta(hours=hours)


async def unpublished_since(
    connection: AsyncConnection, log: str, now: datetime, minutes: int
) -> datetime | None:
    """When `log` last left the house, if that is more than two slots of so many `minutes` ago; else None.

    None, too, before the first publication.
    """
    last = await publish.last_publication(connection, log)
    if last is None or now - last.published_at <= 2 * timedelta(minutes=minutes):
        return None
    return last.published_at


async def unseen(connection: AsyncConnection, log: str, minutes: int) -> list[str]:
    """What people must know of the publications of `log`, whether or not one was made just now."""
    told = []
    since = await unpublished_since(connection, log, await publish.clock(connection), minutes)
    if since is not None:
        told.append(
            f"ALARM: the log {log} has not left the house since {since.astimezone(UTC):%Y-%m-%d %H:%M} UTC."
        )
    slot = await publish.misdated(connection, log)
    if slot is not None:
        told.append(
            f"ALARM: a publication of the log {log} is for {slot.astimezone(UTC):%Y-%m-%d %H:%M} UTC,"
            " which had not come. A clock was ahead, or somebody changed the row: custody log check says"
            " which. Publishing goes on."
        )
    return told


@dataclass(slots=True)
class Errand:
    """Something to be done after each publication: `attempt` answers whether all of it is done."""

    attempt: Callable[[], Awaitable[bool]]
    news: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True, kw_only=True)
class Anchoring:
    """The errands of one clerk. `start` them, `tell` them of each publication, `stop` them."""

    engine: AsyncEngine
    policy: Policy | None
    stamp_url: str | None
    stamp_roots: bytes | None
    alarm_hours: int
    say: Say
    first_pause: float = FIRST_PAUSE
    _errands: dict[str, list[Errand]] = field(default_factory=dict, init=False)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list, init=False)

    @classmethod
    def of(cls, settings: Settings, engine: AsyncEngine, say: Say) -> "Anchoring":
        """The errands that the settings ask for. Raises CannotStart when a file of theirs cannot be read."""
        try:
            roots = None if settings.stamp_roots is None else settings.stamp_roots.read_bytes()
        except OSError as wrong:
            raise CannotStart(f"{settings.stamp_roots} cannot be read: {wrong.strerror}.") from wrong
        return cls(
            engine=engine,
            policy=read_policy(settings.witnesses),
            stamp_url=settings.stamp_url,
            stamp_roots=roots,
            alarm_hours=settings.witness_alarm_hours,
            say=say,
        )

    def start(self, logs: Sequence[str]) -> None:
        """Begin with what is published already."""
        for log in logs:
            mine: list[Errand] = []
            if self.policy is not None:
                mine.append(Errand(partial(self.witnessed, log)))
            if self.stamp_url is not None:
                mine.append(Errand(partial(self.stamped, log)))
            self._errands[log] = mine
            self._tasks += [asyncio.create_task(self._keep(log, errand)) for errand in mine]

    def tell(self, log: str) -> None:
        """There is a new publication of this log."""
        for errand in self._errands.get(log, ()):
            errand.news.set()

    async def stop(self) -> None:
        """End all errands where they are; what is stored is stored, the rest is asked for again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, log: str, errand: Errand) -> None:
        pause = self.first_pause
        while True:
            errand.news.clear()
            try:
                done = await errand.attempt()
            except Exception as error:  # other people's machines never end the clerk
                done = False
                self.say(f"asking about the log {log} failed ({type(error).__name__}); it is asked again.")
            try:
                await asyncio.wait_for(errand.news.wait(), None if done else pause)
                pause = self.first_pause
            except TimeoutError:
                pause = min(2 * pause, LONGEST_PAUSE)

    async def witnessed(self, log: str) -> bool:
        """Ask the witnesses whose cosignature of the last publication is missing; whether none is, then."""
        assert self.policy is not None, "only asked where there is a policy"
        try:
            quorum = await witness.ask(self.engine, log, self.policy)
        except Exception as failed:  # however asking fails, a quorum that is missing too long is told
            await self._alarm(log, self.policy, f"Asking them failed ({type(failed).__name__}).")
            raise
        if quorum is None:
            return True  # until the first publication
        if quorum.troubles:
            self.say(f"the log {log}: {quorum.words}")
        if not quorum.reached:
            await self._alarm(log, self.policy, quorum.words)
        return quorum.reached and not quorum.troubles

    async def _alarm(self, log: str, policy: Policy, words: str) -> None:
        async with self.engine.connect() as connection:
            since = await unwitnessed_since(connection, log, policy)
        if since is not None and overdue(since, datetime.now(UTC), self.alarm_hours):
            self.say(
                f"ALARM: no quorum of witnesses has cosigned the log {log} since"
                f" {since.astimezone(UTC):%Y-%m-%d %H:%M} UTC. {words}"
            )

    async def stamped(self, log: str) -> bool:
        """Have the last publication stamped; whether it is."""
        assert self.stamp_url is not None, "only asked where there is an authority"
        assert self.stamp_roots is not None, "the settings demand both"
        size = await stamp.unstamped(self.engine, log)
        if size is None:
            return True
        try:
            await stamp.stamp(self.engine, log, size, self.stamp_url, self.stamp_roots)
        except StampRefused as refused:
            self.say(f"the log {log} was not stamped. {refused}")
            return False
        return True
