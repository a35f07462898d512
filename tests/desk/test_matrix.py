"""Every route of the API and of the pages × every function × every relation to the kit.

What is expected comes from the table of permissions and from what was done to each kit. Nothing is written
while the matrix is walked: a trigger refuses every event, so that a command which everything else allows ends
as a refusal of the database, and no answer spoils the next.
"""

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI, Request

from custody import permission
from custody.number import KitNumber, written
from custody.people import Actor, Function
from custody.permission import Relation
from desk import edge
from desk.api import answers
from desk.session import open_card_session
from tests.conftest import MOVABLE, _fresh
from tests.custody.story import engine
from tests.desk import matrix, ways
from tests.desk.conftest import Desk, _people, running, settings_for
from tests.desk.matrix import Case, may_do, sees
from tests.desk.ways import Asker, Way, known_ways, seen

NOTHING_IS_WRITTEN = """
SET custody.maintenance = 'on';
CREATE FUNCTION testing.refuse() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'nothing is written in the matrix' USING ERRCODE = 'CU002'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON custody.event FOR EACH STATEMENT EXECUTE FUNCTION testing.refuse();
GRANT USAGE ON SCHEMA testing TO PUBLIC;
"""


NO_CHOICES: Final = {
    "age_class": "unknown",
    "extensions": 0,
    "attempts": [],
    "holds": [],
    "asked": [],
    "readers": [],
}
"""What a kit has before anybody chose."""


READ_IN_FULL: Final = frozenset(
    {
        "GET /api/kits/{number}",
        "GET /api/kits/{number}/custody-trail",
        "POST /api/hand-overs/acceptances with If-Match",
    }
)
"""Ways that are asked about every kit, and not about one for each relation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """The application, everybody at it, and the kits."""

    desk: Desk
    app: FastAPI
    askers: tuple[Asker, ...]
    cases: tuple[Case, ...]
    ways: ways.Known


@pytest.fixture(scope="module")
def whole(server: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    folder: Path = tmp_path_factory.mktemp("matrix")
    for database in _fresh(server, MOVABLE):  # type: ignore[arg-type]
        listening = socket.create_server(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        worker = running(settings_for(database, folder, base_url), database, listening)
        with worker as desk:
            asyncio.run(_people(database))
            matrix.introduce(desk)
            cases = matrix.kits(desk)

            def open_card(kit: str) -> str:
                async def within() -> str:
                    made = engine(desk.database.url("service"))
                    try:
                        async with made.begin() as connection:
                            return await open_card_session(connection, kit=kit)
                    finally:
                        await made.dispose()

                return asyncio.run(within())

            with database.connect("superuser") as connection:
                connection.execute(NOTHING_IS_WRITTEN)
            yield Matrix(
                desk=desk,
                app=worker.app,
                askers=tuple(ways.askers(desk, cases[0].number, open_card)),
                cases=tuple(cases),
                ways=known_ways(worker.app, desk.now()),
            )


def test_no_route_is_missing_from_the_matrix(whole: Matrix) -> None:
    missing = [
        f"{route} is in the application and not in the matrix: say in tests/desk/matrix.py how it is asked."
        for route in whole.ways.unknown
    ]
    assert not missing, "\n".join(missing)
    assert not whole.ways.undeclared, "\n".join(whole.ways.undeclared)


@pytest.mark.parametrize("pages", [False, True], ids=["api", "pages"])
def test_every_route_answers_every_function_about_every_kit_as_the_table_says(
    whole: Matrix, pages: bool
) -> None:
    wrong: list[str] = []
    counted: Counter[str] = Counter()
    for who in whole.askers:
        for way in (each for each in whole.ways.ways if each.page is pages):
            wrong += _walk(whole, who, way, counted)
    assert not wrong, f"{len(wrong)} answers differ from the table:\n" + "\n".join(wrong[:60])
    kinds = ("allowed", "not of the function", "unseen", "not of the relation")
    assert all(counted[each] > 30 for each in kinds), counted


def test_row_level_security_alone_keeps_the_boundary(whole: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, with the table of permissions taken away: every question of Python whether somebody may is
    answered yes, whatever is found is shown whole, and the edge lets every function in. What PostgreSQL then
    guarantees alone:

    - a kit of another organisation, one not reported seen by justice, one linked to another office, one
      behind a restriction and a number that never was give the same answer, from every route that reads;
    - no list has a kit in it that its reader may not know of;
    - of the choices only the kit's own centre, and its card, see anything; of the private part its centre;
    - a laboratory, a registry and another centre see the packages that are, or come, into their hands, and of
      the custody trail what they wrote;
    - who watches over the log sees no kit.

    What only the table guarantees: which function of an organisation does what (that a custodian registers
    nothing, an officer exports nothing, a nurse prints what a coordinator does not), that a step is for who
    holds the package, and that a released kit tells its own centre only since when it is with justice.
    """
    switch_off_permissions(monkeypatch)
    wrong: list[str] = []
    asked: Counter[str] = Counter()
    ways = [way for way in whole.ways.ways if way.method == "GET" and way.about_kits and way.looks]
    people = [who for who in whole.askers if who.actor is not None]
    for who in people:
        for way in ways:
            if "/do/" not in way.name or way.name == "GET /do/hold.place":
                wrong += _bounded(whole, who, way, asked)
        wrong += _lists(whole, who)
    assert not wrong, f"{len(wrong)} answers go beyond the boundary:\n" + "\n".join(wrong[:60])
    assert asked["nothing"] > 500, asked
    assert asked["something"] > 200, asked


