"""What every wake passes first: its turn in the queue, and room in the host's memory.

Called with the woken agent's lock held. It never waits for another agent's lock, so that two wakes
cannot wait for each other.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NoReturn

import structlog
from ocmt_common.agent_api import Actor, HibernationState
from ocmt_common.problems import Problem

from ocmt_agent.clock import Clock
from ocmt_agent.decisions.memory_admission import (
    Candidate,
    HostFigures,
    Relief,
    make_room,
    need_bytes,
    short_by,
)
from ocmt_agent.hibernation.wake_queue import THAW_SLOTS, Need, WakeQueue, need_of
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.registry import AgentRegistry

log = structlog.get_logger(__name__)

HostReader = Callable[[], HostFigures | None]
"""Reads the host's memory now; `None` where that cannot be read, and everything is let in."""
Quiet = Callable[[Agent], Awaitable[bool]]
"""Whether an agent does nothing at this moment, by its use of the CPU."""
Evict = Callable[[Agent, Relief], Awaitable[bool]]
"""Puts an agent to sleep for another's sake, and tells whether it did."""

_ROUNDS = 3
_SETTLES_WITHIN_S = 2.0
"""How long after an eviction the host's figures may take to show it."""
_POLL_S = 0.1


class Gate:
    def __init__(
        self,
        registry: AgentRegistry,
        *,
        read_host: HostReader,
        quiet: Quiet,
        evict: Evict,
        clock: Clock,
        cores: int,
        wait_s: float,
    ) -> None:
        self._registry = registry
        self._read_host = read_host
        self._quiet = quiet
        self._evict = evict
        self._clock = clock
        self._wait_s = wait_s
        self._boots = WakeQueue(cores)
        self._thaws = WakeQueue(THAW_SLOTS)
        self._cores = cores
        self._one_at_a_time = asyncio.Lock()
        self._promised: dict[str, int] = {}
        self._needs: dict[str, Need] = {}
        registry.metrics.follow_host(read_host)
        registry.metrics.follow_queue(lambda: len(self._boots) + len(self._thaws))

    def hurry(self, agent: Agent, who: Actor) -> None:
        """Somebody else waits for the same wake, which may not have come to the queue yet."""
        need = need_of(who)
        self._needs[agent.user_id] = min(need, self._needs.get(agent.user_id, need))
        for queue in (self._boots, self._thaws):
            queue.hurry(agent.user_id, need)

    def ended(self, agent: Agent) -> None:
        """Its wake is over, however: nobody waits for it any more."""
        self._needs.pop(agent.user_id, None)

    @asynccontextmanager
    async def passed(self, agent: Agent, who: Actor) -> AsyncIterator[None]:
        """Let one wake through; refuses with 503 `host-full` what does not fit."""
        thaw = agent.state is HibernationState.PAUSED
        queue = self._thaws if thaw else self._boots
        need = min(need_of(who), self._needs.get(agent.user_id, Need.OTHER))
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._wait_s):
                    await stack.enter_async_context(queue.turn(agent.user_id, need))
            except TimeoutError:
                self._refuse("queue", "Too many agents are being woken at once.", len(queue))
            await self._find_room(agent)
            stack.callback(self._promised.pop, agent.user_id, None)
            yield

    async def _find_room(self, agent: Agent) -> None:
        swapped = None if agent.memory is None else agent.memory.swap
        need = need_bytes(agent.state, swapped=swapped)
        # What fits does not wait for those for whom room is being made.
        if self._fits(agent, need):
            return
        async with self._one_at_a_time:
            for _ in range(_ROUNDS):
                if self._fits(agent, need):
                    return
                if not await self._make_room(agent, need):
                    break
            if self._fits(agent, need):
                return
        self._refuse(
            "memory",
            "The host has no memory free for another agent, and nobody else can be put to sleep.",
            len(self._boots),
        )

    def _fits(self, agent: Agent, need: int) -> bool:
        """Whether it fits; then so much is promised to it. Nothing is awaited in between."""
        if self._lacking(need) > 0:
            return False
        self._promised[agent.user_id] = need
        return True

    def _lacking(self, need: int) -> int:
        host = self._read_host()
        return 0 if host is None else short_by(host, need, promised=self._owed())

    def _owed(self) -> int:
        return sum(self._promised.values())

    async def _make_room(self, agent: Agent, need: int) -> bool:
        """Whether anybody gave way. One after another, until it fits by the host's own figures."""
        host = self._read_host()
        if host is None:
            return False
        others = {a.user_id: a for a in self._registry.all() if a is not agent and self._free(a)}
        candidates = [self._candidate(a) for a in others.values()]
        chosen = make_room(candidates, host, short_by(host, need, promised=self._owed()))
        able = await asyncio.gather(*(self._quiet(others[one.user_id]) for one in chosen))
        given: list[Relief] = []
        for eviction in itertools.compress(chosen, able):
            if await self._evict(others[eviction.user_id], eviction.relief):
                self._registry.metrics.evicted(str(eviction.relief))
                given.append(eviction.relief)
                if self._lacking(need) <= 0:
                    break
        log.info("made room", for_user_id=agent.user_id, evicted=len(given))
        if Relief.PAUSE in given:
            await self._settled(need)
        return bool(given)

    def _free(self, agent: Agent) -> bool:
        """Whether it may be asked at all: nothing under way with it, and not refused just now."""
        if agent.lock.locked() or agent.waking is not None or agent.woken_for is not None:
            return False
        if agent.state is HibernationState.RUNNING:
            return agent.access is not None and self._clock.monotonic() >= agent.ask_again_at
        return agent.state is HibernationState.PAUSED

    def _candidate(self, agent: Agent) -> Candidate:
        now = self._clock.now()
        return Candidate(
            user_id=agent.user_id,
            state=agent.state,
            idle=now - agent.last_activity_at,
            until_job=None if agent.next_job_at is None else agent.next_job_at - now,
            in_flight=agent.in_flight,
            never_sleeps=agent.wishes.never_sleep,
            frees=None if agent.memory is None else agent.memory.host,
        )

    async def _settled(self, need: int) -> None:
        """Wait for the figures to show what was freed: reclaim goes on after a pause."""
        for _ in range(int(_SETTLES_WITHIN_S / _POLL_S)):
            if self._lacking(need) <= 0:
                return
            await asyncio.sleep(_POLL_S)

    def _refuse(self, why: str, reason: str, waiting: int) -> NoReturn:
        self._registry.metrics.refused(why)
        # A boot takes about ten seconds of a core.
        retry_after_s = min(60, 10 + 10 * waiting // self._cores)
        raise Problem(
            503,
            "host-full",
            f"{reason} Ask again in {retry_after_s} s. If this repeats, the host needs more "
            "memory or swap (`ocmt memory`), or fewer agents.",
            retry_after_s=retry_after_s,
        )
