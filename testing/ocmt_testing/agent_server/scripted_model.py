"""A model that obeys the last command in the user's messages, to make agents work.

OpenAI-compatible and streamed. `say: X` answers `X.` at once; `recite: X` repeats `X` until the
test stops it; `run: X` calls the agent's shell tool with the command `X` and answers with its
result; `use: X` calls the tool `X` of OCMT's MCP server, without arguments or with the JSON object
after its name, and answers with its result. Without a command, the answer is `Well.`

A line "once `X`: COMMAND" is obeyed when a later message has the words `X`.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

_ORDER = re.compile(r"(say|recite|run|use): (.*)")
_LATER = re.compile(r"once `([^`]+)`: (.*)")
_BEAT_S = 0.25
# Commands that take longer run in the background until their result is requested.
_LONGEST_YIELD_MS = 120_000
_LONGEST_POLL_MS = 30_000
_IN_BACKGROUND = re.compile(r"still running \(session ([^,]+),")


class ScriptedModel:
    def __init__(self) -> None:
        self.reciting = 0
        """How many recitals are in progress."""
        self.heard_enough = asyncio.Event()

    async def complete(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        async for delta in self._deltas(asked["messages"]):
            await answer.write(_chunk(delta, None))
        await answer.write(_chunk({}, "stop") + b"data: [DONE]\n\n")
        return answer

    async def _deltas(self, messages: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
        # The gateway may add its own messages with the user's role after the user's message.
        asked = [n for n, message in enumerate(messages) if message["role"] == "user"]
        texts = {n: _text(messages[n]) for n in asked}
        later = [(n, found) for n in asked for found in _LATER.finditer(texts[n])]
        for since, found in later:
            texts |= {n: found[2] for n in asked if n > since and found[1] in texts[n]}
        orders = [(n, _ORDER.search(texts[n])) for n in asked]
        last, obeyed = next((one for one in reversed(orders) if one[1]), (0, None))
        order, what = obeyed.groups() if obeyed else ("say", "Well")
        results = [_text(message) for message in messages[last:] if message["role"] == "tool"]
        match order:
            case "run" if results and "still running" not in results[-1]:
                yield {"role": "assistant", "content": f"It told: {results[-1]}"}
            case "run":
                tool, call = "exec", {"command": what, "yieldMs": _LONGEST_YIELD_MS}
                session = _IN_BACKGROUND.search(results[0]) if results else None
                if session is not None:
                    tool = "process"
                    call = {"action": "poll", "sessionId": session[1], "timeout": _LONGEST_POLL_MS}
                yield _call(tool, call, number=len(results) + 1)
            case "use" if results:
                yield {"role": "assistant", "content": f"It told: {results[-1]}"}
            case "use":
                name, _, arguments = what.partition(" ")
                # OpenClaw offers the model a search instead of the tools themselves.
                given = {"id": f"ocmt__{name}", "args": json.loads(arguments or "{}")}
                yield _call("tool_call", given, number=1)
            case "recite":
                self.reciting += 1
                try:
                    while not self.heard_enough.is_set():
                        yield {"role": "assistant", "content": f"{what} "}
                        await asyncio.sleep(_BEAT_S)
                finally:
                    self.reciting -= 1
                yield {"content": "The end."}
            case _:
                yield {"role": "assistant", "content": f"{what}."}


def _call(tool: str, arguments: dict[str, Any], *, number: int) -> dict[str, Any]:
    function = {"name": tool, "arguments": json.dumps(arguments)}
    call = {"index": 0, "id": f"call_{number}", "type": "function", "function": function}
    return {"role": "assistant", "tool_calls": [call]}


@asynccontextmanager
async def scripted_model(
    host: str, *, mcp: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
) -> AsyncIterator[tuple[ScriptedModel, int]]:
    """Serve a model, and `mcp`, at `host` instead of the relay. Yields the model and its port."""
    model = ScriptedModel()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/llm/v1/chat/completions", model.complete)
    if mcp is not None:
        app.router.add_route("*", "/mcp", mcp)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, host, 0).start()
    try:
        yield model, runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content)


def _chunk(delta: dict[str, Any], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish or _finish(delta)}
    frame = {
        "id": "x",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "default",
        "choices": [choice],
    }
    return b"data: " + json.dumps(frame).encode() + b"\n\n"


def _finish(delta: dict[str, Any]) -> str | None:
    return "tool_calls" if "tool_calls" in delta else None
