"""The composition root: creates the services and installs the middleware and the routes."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import APIRouter, FastAPI
from ocmt_common.host_credentials import HostCredentials
from ocmt_common.problems import install_problem_handlers
from ocmt_common.web import BodyLimitMiddleware, RequestIdMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from ocmt_management.admin import agent_endpoints as admin_agents
from ocmt_management.admin import endpoints as admin
from ocmt_management.agents import endpoints as agents_api
from ocmt_management.agents import identity_endpoints as agent_identity
from ocmt_management.agents import panel_endpoints as agent_panel
from ocmt_management.agents.client import AgentServer
from ocmt_management.agents.reconciler import Reconciler
from ocmt_management.agents.service import Agents
from ocmt_management.audit.refused_requests import RefusedRequestsMiddleware
from ocmt_management.audit.throttle import AuditThrottle
from ocmt_management.auth import endpoints as auth
from ocmt_management.auth.limits import SignInLimits
from ocmt_management.auth.origins import OriginMiddleware
from ocmt_management.auth.session_revocations import SessionRevocations
from ocmt_management.auth.sign_in import warn_without_admin
from ocmt_management.chat import endpoints as chat
from ocmt_management.chat.answer_follower import AnswerFollower
from ocmt_management.chat.open_chats import OpenChats
from ocmt_management.chat.uploads import UploadSpace
from ocmt_management.clock import Clock, utc_now
from ocmt_management.db import Database
from ocmt_management.health import endpoints as health
from ocmt_management.housekeeping import housekeeping
from ocmt_management.integrations import admin_endpoints as oauth_clients
from ocmt_management.integrations import endpoints as connections_api
from ocmt_management.integrations.service import Integrations
from ocmt_management.llm import endpoints as model_choice
from ocmt_management.llm import gateway as model_gateway
from ocmt_management.llm import shared_key_endpoints as shared_keys
from ocmt_management.llm.service import Llm
from ocmt_management.mail.service import MailQueue, mailer_for
from ocmt_management.me import account_endpoints as account
from ocmt_management.me import endpoints as me
from ocmt_management.notifications import endpoints as notifications_api
from ocmt_management.notifications.service import Notifications
from ocmt_management.settings import ManagementSettings
from ocmt_management.static_page import endpoints as static_page
from ocmt_management.static_page.headers import SecurityHeadersMiddleware
from ocmt_management.tools import admin_endpoints as shared_tools
from ocmt_management.tools import approval_endpoints as approvals_api
from ocmt_management.tools import endpoints as tools_api
from ocmt_management.tools import gateway as tool_gateway
from ocmt_management.tools import passthrough as tool_passthrough
from ocmt_management.tools.approval_assembly import running_approvals
from ocmt_management.tools.service import Tools
from ocmt_management.vault import endpoints as vault
from ocmt_management.vault.keys import KeyRing

# A domain with routes adds its router here. The static page matches every other path: keep it last.
ROUTERS: tuple[APIRouter, ...] = (
    auth.router,
    me.router,
    account.router,
    agents_api.router,
    agent_identity.router,
    agent_panel.router,
    model_choice.router,
    model_gateway.router,
    shared_keys.router,
    tools_api.router,
    shared_tools.router,
    approvals_api.router,
    connections_api.router,
    oauth_clients.router,
    notifications_api.router,
    tool_gateway.router,
    tool_passthrough.router,
    model_choice.usage_router,
    chat.router,
    vault.router,
    admin.router,
    admin_agents.router,
    health.router,
    static_page.router,
)

_MAX_BODY_BYTES = 128 * 1024
_MAX_MODEL_BODY_BYTES = 32 * 1024 * 1024
_MAX_TOOL_BODY_BYTES = 4 * 1024 * 1024
_MAX_UPLOAD_BYTES = 16 * 1024 * 1024
_UPLOADS = "/api/agent/files/content"


def create_app(  # noqa: PLR0915 (a statement or two for each part)
    settings: ManagementSettings,
    *,
    clock: Clock = utc_now,
    credentials: HostCredentials | None = None,
    keys: KeyRing | None = None,
) -> FastAPI:
    """The management server as an ASGI application. Its database must be migrated already.

    `credentials` are for an agent server on another host; `keys` are those of `VAULT_KEY`, if some
    of them had to be opened.
    """
    vault_keys = keys or KeyRing(settings.vault_keys)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            database = Database(settings.database)
            stack.push_async_callback(database.close)
            await warn_without_admin(database, settings)
            mail_queue = await stack.enter_async_context(MailQueue(mailer_for(settings)))
            if credentials is not None:
                await stack.enter_async_context(credentials.followed())
            agent_server = AgentServer(
                settings.agent_server_url,
                settings.agent_auth_token.get_secret_value(),
                credentials=credentials,
            )
            stack.push_async_callback(agent_server.close)
            agents = Agents(database, agent_server, clock)
            await stack.enter_async_context(agents.running())
            llm = await stack.enter_async_context(
                Llm.open(
                    settings=settings,
                    database=database,
                    agents=agents,
                    keys=vault_keys,
                    clock=clock,
                )
            )
            integrations = await stack.enter_async_context(
                Integrations.open(
                    settings=settings,
                    database=database,
                    keys=vault_keys,
                    clock=clock,
                    mail_queue=mail_queue,
                )
            )
            tools = await stack.enter_async_context(
                Tools.open(
                    settings=settings,
                    database=database,
                    agents=agents,
                    keys=vault_keys,
                    clock=clock,
                    integrations=integrations,
                )
            )
            notifications = await stack.enter_async_context(
                Notifications.open(
                    settings=settings, database=database, keys=vault_keys, clock=clock
                )
            )
            follower = await stack.enter_async_context(
                AnswerFollower(agents, llm, notifications).running()
            )
            approvals = await stack.enter_async_context(
                running_approvals(
                    settings=settings,
                    database=database,
                    keys=vault_keys,
                    clock=clock,
                    agents=agents,
                    mail_queue=mail_queue,
                    tools=tools,
                    notifications=notifications,
                )
            )

            def user_deleted(user_id: str) -> None:
                llm.user_changed(user_id)
                tools.user_changed(user_id)

            reconciler = Reconciler(database, agents, clock, on_deleted=user_deleted)
            await stack.enter_async_context(reconciler.running())
            await stack.enter_async_context(housekeeping(database, vault_keys, clock))

            # Read by each domain's `dependencies.py`.
            app.state.settings = settings
            app.state.clock = clock
            app.state.database = database
            app.state.vault_keys = vault_keys
            app.state.mail_queue = mail_queue
            app.state.audit_throttle = AuditThrottle(clock)
            app.state.sign_in_limits = SignInLimits()
            app.state.session_revocations = SessionRevocations()
            app.state.on_sign_in = agents.ensure
            app.state.agents = agents
            app.state.reconciler = reconciler
            app.state.llm = llm
            app.state.integrations = integrations
            app.state.tools = tools
            app.state.approvals = approvals
            app.state.notifications = notifications
            app.state.answer_follower = follower
            app.state.open_chats = OpenChats()
            app.state.upload_space = UploadSpace(time.monotonic)
            yield

    app = FastAPI(
        title="OCMT management",
        version=health.VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    for router in ROUTERS:
        app.include_router(router)
    install_problem_handlers(app)
    # The last added is the outermost.
    app.add_middleware(_BodyLimits)
    app.add_middleware(OriginMiddleware, allowed=settings.origins)
    if settings.ui_origin:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[settings.ui_origin],
            allow_credentials=True,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Content-Type"],
        )
    app.add_middleware(RefusedRequestsMiddleware)
    app.add_middleware(SecurityHeadersMiddleware, settings=settings)
    app.add_middleware(RequestIdMiddleware)
    return app


class _BodyLimits:
    """Bounds request bodies: model requests may hold images, and tool calls and uploads files."""

    def __init__(self, app: ASGIApp) -> None:
        self._small = BodyLimitMiddleware(app, max_bytes=_MAX_BODY_BYTES)
        self._of_prefix = {
            "/llm/": BodyLimitMiddleware(app, max_bytes=_MAX_MODEL_BODY_BYTES),
            "/mcp/": BodyLimitMiddleware(app, max_bytes=_MAX_TOOL_BODY_BYTES),
        }
        self._uploads = BodyLimitMiddleware(app, max_bytes=_MAX_UPLOAD_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == _UPLOADS:
            await self._uploads(scope, receive, send)
            return
        prefix = f"{scope['path']}/"[:5] if scope["type"] == "http" else ""
        await self._of_prefix.get(prefix, self._small)(scope, receive, send)
