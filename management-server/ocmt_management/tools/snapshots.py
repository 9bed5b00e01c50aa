"""Caches the user of an agent token and their snapshot of tools for a few seconds.

Changes by this process evict the entry at once (`forget`); the expiry bounds how long a change by
another process goes unnoticed. An expired snapshot is kept if its version is still the database's,
since building one takes longer than serving a call.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.agents.service import Agents
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.tokens import token_hash
from ocmt_management.tools.repository import ToolRepository
from ocmt_management.tools.servers import secret_name
from ocmt_management.tools.snapshot import UserTools, user_tools
from ocmt_management.vault.service import KeyRing, SecretValue, Vault

CACHED_FOR = timedelta(seconds=10)
_MAX_ENTRIES = 1000


@dataclass(slots=True)
class _Cached:
    tools: UserTools
    until: datetime


class Snapshots:
    def __init__(self, database: Database, keys: KeyRing, agents: Agents, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._agents = agents
        self._clock = clock
        self._callers: dict[bytes, tuple[str, datetime]] = {}
        self._cached: dict[str, _Cached] = {}
        self._changes = 0

    async def of_token(self, token: str) -> UserTools | None:
        """The tools that the agent with this token may use; `None` if the token is unknown."""
        key = token_hash(token)
        user_id, until = self._callers.get(key, (None, None))
        if user_id is not None and until is not None and self._clock() < until:
            return await self.of_user(user_id)
        changes = self._changes
        async with self._database.read() as session:
            user_id = await self._agents.user_of(session, token)
        if user_id is None:
            self._callers.pop(key, None)
            return None
        # A look-up may have read the old state if a change was made meanwhile.
        if changes == self._changes:
            if len(self._callers) >= _MAX_ENTRIES:
                self._callers.clear()
            self._callers[key] = (user_id, self._clock() + CACHED_FOR)
        return await self.of_user(user_id)

    async def of_user(self, user_id: str) -> UserTools:
        cached = self._cached.get(user_id)
        if cached is not None and self._clock() < cached.until:
            return cached.tools
        changes = self._changes
        async with self._database.read() as session:
            version = await self._version(session, user_id)
            if cached is not None and cached.tools.version == version:
                tools = cached.tools
            else:
                tools = await self._read(session, user_id, version)
        if changes == self._changes:
            if len(self._cached) >= _MAX_ENTRIES:
                self._cached.clear()
            self._cached[user_id] = _Cached(tools, self._clock() + CACHED_FOR)
        return tools

    def forget(self, user_id: str) -> None:
        """Evict this user: their status, token or tools changed. Call after the commit."""
        self._changes += 1
        self._cached.pop(user_id, None)
        for key in [key for key, (caller, _) in self._callers.items() if caller == user_id]:
            del self._callers[key]

    async def _version(self, session: AsyncSession, user_id: str) -> int:
        catalogue = await ToolRepository(session).catalogue(user_id)
        return 0 if catalogue is None else catalogue.version

    async def _read(self, session: AsyncSession, user_id: str, version: int) -> UserTools:
        rows = ToolRepository(session)
        vault = Vault(session, self._keys, self._clock)
        servers = await rows.servers_for(user_id)
        accounts = await rows.accounts(user_id)
        connected = {account.server_id for account in accounts}
        credentials: dict[str, SecretValue] = {}
        for server in servers:
            if server.id in connected and server.credential_name is not None:
                # The recorder audits its uses in batches.
                value = await vault.use(user_id, secret_name(server.id))
                if value is not None:
                    credentials[server.id] = value
        return user_tools(
            user_id,
            version=version,
            servers=servers,
            accounts=accounts,
            definitions=await rows.definitions(user_id),
            rules=await rows.rules(user_id),
            credentials=credentials,
        )
