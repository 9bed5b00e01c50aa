"""Lets a stopped agent go on in a spare whose gateway is held before it reads its state.

The agent takes over all that the spare's container was made with: its home, its number and with it
its uid, and its tokens. Its own state is moved there. From when that is stored, the agent has the
spare's container, whatever happens: with `old_home` until its state has been moved, and with a boot
if the held gateway does not come up.
"""

from typing import Protocol

import structlog
from ocmt_common.agent_api import HibernationState
from ocmt_common.problems import Problem

from ocmt_agent.gateway.control import GatewayControl
from ocmt_agent.hibernation.spare_pool import SparePool
from ocmt_agent.memory.manager import MemoryManager
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.runtime.base import Observed, Runtime, RuntimeFailed, RuntimeUnavailable
from ocmt_agent.runtime.held_gateway import are_on_one_disk

log = structlog.get_logger(__name__)


class HomesRuntime(Runtime, Protocol):
    async def discard(self, home: str) -> None: ...


class Takeover:
    def __init__(
        self,
        runtime: HomesRuntime,
        registry: AgentRegistry,
        memory: MemoryManager,
        gateway: GatewayControl,
        pool: SparePool,
    ) -> None:
        self._runtime = runtime
        self._registry = registry
        self._memory = memory
        self._gateway = gateway
        self._pool = pool

    async def claim(self, agent: Agent, observed: Observed | None) -> bool:
        """With the lock held, and no container that runs: give the agent a spare's container.

        Returns `False`, and nothing has changed, if there is none that can be used. The caller
        finishes the move.
        """
        spare = self._pool.take_for(agent, observed)
        if spare is None:
            return False
        try:
            # So that no look at the spares corrects or removes it meanwhile.
            async with spare.lock:
                if not await self._can_use(spare, agent):
                    return False
                await self._registry.move_into(agent, spare)
        except Problem:
            return False  # the database does not work; a boot does not need it
        finally:
            if not spare.removed:
                self._pool.give_back(spare)
        agent.suspension_id = None
        agent.memory, agent.paused_memory = spare.memory, spare.paused_memory
        self._memory.renamed(spare.user_id, agent)
        self._gateway.renamed(spare.user_id, agent.user_id)
        return True

    async def _can_use(self, spare: Agent, agent: Agent) -> bool:
        # The state was prepared before the wait for memory; the image may have changed since.
        if spare.openclaw != agent.openclaw:
            return False
        homes = self._runtime.home(spare.user_id), self._runtime.home(agent.user_id)
        asleep = spare.state is HibernationState.PAUSED
        return asleep and are_on_one_disk(*homes) and await self._pool.is_current(spare)

    async def move_state(self, agent: Agent) -> None:
        """Move the agent's state to its container, whose gateway then reads it.

        Raises the runtime's errors.
        """
        if agent.old_home is not None:
            await self._runtime.inherit(agent.spec(), agent.old_home)

    async def finish(self, agent: Agent) -> None:
        """With the lock held: complete a move, also one that was cut short.

        Raises the runtime's errors.
        """
        if agent.old_home is None:
            return
        await self.move_state(agent)
        await self._runtime.discard(agent.old_home)
        await self._registry.moved(agent)

    async def leave_old_home(self, agent: Agent) -> None:
        """Remove the home of an agent whose state was moved. Needs no lock.

        What fails is done by the next look at the spares, or the next wake.
        """
        home = agent.old_home
        if home is None:
            return
        try:
            await self._runtime.discard(home)
        except (RuntimeFailed, RuntimeUnavailable) as error:
            log.warning("old home not removed", user_id=agent.user_id, reason=str(error))
            return
        if agent.old_home == home and not agent.removed:
            await self._registry.moved(agent)

    async def tidy(self, agent: Agent) -> None:
        """`finish` where it can wait: what fails is done later."""
        if agent.removed:
            return
        try:
            await self.finish(agent)
        except (RuntimeFailed, RuntimeUnavailable) as error:
            log.warning("move not finished", user_id=agent.user_id, reason=str(error))
