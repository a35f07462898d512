"""How this service is registered at a provider (RFC 6749, section 2) at which people sign in to the pages."""

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

MEMBERS: Final = frozenset(
    {"client_id", "client_name", "client_secret_file", "client_key_file", "client_key_id", "scopes"}
)
LONGEST_NAME: Final = 200  # characters of a subject, a login, a key identifier, a client
LONGEST_SECRET: Final = 1000
SMALLEST_RSA: Final = 2048  # bits


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientKey:
    """The key with which the service proves to a provider that it is the client (`private_key_jwt`)."""

    id: str
    algorithm: str
    pem: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client at one provider. It proves itself with exactly one of `secret` and `key`.

    `name` is what the button on the sign-in page says: the organisation whose people sign in there.
    """

    id: str
    name: str
    scopes: tuple[str, ...] = ("openid",)
    secret: str | None = field(default=None, repr=False)
    key: ClientKey | None = None


def is_name(value: str) -> bool:
    """Whether a text can name something: 1 to `LONGEST_NAME` characters that can be seen."""
    return 1 <= len(value) <= LONGEST_NAME and value.isprintable() and value == value.strip()


def read_client(entry: Mapping[str, object], where: str, folder: Path) -> Client | None:
    """The client that one issuer of the configuration names, or None.

    `{"client_id": TEXT, "client_name": TEXT, "client_key_file": PATH, "client_key_id": TEXT}` (a private key
    in PEM: P-256 or RSA) or with `"client_secret_file": PATH` instead of the key; optional: `"scopes"`, a
    list that has "openid". Paths are relative to `folder`; nobody but the file's owner may read them.
    `ValueError` says in a sentence what is wrong.
    """
    given = MEMBERS & set(entry)
    if not given:
        return None
    if missing := sorted({"client_id", "client_name"} - given):
        raise ValueError(f"{where} lacks {', '.join(missing)}.")
    if ("client_secret_file" in given) == ("client_key_file" in given):
        raise ValueError(f'{where} needs either "client_key_file" or "client_secret_file".')
    if ("client_key_file" in given) != ("client_key_id" in given):
        raise ValueError(f'{where} needs "client_key_id" with "client_key_file", and only then.')
    scopes = entry.get("scopes", ["openid"])
    if (
        not isinstance(scopes, list)
        or "openid" not in scopes
        or not all(isinstance(scope, str) and is_name(scope) and " " not in scope for scope in scopes)
    ):
        raise ValueError(f'{where}.scopes must be a list of words, one of them "openid".')
    if "client_key_file" in given:
        pem = _kept(entry["client_key_file"], f"{where}.client_key_file", folder)
        id_ = _text(entry["client_key_id"], f"{where}.client_key_id")
        key = ClientKey(id=id_, algorithm=_algorithm(pem, f"{where}.client_key_file"), pem=pem)
        secret = None
    else:
        key = None
        secret = _kept(entry["client_secret_file"], f"{where}.client_secret_file", folder).strip()
        if not 16 <= len(secret) <= LONGEST_SECRET or not secret.isascii() or not secret.isprintable():
            raise ValueError(f"{where}.client_secret_file must hold a line of at least 16 ASCII characters.")
    return Client(
        id=_text(entry["client_id"], f"{where}.client_id"),
        name=_text(entry["client_name"], f"{where}.client_name"),
        scopes=tuple(scopes),
        secret=secret,
        key=key,
    )


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not is_name(value):
        raise ValueError(f"{where} must be a text of 1 to {LONGEST_NAME} characters.")
    return value


def _kept(value: object, where: str, folder: Path) -> str:
    """The text of a file that only its owner may read."""
    path = folder / _text(value, where)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or stat.S_IMODE(found.st_mode) & 0o177:
            raise ValueError(f"{where}: others may read or change the file; it must have the mode 0600.")
        return path.read_text(encoding="ascii")
    except OSError as fault:
        raise ValueError(f"{where}: the file cannot be read: {fault.strerror}.") from None
    except UnicodeDecodeError:
        raise ValueError(f"{where}: the file is not ASCII text.") from None


def _algorithm(pem: str, where: str) -> str:
    try:
        key = load_pem_private_key(pem.encode("ascii"), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return "ES256"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= SMALLEST_RSA:
        return "RS256"
    raise ValueError(f"{where} must hold a private key in PEM without password: P-256, or RSA of 2048 bits.")
