"""JSON-RPC messages between an HTTP caller and a tool server on stdio. Pure.

Parameters and results are untrusted, so they are copied without being parsed.
"""

import re
from dataclasses import dataclass

import msgspec
from ocmt_common import bounded_json
from ocmt_common.bounded_json import NotJson

PROTOCOL_VERSION = "2025-11-25"
_ID = re.compile(rb"-?[0-9]{1,18}|\"[^\"\\\x00-\x1f]{0,200}\"")
_NUMBER = re.compile(rb"[1-9][0-9]{0,14}")
_NO_METHOD = -32601


class NotAMessage(ValueError):
    """The body is not a single JSON-RPC request or notification. `str()` says why."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message from the HTTP caller. `call_id` is its raw JSON id, `None` for a notification."""

    call_id: bytes | None
    method: str
    params: bytes | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer to the request `number`. `outcome` is the raw member with its name:
    `"result":…` or `"error":…`.
    """

    number: int
    outcome: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """A request from a server to its client."""

    call_id: bytes
    method: str


def read_incoming(body: bytes) -> Incoming:
    """Parse a caller's message. Raises `NotAMessage`, also for a batch, which MCP does not have."""
    try:
        found = bounded_json.members(body)
        method = _text(found.get("method"))
    except NotJson as error:
        raise NotAMessage(f"the body is not one JSON-RPC message: {error}") from error
    if method is None:
        raise NotAMessage("the message has no method; this server sends no requests to answer")
    call_id = found.get("id")
    if call_id is None:
        return Incoming(None, method, None)
    raw_id = bytes(call_id)
    if not _ID.fullmatch(raw_id):
        raise NotAMessage("the id must be a whole number, or text of at most 200 plain characters")
    params = bytes(found["params"]) if "params" in found else None
    if params is not None and not params.startswith(b"{"):
        raise NotAMessage("the params must be an object")
    return Incoming(raw_id, method, params)


def read_line(line: bytes) -> Answer | Request | None:
    """Parse a line of a server's output; `None` if it is a notification or not a message."""
    try:
        found = bounded_json.members(line)
        method = _text(found.get("method"))
    except NotJson:
        return None
    raw_id = bytes(found.get("id", b""))
    if method is not None:
        return Request(raw_id, method) if _ID.fullmatch(raw_id) else None
    outcome = next((name for name in ("result", "error") if name in found), None)
    if outcome is None or not _NUMBER.fullmatch(raw_id):
        return None
    return Answer(int(raw_id), f'"{outcome}":'.encode() + bytes(found[outcome]))


def number_in(piece: bytes) -> int | None:
    """The id in the first or last bytes of an answer that is too long to parse, or `None`."""
    found = re.search(rb'"id"\s*:\s*([1-9][0-9]{0,14})\s*[,}]', piece)
    return int(found[1]) if found else None


def request_line(number: int, method: str, params: bytes | None) -> bytes:
    return _line(_head(str(number).encode(), method), params)


def notification_line(method: str, params: bytes | None = None) -> bytes:
    return _line(b'{"jsonrpc":"2.0","method":' + msgspec.json.encode(method), params)


def cancelled_line(number: int) -> bytes:
    return notification_line("notifications/cancelled", b'{"requestId":%d}' % number)


def reply_line(request: Request) -> bytes:
    """The answer to a server's request: a `ping` is answered, anything else is refused."""
    if request.method == "ping":
        return answer(request.call_id, b'"result":{}') + b"\n"
    error = {"code": _NO_METHOD, "message": "this client offers tools' calls only"}
    return answer(request.call_id, b'"error":' + msgspec.json.encode(error)) + b"\n"


def answer(call_id: bytes, outcome: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":' + call_id + b"," + outcome + b"}"


def _head(raw_id: bytes, method: str) -> bytes:
    return b'{"jsonrpc":"2.0","id":' + raw_id + b',"method":' + msgspec.json.encode(method)


def _line(head: bytes, params: bytes | None) -> bytes:
    if params is None:
        return head + b"}\n"
    # JSON permits line breaks as white space, but on stdio they end a message.
    one_line = params.translate(bytes.maketrans(b"\r\n", b"  "))
    return head + b',"params":' + one_line + b"}\n"


def _text(raw: msgspec.Raw | None) -> str | None:
    """Decode a string; `None` if missing. Raises `NotJson` for other values and long strings."""
    if raw is None:
        return None
    if len(bytes(raw)) > 1000:
        raise NotJson("the method is too long")
    value = bounded_json.read(raw)
    if not isinstance(value, str):
        raise NotJson("the method is not a text")
    return value
