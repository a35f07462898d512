"""Asking witnesses to cosign what was published (C2SP tlog-witness, `add-checkpoint`).

A request is `old <size>`, the consistency proof from there in base64, an empty line, and the signed note; the
answer is one or more signature lines. The rules:

1. Only published checkpoints leave the house, and proofs inside their trees. A witness learns no size that
   is not public.
2. All witnesses are asked at once; each has ten seconds and 64 KiB for its answer. What one of them does
   never touches the others.
3. Addresses are https, or http on this machine's loopback. A redirect is not followed.
4. Where a witness is at another size (409), it is asked once more from the size that it states. A size
   above ours is grave: the witness saw more of the log than we hold. So is 422: the witness knows a log of
   our name that ours does not continue. Neither is asked again in this round.
5. A cosignature is verified, with its time, before it is stored; lines by other keys are left out; a line
   in a witness's name that is not by its key refuses the whole answer.
6. Stored lines are never changed. If two rounds run at once, the first line stays.

Two keys of one witness (two lines of the policy with one address) are asked for in one request.
"""

import asyncio
import http.client
import io
import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, cast
from urllib.parse import urlsplit

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit import tables
from audit.checkpoint import Checkpoint
from audit.key import NotSigned
from audit.log import prove_consistency, signed_size
from audit.note import MAX_SIGNATURES, Note, Signature
from audit.policy import Policy, Quorum, Trouble, Witness
from audit.text import HASH_BYTES, Malformed, read_decimal, read_utf8, write_base64
from audit.tile import MissingTile

MAX_HASHES: Final = 63  # in one request; no tree of a size that PostgreSQL counts needs more
ASK_SECONDS: Final = 10.0  # for one request, from the connection to the last byte
LARGEST_ANSWER: Final = 64 * 1024  # bytes, with its headers
AHEAD: Final = 300  # seconds by which a witness's clock may be ahead of ours
ROUNDS: Final = 2  # requests to one witness in one round: the second after a 409

SIZE_TYPE: Final = "text/x.tlog.size"  # the media type that says: this is the size I am at

_PATH: Final = "/add-checkpoint"
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_PIECE: Final = 16_384


@dataclass(frozen=True, slots=True)
class Published:
    """The last publication of a log: its `size`, its signed `note`, and when it left the house."""

    size: int
    note: Note
    at: datetime


