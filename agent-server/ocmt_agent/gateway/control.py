"""What hibernation needs of a gateway: is it up, may it be frozen, what has it scheduled.

A protocol, so that the engine's rules are tested against faults a real gateway rarely shows.
"""

from datetime import datetime
from typing import Protocol

import aiohttp

from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import Busy, GatewayAdmin, Suspended
from ocmt_agent.gateway.probe import is_live, is_started


class GatewayControl(Protocol):
    """Every method but the two probes raises `GatewayUnreachable` or `GatewayRefused`."""

    async def is_live(self, access: GatewayAccess) -> bool: ...

    async def is_started(self, access: GatewayAccess) -> bool: ...

    async def health(self, access: GatewayAccess) -> None: ...

    async def next_job_at(self, access: GatewayAccess) -> datetime | None: ...

    async def suspend(self, access: GatewayAccess, *, request_id: str) -> Suspended | Busy: ...

    async def resume(self, access: GatewayAccess, suspension_id: str) -> None: ...


class HttpGatewayControl(GatewayAdmin):
    """The real one: OpenClaw's probes and its admin calls."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        super().__init__(session)
        self._http = session

    async def is_live(self, access: GatewayAccess) -> bool:
        return await is_live(self._http, access.endpoint)

    async def is_started(self, access: GatewayAccess) -> bool:
        return await is_started(self._http, access.endpoint)
