"""The agent server's web application: the API, and the proxy to the agents, behind one token."""

from fastapi import FastAPI
from ocmt_common.host_credentials import HostCredentials
from ocmt_common.problems import install_problem_handlers
from ocmt_common.web import BodyLimitMiddleware, RequestIdMiddleware
from starlette.applications import Starlette
from starlette.routing import Mount

from ocmt_agent.agents import endpoints
from ocmt_agent.auth import TokenMiddleware, exactly
from ocmt_agent.proxy.routes import proxy_routes
from ocmt_agent.wiring import Parts


def create_app(parts: Parts, *, for_host: HostCredentials | None = None) -> Starlette:
    """For callers on this machine, who have AUTH_TOKEN; or for the other host, with its tokens."""
    limit = parts.settings.max_body_bytes
    proxy = proxy_routes(parts.engine, parts.passing_on, parts.admin, max_body_bytes=limit)
    app = Starlette(routes=[*proxy, Mount("/", _api(parts))])
    app.router.redirect_slashes = False
    install_problem_handlers(app)
    # The last added is the outermost: every answer has a request id, a refused one too.
    if for_host is None:
        accepts = exactly(parts.settings.auth_token.get_secret_value())
        app.add_middleware(TokenMiddleware, accepts=accepts, called="the agent server's AUTH_TOKEN")
    else:
        app.add_middleware(
            TokenMiddleware,
            accepts=for_host.accepts,
            called="a token of the agent server's TLS_DIR",
        )
    app.add_middleware(RequestIdMiddleware)
    return app


def _api(parts: Parts) -> FastAPI:
    api = FastAPI(title="OCMT agent server", openapi_url=None, redirect_slashes=False)
    api.state.parts = parts
    install_problem_handlers(api)
    # Here and not around all: the proxy bounds what it passes on while it streams.
    api.add_middleware(BodyLimitMiddleware, max_bytes=parts.settings.max_body_bytes)
    api.include_router(endpoints.router)
    return api
