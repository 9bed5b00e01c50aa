"""The version of each user's tools, from management to the gateways' configuration."""

import structlog

from ocmt_agent.hibernation.problems import runtime_problems
from ocmt_agent.hibernation.wake import WakeTransitions
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.runtime.base import Runtime, RuntimeFailed, RuntimeUnavailable

log = structlog.get_logger(__name__)


class ToolsVersions:
    """Takes no part in transitions: it neither wakes an agent nor waits for one that wakes."""

    def __init__(self, runtime: Runtime, registry: AgentRegistry, wakes: WakeTransitions) -> None:
        self._runtime = runtime
        self._registry = registry
        self._wakes = wakes

    async def set(self, user_id: str, version: int) -> None:
        """Store the version, then write it where the gateway reads it. May be repeated.

        A lower version than before is accepted, as after a restore of management's database: the
        gateway lists the tools again for any other version.
        """
        agent = self._registry.get(user_id)
        await self._registry.set_tools_version(agent, version)
        self._wakes.tools_changed(agent)
        with runtime_problems():
            await self._runtime.set_tools_version(user_id, agent.tools_version)
        self._wakes.tools_changed(agent)  # again: the writing may have taken long

    async def write_all(self) -> None:
        """Write what is stored, at a start: the server may have been killed before it wrote."""
        for agent in self._registry.all():
            if agent.tools_version == 0:
                continue
            try:
                await self._runtime.set_tools_version(agent.user_id, agent.tools_version)
            except (RuntimeFailed, RuntimeUnavailable) as error:
                log.warning("writing a tools version", user_id=agent.user_id, reason=str(error))
