"""Authorities of time stamps for the tests: invented, but real.

`Authority` has its own root, perhaps an authority in between, and a certificate for stamping. `answer` and
`token` are the work of `openssl ts -reply`, which knows nothing of our code. OpenSSL stamps only the present
time and only with a proper certificate, so `by_hand` composes what it would not: the past, and what is wrong.
`serve` puts an authority, or something worse, on a loopback port.
"""

import hashlib
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from audit import token_form as form
from tests.conftest import missing

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

STAMPING = x509.Extension(
    x509.ExtendedKeyUsage.oid, True, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
)
SIGNS = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
SIGNS_CERTIFICATES = x509.KeyUsage(False, False, False, False, False, True, False, False, False)
SHA512 = ObjectIdentifier("2.16.840.1.101.3.4.2.3")
SHA256 = ObjectIdentifier("2.16.840.1.101.3.4.2.1")
ECDSA_SHA256 = ObjectIdentifier("1.2.840.10045.4.3.2")
TST_INFO = ObjectIdentifier("1.2.840.113549.1.9.16.1.4")

CONFIG = """
[tsa]
default_tsa = authority
[authority]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/signer.pem
signer_key = {folder}/signer.key
{certs}
signer_digest = {digest}
default_policy = 1.3.6.1.4.1.99999.1
digests = sha256, sha384, sha512
accuracy = secs:1
clock_precision_digits = 3
tsa_name = yes
ess_cert_id_alg = {identified_by}
"""


@pytest.fixture(scope="session")
def openssl() -> str:
    """Path of OpenSSL, the other implementation of time stamps."""
    found = shutil.which("openssl")
    if found is None:
        missing("openssl", "apt-get install openssl")
    return found


