"""Sixty years in less than a minute, and what the observer says where a rule of the product is broken."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from custody.decision import Decided
from custody.event import write_moment
from custody.kit import Kit
from custody.people import CLOCK
from custody.prosecution import choice
from retention import check, disposal, notice, runs
from retention import tables as own
from retention.policy import Policy
from retention.term import AnyTerm
from tests.conftest import Database
from tests.simulation import lives
from tests.simulation.figures import draw, rows_of, show
from tests.simulation.house import close_house, open_house
from tests.simulation.life import Life, Plan
from tests.simulation.sixty import Scale, Sixty

Patch = pytest.MonkeyPatch


async def simulated(database: Database, scale: Scale, *broken: str) -> Sixty:
    """``broken`` are statements of a superuser that take a rule out of the database."""
    house = await open_house(database)
    try:
        for statement in broken:
            house.admin.execute(statement)
        sixty = Sixty(house=house, scale=scale)
        await sixty.run()
        return sixty
    finally:
        await close_house(house)


def told(sixty: Sixty) -> list[str]:
    return [*(str(cry) for cry in sixty.observer.cries), *sixty.differences]


def test_sixty_years_pass_and_nothing_is_lost_left_or_destroyed_too_early(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scale = Scale(kits=50, years=60, daily=False, lost=0.2, killed=1)

    sixty = asyncio.run(simulated(database, scale))

    assert told(sixty) == []
    assert len(sixty.observer.kits) == sum(sixty.ends.values()) == scale.kits
    assert all(figure for name, figure in dict(rows_of(sixty)).items() if name != "differences")
    assert sixty.caught_up > 0
    assert sum(sixty.watch.lost.values()) >= 3
    assert sixty.watch.lost["killed"] == 1
    assert sixty.ends["disposed"] > 10
    minors = [k for k in sixty.observer.kits.values() if k.was == k.age_class == "minor" and not k.of_age]
    young = [k for k in minors if sixty.end - k.registered_at < timedelta(days=49 * 365)]
    assert young
    assert all(kit.state != "disposed" for kit in young)
    with capsys.disabled():
        show(sixty)
    draw(sixty, tmp_path / "years.svg")
    assert (tmp_path / "years.svg").read_text().count("<rect") > 100


def test_the_same_seed_plans_the_same_lives(database: Database) -> None:
    async def planned() -> tuple[list[Any], list[Any]]:
        house = await open_house(database)
        try:
            plans = []
            for _ in range(2):
                sixty = Sixty(house=house, scale=Scale(kits=20, years=5))
                sixty._prepare()
                lives = [(life.number, life.arrives, life.channel) for life in sixty.lives.values()]
                plans.append((lives, sixty.outages))
            return plans[0], plans[1]  # type: ignore[return-value]
        finally:
            await close_house(house)

    first, second = asyncio.run(planned())
    assert first == second


# --- with a rule broken, the observer cries ------------------------------------------------------------

SMALL = Scale(kits=12, years=1, daily=False, lost=0.0, killed=0, projections=False)


def _nobody_checks(function: str, arguments: str) -> str:
    return (
        f"CREATE OR REPLACE FUNCTION custody.{function}({arguments}) RETURNS void LANGUAGE plpgsql STABLE"
        " SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN; END'"
    )


CHECKS = "values_ jsonb, kit_ custody.kit, step_ custody.step"


def test_it_cries_where_expiry_ignores_the_notice_period(database: Database, monkeypatch: Patch) -> None:
    def hasty(of: AnyTerm, policy: Policy, told_at: datetime) -> datetime:
        return of.over_at

    monkeypatch.setattr(notice, "expiry", hasty)

    sixty = asyncio.run(simulated(database, SMALL, _nobody_checks("check_notice", CHECKS)))

    assert any("the notice period" in cry or "so not before" in cry for cry in told(sixty)), told(sixty)


def test_it_cries_where_the_service_says_not_wanted_of_those_who_agreed_to_be_told(
    database: Database, monkeypatch: Patch
) -> None:
    honest = notice.fall_due

    def silent(kit: Kit, policies: tuple[Policy, ...], at: datetime) -> Decided:
        due = honest(kit, policies, at)
        assert kit.term is not None
        until = write_moment(kit.term.over_at + timedelta(days=30))
        stated = choice(kit, "notice.attempted", CLOCK, how="not_wanted", channel="none", until=until)
        return Decided(facts=(choice(kit, "notice.due", CLOCK), stated) if len(due.facts) == 1 else due.facts)

    monkeypatch.setattr(check, "fall_due", silent)

    sixty = asyncio.run(simulated(database, SMALL))

    assert any("was agreed as the safe channel" in cry for cry in told(sixty)), told(sixty)


def test_it_cries_where_a_hold_is_ignored(database: Database, monkeypatch: Patch) -> None:
    def all_are_held(life: Life, plan: Plan) -> None:
        plan(life.within(206, 214), life, "hold")

    monkeypatch.setattr(lives, "_plan_a_life", all_are_held)
    monkeypatch.setattr(disposal, "_must_be_eligible", lambda *_: None)
    allowed = "ALTER TABLE custody.kit DROP CONSTRAINT kit_disposed_only_when_nothing_protects_it"

    sixty = asyncio.run(simulated(database, SMALL, allowed))

    assert any("while a hold" in cry for cry in told(sixty)), told(sixty)


def test_it_cries_where_the_check_passes_kits_over(database: Database, monkeypatch: Patch) -> None:
    honest = notice.fall_due

    def lazy(kit: Kit, policies: tuple[Policy, ...], at: datetime) -> Decided:
        if int(kit.number, 36) % 2:
            raise notice.NotNow("Not today.")
        return honest(kit, policies, at)

    monkeypatch.setattr(check, "fall_due", lazy)

    sixty = asyncio.run(simulated(database, SMALL))

    assert any("notice.due was due" in cry for cry in told(sixty)), told(sixty)


def test_it_cries_where_every_replica_takes_the_slot(database: Database, monkeypatch: Patch) -> None:
    async def greedy(engine: AsyncEngine, slot: datetime) -> datetime:
        row = insert(own.run).values(slot=slot, started_at=func.custody.clock())
        async with engine.begin() as connection:
            await connection.execute(row.on_conflict_do_nothing())
            began = await connection.scalar(select(own.run.c.started_at).where(own.run.c.slot == slot))
        assert isinstance(began, datetime)
        return began

    monkeypatch.setattr(runs, "claim", greedy)

    sixty = asyncio.run(simulated(database, SMALL))

    assert any("was finished 3 times" in difference for difference in told(sixty)), told(sixty)
