"""Access tokens made by hand: good ones, and every hostile one we know of."""

import base64
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from desk.token import SKEW, Issuer, Why, read_jwks

NOW = datetime(2031, 3, 4, 5, 6, 7, tzinfo=UTC)
ISSUER = "https://sign-in.hospital.example"
OTHER = "https://sign-in.police.example"
AUDIENCE = "https://custody.example"

Header = dict[str, Any]
Claims = dict[str, Any]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, length: int | None = None) -> str:
    return b64(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1() if name == "p384" else ec.SECP256R1())


def public_jwk(key: PrivateKey, kid: str, **more: Any) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"kty": "RSA", "kid": kid, "n": number(numbers.n), "e": number(numbers.e), **more}
    point = key.public_key().public_numbers()
    size = (key.curve.key_size + 7) // 8
    curve = {"secp256r1": "P-256", "secp384r1": "P-384"}[key.curve.name]
    return {
        "kty": "EC",
        "kid": kid,
        "crv": curve,
        "x": number(point.x, size),
        "y": number(point.y, size),
    } | more


def key_set() -> dict[str, Any]:
    """A key set as providers publish them: mixed types, mixed uses, some keys that must never be used."""
    return {
        "keys": [
            public_jwk(rsa_key("good"), "rsa-1", use="sig", alg="RS256"),
            public_jwk(ec_key("good"), "ec-1", use="sig", alg="ES256"),
            public_jwk(ec_key("plain"), "ec-plain"),
            public_jwk(rsa_key("weak", 1024), "rsa-weak", use="sig", alg="RS256"),
            public_jwk(rsa_key("encryption"), "rsa-enc", use="enc"),
            public_jwk(rsa_key("pss"), "rsa-pss", use="sig", alg="PS256"),
            public_jwk(rsa_key("wrap"), "rsa-wrap", key_ops=["wrapKey"]),
            public_jwk(ec_key("p384"), "ec-384", use="sig", alg="ES384"),
            public_jwk(ec_key("p384"), "ec-384-silent", use="sig"),
            public_jwk(ec_key("twin a"), "twin", use="sig"),
            public_jwk(ec_key("twin b"), "twin", use="sig"),
            public_jwk(ec_key("leaked"), "ec-leaked", use="sig", d=number(private_number(), 32)),
            {
                "kty": "oct",
                "kid": "shared",
                "k": b64(b"a shared secret that everybody knows"),
                "alg": "HS256",
            },
            {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": b64(bytes(32))},
            {"kty": "EC", "kid": "ec-off", "crv": "P-256", "x": number(5, 32), "y": number(5, 32)},
            {"kty": "RSA", "kid": "rsa-one", "n": number(rsa_modulus()), "e": number(1)},
            "not a key",
        ]
    }


def private_number() -> int:
    return ec_key("leaked").private_numbers().private_value


def rsa_modulus() -> int:
    return rsa_key("good").public_key().public_numbers().n


def signature(key: PrivateKey, data: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    size = (key.curve.key_size + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def signed(header: Header | bytes, claims: Claims | bytes, key: PrivateKey) -> str:
    raw = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    data = ".".join(b64(part) for part in raw)
    return f"{data}.{b64(signature(key, data.encode()))}"


def with_secret(header: Header, claims: Claims, secret: bytes) -> str:
    data = ".".join(b64(json.dumps(part).encode()) for part in (header, claims))
    return f"{data}.{b64(hmac.digest(secret, data.encode(), 'sha256'))}"


def header(**changes: Any) -> Header:
    whole = {"alg": "ES256", "typ": "at+jwt", "kid": "ec-1"} | changes
    return {name: value for name, value in whole.items() if value is not None}


def claims(at: datetime = NOW, **changes: Any) -> Claims:
    now = int(at.timestamp())
    whole = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "nurse-17",
        "client_id": "ward-tablet",
        "iat": now,
        "exp": now + 600,
        "jti": "x1",
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


def es(h: Header | None = None, c: Claims | None = None, key: str = "good") -> str:
    return signed(h or header(), c or claims(), ec_key(key))


def rs(h: Header | None = None, c: Claims | None = None, key: str = "good") -> str:
    return signed(h or header(alg="RS256", kid="rsa-1"), c or claims(), rsa_key(key))


def configured(*, algorithms: frozenset[str] = frozenset({"RS256", "ES256"})) -> tuple[Issuer, ...]:
    hospital = Issuer(url=ISSUER, audience=AUDIENCE, algorithms=algorithms, jwks=read_jwks(key_set()))
    police = Issuer(
        url=OTHER,
        audience=AUDIENCE,
        algorithms=frozenset({"ES256"}),
        jwks=read_jwks({"keys": [public_jwk(ec_key("police"), "police-1")]}),
    )
    return hospital, police


def seconds(delta: timedelta) -> int:
    return int(delta.total_seconds())


def at(moment: datetime) -> int:
    return int(moment.timestamp())


def rsa_public_der() -> bytes:
    return (
        rsa_key("good")
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def rsa_public_pem() -> bytes:
    return (
        rsa_key("good")
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def ec_public_der() -> bytes:
    return (
        ec_key("good")
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def unsigned(algorithm: Any, tail: str = "") -> str:
    return f"{b64(json.dumps(header(alg=algorithm)).encode())}.{b64(json.dumps(claims()).encode())}.{tail}"


def changed(token: str, part: int, position: int = 10) -> str:
    parts = token.split(".")
    data = bytearray(base64.urlsafe_b64decode(parts[part] + "=="))
    data[position] ^= 1
    parts[part] = b64(bytes(data))
    return ".".join(parts)


def raised_subject() -> str:
    head, _, tail = es().split(".")
    return f"{head}.{b64(json.dumps(claims(sub='coordinator-1')).encode())}.{tail}"


def der_signature() -> str:
    data = ".".join(b64(json.dumps(part).encode()) for part in (header(), claims()))
    return f"{data}.{b64(ec_key('good').sign(data.encode(), ec.ECDSA(hashes.SHA256())))}"


def pss_signature() -> str:
    data = ".".join(b64(json.dumps(p).encode()) for p in (header(alg="RS256", kid="rsa-1"), claims()))
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    return f"{data}.{b64(rsa_key('good').sign(data.encode(), pss, hashes.SHA256()))}"


def twice(name: str, first: str, second: str) -> str:
    body = json.dumps({n: v for n, v in claims().items() if n != name})[:-1]
    return signed(header(), f'{body}, "{name}": {first}, "{name}": {second}}}'.encode(), ec_key("good"))


def claims_with(text: str) -> str:
    return signed(header(), (json.dumps(claims())[:-1] + f", {text}}}").encode(), ec_key("good"))


JWK_OF_THE_ATTACKER = public_jwk(ec_key("attacker"), "ec-1", use="sig", alg="ES256")

HOSTILE: dict[str, tuple[Why, Callable[[], str]]] = {
    "nothing": (Why.FORM, lambda: ""),
    "a word": (Why.FORM, lambda: "nurse-17"),
    "two parts": (Why.FORM, lambda: ".".join(es().split(".")[:2])),
    "four parts": (Why.FORM, lambda: es() + ".eA"),
    "an encrypted token's five parts": (Why.FORM, lambda: "e30.e30.e30.e30.e30"),
    "a space behind": (Why.FORM, lambda: es() + " "),
    "a line break behind": (Why.FORM, lambda: es() + "\n"),
    "padding": (Why.FORM, lambda: es() + "=="),
    "characters outside ASCII": (Why.FORM, lambda: "é" + es()),
    "a half of a surrogate pair": (Why.FORM, lambda: "\ud800." + es()),
    "a huge token": (Why.FORM, lambda: es(c=claims(padding="x" * 9000))),
    "bytes that are no text": (Why.FORM, lambda: signed(b"\xff\xfe", claims(), ec_key("good"))),
    "a header in another encoding": (
        Why.FORM,
        lambda: signed(json.dumps(header()).encode("utf-16"), claims(), ec_key("good")),
    ),
    "a header that is a list": (Why.FORM, lambda: signed(b'["ES256"]', claims(), ec_key("good"))),
    "claims that are a list": (Why.FORM, lambda: signed(header(), b"[]", ec_key("good"))),
    "claims nested without end": (Why.FORM, lambda: signed(header(), b"[" * 3000, ec_key("good"))),
    "another spelling of the same bytes": (Why.FORM, lambda: respelled(es())),
    "a subject given twice": (Why.FORM, lambda: twice("sub", '"nurse-17"', '"coordinator-1"')),
    "an end given twice": (Why.FORM, lambda: twice("exp", str(at(NOW) + 60), str(at(NOW) + 600))),
    "an algorithm given twice": (
        Why.FORM,
        lambda: signed(b'{"alg":"none","typ":"at+jwt","kid":"ec-1","alg":"ES256"}', claims(), ec_key("good")),
    ),
    "an end that is no number of JSON": (Why.FORM, lambda: claims_with('"nbf": NaN')),
    "an end at infinity": (Why.FORM, lambda: claims_with('"nbf": Infinity')),
    "a number with five thousand digits": (Why.FORM, lambda: claims_with('"nbf": ' + "9" * 5000)),
    "no algorithm": (Why.FORM, lambda: unsigned("none")),
    "no algorithm, with a signature": (Why.ALGORITHM, lambda: unsigned("none", "eA")),
    "no algorithm, spelt otherwise": (Why.ALGORITHM, lambda: unsigned("nOnE", "eA")),
    "no algorithm named": (Why.ALGORITHM, lambda: es(header(alg=None))),
    "an algorithm that is a list": (Why.ALGORITHM, lambda: es(header(alg=["ES256"]))),
    "an algorithm in lower case": (Why.ALGORITHM, lambda: es(header(alg="es256"))),
    "a shared secret of the key set": (
        Why.ALGORITHM,
        lambda: with_secret(
            header(alg="HS256", kid="shared"), claims(), b"a shared secret that everybody knows"
        ),
    ),
    "the public key in PEM as a secret": (
        Why.ALGORITHM,
        lambda: with_secret(header(alg="HS256", kid="rsa-1"), claims(), rsa_public_pem()),
    ),
    "the public key in DER as a secret": (
        Why.ALGORITHM,
        lambda: with_secret(header(alg="HS256", kid="rsa-1"), claims(), rsa_public_der()),
    ),
    "the public key in DER as a secret, under the name of another algorithm": (
        Why.SIGNATURE,
        lambda: with_secret(header(alg="RS256", kid="rsa-1"), claims(), rsa_public_der()),
    ),
    "the EC public key in DER as a secret": (
        Why.ALGORITHM,
        lambda: with_secret(header(alg="HS256"), claims(), ec_public_der()),
    ),
    "the EC public key in DER as a secret, under the name of another algorithm": (
        Why.SIGNATURE,
        lambda: with_secret(header(), claims(), ec_public_der()),
    ),
    "the public key as it stands in the key set as a secret": (
        Why.ALGORITHM,
        lambda: with_secret(
            header(alg="HS256", kid="rsa-1"), claims(), json.dumps(key_set()["keys"][0]).encode()
        ),
    ),
    "an empty secret": (Why.ALGORITHM, lambda: with_secret(header(alg="HS256"), claims(), b"")),
    "an algorithm with a longer digest": (Why.ALGORITHM, lambda: rs(header(alg="RS512", kid="rsa-1"))),
    "an algorithm for encryption": (Why.ALGORITHM, lambda: es(header(alg="RSA-OAEP"))),
    "an identity token": (Why.NOT_ACCESS, lambda: es(header(typ="JWT"))),
    "a token that does not say what it is": (Why.NOT_ACCESS, lambda: es(header(typ=None))),
    "a log-out token": (Why.NOT_ACCESS, lambda: es(header(typ="logout+jwt"))),
    "a type that is a list": (Why.NOT_ACCESS, lambda: es(header(typ=["at+jwt"]))),
    "a header that is an object": (Why.HEADER, lambda: es(header(kid={"ec-1": 1}))),
    "something critical": (Why.HEADER, lambda: es(header(crit=["exp"]))),
    "something critical that is unknown": (Why.HEADER, lambda: es(header(crit=["x"], x=1))),
    "an empty list of what is critical": (Why.HEADER, lambda: es(header(crit=[]))),
    "a payload that is not encoded": (Why.HEADER, lambda: es(header(b64=False))),
    "a compressed payload": (Why.HEADER, lambda: es(header(zip="DEF"))),
    "its own key": (Why.HEADER, lambda: es(header(jwk=JWK_OF_THE_ATTACKER), key="attacker")),
    "its own address of keys": (
        Why.HEADER,
        lambda: es(header(jku="https://keys.attacker.example"), key="attacker"),
    ),
    "its own address of a certificate": (
        Why.HEADER,
        lambda: es(header(x5u="https://keys.attacker.example"), key="attacker"),
    ),
    "its own certificate": (Why.HEADER, lambda: es(header(x5c=["MIIB"]), key="attacker")),
    "a token in a token": (Why.HEADER, lambda: es(header(cty="JWT"))),
    "no key named": (Why.HEADER, lambda: es(header(kid=None))),
    "a key named by a number": (Why.HEADER, lambda: es(header(kid=1))),
    "a key named by nothing": (Why.HEADER, lambda: es(header(kid=""))),
    "a key named by a file": (Why.NO_KEY, lambda: es(header(kid="../../../dev/null"))),
    "a key that is not known": (Why.NO_KEY, lambda: es(header(kid="ec-9"))),
    "a key of the other type": (Why.NO_KEY, lambda: rs(header(alg="RS256", kid="ec-1"))),
    "a key of the other type, the other way": (Why.NO_KEY, lambda: es(header(kid="rsa-1"))),
    "a short RSA key": (
        Why.NO_KEY,
        lambda: signed(header(alg="RS256", kid="rsa-weak"), claims(), rsa_key("weak", 1024)),
    ),
    "an RSA key with exponent one": (Why.NO_KEY, lambda: rs(header(alg="RS256", kid="rsa-one"))),
    "a key for encryption": (
        Why.NO_KEY,
        lambda: rs(header(alg="RS256", kid="rsa-enc"), key="encryption"),
    ),
    "a key for another algorithm": (Why.NO_KEY, lambda: rs(header(alg="RS256", kid="rsa-pss"), key="pss")),
    "a key for wrapping": (Why.NO_KEY, lambda: rs(header(alg="RS256", kid="rsa-wrap"), key="wrap")),
    "a key on another curve": (Why.NO_KEY, lambda: es(header(kid="ec-384"), key="p384")),
    "a key on another curve that names no algorithm": (
        Why.NO_KEY,
        lambda: es(header(kid="ec-384-silent"), key="p384"),
    ),
    "a key off its curve": (Why.NO_KEY, lambda: es(header(kid="ec-off"))),
    "a key whose private half was published": (
        Why.NO_KEY,
        lambda: es(header(kid="ec-leaked"), key="leaked"),
    ),
    "a key that two keys could be": (Why.NO_KEY, lambda: es(header(kid="twin"), key="twin a")),
    "another issuer's key": (Why.NO_KEY, lambda: es(header(kid="police-1"), key="police")),
    "another issuer's name": (Why.NO_KEY, lambda: es(c=claims(iss=OTHER))),
    "an algorithm this issuer does not use": (
        Why.ALGORITHM,
        lambda: rs(header(alg="RS256", kid="police-1"), claims(iss=OTHER)),
    ),
    "an unknown issuer": (Why.ISSUER, lambda: es(c=claims(iss="https://attacker.example"))),
    "an issuer with a slash behind": (Why.ISSUER, lambda: es(c=claims(iss=ISSUER + "/"))),
    "a list of issuers": (Why.ISSUER, lambda: es(c=claims(iss=[ISSUER]))),
    "no issuer": (Why.ISSUER, lambda: es(c=claims(iss=None))),
    "the attacker's signature": (Why.SIGNATURE, lambda: es(key="attacker")),
    "a signature with one bit changed": (Why.SIGNATURE, lambda: changed(es(), 2)),
    "a signature of zeros": (
        Why.SIGNATURE,
        lambda: f"{es().rpartition('.')[0]}.{b64(bytes(64))}",
    ),
    "a signature cut off": (Why.SIGNATURE, lambda: f"{es().rpartition('.')[0]}.{b64(b'x')}"),
    "a signature in DER": (Why.SIGNATURE, der_signature),
    "a signature of another padding": (Why.SIGNATURE, pss_signature),
    "claims changed after signing": (Why.SIGNATURE, raised_subject),
    "another audience": (Why.SIGNATURE, lambda: es(c=claims(aud="https://elsewhere.example"))),
    "other audiences": (Why.SIGNATURE, lambda: es(c=claims(aud=["a", "b"]))),
    "a part of the audience": (Why.SIGNATURE, lambda: es(c=claims(aud=AUDIENCE + "/more"))),
    "a hash of another token": (Why.SIGNATURE, lambda: es(c=claims(at_hash="eA"))),
    "no audience": (Why.CLAIMS, lambda: es(c=claims(aud=None))),
    "an empty list of audiences": (Why.CLAIMS, lambda: es(c=claims(aud=[]))),
    "an audience that is an object": (Why.CLAIMS, lambda: es(c=claims(aud={AUDIENCE: 1}))),
    "no end": (Why.CLAIMS, lambda: es(c=claims(exp=None))),
    "an end in words": (Why.CLAIMS, lambda: es(c=claims(exp=str(at(NOW) + 60)))),
    "an end that is true": (Why.CLAIMS, lambda: es(c=claims(exp=True))),
    "an end with a fraction": (Why.CLAIMS, lambda: es(c=claims(exp=at(NOW) + 0.5))),
    "an end beyond all calendars": (Why.CLAIMS, lambda: es(c=claims(exp=10**15))),
    "an end in the last second of the calendar": (Why.CLAIMS, lambda: es(c=claims(exp=253402300799))),
    "an issue before all calendars": (Why.CLAIMS, lambda: es(c=claims(iat=-1))),
    "no issue": (Why.CLAIMS, lambda: es(c=claims(iat=None))),
    "an issue that is a list": (Why.CLAIMS, lambda: es(c=claims(iat=[1]))),
    "no subject": (Why.CLAIMS, lambda: es(c=claims(sub=None))),
    "an empty subject": (Why.CLAIMS, lambda: es(c=claims(sub=""))),
    "a subject that is a number": (Why.CLAIMS, lambda: es(c=claims(sub=17))),
    "a subject with a line break": (Why.CLAIMS, lambda: es(c=claims(sub="nurse-17\ncoordinator-1"))),
    "a subject that is too long": (Why.CLAIMS, lambda: es(c=claims(sub="n" * 201))),
    "a strength that is a list": (Why.CLAIMS, lambda: es(c=claims(acr=["high"]))),
    "a token that has ended": (
        Why.EXPIRED,
        lambda: es(c=claims(NOW - timedelta(seconds=600) - SKEW)),
    ),
    "a token from the future": (Why.EARLY, lambda: es(c=claims(NOW + SKEW + timedelta(seconds=1)))),
    "a token not valid yet": (Why.EARLY, lambda: es(c=claims(nbf=at(NOW) + seconds(SKEW) + 1))),
    "a sign-in in the future": (Why.EARLY, lambda: es(c=claims(auth_time=at(NOW) + seconds(SKEW) + 1))),
    "a token that lives too long": (Why.LIFE, lambda: es(c=claims(exp=at(NOW) + 3601))),
    "a token for ever": (Why.LIFE, lambda: es(c=claims(exp=32503680000))),
    "a token that ends before it begins": (
        Why.LIFE,
        lambda: es(c=claims(exp=at(NOW) - 10, iat=at(NOW) - 9)),
    ),
}


def respelled(token: str) -> str:
    """The same bytes with other spare bits in the last character: another text, the same signature."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]
