"""Disposal races what protects a kit, past every rule of the service: whoever is first, the database refuses.

Two connections stand in each other's way: the first writes and keeps its transaction open, the second waits
for it, and only then the first commits. Events are made by hand; nobody looks whether the kit may be disposed
of. What was decided before the race is written again at the trail's new head, as a careless program would.
"""

import asyncio
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
import pytest

from custody.commands import ApproveDisposal, ProposeDisposal
from custody.event import Fact
from custody.ledger import Decide
from custody.people import CLOCK
from desk.issuer import settle_database
from desk.postgres import EmbeddedServer
from retention.check import newest_slot, run_slot
from retention.commands import ProveChannel
from retention.disposal import approve, propose
from retention.notice import answered, prove_channel
from tests.conftest import MOVABLE, Database, Engines, _fresh
from tests.custody.byhand import ByHand
from tests.custody.story import (
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    CUSTODIAN_2,
    NURSE,
    NURSE_2,
    OFFICER,
    OTHER_NURSE,
    Story,
    begin,
    seal_of,
)
from tests.desk.conftest import Desk, running, settings_for
from tests.retention.kept import BELGIUM, adopt, kept
from tests.retention.unchecked import (
    Write,
    bounce,
    choice,
    custody_fact,
    disposal,
    extension,
    hold,
    offer,
    order,
    placed,
    report,
    supplement,
    written,
)

MOVED, CHECK = "CU001", "23514"
REFUSED: Final = frozenset({"CU002", "CU003", CHECK})  # no such step, not to be signed so, the kit's own row
PATIENCE: Final = 30.0
KITS: Final = 40
DAY: Final = timedelta(days=1)


# --- kits whose disposal is approved --------------------------------------------------------------------


@dataclass
class Ground:
    """One database with kits that wait for their disposal, told by e-mail; each test takes one."""

    database: Database
    kits: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def ground(server: EmbeddedServer) -> Iterator[Ground]:
    for database in _fresh(server, MOVABLE):
        yield Ground(database, asyncio.run(_approved(database)))


def _advance(database: Database, step: timedelta) -> None:
    with database.connect("superuser") as connection:
        connection.execute("UPDATE testing.clock_offset SET amount = amount + %s", [step])


async def _approved(database: Database) -> list[str]:
    engines = Engines(database)
    try:
        async with engines.service.begin() as connection:
            await settle_database(connection, demo=True)  # while it is empty: people sign in without proof
        story = await begin(engines.service, engines.clerk)
        await adopt(story)
        kits = [await kept(story) for _ in range(KITS)]
        first = await story.kit(kits[0])
        assert first.term is not None
        _advance(database, first.term.notice_on - first.term.start)
        for number in kits:  # shown to the victim again at a visit: the service sends by itself
            await story.do(NURSE, [number], _proved(number))
        _advance(database, DAY)
        await _checked(story)
        for event, number in _waiting(database):
            await story.do(CLOCK, [number], _sent(number, event))
        _advance(database, timedelta(days=80))
        await _checked(story)
        for number in kits:
            await story.do(CUSTODIAN, [number], _proposed(number))
            await story.do(COORDINATOR, [number], _approval(number))
        assert (await story.kit(kits[-1])).retention == "approved"
        return kits
    finally:
        await engines.dispose()


def _proved(number: str) -> Decide:
    order = ProveChannel(kit=number, how="message_shown")
    return lambda seen: prove_channel(seen.kit(number), order, NURSE)


def _sent(number: str, event: str) -> Decide:
    return lambda seen: answered(seen.kit(number), "sent", [event], BELGIUM, seen.at)


def _proposed(number: str) -> Decide:
    return lambda seen: propose(seen.kit(number), ProposeDisposal(kit=number), CUSTODIAN, seen.at)


def _approval(number: str) -> Decide:
    return lambda seen: approve(seen.kit(number), ApproveDisposal(kit=number), COORDINATOR, seen.at)


async def _checked(story: Story) -> None:
    await run_slot(story.clerk, story.clerk.engine, newest_slot((await story.look(NURSE)).at))


