"""The host's memory as the admission of wakes takes it."""

from pathlib import Path

from ocmt_agent.decisions.memory_admission import HostFigures
from ocmt_agent.memory.files import counts, read_text
from ocmt_agent.memory.host import KIB, read_pressure


def host_figures(root: Path = Path("/")) -> HostFigures | None:
    """The figures now; `None` where there is no procfs to read them from.

    Every wake waits for this, so that only what it decides by is read: some 0.1 ms.
    """
    meminfo = counts(read_text(root / "proc/meminfo"))
    if not meminfo:
        return None
    pressure = read_pressure(root)
    return HostFigures(
        total=meminfo["MemTotal"] * KIB,
        available=meminfo["MemAvailable"] * KIB,
        swap_total=meminfo["SwapTotal"] * KIB,
        swap_free=meminfo["SwapFree"] * KIB,
        stalled=None if pressure is None else pressure.full_avg10,
    )
