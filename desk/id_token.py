"""Verification of the identity token that a provider gives for a sign-in to the pages (OpenID Connect Core
1.0, section 3.1.3.7), by the same rules and the same keys as access tokens (`desk.token`), and besides:

- `typ` is `JWT` or absent: an access token signs nobody in to the pages, and an identity token opens no API;
- `iss` is the provider that was asked, whoever else is configured;
- `aud` is our client and nobody else; `azp`, where there is one, too;
- `nonce` is that of this browser's sign-in, `at_hash`, where there is one, that of the token beside it;
- the token was issued after the sign-in began, and `auth_time` says when the person proved who they are.
"""

import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from desk.token import (
    SKEW,
    Identity,
    KeyRing,
    TokenRefused,
    Why,
    asked_for,
    check_claims,
    check_times,
    identity_in,
    is_formed,
    opened,
    proved,
)

ID_TOKEN_TYPES: Final = ("JWT", "jwt", None)


async def verify_id_token(
    token: str, ring: KeyRing, *, access_token: str, nonce: str, since: datetime, at: datetime
) -> Identity:
    """Whom an identity token speaks of, for the client of `ring`'s issuer.

    `since` is when the sign-in began, `at` the time now. Raises `TokenRefused`, nothing else.
    """
    issuer = ring.issuer
    if issuer.client is None:
        raise TokenRefused(Why.ISSUER)
    if not is_formed(token):
        raise TokenRefused(Why.FORM)
    header, claims = opened(token)
    algorithm, kid = asked_for(header, ID_TOKEN_TYPES)
    if claims.get("iss") != issuer.url:
        raise TokenRefused(Why.ISSUER)
    if algorithm not in issuer.algorithms:
        raise TokenRefused(Why.ALGORITHM)
    check_claims(claims, issuer)
    _check_client(claims, issuer.client.id)
    key = await ring.key(kid, algorithm, at)
    sure = proved(token, key, issuer, issuer.client.id, access_token)
    given = sure.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(
        given.encode("utf-8", "replace"), nonce.encode()
    ):
        raise TokenRefused(Why.NONCE)
    identity = identity_in(sure, issuer)
    check_times(sure, identity, issuer, at)
    if identity.signed_in_at is None:
        raise TokenRefused(Why.CLAIMS)
    if identity.issued_at < since - SKEW:
        raise TokenRefused(Why.EARLIER)
    return identity


def _check_client(claims: Mapping[str, Any], client: str) -> None:
    """The token is for our client alone: one that others may hold too could have come from them."""
    audience = claims["aud"]
    if audience not in (client, [client]) or claims.get("azp", client) != client:
        raise TokenRefused(Why.CLIENT)
    if not isinstance(claims.get("at_hash", ""), str):
        raise TokenRefused(Why.CLAIMS)
