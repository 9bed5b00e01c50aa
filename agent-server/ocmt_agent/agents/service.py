"""What the API offers on agents beside waking and sleeping: provision, remove, tell the health."""

import asyncio
import contextlib

from ocmt_common.agent_api import (
    AgentServerHealth,
    HibernationState,
    ProvisionRequest,
    TlsHealth,
)
from ocmt_common.host_credentials import HostCredentials
from ocmt_common.problems import Problem
from ocmt_common.user_ids import is_user_id
from ocmt_common.version import release_version

from ocmt_agent.agents.agent import Agent
from ocmt_agent.agents.registry import AgentRegistry
from ocmt_agent.hibernation import cause
from ocmt_agent.hibernation.clock import Clock
from ocmt_agent.hibernation.engine import Hibernation, refuse_disabled, runtime_problems
from ocmt_agent.hibernation.waking import ActivityKind
from ocmt_agent.memory.keeper import MemoryKeeper
from ocmt_agent.memory.report import memory_health
from ocmt_agent.runtime.base import Runtime, RuntimeFailed, RuntimeUnavailable

_LOOK_EVERY_S = 2.0


class AgentService:
    def __init__(
        self,
        runtime: Runtime,
        registry: AgentRegistry,
        engine: Hibernation,
        memory: MemoryKeeper,
        *,
        clock: Clock,
        credentials: HostCredentials | None = None,
    ) -> None:
        self._credentials = credentials
        self._runtime = runtime
        self._registry = registry
        self._engine = engine
        self._memory = memory
        self._clock = clock
        self._version = release_version("ocmt-agent")
        self._looked_at = -_LOOK_EVERY_S
        self._runtime_says: list[str] = []

    async def provision(self, request: ProvisionRequest) -> tuple[Agent, bool]:
        """The user's agent, made if there is none, and whether it was made just now.

        Returns once its gateway answered. The same request again changes nothing, but for an agent
        whose making failed: that is tried again. Another token re-creates the container on the same
        state.
        """
        token = request.agent_token
        agent = self._registry.find(request.user_id)
        made = agent is None
        if agent is None:
            now = self._clock.now()
            agent = Agent.new(request.user_id, agent_token=token, now=now)
            self._registry.reserve(agent)
        await self._engine.run(self._provision(agent, token))
        return agent, made

    async def _provision(self, agent: Agent, token: str) -> None:
        async with agent.lock:
            if agent.removed:
                raise Problem(409, "agent-removed", "This agent was removed meanwhile. Try again.")
            refuse_disabled(agent)
            if agent.state is HibernationState.PROVISIONING:
                await self._registry.insert(agent)
            elif agent.agent_token != token:
                await self._engine.put_down(agent, why=cause.NEW_TOKEN)
                await self._registry.replace_token(agent, token)
            elif agent.state is not HibernationState.FAILED:
                return
            await self._registry.move(agent, HibernationState.PROVISIONING, why=cause.PROVISION)
            try:
                await self._engine.raise_up(agent, why=cause.PROVISION)
            except Problem as problem:
                await self._clean_up(agent, problem)
                raise
            self._registry.touch(agent, ActivityKind.PROVISION)  # idle counts from here

    async def _clean_up(self, agent: Agent, problem: Problem) -> None:
        """Leave no container of a failed provision; what the user's state folder holds stays."""
        if agent.state is not HibernationState.FAILED:
            await self._registry.move(
                agent,
                HibernationState.FAILED,
                why=cause.failed(problem.code),
                failure=problem.detail,
            )
        with contextlib.suppress(RuntimeFailed, RuntimeUnavailable):  # the next one replaces it
            await self._runtime.remove(agent.user_id, with_state=False)

    async def remove(self, user_id: str, *, with_state: bool) -> None:
        """Remove the container and the record; with `with_state` the user's folder for good.

        With `with_state` that succeeds, too, when there is no record: a folder that an earlier
        removal left is deleted.
        """
        agent = self._registry.find(user_id)
        if agent is None and with_state and is_user_id(user_id):
            with runtime_problems():
                await self._runtime.remove(user_id, with_state=True)
            return
        await self._engine.run(self._remove(self._registry.get(user_id), with_state=with_state))

    async def _remove(self, agent: Agent, *, with_state: bool) -> None:
        async with agent.lock:
            agent.access = None
            with runtime_problems():
                await self._runtime.remove(agent.user_id, with_state=with_state)
            self._memory.ended(agent)
            await self._registry.forget(agent, with_state=with_state)

    async def stop_all(self) -> None:
        """End every container, for a server that is told to leave nothing running."""

        async def stop(agent: Agent) -> None:
            async with agent.lock:
                await self._engine.put_down(agent, why=cause.SERVER_STOPS)

        agents = self._registry.all()
        await asyncio.gather(*(stop(agent) for agent in agents), return_exceptions=True)

    async def logs(self, user_id: str, *, lines: int) -> str:
        agent = self._registry.get(user_id)
        with runtime_problems():
            return agent.without_secrets(await self._runtime.logs(user_id, lines=lines))

    async def health(self) -> AgentServerHealth:
        problems = list(await self._runtime_problems())
        if self._registry.problem is not None:
            problems.append(self._registry.problem)
        counts = self._registry.counts()
        return AgentServerHealth(
            status="degraded" if problems else "ok",
            containers=len(self._registry.all()),
            hibernation=counts,
            runtime=self._runtime.name,
            problems=problems,
            version=self._version,
            memory=memory_health(self._memory),
            tls=self._tls(),
        )

    def _tls(self) -> TlsHealth | None:
        own = self._credentials
        if own is None:
            return None
        return TlsHealth(
            certificate_ends_at=own.ends_at,
            tokens=own.token_ids,
            token_in_use=own.token_in_use,
        )

    async def _runtime_problems(self) -> list[str]:
        # `/health` is open to anyone, so asking it often must not mean asking the engine often.
        now_s = self._clock.monotonic()
        if now_s - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now_s
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    self._runtime_says = await self._runtime.problems()
            except (RuntimeUnavailable, RuntimeFailed) as error:
                self._runtime_says = [str(error)]
            except TimeoutError:
                self._runtime_says = ["The runtime does not answer. Look at its service's log."]
        return self._runtime_says