def switch_off_permissions(monkeypatch: pytest.MonkeyPatch) -> None:
    """`permit` refuses nothing, `may` and `of_centre` say yes, `as_known` leaves nothing out, wherever they
    are used; and the edge asks for a sign-in alone."""
    instead: dict[Any, Any] = {
        permission.permit: lambda *given, **more: None,
        permission.may: lambda *given, **more: True,
        permission.as_known: lambda actor, kit: kit,
        answers.of_centre: lambda actor, kit: True,
    }
    for module in list(sys.modules.values()):
        if module.__name__.split(".")[0] in ("custody", "retention", "desk"):
            for name, value in list(vars(module).items()):
                if isinstance(value, FunctionType) and value in instead:
                    monkeypatch.setattr(module, name, instead[value])

    async def anybody(self: edge.Acting, request: Request) -> edge.Signed:
        return await edge.signed(request)

    monkeypatch.setattr(edge.Acting, "__call__", anybody)


def _bounded(whole: Matrix, who: Asker, way: Way, asked: Counter[str]) -> list[str]:
    assert who.actor is not None
    nowhere = matrix.unknown()
    told = way.ask(who, nowhere)
    if told.status_code == 403:
        return []  # the form of a step is for a function, and says so before it looks
    wrong = []
    # The database takes no such record from a card, and what cannot be put on record is not shown: 500.
    unrecorded = who.actor.function is Function.VICTIM and told.status_code == 500
    if told.status_code not in way.nowhere and not unrecorded:
        wrong.append(f"{who.name}, {way.name}, a number that never was: {told.status_code}")
    for case in whole.cases if way.name in READ_IN_FULL else matrix.one_of_each(who.actor, whole.cases):
        answer = way.ask(who, case)
        at = f"{who.name}, {way.name}, kit {case.name}: {answer.status_code}"
        if not sees(who.actor, case):
            asked["nothing"] += 1
            if not _same(who, way, answer, case, told, nowhere):
                wrong.append(f"{at}, unlike a number that never was: {answer.text[:300]}")
        elif answer.status_code == 200 and answer.headers["content-type"] == "application/json":
            asked["something"] += 1
            wrong += [f"{at}: {each}" for each in _beyond(who.actor, case, way, answer.json())]
    return wrong


def _beyond(who: Actor, case: Case, way: Way, told: dict[str, Any]) -> Iterator[str]:
    """What of an answer this person's organisation may not know."""
    if Relation.OF_CENTRE in matrix.related(who, case) or who.function is Function.VICTIM:
        return
    whole_kit = Relation.LINKED in matrix.related(who, case)
    mine = {
        n
        for n, lies in case.packages.items()
        if whole_kit or who.organisation in (lies.organisation, lies.offered)
    }
    if who.organisation == case.centre:  # kept out
        mine = {n for n in mine if who.person in (case.packages[n].person, case.packages[n].offered_person)}
    match way.name.rpartition("/")[2]:
        case "{number}":
            # Who is kept out, and has a package of the kit in the own hands, knows to whom it is restricted.
            named = sorted(str(p) for p in case.readers) if who.organisation == case.centre else []
            if told["choices"] != NO_CHOICES | {"readers": named} or told["retention"] != "running":
                yield f"choices {told['choices']} {told['retention']}"
            if set(told["packages"]) - {str(n) for n in mine}:
                yield f"packages {sorted(told['packages'])}"
        case "choices-trail":
            if told["events"]:
                yield f"{len(told['events'])} events"
        case "custody-trail":
            of = {each["event"]["who"]["organisation"] for each in told["events"]}
            if not whole_kit and of - {who.organisation}:
                yield f"events of {sorted(of)}"
        case "private":
            if told["part"]:
                yield f"{sorted(told['part'])}"


def _lists(whole: Matrix, who: Asker) -> list[str]:
    """Whether a list has a kit in it that this person may not know of."""
    assert who.actor is not None
    wrong = []
    for path in (
        "/api/kits?purpose=court",
        "/api/worklists",
        "/api/proposals",
        "/api/alarms",
        "/alarms",
        "/",
    ):
        answer = who.ask("GET", path)
        for case in whole.cases:
            named = case.number in answer.text or written(KitNumber(case.number)) in answer.text
            if named and not sees(who.actor, case):
                wrong.append(f"{who.name}, {path} names the kit {case.name}")
    return wrong


