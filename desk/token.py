"""Verification of the bearer access tokens that sign people in.

The rules, in the order in which they are applied; a token that breaks one is refused, and every refusal
gives the outside the same words, because a difference would help whoever is trying tokens:

1. At most `LONGEST_TOKEN` characters: three parts in canonical base64url (RFC 7515, section 7.1), header
   and claims being JSON objects without a repeated member, without NaN or Infinity.
2. `alg` is one of `KEY_TYPE` and `typ` says access token (RFC 9068, section 4): an identity token of the
   same provider signs nobody in. `crit`, and any header that brings or points to a key, is refused.
3. `iss` names a configured issuer, and that issuer is allowed to use this algorithm.
4. Exactly one of the issuer's public keys fits by kid, key type, use and algorithm. Keys come from the
   issuer's own address or from its configuration, never from the token; an RSA key has at least 2048
   bits, an EC key is on P-256, and a key published with its private half is no key.
5. Signature, audience, issuer and the required claims hold (RFC 7519; python-jose, held to one algorithm).
6. The time `at` lies between issue and end, with `SKEW` for clocks that disagree; the life of the token is
   no longer than the configuration allows.

Who the person is follows from one claim; what that person may do is never read from the token alone but from
our own register of people, and only for the organisations for which this issuer speaks (`desk.trust`).
Nothing of a token is ever put into a reason or a log line.
"""

import asyncio
import hashlib
import http.client
import logging
import re
import time
import urllib.error
import urllib.request
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from jose import jwt
from jose.exceptions import JOSEError

from desk.client import is_name
from desk.trust import KEY_TYPE, PublicKey, checked, is_loopback
from desk.trust import Issuer as Issuer
from desk.trust import IssuersUnreadable as IssuersUnreadable
from desk.trust import is_acceptable as is_acceptable
from desk.trust import read_issuers as read_issuers
from desk.trust import read_jwks as read_jwks
from desk.trust import strict_json as strict_json

ACCESS_TOKEN_TYPES: Final = frozenset({"at+jwt", "application/at+jwt"})
REFUSED_HEADERS: Final = frozenset({"crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc", "cty"})
REQUIRED_CLAIMS: Final = ("exp", "iat", "aud", "iss", "sub")

LONGEST_TOKEN: Final = 8192  # characters
LARGEST_JWKS: Final = 256 * 1024  # bytes
SKEW: Final = timedelta(seconds=30)
REFRESH_EVERY: Final = timedelta(seconds=30)  # at most one question to an issuer in this time
FRESH_FOR: Final = timedelta(minutes=15)  # after this the keys are asked for again
LAST_GOOD_FOR: Final = timedelta(hours=24)  # how long keys outlive an issuer that does not answer
FETCH_SECONDS: Final = 5.0
MOST_WORDS: Final = 500  # in the claim that names functions
REMEMBERED: Final = 4096  # verified tokens; verifying again costs about a third of a request

_FORM: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_LAST_SECOND: Final = 32503680000  # the year 3000; leaves room for sums
_log = logging.getLogger(__name__)


class Why(StrEnum):
    """The private reason of a refusal, for the log. A closed list, so that none can carry token content."""

    FORM = "not a signed token in canonical form"
    HEADER = "the header asks for something that is not accepted"
    NOT_ACCESS = "not a token of the kind that is taken here"
    ALGORITHM = "the algorithm is not accepted"
    ISSUER = "the issuer is not configured"
    NO_KEY = "no key of the issuer fits, or more than one"
    NO_KEYS = "the issuer's keys could not be read, or are too old"
    CLAIMS = "a required claim is missing or malformed"
    SIGNATURE = "signature, audience or issuer does not hold"
    EXPIRED = "the token has ended"
    EARLY = "the token is not valid yet"
    LIFE = "the token lives longer than is accepted"
    CLIENT = "the token is for another client"
    NONCE = "the token is of another sign-in"
    EARLIER = "the token is older than the sign-in"


