"""When memory is worth moving: functions of measured figures, without effects."""

from dataclasses import dataclass

from ocmt_common.agent_api import PausedMemory

from ocmt_agent.memory.host import HostMemory, SwapKind
from ocmt_agent.records.agent_memory import AgentMemory

MIB = 1 << 20

_LEFT_BY_RECLAIM = 96 * MIB  # some 30 MB are the kernel's own and stay
_LEFT_SHARE = 0.25
_PROGRESS = 16 * MIB
_PREFETCH_MOST = 512 * MIB
_PREFETCH_SHARE = 0.25
_PRESSED_SOME_AVG10 = 10.0
_SHORT_OF_MEMORY = 0.10
_QUIET_S = 60.0
_SPARE_WORTH_TAKING = 32 * MIB
_TRIM_AGAIN_S = 300.0


def paused_memory(memory: AgentMemory) -> PausedMemory:
    """Told from figures alone, so that it holds after a restart of this server too."""
    left = max(_LEFT_BY_RECLAIM, _LEFT_SHARE * (memory.held + memory.swap))
    if memory.swap > 0 and memory.held <= left:
        return PausedMemory.RECLAIMED
    return PausedMemory.RESIDENT


def worth_reclaiming(memory: AgentMemory, host: HostMemory) -> bool:
    """Whether a paused agent's memory has somewhere to go and is not there yet.

    Without swap (or with hardly any left) only its caches would be dropped, which frees nothing
    that the kernel could not have at once, and makes the wake slower.
    """
    if paused_memory(memory) is PausedMemory.RECLAIMED:
        return False
    return host.swap_free() >= min(memory.anon, _LEFT_BY_RECLAIM) > 0


def more_to_take(before: AgentMemory, after: AgentMemory) -> bool:
    """Whether another round of reclaim is worth it, from the figures around the last one.

    The kernel gives up on pages that a busy disk has not written yet; a moment later they are.
    """
    return after.held > _LEFT_BY_RECLAIM and before.held - after.held >= _PROGRESS


def prefetch_most(host: HostMemory) -> int:
    """How many bytes one wake may fetch ahead: what it fetches must not push others out."""
    return min(_PREFETCH_MOST, int(host.available * _PREFETCH_SHARE))


def reads_are_slow(host: HostMemory) -> bool:
    """Whether sleepers lie on a disk, where one long read is worth many short ones.

    In zram, which is filled first, a page costs microseconds wherever it lies: what is read beyond
    what is needed, or mapped before it is, only takes CPU from the gateway that comes back.
    """
    return host.swap_size(SwapKind.ZRAM) == 0


def read_blindly_most(host: HostMemory) -> int:
    """How many bytes to read for an agent of which nobody knows yet what it needs.

    From a disk: all of it, one after the other, is there sooner than the part it faults on page by
    page.
    """
    return int(host.available * _PREFETCH_SHARE) if reads_are_slow(host) else 0


def pressed(host: HostMemory) -> bool:
    """Whether work on this host waits for memory, or soon will.

    By PSI where the kernel has it: a tenth of the last ten seconds lost to waiting is felt.
    """
    waiting = host.pressure is not None and host.pressure.some_avg10 >= _PRESSED_SOME_AVG10
    return waiting or host.available < _SHORT_OF_MEMORY * host.total


@dataclass(frozen=True, slots=True)
class Awake:
    """What is known of one agent that is awake."""

    quiet_s: float
    """Since its last activity; zero while a request is in flight."""
    known: bool
    """Whether it was seen what it uses to wake and answer."""
    since_trim_s: float | None


def worth_trimming(agent: Awake, host: HostMemory) -> bool:
    """Whether to look for what an awake agent holds in RAM and does not need for its next answer.

    Only where what it needs is known, so that the answer does not wait for what was taken.
    """
    if not pressed(host) or not agent.known or agent.quiet_s < _QUIET_S:
        return False
    return agent.since_trim_s is None or agent.since_trim_s >= _TRIM_AGAIN_S


def worth_taking(spare: int, host: HostMemory) -> bool:
    """Whether so many bytes that can be spared are taken."""
    return _SPARE_WORTH_TAKING <= spare <= host.swap_free()
