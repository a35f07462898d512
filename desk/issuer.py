"""The local issuer: signs in the invented people of the demo, and nobody else.

It exists only where demo mode is switched on by name, and it refuses a database that is not marked as
fictional; a database that is marked fictional is in turn refused by a service without demo mode. The mark
is set once, at the first start, and never changes (`desk.database_kind`): no kit of a real person can end
up behind a sign-in that asks for no proof, and no invented kit among real ones.

Its tokens pass the same `desk.token.Verifier` as everybody's.
"""

import hashlib
import json
import os
import secrets
import stat
from base64 import urlsafe_b64encode
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jose import jwk, jwt
from sqlalchemy.ext.asyncio import AsyncConnection

from desk.token import Issuer, read_jwks

KEY_FILE: Final = "demo-issuer-key.pem"
PATH: Final = "/demo-issuer"
CLIENT: Final = "custody-demo"
LIFE: Final = timedelta(minutes=15)


class DemoRefused(Exception):
    """The demo's issuer, or the service, does not start like this; the message says why and what to do."""


class LocalIssuer:
    """Issues short-lived access tokens (RFC 9068) signed with ES256 for the people of the demo."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, base_url: str) -> None:
        self._key = key
        self.url = base_url.rstrip("/") + PATH
        self.audience = base_url.rstrip("/")
        numbers = key.public_key().public_numbers()
        public = {
            "crv": "P-256",
            "kty": "EC",
            "x": _unsigned(numbers.x),
            "y": _unsigned(numbers.y),
        }
        self._jwk = {**public, "kid": _thumbprint(public), "use": "sig", "alg": "ES256"}

    @classmethod
    def open(cls, *, demo: bool, data: Path, base_url: str) -> "LocalIssuer":
        """The issuer whose key lies in the folder `data`, made at the first call.

        Raises `DemoRefused` when demo mode is off, or when others on the machine could read the key.
        """
        if not demo:
            raise DemoRefused("The demo's issuer is refused: demo mode is not switched on.")
        return cls(_key_in(data / KEY_FILE), base_url)

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public key as a key set (RFC 7517), to be published."""
        return {"keys": [dict(self._jwk)]}

    def trusted(self) -> Issuer:
        """This issuer as the verifier's configuration, its key inline: the service need not ask itself."""
        return Issuer(
            url=self.url,
            audience=self.audience,
            algorithms=frozenset({"ES256"}),
            jwks=read_jwks(self.jwks()),
            longest_life=LIFE,
        )

    def issue(self, person: str, at: datetime) -> str:
        """An access token for the invented person `person`, valid from `at` for `LIFE`."""
        issued = int(at.timestamp())
        claims: dict[str, Any] = {
            "iss": self.url,
            "aud": self.audience,
            "sub": person,
            "client_id": CLIENT,
            "iat": issued,
            "auth_time": issued,
            "exp": issued + int(LIFE.total_seconds()),
            "jti": secrets.token_urlsafe(16),
        }
        token: str = jwt.encode(
            claims,
            jwk.construct(self._private(), "ES256"),
            algorithm="ES256",
            headers={"typ": "at+jwt", "kid": self._jwk["kid"]},
        )
        return token

    def _private(self) -> str:
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode("ascii")


async def settle_database(connection: AsyncConnection, *, demo: bool) -> None:
    """Mark the database as fictional or real at the first start, and refuse the wrong one ever after.

    To be called at start in a transaction that is then committed, before anything else is written. A
    database that already holds kits is never marked fictional. Raises `DemoRefused`.
    """
    wanted = "fictional" if demo else "real"
    kind = (await connection.execute(sa.select(sa.func.desk.settle_database_kind(wanted)))).scalar_one()
    if kind == wanted:
        return
    if demo:
        raise DemoRefused(
            "The demo is refused on this database: it is for real kits, and the demo's sign-in asks for no"
            " proof. Start the demo with another data folder or another database."
        )
    raise DemoRefused(
        "The service is refused on this database: the demo filled it with fictional kits. Start it with"
        " another data folder or another database, or switch demo mode on."
    )


def _key_in(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key in the file, made when there is none. Several processes may come here at once: one key wins."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(made)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process was first; its key is the key
        finally:
            draft.unlink()
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise DemoRefused(
            f"The key {path} is refused: others on this machine may read it. Delete it; a new one is made."
        )
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError:
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise DemoRefused(f"The key {path} is refused: it is no P-256 key. Delete it; a new one is made.")
    return key


def _unsigned(number: int) -> str:
    return urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode("ascii")


def _thumbprint(public: dict[str, str]) -> str:
    """RFC 7638: the digest of the required members in lexical order."""
    text = json.dumps(public, separators=(",", ":"), sort_keys=True)
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode("ascii")
