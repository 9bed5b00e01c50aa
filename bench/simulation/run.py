"""The event loop of the simulation.

Agents are not examined in every sweep, but only in the first at which the policy could decide
otherwise.
"""

import heapq
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from datetime import UTC, datetime
from enum import IntEnum
from itertools import islice

from ocmt_agent.decisions.memory_admission import Relief, make_room, need_bytes, short_by
from ocmt_agent.decisions.sleep_policy import JOB_GRACE, Action, decide, default_lead
from ocmt_agent.decisions.swap_reserve import stop_for_swap, swap_reserve
from ocmt_agent.decisions.wake_lead_time import Job, plan
from ocmt_agent.hibernation.wake_queue import THAW_SLOTS, Need
from ocmt_common.agent_api import HibernationState

from simulation import people as habits
from simulation.outcome import Outcome
from simulation.people import DAY_S
from simulation.scenario import Scenario
from simulation.world import NEVER, Agent, Host, Slots

_PLAN_EVERY_S = 300.0
_PLAN_AHEAD_S = 1200.0
_BUSY_RETRY_S = 20.0
"""Seconds until the next attempt to suspend a busy gateway, as OpenClaw reports."""
_TRIES = 6
_LATE_S = 60.0
_SHOWN_FIRST = 16
_STOPPED_OF = 64
"""Of so many agents, the longest paused, some are stopped when swap is short."""

Progress = Callable[[float], None]
RUNNING, PAUSED, STOPPED, WAKING = (
    HibernationState.RUNNING,
    HibernationState.PAUSED,
    HibernationState.STOPPED,
    HibernationState.WAKING,
)


class Kind(IntEnum):
    """The kinds of events; simultaneous ones happen in this order."""

    DONE = 0
    WOKEN = 1
    JOB = 2
    WRITTEN = 3
    GIVE_UP = 4
    PLAN = 5
    LOOK = 6