class TokenRefused(Exception):
    """The token signs nobody in. `str()` is for the outside and always the same; `why` is for the log."""

    MESSAGE: Final = "You are not signed in, or your sign-in has ended. Sign in again."

    def __init__(self, why: Why) -> None:
        super().__init__(self.MESSAGE)
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a verified token speaks of. Organisation and function are not here: they come from the register.

    Issuer and `login` together name one person in the register. `authenticated_at` is when the person last
    proved who they are (`auth_time`, else the issue of the token), `signed_in_at` the same where the provider
    stated it: only that counts for acts that ask for a recent sign-in. `acr` says how strongly. `words` are
    what the claim says that the issuer's configuration maps to functions; empty where it maps none.
    """

    issuer: str
    subject: str
    login: str
    authenticated_at: datetime
    issued_at: datetime
    expires_at: datetime
    acr: str | None
    signed_in_at: datetime | None = None
    words: frozenset[str] = frozenset()


# --- keys over the network ---------------------------------------------------------------------------------


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Keys come from the configured address or not at all."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def fetch(address: str, form: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes at a configured address; with a `form`, what it answers to that (POST).

    Runs in a thread. `OSError` or `ValueError` when there are none.
    """
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if is_loopback(urlsplit(address).hostname):
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    asked = {"Accept": "application/json", **(headers or {})}
    request = urllib.request.Request(address, data=form, headers=asked)  # noqa: S310 - checked
    until = time.monotonic() + FETCH_SECONDS
    try:
        with opener.open(request, timeout=FETCH_SECONDS) as answer:
            if answer.status != 200:
                raise ValueError("the answer is not 200")
            found = b""
            while piece := answer.read1(16384):
                found += piece
                if len(found) > LARGEST_JWKS or time.monotonic() > until:
                    raise ValueError("the answer is too long or too slow")
            return found
    except urllib.error.HTTPError as fault:
        fault.close()
        raise ValueError("the answer is not 200") from None
    except http.client.HTTPException:
        raise ValueError("the answer is not HTTP") from None


class KeyRing:
    """The keys of one issuer: read when first needed, read again when old or when a key is unknown.

    An issuer that does not answer keeps its last good keys for `LAST_GOOD_FOR`. At most one question leaves
    every `REFRESH_EVERY`, whatever is sent to us, so that nobody can use us to flood an issuer.
    """

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self._keys: tuple[PublicKey, ...] | None = issuer.jwks
        self._read_at: datetime | None = None
        self._tried_at: datetime | None = None
        self._one_at_a_time = asyncio.Lock()

    async def current(self, at: datetime) -> tuple[PublicKey, ...]:
        """The keys as far as they are known at `at`; asks the issuer when they are old."""
        if self.issuer.jwks is not None:
            return self.issuer.jwks
        if self._keys is None:
            await self._refresh(at)
        elif self._age(at) > FRESH_FOR and not self._one_at_a_time.locked():
            await self._refresh(at)  # meanwhile the others go on with the keys there are
        if self._keys is None or self._age(at) > LAST_GOOD_FOR:
            raise TokenRefused(Why.NO_KEYS)
        return self._keys

    async def key(self, kid: str, algorithm: str, at: datetime) -> PublicKey:
        """The one key that fits; an unknown `kid` may be a new key, so the issuer is asked once more."""
        known = await self.current(at)
        if self.issuer.jwks is None and all(key.kid != kid for key in known):
            await self._refresh(at)
            known = await self.current(at)
        fitting = [key for key in known if key.kid == kid and key.algorithm == algorithm]
        if len(fitting) != 1:
            raise TokenRefused(Why.NO_KEY)
        return fitting[0]

    def _age(self, at: datetime) -> timedelta:
        return timedelta.max if self._read_at is None else abs(at - self._read_at)

    async def _refresh(self, at: datetime) -> None:
        if self.issuer.jwks_url is None:
            return
        async with self._one_at_a_time:
            if self._tried_at is not None and abs(at - self._tried_at) < REFRESH_EVERY:
                return
            self._tried_at = at
            try:
                found = read_jwks(strict_json(await asyncio.to_thread(fetch, self.issuer.jwks_url)))
            except (OSError, ValueError) as fault:
                _log.warning(
                    "the keys of issuer %s cannot be read: %s", self.issuer.url, type(fault).__name__
                )
                return
            self._read_at = at
            if found != self._keys:  # the same tuple stays, so that what it verified stays remembered
                self._keys = found


