"""A control group of our own for one user's gateway process: limits, freezing, CPU time.

Speaks cgroup v2 (one folder) and v1 (one folder a controller), as far as the kernel and our rights
allow; what is not there is simply not limited. Sources: the kernel's `cgroup-v2.rst` and the
`cgroup-v1/` pages.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from ocmt_agent.runtime.spec import Limits

CGROUP_ROOT = Path("/sys/fs/cgroup")
_V1_CONTROLLERS = ("freezer", "memory", "pids", "cpu", "cpuacct")
_FREEZE_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class CgroupTree:
    """Where our groups may be made: one folder a controller (v1), or one for all (v2, key "")."""

    parents: dict[str, Path]

    @property
    def can_freeze(self) -> bool:
        return "" in self.parents or "freezer" in self.parents


def probe(name: str, *, root: Path = CGROUP_ROOT) -> CgroupTree:
    """The controllers in which we can make groups under `name`; empty when none."""
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
    """One user's group. Methods do nothing for what the kernel or our rights do not offer."""

    def __init__(self, tree: CgroupTree, user_id: str) -> None:
        self._folders = {name: parent / user_id for name, parent in tree.parents.items()}
        self._freezer = self._folders.get("", self._folders.get("freezer"))

    def make(self, limits: Limits) -> None:
        for folder in self._folders.values():
            folder.mkdir(exist_ok=True)
        memory = limits.memory_mb * 1024 * 1024
        quota_us = int(limits.cpus * 100_000)
        for name, file, value in (
            ("", "memory.max", str(memory)),
            ("", "pids.max", str(limits.pids)),
            ("", "cpu.max", f"{quota_us} 100000"),
            ("memory", "memory.limit_in_bytes", str(memory)),
            ("pids", "pids.max", str(limits.pids)),
            ("cpu", "cpu.cfs_quota_us", str(quota_us)),
        ):
            if name in self._folders:
                _try_write(self._folders[name] / file, value)

    def join_files(self) -> list[Path]:
        """The files a process writes its pid to in order to be inside."""
        return [folder / "cgroup.procs" for folder in self._folders.values()]

    def pids(self) -> list[int]:
        found: set[int] = set()
        for file in self.join_files():
            try:
                found.update(int(pid) for pid in file.read_text().split())
            except OSError:
                continue
        return sorted(found)

    @property
    def can_freeze(self) -> bool:
        return self._freezer is not None

    def is_frozen(self) -> bool:
        if self._freezer is None:
            return False
        try:
            if "" in self._folders:
                return "frozen 1" in (self._freezer / "cgroup.events").read_text()
            return (self._freezer / "freezer.state").read_text().strip() == "FROZEN"
        except OSError:
            return False

    def set_frozen(self, frozen: bool) -> None:
        """Freeze or thaw every process inside and return once the kernel says it is so.

        Blocking, milliseconds as a rule. Raises `TimeoutError` when the kernel does not get there.
        """
        assert self._freezer is not None  # noqa: S101 (callers ask can_freeze first)
        v2 = "" in self._folders
        file = self._freezer / ("cgroup.freeze" if v2 else "freezer.state")
        value = ("1" if frozen else "0") if v2 else ("FROZEN" if frozen else "THAWED")
        deadline = time.monotonic() + _FREEZE_WITHIN_S
        file.write_text(value)
        while self.is_frozen() != frozen:
            if time.monotonic() > deadline:
                raise TimeoutError("the kernel did not finish freezing the processes")
            time.sleep(0.001)
            if not v2:
                file.write_text(value)  # v1 may need to be asked again for a busy process

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
        """Remove the empty group. One that still has processes stays until they are gone."""
        for folder in self._folders.values():
            try:
                folder.rmdir()
            except OSError:
                continue


def _try_write(file: Path, value: str) -> None:
    try:
        file.write_text(value)
    except OSError:
        return  # a limit the kernel or our rights do not offer
