"""Kits in the middle of their term: the real decisions and folds, with and without a database."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import retention
from custody.commands import (
    ApproveDisposal,
    AttemptNotice,
    CarryOutDisposal,
    ItemRef,
    PackageRef,
    ProposeDisposal,
)
from custody.decision import Decided, Seen
from custody.event import Fact
from custody.items import TYPES
from custody.kit import Kit
from custody.ledger import Receipt, place
from custody.people import Actor, Function
from retention.check import EVERY, Figures, newest_slot, run_slot
from retention.disposal import approve, carry_out, propose
from retention.keeping import register
from retention.notice import attempt, expire, expires_at, fall_due
from retention.policy import Policy, load
from tests.custody.story import (
    COORDINATOR,
    CUSTODIAN,
    CUSTODIAN_2,
    NURSE,
    OTHER_NURSE,
    Story,
    kit_order,
    new_number,
    ref,
)

SEED: Final = Path(retention.__file__).with_name("seed") / "belgium.json"
BELGIUM: Final = load(SEED.read_bytes())
POLICY: Final = BELGIUM[0]
NOON: Final = datetime(2026, 1, 15, 12, tzinfo=UTC)
HASHES: Final = {"code_hash": hashlib.sha256(b"code").hexdigest(), "secret_hash": "none"}
DAY: Final = timedelta(days=1)

REACHED: Final = partial(AttemptNotice, how="reached")

OBSERVER: Final = OTHER_NURSE  # of another centre, without a right to read the kit


def card_of(kit: str) -> Actor:
    """The victim, with the card of this kit."""
    return Actor(function=Function.VICTIM, card=kit)


# --- without a database: the same folds that the ledger uses ----------------------------------------


def then(kit: Kit, decided: Decided, at: datetime) -> Kit:
    """The kit once this was recorded at ``at``."""
    return place(decided.facts, Seen(at=at, kits={kit.number: kit}))[1][kit.number]


def kit_of(at: datetime = NOON, age_class: str = "adult", policies: tuple[Policy, ...] = BELGIUM) -> Kit:
    """A kit registered an hour after its examination; three sealed packages, twelve items."""
    number = new_number()
    seen = Seen(at=at)
    order = kit_order(at, age_class)
    decided = register(seen, order, NURSE, number=number, policies=policies, item_types=TYPES, card=HASHES)
    return place(decided.facts, seen)[1][number]


def over_at(kit: Kit) -> datetime:
    assert kit.term is not None
    return kit.term.over_at


def noticed(kit: Kit | None = None) -> tuple[Kit, datetime]:
    """A kit whose notice fell due on its day, when a nurse reached the victim, and that moment."""
    kit = kit or kit_of()
    assert kit.term is not None
    at = datetime.combine(kit.term.notice_on, NOON.timetz())
    kit = then(kit, fall_due(kit, BELGIUM, at), at)
    return then(kit, attempt(kit, REACHED(kit=kit.number), NURSE, BELGIUM, at), at), at


def expired(kit: Kit | None = None) -> tuple[Kit, datetime]:
    kit, _ = noticed(kit)
    at = expires_at(kit, POLICY)
    assert at is not None
    return then(kit, expire(kit, BELGIUM, at), at), at


def approved(kit: Kit | None = None) -> tuple[Kit, datetime]:
    kit, at = expired(kit)
    kit = then(kit, propose(kit, ProposeDisposal(kit=kit.number), CUSTODIAN, at), at)
    return then(kit, approve(kit, ApproveDisposal(kit=kit.number), COORDINATOR, at), at), at


def whole(kit: str, packages: int = 3, **more: PackageRef) -> CarryOutDisposal:
    """Every package scanned with its seal; no label was ever printed, so items are named by their number."""
    refs = {p: ref(kit, p) for p in range(1, packages + 1)} | {each.package: each for each in more.values()}
    items = tuple(ItemRef(kit=kit, item=number) for number in range(1, 4 * packages + 1))
    return CarryOutDisposal(packages=tuple(refs.values()), items=items)


# --- on PostgreSQL ------------------------------------------------------------------------------------


async def adopt(story: Story, policies: bytes | None = None, version: int = 1) -> None:
    """The coordinator proposes Belgium's policy, and a nurse signs."""
    document = SEED.read_bytes() if policies is None else policies
    adopted = Fact(
        type="policy.adopted",
        subject="policy:belgium",
        who=COORDINATOR.who(),
        fields={
            "policy": {"id": "belgium", "version": version},
            "digest": hashlib.sha256(document).hexdigest(),
            "with": [NURSE.signs("second")],
        },
    )
    extra = {"policy": base64.b64encode(document).decode()}
    decided = Decided(facts=(adopted,), extra=extra)
    await story.do(
        COORDINATOR, [], lambda seen: decided, f"adopt-belgium-{version}", others=("policy:belgium",)
    )


