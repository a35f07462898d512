"""The sealed duty credential: made, opened, used, limited, spent, reviewed. No provider answers here."""

import asyncio
import hashlib
import json
import logging
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from custody.card import CardCode, written_code
from custody.people import Function
from custody.permission import PERMISSIONS
from desk import duty, edge
from desk.api.document import routes_of
from desk.app import build
from desk.attempt_key import asker, attempt_key
from desk.doors import BY_ACTION
from desk.duty_sheet import make
from desk.session import LIMITS, Purpose, open_session
from desk.settings import CannotStart
from tests.conftest import Database
from tests.custody.story import CENTRE, COORDINATOR, CUSTODIAN, NURSE, ZONE
from tests.desk.conftest import Desk, _people, new_kit, running, settings_for
from tests.labels.scanners import pdf_texts

Advance = Callable[[timedelta], None]
CLOSED = "https://127.0.0.1:9"  # discard: nobody listens


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Iterator[Desk]:
    """A service without demo; its one provider cannot be reached."""
    path = tmp_path / "issuers.json"
    hospital = {"issuer": CLOSED, "audience": "a", "algorithms": ["ES256"], "organisations": [CENTRE]}
    path.write_text(json.dumps({"issuers": [hospital | {"jwks_url": f"{CLOSED}/jwks"}]}))
    listening = socket.create_server(("127.0.0.1", 0))
    base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    settings = settings_for(database, tmp_path, base_url, demo=False, issuers=path)
    with running(settings, database, listening) as made:
        asyncio.run(_people(database))
        yield made


@pytest.fixture
def code(desk: Desk) -> CardCode:
    """The code of a new credential of the centre."""
    return asyncio.run(_made(desk))


async def _made(desk: Desk) -> CardCode:
    made = duty.new_code()
    clerk = create_async_engine(desk.database.url("clerk"))
    async with clerk.begin() as connection:
        await duty.make(connection, CENTRE, made)
    await clerk.dispose()
    return made


def visitor(desk: Desk) -> httpx.Client:
    return desk.client(origin=desk.base_url, accept="text/html")


def enter(client: httpx.Client, code: str, centre: str = CENTRE) -> httpx.Response:
    return client.post("/sign-in/duty", data={"centre": centre, "code": code, "next": "/"})


def choose(client: httpx.Client, shown: httpx.Response, person: str, reason: str = "provider_down") -> int:
    found = re.search(r'name="choice" value="([^"]+)"', shown.text)
    assert found is not None
    form = {"choice": found[1], "person": person, "reason": reason}
    return client.post("/sign-in/duty/person", data=form).status_code


NORA, CYRIL = f"{NURSE.person}|nurse", f"{CUSTODIAN.person}|custodian"
CORALINE = f"{COORDINATOR.person}|coordinator"


def on_duty(desk: Desk, code: str, person: str = NORA, reason: str = "provider_down") -> httpx.Client:
    client = visitor(desk)
    assert choose(client, enter(client, code), person, reason) == 303
    return client


def me(client: httpx.Client) -> dict[str, str]:
    answer = client.get("/api/me", headers={"accept": "application/json"})
    return dict(answer.json()) if answer.status_code == 200 else {}


def command(client: httpx.Client, path: str, order: object) -> httpx.Response:
    headers = {"custody-form-token": me(client)["form_token"], "accept": "application/json"}
    headers["idempotency-key"] = hashlib.sha256(repr((path, order)).encode()).hexdigest()
    return client.post(f"/api/{path}", json=order, headers=headers)


def trail(desk: Desk) -> list[tuple[str, str, str]]:
    """Type, person and reason of the centre's events about the credential."""
    with desk.database.connect("superuser") as connection:
        rows = connection.execute(
            "SELECT bytes FROM custody.event WHERE subject = %s AND type LIKE 'duty.%%' ORDER BY number",
            [f"organisation:{CENTRE}"],
        ).fetchall()
    events = [json.loads(bytes(row[0])) for row in rows]
    return [(e["type"], e["who"]["person"], e["reason"]) for e in events]


# --- made -------------------------------------------------------------------------------------------------


