"""Schedules wakes without a request: for jobs and at the beginning of office hours."""

from datetime import datetime

from ocmt_common.agent_api import HibernationState

from ocmt_agent.clock import Clock
from ocmt_agent.decisions.sleep_policy import WakeReason
from ocmt_agent.decisions.wake_lead_time import Job, plan
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.registry import AgentRegistry


class WakeSchedule:
    def __init__(self, registry: AgentRegistry, *, clock: Clock, cores: int) -> None:
        self._registry = registry
        self._clock = clock
        self._cores = cores
        self._begins: dict[str, datetime] = {}

    def plan(self) -> None:
        """Stagger the wakes of all enabled agents that do not run and have a next job."""
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
            cores=self._cores,
        )

    def job_wake_at(self, agent: Agent) -> datetime | None:
        """When the wake for the agent's next job begins, as last planned."""
        if agent.next_job_at is None:
            return None
        alone = agent.next_job_at - self._registry.wake_times.lead(agent.state)
        return min(alone, self._begins.get(agent.user_id, alone))

    def next_wake(self, agent: Agent) -> tuple[datetime, WakeReason] | None:
        """When a paused or stopped agent will be woken without a request, and why."""
        if agent.disabled or agent.state not in (
            HibernationState.PAUSED,
            HibernationState.STOPPED,
        ):
            return None
        now = self._clock.now()
        planned = [(at, WakeReason.JOB) for at in (self.job_wake_at(agent),) if at is not None]
        hours = agent.wishes.office_hours
        if hours is not None:
            planned.append((hours.next_start(now), WakeReason.OFFICE))
        return min(((max(at, now), reason) for at, reason in planned), default=None)
