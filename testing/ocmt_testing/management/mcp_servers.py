"""MCP servers on loopback: a real one with the SDK, and one that misbehaves as tests require."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
from mcp.server.lowlevel.server import Server as McpServer
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ocmt_testing.management.serving import Server, serving

OBJECT: dict[str, Any] = {"type": "object", "properties": {"text": {"type": "string"}}}


def tool(name: str, description: str = "A tool.", **changes: Any) -> dict[str, Any]:
    """A definition as a server lists it."""
    return {"name": name, "description": description, "inputSchema": OBJECT, **changes}


@dataclass
class Seen:
    """A request that reached a server."""

    method: str
    headers: dict[str, str]
    message: dict[str, Any]
    answer_headers: dict[str, str] = field(default_factory=dict)

    @property
    def is_call(self) -> bool:
        return self.message.get("method") == "tools/call"


class RealServer:
    """The SDK's server with the test's tools, which answer with their name and the credential."""

    url: str

    def __init__(self, *, json_response: bool = True, stateless: bool = False) -> None:
        self.tools: list[dict[str, Any]] = [tool("echo"), tool("read_note")]
        self.calls: Counter[str] = Counter()
        self.credentials: list[str] = []
        self.held: asyncio.Event | None = None
        """If set, calls wait for it."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self.seen: list[Seen] = []
        self.accepted: Callable[[str], bool] = lambda _: True
        """Whether a credential is accepted; others get a 401."""
        server = McpServer(
            "real",
            version="1",
            on_list_tools=self._list,
            on_call_tool=self._call,
            on_list_resources=self._resources,
            on_read_resource=self._read,
            on_list_prompts=self._prompts,
            on_get_prompt=self._prompt,
        )
        self._manager = StreamableHTTPSessionManager(
            server, json_response=json_response, stateless=stateless
        )

    def hold(self) -> None:
        """Keep calls waiting from now on, until `release`."""
        self.held = asyncio.Event()

    def release(self) -> None:
        """Answer the waiting calls. May be called by any thread."""
        held, self.held = self.held, None
        if held is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(held.set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["RealServer"]:
        self._loop = asyncio.get_running_loop()
        ready, ended = asyncio.Event(), asyncio.Event()

        async def manage() -> None:
            # The task group must be exited by the task that entered it; a fixture's may differ.
            async with self._manager.run():
                ready.set()
                await ended.wait()

        managing = asyncio.create_task(manage())
        await ready.wait()
        async with serving(self) as server:
            self.url = f"{server.url}/mcp"
            yield self
        ended.set()
        await managing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        credential = headers.get("authorization", headers.get("x-api-key", ""))
        if not self.accepted(credential):
            await JSONResponse({"error": "invalid_token"}, 401)(scope, receive, send)
            return
        body = b""
        more = scope["method"] == "POST"
        while more:
            piece = await receive()
            body += piece.get("body", b"")
            more = piece.get("more_body", False)
        seen = Seen(scope["method"], headers, json.loads(body) if body else {})
        self.seen.append(seen)
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.answer_headers = {k.decode(): v.decode() for k, v in message["headers"]}
            await send(message)

        await self._manager.handle_request(scope, again, noted)

    async def _list(self, *_: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[types.Tool.model_validate(one) for one in self.tools])

    async def _call(self, context: Any, params: Any) -> types.CallToolResult:
        self.calls[params.name] += 1
        request: Request = context.request
        credential = request.headers.get("authorization", request.headers.get("x-api-key", ""))
        self.credentials.append(credential)
        if self.held is not None:
            await self.held.wait()
        text = json.dumps([params.name, params.arguments, credential])
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)])

    async def _resources(self, *_: Any) -> types.ListResourcesResult:
        return types.ListResourcesResult(
            resources=[types.Resource(uri="note://one", name="one", mime_type="text/plain")]
        )

    async def _read(self, _: Any, params: Any) -> types.ReadResourceResult:
        content = types.TextResourceContents(
            uri=params.uri, text="the note", mime_type="text/plain"
        )
        return types.ReadResourceResult(contents=[content])

    async def _prompts(self, *_: Any) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=[types.Prompt(name="greet", description="Greets.")])

    async def _prompt(self, _: Any, __: Any) -> types.GetPromptResult:
        text = types.TextContent(type="text", text="Hello.")
        return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=text)])


