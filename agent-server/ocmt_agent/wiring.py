"""Creates the server's parts in order, and closes them in reverse order."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial

import aiohttp
from ocmt_common.host_credentials import HostCredentials

from ocmt_agent.api.agent_jobs import AgentJobs
from ocmt_agent.api.dependencies import Parts
from ocmt_agent.api.host_history import HostHistory
from ocmt_agent.api.live_config import LiveConfigs
from ocmt_agent.api.provisioning import Provisioning
from ocmt_agent.api.server_health import ServerHealth
from ocmt_agent.clock import Clock
from ocmt_agent.decisions import transition_reasons as reasons
from ocmt_agent.decisions.disk_limit import DiskLimit
from ocmt_agent.decisions.sleep_policy import Times
from ocmt_agent.disk.manager import DiskManager
from ocmt_agent.gateway.admin import GatewayAdmin
from ocmt_agent.gateway.control import GatewayControl, OpenClawControl
from ocmt_agent.hibernation.assembly import assemble
from ocmt_agent.hibernation.spare_pool import SparePool
from ocmt_agent.hibernation.wake_admission import HostReader
from ocmt_agent.memory.admission_figures import host_figures
from ocmt_agent.memory.manager import MemoryManager
from ocmt_agent.memory.working_set_store import WorkingSetStore
from ocmt_agent.proxy.forwarding import KEEPALIVE_S, open_session
from ocmt_agent.records.events import EventHub
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.records.store import AgentStore
from ocmt_agent.runtime.base import Runtime
from ocmt_agent.runtime.docker import DockerRuntime
from ocmt_agent.runtime.homes import HomedRuntime, Homes
from ocmt_agent.settings import AgentSettings
from ocmt_agent.spares.keeper import SpareKeeper
from ocmt_agent.spares.warm_up import GatewayWarmUp, WarmUp
from ocmt_agent.tool_servers.containers import ToolContainers
from ocmt_agent.tool_servers.docker_containers import DockerToolContainers
from ocmt_agent.tool_servers.manager import ToolServers
from ocmt_agent.upgrades.manager import StateCopyManager

_ROOM_FOR_TOOLS_BYTES = 512 * 1024 * 1024
"""`MemAvailable` needed to start a tool server: twice its limit."""


def _load() -> float:
    return os.getloadavg()[0]


@asynccontextmanager
async def open_parts(
    settings: AgentSettings,
    *,
    runtime: Runtime,
    clock: Clock,
    gateway: GatewayControl | None = None,
    warm_up: WarmUp | None = None,
    read_host: HostReader = host_figures,
    read_load: Callable[[], float] = _load,
    memory_manager: Callable[..., MemoryManager] = MemoryManager,
    credentials: HostCredentials | None = None,
    tool_containers: ToolContainers | None = None,
) -> AsyncIterator[Parts]:
    """Open the database and create the server's parts. Raises `StoreError`.

    On exit, streams end, transitions in flight are cancelled and unsaved records are written. The
    agents keep running, unless STOP_AGENTS_ON_EXIT is set. The caller closes `runtime`. `gateway`,
    `warm_up`, `read_host`, `read_load`, `memory_manager` and `tool_containers` are for tests.
    """
    async with AsyncExitStack() as stack:
        store = await AgentStore.open(settings.data_dir / "agent.db")
        stack.push_async_callback(store.close)
        # Two connection pools, so that many long answers being forwarded do not delay a wake.
        # Neither stores cookies, which users would share, nor uses the environment's proxy.
        passing_on = await stack.enter_async_context(open_session())
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
                trust_env=False,
            )
        )
        hub = EventHub()
        homes = Homes()
        runtime = HomedRuntime(runtime, homes)
        registry = AgentRegistry(store, hub=hub, clock=clock, homes=homes)
        await registry.load()
        stack.push_async_callback(registry.flush)
        times = Times(
            pause_after=timedelta(milliseconds=settings.pause_after_ms),
            stop_after=timedelta(milliseconds=settings.stop_after_ms),
            check_interval=timedelta(milliseconds=settings.hibernation_check_interval),
            stop_by_need=settings.stop_by_need,
        )
        if gateway is None:
            gateway = control = OpenClawControl(session)
            stack.push_async_callback(control.close)
        memory = memory_manager(
            runtime,
            registry,
            clock=clock,
            store=WorkingSetStore(settings.data_dir / "working-sets"),
        )
        stack.push_async_callback(memory.close)
        folders = settings.data_dir / "agents"  # may be a mount point
        folders.mkdir(mode=0o711, exist_ok=True)
        limit = DiskLimit.of_mb(settings.agent_disk_mb)
        states = StateCopyManager(runtime, registry, root=folders, limit=limit, clock=clock)
        pool = SparePool(runtime, registry, clock=clock)
        hibernation = assemble(
            runtime,
            gateway,
            registry,
            memory,
            states,
            pool=pool,
            clock=clock,
            times=times,
            wake_timeout_s=settings.wake_timeout_ms / 1000,
            read_host=read_host,
            cores=max(1, len(os.sched_getaffinity(0))),
        )
        if credentials is not None:
            await stack.enter_async_context(credentials.followed())
        if tool_containers is None and runtime.name == DockerRuntime.name:
            tool_containers = DockerToolContainers(
                image=settings.openclaw_image,
                agents=folders,
                root=settings.data_dir / "tool-packages",
            )
        tool_servers = ToolServers(
            tool_containers, has_room=partial(_has_room_for_tools, read_host), clock=clock
        )
        stack.push_async_callback(tool_servers.close)
        registry.metrics.follow_tool_servers(tool_servers.counts)
        live_configs = LiveConfigs(runtime, gateway, registry, hibernation.wakes, clock=clock)
        stack.push_async_callback(live_configs.close)
        spares = SpareKeeper(
            runtime,
            registry,
            hibernation,
            memory,
            warm_up or GatewayWarmUp(session),
            pool=pool,
            most=settings.spare_agents,
            read_host=read_host,
            read_load=read_load,
            clock=clock,
        )
        provisioning = Provisioning(
            runtime,
            registry,
            hibernation,
            memory,
            states,
            pool=pool,
            gateway=gateway,
            tool_servers=tool_servers,
            clock=clock,
        )
        if settings.stop_agents_on_exit:
            stack.push_async_callback(provisioning.stop_all)
        stack.push_async_callback(hibernation.close)
        disk = DiskManager(
            runtime,
            registry,
            root=folders,
            limit=limit,
            stop=partial(hibernation.sleeps.force_stop, why=reasons.DISK_FULL),
            clock=clock,
        )
        stack.callback(hub.close)
        yield Parts(
            settings=settings,
            clock=clock,
            runtime=runtime,
            hub=hub,
            registry=registry,
            memory=memory,
            hibernation=hibernation,
            provisioning=provisioning,
            spares=spares,
            health=ServerHealth(
                runtime, registry, memory, spares, times=times, clock=clock, credentials=credentials
            ),
            admin=GatewayAdmin(session),
            disk=disk,
            states=states,
            host=HostHistory(registry, memory, clock=clock),
            jobs=AgentJobs(gateway, registry, hibernation.wakes),
            live_configs=live_configs,
            tool_servers=tool_servers,
            passing_on=passing_on,
        )


def _has_room_for_tools(read_host: HostReader) -> bool:
    figures = read_host()
    return figures is None or figures.available >= _ROOM_FOR_TOOLS_BYTES


@asynccontextmanager
async def watching(parts: Parts) -> AsyncIterator[None]:
    """Run the server's background tasks during the block."""
    loops = (
        parts.hibernation.loop.run(),
        parts.memory.run(),
        parts.spares.run(),
        parts.host.run(),
        parts.disk.run(),
        parts.states.run(),
        parts.live_configs.write_all(),
        parts.tool_servers.run(),
    )
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
