"""Time-stamp tokens: what OpenSSL made is accepted by us and by it; what is wrong is refused."""

import subprocess
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from audit import token_form as form
from audit.token import Stamped, StampRefused, check, check_chain, read_answer, request
from tests.audit import an_authority
from tests.audit.an_authority import (
    SHA256,
    SIGNS,
    STAMPING,
    Authority,
    Key,
    an_issuer,
    critical,
    pem,
)

DATA = b"custody.example/log\n256\na note\n"
NOW = datetime.now(UTC).replace(microsecond=0)
LONG_AGO = NOW - timedelta(days=300)

openssl = an_authority.openssl


@pytest.fixture
def authority(tmp_path: Path, openssl: str) -> Authority:
    return an_authority.found(tmp_path / "authority")


def stamped(authority: Authority, data: bytes = DATA, nonce: int = 2**64 + 1) -> bytes:
    return read_answer(authority.answer(request(data, nonce)))


def verified_by_openssl(authority: Authority, token: bytes, data: bytes, at: datetime | None = None) -> bool:
    """What `openssl ts -verify` says of a token, with nothing but the root."""
    folder = authority.folder
    (folder / "token").write_bytes(token)
    (folder / "data").write_bytes(data)
    command = ["openssl", "ts", "-verify", "-token_in", "-in", f"{folder}/token", "-data", f"{folder}/data"]
    moment = [] if at is None else ["-attime", str(int(at.timestamp()))]
    done = subprocess.run([*command, "-CAfile", f"{folder}/roots.pem", *moment], capture_output=True)
    return done.returncode == 0


