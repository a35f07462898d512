"""A witness of our own making (C2SP tlog-witness), small and strict, that shares no code with the log.

It parses requests, checks log signatures, verifies consistency by the recursive definition of RFC 6962
section 2.1.2, keeps the last checkpoint of each log in a file, and signs with Ed25519, ML-DSA-44 or both.
Beside it: servers that behave as no witness should.
"""

import base64
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

ED25519 = 0x04
ML_DSA_44 = 0x06


class BadRequest(ValueError):
    """The request is not what the specification demands."""


@dataclass(frozen=True)
class Request:
    """A parsed request: sizes, proof, root, the note's text, and its signatures as (name, key id, bytes)."""

    old: int
    proof: list[bytes]
    origin: str
    size: int
    root: bytes
    text: str
    signatures: list[tuple[str, bytes, bytes]]


def number(text: str) -> int:
    if not re.fullmatch("0|[1-9][0-9]*", text, re.ASCII):
        raise BadRequest(f"not a number: {text}")
    return int(text)


def base64_of(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as wrong:
        raise BadRequest("not base64") from wrong
    if base64.b64encode(data).decode() != text:
        raise BadRequest("not base64 as it is written")
    return data


def parse(body: bytes) -> Request:
    """The request in `body`; `BadRequest` for anything that is none."""
    try:
        whole = body.decode("utf-8")
    except UnicodeDecodeError as wrong:
        raise BadRequest("not UTF-8") from wrong
    head, _, checkpoint = whole.partition("\n\n")
    first, *hashes = head.split("\n")
    if not first.startswith("old ") or len(hashes) > 63:
        raise BadRequest("no old size, or too many hashes")
    proof = [base64_of(one) for one in hashes]
    if any(len(one) != 32 for one in proof):
        raise BadRequest("a hash is not a hash")
    text, blank, lines = checkpoint.partition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise BadRequest("the note is cut off")
    parts = text.split("\n")
    if len(parts) < 3 or not parts[0]:
        raise BadRequest("the checkpoint has less than three lines")
    signatures = []
    for line in lines[:-1].split("\n"):
        found = re.fullmatch(r"— ([^\s+]+) ([A-Za-z0-9+/=]+)", line)
        if found is None:
            raise BadRequest("a signature line is none")
        data = base64_of(found[2])
        signatures.append((found[1], data[:4], data[4:]))
    size, old, root = number(parts[1]), number(first[4:]), base64_of(parts[2])
    if old > size or len(root) != 32 or (old == 0 and proof):
        raise BadRequest("the sizes or the root make no sense")
    return Request(old, proof, parts[0], size, root, text + "\n", signatures)


def consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: list[bytes]) -> bool:
    """Whether `proof` is PROOF(old, D[new]) of RFC 6962 section 2.1.2, for 0 < old <= new."""
    rest = list(proof)

    def node(left: bytes, right: bytes) -> bytes:
        return sha256(b"\x01" + left + right).digest()

    def roots(m: int, n: int, whole: bool) -> tuple[bytes, bytes]:
        """The old and the new root over a subtree, by SUBPROOF(m, D[n], whole), read from its end."""
        if m == n:
            known = old_root if whole else rest.pop()
            return known, known
        k = 1
        while k * 2 < n:
            k *= 2
        last = rest.pop()
        if m <= k:
            older, newer = roots(m, k, whole)
            return older, node(newer, last)
        older, newer = roots(m - k, n - k, False)
        return node(last, older), node(last, newer)

    try:
        found = roots(old, new, True)
    except IndexError:
        return False
    return not rest and found == (old_root, new_root)


@dataclass(frozen=True)
class LogKey:
    """A log's public key, out of its vkey."""

    name: str
    key_id: bytes
    kind: int
    public: bytes

    @classmethod
    def read(cls, vkey: str) -> "LogKey":
        name, key_id, data = vkey.split("+", 2)
        raw = base64.b64decode(data)
        return cls(name, bytes.fromhex(key_id), raw[0], raw[1:])

    def verifies(self, request: Request, signature: bytes) -> bool:
        try:
            if self.kind == 0x01:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, request.text.encode())
            else:
                at = int.from_bytes(signature[:8], "big")
                message = subtree(self.name, at, request)
                MLDSA44PublicKey.from_public_bytes(self.public).verify(signature[8:], message)
        except (InvalidSignature, ValueError):
            return False
        return True


def subtree(name: str, at: int, request: Request) -> bytes:
    """`cosigned_message` of C2SP tlog-cosignature."""
    cosigner, origin = name.encode(), request.origin.encode()
    return struct.pack(
        f">12sB{len(cosigner)}sQB{len(origin)}sQQ32s",
        b"subtree/v1\n\x00",
        *(len(cosigner), cosigner, at, len(origin), origin, 0, request.size, request.root),
    )


