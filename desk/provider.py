"""The organisations' own sign-in providers, as the pages use them: OpenID Connect with an authorization code
(RFC 6749, section 4.1), PKCE (RFC 7636, S256) and the issuer in the answer (RFC 9207).

What the provider publishes about itself (OpenID Connect Discovery 1.0) is read over https, must name the very
issuer that is configured, and is kept like keys are: read again when old, and the last good copy outlives a
provider that does not answer. The keys come from where the configuration says, never from that document.

What a provider says about an error is neither shown nor logged: it may repeat what somebody sent.
"""

import asyncio
import hashlib
import logging
import re
import secrets
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

from jose import jwk, jwt

from desk.client import Client, ClientKey
from desk.id_token import verify_id_token
from desk.pending import challenge_of
from desk.problems import SignInTooOld
from desk.session import ABSOLUTE, Kind
from desk.token import (
    FRESH_FOR,
    LAST_GOOD_FOR,
    REFRESH_EVERY,
    SKEW,
    Identity,
    KeyRing,
    TokenRefused,
    fetch,
    is_acceptable,
    strict_json,
)

RECENT: Final = SignInTooOld.MAX_AGE
"""How old a proof may be for what cannot be undone: disposal, release, export."""
OLDEST: Final = ABSOLUTE[Kind.PERSON]
"""How old a proof at the provider may be at any sign-in. Asking for it makes `auth_time` required there."""
ASSERTION_LIFE: Final = timedelta(minutes=1)

_CODE: Final = re.compile(r"[\x21-\x7e]{1,2000}")
_log = logging.getLogger(__name__)


class Reason(StrEnum):
    """Why nobody was signed in, for the log. A closed list, so that none can carry what was sent."""

    UNKNOWN = "not begun in this browser, used before, or too old"
    OTHER_PROVIDER = "the answer is another provider's"
    REFUSED = "the provider refused"
    NO_CODE = "the answer has no code"
    EXCHANGE = "the code was not taken"
    OLD_PROOF = "a recent proof was asked for and not given"
    WEAK = "a strong proof was asked for and not given"
    NOBODY = "the person holds no function here"


class SignInRefused(Exception):
    """Nobody was signed in. The outside is always told the same; `reason` is for the log."""

    def __init__(self, reason: Reason) -> None:
        super().__init__("Nobody was signed in.")
        self.reason = reason


class ProviderAway(Exception):
    """The provider cannot be reached, or what it says of itself cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What is used of a provider's description of itself (Discovery, section 3; RFC 8414; RFC 9207)."""

    authorization_endpoint: str
    token_endpoint: str
    end_session_endpoint: str | None
    names_itself: bool  # in every answer, by `iss`
    basic: bool  # takes the client's secret in the header


def read_metadata(document: object, issuer: str) -> Metadata:
    """The description of `issuer`; `ValueError` when it is another's, or cannot be used."""
    if not isinstance(document, dict) or document.get("issuer") != issuer:
        raise ValueError("the description is not of this issuer")

    def address(name: str) -> str:
        found = document.get(name)
        if not isinstance(found, str) or not is_acceptable(found):
            raise ValueError("an address in the description is missing or not https")
        if issuer.startswith("https:") and not found.startswith("https:"):
            raise ValueError("an address in the description is not https")
        return found

    if "S256" not in _words(document, "code_challenge_methods_supported", ["S256"]):
        raise ValueError("the provider does not take S256")
    methods = _words(document, "token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return Metadata(
        authorization_endpoint=address("authorization_endpoint"),
        token_endpoint=address("token_endpoint"),
        end_session_endpoint=address("end_session_endpoint") if "end_session_endpoint" in document else None,
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
        basic="client_secret_basic" in methods or "client_secret_post" not in methods,
    )


def _words(document: Mapping[str, object], name: str, otherwise: list[str]) -> list[object]:
    found = document.get(name, otherwise)
    if not isinstance(found, list):
        raise ValueError("a list in the description is none")
    return found


