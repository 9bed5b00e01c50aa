"""Reconciles all agents with the runtime in each sweep, and one agent at each runtime event.

A sweep also applies the sleep policy to each agent. A slow agent or a failed transition neither
delays other agents nor ends the loop.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from ocmt_common.agent_api import Actor, HibernationState
from ocmt_common.problems import Problem

from ocmt_agent.clock import Clock
from ocmt_agent.decisions import transition_reasons as reasons
from ocmt_agent.decisions.drift import correction, half_asleep, is_news
from ocmt_agent.decisions.sleep_policy import (
    Action,
    Situation,
    SleepReason,
    Times,
    WakeReason,
    clock_jump,
    decide,
    sleep_reason,
    wake_reason,
)
from ocmt_agent.decisions.swap_reserve import Sleeper, stop_for_swap
from ocmt_agent.decisions.transition_reasons import TransitionReason
from ocmt_agent.hibernation.cpu_use import CpuUse
from ocmt_agent.hibernation.reconcile import Reconciler
from ocmt_agent.hibernation.sleep import Mode, SleepTransitions
from ocmt_agent.hibernation.suspend import AWAKE_OR_PAUSED
from ocmt_agent.hibernation.wake import WakeTransitions
from ocmt_agent.hibernation.wake_admission import HostReader
from ocmt_agent.hibernation.wake_schedule import WakeSchedule
from ocmt_agent.memory.manager import MemoryManager
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.idle_clock import idle_time
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.runtime.base import Runtime, RuntimeFailed, RuntimeUnavailable

log = structlog.get_logger(__name__)

_AT_ONCE = 8
_RECONNECT_S = 2.0
_FIRST_WAIT_S = 30.0
"""Delay between scheduled wakes of an agent that has not slept in between; doubled each time."""
_MOST_WAIT_S = 3600.0
_READ_JOBS_EVERY_S = 600.0


class ReconcileLoop:
    def __init__(
        self,
        *,
        runtime: Runtime,
        registry: AgentRegistry,
        wakes: WakeTransitions,
        sleeps: SleepTransitions,
        reconciler: Reconciler,
        schedule: WakeSchedule,
        memory: MemoryManager,
        cpu: CpuUse,
        read_host: HostReader,
        clock: Clock,
        times: Times,
    ) -> None:
        self.problem: str | None = None
        """Why the runtime does not answer now, and what to do; `None` if it does."""
        self._runtime = runtime
        self._registry = registry
        self._wakes = wakes
        self._sleeps = sleeps
        self._reconciler = reconciler
        self._schedule = schedule
        self._memory = memory
        self._read_host = read_host
        self._host = read_host()
        self._cpu = cpu
        self._clock = clock
        self._times = times
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._looked = (clock.now(), clock.monotonic())

    async def run(self) -> None:
        """Sweep at every interval, and follow the runtime's events, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(group))
            while True:
                # Not awaited, so that a sweep with a slow agent does not delay the next one.
                group.create_task(self._sweep_safely())
                await asyncio.sleep(self._times.check_interval.total_seconds())

    async def sweep(self) -> None:
        """Reconcile all agents, start the transitions that are due, and write changed records."""
        self._shift_after_clock_jump()
        try:
            observed = await self._runtime.observe_all()
        except (RuntimeUnavailable, RuntimeFailed) as error:
            self._went_away(error)
        else:
            self.problem = None
            self._host = self._read_host()
            self._schedule.plan()
            async with asyncio.TaskGroup() as group:
                # Most agents need nothing, so no task is started for them.
                for agent in self._registry.all():
                    if agent.lock.locked() or agent.waking is not None:
                        continue
                    # The list may be outdated: the transition inspects the container again.
                    wrong = correction(agent.state, observed.get(agent.user_id)) is not None
                    runs = agent.state in AWAKE_OR_PAUSED
                    cut_short = half_asleep(agent.state, agent.suspension_id)
                    if wrong or cut_short or (agent.disabled and runs):
                        group.create_task(self._put_right(agent))
                    else:
                        self._act(agent, group)
                for agent in self._to_stop_for_swap():
                    group.create_task(self._in_turn(agent, partial(self._stop_for_swap, agent)))
        await self._registry.flush()
        await self._registry.tidy()

    async def _sweep_safely(self) -> None:
        try:
            await self.sweep()
        except Exception:
            log.exception("sweep failed")

    def _shift_after_clock_jump(self) -> None:
        """After a jump of the wall clock, shift the records' times, to keep durations unchanged."""
        now, now_s = self._clock.now(), self._clock.monotonic()
        jump = clock_jump(now - self._looked[0], now_s - self._looked[1])
        self._looked = (now, now_s)
        if jump is not None:
            log.warning("the wall clock jumped", by_s=jump.total_seconds())
            self._registry.shift_times(jump)

    async def _put_right(self, agent: Agent) -> None:
        async with self._slots:
            await self._guarded(agent, partial(self._reconciler.settle, agent))
            async with asyncio.TaskGroup() as group:
                self._act(agent, group)

    async def _guarded(self, agent: Agent, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            await work()
        except (Problem, RuntimeUnavailable, RuntimeFailed) as error:
            log.warning("reconciling an agent", user_id=agent.user_id, reason=str(error))
        except Exception:
            log.exception("reconciling an agent failed", user_id=agent.user_id)

    def _act(self, agent: Agent, group: asyncio.TaskGroup) -> None:
        if agent.disabled:
            return
        situation = self._situation(agent)
        match decide(situation, self._times):
            case Action.WAKE:
                reason = wake_reason(situation, self._times)
                if reason is not None and self._clock.monotonic() >= agent.wake_again_at:
                    # Outside of the loop's slots, since wakes have a queue of their own.
                    group.create_task(self._guarded(agent, partial(self._wake, agent, reason)))
            case Action.PAUSE | Action.STOP as action:
                mode: Mode = "pause" if action is Action.PAUSE else "stop"
                if agent.state is HibernationState.RUNNING:
                    sleep_because = sleep_reason(situation, self._times)
                    why = reasons.SLEEPS[sleep_because or SleepReason.IDLE]
                    if self._clock.monotonic() < agent.ask_again_at:
                        return
                else:
                    why = reasons.PAUSED_FOR_LONG
                sleep = partial(self._sleep, agent, mode, why, agent.activities)
                group.create_task(self._in_turn(agent, sleep))
            case Action.NOTHING:
                agent.cpu = None
                agent.blockers = []
                if self._jobs_unknown(agent):
                    group.create_task(self._in_turn(agent, partial(self._read_jobs, agent)))

    async def _in_turn(self, agent: Agent, work: Callable[[], Awaitable[Any]]) -> None:
        async with self._slots:
            await self._guarded(agent, work)

    async def _sleep(self, agent: Agent, mode: Mode, why: TransitionReason, mark: int) -> None:
        if agent.state is not HibernationState.RUNNING or await self._cpu.quiet_since_last_sample(
            agent
        ):
            await self._sleeps.sleep(agent, mode, why=why, mark=mark)

    def _to_stop_for_swap(self) -> list[Agent]:
        """The sleepers to stop because swap is short; none where STOP_AFTER_MS was set."""
        host = self._host
        if host is None or host.swap_disk == 0 or not self._times.stop_by_need:
            return []
        paused = {a.user_id: a for a in self._registry.all() if self._could_stop_for_swap(a)}
        now = self._clock.now()
        sleepers = [
            Sleeper(
                user_id=agent.user_id,
                idle=idle_time(agent, now=now),
                until_job=None if agent.next_job_at is None else agent.next_job_at - now,
                swapped=0 if agent.memory is None else agent.memory.swap,
            )
            for agent in paused.values()
        ]
        return [paused[user_id] for user_id in stop_for_swap(sleepers, host)]

    def _could_stop_for_swap(self, agent: Agent) -> bool:
        free = not agent.lock.locked() and agent.waking is None and agent.in_flight == 0
        return agent.state is HibernationState.PAUSED and free and not agent.wishes.never_sleep

    async def _stop_for_swap(self, agent: Agent) -> None:
        if self._could_stop_for_swap(agent):
            why, mark = reasons.SWAP_SHORT, agent.activities
            await self._sleeps.sleep(agent, "stop", why=why, mark=mark, if_free=True)

    async def _wake(self, agent: Agent, reason: WakeReason) -> None:
        agent.self_wakes += 1
        wait = timedelta(seconds=min(_MOST_WAIT_S, _FIRST_WAIT_S * 2 ** (agent.self_wakes - 1)))
        agent.wake_again_at = self._clock.monotonic() + wait.total_seconds()
        job_at = agent.next_job_at if reason is WakeReason.JOB else None
        agent.woken_for = job_at  # before the wake, so that nothing puts it to sleep on the way
        try:
            await self._wakes.wake(agent, why=reasons.WAKES[reason])
        except Problem as problem:
            agent.woken_for = None
            if problem.code in ("host-full", "runtime-unavailable"):  # not the agent's fault
                agent.self_wakes -= 1
            raise
        if job_at is not None:
            late = (self._clock.now() - job_at).total_seconds()
            self._registry.metrics.woke_for_job(late_s=max(0.0, late))

    def _jobs_unknown(self, agent: Agent) -> bool:
        """Whether to read the next job again, to wake the agent for it even after a crash."""
        age_s = self._clock.monotonic() - agent.jobs_read_at
        return agent.access is not None and age_s >= _READ_JOBS_EVERY_S

    async def _read_jobs(self, agent: Agent) -> None:
        agent.jobs_read_at = self._clock.monotonic()
        await self._reconciler.read_jobs(agent)

    def _situation(self, agent: Agent) -> Situation:
        now = self._clock.now()
        job_at = agent.woken_for or agent.next_job_at
        hours = agent.wishes.office_hours
        office_since = None if hours is None else hours.since(now)
        wake_at = self._schedule.job_wake_at(agent)
        return Situation(
            state=agent.state,
            idle=idle_time(agent, now=now),
            in_state=now - agent.state_since,
            asleep=now - (agent.asleep_since or agent.state_since),
            in_flight=agent.in_flight,
            until_job=None if job_at is None else job_at - now,
            lead=None
            if wake_at is None or agent.next_job_at is None
            else agent.next_job_at - wake_at,
            woken_for_job=agent.woken_for is not None,
            slept_stopped=agent.rests_as is HibernationState.STOPPED,
            office_for=None if office_since is None else now - office_since,
            ordered=agent.state_who is Actor.OPERATOR,
            asleep_in_swap=self._sleeps_in_swap(agent),
            wishes=agent.wishes,
        )

    def _sleeps_in_swap(self, agent: Agent) -> bool:
        host = self._host
        on_disk = host is not None and host.swap_disk > 0
        paused = agent.state is HibernationState.PAUSED
        return on_disk and paused and self._memory.sleeps_in_swap(agent)

    async def _listen(self, group: asyncio.TaskGroup) -> None:
        while True:
            try:
                async for event in self._runtime.events():
                    agent = self._registry.find(event.user_id)
                    if agent is not None and is_news(agent.state, event.kind):
                        group.create_task(
                            self._guarded(agent, partial(self._reconciler.settle, agent))
                        )
                reason: Exception = RuntimeUnavailable("The runtime ended its event stream.")
            except (RuntimeUnavailable, RuntimeFailed) as error:
                reason = error
            except Exception as error:
                log.exception("following the runtime's events failed")
                reason = error
            await asyncio.sleep(_RECONNECT_S)
            log.info("listening to the runtime again", after=str(reason))
            await self._sweep_safely()  # events in between are lost

    def _went_away(self, error: Exception) -> None:
        if self.problem is None:
            log.error("runtime does not answer", reason=str(error))
        self.problem = str(error)
