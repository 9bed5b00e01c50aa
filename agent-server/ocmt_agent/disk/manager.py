"""Measures the agents' disk usage, warns their users, and stops agents far over their limit.

Agents are measured one after the other. Awake agents are measured every minute, or less often if
counting takes long, to use at most a twentieth of a core. A sleeping agent's files do not change.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog
from ocmt_common.agent_api import HibernationState
from ocmt_common.problems import Problem

from ocmt_agent.clock import Clock
from ocmt_agent.decisions.disk_limit import DiskLimit, Fullness, Room, Usage, standing
from ocmt_agent.disk.quota import FolderQuotas
from ocmt_agent.disk.usage import measure, room_on
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.runtime.base import Runtime, RuntimeFailed, RuntimeUnavailable

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 10.0
_MEASURE_EVERY_S = 60.0
_MEASURE_EVERY_COSTS = 20
_UP = (HibernationState.RUNNING, HibernationState.PAUSED, HibernationState.WAKING)
_ASLEEP = (HibernationState.PAUSED, HibernationState.STOPPED)

Measure = Callable[[Path, Iterable[int]], Awaitable[Usage | None]]


@dataclass(frozen=True, slots=True)
class _Measured:
    at_s: float
    """Monotonic seconds, like `due_s`."""
    due_s: float
    asleep: bool


class DiskManager:
    def __init__(
        self,
        runtime: Runtime,
        registry: AgentRegistry,
        *,
        root: Path,
        limit: DiskLimit,
        stop: Callable[[Agent], Awaitable[None]],
        clock: Clock,
        measure: Measure = measure,
        room_on: Callable[[Path], Room] = room_on,
        quotas: FolderQuotas | None = None,
    ) -> None:
        """`root` is the folder with all agents' folders. Parameters after `clock` are for tests."""
        self._runtime = runtime
        self._registry = registry
        self._root = root
        self._limit = limit
        self._stop = stop
        self._clock = clock
        self._measure = measure
        self._room_on = room_on
        self._quotas = quotas or FolderQuotas(root)
        self._measured: dict[str, _Measured] = {}

    async def run(self) -> None:
        """Measure periodically until cancelled."""
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("measuring the disk failed")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def look(self) -> None:
        """Measure the agents that are due; warn or stop those near or over their limit."""
        agents = self._registry.all()
        known = {agent.user_id for agent in agents}
        self._measured = {user: one for user, one in self._measured.items() if user in known}
        # Awake agents first: their files change.
        for agent in sorted(agents, key=lambda each: each.state in _ASLEEP):
            short = self._is_short()
            if self._is_due(agent, short=short):
                await self._look_at(agent, short=short)

    def _is_short(self) -> bool:
        try:
            return self._room_on(self._root).is_short
        except OSError as error:
            log.warning("the disk's free space is unknown", reason=str(error))
            return False

    def _is_due(self, agent: Agent, *, short: bool) -> bool:
        measured = self._measured.get(agent.user_id)
        if measured is None:
            return agent.state is not HibernationState.PROVISIONING
        now_s = self._clock.monotonic()
        stands = agent.disk
        if stands is not None and stands.fullness is Fullness.STOPPED:
            return now_s >= measured.due_s  # files may have been deleted since then
        if agent.state in _ASLEEP:
            return not measured.asleep
        over = stands is not None and stands.fullness >= Fullness.OVER
        return now_s >= measured.due_s or (short and over)

    async def _look_at(self, agent: Agent, *, short: bool) -> None:
        asleep = agent.state in _ASLEEP
        began_s = self._clock.monotonic()
        try:
            where = None if asleep else await self._runtime.whereabouts(agent.user_id)
        except (RuntimeFailed, RuntimeUnavailable):
            where = None
        pids = where.pids() if where is not None else ()
        usage = await asyncio.to_thread(self._by_quota, agent)
        if usage is None:
            usage = await self._measure(self._runtime.home(agent.user_id), pids)
        now_s = self._clock.monotonic()
        wait_s = max(_MEASURE_EVERY_S, _MEASURE_EVERY_COSTS * (now_s - began_s))
        self._measured[agent.user_id] = _Measured(now_s, now_s + wait_s, asleep)
        if agent.removed:
            return
        await self._judge(agent, usage, short=short)

    def _by_quota(self, agent: Agent) -> Usage | None:
        """Set the agent's quota to its limit and return the usage that the file system counted.

        `None` if quotas cannot be used, and the files must be counted.
        """
        state = self._runtime.home(agent.user_id) / "state"
        try:
            uid = self._runtime.uid(agent.number)
            if not self._quotas.on or uid is None or state.stat().st_uid != uid:
                return None  # not owned by its uid yet, or the uid is shared
        except (OSError, ValueError):
            return None
        try:
            return self._quotas.usage(uid, self._limit)
        except OSError as error:
            log.warning("quotas cannot be used; files are counted", reason=str(error))
            self._quotas.on = False
            return None

    async def _judge(self, agent: Agent, usage: Usage | None, *, short: bool) -> None:
        found = standing(usage, self._limit, host_is_short=short)
        await self._registry.measured_disk(agent, found)
        if found.fullness is Fullness.STOPPED and agent.state in _UP:
            log.warning("agent uses too much of the disk", user_id=agent.user_id, usage=usage)
            try:
                await self._stop(agent)
            except Problem as problem:  # tried again when it is due next
                log.warning("agent not stopped", user_id=agent.user_id, reason=problem.detail)
