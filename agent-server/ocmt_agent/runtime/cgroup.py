"""The control group of a user's gateway process: limits, freezing, CPU time.

Supports cgroup v2 (one folder) and v1 (a folder per controller), as far as the kernel and this
process's rights allow; the limit of a missing controller is skipped. Sources: the kernel's
`cgroup-v2.rst` and the pages in `cgroup-v1/`.
"""

import contextlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from ocmt_agent.runtime.spec import Limits

CGROUP_ROOT = Path("/sys/fs/cgroup")
_V1_CONTROLLERS = ("freezer", "memory", "pids", "cpu", "cpuacct")
_FREEZE_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class CgroupTree:
    """Parent folders of the groups: one per controller (v1), or one for all (v2, key "")."""

    parents: dict[str, Path]

    @property
    def limits_memory(self) -> bool:
        v2 = self.parents.get("")
        if v2 is None:
            return "memory" in self.parents
        return "memory" in _read(v2 / "cgroup.subtree_control").split()

    def remove(self) -> None:
        """Remove the parent folders that have no user's group in them."""
        for parent in self.parents.values():
            _remove(parent)


def probe(name: str, *, root: Path = CGROUP_ROOT) -> CgroupTree:
    """Create the folders called `name` in which this process can create groups.

    None are created without the rights.
    """
    if (root / "cgroup.controllers").exists():
        return CgroupTree(_v2(root / name))
    parents = {}
    for controller in _V1_CONTROLLERS:
        parent = root / controller / name
        if _makeable(parent):
            parents[controller] = parent
    return CgroupTree(parents)


def _v2(parent: Path) -> dict[str, Path]:
    if not _makeable(parent):
        return {}
    for folder in (parent.parent, parent):
        for controller in ("memory", "pids", "cpu"):
            _try_write(folder / "cgroup.subtree_control", f"+{controller}")
    return {"": parent}


def _makeable(parent: Path) -> bool:
    try:
        parent.mkdir(parents=False, exist_ok=True)
        trial = parent / f"probe-{os.getpid()}"
        trial.mkdir()
        trial.rmdir()
    except OSError:
        return False
    return True


class Cgroup:
    """One user's group, with those controllers that the kernel and this process's rights allow."""

    def __init__(
        self, tree: CgroupTree, user_id: str, *, freeze_within_s: float = _FREEZE_WITHIN_S
    ) -> None:
        self._freeze_within_s = freeze_within_s
        self._folders = {name: parent / user_id for name, parent in tree.parents.items()}
        self._freezer = self._folders.get("", self._folders.get("freezer"))

    def make(self, limits: Limits) -> None:
        for folder in self._folders.values():
            folder.mkdir(exist_ok=True)
        memory = limits.memory_mb * 1024 * 1024
        quota_us = int(limits.cpus * 100_000)
        for name, file, value in (
            ("", "memory.max", str(memory)),
            ("", "memory.swap.max", str(limits.swap_bytes)),
            ("", "pids.max", str(limits.pids)),
            ("", "cpu.max", f"{quota_us} 100000"),
            # Lifted first: the kernel rejects a memory limit above that of memory plus swap.
            ("memory", "memory.memsw.limit_in_bytes", "-1"),
            ("memory", "memory.limit_in_bytes", str(memory)),
            ("memory", "memory.memsw.limit_in_bytes", str(limits.memory_and_swap_bytes)),
            ("pids", "pids.max", str(limits.pids)),
            ("cpu", "cpu.cfs_quota_us", str(quota_us)),
        ):
            if name in self._folders:
                _try_write(self._folders[name] / file, value)
        if self._freezer is not None:
            self.set_frozen(False)  # if left frozen, a process would freeze as it joins

    def memory_folder(self) -> Path | None:
        """The folder with the group's memory figures; `None` without a memory controller."""
        folder = self._folders.get("", self._folders.get("memory"))
        return folder if folder is not None and (folder / "memory.stat").exists() else None

    def join_files(self) -> list[Path]:
        """The files to which a process writes its pid to join the group."""
        return [folder / "cgroup.procs" for folder in self._folders.values()]

    def pids(self) -> list[int]:
        found: set[int] = set()
        for file in self.join_files():
            found.update(int(pid) for pid in _read(file).split())
        return sorted(found)

    def can_freeze(self, pid: int) -> bool:
        """Whether `pid` is in the group, so that a freeze stops it and all its descendants."""
        return (
            self._freezer is not None and str(pid) in _read(self._freezer / "cgroup.procs").split()
        )

    def is_frozen(self) -> bool:
        if self._freezer is None:
            return False
        if "" in self._folders:
            return "frozen 1" in _read(self._freezer / "cgroup.events")
        return _read(self._freezer / "freezer.state").strip() == "FROZEN"

    def set_frozen(self, frozen: bool) -> None:
        """Freeze or thaw all processes of the group, and return once the kernel confirms it.

        Blocking, usually for milliseconds. If it takes over `freeze_within_s` seconds, thaws them
        and raises `TimeoutError`. May also raise `OSError`.
        """
        assert self._freezer is not None  # noqa: S101 (callers check `can_freeze` first)
        v2 = "" in self._folders
        file = self._freezer / ("cgroup.freeze" if v2 else "freezer.state")
        freeze, thaw = ("1", "0") if v2 else ("FROZEN", "THAWED")
        deadline = time.monotonic() + self._freeze_within_s
        file.write_text(freeze if frozen else thaw)
        while self.is_frozen() != frozen:
            if time.monotonic() > deadline:
                file.write_text(thaw)
                raise TimeoutError(f"the kernel did not finish within {self._freeze_within_s:g} s")
            time.sleep(0.001)
            if not v2:
                file.write_text(freeze if frozen else thaw)  # v1: retry for a busy process

    def out_of_memory(self) -> bool:
        """Whether the kernel killed a process of the group for lack of memory."""
        for name, file in (("", "memory.events"), ("memory", "memory.oom_control")):
            folder = self._folders.get(name)
            text = "" if folder is None else _read(folder / file)
            if any(re.fullmatch(r"oom_kill [1-9]\d*", line) for line in text.splitlines()):
                return True
        return False

    def cpu_seconds(self) -> float | None:
        try:
            if "" in self._folders:
                for line in (self._folders[""] / "cpu.stat").read_text().splitlines():
                    if line.startswith("usage_usec "):
                        return int(line.split()[1]) / 1e6
            if "cpuacct" in self._folders:
                return int((self._folders["cpuacct"] / "cpuacct.usage").read_text()) / 1e9
        except (OSError, ValueError):
            return None
        return None

    def remove(self) -> None:
        """Remove the group if it has no processes."""
        for folder in self._folders.values():
            _remove(folder)


def _remove(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _try_write(file: Path, value: str) -> None:
    with contextlib.suppress(OSError):  # a limit that the kernel or our rights do not allow
        file.write_text(value)
