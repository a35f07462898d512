"""The web application of one worker: what stands before every route, and what is answered when one fails.

`create_app` is what `custody serve` starts. The application opens its database connections and nothing else:
integrating, signing and the scheduled checks belong to the clerk.
"""

import importlib.util
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from custody.ledger import Ledger, Masters
from desk import api
from desk import settings as environment
from desk.api.document import document_of
from desk.attempt_key import attempt_key
from desk.guard import Guard
from desk.issuer import LocalIssuer, settle_database
from desk.masters import FileMasters
from desk.provider import Providers
from desk.service import Service
from desk.settings import CannotStart, Settings
from desk.token import IssuersUnreadable, Verifier, read_issuers

STATIC: Final = Path(__file__).parent / "static"
POOL: Final = 10  # connections of one worker; PostgreSQL is idle most of the time, Python's CPU is the limit

STATEMENT_WITHIN: Final = 20  # seconds; a request that waits longer is given up anyway (desk.guard)
LOCK_WITHIN: Final = 10  # seconds: nobody holds a kit's row for long
IDLE_WITHIN: Final = 60  # seconds: a transaction that a worker forgot lets go of what it holds
CONNECTED_WITHIN: Final = 5  # seconds
POOL_WITHIN: Final = 10  # seconds for a free connection

_LIMITS: Final = " ".join(
    (
        f"-c statement_timeout={STATEMENT_WITHIN}s",
        f"-c lock_timeout={LOCK_WITHIN}s",
        f"-c idle_in_transaction_session_timeout={IDLE_WITHIN}s",
    )
)

_log = logging.getLogger(__name__)


def engine_of(url: str) -> AsyncEngine:
    """The service's connections to its database, which wait for nothing for long. What an error says keeps
    the values of a statement to itself."""
    return create_async_engine(
        url,
        pool_size=POOL,
        max_overflow=POOL,
        pool_timeout=POOL_WITHIN,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={"options": _LIMITS, "connect_timeout": CONNECTED_WITHIN},
    )


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
    attempt_key(settings.keys)  # made here at the first start; one that others can read is told here, too
    engine = engine_of(settings.database_url)
    ledger = Ledger(engine, FileMasters(settings.keys) if masters is None else masters)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with engine.begin() as connection:
                await settle_database(connection, demo=settings.demo)
        except Exception as happened:
            _log.error("the worker does not start", exc_info=happened)
            await engine.dispose()
            raise
        try:
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