@dataclass(frozen=True, slots=True)
class Line:
    """A stored cosignature: the key's name and id, the signature line, and when it came."""

    key: tuple[str, bytes]
    text: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back over HTTP: status, media type in lower case without parameters, body."""

    status: int
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Address:
    """Where a witness is asked, out of its submission prefix."""

    host: str
    port: int
    tls: bool
    path: str

    @classmethod
    def read(cls, url: str) -> "Address":
        """The address of `add-checkpoint` below the prefix `url`; `Malformed` for one that is not used."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as wrong:
            raise Malformed("its address is not a web address") from wrong
        if not url.isascii() or not host or parts.username is not None or "?" in url or "#" in url:
            raise Malformed("its address is not a plain web address in ASCII")
        if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
            raise Malformed("its address is not https (http only on this machine's loopback)")
        tls = parts.scheme == "https"
        return cls(host, port or (443 if tls else 80), tls, parts.path.rstrip("/") + _PATH)

    def head(self, length: int) -> bytes:
        """The head of a request with a body of `length` bytes."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (
            f"POST {self.path} HTTP/1.1\r\nHost: {host}:{self.port}\r\nUser-Agent: custody\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n"
            "Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
        ).encode()


class _Stop(Exception):
    """This witness gives no cosignature now, for the reason in plain words."""

    def __init__(self, words: str, *, grave: bool = False) -> None:
        super().__init__(words)
        self.grave = grave


def write_request(old: int, hashes: Sequence[bytes], note: Note) -> bytes:
    """The body of a request: the log grew from `old` leaves to the checkpoint in `note`, as `hashes` show.

    Raises `Malformed` for what no witness would take: `old` above the checkpoint's size, a proof from
    nothing or of more than 63 hashes, a hash that has not 32 bytes.
    """
    size = Checkpoint.read(note.text).size
    if not 0 <= old <= size:
        raise Malformed(f"a log of {size} leaves did not grow from {old}")
    if len(hashes) > (MAX_HASHES if old else 0):
        raise Malformed(f"a proof from {old} leaves with {len(hashes)} hashes is too long")
    if any(len(one) != HASH_BYTES for one in hashes):
        raise Malformed(f"the proof holds something that is not a hash of {HASH_BYTES} bytes")
    proof = "".join(f"{write_base64(one)}\n" for one in hashes)
    return f"old {old}\n{proof}\n".encode() + note.written()


def read_size(body: bytes) -> int:
    """The size in the body of a 409: decimal digits and a newline; `Malformed` for anything else."""
    text = read_utf8(body, "the size that it states")
    if not text.endswith("\n"):
        raise Malformed("the size that it states does not end with a newline")
    return read_decimal(text.removesuffix("\n"), "the size that it states")


def read_cosignatures(body: bytes) -> tuple[Signature, ...]:
    """The signature lines in the body of a 200, at least one; `Malformed` for anything else."""
    text = read_utf8(body, "its answer")
    if not text.endswith("\n"):
        raise Malformed("its answer does not end with a newline")
    lines = text.removesuffix("\n").split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise Malformed(f"its answer has more than {MAX_SIGNATURES} lines")
    return tuple(Signature.read(line) for line in lines)


def cosignatures_by(
    witnesses: Iterable[Witness], text: str, signatures: Sequence[Signature], now: int
) -> dict[Witness, Signature]:
    """The cosignatures of `witnesses` over the note `text` among `signatures`; others are left out.

    Raises `NotSigned` for one that claims a witness's key and is not by it, that states no time, or one
    more than five minutes after `now` (seconds since 1970).
    """
    found: dict[Witness, Signature] = {}
    for witness in witnesses:
        for signature in filter(witness.key.claims, signatures):
            if not witness.key.verifies(text, signature):
                raise NotSigned(f"the cosignature in the name of {witness.name} is not by its key")
            at = witness.key.signed_at(signature)
            if at is None:
                raise NotSigned(f"the cosignature of {witness.name} states no time")
            if at > now + AHEAD:
                raise NotSigned(f"the cosignature of {witness.name} is of a time that has not come")
            found.setdefault(witness, signature)
    return found


async def ask(engine: AsyncEngine, log: str, policy: Policy) -> Quorum | None:
    """Ask every witness with an address whose cosignature of the last publication of `log` is missing.

    What they sign is stored. Answers the quorum over what is stored then, with a `Trouble` for each witness
    that was asked in vain; None where nothing is published. `engine` is the clerk's. May be repeated at any
    time, and is to be, until all have cosigned. Raises `tile.MissingTile` when our own tree is damaged.
    """
    async with engine.connect() as connection:
        published = await _published(connection, log)
        if published is None:
            return None
        stored = await _lines(connection, log, published.size)
        olds = await _cosigned_sizes(connection, log, published.size)
    there = {line.key for line in stored}
    by_url: dict[str, list[Witness]] = {}
    for witness in policy.witnesses:
        if witness.url is not None:
            by_url.setdefault(witness.url, []).append(witness)
    asked = {
        url: witnesses for url, witnesses in by_url.items() if any(_id(one) not in there for one in witnesses)
    }
    outcomes = await asyncio.gather(
        *(
            _ask_one(engine, log, published, url, witnesses, max(olds.get(_id(one), 0) for one in witnesses))
            for url, witnesses in asked.items()
        ),
        return_exceptions=True,
    )
    troubles: list[Trouble] = []
    for witnesses, outcome in zip(asked.values(), outcomes, strict=True):
        if isinstance(outcome, (MissingTile, DBAPIError)) or (
            isinstance(outcome, BaseException) and not isinstance(outcome, Exception)
        ):
            raise outcome  # our own database or tree; the other witnesses are done by now
        if isinstance(outcome, Exception):
            troubles.append(_unforeseen(witnesses, outcome))
        elif isinstance(outcome, list):
            troubles.extend(outcome)
    async with engine.connect() as connection:
        judged = _judge(published.note, await _lines(connection, log, published.size), policy)
    words = " ".join([judged.words, *(trouble.words for trouble in troubles)])
    return replace(judged, words=words, troubles=(*judged.troubles, *troubles))


def _unforeseen(witnesses: Sequence[Witness], failed: Exception) -> Trouble:
    """What no rule here speaks of is a trouble of that witness alone."""
    name = " and ".join(witness.name for witness in witnesses)
    return Trouble(name, f"{name} could not be asked ({type(failed).__name__}).")


async def quorum(connection: AsyncConnection, log: str, policy: Policy) -> Quorum | None:
    """The quorum over the cosignatures that are stored for the last publication of `log`; nobody is asked.

    None where nothing is published.
    """
    published = await _published(connection, log)
    if published is None:
        return None
    return _judge(published.note, await _lines(connection, log, published.size), policy)


async def last_quorum_at(connection: AsyncConnection, log: str, policy: Policy) -> datetime | None:
    """When the newest publication of `log` that reached the quorum got the cosignature that completed it.

    None where none ever did. Under a policy that wants no witness, that is the moment of the publication.
    """
    if policy.met_by(()):
        published = await _published(connection, log)
        return None if published is None else published.at
    known = {_id(witness): witness for witness in policy.witnesses}
    for size, names in (await _claimed(connection, log)).items():
        if not policy.met_by([known[name] for name in names if name in known]):
            continue
        note = await _note(connection, log, size)
        lines = await _lines(connection, log, size)
        for count in range(1, len(lines) + 1):
            if _judge(note, lines[:count], policy).reached:
                return lines[count - 1].received_at
    return None


async def _ask_one(
    engine: AsyncEngine, log: str, published: Published, url: str, witnesses: Sequence[Witness], old: int
) -> list[Trouble]:
    """Ask at one address for the cosignatures of `witnesses`, store what is good, and tell what is not."""
    name = " and ".join(witness.name for witness in witnesses)
    try:
        address = Address.read(url)
        signatures = await _submit(engine, log, published, address, old)
        found = cosignatures_by(witnesses, published.note.text, signatures, int(time.time()))
    except _Stop as stopped:
        return [Trouble(name, f"{name} {stopped}.", stopped.grave)]
    except (NotSigned, Malformed) as wrong:
        return [Trouble(name, f"{name} gave nothing that can be used: {wrong}.")]
    rows = [
        {
            "log": log,
            "size": published.size,
            "name": witness.key.name,
            "key_id": witness.key.key_id,
            "line": signature.line(),
        }
        for witness, signature in found.items()
    ]
    if rows:
        async with engine.begin() as transaction:
            await transaction.execute(insert(tables.cosignature).on_conflict_do_nothing(), rows)
    return [
        Trouble(one.name, f"{one.name} answered without a cosignature by its key.")
        for one in witnesses
        if one not in found
    ]


async def _submit(
    engine: AsyncEngine, log: str, published: Published, address: Address, old: int
) -> tuple[Signature, ...]:
    """The signature lines that come back, unverified. `_Stop` or `Malformed` when there are none."""
    for _ in range(ROUNDS):
        async with engine.connect() as connection:
            proof = await prove_consistency(connection, log, old, published.size)
        answer = await _post(address, write_request(old, proof.hashes, published.note))
        if answer.status == 200:
            return read_cosignatures(answer.body)
        if answer.status != 409:
            raise _refusal(answer.status)
        stated = read_size(answer.body) if answer.media_type == SIZE_TYPE else None
        if stated is not None and stated > published.size:
            raise await _ahead(engine, log, published.size, stated)
        old = _size_to_resume(stated, old, published.size)
    raise _Stop(f"stated one size after the other (409), and was asked {ROUNDS} times")


async def _ahead(engine: AsyncEngine, log: str, size: int, stated: int) -> _Stop:
    """What it means that a witness is at `stated` leaves, beyond the `size` that it was asked to cosign."""
    async with engine.connect() as connection:
        published = await _published(connection, log)
        if published is not None and published.size >= stated:
            return _Stop("was asked for a later publication meanwhile")
        signed = await signed_size(connection, log) or 0
    if signed >= stated:
        return _Stop(
            f"has cosigned {stated} leaves, but only {size} are published: somebody who may see the live log"
            " has shown more of it outside",
            grave=True,
        )
    return _Stop(
        f"has cosigned {stated} leaves of this log, but only {max(size, signed)} are here: the database was"
        " taken back to an earlier point in time, or somebody else signs in our name",
        grave=True,
    )


def _size_to_resume(stated: int | None, old: int, size: int) -> int:
    """The size from which to ask a witness again that answered 409, stating its size (at most `size`), to a
    request from `old` to `size`."""
    if old == size and stated in (None, size):
        raise _Stop(
            f"has seen another log of {size} leaves under our name (409): somebody must find out which of the"
            " two is ours",
            grave=True,
        )
    if stated is None:
        raise _Stop("is at another size and does not state it (409)")
    if stated == old:
        raise _Stop(f"is at {stated} leaves and refuses to go on from there (409)")
    return stated


def _refusal(status: int) -> _Stop:
    """What a status other than 200 and 409 means, in words."""
    if status == 422:
        return _Stop(
            "says that the log does not continue the one it has seen (422): somebody must find out which of"
            " the two is ours",
            grave=True,
        )
    if 300 <= status < 400:
        return _Stop(f"sends us to another address ({status}), where nobody is asked")
    known = {
        400: "did not understand the request (400)",
        403: "does not accept the log's signatures (403): give its operator the log's present keys",
        404: "does not know this log, or is not at this address (404): ask its operator",
    }
    return _Stop(known.get(status, f"answered with status {status}"))


class _Received:
    """All bytes of an answer, in place of the socket that `http.client` wants: only this is asked of it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        """The bytes as a file."""
        return io.BytesIO(self._data)


