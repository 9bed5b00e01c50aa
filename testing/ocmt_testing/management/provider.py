"""A model provider on loopback that records requests and returns the test's answers.

It accepts requests like OpenAI and Anthropic, without checks.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ocmt_testing.management.serving import Server


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    written: bytes


@dataclass
class Provider:
    """Streams `chunks`, or answers with `error`; records every request."""

    server: Server = field(init=False)
    chunks: list[bytes] = field(default_factory=list)
    status: int = 200
    error: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str | None = "text/event-stream"
    whole: dict[str, Any] | None = None
    """The answer to a request without streaming."""
    strict: bool = False
    """Whether to reject `stream_options`, as some servers do."""
    asked: list[Asked] = field(default_factory=list)
    models: list[str] = field(default_factory=lambda: ["model-a", "model-b"])
    """The list of models, which is also used to check keys."""
    listed: tuple[int, dict[str, Any]] | None = None
    """An answer instead of the list."""
    looked_up: list[Asked] = field(default_factory=list)
    """Requests for lists and checks of keys."""
    go_on: asyncio.Queue[None] | None = None
    """If set, each chunk after the first waits for an entry."""
    break_off: bool = False
    unread: bool = False
    """Whether to leave requests unparsed, for large ones."""
    silent: bool = False
    """Whether to send no answer until the caller disconnects."""
    thinking: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the caller disconnects before the end of the answer."""

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST"])])

    async def _answer(self, request: Request) -> Response:
        written = await request.body()
        if request.method == "GET":
            path = f"{request.url.path}?{request.url.query}".rstrip("?")
            self.looked_up.append(Asked(path, dict(request.headers), {}, written))
            status, listed = self.listed or (200, {"data": [{"id": name} for name in self.models]})
            return JSONResponse(listed, status_code=status)
        body = {} if self.unread else json.loads(written)
        self.asked.append(Asked(request.url.path, dict(request.headers), body, written))
        if self.silent:
            self.thinking.set()
            while (await request.receive())["type"] != "http.disconnect":
                pass
            self.left.set()
        if self.error is not None:
            return JSONResponse(self.error, status_code=self.status, headers=self.headers)
        if self.strict and "stream_options" in body:
            error = {"message": "Unknown parameter: 'stream_options'.", "type": "invalid_request"}
            return JSONResponse({"error": error}, status_code=self.status)
        if body.get("stream") is not True:
            return JSONResponse(self.whole or WHOLE, headers=self.headers)
        return StreamingResponse(self._stream(), media_type=self.media_type, headers=self.headers)

    async def _stream(self) -> AsyncIterator[bytes]:
        try:
            for number, chunk in enumerate(self.chunks):
                if number and self.go_on is not None:
                    await self.go_on.get()
                yield chunk
            if self.break_off:
                raise ConnectionResetError
        except asyncio.CancelledError:
            self.left.set()
            raise


WHOLE = {"id": "1", "choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7}}


def openai_chunks(*words: str, usage: tuple[int, int] = (12, 3)) -> list[bytes]:
    deltas = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in words]
    counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    events = [*deltas, {"choices": [], "usage": counts}]
    return [f"data: {json.dumps(event)}\n\n".encode() for event in events] + [b"data: [DONE]\n\n"]


def responses_chunks(*words: str, usage: tuple[int, int] = (12, 3), cached: int = 0) -> list[bytes]:
    """A streamed response of OpenAI's Responses API, one event per chunk."""
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    text = {"type": "output_text", "text": "".join(words), "annotations": []}
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    counts = {
        "input_tokens": usage[0],
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": usage[1],
        "output_tokens_details": {"reasoning_tokens": usage[1] // 4},
        "total_tokens": sum(usage),
    }
    response: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "model": "m",
        "error": None,
        "output": [],
    }
    done = {**item, "content": [text]}
    begun = {**item, "status": "in_progress", "content": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**response, "status": "in_progress"}},
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        {"type": "response.content_part.added", **at, "part": {**text, "text": ""}},
        *({"type": "response.output_text.delta", **at, "delta": word} for word in words),
        {"type": "response.output_text.done", **at, "text": text["text"]},
        {"type": "response.content_part.done", **at, "part": text},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {
            "type": "response.completed",
            "response": {**response, "status": "completed", "output": [done], "usage": counts},
        },
    ]
    return [_named(event | {"sequence_number": n}) for n, event in enumerate(events)]


def anthropic_chunks(
    *words: str, usage: tuple[int, int] = (12, 3), cached: int = 0, cache_written: int = 0
) -> list[bytes]:
    """A streamed response of Anthropic's Messages API, one event per chunk."""
    counts = {
        "input_tokens": usage[0],
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": cache_written,
    }
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "usage": {**counts, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": word},
            }
            for word in words
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": usage[1]},
        },
        {"type": "message_stop"},
    ]
    return [_named(event) for event in events]


def _named(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def provider_urls(provider: Provider) -> dict[str, str]:
    """Settings that replace all real providers with `provider`."""
    url = provider.server.url
    names = ("openai", "openrouter", "google", "mistral", "deepseek", "xai", "groq")
    return {
        "anthropic_base_url": f"{url}/anthropic",
        **{f"{name}_base_url": f"{url}/{name}/v1" for name in names},
    }
