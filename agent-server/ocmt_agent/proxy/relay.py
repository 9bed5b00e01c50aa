"""The relay: forwards agents' requests for `/llm` and `/mcp`, and nothing else, to management.

It listens on the agents' own network and accepts only the tokens of this host's containers.
Management decides what a token permits. A container that was made beforehand has a token of its
own: it is answered here until a user has it, and then with that user's agent token.
"""

import re
from collections.abc import Callable

import aiohttp
import structlog
from ocmt_common.host_credentials import HostCredentials
from ocmt_common.problems import Problem
from ocmt_common.tls_failures import tls_reason
from ocmt_common.web import RequestIdMiddleware
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from yarl import URL

from ocmt_agent.proxy import stand_in
from ocmt_agent.proxy.forwarding import AnswerBroken, CallerLeft, RequestBody, Unreachable, pass_on
from ocmt_agent.proxy.headers import with_our_bearer
from ocmt_agent.proxy.paths import plain_query

log = structlog.get_logger(__name__)

# Without escapes and dot segments, so that management receives the path that was checked here.
_SEGMENT = r"/[A-Za-z0-9_~:@-][A-Za-z0-9._~:@-]*"
_REACHABLE = re.compile(rf"/mcp/?|/(?:llm|mcp)(?:{_SEGMENT})+/?")

MAX_BODY_BYTES = 32 * 1024 * 1024
"""Enough for a long conversation with pictures; management has the same limit."""


TokenForManagement = Callable[[str], str | None]
"""A container's token → its user's agent token; `None` for a container that has no user yet."""


class Relay:
    """The ASGI application that forwards both paths."""

    def __init__(
        self,
        management_url: str,
        is_agent_token: Callable[[str], bool],
        session: aiohttp.ClientSession,
        credentials: HostCredentials | None = None,
        *,
        for_management: TokenForManagement = str,
    ) -> None:
        self._for_management = for_management
        self._credentials = credentials
        self._base = management_url.rstrip("/")
        self._is_agent_token = is_agent_token
        self._session = session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._pass_on(scope, receive, send)
        except Problem as problem:
            await problem.response()(scope, receive, send)
        except CallerLeft:
            return
        except AnswerBroken as broken:
            log.warning("management's answer broke off", reason=str(broken))

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw: str = scope["raw_path"].decode("ascii", errors="replace")
        if scope["type"] != "http" or _REACHABLE.fullmatch(raw) is None:
            raise Problem(404, "no-such-path", "The relay forwards only /llm and /mcp.")
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Problem(401, "wrong-token", "Send the agent's own token as a bearer token.")
        if not self._is_agent_token(token):
            # Usually a replaced token. After a 401, OpenClaw would disable its models for minutes.
            raise Problem(424, "unknown-token", "This is not the token of an agent on this host.")
        body = RequestBody(scope, receive, max_bytes=MAX_BODY_BYTES)
        user_token = self._for_management(token)
        if user_token is None:
            asked = b"".join([chunk async for chunk in body.chunks()])
            await stand_in.answer(raw, scope["method"], asked)(scope, receive, send)
            return
        try:
            await pass_on(
                self._session,
                scope,
                body,
                send,
                url=URL(self._base + raw + plain_query(scope["query_string"]), encoded=True),
                headers=with_our_bearer(scope["headers"], user_token),
            )
        except Unreachable as error:
            reason = tls_reason(error, self._credentials) or str(error)
            log.warning("management does not answer", reason=reason)
            raise Problem(
                503,
                "management-unavailable",
                "The management server does not answer. Try again in a moment. Operator: check "
                "that it runs and that MANAGEMENT_URL is right.",
                retry_after_s=5,
            ) from error


def relay_app(
    management_url: str,
    is_agent_token: Callable[[str], bool],
    session: aiohttp.ClientSession,
    credentials: HostCredentials | None = None,
    *,
    for_management: TokenForManagement = str,
) -> ASGIApp:
    """The relay as an application of its own; `credentials` are those of `session`."""
    relay = Relay(
        management_url, is_agent_token, session, credentials, for_management=for_management
    )
    return RequestIdMiddleware(relay)
