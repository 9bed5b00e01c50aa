"""Copies an agent's state before a newer OpenClaw version starts on it, and reverts to the copy.

The server may be killed at any line here. Before a version starts on a state, the database records
the version. If the state is missing, its exchange for a copy was interrupted: the newest copy of
the recorded version then becomes the state.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import structlog
from ocmt_common.problems import Problem

from ocmt_agent.clock import Clock
from ocmt_agent.decisions.disk_limit import DiskLimit, Room, Usage
from ocmt_agent.decisions.state_copies import (
    UNRECORDED,
    StateCopy,
    Step,
    before_start,
    no_longer_needed,
    to_go_back_to,
    why_no_copy,
)
from ocmt_agent.disk.usage import measure, room_on
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.runtime.base import ContainerStatus, Runtime, RuntimeFailed
from ocmt_agent.upgrades.copies import CopyFailed, StateCopies, holds_anything, is_folder

log = structlog.get_logger(__name__)

_TIDY_EVERY_S = 3600.0
_STOP_GRACE_S = 30.0

Measure = Callable[[Path, Iterable[int]], Awaitable[Usage | None]]


class StateCopyManager:
    def __init__(
        self,
        runtime: Runtime,
        registry: AgentRegistry,
        *,
        root: Path,
        limit: DiskLimit,
        clock: Clock,
        measure: Measure = measure,
        room_on: Callable[[Path], Room] = room_on,
    ) -> None:
        """`root` is the folder with all agents' folders. Parameters after `clock` are for tests."""
        self._runtime = runtime
        self._registry = registry
        self._root = root
        self._copies = StateCopies(root)
        self._limit = limit
        self._clock = clock
        self._measure = measure
        self._room_on = room_on
        self._turn = asyncio.Lock()

    async def prepare(self, agent: Agent) -> None:
        """With the agent's lock held: copy its state if a newer OpenClaw will start on it.

        Raises a `Problem` if that OpenClaw must not start on the state, or the runtime's errors.
        """
        await asyncio.to_thread(self._finish_exchange, agent)
        state = self._state_of(agent.user_id)
        while True:
            now = await self._runtime.openclaw_version()
            has_state = await asyncio.to_thread(holds_anything, state)
            match before_start(agent.openclaw, now, has_state=has_state):
                case Step.START:
                    return
                case Step.REFUSE:
                    raise self._too_old(agent, now)
                case Step.COPY:
                    await self._copy(agent, state, now)
                    if await self._runtime.openclaw_version() != now:
                        continue  # another image came while the state was copied
                case Step.RECORD:
                    pass
            await self._registry.set_openclaw(agent, now)
            return

    async def _copy(self, agent: Agent, state: Path, now: str) -> None:
        observed = await self._runtime.inspect(agent.user_id)
        if observed is not None and observed.status is not ContainerStatus.EXITED:
            await self._runtime.stop(agent.user_id, grace_s=_STOP_GRACE_S)
        last = agent.openclaw or UNRECORDED
        async with self._turn:
            usage = await self._measure(state, ())
            why = why_no_copy(usage, self._limit, self._room_on(self._root))
            if why is not None:
                raise Problem(507, "no-room-for-copy", _not_copied(last, now, why))
            try:
                copy = await self._copies.take(
                    state, agent.user_id, version=last, at=self._clock.now()
                )
            except CopyFailed as error:
                why = f"{error}. Operator: correct that in {state}"
                raise Problem(503, "copy-failed", _not_copied(last, now, why)) from error
            log.info("state copied", user_id=agent.user_id, before=last, to=now, usage=usage)
            others = [one for one in self._copies.of(agent.user_id) if one != copy]
            for other in others:
                await self._drop(other)

    def _too_old(self, agent: Agent, now: str) -> Problem:
        last = agent.openclaw
        said = (
            f"OpenClaw {last} last used this agent's state, and this host has {now}, which cannot "
            f"read it. Operator: bring OpenClaw {last} back (`./ocmt deploy`)"
        )
        copy = to_go_back_to(self._copies.of(agent.user_id), last=last, now=now)
        if copy is None:
            return Problem(
                503, "openclaw-too-old", f"{said}, or restore a backup from before that version."
            )
        return Problem(
            503,
            "openclaw-too-old",
            f"{said}, or return to the state of {copy.taken_at:%Y-%m-%d %H:%M} UTC (with `./ocmt "
            f"up`: `./ocmt upgrade revert {agent.user_id}`; on a server: docs/operations.md, "
            '"Another OpenClaw"); the present state then becomes a copy.',
        )

    async def copy_to_revert_to(self, agent: Agent) -> StateCopy:
        """With the lock held: the copy for `revert`. Raises a `Problem` if there is none."""
        await asyncio.to_thread(self._finish_exchange, agent)
        now = await self._runtime.openclaw_version()
        found = to_go_back_to(self._copies.of(agent.user_id), last=agent.openclaw, now=now)
        if found is None:
            raise Problem(
                409,
                "nothing-to-revert-to",
                f"There is no copy of this agent's state for OpenClaw {now}. Either it can read "
                "the present state, or the copy was removed: copies are kept for 14 days. In the "
                "second case, restore a backup.",
            )
        return found

    async def revert(self, agent: Agent, copy: StateCopy) -> None:
        """With the lock held and no container: exchange the state for the copy.

        If that fails, raises a `Problem`, and the state is unchanged or `prepare` completes the
        exchange.
        """
        state, last = self._state_of(agent.user_id), agent.openclaw or UNRECORDED
        aside: StateCopy | None = None
        try:
            if await asyncio.to_thread(is_folder, state):
                await self._make_own(state)
                aside = await asyncio.to_thread(
                    self._copies.set_aside,
                    state,
                    agent.user_id,
                    version=last,
                    at=self._clock.now(),
                )
            try:
                await self._registry.set_openclaw(agent, copy.version)
            except BaseException:
                if aside is not None:
                    self._copies.put_back(aside, state)
                raise
            await asyncio.to_thread(self._copies.put_back, copy, state)
        except (OSError, CopyFailed) as error:
            raise _not_exchanged(state, error) from error
        log.info("state reverted", user_id=agent.user_id, before=last, to=copy.version)

    async def _make_own(self, state: Path) -> None:
        """Change the state's owner before it is set aside, so that the quota does not count it."""
        try:
            await self._copies.make_own(state)
        except (OSError, CopyFailed) as error:
            log.warning("a state set aside counts toward its agent's quota", reason=str(error))

    async def forget(self, user_id: str) -> None:
        """Remove all copies of a user's state. Raises `RuntimeFailed`."""
        await asyncio.to_thread(self._copies.drop_all, user_id)

    async def run(self) -> None:
        """Remove copies that are no longer needed, hourly until cancelled."""
        while True:
            try:
                await self.tidy()
            except Exception:
                log.exception("removing old state copies failed")
            await asyncio.sleep(_TIDY_EVERY_S)

    async def tidy(self) -> None:
        for user_id in await asyncio.to_thread(self._copies.users):
            agent = self._registry.find(user_id)
            # A user without a record has no lock, but their agent may just be provisioned.
            async with self._turn if agent is None else agent.lock:
                await self._tidy_one(user_id)

    async def _tidy_one(self, user_id: str) -> None:
        if not is_folder(self._state_of(user_id)):
            return  # one of the copies will be put in its place
        for copy in no_longer_needed(self._copies.of(user_id), self._clock.now()):
            await self._drop(copy)
        try:
            await asyncio.to_thread(self._copies.clear, user_id)
        except RuntimeFailed as error:
            log.warning("copy of state not removed", user_id=user_id, reason=str(error))

    async def _drop(self, copy: StateCopy) -> None:
        try:
            await asyncio.to_thread(self._copies.drop, copy)
        except RuntimeFailed as error:  # tried again by `tidy`
            log.warning("copy of state not removed", folder=str(copy.folder), reason=str(error))

    def _finish_exchange(self, agent: Agent) -> None:
        """Complete an interrupted exchange: put the copy in the place of the missing state."""
        state = self._state_of(agent.user_id)
        if is_folder(state):
            return
        last = agent.openclaw or UNRECORDED
        ours = [copy for copy in self._copies.of(agent.user_id) if copy.version == last]
        if not ours:
            return
        try:
            self._copies.put_back(max(ours, key=lambda copy: copy.taken_at), state)
        except OSError as error:
            raise _not_exchanged(state, error) from error

    def _state_of(self, user_id: str) -> Path:
        return self._runtime.home(user_id) / "state"


def _not_exchanged(state: Path, error: Exception) -> Problem:
    return Problem(
        503,
        "copy-failed",
        f"The agent's state cannot be exchanged for its copy: {error}. Operator: correct that in "
        f"{state.parent}, then try again.",
    )


def _not_copied(last: str, now: str, why: str) -> str:
    return (
        f"OpenClaw {now} changes the agent's state for good, which OpenClaw {last} last used, so "
        f"the state is copied first. That failed: {why}; then start the agent again."
    )
