"""Provisions one agent per user: after the first sign-in, and again if the agent is lost.

Provisioning takes seconds to minutes and the agent server may be away, so it runs in tasks owned
here, which resume after a restart. The database holds only the hash of an agent's token, so
unfinished provisioning restarts with a new token.

During a release's handover two servers share one database. The server that began last provisions
the agent; the other waits, then notifies its own watchers of the result.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import structlog
from ocmt_common.agent_api import Container
from ocmt_common.problems import Problem
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.agents.client import NO_SUCH_AGENT, AgentServer, NoSuchAgent
from ocmt_management.agents.conversation_keys import (
    CONVERSATION_ID,
    MAIN,
    conversation_of,
    key_of,
)
from ocmt_management.agents.gateway import FileInPieces, Gateway, GatewayError
from ocmt_management.agents.identity import IdentityView, identity_of
from ocmt_management.agents.models import Agent, Stage
from ocmt_management.agents.repository import AgentRepository
from ocmt_management.agents.schemas import AgentRow, AgentState, AgentView
from ocmt_management.agents.status import AgentStatuses
from ocmt_management.audit.service import Audit
from ocmt_management.auth.service import is_active, lock_user
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.tokens import is_token, new_token, token_hash

__all__ = [
    "CONVERSATION_ID",
    "MAIN",
    "NO_SUCH_AGENT",
    "AgentRow",
    "AgentServer",
    "AgentState",
    "AgentView",
    "Agents",
    "FileInPieces",
    "Gateway",
    "GatewayError",
    "IdentityView",
    "NoSuchAgent",
    "conversation_of",
    "identity_of",
    "key_of",
]

log = structlog.get_logger(__name__)

_FIRST_RETRY_S = 1.0
_LAST_RETRY_S = 30.0
_POLL_S = 1.0
_OTHER_SERVERS_TURN_S = 60.0
"""How long to wait for another server's provisioning; a slow boot takes half of that time."""
# Transient problems of the installation, not of this agent: provisioning retries until they pass.
_TRANSIENT = frozenset(
    {
        "agent-server-unreachable",
        "agent-server-refuses-us",
        "agent-disabled",
        "runtime-unavailable",
        "database-unavailable",
        "disk-full",
    }
)


