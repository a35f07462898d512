"""Access tokens: the good ones sign in, the hostile ones are all refused in the same words."""

import base64
import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk import token as rules
from desk.token import (
    FRESH_FOR,
    LAST_GOOD_FOR,
    REFRESH_EVERY,
    SKEW,
    Issuer,
    TokenRefused,
    Verifier,
    Why,
    read_jwks,
    strict_json,
)
from tests.desk.hostile import (
    AUDIENCE,
    HOSTILE,
    ISSUER,
    NOW,
    OTHER,
    at,
    b64,
    claims,
    configured,
    ec_key,
    es,
    header,
    key_set,
    public_jwk,
    rs,
    signed,
)

pytestmark = pytest.mark.anyio


# --- the good ones -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token",
    [
        es(),
        rs(),
        es(header(kid="ec-plain"), key="plain"),
        es(header(typ="application/at+jwt")),
        es(c=claims(aud=["https://elsewhere.example", AUDIENCE])),
        es(c=claims(nbf=at(NOW))),
        es(c=claims(NOW + SKEW)),
        es(c=claims(NOW - timedelta(seconds=600) - SKEW + timedelta(seconds=1))),
        signed(header(kid="police-1"), claims(iss=OTHER), ec_key("police")),
        es(header(x5t="ignored as RFC 7515 asks")),
    ],
)
async def test_a_good_token_signs_in(token: str) -> None:
    identity = await Verifier(configured()).verify(token, NOW)
    assert identity.subject == identity.login == "nurse-17"
    assert identity.issuer in {ISSUER, OTHER}


async def test_a_token_says_when_and_how_strongly_the_person_signed_in() -> None:
    earlier = NOW - timedelta(hours=5)
    identity = await Verifier(configured()).verify(es(c=claims(auth_time=at(earlier), acr="high")), NOW)
    assert (identity.authenticated_at, identity.acr) == (earlier, "high")
    assert identity.issued_at == NOW
    assert identity.expires_at == NOW + timedelta(minutes=10)


async def test_the_login_comes_from_the_claim_that_is_configured() -> None:
    issuer = Issuer(
        url=ISSUER,
        audience=AUDIENCE,
        algorithms=frozenset({"ES256"}),
        jwks=read_jwks(key_set()),
        login_claim="staff_number",
    )
    identity = await Verifier([issuer]).verify(es(c=claims(staff_number="S-204")), NOW)
    assert (identity.subject, identity.login) == ("nurse-17", "S-204")
    with pytest.raises(TokenRefused):
        await Verifier([issuer]).verify(es(), NOW)


async def test_function_and_organisation_of_a_token_are_not_read() -> None:
    identity = await Verifier(configured()).verify(es(c=claims(roles=["magistrate"], organisation="x")), NOW)
    assert not {"roles", "function", "organisation"} & set(type(identity).__slots__)


# --- the hostile ones --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sentence", HOSTILE)
async def test_a_hostile_token_is_refused_in_the_same_words(sentence: str) -> None:
    why, make = HOSTILE[sentence]
    with pytest.raises(TokenRefused) as refused:
        await Verifier(configured()).verify(make(), NOW)
    assert str(refused.value) == TokenRefused.MESSAGE
    assert refused.value.why is why
    assert refused.value.__cause__ is None


def test_there_are_hostile_tokens_for_every_reason() -> None:
    assert len(HOSTILE) >= 40
    assert {why for why, _ in HOSTILE.values()} == set(Why) - {
        Why.NO_KEYS,
        Why.CLIENT,
        Why.NONCE,
        Why.EARLIER,
    }


@given(part=st.integers(0, 2), position=st.integers(0, 60), mask=st.integers(1, 255))
def test_no_changed_byte_of_a_good_token_signs_in(part: int, position: int, mask: int) -> None:
    parts = GOOD.split(".")
    data = bytearray(base64.urlsafe_b64decode(parts[part] + "=="))
    data[position % len(data)] ^= mask
    parts[part] = b64(bytes(data))
    verifier = Verifier(configured())

    async def verify() -> None:
        await verifier.verify(".".join(parts), NOW)

    with pytest.raises(TokenRefused):
        anyio.run(verify)


GOOD = es()


@given(st.text(max_size=400))
def test_no_text_at_all_does_anything_but_being_refused(text: str) -> None:
    async def verify() -> None:
        await Verifier(configured()).verify(text, NOW)

    with pytest.raises(TokenRefused):
        anyio.run(verify)


async def test_a_refusal_and_its_log_carry_nothing_of_the_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(TokenRefused) as refused:
        await Verifier(configured()).verify(es(c=claims(sub="canary-4711"), key="attacker"), NOW)
    assert "canary" not in caplog.text + str(refused.value) + refused.value.why + repr(refused.value)


# --- remembering what was verified -------------------------------------------------------------------------


async def test_a_verified_token_is_remembered_until_it_ends_and_no_longer() -> None:
    verifier, token = Verifier(configured()), es()
    first = await verifier.verify(token, NOW)
    assert await verifier.verify(token, NOW + timedelta(minutes=9)) is first
    with pytest.raises(TokenRefused):
        await verifier.verify(token, NOW + timedelta(minutes=10) + SKEW)
    with pytest.raises(TokenRefused):
        await verifier.verify(token, NOW - timedelta(minutes=1))


async def test_only_so_many_tokens_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "REMEMBERED", 2)
    verifier = Verifier(configured())
    tokens = [es(c=claims(sub=f"person-{n}")) for n in range(3)]
    first = [await verifier.verify(token, NOW) for token in tokens]
    again = [await verifier.verify(token, NOW) for token in (tokens[2], tokens[0])]
    assert again[0] is first[2]
    assert again[1] is not first[0]
    assert again[1] == first[0]


