"""Reads and writes JSON-RPC messages of both MCP revisions as raw JSON. Pure.

In the revision 2025-11-25 a client begins with `initialize`; in 2026-07-28 each request is
self-contained, with `params._meta` and headers.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from ocmt_common import bounded_json

HANDSHAKE_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Newest first."""
MODERN_VERSION = "2026-07-28"
VERSIONS = (MODERN_VERSION, *HANDSHAKE_VERSIONS)

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022
SERVER_TROUBLE = -32000
RESOURCE_NOT_FOUND = -32002

META_VERSION = "io.modelcontextprotocol/protocolVersion"
META_CLIENT = "io.modelcontextprotocol/clientInfo"
META_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"

NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""The method's parameter that the header `Mcp-Name` repeats."""
HEADER_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ENCODED = re.compile(r"=\?base64\?(.*)\?=")


class Message(msgspec.Struct):
    """Any JSON-RPC message. Missing members are empty."""

    jsonrpc: str = ""
    id: msgspec.Raw = msgspec.Raw(b"")
    method: str = ""
    params: msgspec.Raw = msgspec.Raw(b"")
    result: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")

    @property
    def is_request(self) -> bool:
        return bool(self.method) and bool(bytes(self.id))

    @property
    def is_answer(self) -> bool:
        return bool(bytes(self.result)) or bool(bytes(self.error))

    def written(self) -> bytes:
        """Serialise the message's members, each once: what is passed on is what was checked."""
        members = {
            name: raw
            for name in ("id", "params", "result", "error")
            if bytes(raw := getattr(self, name))
        }
        if self.method:
            members["method"] = msgspec.Raw(msgspec.json.encode(self.method))
        return bounded_json.write({"jsonrpc": "2.0", **members})

    def answers(self, request_id: bytes) -> bool:
        """Whether the message has this request's id. An error may lack the id or have `null`."""
        own = bytes(self.id)
        return own == request_id or (own in (b"", b"null") and bool(bytes(self.error)))


class _Error(msgspec.Struct):
    code: int = INTERNAL_ERROR
    message: str = ""


_decoder = msgspec.json.Decoder(Message)
_error_decoder = msgspec.json.Decoder(_Error)


def read_message(text: bytes) -> Message:
    """Parse a JSON-RPC message, but not its members' values. Raises `ValueError`."""
    try:
        message = _decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if message.jsonrpc != "2.0":
        raise ValueError("not JSON-RPC 2.0")
    return message


def _decode(text: bytes) -> Message:
    try:
        return _decoder.decode(text)
    except ValueError:
        mended = bounded_json.mended(text)
        if mended is None:
            raise
    return _decoder.decode(mended)


def read_error(raw: bytes) -> tuple[int, str]:
    """`(code, message)` of a JSON-RPC error, the message as one line of at most 300 characters.

    For a malformed error or none, a general code and message.
    """
    try:
        error = _error_decoder.decode(raw)
    except (ValueError, RecursionError):
        return INTERNAL_ERROR, "an error without a message"
    text = " ".join("".join(c if c.isprintable() else " " for c in error.message).split())
    return error.code, text[:300] or "an error without a message"


def request(request_id: int, method: str, params: bytes | None) -> bytes:
    return rpc(b"%d" % request_id, method, params)


def rpc(request_id: bytes, method: str, params: bytes | None) -> bytes:
    end = b"}" if params is None else b',"params":' + params + b"}"
    return b'{"jsonrpc":"2.0","id":%b,"method":%b%b' % (
        request_id,
        json.dumps(method).encode(),
        end,
    )


def notification(method: str) -> bytes:
    return b'{"jsonrpc":"2.0","method":%b}' % json.dumps(method).encode()


def result(request_id: bytes, value: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":' + request_id + b',"result":' + value + b"}"


def error(request_id: bytes, code: int, text: str, data: Any = None) -> bytes:
    body: dict[str, Any] = {"code": code, "message": text}
    if data is not None:
        body["data"] = data
    return raw_error(request_id, json.dumps(body).encode())


def raw_error(request_id: bytes, value: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":' + (request_id or b"null") + b',"error":' + value + b"}"


def with_members(value: bytes, **members: bytes) -> bytes:
    """Insert members into a JSON object that does not have them."""
    if not members:
        return value
    inner = b",".join(b'"%b":%b' % (key.encode(), text) for key, text in members.items())
    rest = value.lstrip()[1:].lstrip()
    return b"{" + inner + (b"" if rest.startswith(b"}") else b",") + rest


def with_meta(params: bytes | None, meta: Mapping[str, Any]) -> bytes:
    """Set members of the `_meta` of parameters. Raises `NotJson` if these are not objects."""
    members = bounded_json.members(params) if params else {}
    own = bounded_json.members(members["_meta"]) if "_meta" in members else {}
    return bounded_json.write({**members, "_meta": {**own, **meta}})


def header_value(text: str) -> str:
    """Encode a text as a header value, by the rules of 2026-07-28 if it is not plain ASCII."""
    plain = all(" " <= c <= "~" for c in text) and text == text.strip()
    if plain and _ENCODED.fullmatch(text) is None:
        return text
    return f"=?base64?{base64.b64encode(text.encode(errors='replace')).decode()}?="


def from_header(value: str) -> str | None:
    """Decode a header value; `None` if it is malformed."""
    found = _ENCODED.fullmatch(value)
    if found is None:
        return value
    try:
        return base64.b64decode(found[1], validate=True).decode()
    except ValueError:
        return None


def parameter_headers(definition: bytes, arguments: bytes) -> list[tuple[str, str]]:
    """The headers `Mcp-Param-…` in which 2026-07-28 repeats arguments marked `x-mcp-header`.

    Raises `NotJson`. Arguments that are objects, lists or null have no header.
    """
    if b'"x-mcp-header"' not in definition:
        return []
    schema = bounded_json.read(definition).get("inputSchema", {})
    values = bounded_json.read(arguments)
    found = []
    for token, value in _marked(schema, values):
        text = ("true" if value else "false") if isinstance(value, bool) else str(value)
        found.append((f"Mcp-Param-{token}", header_value(text)))
    return found


def _marked(schema: Any, values: Any) -> Iterator[tuple[str, Any]]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or not isinstance(values, dict):
        return
    for name, inner in properties.items():
        value = values.get(name)
        if value is None or not isinstance(inner, dict):
            continue
        token = inner.get("x-mcp-header")
        usable = isinstance(value, bool | int | float | str)
        if usable and isinstance(token, str) and HEADER_TOKEN.fullmatch(token):
            yield token, value
        yield from _marked(inner, value)
