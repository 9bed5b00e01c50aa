"""Sends requests to servers, with one session per connection that is kept open.

A session belongs to one user, server and version of the credential, never to a URL. It is opened
when first needed: with the handshake of 2025-11-25, or without one if the server supports only
2026-07-28.
"""

import asyncio
import itertools
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from ocmt_common.version import release_version

from ocmt_management.tools import messages, sse, trouble
from ocmt_management.tools.connection import Connection
from ocmt_management.tools.limits import LIST_TIMEOUT_S, MAX_RESULT_BYTES
from ocmt_management.tools.messages import (
    HANDSHAKE_VERSIONS,
    META_CAPABILITIES,
    META_CLIENT,
    META_VERSION,
    MODERN_VERSION,
    Message,
)
from ocmt_management.tools.result_check import Unusable, checked_value
from ocmt_management.tools.transports import Headers, Reply, Transport
from ocmt_management.tools.trouble import RpcError, SessionLost, Trouble

MAX_SESSIONS = 5000
_CLIENT = {"name": "ocmt", "version": release_version("ocmt-management")}
_MAX_SESSION_ID = 1024
# Errors of servers that do not support `initialize`, or not this revision of it.
_NO_HANDSHAKE = frozenset(
    {
        messages.METHOD_NOT_FOUND, messages.INVALID_PARAMS, messages.INVALID_REQUEST,
        messages.HEADER_MISMATCH, messages.UNSUPPORTED_VERSION,
    }
)  # fmt: skip

OnMessage = Callable[[Message, bytes], Awaitable[None]]
"""Called with each notification before the answer: parsed, and as raw bytes."""


@dataclass(slots=True)
class Session:
    version: str
    session_id: str | None = None
    capabilities: dict[str, Any] = field(default_factory=dict)
    ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @property
    def modern(self) -> bool:
        return self.version == MODERN_VERSION


