"""The memory part of `GET /health`."""

from typing import Protocol

from ocmt_common.agent_api import HostFigures, MemoryHealth

from ocmt_agent.decisions.sleep_policy import Times
from ocmt_agent.decisions.swap_reserve import swap_reserve
from ocmt_agent.memory.host import HostMemory, SwapKind


class Means(Protocol):
    """The mechanisms that the memory manager has on this host."""

    @property
    def driver(self) -> str | None: ...

    @property
    def prefetches(self) -> bool: ...

    def host(self) -> HostMemory: ...


def memory_health(means: Means, times: Times) -> MemoryHealth:
    """The mechanisms in effect now: swap can be added and removed while this server runs."""
    host = means.host()
    by_need = times.stop_by_need and means.driver is not None and host.swap_size(SwapKind.DISK) > 0
    return MemoryHealth(
        reclaim=means.driver,
        swap_disk=host.swap_size(SwapKind.DISK) > 0,
        zram=host.swap_size(SwapKind.ZRAM) > 0,
        zswap=host.zswap.enabled,
        prefetch=means.prefetches,
        psi=host.pressure is not None,
        stop_after_ms=None if by_need else round(times.stop_after.total_seconds() * 1000),
        swap_reserve=swap_reserve(host.swap_size()) if by_need else None,
        host=_figures(host),
        advice=_advice(means, host),
    )


def _figures(host: HostMemory) -> HostFigures:
    pressure = host.pressure
    return HostFigures(
        total=host.total,
        available=host.available,
        swap_disk=host.swap_size(SwapKind.DISK),
        swap_disk_free=host.swap_free(SwapKind.DISK),
        swap_zram=host.swap_size(SwapKind.ZRAM),
        swap_zram_free=host.swap_free(SwapKind.ZRAM),
        zram_ram=host.zram.ram,
        zswap_ram=host.zswap.ram,
        pressure_some=None if pressure is None else pressure.some_avg10,
        pressure_full=None if pressure is None else pressure.full_avg10,
    )


def _advice(means: Means, host: HostMemory) -> list[str]:
    advice = []
    if means.driver is None:
        advice.append(
            "Paused agents keep their memory: the agent server may not reclaim it. Run it as root."
        )
    if host.swap_size() == 0:
        advice.append(
            "Paused agents keep their memory: this host has no swap. Add some: ./ocmt memory enable"
        )
    return advice
