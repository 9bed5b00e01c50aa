"""One request to a provider and its answer, passed on as the bytes come.

The caller going away ends the request to the provider at once, at any moment: while connecting,
while the provider thinks, and while it answers.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

import httpx2
import structlog
from ocmt_common import bounded_json
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ocmt_management.llm import errors as refusals
from ocmt_management.llm.errors import Refusal, Trouble
from ocmt_management.llm.providers import Shape
from ocmt_management.llm.usage import Tokens, UsageReader
from ocmt_management.vault.secret_value import SecretValue

log = structlog.get_logger(__name__)

_MAX_ERROR_BYTES = 64 * 1024
_MOST_WAITING_BYTES = 256 * 1024
_MASK = "•••"
_PASSED_ON = frozenset({b"content-type", b"retry-after", b"retry-after-ms", b"x-should-retry"})
_PASSED_ON_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-")
# RFC 9110 section 5.5: our server would fail on such a value.
_NO_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to ask of whom, with whose key."""

    shape: Shape
    provider: str
    model: str
    url: str
    setting: str
    """The setting that names where the provider is, for the operator's eyes."""
    headers: Mapping[str, str]
    key: SecretValue
    body: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went: the answer's token counts if it told them, the trouble if there was any."""

    tokens: Tokens | None
    trouble: Trouble | None


class Exchange(Response):
    """Answers with what the provider answers. `done` hears the outcome when the last byte left."""

    def __init__(
        self, http: httpx2.AsyncClient, order: Order, *, done: Callable[[Outcome], None]
    ) -> None:
        super().__init__()
        self._http = http
        self._order = order
        self._done = done
        self._outcome = Outcome(None, None)
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await while_listening(receive, self._pass_on(scope, receive, send))

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        order = self._order
        try:
            async with self._http.stream(
                "POST", order.url, content=order.body, headers=order.headers
            ) as response:
                if response.status_code == 200:
                    await self._answer(response, send)
                else:
                    await (await self._refusal(response))(scope, receive, send)
        except httpx2.HTTPError as error:
            await self._broken(error, scope, receive, send)
        finally:
            self._done(self._outcome)

    async def _answer(self, response: httpx2.Response, send: Send) -> None:
        streamed = response.headers.get("content-type", "").startswith("text/event-stream")
        reader = UsageReader(streamed=streamed)
        await send(_start(200, _passed_on(response.headers)))
        self._started = True
        try:
            async for chunk in gathered(response.aiter_raw()):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                reader.feed(chunk)
        except httpx2.HTTPError as error:
            log.warning("provider broke off", provider=self._order.provider, kind=_kind(error))
            refusal = refusals.lost(self._order.provider)
            self._outcome = Outcome(reader.tokens(), Trouble(refusal.code, refusal.detail))
            if streamed:
                await send(_body(_error_event(refusal, self._order.shape), more=True))
        else:
            self._outcome = Outcome(reader.tokens(), None)
        await send(_body(b"", more=False))

    async def _refusal(self, response: httpx2.Response) -> Response:
        """What the provider refused with, without the key, and as 424 when it is about the key."""
        order = self._order
        raw = b""
        async for chunk in response.aiter_bytes():
            raw = (raw + chunk)[:_MAX_ERROR_BYTES]
            if len(raw) == _MAX_ERROR_BYTES:
                break
        body = raw.decode(errors="replace").replace(order.key.reveal(), _MASK)
        status = response.status_code
        if not 400 <= status < 600:  # a redirect, or an answer no provider gives
            return self._troubled(refusals.unreachable(order.provider, order.setting))
        trouble = refusals.explain(order.provider, order.model, status, _message(body))
        log.info("provider refused", provider=order.provider, status=status, code=trouble.code)
        self._outcome = Outcome(None, trouble)
        if trouble.replaces:
            return refusals.replaced(trouble).in_shape(order.shape).response()
        headers = {
            name.decode(): value.decode("latin-1") for name, value in _passed_on(response.headers)
        }
        return Response(body, status_code=status, headers=headers)

    async def _broken(
        self, error: httpx2.HTTPError, scope: Scope, receive: Receive, send: Send
    ) -> None:
        log.warning("provider unreachable", provider=self._order.provider, kind=_kind(error))
        refusal = refusals.unreachable(self._order.provider, self._order.setting)
        if not self._started:
            await self._troubled(refusal)(scope, receive, send)

    def _troubled(self, refusal: Refusal) -> Response:
        self._outcome = Outcome(None, Trouble(refusal.code, refusal.detail))
        return refusal.in_shape(self._order.shape).response()


class Streamed(Response):
    """An answer made here, passed on piece by piece."""

    def __init__(self, pieces: AsyncIterator[bytes], *, done: Callable[[], None]) -> None:
        super().__init__()
        self._pieces = pieces
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await while_listening(receive, self._pass_on(send))

    async def _pass_on(self, send: Send) -> None:
        await send(_start(200, [(b"content-type", b"text/event-stream; charset=utf-8")]))
        try:
            async for piece in self._pieces:
                await send(_body(piece, more=True))
        finally:
            self._done()
        await send(_body(b"", more=False))


async def gathered(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, with those that are there already in one piece: nothing waits for more.

    A provider sends a word a chunk; in a burst, passing each one on alone costs most of the time.
    """
    waiting = bytearray()
    more, room = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        async for chunk in chunks:
            waiting.extend(chunk)
            more.set()
            if len(waiting) > _MOST_WAITING_BYTES:
                room.clear()
                await room.wait()

    reading = asyncio.create_task(read())
    reading.add_done_callback(lambda _: more.set())
    try:
        while waiting or not reading.done():
            if waiting:
                piece = bytes(waiting)
                waiting.clear()
                room.set()
                yield piece
            else:
                more.clear()
                await more.wait()
        await reading
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def while_listening(receive: Receive, answering: Awaitable[None]) -> None:
    """Answer, but stop when the caller goes away."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    answer = asyncio.ensure_future(answering)
    leaving = asyncio.ensure_future(gone())
    try:
        await asyncio.wait((answer, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        answered = answer.done()
        answer.cancel()
        await asyncio.gather(answer, leaving, return_exceptions=True)
    if answered:
        answer.result()


def _passed_on(headers: httpx2.Headers) -> Headers:
    lowered = ((name.lower(), value) for name, value in headers.raw)
    return [
        (name, value)
        for name, value in lowered
        if (name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES))
        and _NO_VALUE.search(value) is None
    ]


def _start(status: int, headers: Headers) -> dict[str, object]:
    # Proxies in front must not gather a stream.
    quiet = [(b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
    return {"type": "http.response.start", "status": status, "headers": headers + quiet}


def _body(body: bytes, *, more: bool) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def _error_event(refusal: Refusal, shape: Shape) -> bytes:
    """An error in the middle of a stream, as clients of this shape notice it."""
    data = json.dumps(refusal.in_shape(shape).body(), separators=(",", ":"))
    event = "event: error\n" if shape is Shape.ANTHROPIC else ""
    return f"{event}data: {data}\n\n".encode()


def _message(body: str) -> str:
    """The provider's own words in an error body, or the body."""
    try:
        error = bounded_json.read(body)["error"]
        return f"{error['message']} {error.get('code') or ''}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return body


def _kind(error: httpx2.HTTPError) -> str:
    # Never the message: it may quote an address with credentials.
    return type(error).__name__
