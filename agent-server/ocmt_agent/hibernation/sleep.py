"""Pauses or stops agents: with the gateway's consent, or by force."""

from typing import Literal

from ocmt_common.agent_api import HibernationState

from ocmt_agent.decisions.transition_reasons import TransitionReason
from ocmt_agent.hibernation.problems import runtime_problems
from ocmt_agent.hibernation.reconcile import Reconciler
from ocmt_agent.hibernation.suspend import CAME_IN, Suspender, came_in
from ocmt_agent.hibernation.transitions import TransitionRunner
from ocmt_agent.memory.manager import MemoryManager
from ocmt_agent.records.agent import Agent

Mode = Literal["pause", "stop"]


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
