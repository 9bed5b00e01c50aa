"""Drivers that reclaim a paused agent's memory; the best one that the host supports is used.

A driver soon stops when cancelled, since a wake has priority. None blocks the event loop. They
need swap: without it, anonymous memory cannot be moved, and only caches would be dropped, which the
kernel does by itself when needed.

Sources: the kernel's `cgroup-v2.rst` (memory.reclaim, kernel 5.19), `cgroup-v1/memory.rst`
(force_empty), `process_madvise(2)`.
"""

import asyncio
import contextlib
import errno
import os
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Protocol

from ocmt_agent.memory.files import read_text, to_int
from ocmt_agent.memory.page_sets import Pages
from ocmt_agent.memory.pages import in_thread, page_out
from ocmt_agent.memory.ranges import mapped
from ocmt_agent.memory.syscalls import Advice, process_madvise
from ocmt_agent.runtime.base import Whereabouts
from ocmt_agent.runtime.cgroup import CGROUP_ROOT
from ocmt_agent.runtime.processes import identify

CHUNK = 32 << 20
"""Bytes per request, which takes about 30 ms: the longest that a wake waits for a reclaim."""
_FRUITLESS = 3
_PROGRESS = 1 << 20
_CAP_SYS_NICE = 23


class Driver(Protocol):
    name: str

    def fits(self, where: Whereabouts) -> bool:
        """Whether the driver can be used for this agent."""
        ...

    async def reclaim(self, where: Whereabouts, executor: Executor) -> None:
        """Reclaim as much as possible. No error if the agent is gone."""
        ...


class GroupReclaim:
    """cgroup v2: `memory.reclaim`, chunk by chunk until nothing more is freed."""

    name = "memory.reclaim"

    def fits(self, where: Whereabouts) -> bool:
        return where.memory is not None and _writable(where.memory / "memory.reclaim")

    async def reclaim(self, where: Whereabouts, executor: Executor) -> None:
        folder = where.memory
        if folder is not None:
            fruitless = 0
            while fruitless < _FRUITLESS:
                more = await in_thread(executor, partial(reclaim_chunk, folder, CHUNK))
                fruitless = 0 if more else fruitless + 1


class GroupEmptying:
    """cgroup v1: `memory.force_empty`, one write that takes about a second.

    A child process does the write, since a thread could not be interrupted: when the child is
    killed, the kernel stops within about a millisecond.
    """

    name = "memory.force_empty"

    def fits(self, where: Whereabouts) -> bool:
        return where.memory is not None and _writable(where.memory / "memory.force_empty")

    async def reclaim(self, where: Whereabouts, executor: Executor) -> None:
        if where.memory is None:
            return
        writer = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", 'echo 0 > "$1"', "sh", str(where.memory / "memory.force_empty")),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,  # the figures read afterwards show the result
        )
        try:
            await writer.wait()
        finally:
            if writer.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    writer.kill()


class PageOut:
    """Without control groups: `process_madvise(MADV_PAGEOUT)` on each process, in batches.

    Pages shared by several processes stay in RAM. Pages written to a disk stay as clean copies
    until the kernel needs the space, so this driver frees memory later than the others.
    """

    name = "process_madvise"

    def fits(self, where: Whereabouts) -> bool:
        return True

    async def reclaim(self, where: Whereabouts, executor: Executor) -> None:
        await page_out(await in_thread(executor, partial(_everything, where)), executor)


def reclaim_chunk(folder: Path, size: int) -> bool:
    """Reclaim `size` bytes of a v2 group. Returns whether to go on with the next chunk.

    False for an empty group, for an error, and if `EAGAIN`, which means that less was reclaimed
    than requested, came after less than a megabyte. Blocking.
    """
    before = to_int(read_text(folder / "memory.current"))
    if before == 0:
        return False
    try:
        (folder / "memory.reclaim").write_text(str(min(size, before)))
    except OSError as error:
        if error.errno != errno.EAGAIN:
            return False
        return before - to_int(read_text(folder / "memory.current")) > _PROGRESS
    return True


def drivers(*, root: Path = CGROUP_ROOT) -> list[Driver]:
    """The drivers that this host supports, the best first."""
    found: list[Driver] = []
    if (root / "cgroup.controllers").exists():
        if any(_writable(file) for file in root.glob("*/memory.reclaim")):
            found.append(GroupReclaim())
    elif _writable(root / "memory" / "memory.force_empty"):
        found.append(GroupEmptying())
    if can_advise():
        found.append(PageOut())
    return found


def can_advise() -> bool:
    """Whether the kernel has `process_madvise` and this process may use it."""
    for line in read_text(Path("/proc/self/status")).splitlines():
        if line.startswith("CapEff:") and not int(line.split()[1], 16) >> _CAP_SYS_NICE & 1:
            return False
    pidfd = os.pidfd_open(os.getpid())
    try:
        process_madvise(pidfd, [], Advice.WILLNEED)
    except OSError as error:
        return error.errno not in (errno.ENOSYS, errno.EPERM)
    finally:
        os.close(pidfd)
    return True


def _everything(where: Whereabouts) -> Pages:
    found = {}
    for pid in where.pids():
        process = identify(pid)
        if process is not None:
            found[process] = mapped(read_text(Path(f"/proc/{pid}/maps")))
    return found


def _writable(file: Path) -> bool:
    return os.access(file, os.W_OK)
