"""The register brought up to a file: Belgium's organisations, people who come and leave, accounts, and what
somebody who left leaves behind."""

import asyncio
import json
from dataclasses import replace
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custody.event import Fact
from custody.ledger import Ledger
from custody.people import AT, Function
from custody.registers import Registers
from custody.standing import Standing
from desk.cli import main
from desk.people import bring_up_to, changes, register
from desk.people_file import FileRefused, read
from desk.session import find_session, open_session
from desk.settings import CannotStart
from tests.conftest import Database
from tests.custody.story import (
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    LAB,
    NURSE,
    NURSE_2,
    PlainMasters,
    engine,
)
from tests.desk.conftest import Desk, moment, refs, settings_for

BELGIUM = files("desk").joinpath("seed", "belgium.json").read_bytes()
TODAY = date(2026, 5, 1)


def written(folder: Path, document: object) -> Path:
    path = folder / "register.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def bytes_of(document: object) -> bytes:
    return json.dumps(document).encode()


ZSG = {"id": "zsg-wolkenrand", "kind": "centre", "name": "Zorgcentrum Wolkenrand"}
FREEZER = {"id": "freezer-9", "organisation": ZSG["id"], "name": "Freezer 9", "kind": "freezer"}


def somebody(**changes: Any) -> dict[str, Any]:
    whole = {
        "id": "wanda",
        "name": "Wanda Wolk",
        "accounts": [{"issuer": "https://sign-in.wolkenrand.example", "login": "w.wolk"}],
        "appointments": [{"organisation": ZSG["id"], "function": "nurse", "from": "2026-01-01"}],
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


def whole(*people: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"organisations": [ZSG], "places": [FREEZER], "people": list(people or [somebody()])} | more


# --- the file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "not JSON"),
        ('{"people": [], "people": []}', "'people' stands twice"),
        ({"peple": []}, "peple is not known here"),
        ({"people": [{"name": "Wanda"}]}, "people[1].id is missing"),
        (
            whole(somebody(appointments=[{"organisation": ZSG["id"], "function": "nurse"}])),
            "people[1].appointments[1].from is missing",
        ),
        (
            whole(
                somebody(
                    appointments=[
                        {
                            "organisation": ZSG["id"],
                            "function": "nurse",
                            "from": "2026-01-01",
                            "untill": "2026-02-01",
                        }
                    ]
                )
            ),
            "people[1].appointments[1].untill is not known here",
        ),
        (whole(somebody(), somebody()), "wanda stands there twice"),
        (whole(somebody(), somebody(id="willem")), "accounts: w.wolk"),
        (whole(somebody(), somebody(id="clock", accounts=None)), "people[2].id: clock"),
        (whole(somebody(id="victim")), "people[1].id: victim"),
        ({"organisations": [ZSG | {"kind": "hospice"}]}, "organisations[1].kind"),
        ({"organisations": [ZSG | {"country": 9}]}, "organisations[1].country"),
    ],
)
def test_a_file_that_is_not_as_described_is_refused_with_the_place(document: object, said: str) -> None:
    data = document.encode() if isinstance(document, str) else bytes_of(document)
    with pytest.raises(FileRefused) as refused:
        read(data)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (whole(somebody(id="Wanda Wolk")), "people[1]"),
        (whole(organisations=[ZSG | {"country": "be"}]), "organisations[1].country"),
        (whole(organisations=[]), "there is no organisation zsg-wolkenrand"),
        (
            whole(
                somebody(
                    appointments=[{"organisation": ZSG["id"], "function": "officer", "from": "2026-01-01"}]
                )
            ),
            "works at a police",
        ),
        (
            whole(
                somebody(
                    appointments=[{"organisation": ZSG["id"], "function": "clock", "from": "2026-01-01"}]
                )
            ),
            "there is no 'clock'",
        ),
        (
            whole(
                somebody(
                    appointments=[
                        {
                            "organisation": ZSG["id"],
                            "function": "nurse",
                            "from": "2026-02-01",
                            "until": "2026-01-31",
                        }
                    ]
                )
            ),
            "the last day lies before the first",
        ),
        (
            whole(
                somebody(
                    appointments=[
                        {"organisation": ZSG["id"], "function": "nurse", "from": "2026-01-01"},
                        {"organisation": ZSG["id"], "function": "nurse", "from": "2026-03-01"},
                    ]
                )
            ),
            "held from 2026-01-01 on already",
        ),
        (
            whole(somebody(accounts=[{"issuer": "https://x.example", "login": "w", "removed": True}])),
            "never had this account",
        ),
        (whole(places=[FREEZER | {"closed": "broken"}]), "never open"),
        (whole(somebody(), somebody(id="w2", accounts=None, same_as="wanda")), "has accounts and functions"),
        (
            whole(somebody(), somebody(id="w2", accounts=None, appointments=None, same_as="nobody")),
            "there is no person nobody",
        ),
        (
            whole(somebody(accounts=None, appointments=None, same_as="wanda")),
            "name the one entry that stays",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(document: object, said: str) -> None:
    with pytest.raises(FileRefused) as refused:
        changes(read(bytes_of(document)), Standing(today=TODAY))
    assert said in str(refused.value)


KNOWN = Standing(
    today=TODAY,
    organisations={ZSG["id"]: {"kind": "centre", "name": ZSG["name"], "country": None, "zone": None}},
    people={"wanda": "Wanda Wolk", "willem": "Willem Wind"},
    accounts={("https://sign-in.wolkenrand.example", "w.wolk"): "willem"},
    appointments={("wanda", ZSG["id"], "nurse"): ((date(2026, 1, 1), date(2026, 3, 31)),)},
    places={FREEZER["id"]: FREEZER | {"storage": None, "closed_at": None}},
    packages_in={FREEZER["id"]: 2},
)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (whole(organisations=[ZSG | {"kind": "hospital"}]), "registered as centre, and stays that"),
        (whole(somebody(name="Wanda Storm")), "wanda is Wanda Wolk"),
        (whole(somebody(appointments=None)), "is willem's and cannot be wanda's as well"),
        (whole(somebody(accounts=None)), "ended on 2026-03-31, which stays so"),
        ({"places": [FREEZER | {"closed": "broken"}]}, "packages lie in freezer-9 (2)"),
        ({"places": [FREEZER | {"name": "Freezer 10"}]}, "Close it and open another place"),
    ],
)
def test_what_stands_is_not_rewritten(document: object, said: str) -> None:
    with pytest.raises(FileRefused) as refused:
        changes(read(bytes_of(document)), KNOWN)
    assert said in str(refused.value)