def test_the_command_writes_a_sheet_whose_code_opens_and_voids_the_sheet_before(
    desk: Desk, tmp_path: Path
) -> None:
    settings = replace(desk.settings, clerk_database_url=desk.database.url("clerk"))
    codes = []
    for name in ("first.pdf", "second.pdf"):
        make(settings, CENTRE, tmp_path / name)
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        found = re.search(
            r"(?:[0-9A-Z]{5}-){4}[0-9A-Z]{5}", "".join(pdf_texts((tmp_path / name).read_bytes()))
        )
        assert found is not None
        codes.append(found[0])
    assert enter(visitor(desk), codes[0]).status_code == 409
    assert "Who are you?" in enter(visitor(desk), codes[1].lower()).text
    with pytest.raises(CannotStart, match="there already"):
        make(settings, CENTRE, tmp_path / "second.pdf")
    with pytest.raises(CannotStart, match="no centre"):
        make(settings, ZONE, tmp_path / "third.pdf")
    assert not (tmp_path / "third.pdf").exists()


def test_the_command_line_makes_one(desk: Desk, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CUSTODY_")}
    environment |= {
        "CUSTODY_DATABASE_URL": desk.database.url("service").replace("+psycopg", ""),
        "CUSTODY_CLERK_DATABASE_URL": desk.database.url("clerk").replace("+psycopg", ""),
        "CUSTODY_DATA": str(tmp_path),
    }
    run = [sys.executable, "-m", "desk.cli", "duty", "make", CENTRE, "--out", str(tmp_path / "sheet.pdf")]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "sheet.pdf").read_bytes().startswith(b"%PDF")


def test_a_web_worker_can_neither_make_a_credential_nor_take_back_what_happened_to_it(
    desk: Desk, code: CardCode
) -> None:
    on_duty(desk, code)
    attempts = (
        "INSERT INTO desk.duty_credential (id, centre, code_hash, made_at)"
        " VALUES (repeat('a', 32), 'c', 'h', now())",
        "DELETE FROM desk.duty_credential",
        "UPDATE desk.duty_credential SET code_hash = 'mine'",
        "UPDATE desk.duty_credential SET opened_at = opened_at + interval '1 hour'",
        "UPDATE desk.duty_credential SET ends_at = ends_at - interval '1 hour'",
        "UPDATE desk.duty_credential SET used_by = '{}'",
        "UPDATE desk.duty_credential SET reviewed_at = now(), reviewed_by = used_by[1], review = opening",
        "UPDATE desk.duty_credential SET reviewed_at = now(), reviewed_by = 'coraline', review = opening",
        "UPDATE desk.duty_credential SET voided_at = now()",
        "UPDATE desk.duty_credential SET used_by = array_append(used_by, 'coraline')",
    )
    with desk.database.connect() as connection:
        for attempt in attempts:
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.CheckViolation)):
                connection.execute(attempt)


# --- opened and used --------------------------------------------------------------------------------------


