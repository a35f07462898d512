"""Who is trusted to sign people in: the file of issuers, and the demo's own issuer."""

import hashlib
import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from desk.issuer import LIFE, DemoRefused, LocalIssuer
from desk.token import SKEW, IssuersUnreadable, TokenRefused, Verifier, Why, read_issuers
from tests.desk.hostile import AUDIENCE, ISSUER, NOW, b64, configured, ec_key, es, public_jwk, rsa_key

pytestmark = pytest.mark.anyio


# --- configuration -----------------------------------------------------------------------------------------


def written(folder: Path, document: object) -> Path:
    path = folder / "issuers.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def entry(**changes: Any) -> dict[str, Any]:
    whole = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "algorithms": ["ES256"],
        "jwks_url": ISSUER + "/jwks",
        "organisations": ["zsg-sterrenberg"],
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


async def test_a_file_of_issuers_signs_in_whom_it_names(tmp_path: Path) -> None:
    keys = {"keys": [public_jwk(ec_key("good"), "ec-1")]}
    path = written(tmp_path, {"issuers": [entry(jwks_url=None, jwks=keys, longest_life_minutes=20)]})
    issuers = read_issuers(path)
    assert issuers[0].longest_life == timedelta(minutes=20)
    assert (await Verifier(issuers).verify(es(), NOW)).login == "nurse-17"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "not strict JSON"),
        ('{"issuers": [], "issuers": []}', "not strict JSON"),
        ([], "one member"),
        ({"issuers": []}, "at least one"),
        ({"issuers": ["x"]}, "issuers[0] must be an object"),
        ({"issuers": [entry()], "more": 1}, "one member"),
        ({"issuers": [entry(isuer="x")]}, "not known: isuer"),
        ({"issuers": [entry(audience=None)]}, "lacks audience"),
        ({"issuers": [entry(audience="")]}, "issuers[0].audience"),
        ({"issuers": [entry(jwks={"keys": []})]}, 'either "jwks_url" or "jwks"'),
        ({"issuers": [entry(jwks_url=None)]}, 'either "jwks_url" or "jwks"'),
        ({"issuers": [entry(algorithms=["HS256"])]}, "RS256 or ES256"),
        ({"issuers": [entry(algorithms=[])]}, "RS256 or ES256"),
        ({"issuers": [entry(algorithms=[["ES256"]])]}, "RS256 or ES256"),
        ({"issuers": [entry(issuer="http://sign-in.hospital.example")]}, "https address"),
        ({"issuers": [entry(jwks_url="http://127.0.0.1.attacker.example/")]}, "https address"),
        ({"issuers": [entry(jwks_url="file:///etc/passwd")]}, "https address"),
        ({"issuers": [entry(jwks_url="https://u:p@sign-in.hospital.example")]}, "https address"),
        ({"issuers": [entry(jwks_url="https://[")]}, "https address"),
        ({"issuers": [entry(longest_life_minutes=0)]}, "1 to 1440"),
        ({"issuers": [entry(longest_life_minutes=True)]}, "1 to 1440"),
        ({"issuers": [entry(), entry()]}, "twice"),
        (
            {"issuers": [entry(jwks_url=None, jwks={"keys": [public_jwk(rsa_key("weak", 1024), "w")]})]},
            "2048 bits",
        ),
    ],
)
def test_a_wrong_file_of_issuers_is_refused_with_a_sentence_that_says_where(
    tmp_path: Path, document: object, said: str
) -> None:
    with pytest.raises(IssuersUnreadable) as refused:
        read_issuers(written(tmp_path, document))
    assert said in str(refused.value)


def test_a_missing_file_of_issuers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IssuersUnreadable, match="cannot be read"):
        read_issuers(tmp_path / "none.json")


# --- the demo's issuer -------------------------------------------------------------------------------------

BASE = "http://127.0.0.1:8000"


async def test_the_demos_issuer_signs_in_an_invented_person_for_a_short_time(tmp_path: Path) -> None:
    issuer = LocalIssuer.open(demo=True, data=tmp_path, base_url=BASE)
    verifier = Verifier([issuer.trusted()])
    token = issuer.issue("nurse-demo", NOW)
    assert (await verifier.verify(token, NOW)).login == "nurse-demo"
    with pytest.raises(TokenRefused):
        await verifier.verify(token, NOW + LIFE + SKEW)


def test_without_demo_mode_there_is_no_local_issuer(tmp_path: Path) -> None:
    with pytest.raises(DemoRefused, match="not switched on"):
        LocalIssuer.open(demo=False, data=tmp_path, base_url=BASE)
    assert not list(tmp_path.iterdir())


async def test_a_service_without_the_demo_refuses_the_demos_tokens(tmp_path: Path) -> None:
    token = LocalIssuer.open(demo=True, data=tmp_path, base_url=BASE).issue("nurse-demo", NOW)
    with pytest.raises(TokenRefused) as refused:
        await Verifier(configured()).verify(token, NOW)
    assert refused.value.why is Why.ISSUER


async def test_every_process_of_the_demo_has_the_same_key_that_only_its_owner_can_read(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    issuers: list[LocalIssuer] = []
    threads = [
        threading.Thread(
            target=lambda: issuers.append(LocalIssuer.open(demo=True, data=folder, base_url=BASE))
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(issuers) == 6
    assert len({json.dumps(issuer.jwks()) for issuer in issuers}) == 1
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert await Verifier([issuers[0].trusted()]).verify(issuers[5].issue("nurse-demo", NOW), NOW)


def test_a_key_of_the_demo_that_others_can_read_is_refused(tmp_path: Path) -> None:
    LocalIssuer.open(demo=True, data=tmp_path, base_url=BASE)
    (file,) = tmp_path.iterdir()
    file.chmod(0o644)
    with pytest.raises(DemoRefused, match="others on this machine"):
        LocalIssuer.open(demo=True, data=tmp_path, base_url=BASE)
    file.chmod(0o600)
    file.write_text("no key")
    with pytest.raises(DemoRefused, match="no P-256 key"):
        LocalIssuer.open(demo=True, data=tmp_path, base_url=BASE)


def test_the_demos_key_set_holds_no_private_half(tmp_path: Path) -> None:
    (published,) = LocalIssuer.open(demo=True, data=tmp_path, base_url=BASE).jwks()["keys"]
    assert set(published) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    required = {name: published[name] for name in ("crv", "kty", "x", "y")}
    digest = hashlib.sha256(json.dumps(required, separators=(",", ":"), sort_keys=True).encode()).digest()
    assert published["kid"] == b64(digest)
