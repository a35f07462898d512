"""Sessions on a real PostgreSQL: who is in, until when, and what a copy of the table is worth."""

import hashlib
from collections.abc import Callable
from datetime import timedelta

import anyio
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from desk.issuer import DemoRefused, settle_database
from desk.session import (
    ABSOLUTE,
    IDLE,
    KEPT_AFTER_END,
    LIMITS,
    LONGEST_WAIT,
    TOUCH_EVERY,
    Kind,
    Limit,
    Purpose,
    Session,
    TooManyAttempts,
    came_from_here,
    close_all_of,
    close_all_of_card,
    close_session,
    cookie_name,
    count_attempt,
    find_session,
    forget_ended,
    forgive,
    form_token,
    form_token_holds,
    no_cookie,
    open_card_session,
    open_session,
    session_cookie,
)
from desk.tables import session as session_table
from tests.conftest import Database, Engines

pytestmark = pytest.mark.anyio

SECRET = b"a key that is not in the database"

KIT = "7M4P9XQ3RT6C"
Advance = Callable[[timedelta], None]


async def nurse_signs_in(engine: AsyncEngine, person: str = "nurse-demo", replaces: str | None = None) -> str:
    async with engine.begin() as connection:
        return await open_session(
            connection, person=person, function="nurse", organisation="centre-a", replaces=replaces
        )


async def card_signs_in(engine: AsyncEngine, kit: str = KIT) -> str:
    async with engine.begin() as connection:
        return await open_card_session(connection, kit=kit)


async def seen(engine: AsyncEngine, value: str | None) -> Session | None:
    async with engine.begin() as connection:
        return await find_session(connection, value)


# --- in and out --------------------------------------------------------------------------------------------


async def test_who_signed_in_is_found_with_function_and_organisation(engines: Engines) -> None:
    session = await seen(engines.service, await nurse_signs_in(engines.service))
    assert session is not None
    assert (session.kind, session.person, session.function) == (Kind.PERSON, "nurse-demo", "nurse")
    assert (session.organisation, session.kit) == ("centre-a", None)
    assert session.ends_at - session.created_at == ABSOLUTE[Kind.PERSON]
    assert session.authenticated_at == session.created_at


async def test_a_victims_card_opens_its_own_kit_and_nothing_of_a_person(engines: Engines) -> None:
    session = await seen(engines.service, await card_signs_in(engines.service))
    assert session is not None
    assert (session.kind, session.kit) == (Kind.CARD, KIT)
    assert (session.person, session.function, session.organisation) == (None, None, None)


async def test_a_copy_of_the_table_signs_nobody_in(engines: Engines, database: Database) -> None:
    value = await nurse_signs_in(engines.service)
    with database.connect("superuser") as connection:
        row = connection.execute("SELECT s::text, id_hash FROM desk.session s").fetchone()
    assert row is not None
    assert value not in row[0]
    assert row[1] == hashlib.sha256(value.encode()).digest()
    assert form_token(value) not in row[0]
    assert await seen(engines.service, row[1].hex()) is None


@pytest.mark.parametrize("value", [None, "", "x", "A" * 43, "A" * 44, "é" * 43, "\x00" * 43])
async def test_a_value_that_was_never_given_opens_nothing(engines: Engines, value: str | None) -> None:
    await nurse_signs_in(engines.service)
    assert await seen(engines.service, value) is None


async def test_each_sign_in_closes_the_session_it_replaces(engines: Engines) -> None:
    planted = await nurse_signs_in(engines.service, "somebody-else")
    value = await nurse_signs_in(engines.service, replaces=planted)
    assert value != planted
    assert await seen(engines.service, planted) is None
    assert await seen(engines.service, value) is not None


async def test_signing_out_holds_at_once_for_every_process(engines: Engines) -> None:
    value = await nurse_signs_in(engines.service)
    assert await seen(engines.service, value) is not None
    async with engines.service.begin() as connection:
        await close_session(connection, value)
        await close_session(connection, "never given")
        await close_session(connection, None)
    assert await seen(engines.service, value) is None


