"""What one agent needs when it wakes: written out side by side, brought back, and learned anew.

Of addresses only, and of the very processes they were seen in.
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
"""From taking work again to a short answer. A long one, such as a model's, is not waited for."""
_UNSURE_FOR = 2
"""In so many wakes an agent uses much before its first answer that was not seen before."""


@dataclass(slots=True)
class _Seen:
    """What one wake from reclaimed has shown so far."""

    first: Pages = field(default_factory=dict)
    """What it had mapped itself when it took work again, or had answered."""
    mapped: list[Pages] = field(default_factory=list)
    """Brought in for it, turn by turn, and mapped: shows nothing."""
    unmapped: list[Pages] = field(default_factory=list)
    """Only read: it shows later what of that it used."""


@dataclass(slots=True)
class Recall:
    working_set: WorkingSet | None = None
    _leader: ProcessId | None = None
    _held: Pages | None = None
    """All it had when it went to sleep; what it has besides was made since."""
    _laid_out: WorkingSet | None = None
    """The same as it was last written out, with its small gaps: what the next wake reads."""
    _wakes: int = 0
    _seen: _Seen | None = None

    def belongs_to(self, leader: ProcessId) -> None:
        """Forget what was learned of another process."""
        if self._leader != leader:
            self._leader = leader
            self.working_set = self._laid_out = self._seen = self._held = None
            self._wakes = 0

    def learned(self) -> Learned | None:
        """What there is to keep; `None` before its first wake was seen."""
        if self._leader is None or self.working_set is None or self._held is None:
            return None
        return Learned(self._leader, self.working_set, self._laid_out, self._held, self._wakes)

    def restore(self, learned: Learned) -> None:
        """Know again what an earlier server learned of the same processes."""
        if self._leader == learned.leader and self.working_set is None:
            self.working_set, self._laid_out = learned.working_set, learned.laid_out
            self._held, self._wakes = learned.held, learned.wakes

    async def take_stock(self, where: Whereabouts, executor: Executor) -> None:
        """See what there is of it, frozen, before any of that is taken.

        How it lay in the swap before is void: it was awake since, and some of that may be gone.
        """
        self._laid_out = None
        self._held = await in_thread(executor, lambda: packed(pages_anywhere(where)))

    async def lay_out(self, executor: Executor) -> None:
        """Write its own pages to the swap as the next wake reads them: what it needs side by side.

        What the last wakes used goes first, the rest by address. The kernel's own order is that of
        last use: it strews what is read together over the disk, which then reads single pages.
        """
        held = self._held or {}
        if self.working_set is not None:
            known = self.working_set
            self._laid_out = await in_thread(executor, lambda: known.filled(held).packed())
            await page_out(self._laid_out.first, executor)
            await page_out(self._laid_out.then, executor)
        await page_out(held, executor)

    async def bring_back(
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
        """Bring in what it used when it last woke: a part at once, the rest when it is `awake`.

        The rest only then: what the gateway itself reads to come back would stand behind it in the
        disk's queue. Where reads are `slow` all comes as it was laid out, and mapped; and in its
        first wakes, which show what comes first, it may give a short answer before the rest.
        Of an agent of which nothing was learned, as at its first wake, up to `blindly` bytes of all
        it has are read. `learns` is false after a sleep in which not all was taken: of what never
        left RAM, nothing shows whether it was used. What this wake shows is learned by `note_use`,
        later.
        """
        self._wakes += 1
        self._seen = None
        seen, laid_out = _Seen(), self._laid_out if slow else None
        # Woken before that was done, what is known of it is still better than nothing. It may name
        # pages that are gone: those must not be mapped.
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
        """Learn from the wake: once its answer was given, or when it goes back to sleep before."""
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
    """Blocking: a gateway's pages lie in some ten thousand ranges."""
    return learned(
        known,
        held=held,
        first=seen.first,
        used=resident_pages(where),
        mapped=together(seen.mapped),
        unmapped=together(seen.unmapped),
    ).packed()
