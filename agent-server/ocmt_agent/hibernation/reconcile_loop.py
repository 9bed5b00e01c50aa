"""The engine's eyes: a look at everything each interval, and the runtime's own reports between.

Both only notice; what follows goes through the engine, agent by agent. One agent that is slow, or
that fails, holds up no other and never ends the watch.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from ocmt_common.agent_api import Actor, HibernationState
from ocmt_common.problems import Problem

from ocmt_agent.clock import Clock
from ocmt_agent.decisions import transition_reasons as cause
from ocmt_agent.decisions.drift import correction, half_asleep, is_news
from ocmt_agent.decisions.sleep_policy import (
    Action,
    Reason,
    Rest,
    Situation,
    Times,
    clock_jump,
    decide,
    rest_reason,
    wake_reason,
)
from ocmt_agent.decisions.transition_reasons import Cause
from ocmt_agent.decisions.wake_lead_time import Job, plan
from ocmt_agent.hibernation.engine import (
    AWAKE_OR_PAUSED,
    BUSY_CORES,
    CPU_LOOK_S,
    Hibernation,
    Mode,
)
from ocmt_agent.records.agent import Agent, CpuSample
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.runtime.base import Runtime, RuntimeFailed, RuntimeUnavailable

log = structlog.get_logger(__name__)

_AT_ONCE = 8
_RECONNECT_S = 2.0
_FIRST_WAIT_S = 30.0
"""Between two wakes of one agent by itself that led to no sleep; doubled each time."""
_MOST_WAIT_S = 3600.0
_READ_JOBS_EVERY_S = 600.0


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
        self._begins: dict[str, datetime] = {}
        self._looked = (clock.now(), clock.monotonic())

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
        self._mind_the_clock()
        try:
            observed = await self._runtime.observe_all()
        except (RuntimeUnavailable, RuntimeFailed) as error:
            self._went_away(error)
        else:
            self.problem = None
            self._plan()
            async with asyncio.TaskGroup() as group:
                # Most agents need nothing, and cost no task.
                for agent in self._registry.all():
                    if agent.lock.locked() or agent.waking is not None:
                        continue
                    # A hint only (as old as the list): the engine reads the container afresh.
                    wrong = correction(agent.state, observed.get(agent.user_id)) is not None
                    runs = agent.state in AWAKE_OR_PAUSED
                    broken_off = half_asleep(agent.state, agent.suspension_id)
                    if wrong or broken_off or (agent.disabled and runs):
                        group.create_task(self._put_right(agent))
                    else:
                        self._act(agent, group)
        await self._registry.flush()
        await self._registry.tidy()

    async def _sweep_safely(self) -> None:
        try:
            await self.sweep()
        except Exception:
            log.exception("sweep failed")

    def next_wake(self, agent: Agent) -> tuple[datetime, Reason] | None:
        """When the agent will be woken by itself, as planned now, and what for."""
        if agent.disabled or agent.state not in (
            HibernationState.PAUSED,
            HibernationState.STOPPED,
        ):
            return None
        now = self._clock.now()
        planned = [(at, Reason.JOB) for at in (self._job_wake_at(agent),) if at is not None]
        hours = agent.wishes.office_hours
        if hours is not None:
            planned.append((hours.next_start(now), Reason.OFFICE))
        return min(((max(at, now), reason) for at, reason in planned), default=None)

    def _job_wake_at(self, agent: Agent) -> datetime | None:
        if agent.next_job_at is None:
            return None
        alone = agent.next_job_at - self._registry.wake_times.lead(agent.state)
        return min(alone, self._begins.get(agent.user_id, alone))

    def _plan(self) -> None:
        """Stagger the wakes for scheduled jobs of all who sleep."""
        self._begins = plan(
            (
                Job(
                    agent.user_id,
                    agent.next_job_at,
                    self._registry.wake_times.lead(agent.state),
                    cold=agent.state is not HibernationState.PAUSED,
                )
                for agent in self._registry.all()
                if agent.next_job_at is not None
                and agent.state is not HibernationState.RUNNING
                and not agent.disabled
            ),
            cores=self._engine.cores,
        )

    def _mind_the_clock(self) -> None:
        """After a jump of the wall clock, idle times go on as if there had been none."""
        now, now_s = self._clock.now(), self._clock.monotonic()
        jump = clock_jump(now - self._looked[0], now_s - self._looked[1])
        self._looked = (now, now_s)
        if jump is not None:
            log.warning("the wall clock jumped", by_s=jump.total_seconds())
            self._registry.shift_times(jump)

    async def _put_right(self, agent: Agent) -> None:
        async with self._slots:
            await self._guarded(agent, partial(self._engine.settle, agent))
            async with asyncio.TaskGroup() as group:
                self._act(agent, group)

    async def _guarded(self, agent: Agent, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            await work()
        except (Problem, RuntimeUnavailable, RuntimeFailed) as error:
            log.warning("watch of an agent", user_id=agent.user_id, reason=str(error))
        except Exception:
            log.exception("watch of an agent failed", user_id=agent.user_id)

    def _act(self, agent: Agent, group: asyncio.TaskGroup) -> None:
        if agent.disabled:
            return
        situation = self._situation(agent)
        match decide(situation, self._times):
            case Action.WAKE:
                reason = wake_reason(situation, self._times)
                if reason is not None and self._clock.monotonic() >= agent.wake_again_at:
                    # Not in the watch's slots: the engine has its own queue for wakes.
                    group.create_task(self._guarded(agent, partial(self._wake, agent, reason)))
            case Action.PAUSE | Action.STOP as action:
                mode: Mode = "pause" if action is Action.PAUSE else "stop"
                if agent.state is HibernationState.RUNNING:
                    reason_to_rest = rest_reason(situation, self._times)
                    why = cause.RESTS[reason_to_rest or Rest.IDLE]
                    if self._clock.monotonic() < agent.ask_again_at:
                        return
                else:
                    why = cause.PAUSED_FOR_LONG
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

    async def _sleep(self, agent: Agent, mode: Mode, why: Cause, mark: int) -> None:
        if agent.state is not HibernationState.RUNNING or await self._quiet(agent):
            await self._engine.sleep(agent, mode, why=why, mark=mark)

    async def _wake(self, agent: Agent, reason: Reason) -> None:
        agent.self_wakes += 1
        wait = timedelta(seconds=min(_MOST_WAIT_S, _FIRST_WAIT_S * 2 ** (agent.self_wakes - 1)))
        agent.wake_again_at = self._clock.monotonic() + wait.total_seconds()
        job_at = agent.next_job_at if reason is Reason.JOB else None
        agent.woken_for = job_at  # before: it must not be put to sleep again on the way
        try:
            await self._engine.wake(agent, why=cause.WAKES[reason])
        except Problem as problem:
            agent.woken_for = None
            if problem.code in ("host-full", "runtime-unavailable"):  # no fault of the agent's
                agent.self_wakes -= 1
            raise
        if job_at is not None:
            late = (self._clock.now() - job_at).total_seconds()
            self._registry.metrics.woke_for_job(late_s=max(0.0, late))

    def _jobs_unknown(self, agent: Agent) -> bool:
        """Whether what we know of an awake agent's jobs is old: should it crash, we wake it."""
        age_s = self._clock.monotonic() - agent.jobs_read_at
        return agent.access is not None and age_s >= _READ_JOBS_EVERY_S

    async def _read_jobs(self, agent: Agent) -> None:
        agent.jobs_read_at = self._clock.monotonic()
        await self._engine.read_jobs(agent)

    def _situation(self, agent: Agent) -> Situation:
        now = self._clock.now()
        job_at = agent.woken_for or agent.next_job_at
        hours = agent.wishes.office_hours
        office_since = None if hours is None else hours.since(now)
        wake_at = self._job_wake_at(agent)
        return Situation(
            state=agent.state,
            idle=now - agent.last_activity_at,
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
            wishes=agent.wishes,
        )

    async def _quiet(self, agent: Agent) -> bool:
        """Whether it used little CPU since the last look; the first look only takes the sample."""
        used_s = await self._runtime.cpu_seconds(agent.user_id)
        if used_s is None:
            return True
        before, now_s = agent.cpu, self._clock.monotonic()
        if before is not None and now_s - before.at_s < CPU_LOOK_S:
            return False  # two looks at once: the earlier one's sample is the one to measure from
        agent.cpu = CpuSample(used_s, now_s)
        if before is None:
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
                    if agent is not None and is_news(agent.state, event.kind):
                        group.create_task(self._guarded(agent, partial(self._engine.settle, agent)))
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
