"""Authentication: every path except `/health` and `/metrics` requires a token."""

import hmac
from collections.abc import Callable

from ocmt_common.agent_api import AUTH_HEADER
from ocmt_common.problems import Problem
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS = frozenset({"/health", "/metrics"})


def exactly(token: str) -> Callable[[str], bool]:
    """A predicate that accepts only `token`, compared in constant time."""
    expected = token.encode()
    return lambda offered: hmac.compare_digest(offered.encode("latin-1"), expected)


class TokenMiddleware:
    """Rejects requests and WebSocket handshakes without the right token, except on open paths."""

    def __init__(self, app: ASGIApp, *, accepts: Callable[[str], bool], called: str) -> None:
        """`called` names the token in error messages."""
        self.app = app
        self._accepts = accepts
        self._called = called

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        accepted = self._accepts(Headers(scope=scope).get(AUTH_HEADER, ""))
        if accepted or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        problem = Problem(401, "wrong-token", f"Send {self._called} in the header {AUTH_HEADER}.")
        await problem.response()(scope, receive, send)