class Simulation:
    def __init__(self, scenario: Scenario) -> None:
        self.outcome = Outcome()
        self._scenario = scenario
        self._times = scenario.times
        self._interval = scenario.times.check_interval.total_seconds()
        self._now = 0.0
        self._arrivals = 0
        self._heap: list[tuple[float, int, int, object, tuple[float, ...]]] = []
        self.hosts = [
            Host(number, scenario.host, Slots(scenario.host.cores), Slots(THAW_SLOTS))
            for number in range(scenario.hosts)
        ]
        self._end = scenario.days * DAY_S
        self.agents = [self._settle_in(number) for number in range(scenario.people.count)]
        for host in self.hosts:
            host.jobs.sort(key=lambda job: (job[0], job[1].name))
            host.job_times = [at for at, _ in host.jobs]
            self._at(0.0, Kind.PLAN, host)

    def run(self, progress: Progress = lambda _: None) -> Outcome:
        """Run the simulation. Calls `progress` with the second once per simulated hour."""
        handlers = {
            Kind.DONE: self._done,
            Kind.WOKEN: self._woken,
            Kind.JOB: self._job,
            Kind.WRITTEN: self._written,
            Kind.GIVE_UP: self._give_up,
            Kind.PLAN: self._plan,
            Kind.LOOK: self._look,
        }
        by_kind = [handlers[kind] for kind in Kind]
        hour = 0.0
        while self._heap:
            self._now, kind, _, subject, details = heapq.heappop(self._heap)
            if self._now >= self._end:
                break
            if self._now >= hour:
                progress(self._now)
                hour += 3600.0
            by_kind[kind](subject, *details)  # type: ignore[operator]
        return self.outcome

    def _settle_in(self, number: int) -> Agent:
        scenario = self._scenario
        people, seed = scenario.people, scenario.seed
        chance = habits.of(number, seed)
        # Whole offices are on one host, which is the worst placement.
        host = self.hosts[number * scenario.hosts // people.count]
        job = habits.job_at(chance, people)
        stormy = habits.storms(number, people, seed)
        messages = habits.messages(chance, people, days=scenario.days, stormy=stormy)
        agent = Agent(f"u{number}", host, messages, job)
        if job is not None:
            # The first minutes have no plan.
            job += DAY_S if job < _PLAN_AHEAD_S else 0.0
            agent.next_job = job
            host.jobs.append((job % DAY_S, agent))
            self._at(job, Kind.JOB, agent)
        self._next_message(agent)
        self._arm(agent)
        return agent

    def _at(self, when: float, kind: Kind, subject: object, *details: float) -> None:
        self._arrivals += 1
        heapq.heappush(self._heap, (when, kind, self._arrivals, subject, details))

    # Messages

    def _next_message(self, agent: Agent) -> None:
        following = next(agent.messages, None)
        if following is not None:
            self._at(following[0], Kind.WRITTEN, agent, following[1], 1)

    def _written(self, agent: Agent, takes: float, tries: int) -> None:
        if tries == 1:
            self.outcome.messages += 1
            self._next_message(agent)
        agent.last_activity = self._now
        agent.woken_for = None
        if agent.state is RUNNING:
            agent.host.awake.move_to_end(agent)
            self._serve(agent, takes)
            return
        agent.waiting.append((self._now, takes, tries))
        if agent.state is WAKING:
            self._hurry(agent)
        else:
            self._wake(agent, Need.USER)

    def _serve(self, agent: Agent, takes: float) -> None:
        agent.in_flight += 1
        self._at(self._now + takes, Kind.DONE, agent)

    def _done(self, agent: Agent) -> None:
        agent.in_flight -= 1
        self._arm(agent)

    # Waking

    def _wake(self, agent: Agent, need: Need) -> None:
        agent.woken_from = agent.state
        agent.number += 1
        self._become(agent, WAKING)
        slots = self._slots(agent)
        if slots.free > 0:
            slots.free -= 1
            self._admit(agent)
            return
        self._enqueue(agent, slots, need)
        patience = self._scenario.wake_timeout_s / 2
        self._at(self._now + patience, Kind.GIVE_UP, agent, agent.number)

    def _enqueue(self, agent: Agent, slots: Slots, need: Need) -> None:
        self._arrivals += 1
        heapq.heappush(slots.waiting, (need, self._arrivals, agent, agent.number))
        self.outcome.longest_queue = max(self.outcome.longest_queue, len(slots.waiting))

    def _hurry(self, agent: Agent) -> None:
        """Raise the priority of a queued wake for a job, since a message waits for it."""
        if agent.promised == 0 and len(agent.waiting) == 1:
            self._enqueue(agent, self._slots(agent), Need.USER)

    def _slots(self, agent: Agent) -> Slots:
        return agent.host.thaws if agent.woken_from is PAUSED else agent.host.boots

    def _next_in_turn(self, slots: Slots) -> None:
        """Give a free slot to the next waiting wake."""
        while slots.waiting:
            _, _, agent, number = heapq.heappop(slots.waiting)
            if agent.number == number and agent.state is WAKING and agent.promised == 0:
                self._admit(agent)
                return
        slots.free += 1

    def _admit(self, agent: Agent) -> None:
        """Admit or refuse a wake that has a slot, by the agent server's own memory decisions."""
        host = agent.host
        need = need_bytes(agent.woken_from, swapped=agent.swap or None)
        lacking = short_by(host.figures(), need, promised=host.promised)
        if lacking > 0:
            self._make_room(host, lacking)
            lacking = short_by(host.figures(), need, promised=host.promised)
        if lacking > 0:
            why = f"{lacking / 1e6:.0f} MB short with {len(host.awake)} agents awake"
            self._refuse(agent, "memory", why)
            self._next_in_turn(self._slots(agent))
            return
        agent.promised = need
        host.promised += need
        self._at(self._now + self._wake_s(agent), Kind.WOKEN, agent)

    def _wake_s(self, agent: Agent) -> float:
        costs = self._scenario.costs
        if agent.woken_from is not PAUSED:
            return costs.boot_core_s
        if agent.swap == 0:
            return 0.025
        host = agent.host
        begins = max(self._now, host.disk_free_at)
        host.disk_free_at = begins + min(agent.swap, costs.page_in) / costs.disk_bytes_s
        return max(costs.thaw_s, host.disk_free_at - self._now)

    def _woken(self, agent: Agent) -> None:
        host, costs = agent.host, self._scenario.costs
        host.promised -= agent.promised
        agent.promised = 0
        if agent.woken_from is PAUSED:
            back = min(agent.swap, max(0, costs.woken - agent.ram))
            host.hold(agent, ram=agent.ram + back, swap=agent.swap - back)
        else:
            host.hold(agent, ram=costs.awake, swap=0)
        self._become(agent, RUNNING)
        self._watch_memory(host)
        waiting, agent.waiting = agent.waiting, []
        for written, takes, _ in waiting:
            self.outcome.waited(host.number, self._now, agent.woken_from, self._now - written)
            self._serve(agent, takes)
        self._arm(agent)
        self._next_in_turn(self._slots(agent))

    def _give_up(self, agent: Agent, number: float) -> None:
        """Refuse a wake that has waited too long in the queue."""
        if agent.number == number and agent.state is WAKING and agent.promised == 0:
            slots = self._slots(agent)
            self._refuse(agent, "queue", f"{len(slots.waiting)} wakes wait for a place")

    def _refuse(self, agent: Agent, what: str, why: str) -> None:
        self.outcome.refused[what] += 1
        self.outcome.broke(agent.host.number, self._now, what, why)
        waits = len(agent.host.boots.waiting) // agent.host.size.cores
        self._become(agent, agent.woken_from)
        agent.woken_for = None
        agent.number += 1
        waiting, agent.waiting = agent.waiting, []
        for _, takes, tries in waiting:
            if tries >= _TRIES:
                self.outcome.lost += 1
            else:
                again = self._now + min(60.0, 10.0 + 10.0 * waits)
                self._at(again, Kind.WRITTEN, agent, takes, tries + 1)
        self._arm(agent)

    # Sleeping

    def _make_room(self, host: Host, lacking: int) -> None:
        """Evict what the policy chooses: the longest idle first, so a few candidates suffice."""
        shown = _SHOWN_FIRST
        while True:
            groups = (host.paused, host.awake)
            able = {a.name: a for group in groups for a in islice(group, shown)}
            candidates = [agent.candidate(self._now) for agent in able.values()]
            chosen = make_room(candidates, host.figures(), lacking)
            frees = sum(able[eviction.user_id].ram for eviction in chosen)
            if frees >= lacking or shown >= max(map(len, groups)):
                break
            shown *= 4
        for eviction in chosen:
            self._evict(able[eviction.user_id], eviction.relief)

    def _evict(self, agent: Agent, relief: Relief) -> None:
        self.outcome.evicted[str(relief)] += 1
        (self._stop if relief is Relief.STOP else self._pause)(agent)
        self._arm(agent)

    def _pause(self, agent: Agent) -> None:
        host = agent.host
        moved = min(max(0, agent.ram - self._scenario.costs.asleep), host.swap_free)
        host.hold(agent, ram=agent.ram - moved, swap=agent.swap + moved)
        self.outcome.most_swapped = max(self.outcome.most_swapped, host.swapped)
        self._fall_asleep(agent, PAUSED)
        self._stop_for_swap(host)

    def _stop_for_swap(self, host: Host) -> None:
        """Stop the longest paused while swap is short, if the scenario stops agents by need."""
        if not self._times.stop_by_need or host.swap_free >= swap_reserve(host.size.swap):
            return
        first = {agent.name: agent for agent in islice(host.paused, _STOPPED_OF)}
        sleepers = [agent.sleeper(self._now) for agent in first.values()]
        for name in stop_for_swap(sleepers, host.figures()):
            self.outcome.stopped_for_swap += 1
            self._stop(first[name])
            self._arm(first[name])

    def _stop(self, agent: Agent) -> None:
        agent.host.hold(agent, ram=0, swap=0)
        self._fall_asleep(agent, STOPPED)

    def _fall_asleep(self, agent: Agent, state: HibernationState) -> None:
        if agent.last_activity >= agent.asleep_since:
            agent.asleep_since = self._now  # the first time since the user's last activity
        agent.woken_for = None
        self._become(agent, state)

    def _become(self, agent: Agent, state: HibernationState) -> None:
        self.outcome.awake_now += (state is RUNNING) - (agent.state is RUNNING)
        self.outcome.most_awake = max(self.outcome.most_awake, self.outcome.awake_now)
        agent.state, agent.since = state, self._now
        agent.host.place(agent)

    def _watch_memory(self, host: Host) -> None:
        self.outcome.least_available = min(self.outcome.least_available, host.available)
        if host.available < 0:
            self.outcome.broke(
                host.number, self._now, "memory", f"{-host.available / 1e6:.0f} MB over"
            )

    # The sweep

    def _arm(self, agent: Agent) -> None:
        """Schedule the agent's next check: in the first sweep in which the policy may act on it."""
        wanted = self._worth_a_look_at(agent)
        if wanted == NEVER:
            return
        sweep = max(math.ceil(wanted / self._interval), math.floor(self._now / self._interval) + 1)
        when = sweep * self._interval
        if when < agent.look_at:
            agent.look_at = when
            self._at(when, Kind.LOOK, agent, when)

    def _worth_a_look_at(self, agent: Agent) -> float:
        times = self._times
        if agent.state is RUNNING:
            idle = agent.last_activity + times.pause_after.total_seconds()
            job = agent.woken_for if agent.woken_for is not None else agent.next_job
            soon = job != NEVER and job - idle < 2 * _PLAN_AHEAD_S and job >= self._now
            return max(idle, job + JOB_GRACE.total_seconds()) if soon else idle
        if agent.state not in (PAUSED, STOPPED):
            return NEVER
        lead = default_lead(agent.state).total_seconds() if agent.lead is None else agent.lead
        job = agent.next_job - lead - self._interval
        if agent.state is STOPPED:
            return job
        if times.stop_by_need and agent.sleeps_in_swap:
            return job
        return min(job, agent.asleep_since + times.stop_after.total_seconds())

    def _look(self, agent: Agent, when: float) -> None:
        if when != agent.look_at:
            return  # replaced by an earlier one
        agent.look_at = NEVER
        match decide(agent.situation(self._now), self._times):
            case Action.WAKE:
                agent.slept_stopped = agent.state is STOPPED
                agent.woken_for = agent.next_job
                self._wake(agent, Need.JOB)
            case Action.PAUSE | Action.STOP as action:
                if agent.state is RUNNING and agent.job_until > self._now:
                    agent.look_at = self._now + _BUSY_RETRY_S
                    self._at(agent.look_at, Kind.LOOK, agent, agent.look_at)
                    return
                (self._pause if action is Action.PAUSE else self._stop)(agent)
        self._arm(agent)

    # Jobs

    def _plan(self, host: Host) -> None:
        """Stagger the wakes for the jobs of the next minutes."""
        soon = self._jobs_soon(host)
        jobs = [
            Job(
                agent.name,
                datetime.fromtimestamp(agent.next_job, UTC),
                default_lead(agent.state),
                cold=agent.state is not PAUSED,
            )
            for agent in soon
            if agent.state in (PAUSED, STOPPED)
        ]
        begins = plan(jobs, cores=host.size.cores)
        for agent in soon:
            if agent.name in begins:
                agent.lead = agent.next_job - begins[agent.name].timestamp()
                self._arm(agent)
        self._at(self._now + _PLAN_EVERY_S, Kind.PLAN, host)

    def _jobs_soon(self, host: Host) -> list[Agent]:
        """The agents with a job in the next `_PLAN_AHEAD_S` seconds, which may span midnight."""
        begins = self._now % DAY_S
        ends = begins + _PLAN_AHEAD_S
        spans = [(begins, ends)] if ends < DAY_S else [(begins, DAY_S), (0.0, ends - DAY_S)]
        times = host.job_times
        return [
            agent
            for first, last in spans
            for _, agent in host.jobs[bisect_left(times, first) : bisect_right(times, last)]
            if agent.next_job >= self._now
        ]

    def _job(self, agent: Agent) -> None:
        """Run a due job, now or once its gateway runs."""
        agent.next_job += DAY_S
        self._at(agent.next_job, Kind.JOB, agent)
        agent.lead = None
        self.outcome.job_runs += 1
        if agent.state is RUNNING:
            agent.job_until = self._now + self._scenario.people.job_s
        elif agent.state is WAKING:
            self.outcome.jobs_late += 1
            agent.job_until = self._now + _LATE_S + self._scenario.people.job_s
            if agent.woken_from is STOPPED:
                why = "a job's agent was still booting at the job's time"
                self.outcome.broke(agent.host.number, self._now, "job", why)
        else:
            self.outcome.jobs_missed += 1
            self.outcome.broke(
                agent.host.number, self._now, "job", "a job's agent was asleep at the job's time"
            )
        self._arm(agent)
