"""Computes lead times from this host's measured wakes, and staggers the wakes. Pure.

A hundred agents with jobs at nine cannot all boot at nine on two cores. So wakes are planned
backwards from the jobs: as late as the host's cores allow, and each in time.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ocmt_common.agent_api import HibernationState

from ocmt_agent.decisions.sleep_policy import default_lead

_KEPT = 50
_ENOUGH = 5
"""With fewer measured wakes, the lead time is at least the default."""
_LEAST = {HibernationState.PAUSED: 1.0, HibernationState.STOPPED: 5.0}
_MOST_S = 600.0
_THAWS_A_CORE = 2
"""Concurrent thaws per core. With two, twelve thaws from a disk on two cores began their jobs half
a second late; all at once, 5.6 s late (docs/benchmarks.md)."""


@dataclass(frozen=True, slots=True)
class Job:
    user_id: str
    at: datetime
    lead: timedelta
    cold: bool
    """Whether the agent must boot; otherwise it is thawed."""


class WakeTimes:
    """Durations of the latest wakes in seconds, by the state woken from."""

    def __init__(self, seconds: dict[HibernationState, list[float]] | None = None) -> None:
        self._seconds = {
            state: deque((seconds or {}).get(state, []), maxlen=_KEPT) for state in _LEAST
        }

    def add(self, state: HibernationState, seconds: float) -> None:
        """Add a wake. A first boot, which takes longer, counts until enough others are known."""
        if state is HibernationState.PROVISIONING:
            boots = self._seconds[HibernationState.STOPPED]
            if len(boots) < _ENOUGH:
                boots.append(seconds)
        elif state in self._seconds:
            self._seconds[state].append(seconds)

    def kept(self) -> dict[HibernationState, list[float]]:
        return {state: list(seconds) for state, seconds in self._seconds.items()}

    def lead(self, state: HibernationState) -> timedelta:
        """The lead time of an agent in `state`; states other than paused count as stopped."""
        known = state if state in self._seconds else HibernationState.STOPPED
        return lead(known, self._seconds[known])


def lead(state: HibernationState, seconds: Sequence[float]) -> timedelta:
    """1.5 times the 95th percentile of the measured wakes, plus two seconds, within bounds.

    While few were measured, never less than the default.
    """
    if not seconds:
        return default_lead(state)
    slow = sorted(seconds)[max(0, -(-len(seconds) * 95 // 100) - 1)]
    measured = timedelta(seconds=min(_MOST_S, max(_LEAST[state], slow * 1.5 + 2)))
    return measured if len(seconds) >= _ENOUGH else max(measured, default_lead(state))


def plan(jobs: Iterable[Job], *, cores: int) -> dict[str, datetime]:
    """User id → when the wake begins: as late as the limit of wakes per core permits."""
    begins: dict[str, datetime] = {}
    listed = sorted(jobs, key=lambda job: (job.at, job.user_id), reverse=True)
    for cold, slots in ((True, cores), (False, cores * _THAWS_A_CORE)):
        # Each slot is free up to a time; the latest is on top (a heap of negated times).
        free_until: list[float] = []
        for job in listed:
            if job.cold is not cold:
                continue
            ready_by = job.at.timestamp()
            if len(free_until) == slots:
                ready_by = min(ready_by, -heapq.heappop(free_until))
            begin = ready_by - job.lead.total_seconds()
            heapq.heappush(free_until, -begin)
            begins[job.user_id] = datetime.fromtimestamp(begin, job.at.tzinfo)
    return begins
