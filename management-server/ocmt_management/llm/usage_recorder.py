"""Sums up, in memory, what was used and how often a key was, and writes it in turns.

So no answer waits for a write, and a busy agent makes a row every few seconds at most.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from ocmt_common.problems import Problem
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.auth.users import still_there
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.llm.providers import PROVIDERS, ProviderId
from ocmt_management.llm.repository import ModelRepository
from ocmt_management.llm.usage import Bill, Sum, Tokens
from ocmt_management.vault.keys import KeyRing
from ocmt_management.vault.service import Vault

log = structlog.get_logger(__name__)

_WRITE_EVERY_S = 5.0
_RETRY_S = 10.0


class Meter:
    """Counts at once, writes every few seconds and at the end. A crash loses those seconds."""

    def __init__(self, database: Database, keys: KeyRing, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._sums: defaultdict[Bill, Sum] = defaultdict(Sum)
        self._counted = asyncio.Event()

    def count(self, *, user_id: str, provider: str, model: str, tokens: Tokens | None) -> None:
        """Note one request. `tokens` is `None` when its answer did not tell."""
        bill = Bill(user_id, self._clock().date(), provider, model)
        used = Sum(1, 1, 0, 0) if tokens is None else Sum(1, 0, tokens.read, tokens.written)
        self._sums[bill].add(used)
        self._counted.set()

    async def write(self) -> None:
        """Write what was counted so far. Raises `Problem`, and keeps the counts then."""
        taken, self._sums = self._sums, defaultdict(Sum)
        self._counted.clear()
        try:
            async with self._database.write() as session:
                rows = ModelRepository(session)
                there = await still_there(session, {bill.user_id for bill in taken})
                for bill, used in taken.items():
                    if bill.user_id not in there:  # deleted since
                        continue
                    await rows.add_usage(bill, used)
                    self._record_key_use(session, bill, used)
        except BaseException:
            for bill, used in taken.items():
                self._sums[bill].add(used)
            self._counted.set()
            raise

    def _record_key_use(self, session: AsyncSession, bill: Bill, used: Sum) -> None:
        provider = PROVIDERS[ProviderId(bill.provider)]
        if provider.id is not ProviderId.DEMO:
            Vault(session, self._keys, self._clock).record_use(
                bill.user_id,
                provider.secret_name,
                actor="agent",
                reason=f"{used.requests} requests for {bill.model}",
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
                log.error("usage not written", reason=problem.detail)

    async def _keep_writing(self) -> None:
        while True:
            await self._counted.wait()
            try:
                await asyncio.sleep(_WRITE_EVERY_S)
                await self.write()
            except Problem as problem:
                log.warning("usage not written yet", reason=problem.detail)
                await asyncio.sleep(_RETRY_S)
            except Exception:
                # A fault of ours must not end the counting of everybody for good.
                log.exception("usage not written")
                await asyncio.sleep(_RETRY_S)
