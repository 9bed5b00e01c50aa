"""`…/proxy/` as a WebSocket: OpenClaw's protocol without OpenClaw's credentials.

Opening it wakes the agent. The caller gets a challenge, sends any `connect`, and receives the
gateway's `hello-ok`: the proxy inserts identity, token and rights, and removes the gateway's
credentials from the answer. After that, frames pass unchanged in both directions.

The caller's socket outlives the gateway's. While the agent is frozen, both stay open; when the
agent is stopped or its gateway dies, only the caller's does. The proxy then answers requests in
flight with the error `UNAVAILABLE` (retryable) and sends a `shutdown` event, if the gateway did
not. The caller's next frame wakes the agent: the proxy opens a new gateway socket with the stored
`connect` and delivers the frame. Subscriptions end with the old gateway socket, so after `shutdown`
a caller subscribes again and reads the history.

Frames from the caller are the user's activity, and so is the end of the answer to a message of the
caller's; pings, and other frames from the agent, are not.
"""

import asyncio
import secrets
import time
from typing import Any

import aiohttp
import structlog
from ocmt_common import gateway_frames
from ocmt_common.problems import Problem
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import GatewayRefused, GatewayUnreachable
from ocmt_agent.gateway.handshake import HandshakeRefused, Link
from ocmt_agent.gateway.pairing import GatewayLinks
from ocmt_agent.proxy import frames
from ocmt_agent.proxy.awake_agents import AwakeAgents
from ocmt_agent.proxy.http import user_of
from ocmt_agent.proxy.paths import gateway_path
from ocmt_agent.proxy.runs import Runs

log = structlog.get_logger(__name__)

_CONNECT_WITHIN_S = 15
# A wake that cannot begin (no such agent, no runtime) is refused before the socket is accepted.
_REFUSED_WITHIN_S = 0.05
_MAX_UNDER_WAY = 1000

_POLICY_VIOLATION = 1008
_TRY_AGAIN_LATER = 1013
_SENDABLE = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
# The gateway restarts, shuts down, dies or is stopped. The caller's socket stays open.
_AGENT_WENT_AWAY = frozenset({1000, 1001, 1005, 1006, 1011, 1012, None})
_LOST = "The agent's gateway went away; send the request again."


class SocketProxy:
    """An ASGI endpoint for WebSockets; the caller is already authenticated."""

    def __init__(self, agents: AwakeAgents, links: GatewayLinks) -> None:
        self._agents = agents
        self._links = links

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            user_id = user_of(scope)
            if gateway_path(scope["raw_path"], user_id=user_id):
                raise Problem(404, "no-such-path", "The agent's socket is at …/proxy/ itself.")
            opening = asyncio.ensure_future(
                self._agents.awake(user_id, kind=ActivityKind.WEBSOCKET)
            )
            await asyncio.wait({opening}, timeout=_REFUSED_WITHIN_S)
            if opening.done():
                opening.result()
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        try:
            caller = WebSocket(scope, receive, send)
            await _Conversation(caller, self._agents, self._links, user_id).run(opening)
        finally:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)


