"""One connection as it arrives, before there is a request: how long its head may take, and how large it is.

uvicorn reads the connection; what it leaves open is closed here. Somebody who sends a request letter by
letter, or opens connections and says nothing, would hold them for as long as they like; a head without end
would be kept in memory. The limits of a request that has arrived are in `desk.guard`.
"""

import asyncio
import json
from typing import Final

from starlette.exceptions import HTTPException
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from desk.guard import LARGEST_FORM, SECURITY
from desk.problems import MEDIA_TYPE, problem_of

HEAD_WITHIN: Final = 10.0  # seconds from the first byte, or from the connection, to the end of the head
LARGEST_HEAD: Final = 64 * 1024  # bytes as they arrive
LARGEST_RAW: Final = 2 * LARGEST_FORM  # bytes of a body as they arrive: it may come in many small pieces
MOST_CONNECTIONS: Final = 500  # of one worker; below what a process may usually open


class Wire(HttpToolsProtocol):
    """uvicorn's protocol with a clock and a scale."""

    head_within = HEAD_WITHIN
    _due: asyncio.TimerHandle | None = None
    """Ends the connection unless the head is complete by then; None while a request is being answered."""
    _in_head = False
    _raw = 0
    """Bytes that arrived of this head, or of this body."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._wait_for_head()
        self._raw += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head and self._raw > LARGEST_HEAD:
            self._refuse(431)
        elif self._raw > LARGEST_RAW:
            self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._wait_for_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # what comes after a body is of no use here
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._raw = 0
        self._head_came()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Not HTTP. `msg` is uvicorn's own sentence; ours is the one of every such problem."""
        self._refuse(400)

    def _refuse(self, status: int) -> None:
        problem = problem_of(HTTPException(status))
        body = json.dumps(problem.document(), separators=(",", ":")).encode("ascii")
        headers = {
            **SECURITY,
            "content-type": MEDIA_TYPE,
            "content-length": str(len(body)),
            "cache-control": "no-store",
            "connection": "close",
        }
        lines = b"".join(f"{name}: {value}\r\n".encode("ascii") for name, value in headers.items())
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        self.transport.close()

    def _wait_for_head(self) -> None:
        if self._due is None:
            self._due = self.loop.call_later(self.head_within, self.transport.close)

    def _head_came(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
