"""Where mail is handed in, and who it says it is from: two settings, read strictly."""

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from desk.wording import telling


class CannotSend(Exception):
    """A setting of the sending that cannot be right. The message is for the operator, and names no address
    of a victim and no password."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in. ``implicit``: TLS from the first byte (smtps); otherwise STARTTLS."""

    host: str
    port: int
    implicit: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The address of the server as `read_server` reads it."""
        signed_in = f"{quote(self.user, safe='')}:{quote(self.password or '', safe='')}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'smtps' if self.implicit else 'smtp'}://{signed_in}{host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """A server on this very machine, which alone is spoken to without TLS."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who the message says it is from: an address, and a neutral name (None: that of the wording)."""

    address: str
    name: str | None = None

    @property
    def written(self) -> str:
        """The sender as `read_sender` reads it."""
        return self.address if self.name is None else f"{self.name} <{self.address}>"

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]

    def returned_to(self, token: str) -> str:
        """The envelope sender of one message: a bounce comes back to ``local+token@domain``."""
        local, _, domain = self.address.rpartition("@")
        return f"{local}+{token}@{domain}"


def read_server(value: str) -> MailServer:
    """`smtp://user:pass@host:587` or `smtps://user:pass@host:465`. Raises CannotSend."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise CannotSend(
            'CUSTODY_SMTP_URL must look like "smtp://user:password@mail.example:587" or'
            ' "smtps://user:password@mail.example:465".'
        )
    if (parts.username is None) != (parts.password is None):
        raise CannotSend("CUSTODY_SMTP_URL has a user without a password, or the other way round.")
    if not unquote(f"{parts.username or ''}{parts.password or ''}").isascii():
        raise CannotSend("CUSTODY_SMTP_URL: servers read a user and a password alike only in ASCII.")
    implicit = parts.scheme == "smtps"
    return MailServer(
        host=parts.hostname,
        port=port or (465 if implicit else 587),
        implicit=implicit,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )


def read_sender(value: str) -> Sender:
    """`post@mail.example`, or `A neutral name <post@mail.example>`. Raises CannotSend.

    A name or address that would tell what the message is about is refused.
    """
    name, bracket, rest = value.rpartition("<")
    address = rest.removesuffix(">") if bracket else value
    named = name.strip().strip('"').strip()
    local, _, domain = address.strip().rpartition("@")
    if not local or not domain or "+" in local or len(local) > 37 or not address.strip().isascii():
        raise CannotSend(
            'CUSTODY_NOTICE_FROM must be an address such as "post@mail.example", or "A neutral name'
            ' <post@mail.example>"; before the @ at most 37 characters and no +.'
        )
    if (told := telling(f"{named} {address}")) is not None:
        raise CannotSend(
            "CUSTODY_NOTICE_FROM would tell whoever looks over a shoulder what the message is about:"
            f' "{told}".'
        )
    return Sender(address=address.strip(), name=named or None)
