"""Decides when to reclaim, trim and prefetch, and how much, from measured figures. Pure."""

from dataclasses import dataclass

from ocmt_common.agent_api import PausedMemory

from ocmt_agent.memory.host import HostMemory, SwapKind
from ocmt_agent.records.agent_memory import AgentMemory

MIB = 1 << 20

_LEFT_BY_RECLAIM = 96 * MIB  # some 30 MB are kernel memory and stay
_LEFT_SHARE = 0.25
_PROGRESS = 16 * MIB
_PREFETCH_MOST = 512 * MIB
_PREFETCH_SHARE = 0.25
_PRESSED_SOME_AVG10 = 10.0
_SHORT_OF_MEMORY = 0.10
_QUIET_S = 60.0
_SPARE_WORTH_TAKING = 32 * MIB
_TRIM_AGAIN_S = 300.0
_AGAIN_FIRST_S = 30.0
_AGAIN_MOST_S = 3600.0


def paused_memory(memory: AgentMemory) -> PausedMemory:
    """Whether a paused agent's memory is resident or reclaimed: from its present figures alone.

    Reclaimed only if nothing is left that another round of reclaim would be worth.
    """
    if memory.swap > 0 and memory.held <= _LEFT_BY_RECLAIM:
        return PausedMemory.RECLAIMED
    return PausedMemory.RESIDENT


def mostly_in_swap(memory: AgentMemory) -> bool:
    """Whether so much of it is in swap that a stop frees hardly any RAM, and a wake reads it."""
    left = max(_LEFT_BY_RECLAIM, _LEFT_SHARE * (memory.held + memory.swap))
    return memory.swap > 0 and memory.held <= left


def worth_reclaiming(memory: AgentMemory, host: HostMemory) -> bool:
    """Whether a paused agent's memory can be moved to swap and is not there yet.

    Without enough swap only caches would be dropped. The kernel can free those at any time, and
    dropping them makes the wake slower.
    """
    if paused_memory(memory) is PausedMemory.RECLAIMED:
        return False
    return host.swap_free() >= min(memory.anon, _LEFT_BY_RECLAIM) > 0


def reclaim_again_after_s(tries: int) -> float:
    """Seconds until a reclaim that left memory in RAM is tried again, after `tries` in this sleep.

    A busy disk, a swap that was full, or a kernel that had just used the pages: all of them pass.
    """
    return float(min(_AGAIN_MOST_S, _AGAIN_FIRST_S * 2 ** (min(tries, 16) - 1)))


def more_to_take(before: AgentMemory, after: AgentMemory) -> bool:
    """Whether another round of reclaim is useful, given the figures before and after the last.

    The kernel skips pages that a busy disk has not written yet, but will have a moment later.
    """
    return after.held > _LEFT_BY_RECLAIM and before.held - after.held >= _PROGRESS


def prefetch_most(host: HostMemory) -> int:
    """The bytes that one wake may prefetch without evicting other memory."""
    return min(_PREFETCH_MOST, int(host.available * _PREFETCH_SHARE))


def reads_are_slow(host: HostMemory) -> bool:
    """Whether no swap is in zram: on a disk, one long read is as fast as a few short ones.

    In zram, which is filled first, a page takes microseconds, and reading or mapping more than
    needed would only take CPU time from the waking gateway.
    """
    return host.swap_size(SwapKind.ZRAM) == 0


def read_blindly_most(host: HostMemory) -> int:
    """The bytes to read for an agent whose working set is not known yet.

    From a disk, reading all pages in sequence is faster than faulting on some one by one.
    """
    return int(host.available * _PREFETCH_SHARE) if reads_are_slow(host) else 0


def pressed(host: HostMemory) -> bool:
    """Whether this host is short of memory, or soon will be.

    By PSI if the kernel has it, since users notice when tasks wait a tenth of the time, or by
    available memory.
    """
    waiting = host.pressure is not None and host.pressure.some_avg10 >= _PRESSED_SOME_AVG10
    return waiting or host.available < _SHORT_OF_MEMORY * host.total


@dataclass(frozen=True, slots=True)
class Awake:
    """The figures of an awake agent that decide whether it is trimmed."""

    quiet_s: float
    """Seconds since its last activity; zero while a request is in flight."""
    known: bool
    """Whether its working set is known."""
    since_trim_s: float | None


def worth_trimming(agent: Awake, host: HostMemory) -> bool:
    """Whether to trim an awake agent.

    Only if its working set is known, so that its next answer does not wait for reclaimed pages.
    """
    if not pressed(host) or not agent.known or agent.quiet_s < _QUIET_S:
        return False
    return agent.since_trim_s is None or agent.since_trim_s >= _TRIM_AGAIN_S


def worth_taking(spare: int, host: HostMemory) -> bool:
    """Whether `spare` bytes are worth paging out and fit into swap."""
    return _SPARE_WORTH_TAKING <= spare <= host.swap_free()