async def test_a_person_who_leaves_is_signed_out_everywhere_and_nobody_else_is(engines: Engines) -> None:
    hers = [await nurse_signs_in(engines.service, "leaver") for _ in range(3)]
    other = await nurse_signs_in(engines.service, "colleague")
    card = await card_signs_in(engines.service)
    async with engines.service.begin() as connection:
        assert await close_all_of(connection, "leaver") == 3
        assert await close_all_of(connection, "leaver") == 0
    assert [await seen(engines.service, value) for value in hers] == [None, None, None]
    assert await seen(engines.service, other) is not None
    async with engines.service.begin() as connection:
        assert await close_all_of_card(connection, KIT) == 1
    assert await seen(engines.service, card) is None
    assert await seen(engines.service, other) is not None


async def test_a_sign_in_at_a_provider_an_hour_ago_stays_an_hour_ago(engines: Engines) -> None:
    async with engines.service.begin() as connection:
        now = (await connection.exec_driver_sql("SELECT custody.clock()")).scalar_one()
        earlier = now - timedelta(hours=1)
        value = await open_session(
            connection, person="p", function="nurse", organisation="o", authenticated_at=earlier
        )
        session = await find_session(connection, value)
    assert session is not None
    assert session.authenticated_at == earlier


# --- limits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(Kind))
async def test_a_session_ends_when_it_is_not_used(engines: Engines, advance: Advance, kind: Kind) -> None:
    signs_in = nurse_signs_in if kind is Kind.PERSON else card_signs_in
    value = await signs_in(engines.service)
    advance(IDLE[kind] - timedelta(minutes=1))
    assert await seen(engines.service, value) is not None
    advance(IDLE[kind] - timedelta(minutes=1))
    assert await seen(engines.service, value) is not None
    advance(IDLE[kind])
    assert await seen(engines.service, value) is None
    advance(-IDLE[kind])
    assert await seen(engines.service, value) is not None, "time alone decides, nothing was revoked"


@pytest.mark.parametrize("kind", list(Kind))
async def test_a_session_ends_after_its_absolute_limit_however_much_it_is_used(
    engines: Engines, advance: Advance, kind: Kind
) -> None:
    signs_in = nurse_signs_in if kind is Kind.PERSON else card_signs_in
    value = await signs_in(engines.service)
    step = IDLE[kind] - timedelta(minutes=1)
    passed = timedelta(0)
    while passed + step < ABSOLUTE[kind]:
        advance(step)
        passed += step
        assert await seen(engines.service, value) is not None
    advance(step)
    assert await seen(engines.service, value) is None


async def test_use_is_noted_at_most_once_a_minute(
    engines: Engines, advance: Advance, database: Database
) -> None:
    value = await nurse_signs_in(engines.service)

    def noted() -> object:
        with database.connect("superuser") as connection:
            return connection.execute("SELECT last_seen_at, xmin::text FROM desk.session").fetchone()

    first = noted()
    for _ in range(3):
        await seen(engines.service, value)
    assert noted() == first
    advance(TOUCH_EVERY)
    await seen(engines.service, value)
    assert noted() != first


async def test_what_ended_a_day_ago_is_forgotten_by_the_clerk(engines: Engines, advance: Advance) -> None:
    await nurse_signs_in(engines.service)
    out = await nurse_signs_in(engines.service)
    async with engines.service.begin() as connection:
        await close_session(connection, out)
    await count_attempt(engines.service, Purpose.SIGN_IN, "nurse-demo", SECRET)
    advance(KEPT_AFTER_END)
    current = await nurse_signs_in(engines.service)
    async with engines.clerk.begin() as connection:
        assert await forget_ended(connection) == 2, "the closed session and the attempt"
    advance(ABSOLUTE[Kind.PERSON] - timedelta(hours=1))
    async with engines.clerk.begin() as connection:
        assert await forget_ended(connection) == 0
    advance(timedelta(hours=2))
    async with engines.clerk.begin() as connection:
        assert await forget_ended(connection) == 1
    assert await seen(engines.service, current) is None


