"""What changes in the gateways' configuration while they run: the version of each user's tools,
the shape of their model, and their heartbeat.

OpenClaw reloads a changed configuration. A run in progress then loses its tool calls, and a run
that starts at that moment fails (measured with 2026.9.6). So the file is written between two runs,
and requests are held until the gateway has read it.
"""

import asyncio
from enum import Enum, auto

import structlog
from ocmt_common.agent_api import AgentModel, AgentPolicy

from ocmt_agent.clock import Clock
from ocmt_agent.gateway.admin import GatewayRefused, GatewayUnreachable
from ocmt_agent.gateway.control import GatewayControl
from ocmt_agent.hibernation.problems import runtime_problems
from ocmt_agent.hibernation.wake import WakeTransitions
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.runtime.base import Runtime, RuntimeFailed, RuntimeUnavailable

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 1.0
_LONGEST_RUN_S = 900.0
"""The longest wait for the end of a run; the file is then written during it."""
_ANSWERS_WITHIN_S = 3.0


class _Part(Enum):
    """What is written only when it has changed, or once after a start."""

    MODEL = auto()
    HEARTBEAT = auto()


class LiveConfigs:
    """Takes no part in transitions: it neither wakes an agent nor waits for one that wakes."""

    def __init__(
        self,
        runtime: Runtime,
        gateway: GatewayControl,
        registry: AgentRegistry,
        wakes: WakeTransitions,
        *,
        clock: Clock,
    ) -> None:
        self._runtime = runtime
        self._gateway = gateway
        self._registry = registry
        self._wakes = wakes
        self._clock = clock
        self._waiting: dict[str, asyncio.Task[None]] = {}
        """User id → the writing that waits for the end of a run."""
        self._due: set[tuple[str, _Part]] = set()
        """User ids and parts that are stored, but not known to be in the configuration."""

    async def set_tools_version(self, user_id: str, version: int) -> None:
        """Store the version, and write it where the gateway reads it. May be repeated.

        During a run, the file is written later, in the background. A lower version is accepted,
        as after a restore of management's database: the gateway lists the tools again after any
        change. Raises `Problem`.
        """
        agent = self._registry.get(user_id)
        await self._registry.set_tools_version(agent, version)
        await self._write_between_runs(agent)

    async def set_model(self, user_id: str, model: AgentModel) -> None:
        """Store the shape of the user's model, and write it like the tools version.

        May be repeated. Raises `Problem`.
        """
        agent = self._registry.get(user_id)
        if agent.model == model and (user_id, _Part.MODEL) not in self._due:
            return
        await self._registry.set_model(agent, model)
        self._due.add((user_id, _Part.MODEL))
        await self._write_between_runs(agent)

    async def set_policy(self, user_id: str, policy: AgentPolicy) -> Agent:
        """Store the user's policy, and write its heartbeat likewise if it differs.

        Raises `Problem`.
        """
        agent = self._registry.get(user_id)
        before = agent.policy.heartbeat_minutes
        await self._registry.set_policy(agent, policy)
        if policy.heartbeat_minutes != before:
            agent.jobs_read_at = float("-inf")  # whether it is woken for heartbeats has changed
            self._due.add((user_id, _Part.HEARTBEAT))
            await self._write_between_runs(agent)
        return agent

    async def _write_between_runs(self, agent: Agent) -> None:
        user_id = agent.user_id
        if user_id in self._waiting:
            return  # it writes what is stored at that moment
        if await self._has_run(agent):
            task = asyncio.create_task(self._write_after_run(agent))
            self._waiting[user_id] = task
            return
        with runtime_problems():
            await self._write(agent)

    async def write_all(self) -> None:
        """Write the stored settings of every agent into its configuration.

        A server that was killed may not have. Failures are only logged.
        """
        for agent in self._registry.all():
            self._due |= {(agent.user_id, part) for part in _Part}
            try:
                await self._write_stored(agent)
            except (RuntimeFailed, RuntimeUnavailable) as error:
                log.warning("configuration not written", user_id=agent.user_id, reason=str(error))

    async def close(self) -> None:
        """Cancel waiting writes. What they write is stored, and the next start writes it."""
        tasks = list(self._waiting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, agent: Agent) -> None:
        self._wakes.tools_changed(agent)
        await self._write_stored(agent)
        self._wakes.tools_changed(agent)  # again: the writing may have taken long

    async def _write_stored(self, agent: Agent) -> None:
        if agent.tools_version:
            await self._runtime.set_tools_version(agent.user_id, agent.tools_version)
        if (agent.user_id, _Part.MODEL) in self._due:
            await self._runtime.set_model(agent.user_id, agent.model)
            self._due.discard((agent.user_id, _Part.MODEL))
        if (agent.user_id, _Part.HEARTBEAT) in self._due:
            minutes = agent.policy.heartbeat_minutes
            await self._runtime.set_heartbeat(agent.user_id, minutes)
            self._due.discard((agent.user_id, _Part.HEARTBEAT))

    async def _write_after_run(self, agent: Agent) -> None:
        until_s = self._clock.monotonic() + _LONGEST_RUN_S
        try:
            # The gateway has no event for the end of all runs.
            while self._clock.monotonic() < until_s and await self._has_run(agent):  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            del self._waiting[agent.user_id]
        try:
            await self._write(agent)
        except (RuntimeFailed, RuntimeUnavailable) as error:
            log.warning("configuration not written", user_id=agent.user_id, reason=str(error))

    async def _has_run(self, agent: Agent) -> bool:
        """Whether the agent has a run in progress. If not, new requests are held."""
        if await self._active_runs(agent):
            return True
        self._wakes.tools_changed(agent)  # holds requests; one may have come just before
        if await self._active_runs(agent):
            agent.tools_read_at_s = 0.0
            return True
        return False

    async def _active_runs(self, agent: Agent) -> int:
        access = agent.access
        if access is None or agent.lock.locked():
            return 0
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN_S):
                return await self._gateway.active_runs(access) or 0
        except (GatewayUnreachable, GatewayRefused, TimeoutError) as error:
            log.info("runs not known", user_id=agent.user_id, reason=str(error))
            return 0
