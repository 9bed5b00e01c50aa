"""One message and its answer, before an agent has a user.

A gateway's first turn loads its modules and starts its workers, which takes as long as its boot.
What it loaded is in the memory that sleeps. The conversation is an incognito one, which OpenClaw
keeps in memory only, and it is deleted: another kind leaves its text in the memory's search index.
"""

import asyncio
from dataclasses import replace
from typing import Any, Protocol

import aiohttp
from ocmt_common import bounded_json, gateway_frames
from ocmt_common.gateway_frames import as_object

from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import GatewayAdmin, GatewayRefused, GatewayUnreachable, payload_of
from ocmt_agent.gateway.control_sockets import CONTROL_DEVICE, CONTROL_SCOPES
from ocmt_agent.gateway.handshake import HandshakeRefused
from ocmt_agent.gateway.pairing import GatewayLinks

_ANSWERS_WITHIN_S = 120.0
MESSAGE = "Answer, so that your next answer is quick."
_RUN = "ocmt-warm-up"
_ENDS = ("final", "aborted", "error")


class NotWarm(Exception):
    """The gateway did not answer the message; `str()` says why."""


class WarmUp(Protocol):
    async def __call__(self, access: GatewayAccess) -> None:
        """Let a gateway answer one message, and remove the conversation. Raises `NotWarm`."""
        ...


class GatewayWarmUp:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        admin = GatewayAdmin(session)
        self._links = GatewayLinks(session, admin, scopes=CONTROL_SCOPES)
        self._user_links = GatewayLinks(session, admin)

    async def __call__(self, access: GatewayAccess) -> None:
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN_S):
                # Pairs the device over which the user's requests will go.
                link = await self._user_links.open(access, caller_params={})
                await link.socket.close()
                device = access.device.derived(CONTROL_DEVICE)
                link = await self._links.open(replace(access, device=device), caller_params={})
                try:
                    await _Talk(link.socket).run()
                finally:
                    await link.socket.close()
        except (GatewayUnreachable, GatewayRefused, HandshakeRefused) as error:
            raise NotWarm(f"its gateway refused a message: {error}") from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise NotWarm(f"its gateway did not answer a message: {reason}") from error


class _Talk:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def run(self) -> None:
        key = (await self._call("sessions.create", incognito=True)).get("key")
        if not isinstance(key, str):
            raise ValueError("it opened no conversation")
        try:
            await self._call("chat.send", sessionKey=key, message=MESSAGE, idempotencyKey=_RUN)
            while (state := await self._state()) not in _ENDS:
                pass
        finally:
            await self._call("sessions.delete", key=key, deleteTranscript=True)
        if state != "final":
            raise ValueError(f"its turn ended with {state}")

    async def _state(self) -> str | None:
        frame = await self._next()
        payload = as_object(frame.get("payload"))
        ours = frame.get("event") == "chat" and payload.get("runId") == _RUN
        return str(payload.get("state")) if ours else None

    async def _call(self, method: str, **params: object) -> dict[str, Any]:
        await self._socket.send_str(gateway_frames.request(method, method, params))
        while True:
            frame = await self._next()
            if frame.get("type") == "res" and frame.get("id") == method:
                return payload_of(method, frame)

    async def _next(self) -> dict[str, Any]:
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise OSError("it closed the socket")
        return as_object(bounded_json.read(message.data))
