"""Authentication: every path but `/health` and `/metrics` needs the shared token."""

import hmac

from ocmt_common.agent_api import AUTH_HEADER
from ocmt_common.problems import Problem
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS = frozenset({"/health", "/metrics"})


class TokenMiddleware:
    """Rejects HTTP requests and WebSocket handshakes without the right `x-auth-token`."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self.app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        offered = Headers(scope=scope).get(AUTH_HEADER, "").encode("latin-1")
        if hmac.compare_digest(offered, self._token):
            await self.app(scope, receive, send)
            return
        problem = Problem(
            401,
            "wrong-token",
            f"Send the agent server's AUTH_TOKEN in the header {AUTH_HEADER}.",
        )
        await problem.response()(scope, receive, send)
