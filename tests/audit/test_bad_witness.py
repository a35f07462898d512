"""Witnesses that behave as none should: told, stored nowhere, and no harm to the others."""

import base64
import ipaddress
import socket
import ssl
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from audit import key as keys
from audit import log, witness
from audit.checkpoint import Checkpoint
from audit.note import Note, Signature
from audit.sign import Signer
from audit.witness import Address, write_request
from tests.audit import a_witness
from tests.audit.a_witness import AWitness, http_answer, misbehaving, running, says
from tests.audit.witnessed import ORIGIN, Start, asked, line_of, policy, publish, stored
from tests.conftest import Engines

SIGNED_BY_NOBODY = "— w1.example " + base64.b64encode(bytes(76)).decode() + "\n"
AS_SIZE = "Content-Type: text/x.tlog.size"
GARBAGE = {
    "nothing": (b"", "did not answer in HTTP"),
    "not HTTP": (b"SSH-2.0-nobody\r\n", "did not answer in HTTP"),
    "a status that is none": (b"HTTP/1.1 abc OK\r\n\r\n", "did not answer in HTTP"),
    "cut off in the middle": (
        http_answer("200 OK", SIGNED_BY_NOBODY.encode())[:-9],
        "did not answer in HTTP",
    ),
    "chunks that are none": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "did not answer in HTTP",
    ),
    "a length of thirty digits": (
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\nx",
        "did not answer in HTTP",
    ),
    "a chunk of thirty digits": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\nx",
        "did not answer in HTTP",
    ),
    "a page": (http_answer("200 OK", b"<html>welcome</html>"), "does not end with a newline"),
    "an empty answer": (http_answer("200 OK", b""), "does not end with a newline"),
    "an empty line": (http_answer("200 OK", b"\n"), "em dash"),
    "not UTF-8": (http_answer("200 OK", b"\xff\n"), "not UTF-8"),
    "a signature by a stranger": (
        http_answer("200 OK", SIGNED_BY_NOBODY.encode()),
        "answered without a cosignature by its key",
    ),
    "too much": (http_answer("200 OK", SIGNED_BY_NOBODY.encode() * 700), "more than 65536 bytes"),
    "too many lines": (http_answer("200 OK", SIGNED_BY_NOBODY.encode() * 101), "more than 100 lines"),
    "a redirect": (
        http_answer("307 Temporary Redirect", b"", "Location: http://127.0.0.1:9/"),
        "sends us to another address (307), where nobody is asked",
    ),
    "a refusal of the request": (http_answer("400 Bad Request", b""), "did not understand the request (400)"),
    "an error": (http_answer("500 Internal Server Error", b""), "answered with status 500"),
    "success of another kind": (http_answer("204 No Content", b""), "answered with status 204"),
    "a conflict without a size": (http_answer("409 Conflict", b"256\n"), "does not state it (409)"),
    "a conflict with the size that was named": (
        http_answer("409 Conflict", b"0\n", AS_SIZE),
        "is at 0 leaves and refuses to go on from there",
    ),
    "a conflict at every size": (
        http_answer("409 Conflict", b"17\n", AS_SIZE),
        "is at 17 leaves and refuses to go on from there",
    ),
    "a size in other digits": (http_answer("409 Conflict", b"0256\n", AS_SIZE), "leading zeroes"),
    "a size without its newline": (http_answer("409 Conflict", b"256", AS_SIZE), "end with a newline"),
    "a size below nothing": (http_answer("409 Conflict", b"-1\n", AS_SIZE), "not a decimal number"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("case", GARBAGE)
async def test_what_is_no_answer_is_told_stored_nowhere_and_hurts_no_other_witness(
    engines: Engines, signer: Signer, start: Start, servers: ExitStack, case: str
) -> None:
    data, words = GARBAGE[case]
    one, other = start("w1"), start("w2")
    url = servers.enter_context(misbehaving(says(data)))
    await publish(engines, signer, 256)
    found = await asked(engines, policy(line_of(one, url=url), line_of(other)))
    (trouble,) = found.troubles
    assert (trouble.name, trouble.grave) == ("w1", False)
    assert words in trouble.words
    assert trouble.words in found.words
    assert [cosigned.name for cosigned in found.cosigned] == ["w2"]
    assert await stored(engines) == [(256, "w2.example")]


@pytest.mark.anyio
async def test_a_fault_that_no_rule_speaks_of_is_the_trouble_of_one_witness(
    engines: Engines, signer: Signer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = start("w1"), start("w2")
    port, exchange = Address.read(one.url).port, witness._exchange

    async def broken(address: Address, request: bytes) -> bytes:
        if address.port == port:
            raise RuntimeError("a fault that nobody thought of")
        return await exchange(address, request)

    monkeypatch.setattr(witness, "_exchange", broken)
    await publish(engines, signer, 256)
    found = await asked(engines, policy(line_of(one), line_of(other)))
    (trouble,) = found.troubles
    assert (trouble.name, trouble.grave) == ("w1", False)
    assert "RuntimeError" in trouble.words
    assert await stored(engines) == [(256, "w2.example")]


@pytest.mark.anyio
async def test_a_witness_that_states_one_size_after_the_other_is_asked_twice_and_no_more(
    engines: Engines, signer: Signer, start: Start, servers: ExitStack
) -> None:
    one, requests = start("w1"), []

    def counts(connection: socket.socket, body: bytes) -> None:
        requests.append(body.partition(b"\n")[0])
        says(http_answer("409 Conflict", b"%d\n" % len(requests), AS_SIZE))(connection, body)

    url = servers.enter_context(misbehaving(counts))
    await publish(engines, signer, 256)
    found = await asked(engines, policy(line_of(one, url=url)))
    assert requests == [b"old 0", b"old 1"]
    assert "stated one size after the other" in found.words


@pytest.mark.anyio
async def test_silence_and_answers_that_drip_end_in_time_and_hurt_no_other_witness(
    engines: Engines, signer: Signer, start: Start, servers: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness, "ASK_SECONDS", 2.0)
    silent, dripping, good = start("w1"), start("w2"), start("w3")
    await publish(engines, signer, 256)
    lines = [
        line_of(silent, url=servers.enter_context(misbehaving(a_witness.says_nothing))),
        line_of(dripping, url=servers.enter_context(misbehaving(a_witness.drips))),
        line_of(good),
    ]
    found = await asked(engines, policy(*lines, wants="any"))
    assert found.reached
    assert [trouble.words for trouble in found.troubles] == [
        "w1 gave no answer within 2 seconds.",
        "w2 gave no answer within 2 seconds.",
    ]


@pytest.mark.anyio
async def test_a_witness_that_is_down_is_told_and_asked_again_the_next_time(
    engines: Engines, signer: Signer, start: Start, tmp_path: Path
) -> None:
    good = start("w2")
    down = AWitness(name="w1.example", state=tmp_path / "w1.json", logs=good.logs, seed=bytes(32))
    with running(down):
        wanted = policy(line_of(down), line_of(good))
        no_name = policy(line_of(down, url="https://no-such-host.invalid"), line_of(good))
    await publish(engines, signer, 256)
    for unreachable in (wanted, no_name):
        found = await asked(engines, unreachable)
        assert not found.reached
        assert [trouble.words for trouble in found.troubles] == ["w1 cannot be reached."]
    with running(down):
        back = policy(line_of(down), line_of(good))
        assert (await asked(engines, back)).reached


ADDRESSES = {
    "http elsewhere": "http://witness.example",
    "another scheme": "ftp://127.0.0.1/",
    "no host": "https:///witness",
    "a name and password": "https://a:b@witness.example",
    "a query": "https://witness.example/?a=b",
    "a fragment": "https://witness.example/#a",
    "not ASCII": "https://wítness.example/",
    "no port": "https://witness.example:many/",
    "no address at all": "over-there",
}


@pytest.mark.anyio
@pytest.mark.parametrize("case", ADDRESSES)
async def test_an_address_that_is_not_used_is_told_and_nobody_is_asked(
    engines: Engines, signer: Signer, start: Start, case: str
) -> None:
    one, other = start("w1"), start("w2")
    await publish(engines, signer, 256)
    found = await asked(engines, policy(line_of(one, url=ADDRESSES[case]), line_of(other)))
    (trouble,) = found.troubles
    assert trouble.words.startswith("w1 gave nothing that can be used: its address is not")
    assert [cosigned.name for cosigned in found.cosigned] == ["w2"]


def test_an_address_keeps_its_port_and_path() -> None:
    assert Address.read("https://w.example").path == "/add-checkpoint"
    assert Address.read("https://w.example/a/b/") == Address("w.example", 443, True, "/a/b/add-checkpoint")
    assert Address.read("http://[::1]:8080/a") == Address("::1", 8080, False, "/a/add-checkpoint")
    assert b"\r\nHost: [::1]:8080\r\n" in Address.read("http://[::1]:8080/a").head(3)


@pytest.mark.anyio
async def test_only_the_witness_s_own_good_signature_of_now_is_stored(
    engines: Engines, signer: Signer, start: Start, servers: ExitStack
) -> None:
    """Each lie is told by a server at w1's address; w2 goes on all the while."""
    one, other = start("w1"), start("w2")
    await publish(engines, signer, 256)
    async with engines.clerk.connect() as connection:
        note = await log.last_checkpoint(connection, "events")
    assert note is not None
    request = a_witness.parse(write_request(0, [], Note.read(note)))
    good = one.cosign(request)
    altered = Signature.read(good.rstrip("\n"))
    wrong = Signature(altered.name, altered.key_id, altered.signature[:-1] + b"\x00").line() + "\n"
    another = a_witness.parse(
        write_request(0, [], keys.sign(Checkpoint(ORIGIN, 512, bytes(32)), signer.box.signs, 0))
    )
    one.now = lambda: int(time.time()) + 3600
    tomorrow = one.cosign(request)
    one.now = lambda: 0
    lies = {
        wrong: "the cosignature in the name of w1 is not by its key",
        good + wrong: "the cosignature in the name of w1 is not by its key",
        other.cosign(request): "w1 answered without a cosignature by its key",
        one.cosign(another): "the cosignature in the name of w1 is not by its key",
        tomorrow: "is of a time that has not come",
        one.cosign(request): "states no time",
    }
    for lie, words in lies.items():
        url = servers.enter_context(misbehaving(says(http_answer("200 OK", lie.encode()))))
        found = await asked(engines, policy(line_of(one, url=url), line_of(other)))
        assert not found.reached
        assert words in found.words
        assert await stored(engines) == [(256, "w2.example")]
    url = servers.enter_context(misbehaving(says(http_answer("200 OK", (SIGNED_BY_NOBODY + good).encode()))))
    assert (await asked(engines, policy(line_of(one, url=url), line_of(other)))).reached


@pytest.mark.anyio
async def test_over_https_a_witness_must_prove_that_it_is_at_its_address(
    engines: Engines, signer: Signer, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = start("w1", tls=certificate_for_this_machine(tmp_path / "tls.pem"))
    wanted = policy(line_of(one))
    await publish(engines, signer, 256)
    found = await asked(engines, wanted)
    assert [trouble.words for trouble in found.troubles] == [
        "w1 does not prove with a certificate that it is at its address."
    ]
    assert one.bodies == []
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls.pem"))
    assert (await asked(engines, wanted)).reached


def certificate_for_this_machine(path: Path) -> ssl.SSLContext:
    """A self-signed certificate for 127.0.0.1, its key and itself in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "A fictional witness")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
