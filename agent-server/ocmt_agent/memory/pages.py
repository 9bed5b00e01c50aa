"""Lists an agent's anonymous pages, pages them out, and brings them in."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import TypeVar

from ocmt_agent.memory.page_sets import Pages
from ocmt_agent.memory.ranges import Range, mapped, size_of
from ocmt_agent.memory.syscalls import (
    Advice,
    Kept,
    batches,
    fault_in,
    own_pages,
    process_madvise,
)
from ocmt_agent.runtime.base import Whereabouts
from ocmt_agent.runtime.processes import ProcessId, identify

T = TypeVar("T")

_BATCH = 4 << 20
"""Bytes per call, a few milliseconds of disk reads; work can be cancelled between two calls."""
_ALL = 1 << 62


def resident_pages(where: Whereabouts) -> Pages:
    """The mapped anonymous pages, by process. Blocks for 20-100 ms for a gateway.

    Pages that were only read from swap, and not used since, are in RAM, but not mapped.
    """
    return _own_pages(where, Kept.MAPPED)


def pages_anywhere(where: Whereabouts) -> Pages:
    """The anonymous pages mapped or in swap, by process. Blocks like `resident_pages`."""
    return _own_pages(where, Kept.SOMEWHERE)


def _own_pages(where: Whereabouts, kept: Kept) -> Pages:
    found = {}
    for pid in where.pids():
        process = identify(pid)
        if process is not None:
            with contextlib.suppress(OSError):  # it exited meanwhile
                found[process] = own_pages(pid, mapped(Path(f"/proc/{pid}/maps").read_text()), kept)
    return found


async def page_out(pages: Pages, executor: Executor) -> None:
    """Page the pages out, in batches."""
    for turn in turns(pages, at_most=_ALL):
        await in_thread(executor, partial(advise, *turn, Advice.PAGEOUT))


async def bring_in(
    pages: Pages, executor: Executor, *, at_most: int, leave: Callable[[int], bool]
) -> AsyncIterator[tuple[Pages, bool]]:
    """Read pages from swap in batches and map them, so that no process faults on them.

    The next batch is read while one is being mapped. If `leave` is true for a batch's number, its
    pages are only read, so that later accesses show their use. Yields each batch and whether it was
    mapped. Ends with the batch that reaches `at_most` bytes.
    """
    behind: asyncio.Future[None] | None = None
    for number, turn in enumerate(turns(pages, at_most=at_most)):
        process, ranges = turn
        await in_thread(executor, partial(advise, process, ranges, Advice.WILLNEED))
        if behind is not None:
            await behind
            behind = None
        if not leave(number):
            behind = asyncio.ensure_future(in_thread(executor, partial(_map, process, ranges)))
        yield {process: ranges}, not leave(number)
    if behind is not None:
        await behind


def turns(pages: Pages, *, at_most: int) -> Iterator[tuple[ProcessId, list[Range]]]:
    """Yield the pages in batches of a few megabytes, until they reach `at_most` bytes in total."""
    left = at_most
    for process, ranges in pages.items():
        for batch in batches(ranges, most=_BATCH):
            if left <= 0:
                return
            left -= size_of(batch)
            yield process, batch


def advise(process: ProcessId, ranges: list[Range], advice: Advice) -> None:
    """Advise the kernel on pages, in one short blocking call. Errors are ignored."""
    with contextlib.suppress(OSError):
        pidfd = os.pidfd_open(process.pid)
        try:
            if process.state() is not None:  # otherwise another process has the pid by now
                process_madvise(pidfd, ranges, advice)
        finally:
            os.close(pidfd)


def _map(process: ProcessId, ranges: list[Range]) -> None:
    if process.state() is not None:
        fault_in(process.pid, ranges)


async def in_thread(executor: Executor, work: Callable[[], T]) -> T:
    """Run blocking work in a thread. Once begun, it completes even if the caller is cancelled."""
    return await asyncio.get_running_loop().run_in_executor(executor, work)
