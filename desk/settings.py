"""What the service is told by its environment: one frozen object, read once.

Every setting is a variable `CUSTODY_…`. A variable that is misspelt or has a value that
cannot be right stops the service with one sentence, because a setting that is silently
ignored shows only on the day it was needed.
"""

import difflib
import ipaddress
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from desk.mail import CannotSend, MailServer, Sender, read_sender, read_server

DEMO: Final = "fictional"
"""The one value of CUSTODY_DEMO that switches the demo on: it names what the kits are."""

DRIVER: Final = "postgresql+psycopg"


class CannotStart(Exception):
    """The service does not start. The message is one sentence for the person who started it:
    what was refused, why, and what can be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. `read` makes one from the environment and raises CannotStart."""

    data: Path
    """Folder of the embedded PostgreSQL and of the keys."""
    database_url: str | None
    """PostgreSQL as role custody_service; None: the service runs its own embedded server."""
    clerk_database_url: str | None
    """The same database as role custody_clerk."""
    migrator_database_url: str | None
    """The same database as role custody_migrator."""
    host: str
    port: int
    base_url: str
    """Address that people and labels use, without a final slash."""
    workers: int
    """Number of web worker processes."""
    demo: bool
    """Fictional kits and a local issuer of sign-ins."""
    issuers: Path | None
    """JSON file that names the OpenID issuers whose tokens are accepted."""
    origin: str
    """Name of the log of events in its checkpoints (C2SP tlog-checkpoint: a schema-less URL)."""
    keys: Path
    """Folder of the signing keys and of the last signed notes."""
    slot_minutes: int
    """The log leaves the house in slots of so many minutes, counted from midnight UTC."""
    witnesses: Path | None
    """The policy (C2SP tlog-policy) that names the witnesses and their quorum."""
    witness_alarm_hours: int
    """An alarm when no quorum of witnesses was reached for so many hours."""
    stamp_url: str | None
    """The authority of RFC 3161 time stamps that is asked."""
    stamp_roots: Path | None
    """PEM file of the certificates at which the stamps' chains must end."""
    proxies: tuple[str, ...] = ()
    """Addresses and networks of the reverse proxies whose X-Forwarded-For and -Proto are believed."""
    backup_days: int = 90
    """The oldest backup of the database is destroyed after so many days at the latest."""
    smtp: MailServer | None = field(default=None, repr=False)
    """Where notices are handed in; None: every notice by e-mail is work for a person."""
    notice_from: Sender | None = None
    """Who a notice says it is from."""
    sms_command: tuple[str, ...] | None = None
    """The operator's program that sends a text message; None: text messages are work for a person."""


KNOWN: Final[Mapping[str, str]] = {
    "CUSTODY_DATA": "folder of the embedded PostgreSQL and of the keys",
    "CUSTODY_DATABASE_URL": "PostgreSQL as custody_service",
    "CUSTODY_CLERK_DATABASE_URL": "the same database as custody_clerk",
    "CUSTODY_MIGRATOR_DATABASE_URL": "the same database as custody_migrator",
    "CUSTODY_HOST": "address to listen on",
    "CUSTODY_PORT": "port to listen on",
    "CUSTODY_BASE_URL": "address that people and labels use",
    "CUSTODY_WORKERS": "number of web workers",
    "CUSTODY_DEMO": f'"{DEMO}" switches the demo on',
    "CUSTODY_ISSUERS": "JSON file that names the OpenID issuers",
    "CUSTODY_ORIGIN": "name of the log in its checkpoints",
    "CUSTODY_KEYS": "folder of the signing keys",
    "CUSTODY_SLOT_MINUTES": "how often the public log is published (default 1440: daily)",
    "CUSTODY_WITNESSES": "policy file (C2SP tlog-policy) of the witnesses",
    "CUSTODY_WITNESS_ALARM_HOURS": "alarm after so long without a quorum (default 48)",
    "CUSTODY_BACKUP_DAYS": "after how many days the oldest backup is destroyed (default 90)",
    "CUSTODY_STAMP_URL": "authority of time stamps (RFC 3161)",
    "CUSTODY_STAMP_ROOTS": "PEM file of the authority's root certificates",
    "CUSTODY_SMTP_URL": "mail server for notices: smtp://user:password@host:587 or smtps://…",
    "CUSTODY_NOTICE_FROM": "neutral sender of notices, such as post@mail.example",
    "CUSTODY_SMS_COMMAND": "program that sends a text message (JSON on its standard input)",
    "CUSTODY_PROXIES": "reverse proxies whose X-Forwarded-For is believed (default: none)",
}
"""Every variable that is read. CUSTODY_TEST_… belongs to the tests and is left alone."""


