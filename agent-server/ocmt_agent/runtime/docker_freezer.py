"""Thaws a container that is frozen although Docker reports it as not paused.

A partly failed pause, or an engine killed during one, can leave this state: Docker then refuses to
unpause the container, and its frozen processes handle no signals. The freezer is written only in
this state, since Docker's own record would otherwise become wrong.
"""

import contextlib
from pathlib import Path

from ocmt_agent.runtime.cgroup import CGROUP_ROOT


def thaw(container_id: str, pid: int) -> bool:
    """Thaw the container whose first process is `pid`, if it is frozen. Returns whether it did."""
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False
    if pid <= 0 or container_id not in text:  # a remote engine: `pid` is not of this host
        return False
    thawed = False
    for file, states, free in freezers(text):
        with contextlib.suppress(OSError):  # gone meanwhile, or not writable
            if file.read_text().strip() in states:
                file.write_text(free)
                thawed = True
    return thawed


def freezers(
    proc_cgroup: str, *, root: Path = CGROUP_ROOT
) -> list[tuple[Path, frozenset[str], str]]:
    """`(file, contents when frozen, text that thaws)` of each freezer.

    `proc_cgroup` is the text of `/proc/<pid>/cgroup`: lines of `id:controllers:path`
    (`cgroups(7)`). A v1 freezer in transition contains `FREEZING`.
    """
    found = []
    for line in proc_cgroup.splitlines():
        number, controllers, path = line.split(":", 2)
        inside = path.lstrip("/")
        if "freezer" in controllers.split(","):
            file = root / "freezer" / inside / "freezer.state"
            found.append((file, frozenset({"FROZEN", "FREEZING"}), "THAWED"))
        elif number == "0" and inside:
            found.append((root / inside / "cgroup.freeze", frozenset({"1"}), "0"))
    return found