KEYS: dict[str, Callable[[], Key]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("between", [False, True])
@pytest.mark.parametrize("key", KEYS)
def test_what_openssl_stamped_is_accepted_offline_by_us_and_by_openssl(
    tmp_path: Path, openssl: str, key: str, between: bool
) -> None:
    middle = an_issuer(0) if between else None
    authority = an_authority.found(tmp_path / "a", key=KEYS[key](), middle=middle, digest="sha512")
    token = stamped(authority, nonce=2**127 + 5)
    told = check(token, DATA, authority.roots, nonce=2**127 + 5)
    assert abs(told.at - datetime.now(UTC)) < timedelta(minutes=1)
    assert told.authority == "CN=Fictional time stamps"
    assert told.expires == authority.signer.not_valid_after_utc
    weak = 2026 if key == "RSA" else 2036
    assert told.lasts == min(told.expires, datetime(weak, 1, 1, tzinfo=UTC))
    assert verified_by_openssl(authority, token, DATA)


def test_the_older_way_to_name_the_certificate_is_understood(tmp_path: Path, openssl: str) -> None:
    authority = an_authority.found(tmp_path / "a", identified_by="sha1")
    assert check(stamped(authority), DATA, authority.roots)


def test_certificates_in_any_order_are_accepted(tmp_path: Path, openssl: str) -> None:
    authority = an_authority.found(tmp_path / "a", middle=an_issuer(0))
    token = asn1.decode_der(form.Token, stamped(authority))
    carried = token.signed.certificates
    assert carried is not None
    assert len(carried) == 2
    for order in (carried, carried[::-1]):
        token.signed.certificates = order
        assert check(asn1.encode_der(token), DATA, authority.roots)


def test_a_token_of_long_ago_is_accepted_after_its_certificate_ended(tmp_path: Path, openssl: str) -> None:
    ended = (timedelta(days=-400), timedelta(days=-1))
    authority = an_authority.found(tmp_path / "a", valid=ended, middle=an_issuer())
    token = authority.by_hand(DATA, LONG_AGO)
    told = check(token, DATA, authority.roots)
    assert told.at == LONG_AGO
    assert told.expires < NOW
    assert verified_by_openssl(authority, token, DATA, at=LONG_AGO)
    assert not verified_by_openssl(authority, token, DATA)


@pytest.mark.parametrize("outside", [timedelta(days=-401), timedelta(days=1)])
def test_a_token_of_a_time_at_which_its_certificate_was_not_valid_is_refused(
    tmp_path: Path, openssl: str, outside: timedelta
) -> None:
    authority = an_authority.found(tmp_path / "a", valid=(timedelta(days=-400), timedelta(days=0)))
    with pytest.raises(StampRefused, match="each of them valid at"):
        check(authority.by_hand(DATA, NOW + outside), DATA, authority.roots)


def test_any_changed_byte_of_token_or_data_is_refused(tmp_path: Path, openssl: str) -> None:
    authority = an_authority.found(tmp_path / "a", middle=an_issuer(0))
    token = stamped(authority)
    assert check(token, DATA, authority.roots)
    for place in range(len(token)):
        changed = bytearray(token)
        changed[place] ^= 1 << place % 8
        with pytest.raises(StampRefused):
            check(bytes(changed), DATA, authority.roots)
    for place in range(len(DATA)):
        other = bytearray(DATA)
        other[place] ^= 1
        with pytest.raises(StampRefused, match="over other data"):
            check(token, bytes(other), authority.roots)
    for short in range(0, len(token), 7):
        with pytest.raises(StampRefused):
            check(token[:short], DATA, authority.roots)
    with pytest.raises(StampRefused):
        check(token + b"\0", DATA, authority.roots)


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else_happens(garbage: bytes) -> None:
    with pytest.raises(StampRefused):
        check(garbage, DATA, b"")
    with pytest.raises(StampRefused):
        read_answer(garbage)


def test_another_root_of_the_same_name_is_not_enough(authority: Authority, tmp_path: Path) -> None:
    other = an_authority.found(tmp_path / "elsewhere" / "authority")
    token = stamped(authority)
    with pytest.raises(StampRefused, match="do not lead to a given root"):
        check(token, DATA, other.roots)
    assert check(token, DATA, other.roots + authority.roots)
    for roots in (b"", b"no certificate", pem(authority.root)[:-40]):
        with pytest.raises(StampRefused, match="cannot be read as PEM"):
            check(token, DATA, roots)


def test_a_token_that_answers_another_question_is_refused(authority: Authority) -> None:
    with pytest.raises(StampRefused, match="answers another question"):
        check(stamped(authority, nonce=7), DATA, authority.roots, nonce=8)


USAGE = x509.ExtendedKeyUsage


@pytest.mark.parametrize(
    "extensions",
    [
        [critical(SIGNS)],
        [critical(SIGNS), x509.Extension(USAGE.oid, False, STAMPING.value)],
        [
            critical(SIGNS),
            critical(USAGE([ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING])),
        ],
        [critical(SIGNS), critical(USAGE([ExtendedKeyUsageOID.SERVER_AUTH]))],
        [critical(an_authority.SIGNS_CERTIFICATES), STAMPING],
    ],
    ids=["no purpose", "not critical", "another purpose too", "another purpose", "not for signing"],
)
def test_a_certificate_that_is_not_for_time_stamping_alone_is_refused(
    tmp_path: Path, openssl: str, extensions: list[x509.Extension[Any]]
) -> None:
    authority = an_authority.found(tmp_path / "a", stamper=extensions)
    token = authority.by_hand(DATA, LONG_AGO)
    with pytest.raises(StampRefused, match="that the time stamp was signed with is not for"):
        check(token, DATA, authority.roots)


@pytest.mark.parametrize(
    "middle",
    [
        [critical(x509.BasicConstraints(False, None)), critical(an_authority.SIGNS_CERTIFICATES)],
        [critical(an_authority.SIGNS_CERTIFICATES)],
        [critical(x509.BasicConstraints(True, None)), critical(SIGNS)],
        [*an_issuer(), critical(USAGE([ExtendedKeyUsageOID.SERVER_AUTH]))],
    ],
    ids=["no authority", "not said to be one", "may not sign certificates", "for another purpose"],
)
def test_a_chain_over_somebody_who_may_not_vouch_is_refused(
    tmp_path: Path, openssl: str, middle: list[x509.Extension[Any]]
) -> None:
    authority = an_authority.found(tmp_path / "a", middle=middle)
    with pytest.raises(StampRefused, match="do not lead to a given root"):
        check(authority.by_hand(DATA, LONG_AGO), DATA, authority.roots)


def test_a_path_that_is_longer_than_its_authority_allows_is_refused(tmp_path: Path, openssl: str) -> None:
    authority = an_authority.found(tmp_path / "a", middle=an_issuer())
    token = asn1.decode_der(form.Token, authority.by_hand(DATA, LONG_AGO))
    assert check(asn1.encode_der(token), DATA, authority.roots)
    key = ec.generate_private_key(ec.SECP256R1())
    long = (NOW - timedelta(days=4000), NOW + timedelta(days=4000))
    carried = token.signed.certificates
    assert carried is not None
    for length, holds in ((2, True), (1, False)):
        above = an_authority.certificate("Another root", key, None, long, an_issuer(length))
        crossed = an_authority.certificate(
            "Fictional root of a", authority.root_key, (above, key), long, an_issuer()
        )
        token.signed.certificates = [*carried, asn1.decode_der(asn1.TLV, der(crossed))]
        if holds:
            assert check(asn1.encode_der(token), DATA, pem(above))
        else:
            with pytest.raises(StampRefused, match="path length"):
                check(asn1.encode_der(token), DATA, pem(above))


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def algorithm(oid: str, parameters: asn1.Null | form.Pss | None = None) -> form.SignatureAlgorithm:
    return form.SignatureAlgorithm(algorithm=ObjectIdentifier(oid), parameters=parameters)


SHA1 = ObjectIdentifier("1.3.14.3.2.26")
NOTHING = form.HashAlgorithm(algorithm=SHA1, parameters=None)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"version": 2}, "of version 2"),
        ({"imprint": form.Imprint(algorithm=NOTHING, digest=bytes(20))}, "not over a SHA-512"),
        ({"digest": SHA1}, "weaker than SHA-256"),
        ({"algorithm": algorithm("1.2.840.10045.4.1")}, "too weak or not known"),
        ({"content_type": ObjectIdentifier("1.2.840.113549.1.7.1")}, "This is no time stamp"),
        ({"signatures": 2}, "has 2 signatures"),
        ({"signatures": 0}, "has 0 signatures"),
        ({"without": ("1.2.840.113549.1.9.3",)}, "lacks its attribute"),
        ({"without": ("1.2.840.113549.1.9.4",)}, "lacks its attribute"),
        ({"without": ("1.2.840.113549.1.9.16.2.47",)}, "does not name its certificate"),
        ({"sign": lambda key, message: an_authority.sign_ecdsa(key, message + b".")}, "does not hold"),
        (
            {"extensions": [form.Extension(type=SHA1, critical=True, value=b"")]},
            "critical extension that is not known",
        ),
    ],
)
def test_a_token_composed_wrongly_is_refused_and_told_why(
    authority: Authority, wrong: dict[str, Any], words: str
) -> None:
    assert check(authority.by_hand(DATA, LONG_AGO), DATA, authority.roots)
    with pytest.raises(StampRefused, match=words):
        check(authority.by_hand(DATA, LONG_AGO, **wrong), DATA, authority.roots)


