"""Computes the steps of `ocmt memory enable` and `disable` from the machine and the record. Pure.

So the steps can be shown before they run. The steps to repeat at boot become the systemd unit.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

from ocmt_cli.checkout import command
from ocmt_cli.memory.machine import MAPPED_NAME, Area, Machine, Places
from ocmt_cli.memory.record import Made, as_text
from ocmt_cli.sizes import show_size

GIB = 1024**3
DEFAULT_FILE = Path("/var/lib/ocmt/swap")

SWAP_PER_RAM = 8
"""With one user in ten awake, 972 MB per awake agent, and 24 MB of RAM and 1,042 MB of swap per
sleeping one, RAM and swap run out together at about 8 × RAM (measured: docs/benchmarks.md)."""
_KEPT_FREE = 0.25
"""The share of the free disk that is left for logs, images and the agents' files."""
_KEPT_FREE_BYTES = 4 * GIB
_SMALLEST_BYTES = 10 * 1024**2
_HEADROOM_BYTES = 256 * 1024**2
"""Bytes that must stay available after all swapped memory has been read back."""

_DISK_PRIORITY = 10
_ZRAM_PRIORITY = 100  # before the disk: it is 5-10 times faster
_ZSWAP = (("compressor", "lz4"), ("max_pool_percent", "20"), ("enabled", "Y"))
_HOLDS_SWAP = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"}


class Refused(Exception):
    """The plan cannot work on this machine. `str()` is the reason and the cure."""


@dataclass(frozen=True, slots=True)
class Run:
    """A program to run; if `optional`, its failure is ignored."""

    words: tuple[str, ...]
    optional: bool = False

    def __str__(self) -> str:
        return shlex.join(self.words)


@dataclass(frozen=True, slots=True)
class Write:
    path: Path
    text: str
    mode: int = 0o644

    def __str__(self) -> str:
        return f"write {self.path}"


@dataclass(frozen=True, slots=True)
class Remove:
    path: Path

    def __str__(self) -> str:
        return f"remove {self.path}"


Step = Run | Write | Remove


@dataclass(frozen=True, slots=True)
class Plan:
    summary: str
    """The plan in a sentence for the operator."""
    steps: tuple[Step, ...]
    not_permanent: tuple[str, ...] = ()
    """Commands that the operator has to repeat after a reboot, on a machine without systemd."""


@dataclass(frozen=True, slots=True)
class Wish:
    file: Path = DEFAULT_FILE
    swap_bytes: int | None = None
    """Bytes of swap on disk; `None` to compute them, 0 for none."""
    encrypt: bool = False
    zram: bool = False
    zswap: bool = False