def test_an_account_goes_from_one_person_to_another_in_one_file() -> None:
    account = {"issuer": "https://sign-in.wolkenrand.example", "login": "w.wolk"}
    document = {
        "people": [
            {"id": "wanda", "name": "Wanda Wolk", "accounts": [account]},
            {"id": "willem", "name": "Willem Wind", "accounts": [account | {"removed": True}]},
        ]
    }
    made = changes(read(bytes_of(document)), KNOWN)
    assert [(c.fact.type, c.fact.subject) for c in made] == [
        ("person.account_removed", "person:willem"),
        ("person.account_added", "person:wanda"),
    ]


# Any file, and the register that its events make: the second time there is nothing left to do.

days = st.dates(date(2020, 1, 1), date(2030, 12, 31))
names = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=8)
functions = st.sampled_from(sorted(f for f in AT if AT[f] == "centre"))


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    people = []
    for n in range(draw(st.integers(0, 4))):
        held = []
        for function in draw(st.lists(functions, unique=True, max_size=3)):
            first = draw(days)
            until = draw(st.none() | st.dates(first, date(2031, 1, 1)))
            held.append(
                {"organisation": ZSG["id"], "function": function, "from": first.isoformat()}
                | ({"until": until.isoformat()} if until else {})
            )
        accounts = [
            {"issuer": "https://a.example", "login": f"{n}-{m}"} for m in range(draw(st.integers(0, 2)))
        ]
        people.append({"id": f"p{n}", "name": draw(names), "accounts": accounts, "appointments": held})
    return {"organisations": [ZSG], "places": [FREEZER] if draw(st.booleans()) else [], "people": people}


def after(found: Standing, facts: list[Fact]) -> Standing:
    """The register that these events make of an empty one, by the rebuild of `custody.registers`."""
    made = Registers()
    for fact in facts:
        told: Any = type("Told", (), {"type": fact.type, "recorded_at": None, "get": fact.fields.get})()
        made.apply(told, fact.fields.get("register", {}), fact.subject.partition(":")[2])
    rows = made.rows
    held: dict[tuple[str, str, str], list[tuple[date, date | None]]] = {}
    for a in rows["appointment"].values():
        held.setdefault((a["person"], a["organisation"], a["function"]), []).append((a["from"], a["until"]))
    return Standing(
        today=found.today,
        organisations={
            o["id"]: {name: o[name] for name in ("kind", "name", "country", "zone")}
            for o in rows["organisation"].values()
        },
        people={p["id"]: p["name"] for p in rows["person"].values()},
        accounts={(a["issuer"], a["login"]): a["person"] for a in rows["account"].values()},
        appointments={key: tuple(sorted(each)) for key, each in held.items()},
        places={p["id"]: p for p in rows["place"].values()},
    )


