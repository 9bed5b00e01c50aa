"""`GatewayControl` in memory, with `FakeRuntime`: a gateway answers only while it runs.

Suspension follows OpenClaw's contract: with a lease, the gateway accepts no new work; `resume` with
that lease ends it; and a gateway that has just booted has no lease.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime

from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import Busy, GatewayRefused, GatewayUnreachable, Suspended
from ocmt_agent.runtime.base import ContainerStatus, Endpoint
from ocmt_common.agent_api import Job

from ocmt_testing.agent_server.fake_runtime import ENDPOINT, FakeContainer, FakeRuntime

_GIVEN_UP_AFTER_S = 30.0


class FakeControl:
    def __init__(self, runtime: FakeRuntime) -> None:
        self._runtime = runtime
        self._homes: dict[str, str] = {}
        self.calls: Counter[str] = Counter()
        self.faults: dict[str, list[Exception]] = {}
        self.busy: dict[str, Busy] = {}
        """User id → answer of `suspend` in place of a lease."""
        self.jobs: dict[str, datetime] = {}
        """User id → when its next job is due."""
        self.all_jobs: defaultdict[str, dict[str, Job]] = defaultdict(dict)
        """User id → job id → a job that its gateway lists."""
        self.jobs_run: list[tuple[str, str]] = []
        self.heartbeats_wake: dict[str, bool] = {}
        """User id → whether heartbeats counted when its next job was read."""
        self.runs: dict[str, int] = {}
        """User id → number of runs in progress."""
        self.leases: dict[str, tuple[int, str]] = {}
        """Home → the number of the gateway's boot, and the lease that closes it."""
        self.keeps_lines = True
        """Whether control sockets outlive a sleep."""
        self.silent = False
        """Whether running gateways do not answer."""
        self.during_suspend: Callable[[], None] | None = None

    def renamed(self, before: str, user_id: str) -> None:
        self._homes[user_id] = before
        if before in self.jobs:
            self.jobs[user_id] = self.jobs.pop(before)

    def home(self, user_id: str) -> str:
        """The name of the user's container at the runtime."""
        home = self._homes.get(user_id, user_id)
        return home if home in self._runtime.containers else user_id  # made anew since

    async def _called(self, method: str, access: GatewayAccess) -> None:
        self.calls[method] += 1
        await asyncio.sleep(0)
        container = await self._thawed(self.home(access.user_id))
        runs = container is not None and container.status is ContainerStatus.RUNNING
        if self.silent or container is None or not runs or container.on_hold:
            raise GatewayUnreachable("Nothing answers.")
        if self.faults.get(method):
            raise self.faults[method].pop(0)

    async def _thawed(self, user_id: str) -> FakeContainer | None:
        """The container, once it is thawed or after the call's timeout."""
        deadline = time.monotonic() + _GIVEN_UP_AFTER_S
        while True:
            container = self._runtime.containers.get(user_id)
            frozen = container is not None and container.status is ContainerStatus.PAUSED
            if not frozen or time.monotonic() > deadline:
                return container
            await asyncio.sleep(0.001)

    def closed(self, user_id: str) -> bool:
        home = self.home(user_id)
        container = self._runtime.containers[home]
        return home in self.leases and self.leases[home][0] == container.boot

    def control_socket_to(self, user_id: str) -> Endpoint | None:
        """The endpoint while there is a lease; a broken socket is detected only when used."""
        held = self.home(user_id) in self.leases
        return ENDPOINT if self.keeps_lines and held else None

    async def is_live(self, access: GatewayAccess) -> bool:
        try:
            await self._called("is_live", access)
        except GatewayUnreachable:
            return False
        return True

    async def is_started(self, access: GatewayAccess) -> bool:
        return await self.is_live(access)

    async def health(self, access: GatewayAccess) -> None:
        await self._called("health", access)
        if self.closed(access.user_id):
            raise GatewayRefused("UNAVAILABLE", "suspended", retry_after_s=0.5)

    async def next_job_at(
        self, access: GatewayAccess, *, heartbeats: bool = False
    ) -> datetime | None:
        await self._called("next_job_at", access)
        self.heartbeats_wake[access.user_id] = heartbeats
        return self.jobs.get(access.user_id)

    async def list_jobs(self, access: GatewayAccess) -> list[Job]:
        await self._called("list_jobs", access)
        return list(self.all_jobs[access.user_id].values())

    async def run_job(self, access: GatewayAccess, job_id: str) -> None:
        await self._called("run_job", access)
        self.jobs_run.append((access.user_id, job_id))

    async def enable_job(self, access: GatewayAccess, job_id: str, *, enabled: bool) -> None:
        await self._called("enable_job", access)
        self.all_jobs[access.user_id][job_id].enabled = enabled

    async def remove_job(self, access: GatewayAccess, job_id: str) -> None:
        await self._called("remove_job", access)
        del self.all_jobs[access.user_id][job_id]

    async def active_runs(self, access: GatewayAccess) -> int | None:
        await self._called("active_runs", access)
        return self.runs.get(access.user_id, 0)

    async def suspend(self, access: GatewayAccess, *, request_id: str) -> Suspended | Busy:
        await self._called("suspend", access)
        if self.during_suspend is not None:
            self.during_suspend()
        if access.user_id in self.busy:
            return self.busy[access.user_id]
        if not self.closed(access.user_id):  # the same request id renews the same lease
            boot = self._runtime.containers[self.home(access.user_id)].boot
            self.leases[self.home(access.user_id)] = (boot, f"lease-{self.calls['suspend']}")
        return Suspended(self.leases[self.home(access.user_id)][1])

    async def resume(self, access: GatewayAccess, suspension_id: str) -> None:
        await self._called("resume", access)
        home = self.home(access.user_id)
        if self.closed(access.user_id) and self.leases[home][1] == suspension_id:
            del self.leases[home]
