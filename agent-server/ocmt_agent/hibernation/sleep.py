"""Pauses or stops agents: with the gateway's consent, or by force."""

import asyncio
from contextlib import suppress
from typing import Literal

from ocmt_common.agent_api import HibernationState

from ocmt_agent.decisions import transition_reasons as reasons
from ocmt_agent.decisions.transition_reasons import TransitionReason
from ocmt_agent.hibernation.problems import runtime_problems
from ocmt_agent.hibernation.reconcile import Reconciler
from ocmt_agent.hibernation.suspend import CAME_IN, Suspender, came_in
from ocmt_agent.hibernation.transitions import TransitionRunner
from ocmt_agent.memory.manager import MemoryManager
from ocmt_agent.records.agent import Agent
from ocmt_agent.runtime.base import RuntimeFailed

Mode = Literal["pause", "stop"]
_FORCE_WAITS_S = 5.0
"""How long an order by force waits for a gateway that was not verified yet."""


class SleepTransitions:
    def __init__(
        self,
        transitions: TransitionRunner,
        reconciler: Reconciler,
        suspender: Suspender,
        memory: MemoryManager,
    ) -> None:
        self._transitions = transitions
        self._reconciler = reconciler
        self._suspender = suspender
        self._memory = memory

    async def sleep(
        self,
        agent: Agent,
        mode: Mode,
        *,
        why: TransitionReason,
        mark: int,
        ordered: bool = False,
        if_free: bool = False,
    ) -> bool:
        """Pause or stop an agent. Returns `False` if its gateway or a request keeps it awake.

        Also returns `True` if the agent is already in that state or a deeper one. `mark` is the
        value of `agent.activities` at the decision: later activity cancels the sleep. `if_free`:
        return `False` instead of waiting for a transition in flight.
        """

        async def sleep() -> bool:
            if if_free and agent.lock.locked():
                return False
            async with agent.lock:
                return await self._sleep(agent, mode, why=why, mark=mark, ordered=ordered)

        return await self._transitions.run(sleep())

    async def sleep_by_force(self, agent: Agent, mode: Mode) -> bool:
        """Pause or stop by an operator's order that no work holds up.

        The event names the work that was cut short. Returns `False` if the agent could not be
        frozen.
        """

        async def sleep() -> bool:
            with runtime_problems():
                observed = await self._reconciler.correct(agent)
                if agent.state is HibernationState.PAUSED and mode == "stop":
                    await self._suspender.stop(agent, why=reasons.FORCED)
                if agent.state is not HibernationState.RUNNING:
                    return True
                access = agent.access
                if access is None:
                    with suppress(RuntimeFailed, TimeoutError):
                        async with asyncio.timeout(_FORCE_WAITS_S):
                            access = await self._reconciler.open(agent, observed)
                cut = await self._suspender.suspended_by_force(agent, access)
                if mode == "pause":
                    return await self._suspender.pause(agent, access, why=reasons.forced(cut))
                await self._suspender.stop(agent, why=reasons.forced(cut))
            return True

        return await self._transitions.run_locked(agent, sleep)

    async def _sleep(
        self, agent: Agent, mode: Mode, *, why: TransitionReason, mark: int, ordered: bool
    ) -> bool:
        with runtime_problems():
            observed = await self._reconciler.correct(agent)
            if agent.state is HibernationState.RUNNING:
                access = agent.access or await self._reconciler.open(agent, observed)
                if not await self._suspender.suspended(agent, access, mark=mark, ordered=ordered):
                    return False
                if mode == "pause":
                    return await self._suspender.pause(agent, access, why=why)
                await self._suspender.stop(agent, why=why)
            elif agent.state is HibernationState.PAUSED and mode == "stop":
                if came_in(agent, mark):  # it is about to be woken
                    agent.blockers = [CAME_IN]
                    return False
                await self._suspender.stop(agent, why=why)
        return True

    async def force_stop(self, agent: Agent, *, why: TransitionReason) -> None:
        """Stop an agent without its gateway's consent."""

        async def stop() -> None:
            if not agent.removed:
                self._memory.ended(agent)
                await self._suspender.force_stop(agent, why=why)

        await self._transitions.run_locked(agent, stop)