async def _post(address: Address, body: bytes) -> Answer:
    """Send one request and take the whole answer, within the time and the length allowed.

    On asyncio's streams, because a time limit on a socket alone would let an answer drip for days.
    `_Stop` when there is no answer.
    """
    try:
        async with asyncio.timeout(ASK_SECONDS):
            data = await _exchange(address, address.head(len(body)) + body)
    except TimeoutError as late:
        raise _Stop(f"gave no answer within {ASK_SECONDS:g} seconds") from late
    except ssl.SSLError as wrong:
        raise _Stop("does not prove with a certificate that it is at its address") from wrong
    except (OSError, UnicodeError) as wrong:  # UnicodeError: a host name that no name server takes
        raise _Stop("cannot be reached") from wrong
    response = http.client.HTTPResponse(cast(socket.socket, _Received(data)), method="POST")
    try:
        response.begin()
        content = response.read()
    except (
        http.client.HTTPException,
        ValueError,
        OverflowError,
    ) as wrong:  # a length of 30 digits
        raise _Stop("did not answer in HTTP") from wrong
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Answer(response.status, media_type, content)


async def _exchange(address: Address, request: bytes) -> bytes:
    """Everything that comes back until the other side closes."""
    context = ssl.create_default_context() if address.tls else None
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    try:
        writer.write(request)
        await writer.drain()
        data = b""
        while piece := await reader.read(_PIECE):
            data += piece
            if len(data) > LARGEST_ANSWER:
                raise _Stop(f"answered more than {LARGEST_ANSWER} bytes")
        return data
    finally:
        writer.transport.abort()