def swap_by_rule(machine: Machine) -> int:
    """Bytes of swap on disk for this machine, in whole gigabytes. Raises `Refused` below one."""
    # Our own file at that path will be replaced, so its space counts as free.
    free = machine.disk_free_bytes + (machine.file_bytes or 0)
    room = min(free * (1 - _KEPT_FREE), free - _KEPT_FREE_BYTES)
    size = int(min(machine.ram_bytes * SWAP_PER_RAM, room) // GIB)
    if size < 1:
        raise Refused(
            f"Only {show_size(free)} of disk space is free. Free some, name a file on another disk "
            "with --file, or use --zram with --swap 0."
        )
    return size * GIB


def plan_enable(wish: Wish, machine: Machine, made: Made | None, places: Places) -> Plan:
    """The steps that are still missing; none if all of `wish` is set up.

    Raises `Refused` if it cannot work on this machine or another wish is enabled.
    """
    new = _to_make(wish, machine, made)
    if made is not None and not made.same_wish(new):
        raise Refused(
            f"Already enabled: {describe(made)}. To change it, run first: "
            f"{command('memory disable')}"
        )
    made = made or new
    steps: list[Step] = []
    at_boot = boot_steps(made, places)
    if made.file and not _disk_is_on(made, machine):
        steps += _make_file(Path(made.file), made.file_bytes, machine)
        steps += _disk_steps(made, places, first=True, opened=machine.mapped_device is not None)
    if made.zram_bytes and machine.area(machine.zram_device) is None:
        steps += _zram_steps(made, places)
    if made.zswap_before is not None and not _zswap_is_on(machine):
        steps += _zswap_steps(_ZSWAP, places)
    if machine.systemd and not machine.unit_enabled:
        steps += [
            Write(places.unit, unit_text(at_boot)),
            Run(("systemctl", "daemon-reload")),
            Run(("systemctl", "enable", places.unit.name)),
        ]
    if steps:
        if not machine.root:
            raise Refused("Only root can set up swap. Run this with sudo.")
        steps.insert(0, Write(places.record, as_text(made)))
    missing = () if machine.systemd else tuple(str(step) for step in at_boot)
    return Plan(f"Wanted: {describe(made)}.", tuple(steps), missing)


def plan_disable(machine: Machine, made: Made | None, places: Places) -> Plan:
    """The steps that undo `enable`; none if it was never run.

    Raises `Refused` if the content of OCMT's swap does not fit into memory.
    """
    if made is None:
        return Plan("Nothing to remove: swap was not set up with `ocmt memory enable`.", ())
    if not machine.root:
        raise Refused("Only root can remove swap. Run this with sudo.")
    ours = [machine.area(_disk_device(made, machine)), machine.area(machine.zram_device)]
    areas = [area for area in ours if area is not None]
    _refuse_if_it_does_not_fit(machine, areas)
    steps: list[Step] = []
    if machine.unit_there:
        steps += [
            Run(("systemctl", "disable", places.unit.name)),
            Remove(places.unit),
            Run(("systemctl", "daemon-reload")),
        ]
    steps += [Run(("swapoff", area.device)) for area in areas]
    if made.encrypted and machine.mapped_device is not None:
        steps.append(Run(("cryptsetup", "close", MAPPED_NAME)))
    if made.file is not None:
        steps.append(Remove(Path(made.file)))
    if made.zram_bytes:
        if machine.zram_device is not None:
            steps.append(Run(("zramctl", "--reset", machine.zram_device)))
        steps.append(Remove(places.zram_device))
    if made.zswap_before is not None and machine.zswap is not None:
        steps += _zswap_steps(made.zswap_before, places)
    steps.append(Remove(places.record))
    return Plan(f"Removing {describe(made)}.", tuple(steps))


def describe(made: Made) -> str:
    parts = []
    if made.file is not None:
        kind = "encrypted swap" if made.encrypted else "swap"
        parts.append(f"{show_size(made.file_bytes)} of {kind} on disk in {made.file}")
    if made.zram_bytes:
        parts.append(f"{show_size(made.zram_bytes)} of swap compressed in RAM (zram, lz4)")
    if made.zswap_before is not None:
        parts.append("a compressed cache in RAM before the disk (zswap)")
    return ", ".join(parts)


def boot_steps(made: Made, places: Places) -> list[Run]:
    """The steps to repeat at every boot."""
    steps: list[Run] = []
    if made.file is not None:
        steps += _disk_steps(made, places, first=False)
    if made.zram_bytes:
        steps += _zram_steps(made, places)
    if made.zswap_before is not None:
        steps += _zswap_steps(_ZSWAP, places)
    return steps


def unit_text(steps: list[Run]) -> str:
    # Doubled, since systemd expands single `$` and `%`.
    lines = [
        ("ExecStart=-" if step.optional else "ExecStart=")
        + str(step).replace("%", "%%").replace("$", "$$")
        for step in steps
    ]
    return "\n".join(
        [
            "# Made by `ocmt memory enable`, removed by `ocmt memory disable`.",
            "[Unit]",
            "Description=Swap for sleeping OCMT agents",
            "After=local-fs.target",
            "Before=docker.service",
            "",
            "[Service]",
            "Type=oneshot",
            "RemainAfterExit=yes",
            *lines,
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )


def _to_make(wish: Wish, machine: Machine, made: Made | None) -> Made:
    if wish.zram and wish.zswap:
        raise Refused("zram and zswap would compress the same pages twice: choose one of them.")
    size = wish.swap_bytes
    if size is None:
        # Keep the recorded size, since the computed one depends on the free disk space.
        size = made.file_bytes if made is not None and made.file else swap_by_rule(machine)
    if size == 0 and not wish.zram:
        raise Refused("There is nothing to do: --swap 0 needs --zram.")
    if wish.zswap and size == 0:
        raise Refused("zswap is a cache for swap on disk: it needs --swap.")
    if wish.encrypt and size == 0:
        raise Refused("There is nothing to encrypt: --encrypt needs --swap.")
    if made is None:
        _refuse_what_cannot_work(wish, size, machine)
    before = made.zswap_before if made is not None else machine.zswap
    return Made(
        file=str(wish.file) if size else None,
        file_bytes=size,
        encrypted=wish.encrypt,
        zram_bytes=machine.ram_bytes // 2 // 4096 * 4096 if wish.zram else 0,
        zswap_before=before if wish.zswap else None,
    )


def _refuse_what_cannot_work(wish: Wish, size: int, machine: Machine) -> None:
    needed = {"mkswap", "swapon", "swapoff", "fallocate"} if size else {"mkswap", "swapon"}
    needed |= {"zramctl"} if wish.zram else set()
    if lacking := sorted(needed - machine.programs):
        raise Refused(f"Not installed: {', '.join(lacking)}. Run: apt-get install util-linux mount")
    if wish.zram and not machine.zram:
        raise Refused("This kernel has no zram. Use swap on disk only.")
    if wish.zswap and machine.zswap is None:
        raise Refused("This kernel has no zswap. Leave out --zswap.")
    if wish.encrypt:
        if "cryptsetup" not in machine.programs:
            raise Refused("Encryption needs cryptsetup. Run: apt-get install cryptsetup-bin")
        if not machine.dm_crypt:
            raise Refused(
                "This kernel has no dm-crypt, so swap cannot be encrypted here. Without --encrypt, "
                "the agents' memory can be read from this machine's disk."
            )
    if not size:
        return
    if size < _SMALLEST_BYTES:
        raise Refused(f"A swap file needs at least {show_size(_SMALLEST_BYTES)}.")
    if machine.filesystem not in _HOLDS_SWAP:
        raise Refused(
            f"{wish.file.parent} is on {machine.filesystem}, which does not support swap files. "
            "Name a file on an ext4, xfs or btrfs disk with --file."
        )
    if machine.file_bytes is not None:
        raise Refused(
            f"{wish.file} exists and is not a file of `ocmt memory`. Name another with --file."
        )
    if size > machine.disk_free_bytes:
        raise Refused(
            f"{show_size(size)} does not fit: {show_size(machine.disk_free_bytes)} is free at "
            f"{wish.file.parent}. Choose less with --swap, or another disk with --file."
        )


def _refuse_if_it_does_not_fit(machine: Machine, areas: list[Area]) -> None:
    used = sum(area.used_bytes for area in areas)
    others = sum(area.size_bytes - area.used_bytes for area in machine.areas if area not in areas)
    room = machine.available_bytes + others - _HEADROOM_BYTES
    if used > max(room, 0):
        raise Refused(
            f"This swap holds {show_size(used)}, and only {show_size(max(room, 0))} of memory is "
            f"free for it. Stop sleeping agents first ({command('down')}), then try again."
        )


def _disk_device(made: Made, machine: Machine) -> str | None:
    return machine.mapped_device if made.encrypted else made.file


def _disk_is_on(made: Made, machine: Machine) -> bool:
    return machine.area(_disk_device(made, machine)) is not None


def _zswap_is_on(machine: Machine) -> bool:
    return machine.zswap is not None and dict(machine.zswap)["enabled"] == "Y"


def _make_file(file: Path, size: int, machine: Machine) -> list[Step]:
    if machine.file_bytes == size:
        return []
    steps: list[Step] = [Remove(file), Write(file, "", 0o600)]
    if machine.filesystem == "btrfs":
        steps.append(Run(("chattr", "+C", str(file))))  # swap files must not be copy-on-write
    steps.append(Run(("fallocate", "--length", str(size), str(file))))
    return steps


def _disk_steps(made: Made, places: Places, *, first: bool, opened: bool = False) -> list[Run]:
    file = str(made.file)
    swapon = ("swapon", "--priority", str(_DISK_PRIORITY))
    if not made.encrypted:
        make = [Run(("mkswap", "--label", "ocmt", file))] if first else []
        return [*make, Run((*swapon, file))]
    # The key is not stored, so the old content is unreadable after a reboot: run mkswap each time.
    cipher = ("--cipher", "aes-xts-plain64", "--key-size", "512", "--key-file", "/dev/urandom")
    mapped = str(places.mapped)
    opens = Run(("cryptsetup", "open", "--type", "plain", *cipher, file, MAPPED_NAME))
    return [
        *([] if opened else [opens]),
        Run(("mkswap", "--label", "ocmt", mapped)),
        Run((*swapon, mapped)),
    ]


def _zram_steps(made: Made, places: Places) -> list[Run]:
    # The free device is known only at run time; it is recorded for `disable` and `status`.
    script = (
        f"set -e; d=$(zramctl --find --algorithm lz4 --size {made.zram_bytes}); "
        f'echo "$d" > {shlex.quote(str(places.zram_device))}; '
        f'mkswap --label ocmt-zram "$d"; swapon --priority {_ZRAM_PRIORITY} "$d"'
    )
    # There is no module to load if it is built into the kernel.
    return [Run(("modprobe", "zram"), optional=True), Run(("sh", "-c", script))]


def _zswap_steps(settings: tuple[tuple[str, str], ...], places: Places) -> list[Run]:
    return [
        # A kernel without this compressor keeps its current one; that is no failure.
        Run(
            ("sh", "-c", f"echo {shlex.quote(value)} > {shlex.quote(str(places.zswap / name))}"),
            optional=name == "compressor",
        )
        for name, value in settings
    ]
