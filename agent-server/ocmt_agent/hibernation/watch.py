"""The engine's eyes: a look at everything each interval, and the runtime's own reports between.

Both only notice; what follows goes through the engine, agent by agent. One agent that is slow, or
that fails, holds up no other and never ends the watch.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog
from ocmt_common.problems import Problem

from ocmt_agent.agents.agent import Agent, CpuSample
from ocmt_agent.agents.registry import AgentRegistry
from ocmt_agent.hibernation.clock import Clock
from ocmt_agent.hibernation.engine import Hibernation
from ocmt_agent.hibernation.policy import Action, Situation, Times, decide
from ocmt_agent.hibernation.reconcile import correction
from ocmt_agent.runtime.base import Observed, Runtime, RuntimeFailed, RuntimeUnavailable

log = structlog.get_logger(__name__)

BUSY_CORES = 0.25
"""CPU an agent may use on average while it counts as idle; more means work nobody registered."""
_AT_ONCE = 8
_RECONNECT_S = 2.0


class Watch:
    def __init__(
        self,
        runtime: Runtime,
        registry: AgentRegistry,
        engine: Hibernation,
        *,
        clock: Clock,
        times: Times,
    ) -> None:
        self.problem: str | None = None
        """Why the runtime does not answer at the moment, and what to do."""
        self._runtime = runtime
        self._registry = registry
        self._engine = engine
        self._clock = clock
        self._times = times
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(group))
            while True:
                # Not awaited: a sweep held up by a slow agent must not delay the next look.
                group.create_task(self._sweep_safely())
                await asyncio.sleep(self._times.check_interval.total_seconds())

    async def sweep(self) -> None:
        """Compare every record with the runtime, act on what is due, write what changed."""
        try:
            observed = await self._runtime.observe_all()
        except (RuntimeUnavailable, RuntimeFailed) as error:
            self._went_away(error)
        else:
            self.problem = None
            async with asyncio.TaskGroup() as group:
                for agent in self._registry.all():
                    if not agent.lock.locked():
                        group.create_task(self._see_to(agent, observed.get(agent.user_id)))
        await self._registry.flush()

    async def _sweep_safely(self) -> None:
        try:
            await self.sweep()
        except Exception:
            log.exception("sweep failed")

    async def _see_to(self, agent: Agent, observed: Observed | None) -> None:
        async with self._slots:
            # A hint only (it is as old as the list): the engine reads the container afresh.
            if correction(agent.state, observed) is not None:
                await self._guarded(agent, self._engine.settle(agent))
            await self._guarded(agent, self._act(agent))

    async def _guarded(self, agent: Agent, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (Problem, RuntimeUnavailable, RuntimeFailed) as error:
            log.warning("watch of an agent", user_id=agent.user_id, reason=str(error))
        except Exception:
            log.exception("watch of an agent failed", user_id=agent.user_id)

    async def _act(self, agent: Agent) -> None:
        mark = agent.activities
        match decide(self._situation(agent), self._times):
            case Action.PAUSE:
                if self._clock.monotonic() >= agent.ask_again_at and await self._quiet(agent):
                    await self._engine.sleep(agent, "pause", why="idle", mark=mark)
            case Action.STOP:
                await self._engine.sleep(agent, "stop", why="paused for long", mark=mark)
            case Action.WAKE:
                await self._engine.wake(agent, why="scheduled job")
            case Action.NOTHING:
                agent.cpu = None
                agent.blockers = []

    def _situation(self, agent: Agent) -> Situation:
        now = self._clock.now()
        return Situation(
            state=agent.state,
            idle=now - agent.last_activity_at,
            in_state=now - agent.state_since,
            in_flight=agent.in_flight,
            until_job=None if agent.next_job_at is None else agent.next_job_at - now,
        )

    async def _quiet(self, agent: Agent) -> bool:
        """Whether it used little CPU since the last look; the first look only takes the sample."""
        used_s = await self._runtime.cpu_seconds(agent.user_id)
        if used_s is None:
            return True
        before, now_s = agent.cpu, self._clock.monotonic()
        agent.cpu = CpuSample(used_s, now_s)
        if before is None or now_s <= before.at_s:
            return False
        cores = (used_s - before.used_s) / (now_s - before.at_s)
        if cores <= BUSY_CORES:
            return True
        agent.blockers = [f"it uses {cores:.1f} CPU cores for something its gateway does not know"]
        return False

    async def _listen(self, group: asyncio.TaskGroup) -> None:
        while True:
            try:
                async for event in self._runtime.events():
                    agent = self._registry.find(event.user_id)
                    if agent is not None:
                        group.create_task(self._guarded(agent, self._engine.settle(agent)))
                reason: Exception = RuntimeUnavailable("The runtime ended its reports.")
            except (RuntimeUnavailable, RuntimeFailed) as error:
                reason = error
            except Exception as error:
                log.exception("runtime's reports failed")
                reason = error
            await asyncio.sleep(_RECONNECT_S)
            log.info("listening to the runtime again", after=str(reason))
            await self._sweep_safely()  # what was reported meanwhile is lost: look

    def _went_away(self, error: Exception) -> None:
        if self.problem is None:
            log.error("runtime does not answer", reason=str(error))
        self.problem = str(error)