class Upstream:
    """The sessions of all connections. The caller owns the transports and closes them."""

    def __init__(self, http: Transport, packages: Transport) -> None:
        self._http = http
        self._packages = packages
        self._sessions: OrderedDict[object, asyncio.Future[Session]] = OrderedDict()

    async def request(
        self,
        connection: Connection,
        method: str,
        params: bytes | None,
        *,
        timeout_s: float,
        on_message: OnMessage | None = None,
        more_headers: Headers | None = None,
    ) -> bytes:
        """Send a request. Returns its result as raw JSON. Raises `Trouble` or `RpcError`."""
        if connection.lacks_credential:
            raise trouble.credential_missing(connection.name)
        try:
            async with asyncio.timeout(timeout_s):
                for last in (False, True):
                    session = await self.session(connection)
                    try:
                        return await self._request(
                            connection, session, method, params, on_message, more_headers or []
                        )
                    except SessionLost:
                        self.forget(connection)
                        if last:
                            raise trouble.garbage(
                                connection.name, "it loses its sessions"
                            ) from None
        except TimeoutError as error:
            raise trouble.slow(connection.name, timeout_s) from error
        raise AssertionError("unreachable")

    async def session(self, connection: Connection) -> Session:
        """The connection's session, opened if needed; concurrent callers share one attempt.

        Raises `Trouble`.
        """
        key = connection.session_key
        opening = self._sessions.get(key)
        # It may have failed when all of its callers had left.
        if opening is None or (opening.done() and not _opened(opening)):
            opening = asyncio.ensure_future(self._open(connection))
            # Retrieve the exception here, too, in case all callers were cancelled.
            opening.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._sessions[key] = opening
            if len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        else:
            self._sessions.move_to_end(key)
        try:
            # A cancelled caller must not cancel it for the others.
            return await asyncio.shield(opening)
        except BaseException:
            if opening.done() and self._sessions.get(key) is opening:
                del self._sessions[key]
            raise

    async def check(self, connection: Connection, raw: bytes) -> None:
        """Raise `Trouble` unless a result's bytes are valid JSON within the limits."""
        await _object(connection, raw)

    def forget(self, connection: Connection) -> None:
        self._sessions.pop(connection.session_key, None)

    async def _open(self, connection: Connection) -> Session:
        try:
            async with asyncio.timeout(LIST_TIMEOUT_S):
                try:
                    return await self._handshake(connection)
                except RpcError as refused:
                    if refused.code not in _NO_HANDSHAKE:
                        raise trouble.garbage(connection.name, refused.message) from refused
                try:
                    return await self._discover(connection)
                except RpcError as refused:
                    raise trouble.garbage(connection.name, refused.message) from refused
        except TimeoutError as error:
            raise trouble.slow(connection.name, LIST_TIMEOUT_S) from error

    async def _handshake(self, connection: Connection) -> Session:
        session = Session(HANDSHAKE_VERSIONS[0])
        params = {
            "protocolVersion": session.version,
            "capabilities": {},
            "clientInfo": _CLIENT,
        }
        headers = _headers(session, "initialize", None, first=True)
        request_id = next(session.ids)
        body = messages.request(request_id, "initialize", json.dumps(params).encode())
        async with self._send(connection, headers, body) as reply:
            _check_status(connection, reply, session)
            session_id = reply.header("mcp-session-id")
            if session_id:
                if len(session_id) > _MAX_SESSION_ID or not all(
                    "!" <= c <= "~" for c in session_id
                ):
                    raise trouble.garbage(connection.name, "its session's id is malformed")
                session.session_id = session_id
            answer = await self._answer(connection, session, reply, b"%d" % request_id, None)
        result = await _object(connection, answer)
        version = result.get("protocolVersion")
        if version == MODERN_VERSION:  # it answers a handshake, but has none
            raise RpcError(messages.UNSUPPORTED_VERSION, "It has no handshake.", b"{}")
        if version not in HANDSHAKE_VERSIONS:
            raise trouble.garbage(connection.name, "it speaks no revision of MCP that OCMT speaks")
        session.version = version
        _take_capabilities(session, result)
        await self._notify(connection, session, "notifications/initialized")
        return session

    async def _discover(self, connection: Connection) -> Session:
        session = Session(MODERN_VERSION)
        answer = await self._request(connection, session, "server/discover", None, None, [])
        _take_capabilities(session, await _object(connection, answer))
        return session

    async def _request(  # noqa: PLR0917
        self,
        connection: Connection,
        session: Session,
        method: str,
        params: bytes | None,
        on_message: OnMessage | None,
        more_headers: Headers,
    ) -> bytes:
        if session.modern:
            params = messages.with_meta(
                params,
                {META_VERSION: MODERN_VERSION, META_CLIENT: _CLIENT, META_CAPABILITIES: {}},
            )
        request_id = next(session.ids)
        headers = [*_headers(session, method, params), *more_headers]
        body = messages.request(request_id, method, params)
        async with self._send(connection, headers, body) as reply:
            _check_status(connection, reply, session)
            return await self._answer(connection, session, reply, b"%d" % request_id, on_message)

    def send(
        self, connection: Connection, method: str, headers: Headers, body: bytes | None
    ) -> AbstractAsyncContextManager[Reply]:
        """Send a request unchanged, outside of the kept sessions. Raises `Trouble`."""
        transport = self._http if connection.package is None else self._packages
        return transport.send(connection, method, headers, body)

    def _send(
        self, connection: Connection, headers: Headers, body: bytes
    ) -> AbstractAsyncContextManager[Reply]:
        return self.send(connection, "POST", headers, body)

    async def _notify(self, connection: Connection, session: Session, method: str) -> None:
        headers = _headers(session, method, None)
        async with self._send(connection, headers, messages.notification(method)) as reply:
            _check_status(connection, reply, session)
            await _read(connection, reply)

    async def _answer(
        self,
        connection: Connection,
        session: Session,
        reply: Reply,
        request_id: bytes,
        on_message: OnMessage | None,
    ) -> bytes:
        """The result in a reply, a JSON object or events. Raises `Trouble` or `RpcError`."""
        if reply.header("content-encoding") not in ("", "identity"):
            raise trouble.garbage(connection.name, "compressed although that was not asked for")
        if reply.header("content-type").startswith("text/event-stream"):
            return await self._from_events(connection, session, reply, request_id, on_message)
        text = await _read(connection, reply)
        try:
            message = messages.read_message(text)
        except ValueError as error:
            if reply.status >= 400:
                raise by_status(connection, reply.status) from error
            raise trouble.garbage(connection.name, "not JSON-RPC") from error
        if not message.answers(request_id):
            raise trouble.garbage(connection.name, "it is not the answer to this request")
        return _result(connection, message)

    async def _from_events(
        self,
        connection: Connection,
        session: Session,
        reply: Reply,
        request_id: bytes,
        on_message: OnMessage | None,
    ) -> bytes:
        try:
            async for data in sse.events(reply.chunks, max_bytes=2 * MAX_RESULT_BYTES):
                if not data.strip():
                    continue
                if len(data) > MAX_RESULT_BYTES:
                    raise trouble.too_large(connection.name, MAX_RESULT_BYTES)
                try:
                    message = messages.read_message(data)
                except ValueError as error:
                    raise trouble.garbage(connection.name, "not JSON-RPC") from error
                if message.is_answer:
                    # Skip an answer to an earlier request that was cancelled.
                    if message.answers(request_id):
                        return _result(connection, message)
                elif message.is_request:
                    await self._refuse(connection, session, message)
                elif on_message is not None:
                    await on_message(message, data)
        except sse.TooMuch as error:
            raise trouble.too_large(connection.name, MAX_RESULT_BYTES) from error
        raise trouble.broken_off(connection.name)

    async def _refuse(self, connection: Connection, session: Session, asked: Message) -> None:
        """Answer a server's ping; refuse its other requests, such as sampling or elicitation."""
        request_id = bytes(asked.id)
        if asked.method == "ping":
            body = messages.result(request_id, b"{}")
        else:
            text = "This client answers no requests."
            body = messages.error(request_id, messages.METHOD_NOT_FOUND, text)
        async with self._send(connection, _headers(session, None, None), body) as reply:
            await _read(connection, reply)


