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

Who the person is follows from one claim; what that person may do is never read from the token but from our
own register of people. Nothing of a token is ever put into a reason or a log line.
"""

import asyncio
import hashlib
import http.client
import json
import logging
import re
import time
import urllib.error
import urllib.request
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from jose import jwk, jwt
from jose.exceptions import JOSEError

from desk.client import LONGEST_NAME, MEMBERS, Client, is_name, read_client

KEY_TYPE: Final[Mapping[str, str]] = {"RS256": "RSA", "ES256": "EC"}
PUBLIC_MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {"RSA": ("n", "e"), "EC": ("crv", "x", "y")}
PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
ACCESS_TOKEN_TYPES: Final = frozenset({"at+jwt", "application/at+jwt"})
REFUSED_HEADERS: Final = frozenset({"crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc", "cty"})
REQUIRED_CLAIMS: Final = ("exp", "iat", "aud", "iss", "sub")

LONGEST_TOKEN: Final = 8192  # characters
LARGEST_JWKS: Final = 256 * 1024  # bytes
MOST_KEYS: Final = 100
SMALLEST_RSA: Final = 2048  # bits
LARGEST_RSA: Final = 8192  # bits; beyond that a verification becomes a burden somebody else decides on
SKEW: Final = timedelta(seconds=30)
LONGEST_LIFE: Final = timedelta(hours=1)
REFRESH_EVERY: Final = timedelta(seconds=30)  # at most one question to an issuer in this time
FRESH_FOR: Final = timedelta(minutes=15)  # after this the keys are asked for again
LAST_GOOD_FOR: Final = timedelta(hours=24)  # how long keys outlive an issuer that does not answer
FETCH_SECONDS: Final = 5.0
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


class IssuersUnreadable(ValueError):
    """The configuration of issuers is wrong; the message says where and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a verified token speaks of. Organisation and function are not here: they come from the register.

    Issuer and `login` together name one person in the register. `authenticated_at` is when the person last
    proved who they are (`auth_time`, else the issue of the token), `signed_in_at` the same where the provider
    stated it: only that counts for acts that ask for a recent sign-in. `acr` says how strongly.
    """

    issuer: str
    subject: str
    login: str
    authenticated_at: datetime
    issued_at: datetime
    expires_at: datetime
    acr: str | None
    signed_in_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """One usable key of an issuer (RFC 7517): the algorithm follows from the type by `KEY_TYPE`."""

    kid: str
    algorithm: str
    members: tuple[str, ...]
    verifier: Any = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """One provider that is trusted to say who somebody is.

    Exactly one of `jwks_url` and `jwks` is given. `login_claim` names the claim that holds the person's login
    in the register; logins of two issuers never meet there, because the register keeps them by issuer.
    `client` is how this service is registered there, where people sign in to the pages at this provider.
    """

    url: str
    audience: str
    algorithms: frozenset[str]
    jwks_url: str | None = None
    jwks: tuple[PublicKey, ...] | None = None
    login_claim: str = "sub"
    longest_life: timedelta = LONGEST_LIFE
    client: Client | None = None


# --- configuration ---------------------------------------------------------------------------------------


def read_issuers(path: Path) -> tuple[Issuer, ...]:
    """The issuers a JSON file configures.

    `{"issuers": [{"issuer": URL, "audience": TEXT, "algorithms": ["ES256"], "jwks_url": URL}]}`; instead of
    `jwks_url` a key set may stand under `jwks`; optional: `login_claim`, `longest_life_minutes`, and for the
    sign-in of the pages what `desk.client.read_client` reads. Unknown, repeated or missing members are
    refused, so that a slip of the pen never widens who can sign in. Raises `IssuersUnreadable`.
    """
    try:
        document = strict_json(path.read_bytes())
    except OSError as fault:
        raise IssuersUnreadable(f"The file of issuers cannot be read: {fault.strerror}.") from None
    except ValueError as fault:
        raise IssuersUnreadable(f"The file of issuers is not strict JSON: {fault}.") from None
    if not isinstance(document, dict) or set(document) != {"issuers"}:
        raise IssuersUnreadable('The file of issuers must be an object with the one member "issuers".')
    entries = document["issuers"]
    if not isinstance(entries, list) or not entries:
        raise IssuersUnreadable('"issuers" must be a list with at least one issuer.')
    return checked(_issuer(entry, f"issuers[{number}]", path.parent) for number, entry in enumerate(entries))


def checked(issuers: Iterable[Issuer]) -> tuple[Issuer, ...]:
    """The same issuers, if each stands there once; else `IssuersUnreadable`."""
    found = tuple(issuers)
    for number, one in enumerate(found):
        if any(one.url == other.url for other in found[:number]):
            raise IssuersUnreadable(f"The issuer {one.url} stands in the list twice.")
    return found


def _issuer(entry: object, where: str, folder: Path) -> Issuer:
    needed = {"issuer", "audience", "algorithms"}
    allowed = needed | {"jwks_url", "jwks", "login_claim", "longest_life_minutes"} | MEMBERS
    if not isinstance(entry, dict):
        raise IssuersUnreadable(f"{where} must be an object.")
    if unknown := sorted(set(entry) - allowed):
        raise IssuersUnreadable(f"{where} has members that are not known: {', '.join(unknown)}.")
    if missing := sorted(needed - set(entry)):
        raise IssuersUnreadable(f"{where} lacks {', '.join(missing)}.")
    if ("jwks_url" in entry) == ("jwks" in entry):
        raise IssuersUnreadable(f'{where} needs either "jwks_url" or "jwks".')
    algorithms = entry["algorithms"]
    if not isinstance(algorithms, list) or not algorithms or any(a not in list(KEY_TYPE) for a in algorithms):
        raise IssuersUnreadable(f"{where}.algorithms must be a list of {' or '.join(KEY_TYPE)}.")
    minutes = entry.get("longest_life_minutes", LONGEST_LIFE // timedelta(minutes=1))
    if type(minutes) is not int or not 1 <= minutes <= 24 * 60:
        raise IssuersUnreadable(f"{where}.longest_life_minutes must be a whole number from 1 to 1440.")
    try:
        client = read_client(entry, where, folder)
    except ValueError as fault:
        raise IssuersUnreadable(str(fault)) from None
    return Issuer(
        url=_address(entry["issuer"], f"{where}.issuer"),
        audience=_text(entry["audience"], f"{where}.audience"),
        algorithms=frozenset(algorithms),
        jwks_url=_address(entry["jwks_url"], f"{where}.jwks_url") if "jwks_url" in entry else None,
        jwks=_inline_keys(entry["jwks"], f"{where}.jwks") if "jwks" in entry else None,
        login_claim=_text(entry.get("login_claim", "sub"), f"{where}.login_claim"),
        longest_life=timedelta(minutes=minutes),
        client=client,
    )


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not is_name(value):
        raise IssuersUnreadable(f"{where} must be a text of 1 to {LONGEST_NAME} characters.")
    return value


def _address(value: object, where: str) -> str:
    address = _text(value, where)
    if not is_acceptable(address):
        raise IssuersUnreadable(f"{where} must be an https address (http only on this machine's loopback).")
    return address


def is_acceptable(address: str) -> bool:
    """Whether an address may be asked, or a person sent there: https, or http on this machine's loopback."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    secure = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))
    return secure and bool(parts.hostname) and parts.username is None and "#" not in address


