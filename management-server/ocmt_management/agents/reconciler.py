"""Makes agents follow their users' status, and deletes users once their agent is gone.

The database says what is to be: a suspended user's agent is disabled, a deleted user's is removed
with its state, and only then their row. Nothing else is remembered, so whatever breaks off (this
server, the agent server, the way between them) is taken up again from there until it is done.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import structlog
from ocmt_common.problems import Problem

from ocmt_management.agents.client import NoSuchAgent
from ocmt_management.agents.service import Agents
from ocmt_management.auth.models import Status
from ocmt_management.auth.people import erase, not_active, status_of
from ocmt_management.clock import Clock
from ocmt_management.db import Database

log = structlog.get_logger(__name__)

_FIRST_RETRY_S = 1.0
_LAST_RETRY_S = 30.0
_LOOK_EVERY_S = 60.0
"""For what changed behind our back: by another server process, or on the agents' host."""


class Reconciler:
    """Use `running` as long as the server lives. `gone` is called after a user is deleted."""

    def __init__(
        self, database: Database, agents: Agents, clock: Clock, *, gone: Callable[[str], None]
    ) -> None:
        self._database = database
        self._agents = agents
        self._clock = clock
        self._gone = gone
        self._changed = asyncio.Event()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, str] = {}
        """Why the last try for a user did not succeed."""
        self._unfinished: set[str] = set()
        """Whose agent does not follow yet, as far as is known."""
        self._again: set[str] = set()
        """Whose status changed while a task was at it."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._follow())]
        try:
            yield
        finally:
            tasks += self._under_way.values()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def look(self, user_id: str) -> None:
        """This user's status changed."""
        self._unfinished.add(user_id)
        self._again.add(user_id)
        self._changed.set()

    def pending(self, user_id: str, status: Status) -> str | None:
        """What is still to be done about a user's agent, for an admin to read."""
        if status is Status.ACTIVE or (
            status is Status.SUSPENDED and user_id not in self._unfinished
        ):
            return None
        doing = "stopped" if status is Status.SUSPENDED else "removed"
        return f"The agent is being {doing}. {self._waiting.get(user_id, '')}".strip()

    async def _follow(self) -> None:
        """What the agent server tells when it is there (again) may be another state."""
        connected = self._agents.statuses.connected
        while True:
            await connected.wait()
            connected.clear()
            self._changed.set()

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self._pass()
            except Problem as problem:  # the database; its health is told elsewhere
                log.warning("users' agents not looked at", reason=problem.detail)
            except Exception:
                log.exception("users' agents not looked at")
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._changed.wait()

    async def _pass(self) -> None:
        async with self._database.read() as session:
            wanted = {user.id: Status(user.status) for user in await not_active(session)}
        disabled = self._agents.statuses.disabled()
        for user_id, status in wanted.items():
            if status is Status.DELETING or user_id not in disabled:
                self._begin(user_id, status)
            else:
                self._unfinished.discard(user_id)
        for user_id in disabled - wanted.keys():
            self._begin(user_id, Status.ACTIVE)

    def _begin(self, user_id: str, status: Status) -> None:
        """One task a user: an agent that takes long to stop holds up no other."""
        if user_id in self._under_way:
            return
        if status is not Status.ACTIVE:
            self._unfinished.add(user_id)
        task = self._under_way[user_id] = asyncio.create_task(self._until_done(user_id))
        task.add_done_callback(lambda _: self._ended(user_id))

    def _ended(self, user_id: str) -> None:
        del self._under_way[user_id]
        self._waiting.pop(user_id, None)

    async def _until_done(self, user_id: str) -> None:
        """Try until the agent is as its user's status wants it, which is read for each try."""
        retry_s = _FIRST_RETRY_S
        while True:
            self._again.discard(user_id)
            try:
                await self._settle(user_id)
            except Problem as problem:
                self._waiting[user_id] = problem.detail
                log.warning("agent does not follow yet", user_id=user_id, reason=problem.detail)
            except Exception:
                log.exception("agent does not follow yet", user_id=user_id)
            else:
                if user_id in self._again:
                    continue
                self._unfinished.discard(user_id)
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(retry_s):
                    await self._changed.wait()
            retry_s = min(retry_s * 2, _LAST_RETRY_S)

    async def _settle(self, user_id: str) -> None:
        async with self._database.read() as session:
            status = await status_of(session, user_id)
        server, statuses = self._agents.server, self._agents.statuses
        try:
            if status is None:
                return
            if status is Status.ACTIVE:
                statuses.note_disabled(await server.enable(user_id))
                log.info("agent enabled", user_id=user_id)
                return
            statuses.note_disabled(await server.disable(user_id))
            log.info("agent disabled", user_id=user_id)
        except NoSuchAgent:
            statuses.forget(user_id)
        if status is Status.DELETING:
            await self._delete(user_id)

    async def _delete(self, user_id: str) -> None:
        await self._agents.made(user_id)  # what is being made would be there again
        await self._agents.server.remove(user_id)
        async with self._database.write() as session:
            await erase(session, user_id, clock=self._clock)
        self._agents.statuses.forget(user_id)
        self._gone(user_id)
        log.info("user deleted", user_id=user_id)
