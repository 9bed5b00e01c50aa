"""How many agents are kept ready for new users, and when one may be made. Pure."""

from dataclasses import dataclass

from ocmt_common.agent_api import HibernationState

from ocmt_agent.decisions.memory_admission import MIB, HostFigures, need_bytes
from ocmt_agent.decisions.swap_reserve import swap_reserve

_SWAP_EACH = 1200 * MIB
"""Swap of one that sleeps: 1,042 MB measured."""
_CALM_LOAD = 0.7
"""Runnable tasks per core up to which a host is quiet."""
_SPARE_RAM_SHARE = 0.15
_STALLED = 1.0


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
