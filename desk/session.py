"""Sessions of the pages, kept in PostgreSQL; forms that prove they come from our pages; counted attempts.

A session is a random value of 256 bits in a cookie; the database holds only its SHA-256, so a copy of the
table signs nobody in. Each sign-in opens a new session and closes the one it replaces. A session ends by
signing out, after a time without use, after its absolute limit, or when somebody closes all sessions of a
person or a card: the next request of any process sees it, because every request looks.

A person's session says in which function and organisation the person works now; whether the appointment
still stands is read from the register, not from here. A victim's card opens a session of its own kind, on
one kit, with shorter limits.

Attempts (signing in, entering a card code) are counted in PostgreSQL, so the count holds across processes.
Counting slows down; it never locks out for longer than `LONGEST_WAIT`. A refused attempt is not counted,
or whoever keeps trying could keep the rightful person out.
"""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from desk.tables import attempt as attempt_table
from desk.tables import pending_sign_in
from desk.tables import session as session_table

TOUCH_EVERY: Final = timedelta(minutes=1)
LONGEST_WAIT: Final = timedelta(minutes=15)
KEPT_AFTER_END: Final = timedelta(days=1)

_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class Kind(StrEnum):
    """Whose session it is: a person's with an appointment, or that of a victim's card."""

    PERSON = "person"
    CARD = "card"