# --- keys over the network ---------------------------------------------------------------------------------


@dataclass
class Provider:
    """A real web server on the loopback that publishes a key set, or does something else."""

    address: str = ""
    asked: int = 0
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def publish(self, *keys: dict[str, Any]) -> None:
        self.status, self.body = 200, json.dumps({"keys": list(keys)}).encode()

    def verifier(self) -> Verifier:
        return Verifier(
            [Issuer(url=ISSUER, audience=AUDIENCE, algorithms=frozenset({"ES256"}), jwks_url=self.address)]
        )


@pytest.fixture
def provider() -> Iterator[Provider]:
    state = Provider()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked += 1
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(state.body)))
            self.end_headers()
            self.wfile.write(state.body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.address = f"http://127.0.0.1:{server.server_port}/jwks"
    state.publish(public_jwk(ec_key("good"), "ec-1", use="sig", alg="ES256"))
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


async def test_the_issuers_keys_are_read_once_and_used_for_everybody(provider: Provider) -> None:
    verifier = provider.verifier()
    for subject in ("a", "b", "c"):
        await verifier.verify(es(c=claims(sub=subject)), NOW)
    assert provider.asked == 1


async def test_many_first_requests_at_once_ask_the_issuer_once(provider: Provider) -> None:
    verifier = provider.verifier()
    async with anyio.create_task_group() as group:
        for subject in range(8):
            group.start_soon(verifier.verify, es(c=claims(sub=f"person-{subject}")), NOW)
    assert provider.asked == 1


async def test_an_unknown_key_is_asked_for_but_not_more_than_once_in_a_while(provider: Provider) -> None:
    verifier = provider.verifier()
    await verifier.verify(es(), NOW)
    new = es(header(kid="ec-2"), key="next")
    provider.publish(
        public_jwk(ec_key("good"), "ec-1"), public_jwk(ec_key("next"), "ec-2", use="sig", alg="ES256")
    )
    for _ in range(20):
        with pytest.raises(TokenRefused):
            await verifier.verify(new, NOW + timedelta(seconds=1))
    assert provider.asked == 1
    assert await verifier.verify(new, NOW + REFRESH_EVERY)
    assert provider.asked == 2
    for number_ in range(20):
        with pytest.raises(TokenRefused):
            await verifier.verify(es(header(kid=f"guess-{number_}"), key="next"), NOW + REFRESH_EVERY)
    assert provider.asked == 2


async def test_an_issuer_that_is_down_keeps_its_last_good_keys_for_a_day(provider: Provider) -> None:
    verifier = provider.verifier()
    await verifier.verify(es(), NOW)
    provider.status, provider.body = 503, b"down"
    later = NOW + FRESH_FOR + timedelta(minutes=1)
    assert await verifier.verify(es(c=claims(later)), later)
    assert provider.asked == 2
    much_later = NOW + LAST_GOOD_FOR
    assert await verifier.verify(es(c=claims(much_later)), much_later)
    too_late = NOW + LAST_GOOD_FOR + timedelta(minutes=1)
    with pytest.raises(TokenRefused) as refused:
        await verifier.verify(es(c=claims(too_late)), too_late)
    assert refused.value.why is Why.NO_KEYS


async def test_an_issuer_that_was_never_reached_signs_nobody_in_until_it_answers(provider: Provider) -> None:
    verifier = provider.verifier()
    provider.status = 500
    for _ in range(3):
        with pytest.raises(TokenRefused) as refused:
            await verifier.verify(es(), NOW)
        assert refused.value.why is Why.NO_KEYS
    assert provider.asked == 1
    provider.status = 200
    assert await verifier.verify(es(), NOW + REFRESH_EVERY)


async def test_a_withdrawn_key_ends_what_was_remembered_with_it(provider: Provider) -> None:
    verifier, token = provider.verifier(), es(c=claims(exp=at(NOW) + 3000))
    await verifier.verify(token, NOW)
    provider.publish(public_jwk(ec_key("next"), "ec-2"))
    assert await verifier.verify(token, NOW + FRESH_FOR)
    with pytest.raises(TokenRefused) as refused:
        await verifier.verify(token, NOW + FRESH_FOR + timedelta(minutes=1))
    assert refused.value.why is Why.NO_KEY


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, b"<html>", {}),
        (200, b'{"keys": 5}', {}),
        (200, b"[]", {}),
        (200, b'{"keys": [], "keys": []}', {}),
        (200, b" " * (rules.LARGEST_JWKS + 1), {}),
        (204, b"", {}),
        (404, b"", {}),
        (302, b"", {"Location": "/elsewhere"}),
        (302, b"", {"Location": "file:///etc/passwd"}),
    ],
)
async def test_an_answer_that_is_no_key_set_is_as_good_as_none(
    provider: Provider, status: int, body: bytes, headers: dict[str, str]
) -> None:
    provider.status, provider.body, provider.headers = status, body, headers
    with pytest.raises(TokenRefused) as refused:
        await provider.verifier().verify(es(), NOW)
    assert refused.value.why is Why.NO_KEYS
    assert provider.asked == 1


async def test_a_port_where_nobody_listens_is_as_good_as_no_answer(unused_port: int) -> None:
    address = f"http://127.0.0.1:{unused_port}/jwks"
    verifier = Verifier(
        [Issuer(url=ISSUER, audience=AUDIENCE, algorithms=frozenset({"ES256"}), jwks_url=address)]
    )
    with pytest.raises(TokenRefused):
        await verifier.verify(es(), NOW)


@pytest.fixture
def unused_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return server.server_port


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_strict_json_reads_back_whatever_json_can_say(value: object) -> None:
    assert strict_json(json.dumps(value).encode()) == value
