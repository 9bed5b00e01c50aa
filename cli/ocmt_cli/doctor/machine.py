"""Reads this machine's memory, swap, control groups and programs; changes nothing."""

import shutil
from dataclasses import dataclass
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_SWAPS = Path("/proc/swaps")


@dataclass(frozen=True, slots=True)
class Memory:
    total_bytes: int
    available_bytes: int
    swap_on_disk_bytes: int
    swap_compressed_bytes: int
    """Swap on zram; it takes about a third of its content in RAM."""


def memory(*, meminfo: Path = _MEMINFO, swaps: Path = _SWAPS) -> Memory:
    values = {}
    for line in meminfo.read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0]) * 1024
    disk = compressed = 0
    for line in swaps.read_text(encoding="ascii").splitlines()[1:]:
        device, _, size, *_ = line.split()
        if device.startswith("/dev/zram"):
            compressed += int(size) * 1024
        else:
            disk += int(size) * 1024
    return Memory(values["MemTotal"], values["MemAvailable"], disk, compressed)


@dataclass(frozen=True, slots=True)
class ControlGroups:
    version: int
    """The version of control groups: 2, 1, or 0 for none."""
    controllers: frozenset[str]
    """Which of the controllers freezer, memory, pids and cpu this machine has."""


def control_groups(root: Path = _CGROUPS) -> ControlGroups:
    used = ("freezer", "memory", "pids", "cpu")
    unified = root / "cgroup.controllers"
    if unified.exists():
        listed = set(unified.read_text(encoding="ascii").split()) | {"freezer"}  # part of v2 itself
        return ControlGroups(2, frozenset(listed & set(used)))
    present = frozenset(name for name in used if (root / name / "cgroup.procs").exists())
    return ControlGroups(1 if present else 0, present)


def program(*names: str) -> str | None:
    """The path of the first installed program of `names`, or `None`."""
    return next((path for name in names if (path := shutil.which(name))), None)


def postgresql_programs() -> str | None:
    """The folder of a PostgreSQL server's programs, which Debian leaves off the path.

    `None` if none is installed.
    """
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if debian:
        return str(debian[-1].parent)
    found = shutil.which("initdb")
    return str(Path(found).parent) if found else None