# --- verification ------------------------------------------------------------------------------------------


class Verifier:
    """Says whom an access token speaks of, or refuses it. One per process; safe for concurrent requests."""

    def __init__(self, issuers: Iterable[Issuer]) -> None:
        self._rings = {issuer.url: KeyRing(issuer) for issuer in checked(issuers)}
        self._verified: OrderedDict[bytes, tuple[Identity, tuple[PublicKey, ...]]] = OrderedDict()

    def rings(self) -> Iterable[KeyRing]:
        """The keys of each issuer, in the order of the configuration."""
        return self._rings.values()

    def issuer(self, url: str) -> Issuer | None:
        """The configured issuer of this name."""
        ring = self._rings.get(url)
        return None if ring is None else ring.issuer

    async def verify(self, token: str, at: datetime) -> Identity:
        """The identity in `token` at the time `at` (with its zone). Raises `TokenRefused`, nothing else."""
        if not is_formed(token):
            raise TokenRefused(Why.FORM)
        digest = hashlib.sha256(token.encode("ascii")).digest()
        if (known := await self._remembered(digest, at)) is not None:
            return known
        header, claims = opened(token)
        algorithm, kid = asked_for(header, ACCESS_TOKEN_TYPES)
        named = claims.get("iss")
        ring = self._rings.get(named) if isinstance(named, str) else None
        if ring is None:
            raise TokenRefused(Why.ISSUER)
        if algorithm not in ring.issuer.algorithms:
            raise TokenRefused(Why.ALGORITHM)
        check_claims(claims, ring.issuer)
        key = await ring.key(kid, algorithm, at)
        identity = identity_in(proved(token, key, ring.issuer, ring.issuer.audience), ring.issuer)
        check_times(claims, identity, ring.issuer, at)
        self._verified[digest] = (identity, await ring.current(at))
        while len(self._verified) > REMEMBERED:
            self._verified.popitem(last=False)
        return identity

    async def _remembered(self, digest: bytes, at: datetime) -> Identity | None:
        """What this token was found to say, while it lives and its issuer's keys are the same."""
        if (entry := self._verified.get(digest)) is None:
            return None
        identity, keys = entry
        if await self._rings[identity.issuer].current(at) is not keys:
            self._verified.pop(digest, None)
            return None
        if at < identity.issued_at - SKEW or at >= identity.expires_at:
            self._verified.pop(digest, None)
            return None
        return identity


def is_formed(token: str) -> bool:
    """Whether a token is short enough and looks like one."""
    return len(token) <= LONGEST_TOKEN and _FORM.fullmatch(token) is not None


def opened(token: str) -> tuple[dict[str, object], dict[str, object]]:
    """Header and claims, unproved. Canonical base64url only: one token has one spelling."""
    opened = []
    for part in token.split("."):
        try:
            data = urlsafe_b64decode(part + "=" * (-len(part) % 4))
        except ValueError:
            raise TokenRefused(Why.FORM) from None
        if urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != part:
            raise TokenRefused(Why.FORM)
        opened.append(data)
    try:
        header, claims = strict_json(opened[0]), strict_json(opened[1])
    except ValueError:
        raise TokenRefused(Why.FORM) from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise TokenRefused(Why.FORM)
    return header, claims


def asked_for(header: Mapping[str, object], types: Iterable[str | None]) -> tuple[str, str]:
    """Algorithm and key identifier of a header that asks for nothing else; `types` are the right `typ`s."""
    if REFUSED_HEADERS & set(header):
        raise TokenRefused(Why.HEADER)
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in KEY_TYPE:
        raise TokenRefused(Why.ALGORITHM)
    if header.get("typ") not in list(types):  # a list: what was sent need not be hashable
        raise TokenRefused(Why.NOT_ACCESS)
    if not isinstance(kid, str) or not is_name(kid):
        raise TokenRefused(Why.HEADER)
    return algorithm, kid


