"""What of a batch is pure: halving, what counts as a lost database, decisions that are not for a batch."""

from datetime import UTC, datetime

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError

from custody.batch import Sight, Step, Wanted, halves, lost, weigh
from custody.decision import Decided
from custody.event import Fact
from custody.kit import Kit, to_document
from custody.ledger import Inconsistent
from custody.people import CLOCK
from custody.refusal import NotSeen, Refused
from tests.retention.kept import kit_of

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def step(kit: str) -> Step:
    return Step(kit=kit, key=f"key-of-{kit}", events=(), change={})


@given(st.lists(st.text("ABCDEF", min_size=1), unique=True, min_size=1, max_size=300), st.data())
def test_halving_a_batch_leaves_one_bad_kit_alone_in_a_few_rounds(
    kits: list[str], data: st.DataObject
) -> None:
    bad = data.draw(st.sampled_from(kits))
    steps, rounds, good = [step(kit) for kit in kits], 0, []
    while len(steps) > 1:
        first, second = halves(steps)
        assert [*first, *second] == steps
        steps, other = (list(first), second) if any(s.kit == bad for s in first) else (list(second), first)
        good += [s.kit for s in other]
        rounds += 1

    assert [s.kit for s in steps] == [bad]
    assert sorted([*good, bad]) == sorted(kits)
    assert rounds <= 9


@pytest.mark.parametrize(
    ("fault", "gone"),
    [
        (Refused("No."), False),
        (Inconsistent("the bytes"), False),
        (psycopg.errors.UniqueViolation("twice"), False),
        (psycopg.errors.LockNotAvailable("locked"), False),
        (psycopg.errors.AdminShutdown("the server goes"), True),
        (psycopg.errors.DiskFull("no room"), True),
        (psycopg.OperationalError("the connection is closed"), True),
        (DBAPIError("SELECT", None, psycopg.errors.AdminShutdown("goes"), connection_invalidated=True), True),
        (DBAPIError("SELECT", None, psycopg.OperationalError("closed")), True),
        (DBAPIError("SELECT", None, psycopg.errors.CheckViolation("a rule")), False),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_lost_database_is_no_fault_of_a_kit(fault: Exception, gone: bool) -> None:
    assert lost(fault) is gone


def decided(*types: str, kit: Kit, **more: str) -> Decided:
    facts = (Fact(type=t, subject=f"choices:{kit.number}", who=CLOCK.who(), fields=more) for t in types)
    return Decided(facts=tuple(facts))


def test_what_cannot_be_decided_about_one_kit_is_told_beside_the_others() -> None:
    good, bad, stranger = kit_of(), kit_of(), kit_of()
    sight = Sight(at=AT, documents={good.number: to_document(good), bad.number: {"number": "broken"}})

    weighed = weigh(
        sight,
        [
            Wanted(kit=each.number, key="a-key", decide=lambda kit, at: decided("notice.due", kit=kit))
            for each in (bad, good, stranger)
        ],
    )

    assert [each.kit for each in weighed.steps] == [good.number]
    assert weighed.steps[0].change["set"]["retention"] == "notice_due"
    assert isinstance(weighed.faults[bad.number], TypeError)
    assert isinstance(weighed.faults[stranger.number], NotSeen)


@pytest.mark.parametrize(
    "types", [("seal.checked",), (), ("notice.due",) * 3], ids=["other", "none", "three"]
)
def test_only_steps_of_the_check_go_together(types: tuple[str, ...]) -> None:
    kit = kit_of()
    sight = Sight(at=AT, documents={kit.number: to_document(kit)})
    wanted = Wanted(kit=kit.number, key="a-key", decide=lambda kit, at: decided(*types, kit=kit))

    assert isinstance(weigh(sight, [wanted]).faults[kit.number], Inconsistent)


@pytest.mark.parametrize("how", ["extra", "private"])
def test_a_secret_never_rides_along_with_a_batch(how: str) -> None:
    kit = kit_of()
    sight = Sight(at=AT, documents={kit.number: to_document(kit)})
    private = {"hospital_reference": "INVENTED"} if how == "private" else None
    fact = Fact(type="notice.due", subject=f"choices:{kit.number}", who=CLOCK.who(), private=private)
    extra = {"destroyed_keys": [{"kit": kit.number}]} if how == "extra" else {}
    wanted = Wanted(kit=kit.number, key="a-key", decide=lambda kit, at: Decided(facts=(fact,), extra=extra))

    assert isinstance(weigh(sight, [wanted]).faults[kit.number], Inconsistent)
