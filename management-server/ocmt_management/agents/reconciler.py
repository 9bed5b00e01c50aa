"""Applies users' status to their agents, and deletes users once their agent is removed.

The users' status in the database is the desired state: a suspended user's agent is disabled; a
deleted user's agent is removed with its state, and only then the user's row. No other state is
stored, so after a crash of either server the work simply continues.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import structlog
from ocmt_common.problems import Problem

from ocmt_management.agents.client import NoSuchAgent
from ocmt_management.agents.service import Agents
from ocmt_management.auth.service import Status, delete_user, inactive_users, status_of
from ocmt_management.clock import Clock
from ocmt_management.db import Database

log = structlog.get_logger(__name__)

_FIRST_RETRY_S = 1.0
_LAST_RETRY_S = 30.0
_CHECK_EVERY_S = 60.0
"""Finds changes made by another server process or on the agents' host."""


class Reconciler:
    """Enter `running` for the server's lifetime. Calls `on_deleted` with each deleted user's id."""

    def __init__(
        self, database: Database, agents: Agents, clock: Clock, *, on_deleted: Callable[[str], None]
    ) -> None:
        self._database = database
        self._agents = agents
        self._clock = clock
        self._on_deleted = on_deleted
        self._changed = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, str] = {}
        """Why the last attempt for a user failed."""
        self._unfinished: set[str] = set()
        """Users whose agent does not match their status yet."""
        self._again: set[str] = set()
        """Users whose status changed while their task ran."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._check_on_connect())]
        try:
            yield
        finally:
            tasks += self._tasks.values()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def status_changed(self, user_id: str) -> None:
        self._unfinished.add(user_id)
        self._again.add(user_id)
        self._changed.set()

    def pending(self, user_id: str, status: Status) -> str | None:
        """What remains to be done for a user's agent, for an admin to read; `None` if nothing."""
        if status is Status.ACTIVE or (
            status is Status.SUSPENDED and user_id not in self._unfinished
        ):
            return None
        doing = "stopped" if status is Status.SUSPENDED else "removed"
        return f"The agent is being {doing}. {self._failures.get(user_id, '')}".strip()

    async def _check_on_connect(self) -> None:
        """Check all agents when the agent server connects: their states may have changed."""
        connected = self._agents.statuses.connected
        while True:
            await connected.wait()
            connected.clear()
            self._changed.set()

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self._check_all()
            except Problem as problem:  # the database is away; /health reports it
                log.warning("users' agents not checked", reason=problem.detail)
            except Exception:
                log.exception("users' agents not checked")
            with suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_EVERY_S):
                    await self._changed.wait()

    async def _check_all(self) -> None:
        async with self._database.read() as session:
            desired = {user.id: Status(user.status) for user in await inactive_users(session)}
        disabled = self._agents.statuses.disabled()
        for user_id, status in desired.items():
            if status is Status.DELETING or user_id not in disabled:
                self._begin(user_id, status)
            else:
                self._unfinished.discard(user_id)
        for user_id in disabled - desired.keys():
            self._begin(user_id, Status.ACTIVE)

    def _begin(self, user_id: str, status: Status) -> None:
        """Start a task for this user, so that an agent that stops slowly does not delay others."""
        if user_id in self._tasks:
            return
        if status is not Status.ACTIVE:
            self._unfinished.add(user_id)
        task = self._tasks[user_id] = asyncio.create_task(self._retry_until_done(user_id))
        task.add_done_callback(lambda _: self._ended(user_id))

    def _ended(self, user_id: str) -> None:
        del self._tasks[user_id]
        self._failures.pop(user_id, None)

    async def _retry_until_done(self, user_id: str) -> None:
        """Retry until the agent matches its user's status, which each attempt reads again."""
        retry_s = _FIRST_RETRY_S
        while True:
            self._again.discard(user_id)
            try:
                await self._apply(user_id)
            except Problem as problem:
                self._failures[user_id] = problem.detail
                log.warning(
                    "agent does not match its user's status yet",
                    user_id=user_id,
                    reason=problem.detail,
                )
            except Exception:
                log.exception("agent does not match its user's status yet", user_id=user_id)
            else:
                if user_id in self._again:
                    continue
                self._unfinished.discard(user_id)
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(retry_s):
                    await self._changed.wait()
            retry_s = min(retry_s * 2, _LAST_RETRY_S)

    async def _apply(self, user_id: str) -> None:
        async with self._database.read() as session:
            status = await status_of(session, user_id)
        server, statuses = self._agents.server, self._agents.statuses
        try:
            if status is None:
                return
            if status is Status.ACTIVE:
                statuses.set_disabled(await server.enable(user_id))
                log.info("agent enabled", user_id=user_id)
                return
            statuses.set_disabled(await server.disable(user_id))
            log.info("agent disabled", user_id=user_id)
        except NoSuchAgent:
            statuses.forget(user_id)
        if status is Status.DELETING:
            await self._delete(user_id)

    async def _delete(self, user_id: str) -> None:
        await self._agents.wait_provisioned(user_id)  # else it would come back
        await self._agents.server.remove(user_id)
        async with self._database.write() as session:
            await delete_user(session, user_id, clock=self._clock)
        self._agents.statuses.forget(user_id)
        self._on_deleted(user_id)
        log.info("user deleted", user_id=user_id)
