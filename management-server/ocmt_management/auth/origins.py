"""Refuses requests that another site's page makes with our user's cookie (CSRF).

Browsers name a request's origin (`Sec-Fetch-Site`, `Origin`); a client that sends neither is not
a browser and has no ambient cookie. The model and tool gateways take bearer tokens, never the
cookie, and are exempt.
"""

from ocmt_common.problems import PROBLEM_IN_SCOPE, Problem
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_BEARER_ONLY = ("/llm/", "/mcp/")


def _is_ours(origin: str, host: str, allowed: frozenset[str]) -> bool:
    # The server may be opened as localhost and as 127.0.0.1: an origin equal to Host is ours.
    # Compared as text, not parsed: an origin may be anything at all.
    origin = origin.lower()
    return origin in allowed or (host != "" and origin.partition("://")[2] == host)


def allows_request(headers: Headers, *, allowed: frozenset[str]) -> bool:
    """Whether an unsafe request may use the session cookie."""
    origin = headers.get("origin")
    if origin is not None and _is_ours(origin, "", allowed):
        return True
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    return origin is None or _is_ours(origin, headers.get("host", "").lower(), allowed)


def allows_socket(headers: Headers, *, allowed: frozenset[str]) -> bool:
    """Whether a WebSocket may use the session cookie. Every browser sends `Origin` here."""
    origin = headers.get("origin")
    return origin is not None and _is_ours(origin, headers.get("host", "").lower(), allowed)


class OriginMiddleware:
    """Refuses cross-site unsafe requests before they reach the routes, except /llm and /mcp."""

    def __init__(self, app: ASGIApp, *, allowed: frozenset[str]) -> None:
        self.app = app
        self.allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and scope["method"] not in _SAFE
            and not f"{scope['path']}/".startswith(_BEARER_ONLY)
            and not allows_request(Headers(scope=scope), allowed=self.allowed)
        ):
            refusal = Problem(
                403,
                "cross-site",
                "This request came from another site's page. Open OCMT at its own address; "
                "operator: BASE_URL and UI_ORIGIN name the allowed addresses.",
            )
            scope[PROBLEM_IN_SCOPE] = refusal.code
            await refusal.response()(scope, receive, send)
            return
        await self.app(scope, receive, send)
