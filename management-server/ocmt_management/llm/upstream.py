"""Forwards one request to a provider and streams its answer back.

When the client disconnects, the request to the provider is cancelled at once: while connecting,
while waiting for the first byte, and while streaming.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import httpx2
import structlog
from fastapi.sse import format_sse_event
from ocmt_common import bounded_json
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ocmt_management.disconnects import until_disconnect
from ocmt_management.llm import errors
from ocmt_management.llm.errors import LlmError, ModelError
from ocmt_management.llm.providers import Shape
from ocmt_management.llm.usage import TokenCounts, UsageReader
from ocmt_management.vault.service import SecretValue

log = structlog.get_logger(__name__)

_MAX_ERROR_BYTES = 64 * 1024
_MAX_BUFFERED_BYTES = 256 * 1024
_MASK = "•••"
_FORWARDED = frozenset({b"content-type", b"retry-after", b"retry-after-ms", b"x-should-retry"})
_FORWARDED_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-")
# Invalid in a header value (RFC 9110, section 5.5); our server would fail on it.
_INVALID_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

UNBUFFERED = {"cache-control": "no-store", "x-accel-buffering": "no"}
"""The headers of a stream: reverse proxies must not buffer it."""
_UNBUFFERED = [(name.encode(), value.encode()) for name, value in UNBUFFERED.items()]

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """A request to a provider with a user's key."""

    shape: Shape
    provider: str
    model: str
    url: str
    setting: str
    """The setting with the provider's address, named in errors for the operator."""
    headers: Mapping[str, str]
    key: SecretValue
    body: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer's token counts if it had any, and the error if there was one."""

    tokens: TokenCounts | None
    error: ModelError | None


class UpstreamResponse(Response):
    """Answers with the provider's answer. `done` is called with the outcome at the end."""

    def __init__(
        self, http: httpx2.AsyncClient, request: UpstreamRequest, *, done: Callable[[Outcome], None]
    ) -> None:
        super().__init__()
        self._http = http
        self._request = request
        self._done = done
        self._outcome = Outcome(None, None)
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await until_disconnect(receive, self._forward(scope, receive, send))

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = self._request
        try:
            async with self._http.stream(
                "POST", request.url, content=request.body, headers=request.headers
            ) as response:
                if response.status_code == 200:
                    await self._stream(response, send)
                else:
                    await (await self._error(response))(scope, receive, send)
        except httpx2.HTTPError as error:
            await self._failed(error, scope, receive, send)
        finally:
            self._done(self._outcome)

    async def _stream(self, response: httpx2.Response, send: Send) -> None:
        streamed = response.headers.get("content-type", "").startswith("text/event-stream")
        reader = UsageReader(streamed=streamed)
        await send(_start(200, _forwarded_headers(response.headers)))
        self._started = True
        try:
            async for chunk in coalesced(response.aiter_raw()):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                reader.feed(chunk)
        except httpx2.HTTPError as error:
            log.warning(
                "provider connection lost", provider=self._request.provider, kind=_kind(error)
            )
            lost = errors.connection_lost(self._request.provider)
            self._outcome = Outcome(reader.tokens(), ModelError(lost.code, lost.detail))
            if streamed:
                await send(_body(_error_event(lost, self._request.shape), more=True))
        else:
            self._outcome = Outcome(reader.tokens(), None)
        await send(_body(b"", more=False))

    async def _error(self, response: httpx2.Response) -> Response:
        """The provider's error with the key masked; errors about the key become a 424 of ours."""
        request = self._request
        raw = b""
        async for chunk in response.aiter_bytes():
            raw = (raw + chunk)[:_MAX_ERROR_BYTES]
            if len(raw) == _MAX_ERROR_BYTES:
                break
        body = raw.decode(errors="replace").replace(request.key.reveal(), _MASK)
        status = response.status_code
        if not 400 <= status < 600:  # a redirect, or not a provider's answer
            return self._answer_error(errors.unreachable(request.provider, request.setting))
        error = errors.explain(request.provider, request.model, status, _message(body))
        log.info(
            "provider returned an error", provider=request.provider, status=status, code=error.code
        )
        self._outcome = Outcome(None, error)
        if error.replaces:
            return errors.in_place_of_answer(error).in_shape(request.shape).response()
        headers = {
            name.decode(): value.decode("latin-1")
            for name, value in _forwarded_headers(response.headers)
        }
        return Response(body, status_code=status, headers=headers)

    async def _failed(
        self, error: httpx2.HTTPError, scope: Scope, receive: Receive, send: Send
    ) -> None:
        log.warning("provider unreachable", provider=self._request.provider, kind=_kind(error))
        if not self._started:
            unreachable = errors.unreachable(self._request.provider, self._request.setting)
            await self._answer_error(unreachable)(scope, receive, send)

    def _answer_error(self, error: LlmError) -> Response:
        self._outcome = Outcome(None, ModelError(error.code, error.detail))
        return error.in_shape(self._request.shape).response()


async def coalesced(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, with chunks that have already arrived joined; never waits to join more.

    Providers send a chunk per word; in a burst, forwarding each separately takes most of the time.
    """
    buffered = bytearray()
    more, room = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        async for chunk in chunks:
            buffered.extend(chunk)
            more.set()
            if len(buffered) > _MAX_BUFFERED_BYTES:
                room.clear()
                await room.wait()

    reading = asyncio.create_task(read())
    reading.add_done_callback(lambda _: more.set())
    try:
        while buffered or not reading.done():
            if buffered:
                piece = bytes(buffered)
                buffered.clear()
                room.set()
                yield piece
            else:
                more.clear()
                await more.wait()
        await reading
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def _forwarded_headers(headers: httpx2.Headers) -> Headers:
    lowered = ((name.lower(), value) for name, value in headers.raw)
    return [
        (name, value)
        for name, value in lowered
        if (name in _FORWARDED or name.startswith(_FORWARDED_PREFIXES))
        and _INVALID_IN_VALUE.search(value) is None
    ]


def _start(status: int, headers: Headers) -> dict[str, object]:
    return {"type": "http.response.start", "status": status, "headers": headers + _UNBUFFERED}


def _body(body: bytes, *, more: bool) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def _error_event(error: LlmError, shape: Shape) -> bytes:
    """An error event within a stream, as clients of this shape expect it."""
    data = json.dumps(error.in_shape(shape).body(), separators=(",", ":"))
    return format_sse_event(data_str=data, event="error" if shape is Shape.ANTHROPIC else None)


def _message(body: str) -> str:
    """The message in a provider's error body, or the whole body."""
    try:
        error = bounded_json.read(body)["error"]
        return f"{error['message']} {error.get('code') or ''}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return body


def _kind(error: httpx2.HTTPError) -> str:
    # Not the message, which may quote a URL with credentials.
    return type(error).__name__
