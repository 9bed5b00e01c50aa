"""The agents' memory over their sleep: given back after a pause, fetched ahead beside a thaw.

Told of every transition by whoever makes it, and never waited for: nothing here delays a pause or a
wake, and an agent whose memory could not be moved sleeps and wakes all the same. The tasks are this
object's own, at most one an agent and purpose, and end with it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from ocmt_common.agent_api import HibernationState, PausedMemory

from ocmt_agent.clock import Clock
from ocmt_agent.memory.host import HostMemory, read_agent_memory, read_host_memory
from ocmt_agent.memory.page_sets import size
from ocmt_agent.memory.pages import in_thread, page_out, resident_pages
from ocmt_agent.memory.prefetch import Recall
from ocmt_agent.memory.reclaim import Driver, can_advise, drivers
from ocmt_agent.memory.reclaim_decisions import (
    Awake,
    more_to_take,
    paused_memory,
    prefetch_most,
    pressed,
    read_blindly_most,
    reads_are_slow,
    worth_reclaiming,
    worth_taking,
    worth_trimming,
)
from ocmt_agent.memory.working_set_store import Archive
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.agent_memory import AgentMemory
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.runtime.base import Runtime, RuntimeFailed, RuntimeUnavailable, Whereabouts

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 10.0
_ANSWERED_WITHIN_S = 20.0
"""From a wake to when its first answer is usually given: what was used until then is fetched."""
_RECLAIMS_AT_ONCE = 2
_WRITTEN_WITHIN_S = 1.0
"""What a disk may take to write what it was given: between two rounds of one reclaim."""


@dataclass(slots=True)
class _Kept:
    """What is kept of one agent's memory; lost with this process, and found out again.

    But for what it needs to wake, which is in the archive while it sleeps.
    """

    recall: Recall = field(default_factory=Recall)
    taken: bool = False
    """Whether memory was taken from it in this sleep, all or a part."""
    trimmed_at: float | None = None
    reclaiming: asyncio.Task[None] | None = None
    returning: asyncio.Task[None] | None = None
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    looked_up: bool = False
    """Whether it was seen what an earlier server had learned of it."""
    unseen: bool = False
    """The runtime could not say where it is: not asked again before its next transition."""


class MemoryManager:
    def __init__(
        self,
        runtime: Runtime,
        registry: AgentRegistry,
        *,
        clock: Clock,
        archive: Archive,
        found: list[Driver] | None = None,
        host: Callable[[], HostMemory] = read_host_memory,
    ) -> None:
        """`found`: the drivers to use, instead of those this host offers. Both are for tests."""
        self._runtime = runtime
        self._registry = registry
        self._clock = clock
        self._archive = archive
        self._drivers = drivers() if found is None else found
        self._read_host = host
        self.prefetches = can_advise()
        self._kept: dict[str, _Kept] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reclaims = asyncio.Semaphore(_RECLAIMS_AT_ONCE)
        # Apart from each other and from everything else: a wake's reads wait for nobody's writes.
        self._out = ThreadPoolExecutor(_RECLAIMS_AT_ONCE, thread_name_prefix="reclaim")
        self._in = ThreadPoolExecutor(4, thread_name_prefix="prefetch")

    @property
    def driver(self) -> str | None:
        """How memory is taken back here; `None` when this host offers no way."""
        return self._drivers[0].name if self._drivers else None

    def host(self) -> HostMemory:
        return self._read_host()

    # What the transitions tell

    def slept(self, agent: Agent) -> None:
        """It was paused: its memory may go, until it is woken."""
        kept = self._keep(agent)
        kept.unseen = False
        _cancel(kept.returning)  # what it used so far is noted before it goes
        if kept.reclaiming is None or kept.reclaiming.done():
            kept.reclaiming = self._own(self._give_back(agent, kept))

    def wakes(self, agent: Agent) -> None:
        """Its thaw begins: nothing is taken from it any more, and what it will use is fetched."""
        kept = self._keep(agent)
        _cancel(kept.reclaiming, kept.returning)
        kept.awake, kept.answered = asyncio.Event(), asyncio.Event()
        reclaimed = agent.paused_memory is PausedMemory.RECLAIMED
        if self.prefetches and (kept.taken or reclaimed):
            kept.returning = self._own(self._return(agent, kept, learns=reclaimed))

    def woke(self, agent: Agent) -> None:
        """It takes requests again."""
        kept = self._keep(agent)
        kept.unseen = False
        kept.awake.set()
        _cancel(kept.reclaiming)  # still there if somebody else thawed it
        agent.paused_memory = None
        kept.taken = False

    def answered(self, agent: Agent) -> None:
        """A request to it was answered to its end."""
        kept = self._kept.get(agent.user_id)  # each request comes by here: nothing is made for it
        if kept is not None:
            kept.answered.set()

    def ended(self, agent: Agent) -> None:
        """Its processes are gone, or about to be: what was known of their memory is void."""
        kept = self._kept.pop(agent.user_id, None)
        if kept is not None:
            _cancel(kept.reclaiming, kept.returning)
        self._archive.forget(agent.user_id)
        agent.paused_memory = None
        agent.memory = None

    # Looking after them

    async def run(self) -> None:
        """Measure, trim under pressure, and take up what a restart left; until cancelled."""
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("look at the agents' memory failed")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def look(self) -> None:
        host = self.host()
        for agent in self._registry.all():
            if agent.lock.locked():
                continue  # on its way to another state: whoever moves it tells
            match agent.state:
                case HibernationState.RUNNING:
                    await self._see_to_awake(agent, host)
                case HibernationState.PAUSED if self._is_open(agent, host):
                    self.slept(agent)
                case HibernationState.STOPPED | HibernationState.FAILED if self._knows(agent):
                    self.ended(agent)

    def _knows(self, agent: Agent) -> bool:
        return agent.user_id in self._kept

    def _is_open(self, agent: Agent, host: HostMemory) -> bool:
        """Whether a paused agent's memory is still to be seen to.

        Not yet measured, after a restart of ours; or kept for want of swap that is there now.
        """
        kept = self._keep(agent)
        if agent.paused_memory is None or agent.memory is None:
            return not kept.unseen
        return not kept.taken and worth_reclaiming(agent.memory, host)

    async def _see_to_awake(self, agent: Agent, host: HostMemory) -> None:
        where = await self._where(agent)
        if where is None or not self._measure(agent, where, host) or agent.memory is None:
            return
        kept = self._keep(agent)
        if not pressed(host):
            return
        now = self._clock.monotonic()
        idle = self._clock.now() - agent.last_activity_at
        awake = Awake(
            quiet_s=0.0 if agent.in_flight else idle.total_seconds(),
            known=kept.recall.working_set is not None,
            since_trim_s=None if kept.trimmed_at is None else now - kept.trimmed_at,
        )
        if self.prefetches and worth_trimming(awake, host):
            kept.trimmed_at = now
            if kept.reclaiming is None or kept.reclaiming.done():
                kept.reclaiming = self._own(self._trim(agent, kept, where))

    async def close(self) -> None:
        tasks = list(self._tasks)
        _cancel(*tasks)
        await asyncio.gather(*tasks, return_exceptions=True)
        self._out.shutdown(wait=False, cancel_futures=True)
        self._in.shutdown(wait=False, cancel_futures=True)

    # The work, each a task of ours

    async def _give_back(self, agent: Agent, kept: _Kept) -> None:
        # All of it in turn: after a restart of ours every paused agent is measured.
        async with self._reclaims:
            await self._reclaim(agent, kept)

    async def _reclaim(self, agent: Agent, kept: _Kept) -> None:
        where = await self._where(agent)
        if where is None:
            return
        # Where it sleeps again before its first answer was due.
        await kept.recall.note_use(where, self._in)
        host = self.host()
        if not self._measure(agent, where, host) or agent.memory is None:
            return
        agent.paused_memory = paused_memory(agent.memory)
        driver = next((one for one in self._drivers if one.fits(where)), None)
        if driver is None or not worth_reclaiming(agent.memory, host):
            return
        before, started = agent.memory, self._clock.monotonic()
        kept.taken = True
        if self.prefetches:
            await kept.recall.take_stock(where, self._out)
            if reads_are_slow(host):
                await kept.recall.lay_out(self._out)
        after = agent.memory = await self._take(driver, where, before)
        if after is None:
            return
        agent.paused_memory = paused_memory(after)
        learned = kept.recall.learned()
        if learned is not None:
            save = partial(
                self._archive.save,
                agent.user_id,
                learned,
                wanted=lambda: self._kept.get(agent.user_id) is kept,
            )
            await in_thread(self._out, save)
        log.info("memory reclaimed", user_id=agent.user_id, by=driver.name)
        await self._registry.gave_back(
            agent,
            before_bytes=before.host,
            after_bytes=after.host,
            duration_ms=(self._clock.monotonic() - started) * 1000,
        )

    async def _take(
        self, driver: Driver, where: Whereabouts, before: AgentMemory
    ) -> AgentMemory | None:
        """Reclaim in rounds while that brings something; the figures after, `None` once gone."""
        while True:
            await driver.reclaim(where, self._out)
            after = read_agent_memory(where, self.host())
            if after is None or not more_to_take(before, after):
                return after
            before = after
            await asyncio.sleep(_WRITTEN_WITHIN_S)

    async def _return(self, agent: Agent, kept: _Kept, *, learns: bool) -> None:
        where = await self._where(agent)
        if where is None:
            return
        host = self.host()
        await kept.recall.bring_back(
            where,
            self._in,
            awake=kept.awake,
            answered=kept.answered,
            slow=reads_are_slow(host),
            at_most=prefetch_most(host),
            blindly=read_blindly_most(host),
            learns=learns,
        )
        if learns:
            await asyncio.sleep(_ANSWERED_WITHIN_S)
            await kept.recall.note_use(where, self._in)
            self._measure(agent, where, self.host())

    async def _trim(self, agent: Agent, kept: _Kept, where: Whereabouts) -> None:
        needed = kept.recall.working_set
        if needed is None:
            return
        spare = await in_thread(self._out, lambda: needed.spare(resident_pages(where)))
        if not worth_taking(size(spare), self.host()):
            return
        async with self._reclaims:
            await page_out(spare, self._out)
        self._measure(agent, where, self.host())

    # Parts

    async def _where(self, agent: Agent) -> Whereabouts | None:
        """Where it is now; what was kept of earlier processes is thrown away."""
        kept = self._keep(agent)
        if kept.unseen:
            return None
        try:
            where = await self._runtime.whereabouts(agent.user_id)
        except (RuntimeUnavailable, RuntimeFailed) as error:
            log.info("memory not seen", user_id=agent.user_id, reason=str(error))
            return None
        kept.unseen = where is None
        if where is not None:
            kept.recall.belongs_to(where.leader)
            if not kept.looked_up:
                load = partial(self._archive.load, agent.user_id, where.leader)
                learned = await in_thread(self._in, load)
                kept.looked_up = True
                if learned is not None:
                    kept.recall.restore(learned)
        return where

    def _measure(self, agent: Agent, where: Whereabouts, host: HostMemory) -> bool:
        """Note its figures; `False`, and none, when it is gone."""
        agent.memory = read_agent_memory(where, host)
        return agent.memory is not None

    def _keep(self, agent: Agent) -> _Kept:
        return self._kept.setdefault(agent.user_id, _Kept())

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("moving an agent's memory failed", exc_info=error)


def _cancel(*tasks: asyncio.Task[None] | None) -> None:
    for task in tasks:
        if task is not None:
            task.cancel()
