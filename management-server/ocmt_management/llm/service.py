"""The model gateway's state, and its operations for other domains."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx2
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.agents.service import Agents
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.llm.agent_model import agent_model
from ocmt_management.llm.agent_model_sender import AgentModelSender
from ocmt_management.llm.budget_ledger import BudgetLedger, settle_abandoned
from ocmt_management.llm.budgets import day_of, warning
from ocmt_management.llm.caller_cache import Caller, CallerCache
from ocmt_management.llm.catalogue import Catalogue
from ocmt_management.llm.choice import ChosenModel, UserModelChoice
from ocmt_management.llm.concurrency import RequestLimits
from ocmt_management.llm.errors import ModelError
from ocmt_management.llm.last_errors import LastErrors
from ocmt_management.llm.metrics import ModelMetrics
from ocmt_management.llm.models import TOTAL
from ocmt_management.llm.prices import Prices
from ocmt_management.llm.providers import Provider
from ocmt_management.llm.repository import UsageRepository
from ocmt_management.llm.stream_options import StreamOptions
from ocmt_management.llm.usage_recorder import UsageRecorder
from ocmt_management.no_cookies import no_cookies
from ocmt_management.outbound.service import Client, OutboundTransport
from ocmt_management.settings import ManagementSettings
from ocmt_management.vault.service import KeyRing

__all__ = ["ChosenModel", "Llm", "ModelError", "settle_abandoned"]

# A model may think for minutes before its first byte.
_TIMEOUT = httpx2.Timeout(10, read=600, write=60)
_LIMITS = httpx2.Limits(max_connections=500, max_keepalive_connections=50)


class Llm:
    """Enter `open` for the server's lifetime."""

    def __init__(
        self,
        *,
        settings: ManagementSettings,
        database: Database,
        agents: Agents,
        keys: KeyRing,
        clock: Clock,
        http: httpx2.AsyncClient,
        outbound_http: httpx2.AsyncClient,
        usage: UsageRecorder,
        agent_models: AgentModelSender,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self._http = http
        self._outbound_http = outbound_http
        self.usage = usage
        self.agent_models = agent_models
        self.last_errors = LastErrors(clock)
        self.request_limits = RequestLimits()
        self.stream_options = StreamOptions(clock)
        self.prices = Prices(settings.data_dir)
        self.ledger = BudgetLedger(database, clock)
        self.metrics = ModelMetrics()
        self.catalogue = Catalogue(http, outbound_http, settings, clock)
        self._database = database
        self._agents = agents
        self._keys = keys
        self._callers = CallerCache(clock)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        *,
        settings: ManagementSettings,
        database: Database,
        agents: Agents,
        keys: KeyRing,
        clock: Clock,
    ) -> AsyncIterator["Llm"]:
        usage = UsageRecorder(database, keys, clock, on_spent=agents.statuses.notify)
        agent_models = AgentModelSender(
            database, agents.server, partial(agent_model, settings=settings)
        )
        outbound = Client(settings.private_host_set)
        # trust_env=False: the environment's proxies and .netrc must not receive users' keys.
        async with (
            _closing(outbound),
            usage.running(),
            agent_models.running(),
            httpx2.AsyncClient(
                timeout=_TIMEOUT, limits=_LIMITS, cookies=no_cookies(), trust_env=False
            ) as http,
            httpx2.AsyncClient(
                transport=OutboundTransport(outbound),
                timeout=_TIMEOUT,
                cookies=no_cookies(),
                trust_env=False,
            ) as outbound_http,
        ):
            yield cls(
                settings=settings,
                database=database,
                agents=agents,
                keys=keys,
                clock=clock,
                http=http,
                outbound_http=outbound_http,
                usage=usage,
                agent_models=agent_models,
            )

    def http(self, provider: Provider) -> httpx2.AsyncClient:
        """The client that reaches this provider; own servers are dialled with the address check."""
        return self._outbound_http if provider.own else self._http

    async def caller(self, token: str) -> Caller | None:
        """The caller with this agent token, cached for a few seconds."""

        async def look_up() -> Caller | None:
            async with self._database.read() as session:
                user_id = await self._agents.user_of(session, token)
                if user_id is None:
                    return None
                choice = UserModelChoice(session, self._keys, self.clock, user_id)
                chosen = await choice.chosen()
                rows = UsageRepository(session)
                budgets = await rows.budgets((user_id, TOTAL))
                access = None if chosen.demo else await choice.access.to(chosen.provider)
                limits = [*budgets.values(), *([] if access is None else [access.limits])]
                return Caller(
                    user_id=user_id,
                    chosen=chosen,
                    access=access,
                    time_zone=await rows.time_zone(user_id),
                    limited=any(one.refuses for one in limits),
                )

        return await self._callers.find(token, look_up)

    async def model_of(self, session: AsyncSession, user_id: str) -> ChosenModel:
        """The model that answers this user's agent."""
        return await UserModelChoice(session, self._keys, self.clock, user_id).chosen()

    async def budget_warning(self, user_id: str) -> str | None:
        """A sentence once the user's soft limit is reached; also a change of it notifies watchers
        of the agent's status."""
        async with self._database.read() as session:
            rows = UsageRepository(session)
            limits = (await rows.budgets((user_id,))).get(user_id)
            if limits is None or not limits.warns:
                return None
            day = day_of(self.clock(), await rows.time_zone(user_id))
            return warning(limits, await rows.spent(user_id=user_id, day=day))

    def budgets_changed(self, user_id: str | None) -> None:
        """Evict a user, or all users (`None`), from the cache after a change of limits."""
        if user_id is None:
            self._callers.forget_all()
        else:
            self._callers.forget(user_id)
            self._agents.statuses.notify(user_id)

    def shared_keys_changed(self) -> None:
        """Drop what is cached of all users. Call after the commit."""
        self._callers.forget_all()
        self.catalogue.forget_all()

    async def model_changed(self, user_id: str) -> None:
        """Use the user's new choice or key from now on. Call after the commit."""
        self.user_changed(user_id)
        await self.agent_models.send(user_id)

    def user_changed(self, user_id: str) -> None:
        """Drop this user's cached data after a change of their model, key, token or status."""
        self._callers.forget(user_id)
        self.last_errors.forget(user_id)
        self.catalogue.forget(user_id)


@asynccontextmanager
async def _closing(client: Client) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await client.close()
