"""The simulated agents and hosts."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from ocmt_agent.decisions.memory_admission import Candidate, HostFigures
from ocmt_agent.decisions.sleep_policy import Situation
from ocmt_agent.decisions.swap_reserve import Sleeper
from ocmt_common.agent_api import HibernationState

from simulation.scenario import HostSize

NEVER = float("inf")


def span(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


@dataclass(slots=True, eq=False)
class Agent:
    name: str
    host: "Host"
    messages: Iterator[tuple[float, float]]
    job_of_day: float | None
    state: HibernationState = HibernationState.STOPPED
    since: float = 0.0
    last_activity: float = 0.0
    in_flight: int = 0
    job_until: float = 0.0
    """When the running scheduled job ends; until then, its gateway refuses to sleep."""
    ram: int = 0
    swap: int = 0
    next_job: float = NEVER
    lead: float | None = None
    """Seconds before its next job at which the host's plan wakes the agent."""
    asleep_since: float = 0.0
    woken_for: float | None = None
    """The time of the job that the agent was woken for, until it sleeps again."""
    slept_stopped: bool = False
    look_at: float = NEVER
    waiting: list[tuple[float, float, int]] = field(default_factory=list)
    """Messages waiting for the wake in flight: when written, seconds of the turn, tries so far."""
    woken_from: HibernationState = HibernationState.STOPPED
    number: int = 0
    """The number of the wake in flight; queue entries of earlier wakes are void."""
    promised: int = 0

    @property
    def sleeps_in_swap(self) -> bool:
        return self.state is HibernationState.PAUSED and self.swap > self.ram

    def sleeper(self, now: float) -> Sleeper:
        return Sleeper(
            user_id=self.name,
            idle=span(now - self.last_activity),
            until_job=None if self.next_job == NEVER else span(self.next_job - now),
            swapped=self.swap,
        )

    def situation(self, now: float) -> Situation:
        job = self.next_job if self.woken_for is None else self.woken_for
        return Situation(
            state=self.state,
            idle=span(now - self.last_activity),
            in_state=span(now - self.since),
            in_flight=self.in_flight,
            until_job=None if job == NEVER else span(job - now),
            lead=None if self.lead is None else span(self.lead),
            asleep=span(now - self.asleep_since),
            woken_for_job=self.woken_for is not None,
            slept_stopped=self.slept_stopped,
            asleep_in_swap=self.sleeps_in_swap,
        )

    def candidate(self, now: float) -> Candidate:
        return Candidate(
            user_id=self.name,
            state=self.state,
            idle=span(now - self.last_activity),
            until_job=None if self.next_job == NEVER else span(self.next_job - now),
            # Work for which a gateway refuses to be suspended counts as a request in flight.
            in_flight=self.in_flight or int(self.job_until > now or self.woken_for is not None),
            never_sleeps=False,
            frees=self.ram,
        )


@dataclass(slots=True)
class Slots:
    """The slots for one kind of wakes, and the wakes that wait for a slot."""

    free: int
    waiting: list[tuple[int, int, Agent, int]] = field(default_factory=list)
    """A heap of need, arrival, agent, and number of its wake."""


@dataclass(slots=True, eq=False)
class Host:
    number: int
    size: HostSize
    boots: Slots
    thaws: Slots
    used: int = 0
    """Bytes of RAM that its agents take."""
    swapped: int = 0
    promised: int = 0
    disk_free_at: float = 0.0
    awake: "OrderedDict[Agent, None]" = field(default_factory=OrderedDict)
    """The awake agents, longest idle first: the order of evictions."""
    paused: "OrderedDict[Agent, None]" = field(default_factory=OrderedDict)
    jobs: list[tuple[float, Agent]] = field(default_factory=list)
    """Daily jobs, by their second of the day."""
    job_times: list[float] = field(default_factory=list)

    @property
    def available(self) -> int:
        return self.size.usable - self.used

    @property
    def swap_free(self) -> int:
        return self.size.swap - self.swapped

    def figures(self) -> HostFigures:
        return HostFigures(
            total=self.size.ram,
            available=self.available,
            swap_total=self.size.swap,
            swap_free=self.swap_free,
            stalled=None,
            swap_disk=self.size.swap,
        )

    def hold(self, agent: Agent, *, ram: int, swap: int) -> None:
        """Set an agent's bytes of RAM and swap."""
        self.used += ram - agent.ram
        self.swapped += swap - agent.swap
        agent.ram, agent.swap = ram, swap

    def place(self, agent: Agent) -> None:
        """Move an agent to the end of the list for its state."""
        self.awake.pop(agent, None)
        self.paused.pop(agent, None)
        if agent.state is HibernationState.RUNNING:
            self.awake[agent] = None
        elif agent.state is HibernationState.PAUSED:
            self.paused[agent] = None
