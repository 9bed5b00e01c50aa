"""Sums usage and uses of keys in memory and writes them every few seconds.

So no answer waits for a write, and a busy agent causes at most one write every few seconds.
"""

from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.auth.service import existing_users
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.llm.providers import PROVIDERS, ProviderId
from ocmt_management.llm.repository import UsageRepository
from ocmt_management.llm.usage import UsageKey, UsageSum
from ocmt_management.periodic_writer import PeriodicWriter
from ocmt_management.vault.service import KeyRing, ServerVault, Vault

_WRITE_EVERY_S = 5.0


class UsageRecorder:
    """Writes every 5 s and on shutdown. A crash loses what is not written yet."""

    def __init__(
        self,
        database: Database,
        keys: KeyRing,
        clock: Clock,
        *,
        on_spent: Callable[[str], None] = lambda user_id: None,
    ) -> None:
        """`on_spent` is called with each user with a soft limit whose costs were written."""
        self._database = database
        self._keys = keys
        self._clock = clock
        self._sums: defaultdict[UsageKey, UsageSum] = defaultdict(UsageSum)
        self._settled: list[str] = []
        self._on_spent = on_spent
        self._writer = PeriodicWriter(self.write, every_s=_WRITE_EVERY_S, what="usage")

    def record(self, key: UsageKey, used: UsageSum, *, reservation: str | None = None) -> None:
        """Add a request's usage. The write that follows also deletes its reservation."""
        self._sums[key].add(used)
        if reservation is not None:
            self._settled.append(reservation)
        self._writer.due()

    async def write(self) -> None:
        """Write the sums to the database. If that raises, keep them for the next attempt."""
        written, self._sums = self._sums, defaultdict(UsageSum)
        settled, self._settled = self._settled, []
        if not written and not settled:
            return
        try:
            async with self._database.write() as session:
                rows = UsageRepository(session)
                existing = await existing_users(session, {key.user_id for key in written})
                for key, used in written.items():
                    if key.user_id not in existing:  # deleted since
                        continue
                    await rows.add(key, used)
                    await self._record_key_use(session, key, used)
                await rows.release(settled)
                limits = await rows.budgets(existing)
        except BaseException:
            for key, used in written.items():
                self._sums[key].add(used)
            self._settled += settled
            self._writer.due()
            raise
        for user_id, limit in limits.items():
            if limit.warns:
                self._on_spent(user_id)

    async def _record_key_use(self, session: AsyncSession, key: UsageKey, used: UsageSum) -> None:
        provider = PROVIDERS[ProviderId(key.provider)]
        reason = f"{used.requests} requests for {key.model}"
        # An own server may need no key.
        if key.shared:
            server_vault = ServerVault(session, self._keys, self._clock)
            if not provider.own or await server_vault.has(provider.shared_secret_name):
                server_vault.record_use(
                    provider.shared_secret_name, user_id=key.user_id, actor="agent", reason=reason
                )
        elif provider.id is not ProviderId.DEMO:
            vault = Vault(session, self._keys, self._clock)
            if not provider.own or await vault.hint(key.user_id, provider.secret_name) is not None:
                vault.record_use(key.user_id, provider.secret_name, actor="agent", reason=reason)

    def running(self) -> AbstractAsyncContextManager[None]:
        return self._writer.running()
