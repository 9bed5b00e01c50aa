"""Pairs this server's device with a gateway, once. An unpaired device's sockets have no rights."""

import asyncio
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

import aiohttp
import structlog

from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import GatewayAdmin, GatewayUnreachable
from ocmt_agent.gateway.handshake import SCOPES, HandshakeRefused, Link, connect

log = structlog.get_logger(__name__)

_STARTING_S = 30
_RETRY_S = 0.2


class GatewayLinks:
    """Opens authorised sockets to gateways, pairing with each on the first refusal."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        admin: GatewayAdmin,
        *,
        scopes: Sequence[str] = SCOPES,
    ) -> None:
        self._session = session
        self._admin = admin
        self._scopes = scopes
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def open(self, access: GatewayAccess, *, caller_params: dict[str, Any]) -> Link:
        """Open a socket, after pairing if the gateway requires it.

        Raises `GatewayUnreachable`, `GatewayRefused` or `HandshakeRefused`.
        """
        try:
            return await self._connect(access, caller_params)
        except HandshakeRefused as refusal:
            if not refusal.not_paired:
                raise
        # One pairing per user at a time, or two sockets would each request to pair the device.
        async with self._locks.setdefault(access.user_id, asyncio.Lock()):
            try:
                return await self._connect(access, caller_params)
            except HandshakeRefused as refusal:
                if not refusal.not_paired:
                    raise
            await self._approve(access)
            return await self._connect(access, caller_params)

    async def _connect(self, access: GatewayAccess, caller_params: dict[str, Any]) -> Link:
        """Connect; while the gateway is still starting, retry for up to 30 s."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _STARTING_S
        while True:
            try:
                return await connect(
                    self._session, access, caller_params=caller_params, scopes=self._scopes
                )
            except HandshakeRefused as refusal:
                if not refusal.passing or loop.time() > deadline:
                    raise
            await asyncio.sleep(_RETRY_S)

    async def _approve(self, access: GatewayAccess) -> None:
        listed = await self._admin.call(access, "device.pair.list")
        pending = listed.get("pending")
        for request in pending if isinstance(pending, list) else ():
            # Approve our own device only; others are for the user to approve.
            if isinstance(request, dict) and request.get("deviceId") == access.device.device_id:
                await self._admin.call(
                    access, "device.pair.approve", {"requestId": request.get("requestId")}
                )
                log.info("paired with the gateway", user_id=access.user_id)
                return
        raise GatewayUnreachable(
            "the gateway requires pairing but lists no pairing request of this server"
        )
