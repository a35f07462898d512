"""What tests of disposals over HTTP share: kits whose term is over, a hospital, a signed log."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

from custody.ledger import Ledger
from custody.people import Actor, Function
from retention.check import EVERY, newest_slot, run_slot
from tests.custody.story import NURSE, PlainMasters, engine
from tests.desk.conftest import Desk
from tests.desk.signing import sign_all

HOSPITAL = "zh-avondster"
HANNA = Actor(function=Function.OBSERVER, person="hanna", name="Hanna Heelmeester", organisation=HOSPITAL)
T = TypeVar("T")
Advance = Callable[[timedelta], None]


def apart(work: Callable[[], T]) -> T:
    """Do this in a thread of its own: the driver of a browser keeps an event loop running in ours."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def with_hospital(desk: Desk) -> Actor:
    """A hospital names somebody who observes disposals; nobody else there has an account."""
    desk.record(
        "organisation.registered",
        f"organisation:{HOSPITAL}",
        id=HOSPITAL,
        kind="hospital",
        name="Ziekenhuis Avondster",
        country="BE",
    )
    desk.record("person.registered", "person:hanna", id="hanna", name=str(HANNA.name))
    desk.record(
        "person.appointed",
        "person:hanna",
        id="hanna",
        organisation=HOSPITAL,
        function="observer",
        **{"from": "2020-01-01"},
    )
    return HANNA


def check(desk: Desk) -> None:
    """The scheduled check runs in the next slot that nobody has run."""

    async def within() -> None:
        clerk = engine(desk.database.url("clerk"))
        try:
            slot = newest_slot(desk.now())
            while await run_slot(Ledger(clerk, PlainMasters()), clerk, slot) is None:
                slot += EVERY
        finally:
            await clerk.dispose()

    asyncio.run(within())


def signed(desk: Desk) -> None:
    """The clerk integrates and signs what was recorded."""

    async def within() -> None:
        clerk = engine(desk.database.url("clerk"))
        try:
            await sign_all(clerk, desk.settings)
        finally:
            await clerk.dispose()

    asyncio.run(within())


def expired(desk: Desk, advance: Advance, count: int = 1) -> list[str]:
    """Kits that nobody reported, whose victims were told, and whose terms are over."""
    nurse = desk.at(NURSE)
    kits = [str(nurse.register(desk.now())["kit"]) for _ in range(count)]
    over(desk, advance, kits)
    return kits


def over(desk: Desk, advance: Advance, kits: list[str]) -> None:
    """Let the terms of these kits end, with what settles their notices."""
    advance(timedelta(days=155))
    check(desk)
    nurse = desk.at(NURSE)
    for kit in kits:
        told = nurse.post("notices/attempts", {"kit": kit, "how": "reached"})
        assert told.status_code == 201, told.text
    advance(timedelta(days=90))
    check(desk)
    for kit in kits:
        found = desk.at(NURSE).get(f"kits/{kit}", purpose="review").json()
        assert found["retention"] == "expired", found["retention"]
