"""Thawing a container of which Docker says that it is not paused, though the kernel froze it.

A pause that failed half way, or an engine killed in the middle of one, can leave it so: then Docker
refuses to unpause it, and a frozen process takes no signal. Only then may its freezer be written
from here; under Docker's own pause that would leave Docker with a wrong idea of it.
"""

import contextlib
from pathlib import Path

from ocmt_agent.runtime.cgroup import CGROUP_ROOT


def thaw(container_id: str, pid: int) -> bool:
    """Whether the container whose first process is `pid` was frozen, and is let go now."""
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False
    if pid <= 0 or container_id not in text:  # an engine elsewhere: that number is not ours
        return False
    thawed = False
    for file, states, free in freezers(text):
        with contextlib.suppress(OSError):  # gone meanwhile, or not ours to write
            if file.read_text().strip() in states:
                file.write_text(free)
                thawed = True
    return thawed


def freezers(
    proc_cgroup: str, *, root: Path = CGROUP_ROOT
) -> list[tuple[Path, frozenset[str], str]]:
    """The freezer's file, what it says when frozen and when not, from `/proc/<pid>/cgroup`.

    Lines are `id:controllers:path` (`cgroups(7)`); a v1 freezer that is on its way says `FREEZING`.
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