@pytest.mark.parametrize(
    "row",
    [
        {"kind": "person", "person": "p"},
        {"kind": "person", "person": "p", "function": "nurse", "organisation": "o", "kit": KIT},
        {"kind": "card", "kit": KIT, "person": "p"},
        {"kind": "card"},
        {"kind": "card", "kit": "7m4p9xq3rt6c"},
        {"kind": "other", "kit": KIT},
        {"kind": "card", "kit": KIT, "hours": 13},
    ],
)
async def test_the_database_refuses_a_session_of_nobody_or_without_end(
    engines: Engines, row: dict[str, object]
) -> None:
    hours = row.pop("hours", 1)
    assert isinstance(hours, int)
    async with engines.service.begin() as connection:
        now = (await connection.exec_driver_sql("SELECT custody.clock()")).scalar_one()
        times = {"authenticated_at": now, "created_at": now, "last_seen_at": now}
        with pytest.raises(IntegrityError):
            await connection.execute(
                session_table.insert().values(
                    id_hash=bytes(32), ends_at=now + timedelta(hours=hours), **times, **row
                )
            )


async def test_the_auditor_sees_no_session(engines: Engines) -> None:
    with pytest.raises(DBAPIError, match="permission denied"):
        await seen(engines.auditor, "A" * 43)


# --- the cookie and the forms ------------------------------------------------------------------------------


def test_the_cookie_is_bound_to_the_host_and_out_of_reach_of_scripts() -> None:
    assert session_cookie("v", kind=Kind.PERSON, https=True) == (
        "__Host-custody=v; Path=/; HttpOnly; SameSite=Lax; Secure"
    )
    assert session_cookie("v", kind=Kind.CARD, https=True) == (
        "__Host-custody=v; Path=/; HttpOnly; SameSite=Strict; Secure"
    )
    assert session_cookie("v", kind=Kind.PERSON, https=False) == ("custody=v; Path=/; HttpOnly; SameSite=Lax")
    assert no_cookie(https=True).startswith("__Host-custody=; Path=/; Max-Age=0")
    assert "Secure" in no_cookie(https=True)
    assert "Domain" not in session_cookie("v", kind=Kind.PERSON, https=True)
    assert cookie_name(https=False) == "custody"


@given(st.text(st.characters(codec="ascii"), min_size=1, max_size=60), st.text(max_size=60))
def test_a_form_passes_with_the_token_of_its_own_session_and_no_other_text(value: str, other: str) -> None:
    assert form_token_holds(value, form_token(value))
    assert form_token_holds(value, other) == (other == form_token(value))
    assert not form_token_holds(value + "x", form_token(value))
    assert value not in form_token(value) or len(value) < 8


@pytest.mark.parametrize(
    ("value", "given_"), [(None, None), (None, ""), ("v", None), ("v", ""), ("v", "\ud800")]
)
def test_a_form_without_session_or_token_does_not_pass(value: str | None, given_: str | None) -> None:
    assert not form_token_holds(value, given_)


BASE = "https://custody.example"


@pytest.mark.parametrize(
    ("origin", "fetch_site", "passes"),
    [
        (BASE, "same-origin", True),
        ("https://custody.example:443", "same-origin", True),
        ("https://CUSTODY.example", None, True),
        (None, "same-origin", True),
        ("null", "same-origin", True),
        (BASE, None, True),
        (None, None, False),
        ("null", None, False),
        ("", None, False),
        (BASE, "same-site", False),
        (BASE, "cross-site", False),
        (BASE, "none", False),
        ("https://attacker.example", "same-origin", False),
        ("https://attacker.example", None, False),
        ("http://custody.example", None, False),
        ("https://custody.example:8443", None, False),
        ("https://custody.example.attacker.example", None, False),
        ("https://custody.example@attacker.example", None, False),
        ("https://user@custody.example", None, False),
        ("https://[", None, False),
        ("https://custody.example:x", None, False),
        ("ftp://custody.example", None, False),
    ],
)
def test_a_form_is_taken_only_from_our_own_pages(
    origin: str | None, fetch_site: str | None, passes: bool
) -> None:
    assert came_from_here(origin=origin, fetch_site=fetch_site, base_url=BASE) is passes


