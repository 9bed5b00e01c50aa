"""Frees memory for a wake by evicting other agents: pausing or stopping them."""

import asyncio
import itertools

import structlog
from ocmt_common.agent_api import HibernationState
from ocmt_common.problems import Problem

from ocmt_agent.clock import Clock
from ocmt_agent.decisions import transition_reasons as reasons
from ocmt_agent.decisions.memory_admission import Candidate, HostFigures, Relief, make_room
from ocmt_agent.hibernation.cpu_use import CpuUse
from ocmt_agent.hibernation.sleep import Mode, SleepTransitions
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.idle_clock import idle_time
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.runtime.base import RuntimeFailed, RuntimeUnavailable

log = structlog.get_logger(__name__)


class Evictions:
    """Never waits for an agent's lock, since it is called with another agent's lock held."""

    def __init__(
        self, registry: AgentRegistry, sleeps: SleepTransitions, cpu: CpuUse, *, clock: Clock
    ) -> None:
        self._registry = registry
        self._sleeps = sleeps
        self._cpu = cpu
        self._clock = clock

    async def choose(
        self, host: HostFigures, lacking: int, *, sparing: Agent
    ) -> list[tuple[Agent, Relief]]:
        """The agents to evict for `lacking` bytes, in order, without those that use CPU."""
        others = {a.user_id: a for a in self._registry.all() if a is not sparing and self._free(a)}
        chosen = make_room([self._candidate(a) for a in others.values()], host, lacking)
        agents = [others[eviction.user_id] for eviction in chosen]
        quiet = await asyncio.gather(*(self._cpu.quiet_now(agent) for agent in agents))
        pairs = zip(agents, (eviction.relief for eviction in chosen), strict=True)
        return list(itertools.compress(pairs, quiet))

    async def evict(self, agent: Agent, relief: Relief) -> bool:
        """Pause or stop an agent if its gateway and its requests permit. Returns whether it was."""
        mark = agent.activities
        mode: Mode = "pause" if relief is Relief.PAUSE else "stop"
        before = agent.state
        try:
            slept = await self._sleeps.sleep(
                agent, mode, why=reasons.PRESSURE, mark=mark, if_free=True
            )
        except (Problem, RuntimeFailed, RuntimeUnavailable) as error:
            log.warning("could not make room", user_id=agent.user_id, reason=str(error))
            return False
        if not slept or agent.state is before:
            return False
        self._registry.metrics.evicted(str(relief))
        return True

    def _free(self, agent: Agent) -> bool:
        """Whether the agent may be evicted: no transition in flight, no job, no recent refusal."""
        if agent.lock.locked() or agent.waking is not None or agent.woken_for is not None:
            return False
        if agent.state is HibernationState.RUNNING:
            return agent.access is not None and self._clock.monotonic() >= agent.ask_again_at
        return agent.state is HibernationState.PAUSED

    def _candidate(self, agent: Agent) -> Candidate:
        now = self._clock.now()
        return Candidate(
            user_id=agent.user_id,
            state=agent.state,
            idle=idle_time(agent, now=now),
            until_job=None if agent.next_job_at is None else agent.next_job_at - now,
            in_flight=agent.in_flight,
            never_sleeps=agent.wishes.never_sleep,
            frees=None if agent.memory is None else agent.memory.host,
        )