@given(documents())
def test_the_same_file_twice_changes_nothing(document: dict[str, Any]) -> None:
    file, empty = read(bytes_of(document)), Standing(today=TODAY)
    first = changes(file, empty)
    assert len(first) >= 1
    assert changes(file, after(empty, [c.fact for c in first])) == []


# --- a database --------------------------------------------------------------------------------------------


@pytest.fixture
def register_file(database: Database, tmp_path: Path) -> Any:
    settings = settings_for(
        database, tmp_path, "http://127.0.0.1:1", clerk_database_url=database.url("clerk")
    )

    def run(document: object, *, check: bool = False) -> int:
        return register(settings, written(tmp_path, document), check=check)

    return run


def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    with database.connect("superuser") as connection:
        return connection.execute(query).fetchall()


def test_belgium_has_thirteen_centres_and_fourteen_offices_and_loads_twice(
    database: Database, register_file: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(BELGIUM)
    ids = [each["id"] for each in document["organisations"]]
    assert len(set(ids)) == len(ids) == 27
    assert register_file(document, check=True) == 0
    assert "27 changes; nothing was written." in capsys.readouterr().out
    assert rows(database, "SELECT count(*) FROM custody.event") == [(0,)]
    assert register_file(document) == 0
    assert "27 changes written." in capsys.readouterr().out
    counted = rows(database, "SELECT kind, count(*) FROM custody.organisation GROUP BY kind ORDER BY kind")
    assert counted == [("centre", 13), ("prosecutor", 14)]
    assert register_file(document) == 0
    assert "nothing was written" in capsys.readouterr().out
    assert rows(database, "SELECT count(*) FROM custody.event") == [(27,)]


def test_half_a_file_is_never_written(database: Database, register_file: Any) -> None:
    wrong = somebody(
        id="wim",
        name="Wim",
        accounts=[],
        appointments=[{"organisation": "nowhere", "function": "nurse", "from": "2026-01-01"}],
    )
    with pytest.raises(CannotStart, match="there is no organisation nowhere"):
        register_file(whole(somebody(), wrong))
    assert rows(database, "SELECT count(*) FROM custody.event") == [(0,)]


def test_the_file_is_refused_at_the_command_line_in_one_sentence(
    tmp_path: Path,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CUSTODY_DATA", str(tmp_path))
    monkeypatch.setenv("CUSTODY_DATABASE_URL", database.url("service").replace("+psycopg", ""))
    monkeypatch.setenv("CUSTODY_CLERK_DATABASE_URL", database.url("clerk").replace("+psycopg", ""))
    assert main(["register", str(written(tmp_path, {"peple": []}))]) == 1
    assert capsys.readouterr().err == "custody: peple is not known here; it may be misspelt.\n"
    assert main(["register", str(written(tmp_path, whole()))]) == 0
    assert "wanda: nurse at zsg-wolkenrand from 2026-01-01" in capsys.readouterr().out


def leaving(person: str, until: date, function: str = "nurse", organisation: str = CENTRE) -> dict[str, Any]:
    name = {"nora": "Nora Nachtwacht", "nils": "Nils Nevel", "ana": "Ana Lyse"}[person]
    appointment = {"organisation": organisation, "function": function, "from": "2020-01-01"}
    return {
        "people": [{"id": person, "name": name, "appointments": [appointment | {"until": until.isoformat()}]}]
    }


def of_desk(desk: Desk, folder: Path, document: object) -> int:
    settings = settings_for(
        desk.database, folder, desk.base_url, clerk_database_url=desk.database.url("clerk")
    )
    return register(settings, written(folder, document))


def session_of(desk: Desk, person: str, function: str) -> str:
    async def within() -> str:
        made = engine(desk.database.url("service"))
        try:
            async with made.begin() as connection:
                return await open_session(connection, person=person, function=function, organisation=CENTRE)
        finally:
            await made.dispose()

    return asyncio.run(within())


def is_open(desk: Desk, value: str) -> bool:
    async def within() -> bool:
        made = engine(desk.database.url("service"))
        try:
            async with made.begin() as connection:
                return await find_session(connection, value) is not None
        finally:
            await made.dispose()

    return asyncio.run(within())


def test_who_left_is_signed_out_at_once_and_what_they_hold_is_told_in_numbers(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    value, other = session_of(desk, "nora", "nurse"), session_of(desk, "nils", "nurse")
    last_day = desk.now().date()
    assert of_desk(desk, tmp_path, leaving("nora", last_day)) == 0
    told = capsys.readouterr().out
    assert f"nora: nurse at {CENTRE} ends on {last_day}" in told
    assert is_open(desk, value)  # the last day counts
    assert of_desk(desk, tmp_path, leaving("nora", last_day - timedelta(days=2))) == 0
    told = capsys.readouterr().out
    assert "1 session ended." in told
    assert f"nora at {CENTRE} holds 3 packages." in told
    assert 'under "With somebody who left" now.' in told
    assert "restricted" not in told
    assert kit not in told
    assert not is_open(desk, value)
    assert is_open(desk, other)
    assert desk.at(NURSE).get("me").status_code == 403


def test_who_is_registered_twice_finishes_under_the_old_entry_first(desk: Desk, tmp_path: Path) -> None:
    twin = "nora-2"
    for type_, entry in (
        ("registered", {"name": "Nora Nachtwacht"}),
        ("appointed", {"organisation": CENTRE, "function": "nurse", "from": "2020-01-01"}),
    ):
        desk.record(f"person.{type_}", f"person:{twin}", id=twin, **entry)
    nurse = desk.at(replace(NURSE, person=twin))
    kit = nurse.register(desk.now())["kit"]
    named = nurse.post("restrictions", {"kit": kit, "readers": [twin, "coraline"]})
    assert named.status_code == 201, named.text
    same = {"people": [{"id": twin, "name": "Nora Nachtwacht", "same_as": "nora"}]}
    with pytest.raises(FileRefused) as refused:
        of_desk(desk, tmp_path, same)
    assert "nora-2 cannot become another entry yet" in str(refused.value)
    assert "packages in their hands or on the way: 3; restricted kits they read: 1" in str(refused.value)
    assert kit not in str(refused.value)
    for place, packages in (("freezer-1", (1,)), ("shelf-1", (2, 3))):
        put = nurse.post("packages/store", {"packages": refs(kit, *packages), "place": place})
        assert put.status_code == 201, put.text
    assert nurse.post("restrictions", {"kit": kit, "readers": ["nora", "coraline"]}).status_code == 201
    assert of_desk(desk, tmp_path, same) == 0
    assert desk.at(NURSE).get(f"kits/{kit}", purpose="review").status_code == 200


def test_the_register_tells_how_many_restricted_kits_lose_a_reader(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nurse = desk.at(NURSE)
    kits = [nurse.register(desk.now())["kit"] for _ in range(3)]
    for kit in kits[:2]:
        nurse.post("restrictions", {"kit": kit, "readers": ["coraline", "nora"]}).raise_for_status()
    last_day = desk.now().date() - timedelta(days=2)
    settings = settings_for(
        desk.database, tmp_path, desk.base_url, clerk_database_url=desk.database.url("clerk")
    )
    path = written(tmp_path, leaving("nora", last_day))
    for check in (True, False):
        assert register(settings, path, check=check) == 0
        told = capsys.readouterr().out
        assert "2 restricted kits lose a reader." in told
        assert not any(kit in told for kit in kits)
    assert of_desk(desk, tmp_path, leaving("nils", last_day)) == 0
    assert "restricted" not in capsys.readouterr().out


# --- what is left behind -----------------------------------------------------------------------------------


def gone(desk: Desk, folder: Path, person: str, function: str = "nurse", organisation: str = CENTRE) -> None:
    last = desk.now().date() - timedelta(days=2)
    assert of_desk(desk, folder, leaving(person, last, function, organisation)) == 0


def test_a_colleague_takes_over_what_somebody_who_left_still_held(desk: Desk, tmp_path: Path) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    custodian = desk.at(CUSTODIAN)
    assert custodian.get("worklists").json()["left_behind"] == []
    order = {"packages": refs(kit, 1, 2, 3), "reason": "left on the table of the night room"}
    early = custodian.post("packages/take-over", order)
    assert early.status_code == 409
    assert "still works here" in early.json()["detail"]

    gone(desk, tmp_path, "nora")

    left = custodian.get("worklists").json()["left_behind"]
    assert [(x["kit"], x["package"], x["part"], x["person"]) for x in left] == [
        (kit, n, "in_hands", "Nora Nachtwacht") for n in (1, 2, 3)
    ]
    assert desk.at(COORDINATOR).get("worklists").json()["left_behind"] == left
    assert desk.at(NURSE_2).get("worklists").json()["left_behind"] == []
    done = custodian.post("packages/take-over", order)
    assert done.status_code == 201, done.text
    assert [receipt["type"] for receipt in done.json()["receipts"]] == ["package.taken_over"]
    assert custodian.get("worklists").json()["left_behind"] == []
    assert len(custodian.get("worklists").json()["in_hands"]) == 3


def test_an_open_offer_by_or_to_somebody_who_left_is_taken_back_by_a_colleague(
    desk: Desk, tmp_path: Path
) -> None:
    nora, nils = desk.at(NURSE), desk.at(NURSE_2)
    given, awaited = nora.register(desk.now())["kit"], nils.register(desk.now())["kit"]
    due = moment(desk.now() + timedelta(hours=3))
    for giver, kit, to in ((nora, given, "casper"), (nils, awaited, "nora")):
        offer = {"packages": refs(kit, 1), "organisation": CENTRE, "person": to, "due_at": due}
        assert giver.post("hand-overs/offers", offer).status_code == 201
    gone(desk, tmp_path, "nora")
    coordinator = desk.at(COORDINATOR)
    left = coordinator.get("worklists").json()["left_behind"]
    assert {(x["kit"], x["package"], x["part"]) for x in left} == {
        (given, 1, "offered_by"),
        (given, 2, "in_hands"),
        (given, 3, "in_hands"),
        (awaited, 1, "offered_to"),
    }
    for kit in (given, awaited):
        back = coordinator.post("hand-overs/cancellations", {"packages": refs(kit, 1)})
        assert back.status_code == 201, back.text
    left = coordinator.get("worklists").json()["left_behind"]
    assert {(x["kit"], x["package"], x["part"]) for x in left} == {(given, n, "in_hands") for n in (1, 2, 3)}


def test_at_a_laboratory_the_colleagues_are_told_and_the_centre_sees_it_too(
    desk: Desk, tmp_path: Path
) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    offer = {
        "packages": refs(kit, 1),
        "organisation": LAB,
        "due_at": moment(desk.now() + timedelta(hours=3)),
    }
    assert desk.at(NURSE).post("hand-overs/offers", offer).status_code == 201
    desk.record("person.registered", "person:arno", id="arno", name="Arno Lyse")
    desk.record(
        "person.appointed",
        "person:arno",
        id="arno",
        organisation=LAB,
        function="analyst",
        **{"from": "2020-01-01"},
    )
    ana, arno = (
        desk.at(type(NURSE)(function=Function.ANALYST, person=p, name=p, organisation=LAB))
        for p in ("ana", "arno")
    )
    assert ana.post("hand-overs/acceptances", {"packages": refs(kit, 1)}).status_code == 201
    gone(desk, tmp_path, "ana", "analyst", LAB)
    for who in (arno, desk.at(COORDINATOR)):
        (line,) = who.get("worklists").json()["left_behind"]
        assert (line["kit"], line["package"], line["part"], line["organisation"]) == (kit, 1, "in_hands", LAB)
    order = {"packages": refs(kit, 1), "reason": "found in the drawer"}
    assert desk.at(COORDINATOR).post("packages/take-over", order).status_code in (403, 409)
    assert arno.post("packages/take-over", order).status_code == 201


def test_two_files_at_the_same_time_do_not_both_win(database: Database) -> None:
    async def within() -> list[object]:
        clerks = [engine(database.url("clerk")) for _ in range(2)]
        try:
            files = [read(bytes_of(whole(somebody(name=name)))) for name in ("Wanda Wolk", "Willem Wolk")]
            return await asyncio.gather(
                *(
                    bring_up_to(Ledger(clerk, PlainMasters()), file, bytes(32))
                    for clerk, file in zip(clerks, files, strict=True)
                ),
                return_exceptions=True,
            )
        finally:
            for clerk in clerks:
                await clerk.dispose()

    done = asyncio.run(within())
    assert sum(isinstance(each, FileRefused) for each in done) == 1
    assert rows(database, "SELECT count(*) FROM custody.person") == [(1,)]
    assert rows(database, "SELECT count(*) FROM custody.event WHERE type = 'person.appointed'") == [(1,)]
