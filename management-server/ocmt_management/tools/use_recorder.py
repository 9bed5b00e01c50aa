"""Records users' last uses of tools every few seconds, so that no call waits for a write."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.auth.service import existing_users
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.periodic_writer import PeriodicWriter
from ocmt_management.tools.models import ToolUse
from ocmt_management.tools.repository import ToolRepository
from ocmt_management.tools.servers import secret_name
from ocmt_management.vault.service import KeyRing, Vault

KEPT_PER_USER = 200
_WRITE_EVERY_S = 2.0


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
    """Writes every few seconds and on shutdown. A crash loses what is not written yet."""

    def __init__(self, database: Database, keys: KeyRing, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._uses: defaultdict[str, list[Use]] = defaultdict(list)
        self._credential_uses: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._writer = PeriodicWriter(self.write, every_s=_WRITE_EVERY_S, what="uses of tools")

    def record(self, use: Use) -> None:
        uses = self._uses[use.user_id]
        uses.append(use)
        if len(uses) > KEPT_PER_USER:
            del uses[0]
        if use.with_credential:
            self._credential_uses[use.user_id, use.server_id] += 1
        self._writer.due()

    async def write(self) -> None:
        """Write the uses to the database. If that raises, keep them for the next attempt."""
        uses, self._uses = self._uses, defaultdict(list)
        credentials, self._credential_uses = self._credential_uses, defaultdict(int)
        if not uses:
            return
        try:
            async with self._database.write() as session:
                await self._store(session, uses, credentials)
        except BaseException:
            for user_id, lost in uses.items():
                self._uses[user_id] = [*lost, *self._uses[user_id]][-KEPT_PER_USER:]
            for key, count in credentials.items():
                self._credential_uses[key] += count
            self._writer.due()
            raise

    async def _store(
        self,
        session: AsyncSession,
        uses: Mapping[str, Sequence[Use]],
        credentials: Mapping[tuple[str, str], int],
    ) -> None:
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

    def running(self) -> AbstractAsyncContextManager[None]:
        return self._writer.running()


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
