"""The agent server's web application: the API and the proxy to the agents."""

from fastapi import FastAPI
from ocmt_common.host_credentials import HostCredentials
from ocmt_common.problems import install_problem_handlers
from ocmt_common.web import BodyLimitMiddleware, RequestIdMiddleware
from starlette.applications import Starlette
from starlette.routing import Mount

from ocmt_agent.api import endpoints, file_endpoints, tool_server_endpoints
from ocmt_agent.api.dependencies import Parts
from ocmt_agent.auth import TokenMiddleware, exactly
from ocmt_agent.proxy.routes import proxy_routes


def create_app(parts: Parts, *, for_host: HostCredentials | None = None) -> Starlette:
    """The application for callers on this machine, authenticated with AUTH_TOKEN.

    With `for_host`, the application for management on another host, authenticated with a token of
    these credentials.
    """
    limit = parts.settings.max_body_bytes
    wakes = parts.hibernation.wakes
    proxy = proxy_routes(wakes, parts.passing_on, parts.admin, max_body_bytes=limit)
    app = Starlette(routes=[*proxy, Mount("/", _api(parts))])
    app.router.redirect_slashes = False
    install_problem_handlers(app)
    # The middleware added last is the outermost, so that even a 401 has a request id.
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
    # Around the API only, since the proxy limits bodies while it streams them.
    api.add_middleware(BodyLimitMiddleware, max_bytes=parts.settings.max_body_bytes)
    api.include_router(endpoints.router)
    api.include_router(tool_server_endpoints.router)
    api.include_router(file_endpoints.router)
    return api
