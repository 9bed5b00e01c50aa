"""Users' tools, for the endpoints and other domains."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial

import structlog
from ocmt_common.problems import Problem

from ocmt_management.agents.service import Agents
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.integrations.service import Integrations
from ocmt_management.outbound.service import Client
from ocmt_management.settings import ManagementSettings
from ocmt_management.tokens import KeyedHash
from ocmt_management.tools.account_tokens import AccountTokens
from ocmt_management.tools.api_calls import ApiCalls
from ocmt_management.tools.approval_protocol import CallHolder
from ocmt_management.tools.approval_schemas import OUTCOME_KEY_PREFIX, ApprovalView
from ocmt_management.tools.approvals import Approvals, delete_old_approvals
from ocmt_management.tools.breaker import Breaker
from ocmt_management.tools.built_in_protocol import BuiltIn
from ocmt_management.tools.calls import Standing, ToolCall, ToolCalls
from ocmt_management.tools.catalogue import Catalogue
from ocmt_management.tools.connection import Connection
from ocmt_management.tools.connection_listener import ConnectionListener
from ocmt_management.tools.connection_requests import delete_old_connection_requests
from ocmt_management.tools.discovery import discover
from ocmt_management.tools.held_requests import HeldRequests
from ocmt_management.tools.installations import Installations
from ocmt_management.tools.limits import CallLimits
from ocmt_management.tools.metrics import ToolMetrics
from ocmt_management.tools.models import Transport
from ocmt_management.tools.repository import ToolRepository
from ocmt_management.tools.servers import SharedServers, UserServers, unknown_server
from ocmt_management.tools.session_ids import SessionIds
from ocmt_management.tools.snapshot import UserTools
from ocmt_management.tools.snapshots import Snapshots
from ocmt_management.tools.transports import HttpTransport, PackageTransport
from ocmt_management.tools.trouble import COUNTED, Trouble
from ocmt_management.tools.troubles import Troubles
from ocmt_management.tools.upstream import Upstream
from ocmt_management.tools.use_recorder import UseRecorder
from ocmt_management.tools.version_sender import VersionSender
from ocmt_management.vault.service import KeyRing

__all__ = [
    "OUTCOME_KEY_PREFIX",
    "ApprovalView",
    "Approvals",
    "Standing",
    "ToolCall",
    "ToolCalls",
    "Tools",
    "delete_old_approvals",
    "delete_old_connection_requests",
]

log = structlog.get_logger(__name__)

LISTED_FOR = timedelta(minutes=5)
"""The age from which a list is read again, in the background, when the agent lists its tools."""
_LOOK_EVERY = timedelta(minutes=1)
_MAX_LOOKED_AT = 10_000


class Tools:
    """Enter `open` for the server's lifetime."""

    def __init__(
        self,
        *,
        settings: ManagementSettings,
        database: Database,
        agents: Agents,
        keys: KeyRing,
        clock: Clock,
        client: Client,
        integrations: Integrations,
        recorder: UseRecorder,
        snapshots: Snapshots,
        sender: VersionSender,
    ) -> None:
        self.database = database
        self.keys = keys
        self.clock = clock
        self.private_hosts = settings.private_host_set
        self.origins = settings.origins
        self.session_ids = SessionIds(KeyedHash(settings.jwt_secret))
        self.snapshots = snapshots
        self.breaker = Breaker(time.monotonic)
        self.limits = CallLimits()
        self.held_requests = HeldRequests()
        self.troubles = Troubles()
        self.installations = Installations(agents.server)
        self.metrics = ToolMetrics(
            paused=self.breaker.open_count,
            under_way=self.limits.under_way,
            troubles=self.troubles.by_kind,
        )
        self.integrations = integrations
        self.http = HttpTransport(client, AccountTokens(integrations))
        self.packages = PackageTransport(agents.server)
        self.upstream = Upstream(self.http, self.packages)
        self.calls = ToolCalls(
            snapshots=snapshots,
            upstream=self.upstream,
            apis=ApiCalls(integrations, settings.private_host_set),
            breaker=self.breaker,
            limits=self.limits,
            recorder=recorder,
            metrics=self.metrics,
            clock=clock,
            on_trouble=self._troubled,
            on_served=self._served,
        )
        self.approvals: CallHolder | None = None
        self.built_in: BuiltIn | None = None
        self._recorder = recorder
        self._sender = sender
        self._agents = agents
        self._tasks: set[asyncio.Task[None]] = set()
        self._refreshing: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._looked_at: dict[object, datetime] = {}

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
        integrations: Integrations,
    ) -> AsyncIterator["Tools"]:
        recorder = UseRecorder(database, keys, clock)
        snapshots = Snapshots(database, keys, agents, clock)
        sender = VersionSender(database, agents.server, snapshots)
        client = Client(settings.private_host_set)
        try:
            async with recorder.running(), sender.running():
                tools = cls(
                    settings=settings,
                    database=database,
                    agents=agents,
                    keys=keys,
                    clock=clock,
                    client=client,
                    integrations=integrations,
                    recorder=recorder,
                    snapshots=snapshots,
                    sender=sender,
                )
                integrations.listener = ConnectionListener(
                    clock, changed=tools.changed, refresh=tools.refresh_in_background
                )
                try:
                    yield tools
                finally:
                    integrations.listener = None
                    await tools.stop()
        finally:
            await client.close()

    async def stop(self) -> None:
        tasks = [*self._tasks, *self._refreshing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # For agents

    async def caller(self, token: str) -> UserTools | None:
        """The tools that the agent with this token may use; `None` if the token is unknown."""
        return await self.snapshots.of_token(token)

    async def standing(self, user_id: str, server_id: str, tool: str) -> Standing | None:
        """The current rule, pin and versions of a tool; `None` if its server is not connected."""
        tools = await self.snapshots.of_user(user_id)
        found = tools.by_server.get((server_id, tool))
        if found is None:
            return None
        return Standing(
            rule=found.rule,
            pin=found.pin,
            rules_version=found.rules_version,
            account_version=found.connection.account_version,
        )

    def refresh_old(self, tools: UserTools) -> None:
        """List tools of old lists again in the background; checks a user at most once a minute."""
        if self._is_due(tools.user_id):
            self._spawn(self._refresh_old(tools))

    def refresh_soon(self, connection: Connection) -> None:
        """List a server's tools again in the background, at most once a minute."""
        if self._is_due(connection.key):
            self._spawn(self.refresh(connection.user_id, connection.server_id))

    # For people

    @asynccontextmanager
    async def changing(self, user_id: str) -> AsyncIterator[UserServers]:
        """A transaction to change a user's servers, whose agent is then sent the new version."""
        async with self.database.write() as session:
            yield UserServers(
                session,
                keys=self.keys,
                clock=self.clock,
                user_id=user_id,
                private_hosts=self.private_hosts,
            )
        self.changed([user_id])
        await self._sender.sent()

    @asynccontextmanager
    async def changing_shared(self, admin_id: str) -> AsyncIterator[SharedServers]:
        """A transaction to change shared servers. Then pass the users concerned to `changed`."""
        async with self.database.write() as session:
            yield SharedServers(
                session,
                keys=self.keys,
                clock=self.clock,
                admin_id=admin_id,
                private_hosts=self.private_hosts,
            )

    def changed(self, user_ids: Iterable[str]) -> None:
        """Evict these users' cached tools and make their agents list them again, after a change.

        Call after the commit.
        """
        for user_id in user_ids:
            self.snapshots.forget(user_id)
        self._sender.changed()

    async def versions_sent(self) -> None:
        """Wait, at most 3 s, until agents have the tools of earlier changes."""
        await self._sender.sent()

    def disconnected(self, server_id: str, user_ids: Iterable[str], *, over_stdio: bool) -> None:
        """Forget these users' trouble with a server. Call after the commit.

        Their containers of one over stdio are removed, with the credential in them.
        """
        for user_id in user_ids:
            self.troubles.forget(user_id, server_id)
            if over_stdio:
                self._spawn(self._agents.server.remove_tool_server(user_id, server_id))

    def user_changed(self, user_id: str) -> None:
        """Evict this user's cached tools after a change of their token or status."""
        self.snapshots.forget(user_id)

    async def sign_in(self, user_id: str, session_id: str, server_id: str) -> str:
        """The address at which the person signs in to a server. Raises `Problem`."""
        async with self.database.read() as session:
            server = await ToolRepository(session).server_for(user_id, server_id)
        if server is None or server.transport != Transport.HTTP or server.url is None:
            raise unknown_server()
        return await self.integrations.start_for_server(
            user_id, session_id, server_id=server.id, name=server.name, url=server.url
        )

    async def sign_out(self, user_id: str, server_id: str) -> None:
        """End the sign-in to a server, if there is one."""
        async with self.database.read() as session:
            account = await ToolRepository(session).account(user_id, server_id)
        if account is not None and account.connection_id not in (None, server_id):
            await self.integrations.disconnect(user_id, account.connection_id or "")

    async def refresh(self, user_id: str, server_id: str) -> None:
        """List a server's tools now; concurrent callers share one listing.

        Trouble is stored with the connection. Does nothing if the server is not connected.
        """
        key = (user_id, server_id)
        begun = self._refreshing.get(key)
        if begun is not None:
            # That listing may have begun before the change that this caller wants to see.
            await asyncio.wait({begun})
        task = self._refreshing.get(key)
        if task is None or task is begun:
            task = self._refreshing[key] = asyncio.create_task(self._refresh(user_id, server_id))
            task.add_done_callback(partial(self._refreshed, key))
        await asyncio.shield(task)

    def _refreshed(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        if self._refreshing.get(key) is task:
            del self._refreshing[key]

    def refresh_in_background(self, user_id: str, server_id: str) -> None:
        self._spawn(self.refresh(user_id, server_id))

    async def idle(self) -> None:
        """Wait until no background task runs."""
        while tasks := [*self._tasks, *self._refreshing.values()]:
            await asyncio.wait(tasks)

    async def written(self) -> None:
        """Write the uses that are still in memory."""
        await self._recorder.write()

    # Background

    async def _refresh(self, user_id: str, server_id: str) -> None:
        tools = await self.snapshots.of_user(user_id)
        connection = tools.connection_of(server_id)
        if connection is None or self.installations.is_under_way(user_id, server_id):
            return
        reading = asyncio.create_task(discover(self.upstream, connection))
        try:
            if await self.installations.begins(connection, reading):
                self._spawn(self._refresh_once_installed(connection))
                return
            offer = await reading
        except Trouble as problem:
            self.breaker.failed(connection.session_key, problem)
            self.metrics.troubled(problem.kind)
            self.troubles.begun(connection, problem)
            await self._note(connection, problem)
            return
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        self.breaker.served(connection.session_key)
        self.troubles.ended(connection)
        async with self.database.write() as session:
            await Catalogue(session, self.clock, connection).store(offer)
        self.changed([user_id])
        await self._sender.sent()

    async def _refresh_once_installed(self, connection: Connection) -> None:
        await self.installations.ended(connection)
        await self.refresh(connection.user_id, connection.server_id)

    def _is_due(self, what: object) -> bool:
        now = self.clock()
        looked_at = self._looked_at.get(what)
        if looked_at is not None and now - looked_at < _LOOK_EVERY:
            return False
        if len(self._looked_at) >= _MAX_LOOKED_AT:
            self._looked_at.clear()
        self._looked_at[what] = now
        return True

    async def _refresh_old(self, tools: UserTools) -> None:
        before = self.clock() - LISTED_FOR
        async with self.database.read() as session:
            accounts = await ToolRepository(session).accounts(tools.user_id)
        old = {a.server_id for a in accounts if a.listed_at is None or a.listed_at < before}
        for connection in tools.connections.values():
            if connection.server_id not in old or connection.lacks_credential:
                continue
            try:
                self.breaker.check(connection.session_key, connection.name)
            except Trouble:
                continue
            await self.refresh(tools.user_id, connection.server_id)

    def _troubled(self, connection: Connection, problem: Trouble) -> None:
        if problem.kind in COUNTED and self.troubles.begun(connection, problem):
            self._spawn(self._note(connection, problem))

    def _served(self, connection: Connection) -> None:
        if self.troubles.ended(connection):
            self._spawn(self._clear(connection))

    async def _note(self, connection: Connection, problem: Trouble) -> None:
        async with self.database.write() as session:
            await Catalogue(session, self.clock, connection).note(problem)

    async def _clear(self, connection: Connection) -> None:
        async with self.database.write() as session:
            await Catalogue(session, self.clock, connection).clear_trouble()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.create_task(self._run(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Problem as problem:
            log.warning("work on a tool server not done", reason=problem.detail)
        except Exception:
            log.exception("work on a tool server not done")
