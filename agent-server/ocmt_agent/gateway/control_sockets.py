"""A control socket to each sleeping gateway, over which it is resumed.

A gateway authenticates each HTTP call against its database, which takes about 8 ms: as long as the
thaw. A socket is authenticated once, and a gateway reads a call sent while it was frozen first of
all. OpenClaw's page `gateway/external-apps.md` recommends a socket for suspension, with HTTP as the
fallback; this server uses HTTP if a control socket is broken.
"""

import asyncio
from dataclasses import replace
from typing import Any

import aiohttp
import structlog
from ocmt_common import bounded_json, gateway_frames

from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import GatewayAdmin, GatewayRefused, GatewayUnreachable, payload_of
from ocmt_agent.gateway.handshake import HandshakeRefused, Link
from ocmt_agent.gateway.pairing import GatewayLinks
from ocmt_agent.runtime.base import Endpoint

log = structlog.get_logger(__name__)

CONTROL_SCOPES = ("operator.admin",)
CONTROL_DEVICE = "suspension"
_OPENED_WITHIN_S = 5.0


class ControlSockets:
    """At most one open socket per user.

    A socket is read only during calls, so it must not stay open while its gateway sends events.
    """

    def __init__(self, session: aiohttp.ClientSession, admin: GatewayAdmin) -> None:
        self._links = GatewayLinks(session, admin, scopes=CONTROL_SCOPES)
        self._open: dict[str, Link] = {}
        self._closing: set[asyncio.Task[bool]] = set()

    def has(self, access: GatewayAccess) -> bool:
        return self.to(access.user_id) == access.endpoint

    def to(self, user_id: str) -> Endpoint | None:
        """Endpoint of the open control socket to this user's gateway, or `None`."""
        link = self._open.get(user_id)
        return None if link is None or link.socket.closed else link.access.endpoint

    def rename(self, before: str, user_id: str) -> None:
        """Keep the socket to a gateway that was known by another id."""
        link = self._open.pop(before, None)
        if link is not None:
            self._open[user_id] = link

    async def open(self, access: GatewayAccess) -> None:
        """Open a new control socket. If that fails or takes over 5 s, there is none."""
        self.drop(access.user_id)
        # A separate device: the one used for the user has no admin scope.
        ours = replace(access, device=access.device.derived(CONTROL_DEVICE))
        try:
            async with asyncio.timeout(_OPENED_WITHIN_S):
                self._open[access.user_id] = await self._links.open(ours, caller_params={})
        except (GatewayUnreachable, GatewayRefused, HandshakeRefused, TimeoutError) as error:
            log.info("no control socket to the gateway", user_id=access.user_id, reason=str(error))

    async def call(
        self, access: GatewayAccess, method: str, params: dict[str, Any], *, timeout_s: float
    ) -> dict[str, Any]:
        """Make a call over the open socket. Returns the answer's payload.

        Without an answer within `timeout_s`, drops the socket and raises `GatewayUnreachable`.
        Raises `GatewayRefused` for an error.
        """
        socket = self._open[access.user_id].socket
        try:
            async with asyncio.timeout(timeout_s):
                await socket.send_str(gateway_frames.request(method, method, params))
                answer = await _answer(socket, method)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self.drop(access.user_id)
            reason = str(error) or type(error).__name__
            raise GatewayUnreachable(f"{method} got no answer: {reason}") from error
        return payload_of(method, answer)

    def drop(self, user_id: str) -> None:
        """Close the socket, if any; the close handshake runs in the background."""
        link = self._open.pop(user_id, None)
        if link is not None:
            closing = asyncio.create_task(link.socket.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        for user_id in list(self._open):
            self.drop(user_id)
        await asyncio.gather(*self._closing, return_exceptions=True)


async def _answer(socket: aiohttp.ClientWebSocketResponse, request: str) -> dict[str, Any]:
    """The answer to a request; skips the events that the gateway sends to every operator."""
    while True:
        message = await socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise OSError(f"the gateway closed the socket (code {socket.close_code})")
        frame = bounded_json.read(message.data)
        if isinstance(frame, dict) and frame.get("id") == request:
            return frame
