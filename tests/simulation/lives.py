"""What people do with one kit in its life: planned from the seed when the kit arrives, done day by day.

Each doing looks at the kit and decides by the product's own decisions, as a person at a desk would. A refusal
is part of life and is counted. Nothing here knows the rules; the observer does.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from custody.commands import (
    Accept,
    Agreement,
    AnswerRequest,
    AskDestruction,
    AttemptNotice,
    ConfirmDestruction,
    ConfirmOrder,
    CorrectAge,
    DeclareReport,
    EndSearch,
    EnterOrder,
    ExtendTerm,
    Find,
    LiftHold,
    Link,
    Lose,
    NewItem,
    NewPackage,
    Offer,
    PackageRef,
    PlaceHold,
    Register,
    Request,
    Store,
    TakeBackDestruction,
    WithdrawReport,
)
from custody.decision import Decided, Seen
from custody.handling import find, lose, store
from custody.handover import accept, offer
from custody.items import TYPES
from custody.ledger import place
from custody.people import Actor, Function
from custody.prosecution import answer, confirm_order, link, request
from custody.searching import end_search
from retention import keeping
from retention.commands import ChangeChannel, ConfirmMajority, ProveChannel, ReviewHold, SendNotice
from retention.deciding import confirm_majority
from retention.holds import lift_hold, place_hold, review_hold
from retention.notice import attempt, change_channel, prove_channel, send
from tests.custody.story import ANALYST, LAB, OFFICE, OFFICER, ZONE
from tests.simulation.house import House
from tests.simulation.life import Life, Plan, refs, seen_kit

ADDRESSES: Final = {
    "email": "nobody@mail.example",
    "sms": "+32 400 00 00 00",
    "phone": "+32 400 00 00 01",
}
CALL_IN: Final = (1, 12)

Doing = Callable[[House, Life, Plan], Awaitable[None]]


# --- arriving -----------------------------------------------------------------------------------------


def _order(life: Life, at: datetime) -> Register:
    kinds = (("envelope", "frozen", "swab_skin"), ("bag", "dry", "underwear"))
    packages = []
    for number in range(1, life.packages + 1):
        kind, storage, type_ = kinds[number - 1]
        items = (NewItem(item=number, type=type_),)
        seal = f"S-{life.index}-{number}"
        packages.append(
            NewPackage(package=number, kind=kind, storage=storage, items=items, seal=seal)  # type: ignore[arg-type]
        )
    reach: dict[str, Any] = {}
    if life.channel != "none":
        reach["channel_address"] = ADDRESSES[life.channel]
    if life.channel == "phone":
        reach |= {"channel_hours": "after four", "channel_question": "which word was agreed"}
    return Register(
        examined_at=at - timedelta(hours=2),
        age_class=life.age_class,  # type: ignore[arg-type]
        packages=tuple(packages),
        agreement=Agreement(
            form_digest=hashlib.sha256(b"form").hexdigest(),
            language="nl",
            channel=life.channel,  # type: ignore[arg-type]
            **reach,
        ),
    )


async def arrive(house: House, life: Life, plan: Plan) -> None:
    """Examined, registered, sealed, the channel tried, stored: in one append, since nobody comes between."""
    shown = life.channel in ("email", "sms") and life.happens(0.8)
    await house.act(life.staff.nurse, [life.number], lambda seen: _arrived(house, life, seen, shown))
    _plan_a_life(life, plan)


def _arrived(house: House, life: Life, seen: Seen, shown: bool) -> Decided:
    staff, number = life.staff, life.number
    hashes = {"code_hash": hashlib.sha256(number.encode()).hexdigest(), "secret_hash": "none"}
    registered = keeping.register(
        seen,
        _order(life, seen.at),
        staff.nurse,
        number=number,
        policies=house.policies,
        item_types=TYPES,
        card=hashes,
    )
    facts = list(registered.facts)
    now = replace(seen, kits=place(facts, seen)[1])
    if shown:
        tried = ProveChannel(kit=number, how="message_shown")
        facts += prove_channel(now.kit(number), tried, staff.nurse).facts
    for where, storage in ((staff.frozen, "frozen"), (staff.dry, "dry")):
        lying = [p.package for p in now.kit(number).open_packages if p.storage == storage]
        if lying:
            put = Store(packages=refs(life, now.kit(number), *lying), place=where)
            facts += store(now, put, staff.nurse, house.directory).facts
    return Decided(facts=tuple(facts), extra=registered.extra)


def _plan_a_life(life: Life, plan: Plan) -> None:
    """What is drawn for this kit, each with its chance and the days after which it comes."""
    if life.happens(0.30):
        plan(life.within(0, 3), life, "report")
    elif life.happens(0.08):
        plan(life.within(5, 170), life, "report")
    span = 300 if life.age_class == "adult" else 7000
    for chance, name, least, most in (
        (0.12, "extend", 20, 260),
        (0.03, "extend", 150, 300),
        (0.06, "hold", 1, span),
        (0.01, "nobody_to_tell", 1, span),
        (0.05, "wish", 10, span),
        (0.02, "correct_age", 1, span),
        (0.04, "laboratory", 2, 200),
        (0.02, "lose", 2, 230),
        (0.01, "order", 1, 200),
        (0.02, "new_channel", 1, 200),
        (0.03, "impatient", 1, 400),
    ):
        if life.happens(chance):
            plan(life.within(least, most), life, name)
    if life.age_class != "adult" and life.happens(0.4):
        plan(life.within(365, 17 * 365), life, "come_of_age")


async def shelve(house: House, life: Life, plan: Plan) -> None:
    """What lies in hands goes into its place."""
    staff = life.staff
    for where, storage in ((staff.frozen, "frozen"), (staff.dry, "dry")):
        kit = await seen_kit(house, life)
        lying = [p.package for p in kit.open_packages if p.storage == storage and p.state == "sealed"]
        if lying:
            order = Store(packages=refs(life, kit, *lying), place=where)
            await house.tried(
                staff.nurse,
                [life.number],
                lambda s, o=order: store(s, o, staff.nurse, house.directory),  # type: ignore[misc]
            )


# --- the victim decides -----------------------------------------------------------------------------


def _asks(life: Life) -> Actor:
    """By the card, or at the desk of the nurse."""
    if life.happens(0.3):
        return Actor(function=Function.VICTIM, card=life.number)
    return life.staff.nurse


async def report(house: House, life: Life, plan: Plan) -> None:
    """The victim reports; most are linked, some think better of it before."""
    actor = _asks(life)
    how = "by_card" if actor.function is Function.VICTIM else "in_person"
    order = DeclareReport(kit=life.number, how=how)  # type: ignore[arg-type]
    if await house.tried(
        actor, [life.number], lambda s: keeping.declare(s.kit(life.number), order, actor, house.policies)
    ):
        plan(life.within(1, 60), life, "withdraw" if life.happens(0.12) else "link")


async def withdraw(house: House, life: Life, plan: Plan) -> None:
    staff, order = life.staff, WithdrawReport(kit=life.number, how="in_person")
    await house.tried(
        staff.nurse,
        [life.number],
        lambda s: keeping.withdraw(
            s.kit(life.number), order, staff.nurse, staff.second, house.policies, s.at
        ),
    )


async def link_kit(house: House, life: Life, plan: Plan) -> None:
    """The police ask, two staff find the match, the coordinator links."""
    staff, asked = life.staff, life.rng.randbytes(16).hex()
    pv = f"PV-FICTIEF-{life.index}"
    await house.tried(
        OFFICER,
        [],
        lambda s: request(Request(pv=pv, centre=staff.centre), OFFICER, house.directory, asked),
        f"request:{asked}",
    )
    yes = AnswerRequest(request=asked, kit=life.number, how="match")
    matched = await house.tried(
        staff.nurse,
        [life.number],
        lambda s: answer(yes, s.kit(life.number), staff.nurse, staff.second),
        f"request:{asked}",
    )
    if not matched:
        no = AnswerRequest(request=asked, how="no_match")
        await house.act(
            staff.nurse, [], lambda s: answer(no, None, staff.nurse, staff.second), f"request:{asked}"
        )
        return
    order = Link(kit=life.number, pv=pv, notice=f"N-{life.index}", office=OFFICE, zone=ZONE, request=asked)
    coordinator = staff.coordinator
    await house.tried(
        coordinator,
        [life.number],
        lambda s: link(s.kit(life.number), order, coordinator, house.directory),
    )


async def extend(house: House, life: Life, plan: Plan) -> None:
    actor = _asks(life)
    how = "by_card" if actor.function is Function.VICTIM else "by_phone"
    order = ExtendTerm(kit=life.number, how=how)  # type: ignore[arg-type]
    await house.tried(
        actor,
        [life.number],
        lambda s: keeping.extend(s.kit(life.number), order, actor, house.policies, s.at),
    )


async def wish(house: House, life: Life, plan: Plan) -> None:
    """The victim wants it destroyed; two staff confirm; a fifth take it back while it cools off."""
    actor = _asks(life)
    how = "by_card" if actor.function is Function.VICTIM else "in_person"
    order = AskDestruction(kit=life.number, how=how)  # type: ignore[arg-type]
    if await house.tried(
        actor,
        [life.number],
        lambda s: keeping.ask_destruction(s.kit(life.number), order, actor, house.policies),
    ):
        plan(life.within(1, 20), life, "confirm_wish")
        if life.happens(0.2):
            plan(life.within(10, 60), life, "take_back")


async def confirm_wish(house: House, life: Life, plan: Plan) -> None:
    staff = life.staff
    order = ConfirmDestruction(kit=life.number, identity="confirmed", free_will="confirmed")
    await house.tried(
        staff.nurse,
        [life.number],
        lambda s: keeping.confirm_destruction(
            s.kit(life.number), order, staff.nurse, staff.second, house.policies, s.at
        ),
    )


async def take_back(house: House, life: Life, plan: Plan) -> None:
    nurse, order = life.staff.nurse, TakeBackDestruction(kit=life.number, how="by_phone")
    await house.tried(
        nurse,
        [life.number],
        lambda s: keeping.take_back_destruction(s.kit(life.number), order, nurse, house.policies, s.at),
    )


async def come_of_age(house: House, life: Life, plan: Plan) -> None:
    """Two staff saw it; a few then want the kit destroyed, or another channel."""
    staff, order = life.staff, ConfirmMajority(kit=life.number, how="in_person")
    if await house.tried(
        staff.nurse,
        [life.number],
        lambda s: confirm_majority(s.kit(life.number), order, staff.nurse, staff.second),
    ):
        if life.happens(0.2):
            plan(life.within(1, 2000), life, "wish")
        if life.happens(0.5):
            plan(life.within(1, 200), life, "new_channel")


async def correct_age(house: House, life: Life, plan: Plan) -> None:
    staff = life.staff
    now = life.rng.choice([each for each in ("adult", "minor") if each != life.age_class])
    order = CorrectAge(kit=life.number, age_class=now, reason="papers were seen")  # type: ignore[arg-type]
    await house.tried(
        staff.coordinator,
        [life.number],
        lambda s: keeping.correct_age(
            s.kit(life.number), order, staff.coordinator, staff.nurse, house.policies, s.at
        ),
    )


# --- holds --------------------------------------------------------------------------------------------


async def hold(house: House, life: Life, plan: Plan) -> None:
    ground = life.rng.choice(["centre", "suspected_pressure", "safety"])
    await _hold(house, life, plan, ground, life.within(5, 500))


async def nobody_to_tell(house: House, life: Life, plan: Plan) -> None:
    await _hold(house, life, plan, life.rng.choice(["death", "incapacity"]), life.within(100, 1500))


async def _hold(house: House, life: Life, plan: Plan, ground: str, days: float) -> None:
    nurse, name = life.staff.nurse, life.rng.randbytes(16).hex()
    order = PlaceHold(kit=life.number, ground=ground, reason="until it is clear")  # type: ignore[arg-type]
    if await house.tried(
        nurse,
        [life.number],
        lambda s: place_hold(s.kit(life.number), order, nurse, name, house.policies, s.at),
    ):
        plan(days, life, "lift")
        if days > 80:
            plan(life.within(60, 80), life, "review")


async def review(house: House, life: Life, plan: Plan) -> None:
    coordinator = life.staff.coordinator
    kit = await seen_kit(house, life)
    for held in kit.holds.values():
        order = ReviewHold(kit=life.number, hold=held.id, reason="it still stands")
        await house.tried(
            coordinator,
            [life.number],
            lambda s, o=order: review_hold(s.kit(life.number), o, coordinator, house.policies, s.at),  # type: ignore[misc]
        )
    if kit.holds:
        plan(life.within(60, 89), life, "review")


async def lift(house: House, life: Life, plan: Plan) -> None:
    staff, kit = life.staff, await seen_kit(house, life)
    for held in kit.holds.values():
        written = hashlib.sha256(held.id.encode()).hexdigest() if held.ground == "order" else None
        order = LiftHold(kit=life.number, hold=held.id, reason="it is clear", order=written)
        await house.tried(
            staff.coordinator,
            [life.number],
            lambda s, o=order: lift_hold(s.kit(life.number), o, staff.coordinator, staff.second),  # type: ignore[misc]
        )


async def order(house: House, life: Life, plan: Plan) -> None:
    """A judge orders; a second person confirms; some orders are linked, some revoked in writing."""
    staff = life.staff
    at = house.now()
    judge = EnterOrder(
        kit=life.number,
        digest=hashlib.sha256(life.number.encode()).hexdigest(),
        authority="Onderzoeksrechter Avondland",
        dated=at.date() - timedelta(days=1),
    )
    name = life.rng.randbytes(16).hex()
    entered = await house.tried(
        staff.coordinator,
        [life.number],
        lambda s: keeping.enter_order(
            s.kit(life.number), judge, staff.coordinator, name, house.policies, s.at
        ),
    )
    if not entered:
        return
    confirm = ConfirmOrder(kit=life.number, digest=judge.digest)
    await house.tried(
        staff.nurse,
        [life.number],
        lambda s: confirm_order(s.kit(life.number), confirm, staff.nurse, staff.coordinator),
    )
    plan(life.within(5, 400), life, "link" if life.happens(0.5) else "lift")


# --- custody ------------------------------------------------------------------------------------------


async def laboratory(house: House, life: Life, plan: Plan) -> None:
    """The first package goes to the laboratory, and comes back weeks later."""
    nurse, way = life.staff.nurse, life.rng.randbytes(16).hex()
    kit = await seen_kit(house, life)
    at = house.now()
    going = refs(life, kit, 1)
    send_off = Offer(packages=going, organisation=LAB, due_at=at + timedelta(days=5))
    if going and await house.tried(
        nurse, [life.number], lambda s: offer(s, send_off, nurse, house.directory, way)
    ):
        life.ways.append("there")
        plan(life.within(0.1, 4), life, "handed_over")


async def handed_over(house: House, life: Life, plan: Plan) -> None:
    to_lab = life.ways and life.ways[-1] == "there"
    receiver = ANALYST if to_lab else life.staff.nurse
    seen = await house.ledger.look(receiver, [life.number])
    if life.number not in seen.kits:
        return
    kit = seen.kit(life.number)
    moving = [p.package for p in kit.open_packages if p.handover is not None]
    if not moving:
        return
    took = Accept(packages=refs(life, kit, *moving))
    if await house.tried(receiver, [life.number], lambda s: accept(s, took, receiver)):
        life.ways.append("at the laboratory" if to_lab else "back")
        if to_lab:
            plan(life.within(5, 90), life, "sent_back")
        else:
            plan(0.5, life, "shelve")


async def sent_back(house: House, life: Life, plan: Plan) -> None:
    seen = await house.ledger.look(ANALYST, [life.number])
    if life.number not in seen.kits:
        return
    there = [
        p.package for p in seen.kit(life.number).open_packages if p.holder and p.holder.organisation == LAB
    ]
    way = life.rng.randbytes(16).hex()
    back = Offer(
        packages=refs(life, seen.kit(life.number), *there),
        organisation=life.staff.centre,
        due_at=seen.at + timedelta(days=5),
    )
    if there and await house.tried(
        ANALYST, [life.number], lambda s: offer(s, back, ANALYST, house.directory, way)
    ):
        life.ways.append("home")
        plan(life.within(0.1, 4), life, "handed_over")


async def lose_it(house: House, life: Life, plan: Plan) -> None:
    """A package is not where it should be; most are found, for others the search is given up."""
    nurse, kit = life.staff.nurse, await seen_kit(house, life)
    gone = Lose(packages=refs(life, kit, 1), reason="not in its place")
    if gone.packages and await house.tried(nurse, [life.number], lambda s: lose(s, gone, nurse)):
        plan(life.within(1, 120), life, "find" if life.happens(0.6) else "give_up")


async def find_it(house: House, life: Life, plan: Plan) -> None:
    nurse = life.staff.nurse
    again = Find(packages=(PackageRef(kit=life.number, package=1),))
    if await house.tried(nurse, [life.number], lambda s: find(s, again, nurse, house.directory)):
        plan(0.5, life, "shelve")


async def give_up(house: House, life: Life, plan: Plan) -> None:
    staff = life.staff
    ended = EndSearch(packages=(PackageRef(kit=life.number, package=1),), reason="looked for everywhere")
    await house.tried(
        staff.custodian,
        [life.number],
        lambda s: end_search(s, ended, staff.custodian, staff.coordinator),
    )


# --- the notice ---------------------------------------------------------------------------------------


async def new_channel(house: House, life: Life, plan: Plan) -> None:
    staff = life.staff
    channel = life.rng.choice(["none", "email", "sms", "phone"])
    told = ChangeChannel(
        kit=life.number,
        channel=channel,  # type: ignore[arg-type]
        language="fr",
        how="in_person",
        channel_address=ADDRESSES.get(channel),
    )
    if await house.tried(
        staff.nurse,
        [life.number],
        lambda s: change_channel(s.kit(life.number), told, staff.nurse, staff.second),
    ):
        life.channel = channel


async def _attempted(house: House, life: Life, how: str) -> bool:
    nurse = life.staff.nurse
    tried = AttemptNotice(kit=life.number, how=how)  # type: ignore[arg-type]
    done = await house.tried(
        nurse,
        [life.number],
        lambda s: attempt(s.kit(life.number), tried, nurse, house.policies, s.at),
    )
    return bool(done)


async def call(house: House, life: Life, plan: Plan) -> None:
    """Somebody is to tell the victim: by phone, by hand, or by having the service send it all the same."""
    nurse, kit = life.staff.nurse, await seen_kit(house, life)
    if kit.retention not in ("notice_due", "expired", "proposed", "approved") or kit.expires_at is not None:
        return
    if kit.channel in ("email", "sms") and life.calls == 0 and life.happens(0.6):
        life.calls += 1
        again = SendNotice(kit=life.number)
        if await house.tried(nurse, [life.number], lambda s: send(s.kit(life.number), again, nurse)):
            return
    if kit.channel in (None, "none"):
        how = "no_channel"
    elif sum(each.how in ("not_reached", "failed", "bounced") for each in kit.attempts) >= 3:
        how = "unreachable"
    else:
        how = "reached" if life.happens(0.5) else "not_reached"
    life.calls += 1
    if not await _attempted(house, life, how) and how == "unreachable":
        await _attempted(house, life, "not_reached")  # three attempts on fewer than three days
    plan(life.within(*CALL_IN), life, "call")


DOINGS: Final[dict[str, Doing]] = {
    "arrive": arrive,
    "shelve": shelve,
    "report": report,
    "withdraw": withdraw,
    "link": link_kit,
    "extend": extend,
    "wish": wish,
    "confirm_wish": confirm_wish,
    "take_back": take_back,
    "come_of_age": come_of_age,
    "correct_age": correct_age,
    "hold": hold,
    "nobody_to_tell": nobody_to_tell,
    "review": review,
    "lift": lift,
    "order": order,
    "laboratory": laboratory,
    "handed_over": handed_over,
    "sent_back": sent_back,
    "lose": lose_it,
    "find": find_it,
    "give_up": give_up,
    "new_channel": new_channel,
    "call": call,
}
