"""The other side of the outbox: a mail server that is away for days, addresses that are none, letters that
come back."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from custody.event import Event
from retention.notice import NotNow, answered
from tests.simulation.house import House
from tests.simulation.lives import Life, Plan

AWAY_EVERY: Final = 53  # days: then the server is away for a week
AWAY: Final = 7
GIVEN_UP_AFTER: Final = 5


@dataclass
class Mail:
    """Messages that wait, by the digest of the event that asks for each."""

    waiting: dict[str, tuple[str, float]] = field(default_factory=dict)
    back: list[tuple[float, str, str]] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    tries: Counter[str] = field(default_factory=Counter)

    def wait(self, event: Event, day: float) -> None:
        self.waiting[event.digest] = event.subject.partition(":")[2], day

    def waits(self, day: float) -> bool:
        return bool(self.waiting) or any(when <= day for when, _, _ in self.back)

    async def deliver(self, house: House, lives: Mapping[str, Life], day: int, plan: Plan) -> None:
        """What the clerk does with its outbox on one day."""
        for digest, (number, _) in list(self.waiting.items()):
            life = lives[number]
            if day % AWAY_EVERY < AWAY:
                self.tries[digest] += 1
                how = "tried" if self.tries[digest] < GIVEN_UP_AFTER else "failed"
            else:
                how = "failed" if life.happens(0.06) else "sent"
            if how != "tried":
                del self.waiting[digest]
            if await self._answer(house, number, digest, how) and how == "sent" and life.happens(0.05):
                self.back.append((day + life.within(1, 6), number, digest))
        due, self.back = (
            [each for each in self.back if each[0] <= day],
            [each for each in self.back if each[0] > day],
        )
        for _, number, digest in due:
            await self._answer(house, number, digest, "bounced")

    async def _answer(self, house: House, number: str, digest: str, how: str) -> bool:
        row = house.admin.execute(
            "SELECT done_at IS NULL OR outcome = 'sent' FROM retention.outbox WHERE event = %s",
            [bytes.fromhex(digest)],
        ).fetchone()
        if row is None:
            raise AssertionError("a notice asked for a message, and none stands in the outbox")
        if not row[0]:
            self.waiting.pop(digest, None)
            return False
        try:
            await house.clock(number, lambda s: answered(s.kit(number), how, [digest], house.policies, s.at))
        except NotNow:
            self.waiting.pop(digest, None)
            return False
        self.answers[how] += 1
        return True