class Provider:
    """One provider at which people sign in to the pages. One per process; safe for concurrent requests."""

    def __init__(self, ring: KeyRing, client: Client, base_url: str) -> None:
        self.ring = ring
        self.client = client
        self.issuer = ring.issuer.url
        self.key = hashlib.sha256(self.issuer.encode()).hexdigest()[:12]
        """The provider's name in our own addresses. Each has its own address to lead back to, so that one
        provider's answer is never taken for another's (RFC 9700, section 4.4.2)."""
        self.redirect_uri = f"{base_url}/sign-in/callback/{self.key}"
        self.signed_out_uri = f"{base_url}/sign-in"
        self._known: Metadata | None = None
        self._read_at: datetime | None = None
        self._tried_at: datetime | None = None
        self._one_at_a_time = asyncio.Lock()

    async def metadata(self, at: datetime) -> Metadata:
        """What the provider says of itself, as far as it is known at `at`. Raises ProviderAway."""
        if self._known is None or self._age(at) > FRESH_FOR:
            await self._refresh(at)
        if self._known is None or self._age(at) > LAST_GOOD_FOR:
            raise ProviderAway
        return self._known

    def _age(self, at: datetime) -> timedelta:
        return timedelta.max if self._read_at is None else abs(at - self._read_at)

    async def _refresh(self, at: datetime) -> None:
        async with self._one_at_a_time:
            if self._tried_at is not None and abs(at - self._tried_at) < REFRESH_EVERY:
                return
            self._tried_at = at
            where = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
            try:
                found = read_metadata(strict_json(await asyncio.to_thread(fetch, where)), self.issuer)
            except (OSError, ValueError) as fault:
                _log.warning("provider %s cannot be read: %s", self.issuer, type(fault).__name__)
                return
            self._known, self._read_at = found, at

    async def asks(self, at: datetime, *, state: str, nonce: str, verifier: str, again: bool) -> str:
        """The address at which the person signs in; `again` asks for a new proof. Raises ProviderAway."""
        known = await self.metadata(at)
        asked = {
            "response_type": "code",
            "client_id": self.client.id,
            "redirect_uri": self.redirect_uri,
            "scope": " ".join(self.client.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
            "max_age": str(int((RECENT if again else OLDEST).total_seconds())),
        }
        if again:
            asked["prompt"] = "login"
        if again and self.ring.issuer.strong_acr:
            asked["acr_values"] = " ".join(self.ring.issuer.strong_acr)
        return _with(known.authorization_endpoint, asked)

    async def code_in(self, answer: Mapping[str, str], at: datetime) -> str:
        """The code in an answer of this provider. Raises SignInRefused, ProviderAway."""
        known = await self.metadata(at)
        if answer.get("iss", None if known.names_itself else self.issuer) != self.issuer:
            raise SignInRefused(Reason.OTHER_PROVIDER)
        if "error" in answer:
            raise SignInRefused(Reason.REFUSED)
        code = answer.get("code", "")
        if not _CODE.fullmatch(code):
            raise SignInRefused(Reason.NO_CODE)
        return code

    async def identity(
        self, code: str, *, nonce: str, verifier: str, since: datetime, again: bool, at: datetime
    ) -> Identity:
        """Who signed in, for a code that came back. Raises SignInRefused, TokenRefused, ProviderAway."""
        known = await self.metadata(at)
        form, headers = self._proving(known, at)
        form |= {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": verifier,
        }
        try:
            answered = await asyncio.to_thread(
                fetch, known.token_endpoint, urlencode(form).encode("ascii"), headers
            )
            tokens = strict_json(answered)
        except ValueError:
            raise SignInRefused(Reason.EXCHANGE) from None
        except OSError:
            raise ProviderAway from None
        access_token, id_token = _tokens(tokens)
        identity = await verify_id_token(
            id_token, self.ring, access_token=access_token, nonce=nonce, since=since, at=at
        )
        oldest = at - (RECENT if again else OLDEST) - SKEW
        if identity.authenticated_at < oldest:
            raise SignInRefused(Reason.OLD_PROOF)
        if again and not self.ring.issuer.is_strong(identity.acr):
            raise SignInRefused(Reason.WEAK)
        return identity

    def _proving(self, known: Metadata, at: datetime) -> tuple[dict[str, str], dict[str, str]]:
        """Fields and headers that prove the client (OpenID Connect Core, section 9)."""
        id_, secret = self.client.id, self.client.secret or ""
        if self.client.key is not None:
            kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            assertion = _assertion(self.client.key, id_, self.issuer, at)
            form = {"client_id": id_, "client_assertion_type": kind, "client_assertion": assertion}
            return form, {}
        if known.basic:
            pair = f"{quote_plus(id_)}:{quote_plus(secret)}"
            return {}, {"Authorization": "Basic " + b64encode(pair.encode("ascii")).decode("ascii")}
        return {"client_id": id_, "client_secret": secret}, {}

    async def signs_out(self, at: datetime) -> str | None:
        """The address at which the person signs out of the provider too (RP-Initiated Logout 1.0); None where
        the provider has none. Raises ProviderAway."""
        known = await self.metadata(at)
        if known.end_session_endpoint is None:
            return None
        asked = {"client_id": self.client.id, "post_logout_redirect_uri": self.signed_out_uri}
        return _with(known.end_session_endpoint, asked)


class Providers:
    """Every provider at which people sign in to the pages, in the order of the configuration."""

    def __init__(self, rings: Iterable[KeyRing], base_url: str) -> None:
        made = [
            Provider(ring, ring.issuer.client, base_url) for ring in rings if ring.issuer.client is not None
        ]
        self._by_key: Final = {provider.key: provider for provider in made}
        self._by_issuer: Final = {provider.issuer: provider for provider in made}

    def __iter__(self) -> Iterator[Provider]:
        return iter(self._by_key.values())

    def by_key(self, key: str | None) -> Provider | None:
        return None if key is None else self._by_key.get(key)

    def by_issuer(self, issuer: str | None) -> Provider | None:
        return None if issuer is None else self._by_issuer.get(issuer)


def log_refusal(provider: Provider, refused: SignInRefused | TokenRefused) -> None:
    """One line, with nothing in it that came from outside."""
    reason = refused.reason if isinstance(refused, SignInRefused) else refused.why
    _log.warning("a sign-in at %s was refused: %s", provider.issuer, reason)


def _tokens(answer: object) -> tuple[str, str]:
    """Access token and identity token of an answer (OpenID Connect Core, section 3.1.3.3)."""
    found: dict[str, Any] = answer if isinstance(answer, dict) else {}
    access_token, id_token, kind = (found.get(n) for n in ("access_token", "id_token", "token_type"))
    if not isinstance(access_token, str) or not access_token or not access_token.isascii():
        raise SignInRefused(Reason.EXCHANGE)
    if not isinstance(id_token, str) or not isinstance(kind, str) or kind.lower() != "bearer":
        raise SignInRefused(Reason.EXCHANGE)
    return access_token, id_token


def _assertion(key: ClientKey, client: str, issuer: str, at: datetime) -> str:
    """A short-lived statement of the client, for this provider alone (RFC 7523, section 3)."""
    issued = int(at.timestamp())
    claims = {
        "iss": client,
        "sub": client,
        "aud": issuer,
        "jti": secrets.token_urlsafe(16),
        "iat": issued,
        "exp": issued + int(ASSERTION_LIFE.total_seconds()),
    }
    made: str = jwt.encode(
        claims, jwk.construct(key.pem, key.algorithm), algorithm=key.algorithm, headers={"kid": key.id}
    )
    return made


def _with(address: str, asked: Mapping[str, str]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}"
