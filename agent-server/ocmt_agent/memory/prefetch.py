"""Prefetches the pages an agent uses when it wakes, and learns them from each wake.

Only addresses are recorded, bound to the processes they were seen in.
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
"""Seconds in which a gateway gives a short answer; a long one, as a model's, is not awaited."""
_UNSURE_FOR = 2
"""An agent's first wakes, in which many pages used before the first answer are not known yet."""


@dataclass(slots=True)
class _Seen:
    """Page use observed during one wake of a reclaimed agent."""

    first: Pages = field(default_factory=dict)
    """Pages that the agent had mapped itself when it accepted work, or gave a short answer."""
    mapped: list[Pages] = field(default_factory=list)
    """Pages that were prefetched and mapped, by batch: their use is not observable."""
    unmapped: list[Pages] = field(default_factory=list)
    """Pages that were only read from swap: those mapped later were used."""


@dataclass(slots=True)
class Prefetcher:
    working_set: WorkingSet | None = None
    _leader: ProcessId | None = None
    _held: Pages | None = None
    """All the agent's pages when it was paused; any other page was created since."""
    _laid_out: WorkingSet | None = None
    """The working set as last written to swap, with small gaps filled: what a wake reads."""
    _wakes: int = 0
    _seen: _Seen | None = None

    def belongs_to(self, leader: ProcessId) -> None:
        """Forget what was learned if the agent has another first process."""
        if self._leader != leader:
            self._leader = leader
            self.working_set = self._laid_out = self._seen = self._held = None
            self._wakes = 0

    def learned(self) -> Learned | None:
        """What to store; `None` before the agent's first wake was observed."""
        if self._leader is None or self.working_set is None or self._held is None:
            return None
        return Learned(self._leader, self.working_set, self._laid_out, self._held, self._wakes)

    def restore(self, learned: Learned) -> None:
        """Restore what an earlier server learned, if the processes are the same."""
        if self._leader == learned.leader and self.working_set is None:
            self.working_set, self._laid_out = learned.working_set, learned.laid_out
            self._held, self._wakes = learned.held, learned.wakes

    async def record_held(self, where: Whereabouts, executor: Executor) -> None:
        """Record all pages of the frozen agent before any is reclaimed.

        Discards the layout in swap of the previous sleep: some of its pages may be gone.
        """
        self._laid_out = None
        self._held = await in_thread(executor, lambda: packed(pages_anywhere(where)))

    async def lay_out(self, executor: Executor) -> None:
        """Write the agent's pages to swap in the order in which the next wake reads them.

        Pages used by the last wakes come first, the rest by address. The kernel's own order, by
        last use, scatters pages that are read together, so that a wake would read single pages.
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
        """Bring in the pages used at the last wakes: the first part now, the rest once `awake`.

        The rest waits, because otherwise the gateway's own reads would queue behind it on the disk.
        With `slow` reads, pages come in the order laid out in swap and are mapped; in the agent's
        first wakes, which show what is needed first, the rest also waits for a short answer. If
        nothing is known about the agent, up to `blindly` bytes of all its pages are read. `learns`
        is false after a sleep in which not all memory was reclaimed: the use of pages that stayed
        in RAM is not observable. `note_use` evaluates this wake later.
        """
        self._wakes += 1
        self._seen = None
        seen, laid_out = _Seen(), self._laid_out if slow else None
        # If it was woken before its pages were laid out, the working set still helps. It may name
        # pages that are gone, so it is only read, not mapped.
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
        """Learn from the wake, once the answer is complete or when the agent sleeps again."""
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
    """The working set after this wake. Blocking: a gateway has some ten thousand ranges."""
    return learned(
        known,
        held=held,
        first=seen.first,
        used=resident_pages(where),
        mapped=together(seen.mapped),
        unmapped=together(seen.unmapped),
    ).packed()
