"""What a provider says of itself, and how the service is registered there."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from custody.permission import PERMISSIONS
from desk import edge
from desk.client import Client
from desk.pending import browser_cookie, browser_value, challenge_of
from desk.provider import Provider, ProviderAway, Reason, SignInRefused, read_metadata
from desk.token import Issuer, IssuersUnreadable, KeyRing, read_issuers
from tests.desk.hostile import NOW, configured
from tests.desk.provider.real import SECRET, client_key_pem, kept

pytestmark = pytest.mark.anyio

ISSUER = "https://sign-in.hospital.example"
DESCRIPTION = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": f"{ISSUER}/token",
    "end_session_endpoint": f"{ISSUER}/end",
    "code_challenge_methods_supported": ["S256"],
    "authorization_response_iss_parameter_supported": True,
}


def test_the_challenge_is_that_of_the_standard() -> None:
    # RFC 7636, appendix B
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_what_a_provider_says_of_itself_is_read() -> None:
    known = read_metadata(DESCRIPTION, ISSUER)
    assert known.token_endpoint == f"{ISSUER}/token"
    assert known.names_itself
    assert known.basic


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": ISSUER + "/"},
        {"issuer": "https://attacker.example"},
        {"authorization_endpoint": "http://sign-in.hospital.example/auth"},
        {"token_endpoint": "http://127.0.0.1/token"},
        {"token_endpoint": None},
        {"end_session_endpoint": "javascript:alert(1)"},
        {"code_challenge_methods_supported": ["plain"]},
        {"code_challenge_methods_supported": "S256"},
    ],
)
def test_a_description_that_could_lead_elsewhere_is_not_used(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"description|provider"):
        read_metadata(DESCRIPTION | changed, ISSUER)
    with pytest.raises(ValueError, match="not of this issuer"):
        read_metadata([DESCRIPTION], ISSUER)


def provider(**changes: Any) -> Provider:
    hospital, _ = configured()
    made = Provider(
        KeyRing(hospital), Client(id="custody", name="Hospital", secret=SECRET), "https://custody.example"
    )
    made._known, made._read_at = read_metadata(DESCRIPTION | changes, ISSUER), NOW
    return made


async def test_a_person_is_sent_with_everything_that_ties_the_answer_to_this_sign_in() -> None:
    address = urlsplit(await provider().asks(NOW, state="s", nonce="n", verifier="v" * 43, again=False))
    asked = {name: values[0] for name, values in parse_qs(address.query).items()}
    assert address.geturl().startswith(f"{ISSUER}/auth?")
    assert asked == {
        "response_type": "code",
        "client_id": "custody",
        "redirect_uri": provider().redirect_uri,
        "scope": "openid",
        "state": "s",
        "nonce": "n",
        "code_challenge": challenge_of("v" * 43),
        "code_challenge_method": "S256",
        "max_age": "43200",
    }
    again = parse_qs(await provider().asks(NOW, state="s", nonce="n", verifier="v" * 43, again=True))
    assert (again["max_age"], again["prompt"]) == (["900"], ["login"])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"code": "c"}, Reason.OTHER_PROVIDER),
        ({"code": "c", "iss": "https://attacker.example"}, Reason.OTHER_PROVIDER),
        ({"error": "access_denied", "iss": "https://attacker.example"}, Reason.OTHER_PROVIDER),
        ({"error": "access_denied", "iss": ISSUER}, Reason.REFUSED),
        ({"error": "x", "code": "c", "iss": ISSUER}, Reason.REFUSED),
        ({"iss": ISSUER}, Reason.NO_CODE),
        ({"code": "a b", "iss": ISSUER}, Reason.NO_CODE),
        ({"code": "c" * 2001, "iss": ISSUER}, Reason.NO_CODE),
    ],
)
async def test_an_answer_that_is_not_this_providers_code_is_refused(
    answer: dict[str, str], reason: Reason
) -> None:
    with pytest.raises(SignInRefused) as refused:
        await provider().code_in(answer, NOW)
    assert refused.value.reason is reason


async def test_a_provider_that_does_not_name_itself_may_stay_silent_but_not_name_another() -> None:
    silent = provider(authorization_response_iss_parameter_supported=False)
    assert await silent.code_in({"code": "c"}, NOW) == "c"
    with pytest.raises(SignInRefused):
        await silent.code_in({"code": "c", "iss": "https://attacker.example"}, NOW)


async def test_a_description_outlives_a_provider_that_is_down_for_a_day() -> None:
    away = "http://127.0.0.1:9"  # discard: nobody listens
    issuer = Issuer(url=away, audience="a", algorithms=frozenset({"ES256"}), jwks=())
    made = Provider(KeyRing(issuer), Client(id="c", name="C", secret=SECRET), "https://custody.example")
    with pytest.raises(ProviderAway):
        await made.metadata(NOW)
    made._known, made._read_at = read_metadata(DESCRIPTION, ISSUER), NOW
    assert await made.metadata(NOW + timedelta(hours=23)) is made._known
    with pytest.raises(ProviderAway):
        await made.metadata(NOW + timedelta(hours=25))


def test_the_browsers_cookie_is_bound_to_this_host_and_a_planted_value_is_not_kept() -> None:
    cookie = browser_cookie("v", https=True)
    assert cookie == "__Host-custody-sign-in=v; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"
    assert len(browser_value(None)) == 43
    assert browser_value("planted") != "planted"
    assert browser_value("A" * 43) == "A" * 43


def test_what_asks_for_a_recent_sign_in_are_actions_that_exist() -> None:
    for action, functions in edge.RECENT_FOR.items():
        assert functions is None or functions <= set(PERMISSIONS[action])


# --- the configuration ------------------------------------------------------------------------------------

ENTRY = {
    "issuer": ISSUER,
    "audience": "https://api.custody.example",
    "algorithms": ["ES256"],
    "jwks_url": f"{ISSUER}/jwks",
    "organisations": ["zsg-sterrenberg"],
}
PAGES = {"client_id": "custody", "client_name": "Hospital", "client_secret_file": "secret"}


def configuration(folder: Path, **entry: Any) -> Path:
    path = folder / "issuers.json"
    path.write_text(json.dumps({"issuers": [{n: v for n, v in entry.items() if v is not None}]}))
    return path


def test_the_service_is_registered_with_a_secret_or_with_a_key(tmp_path: Path) -> None:
    kept(tmp_path / "secret", SECRET + "\n")
    kept(tmp_path / "key", client_key_pem())
    (one,) = read_issuers(configuration(tmp_path, **ENTRY, **PAGES, scopes=["openid", "profile"]))
    assert one.client is not None
    assert (one.client.secret, one.client.scopes) == (SECRET, ("openid", "profile"))
    assert SECRET not in repr(one)
    by_key = PAGES | {"client_secret_file": None, "client_key_file": "key", "client_key_id": "k"}
    (one,) = read_issuers(configuration(tmp_path, **ENTRY, **by_key))
    assert one.client is not None
    assert one.client.key is not None
    assert one.client.key.algorithm == "ES256"
    assert "PRIVATE" not in repr(one)
    (one,) = read_issuers(configuration(tmp_path, **ENTRY))
    assert one.client is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"client_id": None}, "lacks client_id"),
        ({"client_name": None}, "lacks client_name"),
        ({"client_secret_file": None}, "either"),
        ({"client_key_file": "key", "client_key_id": "k"}, "either"),
        ({"client_key_id": "k"}, "only then"),
        ({"client_secret_file": "nowhere"}, "cannot be read"),
        ({"client_secret_file": "open"}, "0600"),
        ({"client_secret_file": "short"}, "at least 16"),
        ({"client_secret_file": None, "client_key_file": "secret", "client_key_id": "k"}, "private key"),
        ({"client_secret_file": None, "client_key_file": "key"}, "client_key_id"),
        ({"scopes": ["profile"]}, "openid"),
        ({"scopes": ["openid profile"]}, "openid"),
        ({"scopes": "openid"}, "openid"),
        ({"client_secret": "in clear"}, "not known"),
        ({"client_name": ""}, "client_name"),
    ],
)
def test_a_slip_in_the_registration_is_told(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    kept(tmp_path / "secret", SECRET)
    kept(tmp_path / "short", "brief")
    kept(tmp_path / "key", client_key_pem())
    kept(tmp_path / "open", SECRET).chmod(0o644)
    with pytest.raises(IssuersUnreadable, match=said) as refused:
        read_issuers(configuration(tmp_path, **(ENTRY | PAGES | changes)))
    assert SECRET not in str(refused.value)