def read(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in `environment` (default: the process's own).

    Raises CannotStart, in one sentence, at the first variable that is unknown or wrong. An
    empty variable counts as unset.
    """
    given = {
        name: value
        for name, value in (os.environ if environment is None else environment).items()
        if name.startswith("CUSTODY_") and not name.startswith("CUSTODY_TEST_") and value != ""
    }
    _refuse_unknown(given)
    host = given.get("CUSTODY_HOST", "127.0.0.1")
    port = _number(given, "CUSTODY_PORT", default=8000, least=1, most=65535)
    shown = f"[{host}]" if ":" in host else host
    base_url = _base_url(given.get("CUSTODY_BASE_URL", f"http://{shown}:{port}"))
    database_url, clerk_url, migrator_url = _databases(given)
    notices = _notices(given)
    data = Path(given.get("CUSTODY_DATA", "var")).expanduser().absolute()
    return Settings(
        data=data,
        database_url=database_url,
        clerk_database_url=clerk_url,
        migrator_database_url=migrator_url,
        host=host,
        port=port,
        base_url=base_url,
        workers=_number(given, "CUSTODY_WORKERS", default=2, least=1, most=64),
        demo=_demo(given),
        issuers=_file(given, "CUSTODY_ISSUERS"),
        origin=_origin(given.get("CUSTODY_ORIGIN"), base_url),
        keys=Path(given.get("CUSTODY_KEYS", data / "keys")).expanduser().absolute(),
        slot_minutes=_number(given, "CUSTODY_SLOT_MINUTES", default=1440, least=1, most=1440),
        witnesses=_file(given, "CUSTODY_WITNESSES"),
        witness_alarm_hours=_number(given, "CUSTODY_WITNESS_ALARM_HOURS", default=48, least=1, most=9999),
        backup_days=_number(given, "CUSTODY_BACKUP_DAYS", default=90, least=1, most=3650),
        stamp_url=_stamp_url(given),
        stamp_roots=_file(given, "CUSTODY_STAMP_ROOTS"),
        proxies=_proxies(given.get("CUSTODY_PROXIES", "")),
        smtp=notices.smtp,
        notice_from=notices.notice_from,
        sms_command=notices.sms_command,
    )


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables that make `read` return `settings` again, for a child process."""
    given: dict[str, object | None] = {
        "CUSTODY_DATA": settings.data,
        "CUSTODY_DATABASE_URL": settings.database_url,
        "CUSTODY_CLERK_DATABASE_URL": settings.clerk_database_url,
        "CUSTODY_MIGRATOR_DATABASE_URL": settings.migrator_database_url,
        "CUSTODY_HOST": settings.host,
        "CUSTODY_PORT": settings.port,
        "CUSTODY_BASE_URL": settings.base_url,
        "CUSTODY_WORKERS": settings.workers,
        "CUSTODY_DEMO": DEMO if settings.demo else None,
        "CUSTODY_ISSUERS": settings.issuers,
        "CUSTODY_ORIGIN": settings.origin,
        "CUSTODY_KEYS": settings.keys,
        "CUSTODY_SLOT_MINUTES": settings.slot_minutes,
        "CUSTODY_WITNESSES": settings.witnesses,
        "CUSTODY_WITNESS_ALARM_HOURS": settings.witness_alarm_hours,
        "CUSTODY_STAMP_URL": settings.stamp_url,
        "CUSTODY_BACKUP_DAYS": settings.backup_days,
        "CUSTODY_STAMP_ROOTS": settings.stamp_roots,
        "CUSTODY_PROXIES": ",".join(settings.proxies) or None,
        "CUSTODY_SMTP_URL": settings.smtp and settings.smtp.url,
        "CUSTODY_NOTICE_FROM": settings.notice_from and settings.notice_from.written,
        "CUSTODY_SMS_COMMAND": settings.sms_command and shlex.join(settings.sms_command),
    }
    return {name: str(value) for name, value in given.items() if value is not None}


def _refuse_unknown(given: Mapping[str, str]) -> None:
    for name in sorted(given):
        if name not in KNOWN:
            near = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0)[0]
            raise CannotStart(f"{name} is no setting of Custody; the nearest one is {near}.")


def _number(given: Mapping[str, str], name: str, *, default: int, least: int, most: int) -> int:
    value = given.get(name, str(default))
    if not (value.isascii() and value.isdigit() and len(value) <= 5 and least <= int(value) <= most):
        raise CannotStart(f'{name} must be a whole number from {least} to {most}, not "{value}".')
    return int(value)


def _file(given: Mapping[str, str], name: str) -> Path | None:
    if name not in given:
        return None
    path = Path(given[name]).expanduser().absolute()
    if not path.is_file():
        raise CannotStart(f"{name} names {path}, but there is no such file.")
    return path


@dataclass(frozen=True, slots=True)
class _Notices:
    smtp: MailServer | None
    notice_from: Sender | None
    sms_command: tuple[str, ...] | None


def _notices(given: Mapping[str, str]) -> _Notices:
    """How notices are sent. A refusal never repeats a value: it may hold a password."""
    url, sender, program = (
        given.get(f"CUSTODY_{name}") for name in ("SMTP_URL", "NOTICE_FROM", "SMS_COMMAND")
    )
    if (url is None) != (sender is None):
        raise CannotStart("CUSTODY_SMTP_URL and CUSTODY_NOTICE_FROM are set together, or neither is.")
    try:
        return _Notices(
            smtp=None if url is None else read_server(url),
            notice_from=None if sender is None else read_sender(sender),
            sms_command=None if program is None else _program("CUSTODY_SMS_COMMAND", program),
        )
    except CannotSend as wrong:
        raise CannotStart(str(wrong)) from None


def _program(name: str, value: str) -> tuple[str, ...]:
    """A program and its arguments, as a shell would split them."""
    try:
        command = tuple(shlex.split(value))
    except ValueError:
        command = ()
    if not command or shutil.which(command[0]) is None:
        raise CannotStart(f"{name} does not name a program that can be run.")
    return command


def _stamp_url(given: Mapping[str, str]) -> str | None:
    value = given.get("CUSTODY_STAMP_URL")
    if value is None:
        return None
    if not value.startswith(("https://", "http://")) or not urlsplit(value).hostname:
        raise CannotStart(f'CUSTODY_STAMP_URL must be the address of a time stamp authority, not "{value}".')
    if "CUSTODY_STAMP_ROOTS" not in given:
        raise CannotStart(
            "CUSTODY_STAMP_URL is set without CUSTODY_STAMP_ROOTS, which would check the stamps."
        )
    return value


def _proxies(value: str) -> tuple[str, ...]:
    """Addresses and networks, comma between them; never everybody's, or anybody could name any address."""
    found = []
    for each in value.split(",") if value else ():
        try:
            network = ipaddress.ip_network(each.strip())
        except ValueError:
            network = None
        if network is None or network.prefixlen == 0:
            raise CannotStart(
                f'CUSTODY_PROXIES takes addresses and networks of reverse proxies, such as "10.0.0.7" or'
                f' "10.0.1.0/24", with commas between them; "{each.strip()}" is none.'
            )
        found.append(str(network.network_address) if network.num_addresses == 1 else str(network))
    return tuple(found)


def _demo(given: Mapping[str, str]) -> bool:
    value = given.get("CUSTODY_DEMO")
    if value not in (None, DEMO):
        raise CannotStart(f'CUSTODY_DEMO is either unset or "{DEMO}", not "{value}".')
    return value == DEMO


def _base_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 (raises on a port that is no number)
    except ValueError:
        parts = urlsplit("")
    plain = not (parts.query or parts.fragment or parts.username or parts.path.strip("/"))
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise CannotStart(
            f'CUSTODY_BASE_URL must look like "https://custody.example", without a path, not "{value}".'
        )
    return value.rstrip("/")


def _origin(value: str | None, base_url: str) -> str:
    origin = f"{urlsplit(base_url).hostname}/log" if value is None else value
    if (
        len(origin.encode()) > 180
        or "+" in origin
        or "://" in origin
        or any(c.isspace() or not c.isprintable() for c in origin)
    ):
        raise CannotStart(
            f'CUSTODY_ORIGIN must be a name of at most 180 bytes such as "custody.example/log", without'
            f' "://", "+" or spaces,'
            f' not "{origin}".'
        )
    return origin


def _databases(given: Mapping[str, str]) -> tuple[str | None, str | None, str | None]:
    names = ("CUSTODY_DATABASE_URL", "CUSTODY_CLERK_DATABASE_URL", "CUSTODY_MIGRATOR_DATABASE_URL")
    service, clerk, migrator = (_database(name, given[name]) if name in given else None for name in names)
    if service is None and (clerk or migrator):
        other = names[1] if clerk else names[2]
        raise CannotStart(f"{other} is set without {names[0]}; both must name the same database.")
    return service, clerk, migrator


def _database(name: str, value: str) -> str:
    scheme, mark, rest = value.partition("://")
    if scheme not in ("postgresql", "postgres", DRIVER) or not mark or not rest:
        # The value is not repeated: it may hold a password.
        raise CannotStart(f'{name} must start with "postgresql://".')
    return f"{DRIVER}://{rest}"
