"""What every request passes: a reference, limits on size and time, headers, and one answer for what failed.

Limits of a connection, before there is a request, are in `desk.wire`; limits of a statement in the database
stand beside the engine in `desk.app`. Attempts are counted in PostgreSQL (`desk.session`).
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from uuid import uuid4

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from desk.problems import Problem, TookTooLong, problem_of, send_problem, wants_page
from desk.settings import Settings

LARGEST_REQUEST: Final = 1024 * 1024  # bytes
LARGEST_FORM: Final = 16 * 1024 * 1024  # bytes; a scanned form, of which only the digest is kept
LONGEST_ADDRESS: Final = 8 * 1024  # bytes of path and query
MOST_HEADERS: Final = 100
LARGEST_HEADERS: Final = 32 * 1024  # bytes of all names and values; a token has at most 8 KiB

BODY_WITHIN: Final = 30.0  # seconds for a request to arrive
FORM_WITHIN: Final = 120.0  # seconds for a form with a scanned file
HANDLED_WITHIN: Final = 30.0  # seconds from the whole request to the first byte of the answer
SENT_WITHIN: Final = 300.0  # seconds for the answer to be taken; the longest download
PAGE_WITHIN: Final = 5.0  # seconds for the page that says what failed

ProblemPage = Callable[[Request, Problem], Awaitable[Response]]
"""What the pages set as `app.state.problem_page`: a problem for people who read pages."""

_log = logging.getLogger(__name__)

_CONTENT: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",  # the scanner's engine is WebAssembly
        "script-src-attr 'none'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
SECURITY: Final = {
    "content-security-policy": _CONTENT,
    "x-content-type-options": "nosniff",
    # Nobody else is told where somebody came from. Our own pages are: under `no-referrer` browsers also say
    # `Origin: null` of our own forms, and where Sec-Fetch-Site is missing nothing would tell whose they are.
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
}
"""On every answer. Cache-Control is set beside them: nothing but static files is ever kept."""


class Guard:
    """What every request passes (pure ASGI): a reference, limits on its size and time, headers, problems.

    One place answers what failed, so that a reference, the words and the headers are the same whatever
    failed, and no route can answer with a framework's own text.
    """

    body_within = BODY_WITHIN
    form_within = FORM_WITHIN
    handled_within = HANDLED_WITHIN
    sent_within = SENT_WITHIN

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.base_url = settings.base_url
        self.headers = dict(SECURITY)
        if settings.base_url.startswith("https://"):
            self.headers["strict-transport-security"] = "max-age=31536000; includeSubDomains"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        reference = str(uuid4())
        scope.setdefault("state", {})["reference"] = reference
        deadline = asyncio.timeout(self.handled_within)
        body = _Body(self, scope, receive, deadline)
        begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = body.over = True
                _longer(deadline, self.sent_within)
                self._add_headers(message, reference, static=scope["path"].startswith("/static/"))
            await send(message)

        try:
            _refuse_misshapen(scope)
            body.refuse_stated_size()
            async with deadline:
                await self.app(scope, body.receive, send_guarded)
        except Exception as raised:
            happened = body.late() if deadline.expired() else raised
            problem = problem_of(happened, reference)
            if problem.status == 503:  # one line: while the database is away there are many
                _log.error("request %s failed: %s", reference, type(happened).__name__)
            elif problem.status >= 500:
                _log.error("request %s failed", reference, exc_info=happened)
            if begun:
                raise _CutOff from None  # the connection is closed; what happened stands above
            await self._answer(scope, receive, send_guarded, problem)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, problem: Problem) -> None:
        request = Request(scope, receive)
        page: ProblemPage | None = scope["app"].state.problem_page
        if (
            page is not None
            and not request.url.path.startswith("/api/")
            and wants_page(request.headers.get("accept"))
        ):
            try:
                async with asyncio.timeout(PAGE_WITHIN):
                    response = await page(request, problem)
            except Exception as happened:
                _log.error("the page of request %s failed", problem.reference, exc_info=happened)
            else:
                for name, value in problem.headers:
                    response.headers[name] = value
                await response(scope, receive, send)
                return
        await send_problem(problem, send, base_url=self.base_url)

    def _add_headers(self, message: MutableMapping[str, Any], reference: str, *, static: bool) -> None:
        there = {name.lower() for name, _ in message["headers"]}
        wanted = {
            **self.headers,
            "cache-control": "no-cache" if static else "no-store",
            "custody-reference": reference,
        }
        message["headers"] = [
            *message["headers"],
            *(
                (name.encode(), value.encode())
                for name, value in wanted.items()
                if name.encode() not in there
            ),
        ]


class _CutOff(Exception):
    """An answer that had begun cannot be finished."""


def _longer(deadline: asyncio.Timeout, seconds: float) -> None:
    """So long from now; nothing where the time is over already."""
    with contextlib.suppress(RuntimeError):
        deadline.reschedule(asyncio.get_running_loop().time() + seconds)


def _refuse_misshapen(scope: Scope) -> None:
    """Refuse what no caller of ours sends, before anything is read. Raises HTTPException."""
    if b"%00" in scope["query_string"] or "\0" in scope["path"]:
        raise HTTPException(400)  # a NUL, which no database keeps, stands for nothing of ours
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > LONGEST_ADDRESS:
        raise HTTPException(414)
    headers = scope["headers"]
    if len(headers) > MOST_HEADERS or sum(len(n) + len(v) for n, v in headers) > LARGEST_HEADERS:
        raise HTTPException(431)


class _Body:
    """The request's body: refused as soon as it is larger than is accepted, and when it takes too long."""

    def __init__(self, guard: Guard, scope: Scope, receive: Receive, deadline: asyncio.Timeout) -> None:
        self.over = False
        """Whether all of it is there, or nobody waits for it any more."""
        self._awaited = False
        self._receive = receive
        self._deadline = deadline
        self._headers = scope["headers"]
        upload = dict(self._headers).get(b"content-type", b"").startswith(b"multipart/form-data")
        form = upload and not scope["path"].startswith("/api/")
        self._most = LARGEST_FORM if form else LARGEST_REQUEST
        self._within = guard.form_within if form else guard.body_within
        self._handled_within = guard.handled_within
        self._seen = 0

    async def receive(self) -> Message:
        if not self._awaited:
            self._awaited = True
            if not self.over:
                _longer(self._deadline, self._within)
        message = await self._receive()
        if message["type"] == "http.request" and not self.over:
            self._seen += len(message.get("body", b""))
            if self._seen > self._most:
                raise HTTPException(413)
            if not message.get("more_body", False):
                self.over = True
                _longer(self._deadline, self._handled_within)
        return message

    def late(self) -> Exception:
        """What took too long: the body, or ourselves."""
        return HTTPException(408) if self._awaited and not self.over else TookTooLong()

    def refuse_stated_size(self) -> None:
        for name, value in self._headers:
            if name == b"content-length" and (
                not value.isdigit() or len(value) > 10 or int(value) > self._most
            ):
                raise HTTPException(413)
