"""Reclaims an agent's memory after a pause, and prefetches it at a thaw.

Transitions notify this object and never await it: nothing here delays a pause or a wake, and an
agent whose memory cannot be reclaimed sleeps and wakes normally. This object owns the tasks, at
most one per agent and purpose, and ends them when it closes.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from ocmt_common.agent_api import HibernationState

from ocmt_agent.clock import Clock
from ocmt_agent.decisions import transition_reasons as reasons
from ocmt_agent.decisions.transition_reasons import TransitionReason
from ocmt_agent.memory.host import HostMemory, read_agent_memory, read_host_memory
from ocmt_agent.memory.page_sets import size
from ocmt_agent.memory.pages import in_thread, page_out, resident_pages
from ocmt_agent.memory.prefetch import Prefetcher
from ocmt_agent.memory.reclaim import Driver, can_advise, drivers
from ocmt_agent.memory.reclaim_decisions import (
    Awake,
    more_to_take,
    mostly_in_swap,
    paused_memory,
    prefetch_most,
    pressed,
    read_blindly_most,
    reads_are_slow,
    reclaim_again_after_s,
    worth_reclaiming,
    worth_taking,
    worth_trimming,
)
from ocmt_agent.memory.working_set_store import WorkingSetStore
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.agent_memory import AgentMemory
from ocmt_agent.records.idle_clock import idle_time
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.runtime.base import Runtime, RuntimeFailed, RuntimeUnavailable, Whereabouts

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 10.0
_ANSWERED_WITHIN_S = 20.0
"""Seconds after a wake by which its first answer is usually complete; pages used then count."""
_RECLAIMS_AT_ONCE = 2
_WRITTEN_WITHIN_S = 1.0
"""Seconds between two rounds of a reclaim, in which the disk writes the pages of the first."""


@dataclass(slots=True)
class _Tracked:
    """The state of one agent's memory in this process.

    While the agent sleeps, what its wake needs is also in the store, which outlives this process.
    """

    prefetcher: Prefetcher = field(default_factory=Prefetcher)
    taken: bool = False
    """Whether a reclaim was begun in this sleep."""
    reclaims: int = 0
    """Reclaims begun in this sleep."""
    reclaim_again_at: float = 0.0
    """Monotonic seconds before which no other reclaim begins in this sleep."""
    trimmed_at: float | None = None
    reclaiming: asyncio.Task[None] | None = None
    returning: asyncio.Task[None] | None = None
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    looked_up: bool = False
    """Whether the store was read for what an earlier server process had learned."""
    unseen: bool = False
    """The runtime did not find the agent; it is not looked up again before a transition."""


class MemoryManager:
    def __init__(
        self,
        runtime: Runtime,
        registry: AgentRegistry,
        *,
        clock: Clock,
        store: WorkingSetStore,
        found: list[Driver] | None = None,
        host: Callable[[], HostMemory] = read_host_memory,
    ) -> None:
        """`found` replaces this host's drivers. It and `host` are for tests."""
        self._runtime = runtime
        self._registry = registry
        self._clock = clock
        self._store = store
        self._drivers = drivers() if found is None else found
        self._read_host = host
        self.prefetches = can_advise()
        self._agents: dict[str, _Tracked] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reclaims = asyncio.Semaphore(_RECLAIMS_AT_ONCE)
        # Separate executors: a wake's reads must not wait for writes.
        self._out = ThreadPoolExecutor(_RECLAIMS_AT_ONCE, thread_name_prefix="reclaim")
        self._in = ThreadPoolExecutor(4, thread_name_prefix="prefetch")

    @property
    def driver(self) -> str | None:
        """The name of the reclaim driver; `None` if this host has none."""
        return self._drivers[0].name if self._drivers else None

    def host(self) -> HostMemory:
        return self._read_host()

    # Notifications from transitions

    def slept(self, agent: Agent) -> None:
        """Start to reclaim the memory of an agent that was paused."""
        tracked = self._tracked(agent)
        tracked.unseen = False
        _cancel(tracked.returning)  # what it used so far is recorded first
        if tracked.reclaiming is None or tracked.reclaiming.done():
            tracked.reclaiming = self._own(self._give_back(agent, tracked))

    def wakes(self, agent: Agent) -> None:
        """Stop reclaiming as a thaw begins, and prefetch from swap what the agent will need."""
        tracked = self._tracked(agent)
        _cancel(tracked.reclaiming, tracked.returning)
        tracked.awake, tracked.answered = asyncio.Event(), asyncio.Event()
        reclaimed = agent.memory is not None and mostly_in_swap(agent.memory)
        if self.prefetches and (tracked.taken or reclaimed):
            tracked.returning = self._own(self._return(agent, tracked, learns=reclaimed))

    def woke(self, agent: Agent) -> None:
        """Stop reclaiming for an agent that accepts requests again."""
        tracked = self._tracked(agent)
        tracked.unseen = False
        tracked.awake.set()
        _cancel(tracked.reclaiming)  # still running if the thaw was not ours
        agent.paused_memory = None
        tracked.taken = False
        tracked.reclaims, tracked.reclaim_again_at = 0, 0.0

    def answered(self, agent: Agent) -> None:
        """Note that a request to the agent was answered completely."""
        # Called for every request, so it allocates nothing.
        tracked = self._agents.get(agent.user_id)
        if tracked is not None:
            tracked.answered.set()

    def renamed(self, home: str, agent: Agent) -> None:
        """The spare with that home was claimed: what is known of its memory is the agent's."""
        tracked = self._agents.pop(home, None)
        if tracked is not None:
            self._agents[agent.user_id] = tracked
        self._store.forget(home)

    def found(self, agent: Agent) -> None:
        """The agent's record was corrected: its container changed without this server."""
        match agent.state:
            case HibernationState.PAUSED:
                self.slept(agent)
            case HibernationState.RUNNING | HibernationState.WAKING:
                self.woke(agent)
            case _:
                self.ended(agent)

    def ended(self, agent: Agent) -> None:
        """Forget the memory of an agent whose processes have ended or are about to end."""
        tracked = self._agents.pop(agent.user_id, None)
        if tracked is not None:
            _cancel(tracked.reclaiming, tracked.returning)
        self._store.forget(agent.user_id)
        agent.paused_memory = None
        agent.memory = None

    def sleeps_in_swap(self, agent: Agent) -> bool:
        """Whether a paused agent's memory is in swap, or is still to be measured.

        After a restart of this server it takes a while until all sleepers are measured.
        """
        if agent.memory is not None:
            return mostly_in_swap(agent.memory)
        tracked = self._agents.get(agent.user_id)
        return tracked is None or not tracked.unseen

    # The loop

    async def run(self) -> None:
        """Measure agents, trim them under pressure, and reclaim those paused before a restart."""
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("measuring the agents' memory failed")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def look(self) -> None:
        host = self.host()
        for agent in (*self._registry.all(), *self._registry.spares()):
            if agent.lock.locked():
                continue  # in transition, which notifies us
            match agent.state:
                case HibernationState.RUNNING:
                    await self._trim_if_pressed(agent, host)
                case HibernationState.PAUSED if self._needs_reclaim(agent, host):
                    self.slept(agent)
                case HibernationState.STOPPED | HibernationState.FAILED if self._knows(agent):
                    self.ended(agent)

    def _knows(self, agent: Agent) -> bool:
        return agent.user_id in self._agents

    def _needs_reclaim(self, agent: Agent, host: HostMemory) -> bool:
        """Whether a paused agent's memory must still be reclaimed.

        Either it was not measured since this server started, or some of it stayed in RAM: there was
        no swap, and now there is, or an earlier reclaim left something.
        """
        tracked = self._tracked(agent)
        if agent.paused_memory is None or agent.memory is None:
            return not tracked.unseen
        due = self._clock.monotonic() >= tracked.reclaim_again_at
        return due and worth_reclaiming(agent.memory, host)

    async def _trim_if_pressed(self, agent: Agent, host: HostMemory) -> None:
        where = await self._where(agent)
        if where is None or not self._measure(agent, where, host) or agent.memory is None:
            return
        tracked = self._tracked(agent)
        if not pressed(host):
            return
        now = self._clock.monotonic()
        idle = idle_time(agent, now=self._clock.now())
        awake = Awake(
            quiet_s=0.0 if agent.in_flight else idle.total_seconds(),
            known=tracked.prefetcher.working_set is not None,
            since_trim_s=None if tracked.trimmed_at is None else now - tracked.trimmed_at,
        )
        if self.prefetches and worth_trimming(awake, host):
            tracked.trimmed_at = now
            if tracked.reclaiming is None or tracked.reclaiming.done():
                tracked.reclaiming = self._own(self._trim(agent, tracked, where))

    async def close(self) -> None:
        tasks = list(self._tasks)
        _cancel(*tasks)
        await asyncio.gather(*tasks, return_exceptions=True)
        self._out.shutdown(wait=False, cancel_futures=True)
        self._in.shutdown(wait=False, cancel_futures=True)

    # The tasks

    async def _give_back(self, agent: Agent, tracked: _Tracked) -> None:
        # Measuring takes a slot, too: after a restart every paused agent is measured.
        async with self._reclaims:
            await self._reclaim(agent, tracked)

    async def _reclaim(self, agent: Agent, tracked: _Tracked) -> None:
        where = await self._where(agent)
        if where is None:
            return
        # In case the agent sleeps again before its first answer.
        await tracked.prefetcher.note_use(where, self._in)
        host = self.host()
        if not self._measure(agent, where, host) or agent.memory is None:
            return
        agent.paused_memory = paused_memory(agent.memory)
        driver = next((one for one in self._drivers if one.fits(where)), None)
        if driver is None or not worth_reclaiming(agent.memory, host):
            return
        before, started = agent.memory, self._clock.monotonic()
        tracked.taken = True
        tracked.reclaims += 1
        tracked.reclaim_again_at = started + reclaim_again_after_s(tracked.reclaims)
        if self.prefetches:
            await tracked.prefetcher.record_held(where, self._out)
            if reads_are_slow(host):
                await tracked.prefetcher.lay_out(self._out)
        after = agent.memory = await self._take(driver, where, before)
        if after is None:
            return
        agent.paused_memory = paused_memory(after)
        learned = tracked.prefetcher.learned()
        if learned is not None:
            save = partial(
                self._store.save,
                agent.user_id,
                learned,
                wanted=lambda: self._agents.get(agent.user_id) is tracked,
            )
            await in_thread(self._out, save)
        if after.held < before.held:
            log.info("memory reclaimed", user_id=agent.user_id, by=driver.name)
            await self._memory_moved(agent, reasons.GIVEN_BACK, before, started=started)

    async def _take(
        self, driver: Driver, where: Whereabouts, before: AgentMemory
    ) -> AgentMemory | None:
        """Reclaim in rounds for as long as that frees memory.

        Returns the agent's memory after that; `None` if the agent is gone.
        """
        while True:
            await driver.reclaim(where, self._out)
            after = read_agent_memory(where, self.host())
            if after is None or not more_to_take(before, after):
                return after
            before = after
            await asyncio.sleep(_WRITTEN_WITHIN_S)

    async def _return(self, agent: Agent, tracked: _Tracked, *, learns: bool) -> None:
        where = await self._where(agent)
        if where is None:
            return
        host = self.host()
        await tracked.prefetcher.prefetch(
            where,
            self._in,
            awake=tracked.awake,
            answered=tracked.answered,
            slow=reads_are_slow(host),
            at_most=prefetch_most(host),
            blindly=read_blindly_most(host),
            learns=learns,
        )
        if learns:
            await asyncio.sleep(_ANSWERED_WITHIN_S)
            await tracked.prefetcher.note_use(where, self._in)
            self._measure(agent, where, self.host())

    async def _trim(self, agent: Agent, tracked: _Tracked, where: Whereabouts) -> None:
        needed = tracked.prefetcher.working_set
        if needed is None:
            return
        spare = await in_thread(self._out, lambda: needed.spare(resident_pages(where)))
        if not worth_taking(size(spare), self.host()):
            return
        before, started = agent.memory, self._clock.monotonic()
        async with self._reclaims:
            await page_out(spare, self._out)
        if self._measure(agent, where, self.host()) and before is not None:
            log.info("memory trimmed", user_id=agent.user_id, bytes=size(spare))
            await self._memory_moved(agent, reasons.TRIMMED, before, started=started)

    async def _memory_moved(
        self, agent: Agent, why: TransitionReason, before: AgentMemory, *, started: float
    ) -> None:
        """Publish that memory of the agent, now as measured last, was moved to swap."""
        if agent.memory is not None:
            await self._registry.memory_moved(
                agent,
                why=why,
                before_bytes=before.host,
                after_bytes=agent.memory.host,
                duration_ms=(self._clock.monotonic() - started) * 1000,
            )

    # Helpers

    async def _where(self, agent: Agent) -> Whereabouts | None:
        """The agent's whereabouts; `None` if unknown. Forgets what earlier processes taught."""
        tracked = self._tracked(agent)
        if tracked.unseen:
            return None
        try:
            where = await self._runtime.whereabouts(agent.user_id)
        except (RuntimeUnavailable, RuntimeFailed) as error:
            log.info("memory not seen", user_id=agent.user_id, reason=str(error))
            return None
        tracked.unseen = where is None
        if where is not None:
            tracked.prefetcher.belongs_to(where.leader)
            if not tracked.looked_up:
                load = partial(self._store.load, agent.user_id, where.leader)
                learned = await in_thread(self._in, load)
                tracked.looked_up = True
                if learned is not None:
                    tracked.prefetcher.restore(learned)
        return where

    def _measure(self, agent: Agent, where: Whereabouts, host: HostMemory) -> bool:
        """Update `agent.memory`. Returns `False`, with `agent.memory` `None`, without processes."""
        agent.memory = read_agent_memory(where, host)
        return agent.memory is not None

    def _tracked(self, agent: Agent) -> _Tracked:
        return self._agents.setdefault(agent.user_id, _Tracked())

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