def test_while_the_provider_is_down_the_night_goes_on_and_everybody_is_on_record(
    desk: Desk, code: CardCode, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    nurse = on_duty(desk, written_code(code))
    assert (me(nurse)["person"], me(nurse)["function"]) == (NURSE.person, "nurse")
    assert command(nurse, "kits", new_kit(desk.now())).status_code == 201
    custodian = on_duty(desk, code, CYRIL, "token_lost")
    assert trail(desk) == [
        ("duty.opened", NURSE.person, "provider_down"),
        ("duty.used", CUSTODIAN.person, "token_lost"),
    ]
    assert me(custodian)["function"] == "custodian"
    alarms = [record.getMessage() for record in caplog.records if record.name == "desk.duty"]
    assert len(alarms) == 2
    assert all(CENTRE in told and str(NURSE.person) not in told for told in alarms)


def test_names_are_shown_to_nobody_before_the_code_was_right(desk: Desk, code: CardCode) -> None:
    other = duty.new_code()
    wrong = [enter(visitor(desk), other), enter(visitor(desk), code, ZONE), enter(visitor(desk), code, "x")]
    for answer in (*wrong, visitor(desk).get("/sign-in/duty")):
        assert str(NURSE.name) not in answer.text
        assert ZONE not in answer.text
    assert {answer.status_code for answer in wrong} == {409}
    assert str(NURSE.name) in enter(visitor(desk), code).text


def test_only_people_of_the_centre_and_only_with_a_reason(desk: Desk, code: CardCode) -> None:
    for person, reason in (
        ("otto|officer", "provider_down"),
        (f"{NURSE.person}|coordinator", "provider_down"),
        (CORALINE, "provider_down"),
        (NORA, "curiosity"),
        ("", "provider_down"),
    ):
        client = visitor(desk)
        assert choose(client, enter(client, code), person, reason) in (409, 422)
        assert me(client) == {}
    assert trail(desk) == []


def test_the_second_step_belongs_to_the_browser_of_the_first_and_is_taken_once(
    desk: Desk, code: CardCode
) -> None:
    first, other = visitor(desk), visitor(desk)
    shown = enter(first, code)
    assert choose(other, shown, NORA) == 409
    assert choose(first, shown, NORA) == 303
    assert choose(first, shown, CYRIL) == 409


def test_a_mistyped_code_is_told_before_anything_is_counted_or_looked_up(desk: Desk, code: CardCode) -> None:
    typed = ("0" if code[3] != "0" else "1").join((code[:3], code[4:]))
    answer = enter(visitor(desk), typed)
    assert answer.status_code == 422
    assert "typing error" in answer.text
    with desk.database.connect("superuser") as connection:
        assert connection.execute("SELECT count(*) FROM desk.attempt").fetchone() == (0,)


def bearer(desk: Desk, function: str, person: str, issuer: str) -> httpx.Client:
    """A session that the pages did not begin: the rule must hold for it, too."""
    client = visitor(desk)
    client.cookies.set("custody", session_of(desk, person, function, issuer))
    return client


def asked(client: httpx.Client, method: str, path: str) -> str | None:
    """Why it was refused (403), if it was."""
    told = {"accept": "application/json", "idempotency-key": "one-of-many"}
    if method != "GET":
        told["custody-form-token"] = me(client)["form_token"]
    answer = client.request(method, path, headers=told, json=None if method == "GET" else {})
    return str(answer.json()["detail"]) if answer.status_code == 403 else None


def test_with_the_sheet_goes_what_stands_in_one_list_and_everything_else_is_refused(
    desk: Desk, code: CardCode
) -> None:
    """Whoever has the sheet can be any two people of the centre: a second signature would prove nothing."""
    on_duty(desk, code)
    people = {
        Function.NURSE: str(NURSE.person),
        Function.CUSTODIAN: str(CUSTODIAN.person),
        Function.COORDINATOR: str(COORDINATOR.person),
    }
    who = {f: bearer(desk, f, person, f"duty:{CENTRE}") for f, person in people.items()}
    ways: dict[str, tuple[str, str]] = {}
    for route in routes_of(build(desk.settings)):
        (kind,) = edge.declared(route)
        if isinstance(kind, edge.Acting) and kind.action:
            path = re.sub(
                r"\{(\w+)[^}]*\}", lambda m: {"kit": "0" * 12}.get(m[1], "ab" * 16), str(route.path)
            )
            ways.setdefault(kind.action, (min(route.methods or ()), path))
    ways |= {action: ("GET", f"/do/{action}") for action in BY_ACTION}
    seen = set()
    for action, (method, path) in ways.items():
        for function, client in who.items():
            if function not in PERMISSIONS[action]:
                continue
            seen.add(action)
            refused = asked(client, method, path) == edge.NO_DUTY
            assert refused == (action not in edge.ON_DUTY), (action, function)
    assert set(PERMISSIONS) >= edge.ON_DUTY
    mine = {action for action, allowed in PERMISSIONS.items() if set(people) & set(allowed)}
    assert mine - seen == {"log.read"}, "every action of the centre's people was tried"
    assert {"proposal.sign", "reading.review", "kit.restrict", "kit.link", "request.answer"} <= (
        seen - edge.ON_DUTY
    )


def test_the_log_shows_no_more_with_the_sheet_than_to_everybody(desk: Desk, code: CardCode) -> None:
    public = visitor(desk).get("/log").text.count("<section")
    assert on_duty(desk, code).get("/log").text.count("<section") == public


def test_two_browsers_with_one_sheet_are_not_two_people(desk: Desk, code: CardCode) -> None:
    nurse, other = on_duty(desk, code), on_duty(desk, code, CYRIL)
    kit = command(nurse, "kits", new_kit(desk.now())).json()["kit"]
    proposed = command(nurse, "reports/withdrawals", {"kit": kit})
    assert (proposed.status_code, proposed.json()["detail"]) == (403, edge.NO_DUTY)
    signed = command(other, f"proposals/{'ab' * 16}/signatures", {})
    assert (signed.status_code, signed.json()["detail"]) == (403, edge.NO_DUTY)
    shown = enter(visitor(desk), code).text
    assert str(CUSTODIAN.name) in shown
    assert str(COORDINATOR.name) not in shown


def test_the_release_on_site_asks_for_the_code_again_after_a_quarter_of_an_hour(
    desk: Desk, code: CardCode, advance: Advance
) -> None:
    nurse = on_duty(desk, code)
    path = "/do/handover.record_acceptance"
    assert nurse.get(path).status_code not in (401, 403)
    advance(timedelta(minutes=16))
    again = nurse.get(path)
    assert again.status_code == 401
    assert nurse.get("/sign-in/again").headers["location"].startswith("/sign-in/duty")
    assert choose(nurse, enter(nurse, code), NORA) == 303
    assert nurse.get(path).status_code not in (401, 403)
    assert [each[0] for each in trail(desk)] == ["duty.opened", "duty.used"]


def test_after_twelve_hours_it_is_spent_and_sessions_end_with_it(
    desk: Desk, code: CardCode, advance: Advance
) -> None:
    on_duty(desk, code)
    advance(timedelta(hours=11, minutes=45))
    late = on_duty(desk, code, CYRIL)
    advance(timedelta(minutes=16))
    assert me(late) == {}
    assert enter(visitor(desk), code).status_code == 409


def test_a_new_sheet_ends_the_sessions_of_the_old_one(desk: Desk, code: CardCode, tmp_path: Path) -> None:
    nurse = on_duty(desk, code)
    make(replace(desk.settings, clerk_database_url=desk.database.url("clerk")), CENTRE, tmp_path / "new.pdf")
    assert me(nurse) == {}
    assert enter(visitor(desk), code).status_code == 409


# --- limits -----------------------------------------------------------------------------------------------


def test_wrong_codes_slow_down_and_never_keep_the_centre_out_for_long(
    desk: Desk, code: CardCode, advance: Advance
) -> None:
    client, other = visitor(desk), duty.new_code()
    answers = [enter(client, other).status_code for _ in range(LIMITS[Purpose.DUTY].free + 1)]
    assert answers == [409] * LIMITS[Purpose.DUTY].free + [429]
    assert enter(visitor(desk), code).status_code == 429, "the same address waits, whoever it is"
    advance(LIMITS[Purpose.DUTY].longest_wait)
    assert "Who are you?" in enter(visitor(desk), code).text


def test_a_dump_of_the_database_tells_neither_codes_nor_addresses(desk: Desk, code: CardCode) -> None:
    enter(visitor(desk), duty.new_code())
    with desk.database.connect("superuser") as connection:
        rows = connection.execute(
            "SELECT a::text FROM desk.attempt a UNION ALL SELECT d::text FROM desk.duty_credential d"
        ).fetchall()
        hashed = connection.execute("SELECT key_hash FROM desk.attempt").fetchall()
    assert code not in str(rows)
    guesses = [f"custody attempt {n}\nduty\n{CENTRE}\n127.0.0.1".encode() for n in (1, 2)]
    plain = {hashlib.sha256(guess).digest() for guess in guesses}
    assert len(hashed) == 1
    assert not {bytes(row[0]) for row in hashed} & plain


def test_the_key_of_the_attempts_is_one_for_all_processes_and_for_its_owner_alone(tmp_path: Path) -> None:
    made = attempt_key(tmp_path / "keys")
    assert len(made) == 32
    assert attempt_key(tmp_path / "keys") == made
    path = tmp_path / "keys" / "attempts.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(CannotStart, match="0600"):
        attempt_key(tmp_path / "keys")
    path.write_bytes(b"short")
    path.chmod(0o600)
    with pytest.raises(CannotStart, match="32 bytes"):
        attempt_key(tmp_path / "keys")


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::1", "2001:db8:1:2::"),
        ("testclient", "unknown"),
        (None, "unknown"),
    ],
)
def test_a_subscriber_counts_once_however_many_addresses_it_has(address: str | None, counts_as: str) -> None:
    assert asker(address) == counts_as


