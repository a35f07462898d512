"""The identity token of a sign-in to the pages: good ones, and every hostile one we know of."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from jose import jwt

from desk.client import Client
from desk.id_token import verify_id_token
from desk.token import SKEW, Identity, KeyRing, TokenRefused, Verifier, Why
from tests.desk import hostile as made
from tests.desk.hostile import AUDIENCE, HOSTILE, ISSUER, NOW, OTHER, at, configured, header, seconds

pytestmark = pytest.mark.anyio

CLIENT = "custody-pages"
NONCE = "n" * 43
ACCESS_TOKEN = "an invented access token"
BEGAN = NOW - timedelta(minutes=2)


def claims(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "aud": CLIENT,
        "nonce": NONCE,
        "auth_time": at(NOW) - 60,
        "client_id": None,
        "jti": None,
    } | changes
    return made.claims(**given)


def es(h: dict[str, Any] | None = None, key: str = "good", **changes: Any) -> str:
    return made.es(h or header(typ="JWT"), claims(**changes), key)


def rs(**changes: Any) -> str:
    return made.rs(header(typ="JWT", alg="RS256", kid="rsa-1"), claims(**changes))


def ring() -> KeyRing:
    hospital, _ = configured()
    return KeyRing(replace(hospital, client=Client(id=CLIENT, name="Hospital", secret="x" * 32)))


async def verified(token: str, keys: KeyRing | None = None) -> Identity:
    return await verify_id_token(
        token, keys or ring(), access_token=ACCESS_TOKEN, nonce=NONCE, since=BEGAN, at=NOW
    )


def hash_of(token: str) -> str:
    half = hashlib.sha256(token.encode()).digest()[:16]
    return base64.urlsafe_b64encode(half).rstrip(b"=").decode()


@pytest.mark.parametrize("make", [es, rs], ids=["ES256", "RS256"])
async def test_a_good_identity_token_says_who_signed_in_and_when(make: Callable[..., str]) -> None:
    identity = await verified(make(acr="high", at_hash=hash_of(ACCESS_TOKEN), azp=CLIENT))
    assert (identity.issuer, identity.login, identity.acr) == (ISSUER, "nurse-17", "high")
    assert identity.signed_in_at == NOW.replace(microsecond=0) - timedelta(seconds=60)


@pytest.mark.parametrize("accepted", [{"aud": [CLIENT]}, {"at_hash": None}, {"iat": at(NOW) - 100}])
async def test_what_a_provider_may_do_otherwise_is_accepted(accepted: dict[str, Any]) -> None:
    assert (await verified(es(**accepted))).login == "nurse-17"


async def test_a_type_may_be_missing_in_an_identity_token() -> None:
    assert (await verified(es(header(typ=None)))).login == "nurse-17"


HOSTILE_HERE: dict[str, tuple[Why, Callable[[], str]]] = {
    "an access token": (Why.NOT_ACCESS, made.es),
    "an access token with everything of an identity token": (Why.NOT_ACCESS, lambda: es(header())),
    "an access token's type, written in full": (
        Why.NOT_ACCESS,
        lambda: es(header(typ="application/at+jwt")),
    ),
    "a log-out token": (Why.NOT_ACCESS, lambda: es(header(typ="logout+jwt"))),
    "the nonce of another sign-in": (Why.NONCE, lambda: es(nonce="m" * 43)),
    "no nonce": (Why.NONCE, lambda: es(nonce=None)),
    "a nonce that is a list": (Why.NONCE, lambda: es(nonce=[NONCE])),
    "half of a nonce": (Why.NONCE, lambda: es(nonce=NONCE[:20])),
    "a nonce that is no text": (Why.NONCE, lambda: es(nonce="\ud800")),
    "the audience of the API": (Why.CLIENT, lambda: es(aud=AUDIENCE)),
    "another client": (Why.CLIENT, lambda: es(aud="canteen")),
    "another client beside ours": (Why.CLIENT, lambda: es(aud=[CLIENT, "canteen"])),
    "another client beside ours, for us": (Why.CLIENT, lambda: es(aud=[CLIENT, "canteen"], azp=CLIENT)),
    "our client twice": (Why.CLIENT, lambda: es(aud=[CLIENT, CLIENT])),
    "ours, but made for another": (Why.CLIENT, lambda: es(azp="canteen")),
    "a party that is a list": (Why.CLIENT, lambda: es(azp=[CLIENT])),
    "a longer client": (Why.CLIENT, lambda: es(aud=CLIENT + "-2")),
    "no audience": (Why.CLAIMS, lambda: es(aud=None)),
    "no time of the proof": (Why.CLAIMS, lambda: es(auth_time=None)),
    "a time of the proof in words": (Why.CLAIMS, lambda: es(auth_time="now")),
    "no end": (Why.CLAIMS, lambda: es(exp=None)),
    "no issue": (Why.CLAIMS, lambda: es(iat=None)),
    "no subject": (Why.CLAIMS, lambda: es(sub=None)),
    "a hash of no text": (Why.CLAIMS, lambda: es(at_hash=1)),
    "a hash of another access token": (Why.SIGNATURE, lambda: es(at_hash=hash_of("another"))),
    "an empty hash of the access token": (Why.SIGNATURE, lambda: es(at_hash="")),
    "the other provider": (Why.ISSUER, lambda: es(iss=OTHER)),
    "the other provider, with its own key": (
        Why.ISSUER,
        lambda: es(header(typ="JWT", kid="police-1"), "police", iss=OTHER),
    ),
    "the other provider's key under our name": (
        Why.NO_KEY,
        lambda: es(header(typ="JWT", kid="police-1"), "police"),
    ),
    "a token from before this sign-in": (
        Why.EARLIER,
        lambda: es(iat=at(BEGAN) - seconds(SKEW) - 1),
    ),
    "a token that has ended": (Why.EXPIRED, lambda: es(exp=at(NOW) - seconds(SKEW))),
    "a proof in the future": (Why.EARLY, lambda: es(auth_time=at(NOW) + seconds(SKEW) + 1)),
    "a token for a day": (Why.LIFE, lambda: es(exp=at(NOW) + 86400)),
    "the attacker's signature": (Why.SIGNATURE, lambda: es(key="attacker")),
    "no signature": (
        Why.FORM,
        lambda: es(header(typ="JWT", alg="none")).rpartition(".")[0] + ".",
    ),
    "no algorithm": (Why.ALGORITHM, lambda: es(header(typ="JWT", alg="none"))),
    "the client's secret as a key": (
        Why.ALGORITHM,
        lambda: jwt.encode(claims(), "x" * 32, algorithm="HS256", headers={"kid": "ec-1"}),
    ),
}


@pytest.mark.parametrize("sentence", HOSTILE_HERE)
async def test_a_hostile_identity_token_is_refused(sentence: str) -> None:
    why, make = HOSTILE_HERE[sentence]
    with pytest.raises(TokenRefused) as refused:
        await verified(make())
    assert str(refused.value) == TokenRefused.MESSAGE
    assert refused.value.why is why
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("sentence", HOSTILE)
async def test_what_is_hostile_as_an_access_token_is_hostile_here_too(sentence: str) -> None:
    with pytest.raises(TokenRefused):
        await verified(HOSTILE[sentence][1]())


async def test_an_identity_token_opens_no_api() -> None:
    for token in (es(), es(aud=AUDIENCE), es(header(typ=None), aud=AUDIENCE)):
        with pytest.raises(TokenRefused):
            await Verifier(configured()).verify(token, NOW)


async def test_there_is_no_sign_in_where_the_service_is_no_client() -> None:
    hospital, _ = configured()
    with pytest.raises(TokenRefused):
        await verified(es(), KeyRing(hospital))
