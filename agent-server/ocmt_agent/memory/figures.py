"""The host's memory as the admission of wakes takes it."""

from ocmt_agent.hibernation.admission import HostFigures
from ocmt_agent.memory.host import read_host_memory


def host_figures() -> HostFigures | None:
    """The figures now; `None` where there is no procfs to read them from."""
    try:
        memory = read_host_memory()
    except OSError:
        return None
    return HostFigures(
        total=memory.total,
        available=memory.available,
        swap_total=memory.swap_size(),
        swap_free=memory.swap_free(),
        stalled=None if memory.pressure is None else memory.pressure.full_avg10,
    )