class Agents:
    """Enter `running` for the server's lifetime."""

    def __init__(
        self,
        database: Database,
        server: AgentServer,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._database = database
        self._clock = clock
        self._sleep = sleep
        self._provisioning: dict[str, asyncio.Task[None]] = {}
        self._orders: dict[tuple[str, str], asyncio.Task[None]] = {}
        """Wakes and restarts in progress, at most one of each a user."""
        self._renewed: set[str] = set()
        """Users whose token this server revoked and whose agent is not provisioned again yet."""
        self.server = server
        self.statuses = AgentStatuses(server, clock, sleep=sleep)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the agent server and resume provisioning that an earlier run left unfinished."""
        await self._resume()
        following = asyncio.create_task(self.statuses.follow())
        try:
            yield
        finally:
            tasks = [following, *self._provisioning.values(), *self._orders.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # Queries

    async def view(self, user_id: str) -> AgentView:
        """The user's agent as last reported."""
        async with self._database.read() as session:
            agent = await AgentRepository(session).of_user(user_id)
        return self._view(agent)

    async def rows(self) -> list[AgentRow]:
        """All agents, for admins. Without the agent server, idle times and blockers are missing."""
        async with self._database.read() as session:
            agents = await AgentRepository(session).all()
        try:
            live = {found.user_id: found for found in await self.server.containers()}
        except Problem:
            live = {}
        return [self._row(agent, live.get(agent.user_id)) for agent in agents]

    def _row(self, agent: Agent, live: Container | None) -> AgentRow:
        view = self._view(agent).model_dump()
        if live is None:
            return AgentRow(user_id=agent.user_id, awake_because=[], **view)
        return AgentRow(
            user_id=agent.user_id,
            idle_minutes=live.idle_minutes,
            awake_because=live.awake_because,
            last_activity=live.last_activity,
            next_wake_at=live.next_wake_at,
            memory=live.memory,
            disk=live.disk,
            **view,
        )

    async def check_server(self) -> None:
        """Raise `Problem` if the agent server is degraded or its event stream is down."""
        await self.server.check()
        if self.statuses.unreachable is not None:
            raise self.statuses.unreachable

    # Commands

    def ensure(self, user_id: str) -> None:
        """Provision this user's agent in the background unless it exists. Cheap and idempotent."""
        if user_id in self._provisioning:
            return
        task = self._provisioning[user_id] = asyncio.create_task(self._provision(user_id))
        task.add_done_callback(partial(self._provisioned, user_id))

    async def renew_token(self, user_id: str, *, actor: str) -> None:
        """Revoke the agent's token now and issue another, which restarts the agent.

        Raises `Problem` if the user has no agent.
        """
        async with self._database.write() as session:
            await lock_user(session, user_id)
            agents = AgentRepository(session)
            if await agents.locked(user_id) is None:
                raise _no_agent()
            await agents.begin(user_id, token_hash(new_token()), self._clock())
            Audit(session, self._clock).record("agent.token", user_id=user_id, actor=actor)
        self._renewed.add(user_id)
        self.statuses.notify(user_id)
        self.ensure(user_id)

    async def wait_provisioned(self, user_id: str) -> None:
        """Wait for the task of this server that provisions the user's agent, if there is one."""
        task = self._provisioning.get(user_id)
        if task is not None:
            await asyncio.wait({task})

    def reprovision(self, user_id: str) -> None:
        """Provision the agent anew: the agent server answered that it has no such agent."""
        self.statuses.forget(user_id)
        self.ensure(user_id)

    async def wake(self, user_id: str) -> None:
        """Start waking the agent in the background. Raises `Problem` if it is not ready."""
        await self.require_ready(user_id)
        self._send_order(user_id, "wake", self.server.wake)

    async def restart(self, user_id: str, *, actor: str) -> None:
        """Restart the gateway in the background. Raises `Problem` if it is not ready."""
        await self.require_ready(user_id)
        async with self._database.write() as session:
            Audit(session, self._clock).record("agent.restart", user_id=user_id, actor=actor)
        self._send_order(user_id, "restart", self.server.restart)

    async def hibernate(self, user_id: str, mode: str, *, actor: str) -> None:
        """Pause or stop the agent. Raises `Problem` while it works."""
        await self.require_ready(user_id)
        await self.server.hibernate(user_id, mode)
        async with self._database.write() as session:
            Audit(session, self._clock).record(f"agent.{mode}", user_id=user_id, actor=actor)

    def _send_order(
        self, user_id: str, name: str, order: Callable[[str], Awaitable[object]]
    ) -> None:
        key = user_id, name
        if key not in self._orders:
            task = self._orders[key] = asyncio.create_task(self._obey(user_id, order))
            task.add_done_callback(lambda _: self._orders.pop(key))

    async def require_ready(self, user_id: str) -> None:
        """Raise `Problem` with the reason if this user's agent is not ready."""
        view = await self.view(user_id)
        if view.state is AgentState.UNREACHABLE:
            raise self.statuses.unreachable or _no_agent()
        async with self._database.read() as session:
            agent = await AgentRepository(session).of_user(user_id)
        if agent is None or agent.stage == Stage.PROVISIONING:
            self.ensure(user_id)
            raise Problem(
                409,
                "agent-provisioning",
                view.detail or "Your agent is being set up. Try again in a moment.",
            )
        if agent.stage == Stage.FAILED:
            raise Problem(409, "agent-failed", f"{view.detail} Set it up again.")

    async def user_of(self, session: AsyncSession, token: str) -> str | None:
        """The user of the agent with this token; `None` if unknown or the user is not active."""
        if not is_token(token):
            return None
        user_id = await AgentRepository(session).user_of(token_hash(token))
        return user_id if user_id and await is_active(session, user_id) else None

    # Background tasks

    def _provisioned(self, user_id: str, task: asyncio.Task[None]) -> None:
        del self._provisioning[user_id]
        if user_id in self._renewed and not task.cancelled():
            self.ensure(user_id)

    async def _resume(self) -> None:
        try:
            async with self._database.read() as session:
                unfinished = await AgentRepository(session).provisioning()
        except Problem as problem:  # each is provisioned when its user next signs in
            log.warning("unfinished agents not read", reason=problem.detail)
            return
        for user_id in unfinished:
            self.ensure(user_id)

    async def _provision(self, user_id: str) -> None:
        """Provision the agent; retry until it is ready or fails permanently."""
        token: str | None = None
        retry_s = _FIRST_RETRY_S
        while True:
            try:
                token = token or await self._begin(user_id)
                if token is None or await self._provision_with(user_id, token):
                    break
                token = None
                if not await self._must_restart(user_id):
                    break
            except Problem:  # transient
                pass
            except Exception:
                log.exception("agent not provisioned", user_id=user_id)
            else:
                continue
            await self._sleep(retry_s)
            retry_s = min(retry_s * 2, _LAST_RETRY_S)
        self.statuses.notify(user_id)

    async def _provision_with(self, user_id: str, token: str) -> bool:
        """Provision the agent with this token, or store the failure for the user to see.

        Returns `False` if the agent has another token by now. Raises `Problem` if the failure is
        transient.
        """
        async with self._database.read() as session:
            if not await is_active(session, user_id):  # suspended or deleted since `_begin`
                return True
        try:
            container = await self.server.provision(user_id, token)
        except Problem as problem:
            transient = problem.code in _TRANSIENT
            log.warning(
                "agent not provisioned", user_id=user_id, reason=problem.detail, again=transient
            )
            stage = Stage.PROVISIONING if transient else Stage.FAILED
            finished = await self._finish(user_id, token, stage, failure=problem.detail)
            if finished and transient:
                raise
            return finished
        self.statuses.add(container)
        finished = await self._finish(user_id, token, Stage.READY, failure=None)
        if finished:
            log.info("agent is ready", user_id=user_id)
        return finished

    async def _must_restart(self, user_id: str) -> bool:
        """Whether to provision again after another server has replaced this server's token.

        Waits first until the other server is done or out of time: two servers that retry at once
        would keep revoking each other's tokens.
        """
        waited_s = 0.0
        while user_id not in self._renewed and waited_s < _OTHER_SERVERS_TURN_S:
            await self._sleep(_POLL_S)
            waited_s += _POLL_S
            async with self._database.read() as session:
                agent = await AgentRepository(session).of_user(user_id)
            if agent is None or agent.stage != Stage.PROVISIONING:
                return user_id in self._renewed
        return True

    async def _begin(self, user_id: str) -> str | None:
        """A new token for an agent that must be provisioned; `None` if it need not be."""
        self._renewed.discard(user_id)
        async with self._database.write() as session:
            await lock_user(session, user_id)
            agents = AgentRepository(session)
            agent = await agents.locked(user_id)
            ready = agent is not None and agent.stage == Stage.READY and not self._is_lost(user_id)
            if ready or not await is_active(session, user_id):
                return None
            token = new_token()
            await agents.begin(user_id, token_hash(token), self._clock())
        self.statuses.notify(user_id)
        return token

    def _is_lost(self, user_id: str) -> bool:
        """Whether the agent server is connected and does not have this user's agent."""
        return self.statuses.unreachable is None and self.statuses.of(user_id) is None

    async def _finish(self, user_id: str, token: str, stage: Stage, *, failure: str | None) -> bool:
        async with self._database.write() as session:
            finished = await AgentRepository(session).finish(
                user_id, token_hash(token), stage, failure=failure, now=self._clock()
            )
        self.statuses.notify(user_id)
        return finished

    async def _obey(self, user_id: str, order: Callable[[str], Awaitable[object]]) -> None:
        try:
            await order(user_id)
        except NoSuchAgent:
            self.reprovision(user_id)
        except Problem as problem:  # the agent's status shows it
            log.warning("agent not woken", user_id=user_id, reason=problem.detail)

    def _view(self, agent: Agent | None) -> AgentView:
        if agent is None:
            return AgentView(state=AgentState.NONE, detail=None, since=None)
        if agent.stage != Stage.READY:
            state = AgentState(agent.stage)
            return AgentView(state=state, detail=agent.failure, since=agent.since)
        if self.statuses.unreachable is not None:
            return AgentView(
                state=AgentState.UNREACHABLE,
                detail=self.statuses.unreachable.detail,
                since=self.statuses.unreachable_since,
            )
        seen = self.statuses.of(agent.user_id)
        if seen is None:
            detail = "The agent is not on its server. Your next message sets it up again."
            return AgentView(state=AgentState.NONE, detail=detail, since=None)
        return AgentView(
            state=AgentState(seen.state),
            detail=seen.failure,
            since=seen.since,
            warning=seen.warning,
        )


def _no_agent() -> Problem:
    return Problem(404, "agent-unknown", "This user has no agent.")
