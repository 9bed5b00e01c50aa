"""Everybody has an agent: made after the first sign-in, made again when it is lost.

Making one takes seconds to minutes and the agent server may be away, so it happens in tasks owned
here, which go on where they were after a restart. Of an agent's token the database knows a hash:
an unfinished making therefore starts over with a new token, and a finished one is left alone.

While a release takes over from another there are two servers on one database. Who began last makes
the agent, the other gives way; and what one has finished, the other tells its own watchers, who
hear of nothing in another process.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import structlog
from ocmt_common.problems import Problem
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.agents.client import AgentServer, NoSuchAgent
from ocmt_management.agents.models import Agent, Stage
from ocmt_management.agents.repository import AgentRepository
from ocmt_management.agents.schemas import AgentRow, AgentState, AgentView
from ocmt_management.agents.status import AgentStatuses
from ocmt_management.audit.service import Audit
from ocmt_management.auth.people import is_active
from ocmt_management.auth.tokens import is_token, new_token
from ocmt_management.clock import Clock
from ocmt_management.db import Database

log = structlog.get_logger(__name__)

_FIRST_RETRY_S = 1.0
_LAST_RETRY_S = 30.0
_LOOK_S = 1.0
_ANOTHERS_TURN_S = 60.0
"""For which an agent that another server began is left to it. A slow boot takes half of it."""
# Passing troubles of the place, not of this agent: tried again until they are over.
_PASSING = frozenset(
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
    """Use `running` as long as the server lives."""

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
        self._making: dict[str, asyncio.Task[None]] = {}
        self._waking: dict[str, asyncio.Task[None]] = {}
        self._renewed: set[str] = set()
        """Whose token was revoked here, and who were not begun anew since."""
        self.server = server
        self.statuses = AgentStatuses(server, clock, sleep=sleep)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the agent server and finish what an earlier life of this server began."""
        await self._resume()
        following = asyncio.create_task(self.statuses.follow())
        try:
            yield
        finally:
            tasks = [following, *self._making.values(), *self._waking.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # Asking

    async def view(self, user_id: str) -> AgentView:
        """The user's agent, as truly as it is known."""
        async with self._database.read() as session:
            agent = await AgentRepository(session).of_user(user_id)
        return self._view(agent)

    async def rows(self) -> list[AgentRow]:
        """All agents, for an admin; without what only the agent server knows while it is away."""
        async with self._database.read() as session:
            agents = await AgentRepository(session).all()
        try:
            live = {found.user_id: found for found in await self.server.containers()}
        except Problem:
            live = {}
        return [
            AgentRow(
                user_id=agent.user_id,
                idle_minutes=live[agent.user_id].idle_minutes if agent.user_id in live else None,
                awake_because=live[agent.user_id].awake_because if agent.user_id in live else [],
                **self._view(agent).model_dump(),
            )
            for agent in agents
        ]

    async def check_server(self) -> None:
        """Raises `Problem` when the agent server, or our way to it, is not as it should be."""
        await self.server.check()
        if self.statuses.trouble is not None:
            raise self.statuses.trouble

    # Doing

    def ensure(self, user_id: str) -> None:
        """Make sure, in the background, that this user has an agent."""
        if user_id in self._making:
            return
        making = self._making[user_id] = asyncio.create_task(self._make(user_id))
        making.add_done_callback(partial(self._made, user_id))

    async def renew_token(self, user_id: str, *, actor: str) -> None:
        """Revoke the agent's token at once and give it another, which restarts the agent."""
        async with self._database.write() as session:
            agents = AgentRepository(session)
            if await agents.locked(user_id) is None:
                raise _no_agent()
            await agents.begin(user_id, token_hash(new_token()), self._clock())
            Audit(session, self._clock).record("agent.token", user_id=user_id, actor=actor)
        self._renewed.add(user_id)
        self.statuses.tell(user_id)
        self.ensure(user_id)

    async def made(self, user_id: str) -> None:
        """Wait until no making of this user's agent is under way here."""
        making = self._making.get(user_id)
        if making is not None:
            await asyncio.wait({making})

    def make_again(self, user_id: str) -> None:
        """The agent server says that it has no such agent: have it made anew."""
        self.statuses.forget(user_id)
        self.ensure(user_id)

    async def wake(self, user_id: str) -> None:
        """Start waking the agent. Raises `Problem` when there is none to wake now."""
        await self.require_ready(user_id)
        if user_id not in self._waking:
            waking = self._waking[user_id] = asyncio.create_task(self._wake(user_id))
            waking.add_done_callback(lambda _: self._waking.pop(user_id))

    async def require_ready(self, user_id: str) -> None:
        """Raises `Problem` saying why this user's agent cannot be spoken to now."""
        view = await self.view(user_id)
        if view.state is AgentState.UNREACHABLE:
            raise self.statuses.trouble or _no_agent()
        async with self._database.read() as session:
            agent = await AgentRepository(session).of_user(user_id)
        if agent is None or agent.stage == Stage.PROVISIONING:
            self.ensure(user_id)
            raise Problem(
                409,
                "agent-provisioning",
                view.detail or "Your agent is being set up. It can be spoken to in a moment.",
            )
        if agent.stage == Stage.FAILED:
            raise Problem(409, "agent-failed", f"{view.detail} Set it up again.")

    async def user_of(self, session: AsyncSession, token: str) -> str | None:
        """Whose agent this token is; `None` for any other, and for a suspended user's."""
        if not is_token(token):
            return None
        user_id = await AgentRepository(session).user_of(token_hash(token))
        return user_id if user_id and await is_active(session, user_id) else None

    # In the background

    def _made(self, user_id: str, making: asyncio.Task[None]) -> None:
        del self._making[user_id]
        if user_id in self._renewed and not making.cancelled():
            self.ensure(user_id)

    async def _resume(self) -> None:
        try:
            async with self._database.read() as session:
                unfinished = await AgentRepository(session).being_made()
        except Problem as problem:  # each is made once its user signs in or asks
            log.warning("unfinished agents are not known", reason=problem.detail)
            return
        for user_id in unfinished:
            self.ensure(user_id)

    async def _make(self, user_id: str) -> None:
        """Try until the agent is there, or until a trouble of its own needs somebody to look."""
        token: str | None = None
        retry_s = _FIRST_RETRY_S
        while True:
            try:
                token = token or await self._begin(user_id)
                if token is None or await self._make_under(user_id, token):
                    break
                token = None
                if not await self._stays_unfinished(user_id):
                    break
            except Problem:  # a passing one
                pass
            except Exception:
                log.exception("agent not made", user_id=user_id)
            else:
                continue
            await self._sleep(retry_s)
            retry_s = min(retry_s * 2, _LAST_RETRY_S)
        self.statuses.tell(user_id)

    async def _make_under(self, user_id: str, token: str) -> bool:
        """Make the agent under this token, or keep why not, where the user sees it.

        `False` when it has another token by now. Raises the `Problem` of a passing trouble.
        """
        async with self._database.read() as session:
            if not await is_active(session, user_id):  # suspended or deleted since it was begun
                return True
        try:
            container = await self.server.provision(user_id, token)
        except Problem as problem:
            passing = problem.code in _PASSING
            log.warning("agent not made", user_id=user_id, reason=problem.detail, again=passing)
            stage = Stage.PROVISIONING if passing else Stage.FAILED
            settled = await self._settle(user_id, token, stage, failure=problem.detail)
            if settled and passing:
                raise
            return settled
        self.statuses.learn(container)
        settled = await self._settle(user_id, token, Stage.READY, failure=None)
        if settled:
            log.info("agent is there", user_id=user_id)
        return settled

    async def _stays_unfinished(self, user_id: str) -> bool:
        """Whether the agent, begun by another since, is to be begun here again.

        Not while another server may be making it: each would revoke the other's token for ever.
        """
        waited_s = 0.0
        while user_id not in self._renewed and waited_s < _ANOTHERS_TURN_S:
            await self._sleep(_LOOK_S)
            waited_s += _LOOK_S
            async with self._database.read() as session:
                agent = await AgentRepository(session).of_user(user_id)
            if agent is None or agent.stage != Stage.PROVISIONING:
                return user_id in self._renewed
        return True

    async def _begin(self, user_id: str) -> str | None:
        """A new token for an agent that has to be made; `None` when there is nothing to do."""
        self._renewed.discard(user_id)
        async with self._database.write() as session:
            agents = AgentRepository(session)
            agent = await agents.locked(user_id)
            made = agent is not None and agent.stage == Stage.READY and not self._is_lost(user_id)
            if made or not await is_active(session, user_id):
                return None
            token = new_token()
            await agents.begin(user_id, token_hash(token), self._clock())
        self.statuses.tell(user_id)
        return token

    def _is_lost(self, user_id: str) -> bool:
        """Whether the agent server, which we hear, does not have this user's agent."""
        return self.statuses.trouble is None and self.statuses.of(user_id) is None

    async def _settle(self, user_id: str, token: str, stage: Stage, *, failure: str | None) -> bool:
        async with self._database.write() as session:
            settled = await AgentRepository(session).settle(
                user_id, token_hash(token), stage, failure=failure, now=self._clock()
            )
        self.statuses.tell(user_id)
        return settled

    async def _wake(self, user_id: str) -> None:
        try:
            await self.server.wake(user_id)
        except NoSuchAgent:
            self.make_again(user_id)
        except Problem as problem:  # the agent's own status shows it
            log.warning("agent not woken", user_id=user_id, reason=problem.detail)

    def _view(self, agent: Agent | None) -> AgentView:
        if agent is None:
            return AgentView(state=AgentState.NONE, detail=None, since=None)
        if agent.stage != Stage.READY:
            state = AgentState(agent.stage)
            return AgentView(state=state, detail=agent.failure, since=agent.since)
        if self.statuses.trouble is not None:
            return AgentView(
                state=AgentState.UNREACHABLE,
                detail=self.statuses.trouble.detail,
                since=self.statuses.trouble_since,
            )
        seen = self.statuses.of(agent.user_id)
        if seen is None:
            detail = "The agent is not on its server. It is made again with your next message."
            return AgentView(state=AgentState.NONE, detail=detail, since=None)
        return AgentView(
            state=AgentState(seen.state),
            detail=seen.failure,
            since=seen.since,
            warning=seen.warning,
        )


def token_hash(token: str) -> bytes:
    """SHA-256 is enough: nobody guesses 256 random bits."""
    return hashlib.sha256(token.encode()).digest()


def _no_agent() -> Problem:
    return Problem(404, "agent-unknown", "This user has no agent.")
