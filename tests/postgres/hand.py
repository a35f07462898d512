"""A kit under Belgium's policy, and a hand that writes about it what the service would or would not."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from custody.event import Event, Fact, write_moment
from custody.kit import Kit, to_document
from custody.people import CLOCK, Actor
from custody.trail import NotAStep, after
from tests.custody.byhand import ByHand
from tests.custody.story import COORDINATOR, NURSE, NURSE_2, Story, new_number

Advance = Callable[[timedelta], None]
DAY = timedelta(days=1)
BELGIUM = {"id": "belgium", "version": 1}


class Hand:
    """One kit under Belgium's policy (six months; notice 60 days, cooling-off 30), and a hand that writes."""

    def __init__(self, byhand: ByHand, story: Story, number: str, advance: Advance) -> None:
        self.db, self.story, self.number, self.advance = byhand, story, number, advance

    @property
    def kit(self) -> Kit:
        return self.db.kit(self.number)

    def at(self, days: float) -> str:
        return write_moment(self.db.now() + days * DAY)

    def until(self, moment: datetime | None) -> None:
        """Wait for this moment."""
        assert moment is not None
        self.advance(moment - self.db.now() + timedelta(minutes=1))

    def fact(self, type_: str, actor: Actor, fields: dict[str, Any], trail: str = "choices") -> Fact:
        return Fact(type=type_, subject=f"{trail}:{self.number}", who=actor.who(), fields=fields)

    def one(self, type_: str, actor: Actor = NURSE, *, trail: str = "choices", **fields: Any) -> None:
        self.db.write(actor, self.fact(type_, actor, fields, trail))

    def two(self, type_: str, *, trail: str = "choices", cards: Any = None, **fields: Any) -> None:
        """Coraline proposes, Nils signs."""
        fact = self.fact(type_, COORDINATOR, {**fields, "with": [NURSE_2.signs("second")]}, trail)
        extra: dict[str, Any] = {"proposal": self.db.propose(COORDINATOR, self.number)}
        if cards is not None:
            extra["cards"] = cards
        event = self.db.event(fact)
        document = to_document(after_or_now(self.kit, event))
        self.db.append(NURSE_2, [event], documents={self.number: document}, **extra)

    def forged(self, type_: str, actor: Actor = NURSE, **fields: Any) -> None:
        """What the service would never decide: the projection stays as it is."""
        self.db.write(actor, self.fact(type_, actor, fields), to_document(self.kit))

    def outbox(self) -> list[tuple[Any, ...]]:
        rows = self.db.of("clerk").execute(
            "SELECT encode(event, 'hex'), channel, attempts, done_at IS NOT NULL, outcome"
            " FROM retention.outbox WHERE kit = %s ORDER BY made_at, event",
            [self.number],
        )
        return rows.fetchall()

    def column(self, name: str) -> Any:
        rows = self.db.of("superuser").execute(
            f"SELECT {name} FROM custody.kit WHERE number = %s",  # a name of this file
            [self.number],
        )
        (value,) = rows.fetchone() or (None,)
        return value


def after_or_now(kit: Kit, event: Event) -> Kit:
    """What an honest service would leave; the kit as it is where there is no such step."""
    try:
        return after(kit, event)
    except NotAStep:
        return kit


def noticed(hand: Hand, **fields: Any) -> str:
    """The notice is due; answers the digest of its event."""
    term = hand.kit.term
    assert term is not None
    hand.until(term.over_at - 61 * DAY)
    hand.one("notice.due", CLOCK, **fields)
    return hand.kit.choices_head.digest or ""


def agreed_anew(hand: Hand, agreed: dict[str, Any], examined_on: str | None = None) -> None:
    """A kit registered by hand, with this term; examined today, or on another day."""
    number = new_number()
    today = examined_on or hand.db.now().date().isoformat()
    registered = hand.db.event(
        Fact(
            type="kit.registered",
            subject=f"custody:{number}",
            who=NURSE.who(),
            fields={"centre": NURSE.organisation, "examined_on": today},
        )
    )
    term = hand.db.event(
        Fact(type="term.agreed", subject=f"choices:{number}", who=NURSE.who(), fields=agreed)
    )
    kit = after(after(None, registered), term)
    hand.db.append(NURSE, [registered, term], {number: kit})
