"""Forwards one request to a provider and streams its answer back.

When the client disconnects, the request to the provider is cancelled at once: while connecting,
while waiting for the first byte, and while streaming.
"""

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

import httpx2
import structlog
from fastapi.sse import format_sse_event
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ocmt_management.disconnects import until_disconnect
from ocmt_management.llm import errors, provider_errors
from ocmt_management.llm.errors import Explained, LlmError, ModelError
from ocmt_management.llm.event_stream import AnswerReader, reader_of
from ocmt_management.llm.provider_access import Access
from ocmt_management.llm.provider_errors import ProviderError
from ocmt_management.llm.providers import Shape
from ocmt_management.llm.streaming import (
    EVENT_STREAM,
    Headers,
    body,
    coalesced,
    start,
)
from ocmt_management.llm.usage import TokenCounts, estimated_counts
from ocmt_management.outbound.service import OutboundRefused

log = structlog.get_logger(__name__)

_MAX_ERROR_BYTES = 64 * 1024
_ENOUGH_TO_TELL = 16
"""Bytes that suffice to recognise an answer without a known content type."""
_FORWARDED = frozenset({b"retry-after", b"retry-after-ms", b"x-should-retry"})
_FORWARDED_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-")
# Invalid in a header value (RFC 9110, section 5.5); uvicorn would raise.
_INVALID_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CODINGS = frozenset({"identity", "gzip", "deflate", "br", "zstd"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """A request to a provider for a user."""

    shape: Shape
    provider: str
    model: str
    url: str
    setting: str
    """The setting with the provider's address, named in errors for the operator."""
    headers: Mapping[str, str]
    access: Access
    body: bytes
    without_stream_options: Callable[[], bytes] | None = None
    """Makes the body for a server that refuses `stream_options`, and records that it does."""
    final: bool = False
    """Whether to stop retries if no answer comes: the agent's last request got none either."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a request: the answer's tokens and the error, each `None` if there was none."""

    tokens: TokenCounts | None
    error: ModelError | None
    estimated: bool = False
    """Whether `tokens` is estimated: the provider reported none, or the answer was cut."""
    unreported: bool = False
    """Whether nothing shows how much the provider wrote: it may be as much as was asked for."""


class UpstreamResponse(Response):
    """Streams the provider's answer, and finally calls `done` with the outcome."""

    def __init__(
        self, http: httpx2.AsyncClient, request: UpstreamRequest, *, done: Callable[[Outcome], None]
    ) -> None:
        super().__init__()
        self._http = http
        self._request = request
        self._done = done
        self._reader: AnswerReader | None = None
        self._answer_headers: Headers = []
        self._started = False
        self._whole = False
        self._error: ModelError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await until_disconnect(receive, self._forward(scope, receive, send))

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            refusal = await self._exchange(send)
            if refusal is not None:
                await refusal(scope, receive, send)
        finally:
            self._done(self._outcome())

    async def _exchange(self, send: Send) -> Response | None:
        """Pass on the provider's answer; return the error response if it has none."""
        request = self._request
        content, spare = request.body, request.without_stream_options
        try:
            while True:
                async with self._http.stream(
                    "POST", request.url, content=content, headers=request.headers
                ) as response:
                    if response.status_code == 200:
                        return await self._pass_on(response, send)
                    said = await _said(response)
                    if spare is None or not _refuses_stream_options(response.status_code, said):
                        return self._refusal(response, said)
                content, spare = spare(), None
        except httpx2.HTTPError as error:
            # Without the message, which may quote a URL with credentials.
            log.warning(
                "provider did not answer", provider=request.provider, kind=type(error).__name__
            )
            if self._reader is not None:
                return await self._lost(send)
            if isinstance(error, OutboundRefused):
                return self._failed(errors.address_refused())
            return self._failed(
                errors.unreachable(request.provider, request.setting, final=request.final)
            )

    async def _pass_on(self, response: httpx2.Response, send: Send) -> Response | None:
        request = self._request
        codings = {
            coding.strip().lower() or "identity"
            for coding in response.headers.get("content-encoding", "").split(",")
        }
        chunks = response.aiter_raw() if codings == {"identity"} else response.aiter_bytes()
        async with aclosing(coalesced(chunks)) as arriving:
            media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            head = b"" if media_type == EVENT_STREAM else await _head(arriving)
            reader = reader_of(media_type, head) if codings <= _CODINGS else None
            if reader is None:
                log.warning("provider's answer is garbled", provider=request.provider)
                return self._failed(
                    errors.garbled(request.provider, request.setting, final=request.final)
                )
            self._reader = reader
            self._answer_headers = [
                (b"content-type", reader.content_type),
                *_forwarded_headers(response.headers),
            ]
            await self._copy(reader, head, arriving, send)
        error = reader.error
        if error is not None:
            return await self._error_in_answer(reader, error, send)
        if not reader.complete:
            log.warning("provider's answer ended too early", provider=request.provider)
            return await self._lost(send)
        await self._send(b"", send)
        self._whole = True
        await send(body(b"", more=False))
        return None

    async def _copy(
        self, reader: AnswerReader, head: bytes, arriving: AsyncIterator[bytes], send: Send
    ) -> None:
        """Pass on the answer's chunks until its end or an error in it."""
        passed = reader.feed(head)
        if passed or reader.streamed:
            await self._send(passed, send)
        if reader.failed():
            return
        async for chunk in arriving:
            if passed := reader.feed(chunk):
                await self._send(passed, send)
            if reader.failed():
                return
        if passed := reader.end():
            await self._send(passed, send)

    async def _send(self, content: bytes, send: Send) -> None:
        if not self._started:
            self._started = True
            await send(start(200, self._answer_headers))
        if content:
            await send(body(content, more=True))

    async def _lost(self, send: Send) -> Response | None:
        """End a broken answer, a stream with an error; return a response if nothing was sent."""
        lost = errors.connection_lost(self._request.provider, final=self._request.final)
        refusal = self._failed(lost)
        if not self._started:
            return refusal
        if self._reader is not None and self._reader.streamed:
            await send(body(_error_event(lost, self._request.shape), more=True))
        await send(body(b"", more=False))
        return None

    async def _error_in_answer(
        self, reader: AnswerReader, error: ProviderError, send: Send
    ) -> Response | None:
        explained = self._explained(error)
        withheld = self._masked(reader.withheld)
        if not self._started:
            if explained.in_place is not None:
                return explained.in_place.in_shape(self._request.shape).response()
            return Response(
                withheld, status_code=error.status, media_type=reader.content_type.decode()
            )
        if explained.in_place is not None:
            withheld = _error_event(explained.in_place, self._request.shape)
        await send(body(withheld.rstrip(b"\r\n") + b"\n\n", more=True))
        await send(body(b"", more=False))
        return None

    def _refusal(self, response: httpx2.Response, said: bytes) -> Response:
        """Convert a provider's error response.

        One for which OpenClaw could disable the provider is replaced by ours, mostly a 424; others
        are passed on with the key masked.
        """
        request = self._request
        status = response.status_code
        if not 400 <= status < 600:  # a redirect, or not a provider's answer
            return self._failed(
                errors.unreachable(request.provider, request.setting, final=request.final)
            )
        text = said.decode(errors="replace")
        explained = self._explained(provider_errors.from_body(status, text))
        headers = {
            name.decode(): value.decode("latin-1")
            for name, value in _forwarded_headers(response.headers)
        }
        if explained.in_place is not None:
            return explained.in_place.in_shape(request.shape).response_with(headers)
        media_type = response.headers.get("content-type", "")
        if (
            _INVALID_IN_VALUE.search(media_type.encode(errors="replace"))
            or not media_type.isascii()
        ):
            media_type = ""
        return Response(
            self._masked(said), status_code=status, headers=headers, media_type=media_type or None
        )

    def _explained(self, error: ProviderError) -> Explained:
        request = self._request
        explained = errors.explain(
            request.provider,
            request.model,
            error,
            mask=request.access.mask,
            shared=request.access.shared,
        )
        log.info(
            "provider returned an error",
            provider=request.provider,
            status=error.status,
            code=explained.user.code,
            reason=explained.reason,
        )
        self._error = explained.user
        return explained

    def _failed(self, error: LlmError) -> Response:
        self._error = ModelError(error.code, error.detail)
        return error.in_shape(self._request.shape).response()

    def _masked(self, content: bytes) -> bytes:
        for secret, shown in self._request.access.mask.items():
            content = content.replace(secret.encode(), shown.encode())
        return content

    def _outcome(self) -> Outcome:
        """The outcome so far: at the answer's end, or when the client has disconnected."""
        reader = self._reader
        if reader is None:
            if self._error is not None:
                return Outcome(None, self._error)
            # The client disconnected first; the provider may still have read the request.
            counted = estimated_counts(self._request.body)
            return Outcome(counted, None, estimated=True, unreported=True)
        tokens = reader.tokens()
        if tokens is not None and self._whole:
            return Outcome(tokens, None)
        if reader.error is not None and tokens is None and not reader.estimate():
            return Outcome(None, self._error)
        counted = estimated_counts(self._request.body, tokens, written=reader.estimate())
        # A stream shows how much was written until it stopped.
        unreported = (
            tokens is None
            and reader.error is None
            and not (reader.streamed and (reader.estimate() or self._error))
        )
        return Outcome(counted, self._error, estimated=True, unreported=unreported)


async def _head(arriving: AsyncIterator[bytes]) -> bytes:
    """Read just enough of an answer's first bytes to recognise its type."""
    head = b""
    async for chunk in arriving:
        head += chunk
        if len(head.lstrip()) >= _ENOUGH_TO_TELL:
            break
    return head


async def _said(response: httpx2.Response) -> bytes:
    raw = b""
    async for chunk in response.aiter_bytes():
        raw = (raw + chunk)[:_MAX_ERROR_BYTES]
        if len(raw) == _MAX_ERROR_BYTES:
            break
    return raw


def _refuses_stream_options(status: int, said: bytes) -> bool:
    return status in (400, 422) and (b"stream_options" in said or b"include_usage" in said)


def _forwarded_headers(headers: httpx2.Headers) -> Headers:
    lowered = ((name.lower(), value) for name, value in headers.raw)
    return [
        (name, value)
        for name, value in lowered
        if (name in _FORWARDED or name.startswith(_FORWARDED_PREFIXES))
        and _INVALID_IN_VALUE.search(value) is None
    ]


def _error_event(error: LlmError, shape: Shape) -> bytes:
    """An error event within a stream, as clients of this shape expect it."""
    content = error.in_shape(shape).body()
    if shape is Shape.RESPONSES:
        content |= {"type": "error", "message": error.detail, "param": None}
    data = json.dumps(content, separators=(",", ":"))
    return format_sse_event(data_str=data, event=None if shape is Shape.OPENAI else "error")
