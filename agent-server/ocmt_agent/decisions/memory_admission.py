"""Decides whether a wake fits into the host's memory, and which agents to evict if not. Pure.

The estimates are cautious: a host without memory fails every user, while a refused wake is retried
seconds later.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from ocmt_common.agent_api import HibernationState

MIB = 1024 * 1024
_BOOT_BYTES = 960 * MIB
"""`MemAvailable` used by a gateway after a boot and one answer; measured: 972 and 1,011 MB."""
_THAW_BYTES = 320 * MIB
"""The working set read back from swap for the first answer; measured: 235-350 MB."""
_LEAST_RESERVE = 256 * MIB
_RESERVE_SHARE = 0.05
_STALLED = 20.0
"""The host thrashes if all tasks waited for memory in this percentage of the last 10 s."""
_SWAP_LOW = 64 * MIB
_IDLE_ENOUGH = timedelta(minutes=1)
"""An awake agent used more recently than this is not evicted."""
JOB_NEAR = timedelta(minutes=10)
"""An agent whose next job is nearer than this is not evicted: it would be woken soon."""


@dataclass(frozen=True, slots=True)
class HostFigures:
    """The host's memory now, in bytes; `stalled` is PSI's `full avg10` in percent, if measured."""

    total: int
    available: int
    swap_total: int
    swap_free: int
    stalled: float | None
    swap_disk: int = 0
    """The part of `swap_total` that is on disk; the rest takes RAM (zram)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Another agent that could be evicted."""

    user_id: str
    state: HibernationState
    idle: timedelta
    """Time since the user's last activity."""
    until_job: timedelta | None
    in_flight: int
    never_sleeps: bool
    frees: int | None
    """Bytes of RAM that its eviction frees; `None` if not measured."""


class Relief(StrEnum):
    """How an agent is evicted."""

    PAUSE = "pause"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Eviction:
    user_id: str
    relief: Relief


def need_bytes(state: HibernationState, *, swapped: int | None = None) -> int:
    """Estimated RAM of a wake from `state`, in bytes.

    `swapped`: the bytes that a paused agent has in swap; `None` if not measured.
    """
    if state is HibernationState.PAUSED:
        return _THAW_BYTES if swapped is None else min(swapped, _THAW_BYTES)
    return _BOOT_BYTES


def short_by(host: HostFigures, need: int, *, promised: int) -> int:
    """How many bytes are missing for a wake that takes `need`; zero when it fits.

    `promised` is the memory that wakes in flight may still take. A host that stalls on memory has
    no room, however much is free.
    """
    reserve = max(_LEAST_RESERVE, int(host.total * _RESERVE_SHARE))
    lacking = need + promised + reserve - host.available
    if lacking > 0:
        return lacking
    stalls = host.stalled is not None and host.stalled >= _STALLED
    return need if stalls else 0


def make_room(candidates: Iterable[Candidate], host: HostFigures, lacking: int) -> list[Eviction]:
    """The evictions expected to free `lacking` bytes; all possible ones if those free less.

    With swap for them, idle awake agents are paused first: each frees the most memory and wakes in
    less than a second. Stopping a paused agent whose memory is in swap frees next to nothing and
    costs its user a boot (in a simulation, this order had a third fewer boots). Without swap,
    pausing frees nothing, so paused agents, which are not in use, are stopped first. Of the agents
    in one state, the longest idle comes first.
    """
    able = [c for c in candidates if _evictable(c)]
    asleep = [c for c in able if c.state is HibernationState.PAUSED]
    awake = [c for c in able if c.state is HibernationState.RUNNING]
    to_swap = host.swap_free > max(_SWAP_LOW, lacking)
    chosen: list[Eviction] = []
    stopped, rested = (asleep, Relief.STOP), (awake, Relief.PAUSE if to_swap else Relief.STOP)
    for group, relief in (rested, stopped) if to_swap else (stopped, rested):
        for candidate in sorted(group, key=lambda c: (-c.idle, c.user_id)):
            if lacking <= 0:
                return chosen
            chosen.append(Eviction(candidate.user_id, relief))
            lacking -= _frees(candidate)
    return chosen


def _evictable(candidate: Candidate) -> bool:
    job_near = candidate.until_job is not None and candidate.until_job < JOB_NEAR
    if candidate.in_flight or candidate.never_sleeps or job_near:
        return False
    return candidate.state is HibernationState.PAUSED or candidate.idle >= _IDLE_ENOUGH


def _frees(candidate: Candidate) -> int:
    if candidate.frees is not None:
        return candidate.frees
    return _THAW_BYTES if candidate.state is HibernationState.PAUSED else _BOOT_BYTES
