"""Time-stamp tokens (RFC 3161), read and checked with nothing but the roots that one trusts.

A token is an authority's signed statement that it saw a SHA-512 at a time. The rules, in the order in which
they are applied; a token that breaks one raises `StampRefused`:

1. DER in every byte that is read (RFC 3161 section 2.4.2, RFC 5652 section 5): one signer, content type
   id-ct-TSTInfo. Only the order of the certificates is free, because many authorities do not sort them.
2. The statement is version 1, has no critical extension that we do not know, and its imprint is the SHA-512
   of the data.
3. The signed attributes name that content type, that content's digest, and the signer's certificate (RFC 2634
   section 5.4, RFC 5816), which is among the certificates in the token.
4. The signature holds: RSA of at least 2048 bits (PKCS #1 v1.5 or PSS), ECDSA on P-256, P-384 or P-521, or
   Ed25519, with SHA-256, SHA-384 or SHA-512.
5. The signer's certificate is for time stamping and nothing else, and says so in a critical extension
   (RFC 3161 section 2.3).
6. Certificates in the token lead from the signer to a given root, each of them valid **at the stamped time**,
   each issuer a certificate authority whose key may sign certificates, no path too long (RFC 5280 section 6).

What the token carries beyond that (certificates that the path does not need, revocation lists, unsigned
attributes) is not signed, proves nothing and is not looked at. Revocation is not asked about: the answer of a
day decades ago is not to be had. No clock is read; whether a chain has expired *by now* is the reader's to
compare with `Stamped.expires`.

Reading is by `cryptography`'s declarative ASN.1, the path by its verifier; nothing else is needed.
"""

import hashlib
import hmac
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import ObjectIdentifier, verification
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID
from cryptography.x509.verification import Criticality, ExtensionPolicy

from audit.token_form import (
    Answer,
    Attribute,
    HashAlgorithm,
    Imprint,
    IssuerAndSerial,
    Pss,
    Request,
    SignedData,
    Signer,
    SigningCertificate,
    SigningCertificateV2,
    Statement,
    Token,
)

LONGEST_TOKEN: Final = 1 << 16
LONGEST_ANSWER: Final = 1 << 16

WEAKENING: Final = {
    "RSA below 3000 bits": datetime(2026, 1, 1, tzinfo=UTC),
    "RSA": datetime(2036, 1, 1, tzinfo=UTC),
    "ECDSA": datetime(2036, 1, 1, tzinfo=UTC),
    "Ed25519": datetime(2036, 1, 1, tzinfo=UTC),
}
"""From when an algorithm in a stamp counts as weak, so that the stamp is renewed before. Sources: SOG-IS
Agreed Cryptographic Mechanisms 1.3 (RSA below 3000 bits: legacy, until the end of 2025), on which ETSI
TS 119 312 builds; NIST IR 8547, initial public draft (RSA, ECDSA and EdDSA of any length: disallowed after
2035)."""

_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

