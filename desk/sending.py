"""How a notice leaves the house: by SMTP, or through the operator's own program for text messages.

What is sent says nothing. Its words stand in one data file, in four languages: no link, no code, no name of a
centre, no number of a kit, nothing about violence, no deadline. The headers say no more: a Message-ID and an
envelope sender made of an opaque token, the time in UTC, `Auto-Submitted` (RFC 3834, section 5), no name of
this machine in the greeting (the domain of the sender is said instead).

The *token* is 128 bits that nobody can guess or lead back to a kit: an HMAC, under a key that lies in the
folder of keys alone, of the event that asked for the message. The event's own digest would not do: it is a
leaf of the public log. The same request has the same token however often it is sent, so that a mail server
that sees a message twice, because we crashed between its acceptance and our record of it, sees one
Message-ID.

A mail server is believed in its code alone: 5xx for the recipient or the content is final, everything else
(4xx, no connection, a refused sign-in of ours, an answer without end) is tried later. The operator's program
for text messages gets one JSON object on its standard input and says by its exit status how it went: 0
accepted, 75 (EX_TEMPFAIL of sysexits.h) later, anything else refused; where a signal ends it, it has said
nothing and is asked again. Neither an address nor an answer's words are kept, logged or raised.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import signal
import smtplib
import ssl
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from desk.conversation import Conversation, Deadline, EncryptedConversation
from desk.mail import CannotSend, MailServer, Sender
from desk.masters import alone, write_new
from desk.wording import wording

KEY_FILE: Final = "notices.key"
KEY_BYTES: Final = 32
TOKEN_BITS: Final = 128

SMTP_WITHIN: Final = 60.0  # seconds for the whole conversation with a mail server
SMS_WITHIN: Final = 30.0  # seconds for the operator's program
LATER: Final = 75  # EX_TEMPFAIL: the program asks to be asked again


class How(StrEnum):
    """What came of one try, as `notice.attempted` records it."""

    SENT = "sent"
    TRIED = "tried"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one try: how, and why in a word of ours, with the server's code or the program's status.

    Never the server's own words: they often repeat the address.
    """

    how: How
    why: str
    code: int | None = None

    def __str__(self) -> str:
        return f"{self.how}: {self.why}" + (f" ({self.code})" if self.code is not None else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What goes out. Its address and words are for nobody's log."""

    channel: str
    to: str = field(repr=False)
    language: str
    token: str = field(repr=False)
    at: datetime


# --- the token ------------------------------------------------------------------------------------


def token_key(keys: Path) -> bytes:
    """The key of the tokens, made where there is none. Raises CannotSend for a file others can read."""
    path = keys / KEY_FILE
    with alone(keys):
        if not path.exists():
            write_new(path, secrets.token_bytes(KEY_BYTES))
    with path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise CannotSend(f"{path} can be read by others. Set its mode to 0600.")
        found = file.read(KEY_BYTES + 1)
    if len(found) != KEY_BYTES:
        raise CannotSend(f"{path} is not a key of {KEY_BYTES} bytes. Bring it back from its copy.")
    return found


def token_of(key: bytes, event: bytes) -> str:
    """The token of the message that this event (its digest) asked for: 26 small letters and digits."""
    made = hmac.digest(key, b"custody notice\n" + event, hashlib.sha256)[: TOKEN_BITS // 8]
    return base64.b32encode(made).decode().rstrip("=").lower()


# --- words ----------------------------------------------------------------------------------------


def mail(message: Message, sender: Sender) -> EmailMessage:
    """The message as it is handed to the mail server, without anything that tells."""
    texts = wording(message.language)
    made = EmailMessage(policy=SMTP)
    made["From"] = Address(sender.name or texts["sender"], addr_spec=sender.address)
    made["To"] = Address(addr_spec=message.to)
    made["Subject"] = texts["subject"]
    made["Date"] = format_datetime(message.at.astimezone(UTC))
    made["Message-ID"] = message_id(message.token, sender)
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(texts["body"], cte="quoted-printable")
    return made


def message_id(token: str, sender: Sender) -> str:
    return f"<{token}@{sender.domain}>"


# --- by SMTP --------------------------------------------------------------------------------------


def send_mail(message: Message, server: MailServer, sender: Sender, within: float = SMTP_WITHIN) -> Outcome:
    """Hand the message to the mail server; blocks, so it runs in a thread. Raises nothing.

    It ends after ``within`` seconds, whatever the server does; what was accepted before stays accepted.
    """
    try:
        content = mail(message, sender)
    except (ValueError, IndexError):
        return Outcome(How.FAILED, "address_refused")
    with Deadline(within) as deadline:
        outcome = _talk(message, content, server, sender, deadline)
    if outcome.how is How.TRIED and (deadline.passed or deadline.flooded):
        return Outcome(How.TRIED, "too_slow" if deadline.passed else "server_says_too_much")
    return outcome


def _talk(
    message: Message, content: EmailMessage, server: MailServer, sender: Sender, deadline: Deadline
) -> Outcome:
    try:
        connection = _connected(server, sender.domain, deadline)
        try:
            return _hand_in(connection, content, sender.returned_to(message.token), message)
        finally:
            _take_leave(connection)
    except _NoTls:
        return Outcome(How.TRIED, "no_tls")
    except smtplib.SMTPAuthenticationError as refused:
        return Outcome(How.TRIED, "sign_in_refused", refused.smtp_code)
    except smtplib.SMTPResponseException as refused:
        return Outcome(How.TRIED, "refused_before_the_recipient", refused.smtp_code)
    except ssl.SSLError:
        return Outcome(How.TRIED, "certificate_not_trusted")
    except (OSError, smtplib.SMTPException):
        return Outcome(How.TRIED, "no_connection")


class _NoTls(Exception):
    """The server offers no TLS, and is not on this machine."""


def _connected(server: MailServer, greeting: str, deadline: Deadline) -> smtplib.SMTP:
    """A connection that is encrypted, to a server whose certificate was checked, and signed in to."""
    trust = ssl.create_default_context()
    made: smtplib.SMTP
    if server.implicit:
        made = EncryptedConversation(server.host, server.port, greeting, deadline, trust)
    else:
        made = Conversation(server.host, server.port, greeting, deadline)
    try:
        made.ehlo_or_helo_if_needed()
        if not server.implicit:
            if made.has_extn("starttls"):
                made.starttls(context=trust)
                made.ehlo()
            elif not server.loopback:
                raise _NoTls
        if server.user is not None and server.password is not None:
            made.login(server.user, server.password)
    except BaseException:
        made.close()
        raise
    return made


def _take_leave(connection: smtplib.SMTP) -> None:
    """Say QUIT; however it is answered, what was accepted stays accepted."""
    with contextlib.suppress(OSError, smtplib.SMTPException):
        connection.quit()
    connection.close()


def _hand_in(connection: smtplib.SMTP, content: EmailMessage, back_to: str, message: Message) -> Outcome:
    """MAIL, RCPT, DATA. From the recipient on, 5xx is final (RFC 5321, section 4.2.1)."""
    asked, notify = [], []
    if connection.has_extn("dsn"):  # RFC 3461: the headers alone come back, under our own name for it
        asked = ["RET=HDRS", f"ENVID={message.token}"]
        notify = ["NOTIFY=FAILURE"]
    code, _ = connection.mail(back_to, asked)
    if code != 250:
        return Outcome(How.TRIED, "sender_refused", code)
    code, _ = connection.rcpt(message.to, notify)
    if code not in (250, 251):
        return Outcome(_final(code), "recipient_refused", code)
    try:
        code, _ = connection.data(content.as_bytes())
    except smtplib.SMTPDataError as refused:
        return Outcome(_final(refused.smtp_code), "content_refused", refused.smtp_code)
    return Outcome(How.SENT, "accepted") if code == 250 else Outcome(_final(code), "content_refused", code)


def _final(code: int) -> How:
    return How.FAILED if 500 <= code <= 599 else How.TRIED


# --- text messages --------------------------------------------------------------------------------


def send_text(message: Message, command: Sequence[str], within: float = SMS_WITHIN) -> Outcome:
    """Ask the operator's program to send a text message; blocks, so it runs in a thread.

    It gets ``{"to", "text", "id"}`` as JSON, none of the service's own settings in its environment, and its
    output goes nowhere: it could repeat the number.
    """
    handed = {"to": message.to, "text": wording(message.language)["short"], "id": message.token}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CUSTODY_")}
    try:
        with subprocess.Popen(  # noqa: S603 (the operator's own program, named in the settings)
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=environment,
        ) as process:
            try:
                process.communicate(json.dumps(handed).encode(), timeout=within)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return Outcome(How.TRIED, "program_too_slow")
            status = process.returncode
    except OSError:
        return Outcome(How.TRIED, "program_cannot_be_run")
    if status == 0:
        return Outcome(How.SENT, "accepted")
    if status < 0:  # a signal ended it: it did not say no
        return Outcome(How.TRIED, "program_was_stopped", -status)
    return Outcome(How.TRIED if status == LATER else How.FAILED, "program_said_no", status)