def test_a_token_that_names_another_certificate_than_it_was_signed_with_is_refused(
    tmp_path: Path, openssl: str
) -> None:
    authority = an_authority.found(tmp_path / "a", middle=an_issuer())
    with pytest.raises(StampRefused, match="is not in it"):
        check(authority.by_hand(DATA, LONG_AGO, named=authority.root), DATA, authority.roots)
    with pytest.raises(StampRefused, match="two different certificates"):
        check(authority.by_hand(DATA, LONG_AGO, named=authority.between[0]), DATA, authority.roots)


RSA_SHA256 = algorithm("1.2.840.113549.1.1.11", asn1.Null())
STRONG = form.HashAlgorithm(algorithm=SHA256, parameters=None)
MASK = form.Mask(algorithm=ObjectIdentifier("1.2.840.113549.1.1.8"), hash=STRONG)


PSS_OID = "1.2.840.113549.1.1.10"
PSS = algorithm(PSS_OID, form.Pss(hash=STRONG, mask=MASK, salt=32, trailer=None))
PSS_OF_SHA1 = algorithm(PSS_OID, form.Pss(hash=None, mask=MASK, salt=32, trailer=None))


def sign_pkcs1(key: Key, message: bytes) -> bytes:
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.sign(message, padding.PKCS1v15(), hashes.SHA256())


def test_rsa_is_accepted_in_both_paddings_and_refused_when_weak(tmp_path: Path, openssl: str) -> None:
    strong = an_authority.found(tmp_path / "strong", key=rsa.generate_private_key(65537, 3072))
    for parts in (
        {"algorithm": RSA_SHA256, "sign": sign_pkcs1},
        {"algorithm": algorithm("1.2.840.113549.1.1.1", asn1.Null()), "sign": sign_pkcs1},
        {"algorithm": PSS, "sign": an_authority.sign_pss},
    ):
        token = strong.by_hand(DATA, LONG_AGO, **parts)
        assert check(token, DATA, strong.roots).lasts == datetime(2036, 1, 1, tzinfo=UTC)
        # OpenSSL's own command for time stamps does not read PSS.
        assert verified_by_openssl(strong, token, DATA) is (parts["algorithm"] is not PSS)
    with pytest.raises(StampRefused, match="SHA-1"):
        check(
            strong.by_hand(DATA, LONG_AGO, algorithm=PSS_OF_SHA1, sign=an_authority.sign_pss),
            DATA,
            strong.roots,
        )
    weak = an_authority.found(tmp_path / "weak", key=rsa.generate_private_key(65537, 1024))
    token = weak.by_hand(DATA, LONG_AGO, algorithm=RSA_SHA256, sign=sign_pkcs1)
    with pytest.raises(StampRefused, match="too weak or not known"):
        check(token, DATA, weak.roots)