def _waiting(database: Database) -> list[tuple[str, str]]:
    with database.connect("superuser") as connection:
        rows = connection.execute("SELECT encode(event, 'hex'), kit FROM retention.outbox").fetchall()
    assert len(rows) == KITS
    return [(event, kit) for event, kit in rows]


@pytest.fixture
def kit(ground: Ground) -> str:
    return ground.kits.pop()


@pytest.fixture
def hand(ground: Ground) -> Iterator[ByHand]:
    with ByHand(ground.database) as open_:
        yield open_


RIVALS: Final = {
    "report": report,
    "order": order,
    "hold": hold,
    "extension": extension,
    "hand-over": offer,
    "supplement": supplement,
    "bounce": bounce,
}


# --- the race ---------------------------------------------------------------------------------------------


class Racer:
    """A connection of its own. `begin` writes and keeps the transaction open; `follow` writes in a thread."""

    def __init__(self, database: Database, hand: ByHand, write: Write) -> None:
        self.write = write
        self._proposal = hand.propose(*write.proposal) if write.proposal else None
        self.connection = psycopg.connect(database.conninfo(write.role))
        self.error: psycopg.Error | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        self.write.do(self.connection, self._proposal)

    def _run(self) -> None:
        try:
            self.begin()
            self.connection.commit()
        except psycopg.Error as error:
            self.error = error
            self.connection.rollback()

    def follow(self, hand: ByHand) -> None:
        """Begin in a thread, and come back once it waits for the other."""
        self._thread.start()
        pid = self.connection.info.backend_pid
        until = time.monotonic() + PATIENCE
        while True:
            row = hand.of("superuser").execute("SELECT cardinality(pg_blocking_pids(%s))", [pid]).fetchone()
            if row is not None and row[0] > 0:
                return
            assert self._thread.is_alive(), "it did not wait for the other"
            assert time.monotonic() < until, "it did not wait for the other"
            time.sleep(0.005)

    def outcome(self) -> str | None:
        """Whether the second came through (None), or the code of its refusal."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "it still waits"
        self.connection.close()
        return None if self.error is None else self.error.sqlstate

    def commit(self) -> None:
        self.connection.commit()
        self.connection.close()

    def roll_back(self) -> None:
        self.connection.rollback()
        self.connection.close()


def race(ground: Ground, hand: ByHand, first: Write, second: Write) -> str | None:
    """The first writes, the second waits for it, the first commits. Answers what became of the second."""
    one, two = Racer(ground.database, hand, first), Racer(ground.database, hand, second)
    one.begin()
    two.follow(hand)
    one.commit()
    return two.outcome()


def alone(ground: Ground, hand: ByHand, write: Write) -> str | None:
    """The same write again, at the heads that stand now, with nobody in its way."""
    only = Racer(ground.database, hand, write)
    try:
        only.begin()
        only.connection.commit()
    except psycopg.Error as error:
        only.connection.rollback()
        return error.sqlstate
    finally:
        only.connection.close()
    return None


def standing(hand: ByHand, kit: str) -> dict[str, Any]:
    """Everything that stands of a kit: its row, packages, heads, and how many events it has."""
    of = hand.of("superuser")
    row = of.execute(
        "SELECT legal, retention, holds, in_transit, destroyed, disposed_at, expires_at"
        " FROM custody.kit WHERE number = %s",
        [kit],
    ).fetchone()
    packages = of.execute(
        "SELECT package, state FROM custody.package WHERE kit = %s ORDER BY package", [kit]
    ).fetchall()
    heads = of.execute(
        "SELECT subject, number FROM custody.head WHERE subject LIKE %s ORDER BY subject", [f"%:{kit}"]
    ).fetchall()
    events = of.execute(
        "SELECT count(*), count(DISTINCT p.digest) FROM custody.event e"
        " LEFT JOIN audit.pending p ON p.digest = e.digest WHERE e.kit = %s",
        [kit],
    ).fetchone()
    assert events is not None
    assert sum(number for _, number in heads) == events[0] == events[1]
    return {"kit": row, "packages": packages, "heads": heads}


def destroyed_nothing(hand: ByHand, kit: str) -> bool:
    stands = standing(hand, kit)
    return stands["kit"][1] != "disposed" and all(state != "destroyed" for _, state in stands["packages"])


@pytest.mark.parametrize("rival", RIVALS)
def test_what_protects_comes_first_and_nothing_is_destroyed(
    ground: Ground, hand: ByHand, kit: str, rival: str
) -> None:
    seen = hand.kit(kit)

    lost = race(ground, hand, RIVALS[rival](hand, seen), disposal(hand, seen))

    assert lost == MOVED
    stands = standing(hand, kit)
    assert destroyed_nothing(hand, kit)
    again = alone(ground, hand, disposal(hand, seen))  # decided before, written after
    assert again in REFUSED
    assert standing(hand, kit) == stands


@pytest.mark.parametrize("rival", RIVALS)
def test_the_disposal_comes_first_and_what_would_protect_finds_nothing_left(
    ground: Ground, hand: ByHand, kit: str, rival: str
) -> None:
    seen = hand.kit(kit)

    lost = race(ground, hand, disposal(hand, seen), RIVALS[rival](hand, seen))

    assert lost == MOVED
    stands = standing(hand, kit)
    assert stands["kit"][1] == "disposed"
    assert {state for _, state in stands["packages"]} == {"destroyed"}
    again = alone(ground, hand, RIVALS[rival](hand, seen))
    assert again in REFUSED
    assert standing(hand, kit) == stands


@pytest.mark.parametrize("rival", RIVALS)
def test_a_disposal_that_does_not_come_through_leaves_the_way_to_what_protects(
    ground: Ground, hand: ByHand, kit: str, rival: str
) -> None:
    seen = hand.kit(kit)
    one = Racer(ground.database, hand, disposal(hand, seen))
    two = Racer(ground.database, hand, RIVALS[rival](hand, seen))

    one.begin()
    two.follow(hand)
    one.roll_back()

    assert two.outcome() is None
    assert destroyed_nothing(hand, kit)


# --- a request of the police ------------------------------------------------------------------------


def _asked(hand: ByHand, id_: str) -> Write:
    naming = {"pv": "PV-FICTIEF-9", "centre": CENTRE}
    fact = Fact(
        type="request.received", subject=f"request:{id_}", who=OFFICER.who(), fields={"naming": naming}
    )
    return Write(actor=OFFICER, events=(hand.event(fact),), documents={})


def _answered(hand: ByHand, id_: str) -> Write:
    fact = Fact(
        type="request.answered",
        subject=f"request:{id_}",
        who=NURSE.who(),
        fields={"how": "no_match", "with": [NURSE_2.signs("second")]},
    )
    return Write(actor=NURSE_2, events=(hand.event(fact),), documents={}, proposal=(NURSE, None))


def test_a_request_that_is_just_arriving_stops_the_disposal(ground: Ground, hand: ByHand, kit: str) -> None:
    """The request touches no trail of the kit; the disposal waits for the row of the centre."""
    seen, id_ = hand.kit(kit), secrets.token_hex(16)
    before = standing(hand, kit)

    assert race(ground, hand, _asked(hand, id_), disposal(hand, seen)) == CHECK

    assert standing(hand, kit) == before
    assert alone(ground, hand, disposal(hand, seen)) == CHECK
    assert alone(ground, hand, _answered(hand, id_)) is None
    assert alone(ground, hand, disposal(hand, seen)) is None


def test_a_request_that_comes_after_the_disposal_waits_for_it_and_is_received(
    ground: Ground, hand: ByHand, kit: str
) -> None:
    seen, id_ = hand.kit(kit), secrets.token_hex(16)

    assert race(ground, hand, disposal(hand, seen), _asked(hand, id_)) is None

    assert standing(hand, kit)["kit"][1] == "disposed"
    assert alone(ground, hand, _answered(hand, id_)) is None


# --- careless writers, with nobody in their way -----------------------------------------------------


def test_an_order_without_its_hold_is_still_an_order(ground: Ground, hand: ByHand, kit: str) -> None:
    seen = hand.kit(kit)
    order = {"digest": "cd" * 32, "authority": "Onderzoeksrechter Avondland", "dated": "2026-01-02"}
    entered = written(hand, seen, COORDINATOR, custody_fact(kit, "order.entered", COORDINATOR, order=order))

    if alone(ground, hand, entered) is None:
        assert alone(ground, hand, disposal(hand, seen)) in REFUSED
    assert destroyed_nothing(hand, kit)


def test_a_disposal_that_leaves_a_package_out_is_refused(ground: Ground, hand: ByHand, kit: str) -> None:
    seen = hand.kit(kit)
    fewer = replace(seen, packages={n: p for n, p in seen.packages.items() if n != 3})

    assert alone(ground, hand, disposal(hand, fewer)) in REFUSED
    assert destroyed_nothing(hand, kit)


def test_a_disposal_of_which_nothing_is_destroyed_is_refused(ground: Ground, hand: ByHand, kit: str) -> None:
    seen = hand.kit(kit)
    signed = {"with": [COORDINATOR.signs("approver"), OTHER_NURSE.signs("observer")]}
    numbers = [{"package": number} for number in sorted(seen.packages)]
    done = choice(kit, "disposal.carried_out", CUSTODIAN_2, packages=numbers, **signed)
    events, documents, _ = placed(hand, seen, [done])
    half = Write(actor=OTHER_NURSE, events=events, documents=documents, proposal=(CUSTODIAN_2, kit))

    assert alone(ground, hand, half) in REFUSED
    assert destroyed_nothing(hand, kit)


# --- over HTTP: the loser is told in plain words -------------------------------------------------------


@pytest.fixture
def desk(ground: Ground, tmp_path: Path) -> Iterator[Desk]:
    """A worker on the database of the races."""
    listening = socket.create_server(("127.0.0.1", 0))
    settings = settings_for(ground.database, tmp_path, f"http://127.0.0.1:{listening.getsockname()[1]}")
    with running(settings, ground.database, listening) as made:
        yield made


def answer_while_held(hand: ByHand, first: Racer, ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Ask the service while ``first`` has written and not committed; it commits once the service waits."""
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    asking.start()
    until = time.monotonic() + PATIENCE
    pid = first.connection.info.backend_pid
    held = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    while hand.of("superuser").execute(held, [pid]).fetchone() == (0,):
        assert asking.is_alive(), answers[0].text
        assert time.monotonic() < until, "the service did not wait for the other"
        time.sleep(0.005)
    first.commit()
    asking.join(PATIENCE)
    return answers[0]