# --- reviewed ---------------------------------------------------------------------------------------------


def session_of(desk: Desk, person: str, function: str, issuer: str) -> str:
    async def within() -> str:
        engine = create_async_engine(desk.database.url("service"))
        async with engine.begin() as connection:
            value = await open_session(
                connection, person=person, function=function, organisation=CENTRE, issuer=issuer
            )
        await engine.dispose()
        return value

    return asyncio.run(within())


def signed_in(desk: Desk, person: str, function: str) -> httpx.Client:
    """Somebody signed in at the provider, before it went down."""
    return bearer(desk, function, person, CLOSED)


def test_the_alarm_stands_until_a_coordinator_who_did_not_use_it_reviews_it(
    desk: Desk, code: CardCode
) -> None:
    coordinator = signed_in(desk, str(COORDINATOR.person), "coordinator")
    alarm = "The duty credential of your centre was opened."
    assert alarm not in coordinator.get("/").text
    nurse = on_duty(desk, code)
    assert alarm in coordinator.get("/").text
    assert str(NURSE.name) in coordinator.get("/duty").text
    (waiting,) = coordinator.get("/api/duty", headers={"accept": "application/json"}).json()["waiting"]
    assert waiting["used_by"] == [NURSE.person]
    assert command(coordinator, f"duty/{waiting['id']}/reviews", {"finding": "fine"}).status_code == 422
    assert command(coordinator, f"duty/{'0' * 32}/reviews", {"finding": "in_order"}).status_code == 404
    done = command(coordinator, f"duty/{waiting['id']}/reviews", {"finding": "in_order"})
    assert done.status_code == 201, done.text
    assert alarm not in coordinator.get("/").text
    assert trail(desk)[-1] == ("duty.reviewed", COORDINATOR.person, "in_order")
    assert me(nurse) == {}, "the review ends the credential"
    assert enter(visitor(desk), code).status_code == 409