class _Conversation:
    """A caller's socket and the succession of gateway sockets behind it."""

    def __init__(
        self, caller: WebSocket, agents: AwakeAgents, links: GatewayLinks, user_id: str
    ) -> None:
        self._caller = caller
        self._agents = agents
        self._links = links
        self._user_id = user_id
        self._params: dict[str, Any] = {}
        self._link: Link | None = None
        self._runs = Runs()
        self._pumps = asyncio.TaskGroup()

    async def run(self, opening: "asyncio.Future[GatewayAccess]") -> None:
        code, reason = 1000, ""
        try:
            await self._caller.accept()
            async with self._pumps:
                if await self._introduce(opening):
                    code, reason = await self._to_agent()
                raise _Ended
        except* (WebSocketDisconnect, _Ended):
            pass
        finally:
            if self._link is not None:
                await self._link.socket.close(code=code, message=reason.encode())

    async def _introduce(self, opening: "asyncio.Future[GatewayAccess]") -> bool:
        """Perform the handshake with the caller; `False` if the socket was closed instead."""
        nonce = secrets.token_urlsafe(18)
        await self._caller.send_text(frames.challenge(nonce=nonce, at_ms=int(time.time() * 1000)))
        try:
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                message = await self._caller.receive()
        except TimeoutError:
            message = {}
        frame = frames.parsed(message.get("text") or "")
        request = frame.get("id")
        if frame.get("method") != "connect" or not isinstance(request, str):
            if message.get("type") != "websocket.disconnect":
                await self._caller.close(_POLICY_VIOLATION, "send connect first")
            return False
        params = frame.get("params")
        self._params = params if isinstance(params, dict) else {}
        try:
            await opening
            link = await self._new_link(await self._awake())
        except Problem as problem:
            await self._refuse(request, problem)
            await self._caller.close(_TRY_AGAIN_LATER, problem.code)
            return False
        self._link = link
        await self._caller.send_text(gateway_frames.answer(request, link.hello))
        self._pumps.create_task(self._to_caller(link))
        return True

    async def _linked(self) -> Link:
        """A link to the awake agent, opened anew if its endpoint has changed. Raises `Problem`."""
        access = await self._awake()
        old = self._link
        if old is not None:
            if not old.socket.closed and old.access.endpoint == access.endpoint:
                return old
            self._link = None
            await old.socket.close()
        self._link = link = await self._new_link(access)
        self._pumps.create_task(self._to_caller(link))
        return link

    async def _new_link(self, access: GatewayAccess) -> Link:
        for last in (False, True):
            try:
                return await self._links.open(access, caller_params=self._params)
            except (GatewayUnreachable, GatewayRefused, HandshakeRefused) as error:
                log.warning("gateway's socket refused", user_id=self._user_id, reason=str(error))
                self._agents.doubt(access)
                if not last:
                    access = await self._awake()
        raise Problem(502, "gateway-lost", _LOST)

    async def _to_agent(self) -> tuple[int, str]:
        """Deliver the caller's frames until it disconnects. Returns its close code and reason."""
        while True:
            message = await self._caller.receive()
            if message["type"] == "websocket.disconnect":
                return _on_the_wire(message.get("code"), message.get("reason"))
            text = message.get("text")
            if text is None:
                await self._caller.close(1003, "send text frames only")
                return 1000, ""
            await self._deliver(text)

    async def _deliver(self, text: str) -> None:
        request = frames.request_id(text)
        try:
            for _ in range(2):
                link = await self._linked()
                if request is not None and len(link.under_way) < _MAX_UNDER_WAY:
                    link.under_way.add(request)
                    self._runs.sent(request, text)
                try:
                    await link.socket.send_str(text)
                    return
                except (aiohttp.ClientError, OSError):
                    await link.socket.close()
                    if request is None or request not in link.under_way:
                        return  # already detected as lost, and the request answered
                    link.under_way.discard(request)
            raise Problem(502, "gateway-lost", _LOST)
        except Problem as problem:
            if request is not None:
                await self._refuse(request, problem)

    async def _to_caller(self, link: Link) -> None:
        """Forward frames of one link to the caller until the link ends."""
        announced = False
        while True:
            message = await link.socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                text: str = message.data
                answered = frames.answered_id(text)
                link.under_way.discard(answered or "")
                if self._runs.ended_with(text, answers=answered):
                    self._agents.run_ended(self._user_id, kind=ActivityKind.WEBSOCKET)
                announced = announced or frames.is_shutdown(text)
                await self._caller.send_text(text)
            elif message.type is aiohttp.WSMsgType.BINARY:
                await self._caller.send_bytes(message.data)
            else:
                break
        if link.socket.close_code not in _AGENT_WENT_AWAY:
            code, reason = _on_the_wire(link.socket.close_code, message.extra)
            await self._caller.close(code, reason)
            raise _Ended
        self._agents.doubt(link.access)
        if self._link is link:
            self._link = None
        self._runs.clear()
        lost = sorted(link.under_way)
        link.under_way.clear()
        for request in lost:
            await self._caller.send_text(gateway_frames.refusal(request, _LOST))
        if not announced:
            await self._caller.send_text(frames.shutdown("gateway lost"))

    async def _awake(self) -> GatewayAccess:
        return await self._agents.awake(self._user_id, kind=ActivityKind.WEBSOCKET)

    async def _refuse(self, request: str, problem: Problem) -> None:
        await self._caller.send_text(
            gateway_frames.refusal(request, problem.detail, retry_after_s=problem.retry_after_s)
        )


class _Ended(Exception):
    """The caller's socket was closed, by either side."""


def _on_the_wire(code: int | None, reason: str | None) -> tuple[int, str]:
    """The close code and reason to send on; 1005 and 1006 mean that none was received."""
    return (code if code is not None and code in _SENDABLE else 1000), reason or ""
