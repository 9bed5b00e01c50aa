"""Provisions and removes agents, and reverts their state to a copy."""

import asyncio
import contextlib

from ocmt_common.agent_api import HibernationState, ProvisionRequest
from ocmt_common.problems import Problem
from ocmt_common.user_ids import is_user_id

from ocmt_agent.clock import Clock
from ocmt_agent.decisions import transition_reasons as reasons
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.gateway.control import GatewayControl
from ocmt_agent.hibernation.assembly import Hibernation
from ocmt_agent.hibernation.problems import refuse_disabled, runtime_problems
from ocmt_agent.hibernation.spare_pool import SparePool
from ocmt_agent.memory.manager import MemoryManager
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.runtime.base import Runtime, RuntimeFailed, RuntimeUnavailable
from ocmt_agent.tool_servers.manager import ToolServers
from ocmt_agent.upgrades.manager import StateCopyManager

_NOT_THE_SPARES = ("host-full", "runtime-unavailable", "database-unavailable")
"""Problems that making an agent in the usual way would have, too."""


class Provisioning:
    def __init__(
        self,
        runtime: Runtime,
        registry: AgentRegistry,
        hibernation: Hibernation,
        memory: MemoryManager,
        states: StateCopyManager,
        *,
        pool: SparePool,
        gateway: GatewayControl,
        tool_servers: ToolServers,
        clock: Clock,
    ) -> None:
        self._runtime = runtime
        self._registry = registry
        self._hibernation = hibernation
        self._memory = memory
        self._states = states
        self._pool = pool
        self._gateway = gateway
        self._tool_servers = tool_servers
        self._clock = clock

    async def provision(self, request: ProvisionRequest) -> tuple[Agent, bool]:
        """Provision the user's agent. Returns the agent and whether it is new.

        Returns once a new agent's gateway answers. A repeated request neither changes nor wakes an
        agent, unless it has failed or the token is another: then its container is created again on
        the same state. Raises `Problem`.
        """
        token = request.agent_token
        agent = self._registry.find(request.user_id)
        # A user whose state is still here goes on with it.
        new = agent is None and await self._registry.is_new(request.user_id)
        agent = self._registry.find(request.user_id)  # another request may have come meanwhile
        made = agent is None
        if agent is None and new:
            agent = self._pool.take(request.user_id, agent_token=token)
        if agent is None:
            now = self._clock.now()
            agent = Agent.new(request.user_id, agent_token=token, now=now)
            self._registry.reserve(agent)
        await self._hibernation.transitions.run_locked(agent, lambda: self._provision(agent, token))
        return agent, made

    async def _provision(self, agent: Agent, token: str) -> None:
        if agent.removed or agent.spare:
            raise Problem(409, "agent-removed", "This agent was removed. Try again.")
        refuse_disabled(agent)
        if agent.claimed_home is not None:
            if await self._claimed(agent, agent.claimed_home):
                return
        elif agent.state is HibernationState.PROVISIONING:
            await self._registry.insert(agent)
        elif agent.agent_token != token:
            await self._hibernation.suspender.force_stop(agent, why=reasons.NEW_TOKEN)
            await self._registry.replace_token(agent, token)
        elif agent.state is not HibernationState.FAILED:
            return
        await self._registry.move(agent, HibernationState.PROVISIONING, why=reasons.PROVISION)
        try:
            await self._hibernation.wakes.bring_up(agent, why=reasons.PROVISION)
        except Problem as problem:
            await self._clean_up(agent, problem)
            raise
        self._registry.touch(agent, ActivityKind.PROVISION)  # idle counts from here

    async def _claimed(self, agent: Agent, home: str) -> bool:
        """Store the claim of a spare and wake it. Returns whether it woke.

        If not, its container and state are removed, and the caller makes them as without a spare.
        Raises `Problem` where that would fail, too.
        """
        await self._registry.keep_claim(agent)
        self._memory.renamed(home, agent)
        self._gateway.renamed(home, agent.user_id)
        why = "its image or configuration changed"
        if await self._pool.is_current(agent):
            try:
                await self._hibernation.wakes.bring_up(agent, why=reasons.CLAIMED)
            except Problem as problem:
                if problem.code in _NOT_THE_SPARES:
                    raise
                why = problem.code
            else:
                self._registry.touch(agent, ActivityKind.PROVISION)
                self._registry.metrics.provisioned("claimed")
                return True
        self._registry.metrics.provisioned("failed")
        await self._registry.move(
            agent, HibernationState.PROVISIONING, why=reasons.claim_failed(why)
        )
        self._memory.ended(agent)
        agent.suspension_id = None
        with runtime_problems():
            await self._runtime.remove(agent.user_id, with_state=True)
        return False

    async def _clean_up(self, agent: Agent, problem: Problem) -> None:
        """Record failed provisioning and remove its container, if the runtime can.

        The user's state folder stays.
        """
        if agent.state is not HibernationState.FAILED:
            await self._registry.move(
                agent,
                HibernationState.FAILED,
                why=reasons.failed(problem.code),
                failure=problem.detail,
            )
        with contextlib.suppress(RuntimeFailed, RuntimeUnavailable):  # the next one replaces it
            await self._runtime.remove(agent.user_id, with_state=False)

    async def remove(self, user_id: str, *, with_state: bool) -> None:
        """Remove the container and the record; `with_state`: also the state and its copies.

        With `with_state` this also works without a record, to delete a folder that an earlier
        removal left behind. Raises `Problem`.
        """
        agent = self._registry.find(user_id)
        if agent is None and with_state and is_user_id(user_id):
            with runtime_problems():
                await self._runtime.remove(user_id, with_state=True)
                await self._states.forget(user_id)
            return
        agent = self._registry.get(user_id)
        await self._hibernation.transitions.run_locked(
            agent, lambda: self._remove(agent, with_state=with_state)
        )

    async def _remove(self, agent: Agent, *, with_state: bool) -> None:
        agent.access = None
        with runtime_problems():
            await self._hibernation.takeover.finish(agent)
            await self._runtime.remove(agent.user_id, with_state=with_state)
            if with_state:
                await self._states.forget(agent.user_id)
        self._memory.ended(agent)
        await self._registry.forget(agent, with_state=with_state)
        await self._tool_servers.remove_all(agent.user_id)

    async def revert(self, user_id: str) -> Agent:
        """Stop the agent and exchange its state for the copy that the host's OpenClaw can use.

        Raises `Problem`, also if there is no such copy.
        """
        agent = self._registry.get(user_id)
        await self._hibernation.transitions.run_locked(agent, lambda: self._revert(agent))
        return agent

    async def _revert(self, agent: Agent) -> None:
        if agent.removed:
            raise Problem(409, "agent-removed", "This agent was removed in the meantime.")
        with runtime_problems():
            await self._hibernation.takeover.finish(agent)
            copy = await self._states.copy_to_revert_to(agent)
            self._memory.ended(agent)
            await self._hibernation.suspender.force_stop(agent, why=reasons.REVERT)
            # Creating the next container makes its uid the owner of the exchanged state.
            await self._runtime.remove(agent.user_id, with_state=False)
        await self._states.revert(agent, copy)
        if agent.state is not HibernationState.STOPPED:
            await self._registry.move(agent, HibernationState.STOPPED, why=reasons.REVERT)

    async def stop_all(self) -> None:
        """Stop all agents, for `STOP_AGENTS_ON_EXIT`; errors are ignored."""

        async def stop(agent: Agent) -> None:
            async with agent.lock:
                await self._hibernation.suspender.force_stop(agent, why=reasons.SERVER_STOPS)

        agents = [*self._registry.all(), *self._registry.spares()]
        await asyncio.gather(*(stop(agent) for agent in agents), return_exceptions=True)

    async def logs(self, user_id: str, *, lines: int) -> str:
        agent = self._registry.get(user_id)
        with runtime_problems():
            return agent.without_secrets(await self._runtime.logs(user_id, lines=lines))
