"""Measures an agent's disk usage while the agent may change its files.

Uses `du`, which follows no links, handles any depth, and is killed if it takes too long. Deleted
files that a process still has open are invisible to `du` and are counted from procfs.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ocmt_agent.decisions.disk_limit import Room, Usage

_WITHIN_S = 60.0
_MOST_DESCRIPTORS = 100_000


async def measure(
    folder: Path, pids: Iterable[int], *, within_s: float = _WITHIN_S
) -> Usage | None:
    """The usage of a folder, including deleted files that the processes `pids` have open.

    `None` if counting takes over `within_s` seconds. The usage of a missing folder is zero.
    """
    try:
        async with asyncio.timeout(within_s):
            files = await _du("--inodes", folder)
            allocated = await _du("--block-size=1", folder)
    except TimeoutError:
        return None
    hidden = await asyncio.to_thread(deleted_but_open, folder, list(pids))
    return Usage(allocated + hidden, files)


async def _du(unit: str, folder: Path) -> int:
    process = await asyncio.create_subprocess_exec(
        *("nice", "-n", "19", "du", "--summarize", "--one-file-system", unit, "--", str(folder)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # files that vanish meanwhile
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    total = said.partition(b"\t")[0]
    return int(total) if total.isdigit() else 0


def deleted_but_open(folder: Path, pids: list[int]) -> int:
    """Bytes of deleted files on the folder's file system that `pids` have open.

    Looks at no more than `_MOST_DESCRIPTORS` open files.
    """
    try:
        device = folder.stat().st_dev
    except OSError:
        return 0
    found: dict[int, int] = {}
    budget = _MOST_DESCRIPTORS
    for pid in pids:
        with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as descriptors:
            for descriptor in descriptors:
                budget -= 1
                if budget < 0:
                    return sum(found.values())
                with contextlib.suppress(OSError):
                    seen = Path(descriptor.path).stat()
                    if seen.st_nlink == 0 and seen.st_dev == device and stat.S_ISREG(seen.st_mode):
                        found[seen.st_ino] = seen.st_blocks * 512
    return sum(found.values())


def room_on(folder: Path) -> Room:
    """The free space on the file system of `folder`. Raises `OSError`."""
    seen = os.statvfs(folder)
    return Room(
        total_bytes=seen.f_blocks * seen.f_frsize,
        free_bytes=seen.f_bavail * seen.f_frsize,
        total_files=seen.f_files,
        free_files=seen.f_favail,
    )
