"""What this server needs of a gateway: probes, jobs, and suspension.

A protocol, so that tests can inject faults that a real gateway rarely shows.
"""

from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol

import aiohttp
from ocmt_common.agent_api import Job

from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import (
    Busy,
    GatewayAdmin,
    GatewayRefused,
    GatewayUnreachable,
    Suspended,
)
from ocmt_agent.gateway.control_sockets import ControlSockets
from ocmt_agent.gateway.probe import is_live, is_started
from ocmt_agent.runtime.base import Endpoint

_SUSPENSION = "gateway.suspend."


class GatewayControl(Protocol):
    """Calls to gateways, which may raise `GatewayUnreachable` or `GatewayRefused`.

    The two probes, `is_live` and `is_started`, do not raise.
    """

    async def is_live(self, access: GatewayAccess) -> bool: ...

    async def is_started(self, access: GatewayAccess) -> bool: ...

    async def health(self, access: GatewayAccess) -> None: ...

    async def next_job_at(self, access: GatewayAccess, *, heartbeats: bool) -> datetime | None: ...

    async def list_jobs(self, access: GatewayAccess) -> list[Job]: ...

    async def run_job(self, access: GatewayAccess, job_id: str) -> None: ...

    async def enable_job(self, access: GatewayAccess, job_id: str, *, enabled: bool) -> None: ...

    async def remove_job(self, access: GatewayAccess, job_id: str) -> None: ...

    async def active_runs(self, access: GatewayAccess) -> int | None: ...

    async def suspend(self, access: GatewayAccess, *, request_id: str) -> Suspended | Busy: ...

    async def resume(self, access: GatewayAccess, suspension_id: str) -> None: ...

    def control_socket_to(self, user_id: str) -> Endpoint | None:
        """Endpoint of the open control socket to this user's gateway, or `None`."""
        ...

    def renamed(self, before: str, user_id: str) -> None:
        """Keep the control socket of the gateway known as `before`, which is a user's now."""
        ...


class OpenClawControl(GatewayAdmin):
    """OpenClaw's probes and admin calls. Suspension goes over the control socket if it is open."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        super().__init__(session)
        self._http = session
        self._sockets = ControlSockets(session, GatewayAdmin(session))
        self._reading = ControlSockets(session, GatewayAdmin(session))
        """For reads from an awake gateway; separate from the sockets for suspension."""

    async def is_live(self, access: GatewayAccess) -> bool:
        return await is_live(self._http, access.endpoint)

    async def is_started(self, access: GatewayAccess) -> bool:
        started = await is_started(self._http, access.endpoint)
        return await self._answers(access) if started is None else started

    async def _answers(self, access: GatewayAccess) -> bool:
        try:
            await self.health(access)
        except (GatewayUnreachable, GatewayRefused):
            return False
        return True

    async def suspend(self, access: GatewayAccess, *, request_id: str) -> Suspended | Busy:
        await self._sockets.open(access)  # first: a suspended gateway pairs no device
        suspended = False
        try:
            answer = await super().suspend(access, request_id=request_id)
            suspended = isinstance(answer, Suspended)
        finally:
            if not suspended:
                self._sockets.drop(access.user_id)
        return answer

    async def resume(self, access: GatewayAccess, suspension_id: str) -> None:
        await super().resume(access, suspension_id)
        self._sockets.drop(access.user_id)

    def control_socket_to(self, user_id: str) -> Endpoint | None:
        return self._sockets.to(user_id)

    def renamed(self, before: str, user_id: str) -> None:
        self._sockets.rename(before, user_id)

    def has_control_socket(self, access: GatewayAccess) -> bool:
        """Whether suspension calls to this gateway go over a control socket."""
        return self._sockets.has(access)

    async def active_runs(self, access: GatewayAccess) -> int | None:
        await self._reading.open(access)  # the admin route over HTTP does not serve this method
        try:
            return await super().active_runs(access)
        finally:
            self._reading.drop(access.user_id)

    async def call(
        self,
        access: GatewayAccess,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        timeout_s: float = 10.0,
    ) -> dict[str, Any]:
        if method.startswith(_SUSPENSION) and self.has_control_socket(access):
            with suppress(GatewayUnreachable):  # these calls may be repeated
                return await self._sockets.call(access, method, params or {}, timeout_s=timeout_s)
        if method == "sessions.list" and self._reading.has(access):
            return await self._reading.call(access, method, params or {}, timeout_s=timeout_s)
        return await super().call(access, method, params, timeout_s=timeout_s)

    async def close(self) -> None:
        await self._sockets.close()
        await self._reading.close()
