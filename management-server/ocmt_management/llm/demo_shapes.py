"""The demo model's answers in the shapes of OpenAI and Anthropic, whole or streamed."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from fastapi.sse import format_sse_event

from ocmt_management.llm import demo
from ocmt_management.llm.providers import DEMO_MODEL, Shape
from ocmt_management.llm.usage import TokenCounts

_PACE_S = 0.006


@dataclass(frozen=True, slots=True)
class DemoAnswer:
    shape: Shape
    text: str
    used: TokenCounts
    asked_model: str
    created_s: int

    @classmethod
    def to(cls, shape: Shape, body: dict[str, Any], *, created_s: int) -> "DemoAnswer":
        text = demo.reply(demo.user_message(body.get("messages")))
        used = TokenCounts(demo.input_tokens(body), demo.tokens(text))
        return cls(shape, text, used, str(body.get("model") or DEMO_MODEL), created_s)

    def whole(self) -> dict[str, Any]:
        if self.shape is Shape.ANTHROPIC:
            return self._anthropic(
                content=[{"type": "text", "text": self.text}],
                stop_reason="end_turn",
                written=self.used.written,
            )
        if self.shape is Shape.RESPONSES:
            return self._response(_id("resp"), "completed", [self._item(_id("msg"), "completed")])
        return {
            "id": _id("chatcmpl"),
            "object": "chat.completion",
            "created": self.created_s,
            "model": self.asked_model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": self.text, "refusal": None},
                    "finish_reason": "stop",
                }
            ],
            "usage": self._openai_usage(),
        }

    async def stream(
        self, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> AsyncIterator[bytes]:
        """The answer as server-sent events, at the pace of a fast model."""
        events = {
            Shape.OPENAI: self._openai_events,
            Shape.RESPONSES: self._response_events,
            Shape.ANTHROPIC: self._anthropic_events,
        }[self.shape]
        for is_word, event in events():
            if is_word:
                await sleep(_PACE_S)
            yield event

    def _openai_events(self) -> Iterator[tuple[bool, bytes]]:
        base = {
            "id": _id("chatcmpl"),
            "object": "chat.completion.chunk",
            "created": self.created_s,
            "model": self.asked_model,
        }

        def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return _event({**base, "choices": [choice]})

        yield False, chunk({"role": "assistant", "content": ""})
        for piece in demo.pieces(self.text):
            yield True, chunk({"content": piece})
        yield False, chunk({}, "stop")
        yield False, _event({**base, "choices": [], "usage": self._openai_usage()})
        yield False, format_sse_event(data_str="[DONE]")

    def _response_events(self) -> Iterator[tuple[bool, bytes]]:
        numbers = itertools.count()

        def event(kind: str, **fields: Any) -> bytes:
            return _event({"type": kind, "sequence_number": next(numbers), **fields}, name=kind)

        response, item = _id("resp"), _id("msg")
        at = {"item_id": item, "output_index": 0, "content_index": 0}
        begun = self._response(response, "in_progress", [])
        yield False, event("response.created", response=begun)
        yield (
            False,
            event(
                "response.output_item.added",
                output_index=0,
                item=self._item(item, "in_progress"),
            ),
        )
        yield False, event("response.content_part.added", **at, part=_part(""))
        for piece in demo.pieces(self.text):
            yield True, event("response.output_text.delta", **at, delta=piece, logprobs=[])
        yield False, event("response.output_text.done", **at, text=self.text, logprobs=[])
        yield False, event("response.content_part.done", **at, part=_part(self.text))
        done = self._item(item, "completed")
        yield False, event("response.output_item.done", output_index=0, item=done)
        whole = self._response(response, "completed", [done])
        yield False, event("response.completed", response=whole)

    def _item(self, item_id: str, status: str) -> dict[str, Any]:
        content = [_part(self.text)] if status == "completed" else []
        return {
            "id": item_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def _response(
        self, response_id: str, status: str, output: list[dict[str, Any]]
    ) -> dict[str, Any]:
        usage = {
            "input_tokens": self.used.read,
            "output_tokens": self.used.written,
            "total_tokens": self.used.read + self.used.written,
        }
        return {
            "id": response_id,
            "object": "response",
            "created_at": self.created_s,
            "status": status,
            "model": self.asked_model,
            "output": output,
            "usage": usage if status == "completed" else None,
            "error": None,
            "incomplete_details": None,
        }

    def _anthropic_events(self) -> Iterator[tuple[bool, bytes]]:
        def event(kind: str, **fields: Any) -> bytes:
            return _event({"type": kind, **fields}, name=kind)

        start = self._anthropic(content=[], stop_reason=None, written=0)
        yield False, event("message_start", message=start)
        block = {"type": "text", "text": ""}
        yield False, event("content_block_start", index=0, content_block=block)
        for piece in demo.pieces(self.text):
            delta = {"type": "text_delta", "text": piece}
            yield True, event("content_block_delta", index=0, delta=delta)
        yield False, event("content_block_stop", index=0)
        yield (
            False,
            event(
                "message_delta",
                delta={"stop_reason": "end_turn", "stop_sequence": None},
                usage={"output_tokens": self.used.written},
            ),
        )
        yield False, event("message_stop")

    def _anthropic(
        self, *, content: list[dict[str, Any]], stop_reason: str | None, written: int
    ) -> dict[str, Any]:
        return {
            "id": _id("msg"),
            "type": "message",
            "role": "assistant",
            "model": self.asked_model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": {"input_tokens": self.used.read, "output_tokens": written},
        }

    def _openai_usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.used.read,
            "completion_tokens": self.used.written,
            "total_tokens": self.used.read + self.used.written,
        }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def _id(prefix: str) -> str:
    return f"{prefix}-demo-{uuid4().hex}"


def _event(body: dict[str, Any], *, name: str | None = None) -> bytes:
    return format_sse_event(data_str=json.dumps(body, separators=(",", ":")), event=name)
