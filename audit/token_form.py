"""The structures of time stamps, as data: what `audit.token` reads and writes.

RFC 3161 sections 2.4.1 and 2.4.2 (request, answer, statement), RFC 5652 section 5 (signed data), RFC 2634
section 5.4 and RFC 5816 (which certificate signed), RFC 4055 section 3.1 (RSASSA-PSS). DER is demanded by the
reader, `cryptography.hazmat.asn1`, which raises `ValueError` for anything else. Where ASN.1 says SET OF and
authorities do not sort it, the same bytes are read as a list.
"""

from typing import Annotated

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier


@asn1.sequence
class HashAlgorithm:
    """AlgorithmIdentifier of a digest."""

    algorithm: ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class Mask:
    """AlgorithmIdentifier of a mask generation function."""

    algorithm: ObjectIdentifier
    hash: HashAlgorithm


@asn1.sequence
class Pss:
    """RSASSA-PSS-params; what is absent has the default of RFC 4055."""

    hash: Annotated[HashAlgorithm | None, asn1.Explicit(0)]
    mask: Annotated[Mask | None, asn1.Explicit(1)]
    salt: Annotated[int | None, asn1.Explicit(2)]
    trailer: Annotated[int | None, asn1.Explicit(3)]


@asn1.sequence
class SignatureAlgorithm:
    """AlgorithmIdentifier of a signature."""

    algorithm: ObjectIdentifier
    parameters: asn1.Null | Pss | None


@asn1.sequence
class Imprint:
    """MessageImprint."""

    algorithm: HashAlgorithm
    digest: bytes


@asn1.sequence
class Request:
    """TimeStampReq, with the parts that we ask with."""

    version: int
    imprint: Imprint
    nonce: int
    certificates: bool


@asn1.sequence
class Accuracy:
    """How far the stated time may be off."""

    seconds: int | None
    millis: Annotated[int | None, asn1.Implicit(0)]
    micros: Annotated[int | None, asn1.Implicit(1)]


@asn1.sequence
class Extension:
    """Extension of RFC 5280."""

    type: ObjectIdentifier
    critical: Annotated[bool, asn1.Default(False)]
    value: bytes


@asn1.sequence
class Statement:
    """TSTInfo: what the authority states."""

    version: int
    policy: ObjectIdentifier
    imprint: Imprint
    serial: int
    at: asn1.GeneralizedTime
    accuracy: Accuracy | None
    ordering: bool | None
    nonce: int | None
    authority: Annotated[list[asn1.TLV] | None, asn1.Implicit(0)]
    extensions: Annotated[list[Extension] | None, asn1.Implicit(1)]


@asn1.sequence
class Attribute:
    """A signed attribute of RFC 5652."""

    type: ObjectIdentifier
    values: asn1.SetOf[asn1.TLV]


@asn1.sequence
class IssuerAndSerial:
    """One of the two ways to name the signer's certificate."""

    issuer: asn1.TLV
    serial: int


@asn1.sequence
class Signer:
    """SignerInfo."""

    version: int
    id: IssuerAndSerial | Annotated[bytes, asn1.Implicit(0)]
    digest_algorithm: HashAlgorithm
    signed: Annotated[list[asn1.TLV], asn1.Implicit(0)]
    signature_algorithm: SignatureAlgorithm
    signature: bytes
    unsigned: Annotated[list[asn1.TLV] | None, asn1.Implicit(1)]


@asn1.sequence
class Content:
    """EncapsulatedContentInfo."""

    type: ObjectIdentifier
    bytes: Annotated[bytes, asn1.Explicit(0)]


@asn1.sequence
class SignedData:
    """SignedData; `lists` are revocation lists."""

    version: int
    digest_algorithms: asn1.SetOf[HashAlgorithm]
    content: Content
    certificates: Annotated[list[asn1.TLV] | None, asn1.Implicit(0)]
    lists: Annotated[list[asn1.TLV] | None, asn1.Implicit(1)]
    signers: asn1.SetOf[Signer]


@asn1.sequence
class Token:
    """ContentInfo: the token itself."""

    type: ObjectIdentifier
    signed: Annotated[SignedData, asn1.Explicit(0)]


@asn1.sequence
class Status:
    """PKIStatusInfo."""

    status: int
    words: list[str] | None
    failure: asn1.BitString | None


@asn1.sequence
class Answer:
    """TimeStampResp."""

    status: Status
    token: Token | None


@asn1.sequence
class EssId:
    """ESSCertID: the SHA-1 of a certificate."""

    hash: bytes
    issuer: list[asn1.TLV] | None


@asn1.sequence
class EssIdV2:
    """ESSCertIDv2; without an algorithm, SHA-256."""

    algorithm: HashAlgorithm | None
    hash: bytes
    issuer: list[asn1.TLV] | None


@asn1.sequence
class SigningCertificate:
    """RFC 2634."""

    ids: list[EssId]
    policies: list[asn1.TLV] | None


@asn1.sequence
class SigningCertificateV2:
    """RFC 5816 and RFC 5035."""

    ids: list[EssIdV2]
    policies: list[asn1.TLV] | None