def review_of(desk: Desk, client: httpx.Client) -> httpx.Response:
    (waiting,) = client.get("/api/duty", headers={"accept": "application/json"}).json()["waiting"]
    return command(client, f"duty/{waiting['id']}/reviews", {"finding": "in_order"})


def test_the_page_of_the_alarm_names_who_may_review_and_takes_the_review(desk: Desk, code: CardCode) -> None:
    on_duty(desk, code)
    coordinator = signed_in(desk, str(COORDINATOR.person), "coordinator")
    shown = coordinator.get("/duty")
    assert shown.status_code == 200
    assert f"Who may review it: {COORDINATOR.name}" in shown.text
    hidden = dict(re.findall(r'name="(form_token|key|credential)" value="([^"]+)"', shown.text))
    done = coordinator.post("/duty", data=hidden | {"finding": "not_in_order"})
    assert done.status_code == 303, done.text
    assert trail(desk)[-1] == ("duty.reviewed", COORDINATOR.person, "not_in_order")
    assert "Nothing was opened that waits" in coordinator.get("/duty").text


def test_who_used_it_does_not_review_it_under_another_entry_of_the_register(
    desk: Desk, code: CardCode
) -> None:
    on_duty(desk, code)
    with desk.database.connect("superuser") as connection:
        connection.execute(
            "UPDATE custody.person SET merged_into = %s WHERE id = %s",
            [COORDINATOR.person, NURSE.person],
        )
    coordinator = signed_in(desk, str(COORDINATOR.person), "coordinator")
    page = coordinator.get("/duty").text
    assert "another coordinator reviews it" in page
    assert "Have another coordinator registered." in page
    refused = review_of(desk, coordinator)
    assert refused.status_code == 409
    assert "Let another coordinator do it." in refused.json()["detail"]
    assert [each[0] for each in trail(desk)] == ["duty.opened"]


def test_the_database_takes_no_review_of_another_event_and_none_by_who_used_it(
    desk: Desk, code: CardCode
) -> None:
    on_duty(desk, code)
    coordinator = signed_in(desk, str(COORDINATOR.person), "coordinator")
    assert review_of(desk, coordinator).status_code == 201
    again = asyncio.run(_made(desk))
    on_duty(desk, again)
    told = "SELECT digest, recorded_at FROM custody.event WHERE type = 'duty.reviewed'"
    with desk.database.connect() as connection:
        digest, at = connection.execute(told).fetchone() or (b"", None)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="trail of its centre"):
            connection.execute(
                "UPDATE desk.duty_credential SET reviewed_at = %s, reviewed_by = %s, review = %s"
                " WHERE reviewed_at IS NULL",
                [at, COORDINATOR.person, digest],
            )


def test_the_database_opens_no_credential_beside_the_trail(desk: Desk, code: CardCode) -> None:
    with (
        desk.database.connect() as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="trail of its centre"),
    ):
        connection.execute(
            "UPDATE desk.duty_credential SET opened_at = now(), ends_at = now() + interval '1 hour',"
            " reason = 'provider_down', opening = sha256('none'), used_by = '{nora}'"
        )
