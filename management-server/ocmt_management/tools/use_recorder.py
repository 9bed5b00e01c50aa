"""Records users' last uses of tools every few seconds, so that no call waits for a write."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog
from ocmt_common.problems import Problem

from ocmt_management.auth.service import existing_users
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.tools.models import ToolUse
from ocmt_management.tools.repository import ToolRepository
from ocmt_management.tools.servers import secret_name
from ocmt_management.vault.service import KeyRing, Vault

log = structlog.get_logger(__name__)

KEPT_PER_USER = 200
_WRITE_EVERY_S = 2.0
_RETRY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    user_id: str
    server_id: str
    tool: str
    outcome: str
    milliseconds: int
    shape: str
    with_credential: bool
    at: datetime


class UseRecorder:
    """Writes every few seconds and on shutdown. A crash loses what was not written yet."""

    def __init__(self, database: Database, keys: KeyRing, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._uses: defaultdict[str, list[Use]] = defaultdict(list)
        self._credential_uses: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._pending = asyncio.Event()

    def record(self, use: Use) -> None:
        uses = self._uses[use.user_id]
        uses.append(use)
        if len(uses) > KEPT_PER_USER:
            del uses[0]
        if use.with_credential:
            self._credential_uses[use.user_id, use.server_id] += 1
        self._pending.set()

    async def write(self) -> None:
        """Write the uses. If that raises, they are lost: they are only shown on the page."""
        uses, self._uses = self._uses, defaultdict(list)
        credentials, self._credential_uses = self._credential_uses, defaultdict(int)
        self._pending.clear()
        if not uses:
            return
        async with self._database.write() as session:
            rows = ToolRepository(session)
            vault = Vault(session, self._keys, self._clock)
            existing = await existing_users(session, set(uses))
            for user_id in existing:
                servers = sorted({use.server_id for use in uses[user_id]})
                known = await rows.existing(user_id, servers)
                for use in uses[user_id]:
                    if use.server_id in known:
                        rows.add_use(_row(use))
                await rows.delete_uses_beyond(user_id, kept=KEPT_PER_USER)
            for (user_id, server_id), count in credentials.items():
                if user_id in existing:
                    vault.record_use(
                        user_id, secret_name(server_id), actor="agent", reason=f"{count} tool calls"
                    )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._keep_writing())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            try:
                await self.write()
            except Problem as problem:
                log.error("uses of tools not written", reason=problem.detail)

    async def _keep_writing(self) -> None:
        while True:
            await self._pending.wait()
            try:
                await asyncio.sleep(_WRITE_EVERY_S)
                await self.write()
            except Problem as problem:
                log.warning("uses of tools not written", reason=problem.detail)
                await asyncio.sleep(_RETRY_S)
            except Exception:
                # A bug must not stop the recording for good.
                log.exception("uses of tools not written")
                await asyncio.sleep(_RETRY_S)


def _row(use: Use) -> ToolUse:
    return ToolUse(
        user_id=use.user_id,
        server_id=use.server_id,
        tool=use.tool,
        outcome=use.outcome,
        milliseconds=use.milliseconds,
        shape=use.shape,
        at=use.at,
    )
