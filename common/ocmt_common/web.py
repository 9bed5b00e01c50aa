"""ASGI middleware of both servers: request ids, an access log, a limit on body size."""

import re
import time
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ocmt_common.problems import REQUEST_ID_HEADER, Problem, body_too_large

__all__ = ["REQUEST_ID_HEADER", "USER_IN_SCOPE", "BodyLimitMiddleware", "RequestIdMiddleware"]

log = structlog.get_logger("ocmt.access")

USER_IN_SCOPE = "ocmt_user_id"
"""The key in a request's scope for the id of its user."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestIdMiddleware:
    """Gives each request an id (the caller's, if well-formed), for the log and the response.

    Logs a line per request: method, path without query, status, milliseconds, the client's address,
    and the user's id if the application has set `USER_IN_SCOPE`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        offered = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        request_id = offered if _REQUEST_ID.fullmatch(offered) else uuid4().hex
        # For the handler of unexpected exceptions, which runs outside of all middleware.
        scope[REQUEST_ID_HEADER] = request_id
        started = time.monotonic()
        status = 0

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.accept"):
                status = message.get("status", 101)
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        client = str((scope.get("client") or ("",))[0])
        with structlog.contextvars.bound_contextvars(request_id=request_id, client=client):
            try:
                await self.app(scope, receive, tagged)
            finally:
                if scope["path"] not in ("/health", "/metrics"):
                    log.info(
                        "request",
                        method=scope.get("method", "WEBSOCKET"),
                        path=scope["path"],
                        status=status,
                        ms=round((time.monotonic() - started) * 1000, 1),
                        client=client,
                        user_id=scope.get(USER_IN_SCOPE),
                    )


class BodyLimitMiddleware:
    """Refuses bodies above `max_bytes` with a 413, by their declared length or while they arrive.

    Starlette's `RequestBodyLimitMiddleware` answers in plain text, and runs an endpoint that does
    not read its body despite the declared length.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        too_large = body_too_large(self.max_bytes)
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdigit() and int(declared) > self.max_bytes:
            await too_large.response()(scope, receive, send)
            return
        received = 0
        exceeded = started = False

        async def counted() -> Message:
            nonlocal received, exceeded
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self.max_bytes:
                    exceeded = True
                    raise too_large
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            # Replace the framework's own response to a body that cannot be read (FastAPI: 400).
            if exceeded and not started:
                return
            started = True
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except Problem as problem:
            if started or problem is not too_large:
                raise
        if exceeded and not started:
            await too_large.response()(scope, receive, send)
