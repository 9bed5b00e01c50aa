"""`/mcp/{slug}`: passes messages to one server, in its own MCP revision and with its own sessions.

Rules and pins still apply: lists leave out tools that may not be used, and calls of such tools are
answered here. Other messages are passed on with the same members; one that could evade the rules is
refused with 400.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from fastapi import APIRouter
from ocmt_common import bounded_json
from ocmt_common.problems import Problem
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ocmt_management.disconnects import until_disconnect
from ocmt_management.tools import messages, sse, trouble
from ocmt_management.tools.agent_requests import (
    CLIENT_CLOSED_REQUEST,
    caller_of,
    instead_of_running,
    note_given_up,
)
from ocmt_management.tools.connection import Connection
from ocmt_management.tools.dependencies import Tools
from ocmt_management.tools.limits import CALL_TIMEOUT_S, MAX_RESULT_BYTES
from ocmt_management.tools.messages import Message
from ocmt_management.tools.pins import UnusableDefinition, read_definition
from ocmt_management.tools.result_check import Unusable, check_call_result, checked_value
from ocmt_management.tools.service import Tools as ToolsService
from ocmt_management.tools.snapshot import Tool, UserTools
from ocmt_management.tools.transports import Headers, Reply
from ocmt_management.tools.trouble import Trouble
from ocmt_management.tools.upstream import by_status

router = APIRouter()

_MAX_STREAM_BYTES = 64 * 1024 * 1024
_REQUEST_HEADERS = frozenset(
    {"accept", "content-type", "last-event-id", "mcp-method", "mcp-name", "mcp-protocol-version"}
)
_REPLY_HEADERS = frozenset({"allow", "content-type", "mcp-protocol-version"})
_PASSED_STATUS = frozenset({200, 201, 202, 204, 400, 404, 405, 406, 409, 410, 415, 422})
_JSON = "application/json"


@router.get("/mcp/{slug}")
@router.post("/mcp/{slug}")
@router.delete("/mcp/{slug}")
async def pass_on(slug: str, request: Request, tools: Tools) -> Response:
    caller = await caller_of(request, tools)
    connection = caller.connections.get(slug)
    if connection is None or connection.server_id in caller.denied:
        raise Problem(404, "server-unknown", "There is no tool server of this name here.")
    headers = _headers_for(connection, request, tools)
    if request.method != "POST":
        return _Passed(tools, connection, request.method, headers, None, None)
    try:
        body = await request.body()
    except ClientDisconnect:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    try:
        message = messages.read_message(body)
    except ValueError as error:
        # Also for a batch, to whose members the rules could not be applied one by one.
        text = messages.error(b"null", messages.PARSE_ERROR, f"Send one message ({error}).")
        return Response(text, status_code=400, media_type=_JSON)
    wrong = _wrong_with(request, message)
    if wrong is not None:
        text = messages.error(bytes(message.id), *wrong)
        return Response(text, status_code=400, media_type=_JSON)
    if message.method == "tools/call":
        return await _call(request, tools, caller, connection, headers, message)
    await note_given_up(tools, caller.user_id, slug, message)
    listing = caller if message.method == "tools/list" else None
    return _Passed(tools, connection, "POST", headers, message.written(), message, listing=listing)


def _wrong_with(request: Request, message: Message) -> tuple[int, str] | None:
    """`(code, text)` of the error for a message that could evade the rules; `None` for others."""
    if message.method and not message.is_request:
        if not message.method.startswith("notifications/"):
            return messages.INVALID_REQUEST, f"{message.method[:100]} is a request; give it an id."
        return None
    named_by = messages.NAMED_BY.get(message.method)
    repeated = {"mcp-method": message.method}
    if named_by is not None:
        try:
            params = bounded_json.members(message.params)
            repeated["mcp-name"] = msgspec.json.decode(params.get(named_by, b'""'), type=str)
        except ValueError:
            return messages.INVALID_PARAMS, f"{named_by} is not a text."
    for header, value in repeated.items():
        for sent in request.headers.getlist(header):
            if messages.from_header(sent) != value:
                return messages.HEADER_MISMATCH, f"{header} is not what the message says."
    return None


def _headers_for(connection: Connection, request: Request, tools: ToolsService) -> Headers:
    """The request's MCP headers to pass on, without the agent's token. Raises `Problem`."""
    headers = [("Accept-Encoding", "identity"), ("User-Agent", "ocmt")]
    for name, value in request.headers.items():
        if name in _REQUEST_HEADERS or name.startswith("mcp-param-"):
            if not value.isprintable():
                raise Problem(400, "header-invalid", f"{name} has a character that is not text.")
            headers.append((name, value))
        elif name == "mcp-session-id":
            session_id = tools.session_ids.unwrapped(connection, value)
            if session_id is None:
                raise Problem(404, "session-unknown", "There is no such session. Begin a new one.")
            headers.append((name, session_id))
    return headers


async def _call(  # noqa: PLR0917
    request: Request,
    tools: ToolsService,
    caller: UserTools,
    connection: Connection,
    headers: Headers,
    message: Message,
) -> Response:
    try:
        params = bounded_json.members(message.params)
        name = msgspec.json.decode(params.get("name", b"null"), type=str)
    except ValueError:
        text = messages.error(bytes(message.id), messages.INVALID_PARAMS, "Name a tool.")
        return Response(text, media_type=_JSON)
    arguments = bytes(params.get("arguments", b"{}"))
    tool = caller.by_server.get((connection.server_id, name))
    if tool is None:
        return _result(
            message, trouble.error_result(f"{connection.name} has listed no tool {name[:100]}.")
        )
    instead: bytes | None = None
    may_go_on = False

    async def ask() -> None:
        nonlocal instead, may_go_on
        with tools.limits.request(caller.user_id):
            instead = await instead_of_running(
                tools, tool, arguments, message, path=connection.slug
            )
        may_go_on = True

    try:
        await until_disconnect(request.receive, ask())
    except Trouble as problem:
        instead = trouble.error_result(problem.text)
    else:
        if not may_go_on:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
    if instead is not None:
        return _result(message, instead)
    # Parsers differ on duplicate members, so the server gets the message as it was checked here.
    checked = messages.rpc(bytes(message.id), "tools/call", bounded_json.write(params))
    return _Passed(tools, connection, "POST", headers, checked, message, tool=tool)


def _result(message: Message, value: bytes) -> Response:
    return Response(messages.result(bytes(message.id), value), media_type=_JSON)


class _Passed(Response):
    """Passes the request on, and streams the answer back."""

    def __init__(  # noqa: PLR0917
        self,
        tools: ToolsService,
        connection: Connection,
        method: str,
        headers: Headers,
        body: bytes | None,
        message: Message | None,
        *,
        tool: Tool | None = None,
        listing: UserTools | None = None,
    ) -> None:
        super().__init__()
        self._tools = tools
        self._connection = connection
        self._method = method
        self._request_headers = headers
        self._body = body
        self._message = message
        self._tool = tool
        self._listing = listing
        self._started = False
        self._status = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await until_disconnect(receive, self._exchange(scope, receive, send))

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection, limits = self._connection, self._tools.limits
        try:
            if connection.lacks_credential:
                raise trouble.credential_missing(connection.name)
            if self._method == "GET":
                with limits.stream(connection.key, connection.name):
                    await self._pass(scope, receive, send)
                return
            with limits.request(connection.user_id):
                if self._tool is None:
                    await self._timed(scope, receive, send)
                else:
                    await self._tools.calls.passed(
                        self._tool,
                        _arguments(self._message),
                        lambda: self._timed(scope, receive, send),
                    )
        except Trouble as problem:
            await self._answer_trouble(problem, scope, receive, send)

    async def _timed(self, scope: Scope, receive: Receive, send: Send) -> str:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await self._pass(scope, receive, send)
        except TimeoutError as error:
            raise trouble.slow(self._connection.name, CALL_TIMEOUT_S) from error

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> str:
        """Pass on the request and its answer. Returns the outcome of a call. Raises `Trouble`."""
        async with self._tools.upstream.send(
            self._connection, self._method, self._request_headers, self._body
        ) as reply:
            if reply.status not in _PASSED_STATUS:
                raise by_status(self._connection, reply.status)
            if reply.header("content-encoding") not in ("", "identity"):
                raise trouble.garbage(self._connection.name, "it is compressed")
            self._status = reply.status
            headers = self._reply_headers(reply)
            if reply.header("content-type").startswith("text/event-stream"):
                return await self._stream(reply, headers, send)
            answer, outcome = await self._checked(
                await _whole(self._connection, reply), streamed=False
            )
            response = Response(answer, status_code=reply.status)
            response.raw_headers += headers
            await response(scope, receive, send)
            return outcome

    async def _stream(self, reply: Reply, headers: list[tuple[bytes, bytes]], send: Send) -> str:
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        self._started = True
        outcome, resumable = "", False
        async for block, data in self._blocks(reply):
            piece = block
            resumable = resumable or block.startswith(b"id:") or b"\nid:" in block
            if data and self._message is not None:
                answer, found = await self._checked(data, streamed=True)
                outcome = found or outcome
                if answer is not data:
                    piece = sse.event(answer)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if self._tool is not None and not outcome and not resumable:
            raise trouble.broken_off(self._connection.name)
        await send({"type": "http.response.body", "body": b""})
        return outcome or "ok"

    async def _blocks(self, reply: Reply) -> AsyncIterator[tuple[bytes, bytes]]:
        limit = _MAX_STREAM_BYTES if self._message is None else 2 * MAX_RESULT_BYTES
        try:
            async for block in sse.blocks(reply.chunks, max_bytes=limit):
                yield block
        except sse.TooMuch as error:
            raise trouble.too_large(self._connection.name, limit) from error

    def _check_answers(self, message: Message) -> None:
        asked = b"" if self._message is None else bytes(self._message.id)
        if not message.is_answer or not message.answers(asked):
            raise trouble.garbage(self._connection.name, "it is not the answer to this request")

    async def _checked(self, text: bytes, *, streamed: bool) -> tuple[bytes, str]:
        """`(message to pass on, outcome of a call or "")`. Raises `Trouble`."""
        if self._tool is None and self._listing is None:
            return text, ""
        try:
            message = messages.read_message(text)
            result = bytes(message.result)
            if message.is_answer or not streamed:
                self._check_answers(message)
            if not result:
                return text, "error" if bytes(message.error) else ""
            if self._listing is not None:
                return await self._listed(self._listing, message, text), ""
            value = await check_call_result(result)
        except Unusable as reason:
            raise trouble.garbage(self._connection.name, str(reason)) from reason
        except ValueError as error:
            if not streamed and self._status >= 400:
                raise by_status(self._connection, self._status) from error
            raise trouble.garbage(self._connection.name, "not JSON-RPC") from error
        return text, "error" if value.get("isError") is True else "ok"

    async def _listed(self, caller: UserTools, message: Message, text: bytes) -> bytes:
        """The list without tools that may not be used or whose definition is not the pinned one."""
        page = await checked_value(message.result)
        tools = page.get("tools") if isinstance(page, dict) else None
        if not isinstance(tools, list):
            raise Unusable("its answer has no list `tools`")
        usable = caller.listed_of(self._connection)
        kept = [tool for tool in tools if _is_pinned(tool, usable)]
        if len(kept) == len(tools):
            return text
        self._tools.refresh_soon(self._connection)
        return messages.result(bytes(message.id), bounded_json.write({**page, "tools": kept}))

    def _reply_headers(self, reply: Reply) -> list[tuple[bytes, bytes]]:
        headers = [(b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
        for name, value in reply.headers:
            key = name.lower()
            if key == "mcp-session-id":
                wrapped = self._tools.session_ids.wrapped(self._connection, value)
                if wrapped is not None:
                    headers.append((b"mcp-session-id", wrapped.encode()))
            elif key in _REPLY_HEADERS and value.isprintable() and value.isascii():
                headers.append((key.encode(), value.encode()))
        return headers

    async def _answer_trouble(
        self, problem: Trouble, scope: Scope, receive: Receive, send: Send
    ) -> None:
        message = self._message
        if message is None or not message.is_request:
            if self._started:
                await send({"type": "http.response.body", "body": b""})
                return
            await Problem(502, "server-trouble", problem.text).response()(scope, receive, send)
            return
        request_id = bytes(message.id)
        if self._tool is not None:
            answer = messages.result(request_id, trouble.error_result(problem.text))
        else:
            answer = messages.error(request_id, messages.SERVER_TROUBLE, problem.text)
        if self._started:
            await send({"type": "http.response.body", "body": sse.event(answer)})
        else:
            await Response(answer, media_type=_JSON)(scope, receive, send)


async def _whole(connection: Connection, reply: Reply) -> bytes:
    try:
        return await sse.whole(reply.chunks, max_bytes=MAX_RESULT_BYTES)
    except sse.TooMuch as error:
        raise trouble.too_large(connection.name, MAX_RESULT_BYTES) from error


def _is_pinned(tool: Any, usable: dict[str, Tool]) -> bool:
    try:
        definition = read_definition(tool)
    except UnusableDefinition:
        return False
    found = usable.get(definition.name)
    return found is not None and found.pin == definition.pin


def _arguments(message: Message | None) -> bytes:
    if message is None:
        return b"{}"
    return bytes(bounded_json.members(message.params).get("arguments", b"{}"))