def certificate(
    name: str,
    key: Key,
    issuer: tuple[x509.Certificate, Key] | None,
    valid: tuple[datetime, datetime],
    extensions: list[x509.Extension[Any]],
) -> x509.Certificate:
    """A certificate for `key`, signed by the issuer, or by itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
    )
    for extension in extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key if issuer is None else issuer[1], hashes.SHA256())


def critical(value: x509.ExtensionType) -> "x509.Extension[Any]":
    return x509.Extension(value.oid, True, value)


def an_issuer(path_length: int | None = None) -> list[x509.Extension[Any]]:
    return [critical(x509.BasicConstraints(True, path_length)), critical(SIGNS_CERTIFICATES)]


A_STAMPER = [critical(SIGNS), STAMPING]


@dataclass(frozen=True)
class Authority:
    """An authority whose files are in `folder`; `between` are the certificates below its root."""

    folder: Path
    root: x509.Certificate
    root_key: Key
    between: tuple[x509.Certificate, ...]
    signer: x509.Certificate
    key: Key

    @property
    def roots(self) -> bytes:
        return pem(self.root)

    def answer(self, query: bytes) -> bytes:
        """What `openssl ts -reply` answers."""
        (self.folder / "query").write_bytes(query)
        command = ["openssl", "ts", "-reply", "-config", f"{self.folder}/config", "-section", "authority"]
        subprocess.run(
            [*command, "-queryfile", f"{self.folder}/query", "-out", f"{self.folder}/answer"],
            check=True,
            capture_output=True,
        )
        return (self.folder / "answer").read_bytes()

    def by_hand(self, data: bytes, at: datetime, **wrong: Any) -> bytes:
        """A token that states `at`; `wrong` replaces parts of it by name (see `_Parts`)."""
        parts = _Parts(**wrong)
        imprint = form.Imprint(algorithm=_digest(SHA512), digest=hashlib.sha512(data).digest())
        statement = form.Statement(
            version=parts.version,
            policy=ObjectIdentifier("1.3.6.1.4.1.99999.1"),
            imprint=parts.imprint or imprint,
            serial=7,
            at=asn1.GeneralizedTime(at),
            accuracy=None,
            ordering=None,
            nonce=parts.nonce,
            authority=None,
            extensions=parts.extensions,
        )
        content = asn1.encode_der(statement)
        identified = form.SigningCertificateV2(
            ids=[
                form.EssIdV2(
                    algorithm=None,
                    hash=(parts.named or self.signer).fingerprint(hashes.SHA256()),
                    issuer=None,
                )
            ],
            policies=None,
        )
        attributes = sorted(
            _attribute(kind, value)
            for kind, value in (
                ("1.2.840.113549.1.9.3", asn1.encode_der(TST_INFO)),
                ("1.2.840.113549.1.9.4", asn1.encode_der(hashlib.sha256(content).digest())),
                ("1.2.840.113549.1.9.16.2.47", asn1.encode_der(identified)),
            )
            if kind not in parts.without
        )
        signed = asn1.encode_der(_Attributes(all=asn1.SetOf([_tlv(each) for each in attributes])))
        signer = form.Signer(
            version=1,
            id=form.IssuerAndSerial(
                issuer=_tlv(self.signer.issuer.public_bytes()), serial=self.signer.serial_number
            ),
            digest_algorithm=_digest(parts.digest),
            signed=[_tlv(each) for each in attributes],
            signature_algorithm=parts.algorithm,
            signature=parts.sign(self.key, _inside(signed)),
            unsigned=None,
        )
        certificates = [each.public_bytes(Encoding.DER) for each in (self.signer, *self.between)]
        token = form.Token(
            type=ObjectIdentifier("1.2.840.113549.1.7.2"),
            signed=form.SignedData(
                version=3,
                digest_algorithms=asn1.SetOf([_digest(parts.digest)]),
                content=form.Content(type=parts.content_type, bytes=content),
                certificates=[_tlv(each) for each in certificates],
                lists=None,
                signers=asn1.SetOf([signer] * parts.signatures),
            ),
        )
        return asn1.encode_der(token)


def sign_ecdsa(key: Key, message: bytes) -> bytes:
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.sign(message, ec.ECDSA(hashes.SHA256()))


@dataclass(frozen=True)
class _Parts:
    version: int = 1
    imprint: form.Imprint | None = None
    nonce: int | None = None
    extensions: list[form.Extension] | None = None
    named: x509.Certificate | None = None
    without: tuple[str, ...] = ()
    digest: ObjectIdentifier = SHA256
    content_type: ObjectIdentifier = TST_INFO
    algorithm: form.SignatureAlgorithm = form.SignatureAlgorithm(algorithm=ECDSA_SHA256, parameters=None)
    sign: Callable[[Key, bytes], bytes] = sign_ecdsa
    signatures: int = 1


@asn1.sequence
class _Attributes:
    all: asn1.SetOf[asn1.TLV]


def _inside(sequence: bytes) -> bytes:
    """The only element of a SEQUENCE of less than 64 KiB."""
    return sequence[2 if sequence[1] < 0x80 else 2 + (sequence[1] & 0x7F) :]


def _tlv(data: bytes) -> asn1.TLV:
    return asn1.decode_der(asn1.TLV, data)


def _digest(algorithm: ObjectIdentifier) -> form.HashAlgorithm:
    return form.HashAlgorithm(algorithm=algorithm, parameters=None)


def _attribute(kind: str, value: bytes) -> bytes:
    return asn1.encode_der(form.Attribute(type=ObjectIdentifier(kind), values=asn1.SetOf([_tlv(value)])))


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def found(
    folder: Path,
    *,
    key: Key | None = None,
    middle: list[x509.Extension[Any]] | None = None,
    valid: tuple[timedelta, timedelta] = (timedelta(days=-400), timedelta(days=4000)),
    stamper: list[x509.Extension[Any]] = A_STAMPER,
    digest: str = "sha256",
    identified_by: str = "sha256",
) -> Authority:
    """A new authority. `middle`: with an authority between root and signer, which has these extensions.
    `valid`: from when to when the signer's certificate is, reckoned from now."""
    folder.mkdir(parents=True)
    now = datetime.now(UTC).replace(microsecond=0)
    long = (now - timedelta(days=4000), now + timedelta(days=8000))
    own, below = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP256R1())
    root = certificate(f"Fictional root of {folder.name}", own, None, long, an_issuer())
    issuer: tuple[x509.Certificate, Key] = (root, own)
    between: tuple[x509.Certificate, ...] = ()
    if middle is not None:
        between = (certificate("Fictional authority in between", below, issuer, long, middle),)
        issuer = (between[0], below)
    key = ec.generate_private_key(ec.SECP256R1()) if key is None else key
    signer = certificate(
        "Fictional time stamps", key, issuer, (now + valid[0], now + valid[1]), list(stamper)
    )
    (folder / "signer.pem").write_bytes(pem(signer))
    (folder / "between.pem").write_bytes(pem(*between))
    (folder / "roots.pem").write_bytes(pem(root))
    (folder / "signer.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "serial").write_text("01\n")
    (folder / "config").write_text(
        CONFIG.format(
            folder=folder,
            certs=f"certs = {folder}/between.pem" if between else "",
            digest=digest,
            identified_by=identified_by,
        )
    )
    return Authority(folder, root, own, between, signer, key)


def sign_pss(key: Key, message: bytes) -> bytes:
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


@dataclass(frozen=True)
class Reply:
    """What the server sends: the body in pieces, so that a slow one can be played."""

    body: bytes = b""
    status: int = 200
    kind: str = "application/timestamp-reply"
    location: str | None = None
    wait: Callable[[], object] = lambda: None


@contextmanager
def serve(answer: Callable[[bytes], bytes | Reply]) -> Iterator[str]:
    """The address at which `answer` answers, on loopback, while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/timestamp-query"
            given = answer(self.rfile.read(int(self.headers["Content-Length"])))
            reply = Reply(given) if isinstance(given, bytes) else given
            reply.wait()
            try:
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.kind)
                self.send_header("Content-Length", str(len(reply.body)))
                if reply.location is not None:
                    self.send_header("Location", reply.location)
                self.end_headers()
                self.wfile.write(reply.body)
            except OSError:
                pass  # the asker went away, which some of the tests are about

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/stamp"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