def _opened(opening: "asyncio.Future[Session]") -> bool:
    return not opening.cancelled() and opening.exception() is None


def _headers(
    session: Session, method: str | None, params: bytes | None, *, first: bool = False
) -> Headers:
    headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", f"ocmt/{_CLIENT['version']}"),
    ]
    if not first:
        headers.append(("MCP-Protocol-Version", session.version))
    if session.session_id is not None:
        headers.append(("Mcp-Session-Id", session.session_id))
    if method is not None and (first or session.modern):
        # Also on the handshake: which revision the server speaks is not known yet.
        headers.append(("Mcp-Method", method))
    if session.modern and method is not None:
        named_by = messages.NAMED_BY.get(method)
        if named_by is not None and params is not None:
            name = msgspec.json.decode(params, type=dict[str, msgspec.Raw]).get(named_by)
            if name is not None:
                text = msgspec.json.decode(name, type=str)
                headers.append(("Mcp-Name", messages.header_value(text)))
    return headers


def _check_status(connection: Connection, reply: Reply, session: Session) -> None:
    """Raise `Trouble` or `SessionLost` for a status with which no JSON-RPC answer comes."""
    status = reply.status
    if status in (404, 410) and session.session_id is not None:
        raise SessionLost
    if 200 <= status < 300 or status in (400, 404, 405, 406, 415, 422):
        return
    raise by_status(connection, status)


def by_status(connection: Connection, status: int) -> Trouble:
    name = connection.name
    if status in (401, 403):
        return _refused(connection)
    if 300 <= status < 400:
        return trouble.redirected(name)
    if status == 429:
        return trouble.busy(name)
    if status >= 500:
        return trouble.failed(name, status)
    return trouble.not_mcp(name, status)


def _refused(connection: Connection) -> Trouble:
    name = connection.name
    if connection.connection_id is not None:
        return Trouble(
            trouble.Kind.REFUSED,
            f"{name} does not permit this to the account that its person signed in with. They can "
            "sign in again under Tools.",
        )
    if connection.credential_name is None:
        return Trouble(
            trouble.Kind.REFUSED,
            f"{name} asks for a credential. Its person can sign in to it under Tools, or add it "
            "again with the header for a key.",
        )
    return trouble.credential_refused(name)


async def _read(connection: Connection, reply: Reply) -> bytes:
    try:
        return await sse.whole(reply.chunks, max_bytes=MAX_RESULT_BYTES)
    except sse.TooMuch as error:
        raise trouble.too_large(connection.name, MAX_RESULT_BYTES) from error


def _result(connection: Connection, message: Message) -> bytes:
    if bytes(message.error):
        raw = bytes(message.error)
        code, text = messages.read_error(raw)
        raise RpcError(code, text, raw)
    result = bytes(message.result)
    if not result.startswith(b"{"):
        raise trouble.garbage(connection.name, "its answer has no result")
    return result


async def _object(connection: Connection, raw: bytes) -> dict[str, Any]:
    try:
        value = await checked_value(raw)
    except Unusable as reason:
        raise trouble.garbage(connection.name, str(reason)) from reason
    return value if isinstance(value, dict) else {}


def _take_capabilities(session: Session, result: dict[str, Any]) -> None:
    found = result.get("capabilities")
    session.capabilities = found if isinstance(found, dict) else {}
