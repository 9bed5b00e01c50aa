"""The parts of the server that its HTTP handlers and tests use."""

from dataclasses import dataclass

import aiohttp

from ocmt_agent.api.agent_jobs import AgentJobs
from ocmt_agent.api.host_history import HostHistory
from ocmt_agent.api.live_config import LiveConfigs
from ocmt_agent.api.provisioning import Provisioning
from ocmt_agent.api.server_health import ServerHealth
from ocmt_agent.clock import Clock
from ocmt_agent.disk.manager import DiskManager
from ocmt_agent.gateway.admin import GatewayAdmin
from ocmt_agent.hibernation.assembly import Hibernation
from ocmt_agent.memory.manager import MemoryManager
from ocmt_agent.records.events import EventHub
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.runtime.base import Runtime
from ocmt_agent.settings import AgentSettings
from ocmt_agent.spares.keeper import SpareKeeper
from ocmt_agent.tool_servers.manager import ToolServers
from ocmt_agent.upgrades.manager import StateCopyManager


@dataclass(frozen=True, slots=True)
class Parts:
    settings: AgentSettings
    clock: Clock
    runtime: Runtime
    hub: EventHub
    registry: AgentRegistry
    memory: MemoryManager
    hibernation: Hibernation
    provisioning: Provisioning
    spares: SpareKeeper
    health: ServerHealth
    admin: GatewayAdmin
    disk: DiskManager
    states: StateCopyManager
    jobs: AgentJobs
    host: HostHistory
    live_configs: LiveConfigs
    tool_servers: ToolServers
    passing_on: aiohttp.ClientSession
    """The proxy's HTTP session, which passes bodies on unchanged."""
