"""The server's parts, put together once and taken down in the opposite order."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import aiohttp
from ocmt_common.host_credentials import HostCredentials

from ocmt_agent.agents.events import EventHub
from ocmt_agent.agents.registry import AgentRegistry
from ocmt_agent.agents.service import AgentService
from ocmt_agent.agents.store import AgentStore
from ocmt_agent.disk.keeper import DiskKeeper
from ocmt_agent.disk.policy import DiskLimit
from ocmt_agent.gateway.admin import GatewayAdmin
from ocmt_agent.gateway.control import GatewayControl, OpenClawControl
from ocmt_agent.hibernation.clock import Clock
from ocmt_agent.hibernation.engine import Hibernation
from ocmt_agent.hibernation.gate import HostReader
from ocmt_agent.hibernation.policy import Times
from ocmt_agent.hibernation.watch import Watch
from ocmt_agent.memory.archive import Archive
from ocmt_agent.memory.figures import host_figures
from ocmt_agent.memory.keeper import MemoryKeeper
from ocmt_agent.proxy.exchange import KEEPALIVE_S, open_session
from ocmt_agent.runtime.base import Runtime
from ocmt_agent.settings import AgentSettings


@dataclass(frozen=True, slots=True)
class Parts:
    settings: AgentSettings
    clock: Clock
    hub: EventHub
    registry: AgentRegistry
    memory: MemoryKeeper
    engine: Hibernation
    service: AgentService
    watch: Watch
    admin: GatewayAdmin
    disk: DiskKeeper
    passing_on: aiohttp.ClientSession
    """For the proxy and the relay, which change nothing of what they pass on."""


@asynccontextmanager
async def open_parts(
    settings: AgentSettings,
    *,
    runtime: Runtime,
    clock: Clock,
    gateway: GatewayControl | None = None,
    read_host: HostReader = host_figures,
    keeper: Callable[..., MemoryKeeper] = MemoryKeeper,
    credentials: HostCredentials | None = None,
) -> AsyncIterator[Parts]:
    """Open the database and build everything on top. Raises `StoreError`.

    Leaving it ends every stream, cuts short what is in flight and writes what is unsaved. The
    agents live on, unless STOP_AGENTS_ON_EXIT. `runtime` stays its owner's to close. `gateway`,
    `read_host` and `keeper` are for tests.
    """
    async with AsyncExitStack() as stack:
        store = await AgentStore.open(settings.data_dir / "agent.db")
        stack.push_async_callback(store.close)
        # Two pools: a crowd of long answers being passed on must not delay a wake. Neither keeps
        # cookies (users would share them) or takes a proxy from the environment.
        passing_on = await stack.enter_async_context(open_session())
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
                trust_env=False,
            )
        )
        hub = EventHub()
        registry = AgentRegistry(store, hub=hub, clock=clock)
        await registry.load()
        stack.push_async_callback(registry.flush)
        times = Times(
            pause_after=timedelta(milliseconds=settings.pause_after_ms),
            stop_after=timedelta(milliseconds=settings.stop_after_ms),
            check_interval=timedelta(milliseconds=settings.hibernation_check_interval),
        )
        if gateway is None:
            gateway = control = OpenClawControl(session)
            stack.push_async_callback(control.close)
        memory = keeper(
            runtime, registry, clock=clock, archive=Archive(settings.data_dir / "working-sets")
        )
        stack.push_async_callback(memory.close)
        engine = Hibernation(
            runtime,
            gateway,
            registry,
            memory,
            clock=clock,
            times=times,
            wake_timeout_s=settings.wake_timeout_ms / 1000,
            read_host=read_host,
            cores=max(1, len(os.sched_getaffinity(0))),
        )
        if credentials is not None:
            await stack.enter_async_context(credentials.followed())
        service = AgentService(
            runtime, registry, engine, memory, clock=clock, credentials=credentials
        )
        if settings.stop_agents_on_exit:
            stack.push_async_callback(service.stop_all)
        stack.push_async_callback(engine.close)
        watch = Watch(runtime, registry, engine, clock=clock, times=times)
        folders = settings.data_dir / "agents"  # perhaps a file system of its own
        folders.mkdir(mode=0o711, exist_ok=True)
        disk = DiskKeeper(
            runtime,
            registry,
            root=folders,
            limit=DiskLimit.of_mb(settings.agent_disk_mb),
            stop=engine.stop_for_room,
            clock=clock,
        )
        stack.callback(hub.close)
        yield Parts(
            settings,
            clock,
            hub,
            registry,
            memory,
            engine,
            service,
            watch,
            GatewayAdmin(session),
            disk,
            passing_on,
        )


@asynccontextmanager
async def watching(parts: Parts) -> AsyncIterator[None]:
    """Run the watches, of the agents, their memory and their files, beside the block."""
    watches = (parts.watch.run(), parts.memory.run(), parts.disk.run())
    tasks = [asyncio.create_task(watch) for watch in watches]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