async def kept(story: Story, age_class: str = "adult", policies: tuple[Policy, ...] = BELGIUM) -> str:
    """A kit registered now, under Belgium's policy or another one that was adopted."""
    number = new_number()
    order = kit_order((await story.look(NURSE)).at, age_class)
    hashes = {"code_hash": hashlib.sha256(number.encode()).hexdigest(), "secret_hash": "none"}
    await story.do(
        NURSE,
        [number],
        lambda seen: register(
            seen, order, NURSE, number=number, policies=policies, item_types=TYPES, card=hashes
        ),
    )
    return number


async def check(story: Story) -> Figures:
    """Run the check in the next slot that nobody has run."""
    slot = newest_slot((await story.look(NURSE)).at)
    while (figures := await run_slot(story.clerk, story.clerk.engine, slot)) is None:
        slot += EVERY
    return figures


async def told(story: Story, number: str) -> None:
    """Nora reached the victim, who knows now that the term is ending."""
    await story.do(
        NURSE,
        [number],
        lambda seen: attempt(seen.kit(number), REACHED(kit=number), NURSE, BELGIUM, seen.at),
    )


async def kept_until_expired(story: Story, advance: Callable[[timedelta], None]) -> str:
    """A kit whose term ran to its end, with the notice on its day."""
    number = await kept(story)
    kit = await story.kit(number)
    assert kit.term is not None
    advance((kit.term.notice_on - kit.term.start) + DAY)
    assert (await check(story)).notices_due == 1
    await told(story, number)
    noticed_kit = await story.kit(number)
    over = expires_at(noticed_kit, POLICY)
    assert over is not None
    advance(over - (await story.look(NURSE)).at + timedelta(minutes=1))
    assert (await check(story)).expired == 1
    return number


async def kept_until_approved(story: Story, advance: Callable[[timedelta], None]) -> str:
    number = await kept_until_expired(story, advance)
    await story.do(
        CUSTODIAN,
        [number],
        lambda seen: propose(seen.kit(number), ProposeDisposal(kit=number), CUSTODIAN, seen.at),
    )
    await story.do(
        COORDINATOR,
        [number],
        lambda seen: approve(seen.kit(number), ApproveDisposal(kit=number), COORDINATOR, seen.at),
    )
    return number


async def destroyed(story: Story, number: str, order: CarryOutDisposal | None = None) -> tuple[Receipt, ...]:
    """Cleo carries out what Coraline approved; Mira of another centre observes and signs."""
    act = order or whole(number)

    def decide(seen: Seen) -> Decided:
        return carry_out(seen, act, CUSTODIAN_2, OBSERVER, COORDINATOR)

    return await story.do(CUSTODIAN_2, [number], decide)


def without(kit: Kit, **change: object) -> Kit:
    """The kit with some of it put differently, as if the trail had gone another way."""
    return replace(kit, **change)  # type: ignore[arg-type]  # each caller names real fields of Kit
