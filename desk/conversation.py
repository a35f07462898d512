"""A conversation with a mail server that has an end, whatever the server does.

A mail server is outside: it may answer a byte a second, or without end. `smtplib` bounds the wait for each
read and nothing else. Here the whole conversation has one :class:`Deadline`: connection, encryption, every
answer. At the deadline the connection is shut from another thread, which wakes whoever reads or writes on it.
All answers together are bounded, too.
"""

import contextlib
import smtplib
import socket
import ssl
import threading
import time
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

READ_WITHIN: Final = 20.0  # seconds for each answer of a mail server
MOST_ANSWERED: Final = 64 << 10  # bytes of all answers of one conversation


class Deadline:
    """So many seconds from now; then the connection that is kept here is shut. For use with ``with``.

    `passed` tells that the time is over, `flooded` that the other end said more than anybody reads.
    """

    def __init__(self, within: float) -> None:
        self.passed = False
        self.flooded = False
        self._end = time.monotonic() + within
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self._timer = threading.Timer(within, self._shut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            if self._line is not None:
                self._line.close()
                self._line = None

    def connect(self, host: str, port: int) -> socket.socket:
        """A connection to the first address of the host that answers. Raises OSError."""
        failed = OSError("the host has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            left = self._end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(min(READ_WITHIN, left))
                made.connect(address)
                made.settimeout(READ_WITHIN)
                self._keep(made)
            except OSError as error:
                made.close()
                failed = error
            else:
                return made
        raise failed

    def _keep(self, made: socket.socket) -> None:
        with self._lock:
            if self.passed:
                raise TimeoutError
            self._line = made.dup()  # the same connection, however it is wrapped into TLS later

    def _shut(self) -> None:
        with self._lock:
            self.passed = True
            if self._line is not None:
                with contextlib.suppress(OSError):
                    self._line.shutdown(socket.SHUT_RDWR)


class _Answers:
    """What the server says, line by line, up to :data:`MOST_ANSWERED` bytes."""

    def __init__(self, stream: BinaryIO, deadline: Deadline) -> None:
        self._stream, self._deadline = stream, deadline
        self._left = MOST_ANSWERED

    def readline(self, size: int) -> bytes:
        if self._left <= 0:
            self._deadline.flooded = True
            raise OSError("the server says too much")
        line = self._stream.readline(size)
        self._left -= len(line)
        return line

    def close(self) -> None:
        self._stream.close()


class Conversation(smtplib.SMTP):
    """A conversation under a deadline, in the clear at first. Raises as `smtplib.SMTP` does."""

    def __init__(self, host: str, port: int, greeting: str, deadline: Deadline) -> None:
        self.deadline = deadline
        super().__init__(host, port, local_hostname=greeting, timeout=READ_WITHIN)

    def _get_socket(self, host: str, port: int, timeout: float) -> Any:
        return self.deadline.connect(host, port)

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _Answers(self.sock.makefile("rb"), self.deadline)
        return super().getreply()


class EncryptedConversation(smtplib.SMTP_SSL, Conversation):
    """The same, encrypted from its first byte."""

    def __init__(
        self, host: str, port: int, greeting: str, deadline: Deadline, trust: ssl.SSLContext
    ) -> None:
        self.deadline = deadline
        smtplib.SMTP_SSL.__init__(
            self, host, port, local_hostname=greeting, timeout=READ_WITHIN, context=trust
        )