def test_ed25519_is_accepted(tmp_path: Path, openssl: str) -> None:
    authority = an_authority.found(tmp_path / "a", key=ed25519.Ed25519PrivateKey.generate())

    def sign(key: Key, message: bytes) -> bytes:
        assert isinstance(key, ed25519.Ed25519PrivateKey)
        return key.sign(message)

    token = authority.by_hand(DATA, LONG_AGO, algorithm=algorithm("1.3.101.112"), sign=sign)
    assert check(token, DATA, authority.roots).at == LONG_AGO


def test_a_curve_that_is_not_agreed_upon_is_refused(tmp_path: Path, openssl: str) -> None:
    authority = an_authority.found(tmp_path / "a", key=ec.generate_private_key(ec.SECP256K1()))
    with pytest.raises(StampRefused, match="too weak or not known"):
        check(authority.by_hand(DATA, LONG_AGO), DATA, authority.roots)


@pytest.mark.parametrize("status", [2, 3, 4, 5])
def test_an_answer_that_is_a_refusal_is_told_in_the_authoritys_words(status: int) -> None:
    told = form.Status(status=status, words=["The invented clock stands still"], failure=None)
    answer = asn1.encode_der(form.Answer(status=told, token=None))
    with pytest.raises(StampRefused, match=f'status {status}: "The invented clock stands still"'):
        read_answer(answer)


def test_an_answer_without_a_token_or_too_long_is_refused(authority: Authority) -> None:
    granted = form.Status(status=0, words=None, failure=None)
    with pytest.raises(StampRefused, match="no token"):
        read_answer(asn1.encode_der(form.Answer(status=granted, token=None)))
    with pytest.raises(StampRefused, match="longer than"):
        read_answer(bytes(70000))
    with pytest.raises(StampRefused, match="longer than"):
        check(bytes(70000), DATA, authority.roots)


def test_a_refused_question_comes_back_from_openssl_as_a_refusal(authority: Authority) -> None:
    with pytest.raises(StampRefused, match="refused to stamp"):
        read_answer(authority.answer(b"\x30\x00"))


def test_an_answers_token_is_kept_byte_for_byte(authority: Authority) -> None:
    answer = authority.answer(request(DATA, 5))
    assert read_answer(answer) in answer


def test_a_certificate_beside_the_path_that_cannot_be_read_does_no_harm(authority: Authority) -> None:
    token = asn1.decode_der(form.Token, stamped(authority))
    assert token.signed.certificates is not None
    token.signed.certificates.append(asn1.decode_der(asn1.TLV, b"\x30\x02\x05\x00"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check(asn1.encode_der(token), DATA, authority.roots)


# --- renewal


def renewed(first: Authority, second: Authority, at: datetime, again: datetime) -> list[bytes]:
    token = first.by_hand(DATA, at)
    return [token, second.by_hand(token, again)]


def test_a_stamp_renewed_before_its_certificate_ended_still_proves_its_time(
    tmp_path: Path, openssl: str
) -> None:
    old = an_authority.found(tmp_path / "old", valid=(timedelta(days=-400), timedelta(days=-100)))
    new = an_authority.found(tmp_path / "new")
    tokens = renewed(old, new, LONG_AGO, NOW - timedelta(days=101))
    told = check_chain(tokens, DATA, old.roots + new.roots)
    assert [each.at for each in told] == [LONG_AGO, NOW - timedelta(days=101)]
    assert told[0].expires < NOW < told[1].expires
    assert all(isinstance(each, Stamped) for each in told)
    assert verified_by_openssl(new, tokens[1], tokens[0])


def test_a_stamp_renewed_too_late_is_said_to_be_lost(tmp_path: Path, openssl: str) -> None:
    old = an_authority.found(tmp_path / "old", valid=(timedelta(days=-400), timedelta(days=-100)))
    new = an_authority.found(tmp_path / "new")
    roots = old.roots + new.roots
    with pytest.raises(StampRefused, match="what the older one proves is lost"):
        check_chain(renewed(old, new, LONG_AGO, NOW - timedelta(days=99)), DATA, roots)
    with pytest.raises(StampRefused, match="what the older one proves is lost"):
        check_chain(renewed(old, new, LONG_AGO, LONG_AGO - timedelta(days=1)), DATA, roots)


def test_a_chain_with_a_link_missing_swapped_or_of_something_else_is_refused(
    tmp_path: Path, openssl: str
) -> None:
    authority = an_authority.found(tmp_path / "a")
    first, second = renewed(authority, authority, LONG_AGO, NOW)
    third = authority.by_hand(second, NOW)
    assert len(check_chain([first, second, third], DATA, authority.roots)) == 3
    for tokens in ([first, third], [second, first], [second], [first, first], [first, second, first]):
        with pytest.raises(StampRefused, match="over other data"):
            check_chain(tokens, DATA, authority.roots)
    with pytest.raises(StampRefused, match="There is no time stamp"):
        check_chain([], DATA, authority.roots)