_SIGNED_DATA: Final = ObjectIdentifier("1.2.840.113549.1.7.2")
_TST_INFO: Final = ObjectIdentifier("1.2.840.113549.1.9.16.1.4")
_CONTENT_TYPE: Final = ObjectIdentifier("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST: Final = ObjectIdentifier("1.2.840.113549.1.9.4")
_SIGNING_CERTIFICATE: Final = ObjectIdentifier("1.2.840.113549.1.9.16.2.12")
_SIGNING_CERTIFICATE_V2: Final = ObjectIdentifier("1.2.840.113549.1.9.16.2.47")
_RSA: Final = ObjectIdentifier("1.2.840.113549.1.1.1")
_MGF1: Final = ObjectIdentifier("1.2.840.113549.1.1.8")
_SHA512: Final = ObjectIdentifier("2.16.840.1.101.3.4.2.3")

_Hash = type[hashes.SHA256] | type[hashes.SHA384] | type[hashes.SHA512]
_HASHES: Final[dict[ObjectIdentifier, _Hash]] = {
    ObjectIdentifier("2.16.840.1.101.3.4.2.1"): hashes.SHA256,
    ObjectIdentifier("2.16.840.1.101.3.4.2.2"): hashes.SHA384,
    _SHA512: hashes.SHA512,
}
_RSA_HASHES: Final[dict[ObjectIdentifier, _Hash]] = {
    SignatureAlgorithmOID.RSA_WITH_SHA256: hashes.SHA256,
    SignatureAlgorithmOID.RSA_WITH_SHA384: hashes.SHA384,
    SignatureAlgorithmOID.RSA_WITH_SHA512: hashes.SHA512,
}
_ECDSA_HASHES: Final[dict[ObjectIdentifier, _Hash]] = {
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: hashes.SHA256,
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: hashes.SHA384,
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: hashes.SHA512,
}


class StampRefused(ValueError):
    """A time stamp is not accepted, or none was given; the message says why, in plain words."""


@dataclass(frozen=True, slots=True)
class Stamped:
    """What an accepted token says."""

    at: datetime
    """The time that the authority states (UTC)."""
    authority: str
    """Who stamped: the subject of the signer's certificate (RFC 4514)."""
    expires: datetime
    """The earliest end of validity among the certificates from the signer to the root. After it, the token
    proves its time only if a later stamp over it was made before."""
    lasts: datetime
    """`expires`, or earlier: when the first algorithm in the chain counts as weak (`WEAKENING`)."""


# --- asking


def request(data: bytes, nonce: int) -> bytes:
    """The bytes of a TimeStampReq over the SHA-512 of `data`, which asks for the certificates too."""
    imprint = Imprint(
        algorithm=HashAlgorithm(algorithm=_SHA512, parameters=asn1.Null()), digest=_sha512(data)
    )
    return asn1.encode_der(Request(version=1, imprint=imprint, nonce=nonce, certificates=True))


def read_answer(answer: bytes) -> bytes:
    """The token in a TimeStampResp, byte for byte; `StampRefused` when there is none."""
    if len(answer) > LONGEST_ANSWER:
        _refuse(f"The authority's answer is longer than {LONGEST_ANSWER} bytes")
    try:
        read = asn1.decode_der(Answer, answer)
    except ValueError as wrong:
        raise StampRefused(f"The authority's answer cannot be read as RFC 3161 demands: {wrong}.") from wrong
    if read.status.status not in (0, 1):  # granted, granted with modifications
        told = "; ".join(word[:200] for word in (read.status.words or [])[:5])
        said = f': "{told}"' if told.isprintable() and told else ""
        _refuse(f"The authority refused to stamp (status {read.status.status}{said})")
    if read.token is None:
        _refuse("The authority's answer has no token in it")
    return asn1.encode_der(read.token)


# --- checking


def check(token: bytes, data: bytes, roots: bytes, nonce: int | None = None) -> Stamped:
    """What `token` says about `data`, by the rules of this file.

    `roots`: certificates in PEM at which the chain may end, from the reader and never from what is checked.
    `nonce`: where given, the one that the token must repeat. Raises `StampRefused`.
    """
    if len(token) > LONGEST_TOKEN:
        _refuse(f"The time stamp is longer than {LONGEST_TOKEN} bytes")
    try:
        read = asn1.decode_der(Token, token)
        if read.type != _SIGNED_DATA or read.signed.content.type != _TST_INFO:
            _refuse("This is no time stamp: it does not hold a signed statement of a time")
        statement = asn1.decode_der(Statement, read.signed.content.bytes)
        _check_statement(statement, data, nonce)
        certificate, embedded = _signer(read.signed)
        chain = _chain(certificate, embedded, _anchors(roots), statement.at.as_datetime())
    except StampRefused:
        raise
    except _UNREADABLE as wrong:
        raise StampRefused(f"The time stamp cannot be read as RFC 3161 demands: {wrong}.") from wrong
    expires = min(each.not_valid_after_utc for each in chain)
    weak = min(_weak_from(each.public_key()) for each in chain)
    return Stamped(
        at=statement.at.as_datetime(),
        authority=certificate.subject.rfc4514_string(),
        expires=expires,
        lasts=min(expires, weak),
    )


def check_chain(tokens: Sequence[bytes], data: bytes, roots: bytes) -> tuple[Stamped, ...]:
    """Check a first stamp over `data` and its renewals, each of which is over the bytes of the one before.

    A renewal must have been made while the chain of the one before was still valid (RFC 4998 section 4.3
    demands the same of archive time stamps); later, nobody can tell a token of then from one forged with a
    key that nobody guards any more. Raises `StampRefused`, also where `tokens` is empty.
    """
    if not tokens:
        _refuse("There is no time stamp")
    found: list[Stamped] = []
    for number, token in enumerate(tokens, 1):
        try:
            stamped = check(token, tokens[number - 2] if found else data, roots)
        except StampRefused as wrong:
            if len(tokens) == 1:
                raise
            raise StampRefused(f"Time stamp {number} of {len(tokens)}: {wrong}") from wrong
        if found and not found[-1].at <= stamped.at <= found[-1].expires:
            older = found[-1]
            _refuse(
                f"Time stamp {number} of {len(tokens)} renews one of {_day(older.at)} that held until"
                f" {_day(older.expires)}, but was made on {_day(stamped.at)}: what the older one proves is"
                " lost"
            )
        found.append(stamped)
    return tuple(found)


def _check_statement(statement: Statement, data: bytes, nonce: int | None) -> None:
    """Rule 2, and the nonce."""
    if statement.version != 1:
        _refuse(f"The time stamp is of version {statement.version}, and only 1 is known")
    if any(extension.critical for extension in statement.extensions or ()):
        _refuse("The time stamp has a critical extension that is not known")
    if statement.imprint.algorithm.algorithm != _SHA512:
        _refuse("The time stamp is not over a SHA-512")
    if not hmac.compare_digest(statement.imprint.digest, _sha512(data)):
        _refuse("The time stamp is over other data")
    if nonce is not None and statement.nonce != nonce:
        _refuse("The time stamp does not repeat the number it was asked with: it answers another question")


def _signer(signed: SignedData) -> tuple[x509.Certificate, list[x509.Certificate]]:
    """Rules 3 to 5: the certificate whose key signed, and all that the token carries."""
    signers = signed.signers.as_list()
    if len(signers) != 1:
        _refuse(f"The time stamp has {len(signers)} signatures; exactly one is allowed")
    signer = signers[0]
    by_issuer = isinstance(signer.id, IssuerAndSerial)
    if signed.version != 3 or signer.version != (1 if by_issuer else 3):
        _refuse("The time stamp is of a version of signed data that is not allowed")
    if signer.digest_algorithm.algorithm not in (a.algorithm for a in signed.digest_algorithms.as_list()):
        _refuse("The time stamp's digest algorithm is not the one it announces")
    digest = _known(signer.digest_algorithm)
    attributes = _attributes(signer)
    if _one(attributes, _CONTENT_TYPE).parse(ObjectIdentifier) != _TST_INFO:
        _refuse("The signature is not over a statement of a time")
    content = hashlib.new(digest.name, signed.content.bytes).digest()
    if not hmac.compare_digest(_one(attributes, _MESSAGE_DIGEST).parse(bytes), content):
        _refuse("The signature is over another statement")
    embedded = [_certificate(each) for each in signed.certificates or ()]
    certificate = _named(attributes, [each for each in embedded if each is not None])
    _check_identified(signer, certificate)
    _check_signature(signer, certificate.public_key(), digest)
    _check_purpose(certificate)
    return certificate, [each for each in embedded if each is not None]


def _attributes(signer: Signer) -> dict[ObjectIdentifier, list[asn1.TLV]]:
    attributes = [each.parse(Attribute) for each in signer.signed]
    found = {each.type: each.values.as_list() for each in attributes}
    if len(found) != len(attributes):
        _refuse("The time stamp states an attribute of its signature twice")
    return found


def _one(attributes: dict[ObjectIdentifier, list[asn1.TLV]], of_type: ObjectIdentifier) -> asn1.TLV:
    values = attributes.get(of_type, [])
    if len(values) != 1:
        _refuse(f"The signature of the time stamp lacks its attribute {of_type.dotted_string}")
    return values[0]


def _certificate(found: asn1.TLV) -> x509.Certificate | None:
    """A certificate that the token carries; None for one that cannot be read, which then proves nothing."""
    try:
        with warnings.catch_warnings():  # of serial numbers below 1, which is for the path to judge
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            return x509.load_der_x509_certificate(asn1.encode_der(found))
    except _UNREADABLE:
        return None


def _named(
    attributes: dict[ObjectIdentifier, list[asn1.TLV]], embedded: Sequence[x509.Certificate]
) -> x509.Certificate:
    """The certificate that the signed attributes name as the signer's (RFC 2634, RFC 5816).

    The older attribute identifies it by SHA-1. That names a certificate whose key and path are checked
    anyway; to stand in for it, another would have to be found with the same SHA-1 *and* the same key.
    """
    named = []
    if _SIGNING_CERTIFICATE_V2 in attributes:
        newer = _one(attributes, _SIGNING_CERTIFICATE_V2).parse(SigningCertificateV2).ids[:1]
        named += [
            (each.hash, hashes.SHA256() if each.algorithm is None else _known(each.algorithm))
            for each in newer
        ]
    if _SIGNING_CERTIFICATE in attributes:
        older = _one(attributes, _SIGNING_CERTIFICATE).parse(SigningCertificate).ids[:1]
        named += [(each.hash, hashes.SHA1()) for each in older]  # noqa: S303 - see above
    if not named:
        _refuse("The signature of the time stamp does not name its certificate")
    for certificate in embedded:
        if all(certificate.fingerprint(algorithm) == digest for digest, algorithm in named):
            return certificate
    raise StampRefused("The certificate that the time stamp was signed with is not in it.")


def _check_identified(signer: Signer, certificate: x509.Certificate) -> None:
    if isinstance(signer.id, IssuerAndSerial):
        issuer = asn1.encode_der(signer.id.issuer)
        same = signer.id.serial == certificate.serial_number and issuer == certificate.issuer.public_bytes()
    else:
        identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        same = identifier.value.digest == signer.id
    if not same:
        _refuse("The time stamp names two different certificates as its signer's")


def _check_signature(signer: Signer, key: CertificatePublicKeyTypes, digest: hashes.HashAlgorithm) -> None:
    """Rule 4. The signature is over the attributes as a SET (RFC 5652 section 5.4)."""
    message = _set_of(b"".join(asn1.encode_der(each) for each in signer.signed))
    algorithm, parameters = signer.signature_algorithm.algorithm, signer.signature_algorithm.parameters
    pss = parameters if isinstance(parameters, Pss) else None
    try:
        if (
            isinstance(key, rsa.RSAPublicKey)
            and key.key_size >= 2048
            and algorithm == SignatureAlgorithmOID.RSASSA_PSS
        ):
            hashed, fill = _pss(pss)
            key.verify(signer.signature, message, fill, hashed)
        elif isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048 and pss is None:
            hashed = digest if algorithm == _RSA else _RSA_HASHES[algorithm]()
            key.verify(signer.signature, message, padding.PKCS1v15(), hashed)
        elif isinstance(key, ec.EllipticCurvePublicKey) and parameters is None and _is_nist(key):
            key.verify(signer.signature, message, ec.ECDSA(_ECDSA_HASHES[algorithm]()))
        elif (
            isinstance(key, ed25519.Ed25519PublicKey)
            and parameters is None
            and algorithm == SignatureAlgorithmOID.ED25519
        ):
            key.verify(signer.signature, message)
        else:
            _refuse("The time stamp is signed with a key or an algorithm that is too weak or not known")
    except InvalidSignature as wrong:
        raise StampRefused("The signature of the time stamp does not hold.") from wrong
    except KeyError as wrong:
        raise StampRefused(
            "The time stamp is signed with an algorithm that is too weak or not known."
        ) from wrong


def _is_nist(key: ec.EllipticCurvePublicKey) -> bool:
    return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1)


