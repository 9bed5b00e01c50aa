"""Prefetches the pages an agent uses when it wakes, and learns them from each wake.

Only addresses are recorded, bound to the processes in which they were seen.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

from ocmt_agent.memory.page_sets import Pages, minus, packed, together
from ocmt_agent.memory.pages import (
    bring_in,
    in_thread,
    page_out,
    pages_anywhere,
    resident_pages,
)
from ocmt_agent.memory.working_set import WorkingSet, learned, left_unmapped
from ocmt_agent.memory.working_set_store import Learned
from ocmt_agent.runtime.base import Whereabouts
from ocmt_agent.runtime.processes import ProcessId

_ANSWERS_WITHIN_S = 0.3
"""Seconds to wait for a short answer; a long one, such as a model's, is not awaited."""
_UNSURE_FOR = 2
"""The number of first wakes in which many pages used before the first answer are not known yet."""


@dataclass(slots=True)
class _Seen:
    """Page use observed during one wake of a reclaimed agent."""

    first: Pages = field(default_factory=dict)
    """Pages that the agent itself had mapped when it accepted work or gave a short answer."""
    mapped: list[Pages] = field(default_factory=list)
    """Batches that were prefetched and mapped, whose use cannot be observed."""
    unmapped: list[Pages] = field(default_factory=list)
    """Batches that were only read from swap: pages mapped later have been used."""


@dataclass(slots=True)
class Prefetcher:
    working_set: WorkingSet | None = None
    _leader: ProcessId | None = None
    _held: Pages | None = None
    """All the agent's pages when it was paused; any other page is newer."""
    _laid_out: WorkingSet | None = None
    """The working set as last written to swap, with small gaps filled, to be read by a wake."""
    _wakes: int = 0
    _seen: _Seen | None = None

    def belongs_to(self, leader: ProcessId) -> None:
        """Forget everything learned if the agent's first process is not `leader`."""
        if self._leader != leader:
            self._leader = leader
            self.working_set = self._laid_out = self._seen = self._held = None
            self._wakes = 0

    def learned(self) -> Learned | None:
        """What was learned, to be stored; `None` before the agent's first observed wake."""
        if self._leader is None or self.working_set is None or self._held is None:
            return None
        return Learned(self._leader, self.working_set, self._laid_out, self._held, self._wakes)

    def restore(self, learned: Learned) -> None:
        """Restore what an earlier server process learned, if the agent's processes are the same."""
        if self._leader == learned.leader and self.working_set is None:
            self.working_set, self._laid_out = learned.working_set, learned.laid_out
            self._held, self._wakes = learned.held, learned.wakes

    async def record_held(self, where: Whereabouts, executor: Executor) -> None:
        """Record all pages of the frozen agent before any is reclaimed.

        Discards the previous sleep's layout in swap, since some of its pages may be gone.
        """
        self._laid_out = None
        self._held = await in_thread(executor, lambda: packed(pages_anywhere(where)))

    async def lay_out(self, executor: Executor) -> None:
        """Write the agent's pages to swap in the order in which the next wake reads them.

        Pages used by the last wakes come first, then the rest by address. The kernel's own order,
        by last use, would scatter pages that are read together.
        """
        held = self._held or {}
        if self.working_set is not None:
            known = self.working_set
            self._laid_out = await in_thread(executor, lambda: known.filled(held).packed())
            await page_out(self._laid_out.first, executor)
            await page_out(self._laid_out.then, executor)
        await page_out(held, executor)

    async def prefetch(
        self,
        where: Whereabouts,
        executor: Executor,
        *,
        awake: asyncio.Event,
        answered: asyncio.Event,
        slow: bool,
        at_most: int,
        blindly: int,
        learns: bool,
    ) -> None:
        """Bring in the pages used by the last wakes: the first part now, the rest once `awake`.

        Each part is at most `at_most` bytes. The rest waits so that the gateway's own reads do not
        queue behind it on the disk. With `slow` reads, pages are read in their order in swap and
        mapped; in the agent's first wakes, which show what is needed first, the rest also waits for
        a short answer. If nothing is known about the agent, up to `blindly` bytes of all its pages
        are read. `learns` is false after a sleep in which not all memory was reclaimed, since the
        use of pages that stayed in RAM cannot be observed. `note_use` evaluates this wake later.
        """
        self._wakes += 1
        self._seen = None
        seen, laid_out = _Seen(), self._laid_out if slow else None
        # If the agent was woken before its pages were laid out, the working set still helps. Some
        # of its pages may be gone, so they are only read, not mapped.
        known = laid_out or self.working_set
        leave = partial(left_unmapped, self._wakes) if laid_out else _all
        async with asyncio.TaskGroup() as beside:
            if known:
                await self._bring_in(known.first, executor, seen, at_most, leave=leave)
            elif blindly:
                held = self._held
                if held is None:
                    held = await in_thread(executor, partial(pages_anywhere, where))
                reading = self._bring_in(held, executor, seen, blindly, leave=_all)
                beside.create_task(reading)
            await awake.wait()
            if slow and self._wakes <= _UNSURE_FOR:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(answered.wait(), _ANSWERS_WITHIN_S)
            if learns:
                resident = await in_thread(executor, partial(resident_pages, where))
                seen.first = minus(resident, together(seen.mapped))
                self._seen = seen
        if known:
            await self._bring_in(known.then, executor, seen, at_most, leave=leave)

    async def note_use(self, where: Whereabouts, executor: Executor) -> None:
        """Learn from the wake, once its answer is complete or the agent sleeps again."""
        if self._seen is not None:
            seen, self._seen = self._seen, None
            learn = partial(_learn, self.working_set, seen, where, self._held)
            self.working_set = await in_thread(executor, learn)

    async def _bring_in(
        self,
        pages: Pages,
        executor: Executor,
        seen: _Seen,
        at_most: int,
        *,
        leave: Callable[[int], bool],
    ) -> None:
        async for turn, mapped in bring_in(pages, executor, at_most=at_most, leave=leave):
            (seen.mapped if mapped else seen.unmapped).append(turn)


def _all(_: int) -> bool:
    return True


def _learn(
    known: WorkingSet | None, seen: _Seen, where: Whereabouts, held: Pages | None
) -> WorkingSet:
    """The working set after this wake. Blocking, since a gateway has about ten thousand ranges."""
    return learned(
        known,
        held=held,
        first=seen.first,
        used=resident_pages(where),
        mapped=together(seen.mapped),
        unmapped=together(seen.unmapped),
    ).packed()
