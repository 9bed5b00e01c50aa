"""Admits wakes: each waits for its turn in the queue, and for room in the host's memory.

Called with the lock of the agent to wake held. Never waits for another agent's lock, so that two
wakes cannot deadlock.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NoReturn

import structlog
from ocmt_common.agent_api import Actor, HibernationState
from ocmt_common.problems import Problem

from ocmt_agent.decisions.memory_admission import HostFigures, Relief, need_bytes, short_by
from ocmt_agent.hibernation.eviction import Evictions
from ocmt_agent.hibernation.wake_queue import THAW_SLOTS, Need, WakeQueue, need_of
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.registry import AgentRegistry

log = structlog.get_logger(__name__)

HostReader = Callable[[], HostFigures | None]
"""Reads the host's memory; with `None`, if it cannot be read, every wake is admitted."""

_ROUNDS = 3
_SETTLES_WITHIN_S = 2.0
"""Time until an eviction shows in the host's figures."""
_POLL_S = 0.1


class WakeAdmission:
    def __init__(
        self,
        registry: AgentRegistry,
        evictions: Evictions,
        *,
        read_host: HostReader,
        cores: int,
        wait_s: float,
    ) -> None:
        """`wait_s` is how many seconds a wake may wait for its turn."""
        self._registry = registry
        self._evictions = evictions
        self._read_host = read_host
        self._wait_s = wait_s
        self._boots = WakeQueue(cores)
        self._thaws = WakeQueue(THAW_SLOTS)
        self._cores = cores
        self._one_at_a_time = asyncio.Lock()
        self._promised: dict[str, int] = {}
        self._needs: dict[str, Need] = {}
        registry.metrics.follow_host(read_host)
        registry.metrics.follow_queue(lambda: len(self._boots) + len(self._thaws))

    @property
    def is_quiet(self) -> bool:
        """Whether no agent is being booted, nor resumed, nor waits for its turn."""
        return self._boots.idle and self._thaws.idle

    def hurry(self, agent: Agent, who: Actor) -> None:
        """Raise the priority of a wake, whether or not it is in the queue yet."""
        need = need_of(who)
        self._needs[agent.user_id] = min(need, self._needs.get(agent.user_id, need))
        for queue in (self._boots, self._thaws):
            queue.hurry(agent.user_id, need)

    def ended(self, agent: Agent) -> None:
        """Forget the priority of a wake that has ended, successfully or not."""
        self._needs.pop(agent.user_id, None)

    @asynccontextmanager
    async def admitted(self, agent: Agent, who: Actor) -> AsyncIterator[None]:
        """Hold a slot and the memory for one wake. Raises a 503 `Problem`, `host-full`.

        The boot of a spare takes no slot and evicts no agent. `SpareKeeper` cancels it once another
        wake has a slot or waits for one.
        """
        if agent.spare:
            if not self._fits(agent, need_bytes(agent.state)):
                raise Problem(503, "host-full", "The host has no memory for a spare agent.")
            try:
                yield
            finally:
                self._promised.pop(agent.user_id, None)
            return
        thaw = agent.state is HibernationState.PAUSED
        queue = self._thaws if thaw else self._boots
        need = min(need_of(who), self._needs.get(agent.user_id, Need.OTHER))
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._wait_s):
                    await stack.enter_async_context(queue.turn(agent.user_id, need))
            except TimeoutError:
                self._refuse(agent, "queue", "Too many agents are being woken at once.", len(queue))
            await self._find_room(agent)
            stack.callback(self._promised.pop, agent.user_id, None)
            yield

    async def _find_room(self, agent: Agent) -> None:
        swapped = None if agent.memory is None else agent.memory.swap
        need = need_bytes(agent.state, swapped=swapped)
        # A wake that fits need not wait for evictions on behalf of another.
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
            agent,
            "memory",
            "The host has no memory free for another agent, and no other agent can be evicted.",
            len(self._boots),
        )

    def _fits(self, agent: Agent, need: int) -> bool:
        """Reserve `need` bytes if they are free, without an await in between; `False` if not."""
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
        """Evict agents one by one until the host has room. Returns whether any was evicted."""
        host = self._read_host()
        if host is None:
            return False
        lacking = short_by(host, need, promised=self._owed())
        given: list[Relief] = []
        for other, relief in await self._evictions.choose(host, lacking, sparing=agent):
            if await self._evictions.evict(other, relief):
                given.append(relief)
                if self._lacking(need) <= 0:
                    break
        log.info("made room", for_user_id=agent.user_id, evicted=len(given))
        if Relief.PAUSE in given:
            await self._settled(need)
        return bool(given)

    async def _settled(self, need: int) -> None:
        """Wait up to 2 s for room, since a paused agent's memory is reclaimed with a delay."""
        for _ in range(int(_SETTLES_WITHIN_S / _POLL_S)):
            if self._lacking(need) <= 0:
                return
            await asyncio.sleep(_POLL_S)

    def _refuse(self, agent: Agent, why: str, reason: str, waiting: int) -> NoReturn:
        self._registry.refused_wake(agent, why)
        # A boot takes about ten seconds of CPU time.
        retry_after_s = min(60, 10 + 10 * waiting // self._cores)
        raise Problem(
            503,
            "host-full",
            f"{reason} Try again in {retry_after_s} s. If this keeps happening, the host "
            "needs more memory or swap (`./ocmt memory enable`), or fewer agents.",
            retry_after_s=retry_after_s,
        )
