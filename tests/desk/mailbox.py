"""A real mail server on loopback, which keeps what it received exactly as it came."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from desk.postgres import free_port

USER, PASSWORD = "relay@invented.example", "p:ss/w%rd"


@dataclass
class Mailbox:
    """What arrived, and how the server answers: one answer for each message, the last one for all others."""

    received: list[Envelope] = field(default_factory=list)
    greetings: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    to_recipients: list[str] = field(default_factory=list)
    to_contents: list[str] = field(default_factory=list)
    asked: int = 0
    port: int = 0

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.greetings.append(hostname)
        return responses

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.asked += 1
        answer = self._next(self.to_recipients)
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return answer.format(address=address)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        answer = self._next(self.to_contents)
        if answer.startswith("2"):
            self.received.append(envelope)
            self.encrypted.append(session.ssl is not None)
        return answer

    @staticmethod
    def _next(answers: list[str]) -> str:
        if not answers:
            return "250 OK"
        return answers.pop(0) if len(answers) > 1 else answers[0]

    @property
    def raw(self) -> list[bytes]:
        """Each message as it came over the wire, with the envelope before it."""
        return [
            "\n".join([str(e.mail_from), *e.mail_options, *e.rcpt_tos, *e.rcpt_options]).encode()
            + b"\n\n"
            + (e.content if isinstance(e.content, bytes) else b"")
            for e in self.received
        ]


def _signed_in(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (
        USER.encode(),
        PASSWORD.encode(),
    )
    return AuthResult(success=right, handled=False)


@contextmanager
def notifying_server() -> Iterator[tuple[int, list[str]]]:
    """A server that offers delivery status notifications (RFC 3461), which aiosmtpd does not: its port, and
    each line that it was told. One connection."""
    lines: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rwb") as stream:

                def say(text: str) -> None:
                    stream.write(text.encode() + b"\r\n")
                    stream.flush()

                say("220 receiver.example")
                in_content = False
                for line in stream:
                    told = line.decode().rstrip("\r\n")
                    lines.append(told)
                    if in_content and told != ".":
                        continue
                    verb = told.split(" ")[0].lower()
                    in_content = verb == "data"
                    known = {
                        "ehlo": "250-receiver.example\r\n250 DSN",
                        "data": "354 go on",
                        "quit": "221 bye",
                    }
                    say(known.get(verb, "250 OK"))
                    if verb == "quit":
                        return

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        yield listening.getsockname()[1], lines
        thread.join(timeout=10)


@contextmanager
def mail_server(certificate: tuple[Path, Path] | None = None, *, sign_in: bool = False) -> Iterator[Mailbox]:
    """A server; with a certificate and key it wants STARTTLS, and with ``sign_in`` user and password."""
    box = Mailbox(port=free_port())
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    controller = Controller(
        box,
        hostname="127.0.0.1",
        port=box.port,
        tls_context=context,
        require_starttls=context is not None,
        authenticator=_signed_in if sign_in else None,
        auth_required=sign_in,
        auth_require_tls=True,
        auth_exclude_mechanism=["LOGIN"],
        server_hostname="receiver.example",
    )
    controller.start()
    try:
        yield box
    finally:
        controller.stop()