IDLE: Final = {Kind.PERSON: timedelta(minutes=30), Kind.CARD: timedelta(minutes=10)}
ABSOLUTE: Final = {Kind.PERSON: timedelta(hours=12), Kind.CARD: timedelta(hours=1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session that is open: a person in a function of an organisation, or a card on one kit.

    `issuer` is the provider at which the person signed in (none in the demo), `authenticated_at` when, and
    `acr` how strongly, in that provider's words.
    """

    kind: Kind
    person: str | None
    function: str | None
    organisation: str | None
    kit: str | None
    authenticated_at: datetime
    created_at: datetime
    ends_at: datetime
    issuer: str | None = None
    acr: str | None = None


async def clock(connection: AsyncConnection) -> datetime:
    """The service's one clock."""
    now: datetime = (await connection.execute(sa.select(sa.func.custody.clock()))).scalar_one()
    return now


# --- opening, finding, closing ----------------------------------------------------------------------------


async def open_session(
    connection: AsyncConnection,
    *,
    person: str,
    function: str,
    organisation: str,
    authenticated_at: datetime | None = None,
    replaces: str | None = None,
    issuer: str | None = None,
    acr: str | None = None,
    until: datetime | None = None,
) -> str:
    """Sign a person in and return the value of the cookie, which exists nowhere else.

    `authenticated_at` is when the person proved who they are (default: now). `until` ends the session earlier
    than its absolute limit. `replaces` is the cookie value the request came with, if any: that session is
    closed, so a value planted before the sign-in is worth nothing after it.
    """
    return await _open(
        connection,
        Kind.PERSON,
        replaces,
        authenticated_at,
        until,
        person=person,
        function=function,
        organisation=organisation,
        issuer=issuer,
        acr=acr,
    )


async def open_card_session(connection: AsyncConnection, *, kit: str, replaces: str | None = None) -> str:
    """Let a victim in on the own kit and return the value of the cookie."""
    return await _open(connection, Kind.CARD, replaces, None, None, kit=kit)


async def _open(
    connection: AsyncConnection,
    kind: Kind,
    replaces: str | None,
    proved: datetime | None,
    until: datetime | None,
    **whose: str | None,
) -> str:
    await close_session(connection, replaces)
    value = secrets.token_urlsafe(32)
    now = await clock(connection)
    await connection.execute(
        session_table.insert().values(
            id_hash=_hash(value),
            kind=kind.value,
            authenticated_at=now if proved is None else min(proved, now),
            created_at=now,
            last_seen_at=now,
            ends_at=now + ABSOLUTE[kind] if until is None else min(until, now + ABSOLUTE[kind]),
            **whose,
        )
    )
    return value


async def find_session(connection: AsyncConnection, value: str | None) -> Session | None:
    """The open session of a cookie value, or None. Notes the use, at most once in `TOUCH_EVERY`."""
    if value is None or not _VALUE.fullmatch(value):
        return None
    row = (
        await connection.execute(
            sa.select(session_table, sa.func.custody.clock().label("now")).where(
                session_table.c.id_hash == _hash(value)
            )
        )
    ).one_or_none()
    if row is None or not _is_open(row):
        return None
    if row.now - row.last_seen_at >= TOUCH_EVERY:
        await connection.execute(
            session_table.update()
            .where(session_table.c.id_hash == row.id_hash, session_table.c.revoked_at.is_(None))
            .values(last_seen_at=sa.func.greatest(session_table.c.last_seen_at, row.now))
        )
    return Session(
        kind=Kind(row.kind),
        person=row.person,
        function=row.function,
        organisation=row.organisation,
        kit=row.kit,
        authenticated_at=row.authenticated_at,
        created_at=row.created_at,
        ends_at=row.ends_at,
        issuer=row.issuer,
        acr=row.acr,
    )


def _is_open(row: Any) -> bool:
    idle: timedelta = row.now - row.last_seen_at
    return bool(row.revoked_at is None and row.now < row.ends_at and idle < IDLE[Kind(row.kind)])


async def close_session(connection: AsyncConnection, value: str | None) -> None:
    """Sign out. A value that opens nothing is no fault."""
    if value is not None and _VALUE.fullmatch(value):
        await _close(connection, session_table.c.id_hash == _hash(value))


async def close_all_of(connection: AsyncConnection, person: str) -> int:
    """Sign a person out everywhere (departure, a lost device); the number of sessions closed."""
    return await _close(connection, session_table.c.person == person)


async def close_all_of_card(connection: AsyncConnection, kit: str) -> int:
    """Close every session of a kit's card (a new card, a stopped one); the number closed."""
    return await _close(connection, session_table.c.kit == kit)


async def _close(connection: AsyncConnection, which: sa.ColumnElement[bool]) -> int:
    closed = await connection.execute(
        session_table.update()
        .where(which, session_table.c.revoked_at.is_(None))
        .values(revoked_at=sa.func.custody.clock())
    )
    return closed.rowcount


async def forget_ended(connection: AsyncConnection) -> int:
    """Delete sessions, counted attempts and sign-ins that were not finished and ended a day ago; the number
    of rows. For the clerk."""
    before = await clock(connection) - KEPT_AFTER_END
    sessions = await connection.execute(
        session_table.delete().where(
            sa.or_(session_table.c.ends_at < before, session_table.c.revoked_at < before)
        )
    )
    attempts = await connection.execute(attempt_table.delete().where(attempt_table.c.last_at < before))
    pending = await connection.execute(pending_sign_in.delete().where(pending_sign_in.c.ends_at < before))
    return sessions.rowcount + attempts.rowcount + pending.rowcount


def _hash(value: str) -> bytes:
    return hashlib.sha256(value.encode("ascii")).digest()


# --- the cookie -------------------------------------------------------------------------------------------


def cookie_name(*, https: bool) -> str:
    """`__Host-` (RFC 6265bis, section 4.1.3.2) binds the cookie to this host; plain http, on this machine's
    loopback only, cannot have it."""
    return "__Host-custody" if https else "custody"


def session_cookie(value: str, *, kind: Kind, https: bool) -> str:
    """The `Set-Cookie` header of a new session. It ends with the browser; the server's limits come first.

    `Lax` for people: a label's address opened from a camera or a message finds them signed in. `Strict` for
    a victim's card: no other page can open the kit.
    """
    same_site = "Strict" if kind is Kind.CARD else "Lax"
    secure = "; Secure" if https else ""
    return f"{cookie_name(https=https)}={value}; Path=/; HttpOnly; SameSite={same_site}{secure}"


def no_cookie(*, https: bool) -> str:
    """The `Set-Cookie` header that removes the cookie at sign-out."""
    secure = "; Secure" if https else ""
    return f"{cookie_name(https=https)}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax{secure}"


# --- forms ------------------------------------------------------------------------------------------------


def form_token(value: str) -> str:
    """What every form of a session carries: derived from the cookie's value, which it does not reveal.

    Another site can make the browser send the cookie, but cannot read it, so it cannot know this.
    """
    mac = hmac.new(value.encode("utf-8"), b"custody form token 1", hashlib.sha256).digest()
    return urlsafe_b64encode(mac).rstrip(b"=").decode("ascii")


def form_token_holds(value: str | None, given: str | None) -> bool:
    """Whether a form came with the token of this session. Takes the same time wherever they differ."""
    if value is None or given is None:
        return False
    return hmac.compare_digest(form_token(value).encode("ascii"), given.encode("utf-8", "replace"))


def came_from_here(*, origin: str | None, fetch_site: str | None, base_url: str) -> bool:
    """Whether a form was sent by one of our own pages, as the browser says it (headers `Origin` and
    `Sec-Fetch-Site`). For every POST of a page, also before there is a session.

    `Sec-Fetch-Site`, where the browser sends it, must be `same-origin`. `Origin` must be ours; only beside
    `Sec-Fetch-Site` may it be missing or `null` (a strict referrer policy makes it so). Neither: refused.
    """
    if fetch_site is not None and fetch_site != "same-origin":
        return False
    if origin is None or origin == "null":
        return fetch_site is not None
    return _origin(origin) is not None and _origin(origin) == _origin(base_url)


def _origin(address: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    if usual is None or not parts.hostname or parts.username is not None:
        return None
    return parts.scheme, parts.hostname, port or usual


# --- counted attempts -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How often something may be tried: `free` times without a wait, then with waits that double from
    `first_wait` up to `longest_wait`; all is forgotten after `window` without an attempt."""

    free: int
    first_wait: timedelta
    longest_wait: timedelta
    window: timedelta

    def wait_after(self, counted: int) -> timedelta | None:
        """The wait that attempt number `counted` brings with it."""
        if counted < self.free:
            return None
        doublings: int = min(counted - self.free, 20)
        return min(self.longest_wait, LONGEST_WAIT, self.first_wait * (1 << doublings))


class Purpose(StrEnum):
    """What is tried. The key beside it says against what.

    `sign_in`: the address that begins a sign-in at a provider, or comes back from one. `duty`: a centre
    together with the address that tries its duty credential, so that nobody keeps the centre out.
    `card_code`: the address; a code has too many bits to be guessed. `card_secret`: a card's code together
    with the address, so that whoever found a card waits alone, and its victim at another address does not
    wait with them. `card`: a card's code from wherever, so that many addresses do not add up to many guesses;
    its waits are short, because its victim waits too. `channel_test`: who sends messages that try a channel.
    """

    SIGN_IN = "sign_in"
    DUTY = "duty"
    CARD_CODE = "card_code"
    CARD_SECRET = "card_secret"
    CARD = "card"
    CHANNEL_TEST = "channel_test"


LIMITS: Final = {
    # Behind one address may stand a hospital, whose people all begin when the shift does.
    Purpose.SIGN_IN: Limit(
        free=60,
        first_wait=timedelta(seconds=1),
        longest_wait=timedelta(seconds=30),
        window=timedelta(minutes=15),
    ),
    # The code has too many bits to be guessed: this spares the machine, and must keep nobody out.
    Purpose.DUTY: Limit(
        free=10,
        first_wait=timedelta(seconds=2),
        longest_wait=timedelta(minutes=1),
        window=timedelta(hours=1),
    ),
    Purpose.CARD_CODE: Limit(
        free=10,
        first_wait=timedelta(seconds=2),
        longest_wait=timedelta(minutes=5),
        window=timedelta(hours=1),
    ),
    Purpose.CARD_SECRET: Limit(
        free=5,
        first_wait=timedelta(seconds=5),
        longest_wait=LONGEST_WAIT,
        window=timedelta(hours=6),
    ),
    Purpose.CARD: Limit(
        free=60,
        first_wait=timedelta(seconds=1),
        longest_wait=timedelta(minutes=1),
        window=timedelta(hours=24),
    ),
    # Nobody tries ten channels in an hour; somebody could fill a victim's inbox, or the mail server's queue.
    Purpose.CHANNEL_TEST: Limit(
        free=10,
        first_wait=timedelta(minutes=5),
        longest_wait=LONGEST_WAIT,
        window=timedelta(hours=1),
    ),
}


class TooManyAttempts(Exception):
    """Tried too often; `wait` says how long to wait from now. The words are the same for every key."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__("There were too many attempts. Wait a little and try again.")
        self.wait = wait


async def count_attempt(engine: AsyncEngine, purpose: Purpose, key: str, secret: bytes) -> None:
    """Count an attempt at one key, as `count_attempts` does."""
    await count_attempts(engine, {purpose: key}, secret)


async def count_attempts(engine: AsyncEngine, tried: Mapping[Purpose, str], secret: bytes) -> None:
    """Count an attempt at all these keys **before** it is made; raises `TooManyAttempts` while one of them
    has to wait, and then counts none: whoever waits at one key lengthens no other.

    Takes the engine and commits on its own: counted first, parallel guesses are all counted; committed at
    once, the count outlives the refusal that rolls the request back. Call `forgive` after success. `secret`
    is the key of `desk.attempt_key`: without it the rows do not tell whose attempts they count.
    """
    async with engine.begin() as connection:
        for purpose in sorted(tried):  # in one order, so that no two wait for each other
            await _count(connection, purpose, _key(purpose, tried[purpose], secret))


async def _count(connection: AsyncConnection, purpose: Purpose, hashed: bytes) -> None:
    limit = LIMITS[purpose]
    t = attempt_table
    now = await clock(connection)
    row = (
        await connection.execute(
            postgresql.insert(t)
            .values(purpose=purpose.value, key_hash=hashed, counted=1, last_at=now)
            .on_conflict_do_update(
                index_elements=[t.c.purpose, t.c.key_hash],
                set_={
                    "counted": sa.case((t.c.last_at < now - limit.window, 1), else_=t.c.counted + 1),
                    "last_at": sa.func.greatest(t.c.last_at, now),
                    "refused_until": None,
                },
                where=sa.or_(t.c.refused_until.is_(None), t.c.refused_until <= now),
            )
            .returning(t.c.counted, t.c.last_at)
        )
    ).one_or_none()
    mine = sa.and_(t.c.purpose == purpose.value, t.c.key_hash == hashed)
    if row is not None:
        if (wait := limit.wait_after(row.counted)) is not None:
            await connection.execute(t.update().where(mine).values(refused_until=row.last_at + wait))
        return
    until = (await connection.execute(sa.select(t.c.refused_until).where(mine))).scalar_one_or_none()
    if until is not None:
        raise TooManyAttempts(max(until - now, timedelta(seconds=1)))


async def forgive(connection: AsyncConnection, purpose: Purpose, key: str, secret: bytes) -> None:
    """Forget the attempts at a key: the right secret was given."""
    await connection.execute(
        attempt_table.delete().where(
            attempt_table.c.purpose == purpose.value,
            attempt_table.c.key_hash == _key(purpose, key, secret),
        )
    )


def _key(purpose: Purpose, key: str, secret: bytes) -> bytes:
    return hmac.digest(secret, f"custody attempt 2\n{purpose.value}\n{key}".encode(), "sha256")
