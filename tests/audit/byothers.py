"""Verifiers that we did not write, at hand for the tests: Go's, in a program of `others/`, and OpenSSL's.

The Go program is built once, without a network, out of the Go toolchain that the development requirements
bring; that toolchain's own source tree holds `sumdb/note` and `sumdb/tlog`.
"""

import base64
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SOURCE = Path(__file__).parent / "others"
ED25519_SPKI = bytes.fromhex("302a300506032b6570032100")  # RFC 8410: what goes before a raw public key


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the other verifier said; `refused` is its reason, None where it accepted."""

    refused: str | None = None
    size: int = 0
    root: bytes = b""
    signed: int = 0
    unknown: int = 0
    note: str = ""
    path: tuple[bytes, ...] = ()
    public_key: bytes = b""
    signature: bytes = b""


class Go:
    """The program of `others/`, running; a question at a time."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=10)

    def ask(self, what: str, **question: object) -> Answer:
        """Put one question; fails when the program broke instead of answering."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"ask": what, **question}, default=_base64) + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        assert said, f"the Go program ended over {what}"
        return _answer(json.loads(said))


def _base64(data: object) -> str:
    assert isinstance(data, bytes)
    return base64.b64encode(data).decode()


def _answer(said: dict[str, Any]) -> Answer:
    for name in ("root", "public_key", "signature"):
        said[name] = base64.b64decode(said.get(name, ""))
    said["path"] = tuple(base64.b64decode(one) for one in said.get("path", []))
    return Answer(**said)


def toolchain() -> Path | None:
    """The folder of the Go toolchain out of the development requirements; None where it is missing."""
    found = importlib.util.find_spec("go")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent


def build(go: Path, folder: Path) -> Path:
    """The program of `others/`, built in `folder` with nothing from a network."""
    work = folder / "others"
    shutil.copytree(SOURCE, work)
    shutil.copytree(go / "src/cmd/vendor/golang.org/x/mod", work / "mod")
    (work / "mod" / "go.mod").write_text("module golang.org/x/mod\n\ngo 1.27\n")
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "TMPDIR": tempfile.gettempdir(),
        "GOROOT": str(go),
        "GOPATH": str(folder / "path"),
        "GOCACHE": str(Path(sys.prefix) / "custody-go"),  # what Go compiled, for the next run
        "GOFLAGS": "-mod=mod",
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
        "GOSUMDB": "off",
        "CGO_ENABLED": "0",
    }
    done = subprocess.run(
        [go / "bin" / "go", "build", "-o", "program", "."],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return work / "program"


def openssl_verifies(openssl: str, folder: Path, public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `openssl pkeyutl` accepts an Ed25519 signature (raw key, 32 bytes) over `message`."""
    files = {"key.der": ED25519_SPKI + public_key, "message": message, "signature": signature}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    command = [openssl, "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", "key.der"]
    command += ["-in", "message", "-sigfile", "signature"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    accepted = done.stdout.startswith("Signature Verified Successfully")
    assert accepted or "Signature Verification Failure" in done.stdout, done.stderr
    assert accepted == (done.returncode == 0)
    return accepted