def _walk(whole: Matrix, who: Asker, way: Way, counted: Counter[str]) -> list[str]:
    """One route, one person, every kit."""
    if "/do/" in way.name and who.actor in matrix.COLLEAGUES:
        return []  # their relations are asked at the API; the pages go through the same doors
    if not way.about_kits:
        return _function_only(who, way, counted)
    nowhere = matrix.unknown()
    told = way.ask(who, nowhere)
    entitled = _entitled(who, way)
    at = f"{who.name}, {way.name}"
    wrong = []
    if not entitled and told.status_code != (403 if who.actor is not None else _closed(way)):
        wrong.append(f"{at}: {told.status_code} for a function that the table does not name")
    if entitled and way.looks and told.status_code not in way.nowhere:
        wrong.append(f"{at}, a number that never was: {told.status_code} {told.text[:300]}")
    for case in _asked_about(whole, who, way, entitled, sum(counted.values())):
        if way.spares(case):
            continue
        answer = way.ask(who, case)
        same = _same(who, way, answer, case, told, nowhere)
        if who.actor is None or not entitled or not way.looks or not way.known(who.actor, case):
            counted["unseen" if entitled else "not of the function"] += 1
            if not same:
                wrong.append(f"{at}, kit {case.name}: {answer.status_code}, unlike a number that never was")
        elif _permitted(way, who.actor, case):
            counted["allowed"] += 1
            if answer.status_code in (401, 403, 404) or answer.status_code >= 500:
                wrong.append(f"{at}, kit {case.name}: allowed by the table, {answer.status_code} came")
        else:
            counted["not of the relation"] += 1
            if answer.status_code not in _no(way):
                wrong.append(f"{at}, kit {case.name}: not allowed by the table, {answer.status_code} came")
    return wrong


def _same(
    who: Asker, way: Way, answer: httpx.Response, case: Case, told: httpx.Response, nowhere: Case
) -> bool:
    """Whether the answer is the one about a number that never was: the one of before, or of right after,
    where asking is itself on record and moves what is shown."""
    here = seen(answer, case.number)
    if here == seen(told, nowhere.number):
        return True
    again = matrix.unknown()
    return here == seen(way.ask(who, again), again.number)


def _entitled(who: Asker, way: Way) -> bool:
    """Whether the function has the action at all. A victim has a page of its own for its steps."""
    if who.actor is None or ("/do/" in way.name and who.actor.function is Function.VICTIM):
        return False
    return way.says is None or matrix.has(way.says, who.actor)


def _asked_about(whole: Matrix, who: Asker, way: Way, entitled: bool, turn: int) -> list[Case]:
    """Every kit, where a kit is read; one for each relation elsewhere; and any one for whom the function
    keeps out before anything is looked at."""
    if not entitled or who.actor is None:
        return [whole.cases[turn % len(whole.cases)]]
    if way.name in READ_IN_FULL:
        return list(whole.cases)
    if not way.page:
        return matrix.one_of_each(who.actor, whole.cases)
    # The pages go through the same doors: one kit for each thing that can be answered.
    answers_ = {(way.known(who.actor, c), _permitted(way, who.actor, c)): c for c in reversed(whole.cases)}
    return list(answers_.values())


def _closed(way: Way) -> int:
    """What nobody is told: to sign in. A page that was only opened leads there."""
    return 303 if way.page and way.method in ("GET", "HEAD") else 401


def _permitted(way: Way, who: Actor, case: Case) -> bool:
    if not way.command:
        return matrix.allowed(way.decides, who, case)
    if way.name == "POST /do/notice.attempt" and not matrix.allowed("private.read", who, case):
        return False  # the form shows where a notice may go
    return may_do(way.decides, who, case)


def _no(way: Way) -> set[int]:
    """How a step is refused to somebody who sees the kit: not permitted; or the kit has no such package, for
    one that is not theirs to know of. A form may be incomplete before that."""
    if way.name.startswith("POST /do/"):
        return {403, 404, 409, 422}
    if way.decides in ("event.correct", "request.answer"):  # of the event or the match nothing is told either
        return {403, 404}
    return {403, 412, 422} if way.stale else {403, 422}


def _function_only(who: Asker, way: Way, counted: Counter[str]) -> list[str]:
    answer = way.ask(who, matrix.unknown())
    counted["without a kit"] += 1
    status = answer.status_code
    at = f"{who.name}, {way.name}: {status}"
    if status >= 500:
        return [at]
    if way.open:
        return [at] if status in (401, 403) else []
    if who.actor is None:
        return [at] if status != _closed(way) else []
    if way.says is None:
        return []
    return [at] if (status == 403) is matrix.has(way.says, who.actor) else []
