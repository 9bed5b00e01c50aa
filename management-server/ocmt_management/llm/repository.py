"""SQL of model choices, usage, budgets and reservations.

`user_id=None` means all users together, for admins and the total budget only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta

from sqlalchemy import and_, case, delete, func, select, true, union_all
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.llm.budgets import Limits, Spent, first_of_month
from ocmt_management.llm.models import (
    TOTAL,
    Budget,
    ModelChoice,
    OwnModelServer,
    Reservation,
    Usage,
    UsagePreference,
)
from ocmt_management.llm.request_source import Source
from ocmt_management.llm.shared_keys_repository import SharedKeyRepository
from ocmt_management.llm.usage import UsageKey, UsageSum

UTC_ZONE = "UTC"


class ModelRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def choice(self, user_id: str) -> ModelChoice | None:
        return await self._session.get(ModelChoice, user_id)

    async def choices(self) -> Sequence[ModelChoice]:
        """Of all users, for the agents' configurations."""
        return (await self._session.scalars(select(ModelChoice))).all()

    async def choose(self, user_id: str, *, provider: str, model: str, now: datetime) -> None:
        chosen = ModelChoice(user_id=user_id, provider=provider, model=model, updated_at=now)
        await self._session.merge(chosen)

    async def own_server(self, user_id: str) -> str | None:
        row = await self._session.get(OwnModelServer, user_id)
        return None if row is None else row.url

    async def set_own_server(self, user_id: str, url: str) -> None:
        await self._session.merge(OwnModelServer(user_id=user_id, url=url))

    async def delete_own_server(self, user_id: str) -> bool:
        deleted = await self._session.scalars(
            delete(OwnModelServer)
            .where(OwnModelServer.user_id == user_id)
            .returning(OwnModelServer.user_id)
        )
        return deleted.first() is not None


class UsageRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, key: UsageKey, used: UsageSum) -> None:
        """Add to a row in one statement: another server may add to it at the same time.

        What a shared key paid is added to what its user spent of it, too.
        """
        if key.shared and used.cost:
            await SharedKeyRepository(self._session).add_spending(key, used.cost)
        dialect = self._session.get_bind().dialect.name
        insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
        counts = asdict(used)
        added = insert(Usage).values(
            user_id=key.user_id, day=key.day, provider=key.provider, model=key.model,
            source=key.source, **counts,
        )  # fmt: skip
        columns = Usage.__table__.c
        await self._session.execute(
            added.on_conflict_do_update(
                index_elements=[
                    columns[n] for n in ("user_id", "day", "provider", "model", "source")
                ],
                set_={name: columns[name] + added.excluded[name] for name in counts},
            )
        )

    async def rows(self, *, user_id: str | None, first: date, last: date) -> Sequence[Usage]:
        """The usage rows from `first` to `last`, ordered by day."""
        query = select(Usage).where(Usage.day >= first, Usage.day <= last)
        if user_id is not None:
            query = query.where(Usage.user_id == user_id)
        order = (Usage.day, Usage.user_id, Usage.provider, Usage.model, Usage.source)
        return (await self._session.scalars(query.order_by(*order))).all()

    async def time_zone(self, user_id: str) -> str:
        row = await self._session.get(UsagePreference, user_id)
        return UTC_ZONE if row is None else row.time_zone

    async def set_time_zone(self, user_id: str, time_zone: str) -> None:
        await self._session.merge(UsagePreference(user_id=user_id, time_zone=time_zone))

    async def budgets(
        self, ids: Iterable[str] | None = None, *, lock: bool = False
    ) -> dict[str, Limits]:
        """Budget id → limits; all budgets if `ids` is `None`. `lock` locks their rows."""
        query = select(Budget).order_by(Budget.id)
        if ids is not None:
            query = query.where(Budget.id.in_(list(ids)))
        if lock:
            query = query.with_for_update()
        return {row.id: _limits(row) for row in await self._session.scalars(query)}

    async def set_budget(self, user_id: str | None, limits: Limits, now: datetime) -> None:
        """Replace the budget of a user, or of all together; delete it if it has no limits."""
        budget_id = user_id or TOTAL
        if limits == Limits():
            await self._session.execute(delete(Budget).where(Budget.id == budget_id))
            return
        await self._session.merge(
            Budget(id=budget_id, user_id=user_id, updated_at=now, **asdict(limits))
        )

    async def spent(self, *, user_id: str | None, day: date) -> Spent:
        """Recorded costs plus open reservations, of one user or of all together."""
        own, everybody = await self.spent_by(user_id, day=day, everybody=user_id is None)
        return everybody if user_id is None else own

    async def spent_by(
        self, user_id: str | None, *, day: date, everybody: bool
    ) -> tuple[Spent, Spent]:
        """`(user's, all users')` spending, by one statement; the second only with `everybody`."""
        first = first_of_month(day)
        until = first_of_month(first + timedelta(days=31))
        amounts = union_all(
            *(
                select(user.label("user_id"), at.label("day"), amount.label("amount")).where(
                    at >= first, at < until, *(() if everybody else (user == user_id,))
                )
                for user, at, amount in (
                    (Usage.user_id, Usage.day, Usage.cost),
                    (Reservation.user_id, Reservation.day, Reservation.amount),
                )
            )
        ).subquery()
        of_user, of_day = amounts.c.user_id == user_id, amounts.c.day == day
        sums = (and_(of_user, of_day), of_user, of_day, true())
        query = select(
            *(func.sum(case((which, amounts.c.amount), else_=0)) for which in sums)
        ).select_from(amounts)
        own_day, own_month, all_day, all_month = (
            int(one or 0) for one in (await self._session.execute(query)).one()
        )
        return Spent(own_day, own_month), Spent(all_day, all_month)

    async def reserve(self, reservation_id: str, key: UsageKey, amount: int, now: datetime) -> None:
        self._session.add(
            Reservation(
                id=reservation_id, user_id=key.user_id, day=key.day, provider=key.provider,
                model=key.model, source=key.source, shared=key.shared, amount=amount, made_at=now,
            )
        )  # fmt: skip
        await self._session.flush()

    async def release(self, reservation_ids: Iterable[str]) -> None:
        ids = list(reservation_ids)
        if ids:
            await self._session.execute(delete(Reservation).where(Reservation.id.in_(ids)))

    async def settle_abandoned(self, before: datetime) -> int:
        """Count reservations made before `before` as spent in full; returns how many."""
        query = select(Reservation).where(Reservation.made_at < before).with_for_update()
        abandoned = (await self._session.scalars(query)).all()
        for row in abandoned:
            key = UsageKey(
                row.user_id, row.day, row.provider, row.model, Source(row.source), row.shared
            )
            await self.add(key, UsageSum(requests=1, estimated=1, cost=row.amount))
            await self._session.delete(row)
        return len(abandoned)


def _limits(row: Budget) -> Limits:
    return Limits(row.day_soft, row.day_hard, row.month_soft, row.month_hard, row.kept_for_jobs)