# --- attempts ----------------------------------------------------------------------------------------------


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Limit:
    """Waits far longer than any machine needs for the test, so that only `advance` ends them."""
    patient = Limit(
        free=5,
        first_wait=timedelta(minutes=2),
        longest_wait=LONGEST_WAIT,
        window=timedelta(hours=6),
    )
    monkeypatch.setitem(LIMITS, Purpose.CARD_SECRET, patient)
    return patient


async def tried(engine: AsyncEngine, key: str = "card-1", purpose: Purpose = Purpose.CARD_SECRET) -> bool:
    try:
        await count_attempt(engine, purpose, key, SECRET)
    except TooManyAttempts:
        return False
    return True


async def test_some_attempts_are_free_and_the_next_has_to_wait(
    engines: Engines, advance: Advance, limit: Limit
) -> None:
    assert [await tried(engines.service) for _ in range(limit.free)] == [True] * limit.free
    with pytest.raises(TooManyAttempts) as refused:
        await count_attempt(engines.service, Purpose.CARD_SECRET, "card-1", SECRET)
    assert timedelta(0) < refused.value.wait <= limit.first_wait
    assert "card" not in str(refused.value)
    assert await tried(engines.service, "card-2"), "another card does not wait"
    assert await tried(engines.service, "card-1", Purpose.CARD_CODE), "nor does another purpose"
    advance(limit.first_wait)
    assert await tried(engines.service)
    advance(limit.first_wait)
    assert not await tried(engines.service), "the second wait is longer"
    advance(limit.first_wait)
    assert await tried(engines.service)


async def test_refused_attempts_do_not_lengthen_the_wait_and_no_wait_is_long(
    engines: Engines, advance: Advance, limit: Limit
) -> None:
    for _ in range(30):
        while await tried(engines.service):
            pass
        for _ in range(5):
            assert not await tried(engines.service)
        advance(LONGEST_WAIT)
    assert await tried(engines.service), "whoever waits a quarter of an hour may always try"


async def test_the_right_secret_clears_what_was_counted(engines: Engines, limit: Limit) -> None:
    for _ in range(limit.free - 1):
        await count_attempt(engines.service, Purpose.CARD_SECRET, "card-1", SECRET)
    async with engines.service.begin() as connection:
        await forgive(connection, Purpose.CARD_SECRET, "card-1", SECRET)
    assert [await tried(engines.service) for _ in range(limit.free)] == [True] * limit.free


async def test_old_attempts_are_forgotten(engines: Engines, advance: Advance, limit: Limit) -> None:
    while await tried(engines.service):
        pass
    advance(limit.window + timedelta(minutes=1))
    assert [await tried(engines.service) for _ in range(limit.free)] == [True] * limit.free


async def test_guesses_made_all_at_once_are_all_counted(engines: Engines, limit: Limit) -> None:
    outcomes: list[bool] = []

    async def guess() -> None:
        outcomes.append(await tried(engines.service))

    async with anyio.create_task_group() as group:
        for _ in range(40):
            group.start_soon(guess)
    assert outcomes.count(True) == limit.free


async def test_the_table_of_attempts_names_nobody(engines: Engines, database: Database) -> None:
    await count_attempt(engines.service, Purpose.SIGN_IN, "canary-person", SECRET)
    with database.connect("superuser") as connection:
        rows = connection.execute("SELECT a::text FROM desk.attempt a").fetchall()
    assert len(rows) == 1
    assert "canary" not in rows[0][0]
    assert b"canary".hex() not in rows[0][0]


