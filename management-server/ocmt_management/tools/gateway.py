"""`/mcp`: all of a user's tools behind one endpoint, in both revisions of MCP.

It has no sessions that a restart of this server or the agent's sleep could end. Lists come from the
stored catalogue, so they are complete even while a server is down.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from fastapi import APIRouter
from ocmt_common import bounded_json
from ocmt_common.problems import Problem
from ocmt_common.version import release_version
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ocmt_management.disconnects import until_disconnect
from ocmt_management.tools import messages, sse, trouble
from ocmt_management.tools.agent_requests import (
    CLIENT_CLOSED_REQUEST,
    call_of,
    caller_of,
    instead_of_running,
    note_given_up,
)
from ocmt_management.tools.api_tool import API, tool_called
from ocmt_management.tools.connection import Connection
from ocmt_management.tools.dependencies import Tools
from ocmt_management.tools.extras import Extras
from ocmt_management.tools.limits import LIST_TIMEOUT_S
from ocmt_management.tools.messages import HANDSHAKE_VERSIONS, MODERN_VERSION, Message
from ocmt_management.tools.service import Tools as ToolsService
from ocmt_management.tools.snapshot import UserTools
from ocmt_management.tools.trouble import RpcError, Trouble

router = APIRouter()

_SERVER = {"name": "ocmt", "title": "OCMT", "version": release_version("ocmt-management")}
_INSTRUCTIONS = "The tools of this agent's person, as server__tool."
_PASSED_ON = frozenset({"notifications/progress", "notifications/message"})
_JSON = "application/json"
_STATUS = {
    messages.PARSE_ERROR: 400, messages.INVALID_REQUEST: 400, messages.INVALID_PARAMS: 400,
    messages.HEADER_MISMATCH: 400, messages.UNSUPPORTED_VERSION: 400,
    messages.METHOD_NOT_FOUND: 404,
}  # fmt: skip
"""The HTTP status of errors in the revision 2026-07-28; earlier revisions answer 200."""


class Refused(Exception):
    """A request is answered with a JSON-RPC error of this endpoint's own."""

    def __init__(self, code: int, text: str, data: Any = None) -> None:
        super().__init__(text)
        self.code, self.text, self.data = code, text, data


