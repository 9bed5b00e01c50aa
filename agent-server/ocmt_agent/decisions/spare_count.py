"""How many spares are kept ready, when one may be made, and for which agents they are. Pure."""

from dataclasses import dataclass
from datetime import timedelta

from ocmt_common.agent_api import HibernationState

from ocmt_agent.decisions.memory_admission import MIB, HostFigures, need_bytes
from ocmt_agent.decisions.swap_reserve import swap_reserve

_SWAP_EACH = 1200 * MIB
"""Swap of one that sleeps: 1,042 MB measured."""
_CALM_LOAD = 0.7
"""Runnable tasks per core up to which a host is quiet."""
_SPARE_RAM_SHARE = 0.15
_STALLED = 1.0
_LEASE = timedelta(minutes=6)
"""A gateway's lease on its state, with which it names its host, ends five minutes after its last
heartbeat (openclaw 2026.9.6, `gateway-owner-lease.ts`). One that closes gives it up."""


@dataclass(frozen=True, slots=True)
class Wanted:
    count: int
    why: str
    """The reason why no more are kept, for `/health`."""


def wanted(*, most: int, arrivals: int, ready: int, host: HostFigures | None) -> Wanted:
    """How many agents to keep ready, of which `ready` are now.

    `arrivals`: users who came in the last hour. Zero without swap on disk, since each would hold a
    whole agent's RAM. When swap gets short, spares are removed first.
    """
    if most == 0:
        return Wanted(0, "SPARE_AGENTS is 0")
    if host is None or host.swap_disk == 0:
        return Wanted(0, "this host has no swap on disk")
    demand = min(most, max(1, arrivals))
    room = ready + (host.swap_free - swap_reserve(host.swap_total)) // _SWAP_EACH
    if room < demand:
        return Wanted(max(0, room), "swap is short")
    return Wanted(demand, "as many as came in the last hour, at least one, at most SPARE_AGENTS")


def wanted_for_stopped(
    *, most: int, can_hold: bool, stopped: int, demand: int, ready: int, host: HostFigures | None
) -> Wanted:
    """How many spares to keep for stopped agents.

    `stopped`: agents that are stopped now. `demand`: those started in the last hour, or with a job
    within the next hour, whichever is more.
    """
    if most > 0 and not can_hold:
        return Wanted(0, "gateways of this runtime or image cannot be held before they read state")
    if most > 0 and stopped == 0:
        return Wanted(0, "no agent is stopped")
    wish = wanted(most=min(most, stopped), arrivals=demand, ready=ready, host=host)
    if wish.count < min(most, stopped, max(1, demand)):
        return wish
    return Wanted(wish.count, "as many as start or have a job in an hour, at most SPARE_AGENTS")


def may_change_host(*, exit_code: int | None, stopped_for: timedelta) -> bool:
    """Whether an agent may go on in a container with another host name.

    Another host's gateway is refused while the lease of one that was killed has not ended.
    `exit_code`: of its last container; `None` if that is gone.
    """
    return exit_code == 0 or stopped_for > _LEASE


def is_quiet(host: HostFigures | None, *, load: float, cores: int, waking: bool) -> bool:
    """Whether an agent can be booted now without delaying others.

    `load`: runnable tasks, on average of the last minute.
    """
    if host is None or waking or load > _CALM_LOAD * cores:
        return False
    if host.stalled is not None and host.stalled >= _STALLED:
        return False
    left = host.available - need_bytes(HibernationState.STOPPED)
    return left >= _SPARE_RAM_SHARE * host.total
