"""A complete agent server on fakes, without sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from ocmt_agent.api.dependencies import Parts
from ocmt_agent.app import create_app
from ocmt_agent.decisions.memory_admission import HostFigures
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.hibernation.orders import OperatorOrders
from ocmt_agent.hibernation.wake import WakeTransitions
from ocmt_agent.memory.manager import MemoryManager
from ocmt_agent.records.agent import Agent
from ocmt_agent.settings import AgentSettings
from ocmt_agent.spares.warm_up import WarmUp
from ocmt_agent.tool_servers.containers import ToolContainers
from ocmt_agent.wiring import open_parts
from ocmt_common.agent_api import (
    AUTH_HEADER,
    HibernationState,
    PausedMemory,
    ProvisionRequest,
)
from ocmt_common.settings import load

from ocmt_testing.agent_server.fake_clock import FakeClock
from ocmt_testing.agent_server.fake_control import FakeControl
from ocmt_testing.agent_server.fake_runtime import FakeRuntime

TOKEN = "0123456789abcdefghijklmnopqrstuv"
AGENT_TOKEN = "agent-token-of-at-least-16"


@dataclass
class Room:
    """The host's memory, set by a test; with `None`, everything fits."""

    figures: HostFigures | None

    def read(self) -> HostFigures | None:
        return self.figures


@dataclass
class Host:
    parts: Parts
    runtime: FakeRuntime
    gateway: FakeControl
    clock: FakeClock
    client: httpx2.AsyncClient
    room: "Room"

    @property
    def wakes(self) -> WakeTransitions:
        return self.parts.hibernation.wakes

    @property
    def orders(self) -> OperatorOrders:
        return self.parts.hibernation.orders

    async def provision(self, user_id: str = "ada", *, token: str = AGENT_TOKEN) -> Agent:
        request = ProvisionRequest(user_id=user_id, agent_token=token)
        return (await self.parts.provisioning.provision(request))[0]

    def state(self, user_id: str = "ada") -> HibernationState:
        """The agent's current state; mypy would keep a narrowed `agent.state` across an await."""
        return self.parts.registry.get(user_id).state

    def paused_memory(self, user_id: str = "ada") -> PausedMemory | None:
        """Where a paused agent's memory is, read anew like `state`."""
        return self.parts.registry.get(user_id).paused_memory

    async def sweep(self) -> None:
        await self.parts.hibernation.loop.sweep()

    async def make_spares(self, count: int, *, held: bool = False) -> list[Agent]:
        """Let the server make spares, on a host with room and swap for them.

        `held`: for stopped agents, of which there must be as many.
        """
        gib = 1024**3
        figures = HostFigures(64 * gib, 60 * gib, 64 * gib, 64 * gib, None, swap_disk=64 * gib)
        before, self.room.figures = self.room.figures, figures
        keeper = self.parts.spares
        for _ in range(count):
            for _ in range(count):
                (keeper._pool.starts if held else keeper._pool.arrivals).add()
            await keeper.look()
        self.room.figures = before
        return keeper.ready(held=held)

    async def fall_asleep(self, user_id: str = "ada") -> Agent:
        """Advance the clock and sweep twice (first to sample the CPU): an idle agent is paused."""
        self.clock.advance(minutes=30)
        await self.sweep()
        self.clock.advance(minutes=1)
        await self.sweep()
        return self.parts.registry.get(user_id)


def settings_for(data_dir: Path, **values: str) -> AgentSettings:
    given = {"AUTH_TOKEN": TOKEN, "DATA_DIR": str(data_dir), "WAKE_TIMEOUT_MS": "5000", **values}
    return load(AgentSettings, environ=given)


async def _no_wait(_: float) -> None:
    await asyncio.sleep(0)


async def _no_message(access: GatewayAccess) -> None: ...


@asynccontextmanager
async def open_host(
    data_dir: Path,
    *,
    runtime: FakeRuntime | None = None,
    gateway: FakeControl | None = None,
    clock: FakeClock | None = None,
    figures: HostFigures | None = None,
    warm_up: WarmUp | None = None,
    memory_manager: Callable[..., MemoryManager] = MemoryManager,
    tool_containers: ToolContainers | None = None,
    **values: str,
) -> AsyncIterator[Host]:
    """Run a server on `data_dir`. To restart it, open it again with the same fakes."""
    runtime = runtime or FakeRuntime()
    gateway = gateway or FakeControl(runtime)
    clock = clock or FakeClock()
    settings = settings_for(data_dir, **values)
    room = Room(figures)
    async with open_parts(
        settings,
        runtime=runtime,
        clock=clock,
        gateway=gateway,
        warm_up=warm_up or _no_message,
        read_host=room.read,
        read_load=lambda: 0.0,
        memory_manager=memory_manager,
        tool_containers=tool_containers,
    ) as parts:
        parts.spares._sleep = _no_wait
        transport = httpx2.ASGITransport(app=create_app(parts), raise_app_exceptions=False)
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://agent", headers={AUTH_HEADER: TOKEN}
        ) as client:
            yield Host(parts, runtime, gateway, clock, client, room)
