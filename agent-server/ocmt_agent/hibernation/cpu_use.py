"""Measures whether an agent is quiet: work that its gateway does not report still uses CPU."""

import asyncio

from ocmt_common.agent_api import HibernationState

from ocmt_agent.clock import Clock
from ocmt_agent.records.agent import Agent, CpuSample
from ocmt_agent.runtime.base import Runtime, RuntimeFailed, RuntimeUnavailable

BUSY_CORES = 0.25
"""CPU use, in cores, above which an agent has work that its gateway does not report."""
CPU_LOOK_S = 0.5
"""The shortest time over which CPU use is measured."""


class CpuUse:
    def __init__(self, runtime: Runtime, *, clock: Clock) -> None:
        self._runtime = runtime
        self._clock = clock

    async def quiet_now(self, agent: Agent) -> bool:
        """Whether the agent uses at most `BUSY_CORES`, measured over `CPU_LOOK_S` from now.

        `True` if its CPU time is unreadable, `False` if the runtime fails.
        """
        if agent.state is not HibernationState.RUNNING:
            return True
        try:
            before = await self._runtime.cpu_seconds(agent.user_id)
            await asyncio.sleep(CPU_LOOK_S)
            after = await self._runtime.cpu_seconds(agent.user_id)
        except (RuntimeFailed, RuntimeUnavailable):
            return False
        return before is None or after is None or after - before <= BUSY_CORES * CPU_LOOK_S

    async def quiet_since_last_sample(self, agent: Agent) -> bool:
        """Whether the agent used at most `BUSY_CORES` since the last sample.

        `True` if its CPU time is unreadable, `False` without a sample or within `CPU_LOOK_S` of it.
        If it used more, stores that in `agent.blockers`.
        """
        used_s = await self._runtime.cpu_seconds(agent.user_id)
        if used_s is None:
            return True
        before, now_s = agent.cpu, self._clock.monotonic()
        if before is not None and now_s - before.at_s < CPU_LOOK_S:
            return False  # two sweeps at once: keep measuring from the earlier one's sample
        agent.cpu = CpuSample(used_s, now_s)
        if before is None:
            return False
        cores = (used_s - before.used_s) / (now_s - before.at_s)
        if cores <= BUSY_CORES:
            return True
        agent.blockers = [f"it uses {cores:.1f} CPU cores for work its gateway does not report"]
        return False