Answer = Callable[[Request, dict[str, Any]], Any]


@dataclass
class RoughServer:
    """Implements MCP without a library, so that it can violate the protocol."""

    tools: list[dict[str, Any]] = field(default_factory=lambda: [tool("echo")])
    on_call: Answer | None = None
    """Returns the `Response` to `tools/call`."""
    on_list: Answer | None = None
    on_any: Answer | None = None
    """Returns the response to any request, or `None` for the usual one."""
    session_id: str | None = None
    modern_only: bool = False
    """Whether it supports only the revision 2026-07-28."""
    seen: list[Seen] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    server: Server = field(init=False)

    @property
    def url(self) -> str:
        return f"{self.server.url}/mcp"

    @property
    def calls(self) -> int:
        return sum(seen.message.get("method") == "tools/call" for seen in self.seen)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["RoughServer"]:
        async with serving(self.app()) as self.server:
            yield self

    def app(self) -> ASGIApp:
        methods = ["GET", "POST", "DELETE"]
        return Starlette(routes=[Route("/{path:path}", self._answer, methods=methods)])

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        self.bodies.append(body)
        message = json.loads(body) if body else {}
        self.seen.append(Seen(request.method, dict(request.headers), message))
        method = str(message.get("method"))
        told = {"tools/list": self.on_list, "tools/call": self.on_call}.get(method)
        for make in (self.on_any, told):
            if make is not None and (answer := await _made(make, request, message)) is not None:
                return _response(answer)
        if "id" not in message or "method" not in message:
            return Response(status_code=202)
        if method == "initialize" and not self.modern_only:
            return self._initialized(message)
        answers: dict[str, Any] = {
            "server/discover": {
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}},
            },
            "tools/list": {"tools": self.tools},
            "tools/call": text_result(message.get("params", {}).get("name", "")),
        }
        if method in answers:
            return result(message, answers[method])
        return rpc_error(message, -32601, "Method not found")

    def _initialized(self, message: dict[str, Any]) -> Response:
        answer = {
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "rough", "version": "1"},
        }
        headers = {} if self.session_id is None else {"mcp-session-id": self.session_id}
        return JSONResponse(
            {"jsonrpc": "2.0", "id": message["id"], "result": answer}, headers=headers
        )


async def _made(make: Answer, request: Request, message: dict[str, Any]) -> Any:
    answer = make(request, message)
    return await answer if asyncio.iscoroutine(answer) else answer


def _response(answer: Any) -> Response:
    assert isinstance(answer, Response)
    return answer


def result(message: dict[str, Any], value: Any) -> Response:
    return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": value})


def rpc_error(message: dict[str, Any], code: int, text: str) -> Response:
    error = {"code": code, "message": text}
    return JSONResponse({"jsonrpc": "2.0", "id": message.get("id"), "error": error})


def text_result(text: str, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], **more}


def events(
    *parts: dict[str, Any] | asyncio.Event,
    ids: bool = False,
    started: asyncio.Event | None = None,
    ended: asyncio.Event | None = None,
) -> Response:
    """A response of messages as server-sent events; waits for each `asyncio.Event` in between."""

    async def stream() -> AsyncIterator[bytes]:
        if started is not None:
            started.set()
        try:
            for number, part in enumerate(parts):
                if isinstance(part, asyncio.Event):
                    await part.wait()
                else:
                    name = f"id: {number}\r\n" if ids else ""
                    text = f"event: message\r\n{name}data: {json.dumps(part)}\r\n\r\n"
                    yield text.encode()
        finally:
            if ended is not None:
                ended.set()

    return StreamingResponse(stream(), media_type="text/event-stream")


def endless(
    start: bytes, piece: bytes, count: int, *, media_type: str = "application/json"
) -> Response:
    """A response of many megabytes that begins like a real one."""

    async def stream() -> AsyncIterator[bytes]:
        yield start
        for _ in range(count):
            yield piece

    return StreamingResponse(stream(), media_type=media_type)


def redirect(url: str) -> Response:
    return RedirectResponse(url, status_code=307)
