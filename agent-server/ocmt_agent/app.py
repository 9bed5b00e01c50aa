"""The agent server's web application: the API, and the proxy to the agents, behind one token."""

from fastapi import FastAPI
from ocmt_common.problems import install_problem_handlers
from ocmt_common.web import BodyLimitMiddleware, RequestIdMiddleware

from ocmt_agent.agents import endpoints
from ocmt_agent.auth import TokenMiddleware
from ocmt_agent.proxy.routes import proxy_routes
from ocmt_agent.wiring import Parts


def create_app(parts: Parts) -> FastAPI:
    app = FastAPI(title="OCMT agent server", openapi_url=None, redirect_slashes=False)
    app.state.parts = parts
    install_problem_handlers(app)
    # The last added is the outermost: an id for every request, then the token, then the size.
    app.add_middleware(BodyLimitMiddleware, max_bytes=parts.settings.max_body_bytes)
    app.add_middleware(TokenMiddleware, token=parts.settings.auth_token.get_secret_value())
    app.add_middleware(RequestIdMiddleware)
    app.include_router(endpoints.router)
    app.router.routes.extend(
        proxy_routes(
            parts.engine,
            parts.passing_on,
            parts.admin,
            max_body_bytes=parts.settings.max_body_bytes,
        )
    )
    return app
