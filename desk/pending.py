"""Sign-ins that are not finished: what was begun here and is proved elsewhere.

A sign-in is begun in one browser and ends there. The browser holds a random value of 256 bits in a cookie of
its own, the provider is given another, the state; the database holds only their digests, for ten minutes, and
a row is taken out when it is used. The nonce and the verifier of the code (RFC 7636) follow from both values
and are never stored: a copy of the table signs nobody in, and neither does a code without the browser.

Who holds several functions chooses after the proof: then the row of the choice says who it was.
"""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from desk.session import clock
from desk.tables import pending_sign_in as table

LIFE: Final = timedelta(minutes=10)

_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Who proved at a provider who they are, when, how strongly, and for which functions the provider
    vouches: each as `function@organisation`, one of which is chosen."""

    person: str
    authenticated_at: datetime
    acr: str | None
    offered: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A sign-in that was begun at `created_at` at one provider, to go on to the page `onward`.

    `again`: a recent proof was asked for. `proof` stands in it when only the function is still to be chosen.
    """

    issuer: str
    onward: str
    again: bool
    created_at: datetime
    proof: Proof | None = None


def browser_value(cookie: str | None) -> str:
    """The browser's own value: what its cookie holds, so that two pages can sign in at once, or a new one."""
    return cookie if cookie is not None and _VALUE.fullmatch(cookie) else secrets.token_urlsafe(32)


async def begin(
    connection: AsyncConnection,
    browser: str,
    *,
    issuer: str,
    onward: str,
    again: bool = False,
    proof: Proof | None = None,
) -> str:
    """Note what begins in this browser; the state that leads back to it, which exists nowhere else."""
    state = secrets.token_urlsafe(32)
    now = await clock(connection)
    await connection.execute(table.delete().where(table.c.ends_at <= now))
    await connection.execute(
        table.insert().values(
            state_hash=_hash(state),
            browser_hash=_hash(browser),
            issuer=issuer,
            onward=onward,
            again=again,
            person=None if proof is None else proof.person,
            authenticated_at=None if proof is None else proof.authenticated_at,
            acr=None if proof is None else proof.acr,
            offered=None if proof is None else list(proof.offered),
            created_at=now,
            ends_at=now + LIFE,
        )
    )
    return state


async def take(connection: AsyncConnection, browser: str | None, state: str | None) -> Pending | None:
    """What was begun in this browser under this state, once; None for anything else."""
    if browser is None or state is None or not _VALUE.fullmatch(browser) or not _VALUE.fullmatch(state):
        return None
    row = (
        await connection.execute(
            table.delete()
            .where(
                table.c.state_hash == _hash(state),
                table.c.browser_hash == _hash(browser),
                table.c.ends_at > sa.func.custody.clock(),
            )
            .returning(*table.c)
        )
    ).one_or_none()
    if row is None:
        return None
    proof = None
    if row.person is not None:
        proof = Proof(
            person=row.person,
            authenticated_at=row.authenticated_at,
            acr=row.acr,
            offered=tuple(row.offered),
        )
    return Pending(
        issuer=row.issuer, onward=row.onward, again=row.again, created_at=row.created_at, proof=proof
    )


def nonce_of(browser: str, state: str) -> str:
    """What ties an identity token to this sign-in (OpenID Connect Core, section 15.5.2)."""
    return _derived(browser, "nonce", state)


def verifier_of(browser: str, state: str) -> str:
    """What ties a code to this sign-in: a verifier of 256 bits (RFC 7636, section 4.1)."""
    return _derived(browser, "verifier", state)


def challenge_of(verifier: str) -> str:
    """What the provider is shown of the verifier: method S256 (RFC 7636, section 4.2)."""
    return _b64(hashlib.sha256(verifier.encode("ascii")).digest())


def _derived(browser: str, what: str, state: str) -> str:
    text = f"custody sign-in {what} 1\n{state}"
    return _b64(hmac.new(browser.encode("ascii"), text.encode("ascii"), hashlib.sha256).digest())


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _hash(value: str) -> bytes:
    return hashlib.sha256(b"custody sign-in 1\n" + value.encode("ascii")).digest()


def cookie_name(*, https: bool) -> str:
    """As with sessions: `__Host-` binds the cookie to this host wherever there is https."""
    return "__Host-custody-sign-in" if https else "custody-sign-in"


def browser_cookie(value: str, *, https: bool) -> str:
    """The `Set-Cookie` header of a browser's value. `Lax`: it comes along when the provider leads back."""
    secure = "; Secure" if https else ""
    seconds = int(LIFE.total_seconds())
    name = cookie_name(https=https)
    return f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
