"""The other side of the outbox: a mail server that is away for days, addresses that are none, letters that
come back. The outbox itself is the product's own: claimed, looked at once more, answered."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from custody.event import Event
from retention import outbox
from tests.simulation.house import House
from tests.simulation.life import Life

AWAY_EVERY: Final = 53  # days: then the server is away for a week
AWAY: Final = 7
CHANNELS: Final = ("email", "sms")


@dataclass
class Mail:
    """Messages that wait, by the digest of the event that asks for each; and what came of all of them."""

    waiting: set[str] = field(default_factory=set)
    back: list[tuple[float, outbox.Row]] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    def wait(self, event: Event) -> None:
        self.waiting.add(event.digest)

    def heard(self, event: Event) -> None:
        """The clock wrote what came of a message."""
        if event.get("cites") is not None:
            self.answers[event.get("how")] += 1
            if event.get("how") != "tried":
                self.waiting -= set(event.get("cites"))

    def waits(self, day: float) -> bool:
        return bool(self.waiting) or any(when <= day for when, _ in self.back)

    async def deliver(self, house: House, lives: Mapping[str, Life], day: int) -> None:
        """What the clerk does with its outbox on one day."""
        engine, ledger = house.clerk.engine, house.clerk
        while self.waiting and (row := await outbox.claim(engine, CHANNELS)) is not None:
            life = lives[row.kit]
            if life.happens(0.03):
                self.answers["sender lost"] += 1  # its lease ends, and another claims the message
                continue
            how = await self._handed_over(house, row, life, day)
            await outbox.answer(ledger, engine, row, how, house.policies)
            if how == "sent" and life.happens(0.05):
                self.back.append((day + life.within(1, 6), row))
        due = [row for when, row in self.back if when <= day]
        self.back = [each for each in self.back if each[0] > day]
        for row in due:
            await outbox.came_back(ledger, row.event, row.kit, row.channel, house.policies)
        if self.waiting:
            self.waiting &= self._standing(house)

    async def _handed_over(self, house: House, row: outbox.Row, life: Life, day: int) -> str:
        if await outbox.to_say(house.clerk, row) is None:
            return "not_wanted"
        if day % AWAY_EVERY < AWAY:
            return "tried"
        return "failed" if life.happens(0.06) else "sent"

    def _standing(self, house: House) -> set[str]:
        """Messages that still wait: PostgreSQL ends those of terms that run again."""
        rows = house.admin.execute(
            "SELECT encode(event, 'hex') FROM retention.outbox WHERE done_at IS NULL"
        ).fetchall()
        return {digest for (digest,) in rows}