def told_plainly(answer: httpx.Response, *words: str) -> bool:
    """A problem document whose sentence a person understands: no code of the database, no name of a table."""
    assert answer.headers["content-type"].startswith("application/problem+json")
    detail = answer.json()["detail"]
    return 400 <= answer.status_code < 500 and "CU0" not in detail and any(word in detail for word in words)


def test_the_observer_who_signs_while_a_hold_arrives_is_refused_in_plain_words(
    ground: Ground, hand: ByHand, desk: Desk, kit: str
) -> None:
    seen = hand.kit(kit)
    order = {
        "packages": [{"kit": kit, "package": n, "seal": seal_of(n)} for n in sorted(seen.packages)],
        "items": [{"kit": kit, "item": n} for n in sorted(seen.items)],
        "observer": OTHER_NURSE.person,
    }
    asked = desk.at(CUSTODIAN_2).post("disposals", order)
    assert asked.status_code == 202, asked.text
    proposal = asked.json()["proposal"]
    first = Racer(ground.database, hand, hold(hand, seen))
    first.begin()

    answer = answer_while_held(
        hand, first, lambda: desk.at(OTHER_NURSE).post(f"disposals/observations/{proposal}", None)
    )

    assert told_plainly(answer, "nothing was recorded", "hold"), answer.text
    assert destroyed_nothing(hand, kit)
    assert standing(hand, kit)["kit"][2] == 1


def test_a_report_that_comes_while_the_kit_is_disposed_of_is_refused_in_plain_words(
    ground: Ground, hand: ByHand, desk: Desk, kit: str
) -> None:
    first = Racer(ground.database, hand, disposal(hand, hand.kit(kit)))
    first.begin()

    answer = answer_while_held(
        hand, first, lambda: desk.at(NURSE).post("reports", {"kit": kit, "how": "in_person"})
    )

    assert told_plainly(answer, "not possible"), answer.text
    assert standing(hand, kit)["kit"][:2] == ("unreported", "disposed")
