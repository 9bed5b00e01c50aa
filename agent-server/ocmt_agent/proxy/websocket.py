"""`…/proxy/` as a WebSocket: OpenClaw's own protocol, without OpenClaw's credentials.

The caller gets a challenge, sends any `connect`, and receives the gateway's `hello-ok`: identity,
token and rights are put in here. From then on frames pass unchanged both ways.

The caller's socket outlives the gateway's. While the agent is frozen both stay open; when the agent
is stopped or its gateway dies, only the caller's does. The caller's next frame wakes the agent, a
new gateway socket is opened with the stored `connect`, and the frame is delivered. Requests that
were under way when the gateway went away are answered with the gateway's own error shape, code
`UNAVAILABLE`, so that no caller waits for ever. Frames from the caller are the user's activity;
pings, and frames from the agent, are not.
"""

import asyncio
import json
import secrets
import time
from typing import Any

import aiohttp
import structlog
from ocmt_common.problems import Problem
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import GatewayRefused, GatewayUnreachable
from ocmt_agent.gateway.handshake import HandshakeRefused, Link
from ocmt_agent.gateway.pairing import GatewayLinks
from ocmt_agent.hibernation.waking import ActivityKind, Waking
from ocmt_agent.proxy.http import user_of
from ocmt_agent.proxy.paths import gateway_path

log = structlog.get_logger(__name__)

_CONNECT_WITHIN_S = 15
_POLICY_VIOLATION = 1008
_TRY_AGAIN_LATER = 1013
# A gateway that restarts, shuts down, dies or is stopped: the caller stays, and so does its socket.
_AGENT_WENT_AWAY = frozenset({1000, 1001, 1005, 1006, 1011, 1012, None})
_LOST = "The agent's gateway went away; send the request again."


class SocketProxy:
    """An ASGI endpoint for WebSockets; authorisation came before it."""

    def __init__(self, waking: Waking, links: GatewayLinks) -> None:
        self._waking = waking
        self._links = links

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            user_id = user_of(scope)
            if gateway_path(scope["raw_path"], user_id=user_id):
                raise Problem(404, "no-such-path", "The agent's socket is at …/proxy/ itself.")
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        await _Conversation(
            WebSocket(scope, receive, send), self._waking, self._links, user_id
        ).run()


