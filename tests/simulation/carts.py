"""What people do with kits whose term is over: propose, approve, and carry out with a cart of many kits."""

from typing import Any

from custody.commands import (
    ApproveDisposal,
    CarryOutDisposal,
    ItemRef,
    PackageRef,
    ProposeDisposal,
    WithdrawDisposal,
)
from custody.decision import Decided, Seen
from custody.kit import Kit
from retention.commands import CloseEmpty
from retention.disposal import approve, carry_out, kits_of, propose, withdraw_disposal
from retention.keeping import close_empty
from tests.simulation.house import House, Staff
from tests.simulation.life import Life, Plan


async def work_on(house: House, life: Life, plan: Plan, state: str) -> bool:
    """The next step towards the disposal of this kit. True where it now waits for the cart."""
    match state:
        case "expired":
            await _propose(house, life, plan)
        case "proposed":
            await _approve(house, life, plan)
        case "approved":
            return True
        case _:
            pass  # the victim asked for more time, or reported
    return False


async def _propose(house: House, life: Life, plan: Plan) -> None:
    """Where nothing is left of the kit, because it was lost and the search given up, two people close it."""
    staff, order = life.staff, ProposeDisposal(kit=life.number)
    empty = CloseEmpty(kit=life.number, reason="nothing was found")

    def decide(seen: Seen) -> Decided:
        kit = seen.kit(life.number)
        if kit.remaining:
            return propose(kit, order, staff.custodian, seen.at)
        return close_empty(kit, empty, staff.custodian, staff.coordinator, **_asked(house, staff))

    done = await house.tried(staff.custodian, [life.number], decide)
    plan(life.within(1, 15) if done else life.within(10, 30), life, "dispose")


async def _approve(house: House, life: Life, plan: Plan) -> None:
    """Most proposals are approved; a few are taken back, and those whose packages have changed."""
    coordinator, order = life.staff.coordinator, ApproveDisposal(kit=life.number)
    back = WithdrawDisposal(kit=life.number, reason="looked at again")
    again = life.happens(0.03)

    def decide(seen: Seen) -> Decided:
        kit = seen.kit(life.number)
        proposed = set() if kit.disposal is None else set(kit.disposal.packages)
        if again or proposed != {p.package for p in kit.remaining}:
            return withdraw_disposal(kit, back, coordinator)
        return approve(kit, order, coordinator, seen.at)

    done = await house.tried(coordinator, [life.number], decide)
    plan(life.within(1, 20) if done else life.within(5, 20), life, "dispose")


def _scanned(kit: Kit) -> tuple[list[PackageRef], list[ItemRef]]:
    left = kit.remaining
    inside = {p.package for p in left}
    return (
        [PackageRef(kit=kit.number, package=p.package, seal=p.seal) for p in left],
        [
            ItemRef(kit=kit.number, item=i.item)
            for i in kit.items.values()
            if i.package in inside and not i.missing
        ],
    )


async def carry(house: House, staff: Staff, lives: list[Life], plan: Plan) -> int:
    """One cart of one centre. Where the cart is refused, each kit goes alone; who is refused comes back."""
    if not lives:
        return 0
    numbers = [life.number for life in lives]
    seen = await house.ledger.look(staff.carrier, numbers)
    packages: list[PackageRef] = []
    items: list[ItemRef] = []
    for number in numbers:
        more, inside = _scanned(seen.kit(number))
        packages += more
        items += inside
    order = CarryOutDisposal(packages=tuple(packages), items=tuple(items), observer=staff.observer.person)
    numbers = list(kits_of(order))  # a kit of which nothing is left to scan is on no cart

    def decide(now: Seen) -> Decided:
        return carry_out(now, order, staff.carrier, staff.observer, staff.coordinator, **_asked(house, staff))

    if numbers and await house.tried(staff.carrier, numbers, decide):
        for life in lives:
            if life.number not in numbers:
                plan(life.within(5, 20), life, "dispose")
        return len(numbers)
    if len(lives) == 1:
        plan(lives[0].within(5, 20), lives[0], "dispose")
        return 0
    return sum([await carry(house, staff, [life], plan) for life in lives])


def _asked(house: House, staff: Staff) -> dict[str, Any]:
    """Requests of the police that wait are told to people early; the database counts them again."""
    row = house.admin.execute(
        "SELECT unanswered_requests FROM custody.organisation WHERE id = %s", [staff.centre]
    ).fetchone()
    assert row is not None
    return {"unanswered_requests": row[0]}