class _CallParams(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")
    meta: msgspec.Raw = msgspec.field(name="_meta", default=msgspec.Raw(b""))


class _Modern(msgspec.Struct):
    """The members of results that exist only in the revision 2026-07-28."""

    result_type: msgspec.Raw = msgspec.field(name="resultType", default=msgspec.Raw(b""))
    ttl_ms: msgspec.Raw = msgspec.field(name="ttlMs", default=msgspec.Raw(b""))
    cache_scope: msgspec.Raw = msgspec.field(name="cacheScope", default=msgspec.Raw(b""))


_modern_members = msgspec.json.Decoder(_Modern)
_call_params = msgspec.json.Decoder(_CallParams)


@router.get("/mcp")
@router.delete("/mcp")
async def no_stream(request: Request, tools: Tools) -> Response:
    """Refuse with 405: there is no stream to open and no session to end."""
    await caller_of(request, tools)
    raise Problem(405, "method-not-allowed", "Send POST requests; there are no sessions here.")


@router.post("/mcp")
async def aggregate(request: Request, tools: Tools) -> Response:
    caller = await caller_of(request, tools)
    try:
        body = await request.body()
    except ClientDisconnect:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    try:
        message = messages.read_message(body)
    except ValueError as error:
        text = messages.error(b"null", messages.PARSE_ERROR, f"Send one message ({error}).")
        return Response(text, status_code=400, media_type=_JSON)
    modern = request.headers.get("mcp-protocol-version", HANDSHAKE_VERSIONS[0])
    if modern not in HANDSHAKE_VERSIONS or message.method == "server/discover":
        try:
            _check_modern(request, message)
        except Refused as refused:
            return _refusal(message, refused, modern=True)
        return await _answer(Exchange(tools, caller, message, modern=True))
    return await _answer(Exchange(tools, caller, message, modern=False))


class Exchange:
    """One message of an agent, and how to answer it in its revision of MCP."""

    def __init__(
        self, tools: ToolsService, caller: UserTools, message: Message, *, modern: bool
    ) -> None:
        self.tools = tools
        self.caller = caller
        self.message = message
        self.modern = modern

    def result(self, value: bytes, *, cacheable: bool = False) -> bytes:
        if self.modern:
            value = messages.with_members(value, **_lacking(value, cacheable=cacheable))
        return messages.result(bytes(self.message.id), value)


async def _answer(exchange: Exchange) -> Response:
    message = exchange.message
    if not message.is_request:  # a notification, or an answer to nothing that was asked
        await note_given_up(exchange.tools, exchange.caller.user_id, "", message)
        return Response(status_code=202)
    try:
        if message.method == "tools/call":
            return _tools_call(exchange)
        handler = _HANDLERS.get(message.method)
        if handler is None or (exchange.modern and message.method in _HANDSHAKE_ONLY):
            raise Refused(messages.METHOD_NOT_FOUND, f"There is no method {message.method[:100]}.")
        return Response(await handler(exchange), media_type=_JSON)
    except Refused as refused:
        return _refusal(message, refused, modern=exchange.modern)
    except Trouble as problem:
        text = messages.error(bytes(message.id), messages.SERVER_TROUBLE, problem.text)
        return Response(text, media_type=_JSON)
    except RpcError as error:
        text = messages.raw_error(bytes(message.id), error.raw)
        status = _STATUS.get(error.code, 200) if exchange.modern else 200
        return Response(text, status_code=status, media_type=_JSON)


def _lacking(result: bytes, *, cacheable: bool) -> dict[str, bytes]:
    present = _modern_members.decode(result)
    lacking: dict[str, bytes] = {}
    if not bytes(present.result_type):
        lacking["resultType"] = b'"complete"'
    if cacheable and not bytes(present.ttl_ms):
        lacking["ttlMs"] = b"0"
    if cacheable and not bytes(present.cache_scope):
        lacking["cacheScope"] = b'"private"'
    return lacking


def _refusal(message: Message, refused: Refused, *, modern: bool) -> Response:
    text = messages.error(bytes(message.id), refused.code, refused.text, refused.data)
    status = _STATUS.get(refused.code, 200) if modern else 200
    return Response(text, status_code=status, media_type=_JSON)


def _check_modern(request: Request, message: Message) -> None:
    """Check a request against the requirements of 2026-07-28. Raises `Refused`."""
    if not message.is_request:
        return
    params = _params(message)
    meta = _object(params.get("_meta"))
    missing = [
        key for key in (messages.META_VERSION, messages.META_CAPABILITIES) if key not in meta
    ]
    if missing:
        raise Refused(messages.INVALID_PARAMS, f"params._meta lacks {', '.join(missing)}.")
    version = bounded_json.read(meta[messages.META_VERSION])
    for name in ("mcp-protocol-version", "mcp-method", "mcp-name"):
        if len(request.headers.getlist(name)) > 1:
            raise Refused(messages.HEADER_MISMATCH, f"{name} was sent more than once.")
    if request.headers.get("mcp-protocol-version") != version:
        raise Refused(
            messages.HEADER_MISMATCH, "MCP-Protocol-Version is not the version in params._meta."
        )
    if request.headers.get("mcp-method") != message.method:
        raise Refused(messages.HEADER_MISMATCH, "Mcp-Method is not the message's method.")
    named_by = messages.NAMED_BY.get(message.method)
    if named_by is not None and named_by in params:
        name = bounded_json.read(params[named_by])
        if messages.from_header(request.headers.get("mcp-name", "")) != name:
            raise Refused(messages.HEADER_MISMATCH, f"Mcp-Name is not the message's {named_by}.")
    if version != MODERN_VERSION:
        raise Refused(
            messages.UNSUPPORTED_VERSION,
            "Unsupported protocol version",
            {"supported": list(messages.VERSIONS), "requested": version},
        )


# Calls


def _tools_call(exchange: Exchange) -> Response:
    try:
        params = _call_params.decode(exchange.message.params)
    except (ValueError, RecursionError) as error:
        raise Refused(
            messages.INVALID_PARAMS, f"Name a tool and its arguments ({error})."
        ) from error
    arguments = bytes(params.arguments)
    if arguments == b"null":
        arguments = b"{}"
    if not arguments.startswith(b"{"):
        raise Refused(messages.INVALID_PARAMS, "The arguments are not an object.")
    return _CallResponse(exchange, params.name, arguments, _passed_meta(params.meta))


class _CallResponse(Response):
    """Answers a call with one JSON object.

    With events if notifications come first and the client accepts events.
    """

    def __init__(self, exchange: Exchange, name: str, arguments: bytes, meta: bytes | None) -> None:
        super().__init__()
        self._exchange = exchange
        self._name = name
        self._arguments = arguments
        self._meta = meta
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await until_disconnect(receive, self._call(scope, receive, send))

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        streams = any(
            name == b"accept" and b"text/event-stream" in value for name, value in scope["headers"]
        )

        async def on_message(message: Message, text: bytes) -> None:
            if message.method not in _PASSED_ON or not streams:
                return
            if not self._started:
                self._started = True
                await send(
                    {
                        "type": "http.response.start",
                        "status": 200,
                        "headers": [*_EVENTS_HEADERS],  # middleware adds to it
                    }
                )
            await send({"type": "http.response.body", "body": sse.event(text), "more_body": True})

        answer = self._exchange.result(await self._result(on_message))
        if self._started:
            await send({"type": "http.response.body", "body": sse.event(answer)})
        else:
            await Response(answer, media_type=_JSON)(scope, receive, send)

    async def _result(self, on_message: Callable[[Message, bytes], Awaitable[None]]) -> bytes:
        tools, caller = self._exchange.tools, self._exchange.caller
        try:
            with tools.limits.request(caller.user_id):
                tool = caller.tools.get(self._name)
                if self._name == API:
                    found = tool_called(caller, self._arguments)
                    if isinstance(found, bytes):
                        return found
                    tool = found
                if tool is None:
                    return await self._built_in()
                instead = await instead_of_running(
                    tools, tool, self._arguments, self._exchange.message
                )
                if instead is not None:
                    return instead
                return await tools.calls.run(
                    call_of(tool, self._arguments), meta=self._meta, on_message=on_message
                )
        except Trouble as problem:
            return trouble.error_result(problem.text)
        except Problem as problem:  # this server's own, such as of its database
            return trouble.error_result(problem.detail)

    async def _built_in(self) -> bytes:
        built_in = self._exchange.tools.built_in
        if built_in is not None and built_in.has(self._name):
            user_id = self._exchange.caller.user_id
            return await built_in.call(user_id, self._name, self._arguments)
        return trouble.error_result(
            f"There is no tool {self._name[:100]}. List the tools again and use one of them."
        )


_EVENTS_HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


def _passed_meta(meta: msgspec.Raw) -> bytes | None:
    """The members of `_meta` to pass to the tool's server, such as a progress token."""
    if not bytes(meta).startswith(b"{"):
        return None
    try:
        members = bounded_json.members(meta)
    except bounded_json.NotJson:
        return None
    kept = {k: v for k, v in members.items() if not k.startswith("io.modelcontextprotocol/")}
    return bounded_json.write(kept) if kept else None


# The other methods


async def _initialize(exchange: Exchange) -> bytes:
    asked = bounded_json.read(_params(exchange.message).get("protocolVersion", b'""'))
    version = asked if asked in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[0]
    return exchange.result(
        bounded_json.write(
            {
                "protocolVersion": version,
                "capabilities": _capabilities(exchange.caller),
                "serverInfo": _SERVER,
                "instructions": _INSTRUCTIONS,
            }
        )
    )


async def _discover(exchange: Exchange) -> bytes:
    return exchange.result(
        bounded_json.write(
            {
                "supportedVersions": list(messages.VERSIONS),
                "capabilities": _capabilities(exchange.caller),
                "serverInfo": _SERVER,
                "instructions": _INSTRUCTIONS,
            }
        ),
        cacheable=True,
    )


async def _empty(exchange: Exchange) -> bytes:
    return exchange.result(b"{}")


async def _tools_list(exchange: Exchange) -> bytes:
    if "cursor" in _params(exchange.message):
        raise Refused(messages.INVALID_PARAMS, "The list has one page; leave the cursor out.")
    exchange.tools.refresh_old(exchange.caller)
    listed = exchange.caller.listed
    built_in = exchange.tools.built_in
    if built_in is not None:
        between = b"," if listed != b"[]" else b""
        listed = listed[:-1] + between + built_in.definitions + b"]"
    return exchange.result(b'{"tools":%b}' % listed, cacheable=True)


def _listing(member: str) -> Callable[[Exchange], Awaitable[bytes]]:
    async def answer(exchange: Exchange) -> bytes:
        listed = bounded_json.write({member: exchange.caller.extras.listed(member)})
        return exchange.result(listed, cacheable=True)

    return answer


async def _by_uri(exchange: Exchange) -> bytes:
    params = _params(exchange.message)
    uri = _text(params.get("uri"), "uri")
    connection = exchange.caller.extras.server_of_uri(uri)
    if connection is None:
        code = messages.INVALID_PARAMS if exchange.modern else messages.RESOURCE_NOT_FOUND
        raise Refused(code, "There is no such resource.", {"uri": uri[:500]})
    return await _forwarded(exchange, connection, params)


async def _prompt(exchange: Exchange) -> bytes:
    params = _params(exchange.message)
    found = exchange.caller.extras.prompt(_text(params.get("name"), "name"))
    if found is None:
        raise Refused(messages.INVALID_PARAMS, "There is no prompt of this name.")
    connection, name = found
    return await _forwarded(exchange, connection, {**params, "name": name})


async def _complete(exchange: Exchange) -> bytes:
    params = _params(exchange.message)
    ref = _object(params.get("ref"))
    extras: Extras = exchange.caller.extras
    if "name" in ref:
        found = extras.prompt(_text(ref.get("name"), "ref.name"))
        if found is None:
            raise Refused(messages.INVALID_PARAMS, "There is no prompt of this name.")
        connection, name = found
        changed = bounded_json.write({**ref, "name": name})
        return await _forwarded(exchange, connection, {**params, "ref": msgspec.Raw(changed)})
    by_uri = extras.server_of_uri(_text(ref.get("uri"), "ref.uri"))
    if by_uri is None:
        raise Refused(messages.INVALID_PARAMS, "There is no such resource.")
    return await _forwarded(exchange, by_uri, params)


async def _forwarded(
    exchange: Exchange, connection: Connection, params: Mapping[str, Any]
) -> bytes:
    """Forward a request other than a call to one server; returns its result as JSON."""
    kept = {name: value for name, value in params.items() if name != "_meta"}
    tools = exchange.tools
    with tools.limits.request(connection.user_id):
        async with tools.calls.turn(connection):
            raw = await tools.upstream.request(
                connection,
                exchange.message.method,
                bounded_json.write(kept),
                timeout_s=LIST_TIMEOUT_S,
            )
    await tools.upstream.check(connection, raw)
    return exchange.result(raw, cacheable=exchange.message.method == "resources/read")


_HANDSHAKE_ONLY = frozenset(
    {"initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"}
)
_HANDLERS: Mapping[str, Callable[[Exchange], Awaitable[bytes]]] = {
    "initialize": _initialize,
    "server/discover": _discover,
    "ping": _empty,
    "logging/setLevel": _empty,
    "tools/list": _tools_list,
    "resources/list": _listing("resources"),
    "resources/templates/list": _listing("resourceTemplates"),
    "prompts/list": _listing("prompts"),
    "resources/read": _by_uri,
    "resources/subscribe": _by_uri,
    "resources/unsubscribe": _by_uri,
    "prompts/get": _prompt,
    "completion/complete": _complete,
}


def _capabilities(caller: UserTools) -> dict[str, Any]:
    found: dict[str, Any] = {"tools": {}, "logging": {}}
    if caller.extras.listed("resources") or caller.extras.listed("resourceTemplates"):
        found["resources"] = {}
    if caller.extras.listed("prompts"):
        found |= {"prompts": {}, "completions": {}}
    return found


def _params(message: Message) -> dict[str, msgspec.Raw]:
    return _object(message.params if bytes(message.params) else None)


def _object(raw: msgspec.Raw | None) -> dict[str, msgspec.Raw]:
    if raw is None:
        return {}
    try:
        return bounded_json.members(raw)
    except bounded_json.NotJson as error:
        raise Refused(messages.INVALID_PARAMS, f"params: {error}.") from error


def _text(raw: msgspec.Raw | None, name: str) -> str:
    try:
        return msgspec.json.decode(b"null" if raw is None else raw, type=str)
    except ValueError as error:
        raise Refused(messages.INVALID_PARAMS, f"{name} is not a text.") from error