def _pss(stated: Pss | None) -> tuple[hashes.HashAlgorithm, padding.PSS]:
    """What RSASSA-PSS parameters say (RFC 4055 section 3.1); a hash left out is SHA-1, which is refused."""
    if stated is None or stated.hash is None or stated.mask is None or stated.mask.algorithm != _MGF1:
        _refuse("The time stamp is signed with SHA-1, or with a mask that is not known")
    if stated.trailer is not None:
        _refuse("The time stamp's signature has parameters that are not known")
    salt = 20 if stated.salt is None else stated.salt
    if not 0 <= salt <= 512:
        _refuse("The time stamp's signature has parameters that are not known")
    return _known(stated.hash), padding.PSS(padding.MGF1(_known(stated.mask.hash)), salt)


def _check_purpose(certificate: x509.Certificate) -> None:
    """Rule 5."""
    found = [each for each in certificate.extensions if isinstance(each.value, x509.ExtendedKeyUsage)]
    if not found or list(found[0].value) != [ExtendedKeyUsageOID.TIME_STAMPING] or not found[0].critical:
        _refuse(
            "The certificate that the time stamp was signed with is not for time stamping alone, or does not"
            " say so in a critical extension"
        )
    usage = [each.value for each in certificate.extensions if isinstance(each.value, x509.KeyUsage)]
    if usage and not (usage[0].digital_signature or usage[0].content_commitment):
        _refuse("The certificate that the time stamp was signed with is not for signing")