@dataclass
class AWitness:
    """A running witness: `name`, its key types, the file with what it saw last, and whom it knows."""

    name: str
    state: Path
    logs: list[LogKey]
    kinds: tuple[int, ...] = (ED25519,)
    seed: bytes = bytes(32)
    tls: ssl.SSLContext | None = None
    now: Callable[[], int] = lambda: int(time.time())
    before: Callable[[], None] = lambda: None
    asked: list[tuple[int, int, int]] = field(default_factory=list)
    """Every request that could be parsed: (old size, checkpoint size, status answered)."""
    bodies: list[bytes] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    port: int = 0

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/witness"

    def public(self, kind: int) -> bytes:
        if kind == ML_DSA_44:
            return MLDSA44PrivateKey.from_seed_bytes(self.seed).public_key().public_bytes_raw()
        return Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()

    def key_id(self, kind: int) -> bytes:
        return sha256(self.name.encode() + b"\n" + bytes([kind]) + self.public(kind)).digest()[:4]

    def vkey(self, kind: int = ED25519) -> str:
        encoded = base64.b64encode(bytes([kind]) + self.public(kind)).decode()
        return f"{self.name}+{self.key_id(kind).hex()}+{encoded}"

    def seen(self) -> dict[str, tuple[int, str]]:
        """The size and root (hex) of the last cosigned checkpoint of each log."""
        if not self.state.exists():
            return {}
        return {origin: (size, root) for origin, (size, root) in json.loads(self.state.read_text()).items()}

    def cosign(self, request: Request) -> str:
        at, lines = self.now(), []
        for kind in self.kinds:
            if kind == ED25519:
                message = f"cosignature/v1\ntime {at}\n{request.text}".encode()
                raw = Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)
            else:
                raw = MLDSA44PrivateKey.from_seed_bytes(self.seed).sign(subtree(self.name, at, request))
            data = self.key_id(kind) + at.to_bytes(8, "big") + raw
            lines.append(f"— {self.name} {base64.b64encode(data).decode()}\n")
        return "".join(lines)

    def answer(self, body: bytes) -> tuple[int, str, str]:
        """Status, media type and body, in the order of checks of the specification."""
        self.before()
        self.bodies.append(body)
        try:
            request = parse(body)
        except BadRequest as wrong:
            return 400, "text/plain", f"{wrong}\n"
        with self.lock:
            status, media_type, text = self._judge(request)
        self.asked.append((request.old, request.size, status))
        return status, media_type, text

    def _judge(self, request: Request) -> tuple[int, str, str]:
        known = [key for key in self.logs if key.name == request.origin]
        if not known:
            return 404, "text/plain", "unknown log\n"
        claimed = [
            key.verifies(request, signature)
            for name, key_id, signature in request.signatures
            for key in known
            if (key.name, key.key_id) == (name, key_id)
        ]
        if not claimed or not all(claimed):
            return 403, "text/plain", "not signed by a known key\n"
        seen = self.seen()
        size, root = seen.get(request.origin, (0, ""))
        if request.old != size or (request.size == size and request.root.hex() != root):
            return 409, "text/x.tlog.size", f"{size}\n"
        if size and not consistent(size, bytes.fromhex(root), request.size, request.root, request.proof):
            return 422, "text/plain", "not consistent\n"
        seen[request.origin] = (request.size, request.root.hex())
        fresh = self.state.with_suffix(".new")
        fresh.write_text(json.dumps(seen))
        fresh.replace(self.state)
        return 200, "text/plain; charset=utf-8", self.cosign(request)


@contextmanager
def running(witness: AWitness) -> Iterator[AWitness]:
    """Serve `witness` on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, media_type, text = (404, "text/plain", "no such address\n")
            if self.path == "/witness/add-checkpoint":
                status, media_type, text = witness.answer(body)
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(data), 1000):
                piece = data[at : at + 1000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            """Nothing: the tests look at `asked`."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that goes away in the middle is part of the stories."""

    server = Server(("127.0.0.1", 0), Handler)
    if witness.tls is not None:
        server.socket = witness.tls.wrap_socket(server.socket, server_side=True)
    witness.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield witness
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def misbehaving(answer: Callable[[socket.socket, bytes], None]) -> Iterator[str]:
    """The address of a server that takes whole requests and lets `answer` do with the connection what it
    likes; each connection is closed when the test ends."""
    listening = socket.create_server(("127.0.0.1", 0))
    open_ones: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        try:
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(65536)
            head, _, body = data.partition(b"\r\n\r\n")
            found = re.search(rb"Content-Length: (\d+)", head)
            assert found is not None
            while len(body) < int(found[1]):
                body += connection.recv(65536)
            answer(connection, body)
        except OSError:
            return  # the client went away, as it should from such a server

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            open_ones.append(connection)
            threads.append(threading.Thread(target=serve, args=[connection]))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/witness"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        accepting.join()
        for connection in open_ones:
            with suppress(OSError):  # the other side may have closed it
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in threads:
            thread.join()


def says(data: bytes) -> Callable[[socket.socket, bytes], None]:
    """An answer of exactly `data`, after which the connection is closed."""

    def answer(connection: socket.socket, body: bytes) -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_RDWR)

    return answer


def http_answer(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def says_nothing(connection: socket.socket, body: bytes) -> None:
    """Wait until the other side, or the test, gives up."""
    connection.recv(1)


def drips(connection: socket.socket, body: bytes) -> None:
    """One byte of a header after the other, for ever."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        connection.sendall(b"z")
        time.sleep(0.05)
