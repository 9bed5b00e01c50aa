"""Checks budgets and reserves a request's estimated cost, in one transaction before it is sent.

Several servers may reserve at once, so the budgets' rows are locked. A reservation is deleted in
the transaction that writes the request's cost (`usage_recorder`).
"""

from datetime import timedelta
from uuid import uuid4

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.llm.budgets import Limits, Period, reached
from ocmt_management.llm.models import TOTAL
from ocmt_management.llm.repository import UsageRepository
from ocmt_management.llm.shared_keys_repository import SharedKeyRepository, limits_of
from ocmt_management.llm.usage import UsageKey

log = structlog.get_logger(__name__)

_ABANDONED_AFTER = timedelta(hours=2)
"""Longer than any request takes: the server that made an older reservation has crashed."""


class BudgetReached(Exception):
    """A hard limit leaves no room for a request.

    `total`: it limits all users together; `of_shared_key`: it limits this user of a shared key.
    """

    def __init__(self, period: Period, *, total: bool = False, of_shared_key: bool = False) -> None:
        super().__init__(period)
        self.period = period
        self.total = total
        self.of_shared_key = of_shared_key


class BudgetLedger:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def reserve(self, key: UsageKey, amount: int) -> str:
        """Reserve nano-dollars; returns the reservation's id. Raises `BudgetReached`."""
        reservation_id = str(uuid4())
        async with self._database.write() as session:
            rows = UsageRepository(session)
            budgets = await rows.budgets((key.user_id, TOTAL), lock=True)
            own, everybody = await rows.spent_by(
                key.user_id, day=key.day, everybody=TOTAL in budgets
            )
            for budget_id, limits in budgets.items():
                total = budget_id == TOTAL
                period = reached(limits, everybody if total else own, key.source)
                if period is not None:
                    raise BudgetReached(period, total=total)
            if key.shared:
                await _check_shared_key(session, key)
            await rows.reserve(reservation_id, key, amount, self._clock())
        return reservation_id


async def _check_shared_key(session: AsyncSession, key: UsageKey) -> None:
    """Raises `BudgetReached`. The row is locked until the reservation is committed."""
    shared = SharedKeyRepository(session)
    row = await shared.one(key.provider, lock=True)
    limits = Limits() if row is None else limits_of(row)
    if not limits.refuses:
        return
    spent = await shared.spent(key.provider, day=key.day, user_id=key.user_id)
    period = reached(limits, spent, key.source)
    if period is not None:
        raise BudgetReached(period, of_shared_key=True)


async def settle_abandoned(database: Database, clock: Clock) -> None:
    """Count reservations older than two hours as spent: their server has crashed."""
    async with database.write() as session:
        count = await UsageRepository(session).settle_abandoned(clock() - _ABANDONED_AFTER)
    if count:
        log.warning("reservations of a crashed server counted as spent", count=count)
