"""Finds a container's first process and control group on the host.

The group's path depends on the driver (`docker/<id>`, `system.slice/docker-<id>.scope`) and on the
engine's configuration, so it is read from `/proc/<pid>/cgroup` of the container's first process.
"""

from pathlib import Path

from ocmt_agent.runtime.base import Whereabouts
from ocmt_agent.runtime.cgroup import CGROUP_ROOT
from ocmt_agent.runtime.processes import identify


def whereabouts_of(container_id: str, pid: int) -> Whereabouts | None:
    """The whereabouts of a container; `None` if it does not run, or not visibly on this host.

    `pid` is from the engine. If the engine is remote or this server runs in a container, the pid
    may belong to another process here, so the group's path must contain the container's id.
    """
    leader = identify(pid) if pid > 0 else None
    if leader is None:
        return None
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return None
    if container_id not in text:
        return None
    memory = memory_folder(text)
    if memory is None:
        return None
    return Whereabouts(leader, memory, lambda: pids_in(memory))


def memory_folder(proc_cgroup: str, *, root: Path = CGROUP_ROOT) -> Path | None:
    """The folder of the memory group in the text of `/proc/<pid>/cgroup`; `None` if not visible.

    Its lines are `id:controllers:path` (`cgroups(7)`). A host with both versions has the memory
    controller in one of them: in v1 if a line lists it.
    """
    v2 = None
    for line in proc_cgroup.splitlines():
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return _existing(root / "memory" / path.lstrip("/"))
        if number == "0":
            v2 = _existing(root / path.lstrip("/"))
    return v2 if v2 is not None and (v2 / "memory.stat").exists() else None


def pids_in(folder: Path) -> list[int]:
    """The pids in a group; empty if it is gone."""
    try:
        return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _existing(folder: Path) -> Path | None:
    return folder if folder.is_dir() else None