class _Conversation:
    """One caller's socket and the gateway sockets behind it, one after the other."""

    def __init__(
        self, caller: WebSocket, waking: Waking, links: GatewayLinks, user_id: str
    ) -> None:
        self._caller = caller
        self._waking = waking
        self._links = links
        self._user_id = user_id
        self._params: dict[str, Any] = {}
        self._link: Link | None = None
        self._linked = asyncio.Event()
        self._under_way: set[str] = set()

    async def run(self) -> None:
        await self._caller.accept()
        try:
            if await self._introduce():
                async with asyncio.TaskGroup() as group:
                    downward = group.create_task(self._to_caller())
                    await self._to_agent()
                    downward.cancel()
        except (WebSocketDisconnect, _Ended):
            pass
        except BaseExceptionGroup as errors:
            _, others = errors.split((WebSocketDisconnect, _Ended))
            if others is not None:
                raise
        finally:
            if self._link is not None:
                await self._link.socket.close()

    async def _introduce(self) -> bool:
        """The handshake with the caller; `False` when it ended with a closed socket."""
        challenge = {"nonce": secrets.token_urlsafe(18), "ts": int(time.time() * 1000)}
        await self._send({"type": "event", "event": "connect.challenge", "payload": challenge})
        try:
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                frame = _parsed(await self._caller.receive_text())
        except TimeoutError:
            frame = {}
        if frame.get("method") != "connect" or not isinstance(frame.get("id"), str):
            await self._close(_POLICY_VIOLATION, "send connect first")
            return False
        params = frame.get("params")
        self._params = params if isinstance(params, dict) else {}
        try:
            link = await self._open()
        except Problem as problem:
            await self._send(_refusal(frame["id"], problem.detail))
            await self._close(_TRY_AGAIN_LATER, problem.code)
            return False
        await self._send({"type": "res", "id": frame["id"], "ok": True, "payload": link.hello})
        return True

    async def _open(self) -> Link:
        """A live link to the awake agent; raises `Problem`."""
        access = await self._waking.awake(self._user_id, kind=ActivityKind.WEBSOCKET)
        known = self._link
        if (
            known is not None
            and not known.socket.closed
            and known.access.endpoint == access.endpoint
        ):
            return known
        self._link = link = await self._new_link(access)
        self._linked.set()
        return link

    async def _new_link(self, access: GatewayAccess) -> Link:
        last = False
        while True:
            try:
                return await self._links.open(access, caller_params=self._params)
            except (GatewayUnreachable, GatewayRefused, HandshakeRefused) as error:
                log.warning("gateway's socket refused", user_id=self._user_id, reason=str(error))
                if last:
                    raise Problem(502, "gateway-lost", _LOST) from error
                last = True
                self._waking.doubt(access)
                access = await self._waking.awake(self._user_id, kind=ActivityKind.WEBSOCKET)

    async def _to_agent(self) -> None:
        while True:
            message = await self._caller.receive()
            if message["type"] == "websocket.disconnect":
                raise _Ended
            text = message.get("text")
            if text is None:
                await self._close(1003, "send text frames")
                raise _Ended
            await self._deliver(text)

    async def _deliver(self, text: str) -> None:
        request_id = _request_id(text)
        try:
            for last in (False, True):
                link = await self._open()
                if request_id is not None:
                    self._under_way.add(request_id)
                try:
                    await link.socket.send_str(text)
                    return
                except (aiohttp.ClientError, OSError) as error:
                    self._lose(link)
                    if last:
                        raise Problem(502, "gateway-lost", _LOST) from error
        except Problem as problem:
            if request_id is not None:
                self._under_way.discard(request_id)
                await self._send(_refusal(request_id, problem.detail))

    async def _to_caller(self) -> None:
        while True:
            await self._linked.wait()
            link = self._link
            if link is None:
                self._linked.clear()
                continue
            message = await link.socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                answered = _answered_id(message.data)
                if answered is not None:
                    self._under_way.discard(answered)
                await self._caller.send_text(message.data)
            elif link.socket.close_code in _AGENT_WENT_AWAY:
                self._lose(link)
                lost, self._under_way = self._under_way, set()
                for request_id in lost:
                    await self._send(_refusal(request_id, _LOST))
            else:
                await self._close(int(link.socket.close_code or 1011), "closed by the agent")
                raise _Ended

    def _lose(self, link: Link) -> None:
        if self._link is link:
            self._waking.doubt(link.access)
            self._link = None
            self._linked.clear()

    async def _send(self, frame: dict[str, Any]) -> None:
        await self._caller.send_text(json.dumps(frame, separators=(",", ":")))

    async def _close(self, code: int, reason: str) -> None:
        if self._caller.application_state is not WebSocketState.DISCONNECTED:
            await self._caller.close(code, reason)


class _Ended(Exception):
    """The caller's socket is closed, by either side."""


def _parsed(text: str) -> dict[str, Any]:
    try:
        frame = json.loads(text)
    except ValueError:
        return {}
    return frame if isinstance(frame, dict) else {}


def _request_id(text: str) -> str | None:
    frame = _parsed(text)
    found = frame.get("id")
    return found if frame.get("type") == "req" and isinstance(found, str) else None


def _answered_id(text: str) -> str | None:
    """The request a frame answers. Most frames are events: those are not parsed."""
    if '"res"' not in text[:200]:
        return None
    frame = _parsed(text)
    found = frame.get("id")
    return found if frame.get("type") == "res" and isinstance(found, str) else None


def _refusal(request_id: str, message: str) -> dict[str, Any]:
    error = {"code": "UNAVAILABLE", "message": message, "retryable": True}
    return {"type": "res", "id": request_id, "ok": False, "error": error}