def _is_loopback(host: str | None) -> bool:
    return host in {"127.0.0.1", "::1", "localhost"}


def _inline_keys(document: object, where: str) -> tuple[PublicKey, ...]:
    """Keys written into the configuration: here an unusable key is a mistake to tell, not to skip."""
    try:
        entries = _key_entries(document)
        return tuple(_public_key(entry) for entry in entries)
    except ValueError as fault:
        raise IssuersUnreadable(f"{where}: {fault}.") from None


# --- keys --------------------------------------------------------------------------------------------------


def read_jwks(document: object) -> tuple[PublicKey, ...]:
    """The usable signature keys of a key set (RFC 7517, section 5); keys for other purposes are left out.

    A set without a usable key is a valid answer: the issuer trusts none. `ValueError` when it is no key set.
    """
    keys = []
    for entry in _key_entries(document):
        try:
            keys.append(_public_key(entry))
        except ValueError as fault:
            _log.debug("a key of a key set is left out: %s", fault)
    return tuple(keys)


def _key_entries(document: object) -> list[object]:
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError('a key set is an object with a list "keys"')
    entries: list[object] = document["keys"]
    if len(entries) > MOST_KEYS:
        raise ValueError(f"a key set has at most {MOST_KEYS} keys")
    return entries


def _public_key(entry: object) -> PublicKey:
    """One key from its public members; `ValueError` says why it is of no use."""
    if not isinstance(entry, dict):
        raise ValueError("a key is an object")
    kid, kty = entry.get("kid"), entry.get("kty")
    if not isinstance(kid, str) or not is_name(kid):
        raise ValueError('a key needs a "kid"')
    algorithm = next((a for a, key_type in KEY_TYPE.items() if key_type == kty), None)
    if algorithm is None or not isinstance(kty, str):
        raise ValueError(f"a key's type is {' or '.join(KEY_TYPE.values())}")
    if PRIVATE_MEMBERS & set(entry):
        raise ValueError("a key with its private half in public is nobody's key")
    if entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm:
        raise ValueError("the key is meant for another use or algorithm")
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("the key is not meant for verifying")
    members = tuple(entry.get(name) for name in PUBLIC_MEMBERS[kty])
    if not all(isinstance(m, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,2048}", m) for m in members):
        raise ValueError("a public member of the key is missing or malformed")
    if kty == "EC" and members[0] != "P-256":
        raise ValueError("an EC key is on P-256")
    try:
        public = {"kty": kty, **dict(zip(PUBLIC_MEMBERS[kty], members, strict=True))}
        verifier = jwk.construct(public, algorithm)
    except (JOSEError, ValueError, TypeError, KeyError):
        raise ValueError("the public members do not make a key") from None
    if kty == "RSA":
        numbers = verifier.prepared_key.public_numbers()
        if not SMALLEST_RSA <= numbers.n.bit_length() <= LARGEST_RSA or not 65537 <= numbers.e < 2**32:
            raise ValueError(f"an RSA key has at least {SMALLEST_RSA} bits and a usual exponent")
    return PublicKey(kid=kid, algorithm=algorithm, members=tuple(map(str, members)), verifier=verifier)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Keys come from the configured address or not at all."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def fetch(address: str, form: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes at a configured address; with a `form`, what it answers to that (POST).

    Runs in a thread. `OSError` or `ValueError` when there are none.
    """
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if _is_loopback(urlsplit(address).hostname):
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


def strict_json(text: bytes) -> object:
    """JSON (RFC 8259) in UTF-8 without repeated members, NaN or Infinity; `ValueError` otherwise."""

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("a member stands in an object twice")
        return dict(pairs)

    def constant(_: str) -> object:
        raise ValueError("NaN and Infinity are no JSON")

    try:
        found: object = json.loads(text.decode("utf-8"), object_pairs_hook=members, parse_constant=constant)
    except RecursionError:
        raise ValueError("the text is nested too deeply") from None
    return found


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
    )
    if not holds:
        raise TokenRefused(Why.CLAIMS)


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
