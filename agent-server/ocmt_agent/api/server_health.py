"""The agent server's own health, as `GET /health` reports it."""

import asyncio

from ocmt_common.agent_api import AgentServerHealth, HeldSparesHealth, SparesHealth, TlsHealth
from ocmt_common.host_credentials import HostCredentials
from ocmt_common.version import release_version

from ocmt_agent.clock import Clock
from ocmt_agent.decisions.sleep_policy import Times
from ocmt_agent.memory.manager import MemoryManager
from ocmt_agent.memory.report import memory_health
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.runtime.base import Runtime, RuntimeFailed, RuntimeUnavailable
from ocmt_agent.spares.keeper import SpareKeeper

_READ_EVERY_S = 2.0


class ServerHealth:
    def __init__(
        self,
        runtime: Runtime,
        registry: AgentRegistry,
        memory: MemoryManager,
        spares: SpareKeeper,
        *,
        times: Times,
        clock: Clock,
        credentials: HostCredentials | None = None,
    ) -> None:
        self._credentials = credentials
        self._runtime = runtime
        self._registry = registry
        self._memory = memory
        self._spares = spares
        self._times = times
        self._clock = clock
        self._version = release_version("ocmt-agent")
        self._read_at = -_READ_EVERY_S
        self._runtime_reports: list[str] = []

    async def read(self) -> AgentServerHealth:
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
            memory=memory_health(self._memory, self._times),
            spares=self._spares_health(),
            tls=self._tls(),
        )

    def _spares_health(self) -> SparesHealth:
        wanted, held = self._spares.wanted(), self._spares.wanted(held=True)
        return SparesHealth(
            ready=len(self._spares.ready()),
            wanted=wanted.count,
            why=wanted.why,
            held=HeldSparesHealth(
                ready=len(self._spares.ready(held=True)), wanted=held.count, why=held.why
            ),
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
        # `/health` needs no token, so frequent requests must not call the container engine.
        now_s = self._clock.monotonic()
        if now_s - self._read_at >= _READ_EVERY_S:
            self._read_at = now_s
            try:
                async with asyncio.timeout(_READ_EVERY_S):
                    self._runtime_reports = await self._runtime.problems()
            except (RuntimeUnavailable, RuntimeFailed) as error:
                self._runtime_reports = [str(error)]
            except TimeoutError:
                self._runtime_reports = ["The runtime does not answer. See its service's log."]
        return self._runtime_reports
