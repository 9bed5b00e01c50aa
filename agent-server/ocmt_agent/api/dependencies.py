"""The parts that the server's handlers work with."""

from dataclasses import dataclass

import aiohttp

from ocmt_agent.api.provisioning import AgentService
from ocmt_agent.clock import Clock
from ocmt_agent.disk.manager import DiskKeeper
from ocmt_agent.gateway.admin import GatewayAdmin
from ocmt_agent.hibernation.engine import Hibernation
from ocmt_agent.hibernation.reconcile_loop import Watch
from ocmt_agent.memory.manager import MemoryKeeper
from ocmt_agent.records.events import EventHub
from ocmt_agent.records.registry import AgentRegistry
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
