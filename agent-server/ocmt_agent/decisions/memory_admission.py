"""Whether one more wake fits into the host's memory, and who gives way if not.

Pure: figures in, a verdict out. What it costs to be wrong is lopsided: a host that runs out of
memory stops for everybody, a wake that is refused comes back seconds later.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from ocmt_common.agent_api import HibernationState

MIB = 1024 * 1024
_BOOT_BYTES = 960 * MIB
"""What a gateway takes of `MemAvailable` once it booted and answered: 972 and 1,011 MB measured."""
_THAW_BYTES = 320 * MIB
"""The working set that comes back from swap with the first reply: 235-350 MB measured."""
_LEAST_RESERVE = 256 * MIB
_RESERVE_SHARE = 0.05
_STALLED = 20.0
"""Percent of the last ten seconds in which all work waited for memory: the host thrashes."""
_SWAP_LOW = 64 * MIB
_IDLE_ENOUGH = timedelta(minutes=1)
"""An awake agent used more recently than this is not put to sleep for another's sake."""
_JOB_NEAR = timedelta(minutes=10)
"""Nor is one whose next job is this near: it would be woken right away."""


@dataclass(frozen=True, slots=True)
class HostFigures:
    """The host's memory now, bytes. `stalled` is PSI's `full avg10` in percent, if measured."""

    total: int
    available: int
    swap_total: int
    swap_free: int
    stalled: float | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """Another agent that could give way."""

    user_id: str
    state: HibernationState
    idle: timedelta
    """Since the user's last activity."""
    until_job: timedelta | None
    in_flight: int
    never_sleeps: bool
    frees: int | None
    """Bytes of RAM it holds now; `None` when that is not known."""


class Relief(StrEnum):
    """What is done to an agent that gives way."""

    PAUSE = "pause"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Eviction:
    user_id: str
    relief: Relief


def need_bytes(state: HibernationState, *, swapped: int | None = None) -> int:
    """About how much RAM a wake from `state` takes; `swapped` is what a paused one has in swap."""
    if state is HibernationState.PAUSED:
        return _THAW_BYTES if swapped is None else min(swapped, _THAW_BYTES)
    return _BOOT_BYTES


def short_by(host: HostFigures, need: int, *, promised: int) -> int:
    """How many bytes a wake that takes `need` lacks; zero when it fits.

    `promised` is what wakes already under way may still take. A host that stalls on memory has no
    room, whatever its figures say.
    """
    reserve = max(_LEAST_RESERVE, int(host.total * _RESERVE_SHARE))
    lacking = need + promised + reserve - host.available
    if lacking > 0:
        return lacking
    stalls = host.stalled is not None and host.stalled >= _STALLED
    return need if stalls else 0


def make_room(candidates: Iterable[Candidate], host: HostFigures, lacking: int) -> list[Eviction]:
    """Who gives way for `lacking` bytes, longest idle first; as many as may suffice, or all.

    Where swap takes what they hold, idle agents that are awake are paused first: each frees the
    most, and wakes in less than a second. A sleeper whose memory is in swap frees next to nothing,
    and costs its user a boot (simulated: a third fewer boots this way than the other way around).
    Without swap a pause frees nothing: sleepers are stopped first, as nobody uses them now.
    """
    able = [c for c in candidates if _may_give_way(c)]
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


def _may_give_way(candidate: Candidate) -> bool:
    job_near = candidate.until_job is not None and candidate.until_job < _JOB_NEAR
    if candidate.in_flight or candidate.never_sleeps or job_near:
        return False
    return candidate.state is HibernationState.PAUSED or candidate.idle >= _IDLE_ENOUGH


def _frees(candidate: Candidate) -> int:
    if candidate.frees is not None:
        return candidate.frees
    return _THAW_BYTES if candidate.state is HibernationState.PAUSED else _BOOT_BYTES