def _chain(
    certificate: x509.Certificate,
    embedded: list[x509.Certificate],
    anchors: list[x509.Certificate],
    at: datetime,
) -> list[x509.Certificate]:
    """Rule 6: the certificates from the signer's to a root."""
    issuers = (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs_certificates)
        .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _issues_stampers)
    )
    builder = (
        verification.PolicyBuilder()
        .store(verification.Store(anchors))
        .time(at)
        .extension_policies(ca_policy=issuers, ee_policy=ExtensionPolicy.permit_all())
    )
    try:
        return builder.build_client_verifier().verify(certificate, embedded).chain
    except verification.VerificationError as wrong:
        raise StampRefused(
            "The certificates in the time stamp do not lead to a given root, each of them valid at"
            f" {at:%Y-%m-%d %H:%M} UTC: {wrong}."
        ) from wrong


def _signs_certificates(
    _: verification.Policy, issuer: x509.Certificate, usage: x509.KeyUsage | None
) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError(f"{issuer.subject.rfc4514_string()} may not sign certificates")


def _issues_stampers(
    _: verification.Policy, issuer: x509.Certificate, usage: x509.ExtendedKeyUsage | None
) -> None:
    allowed = (ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    if usage is not None and not any(each in allowed for each in usage):
        raise ValueError(f"{issuer.subject.rfc4514_string()} may not vouch for time stamping")


def _anchors(roots: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(roots)
    except ValueError as wrong:
        raise StampRefused(f"The root certificates cannot be read as PEM: {wrong}.") from wrong


def _weak_from(key: CertificatePublicKeyTypes) -> datetime:
    if isinstance(key, rsa.RSAPublicKey):
        return WEAKENING["RSA below 3000 bits" if key.key_size < 3000 else "RSA"]
    return WEAKENING["ECDSA" if isinstance(key, ec.EllipticCurvePublicKey) else "Ed25519"]


def _known(algorithm: HashAlgorithm) -> hashes.HashAlgorithm:
    if algorithm.algorithm not in _HASHES:
        _refuse("The time stamp uses a digest that is weaker than SHA-256 or not known")
    return _HASHES[algorithm.algorithm]()


def _sha512(data: bytes) -> bytes:
    return hashlib.sha512(data).digest()


def _set_of(content: bytes) -> bytes:
    """A DER SET with that content."""
    size = len(content)
    if size < 128:
        return bytes([0x31, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x31, 0x80 | len(length)]) + length + content


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"


def _refuse(why: str) -> NoReturn:
    raise StampRefused(why + ".")