def _judge(note: Note, lines: Iterable[Line], policy: Policy) -> Quorum:
    """The quorum over stored lines. One that was altered since it was stored is a grave trouble."""
    try:
        return policy.judge(note.signed_too(Signature.read(line.text) for line in lines))
    except (NotSigned, Malformed) as wrong:
        words = (
            f"The cosignatures that are stored cannot be trusted: {wrong}. The policy wants {policy.wants()}."
        )
        return Quorum(False, (), words, (Trouble("", words, grave=True),))


def _id(witness: Witness) -> tuple[str, bytes]:
    """What a witness is stored under."""
    return witness.key.name, witness.key.key_id


async def _published(connection: AsyncConnection, log: str) -> Published | None:
    """The last publication whose checkpoint is signed."""
    publication, checkpoint = tables.publication.c, tables.checkpoint.c
    row = (
        await connection.execute(
            select(publication.size, publication.published_at, checkpoint.note)
            .join_from(
                tables.publication,
                tables.checkpoint,
                (publication.log == checkpoint.log) & (publication.size == checkpoint.size),
            )
            .where(publication.log == log)
            .order_by(publication.size.desc())
            .limit(1)
        )
    ).one_or_none()
    return row and Published(row.size, Note.read(row.note.encode()), row.published_at)


async def _note(connection: AsyncConnection, log: str, size: int) -> Note:
    columns = tables.checkpoint.c
    found = await connection.execute(select(columns.note).where(columns.log == log, columns.size == size))
    return Note.read(str(found.scalar_one()).encode())


async def _lines(connection: AsyncConnection, log: str, size: int) -> list[Line]:
    """The stored cosignatures of one checkpoint, in the order in which they came."""
    columns = tables.cosignature.c
    rows = await connection.execute(
        select(columns.name, columns.key_id, columns.line, columns.received_at)
        .where(columns.log == log, columns.size == size)
        .order_by(columns.received_at, columns.name, columns.key_id)
    )
    return [Line((row.name, bytes(row.key_id)), row.line, row.received_at) for row in rows]


async def _cosigned_sizes(connection: AsyncConnection, log: str, below: int) -> dict[tuple[str, bytes], int]:
    """The largest size that each key has cosigned before the size `below`, or at it."""
    columns = tables.cosignature.c
    rows = await connection.execute(
        select(columns.name, columns.key_id, func.max(columns.size).label("size"))
        .where(columns.log == log, columns.size <= below)
        .group_by(columns.name, columns.key_id)
    )
    return {(row.name, bytes(row.key_id)): row.size for row in rows}


async def _claimed(connection: AsyncConnection, log: str) -> dict[int, list[tuple[str, bytes]]]:
    """Whose cosignatures are stored for each published size, unverified; newest publication first."""
    columns, publication = tables.cosignature.c, tables.publication.c
    rows = await connection.execute(
        select(columns.size, columns.name, columns.key_id)
        .join_from(
            tables.cosignature,
            tables.publication,
            (publication.log == columns.log) & (publication.size == columns.size),
        )
        .where(columns.log == log)
        .order_by(columns.size.desc())
    )
    found: dict[int, list[tuple[str, bytes]]] = {}
    for row in rows:
        found.setdefault(row.size, []).append((row.name, bytes(row.key_id)))
    return found
