"""A day of users, long runs and jobs on the fakes, in steps of a fake clock.

The gateways follow OpenClaw's rules for jobs: a job due in a running gateway without a lease runs
once; one due in a frozen gateway runs late, after the thaw; one due in a stopped gateway is
rescheduled, so it is lost.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ocmt_agent.gateway.admin import Busy
from ocmt_agent.runtime.base import ContainerStatus

from ocmt_testing.agent_server.fake_runtime import FakeContainer
from ocmt_testing.agent_server.host import Host

STEP = timedelta(seconds=30)


@dataclass
class Run:
    """Work of a gateway, which is lost if its container does not run until its end."""

    user_id: str
    until: datetime
    registered: bool
    """Whether the gateway reports the work; otherwise only its CPU time shows it."""


@dataclass
class Day:
    host: Host
    jobs: dict[str, list[datetime]]
    """User id → due times of the scheduled jobs, ascending."""
    job_takes: timedelta = timedelta(minutes=3)
    ran: dict[tuple[str, datetime], timedelta] = field(default_factory=dict)
    """(User id, due time) → how late the job began."""
    lost: list[tuple[str, datetime]] = field(default_factory=list)
    doubled: list[tuple[str, datetime]] = field(default_factory=list)
    cut: list[Run] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    awake_for_nothing: list[tuple[str, datetime]] = field(default_factory=list)
    slack: timedelta = timedelta(minutes=40)
    """An agent idle for this long must sleep, unless a job is due within this time or it worked in
    the last quarter of it."""
    _step: int = 0
    _worked_at: dict[str, datetime] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        return self.host.clock.now()

    def work(self, user_id: str, lasts: timedelta, *, registered: bool) -> None:
        self.runs.append(Run(user_id, self.now + lasts, registered))

    def __post_init__(self) -> None:
        look = self.host.runtime.cpu_seconds

        async def cpu_seconds(user_id: str) -> float | None:
            # Two sweeps at the same fake time: let some real time pass between them.
            if any(self.host.gateway.home(run.user_id) == user_id for run in self.runs):
                self.host.runtime.containers[user_id].cpu_s += 0.4
            return await look(user_id)

        self.host.runtime.cpu_seconds = cpu_seconds  # type: ignore[method-assign]

    async def step(self) -> None:
        """Advance by half a minute; the server sweeps once a minute."""
        self.host.clock.advance(seconds=STEP.total_seconds())
        self._step += 1
        self._use_cpu()
        self._gateways()
        if self._step % 2 == 0:
            await self.host.sweep()
        self._gateways()
        self._look()

    def _gateways(self) -> None:
        control = self.host.gateway
        for run in list(self.runs):
            self._worked_at[run.user_id] = self.now
            if not self._serves(run.user_id):
                self.cut.append(run)
                self.runs.remove(run)
            elif run.until <= self.now:
                self.runs.remove(run)
        for user_id, due in self.jobs.items():
            while due and due[0] <= self.now and not self._sleeps(user_id):
                at = due.pop(0)
                if not self._serves(user_id):
                    self.lost.append((user_id, at))
                    continue
                if (user_id, at) in self.ran:
                    self.doubled.append((user_id, at))
                self.ran[user_id, at] = self.now - at
                self.work(user_id, self.job_takes, registered=True)
            if due:
                control.jobs[user_id] = due[0]
            else:
                control.jobs.pop(user_id, None)
        working = {run.user_id for run in self.runs if run.registered}
        control.busy = {user_id: Busy(["1 active run"], 20) for user_id in working}

    def _use_cpu(self) -> None:
        for run in self.runs:
            container = self._container(run.user_id)
            if container is not None and container.status is ContainerStatus.RUNNING:
                container.cpu_s += STEP.total_seconds() * 0.8

    def _container(self, user_id: str) -> FakeContainer | None:
        return self.host.runtime.containers.get(self.host.gateway.home(user_id))

    def _serves(self, user_id: str) -> bool:
        container = self._container(user_id)
        return container is not None and container.status is ContainerStatus.RUNNING

    def _sleeps(self, user_id: str) -> bool:
        container = self._container(user_id)
        if container is None or container.status is ContainerStatus.EXITED:
            return False
        return container.status is ContainerStatus.PAUSED or self.host.gateway.closed(user_id)

    def _look(self) -> None:
        for agent in self.host.parts.registry.all():
            due = self.jobs.get(agent.user_id) or []
            near = any(at - self.now < self.slack for at in due)
            worked_at = self._worked_at.get(agent.user_id)
            rested = worked_at is None or self.now - worked_at > self.slack / 4
            idle = self.now - agent.last_activity_at > self.slack
            if idle and rested and not near and self._serves(agent.user_id):
                self.awake_for_nothing.append((agent.user_id, self.now))
