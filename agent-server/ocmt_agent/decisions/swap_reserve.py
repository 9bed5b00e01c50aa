"""Which sleeping agents are stopped when swap gets short. Pure.

An agent asleep in swap on disk takes some 25 MB of RAM and wakes in less than a second. To stop it
saves only its swap and costs its user a boot, so it is stopped when that swap is needed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from ocmt_agent.decisions.memory_admission import JOB_NEAR, MIB, HostFigures

_TWO_AGENTS = 2048 * MIB
"""Swap for two agents that fall asleep at the same time: 1,042 MB each measured."""
_RESERVE_SHARE = 10
_MOST_SHARE = 4


@dataclass(frozen=True, slots=True)
class Sleeper:
    """A paused agent that could be stopped."""

    user_id: str
    idle: timedelta
    """Time since the user's last activity."""
    until_job: timedelta | None
    swapped: int
    """Bytes that it has in swap."""


def swap_reserve(swap_total: int) -> int:
    """Bytes of swap kept free for agents that fall asleep.

    A tenth of the swap, or two agents' memory if that is more, but at most a quarter.
    """
    return min(swap_total // _MOST_SHARE, max(_TWO_AGENTS, swap_total // _RESERVE_SHARE))


def stop_for_swap(sleepers: Iterable[Sleeper], host: HostFigures) -> list[str]:
    """User ids of the agents to stop until the reserve is free, longest idle first.

    Skips an agent that would be woken for its job within minutes, and one without swap.
    """
    lacking = swap_reserve(host.swap_total) - host.swap_free
    chosen = []
    for sleeper in sorted(sleepers, key=lambda one: (-one.idle, one.user_id)):
        if lacking <= 0:
            break
        if sleeper.swapped > 0 and not _job_is_near(sleeper):
            chosen.append(sleeper.user_id)
            lacking -= sleeper.swapped
    return chosen


def _job_is_near(sleeper: Sleeper) -> bool:
    return sleeper.until_job is not None and sleeper.until_job < JOB_NEAR
