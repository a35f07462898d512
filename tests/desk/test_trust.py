"""For whom an issuer speaks, how strong a sign-in must be, and what is answered to every hostile token."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from custody.people import Function
from desk.service import new_number
from desk.trust import FunctionClaim, Issuer, IssuersUnreadable, read_issuers
from tests.conftest import Database
from tests.custody.story import CENTRE, ZONE
from tests.desk.conftest import Desk, _people, running, settings_for
from tests.desk.hostile import (
    AUDIENCE,
    HOSTILE,
    ISSUER,
    NOW,
    OTHER,
    at,
    claims,
    ec_key,
    es,
    header,
    key_set,
    public_jwk,
    signed,
)

CLOCK_STANDS = """
SET custody.maintenance = 'on';
CREATE OR REPLACE FUNCTION custody.clock() RETURNS timestamptz
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
AS $$ SELECT timestamptz '{now}' $$;
"""
NOT_CARRIED = frozenset({"nothing", "a space behind", "a line break behind"})
"""HTTP takes a blank behind a header away, and has no line break in one: none of them reaches us so."""


# --- the configuration ------------------------------------------------------------------------------------


def entry(**changes: Any) -> dict[str, Any]:
    whole = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "algorithms": ["ES256"],
        "jwks_url": f"{ISSUER}/jwks",
        "organisations": [CENTRE],
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


def read(folder: Path, **changes: Any) -> Issuer:
    path = folder / "issuers.json"
    path.write_text(json.dumps({"issuers": [entry(**changes)]}))
    (one,) = read_issuers(path)
    return one


def test_an_issuer_speaks_for_its_organisations_and_for_nobody_elses_people(tmp_path: Path) -> None:
    hospital = read(tmp_path)
    assert hospital.vouches_for(Function.NURSE, CENTRE, frozenset())
    assert not hospital.vouches_for(Function.OFFICER, ZONE, frozenset({"officer"}))
    nobody = Issuer(url=ISSUER, audience=AUDIENCE, algorithms=frozenset({"ES256"}), jwks=())
    assert not nobody.vouches_for(Function.NURSE, CENTRE, frozenset())


def test_where_the_configuration_maps_functions_register_and_provider_must_agree(tmp_path: Path) -> None:
    mapped = {"claim": "roles", "values": {"zsg-vpk": "nurse", "zsg-coo": "coordinator"}}
    hospital = read(tmp_path, functions=mapped)
    assert hospital.functions == FunctionClaim(
        claim="roles", values={"zsg-vpk": Function.NURSE, "zsg-coo": Function.COORDINATOR}
    )
    assert hospital.vouches_for(Function.NURSE, CENTRE, frozenset({"zsg-vpk", "canteen"}))
    assert not hospital.vouches_for(Function.COORDINATOR, CENTRE, frozenset({"zsg-vpk"}))
    assert not hospital.vouches_for(Function.NURSE, CENTRE, frozenset({"nurse"}))
    assert not hospital.vouches_for(Function.NURSE, CENTRE, frozenset())


def test_without_a_list_every_strength_suffices_and_with_one_those_of_the_list(tmp_path: Path) -> None:
    assert read(tmp_path).is_strong(None)
    strict = read(tmp_path, strong_acr=["urn:invented:two-factors", "eidas-high"])
    assert strict.is_strong("eidas-high")
    assert not strict.is_strong("password")
    assert not strict.is_strong(None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"organisations": None}, "lacks organisations"),
        ({"organisations": []}, "organisations must be a list"),
        ({"organisations": CENTRE}, "organisations must be a list"),
        ({"organisations": [CENTRE, CENTRE]}, "each once"),
        ({"organisations": ["*"]}, "organisations must be a list"),
        ({"organisations": [1]}, "organisations must be a list"),
        ({"strong_acr": []}, "strong_acr must be a list"),
        ({"strong_acr": ["two factors"]}, "without blanks"),
        ({"strong_acr": ['"']}, "without blanks"),
        ({"functions": {"claim": "roles"}}, '"claim" and "values"'),
        ({"functions": {"claim": "roles", "values": {}}}, "1 to 50"),
        ({"functions": {"claim": "", "values": {"a": "nurse"}}}, "claim must be a text"),
        ({"functions": {"claim": "roles", "values": {"a": "victim"}}}, "victim is no function"),
        ({"functions": {"claim": "roles", "values": {"a": ["nurse"]}}}, "is no function"),
        ({"functions": {"claim": "roles", "values": {"a": "nurse"}, "else": 1}}, '"claim" and "values"'),
    ],
)
def test_a_slip_of_the_pen_never_widens_who_signs_in(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(IssuersUnreadable, match=said):
        read(tmp_path, **changes)


# --- over HTTP --------------------------------------------------------------------------------------------


@pytest.fixture
def desk(database: Database, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """A service without demo whose hospital and police have an issuer each; time stands still."""
    hospital = entry(jwks_url=None, jwks=None, algorithms=["RS256", "ES256"])
    good = [key for key in key_set()["keys"] if isinstance(key, dict) and key["kid"] in ("rsa-1", "ec-1")]
    hospital |= {"jwks": {"keys": good}} | getattr(request, "param", {})
    police = entry(issuer=OTHER, jwks_url=None, organisations=[ZONE])
    police |= {"jwks": {"keys": [public_jwk(ec_key("police"), "police-1")]}}
    path = tmp_path / "issuers.json"
    path.write_text(json.dumps({"issuers": [hospital, police]}))
    listening = socket.create_server(("127.0.0.1", 0))
    base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    settings = settings_for(database, tmp_path, base_url, demo=False, issuers=path)
    with running(settings, database, listening) as made:
        asyncio.run(_people(database))
        for id_, issuer, login, organisation, function in (
            ("wanda", ISSUER, "nurse-17", CENTRE, "nurse"),
            ("kaat", ISSUER, "kaat", CENTRE, "coordinator"),
            ("otto", OTHER, "otto", ZONE, "officer"),
            # Whatever login the hospital gives to whom: it does not speak for the police.
            ("mole", ISSUER, "mole", ZONE, "officer"),
        ):
            made.record("person.registered", f"person:{id_}", id=id_, name=id_, issuer=issuer, login=login)
            told = {"id": id_, "organisation": organisation, "function": function, "from": "2020-01-01"}
            made.record("person.appointed", f"person:{id_}", **told)
        with database.connect("superuser") as connection:
            connection.execute(CLOCK_STANDS.format(now=NOW.isoformat()))
        yield made


def me(desk: Desk, token: str | bytes) -> httpx.Response:
    sent = token if isinstance(token, bytes) else token.encode("utf-8", "surrogatepass")
    with httpx.Client(base_url=desk.base_url, timeout=30) as client:
        return client.get("/api/me", headers=[(b"authorization", b"Bearer " + sent)])


def police_token(login: str) -> str:
    return signed(header(kid="police-1"), claims(iss=OTHER, sub=login), ec_key("police"))


def test_each_issuer_signs_in_its_own_organisations_people(desk: Desk) -> None:
    assert me(desk, es()).json()["function"] == "nurse"
    assert me(desk, police_token("otto")).json()["function"] == "officer"
    refused = me(desk, es(c=claims(sub="mole")))
    assert refused.status_code == 403
    assert "You hold no function here today." in refused.json()["detail"]


def test_a_token_that_the_hospital_gave_a_police_officer_opens_no_session_either(desk: Desk) -> None:
    token = es(c=claims(sub="mole"))
    answer = desk.client(authorization=f"Bearer {token}").post("/session")
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_every_hostile_token_is_answered_with_the_same_bytes(desk: Desk) -> None:
    told = set()
    for sentence in sorted(set(HOSTILE) - NOT_CARRIED):
        answer = me(desk, HOSTILE[sentence][1]())
        reference = answer.headers["custody-reference"]
        headers = {
            name: value
            for name, value in answer.headers.items()
            if name not in ("custody-reference", "date", "server")
        }
        assert reference in answer.text, sentence
        body = answer.text.replace(reference, "REFERENCE")
        told.add((answer.status_code, body, tuple(sorted(headers.items()))))
        assert len(told) == 1, sentence
    ((status, body, kept),) = told
    assert status == 401
    assert json.loads(body)["type"].endswith("/problems/not-signed-in")
    assert dict(kept)["www-authenticate"] == 'Bearer realm="custody"'
    assert len(set(HOSTILE) - NOT_CARRIED) >= 40


MAPPED = {"functions": {"claim": "roles", "values": {"zsg-vpk": "nurse"}}}


@pytest.mark.parametrize("desk", [MAPPED], indirect=True)
def test_a_function_that_the_provider_does_not_confirm_is_not_held_today(desk: Desk) -> None:
    for roles in ("zsg-vpk", ["canteen", "zsg-vpk"]):
        assert me(desk, es(c=claims(roles=roles))).json()["function"] == "nurse"
    for lacking in (None, "canteen", ["nurse"], []):
        assert me(desk, es(c=claims(roles=lacking))).status_code == 403
    for malformed in ({"zsg-vpk": True}, ["zsg-vpk", 1], 7):
        assert me(desk, es(c=claims(roles=malformed))).status_code == 401


STRONG = {"strong_acr": ["urn:invented:two-factors", "eidas-high"]}


def bundle(desk: Desk, **said: Any) -> httpx.Response:
    token = es(c=claims(sub="kaat", **said))
    client = desk.client(authorization=f"Bearer {token}")
    return client.get(f"/api/kits/{new_number()}/bundle", params={"purpose": "task"})


@pytest.mark.parametrize("desk", [STRONG], indirect=True)
def test_what_cannot_be_undone_asks_for_a_recent_sign_in_of_a_named_strength(desk: Desk) -> None:
    just, earlier = at(NOW) - 60, at(NOW) - 901
    assert bundle(desk, auth_time=just, acr="eidas-high").status_code == 404, "only the kit is missing"
    for said in (
        {"auth_time": just, "acr": "password"},
        {"auth_time": just},
        {"auth_time": earlier, "acr": "eidas-high"},
        {"acr": "eidas-high"},
    ):
        answer = bundle(desk, **said)
        assert answer.status_code == 401
        told = answer.headers["www-authenticate"]
        assert 'error="insufficient_user_authentication"' in told
        assert "max_age=900" in told
        assert 'acr_values="urn:invented:two-factors eidas-high"' in told
    assert me(desk, es(c=claims(acr="password"))).status_code == 200, "everything else asks for no strength"


def test_where_no_strength_is_named_only_the_time_counts(desk: Desk) -> None:
    assert bundle(desk, auth_time=at(NOW) - 60).status_code == 404
    answer = bundle(desk, auth_time=at(NOW) - 901)
    assert answer.status_code == 401
    assert "acr_values" not in answer.headers["www-authenticate"]


def test_a_session_ends_when_its_issuer_no_longer_speaks_for_the_organisation(desk: Desk) -> None:
    client = desk.client(authorization=f"Bearer {es()}")
    cookie = client.post("/session").headers["set-cookie"].partition(";")[0]
    signed_in = desk.client(cookie=cookie)
    assert signed_in.get("/api/me").status_code == 200
    issuer = desk.service.verifier.issuer(ISSUER)
    assert issuer is not None
    object.__setattr__(issuer, "organisations", frozenset({"zsg-elders"}))
    assert signed_in.get("/api/me").status_code == 401
