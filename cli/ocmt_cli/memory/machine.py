"""Reads this machine's swap, disks and kernel features; changes nothing."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

MAPPED_NAME = "ocmt-swap"
_PROGRAMS = ("mkswap", "swapon", "swapoff", "fallocate", "cryptsetup", "zramctl", "modprobe")


@dataclass(frozen=True, slots=True)
class Places:
    """Paths of the kernel's files and of OCMT's; tests use others."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    run: Path = Path("/run")
    dev: Path = Path("/dev")
    units: Path = Path("/etc/systemd/system")
    state: Path = Path("/var/lib/ocmt")

    @classmethod
    def under(cls, root: Path) -> "Places":
        return cls(
            *(root / name for name in ("proc", "sys", "run", "dev", "units", "var/lib/ocmt"))
        )

    @property
    def record(self) -> Path:
        return self.state / "memory.json"

    @property
    def unit(self) -> Path:
        return self.units / "ocmt-memory.service"

    @property
    def unit_link(self) -> Path:
        """The link that `systemctl enable` creates."""
        return self.units / "multi-user.target.wants" / self.unit.name

    @property
    def zram_device(self) -> Path:
        """The file with the path of OCMT's compressed device, written at every boot."""
        return self.run / "ocmt-zram"

    @property
    def zswap(self) -> Path:
        return self.sys / "module/zswap/parameters"

    @property
    def mapped(self) -> Path:
        return self.dev / "mapper" / MAPPED_NAME


@dataclass(frozen=True, slots=True)
class Area:
    """One line of the kernel's list of swap areas."""

    device: str
    size_bytes: int
    used_bytes: int
    priority: int


@dataclass(frozen=True, slots=True)
class Machine:
    root: bool
    ram_bytes: int
    available_bytes: int
    areas: tuple[Area, ...]
    filesystem: str
    """The type of the swap file's file system: `ext4`, `btrfs`, `overlay`, …"""
    disk_free_bytes: int
    file_bytes: int | None
    """Bytes of the file at the swap file's path; `None` without one."""
    mapped_device: str | None
    """The encrypted device (`/dev/dm-0`), when it is open."""
    zram: bool
    zram_device: str | None
    """OCMT's compressed device, if it is set up."""
    zswap: tuple[tuple[str, str], ...] | None
    """zswap's current settings; `None` in a kernel without it."""
    dm_crypt: bool
    systemd: bool
    unit_there: bool
    unit_enabled: bool
    """Whether the unit is started at boot."""
    programs: frozenset[str]

    def area(self, device: str | None) -> Area | None:
        return next((area for area in self.areas if area.device == device), None)


def look(places: Places, swap_file: Path) -> Machine:
    """Read the machine's state. Raises `OSError` without Linux's /proc."""
    there = next(folder for folder in swap_file.resolve().parents if folder.exists())
    meminfo = _meminfo(places.proc / "meminfo")
    programs = frozenset(name for name in _PROGRAMS if _program(name))
    return Machine(
        root=os.geteuid() == 0,
        ram_bytes=meminfo["MemTotal"],
        available_bytes=meminfo["MemAvailable"],
        areas=tuple(_areas(places.proc / "swaps")),
        filesystem=_filesystem(places.proc / "self/mountinfo", there),
        disk_free_bytes=shutil.disk_usage(there).free,
        file_bytes=swap_file.stat().st_size if swap_file.exists() else None,
        mapped_device=str(places.mapped.resolve()) if places.mapped.exists() else None,
        zram=(places.sys / "class/zram-control").exists() or _loadable("zram", programs),
        zram_device=_noted_zram(places),
        zswap=_zswap(places.zswap),
        dm_crypt=(places.sys / "module/dm_crypt").exists() or _loadable("dm_crypt", programs),
        systemd=(places.run / "systemd/system").exists(),
        unit_there=places.unit.exists(),
        unit_enabled=places.unit.exists() and places.unit_link.is_symlink(),
        programs=programs,
    )


def _program(name: str) -> str | None:
    # A user's PATH often lacks the sbin folders.
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _meminfo(path: Path) -> dict[str, int]:
    values = {}
    for line in path.read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0]) * 1024
    return values


def _areas(path: Path) -> list[Area]:
    if not path.exists():  # a kernel without swap
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        device, _, size, used, priority = line.split()
        name = device.encode().decode("unicode_escape")
        found.append(Area(name, int(size) * 1024, int(used) * 1024, int(priority)))
    return found


def _filesystem(mountinfo: Path, folder: Path) -> str:
    best, kind = -1, "unknown"
    for line in mountinfo.read_text(encoding="utf-8").splitlines():
        left, _, right = line.partition(" - ")
        mounted = Path(left.split()[4].encode().decode("unicode_escape"))
        # A later mount on the same path hides an earlier one.
        if folder.is_relative_to(mounted) and len(mounted.parts) >= best:
            best, kind = len(mounted.parts), right.split()[0]
    return kind


def _noted_zram(places: Places) -> str | None:
    """The path of OCMT's compressed device; `None` if it is not set up or was reset."""
    if not places.zram_device.exists():
        return None
    device = places.zram_device.read_text(encoding="ascii").strip()
    there = device and (places.sys / "block" / Path(device).name).exists()
    return device if there else None


def _zswap(folder: Path) -> tuple[tuple[str, str], ...] | None:
    if not (folder / "enabled").exists():
        return None
    names = ("enabled", "compressor", "max_pool_percent")
    return tuple((name, (folder / name).read_text(encoding="ascii").strip()) for name in names)


def _loadable(module: str, programs: frozenset[str]) -> bool:
    modprobe = _program("modprobe")
    if "modprobe" not in programs or modprobe is None:
        return False
    asked = [modprobe, "--dry-run", "--quiet", module]
    return subprocess.run(asked, capture_output=True, check=False, timeout=20).returncode == 0
