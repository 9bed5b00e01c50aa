"""Agents for tests of the proxy: awake, at an address that the test chooses."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.device import DeviceKey
from ocmt_agent.runtime.base import Endpoint, SecretText
from ocmt_common.problems import Problem

GATEWAY_TOKEN = "gateway-token-that-never-leaves"


class AlwaysAwake:
    """`AwakeAgents` with one agent that never sleeps; counts the calls."""

    def __init__(self, endpoint: Endpoint, *, user_id: str = "ada") -> None:
        self.access = GatewayAccess(
            user_id, endpoint, SecretText(GATEWAY_TOKEN), DeviceKey.generate()
        )
        self.wakes: Counter[ActivityKind] = Counter()
        self.runs_ended: Counter[ActivityKind] = Counter()
        self.in_flight = 0
        self.used = asyncio.Event()
        self.unused = asyncio.Event()
        self.doubts = 0
        self.problem: Problem | None = None
        self.then_at: Endpoint | None = None
        """The gateway's address after a call of `doubt`."""

    async def awake(self, user_id: str, *, kind: ActivityKind) -> GatewayAccess:
        if user_id != self.access.user_id:
            raise Problem(404, "no-such-agent", "This user has no agent here.")
        if self.problem is not None:
            raise self.problem
        self.wakes[kind] += 1
        return self.access

    @asynccontextmanager
    async def using(self, user_id: str, *, kind: ActivityKind) -> AsyncIterator[GatewayAccess]:
        self.in_flight += 1
        self.used.set()
        try:
            yield await self.awake(user_id, kind=kind)
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self.unused.set()

    def run_ended(self, user_id: str, *, kind: ActivityKind) -> None:
        assert user_id == self.access.user_id
        self.runs_ended[kind] += 1

    def doubt(self, access: GatewayAccess) -> None:
        assert access == self.access
        self.doubts += 1
        if self.then_at is not None:
            self.access = replace(access, endpoint=self.then_at)


class Sleepy(AlwaysAwake):
    """`AwakeAgents` with one agent; a test puts it to sleep, and the next `awake` wakes it."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.bring_up: Callable[[], Awaitable[Endpoint]] | None = None

    async def awake(self, user_id: str, *, kind: ActivityKind) -> GatewayAccess:
        access = await super().awake(user_id, kind=kind)
        if self.bring_up is None:
            return access
        start, self.bring_up = self.bring_up, None
        self.access = replace(access, endpoint=await start())
        return self.access

    def run_ended(self, user_id: str, *, kind: ActivityKind) -> None:
        assert user_id == self.access.user_id
        self.runs_ended[kind] += 1

    def doubt(self, access: GatewayAccess) -> None:
        self.doubts += 1
