"""The spares that are ready, and what is known of the demand for them."""

from collections import deque
from datetime import datetime, timedelta

from ocmt_common.agent_api import HibernationState

from ocmt_agent.clock import Clock
from ocmt_agent.decisions.spare_count import may_change_host
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.runtime.base import Observed, Runtime, RuntimeFailed, RuntimeUnavailable

_HOUR = timedelta(hours=1)


class _LastHour:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._times_s: deque[float] = deque(maxlen=100)

    def add(self) -> None:
        self._times_s.append(self._clock.monotonic())

    def count(self) -> int:
        since_s = self._clock.monotonic() - _HOUR.total_seconds()
        return sum(at_s >= since_s for at_s in self._times_s)


class SparePool:
    def __init__(self, runtime: Runtime, registry: AgentRegistry, *, clock: Clock) -> None:
        self._runtime = runtime
        self._registry = registry
        self._clock = clock
        self.arrivals = _LastHour(clock)
        """New users."""
        self.starts = _LastHour(clock)
        """Stopped agents that were woken."""
        self.making: Agent | None = None
        registry.metrics.follow_spares(
            lambda: len(self.ready()), lambda: len(self.ready(held=True))
        )

    def ready(self, *, held: bool = False) -> list[Agent]:
        """Those for new users, or with `held` those for stopped agents; longest asleep first.

        The memory of one that has slept for long is in swap.
        """
        found = [spare for spare in self._registry.spares() if spare.held == held]
        return sorted(filter(self._is_ready, found), key=lambda spare: spare.state_since)

    def take(self, user_id: str, *, agent_token: str) -> Agent | None:
        """Claim a spare for a new user, without an await; `None` if there is none.

        The caller stores the claim (`AgentRegistry.keep_claim`) with the agent's lock held.
        """
        self.arrivals.add()
        ready = self.ready()
        if not ready:
            self._registry.metrics.provisioned("none")
            return None
        self._registry.claim(ready[0], user_id, agent_token=agent_token)
        return ready[0]

    def take_for(self, agent: Agent, observed: Observed | None) -> Agent | None:
        """Take a held spare for a stopped agent, without an await; `None` if none can be used.

        `observed`: the agent's own container. The caller gives the spare back if it is not used.
        """
        self.starts.add()
        ready = self.ready(held=True)
        can_move = may_change_host(
            exit_code=None if observed is None else observed.exit_code,
            stopped_for=self._clock.now() - agent.state_since,
        )
        if not ready or not can_move:
            return None
        self._registry.take_spare(ready[0])
        return ready[0]

    def give_back(self, spare: Agent) -> None:
        """Put a spare that was taken for a stopped agent back among the others."""
        self._registry.reserve(spare)

    async def is_current(self, agent: Agent) -> bool:
        """Whether an agent has the image and the configuration that a new one would get."""
        try:
            if agent.openclaw != await self._runtime.openclaw_version():
                return False
            return await self._runtime.is_current(agent.spec())
        except (RuntimeFailed, RuntimeUnavailable):
            return False

    def stopped(self) -> int:
        """The number of users' agents that are stopped, and may be woken."""
        return sum(self._is_stopped(agent) for agent in self._registry.all())

    def demand(self) -> int:
        """How many stopped agents were woken in the last hour, or have a job within the next."""
        by = self._clock.now() + _HOUR
        due = sum(
            self._is_stopped(agent) and _is_due(agent, by=by) for agent in self._registry.all()
        )
        return max(due, self.starts.count())

    def _is_stopped(self, agent: Agent) -> bool:
        return agent.state is HibernationState.STOPPED and not agent.disabled

    def _is_ready(self, spare: Agent) -> bool:
        free = not spare.lock.locked() and spare.waking is None and not spare.removed
        return spare.state is HibernationState.PAUSED and free and spare is not self.making


def _is_due(agent: Agent, *, by: datetime) -> bool:
    return agent.next_job_at is not None and agent.next_job_at <= by
