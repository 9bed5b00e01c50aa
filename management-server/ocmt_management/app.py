"""The application: its parts, its middleware and its routes, each put together here once."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import APIRouter, FastAPI
from ocmt_common.problems import Problem, install_problem_handlers
from ocmt_common.version import release_version
from ocmt_common.web import RequestIdMiddleware
from starlette.middleware.cors import CORSMiddleware

from ocmt_management.auth.ended import EndedSessions
from ocmt_management.auth.limits import SignInLimits
from ocmt_management.auth.mail import Outbox, mailer_for
from ocmt_management.auth.origins import OriginMiddleware
from ocmt_management.clock import Clock, utc_now
from ocmt_management.db import Database
from ocmt_management.settings import ManagementSettings
from ocmt_management.vault.keys import KeyRing
from ocmt_management.wiring import Parts

VERSION = release_version("ocmt-management")

# A domain with routes adds its router here; the page comes last, since it takes what is left.
ROUTERS: tuple[APIRouter, ...] = ()


def create_app(settings: ManagementSettings, *, clock: Clock = utc_now) -> FastAPI:
    """The management server as an ASGI application. Its database must be migrated already."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            database = Database(settings.database)
            stack.push_async_callback(database.close)
            outbox = await stack.enter_async_context(Outbox(mailer_for(settings)))
            # The agents domain (M2) is entered here and takes over the two callables below.
            app.state.parts = Parts(
                settings=settings,
                database=database,
                clock=clock,
                keys=KeyRing(settings.vault_keys),
                outbox=outbox,
                limits=SignInLimits(),
                ended=EndedSessions(),
                ensure_agent=lambda _user_id: None,
                check_agent_server=_no_agent_server,
            )
            yield

    app = FastAPI(
        title="OCMT management",
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    for router in ROUTERS:
        app.include_router(router)
    install_problem_handlers(app)
    # The last added is the outermost.
    app.add_middleware(OriginMiddleware, allowed=settings.origins)
    if settings.ui_origin:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[settings.ui_origin],
            allow_credentials=True,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Content-Type"],
        )
    app.add_middleware(RequestIdMiddleware)
    return app


async def _no_agent_server() -> None:
    raise Problem(503, "agent-server-unavailable", "No agent server is wired.")
