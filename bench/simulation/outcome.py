"""The outcome of a simulation: waits, jobs, refusals, and hosts that broke down."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from ocmt_common.agent_api import HibernationState

SLOW_S = 15.0
"""Seconds. If a window's 95th percentile of waits for a wake is higher, it counts as broken."""
WINDOW_S = 300.0
_FEWEST = 20
"""A window with fewer wakes is not judged."""


@dataclass(frozen=True, slots=True)
class Break:
    host: int
    at_s: float
    what: str
    """The kind of break: `memory`, `queue`, `slow` or `job`."""
    why: str

    def as_json(self) -> dict[str, Any]:
        return {"host": self.host, "at": clock(self.at_s), "what": self.what, "why": self.why}


@dataclass(slots=True)
class Outcome:
    messages: int = 0
    lost: int = 0
    """Messages whose sender gave up after repeated refusals."""
    wakes: dict[HibernationState, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds that messages waited for a wake, by the state woken from."""
    refused: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    evicted: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    stopped_for_swap: int = 0
    job_runs: int = 0
    jobs_late: int = 0
    jobs_missed: int = 0
    longest_queue: int = 0
    least_available: float = float("inf")
    most_swapped: int = 0
    most_awake: int = 0
    awake_now: int = 0
    breaks: dict[tuple[int, str], Break] = field(default_factory=dict)
    """The first break of each kind on each host."""
    _windows: dict[tuple[int, int], list[float]] = field(default_factory=lambda: defaultdict(list))

    def waited(self, host: int, now: float, came_from: HibernationState, seconds: float) -> None:
        self.wakes[came_from].append(seconds)
        self._windows[host, int(now // WINDOW_S)].append(seconds)

    def broke(self, host: int, now: float, what: str, why: str) -> None:
        self.breaks.setdefault((host, what), Break(host, now, what, why))

    def as_json(self) -> dict[str, Any]:
        self._judge_windows()
        breaks = sorted(self.breaks.values(), key=lambda b: (b.at_s, b.host, b.what))
        everyone = [wait for waits in self.wakes.values() for wait in waits]
        return {
            "messages": self.messages,
            "lost": self.lost,
            "messageWaitP95S": _p95_of_all(everyone, self.messages),
            "wakeWaitS": {str(state): percentiles(waits) for state, waits in self.wakes.items()},
            "refused": dict(self.refused),
            "evicted": dict(self.evicted),
            "stoppedForSwap": self.stopped_for_swap,
            "jobs": {"run": self.job_runs, "late": self.jobs_late, "missed": self.jobs_missed},
            "longestQueue": self.longest_queue,
            "leastAvailableBytes": int(self.least_available),
            "mostSwappedBytes": self.most_swapped,
            "mostAwake": self.most_awake,
            "hostsBroken": len({b.host for b in breaks}),
            "breaks": [b.as_json() for b in breaks[:50]],
        }

    def _judge_windows(self) -> None:
        for (host, window), waits in sorted(self._windows.items()):
            p95 = percentiles(waits)["p95"]
            if len(waits) >= _FEWEST and p95 > SLOW_S:
                why = f"95 % of {len(waits)} wakes in five minutes took up to {p95:.0f} s"
                self.broke(host, window * WINDOW_S, "slow", why)


def percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    last = len(ordered) - 1
    return {"count": len(ordered)} | {
        f"p{part}": round(ordered[min(last, len(ordered) * part // 100)], 3)
        for part in (50, 95, 99)
    }


def clock(seconds: float) -> str:
    """Format seconds since the first day's midnight: 32440 as `day 1 09:00:40`."""
    day, rest = divmod(int(seconds), 86_400)
    return f"day {day + 1} {rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"


def _p95_of_all(waits: list[float], messages: int) -> float:
    """The 95th percentile of waits over all messages; messages to awake agents waited 0 s."""
    if messages == 0:
        return 0.0
    ordered = sorted(waits)
    place = messages * 95 // 100 - (messages - len(ordered))
    return round(ordered[place], 3) if 0 <= place < len(ordered) else 0.0
