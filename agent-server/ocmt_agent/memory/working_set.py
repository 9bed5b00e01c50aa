"""Which pages an agent uses when it wakes and answers, as it did the last time.

Only ranges of addresses, bound to the very processes they were seen in: those of a gateway that was
started anew are others, and nothing of the old is applied to them.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ocmt_agent.memory.ranges import Range, mapped, size_of, without
from ocmt_agent.memory.syscalls import Advice, batches, process_madvise, resident
from ocmt_agent.runtime.base import Whereabouts
from ocmt_agent.runtime.processes import ProcessId, identify

Pages = Mapping[ProcessId, list[Range]]

_BATCH = 4 << 20
"""Bytes a call: some milliseconds of reading from disk, after which it can be stopped."""
_USUAL_SHARE = 0.6
_FIRST_MOST = 64 << 20


@dataclass(frozen=True, slots=True)
class WorkingSet:
    first: Pages
    """What it used until its gateway took work again."""
    then: Pages
    """What it used besides until its first answer was given."""
    earlier: Pages
    """What it used the time before and not this time: a garbage collection is not in every wake."""

    @property
    def size(self) -> int:
        return size(self.first) + size(self.then)

    def in_order(self) -> tuple[Pages, Pages, Pages]:
        """All of it, in the order in which a wake needs it."""
        return self.first, self.then, self.earlier

    def spare(self, pages: Pages) -> Pages:
        """Those of the pages that it can do without."""
        for used in self.in_order():
            pages = minus(pages, used)
        return pages


def size(pages: Pages) -> int:
    return sum(size_of(ranges) for ranges in pages.values())


def resident_pages(where: Whereabouts) -> Pages:
    """Every process's own pages in RAM now: blocking, some 20-100 ms for a gateway."""
    found = {}
    for pid in where.pids():
        process = identify(pid)
        if process is not None:
            with contextlib.suppress(OSError):  # it ended meanwhile
                found[process] = resident(pid, mapped(Path(f"/proc/{pid}/maps").read_text()))
    return found


def minus(pages: Pages, taken: Pages) -> Pages:
    return {process: without(ranges, taken.get(process, [])) for process, ranges in pages.items()}


def learned(known: WorkingSet | None, *, first: Pages, used: Pages) -> WorkingSet:
    """What is known after one more wake.

    A wake that was followed by no turn shows too little, and is passed over. A look that came only
    while the gateway was at its answer does not tell what it needed to come back: reading so much
    first would hold up what it reads itself.
    """
    if size(first) > _FIRST_MOST:
        first = {} if known is None else known.first
    then = minus(used, first)
    if known is None:
        return WorkingSet(first, then, earlier={})
    if size(first) + size(then) < _USUAL_SHARE * known.size:
        return known
    return WorkingSet(first, then, earlier=minus(minus(known.then, first), then))


def turns(pages: Pages, *, at_most: int) -> Iterator[tuple[ProcessId, list[Range]]]:
    """The pages in turns for `advise`, up to `at_most` bytes in all."""
    left = at_most
    for process, ranges in pages.items():
        for batch in batches(ranges, most=_BATCH):
            if left <= 0:
                return
            left -= size_of(batch)
            yield process, batch


def advise(process: ProcessId, ranges: list[Range], advice: Advice) -> None:
    """One short blocking call. What is gone, or cannot be advised on, is passed over."""
    with contextlib.suppress(OSError):
        pidfd = os.pidfd_open(process.pid)
        try:
            if process.state() is not None:  # else the number is another process's by now
                process_madvise(pidfd, ranges, advice)
        finally:
            os.close(pidfd)
