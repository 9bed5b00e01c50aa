"""Reads the host's memory and one agent's memory from procfs, sysfs and cgroupfs.

Nothing is cached. `root` may be a recorded tree instead of `/`. Figures that a kernel does not have
are `None` or zero. All sizes are in bytes.

Sources: the kernel's `proc.rst`, `cgroup-v2.rst`, `cgroup-v1/memory.rst`, `zram.rst` (mm_stat) and
`psi.rst`.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ocmt_agent.memory.files import counts, read_text, to_int
from ocmt_agent.records.agent_memory import AgentMemory
from ocmt_agent.runtime.base import Whereabouts

KIB = 1024


class SwapKind(StrEnum):
    DISK = "disk"
    ZRAM = "zram"


@dataclass(frozen=True, slots=True)
class SwapArea:
    """One line of `/proc/swaps`."""

    name: str
    kind: SwapKind
    size: int
    used: int

    @property
    def free(self) -> int:
        return self.size - self.used


@dataclass(frozen=True, slots=True)
class Zram:
    """All zram devices together: the bytes stored and the RAM they take."""

    stored: int
    ram: int


@dataclass(frozen=True, slots=True)
class Zswap:
    """The compressed cache in front of swap: the bytes stored and the RAM they take."""

    enabled: bool
    stored: int
    ram: int


@dataclass(frozen=True, slots=True)
class Pressure:
    """Percentages of the last 10 and 60 seconds in which tasks waited for memory.

    `some`: at least one task waited. `full`: all tasks with work waited.
    """

    some_avg10: float
    some_avg60: float
    full_avg10: float
    full_avg60: float


@dataclass(frozen=True, slots=True)
class HostMemory:
    total: int
    available: int
    swaps: tuple[SwapArea, ...]
    zram: Zram
    zswap: Zswap
    pressure: Pressure | None
    """`None` if the kernel does not measure it (built without PSI, or booted with `psi=0`)."""

    def swap_size(self, kind: SwapKind | None = None) -> int:
        return sum(area.size for area in self.swaps if kind in (None, area.kind))

    def swap_free(self, kind: SwapKind | None = None) -> int:
        return sum(area.free for area in self.swaps if kind in (None, area.kind))

    def in_zram(self, swapped: int) -> int:
        """RAM that `swapped` bytes of one agent take in zram, estimated from the host's averages.

        The kernel does not report which swap area holds a process's pages, so the agent's swap is
        assumed to be distributed and compressed like all swap.
        """
        used = sum(area.used for area in self.swaps)
        in_zram = sum(area.used for area in self.swaps if area.kind is SwapKind.ZRAM)
        if used == 0 or self.zram.stored == 0:
            return 0
        return int(swapped * (in_zram / used) * min(1.0, self.zram.ram / self.zram.stored))


def read_host_memory(root: Path = Path("/")) -> HostMemory:
    """The host's memory now. Takes about 0.2 ms. Raises `OSError` without procfs."""
    meminfo = counts((root / "proc/meminfo").read_text())
    return HostMemory(
        total=meminfo["MemTotal"] * KIB,
        available=meminfo["MemAvailable"] * KIB,
        swaps=read_swap_areas(root),
        zram=_zram(root),
        zswap=Zswap(
            enabled=read_text(root / "sys/module/zswap/parameters/enabled").strip() == "Y",
            stored=meminfo.get("Zswapped", 0) * KIB,
            ram=meminfo.get("Zswap", 0) * KIB,
        ),
        pressure=read_pressure(root),
    )


def read_agent_memory(where: Whereabouts, host: HostMemory) -> AgentMemory | None:
    """One agent's memory, from its control group or else its processes; `None` once it is gone.

    `host`, read at about the same time, is needed to estimate the agent's share of zram.
    """
    if where.memory is not None:
        return read_group_memory(where.memory, host)
    return read_processes_memory(where.pids(), host)


def read_group_memory(folder: Path, host: HostMemory) -> AgentMemory | None:
    """The memory of one control group (v1's memory controller, or v2); `None` once it is gone.

    Takes about 0.1 ms.
    """
    stat = counts(read_text(folder / "memory.stat"))
    if not stat:
        return None
    if (folder / "memory.current").exists():
        usage, anon, cache = to_int(read_text(folder / "memory.current")), "anon", "file"
        swap = to_int(read_text(folder / "memory.swap.current"))
        zswapped = to_int(read_text(folder / "memory.zswap.current"))
    else:
        usage, anon, cache = to_int(read_text(folder / "memory.usage_in_bytes")), "rss", "cache"
        # The field exists if swap accounting is on. v1 does not count zswap.
        swap, zswapped = stat.get("swap", 0), 0
    return AgentMemory(
        usage=usage,
        anon=stat.get(anon, 0),
        cache=stat.get(cache, 0),
        swap=swap,
        compressed=host.in_zram(swap) + zswapped,
    )


def read_processes_memory(
    pids: list[int], host: HostMemory, *, root: Path = Path("/")
) -> AgentMemory | None:
    """The memory of processes without a control group; shared pages are counted in each process.

    `None` if no process exists any more.
    """
    anon = cache = swap = 0
    found = False
    for pid in pids:
        status = counts(read_text(root / "proc" / str(pid) / "status"))
        if "RssAnon" in status:  # absent in a zombie
            found = True
            anon += status["RssAnon"] * KIB
            cache += (status["RssFile"] + status["RssShmem"]) * KIB
            swap += status["VmSwap"] * KIB
    if not found:
        return None
    return AgentMemory(anon + cache, anon, cache, swap, host.in_zram(swap))


def read_swap_areas(root: Path = Path("/")) -> tuple[SwapArea, ...]:
    """The host's swap files, partitions and zram devices now."""
    areas = []
    for line in read_text(root / "proc/swaps").splitlines()[1:]:
        name, _, size, used, _ = line.rsplit(maxsplit=4)
        kind = SwapKind.ZRAM if Path(name).name.startswith("zram") else SwapKind.DISK
        areas.append(SwapArea(name, kind, int(size) * KIB, int(used) * KIB))
    return tuple(areas)


def _zram(root: Path) -> Zram:
    stored = ram = 0
    for device in (root / "sys/block").glob("zram*"):
        fields = read_text(device / "mm_stat").split()  # original size, compressed, RAM in all, …
        if len(fields) > 2:
            stored += int(fields[0])
            ram += int(fields[2])
    return Zram(stored, ram)


def read_pressure(root: Path = Path("/")) -> Pressure | None:
    """The host's memory pressure; `None` if the kernel does not measure it."""
    averages: dict[str, float] = {}
    for line in read_text(root / "proc/pressure/memory").splitlines():
        kind, *fields = line.split()
        for name, _, value in (field.partition("=") for field in fields):
            averages[f"{kind} {name}"] = float(value)
    try:
        return Pressure(
            averages["some avg10"],
            averages["some avg60"],
            averages["full avg10"],
            averages["full avg60"],
        )
    except KeyError:
        return None