@given(st.integers(1, 10_000))
def test_waits_only_grow_and_stay_below_the_longest(counted: int) -> None:
    for limit in LIMITS.values():
        one, more = limit.wait_after(counted) or timedelta(0), limit.wait_after(counted + 1) or timedelta(0)
        assert one <= more <= limit.longest_wait <= LONGEST_WAIT
        assert (one == timedelta(0)) == (counted < limit.free)


# --- fictional or real -------------------------------------------------------------------------------------


async def settle(engines: Engines, *, demo: bool) -> None:
    async with engines.service.begin() as connection:
        await settle_database(connection, demo=demo)


async def test_the_demo_marks_an_empty_database_and_only_the_demo_runs_on_it_then(engines: Engines) -> None:
    await settle(engines, demo=True)
    await settle(engines, demo=True)
    with pytest.raises(DemoRefused, match="fictional kits"):
        await settle(engines, demo=False)
    await settle(engines, demo=True)


async def test_a_service_without_the_demo_marks_its_database_and_the_demo_is_refused_there(
    engines: Engines,
) -> None:
    await settle(engines, demo=False)
    with pytest.raises(DemoRefused, match="real kits"):
        await settle(engines, demo=True)
    await settle(engines, demo=False)


async def test_a_database_with_kits_and_without_a_mark_is_real(engines: Engines, database: Database) -> None:
    with database.connect("superuser") as connection:
        put_a_kit(connection)
    with pytest.raises(DemoRefused, match="real kits"):
        await settle(engines, demo=True)
    await settle(engines, demo=False)


def put_a_kit(connection: psycopg.Connection) -> None:
    """One bare row, as no service could write it: whether there is a kit is all that counts here."""
    connection.execute(
        "INSERT INTO custody.organisation (id, kind, name) VALUES ('centre-a', 'centre', 'Invented centre')"
    )
    connection.execute(
        "INSERT INTO custody.kit (number, centre, legal, retention, holds, in_transit, destroyed,"
        " unanswered_requests, notice_on, term_over_at, registered_at, parties, document)"
        " VALUES (%s, 'centre-a', 'unreported', 'running', 0, 0, 0, 0, '2032-01-01', '2032-01-01',"
        " custody.clock(), '{}', '{}')",
        [KIT],
    )


async def test_two_first_starts_at_once_agree_on_what_the_database_is(engines: Engines) -> None:
    outcomes: list[str] = []
    async with engines.service.begin() as first:
        await settle_database(first, demo=True)

        async def second() -> None:
            try:
                await settle(engines, demo=False)
            except DemoRefused:
                outcomes.append("refused")

        async with anyio.create_task_group() as group:
            group.start_soon(second)
            await waits_for_the_first(engines)
            await first.commit()
    assert outcomes == ["refused"]


async def waits_for_the_first(engines: Engines) -> None:
    with anyio.fail_after(20):
        while True:
            async with engines.superuser.connect() as connection:
                waiting = await connection.exec_driver_sql(
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    " AND datname = current_database()"
                )
                if waiting.scalar_one():
                    return
            await anyio.sleep(0.01)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE desk.database_kind SET kind = 'fictional'",
        "DELETE FROM desk.database_kind",
        "TRUNCATE desk.database_kind",
        "INSERT INTO desk.database_kind (kind, set_at) VALUES ('fictional', now())",
    ],
)
@pytest.mark.parametrize("role", ["service", "clerk", "auditor", "superuser"])
async def test_nobody_changes_the_mark(
    engines: Engines, database: Database, role: str, statement: str
) -> None:
    await settle(engines, demo=False)
    with database.connect(role) as connection:
        if role == "superuser":
            connection.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.Error):
            connection.execute(statement)
    with pytest.raises(DemoRefused):
        await settle(engines, demo=True)


async def test_only_the_two_kinds_exist(database: Database) -> None:
    with database.connect("service") as connection, pytest.raises(psycopg.Error, match="fictional or real"):
        connection.execute("SELECT desk.settle_database_kind('empty')")