def _is_time(value: object) -> bool:
    return type(value) is int and 0 <= value <= _LAST_SECOND


def check_claims(claims: Mapping[str, object], issuer: Issuer) -> None:
    """Every claim that decides something is there and of its form (RFC 7519, section 4.1)."""
    times = [claims[name] for name in ("nbf", "auth_time") if name in claims]
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    login = claims.get(issuer.login_claim)
    holds = (
        all(name in claims for name in REQUIRED_CLAIMS)
        and all(_is_time(moment) for moment in (claims["exp"], claims["iat"], *times))
        and 1 <= len(audiences) <= 20
        and all(isinstance(one, str) for one in audiences)
        and isinstance(claims["sub"], str)
        and is_name(claims["sub"])
        and isinstance(login, str)
        and is_name(login)
        and isinstance(claims.get("acr", ""), str)
        and _words_in(claims, issuer) is not None
    )
    if not holds:
        raise TokenRefused(Why.CLAIMS)


def _words_in(claims: Mapping[str, object], issuer: Issuer) -> frozenset[str] | None:
    """What the claim says that names functions: one word or a list of words; None where it is neither."""
    found = [] if issuer.functions is None else claims.get(issuer.functions.claim, [])
    words = [found] if isinstance(found, str) else found
    if not isinstance(words, list) or len(words) > MOST_WORDS:
        return None
    kept = frozenset(word for word in words if isinstance(word, str))
    return kept if all(isinstance(word, str) for word in words) else None


def proved(
    token: str, key: PublicKey, issuer: Issuer, audience: str, access_token: str | None = None
) -> dict[str, Any]:
    """The claims, once python-jose has proved signature, audience and issuer with this one key; and that an
    `at_hash`, where there is one, is that of `access_token`.

    python-jose looks at times only with the machine's clock, and cannot be told that `exp` is required
    without doing so; the wide leeway leaves the times to `check_times`, which judges them at a given moment.
    """
    options: dict[str, Any] = {f"require_{name}": True for name in REQUIRED_CLAIMS}
    options["leeway"] = _LAST_SECOND
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.verifier,
            algorithms=[key.algorithm],
            audience=audience,
            issuer=issuer.url,
            access_token=access_token,
            options=options,
        )
    except (JOSEError, ValueError, TypeError, OverflowError, RecursionError):
        raise TokenRefused(Why.SIGNATURE) from None
    return claims


def identity_in(claims: Mapping[str, Any], issuer: Issuer) -> Identity:
    """Whom proved claims speak of."""
    return Identity(
        issuer=issuer.url,
        subject=claims["sub"],
        login=claims[issuer.login_claim],
        authenticated_at=datetime.fromtimestamp(claims.get("auth_time", claims["iat"]), UTC),
        issued_at=datetime.fromtimestamp(claims["iat"], UTC),
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        acr=claims.get("acr"),
        signed_in_at=datetime.fromtimestamp(claims["auth_time"], UTC) if "auth_time" in claims else None,
        words=_words_in(claims, issuer) or frozenset(),
    )


def check_times(claims: Mapping[str, Any], identity: Identity, issuer: Issuer, at: datetime) -> None:
    """The time is between issue and end, and the life of the token no longer than is accepted."""
    earliest = max(identity.issued_at, identity.authenticated_at)
    if "nbf" in claims:
        earliest = max(earliest, datetime.fromtimestamp(claims["nbf"], UTC))
    if at < earliest - SKEW:
        raise TokenRefused(Why.EARLY)
    if at >= identity.expires_at + SKEW:
        raise TokenRefused(Why.EXPIRED)
    if not timedelta(0) < identity.expires_at - identity.issued_at <= issuer.longest_life:
        raise TokenRefused(Why.LIFE)
