"""The choices trail leaves on a judge's order alone, up to that order, and every time on record."""

import asyncio
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from audit import log, sign
from audit.keybox import create_keys, open_box
from audit.sign import Signer
from custody.bundle import read
from custody.event import decode
from custody.examination import check
from desk.keys import public_keys, publish_keys
from tests.custody.story import COORDINATOR, CUSTODIAN, MAGISTRATE, NURSE, NURSE_2, OTHER_NURSE
from tests.desk.conftest import Desk

ORDER = {"digest": "ab" * 32, "authority": "Onderzoeksrechter Avondland (invented)", "dated": "2026-05-03"}


def sign_log(desk: Desk) -> None:
    """What the clerk does: integrate what is pending, and sign it."""

    async def work() -> None:
        engine = create_async_engine(desk.database.url("clerk"))
        path = desk.settings.keys / "events.key"
        if not path.exists():
            publish_keys(desk.settings.keys, "events", create_keys(path, desk.settings.origin))
        with open_box(path) as box:
            await sign.initialise(engine, "events", box)
            signer = Signer("events", box)
            await signer.check(engine)
            async with engine.begin() as transaction:
                await log.integrate(transaction, "events")
            await signer.sign(engine)
        await engine.dispose()

    asyncio.run(work())


def reads_of(desk: Desk, kit: str) -> list[str]:
    with desk.database.connect("superuser") as connection:
        rows = connection.execute("SELECT bytes FROM custody.access WHERE kit = %s", [kit]).fetchall()
    return [decode(bytes(row[0])).get("read") for row in rows]


def disclosed(desk: Desk, kit: str) -> None:
    waiting = desk.at(COORDINATOR).post("choices/disclosures", {"kit": kit, **ORDER})
    assert waiting.status_code == 202, waiting.text
    signed = desk.at(NURSE_2).post(f"proposals/{waiting.json()['proposal']}/signatures", {})
    assert signed.status_code == 201, signed.text
    assert [r["type"] for r in signed.json()["receipts"]] == ["choices.disclosed"]


def types_in(data: bytes) -> list[str]:
    return [decode(event).type for event in read(data).events]


def test_without_an_order_the_choices_trail_does_not_leave_and_nothing_says_that_it_did(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    sign_log(desk)
    refused = desk.at(COORDINATOR).get(f"kits/{kit}/choices-bundle", purpose="court")
    assert refused.status_code == 409
    assert refused.json()["detail"].startswith("The choices trail leaves only on a judge's order.")
    assert "choices_trail_export" not in reads_of(desk, kit)


def test_two_people_enter_the_order_and_the_bundle_ends_with_it(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    kit = nurse.register(desk.now())["kit"]
    disclosed(desk, kit)
    assert nurse.post("holds", {"kit": kit, "ground": "safety", "reason": "asked"}).status_code == 201
    sign_log(desk)
    given = desk.at(COORDINATOR).get(f"kits/{kit}/choices-bundle", purpose="court")
    assert given.status_code == 200, given.text
    assert given.headers["content-disposition"] == f'attachment; filename="choices-{kit}.zip"'
    assert types_in(given.content) == [
        "agreement.recorded",
        "term.agreed",
        "card.issued",
        "choices.disclosed",
    ]
    last = decode(read(given.content).events[-1])
    assert last.get("order") == ORDER
    assert last.who["person"] == COORDINATOR.person
    assert [(w["part"], w["person"]) for w in last.get("with")] == [("second", NURSE_2.person)]
    assert check(read(given.content), public_keys(desk.settings.keys, "events")).holds
    assert reads_of(desk, kit).count("choices_trail_export") == 1
    # What the victim chose after the first order needs another one.
    disclosed(desk, kit)
    sign_log(desk)
    again = desk.at(COORDINATOR).get(f"kits/{kit}/choices-bundle", purpose="court")
    assert types_in(again.content)[-3:] == ["choices.disclosed", "hold.placed", "choices.disclosed"]
    assert reads_of(desk, kit).count("choices_trail_export") == 2


def test_the_custody_bundle_knows_nothing_of_choices_and_needs_no_order(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    disclosed(desk, kit)
    sign_log(desk)
    given = desk.at(COORDINATOR).get(f"kits/{kit}/bundle", purpose="court")
    assert set(types_in(given.content)) == {"kit.registered", "package.packed", "package.sealed"}
    assert b"Onderzoeksrechter" not in given.content


@pytest.mark.parametrize("who", [NURSE, CUSTODIAN])
def test_only_the_coordinator_enters_the_order_and_downloads(desk: Desk, who: Any) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    assert desk.at(who).post("choices/disclosures", {"kit": kit, **ORDER}).status_code == 403
    assert desk.at(who).get(f"kits/{kit}/choices-bundle", purpose="court").status_code == 403


def test_for_others_the_kit_is_not_there(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    disclosed(desk, kit)
    sign_log(desk)
    unknown = desk.at(MAGISTRATE).get("kits/000000000000/choices-bundle", purpose="court").status_code
    for other in (MAGISTRATE, OTHER_NURSE):
        assert desk.at(other).get(f"kits/{kit}/choices-bundle", purpose="court").status_code in (403, 404)
    assert unknown in (403, 404, 422)
    assert reads_of(desk, kit) == []


def test_one_person_alone_does_not_hand_the_choices_out(desk: Desk) -> None:
    coordinator = desk.at(COORDINATOR)
    kit = desk.at(NURSE).register(desk.now())["kit"]
    waiting = coordinator.post("choices/disclosures", {"kit": kit, **ORDER}).json()["proposal"]
    assert coordinator.post(f"proposals/{waiting}/signatures", {}).status_code in (403, 409)
    assert coordinator.get(f"kits/{kit}/choices-bundle", purpose="court").status_code == 409


def test_an_order_of_a_day_that_is_still_to_come_is_refused(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    refused = desk.at(COORDINATOR).post("choices/disclosures", {"kit": kit, **ORDER, "dated": "2199-01-01"})
    assert refused.status_code == 422
    assert "still to come" in refused.json()["detail"]
