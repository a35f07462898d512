"""The web application of one worker: what stands before every route, and what is answered when one fails.

`create_app` is what `custody serve` starts. The application opens its database connections and nothing else:
integrating, signing and the scheduled checks belong to the clerk.
"""

import importlib.util
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from custody.ledger import Ledger, Masters
from desk import api
from desk import settings as environment
from desk.api.document import document_of
from desk.issuer import LocalIssuer, settle_database
from desk.keys import FileMasters
from desk.problems import Problem, problem_of, send_problem, wants_page
from desk.provider import Providers
from desk.service import Service
from desk.settings import CannotStart, Settings
from desk.token import IssuersUnreadable, Verifier, read_issuers

LARGEST_REQUEST: Final = 1024 * 1024  # bytes
LARGEST_FORM: Final = 16 * 1024 * 1024  # bytes; a scanned form, of which only the digest is kept
STATIC: Final = Path(__file__).parent / "static"
POOL: Final = 10  # connections of one worker; PostgreSQL is idle most of the time, Python's CPU is the limit

ProblemPage = Callable[[Request, Problem], Awaitable[Response]]
"""What the pages set as `app.state.problem_page`: a problem for people who read pages."""

_log = logging.getLogger(__name__)

_CONTENT: Final = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'wasm-unsafe-eval'",  # the scanner's engine is WebAssembly
        "img-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
SECURITY: Final = {
    "content-security-policy": _CONTENT,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
}
"""On every answer. Cache-Control is set beside them: nothing but static files is ever kept."""


def create_app() -> FastAPI:
    """The application with the settings of the environment. Raises CannotStart."""
    return build(environment.read())


def build(settings: Settings, masters: Masters | None = None) -> FastAPI:
    """The application for these settings. Raises CannotStart.

    `masters` says where the master keys of the centres come from; the folder of keys where nothing is said.
    """
    if settings.database_url is None:
        raise CannotStart("A web worker needs CUSTODY_DATABASE_URL; custody serve sets it.")
    verifier, issuer = _issuers(settings)
    engine = create_async_engine(
        settings.database_url, pool_size=POOL, max_overflow=POOL, pool_pre_ping=True, hide_parameters=True
    )
    ledger = Ledger(engine, FileMasters(settings.keys) if masters is None else masters)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with engine.begin() as connection:
                await settle_database(connection, demo=settings.demo)
            yield
        finally:
            await engine.dispose()

    app = FastAPI(
        title="Custody",
        version="1",
        lifespan=life,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={HTTPException: _to_the_edge, RequestValidationError: _to_the_edge},
    )
    app.state.settings = settings
    app.state.service = Service(settings, engine, ledger, verifier, issuer)
    app.state.providers = Providers(verifier.rings(), settings.base_url)
    app.state.problem_page = None
    _routes(app, settings)
    app.add_middleware(Guard, settings=settings)
    return app


def _issuers(settings: Settings) -> tuple[Verifier, LocalIssuer | None]:
    try:
        trusted = read_issuers(settings.issuers) if settings.issuers else ()
    except IssuersUnreadable as fault:
        raise CannotStart(str(fault)) from fault
    if not settings.demo:
        return Verifier(trusted), None
    issuer = LocalIssuer.open(demo=True, data=settings.data, base_url=settings.base_url)
    return Verifier((*trusted, issuer.trusted())), issuer


def _routes(app: FastAPI, settings: Settings) -> None:
    app.include_router(api.router)
    if settings.demo:
        app.include_router(api.demo_router)
    if importlib.util.find_spec("desk.pages") is not None:
        pages = importlib.import_module("desk.pages")
        app.include_router(pages.router)
        app.state.problem_page = getattr(pages, "problem_page", None)
    app.mount("/static", StaticFiles(directory=STATIC, check_dir=False), name="static")
    app.openapi = lambda: document_of(app)  # type: ignore[method-assign]  # FastAPI's own hook for it


async def _to_the_edge(request: Request, happened: Exception) -> Response:
    raise happened


class Guard:
    """What every request passes (pure ASGI): a reference, a limit on its size, headers, problems.

    One place answers what failed, so that a reference, the words and the headers are the same whatever
    failed, and no route can answer with a framework's own text.
    """

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
        begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self._add_headers(message, reference, static=scope["path"].startswith("/static/"))
            await send(message)

        try:
            if b"%00" in scope["query_string"] or "\0" in scope["path"]:
                raise HTTPException(400)  # a NUL, which no database keeps, stands for nothing of ours
            await self.app(scope, _limited(scope, receive), send_guarded)
        except Exception as happened:
            problem = problem_of(happened, reference)
            if problem.status == 503:  # one line: while the database is away there are many
                _log.error("request %s failed: %s", reference, type(happened).__name__)
            elif problem.status >= 500:
                _log.error("request %s failed", reference, exc_info=happened)
            if begun:
                raise
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


def _limited(scope: Scope, receive: Receive) -> Receive:
    """The request's body, refused with 413 as soon as it is larger than is accepted."""
    headers = dict(scope["headers"])
    upload = headers.get(b"content-type", b"").startswith(b"multipart/form-data")
    most = LARGEST_FORM if upload and not scope["path"].startswith("/api/") else LARGEST_REQUEST
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or int(value) > most):
            raise HTTPException(413)
    seen = 0

    async def receive_limited() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > most:
                raise HTTPException(413)
        return message

    return receive_limited
